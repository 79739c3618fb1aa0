"""The messages of an established connection: known bytes, limits, early refusal.

Recorded from a reference node of May 2019; limits and their table from TezEdge and the
reference node of 2026.
"""

from __future__ import annotations

import re
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spec_strategies import Raw, check_ends, check_total, controls, fails
from vectors import RECORDED_INITIATOR, SELF_MADE_A, SELF_MADE_B, SELF_MADE_SWAP_REQUEST

from tezos_p2p.spec import (
    Address,
    Advertise,
    Bootstrap,
    ControlMessage,
    DecodeError,
    DecodeFault,
    Disconnect,
    EncodeError,
    MessageCodec,
    PeerId,
    Point,
    SwapAck,
    SwapRequest,
    message,
)
from tezos_p2p.spec.message import CONTROL, MESSAGE_MAX_SIZE
from tezos_p2p.spec.record import Record

_hex = bytes.fromhex
CODEC = MessageCodec(Raw({0x10: 1000, 0x11: 0, 0xFFFF: 1 << 20}))
BIG = MessageCodec(Raw({0x10: MESSAGE_MAX_SIZE - 6}))


def points(*texts: str) -> tuple[Point, ...]:
    return tuple(map(Point.parse, texts))


MESSAGES: list[tuple[Any, str]] = [
    # Recorded from a reference node of May 2019.
    (Disconnect(), "000000020001"),
    (Bootstrap(), "000000020002"),
    (Advertise(), "000000020003"),
    (
        Advertise(points("127.0.0.1:9732")),
        "0000001400030000000e3132372e302e302e313a39373332",
    ),
    (
        Advertise(points("[2001:db8::1]:19732")),
        "000000190003000000135b323030313a6462383a3a315d3a3139373332",
    ),
    (
        Advertise(
            points(
                "[::1]:1",
                "192.168.1.254:65535",
                "[2001:db8:0:1::1]:443",
                "[fe80:1:2:3:4:5:6:7]:9732",
                "[2001:db8:0:1:1:1:1:1]:7",
            )
        ),
        "000000760003000000075b3a3a315d3a31000000133139322e3136382e312e3235343a3635353335"
        "000000155b323030313a6462383a303a313a3a315d3a343433000000195b666538303a313a323a33"
        "3a343a353a363a375d3a39373332000000185b323030313a6462383a303a313a313a313a313a315d"
        "3a37",
    ),
    (
        SwapRequest(
            Point.parse("10.0.0.1:9732"), PeerId.parse("idr3dL5v3jdobyPbZPVbWekUdBzJyY")
        ),
        "0000002300040000000d31302e302e302e313a393733322c82d6ae4bb767b5c5d1937c68a4dbc1",
    ),
    (
        SwapRequest(
            Point.parse("[2001:db8::2]:9732"),
            PeerId.parse("idtLoJX941ETMceBtUjAZH6kStgCph"),
        ),
        "000000280004000000125b323030313a6462383a3a325d3a39373332d151f94e913012ee77d1fa9e"
        "42d1538f",
    ),
    (
        SwapAck(
            Point.parse("10.0.0.2:9733"), PeerId.parse("idtYTfTAvS6fhH9WvkXFtRaK6Cij32")
        ),
        "0000002300050000000d31302e302e302e323a39373333dfc08072bd9107d74e08afb2cc3d398d",
    ),
    ((0x10, b""), "000000020010"),
    ((0x10, b"hello"), "00000007001068656c6c6f"),
    ((0x10, b"\0\0\0\5hello"), "0000000b00100000000568656c6c6f"),
    ((0x10, b"\0\0\0\0"), "00000006001000000000"),
    # TezEdge's tests of Advertise, with size and tag in front.
    (
        Advertise(
            points(
                "[fe80::e828:209d:20e:c0ae]:375",
                "234.123.124.91:9876",
                "123.123.124.21:9876",
            )
        ),
        "0000005200030000001e5b666538303a3a653832383a323039643a3230653a633061655d3a333735"
        "000000133233342e3132332e3132342e39313a39383736000000133132332e3132332e3132342e32"
        "313a39383736",
    ),
    # A recorded Get_current_branch: a message of the application here.
    ((0x10, _hex("9caecab9")), RECORDED_INITIATOR.message.plaintext.hex()),
    # Self-made.
    (Bootstrap(), SELF_MADE_A.message.plaintext.hex()),
    (
        Advertise(points("127.0.0.1:9732", "[::1]:9733")),
        SELF_MADE_B.message.plaintext.hex(),
    ),
    (
        SwapRequest(
            Point.parse("127.0.0.1:9732"), PeerId.parse("idtbfQ2moYtFctrhUzWvujTJ5nrskD")
        ),
        SELF_MADE_SWAP_REQUEST.hex(),
    ),
]


