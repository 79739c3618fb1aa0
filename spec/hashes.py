"""The hashes that blocks, operations and protocols are known by.

====================  =====  ===========  ======  ======================================
hash                  bytes  prefix       text    of
====================  =====  ===========  ======  ======================================
block                 32     01 34        B...    the block header
operation             32     05 74        o...    the operation
operation list        32     85 e9        Lo...   the operations of one pass: Merkle tree
operation list list   32     1d 9f 6d     LLo...  all passes of a block: Merkle tree
protocol              32     02 aa        P...    the protocol's sources
context               32     4f c7        Co...   the state after a block
chain id              4      57 52 00     Net...  the hash of the chain's first block
====================  =====  ===========  ======  ======================================

All are BLAKE2b with a 32-byte output; a chain id is the first 4 bytes of it.  On the
wire: the raw bytes.  In text: Base58Check with the prefix given above (hexadecimal), 51
to 53 characters, of a chain id 15.

Source: the hash and base58 modules of the reference node, 2019 and 2026.
"""

from __future__ import annotations

import hashlib
from typing import ClassVar, Final, Self, TypeVar

from .base58 import Base58Check
from .binary import FixedBytes
from .blocks import Items, Mapped
from .reader import Reader

#: Bytes of every hash but a chain id.
HASH_SIZE: Final = 32
#: Bytes of a chain id.
CHAIN_ID_SIZE: Final = 4
_SHOWN: Final = 32


class Hash(bytes):
    """What the hashes below have in common: text form by `str` and `parse`.

    Raises:
        ValueError: another number of bytes.
    """

    __slots__ = ()
    #: The text form.
    base58: ClassVar[Base58Check]

    def __new__(cls, raw: bytes) -> Self:
        """Wrap raw bytes."""
        if len(raw) != cls.base58.size:
            raise ValueError(
                f"{cls.base58.an} has {cls.base58.size} bytes, not {len(raw)}"
            )
        return super().__new__(cls, raw)

    @classmethod
    def of(cls, data: bytes) -> Self:
        """Return the hash of some bytes."""
        return super().__new__(cls, blake2b(data)[: cls.base58.size])

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the Base58Check form.

        Raises:
            ValueError: wrong alphabet, length, prefix or checksum; says which.
        """
        return super().__new__(cls, cls.base58.parse(text))

    def __str__(self) -> str:
        """Return the Base58Check form."""
        return self.base58.text(self)

    def __repr__(self) -> str:
        """Show the text form."""
        return f"{type(self).__name__}({str(self)!r})"


class BlockHash(Hash):
    """The name of a block; text form ``B...``."""

    __slots__ = ()
    base58 = Base58Check("block hash", b"\x01\x34", HASH_SIZE)


class OperationHash(Hash):
    """The name of an operation; text form ``o...``."""

    __slots__ = ()
    base58 = Base58Check("operation hash", b"\x05\x74", HASH_SIZE)


class OperationListHash(Hash):
    """What the operations of one pass of a block come to; text form ``Lo...``."""

    __slots__ = ()
    base58 = Base58Check("operation list hash", b"\x85\xe9", HASH_SIZE)


class OperationListListHash(Hash):
    """What all operations of a block come to; text form ``LLo...``."""

    __slots__ = ()
    base58 = Base58Check("operation list list hash", b"\x1d\x9f\x6d", HASH_SIZE)


class ProtocolHash(Hash):
    """The name of a protocol; text form ``P...``."""

    __slots__ = ()
    base58 = Base58Check("protocol hash", b"\x02\xaa", HASH_SIZE)


class ContextHash(Hash):
    """The name of the state after a block; text form ``Co...``."""

    __slots__ = ()
    base58 = Base58Check("context hash", b"\x4f\xc7", HASH_SIZE)


class ChainId(Hash):
    """The name of a chain: `of` the hash of its first block; text form ``Net...``."""

    __slots__ = ()
    base58 = Base58Check("chain id", b"\x57\x52\x00", CHAIN_ID_SIZE)


H = TypeVar("H", bound=Hash)


def blake2b(data: bytes) -> bytes:
    """Return the 32-byte BLAKE2b of some bytes."""
    return hashlib.blake2b(data, digest_size=HASH_SIZE).digest()


def brief(data: bytes) -> str:
    """Show bytes in hexadecimal, long ones by their beginning and their number."""
    if len(data) <= _SHOWN:
        return data.hex() or "empty"
    return f"{data[:_SHOWN].hex()}... ({len(data)} bytes)"


def _raw(value: Hash) -> bytes:
    return value


def _hash_type(cls: type[H]) -> Mapped[H, bytes]:
    return Mapped(cls.base58.name, FixedBytes(cls.base58.size), cls, _raw)


BLOCK_HASH: Final = _hash_type(BlockHash)
OPERATION_HASH: Final = _hash_type(OperationHash)
OPERATION_LIST_LIST_HASH: Final = _hash_type(OperationListListHash)
PROTOCOL_HASH: Final = _hash_type(ProtocolHash)
CONTEXT_HASH: Final = _hash_type(ContextHash)
CHAIN_ID: Final = _hash_type(ChainId)


class HashList(Items[H]):
    """Hashes of one kind back to back, cut in one go: 4000 of them come at once.

    Args:
        cls: kind of the hashes.
        most: largest number of them, or None.
    """

    def __init__(self, cls: type[H], most: int | None = None) -> None:
        super().__init__(_hash_type(cls), most)
        self.cls = cls

    def read(self, reader: Reader) -> tuple[H, ...]:
        """Read hashes until the block ends."""
        cls, size, left = self.cls, self.cls.base58.size, reader.left
        if left % size or (self.most is not None and left > self.most * size):
            return super().read(reader)  # which says where it goes wrong
        data, start, new = reader.data, reader.pos, bytes.__new__
        reader.pos = end = reader.end
        return tuple([new(cls, data[at : at + size]) for at in range(start, end, size)])
