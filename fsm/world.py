"""What the answerer asks about: links, and whom the node knows, at the moment.

Source: our own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import attrs

from ..spec.address import Address
from ..spec.identity import PeerId
from ..spec.point import Point


@attrs.frozen
class Facts:
    """What is known of one running link.

    Attributes:
        link: which.
        peer_id: who they are.
        address: where they are.
        point: where they listen, or None.
        private: whether they want nobody to hear of them.
        trusted: whether an operator trusts them now.
        may_swap: what the policy says.
    """

    link: int
    peer_id: PeerId
    address: Address
    point: Point | None = None
    private: bool = False
    trusted: bool = False
    may_swap: bool = True


class World(Protocol):
    """What the answerer asks about; all answers are of the moment."""

    def facts(self, link: int) -> Facts | None:
        """Return what is known of a link, None if it does not run."""
        ...

    def link_of(self, peer_id: PeerId) -> int | None:
        """Return the running link of a peer, or None."""
        ...

    def pick(self, *, but: int | None, with_port: bool) -> Facts | None:
        """Draw any running link that is not private, nor ``but``; None: there is none.

        Args:
            but: a link, or None.
            with_port: whether its listening point has to be known.
        """
        ...

    def active(self) -> int:
        """Return how many links run."""
        ...

    def has_room(self) -> bool:
        """Whether one more link would be admitted."""
        ...

    def points(self, to: Address, now: float) -> Sequence[Point]:
        """Return what whoever is at an address may be told, in the order of its worth."""
        ...

    def knows(self, point: Point) -> bool:
        """Whether a point is in the table, or our own."""
        ...

    def is_banned(self, peer_id: PeerId, now: float) -> bool:
        """Whether a peer is banned, for good or for a while."""
        ...

    def may_dial(self, point: Point, now: float) -> bool:
        """Whether a dial would begin: not banned, not own, not connected or about to."""
        ...
