"""What control messages make a node do: answers, throttles, swaps; nobody waits."""

from __future__ import annotations

import random
from collections.abc import Sequence

import attrs
import pytest

from tezos_p2p.fsm.answerer import (
    EVENTS_MAX,
    GAP,
    OFFER_MAX,
    SWAP_GAP,
    SWAP_SENT_GAP,
    Answerer,
    Command,
    Connect,
    Disconnect,
    Facts,
    Learn,
    Reply,
)
from tezos_p2p.fsm.machine import LocalProtocolError, compiled, shared
from tezos_p2p.fsm.scope import may_teach
from tezos_p2p.fsm.swap import STEERED_TIME, State
from tezos_p2p.spec import message as said
from tezos_p2p.spec import pool_events as told
from tezos_p2p.spec.address import Address
from tezos_p2p.spec.asides import PrivateAsked
from tezos_p2p.spec.identity import PeerId
from tezos_p2p.spec.message import Advertise, Bootstrap, SwapAck, SwapRequest
from tezos_p2p.spec.point import Point
from tezos_p2p.spec.reasons import Reason

A, B, C, D = 1, 2, 3, 4


def peer(number: int) -> PeerId:
    return PeerId(number.to_bytes(16, "big"))


def home(number: int) -> Point:
    return Point(Address.parse(f"20.{number}.0.1"), 9732)


NEW = Point.parse("77.1.0.1:9732")
STRANGER = peer(99)


def facts_of(number: int, **changes) -> Facts:
    there = home(number)
    return attrs.evolve(Facts(number, peer(number), there.address, there), **changes)


@attrs.define(eq=False)
class Scene:
    """A world that says what a test has put into it; picks go round in order."""

    links: dict[int, Facts] = attrs.field(factory=dict)
    told: list[Point] = attrs.field(factory=list)
    known: dict[Point, None] = attrs.field(factory=dict)
    forbidden: dict[Point, None] = attrs.field(factory=dict)
    banned: dict[PeerId, None] = attrs.field(factory=dict)
    room: bool = True
    made: int = 0
    picks: int = 0

    def facts(self, link: int) -> Facts | None:
        return self.links.get(link)

    def link_of(self, peer_id: PeerId) -> int | None:
        found = [each.link for each in self.links.values() if each.peer_id == peer_id]
        return found[0] if found else None

    def pick(self, *, but: int | None, with_port: bool) -> Facts | None:
        fit = [
            each
            for each in self.links.values()
            if each.link != but
            and not each.private
            and (each.point is not None or not with_port)
        ]
        self.picks += 1
        return fit[(self.picks - 1) % len(fit)] if fit else None

    def active(self) -> int:
        return len(self.links)

    def has_room(self) -> bool:
        return self.room

    def points(self, to: Address, now: float) -> Sequence[Point]:
        self.made += 1
        return [point for point in self.told if may_teach(to, point)]

    def knows(self, point: Point) -> bool:
        return point in self.known

    def is_banned(self, peer_id: PeerId, now: float) -> bool:
        return peer_id in self.banned

    def may_dial(self, point: Point, now: float) -> bool:
        return point not in self.forbidden


def scene(*links: int, **settings) -> tuple[Scene, Answerer]:
    world = Scene({link: facts_of(link) for link in links})
    settings.setdefault("linger", 30.0)
    return world, Answerer(world, **settings)


def commands(answerer: Answerer) -> list[Command]:
    return list(iter(answerer.next_command, None))


def events(answerer: Answerer) -> list[str]:
    names: list[str] = []
    for event in iter(answerer.next_event, None):
        assert isinstance(event, told.MessageTold | PrivateAsked)
        names.append(f"{event.name} {int.from_bytes(event.source, 'big')}")
    return names


def test_the_scene_is_a_world():
    from tezos_p2p.fsm.world import World

    world: World = Scene()
    assert world.pick(but=None, with_port=True) is None


# -- Bootstrap -------------------------------------------------------------------------


def test_who_asks_for_points_is_told_some():
    world, answerer = scene(A)
    world.told = [NEW, home(7)]
    answerer.received(A, Bootstrap(), 0.0)
    (reply,) = commands(answerer)
    assert reply == Reply(A, Advertise((NEW, home(7))), peer(A))
    assert events(answerer) == ["bootstrap_received 1"]
    assert isinstance(reply, Reply)
    answerer.replied(reply, True, 0.0)
    assert events(answerer) == ["advertise_sent 1"]
    answerer.replied(reply, False, 0.0)
    assert events(answerer) == []


