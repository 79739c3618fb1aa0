"""Many nodes in one process: links with latency, a virtual clock, one seed.

A network runs nodes as the real drivers do, and decides as little: it carries out their
commands, moves bytes from end to end after each pair's latency, and lets their timers
act.  Time passes only from one event to the next; the same seed gives the same run, byte
for byte, which `Network.trace` proves.

.. code-block:: python

    network = Network(seed=1)
    for number in range(10):
        host = Point.parse(f"10.0.{number}.1:9732")
        network.add(host, Node(...))
    network.run(60.0)

A node that is recorded is added like any other: see the record package; `Network.trace`
is the same with it.

What a host sends can be made malicious on its way: ``tamper`` is given each piece of
bytes, and says what arrives instead.  Here nothing that one host says can be deciphered,
and whoever meets it greylists it:

.. code-block:: python

    def tamper(sender: Host, receiver: Host, data: bytes) -> bytes | None:
        if sender is not liar:
            return data
        return data[:-1] + bytes([data[-1] ^ 1])

    network = Network(seed=1, tamper=tamper)
    liar = network.add("10.0.0.1:9732", Node(...))

A link holds at most `WINDOW` bytes that the other side has not read; more waits in the
node that sends, as it would behind a socket.
"""

from __future__ import annotations

import errno
import hashlib
import heapq
import itertools
import math
import random
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar, cast

import attrs

from ..fsm.commands import (
    Accept,
    Close,
    Dial,
    Maintained,
    Read,
    Shout,
    Shut,
    Wake,
    Write,
)
from ..fsm.machine import LocalProtocolError
from ..fsm.node import Node
from ..spec.address import Address
from ..spec.point import Point
from .arguments import point_at, wrong

M = TypeVar("M")
Meta = TypeVar("Meta")

#: Bytes that are on their way in one direction of a link, or not read yet.
WINDOW: Final = 1 << 18
#: First of the ports that dials come from.
_EPHEMERAL: Final = 32_768
_PORTS: Final = 28_232


def seeded_bytes(seed: str) -> Callable[[int], bytes]:
    """Return a source of bytes that a seed determines, as ``random_bytes`` of a node.

    Not for secrets of real nodes.
    """
    counter = itertools.count()

    def draw(size: int) -> bytes:
        parts: list[bytes] = []
        for _ in range(0, size, 64):
            what = f"{seed}/{next(counter)}".encode()
            parts.append(hashlib.blake2b(what).digest())
        return b"".join(parts)[:size]

    return draw


@attrs.define(eq=False)
class _End:
    """One end of a TCP connection.

    ``room``: bytes that may still be sent; ``unread``: what has come; ``ended``: their
    stream is over behind that, ``told``: and the node has heard of it.
    """

    host: Host[Any, Any]
    link: int
    latency: float
    other: _End | None = None
    room: int = WINDOW
    unread: bytearray = attrs.field(factory=bytearray)
    ended: bool = False
    told: bool = False
    open: bool = True


@attrs.define(eq=False)
class Host(Generic[M, Meta]):
    """A node, and where it is.

    Attributes:
        number: in the order of `Network.add`.
        point: where it listens, and dials from.
        node: the node.
        up: whether it is there at all: nothing happens to one that was killed.
        items: what its application has pulled, if it keeps it.
        pulls: whether its application pulls at all.
        maintained: whether connections were within bounds at the end of the last run of
            maintenance; None before the first.
    """

    number: int
    point: Point
    node: Node[M, Meta] = attrs.field(repr=False)
    up: bool = True
    accepts: bool = True
    items: list[Any] | None = attrs.field(default=None, repr=False)
    pulls: bool = True
    maintained: bool | None = None
    ends: dict[int, _End] = attrs.field(factory=dict[int, _End], repr=False)
    armed: float | None = None
    next_port: int = 0


#: Says what arrives of bytes from one host to another, or None if nothing does.
Tamper = Callable[[Host[Any, Any], Host[Any, Any], bytes], bytes | None]


