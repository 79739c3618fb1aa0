"""Whole nodes tell observers why things end: attempts, greylistings, runs, offers."""

from __future__ import annotations

import errno

import attrs
import pytest
from nodes import Sim, identity, node, pair, point
from scenes import IDLE, dial, idle_nodes, limits, overfill, part, put, told

from tezos_p2p.fsm.inbox import Left
from tezos_p2p.spec.asides import (
    AcceptFailed,
    AttemptFailed,
    Greylisted,
    Neighbour,
    PrivateAsked,
)
from tezos_p2p.spec.datagram import DATAGRAM, Datagram
from tezos_p2p.spec.message import Advertise, Bootstrap, SwapAck, SwapRequest
from tezos_p2p.spec.motive import Motive
from tezos_p2p.spec.point import ConnectionId
from tezos_p2p.spec.pool_events import (
    AcceptingRequest,
    AdvertiseReceived,
    ConnectionEstablished,
    Disconnected,
    MaintenanceEnded,
    MaintenanceStarted,
    RejectingRequest,
    SwapAckReceived,
    SwapRequestReceived,
    TooFewConnections,
    TooManyConnections,
)
from tezos_p2p.spec.reasons import ErrorKind, Reason
from tezos_p2p.spec.version import SANDBOX, Network


def of(host, *types):
    return [event for event in told(host) if isinstance(event, types)]


def two(**settings):
    sim = Sim(1)
    return sim, *idle_nodes(sim, range(2), **settings)


def test_a_connection_is_told_with_who_where_and_why():
    met = pair()
    (begun,) = of(met.one, ConnectionEstablished)
    assert (begun.peer_id, begun.id_point.port) == (identity(1).peer_id, 9732)
    assert (begun.incoming, begun.private) == (False, False)
    assert begun.version.chain_name == SANDBOX.chain_name
    (theirs,) = of(met.other, ConnectionEstablished)
    assert theirs.incoming
    part(met.sim, met.one, 1)
    met.sim.run(1.0)
    for host, number in ((met.one, 1), (met.other, 0)):
        (ended,) = of(host, Disconnected)
        (left,) = [item for item in host.items if isinstance(item, Left)]
        assert ended.why == left.disconnection
        assert ended.id_point == ConnectionId(point(number).address, 9732)
        assert ended.peer_id == identity(number).peer_id


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (errno.ECONNREFUSED, Reason.TCP_CONNECTION_REFUSED),
        (errno.ENETUNREACH, Reason.TCP_NETWORK_UNREACHABLE),
    ],
)
def test_a_dial_that_fails_is_told_with_its_reason(error, reason):
    made = node(0, limits=IDLE)
    made.start(0.0, 0.0)
    link = made.connect(point(1), 0.0)
    made.link_lost(link, error, 1.0)
    found = list(iter(made.next_event, None))
    (failed,) = [event for event in found if isinstance(event, AttemptFailed)]
    assert (failed.point, failed.incoming, failed.peer_id) == (point(1), False, None)
    assert failed.why.reason is reason


def test_a_handshake_that_fails_is_told_by_both_sides():
    sim, one, other = two()
    other.node.acl.greylist_peer(identity(0).peer_id, 0.0)
    dial(sim, one, 1)
    sim.run(1.0)
    (theirs,) = of(other, AttemptFailed)
    assert theirs.incoming
    assert [each.kind for each in theirs.why.errors] == [ErrorKind.PEER_BANNED]
    (ours,) = of(one, AttemptFailed)
    assert not ours.incoming
    assert ours.why.errors


def test_a_refusal_is_told_with_its_motive():
    sim, one, _ = two(network=SANDBOX)
    strange = Network("TEZOS_ANOTHER", (0,), (0, 1))
    third = sim.add(point(2), node(2, limits=IDLE, network=strange), keeps=True)
    dial(sim, third, 0)
    sim.run(1.0)
    (rejecting,) = of(one, RejectingRequest)
    assert rejecting.motive is Motive.UNKNOWN_CHAIN_NAME
    (failed,) = of(third, AttemptFailed)
    assert failed.why.reason in (
        Reason.AUTHENTICATION_REJECTED_NO_COMMON_PROTOCOL,
        Reason.AUTHENTICATION_REJECTED_BY_PEER,
    )


def test_who_is_private_and_who_asks_the_private_are_told_of_it():
    sim = Sim(1)
    shy = sim.add(point(0), node(0, limits=IDLE, private_mode=True, trusted=(1,)))
    other = sim.add(point(1), node(1, limits=IDLE))
    dial(sim, other, 0)
    sim.run(1.0)
    for _ in range(3):
        put(sim, other, 0, Bootstrap())
        put(sim, shy, 1, Bootstrap())
        sim.run(1.0)
    ids = [identity(number).peer_id for number in (0, 1)]
    assert of(shy, PrivateAsked) == [PrivateAsked(ids[1], "bootstrap", theirs=False)]
    assert of(other, PrivateAsked) == [PrivateAsked(ids[0], "bootstrap", theirs=True)]


