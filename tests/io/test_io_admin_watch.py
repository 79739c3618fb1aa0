"""Observers of a node, and what streams are made of."""

from __future__ import annotations

import math
import sys

import pytest
from admin_suite import DRIVERS, hosted, neighbour

from tezos_p2p.io.admin.watch import added
from tezos_p2p.io.node_ends import NotConnected
from tezos_p2p.io.timestamps import format_time, format_time_2019
from tezos_p2p.spec.point import Point
from tezos_p2p.spec.pool_events import NewPoint
from tezos_p2p.spec.reasons import ErrorKind, Reason


def point(number):
    return Point.parse(f"10.0.0.{number}:9732")


@pytest.mark.parametrize("driver", DRIVERS)
def test_observers_come_and_go_and_disturb_nobody(driver, monkeypatch):
    reported = []
    monkeypatch.setattr(sys, "excepthook", lambda *what: reported.append(what[1]))
    with hosted(driver, 50) as ours:
        node = ours.node

        def do(act):
            return act() if ours.server is None else ours.server.run(act)

        def register(number):
            do(
                lambda: node.ask(
                    lambda core, now: core.pool.register_point(point(number), now)
                )
            )

        first, second, third, changes = [], [], [], []
        register(1)  # before anybody listens
        end_first = do(lambda: node.observe(first.append))

        def broken(event):
            raise RuntimeError("of the application")

        do(lambda: node.observe(broken))
        end_second = do(lambda: node.observe(second.append, lambda: changes.append(1)))
        node.on_event = third.append
        register(2)
        assert first == second == third == [NewPoint(point(2))]
        assert changes
        assert [str(exc) for exc in reported] == ["of the application"]
        do(end_first)
        do(end_first)  # harmless
        register(3)
        assert first == [NewPoint(point(2))]
        assert second == third == [NewPoint(point(2)), NewPoint(point(3))]
        do(end_second)
        register(4)
        assert len(second) == 2
        assert len(third) == 3
        assert do(node.next_event) is None


@pytest.mark.parametrize("driver", DRIVERS)
def test_who_only_waits_for_changes_takes_no_events(driver):
    with hosted(driver, 51) as ours:

        def do(act):
            return act() if ours.server is None else ours.server.run(act)

        changes = []
        end = do(lambda: ours.node.observe(on_change=lambda: changes.append(1)))
        do(
            lambda: ours.node.ask(
                lambda core, now: core.pool.register_point(point(1), now)
            )
        )
        assert changes
        assert do(ours.node.next_event) == NewPoint(point(1))
        do(end)


def test_a_dial_that_came_to_nothing_says_why():
    with neighbour(52) as node:
        with pytest.raises(NotConnected, match="connection refused") as caught:
            node.connect("127.0.0.1:1")
        assert caught.value.ending.reason is Reason.TCP_CONNECTION_REFUSED
        assert caught.value.why.kind is ErrorKind.CONNECTION_FAILED
        with pytest.raises(NotConnected) as caught:
            node.connect(str(node.point))  # itself
        assert caught.value.why.kind is ErrorKind.MYSELF


def test_lines_that_were_added():
    a, b, c, d = (object() for _ in range(4))
    assert added((), (a, b)) == (a, b)
    assert added((a, b), (a, b)) == ()
    assert added((a, b), (a, b, c)) == (c,)
    assert added((a, b), (b, c, d)) == (c, d)  # the oldest has gone
    assert added((a, b), (c, d)) == (c, d)  # forgotten, and known again
    assert added((a,), ()) == ()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1558002605.0, "2019-05-16T10:30:05-00:00"),
        (1558002605.999, "2019-05-16T10:30:05-00:00"),
        (-0.5, "1969-12-31T23:59:59-00:00"),
        (math.inf, "9999-12-31T23:59:59-00:00"),
        (-math.inf, "0001-01-01T00:00:00-00:00"),
        (math.nan, "0001-01-01T00:00:00-00:00"),
    ],
)
def test_moments_of_2019_have_no_decimals(seconds, text):
    assert format_time_2019(seconds) == text
    assert len(format_time(seconds)) == len(text) + 4
