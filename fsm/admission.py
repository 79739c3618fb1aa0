"""One attempt at a connection, out or in: from the wish to its end; who is admitted.

An attempt holds what it has taken: the state of the point and of the peer, its place
among the connections, its seat among the handshakes in progress.  Whatever ends it gives
all of that back, in the same step: it is the table that does it, not its callers.

===========  ===========================================================================
state        holds
===========  ===========================================================================
IDLE         nothing yet
DIALLING     the point is requested, if we dialled
HANDSHAKING  the same, or a seat among the incoming handshakes
ACCEPTED     point and peer are accepted, and a place is reserved; our answer is sent
RUNNING      a place; point and peer are running
LEAVING      the socket only
GONE         nothing
===========  ===========================================================================

Who is admitted, once the other side has proven who it is, in this order; places are
counted with those reserved, so that arrivals at the same moment cannot exceed a limit:

1.  not a banned peer, nor another than the one expected at the point: closed, no nack;
2.  our network and a common version: else a nack that says which is missing;
3.  below the threshold for connections, whoever has dialled, or one more would have
    maintenance trim many; a swap, which gives a place back at once, below the most: else
    a nack;
4.  in private mode only who is trusted, by point or by peer: else closed, no nack;
5.  nobody whose point or peer is accepted or running already, nor, incoming, whose point
    is being dialled: else a nack.

Source: the connect handler of the reference node, 2026.  It leaves a dialled point
requested for ever after some refusals, and counts no reserved places; we do neither.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, TypeVar

import attrs

from ..spec.events import Remote
from ..spec.identity import PeerId
from ..spec.motive import Motive
from ..spec.point import ConnectionId, Point
from ..spec.reasons import Disconnection, ErrorKind, P2pError, Reason
from ..spec.version import Version
from . import peer as peers
from . import point as points
from .machine import RUNNERS, Row, States, Table, Trigger, shared
from .peer import PeerInfo
from .point import PointInfo
from .pool import Pool, Running

Meta = TypeVar("Meta")
Runner = Callable[[Table, type], Mapping[str, Trigger]]


class State(States):
    """Where an attempt stands."""

    IDLE = "nothing begun"
    DIALLING = "a TCP connection is being made"
    HANDSHAKING = "connected; neither side has accepted"
    ACCEPTED = "we have accepted; their answer is awaited"
    RUNNING = "established: both sides have accepted"
    LEAVING = "over; the socket is not closed yet"
    GONE = "over, and the socket is closed"


#: Begun, and not come to anything yet.
PENDING: Final = (State.DIALLING, State.HANDSHAKING, State.ACCEPTED)

# fmt: off
#: Everything that an attempt can do.
TABLE: Final = Table("admission", State, State.IDLE, (
    #   trigger    source             dest               guard  after
    Row("dial",    State.IDLE,        State.DIALLING,    (),    ("_request",)),
    Row("arrive",  State.IDLE,        State.HANDSHAKING, (),    ("_take_seat",)),
    Row("made",    State.DIALLING,    State.HANDSHAKING, (),    ()),
    Row("accept",  State.HANDSHAKING, State.ACCEPTED,    (),    ("_reserve",)),
    Row("run",     State.ACCEPTED,    State.RUNNING,     (),    ("_settle_in",)),
    Row("leave",   State.DIALLING,    State.LEAVING,     (),    ("_return_request",)),
    Row("leave",   State.HANDSHAKING, State.LEAVING,     (),    ("_return_request",)),
    Row("leave",   State.ACCEPTED,    State.LEAVING,     (),    ("_return_reservation",)),
    Row("leave",   State.RUNNING,     State.LEAVING,     (),    ("_return_place",)),
    Row("lost",    State.LEAVING,     State.GONE,        (),    ()),
))
# fmt: on

_POINT_TAKEN: Final = (points.State.ACCEPTED, points.State.RUNNING)
_PEER_TAKEN: Final = (peers.State.ACCEPTED, peers.State.RUNNING)


@attrs.define(eq=False)
class Places:
    """Places that are reserved and seats that are taken, of one node.

    Attributes:
        reserved: attempts in `State.ACCEPTED`.
        incoming: incoming attempts before `State.RUNNING`.
        coming: those of them that are in `State.ACCEPTED`.
        untold: connections that are over, which the application was not told yet.
        runner: what executes the table.
        watch: told of an attempt after each of its steps; for who records them.
    """

    reserved: int = 0
    incoming: int = 0
    coming: int = 0
    untold: int = 0
    runner: Runner = attrs.field(default=shared, repr=False)
    watch: Callable[[Attempt[Any]], object] | None = attrs.field(default=None, repr=False)

    def taken(self, active: int) -> int:
        """Return how many places are taken, if so many connections run."""
        return active + self.reserved + self.untold


@attrs.frozen
class Candidate(Generic[Meta]):
    """Who wants to be admitted, as the tables know it; the fact of ``accept``.

    Attributes:
        remote: who they are.
        id_point: their address, and the port that they announce or that we dialled.
        point: what is known of the point, or None: they announce no port, or ours.
        peer: what is known of the peer.
        now: the present.
    """

    remote: Remote
    id_point: ConnectionId
    point: PointInfo | None
    peer: PeerInfo[Meta]
    now: float


@attrs.define(eq=False, weakref_slot=False)
class Attempt(Generic[Meta]):
    """One attempt at a connection.

    Args:
        link: its number.
        incoming: whether the other side dialled.
        remote_point: what was dialled, or where the incoming connection comes from.
        pool: whose tables it is entered in.
        places: of the node.
        began: when the step began that is under way.

    Attributes:
        state: where it stands.
        point: what is known of the point, as far as there is one.
        peer: what is known of the peer, once it is accepted.
        running: the line in the pool's table, while established.
        swaps: whether a swap has brought it about.
        known: whether the workers know how it went.
        reached: whether we have dialled, and somebody of our network was there.
        ours: whether we have ended it.
        told: whether the application knows of it, and was not told yet that it is over.
        farewell: what the application has to be told when all messages are pulled.
    """

    link: int
    incoming: bool
    remote_point: Point
    pool: Pool[Meta]
    places: Places
    began: float = 0.0
    state: State = attrs.field(default=State.IDLE, init=False)
    point: PointInfo | None = attrs.field(default=None, init=False)
    peer: PeerInfo[Meta] | None = attrs.field(default=None, init=False)
    id_point: ConnectionId | None = attrs.field(default=None, init=False)
    running: Running[Meta] | None = attrs.field(default=None, init=False)
    swaps: bool = attrs.field(default=False, init=False)
    known: bool = attrs.field(default=False, init=False)
    reached: bool = attrs.field(default=False, init=False)
    ours: bool = attrs.field(default=False, init=False)
    told: bool = attrs.field(default=False, init=False)
    farewell: Disconnection | None = attrs.field(default=None, init=False)

    def dial(self, point: PointInfo, now: float) -> None:
        """Begin as the side that dials; the point must be disconnected."""
        self.point = point
        self._fire("dial", now)

    def arrive(self) -> None:
        """Begin as the side that is dialled."""
        self._fire("arrive", None)

    def made(self) -> None:
        """Take note that the TCP connection is there."""
        self._fire("made", None)

    def accept(self, candidate: Candidate[Meta]) -> None:
        """Reserve point, peer and a place; they must be free, see `refusal`."""
        self._fire("accept", candidate)

    def run(self, running: Running[Meta], now: float) -> None:
        """Enter the pool's tables: both sides have accepted."""
        self._fire("run", (running, now))

    def leave(self, now: float) -> None:
        """Give everything back; harmless when that is done."""
        if self.state not in (State.LEAVING, State.GONE):
            self._fire("leave", now)
            if self.reached and self.point is not None:
                self.point.reached = now

    def lost(self, now: float) -> None:
        """Take note that the socket is closed."""
        self.leave(now)
        self._fire("lost", None)

    # -- steps: run by the table, cannot fail ------------------------------------------

    def _fire(self, trigger: str, fact: object) -> None:
        _FIRE[self.places.runner][trigger](self, fact)
        if self.places.watch is not None:
            self.places.watch(self)

    def _request(self, now: float) -> None:
        assert self.point is not None
        self.point.request(self.link, now)

    def _take_seat(self, _: None) -> None:
        self.places.incoming += 1

    def _reserve(self, candidate: Candidate[Meta]) -> None:
        self.places.reserved += 1
        self.places.coming += self.incoming
        self.peer, self.id_point = candidate.peer, candidate.id_point
        peer_id = candidate.remote.peer_id
        if candidate.point is not None:
            self.point = candidate.point
            self.point.accept(self.link, peer_id, candidate.now)
        self.peer.accept(self.link, candidate.id_point, candidate.now)

    def _settle_in(self, fact: tuple[Running[Meta], float]) -> None:
        self.running, now = fact
        self.places.reserved -= 1
        self.places.coming -= self.incoming
        self.places.incoming -= self.incoming
        self.pool.join(self.running, now)

    def _return_request(self, now: float) -> None:
        self.places.incoming -= self.incoming
        if self.point is not None:
            self.point.disconnect(now)

    def _return_reservation(self, now: float) -> None:
        self.places.incoming -= self.incoming
        self.places.reserved -= 1
        self.places.coming -= self.incoming
        assert self.peer is not None
        assert self.id_point is not None
        if self.point is not None:
            self.point.disconnect(now)
        self.peer.disconnect(self.id_point, now)

    def _return_place(self, now: float) -> None:
        self.pool.leave(self.link, now, requested=self.ours)


