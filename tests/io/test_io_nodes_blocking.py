"""Nodes over blocking calls: callbacks that would wait, and running until something."""

from __future__ import annotations

import contextlib
import threading
import time

import node_suite
import pytest
from node_suite import WAIT

from tezos_p2p.io import blocking_node, node_ends
from tezos_p2p.spec.version import SANDBOX

threads = pytest.mark.parametrize("threaded", [True, False])


def node(number, **more):
    return blocking_node.Node(
        node_suite.identity_of(9_000 + number),
        SANDBOX,
        node_suite.CODEC,
        f"{node_suite.address(100)}:0",
        difficulty=0.0,
        limits=node_suite.limits(),
        **more,
    )


def in_thread(work):
    """Do something that may hang, without hanging."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


@threads
@pytest.mark.parametrize("call", ["stop", "receive", "run"])
def test_a_callback_that_would_wait_is_told_so_and_blocks_nothing(
    monkeypatch, threaded, call
):
    reported = []
    monkeypatch.setattr(node_ends, "report", reported.append)
    ours, theirs = node(0, thread=threaded), node(1)
    ours.on_event = lambda _: getattr(ours, call)()

    def use():
        with ours:
            ours.run(WAIT, until=lambda: bool(reported))

    user = in_thread(use)
    with theirs:
        with contextlib.suppress(node_ends.NotConnected):
            theirs.connect(ours.point)
        user.join(WAIT)
    assert not user.is_alive()
    assert ours.stopped
    first = reported[0]  # what comes when it has stopped is that it has
    assert isinstance(first, RuntimeError)
    assert "on_event must not wait" in str(first)


def test_a_callback_may_have_another_thread_stop_the_node():
    ours, theirs = node(0), node(1)
    stopping = []

    def dial():
        with contextlib.suppress(node_ends.NotConnected):
            theirs.connect(ours.point)

    ours.on_event = lambda _: stopping or stopping.append(in_thread(ours.stop))
    ours.start()
    with theirs:
        dialling = in_thread(dial)
        ours.run(WAIT)
        dialling.join(WAIT)
        stopping[0].join(WAIT)
        assert ours.stopped
        assert not stopping[0].is_alive()


@threads
def test_the_loop_runs_until_something_is_true(threaded):
    ours, theirs = node(0, thread=threaded), node(1)
    looks = []

    def met():
        looks.append(len(ours.core.pool.running))
        return looks[-1] > 0

    with ours, theirs:
        dialling = in_thread(lambda: theirs.connect(ours.point))
        ours.run(WAIT, until=met)
        dialling.join(WAIT)
        assert looks[-1] == 1
        # What is true already is not waited for; what never is ends with the time.
        ours.run(until=lambda: True)
        began = time.monotonic()
        ours.run(0.05, until=lambda: False)
        assert 0.05 <= time.monotonic() - began < WAIT
        ours.run(0.01)


def test_the_loop_runs_until_the_node_has_stopped():
    ours = node(0)
    ours.start()
    running = in_thread(lambda: ours.run(until=lambda: False))
    ours.stop()
    running.join(WAIT)
    assert not running.is_alive()
