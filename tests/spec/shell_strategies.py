"""Hypothesis strategies for the shell's messages and what they hold; known values."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from tezos_p2p.spec.block import BlockHeader, Locator
from tezos_p2p.spec.hashes import (
    BlockHash,
    ChainId,
    ContextHash,
    OperationHash,
    OperationListListHash,
    ProtocolHash,
)
from tezos_p2p.spec.merkle import Left, MerklePath, Right
from tezos_p2p.spec.operation import Mempool, Operation, OperationList
from tezos_p2p.spec.protocol import Component, Protocol
from tezos_p2p.spec.shell import (
    BlockPass,
    Checkpoint,
    CurrentBranch,
    CurrentHead,
    Deactivate,
    GetBlockHeaders,
    GetCheckpoint,
    GetCurrentBranch,
    GetCurrentHead,
    GetOperations,
    GetOperationsForBlocks,
    GetPredecessorHeader,
    GetProtocolBranch,
    GetProtocols,
    OperationsForBlock,
    PredecessorHeader,
    ProtocolBranch,
)

U8 = st.integers(0, 0xFF)
I8 = st.integers(-0x80, 0x7F)
I32 = st.integers(-(1 << 31), (1 << 31) - 1)
I64 = st.integers(-(1 << 63), (1 << 63) - 1)
raw32 = st.binary(min_size=32, max_size=32)
short = st.binary(max_size=20)


def tuples(of: st.SearchStrategy[Any], most: int = 3) -> st.SearchStrategy[Any]:
    return st.lists(of, max_size=most).map(tuple)


blocks = raw32.map(BlockHash)
operation_hashes = raw32.map(OperationHash)
chains = st.binary(min_size=4, max_size=4).map(ChainId)
headers = st.builds(
    BlockHeader,
    I32,
    U8,
    blocks,
    I64,
    U8,
    raw32.map(OperationListListHash),
    tuples(short),
    raw32.map(ContextHash),
    short,
)
locators = st.builds(Locator, headers, tuples(blocks))
mempools = st.builds(Mempool, tuples(operation_hashes), tuples(operation_hashes))
operations = st.builds(Operation, blocks, short)
operation_lists = st.lists(operations, max_size=3).map(OperationList)
paths = st.builds(MerklePath, tuples(st.builds(Left, raw32) | st.builds(Right, raw32)))
components = st.builds(Component, short, st.none() | short, short)
protocols = st.builds(Protocol, st.integers(0, 0xFFFF), tuples(components))
block_passes = st.builds(BlockPass, blocks, I8)
#: By tag.
shell_messages: dict[int, st.SearchStrategy[Any]] = {
    0x10: st.builds(GetCurrentBranch, chains),
    0x11: st.builds(CurrentBranch, chains, locators),
    0x12: st.builds(Deactivate, chains),
    0x13: st.builds(GetCurrentHead, chains),
    0x14: st.builds(CurrentHead, chains, headers, mempools),
    0x20: st.builds(GetBlockHeaders, tuples(blocks, 10)),
    0x21: headers,
    0x30: st.builds(GetOperations, tuples(operation_hashes, 10)),
    0x31: operations,
    0x40: st.builds(GetProtocols, tuples(raw32.map(ProtocolHash), 10)),
    0x41: protocols,
    0x60: st.builds(GetOperationsForBlocks, tuples(block_passes, 10)),
    0x61: st.builds(OperationsForBlock, blocks, I8, paths, operation_lists),
    0x70: st.builds(GetCheckpoint, chains),
    0x71: st.builds(Checkpoint, chains, headers),
    0x80: st.builds(GetProtocolBranch, chains, U8),
    0x81: st.builds(ProtocolBranch, chains, U8, locators),
    0x90: st.builds(GetPredecessorHeader, blocks, I32),
    0x91: st.builds(PredecessorHeader, blocks, I32, headers),
}
any_shell_message = st.one_of(*shell_messages.values())

#: TezEdge, unit tests of its block header: level 28014 of a test network.
HEADER_28014 = bytes.fromhex(
    "00006d6e0102dd00defaf70c53e180ea148b349a6feb4795610b2abc7b07fe91ce50a90814000000"
    "005c1276780432bc1d3a28df9a67b363aa1638f807214bb8987e5f9c0abcbd69531facffd1c80000"
    "001100000001000000000800000000000c15ef15a6f54021cb353780e2847fb9c546f1d72c1dc17c"
    "3db510f45553ce501ce1de000000000003c762c7df00a856b8bfcaf0676f069f825ca75f37f2bee9"
    "fe55ba109cec3d1d041d8c03519626c0c0faa557e778cb09d2e0c729e8556ed6a7a518c84982d1f2"
    "682bc6aa753f"
)
#: TezEdge, unit tests of Current_head: level 245395, one operation, size and tag first.
CURRENT_HEAD = bytes.fromhex(
    "0000010400148eceda2f000000ce0003be930116caa5bebae6c1997498bd90b2d2d6dcb14e2cc3a8"
    "3b38067c784a0b485a4763000000005c8f572e049518937f78bbc2e2d460e7d26daa73c93763362c"
    "64c2059f5b7ecaba6e6f580d000000110000000100000000080000000000714aa08e289a17ee0bbd"
    "90ef57b80c52318829029fc9e17e4a782248755cdeaafd0dac000000000003e35a661200a75ebed9"
    "4c886ce8c2700cc2fb38e301e7573f481eff49aea6892068cef7c9290947567e9df3a2cfc99ed9b0"
    "666f9c0291f586f65eb9e42cf4cdbef1ef8424d000000020c533d1d8a515b35fac67eb9926a6c983"
    "397208511ce69808d57177415654bf090000000400000000"
)
#: TezEdge, unit tests of Operation.
OPERATION_BYTES = bytes.fromhex(
    "10490b79070cf19175cd7e3b9c1ee66f6e85799980404b119132ea7e58a4a97e000008c387fa065a"
    "181d45d47a9b78ddc77e92a881779ff2cbabbf9646eade4bf1405a08e00b725ed849eea46953b10b"
    "5cdebc518e6fd47e69b82d2ca18c4cf6d2f312dd08"
)
#: TezEdge, unit tests of Operations_for_block: no operations, pass 3, size and tag first.
OPERATIONS_FOR_BLOCK = bytes.fromhex(
    "000000660061b12238a7c3577d725939970800ade6b82d94a231e855b46af46c37850dd02452030f"
    "fe7601035ca2892f983c10203656479cfd2f8a4ea656f300cd9d68f74aa625870f7c09f7c4d76ace"
    "86e1a7e1c7dc0a0c7edcaa8b284949320081131976a87760c300"
)
