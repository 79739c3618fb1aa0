"""Networks form by themselves, heal, and do the same again from the same seed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from nodes import MIDDLE, SMALL, actives, check, network

from tezos_p2p.fsm.maintenance import Bounds


def bounds_of(limits):
    return Bounds(
        limits.min_connections, limits.expected_connections, limits.max_connections
    )


def within(sim, limits):
    bounds = bounds_of(limits)
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


SCRIPT = """
import sys
sys.path.insert(0, {here!r})
from nodes import network
sim = network(8, seed=1)
sim.run(60.0)
print(sim.trace)
"""


@pytest.mark.parametrize("hash_seed", ["1", "2"])
def test_another_process_and_other_hashes_change_nothing(hash_seed):
    sim = network(8, seed=1)
    sim.run(60.0)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT.format(here=str(Path(__file__).parent))],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == sim.trace


def test_two_hundred_nodes_converge_and_heal():
    sim = network(200, seed=7, checked=False, limits=MIDDLE)
    sim.run(600.0)
    assert within(sim, MIDDLE) == []
    for host in sim.hosts:
        check(host)
    for host in sim.hosts[::3][:60]:
        sim.kill(host)
    sim.run(300.0)
    assert within(sim, MIDDLE) == []
    for host in sim.hosts:
        if host.up:
            check(host)
