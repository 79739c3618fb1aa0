"""Connections over blocking calls: dial or listen, then send and receive messages.

.. code-block:: python

    with connect("127.0.0.1:9732", identity, SANDBOX, SHELL_CODEC) as peer:
        peer.send(GetCurrentBranch(chain_id))
        for message in peer:
            ...

A thread moves the bytes, so that timers and writes go on while the application does
something else; any thread may use any method.  With ``thread=False`` there is none:
the bytes move inside the calls that wait, and nothing happens between them.

What is done when is the core's decision (`fsm.solo`); how bytes move, the driver's
(`io.blocking_driver`).  The aio module has the same classes and functions in the same
order.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar, Unpack

from ..fsm.connection import Connection as Machine
from ..fsm.solo import Solo
from ..spec.events import Remote
from ..spec.identity import Identity, PeerId
from ..spec.limits import Limits
from ..spec.message import ApplicationCodec, ControlMessage
from ..spec.point import Point
from ..spec.reasons import Disconnection, Reason
from ..spec.version import Network, Version
from .arguments import check_ends, point_at
from .blocking_driver import Driver
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
        "_lock",
        "_machine",
        "_point",
        "link",
        "on_wake",
    )

    def __init__(self, driver: Driver[Solo[M]], link: int) -> None:
        self.link = link
        self._driver = driver
        self._core = driver.core
        self._lock = driver.lock
        self._machine: Machine[M] = driver.core.connection(link)
        self._point = driver.core.point(link)
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

    def send(self, message: ControlMessage | M, timeout: float | None = None) -> None:
        """Queue one message, as soon as there is room.

        Raises:
            ConnectionEnded: it has ended, or did while there was no room.
            TimeoutError: there was no room for so many seconds.
            EncodeError: the message has no bytes.
        """
        with self._lock:
            if not self._put(message):
                self._put_when_ready(message, self._until(timeout))

    def send_now(self, message: ControlMessage | M) -> bool:
        """Queue one message; return False if there is no room.

        Raises:
            ConnectionEnded: it has ended.
            EncodeError: the message has no bytes.
        """
        with self._lock:
            return self._put(message)

    def send_and_flush(
        self, message: ControlMessage | M, timeout: float | None = None
    ) -> None:
        """Queue one message and wait until all of it is on its way to the socket.

        Raises:
            ConnectionEnded: it has ended before that.
            TimeoutError: that took so many seconds.
            EncodeError: the message has no bytes.
        """
        with self._lock:
            until = self._until(timeout)
            self._put_when_ready(message, until)
            target = self._machine.queued
            while self._machine.sealed < target:
                self._check_alive()
                self._core.flush(self.link)
                self._wait(until)

    def receive(self, timeout: float | None = None) -> ControlMessage | M:
        """Return the next message, as soon as there is one.

        Raises:
            ConnectionEnded: there will be none any more.
            TimeoutError: there was none for so many seconds.
        """
        with self._lock:
            message = self._take()
            if message is not None:
                return message
            until = self._until(timeout)
            while message is None:
                self._check_alive()
                self._wait(until)
                message = self._take()
            return message

    def receive_now(self) -> ControlMessage | M | None:
        """Return the next message, or None if there is none now."""
        with self._lock:
            machine = self._machine
            return machine.receive() if machine.is_calm else self._take()

    def __iter__(self) -> Iterator[ControlMessage | M]:
        """Give messages until the connection ends.

        Raises:
            ConnectionEnded: it has failed.
        """
        while True:
            message = self.receive_now()
            if message is None:
                try:
                    message = self.receive()
                except ConnectionEnded as ended:
                    if ended.orderly:
                        return
                    raise
            yield message

    def close(self, reason: str = "", timeout: float = CLOSE_TIMEOUT) -> None:
        """Let what is queued leave, then close; return when the socket is closed.

        Messages of theirs that were not pulled are dropped.  Harmless when it has ended.

        Args:
            reason: for logs.
            timeout: seconds that this may take at most; 0 flushes nothing.
        """
        try:
            with self._lock:
                self._driver.guard()
                if not self._machine.ended:
                    why = Disconnection(Reason.USER, text=reason)
                    now = self._driver.clock()
                    self._core.close(self.link, why, now, now + timeout)
                    self._driver.pump()
                while not self._machine.ended:
                    self._wait(None)
        finally:
            self.abort(reason)
        with self._lock:
            while self.link in self._core:
                self._wait(None)
        self._driver.join()

    def abort(self, reason: str = "") -> None:
        """Close at once, whatever is queued; harmless when it has ended."""
        with self._lock:
            if self.link in self._core:
                self._driver.guard()
                why = Disconnection(Reason.USER, text=reason)
                self._core.forget(self.link, self._driver.clock(), why)
                self._driver.pump()
            self._driver.rest()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close; after an exception without flushing."""
        self.close(timeout=CLOSE_TIMEOUT if exc is None else 0.0)

    @property
    def is_gone(self) -> bool:
        """Whether it has ended, its socket is closed and no message is left."""
        return self.link not in self._core

    @property
    def is_established(self) -> bool:
        """Whether both sides have accepted, ever."""
        return self._machine.version is not None

    def established(self) -> None:
        """Wait until both sides have accepted.

        Raises:
            ConnectionEnded: they have not.
        """
        with self._lock:
            while not self.is_established:
                self._check_alive()
                self._wait(None)

    def _put(self, message: ControlMessage | M) -> bool:
        machine = self._machine
        if machine.disconnection is not None:
            raise ConnectionEnded(machine.disconnection)
        if machine.wants_to_write:  # the core has asked for its Write before
            return machine.send(message)
        self._driver.guard()
        taken = self._core.send(self.link, message)
        self._driver.pump()
        if not self._driver.threaded:
            self._driver.flush()  # nobody else will
        return taken

    def _put_when_ready(self, message: ControlMessage | M, until: float | None) -> None:
        while not self._put(message):
            self._wait(until)

    def _take(self) -> ControlMessage | M | None:
        machine = self._machine
        if machine.is_calm:
            return machine.receive()  # which changes nothing for the core
        if not machine.readable:
            return None
        message = self._core.receive(self.link)
        if self._core.pending:
            self._driver.pump()
        return message

    def _check_alive(self) -> None:
        if self._machine.ended:
            why = self._machine.disconnection
            assert why is not None
            raise ConnectionEnded(why)

    def _until(self, timeout: float | None) -> float | None:
        return None if timeout is None else self._driver.clock() + timeout

    def _wait(self, until: float | None) -> None:
        """Wait until something happens; with the lock held."""
        if not self._driver.wait(until) and until is not None:
            raise TimeoutError("nothing has happened in time")

    def _wake(self) -> None:
        if self.on_wake is not None:
            self.on_wake(self)