def test_nobody_is_told_of_himself():
    world, answerer = scene(A)
    world.told = [home(A), NEW]
    answerer.received(A, Bootstrap(), 0.0)
    assert commands(answerer) == [Reply(A, Advertise((NEW,)), peer(A))]


@pytest.mark.parametrize("private", [False, True])
def test_without_points_or_for_the_private_there_is_no_answer(private):
    world, answerer = scene(A)
    if private:
        world.told = [NEW]
        world.links[A] = facts_of(A, private=True)
    answerer.received(A, Bootstrap(), 0.0)
    assert commands(answerer) == []
    received = ["bootstrap_received 1"]
    assert events(answerer) == received + ["private_asked 1"] * private
    answerer.received(A, Bootstrap(), 1.0)
    assert events(answerer) == received


def test_a_list_of_points_has_fifty_and_none_of_our_own_network_for_strangers():
    world, answerer = scene(A, B)
    near = [Point(Address.parse("10.0.0.1"), port) for port in range(1, 11)]
    far = [Point(Address.parse("8.8.8.8"), port) for port in range(1, 61)]
    world.told = near + far
    world.links[B] = facts_of(B, address=Address.parse("10.9.9.9"), point=None)
    answerer.received(A, Bootstrap(), 0.0)
    answerer.received(B, Bootstrap(), 0.0)
    to_stranger, to_neighbour = commands(answerer)
    assert to_stranger == Reply(A, Advertise(tuple(far[:50])), peer(A))
    assert to_neighbour == Reply(B, Advertise(tuple(near + far[:40])), peer(B))


def test_a_list_is_made_once_a_second_at_most():
    world, answerer = scene(A, B, C)
    world.told = [NEW]
    for now in (0.0, 0.3, 0.6, 0.9):
        for link in (A, B, C):
            answerer.received(link, Bootstrap(), now)
    assert world.made == 1
    assert len(commands(answerer)) == 12
    answerer.received(A, Bootstrap(), 1.0)
    assert world.made == 2
    world.told = [home(7)]
    answerer.renew()
    answerer.received(A, Bootstrap(), 1.2)
    assert commands(answerer)[-1] == Reply(A, Advertise((home(7),)), peer(A))


def test_a_flood_of_bootstraps_is_one_answer_in_a_tenth_of_a_second():
    world, answerer = scene(A, B)
    world.told = [NEW]
    for _ in range(1000):
        answerer.received(A, Bootstrap(), 0.0)
    assert len(commands(answerer)) == 1
    assert answerer.next_timeout() == GAP
    assert answerer.tally.throttled == 998  # one waits
    # The others are none the worse for it.
    answerer.received(B, Bootstrap(), 0.05)
    assert len(commands(answerer)) == 1
    answerer.handle_timeout(GAP)
    assert commands(answerer) == [Reply(A, Advertise((NEW,)), peer(A))]
    assert answerer.next_timeout() is None
    names = events(answerer)
    assert names == [
        "bootstrap_received 1",
        "bootstrap_received 2",
        "bootstrap_received 1",
    ]


def test_a_bootstrap_that_waits_goes_with_a_later_one():
    world, answerer = scene(A)
    world.told = [NEW]
    answerer.received(A, Bootstrap(), 0.0)
    answerer.received(A, Bootstrap(), 0.01)
    answerer.received(A, Bootstrap(), 0.2)  # the driver's timer is late
    answerer.handle_timeout(0.2)
    assert len(commands(answerer)) == 2
    assert answerer.next_timeout() is None


# -- Advertise -------------------------------------------------------------------------


def test_points_that_a_peer_tells_are_learnt():
    world, answerer = scene(A)
    world.known[home(7)] = None
    answerer.received(A, Advertise((NEW, home(7), Point.parse("10.0.0.1:1"))), 0.0)
    assert commands(answerer) == [Learn(A, (NEW,))]
    assert events(answerer) == ["advertise_received 1"]


def test_a_list_without_news_makes_us_do_nothing():
    _, answerer = scene(A)
    answerer.received(A, Advertise(()), 0.0)
    assert commands(answerer) == []
    assert events(answerer) == ["advertise_received 1"]


def test_one_advertise_waits_and_others_are_dropped():
    _, answerer = scene(A)
    for number in range(5):
        answerer.received(A, Advertise((home(number),)), number * 0.01)
    assert commands(answerer) == [Learn(A, (home(0),))]
    assert answerer.tally.throttled == 3
    answerer.handle_timeout(GAP)
    assert commands(answerer) == [Learn(A, (home(1),))]
    assert events(answerer) == ["advertise_received 1"] * 2


