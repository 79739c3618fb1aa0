"""The data-encoding primitives: known bytes, bounds, faults, paths and offsets.

Bytes of bool, length prefixes, options and lists as the reference node writes them
(recorded from a node of May 2019, or stated by its data-encoding library); IEEE-754 and
two's complement by their own standards.
"""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spec_strategies import check_ends, check_round_trip, check_total, decoded, fails

from tezos_p2p.spec import DecodeError, DecodeFault, EncodeError, binary, blocks, record
from tezos_p2p.spec.binary import (
    BOOL,
    EMPTY,
    FLOAT64,
    INT8,
    INT16,
    INT31,
    INT32,
    INT64,
    TAIL,
    UINT8,
    UINT16,
    UINT30,
    BinaryType,
    FixedBytes,
    Integer,
)
from tezos_p2p.spec.blocks import (
    BYTES,
    Dynamic,
    Items,
    Limited,
    Mapped,
    Option,
    Present,
    Remembered,
    Trailing,
)
from tezos_p2p.spec.reader import Reader
from tezos_p2p.spec.record import Case, Field, Record, Union

INTEGERS = (UINT8, INT8, UINT16, INT16, INT32, INT64, UINT30, INT31)
integers = pytest.mark.parametrize("kind", INTEGERS, ids=lambda kind: kind.name)

NOT_ENOUGH = DecodeFault.NOT_ENOUGH_DATA
TOO_BIG = DecodeFault.SIZE_LIMIT_EXCEEDED


@attrs.frozen
class Pair:
    left: Any
    right: Any


@attrs.frozen
class Triple:
    first: Any
    second: Any
    third: Any


@attrs.frozen
class Lone:
    item: Any


@attrs.frozen
class Ordered:
    low: int
    high: int

    def __attrs_post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError(f"{self.low} > {self.high}")


ORDERED = Record(Ordered, "ordered", Field("low", UINT8), Field("high", UINT8))
# A block with a run of fixed fields on each side of a dynamic one.
SANDWICH = Record(
    Triple,
    "sandwich",
    Field("first", UINT16, "a number"),
    Field("second", BYTES, "a text"),
    Field("third", BOOL, "a flag"),
)
NESTED = Record(
    Pair,
    "nested",
    Field("left", UINT8),
    Field("right", Dynamic(Items(SANDWICH, 3))),
)
FRAMED_TAIL = Record(
    Triple,
    "framed tail",
    Field("first", UINT8),
    Field("second", TAIL),
    Field("third", UINT16),
)

KNOWN: list[tuple[BinaryType[Any], Any, str]] = [
    (BOOL, True, "ff"),
    (BOOL, False, "00"),
    (UINT8, 0xAB, "ab"),
    (INT8, -1, "ff"),
    (UINT16, 9732, "2604"),
    (INT16, -2, "fffe"),
    (INT32, -(1 << 31), "80000000"),
    (INT64, 42, "000000000000002a"),
    (INT64, -1, "ff" * 8),
    (UINT30, (1 << 30) - 1, "3fffffff"),
    (INT31, -(1 << 30), "c0000000"),
    (FLOAT64, 1.5, "3ff8000000000000"),
    (FLOAT64, -0.0, "8000000000000000"),
    (FixedBytes(3), b"abc", "616263"),
    (FixedBytes(0), b"", ""),
    (BYTES, b"hello", "0000000568656c6c6f"),
    (BYTES, b"", "00000000"),
    (TAIL, b"hello", "68656c6c6f"),
    (EMPTY, None, ""),
    (Dynamic(UINT16), 9732, "00000002" + "2604"),
    (Dynamic(EMPTY), None, "00000000"),
    (Items(UINT16), (1, 2), "00010002"),
    (Items(BYTES), (b"a", b""), "0000000161" + "00000000"),
    (Dynamic(Items(UINT16, 2)), (1, 2), "00000004" + "00010002"),
    (Present(UINT16), 9732, "ff2604"),
    (Present(UINT16), None, "00"),
    (Option(UINT16), 9732, "012604"),
    (Option(UINT16), None, "00"),
    (Trailing(TAIL), None, ""),
    (Trailing(TAIL), b"x", "78"),
    (Limited(6, BYTES), b"ab", "00000002" + "6162"),
    (SANDWICH, Triple(9732, b"ab", True), "2604" + "000000026162" + "ff"),
    (FRAMED_TAIL, Triple(1, b"ab", 9732), "01" + "6162" + "2604"),
    (FRAMED_TAIL, Triple(1, b"", 9732), "01" + "2604"),
]


