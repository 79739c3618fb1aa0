"""Whole nodes in virtual time: who connects, who is refused, banned, trimmed, asked."""

from __future__ import annotations

import errno

import attrs
import pytest
from nodes import (
    SMALL,
    Sim,
    actives,
    identity,
    network,
    node,
    pair,
    point,
)

from tezos_p2p.fsm.admission import State
from tezos_p2p.fsm.commands import Accept
from tezos_p2p.fsm.inbox import Joined, Left, Message, Ready
from tezos_p2p.fsm.machine import LocalProtocolError
from tezos_p2p.spec.message import Advertise
from tezos_p2p.spec.point import Point
from tezos_p2p.spec.reasons import ErrorKind, Reason
from tezos_p2p.spec.version import MAINNET

IDLE = attrs.evolve(SMALL, maintenance_idle_time=None)


def reasons(host):
    return [item.disconnection.reason for item in host.items if isinstance(item, Left)]


def messages(host):
    return [item.message for item in host.items if isinstance(item, Message)]


def events(host):
    found = []
    while (event := host.node.next_event()) is not None:
        found.append(type(event).__name__)
    return found


# -- two nodes -------------------------------------------------------------------------


def test_two_nodes_meet_talk_and_part():
    met = pair()
    one, other, sim = met.one, met.other, met.sim
    assert [type(item) for item in one.items] == [Joined]
    sim.do(one, lambda it: it.send(identity(1).peer_id, b"hello", sim.now))
    sim.do(other, lambda it: it.broadcast(b"to all", sim.now))
    sim.run(1.0)
    assert (messages(one), messages(other)) == ([b"to all"], [b"hello"])
    assert sim.do(one, lambda it: it.disconnect(identity(1).peer_id, sim.now))
    sim.run(1.0)
    assert reasons(one) == [Reason.USER]
    assert reasons(other) == [Reason.CONNECTION_CLOSED_BY_PEER]
    assert actives(sim) == [0, 0]
    assert one.node.census() == dict.fromkeys(one.node.census(), 0)
    assert not sim.do(one, lambda it: it.disconnect(identity(1).peer_id, sim.now))


def test_what_happens_is_told_to_observers():
    met = pair()
    met.sim.do(met.one, lambda it: it.disconnect(identity(1).peer_id, met.sim.now))
    met.sim.run(1.0)
    assert events(met.one) == [
        "NewPoint",
        "OutgoingConnection",
        "NewPeer",
        "AcceptingRequest",
        "ConnectionEstablished",
        "Disconnected",
    ]
    assert set(events(met.other)) == {
        "IncomingConnection",
        "NewPoint",
        "NewPeer",
        "AcceptingRequest",
        "ConnectionEstablished",
        "Disconnected",
    }


def test_a_node_says_whether_there_is_anything_to_do():
    met = pair()
    node, now = met.one.node, met.sim.now
    assert not node.due
    assert not node.pending
    node.send(identity(1).peer_id, b"hello", now)
    assert node.due
    while node.next_command() is not None:
        pass
    assert not node.due
    met.sim.do(met.other, lambda it: it.broadcast(b"to all", now))
    met.one.pulls = False
    met.sim.run(1.0)
    assert not node.due
    assert node.pending


def test_a_message_to_nobody_is_the_callers_mistake():
    met = pair()
    with pytest.raises(LocalProtocolError, match="send"):
        met.one.node.send(identity(7).peer_id, b"", met.sim.now)


def test_a_node_starts_once_and_does_nothing_before_or_after():
    made = node(0, limits=IDLE)
    assert made.accept(point(1), 0.0) is None
    with pytest.raises(LocalProtocolError, match="connect"):
        made.connect(point(1), 0.0)
    made.start(0.0, 0.0)
    with pytest.raises(LocalProtocolError, match="start"):
        made.start(0.0, 0.0)
    made.stop(1.0)
    assert made.accept(point(1), 1.0) is None


def test_a_second_dial_to_the_same_point_says_so():
    sim = Sim(1)
    one = sim.add(point(0), node(0, limits=IDLE))
    sim.add(point(1), node(1, limits=IDLE))
    assert isinstance(sim.do(one, lambda it: it.connect(point(1), sim.now)), int)
    refused = sim.do(one, lambda it: it.connect(point(1), sim.now))
    assert refused.kind is ErrorKind.PENDING_CONNECTION
    sim.run(1.0)
    refused = sim.do(one, lambda it: it.connect(point(1), sim.now))
    assert refused.kind is ErrorKind.CONNECTED


