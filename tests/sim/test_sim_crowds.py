"""Many whole nodes at once: meshes, refusals, floods, churn, walls, and the way out."""

from __future__ import annotations

import itertools
import random

import attrs
import pytest
from nodes import SMALL, Sim, actives, identity, network, node, point
from scenes import (
    IDLE,
    Bad,
    dial,
    idle_nodes,
    kinds,
    limits,
    messages,
    neighbours,
    part,
    put,
    reasons,
    told,
)

from tezos_p2p.fsm.admission import State
from tezos_p2p.fsm.inbox import Joined, Left
from tezos_p2p.fsm.machine import LocalProtocolError
from tezos_p2p.spec.message import Bootstrap
from tezos_p2p.spec.pool_events import OutgoingConnection
from tezos_p2p.spec.reasons import Reason
from tezos_p2p.spec.version import Network

# Of what is there, other tests take every branch: tracing doubles the time.
pytestmark = pytest.mark.no_cover

WIDE = attrs.evolve(
    IDLE, expected_connections=60, max_connections=60, max_incoming_connections=60
)
NOBODY = attrs.evolve(IDLE, min_connections=0, expected_connections=0, max_connections=0)


def peer(number):
    return identity(number).peer_id


def say(sim, host, to, message):
    return sim.do(host, lambda it: it.send(peer(to), message, sim.now))


def broadcast(sim, host, message):
    return sim.do(host, lambda it: it.broadcast(message, sim.now))


def leave(sim, host, to, patience):
    """Disconnect from a peer once it has got what was said."""
    until = sim.now + patience
    assert sim.do(host, lambda it: it.disconnect(peer(to), sim.now, deadline=until))


def insist(sim, pairs, rounds=12):
    """Have nodes dial each other until all pairs are connected, as far as they can be."""
    for attempt in range(rounds):
        missing = [
            (one, other)
            for one, other in pairs
            if sim.hosts[one].node.pool.by_peer(peer(other)) is None
        ]
        if not missing:
            return
        for one, other in missing:
            # Both at once, and later one before the other.
            if attempt == 0 or (one < other) is (attempt % 2 == 0):
                dial(sim, sim.hosts[one], other)
        sim.run(1.0)
    raise AssertionError(missing)


def mesh(count, seed=1, **settings):
    sim = Sim(seed)
    idle_nodes(sim, range(count), limits=WIDE, **settings)
    insist(sim, list(itertools.permutations(range(count), 2)))
    return sim


# -- meshes ----------------------------------------------------------------------------


def test_ten_nodes_that_all_dial_each_other_form_a_mesh_and_all_hear_all():
    sim = mesh(10)
    assert actives(sim) == [9] * 10
    for host in sim.hosts:
        for other in neighbours(sim, host):
            name = b"from %d" % host.number
            assert say(sim, host, other, name)
    sim.run(1.0)
    for host in sim.hosts:
        others = {b"from %d" % n for n in range(10)} - {b"from %d" % host.number}
        assert set(messages(host)) == others
        assert len(messages(host)) == 9
    for host in sim.hosts:
        sim.do(host, lambda it: it.stop(sim.now))
    sim.run(1.0)
    assert all(sum(host.node.census().values()) == 0 for host in sim.hosts)


def test_nodes_that_come_and_go_at_random_all_get_their_word_in():
    sim = Sim(3)
    hosts = idle_nodes(sim, range(10), limits=WIDE)
    draw = random.Random(3)
    todo = dict.fromkeys(itertools.permutations(range(10), 2), 5)
    for _ in range(4000):
        if not todo:
            break
        one, other = draw.choice(list(todo))
        host = hosts[one]
        sim.run(draw.uniform(0.02, 0.2))
        if host.node.pool.by_peer(peer(other)) is None:
            dial(sim, host, other)
        else:
            word = b"%d of %d to %d" % (todo[one, other], one, other)
            try:
                assert say(sim, host, other, word)
            except LocalProtocolError:
                continue  # the last word is still on its way
            sim.run(0.2)
            if word not in messages(hosts[other]):
                continue  # who leaves does not listen any more
            part(sim, host, other)
            todo[one, other] -= 1
            if not todo[one, other]:
                del todo[one, other]
    assert todo == {}
    sim.run(5.0)
    for host in hosts:
        words = {
            b"%d of %d to %d" % (n, one, host.number)
            for one in range(10)
            for n in range(1, 6)
            if one != host.number
        }
        assert sorted(messages(host)) == sorted(words)
    for host in hosts:
        # Who comes leaves, and comes again only then.
        by_peer = {}
        for item in host.items:
            who = item.remote.peer_id if isinstance(item, Joined) else item.peer_id
            by_peer.setdefault(who, []).append(type(item))
        for told_of in by_peer.values():
            ends = [kind for kind in told_of if kind in (Joined, Left)]
            assert all(kind is (Joined, Left)[n % 2] for n, kind in enumerate(ends))


