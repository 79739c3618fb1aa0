"""How links of whole nodes end: what is still delivered, told, given back, bounded."""

from __future__ import annotations

import errno

import attrs
import pytest
from nodes import CODEC, SMALL, Sim, identity, node, pair, point

from tezos_p2p.fsm.commands import Close, Write
from tezos_p2p.fsm.connection import Connection
from tezos_p2p.fsm.inbox import Left, Message
from tezos_p2p.fsm.machine import LocalProtocolError
from tezos_p2p.fsm.policy import Treatment
from tezos_p2p.spec.events import Authenticated
from tezos_p2p.spec.pool_events import PeerEventKind
from tezos_p2p.spec.reasons import Disconnection, Reason
from tezos_p2p.spec.version import SANDBOX

IDLE = attrs.evolve(SMALL, maintenance_idle_time=None)
US, THEM = identity(0).peer_id, identity(1).peer_id


def say(sim, host, *sizes):
    for size in sizes:
        sim.do(host, lambda it, size=size: it.broadcast(bytes(size), sim.now))


def pull(host):
    """Return the names of what an application that had not pulled finds."""
    names = []
    while (item := host.node.receive()) is not None:
        names.append(type(item).__name__)
    return names


def link_of(host):
    (link,) = host.node.pool.running
    return link


def gone_untold():
    """Return a network, and a node to which somebody has said much and then left."""
    met = pair()
    sim, one, other = met.sim, met.one, met.other
    one.pulls = False
    say(sim, other, *[10] * 30)
    sim.run(1.0)
    sim.do(other, lambda it: it.disconnect(US, sim.now))
    sim.run(1.0)
    return sim, one


def test_what_was_said_is_pulled_after_they_went():
    met = pair()
    sim, one, other = met.sim, met.one, met.other
    one.pulls = False
    say(sim, other, 1, 2, 3)
    sim.run(1.0)
    sim.do(other, lambda it: it.disconnect(US, sim.now))
    sim.run(1.0)
    assert pull(one) == ["Message"] * 3 + ["Left"]
    assert one.node._reception.attempts == {}


def test_a_reset_behind_a_full_queue_is_told_behind_the_messages():
    limits = attrs.evolve(IDLE, incoming_message_queue_size=20_000)
    met = pair(limits=limits)
    sim, one, other = met.sim, met.one, met.other
    one.pulls = False
    say(sim, other, *[3000] * 40)
    sim.run(1.0)
    sim.kill(other)
    sim.run(1.0)
    assert one.node.pool.active == 0
    one.pulls = True
    sim.do(one, lambda it: None)
    sim.run(10.0)
    names = [type(item).__name__ for item in one.items]
    assert names[-1] == "Left"
    assert names.count("Left") == 1
    assert names.count("Message") >= 9
    assert one.node._reception.attempts == {}


@pytest.mark.parametrize(
    "ban",
    [lambda s: s.ban_peer(THEM), lambda s: s.ban_address(point(1).address)],
    ids=["peer", "address"],
)
def test_whoever_is_banned_after_going_is_heard_no_more(ban):
    sim, one = gone_untold()
    sim.do(one, lambda it: it.govern(ban, sim.now))
    assert pull(one) == ["Left"]


def test_whoever_is_disconnected_after_going_is_heard_no_more():
    sim, one = gone_untold()
    assert isinstance(one.node.receive(), Message)
    assert sim.do(one, lambda it: it.disconnect(THEM, sim.now))
    left = one.node.receive()
    assert isinstance(left, Left)
    assert left.disconnection.reason is Reason.CONNECTION_CLOSED_BY_PEER
    assert one.node.receive() is None
    assert not sim.do(one, lambda it: it.disconnect(THEM, sim.now))
    assert one.node._reception.attempts == {}


