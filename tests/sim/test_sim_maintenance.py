"""Maintenance of whole nodes in virtual time: when it acts, on whom, when it rests."""

from __future__ import annotations

import itertools

import attrs
import pytest
from nodes import Sim, identity, node, point
from scenes import (
    IDLE,
    Bad,
    dial,
    idle_nodes,
    kinds,
    limits,
    neighbours,
    overfill,
    part,
    put,
    told,
)

from tezos_p2p.fsm.admission import State
from tezos_p2p.fsm.machine import LocalProtocolError
from tezos_p2p.fsm.maintenance import AT_ONCE, PATIENCE
from tezos_p2p.spec.limits import Limits
from tezos_p2p.spec.message import Advertise, Bootstrap
from tezos_p2p.spec.pool_events import (
    AdvertiseReceived,
    BootstrapReceived,
    BootstrapSent,
    OutgoingConnection,
    SwapRequestSent,
    TooFewConnections,
    TooManyConnections,
)
from tezos_p2p.spec.reasons import Reason

#: Thresholds 4, 5, 8, 10.
ROOMY = limits(3, 6, 12)


def crowd(own, others, *, knows=True, seed=1, **settings):
    """Return a network of one node with maintenance, and others that only answer."""
    sim = Sim(seed)
    idle_nodes(sim, range(1, others + 1))
    known = range(1, others + 1) if knows else ()
    target = sim.add(point(0), node(0, *known, limits=own, **settings), keeps=True)
    return sim, target


# -- triggers --------------------------------------------------------------------------


def test_losing_more_than_the_least_starts_a_run_without_the_timer():
    sim, target = crowd(limits(4, 10, 14), 20)
    sim.run(5.0)
    assert 8 <= target.node.pool.active <= 12
    assert TooFewConnections in kinds(target)
    for number in sorted(neighbours_of(target))[3:]:
        part(sim, target, number)
    assert TooFewConnections in kinds(target)
    sim.run(1.0)
    assert target.node.pool.active >= 8


def neighbours_of(host):
    numbers = {identity(n).peer_id: n for n in range(200)}
    return {numbers[it.peer.peer_id] for it in host.node.pool.running.values()}


def test_reaching_the_most_starts_a_run_without_the_timer():
    sim, target = crowd(limits(0, 4, 10), 12, knows=False)
    overfill(sim, target, range(1, 10))
    assert target.node.pool.active == 9  # above the threshold, but not at the most
    assert kinds(target).count(TooManyConnections) == 0
    overfill(sim, target, [10])
    sim.run(2.0)
    assert TooManyConnections in kinds(target)
    assert target.node.pool.active == 6


def test_a_dial_that_is_one_too_many_is_refused_and_nobody_trimmed_for_it():
    own = limits(0, 4, 10, maintenance_idle_time=60.0)
    sim, target = crowd(own, 12, knows=False)
    sim.run(1.0)
    for number in range(1, 9):
        dial(sim, target, number)
    sim.run(2.0)
    assert neighbours_of(target) == set(range(1, 9))
    assert isinstance(dial(sim, target, 9), int)
    dial(sim, sim.hosts[9], 0)
    sim.run(180.0)
    assert neighbours_of(target) == set(range(1, 9))
    assert TooManyConnections not in kinds(target)
    reason = Reason.AUTHENTICATION_REJECTED
    assert target.node.refused == {reason: 2}


def test_one_of_forty_two_that_wants_many_makes_up_for_one_below_the_least():
    """Expected 36, at least 18, at most 400, and no timer to speak of."""
    sim, target = crowd(limits(18, 36, 400), 41)
    sim.run(5.0)
    active, bounds = target.node.pool.active, target.node.maintenance.bounds
    assert bounds.min_target <= active <= bounds.max_target
    assert target.maintained
    kinds(target)
    target.maintained = None
    *gone, last = sorted(neighbours_of(target))[: active - 17]
    for number in gone:
        part(sim, target, number)
    sim.run(5.0)
    assert (target.node.pool.active, target.maintained) == (18, None)
    assert TooFewConnections not in kinds(target)
    part(sim, target, last)
    assert kinds(target).count(TooFewConnections) == 1
    sim.run(5.0)
    # All that it has not left lately are less than its target, and enough.
    assert neighbours_of(target) == set(range(1, 42)) - {*gone, last}
    assert bounds.min_threshold <= target.node.pool.active < bounds.min_target
    assert target.maintained


