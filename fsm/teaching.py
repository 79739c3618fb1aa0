"""Which points a peer may teach us, by Advertise or with a refusal.

Not those of port 0, that nobody can reach, or that lie nearer than the peer itself (see
`fsm.scope`).  Those that we know already are free.  Of the new ones so many:

==================  =======  ==============  =========================================
by                  at once  more, a second  counted
==================  =======  ==============  =========================================
a peer              100      1/20            all
a party             200      1/10            all, for all peers of one prefix
a party, of one     8        1/600           those in one /24 (IPv6: /56) of the
prefix                                       Internet
==================  =======  ==============  =========================================

A party is whoever answers for a peer: its prefix, if it is on the Internet; elsewhere
neighbours share a prefix, and each peer is a party.  Nobody can use up what others may
teach.

Source: our own.  The reference registers whatever it is told.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Final

import attrs

from ..spec.address import Address
from ..spec.identity import PeerId
from ..spec.point import Point
from .prefix import Prefix
from .ration import Ration
from .scope import Scope, holder_of, scope_of

#: Points that a peer, a party, and a party of one prefix may teach.  For each: a second,
#: at once, and the keys that are remembered.
BY_PEER: Final = (1 / 20, 100, 1024)
BY_PARTY: Final = (1 / 10, 200, 1024)
OF_PREFIX: Final = (1 / 600, 8, 4096)


def party_of(address: Address, peer_id: PeerId) -> Hashable:
    """Return who answers for a peer: its prefix, or itself where all have the same."""
    if scope_of(address) is Scope.GLOBAL:
        return holder_of(address)
    return peer_id


@attrs.define(eq=False)
class Teaching:
    """Sifts what peers tell of.

    Args:
        knows: whether a point needs no teaching: it is in the table, or our own.

    Attributes:
        refused: points that exceeded a ration; what is behind one that exceeded the
            peer's or the party's is not looked at.
    """

    _knows: Callable[[Point], bool]
    refused: int = attrs.field(default=0, init=False)
    _by_peer: Ration[PeerId] = attrs.field(init=False)
    _by_party: Ration[Prefix] = attrs.field(init=False)
    _of_prefix: Ration[tuple[Hashable, Prefix]] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Fill the rations."""
        self._by_peer = Ration(*BY_PEER)
        self._by_party = Ration(*BY_PARTY)
        self._of_prefix = Ration(*OF_PREFIX)

    def sift(
        self, address: Address, peer_id: PeerId, points: Iterable[Point], now: float
    ) -> tuple[Point, ...]:
        """Return the new points that a peer may teach us; each once, in order.

        Args:
            address: where the peer is.
            peer_id: who it is.
            points: what it tells of; a message has at most 100.
            now: monotonic seconds.
        """
        theirs, party = scope_of(address), party_of(address, peer_id)
        learnt: dict[Point, None] = {}
        for point in points:
            # The cheapest first: most points are known, or come again.
            if point in learnt or self._knows(point) or not point.port:
                continue
            scope = scope_of(point.address)
            if not theirs.may_teach(scope):
                continue
            # The narrowest first: who teaches a thousand ports of one host does not use
            # up what he may teach besides.
            if scope is Scope.GLOBAL:
                taught = holder_of(point.address)
                if not self._of_prefix.take((party, taught), now):
                    self.refused += 1
                    continue
            if not self._grants(party, peer_id, now):
                self.refused += 1
                break  # nothing else would be granted, and the list costs no more
            learnt[point] = None
        return tuple(learnt)

    def _grants(self, party: Hashable, peer_id: PeerId, now: float) -> bool:
        if not self._by_peer.take(peer_id, now):
            return False
        return not isinstance(party, Prefix) or self._by_party.take(party, now)
