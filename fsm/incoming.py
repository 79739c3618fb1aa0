"""What they say on an established connection: bytes in, messages out.

Chunks are opened onto one stream of plaintext; a message begins where the one before
ended, in the middle of a chunk or spread over many.  Its size is checked against the
limit of its tag as soon as its first six bytes are there, before anything of it is kept.

Work stops, and goes on later, for three reasons: what one call may cost is used up
(`WORK`), the queue of messages is full, or too many of this layer's own messages
(`CONTROL_MAX`) have not been looked at.  What is left then is kept: at most what the
read allowance let in, and one message.

Costs are counted in units of about a microsecond of a processor of 2020, from the
sizes alone: a core without a clock cannot measure them.

Source: the reader of the reference node; the order of checks is that of 2026.
"""

from __future__ import annotations

import struct
from collections import deque
from typing import Final, TypeVar, cast

from ..spec.limits import TAG_SIZE
from ..spec.message import (
    APPLICATION_TAG_MIN,
    MESSAGE_HEADER_SIZE,
    ControlMessage,
    MessageCodec,
)
from ..spec.reader import DecodeError
from ..spec.reasons import ErrorKind, P2pError
from .channel import Channel, ChannelError
from .queues import INCOMING_OVERHEAD, NO_LIMIT, BoundedQueue

M = TypeVar("M")

#: Units of work in one call.  One message is never interrupted, however big: one of 8 MiB
#: takes some 6 ms, one of 90 MiB 70.
WORK: Final = 4000
#: Control messages that may wait to be looked at.
CONTROL_MAX: Final = 64
#: Units for a chunk, and for each KiB of it.
_CHUNK_WORK: Final = 4
#: Units for a control message, which costs more than its size lets one think: points
#: are text.
_CONTROL_WORK: Final = 3
_CONTROL_WORK_SHIFT: Final = 3
#: What a decoded point takes in memory, in units of its text: an Advertise in the queue
#: weighs that much more than its bytes.
_CONTROL_WEIGHT: Final = 10
_MESSAGE_WORK_SHIFT: Final = 7

#: Parts of a message of at least so many bytes are kept as they are.
_WORTH_AN_OBJECT: Final = 4096

_DISCONNECT: Final = 0x01
_unpack_header: Final = struct.Struct(">IH").unpack_from
#: Difference between the size field and the weight of a message.
_WEIGHT: Final = 4 + INCOMING_OVERHEAD


def _weigh(tag: int, payload_size: int) -> int:
    """Weight of a message in the queue."""
    if tag < APPLICATION_TAG_MIN:
        payload_size *= _CONTROL_WEIGHT
    return payload_size + MESSAGE_HEADER_SIZE + INCOMING_OVERHEAD


class CodecError(Exception):
    """The application's codec raised what is no `DecodeError`, or decoded to None."""


#: What `Incoming.work` raises.
FAULTS: Final = (ChannelError, DecodeError, CodecError)


def fault_of(error: Exception) -> P2pError:
    """Return what is wrong with their bytes, from one of `FAULTS`."""
    if isinstance(error, ChannelError):
        return P2pError(error.kind, error.detail)
    if isinstance(error, DecodeError):
        return P2pError(ErrorKind.DECODING_ERROR, str(error))
    return P2pError(ErrorKind.CODEC_FAILED, str(error))


