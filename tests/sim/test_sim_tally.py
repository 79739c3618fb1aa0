"""What a node counts: each count goes up by what has happened, and by nothing else."""

from __future__ import annotations

from bisect import bisect_left

import attrs
import pytest
from nodes import Sim, identity, node, pair, point
from scenes import IDLE, dial, idle_nodes, limits, messages, part, put, told

from tezos_p2p.fsm.figures import Queues
from tezos_p2p.fsm.machine import LocalProtocolError
from tezos_p2p.fsm.tally import BOUNDS, Durations, Phase
from tezos_p2p.spec import pool_events as events
from tezos_p2p.spec.message import Advertise, Bootstrap, SwapAck, SwapRequest
from tezos_p2p.spec.reasons import Reason
from tezos_p2p.spec.rpc import Stat
from tezos_p2p.spec.status import Listed

#: What is told of an own message that was sent, or is about to be answered.
SENT = {
    Advertise: events.AdvertiseSent,
    Bootstrap: events.BootstrapSent,
    SwapAck: events.SwapAckSent,
    SwapRequest: events.SwapRequestSent,
}
RECEIVED = {
    Advertise: events.AdvertiseReceived,
    Bootstrap: events.BootstrapReceived,
    SwapAck: events.SwapAckReceived,
    SwapRequest: events.SwapRequestReceived,
}


def counts(host):
    """Return all that a tally has counted, but for phases and refusals."""
    found = attrs.asdict(host.node.tally, recurse=False)
    del found["phases"], found["refused"]
    for way in ("own_received", "own_sent"):
        found |= {f"{way} {cls.__name__}": n for cls, n in found.pop(way).items()}
    return {name: count for name, count in found.items() if count}


def star(guests, **settings):
    """Return a network of one node and some that have dialled it; no timer acts."""
    sim = Sim(1, latency=(0.02, 0.02))
    idle_nodes(sim, range(1 + guests), **settings)
    for number in range(1, 1 + guests):
        dial(sim, sim.hosts[number], 0)
    sim.run(1.0)
    assert sim.hosts[0].node.pool.active == guests
    return sim, *sim.hosts


# -- messages of the application -------------------------------------------------------


def test_messages_are_counted_when_they_are_sent_and_when_they_come():
    met = pair()
    them = identity(1).peer_id
    for _ in range(3):
        met.sim.do(met.one, lambda it: it.send(them, b"hello", met.sim.now))
    assert (counts(met.one), counts(met.other)) == ({"sent": 3}, {})
    met.sim.run(1.0)
    assert (counts(met.one), counts(met.other)) == ({"sent": 3}, {"received": 3})


def test_a_message_that_finds_no_room_counts_as_sent():
    met = pair(limits=attrs.evolve(IDLE, outgoing_message_queue_size=1000))
    them = identity(1).peer_id
    node_ = met.one.node
    taken = [node_.send(them, b"x" * 300, met.sim.now) for _ in range(5)]
    assert sorted(set(taken)) == [False, True]
    assert counts(met.one) == {"sent": 5}
    met.sim.do(met.one, lambda _: None)
    met.sim.run(1.0)
    assert counts(met.other) == {"received": sum(taken)}


def test_what_cannot_be_sent_at_all_does_not_count():
    met = pair()
    with pytest.raises(LocalProtocolError):
        met.one.node.send(identity(5).peer_id, b"hello", met.sim.now)
    assert counts(met.one) == {}


def test_a_broadcast_counts_for_each_peer_it_is_meant_for():
    sim, hub, *guests = star(4)
    skipped = identity(2).peer_id
    sim.do(hub, lambda it: it.broadcast(b"all", sim.now, (skipped,)))
    sim.do(hub, lambda it: it.broadcast(b"again", sim.now))
    sim.run(1.0)
    assert counts(hub) == {"broadcast": 7}
    assert [counts(guest)["received"] for guest in guests] == [2, 1, 2, 2]


def test_a_broadcast_without_room_counts_too():
    sim, hub, _ = star(1, limits=attrs.evolve(IDLE, outgoing_message_queue_size=500))
    assert [hub.node.broadcast(b"x" * 300, sim.now) for _ in range(3)] == [1, 0, 0]
    assert counts(hub) == {"broadcast": 3}