@pytest.mark.parametrize(("value", "encoded"), MESSAGES)
def test_messages_have_their_recorded_bytes(value: Any, encoded: str) -> None:
    assert CODEC.encode(value).hex() == encoded
    assert CODEC.decode(_hex(encoded)) == value
    check_ends(CODEC, _hex(encoded))


@pytest.mark.parametrize(
    ("encoded", "fault", "offset", "path"),
    [
        # Refused by a reference node of May 2019 too.
        ("000000020000", DecodeFault.UNEXPECTED_TAG, 4, "tag"),
        ("000000020006", DecodeFault.UNEXPECTED_TAG, 4, "tag"),
        ("000000020012", DecodeFault.UNEXPECTED_TAG, 4, "tag"),
        ("00000003000100", DecodeFault.SIZE_LIMIT_EXCEEDED, 0, "size"),
        ("00000003000200", DecodeFault.SIZE_LIMIT_EXCEEDED, 0, "size"),
        ("0000000100", DecodeFault.NOT_ENOUGH_DATA, 0, "size"),
        ("00000000", DecodeFault.NOT_ENOUGH_DATA, 0, "size"),
        (
            "0000000f0003000000093132372e302e302e31",
            DecodeFault.INVALID_VALUE,
            10,
            "points[0]",
        ),
        # TezEdge: two tags in one block.
        ("0000000400020001", DecodeFault.SIZE_LIMIT_EXCEEDED, 0, "size"),
        # Payloads that do not fill what is announced for them.
        ("0000000300030000", DecodeFault.EXTRA_BYTES, 7, ""),
        ("00000003000300", DecodeFault.NOT_ENOUGH_DATA, 6, "points[0]"),
        ("0000000600040000000e", DecodeFault.NOT_ENOUGH_DATA, 6, "point"),
    ],
)
def test_bytes_that_must_fail_do_at_the_right_place(
    encoded: str, fault: DecodeFault, offset: int, path: str
) -> None:
    error = fails(CODEC, _hex(encoded))
    assert (error.fault, error.offset, error.path) == (fault, offset, path)


def test_a_swap_names_the_field_that_is_wrong_and_its_offset() -> None:
    point = "0000000d31302e302e302e313a39373332"
    error = fails(CODEC, _hex("00000022" + "0004" + point + "00" * 15))
    assert (error.fault, error.path, error.offset) == (
        DecodeFault.NOT_ENOUGH_DATA,
        "peer_id",
        23,
    )
    error = fails(CODEC, _hex("00000024" + "0005" + point + "00" * 17))
    assert (error.fault, error.path, error.offset) == (DecodeFault.EXTRA_BYTES, "", 39)
    error = fails(CODEC, _hex("00000006" + "0004" + "00000000"))
    assert (error.fault, error.path, error.offset) == (
        DecodeFault.INVALID_VALUE,
        "point",
        10,
    )


def test_a_bad_point_of_many_is_named_by_its_index_and_offset() -> None:
    good = CODEC.encode(Advertise(points("127.0.0.1:9732")))[6:]
    payload = good * 3 + b"\0\0\0\7foo:123"
    data = (len(payload) + 2).to_bytes(4, "big") + b"\0\3" + payload
    assert str(fails(CODEC, data)) == (
        "points[3] at byte 64: invalid value: 'foo' is no IPv4 or IPv6 address"
    )
    with pytest.raises(EncodeError) as caught:
        CODEC.encode(Advertise((*points("[::]:1", "[::]:2"), Point(Address(0), 65_536))))
    assert str(caught.value) == "points[2]: port 65536 is not in 0..65535"


# -- headers, as they arrive -----------------------------------------------------------


@pytest.mark.parametrize("size", range(4))
def test_less_than_a_size_says_nothing_yet(size: int) -> None:
    assert CODEC.expect(b"\xff" * size) is None


