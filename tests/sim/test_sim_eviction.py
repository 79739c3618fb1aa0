"""Who leaves a full table, who is tried first, and what maintenance says at its end."""

from __future__ import annotations

import functools

import attrs
import pytest
from nodes import Sim, identity, node, point
from scenes import IDLE, dial, idle_nodes, limits, part, told

from tezos_p2p.fsm.diversity import Bounds, Diversity
from tezos_p2p.fsm.machine import LocalProtocolError
from tezos_p2p.fsm.steward import Steward
from tezos_p2p.spec.address import Address
from tezos_p2p.spec.pool_events import OutgoingConnection

#: Never looks for anybody, and wants four at most; thresholds 0, 0, 4, 6.
TIGHT = limits(0, 0, 8, max_known_points=(6, 5))


def met_and_left(fresh, limits=TIGHT, **settings):
    """Return a node that has met four others, whose table of six is nearly full."""
    sim = Sim(1)
    doubts = Diversity(Bounds(fresh=fresh, test_gap=10.0))
    own = node(0, limits=limits, diversity=doubts, discovers=False, **settings)
    host = sim.add(point(0), own, keeps=True)
    idle_nodes(sim, range(1, 5), discovers=False)
    for number in range(1, 5):
        dial(sim, host, number)
        sim.run(1.0)
        part(sim, host, number)
    sim.run(1.0)
    told(host)
    return sim, host


def learn(sim, host, numbers):
    def register(it):
        for number in numbers:
            it.pool.register_new_point(point(number), sim.now)
        it.handle_timeout(sim.now)  # so that it looks at what has come of it

    sim.do(host, register)


def number_of(running):
    return next(n for n in range(20) if identity(n).peer_id == running.peer.peer_id)


def dialled(host):
    return [event.point for event in told(host) if type(event) is OutgoingConnection]


def test_points_that_were_reached_lately_outlive_any_number_that_others_tell():
    sim, host = met_and_left(fresh=3600.0)
    learn(sim, host, range(100, 200))
    known = host.node.pool.known_points
    assert [point(number) in known for number in range(1, 5)] == [True] * 4
    assert len(known) == 6
    sim.run(100.0)
    assert dialled(host) == []


def test_points_that_were_reached_long_ago_are_tried_one_by_one_before_they_go():
    sim, host = met_and_left(fresh=5.0)
    sim.run(10.0)
    sim.kill(sim.hosts[1])
    learn(sim, host, range(100, 102))
    sim.run(0.5)
    assert dialled(host) == []
    learn(sim, host, range(102, 110))
    sim.run(35.0)
    assert dialled(host) == [point(number) for number in range(1, 5)]
    # Who was not there is the next to go, before those never tried.
    known = host.node.pool.known_points
    assert point(1) in known
    learn(sim, host, range(110, 111))
    assert point(1) not in known
    assert [point(number) in known for number in range(2, 5)] == [True] * 3


def test_a_point_that_is_forgotten_before_its_test_is_not_dialled():
    sim, host = met_and_left(fresh=5.0)
    sim.run(10.0)
    # The first learnt makes the table full, the second has the others doubted.
    learn(sim, host, range(100, 103))
    for number in range(1, 5):
        host.node.pool.unregister_point(point(number))
    sim.run(100.0)
    assert dialled(host) == []


def test_a_node_without_maintenance_tests_nobody():
    alone = attrs.evolve(TIGHT, maintenance_idle_time=None)
    sim, host = met_and_left(fresh=5.0, limits=alone)
    sim.run(10.0)
    learn(sim, host, range(100, 110))
    sim.run(100.0)
    assert dialled(host) == []
    assert host.node.pool.active == 0


