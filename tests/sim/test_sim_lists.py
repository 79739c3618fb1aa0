"""Bans, greylists, trust and expected peers of whole nodes, in every state of a link."""

from __future__ import annotations

import itertools
import json

import attrs
import pytest
from nodes import SMALL, Sim, actives, identity, node, pair, point
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
    reasons,
    told,
)

from tezos_p2p.fsm.admission import State
from tezos_p2p.fsm.inbox import Joined, Left
from tezos_p2p.io.peers_file import MetadataJson, save_peers
from tezos_p2p.io.timestamps import Clocks
from tezos_p2p.spec.message import Disconnect
from tezos_p2p.spec.point import Point
from tezos_p2p.spec.pool_events import AuthenticationFailed, RejectingRequest
from tezos_p2p.spec.reasons import ErrorKind, Reason
from tezos_p2p.spec.version import Network

BANS = {
    "address": lambda steward: steward.ban_address(point(1).address),
    "peer": lambda steward: steward.ban_peer(identity(1).peer_id),
}
UNBANS = {
    "address": lambda steward: steward.unban_address(point(1).address),
    "peer": lambda steward: steward.unban_peer(identity(1).peer_id),
}
FLIGHT = 0.02


def two(**settings):
    """Return two nodes at a fixed distance."""
    sim = Sim(1, latency=(FLIGHT, FLIGHT))
    one, other = idle_nodes(sim, range(2), **settings)
    return sim, one, other


def govern(sim, host, act):
    sim.do(host, lambda it: it.govern(act, sim.now))


def trust(sim, host, number):
    govern(sim, host, lambda s: s.trust_point(point(number), sim.now))


def untrust(sim, host, number):
    govern(sim, host, lambda s: s.untrust_point(point(number)))


def expect(sim, host, number, peer_id):
    govern(sim, host, lambda s: s.expect(point(number), peer_id, sim.now))


# -- bans x states of a link -----------------------------------------------------------


@pytest.mark.parametrize("outgoing", [True, False])
@pytest.mark.parametrize("ban", BANS)
def test_a_ban_at_any_moment_leaves_no_connection_and_nothing_held(ban, outgoing):
    states = set()
    for step in range(16):
        sim, one, other = two()
        dial(sim, *((one, 1) if outgoing else (other, 0)))
        sim.run(step * FLIGHT / 2)
        states |= {state for state, count in one.node.census().items() if count}
        govern(sim, one, BANS[ban])
        sim.run(3.0)
        assert actives(sim) == [0, 0]
        for host in (one, other):
            assert sum(host.node.census().values()) == 0
        info = one.node.pool.known_points.get(point(1))
        assert info is None or info.link is None
        assert Joined not in map(type, one.items) or isinstance(one.items[-1], Left)
    wanted = {State.HANDSHAKING, State.RUNNING} | (
        {State.DIALLING} if outgoing else set()
    )
    assert wanted <= states


@pytest.mark.parametrize("ban", BANS)
def test_who_is_banned_twice_needs_to_be_unbanned_only_once(ban):
    sim, one, other = two()
    govern(sim, one, BANS[ban])
    govern(sim, one, BANS[ban])
    dial(sim, other, 0)
    sim.run(1.0)
    assert actives(sim) == [0, 0]
    govern(sim, one, UNBANS[ban])
    dial(sim, other, 0)
    sim.run(1.0)
    assert actives(sim) == [1, 1]


@pytest.mark.parametrize("ban", BANS)
def test_a_ban_takes_trust_away_and_unbanning_does_not_give_it_back(ban):
    sim, one, _ = two()
    peer_id = identity(1).peer_id
    trusts = (
        lambda s: s.trust_point(point(1), 0.0),
        lambda s: s.trust_peer(peer_id, 0.0),
    )
    for act in trusts:
        govern(sim, one, act)
    trusted = {"address": one.node.pool.known_points[point(1)]}
    trusted["peer"] = one.node.pool.known_peers[peer_id]
    govern(sim, one, BANS[ban])
    assert not trusted[ban].trusted
    govern(sim, one, UNBANS[ban])
    assert not trusted[ban].trusted


