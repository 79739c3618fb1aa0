"""Both drivers behind one face: calls that block, every one of them bounded.

A *host* is a driver in one of its variants.  ``aio`` and ``uvloop`` run a loop in a
thread; ``thread`` and ``calls`` are the blocking driver with its thread and without.
`hosts` gives a test two hosts and sees to it that they give everything back: threads,
tasks, descriptors.  `RawPeer` is a socket with the puppet of the core's tests behind it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "fsm"))

from fsm_puppet import Puppet  # found by the line above

from tezos_p2p.io import aio, blocking
from tezos_p2p.io.aio import ConnectionEnded
from tezos_p2p.spec import Disconnection, Identity, Limits
from tezos_p2p.spec.point import Point
from tezos_p2p.spec.raw import RawCodec
from tezos_p2p.spec.version import SANDBOX

try:
    import uvloop
except ImportError:  # not for this platform
    uvloop = None
else:
    # What a process keeps from its first loop on is no leak.
    uvloop.new_event_loop().close()

#: Seconds after which a test gives up; nothing takes nearly as long.
WAIT = 20.0
CODEC = RawCodec(most=16 << 20)
OURS = Identity.of_secret(b"\x01" * 32)
THEIRS = Identity.of_secret(b"\x02" * 32)
HOME = "127.0.0.1:0"
#: What messages look like in plaintext.
RAW_TAG = b"\x00\x10"


def raw(payload: bytes = b"", tag: bytes = RAW_TAG) -> bytes:
    return (len(payload) + 2).to_bytes(4, "big") + tag + payload


class Task:
    """A call in a thread of its own."""

    def __init__(self, call: Callable[..., Any], *args: Any, **more: Any) -> None:
        self._call = (call, args, more)
        self._value: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="test", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        call, args, more = self._call
        try:
            self._value = call(*args, **more)
        except BaseException as exc:
            self._error = exc

    @property
    def done(self) -> bool:
        return not self._thread.is_alive()

    def result(self, timeout: float = WAIT) -> Any:
        self._thread.join(timeout)
        assert self.done, "it never came back"
        if self._error is not None:
            raise self._error
        return self._value

    def ended(self, timeout: float = WAIT) -> Disconnection:
        """Return why the call found its connection over."""
        with pytest.raises(ConnectionEnded) as caught:
            self.result(timeout)
        return caught.value.disconnection


def until(true: Callable[[], object], timeout: float = WAIT) -> None:
    """Wait for what has no event of its own."""
    give_up = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < give_up, "it never came true"
        time.sleep(0.002)


class Peer:
    """A connection of either driver."""

    def __init__(self, host: Host, it: Any) -> None:
        self.host = host
        self.it = it

    def __getattr__(self, name: str) -> Any:
        return getattr(self.it, name)

    def send(self, message: Any, timeout: float = WAIT) -> None:
        self.host.wait_for(getattr(self.it, self.host.sender), message, timeout=timeout)

    def send_and_flush(self, message: Any, timeout: float = WAIT) -> None:
        self.host.wait_for(self.it.send_and_flush, message, timeout=timeout)

    def send_now(self, message: Any) -> bool:
        return self.host.do(self.it.send_now, message)

    def receive(self, timeout: float = WAIT) -> Any:
        return self.host.wait_for(self.it.receive, timeout=timeout)

    def receive_now(self) -> Any:
        return self.host.do(self.it.receive_now)

    def take(self, count: int) -> list[Any]:
        return [self.receive() for _ in range(count)]

    def rest(self) -> list[Any]:
        """Iterate to the end."""
        return self.host.collect(self.it)

    def close(self, reason: str = "", timeout: float = 5.0) -> None:
        self.host.run(self.it.close, reason, timeout)

    def abort(self) -> None:
        self.host.do(self.it.abort)

    def ended(self, timeout: float = WAIT) -> Disconnection:
        """Wait until it is over, and return why."""
        with pytest.raises(ConnectionEnded) as caught:
            while True:
                self.receive(timeout)
        return caught.value.disconnection


class Door:
    """A listener of either driver."""

    def __init__(self, host: Host, it: Any) -> None:
        self.host = host
        self.it = it
        self.point: Point = it.point

    def accept(self, timeout: float = WAIT) -> Peer:
        return self.host.adopt(self.host.wait_for(self.it.accept, timeout=timeout))

    def close(self) -> None:
        self.host.run(self.it.close)


class Host:
    """One driver; everything that it made is closed at the end."""

    module: Any
    run: Callable[..., Any]
    do: Callable[..., Any]
    wait_for: Callable[..., Any]
    collect: Callable[[Any], list[Any]]
    #: What `Peer.send` calls: something that moves bytes.
    sender = "send"

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.made: list[Peer | Door] = []

    def options(self, more: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        more = dict(more)
        must = (
            more.pop("identity", self.identity),
            more.pop("network", SANDBOX),
            more.pop("codec", CODEC),
        )
        if isinstance(more.get("limits"), dict):
            more["limits"] = Limits(**more["limits"])
        return must, {"difficulty": 0} | more

    def connect(self, where: Any, **more: Any) -> Peer:
        must, options = self.options(more)
        return self.adopt(self.run(self.module.connect, where, *must, **options))

    def listen(self, where: Any = HOME, **more: Any) -> Door:
        must, options = self.options(more)
        door = Door(self, self.run(self.module.listen, where, *must, **options))
        self.made.append(door)
        return door

    def adopt(self, connection: Any) -> Peer:
        peer = Peer(self, connection)
        self.made.append(peer)
        return peer

    def finish(self) -> None:
        for it in reversed(self.made):
            it.close() if isinstance(it, Door) else it.close(timeout=0.0)


class AioHost(Host):
    """The asyncio driver; its loop runs in a thread."""

    module = aio

    def __init__(
        self, identity: Identity, new: Callable[[], asyncio.AbstractEventLoop]
    ) -> None:
        super().__init__(identity)
        self.faults: list[Any] = []
        self.loop = new()
        self.loop.set_exception_handler(lambda _, context: self.faults.append(context))
        self._thread = threading.Thread(target=self.loop.run_forever, name="loop")
        self._thread.start()

    def run(self, call: Any, *args: Any, **more: Any) -> Any:
        return self.wait_for(call, *args, timeout=WAIT, **more)

    def do(self, call: Any, *args: Any) -> Any:
        async def now() -> Any:
            return call(*args)

        return self.run(now)

    def start(self, call: Any, *args: Any, **more: Any) -> Any:
        """Start a task; return a future that can be cancelled."""

        async def whole() -> Any:
            return await call(*args, **more)

        return asyncio.run_coroutine_threadsafe(whole(), self.loop)

    def wait_for(self, call: Any, *args: Any, timeout: float, **more: Any) -> Any:
        async def bounded() -> Any:
            return await asyncio.wait_for(call(*args, **more), timeout)

        future = asyncio.run_coroutine_threadsafe(bounded(), self.loop)
        return future.result(timeout + WAIT)

    def collect(self, it: Any) -> list[Any]:
        async def whole() -> list[Any]:
            return [each async for each in it]

        return self.run(whole)

    def finish(self) -> None:
        super().finish()

        async def settle() -> list[Any]:
            me = asyncio.current_task()
            for _ in range(10):
                await asyncio.sleep(0)
            left = [task for task in asyncio.all_tasks() if task is not me]
            await self.loop.shutdown_asyncgens()
            await self.loop.shutdown_default_executor()
            return left

        left = asyncio.run_coroutine_threadsafe(settle(), self.loop).result(WAIT)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(WAIT)
        self.loop.close()
        assert left == []
        assert self.faults == []


class User:
    """One thread that does one thing after the other; nobody waits for it for ever."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="user", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def submit(self, call: Any, *args: Any, **more: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def job() -> None:
            try:
                future.set_result(call(*args, **more))
            except BaseException as exc:
                future.set_exception(exc)

        self._jobs.put(job)
        return future

    def shutdown(self) -> None:
        """End it, and tell if it hangs."""
        self._jobs.put(None)
        self._thread.join(WAIT)
        assert not self._thread.is_alive(), "a call has not come back"


