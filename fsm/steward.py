"""What an operator may decide: who is banned, who is trusted; and what follows at once.

Each verb changes lists and flags, and returns the links that have to be disconnected for
it, with the reason; the node does that.  Links that have ended count as long as messages
of theirs may still be pulled.

=============  =========================================================================
verb           does
=============  =========================================================================
ban address    black list; no trust left for its points; whoever is connected or is
               connecting from there goes, and, if wished, is banned as a peer too
ban peer       black list; no trust left; if connected, it goes
unban          off the black list and the grey list
trust          unban, and the flag
untrust        the flag goes
open           unban and untrust
expect         who has to be at a point; somebody else there goes, and is greylisted
give up        a dial that has come to nothing yet ends
greylist       for what an application finds wrong with a peer: it is greylisted, with
               its address, and goes
allow          white list: an address or a prefix that is never greylisted
disallow       off the white list
clear          both grey lists alone, or the black lists as well
=============  =========================================================================

Trust is a flag of a point or a peer.  It lets nobody through a ban, and does not protect
from the grey list; it protects from garbage collection, counts in private mode, and when
connections are trimmed.

Source: the pool's operations and the admin interface of the reference node, 2026.  There
a ban leaves trust in place below the admin interface, misses incoming connections
without a known point, and lets handshakes from the banned address go on; we do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, TypeVar

import attrs

from ..spec.address import Address
from ..spec.identity import PeerId
from ..spec.point import Point
from ..spec.reasons import Disconnection, ErrorKind, P2pError, Reason
from .acl import Acl
from .admission import PENDING, Attempt, State
from .pool import Pool
from .prefix import Prefix

Meta = TypeVar("Meta")

#: A link, and why it has to be disconnected.
Kick = tuple[int, Disconnection]

_ADDRESS_BANNED = Disconnection(Reason.IP_MANUALLY_BANNED)
_PEER_BANNED = Disconnection(Reason.PEER_ID_MANUALLY_BANNED)
_UNEXPECTED = Disconnection(Reason.UNEXPECTED_PEER_ID)
_GIVEN_UP = Disconnection(Reason.TCP_CONNECTION_CANCELED, (P2pError(ErrorKind.CANCELED),))
_OVER = (State.LEAVING, State.GONE)


@attrs.define(eq=False)
class Steward(Generic[Meta]):
    """Bans and trusts.

    Args:
        pool: the tables whose flags change.
        acl: the lists.
        attempts: every link's.
    """

    _pool: Pool[Meta]
    _acl: Acl
    _attempts: Mapping[int, Attempt[Meta]]

    def ban_address(self, where: Address | Prefix, *, peers: bool = True) -> list[Kick]:
        """Ban an address, or all of a prefix.

        Args:
            where: which.
            peers: whether the peers that are connected from there are banned as well.
        """
        prefix = where if isinstance(where, Prefix) else Prefix.of(where)
        self._acl.ban(where)
        for info in self._pool.known_points.values():
            if prefix.contains(info.point.address):
                info.trusted = False
        kicks: list[Kick] = []
        for link, attempt in self._attempts.items():
            address = attempt.remote_point.address
            if not _concerned(attempt) or not prefix.contains(address):
                continue
            kicks.append((link, _ADDRESS_BANNED))
            if peers and attempt.running is not None:
                self._ban(attempt.running.peer.peer_id)
        return kicks

    def unban_address(self, where: Address | Prefix) -> list[Kick]:
        """Take an address, or a prefix, off the black list and the grey list."""
        self._acl.unban(where)
        return []

    def ban_peer(self, peer_id: PeerId) -> list[Kick]:
        """Ban a peer, wherever it comes from."""
        self._ban(peer_id)
        return self._links_of(peer_id, _PEER_BANNED)

    def greylist_peer(
        self, peer_id: PeerId, reason: Disconnection, now: float
    ) -> list[Kick]:
        """Ban a peer and its address for a while, for what the application says.

        Args:
            peer_id: who; nothing happens if the application knows of no connection, but
                it does as long as it was not told of its end.
            reason: why; what `inbox.Left` will say, if it has not ended otherwise.
            now: the present.
        """
        links = self.told_of(peer_id)
        for link in links:
            if self._acl.greylist(self._attempts[link].remote_point.address, now):
                self._acl.greylist_peer(peer_id, now)
        return self._links_of(peer_id, reason) if links else []

    def told_of(self, peer_id: PeerId) -> list[int]:
        """Return the links to a peer that the application knows of.

        That is the one that runs, and those that are over, but of which it has still to
        pull something: their end at least.
        """
        return [
            link
            for link, attempt in self._attempts.items()
            if attempt.told
            and attempt.peer is not None
            and attempt.peer.peer_id == peer_id
        ]

    def _links_of(self, peer_id: PeerId, reason: Disconnection) -> list[Kick]:
        return [
            (link, reason)
            for link, attempt in self._attempts.items()
            if _concerned(attempt)
            and attempt.peer is not None
            and attempt.peer.peer_id == peer_id
        ]

    def unban_peer(self, peer_id: PeerId) -> list[Kick]:
        """Take a peer off the black list and the grey list."""
        self._acl.unban_peer(peer_id)
        return []

    def trust_point(
        self, point: Point, now: float, expected: PeerId | None = None
    ) -> list[Kick]:
        """Unban the address of a point, and trust the point; it is known from now on."""
        self._acl.unban(point.address)
        self._pool.register_point(point, now, trusted=True)
        return [] if expected is None else self.expect(point, expected, now)

    def configure_point(
        self, point: Point, now: float, expected: PeerId | None = None
    ) -> list[Kick]:
        """Trust a point as a configuration does: what an operator has banned stays so."""
        self._pool.register_point(point, now, trusted=True, expected=expected)
        return []

    def expect(self, point: Point, peer_id: PeerId, now: float) -> list[Kick]:
        """Say who has to be at a point; it is known from now on."""
        info = self._pool.register_point(point, now, expected=peer_id)
        if info.peer_id in (None, peer_id) or info.link is None:
            return []
        self._acl.greylist(point.address, now)
        return [(info.link, _UNEXPECTED)]

    def untrust_point(self, point: Point) -> list[Kick]:
        """Trust a point no more."""
        info = self._pool.known_points.get(point)
        if info is not None:
            info.trusted = False
        return []

    def open_point(self, point: Point) -> list[Kick]:
        """Neither ban nor trust a point."""
        self._acl.unban(point.address)
        return self.untrust_point(point)

    def trust_peer(self, peer_id: PeerId, now: float) -> list[Kick]:
        """Unban and trust a peer; it is known from now on."""
        self._acl.unban_peer(peer_id)
        self._pool.register_peer(peer_id, now).trusted = True
        return []

    def untrust_peer(self, peer_id: PeerId) -> list[Kick]:
        """Trust a peer no more."""
        info = self._pool.known_peers.get(peer_id)
        if info is not None:
            info.trusted = False
        return []

    def open_peer(self, peer_id: PeerId) -> list[Kick]:
        """Neither ban nor trust a peer."""
        self._acl.unban_peer(peer_id)
        return self.untrust_peer(peer_id)

    def allow(self, where: Address | Prefix) -> list[Kick]:
        """Put an address, or a prefix, on the white list, and off the grey list."""
        self._acl.allow(where)
        return []

    def disallow(self, where: Address | Prefix) -> list[Kick]:
        """Take an address, or a prefix, off the white list."""
        self._acl.disallow(where)
        return []

    def clear_greylists(self) -> list[Kick]:
        """Forgive all that are banned for a while; who is banned for good stays so."""
        self._acl.clear_greylists()
        return []

    def clear(self) -> list[Kick]:
        """Empty the grey lists and the black lists; trust and the white list stay."""
        self._acl.clear()
        return []

    def give_up(self, link: int) -> list[Kick]:
        """End a dial, unless it has come to something, or is over."""
        attempt = self._attempts.get(link)
        pending = attempt is not None and attempt.state in PENDING
        return [(link, _GIVEN_UP)] if pending else []

    def _ban(self, peer_id: PeerId) -> None:
        self._acl.ban_peer(peer_id)
        self.untrust_peer(peer_id)


def _concerned(attempt: Attempt[Any]) -> bool:
    return attempt.told or attempt.state not in _OVER


def kick_all(attempts: Mapping[int, Attempt[Any]], reason: Disconnection) -> list[Kick]:
    """Return every link that is not leaving yet, to be disconnected for one reason."""
    return [
        (link, reason) for link, attempt in attempts.items() if attempt.state not in _OVER
    ]