@pytest.mark.parametrize("ban", BANS)
def test_trust_lifts_a_ban_and_a_greylisting(ban):
    sim, one, other = two()
    address, peer_id = point(1).address, identity(1).peer_id
    acts = {
        "address": lambda s: s.trust_point(point(1), sim.now),
        "peer": lambda s: s.trust_peer(peer_id, sim.now),
    }
    govern(sim, one, BANS[ban])
    if ban == "peer":
        one.node.acl.greylist_peer(peer_id, sim.now)
    else:
        one.node.acl.greylist(address, sim.now)
    govern(sim, one, acts[ban])
    dial(sim, other, 0)
    sim.run(1.0)
    assert actives(sim) == [1, 1]


def test_unbanning_lifts_a_greylisting_as_well():
    sim, one, other = two()
    one.node.acl.greylist(point(1).address, 0.0)
    one.node.acl.greylist_peer(identity(1).peer_id, 0.0)
    for unban in UNBANS.values():
        govern(sim, one, unban)
    dial(sim, other, 0)
    sim.run(1.0)
    assert actives(sim) == [1, 1]


def test_trust_lets_nobody_through_a_greylisting():
    sim, one, other = two(trusted=(0, 1))
    one.node.acl.greylist(point(1).address, 0.0)
    dial(sim, other, 0)
    sim.run(1.0)
    assert actives(sim) == [0, 0]
    assert dial(sim, one, 1).kind is ErrorKind.POINT_BANNED


def test_a_greylisting_alone_ends_no_connection():
    met = pair()
    met.one.node.acl.greylist(point(1).address, met.sim.now)
    met.one.node.acl.greylist_peer(identity(1).peer_id, met.sim.now)
    met.sim.run(60.0)
    assert actives(met.sim) == [1, 1]


def test_a_dial_to_a_banned_peer_leaves_its_point_free_to_be_dialled():
    sim, one, _ = two()
    govern(sim, one, BANS["peer"])
    dial(sim, one, 1)
    sim.run(1.0)
    assert actives(sim) == [0, 0]
    info = one.node.pool.known_points[point(1)]
    assert info.link is None
    assert info.may_dial(sim.now + 10.0)
    assert isinstance(dial(sim, one, 1), int)


def test_what_a_banned_peer_has_said_is_not_delivered_even_from_the_inbox():
    met = pair()
    sim, one, other = met.sim, met.one, met.other
    one.pulls = False
    for _ in range(30):
        sim.do(other, lambda it: it.send(identity(0).peer_id, b"poison", sim.now))
    sim.run(1.0)
    assert one.node.readable
    govern(sim, one, BANS["peer"])
    one.pulls = True
    sim.do(one, lambda it: None)
    sim.run(1.0)
    assert messages(one) == []
    assert reasons(one) == [Reason.PEER_ID_MANUALLY_BANNED]


def test_banned_points_are_told_to_nobody():
    full = attrs.evolve(
        IDLE, min_connections=2, expected_connections=2, max_connections=2
    )
    sim = Sim(1)
    hub = sim.add(point(0), node(0, limits=full))
    guests = idle_nodes(sim, range(1, 4))
    for guest in guests[:2]:
        dial(sim, guest, 0)
    sim.run(1.0)
    hub.node.acl.greylist(point(1).address, sim.now)  # stays connected
    dial(sim, guests[2], 0)
    sim.run(1.0)
    known = guests[2].node.pool.known_points
    assert point(2) in known
    assert point(1) not in known


# -- who is greylisted by itself -------------------------------------------------------


def test_garbage_on_the_port_bans_that_one_address_in_both_directions():
    sim = Sim(1)
    one = sim.add(point(0), node(0, limits=IDLE))
    neighbour = Point(point(1).address, 9733)
    sim.add(neighbour, node(1, limits=IDLE))
    link = one.node.accept(Point(point(1).address, 50_000), sim.now)
    sim.do(one, lambda it: it.receive_data(link, b"\x00\x0agarbage!!!", sim.now))
    assert kinds(one).count(AuthenticationFailed) == 1
    refused = sim.do(one, lambda it: it.connect(neighbour, sim.now))
    assert refused.kind is ErrorKind.POINT_BANNED
    assert not one.node.acl.is_banned(point(2).address, sim.now)
    assert not one.node.acl.is_peer_banned(identity(1).peer_id, sim.now)


