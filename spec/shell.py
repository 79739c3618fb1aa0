"""The messages of the Tezos shell: chains, blocks, operations, protocols.

=====  =========================  =============================================  =======
tag    name                       payload                                        most
=====  =========================  =============================================  =======
0x10   Get_current_branch         chain id                                       4
0x11   Current_branch             chain id, locator                              8420616
0x12   Deactivate                 chain id                                       4
0x13   Get_current_head           chain id                                       4
0x14   Current_head               chain id, uint30 length and header, mempool    8516624
0x20   Get_block_headers          uint30 length and up to 10 block hashes        324
0x21   Block_header               block header                                   8388608
0x30   Get_operations             uint30 length and up to 10 operation hashes    324
0x31   Operation                  operation                                      131072
0x40   Get_protocols              uint30 length and up to 10 protocol hashes     324
0x41   Protocol                   protocol                                       2097152
0x60   Get_operations_for_blocks  uint30 length and up to 10 pairs, see below    334
0x61   Operations_for_block       block hash, int8 pass, path, operation list    1048709
0x70   Get_checkpoint             chain id                                       4
0x71   Checkpoint                 chain id, block header                         8388612
0x80   Get_protocol_branch        chain id, uint8 protocol level                 5
0x81   Protocol_branch            chain id, uint8 protocol level, locator        8420617
0x90   Get_predecessor_header     block hash, int32 offset                       36
0x91   Predecessor_header         block hash, int32 offset, block header         8388644
=====  =========================  =============================================  =======

"most" is the most bytes of the payload; it follows from the limits of what is inside,
which the modules of headers, operations, paths and protocols state.  A pair is a block
hash and an int8 pass.  What has no length in front goes to the end of the message.

Tags 0x50 and 0x51 were hashes of the operations of a block in 2019.  They are gone, and
like every other tag unknown: an error.

Tags from 0x70 on are sent only where a distributed-db version of at least 1 was
negotiated (see `needs`); nodes of 2026 answer but never send the requests among them.
Version 2 adds no message: where it was negotiated, a Current_head may carry a block
that was validated but not yet applied.

Source: the distributed-db messages of the reference node, 2019 and 2026, limits of
2026; messages recorded by TezEdge.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, cast

import attrs

from .binary import INT8, INT32, UINT8, UINT16
from .block import BLOCK_HEADER, LOCATOR, BlockHeader, Locator
from .blocks import Dynamic, Items
from .hashes import (
    BLOCK_HASH,
    CHAIN_ID,
    BlockHash,
    ChainId,
    HashList,
    OperationHash,
    ProtocolHash,
)
from .merkle import MERKLE_PATH, MerklePath
from .operation import (
    MEMPOOL,
    OPERATION,
    OPERATION_LIST,
    Mempool,
    Operation,
    OperationList,
    operation_list,
)
from .protocol import PROTOCOL, Protocol
from .reader import DecodeError, DecodeFault, EncodeError
from .record import Case, Field, Record, Union

#: Most items that one message may ask for.
REQUEST_MAX: Final = 10
#: Smallest tag that needs a distributed-db version above 0.
_SINCE_1: Final = 0x70


@attrs.frozen
class GetCurrentBranch:
    """Asks for the branch of a chain; activates the chain for the one who asks.

    Attributes:
        chain_id: the chain.
    """

    chain_id: ChainId


@attrs.frozen
class CurrentBranch:
    """Tells the branch of a chain.

    Attributes:
        chain_id: the chain.
        locator: its head, and blocks further and further back.
    """

    chain_id: ChainId
    locator: Locator


@attrs.frozen
class Deactivate:
    """Tells that one is no longer interested in a chain.

    Attributes:
        chain_id: the chain.
    """

    chain_id: ChainId


@attrs.frozen
class GetCurrentHead:
    """Asks for the head of a chain, and the mempool.

    Attributes:
        chain_id: the chain.
    """

    chain_id: ChainId


@attrs.frozen
class CurrentHead:
    """Tells the head of a chain, and the mempool.

    Attributes:
        chain_id: the chain.
        header: of its head.
        mempool: empty for those who want none.
    """

    chain_id: ChainId
    header: BlockHeader
    mempool: Mempool = attrs.field(factory=Mempool)


@attrs.frozen
class GetBlockHeaders:
    """Asks for block headers.

    Attributes:
        hashes: at most 10.
    """

    hashes: tuple[BlockHash, ...]


@attrs.frozen
class GetOperations:
    """Asks for operations.

    Attributes:
        hashes: at most 10.
    """

    hashes: tuple[OperationHash, ...]


@attrs.frozen
class GetProtocols:
    """Asks for the sources of protocols.

    Attributes:
        hashes: at most 10.
    """

    hashes: tuple[ProtocolHash, ...]


@attrs.frozen
class BlockPass:
    """One of the lists of operations of a block.

    Attributes:
        block: the block.
        validation_pass: which list, from 0.
    """

    block: BlockHash
    validation_pass: int


@attrs.frozen
class GetOperationsForBlocks:
    """Asks for lists of operations.

    Attributes:
        passes: at most 10.
    """

    passes: tuple[BlockPass, ...]


@attrs.frozen
class OperationsForBlock:
    """Tells one of the lists of operations of a block.

    Attributes:
        block: the block.
        validation_pass: which list, from 0.
        path: from the operations hash of the header to this list.
        operations: any number of them; any iterable is taken.
    """

    block: BlockHash
    validation_pass: int
    path: MerklePath
    operations: OperationList = attrs.field(
        converter=operation_list, factory=OperationList
    )


@attrs.frozen
class GetCheckpoint:
    """Asks for the checkpoint of a chain.

    Attributes:
        chain_id: the chain.
    """

    chain_id: ChainId


@attrs.frozen
class Checkpoint:
    """Tells the checkpoint of a chain.

    Attributes:
        chain_id: the chain.
        header: of the checkpoint.
    """

    chain_id: ChainId
    header: BlockHeader


@attrs.frozen
class GetProtocolBranch:
    """Asks for the part of a branch that a protocol ruled.

    Attributes:
        chain_id: the chain.
        proto_level: of the protocol.
    """

    chain_id: ChainId
    proto_level: int


@attrs.frozen
class ProtocolBranch:
    """Tells the part of a branch that a protocol ruled.

    Attributes:
        chain_id: the chain.
        proto_level: of the protocol.
        locator: its last block, and blocks further and further back.
    """

    chain_id: ChainId
    proto_level: int
    locator: Locator


@attrs.frozen
class GetPredecessorHeader:
    """Asks for the header of a block before another.

    Attributes:
        block: the other.
        offset: how many levels before it.
    """

    block: BlockHash
    offset: int


@attrs.frozen
class PredecessorHeader:
    """Tells the header of a block before another.

    Attributes:
        block: the other.
        offset: how many levels before it.
        header: of the block so many levels before.
    """

    block: BlockHash
    offset: int
    header: BlockHeader


#: Any message of the shell.  Headers, operations and protocols are their own messages.
ShellMessage = (
    GetCurrentBranch
    | CurrentBranch
    | Deactivate
    | GetCurrentHead
    | CurrentHead
    | GetBlockHeaders
    | BlockHeader
    | GetOperations
    | Operation
    | GetProtocols
    | Protocol
    | GetOperationsForBlocks
    | OperationsForBlock
    | GetCheckpoint
    | Checkpoint
    | GetProtocolBranch
    | ProtocolBranch
    | GetPredecessorHeader
    | PredecessorHeader
)

_CHAIN: Final = Field("chain_id", CHAIN_ID, "the chain")
_HEADER: Final = Field("header", BLOCK_HEADER, "of that block")
_LOCATOR: Final = Field("locator", LOCATOR, "last block, and blocks further back")
_PROTO_LEVEL: Final = Field("proto_level", UINT8, "of the protocol")
_BLOCK_PASS: Final = (
    Field("block", BLOCK_HASH, "the block"),
    Field("validation_pass", INT8, "which of its lists, from 0"),
)
_PREDECESSOR: Final = (
    Field("block", BLOCK_HASH, "block to count from"),
    Field("offset", INT32, "how many levels before it"),
)

BLOCK_PASS: Final = Record(BlockPass, "block pass", *_BLOCK_PASS)

#: The messages by name, in the order of their tags.
SHELL_MESSAGES: Final[Mapping[str, Case]] = MappingProxyType(
    {
        "Get_current_branch": Case(
            0x10,
            GetCurrentBranch,
            Record(GetCurrentBranch, "Get_current_branch", _CHAIN),
            "where are you on this chain?",
        ),
        "Current_branch": Case(
            0x11,
            CurrentBranch,
            Record(CurrentBranch, "Current_branch", _CHAIN, _LOCATOR),
            "I am here",
        ),
        "Deactivate": Case(
            0x12,
            Deactivate,
            Record(Deactivate, "Deactivate", _CHAIN),
            "no longer interested in this chain",
        ),
        "Get_current_head": Case(
            0x13,
            GetCurrentHead,
            Record(GetCurrentHead, "Get_current_head", _CHAIN),
            "what is your head, and your mempool?",
        ),
        "Current_head": Case(
            0x14,
            CurrentHead,
            Record(
                CurrentHead,
                "Current_head",
                _CHAIN,
                Field("header", Dynamic(BLOCK_HEADER), "of its head"),
                Field("mempool", MEMPOOL, "empty for those who want none"),
            ),
            "this is my head, and my mempool",
        ),
        "Get_block_headers": Case(
            0x20,
            GetBlockHeaders,
            Record(
                GetBlockHeaders,
                "Get_block_headers",
                Field("hashes", Dynamic(HashList(BlockHash, REQUEST_MAX)), "of blocks"),
            ),
            "give me these headers",
        ),
        "Block_header": Case(0x21, BlockHeader, BLOCK_HEADER, "here is one"),
        "Get_operations": Case(
            0x30,
            GetOperations,
            Record(
                GetOperations,
                "Get_operations",
                Field(
                    "hashes",
                    Dynamic(HashList(OperationHash, REQUEST_MAX)),
                    "of operations",
                ),
            ),
            "give me these operations",
        ),
        "Operation": Case(0x31, Operation, OPERATION, "here is one"),
        "Get_protocols": Case(
            0x40,
            GetProtocols,
            Record(
                GetProtocols,
                "Get_protocols",
                Field(
                    "hashes",
                    Dynamic(HashList(ProtocolHash, REQUEST_MAX)),
                    "of protocols",
                ),
            ),
            "give me these protocols",
        ),
        "Protocol": Case(0x41, Protocol, PROTOCOL, "here is one"),
        "Get_operations_for_blocks": Case(
            0x60,
            GetOperationsForBlocks,
            Record(
                GetOperationsForBlocks,
                "Get_operations_for_blocks",
                Field("passes", Dynamic(Items(BLOCK_PASS, REQUEST_MAX)), "which lists"),
            ),
            "give me these lists of operations",
        ),
        "Operations_for_block": Case(
            0x61,
            OperationsForBlock,
            Record(
                OperationsForBlock,
                "Operations_for_block",
                *_BLOCK_PASS,
                Field("path", MERKLE_PATH, "from the header to this list"),
                Field("operations", OPERATION_LIST, "back to back"),
            ),
            "here is one",
        ),
        "Get_checkpoint": Case(
            0x70,
            GetCheckpoint,
            Record(GetCheckpoint, "Get_checkpoint", _CHAIN),
            "what is your checkpoint?",
        ),
        "Checkpoint": Case(
            0x71,
            Checkpoint,
            Record(Checkpoint, "Checkpoint", _CHAIN, _HEADER),
            "this is my checkpoint",
        ),
        "Get_protocol_branch": Case(
            0x80,
            GetProtocolBranch,
            Record(GetProtocolBranch, "Get_protocol_branch", _CHAIN, _PROTO_LEVEL),
            "where is the end of this protocol on this chain?",
        ),
        "Protocol_branch": Case(
            0x81,
            ProtocolBranch,
            Record(ProtocolBranch, "Protocol_branch", _CHAIN, _PROTO_LEVEL, _LOCATOR),
            "it is here",
        ),
        "Get_predecessor_header": Case(
            0x90,
            GetPredecessorHeader,
            Record(GetPredecessorHeader, "Get_predecessor_header", *_PREDECESSOR),
            "give me the header of a block before this",
        ),
        "Predecessor_header": Case(
            0x91,
            PredecessorHeader,
            Record(PredecessorHeader, "Predecessor_header", *_PREDECESSOR, _HEADER),
            "here it is",
        ),
    }
)

SHELL: Final[Union[ShellMessage]] = Union(
    "shell message", UINT16, *SHELL_MESSAGES.values()
)

_LIMITS: Final[Mapping[int, int]] = MappingProxyType(
    {case.tag: cast("int", case.type.max_size) for case in SHELL.cases}
)


def needs(message: ShellMessage) -> int:
    """Return the least distributed-db version at which a message may be sent.

    A Current_head with a block that is not applied yet needs 2, which the message
    does not show: here it is 0.
    """
    return 1 if SHELL.by_class[type(message)].tag >= _SINCE_1 else 0


@attrs.frozen
class ShellCodec:
    """Codec of the shell's messages."""

    @property
    def limits(self) -> Mapping[int, int]:
        """Most bytes of payload, by tag."""
        return _LIMITS

    def encode(self, message: ShellMessage) -> tuple[int, bytes]:
        """Return tag and payload.

        Raises:
            EncodeError: a field is out of range, or this is no message of the shell.
        """
        case = SHELL.by_class.get(type(message))
        if case is None:
            raise EncodeError(f"{type(message).__name__} is no message of the shell")
        try:
            return case.tag, case.type.encode(message)
        except (AttributeError, TypeError) as exc:
            # A part of the message is no such thing: for callers without a type checker.
            raise EncodeError(f"{case.cls.__name__}: {exc}") from None

    def decode(self, tag: int, payload: bytes) -> ShellMessage:
        """Return the message.

        Raises:
            DecodeError: with path, and offset in the payload.
        """
        case = SHELL.by_tag.get(tag)
        if case is None:
            error = DecodeError(DecodeFault.UNEXPECTED_TAG, 0, f"unknown tag {tag:#06x}")
            error.inside("tag")
            raise error
        return cast("ShellMessage", case.type.decode(payload))


#: The one codec of the shell's messages.
SHELL_CODEC: Final = ShellCodec()
