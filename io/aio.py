"""Connections over asyncio: dial or listen, then send and receive messages.

.. code-block:: python

    async with await connect("127.0.0.1:9732", identity, SANDBOX, SHELL_CODEC) as peer:
        await peer.send(GetCurrentBranch(chain_id))
        async for message in peer:
            ...

What is done when is the core's decision (`fsm.solo`); how bytes move, the driver's
(`io.aio_driver`).  The blocking module has the same classes and functions in the same
order.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Final, Generic, Self, TypeVar, Unpack

from ..fsm.connection import Connection as Machine
from ..fsm.solo import Solo
from ..spec.events import Remote
from ..spec.identity import Identity, PeerId
from ..spec.limits import Limits
from ..spec.message import ApplicationCodec, ControlMessage
from ..spec.point import Point
from ..spec.reasons import Disconnection, Reason
from ..spec.version import Network, Version
from .aio_driver import Driver
from .arguments import check_ends, point_at
from .ends import (
    CLOSE_TIMEOUT,
    ConnectionEnded,
    Ends,
    Options,
    question,
    shown,
    shown_connection,
    split,
    unreached,
)
from .sockets import listen_on, point_of, points_of

__all__ = ["Connection", "ConnectionEnded", "Listener", "Options", "connect", "listen"]

M = TypeVar("M")

#: Messages that an iteration gives before others have their turn.
BATCH: Final = 512


class Connection(Generic[M]):
    """One established connection; made by `connect` and `listen`.

    A context manager: leaving it closes, flushing if there was no exception.  Iterating
    gives messages until the connection ends: quietly if one side closed, with
    `ConnectionEnded` if it failed.

    Attributes:
        link: its number in the core.
    """

    __slots__ = (
        "__weakref__",
        "_core",
        "_driver",
        "_machine",
        "_point",
        "_waiters",
        "link",
        "on_wake",
    )

    def __init__(self, driver: Driver[Solo[M]], link: int) -> None:
        self.link = link
        self._driver = driver
        self._core = driver.core
        self._machine: Machine[M] = driver.core.connection(link)
        self._point = driver.core.point(link)
        # A list only while somebody waits.
        self._waiters: list[asyncio.Future[None]] | None = None
        #: Called first of all whenever something happens; the listener's.
        self.on_wake: Callable[[Connection[M]], object] | None = None
        driver.adopt(link, self._wake)

    def __repr__(self) -> str:
        """Show the other end, and how it stands."""
        return shown_connection(self, self._point, self._machine)

    @property
    def point(self) -> Point:
        """Address and port of the other end of the TCP connection."""
        return self._point

    @property
    def remote(self) -> Remote:
        """Who they are."""
        assert self._machine.remote is not None
        return self._machine.remote

    @property
    def version(self) -> Version:
        """The versions agreed on."""
        assert self._machine.version is not None
        return self._machine.version

    @property
    def disconnection(self) -> Disconnection | None:
        """Why it has ended or is ending; None while it lives."""
        return self._machine.disconnection

    async def send(self, message: ControlMessage | M) -> None:
        """Queue one message, as soon as there is room.

        Raises:
            ConnectionEnded: it has ended, or did while there was no room.
            EncodeError: the message has no bytes.
        """
        while not self.send_now(message):
            await self._wait()

    def send_now(self, message: ControlMessage | M) -> bool:
        """Queue one message; return False if there is no room.

        Raises:
            ConnectionEnded: it has ended.
            EncodeError: the message has no bytes.
        """
        machine = self._machine
        if machine.disconnection is not None:
            raise ConnectionEnded(machine.disconnection)
        if machine.wants_to_write:  # the core has asked for its Write before
            return machine.send(message)
        taken = self._core.send(self.link, message)
        self._driver.pump()
        return taken

    async def send_and_flush(self, message: ControlMessage | M) -> None:
        """Queue one message and wait until all of it is on its way to the socket.

        Raises:
            ConnectionEnded: it has ended before that.
            EncodeError: the message has no bytes.
        """
        await self.send(message)
        target = self._machine.queued
        while self._machine.sealed < target:
            self._check_alive()
            self._core.flush(self.link)
            await self._wait()

    async def receive(self) -> ControlMessage | M:
        """Return the next message, as soon as there is one.

        Raises:
            ConnectionEnded: there will be none any more.
        """
        while (message := self.receive_now()) is None:
            self._check_alive()
            await self._wait()
        return message

    def receive_now(self) -> ControlMessage | M | None:
        """Return the next message, or None if there is none now."""
        machine = self._machine
        if machine.is_calm:
            return machine.receive()  # which changes nothing for the core
        if not machine.readable:
            return None
        message = self._core.receive(self.link)
        if self._core.pending:
            self._driver.pump()
        return message

    async def __aiter__(self) -> AsyncIterator[ControlMessage | M]:
        """Give messages until the connection ends.

        Raises:
            ConnectionEnded: it has failed.
        """
        while True:
            given = 0
            while (message := self.receive_now()) is not None:
                yield message
                given += 1
                if given == BATCH:
                    break
            if given == BATCH:
                await asyncio.sleep(0)  # let others have their turn
            elif not self._machine.ended:
                await self._wait()
            elif not self._machine.readable:
                ended = ConnectionEnded(self._why())
                if ended.orderly:
                    return
                raise ended

    async def close(self, reason: str = "", timeout: float = CLOSE_TIMEOUT) -> None:  # noqa: ASYNC109  # it bounds the flush, not the call
        """Let what is queued leave, then close; return when the socket is closed.

        Messages of theirs that were not pulled are dropped.  Harmless when it has ended.

        Args:
            reason: for logs.
            timeout: seconds that this may take at most; 0 flushes nothing.
        """
        try:
            if not self._machine.ended:
                why = Disconnection(Reason.USER, text=reason)
                now = self._driver.clock()
                self._core.close(self.link, why, now, now + timeout)
                self._driver.pump()
            while not self._machine.ended:
                await self._wait()
        finally:
            self.abort(reason)
        while self.link in self._core:
            await self._wait()

    def abort(self, reason: str = "") -> None:
        """Close at once, whatever is queued; harmless when it has ended."""
        if self.link in self._core:
            why = Disconnection(Reason.USER, text=reason)
            self._core.forget(self.link, self._driver.clock(), why)
            self._driver.pump()

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close; after an exception without flushing."""
        await self.close(timeout=CLOSE_TIMEOUT if exc is None else 0.0)

    @property
    def is_gone(self) -> bool:
        """Whether it has ended, its socket is closed and no message is left."""
        return self.link not in self._core

    @property
    def is_established(self) -> bool:
        """Whether both sides have accepted, ever."""
        return self._machine.version is not None

    async def established(self) -> None:
        """Wait until both sides have accepted.

        Raises:
            ConnectionEnded: they have not.
        """
        while not self.is_established:
            self._check_alive()
            await self._wait()

    def _why(self) -> Disconnection:
        why = self._machine.disconnection
        assert why is not None
        return why

    def _check_alive(self) -> None:
        if self._machine.ended:
            raise ConnectionEnded(self._why())

    async def _wait(self) -> None:
        """Wait until something happens on the link."""
        waiter = self._driver.loop.create_future()
        waiters = self._waiters = self._waiters or []
        waiters.append(waiter)
        try:
            await waiter
        finally:
            if waiter in waiters:  # cancelled: nobody has taken it out
                waiters.remove(waiter)

    def _wake(self) -> None:
        if self.on_wake is not None:
            self.on_wake(self)
        waiters, self._waiters = self._waiters, None
        while waiters:
            waiter = waiters.pop(0)
            if not waiter.done():
                waiter.set_result(None)


