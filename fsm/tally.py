"""What a node counts for those who watch it; nothing is decided by it.

==================  ====================================================================
counted             when
==================  ====================================================================
application         sent: by `Node.send`, taken or not; by broadcast, for each peer;
messages            received: when it is given to the inbox; unreadable: when what a
                    running peer has sent was no message, which ends its connection
this layer's own    received: when it was read, whatever comes of it; sent: when there
messages            was room for it
throttled           an own message that came too soon and is dropped
ignored             an own message that nothing was done about, for other reasons
refused             a connection of any kind, when it ends or is not taken in
swaps ignored       a request for a swap that came in time and was not taken up
phases              a step of a handshake, when it is done; see `Phase`
==================  ====================================================================

Source: the metrics of the reference node, 2026; it counts an Advertise twice, and every
end of a connection as an unreadable message.  Phases are our own.
"""

from __future__ import annotations

import enum
from bisect import bisect_left
from collections.abc import Mapping
from typing import Final, Protocol

import attrs

from ..spec.events import Authenticated, ConnectionMessageReceived, Established
from ..spec.message import Advertise, Bootstrap, SwapAck, SwapRequest
from ..spec.reasons import Disconnection, ErrorKind, Reason

#: Upper ends of the buckets of durations, in seconds; what is longer has one more.
BOUNDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
#: What their bytes were if they were no message.
_UNREADABLE: Final = (ErrorKind.DECODING_ERROR, ErrorKind.CODEC_FAILED)
#: This layer's own messages that are counted.
OWN: Final = (Advertise, Bootstrap, SwapAck, SwapRequest)


class Phase(enum.Enum):
    """The steps of a handshake, each from the end of the one before."""

    DIAL = "dial"
    HELLO = "hello"
    METADATA = "metadata"
    ANSWER = "answer"


#: What is done when a connection tells so.
PHASE_AFTER: Final[Mapping[type, Phase]] = {
    ConnectionMessageReceived: Phase.HELLO,
    Authenticated: Phase.METADATA,
    Established: Phase.ANSWER,
}


class _Timed(Protocol):
    """An attempt at a connection."""

    began: float


@attrs.define(eq=False)
class Durations:
    """How long something took: how often how long, in all.

    Attributes:
        counts: for each of `BOUNDS` how many took at most so long, and longer than the
            one before; behind them those that took longer than all.
        total: seconds of all together.
    """

    counts: list[int] = attrs.field(factory=lambda: [0] * (len(BOUNDS) + 1), init=False)
    total: float = attrs.field(default=0.0, init=False)

    def add(self, seconds: float) -> None:
        """Count one."""
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds


def _none_of_each() -> dict[type, int]:
    return dict.fromkeys(OWN, 0)


def _none_of_each_phase() -> dict[Phase, Durations]:
    return {phase: Durations() for phase in Phase}


@attrs.define(eq=False)
class Tally:
    """The counts of one node since it was made; see the module's table.

    Attributes:
        sent: messages of the application, to one peer.
        broadcast: messages of the application, for each peer of a broadcast.
        received: messages of the application.
        unreadable: what was to be a message and was none.
        own_received: this layer's messages, by class.
        own_sent: the same.
        throttled: this layer's messages that came too soon.
        ignored: those that nothing was done about.
        swaps_ignored: requests for swaps that were not taken up.
        refused: connections that were refused, failed or ended, by reason.
        phases: how long the steps of handshakes took.
    """

    sent: int = attrs.field(default=0, init=False)
    broadcast: int = attrs.field(default=0, init=False)
    received: int = attrs.field(default=0, init=False)
    unreadable: int = attrs.field(default=0, init=False)
    own_received: dict[type, int] = attrs.field(factory=_none_of_each, init=False)
    own_sent: dict[type, int] = attrs.field(factory=_none_of_each, init=False)
    throttled: int = attrs.field(default=0, init=False)
    ignored: int = attrs.field(default=0, init=False)
    swaps_ignored: int = attrs.field(default=0, init=False)
    refused: dict[Reason, int] = attrs.field(factory=dict[Reason, int], init=False)
    phases: dict[Phase, Durations] = attrs.field(factory=_none_of_each_phase, init=False)

    def ended(self, reason: Reason) -> None:
        """Count a connection that was refused, failed or ended."""
        self.refused[reason] = self.refused.get(reason, 0) + 1

    def over(self, why: Disconnection) -> None:
        """Count what was to be a message and was none, if that has ended what ran."""
        self.unreadable += any(error.kind in _UNREADABLE for error in why.errors)

    def step(self, attempt: _Timed, phase: Phase, now: float) -> None:
        """Count a step of a handshake that is done now; the next one begins."""
        self.phases[phase].add(now - attempt.began)
        attempt.began = now
