"""The layouts of all messages as data, for people and for other languages.

Derived from the same field tables that encode and decode.  ``python -m
tezos_p2p.spec.layouts`` prints all of them as JSON, with a name one of them; with
``--text`` as a table.

Shape of a layout: an object with ``type`` (``uint16``, ``bytes``, ``record`` ...) and,
as they apply, ``size`` (bytes, when fixed), ``max_bytes``, ``prefix`` (of a dynamic
block), ``of`` (what is inside), ``max_length`` (of a list, in elements), ``fields`` (of a
record, with ``offset``, counted from its first field, as long as it is fixed), ``cases``
(of a union, by ``tag``), ``as`` (what the value is called).  Type ``again`` stands for
the layout around it that has its ``name``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from .address import ADDRESS
from .block import LOCATOR
from .datagram import DATAGRAM
from .hello import ANSWER, CONNECTION_MESSAGE, CONNECTION_METADATA
from .limits import limit_table
from .merkle import MERKLE_PATH
from .message import describe_message
from .operation import MEMPOOL, OPERATION_LIST
from .point import CONNECTION_ID, POINT
from .shell import SHELL_MESSAGES
from .version import VERSION

#: Every layout, by name.
LAYOUTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "connection-message": {
        "type": "dynamic",
        "prefix": "uint16",
        "of": CONNECTION_MESSAGE.describe(),
    },
    "connection-metadata": CONNECTION_METADATA.describe(),
    "answer": ANSWER.describe(),
    "message": describe_message(),
    "version": VERSION.describe(),
    "point": POINT.describe(),
    "address": ADDRESS.describe(),
    "connection-id": CONNECTION_ID.describe(),
    "discovery-datagram": DATAGRAM.describe(),
    # The payloads of the shell's messages, and what they hold.
    **{
        name.lower().replace("_", "-"): case.type.describe()
        for name, case in SHELL_MESSAGES.items()
    },
    "locator": LOCATOR.describe(),
    "mempool": MEMPOOL.describe(),
    "merkle-path": MERKLE_PATH.describe(),
    "operation-list": OPERATION_LIST.describe(),
}


def layouts_json() -> str:
    """Return all layouts and limits as one JSON document."""
    limits = [
        {"name": line.name, "unit": line.unit, "default": line.default}
        | {"meaning": line.meaning, "key": line.key}
        for line in limit_table()
    ]
    document = {"layouts": LAYOUTS, "limits": limits}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def summary(layout: Mapping[str, Any]) -> str:
    """Say in one phrase what a layout is: ``uint30 length, then bytes``."""
    kind = str(layout["type"])
    if kind in ("record", "union", "again"):
        text = str(layout["name"])
    elif kind == "dynamic":
        text = f"{layout['prefix']} length, then {summary(layout['of'])}"
    elif kind == "list":
        most = f"at most {layout['max_length']} " if "max_length" in layout else ""
        text = f"{most}x ({summary(layout['of'])})"
    elif kind == "optional":
        text = f"optional ({layout['present']}) {summary(layout['of'])}"
    elif kind == "bytes" and "size" in layout:
        text = f"{layout['size']} bytes"
    else:
        text = kind
    if "as" in layout:
        text = f"{layout['as']}: {text}"
    if "max_bytes" in layout and kind not in ("record", "union"):
        text += f", at most {layout['max_bytes']} bytes"
    return text


def _rows(layout: Mapping[str, Any], depth: int = 0) -> Iterator[tuple[str, str, str]]:
    """Give (offset or tag, name and type, meaning) line by line."""
    indent = "  " * depth
    for field in layout.get("fields", ()):
        offset = str(field["offset"]) if depth == 0 and "offset" in field else ""
        name, inner = str(field["name"]), dict(field["layout"])
        if inner.get("as") == name.replace("_", " "):
            del inner["as"]  # said already
        yield offset, f"{indent}{name}: {summary(inner)}", field["doc"]
        yield from _rows(field["layout"], depth + 1)
    for case in layout.get("cases", ()):
        what = summary(case["layout"])
        yield f"{indent}tag {case['tag']:#x}", f"{indent}{what}", case["doc"]
        yield from _rows(case["layout"], depth + 1)
    if "of" in layout:
        yield from _rows(layout["of"], depth)


def layout_text(name: str) -> str:
    """Return one layout as an aligned table.

    Raises:
        KeyError: no layout has that name.
    """
    layout = LAYOUTS[name]
    rows = list(_rows(layout))
    lines = [f"{name}: {summary(layout)}"]
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(2)]
    for row in rows:
        cells = [row[0].rjust(widths[0]), row[1].ljust(widths[1]), row[2]]
        lines.append(("  " + "  ".join(cells)).rstrip())
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Print what the arguments name; return the exit code."""
    names = [argument for argument in arguments if argument != "--text"]
    unknown = [name for name in names if name not in LAYOUTS]
    if unknown:
        known = ", ".join(LAYOUTS)
        print(f"no layout {unknown[0]!r}; there are: {known}", file=sys.stderr)
        return 2
    if "--text" in arguments:
        print("\n".join(layout_text(name) for name in names or LAYOUTS), end="")
    elif names:
        print(json.dumps({name: LAYOUTS[name] for name in names}, indent=2))
    else:
        print(layouts_json(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
