"""Two hundred peers are connected, and everything is asked about them: nobody waits.

While lists are made it is measured: over asyncio, what the node's loop does at one go, in
seconds of work, which are the same on a busy machine, and in seconds; over blocking
calls, where the interface has a thread of its own, how long another thread waits for the
node; and for both, how long a peer waits for an answer to its message.  The best of some
rounds counts, as others use this machine too.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from admin_suite import DRIVERS, LIMIT, Host, hosted
from node_suite import identity_of, limits

from tezos_p2p.io import aio
from tezos_p2p.io.rpc import RPC
from tezos_p2p.spec import rpc
from tezos_p2p.spec.rpc import Generation
from tezos_p2p.spec.shell import SHELL_CODEC, GetCurrentBranch
from tezos_p2p.spec.version import SANDBOX

CROWD = 200
FIRST = 3000
#: Seconds that the node may be held up.
LAG = 0.020
ROUNDS = 5
FORM = RPC[Generation.G2026]
ROOM = limits(
    min_connections=0,
    expected_connections=CROWD,
    max_connections=2 * CROWD,
    max_incoming_connections=255,
    backlog=255,
)
#: Dials at once.
_AT_ONCE = 20


class Crowd:
    """Peers in a loop of their own: they are connected, and one of them asks."""

    def __init__(self, port: int) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.peers: dict[str, Any] = self._run(self._dial(port))

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(60)

    async def _dial(self, port: int) -> dict[str, Any]:
        numbers = iter(range(FIRST, FIRST + CROWD))
        found: dict[str, Any] = {}

        async def some() -> None:
            for number in numbers:
                who = identity_of(number)
                found[str(who.peer_id)] = await aio.connect(
                    f"127.0.0.1:{port}",
                    who,
                    SANDBOX,
                    SHELL_CODEC,
                    difficulty=0.0,
                    port=number,
                )

        await asyncio.gather(*(some() for _ in range(_AT_ONCE)))
        return found

    def asking(self, ended: threading.Event) -> Any:
        """Ask again and again; return the longest wait for an answer, in the end."""

        async def ask() -> float:
            peer, longest = next(iter(self.peers.values())), 0.0
            while not ended.is_set():
                began = time.perf_counter()
                await peer.send(GetCurrentBranch(bytes(4)))
                await peer.receive()
                longest = max(longest, time.perf_counter() - began)
                await asyncio.sleep(0.001)
            return longest

        return asyncio.run_coroutine_threadsafe(ask(), self.loop)

    def say(self, peer_id: str) -> None:
        """Have a peer send something, and wait for the answer."""

        async def talk() -> None:
            peer = self.peers[peer_id]
            await peer.send(GetCurrentBranch(bytes(4)))
            await peer.receive()

        self._run(talk())

    def close(self) -> None:
        async def end() -> None:
            for peer in self.peers.values():
                peer.abort()
            await asyncio.sleep(0)

        self._run(end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(LIMIT)
        self.loop.close()


@contextlib.contextmanager
def answering(ours: Host) -> Iterator[None]:
    """Send back whatever peers send, in the node's loop, or in a thread beside it."""
    node = ours.node

    async def serve() -> None:
        async for item in node.items():
            if hasattr(item, "message"):
                node.send_now(item.peer_id, item.message)

    if ours.server is not None:
        task = asyncio.run_coroutine_threadsafe(serve(), ours.server.loop)
        yield
        task.cancel()
        return
    ended = threading.Event()

    def work() -> None:
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                item = node.receive(0.1)
                if hasattr(item, "message"):
                    node.send_now(item.peer_id, item.message)

    thread = threading.Thread(target=work)
    thread.start()
    yield
    ended.set()
    thread.join(LIMIT)


def until_all_run(ours: Host) -> None:
    end = time.monotonic() + LIMIT
    while ours.ask(lambda core, _: core.pool.active) < CROWD:
        assert time.monotonic() < end
        time.sleep(0.01)


