"""A node over asyncio.

.. code-block:: python

    async with Node(identity, SANDBOX, SHELL_CODEC, "127.0.0.1:9732") as node:
        async for peer_id, message in node:
            ...

Who is connected to whom is the core's decision (`fsm.node`); how bytes move, the
driver's (`io.aio_driver`).  The blocking_node module has the same class with the same
methods in the same order.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Any, Generic, Self, TypeVar, Unpack

from ..fsm.commands import Maintained, Shout
from ..fsm.inbox import Item, Message
from ..fsm.machine import LocalProtocolError
from ..fsm.node import Node as Core
from ..fsm.pool import Running
from ..spec.identity import Identity, PeerId
from ..spec.message import ApplicationCodec
from ..spec.point import Endpoint, Point
from ..spec.version import Network
from .aio_driver import Driver
from .ends import question, report, split
from .node_ends import (
    STOP_TIMEOUT,
    NodeEnds,
    NodeOptions,
    NotConnected,
    check_node,
    make_core,
)
from .sockets import Nearby, listen_at, point_of, points_of

__all__ = ["Node", "NodeOptions", "NotConnected"]

M = TypeVar("M")
Meta = TypeVar("Meta")
#: As `M`, of a node that is being made.
Told = TypeVar("Told")
T = TypeVar("T")


class NodeDriver(Driver[Core[M, Meta]], Generic[M, Meta]):
    """Moves bytes between a node and the sockets of one event loop.

    Args:
        core: what decides.
        node: who is told what has happened.
    """

    def __init__(self, core: Core[M, Meta], node: Node[M, Meta]) -> None:
        super().__init__(core)
        self._node = node
        self._nearby: Nearby | None = None

    def hear(self, nearby: Nearby) -> None:
        """Send and receive datagrams on a socket."""
        self._nearby = nearby
        self.loop.add_reader(nearby.sock, self._on_datagram)

    def close_nearby(self) -> None:
        """Send and receive no more datagrams."""
        if self._nearby is not None:
            self.loop.remove_reader(self._nearby.sock)
            self._nearby.close()
            self._nearby = None

    @property
    def is_idle(self) -> bool:
        """Whether no socket and no dial is left."""
        return not self._wires and not self._dials

    def lost(self, link: int, exc: BaseException | None) -> None:
        """A socket is closed, or a dial has failed."""
        super().lost(link, exc)
        self._node.on_room(link)
        self._node.on_news()

    def _mistaken(self, link: int, exc: Exception) -> None:
        super()._mistaken(link, exc)
        report(exc)  # nobody may be waiting

    def _write(self, link: int) -> None:
        super()._write(link)
        self._node.on_room(link)

    def _carry_out(self, command: Any) -> None:
        match command:
            case Shout(data) if self._nearby is not None:
                self._nearby.shout(data)
            case Maintained(within):
                self._node.on_maintained(within)
            case _:
                pass

    def _tell(self) -> None:
        self._node.on_news()

    def _on_datagram(self) -> None:
        if self._nearby is not None and (heard := self._nearby.receive()) is not None:
            self.core.receive_datagram(*heard, self.clock())
            self.pump()


class Node(NodeEnds[M, Meta]):
    """A node of the network, from ``async with`` to its end.

    Args:
        identity: who we are.
        network: chain name and versions; peers' must be compatible.
        codec: the application's messages: `spec.shell.SHELL_CODEC`, or another.
        listen: a point, or ``address:port``, port 0 for one that is free; None: nobody
            can dial us.
        nearby: where datagrams of the local network are exchanged, or None.
        core: the node itself, if it was made elsewhere; the options do not matter then.
        options: see `NodeOptions`.

    Raises:
        OSError: it cannot listen there.
        PointError: a text is no point.
        TypeError: an argument is not what it must be; says which.
    """

    def __init__(
        self: Node[Told, Any],  # a type of metadata of one's own comes with `of`
        identity: Identity,
        network: Network,
        codec: ApplicationCodec[Told],
        listen: Point | str | None = None,
        *,
        nearby: Point | None = None,
        **options: Unpack[NodeOptions],
    ) -> None:
        check_node(identity, network, codec, nearby, options)
        door = None if listen is None else listen_at(listen, options.get("limits"))
        port = 0 if door is None else door.getsockname()[1]
        try:
            core = make_core(
                identity, network, codec, port, nearby is not None and port > 0, options
            )
        except BaseException:
            if door is not None:
                door.close()
            raise
        self._begin(core, door, nearby)

    @classmethod
    def of(
        cls,
        core: Core[M, Meta],
        door: socket.socket | None = None,
        nearby: Point | None = None,
    ) -> Self:
        """Return a node around a core and a listening socket that were made elsewhere."""
        made = cls.__new__(cls)
        made._begin(core, door, nearby)
        return made

    def _begin(
        self, core: Core[M, Any], door: socket.socket | None, nearby: Point | None
    ) -> None:
        self.core = core
        self._door = door
        self._nearby = nearby
        if door is not None:
            self.point = point_of(door.getsockname())
        self._driver: NodeDriver[M, Meta] | None = None
        self.stopped = False
        # Who waits: for anything, for something to pull, for the end of a run of
        # maintenance, for room on a link.
        self._news: list[asyncio.Future[None]] = []
        self._readers: list[asyncio.Future[None]] = []
        self._runs: list[asyncio.Future[bool]] = []
        self._rooms: dict[int, list[asyncio.Future[None]]] = {}

    # -- life --------------------------------------------------------------------------

    async def start(self) -> None:
        """Begin to accept, and to look for peers.

        Raises:
            OSError: the socket for datagrams cannot be had.
            LocalProtocolError: it was started or stopped before.
        """
        if self._started or self.stopped:
            before = "stopped" if self.stopped else "started before"
            raise LocalProtocolError("start", before)
        driver = NodeDriver(self.core, self)
        if self._nearby is not None:
            driver.hear(Nearby(self._nearby))
        self._driver, self._started = driver, True
        if self._door is not None:
            driver.open_door(self._door, lambda _: None)
        self._do(lambda core, now: core.start(now, time.time()))

    async def stop(self, timeout: float = STOP_TIMEOUT) -> None:  # noqa: ASYNC109  # it bounds the flush, not the call
        """End everything; return when no socket is left.  Harmless when it has ended.

        Cancelling the first call drops what has not left, and has it end at once.

        Args:
            timeout: seconds that what is queued has to leave; 0 drops it.
        """
        driver = self._driver
        if driver is None:
            self.stopped = True
            if self._door is not None:
                self._door.close()
            self.on_news()
            return
        began = not self.stopped
        try:
            if began:
                self._end(driver, timeout)
            while not driver.is_idle:
                await self._wait(self._news)
        except asyncio.CancelledError:
            if began:
                self._end(driver, 0.0)
            raise
        await driver.finish_accepting()
        self.on_news()

    def _end(self, driver: NodeDriver[M, Meta], timeout: float) -> None:
        self.stopped = True
        driver.close_nearby()
        driver.close_door()
        self._do(lambda core, now: core.stop(now, now + timeout))

    async def __aenter__(self) -> Self:
        """Start, and return itself."""
        try:
            await self.start()
        except BaseException:
            if self._door is not None and self._driver is None:
                self._door.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop; after an exception without flushing."""
        await self.stop(STOP_TIMEOUT if exc is None else 0.0)

    # -- peers -------------------------------------------------------------------------

    async def connect(self, where: Point | str) -> Running[Meta]:
        """Dial a point, whatever its back-off, and return who is connected.

        Args:
            where: a point, or ``host[:port][#peer_id]``; of a name all addresses are
                tried in turn.

        Raises:
            NotConnected: no connection came about.
            LocalProtocolError: the node was not started.
            OSError: the name has no address.
            PointError: the text is no such text.
        """
        self._check_started("connect")
        target, expected = split(where)
        points = (target,) if isinstance(target, Point) else await self._resolve(target)
        for point in points[:-1]:
            try:
                return await self._connect(point, expected)
            except NotConnected:
                continue
        return await self._connect(points[-1], expected)

    async def _resolve(self, endpoint: Endpoint) -> tuple[Point, ...]:
        loop = asyncio.get_running_loop()
        host, port = question(endpoint)
        return points_of(await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))

    async def _connect(self, point: Point, expected: PeerId | None) -> Running[Meta]:
        link = self._dial(point, expected)
        while (running := self.core.pool.running.get(link)) is None:
            if link not in self.core:
                mistake = None if self._driver is None else self._driver.mistake
                if mistake is not None and mistake[0] == link:
                    raise mistake[1]
                raise self._came_to_nothing(link, point)
            await self._wait(self._news)
        return running

    async def send(self, peer_id: PeerId, message: M) -> None:
        """Queue one message, as soon as there is room.

        Raises:
            NotConnected: there is no such connection, or it ended while there was none.
            LocalProtocolError: the node was not started.
            EncodeError: the message has no bytes.
        """
        while not self.send_now(peer_id, message):
            running = self.core.pool.by_peer(peer_id)
            if running is not None:
                await self._wait(self._rooms.setdefault(running.link, []))

    async def maintain(self) -> bool:
        """Look after the number of connections; return whether it is within bounds.

        Raises:
            LocalProtocolError: it was not started, is stopped, or has no maintenance.
        """
        self._check_started("maintain")
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._runs.append(waiter)
        try:
            self._do(lambda core, now: core.maintain(now))
            return await waiter
        finally:
            if waiter in self._runs:
                self._runs.remove(waiter)

    # -- what the application pulls ----------------------------------------------------

    def receive_now(self) -> Item[M] | None:
        """Return the next message, or that somebody joined or left, or None.

        Raises:
            LocalProtocolError: the node was not started.
        """
        item = self.core.receive()
        if item is None:
            self._check_started("receive")
        elif self._driver is not None and self.core.due:
            self._driver.pump()
        return item

    async def receive(self) -> Item[M]:
        """Return the next message, or that somebody joined or left.

        Raises:
            NotConnected: the node has stopped, and nothing is left.
            LocalProtocolError: it was not started.
        """
        while (item := self.receive_now()) is None:
            if self._over:
                raise NotConnected("the node has stopped")
            await self._wait(self._readers)
        return item

    async def items(self) -> AsyncIterator[Item[M]]:
        """Give messages, and who joined and left, until the node has stopped."""
        while True:
            item = self.receive_now()  # nothing is awaited for what is there
            if item is None:
                try:
                    item = await self.receive()
                except NotConnected:
                    return
            yield item

    async def __aiter__(self) -> AsyncIterator[tuple[PeerId, M]]:
        """Give messages and who says them, until the node has stopped."""
        while True:
            item = self.receive_now()
            if item is None:
                try:
                    item = await self.receive()
                except NotConnected:
                    return
            if isinstance(item, Message):
                yield item.peer_id, item.message

    # -- from the driver ---------------------------------------------------------------

    def on_news(self) -> None:
        """Something has happened: wake who waits."""
        self._tell_events()
        waiters, self._news = self._news, []
        if self._readers and (self._over or self.core.readable):
            waiters += self._readers
            self._readers = []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def on_room(self, link: int) -> None:
        """Something of a link was written, or it is gone."""
        for waiter in self._rooms.pop(link, ()):
            if not waiter.done():
                waiter.set_result(None)

    def on_maintained(self, within: bool) -> None:
        """A run of maintenance is over."""
        waiters, self._runs = self._runs, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(within)

    @property
    def _over(self) -> bool:
        return self.stopped and (self._driver is None or self._driver.is_idle)

    def _do(self, act: Callable[[Core[M, Meta], float], T]) -> T:
        driver = self._driver
        if driver is None:
            return act(self.core, 0.0)
        done = act(self.core, driver.clock())
        if self.core.due:
            driver.pump()
        elif self._readers and self.core.readable:
            self.on_news()
        return done

    async def _wait(self, waiters: list[asyncio.Future[None]]) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters.append(waiter)
        try:
            await waiter
        finally:
            if waiter in waiters:  # cancelled: nobody has taken it out
                waiters.remove(waiter)
