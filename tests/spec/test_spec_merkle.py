"""Merkle trees: known roots, paths that lead to them, paths that lead nowhere."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shell_strategies import OPERATIONS_FOR_BLOCK, paths, raw32
from spec_strategies import check_ends, check_round_trip, check_total, fails

from tezos_p2p.spec import DecodeFault, EncodeError, merkle
from tezos_p2p.spec.hashes import (
    OperationHash,
    OperationListHash,
    OperationListListHash,
)
from tezos_p2p.spec.merkle import (
    MERKLE_PATH,
    MERKLE_PATH_MAX_STEPS,
    Left,
    MerklePath,
    Right,
    merkle_path,
    operation_list_hash,
    operation_list_list_hash,
)

_hex = bytes.fromhex
A, B, C, D = (bytes([value]) * 32 for value in (1, 2, 3, 4))

#: Self-made: elements 01 x 32, 02 x 32 ...; of nothing, BLAKE2b-256 of nothing.
ROOTS = [
    "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8",
    "f40ceaf86e5776923332b8d8fd3bef849cadb19c6996bc272af1f648d9566a4c",
    "b41f077ca124f5ef535370daf41c74a2bc48ba7eb868e7337cc1f7f4abff1cae",
    "c2aa8683c465b7304d4a61862b6f7851ecbcd94deb88484c1a5ec8acd1046628",
    "aad6755a0c7f5f76c420237547ed3749f02096b18be60de77173ccd3fdc0f43d",
    "1bf2e8a7a8f287b52deae945f22f4b42b943fafc31bd0f99d8ce867c146c9dfa",
]


def elements(count: int) -> list[bytes]:
    return [bytes([value + 1]) * 32 for value in range(count)]


def plainly(of: list[bytes]) -> bytes:
    """The rule once more: fill up the leaves, halve the rows."""
    row = [hashlib.blake2b(one, digest_size=32).digest() for one in of]
    while len(row) & (len(row) - 1):
        row.append(row[-1])
    while len(row) > 1:
        pairs = zip(row[::2], row[1::2], strict=True)
        row = [hashlib.blake2b(a + b, digest_size=32).digest() for a, b in pairs]
    return row[0]


@pytest.mark.parametrize("count", range(len(ROOTS)))
def test_roots_of_few_elements_are_known(count: int) -> None:
    operations = [OperationHash(raw) for raw in elements(count)]
    lists = [OperationListHash(raw) for raw in elements(count)]
    assert operation_list_hash(operations).hex() == ROOTS[count]
    assert type(operation_list_hash(operations)) is OperationListHash
    assert operation_list_list_hash(lists).hex() == ROOTS[count]
    assert type(operation_list_list_hash(lists)) is OperationListListHash


@given(st.lists(raw32, min_size=1, max_size=40))
def test_roots_follow_the_rule(of: list[bytes]) -> None:
    assert operation_list_hash([OperationHash(raw) for raw in of]) == plainly(of)


@pytest.mark.parametrize("count", range(1, 18))
def test_the_path_to_every_element_leads_to_the_root(count: int) -> None:
    lists = [OperationListHash(raw) for raw in elements(count)]
    root = operation_list_list_hash(lists)
    for position, one in enumerate(lists):
        path = merkle_path(lists, position)
        assert len(path.steps) == (count - 1).bit_length()
        assert path.root(one) == (root, position)
        assert type(path.root(one)[0]) is OperationListListHash
        other = OperationListHash(bytes(32))
        assert path.root(other)[0] != root
        # Swapping left and right changes root and position.
        for at, step in enumerate(path.steps):
            turned = Left(step.left) if isinstance(step, Right) else Right(step.right)
            wrong = MerklePath((*path.steps[:at], turned, *path.steps[at + 1 :]))
            assert wrong.root(one)[1] != position


def test_a_path_may_end_at_a_copy_of_the_last_leaf() -> None:
    lists = [OperationListHash(raw) for raw in elements(3)]
    first = merkle_path(lists, 2)
    assert isinstance(first.steps[1], Left)
    copy = MerklePath((first.steps[0], Right(first.steps[1].right)))
    assert copy.root(lists[2]) == (operation_list_list_hash(lists), 3)


@pytest.mark.parametrize(("count", "position"), [(0, 0), (1, 1), (3, 3), (3, -1)])
def test_there_is_no_path_to_a_position_beyond_the_lists(
    count: int, position: int
) -> None:
    lists = [OperationListHash(raw) for raw in elements(count)]
    with pytest.raises(IndexError, match=rf"^position {position} of {count} lists$"):
        merkle_path(lists, position)


# -- as bytes --------------------------------------------------------------------------


def test_a_recorded_path() -> None:
    data = OPERATIONS_FOR_BLOCK[6 + 33 :]
    path = MERKLE_PATH.decode(data)
    assert [type(step) for step in path.steps] == [Right, Right]
    assert MERKLE_PATH.encode(path) == data
    assert path.root(OperationListHash(bytes(32)))[1] == 3


PATHS: list[tuple[MerklePath, str]] = [
    (MerklePath(), "00"),
    (MerklePath((Left(A),)), "f0" + "00" + A.hex()),
    (MerklePath((Right(A),)), "0f" + A.hex() + "00"),
    (MerklePath((Left(A), Left(B))), "f0f000" + B.hex() + A.hex()),
    (MerklePath((Left(A), Right(B))), "f00f" + B.hex() + "00" + A.hex()),
    (MerklePath((Right(A), Left(B))), "0f" + A.hex() + "f000" + B.hex()),
    (
        MerklePath((Left(A), Right(B), Left(C))),
        "f00f" + B.hex() + "f000" + C.hex() + A.hex(),
    ),
]


@pytest.mark.parametrize(("path", "encoded"), PATHS)
def test_the_rest_of_a_path_comes_before_what_is_to_its_right(
    path: MerklePath, encoded: str
) -> None:
    assert MERKLE_PATH.encode(path).hex() == encoded
    assert MERKLE_PATH.decode(_hex(encoded)) == path
    check_ends(MERKLE_PATH, _hex(encoded))


@pytest.mark.parametrize("tag", [0x01, 0x0E, 0x10, 0x7F, 0xEF, 0xF1, 0xFF])
@pytest.mark.parametrize("front", ["", "f0", "f0f0f0", "0f" + A.hex()])
def test_other_tags_are_refused_at_their_place(front: str, tag: int) -> None:
    error = fails(MERKLE_PATH, _hex(front) + bytes([tag]) + bytes(100))
    assert (error.fault, error.offset) == (
        DecodeFault.UNEXPECTED_TAG,
        len(_hex(front)),
    )
    assert error.detail == f"{tag:#x} is no tag of a path"


@pytest.mark.parametrize("steps", [(Left(A),), (Right(A),), (Left(A), Right(B))])
def test_a_path_has_at_most_100_bytes_both_ways(steps: tuple[Any, ...]) -> None:
    assert (MERKLE_PATH.max_size, MERKLE_PATH_MAX_STEPS) == (100, 3)
    full = MerklePath((steps * 3)[:3])
    data = MERKLE_PATH.encode(full)
    assert len(data) == 100
    assert MERKLE_PATH.decode(data) == full
    with pytest.raises(EncodeError, match=r"4 steps, limit 3$"):
        MERKLE_PATH.encode(MerklePath((steps * 4)[:4]))
    for tag in (b"\xf0", b"\x0f" + D):
        error = fails(MERKLE_PATH, tag + data + D)
        assert (error.fault, error.offset) == (DecodeFault.SIZE_LIMIT_EXCEEDED, 0)


def test_no_depth_of_a_path_exhausts_the_stack() -> None:
    for data in (b"\xf0" * 1_000_000, (b"\x0f" + A) * 30_000):
        assert fails(MERKLE_PATH, data).fault is DecodeFault.SIZE_LIMIT_EXCEEDED
    deep = MerklePath((Left(A),) * 100_000)
    with pytest.raises(EncodeError):
        MERKLE_PATH.encode(deep)
    assert deep.root(OperationListHash(A))[1] == 0


@pytest.mark.parametrize("step", [Left(A[1:]), Right(A + b"\0")])
def test_a_node_of_another_size_is_refused_on_write(step: Any) -> None:
    with pytest.raises(EncodeError, match=r"32 wanted$"):
        MERKLE_PATH.encode(MerklePath((step,)))


@given(paths)
def test_paths_survive_the_way_to_bytes_and_back(value: MerklePath) -> None:
    check_ends(MERKLE_PATH, check_round_trip(MERKLE_PATH, value))


@given(
    st.lists(st.sampled_from([b"\0", b"\xf0", b"\x0f", A, B, b"\x01"]), max_size=12).map(
        b"".join
    )
)
def test_any_bytes_are_a_path_or_a_decode_error(data: bytes) -> None:
    check_total(MERKLE_PATH, data)


def test_the_docstring_states_tags_and_limit() -> None:
    assert merkle.__doc__ is not None
    for case in MERKLE_PATH.describe()["cases"]:
        name = case["layout"]["name"]
        assert re.search(rf"^{case['tag']:02x} +{name} ", merkle.__doc__, re.M)
    assert "at most 100 bytes and so at most 3 steps" in merkle.__doc__