def test_the_two_kinds_wait_each_for_its_time():
    world, answerer = scene(A)
    world.told = [home(8)]
    answerer.received(A, Bootstrap(), 0.0)
    answerer.received(A, Advertise((NEW,)), 0.05)
    commands(answerer)
    answerer.received(A, Advertise((home(7),)), 0.06)
    assert answerer.next_timeout() == 0.05 + GAP
    answerer.received(A, Bootstrap(), 0.07)
    assert answerer.next_timeout() == GAP
    answerer.handle_timeout(0.09)
    assert commands(answerer) == []
    answerer.handle_timeout(GAP)
    assert commands(answerer) == [Reply(A, Advertise((home(8),)), peer(A))]
    assert answerer.next_timeout() == 0.05 + GAP
    answerer.handle_timeout(0.05 + GAP)
    assert commands(answerer) == [Learn(A, (home(7),))]
    assert answerer.next_timeout() is None


def test_after_a_peer_has_left_nothing_of_it_is_handled():
    world, answerer = scene(A, B)
    world.told = [NEW]
    for link in (A, B):
        answerer.received(link, Advertise((home(7),)), 0.0)
        answerer.received(link, Advertise((home(8),)), 0.0)
        answerer.received(link, Bootstrap(), 0.0)
        answerer.received(link, Bootstrap(), 0.0)
    commands(answerer)
    answerer.forget(A, 0.0)
    answerer.forget(A, 0.0)
    del world.links[A], world.links[B]  # of B the answerer was not told yet
    answerer.handle_timeout(1.0)
    assert commands(answerer) == []
    for message in (Bootstrap(), Advertise((NEW,)), SwapRequest(NEW, STRANGER)):
        answerer.received(A, message, 2.0)
    assert commands(answerer) == []
    answerer.forget(B, 0.0)
    assert not answerer._talks
    assert answerer.next_timeout() is None


# -- settings --------------------------------------------------------------------------

ALL = (
    Bootstrap(),
    Advertise((NEW,)),
    SwapRequest(NEW, STRANGER),
    SwapAck(NEW, STRANGER),
)


def test_a_private_node_ignores_them_all():
    world, answerer = scene(A, B, private_mode=True)
    world.told = [NEW]
    for message in ALL:
        answerer.received(A, message, 0.0)
    answerer.ask([A, B], 0.0)
    assert not answerer.swap(0.0)
    assert commands(answerer) == []
    kinds = ["bootstrap", "advertise", "swap_request", "swap_ack"]
    found = list(iter(answerer.next_event, None))
    assert found == [PrivateAsked(peer(A), kind, False) for kind in kinds]
    assert answerer.tally.ignored == 4


def test_that_a_private_node_ignores_somebody_is_told_once_for_each_connection():
    _, answerer = scene(A, B, private_mode=True)
    for now in (0.0, 1000.0):
        for link in (A, B, 9):
            answerer.received(link, Bootstrap(), now)
    found = list(iter(answerer.next_event, None))
    assert found == [PrivateAsked(peer(link), "bootstrap", False) for link in (A, B)]
    answerer.forget(A, 0.0)
    answerer.received(A, Bootstrap(), 1000.0)
    assert answerer.next_event() == found[0]
    assert answerer.next_event() is None


def test_without_discovery_points_are_neither_told_nor_learnt():
    world, answerer = scene(A, B, C, discovery=False)
    world.told = [NEW]
    for message in ALL[:2]:
        for _ in range(3):
            answerer.received(A, message, 0.0)
    answerer.ask([A, B], 0.0)
    assert commands(answerer) == []
    assert events(answerer) == []
    assert answerer.tally.ignored == 6
    assert answerer.next_timeout() is None
    answerer.received(A, ALL[2], 0.0)
    assert len(commands(answerer)) == 1


def test_a_goodbye_ends_the_link_in_any_mode():
    for settings in ({}, {"private_mode": True}, {"discovery": False}):
        _, answerer = scene(A, **settings)
        answerer.received(A, said.Disconnect(), 0.0)
        (command,) = commands(answerer)
        assert isinstance(command, Disconnect)
        assert command.link == A
        assert command.reason.reason is Reason.CONNECTION_CLOSED_BY_PEER


def test_all_but_the_private_are_asked_for_points():
    world, answerer = scene(A, B, C)
    world.links[B] = facts_of(B, private=True)
    answerer.ask([A, B, C, 9], 0.0)
    asked = commands(answerer)
    assert asked == [Reply(link, Bootstrap(), peer(link)) for link in (A, C)]
    for reply, taken in zip(asked, (True, False), strict=True):
        assert isinstance(reply, Reply)
        answerer.replied(reply, taken, 0.0)
    assert events(answerer) == ["bootstrap_sent 1"]


