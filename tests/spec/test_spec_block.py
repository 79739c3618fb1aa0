"""Block headers and locators: known bytes and hashes, limits, drawn distances."""

from __future__ import annotations

import hashlib
import itertools
import re
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shell_strategies import (
    CURRENT_HEAD,
    HEADER_28014,
    blocks,
    headers,
    locators,
)
from spec_strategies import check_round_trip, check_total, fails, peer_ids

from tezos_p2p.spec import DecodeFault, EncodeError, PeerId, block
from tezos_p2p.spec.block import (
    BLOCK_HEADER,
    BLOCK_HEADER_MAX_SIZE,
    FITNESS_MAX,
    HISTORY_MAX,
    LOCATOR,
    BlockHeader,
    Locator,
    locator_distances,
)
from tezos_p2p.spec.hashes import BlockHash

HEADER = BLOCK_HEADER.decode(HEADER_28014)


def test_a_recorded_header_has_these_fields() -> None:
    assert (HEADER.level, HEADER.proto_level, HEADER.timestamp) == (28014, 1, 1544713848)
    assert HEADER.validation_passes == 4
    assert HEADER.fitness == (b"\0", bytes.fromhex("00000000000c15ef"))
    assert HEADER.predecessor.hex().startswith("02dd00de")
    assert HEADER.operations_hash.hex().startswith("32bc1d3a")
    assert HEADER.context.hex().startswith("15a6f540")
    assert len(HEADER.protocol_data) == 75
    assert str(HEADER.hash) == "BKoBK7Qa8J4Wvz85MDRWmpAntd5UhPhCh3p6Ga6woJywF8cZkeJ"
    assert BLOCK_HEADER.encode(HEADER) == HEADER_28014


def test_every_piece_of_the_shells_part_is_too_short() -> None:
    # Protocol data may have any length: none is the shortest.
    shell_part = 114 + 17
    for size in range(shell_part):
        assert fails(BLOCK_HEADER, HEADER_28014[:size]).fault in (
            DecodeFault.NOT_ENOUGH_DATA,
            DecodeFault.EXTRA_BYTES,
        )
    short = BLOCK_HEADER.decode(HEADER_28014[:shell_part])
    assert short == attrs.evolve(HEADER, protocol_data=b"")


@pytest.mark.parametrize(
    ("offset", "new", "fault", "path", "at"),
    [
        (78, "00000010", DecodeFault.NOT_ENOUGH_DATA, "fitness[1]", 87),
        (78, "00000012", DecodeFault.NOT_ENOUGH_DATA, "fitness[2]", 99),
        (78, "7fffffff", DecodeFault.NOT_ENOUGH_DATA, "fitness", 78),
        (78, "80000000", DecodeFault.INVALID_INT, "fitness", 78),
        (82, "0000000e", DecodeFault.NOT_ENOUGH_DATA, "fitness[0]", 82),
        (87, "00000007", DecodeFault.NOT_ENOUGH_DATA, "fitness[2]", 98),
    ],
)
def test_a_fitness_that_does_not_fill_its_block_is_refused(
    offset: int, new: str, fault: DecodeFault, path: str, at: int
) -> None:
    raw = bytes.fromhex(new)
    data = HEADER_28014[:offset] + raw + HEADER_28014[offset + len(raw) :]
    error = fails(BLOCK_HEADER, data)
    assert (error.fault, error.path, error.offset) == (fault, path, at)


def test_a_header_has_at_most_8_mib_both_ways() -> None:
    assert BLOCK_HEADER.max_size == BLOCK_HEADER_MAX_SIZE == 8_388_608
    room = BLOCK_HEADER_MAX_SIZE - len(HEADER_28014)
    full = HEADER_28014 + bytes(room)
    header = BLOCK_HEADER.decode(full)
    assert BLOCK_HEADER.encode(header) == full
    error = fails(BLOCK_HEADER, full + b"\0")
    assert (error.fault, error.offset) == (DecodeFault.SIZE_LIMIT_EXCEEDED, 0)
    more = attrs.evolve(header, protocol_data=header.protocol_data + b"\0")
    with pytest.raises(EncodeError, match=r"^value: 8388609 bytes, limit 8388608$"):
        BLOCK_HEADER.encode(more)
    with pytest.raises(EncodeError):
        _ = more.hash


