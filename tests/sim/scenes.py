"""What scenarios of whole nodes share: stars and chains, what was told, bad networks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import attrs
from nodes import SMALL, Sim, SimHost, identity, node, point

from tezos_p2p.fsm.inbox import Left, Message
from tezos_p2p.spec.limits import Limits
from tezos_p2p.spec.point import Point

#: No maintenance: only what the test says happens.
IDLE = attrs.evolve(SMALL, maintenance_idle_time=None)


def limits(least: int, expected: int, most: int, **others: Any) -> Limits:
    """Return limits of connections, by default without a timer worth mentioning."""
    others.setdefault("maintenance_idle_time", 36_000.0)
    return Limits(
        min_connections=least,
        expected_connections=expected,
        max_connections=most,
        **others,
    )


def told(host: SimHost) -> list[Any]:
    """Return the events since the last time."""
    found = []
    while (event := host.node.next_event()) is not None:
        found.append(event)
    return found


def kinds(host: SimHost) -> list[type]:
    return [type(event) for event in told(host)]


def reasons(host: SimHost) -> list[Any]:
    return [item.disconnection.reason for item in host.items or () if type(item) is Left]


def messages(host: SimHost) -> list[Any]:
    return [item.message for item in host.items or () if type(item) is Message]


def put(sim: Sim, host: SimHost, to: int, message: Any) -> bool:
    """Have a node say something of this layer to another, whatever it thinks of it."""
    running = host.node.pool.by_peer(identity(to).peer_id)
    assert running is not None
    reception, link = host.node._reception, running.link
    return bool(sim.do(host, lambda _: reception.put(link, message, sim.now)))


def dial(sim: Sim, host: SimHost, number: int) -> Any:
    return sim.do(host, lambda it: it.connect(point(number), sim.now))


def part(sim: Sim, host: SimHost, number: int) -> bool:
    peer_id = identity(number).peer_id
    return bool(sim.do(host, lambda it: it.disconnect(peer_id, sim.now)))


def neighbours(sim: Sim, host: SimHost) -> set[int]:
    """Return the numbers of the nodes that a node is connected to."""
    numbers = {identity(n).peer_id: n for n in range(len(sim.hosts))}
    return {numbers[it.peer.peer_id] for it in host.node.pool.running.values()}


def overfill(sim: Sim, host: SimHost, numbers: Iterable[int]) -> None:
    """Have a node dial others, also beyond its threshold, where it admits nobody else."""
    reception = host.node._reception
    usual = reception._rules
    reception._rules = attrs.evolve(usual, threshold=usual.most)
    for number in numbers:
        assert isinstance(dial(sim, host, number), int)
    sim.run(1.0)
    reception._rules = usual


def idle_nodes(sim: Sim, numbers: range, **settings: Any) -> list[SimHost]:
    """Add nodes that do nothing of their own accord."""
    settings.setdefault("limits", IDLE)
    return [sim.add(point(n), node(n, **settings), keeps=True) for n in numbers]


class Bad(Sim):
    """A network with black holes, and with a wall that can be raised."""

    def __init__(self, seed: int = 0, **others: Any) -> None:
        super().__init__(seed, **others)
        self.holes: set[Point] = set()
        self.islanders: set[Point] = set()

    def raise_wall(self, islanders: set[Point]) -> None:
        """Separate some hosts from the rest, at once."""
        self.islanders = islanders
        for host in self.hosts:
            for end in list(host.ends.values()):
                if end.other is not None and self._apart(
                    host.point, end.other.host.point
                ):
                    self._reset(end)

    def _apart(self, one: Point, other: Point) -> bool:
        return (one in self.islanders) is not (other in self.islanders)

    def _knock(self, end: Any, target: Point) -> None:
        if target in self.holes or self._apart(end.host.point, target):
            return
        super()._knock(end, target)