def test_events_that_nobody_reads_are_bounded():
    _, answerer = scene(A)
    for number in range(EVENTS_MAX + 5):
        answerer.received(A, Bootstrap(), float(number))
    assert len(events(answerer)) == EVENTS_MAX


# -- swaps: asked ----------------------------------------------------------------------


def ask(answerer: Answerer, link: int, now: float, offer: Point = NEW) -> list[Command]:
    answerer.received(link, SwapRequest(offer, STRANGER), now)
    return commands(answerer)


def agree(answerer: Answerer, link: int, now: float) -> Reply:
    (reply,) = ask(answerer, link, now)
    assert isinstance(reply, Reply)
    return reply


@pytest.mark.parametrize("runner", [shared, compiled])
def test_who_is_asked_gives_a_peer_takes_the_other_and_drops_his_own(runner):
    world, answerer = scene(A, B, runner=runner)
    reply = agree(answerer, A, 0.0)
    assert reply == Reply(A, SwapAck(home(B), peer(B)), peer(A))
    assert events(answerer) == ["swap_request_received 1"]
    answerer.replied(reply, True, 0.0)
    assert commands(answerer) == [Connect(NEW, for_swap_of=A)]
    assert events(answerer) == ["swap_ack_sent 1"]
    world.links[C] = facts_of(C)
    answerer.swapped(C, 2.0)
    (command,) = commands(answerer)
    assert isinstance(command, Disconnect)
    assert (command.link, command.reason.reason) == (B, Reason.PEER_SWAPPED)
    assert events(answerer) == ["swap_success 1"]
    assert answerer.swaps.state is State.RESTING


@pytest.mark.parametrize("new", [None, 77])
def test_if_the_dial_fails_nobody_is_dropped(new):
    _, answerer = scene(A, B)
    answerer.replied(agree(answerer, A, 0.0), True, 0.0)
    commands(answerer)
    answerer.swapped(new, 5.0)  # 77 does not run (any more)
    assert commands(answerer) == []
    assert events(answerer)[-1] == "swap_failure 1"
    # Others may ask again at once.
    assert len(ask(answerer, B, 5.0)) == 1


@pytest.mark.parametrize("trusted", [False, True])
def test_nobody_is_dropped_for_the_friend_of_who_was_banned_meanwhile(trusted):
    world, answerer = scene(A, B)
    answerer.replied(agree(answerer, A, 0.0), True, 0.0)
    commands(answerer)
    world.links[C] = facts_of(C, trusted=trusted)
    world.banned[peer(A)] = None
    answerer.swapped(C, 2.0)
    ends = [(it.link, it.reason.reason) for it in commands(answerer)]
    assert ends == ([] if trusted else [(C, Reason.PEER_SWAPPED)])
    assert events(answerer)[-1] == "swap_failure 1"
    assert (answerer.swaps.won, answerer.swaps.lost) == (0, 1)


@pytest.mark.parametrize(("most", "gone"), [(2, [C]), (3, [])])
def test_if_the_other_is_gone_and_others_have_come_the_new_one_goes(most, gone):
    world, answerer = scene(A, B, most=most)
    answerer.replied(agree(answerer, A, 0.0), True, 0.0)
    commands(answerer)
    del world.links[B]
    world.links[C], world.links[D] = facts_of(C), facts_of(D)
    answerer.swapped(C, 2.0)
    assert [command.link for command in commands(answerer)] == gone


@pytest.mark.parametrize(("least", "gone"), [(2, [B]), (3, [])])
def test_nobody_is_dropped_as_long_as_some_are_lacking(least, gone):
    world, answerer = scene(A, B, least=least)
    answerer.replied(agree(answerer, A, 0.0), True, 0.0)
    commands(answerer)
    world.links[C] = facts_of(C)
    answerer.swapped(C, 2.0)
    assert [command.link for command in commands(answerer)] == gone


def test_if_the_answer_finds_no_room_nothing_happens():
    _, answerer = scene(A, B)
    answerer.replied(agree(answerer, A, 0.0), False, 0.0)
    assert commands(answerer) == []
    assert events(answerer) == ["swap_request_received 1"]
    assert len(ask(answerer, B, 1.0)) == 1


