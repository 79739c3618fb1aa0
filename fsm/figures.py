"""What can be read off a node at any moment: counts, bytes, how full its queues are.

Nothing here changes anything.

Source: the statistics and metrics of the reference node, 2026; queues are our own.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import attrs

from ..spec.reasons import Reason
from .admission import State
from .answerer import Answerer
from .reception import Reception
from .swap import Swaps
from .tally import Tally
from .traffic import Traffic

M = TypeVar("M")
Meta = TypeVar("Meta")


@attrs.frozen
class Stat:
    """Bytes that all connections have moved, and how fast lately.

    Attributes:
        total_sent: bytes.
        total_recv: bytes.
        current_inflow: bytes a second.
        current_outflow: bytes a second.
    """

    total_sent: int
    total_recv: int
    current_inflow: int
    current_outflow: int


@attrs.frozen
class Queues:
    """What waits in a node, of all established connections.

    Attributes:
        incoming: bytes that were decoded and not given to the inbox, with what the
            queues charge for each message.
        incoming_most: of the connection with the most of them.
        outgoing: bytes of messages that have not left, beside those behind the driver.
        outgoing_most: of the connection with the most of them.
        inbox: messages that the application has not pulled.
    """

    incoming: int
    incoming_most: int
    outgoing: int
    outgoing_most: int
    inbox: int


class Figures(Generic[M, Meta]):
    """The part of `node.Node` that only tells.

    Attributes:
        tally: what is counted for observers, to look at.
    """

    __slots__ = ()

    tally: Tally
    _traffic: Traffic[M]
    _reception: Reception[M, Meta]
    _answerer: Answerer

    @property
    def refused(self) -> dict[Reason, int]:
        """Connections that were refused, failed or ended, by reason."""
        return dict(self.tally.refused)

    @property
    def swaps(self) -> Swaps:
        """The swap that is going on, and how those before ended, to look at."""
        return self._answerer.swaps

    @property
    def untaught(self) -> int:
        """Points that peers were not let teach us: they had told of enough."""
        return self._answerer.teaching.refused

    def census(self) -> dict[State, int]:
        """Return how many links are in which state; those that are gone aside."""
        found = dict.fromkeys(State, 0)
        for attempt in self._reception.attempts.values():
            found[attempt.state] += 1
        del found[State.GONE]
        return found

    def stat(self, now: float) -> Stat:
        """Return what all connections have moved, and how fast lately."""
        up, down = self._traffic.up.total(now), self._traffic.down.total(now)
        return Stat(up.total, down.total, down.average, up.average)

    def queues(self) -> Queues:
        """Return how much waits; the cost grows with the number of connections."""
        reception = self._reception
        lines = [self._traffic.lines[link] for link in reception.pool.running]
        incoming = [line.connection.undelivered for line in lines]
        outgoing = [line.connection.queued - line.connection.sealed for line in lines]
        return Queues(
            sum(incoming),
            max(incoming, default=0),
            sum(outgoing),
            max(outgoing, default=0),
            reception.inbox.waiting,
        )