def test_what_waits_for_the_application_is_received_once_it_may_be_pulled():
    met = pair(limits=attrs.evolve(IDLE, incoming_app_message_queue_size=3))
    met.other.pulls = False
    them = identity(1).peer_id
    for _ in range(5):
        met.sim.do(met.one, lambda it: it.send(them, b"hello", met.sim.now))
    met.sim.run(1.0)
    assert counts(met.other) == {"received": 2}  # stays below 3
    assert met.other.node.queues().inbox == 2
    met.other.pulls = True
    met.sim.do(met.other, lambda _: None)
    met.sim.run(1.0)
    assert counts(met.other) == {"received": 5}
    assert len(messages(met.other)) == 5


@pytest.mark.parametrize(
    ("header", "payload"),
    [
        (b"\0\0\0\2\x77\x77", b""),  # no such tag
        (b"\0\0\0\1\0\0", b""),  # a size that holds no tag
        (b"\0\0\0\7\0\3", b"\0\0\0\1x"),  # an Advertise of what is no point
    ],
)
def test_what_is_no_message_is_counted_and_ends_the_connection(header, payload):
    met = pair()
    link = next(iter(met.one.node.pool.running))
    connection = met.one.node._reception.connection(link)
    met.sim.do(
        met.one,
        lambda it: (
            connection.send_encoded(header, payload),
            it._traffic.settle(link, met.sim.now),
        ),
    )
    met.sim.run(1.0)
    assert counts(met.other) == {"unreadable": 1}
    assert met.other.node.pool.active == 0
    assert counts(met.one) == {}


def test_an_end_that_is_none_of_that_is_not_counted_so():
    met = pair()
    part(met.sim, met.one, 1)
    met.sim.run(1.0)
    assert counts(met.one) == counts(met.other) == {}
    assert met.one.node.refused == {Reason.USER: 1}
    assert met.other.node.refused == {Reason.CONNECTION_CLOSED_BY_PEER: 1}


# -- this layer's own messages ---------------------------------------------------------


@pytest.mark.parametrize(
    "message",
    [
        Bootstrap(),
        Advertise((point(9),)),
        SwapRequest(point(9), identity(9).peer_id),
        SwapAck(point(9), identity(9).peer_id),
    ],
)
def test_own_messages_count_as_received_whatever_comes_of_them(message):
    name = f"own_received {type(message).__name__}"
    for private in (False, True):
        trusted = {"trusted": (0, 1)} if private else {}
        met = pair(private_mode=private, **trusted)
        put(met.sim, met.one, 1, message)
        met.sim.run(1.0)
        found = counts(met.other)
        assert found[name] == 1
        assert [key for key in found if key.startswith("own_received")] == [name]
        assert found.get("ignored", 0) == (private or isinstance(message, SwapAck))


@pytest.mark.parametrize("cls", [Bootstrap, Advertise])
def test_own_messages_that_come_too_soon_are_throttled(cls):
    met = pair()
    message = Bootstrap() if cls is Bootstrap else Advertise((point(9),))
    for _ in range(5):
        put(met.sim, met.one, 1, message)
    met.sim.run(1.0)
    found = counts(met.other)
    # One at once, one waits for its time.
    assert (found[f"own_received {cls.__name__}"], found["throttled"]) == (5, 3)
    assert [type(event) for event in told(met.other)].count(RECEIVED[cls]) == 2


