"""Whole nodes in virtual time: the rarer ways through their parts."""

from __future__ import annotations

import errno
import struct

import attrs
import pytest
from nodes import SMALL, Sim, actives, identity, network, node, pair, point
from scenes import overfill

from tezos_p2p.fsm.admission import State
from tezos_p2p.fsm.commands import Dial, Write
from tezos_p2p.fsm.inbox import Left
from tezos_p2p.fsm.prefix import Prefix
from tezos_p2p.fsm.reception import Reception
from tezos_p2p.fsm.swap import Swaps
from tezos_p2p.spec.message import Bootstrap
from tezos_p2p.spec.point import Point
from tezos_p2p.spec.pool_events import (
    AdvertiseSent,
    BootstrapReceived,
    SwapFailure,
    SwapSuccess,
    TooFewConnections,
    TooManyConnections,
)
from tezos_p2p.spec.reasons import ErrorKind, P2pError, Reason
from tezos_p2p.spec.version import MAINNET

IDLE = attrs.evolve(SMALL, maintenance_idle_time=None)


def events(host):
    found = []
    while (event := host.node.next_event()) is not None:
        found.append(event)
    return found


def link_of(host):
    (link,) = host.node.pool.running
    return link


def lose(sim, host, link, error):
    """Break a link on one side, which the network then forgets."""
    host.ends.pop(link).open = False
    sim.do(host, lambda it: it.link_lost(link, error, sim.now))


def reasons(host):
    return [item.disconnection.reason for item in host.items if isinstance(item, Left)]


# -- messages of this layer ------------------------------------------------------------


def test_questions_that_come_too_soon_wait_for_their_time():
    met = pair()
    sim, one, other = met.sim, met.one, met.other
    events(one), events(other)
    for _ in range(3):
        sim.do(one, lambda it: it._reception.put(link_of(one), Bootstrap(), sim.now))
    sim.run(5.0)
    kinds = [type(event) for event in events(other)]
    assert kinds.count(BootstrapReceived) >= 2
    assert [type(event) for event in events(other)] == []


def test_points_are_told_to_who_asks():
    sim = Sim(1)
    hub = sim.add(point(0), node(0, limits=IDLE))
    for number in (1, 2, 3):
        host = sim.add(point(number), node(number, limits=IDLE))
        sim.do(host, lambda it: it.connect(point(0), sim.now))
    sim.run(2.0)
    asks = sim.hosts[1]
    sim.do(asks, lambda it: it._reception.put(link_of(asks), Bootstrap(), sim.now))
    sim.run(2.0)
    assert AdvertiseSent in map(type, events(hub))
    assert {point(2), point(3)} <= asks.node.pool.known_points.keys()


@pytest.fixture(scope="module")
def swapping():
    """Return a network that has formed, in which swaps are proposed twice a minute."""
    sim = network(14, seed=4, limits=attrs.evolve(SMALL, maintenance_idle_time=30.0))
    sim.run(120.0)
    assert TooFewConnections in {
        type(each) for host in sim.hosts for each in events(host)
    }
    return sim


def test_swaps_happen_and_keep_the_number_of_connections(swapping):
    swapping.run(150.0)
    told = [type(event) for host in swapping.hosts for event in events(host)]
    assert told.count(SwapSuccess) > 0
    assert all(2 <= active <= 6 for active in actives(swapping))


def test_without_diversity_a_network_forms_as_well():
    sim = network(6, diversity=None)
    sim.run(60.0)
    assert all(active >= 2 for active in actives(sim))


def test_a_node_that_does_not_discover_tells_nobody_of_anybody():
    full = attrs.evolve(
        SMALL, min_connections=1, expected_connections=1, max_connections=1
    )
    sim = Sim(1)
    sim.add(point(0), node(0, limits=full, discovers=False))
    for number in (1, 2):
        host = sim.add(point(number), node(number, limits=IDLE))
        sim.do(host, lambda it: it.connect(point(0), sim.now))
        sim.run(2.0)
    assert point(1) not in sim.hosts[2].node.pool.known_points


