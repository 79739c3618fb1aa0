"""Swaps between whole nodes: who proposes, who agrees, what may not be got by them."""

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
    part,
    put,
    reasons,
)

from tezos_p2p.fsm.answerer import _Talk
from tezos_p2p.fsm.swap import STEERED_TIME
from tezos_p2p.spec.address import Address
from tezos_p2p.spec.message import SwapAck, SwapRequest
from tezos_p2p.spec.point import Point
from tezos_p2p.spec.pool_events import (
    SwapAckReceived,
    SwapAckSent,
    SwapFailure,
    SwapRequestIgnored,
    SwapRequestReceived,
    SwapRequestSent,
    SwapSuccess,
)
from tezos_p2p.spec.reasons import Reason

#: The two connections that it wants, and a place for the third, of a swap.
TWO = limits(1, 2, 3, maintenance_idle_time=120.0)
MANY = attrs.evolve(IDLE, expected_connections=40, max_connections=40)


def request(number):
    return SwapRequest(point(number), identity(number).peer_id)


def ack(number):
    return SwapAck(point(number), identity(number).peer_id)


def link_up(sim, *links):
    for one, other in links:
        dial(sim, sim.hosts[one], other)
    sim.run(1.0)
    for host in sim.hosts:
        kinds(host)


def chain(own=TWO, others=IDLE, seed=1):
    """Return 3 - 1 - 0 - 2 - 4; only 0 has maintenance."""
    sim = Sim(seed)
    sim.add(point(0), node(0, limits=own, seed=seed, discovers=False), keeps=True)
    idle_nodes(sim, range(1, 5), limits=others, discovers=False, seed=seed)
    link_up(sim, (0, 1), (0, 2), (1, 3), (2, 4))
    return sim


def edges(sim):
    return {
        frozenset((host.number, other))
        for host in sim.hosts
        for other in neighbours(sim, host)
    }


def edge(*ends):
    return frozenset(ends)


# -- a whole swap ----------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_a_swap_exchanges_the_ends_of_two_connections(seed):
    sim = chain(seed=seed)
    sim.run(130.0)
    told = [kinds(host) for host in sim.hosts]
    (asked,) = (n for n in (1, 2) if SwapRequestReceived in told[n])
    offered = 3 - asked
    given = asked + 2
    assert SwapAckReceived in told[0]
    assert SwapSuccess in told[0]
    assert SwapSuccess in told[asked]
    expected = {
        edge(0, asked),
        edge(0, given),
        edge(asked, offered),
        edge(2, 4),
        edge(1, 3),
    }
    assert edges(sim) == expected - {edge(asked, given)}
    assert reasons(sim.hosts[0]) == reasons(sim.hosts[asked]) == [Reason.PEER_SWAPPED]


def test_who_has_swaps_switched_off_neither_proposes_nor_agrees():
    quiet = chain(own=attrs.evolve(TWO, swap_linger=None))
    before = edges(quiet)
    quiet.run(600.0)
    assert edges(quiet) == before
    swaps = {SwapRequestSent, SwapRequestReceived, SwapAckReceived}
    assert all(swaps.isdisjoint(kinds(host)) for host in quiet.hosts)

    deaf = chain(others=attrs.evolve(IDLE, swap_linger=None))
    deaf.run(600.0)
    assert edges(deaf) == before
    told = [kinds(host) for host in deaf.hosts]
    assert SwapRequestSent in told[0]
    assert SwapRequestReceived in told[1] + told[2]
    assert all({SwapAckSent, SwapRequestIgnored}.isdisjoint(each) for each in told)


def test_a_swap_never_makes_more_connections_than_are_allowed():
    most = limits(1, 2, 2, maintenance_idle_time=30.0)
    sim = chain(own=most)
    before = edges(sim)
    sim.run(600.0)
    assert edges(sim) == before  # there is no place for the third
    assert SwapRequestSent not in kinds(sim.hosts[0])


@pytest.mark.parametrize("seed", range(3))
def test_the_number_of_connections_is_the_same_after_any_number_of_swaps(seed):
    sim = chain(own=attrs.evolve(TWO, maintenance_idle_time=70.0), seed=seed)
    swaps = 0
    for _ in range(20):
        sim.run(70.0)
        swaps += sum(kinds(host).count(SwapSuccess) for host in sim.hosts)
        assert sim.hosts[0].node.pool.active == 2
    assert swaps >= 2