def test_in_a_mesh_where_everybody_talks_rubbish_all_connections_end():
    sim = mesh(8)
    for host in sim.hosts:
        for link in list(host.node.pool.running):

            def garble(it, link=link):
                if it.pool.running.get(link):
                    it._reception.connection(link).send_encoded(bytes(16), b"")
                    it._traffic.settle(link, sim.now)

            sim.do(host, garble)
    sim.run(2.0)
    assert actives(sim) == [0] * 8
    ends = {reason for host in sim.hosts for reason in reasons(host)}
    assert ends <= {
        Reason.CONNECTION_CLOSED_BY_PEER,
        Reason.CONNECTION_CLOSED_BY_UNEXPECTED_ERROR,
    }
    assert all(sum(host.node.census().values()) == 0 for host in sim.hosts)


# -- refusals --------------------------------------------------------------------------


@pytest.mark.parametrize("mixed", [False, True])
def test_who_refuses_everybody_still_makes_them_known_to_each_other(mixed):
    sim = Sim(1)
    old = Network("N", p2p_versions=(0,))
    new = Network("N")
    sim.add(point(0), node(0, *range(1, 10), limits=NOBODY, network=new))
    for number in range(1, 10):
        ours = old if mixed and number % 2 else new
        host = sim.add(
            point(number), node(number, 0, limits=IDLE, network=ours), keeps=True
        )
        assert set(host.node.pool.known_points) == {point(0)}
    for _ in range(2):
        for number in range(1, 10):
            assert isinstance(dial(sim, sim.hosts[number], 0), int)
        sim.run(5.0)
    everybody = {point(n) for n in range(1, 10)}
    for host in sim.hosts[1:]:
        assert host.items == []
        assert host.node.refused == {Reason.AUTHENTICATION_REJECTED_BY_PEER: 2}
        known = set(host.node.pool.known_points)
        if mixed and host.number % 2:
            assert known == {point(0)}  # the old refusal has no room for points
        else:
            assert everybody - {host.point} <= known


@pytest.mark.no_cover
def test_the_refused_come_back_ever_more_seldom():
    sim = Sim(1, seldom=True)
    full = attrs.evolve(NOBODY, max_incoming_connections=200)
    for number in range(5):
        sim.add(point(number), node(number, limits=full, discovers=False))
    few = limits(1, 2, 4)
    crowd = [sim.add(point(n), node(n, *range(5), limits=few)) for n in range(5, 20)]
    rates = []
    for _ in range(40):
        sim.run(60.0)
        rates.append(sum(kinds(host).count(OutgoingConnection) for host in crowd))
    assert sum(rates[-10:]) < sum(rates[:10]) / 5


@pytest.mark.parametrize("seed", range(5))
def test_no_arrival_exceeds_a_limit_whatever_the_order(seed):
    own = attrs.evolve(SMALL, max_incoming_connections=40)
    sim = Sim(seed, latency=(0.01, 0.03))
    hub = sim.add(point(0), node(0, limits=own, seed=seed))
    threshold = hub.node.maintenance.bounds.max_threshold
    for number in range(1, 30):
        host = sim.add(point(number), node(number, limits=IDLE))
        dial(sim, host, 0)
        sim.run(0.002)
        assert hub.node.pool.active <= threshold
    for _ in range(100):
        sim.run(0.005)
        assert hub.node.pool.active <= threshold
    assert hub.node.pool.active == threshold