def test_a_dial_to_nowhere_leaves_nothing_but_a_back_off():
    sim = Sim(1)
    one = sim.add(point(0), node(0, limits=IDLE))
    sim.do(one, lambda it: it.connect(point(5), sim.now))
    sim.run(1.0)
    info = one.node.pool.known_points[point(5)]
    assert not info.may_dial(sim.now - 0.5)
    assert one.node.refused == {Reason.TCP_CONNECTION_UNREACHABLE: 1}
    assert one.node.census()[State.DIALLING] == 0


def test_a_dial_that_is_never_answered_ends_at_its_deadline():
    made = node(0, limits=IDLE)
    made.start(0.0, 0.0)
    link = made.connect(point(1), 0.0)
    made.handle_timeout(9.9)
    assert made.census()[State.DIALLING] == 1
    made.handle_timeout(10.0)
    assert made.census()[State.LEAVING] == 1
    # The driver may have connected at that very moment.
    while made.next_command() is not None:
        pass
    made.link_made(link, 10.0)
    assert type(made.next_command()).__name__ == "Close"
    made.link_lost(link, None, 10.0)
    assert sum(made.census().values()) == 0


def test_nodes_that_dial_each_other_at_once_end_with_one_connection():
    sim = Sim(3, latency=(0.02, 0.02))
    hosts = [sim.add(point(n), node(n, 1 - n), keeps=True) for n in range(2)]
    # Both dial when they start, and neither hears of it before its own is on its way.
    assert [host.node.census()[State.DIALLING] for host in hosts] == [1, 1]
    sim.run(120.0)
    assert [host.node.pool.active for host in hosts] == [1, 1]
    assert [[type(item) for item in host.items] for host in hosts] == [[Joined]] * 2


def test_a_node_does_not_connect_to_itself():
    sim = Sim(1)
    one = sim.add(point(0), node(0, limits=IDLE))
    sim.do(one, lambda it: it.connect(point(0), sim.now))
    sim.run(1.0)
    assert actives(sim) == [0]
    assert one.node.pool.is_own(point(0))
    assert point(0) not in one.node.pool.known_points


def test_another_network_is_refused_and_its_point_forgotten():
    sim = Sim(1)
    one = sim.add(point(0), node(0, limits=IDLE, network=MAINNET))
    sim.add(point(1), node(1, limits=IDLE))
    sim.do(one, lambda it: it.connect(point(1), sim.now))
    sim.run(2.0)
    assert actives(sim) == [0, 0]
    assert point(1) not in one.node.pool.known_points


def test_a_trusted_point_of_another_network_stays_known():
    sim = Sim(1)
    one = sim.add(point(0), node(0, limits=IDLE, network=MAINNET, trusted=(1,)))
    sim.add(point(1), node(1, limits=IDLE))
    sim.do(one, lambda it: it.connect(point(1), sim.now))
    sim.run(2.0)
    assert actives(sim) == [0, 0]
    assert one.node.pool.known_points[point(1)].trusted


def test_somebody_else_than_expected_is_not_admitted():
    sim = Sim(1)
    one = sim.add(point(0), node(0, limits=IDLE))
    sim.add(point(1), node(1, limits=IDLE))
    one.node.pool.register_point(point(1), 0.0, expected=identity(9).peer_id)
    sim.do(one, lambda it: it.connect(point(1), sim.now))
    sim.run(2.0)
    assert actives(sim) == [0, 0]
    assert one.node.pool.known_points[point(1)].may_dial(sim.now + 10)


# -- limits ----------------------------------------------------------------------------


def test_who_is_too_many_is_refused_with_points_and_learns_them():
    limits = attrs.evolve(
        SMALL, min_connections=1, expected_connections=1, max_connections=1
    )
    sim = Sim(1)
    full = sim.add(point(0), node(0, limits=limits))
    first = sim.add(point(1), node(1, limits=IDLE))
    sim.do(first, lambda it: it.connect(point(0), sim.now))
    sim.run(1.0)
    late = sim.add(point(2), node(2, limits=IDLE))
    sim.do(late, lambda it: it.connect(point(0), sim.now))
    sim.run(1.0)
    assert full.node.pool.active == 1
    assert late.node.pool.active == 0
    assert point(1) in late.node.pool.known_points
    refused = sim.do(full, lambda it: it.connect(point(2), sim.now))
    assert refused.kind is ErrorKind.TOO_MANY_CONNECTIONS