def test_a_further_client_insists_until_the_target_has_trimmed_itself():
    """Expected 24, at most 36, and no timer to speak of."""
    sim, target = crowd(limits(0, 24, 36), 41, knows=False)
    bounds = target.node.maintenance.bounds
    sim.run(1.0)
    kinds(target)
    overfill(sim, target, range(1, 36))
    assert target.node.pool.active == 35 > bounds.max_threshold
    # Nobody is too many yet, and the client is refused as often as it comes.
    client = sim.hosts[39]
    assert client.point == point(40)
    for _ in range(5):
        assert isinstance(dial(sim, client, 0), int)
        sim.run(1.0)
    assert client.node.refused == {Reason.AUTHENTICATION_REJECTED_BY_PEER: 5}
    assert TooManyConnections not in kinds(target)
    overfill(sim, target, [36])
    assert TooManyConnections in kinds(target)
    assert target.node.pool.active == bounds.max_target
    dial(sim, client, 0)
    sim.run(1.0)
    assert 40 in neighbours_of(target)
    assert target.node.pool.active == bounds.max_target + 1 <= bounds.max_threshold


def test_the_timer_finds_what_no_trigger_tells():
    own = attrs.evolve(ROOMY, maintenance_idle_time=120.0)
    sim, target = crowd(own, 20)
    sim.run(30.0)
    told(target)
    for number in sorted(neighbours_of(target))[3:]:
        part(sim, target, number)
    assert target.node.pool.active == 3  # not below the least, but below the threshold
    sim.run(89.0)
    assert kinds(target).count(TooFewConnections) == 0
    sim.run(2.0)
    assert kinds(target).count(TooFewConnections) == 1
    assert target.node.pool.active >= 5


def test_the_timer_begins_anew_with_each_run():
    own = attrs.evolve(ROOMY, maintenance_idle_time=120.0)
    sim, target = crowd(own, 8)
    sim.run(70.0)
    sim.do(target, lambda it: it.maintain(sim.now))
    assert target.node.maintenance.next_timeout() == sim.now + 120.0


@pytest.mark.parametrize(
    ("active", "event", "after"),
    [
        (3, TooFewConnections, (5, 8)),
        (4, None, (4, 4)),
        (8, None, (8, 8)),
        (10, None, (10, 10)),
        (11, TooManyConnections, (8, 8)),
    ],
)
def test_a_run_acts_beyond_the_thresholds_and_not_at_them(active, event, after):
    sim, target = crowd(ROOMY, 20, knows=False)
    overfill(sim, target, range(1, 12))
    for number in range(active + 1, 12):
        part(sim, target, number)
    told(target)
    for number in range(12, 21):
        target.node.pool.register_point(point(number), sim.now)
    sim.do(target, lambda it: it.maintain(sim.now))
    sim.run(2.0)
    found = {TooFewConnections, TooManyConnections}.intersection(kinds(target))
    assert found == ({event} if event else set())
    assert after[0] <= target.node.pool.active <= after[1]


def test_what_is_lost_during_a_run_is_made_up_for_by_that_run():
    sim, target = crowd(ROOMY, 6, knows=False)
    sim.run(1.0)
    for number in (1, 2, 3, 4):
        dial(sim, target, number)
    sim.run(1.0)
    for number in (1, 2, 3):
        part(sim, target, number)
    for number in (5, 6):
        target.node.pool.register_point(point(number), sim.now)
    sim.run(120.0)  # whom we have left may be dialled again after a minute
    assert target.node.pool.active >= 4


# -- numbers ---------------------------------------------------------------------------


