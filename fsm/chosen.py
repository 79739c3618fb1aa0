"""Which points somebody is told who is refused.

Up to 50, of those that the node would tell a peer, and of those only the ones that may be
told to whoever is at that address.  They are chosen anew once a second at most: a crowd
of refusals must not cost a look at all points each.

Source: the connect handler of the reference node, 2026, which chooses them each time.
"""

from __future__ import annotations

import math
from typing import Any, Final

import attrs

from ..spec.address import Address
from ..spec.point import Point
from .acl import Acl
from .pool import Pool
from .scope import Scope, may_teach, scope_of

#: Points in a nack, and seconds for which they are not chosen anew.
NACK_POINTS: Final = 50
NACK_FRESH: Final = 1.0


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
    _at: float = attrs.field(default=-math.inf, init=False)
    _points: tuple[Point, ...] = attrs.field(default=(), init=False)
    # Of those, what somebody in a scope is told.
    _told: dict[Scope, tuple[Point, ...]] = attrs.field(
        factory=dict[Scope, "tuple[Point, ...]"], init=False
    )

    def renew(self) -> None:
        """Tell nothing any more that was true a moment ago: after a ban, for example."""
        self._at = -math.inf

    def points(self, to: Address, now: float) -> tuple[Point, ...]:
        """Return points for somebody at an address."""
        if now - self._at >= NACK_FRESH:
            self._at, self._points = now, self._choose(now)
            self._told.clear()
        scope = scope_of(to)
        if scope not in self._told:
            told = (point for point in self._points if may_teach(to, point))
            self._told[scope] = tuple(told)
        return self._told[scope]

    def _choose(self, now: float) -> tuple[Point, ...]:
        if not self._tells:
            return ()
        banned = self._acl.is_banned
        return self._pool.advertised(
            NACK_POINTS, banned=lambda point: banned(point.address, now)
        )
