"""What whole nodes do at each bound and one past it, and what must not happen there."""

from __future__ import annotations

import attrs
import pytest
from nodes import Sim, actives, identity, node, pair, point
from scenes import (
    IDLE,
    dial,
    idle_nodes,
    kinds,
    limits,
    messages,
    part,
    put,
    reasons,
    told,
)

from tezos_p2p.fsm.admission import State
from tezos_p2p.fsm.bandwidth import UNIT_MAX
from tezos_p2p.fsm.commands import Accept, Close, Dial, Read, Shout, Shut, Write
from tezos_p2p.fsm.inbox import Left, Message
from tezos_p2p.fsm.machine import LocalProtocolError
from tezos_p2p.fsm.maintenance import Drop
from tezos_p2p.fsm.point import State as PointState
from tezos_p2p.fsm.policy import Treatment
from tezos_p2p.fsm.prefix import Prefix
from tezos_p2p.fsm.surroundings import Surroundings
from tezos_p2p.spec.address import Address
from tezos_p2p.spec.datagram import DATAGRAM, Datagram
from tezos_p2p.spec.message import Bootstrap
from tezos_p2p.spec.point import ConnectionId, Point
from tezos_p2p.spec.pool_events import (
    AuthenticationFailed,
    BootstrapReceived,
    RequestRejected,
)
from tezos_p2p.spec.reasons import ErrorKind, Reason
from tezos_p2p.spec.version import MAINNET

ROOMY = limits(0, 16, 16, maintenance_idle_time=None)


def started(**settings):
    made = node(0, **{"limits": IDLE, **settings})
    made.start(0.0, 0.0)
    return made


def knock(made, remote, now):
    """Come and go at once; say whether anybody opened."""
    link = made.accept(remote, now)
    if link is not None:
        made.link_lost(link, None, now)
    return link is not None


def govern(sim, host, act):
    sim.do(host, lambda it: it.govern(act, sim.now))


# -- who may knock ---------------------------------------------------------------------


def test_a_prefix_may_knock_twenty_times_at_once_and_then_twice_a_second():
    made = started()
    ours = [Point(Address.parse(f"30.0.0.{host}"), 9732) for host in range(1, 40)]
    assert [knock(made, each, 0.0) for each in ours[:20]] == [True] * 20
    assert not knock(made, ours[20], 0.0)
    assert not knock(made, ours[21], 0.49)
    assert knock(made, ours[22], 0.5)
    assert not knock(made, ours[22], 0.5)
    assert knock(made, point(1), 0.5)
    assert made.refused[Reason.INCOMING_CONNECTION_TOO_MANY] == 3


@pytest.mark.parametrize("text", ["127.0.0.1:9732", "30.0.0.1:9732"])
def test_the_exempt_and_our_own_machine_may_knock_as_often_as_they_like(text):
    made = started()
    made.acl.allow(Address.parse("30.0.0.1"))
    assert all(knock(made, Point.parse(text), 0.0) for _ in range(50))


@pytest.mark.parametrize(
    ("most", "share"), [(0, 0), (1, 1), (3, 1), (7, 1), (8, 2), (12, 3)]
)
def test_a_prefix_holds_a_quarter_of_the_handshakes_but_one_in_any_case(most, share):
    made = started(limits=attrs.evolve(IDLE, max_incoming_connections=most))
    links = [made.accept(Point(point(1).address, port), 0.0) for port in range(1, 9)]
    assert len([link for link in links if link is not None]) == share
    taken = [link for link in links if link is not None]
    if taken:
        made.link_lost(taken[0], None, 0.0)
        assert made.accept(point(1), 0.0) is not None
        assert made.accept(point(1), 0.0) is None


def test_knocking_at_a_share_that_is_used_up_costs_as_much():
    made = started(limits=attrs.evolve(IDLE, max_incoming_connections=4))
    held = made.accept(point(1), 0.0)
    for _ in range(19):
        assert made.accept(point(1), 0.0) is None
    made.link_lost(held, None, 0.0)
    assert not knock(made, point(1), 0.0)
    assert knock(made, point(1), 0.5)


