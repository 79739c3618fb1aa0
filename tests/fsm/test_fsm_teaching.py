"""Which points a peer may teach us: scopes, what is known, and rations."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tezos_p2p.fsm.teaching import (
    BY_PARTY,
    BY_PEER,
    OF_PREFIX,
    Teaching,
    party_of,
)
from tezos_p2p.spec.address import Address
from tezos_p2p.spec.identity import PeerId
from tezos_p2p.spec.point import Point

STRANGER = Address.parse("9.9.9.9")
NEIGHBOUR = Address.parse("192.168.0.9")


def peer(number: int) -> PeerId:
    return PeerId(number.to_bytes(16, "big"))


def spread(count: int, first: int = 0) -> list[Point]:
    """Points of the Internet, each in a /24 of its own."""
    base = Address.parse("20.0.0.1")
    return [Point(Address(base + (first + n) * 256), 9732) for n in range(count)]


def unknown(_: Point) -> bool:
    return False


def test_what_is_known_is_free_and_not_learnt_again():
    known: dict[Point, None] = {}
    teaching = Teaching(known.__contains__)
    for _ in range(50):
        # The same list for ever: the peer uses nothing up.
        for each in teaching.sift(STRANGER, peer(1), spread(50), 0.0):
            known[each] = None
    assert len(known) == 50
    assert len(teaching.sift(STRANGER, peer(1), spread(50, 50), 0.0)) == 50
    assert teaching.refused == 0


def test_points_come_once_and_in_order():
    points = spread(5)
    told = [points[3], points[1], points[3], points[1], points[0]]
    assert Teaching(unknown).sift(STRANGER, peer(1), told, 0.0) == (
        points[3],
        points[1],
        points[0],
    )


def test_what_is_told_twice_counts_once():
    host = Address.parse("20.1.1.1")
    points = [Point(host, 1)] * 100 + [Point(host, 2)] * 100
    teaching = Teaching(unknown)
    assert len(teaching.sift(STRANGER, peer(1), points, 0.0)) == 2
    assert teaching.refused == 0


def test_what_lies_nearer_than_the_peer_is_not_learnt():
    texts = ("8.8.8.8:1", "10.0.0.1:1", "127.0.0.1:1", "224.0.0.1:1", "8.8.8.8:0")
    points = [Point.parse(text) for text in texts]
    teaching = Teaching(unknown)
    assert teaching.sift(STRANGER, peer(1), points, 0.0) == tuple(points[:1])
    assert teaching.sift(NEIGHBOUR, peer(2), points, 0.0) == tuple(points[:2])
    local = Address.parse("::1")
    assert teaching.sift(local, peer(3), points, 0.0) == tuple(points[:3])
    assert teaching.refused == 0


def test_a_peer_teaches_a_hundred_points_at_once_and_three_a_minute():
    teaching = Teaching(unknown)
    burst = BY_PEER[1]
    assert len(teaching.sift(STRANGER, peer(1), spread(burst), 0.0)) == burst
    # The rest of the list is not looked at any more.
    assert teaching.sift(STRANGER, peer(1), spread(100, burst), 0.0) == ()
    assert teaching.refused == 1
    assert len(teaching.sift(STRANGER, peer(1), spread(100, 200), 60.0)) == 3
    assert len(teaching.sift(STRANGER, peer(1), spread(100, 300), 1e5)) == burst


def test_a_party_has_one_ration_for_all_its_peers():
    teaching = Teaching(unknown)
    learnt = 0
    for number in range(10):
        host = Address.parse(f"9.9.9.{number}")
        points = spread(100, number * 100)
        learnt += len(teaching.sift(host, peer(number), points, 0.0))
    assert learnt == BY_PARTY[1]
    # Others are none the worse for it.
    assert len(teaching.sift(Address.parse("9.9.8.1"), peer(99), spread(100), 0.0)) == 100


def test_neighbours_are_parties_of_their_own():
    teaching = Teaching(unknown)
    for number in range(10):
        points = spread(100, number * 100)
        assert len(teaching.sift(NEIGHBOUR, peer(number), points, 0.0)) == 100


def test_a_thousand_ports_of_one_host_are_eight_points():
    teaching = Teaching(unknown)
    host = Address.parse("20.1.1.1")
    ports = [Point(host, port) for port in range(1, 1001)]
    assert len(teaching.sift(STRANGER, peer(1), ports, 0.0)) == OF_PREFIX[1]
    assert teaching.refused == 1000 - OF_PREFIX[1]
    # The host's neighbours count with it; others do not, nor do other teachers.
    assert teaching.sift(STRANGER, peer(1), [Point.parse("20.1.1.2:1")], 0.0) == ()
    assert len(teaching.sift(STRANGER, peer(1), spread(92), 0.0)) == 92
    other = Address.parse("9.8.7.6")
    assert len(teaching.sift(other, peer(2), ports, 0.0)) == OF_PREFIX[1]


def test_a_sandbox_has_many_ports():
    local = Address.parse("127.0.0.1")
    ports = [Point(local, port) for port in range(1, 61)]
    assert len(Teaching(unknown).sift(local, peer(1), ports, 0.0)) == 60


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("9.9.9.9", "9.9.9.1", True),
        ("9.9.9.9", "9.9.8.9", False),
        ("2600::1", "2600:0:0:ff::1", True),
        ("2600::1", "2600:0:0:100::1", False),
        ("2002:909:909::1", "9.9.9.9", True),
        ("10.0.0.1", "10.0.0.1", False),
    ],
)
def test_who_answers_for_a_peer(one, other, same):
    parties = (
        party_of(Address.parse(one), peer(1)),
        party_of(Address.parse(other), peer(2)),
    )
    assert (parties[0] == parties[1]) is same


def test_what_is_remembered_is_bounded():
    teaching = Teaching(unknown)
    for number in range(5000):
        host = Address(STRANGER + number * 256)
        teaching.sift(host, peer(number), spread(1, number), 0.0)
    assert len(teaching._by_peer) == BY_PEER[2]
    assert len(teaching._by_party) == BY_PARTY[2]
    assert len(teaching._of_prefix) == OF_PREFIX[2]


@given(
    st.lists(
        st.tuples(
            st.integers(0, 5),
            st.integers(0, 400),
            st.integers(0, 120),
            st.floats(0.0, 100.0),
        ),
        max_size=30,
    )
)
def test_no_schedule_of_lists_teaches_more_than_the_rations(steps):
    teaching, known, now = Teaching(unknown), 0, 0.0
    for who, first, count, later in steps:
        now += later
        host = Address.parse(f"9.9.9.{who}")
        learnt = teaching.sift(host, peer(who), spread(count, first), now)
        assert len(set(learnt)) == len(learnt)
        known += len(learnt)
    assert known <= BY_PARTY[1] + now * BY_PARTY[0] + 1
