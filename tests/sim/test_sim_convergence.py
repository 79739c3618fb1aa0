"""Networks form by themselves, heal, and do the same again from the same seed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from nodes import MIDDLE, SMALL, actives, network

from tezos_p2p.fsm.maintenance import Bounds

# Of what is there, other tests take every branch: tracing doubles the time.
pytestmark = pytest.mark.no_cover

HERE = Path(__file__).parent


def within(sim, limits):
    """Return the numbers of connections that are not as they should be."""
    bounds = Bounds(
        limits.min_connections, limits.expected_connections, limits.max_connections
    )
    return [n for n in actives(sim) if not bounds.contain(n)]


def test_a_dozen_nodes_that_know_one_find_each_other():
    sim = network(12, seed=1)
    sim.run(180.0)
    assert within(sim, SMALL) == []


def test_the_same_seed_gives_the_same_run_and_another_another():
    def run(seed):
        sim = network(8, seed=seed)
        sim.run(60.0)
        return sim.trace, sim.steps

    assert run(1) == run(1)
    assert run(1) != run(2)


def live_and_die(seed):
    """Let sixty find together, kill 30 % of them, let the rest heal."""
    sim = network(60, seed=seed, limits=MIDDLE)
    sim.run(600.0)
    for host in sim.hosts[::3][:18]:
        sim.kill(host)
    sim.run(300.0)
    return sim


def in_another_process(seed, hash_seed):
    """Begin the same in another process; return it, at work."""
    script = (
        f"from test_sim_convergence import live_and_die as it; print(it({seed}).trace)"
    )
    return subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=HERE,
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.no_cover
@pytest.mark.timeout(300)
def test_other_processes_with_other_hashes_go_the_same_way_kills_and_all():
    others = [in_another_process(7, hash_seed) for hash_seed in ("1", "2")]
    try:
        ours = live_and_die(7)
        assert within(ours, MIDDLE) == []
        traces = [other.communicate(timeout=250)[0].strip() for other in others]
        assert traces == [ours.trace] * 2
        assert ours.steps > 10_000
    finally:
        for other in others:
            other.kill()
            other.communicate()
