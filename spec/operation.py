"""Operations, the lists of them in a block, and the mempool.

**Operation**, at most 131 072 bytes:

======  ====  =============  ===========================================================
offset  size  field          meaning
======  ====  =============  ===========================================================
0       32    branch         hash of the block that it builds upon
32      rest  protocol_data  bytes that only the protocol understands
======  ====  =============  ===========================================================

The hash of an operation is BLAKE2b-256 of all of that.

**Operation list**: operations back to back to the end of the block, each with a uint30
length in front; any number, at most 1 048 576 bytes, lengths included.

**Mempool**, at most 128 008 bytes, so that it has room for 3999 hashes:

======  ====  ==============  ==========================================================
offset  size  field           meaning
======  ====  ==============  ==========================================================
0       4     length n        uint30
4       n     known_valid     operation hashes back to back: valid, in this order
4 + n   4     length m + 4    uint30, of what follows
8 + n   4     length m        uint30, once more
12 + n  m     pending         operation hashes back to back: not known to be valid
======  ====  ==============  ==========================================================

Any order and repetitions are read.  Nodes of 2026 sort both lists; those of 2019 put
``known_valid`` in the order in which the operations must be applied.

Source: the operation and mempool modules of the reference node, 2019 and 2026, limits
of 2026; messages recorded by TezEdge.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any, Final, Self, overload

import attrs

from .binary import TAIL, BinaryType
from .blocks import Dynamic, Items, Limited
from .hashes import BLOCK_HASH, HASH_SIZE, BlockHash, HashList, OperationHash, brief
from .reader import DecodeError, DecodeFault, EncodeError, Reader
from .record import Field, Record

#: Most bytes of an operation.
OPERATION_MAX_SIZE: Final = 131_072
#: Most bytes of the operations of one pass of a block, their lengths included.
OPERATION_LIST_MAX_SIZE: Final = 1_048_576
#: Most bytes of a mempool, its lengths included.
MEMPOOL_MAX_SIZE: Final = 128_008

_U32: Final = struct.Struct(">I")


@attrs.frozen
class Operation:
    """Something to be done by the protocol.

    Attributes:
        branch: the block that it builds upon.
        protocol_data: what only the protocol understands.
    """

    branch: BlockHash
    protocol_data: bytes = attrs.field(repr=brief)

    @property
    def hash(self) -> OperationHash:
        """The name of the operation; worked out each time.

        Raises:
            EncodeError: a field is out of range.
        """
        return OperationHash.of(OPERATION.encode(self))


OPERATION: Final = Limited(
    OPERATION_MAX_SIZE,
    Record(
        Operation,
        "operation",
        Field("branch", BLOCK_HASH, "the block that it builds upon"),
        Field("protocol_data", TAIL, "what only the protocol understands"),
    ),
)
_SIZED: Final = Dynamic(OPERATION)
_ITEMS: Final = Items(_SIZED)


class OperationList(Sequence[Operation]):
    """The operations of one pass of a block, kept as bytes and cut out when asked for.

    A message may hold 29 127 of them, which nobody asked for yet: to find where each
    begins takes a tenth of the time that it takes to make them.

    Args:
        operations: the operations.

    Raises:
        EncodeError: one of them is out of range; says which.
    """

    __slots__ = ("_raw", "_starts")

    def __init__(self, operations: Iterable[Operation] = ()) -> None:
        self._raw = _ITEMS.encode(tuple(operations))
        self._starts = _starts(self._raw)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take all that is left of a block, if it is operations.

        Raises:
            DecodeError: it is not; with the index of the first that is none.
        """
        raw = reader.data[reader.pos : reader.end]
        starts = _starts(raw)
        reader.pos += starts[-1]
        if reader.pos != reader.end:
            try:
                _SIZED.read(reader)  # to say what is wrong with it
            except DecodeError as error:
                error.inside(f"[{len(starts) - 1}]")
                raise
        made = cls.__new__(cls)
        made._raw, made._starts = raw, starts
        return made

    @property
    def raw(self) -> bytes:
        """All of them, each with its length in front."""
        return self._raw

    @property
    def hashes(self) -> tuple[OperationHash, ...]:
        """The hashes of all of them, in order."""
        return tuple(OperationHash.of(self._bytes(at)) for at in range(len(self)))

    def _bytes(self, index: int) -> bytes:
        return self._raw[self._starts[index] + 4 : self._starts[index + 1]]

    def __len__(self) -> int:
        """Number of operations."""
        return len(self._starts) - 1

    @overload
    def __getitem__(self, index: int) -> Operation: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Operation, ...]: ...

    def __getitem__(self, index: int | slice) -> Operation | tuple[Operation, ...]:
        """Make one of them, or some."""
        chosen = range(len(self))[index]
        if isinstance(chosen, int):
            return OPERATION.decode(self._bytes(chosen))
        return tuple(OPERATION.decode(self._bytes(at)) for at in chosen)

    def __eq__(self, other: object) -> bool:
        """Whether both hold the same operations."""
        if not isinstance(other, OperationList):
            return NotImplemented
        return self._raw == other._raw

    def __hash__(self) -> int:
        """By content."""
        return hash(self._raw)

    def __repr__(self) -> str:
        """Say how many they are."""
        return f"<OperationList: {len(self)} operations, {len(self._raw)} bytes>"