# -- who comes -------------------------------------------------------------------------


def test_who_announces_no_port_is_admitted_and_its_point_not_known():
    sim = Sim(1)
    one = sim.add(point(0), node(0, limits=IDLE))
    quiet = sim.add(point(1), node(1, limits=IDLE, port=0))
    sim.do(quiet, lambda it: it.connect(point(0), sim.now))
    sim.run(1.0)
    assert one.node.pool.active == 1
    assert one.node.pool.known_points == {}
    sim.do(quiet, lambda it: it.disconnect(identity(0).peer_id, sim.now))
    sim.run(1.0)
    assert actives(sim) == [0, 0]


def test_who_announces_no_port_and_goes_before_answering_leaves_nothing():
    sim = Sim(1)
    one = sim.add(point(0), node(0, limits=IDLE))
    quiet = sim.add(point(1), node(1, limits=IDLE, port=0))
    sim.do(quiet, lambda it: it.connect(point(0), sim.now))
    while not one.node.census()[State.ACCEPTED]:
        sim.run(0.001)
    sim.kill(quiet)
    sim.run(1.0)
    assert sum(one.node.census().values()) == 0
    assert one.node.pool.known_peers[identity(1).peer_id].link is None


def test_a_peer_whose_messages_do_not_decode_is_greylisted():
    met = pair()
    sim, one, other = met.sim, met.one, met.other
    unknown = struct.pack(">IH", 2, 0x99)

    def garble(it):
        it._reception.connection(link_of(other)).send_encoded(unknown, b"")
        it._traffic.settle(link_of(other), sim.now)

    sim.do(other, garble)
    sim.run(1.0)
    assert reasons(one) == [Reason.CONNECTION_CLOSED_BY_UNEXPECTED_ERROR]
    assert one.node.acl.is_greylisted(point(1).address, sim.now)
    assert one.node.acl.is_peer_greylisted(identity(1).peer_id, sim.now)


def test_an_exempt_address_is_not_greylisted():
    made = node(0, limits=IDLE)
    made.acl.allow(point(1).address)
    made.start(0.0, 0.0)
    link = made.accept(point(1), 0.0)
    made.receive_data(link, b"\0\x0a" + bytes(10), 0.0)
    assert not made.acl.is_greylisted(point(1).address, 0.0)


def test_the_last_slots_are_not_for_the_incoming():
    limits = attrs.evolve(
        IDLE, expected_connections=16, max_connections=16, max_incoming_connections=60
    )
    sim = Sim(1)
    hub = sim.add(point(0), node(0, limits=limits))
    for number in range(1, 20):
        host = sim.add(point(number), node(number, limits=IDLE))
        sim.do(host, lambda it: it.connect(point(0), sim.now))
    sim.run(2.0)
    assert hub.node.pool.active == 14
    late = sim.add(point(50), node(50, limits=IDLE))
    sim.do(hub, lambda it: it.connect(point(50), sim.now))
    sim.run(2.0)
    assert (hub.node.pool.active, late.node.pool.active) == (15, 1)


def test_a_reset_ends_a_connection_and_gives_everything_back():
    met = pair()
    met.sim.kill(met.other)
    met.sim.run(1.0)
    assert met.one.node.pool.active == 0
    assert reasons(met.one) == [Reason.CONNECTION_CLOSED_BY_PEER]
    assert sum(met.one.node.census().values()) == 0


@pytest.mark.parametrize("error", [None, errno.EHOSTUNREACH, errno.ECONNRESET])
def test_a_dial_that_fails_is_told_and_forgotten(error):
    made = node(0, limits=IDLE)
    made.start(0.0, 0.0)
    link = made.connect(point(1), 0.0)
    made.link_lost(link, error, 1.0)
    assert sum(made.census().values()) == 0
    assert sum(made.refused.values()) == 1
    with pytest.raises(KeyError):
        made.link_lost(link, error, 1.0)


# -- maintenance -----------------------------------------------------------------------


