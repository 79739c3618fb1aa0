"""Encrypted chunks: keys, nonces, sealing and opening, one byte stream per direction.

A frame on the TCP stream is a uint16 length and that many bytes.  The connection
message is a clear frame; everything after it is chunks:

======  ======  ========  ==============================================================
offset  size    field     meaning
======  ======  ========  ==============================================================
0       2       length L  uint16, 16 + bytes of plaintext; below 16 is an error
2       16      tag       Poly1305
18      L - 16  cipher    XSalsa20; no plaintext at all (L = 16) is legal
======  ======  ========  ==============================================================

Key: ``crypto_box_beforenm(remote public key, own secret key)``, the same on both sides.
A public key of low order yields no key (2019 did not notice).

Nonces: with ``i`` and ``r`` the framed connection messages of initiator and responder,
length included, the two first nonces are the first 24 bytes of BLAKE2b-256 over
``i || r || "Init -> Resp"`` and ``i || r || "Resp -> Init"``.  Against intuition the
initiator *sends* with the second and receives with the first.  A nonce grows by one,
as a 192-bit big-endian integer that wraps, with every chunk of its direction.

Chunks say nothing about messages: plaintext is one stream of bytes per direction.

Source: the crypto-box and socket modules of the reference node, 2019 and 2026; chunks
recorded from it.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections import OrderedDict
from collections.abc import Iterator
from typing import Final, cast

import attrs
from nacl.bindings import (
    crypto_box_afternm,
    crypto_box_beforenm,
    crypto_box_open_afternm,
)
from nacl.exceptions import CryptoError

from ..spec.hello import FRAME_MAX_SIZE
from ..spec.identity import PeerId, is_enough_work
from ..spec.limits import CHUNK_PLAINTEXT_SENT_MAX, FRAME_WIRE_MAX, TAG_SIZE
from ..spec.reasons import ErrorKind

#: Bytes of a chunk nonce.
NONCE_SIZE: Final = 24
#: Shared keys that a node keeps unless told otherwise: some 400 bytes each.
KEY_CACHE_SIZE: Final = 1024

_NONCES: Final = 1 << (8 * NONCE_SIZE)
_U16: Final = struct.Struct(">H")


class ChannelError(Exception):
    """The peer sent what cannot be a frame or a chunk here.

    Attributes:
        kind: what exactly.
        detail: with the numbers that matter.
    """

    def __init__(self, kind: ErrorKind, detail: str) -> None:
        super().__init__(f"{kind.meaning}: {detail}")
        self.kind = kind
        self.detail = detail


def derive_nonces(initiator: bytes, responder: bytes) -> tuple[int, int]:
    """Return the first nonces of a connection as integers.

    Args:
        initiator: framed connection message of the side that dialled.
        responder: framed connection message of the side that accepted.

    Returns:
        The nonce that the initiator sends with, and the one it receives with.
    """
    state = hashlib.blake2b(initiator + responder, digest_size=32)
    other = state.copy()
    state.update(b"Resp -> Init")
    other.update(b"Init -> Resp")
    return (
        int.from_bytes(state.digest()[:NONCE_SIZE], "big"),
        int.from_bytes(other.digest()[:NONCE_SIZE], "big"),
    )


class Channel:
    """Seals what is sent and opens what is received, chunk by chunk.

    Args:
        key: 32 bytes, the shared key.
        send_nonce: first nonce of our direction, as an integer.
        receive_nonce: first nonce of theirs.
    """

    __slots__ = ("_key", "receive_nonce", "send_nonce")

    def __init__(self, key: bytes, send_nonce: int, receive_nonce: int) -> None:
        self._key = key
        self.send_nonce = send_nonce
        self.receive_nonce = receive_nonce

    @property
    def fingerprints(self) -> tuple[str, str]:
        """Eight bytes in hex for what we send with next, and for what we receive with.

        One end's first is the other end's second if key and nonces agree; neither
        tells anything about them.
        """
        nonces = (self.send_nonce, self.receive_nonce)
        send, receive = (
            hashlib.blake2b(n.to_bytes(NONCE_SIZE, "big"), digest_size=8, key=self._key)
            for n in nonces
        )
        return send.hexdigest(), receive.hexdigest()

    def seal(self, plaintext: bytes | memoryview) -> tuple[bytes, bytes]:
        """Encrypt one chunk with the next nonce.

        Returns:
            Header and body.  Two pieces: joining them would copy the body again.

        Raises:
            ValueError: more than 65 517 bytes of plaintext.
        """
        size = len(plaintext)
        if size > CHUNK_PLAINTEXT_SENT_MAX:
            raise ValueError(
                f"chunk of {size} bytes of plaintext, limit {CHUNK_PLAINTEXT_SENT_MAX}"
            )
        nonce = self.send_nonce
        self.send_nonce = (nonce + 1) % _NONCES
        body = crypto_box_afternm(
            cast("bytes", plaintext), nonce.to_bytes(NONCE_SIZE, "big"), self._key
        )
        return _U16.pack(size + TAG_SIZE), body

    def seal_message(self, message: bytes, slice_size: int) -> Iterator[bytes]:
        """Cut a message into chunks and give them as wire pieces, in order.

        Args:
            message: any number of bytes; none at all gives no chunk.
            slice_size: plaintext bytes per chunk, 1 to 65 517.

        Raises:
            ValueError: ``slice_size`` is out of range.
        """
        if not 0 < slice_size <= CHUNK_PLAINTEXT_SENT_MAX:
            raise ValueError(
                f"slices of {slice_size} bytes, limit {CHUNK_PLAINTEXT_SENT_MAX}"
            )
        view = memoryview(message)
        for start in range(0, len(view), slice_size):
            yield from self.seal(view[start : start + slice_size])

    def open(self, body: bytes | memoryview) -> bytes:
        """Decrypt the body of one chunk with the next nonce.

        Raises:
            ChannelError: `DECIPHER_ERROR`: not sealed with this key and nonce.  The
                nonce has advanced all the same: the channel is of no use any more.
        """
        nonce = self.receive_nonce
        self.receive_nonce = (nonce + 1) % _NONCES
        try:
            # The binding takes any buffer, though it announces bytes.
            return crypto_box_open_afternm(
                cast("bytes", body), nonce.to_bytes(NONCE_SIZE, "big"), self._key
            )
        except CryptoError:
            raise ChannelError(
                ErrorKind.DECIPHER_ERROR, f"chunk of {len(body)} bytes"
            ) from None


class Frames:
    """Bytes from the wire, cut into frames: a uint16 length and that many bytes.

    Holds at most what it was fed and has not yet given back; callers keep to `room`.
    """

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def __len__(self) -> int:
        """Bytes held."""
        return len(self._buffer)

    @property
    def room(self) -> int:
        """Bytes that may be fed before the longest possible frame is exceeded."""
        return max(0, FRAME_WIRE_MAX - len(self._buffer))

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Append bytes from the wire; ``data`` is copied."""
        self._buffer += data

    def next(self, least: int, most: int) -> bytes | None:
        """Take the body of the next frame, or None until it is complete.

        The announced length is checked as soon as its two bytes are there.

        Args:
            least: fewest bytes of body that are legal here.
            most: most bytes of body that are legal here.

        Raises:
            ChannelError: `INVALID_INCOMING_CIPHERTEXT_SIZE` below ``least``,
                `DECODING_ERROR` above ``most``.
        """
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        size: int = _U16.unpack_from(buffer)[0]
        if size < least:
            raise ChannelError(
                ErrorKind.INVALID_INCOMING_CIPHERTEXT_SIZE,
                f"chunk of {size} bytes, at least {least} wanted",
            )
        if size > most:
            raise ChannelError(
                ErrorKind.DECODING_ERROR, f"chunk of {size} bytes, limit {most} here"
            )
        end = 2 + size
        if len(buffer) < end:
            return None
        body = bytes(buffer[2:end])
        del buffer[:end]
        return body

    def drain(self) -> bytes:
        """Take everything that is left, cut or not."""
        rest = bytes(self._buffer)
        self.clear()
        return rest

    def clear(self) -> None:
        """Forget everything that is left."""
        self._buffer.clear()


