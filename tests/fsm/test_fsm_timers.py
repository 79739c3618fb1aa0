"""Deadlines of many links: the heap against a plain dict, and its bounds."""

from __future__ import annotations

import random

from tezos_p2p.fsm.timers import _SMALL, Timers


def test_the_earliest_deadline_is_the_next():
    timers = Timers()
    assert timers.next() is None
    timers.set(1, 5.0)
    timers.set(2, 3.0)
    assert timers.next() == 3.0
    timers.set(2, None)
    assert timers.next() == 5.0
    timers.set(1, 9.0)
    assert timers.next() == 9.0
    timers.set(1, 2.0)
    assert timers.next() == 2.0


def test_the_same_deadline_again_costs_nothing():
    timers = Timers()
    for _ in range(100):
        timers.set(1, 5.0)
    assert len(timers) == 1
    timers.set(2, None)
    assert len(timers) == 1


def test_what_is_due_comes_out_once_and_in_order():
    timers = Timers()
    for link, at in ((1, 3.0), (2, 1.0), (3, 2.0), (4, 7.0), (5, 1.0)):
        timers.set(link, at)
    assert timers.pop_due(0.5) == []
    assert timers.pop_due(3.0) == [2, 5, 3, 1]
    assert timers.pop_due(3.0) == []
    assert timers.next() == 7.0
    timers.set(2, 4.0)
    assert timers.pop_due(100.0) == [2, 4]
    assert timers.next() is None
    assert len(timers) == 0


def test_dead_deadlines_are_thrown_away_in_time():
    timers = Timers()
    for number in range(10_000):
        timers.set(number % 3, float(number))
        assert len(timers) <= _SMALL + 2 * 3 + 1
    assert timers.next() == 9997.0
    assert timers.pop_due(1e9) == [1, 2, 0]


def test_a_deadline_that_comes_back_is_not_taken_for_the_dead_one():
    timers = Timers()
    timers.set(1, 5.0)
    timers.set(1, 6.0)
    timers.set(1, 5.0)
    assert timers.pop_due(5.5) == [1]
    assert timers.pop_due(9.0) == []


def test_as_a_plain_dict_would_have_it():
    chance = random.Random(7)
    for _ in range(50):
        timers, plain, now = Timers(), {}, 0.0
        for _ in range(300):
            link = chance.randrange(12)
            if chance.random() < 0.2:
                now += chance.randrange(5)
                due = sorted((at, each) for each, at in plain.items() if at <= now)
                assert timers.pop_due(now) == [each for _, each in due]
                plain = {each: at for each, at in plain.items() if at > now}
            elif chance.random() < 0.3:
                plain.pop(link, None)
                timers.set(link, None)
            else:
                plain[link] = now + chance.randrange(10)
                timers.set(link, plain[link])
            assert timers.next() == min(plain.values(), default=None)