def test_too_many_are_trimmed_to_the_target_exactly():
    sim = Sim(5)
    hub = sim.add(point(0), node(0))
    for number in range(1, 8):
        sim.add(point(number), node(number, limits=IDLE))
    overfill(sim, hub, range(1, 8))
    sim.run(2.0)
    assert TooManyConnections in map(type, events(hub))
    assert hub.node.pool.active == hub.node.maintenance.bounds.max_target


def test_candidates_are_neither_banned_nor_missed_nor_in_private_mode_untrusted():
    sim = Sim(1)
    shy = sim.add(point(0), node(0, 1, 2, private_mode=True, trusted=(3,)))
    sim.run(1.0)
    dialled = {
        each
        for each, info in shy.node.pool.known_points.items()
        if info.last_miss is not None
    }
    assert dialled == {point(3)}
    picky = node(10, 11, 12)
    picky.acl.ban(point(12).address)
    open_one = sim.add(point(10), picky)
    sim.run(10.0)
    assert open_one.node.pool.known_points[point(12)].last_miss is None
    assert open_one.node.pool.known_points[point(11)].last_miss is not None


def test_few_of_one_block_of_addresses_are_dialled():
    limits = attrs.evolve(
        SMALL, min_connections=0, expected_connections=60, max_connections=60
    )
    made = node(0, limits=limits)
    for host in range(1, 30):
        address = Point.parse(f"30.1.{host}.1:9732")
        made.pool.register_point(address, 0.0)
    made.start(0.0, 0.0)
    assert made.census()[State.DIALLING] == 8
    assert made._world.candidates({}, 0.0, 100, 0.0) == []


def test_what_failed_in_a_pass_is_not_tried_again_in_it():
    made = node(0, 1, 2, limits=SMALL)
    made.start(0.0, 0.0)
    world = made._world
    info = made.pool.known_points[point(1)]
    info.disconnect(1.0)
    assert info.may_dial(3.0)
    assert point(1) in world.candidates({}, 2.0, 10, 3.0)
    assert point(1) not in world.candidates({}, 0.5, 10, 3.0)


def test_a_banned_or_busy_point_is_not_worth_a_swap():
    made = node(0, 1, limits=IDLE)
    made.start(0.0, 0.0)
    world = made._world
    assert world.may_dial(point(1), 0.0)
    made.connect(point(1), 0.0)
    assert not world.may_dial(point(1), 0.0)
    assert world.may_dial(point(2), 0.0)
    made.acl.ban(point(2).address)
    assert not world.may_dial(point(2), 0.0)
    made.pool.add_own_point(point(3))
    assert not world.may_dial(point(3), 0.0)


def test_a_dial_keeps_its_deadline_whatever_is_looked_at():
    made = node(0, 1, limits=IDLE)
    made.start(0.0, 0.0)
    link = made.connect(point(1), 0.0)
    made._traffic.settle(link, 1.0)
    assert made.next_timeout() == 10.0


# -- the steward -----------------------------------------------------------------------


def test_a_banned_prefix_loses_its_trust_and_its_connections():
    met = pair(trusted=())
    sim, one = met.sim, met.one
    block = Prefix.parse(f"{point(1).address}/32")
    one.node.pool.known_points[point(1)].trusted = True
    one.node.pool.register_point(point(9), sim.now, trusted=True)
    far = sim.do(one, lambda it: it.connect(point(60), sim.now))
    assert isinstance(far, int)
    gone = sim.do(one, lambda it: it.connect(point(61), sim.now))
    lose(sim, one, gone, errno.ECONNREFUSED)
    sim.do(
        one,
        lambda it: it.govern(lambda s: s.ban_address(block, peers=False), sim.now),
    )
    sim.run(1.0)
    assert reasons(one) == [Reason.IP_MANUALLY_BANNED]
    assert not one.node.pool.known_points[point(1)].trusted
    assert one.node.pool.known_points[point(9)].trusted
    assert not one.node.acl.is_peer_banned(identity(1).peer_id, sim.now)
    sim.do(one, lambda it: it.govern(lambda s: s.ban_peer(identity(5).peer_id), sim.now))


