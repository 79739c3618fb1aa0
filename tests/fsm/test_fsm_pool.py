"""Tables: registration, collection, who is connected, lists of points."""

from __future__ import annotations

import random

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tezos_p2p.fsm.machine import LocalProtocolError
from tezos_p2p.fsm.point import PointInfo, State
from tezos_p2p.fsm.pool import OWN_POINTS_MAX, TOLD_OF_HOST, Pool, Running
from tezos_p2p.spec.address import Address
from tezos_p2p.spec.events import Remote
from tezos_p2p.spec.hello import ConnectionMessage, ConnectionMetadata
from tezos_p2p.spec.identity import PeerId
from tezos_p2p.spec.limits import Limits
from tezos_p2p.spec.point import ConnectionId, Point
from tezos_p2p.spec.pool_events import GcPeerIds, GcPoints, NewPeer, NewPoint
from tezos_p2p.spec.version import SANDBOX

#: Hosts on networks of their own.
LOCAL = ("10.0.0.1", "127.0.0.1")
TINY = attrs.evolve(Limits(), max_known_points=(4, 3), max_known_peer_ids=(4, 3))


def point(number: int) -> Point:
    return Point(Address.parse(f"20.0.{number // 250}.{number % 250 + 1}"), 9732)


def peer(number: int) -> PeerId:
    return PeerId(number.to_bytes(16, "big"))


def pool(limits: Limits = TINY, seed: int = 0) -> Pool[float]:
    return Pool(limits, lambda: 1.0, lambda score: score, random.Random(seed).random)


def running(
    it: Pool[float],
    link: int,
    *,
    at: Point | None = None,
    private: bool = False,
    port: int | None = 9732,
) -> Running[float]:
    """Enter a connection of a peer with the number of its link."""
    message = ConnectionMessage(
        port or 0, bytes(32), bytes(24), bytes(24), SANDBOX.announced
    )
    info = None if at is None else it.register_point(at, 0.0)
    address = point(link).address if at is None else at.address
    made = Running(
        link=link,
        peer=it.register_peer(peer(link), 0.0),
        point=info,
        id_point=ConnectionId(address, port),
        incoming=at is None,
        private=private,
        version=SANDBOX.announced,
        remote=Remote(peer(link), message, ConnectionMetadata(private_node=private)),
        since=0.0,
    )
    it.join(made, 0.0)
    return made


def nobody(_: Point) -> bool:
    return False


# -- registration ----------------------------------------------------------------------


def test_a_point_is_entered_once_and_told_once() -> None:
    it = pool()
    info = it.register_point(point(1), 0.0)
    assert it.register_point(point(1), 1.0) is info
    assert it.register_new_point(point(1), 1.0) is info
    assert list(it.events) == [NewPoint(point(1))]
    assert it.news == 1


def test_trust_and_expectation_change_only_when_they_are_given() -> None:
    it = pool()
    info = it.register_point(point(1), 0.0, trusted=True, expected=peer(1))
    it.register_point(point(1), 0.0)
    assert (info.trusted, info.expected) == (True, peer(1))
    it.register_point(point(1), 0.0, trusted=False, expected=peer(2))
    assert (info.trusted, info.expected) == (False, peer(2))


def test_a_point_can_be_forgotten_whatever_its_state() -> None:
    it = pool()
    it.register_point(point(1), 0.0).request(7, 0.0)
    it.unregister_point(point(1))
    it.unregister_point(point(1))
    assert it.known_points == {}


def test_a_peer_is_entered_once_with_fresh_metadata() -> None:
    it = pool()
    info = it.register_peer(peer(1), 3.0)
    assert (info.metadata, info.created) == (1.0, 3.0)
    assert it.register_peer(peer(1), 4.0) is info
    assert list(it.events) == [NewPeer(peer(1))]


def test_own_points_are_forgotten_and_not_learnt_again() -> None:
    it = pool()
    it.register_point(point(1), 0.0, trusted=True)
    it.add_own_point(point(1))
    assert it.is_own(point(1))
    assert it.register_new_point(point(1), 0.0) is None
    assert it.known_points == {}


