"""``p2p stat``: what a node knows, laid out as the reference's client lays it out.

Scripts cut these lines apart, so they are the reference's to the last blank.  There are
two forms, of 2019 and of 2026; the node's generation decides.

==============  ========================================================================
line            form; ``D`` is a sign for the state, ``STAT`` bytes sent and received
==============  ========================================================================
all bytes       ``STAT``
a connection    ``↘ PEER POINT (CHAIN.DB (p2p: V)) [ private]``; ``↗``: we dialled
a peer          ``D SCORE PEER STAT ★``; a blank unless it is trusted
a point         ``D POINT PEER ★``, or ``D POINT (last seen: PEER TIME) ★``, or
                ``D POINT ★``
==============  ========================================================================

``STAT`` is ``↗ TOTAL (RATE/s) ↘ TOTAL (RATE/s)``, in 2026 with both parts 27 wide and a
blank behind.  The form of 2026 ends with an empty line.

Source: an admin client of 2019, observed; the reference's admin client, 2026.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from rich.text import Text

from ...spec.identity import PeerId
from ...spec.point import Point
from ...spec.rpc import (
    ConnectionInfo,
    FullStat,
    Generation,
    PeerInfo,
    PeerState,
    PointInfo,
    PointStateKind,
    Stat,
)
from ...spec.version import Version
from ..timestamps import format_time, format_time_2019
from .start import printable

_UNITS: Final = ("kiB", "MiB", "GiB", "TiB")
#: Units of rates.
_RATE_UNITS: Final = _UNITS[:2]
_STAT_WIDTH: Final = 27
_COLUMN: Final = 30

_PEER_SIGNS: Final = {
    PeerState.ACCEPTED: ("⚎", "yellow"),
    PeerState.RUNNING: ("⚌", "green"),
    PeerState.DISCONNECTED: ("⚏", "red"),
}
_POINT_SIGNS: Final = {
    PointStateKind.REQUESTED: ("⚎", "yellow"),
    PointStateKind.ACCEPTED: ("⚍", "yellow"),
    PointStateKind.RUNNING: ("⚌", "green"),
    PointStateKind.DISCONNECTED: ("⚏", "red"),
}
_HEAD: Final = "bold underline cyan"


def size_text(size: int, units: tuple[str, ...] = _UNITS) -> str:
    """Return a number of bytes as the reference writes it."""
    if abs(size) < 1024:
        return f"{size} B"
    power = 1
    while power < len(units) and abs(size) >= 1024 ** (power + 1):
        power += 1
    # In whole numbers, of which none is too large; halves go to the even, as with %.2f.
    hundredths, rest = divmod(100 * abs(size), 1024**power)
    if 2 * rest + hundredths % 2 > 1024**power:
        hundredths += 1
    sign = "-" if size < 0 else ""
    return f"{sign}{hundredths // 100}.{hundredths % 100:02} {units[power - 1]}"


def rate_text(rate: int) -> str:
    """Return bytes a second as the reference writes them."""
    return f"{size_text(rate, _RATE_UNITS)}/s"


def point_of(info: ConnectionInfo) -> Point:
    """Return where a peer is: where it listens, else the other end of the socket."""
    port = info.id_point.port
    return Point(info.id_point.address, info.remote_socket_port if port is None else port)


def version_text(version: Version) -> str:
    """Return what a peer announces."""
    # Names are kept byte by byte; most are text.
    name = version.chain_name.encode("latin-1").decode("utf-8", "replace")
    return f"{name}.{version.distributed_db_version} (p2p: {version.p2p_version})"


def stat_lines(full: FullStat, generation: Generation) -> Iterator[Text]:
    """Yield the lines, with the styles of a terminal."""
    modern = generation is Generation.G2026
    yield _heading("GLOBAL STATS")
    yield Text(f"  {_stat(full.stat, modern)}")
    yield _heading("CONNECTIONS")
    if modern:
        yield Text(" INCOMING")
    for info in full.incoming_connections:
        yield _connection("↘", info)
    if modern:
        yield Text(" OUTGOING")
    for info in full.outgoing_connections:
        yield _connection("↗", info)
    yield _heading("KNOWN PEERS")
    if modern:
        names = "".join(
            f"{name:^{_COLUMN}}" for name in ("Peer Id", "Upload", "Download")
        )
        yield Text("  ").append(f"St Sc {names} Tr", _HEAD)
    for peer_id, peer in full.peers:
        yield _peer(peer_id, peer, modern)
    yield _heading("KNOWN POINTS")
    for point, known in full.points:
        yield _point(point, known, modern)
    if modern:
        yield Text("")


def _heading(name: str) -> Text:
    return Text(name, "bold")


def _stat(stat: Stat, modern: bool) -> str:
    out = f"{size_text(stat.total_sent)} ({rate_text(stat.current_outflow)})"
    into = f"{size_text(stat.total_recv)} ({rate_text(stat.current_inflow)})"
    if modern:
        return f"↗ {out:>{_STAT_WIDTH}} ↘ {into:>{_STAT_WIDTH}} "
    return f"↗ {out} ↘ {into}"


def _connection(arrow: str, info: ConnectionInfo) -> Text:
    version = printable(version_text(info.announced_version))
    private = " private" if info.private else ""
    return Text(f"  {arrow} {info.peer_id} {point_of(info)} ({version}) {private}")


def _star(trusted: bool) -> str:
    return "★" if trusted else " "


def _peer(peer_id: PeerId, peer: PeerInfo, modern: bool) -> Text:
    sign, style = _PEER_SIGNS[peer.state]
    score = f"   {peer.score:.0f}  " if modern else f"  {peer.score:.0f} "
    rest = f"{score}{peer_id} {_stat(peer.stat, modern)} {_star(peer.trusted)}"
    return Text("  ").append(sign, style).append(rest)


def _point(point: Point, info: PointInfo, modern: bool) -> Text:
    sign, style = _POINT_SIGNS[info.state.event_kind]
    runs = info.state.event_kind is PointStateKind.RUNNING
    peer_id = info.p2p_peer_id or info.state.p2p_peer_id
    if runs and peer_id is not None:
        who = f"{peer_id} "
    elif info.last_seen is not None:
        seen, at = info.last_seen
        time = format_time(at) if modern else format_time_2019(at)
        who = f"(last seen: {seen} {time}) "
    else:
        who = ""
    rest = f"  {point} {who}{_star(info.trusted)}"
    return Text("  ").append(sign, style).append(rest)
