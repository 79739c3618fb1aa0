"""Nodes of all drivers behind one face: the same verbs, every wait bounded.

A *world* is a driver in one of its variants, and a few nodes that meet in it.  ``aio``
and ``uvloop`` run a loop in a thread; ``thread`` and ``calls`` are the blocking driver
with its thread and without; ``simulated`` has a clock of its own.  In the worlds of real
sockets the node that is tested, `World.ours`, meets nodes of the other real driver.

A *side* is one node.  What its driver's node can do, it can: called as ``side.verb()`` it
is waited for, begun as ``side.begin("verb")`` it goes on beside what the test does.  A
node without a thread moves only within calls, so whoever waits in a world has it run.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import itertools
import os
import random
import socket
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import attrs
import driver_suite
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "fsm"))

from tezos_p2p.fsm.inbox import Message
from tezos_p2p.fsm.local import Local
from tezos_p2p.fsm.machine import compiled
from tezos_p2p.fsm.node import Node as Core
from tezos_p2p.fsm.settings import Settings
from tezos_p2p.io import aio_node, blocking_node
from tezos_p2p.io.ends import split
from tezos_p2p.io.node_ends import STOP_TIMEOUT, NodeEnds, NotConnected
from tezos_p2p.io.simulated import Network, seeded_bytes
from tezos_p2p.spec import Identity, Limits
from tezos_p2p.spec.message import MessageCodec
from tezos_p2p.spec.metadata import TezosMetadata, constant_score
from tezos_p2p.spec.point import Point
from tezos_p2p.spec.raw import RawCodec
from tezos_p2p.spec.version import SANDBOX

WAIT = driver_suite.WAIT
CODEC = RawCodec(most=16 << 20)
REAL = ("aio", "uvloop", "thread", "calls")
VARIANTS = (*REAL, "simulated")
#: Variants whose nodes live on between the calls of the application.
LIVELY = ("aio", "uvloop", "thread")
#: Only what the test says happens.
IDLE = Limits(maintenance_idle_time=None)
#: Seconds of the simulated clock that pass at once, and in all, while a test waits.
STEP = 0.01
PATIENCE = 120.0

_NUMBERS = itertools.count(1)


@functools.cache
def many_addresses() -> bool:
    """Whether this machine has all of 127/8, and not 127.0.0.1 alone.

    TEZOS_P2P_ONE_ADDRESS=1 has the tests take it for one of the others.
    """
    if os.environ.get("TEZOS_P2P_ONE_ADDRESS"):
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as sock:
        try:
            sock.bind(("127.0.0.2", 0))
        except OSError:
            return False
    return True


#: For tests of what one address does, and others must not be made to pay for.
isolated = pytest.mark.skipif(
    not many_addresses(),
    reason="did not run: this machine has no loopback address but 127.0.0.1, and who is "
    "banned or greylisted there takes everybody along",
)


def address(block: int) -> str:
    """Return an address of this machine that nobody has used before.

    What is done wrong from one address is held against no other.  Where there is only
    one, all share it: see `isolated`.
    """
    if not many_addresses():
        return "127.0.0.1"
    number = next(_NUMBERS)
    return f"127.{block + number // 250 % 50}.{number % 250}.1"


def limits(**more: Any) -> Limits:
    """Return limits without maintenance, unless told otherwise."""
    return attrs.evolve(IDLE, **more)


def busy_limits(least: int, expected: int, most: int, **more: Any) -> Limits:
    """Return limits with maintenance."""
    wanted = {
        "min_connections": least,
        "expected_connections": expected,
        "max_connections": most,
    }
    return Limits(**wanted | more)


def identity_of(number: int) -> Identity:
    # The lowest three bits of a secret key are ignored.
    return Identity.of_secret(((number + 1) << 3).to_bytes(32, "little"))


# -- a node of the simulated network ------------------------------------------------


class SimNode(NodeEnds[bytes, Any]):
    """The simulated driver with the verbs of the real ones; ``yield``: it waits."""

    def __init__(
        self, network: Network[bytes, Any], point: Point, identity: Identity, options: Any
    ) -> None:
        self.network = network
        self.host: Any = None
        self.point = point
        self.stopped = False
        self.core = self._make(identity, options)

    def _make(self, identity: Identity, options: dict[str, Any]) -> Core[bytes, Any]:
        options = dict(options)
        seed = str(self.point)
        local = Local(
            identity=identity,
            network=SANDBOX,
            random_bytes=seeded_bytes(seed),
            port=self.point.port,
            difficulty=options.pop("difficulty"),
            limits=options.pop("limits"),
            runner=compiled,
        )
        peers = options.pop("peers", ())
        settings = {
            "new_metadata": TezosMetadata,
            "score": constant_score,
            "random": random.Random(seed + "seen").random,
            "random_inside": random.Random(seed + "unseen").random,
        }
        core = Core(local, MessageCodec(CODEC), Settings(**settings | options))
        for peer in peers:
            core.pool.register_point(peer, 0.0)
        return core

    def _do(self, act: Callable[[Any, float], Any]) -> Any:
        now = self.network.now
        if self.host is None:
            return act(self.core, 0.0)
        return self.network.do(self.host, lambda core: act(core, now))

    @property
    def is_idle(self) -> bool:
        return not sum(self.core.census().values())

    def start(self) -> None:
        if self.host is not None or self.stopped:
            self.core.start(self.network.now, self.network.now)  # which it refuses
        self._started = True
        self.host = self.network.add(self.point, self.core)
        self.host.pulls = False

    def stop(self, timeout: float = STOP_TIMEOUT) -> Generator[None, None, None]:
        if not self.stopped:
            self.stopped = True
            self._do(lambda core, now: core.stop(now, now + timeout))
        while not self.is_idle:
            yield

    def connect(self, where: Point | str) -> Generator[None, None, Any]:
        self._check_started("connect")
        target, expected = split(where)
        assert isinstance(target, Point), "there are no names here"
        link = self._dial(target, expected)
        while (running := self.core.pool.running.get(link)) is None:
            if link not in self.core:
                raise NotConnected(f"no connection to {target} came about")
            yield
        return running

    def send(self, peer_id: Any, message: bytes) -> Generator[None, None, None]:
        while not self.send_now(peer_id, message):
            yield

    def maintain(self) -> Generator[None, None, bool]:
        self._check_started("maintain")
        self.host.maintained = None
        self._do(lambda core, now: core.maintain(now))
        while self.host.maintained is None:
            yield
        return bool(self.host.maintained)

    def receive_now(self) -> Any:
        if not self.core.readable:
            self._check_started("receive")
            return None
        return self._do(lambda core, _: core.receive())

    def receive(self) -> Generator[None, None, Any]:
        while (item := self.receive_now()) is None:
            if self.stopped and self.is_idle:
                raise NotConnected("the node has stopped")
            yield
        return item


# -- sides ---------------------------------------------------------------------------


class Side:
    """One node; its verbs are those of its driver, and a few made of them."""

    def __init__(self, world: World, node: Any, identity: Identity) -> None:
        self.world = world
        self.node = node
        self.identity = identity
        self.peer_id = identity.peer_id
        self.core = node.core
        self.point: Point = node.point
        self.started = False

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *args, **more: self.world.result(self.begin(name, *args, **more))

    def begin(self, name: str, *args: Any, **more: Any) -> Future[Any]:
        """Begin something; the future is there when it is done."""
        self.started = self.started or name == "start"
        call = getattr(self, f"do_{name}") if name in OWN else getattr(self.node, name)
        return self.run(call, *args, **more)

    def run(self, call: Callable[..., Any], *args: Any, **more: Any) -> Future[Any]:
        raise NotImplementedError

    def nudge(self) -> None:
        """Let it move for a moment, if it does not of its own accord."""

    def look(self, what: Callable[[], Any]) -> Any:
        """Look at the core while nobody changes it."""
        return what()

    @property
    def text(self) -> str:
        """Where it listens, and who it is."""
        return f"{self.point}#{self.peer_id}"

    @property
    def known(self) -> tuple[Any, ...]:
        """The peer ids of who is connected."""
        running = self.core.pool.running
        return self.look(lambda: tuple(it.peer.peer_id for it in running.values()))

    @property
    def census(self) -> dict[str, int]:
        """Say how many links are in which state."""
        found = self.look(self.core.census)
        return {state.name: count for state, count in found.items() if count}

    @property
    def is_quiet(self) -> bool:
        """Whether it has no link left, in whatever state."""
        return not self.census

    def link_to(self, other: Side) -> Any:
        """Return the connection to another, or None."""
        return self.look(lambda: self.core.pool.by_peer(other.peer_id))

    def pull(self, kind: type) -> Any:
        """Pull items until one of a kind; return it."""
        while not isinstance(item := self.receive(), kind):
            pass
        return item


class AioSide(Side):
    def run(self, call: Callable[..., Any], *args: Any, **more: Any) -> Future[Any]:
        async def whole() -> Any:
            done = call(*args, **more)
            return await done if inspect.isawaitable(done) else done

        return asyncio.run_coroutine_threadsafe(whole(), self.world.host(self).loop)

    def look(self, what: Callable[[], Any]) -> Any:
        return self.run(what).result(WAIT)

    async def do_take(self, count: int) -> list[Any]:
        """Return so many messages, and who says them."""
        found: list[Any] = []
        while len(found) < count:
            item = await self.node.receive()
            if isinstance(item, Message):
                found.append((item.peer_id, item.message))
        return found

    async def do_say(self, peer_id: Any, messages: Any) -> None:
        """Send one message after the other."""
        for message in messages:
            await self.node.send(peer_id, message)

    async def do_listen(self) -> list[Any]:
        """Iterate over messages to the end."""
        return [each async for each in self.node]

    async def do_watch(self) -> list[Any]:
        """Iterate over all items to the end."""
        return [each async for each in self.node.items()]


class BlockingSide(Side):
    def run(self, call: Callable[..., Any], *args: Any, **more: Any) -> Future[Any]:
        user = self.world.host(self)._user
        if user is not None:
            self._last: Future[Any] = user.submit(call, *args, **more)
            return self._last
        future: Future[Any] = Future()

        def whole() -> None:
            try:
                future.set_result(call(*args, **more))
            except BaseException as exc:
                future.set_exception(exc)

        threading.Thread(target=whole, name="test", daemon=True).start()
        return future

    def look(self, what: Callable[[], Any]) -> Any:
        with self.node._lock:
            return what()

    def nudge(self) -> None:
        if self.world.host(self)._user is not None and self.started:
            last = getattr(self, "_last", None)
            if last is None or last.done():
                self.run(self.node.run, 0.002).result(WAIT)

    def do_take(self, count: int) -> list[Any]:
        """Return so many messages, and who says them."""
        found: list[Any] = []
        while len(found) < count:
            item = self.node.receive()
            if isinstance(item, Message):
                found.append((item.peer_id, item.message))
        return found

    def do_say(self, peer_id: Any, messages: Any) -> None:
        """Send one message after the other."""
        for message in messages:
            self.node.send(peer_id, message)

    def do_listen(self) -> list[Any]:
        """Iterate over messages to the end."""
        return list(self.node)

    def do_watch(self) -> list[Any]:
        """Iterate over all items to the end."""
        return list(self.node.items())


class SimSide(Side):
    def run(self, call: Callable[..., Any], *args: Any, **more: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def whole() -> Generator[None, None, Any]:
            done = call(*args, **more)
            return (yield from done) if inspect.isgenerator(done) else done

        self.world.waiting.append((whole(), future))
        self.world.step()
        return future

    def do_take(self, count: int) -> Generator[None, None, list[Any]]:
        """Return so many messages, and who says them."""
        found: list[Any] = []
        while len(found) < count:
            item = yield from self.node.receive()
            if isinstance(item, Message):
                found.append((item.peer_id, item.message))
        return found

    def do_say(self, peer_id: Any, messages: Any) -> Generator[None, None, None]:
        """Send one message after the other."""
        for message in messages:
            yield from self.node.send(peer_id, message)

    def do_watch(self) -> Generator[None, None, list[Any]]:
        """Pull all items to the end."""
        found: list[Any] = []
        while True:
            try:
                found.append((yield from self.node.receive()))
            except NotConnected:
                return found

    def do_listen(self) -> Generator[None, None, list[Any]]:
        """Pull messages to the end."""
        items = yield from self.do_watch()
        return [(it.peer_id, it.message) for it in items if isinstance(it, Message)]


#: Verbs that a side makes of its node's.
OWN = ("take", "say", "listen", "watch")


# -- worlds --------------------------------------------------------------------------


class World:
    """Nodes of one variant, and what waits for them; see `world_of`."""

    #: Whether time is that of the machine.
    real = True

    def __init__(self, variant: str) -> None:
        self.variant = variant
        self.sides: list[Side] = []
        self._numbers = itertools.count(1)

    def node(self, *, theirs: bool = False, start: bool = True, **options: Any) -> Side:
        """Make a node.

        Args:
            theirs: whether it is of the driver that `ours` meets.
            start: whether to start it.
            options: of the node; ``listen`` and ``number`` (who it is) beside them.
        """
        number = options.pop("number", None) or next(self._numbers)
        options = {"difficulty": 0, "limits": IDLE} | options
        side = self.make(number, theirs, options)
        self.sides.append(side)
        if start:
            side.start()
        return side

    def make(self, number: int, theirs: bool, options: dict[str, Any]) -> Side:
        raise NotImplementedError

    def pair(self, ours: Any = None, theirs: Any = None) -> tuple[Side, Side]:
        """Return two nodes, ours first; ours has dialled."""
        one = self.node(**ours or {})
        other = self.node(theirs=True, **theirs or {})
        one.connect(other.point)
        self.until(lambda: other.known)
        return one, other

    def clock(self) -> float:
        raise NotImplementedError

    def step(self) -> None:
        raise NotImplementedError

    def until(self, true: Callable[[], Any], timeout: float = 0.0) -> None:
        """Wait until something is true."""
        give_up = self.clock() + (timeout or (WAIT if self.real else PATIENCE))
        while not true():
            assert self.clock() < give_up, "it never came true"
            self.step()

    def result(self, future: Future[Any]) -> Any:
        """Wait for what was begun."""
        self.until(future.done)
        return future.result()

    def pause(self, seconds: float) -> None:
        """Let so much time pass, to see that nothing happens."""
        end = self.clock() + seconds
        self.until(lambda: self.clock() >= end, seconds + WAIT)

    def host(self, side: Side) -> Any:
        raise NotImplementedError

    def finish(self) -> None:
        raise NotImplementedError


class RealWorld(World):
    """Sockets on loopback."""

    def __init__(self, variant: str) -> None:
        super().__init__(variant)
        self.ours = driver_suite.make(variant, driver_suite.OURS)
        other = "aio" if variant == "thread" else "thread"
        self.theirs = driver_suite.make(other, driver_suite.THEIRS)
        self._hosts: dict[int, driver_suite.Host] = {}

    def make(self, number: int, theirs: bool, options: dict[str, Any]) -> Side:
        host = self.theirs if theirs else self.ours
        listen = options.pop("listen", f"{address(100)}:0")
        identity = identity_of(number)
        kind: type[Side]
        if isinstance(host, driver_suite.BlockingHost):
            kind, module = BlockingSide, blocking_node
            options["thread"] = host.thread
        else:
            kind, module = AioSide, aio_node
        node = module.Node(identity, SANDBOX, CODEC, listen, **options)
        side = kind(self, node, identity)
        self._hosts[id(side)] = host
        return side

    def host(self, side: Side) -> Any:
        return self._hosts[id(side)]

    def clock(self) -> float:
        return time.monotonic()

    def step(self) -> None:
        for side in self.sides:
            side.nudge()
        time.sleep(0.001)

    def finish(self) -> None:
        try:
            for side in self.sides:
                side.stop(timeout=0.0)
            for host in (self.ours, self.theirs):
                if isinstance(host, driver_suite.AioHost):
                    self.result(asyncio.run_coroutine_threadsafe(idle(), host.loop))
        finally:
            try:
                self.ours.finish()
            finally:
                self.theirs.finish()


async def idle() -> None:
    """Check that no callback of a node waits in the loop."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(0)
    # Not every loop tells.
    timers = [it for it in getattr(loop, "_scheduled", ()) if not it.cancelled()]
    assert not [it for it in timers if "tezos_p2p" in repr(it)], timers