def test_the_own_points_that_were_asked_for_last_are_remembered() -> None:
    it = pool()
    for number in range(OWN_POINTS_MAX):
        it.add_own_point(point(number))
    assert it.is_own(point(0))  # and so it is the last one used
    it.add_own_point(point(100))
    assert not it.is_own(point(1))
    assert it.is_own(point(0))


# -- collection ------------------------------------------------------------------------


def test_points_that_were_missed_longest_ago_go_first_and_untried_ones_last() -> None:
    it = pool()
    for number in range(4):
        info = it.register_point(point(number), 0.0)
        if number:
            info.request(1, 0.0)
            info.disconnect(10.0 - number)
    it.register_point(point(9), 20.0)
    # 4 were there, 3 are left, and the new one came.
    assert list(it.known_points) == [point(0), point(1), point(2), point(9)]
    assert GcPoints() in it.events


def test_of_points_never_tried_the_newest_go_first() -> None:
    it = pool()
    for number in range(5):
        it.register_point(point(number), 0.0)
    # The table is full at four; one goes, then the fifth is entered.
    assert list(it.known_points) == [point(number) for number in (0, 1, 2, 4)]


def test_a_table_is_never_above_its_bound_even_if_collection_leaves_as_many() -> None:
    same = attrs.evolve(Limits(), max_known_points=(4, 4), max_known_peer_ids=(4, 4))
    it = pool(same)
    for number in range(9):
        it.register_point(point(number), 0.0)
        it.register_peer(peer(number), 0.0)
        assert len(it.known_points) == len(it.known_peers) == min(4, number + 1)


def test_a_table_is_not_looked_through_for_each_that_comes_to_it() -> None:
    looks = [0]

    def looked(info: PointInfo, now: float) -> bool:
        looks[0] += 1
        return False

    for left in (800, 790, 600):
        bounds = (800, left)
        most = attrs.evolve(Limits(), max_known_points=bounds, max_known_peer_ids=bounds)
        it: Pool[float] = Pool(
            most,
            lambda: 1.0,
            lambda score: score,
            random.Random(0).random,
            worth_keeping=looked,
        )
        looks[0] = 0
        for number in range(1600):
            it.register_new_point(point(number), 0.0)
            assert len(it.known_points) <= 800
        assert looks[0] <= 8 * 800
        assert len(it.known_points) >= min(left, 700)


def test_what_others_teach_drives_out_no_seed_that_was_once_not_there() -> None:
    it = pool(attrs.evolve(Limits(), max_known_points=(20, 15)))
    for number in range(10):
        info = it.register_point(point(number), 0.0)
        info.request(1, 1.0)
        info.disconnect(1.0)
    it.learn(map(point, range(100, 1000)), 2.0)
    assert [each for each in it.known_points if it.known_points[each].named] == [
        point(number) for number in range(10)
    ]


def test_points_that_nobody_was_met_at_go_before_those_where_somebody_was() -> None:
    it = pool(attrs.evolve(Limits(), max_known_points=(5, 5)))
    it.learn(map(point, range(4)), 0.0)
    met, gone, failed = (it.known_points[point(number)] for number in range(3))
    for info in (met, gone):
        info.run(peer(1), 1.0, 1)
        info.disconnect(1.0)
    for info, at in ((gone, 2.0), (failed, 2.5)):
        info.request(1, at)
        info.disconnect(at)
    order = []
    for number in range(10, 14):
        before = list(it.known_points)
        it.register_point(point(number), 3.0)
        order += [each for each in before if each not in it.known_points]
    assert order == [point(1), point(2), point(3)]
    it.register_point(point(14), 3.0)
    assert point(0) not in it.known_points


def test_who_names_a_point_that_others_told_of_makes_it_his() -> None:
    it = pool()
    info = it.register_new_point(point(1), 0.0)
    assert info is not None
    assert not info.named
    assert it.register_point(point(1), 0.0) is info
    assert info.named
    it.learn([point(1)], 0.0)
    assert info.named
    it.add_own_point(point(2))
    it.learn([point(2), point(3)], 0.0, named=True)
    assert point(2) not in it.known_points
    assert it.known_points[point(3)].named