@pytest.mark.parametrize("expected", [True, False])
def test_who_was_expected_is_told(expected):
    sim, one, _ = two()
    if expected:
        peer_id = identity(1).peer_id
        sim.do(
            one,
            lambda it: it.govern(lambda s: s.expect(point(1), peer_id, sim.now), sim.now),
        )
    dial(sim, one, 1)
    sim.run(1.0)
    (accepting,) = of(one, AcceptingRequest)
    assert accepting.expected is expected


def test_garbage_greylists_an_address_and_that_is_told():
    made = node(0, limits=IDLE)
    made.start(0.0, 0.0)
    link = made.accept(point(1), 0.0)
    made.receive_data(link, b"\0\x80GET / HTTP/1.1" + bytes(200), 0.0)
    found = list(iter(made.next_event, None))
    (listed,) = [event for event in found if isinstance(event, Greylisted)]
    (failed,) = [event for event in found if isinstance(event, AttemptFailed)]
    assert (listed.point, listed.peer_id) == (point(1), None)
    assert listed.why == failed.why
    assert made.acl.is_banned(point(1).address, 1.0)


def test_a_peer_that_is_greylisted_is_told_by_name():
    met = pair()
    sim, one, other = met.sim, met.one, met.other
    (link,) = other.node.pool.running
    told(one)

    def garble(it):
        it._reception.connection(link).send_encoded(b"\0\0\0\x02\0\x99", b"")
        it._traffic.settle(link, sim.now)

    sim.do(other, garble)
    sim.run(1.0)
    (listed,) = of(one, Greylisted)
    assert listed.peer_id == identity(1).peer_id


def test_what_the_system_refuses_is_told():
    made = node(0, limits=IDLE)
    made.start(0.0, 0.0)
    made.accept_failed(errno.EMFILE, 1.0)
    assert AcceptFailed(errno.EMFILE) in list(iter(made.next_event, None))


def test_neighbours_are_told_when_they_are_new_and_not_ourselves():
    made = node(0, nearby=True)
    made.start(0.0, 0.0)
    made.pool.add_own_point(point(2))
    for number in (1, 1, 2):
        data = DATAGRAM.encode(Datagram(identity(number).peer_id, 9732))
        made.receive_datagram(data, point(number).address, 1.0)
    found = list(iter(made.next_event, None))
    assert [event for event in found if isinstance(event, Neighbour)] == [
        Neighbour(point(1))
    ]


def test_runs_of_maintenance_are_told_with_motive_and_duration():
    sim = Sim(1)
    idle_nodes(sim, range(1, 4))
    own = limits(1, 2, 4, maintenance_idle_time=50.0)
    host = sim.add(point(0), node(0, 1, 2, 3, limits=own))
    sim.run(20.0)
    kinds = MaintenanceStarted, MaintenanceEnded, TooFewConnections
    began, few, ended = of(host, *kinds)
    assert (began.motive, began.idle_time) == ("activation", None)
    assert few.active == 0
    assert 0.0 < ended.duration < 20.0
    # Nothing has to be done, and nothing is told.
    sim.run(40.0)
    assert of(host, *kinds) == []
    for number in range(1, 4):
        part(sim, host, number)
    (began, *_) = of(host, MaintenanceStarted)
    assert began.motive == "too_few_connections"


def test_a_run_because_of_the_time_says_how_long_it_was_and_how_many_there_were():
    sim = Sim(1)
    idle_nodes(sim, range(1, 10))
    own = limits(0, 4, 10, maintenance_idle_time=20.0)
    host = sim.add(point(0), node(0, limits=own))
    sim.run(1.0)
    assert [it.motive for it in of(host, MaintenanceStarted)] == ["activation"]
    # More than may stay, and fewer than begin a run.
    overfill(sim, host, range(1, 10))
    assert of(host, MaintenanceStarted, TooManyConnections) == []
    sim.run(20.0)
    began, many, ended = of(
        host, MaintenanceStarted, TooManyConnections, MaintenanceEnded
    )
    assert (began.motive, began.idle_time) == ("timer", 20.0)
    assert many.active == 9
    assert 0.0 <= ended.duration < 5.0


def test_offers_are_told_with_who_and_where():
    met = pair(limits=attrs.evolve(IDLE, swap_linger=None))
    sim, one = met.sim, met.one
    offer = point(5), identity(5).peer_id
    put(sim, met.other, 0, SwapRequest(*offer))
    put(sim, met.other, 0, SwapAck(*offer))
    put(sim, met.other, 0, Advertise((point(6), point(7))))
    sim.run(1.0)
    found = of(one, SwapRequestReceived, SwapAckReceived, AdvertiseReceived)
    assert [(event.point, event.offered) for event in found[:2]] == [offer, offer]
    assert found[2].points == 2