@pytest.mark.parametrize("size", [0, 1])
@pytest.mark.parametrize("more", ["", "00", "0010", "00100000"])
def test_a_size_without_room_for_a_tag_is_refused_after_four_bytes(
    size: int, more: str
) -> None:
    with pytest.raises(DecodeError) as caught:
        CODEC.expect(size.to_bytes(4, "big") + _hex(more))
    assert str(caught.value) == (
        f"size at byte 0: not enough data: size {size} has no room for a tag"
    )


@pytest.mark.parametrize("size", range(2, 8))
def test_small_sizes_wait_for_their_tag_and_then_say_the_whole(size: int) -> None:
    head = size.to_bytes(4, "big")
    assert CODEC.expect(head) is None
    assert CODEC.expect(head + b"\0") is None
    assert CODEC.expect(head + b"\0\x10") == size + 4
    assert CODEC.expect(head + b"\0\x10and what follows") == size + 4


def test_100_mib_are_read_and_one_byte_more_is_refused_after_four() -> None:
    assert MESSAGE_MAX_SIZE == 104_857_600
    most = (MESSAGE_MAX_SIZE - 4).to_bytes(4, "big")
    assert BIG.expect(most) is None
    assert BIG.expect(most + b"\0\x10") == MESSAGE_MAX_SIZE
    for size in (MESSAGE_MAX_SIZE - 3, 1 << 30, (1 << 31) - 1, 1 << 31, (1 << 32) - 1):
        for more in (b"", b"\0\x10"):
            with pytest.raises(DecodeError) as caught:
                BIG.expect(size.to_bytes(4, "big") + more)
            error = caught.value
            assert (error.fault, error.offset, error.path) == (
                DecodeFault.SIZE_LIMIT_EXCEEDED,
                0,
                "size",
            )
            assert error.detail == f"message of {size + 4} bytes, limit 104857600"


def test_an_unknown_tag_is_refused_after_six_bytes_whatever_the_size() -> None:
    for tag in (0x0000, 0x0006, 0x000F, 0x0012, 0xFFFE):
        with pytest.raises(DecodeError) as caught:
            CODEC.expect(b"\0\0\xff\xff" + tag.to_bytes(2, "big"))
        assert str(caught.value) == (
            f"tag at byte 4: unexpected tag: unknown tag {tag:#06x}"
        )


#: Most bytes of each message, size and tag included: TezEdge's table agrees.
TOTALS = {0x01: 6, 0x02: 6, 0x03: 5106, 0x04: 73, 0x05: 73, 0x10: 1006, 0x11: 6}


@pytest.mark.parametrize(("tag", "total"), TOTALS.items())
def test_every_tag_has_its_limit_and_not_one_byte_more(tag: int, total: int) -> None:
    assert CODEC.limits[tag] == total
    raw = tag.to_bytes(2, "big")
    assert CODEC.expect((total - 4).to_bytes(4, "big") + raw) == total
    with pytest.raises(DecodeError) as caught:
        CODEC.expect((total - 3).to_bytes(4, "big") + raw)
    assert str(caught.value) == (
        f"size at byte 0: size limit exceeded: "
        f"message {tag:#06x} of {total + 1} bytes, limit {total}"
    )


LONGEST = "[fe80:e828:209d:20ed:c0ae:fe80:e828:209d]:12345"


def test_a_hundred_of_the_longest_points_pass_and_one_more_does_not() -> None:
    # TezEdge's tests of Advertise.
    hundred = Advertise(points(LONGEST) * 100)
    data = CODEC.encode(hundred)
    assert len(data) == 5106
    assert CODEC.decode(data) == hundred
    more = (5100 + 51 + 2).to_bytes(4, "big") + data[4:] + data[-51:]
    assert fails(CODEC, more).fault is DecodeFault.SIZE_LIMIT_EXCEEDED
    with pytest.raises(EncodeError) as caught:
        CODEC.encode(Advertise(points(LONGEST) * 101))
    assert str(caught.value) == "points: 101 elements, at most 100 allowed"


def test_a_hundred_and_one_short_points_are_too_many_too() -> None:
    data = CODEC.encode(Advertise(points("[::]:1") * 100))
    assert len(CODEC.decode(data).points) == 100
    more = (len(data) - 4 + 10).to_bytes(4, "big") + data[4:] + data[-10:]
    error = fails(CODEC, more)
    assert (error.fault, error.path, error.offset) == (
        DecodeFault.LIST_TOO_LONG,
        "points[100]",
        len(data),
    )


