"""Lists of a node's connections, points and peers, made in pieces.

Lines are made for `SLICE` seconds at one go; then whatever else the node has to do comes
first.  `LISTS_MAX` lists are made at once, a go of each in turn, so that a short one does
not wait for the long ones before it.  What is made waits for its client elsewhere, and
keeps nobody waiting until all of it is `UNREAD_MAX` bytes.  Who has waited for `PATIENCE`
seconds until some of that was read, or for `TURN` until its list was begun, is told so.

Source: our own.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final

from ...spec import rpc
from ..node_ends import NodeEnds
from ..timestamps import Clocks
from .http import JSON, Reply
from .talk import AnyCore, Talk
from .watch import TooMany

#: Seconds for which a list is made at one go.
SLICE: Final = 0.004
#: Seconds that others have between two goes.
PAUSE: Final = 0.001
#: Lists that are made at once.
LISTS_MAX: Final = 4
#: Bytes of lists that wait for their readers; with as many, no other is begun.
UNREAD_MAX: Final = 64 << 20
#: Seconds that a list may wait for others to be read, and to be made.
PATIENCE: Final = 2.0
TURN: Final = 20.0


class Lists(Talk):
    """Answers with lists; see ``Talk``."""

    def __init__(self, node: NodeEnds[Any, Any], generation: rpc.Generation) -> None:
        super().__init__(node, generation)
        self._slots = asyncio.Semaphore(LISTS_MAX)
        self._turn = asyncio.Lock()
        self._unread = 0
        self._room = asyncio.Event()
        self._room.set()

    async def connections(self) -> Reply:
        return await self._list(_running, self._connection_line)

    async def peers(self, filter: Sequence[str]) -> Reply:  # noqa: A002  # the query's
        return await self._list(_peers, functools.partial(self._peer_line, filter))

    async def points(self, filter: Sequence[str]) -> Reply:  # noqa: A002  # the query's
        return await self._list(_points, functools.partial(self._point_line, filter))

    async def full_stat(self) -> Reply:
        async def parts() -> list[bytes]:
            stat = self._node.ask(lambda core, now: core.survey.stat(now))
            found = [b'{"stat":', self._form.text(stat).encode()]
            for name, items, line in (
                ("incoming_connections", _incoming, self._connection_line),
                ("outgoing_connections", _outgoing, self._connection_line),
                ("peers", _peers, functools.partial(self._peer_line, ())),
                ("points", _points, functools.partial(self._point_line, ())),
            ):
                found.append(f',"{name}":'.encode())
                found += await self._lines(items, line)
            return [*found, b"}\n"]

        return await self._listed(parts)

    async def _list(
        self,
        pick: Callable[[AnyCore], list[Any]],
        line: Callable[[AnyCore, Any, Clocks], object],
    ) -> Reply:
        async def parts() -> list[bytes]:
            return [*await self._lines(pick, line), b"\n"]

        return await self._listed(parts)

    async def _listed(self, parts: Callable[[], Awaitable[list[bytes]]]) -> Reply:
        try:
            async with asyncio.timeout(PATIENCE):
                await self._room.wait()
            async with asyncio.timeout(TURN):
                await self._slots.acquire()
        except TimeoutError:
            raise TooMany("too many lists are made, or wait to be read") from None
        try:
            body = await parts()
        finally:
            self._slots.release()
        size = sum(map(len, body))
        self._wait_for(size)
        return Reply(200, body, JSON, done=lambda: self._wait_for(-size))

    def _wait_for(self, size: int) -> None:
        """Count what waits for readers."""
        self._unread += size
        if self._unread < UNREAD_MAX:
            self._room.set()
        else:
            self._room.clear()

    async def _lines(
        self,
        pick: Callable[[AnyCore], list[Any]],
        line: Callable[[AnyCore, Any, Clocks], object],
    ) -> list[bytes]:
        """Make the lines of a list, in pieces, from its bracket to its bracket."""
        items = iter(self._node.ask(lambda core, _: pick(core)))
        pieces = [b"["]
        while True:
            async with self._turn:
                texts = self._node.ask(
                    lambda core, now: self._some(core, now, items, line)
                )
                if not texts:
                    return [*pieces, b"]"]
                if len(pieces) > 1:
                    pieces.append(b",")
                pieces.append(",".join(texts).encode("utf-8", "replace"))
                await asyncio.sleep(PAUSE)

    def _some(
        self,
        core: AnyCore,
        now: float,
        items: Iterator[Any],
        line: Callable[[AnyCore, Any, Clocks], object],
    ) -> list[str]:
        """Make as many lines as there is time for; none: there are no more."""
        clocks, texts = Clocks(now, time.time()), list[str]()
        until = time.perf_counter() + SLICE
        for item in items:
            made = line(core, item, clocks)
            if made is not None:
                texts.append(self._form.text(made))
            if texts and time.perf_counter() >= until:
                break
        return texts

    def _connection_line(self, core: AnyCore, item: Any, _: Clocks) -> object:
        running = core.pool.running.get(item)
        return None if running is None else core.survey.connection(running)

    def _peer_line(
        self, states: Sequence[str], core: AnyCore, item: Any, clocks: Clocks
    ) -> object:
        if states and item.state.name.lower() not in states:
            return None
        return item.peer_id, core.survey.peer(item, clocks.now, clocks.wall)

    def _point_line(
        self, states: Sequence[str], core: AnyCore, item: Any, clocks: Clocks
    ) -> object:
        if states and item.state.name.lower() not in states:
            return None
        return item.point, core.survey.point(item, clocks.now, clocks.wall)


def _running(core: AnyCore) -> list[Any]:
    return list(core.pool.running)


def _incoming(core: AnyCore) -> list[Any]:
    return [link for link, it in core.pool.running.items() if it.incoming]


def _outgoing(core: AnyCore) -> list[Any]:
    return [link for link, it in core.pool.running.items() if not it.incoming]


def _peers(core: AnyCore) -> list[Any]:
    return list(core.pool.known_peers.values())


def _points(core: AnyCore) -> list[Any]:
    return list(core.pool.known_points.values())