# -- what is asked ---------------------------------------------------------------------


def asked(*, guests=3, own=MANY, latency=(0.02, 0.02), outside=(), **settings):
    """Return a node with guests; some others outside are there to be proposed."""
    sim = Bad(1, latency=latency)
    sim.add(point(0), node(0, limits=own, discovers=False, **settings), keeps=True)
    count = 1 + guests
    idle_nodes(sim, range(1, count + len(outside)), limits=MANY, discovers=False)
    link_up(sim, *((n, 0) for n in range(1, count)))
    return sim, sim.hosts[0]


def test_the_answer_to_a_proposal_is_another_peer_than_who_asks_and_what_he_offers():
    for seed in range(10):
        sim, host = asked(guests=4, outside=(5,))
        put(sim, sim.hosts[1 + seed % 4], 0, request(5))
        sim.run(1.0)
        source = 1 + seed % 4
        assert 5 in neighbours(sim, host)
        (gone,) = {1, 2, 3, 4} - neighbours(sim, host)
        assert gone != source
        assert len(neighbours(sim, host)) == 4


def test_a_proposal_within_the_linger_of_the_last_swap_is_ignored():
    sim, host = asked(guests=4, outside=(5, 6))
    put(sim, sim.hosts[1], 0, request(5))
    sim.run(1.0)
    assert SwapSuccess in kinds(host)
    asker = next(n for n in (2, 3, 4) if n in neighbours(sim, host))
    put(sim, sim.hosts[asker], 0, request(6))
    sim.run(1.0)
    assert SwapRequestIgnored in kinds(host)
    assert 6 not in neighbours(sim, host)


def test_a_proposal_after_a_failed_swap_is_taken_up_at_once():
    sim, host = asked(guests=4, outside=(5,))
    put(sim, sim.hosts[1], 0, request(40))  # nobody is there
    sim.run(1.0)
    assert SwapFailure in kinds(host)
    assert neighbours(sim, host) == {1, 2, 3, 4}  # nobody was given up for it
    put(sim, sim.hosts[2], 0, request(5))
    sim.run(1.0)
    assert SwapSuccess in kinds(host)


def test_a_proposal_of_somebody_who_is_being_dialled_is_ignored():
    sim, host = asked(outside=(4,))
    dial(sim, host, 4)
    put(sim, sim.hosts[1], 0, request(4))
    sim.run(1.0)
    assert SwapRequestIgnored in kinds(host)
    assert neighbours(sim, host) == {1, 2, 3, 4}
    assert Reason.PEER_SWAPPED not in reasons(host)


@pytest.mark.parametrize("number", [0, 2])
def test_a_proposal_of_ourselves_or_of_who_is_here_changes_nothing(number):
    sim, host = asked()
    put(sim, sim.hosts[1], 0, request(number))
    sim.run(30.0)
    assert neighbours(sim, host) == {1, 2, 3}


def test_a_proposal_of_a_banned_point_is_ignored():
    sim, host = asked(outside=(4,))
    host.node.acl.ban(point(4).address)
    put(sim, sim.hosts[1], 0, request(4))
    sim.run(1.0)
    assert SwapRequestIgnored in kinds(host)
    assert neighbours(sim, host) == {1, 2, 3}


def test_two_proposals_at_the_same_moment_make_one_swap():
    sim, host = asked(guests=4, outside=(5, 6))
    put(sim, sim.hosts[1], 0, request(5))
    put(sim, sim.hosts[2], 0, request(6))
    sim.run(5.0)
    assert kinds(host).count(SwapSuccess) == 1
    assert len(neighbours(sim, host)) == 4
    assert len(neighbours(sim, host) & {5, 6}) == 1


def test_a_proposer_that_leaves_during_the_swap_changes_nothing_for_the_others():
    for steps in range(12):
        sim, host = asked(guests=3, outside=(4,))
        put(sim, sim.hosts[1], 0, request(4))
        sim.run(steps * 0.01)
        part(sim, sim.hosts[1], 0)
        sim.run(5.0)
        assert not host.node._answerer.swaps.busy
        here = neighbours(sim, host)
        assert 1 not in here
        assert len(here) == 2


# -- answers ---------------------------------------------------------------------------