@pytest.mark.parametrize("guests", [3, 4, 6])
def test_nobody_is_tested_beyond_the_connections_that_are_wanted(guests):
    sim, host = met_and_left(fresh=5.0)
    for each in idle_nodes(sim, range(10, 10 + guests), port=0):
        dial(sim, each, 0)
    sim.run(10.0)
    assert host.node.pool.active == guests
    learn(sim, host, range(100, 110))
    sim.run(35.0)
    # The first of them stays, and there are four.
    assert dialled(host) == ([point(1)] if guests == 3 else [])
    assert host.node.pool.active == max(guests, 4)
    # Whoever was not tested is still known, and tested when there is room.
    for running in list(host.node.pool.running.values()):
        part(sim, host, number_of(running))
    learn(sim, host, range(110, 111))
    sim.run(1.0)
    assert dialled(host) == [point(2 if guests == 3 else 1)]


def test_whoever_came_by_himself_meanwhile_is_not_dialled_and_keeps_nobody_waiting():
    sim, host = met_and_left(fresh=5.0)
    sim.run(10.0)
    learn(sim, host, range(100, 110))
    dial(sim, sim.hosts[2], 0)
    sim.run(10.0)
    assert dialled(host) == [point(1), point(3)]


def test_a_private_node_tests_those_only_whom_it_trusts():
    sim, host = met_and_left(fresh=5.0, private_mode=True, trusted=(1, 2, 3, 4))
    sim.run(10.0)
    for number in (2, 3, 4):
        untrust = functools.partial(Steward.untrust_point, point=point(number))
        sim.do(host, lambda it, what=untrust: it.govern(what, sim.now))
    learn(sim, host, range(100, 110))
    assert list(host.node._diversity._tests) == [point(2), point(3), point(4)]
    sim.do(host, lambda it: it.pool.register_point(point(3), sim.now, trusted=True))
    sim.run(5.0)  # less than between two tests
    assert dialled(host) == [point(3)]


def test_anchors_are_dialled_though_nothing_else_is_known():
    sim = Sim(1)
    idle_nodes(sim, range(1, 3))
    anchored = Diversity(anchors=(point(2),))
    host = sim.add(point(0), node(0, limits=limits(1, 1, 4), diversity=anchored))
    sim.run(1.0)
    assert [it.peer.peer_id for it in host.node.pool.running.values()] == [
        identity(2).peer_id
    ]


def test_a_node_that_has_stopped_has_nothing_left_to_do():
    sim, host = met_and_left(fresh=5.0)
    sim.run(10.0)
    learn(sim, host, range(100, 110))
    assert host.node.next_timeout() is not None
    sim.do(host, lambda it: it.stop(sim.now))
    sim.run(1.0)
    assert host.node.next_timeout() is None


def test_who_asks_for_maintenance_is_told_when_it_is_over_also_within_bounds():
    sim = Sim(1)
    idle_nodes(sim, range(1, 4))
    own = limits(1, 2, 4)
    host = sim.add(point(0), node(0, 1, 2, 3, limits=own), keeps=True)
    sim.run(5.0)
    assert host.maintained is True
    host.maintained = None
    sim.do(host, lambda it: it.maintain(sim.now))
    assert host.maintained is True


def test_who_asks_during_a_run_that_is_cut_off_is_told_that_it_failed():
    sim = Sim(1)
    host = sim.add(point(0), node(0, 1, limits=limits(1, 2, 4)), keeps=True)
    sim.run(0.5)
    sim.do(host, lambda it: it.maintain(sim.now))
    assert host.maintained is None
    sim.do(host, lambda it: it.stop(sim.now))
    assert host.maintained is False
    with pytest.raises(LocalProtocolError):
        host.node.maintain(sim.now)


def test_an_exempt_address_is_not_counted_with_its_neighbours():
    sim = Sim(1)
    own = attrs.evolve(IDLE, max_incoming_connections=8)
    host = sim.add(point(0), node(0, limits=own))
    sim.run(0.1)
    near = [Address.parse(f"9.9.9.{n}") for n in range(1, 9)]
    host.node.acl.allow(near[7])

    def knock(address):
        return sim.knock(host, point(0)._replace(address=address))

    taken = [knock(address) is not None for address in near]
    assert taken == [True, True, False, False, False, False, False, True]