def test_there_is_one_swap_at_a_time():
    world, answerer = scene(A, B, C, D)
    reply = agree(answerer, A, 0.0)
    assert ask(answerer, B, 0.0) == []
    answerer.replied(reply, True, 0.0)
    commands(answerer)
    assert ask(answerer, C, 31.0) == []
    assert not answerer.swap(31.0)
    assert answerer.tally.ignored == 2
    assert [name for name in events(answerer) if "ignored" in name] == [
        "swap_request_ignored 2",
        "swap_request_ignored 3",
    ]
    world.links[9] = facts_of(9)
    answerer.swapped(9, 32.0)
    commands(answerer)
    assert ask(answerer, D, 61.9) == []
    assert len(ask(answerer, B, 62.0)) == 1


def test_requests_of_one_peer_are_a_minute_apart():
    _, answerer = scene(A, B)
    answerer.replied(agree(answerer, A, 0.0), False, 0.0)
    for _ in range(100):
        assert ask(answerer, A, SWAP_GAP - 0.001) == []
    assert answerer.tally.throttled == 100
    assert events(answerer) == ["swap_request_received 1"]
    assert len(ask(answerer, A, SWAP_GAP)) == 1


def test_we_do_not_answer_faster_than_the_other_reads():
    _, answerer = scene(A, B)
    answerer.replied(agree(answerer, A, 0.0), True, 0.0)
    answerer.swapped(None, 1.0)
    commands(answerer)
    assert ask(answerer, A, SWAP_GAP) == []
    assert events(answerer)[-1] == "swap_request_ignored 1"
    assert len(ask(answerer, A, 2 * SWAP_GAP)) == 1
    assert SWAP_GAP < SWAP_SENT_GAP < 2 * SWAP_GAP


def refuse_room(world: Scene) -> None:
    world.room = False


def refuse_point(world: Scene) -> None:
    world.forbidden[NEW] = None


def refuse_by_policy(world: Scene) -> None:
    world.links[A] = facts_of(A, may_swap=False)


def have_it(world: Scene) -> None:
    world.links[9] = attrs.evolve(facts_of(9), peer_id=STRANGER, point=None)


REFUSALS = [refuse_room, refuse_point, refuse_by_policy, have_it]


@pytest.mark.parametrize("refuse", REFUSALS)
def test_requests_that_are_ignored(refuse):
    world, answerer = scene(A, B)
    refuse(world)
    assert ask(answerer, A, 0.0) == []
    assert events(answerer) == ["swap_request_received 1", "swap_request_ignored 1"]
    assert answerer.swaps.state is State.RESTING


def test_a_stranger_cannot_make_us_dial_into_our_own_network():
    for text in ("10.0.0.1:1", "127.0.0.1:1", "0.0.0.0:1", "8.8.8.8:0"):
        _, answerer = scene(A, B)
        assert ask(answerer, A, 0.0, Point.parse(text)) == []
        assert events(answerer)[-1] == "swap_request_ignored 1"


def test_without_swaps_requests_are_no_more_than_seen():
    _, answerer = scene(A, B, linger=None)
    assert ask(answerer, A, 0.0) == []
    assert not answerer.swap(0.0)
    assert commands(answerer) == []
    assert events(answerer) == ["swap_request_received 1"]


def test_with_nobody_to_give_there_is_no_swap():
    _, answerer = scene(A)
    assert ask(answerer, A, 0.0) == []
    assert events(answerer) == ["swap_request_received 1"]
    assert answerer.swaps.state is State.RESTING


@pytest.mark.parametrize(
    "changes",
    [
        {"trusted": True},
        {"private": True},
        {"point": None},
        {"point": Point.parse("192.168.0.1:9732")},
    ],
)
def test_who_is_never_given_away(changes):
    world, answerer = scene(A, B)
    world.links[B] = facts_of(B, **changes)
    assert ask(answerer, A, 0.0) == []
    answerer.swap(0.0)
    for command in commands(answerer):  # B may be asked, all the same
        assert isinstance(command, Reply)
        assert command.message == SwapRequest(home(A), peer(A))
    world.links[C] = facts_of(C)
    (reply,) = ask(answerer, A, 100.0)
    assert isinstance(reply, Reply)
    assert reply.message == SwapAck(home(C), peer(C))


@pytest.mark.parametrize("case", ["gone", "trusted by now", "the one that was dialled"])
def test_who_was_given_is_dropped_only_if_that_is_still_right(case):
    world, answerer = scene(A, B)
    answerer.replied(agree(answerer, A, 0.0), True, 0.0)
    commands(answerer)
    world.links[C] = facts_of(C)
    if case == "gone":
        del world.links[B]
    elif case == "trusted by now":
        world.links[B] = facts_of(B, trusted=True)
    else:
        del world.links[B]
        world.links[C] = attrs.evolve(facts_of(C), peer_id=peer(B))
    answerer.swapped(C, 1.0)
    assert commands(answerer) == []
    assert events(answerer)[-1] == "swap_success 1"