def test_places_are_never_exceeded_by_many_at_the_same_moment():
    sim = Sim(2, latency=(0.02, 0.02))
    full = sim.add(point(0), node(0, limits=IDLE))
    for number in range(1, 15):
        host = sim.add(point(number), node(number, limits=IDLE))
        sim.do(host, lambda it: it.connect(point(0), sim.now))
    sim.run(2.0)
    assert full.node.pool.active == SMALL.max_connections


def test_handshakes_of_a_crowd_give_way_to_who_is_alone():
    limits = attrs.evolve(IDLE, max_incoming_connections=4)
    made = node(0, limits=limits)
    made.start(0.0, 0.0)
    made.acl.allow(point(1).address)
    links = [made.accept(Point(point(1).address, port), 0.0) for port in range(4)]
    assert None not in links
    assert made.accept(Point(point(1).address, 9), 0.0) is None
    newcomer = made.accept(point(2), 0.0)
    assert newcomer is not None
    assert made.refused[Reason.INCOMING_CONNECTION_TOO_MANY] == 2


def test_a_silent_handshake_ends_at_its_deadline():
    made = node(0, limits=IDLE)
    made.start(0.0, 0.0)
    link = made.accept(point(1), 0.0)
    made.handle_timeout(5.0)
    assert made.census()[State.LEAVING] == 1
    made.link_lost(link, None, 5.0)
    assert sum(made.census().values()) == 0


# -- lists -----------------------------------------------------------------------------


def test_a_ban_ends_connections_at_once_and_lets_nobody_in_again():
    met = pair()
    sim, one, other = met.sim, met.one, met.other
    sim.do(other, lambda it: it.send(identity(0).peer_id, b"unread", sim.now))
    sim.do(
        one,
        lambda it: it.govern(
            lambda steward: steward.ban_address(point(1).address), sim.now
        ),
    )
    sim.run(1.0)
    assert reasons(one) == [Reason.IP_MANUALLY_BANNED]
    assert messages(one) == []
    refused = sim.do(one, lambda it: it.connect(point(1), sim.now))
    assert refused.kind is ErrorKind.POINT_BANNED
    sim.do(other, lambda it: it.connect(point(0), sim.now))
    sim.run(1.0)
    assert actives(sim) == [0, 0]
    assert one.node.refused[Reason.INCOMING_CONNECTION_BANNED] == 1


def test_a_banned_peer_is_refused_wherever_it_comes_from():
    met = pair()
    sim, one = met.sim, met.one
    peer_id = identity(1).peer_id
    sim.do(one, lambda it: it.govern(lambda steward: steward.ban_peer(peer_id), sim.now))
    sim.run(1.0)
    assert reasons(one) == [Reason.PEER_ID_MANUALLY_BANNED]
    moved = sim.add(point(8), node(1, limits=IDLE))
    sim.do(moved, lambda it: it.connect(point(0), sim.now))
    sim.run(1.0)
    assert one.node.pool.active == 0
    sim.do(one, lambda it: it.govern(lambda s: s.unban_peer(peer_id), sim.now))
    sim.do(moved, lambda it: it.connect(point(0), sim.now))
    sim.run(1.0)
    assert one.node.pool.active == 1


def test_bytes_that_are_no_handshake_greylist_the_address():
    made = node(0, limits=IDLE)
    made.start(0.0, 0.0)
    link = made.accept(point(1), 0.0)
    made.receive_data(link, b"\0\x0a" + bytes(10), 0.0)
    assert made.acl.is_greylisted(point(1).address, 0.0)
    assert made.accept(point(1), 0.0) is None
    assert made.accept(point(1), 86_401.0) is not None


def test_private_mode_admits_only_the_trusted():
    sim = Sim(1)
    shy = sim.add(point(0), node(0, limits=IDLE, private_mode=True, trusted=(1,)))
    for number in (1, 2):
        host = sim.add(point(number), node(number, limits=IDLE))
        sim.do(host, lambda it: it.connect(point(0), sim.now))
    sim.run(2.0)
    assert actives(sim) == [1, 1, 0]
    refused = sim.do(shy, lambda it: it.connect(point(2), sim.now))
    assert refused.kind is ErrorKind.PRIVATE_MODE