@pytest.mark.parametrize(("kind", "value", "encoded"), KNOWN)
def test_values_have_their_known_bytes_in_both_directions(
    kind: BinaryType[Any], value: Any, encoded: str
) -> None:
    assert kind.encode(value).hex() == encoded
    assert kind.decode(bytes.fromhex(encoded)) == value


@pytest.mark.parametrize(
    ("kind", "value", "encoded"), [k for k in KNOWN if not k[0].variable]
)
def test_delimited_values_may_neither_be_cut_short_nor_followed(
    kind: BinaryType[Any], value: Any, encoded: str
) -> None:
    check_ends(kind, bytes.fromhex(encoded))


# -- integers, floats, flags -----------------------------------------------------------


@integers
def test_an_integer_is_written_up_to_both_ends_of_its_range(kind: Integer) -> None:
    for value in (kind.low, kind.write_high):
        assert kind.decode(kind.encode(value)) == value


@integers
def test_an_integer_one_past_either_end_is_refused_on_write(kind: Integer) -> None:
    for value in (kind.low - 1, kind.write_high + 1, 10**40):
        with pytest.raises(EncodeError) as caught:
            kind.encode(value)
        text = f"value: {value} is not in {kind.low}..{kind.write_high} ({kind.name})"
        assert str(caught.value) == text


@integers
def test_what_is_no_int_is_refused_on_write_and_not_converted(kind: Integer) -> None:
    for value in ("7", 7.0, None):
        with pytest.raises(EncodeError, match="is not an int"):
            kind.encode(value)


def test_the_ranges_are_those_of_the_conventions() -> None:
    assert {k.name: (k.low, k.high, k.size) for k in INTEGERS} == {
        "uint8": (0, 255, 1),
        "int8": (-128, 127, 1),
        "uint16": (0, 65_535, 2),
        "int16": (-32_768, 32_767, 2),
        "int32": (-2_147_483_648, 2_147_483_647, 4),
        "int64": (-9_223_372_036_854_775_808, 9_223_372_036_854_775_807, 8),
        "uint30": (0, 2_147_483_647, 4),
        "int31": (-1_073_741_824, 1_073_741_823, 4),
    }


@integers
def test_only_types_narrower_than_their_width_check_what_they_read(kind: Integer) -> None:
    assert kind.full_range is (kind.name not in ("uint30", "int31"))


def test_a_uint30_is_read_beyond_what_may_be_written_up_to_31_bits() -> None:
    assert UINT30.decode(b"\x40\0\0\0") == 1 << 30
    assert UINT30.decode(b"\x7f\xff\xff\xff") == (1 << 31) - 1
    error = fails(UINT30, b"\x80\0\0\0")
    assert error.fault is DecodeFault.INVALID_INT
    assert str(error) == "message at byte 0: invalid int: 2147483648 is not a uint30"


@pytest.mark.parametrize("encoded", ["40000000", "bfffffff", "7fffffff", "80000000"])
def test_an_int31_outside_31_bits_is_refused_on_read(encoded: str) -> None:
    assert fails(INT31, bytes.fromhex(encoded)).fault is DecodeFault.INVALID_INT


def test_doubles_keep_infinities_and_nan() -> None:
    for value in (math.inf, -math.inf):
        assert FLOAT64.decode(FLOAT64.encode(value)) == value
    assert math.isnan(FLOAT64.decode(FLOAT64.encode(math.nan)))


@pytest.mark.parametrize("value", ["1.5", None, 10**400])
def test_what_no_double_can_hold_is_refused_on_write(value: Any) -> None:
    with pytest.raises(EncodeError, match="is not a float"):
        FLOAT64.encode(value)


def test_any_byte_but_zero_is_read_as_true() -> None:
    flags = Record(Pair, "flags", Field("left", BOOL), Field("right", BOOL))
    for byte in range(1, 256):
        raw = bytes([byte])
        assert BOOL.decode(raw) is True
        # The same inside a run of fixed fields and as a presence byte.
        assert flags.decode(raw + b"\0") == Pair(True, False)
        assert Present(UINT8).decode(raw + b"\x07") == 7


@pytest.mark.parametrize("value", [0, 1, 0xFF, 1.0, "", "no", None, b"\0", []])
def test_what_is_no_bool_is_refused_on_write_and_not_converted(value: Any) -> None:
    with pytest.raises(EncodeError) as caught:
        BOOL.encode(value)
    assert str(caught.value) == f"value: {value!r} is not a bool"
    # The same inside a run of fixed fields.
    with pytest.raises(EncodeError) as caught:
        SANDWICH.encode(Triple(1, b"", value))
    assert str(caught.value) == f"third: {value!r} is not a bool"


