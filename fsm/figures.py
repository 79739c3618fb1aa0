"""What can be read off a node at any moment: counts, bytes, how full its queues are.

Nothing here changes anything.

Source: the statistics and metrics of the reference node, 2026; queues are our own.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import attrs

from ..spec.reasons import Reason
from ..spec.status import BOUND, ConnectionCounts, Listed, Status
from . import worker
from .acl import Acl
from .admission import PENDING, State
from .answerer import Answerer
from .local import Local
from .maintenance import Bounds
from .reception import Reception
from .swap import Swaps
from .tally import Tally
from .traffic import Traffic
from .worker import Workers

M = TypeVar("M")
Meta = TypeVar("Meta")


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
    _workers: Workers
    _local: Local
    acl: Acl

    @property
    def _fresh(self) -> bool:
        return self._workers.state is worker.State.INACTIVE

    @property
    def _active(self) -> bool:
        return self._workers.state is worker.State.ACTIVE

    @property
    def _stopped(self) -> bool:
        return self._workers.state is worker.State.STOPPED

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

    def status(self, now: float) -> Status:
        """Return how full the node is; the cost grows with the number of connections."""
        limits, acl, census = self._local.limits, self.acl, self.census()
        bounds = Bounds(
            limits.min_connections, limits.expected_connections, limits.max_connections
        )
        queues, static = self.queues(), acl.static
        full = {"incoming": queues.incoming_most, "outgoing": queues.outgoing_most}
        most = {
            f"incoming{BOUND}": limits.incoming_message_queue_size,
            f"outgoing{BOUND}": limits.outgoing_message_queue_size,
        }
        return Status(
            ConnectionCounts(
                running=census[State.RUNNING],
                pending=sum(census[state] for state in PENDING),
                min=bounds.min_connections,
                expected=bounds.expected_connections,
                max=bounds.max_connections,
                min_threshold=bounds.min_threshold,
                min_target=bounds.min_target,
                max_target=bounds.max_target,
                max_threshold=bounds.max_threshold,
            ),
            {
                "inbox": queues.inbox,
                **full,
                **{name: bound for name, bound in most.items() if bound is not None},
            },
            {reason.name.lower(): count for reason, count in self.refused.items()},
            Listed(len(acl.greylisted_addresses(now)), len(acl.greylisted_peers(now))),
            Listed(len(static.banned), len(static.banned_peers)),
        )

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
