"""Connection message, metadata and answers: known bytes, limits, faults.

Recorded from a reference node of May 2019, from TezEdge's fixtures and its recorded
session; frames of `vectors` say their own origin.
"""

from __future__ import annotations

import re
import tracemalloc
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from spec_strategies import (
    answers,
    check_ends,
    check_round_trip,
    check_total,
    connection_messages,
    fails,
    metadata,
)
from vectors import (
    NODE_2019_FRAME_A,
    NODE_2019_FRAME_B,
    RECORDED_CHAIN_NAME,
    RECORDED_INITIATOR,
    RECORDED_KEYS,
    RECORDED_REMOTE_PEER_ID,
    RECORDED_RESPONDER,
    SELF_MADE_A,
    SELF_MADE_B,
    SELF_MADE_KEYS_A,
    SELF_MADE_KEYS_B,
    SELF_MADE_MESSAGE_NONCE_A,
    SELF_MADE_MESSAGE_NONCE_B,
    SELF_MADE_NACK,
    SELF_MADE_NACK_V0,
    TEZEDGE_NONCE_RECEIVED,
    TEZEDGE_NONCE_SENT,
)

from tezos_p2p.spec import (
    Ack,
    Answer,
    ConnectionMessage,
    ConnectionMetadata,
    DecodeFault,
    EncodeError,
    Motive,
    Nack,
    NackV0,
    PeerId,
    Point,
    Version,
    frame_connection_message,
    hello,
)
from tezos_p2p.spec.hello import (
    ANSWER,
    CONNECTION_MESSAGE,
    CONNECTION_METADATA,
    FRAME_MAX_SIZE,
    NONCE_OFFSET,
    POINTS_MAX,
    POINTS_SENT_MAX,
    nack_for,
)
from tezos_p2p.spec.record import Record

_hex = bytes.fromhex

# -- connection message ----------------------------------------------------------------

NODE_2019_C = _hex(
    "0067ffffeb9a33c8c54cf7d7c68f8b2cfd6431657c8b84bee6510193d7df877bd074dc3e00000000"
    "00000000000000000000000000000000000002a3e3c739481f4965a019016c4837b29fc8ea4a334a"
    "a96a37ed0000000d54455a4f535f4d41494e4e455400010001"
)
#: TezEdge, its stored connection message; the length in front is ours.
TEZEDGE_MAINNET = _hex(
    "0067260470387c4cbd115833626a88a9f2b9bbadd70705f5ad059f494655ac823620c6410ec0d9b1"
    "716ad6d59d0cc551c96992c8031df8c77735d21158dc510aabbca27bd5fff7f085912327012a4d91"
    "e587e3bc0000000d54455a4f535f4d41494e4e455400000001"
)

FRAMES = [
    (
        NODE_2019_FRAME_A,
        ConnectionMessage(
            9732,
            _hex("ebc28ea052c65fac7e43b97dcf2077de4ba21277d0323b971d7d56e83204225c"),
            bytes(24),
            _hex("40c9c8b074357aa0e694fdd22346ebaabbc5f556fa80069f"),
            Version("TEZOS", 0, 0),
        ),
    ),
    (
        NODE_2019_FRAME_B,
        ConnectionMessage(
            0,
            _hex("c5c53093d7a610bba4f4012c389d6766b56490229663be35b03239c36328d64c"),
            (122).to_bytes(24, "big"),
            _hex("692cbd7b544156aeaecb0c53229e2dcc57950e3831d57ce4"),
            Version("SANDBOXED_TEZOS", 0, 0),
        ),
    ),
    (
        NODE_2019_C,
        ConnectionMessage(
            65_535,
            _hex("eb9a33c8c54cf7d7c68f8b2cfd6431657c8b84bee6510193d7df877bd074dc3e"),
            (675).to_bytes(24, "big"),
            _hex("e3c739481f4965a019016c4837b29fc8ea4a334aa96a37ed"),
            Version("TEZOS_MAINNET", 1, 1),
        ),
    ),
    (
        TEZEDGE_MAINNET,
        ConnectionMessage(
            9732,
            _hex("70387c4cbd115833626a88a9f2b9bbadd70705f5ad059f494655ac823620c641"),
            _hex("0ec0d9b1716ad6d59d0cc551c96992c8031df8c77735d211"),
            _hex("58dc510aabbca27bd5fff7f085912327012a4d91e587e3bc"),
            Version("TEZOS_MAINNET", 0, 1),
        ),
    ),
    (
        RECORDED_INITIATOR.connection,
        ConnectionMessage(
            9732,
            RECORDED_KEYS.public_key,
            RECORDED_KEYS.stamp,
            _hex("30f1069e8db55d9506a7bdb07be08805a6287d6848f5dfef"),
            Version(RECORDED_CHAIN_NAME, 0, 1),
        ),
    ),
    (
        SELF_MADE_A.connection,
        ConnectionMessage(
            9732,
            SELF_MADE_KEYS_A.public_key,
            SELF_MADE_KEYS_A.stamp,
            SELF_MADE_MESSAGE_NONCE_A,
            Version("TEZOS_MAINNET", 2, 1),
        ),
    ),
    (
        SELF_MADE_B.connection,
        ConnectionMessage(
            0,
            SELF_MADE_KEYS_B.public_key,
            SELF_MADE_KEYS_B.stamp,
            SELF_MADE_MESSAGE_NONCE_B,
            Version("TEZOS_MAINNET", 2, 1),
        ),
    ),
]
MESSAGE = FRAMES[-2][1]
BODY = SELF_MADE_A.connection[2:]