def test_trust_and_its_end_by_the_steward():
    sim = Sim(1)
    shy = sim.add(point(0), node(0, limits=IDLE, private_mode=True))
    sim.do(shy, lambda it: it.govern(lambda s: s.trust_point(point(1), sim.now), sim.now))
    assert shy.node.pool.known_points[point(1)].trusted
    sim.do(shy, lambda it: it.govern(lambda s: s.open_point(point(1)), sim.now))
    assert not shy.node.pool.known_points[point(1)].trusted
    peer_id = identity(3).peer_id
    sim.do(shy, lambda it: it.govern(lambda s: s.trust_peer(peer_id, sim.now), sim.now))
    assert shy.node.pool.known_peers[peer_id].trusted
    sim.do(shy, lambda it: it.govern(lambda s: s.open_peer(peer_id), sim.now))
    assert not shy.node.pool.known_peers[peer_id].trusted
    sim.do(
        shy, lambda it: it.govern(lambda s: s.unban_address(point(1).address), sim.now)
    )
    for nobody in (
        lambda s: s.untrust_point(point(9)),
        lambda s: s.untrust_peer(peer_id),
    ):
        sim.do(shy, lambda it, act=nobody: it.govern(act, sim.now))


# -- messages --------------------------------------------------------------------------


def test_a_full_queue_is_told_once_when_there_is_room():
    limits = attrs.evolve(IDLE, outgoing_message_queue_size=1000)
    met = pair(limits=limits)
    sim, one = met.sim, met.one
    to = identity(1).peer_id

    def flood(it):
        taken = 0
        while it.send(to, bytes(200), sim.now):
            taken += 1
        assert not it.send(to, bytes(200), sim.now)
        return taken

    taken = sim.do(one, flood)
    sim.run(1.0)
    assert [type(item) for item in one.items] == [Joined, Ready]
    assert len(messages(met.other)) == taken


@pytest.mark.parametrize("by", ["broadcast", "reply"])
@pytest.mark.parametrize("sends", [False, True])
def test_room_is_told_of_to_who_was_refused_and_to_nobody_else(by, sends):
    limits = attrs.evolve(IDLE, outgoing_message_queue_size=1000)
    met = pair(limits=limits)
    sim, one = met.sim, met.one
    to = identity(1).peer_id
    (link,) = one.node.pool.running

    def flood(it):
        while it.broadcast(bytes(200), sim.now):
            pass
        if by == "reply":
            message = Advertise((point(7),) * 50)
            assert not it._reception.put(link, message, sim.now)
        if sends:
            assert not it.send(to, bytes(200), sim.now)
            assert not it.broadcast(bytes(200), sim.now)

    sim.do(one, flood)
    sim.run(1.0)
    assert [type(item) for item in one.items] == [Joined, *[Ready] * sends]
    assert sim.do(one, lambda it: it.send(to, bytes(200), sim.now))


def test_a_stuck_application_stops_its_peer_and_nobody_else():
    limits = attrs.evolve(
        IDLE,
        expected_connections=60,
        max_connections=60,
        max_incoming_connections=60,
        incoming_message_queue_size=20_000,
        outgoing_message_queue_size=20_000,
    )
    sim = Sim(1)
    hub = sim.add(point(0), node(0, limits=limits))
    others = [sim.add(point(n), node(n, limits=limits), keeps=True) for n in range(1, 52)]
    for other in others:
        sim.do(other, lambda it: it.connect(point(0), sim.now))
    sim.run(2.0)
    stuck, healthy = others[0], others[1:]
    stuck.pulls = False
    reached = []
    for _ in range(60):
        reached.append(sim.do(hub, lambda it: it.broadcast(bytes(10_000), sim.now)))
        sim.run(0.5)
    assert all(len(messages(host)) == 60 for host in healthy)
    assert reached[0] == 51
    assert reached[-1] == 50  # the window of the stuck one is full
    sent = len(messages(stuck))
    stuck.pulls = True
    sim.do(stuck, lambda it: None)
    sim.run(5.0)
    assert len(messages(stuck)) > sent


def test_points_are_asked_for_and_given():
    sim = network(6)
    sim.run(60.0)
    assert all(active >= 2 for active in actives(sim))
    assert len(sim.hosts[3].node.pool.known_points) >= 3


def test_after_we_leave_nothing_of_theirs_is_delivered():
    met = pair()
    sim, one, other = met.sim, met.one, met.other
    for _ in range(20):
        sim.do(other, lambda it: it.send(identity(0).peer_id, b"late", sim.now))
    sim.do(one, lambda it: it.disconnect(identity(1).peer_id, sim.now))
    sim.run(2.0)
    assert messages(one) == []
    assert [type(item) for item in one.items] == [Joined, Left]


