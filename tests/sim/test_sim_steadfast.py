"""What holds out against crowds and faults: seats, trust, quotas, an order at the end."""

from __future__ import annotations

import attrs
import pytest
from nodes import Sim, identity, node, point
from scenes import IDLE, dial, idle_nodes, limits, put

from tezos_p2p.fsm import worker
from tezos_p2p.fsm.commands import Accept, Close
from tezos_p2p.spec.address import Address
from tezos_p2p.spec.limits import Limits
from tezos_p2p.spec.message import SwapRequest
from tezos_p2p.spec.point import Point
from tezos_p2p.spec.reasons import Reason
from tezos_p2p.spec.version import SANDBOX

# Of what is there, other tests take every branch: tracing doubles the time.
pytestmark = pytest.mark.no_cover


@pytest.mark.parametrize("rate", [4, 10])
def test_silent_dials_from_many_prefixes_keep_no_newcomer_out(rate):
    """Twice as many prefixes as there are seats, each with one connection at a time."""
    sim = Sim(1)
    calm = attrs.evolve(Limits(), maintenance_idle_time=None)
    hub = sim.add(point(0), node(0, limits=calm))
    joined = 0
    for number in range(rate * 180):
        where = Address.parse(f"2a00:1:1:{number % 40:02x}00::1")
        sim.knock(hub, Point(where, 1024 + number))
        if number % (rate * 30) == rate * 15:
            joined += 1
            guest = sim.add(point(joined), node(joined, limits=IDLE))
            dial(sim, guest, 0)
            sim.run(2.0)
            assert guest.node.pool.active == 1, f"newcomer {joined} at {sim.now}"
        sim.run(1 / rate)
    assert joined == 6
    assert hub.node.refused[Reason.INCOMING_CONNECTION_TOO_MANY] > 0


@pytest.mark.parametrize("trusts", [True, False])
@pytest.mark.parametrize("expects", [True, False])
def test_what_an_operator_says_of_a_point_outlives_a_failed_handshake(trusts, expects):
    sim = Sim(1)
    (ours,) = idle_nodes(sim, range(1))
    other = attrs.evolve(SANDBOX, chain_name="OTHER")
    sim.add(point(1), node(1, limits=IDLE, network=other))
    who = identity(1).peer_id if expects else None
    ours.node.pool.register_point(point(1), sim.now, trusted=trusts, expected=who)
    dial(sim, ours, 1)
    sim.run(2.0)
    why = Reason.AUTHENTICATION_REJECTED_NO_COMMON_PROTOCOL
    assert ours.node.refused == {why: 1}
    info = ours.node.pool.known_points.get(point(1))
    if not (trusts or expects):
        assert info is None
    else:
        assert (info.trusted, info.expected) == (trusts, who)
        assert not info.may_dial(sim.now - 1.5)  # it rests, as after any failure


@pytest.mark.parametrize("exempt", [False, True])
def test_a_swap_takes_no_block_beyond_its_quota(exempt):
    sim = Sim(5)
    wide = attrs.evolve(IDLE, expected_connections=20, max_connections=40)
    hub = sim.add(point(0), node(0, limits=wide, seed=5))
    block = [Point(Address.parse(f"66.66.{each}.1"), 9732) for each in range(1, 10)]
    for number, where in enumerate(block):
        sim.add(where, node(100 + number, limits=IDLE))
    guests = idle_nodes(sim, range(1, 4))
    for where in [*block[:8], point(1), point(2), point(3)]:
        sim.do(hub, lambda it, where=where: it.connect(where, sim.now))
    sim.run(2.0)
    assert hub.node.pool.active == 11
    if exempt:
        hub.node.acl.allow(block[8].address)
    put(sim, guests[0], 0, SwapRequest(block[8], identity(108).peer_id))
    sim.run(3.0)
    running = [it.point.point for it in hub.node.pool.running.values() if it.point]
    assert (block[8] in running) is exempt
    assert sum(where in block for where in running) == 8 + exempt


def test_a_node_ends_in_the_order_of_the_table(monkeypatch):
    ended = []
    sim = Sim(1)
    lively = limits(1, 2, 4)
    ours = sim.add(point(0), node(0, limits=lively, nearby=True))
    sim.add(point(1), node(1, limits=IDLE))
    dial(sim, ours, 1)
    sim.run(1.0)
    parts = {
        "welcome": ours.node._welcome,
        "maintenance": ours.node.maintenance,
        "discovery": ours.node._discovery,
    }
    for name, part in parts.items():
        kind = type(part)

        def stop(it, now, kind=kind, name=name, real=kind.stop):
            ended.append(name)
            real(it, now)

        monkeypatch.setattr(kind, "stop", stop)
    ours.node.stop(sim.now, sim.now + worker.FLUSH_LIMIT)
    ours.node.stop(sim.now, sim.now + worker.FLUSH_LIMIT)
    assert ended == [it.name for it in worker.SHUTDOWN if it.name in parts]
    told = []
    for late in (0.0, worker.FLUSH_LIMIT):
        ours.node.handle_timeout(sim.now + late)
        while (command := ours.node.next_command()) is not None:
            told.append(command)
    assert told[0] == Accept(False)
    assert isinstance(told[-1], Close)
    assert ours.node._workers.state is worker.State.STOPPED