@attrs.frozen
class Rules:
    """What a node asks of whom it admits.

    Attributes:
        threshold: connections from which others are refused, whoever has dialled.
        most: connections from which swaps are, and nobody is dialled.
        private_mode: whether only the trusted are admitted.
    """

    threshold: int
    most: int
    private_mode: bool


def wrong_identity(point: PointInfo | None, remote: Remote) -> bool:
    """Whether somebody else than the expected peer is at a point."""
    expected = None if point is None else point.expected
    return expected is not None and expected != remote.peer_id


def refusal(
    rules: Rules,
    incoming: bool,
    candidate: Candidate[Any],
    agreement: Version | Motive,
    places: int,
) -> Motive | Disconnection | None:
    """Return why a candidate is not admitted, or None.

    Args:
        rules: the node's.
        incoming: whether the other side dialled.
        candidate: who it is, banned and wrong peers aside.
        agreement: the versions to use, or what is missing.
        places: connections that run or are reserved; if it is a swap, fewer by what it
            may exceed the threshold.

    Returns:
        A motive to tell them in a nack; a reason to close without a nack; or None.
    """
    point, peer = candidate.point, candidate.peer
    if isinstance(agreement, Motive):
        return agreement
    if places >= rules.threshold:
        return Motive.TOO_MANY_CONNECTIONS
    trusted = peer.trusted or (point is not None and point.trusted)
    if rules.private_mode and not trusted:
        return PRIVATE
    if point is not None and (
        point.state in _POINT_TAKEN
        or (point.state is points.State.REQUESTED and incoming)
    ):
        return Motive.ALREADY_CONNECTED
    return Motive.ALREADY_CONNECTED if peer.state in _PEER_TAKEN else None


#: How an attempt ends in private mode if nobody trusts the other side.
PRIVATE: Final = Disconnection(
    Reason.AUTHENTICATION_REJECTED_ERROR, (P2pError(ErrorKind.PRIVATE_MODE),)
)


def banned(peer_id: PeerId) -> Disconnection:
    """Return how an attempt ends if the peer is banned."""
    error = P2pError(ErrorKind.PEER_BANNED, str(peer_id), {"peer_id": peer_id})
    return Disconnection(Reason.AUTHENTICATION_REJECTED_ERROR, (error,))


# The class's own parts, named here because they are data of the machine.
# pyright: reportPrivateUsage=false

_FIRE: Final[Mapping[Any, Mapping[str, Trigger]]] = {
    runner: runner(TABLE, Attempt) for runner in RUNNERS.values()
}