@pytest.mark.parametrize("size", [2, 4])
def test_fixed_bytes_of_another_length_are_refused_on_write(size: int) -> None:
    with pytest.raises(EncodeError, match=f"^value: {size} bytes, 3 wanted$"):
        FixedBytes(3).encode(b"x" * size)


@pytest.mark.parametrize("kind", [FixedBytes(3), BYTES, TAIL])
def test_what_is_no_bytes_is_refused_on_write_and_not_converted(
    kind: BinaryType[Any],
) -> None:
    for value in ("abc", [1, 2, 3], 3, None):
        with pytest.raises(EncodeError) as caught:
            kind.encode(value)
        assert str(caught.value) == f"value: {type(value).__name__} is not bytes"
    for same in (bytearray(b"abc"), memoryview(b"abc")):
        assert kind.encode(same) == kind.encode(b"abc")


# -- blocks, lists, options ------------------------------------------------------------


@pytest.mark.parametrize(
    ("prefix", "fault"),
    [
        (4, NOT_ENOUGH),
        (1 << 30, NOT_ENOUGH),
        ((1 << 31) - 1, NOT_ENOUGH),
        (1 << 31, DecodeFault.INVALID_INT),
        ((1 << 32) - 1, DecodeFault.INVALID_INT),
    ],
)
@pytest.mark.parametrize(
    "kind",
    [BYTES, Dynamic(TAIL), Dynamic(Items(UINT8)), Dynamic(Items(BYTES, 4))],
    ids=["bytes", "tail", "list", "bounded list"],
)
def test_a_length_prefix_beyond_the_data_is_refused_without_allocating(
    kind: BinaryType[Any], prefix: int, fault: DecodeFault
) -> None:
    data = prefix.to_bytes(4, "big") + b"abc"
    tracemalloc.start()
    try:
        error = fails(kind, data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert error.fault is fault
    assert error.offset == 0
    assert peak < 100_000


def test_a_length_prefix_must_fit_its_block_not_only_the_data() -> None:
    # The outer block has 5 bytes, the inner prefix asks for 2, 1 is left in the block.
    error = fails(Dynamic(BYTES), bytes.fromhex("00000005 00000002 61 62"))
    assert error.fault is NOT_ENOUGH
    assert error.offset == 4
    assert error.detail == "length prefix says 2 bytes, 1 left"


def test_bytes_left_over_in_a_block_are_refused_where_they_begin() -> None:
    error = fails(Dynamic(UINT16), bytes.fromhex("00000003 2604 00"))
    assert (error.fault, error.offset) == (DecodeFault.EXTRA_BYTES, 6)
    assert str(error) == "message at byte 6: extra bytes: 1 left over"


def test_a_value_does_not_read_past_its_block_into_what_follows() -> None:
    error = fails(Dynamic(UINT16), bytes.fromhex("00000001 26 04"))
    assert (error.fault, error.offset) == (NOT_ENOUGH, 4)
    assert str(error) == "message at byte 4: not enough data: 2 bytes wanted, 1 left"


def test_a_length_that_no_prefix_can_hold_is_refused_on_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert binary.UINT30_MAX == (1 << 30) - 1
    monkeypatch.setattr(blocks, "UINT30_MAX", 3)
    assert BYTES.encode(b"abc") == b"\0\0\0\3abc"
    with pytest.raises(EncodeError, match=r"^value: 4 bytes do not fit a uint30"):
        BYTES.encode(b"abcd")


def test_a_list_takes_as_many_elements_as_allowed_and_not_one_more() -> None:
    kind = Items(BYTES, 2)
    two = (b"a", b"b")
    assert kind.decode(kind.encode(two)) == two
    with pytest.raises(EncodeError, match=r"^value: 3 elements, at most 2 allowed$"):
        kind.encode((b"a", b"b", b"c"))
    error = fails(kind, Items(BYTES).encode((b"a", b"b", b"c")))
    assert error.fault is DecodeFault.LIST_TOO_LONG
    assert (error.path, error.offset) == ("[2]", 10)
    assert error.detail == "more than 2 elements"


def test_the_element_too_many_is_not_even_read() -> None:
    # Its length prefix is a lie; the count is what is wrong.
    data = Items(BYTES).encode((b"a", b"b")) + b"\xff\xff\xff\xff"
    assert fails(Items(BYTES, 2), data).fault is DecodeFault.LIST_TOO_LONG


def test_a_list_of_fixed_elements_is_refused_by_its_size_before_any_is_read() -> None:
    assert Items(UINT16, 2).decode(bytes(4)) == (0, 0)
    error = fails(Items(UINT16, 2), bytes(5))
    assert (error.fault, error.offset, error.path) == (TOO_BIG, 0, "")
    assert error.detail == "5 bytes of elements, at most 4 allowed"


def test_a_list_without_a_limit_of_its_own_goes_on_to_the_end_of_the_block() -> None:
    assert Items(UINT8).decode(bytes(1000)) == (0,) * 1000
    assert Items(UINT8).encode((1,) * 1000) == b"\1" * 1000
    assert Items(UINT8).max_size is None


def test_an_element_cut_short_is_named_by_its_index() -> None:
    error = fails(Items(UINT16), bytes(5))
    assert (error.fault, error.path, error.offset) == (NOT_ENOUGH, "[2]", 4)


def test_an_element_that_cannot_be_written_is_named_by_its_index() -> None:
    with pytest.raises(EncodeError) as caught:
        Items(UINT8).encode((1, 2, 256))
    assert caught.value.path == "[2]"


@pytest.mark.parametrize("item", [TAIL, EMPTY, Items(UINT8)])
def test_lists_of_elements_that_do_not_end_or_take_no_bytes_cannot_be_declared(
    item: BinaryType[Any],
) -> None:
    with pytest.raises(ValueError, match="must delimit themselves and consume bytes"):
        Items(item)


@pytest.mark.parametrize("tag", [0x02, 0x7F, 0xFF])
def test_an_option_admits_no_tag_but_zero_and_one(tag: int) -> None:
    error = fails(Dynamic(Option(UINT8)), bytes([0, 0, 0, 2, tag, 7]))
    assert (error.fault, error.offset) == (DecodeFault.UNEXPECTED_TAG, 4)
    assert error.detail == f"{tag:#x} is no option tag"


def test_a_trailing_field_is_absent_exactly_when_its_block_is_at_its_end() -> None:
    kind = Record(Pair, "r", Field("left", UINT8), Field("right", Trailing(TAIL)))
    assert kind.decode(b"\1") == Pair(1, None)
    assert kind.decode(b"\1x") == Pair(1, b"x")
    assert kind.encode(Pair(1, None)) == b"\1"


# -- limits ----------------------------------------------------------------------------


def test_a_limit_admits_its_own_number_of_bytes_and_not_one_more() -> None:
    kind = Limited(6, BYTES)
    assert kind.decode(kind.encode(b"ab")) == b"ab"
    with pytest.raises(EncodeError, match=r"^value: 7 bytes, limit 6$"):
        kind.encode(b"abc")
    error = fails(kind, BYTES.encode(b"abc"))
    assert (error.fault, error.offset) == (TOO_BIG, 0)
    assert error.detail == "7 bytes or more, limit 6"


def test_a_limit_does_not_reach_what_follows_the_value() -> None:
    kind = Record(Pair, "r", Field("left", Limited(6, BYTES)), Field("right", TAIL))
    data = BYTES.encode(b"ab") + b"and more"
    assert kind.decode(data) == Pair(b"ab", b"and more")


def test_a_value_that_fills_its_block_is_held_against_the_limit_at_once() -> None:
    kind = Limited(3, TAIL)
    assert kind.decode(b"abc") == b"abc"
    error = fails(kind, b"abcd")
    assert (error.fault, error.detail) == (TOO_BIG, "4 bytes or more, limit 3")


def test_nested_length_prefixes_count_against_the_limit() -> None:
    kind = Limited(9, Dynamic(BYTES))
    assert kind.decode(kind.encode(b"a")) == b"a"
    assert fails(kind, Dynamic(BYTES).encode(b"ab")).fault is TOO_BIG


def test_the_end_of_the_data_is_not_blamed_on_a_limit() -> None:
    assert fails(Limited(6, BYTES), b"\0\0\0\2a").fault is NOT_ENOUGH
    assert fails(Limited(100, INT64), bytes(7)).fault is NOT_ENOUGH


def test_other_faults_inside_a_limit_stay_what_they_are() -> None:
    kind = Limited(5, Dynamic(Option(UINT8)))
    assert (
        fails(kind, bytes.fromhex("00000001 02 ff")).fault is DecodeFault.UNEXPECTED_TAG
    )
    # An inner block that is too small for its value, but not larger than the limit.
    kind = Limited(100, Dynamic(UINT16))
    assert fails(kind, bytes.fromhex("00000001 26") + bytes(200)).fault is NOT_ENOUGH


def test_an_inner_block_that_ends_at_the_limit_keeps_its_own_fault() -> None:
    # 10 bytes are allowed and 10 are used; the value inside wants 2 more than its block
    # has.  Larger or smaller limits call this what it is.
    data = bytes.fromhex("00000006") + bytes(6) + b"more"
    assert fails(Limited(11, Dynamic(INT64)), data).fault is NOT_ENOUGH
    assert fails(Limited(10, Dynamic(INT64)), data).fault is NOT_ENOUGH


@pytest.mark.parametrize(("outer", "inner"), [(6, 9), (9, 6), (6, 6)])
def test_of_two_limits_the_smaller_one_decides(outer: int, inner: int) -> None:
    kind = Limited(outer, Limited(inner, BYTES))
    assert kind.decode(kind.encode(b"ab")) == b"ab"
    error = fails(kind, BYTES.encode(b"abc") + b"more")
    assert (error.fault, error.detail) == (TOO_BIG, "7 bytes or more, limit 6")


def test_a_limit_is_over_once_its_value_is_read() -> None:
    kind = Record(
        Pair, "r", Field("left", Limited(9, BYTES)), Field("right", Present(INT64))
    )
    # What is cut short here is the message, long after the limit.
    error = fails(kind, BYTES.encode(b"a") + b"\xff" + bytes(7))
    assert (error.fault, error.path) == (NOT_ENOUGH, "right")
    error = fails(Limited(12, kind), BYTES.encode(b"a") + b"\xff" + bytes(8))
    assert error.fault is TOO_BIG


def test_the_bound_of_a_limit_is_the_smaller_of_both() -> None:
    assert Limited(5, BYTES).max_size == 5
    assert Limited(5, UINT16).max_size == 2
    assert Limited(1, UINT16).max_size == 1


# -- conversions -----------------------------------------------------------------------


def _below_seven(value: int) -> int:
    if value >= 7:
        raise ValueError(f"{value} is 7 or more")
    return value


SMALL = Mapped("small", UINT8, _below_seven, _below_seven)


def test_a_value_that_its_conversion_refuses_is_an_error_both_ways() -> None:
    assert SMALL.decode(SMALL.encode(6)) == 6
    error = fails(Dynamic(SMALL), b"\0\0\0\1\7")
    assert (error.fault, error.offset) == (DecodeFault.INVALID_VALUE, 4)
    assert error.detail == "7 is 7 or more"
    with pytest.raises(EncodeError, match=r"^value: 7 is 7 or more$"):
        SMALL.encode(7)


@pytest.mark.parametrize(
    ("dump", "complaint"),
    [
        (lambda value: value.real.nothing, "'int' object has no attribute 'nothing'"),
        (lambda value: len(value), "object of type 'int' has no len()"),
        (lambda value: int("x"), "invalid literal for int() with base 10: 'x'"),
    ],
    ids=["attribute", "type", "value"],
)
def test_a_value_of_another_class_than_its_conversion_wants_is_refused_on_write(
    dump: Any, complaint: str
) -> None:
    table = Record(Lone, "lone", Field("item", Mapped("odd", UINT8, int, dump)))
    with pytest.raises(EncodeError) as caught:
        table.encode(Lone(7))
    assert (caught.value.path, str(caught.value)) == ("item", f"item: {complaint}")


def test_another_error_of_a_conversion_is_not_taken_for_a_bad_value() -> None:
    def broken(value: int) -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Mapped("broken", UINT8, int, broken).encode(7)


def test_a_conversion_has_the_size_of_what_is_on_the_wire() -> None:
    assert (SMALL.size, SMALL.max_size, SMALL.variable) == (1, 1, False)
    assert Mapped("m", TAIL, bytes, bytes).variable
    assert SMALL.describe() == {"type": "uint8", "size": 1, "as": "small"}


# -- records ---------------------------------------------------------------------------


def test_a_record_refuses_a_table_that_differs_from_its_class() -> None:
    for fields in (
        (Field("right", UINT8), Field("left", UINT8)),
        (Field("left", UINT8),),
        (Field("left", UINT8), Field("right", UINT8), Field("more", UINT8)),
    ):
        with pytest.raises(ValueError, match=r"^r: the table is not in the order of"):
            Record(Pair, "r", *fields)


def test_only_fixed_fields_may_follow_one_that_fills_the_block() -> None:
    with pytest.raises(
        ValueError, match=r"^r: only fixed-size fields may follow a filler"
    ):
        Record(Pair, "r", Field("left", TAIL), Field("right", BYTES))
    with pytest.raises(
        ValueError, match=r"^r: only fixed-size fields may follow a filler"
    ):
        Record(Pair, "r", Field("left", TAIL), Field("right", TAIL))


def test_a_filler_leaves_room_for_what_follows_it() -> None:
    assert fails(FRAMED_TAIL, b"\1\2").fault is NOT_ENOUGH
    two = Record(Pair, "r", Field("left", Items(UINT16)), Field("right", UINT8))
    assert two.decode(b"\0\1\0\2\3") == Pair((1, 2), 3)
    error = fails(two, b"\0\1\0\3")  # the last byte is the other field's
    assert (error.fault, error.path, error.offset) == (NOT_ENOUGH, "left[1]", 2)


def test_a_filler_that_leaves_something_is_refused() -> None:
    # The type says that it fills its block, and this value does not.
    kind = Record(Pair, "r", Field("left", Trailing(UINT8)), Field("right", UINT8))
    assert kind.decode(b"\1\2") == Pair(1, 2)
    assert kind.decode(b"\2") == Pair(None, 2)
    error = fails(kind, b"\1\2\3")
    assert (error.fault, error.path, error.offset) == (
        DecodeFault.EXTRA_BYTES,
        "left",
        1,
    )


@pytest.mark.parametrize(
    ("size", "path", "offset"),
    [
        (0, "first", 0),
        (1, "first", 0),
        (2, "second", 2),
        (6, "second", 2),
        (8, "third", 8),
    ],
)
def test_a_record_names_the_field_that_is_cut_short(
    size: int, path: str, offset: int
) -> None:
    data = SANDWICH.encode(Triple(9732, b"ab", True))
    error = fails(SANDWICH, data[:size])
    assert (error.fault, error.path, error.offset) == (NOT_ENOUGH, path, offset)


def test_the_second_field_of_a_fixed_run_is_named_too() -> None:
    kind = Record(Pair, "r", Field("left", UINT16), Field("right", FixedBytes(4)))
    error = fails(kind, bytes(5))
    assert (error.path, error.offset) == ("right", 2)
    assert error.detail == "4 bytes wanted, 3 left"


def test_a_run_that_fits_has_nothing_to_explain() -> None:
    kind = Record(Pair, "r", Field("left", UINT8), Field("right", UINT8))
    ((_, _, run),) = kind._steps
    assert isinstance(run, record._Run)
    reader = Reader(b"\1\2")
    run.explain(reader)
    assert reader.left == 0


def test_paths_join_fields_and_indices_from_the_outside_inwards() -> None:
    good = SANDWICH.encode(Triple(1, b"a", True))
    data = b"\0" + BYTES.encode(good + good[:5])
    error = fails(NESTED, data)
    assert error.path == "right[1].second"
    assert error.offset == 1 + 4 + len(good) + 2
    assert str(error).startswith("right[1].second at byte 15: not enough data: ")


def test_errors_of_encoding_carry_the_same_paths() -> None:
    bad = Pair(0, (Triple(1, b"", True), Triple(70_000, b"", True)))
    with pytest.raises(EncodeError) as caught:
        NESTED.encode(bad)
    assert caught.value.path == "right[1].first"
    assert str(caught.value) == ("right[1].first: 70000 is not in 0..65535 (uint16)")


def test_a_class_that_refuses_its_values_makes_a_decoding_error_where_it_begins() -> None:
    assert ORDERED.decode(b"\1\2") == Ordered(1, 2)
    error = fails(Dynamic(ORDERED), b"\0\0\0\2\2\1")
    assert (error.fault, error.offset) == (DecodeFault.INVALID_VALUE, 4)
    assert error.detail == "2 > 1"


def test_records_know_their_size_and_their_bound() -> None:
    assert (ORDERED.size, ORDERED.max_size, ORDERED.variable) == (2, 2, False)
    assert (SANDWICH.size, SANDWICH.max_size) == (None, None)
    bounded = Record(Lone, "r", Field("item", Dynamic(Items(UINT16, 3))))
    assert (bounded.size, bounded.max_size) == (None, 10)
    assert FRAMED_TAIL.variable


# -- unions ----------------------------------------------------------------------------

EITHER: Union[Any] = Union(
    "either",
    UINT16,
    Case(0x0001, Lone, Record(Lone, "lone", Field("item", UINT8)), "one"),
    Case(0x0102, Pair, NESTED, "two"),
)


def test_a_union_writes_the_tag_of_the_class() -> None:
    assert EITHER.encode(Lone(7)) == b"\0\1\7"
    assert EITHER.decode(b"\1\2\0\0\0\0\0") == Pair(0, ())


def test_an_unknown_tag_is_refused_at_the_tag() -> None:
    error = fails(Dynamic(EITHER), b"\0\0\0\3\0\2\7")
    assert (error.fault, error.offset) == (DecodeFault.UNEXPECTED_TAG, 4)
    assert error.detail == "0x2 is no tag of either"


def test_a_value_of_no_case_is_refused_on_write() -> None:
    for value in (Triple(1, 2, 3), None, 7):
        with pytest.raises(EncodeError, match=r"is no case of either$"):
            EITHER.encode(value)


def test_a_union_is_bounded_when_all_its_cases_are() -> None:
    assert EITHER.max_size is None
    lone = Record(Lone, "lone", Field("item", UINT8))
    assert Union("u", UINT16, Case(1, Lone, lone)).max_size == 3
    assert not EITHER.variable
    tail = Record(Lone, "lone", Field("item", TAIL))
    assert Union("u", UINT16, Case(1, Lone, tail)).variable


# -- layouts ---------------------------------------------------------------------------


def test_every_type_describes_itself_as_plain_data() -> None:
    assert [kind.describe() for kind in (UINT16, FLOAT64, BOOL, EMPTY, TAIL)] == [
        {"type": "uint16", "size": 2},
        {"type": "float64", "size": 8},
        {"type": "bool", "size": 1},
        {"type": "empty", "size": 0},
        {"type": "bytes", "fills": "block"},
    ]
    assert FixedBytes(3).describe() == {"type": "bytes", "size": 3}
    assert BYTES.describe() == {
        "type": "dynamic",
        "prefix": "uint30",
        "of": {"type": "bytes", "fills": "block"},
    }
    u8 = {"type": "uint8", "size": 1}
    assert Items(UINT8).describe() == {"type": "list", "fills": "block", "of": u8}
    assert Items(UINT8, 3).describe() == {
        "type": "list",
        "fills": "block",
        "max_length": 3,
        "of": u8,
    }
    assert Limited(9, UINT8).describe() == u8 | {"max_bytes": 9}
    assert Present(UINT8).describe() == {"type": "optional", "present": "ff", "of": u8}
    assert Option(UINT8).describe() == {"type": "optional", "present": "01", "of": u8}
    assert Trailing(UINT8).describe() == {
        "type": "optional",
        "present": "any byte",
        "of": u8,
    }


def test_a_record_lists_its_fields_with_offsets_as_long_as_they_are_fixed() -> None:
    layout = SANDWICH.describe()
    assert [(f["name"], f.get("offset"), f["doc"]) for f in layout["fields"]] == [
        ("first", 0, "a number"),
        ("second", 2, "a text"),
        ("third", None, "a flag"),
    ]
    assert layout["type"] == "record"
    assert "size" not in layout
    assert "max_bytes" not in layout
    assert ORDERED.describe()["size"] == 2
    bounded = Record(Lone, "r", Field("item", Dynamic(Items(UINT16, 3))))
    assert bounded.describe()["max_bytes"] == 10


def test_a_union_lists_its_cases_by_tag() -> None:
    layout = EITHER.describe()
    assert (layout["type"], layout["name"], layout["tag"]) == (
        "union",
        "either",
        "uint16",
    )
    assert [(c["tag"], c["doc"]) for c in layout["cases"]] == [(1, "one"), (0x102, "two")]


def test_a_type_of_ones_own_must_say_how_it_is_read_written_and_described() -> None:
    kind: BinaryType[Any] = BinaryType()
    with pytest.raises(NotImplementedError):
        kind.decode(b"")
    with pytest.raises(NotImplementedError):
        kind.encode(None)
    with pytest.raises(NotImplementedError):
        kind.describe()


def test_the_faults_have_stable_names() -> None:
    assert [fault.value for fault in DecodeFault] == [
        "not_enough_data",
        "extra_bytes",
        "unexpected_tag",
        "invalid_int",
        "size_limit_exceeded",
        "list_too_long",
        "invalid_value",
    ]


def test_errors_without_a_field_say_so_plainly() -> None:
    assert str(EncodeError("too big")) == "value: too big"
    assert str(DecodeError(DecodeFault.EXTRA_BYTES, 3, "1 left over")) == (
        "message at byte 3: extra bytes: 1 left over"
    )
    assert isinstance(EncodeError(""), ValueError)
    assert isinstance(DecodeError(DecodeFault.EXTRA_BYTES, 3, ""), ValueError)


def test_a_reader_may_begin_and_end_anywhere_in_the_data() -> None:
    reader = Reader(b"abcdef", 2, 5)
    assert reader.left == 3
    assert reader.take(2) == b"cd"
    with pytest.raises(DecodeError) as caught:
        reader.take(2)
    assert (caught.value.fault, caught.value.offset) == (NOT_ENOUGH, 4)
    with pytest.raises(DecodeError):
        reader.finish()
    assert reader.take(1) == b"e"
    reader.finish()


# -- properties ------------------------------------------------------------------------

u16s = st.integers(0, 0xFFFF)
sandwiches = st.builds(Triple, u16s, st.binary(max_size=9), st.booleans())
VALUES: dict[str, tuple[BinaryType[Any], st.SearchStrategy[Any]]] = {
    **{k.name: (k, st.integers(k.low, k.write_high)) for k in INTEGERS},
    "float64": (FLOAT64, st.floats(allow_nan=False)),
    "bool": (BOOL, st.booleans()),
    "fixed": (FixedBytes(5), st.binary(min_size=5, max_size=5)),
    "bytes": (BYTES, st.binary()),
    "block": (Dynamic(SANDWICH), sandwiches),
    "list": (Dynamic(Items(UINT16, 4)), st.lists(u16s, max_size=4).map(tuple)),
    "present": (Present(BYTES), st.none() | st.binary()),
    "option": (Option(BYTES), st.none() | st.binary()),
    "limited": (Limited(12, BYTES), st.binary(max_size=8)),
    "sandwich": (SANDWICH, sandwiches),
    "nested": (
        NESTED,
        st.builds(Pair, st.integers(0, 255), st.lists(sandwiches, max_size=3).map(tuple)),
    ),
    "union": (EITHER, st.builds(Lone, st.integers(0, 255))),
}
every = pytest.mark.parametrize(("kind", "values"), VALUES.values(), ids=VALUES)


@every
def test_every_value_survives_the_way_to_bytes_and_back(
    kind: BinaryType[Any], values: st.SearchStrategy[Any]
) -> None:
    @given(values)
    def law(value: Any) -> None:
        check_ends(kind, check_round_trip(kind, value))

    law()


@every
def test_arbitrary_bytes_decode_or_raise_a_decode_error(
    kind: BinaryType[Any], values: st.SearchStrategy[Any]
) -> None:
    # Read beyond what is written, and equal to nothing when it is not a number.
    one_way = kind in (UINT30, FLOAT64)

    @given(st.binary(max_size=40 if kind.size is None else kind.size + 1))
    def law(data: bytes) -> None:
        if one_way:
            decoded(kind, data)
        else:
            check_total(kind, data)

    law()


@given(st.integers())
def test_integers_are_written_or_refused_with_an_encode_error(value: int) -> None:
    for kind in INTEGERS:
        try:
            data = kind.encode(value)
        except EncodeError:
            assert not kind.low <= value <= kind.write_high
        else:
            assert kind.low <= value <= kind.write_high
            assert int.from_bytes(data, "big", signed=kind.low < 0) == value


# -- remembering -----------------------------------------------------------------------


@pytest.mark.parametrize(("size", "kept"), [(63, 1), (64, 1), (65, 0), (60_000, 0)])
def test_only_short_values_are_remembered(size: int, kept: int) -> None:
    kind = Remembered(BYTES, values=8, size=64)
    data = (size - 4).to_bytes(4, "big") + bytes(size - 4)
    for _ in range(2):
        assert kind.decode(data) == bytes(size - 4)
    assert kind._decode.cache_info().currsize == kept


def test_no_more_values_are_remembered_than_was_said() -> None:
    kind = Remembered(BYTES, values=3, size=64)
    for value in range(10):
        kind.decode(b"\0\0\0\1" + bytes([value]))
    assert kind._decode.cache_info().currsize == 3


def test_what_does_not_decode_is_not_remembered_and_told_in_its_place() -> None:
    pair = Record(
        Pair, "r", Field("left", UINT8), Field("right", Remembered(BYTES, 3, 64))
    )
    for _ in range(2):
        error = fails(pair, bytes.fromhex("01 00000009 aa"))
        assert (error.path, error.offset, error.fault) == ("right", 1, NOT_ENOUGH)