class BlockingHost(Host):
    """The blocking driver."""

    module = blocking

    def __init__(self, identity: Identity, thread: bool) -> None:
        super().__init__(identity)
        self.thread = thread
        # Without a thread, nothing moves what one call has left over.
        self.sender = "send" if thread else "send_and_flush"

        # It may be used by one thread only: this one, unless there is none.
        self._user = None if thread else User()

    def options(self, more: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        must, options = super().options(more)
        return must, {"thread": self.thread} | options

    def use_here(self) -> None:
        """From now on, the thread that calls is the one that uses it."""
        user, self._user = self._user, None
        if user is not None:
            user.shutdown()

    def run(self, call: Any, *args: Any, **more: Any) -> Any:
        if self._user is None:
            return call(*args, **more)
        return self._user.submit(call, *args, **more).result(2 * WAIT)

    def do(self, call: Any, *args: Any) -> Any:
        return self.run(call, *args)

    def wait_for(self, call: Any, *args: Any, timeout: float, **more: Any) -> Any:
        return self.run(call, *args, timeout=timeout, **more)

    def collect(self, it: Any) -> list[Any]:
        return self.run(list, it)

    def finish(self) -> None:
        try:
            super().finish()
        finally:
            self.use_here()


def make(variant: str, identity: Identity) -> Host:
    if variant == "aio":
        return AioHost(identity, asyncio.new_event_loop)
    if variant == "uvloop":
        if uvloop is None:
            pytest.skip("there is no uvloop here")
        return AioHost(identity, uvloop.new_event_loop)
    return BlockingHost(identity, thread=variant == "thread")


VARIANTS = ("aio", "uvloop", "thread", "calls")
#: Variants whose connections live on between the calls of the application.
LIVELY = ("aio", "uvloop", "thread")


def descriptors() -> dict[int, str]:
    """What is open, where the system tells."""
    found: dict[int, str] = {}
    folder = Path("/proc/self/fd")
    if folder.is_dir():
        for entry in os.listdir(folder):
            with contextlib.suppress(OSError):
                found[int(entry)] = os.readlink(folder / entry)
    return {fd: what for fd, what in found.items() if not what.endswith("/fd")}


@contextlib.contextmanager
def nothing_left() -> Iterator[None]:
    """Check that no thread and no descriptor outlives the block."""
    threads, open_before = set(threading.enumerate()), descriptors()
    yield
    until(lambda: set(threading.enumerate()) <= threads, 5)
    until(lambda: descriptors().keys() <= open_before.keys(), 5)


class Hosts:
    """Two hosts: the variant that is tested, and another that is always alive."""

    def __init__(self, variant: str) -> None:
        self.variant = variant
        self.ours = make(variant, OURS)
        self.theirs = make("aio" if variant == "thread" else "thread", THEIRS)

    def join(
        self,
        dials: bool = True,
        ours: dict[str, Any] | None = None,
        theirs: dict[str, Any] | None = None,
    ) -> tuple[Peer, Peer]:
        """Return both ends of a connection, ours first.  ``dials``: we do."""
        ours, theirs = ours or {}, theirs or {}
        if dials:
            door = self.theirs.listen(**theirs)
            mine = self.ours.connect(door.point, **ours)
            return mine, door.accept()
        door = self.ours.listen(**ours)
        task = Task(self.theirs.connect, door.point, **theirs)
        mine = door.accept()
        return mine, task.result()

    def finish(self) -> None:
        try:
            self.ours.finish()
        finally:
            self.theirs.finish()


def _hosts(request: pytest.FixtureRequest) -> Iterator[Hosts]:
    with nothing_left():
        it = Hosts(request.param)
        try:
            yield it
        finally:
            it.finish()


#: To be bound to a name in the modules that use them.
hosts = pytest.fixture(params=VARIANTS)(_hosts)
lively_hosts = pytest.fixture(params=LIVELY)(_hosts)
roles = pytest.mark.parametrize("dials", [True, False], ids=["dials", "listens"])


# -- the puppet on a socket ----------------------------------------------------------


class RawPeer:
    """A puppet with a socket: it can stop anywhere, and lie."""

    def __init__(self, sock: socket.socket, dialled: bool, **more: Any) -> None:
        sock.settimeout(WAIT)
        self.sock = sock
        settings = {"chain": SANDBOX.chain_name.encode(), "secret": b"\x05" * 32}
        self.puppet = Puppet(dialled=dialled, **settings | more)

    @classmethod
    def dial(cls, point: Point, **more: Any) -> RawPeer:
        sock = socket.socket()
        sock.settimeout(WAIT)
        sock.connect((str(point.address), point.port))
        return cls(sock, True, **more)

    def __enter__(self) -> RawPeer:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.sock.recv(size - len(data))
            assert more, "the stream has ended"
            data += more
        return data

    def frame(self) -> bytes:
        head = self.read(2)
        return head + self.read(int.from_bytes(head, "big"))

    def hear(self) -> bytes:
        """Return the plaintext of their next chunk."""
        return self.puppet.open(self.frame())

    def say(self, *plain: bytes) -> None:
        """Send chunks."""
        self.sock.sendall(b"".join(map(self.puppet.seal, plain)))

    def greet(self) -> None:
        self.sock.sendall(self.puppet.hello())
        self.puppet.meet(self.frame())

    def tell(self) -> None:
        self.say(b"\0\0")
        self.hear()

    def accept(self) -> None:
        self.say(b"\0")
        assert self.hear() == b"\0"

    def shake(self, until: str = "accept") -> RawPeer:
        """Go on to a step of the handshake: connect, greet, tell or accept."""
        for step in ("greet", "tell", "accept"):
            if until == "connect":
                break
            getattr(self, step)()
            if step == until:
                break
        return self

    def reset(self) -> None:
        """Close with a reset."""
        linger = struct.pack("ii", 1, 0)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.sock.close()

    def drain(self) -> bytes:
        """Read to the end of their stream."""
        data = b""
        with contextlib.suppress(ConnectionError):
            while more := self.sock.recv(1 << 16):
                data += more
        return data


class RawDoor:
    """A listening socket whose visitors meet a puppet."""

    def __init__(self, buffer: int = 0) -> None:
        self.sock = socket.socket()
        self.sock.settimeout(WAIT)
        if buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.listen()
        host, port = self.sock.getsockname()
        self.point = Point.parse(f"{host}:{port}")

    def accept(self, **more: Any) -> RawPeer:
        return RawPeer(self.sock.accept()[0], False, **more)

    def __enter__(self) -> RawDoor:
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()


@contextlib.contextmanager
def met(
    it: Hosts,
    dials: bool,
    step: str = "accept",
    puppet: dict[str, Any] | None = None,
    **more: Any,
) -> Iterator[tuple[RawPeer, Callable[[], Peer]]]:
    """Bring our host and a puppet together; give the puppet, and what gives our end."""
    if dials:
        with RawDoor() as door:
            task = Task(it.ours.connect, door.point, **more)
            with door.accept(**puppet or {}) as other:
                other.shake(step)
                yield other, task.result
    else:
        door = it.ours.listen(**more)
        task = Task(door.accept)
        with RawPeer.dial(door.point, **puppet or {}) as other:
            other.shake(step)
            yield other, task.result
