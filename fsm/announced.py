"""Where those who come to us say that they listen: what of that is entered in the table.

Nothing proves that anybody listens at the port that a peer announces, and it may announce
another one each time.  So what is entered without our having asked for it is counted:

===========  ===========================================================================
of           as yet unproven and not connected
===========  ===========================================================================
a peer       1: what it announces now takes the place of what it announced before
a party      8: the oldest goes; those that we have reached count, and stay
===========  ===========================================================================

A point is proven when a dial of ours has reached it.  A party is that of `fsm.teaching`:
a prefix of the Internet, which many may share, or elsewhere the peer itself.  If all of a
party's eight are proven, its further ones are not entered; they may still be taught.
Points that are known already are as they are, as are those that are named or trusted, or
where somebody is expected.

Who is of another network announces nothing: what he says is not entered.

Source: our own.  The reference enters whatever is announced, and advertises it, also what
is of another network.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any, Final, TypeVar

import attrs

from ..spec.identity import PeerId
from ..spec.point import ConnectionId, Point
from .point import PointInfo, State
from .pool import Pool
from .teaching import party_of

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

#: Idle points that are known by the announcements of one party.
OF_PARTY: Final = 8
#: Peers, and parties, whose announcements are remembered; the oldest go first.
REMEMBERED: Final = 4096


@attrs.define(eq=False)
class Announced:
    """What is known of points only because somebody came and announced them.

    Args:
        pool: where they are entered.
    """

    _pool: Pool[Any]
    _by_peer: OrderedDict[PeerId, Point] = attrs.field(
        factory=OrderedDict[PeerId, Point], init=False
    )
    _by_party: OrderedDict[Hashable, list[Point]] = attrs.field(
        factory=OrderedDict[Hashable, "list[Point]"], init=False
    )

    def enter(
        self, id_point: ConnectionId, peer_id: PeerId | None, now: float
    ) -> PointInfo | None:
        """Enter what a peer announces, if it may; return what is known of it then.

        Args:
            id_point: its address, and the port that it announces, if any.
            peer_id: who it is; None for somebody of another network.
            now: the present.
        """
        if id_point.port is None:
            return None
        known, point = self._pool.known_points, Point(id_point.address, id_point.port)
        if point in known or peer_id is None or self._pool.is_own(point):
            return known.get(point)
        self._forget(self._by_peer.get(peer_id))
        party = party_of(point.address, peer_id)
        theirs = [each for each in self._by_party.get(party, ()) if each in known]
        excess = sum(_is_idle(known[each]) for each in theirs) + 1 - OF_PARTY
        for each in theirs:
            if excess > 0 and self._forget(each):
                excess -= 1
        if excess <= 0:
            theirs.append(point)
        _remember(self._by_party, party, theirs)
        if excess > 0:
            return None
        _remember(self._by_peer, peer_id, point)
        return self._pool.register_new_point(point, now)

    def _forget(self, point: Point | None) -> bool:
        """Forget a point that may be; say whether it was there."""
        info = None if point is None else self._pool.known_points.get(point)
        if info is None or info.reached is not None or not _is_idle(info):
            return False
        self._pool.unregister_point(info.point)
        return True


def _is_idle(info: PointInfo) -> bool:
    """Whether nobody but who came there wants a point to be known."""
    wanted = info.named or info.trusted or info.expected is not None
    return info.state is State.DISCONNECTED and not wanted


def _remember(table: OrderedDict[K, V], key: K, value: V) -> None:
    table[key] = value
    table.move_to_end(key)
    if len(table) > REMEMBERED:
        table.popitem(last=False)
