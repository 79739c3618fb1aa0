"""Nodes that get stuck with each other in step, ask too often, or swap what they lack."""

from __future__ import annotations

import itertools

import pytest
from nodes import Sim, actives, identity, node, point
from scenes import dial, idle_nodes, kinds, limits, neighbours, put

from tezos_p2p.spec.message import SwapRequest
from tezos_p2p.spec.pool_events import BootstrapSent


@pytest.mark.parametrize("seed", range(6))
def test_two_that_start_at_the_same_moment_find_together_in_the_end(seed):
    sim = Sim(seed, latency=(0.02, 0.02))
    for number in range(2):
        made = node(number, 1 - number, limits=limits(1, 1, 1), seed=seed)
        sim.add(point(number), made)
    sim.run(60.0)
    assert actives(sim) == [1, 1]


def test_who_knows_nobody_more_asks_once_and_then_ever_more_rarely():
    sim = Sim(1)
    idle_nodes(sim, range(1, 2))
    target = sim.add(point(0), node(0, 1, limits=limits(2, 2, 2)))
    times = []
    for _ in range(2400):
        sim.run(0.05)
        times += [sim.now] * kinds(target).count(BootstrapSent)
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert 4.9 <= gaps[0] <= 10.1
    rounded = [round(gap, 3) for gap in gaps]
    assert rounded == sorted(rounded)


def test_who_lacks_connections_keeps_what_a_swap_brings():
    sim = Sim(1)
    lacking = node(0, limits=limits(4, 4, 6), discovers=False)
    host = sim.add(point(0), lacking, keeps=True)
    idle_nodes(sim, range(1, 5), discovers=False)
    for number in (1, 2, 3):
        dial(sim, sim.hosts[number], 0)
    sim.run(1.0)
    put(sim, sim.hosts[1], 0, SwapRequest(point(4), identity(4).peer_id))
    sim.run(2.0)
    assert neighbours(sim, host) == {1, 2, 3, 4}


def test_a_ring_that_swaps_fills_up_all_the_same():
    sim = Sim(3)
    own = limits(4, 4, 5, maintenance_idle_time=5.0)
    hosts = [sim.add(point(number), node(number, limits=own)) for number in range(5)]
    for host in hosts:
        after = point((host.number + 1) % 5)
        sim.do(
            host,
            lambda it, after=after: it.govern(
                lambda s: s.trust_point(after, sim.now), sim.now
            ),
        )
    sim.run(120.0)
    assert actives(sim) == [4] * 5
