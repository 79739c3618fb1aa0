"""Networks form, stay as they are for an hour, and heal when many are killed at once."""

from __future__ import annotations

import gc

import attrs
import pytest
from nodes import MIDDLE, SMALL, Sim, node, point

from tezos_p2p.fsm.maintenance import Bounds
from tezos_p2p.spec.pool_events import SwapSuccess

HOUR = 3600.0
#: Every line of these long runs is taken by other tests: they are not counted here.
pytestmark = [pytest.mark.no_cover, pytest.mark.timeout(600)]


@pytest.fixture(autouse=True)
def nothing_is_collected():
    """Leave the garbage of a network alone: it is little, and looking for it slow."""
    gc.disable()
    yield
    gc.enable()
    gc.collect()


@attrs.define
class Spell:
    """A time in which a node had fewer or more connections than its thresholds say."""

    since: float
    least: int
    most: int
    seconds: float = 0.0


class Formed(Sim):
    """A network that forms; from then on every step of every node is looked at."""

    def __init__(self, count, limits, seed):
        super().__init__(seed, seldom=True, after_step=self.look)
        self.bounds = Bounds(
            limits.min_connections, limits.expected_connections, limits.max_connections
        )
        self.looking = False
        self.swaps = 0
        self.spells = []
        self.out = {}
        for number in range(count):
            known = (0,) if number else ()
            made = node(number, *known, seed=seed, limits=limits)
            self.add(point(number), made)
        self.run(600.0)

    def watch(self, seconds):
        self.looking, self.swaps, self.spells = True, 0, []
        for host in self.hosts:
            self.look(host)
        self.run(seconds)
        for number in list(self.out):
            self.end(number)

    def look(self, host):
        # What is told is read, or it would be thrown away.
        while (event := host.node.next_event()) is not None:
            self.swaps += self.looking and isinstance(event, SwapSuccess)
        if not self.looking or not host.up:
            return
        active = host.node.pool.active
        if not self.bounds.contain(active):
            spell = self.out.setdefault(host.number, Spell(self.now, active, active))
            spell.least, spell.most = min(spell.least, active), max(spell.most, active)
        elif host.number in self.out:
            self.end(host.number)

    def end(self, number):
        spell = self.out.pop(number)
        spell.seconds = self.now - spell.since
        self.spells.append(spell)

    def outside(self):
        return [
            host.node.pool.active
            for host in self.hosts
            if host.up and not self.bounds.contain(host.node.pool.active)
        ]


def test_two_hundred_find_together_stay_so_for_an_hour_and_outlive_sixty_of_them():
    sim = Formed(200, MIDDLE, seed=11)
    assert (sim.bounds.min_threshold, sim.bounds.max_threshold) == (15, 42)
    assert sim.outside() == []
    sim.watch(HOUR)
    # Nobody, at no moment: not even between the two ends of a swap.
    assert sim.spells == []
    # That they stay is no standstill: everybody swaps several times an hour.
    assert sim.swaps > 2 * 200
    for host in sim.hosts[::3][:60]:
        sim.kill(host)
    sim.run(300.0)
    assert sum(host.up for host in sim.hosts) == 140
    assert sim.outside() == []
    sim.watch(300.0)
    # Some have healed to the threshold itself: who loses one then waits for the next
    # regular run, at most.
    idle = MIDDLE.maintenance_idle_time
    assert all(it.least == 14 and it.seconds <= idle + 5.0 for it in sim.spells)
    assert len(sim.spells) <= 5


@pytest.mark.parametrize("seed", [1, 2])
def test_where_one_connection_decides_nobody_is_outside_for_longer_than_one_round(seed):
    """Thresholds 2 and 6: whoever loses one of 2 waits for the next regular run."""
    sim = Formed(60, SMALL, seed=seed)
    sim.watch(HOUR)
    assert sim.swaps > 60
    # A swap that fails half-way takes a connection from somebody now and then.
    idle = SMALL.maintenance_idle_time
    assert all(spell.seconds <= idle + 5.0 for spell in sim.spells)
    assert sum(spell.seconds for spell in sim.spells) <= 0.01 * 60 * HOUR
    assert all(spell.most <= SMALL.max_connections for spell in sim.spells)
