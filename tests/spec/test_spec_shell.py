"""The shell's messages: known bytes, tags and limits, versions, layouts.

Known bytes from the unit tests of TezEdge.
"""

from __future__ import annotations

import re
from typing import Any, get_args

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shell_strategies import (
    CURRENT_HEAD,
    HEADER_28014,
    OPERATION_BYTES,
    OPERATIONS_FOR_BLOCK,
    any_shell_message,
    shell_messages,
)
from spec_strategies import check_ends, check_total, fails

from tezos_p2p.spec import (
    ApplicationCodec,
    DecodeError,
    DecodeFault,
    EncodeError,
    MessageCodec,
    shell,
)
from tezos_p2p.spec.block import BLOCK_HEADER, BlockHeader, Locator
from tezos_p2p.spec.hashes import (
    BlockHash,
    ChainId,
    OperationHash,
    OperationListHash,
    ProtocolHash,
)
from tezos_p2p.spec.layouts import LAYOUTS, layout_text, summary
from tezos_p2p.spec.merkle import MerklePath, Right
from tezos_p2p.spec.operation import OPERATION, Mempool, Operation, OperationList
from tezos_p2p.spec.protocol import Component, Protocol
from tezos_p2p.spec.record import Record
from tezos_p2p.spec.shell import (
    SHELL,
    SHELL_CODEC,
    SHELL_MESSAGES,
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
    ShellCodec,
    ShellMessage,
    needs,
)

_hex = bytes.fromhex
APPLICATION: ApplicationCodec[ShellMessage] = SHELL_CODEC
CODEC = MessageCodec(APPLICATION)
CHAIN = ChainId(_hex("8eceda2f"))
HEADER = BLOCK_HEADER.decode(HEADER_28014)
HEAD: Any = CODEC.decode(CURRENT_HEAD)
ZERO = BlockHash(bytes(32))
BLOCK = BlockHash.parse("BMWmj9CTojf7AnA8ZQFWGkh1cXB6FkST8Ey5coaeHX6cVNAZqA6")
HEADER_HEX = HEADER_28014.hex()
SIZED_HEADER = f"{len(HEADER_28014):08x}{HEADER_HEX}"


def framed(tag: int, payload: bytes) -> bytes:
    return (len(payload) + 2).to_bytes(4, "big") + tag.to_bytes(2, "big") + payload


KNOWN: list[tuple[ShellMessage, str]] = [
    # TezEdge.
    (GetCurrentBranch(CHAIN), "0000000600108eceda2f"),
    (Deactivate(CHAIN), "0000000600128eceda2f"),
    (GetCurrentHead(CHAIN), "0000000600138eceda2f"),
    (
        GetBlockHeaders(
            (BlockHash.parse("BKyQ9EofHrgaZKENioHyP4FZNsTmiSEcVmcghgzCC9cGhE7oCET"),)
        ),
        "000000260020000000202253698f0c94788689fb95ca35eb1535ec3a8b7c613a97e6683f8007d795"
        "9e4b",
    ),
    (
        GetOperationsForBlocks(tuple(BlockPass(BLOCK, n) for n in (1, 2, 0, 3))),
        "0000008a006000000084ed4197d381a4d4f56be30bf7157426671276aa187bbe0bb9484974af59e0"
        "69aa01ed4197d381a4d4f56be30bf7157426671276aa187bbe0bb9484974af59e069aa02ed4197d3"
        "81a4d4f56be30bf7157426671276aa187bbe0bb9484974af59e069aa00ed4197d381a4d4f56be30b"
        "f7157426671276aa187bbe0bb9484974af59e069aa03",
    ),
    (HEADER, "000000d00021" + HEADER_HEX),
    (OPERATION.decode(OPERATION_BYTES), "000000670031" + OPERATION_BYTES.hex()),
    # Self-made.
    (
        CurrentBranch(CHAIN, Locator(HEADER, (BLOCK, ZERO))),
        "000001180011" + "8eceda2f" + SIZED_HEADER + BLOCK.hex() + ZERO.hex(),
    ),
    (GetOperations((OperationHash(ZERO),)), "000000260030" + "00000020" + ZERO.hex()),
    (GetProtocols((ProtocolHash(ZERO),)), "000000260040" + "00000020" + ZERO.hex()),
    (
        Protocol(1, (Component(b"a", None, b""),)),
        "000000120041" + "0001" + "0000000a" + "0000000161" + "00" + "00000000",
    ),
    (GetCheckpoint(CHAIN), "0000000600708eceda2f"),
    (Checkpoint(CHAIN, HEADER), "000000d40071" + "8eceda2f" + HEADER_HEX),
    (GetProtocolBranch(CHAIN, 7), "0000000700808eceda2f07"),
    (
        ProtocolBranch(CHAIN, 9, Locator(HEADER, (BLOCK,))),
        "000000f90081" + "8eceda2f" + "09" + SIZED_HEADER + BLOCK.hex(),
    ),
    (GetPredecessorHeader(ZERO, -2), "000000260090" + ZERO.hex() + "fffffffe"),
    (
        PredecessorHeader(BLOCK, 3, HEADER),
        "000000f40091" + BLOCK.hex() + "00000003" + HEADER_HEX,
    ),
]