def test_a_point_of_48_characters_is_too_long_in_a_message() -> None:
    point = b"\0\0\0\x30" + LONGEST.replace(":12345", ":012345").encode()
    error = fails(CODEC, b"\0\0\0\x36\0\3" + point)
    assert (error.fault, error.path, error.offset) == (
        DecodeFault.SIZE_LIMIT_EXCEEDED,
        "points[0]",
        6,
    )


def test_the_longest_swap_fits_its_limit_exactly() -> None:
    swap = SwapRequest(Point.parse(LONGEST), PeerId(bytes(16)))
    assert len(CODEC.encode(swap)) == 73


# -- the application's messages --------------------------------------------------------


def test_an_application_message_is_taken_up_to_its_limit_on_both_ways() -> None:
    data = CODEC.encode((0x10, bytes(1000)))
    assert CODEC.decode(data) == (0x10, bytes(1000))
    with pytest.raises(EncodeError, match=r"^value: message 0x0010 of 1007 bytes, limit"):
        CODEC.encode((0x10, bytes(1001)))
    assert CODEC.encode((0x11, b"")) == b"\0\0\0\2\0\x11"
    with pytest.raises(EncodeError):
        CODEC.encode((0x11, b"x"))


@pytest.mark.parametrize("tag", [0, 1, 5, 0x0F, 0x12, 0xFFFE, 0x10000, -1])
def test_a_tag_that_the_application_did_not_declare_is_refused_on_write(tag: int) -> None:
    with pytest.raises(EncodeError, match=r"is not one of the application's$"):
        CODEC.encode((tag, b""))


def test_an_error_of_the_application_is_moved_to_its_place_in_the_message() -> None:
    error = fails(CODEC, b"\0\0\0\5\0\x10bad")
    assert (error.fault, error.offset) == (DecodeFault.INVALID_VALUE, 8)


@pytest.mark.parametrize("tag", [-1, 0, 0x05, 0x0F, 0x10000])
def test_an_application_may_not_take_tags_outside_its_range(tag: int) -> None:
    with pytest.raises(ValueError, match=r"is not in 0x10\.\.0xffff$"):
        MessageCodec(Raw({tag: 10}))
    assert {0x10, 0xFFFF} <= set(CODEC.limits)


@pytest.mark.parametrize("most", [-1, MESSAGE_MAX_SIZE - 5])
def test_an_application_may_not_exceed_100_mib(most: int) -> None:
    with pytest.raises(ValueError, match=r"^limit -?\d+ of tag 0x10 exceeds 100 MiB$"):
        MessageCodec(Raw({0x10: most}))
    assert BIG.limits[0x10] == MESSAGE_MAX_SIZE


def test_an_application_without_messages_leaves_the_control_messages() -> None:
    codec = MessageCodec(Raw({}))
    assert codec.decode(codec.encode(Bootstrap())) == Bootstrap()
    assert sorted(codec.limits) == [1, 2, 3, 4, 5]


def test_codecs_are_equal_only_to_themselves_and_serve_as_keys() -> None:
    # What they hold does not hash; nor would equal tables mean equal applications.
    application = Raw({0x10: 10})
    one, other = MessageCodec(application), MessageCodec(application)
    assert one != other
    table = {one: 1, other: 2}
    assert (table[one], table[other]) == (1, 2)


# -- header and payload apart ----------------------------------------------------------


@pytest.mark.parametrize(("value", "encoded"), MESSAGES)
def test_a_frame_is_the_same_bytes_in_two_parts(value: Any, encoded: str) -> None:
    header, payload = CODEC.frame(value)
    assert (len(header), header + payload) == (6, _hex(encoded))


def test_a_big_payload_is_not_copied() -> None:
    payload = bytes(1 << 20)
    assert CODEC.frame((0xFFFF, payload))[1] is payload


def test_a_frame_is_refused_as_its_bytes_would_be() -> None:
    with pytest.raises(EncodeError, match=r"message 0x0010 of 1007 bytes, limit 1006$"):
        CODEC.frame((0x10, bytes(1001)))
    with pytest.raises(EncodeError, match=r"is not one of the application's$"):
        CODEC.frame((0x12, b""))
    with pytest.raises(EncodeError, match=r"^points: 101 elements, at most 100 allowed$"):
        CODEC.frame(Advertise(points("[::]:1") * 101))