def test_all_counts_of_own_messages_are_those_of_the_events_that_are_told():
    own = limits(2, 3, 5, maintenance_idle_time=20.0, swap_linger=1.0)
    sim = Sim(0)
    for number in range(9):
        sim.add(point(number), node(number, 0, limits=own))
    seen = {host.number: [] for host in sim.hosts}
    for _ in range(30):
        sim.run(20.0)
        for host in sim.hosts:
            seen[host.number] += [type(event) for event in told(host)]
    kinds = set()
    for host in sim.hosts:
        found, tally = seen[host.number], host.node.tally
        assert {cls: found.count(SENT[cls]) for cls in SENT} == tally.own_sent
        # Nobody is impatient here, so all that came was looked at.
        assert tally.throttled == 0
        assert {cls: found.count(RECEIVED[cls]) for cls in RECEIVED} == tally.own_received
        swaps = host.node.swaps
        assert found.count(events.SwapSuccess) == swaps.won
        assert found.count(events.SwapFailure) == swaps.lost
        assert found.count(events.SwapRequestIgnored) == tally.swaps_ignored
        kinds |= set(found)
    swaps = {events.SwapSuccess, events.SwapFailure, events.SwapRequestIgnored}
    assert {*SENT.values(), *RECEIVED.values()} | swaps <= kinds


def test_a_swap_that_fails_is_counted():
    sim, hub, *_ = star(4, discovers=False, limits=attrs.evolve(IDLE, max_connections=9))
    put(sim, sim.hosts[1], 0, SwapRequest(point(40), identity(40).peer_id))
    sim.run(1.0)
    assert (hub.node.swaps.won, hub.node.swaps.lost) == (0, 1)
    # And while we wait for nobody to ask again, an own answer was sent.
    assert counts(hub) == {"own_received SwapRequest": 1, "own_sent SwapAck": 1}


def test_an_own_message_that_finds_no_room_does_not_count_as_sent():
    sim, hub, _ = star(1, limits=attrs.evolve(IDLE, outgoing_message_queue_size=300))
    assert hub.node.broadcast(b"x" * 200, sim.now) == 1
    hub.node._answerer.ask(list(hub.node.pool.running), sim.now)
    hub.node._follow(sim.now)
    assert counts(hub) == {"broadcast": 1}
    sim.do(hub, lambda _: None)  # there is room again
    hub.node._answerer.ask(list(hub.node.pool.running), sim.now)
    hub.node._follow(sim.now)
    assert counts(hub) == {"broadcast": 1, "own_sent Bootstrap": 1}


def test_points_that_nobody_may_teach_any_more_are_counted():
    met = pair()
    many = tuple(point(100 + n) for n in range(100))
    put(met.sim, met.one, 1, Advertise(many))
    met.sim.run(1.0)
    before = met.other.node.untaught
    put(met.sim, met.one, 1, Advertise(tuple(point(300 + n) for n in range(100))))
    met.sim.run(1.0)
    assert met.other.node.untaught == before + 1  # what is behind it is not looked at


# -- handshakes ------------------------------------------------------------------------


def test_the_steps_of_a_handshake_are_timed():
    _, hub, guest = star(1)
    # A hello needs no answer, but ours begins when we hear of the connection.
    taken = {
        hub.number: {"hello": 0.04, "metadata": 0.0, "answer": 0.04},
        guest.number: {"dial": 0.04, "hello": 0.0, "metadata": 0.04, "answer": 0.0},
    }
    for host in (hub, guest):
        phases = {
            phase.value: durations
            for phase, durations in host.node.tally.phases.items()
            if sum(durations.counts)
        }
        totals = {name: durations.total for name, durations in phases.items()}
        assert totals == pytest.approx(taken[host.number], abs=1e-9)
        for durations in phases.values():
            assert sum(durations.counts) == 1
            assert durations.counts[bisect_left(BOUNDS, durations.total)] == 1


def test_steps_that_are_not_reached_are_not_timed():
    sim = Sim(1, latency=(0.02, 0.02))
    full, guest = idle_nodes(sim, range(1)), idle_nodes(sim, range(1, 2))
    full[0].node._reception._rules = attrs.evolve(
        full[0].node._reception._rules, threshold=0
    )
    dial(sim, guest[0], 0)
    dial(sim, guest[0], 7)  # nobody is there
    sim.run(1.0)
    for host, dials in ((full[0], 0), (guest[0], 1)):
        found = {p: sum(d.counts) for p, d in host.node.tally.phases.items()}
        expected = {Phase.DIAL: dials, Phase.HELLO: 1, Phase.METADATA: 1, Phase.ANSWER: 0}
        assert found == expected
    assert guest[0].node.refused == {
        Reason.AUTHENTICATION_REJECTED_BY_PEER: 1,
        Reason.TCP_CONNECTION_UNREACHABLE: 1,
    }