def test_what_was_forgotten_and_entered_anew_outlives_the_old_connection() -> None:
    it = pool()
    running(it, 1, at=point(7))
    it.unregister_point(point(7))
    running(it, 2, at=point(7))
    it.leave(1, 1.0, requested=False)
    found = it.by_point(point(7))
    assert found is not None
    assert found.link == 2


def test_whoever_is_trusted_or_busy_is_not_collected() -> None:
    it = pool()
    for number in range(3):
        it.register_point(point(number), 0.0, trusted=True)
    it.register_point(point(3), 0.0).request(1, 0.0)
    it.register_point(point(4), 0.0)
    assert len(it.known_points) == 5
    it.register_point(point(5), 0.0)
    assert point(4) not in it.known_points
    assert all(point(number) in it.known_points for number in (0, 1, 2, 3, 5))


def test_peers_of_the_lowest_score_go_first_and_of_equals_the_newest() -> None:
    it = pool()
    for number, score in enumerate((1.0, 1.0, 0.5, 1.0)):
        it.register_peer(peer(number), float(number)).metadata = score
    it.register_peer(peer(8), 8.0)
    assert list(it.known_peers) == [peer(0), peer(1), peer(3), peer(8)]
    it.register_peer(peer(9), 9.0)
    assert list(it.known_peers) == [peer(0), peer(1), peer(3), peer(9)]
    assert GcPeerIds() in it.events


def test_a_score_that_is_no_number_is_the_lowest() -> None:
    it = pool()
    for number in range(4):
        it.register_peer(peer(number), 0.0).metadata = float("nan") if not number else 0
    it.register_peer(peer(9), 0.0)
    assert peer(0) not in it.known_peers


def test_peers_that_are_trusted_or_connected_stay() -> None:
    it = pool()
    running(it, 0)
    it.register_peer(peer(1), 0.0).trusted = True
    for number in range(2, 30):
        it.register_peer(peer(number), float(number))
        assert len(it.known_peers) <= 5
    assert peer(0) in it.known_peers
    assert peer(1) in it.known_peers


def test_without_bounds_nothing_is_collected() -> None:
    limits = attrs.evolve(TINY, max_known_points=None, max_known_peer_ids=None)
    it = pool(limits)
    for number in range(50):
        it.register_point(point(number), 0.0)
        it.register_peer(peer(number), 0.0)
    assert len(it.known_points) == len(it.known_peers) == 50


def test_a_table_without_room_keeps_one() -> None:
    it = pool(attrs.evolve(TINY, max_known_points=(0, 0)))
    for number in range(3):
        it.register_point(point(number), 0.0)
        assert list(it.known_points) == [point(number)]


# -- connections -----------------------------------------------------------------------


def test_who_is_connected_is_found_by_peer_and_by_point() -> None:
    it = pool()
    made = running(it, 1, at=point(1))
    assert it.by_peer(peer(1)) is made
    assert it.by_point(point(1)) is made
    assert it.active == 1
    assert it.known_points[point(1)].state is State.RUNNING
    assert it.leave(1, 5.0) is made
    assert it.by_peer(peer(1)) is None
    assert it.by_point(point(1)) is None
    assert it.known_points[point(1)].state is State.DISCONNECTED
    assert it.active == 0


def test_a_peer_has_one_connection() -> None:
    it = pool()
    made = running(it, 1)
    again = attrs.evolve(made, link=2)
    with pytest.raises(LocalProtocolError, match="join"):
        it.join(again, 0.0)
    assert list(it.running) == [1]


def test_a_connection_is_trusted_as_its_peer_or_its_point_is_now() -> None:
    it = pool()
    made = running(it, 1, at=point(1))
    assert not made.trusted
    it.known_points[point(1)].trusted = True
    assert made.trusted
    it.known_points[point(1)].trusted = False
    made.peer.trusted = True
    assert made.trusted
    assert not running(it, 2).trusted