def test_every_choice_of_numbers_leads_to_a_number_within_its_bounds():
    for wanted in itertools.combinations_with_replacement(range(6), 3):
        sim, target = crowd(limits(*wanted), 8)
        sim.run(5.0)
        bounds = target.node.maintenance.bounds
        assert bounds.contain(target.node.pool.active), wanted
        if wanted[0]:
            assert target.node.pool.active >= bounds.min_target, wanted


def test_whoever_wants_one_connection_gets_it_and_gets_it_again():
    sim, target = crowd(limits(1, 1, 1), 1)
    sim.run(1.0)
    assert neighbours(sim, target) <= {0, 1}
    assert target.node.pool.active == 1
    sim.do(sim.hosts[0], lambda it: it.disconnect(identity(0).peer_id, sim.now))
    sim.run(59.0)
    assert target.node.pool.active == 0  # a minute's rest after a connection that ran
    sim.run(31.0)  # and the search looks at least so often
    assert target.node.pool.active == 1


def test_one_of_a_clique_is_enough_to_reach_the_target():
    sim = Sim(4)
    clique = idle_nodes(sim, range(1, 10), limits=limits(0, 9, 12))
    for host in clique:
        for number in range(1, 10):
            if number > host.number + 1:
                dial(sim, host, number)
    sim.run(2.0)
    target = sim.add(point(0), node(0, limits=limits(3, 6, 9)))
    sim.run(1.0)
    dial(sim, target, 5)
    sim.run(60.0)
    assert 5 <= target.node.pool.active <= 7


def test_a_node_without_maintenance_stays_alone_when_its_peer_comes_back():
    sim = Sim(1)
    hub = sim.add(point(0), node(0, limits=IDLE))
    ones = {"maintenance_idle_time": 5.0}
    lazy = sim.add(point(1), node(1, 0, limits=IDLE))
    eager = sim.add(point(2), node(2, 0, limits=limits(1, 1, 1, **ones)))
    dial(sim, lazy, 0)
    sim.run(1.0)
    assert hub.node.pool.active == 2
    sim.kill(hub)
    sim.run(1.0)
    back = sim.add(point(0), node(0, limits=IDLE))
    sim.run(100.0)
    assert kinds(eager).count(TooFewConnections) >= 2
    assert kinds(lazy).count(TooFewConnections) == 0
    assert (lazy.node.pool.active, eager.node.pool.active) == (0, 1)
    assert back.node.pool.active == 1
    with pytest.raises(LocalProtocolError):
        sim.do(lazy, lambda it: it.maintain(sim.now))


# -- dialling --------------------------------------------------------------------------


def test_points_that_never_answer_do_not_delay_the_others():
    sim = Bad(1)
    sim.holes = {point(n) for n in range(20, 24)}
    idle_nodes(sim, range(1, 7))
    known = (*range(20, 24), *range(1, 7))
    target = sim.add(point(0), node(0, *known, limits=ROOMY))
    sim.run(PATIENCE + 1.0)
    assert target.node.pool.active >= 4
    sim.run(15.0)
    assert target.node.pool.active >= 5
    assert target.node.census()[State.DIALLING] == 0


def test_dials_in_progress_are_bounded_however_many_points_are_known():
    most = 0

    def look(host):
        nonlocal most
        most = max(most, host.node.census()[State.DIALLING])

    sim = Bad(1, after_step=look)
    sim.holes = {point(n) for n in range(1, 101)}
    sim.add(point(0), node(0, *range(1, 101), limits=Limits()))
    sim.run(60.0)
    assert most == AT_ONCE


def test_what_is_dialled_in_vain_is_dialled_ever_more_seldom():
    sim = Sim(1)
    target = sim.add(point(0), node(0, 1, limits=limits(1, 1, 1)))
    times = []
    for _ in range(3600):
        sim.run(1.0)
        times += [sim.now] * kinds(target).count(OutgoingConnection)
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert 5 < len(times) < 120
    assert gaps[-1] > 100
    # Each wait is 1.2 times as long, at least; the search looks every 30 seconds.
    delays = [1.2**n for n in range(len(gaps))]
    assert all(delay - 1 <= gap for gap, delay in zip(gaps, delays, strict=True))
    assert all(gap <= delay + 32 for gap, delay in zip(gaps, delays, strict=True))