def test_a_party_steers_two_links_and_no_more():
    world, answerer = scene(A, *range(20, 60))
    now = 0.0
    for new in (61, 62):
        reply = agree(answerer, A, now)
        answerer.replied(reply, True, now)
        world.links[new] = attrs.evolve(facts_of(9), link=new, peer_id=peer(new))
        answerer.swapped(new, now)
        commands(answerer)
        now += 200.0
    assert ask(answerer, A, now) == []
    # Another address of the same network is the same party.
    there = Address(home(A).address + 1)
    world.links[B] = facts_of(B, address=there, point=Point(there, 1))
    assert ask(answerer, B, now) == []
    world.links[C] = facts_of(C)
    assert len(ask(answerer, C, now)) == 1
    answerer.replied(Reply(C, SwapAck(NEW, STRANGER), peer(C)), False, now)
    answerer.forget(61, now)
    assert ask(answerer, A, STEERED_TIME - 1.0) == []  # its place stays taken
    assert len(ask(answerer, A, STEERED_TIME + SWAP_GAP)) == 1


# -- swaps: asking ---------------------------------------------------------------------


def propose(answerer: Answerer, now: float) -> Reply:
    assert answerer.swap(now)
    (reply,) = commands(answerer)
    assert isinstance(reply, Reply)
    answerer.replied(reply, True, now)
    return reply


def test_who_asks_dials_what_is_given_and_drops_what_was_offered():
    world, answerer = scene(A, B)
    reply = propose(answerer, 0.0)
    # The first pick is asked; the peer picked then, another, is offered.
    assert reply == Reply(A, SwapRequest(home(B), peer(B)), peer(A))
    assert events(answerer) == ["swap_request_sent 1"]
    answerer.received(A, SwapAck(NEW, STRANGER), 1.0)
    assert commands(answerer) == [Connect(NEW, for_swap_of=A)]
    assert events(answerer) == ["swap_ack_received 1"]
    world.links[C] = facts_of(C)
    answerer.swapped(C, 2.0)
    (command,) = commands(answerer)
    assert isinstance(command, Disconnect)
    assert command.link == B
    assert events(answerer) == ["swap_success 1"]


def test_an_answer_that_nobody_asked_for_is_ignored():
    _, answerer = scene(A, B)
    answerer.received(A, SwapAck(NEW, STRANGER), 0.0)
    assert commands(answerer) == []
    assert events(answerer) == ["swap_ack_received 1"]
    assert answerer.tally.ignored == 1


def test_a_request_has_one_answer():
    _, answerer = scene(A, B)
    propose(answerer, 0.0)
    answerer.received(A, SwapAck(NEW, STRANGER), 1.0)
    answerer.swapped(None, 1.0)
    commands(answerer)
    answerer.received(A, SwapAck(NEW, STRANGER), 2.0)
    assert answerer.tally.throttled == 1
    answerer.received(A, SwapAck(NEW, STRANGER), 1.0 + SWAP_GAP)
    assert commands(answerer) == []


@pytest.mark.parametrize(("late", "counts"), [(0.0, True), (0.001, False)])
def test_an_answer_of_long_after_is_ignored(late, counts):
    _, answerer = scene(A, B)
    propose(answerer, 10.0)
    answerer.received(A, SwapAck(NEW, STRANGER), 10.0 + OFFER_MAX + late)
    assert bool(commands(answerer)) is counts


def test_an_answer_of_somebody_else_is_ignored():
    _, answerer = scene(A, B)
    propose(answerer, 0.0)
    answerer.received(B, SwapAck(NEW, STRANGER), 1.0)
    assert commands(answerer) == []


def test_an_answer_during_another_swap_is_ignored():
    _, answerer = scene(A, B, C)
    propose(answerer, 0.0)
    answerer.replied(agree(answerer, C, 1.0), True, 1.0)
    commands(answerer)
    answerer.received(A, SwapAck(NEW, STRANGER), 2.0)
    assert commands(answerer) == []


@pytest.mark.parametrize("refuse", REFUSALS)
def test_answers_that_are_ignored(refuse):
    world, answerer = scene(A, B)
    propose(answerer, 0.0)
    refuse(world)
    answerer.received(A, SwapAck(NEW, STRANGER), 1.0)
    assert commands(answerer) == []
    assert answerer.tally.ignored == 1
    assert answerer.swaps.state is State.RESTING


