"""One process of the sandbox network: nodes that pass on whatever they hear.

It is started by `io.sandbox`, and ends when it is told to, when its standard input ends
(whoever has started it is gone), or when its time is up.  It reads one JSON object a
line; the first is the configuration, see `Part`:

========  ==========================  ==================================================
do        fields                      makes it
========  ==========================  ==================================================
``go``                                start all nodes
``say``   ``name, number, size``      have a node say a new message
``stop``                              stop all nodes, and end
========  ==========================  ==================================================

It writes one JSON object a line:

===========  ========================  =================================================
what         fields                    told when
===========  ========================  =================================================
``ready``                              all nodes listen, none has started
``failed``   ``why``                   it cannot do its part, and ends
``state``    ``nodes``                 a few times a second; see `Member.state`
``met``      ``name, peer``            a connection is established
``said``     ``name, number, at``      a node says a message; ``at`` of `time.monotonic`
``got``      ``name, number, at``      a node hears a message for the first time
``damaged``  ``name``                  a node hears what nobody has said
``stopped``                            all nodes have stopped
===========  ========================  =================================================

A message is its number (8 bytes), the BLAKE2b-128 hash of its body, and the body.  A node
that hears one for the first time tells all its peers but the one that said it; whoever
joins it is told all that it has heard, so that nobody who comes late misses anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Literal

import attrs

from ..fsm.inbox import Item, Joined, Message, Ready
from ..fsm.machine import LocalProtocolError
from ..fsm.point import Backoff
from ..spec.address import Address
from ..spec.identity import Identity, PeerId
from ..spec.limits import Limits
from ..spec.point import Point
from ..spec.raw import RawCodec
from ..spec.version import SANDBOX
from . import aio_node, blocking_node
from .node_ends import NodeEnds, NodeOptions, NotConnected

#: Proof of work of all nodes: real, and found at once.
DIFFICULTY: Final = 8.0
#: Address that all nodes listen on.  One for all: whoever is dialled sees the address
#: that the system dials from, and takes it for the one that the dialler listens on.
HOST: Final = Address.parse("127.0.0.1")
#: Seconds between two reports of the state.
PAUSE: Final = 0.2
#: Seconds that what is queued has to leave when a node stops.
FLUSH: Final = 1.0
#: Seconds that an end may take before it is made short.
ENDING: Final = 5.0

_HEAD: Final = 24
#: All at home: nothing has to be spared, and nobody waits for long.
_BACKOFF: Final = Backoff(factor=1.2, initial=0.2, after_disconnection=0.5, cap=2.0)

DriverName = Literal["asyncio", "blocking"]


@attrs.frozen
class Seat:
    """One node of a process.

    Attributes:
        name: for people.
        driver: what moves its bytes.
        port: where it listens.
        secret_key: hex.
        stamp: proof of work, hex.
        seed: port of the node that it knows from the start.
        deaf: drops what it hears; for tests.
    """

    name: str
    driver: DriverName
    port: int
    secret_key: str
    stamp: str
    seed: int
    deaf: bool = False


@attrs.frozen
class Part:
    """What one process does.

    Attributes:
        seats: its nodes.
        connections: fewest acceptable, wanted, most acceptable.
        seconds: after so many it ends by itself.
    """

    seats: tuple[Seat, ...]
    connections: tuple[int, int, int]
    seconds: float

    def to_json(self) -> str:
        """Return the configuration as one line."""
        return json.dumps(attrs.asdict(self))

    @classmethod
    def of_facts(cls, facts: dict[str, Any]) -> Part:
        """Return the configuration that such a line says."""
        seats = tuple(Seat(**each) for each in facts["seats"])
        return cls(seats, tuple(facts["connections"]), facts["seconds"])


def limits_of(connections: Sequence[int]) -> Limits:
    """Return the limits of all nodes: fewest, wanted and most connections are given."""
    least, wanted, most = connections
    return Limits(
        min_connections=least,
        expected_connections=wanted,
        max_connections=most,
        # All begin at once, and all dial the same one.
        backlog=128,
        max_incoming_connections=128,
        maintenance_idle_time=1.0,
        swap_linger=None,
    )


def message_of(number: int, size: int) -> bytes:
    """Return a message with a body of some bytes."""
    body = (number.to_bytes(8) * (size // 8 + 1))[:size]
    return number.to_bytes(8) + _hash_of(body) + body


def number_of(message: bytes) -> int | None:
    """Return the number of a message; None if it was damaged."""
    if len(message) < _HEAD or _hash_of(message[_HEAD:]) != message[8:_HEAD]:
        return None
    return int.from_bytes(message[:8])


def _hash_of(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=16).digest()


#: Tells who has started us what has happened.
Tell = Callable[..., None]


# -- one node --------------------------------------------------------------------------


@attrs.define(eq=False)
class Member:
    """What one node says and hears, whatever its driver is.

    Args:
        seat: which.
        node: the node.
        tell: whom to tell.
    """

    seat: Seat
    node: NodeEnds[bytes, Any]
    _tell: Tell
    # Two threads use a blocking node: one pulls, one says.
    _lock: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _known: dict[int, bytes] = attrs.field(factory=dict[int, bytes], init=False)
    _told: int = attrs.field(default=0, init=False)
    _heard: int = attrs.field(default=0, init=False)
    _bytes_out: int = attrs.field(default=0, init=False)
    _bytes_in: int = attrs.field(default=0, init=False)

    def take(self, item: Item[bytes]) -> None:
        """Take what the node gives the application."""
        with self._lock:
            match item:
                case Message(_, peer_id, message):
                    self._hear(peer_id, message)
                case Joined(_, remote):
                    self._tell("met", name=self.seat.name, peer=str(remote.peer_id))
                    self._tell_all(remote.peer_id)
                case Ready(_, peer_id):
                    self._tell_all(peer_id)  # there was no room for some of it
                case _:
                    pass

    def say(self, number: int, size: int) -> None:
        """Say a new message."""
        with self._lock:
            at = time.monotonic()
            self._pass_on(number, message_of(number, size), ())
            self._tell("said", name=self.seat.name, number=number, at=at)

    def state(self) -> dict[str, Any]:
        """Return who is connected, and messages and bytes so far, both ways."""
        return {
            "name": self.seat.name,
            "peers": [str(running.peer.peer_id) for running in self.node.peers],
            "told": self._told,
            "heard": self._heard,
            "bytes_out": self._bytes_out,
            "bytes_in": self._bytes_in,
        }

    def _hear(self, peer_id: PeerId, message: bytes) -> None:
        self._heard += 1
        self._bytes_in += len(message)
        if self.seat.deaf:
            return
        number = number_of(message)
        if number is None:
            self._tell("damaged", name=self.seat.name)
        elif number not in self._known:
            at = time.monotonic()
            self._pass_on(number, message, (peer_id,))
            self._tell("got", name=self.seat.name, number=number, at=at)

    def _pass_on(self, number: int, message: bytes, skip: Iterable[PeerId]) -> None:
        self._known[number] = message
        self._count(self.node.broadcast(message, skip), message)

    def _tell_all(self, peer_id: PeerId) -> None:
        # Who has gone meanwhile is told nothing.
        with contextlib.suppress(NotConnected, LocalProtocolError):
            for message in self._known.values():
                self._count(int(self.node.send_now(peer_id, message)), message)

    def _count(self, times: int, message: bytes) -> None:
        self._told += times
        self._bytes_out += times * len(message)


# -- all nodes of the process ----------------------------------------------------------


class Worker:
    """Runs the nodes of this process.

    Args:
        part: what to do.
        tell: whom to tell.
    """

    def __init__(self, part: Part, tell: Tell) -> None:
        self._tell = tell
        self._asyncio: dict[aio_node.Node[bytes, Any], Member] = {}
        self._blocking: dict[blocking_node.Node[bytes, Any], Member] = {}
        self._members: dict[str, Member] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._threads: list[threading.Thread] = []
        limits = limits_of(part.connections)
        for seat in part.seats:
            self._members[seat.name] = self._make(seat, limits)

    def _make(self, seat: Seat, limits: Limits) -> Member:
        secret, stamp = bytes.fromhex(seat.secret_key), bytes.fromhex(seat.stamp)
        identity = Identity.of_secret(secret, stamp)
        point = Point(HOST, seat.port)
        options = NodeOptions(
            difficulty=DIFFICULTY,
            limits=limits,
            backoff=_BACKOFF,
            peers=() if seat.seed == seat.port else (Point(HOST, seat.seed),),
        )
        if seat.driver == "asyncio":
            node = aio_node.Node[bytes, Any](
                identity, SANDBOX, RawCodec(), point, **options
            )
            member = self._asyncio[node] = Member(seat, node, self._tell)
            return member
        other = blocking_node.Node[bytes, Any](
            identity, SANDBOX, RawCodec(), point, **options
        )
        member = self._blocking[other] = Member(seat, other, self._tell)
        return member

    async def start(self) -> None:
        """Start all nodes, and report how they are from now on."""
        for node, member in self._asyncio.items():
            await node.start()
            self._tasks.append(asyncio.create_task(self._pull(node, member)))
        for other, member in self._blocking.items():
            other.start()
            thread = threading.Thread(target=self._pull_blocking, args=(other, member))
            thread.daemon = True
            thread.start()
            self._threads.append(thread)

    async def _pull(self, node: aio_node.Node[bytes, Any], member: Member) -> None:
        async for item in node.items():
            member.take(item)

    def _pull_blocking(
        self, node: blocking_node.Node[bytes, Any], member: Member
    ) -> None:
        for item in node.items():
            member.take(item)

    def say(self, name: str, number: int, size: int) -> None:
        """Have a node say a new message."""
        self._members[name].say(number, size)

    def report(self) -> None:
        """Tell how the nodes are."""
        self._tell("state", nodes=[member.state() for member in self._members.values()])

    async def stop(self) -> None:
        """Stop all nodes.

        Raises:
            Exception: whatever has ended one of them before its time.
        """
        await asyncio.gather(
            *(node.stop(FLUSH) for node in self._asyncio),
            *(asyncio.to_thread(node.stop, FLUSH) for node in self._blocking),
        )
        await asyncio.gather(*self._tasks)
        for thread in self._threads:
            await asyncio.to_thread(thread.join, FLUSH)


# -- the process -----------------------------------------------------------------------


class _Ends:
    """Standard input as a queue of commands, standard output as `Tell`."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self.commands: asyncio.Queue[Any] = asyncio.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def tell(self, what: str, **facts: Any) -> None:
        line = json.dumps({"what": what, **facts})
        # If nobody reads any more, nobody writes either: the end of the input ends us.
        with self._lock, contextlib.suppress(OSError):
            print(line, flush=True)

    def _read(self) -> None:
        # Not sys.stdin: a thread that waits there when the interpreter ends is fatal.
        rest = b""
        while data := os.read(0, 1 << 16):
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                self._put(json.loads(line))
        self._put({"do": "stop"})
        end_within(ENDING)

    def _put(self, command: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self.commands.put_nowait, command)