@pytest.mark.parametrize(("value", "encoded"), KNOWN)
def test_messages_have_their_known_bytes(value: ShellMessage, encoded: str) -> None:
    assert CODEC.encode(value).hex() == encoded
    assert CODEC.decode(_hex(encoded)) == value


def test_a_recorded_current_head() -> None:
    assert isinstance(HEAD, CurrentHead)
    assert (HEAD.chain_id, HEAD.header.level) == (CHAIN, 245_395)
    assert len(HEAD.mempool.known_valid) == 1
    assert HEAD.mempool.pending == ()
    assert CODEC.encode(HEAD) == CURRENT_HEAD
    check_ends(CODEC, CURRENT_HEAD)


def test_recorded_operations_of_a_block() -> None:
    value = CODEC.decode(OPERATIONS_FOR_BLOCK)
    assert isinstance(value, OperationsForBlock)
    assert str(value.block) == "BM4Hyf4ay3u2PcUBmumTEPcWW8Z7t45HXGZAjLNnenSC2f8bLte"
    assert value.validation_pass == 3
    assert [type(step) for step in value.path.steps] == [Right, Right]
    assert len(value.operations) == 0
    assert value.path.root(OperationListHash(bytes(32)))[1] == 3
    assert CODEC.encode(value) == OPERATIONS_FOR_BLOCK
    check_ends(CODEC, OPERATIONS_FOR_BLOCK)


def test_operations_of_a_block_are_taken_from_any_iterable() -> None:
    operation = OPERATION.decode(OPERATION_BYTES)
    value = OperationsForBlock(BLOCK, 0, MerklePath(), [operation])
    assert value.operations == OperationList([operation])
    data = CODEC.encode(value)
    assert data[-5 - len(OPERATION_BYTES) :].hex() == "0000000065" + OPERATION_BYTES.hex()
    assert CODEC.decode(data) == value
    assert OperationsForBlock(BLOCK, 0, MerklePath()).operations == OperationList()


def test_a_head_without_mempool_has_an_empty_one() -> None:
    assert CurrentHead(CHAIN, HEADER) == CurrentHead(CHAIN, HEADER, Mempool((), ()))


# -- tags ------------------------------------------------------------------------------

#: Most bytes of each message, size and tag included: TezEdge's table agrees for all that
#: it has, but for 4 bytes of Current_head.
TOTALS = {
    0x10: 10,
    0x11: 8_420_622,
    0x12: 10,
    0x13: 10,
    0x14: 8_516_630,
    0x20: 330,
    0x21: 8_388_614,
    0x30: 330,
    0x31: 131_078,
    0x40: 330,
    0x41: 2_097_158,
    0x60: 340,
    0x61: 1_048_715,
    0x70: 10,
    0x71: 8_388_618,
    0x80: 11,
    0x81: 8_420_623,
    0x90: 42,
    0x91: 8_388_650,
}