def test_a_fitness_has_at_most_1024_elements_both_ways() -> None:
    full = attrs.evolve(HEADER, fitness=(b"",) * FITNESS_MAX)
    data = BLOCK_HEADER.encode(full)
    assert BLOCK_HEADER.decode(data) == full
    fitness = (4 * (FITNESS_MAX + 1)).to_bytes(4, "big") + bytes(4 * (FITNESS_MAX + 1))
    error = fails(BLOCK_HEADER, data[:78] + fitness + data[-107:])
    assert (error.fault, error.path) == (DecodeFault.LIST_TOO_LONG, "fitness[1024]")
    assert error.offset == 82 + 4 * FITNESS_MAX
    with pytest.raises(EncodeError, match=r"^fitness: 1025 elements, at most 1024"):
        BLOCK_HEADER.encode(attrs.evolve(HEADER, fitness=(b"",) * (FITNESS_MAX + 1)))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("level", 1 << 31),
        ("level", -(1 << 31) - 1),
        ("proto_level", 256),
        ("timestamp", 1 << 63),
        ("validation_passes", -1),
        ("predecessor", bytes(31)),
        ("operations_hash", bytes(33)),
        ("context", None),
        ("protocol_data", "text"),
    ],
)
def test_a_field_out_of_range_is_named(field: str, value: object) -> None:
    with pytest.raises(EncodeError) as caught:
        BLOCK_HEADER.encode(attrs.evolve(HEADER, **{field: value}))
    assert caught.value.path == field


def test_a_header_is_shown_in_short() -> None:
    shown = repr(attrs.evolve(HEADER, protocol_data=bytes(1 << 20)))
    assert "fitness=00::00000000000c15ef" in shown
    assert "... (1048576 bytes)" in shown
    assert len(shown) < 600


@given(headers)
def test_headers_survive_the_way_to_bytes_and_back(value: BlockHeader) -> None:
    data = check_round_trip(BLOCK_HEADER, value)
    assert value.hash == hashlib.blake2b(data, digest_size=32).digest()
    content = sum(4 + len(element) for element in value.fitness)
    assert len(data) == 114 + content + len(value.protocol_data)


@given(st.binary(max_size=160))
def test_any_bytes_are_a_header_or_a_decode_error(data: bytes) -> None:
    check_total(BLOCK_HEADER, data)
    check_total(LOCATOR, data)


@given(headers, st.integers(0), st.integers(0, 255))
def test_a_header_with_one_byte_changed_decodes_or_raises_a_decode_error(
    value: BlockHeader, position: int, byte: int
) -> None:
    data = bytearray(BLOCK_HEADER.encode(value))
    data[position % len(data)] = byte
    check_total(BLOCK_HEADER, bytes(data))


# -- locators --------------------------------------------------------------------------


def sized(header: bytes) -> bytes:
    return len(header).to_bytes(4, "big") + header


def test_a_locator_is_a_header_with_its_length_and_hashes_to_the_end() -> None:
    data = sized(HEADER_28014) + b"\1" * 32 + b"\2" * 32
    locator = Locator(HEADER, (BlockHash(b"\1" * 32), BlockHash(b"\2" * 32)))
    assert LOCATOR.decode(data) == locator
    assert LOCATOR.encode(locator) == data
    assert "history=2)" in repr(locator)
    error = fails(LOCATOR, data + b"\3" * 31)
    assert (error.fault, error.path) == (DecodeFault.NOT_ENOUGH_DATA, "history[2]")
    assert error.offset == len(data)


def test_the_header_of_a_recorded_head_makes_a_locator() -> None:
    start = 4 + 2 + 4
    header = CURRENT_HEAD[start : start + 4 + 0xCE]
    assert LOCATOR.decode(header).header.level == 245_395
    assert LOCATOR.decode(header).history == ()


