"""``tezos-p2p admin top``: how a node fares, again and again.

Every node tells its connections and bytes.  What the reference's interface has no place
for, queues, bounds, refusals, bans, only our own nodes tell: with others those lines are
missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final

import attrs
from cyclopts import Parameter
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ...spec.rpc import ConnectionInfo, FullStat, Generation, PeerInfo
from ...spec.status import Listed, Status
from ..rpc import RPC
from ..timestamps import format_time
from .admin_call import NodeOptions, call
from .admin_stat import point_of, rate_text, size_text, version_text
from .admin_watch import Count
from .exits import Exit
from .network import Seconds
from .output import AsJson, Column, is_terminal, tell, tell_facts, tell_json, tell_table
from .start import printable

if TYPE_CHECKING:
    from ..admin_calls import Admin

#: Refusals that are named; the rest is counted together.
_REFUSALS_SHOWN: Final = 6
_COLUMNS: Final = (
    Column("peer id"),
    Column("point"),
    Column("way"),
    Column("in/s", right=True),
    Column("out/s", right=True),
    Column("in", right=True),
    Column("out", right=True),
    Column("score", right=True),
    Column("marks"),
    Column("version"),
)
#: The columns by what they are worth, where not all fit.
_IMPORTANCE: Final = (0, 1, 2, 3, 4, 8, 5, 6, 7, 9)
#: Blanks between two columns.
_GAP: Final = 2

Once = Annotated[bool, Parameter(show_default=False)]
NoColor = Annotated[bool, Parameter(name="--no-color", show_default=False)]
Show = Callable[["Picture", str], None]


@attrs.frozen
class Picture:
    """How a node fares at a moment.

    Attributes:
        where: its interface.
        generation: of it.
        at: seconds of the epoch.
        full: what it knows.
        status: how full it is, if it tells.
        greylist: how many are greylisted, if it tells.
    """

    where: str
    generation: Generation
    at: float
    full: FullStat
    status: Status | None
    greylist: Listed | None

    def links(self) -> list[tuple[ConnectionInfo, PeerInfo | None]]:
        """Return all connections, those that move most bytes first."""
        known = dict(self.full.peers)
        found = [
            (info, known.get(info.peer_id))
            for info in (*self.full.incoming_connections, *self.full.outgoing_connections)
        ]
        return sorted(found, key=_order)

    def facts(self) -> dict[str, str]:
        """Return what is known of the whole node, line by line."""
        incoming = len(self.full.incoming_connections)
        outgoing = len(self.full.outgoing_connections)
        stat = self.full.stat
        into = f"{size_text(stat.total_recv)} ({rate_text(stat.current_inflow)})"
        out = f"{size_text(stat.total_sent)} ({rate_text(stat.current_outflow)})"
        facts = {
            "node": f"{self.where} ({self.generation.value})",
            "time": format_time(self.at),
            "connections": f"{incoming + outgoing}: {incoming} in, {outgoing} out",
            "received": into,
            "sent": out,
            "known": f"{len(self.full.peers)} peers, {len(self.full.points)} points",
        }
        if self.greylist is not None:
            facts["greylist"] = _listed(self.greylist)
        if self.status is not None:
            facts |= _status_facts(self.status)
        return facts

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        data = RPC[self.generation].data
        return {
            "time": format_time(self.at),
            "endpoint": self.where,
            "generation": self.generation.value,
            "stat": data(self.full.stat),
            "connections": [
                {**data(info), "stat": None if peer is None else data(peer.stat)}
                for info, peer in self.links()
            ],
            "known": {"peers": len(self.full.peers), "points": len(self.full.points)},
            "greylist": None if self.greylist is None else attrs.asdict(self.greylist),
            "status": None if self.status is None else attrs.asdict(self.status),
        }


def _order(link: tuple[ConnectionInfo, PeerInfo | None]) -> tuple[int, str]:
    info, peer = link
    rate = 0 if peer is None else peer.stat.current_inflow + peer.stat.current_outflow
    return -rate, str(info.peer_id)


def _listed(listed: Listed) -> str:
    return f"{listed.ips} addresses, {listed.peers} peers"


def _status_facts(status: Status) -> dict[str, str]:
    counts = status.connections
    facts = {
        "pending": str(counts.pending),
        "bounds": (
            f"{counts.min} to {counts.max}, {counts.expected} expected; looks for peers "
            f"below {counts.min_threshold} until {counts.min_target}, trims above "
            f"{counts.max_threshold} down to {counts.max_target}"
        ),
        "banned": _listed(status.banned),
    }
    for name, fill, most in status.fills():
        facts[f"queue {name}"] = str(fill) if most is None else f"{fill} of {most}"
    if status.refusals:
        ordered = sorted(status.refusals.items(), key=lambda each: (-each[1], each[0]))
        told = [f"{name} {count}" for name, count in ordered[:_REFUSALS_SHOWN]]
        rest = sum(count for _, count in ordered[_REFUSALS_SHOWN:])
        facts["refusals"] = ", ".join([*told, f"others {rest}"] if rest else told)
    else:
        facts["refusals"] = "none"
    return facts


def _cells(info: ConnectionInfo, peer: PeerInfo | None) -> tuple[str, ...]:
    marks = ("private " if info.private else "") + (
        "trusted" if peer is not None and peer.trusted else ""
    )
    stat = None if peer is None else peer.stat
    return (
        str(info.peer_id),
        str(point_of(info)),
        "in" if info.incoming else "out",
        "" if stat is None else rate_text(stat.current_inflow),
        "" if stat is None else rate_text(stat.current_outflow),
        "" if stat is None else size_text(stat.total_recv),
        "" if stat is None else size_text(stat.total_sent),
        "" if peer is None else f"{peer.score:g}",
        marks.strip(),
        version_text(info.announced_version),
    )


def top(
    *,
    interval: Seconds = 2.0,
    once: Once = False,
    count: Count = None,
    no_color: NoColor = False,
    node: NodeOptions | None = None,
    as_json: AsJson = False,
) -> Exit:
    """Show how a node fares, again and again until Ctrl-C.

    Connections, those that move most bytes first; and what the node tells of its bounds,
    queues, lists and refusals.

    Args:
        interval: seconds between two looks.
        once: look once, and end.
        count: look so many times, and end.
        no_color: no colours on a terminal, either.
        node: which node.
        as_json: print one JSON object for each look.
    """
    looks = 1 if once else count

    async def work(admin: Admin) -> None:
        from ..admin_client import AdminError

        look = _Look(admin)
        with _shown(as_json, once, no_color) as (show, lasting):
            picture = await look.take()
            show(picture, "")
            done = 1
            while looks is None or done < looks:
                await asyncio.sleep(interval)
                try:
                    picture = await look.take()
                except AdminError as exc:
                    if not lasting:
                        raise
                    show(picture, exc.lines[-1].strip())
                else:
                    show(picture, "")
                done += 1

    return call(node, work, lambda _: None)


@attrs.define(eq=False)
class _Look:
    """Looks at a node; asks for what it does not tell only once."""

    admin: Admin
    tells_status: bool = True
    tells_greylist: bool = True

    async def take(self) -> Picture:
        full = await self.admin.stat()
        status = await self.admin.status() if self.tells_status else None
        self.tells_status = status is not None
        listed = None if status is None else status.greylist
        if listed is None and self.tells_greylist:
            listed = await self.admin.greylist()
            self.tells_greylist = listed is not None
        where = str(self.admin.client.endpoint)
        generation = self.admin.generation
        return Picture(where, generation, time.time(), full, status, listed)


# -- showing ---------------------------------------------------------------------------


@contextlib.contextmanager
def _shown(as_json: bool, once: bool, no_color: bool) -> Generator[tuple[Show, bool]]:
    """Yield what shows a picture, and whether it goes on when a look fails."""
    if as_json:
        yield lambda picture, _: tell_json(picture.document()), False
        return
    console = Console(highlight=False, no_color=no_color or None)
    if once or not is_terminal(sys.stdout) or console.is_dumb_terminal:
        yield _printer(), False
        return
    with Live(console=console, auto_refresh=False, screen=True) as live:

        def show(picture: Picture, fault: str) -> None:
            size = console.size
            live.update(_drawn(picture, fault, size.width, size.height), refresh=True)

        yield show, True


def _printer() -> Show:
    first = True

    def show(picture: Picture, _: str) -> None:
        nonlocal first
        if not first:
            tell("")
        first = False
        tell_facts(picture.facts())
        tell("")
        tell_table(_COLUMNS, [_cells(*link) for link in picture.links()])

    return show


def _drawn(picture: Picture, fault: str, width: int, height: int) -> Group:
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column(no_wrap=True, overflow="ellipsis")
    for name, value in picture.facts().items():
        style = _health(picture.status) if name == "connections" else ""
        facts.add_row(name, Text(printable(value), style))
    links = picture.links()
    # Two blank lines, the table's head, the fault, and one for those that do not fit.
    room = max(1, height - facts.row_count - 4)
    rows = [tuple(map(printable, _cells(*link))) for link in links[:room]]
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    shown = columns_that_fit(rows, width)
    for column in (_COLUMNS[number] for number in shown):
        table.add_column(
            column.name,
            justify="right" if column.right else "left",
            no_wrap=True,
            overflow="ellipsis",
        )
    for row in rows:
        table.add_row(*(Text(row[number]) for number in shown))
    rest = f"... {len(links) - room} more" if len(links) > room else ""
    return Group(facts, Text(""), table, Text(rest), Text(printable(fault), "red"))


def columns_that_fit(rows: Sequence[Sequence[str]], width: int) -> list[int]:
    """Return the numbers of the columns that a screen has room for, the first at least.

    Whole, or not at all: half a peer id is of no use.
    """
    shown: list[int] = []
    for number in _IMPORTANCE:
        name = _COLUMNS[number].name
        wide = max((len(name), *(len(row[number]) for row in rows)))
        if not shown or wide + _GAP <= width:
            shown.append(number)
        width -= wide + _GAP
    return sorted(shown)


def _health(status: Status | None) -> str:
    if status is None:
        return ""
    counts = status.connections
    within = counts.min_threshold <= counts.running <= counts.max_threshold
    return "green" if within else "yellow"
