"""``tezos-p2p spec``: the layouts of the messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any, Final

from cyclopts import App

from ...spec.layouts import LAYOUTS, summary
from .exits import CommandError, Exit
from .output import AsJson, Column, tell, tell_json, tell_table

_COLUMNS: Final = (
    Column("offset", right=True),
    Column("size", right=True),
    Column("field"),
    Column("type", wraps=True),
    Column("meaning", wraps=True),
)


def add(app: App) -> None:
    """Register the command."""
    app.command(spec)


def spec(name: str | None = None, /, *, as_json: AsJson = False) -> None:
    """List the layouts of the messages, or show one of them.

    Args:
        name: the layout to show; without it the names are listed.
        as_json: print one JSON object.
    """
    if name is None:
        lines = [(known, summary(layout)) for known, layout in LAYOUTS.items()]
        if as_json:
            tell_json({"layouts": [{"name": n, "summary": s} for n, s in lines]})
        else:
            tell_table((Column("name"), Column("layout", wraps=True)), lines)
        return
    layout = LAYOUTS.get(name)
    if layout is None:
        raise CommandError(_unknown(name), Exit.MISUSE)
    if as_json:
        tell_json({"name": name, "layout": layout})
        return
    what = summary(layout)
    tell(name if what == name else f"{name}: {what}")
    if rows := list(_rows(layout)):
        tell("")
        tell_table(_COLUMNS, rows)


def _unknown(name: str) -> str:
    close = difflib.get_close_matches(name.lower(), LAYOUTS, cutoff=0.5)
    if close:
        return f"no layout {name!r}; did you mean {' or '.join(close)}?"
    return f"no layout {name!r}; `tezos-p2p spec` lists all"


def _rows(
    layout: Mapping[str, Any], depth: int = 0
) -> Iterator[tuple[str, str, str, str, str]]:
    """Give offset, size, field, type and meaning, line by line; parts are indented."""
    indent = "  " * depth
    for field in layout.get("fields", ()):
        name, inner = str(field["name"]), dict(field["layout"])
        if inner.get("as") == name.replace("_", " "):
            del inner["as"]  # said already
        # Offsets of inner fields count from the inner record.
        offset = str(field.get("offset", "")) if depth == 0 else ""
        size = str(inner.get("size", "varies"))
        yield offset, size, f"{indent}{name}", summary(inner), field["doc"]
        yield from _rows(inner, depth + 1)
    for case in layout.get("cases", ()):
        inner = case["layout"]
        size = str(inner.get("size", "varies"))
        yield "", size, f"{indent}tag {case['tag']:#x}", summary(inner), case["doc"]
        yield from _rows(inner, depth + 1)
    if "of" in layout:
        yield from _rows(layout["of"], depth)