class Listener(Generic[M]):
    """Accepts connections; made by `listen`.

    A context manager: leaving it stops listening.  Iterating gives connections as they
    are established.  Those that were given live on until they are closed.

    Attributes:
        point: where it listens.
    """

    def __init__(self, driver: Driver[Solo[M]], door: socket.socket) -> None:
        self.point = point_of(door.getsockname())
        self.closed = False
        self._driver = driver
        self._arriving: dict[int, Connection[M]] = {}
        self._arrived: deque[Connection[M]] = deque()
        self._waiters: list[asyncio.Future[None]] = []
        driver.open_door(door, self._on_accept)

    def __repr__(self) -> str:
        """Show where it listens, and how it stands."""
        state = "closed" if self.closed else "listening"
        return shown(self, self.point, f"{state}, {len(self._arrived)} waiting")

    async def accept(self) -> Connection[M]:
        """Return the next established connection.

        Raises:
            ConnectionError: the listener is closed.
        """
        while not self._arrived:
            if self.closed:
                raise ConnectionError("the listener is closed")
            waiter = self._driver.loop.create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                if waiter in self._waiters:  # cancelled: nobody has taken it out
                    self._waiters.remove(waiter)
        connection = self._arrived.popleft()
        connection.on_wake = None
        return connection

    async def __aiter__(self) -> AsyncIterator[Connection[M]]:
        """Give connections until the listener is closed."""
        while self._arrived or not self.closed:
            try:
                connection = await self.accept()
            except ConnectionError:
                return
            yield connection

    async def close(self) -> None:
        """Stop listening; end handshakes in progress, and whom nobody has accepted."""
        if not self.closed:
            self.closed = True
            self._driver.close_door()
            unwanted = [*self._arriving.values(), *self._arrived]
            self._arriving.clear()
            self._arrived.clear()
            self._wake()
            for connection in unwanted:
                connection.on_wake = None
                await connection.close("the listener is closed", timeout=0.0)
        await self._driver.finish_accepting()

    async def __aenter__(self) -> Self:
        """Return itself."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop listening."""
        await self.close()

    def _on_accept(self, link: int) -> None:
        connection = Connection(self._driver, link)
        self._arriving[link] = connection
        connection.on_wake = self._look

    def _look(self, connection: Connection[M]) -> None:
        """Hand out a connection once it is established, unless nothing is left of it."""
        if connection.link not in self._arriving:
            if connection.is_gone:
                self._arrived.remove(connection)
                connection.on_wake = None
        elif connection.is_established:
            del self._arriving[connection.link]
            self._arrived.append(connection)
            self._wake()
        elif connection.disconnection is not None:
            del self._arriving[connection.link]
            connection.on_wake = None

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