def test_a_ban_during_its_own_goodbye_changes_nothing_any_more():
    met = pair()
    sim, one = met.sim, met.one
    one.node.disconnect(identity(1).peer_id, sim.now)
    sim.do(one, lambda it: it.govern(lambda s: s.ban_address(point(1).address), sim.now))
    sim.run(1.0)
    assert reasons(one) == [Reason.USER]


def test_a_broadcast_skips_whom_it_is_told_to_skip():
    met = pair()
    sim, one = met.sim, met.one
    skip = [identity(1).peer_id]
    assert sim.do(one, lambda it: it.broadcast(b"x", sim.now, skip)) == 0


def test_a_node_of_another_network_that_dials_us_changes_nothing():
    sim = Sim(1)
    one = sim.add(point(0), node(0, limits=IDLE))
    other = sim.add(point(1), node(1, limits=IDLE, network=MAINNET))
    sim.do(other, lambda it: it.connect(point(0), sim.now))
    sim.run(2.0)
    assert actives(sim) == [0, 0]
    reason = Reason.AUTHENTICATION_REJECTED_NO_COMMON_PROTOCOL
    assert one.node.refused == {reason: 1}
    other.node.maintenance  # noqa: B018  # it has none to look at


# -- turns under a cap -----------------------------------------------------------------


def test_a_link_that_is_lost_in_its_turn_leaves_the_turn_to_others():
    limits = attrs.evolve(IDLE, max_upload_speed=100)
    met = pair(limits=limits)
    sim, one = met.sim, met.one
    one.node.send(identity(1).peer_id, b"never sent", sim.now)
    command = one.node.next_command()
    assert isinstance(command, Write)
    lose(sim, one, command.link, errno.ECONNRESET)
    third = sim.add(point(2), node(2, limits=limits), keeps=True)
    sim.do(one, lambda it: it.connect(point(2), sim.now))
    sim.run(1.0)
    sim.do(one, lambda it: it.broadcast(b"sent", sim.now))
    sim.run(1.0)
    assert third.items[-1].message == b"sent"


def test_no_room_at_the_socket_ends_a_turn():
    limits = attrs.evolve(IDLE, max_upload_speed=100)
    met = pair(limits=limits)
    sim, one = met.sim, met.one
    one.node.send(identity(1).peer_id, b"waits", sim.now)
    command = one.node.next_command()
    assert one.node.data_to_send(command.link, 0, sim.now) == b""
    assert one.node.next_command() is None
    one.node.writable(command.link, sim.now)
    assert one.node.next_command() == command


def test_a_candidate_that_is_banned_while_it_waits_its_turn_is_passed_over():
    limits = attrs.evolve(
        SMALL, expected_connections=60, max_connections=60, min_connections=50
    )
    made = node(0, *range(1, 60), limits=limits)
    made.start(0.0, 0.0)
    links = []
    while (command := made.next_command()) is not None:
        if isinstance(command, Dial):
            links.append(command)
    waiting = [p for p, info in made.pool.known_points.items() if info.link is None]
    assert waiting
    for each in waiting:
        made.acl.ban(each.address)
    made.link_lost(links[0].link, errno.ECONNREFUSED, 0.0)
    assert made.next_command() is None
    assert made.census()[State.DIALLING] == len(links) - 1


def test_a_swap_that_cannot_be_dialled_has_failed(monkeypatch, swapping):
    for host in swapping.hosts:
        events(host)
    refused = P2pError(ErrorKind.POINT_BANNED)
    monkeypatch.setattr(Reception, "dial", lambda *_: refused)
    monkeypatch.setattr(Swaps, "may_steer", lambda *_: True)  # places may all be taken
    swapping.run(150.0)
    told = [type(event) for host in swapping.hosts for event in events(host)]
    assert SwapFailure in told
    assert SwapSuccess not in told


# -- small questions -------------------------------------------------------------------


def test_a_datagram_from_nobody_teaches_nothing():
    made = node(0, nearby=True)
    made.start(0.0, 0.0)
    made.receive_datagram(b"hello?", point(1).address, 0.0)
    assert made.pool.known_points == {}