def test_every_tag_has_its_limit_and_not_one_byte_more() -> None:
    assert {tag: CODEC.limits[tag] for tag in TOTALS} == TOTALS
    assert {tag: most + 6 for tag, most in SHELL_CODEC.limits.items()} == TOTALS
    for tag, total in TOTALS.items():
        raw = tag.to_bytes(2, "big")
        assert CODEC.expect((total - 4).to_bytes(4, "big") + raw) == total
        with pytest.raises(DecodeError) as caught:
            CODEC.expect((total - 3).to_bytes(4, "big") + raw)
        assert caught.value.fault is DecodeFault.SIZE_LIMIT_EXCEEDED


@pytest.mark.parametrize("tag", [0x00, 0x0F, 0x15, 0x50, 0x51, 0x62, 0x92, 0xFFFF])
def test_other_tags_are_refused_those_of_2019_too(tag: int) -> None:
    with pytest.raises(DecodeError) as caught:
        CODEC.expect(b"\0\0\0\6" + tag.to_bytes(2, "big"))
    assert caught.value.fault is DecodeFault.UNEXPECTED_TAG
    with pytest.raises(DecodeError) as caught:
        SHELL_CODEC.decode(tag, b"")
    assert str(caught.value) == (f"tag at byte 0: unexpected tag: unknown tag {tag:#06x}")


def test_what_is_no_message_is_refused_on_write() -> None:
    value: Any
    for value in (None, b"raw", Mempool(), BlockPass(BLOCK, 0)):
        with pytest.raises(EncodeError, match=r" is no message of the shell$"):
            SHELL_CODEC.encode(value)


@pytest.mark.parametrize(
    "value",
    [
        CurrentHead(CHAIN, HEADER, None),  # type: ignore[arg-type]  # wrong on purpose
        CurrentHead(CHAIN, None),  # type: ignore[arg-type]  # wrong on purpose
        CurrentBranch(CHAIN, "here"),  # type: ignore[arg-type]  # wrong on purpose
        OperationsForBlock(BLOCK, 0, None),  # type: ignore[arg-type]  # wrong on purpose
        OperationsForBlock(BLOCK, 0, MerklePath((1,))),  # type: ignore[arg-type]  # wrong on purpose
        GetBlockHeaders(5),  # type: ignore[arg-type]  # wrong on purpose
        Protocol(0, None),  # type: ignore[arg-type]  # wrong on purpose
        Protocol(0, (None,)),  # type: ignore[arg-type]  # wrong on purpose
    ],
)
def test_a_part_of_a_wrong_type_is_refused_on_write(value: ShellMessage) -> None:
    with pytest.raises(EncodeError):
        SHELL_CODEC.encode(value)


def test_codecs_need_no_arguments_and_are_all_the_same() -> None:
    assert ShellCodec() == SHELL_CODEC
    assert hash(ShellCodec()) == hash(SHELL_CODEC)


def test_tags_from_0x70_on_need_a_version_above_0() -> None:
    for tag, case in SHELL.by_tag.items():
        value: Any = object.__new__(case.cls)
        assert needs(value) == (1 if tag >= 0x70 else 0)
    assert needs(GetCheckpoint(CHAIN)) == 1
    assert needs(HEADER) == 0


# -- limits ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tag", "cls", "item", "size"),
    [
        (0x20, GetBlockHeaders, ZERO, 32),
        (0x30, GetOperations, OperationHash(ZERO), 32),
        (0x40, GetProtocols, ProtocolHash(ZERO), 32),
        (0x60, GetOperationsForBlocks, BlockPass(ZERO, 0), 33),
    ],
)
def test_a_request_names_at_most_ten_both_ways(
    tag: int, cls: Any, item: Any, size: int
) -> None:
    for count in range(11):
        value = cls((item,) * count)
        data = SHELL_CODEC.encode(value)
        assert data == (tag, (size * count).to_bytes(4, "big") + bytes(size * count))
        assert SHELL_CODEC.decode(*data) == value
    with pytest.raises(EncodeError, match=r": 11 elements, at most 10 allowed$"):
        SHELL_CODEC.encode(cls((item,) * 11))
    for left in (size * 10 + 1, size * 11):
        with pytest.raises(DecodeError) as caught:
            SHELL_CODEC.decode(tag, left.to_bytes(4, "big") + bytes(left))
        error = caught.value
        assert error.fault is DecodeFault.SIZE_LIMIT_EXCEEDED
        assert (error.path, error.offset) == (attrs.fields(cls)[0].name, 4)


