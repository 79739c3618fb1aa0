"""Operations, their lists and the mempool: known bytes, limits, laziness unnoticed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shell_strategies import OPERATION_BYTES, mempools, operation_lists, operations
from spec_strategies import check_ends, check_round_trip, check_total, fails

from tezos_p2p.spec import DecodeFault, EncodeError, operation
from tezos_p2p.spec.hashes import BlockHash, OperationHash
from tezos_p2p.spec.operation import (
    MEMPOOL,
    MEMPOOL_MAX_SIZE,
    OPERATION,
    OPERATION_LIST,
    OPERATION_LIST_MAX_SIZE,
    OPERATION_MAX_SIZE,
    Mempool,
    Operation,
    OperationList,
    operation_list,
)
from tezos_p2p.spec.reader import Reader

BRANCH = BlockHash(b"\1" * 32)
HASH = OperationHash(b"\2" * 32)


def sized(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data


def test_a_recorded_operation() -> None:
    value = OPERATION.decode(OPERATION_BYTES)
    assert str(value.branch) == "BKqTKfGwK3zHnVXX33X5PPHy1FDTnbkajj3eFtCXGFyfimQhT1H"
    assert value.protocol_data == OPERATION_BYTES[32:]
    assert OPERATION.encode(value) == OPERATION_BYTES
    assert value.hash == hashlib.blake2b(OPERATION_BYTES, digest_size=32).digest()
    assert type(value.hash) is OperationHash


def test_an_operation_needs_a_branch_and_nothing_else() -> None:
    assert OPERATION.decode(BRANCH) == Operation(BRANCH, b"")
    for size in range(32):
        error = fails(OPERATION, BRANCH[:size])
        assert (error.fault, error.path) == (DecodeFault.NOT_ENOUGH_DATA, "branch")


def test_an_operation_has_at_most_131072_bytes_both_ways() -> None:
    assert OPERATION_MAX_SIZE == OPERATION.max_size == 131_072
    full = Operation(BRANCH, bytes(OPERATION_MAX_SIZE - 32))
    data = OPERATION.encode(full)
    assert OPERATION.decode(data) == full
    assert fails(OPERATION, data + b"\0").fault is DecodeFault.SIZE_LIMIT_EXCEEDED
    more = Operation(BRANCH, bytes(OPERATION_MAX_SIZE - 31))
    with pytest.raises(EncodeError, match=r"131073 bytes, limit 131072$"):
        OPERATION.encode(more)
    with pytest.raises(EncodeError):
        _ = more.hash


def test_a_long_operation_is_shown_in_short() -> None:
    assert len(repr(Operation(BRANCH, bytes(100_000)))) < 250


@given(operations)
def test_operations_survive_the_way_to_bytes_and_back(value: Operation) -> None:
    check_round_trip(OPERATION, value)


# -- lists -----------------------------------------------------------------------------

TWO = (Operation(BRANCH, b"hello"), Operation(BRANCH, b""))


def test_a_list_is_operations_with_their_lengths() -> None:
    data = sized(BRANCH + b"hello") + sized(BRANCH)
    value = OPERATION_LIST.decode(data)
    assert value == OperationList(TWO)
    assert OPERATION_LIST.encode(value) == value.raw == data
    assert OPERATION_LIST.decode(b"") == OperationList()


def test_a_list_is_a_sequence() -> None:
    value = OPERATION_LIST.decode(OperationList(TWO).raw)
    assert isinstance(value, Sequence)
    assert len(value) == 2
    assert tuple(value) == TWO
    assert (value[0], value[1], value[-1], value[-2]) == (*TWO, *TWO[::-1])
    assert value[1:] == TWO[1:]
    assert value[::-1] == TWO[::-1]
    assert value[5:] == ()
    for index in (2, -3):
        with pytest.raises(IndexError):
            value[index]
    assert TWO[1] in value
    assert not OperationList()
    assert value.hashes == tuple(one.hash for one in TWO)
    assert all(type(one) is OperationHash for one in value.hashes)


def test_lists_are_compared_by_content() -> None:
    one, other = OperationList(TWO), OPERATION_LIST.decode(OperationList(TWO).raw)
    assert one == other
    assert hash(one) == hash(other)
    assert one != OperationList(TWO[:1])
    assert one != TWO
    assert repr(one) == "<OperationList: 2 operations, 77 bytes>"


def test_what_is_a_list_already_is_not_made_anew() -> None:
    value = OperationList(TWO)
    assert operation_list(value) is value
    assert operation_list(iter(TWO)) == value


@pytest.mark.parametrize("good", [0, 1, 3])
@pytest.mark.parametrize(
    ("bad", "fault", "path", "offset"),
    [
        ("00", DecodeFault.NOT_ENOUGH_DATA, "", 0),
        ("000000", DecodeFault.NOT_ENOUGH_DATA, "", 0),
        ("00000000", DecodeFault.NOT_ENOUGH_DATA, ".branch", 4),
        ("0000001f" + "00" * 31, DecodeFault.NOT_ENOUGH_DATA, ".branch", 4),
        ("0000001f" + "00" * 40, DecodeFault.NOT_ENOUGH_DATA, ".branch", 4),
        ("00000020" + "00" * 31, DecodeFault.NOT_ENOUGH_DATA, "", 0),
        ("00000021" + "00" * 32, DecodeFault.NOT_ENOUGH_DATA, "", 0),
        ("7fffffff" + "00" * 32, DecodeFault.NOT_ENOUGH_DATA, "", 0),
        ("ffffffff" + "00" * 32, DecodeFault.INVALID_INT, "", 0),
        ("00020001" + "00" * 131_073, DecodeFault.SIZE_LIMIT_EXCEEDED, "", 4),
    ],
)
def test_the_first_bad_operation_is_told_by_index_and_offset(
    bad: str, fault: DecodeFault, path: str, offset: int, good: int
) -> None:
    error = fails(OPERATION_LIST, sized(BRANCH + b"x") * good + bytes.fromhex(bad))
    assert (error.fault, error.path, error.offset) == (
        fault,
        f"[{good}]{path}",
        37 * good + offset,
    )


def test_a_list_stays_in_its_block() -> None:
    item = sized(BRANCH)
    reader = Reader(b"xyz" + item * 2 + item[:20], 3, 3 + 72)
    assert len(OPERATION_LIST.read(reader)) == 2
    assert reader.pos == 75
    reader = Reader(item * 2, 0, 71)
    with pytest.raises(ValueError, match=r"^\[1\] at byte 36: "):
        OPERATION_LIST.read(reader)


def test_an_operation_of_a_list_has_its_limit_both_ways() -> None:
    full = Operation(BRANCH, bytes(OPERATION_MAX_SIZE - 32))
    value = OperationList([full])
    assert OPERATION_LIST.decode(value.raw)[0] == full
    more = Operation(BRANCH, bytes(OPERATION_MAX_SIZE - 31))
    with pytest.raises(EncodeError, match=r"^\[1\]: 131073 bytes, limit 131072$"):
        OperationList([full, more])


def test_a_list_has_at_most_1048576_bytes_both_ways() -> None:
    assert OPERATION_LIST_MAX_SIZE == OPERATION_LIST.max_size == 1_048_576
    # 29 126 of 36 bytes and one of 40 are as many as there can be.
    many = [Operation(BRANCH, b"")] * 29_126
    full = OperationList([*many, Operation(BRANCH, b"1234")])
    assert len(OPERATION_LIST.encode(full)) == OPERATION_LIST_MAX_SIZE
    assert len(OPERATION_LIST.decode(full.raw)) == 29_127
    more = OperationList([*many, Operation(BRANCH, b"12345")])
    error = fails(OPERATION_LIST, more.raw)
    assert (error.fault, error.path, error.offset) == (
        DecodeFault.SIZE_LIMIT_EXCEEDED,
        "",
        0,
    )
    with pytest.raises(EncodeError, match=r"1048577 bytes, limit 1048576$"):
        OPERATION_LIST.encode(more)


@given(operation_lists)
def test_lists_survive_the_way_to_bytes_and_back(value: OperationList) -> None:
    check_round_trip(OPERATION_LIST, value)
    assert OperationList(list(value)) == value


@given(st.binary(max_size=120), operation_lists)
def test_any_bytes_are_a_list_or_a_decode_error(
    data: bytes, value: OperationList
) -> None:
    check_total(OPERATION_LIST, data)
    check_total(OPERATION_LIST, value.raw + data)
    check_total(OPERATION, data)
    check_total(MEMPOOL, data)


# -- mempool ---------------------------------------------------------------------------


def test_known_mempools() -> None:
    empty = bytes.fromhex("000000000000000400000000")
    assert MEMPOOL.encode(Mempool()) == empty
    assert MEMPOOL.decode(empty) == Mempool()
    check_ends(MEMPOOL, empty)
    # TezEdge, out of a recorded Current_head.
    raw = "c533d1d8a515b35fac67eb9926a6c983397208511ce69808d57177415654bf09"
    one = bytes.fromhex("00000020" + raw + "0000000400000000")
    known = Mempool((OperationHash(bytes.fromhex(raw)),))
    assert MEMPOOL.decode(one) == known
    assert MEMPOOL.encode(known) == one
    pending = Mempool((), known.known_valid)
    data = bytes.fromhex("00000000" + "00000024" + "00000020" + raw)
    assert MEMPOOL.decode(data) == pending
    assert MEMPOOL.encode(pending) == data
    check_ends(MEMPOOL, one)
    check_ends(MEMPOOL, data)


def test_order_and_repetitions_of_a_mempool_are_kept() -> None:
    value = Mempool((HASH, OperationHash(bytes(32)), HASH), (HASH, HASH))
    assert MEMPOOL.decode(MEMPOOL.encode(value)) == value
    assert repr(value) == "Mempool(known_valid=<3 hashes>, pending=<2 hashes>)"


@pytest.mark.parametrize(
    ("data", "fault", "path", "offset"),
    [
        ("0000000000000000", DecodeFault.NOT_ENOUGH_DATA, "pending", 8),
        ("000000000000000500000000", DecodeFault.NOT_ENOUGH_DATA, "pending", 4),
        ("00000000000000050000000000", DecodeFault.EXTRA_BYTES, "pending", 12),
        ("000000000000000400000001", DecodeFault.NOT_ENOUGH_DATA, "pending", 8),
        (
            "00000001aa0000000400000000",
            DecodeFault.NOT_ENOUGH_DATA,
            "known_valid[0]",
            4,
        ),
    ],
)
def test_a_mempool_with_wrong_lengths_is_refused(
    data: str, fault: DecodeFault, path: str, offset: int
) -> None:
    error = fails(MEMPOOL, bytes.fromhex(data))
    assert (error.fault, error.path, error.offset) == (fault, path, offset)


@pytest.mark.parametrize("known", [0, 1, 2000, 3999])
def test_a_mempool_has_room_for_3999_hashes_both_ways(known: int) -> None:
    assert MEMPOOL_MAX_SIZE == MEMPOOL.max_size == 128_008
    value = Mempool((HASH,) * known, (HASH,) * (3999 - known))
    data = MEMPOOL.encode(value)
    assert len(data) == 12 + 3999 * 32
    assert MEMPOOL.decode(data) == value
    for more in (
        Mempool((HASH,) * (known + 1), value.pending),
        Mempool(value.known_valid, (HASH,) * (4000 - known)),
    ):
        with pytest.raises(EncodeError, match=r"128012 bytes, limit 128008$"):
            MEMPOOL.encode(more)
        inner = b"".join(more.pending)
        raw = sized(b"".join(more.known_valid)) + sized(sized(inner))
        error = fails(MEMPOOL, raw)
        assert (error.fault, error.path) == (DecodeFault.SIZE_LIMIT_EXCEEDED, "")


@given(mempools)
def test_mempools_survive_the_way_to_bytes_and_back(value: Mempool) -> None:
    check_ends(MEMPOOL, check_round_trip(MEMPOOL, value))


def test_the_docstring_states_the_limits() -> None:
    assert operation.__doc__ is not None
    for text in ("131 072 bytes", "1 048 576 bytes", "128 008 bytes", "3999 hashes"):
        assert text in operation.__doc__
