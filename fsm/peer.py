"""What is known of a peer: when and where it was met, and what the node remembers of it.

============  ==========================================================================
state         meaning
============  ==========================================================================
DISCONNECTED  they are not here
ACCEPTED      we have accepted them; their answer is awaited
RUNNING       messages flow
============  ==========================================================================

There is at most one connection with each peer: ACCEPTED reserves it, and whoever comes
with the same identity meanwhile is refused, from wherever.  A connection runs at the
place for which it was accepted.

Source: the peer-state module of the reference node, 2026; its connections that end by
our own wish are logged as such here, which it intended.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Generic, NamedTuple, TypeVar

import attrs

from ..spec.identity import PeerId
from ..spec.point import ConnectionId
from ..spec.pool_events import PeerEvent, PeerEventKind
from .machine import RUNNERS, LocalProtocolError, Row, States, Table, Trigger, shared
from .point import EVENTS_MAX, latest

Meta = TypeVar("Meta")

#: Where a peer can be reached: an address, and the port on which it listens if known.
IdPoint = ConnectionId


class State(States):
    """Where a peer stands."""

    DISCONNECTED = "they are not here"
    ACCEPTED = "we have accepted them; their answer is awaited"
    RUNNING = "messages flow"


_BEFORE: Final = (State.DISCONNECTED, State.ACCEPTED)

# fmt: off
#: Everything that a peer can do.
TABLE: Final = Table("peer", State, State.DISCONNECTED, (
    #   trigger       source              dest                guard  after
    Row("accept",     State.DISCONNECTED, State.ACCEPTED,     (),    ("_reserve",)),
    Row("run",        _BEFORE,            State.RUNNING,      (),    ("_meet",)),
    Row("disconnect", State.ACCEPTED,     State.DISCONNECTED, (),    ("_reject",)),
    Row("disconnect", State.RUNNING,      State.DISCONNECTED, (),    ("_lose",)),
))
# fmt: on


class Contact(NamedTuple):
    """Somewhere, at some moment.

    Attributes:
        id_point: where.
        at: monotonic seconds.
    """

    id_point: IdPoint
    at: float


class _Step(NamedTuple):
    """The fact of every trigger."""

    now: float
    id_point: IdPoint
    link: int | None = None
    requested: bool = False


@attrs.define(eq=False, weakref_slot=False)
class PeerInfo(Generic[Meta]):
    """What is known of one peer.

    Moments are monotonic seconds; those that a file remembers from before the node was
    started may be negative.

    Args:
        peer_id: who.
        created: when it was first met.
        metadata: what the application remembers of it.
        trusted: whether it may connect in private mode, and stays when others are
            collected.
        last_failed: when and where an attempt failed; only files know of it.
        last_rejected: the last time that we accepted it in vain.
        last_established: the last time that it ran.
        last_disconnection: the last time that it went.
        runner: ``machine.shared``, or ``machine.compiled`` for simulations.

    Attributes:
        state: where it stands.
        link: its connection; None while DISCONNECTED.
        id_point: where it is; None while DISCONNECTED.
    """

    peer_id: PeerId
    created: float
    metadata: Meta
    trusted: bool = False
    last_failed: Contact | None = attrs.field(default=None, kw_only=True)
    last_rejected: Contact | None = attrs.field(default=None, kw_only=True)
    last_established: Contact | None = attrs.field(default=None, kw_only=True)
    last_disconnection: Contact | None = attrs.field(default=None, kw_only=True)
    runner: Callable[..., Mapping[str, Trigger]] = attrs.field(
        default=shared, repr=False, kw_only=True
    )
    state: State = attrs.field(default=State.DISCONNECTED, init=False)
    link: int | None = attrs.field(default=None, init=False)
    id_point: IdPoint | None = attrs.field(default=None, init=False)
    _events: list[PeerEvent] | None = attrs.field(default=None, init=False, repr=False)

    # -- inputs ------------------------------------------------------------------------

    def remember(self, history: Iterable[PeerEvent]) -> None:
        """Add lines that a file remembers, oldest first; the last hundred are kept."""
        for event in history:
            self._keep(event)

    def accept(self, link: int, id_point: IdPoint, now: float) -> None:
        """Reserve the peer for a connection.

        Raises:
            LocalProtocolError: it has one already.
        """
        self._fire("accept", _Step(now, id_point, link))

    def may_run(self, id_point: IdPoint) -> bool:
        """Whether `run` is possible there."""
        if self.state is State.ACCEPTED:
            return self.id_point == id_point
        return self.state is not State.RUNNING

    def run(self, link: int, id_point: IdPoint, now: float) -> None:
        """Take note that messages flow.

        Raises:
            LocalProtocolError: it runs already, or was accepted somewhere else.
        """
        if not self.may_run(id_point):
            raise LocalProtocolError("run", self.state.name, f"not at {id_point}")
        self._fire("run", _Step(now, id_point, link))

    def disconnect(
        self, id_point: IdPoint, now: float, *, requested: bool = False
    ) -> None:
        """Take note that the connection is over.

        Args:
            id_point: where it was.
            now: the present.
            requested: whether we wished it; only the history of a connection that ran
                tells the difference.

        Raises:
            LocalProtocolError: there was none, or it was somewhere else.
        """
        if self.id_point is not None and self.id_point != id_point:
            raise LocalProtocolError("disconnect", self.state.name, f"not at {id_point}")
        self._fire("disconnect", _Step(now, id_point, requested=requested))

    # -- questions ---------------------------------------------------------------------

    @property
    def last_seen(self) -> Contact | None:
        """Where it was last met, and when: established, rejected or gone."""
        return latest(self.last_established, self.last_rejected, self.last_disconnection)

    @property
    def last_miss(self) -> Contact | None:
        """Where it last failed, rejected us or went, and when."""
        return latest(self.last_failed, self.last_rejected, self.last_disconnection)

    @property
    def events(self) -> tuple[PeerEvent, ...]:
        """The last hundred things that happened, oldest first."""
        return () if self._events is None else tuple(self._events)

    # -- steps: run by the table, cannot fail ------------------------------------------

    def _fire(self, trigger: str, fact: _Step) -> None:
        _FIRE[self.runner][trigger](self, fact)

    def _reserve(self, fact: _Step) -> None:
        self.link, self.id_point = fact.link, fact.id_point
        self._tell(PeerEventKind.INCOMING_REQUEST, fact)

    def _meet(self, fact: _Step) -> None:
        self.link, self.id_point = fact.link, fact.id_point
        self.last_established = Contact(fact.id_point, fact.now)
        self._tell(PeerEventKind.CONNECTION_ESTABLISHED, fact)

    def _reject(self, fact: _Step) -> None:
        self.last_rejected = Contact(fact.id_point, fact.now)
        self.link = self.id_point = None
        self._tell(PeerEventKind.REQUEST_REJECTED, fact)

    def _lose(self, fact: _Step) -> None:
        self.last_disconnection = Contact(fact.id_point, fact.now)
        self.link = self.id_point = None
        ours = fact.requested
        kind = PeerEventKind
        self._tell(kind.DISCONNECTION if ours else kind.EXTERNAL_DISCONNECTION, fact)

    def _tell(self, kind: PeerEventKind, fact: _Step) -> None:
        self._keep(PeerEvent(kind, fact.now, fact.id_point))

    def _keep(self, event: PeerEvent) -> None:
        if self._events is None:
            self._events = []  # of most there is one or two: a ring would be bigger
        elif len(self._events) == EVENTS_MAX:
            del self._events[0]
        self._events.append(event)


# The class's own parts, named here because they are data of the machine.
# pyright: reportPrivateUsage=false

#: The triggers of both runners, built once.
_FIRE: Final[Mapping[Any, Mapping[str, Trigger]]] = {
    runner: runner(TABLE, PeerInfo) for runner in RUNNERS.values()
}