class ChunkStream:
    """Chunks in, one stream of plaintext bytes out: messages find their own edges.

    Feed it, then call `open_next` as long as there is time and room: each call opens one
    chunk, so that the caller decides how much is done at once.

    Args:
        channel: what opens the chunks.
    """

    __slots__ = ("_channel", "_error", "_frames", "_plain")

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._frames = Frames()
        self._plain = bytearray()
        self._error: ChannelError | None = None

    def __len__(self) -> int:
        """Bytes of plaintext that wait to be taken."""
        return len(self._plain)

    @property
    def room(self) -> int:
        """Bytes that may be fed before the longest possible chunk is exceeded."""
        return 0 if self._error else self._frames.room

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Take bytes from the wire; after an error they are dropped."""
        if self._error is None:
            self._frames.feed(data)

    def open_next(self) -> bool:
        """Open the next chunk onto the stream; tell whether there was a complete one.

        Raises:
            ChannelError: the chunk is too short or does not decrypt.  The same again at
                every later call: behind a hole there is no stream.
        """
        if self._error is not None:
            raise self._error
        try:
            body = self._frames.next(TAG_SIZE, FRAME_MAX_SIZE)
            if body is None:
                return False
            self._plain += self._channel.open(body)
        except ChannelError as error:
            self._error = error
            self._frames.clear()
            raise
        return True

    def peek(self, size: int) -> bytes:
        """Return up to ``size`` bytes from the front without taking them."""
        return bytes(self._plain[:size])

    def take(self, size: int) -> bytes:
        """Take up to ``size`` bytes off the front."""
        taken = bytes(self._plain[:size])
        del self._plain[:size]
        return taken


@attrs.frozen
class Acquaintance:
    """What one key agreement taught us of a remote.

    Attributes:
        peer_id: hash of its public key.
        stamp: the proof-of-work stamp that passed our target.
        shared_key: 32 bytes, or none if the key is of low order.
    """

    peer_id: PeerId
    stamp: bytes
    shared_key: bytes = attrs.field(repr=False)


class KeyCache:
    """Checked stamps and shared keys by remote public key, the most recent ones.

    Keys are long-lived: a peer that returns, or a replayed connection message, costs
    no proof-of-work hash and no key agreement.  A key of low order is remembered too:
    it is not tried twice.  Bounded: the least recently used goes first.  Only keys whose
    proof of work passed are kept, so that filling it costs work.

    Args:
        secret_key: our 32 bytes.
        target: greatest hash value that passes (`spec.identity.target_of`).
        capacity: entries to keep, 0 or more; with 0 nothing is remembered.

    Attributes:
        agreements: key agreements computed so far.
    """

    __slots__ = ("_known", "_secret_key", "agreements", "capacity", "target")

    def __init__(
        self, secret_key: bytes, target: int, capacity: int = KEY_CACHE_SIZE
    ) -> None:
        self._secret_key = secret_key
        self.target = target
        self.capacity = capacity
        self.agreements = 0
        self._known: OrderedDict[bytes, Acquaintance] = OrderedDict()

    def __len__(self) -> int:
        """Entries held."""
        return len(self._known)

    def serves(self, secret_key: bytes, target: int) -> bool:
        """Whether it was made for this key and this target."""
        return hmac.compare_digest(self._secret_key, secret_key) and self.target == target

    def meet(self, public_key: bytes, stamp: bytes) -> Acquaintance | ErrorKind:
        """Check a stamp, then agree on a key, each only if it is not known yet.

        Returns:
            What is known of the remote now, or `NOT_ENOUGH_PROOF_OF_WORK`, or
            `LOW_ORDER_KEY`.  Not raised: floods of bad stamps must stay cheap.
        """
        known = self._known.get(public_key)
        if known is None or known.stamp != stamp:
            if not is_enough_work(public_key, stamp, self.target):
                return ErrorKind.NOT_ENOUGH_PROOF_OF_WORK
            known = self._learn(public_key, stamp, known)
        else:
            self._known.move_to_end(public_key)
        return known if known.shared_key else ErrorKind.LOW_ORDER_KEY

    def _learn(
        self, public_key: bytes, stamp: bytes, known: Acquaintance | None
    ) -> Acquaintance:
        if known is not None:
            known = Acquaintance(known.peer_id, stamp, known.shared_key)
        else:
            self.agreements += 1
            try:
                key = crypto_box_beforenm(public_key, self._secret_key)
            except CryptoError:  # the product of a point of low order is zero
                key = b""
            known = Acquaintance(PeerId.of_key(public_key), stamp, key)
        if self.capacity:
            self._known[public_key] = known
            self._known.move_to_end(public_key)
            if len(self._known) > self.capacity:
                self._known.popitem(last=False)
        return known
