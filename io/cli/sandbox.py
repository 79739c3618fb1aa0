"""``tezos-p2p sandbox``: a network of real nodes on this machine, watched live."""

from __future__ import annotations

import contextlib
import secrets
import sys
from collections.abc import Callable, Generator, Sequence
from typing import Annotated, Any, Final, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ..sandbox import run
from ..sandbox_board import (
    NODES_MAX,
    NODES_MIN,
    PHASES,
    Board,
    NodeRow,
    Plan,
    Summary,
)
from .exits import Exit
from .network import Seconds
from .output import AsJson, is_terminal, tell_facts, tell_json
from .start import complain, remark

#: Lines of the screen that are not nodes: head, totals, notes, cursor.
_AROUND: Final = 6
#: Notes that are shown below the table.
_NOTES: Final = 2

Nodes = Annotated[int, Parameter(validator=Number(gte=NODES_MIN, lte=NODES_MAX))]
Drivers = Literal["asyncio", "blocking", "mixed"]
Show = Callable[[Board], None]


def add(app: App) -> None:
    """Register the command."""
    app.command(sandbox)


def sandbox(
    *,
    nodes: Nodes = 12,
    seconds: Seconds = 25.0,
    driver: Drivers = "mixed",
    seed: int | None = None,
    as_json: AsJson = False,
) -> Exit:
    """Let real nodes form a network on loopback, gossip, and survive a killed process.

    All start at once and know one point.  When each has found enough peers, they pass
    messages on to everybody; one process is killed and started again, and what was said
    meanwhile has to reach its nodes, too.  The exit code is 1 if anything was lost.

    Args:
        nodes: how many, 5 to 100, in a few processes.
        seconds: all of it takes so long at most.
        driver: what moves the bytes of the nodes; mixed: half of them have either.
        seed: for whom is killed and who speaks; another one each time if none is given.
        as_json: print one JSON object at the end.
    """
    if seed is None:
        seed = secrets.randbelow(1 << 32)
    plan = Plan(nodes=nodes, seconds=seconds, driver=driver, seed=seed)
    with _watch() as show:
        summary = run(plan, show)
    if as_json:
        tell_json(summary.json())
    else:
        tell_facts(facts_of(summary))
    for fault in summary.board.faults:
        complain(fault)
    return Exit.OK if summary.good else Exit.FAILED


# -- while it runs ---------------------------------------------------------------------


@contextlib.contextmanager
def _watch() -> Generator[Show]:
    console = Console(stderr=True, highlight=False)
    if not is_terminal(sys.stderr) or console.is_dumb_terminal:
        yield _lines()
        return
    with Live(console=console, auto_refresh=False) as live:

        def show(board: Board) -> None:
            live.update(_picture(board, console.height), refresh=True)

        yield show


def _lines() -> Show:
    told = 0

    def show(board: Board) -> None:
        nonlocal told
        for note in board.notes[told:]:
            remark(note)
        told = len(board.notes)

    return show


def _picture(board: Board, height: int) -> Group:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("node", "process", "driver", "port"):
        table.add_column(name, no_wrap=True)
    for name in ("peers", "told", "heard", "out", "in"):
        table.add_column(name, justify="right", no_wrap=True)
    room = max(1, height - _AROUND - _NOTES)
    rows = list(board.rows.values())
    for row in rows[:room]:
        table.add_row(*_cells(row, board))
    if len(rows) > room:
        table.add_row(f"... {len(rows) - room} more")
    totals = board.totals
    table.add_row("all", "", "", "", "", *_counts(totals), style="bold", end_section=True)
    notes = Text("\n".join(board.notes[-_NOTES:]))
    return Group(table, notes)


def _cells(row: NodeRow, board: Board) -> tuple[str | Text, ...]:
    low, high = board.bounds.min_threshold, board.bounds.max_threshold
    if row.alive:
        count = len(row.peers)
        style = "green" if low <= count <= high else "yellow"
        peers = Text(f"{count} of {low}-{high}", style=style)
    else:
        peers = Text("killed", style="red")
    return (
        row.name,
        str(row.process),
        row.driver,
        str(row.point.port),
        peers,
        *_counts(row.counts),
    )


def _counts(counts: Any) -> tuple[str, str, str, str]:
    return (
        f"{counts['told']:,}",
        f"{counts['heard']:,}",
        size_text(counts["bytes_out"]),
        size_text(counts["bytes_in"]),
    )


def size_text(size: int) -> str:
    """Return a number of bytes for people."""
    for unit, name in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size} B"


def _why(missing: Sequence[object], faults: Sequence[str]) -> str:
    """Say in a few words what has failed."""
    parts = [f"{len(missing):,} deliveries missing"] if missing else []
    parts += faults[:1]
    if len(faults) > 1:
        parts.append(f"and {len(faults) - 1:,} more faults")
    return "; ".join(parts)


# -- at the end ------------------------------------------------------------------------


def facts_of(summary: Summary) -> dict[str, str]:
    """Return the summary for people."""
    found, plan = summary.json(), summary.plan
    facts = {
        "network": f"{plan.nodes} nodes in {plan.processes} processes, {plan.driver}",
        "seed": str(plan.seed),
    }
    for phase in PHASES:
        spent = found[phase]
        facts[phase] = "no" if spent is None else f"after {spent:.2f} s"
    median, longest = found["latency_median"], found["latency_max"]
    facts["killed"] = " ".join(found["killed"]) or "nobody"
    facts["reconnections"] = str(found["reconnections"])
    facts["messages"] = str(found["messages"])
    facts["deliveries"] = f"{found['delivered']:,} of {found['expected']:,}"
    if median is not None:
        facts["latency"] = f"median {median * 1e3:.1f} ms, max {longest * 1e3:.1f} ms"
    facts["to latecomers"] = f"{found['caught_up']:,} of {found['late']:,}"
    facts["sent"] = f"{found['told']:,} messages, {size_text(found['bytes_out'])}"
    facts["took"] = f"{summary.seconds:.1f} s"
    if summary.good:
        facts["verdict"] = "nothing was lost"
    else:
        facts["verdict"] = f"FAILED, {_why(found['missing'], summary.board.faults)}"
    return facts
