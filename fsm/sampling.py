"""Chance from ``random()`` alone: an index, a shuffle, a sample, a bag to draw from.

The core is given its chance as a function that returns the next float in [0, 1), and
draws it in no other way: the helpers of the standard library consume their generator
differently from one version of Python to the next, these do not.  Each function says
how often it draws, so that what one caller does never depends on what another found.

A float has 53 bits: among up to a million items the largest bias of one pick is below
1 in 8,000,000,000.

Source: our own; the shuffle is that of Fisher and Yates.
"""

from __future__ import annotations

from collections.abc import Callable, MutableSequence, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")

#: The next float in [0, 1).
Random = Callable[[], float]


def below(count: int, random: Random) -> int:
    """Return an integer in 0..count-1, each as likely; one draw.

    Args:
        count: 1 or more.
        random: gives floats in [0, 1); 1.0 is forgiven.
    """
    return min(int(random() * count), count - 1)


def choice(items: Sequence[T], random: Random) -> T:
    """Return one item, each as likely; one draw.

    Raises:
        IndexError: there are none.
    """
    return items[below(len(items), random)]


def shuffle(items: MutableSequence[T], random: Random) -> None:
    """Put items into a random order, in place; one draw less than there are items."""
    for last in range(len(items) - 1, 0, -1):
        other = below(last + 1, random)
        items[last], items[other] = items[other], items[last]


def sample(items: Sequence[T], count: int, random: Random) -> list[T]:
    """Return ``count`` items, or all if there are fewer, in random order.

    No item is taken twice; one draw each.  The cost does not depend on how many items
    there are.

    Args:
        items: what to draw from; not changed.
        count: 0 or more; less counts as 0.
        random: gives floats in [0, 1).
    """
    total = len(items)
    # A shuffle of which only the first ``count`` places are made, and which keeps
    # only the places that differ from the sequence.
    moved: dict[int, int] = {}
    drawn: list[T] = []
    for place in range(min(count, total)):
        other = place + below(total - place, random)
        drawn.append(items[moved.get(other, other)])
        moved[other] = moved.get(place, place)
    return drawn


class Bag(Generic[T]):
    """Items to draw one from at random; each operation takes the same time.

    The order of what is inside follows from the calls alone.
    """

    __slots__ = ("_items", "_places")

    def __init__(self) -> None:
        self._items: list[T] = []
        self._places: dict[T, int] = {}

    def __len__(self) -> int:
        """How many there are."""
        return len(self._items)

    def __contains__(self, item: T) -> bool:
        """Whether it is inside."""
        return item in self._places

    def add(self, item: T) -> None:
        """Put a hashable item in; nothing changes if it is inside."""
        if item not in self._places:
            self._places[item] = len(self._items)
            self._items.append(item)

    def discard(self, item: T) -> None:
        """Take an item out; nothing changes if it is not inside."""
        place = self._places.pop(item, None)
        if place is not None:
            # The last one fills the gap.
            last = self._items.pop()
            if place < len(self._items):
                self._items[place] = last
                self._places[last] = place

    def pick(self, random: Random, but: T | None = None) -> T | None:
        """Return one item other than ``but``, each as likely, or None if there is none.

        One draw if there is something to choose from, otherwise none.
        """
        items = self._items
        barred = None if but is None else self._places.get(but)
        count = len(items) if barred is None else len(items) - 1
        if not count:
            return None
        place = below(count, random)
        # The last one stands in for the one that is barred.
        return items[count] if place == barred else items[place]
