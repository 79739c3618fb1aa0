"""Nodes whose clock leaps: a machine that slept, a process that was stopped for hours.

The monotonic clock never goes back; how far it goes at once, nobody promises.
"""

from __future__ import annotations

import errno

import pytest
from nodes import Sim, actives, identity, node, point
from scenes import IDLE, idle_nodes, limits

from tezos_p2p.fsm.commands import Close, Dial, Read, Write
from tezos_p2p.fsm.door import ACCEPT_BURST
from tezos_p2p.fsm.point import Backoff, State

HOUR = 3600.0
#: Rounds of commands and timers that follow a leap at most: nothing spins.
ROUNDS = 20


class Alone:
    """A node whose dials all fail, and a clock."""

    def __init__(self, *known, **settings):
        self.node = node(0, *known, **settings)
        self.now = 100.0
        self.dials = []
        self.node.start(self.now, 0.0)
        self.settle()

    def settle(self):
        """Do what is due, until nothing is; return how many rounds that took."""
        for done in range(1000):
            moved = False
            while (command := self.node.next_command()) is not None:
                moved = True
                if isinstance(command, Dial):
                    self.dials.append((command.point, self.now))
                    self.node.link_lost(command.link, errno.ECONNREFUSED, self.now)
                elif isinstance(command, Close):
                    self.node.link_lost(command.link, None, self.now)
                else:
                    assert not isinstance(command, (Write, Read))
            at = self.node.next_timeout()
            if at is not None and at <= self.now:
                moved = True
                self.node.handle_timeout(self.now)
            if not moved:
                return done
        raise AssertionError("it spins")

    def leap(self, seconds):
        self.now += seconds
        return self.settle()


@pytest.mark.parametrize("hours", [1.0, 10.0, 1000.0, 1e6])
def test_after_a_leap_all_that_is_due_is_done_once(hours):
    alone = Alone(*range(1, 30), limits=limits(10, 20, 40, maintenance_idle_time=120.0))
    assert len(alone.dials) == 29
    before = len(alone.dials)
    assert alone.leap(hours * HOUR) <= ROUNDS
    # Each may be dialled again, and is dialled once: not for each wait that has passed.
    again = [where for where, _ in alone.dials[before:]]
    assert len(again) == len(set(again)) == 29
    at = alone.node.next_timeout()
    assert at is not None
    assert alone.now < at <= alone.now + 120.0


def test_after_a_leap_a_back_off_goes_on_where_it_was():
    backoff = Backoff(factor=2.0, initial=HOUR, cap=8 * HOUR)
    alone = Alone(1, limits=limits(1, 1, 2), backoff=backoff)
    (info,) = alone.node.pool.known_points.values()
    began = alone.now
    assert info.retry_at == began + HOUR
    alone.leap(HOUR - 1.0)
    assert len(alone.dials) == 1
    alone.leap(0.5 * HOUR)
    assert len(alone.dials) == 2
    assert info.retry_at == alone.now + 2 * HOUR  # from now on, not from when it was due
    alone.leap(100 * HOUR)
    assert len(alone.dials) == 3
    assert info.retry_at == alone.now + 4 * HOUR


def test_after_a_leap_the_greylisted_are_free_when_their_day_is_over():
    alone = Alone(limits=limits(0, 0, 4, maintenance_idle_time=120.0))
    address, peer_id = point(1).address, identity(1).peer_id
    alone.node.acl.greylist(address, alone.now)
    alone.node.acl.greylist_peer(peer_id, alone.now)
    assert alone.leap(23 * HOUR) <= ROUNDS
    at = alone.node.next_timeout()
    assert at is not None
    assert alone.now < at <= alone.now + 120.0
    assert alone.node.acl.is_banned(address, alone.now)
    assert alone.node.acl.is_peer_banned(peer_id, alone.now)
    assert alone.node.accept(point(1), alone.now) is None
    alone.leap(2 * HOUR)
    assert not alone.node.acl.is_banned(address, alone.now)
    assert not alone.node.acl.is_peer_banned(peer_id, alone.now)
    assert alone.node.accept(point(1), alone.now) is not None


def test_after_a_leap_no_ration_is_larger_than_its_burst():
    alone = Alone(limits=IDLE)
    alone.leap(1000 * HOUR)
    taken = 0
    for _ in range(200):
        link = alone.node.accept(point(1), alone.now)
        if link is not None:
            taken += 1
            alone.node.link_lost(link, errno.ECONNRESET, alone.now)
    assert taken == ACCEPT_BURST


def test_who_was_in_the_middle_of_a_handshake_is_given_up_after_a_leap():
    alone = Alone(limits=IDLE)
    link = alone.node.accept(point(1), alone.now)
    assert link in alone.node
    while alone.node.next_command() is not None:
        pass
    alone.leap(HOUR)
    assert link not in alone.node
    assert sum(alone.node.census().values()) == 0


def test_a_network_that_sleeps_and_wakes_is_the_same_network():
    sim = Sim(1)
    own = limits(2, 4, 7, maintenance_idle_time=120.0)
    hosts = [sim.add(point(n), node(n, 0, limits=own)) for n in range(8)]
    sim.run(60.0)
    before = actives(sim)
    assert min(before) >= 2
    # All of them are stopped at once: what was due in between is late for all.
    late = [(order, *rest) for _, order, *rest in sorted(sim._queue)]
    sim.now += 10 * HOUR
    sim._queue[:] = [(sim.now, *rest) for rest in late]
    sim.run(60.0)
    assert min(actives(sim)) >= 2
    for host in hosts:
        at = host.node.next_timeout()
        assert at is None or at > sim.now
        states = {info.state for info in host.node.pool.known_points.values()}
        assert states <= {State.DISCONNECTED, State.RUNNING}


def test_a_node_that_alone_has_slept_finds_its_network_again():
    sim = Sim(1)
    others = idle_nodes(sim, range(1, 6))
    own = limits(2, 3, 4, maintenance_idle_time=120.0)
    host = sim.add(point(0), node(0, *range(1, 6), limits=own))
    sim.run(10.0)
    assert host.node.pool.active >= 2
    # The others have given it up meanwhile.
    for other in others:
        sim.do(other, lambda it: it.disconnect(identity(0).peer_id, sim.now))
    sim.now += 10 * HOUR
    sim.run(30.0)
    assert host.node.pool.active >= 2
