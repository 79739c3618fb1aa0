"""Hypothesis strategies for the values of the spec, and laws that all codecs obey."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import strategies as st

from tezos_p2p.spec import (
    Ack,
    Address,
    Advertise,
    Bootstrap,
    ConnectionId,
    ConnectionMessage,
    ConnectionMetadata,
    DecodeError,
    DecodeFault,
    Disconnect,
    Motive,
    Nack,
    NackV0,
    PeerId,
    Point,
    SwapAck,
    SwapRequest,
    Version,
)
from tezos_p2p.spec.binary import BinaryType

U16 = st.integers(0, 0xFFFF)

addresses = st.one_of(
    st.integers(0, (1 << 128) - 1),
    st.integers(0, (1 << 32) - 1).map(lambda v4: 0xFFFF << 32 | v4),
    # Many zero groups: what the compressed form is about.
    st.lists(st.sampled_from([0, 0, 0, 1, 0xFFFF]), min_size=8, max_size=8).map(
        lambda groups: sum(g << 16 * i for i, g in enumerate(groups))
    ),
).map(Address)
points = st.builds(Point, addresses, U16)
connection_ids = st.builds(ConnectionId, addresses, st.none() | U16)
peer_ids = st.binary(min_size=16, max_size=16).map(PeerId)
# One character per byte.
chain_names = st.text(st.characters(max_codepoint=0xFF), max_size=40)
versions = st.builds(Version, chain_names, U16, U16)
connection_messages = st.builds(
    ConnectionMessage,
    U16,
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=24, max_size=24),
    st.binary(min_size=24, max_size=24),
    versions,
)
metadata = st.builds(ConnectionMetadata, st.booleans(), st.booleans())
motives = st.integers(-0x8000, 0x7FFF).map(Motive) | st.sampled_from(list(Motive))
point_lists = st.lists(points, max_size=5).map(tuple)
answers = st.one_of(
    st.just(Ack()), st.just(NackV0()), st.builds(Nack, motives, point_lists)
)
controls = st.one_of(
    st.just(Disconnect()),
    st.just(Bootstrap()),
    st.builds(Advertise, point_lists),
    st.builds(SwapRequest, points, peer_ids),
    st.builds(SwapAck, points, peer_ids),
)


class Raw:
    """An application whose messages are pairs of a tag and bytes."""

    def __init__(self, limits: Mapping[int, int]) -> None:
        self.limits = limits

    def encode(self, message: tuple[int, bytes]) -> tuple[int, bytes]:
        return message

    def decode(self, tag: int, payload: bytes) -> tuple[int, bytes]:
        if payload.startswith(b"bad"):
            raise DecodeError(DecodeFault.INVALID_VALUE, 2, "starts badly")
        return tag, payload


def fails(codec: Any, data: bytes) -> DecodeError:
    """Decode, which must fail; return the error."""
    with pytest.raises(DecodeError) as caught:
        codec.decode(data)
    return caught.value


def check_round_trip(codec: BinaryType[Any], value: Any) -> bytes:
    """Encode and decode; sizes must be as the type declares them."""
    data = codec.encode(value)
    assert codec.decode(data) == value
    assert codec.size in (None, len(data))
    assert codec.max_size is None or len(data) <= codec.max_size
    return data


def check_ends(codec: Any, data: bytes) -> None:
    """A value that delimits itself may neither be cut short nor be followed."""
    for size in range(len(data)):
        assert fails(codec, data[:size]).fault is DecodeFault.NOT_ENOUGH_DATA
    extra = fails(codec, data + b"\x2a")
    assert extra.fault is DecodeFault.EXTRA_BYTES
    assert extra.offset == len(data)


def decoded(codec: Any, data: bytes) -> tuple[Any] | None:
    """Return what any bytes decode to, in a tuple, or None for a proper refusal."""
    try:
        return (codec.decode(data),)
    except DecodeError as caught:
        error = caught
    assert 0 <= error.offset <= len(data)
    assert str(error)
    return None


def check_total(codec: Any, data: bytes) -> None:
    """Any bytes decode, or raise `DecodeError` inside them; values survive a rewrite."""
    result = decoded(codec, data)
    if result is not None:
        assert codec.decode(codec.encode(result[0])) == result[0]
