"""Merkle trees over operations, and the paths that prove where a list belongs.

A leaf is BLAKE2b-256 of the 32 bytes of an element, a node BLAKE2b-256 of the 64 bytes
of its two children.  The row of leaves is filled up with copies of the last one to a
power of two; the root of one element is its leaf, the root of none is BLAKE2b-256 of
nothing.

- An **operation list hash** is the root over the hashes of the operations of one pass.
- An **operation list list hash**, as in block headers, is the root over the operation
  list hashes of all passes, in order.

**Path**, from the root to one leaf, at most 100 bytes and so at most 3 steps; each step
is a tag and what belongs to it:

====  =====  ===========================================================================
tag   step   payload
====  =====  ===========================================================================
00    end    none: this is the leaf
f0    left   the rest of the path, then 32 bytes: the node to the right of it
0f    right  32 bytes: the node to the left of it, then the rest of the path
====  =====  ===========================================================================

The steps from the leaf outwards are the bits of its position, right being 1.  Because
of the filling, a path may end at a copy of the last leaf: whoever checks one must ask
for a position below the number of lists.

Source: the Merkle trees of the reference node's hash module, 2019 and 2026, limit of
2026; a path recorded by TezEdge.  Roots for 1 to 5 elements were computed by us.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import attrs

from .binary import BinaryType, FixedBytes
from .hashes import (
    HASH_SIZE,
    OperationHash,
    OperationListHash,
    OperationListListHash,
    blake2b,
)
from .reader import DecodeFault, EncodeError, Reader

#: Most bytes of a path.
MERKLE_PATH_MAX_SIZE: Final = 100
#: Most steps of a path: each takes a tag and a hash, the end a tag.
MERKLE_PATH_MAX_STEPS: Final = (MERKLE_PATH_MAX_SIZE - 1) // (1 + HASH_SIZE)

_END: Final = 0x00
_LEFT: Final = 0xF0
_RIGHT: Final = 0x0F
_HASH: Final = FixedBytes(HASH_SIZE)


@attrs.frozen
class Left:
    """The path goes to the left.

    Attributes:
        right: 32 bytes, the node that it leaves aside.
    """

    right: bytes = attrs.field(repr=bytes.hex)


@attrs.frozen
class Right:
    """The path goes to the right.

    Attributes:
        left: 32 bytes, the node that it leaves aside.
    """

    left: bytes = attrs.field(repr=bytes.hex)


@attrs.frozen
class MerklePath:
    """The way from the root of a tree to one of its leaves.

    Attributes:
        steps: from the root on; at most 3 can be sent.
    """

    steps: tuple[Left | Right, ...] = ()

    def root(self, element: OperationListHash) -> tuple[OperationListListHash, int]:
        """Return the root that the path leads to from an element, and its position.

        The operations of a pass are those of a block when the root is the operations
        hash of its header and the position is the pass.
        """
        node, position, size = blake2b(element), 0, 1
        for step in reversed(self.steps):
            if isinstance(step, Left):
                node = blake2b(node + step.right)
            else:
                node = blake2b(step.left + node)
                position += size
            size *= 2
        return OperationListListHash(node), position


class _MerklePath(BinaryType[MerklePath]):
    """A path; read and written in a loop, however deep it says it is."""

    max_size = MERKLE_PATH_MAX_SIZE

    def read(self, reader: Reader) -> MerklePath:
        """Read the tags on the way in, and the hashes of left steps on the way out."""
        start = reader.pos
        lefts: list[bytes | None] = []
        while True:
            tag = reader.take(1)[0]
            if tag == _END:
                break
            if tag not in (_LEFT, _RIGHT):
                reader.pos -= 1
                raise reader.fail(
                    DecodeFault.UNEXPECTED_TAG, f"{tag:#x} is no tag of a path"
                )
            if len(lefts) == MERKLE_PATH_MAX_STEPS:
                reader.pos = start
                raise reader.fail(
                    DecodeFault.SIZE_LIMIT_EXCEEDED,
                    f"more than {len(lefts)} steps, limit {MERKLE_PATH_MAX_SIZE} bytes",
                )
            lefts.append(_HASH.read(reader) if tag == _RIGHT else None)
        steps = [
            Left(_HASH.read(reader)) if left is None else Right(left)
            for left in reversed(lefts)
        ]
        return MerklePath(tuple(reversed(steps)))

    def write(self, out: bytearray, value: MerklePath) -> None:
        """Append the path."""
        if len(value.steps) > MERKLE_PATH_MAX_STEPS:
            raise EncodeError(f"{len(value.steps)} steps, limit {MERKLE_PATH_MAX_STEPS}")
        for step in value.steps:
            if isinstance(step, Left):
                out.append(_LEFT)
            else:
                out.append(_RIGHT)
                _HASH.write(out, step.left)
        out.append(_END)
        for step in reversed(value.steps):
            if isinstance(step, Left):
                _HASH.write(out, step.right)

    def describe(self) -> dict[str, Any]:
        """List the steps; what is left of the path is the same layout again."""
        again = {"type": "again", "name": "merkle path"}
        rest = {"name": "path", "doc": "the rest of the path", "layout": again}
        aside = {"doc": "the node left aside", "layout": _HASH.describe()}
        end: dict[str, Any] = {"type": "record", "name": "end", "fields": [], "size": 0}
        left: dict[str, Any] = {"type": "record", "name": "left"}
        left["fields"] = [rest | {"offset": 0}, {"name": "right"} | aside]
        right: dict[str, Any] = {"type": "record", "name": "right"}
        right["fields"] = [
            {"name": "left", "offset": 0} | aside,
            rest | {"offset": HASH_SIZE},
        ]
        cases = [
            {"tag": _END, "doc": "this is the leaf", "layout": end},
            {"tag": _LEFT, "doc": "go to the left", "layout": left},
            {"tag": _RIGHT, "doc": "go to the right", "layout": right},
        ]
        layout: dict[str, Any] = {"type": "union", "name": "merkle path"}
        layout |= {"tag": "uint8", "max_bytes": MERKLE_PATH_MAX_SIZE}
        return layout | {"cases": cases}


MERKLE_PATH: Final = _MerklePath()


def _rows(elements: Sequence[bytes]) -> Iterator[list[bytes]]:
    """Give the rows of the tree from the leaves up, each but the last of even length.

    Copies of the last leaf are not hashed one by one: in each row one node stands for
    all that are made of nothing else.
    """
    row = [blake2b(element) for element in elements]
    filler = row[-1]
    while len(row) > 1:
        if len(row) % 2:
            row.append(filler)
        yield row
        row = [blake2b(row[at] + row[at + 1]) for at in range(0, len(row), 2)]
        filler = blake2b(filler + filler)
    yield row


def _root(elements: Sequence[bytes]) -> bytes:
    if not elements:
        return blake2b(b"")
    *_, last = _rows(elements)
    return last[0]


def operation_list_hash(operations: Sequence[OperationHash]) -> OperationListHash:
    """Return what the operations of one pass come to."""
    return OperationListHash(_root(operations))


def operation_list_list_hash(
    lists: Sequence[OperationListHash],
) -> OperationListListHash:
    """Return what all passes of a block come to: its header's operations hash."""
    return OperationListListHash(_root(lists))


def merkle_path(lists: Sequence[OperationListHash], position: int) -> MerklePath:
    """Return the path to one of the passes of a block.

    Args:
        lists: the operation list hashes of all passes.
        position: which of them, from 0.

    Raises:
        IndexError: there is none of that position.
    """
    if not 0 <= position < len(lists):
        raise IndexError(f"position {position} of {len(lists)} lists")
    steps: list[Left | Right] = []
    *rows, _ = _rows(lists)
    for row in rows:
        steps.append(
            Right(row[position - 1]) if position % 2 else Left(row[position + 1])
        )
        position //= 2
    return MerklePath(tuple(reversed(steps)))