class Incoming(BoundedQueue[ControlMessage | M]):
    """The reading half of one connection, and the queue of its messages.

    Args:
        channel: what opens the chunks.
        codec: what decodes the messages.
        limit: weights in the queue stay below it (see the queues module), or None.
        inline: whether this layer's own messages join the queue, for a connection
            that has nobody else to look at them.

    Attributes:
        controls: this layer's own messages, to be taken by the connection.
        disconnected: whether a Disconnect was read; nothing behind it is.
        stalled: whether there may be work left that is not for lack of bytes.
    """

    __slots__ = (
        "_at",
        "_budget",
        "_channel",
        "_codec",
        "_inline",
        "_missing",
        "_parts",
        "_plain",
        "_spent",
        "_tag",
        "_waits_for",
        "_wire",
        "controls",
        "disconnected",
        "stalled",
    )

    def __init__(
        self, channel: Channel, codec: MessageCodec[M], limit: int | None, inline: bool
    ) -> None:
        self._channel = channel
        self._codec = codec
        super().__init__(limit)
        self._inline = inline
        # Bytes behind the last complete chunk, or behind where work stopped.
        self._wire = b""
        # Plaintext that is not cut into messages yet, from `_at` on.
        self._plain = b""
        self._at = 0
        # A message that is longer than the plaintext at hand.
        self._tag = self._missing = 0
        self._parts: list[bytes | bytearray] | None = None
        self._budget = WORK
        # Whether the last nonce of theirs was used: another chunk would repeat one.
        self._spent = False
        self.controls: tuple[ControlMessage, ...] = ()
        self.disconnected = False
        self.stalled = False
        # Weight of the message that the queue is too full for, or -1: it is controls
        # that wait to be looked at; 0: it was only the budget that was spent.
        self._waits_for = 0

    @property
    def held(self) -> int:
        """Bytes of the wire that are kept because work stopped, or a chunk is cut."""
        return len(self._wire)

    def may_go_on(self, unread: int) -> bool:
        """Whether `work` would now do some of what is left.

        Not before half of a full queue is free, or the peer would be stopped and started
        for every message.

        Args:
            unread: control messages that were taken but not looked at yet.
        """
        if not self.stalled:
            return False
        weight = self._waits_for
        if weight > 0:
            limit = self.limit
            half = limit is None or self.fill <= limit >> 1
            return self.admits(weight) and (half or not self.fill)
        return weight == 0 or unread < CONTROL_MAX

    def work(self, data: bytes | bytearray | memoryview, unread: int) -> None:
        """Go on with what is left, then with ``data``, as far as one call may.

        When it raises, what came before is in the queue, and nothing can follow.

        Args:
            data: bytes from the wire, maybe none; copied as far as they are kept.
            unread: control messages that were taken but not looked at yet.

        Raises:
            ChannelError: a chunk is too short, or does not decrypt.
            DecodeError: size, tag or content of a message.
            CodecError: see there.
        """
        self.stalled, self._waits_for = False, 0
        if self._at < len(self._plain) and not self._cut(self._plain, self._at, unread):
            self._wire += data
            self._budget = WORK
            return
        if self._wire:
            data = self._complete(data, unread)
        if len(data) and not self.disconnected:
            view = data if type(data) is memoryview else memoryview(data)
            done = self._open(view, unread)
            self._wire = bytes(view[done:]) if done < len(view) else b""
        self._budget = WORK

    def clear(self) -> None:
        """Forget everything, decoded or not."""
        self.stop()
        super().clear()
        self.controls = ()

    def stop(self) -> None:
        """Forget what is not decoded; what is, stays in the queue."""
        self._wire = self._plain = b""
        self._parts = None
        self._at = self._missing = 0
        self.stalled, self._waits_for = False, 0

    # -- chunks ------------------------------------------------------------------------

    def _complete(
        self, data: bytes | bytearray | memoryview, unread: int
    ) -> bytes | bytearray | memoryview:
        """Go on with kept bytes and as few of the new as they need; return the rest."""
        while (kept := len(self._wire)) and not self.stalled:
            end = 2
            if kept >= 2:
                end += self._wire[0] << 8 | self._wire[1]
                if end <= kept:
                    # Work was interrupted: there may be many chunks.
                    done = self._open(memoryview(self._wire), unread)
                    self._wire = self._wire[done:]
                    continue
            if not len(data):
                break
            view = memoryview(data)
            self._wire += view[: end - kept]
            data = view[end - kept :]
            if end == 2 and len(self._wire) == 2:
                self._open(memoryview(self._wire), unread)  # is the length legal?
        if self.stalled:
            self._wire += data
            return b""
        return data

    def _open(self, wire: memoryview, unread: int) -> int:
        """Open chunks until there is no whole one or work stops; return where."""
        at, end = 0, len(wire)
        while end - at >= 2:
            size = wire[at] << 8 | wire[at + 1]
            if size < TAG_SIZE:
                raise ChannelError(
                    ErrorKind.INVALID_INCOMING_CIPHERTEXT_SIZE,
                    f"chunk of {size} bytes, at least {TAG_SIZE} wanted",
                )
            stop = at + 2 + size
            if stop > end:
                break
            if self._budget <= 0:
                self.stalled = True
                break
            if self._spent:
                raise ChannelError(ErrorKind.NONCES_EXHAUSTED, "receiving")
            self._budget -= _CHUNK_WORK + (size >> 10)
            plain = self._channel.open(wire[at + 2 : stop])
            at = stop
            self._spent = not self._channel.receive_nonce
            if self._plain:
                plain = self._plain + plain
                self._plain = b""
            cut = self._cut if self._missing else self._cut_whole
            if not cut(plain, 0, unread):
                break
        return at

    # -- messages ----------------------------------------------------------------------

    def _cut(self, plain: bytes, at: int, unread: int) -> bool:
        """Cut plaintext into messages; return False where work stops.

        What is left of the plaintext is kept in either case.
        """
        end = len(plain)
        self._plain, self._at = b"", 0
        if self._missing:
            stop = at + self._missing
            if stop > end:
                self._keep(plain[at:])
                self._missing = stop - end
                return True
            parts = self._parts or ()
            whole = sum(map(len, parts)) + self._missing
            if not self._has_room(whole, self._tag, unread):
                return self._stop(plain, at)
            payload = b"".join((*parts, plain[at:stop])) if parts else plain[at:stop]
            self._parts, self._missing = None, 0
            self._take(self._tag, payload)  # no Disconnect: that has no payload
            at = stop
        return self._cut_whole(plain, at, unread)

    def _cut_whole(self, plain: bytes, at: int, unread: int) -> bool:
        """Cut the messages that lie in this plaintext as a whole."""
        # What is asked for every message is looked up once.
        codec = self._codec
        limits, decode = codec.limits, codec.application.decode
        limit = NO_LIMIT if self.limit is None else self.limit
        end, known, most = len(plain), -1, 0
        while end - at >= MESSAGE_HEADER_SIZE:
            size, tag = _unpack_header(plain, at)
            stop = at + 4 + size
            if tag != known:
                known, most = tag, limits.get(tag, 0) - 4
            if not 2 <= size <= most:
                codec.expect(plain[at : at + MESSAGE_HEADER_SIZE])
            if stop > end:
                self._tag, self._missing = tag, stop - end
                if at + MESSAGE_HEADER_SIZE < end:
                    self._keep(plain[at + MESSAGE_HEADER_SIZE :])
                return True
            if tag < APPLICATION_TAG_MIN:
                if not self._has_room(size - 2, tag, unread):
                    return self._stop(plain, at)
                if not self._take(tag, plain[at + MESSAGE_HEADER_SIZE : stop]):
                    return False
                at = stop
                continue
            fill = self.fill + size + _WEIGHT
            if fill >= limit and self.fill:
                self._waits_for = size + _WEIGHT
                return self._stop(plain, at)
            if self._budget <= 0:
                return self._stop(plain, at)
            self._budget -= 1 + (size >> _MESSAGE_WORK_SHIFT)
            try:
                message = decode(tag, plain[at + MESSAGE_HEADER_SIZE : stop])
            except DecodeError as error:
                error.offset += MESSAGE_HEADER_SIZE
                raise
            except Exception as exc:
                raise CodecError(f"tag {tag:#06x}: {type(exc).__name__}") from exc
            if message is None:
                raise CodecError(f"tag {tag:#06x}: decoded to None")
            items = self.items
            if items is None:
                items = self.items = deque()
            items.append((message, size + _WEIGHT))
            self.fill = fill
            at = stop
        if at < end:
            self._plain = plain[at:]
            codec.expect(self._plain)
        return True

    def _stop(self, plain: bytes, at: int) -> bool:
        self._plain, self._at = plain, at
        self.stalled = True
        return False

    def _keep(self, part: bytes) -> None:
        """Keep a part of a message; small ones together, or each would cost an object."""
        if self._parts is None:
            self._parts = []
        if len(part) >= _WORTH_AN_OBJECT:
            self._parts.append(part)
        elif self._parts and isinstance(last := self._parts[-1], bytearray):
            last += part
        else:
            self._parts.append(bytearray(part))

    def _has_room(self, payload_size: int, tag: int, unread: int) -> bool:
        """Whether one more message may be decoded now."""
        if self._budget <= 0:
            return False
        if tag == _DISCONNECT:
            return True
        if tag < APPLICATION_TAG_MIN and not self._inline:
            if len(self.controls) + unread >= CONTROL_MAX:
                self._waits_for = -1
        else:
            weight = _weigh(tag, payload_size)
            if not self.admits(weight):
                self._waits_for = weight
        return not self._waits_for

    def _take(self, tag: int, payload: bytes) -> bool:
        """Decode a message that there is room for; return False after a Disconnect."""
        own = tag < APPLICATION_TAG_MIN
        if own:
            self._budget -= _CONTROL_WORK + (len(payload) >> _CONTROL_WORK_SHIFT)
        else:
            self._budget -= 1 + (len(payload) >> _MESSAGE_WORK_SHIFT)
        try:
            message = self._codec.decode_payload(tag, payload)
        except DecodeError:
            raise
        except Exception as exc:
            raise CodecError(f"tag {tag:#06x}: {type(exc).__name__}") from exc
        if message is None:
            raise CodecError(f"tag {tag:#06x}: decoded to None")
        if tag == _DISCONNECT:
            self.disconnected = True
            self._wire = b""
            return False
        if own and not self._inline:
            self.controls += (cast("ControlMessage", message),)
        else:
            self.push(message, _weigh(tag, len(payload)))
        return True
