"""Which points others are told of; for those who are refused, as cheaply as may be.

Up to 50: of those that we have met, that are neither private nor banned, and that may be
told to whoever is at that address (see `fsm.scope`).  What may not is left out before the
50 are chosen, or a node that knows its own network well would tell the Internet nothing.

What the refused are told is chosen anew once a second at most: a crowd of refusals must
not cost a look at all points each.  Nobody is told where he listens himself.

Source: the connect handler of the reference node, 2026, which chooses them each time, of
all addresses, with the refused one's own.
"""

from __future__ import annotations

import math
from typing import Any, Final

import attrs

from ..spec.address import Address
from ..spec.hello import POINTS_SENT_MAX
from ..spec.point import ConnectionId, Point
from .acl import Acl
from .pool import Pool
from .scope import Scope, may_teach, scope_of

#: Seconds for which points for the refused are not chosen anew.
NACK_FRESH: Final = 1.0


def told_to(to: Address, pool: Pool[Any], acl: Acl, now: float) -> tuple[Point, ...]:
    """Return points for whoever is at an address.

    Args:
        to: that.
        pool: whose points.
        acl: who is banned; those are not told.
        now: the present.
    """

    def not_for_them(point: Point) -> bool:
        return acl.is_banned(point.address, now) or not may_teach(to, point)

    return pool.advertised(POINTS_SENT_MAX, banned=not_for_them)


@attrs.define(eq=False)
class Chosen:
    """Points for those who are refused.

    Args:
        pool: whose points.
        acl: who is banned; those are not told.
        tells: whether anybody is told any.
    """

    _pool: Pool[Any]
    _acl: Acl
    _tells: bool
    # What somebody in a scope is told, and when the first of it was chosen.
    _at: float = attrs.field(default=-math.inf, init=False)
    _told: dict[Scope, tuple[Point, ...]] = attrs.field(
        factory=dict[Scope, "tuple[Point, ...]"], init=False
    )

    def renew(self) -> None:
        """Tell nothing any more that was true a moment ago: after a ban, for example."""
        self._at = -math.inf

    def points(self, to: ConnectionId, now: float) -> tuple[Point, ...]:
        """Return points for somebody who is refused."""
        if not self._tells:
            return ()
        if now - self._at >= NACK_FRESH:
            self._at = now
            self._told.clear()
        scope = scope_of(to.address)
        if scope not in self._told:
            self._told[scope] = told_to(to.address, self._pool, self._acl, now)
        theirs = to.address, to.port
        return tuple(point for point in self._told[scope] if point != theirs)