def test_an_answer_that_nobody_asked_for_is_ignored():
    sim, host = asked(outside=(4,))
    put(sim, sim.hosts[1], 0, ack(4))
    sim.run(5.0)
    assert SwapAckReceived in kinds(host)
    assert neighbours(sim, host) == {1, 2, 3}


def proposing():
    """Return a node with two connections that has just proposed a swap, and to whom."""
    sim = Bad(1, latency=(0.02, 0.02))
    sim.add(point(0), node(0, limits=TWO, discovers=False), keeps=True)
    deaf = attrs.evolve(MANY, swap_linger=None)
    idle_nodes(sim, range(1, 3), limits=deaf, discovers=False)
    idle_nodes(sim, range(3, 6), limits=MANY, discovers=False)
    link_up(sim, (1, 0), (2, 0))
    while SwapRequestSent not in kinds(sim.hosts[0]):
        sim.run(1.0)
    sim.run(1.0)
    (whom,) = (n for n in (1, 2) if SwapRequestReceived in kinds(sim.hosts[n]))
    return sim, whom


def test_an_answer_counts_once_and_only_from_who_was_asked():
    sim, whom = proposing()
    host = sim.hosts[0]
    put(sim, sim.hosts[3 - whom], 0, ack(3))
    sim.run(2.0)
    assert neighbours(sim, host) == {1, 2}
    put(sim, sim.hosts[whom], 0, ack(4))
    sim.run(2.0)
    assert neighbours(sim, host) == {whom, 4}
    put(sim, sim.hosts[whom], 0, ack(5))
    sim.run(2.0)
    assert neighbours(sim, host) == {whom, 4}


def test_an_answer_that_comes_minutes_late_is_ignored():
    sim, whom = proposing()
    host = sim.hosts[0]
    host.node.maintenance.stop(sim.now)  # or it would ask again
    sim.run(125.0)
    put(sim, sim.hosts[whom], 0, ack(3))
    sim.run(2.0)
    assert neighbours(sim, host) == {1, 2}


# -- attacks ---------------------------------------------------------------------------


def test_one_peer_cannot_surround_a_node_with_its_friends():
    friends = range(7, 37)
    sim, host = asked(guests=6, outside=friends)
    for friend in friends:
        if 1 in neighbours(sim, host):
            put(sim, sim.hosts[1], 0, request(friend))
        sim.run(70.0)
    assert 1 <= len(neighbours(sim, host) & set(friends)) <= 2


def test_many_peers_together_choose_a_quarter_of_our_connections_at_most():
    friends = range(13, 40)
    sim, host = asked(guests=12, outside=friends)
    for friend, asker in zip(friends, itertools.cycle(range(1, 13)), strict=False):
        if asker in neighbours(sim, host):
            put(sim, sim.hosts[asker], 0, request(friend))
        sim.run(70.0)
    assert len(neighbours(sim, host)) == 12
    assert 2 <= len(neighbours(sim, host) & set(friends)) <= 3


@pytest.mark.parametrize("by", ["request", "answer"])
def test_friends_that_hang_up_at_once_strip_us_of_two_and_no_more(by):
    """One party of two peers: what was dropped for a friend is not dropped again soon."""
    friends = [Point(Address.parse(f"66.66.66.{n}"), 9732) for n in range(10, 36)]
    own = attrs.evolve(MANY, maintenance_idle_time=None)
    sim, host = asked(guests=12, own=own)
    quiet = attrs.evolve(MANY, swap_linger=None)
    askers = []
    for number in (20, 21):
        there = Point(Address.parse(f"66.66.66.{number - 19}"), 9732)
        askers.append(sim.add(there, node(number, limits=quiet), keeps=True))
        dial(sim, askers[-1], 0)
    for number, there in enumerate(friends, 100):
        friend = sim.add(there, node(number, limits=quiet))
        friend.node.pool.register_point(point(0), sim.now)
    sim.run(1.0)
    honest = {identity(number).peer_id for number in range(1, 13)}

    def here():
        running = host.node.pool.running.values()
        return sum(it.peer.peer_id in honest for it in running)

    for turn, there in enumerate(friends):
        offer = (there, identity(100 + turn).peer_id)
        asker = askers[turn % 2]
        running = host.node.pool.by_peer(identity(20 + turn % 2).peer_id)
        if running is None:
            dial(sim, asker, 0)
            sim.run(1.0)
            running = host.node.pool.by_peer(identity(20 + turn % 2).peer_id)
        if by == "answer":  # as if we had asked
            talk = _Talk(offered=identity(turn % 12 + 1).peer_id, offered_until=1e9)
            host.node._answerer._talks[running.link] = talk
            put(sim, asker, 0, SwapAck(*offer))
        else:
            put(sim, asker, 0, SwapRequest(*offer))
        sim.run(3.0)
        part(sim, sim.hosts[-len(friends) + turn], 0)
        sim.run(60.0)
        assert here() >= 10
    assert here() == 10
    assert sim.now < STEERED_TIME
    assert len(host.node._answerer.swaps._steered) <= 2