class SimWorld(World):
    """The simulated network."""

    real = False

    def __init__(self, variant: str) -> None:
        super().__init__(variant)
        self.network: Network[bytes, Any] = Network(1)
        self.waiting: list[tuple[Any, Future[Any]]] = []

    def make(self, number: int, theirs: bool, options: dict[str, Any]) -> Side:
        listen = options.pop("listen", None)
        place = f"{30 + number % 60}.{number // 60 % 250}.0.1:9732"
        point = listen if isinstance(listen, Point) else Point.parse(place)
        identity = identity_of(number)
        node = SimNode(self.network, point, identity, options)
        return SimSide(self, node, identity)

    def clock(self) -> float:
        return self.network.now

    def step(self) -> None:
        """Go on with all that waits, then let a little time pass."""
        for each in list(self.waiting):
            calls, future = each
            try:
                next(calls)
            except StopIteration as end:
                self.waiting.remove(each)
                future.set_result(end.value)
            except Exception as exc:
                self.waiting.remove(each)
                future.set_exception(exc)
        self.network.run(STEP)

    def finish(self) -> None:
        for side in self.sides:
            if side.started:
                side.stop(timeout=0.0)
        assert not self.waiting
        for side in self.sides:
            assert side.is_quiet


@contextlib.contextmanager
def world_of(variant: str) -> Iterator[Any]:
    """Give a world, and check that nothing of it is left behind."""
    with driver_suite.nothing_left():
        made = SimWorld(variant) if variant == "simulated" else RealWorld(variant)
        try:
            yield made
        finally:
            made.finish()


