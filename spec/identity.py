"""Who a node is: a key pair, the peer id made of it, and the work that backs it.

Bytes of an identity, as they appear in messages:

======  ====  ===================  =====================================================
offset  size  field                meaning
======  ====  ===================  =====================================================
0       32    public_key           X25519 ("box") public key
32      24    proof_of_work_stamp  found by search, see below
======  ====  ===================  =====================================================

Peer id: BLAKE2b with a 16-byte output over the public key (a parameter of the hash,
not a truncation).  On the wire: the 16 raw bytes.  In text: Base58Check with prefix
``99 67``, checksum the first 4 bytes of the double SHA-256 of prefix and payload;
always 30 characters that begin with ``id``.  Another length, prefix or checksum is
an error.

Proof of work: BLAKE2b-256 over the 56 bytes above, read as a **little-endian**
integer, must not exceed the target.  The target of a difficulty d, 0 <= d <= 256,
is made of its integer part s and its fraction f: a mantissa of 54 bits, 2^54 - 1 when
f is 0 and else the integer part of 2.0 ** (54 - f) in double arithmetic, shifted
left by 202 - s with ones behind it, or right by s - 202.  Nodes ask 26.0 of every
peer unless told otherwise; a stamp that falls short costs the peer its connection
and its address a place in the greylist.

File ``identity.json``: an object of strings ``peer_id`` (may be absent),
``public_key`` and ``secret_key`` (64 hex digits each), ``proof_of_work_stamp``
(48).  A peer id that is not the public key's, or a public key that is not the
secret key's, is an error.

Source: the reference node's identity and crypto-box modules, 2019 and 2026; the
target arithmetic and the byte order were checked against both and against recorded
identities.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from typing import Final, Self, cast

import attrs
from nacl.bindings import crypto_scalarmult_base

from .base58 import Base58Check
from .binary import FixedBytes
from .blocks import Mapped

#: Bytes of a public key, a secret key and a shared key.
KEY_SIZE: Final = 32
#: Bytes of a proof-of-work stamp.
STAMP_SIZE: Final = 24
#: Bytes of a peer id.
PEER_ID_SIZE: Final = 16
#: Difficulty that nodes ask of each other unless configured otherwise.
DEFAULT_DIFFICULTY: Final = 26.0
#: Range of legal difficulties, both ends included.
DIFFICULTY_RANGE: Final = (0.0, 256.0)

_PEER_ID: Final = Base58Check("peer id", b"\x99\x67", PEER_ID_SIZE)
_STAMPS: Final = 1 << (8 * STAMP_SIZE)
_LAST_BYTES: Final = tuple(bytes([value]) for value in range(256))


class IdentityError(ValueError):
    """An identity that cannot be used; the message says what is wrong with it."""


class IdentityMismatch(IdentityError):
    """The peer id is not the hash of the public key."""


class KeysMismatch(IdentityError):
    """The public key does not belong to the secret key."""


class InsufficientProofOfWork(IdentityError):
    """The stamp does not reach the expected difficulty."""


class PeerId(bytes):
    """The 16-byte name of a node; text form ``id...`` by `str` and `PeerId.parse`.

    Raises:
        ValueError: not 16 bytes.
    """

    __slots__ = ()

    def __new__(cls, raw: bytes) -> Self:
        """Wrap 16 raw bytes."""
        if len(raw) != PEER_ID_SIZE:
            raise ValueError(f"a peer id has {PEER_ID_SIZE} bytes, not {len(raw)}")
        return super().__new__(cls, raw)

    @classmethod
    def of_key(cls, public_key: bytes) -> Self:
        """Return the peer id of a 32-byte public key."""
        digest = hashlib.blake2b(public_key, digest_size=PEER_ID_SIZE).digest()
        return super().__new__(cls, digest)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the Base58Check form.

        Raises:
            ValueError: wrong alphabet, length, prefix or checksum; says which.
        """
        return super().__new__(cls, _PEER_ID.parse(text))

    def __str__(self) -> str:
        """Return the Base58Check form."""
        return _PEER_ID.text(self)

    def __repr__(self) -> str:
        """Show the text form."""
        return f"PeerId({str(self)!r})"


PUBLIC_KEY: Final = FixedBytes(KEY_SIZE)
STAMP: Final = FixedBytes(STAMP_SIZE)


def _dump_peer_id(peer_id: PeerId) -> bytes:
    # bytes(16) would be sixteen zeros: for callers without a type checker.
    if not isinstance(cast("object", peer_id), bytes):
        raise ValueError(f"{peer_id!r} is no peer id")
    return bytes(peer_id)


PEER_ID: Final = Mapped("peer id", FixedBytes(PEER_ID_SIZE), PeerId, _dump_peer_id)


# -- proof of work ---------------------------------------------------------------------


def target_of(difficulty: float) -> int:
    """Return the largest hash value, little-endian, that ``difficulty`` accepts.

    Args:
        difficulty: expected number of leading zero bits, 0 to 256; fractions count.

    Raises:
        ValueError: out of range, or not a number.
    """
    low, high = DIFFICULTY_RANGE
    if not low <= difficulty <= high:
        raise ValueError(f"difficulty {difficulty} is not in {low}..{high}")
    fraction, whole = math.modf(difficulty)
    shift = 202 - int(whole)
    mantissa = (1 << 54) - 1 if fraction == 0.0 else int(2.0 ** (54.0 - fraction))
    if shift > 0:
        return (mantissa << shift) | ((1 << shift) - 1)
    return mantissa >> -shift