def test_a_proposal_that_finds_no_room_is_as_if_never_made():
    _, answerer = scene(A, B)
    assert answerer.swap(0.0)
    (reply,) = commands(answerer)
    assert isinstance(reply, Reply)
    answerer.replied(reply, False, 0.0)
    assert events(answerer) == []
    answerer.received(A, SwapAck(NEW, STRANGER), 1.0)
    assert commands(answerer) == []


def test_no_peer_is_asked_twice_within_what_it_bears():
    world, answerer = scene(A, B)
    assert propose(answerer, 0.0).link == A
    world.picks = 0
    # A was asked lately: the next pick is B.
    assert propose(answerer, 1.0).link == B
    world.picks = 0
    assert not answerer.swap(SWAP_SENT_GAP - 0.001)
    world.picks = 0
    assert propose(answerer, SWAP_SENT_GAP).link == A


def test_nothing_is_proposed_where_nothing_could_come_of_it():
    world, answerer = scene(A, B)
    world.room = False
    assert not answerer.swap(0.0)
    world.room = True
    world.links = {A: facts_of(A)}
    assert not answerer.swap(0.0)  # nobody to offer
    world.links = {}
    assert not answerer.swap(0.0)  # nobody to ask
    world.links = {link: facts_of(link, may_swap=False) for link in (A, B)}
    assert not answerer.swap(0.0)
    assert commands(answerer) == []


def test_a_request_with_a_lost_answer_is_replaced_by_the_next():
    _, answerer = scene(A, B)
    propose(answerer, 0.0)
    # It left, and came back under the same number: not the same talk.
    answerer.forget(A, 0.0)
    answerer.received(A, SwapAck(NEW, STRANGER), 1.0)
    assert commands(answerer) == []


def test_an_answer_that_was_sent_to_who_has_left_is_a_swap_all_the_same():
    _, answerer = scene(A, B)
    reply = agree(answerer, A, 0.0)
    answerer.forget(A, 0.0)
    answerer.replied(reply, True, 0.0)
    assert commands(answerer) == [Connect(NEW, for_swap_of=A)]


def test_reports_of_what_was_never_asked_for_are_mistakes():
    _, answerer = scene(A, B)
    reply = agree(answerer, A, 0.0)
    with pytest.raises(LocalProtocolError):
        answerer.swapped(None, 0.0)
    with pytest.raises(LocalProtocolError):
        answerer.swapped(B, 0.0)
    answerer.replied(reply, True, 0.0)
    for taken in (True, False):
        with pytest.raises(LocalProtocolError):
            answerer.replied(reply, taken, 0.0)
    assert commands(answerer) == [Connect(NEW, for_swap_of=A)]
    assert answerer.swaps.state is State.DIALLING


# -- whole networks --------------------------------------------------------------------


@attrs.define(eq=False)
class Member:
    """One node of a small network: its links, by the number of the other."""

    number: int
    net: Net
    most: int
    peers: dict[int, bool] = attrs.field(factory=dict)  # number: trusted
    dialling: Connect | None = None
    answerer: Answerer = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.answerer = Answerer(self, 30.0)

    def facts(self, link: int) -> Facts | None:
        if link not in self.peers:
            return None
        return facts_of(link, trusted=self.peers[link])

    def link_of(self, peer_id: PeerId) -> int | None:
        number = int.from_bytes(peer_id, "big")
        return number if number in self.peers else None

    def pick(self, *, but: int | None, with_port: bool) -> Facts | None:
        fit = [link for link in self.peers if link != but]
        return self.facts(fit[self.net.chance.randrange(len(fit))]) if fit else None

    def active(self) -> int:
        return len(self.peers)

    def has_room(self) -> bool:
        return len(self.peers) < self.most

    def points(self, to: Address, now: float) -> Sequence[Point]:
        return [home(link) for link in self.peers]

    def knows(self, point: Point) -> bool:
        return False

    def is_banned(self, peer_id: PeerId, now: float) -> bool:
        return False

    def may_dial(self, point: Point, now: float) -> bool:
        return (
            point != home(self.number)
            and point not in map(home, self.peers)
            and self.dialling is None
        )