def test_whoever_has_gone_is_greylisted_for_what_the_application_pulls_afterwards():
    sim, one = gone_untold()
    why = Disconnection(Reason.USER, text="an invalid block")

    def greylist(s):
        return s.greylist_peer(THEM, why, sim.now)

    assert isinstance(one.node.receive(), Message)
    sim.do(one, lambda it: it.govern(greylist, sim.now))
    assert one.node.acl.is_peer_greylisted(THEM, sim.now)
    assert one.node.acl.is_greylisted(point(1).address, sim.now)
    assert pull(one) == ["Left"]
    one.node.acl.clear_greylists()
    sim.do(one, lambda it: it.govern(greylist, sim.now))
    assert not one.node.acl.is_peer_greylisted(THEM, sim.now)


def test_whoever_is_greylisted_is_heard_no_more():
    met = pair()
    sim, one, other = met.sim, met.one, met.other
    one.pulls = False
    say(sim, other, 1, 2)
    sim.run(1.0)
    other.node._reception.connection(link_of(other))._out.put(b"\0\0\0\2\0\x07", b"")
    say(sim, other, 3)
    sim.run(1.0)
    assert one.node.acl.is_greylisted(point(1).address, sim.now)
    assert pull(one) == ["Left"]


@pytest.mark.parametrize("hangs_up", [False, True])
def test_nobody_escapes_the_greylist_by_hanging_up_behind_a_full_queue(hangs_up):
    limits = attrs.evolve(IDLE, incoming_message_queue_size=4000)
    met = pair(limits=limits)
    sim, one, other = met.sim, met.one, met.other
    one.pulls = False
    for _ in range(100):  # in one chunk, with what follows
        other.node.send(US, b"x", sim.now)
    connection = other.node._reception.connection(link_of(other))
    connection.send_encoded(b"\0\0\0\2\0\x07", b"")
    say(sim, other, 1)
    sim.run(0.5)
    assert not one.node.acl.is_greylisted(point(1).address, sim.now)
    if hangs_up:
        sim.kill(other)
    sim.run(5.0)
    one.pulls = True
    sim.do(one, lambda it: None)
    sim.run(5.0)
    assert one.node.acl.is_greylisted(point(1).address, sim.now)
    assert one.node.acl.is_peer_greylisted(THEM, sim.now)
    assert one.node.tally.unreadable == 1
    assert one.items[-1].disconnection.greylists
    assert one.node._reception.attempts == {}
    assert one.node._reception.places.untold == 0


def test_an_application_may_greylist_a_peer_first_and_then_it_goes():
    met = pair()
    sim, one = met.sim, met.one
    why = Disconnection(Reason.USER, text="an invalid block")
    sim.do(
        one, lambda it: it.govern(lambda s: s.greylist_peer(THEM, why, sim.now), sim.now)
    )
    assert one.node.acl.is_peer_greylisted(THEM, sim.now)
    assert one.node.acl.is_greylisted(point(1).address, sim.now)
    sim.run(1.0)
    assert one.items[-1] == Left(1, THEM, why)
    sim.do(
        one, lambda it: it.govern(lambda s: s.greylist_peer(THEM, why, sim.now), sim.now)
    )
    exempt = pair()
    exempt.one.node.acl.allow(point(1).address)
    exempt.one.node.govern(lambda s: s.greylist_peer(THEM, why, 1.0), 1.0)
    assert not exempt.one.node.acl.is_peer_greylisted(THEM, 1.0)


def test_who_is_not_the_expected_one_goes_and_is_greylisted():
    met = pair()
    sim, one = met.sim, met.one
    sim.do(
        one, lambda it: it.govern(lambda s: s.expect(point(1), THEM, sim.now), sim.now)
    )
    assert one.node.pool.active == 1
    other = identity(7).peer_id
    sim.do(
        one,
        lambda it: it.govern(lambda s: s.trust_point(point(1), sim.now, other), sim.now),
    )
    sim.run(1.0)
    assert one.items[-1].disconnection.reason is Reason.UNEXPECTED_PEER_ID
    assert one.node.acl.is_greylisted(point(1).address, sim.now)


def test_a_link_that_is_about_to_end_carries_nothing_new():
    met = pair()
    sim, one = met.sim, met.one
    one.node.send(THEM, bytes(1000), sim.now)
    one.node.disconnect(THEM, sim.now, deadline=sim.now + 3.0)
    assert one.node.broadcast(b"x", sim.now) == 0
    with pytest.raises(LocalProtocolError, match="send"):
        one.node.send(THEM, b"x", sim.now)
    assert one.node._world.droppable(sim.now) == []


