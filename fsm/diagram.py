"""State tables as pictures: Mermaid, DOT and JSON text, and SVG.

Drawn from the `Table` that runs, so a diagram cannot disagree with its machine.  All
text formats are written by this module alone; SVG is the Mermaid text, laid out by the
``mmdr`` package if that is installed (extra ``dev``): no browser, no network.

.. code-block:: text

    python -m tezos_p2p.fsm.diagram [MACHINE | module:TABLE] [--format FORMAT]
                                    [--output DIR] [--check]

Without a machine: all of this package.  ``module:TABLE`` names a `Table` of your own.
Without ``--output`` the text goes to standard output; with it, into one file per
machine and format.  ``--check`` writes nothing and fails if a file is not what would
be written: of an SVG it looks whether it is whole and made of this Mermaid text, since
layouts differ between versions of the layouter.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from . import (
    admission,
    discovery,
    handshake,
    lifecycle,
    maintenance,
    peer,
    point,
    swap,
    welcome,
    worker,
)
from .machine import Row, States, Table

#: The machines of this package, by name.
MACHINES: Final[Mapping[str, Table]] = {
    table.name: table
    for table in (
        lifecycle.TABLE,
        handshake.TABLE,
        admission.TABLE,
        point.TABLE,
        peer.TABLE,
        swap.TABLE,
        maintenance.TABLE,
        welcome.TABLE,
        discovery.TABLE,
        worker.TABLE,
    )
}


def _label(row: Row) -> str:
    guards = f" [{' & '.join(name.lstrip('_') for name in row.guard)}]"
    return row.trigger + (guards if row.guard else "")


def edges(table: Table) -> Iterator[tuple[States, States, str]]:
    """Give (source, destination, label) in table order; equal pairs are joined.

    A row that stays where it is appears as an edge from the state to itself.
    """
    labels: dict[tuple[States, States], list[str]] = {}
    for _, source, row in table.lines():
        labels.setdefault((source, row.dest or source), []).append(_label(row))
    for (source, dest), names in labels.items():
        yield source, dest, ", ".join(names)


def mermaid(table: Table, taken: Mapping[tuple[str, str], str] | None = None) -> str:
    """Return a Mermaid ``stateDiagram-v2``.

    Args:
        table: of the machine.
        taken: a path through it, which stands out: what to say beside each edge that
            was taken, by the names of its states.
    """
    said: Mapping[tuple[str, str], str] = {} if taken is None else taken
    lines = ["stateDiagram-v2", f"    [*] --> {table.initial.name}"]
    for a, b, label in edges(table):
        more = said.get((a.name, b.name))
        lines.append(f"    {a.name} --> {b.name} : {label}{f' {more}' if more else ''}")
    lines += [f"    {state.name} --> [*]" for state in table.final]
    met = dict.fromkeys(name for edge in said for name in edge)
    if met:
        lines.append("    classDef taken fill:#ffe8a3,stroke:#a66f00,stroke-width:2px")
        lines.append(f"    class {','.join(met)} taken")
    return "\n".join(lines) + "\n"


def dot(table: Table) -> str:
    """Return Graphviz text."""
    final = set(table.final)
    lines = [f'digraph "{table.name}" {{', '  node [shape=box, style="rounded"];']
    lines += ["  __start [shape=point];", f"  __start -> {table.initial.name};"]
    for state in table.states:
        shape = ", peripheries=2" if state in final else ""
        lines.append(f"  {state.name} [tooltip={json.dumps(str(state.value))}{shape}];")
    for a, b, label in edges(table):
        lines.append(f"  {a.name} -> {b.name} [label={json.dumps(label)}];")
    return "\n".join([*lines, "}"]) + "\n"


def as_json(table: Table) -> str:
    """Return the whole table as JSON: states with their meaning, rows in order."""
    rows: list[dict[str, Any]] = [
        {
            "trigger": row.trigger,
            "source": [source.name for source in row.sources],
            "dest": row.dest.name if row.dest is not None else None,
            "guard": list(row.guard),
            "after": list(row.after),
        }
        for row in table.rows
    ]
    document = {
        "machine": table.name,
        "initial": table.initial.name,
        "final": [state.name for state in table.final],
        "states": {state.name: state.value for state in table.states},
        "rows": rows,
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


class MissingLayouter(Exception):
    """SVG was asked for and the package that lays it out is not installed."""


def _fingerprint(table: Table, picture: str) -> str:
    """Say what a picture was made of, and that it is whole."""
    made_of, whole = (
        hashlib.sha256(text.encode()).hexdigest() for text in (mermaid(table), picture)
    )
    return f"<!-- made of mermaid sha256 {made_of}, whole sha256 {whole} -->\n"


def svg(table: Table) -> str:
    """Return the diagram as SVG; its last line has the fingerprints of text and picture.

    Raises:
        MissingLayouter: ``mmdr`` is not installed.
    """
    try:
        layouter = importlib.import_module("mmdr")
    except ImportError:
        raise MissingLayouter(
            "SVG needs the mmdr package: pip install 'tezos-p2p[dev]'"
        ) from None
    picture: str = layouter.Diagram(mermaid(table)).svg()
    # The layouter leaves the background open: dark lines on a reader's dark page.
    picture = picture.replace('style="', 'style="background:white;', 1)
    picture = picture.rstrip("\n") + "\n"
    return picture + _fingerprint(table, picture)


FORMATS: Final[Mapping[str, Callable[[Table], str]]] = {
    "mmd": mermaid,
    "dot": dot,
    "json": as_json,
    "svg": svg,
}


def find_table(name: str) -> Table:
    """Return the table of a machine of this package, or of ``module:TABLE``.

    Raises:
        LookupError: there is none; says what there is.
    """
    if name in MACHINES:
        return MACHINES[name]
    module_name, colon, attribute = name.partition(":")
    if not colon:
        known = ", ".join(MACHINES)
        raise LookupError(f"no machine {name!r}; there are: {known}, or module:TABLE")
    try:
        found = getattr(importlib.import_module(module_name), attribute, None)
    except (ImportError, TypeError, ValueError) as exc:  # the latter: no module's name
        raise LookupError(f"cannot import {module_name!r}: {exc}") from None
    if not isinstance(found, Table):
        raise LookupError(f"{name!r} is not a {Table.__name__}")
    return found


def is_current(path: Path, table: Table, suffix: str) -> bool:
    """Whether a file is what would be written for a table."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    if suffix == "svg":
        picture = text[: text.rstrip("\n").rfind("\n") + 1]
        return text == picture + _fingerprint(table, picture)
    return text == FORMATS[suffix](table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 1 if ``--check`` fails, 2 on misuse."""
    parser = argparse.ArgumentParser(
        prog="python -m tezos_p2p.fsm.diagram",
        description="Draw state machines from the tables that run them.",
    )
    parser.add_argument("machine", nargs="?", help="name, or module:TABLE; default: all")
    parser.add_argument(
        "--format", choices=FORMATS, help="default: mmd; all with --output"
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="write files there")
    parser.add_argument("--check", action="store_true", help="fail if files differ")
    options = parser.parse_args(arguments)
    if options.check and options.output is None:
        parser.error("--check needs --output")
    try:
        names = [options.machine] if options.machine else list(MACHINES)
        tables = [find_table(name) for name in names]
        if options.output is None:
            for table in tables:
                print(FORMATS[options.format or "mmd"](table), end="")
            return 0
        formats = [options.format] if options.format else list(FORMATS)
        can_lay_out = importlib.util.find_spec("mmdr") is not None
        if not (options.format or options.check or can_lay_out):
            print("diagram: no SVG, for want of the mmdr package", file=sys.stderr)
            formats.remove("svg")
        return _files(tables, formats, options.output, check=options.check)
    except (LookupError, MissingLayouter, OSError) as exc:
        print(f"diagram: {exc}", file=sys.stderr)
        return 2


def _files(
    tables: Sequence[Table], formats: Sequence[str], folder: Path, *, check: bool
) -> int:
    stale: list[str] = []
    for table in tables:
        for suffix in formats:
            path = folder / f"{table.name}.{suffix}"
            if is_current(path, table, suffix):
                continue
            stale.append(path.name)
            if not check:
                folder.mkdir(parents=True, exist_ok=True)
                path.write_text(FORMATS[suffix](table), "utf-8", newline="\n")
    if check and stale:
        print(f"diagram: out of date: {', '.join(stale)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