def test_a_refusal_greylists_neither_side():
    full = attrs.evolve(
        IDLE, min_connections=0, expected_connections=0, max_connections=0
    )
    sim = Sim(1)
    hub = sim.add(point(0), node(0, limits=full))
    guest = sim.add(point(1), node(1, limits=IDLE))
    for _ in range(3):
        dial(sim, guest, 0)
        sim.run(1.0)
    assert not hub.node.acl.is_banned(point(1).address, sim.now)
    assert not guest.node.acl.is_banned(point(0).address, sim.now)


def test_a_peer_that_asks_to_be_disconnected_is_not_greylisted():
    met = pair()
    sim, one, other = met.sim, met.one, met.other
    link = other.node.pool.by_peer(identity(0).peer_id).link
    sim.do(other, lambda it: it._reception.put(link, Disconnect(), sim.now))
    sim.run(1.0)
    assert reasons(one) == [Reason.CONNECTION_CLOSED_BY_PEER]
    assert not one.node.acl.is_banned(point(1).address, sim.now)
    assert not one.node.acl.is_peer_banned(identity(1).peer_id, sim.now)


def test_handshakes_that_are_late_or_broken_off_greylist_nobody():
    made = node(0, limits=IDLE)
    made.start(0.0, 0.0)
    made.accept(point(1), 0.0)
    made.handle_timeout(5.0)
    link = made.accept(point(2), 5.0)
    made.receive_data(link, b"", 5.0)
    link = made.accept(point(3), 5.0)
    made.link_lost(link, 104, 5.0)
    for number in (1, 2, 3):
        assert not made.acl.is_banned(point(number).address, 5.0)


# -- networks and versions -------------------------------------------------------------


def test_nodes_of_two_networks_refuse_each_other_and_others_there_are_still_welcome():
    sim = Sim(1)
    here, there = Network("HERE"), Network("THERE")
    one = sim.add(point(0), node(0, limits=IDLE, network=here))
    other = sim.add(point(1), node(1, limits=IDLE, network=there))
    roommate = Point(point(1).address, 9733)
    sim.add(roommate, node(2, limits=IDLE, network=here, port=9733))
    dial(sim, other, 0)
    sim.run(1.0)
    why = Reason.AUTHENTICATION_REJECTED_NO_COMMON_PROTOCOL
    for host, number in ((one, 1), (other, 0)):
        (refused,) = [it for it in told(host) if type(it) is RejectingRequest]
        assert refused.peer_id == identity(number).peer_id
        assert host.node.refused == {why: 1}
    assert actives(sim) == [0, 0, 0]
    sim.do(one, lambda it: it.connect(roommate, sim.now))
    sim.run(1.0)
    assert actives(sim) == [1, 0, 1]


def test_old_and_new_versions_without_overlap_part_and_forget_each_other():
    sim = Sim(1)
    old = Network("N", p2p_versions=(0,))
    new = Network("N", p2p_versions=(1,))
    target = sim.add(point(0), node(0, limits=IDLE, network=old))
    client = sim.add(point(1), node(1, limits=IDLE, network=new))
    dial(sim, client, 0)
    sim.run(1.0)
    why = Reason.AUTHENTICATION_REJECTED_NO_COMMON_PROTOCOL
    assert client.node.refused == {why: 1}
    # A new version can be talked to in the old way, as far as the old node knows.
    assert target.node.refused == {Reason.AUTHENTICATION_REJECTED_BY_PEER: 1}
    assert point(0) not in client.node.pool.known_points


# -- trust -----------------------------------------------------------------------------


def test_trust_outlives_a_connection():
    sim, one, other = two(trusted=(0, 1))
    govern(sim, one, lambda s: s.trust_peer(identity(1).peer_id, sim.now))
    for _ in range(3):
        dial(sim, other, 0)
        sim.run(1.0)
        assert all(it.trusted for it in one.node.pool.running.values())
        part(sim, one, 1)
        sim.run(1.0)
    assert one.node.pool.known_points[point(1)].trusted
    assert one.node.pool.known_peers[identity(1).peer_id].trusted


