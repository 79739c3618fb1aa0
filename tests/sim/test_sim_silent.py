"""Who dials and says nothing keeps nobody else out, however fast, however long."""

from __future__ import annotations

import attrs
import pytest
from nodes import Sim, identity, node, point
from scenes import IDLE, dial

from tezos_p2p.spec.address import Address
from tezos_p2p.spec.limits import Limits
from tezos_p2p.spec.point import Point

# Of what is there, other tests take every branch: tracing doubles the time.
pytestmark = pytest.mark.no_cover

#: The limits of a node of the network, without maintenance.
USUAL = attrs.evolve(Limits(), maintenance_idle_time=None)
#: Many addresses of one prefix each: 254 of a /24, and 251 networks of one /56.
PREFIXES = {
    "/24": [Address.parse(f"9.9.9.{n}") for n in range(1, 255)],
    "/56": [Address.parse(f"2400:1:2:34{n:02x}::{n:x}") for n in range(251)],
}
PERIOD = 30.0


@pytest.mark.parametrize("rate", [4, 10])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_newcomer_from_elsewhere_is_admitted_within_two_seconds(prefix, rate):
    sim = Sim(1, seldom=True)
    hub = sim.add(point(0), node(0, limits=USUAL))
    sources = PREFIXES[prefix]
    silent, begun = 0, {}
    for number in range(600 * rate):
        # At first nothing but silence, for as long as a handshake may take.
        if number % int(PERIOD * rate) == int(PERIOD * rate) - 1:
            newcomer = sim.add(point(len(sim.hosts)), node(len(sim.hosts), limits=IDLE))
            dial(sim, newcomer, 0)
            begun[newcomer] = sim.now
        source = Point(sources[number % len(sources)], 1024 + number)
        silent += sim.knock(hub, source) is not None
        sim.run(1 / rate)
    assert len(begun) == 20
    for newcomer, at in begun.items():
        running = hub.node.pool.by_peer(identity(newcomer.number).peer_id)
        assert running is not None, at
        assert running.since - at <= 2.0
        assert newcomer.node.pool.active == 1
    # They were taken in as well, again and again: as many as their share of the seats.
    assert 500 < silent < 700
