"""Who is known, and who is connected: tables of points and peers, kept within bounds.

=============  ============  ===========================================================
table          key           bound
=============  ============  ===========================================================
known_points   point         ``max_known_points``: (most, what collection leaves)
known_peers    peer id       ``max_known_peer_ids``
running        link          the rules of admission
own points     point         the 7 last ones
=============  ============  ===========================================================

Collection runs when something new comes to a full table, before it is entered.  Peers go
of the lowest score; points in this order, so that whoever teaches us a thousand drives
out those, and not what we know better:

1.  those that others have told of and nobody was ever met at, or that did not answer
    when they were last dialled;
2.  those that others have told of and somebody was met at: who comes to us may say that
    he listens anywhere;
3.  those that whoever runs the node has named: seeds, anchors, what a file has kept;
4.  those that are worth keeping, which somebody else decides.

Within each, those that were missed longest ago, those never tried last; of equals, points
or peers, the newest, so that a flood of strangers drives out itself.  Who is trusted, and
who is connected or about to, stays: only they can exceed the bounds.

A look at a whole table must pay: an eighth of it at least goes at once.

Of one host not more than a few points are told to others: it may say of itself that it
listens at any number of ports.

Points that proved to be ourselves are never registered again by what others tell.

Source: the pool module of the reference node, 2026; as there, a table ends one above what
collection leaves, but never above its bound.  There all points go in the one order, and
where little less than the bound is to be left, the whole table is looked at for each
point that comes; of one host it tells whatever it knows.
"""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Generic, TypeVar

import attrs

from ..spec.asides import Neighbour
from ..spec.events import Remote
from ..spec.identity import PeerId
from ..spec.limits import Limits
from ..spec.point import ConnectionId, Point
from ..spec.pool_events import GcPeerIds, GcPoints, NewPeer, NewPoint, PoolEvent
from ..spec.version import Version
from .machine import LocalProtocolError, Trigger, shared
from .peer import PeerInfo
from .peer import State as PeerState
from .point import Backoff, PointInfo
from .point import State as PointState
from .prefix import Prefix
from .sampling import Bag, Random, sample
from .scope import Scope, host_of, scope_of

Meta = TypeVar("Meta")

#: Points known to be ourselves that are remembered.
OWN_POINTS_MAX: Final = 7
#: Points of one host that others are told of.
TOLD_OF_HOST: Final = 4
#: One in so many of a full table goes at once, at least.
COLLECTED_SHARE: Final = 8
#: Unread events that are kept; the oldest go first.
EVENTS_MAX: Final = 1024


@attrs.define(eq=False, weakref_slot=False)
class Running(Generic[Meta]):
    """A connection that is established.

    Attributes:
        link: its number.
        peer: who it is.
        point: what is known of where it listens, or None.
        id_point: its address, and the port on which it listens, if it told.
        incoming: whether the other side dialled.
        private: whether it must not be advertised.
        version: the versions agreed on.
        remote: what it told of itself.
        since: monotonic seconds.
    """

    link: int
    peer: PeerInfo[Meta]
    point: PointInfo | None
    id_point: ConnectionId
    incoming: bool
    private: bool
    version: Version
    remote: Remote
    since: float

    def __repr__(self) -> str:
        """Show who it is and where; what is known of it is long."""
        way = "incoming" if self.incoming else "outgoing"
        return f"<Running {self.link} {self.peer.peer_id} {self.id_point} {way}>"

    @property
    def trusted(self) -> bool:
        """Whether the peer or its point is trusted now."""
        return self.peer.trusted or (self.point is not None and self.point.trusted)


def _nobody(_info: PointInfo, _now: float) -> bool:
    return False