def test_a_proposal_with_garbage_behind_it_has_nobody_dropped():
    sim, host = asked(guests=3, outside=(4,))
    put(sim, sim.hosts[1], 0, request(4))
    far = sim.hosts[1].node
    (link,) = far.pool.running
    far._reception.connection(link).send_encoded(b"\0\0\0\x02\0\x06", b"")
    sim.do(sim.hosts[1], lambda it: it._traffic.settle(link, sim.now))
    sim.run(5.0)
    assert host.node.acl.is_peer_banned(identity(1).peer_id, sim.now)
    assert neighbours(sim, host) == {2, 3}
    told = kinds(host)
    assert SwapAckSent in told
    assert SwapFailure in told
    assert not host.node._answerer.swaps.busy


def test_the_trusted_are_never_given_away():
    sim, host = asked(guests=3, outside=(4,), trusted=(2, 3))
    put(sim, sim.hosts[1], 0, request(4))
    sim.run(5.0)
    assert {1, 2, 3} <= neighbours(sim, host)
    assert SwapAckSent not in kinds(host)


def test_a_private_node_hears_no_proposals():
    sim, host = asked(guests=3, outside=(4,), private_mode=True, trusted=(1, 2, 3))
    assert neighbours(sim, host) == {1, 2, 3}
    put(sim, sim.hosts[1], 0, request(4))
    sim.run(5.0)
    assert {SwapRequestReceived, SwapAckSent}.isdisjoint(kinds(host))
    assert neighbours(sim, host) == {1, 2, 3}


def test_private_peers_are_neither_asked_nor_offered():
    sim = Sim(1)
    sim.add(point(0), node(0, limits=TWO, discovers=False), keeps=True)
    idle_nodes(sim, range(1, 2), discovers=False)
    idle_nodes(sim, range(2, 3), discovers=False, private_mode=True, trusted=(0,))
    link_up(sim, (1, 0), (2, 0))
    assert neighbours(sim, sim.hosts[0]) == {1, 2}
    sim.run(1000.0)
    assert SwapRequestSent not in kinds(sim.hosts[0])


# -- all together ----------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_everybody_swapping_with_everybody_loses_no_connection_for_good(seed):
    own = limits(1, 2, 4, maintenance_idle_time=20.0, swap_linger=1.0)
    sim = Sim(seed)
    for number in range(6):
        sim.add(point(number), node(number, 0, limits=own, seed=seed))
    sim.run(400.0)
    for host in sim.hosts:
        assert 1 <= host.node.pool.active <= 4
        assert not host.node._answerer.swaps.busy
    assert all(
        host.number in neighbours(sim, sim.hosts[other])
        for host in sim.hosts
        for other in neighbours(sim, host)
    )


@pytest.mark.parametrize("seed", range(4))
def test_a_swap_at_the_limit_drops_who_is_swapped_and_nobody_else(seed):
    sim = Sim(seed)
    # One above six is the most, and more than the threshold: maintenance would trim.
    own = node(0, limits=limits(1, 4, 7), discovers=False, diversity=None, seed=seed)
    host = sim.add(point(0), own, keeps=True)
    idle_nodes(sim, range(1, 8), discovers=False)
    for number in range(1, 7):
        dial(sim, sim.hosts[number], 0)
        sim.run(0.5)
    put(sim, sim.hosts[1], 0, SwapRequest(point(7), identity(7).peer_id))
    sim.run(3.0)
    assert reasons(host) == [Reason.PEER_SWAPPED]
    assert len(neighbours(sim, host)) == 6
    assert 7 in neighbours(sim, host)