def test_who_is_not_let_in_pushes_nobody_out():
    made = started(limits=attrs.evolve(IDLE, max_incoming_connections=4))
    for _ in range(20):
        assert knock(made, point(1), 0.0)
    made.acl.allow(point(2).address)
    links = [made.accept(Point(point(2).address, port), 0.0) for port in range(1, 5)]
    assert None not in links
    assert made.accept(point(1), 0.0) is None
    assert made.census()[State.HANDSHAKING] == 4
    assert made.accept(point(3), 0.0) is not None
    assert made.census()[State.HANDSHAKING] == 4
    assert made.census()[State.LEAVING] == 1


def test_of_a_dial_to_a_banned_point_the_ban_is_what_is_told():
    made = started(limits=limits(0, 0, 0, maintenance_idle_time=None))
    assert made.connect(point(1), 0.0).kind is ErrorKind.TOO_MANY_CONNECTIONS
    made.acl.ban(point(1).address)
    assert made.connect(point(1), 0.0).kind is ErrorKind.POINT_BANNED
    assert point(1) not in made.pool.known_points


# -- who is admitted -------------------------------------------------------------------


def test_the_untrusted_are_sent_away_at_once_in_private_mode():
    sim = Sim(1)
    shy = sim.add(point(0), node(0, limits=IDLE, private_mode=True))
    guest = sim.add(point(1), node(1, limits=IDLE), keeps=True)
    dial(sim, guest, 0)
    sim.run(1.0)
    assert shy.node.refused == {Reason.AUTHENTICATION_REJECTED_ERROR: 1}
    assert sum(shy.node.census().values()) == 0
    assert not shy.node.acl.is_banned(point(1).address, sim.now)


def test_what_we_dialled_counts_and_not_the_port_that_they_announce():
    sim = Sim(1)
    (one,) = idle_nodes(sim, range(1))
    there = Point(point(1).address, 9999)
    sim.add(there, node(1, limits=IDLE))
    sim.do(one, lambda it: it.connect(there, sim.now))
    sim.run(1.0)
    known = one.node.pool.known_points
    assert known[there].state is PointState.RUNNING
    assert point(1) not in known


@pytest.mark.parametrize("why", ["nobody", "peer", "point", "address"])
def test_the_last_slots_are_for_the_trusted_and_the_exempt_as_well(why):
    sim = Sim(1, latency=(0.02, 0.02))
    (hub, *guests) = idle_nodes(sim, range(18), limits=ROOMY)
    for guest in guests[:15]:
        dial(sim, guest, 0)
    sim.run(1.0)
    assert hub.node.pool.active == 14
    acts = {
        "nobody": lambda _: [],
        "peer": lambda s: s.trust_peer(identity(16).peer_id, sim.now),
        "point": lambda s: s.trust_point(point(16), sim.now),
    }
    if why == "address":
        hub.node.acl.allow(point(16).address)
    else:
        govern(sim, hub, acts[why])
    dial(sim, guests[15], 0)
    sim.run(1.0)
    assert hub.node.pool.active == (14 if why == "nobody" else 15)


def test_a_list_of_points_in_refusals_is_drawn_anew_after_a_second():
    made = started()
    for number in range(1, 80):
        made.pool.register_point(point(number), 0.0).known_public = True
    stranger = ConnectionId(point(90).address)
    listed = made._reception.chosen.points
    first = listed(stranger, 5.0)
    assert len(first) == 50
    assert listed(stranger, 5.99) == first
    assert listed(stranger, 6.0) != first


def test_who_is_banned_is_told_to_nobody_from_that_moment_on():
    made = started()
    for number in range(1, 10):
        made.pool.register_point(point(number), 0.0).known_public = True
    stranger = ConnectionId(point(90).address)
    assert point(3) in made._reception.chosen.points(stranger, 5.0)
    made.govern(lambda it: it.ban_address(point(3).address), 5.1)
    assert point(3) not in made._reception.chosen.points(stranger, 5.2)


# -- who comes and goes while nobody pulls ---------------------------------------------


