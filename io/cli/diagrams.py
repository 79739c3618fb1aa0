"""``tezos-p2p diagrams``: the state machines as text and pictures."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from cyclopts import App, Parameter

from ...fsm.diagram import FORMATS, MACHINES, MissingLayouter, find_table, is_current
from ...fsm.machine import Table
from .exits import CommandError, Exit
from .output import AsJson, Column, tell, tell_json, tell_table
from .start import complain

_Format = Literal["mmd", "dot", "json", "svg"]
_COLUMNS: Final = (
    Column("machine"),
    Column("states", right=True),
    Column("rows", right=True),
)


def add(app: App) -> None:
    """Register the command."""
    app.command(diagrams)


def diagrams(
    machine: str | None = None,
    /,
    *,
    output: Path | None = None,
    format: list[_Format] | None = None,  # noqa: A002  # the option's name
    check: Annotated[bool, Parameter(show_default=False)] = False,
    as_json: AsJson = False,
) -> Exit:
    """List the state machines, print one, or write files of all.

    Args:
        machine: the machine to print or write: a name, or module:TABLE.
        output: folder to write into, one file for each machine and format.
        format: mmd when printing, all when writing; may be given several times.
        check: write nothing; exit code 1 if a file in --output is out of date.
        as_json: print one JSON object.
    """
    try:
        tables = [find_table(machine)] if machine else list(MACHINES.values())
    except LookupError as exc:
        raise CommandError(str(exc), Exit.MISUSE) from None
    try:
        if output is not None:
            chosen = list(format or _all_formats(check=check))
            return _files(tables, chosen, output, check=check, as_json=as_json)
        if check:
            raise CommandError("--check needs --output", Exit.MISUSE)
        if machine or format:
            _print(tables, format or ["mmd"], as_json=as_json)
        else:
            _list(tables, as_json=as_json)
    except MissingLayouter as exc:
        raise CommandError(str(exc), Exit.MISUSE) from None
    return Exit.OK


def _list(tables: Sequence[Table], *, as_json: bool) -> None:
    lines: list[dict[str, Any]] = [
        {"name": table.name, "states": len(table.states), "rows": len(table.rows)}
        for table in tables
    ]
    if as_json:
        tell_json({"machines": lines})
    else:
        rows = ([str(value) for value in line.values()] for line in lines)
        tell_table(_COLUMNS, rows)


def _print(tables: Sequence[Table], formats: Sequence[str], *, as_json: bool) -> None:
    texts = [
        {"machine": table.name, "format": suffix, "text": FORMATS[suffix](table)}
        for table in tables
        for suffix in formats
    ]
    if as_json:
        tell_json({"diagrams": texts})
    else:
        print("".join(text["text"] for text in texts), end="")


def _all_formats(*, check: bool) -> list[str]:
    # Whether a picture is current can be told without the layouter.
    if check or importlib.util.find_spec("mmdr") is not None:
        return list(FORMATS)
    complain("no SVG, for want of the mmdr package")
    return [suffix for suffix in FORMATS if suffix != "svg"]


def _files(
    tables: Sequence[Table],
    formats: Sequence[str],
    folder: Path,
    *,
    check: bool,
    as_json: bool,
) -> Exit:
    current: list[str] = []
    stale: list[str] = []
    for table in tables:
        for suffix in dict.fromkeys(formats):
            path = folder / f"{table.name}.{suffix}"
            if is_current(path, table, suffix):
                current.append(str(path))
                continue
            stale.append(str(path))
            if not check:
                text = FORMATS[suffix](table)
                folder.mkdir(parents=True, exist_ok=True)
                path.write_text(text, "utf-8", newline="\n")
    if check and stale:
        complain(f"out of date: {', '.join(stale)}")
    if as_json:
        tell_json({"current": current, "stale" if check else "written": stale})
    elif not check:
        for name in stale:
            tell(name)
    return Exit.FAILED if check and stale else Exit.OK
