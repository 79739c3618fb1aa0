"""Hashes: known texts, what is refused as text, lists of them; Base58Check in general."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shell_strategies import operation_hashes, raw32
from spec_strategies import check_ends, check_round_trip, fails

from tezos_p2p.spec import DecodeFault, EncodeError, PeerId, hashes
from tezos_p2p.spec.base58 import Base58Check
from tezos_p2p.spec.hashes import (
    BLOCK_HASH,
    CHAIN_ID,
    CONTEXT_HASH,
    OPERATION_HASH,
    OPERATION_LIST_LIST_HASH,
    PROTOCOL_HASH,
    BlockHash,
    ChainId,
    ContextHash,
    Hash,
    HashList,
    OperationHash,
    OperationListHash,
    OperationListListHash,
    ProtocolHash,
    brief,
)
from tezos_p2p.spec.reader import Reader

_hex = bytes.fromhex

KINDS: list[tuple[type[Hash], int, int, str]] = [
    (BlockHash, 32, 51, "B"),
    (OperationHash, 32, 51, "o"),
    (OperationListHash, 32, 52, "Lo"),
    (OperationListListHash, 32, 53, "LLo"),
    (ProtocolHash, 32, 51, "P"),
    (ContextHash, 32, 52, "Co"),
    (ChainId, 4, 15, "Net"),
]
GENESIS = "BLockGenesisGenesisGenesisGenesisGenesisf79b5d1CoW2"


@pytest.mark.parametrize(
    ("kind", "text", "raw"),
    [
        # TezEdge.
        (
            BlockHash,
            "BKyQ9EofHrgaZKENioHyP4FZNsTmiSEcVmcghgzCC9cGhE7oCET",
            "2253698f0c94788689fb95ca35eb1535ec3a8b7c613a97e6683f8007d7959e4b",
        ),
        (
            BlockHash,
            "BMWmj9CTojf7AnA8ZQFWGkh1cXB6FkST8Ey5coaeHX6cVNAZqA6",
            "ed4197d381a4d4f56be30bf7157426671276aa187bbe0bb9484974af59e069aa",
        ),
        (
            BlockHash,
            "BKqTKfGwK3zHnVXX33X5PPHy1FDTnbkajj3eFtCXGFyfimQhT1H",
            "10490b79070cf19175cd7e3b9c1ee66f6e85799980404b119132ea7e58a4a97e",
        ),
        # Main network.
        (ChainId, "NetXdQprcVkpaWU", "7a06a770"),
    ],
)
def test_known_hashes_have_their_text(kind: type[Hash], text: str, raw: str) -> None:
    assert kind.parse(text) == _hex(raw)
    assert str(kind(_hex(raw))) == text
    assert repr(kind.parse(text)) == f"{kind.__name__}({text!r})"
    assert type(kind.parse(text)) is kind


def test_a_chain_is_named_by_the_hash_of_its_first_block() -> None:
    assert str(ChainId.of(BlockHash.parse(GENESIS))) == "NetXdQprcVkpaWU"


def test_a_hash_is_blake2b_of_the_bytes() -> None:
    digest = hashlib.blake2b(b"hello", digest_size=32).digest()
    assert BlockHash.of(b"hello") == digest
    assert type(BlockHash.of(b"hello")) is BlockHash
    assert ChainId.of(b"hello") == digest[:4]


@pytest.mark.parametrize(("kind", "size", "chars", "start"), KINDS)
def test_texts_of_a_kind_have_one_length_and_one_beginning(
    kind: type[Hash], size: int, chars: int, start: str
) -> None:
    for byte in (b"\0", b"\x7f", b"\xff"):
        text = str(kind(byte * size))
        assert len(text) == chars
        assert text.startswith(start)
        assert kind.parse(text) == byte * size


@pytest.mark.parametrize(("kind", "size", "chars", "start"), KINDS)
def test_another_number_of_bytes_is_no_hash(
    kind: type[Hash], size: int, chars: int, start: str
) -> None:
    for wrong in (0, size - 1, size + 1):
        with pytest.raises(ValueError, match=rf"^an? .* has {size} bytes, not {wrong}$"):
            kind(bytes(wrong))


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("", "'' has 0 characters, a block hash 51"),
        (GENESIS[:-1], f"{GENESIS[:40]!r} has 50 characters, a block hash 51"),
        (GENESIS + "1", f"{GENESIS[:40]!r} has 52 characters, a block hash 51"),
        (
            GENESIS[:-1] + "0",
            f"'0' at position 50 of {GENESIS[:-1] + '0'!r} is not Base58",
        ),
        (
            GENESIS[:-1] + "3",
            f"{GENESIS[:-1] + '3'!r} has a wrong checksum: a mistyped block hash?",
        ),
        ("C" + GENESIS[1:], f"{'C' + GENESIS[1:]!r} does not begin as a block hash does"),
        ("1" * 51, f"{'1' * 51!r} does not begin as a block hash does"),
        ("z" * 51, f"{'z' * 51!r} does not begin as a block hash does"),
    ],
)
def test_a_text_that_is_no_hash_is_refused_with_the_reason(
    text: str, detail: str
) -> None:
    with pytest.raises(ValueError) as caught:
        BlockHash.parse(text)
    assert str(caught.value) == detail


@pytest.mark.parametrize(("kind", "size", "chars", "start"), KINDS)
def test_a_text_of_any_digits_is_refused_properly(
    kind: type[Hash], size: int, chars: int, start: str
) -> None:
    # The greatest number of so many digits may need one byte more than a hash has.
    for digit in "12yz":
        with pytest.raises(ValueError, match=r" does not begin as an? "):
            kind.parse(digit * chars)


def test_a_number_too_great_is_no_second_text_of_a_hash() -> None:
    digits = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
    text = str(ContextHash(bytes(32)))
    # One more bit than prefix, hash and checksum have.
    number = (1 << 8 * 38) + sum(
        digits.index(char) * 58**place for place, char in enumerate(reversed(text))
    )
    other = ""
    while number:
        number, digit = divmod(number, 58)
        other = digits[digit] + other
    assert len(other) == len(text)
    with pytest.raises(ValueError, match=r"does not begin as a context hash does$"):
        ContextHash.parse(other)


def test_a_hash_of_another_kind_is_refused_as_text() -> None:
    text = str(OperationHash(bytes(32)))
    with pytest.raises(ValueError, match=r"does not begin as a block hash does$"):
        BlockHash.parse(text)
    with pytest.raises(ValueError, match=r"does not begin as an operation hash does$"):
        OperationHash.parse(str(BlockHash(bytes(32))))


def test_hashes_are_bytes() -> None:
    assert BlockHash(bytes(32)) == bytes(32)
    assert {bytes(32): 1}[BlockHash(bytes(32))] == 1
    with pytest.raises(AttributeError):
        BlockHash(bytes(32)).other = 1  # type: ignore[attr-defined]  # wrong on purpose


@given(raw32)
def test_texts_survive_the_way_back(raw: bytes) -> None:
    for kind, size, chars, start in KINDS:
        value = kind(raw[:size])
        assert kind.parse(str(value)) == value
        assert len(str(value)) == chars
        assert str(value).startswith(start)


@given(st.text(alphabet="123ABCzZoBLNet0OIl", max_size=60))
def test_any_text_is_a_hash_or_a_value_error(text: str) -> None:
    for kind, *_ in KINDS:
        with pytest.raises(ValueError):
            kind.parse(text)


# -- Base58Check -----------------------------------------------------------------------


def test_the_text_form_of_peer_ids_is_the_same() -> None:
    form = Base58Check("peer id", b"\x99\x67", 16)
    text = "idtbfQ2moYtFctrhUzWvujTJ5nrskD"
    assert form.chars == 30
    assert form.parse(text) == PeerId.parse(text)
    assert form.text(PeerId.parse(text)) == text


@pytest.mark.parametrize("prefix", [b"", b"\0", b"\x1d"])
def test_a_prefix_must_fix_the_length_of_the_text(prefix: bytes) -> None:
    with pytest.raises(ValueError, match=r"gives texts of many lengths$"):
        Base58Check("thing", prefix, 32)


# -- as parts of messages --------------------------------------------------------------


@pytest.mark.parametrize(
    ("codec", "kind"),
    [
        (BLOCK_HASH, BlockHash),
        (OPERATION_HASH, OperationHash),
        (OPERATION_LIST_LIST_HASH, OperationListListHash),
        (PROTOCOL_HASH, ProtocolHash),
        (CONTEXT_HASH, ContextHash),
        (CHAIN_ID, ChainId),
    ],
)
def test_hashes_are_raw_on_the_wire(codec: Any, kind: type[Hash]) -> None:
    raw = bytes(range(kind.base58.size))
    assert codec.encode(kind(raw)) == raw
    assert type(codec.decode(raw)) is kind
    check_ends(codec, raw)
    for wrong in (raw[:-1], raw + b"\0"):
        with pytest.raises(EncodeError, match=rf"{len(raw)} wanted$"):
            codec.encode(wrong)
    for other in (None, 32, "x" * 32):
        with pytest.raises(EncodeError, match=r" is not bytes$"):
            codec.encode(other)
    assert codec.describe() == {
        "type": "bytes",
        "size": len(raw),
        "as": kind.base58.name,
    }


TEN: HashList[OperationHash] = HashList(OperationHash, 10)


@given(st.lists(operation_hashes, max_size=10).map(tuple))
def test_lists_of_hashes_survive_the_way_back(value: tuple[OperationHash, ...]) -> None:
    assert check_round_trip(TEN, value) == b"".join(value)
    assert all(type(item) is OperationHash for item in TEN.decode(b"".join(value)))


def test_a_list_stays_in_its_block() -> None:
    reader = Reader(bytes(3) + bytes(64) + bytes(100), 3, 67)
    assert TEN.read(reader) == (bytes(32), bytes(32))
    assert reader.pos == 67


def test_a_list_has_at_most_its_number_of_hashes_both_ways() -> None:
    full = tuple([OperationHash(bytes(32))] * 10)
    assert TEN.decode(TEN.encode(full)) == full
    error = fails(TEN, bytes(330))
    assert (error.fault, error.offset) == (DecodeFault.SIZE_LIMIT_EXCEEDED, 0)
    error = fails(TEN, bytes(352))
    assert (error.fault, error.offset) == (DecodeFault.SIZE_LIMIT_EXCEEDED, 0)
    with pytest.raises(EncodeError, match=r"11 elements, at most 10 allowed"):
        TEN.encode((*full, full[0]))


@pytest.mark.parametrize("most", [10, None])
@pytest.mark.parametrize("size", [1, 31, 33, 95])
def test_a_piece_of_a_hash_is_told_by_index_and_offset(
    size: int, most: int | None
) -> None:
    error = fails(HashList(OperationHash, most), bytes(size))
    assert (error.fault, error.path, error.offset) == (
        DecodeFault.NOT_ENOUGH_DATA,
        f"[{size // 32}]",
        size // 32 * 32,
    )


def test_a_list_without_limit_takes_any_number() -> None:
    assert len(HashList(OperationHash).decode(bytes(32 * 5000))) == 5000


# -- shown -----------------------------------------------------------------------------


def test_long_bytes_are_shown_by_their_beginning() -> None:
    assert brief(b"") == "empty"
    assert brief(b"\x01\xff") == "01ff"
    assert brief(bytes(32)) == "00" * 32
    assert brief(bytes(33)) == "00" * 32 + "... (33 bytes)"


def test_the_docstring_states_prefixes_and_sizes() -> None:
    assert hashes.__doc__ is not None
    for kind, size, _, start in KINDS:
        name = kind.base58.name.removesuffix(" hash")
        prefix = kind.base58.prefix.hex(" ")
        row = rf"^{name} +{size} +{prefix} +{start}\.\.\. "
        assert re.search(row, hashes.__doc__, re.M)