def test_a_place_is_taken_until_the_application_was_told_that_it_is_free():
    one_place = limits(0, 1, 1, maintenance_idle_time=None)
    sim = Sim(1)
    hub = sim.add(point(0), node(0, limits=one_place), keeps=True)
    hub.pulls = False
    first, second = idle_nodes(sim, range(1, 3))
    dial(sim, first, 0)
    sim.run(1.0)
    sim.do(first, lambda it: it.send(identity(0).peer_id, b"unread", sim.now))
    sim.run(1.0)
    part(sim, first, 0)
    sim.run(1.0)
    assert hub.node.pool.active == 0
    dial(sim, second, 0)
    sim.run(1.0)
    assert hub.node.pool.active == 0
    refused = dial(sim, hub, 2)
    assert refused.kind is ErrorKind.TOO_MANY_CONNECTIONS
    hub.pulls = True
    sim.do(hub, lambda _: None)
    assert isinstance(hub.items[-1], Left)
    dial(sim, second, 0)
    sim.run(1.0)
    assert hub.node.pool.active == 1


def test_nothing_that_waits_anywhere_is_heard_of_whoever_talks_nonsense():
    tight = attrs.evolve(IDLE, incoming_app_message_queue_size=3)
    met = pair(limits=tight)
    sim, one, other = met.sim, met.one, met.other
    one.pulls = False
    for _ in range(9):
        sim.do(other, lambda it: it.broadcast(b"poison", sim.now))
    sim.run(1.0)
    (link,) = other.node.pool.running
    other.node._reception.connection(link)._out.put(b"\0\0\0\2\0\x07", b"")
    sim.do(other, lambda it: it.broadcast(b"late", sim.now))
    sim.run(1.0)
    assert one.node.acl.is_greylisted(point(1).address, sim.now)
    one.pulls = True
    sim.do(one, lambda _: None)
    sim.run(1.0)
    assert messages(one) == []
    assert isinstance(one.items[-1], Left)


# -- what is told ----------------------------------------------------------------------


def test_only_a_handshake_that_went_wrong_is_an_authentication_that_failed():
    nobody = limits(0, 0, 0, maintenance_idle_time=None)
    sim = Sim(1)
    hub = sim.add(point(0), node(0, limits=nobody), keeps=True)
    (guest,) = idle_nodes(sim, range(1, 2))
    dial(sim, guest, 0)
    sim.run(1.0)
    for host in (hub, guest):
        assert {AuthenticationFailed, RequestRejected}.isdisjoint(kinds(host))
    dial(sim, guest, 7)  # nobody is there
    sim.run(1.0)
    assert {AuthenticationFailed, RequestRejected}.isdisjoint(kinds(guest))


def test_whom_we_accepted_in_vain_is_told_if_they_came_to_us():
    sim = Sim(1)
    hub, guest = idle_nodes(sim, range(2))
    dial(sim, guest, 0)
    for _ in range(100):
        sim.run(0.001)
        if hub.node.census()[State.ACCEPTED]:
            break
    sim.kill(guest)
    sim.run(1.0)
    (event,) = [event for event in told(hub) if type(event) is RequestRejected]
    assert event.peer_id == identity(1).peer_id
    assert event.id_point.port == point(1).port


# -- what others may make us forget ----------------------------------------------------


def test_of_a_dial_to_ourselves_only_what_was_dialled_is_our_own():
    sim = Sim(1)
    (one,) = idle_nodes(sim, range(1))
    dial(sim, one, 0)
    sim.run(1.0)
    assert list(one.node.pool._own) == [point(0)]


def exchange(one, other, source):
    """Have ``other`` dial ``one``, which sees it come from ``source``."""
    out = other.connect(point(0), 0.0)
    inside = one.accept(source, 0.0)
    other.link_made(out, 0.0)
    ways = ((other, out, one, inside), (one, inside, other, out))
    for giver, link, taker, there in ways * 5:
        while (command := giver.next_command()) is not None:
            if isinstance(command, Write):
                data = giver.data_to_send(link, 1 << 16, 0.0)
                taker.receive_data(there, data, 0.0)
            elif isinstance(command, Shut):
                taker.receive_data(there, b"", 0.0)