def test_a_history_has_at_most_1000_hashes_both_ways() -> None:
    full = Locator(HEADER, (BlockHash(bytes(32)),) * HISTORY_MAX)
    data = LOCATOR.encode(full)
    assert LOCATOR.decode(data) == full
    error = fails(LOCATOR, data + bytes(32))
    assert (error.fault, error.path, error.offset) == (
        DecodeFault.SIZE_LIMIT_EXCEEDED,
        "history",
        4 + len(HEADER_28014),
    )
    with pytest.raises(EncodeError, match=r"^history: 1001 elements, at most 1000"):
        LOCATOR.encode(Locator(HEADER, (BlockHash(bytes(32)),) * (HISTORY_MAX + 1)))


def test_the_header_of_a_locator_has_at_most_8_mib() -> None:
    full = HEADER_28014 + bytes(BLOCK_HEADER_MAX_SIZE - len(HEADER_28014))
    assert len(LOCATOR.encode(LOCATOR.decode(sized(full)))) == 4 + BLOCK_HEADER_MAX_SIZE
    error = fails(LOCATOR, sized(full + b"\0"))
    assert (error.fault, error.path, error.offset) == (
        DecodeFault.SIZE_LIMIT_EXCEEDED,
        "header",
        4,
    )
    assert LOCATOR.max_size == 4 + BLOCK_HEADER_MAX_SIZE + 32 * HISTORY_MAX


@given(locators)
def test_locators_survive_the_way_to_bytes_and_back(value: Locator) -> None:
    check_round_trip(LOCATOR, value)


# -- distances -------------------------------------------------------------------------

DISTANCES = [
    *(1, 1, 1, 1, 1, 1, 1, 1, 1, 1),
    *(2, 2, 1, 3, 2, 2, 3, 2, 3, 2),
    *(5, 5, 2, 6, 4, 4, 4, 5, 5, 5),
    *(9, 8, 10, 8, 5, 8, 8, 5, 5, 9),
]
ONE, TWO = PeerId(b"\1" * 16), PeerId(b"\2" * 16)
HEAD = BlockHash(bytes(32))


def plainly(sender: bytes, receiver: bytes, head: bytes, count: int) -> list[int]:
    """The rule once more, one draw after the other, remainders as in C."""
    seed = hashlib.sha256(sender + receiver + head).digest()
    step, counter, drawn = 1, 9, []
    for _ in range(count):
        gap = 0
        if step > 1:
            value = int.from_bytes(seed[:4], "big", signed=True)
            gap = value - int(value / (step // 2 + 1)) * (step // 2 + 1)
            seed = hashlib.sha256(seed).digest()
        drawn.append(step - gap)
        step, counter = (2 * step, 9) if counter == 0 else (step, counter - 1)
    return drawn


def test_distances_of_two_trivial_peers() -> None:
    # Self-made.
    distances = list(itertools.islice(locator_distances(ONE, TWO, HEAD), 40))
    assert distances == DISTANCES
    assert distances == plainly(ONE, TWO, HEAD, 40)


@given(peer_ids, peer_ids, blocks)
def test_distances_follow_the_rule(sender: Any, receiver: Any, head: Any) -> None:
    distances = list(itertools.islice(locator_distances(sender, receiver, head), 150))
    assert distances == plainly(sender, receiver, head, 150)
    assert distances[:10] == [1] * 10
    for index, distance in enumerate(distances):
        step = 1 << index // 10
        assert step - step // 2 <= distance <= step + step // 2
        assert distance >= 1


def test_distances_depend_on_all_three() -> None:
    def draw(*names: Any) -> list[int]:
        return list(itertools.islice(locator_distances(*names), 60))

    different = [
        draw(ONE, TWO, HEAD),
        draw(TWO, ONE, HEAD),
        draw(ONE, ONE, HEAD),
        draw(ONE, TWO, BlockHash(b"\1" * 32)),
    ]
    assert all(a != b for a, b in itertools.combinations(different, 2))


def test_the_docstring_states_the_limits_and_offsets() -> None:
    assert block.__doc__ is not None
    data = BLOCK_HEADER.describe()
    for field in data["fields"]:
        offset = field.get("offset")
        if offset is not None and field["name"] != "fitness":
            assert re.search(rf"^{offset} +\d+ +{field['name']} ", block.__doc__, re.M)
    assert "8 MiB" in block.__doc__
    assert f"at most {HISTORY_MAX}" in block.__doc__
    assert f"{FITNESS_MAX} elements" in block.__doc__
