"""Points that are known because somebody came and announced them: at the bounds."""

from __future__ import annotations

import random
from typing import Any

import attrs
import pytest

from tezos_p2p.fsm import announced as module
from tezos_p2p.fsm.announced import OF_PARTY, Announced
from tezos_p2p.fsm.point import PointInfo
from tezos_p2p.fsm.pool import Pool
from tezos_p2p.spec.address import Address
from tezos_p2p.spec.identity import PeerId
from tezos_p2p.spec.limits import Limits
from tezos_p2p.spec.point import ConnectionId, Point


def peer(number: int) -> PeerId:
    return PeerId(number.to_bytes(16, "big"))


def at(host: str, port: int | None = 9732) -> ConnectionId:
    return ConnectionId(Address.parse(host), port)


@attrs.define
class Scene:
    """Announcements of peers, and the ports and hosts that are known for them."""

    pool: Pool[Any]
    it: Announced

    def come(self, who: int, host: str, port: int | None = 9732) -> PointInfo | None:
        return self.it.enter(at(host, port), peer(who), 0.0)

    @property
    def known(self) -> list[str]:
        return [str(point) for point in self.pool.known_points]


@pytest.fixture
def scene() -> Scene:
    unbounded = attrs.evolve(Limits(), max_known_points=None)
    pool: Pool[Any] = Pool(
        unbounded, lambda: None, lambda _: 1.0, random.Random(0).random
    )
    return Scene(pool, Announced(pool))


def test_of_a_peer_the_last_port_is_known(scene: Scene) -> None:
    for port in range(1, 100):
        info = scene.come(1, "20.0.0.1", port)
        assert info is not None
        assert scene.known == [f"20.0.0.1:{port}"]
        assert not info.named


def test_who_says_the_same_again_changes_nothing(scene: Scene) -> None:
    first = scene.come(1, "20.0.0.1")
    assert scene.come(1, "20.0.0.1") is first
    assert scene.come(2, "20.0.0.1") is first


def test_who_announces_nothing_or_is_of_another_network_is_not_entered(
    scene: Scene,
) -> None:
    assert scene.come(1, "20.0.0.1", None) is None
    assert scene.it.enter(at("20.0.0.1"), None, 0.0) is None
    assert scene.known == []
    info = scene.come(1, "20.0.0.1")
    assert scene.it.enter(at("20.0.0.1"), None, 0.0) is info


def test_our_own_point_is_not_entered(scene: Scene) -> None:
    own = Point(Address.parse("20.0.0.1"), 9732)
    scene.pool.add_own_point(own)
    assert scene.come(1, "20.0.0.1") is None


@pytest.mark.parametrize(
    "hosts",
    [
        ["20.0.0.1"] * 20,
        [f"20.0.0.{n}" for n in range(20)],
        [f"2a00:0:0:{n:x}::1" for n in range(20)],
        [f"2002:1400:1:{n:x}::1" for n in range(20)],
    ],
)
def test_of_a_prefix_the_last_eight_are_known(scene: Scene, hosts: list[str]) -> None:
    elsewhere = scene.come(99, "20.9.0.1")
    for number, host in enumerate(hosts):
        scene.come(number, host, 100 + number)
        assert len(scene.known) == 1 + min(OF_PARTY, number + 1)
    assert elsewhere is not None
    assert elsewhere.point in scene.pool.known_points
    assert [point.port for point in scene.pool.known_points] == [9732, *range(112, 120)]


def test_neighbours_in_a_network_of_ones_own_are_parties_each(scene: Scene) -> None:
    for number in range(100):
        scene.come(number, "127.0.0.1", 100 + number)
    assert len(scene.known) == 100


def test_who_is_connected_does_not_count_and_stays(scene: Scene) -> None:
    for number in range(50):
        info = scene.come(number, "20.0.0.1", 100 + number)
        assert info is not None
        info.run(peer(number), 0.0, number)
    assert len(scene.known) == 50
    scene.come(1, "20.0.0.1", 300)
    assert len(scene.known) == 51
    for info in scene.pool.known_points.values():
        if info.point.port != 300:
            info.disconnect(1.0)
    scene.come(77, "20.0.0.1", 301)
    assert [point.port for point in scene.pool.known_points] == [
        *range(144, 150),
        300,
        301,
    ]


def test_what_we_have_reached_counts_and_stays(scene: Scene) -> None:
    for number in range(OF_PARTY):
        info = scene.come(1, "20.0.0.1", 100 + number)
        assert info is not None
        info.reached = 5.0
    before = scene.known
    assert len(before) == OF_PARTY
    assert scene.come(1, "20.0.0.1", 200) is None
    assert scene.come(2, "20.0.0.2", 200) is None
    assert scene.known == before


@pytest.mark.parametrize("why", ["named", "trusted", "expected"])
def test_what_somebody_wants_does_not_count_and_stays(scene: Scene, why: str) -> None:
    for number in range(20):
        info = scene.come(1, "20.0.0.1", 100 + number)
        assert info is not None
        setattr(info, why, peer(1) if why == "expected" else True)
    assert len(scene.known) == 20


def test_what_was_forgotten_meanwhile_is_no_matter(scene: Scene) -> None:
    first = scene.come(1, "20.0.0.1", 100)
    assert first is not None
    scene.pool.unregister_point(first.point)
    assert scene.come(1, "20.0.0.1", 101) is not None
    assert scene.known == ["20.0.0.1:101"]


def test_no_more_are_remembered_than_a_number(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REMEMBERED", 3)
    for number in range(9):
        scene.come(number, f"20.{number}.0.1")
    assert len(scene.it._by_peer) == len(scene.it._by_party) == 3
    # Whoever is forgotten may say another thing beside the first.
    scene.come(0, "20.0.0.1", 100)
    scene.come(8, "20.8.0.1", 100)
    assert len(scene.known) == 10