def test_who_comes_from_another_network_makes_us_forget_no_point():
    one, other = node(0, limits=IDLE), node(1, limits=IDLE, network=MAINNET)
    one.start(0.0, 0.0), other.start(0.0, 0.0)
    one.pool.register_point(point(1), 0.0)
    exchange(one, other, point(1))
    assert one.refused == {Reason.AUTHENTICATION_REJECTED_NO_COMMON_PROTOCOL: 1}
    assert point(1) in one.pool.known_points


# -- bans ------------------------------------------------------------------------------


def three():
    """Return a node with three guests, of which the last keeps its port to itself."""
    sim = Sim(1)
    hub, *guests = idle_nodes(sim, range(3))
    guests.append(sim.add(point(3), node(3, limits=IDLE, port=0), keeps=True))
    for guest in guests:
        dial(sim, guest, 0)
    sim.run(1.0)
    assert hub.node.pool.active == 3
    return sim, hub


def here(host):
    return {running.peer.peer_id for running in host.node.pool.running.values()}


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("peers", [True, False])
@pytest.mark.parametrize("kind", ["address", "prefix"])
def test_a_ban_of_an_address_concerns_who_is_there_and_nobody_else(number, peers, kind):
    sim, hub = three()
    address = point(number).address
    where = address if kind == "address" else Prefix.of(address, 120)
    everybody = {identity(n).peer_id for n in (1, 2, 3)}
    gone = identity(number).peer_id
    if peers:
        govern(sim, hub, lambda s: s.ban_address(where))
    else:
        govern(sim, hub, lambda s: s.ban_address(where, peers=False))
    sim.run(1.0)
    assert here(hub) == everybody - {gone}
    assert reasons(hub) == [Reason.IP_MANUALLY_BANNED]
    banned = {it for it in everybody if hub.node.acl.is_peer_banned(it, sim.now)}
    assert banned == ({gone} if peers else set())


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_ban_of_a_peer_concerns_that_peer_and_nobody_else(number):
    sim, hub = three()
    everybody, gone = here(hub), identity(number).peer_id
    govern(sim, hub, lambda s: s.ban_peer(gone))
    sim.run(1.0)
    assert here(hub) == everybody - {gone}
    assert reasons(hub) == [Reason.PEER_ID_MANUALLY_BANNED]
    assert not hub.node.acl.is_banned(point(number).address, sim.now)


def test_to_open_a_peer_or_a_point_lifts_its_ban():
    sim = Sim(1)
    hub, guest = idle_nodes(sim, range(2))
    for ban, lift in (
        (
            lambda s: s.ban_peer(identity(1).peer_id),
            lambda s: s.open_peer(identity(1).peer_id),
        ),
        (
            lambda s: s.ban_address(point(1).address),
            lambda s: s.open_point(point(1)),
        ),
    ):
        govern(sim, hub, ban)
        dial(sim, guest, 0)
        sim.run(1.0)
        assert actives(sim) == [0, 0]
        govern(sim, hub, lift)
        dial(sim, guest, 0)
        sim.run(1.0)
        assert actives(sim) == [1, 1]
        part(sim, guest, 0)
        sim.run(1.0)


def test_who_is_connected_stays_so_when_its_point_is_trusted():
    met = pair()
    govern(met.sim, met.one, lambda s: s.trust_point(point(1), met.sim.now))
    met.sim.run(1.0)
    assert actives(met.sim) == [1, 1]
    assert not met.one.node.acl.is_banned(point(1).address, met.sim.now)


# -- a node as a whole -----------------------------------------------------------------


def test_a_start_that_is_refused_changes_nothing():
    made = started(trusted=(1,))
    made.govern(lambda s: s.untrust_point(point(1)), 0.0)
    with pytest.raises(LocalProtocolError):
        made.start(1.0, 1.0)
    assert not made.pool.known_points[point(1)].trusted
    never = node(0, limits=IDLE, trusted=(1,))
    never.stop(0.0)
    with pytest.raises(LocalProtocolError):
        never.start(1.0, 1.0)
    assert never.pool.known_points == {}


