"""Protocols and their components: bytes, flags, limits."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from shell_strategies import protocols
from spec_strategies import check_ends, check_round_trip, check_total, fails

from tezos_p2p.spec import DecodeFault, EncodeError, protocol
from tezos_p2p.spec.hashes import ProtocolHash
from tezos_p2p.spec.protocol import (
    COMPONENT,
    COMPONENTS_MAX,
    PROTOCOL,
    PROTOCOL_MAX_SIZE,
    Component,
    Protocol,
)

WITH = Component(b"main", b"val x : int", b"let x = 1")
WITHOUT = Component(b"a", None, b"")
#: Self-made.
BYTES = (
    "0011"
    "0000002f"
    "000000046d61696e"
    "ff0000000b76616c2078203a20696e74"
    "000000096c65742078203d2031"
    "0000000161"
    "00"
    "00000000"
)


def test_a_protocol_with_and_without_an_interface() -> None:
    value = Protocol(17, (WITH, WITHOUT))
    data = PROTOCOL.encode(value)
    assert data.hex() == BYTES
    assert PROTOCOL.decode(data) == value
    assert value.hash == hashlib.blake2b(data, digest_size=32).digest()
    assert type(value.hash) is ProtocolHash
    check_ends(PROTOCOL, data)


def test_a_protocol_without_components() -> None:
    assert PROTOCOL.encode(Protocol(0, ())).hex() == "000000000000"
    assert PROTOCOL.decode(bytes(6)) == Protocol(0, ())


def test_any_flag_but_zero_means_an_interface() -> None:
    data = bytearray(COMPONENT.encode(WITH))
    at = data.index(0xFF)
    for flag in (0x01, 0x7F, 0xFE):
        data[at] = flag
        assert COMPONENT.decode(bytes(data)) == WITH
    data[at] = 0
    assert fails(COMPONENT, bytes(data)).fault is DecodeFault.EXTRA_BYTES


@pytest.mark.parametrize(
    ("data", "fault", "path", "offset"),
    [
        ("00", DecodeFault.NOT_ENOUGH_DATA, "expected_environment", 0),
        ("0000000000", DecodeFault.NOT_ENOUGH_DATA, "components", 2),
        ("000000000001", DecodeFault.NOT_ENOUGH_DATA, "components", 2),
        ("00000000000100", DecodeFault.NOT_ENOUGH_DATA, "components[0].name", 6),
        (
            "00000000000400000000",
            DecodeFault.NOT_ENOUGH_DATA,
            "components[0].interface",
            10,
        ),
        (
            "00000000000a000000000000000000ff",
            DecodeFault.NOT_ENOUGH_DATA,
            "components[1].name",
            15,
        ),
    ],
)
def test_a_protocol_cut_short_is_refused_at_its_place(
    data: str, fault: DecodeFault, path: str, offset: int
) -> None:
    error = fails(PROTOCOL, bytes.fromhex(data))
    assert (error.fault, error.path, error.offset) == (fault, path, offset)


def test_a_protocol_has_at_most_2_mib_both_ways() -> None:
    assert PROTOCOL_MAX_SIZE == PROTOCOL.max_size == 2_097_152
    room = PROTOCOL_MAX_SIZE - 2 - 4 - 4 - 1 - 4
    full = Protocol(0, (Component(b"", None, bytes(room)),))
    data = PROTOCOL.encode(full)
    assert len(data) == PROTOCOL_MAX_SIZE
    assert PROTOCOL.decode(data) == full
    more = Protocol(0, (Component(b"", None, bytes(room + 1)),))
    with pytest.raises(EncodeError, match=r"2097153 bytes, limit 2097152$"):
        PROTOCOL.encode(more)
    raw = (len(data) - 5).to_bytes(4, "big") + data[6:11]
    raw = b"\0\0" + raw + (room + 1).to_bytes(4, "big") + bytes(room + 1)
    assert fails(PROTOCOL, raw).fault is DecodeFault.SIZE_LIMIT_EXCEEDED


def test_a_protocol_has_at_most_1024_components_both_ways() -> None:
    full = Protocol(0, (WITHOUT,) * COMPONENTS_MAX)
    assert PROTOCOL.decode(PROTOCOL.encode(full)) == full
    with pytest.raises(EncodeError, match=r"^components: 1025 elements, at most 1024"):
        PROTOCOL.encode(Protocol(0, (WITHOUT,) * (COMPONENTS_MAX + 1)))
    items = COMPONENT.encode(WITHOUT) * (COMPONENTS_MAX + 1)
    error = fails(PROTOCOL, b"\0\0" + len(items).to_bytes(4, "big") + items)
    assert (error.fault, error.path) == (DecodeFault.LIST_TOO_LONG, "components[1024]")


@pytest.mark.parametrize("environment", [-1, 0x10000, None])
def test_an_environment_out_of_range_is_refused(environment: int) -> None:
    assert PROTOCOL.decode(b"\xff\xff" + bytes(4)).expected_environment == 0xFFFF
    with pytest.raises(EncodeError, match=r"^expected_environment: "):
        PROTOCOL.encode(Protocol(environment, ()))


def test_sources_are_shown_by_their_size() -> None:
    assert (
        repr(WITHOUT) == "Component(name=b'a', interface=None, implementation=<0 bytes>)"
    )
    assert "interface=<11 bytes>" in repr(WITH)


@given(protocols)
def test_protocols_survive_the_way_to_bytes_and_back(value: Protocol) -> None:
    check_round_trip(PROTOCOL, value)


@given(st.binary(max_size=60), st.integers(0))
def test_any_bytes_are_a_protocol_or_a_decode_error(data: bytes, position: int) -> None:
    check_total(PROTOCOL, data)
    known = bytearray.fromhex(BYTES)
    known[position % len(known)] = len(data)
    check_total(PROTOCOL, bytes(known))


def test_the_docstring_states_the_limits() -> None:
    assert protocol.__doc__ is not None
    assert "at most 2 097 152 bytes" in protocol.__doc__
    assert f"{COMPONENTS_MAX} components" in protocol.__doc__
