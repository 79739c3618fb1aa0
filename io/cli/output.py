"""What commands print, and how.

Results go to standard output: with ``--json`` one JSON object on one line (a command
that goes on and on prints one for each thing that happens), else text for people.
Progress and errors go to standard error.  Colours and tables that fit are for
terminals; elsewhere no line is wrapped or cut.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, NamedTuple, TextIO, cast

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from .start import printable

#: The type of the option ``--json``, which every command has.
AsJson = Annotated[bool, Parameter(name="--json", show_default=False)]


def is_terminal(stream: TextIO) -> bool:
    """Whether people look at a stream."""
    # Python has None in place of a stream that was closed when it started.
    return cast("object", stream) is not None and stream.isatty()


def tell_json(document: Mapping[str, Any]) -> None:
    """Print an object on one line, at once."""
    print(json.dumps(document), flush=True)


def tell(line: str) -> None:
    """Print a line as it is, however long."""
    print(printable(line), flush=True)


def tell_styled(lines: Iterable[Text], *, plain: bool = False) -> None:
    """Print lines as they are, however long; with their styles only on a terminal."""
    if plain or not is_terminal(sys.stdout):
        for line in lines:
            tell(line.plain)
        return
    console = Console(highlight=False)
    for line in lines:
        # Not wrapped by us: a terminal's own wrapping can be copied as one line.
        console.print(line, soft_wrap=True)


def tell_facts(facts: Mapping[str, str]) -> None:
    """Print names and values, one pair a line."""
    width = max(map(len, facts), default=0)
    console = Console(highlight=False)
    for name, value in facts.items():
        if not is_terminal(sys.stdout):
            tell(f"{name:<{width}}  {value}")
            continue
        line = Text(f"{name:<{width}}  ", style="bold").append(
            printable(value), style="not bold"
        )
        # Not wrapped by us: a terminal's own wrapping can be copied as one line.
        console.print(line, soft_wrap=True)


class Column(NamedTuple):
    """A column of a table.

    Attributes:
        name: its head.
        right: aligned to the right.
        wraps: may take several lines where it does not fit.
    """

    name: str
    right: bool = False
    wraps: bool = False


def tell_table(columns: Sequence[Column], rows: Iterable[Sequence[str]]) -> None:
    """Print a table."""
    cells = [[printable(cell) for cell in row] for row in rows]
    if is_terminal(sys.stdout):
        _draw(columns, cells)
        return
    lines = [[column.name for column in columns], *cells]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = (
            cell.rjust(width) if column.right else cell.ljust(width)
            for column, cell, width in zip(columns, line, widths, strict=True)
        )
        print("  ".join(padded).rstrip())


def _draw(columns: Sequence[Column], rows: list[list[str]]) -> None:
    console = Console(highlight=False)
    roomy = console.width >= 60
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(
            column.name,
            justify="right" if column.right else "left",
            overflow="fold",
            no_wrap=roomy and not column.wraps,
        )
    for row in rows:
        table.add_row(*map(Text, row))
    console.print(table)


def takes_colours(stream: TextIO) -> bool:
    """Whether a stream is a terminal that shows colours, and its user wants them."""
    if not is_terminal(stream):
        return False
    console = Console(file=stream)
    return console.color_system is not None and not console.no_color


def help_console(*, stderr: bool = False) -> Console:
    """Return what help is printed on: as wide as it needs to be, but on terminals."""
    people = is_terminal(sys.stderr if stderr else sys.stdout)
    return Console(stderr=stderr, width=None if people else 10_000)
