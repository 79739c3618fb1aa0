"""What the application pulls from a node: messages, who has come, who has left.

Each peer's items come in order, also those of several connections one after the other:
nothing of the next is told before it was told that the last is over.  The peers take
turns, one item each.  Of one connection's messages so many wait at most; more stay in the
connection, and stop it in the end.  Who has left is told behind the messages that still
count.

Source: the application's queue of the reference node, 2026, where a connection's worker
keeps this layer's own messages out of it; the order of one peer's connections is our own.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Final, Generic, TypeVar

import attrs

from ..spec.events import Remote
from ..spec.identity import PeerId
from ..spec.reasons import Disconnection
from ..spec.version import Version

M = TypeVar("M")


@attrs.define  # not frozen: there is one for each message
class Message(Generic[M]):
    """A message of the application.

    Attributes:
        link: the connection.
        peer_id: who says it.
        message: what.
    """

    link: int
    peer_id: PeerId
    message: M


@attrs.frozen
class Joined:
    """A connection is established.

    Attributes:
        link: its number.
        remote: who it is.
        version: the versions agreed on.
    """

    link: int
    remote: Remote
    version: Version


@attrs.frozen(hash=False)
class Left:
    """A connection that was established has ended; its last item.

    Attributes:
        link: its number.
        peer_id: who it was.
        disconnection: why.
    """

    link: int
    peer_id: PeerId
    disconnection: Disconnection


@attrs.frozen
class Ready:
    """There is room again for what ``send`` has refused.

    Attributes:
        link: the connection.
        peer_id: to whom.
    """

    link: int
    peer_id: PeerId


#: Anything that the application pulls.
Item = Message[M] | Joined | Left | Ready

# More than there can be.
_ANY: Final = 1 << 62


class Inbox(Generic[M]):
    """The items of all connections that were not pulled yet.

    Args:
        limit: messages of one connection stay below it, but one is always taken; None
            for no limit.

    Attributes:
        emptied: whether the connection of the item that was pulled last has no other.
    """

    __slots__ = (
        "_boxes",
        "_held",
        "_limit",
        "_links",
        "_others",
        "_ready",
        "emptied",
    )

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        # Only while there is something in them; the first has its turn.
        self._boxes: OrderedDict[int, deque[Item[M]]] = OrderedDict()
        # Of each peer the connections of which it was not told that they are over, in the
        # order in which they came.  The first takes part in the turns; the boxes of the
        # others, which begin with who has come, are held back.
        self._links: dict[PeerId, tuple[int, ...]] = {}
        self._held: dict[int, deque[Item[M]]] = {}
        # Items that are no messages: so few that those cost nothing to be told apart.
        self._others: dict[int, int] = {}
        # Connections of which it waits that there is room again: once is enough.
        self._ready: dict[int, None] = {}
        self.emptied = False

    def __len__(self) -> int:
        """Connections that have something to be pulled."""
        return len(self._boxes)

    @property
    def waiting(self) -> int:
        """Messages that wait, of all connections."""
        items = sum(map(len, self._boxes.values())) + sum(map(len, self._held.values()))
        return items - sum(self._others.values())

    def room(self, link: int) -> int:
        """Return how many more messages of a connection are taken."""
        if self._limit is None:
            return _ANY
        box = self._boxes.get(link)
        if box is None and self._held:
            box = self._held.get(link)
        count = 0 if box is None else len(box) - self._others.get(link, 0)
        return max(self._limit - 1 - count, not count)

    def holds(self, link: int) -> bool:
        """Whether anything of a connection waits."""
        return link in self._boxes or link in self._held

    def before(self, link: int) -> tuple[int, ...]:
        """Return the connections for the end of which one is held back."""
        box = self._held.get(link)
        if box is None:
            return ()
        come = box[0]
        assert type(come) is Joined
        links = self._links[come.remote.peer_id]
        return links[: links.index(link)]

    def put(self, item: Item[M]) -> None:
        """Add an item; for a message there must be room."""
        link = item.link
        if type(item) is Ready:
            if link in self._ready:
                return
            self._ready[link] = None
        elif type(item) is Joined:
            self._begin(link, item.remote.peer_id)
        self._box(link).append(item)
        if type(item) is not Message:
            self._others[link] = self._others.get(link, 0) + 1

    def put_all(self, link: int, peer_id: PeerId, messages: list[M]) -> None:
        """Add messages of one connection, for which there must be room."""
        self._box(link).extend([Message(link, peer_id, each) for each in messages])

    def next(self) -> Item[M] | None:
        """Take the next item, or None."""
        boxes = self._boxes
        if not boxes:
            return None
        link = next(iter(boxes))
        box = boxes[link]
        item = box.popleft()
        if type(item) is not Message:
            self._forget(item)
        self.emptied = not box
        if not box:
            del boxes[link]
        elif len(boxes) > 1:
            boxes.move_to_end(link)
        return item

    def purge(self, link: int) -> int:
        """Drop the messages of a connection that we end; return how many."""
        if not self.holds(link):
            return 0
        box = self._box(link)
        before = len(box)
        kept = [item for item in box if type(item) is not Message]
        box.clear()
        box.extend(kept)
        if not kept:
            del self._boxes[link]
        return before - len(kept)

    def _box(self, link: int) -> deque[Item[M]]:
        box = self._boxes.get(link)
        if box is None and self._held:
            box = self._held.get(link)
        if box is None:
            box = self._boxes[link] = deque()
        return box

    def _begin(self, link: int, peer_id: PeerId) -> None:
        """Hold a connection back while the peer has another that is not over."""
        before = self._links.get(peer_id, ())
        self._links[peer_id] = (*before, link)
        if before:
            self._held[link] = deque()

    def _end(self, peer_id: PeerId) -> None:
        """Let the peer's next connection take part in the turns."""
        links = self._links.pop(peer_id, ())[1:]
        if links:
            self._links[peer_id] = links
            self._boxes[links[0]] = self._held.pop(links[0])

    def _forget(self, item: Item[M]) -> None:
        """Count down what is no message."""
        link = item.link
        if type(item) is Ready:
            del self._ready[link]
        elif type(item) is Left:
            self._end(item.peer_id)
        left = self._others[link] - 1
        if left:
            self._others[link] = left
        else:
            del self._others[link]
