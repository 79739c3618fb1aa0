"""The datagram of discovery: its 28 bytes, and everything that is none.

The bytes follow the layout of the reference's discovery module; below port 32 768 its
signed codec writes the same.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spec_strategies import (
    U16,
    check_ends,
    check_round_trip,
    check_total,
    fails,
    peer_ids,
)

from tezos_p2p.spec import DecodeFault, EncodeError, PeerId
from tezos_p2p.spec.datagram import (
    DATAGRAM,
    DATAGRAM_MAGIC,
    DATAGRAM_SIZE,
    DISCOVERY_PORT,
    Datagram,
    read_datagram,
)

PEER = PeerId(bytes(range(16)))
VECTORS = [
    (1, "0001"),
    (9732, "2604"),
    (0x7FFF, "7fff"),
    # From here on signed nodes read a negative number; ours do not.
    (0x8000, "8000"),
    (0xFFFF, "ffff"),
]


@pytest.mark.parametrize(("port", "hexadecimal"), VECTORS)
def test_a_datagram_is_the_magic_the_peer_id_and_the_port(port: int, hexadecimal: str):
    wire = b"DISCOMAGIC" + bytes(range(16)) + bytes.fromhex(hexadecimal)
    assert DATAGRAM.encode(Datagram(PEER, port)) == wire
    assert read_datagram(wire) == Datagram(PEER, port)
    assert len(wire) == DATAGRAM_SIZE == 28


def test_the_layout_and_the_constants_are_those_of_the_table():
    layout = DATAGRAM.describe()
    offsets = {row["name"]: row["offset"] for row in layout["fields"]}
    assert offsets == {"magic": 0, "peer_id": 10, "port": 26}
    assert (layout["size"], layout["as"]) == (28, "discovery datagram")
    assert (DATAGRAM_MAGIC, DISCOVERY_PORT) == (b"DISCOMAGIC", 10_732)


@given(st.builds(Datagram, peer_ids, U16))
def test_a_datagram_is_read_as_it_was_written(datagram: Datagram):
    wire = check_round_trip(DATAGRAM, datagram)
    assert read_datagram(wire) == datagram
    check_ends(DATAGRAM, wire)


@given(st.builds(Datagram, peer_ids, U16), st.binary(max_size=40))
def test_what_is_behind_28_bytes_is_not_looked_at(datagram: Datagram, more: bytes):
    assert read_datagram(DATAGRAM.encode(datagram) + more) == datagram


@given(st.builds(Datagram, peer_ids, U16), st.integers(0, 27))
def test_a_datagram_cut_short_is_none(datagram: Datagram, size: int):
    assert read_datagram(DATAGRAM.encode(datagram)[:size]) is None


@given(st.builds(Datagram, peer_ids, U16), st.integers(0, 9), st.integers(1, 255))
def test_any_other_magic_is_none_of_ours(datagram: Datagram, place: int, change: int):
    wire = bytearray(DATAGRAM.encode(datagram))
    wire[place] ^= change
    assert read_datagram(bytes(wire)) is None
    error = fails(DATAGRAM, bytes(wire))
    assert (error.fault, error.offset) == (DecodeFault.INVALID_VALUE, 0)


@given(st.binary(max_size=80))
def test_reading_never_raises(data: bytes):
    check_total(DATAGRAM, data)
    found = read_datagram(data)
    assert found is None or DATAGRAM.encode(found) == data[:DATAGRAM_SIZE]


@pytest.mark.parametrize("port", [-1, 65_536])
def test_a_port_that_does_not_fit_has_no_bytes(port: int):
    with pytest.raises(EncodeError, match="port"):
        DATAGRAM.encode(Datagram(PEER, port))