def test_no_command_is_given_for_a_link_that_is_lost():
    met = pair()
    sim, one = met.sim, met.one
    link = link_of(one)
    for _ in range(4):
        one.node.send(THEM, bytes(60_000), sim.now)
    assert one.node.next_command() == Write(link)
    one.node.data_to_send(link, 1000, sim.now)
    one.node.link_lost(link, errno.EPIPE, sim.now)
    assert one.node.next_command() is None


def test_a_close_that_the_peer_forestalls_is_not_asked_for():
    met = pair()
    sim, one = met.sim, met.one
    link = link_of(one)
    one.node.disconnect(THEM, sim.now)
    one.node.link_lost(link, errno.ECONNRESET, sim.now)
    assert not isinstance(one.node.next_command(), Close)


def test_coming_and_going_while_nobody_pulls_takes_places_and_no_more():
    sim = Sim(1)
    hub = sim.add(point(0), node(0, limits=IDLE))
    hub.pulls = False
    other = sim.add(point(1), node(1, limits=IDLE))
    for _ in range(30):
        sim.do(other, lambda it: it.connect(point(0), sim.now))
        sim.run(0.5)
        say(sim, other, *[10_000] * 20)
        sim.run(0.5)
        sim.do(other, lambda it: it.disconnect(US, sim.now))
        sim.run(0.5)
    assert len(hub.node._reception.attempts) <= SMALL.max_connections
    assert len(hub.node._inbox) <= SMALL.max_connections
    names = pull(hub)
    assert names.count("Joined") == names.count("Left") == SMALL.max_connections
    assert hub.node._reception.places.untold == 0


def come_again(sim, us, other, *sayings):
    """Have a peer connect, say something and leave, for each; the last one stays."""
    for number, saying in enumerate(sayings):
        if number:
            sim.do(other, lambda it: it.disconnect(US, sim.now))
            sim.run(0.5)
        sim.do(other, lambda it: it.connect(point(0), sim.now))
        sim.run(0.5)
        for each in saying:
            sim.do(other, lambda it, each=each: it.send(US, each, sim.now))
        sim.run(0.5)
    assert us.node.pool.active == 1


def reading(limits=IDLE):
    """Return a network, a node whose application does not pull, and a peer."""
    sim = Sim(1)
    us = sim.add(point(0), node(0, limits=limits), keeps=True)
    us.pulls = False
    return sim, us, sim.add(point(1), node(1, limits=IDLE))


def pull_all(host):
    return list(iter(host.node.receive, None))


def story(items):
    return [getattr(item, "message", type(item).__name__) for item in items]


@pytest.mark.parametrize("pulled", [0, 1, 2, 3, 4])
def test_who_comes_again_is_told_of_behind_all_that_was_before(pulled):
    sim, us, other = reading()
    come_again(sim, us, other, [b"a", b"b"], [], [b"c", b"d"], [b"e"])
    found = [us.node.receive() for _ in range(pulled)]
    sim.do(other, lambda it: it.send(US, b"f", sim.now))
    sim.run(0.5)
    found += pull_all(us)
    told = ["Joined", b"a", b"b", "Left", "Joined", "Left", "Joined", b"c", b"d", "Left"]
    assert story(found) == [*told, "Joined", b"e", b"f"]
    links = [item.link for item in found]
    assert links == sorted(links)
    assert us.node._reception.places.untold == 0


def test_who_waits_for_its_last_connection_to_be_over_holds_nobody_up():
    sim, us, other = reading()
    come_again(sim, us, other, [b"a"] * 3, [b"b"] * 3)
    third = sim.add(point(2), node(2, limits=IDLE))
    sim.do(third, lambda it: it.connect(point(0), sim.now))
    sim.run(0.5)
    for _ in range(2):
        sim.do(third, lambda it: it.send(US, b"c", sim.now))
    sim.run(0.5)
    found = [us.node.receive() for _ in range(6)]
    assert story(found) == ["Joined", "Joined", b"a", b"c", b"a", b"c"]