@pytest.mark.parametrize(("frame", "message"), FRAMES)
def test_connection_messages_have_their_recorded_bytes(
    frame: bytes, message: ConnectionMessage
) -> None:
    assert frame_connection_message(message) == frame
    assert CONNECTION_MESSAGE.decode(frame[2:]) == message
    assert len(frame) == 92 + len(message.version.chain_name)
    assert frame[NONCE_OFFSET : NONCE_OFFSET + 24] == message.message_nonce
    check_ends(CONNECTION_MESSAGE, frame[2:])


def test_the_recorded_answer_is_from_the_recorded_peer() -> None:
    message = CONNECTION_MESSAGE.decode(RECORDED_RESPONDER.connection[2:])
    assert str(PeerId.of_key(message.public_key)) == RECORDED_REMOTE_PEER_ID
    assert message.version == Version(RECORDED_CHAIN_NAME, 0, 1)
    assert message.port == 9732


@pytest.mark.parametrize("frame", [TEZEDGE_NONCE_SENT, TEZEDGE_NONCE_RECEIVED])
def test_frames_of_tezedge_are_written_again_as_they_were(frame: bytes) -> None:
    message = CONNECTION_MESSAGE.decode(frame[2:])
    assert message.version.chain_name == "SANDBOXED_TEZOS_ALPHANET_2018-11-30T15:30:56Z"
    assert frame_connection_message(message) == frame


@given(connection_messages)
def test_every_connection_message_survives_the_way_to_bytes_and_back(
    message: ConnectionMessage,
) -> None:
    data = check_round_trip(CONNECTION_MESSAGE, message)
    check_ends(CONNECTION_MESSAGE, data)
    assert frame_connection_message(message) == len(data).to_bytes(2, "big") + data


def test_a_chain_name_may_fill_a_frame_to_its_last_byte_and_no_further() -> None:
    def named(size: int) -> ConnectionMessage:
        return attrs.evolve(MESSAGE, version=Version("n" * size, 2, 1))

    frame = frame_connection_message(named(65_445))
    assert frame[:2] == b"\xff\xff"
    assert len(frame) == 65_537
    assert CONNECTION_MESSAGE.decode(frame[2:]) == named(65_445)
    with pytest.raises(EncodeError) as caught:
        frame_connection_message(named(65_446))
    assert str(caught.value) == "connection message: 65536 bytes, limit 65535"
    assert FRAME_MAX_SIZE == 65_535


CUTS = [
    (0, "port", 0),
    (1, "port", 0),
    (2, "public_key", 2),
    (33, "public_key", 2),
    (34, "proof_of_work_stamp", 34),
    (57, "proof_of_work_stamp", 34),
    (58, "message_nonce", 58),
    (81, "message_nonce", 58),
    (82, "version.chain_name", 82),
    (85, "version.chain_name", 82),
    (98, "version.chain_name", 82),
    (99, "version.distributed_db_version", 99),
    (100, "version.distributed_db_version", 99),
    (101, "version.p2p_version", 101),
    (102, "version.p2p_version", 101),
]


