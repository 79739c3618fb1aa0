"""What a node makes of where those listen who come to it; and of whom it tells others."""

from __future__ import annotations

import attrs
import pytest
from nodes import Sim, identity, node, point
from scenes import IDLE, dial, idle_nodes, part, put, told

from tezos_p2p.fsm.pool import TOLD_OF_HOST
from tezos_p2p.spec.address import Address
from tezos_p2p.spec.message import Bootstrap
from tezos_p2p.spec.point import ConnectionId, Point
from tezos_p2p.spec.pool_events import RejectingRequest
from tezos_p2p.spec.version import MAINNET

TIGHT = attrs.evolve(IDLE, max_known_points=(16, 12))


def nobody(_point: Point) -> bool:
    return False


def came(sim: Sim, address: Address, number: int, port: int) -> None:
    """Have somebody come from an address, say where he listens, and go."""
    made = node(number, limits=IDLE, port=port, seed=port, discovers=False)
    host = sim.add(Point(address, 10_000 + port), made)
    dial(sim, host, 0)
    sim.run(0.3)
    part(sim, host, 0)
    sim.run(0.2)
    sim.kill(host)


def met_ten(**settings):
    """Return a node that has dialled ten others, and left them."""
    sim = Sim(1)
    own = node(0, **{"limits": TIGHT, "discovers": False, **settings})
    us = sim.add(point(0), own, keeps=True)
    idle_nodes(sim, range(1, 11), discovers=False)
    for number in range(1, 11):
        dial(sim, us, number)
        sim.run(0.5)
        part(sim, us, number)
    sim.run(1.0)
    told(us)
    return sim, us


def test_ports_announced_one_after_the_other_drive_nobody_out():
    sim, us = met_ten()
    evil = point(70).address
    for port in range(1, 40):
        came(sim, evil, 70, port)
    known = us.node.pool.known_points
    assert [each.port for each in known if each.address == evil] == [39]
    assert all(point(number) in known for number in range(1, 11))
    listed = us.node.pool.advertised(50, banned=nobody)
    assert len(listed) == 11


def test_neither_do_those_of_many_identities():
    sim, us = met_ten()
    evil = point(70).address
    for number in range(100, 130):
        came(sim, evil, number, number)
    known = us.node.pool.known_points
    assert sum(each.address == evil for each in known) <= 8
    assert all(point(number) in known for number in range(1, 11))
    listed = us.node.pool.advertised(50, banned=nobody)
    assert sum(each.address == evil for each in listed) == TOLD_OF_HOST


def test_to_come_proves_no_port_and_to_be_dialled_does():
    sim, us = met_ten(limits=IDLE)
    known = us.node.pool.known_points
    came(sim, point(70).address, 70, 9732)
    assert known[point(70)].reached is None
    seen = known[point(70)].last_seen
    assert seen is not None
    # Who was dialled, and comes later himself, is not thought of worse for that.
    at = known[point(1)].reached
    assert at is not None
    dial(sim, sim.hosts[1], 0)
    sim.run(1.0)
    part(sim, sim.hosts[1], 0)
    sim.run(1.0)
    assert known[point(1)].reached == at
    assert not known[point(1)].named
    keeps = us.node.pool._worth_keeping
    assert keeps(known[point(1)], sim.now)
    assert not keeps(known[point(70)], sim.now)
    sim.kill(sim.hosts[1])
    dial(sim, us, 1)
    sim.run(1.0)
    assert not keeps(known[point(1)], sim.now)


def test_who_is_there_and_refuses_us_was_reached():
    sim = Sim(1)
    full = attrs.evolve(IDLE, min_connections=0, expected_connections=0)
    us = sim.add(point(0), node(0, limits=IDLE))
    sim.add(point(1), node(1, limits=attrs.evolve(full, max_connections=0)))
    dial(sim, us, 1)
    sim.run(1.0)
    info = us.node.pool.known_points[point(1)]
    assert info.last_rejected is not None
    assert info.reached == info.last_rejected.at


# -- other networks --------------------------------------------------------------------


