"""Ctrl-C at any moment: it comes out, nothing else does, and nothing is left.

Each test has a program run again and again, and sends SIGINT at its first call, return
or call of C, its second, and so on: a few of them, or all with TEZOS_P2P_LONG=1.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import signal
import sys
import threading
import time
from collections import deque

import driver_suite
import pytest
from driver_suite import CODEC, OURS, THEIRS, until
from node_suite import IDLE

from tezos_p2p.io import blocking, blocking_node
from tezos_p2p.io.interrupts import INTERRUPTS
from tezos_p2p.spec import Identity
from tezos_p2p.spec.version import SANDBOX

STRIDE = 1 if os.environ.get("TEZOS_P2P_LONG") else 37
# What is interrupted before there is a driver is closed by Python, with this warning.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
threads = pytest.mark.parametrize("thread", [False, True], ids=["calls", "thread"])


@pytest.fixture(autouse=True)
def own_handler():
    """Have Python's own handler, whatever runs the tests; and nobody guarded any more."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
        gc.collect()
        until(lambda: not INTERRUPTS.kept and not INTERRUPTS.guarded)
    finally:
        signal.signal(signal.SIGINT, before)


def moments(program, moment=None):
    """Run a program, interrupted at one of its moments; return how many there were."""
    count = 0

    def hook(*_):
        nonlocal count
        count += 1
        if count == moment:
            sys.setprofile(None)
            signal.raise_signal(signal.SIGINT)

    sys.setprofile(hook)
    try:
        program()
    finally:
        sys.setprofile(None)
    if moment is not None and count >= moment:
        pytest.fail(f"the interrupt at {moment} of {count} has not come in time")
    return count


def interrupt_everywhere(program):
    """Interrupt a program at many of its moments; return how often it was."""
    moments(program)  # what is looked up once is looked up here
    interrupted, wrong = 0, []
    for moment in range(1, moments(program), STRIDE):
        try:
            try:
                # A run takes a few moments more or less than another: some are too late.
                moments(program, moment)
            except Exception as exc:
                wrong.append((moment, exc))
                time.sleep(1)  # let it come before anything else
        except KeyboardInterrupt:
            interrupted += 1
    for moment, exc in wrong:
        exc.add_note(f"interrupted at {moment}")
        raise exc
    return interrupted


@threads
def test_a_connection_may_be_interrupted_at_any_moment(thread):
    with driver_suite.nothing_left():
        theirs = driver_suite.make("aio", THEIRS)
        door = theirs.listen()
        over = threading.Event()

        def take():
            """Accept who comes, and let go of who came long ago."""
            peers = deque()
            while not over.is_set():
                with contextlib.suppress(TimeoutError):
                    peers.append(door.accept(timeout=0.1))
                if len(peers) > 20:
                    peers.popleft().close()

        taking = driver_suite.Task(take)

        def program():
            with blocking.connect(
                door.point, OURS, SANDBOX, CODEC, difficulty=0, thread=thread
            ) as peer:
                peer.send(b"one")
                peer.send_and_flush(b"two")

        try:
            assert interrupt_everywhere(program) > 20
        finally:
            over.set()
            taking.result()
            theirs.finish()


@threads
def test_a_node_may_be_interrupted_at_any_moment(thread):
    numbers, made = itertools.count(10), []
    options = {"difficulty": 0, "limits": IDLE}
    theirs = driver_suite.Task(
        lambda: blocking_node.Node(THEIRS, SANDBOX, CODEC, "127.0.0.1:0", **options)
    ).result()
    with driver_suite.nothing_left(), theirs:
        # Who has sent what nobody reads keeps its place.
        reading = driver_suite.Task(list, theirs)

        def program():
            # In the middle: keys do not depend on all bits of the outer bytes.
            identity = Identity.of_secret((next(numbers) << 64).to_bytes(32, "big"))
            made.append(
                # Whom they cannot dial: both at once would be refused, at times.
                blocking_node.Node(identity, SANDBOX, CODEC, thread=thread, **options)
            )
            with made[-1] as node:
                node.connect(theirs.point)
                node.send(THEIRS.peer_id, b"one")
                assert node.peers

        assert interrupt_everywhere(program) > 20
        for node in made:
            node.stop()  # one is left if it came between `with` and the first line
        theirs.stop()
        reading.result()


def test_who_accepts_and_reads_may_be_interrupted_at_any_moment():
    options = {"difficulty": 0}
    with driver_suite.nothing_left():
        listener = blocking.listen("127.0.0.1:0", THEIRS, SANDBOX, CODEC, **options)

        def program():
            with (
                blocking.connect(listener.point, OURS, SANDBOX, CODEC, **options) as ours,
                listener.accept(10) as theirs,
            ):
                ours.send(b"one")
                assert theirs.receive(10) == b"one"
                theirs.send(b"two")
                assert ours.receive(10) == b"two"

        with listener:
            assert interrupt_everywhere(program) > 20


@pytest.mark.parametrize("begin", ["listen", "start"])
def test_what_is_interrupted_while_it_begins_is_not_left_open(begin, monkeypatch):
    options = {"difficulty": 0}
    kind, name = {
        "listen": (blocking.Listener, "__init__"),
        "start": (blocking_node.Node, "start"),
    }[begin]
    real = getattr(kind, name)

    def interrupted(self, *args, **more):
        real(self, *args, **more)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(kind, name, interrupted)
    with driver_suite.nothing_left(), pytest.raises(KeyboardInterrupt):
        if begin == "listen":
            blocking.listen("127.0.0.1:0", OURS, SANDBOX, CODEC, **options)
        with blocking_node.Node(OURS, SANDBOX, CODEC, "127.0.0.1:0", **options):
            time.sleep(10)