@pytest.mark.parametrize(("value", "encoded"), MESSAGES)
def test_a_payload_alone_decodes_under_its_tag(value: Any, encoded: str) -> None:
    data = _hex(encoded)
    tag = int.from_bytes(data[4:6], "big")
    assert CODEC.decode_payload(tag, data[6:]) == value


@pytest.mark.parametrize(
    ("tag", "payload", "fault", "offset", "path"),
    [
        (0x01, b"x", DecodeFault.EXTRA_BYTES, 6, ""),
        (0x02, b"x", DecodeFault.EXTRA_BYTES, 6, ""),
        (0x03, b"\0", DecodeFault.NOT_ENOUGH_DATA, 6, "points[0]"),
        (0x03, b"\0\0\0\6[::]:1\0", DecodeFault.NOT_ENOUGH_DATA, 16, "points[1]"),
        (0x04, b"\0\0\0\6[::]:1" + bytes(17), DecodeFault.EXTRA_BYTES, 32, ""),
        (0x10, b"bad", DecodeFault.INVALID_VALUE, 8, ""),
    ],
)
def test_a_payload_alone_is_refused_at_its_place_in_the_message(
    tag: int, payload: bytes, fault: DecodeFault, offset: int, path: str
) -> None:
    with pytest.raises(DecodeError) as caught:
        CODEC.decode_payload(tag, payload)
    error = caught.value
    assert (error.fault, error.offset, error.path) == (fault, offset, path)


# -- properties ------------------------------------------------------------------------

raws = st.tuples(
    st.sampled_from([0x10, 0xFFFF]),
    st.binary(max_size=40).filter(lambda p: not p.startswith(b"bad")),
)


@given(controls | raws)
def test_every_message_survives_the_way_to_bytes_and_back(value: Any) -> None:
    data = CODEC.encode(value)
    assert CODEC.decode(data) == value
    assert b"".join(CODEC.frame(value)) == data
    assert CODEC.expect(data) == len(data)
    check_ends(CODEC, data)


@given(controls)
def test_control_messages_stay_within_their_limits(value: ControlMessage) -> None:
    data = CODEC.encode(value)
    assert len(data) <= CODEC.limits[int.from_bytes(data[4:6], "big")]
    assert CONTROL.decode(data[4:]) == value
    assert CONTROL.encode(value) == data[4:]


@given(st.binary(max_size=60), st.integers(0, 0x12))
def test_arbitrary_payloads_decode_or_raise_a_decode_error(
    payload: bytes, tag: int
) -> None:
    head = (len(payload) + 2).to_bytes(4, "big") + tag.to_bytes(2, "big")
    check_total(CODEC, head + payload)
    check_total(CODEC, payload)
    check_total(CONTROL, payload)


@given(controls, st.integers(0), st.integers(0, 255))
def test_a_message_with_one_byte_changed_decodes_or_raises_a_decode_error(
    value: ControlMessage, position: int, byte: int
) -> None:
    data = bytearray(CODEC.encode(value))
    data[position % len(data)] = byte
    check_total(CODEC, bytes(data))


@given(st.binary(min_size=6, max_size=12))
def test_what_shows_in_six_bytes_shows_in_more_too(header: bytes) -> None:
    def verdict(raw: bytes) -> object:
        try:
            return CODEC.expect(raw)
        except DecodeError as error:
            return error.fault, error.offset

    assert verdict(header) == verdict(header[:6])
    early = verdict(header[:4])
    assert early is None or early == verdict(header)


# -- the tables ------------------------------------------------------------------------


def test_the_docstring_states_tags_names_and_limits() -> None:
    assert message.__doc__ is not None
    for case in CONTROL.cases:
        assert isinstance(case.type, Record)
        row = re.search(rf"^{case.tag:#06x} +(\w+) .* (\d+)$", message.__doc__, re.M)
        assert row is not None
        assert row.groups() == (case.type.name, str(CODEC.limits[case.tag]))
    assert "104 857 600" in message.__doc__
    for field in ("size", "tag", "payload"):
        assert re.search(rf"^\d +\w +{field} ", message.__doc__, re.M)


def test_tables_list_the_attributes_of_their_class_in_order() -> None:
    for case in CONTROL.cases:
        assert isinstance(case.type, Record)
        names = [attribute.name for attribute in attrs.fields(case.cls)]
        assert [field.name for field in case.type.fields] == names
        assert case.doc
        assert all(field.doc for field in case.type.fields)
