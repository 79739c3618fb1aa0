"""What we say on an established connection: messages in, chunks out.

The outgoing queue is one stream of plaintext, cut into chunks when the wire has room.
Messages that wait are joined into full chunks: readers of all generations take the
chunks as one stream of bytes, and a chunk costs the same whether it holds one message
or six hundred.  A message that is alone does not wait for company.  The body of a big
message is referred to, not copied, as far as it fills whole chunks.

With joining off, every message starts a chunk of its own, as the reference writes them.

Source: the writer of the reference node; joined messages were accepted by nodes of 2019.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from ..spec.limits import CHUNK_OVERHEAD, CHUNK_PLAINTEXT_SENT_MAX
from .channel import Channel
from .queues import CHUNK_WEIGHT, NO_LIMIT, OUTGOING_OVERHEAD

_WEIGHT: Final = CHUNK_WEIGHT + OUTGOING_OVERHEAD
#: Chunks of less plaintext are for tests: copying is cheaper than referring then.
_WORTH_REFERRING: Final = 1024


class Outgoing:
    """The outgoing queue of one connection, and the sealing of what leaves it.

    Args:
        channel: what seals the chunks.
        limit: weights in the queue stay below it (see the queues module), or None.
        slice_size: most bytes of plaintext in a chunk, 1 to 65 517.
        joins: whether waiting messages are joined.

    Attributes:
        fill: weight of what waits.
        refused: greatest weight that `put` refused since `ready` last said True, or 0.
        sealed: bytes of plaintext that have left, ever.
    """

    __slots__ = (
        "_channel",
        "_joinable",
        "_limit",
        "_slice",
        "_tail",
        "_waiting",
        "_waiting_weight",
        "fill",
        "refused",
        "sealed",
    )

    def __init__(
        self, channel: Channel, limit: int | None, slice_size: int, joins: bool
    ) -> None:
        self._channel = channel
        self._limit = NO_LIMIT if limit is None else limit
        self._slice = slice_size
        #: Most bytes that are joined.
        self._joinable = slice_size if joins else 0
        self._waiting: deque[tuple[bytes | bytearray | memoryview, int]] | None = None
        self._waiting_weight = 0
        # What will leave as one chunk, always behind what waits: a message that is alone
        # (bytes), or several that are joined.  Its weight is what is missing to `fill`.
        self._tail: bytes | bytearray | None = None
        self.fill = 0
        self.refused = 0
        self.sealed = 0

    @property
    def queued(self) -> int:
        """Bytes of plaintext put in, ever, but for what was cleared."""
        waiting = sum(len(plaintext) for plaintext, _ in self._waiting or ())
        return self.sealed + waiting + len(self._tail or b"")

    @property
    def exhausted(self) -> bool:
        """Whether the last nonce is spent: nothing more can leave."""
        return not self._channel.send_nonce

    def put(self, header: bytes, payload: bytes) -> bool:
        """Queue one message; return False, and change nothing, if there is no room.

        Args:
            header: size and tag.
            payload: what follows; must not change afterwards.
        """
        size = len(header) + len(payload)
        if not self.fill and size <= self._slice:
            self._tail = header + payload
            self.fill = size + _WEIGHT
            return True
        tail = self._tail
        fill = self.fill + size + _WEIGHT
        if tail is not None and len(tail) + size <= self._joinable and fill < self._limit:
            if type(tail) is bytes:
                tail = self._tail = bytearray(tail)
            tail += header
            tail += payload
            self.fill = fill
            return True
        return self._put_anyhow(header, payload, size)

    def offer(self, header: bytes, payload: bytes) -> bool:
        """Do as `put`, but remember nothing of what there is no room for."""
        refused = self.refused
        taken = self.put(header, payload)
        self.refused = refused
        return taken

    def ready(self) -> bool:
        """Whether what was refused would be taken now; at most one True for it.

        Not before half of the queue is free: else a sender would be called again for
        every chunk that leaves.
        """
        if not self.refused:
            return False
        fill, limit = self.fill, self._limit
        if fill and (fill > limit >> 1 or fill + self.refused >= limit):
            return False
        self.refused = 0
        return True

    def seal(self, room: int, pieces: list[bytes]) -> int:
        """Seal chunks until about ``room`` bytes are made; return how much is left of it.

        Args:
            room: bytes; at most one chunk more is made.
            pieces: where headers and bodies go, in order.
        """
        channel, most = self._channel, self._slice
        if self._waiting is None and self._tail is not None and room > 0:
            only, self._tail, self.fill = self._tail, None, 0
            size = len(only)
            self.sealed += size
            pieces += channel.seal(only)
            return room - size - CHUNK_OVERHEAD
        while room > 0 and self.fill:
            if self._waiting is None:
                self._close_tail()
            waiting = self._waiting
            assert waiting is not None
            plaintext, weight = waiting.popleft()
            size = len(plaintext)
            if size > most:
                rest = memoryview(plaintext)
                plaintext, rest = rest[:most], rest[most:]
                waiting.appendleft((rest, weight - most - CHUNK_WEIGHT))
                weight, size = most + CHUNK_WEIGHT, most
            elif not waiting:
                self._waiting = None
            self._waiting_weight -= weight
            self.fill -= weight
            self.sealed += size
            pieces += channel.seal(plaintext)
            room -= size + CHUNK_OVERHEAD
            if not channel.send_nonce:
                break
        return room

    def clear(self) -> None:
        """Forget what waits."""
        self._waiting = self._tail = None
        self._waiting_weight = self.fill = self.refused = 0

    def _put_anyhow(self, header: bytes, payload: bytes, size: int) -> bool:
        """Queue a message that cannot just be joined to others."""
        chunks = 1 if size <= self._slice else -(-size // self._slice)
        weight = size + chunks * CHUNK_WEIGHT + OUTGOING_OVERHEAD
        if self.fill and self.fill + weight >= self._limit:
            self.refused = max(self.refused, weight)
            return False
        if size <= self._joinable:
            self._close_tail()
            self._tail = header + payload
            self.fill += weight
        elif self._joinable < _WORTH_REFERRING:
            self._close_tail()
            self._push(header + payload, weight)
        else:
            self._refer_to(header, payload, weight)
        return True

    def _refer_to(self, header: bytes, payload: bytes, weight: int) -> None:
        """Queue a big message without copying what fills whole chunks.

        Its weight goes with the biggest part; no part may weigh nothing.
        """
        if self._tail is None or len(self._tail) + len(header) > self._slice:
            self._close_tail()
            self._tail = header
        else:
            self._tail += header
        self.fill += 1
        weight -= 1
        rest = len(payload) % self._slice
        whole = len(payload) - rest
        self._close_tail()
        if whole:
            self._push(memoryview(payload)[:whole], weight - 1 if rest else weight)
            weight = 1
        if rest:
            self._tail = payload[whole:]
            self.fill += weight

    def _close_tail(self) -> None:
        """Let what was joined leave, and begin anew."""
        if self._tail:
            weight = self.fill - self._waiting_weight
            self.fill = self._waiting_weight
            self._push(self._tail, weight)
        self._tail = None

    def _push(self, plaintext: bytes | bytearray | memoryview, weight: int) -> None:
        if self._waiting is None:
            self._waiting = deque()
        self._waiting.append((plaintext, weight))
        self._waiting_weight += weight
        self.fill += weight


def slice_size_of(chunk_size: int | None) -> int:
    """Bytes of plaintext per chunk for the setting ``binary_chunks_size``."""
    return CHUNK_PLAINTEXT_SENT_MAX if chunk_size is None else chunk_size - CHUNK_OVERHEAD
