"""What an operator sees of a node, and dials that were asked for."""

from __future__ import annotations

import math

import attrs
from nodes import SMALL, Sim, identity, node, pair, point

from tezos_p2p.fsm.survey import UNKNOWN_POINT
from tezos_p2p.fsm.wishes import WISHES_MAX, Wishes
from tezos_p2p.spec import rpc
from tezos_p2p.spec.hello import ConnectionMetadata
from tezos_p2p.spec.point import ConnectionId
from tezos_p2p.spec.pool_events import (
    MaintenanceEnded,
    MaintenanceStarted,
    TooFewConnections,
)
from tezos_p2p.spec.reasons import Disconnection, ErrorKind, P2pError, Reason
from tezos_p2p.spec.version import MAINNET, Version

IDLE = attrs.evolve(SMALL, maintenance_idle_time=None)
#: What the clock on the wall shows when that of the simulation shows 0.
WALL = 1_000_000.0


def seen(host, now, wall=WALL):
    """Everything of a host, with the moment as seconds of the epoch."""
    survey, pool = host.node.survey, host.node.pool
    peers = {
        it.peer_id: survey.peer(it, now, wall + now) for it in pool.known_peers.values()
    }
    points = {
        it.point: survey.point(it, now, wall + now) for it in pool.known_points.values()
    }
    return peers, points


def test_both_ends_of_a_connection_see_it():
    met = pair()
    now = met.sim.now
    for host, other, incoming in ((met.one, 1, False), (met.other, 0, True)):
        survey = host.node.survey
        (running,) = host.node.pool.running.values()
        info = survey.connection(running)
        assert info == rpc.ConnectionInfo(
            incoming=incoming,
            peer_id=identity(other).peer_id,
            id_point=ConnectionId(point(other).address, 9732),
            remote_socket_port=info.remote_socket_port,
            announced_version=Version("TEZOS", 2, 1),
            private=False,
            local_metadata=ConnectionMetadata(),
            remote_metadata=ConnectionMetadata(),
        )
        assert (info.remote_socket_port == 9732) is not incoming
        peers, points = seen(host, now)
        peer = peers[identity(other).peer_id]
        assert peer.state is rpc.PeerState.RUNNING
        assert peer.score == 1.0
        assert peer.conn_metadata == ConnectionMetadata()
        assert peer.reachable_at == info.id_point
        assert peer.stat == survey.stat(now) == survey.stat_of(running.link, now)
        assert peer.stat.total_sent > 100
        assert peer.last_established_connection is not None
        where, at = peer.last_established_connection
        assert where == info.id_point
        assert WALL < at <= WALL + now
        assert peer.last_seen == peer.last_established_connection
        assert peer.last_failed_connection is None
        there = points[point(other)]
        assert there.state == rpc.PointState(
            rpc.PointStateKind.RUNNING, identity(other).peer_id
        )
        assert there.last_established_connection == (identity(other).peer_id, at)
        assert there.last_miss is None
        assert survey.peer_id == identity(1 - other).peer_id
        assert survey.version == Version("TEZOS", 2, 1)


def test_who_went_is_seen_so():
    met = pair()
    met.sim.do(met.one, lambda it: it.disconnect(identity(1).peer_id, met.sim.now))
    met.sim.run(1.0)
    peers, points = seen(met.one, met.sim.now)
    peer, there = peers[identity(1).peer_id], points[point(1)]
    assert peer.state is rpc.PeerState.DISCONNECTED
    assert (peer.conn_metadata, peer.reachable_at) == (None, None)
    assert peer.stat == rpc.NO_STAT
    assert peer.last_disconnection == peer.last_seen == peer.last_miss
    assert there.state == rpc.PointState(rpc.PointStateKind.DISCONNECTED)
    assert there.last_disconnection is not None
    # For a minute it is better not dialled again.
    assert there.greylisted_until == there.last_disconnection[1] + 60.0
    assert met.one.node.survey.stat(met.sim.now).total_sent > 100


def test_figures_end_where_the_interface_does():
    met = pair()
    survey = met.one.node.survey
    met.one.node._traffic.up._all.average = 1 << 40
    assert survey.stat(met.sim.now).current_outflow == (1 << 30) - 1


def test_of_what_is_not_known_something_can_be_said():
    assert UNKNOWN_POINT.trusted is False
    assert UNKNOWN_POINT.state.event_kind is rpc.PointStateKind.DISCONNECTED


# -- dials that were asked for ---------------------------------------------------------


def lone(**settings):
    sim = Sim(1)
    return sim, sim.add(point(0), node(0, limits=IDLE, **settings))


