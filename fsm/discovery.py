"""The discovery worker: nodes of the same local network find each other.

Two halves that share nothing but their life.  The *sender* broadcasts a datagram that
says who we are and where we listen: often at first, ever more seldom while nothing
changes, often again when maintenance lacks contacts.  The *listener* makes a point of
every datagram of somebody else.

========  ==============================================================================
state     meaning
========  ==============================================================================
INACTIVE  waits for `start`; hears nothing
SEEKING   announces itself, and doubles the gap each time
STEADY    announces itself at the longest gap
STOPPED   over; hears nothing
========  ==============================================================================

Gaps, in seconds: 0.1, 0.2, 0.4 and so on to 51.2, then always 51.2.  After a wake-up,
which announces at once: 0.2, 0.4 and so on to 102.4, then always 102.4.

Datagrams are not authenticated.  Hence: parsing keeps nothing, what is heard is a hint
that lowers nobody's trust, what we sent ourselves and port 0 are ignored, and of the
rest at most `ANSWER_BURST` at once and `ANSWER_RATE` a second are passed on, whoever
sent them: sources can be forged, so there is no point in counting by source.

Source: the discovery module of the reference node, as it runs in 2019 (that of 2026 is
never started); the caps, and the refusal of port 0, are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from ..spec.address import Address
from ..spec.datagram import DATAGRAM, Datagram, read_datagram
from ..spec.identity import PeerId
from ..spec.point import Point
from .machine import RUNNERS, Row, States, Table, Trigger, shared

#: Seconds after the first announcement; also the least between two.
FIRST_GAP: Final = 0.1
#: How often the gap is doubled.
DOUBLINGS: Final = 9
#: Points a second that are passed on in the long run.
ANSWER_RATE: Final = 10.0
#: Points that are passed on at once after a long silence.
ANSWER_BURST: Final = 50.0


class State(States):
    """Where the worker stands."""

    INACTIVE = "not started yet"
    SEEKING = "announces itself, ever more seldom"
    STEADY = "announces itself at the longest gap"
    STOPPED = "over"


_BUSY: Final = (State.SEEKING, State.STEADY)
_LIVE: Final = (State.INACTIVE, *_BUSY)

# fmt: off
#: Everything that the worker can do.
TABLE: Final = Table("discovery", State, State.INACTIVE, (
    #   trigger     source          dest           guard             after
    Row("start",    State.INACTIVE, State.SEEKING, (),               ("_begin",)),
    Row("announce", State.SEEKING,  State.STEADY,  ("_is_slowest",), ("_announce",)),
    Row("announce", State.SEEKING,  None,          (),               ("_announce",)),
    Row("announce", State.STEADY,   None,          (),               ("_announce",)),
    Row("wake",     _BUSY,          State.SEEKING, (),               ("_hasten",)),
    Row("stop",     _LIVE,          State.STOPPED, (),               ("_cease",)),
))
# fmt: on


@attrs.define(eq=False)
class Discovery:
    """Announces one node to its neighbours, and hears of theirs.

    Every ``now`` is monotonic seconds of one clock and never decreases.

    Args:
        peer_id: ours.
        port: TCP port on which we listen, 1 to 65535.
        runner: ``machine.shared``, or ``machine.compiled`` for simulations.

    Attributes:
        state: where it stands.
        passed_over: datagrams of others that were good, but too many.

    Raises:
        ValueError: the port is 0.
        EncodeError: the port does not fit.
    """

    _peer_id: PeerId
    _port: int
    _runner: Callable[[Table, type], Mapping[str, Trigger]] = shared
    state: State = attrs.field(default=State.INACTIVE, init=False)
    passed_over: int = attrs.field(default=0, init=False)
    _datagram: bytes = attrs.field(init=False, repr=False)
    # The sender: when the next is due, when the last was sent, the gap, whether one
    # waits to be fetched.
    _due: float | None = attrs.field(default=None, init=False)
    _last: float = attrs.field(default=0.0, init=False)
    _base: float = attrs.field(default=FIRST_GAP, init=False)
    _doubled: int = attrs.field(default=0, init=False)
    _waiting: bool = attrs.field(default=False, init=False)
    # The listener: how many points may be passed on, as of when.
    _allowance: float = attrs.field(default=ANSWER_BURST, init=False)
    _heard: float = attrs.field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        """Encode what never changes."""
        if self._port == 0:
            raise ValueError("a node that does not listen has nothing to announce")
        self._datagram = DATAGRAM.encode(Datagram(self._peer_id, self._port))

    # -- inputs ------------------------------------------------------------------------

    def start(self, now: float) -> None:
        """Announce ourselves, and listen.

        Raises:
            LocalProtocolError: it was started or stopped before.
        """
        self._fire("start", now)
        self._fire("announce", now)

    def wake(self, now: float) -> None:
        """Announce ourselves at once, and often for a while; harmless if not started.

        Wake-ups that come in quick succession wait for `FIRST_GAP`.
        """
        if self.state in _BUSY:
            self._fire("wake", now)
            self.handle_timeout(now)

    def handle_timeout(self, now: float) -> None:
        """Announce ourselves if it is time; harmless if it is not."""
        if self._due is not None and now >= self._due:
            self._fire("announce", now)

    def receive(self, source: Address, data: bytes, now: float) -> Point | None:
        """Take a datagram.  Never raises.

        Args:
            source: where it says that it comes from.
            data: its bytes.
            now: the present.

        Returns:
            Where somebody else listens, if that is what it says; it may be one of our
            own points all the same, and must not lower the trust in a known one.
        """
        if self.state not in _BUSY:
            return None
        datagram = read_datagram(data)
        if datagram is None or datagram.peer_id == self._peer_id or not datagram.port:
            return None
        gained = (now - self._heard) * ANSWER_RATE
        self._allowance = min(self._allowance + gained, ANSWER_BURST)
        self._heard = now
        if self._allowance < 1.0:
            self.passed_over += 1
            return None
        self._allowance -= 1.0
        return Point(source, datagram.port)

    def stop(self, now: float) -> None:
        """Neither announce nor hear any more; harmless if it has stopped."""
        if self.state is not State.STOPPED:
            self._fire("stop", now)

    # -- outputs -----------------------------------------------------------------------

    def next_datagram(self) -> bytes | None:
        """Return 28 bytes to broadcast now, or None.

        Whether that works need not be reported: the next will follow.  One that was not
        fetched before the next is due is not sent twice.
        """
        waiting, self._waiting = self._waiting, False
        return self._datagram if waiting else None

    def next_timeout(self) -> float | None:
        """Return when the next announcement is due, or None."""
        return self._due

    # -- steps: run by the table, cannot fail ------------------------------------------

    def _fire(self, trigger: str, now: float) -> None:
        _FIRE[self._runner][trigger](self, now)

    def _begin(self, now: float) -> None:
        self._heard = now

    def _is_slowest(self, now: float) -> bool:  # noqa: ARG002  # as all guards get it
        return self._doubled == DOUBLINGS

    def _announce(self, now: float) -> None:
        self._waiting = True
        self._last = now
        self._due = now + self._base * 2**self._doubled
        self._doubled = min(self._doubled + 1, DOUBLINGS)

    def _hasten(self, now: float) -> None:
        self._base, self._doubled = 2 * FIRST_GAP, 0
        self._due = max(now, self._last + FIRST_GAP)

    def _cease(self, now: float) -> None:  # noqa: ARG002  # as all steps get it
        self._due = None
        self._waiting = False


#: The triggers of both runners, built once.
_FIRE: Final[Mapping[Any, Mapping[str, Trigger]]] = {
    runner: runner(TABLE, Discovery) for runner in RUNNERS.values()
}
