"""A node over blocking calls.

.. code-block:: python

    with Node(identity, SANDBOX, SHELL_CODEC, "127.0.0.1:9732") as node:
        for peer_id, message in node:
            ...

Who is connected to whom is the core's decision (`fsm.node`); how bytes move, the
driver's (`io.blocking_driver`).  Every method may be called from any thread; without a
thread of its own (``thread=False``) the loop runs in the calls that wait, and in
`Node.run`.
The aio_node module has the same class with the same methods in the same order.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import time
from collections.abc import Callable, Generator, Iterator
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
from ..spec.reasons import Direction
from ..spec.version import Network
from .blocking_driver import Driver
from .ends import question, split
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
    """Moves bytes between a node and its sockets.

    Args:
        core: what decides.
        node: who is told what has happened.
        thread: whether the loop runs in a thread of its own.
    """

    def __init__(
        self, core: Core[M, Meta], node: Node[M, Meta], thread: bool = True
    ) -> None:
        super().__init__(core, thread=thread)
        self._node = node
        self._nearby: Nearby | None = None

    def keep_door(self, door: socket.socket) -> None:
        """Have a listening socket; the core says when to accept."""
        self._door = door

    def hear(self, nearby: Nearby) -> None:
        """Send and receive datagrams on a socket."""
        self._nearby = nearby
        self._watch.register(nearby.sock, selectors.EVENT_READ, None)

    def close_nearby(self) -> None:
        """Send and receive no more datagrams."""
        if self._nearby is not None:
            self._watch.unregister(self._nearby.sock)
            self._nearby.close()
            self._nearby = None

    def claim(self) -> None:
        """Without a thread of its own, be for the thread that asks first, and no other.

        Raises:
            RuntimeError: another did.
        """
        if self._guarded is None and self.busy:
            self.guard()
        if not self.threaded:
            self._check_user()

    @property
    def is_idle(self) -> bool:
        """Whether no socket and no dial is left."""
        return not self._wires

    @property
    def busy(self) -> bool:
        """Whether there is anything to wait for: the node, until it has stopped."""
        return not (self._node.stopped and self.is_idle)

    def lost(
        self, link: int, error: int | None, direction: Direction = Direction.READ
    ) -> None:
        """A socket is of no more use, or a dial has failed."""
        super().lost(link, error, direction)
        self._room(link)

    def _give_up(self) -> None:
        self._node.stopped = True
        self.close_nearby()
        super()._give_up()

    def _fetch(self, link: int) -> None:
        super()._fetch(link)
        self._room(link)

    def _room(self, link: int) -> None:
        if self._node.on_room(link):
            self.wake()

    def _carry_out(self, command: Any) -> None:
        match command:
            case Shout(data) if self._nearby is not None:
                self._nearby.shout(data)
            case Maintained(within):
                self._node.on_maintained(within)
            case _:
                pass

    def _tell(self) -> None:
        if self._node.on_news():
            self.wake()

    def _serve(self, key: selectors.SelectorKey, mask: int) -> None:
        if self._nearby is None or key.fileobj is not self._nearby.sock:
            super()._serve(key, mask)
        elif (heard := self._nearby.receive()) is not None:
            self.core.receive_datagram(*heard, self.clock())


class Node(NodeEnds[M, Meta]):
    """A node of the network, from ``with`` to its end.

    Args:
        identity: who we are.
        network: chain name and versions; peers' must be compatible.
        codec: the application's messages: `spec.shell.SHELL_CODEC`, or another.
        listen: a point, or ``address:port``, port 0 for one that is free; None: nobody
            can dial us.
        nearby: where datagrams of the local network are exchanged, or None.
        thread: whether a thread runs the loop, or the calls that wait.
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
        thread: bool = True,
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
        self._begin(core, door, nearby, thread)

    @classmethod
    def of(
        cls,
        core: Core[M, Meta],
        door: socket.socket | None = None,
        nearby: Point | None = None,
        *,
        thread: bool = True,
    ) -> Self:
        """Return a node around a core and a listening socket that were made elsewhere."""
        made = cls.__new__(cls)
        made._begin(core, door, nearby, thread)
        return made

    def _begin(
        self,
        core: Core[M, Any],
        door: socket.socket | None,
        nearby: Point | None,
        thread: bool,
    ) -> None:
        self.core = core
        self._door = door
        self._nearby = nearby
        if door is not None:
            self.point = point_of(door.getsockname())
        self._driver = NodeDriver(core, self, thread)
        self._lock = self._driver.lock
        self.stopped = False
        # Who waits for anything; links on which there was no room, as far as is known;
        # how often maintenance ran.
        self._waiting = 0
        self._short: set[int] = set()
        self._runs = 0
        self._within = False
        # Whether `on_event` is being called; by whoever has the lock.
        self._telling = False

    # -- life --------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to accept, and to look for peers.

        Raises:
            OSError: the socket for datagrams cannot be had.
            LocalProtocolError: it was started or stopped before.
        """
        with self._lock:
            if self._started or self.stopped:
                before = "stopped" if self.stopped else "started before"
                raise LocalProtocolError("start", before)
            driver = self._driver
            if self._nearby is not None:
                driver.hear(Nearby(self._nearby))
            self._started = True
            if self._door is not None:
                driver.keep_door(self._door)
            self._do(lambda core, now: core.start(now, time.time()))

    def stop(self, timeout: float = STOP_TIMEOUT) -> None:
        """End everything; return when no socket is left.  Harmless when it has ended.

        An interrupt of the first call drops what has not left, and has it end at once.

        Args:
            timeout: seconds that what is queued has to leave; 0 drops it.

        Raises:
            RuntimeError: it was called by ``on_event``, which must not wait.
        """
        driver, began = self._driver, False
        try:
            with self._lock:
                if not self._started:
                    self.stopped = True
                    if self._door is not None:
                        self._door.close()
                    return
                self._check_waiting()
                if not self.stopped:
                    began = True
                    self._end(timeout)
                while not driver.is_idle:
                    self._wait(None)
                driver.wake()
        except BaseException:
            with self._lock:
                if self._started and (began or not self.stopped) and not self._telling:
                    self._end(0.0)
            raise
        driver.join()

    def _end(self, timeout: float) -> None:
        self.stopped = True
        self._driver.close_nearby()
        self._driver.close_door()
        self._do(lambda core, now: core.stop(now, now + timeout))

    def __enter__(self) -> Self:
        """Start, and return itself."""
        before = self._started
        try:
            self.start()
        except BaseException:
            if self._started and not before:
                self.stop(0.0)  # an interrupt
            elif self._door is not None and not self._started:
                self._door.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop; after an exception without flushing."""
        self.stop(STOP_TIMEOUT if exc is None else 0.0)

    def run(
        self,
        seconds: float | None = None,
        *,
        until: Callable[[], bool] | None = None,
    ) -> None:
        """Run the loop, or wait beside the thread that does; till the node has stopped.

        Args:
            seconds: at most for so long, if given.
            until: or until it says True; asked whenever something has happened, with the
                node to itself.

        Raises:
            LocalProtocolError: it was not started.
        """
        with self._lock:
            self._check_started("run")
            end, driver = self._until(seconds), self._driver
            while driver.busy and (end is None or driver.clock() < end):
                if until is not None and until():
                    return
                self._wait(end)

    # -- peers -------------------------------------------------------------------------

    def connect(self, where: Point | str) -> Running[Meta]:
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
        points = (target,) if isinstance(target, Point) else self._resolve(target)
        for point in points[:-1]:
            try:
                return self._connect(point, expected)
            except NotConnected:
                continue
        return self._connect(points[-1], expected)

    def _resolve(self, endpoint: Endpoint) -> tuple[Point, ...]:
        host, port = question(endpoint)
        return points_of(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))

    def _connect(self, point: Point, expected: PeerId | None) -> Running[Meta]:
        with self._lock:
            link = self._dial(point, expected)
            while (running := self.core.pool.running.get(link)) is None:
                if link not in self.core:
                    raise self._came_to_nothing(link, point)
                self._wait(None)
            return running

    def send(self, peer_id: PeerId, message: M, timeout: float | None = None) -> None:
        """Queue one message, as soon as there is room.

        Raises:
            NotConnected: there is no such connection, or it ended while there was none.
            LocalProtocolError: the node was not started.
            TimeoutError: there was no room for so many seconds.
            EncodeError: the message has no bytes.
        """
        with self._lock:
            until = self._until(timeout)
            while not self.send_now(peer_id, message):
                running = self.core.pool.by_peer(peer_id)
                if running is None:
                    continue
                # Trying may write what is queued, and so make room itself: once more,
                # now that it is known that somebody waits for it.
                self._short.add(running.link)
                if self.send_now(peer_id, message):
                    return
                self._wait_for_room(running.link, until)

    def maintain(self, timeout: float | None = None) -> bool:
        """Look after the number of connections; return whether it is within bounds.

        Raises:
            LocalProtocolError: it was not started, is stopped, or has no maintenance.
            TimeoutError: that took so many seconds.
        """
        with self._lock:
            self._check_started("maintain")
            until, before = self._until(timeout), self._runs
            self._do(lambda core, now: core.maintain(now))
            self._wait_in_time(until, lambda: self._runs != before)
            return self._within

    # -- what the application pulls ----------------------------------------------------

    def receive_now(self) -> Item[M] | None:
        """Return the next message, or that somebody joined or left, or None.

        Raises:
            LocalProtocolError: the node was not started.
        """
        with self._lock:
            item = self.core.receive()
            if item is None:
                self._check_started("receive")
            elif self.core.due:
                self._driver.pump()
            return item

    def receive(self, timeout: float | None = None) -> Item[M]:
        """Return the next message, or that somebody joined or left.

        Raises:
            NotConnected: the node has stopped, and nothing is left.
            LocalProtocolError: it was not started.
            TimeoutError: there was nothing for so many seconds.
        """
        with self._lock:
            until = self._until(timeout)
            while (item := self.receive_now()) is None:
                if self._over:
                    raise NotConnected("the node has stopped")
                self._wait_in_time(until, lambda: self.core.readable or self._over)
            return item

    def items(self) -> Iterator[Item[M]]:
        """Give messages, and who joined and left, until the node has stopped."""
        while True:
            item = self.receive_now()
            if item is None:
                try:
                    item = self.receive()
                except NotConnected:
                    return
            yield item

    def __iter__(self) -> Iterator[tuple[PeerId, M]]:
        """Give messages and who says them, until the node has stopped."""
        for item in self.items():
            if isinstance(item, Message):
                yield item.peer_id, item.message

    # -- from the driver ---------------------------------------------------------------

    def on_news(self) -> bool:
        """Something has happened: whether anybody has to be woken."""
        self._telling, before = True, self._telling
        try:
            self._tell_events()
        finally:
            self._telling = before
        return self._waiting > 0 or self.core.readable

    def on_room(self, link: int) -> bool:
        """Something of a link was written, or it is gone: whether anybody may wait."""
        waiting = link in self._short
        self._short.discard(link)
        return waiting

    def on_maintained(self, within: bool) -> None:
        """A run of maintenance is over."""
        self._runs += 1
        self._within = within

    @contextlib.contextmanager
    def paused(self) -> Generator[Core[M, Meta]]:
        """Have the core for oneself, to look at."""
        with self._lock:
            yield self.core

    @property
    def _over(self) -> bool:
        return self.stopped and self._driver.is_idle

    def _do(self, act: Callable[[Core[M, Meta], float], T]) -> T:
        driver = self._driver
        with self._lock:
            if not self._started:
                return act(self.core, 0.0)
            driver.claim()
            done = act(self.core, driver.clock())
            if self.core.due:
                driver.pump()
            elif self._waiting and self.core.readable:
                driver.wake()
            if not driver.threaded:
                driver.flush()  # nobody else will
            return done

    def _until(self, timeout: float | None) -> float | None:
        return None if timeout is None else self._driver.clock() + timeout

    def _check_waiting(self) -> None:
        """Let nobody wait who is called with the lock held, once or more."""
        if self._telling:
            raise RuntimeError(
                "on_event must not wait, and this call waits: make it in another thread"
            )

    def _wait(self, until: float | None) -> bool:
        self._check_waiting()
        self._waiting += 1
        try:
            return self._driver.wait(until)
        finally:
            self._waiting -= 1

    def _wait_for_room(self, link: int, until: float | None) -> None:
        self._wait_in_time(until, lambda: link not in self._short)

    def _wait_in_time(self, until: float | None, true: Callable[[], bool]) -> None:
        """Wait until something is true; whoever is late looks once more."""
        while not true():
            late = until is not None and self._driver.clock() >= until
            self._wait(until)
            if late and not true():
                raise TimeoutError("nothing has happened in time")