class Listener(Generic[M]):
    """Accepts connections; made by `listen`.

    A context manager: leaving it stops listening.  Iterating gives connections as they
    are established.  Those that were given live on until they are closed.

    Attributes:
        point: where it listens.
        closed: whether it has stopped.
    """

    def __init__(self, driver: Driver[Solo[M]], door: socket.socket) -> None:
        self.point = point_of(door.getsockname())
        self.closed = False
        self._driver = driver
        self._arriving: dict[int, Connection[M]] = {}
        self._arrived: deque[Connection[M]] = deque()
        with driver.lock:
            driver.open_door(door, self._on_accept)

    def __repr__(self) -> str:
        """Show where it listens, and how it stands."""
        state = "closed" if self.closed else "listening"
        return shown(self, self.point, f"{state}, {len(self._arrived)} waiting")

    def accept(self, timeout: float | None = None) -> Connection[M]:
        """Return the next established connection.

        Raises:
            ConnectionError: the listener is closed.
            TimeoutError: nobody came for so many seconds.
        """
        connection: Connection[M] | None = None
        try:
            with self._driver.lock:
                until = None if timeout is None else self._driver.clock() + timeout
                while not self._arrived:
                    if self.closed or not self._driver.busy:
                        raise ConnectionError("the listener is closed")
                    if not self._driver.wait(until) and until is not None:
                        raise TimeoutError("nobody has come in time")
                connection = self._arrived.popleft()
                connection.on_wake = None
            return connection
        except KeyboardInterrupt:
            if connection is not None:
                connection.abort()  # nobody has it
            raise

    def __iter__(self) -> Iterator[Connection[M]]:
        """Give connections until the listener is closed."""
        while True:
            try:
                connection = self.accept()
            except ConnectionError:
                return
            yield connection

    def close(self) -> None:
        """Stop listening; end handshakes in progress, and whom nobody has accepted."""
        with self._driver.lock:
            if not self.closed:
                self.closed = True
                for connection in (*self._arriving.values(), *self._arrived):
                    connection.on_wake = None
                    connection.abort("the listener is closed")
                self._arriving.clear()
                self._arrived.clear()
                self._driver.close_door()
        self._driver.join()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop listening."""
        self.close()

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
        elif connection.disconnection is not None:
            del self._arriving[connection.link]
            connection.on_wake = None


def connect(
    where: Point | str,
    identity: Identity,
    network: Network,
    codec: ApplicationCodec[M],
    *,
    thread: bool = True,
    **options: Unpack[Options],
) -> Connection[M]:
    """Dial a node and shake hands with it.

    Args:
        where: a point, or ``host[:port][#peer_id]``; names are resolved, and their
            addresses tried in turn.
        identity: who we are.
        network: chain name and versions; the other side's must be compatible.
        codec: the application's messages: `spec.shell.SHELL_CODEC`, or another.
        thread: whether a thread runs the loop, or the calls that wait.
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
        points = points_of(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    driver = Driver(ends.solo, ends.on_event, thread)
    for point in points[:-1]:
        try:
            return dial(driver, point, expected)
        except ConnectionEnded as exc:
            if not unreached(exc.disconnection):
                raise
    return dial(driver, points[-1], expected)


def listen(
    where: Point | str,
    identity: Identity,
    network: Network,
    codec: ApplicationCodec[M],
    *,
    thread: bool = True,
    **options: Unpack[Options],
) -> Listener[M]:
    """Listen for connections, and shake hands with who comes.

    Args:
        where: a point, or ``address:port``; port 0: one that is free.
        identity: who we are.
        network: chain name and versions; the other sides' must be compatible.
        codec: the application's messages: `spec.shell.SHELL_CODEC`, or another.
        thread: whether a thread runs the loop, or the calls that wait.
        options: see `Options`; the port announced is by default the one listened on.

    Raises:
        OSError: it cannot listen there.
        PointError: ``where`` is no such text.
        TypeError: an argument is not what it must be; says which.
    """
    point = point_at(where, "where")
    check_ends(identity, network, codec, options, Options.__annotations__)
    door = listen_on(point, options.get("limits", Limits()).backlog)
    driver: Driver[Solo[M]] | None = None
    try:
        options.setdefault("port", door.getsockname()[1])
        ends = Ends(identity, network, codec, options)
        driver = Driver(ends.solo, ends.on_event, thread)
        return Listener(driver, door)
    except BaseException:
        if driver is not None:
            with driver.lock:
                driver.close_door()
            driver.join()
        door.close()
        raise


def dial(driver: Driver[Solo[M]], point: Point, expected: PeerId | None) -> Connection[M]:
    """Dial a point with a driver of one's own, and shake hands.

    Raises:
        ConnectionEnded: as `connect`.
    """
    connection: Connection[M] | None = None
    try:
        with driver.lock:
            driver.guard()
            link = driver.core.connect(point, driver.clock(), expected)
            connection = Connection(driver, link)
            driver.pump()
        connection.established()
        return connection
    except BaseException:
        if connection is not None:
            connection.abort()
        driver.join()
        raise