def test_trusted_points_survive_a_table_without_room():
    sim = Sim(1)
    none = attrs.evolve(IDLE, max_known_points=(0, 0), max_known_peer_ids=(0, 0))
    one = sim.add(point(0), node(0, limits=none))
    for number in range(1, 7):
        trust(sim, one, number)
    assert set(one.node.pool.known_points) == {point(n) for n in range(1, 7)}
    govern(sim, one, lambda s: s.trust_peer(identity(9).peer_id, sim.now))
    guests = idle_nodes(sim, range(10, 13))
    for guest in guests:
        dial(sim, guest, 0)
        sim.run(1.0)
        part(sim, guest, 0)
        sim.run(1.0)
    assert {point(n) for n in range(1, 7)} < set(one.node.pool.known_points)
    assert identity(9).peer_id in one.node.pool.known_peers
    assert len(one.node.pool.known_points) == 7


def test_points_that_are_trusted_no_more_make_room():
    sim = Sim(1)
    none = attrs.evolve(IDLE, max_known_points=(0, 0))
    one = sim.add(point(0), node(0, limits=none))
    for number in range(1, 5):
        trust(sim, one, number)
    for number in range(2, 5):
        untrust(sim, one, number)
    govern(sim, one, lambda s: s.trust_point(point(5), sim.now))
    assert set(one.node.pool.known_points) == {point(1), point(5)}


def test_a_ring_of_trust_becomes_a_clique_in_which_each_trusts_one():
    sim = Sim(3)
    own = limits(4, 4, 5, maintenance_idle_time=5.0, swap_linger=None)
    hosts = [sim.add(point(n), node(n, limits=own)) for n in range(5)]
    assert all(host.node.pool.known_points == {} for host in hosts)
    for host in hosts:
        trust(sim, host, (host.number + 1) % 5)
    sim.run(60.0)
    assert actives(sim) == [4] * 5
    for host in hosts:
        pool = host.node.pool
        others = {point(n) for n in range(5)} - {host.point}
        assert {p for p, info in pool.known_points.items() if info.trusted} == {
            point((host.number + 1) % 5)
        }
        assert set(pool.known_points) - {host.point} == others
        assert host.point not in {it.point.point for it in pool.running.values()}


# -- who is expected -------------------------------------------------------------------


@pytest.mark.parametrize("outgoing", [True, False])
@pytest.mark.parametrize("expected", [1, 7])
def test_only_who_is_expected_at_a_point_is_admitted_there(expected, outgoing):
    sim, one, other = two()
    peer_id = identity(expected).peer_id
    one.node.pool.register_point(point(1), sim.now, expected=peer_id)
    dial(sim, *((one, 1) if outgoing else (other, 0)))
    sim.run(1.0)
    came = expected == 1
    assert actives(sim) == [int(came)] * 2
    if not came:
        assert one.items == []
        assert one.node.refused == {Reason.AUTHENTICATION_REJECTED_ERROR: 1}
        assert not one.node.acl.is_banned(point(1).address, sim.now)
        assert identity(1).peer_id not in one.node.pool.known_peers


def test_to_expect_another_than_who_is_there_ends_the_connection():
    sim = Sim(2)
    clique = idle_nodes(sim, range(5))
    for one, other in itertools.combinations(range(5), 2):
        dial(sim, clique[one], other)
    sim.run(1.0)
    assert actives(sim) == [4] * 5

    def expect_next(offset):
        for host in clique:
            number = (host.number + 1) % 5
            wanted = identity(number + offset).peer_id
            expect(sim, host, number, wanted)
            assert host.node.pool.known_points[point(number)].expected == wanted
        sim.run(1.0)

    expect_next(0)
    assert actives(sim) == [4] * 5
    expect_next(40)
    assert actives(sim) == [2] * 5
    for host in clique:
        number = host.number
        # Its next, whom it does not expect, and its last, that does not expect it.
        assert neighbours(sim, host) == {(number + 2) % 5, (number + 3) % 5}
        assert sorted(map(str, reasons(host))) == sorted(
            map(str, (Reason.UNEXPECTED_PEER_ID, Reason.CONNECTION_CLOSED_BY_PEER))
        )