def test_what_maintenance_ends_is_told_to_all_in_the_same_step():
    met = pair()
    one, now = met.one.node, met.sim.now
    (link,) = one.pool.running
    one.maintenance._commands.append(Drop(link))
    one.handle_timeout(now)
    assert one.pool.active == 0
    assert one.next_event() is not None
    assert one._reception.next_fact() is None


def test_greylistings_that_are_over_are_forgotten_by_maintenance():
    made = started(limits=limits(0, 0, 9, maintenance_idle_time=120.0))
    made.acl.greylist(point(1).address, 0.0)
    for now in (86_399.0, 86_600.0):
        made.handle_timeout(now)
        assert made.acl.collect(now) == 0
    assert made.acl.greylisted_addresses(86_399.0) == []


def test_a_stopped_node_shuts_its_door_and_dials_nobody():
    made = node(0, 1)
    made.start(0.0, 0.0)
    assert [each for each in orders(made) if isinstance(each, Accept)] == [Accept(True)]
    made.stop(1.0)
    assert [each for each in orders(made) if isinstance(each, Accept)] == [Accept(False)]
    assert made.accept(point(2), 1.0) is None
    with pytest.raises(LocalProtocolError):
        made.connect(point(2), 1.0)


def orders(made):
    return list(iter(made.next_command, None))


def test_after_each_input_nothing_is_left_to_be_moved():
    def settled(host):
        it = host.node
        assert not it._reception.facts
        assert it.maintenance.next_command() is None
        assert it._answerer.next_command() is None
        assert it._answerer.next_event() is None

    sim = Sim(3, after_step=settled)
    own = limits(1, 4, 7, maintenance_idle_time=20.0, swap_linger=1.0)
    for number in range(12):
        sim.add(point(number), node(number, 0, limits=own))
    sim.run(120.0)
    assert all(active >= 2 for active in actives(sim))


def test_a_link_that_is_about_to_end_carries_no_message_of_this_layer():
    met = pair(limits=attrs.evolve(IDLE, max_upload_speed=1))
    sim, one = met.sim, met.one
    (link,) = one.node.pool.running
    assert one.node._reception.put(link, Bootstrap(), sim.now)
    assert not one.node._reception.put(link + 1, Bootstrap(), sim.now)
    them = identity(1).peer_id
    sim.do(one, lambda it: it.send(them, bytes(10_000), sim.now))
    assert one.node.disconnect(them, sim.now, deadline=sim.now + 60.0)
    assert link in one.node.pool.running
    assert not one.node._reception.put(link, Bootstrap(), sim.now)


def test_what_waits_for_its_time_is_answered_beside_discovery_as_well():
    met = pair(limits=limits(0, 4, 7), nearby=True)
    sim, one, other = met.sim, met.one, met.other
    other.node.pool.register_point(point(5), sim.now).known_public = True
    kinds(one), kinds(other)
    for _ in range(2):
        put(sim, one, 1, Bootstrap())
    sim.run(1.0)
    assert kinds(other).count(BootstrapReceived) == 2
    assert other.node._answerer.next_timeout() is None


def test_news_are_looked_at_at_once_and_what_is_none_is_not(monkeypatch):
    looks = []
    candidates = Surroundings.candidates

    def counted(self, *args):
        looks.append(args)
        return candidates(self, *args)

    monkeypatch.setattr(Surroundings, "candidates", counted)
    made = node(0, nearby=True)
    made.start(0.0, 0.0)
    assert made.maintenance.state.name == "ASKING"
    before = len(looks)
    told_of = DATAGRAM.encode(Datagram(identity(1).peer_id, 9732))
    made.receive_datagram(b"nothing", point(1).address, 1.0)
    assert len(looks) == before
    made.receive_datagram(told_of, point(1).address, 1.0)
    assert len(looks) == before + 1
    assert [each.point for each in orders(made) if isinstance(each, Dial)] == [point(1)]
    made.receive_datagram(told_of, point(1).address, 2.0)
    assert len(looks) == before + 1


# -- commands to the driver ------------------------------------------------------------


