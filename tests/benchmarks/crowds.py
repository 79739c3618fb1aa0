"""Many connections at once: sides for two_processes that dial, accept, or just hold them.

Every dialler has an identity of its own, made beforehand, and no key is remembered: each
handshake costs its key agreements, and what a connection knows is its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from talking import LOOPBACK, RAW, SMALL, someone
from two_processes import Orders
from yardsticks.bare_protocol import Bare

from tezos_p2p.io import aio
from tezos_p2p.spec.limits import Limits
from tezos_p2p.spec.version import SANDBOX

#: Handshakes, or dials, that are in progress at once.
AT_ONCE = 32
LIMITS = Limits(
    min_connections=0,
    expected_connections=1000,
    max_connections=60_000,
    backlog=255,
    max_incoming_connections=255,
)
#: First number of the identities that dial; what listens has another.
FIRST = 1000


async def open_house() -> Any:
    listener = await aio.listen(
        f"{LOOPBACK}:0", someone(2), SANDBOX, RAW, difficulty=0.0, limits=LIMITS
    )
    listener._driver.core._local.keys.capacity = 0
    return listener


async def dial(port: int, identity: Any) -> Any:
    return await aio.connect(
        f"{LOOPBACK}:{port}", identity, SANDBOX, RAW, difficulty=0.0, limits=LIMITS
    )


# -- handshakes ------------------------------------------------------------------------


async def welcomes(orders: Orders) -> None:
    """Accept whoever comes; connections go when their other end does."""

    async def accept() -> None:
        async for _ in listener:
            pass

    async with await open_house() as listener:
        accepting = asyncio.create_task(accept())
        orders.say(listener.point.port)
        async for _ in orders:
            pass
    await accepting


async def knocks(orders: Orders, port: int, people: int) -> None:
    """Do some handshakes, so many at once, by so many people in turn."""
    identities = [someone(FIRST + number) for number in range(people)]
    done = 0

    async def worker(count: int) -> None:
        nonlocal done
        for _ in range(count):
            identity = identities[done % people]
            done += 1
            (await dial(port, identity)).abort()

    orders.say("connected")
    async for count in orders:
        await asyncio.gather(*(worker(count // AT_ONCE) for _ in range(AT_ONCE)))
        orders.say("done")


# -- idle connections ------------------------------------------------------------------


def resident() -> int | None:
    """Return the bytes of memory that the process has, where that is known."""
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    return None


@contextlib.contextmanager
def growth(traced: bool) -> Iterator[list[int | None]]:
    """Put into the list by how many bytes the process has grown meanwhile.

    Args:
        traced: whether objects are counted, or resident memory.
    """
    found: list[int | None] = []
    gc.collect()
    if traced:
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
    else:
        before = resident()
    yield found
    gc.collect()
    if traced:
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        found.append(after - before)
    else:
        after = resident()
        found.append(None if before is None or after is None else after - before)


async def echo(peers: list[Any]) -> None:
    for peer in peers:
        await peer.send(await peer.receive())


async def holds_ours(orders: Orders, traced: bool, talks: bool) -> None:
    """Accept so many connections and keep them; say how many bytes that took."""
    async with await open_house() as listener:
        orders.say(listener.point.port)
        kept: list[Any] = []
        async for count in orders:
            with growth(traced) as grown:
                orders.say("ready")
                for _ in range(count):
                    kept.append(await listener.accept())
                if talks:
                    await echo(kept[-count:])
                await asyncio.sleep(0.1)
            orders.say(grown[0])
        assert all(peer.disconnection is None for peer in kept)
        for peer in kept:
            peer.abort()


async def joins_ours(orders: Orders, port: int, talks: bool) -> None:
    """Open as many connections as it is told, and keep them; say when they are."""
    kept: list[Any] = []
    identities = map(someone, itertools.count(FIRST))

    async def worker(count: int) -> None:
        for _ in range(count):
            kept.append(await dial(port, next(identities)))

    orders.say("connected")
    async for count in orders:
        await asyncio.gather(*(worker(count // AT_ONCE) for _ in range(AT_ONCE)))
        if talks:
            for peer in kept[-count:]:
                await peer.send(SMALL)
            for peer in kept[-count:]:
                await peer.receive()
        orders.say(len(kept))
    for peer in kept:
        peer.abort()


async def holds_bare(orders: Orders, traced: bool) -> None:
    """Do as `holds_ours`, with protocols that do nothing."""
    kept: list[Bare] = []
    made: asyncio.Queue[Bare] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Bare(made.put_nowait), LOOPBACK, 0)
    orders.say(server.sockets[0].getsockname()[1])
    async for count in orders:
        with growth(traced) as grown:
            orders.say("ready")
            for _ in range(count):
                kept.append(await made.get())
            await asyncio.sleep(0.1)
        orders.say(grown[0])
    for protocol in kept:
        protocol.transport.abort()
    server.close()


async def joins_bare(orders: Orders, port: int) -> None:
    """Do as `joins_ours`, without a word."""
    kept: list[Bare] = []
    loop = asyncio.get_running_loop()
    orders.say("connected")
    async for count in orders:
        for _ in range(count):
            await loop.create_connection(lambda: Bare(kept.append), LOOPBACK, port)
        orders.say(len(kept))
    for protocol in kept:
        protocol.transport.abort()