class Network(Generic[M, Meta]):
    """Nodes, and what lies between them.

    Args:
        seed: of the latencies.
        latency: seconds from end to end, least and most.
        after_step: called with every host after each of its steps, for checks.
        tamper: called with the hosts that send and receive and each piece of bytes that
            leaves for the other; returns what arrives, or None if nothing does.  It must
            itself be determined by the seed; what it changes is part of the trace.

    Raises:
        ValueError: latencies below 0, without end, or the least above the most.

    Attributes:
        now: seconds of the virtual clock.
        hosts: in the order in which they were added.
        steps: inputs that nodes were given so far.
    """

    def __init__(
        self,
        seed: int = 0,
        latency: tuple[float, float] = (0.005, 0.05),
        after_step: Callable[[Host[M, Meta]], object] | None = None,
        tamper: Tamper | None = None,
    ) -> None:
        if not 0.0 <= latency[0] <= latency[1] < math.inf:
            raise ValueError(f"latencies from {latency[0]} to {latency[1]} are none")
        self.now = 0.0
        self.hosts: list[Host[M, Meta]] = []
        self.steps = 0
        self._after_step = after_step
        self._tamper = tamper
        self._latency = latency
        # Latencies are no secrets.
        self._random = random.Random(seed).random  # noqa: S311  # not for secrets
        self._queue: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._order = itertools.count()
        self._by_point: dict[Point, Host[M, Meta]] = {}
        self._trace = hashlib.blake2b(digest_size=16)

    # -- the outside -------------------------------------------------------------------

    def add(
        self, point: Point | str, node: Node[M, Meta], *, keeps: bool = False
    ) -> Host[M, Meta]:
        """Put a node somewhere, and start it.

        Args:
            point: where it listens, and dials from; nobody else, unless killed, is there.
            node: not started yet.
            keeps: whether its application keeps what it pulls, or throws it away.

        Raises:
            ValueError: there is a host already, or the text is no point.
            TypeError: that is no point, or no node.
            LocalProtocolError: the node was started before.
        """
        point = point_at(point, "point")
        if not isinstance(cast("object", node), Node):
            raise wrong("node", "a Node", node)
        if point in self._by_point:
            raise ValueError(f"there is a host at {point} already")
        node.start(self.now, self.now)
        host = Host(len(self.hosts), point, node, items=[] if keeps else None)
        self.hosts.append(host)
        self._by_point[point] = host
        self._follow(host, "start")
        return host

    def run(self, seconds: float) -> None:
        """Let so much time pass.

        Raises:
            ValueError: that is below 0, or no end.
        """
        if not 0.0 <= seconds < math.inf:
            raise ValueError(f"{seconds} seconds cannot pass")
        end = self.now + seconds
        queue = self._queue
        while queue and queue[0][0] <= end:
            at, _, act, facts = heapq.heappop(queue)
            self.now = at
            act(*facts)
        self.now = end

    def kill(self, host: Host[M, Meta]) -> None:
        """Take a host off the network at once, without a word; harmless the second time.

        Its node stays as it was, to be looked at, and another may be added at its point.
        """
        if not host.up:
            return
        host.up = False
        del self._by_point[host.point]
        for end in list(host.ends.values()):
            end.open = False
            if end.other is not None:
                self._at(end.latency, self._reset, end.other)
        host.ends.clear()

    def do(self, host: Host[M, Meta], act: Callable[[Node[M, Meta]], Any]) -> Any:
        """Do something to a node, and carry out what follows.

        Raises:
            LocalProtocolError: the host was killed.
        """
        if not host.up:
            raise LocalProtocolError("do", "killed", f"the host at {host.point}")
        result = act(host.node)
        self._follow(host, "do")
        return result

    @property
    def trace(self) -> str:
        """Hash of every step of every node so far: when, what, which bytes."""
        return self._trace.hexdigest()

    # -- one node ----------------------------------------------------------------------

    def _follow(self, host: Host[M, Meta], what: str, *facts: Any) -> None:
        """Carry out what a node wants after an input; note it in the trace."""
        self.steps += 1
        self._trace.update(f"{self.now:.9f} {host.number} {what} {facts}\n".encode())
        node = host.node
        while (command := node.next_command()) is not None:
            self._carry_out(host, command)
        if host.pulls and node.readable:
            while (item := node.receive()) is not None:
                if host.items is not None:
                    host.items.append(item)
            while (command := node.next_command()) is not None:
                self._carry_out(host, command)
        self._arm(host)
        if self._after_step is not None:
            self._after_step(host)

    def _arm(self, host: Host[M, Meta]) -> None:
        at = host.node.next_timeout()
        if at != host.armed:
            host.armed = at
            if at is not None:
                self._at(max(0.0, at - self.now), self._time_out, host, at)

    def _carry_out(self, host: Host[M, Meta], command: Any) -> None:
        match command:
            case Write(link):
                self._write(host, link)
            case Read(link):
                if (end := host.ends.get(link)) is not None:
                    self._at(0.0, self._read, end)
            case Dial(link, point):
                self._dial(host, link, point)
            case Close(link):
                self._close(host, link)
            case Shut(link):
                if (end := host.ends.get(link)) is not None:
                    self._send_end(end)
            case Accept(on):
                host.accepts = on
            case Wake():
                pass
            case Maintained(within):
                host.maintained = within
            case Shout(data):
                for other in self.hosts:
                    if other is not host and other.up:
                        delay = self._latency[1]
                        self._at(delay, self._hear, other, host.point.address, data)
            case _:
                raise TypeError(f"no such command: {command}")

    def _hear(self, host: Host[M, Meta], source: Address, data: bytes) -> None:
        if host.up:
            host.node.receive_datagram(data, source, self.now)
            self._follow(host, "datagram")

    def _time_out(self, host: Host[M, Meta], at: float) -> None:
        if host.up and host.armed == at:
            host.armed = None
            host.node.handle_timeout(self.now)
            self._follow(host, "timeout")

    # -- links -------------------------------------------------------------------------

    def _dial(self, host: Host[M, Meta], link: int, point: Point) -> None:
        low, high = self._latency
        latency = low + (high - low) * self._random()
        end = host.ends[link] = _End(host, link, latency)
        self._at(latency, self._knock, end, point)

    def _knock(self, end: _End, point: Point) -> None:
        """A dial arrives."""
        if not end.open:
            return
        host = self._by_point.get(point)
        if host is None or not host.accepts:
            error = errno.EHOSTUNREACH if host is None else errno.ECONNREFUSED
            self._at(end.latency, self._fail, end, error)
            return
        source = Point(end.host.point.address, self._port_of(end.host))
        other = _End(host, 0, end.latency, end)
        end.other = other
        self._at(end.latency, self._made, end)
        link = host.node.accept(source, self.now)
        if link is None:
            other.open = False
            self._send_end(other)
        else:
            other.link = link
            host.ends[link] = other
        self._follow(host, "accept", link, str(source))

    def _port_of(self, host: Host[M, Meta]) -> int:
        host.next_port += 1
        return _EPHEMERAL + host.next_port % _PORTS

    def _made(self, end: _End) -> None:
        if end.open and end.host.up:
            end.host.node.link_made(end.link, self.now)
            self._follow(end.host, "made", end.link)

    def _fail(self, end: _End, error: int) -> None:
        if end.open and end.host.up:
            self._lose(end, error)

    def _lose(self, end: _End, error: int | None) -> None:
        end.open = False
        end.other = None
        end.host.ends.pop(end.link, None)
        end.host.node.link_lost(end.link, error, self.now)
        self._follow(end.host, "lost", end.link, error)

    def _close(self, host: Host[M, Meta], link: int) -> None:
        end = host.ends.pop(link, None)
        if end is None:
            return
        self._send_end(end)
        end.open = False
        end.other = None
        self._at(0.0, self._closed, end)

    def _closed(self, end: _End) -> None:
        if end.host.up:
            end.host.node.link_lost(end.link, None, self.now)
            self._follow(end.host, "closed", end.link)

    def _reset(self, end: _End) -> None:
        if end.open and end.host.up:
            self._lose(end, errno.ECONNRESET)

    # -- bytes -------------------------------------------------------------------------

    def _write(self, host: Host[M, Meta], link: int) -> None:
        end = host.ends.get(link)
        room = 0 if end is None else end.room
        data = host.node.data_to_send(link, room, self.now) if end is not None else b""
        if end is not None and data:
            self._trace.update(data)
            if self._tamper is not None and end.other is not None:
                data = self._tampered(self._tamper, host, end.other.host, data)
            end.room -= len(data)
            if end.other is not None and data:
                self._at(end.latency, self._arrive, end.other, data)

    def _tampered(
        self, tamper: Tamper, host: Host[M, Meta], other: Host[M, Meta], data: bytes
    ) -> bytes:
        """Return what arrives of a piece; nothing is not the end of the stream."""
        arriving = tamper(host, other, data)
        if arriving is None:
            arriving = b""
        if not isinstance(cast("object", arriving), bytes):
            raise wrong("what tamper returns", "bytes, or None", arriving)
        if arriving != data:
            self._trace.update(b"tampered" + arriving)
        return arriving

    def _send_end(self, end: _End) -> None:
        if end.other is not None:
            self._at(end.latency, self._arrive, end.other, b"")

    def _arrive(self, end: _End, data: bytes) -> None:
        if not end.open:
            return
        if data:
            end.unread += data
        else:
            end.ended = True
        self._read(end)

    def _read(self, end: _End) -> None:
        """Give a node what it wants of what has come."""
        host = end.host
        while end.open and host.up and (end.unread or (end.ended and not end.told)):
            allowance = host.node.read_allowance(end.link, self.now)
            if not allowance:
                self._arm(host)  # its share may be spent: it asks to be woken
                break
            data = bytes(end.unread[:allowance])
            del end.unread[:allowance]
            end.told = not data
            host.node.receive_data(end.link, data, self.now)
            if end.other is not None and data:
                self._at(end.latency, self._make_room, end.other, len(data))
            self._follow(host, "read", end.link, len(data))

    def _make_room(self, end: _End, size: int) -> None:
        was = end.room
        end.room += size
        if was <= 0 < end.room and end.open and end.host.up:
            end.host.node.writable(end.link, self.now)
            self._follow(end.host, "writable", end.link)

    def _at(self, delay: float, act: Callable[..., None], *facts: Any) -> None:
        heapq.heappush(self._queue, (self.now + delay, next(self._order), act, facts))
