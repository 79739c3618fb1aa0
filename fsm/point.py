"""What is known of a point: who was met there, when, and when it may be dialled again.

============  ==========================================================================
state         meaning
============  ==========================================================================
DISCONNECTED  nobody is there for us
REQUESTED     we dial it, or wait for it to prove who it is
ACCEPTED      somebody proved who it is and we accepted; their answer is awaited
RUNNING       messages flow
============  ==========================================================================

An incoming connection never passes through REQUESTED.  ACCEPTED reserves the point: who
comes for the same one meanwhile is refused.

Back-off: after an attempt that failed (from REQUESTED or ACCEPTED) the next has to wait,
1 second at first, then 1.2 times as long each time, up to two days.  After a connection
that ran, 60 seconds, and the series begins anew.  Nothing else ends it: neither trust
nor success.  It is advice: maintenance asks `PointInfo.may_dial`, while an attempt that
somebody wishes explicitly, or that comes in, does not care.  It is no greylist either.

Not here: who is trusted, expected, named, reached or advertised; those are facts that the
pool and the admission of peers read and set as they like.

Source: the point-state and point-reconnection modules of the reference node, 2026; its
connections that end by our own wish are logged as such here, which it intended.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol, TypeVar

import attrs

from ..spec.identity import PeerId
from ..spec.point import Point
from ..spec.pool_events import PointEvent, PointEventKind
from .machine import RUNNERS, LocalProtocolError, Row, States, Table, Trigger, shared

#: Most lines of history that are kept of one point, or of one peer.
EVENTS_MAX: Final = 100


class State(States):
    """Where a point stands."""

    DISCONNECTED = "nobody is there for us"
    REQUESTED = "we dial it, or wait for it to prove who it is"
    ACCEPTED = "we have accepted them; their answer is awaited"
    RUNNING = "messages flow"


_BEFORE: Final = (State.DISCONNECTED, State.REQUESTED)

# fmt: off
#: Everything that a point can do.
TABLE: Final = Table("point", State, State.DISCONNECTED, (
    #   trigger       source                      dest                guard  after
    Row("request",    _BEFORE,                    State.REQUESTED,    (), ("_dial",)),
    Row("accept",     _BEFORE,                    State.ACCEPTED,     (), ("_reserve",)),
    Row("run",        (*_BEFORE, State.ACCEPTED), State.RUNNING,      (), ("_meet",)),
    Row("disconnect", State.REQUESTED,            State.DISCONNECTED, (), ("_miss",)),
    Row("disconnect", State.ACCEPTED,             State.DISCONNECTED, (), ("_reject",)),
    Row("disconnect", State.RUNNING,              State.DISCONNECTED, (), ("_lose",)),
))
# fmt: on


@attrs.frozen
class Backoff:
    """How long to wait before a point is dialled again, in seconds.

    Attributes:
        factor: how much longer each time, 1 or more.
        initial: after the first failure, 0 or more.
        after_disconnection: after a connection that ran, 0 or more.
        cap: no wait after a failure is longer, 0 or more.

    Raises:
        ValueError: every value that is out of range, at once.
    """

    factor: float = 1.2
    initial: float = 1.0
    after_disconnection: float = 60.0
    cap: float = 172_800.0

    def __attrs_post_init__(self) -> None:
        """Check the ranges; infinity and not-a-number are none."""
        lowest = {"factor": 1.0, "initial": 0.0, "after_disconnection": 0.0, "cap": 0.0}
        faults = [
            f"{name} {getattr(self, name)} is not a number of at least {low:g}"
            for name, low in lowest.items()
            if not low <= getattr(self, name) < math.inf
        ]
        if faults:
            raise ValueError("; ".join(faults))

    def longer(self, delay: float) -> float:
        """Return the wait that follows one of ``delay`` seconds."""
        return min(self.factor * delay, self.cap)


class _Dated(Protocol):
    """Anything that has a moment, in monotonic seconds."""

    @property
    def at(self) -> float: ...


D = TypeVar("D", bound=_Dated)


class Meeting(NamedTuple):
    """Somebody, at some moment.

    Attributes:
        peer_id: who.
        at: monotonic seconds.
    """

    peer_id: PeerId
    at: float


class _Step(NamedTuple):
    """The fact of every trigger."""

    now: float
    link: int | None = None
    peer_id: PeerId | None = None
    requested: bool = False


@attrs.define(eq=False, weakref_slot=False)
class PointInfo:
    """What is known of one point.

    Args:
        point: which.
        trusted: whether it may connect in private mode, and stays when others are
            collected.
        expected: who has to be there; None if anybody may.
        backoff: how long to wait between attempts.
        runner: ``machine.shared``, or ``machine.compiled`` for simulations.

    Attributes:
        state: where it stands.
        named: whether whoever runs the node has named it, and not only others.
        reached: when a dial of ours last found somebody of our network there, as of the
            end of that connection or attempt; who comes to us proves no port.
        known_public: whether somebody proved who it is there, and did not ask not to be
            advertised.
        link: the connection or attempt; None while DISCONNECTED.
        peer_id: who is there; None unless ACCEPTED or RUNNING.
        last_failed: when an attempt failed before they proved who they are.
        last_rejected: the last whom we accepted in vain.
        last_established: the last who ran.
        last_disconnection: the last who ran and went.
        retry_at: until then, inclusive, it is better not dialled; None if it may be.
    """

    point: Point
    trusted: bool = False
    expected: PeerId | None = None
    backoff: Backoff = attrs.field(default=Backoff(), repr=False)
    runner: Callable[..., Mapping[str, Trigger]] = attrs.field(default=shared, repr=False)
    state: State = attrs.field(default=State.DISCONNECTED, init=False)
    named: bool = attrs.field(default=False, init=False)
    reached: float | None = attrs.field(default=None, init=False)
    known_public: bool = attrs.field(default=False, init=False)
    link: int | None = attrs.field(default=None, init=False)
    peer_id: PeerId | None = attrs.field(default=None, init=False)
    last_failed: float | None = attrs.field(default=None, init=False)
    last_rejected: Meeting | None = attrs.field(default=None, init=False)
    last_established: Meeting | None = attrs.field(default=None, init=False)
    last_disconnection: Meeting | None = attrs.field(default=None, init=False)
    retry_at: float | None = attrs.field(default=None, init=False)
    _delay: float | None = attrs.field(default=None, init=False, repr=False)
    # Most known points were never tried: none of them has a ring.
    _events: list[PointEvent] | None = attrs.field(default=None, init=False, repr=False)

    # -- inputs ------------------------------------------------------------------------

    def request(self, link: int, now: float) -> None:
        """Dial it; in REQUESTED, another attempt takes over.

        Raises:
            LocalProtocolError: somebody is there already.
        """
        self._fire("request", _Step(now, link))

    def accept(self, link: int, peer_id: PeerId, now: float) -> None:
        """Reserve it for somebody whom we accept.

        Raises:
            LocalProtocolError: somebody is there already.
        """
        self._fire("accept", _Step(now, link, peer_id))

    def may_run(self, peer_id: PeerId) -> bool:
        """Whether `run` is possible with them."""
        if self.state is State.ACCEPTED:
            return self.peer_id == peer_id
        return self.state is not State.RUNNING

    def run(self, peer_id: PeerId, now: float, link: int | None = None) -> None:
        """Take note that messages flow.

        Args:
            peer_id: who is there.
            now: the present.
            link: the connection; by default the one that dialled it, or that it was
                reserved for.

        Raises:
            LocalProtocolError: it runs already, is reserved for somebody else, or no
                connection is known.
        """
        if not self.may_run(peer_id):
            raise LocalProtocolError("run", self.state.name, f"not for {peer_id}")
        link = self.link if link is None else link
        if link is None:
            raise LocalProtocolError("run", self.state.name, "by which connection?")
        self._fire("run", _Step(now, link, peer_id))

    def disconnect(self, now: float, *, requested: bool = False) -> None:
        """Take note that the attempt or the connection is over.

        Args:
            now: the present.
            requested: whether we wished it; only the history of a connection that ran
                tells the difference.

        Raises:
            LocalProtocolError: nobody was there.
        """
        self._fire("disconnect", _Step(now, requested=requested))

    # -- questions ---------------------------------------------------------------------

    def may_dial(self, now: float) -> bool:
        """Whether nobody is there and the back-off is over."""
        if self.state is not State.DISCONNECTED:
            return False
        return self.retry_at is None or now > self.retry_at

    @property
    def last_seen(self) -> Meeting | None:
        """Who was last met there, and when: rejected, established or gone."""
        return latest(self.last_rejected, self.last_established, self.last_disconnection)

    @property
    def last_miss(self) -> float | None:
        """When it last failed, rejected somebody, or lost somebody."""
        at = self.last_failed
        for meeting in (self.last_rejected, self.last_disconnection):
            if meeting is not None and (at is None or meeting.at > at):
                at = meeting.at
        return at

    @property
    def events(self) -> tuple[PointEvent, ...]:
        """The last hundred things that happened, oldest first."""
        return () if self._events is None else tuple(self._events)

    # -- steps: run by the table, cannot fail ------------------------------------------

    def _fire(self, trigger: str, fact: _Step) -> None:
        _FIRE[self.runner][trigger](self, fact)

    def _dial(self, fact: _Step) -> None:
        self.link = fact.link
        self._tell(PointEventKind.OUTGOING_REQUEST, fact.now)

    def _reserve(self, fact: _Step) -> None:
        self.link, self.peer_id = fact.link, fact.peer_id
        self._tell(PointEventKind.ACCEPTING_REQUEST, fact.now)

    def _meet(self, fact: _Step) -> None:
        self.link, self.peer_id = fact.link, fact.peer_id
        self.last_established = self._meeting(fact)
        self._tell(PointEventKind.CONNECTION_ESTABLISHED, fact.now)

    def _miss(self, fact: _Step) -> None:
        self.last_failed = fact.now
        self._tell(PointEventKind.REQUEST_REJECTED, fact.now)
        self._leave_after_failure(fact.now)

    def _reject(self, fact: _Step) -> None:
        self.last_rejected = self._meeting(fact)
        self._tell(PointEventKind.REQUEST_REJECTED, fact.now)
        self._leave_after_failure(fact.now)

    def _lose(self, fact: _Step) -> None:
        self.last_disconnection = self._meeting(fact)
        ours = fact.requested
        kind = PointEventKind
        self._tell(kind.DISCONNECTION if ours else kind.EXTERNAL_DISCONNECTION, fact.now)
        self.retry_at = fact.now + self.backoff.after_disconnection
        self._delay = self.backoff.initial
        self.link = self.peer_id = None

    def _leave_after_failure(self, now: float) -> None:
        delay = self.backoff.initial if self._delay is None else self._delay
        delay = min(delay, self.backoff.cap)
        self.retry_at = now + delay
        self._delay = self.backoff.longer(delay)
        self.link = self.peer_id = None

    def _meeting(self, fact: _Step) -> Meeting:
        assert self.peer_id is not None
        return Meeting(self.peer_id, fact.now)

    def _tell(self, kind: PointEventKind, now: float) -> None:
        if self._events is None:
            self._events = []  # of most there is one or two: a ring would be bigger
        elif len(self._events) == EVENTS_MAX:
            del self._events[0]
        self._events.append(PointEvent(kind, now, self.peer_id))


def latest(*dated: D | None) -> D | None:
    """Return the last of some things; of those at the same moment, the first."""
    found = None
    for each in dated:
        if each is not None and (found is None or each.at > found.at):
            found = each
    return found


# The class's own parts, named here because they are data of the machine.
# pyright: reportPrivateUsage=false

#: The triggers of both runners, built once.
_FIRE: Final[Mapping[Any, Mapping[str, Trigger]]] = {
    runner: runner(TABLE, PointInfo) for runner in RUNNERS.values()
}