def test_a_seat_is_taken_until_the_handshake_is_over_in_whatever_way():
    made = node(0, limits=attrs.evolve(IDLE, max_incoming_connections=3))
    made.start(0.0, 0.0)
    places = made._reception.places
    assert places.incoming == 0
    link = made.accept(point(1), 0.0)
    assert places.incoming == 1
    made.receive_data(link, b"\x00", 0.1)
    made.handle_timeout(4.9)
    assert places.incoming == 1
    made.handle_timeout(5.0)
    assert places.incoming == 0
    links = [made.accept(point(n), 6.0) for n in (2, 3, 4)]
    assert places.incoming == 3
    for count, link in enumerate(links, 1):
        made.receive_data(link, b"", 6.0)
        assert places.incoming == 3 - count


# -- two that want each other ----------------------------------------------------------


def test_two_that_dial_each_other_at_any_two_moments_agree_on_what_runs():
    for offset, seed in itertools.product(range(24), range(3)):
        sim = Sim(seed, latency=(0.02, 0.05))
        hosts = idle_nodes(sim, range(2), seed=seed)
        dial(sim, hosts[0], 1)
        sim.run(offset * 0.01)
        dial(sim, hosts[1], 0)
        sim.run(3.0)
        assert actives(sim) in ([0, 0], [1, 1])
        assert sum(hosts[0].node.census().values()) == sum(actives(sim)) // 2
        for host in hosts:
            point_info = host.node.pool.known_points[point(1 - host.number)]
            assert (point_info.link is not None) is bool(host.node.pool.active)
        # Whoever tries again, alone, succeeds.
        if actives(sim) == [0, 0]:
            assert isinstance(dial(sim, hosts[0], 1), int)
            sim.run(2.0)
        assert actives(sim) == [1, 1]


@pytest.mark.parametrize("seed", range(6))
def test_two_with_maintenance_find_together_however_they_start(seed):
    one = limits(1, 1, 1)
    sim = Sim(seed, latency=(0.01, 0.04))
    for number in range(2):
        sim.add(point(number), node(number, 1 - number, limits=one, seed=seed))
    sim.run(180.0)
    assert actives(sim) == [1, 1]


def test_one_identity_in_two_places_has_one_connection_at_a_time():
    for offset in range(12):
        sim = Sim(1, latency=(0.02, 0.02))
        hub = sim.add(point(0), node(0, limits=IDLE), keeps=True)
        twins = [sim.add(point(n), node(1, limits=IDLE)) for n in (1, 2)]
        dial(sim, twins[0], 0)
        sim.run(offset * 0.01)
        dial(sim, twins[1], 0)
        sim.run(3.0)
        assert sorted(actives(sim)) == [0, 1, 1]
        assert [type(item) for item in hub.items] == [Joined]


# -- floods ----------------------------------------------------------------------------


def test_what_is_broadcast_is_the_same_for_everybody():
    sim = Sim(1)
    hub, *others = idle_nodes(sim, range(3), limits=WIDE)
    for number in (1, 2):
        dial(sim, hub, number)
    sim.run(1.0)
    rounds = [random.Random(n).randbytes(32_000) for n in range(5)]
    for content in rounds:
        assert sim.do(hub, lambda it, it_is=content: it.broadcast(it_is, sim.now)) == 2
        sim.run(0.5)
    assert all(messages(host) == rounds for host in others)
    assert sim.do(hub, lambda it: it.broadcast(b"not to 1", sim.now, skip=[peer(1)])) == 1
    sim.run(1.0)
    assert messages(others[0]) == rounds
    assert messages(others[1]) == [*rounds, b"not to 1"]