def payload(value: ShellMessage) -> bytes:
    return SHELL_CODEC.encode(value)[1]


FULL_HEADER = attrs.evolve(
    HEADER,
    protocol_data=HEADER.protocol_data + bytes((8 << 20) - len(HEADER_28014)),
)
FULL_MEMPOOL = Mempool((OperationHash(ZERO),) * 3000, (OperationHash(ZERO),) * 999)
FULL_LOCATOR = Locator(FULL_HEADER, (ZERO,) * 1000)


@pytest.mark.parametrize(
    ("value", "spare"),
    [
        (CurrentBranch(CHAIN, FULL_LOCATOR), 0),
        (CurrentHead(CHAIN, FULL_HEADER, FULL_MEMPOOL), 28),  # no room for a hash
        (FULL_HEADER, 0),
        (Operation(ZERO, bytes(131_040)), 0),
        (Checkpoint(CHAIN, FULL_HEADER), 0),
        (ProtocolBranch(CHAIN, 1, FULL_LOCATOR), 0),
        (PredecessorHeader(ZERO, 1, FULL_HEADER), 0),
        (
            OperationsForBlock(
                ZERO,
                1,
                MerklePath((Right(ZERO),) * 3),
                [Operation(ZERO, b"")] * 29_126 + [Operation(ZERO, b"1234")],
            ),
            0,
        ),
    ],
    ids=lambda value: type(value).__name__ if attrs.has(type(value)) else "",
)
def test_the_greatest_messages_fit_their_limits(value: ShellMessage, spare: int) -> None:
    data = CODEC.encode(value)
    tag = int.from_bytes(data[4:6], "big")
    assert len(data) == TOTALS[tag] - spare
    assert CODEC.decode(data) == value
    error = fails(CODEC, framed(tag, data[6:] + b"\0" * (spare + 1)))
    assert error.fault is DecodeFault.SIZE_LIMIT_EXCEEDED


def test_parts_that_exceed_their_limits_are_refused_on_write() -> None:
    more = attrs.evolve(FULL_HEADER, protocol_data=FULL_HEADER.protocol_data + b"\0")
    values: list[tuple[ShellMessage, str]] = [
        (more, ""),
        (CurrentHead(CHAIN, more), "header"),
        (CurrentBranch(CHAIN, Locator(more)), "locator.header"),
        (Checkpoint(CHAIN, more), "header"),
        (PredecessorHeader(ZERO, 0, more), "header"),
        (ProtocolBranch(CHAIN, 0, Locator(HEADER, (ZERO,) * 1001)), "locator.history"),
        (CurrentHead(CHAIN, HEADER, Mempool((OperationHash(ZERO),) * 4000)), "mempool"),
        (OperationsForBlock(ZERO, 0, MerklePath((Right(ZERO),) * 4)), "path"),
        (OperationsForBlock(ZERO, 0x80, MerklePath()), "validation_pass"),
        (GetOperationsForBlocks((BlockPass(ZERO, -0x81),)), "passes[0].validation_pass"),
        (GetProtocolBranch(CHAIN, 256), "proto_level"),
        (GetPredecessorHeader(ZERO, 1 << 31), "offset"),
    ]
    for value, path in values:
        with pytest.raises(EncodeError) as caught:
            SHELL_CODEC.encode(value)
        assert caught.value.path == path


def test_a_header_in_a_head_has_its_limit_on_read() -> None:
    data = payload(CurrentHead(CHAIN, FULL_HEADER))
    assert SHELL_CODEC.decode(0x14, data) == CurrentHead(CHAIN, FULL_HEADER)
    size = (8 << 20) + 1
    data = data[:4] + size.to_bytes(4, "big") + data[8:-12] + b"\0" + data[-12:]
    error = fails(CODEC, framed(0x14, data))
    assert (error.fault, error.path, error.offset) == (
        DecodeFault.SIZE_LIMIT_EXCEEDED,
        "header",
        14,
    )