async def connect(
    where: Point | str,
    identity: Identity,
    network: Network,
    codec: ApplicationCodec[M],
    **options: Unpack[Options],
) -> Connection[M]:
    """Dial a node and shake hands with it.

    Args:
        where: a point, or ``host[:port][#peer_id]``; names are resolved, and their
            addresses tried in turn.
        identity: who we are.
        network: chain name and versions; the other side's must be compatible.
        codec: the application's messages: `spec.shell.SHELL_CODEC`, or another.
        options: see `Options`.

    Raises:
        ConnectionEnded: they cannot be reached, refuse us, or are refused.
        OSError: the name has no address.
        PointError: ``where`` is no such text.
        TypeError: an argument is not what it must be; says which.
    """
    target, expected = split(where)
    ends = Ends(identity, network, codec, options)
    if isinstance(target, Point):
        points: tuple[Point, ...] = (target,)
    else:
        host, port = question(target)
        loop = asyncio.get_running_loop()
        points = points_of(await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    driver = Driver(ends.solo, ends.on_event)
    for point in points[:-1]:
        try:
            return await dial(driver, point, expected)
        except ConnectionEnded as exc:
            if not unreached(exc.disconnection):
                raise
    return await dial(driver, points[-1], expected)


async def listen(
    where: Point | str,
    identity: Identity,
    network: Network,
    codec: ApplicationCodec[M],
    **options: Unpack[Options],
) -> Listener[M]:
    """Listen for connections, and shake hands with who comes.

    Args:
        where: a point, or ``address:port``; port 0: one that is free.
        identity: who we are.
        network: chain name and versions; the other sides' must be compatible.
        codec: the application's messages: `spec.shell.SHELL_CODEC`, or another.
        options: see `Options`; the port announced is by default the one listened on.

    Raises:
        OSError: it cannot listen there.
        PointError: ``where`` is no such text.
        TypeError: an argument is not what it must be; says which.
    """
    point = point_at(where, "where")
    check_ends(identity, network, codec, options, Options.__annotations__)
    door = listen_on(point, options.get("limits", Limits()).backlog)
    try:
        options.setdefault("port", door.getsockname()[1])
        ends = Ends(identity, network, codec, options)
        return Listener(Driver(ends.solo, ends.on_event), door)
    except BaseException:
        door.close()
        raise


async def dial(
    driver: Driver[Solo[M]], point: Point, expected: PeerId | None
) -> Connection[M]:
    """Dial a point with a driver of one's own, and shake hands.

    Raises:
        ConnectionEnded: as `connect`.
    """
    link = driver.core.connect(point, driver.clock(), expected)
    connection = Connection(driver, link)
    driver.pump()
    try:
        await connection.established()
    except ConnectionEnded:
        connection.abort()
        if driver.mistake is not None:
            raise driver.mistake[1] from None
        raise
    except BaseException:
        connection.abort()
        raise
    return connection