def test_a_dead_peer_misses_what_is_broadcast_and_holds_nobody_up():
    own = attrs.evolve(WIDE, outgoing_message_queue_size=100_000)
    sim = Bad(1)
    hub, dead, alive = idle_nodes(sim, range(3), limits=own)
    for number in (1, 2):
        dial(sim, hub, number)
    sim.run(1.0)
    dead.up = False  # takes nothing any more, and nobody is told
    taken = []
    for _ in range(60):
        taken.append(broadcast(sim, hub, bytes(30_000)))
        sim.run(0.5)
    assert taken[0] == 2
    assert taken[-1] == 1
    assert sorted(taken, reverse=True) == taken
    assert len(messages(alive)) == 60


def test_ten_thousand_tiny_messages_wait_for_the_application_ten_at_a_time():
    sim = Sim(1)
    one, other = idle_nodes(sim, range(2), limits=WIDE)
    dial(sim, one, 1)
    sim.run(1.0)
    other.pulls = False

    def flood(it):
        return sum(it.send(peer(1), n.to_bytes(2, "big"), sim.now) for n in range(10_000))

    assert sim.do(one, flood) == 10_000
    sim.run(2.0)
    assert len(other.node._inbox) <= 11
    first = [other.node.receive() for _ in range(500)]
    assert [item.message for item in first] == [n.to_bytes(2, "big") for n in range(500)]
    assert len(other.node._inbox) <= 11
    other.pulls = True
    sim.do(other, lambda it: None)
    sim.run(2.0)
    assert messages(other) == [n.to_bytes(2, "big") for n in range(500, 10_000)]


def test_connecting_and_leaving_for_ever_grows_nothing():
    sim = Sim(1)
    hub, guest = idle_nodes(sim, range(2))
    sizes = set()
    for _ in range(100):
        dial(sim, guest, 0)
        sim.run(1.0)
        part(sim, guest, 0)
        sim.run(1.0)
        told(hub)
        reception = hub.node._reception
        sizes.add((len(reception.attempts), len(reception.traffic.lines)))
        sizes.add((len(hub.ends), len(hub.node._answerer._talks)))
        assert len(reception.traffic.timers) < 100
    assert len([item for item in hub.items if isinstance(item, Left)]) == 100
    assert sizes == {(0, 0)}


# -- churn -----------------------------------------------------------------------------


def in_bounds(sim):
    return [
        host.node.pool.active
        for host in sim.hosts
        if host.up and not host.node.maintenance.bounds.contain(host.node.pool.active)
    ]


def settles(sim):
    """Run until all are within their bounds at once, for one maintenance run at most.

    Between the least that is acceptable and the threshold below which peers are looked
    for, whom a swap took a connection from waits for the next run.
    """
    end = sim.now + 130.0
    while in_bounds(sim) and sim.now < end:
        sim.run(10.0)
    return not in_bounds(sim)


def components(sim):
    """Return how many parts the network has that cannot reach each other."""
    left = {host.number for host in sim.hosts if host.up}
    ways = {n: neighbours(sim, sim.hosts[n]) for n in left}
    count = 0
    while left:
        count += 1
        reach = [left.pop()]
        while reach:
            following = ways[reach.pop()] & left
            left -= following
            reach += following
    return count


def test_a_network_survives_the_death_of_who_brought_it_together():
    sim = network(16, seed=2)
    sim.run(120.0)
    sim.kill(sim.hosts[0])
    sim.run(180.0)
    assert in_bounds(sim) == []
    assert components(sim) == 1


@pytest.mark.no_cover
def test_a_hundred_join_a_network_of_ten_at_once():
    sim = network(10, seed=3, seldom=True)
    sim.run(60.0)
    for number in range(10, 110):
        sim.add(point(number), node(number, number % 10))
    sim.run(170.0)
    assert settles(sim)


@pytest.mark.no_cover
def test_a_tenth_leaving_and_coming_every_minute_keeps_nobody_alone():
    sim = network(30, seed=4, seldom=True)
    sim.run(120.0)
    draw = random.Random(4)
    alone = []
    for minute in range(10):
        for host in draw.sample([host for host in sim.hosts[1:] if host.up], 3):
            sim.kill(host)
            # Another comes, as a stranger, where nobody was.
            number = len(sim.hosts)
            sim.add(point(number), node(number, 0, seed=minute))
        sim.run(60.0)
        alone += [active for active in actives(sim) if not active]
    assert alone == []
    sim.run(60.0)
    since = {}
    for _ in range(60):
        sim.run(10.0)
        out = {
            host.number: since.get(host.number, sim.now)
            for host in sim.hosts
            if host.up and not host.node.maintenance.bounds.contain(host.node.pool.active)
        }
        assert min(actives(sim)) > 0
        assert all(sim.now - begun <= 130.0 for begun in out.values())
        since = out