@pytest.mark.parametrize("known", [False, True])
def test_who_is_of_another_network_is_not_entered_nor_told_of(known):
    sim = Sim(1)
    us, friend = idle_nodes(sim, (0, 2))
    alien = sim.add(point(1), node(1, limits=IDLE, network=MAINNET), keeps=True)
    if known:
        us.node.pool.learn([point(1)], 0.0)
    dial(sim, alien, 0)
    sim.run(1.0)
    assert (point(1) in us.node.pool.known_points) is known
    dial(sim, friend, 0)
    sim.run(1.0)
    put(sim, friend, 0, Bootstrap())
    sim.run(1.0)
    assert point(1) not in friend.node.pool.known_points


@pytest.mark.parametrize("why", ["nobody's", "trusted", "expected"])
def test_whom_we_find_to_be_of_another_network_is_told_of_no_more(why):
    sim = Sim(1)
    (us,) = idle_nodes(sim, range(1))
    sim.add(point(1), node(1, limits=IDLE, network=MAINNET))
    info = us.node.pool.register_point(point(1), 0.0)
    info.known_public = True  # it was of ours
    info.trusted = why == "trusted"
    info.expected = identity(1).peer_id if why == "expected" else None
    dial(sim, us, 1)
    sim.run(1.0)
    assert (point(1) in us.node.pool.known_points) is (why != "nobody's")
    assert not info.known_public
    assert info.reached is None


def test_a_refusal_does_not_tell_the_refused_of_himself():
    sim = Sim(1)
    nothing = attrs.evolve(IDLE, min_connections=0, expected_connections=0)
    made = node(0, limits=attrs.evolve(nothing, max_connections=0))
    us = sim.add(point(0), made, keeps=True)
    for number in (1, 2):
        made.pool.register_point(point(number), 0.0).known_public = True
    guest, _ = idle_nodes(sim, range(1, 3))
    dial(sim, guest, 0)
    sim.run(1.0)
    assert RejectingRequest in map(type, told(us))
    known = guest.node.pool.known_points
    assert point(2) in known
    assert point(1) not in known


# -- whom a node knows best ------------------------------------------------------------


def test_a_node_that_knows_its_own_network_well_tells_strangers_of_others():
    made = node(0, limits=attrs.evolve(IDLE, max_known_points=None))
    made.start(0.0, 0.0)
    near = [Point(Address.parse(f"10.0.0.{n}"), 9732) for n in range(1, 101)]
    far = [point(number) for number in range(1, 31)]
    for number, each in enumerate(near + far):
        info = made.pool.register_point(each, 0.0)
        info.known_public = True
        if each in near:
            info.run(identity(number).peer_id, 0.0, number)
    stranger, neighbour = point(90).address, near[0].address
    refused = made._reception.chosen.points
    assert sorted(refused(ConnectionId(stranger), 5.0)) == sorted(far)
    assert sorted(made._world.points(stranger, 5.0)) == sorted(far)
    for listed in (
        refused(ConnectionId(neighbour), 5.0),
        made._world.points(neighbour, 5.0),
    ):
        assert len(listed) == 50
        assert set(near).intersection(listed)


def test_what_a_stranger_of_another_network_says_of_a_point_changes_nothing():
    sim = Sim(1)
    (us,) = idle_nodes(sim, range(1))
    alien = sim.add(point(1), node(1, limits=IDLE, network=MAINNET))
    info = us.node.pool.register_point(point(1), 0.0)
    info.known_public = True  # somebody else at that address was met there
    dial(sim, alien, 0)
    sim.run(1.0)
    assert us.node.pool.active == 0
    assert info.known_public


# -- who holds an address --------------------------------------------------------------


def test_what_one_prefix_may_is_the_same_in_all_its_notations():
    made = node(0, limits=IDLE)
    made.start(0.0, 0.0)

    def knock(host):
        link = made.accept(Point(Address.parse(host), 1000), 0.0)
        if link is not None:
            made.link_lost(link, None, 0.0)
        return link is not None

    # All are of 66.66.66.66: its 6to4 prefix, NAT64, and itself.
    assert sum(knock("66.66.66.66") for _ in range(15)) == 15
    assert sum(knock(f"2002:4242:4242:{n:x}00::1") for n in range(100)) == 5
    assert not knock("64:ff9b::4242:4242")
    assert knock("66.66.67.66")