def end_within(seconds: float) -> None:
    """End the process after so many seconds, whatever it does then."""
    timer = threading.Timer(seconds, os._exit, (1,))
    timer.daemon = True
    timer.start()


async def _run() -> None:
    ends = _Ends()
    first = await ends.commands.get()
    if "seats" not in first:
        return  # who has started us is gone already
    part = Part.of_facts(first)
    end_within(part.seconds + ENDING)
    try:
        worker = Worker(part, ends.tell)
    except OSError as exc:
        ends.tell("failed", why=exc.strerror or str(exc))
        return
    ends.tell("ready")
    started = False
    while True:
        command: dict[str, Any] = {"do": ""}
        with contextlib.suppress(TimeoutError):
            command = await asyncio.wait_for(ends.commands.get(), PAUSE)
        match command["do"]:
            case "go":
                await worker.start()
                started = True
            case "say":
                worker.say(command["name"], command["number"], command["size"])
            case "stop":
                break
            case _:
                pass
        if started:
            worker.report()
    await worker.stop()
    ends.tell("stopped")


def main() -> int:
    """Do one part; return the exit code."""
    # Ctrl-C is for who has started us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    broken: list[object] = []

    def note(what: threading.ExceptHookArgs) -> None:
        broken.append(what.exc_value)
        threading.__excepthook__(what)

    threading.excepthook = note
    asyncio.run(_run())
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
