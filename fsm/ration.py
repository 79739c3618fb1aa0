"""What one prefix may cost us: so many per second, and so many at a time.

`Ration` is a table of token buckets, one per key.  A bucket holds ``burst`` tokens and
is refilled at ``rate`` tokens per second; whoever takes one that is not there is
refused.  No clock fills them: a bucket is kept as a single number, the moment at which
its next token is (or was) there, and is brought up to date when somebody asks.  The
table is bounded; the key that was used longest ago leaves first, and is full when it
comes back.

`Counts` tells who should yield when all places for unfinished business are taken: the
oldest link of the prefix that has the most.  Places are thus shared by prefixes and not
by connections, and whoever fills them from one network pushes out himself only.

Keys are prefixes, of addresses cut to a length, or whatever else stands for one party.

Source: our own; the reference node counts pending connections in all and has no rations.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

from .machine import LocalProtocolError

K = TypeVar("K", bound=Hashable)

#: Seconds by which a token may be taken early: who waits as long as he is told to must
#: get it, however the sum of two floats is rounded.  The debt is not forgotten, so the
#: rate stays what it is.
_GRACE: Final = 1e-6


class Ration(Generic[K]):
    """Token buckets by key.

    Args:
        rate: tokens per second that come to each key, above 0.
        burst: tokens that a full bucket holds, 1 or more.
        most: keys that are remembered, 1 or more.

    Raises:
        ValueError: an argument is out of range.
    """

    __slots__ = ("_interval", "_most", "_next", "_slack")

    def __init__(self, rate: float, burst: int, most: int) -> None:
        if not 0.0 < rate < float("inf"):
            raise ValueError(f"rate {rate} is no finite number above 0")
        if burst < 1:
            raise ValueError(f"burst {burst} is not 1 or more")
        if most < 1:
            raise ValueError(f"most {most} is not 1 or more")
        self._interval = 1.0 / rate
        # How long a bucket fills after its next token was there.
        self._slack = (burst - 1) / rate
        self._most = most
        # An OrderedDict: both its ends can be reached in constant time.
        self._next: OrderedDict[K, float] = OrderedDict()

    def __len__(self) -> int:
        """Keys that are remembered."""
        return len(self._next)

    def take(self, key: K, now: float) -> bool:
        """Take one token; say whether there was one.

        Who is refused is remembered like who is not: knocking does not make a key the
        next to be forgotten.
        """
        full = now - self._slack
        due = self._next.get(key)
        if due is None:
            if len(self._next) >= self._most:
                self._next.popitem(last=False)
            due = full
        else:
            self._next.move_to_end(key)
            if due > now + _GRACE:
                return False
        self._next[key] = max(due, full) + self._interval
        return True

    def wait(self, key: K, now: float) -> float:
        """Return the seconds until `take` succeeds; 0.0 if it does now."""
        due = self._next.get(key)
        if due is None or due <= now + _GRACE:
            return 0.0
        return due - now


class Counts(Generic[K]):
    """Links that hold a place each, counted by key.

    Every call costs the same however many links there are.

    Args:
        most: places, 0 or more.

    Raises:
        ValueError: out of range.
    """

    __slots__ = ("_by_count", "_key_of", "_links", "_most", "_peak")

    def __init__(self, most: int) -> None:
        if most < 0:
            raise ValueError(f"most {most} is not 0 or more")
        self._most = most
        self._key_of: dict[int, K] = {}
        # The links of a key, oldest first.
        self._links: dict[K, OrderedDict[int, None]] = {}
        # The keys that hold a number of places, first come first; empty ones are absent.
        self._by_count: dict[int, OrderedDict[K, None]] = {}
        self._peak = 0

    def __len__(self) -> int:
        """Places taken."""
        return len(self._key_of)

    def __contains__(self, link: int) -> bool:
        """Whether a link holds a place."""
        return link in self._key_of

    @property
    def full(self) -> bool:
        """Whether all places are taken."""
        return len(self._key_of) >= self._most

    @property
    def peak(self) -> int:
        """Most places that any key holds; 0 if none is taken."""
        return self._peak

    def count(self, key: K) -> int:
        """Return how many places a key holds."""
        return len(self._links.get(key, ()))

    def add(self, key: K, link: int) -> None:
        """Give a link a place.

        Raises:
            LocalProtocolError: there is none left, or the link has one.
        """
        if link in self._key_of:
            raise LocalProtocolError("add", "taken", f"link {link} has a place")
        if self.full:
            raise LocalProtocolError("add", "full", f"{self._most} places are taken")
        self._key_of[link] = key
        links = self._links.setdefault(key, OrderedDict())
        links[link] = None
        self._recount(key, len(links) - 1, len(links))
        self._peak = max(self._peak, len(links))

    def remove(self, link: int) -> bool:
        """Take a link's place back; say whether it had one."""
        if link not in self._key_of:
            return False
        key = self._key_of.pop(link)
        links = self._links[key]
        del links[link]
        if not links:
            del self._links[key]
        self._recount(key, len(links) + 1, len(links))
        # One place less: the peak falls by one at most, to where this key is now.
        if self._peak not in self._by_count:
            self._peak -= 1
        return True

    def victim(self) -> int | None:
        """Return the oldest link of the key that holds most; None if there is none.

        Of several such keys, the one that has held as many for the longest time.
        """
        if not self._peak:
            return None
        key = next(iter(self._by_count[self._peak]))
        return next(iter(self._links[key]))

    def yielding_to(self, key: K) -> int | None:
        """Return the link whose place a newcomer should get; None: it should get none.

        A place changes hands if that brings the keys closer to each other: a single
        network that knocks and knocks pushes nobody out.  Who holds none gets one of an
        even crowd, too: if not, as many networks as there are places, each with a
        connection that says nothing, would keep everybody else away.
        """
        held = self.count(key)
        return self.victim() if self._peak > held + (held > 0) else None

    def _recount(self, key: K, before: int, after: int) -> None:
        if before:
            keys = self._by_count[before]
            del keys[key]
            if not keys:
                del self._by_count[before]
        if after:
            self._by_count.setdefault(after, OrderedDict())[key] = None
