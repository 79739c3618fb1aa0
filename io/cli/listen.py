"""``tezos-p2p listen``: accept connections, and tell what happens on them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import App

from ...spec.address import PointError
from ...spec.limits import Limits
from ...spec.point import DEFAULT_PORT, Point, bracketed
from ..sockets import listen_on, point_of
from ..watched import Watched
from .desk import Desk
from .network import (
    ChainName,
    Difficulty,
    DriverName,
    MaybeSeconds,
    NetworkName,
    Versions,
    checked,
    identity_of,
    local_of,
    network_of,
)
from .output import AsJson
from .serving import serve_asyncio, serve_blocking


def _parse(where: str) -> Point:
    try:
        return Point.parse(bracketed(where), DEFAULT_PORT)
    except PointError as exc:
        if str(exc).startswith("port "):
            raise
        what = f"{where[:64]!r} is not of the form 1.2.3.4[:PORT] or [IPv6][:PORT]"
        raise PointError(what) from None


def _check_count(count: int) -> None:
    if count < 1:
        raise ValueError("at least 1 connection")


_Where = Annotated[str, checked(_parse)]
_Count = Annotated[int | None, checked(_check_count)]


def add(app: App) -> None:
    """Register the command."""
    app.command(listen)


def listen(
    where: _Where = f"127.0.0.1:{DEFAULT_PORT}",
    /,
    *,
    identity: Path | None = None,
    network: NetworkName = "sandbox",
    chain_name: ChainName = None,
    distributed_db_versions: Versions = None,
    p2p_versions: Versions = None,
    difficulty: Difficulty = None,
    count: _Count = None,
    seconds: MaybeSeconds = None,
    driver: DriverName = "asyncio",
    as_json: AsJson = False,
) -> None:
    """Accept connections, and tell what happens on them until Ctrl-C.

    Answers Bootstrap with the points of the peers that it has met, and nothing else.

    Args:
        where: address:port to listen on; port 0 takes one that is free.
        identity: file of our identity; without it one is made for this time.
        network: the network to be on.
        chain_name: another network, by the name that its nodes announce.
        distributed_db_versions: versions to support, such as 0,1,2.
        p2p_versions: versions to support, such as 0,1.
        difficulty: bits of work to ask of peers: 26, or 0 on the sandbox network.
        count: end after so many connections, failed handshakes included.
        seconds: end after so many seconds.
        driver: what moves the bytes: asyncio or blocking calls.
        as_json: print one JSON object for each thing that happens.
    """
    ours = network_of(network, chain_name, distributed_db_versions, p2p_versions)
    us = identity_of(identity)
    limits = Limits()
    with listen_on(_parse(where), limits.backlog) as door:
        point = point_of(door.getsockname())
        local = local_of(us, ours, difficulty, port=point.port, limits=limits)
        desk = Desk(as_json, count)
        desk.opened(point, local)
        core = Watched(local, desk.tell)
        serve = serve_asyncio if driver == "asyncio" else serve_blocking
        serve(desk, core, door, seconds)
    desk.check()