# -- bad input -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tag", "data", "fault", "path", "offset"),
    [
        (0x10, "8eceda", DecodeFault.NOT_ENOUGH_DATA, "chain_id", 0),
        (0x10, "8eceda2f00", DecodeFault.EXTRA_BYTES, "", 4),
        (
            0x11,
            "8eceda2f" + "00000000",
            DecodeFault.NOT_ENOUGH_DATA,
            "locator.header.level",
            8,
        ),
        (
            0x14,
            "8eceda2f" + SIZED_HEADER,
            DecodeFault.NOT_ENOUGH_DATA,
            "mempool.known_valid",
            214,
        ),
        (0x20, "0000001f" + "00" * 31, DecodeFault.NOT_ENOUGH_DATA, "hashes[0]", 4),
        (0x20, "00000020" + "00" * 33, DecodeFault.EXTRA_BYTES, "", 36),
        (
            0x60,
            "00000020" + "00" * 32,
            DecodeFault.NOT_ENOUGH_DATA,
            "passes[0].validation_pass",
            36,
        ),
        (0x61, "00" * 33 + "01", DecodeFault.UNEXPECTED_TAG, "path", 33),
        (
            0x61,
            "00" * 34 + "0000001f" + "00" * 31,
            DecodeFault.NOT_ENOUGH_DATA,
            "operations[0].branch",
            38,
        ),
        (0x80, "8eceda2f", DecodeFault.NOT_ENOUGH_DATA, "proto_level", 4),
        (0x90, "00" * 35, DecodeFault.NOT_ENOUGH_DATA, "offset", 32),
    ],
)
def test_bytes_that_must_fail_do_at_the_right_place(
    tag: int, data: str, fault: DecodeFault, path: str, offset: int
) -> None:
    with pytest.raises(DecodeError) as caught:
        SHELL_CODEC.decode(tag, _hex(data))
    error = caught.value
    assert (error.fault, error.path, error.offset) == (fault, path, offset)
    assert fails(CODEC, framed(tag, _hex(data))).offset in (offset + 6, 0)


class OneTag:
    """The codec of one tag, as the laws of all codecs want it."""

    def __init__(self, tag: int) -> None:
        self.tag = tag

    def decode(self, data: bytes) -> ShellMessage:
        return SHELL_CODEC.decode(self.tag, data)

    def encode(self, value: ShellMessage) -> bytes:
        tag, data = SHELL_CODEC.encode(value)
        assert tag == self.tag
        return data


@pytest.mark.parametrize("tag", shell_messages)
@given(data=st.data())
def test_messages_survive_the_way_to_bytes_and_back(tag: int, data: Any) -> None:
    value = data.draw(shell_messages[tag])
    raw = CODEC.encode(value)
    assert raw[4:6] == tag.to_bytes(2, "big")
    assert CODEC.decode(raw) == value
    assert SHELL.decode(raw[4:]) == value
    assert SHELL.encode(value) == raw[4:]
    check_ends(CODEC, raw)
    # Without its size, a message cut short is another one or a refusal.
    for size in range(len(raw) - 6):
        check_total(OneTag(tag), raw[6 : 6 + size])


@given(st.binary(max_size=80), st.sampled_from(sorted(shell_messages)))
def test_arbitrary_payloads_decode_or_raise_a_decode_error(data: bytes, tag: int) -> None:
    check_total(OneTag(tag), data)


@given(any_shell_message, st.integers(0), st.integers(0, 255))
def test_a_message_with_one_byte_changed_decodes_or_raises_a_decode_error(
    value: ShellMessage, position: int, byte: int
) -> None:
    tag, raw = SHELL_CODEC.encode(value)
    data = bytearray(raw)
    if data:
        data[position % len(data)] = byte
    check_total(OneTag(tag), bytes(data))


# -- the tables ------------------------------------------------------------------------


