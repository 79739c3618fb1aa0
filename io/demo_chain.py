"""An invented chain to talk about: what the demo's two nodes know.

Headers, hashes, Merkle paths and locators are what they would be on a real chain; what
only the protocol would understand is made of hashes.  Both ends make the same chain.
"""

from __future__ import annotations

import itertools
from typing import Final

import attrs

from ..spec.block import HISTORY_MAX, BlockHeader, Locator, locator_distances
from ..spec.hashes import (
    BlockHash,
    ChainId,
    ContextHash,
    OperationListListHash,
    blake2b,
)
from ..spec.identity import PeerId
from ..spec.merkle import merkle_path, operation_list_hash, operation_list_list_hash
from ..spec.operation import OPERATION_MAX_SIZE, Operation
from ..spec.point import Point
from ..spec.shell import OperationsForBlock

#: Blocks on the chain.
LEVELS: Final = 600
#: Operations of each pass of the head.
PASSES: Final = (3, 0, 1, 5)
#: Seconds since 1970 of the first block, and between two.
_FIRST: Final = 1_767_225_600
_BETWEEN: Final = 6


def _bytes(name: str, size: int) -> bytes:
    """Return bytes that look like chance, and are the same each time."""
    pieces = (blake2b(f"{name} {n}".encode()) for n in range(-(-size // 32)))
    return b"".join(pieces)[:size]


@attrs.frozen
class Chain:
    """What a node knows of its chain.

    Attributes:
        id: of the chain.
        headers: of all its blocks, the first one first.
        hashes: of the same.
        passes: the operations of the head, pass by pass.
        big: an operation of the greatest legal size, in no block yet.
    """

    id: ChainId
    headers: tuple[BlockHeader, ...]
    hashes: tuple[BlockHash, ...]
    passes: tuple[tuple[Operation, ...], ...]
    big: Operation

    @property
    def head(self) -> BlockHeader:
        """The header of the last block."""
        return self.headers[-1]

    def locator(self, sender: PeerId, receiver: PeerId) -> Locator:
        """Say where this chain is, as one node says it to another."""
        history: list[BlockHash] = []
        level = len(self.hashes) - 1
        distances = locator_distances(sender, receiver, self.hashes[-1])
        for distance in itertools.islice(distances, HISTORY_MAX):
            level = max(0, level - distance)
            history.append(self.hashes[level])
            if level == 0:
                break
        return Locator(self.head, tuple(history))

    def operations(self, number: int) -> OperationsForBlock:
        """Return the operations of one pass of the head, and the path to them."""
        lists = [operation_list_hash([op.hash for op in ops]) for ops in self.passes]
        path = merkle_path(lists, number)
        return OperationsForBlock(self.hashes[-1], number, path, self.passes[number])


def make_chain() -> Chain:
    """Make the chain."""
    headers: list[BlockHeader] = []
    hashes: list[BlockHash] = []
    passes: tuple[tuple[Operation, ...], ...] = ((),) * len(PASSES)
    predecessor = BlockHash(_bytes("before the first", 32))
    for level in range(LEVELS):
        if level == LEVELS - 1:
            passes = tuple(
                tuple(
                    Operation(predecessor, _bytes(f"operation {number} {index}", 110))
                    for index in range(count)
                )
                for number, count in enumerate(PASSES)
            )
        lists = [operation_list_hash([op.hash for op in ops]) for ops in passes]
        header = BlockHeader(
            level=level,
            proto_level=1,
            predecessor=predecessor,
            timestamp=_FIRST + level * _BETWEEN,
            validation_passes=len(PASSES),
            operations_hash=OperationListListHash(operation_list_list_hash(lists)),
            fitness=(b"\x02", level.to_bytes(4, "big"), b"", b"\xff" * 4, bytes(4)),
            context=ContextHash(_bytes(f"context {level}", 32)),
            protocol_data=_bytes(f"protocol data {level}", 110),
        )
        predecessor = header.hash
        headers.append(header)
        hashes.append(predecessor)
    big = Operation(predecessor, _bytes("big", OPERATION_MAX_SIZE - 32))
    chain_id = ChainId.of(hashes[0])
    return Chain(chain_id, tuple(headers), tuple(hashes), passes, big)


def points_known_to(role: str) -> tuple[Point, ...]:
    """Return the points that an end advertises: addresses kept for documentation."""
    net = {"listener": 2, "dialler": 3}[role]
    v4 = (f"203.0.113.{net}{n}:9732" for n in range(3))
    return tuple(map(Point.parse, (*v4, f"[2001:db8::{net}]:9732")))
