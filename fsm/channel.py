"""Encrypted chunks: keys, nonces, sealing and opening; frames.

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
from collections.abc import Callable
from typing import Final, cast

import attrs
from nacl.bindings import (
    crypto_box_afternm,
    crypto_box_beforenm,
    crypto_box_open_afternm,
)
from nacl.exceptions import CryptoError

from ..spec.identity import PeerId, is_enough_work
from ..spec.limits import CHUNK_PLAINTEXT_SENT_MAX, FRAME_WIRE_MAX, TAG_SIZE
from ..spec.reasons import ErrorKind

#: Bytes of a chunk nonce.
NONCE_SIZE: Final = 24
#: Shared keys that a node keeps unless told otherwise: some 400 bytes each.
KEY_CACHE_SIZE: Final = 1024

_LAST_NONCE: Final = (1 << (8 * NONCE_SIZE)) - 1
_U16: Final = struct.Struct(">H")
_pack_u16: Final = _U16.pack
# The bindings take any buffer, though they announce bytes.
_Buffer = bytes | bytearray | memoryview
_seal: Final = cast("Callable[[_Buffer, bytes, bytes], bytes]", crypto_box_afternm)
_unseal: Final = cast("Callable[[_Buffer, bytes, bytes], bytes]", crypto_box_open_afternm)


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

    def seal(self, plaintext: bytes | bytearray | memoryview) -> tuple[bytes, bytes]:
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
        self.send_nonce = 0 if nonce == _LAST_NONCE else nonce + 1
        body = _seal(plaintext, nonce.to_bytes(NONCE_SIZE, "big"), self._key)
        return _pack_u16(size + TAG_SIZE), body

    def open(self, body: bytes | memoryview) -> bytes:
        """Decrypt the body of one chunk with the next nonce.

        Raises:
            ChannelError: `DECIPHER_ERROR`: not sealed with this key and nonce.  The
                nonce has advanced all the same: the channel is of no use any more.
        """
        nonce = self.receive_nonce
        self.receive_nonce = 0 if nonce == _LAST_NONCE else nonce + 1
        try:
            return _unseal(body, nonce.to_bytes(NONCE_SIZE, "big"), self._key)
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