@pytest.mark.parametrize(("size", "path", "offset"), CUTS)
def test_a_connection_message_cut_short_names_field_and_offset(
    size: int, path: str, offset: int
) -> None:
    error = fails(CONNECTION_MESSAGE, BODY[:size])
    assert (error.fault, error.path, error.offset) == (
        DecodeFault.NOT_ENOUGH_DATA,
        path,
        offset,
    )


def test_an_error_says_where_what_and_how_much() -> None:
    assert str(fails(CONNECTION_MESSAGE, BODY[:90])) == (
        "version.chain_name at byte 82: not enough data: "
        "length prefix says 13 bytes, 4 left"
    )


@pytest.mark.parametrize("prefix", [18, 65_535, (1 << 31) - 1, 1 << 31, (1 << 32) - 1])
def test_a_chain_name_beyond_the_message_is_refused_without_allocating(
    prefix: int,
) -> None:
    data = BODY[:82] + prefix.to_bytes(4, "big") + BODY[86:]
    tracemalloc.start()
    try:
        error = fails(CONNECTION_MESSAGE, data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (error.offset, error.path) == (82, "version.chain_name")
    assert peak < 100_000


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"port": -1}, "port"),
        ({"port": 65_536}, "port"),
        ({"public_key": bytes(31)}, "public_key"),
        ({"public_key": bytes(33)}, "public_key"),
        ({"proof_of_work_stamp": bytes(25)}, "proof_of_work_stamp"),
        ({"message_nonce": bytes(23)}, "message_nonce"),
        ({"version": Version("\udc00", 0, 0)}, "version.chain_name"),
        ({"version": Version("\u0100", 0, 0)}, "version.chain_name"),
        ({"version": Version("", 70_000, 0)}, "version.distributed_db_version"),
        ({"version": Version("", 0, -1)}, "version.p2p_version"),
    ],
)
def test_a_field_out_of_range_is_named_on_write(
    change: dict[str, Any], path: str
) -> None:
    with pytest.raises(EncodeError) as caught:
        frame_connection_message(attrs.evolve(MESSAGE, **change))
    assert caught.value.path == path


def test_keys_and_stamps_are_shown_as_hex_digits() -> None:
    shown = repr(MESSAGE)
    assert MESSAGE.public_key.hex() in shown
    assert "message_nonce=" + "aa" * 24 in shown


# -- metadata --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("disable_mempool", "private_node", "encoded"),
    [
        (False, False, "0000"),
        (False, True, "00ff"),
        (True, False, "ff00"),
        (True, True, "ffff"),
    ],
)
def test_metadata_are_two_flags(
    disable_mempool: bool, private_node: bool, encoded: str
) -> None:
    value = ConnectionMetadata(disable_mempool, private_node)
    assert CONNECTION_METADATA.encode(value).hex() == encoded
    assert CONNECTION_METADATA.decode(_hex(encoded)) == value
    check_ends(CONNECTION_METADATA, _hex(encoded))


def test_flags_other_than_zero_are_read_as_true() -> None:
    assert CONNECTION_METADATA.decode(b"\1\2") == ConnectionMetadata(True, True)
    assert CONNECTION_METADATA.decode(b"\0\x80") == ConnectionMetadata(False, True)


def test_by_default_a_node_is_public_and_wants_the_mempool() -> None:
    assert CONNECTION_METADATA.encode(ConnectionMetadata()) == b"\0\0"


@pytest.mark.parametrize("value", [1, 0, "no", None])
def test_what_is_no_flag_is_refused_on_write_by_its_name(value: Any) -> None:
    for flags, path in (
        (ConnectionMetadata(disable_mempool=value), "disable_mempool"),
        (ConnectionMetadata(private_node=value), "private_node"),
    ):
        with pytest.raises(EncodeError) as caught:
            CONNECTION_METADATA.encode(flags)
        assert str(caught.value) == f"{path}: {value!r} is not a bool"