def fixture(variants: tuple[str, ...]) -> Any:
    """Return a fixture: a world of each variant, to be bound to a name."""

    def worlds(request: pytest.FixtureRequest) -> Iterator[Any]:
        with world_of(request.param) as made:
            yield made

    return pytest.fixture(params=variants)(worlds)


# -- puppets that come from an address of their own -------------------------------------


def secret() -> bytes:
    """Return a secret key that nobody else has."""
    return (next(_NUMBERS) << 3).to_bytes(16, "little") + b"\x77" * 16


def dial(
    point: Point, source: str = "", buffer: int = 0, **more: Any
) -> driver_suite.RawPeer:
    """Dial a node as a puppet from an address of its own."""
    sock = socket.socket()
    sock.settimeout(WAIT)
    if buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.bind((source or address(200), 0))
    sock.connect((str(point.address), point.port))
    return driver_suite.RawPeer(sock, True, **{"secret": secret()} | more)


class PuppetDoor(driver_suite.RawDoor):
    """A listening socket on an address of its own, whose visitors meet a puppet."""

    def __init__(self) -> None:
        self.sock = socket.socket()
        self.sock.settimeout(WAIT)
        self.sock.bind((address(200), 0))
        self.sock.listen()
        host, port = self.sock.getsockname()
        self.point = Point.parse(f"{host}:{port}")

    def accept(self, **more: Any) -> driver_suite.RawPeer:
        return super().accept(**{"secret": secret()} | more)