def test_why_a_dial_came_to_nothing_is_told():
    sim, host = lone()
    link = sim.do(host, lambda it: it.connect(point(5), sim.now))  # nobody is there
    assert host.node.survey.why_not(link) is None
    sim.run(60.0)
    why = host.node.survey.why_not(link)
    assert why is not None
    assert why.errors[0].kind in (ErrorKind.CONNECTION_FAILED, ErrorKind.TIMEOUT)
    assert host.node.survey.why_not(link) == why


def test_a_refusal_is_told_with_its_facts():
    sim = Sim(1)
    one = sim.add(point(0), node(0, limits=IDLE))
    sim.add(point(1), node(1, limits=IDLE, network=MAINNET))
    link = sim.do(one, lambda it: it.connect(point(1), sim.now))
    sim.run(5.0)
    why = one.node.survey.why_not(link)
    assert why is not None
    assert why.reason in (
        Reason.AUTHENTICATION_REJECTED_NO_COMMON_PROTOCOL,
        Reason.AUTHENTICATION_REJECTED_BY_PEER,
    )


def test_a_banned_peer_is_named():
    sim = Sim(1)
    one = sim.add(point(0), node(0, limits=IDLE))
    sim.add(point(1), node(1, limits=IDLE))
    peer_id = identity(1).peer_id
    sim.do(one, lambda it: it.govern(lambda do: do.ban_peer(peer_id), sim.now))
    link = sim.do(one, lambda it: it.connect(point(1), sim.now))
    sim.run(5.0)
    (error,) = one.node.survey.why_not(link).errors
    assert (error.kind, error.facts["peer_id"]) == (ErrorKind.PEER_BANNED, peer_id)


def test_a_connection_that_ran_did_not_come_to_nothing():
    met = pair()
    link = next(iter(met.one.node.pool.running))
    met.sim.do(met.one, lambda it: it.disconnect(identity(1).peer_id, met.sim.now))
    met.sim.run(1.0)
    assert met.one.node.survey.why_not(link) is None


def test_a_dial_may_be_given_up_until_it_has_come_to_something():
    sim, host = lone()
    link = sim.do(host, lambda it: it.connect(point(5), sim.now))
    give_up = lambda it: it.govern(lambda do: do.give_up(link), sim.now)  # noqa: E731  # of one line
    sim.do(host, give_up)
    sim.run(1.0)
    why = host.node.survey.why_not(link)
    assert why.reason is Reason.TCP_CONNECTION_CANCELED
    assert [error.kind for error in why.errors] == [ErrorKind.CANCELED]
    assert len(host.node) == 0
    sim.do(host, give_up)  # harmless
    met = pair()
    link = next(iter(met.one.node.pool.running))
    met.sim.do(met.one, lambda it: it.govern(lambda do: do.give_up(link), met.sim.now))
    assert met.one.node.pool.active == 1


def test_a_refused_dial_is_no_dial():
    wishes = Wishes()
    error = P2pError(ErrorKind.POINT_BANNED)
    assert wishes.make(error) is error
    assert wishes._ends == {}


def test_of_many_dials_the_last_are_remembered():
    wishes = Wishes()
    why = Disconnection(Reason.TCP_CONNECTION_REFUSED)
    for link in range(WISHES_MAX):
        assert wishes.make(link) == link
        wishes.over(link, False, why)
    assert wishes.why_not(0) is why
    wishes.make(WISHES_MAX)
    assert wishes.why_not(0) is None
    assert wishes.why_not(1) is why
    assert len(wishes._ends) == WISHES_MAX
    wishes.over(999, False, why)  # nobody has asked for it
    wishes.over(WISHES_MAX, True, why)
    assert wishes.why_not(999) is wishes.why_not(WISHES_MAX) is None


# -- what observers are told of maintenance --------------------------------------------


def test_runs_of_maintenance_are_told():
    sim = Sim(1)
    sim.add(point(1), node(1, limits=IDLE))
    sim.add(point(2), node(2, limits=IDLE))
    host = sim.add(point(0), node(0, 1, 2, limits=attrs.evolve(SMALL, min_connections=2)))
    told = []
    for _ in range(100):
        sim.run(0.5)
        while (event := host.node.next_event()) is not None:
            told.append(type(event))
    assert told.index(MaintenanceStarted) < told.index(TooFewConnections)
    assert host.node.pool.active == 2
    assert MaintenanceEnded in told
    assert told.index(MaintenanceEnded) > told.index(TooFewConnections)
    assert math.isfinite(sim.now)