def test_who_was_never_missed_is_dialled_first_then_who_was_missed_longest_ago():
    sim, target = crowd(limits(1, 1, 1), 3, knows=False)
    for number in (2, 1):
        dial(sim, target, number)
        sim.run(1.0)
        part(sim, target, number)
        sim.run(1.0)
    target.node.pool.register_point(point(3), sim.now)
    told(target)
    sim.run(100.0)
    assert neighbours_of(target) == {3}
    part(sim, target, 3)
    sim.run(200.0)
    dialled = [e.point for e in told(target) if isinstance(e, OutgoingConnection)]
    assert dialled == [point(3), point(2)]


def test_banned_points_are_not_dialled_by_maintenance():
    sim = Sim(1)
    idle_nodes(sim, range(1, 4))
    made = node(0, 1, 2, 3, limits=ROOMY)
    made.acl.ban(point(2).address)
    made.acl.greylist(point(3).address, 0.0)
    target = sim.add(point(0), made)
    sim.run(100.0)
    assert neighbours_of(target) == {1}


@pytest.mark.parametrize("liars", [1, 2, 3])
def test_who_was_away_for_a_moment_is_found_whatever_else_is_told(liars):
    """Each liar tells of many points that nobody answers at, then of one at a time."""
    sim = Bad(7)
    own = limits(6, 12, 20, maintenance_idle_time=120.0)
    target = sim.add(point(0), node(0, *range(1, 21), limits=own), keeps=True)
    sim.run(1.0)
    bad = idle_nodes(sim, range(50, 50 + liars), discovers=False)
    for host in bad:
        dial(sim, host, 0)
    sim.run(2.0)
    lies = [point(number) for number in range(2000, 3000)]
    sim.holes = set(lies)
    for host in bad:
        put(sim, host, 0, Advertise(tuple(lies.pop() for _ in range(90))))
    for second in range(0, 320, 5):
        if second == 60:
            idle_nodes(sim, range(1, 21), discovers=False)
        put(sim, bad[second // 5 % liars], 0, Advertise((lies.pop(),)))
        sim.run(5.0)
    assert target.node.pool.active >= target.node.maintenance.bounds.min_threshold
    assert BootstrapSent in kinds(target)


# -- asking ----------------------------------------------------------------------------


def test_who_knows_nobody_more_asks_and_waits_longer_each_time():
    sim, target = crowd(limits(2, 2, 2), 1)
    times = []
    for _ in range(240):
        sim.run(1.0)
        times += [sim.now] * kinds(target).count(BootstrapSent)
    gaps = [b - a for a, b in itertools.pairwise(times)]
    assert gaps == sorted(gaps)
    assert gaps[-3:] == [30.0, 30.0, 30.0]
    assert len(times) < 14
    assert kinds(sim.hosts[0]).count(BootstrapReceived) == len(times)


def test_two_neighbours_of_one_node_are_told_of_each_other():
    sim = Sim(1)
    sim.add(point(0), node(0, limits=IDLE))
    five = limits(2, 2, 4, maintenance_idle_time=5.0)
    one, two = (sim.add(point(n), node(n, 0, limits=five)) for n in (1, 2))
    sim.run(20.0)
    assert point(2) in one.node.pool.known_points
    assert point(1) in two.node.pool.known_points
    assert AdvertiseReceived in kinds(one) + kinds(two)
    assert neighbours_of(one) == {0, 2}


def test_a_node_without_discovery_tells_nothing_and_is_not_asked_in_vain_for_ever():
    sim = Sim(1)
    hub = sim.add(point(0), node(0, limits=IDLE, discovers=False))
    five = limits(2, 2, 4, maintenance_idle_time=5.0)
    one, two = (sim.add(point(n), node(n, 0, limits=five)) for n in (1, 2))
    sim.run(60.0)
    assert AdvertiseReceived not in kinds(one) + kinds(two)
    assert {BootstrapReceived, BootstrapSent}.isdisjoint(kinds(hub))
    assert neighbours_of(one) == neighbours_of(two) == {0}


def test_messages_come_through_behind_questions_that_are_not_answered():
    sim = Sim(1)
    deaf, other = idle_nodes(sim, range(2), discovers=False)
    dial(sim, other, 0)
    sim.run(1.0)
    for question in (Bootstrap(), Advertise(()), Advertise((point(9),)), Bootstrap()):
        put(sim, other, 0, question)
    sim.do(other, lambda it: it.send(identity(0).peer_id, b"at last", sim.now))
    sim.run(1.0)
    assert [getattr(item, "message", None) for item in deaf.items] == [None, b"at last"]
    assert point(9) not in deaf.node.pool.known_points


def test_a_private_node_dials_the_trusted_only_and_neither_asks_nor_swaps():
    sim = Sim(1)
    idle_nodes(sim, range(1, 7))
    shy = sim.add(
        point(0), node(0, *range(1, 7), limits=ROOMY, private_mode=True, trusted=(2, 5))
    )
    sim.run(100.0)
    assert neighbours_of(shy) == {2, 5}
    assert {BootstrapSent, SwapRequestSent}.isdisjoint(kinds(shy))
    # Nobody is told of it either.
    assert not sim.hosts[1].node.pool.known_points[point(0)].known_public


# -- trimming --------------------------------------------------------------------------


def private_crowd(trusted, others):
    """Return a node to which private nodes have come, some of them trusted."""
    sim = Sim(1)
    names = tuple(range(1, trusted + 1))
    target = sim.add(point(0), node(0, limits=ROOMY, trusted=names))
    sim.run(1.0)
    everybody = range(1, trusted + others + 1)
    idle_nodes(sim, everybody, private_mode=True, trusted=(0,))
    overfill(sim, target, everybody)
    return sim, target


def test_trimming_spares_who_is_both_private_and_trusted():
    sim, target = private_crowd(5, 7)
    sim.run(10.0)
    assert target.node.pool.active == 8
    assert {1, 2, 3, 4, 5} <= neighbours_of(target)


def test_nothing_spins_when_all_that_is_too_much_is_spared():
    sim, target = private_crowd(12, 0)
    sim.run(10.0)
    assert target.node.pool.active == 12
    before = sim.steps
    sim.run(3600.0)
    assert target.node.pool.active == 12
    assert sim.steps - before < 100


@pytest.mark.parametrize(("staying", "left"), [(15, 10), (14, 14), (3, 5)])
def test_connections_that_are_leaving_do_not_count(staying, left):
    """Thresholds 4, 5, 10, 14: whoever is sent off politely goes when all has left."""
    sim, target = crowd(limits(3, 6, 18), 30, knows=False)
    overfill(sim, target, range(1, 18))
    for number in range(1, 18 - staying):
        sim.hosts[number - 1].pulls = False
        peer_id = identity(number).peer_id
        for _ in range(10):
            sim.do(target, lambda it, to=peer_id: it.send(to, bytes(60_000), sim.now))
        sim.do(target, lambda it, to=peer_id: it.disconnect(to, sim.now, deadline=21.0))
    for number in range(18, 31):
        target.node.pool.register_point(point(number), sim.now)
    assert target.node.pool.active == 17
    sim.do(target, lambda it: it.maintain(sim.now))
    sim.run(60.0)
    assert target.node.pool.active == left


def test_whom_trimming_drops_differs_from_node_to_node():
    def spared(seed):
        sim, target = crowd(limits(0, 4, 10), 12, knows=False, seed=seed)
        overfill(sim, target, range(1, 11))
        sim.run(3.0)
        return frozenset(neighbours_of(target))

    assert len({spared(seed) for seed in range(6)}) > 1