class Rounds:
    """Counts what the node's loop does at one go: seconds of work, and seconds."""

    def __init__(self, ours: Host) -> None:
        self.ours = ours
        self.on = True
        self.before = (0.0, 0.0)
        self.worst = (0.0, 0.0)

    def __enter__(self) -> Rounds:
        self.ours.server.run(self._begin)
        return self

    def __exit__(self, *_: object) -> None:
        self.on = False

    def _begin(self) -> None:
        self.before = time.thread_time(), time.perf_counter()
        self._tick()

    def _tick(self) -> None:
        now = time.thread_time(), time.perf_counter()
        gone = [after - before for before, after in zip(self.before, now, strict=True)]
        self.worst = max(self.worst[0], gone[0]), max(self.worst[1], gone[1])
        self.before = now
        if self.on:
            self.ours.server.loop.call_soon(self._tick)


class Waits:
    """Wants the node for itself again and again, in another thread."""

    def __init__(self, ours: Host) -> None:
        self.ours = ours
        self.ended = threading.Event()
        self.longest = 0.0
        self.thread = threading.Thread(target=self._work)

    def __enter__(self) -> Waits:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self.thread.join(LIMIT)

    def _work(self) -> None:
        while not self.ended.wait(0.002):
            began = time.perf_counter()
            self.ours.ask(lambda *_: None)
            self.longest = max(self.longest, time.perf_counter() - began)


def measured(ours: Host, crowd: Crowd, path: str) -> tuple[bytes, dict[str, float]]:
    """Ask for a list; return it, and how long things took meanwhile."""
    ended = threading.Event()
    asked = crowd.asking(ended)
    found: dict[str, float] = {}
    if ours.server is not None:
        with Rounds(ours) as rounds:
            body = ours.call("GET", f"/network/{path}")[2]
        found["work"], found["time"] = rounds.worst
    else:
        with Waits(ours) as waits:
            body = ours.call("GET", f"/network/{path}")[2]
        found["another thread"] = waits.longest
    ended.set()
    found["a peer"] = asked.result(LIMIT)
    return body, found


@pytest.fixture(scope="module", params=DRIVERS)
def place(request: pytest.FixtureRequest) -> Iterator[tuple[Host, Crowd]]:
    with (
        hosted(request.param, 86, limits=ROOM) as ours,
        contextlib.closing(Crowd(ours.node.point.port)) as crowd,
        answering(ours),
    ):
        until_all_run(ours)
        yield ours, crowd


def checked_peers(body: bytes) -> None:
    known = FORM.read(body.decode(), rpc.Peers, "peers")
    assert len(known) == CROWD
    for _, info in known:
        assert info.state is rpc.PeerState.RUNNING
        assert info.stat.total_recv > 100


def checked_points(body: bytes) -> None:
    known = FORM.read(body.decode(), rpc.Points, "points")
    assert len(known) == CROWD
    assert {info.state.event_kind for _, info in known} == {rpc.PointStateKind.RUNNING}


def checked_connections(body: bytes) -> None:
    found = FORM.read(body.decode(), list[rpc.ConnectionInfo], "connections")
    assert len({info.peer_id for info in found}) == CROWD


def checked_full(body: bytes) -> None:
    full = FORM.read(body.decode(), rpc.FullStat, "full_stat")
    assert len(full.incoming_connections) == CROWD
    assert (len(full.peers), len(full.points)) == (CROWD, CROWD)


@pytest.mark.parametrize(
    ("path", "check"),
    [
        ("peers", checked_peers),
        ("points", checked_points),
        ("connections", checked_connections),
        ("full_stat", checked_full),
    ],
)
def test_nobody_waits_while_all_of_a_crowd_is_listed(
    place: tuple[Host, Crowd], path: str, check: Callable[[bytes], None]
) -> None:
    best: dict[str, float] = {}
    for _ in range(ROUNDS):
        body, found = measured(*place, path)
        check(body)
        best = {what: min(best.get(what, took), took) for what, took in found.items()}
    print(path, *(f"{what} {1000 * took:.1f} ms" for what, took in best.items()))
    assert max(best.values()) < LAG, best


def test_rows_are_live(place: tuple[Host, Crowd]) -> None:
    """Bytes that a peer sends are in the next answer."""
    ours, crowd = place
    one = str(identity_of(FIRST).peer_id)

    def received() -> int:
        return int(dict(ours.get("/network/peers"))[one]["stat"]["total_recv"])

    before = received()
    crowd.say(one)
    assert received() > before