@pytest.mark.parametrize("index", range(len(BOUNDS)))
def test_a_bucket_holds_its_upper_end(index):
    durations = Durations()
    durations.add(BOUNDS[index])
    assert durations.counts.index(1) == index
    durations.add(BOUNDS[index] * 1.0001)
    assert durations.counts[index + 1] == 1
    assert durations.total == pytest.approx(BOUNDS[index] * 2.0001)


# -- what can be read off --------------------------------------------------------------


def test_bytes_are_those_of_all_connections_even_when_they_are_gone():
    met = pair()
    sim = met.sim
    sim.do(met.one, lambda it: it.send(identity(1).peer_id, b"x" * 1000, sim.now))
    sim.run(2.0)
    ours, theirs = met.one.node.survey.stat(sim.now), met.other.node.survey.stat(sim.now)
    assert ours.total_sent == theirs.total_recv > 1000
    assert ours.total_recv == theirs.total_sent > 0
    assert ours.current_outflow == theirs.current_inflow > 0
    assert ours.current_inflow == theirs.current_outflow
    assert ours.total_sent > ours.total_recv + 900
    assert ours.current_outflow > ours.current_inflow
    part(sim, met.one, 1)
    sim.run(100.0)
    later = met.one.node.survey.stat(sim.now)
    assert later == Stat(ours.total_sent, ours.total_recv, 0, 0)


def test_queues_are_those_of_all_connections_and_of_the_fullest():
    sim, hub, *_ = star(2)
    assert hub.node.queues() == Queues(0, 0, 0, 0, 0)
    link = next(iter(hub.node.pool.running))
    who = hub.node.pool.running[link].peer.peer_id
    hub.node.broadcast(b"x" * 100, sim.now)
    hub.node.send(who, b"x" * 200, sim.now)
    queues = hub.node.queues()
    # Four bytes of size, two of tag.
    assert (queues.outgoing, queues.outgoing_most) == (106 * 2 + 206, 106 + 206)
    assert (queues.incoming, queues.incoming_most, queues.inbox) == (0, 0, 0)
    sim.do(hub, lambda _: None)
    for guest in sim.hosts[1:]:
        guest.pulls = False
        guest.node._inbox._limit = 2
    sim.run(1.0)
    assert hub.node.queues() == Queues(0, 0, 0, 0, 0)
    theirs = [guest.node.queues() for guest in sim.hosts[1:]]
    assert sorted((it.incoming, it.inbox) for it in theirs) == [(0, 1), (326, 1)]
    assert all(it.incoming == it.incoming_most for it in theirs)


def test_nothing_is_queued_where_nobody_is():
    sim = Sim(1)
    (alone,) = idle_nodes(sim, range(1))
    assert alone.node.queues() == Queues(0, 0, 0, 0, 0)
    assert alone.node.survey.stat(sim.now) == Stat(0, 0, 0, 0)
    assert counts(alone) == {}


def test_a_node_says_how_full_it_is():
    sim, host, *_ = star(3)
    hub = host.node
    hub.acl.ban(point(9).address)
    hub.acl.ban_peer(identity(9).peer_id)
    hub.acl.greylist(point(8).address, sim.now)
    hub.acl.greylist_peer(identity(8).peer_id, sim.now)
    hub.acl.greylist_peer(identity(7).peer_id, sim.now)
    status, limits = hub.status(sim.now), hub._local.limits
    counts = status.connections
    assert (counts.running, counts.pending) == (hub.pool.active, 0)
    assert (counts.min, counts.expected, counts.max) == (
        limits.min_connections,
        limits.expected_connections,
        limits.max_connections,
    )
    assert counts.min <= counts.min_threshold <= counts.min_target <= counts.max_target
    assert counts.max_target <= counts.max_threshold <= counts.max
    assert status.queues["incoming_max"] == limits.incoming_message_queue_size
    assert (status.greylist, status.banned) == (Listed(1, 2), Listed(1, 1))
    assert status.refusals == {each.name.lower(): n for each, n in hub.refused.items()}