def test_metadata_cut_short_name_the_missing_flag() -> None:
    assert fails(CONNECTION_METADATA, b"").path == "disable_mempool"
    error = fails(CONNECTION_METADATA, b"\0")
    assert (error.path, error.offset) == ("private_node", 1)


@given(metadata)
def test_all_metadata_survive_the_way_to_bytes_and_back(
    value: ConnectionMetadata,
) -> None:
    check_ends(CONNECTION_METADATA, check_round_trip(CONNECTION_METADATA, value))


# -- answers ---------------------------------------------------------------------------

ONE = Point.parse("127.0.0.1:9832")

ANSWERS: list[tuple[Answer, str]] = [
    # Recorded from a reference node of May 2019.
    (Ack(), "00"),
    (NackV0(), "ff"),
    # TezEdge's tests of its ack message.
    (
        Nack(Motive.DEPRECATED_P2P_VERSION, (ONE,)),
        "010003000000120000000e3132372e302e302e313a39383332",
    ),
    (
        Nack(Motive.UNKNOWN_CHAIN_NAME, (ONE,)),
        "010002000000120000000e3132372e302e302e313a39383332",
    ),
    # Self-made.
    (Nack(Motive.TOO_MANY_CONNECTIONS, (ONE,)), SELF_MADE_NACK.plaintext.hex()),
    (NackV0(), SELF_MADE_NACK_V0.plaintext.hex()),
    (Nack(Motive.NO_MOTIVE), "01000000000000"),
    (Nack(Motive(-2)), "01fffe00000000"),
]


@pytest.mark.parametrize(("answer", "encoded"), ANSWERS)
def test_answers_have_their_known_bytes(answer: Answer, encoded: str) -> None:
    assert ANSWER.encode(answer).hex() == encoded
    assert ANSWER.decode(_hex(encoded)) == answer
    check_ends(ANSWER, _hex(encoded))


def test_any_other_tag_is_refused() -> None:
    for tag in range(2, 255):
        error = fails(ANSWER, bytes([tag]))
        assert (error.fault, error.offset) == (DecodeFault.UNEXPECTED_TAG, 0)


def nack_of(points: bytes) -> bytes:
    return b"\1\0\1" + len(points).to_bytes(4, "big") + points


LONGEST = "[fe80:e828:209d:20ed:c0ae:fe80:e828:209d]:12345"
LONGEST_BYTES = b"\0\0\0\x2f" + LONGEST.encode()


def test_a_nack_holds_a_hundred_points_and_not_one_more() -> None:
    hundred = Nack(Motive.TOO_MANY_CONNECTIONS, (Point.parse(LONGEST),) * 100)
    data = nack_of(LONGEST_BYTES * 100)
    assert ANSWER.decode(data) == hundred
    assert ANSWER.encode(hundred) == data
    assert len(data) == ANSWER.max_size == 5107
    error = fails(ANSWER, nack_of(LONGEST_BYTES * 101))
    assert error.fault is DecodeFault.LIST_TOO_LONG
    assert (error.path, error.offset) == ("points[100]", 7 + 100 * 51)
    with pytest.raises(EncodeError) as caught:
        ANSWER.encode(attrs.evolve(hundred, points=hundred.points * 2))
    assert str(caught.value) == "points: 200 elements, at most 100 allowed"
    assert (POINTS_MAX, POINTS_SENT_MAX) == (100, 50)


def test_a_bad_point_in_a_nack_is_named_by_its_index_and_offset() -> None:
    good = _hex("0000000e3132372e302e302e313a39383332")
    bad = _hex("00000009") + b"127.0.0.1"
    error = fails(ANSWER, nack_of(good * 3 + bad))
    assert (error.path, error.offset) == ("points[3]", 7 + 3 * 18 + 4)
    assert str(error) == ("points[3] at byte 65: invalid value: '127.0.0.1' lacks a port")
    with pytest.raises(EncodeError) as caught:
        ANSWER.encode(Nack(Motive.NO_MOTIVE, (ONE, ONE, ONE, Point(ONE.address, 70_000))))
    assert str(caught.value) == "points[3]: port 70000 is not in 0..65535"