def test_one_write_is_asked_for_until_its_bytes_are_taken():
    met = pair()
    sim, one = met.sim, met.one
    them = identity(1).peer_id
    for _ in range(3):
        assert one.node.send(them, b"x", sim.now)
    (write,) = orders(one.node)
    assert isinstance(write, Write)
    assert one.node.data_to_send(write.link, 0, sim.now) == b""
    assert one.node.send(them, b"x", sim.now)
    assert orders(one.node) == []  # the socket takes no more
    one.node.writable(write.link, sim.now)
    assert orders(one.node) == [write]


@pytest.mark.parametrize("cap", [None, 64])
def test_a_link_is_shut_and_closed_once(cap):
    commands = []

    class Listening(Sim):
        def _carry_out(self, host, command):
            commands.append((host.number, command))
            super()._carry_out(host, command)

    own = attrs.evolve(IDLE, max_upload_speed=cap, max_download_speed=cap)
    sim = Listening(1)
    one, other = idle_nodes(sim, range(2), limits=own)
    them = identity(1).peer_id
    for _ in range(3):
        dial(sim, one, 1)
        sim.run(1.0)
        for host in (one, other):
            sim.do(host, lambda it: it.broadcast(bytes(20_000), sim.now))
        sim.do(one, lambda it: it.disconnect(them, sim.now, deadline=sim.now + 5.0))
        sim.run(6.0)
        assert actives(sim) == [0, 0]
        assert one.node.next_timeout() is None
        assert other.node.next_timeout() is None
    for kind, most in ((Shut, 6), (Close, 6)):
        ends = [(number, it.link) for number, it in commands if isinstance(it, kind)]
        assert len(ends) == len(set(ends)) <= most
    assert len(ends) == 6


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_cap_of_one_peer_holds_where_nothing_else_is_capped(way):
    poor = Treatment(**{f"cap_{way}": 10_240})

    def policy(metadata, score, trusted):  # a policy's signature
        return Treatment() if score >= 1.0 else poor

    sim = Sim(1)
    hub = sim.add(point(0), node(0, limits=IDLE, policy=policy), keeps=True)
    guests = idle_nodes(sim, range(1, 3))
    for guest in guests:
        dial(sim, guest, 0)
    sim.run(1.0)
    them = identity(1).peer_id
    sim.do(hub, lambda it: it.update_metadata(them, lambda _: 0.0, sim.now))
    for _ in range(40):
        if way == "up":
            sim.do(hub, lambda it: it.broadcast(bytes(10_000), sim.now))
        else:
            for guest in guests:
                sim.do(guest, lambda it: it.broadcast(bytes(10_000), sim.now))
    got = []
    for _ in range(20):
        sim.run(1.0)
        if way == "up":
            got.append([sum(map(len, messages(guest))) for guest in guests])
        else:
            said = [item for item in hub.items if type(item) is Message]
            sums = dict.fromkeys((identity(1).peer_id, identity(2).peer_id), 0)
            for item in said:
                sums[item.peer_id] += len(item.message)
            got.append(list(sums.values()))
    assert got[0][1] == 400_000
    assert 10 * 10_240 <= got[19][0] <= 20 * 10_240 + 2 * 65_535


def test_trust_changes_the_treatment_at_once():
    def policy(metadata, score, trusted):  # a policy's signature
        return Treatment() if trusted else Treatment(cap_up=1024)

    met = pair(policy=policy)
    sim, one, other = met.sim, met.one, met.other
    for _ in range(20):
        sim.do(one, lambda it: it.broadcast(bytes(10_000), sim.now))
    sim.run(5.0)
    assert len(messages(other)) < 20
    govern(sim, one, lambda s: s.trust_peer(identity(1).peer_id, sim.now))
    sim.run(1.0)
    assert len(messages(other)) == 20


def test_under_a_cap_one_link_has_its_turn_at_a_time():
    sim = Sim(1)
    hub, *guests = idle_nodes(
        sim, range(3), limits=attrs.evolve(IDLE, max_upload_speed=100)
    )
    for guest in guests:
        dial(sim, guest, 0)
    sim.run(1.0)
    it = hub.node
    assert it.broadcast(b"x", sim.now) == 2
    (first,) = orders(it)
    assert isinstance(first, Write)
    assert it.data_to_send(first.link, 0, sim.now) == b""  # its socket takes no more
    (second,) = orders(it)
    assert isinstance(second, Write)
    assert second.link != first.link
    assert it.data_to_send(second.link, 1 << 16, sim.now)
    assert orders(it) == []
    it.writable(first.link, sim.now)
    assert orders(it) == [first]


