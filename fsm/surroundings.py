"""What the workers and the answerer see of a node; they hold nothing of it themselves.

Whom maintenance dials first is said here, too: points that were never missed, as in the
reference, but every fourth is the one that was missed longest ago.  There is no end of
the points that peers can invent, and who was away for a moment would wait for all of
them.

Source: the maintenance module of the reference node, 2026; diversity is our own.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, Generic, TypeVar

import attrs

from ..spec.address import Address
from ..spec.identity import PeerId
from ..spec.point import Point
from .acl import Acl
from .admission import Places
from .chosen import told_to
from .diversity import Diversity
from .maintenance import Bounds
from .point import PointInfo, State
from .policy import PeerPolicy
from .pool import Pool, Running
from .world import Facts

Meta = TypeVar("Meta")

#: Of so many points that are dialled one was missed before, if there are any.
MISSED_SHARE: Final = 4


def dial_order(
    missed: Iterable[tuple[Point, float | None]], most: int, random: Callable[[], float]
) -> list[Point]:
    """Choose whom to dial first: who was never missed; each fourth, the longest ago.

    Equals are in random order, so that nobody can predict whom we dial.

    Args:
        missed: points, each with the last time that it failed, refused or left, or None.
        most: how many to return at most.
        random: gives numbers of 0 to 1, 1 excluded.
    """
    new: list[tuple[float, float, int, Point]] = []
    old: list[tuple[float, float, int, Point]] = []
    for number, (point, miss) in enumerate(missed):
        if miss is None:
            new.append((0.0, random(), number, point))
        else:
            old.append((miss, random(), number, point))
    news, olds = heapq.nsmallest(most, new), heapq.nsmallest(most, old)
    # Each fourth place is an old one's, for as long as both last.
    places = [(place + place // (MISSED_SHARE - 1), it) for place, it in enumerate(news)]
    places += [(MISSED_SHARE * (n + 1) - 1, it) for n, it in enumerate(olds)]
    return [it[3] for _, it in sorted(places)[:most]]


@attrs.define(eq=False)
class Surroundings(Generic[Meta]):
    """Answers the questions of ``Maintenance`` and ``Answerer``.

    Args:
        pool: who is known and connected.
        acl: who is banned.
        diversity: who may fill our slots; None: anybody.
        bounds: below the least of them a node lacks connections.
        private_mode: only trusted points are dialled.
        random: what peers can observe is drawn from it.
        random_inside: what they cannot.
        places: how many run or are reserved.
        most: connections from which nobody is admitted.
        policy: says who may swap.
        score: what a peer is worth, from what is remembered of it.
        is_open: whether a running link is not about to end.
        wanted: connections beyond which a node dials nobody by itself.
    """

    _pool: Pool[Meta]
    _acl: Acl
    _diversity: Diversity | None
    _bounds: Bounds
    _private_mode: bool
    _random: Callable[[], float]
    _random_inside: Callable[[], float]
    _places: Places
    _most: int
    _policy: PeerPolicy[Meta]
    _score: Callable[[Meta], float]
    _is_open: Callable[[int], bool]
    _wanted: int

    def active(self) -> int:
        """Return the number of running connections, those that are ending included."""
        return self._pool.active

    def leaving(self) -> int:
        """Return how many of them are ending already."""
        return sum(not self._is_open(link) for link in self._pool.running)

    def candidates(
        self, seen: Mapping[Point, None], start: float, most: int, now: float
    ) -> list[Point]:
        """Return whom to dial, anchors first; see `maintenance.World`."""
        missed = dict(self._missed(seen, start, now))
        anchors = () if self._diversity is None else self._diversity.waiting_anchors
        first = [point for point in anchors if missed.pop(point, seen) is not seen][:most]
        return first + dial_order(missed.items(), most - len(first), self._random_inside)

    def _missed(
        self, seen: Mapping[Point, None], start: float, now: float
    ) -> Iterator[tuple[Point, float | None]]:
        for point, info in self._pool.known_points.items():
            if point in seen or not info.may_dial(now):
                continue
            if self._private_mode and not info.trusted:
                continue
            missed = info.last_miss
            if missed is not None and missed > start:
                continue
            if self._acl.is_banned(point.address, now):
                continue
            if self.may_fill(info, now):
                yield point, missed

    def may_fill(self, info: PointInfo, now: float) -> bool:
        """Whether diversity lets maintenance dial a point now.

        Asked again before each dial: those before it count.
        """
        exempt = info.trusted or self._acl.is_exempt(info.point.address)
        lacking = self._pool.active < self._bounds.min_connections
        return self._diversity is None or self._diversity.may_dial(
            info.point, now, exempt=exempt, lacking=lacking
        )

    def next_test(self, now: float) -> Point | None:
        """Return a point that diversity wants dialled, if maintenance might dial it."""
        diversity = self._diversity
        assert diversity is not None  # or nothing were due
        taken = diversity.incoming + diversity.outgoing + self._places.coming
        room = taken < self._wanted

        def may(point: Point) -> bool:
            info = self._pool.known_points.get(point)
            known = info is not None and (info.trusted or not self._private_mode)
            return room and known and self.may_dial(point, now)

        return diversity.next_test(now, may)

    def droppable(self, now: float) -> list[int]:  # noqa: ARG002  # the World's question
        """Return the links that may be dropped: all but the private and trusted."""
        return [
            link
            for link, running in self._pool.running.items()
            if self._is_open(link) and not (running.private and running.trusted)
        ]

    # -- for the answerer --------------------------------------------------------------

    def facts(self, link: int) -> Facts | None:
        """Return what is known of a link that runs, or None."""
        running = self._pool.running.get(link)
        return None if running is None else self._facts(running)

    def _facts(self, running: Running[Meta]) -> Facts:
        address, port = running.id_point.address, running.id_point.port
        peer, trusted = running.peer, running.trusted
        treatment = self._policy(peer.metadata, self._score(peer.metadata), trusted)
        return Facts(
            link=running.link,
            peer_id=peer.peer_id,
            address=address,
            point=None if port is None else Point(address, port),
            private=running.private,
            trusted=trusted,
            may_swap=treatment.may_swap,
        )

    def link_of(self, peer_id: PeerId) -> int | None:
        """Return the link of a peer that runs, or None."""
        running = self._pool.by_peer(peer_id)
        return None if running is None else running.link

    def pick(self, *, but: int | None, with_port: bool) -> Facts | None:
        """Draw a running link that is not private; see `answerer.World`."""
        running = self._pool.random_running(with_port=with_port, but=but)
        return None if running is None else self._facts(running)

    def has_room(self) -> bool:
        """Whether one more link would be admitted."""
        return self._places.taken(self._pool.active) < self._most

    def points(self, to: Address, now: float) -> Sequence[Point]:
        """Return what we tell whoever is at an address."""
        return told_to(to, self._pool, self._acl, now)

    def knows(self, point: Point) -> bool:
        """Whether a point is in the table, or our own."""
        return point in self._pool.known_points or self._pool.is_own(point)

    def is_banned(self, peer_id: PeerId, now: float) -> bool:
        """Whether a peer is banned, for good or for a while."""
        return self._acl.is_peer_banned(peer_id, now)

    def may_dial(self, point: Point, now: float) -> bool:
        """Whether a dial would begin."""
        if self._acl.is_banned(point.address, now) or self._pool.is_own(point):
            return False
        info = self._pool.known_points.get(point)
        if info is not None and info.state is not State.DISCONNECTED:
            return False
        trusted = info is not None and info.trusted
        exempt = trusted or self._acl.is_exempt(point.address)
        return self._diversity is None or self._diversity.may_dial(
            point, now, exempt=exempt
        )