def test_a_new_identity_at_a_known_point_is_another_peer_at_the_same_point():
    sim = Bad(1)
    one = sim.add(point(0), node(0, limits=IDLE), keeps=True)
    other = sim.add(point(1), node(1, limits=IDLE))
    dial(sim, one, 1)
    sim.run(1.0)
    sim.kill(other)
    sim.run(1.0)
    sim.add(point(1), node(2, limits=IDLE))
    dial(sim, one, 1)
    sim.run(1.0)
    assert one.node.pool.active == 1
    info = one.node.pool.known_points[point(1)]
    assert info.peer_id == identity(2).peer_id
    assert len(one.node.pool.known_peers) == 2
    assert reasons(one) == [Reason.CONNECTION_CLOSED_BY_PEER]


def test_a_peer_that_moves_is_refused_until_its_old_connection_is_over():
    sim = Sim(1)
    one = sim.add(point(0), node(0, limits=IDLE))
    first = sim.add(point(1), node(1, limits=IDLE))
    dial(sim, first, 0)
    sim.run(1.0)
    moved = sim.add(point(2), node(1, limits=IDLE))
    dial(sim, moved, 0)
    sim.run(1.0)
    assert actives(sim) == [1, 1, 0]
    part(sim, first, 0)
    sim.run(1.0)
    dial(sim, moved, 0)
    sim.run(1.0)
    assert actives(sim) == [1, 0, 1]
    (running,) = one.node.pool.running.values()
    assert running.id_point.address == point(2).address


# -- ports -----------------------------------------------------------------------------


def test_the_port_that_is_announced_is_the_one_that_is_remembered():
    sim = Sim(1)
    one = sim.add(point(0), node(0, limits=IDLE))
    other = sim.add(point(1), node(1, limits=IDLE, port=7777))
    dial(sim, other, 0)
    sim.run(1.0)
    sim.kill(other)
    sim.run(1.0)
    known = one.node.pool.known_peers[identity(1).peer_id]
    assert known.last_established.id_point.port == 7777
    assert Point(point(1).address, 7777) in one.node.pool.known_points


def test_the_port_that_is_announced_is_the_one_in_the_file_of_peers(tmp_path):
    sim = Sim(1)
    one = sim.add(point(0), node(0, limits=IDLE))
    other = sim.add(point(1), node(1, limits=IDLE, port=7777))
    dial(sim, other, 0)
    sim.run(1.0)
    path, clocks = tmp_path / "peers.json", Clocks(sim.now, 1.0e9 + sim.now)
    peers = one.node.pool.known_peers.values()
    save_peers(path, peers, clocks.wall_of, MetadataJson(float, float, float))
    (entry,) = json.loads(path.read_text())
    assert entry["peer_id"] == str(identity(1).peer_id)
    where, _ = entry["last_established_connection"]
    assert where == {"addr": f"::ffff:{point(1).address}", "port": 7777}


def test_every_order_of_bans_and_trusts_ends_with_what_was_done_last():
    acts = {
        "ban": lambda s: s.ban_address(point(1).address),
        "trust": lambda s: s.trust_point(point(1), 0.0),
        "open": lambda s: s.open_point(point(1)),
        "untrust": lambda s: s.untrust_point(point(1)),
    }
    for order in itertools.product(acts, repeat=3):
        made = node(0, limits=SMALL)
        made.start(0.0, 0.0)
        banned = trusted = False
        for act in order:
            made.govern(acts[act], 0.0)
            banned = banned if act == "untrust" else act == "ban"
            trusted = act == "trust"
            info = made.pool.known_points.get(point(1))
            assert made.acl.is_banned(point(1).address, 0.0) is banned, order
            assert (info is not None and info.trusted) is trusted, order
            told_off = made.connect(point(1), 0.0) if banned else None
            assert not isinstance(told_off, int), order
