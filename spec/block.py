"""Block headers, and the locators that say where on a chain a node is.

**Block header**, at most 8 MiB:

=======  ====  =================  ======================================================
offset   size  field              meaning
=======  ====  =================  ======================================================
0        4     level              int32, distance from the first block
4        1     proto_level        uint8, how often the protocol has changed so far
5        32    predecessor        block hash
37       8     timestamp          int64, seconds since 1970
45       1     validation_passes  uint8, number of lists of operations
46       32    operations_hash    operation list list hash
78       4     fitness length n   uint30
82       n     fitness            elements back to back, each a uint30 length and bytes
82 + n   32    context            context hash
114 + n  rest  protocol_data      bytes that only the protocol understands
=======  ====  =================  ======================================================

The hash of a block is BLAKE2b-256 of all of that.

The fitness may have 1024 elements here: known protocols use 5 at most.  The reference
does not count them, and is left with two million to go through in a header of 8 MiB.

**Locator**: uint30 length of the header, the header of the head, then hashes of earlier
blocks, 32 bytes each, to the end of the block: at most 1000.  Backwards from the head
their distances grow; they are drawn so that everybody can work them out who knows
sender, receiver and head (ids as 16 raw bytes): seed = SHA-256(sender, receiver, hash of
the head), step = 1, and for each hash

- gap = 0 while step is 1; then the first 4 bytes of the seed, a signed big-endian
  integer, modulo step // 2 + 1, with the sign of the dividend, and seed = SHA-256(seed);
- the distance to the next hash is step - gap;
- after ten distances, step doubles.

Source: the block header and block locator modules of the reference node, 2019 and 2026,
limits of 2026; blocks recorded by TezEdge.  The limit on the fitness is our own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Final

import attrs

from .binary import INT32, INT64, TAIL, UINT8
from .blocks import BYTES, Dynamic, Items, Limited
from .hashes import (
    BLOCK_HASH,
    CONTEXT_HASH,
    OPERATION_LIST_LIST_HASH,
    BlockHash,
    ContextHash,
    HashList,
    OperationListListHash,
    brief,
)
from .identity import PeerId
from .record import Field, Record

#: Most bytes of a block header: 8 MiB.
BLOCK_HEADER_MAX_SIZE: Final = 8 << 20
#: Most elements of a fitness.
FITNESS_MAX: Final = 1024
#: Most hashes in a locator, the head not counted.
HISTORY_MAX: Final = 1000
#: Distances of a locator after which its step doubles.
STEPS_PER_DOUBLING: Final = 10

#: How good a chain is: protocols compare it, element by element.
Fitness = tuple[bytes, ...]


def _show_fitness(fitness: Fitness) -> str:
    return "::".join(map(brief, fitness))


@attrs.frozen
class BlockHeader:
    """What a block says of itself, without its operations.

    Attributes:
        level: distance from the first block of the chain.
        proto_level: how often the protocol has changed so far.
        predecessor: the block before it.
        timestamp: seconds since 1970.
        validation_passes: number of lists of operations.
        operations_hash: of all its operations.
        fitness: how good the chain is that ends with it.
        context: the state after a block.
        protocol_data: what only the protocol understands.
    """

    level: int
    proto_level: int
    predecessor: BlockHash
    timestamp: int
    validation_passes: int
    operations_hash: OperationListListHash
    fitness: Fitness = attrs.field(repr=_show_fitness)
    context: ContextHash
    protocol_data: bytes = attrs.field(repr=brief)

    @property
    def hash(self) -> BlockHash:
        """The name of the block; worked out each time, from up to 8 MiB.

        Raises:
            EncodeError: a field is out of range.
        """
        return BlockHash.of(BLOCK_HEADER.encode(self))


BLOCK_HEADER: Final = Limited(
    BLOCK_HEADER_MAX_SIZE,
    Record(
        BlockHeader,
        "block header",
        Field("level", INT32, "distance from the first block"),
        Field("proto_level", UINT8, "how often the protocol has changed so far"),
        Field("predecessor", BLOCK_HASH, "the block before it"),
        Field("timestamp", INT64, "seconds since 1970"),
        Field("validation_passes", UINT8, "number of lists of operations"),
        Field("operations_hash", OPERATION_LIST_LIST_HASH, "of all its operations"),
        Field("fitness", Dynamic(Items(BYTES, FITNESS_MAX)), "how good the chain is"),
        Field("context", CONTEXT_HASH, "the state after a block"),
        Field("protocol_data", TAIL, "what only the protocol understands"),
    ),
)


@attrs.frozen
class Locator:
    """Where on a chain a node is: its head, and blocks further and further back.

    Attributes:
        header: of the head.
        history: earlier blocks, the nearest first, at most 1000.
    """

    header: BlockHeader
    history: tuple[BlockHash, ...] = attrs.field(default=(), repr=lambda h: str(len(h)))


LOCATOR: Final = Record(
    Locator,
    "locator",
    Field("header", Dynamic(BLOCK_HEADER), "of the head"),
    Field("history", HashList(BlockHash, HISTORY_MAX), "earlier blocks, nearest first"),
)


def locator_distances(sender: PeerId, receiver: PeerId, head: BlockHash) -> Iterator[int]:
    """Draw the distances from one block of a locator to the next, from the head on.

    Args:
        sender: the node that makes the locator.
        receiver: the node that it is made for.
        head: hash of the head.

    Yields:
        Levels to go back, each at least 1, without end.
    """
    seed = hashlib.sha256(sender + receiver + head).digest()
    step = 1
    while True:
        for _ in range(STEPS_PER_DOUBLING):
            gap = 0
            if step > 1:
                drawn = int.from_bytes(seed[:4], "big", signed=True)
                gap = abs(drawn) % (step // 2 + 1)
                gap = -gap if drawn < 0 else gap
                seed = hashlib.sha256(seed).digest()
            yield step - gap
        step *= 2
