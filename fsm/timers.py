"""Deadlines of many links: at most one each, a heap with lazy deletion.

Setting one costs the logarithm of how many there are, asking for the next nothing.  A
deadline that was replaced stays in the heap until it comes to the front; when more than
half of the heap is such, it is built anew.

Source: our own.
"""

from __future__ import annotations

import heapq
from typing import Final

#: Entries below which the heap is never built anew.
_SMALL: Final = 64


class Timers:
    """Absolute deadlines in monotonic seconds, by link.

    Attributes:
        changed: whether a deadline was set or has passed since `next` was asked.
    """

    __slots__ = ("_armed", "_heap", "changed")

    def __init__(self) -> None:
        self.changed = False
        self._armed: dict[int, float] = {}
        self._heap: list[tuple[float, int]] = []

    def __len__(self) -> int:
        """Entries in the heap, dead ones included."""
        return len(self._heap)

    def set(self, link: int, at: float | None) -> None:
        """Replace the deadline of a link; None disarms it."""
        if self._armed.get(link) == at:
            return
        self.changed = True
        if at is None:
            self._armed.pop(link)
        else:
            self._armed[link] = at
            heapq.heappush(self._heap, (at, link))
        if len(self._heap) > _SMALL + 2 * len(self._armed):
            self._heap = [(when, each) for each, when in self._armed.items()]
            heapq.heapify(self._heap)

    def next(self) -> float | None:
        """Return the earliest deadline, or None."""
        self.changed = False
        heap = self._heap
        while heap:
            at, link = heap[0]
            if self._armed.get(link) == at:
                return at
            heapq.heappop(heap)
        return None

    def pop_due(self, now: float) -> list[int]:
        """Disarm and return the links whose deadline has come, earliest first."""
        due: list[int] = []
        while (at := self.next()) is not None and at <= now:
            _, link = heapq.heappop(self._heap)
            del self._armed[link]
            due.append(link)
        self.changed = bool(due)
        return due