def talk_on(peer, begun):
    """Never wait, for five seconds.

    In a function of its own: where a `while` jumps back, Python 3.12 and 3.13 do not see
    the `with` around it (python/cpython#130279).
    """
    begun.set()
    until = time.monotonic() + 5
    while time.monotonic() < until:
        peer.receive_now()
        peer.send_now(b"again")


@threads
def test_who_never_waits_is_interrupted_all_the_same(thread):
    theirs = driver_suite.make("aio", THEIRS)
    try:
        point = theirs.listen().point
        for _ in range(10):
            begun = threading.Event()
            task = press(1, begun)
            with (
                pytest.raises(KeyboardInterrupt),
                blocking.connect(
                    point, OURS, SANDBOX, CODEC, difficulty=0, thread=thread
                ) as peer,
            ):
                talk_on(peer, begun)
            task.result()
    finally:
        theirs.finish()


def held_up(seconds):
    """Return a callback that does not return before so many seconds are over."""
    began = threading.Event()

    def on_event(*_):
        if not began.is_set():
            began.set()
            time.sleep(seconds)

    return began, on_event


def press(times, began):
    """Press Ctrl-C so many times, once something has begun."""

    def job():
        began.wait(10)
        for _ in range(times):
            time.sleep(0.1)
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    return driver_suite.Task(job)


@pytest.mark.parametrize(("times", "kept"), [(1, True), (2, False)])
def test_a_second_interrupt_does_not_wait_for_a_callback(times, kept):
    theirs = driver_suite.make("aio", THEIRS)
    try:
        point = theirs.listen().point
        began, on_event = held_up(2.0)
        task = press(times, began)
        start = time.monotonic()
        # It may have connected before the one that is kept can come.
        with (
            pytest.raises(KeyboardInterrupt),
            blocking.connect(
                point, OURS, SANDBOX, CODEC, difficulty=0, thread=False, on_event=on_event
            ),
        ):
            time.sleep(10)
        assert (time.monotonic() - start > 2.0) is kept
        task.result()
    finally:
        theirs.finish()


def test_other_threads_and_other_handlers_are_left_alone():
    calls = []
    theirs = driver_suite.make("aio", THEIRS)

    def use():
        with blocking.connect(
            point, OURS, SANDBOX, CODEC, difficulty=0, thread=False
        ) as peer:
            calls.append(signal.getsignal(signal.SIGINT))
            peer.send(b"one")

    try:
        point = theirs.listen().point
        driver_suite.Task(use).result()
        assert calls.pop() is signal.default_int_handler
        use()
        assert calls.pop() == INTERRUPTS._handle
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        peer = blocking.connect(point, OURS, SANDBOX, CODEC, difficulty=0)
        assert signal.getsignal(signal.SIGINT) == INTERRUPTS._handle
        peer.abort()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        for other in (signal.SIG_IGN, lambda *_: None):
            signal.signal(signal.SIGINT, other)
            use()
            assert calls.pop() is signal.getsignal(signal.SIGINT) is other
        signal.signal(signal.SIGINT, signal.default_int_handler)
    finally:
        theirs.finish()


def test_a_node_that_has_ended_leaves_the_handler_alone():
    with blocking_node.Node(OURS, SANDBOX, CODEC) as node:
        assert signal.getsignal(signal.SIGINT) == INTERRUPTS._handle
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert node.peers == ()
    assert node.next_event() is not None
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_connection_of_another_thread_is_guarded_when_the_main_thread_uses_it():
    theirs = driver_suite.make("aio", THEIRS)
    try:
        point = theirs.listen().point
        dial = driver_suite.Task(
            blocking.connect, point, OURS, SANDBOX, CODEC, difficulty=0
        )
        peer = dial.result()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        peer.send(b"one")
        assert signal.getsignal(signal.SIGINT) == INTERRUPTS._handle
        peer.close()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        theirs.finish()


def test_whose_handler_it_is_is_not_asked_for_every_message(monkeypatch):
    asked, real = [], INTERRUPTS.guard
    monkeypatch.setattr(INTERRUPTS, "guard", lambda it: asked.append(it) or real(it))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    options = {"difficulty": 0, "limits": IDLE}
    with (
        blocking_node.Node(THEIRS, SANDBOX, CODEC, "127.0.0.1:0", **options) as theirs,
        blocking_node.Node(OURS, SANDBOX, CODEC, **options) as ours,
    ):
        ours.connect(theirs.point)
        for _ in range(100):
            ours.send(THEIRS.peer_id, b"one")
            assert theirs.receive(10) is not None
    assert 1 <= len(asked) <= 4


def test_a_handler_that_is_set_meanwhile_stays():
    theirs = driver_suite.make("aio", THEIRS)
    try:
        with blocking.connect(
            theirs.listen().point, OURS, SANDBOX, CODEC, difficulty=0, thread=False
        ):
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        signal.signal(signal.SIGINT, signal.default_int_handler)
    finally:
        theirs.finish()