def test_the_docstring_states_tags_names_and_limits() -> None:
    assert shell.__doc__ is not None
    rows = re.findall(r"^(0x\d\d) +(\w+) .* (\d+)$", shell.__doc__, re.M)
    assert rows == [
        (f"{case.tag:#x}", name, str(SHELL_CODEC.limits[case.tag]))
        for name, case in SHELL_MESSAGES.items()
    ]
    tags = [case.tag for case in SHELL.cases]
    assert tags == sorted(set(tags)) == sorted(TOTALS)


def test_every_case_is_a_message_and_every_message_a_case() -> None:
    assert list(get_args(ShellMessage)) == [case.cls for case in SHELL.cases]
    for name, case in SHELL_MESSAGES.items():
        assert case.cls.__name__ == name.title().replace("_", "")
        assert case.doc
        if isinstance(case.type, Record):
            assert case.type.name == name
        else:
            assert case.cls in (BlockHeader, Operation, Protocol)


class Walk:
    """Measures an encoding by nothing but its layout, as another language would."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.around: list[Any] = []

    def take(self, size: int) -> int:
        assert self.at + size <= len(self.data)
        value = int.from_bytes(self.data[self.at : self.at + size], "big")
        self.at += size
        return value

    def walk(self, layout: Any, end: int) -> None:
        start = self.at
        self.around.append(layout)
        kind = layout["type"]
        if kind == "record":
            for field in layout["fields"]:
                assert field.get("offset", self.at - start) == self.at - start
                assert field["doc"]
                self.walk(field["layout"], end)
        elif kind == "dynamic":
            size = self.take(4)
            inner = self.at + size
            self.walk(layout["of"], inner)
            assert self.at == inner
        elif kind == "list":
            count = 0
            while self.at < end:
                self.walk(layout["of"], end)
                count += 1
            assert count <= layout.get("max_length", count)
        elif kind == "union":
            tag = self.take(1)
            (case,) = [case for case in layout["cases"] if case["tag"] == tag]
            assert case["doc"]
            self.walk(case["layout"], end)
        elif kind == "again":
            (same,) = {
                id(one): one
                for one in self.around
                if one.get("name") == layout["name"] and one is not layout
            }.values()
            self.walk(same, end)
        elif kind == "optional":
            if self.take(1):
                self.walk(layout["of"], end)
        elif "size" in layout:
            self.take(layout["size"])
        else:
            assert layout["fills"] == "block"
            self.take(end - self.at)
        self.around.pop()
        assert layout.get("size", self.at - start) == self.at - start
        assert layout.get("max_bytes", self.at - start) >= self.at - start


def key(name: str) -> str:
    return name.lower().replace("_", "-")


@pytest.mark.parametrize("name", SHELL_MESSAGES)
@given(data=st.data())
def test_messages_are_written_as_their_layout_says(name: str, data: Any) -> None:
    value = data.draw(shell_messages[SHELL_MESSAGES[name].tag])
    raw = payload(value)
    walk = Walk(raw)
    walk.walk(LAYOUTS[key(name)], len(raw))
    assert walk.at == len(raw)


def test_layouts_state_the_limits() -> None:
    for name, case in SHELL_MESSAGES.items():
        layout = LAYOUTS[key(name)]
        most = layout.get("max_bytes", layout.get("size"))
        assert most == SHELL_CODEC.limits[case.tag]
        assert summary(layout) in (name, name.replace("_", " ").lower())


@pytest.mark.parametrize(
    ("name", "phrase"),
    [
        ("locator", "locator"),
        ("mempool", "mempool"),
        ("merkle-path", "merkle path"),
        (
            "operation-list",
            "x (uint30 length, then operation), at most 1048576 bytes",
        ),
    ],
)
def test_what_messages_hold_has_a_layout_too(name: str, phrase: str) -> None:
    assert summary(LAYOUTS[name]) == phrase
    assert layout_text(name).startswith(f"{name}: {phrase}\n")


def test_the_table_of_a_message_lists_no_field_twice() -> None:
    text = layout_text("operations-for-block")
    assert len(re.findall(r" protocol_data: ", text)) == 1
    assert len(re.findall(r" path: merkle path ", text)) == 3