@attrs.define(eq=False)
class Net:
    """Members, and messages on their way; chance delivers, loses and repeats them."""

    chance: random.Random
    size: int
    most: int
    members: dict[int, Member] = attrs.field(factory=dict)
    flying: list[tuple[int, int, object]] = attrs.field(factory=list)
    now: float = 0.0
    won: int = 0
    trust: tuple[int, int] = (0, 0)  # who trusts whom

    def __attrs_post_init__(self) -> None:
        for number in range(1, self.size + 1):
            self.members[number] = Member(number, self, self.most)

    def link(self, one: int, other: int) -> None:
        for mine, theirs in ((one, other), (other, one)):
            self.members[mine].peers[theirs] = (mine, theirs) == self.trust

    def unlink(self, one: int, other: int) -> None:
        for mine, theirs in ((one, other), (other, one)):
            self.members[mine].peers.pop(theirs, None)
            self.members[mine].answerer.forget(theirs, self.now)

    def drain(self, member: Member) -> None:
        while (command := member.answerer.next_command()) is not None:
            if isinstance(command, Reply):
                taken = command.link in member.peers and self.chance.random() < 0.9
                if taken:
                    self.flying.append((member.number, command.link, command.message))
                member.answerer.replied(command, taken, self.now)
            elif isinstance(command, Connect):
                assert member.dialling is None
                member.dialling = command
            elif isinstance(command, Disconnect):
                assert not member.peers[command.link], "a trusted peer was swapped"
                assert command.reason.reason is Reason.PEER_SWAPPED
                self.unlink(member.number, command.link)

    def finish(self, member: Member) -> None:
        dial, member.dialling = member.dialling, None
        if dial is None:
            return
        (other,) = (number for number in self.members if home(number) == dial.point)
        target = self.members[other]
        good = (
            member.has_room()
            and target.has_room()
            and other not in member.peers
            and self.chance.random() < 0.8
        )
        if good:
            self.link(member.number, other)
            self.won += 1
        member.answerer.swapped(other if good else None, self.now)

    def step(self) -> None:
        chance = self.chance
        member = self.members[chance.randrange(self.size) + 1]
        draw = chance.random()
        if draw < 0.2:
            member.answerer.swap(self.now)
        elif draw < 0.3:
            self.now += chance.choice((0.05, 1.0, 31.0, 70.0))
        elif draw < 0.5:
            self.finish(member)
        elif self.flying:
            index = chance.randrange(len(self.flying))
            source, target, message = self.flying[index]
            fate = chance.random()
            if fate < 0.9:  # else it is repeated later
                del self.flying[index]
            member = self.members[target]
            if fate > 0.1 and source in member.peers:  # else it is lost
                member.answerer.received(source, message, self.now)
        for each in self.members.values():
            self.drain(each)


@pytest.mark.parametrize("seed", range(25))
def test_swaps_keep_a_network_whole(seed):
    chance = random.Random(seed)
    size = chance.choice((4, 5, 7))
    net = Net(chance, size, most=4, trust=(1, 2))
    for number in range(1, size + 1):
        net.link(number, number % size + 1)
    for _ in range(1500):
        net.step()
        for member in net.members.values():
            assert len(member.peers) <= member.most
            assert member.number not in member.peers
            assert (member.dialling is not None) is (
                member.answerer.swaps.state is State.DIALLING
            )
            assert len(member.answerer._talks) <= size
    for member in net.members.values():
        net.finish(member)
        assert member.answerer.swaps.state is State.RESTING
    assert net.won or size == 4


def test_the_chain_of_five():
    """The usual scenario: 1b - 1a - swapper - 2a - 2b, only the swapper proposes."""
    chance = random.Random(3)
    net = Net(chance, 5, most=3)
    near, left, swapper, right, far = range(1, 6)
    for one, other in ((near, left), (left, swapper), (swapper, right), (right, far)):
        net.link(one, other)
    chance.random = lambda: 0.5  # nothing is lost
    assert net.members[swapper].answerer.swap(0.0)
    net.drain(net.members[swapper])
    ((_, asked, request),) = net.flying
    net.flying.clear()
    net.members[asked].answerer.received(swapper, request, 0.0)
    net.drain(net.members[asked])
    ((_, _, answer),) = net.flying
    net.members[swapper].answerer.received(asked, answer, 0.0)
    net.drain(net.members[swapper])
    for number in (asked, swapper):
        net.finish(net.members[number])
        net.drain(net.members[number])
    neighbour, other, others_neighbour = (
        (near, right, far) if asked == left else (far, left, near)
    )
    assert sorted(net.members[swapper].peers) == sorted((asked, neighbour))
    assert sorted(net.members[asked].peers) == sorted((swapper, other))
    assert sorted(net.members[other].peers) == sorted((others_neighbour, asked))