def test_after_they_leave_what_they_said_comes_first():
    met = pair()
    sim, one, other = met.sim, met.one, met.other
    for _ in range(20):
        sim.do(other, lambda it: it.send(identity(0).peer_id, b"last", sim.now))
    sim.do(
        other,
        lambda it: it.disconnect(identity(0).peer_id, sim.now, deadline=sim.now + 3),
    )
    sim.run(2.0)
    assert len(messages(one)) == 20
    assert isinstance(one.items[-1], Left)


# -- the workers -----------------------------------------------------------------------


def test_accepting_rests_when_the_system_has_nothing_left():
    made = node(0, limits=IDLE)
    made.start(0.0, 0.0)
    assert made.next_command() == Accept(True)
    made.accept_failed(errno.EMFILE, 1.0)
    assert made.next_command() == Accept(False)
    assert made.next_timeout() == 6.0
    made.handle_timeout(6.0)
    assert made.next_command() == Accept(True)


def test_neighbours_that_know_nobody_find_each_other():
    sim = Sim(2)
    for number in range(3):
        sim.add(point(number), node(number, nearby=True))
    alone = sim.add(point(3), node(3))
    sim.run(20.0)
    assert actives(sim)[:3] == [2, 2, 2]
    assert alone.node.pool.known_points == {}
    sim.do(sim.hosts[0], lambda it: it.stop(sim.now))
    sim.run(5.0)
    assert sim.hosts[0].node.next_timeout() is None
    sim.hosts[0].node.receive_datagram(bytes(28), point(1).address, sim.now)


def test_a_stopped_node_lets_what_is_queued_leave():
    met = pair()
    sim, one = met.sim, met.one
    sim.do(one, lambda it: it.send(identity(1).peer_id, b"bye", sim.now))
    sim.do(one, lambda it: it.stop(sim.now, sim.now + 3.0))
    sim.run(5.0)
    assert messages(met.other) == [b"bye"]
    assert reasons(one) == [Reason.POOL_DESTROYED]
    assert sum(one.node.census().values()) == 0
    assert one.node.next_timeout() is None


def test_too_many_are_trimmed_to_the_target():
    sim = Sim(5)
    host = sim.add(point(0), node(0, limits=attrs.evolve(SMALL, max_connections=16)))
    for number in range(1, 15):
        other = sim.add(point(number), node(number, limits=IDLE))
        sim.do(other, lambda it: it.connect(point(0), sim.now))
    sim.run(30.0)
    bounds = host.node.maintenance.bounds
    assert host.node.pool.active <= bounds.max_threshold


def test_maintenance_can_be_asked_for():
    sim = network(4)
    sim.run(10.0)
    sim.do(sim.hosts[1], lambda it: it.maintain(sim.now))
    sim.run(10.0)
    assert all(actives(sim))


def test_what_is_remembered_of_a_peer_changes_its_treatment():
    from tezos_p2p.fsm.policy import BY_SCORE

    met = pair(policy=BY_SCORE, shares="score")
    sim, one = met.sim, met.one
    peer_id = identity(1).peer_id
    sim.do(one, lambda it: it.update_metadata(peer_id, lambda _: 3.0, sim.now))
    assert one.node.pool.known_peers[peer_id].metadata == 3.0
    sim.do(
        one, lambda it: it.update_metadata(identity(9).peer_id, lambda _: 2.0, sim.now)
    )
    assert one.node.pool.known_peers[identity(9).peer_id].metadata == 2.0


# -- bandwidth -------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["max_upload_speed", "max_download_speed"])
def test_a_cap_holds_over_any_ten_seconds(way):
    limits = attrs.evolve(IDLE, **{way: 16})
    sim = Sim(1)
    one = sim.add(point(0), node(0, limits=limits if "up" in way else IDLE), keeps=True)
    other = sim.add(
        point(1), node(1, limits=limits if "down" in way else IDLE), keeps=True
    )
    sim.do(one, lambda it: it.connect(point(1), sim.now))
    sim.run(1.0)
    for _ in range(60):
        sim.do(one, lambda it: it.send(identity(1).peer_id, bytes(10_000), sim.now))
    got = []
    for _ in range(40):
        sim.run(1.0)
        got.append(sum(map(len, messages(other))))
    cap = 16 * 1024
    for start, end in zip(got, got[10:], strict=False):
        assert end - start <= cap * 10 + 2 * 65_535
    assert got[-1] == 600_000
    assert got[20] < 21 * cap + 2 * 65_535
