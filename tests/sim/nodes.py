"""Nodes for simulated networks: made from numbers, watched at every step."""

from __future__ import annotations

import functools
import random
from typing import Any

import attrs
from watch import SimHost, SimNode, Watched

from tezos_p2p.fsm.local import Local
from tezos_p2p.fsm.machine import compiled
from tezos_p2p.fsm.node import Node
from tezos_p2p.fsm.settings import Settings
from tezos_p2p.io.simulated import seeded_bytes
from tezos_p2p.spec.address import Address
from tezos_p2p.spec.hello import ConnectionMetadata
from tezos_p2p.spec.identity import Identity
from tezos_p2p.spec.limits import Limits
from tezos_p2p.spec.message import MessageCodec
from tezos_p2p.spec.point import Point
from tezos_p2p.spec.raw import RawCodec
from tezos_p2p.spec.version import SANDBOX

CODEC = MessageCodec(RawCodec())
#: Thresholds 2, 3, 5, 6: for networks of a dozen.
SMALL = Limits(min_connections=1, expected_connections=4, max_connections=7)
#: Thresholds 15, 20, 34, 42.
MIDDLE = Limits(min_connections=10, expected_connections=25, max_connections=50)

#: Nodes from which on a network is large.
LARGE = 50

Sim = Watched


@functools.cache
def identity(number: int) -> Identity:
    # The lowest three bits of a secret key are ignored.
    return Identity.of_secret(((number + 1) << 3).to_bytes(32, "little"))


@functools.cache
def point(number: int) -> Point:
    """Return where a node is: each has a /16 of the Internet to itself."""
    block, rest = 20 + number % 80, number // 80
    return Point(Address.parse(f"{block}.{rest % 256}.{rest // 256}.1"), 9732)


def node(
    number: int,
    *known: int,
    limits: Limits = SMALL,
    seed: int = 0,
    network: Any = SANDBOX,
    port: int = 9732,
    **settings: Any,
) -> SimNode:
    """Make a node that knows the points of some others."""
    trusted = settings.pop("trusted", ())
    private = settings.get("private_mode", False)
    diversity = {}
    if "diversity" in settings:
        diversity["diversity"] = settings.pop("diversity")
    local = Local(
        identity=identity(number),
        network=network,
        random_bytes=seeded_bytes(f"{seed}/{number}/bytes"),
        port=port,
        difficulty=0.0,
        metadata=ConnectionMetadata(private_node=private),
        limits=limits,
        runner=compiled,
    )
    made = Node(
        local,
        CODEC,
        Settings(
            new_metadata=lambda: 1.0,
            score=lambda metadata: metadata,
            random=random.Random(f"{seed}/{number}/seen").random,
            random_inside=random.Random(f"{seed}/{number}/unseen").random,
            trusted=tuple((point(each), None) for each in trusted),
            **settings,
        ),
        **diversity,
    )
    for each in known:
        made.pool.register_point(point(each), 0.0)
    return made


def network(count: int, *, seed: int = 0, seldom: bool = False, **settings: Any) -> Sim:
    """Put nodes into a network that know only the first."""
    made = Sim(seed, seldom=seldom or count >= LARGE)
    for number in range(count):
        known = () if number == 0 else (0,)
        made.add(point(number), node(number, *known, seed=seed, **settings))
    return made


def actives(sim: Sim) -> list[int]:
    return [host.node.pool.active for host in sim.hosts if host.up]


@attrs.frozen
class Met:
    """What happened to a pair of nodes that were told to connect."""

    sim: Sim
    one: SimHost
    other: SimHost


def pair(**settings: Any) -> Met:
    """Return two nodes of which the first has dialled the second; both run."""
    settings.setdefault("limits", attrs.evolve(SMALL, maintenance_idle_time=None))
    sim = Sim(1)
    one = sim.add(point(0), node(0, **settings), keeps=True)
    other = sim.add(point(1), node(1, **settings), keeps=True)
    link = sim.do(one, lambda it: it.connect(point(1), sim.now))
    assert isinstance(link, int), link
    sim.run(1.0)
    assert one.node.pool.active == other.node.pool.active == 1
    return Met(sim, one, other)
