"""Bounded queues, and what a message counts for in them.

An element is admitted if the weights in the queue and its own stay *below* the limit,
or if the queue is empty: an element heavier than the limit passes alone.  A limit of
None admits everything.

==========================  ============================================================
queue                       weight of a message
==========================  ============================================================
incoming, not yet pulled    bytes, size field included, and 120
outgoing, not yet sealed    bytes, size field included, 128 for each chunk, and 96
==========================  ============================================================

Source: the pipes of the reference node, 2026, and their accounting on 64-bit machines;
nobody can see the constants from outside.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Generic, TypeVar

import attrs

T = TypeVar("T")

#: Weight of an incoming message beside its bytes.
INCOMING_OVERHEAD: Final = 120
#: Weight of an outgoing message beside its bytes and chunks.
OUTGOING_OVERHEAD: Final = 96
#: Weight of each chunk of an outgoing message beside its bytes.
CHUNK_WEIGHT: Final = 128
#: More than anything weighs.
NO_LIMIT: Final = 1 << 62


def admits(fill: int, weight: int, limit: int | None) -> bool:
    """Whether a queue that holds ``fill`` takes one more element.

    Args:
        fill: sum of the weights in the queue; 0 only if it is empty.
        weight: of the new element.
        limit: of the queue, None for no limit.
    """
    return limit is None or not fill or fill + weight < limit


@attrs.define(eq=False, weakref_slot=False)
class BoundedQueue(Generic[T]):
    """First in, first out, as long as there is room.

    Nothing is allocated while it is empty: most queues of most connections are.

    Args:
        limit: the weights stay below it; None for no limit.

    Attributes:
        fill: sum of the weights held; each weight is at least 1.
        items: the elements and their weights, or None while there are none.
    """

    limit: int | None
    fill: int = attrs.field(default=0, init=False)
    items: deque[tuple[T, int]] | None = attrs.field(default=None, init=False)

    def __len__(self) -> int:
        """Elements held."""
        return len(self.items) if self.items else 0

    def admits(self, weight: int) -> bool:
        """Whether an element of this weight would be taken."""
        return admits(self.fill, weight, self.limit)

    def push(self, item: T, weight: int) -> bool:
        """Add an element; return False, and change nothing, if there is no room."""
        if not admits(self.fill, weight, self.limit):
            return False
        if self.items is None:
            self.items = deque()
        self.items.append((item, weight))
        self.fill += weight
        return True

    def pop(self) -> T | None:
        """Take the oldest element, or None."""
        items = self.items
        if items is None:
            return None
        item, weight = items.popleft()
        self.fill -= weight
        if not items:
            self.items = None
        return item

    def take(self, most: int) -> list[T]:
        """Take the oldest elements, so many at most."""
        items = self.items
        if items is None or most <= 0:
            return []
        if most >= len(items):
            self.items, self.fill = None, 0
            return [item for item, _ in items]
        taken: list[T] = []
        for _ in range(most):
            item, weight = items.popleft()
            taken.append(item)
            self.fill -= weight
        return taken

    def clear(self) -> None:
        """Forget everything."""
        self.items, self.fill = None, 0