def test_a_point_may_not_reach_beyond_the_list_of_a_nack() -> None:
    point = _hex("0000000e3132372e302e302e313a39383332")
    error = fails(ANSWER, b"\1\0\1" + _hex("00000011") + point)
    assert (error.fault, error.path, error.offset) == (
        DecodeFault.NOT_ENOUGH_DATA,
        "points[0]",
        7,
    )


def test_a_nack_cut_short_names_its_field() -> None:
    assert fails(ANSWER, b"\1\0").path == "motive"
    assert fails(ANSWER, b"\1\0\1\0").path == "points"


@pytest.mark.parametrize("prefix", [1, (1 << 31) - 1, 1 << 31, (1 << 32) - 1])
def test_a_list_of_points_beyond_the_chunk_is_refused_by_its_prefix(prefix: int) -> None:
    error = fails(ANSWER, b"\1\0\1" + prefix.to_bytes(4, "big"))
    assert (error.path, error.offset) == ("points", 3)


@given(answers)
def test_every_answer_survives_the_way_to_bytes_and_back(answer: Answer) -> None:
    check_ends(ANSWER, check_round_trip(ANSWER, answer))


@given(st.binary(max_size=120), st.sampled_from(["", "01", "010001", BODY[:82].hex()]))
def test_arbitrary_bytes_decode_or_raise_a_decode_error(data: bytes, head: str) -> None:
    for codec in (ANSWER, CONNECTION_METADATA, CONNECTION_MESSAGE):
        check_total(codec, _hex(head) + data)


@given(answers, st.integers(0), st.integers(0, 255))
def test_an_answer_with_one_byte_changed_decodes_or_raises_a_decode_error(
    answer: Answer, position: int, byte: int
) -> None:
    data = bytearray(ANSWER.encode(answer))
    data[position % len(data)] = byte
    check_total(ANSWER, bytes(data))


@pytest.mark.parametrize("version", [1, 2, 65_535])
def test_a_node_that_knows_motives_is_told_them(version: int) -> None:
    refusal = Nack(Motive.ALREADY_CONNECTED, (ONE,))
    assert nack_for(version, Motive.ALREADY_CONNECTED, (ONE,)) == refusal


def test_a_node_of_2019_is_refused_in_the_only_way_it_knows() -> None:
    assert nack_for(0, Motive.ALREADY_CONNECTED, (ONE,)) == NackV0()


# -- the tables of the docstring -------------------------------------------------------

ROW = re.compile(r"^(\d+|\d+ \+ n) +(\d+|n) +([a-z0-9_]+(?: [a-z]+ [a-z]+ n)?) ", re.M)


def test_the_docstring_lists_every_field_at_its_true_offset() -> None:
    assert hello.__doc__ is not None
    rows = {name: (at, size) for at, size, name in ROW.findall(hello.__doc__)}
    name = b"TEZOS_MAINNET"
    frame = SELF_MADE_A.connection
    for field, value in [
        ("length", (103).to_bytes(2, "big")),
        ("port", (9732).to_bytes(2, "big")),
        ("public_key", MESSAGE.public_key),
        ("proof_of_work_stamp", MESSAGE.proof_of_work_stamp),
        ("message_nonce", MESSAGE.message_nonce),
        ("chain name length n", (13).to_bytes(4, "big")),
        ("distributed_db_version", b"\0\2"),
        ("p2p_version", b"\0\1"),
    ]:
        at, size = rows[field]
        offset = int(at.removesuffix(" + n")) + (len(name) if "n" in at else 0)
        assert int(size) == len(value), field
        assert frame[offset : offset + int(size)] == value, field


def test_the_docstring_names_metadata_fields_and_answers() -> None:
    assert hello.__doc__ is not None
    for field in CONNECTION_METADATA.fields:
        assert f"``{field.name}``" in hello.__doc__
    for case in ANSWER.cases:
        assert f"\n{case.tag:02x}    {case.cls.__name__} " in hello.__doc__
        assert isinstance(case.type, Record)


@pytest.mark.parametrize("table", [CONNECTION_MESSAGE, CONNECTION_METADATA, hello.NACK])
def test_tables_list_the_attributes_of_their_class_in_order(table: Record[Any]) -> None:
    names = [attribute.name for attribute in attrs.fields(table.cls)]
    assert [field.name for field in table.fields] == names
    assert all(field.doc for field in table.fields)