@attrs.define(eq=False)
class Pool(Generic[Meta]):
    """The tables of one node.

    Every ``now`` is monotonic seconds of one clock and never decreases.  Entering,
    leaving and looking up cost the same however much is known, collection aside.

    Args:
        limits: bounds of the tables.
        new_metadata: makes what is remembered of a peer that was never met.
        score: of a peer, from what is remembered.
        random: for lists of points and for choices among connections.
        backoff: of points.
        runner: ``machine.shared``, or ``machine.compiled`` for simulations.
        worth_keeping: of a point that is not connected, and the present: whether others
            should leave a full table before it.

    Attributes:
        known_points: in order of registration.
        known_peers: in order of registration.
        running: by link, in order of establishment.
        news: points and peers that were ever entered.
        events: for observers, unread; the oldest go first.
    """

    _limits: Limits
    _new_metadata: Callable[[], Meta]
    _score: Callable[[Meta], float]
    _random: Random
    _backoff: Backoff = attrs.field(factory=Backoff)
    _runner: Callable[..., Mapping[str, Trigger]] = shared
    _worth_keeping: Callable[[PointInfo, float], bool] = _nobody
    known_points: dict[Point, PointInfo] = attrs.field(
        factory=dict[Point, PointInfo], init=False
    )
    known_peers: dict[PeerId, PeerInfo[Meta]] = attrs.field(
        factory=dict[PeerId, PeerInfo[Meta]], init=False
    )
    running: dict[int, Running[Meta]] = attrs.field(
        factory=dict[int, Running[Meta]], init=False
    )
    _by_peer: dict[PeerId, int] = attrs.field(factory=dict[PeerId, int], init=False)
    _by_point: dict[Point, int] = attrs.field(factory=dict[Point, int], init=False)
    _public: Bag[int] = attrs.field(factory=Bag[int], init=False)
    _public_with_port: Bag[int] = attrs.field(factory=Bag[int], init=False)
    _own: OrderedDict[Point, None] = attrs.field(
        factory=OrderedDict[Point, None], init=False
    )
    news: int = attrs.field(default=0, init=False)
    events: deque[PoolEvent] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Make the ring of events."""
        self.events = deque(maxlen=EVENTS_MAX)

    # -- registration ------------------------------------------------------------------

    def register_point(
        self,
        point: Point,
        now: float,
        *,
        trusted: bool | None = None,
        expected: PeerId | None = None,
        named: bool = True,
    ) -> PointInfo:
        """Enter a point, or change what is known of it.

        Args:
            point: which.
            now: the present.
            trusted: what its trust becomes; None leaves it.
            expected: who has to be there from now on; None leaves it.
            named: whether whoever runs the node says so; else it is only to be known.
        """
        info = self.known_points.get(point)
        if info is None:
            self._collect_points(now)
            info = PointInfo(point, backoff=self._backoff, runner=self._runner)
            self.known_points[point] = info
            self.events.append(NewPoint(point))
            self.news += 1
        info.named |= named
        if trusted is not None:
            info.trusted = trusted
        if expected is not None:
            info.expected = expected
        return info

    def register_new_point(self, point: Point, now: float) -> PointInfo | None:
        """Enter a point that somebody tells of; None if it is one of our own."""
        if self.is_own(point):
            return None
        return self.register_point(point, now, named=False)

    def meet(self, point: Point, now: float) -> None:
        """Enter a point of the local network, that somebody there tells of."""
        new = point not in self.known_points
        if self.register_new_point(point, now) is not None and new:
            self.events.append(Neighbour(point))

    def learn(self, points: Iterable[Point], now: float, *, named: bool = False) -> None:
        """Enter points that somebody told, but for our own.

        Args:
            points: which.
            now: the present.
            named: whether it was whoever runs the node.
        """
        for point in points:
            if not self.is_own(point):
                self.register_point(point, now, named=named)

    def unregister_point(self, point: Point) -> None:
        """Forget a point, whatever its state; harmless if it is not known."""
        self.known_points.pop(point, None)

    def register_peer(self, peer_id: PeerId, now: float) -> PeerInfo[Meta]:
        """Enter a peer, or return what is known of it."""
        info = self.known_peers.get(peer_id)
        if info is None:
            self._collect_peers()
            metadata = self._new_metadata()
            info = PeerInfo(peer_id, now, metadata, runner=self._runner)
            self.known_peers[peer_id] = info
            self.events.append(NewPeer(peer_id))
            self.news += 1
        return info

    def add_own_point(self, point: Point) -> None:
        """Remember that a point is ourselves; it is forgotten as another's."""
        self.unregister_point(point)
        self._own[point] = None
        self._own.move_to_end(point)
        if len(self._own) > OWN_POINTS_MAX:
            self._own.popitem(last=False)

    def is_own(self, point: Point) -> bool:
        """Whether a point proved to be ourselves lately; asking keeps it in memory."""
        if point not in self._own:
            return False
        self._own.move_to_end(point)
        return True

    # -- connections -------------------------------------------------------------------

    @property
    def active(self) -> int:
        """How many connections run."""
        return len(self.running)

    def join(self, running: Running[Meta], now: float) -> None:
        """Enter an established connection; point and peer run from now on.

        Raises:
            LocalProtocolError: its peer or its point has another one.
        """
        peer, point, link = running.peer, running.point, running.link
        if not peer.may_run(running.id_point):
            raise LocalProtocolError("join", peer.state.name, f"peer {peer.peer_id}")
        if point is not None:
            point.run(peer.peer_id, now, link)
            self._by_point[point.point] = link
        peer.run(link, running.id_point, now)
        self.running[link] = running
        self._by_peer[peer.peer_id] = link
        if not running.private:
            self._public.add(link)
            if running.id_point.port is not None:
                self._public_with_port.add(link)

    def leave(self, link: int, now: float, *, requested: bool = False) -> Running[Meta]:
        """Take out a connection that is over; its point and peer are free again.

        Args:
            link: which.
            now: the present.
            requested: whether we have ended it.

        Raises:
            KeyError: there is no such connection.
        """
        running = self.running.pop(link)
        peer, point = running.peer, running.point
        del self._by_peer[peer.peer_id]
        peer.disconnect(running.id_point, now, requested=requested)
        if point is not None:
            # What was forgotten while it ran may have been entered anew.
            if self._by_point.get(point.point) == link:
                del self._by_point[point.point]
            point.disconnect(now, requested=requested)
        self._public.discard(link)
        self._public_with_port.discard(link)
        return running

    def by_peer(self, peer_id: PeerId) -> Running[Meta] | None:
        """Return the connection of a peer, or None."""
        link = self._by_peer.get(peer_id)
        return None if link is None else self.running[link]

    def by_point(self, point: Point) -> Running[Meta] | None:
        """Return the connection at a point, or None."""
        link = self._by_point.get(point)
        return None if link is None else self.running[link]

    def random_running(
        self, *, with_port: bool = False, but: int | None = None
    ) -> Running[Meta] | None:
        """Return a connection that is not private, each as likely, or None.

        Args:
            with_port: only one of which it is known where it listens.
            but: a link that is not meant.
        """
        bag = self._public_with_port if with_port else self._public
        link = bag.pick(self._random, but)
        return None if link is None else self.running[link]

    # -- lists of points ---------------------------------------------------------------

    def advertised(
        self, size: int, *, banned: Callable[[Point], bool]
    ) -> tuple[Point, ...]:
        """Return points to tell others of: met, not private, not banned.

        Three fifths are the best: connected or about to, the longest unheard of first,
        then the others, the last seen first.  The rest is drawn from what is left.  Of
        one host on the Internet the first `TOLD_OF_HOST` count, and no others.

        Args:
            size: how many at most, 0 or more.
            banned: whether a point is not to be told of.
        """
        keyed = [
            (self._rank(info), point)
            for point, info in self.known_points.items()
            if info.known_public and not banned(point)
        ]
        keyed.sort(key=_first)
        points = _few_of_each(point for _, point in keyed)
        if len(points) <= size:
            return tuple(points)
        best = size - size * 2 // 5
        return (*points[:best], *sample(points[best:], size - best, self._random))

    def _rank(self, info: PointInfo) -> tuple[int, bool, float, float]:
        seen = info.last_seen
        at, draw = 0.0 if seen is None else seen.at, self._random()
        if info.state is PointState.DISCONNECTED:
            return 1, seen is None, -at, draw
        return 0, seen is not None, at, draw

    # -- collection --------------------------------------------------------------------

    def _collect_points(self, now: float) -> None:
        excess = _excess(len(self.known_points), self._limits.max_known_points)
        if not excess:
            return
        eligible = (
            (
                self._standing(info, now),
                now if info.last_miss is None else info.last_miss,
                -number,
                point,
            )
            for number, (point, info) in enumerate(self.known_points.items())
            if info.state is PointState.DISCONNECTED and not info.trusted
        )
        for _, _, _, point in heapq.nsmallest(excess, eligible):
            del self.known_points[point]
        self.events.append(GcPoints())

    def _standing(self, info: PointInfo, now: float) -> int:
        """Return how late a point goes: see above."""
        if self._worth_keeping(info, now):
            return 4
        if info.named:
            return 3
        met, failed = info.last_seen, info.last_failed
        return 1 if met is None or (failed is not None and failed > met.at) else 2

    def _collect_peers(self) -> None:
        excess = _excess(len(self.known_peers), self._limits.max_known_peer_ids)
        if not excess:
            return
        eligible = (
            (self._worth(info), -info.created, -number, peer_id)
            for number, (peer_id, info) in enumerate(self.known_peers.items())
            if info.state is PeerState.DISCONNECTED and not info.trusted
        )
        for _, _, _, peer_id in heapq.nsmallest(excess, eligible):
            del self.known_peers[peer_id]
        self.events.append(GcPeerIds())

    def _worth(self, info: PeerInfo[Meta]) -> float:
        score = self._score(info.metadata)
        return -math.inf if math.isnan(score) else score


def _first(keyed: tuple[Any, Point]) -> Any:
    return keyed[0]


def _excess(size: int, bounds: tuple[int, int] | None) -> int:
    """Return how many entries have to go before one more is entered."""
    if bounds is None or size < bounds[0]:
        return 0
    most, left = bounds
    return max(1, size - min(left, most - most // COLLECTED_SHARE))


def _few_of_each(points: Iterable[Point]) -> list[Point]:
    """Leave out those of a host of which there are enough."""
    told: dict[Prefix, int] = {}
    few: list[Point] = []
    for point in points:
        host = host_of(point.address)
        count = told[host] = told.get(host, 0) + 1
        if count <= TOLD_OF_HOST or scope_of(point.address) is not Scope.GLOBAL:
            few.append(point)
    return few