def _starts(raw: bytes) -> list[int]:
    """Find where operations begin; last, where whole and legal ones end."""
    at, end, starts, unpack = 0, len(raw), [0], _U32.unpack_from
    add = starts.append
    last = end - 4
    while at <= last:
        size = unpack(raw, at)[0]
        at += 4 + size
        if size < HASH_SIZE or size > OPERATION_MAX_SIZE or at > end:
            break
        add(at)
    return starts


class _OperationList(BinaryType[OperationList]):
    """Operations back to back up to the end of the block, checked but not made."""

    variable = True
    max_size = OPERATION_LIST_MAX_SIZE

    def read(self, reader: Reader) -> OperationList:
        """Take all that is left, if it is operations."""
        if reader.left > OPERATION_LIST_MAX_SIZE:
            raise reader.fail(
                DecodeFault.SIZE_LIMIT_EXCEEDED,
                f"{reader.left} bytes of operations, limit {OPERATION_LIST_MAX_SIZE}",
            )
        return OperationList.read(reader)

    def write(self, out: bytearray, value: OperationList) -> None:
        """Append the operations."""
        if len(value.raw) > OPERATION_LIST_MAX_SIZE:
            raise EncodeError(f"{len(value.raw)} bytes, limit {OPERATION_LIST_MAX_SIZE}")
        out += value.raw

    def describe(self) -> dict[str, Any]:
        """Element and limit."""
        return _ITEMS.describe() | {"max_bytes": OPERATION_LIST_MAX_SIZE}


OPERATION_LIST: Final = _OperationList()


def operation_list(operations: Iterable[Operation]) -> OperationList:
    """Return the same list, or make one."""
    if isinstance(operations, OperationList):
        return operations
    return OperationList(operations)


def _show_number(hashes: Sequence[OperationHash]) -> str:
    return f"<{len(hashes)} hashes>"


@attrs.frozen
class Mempool:
    """The operations that a node knows of and that are in no block yet.

    Attributes:
        known_valid: those that were found valid.
        pending: those that were not looked at yet.
    """

    known_valid: tuple[OperationHash, ...] = attrs.field(default=(), repr=_show_number)
    pending: tuple[OperationHash, ...] = attrs.field(default=(), repr=_show_number)


_HASHES: Final = Dynamic(HashList(OperationHash))
MEMPOOL: Final = Limited(
    MEMPOOL_MAX_SIZE,
    Record(
        Mempool,
        "mempool",
        Field("known_valid", _HASHES, "those that were found valid"),
        Field("pending", Dynamic(_HASHES), "those that were not looked at yet"),
    ),
)