def test_what_waits_for_the_last_connection_to_be_over_is_bounded_and_all_comes():
    limits = attrs.evolve(
        IDLE, incoming_app_message_queue_size=3, incoming_message_queue_size=20_000
    )
    sim, us, other = reading(limits)
    said = [bytes([number]) * 3000 for number in range(30)]
    come_again(sim, us, other, [b"a"], said)
    (link,) = us.node.pool.running
    assert us.node._inbox.waiting == 3  # and 2 of them of the connection that lives
    assert us.node._reception.connection(link).undelivered < 20_000
    assert us.node.read_allowance(link, sim.now) == 0
    us.pulls = True
    sim.do(us, lambda it: None)
    sim.run(1.0)
    assert story(us.items) == ["Joined", b"a", "Left", "Joined", *said]


def test_what_is_still_decoded_of_a_lost_connection_comes_before_the_next():
    sim, us, other = reading()
    come_again(sim, us, other, [b"a"])
    (link,) = us.node.pool.running
    # More than one call decodes; the socket is lost, and the peer back, before the rest.
    far = other.node._reception.connection(*other.node.pool.running)
    for _ in range(4000):
        far.send(b"b")
    us.node.receive_data(link, b"".join(far.pieces_to_send(1 << 18)), sim.now)
    assert us.node._reception.connection(link).stalled
    us.node.link_lost(link, errno.ECONNRESET, sim.now)
    assert us.node.pool.active == 0
    again = us.node.accept(point(1), sim.now)
    introduce(us.node, again, sim.now)
    found = pull_all(us)
    assert us.node.pool.active == 1
    assert {item.link for item in found} == {link}
    for _ in range(100):
        us.node.handle_timeout(sim.now)
        found += pull_all(us)
    assert story(found) == ["Joined", b"a", *[b"b"] * 4000, "Left", "Joined"]


@pytest.mark.parametrize("by", ["disconnect", "ban"])
def test_after_our_disconnect_nothing_of_an_earlier_connection_is_delivered(by):
    sim, us, other = reading()
    come_again(sim, us, other, [b"a"] * 3, [], [b"b"] * 3)
    assert us.node.receive().link == 1
    if by == "ban":
        us.node.govern(lambda it: it.ban_peer(THEM), sim.now)
    else:
        assert us.node.disconnect(THEM, sim.now)
    found = pull_all(us)
    assert story(found) == ["Left", "Joined", "Left", "Joined", "Left"]
    assert us.node._reception.places.untold == 0


def test_who_began_first_and_came_last_is_disconnected_with_what_was_before():
    sim, us, other = reading()
    slow = us.node.accept(point(1), sim.now)  # its handshake waits
    come_again(sim, us, other, [b"a"] * 3)
    us.node.receive()
    sim.do(other, lambda it: it.disconnect(US, sim.now))
    sim.run(0.5)
    introduce(us.node, slow, sim.now)
    assert us.node.pool.by_peer(THEM).link == slow
    us.node.govern(lambda it: it.ban_peer(THEM), sim.now)
    found = pull_all(us)
    assert story(found) == ["Left", "Joined", "Left"]
    assert [item.link for item in found] == [2, slow, slow]


def introduce(us, link, now):
    """Go through the handshake of an incoming link, as the peer."""
    far = Connection(node(1, limits=IDLE)._local, CODEC, incoming=False)
    far.start(now)
    for _ in range(3):
        if data := us.data_to_send(link, 1 << 16, now):
            far.receive_data(data, now)
        while (event := far.next_event()) is not None:
            if isinstance(event, Authenticated):
                far.admit(now)
        if data := far.data_to_send():
            us.receive_data(link, data, now)


def test_a_cap_that_is_lifted_frees_who_waited_for_it():
    def policy(metadata, score, trusted):
        return Treatment(cap_down=None if score >= 1 else 100)

    met = pair(policy=policy)
    sim, one, other = met.sim, met.one, met.other
    third = sim.add(point(2), node(2, limits=IDLE))
    sim.do(one, lambda it: it.connect(point(2), sim.now))
    sim.run(1.0)
    sim.do(one, lambda it: it.update_metadata(THEM, lambda _: 0.5, sim.now))
    for _ in range(2):
        say(sim, other, *[3000] * 6)
        sim.run(1.0)
    sim.do(one, lambda it: it.update_metadata(THEM, lambda _: 1.0, sim.now))
    say(sim, third, 2)
    sim.run(1.0)
    assert sum(isinstance(item, Message) for item in one.items) == 13