def test_connections_are_drawn_from_those_that_are_not_private() -> None:
    it = pool(Limits())
    running(it, 1, private=True)
    assert it.random_running() is None
    running(it, 2, port=None)
    running(it, 3)
    drawn = {it.random_running().link for _ in range(50)}  # type: ignore[union-attr]  # there are two
    assert drawn == {2, 3}
    found = it.random_running(with_port=True)
    assert found is not None
    assert found.link == 3
    assert it.random_running(with_port=True, but=3) is None
    it.leave(3, 0.0)
    assert it.random_running(with_port=True) is None


# -- lists -----------------------------------------------------------------------------


def met(it: Pool[float], number: int, at: float | None = None) -> None:
    info = it.register_point(point(number), 0.0)
    info.known_public = True
    if at is not None:
        info.run(peer(number), at, number)
        info.disconnect(at)


def test_only_points_that_were_met_and_are_not_banned_are_told() -> None:
    it = pool(Limits())
    it.register_point(point(1), 0.0)
    met(it, 2)
    met(it, 3)
    assert it.advertised(50, banned=lambda each: each == point(3)) == (point(2),)
    assert it.advertised(0, banned=nobody) == ()


def test_the_connected_are_told_first_then_the_last_seen() -> None:
    it = pool(Limits())
    met(it, 1, 10.0)
    met(it, 2, 30.0)
    met(it, 3, 20.0)
    met(it, 4)
    info = it.register_point(point(5), 0.0)
    info.known_public = True
    info.request(9, 0.0)
    told = it.advertised(50, banned=nobody)
    assert told == (point(5), point(2), point(3), point(1), point(4))


def test_of_many_the_best_are_told_and_some_of_the_rest() -> None:
    it = pool(attrs.evolve(Limits(), max_known_points=None))
    for number in range(200):
        met(it, number, float(number))
    told = it.advertised(50, banned=nobody)
    assert len(told) == len(set(told)) == 50
    assert told[:30] == tuple(point(199 - number) for number in range(30))
    assert set(told[30:]) != {point(169 - number) for number in range(20)}


def test_of_one_host_few_points_are_told() -> None:
    it = pool(attrs.evolve(Limits(), max_known_points=None))
    hosts = {
        "20.0.0.1": TOLD_OF_HOST,
        "2a00::1": TOLD_OF_HOST,
        "10.0.0.1": 20,
        "127.0.0.1": 20,
    }
    for host, most in hosts.items():
        for port in range(1, 21):
            info = it.register_point(Point(Address.parse(host), port), 0.0)
            info.known_public = True
        told = it.advertised(100, banned=lambda each, h=host: str(each.address) != h)
        assert len(told) == most
    for number in range(1, 21):
        met(it, number)
    told = it.advertised(100, banned=lambda each: str(each.address) in LOCAL)
    assert len(told) == 20 + 2 * TOLD_OF_HOST


# -- invariants ------------------------------------------------------------------------


@given(
    st.lists(
        st.tuples(st.sampled_from(["point", "peer", "join", "leave"]), st.integers(0, 12))
    )
)
def test_tables_agree_and_stay_within_bounds(steps: list[tuple[str, int]]) -> None:
    it = pool()
    now = 0.0
    for step, number in steps:
        now += 1.0
        if step == "point":
            it.register_point(point(number), now)
        elif step == "peer":
            it.register_peer(peer(number), now)
        elif step == "join" and number not in it.running:
            running(it, number, at=point(number) if number % 2 else None)
        elif step == "leave" and number in it.running:
            it.leave(number, now)
        busy = len(it.running)
        assert len(it.known_points) <= 5 + busy
        assert len(it.known_peers) <= 5 + busy
        for link, each in it.running.items():
            assert it.by_peer(each.peer.peer_id) is each
            assert it.known_peers[each.peer.peer_id].link == link
            assert each.point is None or it.by_point(each.point.point) is each
