"""Handshakes are made mostly of the one key agreement that each side must compute.

The yardstick is two agreements: a handshake, both ends on one core, that did nothing
else would reach 1.
"""

import pytest
from pairs import judge, work
from shaking import node, shake_hands
from yardsticks.beforenm import agree_twice

from tezos_p2p.fsm.machine import RUNNERS

LEAST = {"shared": 0.25, "compiled": 0.45}


@pytest.mark.parametrize("cached", [False, True], ids=["no cache", "cache"])
@pytest.mark.parametrize("runner", list(RUNNERS))
def test_bench_whole_handshakes(benchmark, runner, cached):
    one, other = (node(seed, RUNNERS[runner], cached) for seed in (1, 2))
    memory = "keys cached" if cached else "no keys cached"
    name = f"handshake, both ends, {runner} machine, {memory} / two key agreements"
    subject = work(lambda: shake_hands(one, other))
    judge(benchmark, name, subject, work(agree_twice), None if cached else LEAST[runner])
    for end in (one, other):
        assert len(end.keys) == cached
        assert end.keys.agreements == 1 or not cached