def test_trust_changes_how_a_peer_is_treated_at_once():
    asked = []

    def policy(metadata, score, trusted):
        asked.append(trusted)
        return Treatment()

    met = pair(policy=policy)
    sim, one = met.sim, met.one
    sim.do(one, lambda it: it.govern(lambda s: s.trust_peer(THEM, sim.now), sim.now))
    assert asked[-1] is True


def test_who_has_ended_a_connection_is_remembered():
    met = pair()
    sim, one, other = met.sim, met.one, met.other
    sim.do(one, lambda it: it.disconnect(THEM, sim.now))
    sim.run(1.0)
    ours = one.node.pool.known_peers[THEM].events[-1]
    theirs = other.node.pool.known_peers[US].events[-1]
    assert ours.kind is PeerEventKind.DISCONNECTION
    assert theirs.kind is PeerEventKind.EXTERNAL_DISCONNECTION


def test_a_stopped_node_does_not_start():
    made = node(0, limits=IDLE)
    made.stop(0.0)
    with pytest.raises(LocalProtocolError, match="start"):
        made.start(1.0, 1.0)
    assert made.pool.known_points == {}


def test_without_discovery_nothing_is_learnt_from_a_refusal():
    full = attrs.evolve(
        SMALL, min_connections=1, expected_connections=1, max_connections=1
    )
    sim = Sim(1)
    sim.add(point(0), node(0, limits=full))
    for number in (1, 2):
        host = sim.add(point(number), node(number, limits=IDLE, discovers=number == 1))
        sim.do(host, lambda it: it.connect(point(0), sim.now))
        sim.run(2.0)
    assert point(1) not in sim.hosts[2].node.pool.known_points


@pytest.mark.parametrize("chunk", [None, 400, 40_000])
def test_one_turn_under_a_cap_is_one_unit_at_most(chunk):
    limits = attrs.evolve(IDLE, max_upload_speed=64, binary_chunks_size=chunk)
    met = pair(limits=limits)
    sim, one = met.sim, met.one
    for _ in range(5):
        one.node.send(THEM, bytes(100_000), sim.now)
    largest = 0
    for _ in range(100):
        while (command := one.node.next_command()) is not None:
            sent = one.node.data_to_send(command.link, 1 << 18, sim.now)
            largest = max(largest, len(sent))
        sim.now = one.node.next_timeout() or sim.now
        one.node.handle_timeout(sim.now)
    assert 0 < largest <= 65_535


def test_nodes_of_the_old_generation_are_refused_without_points():
    full = attrs.evolve(
        SMALL, min_connections=1, expected_connections=1, max_connections=1
    )
    sim = Sim(1)
    sim.add(point(0), node(0, limits=full))
    old = attrs.evolve(SANDBOX, p2p_versions=(0,))
    for number, network in ((1, SANDBOX), (2, old), (3, SANDBOX)):
        host = sim.add(point(number), node(number, limits=IDLE, network=network))
        sim.do(host, lambda it: it.connect(point(0), sim.now))
        sim.run(2.0)
    assert point(1) not in sim.hosts[2].node.pool.known_points
    assert point(1) in sim.hosts[3].node.pool.known_points


def test_who_is_about_to_go_is_asked_nothing():
    sim = Sim(1)
    one = sim.add(point(0), node(0))
    other = sim.add(point(1), node(1, limits=IDLE))
    sim.do(other, lambda it: it.connect(point(0), sim.now))
    sim.run(1.0)
    one.node.send(THEM, bytes(1000), sim.now)
    one.node.disconnect(THEM, sim.now, deadline=sim.now + 3.0)
    one.node.maintain(sim.now)  # it is alone, and would ask
    one.node.handle_timeout(sim.now + 1.0)
    assert one.node._answerer.tally.throttled == 0