def work_of(public_key: bytes, stamp: bytes) -> int:
    """Return the hash value that is compared with a target."""
    digest = hashlib.blake2b(public_key + stamp, digest_size=32).digest()
    return int.from_bytes(digest, "little")


def is_enough_work(public_key: bytes, stamp: bytes, target: int) -> bool:
    """Whether a stamp reaches a target (of `target_of`)."""
    # As `work_of` has it, less one call: this is what floods make a node do.
    digest = hashlib.blake2b(public_key + stamp, digest_size=32).digest()
    return int.from_bytes(digest, "little") <= target


def difficulty_reached(public_key: bytes, stamp: bytes) -> float:
    """Return about how many bits of work a stamp shows, 0 to 256 (for display)."""
    return 256.0 - math.log2(work_of(public_key, stamp) + 1)


def expected_tries(difficulty: float) -> float:
    """Return the mean number of stamps to try until one passes."""
    return 2.0**256 / (target_of(difficulty) + 1)


def search_stamp(
    public_key: bytes, difficulty: float, first: int, batch: int = 10_000
) -> Iterator[bytes | None]:
    """Look for a stamp, a batch at a time.

    Stamps are tried in order from ``first``, as 192-bit big-endian integers that wrap
    around.  Resumable: the generator may be left at any point and gone on with
    later, or dropped.

    Args:
        public_key: 32 bytes.
        difficulty: 0 to 256.
        first: stamp to begin with; random for a search of one's own, spread evenly
            for one shared between processes.
        batch: tries per step, 1 or more.

    Yields:
        None after each batch without a find, then once the 24-byte stamp.

    Raises:
        ValueError: difficulty out of range.
    """
    target = target_of(difficulty)
    # Whole zero bytes are compared first: cheaper than making an integer each time.
    rest = KEY_SIZE - int(difficulty) // 8
    zeros = bytes(KEY_SIZE - rest)
    # All but the last byte of the stamp is hashed once for 256 tries, which go on from
    # a copy of that state: 2.2 times the plain loop, since a copy skips the parsing of
    # the constructor's keywords.
    key = hashlib.blake2b(public_key, digest_size=32)
    at = first
    while True:
        end = at + batch
        while at < end:
            head, low = divmod(at % _STAMPS, 256)
            front = head.to_bytes(STAMP_SIZE - 1, "big")
            base = key.copy()
            base.update(front)
            copy = base.copy
            tails = _LAST_BYTES[low : low + end - at]
            for last in tails:
                state = copy()
                state.update(last)
                digest = state.digest()
                if digest[rest:] == zeros and int.from_bytes(digest, "little") <= target:
                    yield front + last
                    return
            at += len(tails)
        yield None


# -- identities ------------------------------------------------------------------------


def _peer_id_of(identity: Identity) -> PeerId:
    return PeerId.of_key(identity.public_key)


@attrs.frozen
class Identity:
    """A node's own keys and stamp.

    It may be pickled and copied, for processes of one's own: the secret key goes with it,
    so a pickle is to be kept like the file.

    Attributes:
        public_key: 32 bytes.
        secret_key: 32 bytes, never shown by `repr`.
        proof_of_work_stamp: 24 bytes.
        peer_id: derived from the public key.

    Raises:
        IdentityError: a part has another number of bytes.
    """

    public_key: bytes = attrs.field(repr=bytes.hex)
    secret_key: bytes = attrs.field(repr=False)
    proof_of_work_stamp: bytes = attrs.field(repr=bytes.hex)
    peer_id: PeerId = attrs.field(
        init=False, default=attrs.Factory(_peer_id_of, takes_self=True)
    )

    def __attrs_post_init__(self) -> None:
        """Check the sizes: a short secret key would be a weak one, silently."""
        for name, value, size in (
            ("public_key", self.public_key, KEY_SIZE),
            ("secret_key", self.secret_key, KEY_SIZE),
            ("proof_of_work_stamp", self.proof_of_work_stamp, STAMP_SIZE),
        ):
            if len(value) != size:
                raise IdentityError(f"{name} has {len(value)} bytes, {size} wanted")

    @classmethod
    def of_secret(cls, secret_key: bytes, stamp: bytes = bytes(STAMP_SIZE)) -> Self:
        """Make the identity of a 32-byte secret key.

        Raises:
            IdentityError: the key or the stamp has another number of bytes.
        """
        if len(secret_key) != KEY_SIZE:
            raise IdentityError(
                f"secret_key has {len(secret_key)} bytes, {KEY_SIZE} wanted"
            )
        return cls(crypto_scalarmult_base(secret_key), secret_key, stamp)

    @property
    def difficulty(self) -> float:
        """About how many bits of work the stamp shows."""
        return difficulty_reached(self.public_key, self.proof_of_work_stamp)

    def check(self, difficulty: float | None = None) -> None:
        """Raise unless the keys belong together and the stamp is good enough.

        Args:
            difficulty: expected proof of work, or None not to look at it.

        Raises:
            KeysMismatch: the public key is not the secret key's.
            InsufficientProofOfWork: the stamp falls short.
        """
        if crypto_scalarmult_base(self.secret_key) != self.public_key:
            raise KeysMismatch(
                f"public key {self.public_key.hex()} does not belong to the secret key"
            )
        if difficulty is None:
            return
        stamp = self.proof_of_work_stamp
        if not is_enough_work(self.public_key, stamp, target_of(difficulty)):
            raise InsufficientProofOfWork(
                f"proof of work reaches {self.difficulty:.2f} bits, "
                f"{difficulty:g} are expected: search for a better stamp"
            )