def test_a_read_is_asked_for_if_it_was_refused_and_may_be_done_now():
    met = pair()
    (link,) = met.one.node.pool.running
    assert met.one.node.read_allowance(link, met.sim.now) > 0
    met.one.node.send(identity(1).peer_id, b"x", met.sim.now)
    assert [each for each in orders(met.one.node) if isinstance(each, Read)] == []

    met = pair(limits=attrs.evolve(IDLE, max_download_speed=1))
    sim, one, other = met.sim, met.one, met.other
    sim.do(other, lambda it: it.broadcast(bytes(30_000), sim.now))
    (link,) = one.node.pool.running
    sim.run(0.5)
    assert one.node.read_allowance(link, sim.now) == 0
    one.node.send(identity(1).peer_id, b"x", sim.now)
    assert [each for each in orders(one.node) if isinstance(each, Read)] == []
    at = one.node.next_timeout()
    assert at > sim.now
    one.node.handle_timeout(at)
    assert orders(one.node) == [Read(link)]
    assert 0 < one.node.read_allowance(link, at) <= UNIT_MAX


def test_what_an_application_pulls_lets_its_peer_be_read_on():
    met = pair(
        limits=attrs.evolve(
            IDLE, incoming_app_message_queue_size=2, incoming_message_queue_size=5000
        )
    )
    sim, one, other = met.sim, met.one, met.other
    (link,) = one.node.pool.running
    one.pulls = False
    for _ in range(10):
        sim.do(other, lambda it: it.broadcast(bytes(4000), sim.now))
    sim.run(1.0)
    assert one.node.read_allowance(link, sim.now) == 0
    assert orders(one.node) == []
    asked = []
    for _ in range(4):
        while one.node.receive() is not None:
            asked += orders(one.node)
        one.node.handle_timeout(sim.now)
        asked += orders(one.node)
    assert asked == [Read(link)]
    assert one.node.read_allowance(link, sim.now) > 0
    one.node.disconnect(identity(1).peer_id, sim.now)
    assert one.node.read_allowance(link, sim.now) == 0


def test_a_link_that_was_starved_once_is_read_on_after_a_full_queue_as_well():
    met = pair(
        limits=attrs.evolve(
            IDLE,
            max_download_speed=16,
            incoming_app_message_queue_size=2,
            incoming_message_queue_size=30_000,
        )
    )
    sim, one, other = met.sim, met.one, met.other
    for _ in range(60):
        sim.do(other, lambda it: it.broadcast(bytes(4000), sim.now))
    for _ in range(30):
        one.pulls = False
        sim.run(5.0)
        one.pulls = True
        sim.do(one, lambda _: None)
        sim.run(0.1)
    assert len(messages(one)) == 60


@pytest.mark.parametrize("case", ["private", "without maintenance"])
def test_who_hides_or_needs_nobody_neither_announces_itself_nor_hears_of_neighbours(case):
    private = case == "private"
    own = limits(1, 2, 4) if private else IDLE
    made = started(limits=own, nearby=True, private_mode=private)
    data = DATAGRAM.encode(Datagram(identity(1).peer_id, 9732))
    made.receive_datagram(data, point(1).address, 0.5)
    told, now = [], 0.0
    while now is not None and now < 60.0:
        made.handle_timeout(now)
        told += [each for each in orders(made) if isinstance(each, Shout)]
        now = made.next_timeout()
    assert told == []
    assert point(1) not in made.pool.known_points


def test_a_node_goes_on_announcing_itself():
    made = started(limits=limits(0, 0, 4), nearby=True)
    shouts, now = [], 0.0
    while now < 6.0:
        shouts += [now for each in orders(made) if isinstance(each, Shout)]
        now = made.next_timeout()
        made.handle_timeout(now)
    assert shouts == pytest.approx([0.0, 0.1, 0.3, 0.7, 1.5, 3.1])
