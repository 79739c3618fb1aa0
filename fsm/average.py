"""Moving averages of byte rates, reckoned when they are read.

A counter keeps the bytes moved in all, those of the second that runs, and an average
that forgets a fifth at the turn of every second::

    average <- 0.2 * bytes of the second + 0.8 * average     each term rounded down

After n seconds at a steady rate r it shows ``r * (1 - 0.8 ** n)``; with nothing moved
it falls to exactly 0.  Nothing ticks: the seconds that have passed are made up for when
somebody adds or reads, with the result that a ticker would have had.

Source: the moving average module of the reference node, 2026, whose ticker all counters
of a process share.
"""

from __future__ import annotations

from typing import Final

import attrs

#: Seconds after which an average is renewed.
INTERVAL: Final = 1.0
#: Weight of the newest second, in thousandths.
ALPHA_MILLI: Final = 200


@attrs.frozen
class Stat:
    """What a counter shows.

    Attributes:
        total: bytes since it began.
        average: bytes a second, lately; at least 0.
    """

    total: int
    average: int


def renewed(average: int, current: int, elapsed_ms: int = 1000) -> int:
    """Return the average at the end of an interval.

    Args:
        average: bytes a second, before it.
        current: bytes moved in it.
        elapsed_ms: how long it was, in milliseconds; below 1 counts as 1.
    """
    newest = ALPHA_MILLI * current // max(1, elapsed_ms)
    return newest + (1000 - ALPHA_MILLI) * average // 1000


@attrs.define(eq=False, weakref_slot=False)
class Average:
    """One counter.

    Every ``now`` is monotonic seconds of one clock and never decreases.

    Args:
        at: when the second that runs began: what shares it with other counters has its
            seconds turn together with theirs.

    Attributes:
        total: bytes since it began.
        current: bytes of the second that runs.
        average: bytes a second, as it was at ``at``.
    """

    at: float
    total: int = attrs.field(default=0, init=False)
    current: int = attrs.field(default=0, init=False)
    average: int = attrs.field(default=0, init=False)

    def bring_up_to_date(self, now: float) -> None:
        """Make up for the seconds that have ended since; harmless if none has.

        The cost grows with the logarithm of the average, not with the time gone by.
        """
        ended = int((now - self.at) / INTERVAL)
        if ended <= 0:
            return
        self.at += ended * INTERVAL
        average = renewed(self.average, self.current)
        self.current = 0
        # Once it is 0, silence leaves it so.
        while ended > 1 and average:
            average = (1000 - ALPHA_MILLI) * average // 1000
            ended -= 1
        self.average = average

    def add(self, size: int, now: float) -> None:
        """Count bytes that have moved just now."""
        if now - self.at >= INTERVAL:
            self.bring_up_to_date(now)
        self.total += size
        self.current += size

    def stat(self, now: float) -> Stat:
        """Return what it shows now; reading resets nothing."""
        self.bring_up_to_date(now)
        return Stat(self.total, self.average)
