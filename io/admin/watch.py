"""Streams of what happens, for clients that read at their own pace.

An event is written once for all streams; of one stream at most `WAITING_MAX` pieces wait.
Who reads more slowly than things happen loses the stream: it ends.  Nothing of a node
waits for a client.

Histories of one point or one peer are looked at again after something has changed, at
most once in `LOOK` seconds; a hundred lines are kept of each, so none is missed unless a
hundred happen in that time.

Source: the log streams of the reference node, 2026.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Hashable, Sequence
from typing import Any, Final

import attrs

from ...spec.asides import Aside
from ...spec.pool_events import PoolEvent
from ..node_ends import NodeEnds

#: Streams at once.
STREAMS_MAX: Final = 32
#: Pieces that wait for one stream.
WAITING_MAX: Final = 1024
#: Seconds between two looks at histories.
LOOK: Final = 0.05

#: What a history holds: anything that is itself and no other.
History = Sequence[Hashable]


class TooMany(Exception):
    """There are as many streams as may be."""


@attrs.define(eq=False)
class _Stream:
    """What one client was not told yet."""

    pieces: deque[bytes] = attrs.field(factory=deque[bytes])
    news: asyncio.Event = attrs.field(factory=asyncio.Event)
    lost: asyncio.Event = attrs.field(factory=asyncio.Event)

    def put(self, piece: bytes) -> None:
        if len(self.pieces) >= WAITING_MAX:
            self.end()
        elif not self.lost.is_set():
            self.pieces.append(piece)
            self.news.set()

    def end(self) -> None:
        self.lost.set()
        self.news.set()


class Bell:
    """Has a function called in the event loop, soon, however often it is rung.

    Args:
        ringing: the function.
        delay: seconds until it is called.
    """

    def __init__(self, ringing: Callable[[], object], delay: float = 0.0) -> None:
        self._loop = asyncio.get_running_loop()
        self._ringing = ringing
        self._delay = delay
        self._rung = False

    def ring(self) -> None:
        """Have it called; any thread may."""
        if not self._rung:
            self._rung = True
            try:
                self._loop.call_soon_threadsafe(self._wait)
            except RuntimeError:  # the loop is closed: nobody is there to be told
                return

    def _wait(self) -> None:
        if self._delay:
            self._loop.call_later(self._delay, self._call)
        else:
            self._call()

    def _call(self) -> None:
        self._rung = False
        self._ringing()


class Watch:
    """The streams of one server.

    Args:
        node: whose events.
        write: makes a piece of an event.
        last_tag: events of greater tags, and those without one, are left out; None:
            none is.
    """

    def __init__(
        self,
        node: NodeEnds[Any, Any],
        write: Callable[[PoolEvent], bytes],
        last_tag: int | None = None,
    ) -> None:
        self._node = node
        self._write = write
        self._last_tag = last_tag
        self._events: deque[PoolEvent] = deque()
        self._missed = False
        self._streams: dict[_Stream, None] = {}
        self._looks: dict[object, Callable[[], object]] = {}
        self._told = Bell(self._hand_out)
        self._changed = Bell(self._look_around, LOOK)
        self._end_events: Callable[[], None] | None = None
        self._end_changes: Callable[[], None] | None = None
        self._count = 0

    def __len__(self) -> int:
        """How many streams there are."""
        return self._count

    def take(self) -> None:
        """Count one stream more; `give_back` has to follow.

        Raises:
            TooMany: it may not be.
        """
        if self._count >= STREAMS_MAX:
            raise TooMany(f"{STREAMS_MAX} streams are open")
        self._count += 1

    def give_back(self) -> None:
        """Count one stream less."""
        self._count -= 1

    # -- the node's events -------------------------------------------------------------

    def events(
        self,
    ) -> tuple[AsyncGenerator[bytes, None], asyncio.Event, Callable[[], None]]:
        """Return the events of the node from now on.

        Also what is set when the client is too slow, and what ends it all.
        """
        stream = _Stream()
        self._streams[stream] = None
        if self._end_events is None:
            self._end_events = self._node.observe(self._on_event)

        def end() -> None:
            self._streams.pop(stream, None)
            if not self._streams and self._end_events is not None:
                self._end_events()
                self._end_events = None

        return self._events_of(stream), stream.lost, end

    async def _events_of(self, stream: _Stream) -> AsyncGenerator[bytes, None]:
        while True:
            while stream.pieces:
                yield stream.pieces.popleft()
            if stream.lost.is_set():
                return
            stream.news.clear()
            await stream.news.wait()

    def _on_event(self, event: PoolEvent) -> None:
        if isinstance(event, Aside):
            return  # not on the reference's stream
        if self._last_tag is not None and (
            event.tag is None or event.tag > self._last_tag
        ):
            return  # its clients end at a name that they do not know
        if len(self._events) > WAITING_MAX:
            self._missed = True
        else:
            self._events.append(event)
        self._told.ring()

    def _hand_out(self) -> None:
        while self._events:
            piece = self._write(self._events.popleft())
            for stream in self._streams:
                stream.put(piece)
        if self._missed:
            self._missed = False
            for stream in self._streams:
                stream.end()

    # -- what changes ------------------------------------------------------------------

    def look(self, key: object, look: Callable[[], object]) -> None:
        """Have a function called when anything may have changed, until `unlook`."""
        self._looks[key] = look
        if self._end_changes is None:
            self._end_changes = self._node.observe(on_change=self._changed.ring)

    def unlook(self, key: object) -> None:
        """Call it no more; harmless if it is not called."""
        self._looks.pop(key, None)
        if not self._looks and self._end_changes is not None:
            self._end_changes()
            self._end_changes = None

    def _look_around(self) -> None:
        for look in tuple(self._looks.values()):
            look()

    async def history(
        self, read: Callable[[], History], write: Callable[[History], bytes]
    ) -> AsyncGenerator[bytes, None]:
        """Give a whole history, and then each line that is added.

        Args:
            read: returns the history as it is now.
            write: makes a piece of some lines.
        """
        changed = asyncio.Event()
        self.look(changed, changed.set)
        try:
            known = read()
            yield write(known)
            while True:
                await changed.wait()
                changed.clear()
                lines = read()
                for line in added(known, lines):
                    yield write((line,))
                known = lines
        finally:
            self.unlook(changed)


def added(before: History, now: History) -> History:
    """Return the lines of a history that were not there before.

    Old lines go from its beginning, new ones come to its end; all lines are objects that
    stay the same.
    """
    if not before:
        return now
    last = before[-1]
    for index in range(len(now) - 1, -1, -1):
        if now[index] is last:
            return now[index + 1 :]
    return now