@pytest.mark.no_cover
def test_a_network_that_was_torn_apart_grows_together_again():
    sim = Bad(5)
    # Half of the network is not enough for anybody.
    most = limits(6, 9, 11, maintenance_idle_time=120.0)
    for number in range(12):
        known = (0,) if number else ()
        sim.add(point(number), node(number, *known, seed=5, limits=most))
    sim.run(180.0)
    assert in_bounds(sim) == []
    sim.raise_wall({point(n) for n in range(6)})
    sim.run(600.0)
    assert components(sim) == 2
    sim.raise_wall(set())
    sim.run(900.0)
    assert in_bounds(sim) == []
    assert components(sim) == 1


# -- the way out -----------------------------------------------------------------------


def stop(sim, host, deadline):
    sim.do(host, lambda it: it.stop(sim.now, deadline))


@pytest.mark.parametrize("deadline", [None, 3.0])
def test_a_node_that_is_stopped_at_any_moment_ends_within_its_deadline(deadline):
    seen = set()
    for step in range(14):
        sim = Bad(1, latency=(0.02, 0.02))
        sim.holes = {point(5)}
        one, _, _ = idle_nodes(sim, range(3))
        dial(sim, one, 1)
        dial(sim, one, 5)
        sim.run(step * 0.015)
        dial(sim, sim.hosts[2], 0)
        sim.run(0.05)
        seen |= {state for state, count in one.node.census().items() if count}
        by = None if deadline is None else sim.now + deadline
        for _ in range(2):  # the second time changes nothing
            stop(sim, one, by)
        sim.run(3.5)
        assert sum(one.node.census().values()) == 0
        assert one.node.next_timeout() is None
        assert one.ends == {}
        assert one.node.accept(point(7), sim.now) is None
        assert actives(sim) == [0, 0, 0]
    assert {State.DIALLING, State.HANDSHAKING, State.RUNNING} <= seen


def test_who_is_taking_leave_holds_nobody_up():
    sim = Sim(1)
    hub, gone, here = idle_nodes(sim, range(3), limits=WIDE)
    for number in (1, 2):
        dial(sim, hub, number)
    sim.run(1.0)
    for _ in range(40):
        assert say(sim, hub, 1, bytes(10_000))
    leave(sim, hub, 1, 3.0)
    assert hub.node.pool.active == 2  # what was said is still on its way
    put(sim, gone, 0, Bootstrap())
    assert broadcast(sim, hub, b"to who is here") == 1
    sim.run(4.0)
    assert messages(here) == [b"to who is here"]
    assert messages(gone) == [bytes(10_000)] * 40
    assert actives(sim) == [1, 0, 1]


def test_what_was_said_before_the_end_is_heard_by_all():
    sim = mesh(6)
    hub = sim.hosts[0]
    assert sim.do(hub, lambda it: it.broadcast(bytes(100_000), sim.now)) == 5
    sim.do(hub, lambda it: it.stop(sim.now, sim.now + 3.0))
    sim.run(4.0)
    assert all(messages(host) == [bytes(100_000)] for host in sim.hosts[1:])
    assert sum(hub.node.census().values()) == 0


def test_stopping_ends_even_if_the_other_side_takes_nothing():
    sim = Sim(1)
    one, other = idle_nodes(sim, range(2), limits=WIDE)
    dial(sim, one, 1)
    sim.run(1.0)
    other.up = False
    for _ in range(40):
        sim.do(one, lambda it: it.broadcast(bytes(30_000), sim.now))
    sim.do(one, lambda it: it.stop(sim.now, sim.now + 3.0))
    sim.run(2.9)
    assert sum(one.node.census().values()) == 1
    sim.run(0.2)
    assert sum(one.node.census().values()) == 0
