"""Dials that an application has asked for, and why they came to nothing.

A node dials by itself all the time, and nobody asks how that went.  Who asks for a dial
may want to know; of the last `WISHES_MAX` it is remembered.

Source: our own.
"""

from __future__ import annotations

from typing import Final

import attrs

from ..spec.reasons import Disconnection, P2pError

#: How many dials are remembered.
WISHES_MAX: Final = 64


@attrs.define(eq=False)
class Wishes:
    """The last dials that were asked for."""

    _ends: dict[int, Disconnection | None] = attrs.field(
        factory=dict[int, "Disconnection | None"], init=False
    )

    def make(self, link: int | P2pError) -> int | P2pError:
        """Remember a dial, if there is one; the oldest is forgotten for it."""
        if not isinstance(link, P2pError):
            if len(self._ends) >= WISHES_MAX:
                del self._ends[next(iter(self._ends))]
            self._ends[link] = None
        return link

    def over(self, link: int, ran: bool, why: Disconnection) -> None:
        """Take note that a link is over, whoever has asked for it."""
        if link in self._ends and not ran:
            self._ends[link] = why

    def why_not(self, link: int) -> Disconnection | None:
        """Return why a dial came to nothing; None: it did not, or is forgotten."""
        return self._ends.get(link)
