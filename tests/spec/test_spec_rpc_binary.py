"""Answers of the admin interface in bytes."""

from __future__ import annotations

import attrs
import pytest
import rpc_vectors as v

from tezos_p2p.io.rpc import RPC
from tezos_p2p.spec.identity import PeerId
from tezos_p2p.spec.metadata import Counter, TezosMetadata
from tezos_p2p.spec.rpc import ConnectionInfo, Generation, PeerInfo, PointInfo, Stat
from tezos_p2p.spec.rpc_binary import binary

OLD, NEW = Generation.G2019, Generation.G2026
PEER = PeerId.parse("idtYTfTAvS6fhH9WvkXFtRaK6Cij32")

VECTORS = [
    (v.STAT, Stat, v.STAT_BYTES),
    (v.CONNECTION_INCOMING, ConnectionInfo, v.CONNECTION_BYTES),
    (v.PEER_INFO_RUNNING, PeerInfo, v.PEER_INFO_BYTES),
    (v.POINT_INFO_RUNNING, PointInfo, v.POINT_INFO_BYTES),
]


@pytest.mark.parametrize(("text", "kind", "expected"), VECTORS)
def test_bytes_are_those_of_the_reference_of_2019(text, kind, expected):
    assert binary(RPC[OLD].read(text, kind, "it"), OLD) == expected


def test_answers_of_2026_have_their_length_in_front():
    stat = RPC[OLD].read(v.STAT, Stat, "it")
    assert binary(stat, NEW) == bytes.fromhex("00000018") + v.STAT_BYTES
    assert binary(PEER, NEW) == bytes.fromhex("00000010") + bytes(PEER)
    assert binary(PEER, OLD) == bytes(PEER)


@pytest.mark.parametrize(
    ("text", "kind"), [(v.PEER_INFO_RUNNING, PeerInfo), (v.POINT_INFO_RUNNING, PointInfo)]
)
def test_what_2026_makes_of_peers_and_points_is_not_known(text, kind):
    assert binary(RPC[OLD].read(text, kind, "it"), NEW) is None


def test_what_has_no_form_in_bytes_has_none():
    info = RPC[OLD].read(v.PEER_INFO_MINIMAL, PeerInfo, "it")
    assert binary(attrs.evolve(info, peer_metadata={}), OLD) is None
    assert binary([], OLD) is None


def test_what_is_not_known_of_a_point_is_left_out():
    info = RPC[OLD].read(v.POINT_INFO_MINIMAL, PointInfo, "it")
    # Trust, no moment, the state, and seven things that are not there.
    assert binary(info, OLD) == bytes(1) + bytes(8) + b"\x03" + bytes(7)


def test_counters_are_written_in_seven_bits_a_byte():
    metadata = TezosMetadata(valid_blocks=Counter(300))
    info = attrs.evolve(
        RPC[OLD].read(v.PEER_INFO_MINIMAL, PeerInfo, "it"), peer_metadata=metadata
    )
    # 300 is two groups of seven bits, 44 and 2: one byte more than a zero takes.
    plain = binary(attrs.evolve(info, peer_metadata=TezosMetadata()), OLD)
    written = binary(info, OLD)
    assert len(written) == len(plain) + 1
    assert b"\x00\xac\x02\x00" in written
