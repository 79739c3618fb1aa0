"""The ready-made codec of messages that are nothing but bytes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spec_strategies import fails

from tezos_p2p.spec import DecodeFault, EncodeError, MessageCodec
from tezos_p2p.spec.message import MESSAGE_MAX_SIZE
from tezos_p2p.spec.raw import RAW_MAX_SIZE, RawCodec

CODEC = MessageCodec(RawCodec())


def test_a_raw_message_is_its_payload() -> None:
    assert CODEC.encode(b"hello") == b"\0\0\0\7\0\x10hello"
    assert CODEC.decode(b"\0\0\0\7\0\x10hello") == b"hello"
    assert CODEC.decode(b"\0\0\0\2\0\x10") == b""


def test_a_raw_message_is_not_copied() -> None:
    payload = bytes(1_000_000)
    assert RawCodec().encode(payload) == (0x10, payload)
    assert RawCodec().encode(payload)[1] is payload
    assert RawCodec().decode(0x10, payload) is payload


def test_the_default_limit_is_8_mib() -> None:
    assert RAW_MAX_SIZE == 8_388_608
    assert RawCodec().limits == {0x10: 8_388_608}


@pytest.mark.parametrize("tag", [0x10, 0x11, 0xFFFF])
@pytest.mark.parametrize("most", [0, 1, 1_000])
def test_a_raw_message_is_taken_up_to_its_limit_under_its_tag(
    tag: int, most: int
) -> None:
    codec = MessageCodec(RawCodec(tag, most))
    data = codec.encode(bytes(most))
    assert data[4:6] == tag.to_bytes(2, "big")
    assert codec.decode(data) == bytes(most)
    with pytest.raises(EncodeError, match=f"limit {most + 6}$"):
        codec.encode(bytes(most + 1))
    longer = (most + 3).to_bytes(4, "big") + data[4:] + b"x"
    assert fails(codec, longer).fault is DecodeFault.SIZE_LIMIT_EXCEEDED


def test_another_tag_is_unknown() -> None:
    assert fails(CODEC, b"\0\0\0\2\0\x11").fault is DecodeFault.UNEXPECTED_TAG


@pytest.mark.parametrize(
    ("wrong", "name"),
    [("text", "str"), (bytearray(b"x"), "bytearray"), (None, "NoneType")],
)
def test_only_bytes_are_raw_messages(wrong: Any, name: str) -> None:
    with pytest.raises(EncodeError, match=f"a raw message is bytes, not {name}$"):
        CODEC.encode(wrong)


@pytest.mark.parametrize(
    ("tag", "most"), [(0x0F, 1), (0x10000, 1), (0x10, -1), (0x10, MESSAGE_MAX_SIZE - 5)]
)
def test_tags_and_limits_that_no_application_may_have_are_refused(
    tag: int, most: int
) -> None:
    with pytest.raises(ValueError, match="tag"):
        MessageCodec(RawCodec(tag, most))


def test_a_codec_is_a_value() -> None:
    assert RawCodec(0x11, 5) == RawCodec(0x11, 5) != RawCodec()


@given(st.binary(max_size=200))
def test_any_bytes_come_back(payload: bytes) -> None:
    assert CODEC.decode(CODEC.encode(payload)) == payload
