"""Limits at the bound and one past it, what gives back, and in which order is asked."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Callable, Mapping, Sequence

import attrs
import pytest

from tezos_p2p.fsm import peer as peers
from tezos_p2p.fsm import point as points
from tezos_p2p.fsm.acl import Acl
from tezos_p2p.fsm.admission import (
    PRIVATE,
    Attempt,
    Candidate,
    Places,
    Rules,
    State,
    refusal,
    wrong_identity,
)
from tezos_p2p.fsm.answerer import (
    GAP,
    SWAP_GAP,
    SWAP_SENT_GAP,
    Answerer,
    Command,
    Connect,
    Facts,
    Reply,
)
from tezos_p2p.fsm.inbox import Inbox, Left, Message, Ready
from tezos_p2p.fsm.machine import LocalProtocolError
from tezos_p2p.fsm.maintenance import AT_ONCE, PATIENCE, Ask, Bounds, Fill, Maintenance
from tezos_p2p.fsm.peer import PeerInfo
from tezos_p2p.fsm.point import PointInfo
from tezos_p2p.fsm.pool import Pool, Running
from tezos_p2p.fsm.steward import Steward
from tezos_p2p.fsm.teaching import Teaching
from tezos_p2p.spec.address import Address
from tezos_p2p.spec.events import Remote
from tezos_p2p.spec.hello import ConnectionMessage, ConnectionMetadata
from tezos_p2p.spec.identity import PeerId
from tezos_p2p.spec.limits import Limits
from tezos_p2p.spec.message import Advertise, Bootstrap, SwapAck, SwapRequest
from tezos_p2p.spec.motive import Motive
from tezos_p2p.spec.point import ConnectionId, Point
from tezos_p2p.spec.reasons import UNKNOWN, Disconnection
from tezos_p2p.spec.version import SANDBOX


def peer(number: int) -> PeerId:
    return PeerId(number.to_bytes(16, "big"))


def home(number: int) -> Point:
    return Point(Address.parse(f"20.{number}.0.1"), 9732)


# -- who is admitted -------------------------------------------------------------------

OPEN = Rules(threshold=3, most=5, private_mode=False)
SHY = attrs.evolve(OPEN, private_mode=True)
VERSION = SANDBOX.announced
Verdict = Motive | Disconnection | None


def remote(number: int = 1) -> Remote:
    message = ConnectionMessage(9732, bytes(32), bytes(24), bytes(24), VERSION)
    return Remote(peer(number), message, ConnectionMetadata())


def candidate(number: int = 1, *, with_point: bool = True) -> Candidate[float]:
    at = home(number)
    return Candidate(
        remote(number),
        ConnectionId(at.address, at.port if with_point else None),
        PointInfo(at) if with_point else None,
        PeerInfo(peer(number), 0.0, 1.0),
        0.0,
    )


def takes_point(who: Candidate[float]) -> None:
    assert who.point is not None
    who.point.accept(9, peer(9), 0.0)


def takes_peer(who: Candidate[float]) -> None:
    who.peer.accept(9, ConnectionId(home(9).address, None), 0.0)


@pytest.mark.parametrize("incoming", [True, False])
@pytest.mark.parametrize(("places", "full"), [(2, False), (3, True)])
def test_whoever_has_dialled_is_refused_at_the_threshold(
    incoming: bool, places: int, full: bool
) -> None:
    verdict = refusal(OPEN, incoming, candidate(), VERSION, places)
    assert verdict is (Motive.TOO_MANY_CONNECTIONS if full else None)


@pytest.mark.parametrize("incoming", [True, False])
@pytest.mark.parametrize("taken", [takes_point, takes_peer])
def test_what_is_asked_first_decides(
    incoming: bool, taken: Callable[[Candidate[float]], None]
) -> None:
    versions: list[Verdict] = [Motive.UNKNOWN_CHAIN_NAME, None]
    places: list[Verdict] = [Motive.TOO_MANY_CONNECTIONS, None]
    private: list[Verdict] = [PRIVATE, None]
    busy: list[Verdict] = [Motive.ALREADY_CONNECTED, None]
    for wrong in itertools.product(versions, places, private, busy):
        version, crowd, shy, double = wrong
        who = candidate()
        if double is not None:
            taken(who)
        found = refusal(
            OPEN if shy is None else SHY,
            incoming,
            who,
            VERSION if version is None else Motive.UNKNOWN_CHAIN_NAME,
            0 if crowd is None else 5,
        )
        assert found == next((each for each in wrong if each is not None), None)


@pytest.mark.parametrize("by", ["peer", "point"])
def test_in_private_mode_trust_in_either_is_enough(by: str) -> None:
    who = candidate()
    assert refusal(SHY, True, who, VERSION, 0) == PRIVATE
    getattr(who, by).trusted = True
    assert refusal(SHY, True, who, VERSION, 0) is None


def test_in_private_mode_who_tells_no_port_needs_trust_as_a_peer() -> None:
    who = candidate(with_point=False)
    assert refusal(SHY, True, who, VERSION, 0) == PRIVATE
    who.peer.trusted = True
    assert refusal(SHY, True, who, VERSION, 0) is None


def test_a_point_that_is_being_dialled_is_busy_for_the_incoming_only() -> None:
    who = candidate()
    assert who.point is not None
    who.point.request(9, 0.0)
    assert refusal(OPEN, True, who, VERSION, 0) is Motive.ALREADY_CONNECTED
    assert refusal(OPEN, False, who, VERSION, 0) is None


@pytest.mark.parametrize("incoming", [True, False])
def test_whom_we_have_accepted_or_who_runs_is_refused_a_second_time(
    incoming: bool,
) -> None:
    by_point, by_peer = candidate(), candidate()
    assert by_point.point is not None
    takes_point(by_point)
    takes_peer(by_peer)
    for who in (by_point, by_peer):
        verdict = refusal(OPEN, incoming, who, VERSION, 0)
        assert verdict is Motive.ALREADY_CONNECTED
    by_point.point.run(peer(9), 0.0)
    by_peer.peer.run(9, ConnectionId(home(9).address, None), 0.0)
    for who in (by_point, by_peer):
        verdict = refusal(OPEN, incoming, who, VERSION, 0)
        assert verdict is Motive.ALREADY_CONNECTED


def test_nobody_else_than_the_expected_is_the_right_one() -> None:
    assert not wrong_identity(None, remote(1))
    assert not wrong_identity(PointInfo(home(1)), remote(1))
    assert not wrong_identity(PointInfo(home(1), expected=peer(1)), remote(1))
    assert wrong_identity(PointInfo(home(1), expected=peer(2)), remote(1))


# -- what an attempt gives back --------------------------------------------------------


def pool(limits: Limits = Limits()) -> Pool[float]:  # noqa: B008  # frozen
    return Pool(limits, lambda: 1.0, lambda score: score, random.Random(0).random)


def attempt(
    it: Pool[float], places: Places, upto: State, incoming: bool
) -> Attempt[float]:
    """Return an attempt in a state that holds something."""
    made: Attempt[float] = Attempt(7, incoming, home(1), it, places)
    point, known = it.register_point(home(1), 0.0), it.register_peer(peer(1), 0.0)
    if incoming:
        made.arrive()
    else:
        made.dial(point, 0.0)
    if upto is State.DIALLING:
        return made
    if not incoming:
        made.made()
    if upto is State.HANDSHAKING:
        return made
    where = ConnectionId(home(1).address, home(1).port)
    made.accept(Candidate(remote(), where, point, known, 0.0))
    if upto is State.RUNNING:
        running = Running(7, known, point, where, incoming, False, VERSION, remote(), 0.0)
        made.run(running, 0.0)
    return made


HOLDING = [
    (upto, incoming)
    for upto in (State.DIALLING, State.HANDSHAKING, State.ACCEPTED, State.RUNNING)
    for incoming in (False, True)
    if not (incoming and upto is State.DIALLING)
]


@pytest.mark.parametrize(("upto", "incoming"), HOLDING)
@pytest.mark.parametrize("end", ["leave", "lost"])
def test_an_attempt_gives_back_all_it_holds_once_and_in_the_step_that_ends_it(
    upto: State, incoming: bool, end: str
) -> None:
    it, places = pool(), Places()
    made = attempt(it, places, upto, incoming)
    assert made.state is upto
    assert places.incoming == (incoming and upto is not State.RUNNING)
    assert places.coming == (incoming and upto is State.ACCEPTED)
    assert places.reserved == (upto is State.ACCEPTED)
    getattr(made, end)(1.0)
    made.leave(2.0)
    assert made.state is (State.LEAVING if end == "leave" else State.GONE)
    assert (places.incoming, places.coming, places.reserved) == (0, 0, 0)
    assert it.known_points[home(1)].state is points.State.DISCONNECTED
    assert it.known_peers[peer(1)].state is peers.State.DISCONNECTED
    assert it.active == 0
    if end == "lost":
        with pytest.raises(LocalProtocolError):
            made.lost(2.0)


# -- messages of this layer ------------------------------------------------------------


@attrs.define(eq=False)
class Few:
    """A world of a few links, all alike; picks go round in order."""

    links: dict[int, Facts]
    turn: int = 0

    def facts(self, link: int) -> Facts | None:
        return self.links.get(link)

    def link_of(self, peer_id: PeerId) -> int | None:
        found = [it.link for it in self.links.values() if it.peer_id == peer_id]
        return found[0] if found else None

    def pick(self, *, but: int | None, with_port: bool) -> Facts | None:
        fit = [
            it
            for it in self.links.values()
            if it.link != but and (it.point is not None or not with_port)
        ]
        self.turn += 1
        return fit[(self.turn - 1) % len(fit)] if fit else None

    def active(self) -> int:
        return len(self.links)

    def has_room(self) -> bool:
        return True

    def points(self, to: Address, now: float) -> Sequence[Point]:
        return [home(50)]

    def knows(self, point: Point) -> bool:
        return False

    def is_banned(self, peer_id: PeerId, now: float) -> bool:
        return False

    def may_dial(self, point: Point, now: float) -> bool:
        return True


def answerer(*links: int, linger: float | None = 1.0) -> tuple[Few, Answerer]:
    facts = {it: Facts(it, peer(it), home(it).address, home(it)) for it in links}
    world = Few(facts)
    return world, Answerer(world, linger)


def commands(it: Answerer) -> list[Command]:
    return list(iter(it.next_command, None))


def names(it: Answerer) -> list[str]:
    return [type(event).__name__ for event in iter(it.next_event, None)]


def wish(number: int) -> SwapRequest:
    return SwapRequest(home(number), peer(number))


def test_advertises_that_wait_ask_no_question() -> None:
    _, it = answerer(1)
    now = 0.0
    for _ in range(6):
        it.received(1, Advertise((home(60),)), now)
        it.received(1, Advertise((home(61),)), now + GAP / 2)
        now += GAP
        it.handle_timeout(now)
    assert "BootstrapReceived" not in names(it)
    it.received(1, Bootstrap(), now)
    assert names(it) == ["BootstrapReceived"]
    assert it.tally.throttled == 5


def test_a_proposal_of_ours_gives_nobody_a_second_one_of_his() -> None:
    _, it = answerer(1, 2, linger=None)
    it.received(1, wish(30), 0.0)
    it.replied(Reply(1, wish(2), peer(1)), True, 1.0)
    it.received(1, wish(31), 2.0)
    assert it.tally.throttled == 1
    it.received(1, wish(31), SWAP_GAP)
    assert it.tally.throttled == 1


def test_without_swaps_a_proposal_is_heard_and_ignored() -> None:
    _, it = answerer(1, 2, linger=None)
    it.received(1, wish(30), 0.0)
    assert it.tally.ignored == 1
    assert commands(it) == []
    assert names(it) == ["SwapRequestReceived"]
    assert not it.swap(0.0)


def test_nobody_to_swap_with_is_no_swap() -> None:
    _, it = answerer()
    assert not it.swap(0.0)
    assert commands(it) == []


@pytest.mark.parametrize("early", [True, False])
def test_one_peer_gets_a_second_answer_after_as_long_as_it_may_ask_for(
    early: bool,
) -> None:
    _, it = answerer(1, 2)
    it.received(1, wish(30), 0.0)
    (reply,) = commands(it)
    assert isinstance(reply, Reply)
    it.replied(reply, True, 0.0)
    it.swapped(None, 0.0)
    commands(it)
    it.received(1, wish(31), SWAP_SENT_GAP - 1e-6 if early else SWAP_SENT_GAP)
    answers = [each for each in commands(it) if isinstance(each, Reply)]
    assert [type(each.message) for each in answers] == ([] if early else [SwapAck])


def test_who_keeps_its_port_to_itself_may_be_asked_for_a_swap() -> None:
    world, it = answerer(1, 2)
    world.links[1] = attrs.evolve(world.links[1], point=None)
    assert it.swap(0.0)
    (reply,) = commands(it)
    assert isinstance(reply, Reply)
    assert (reply.link, reply.message) == (1, wish(2))


@pytest.mark.parametrize("early", [True, False])
def test_an_answer_that_comes_early_is_not_even_heard(early: bool) -> None:
    _, it = answerer(1, 2)
    it.received(1, SwapAck(home(30), peer(30)), 0.0)
    assert (names(it), it.tally.ignored) == (["SwapAckReceived"], 1)
    it.replied(Reply(1, wish(2), peer(1)), True, 1.0)
    names(it)
    it.received(1, SwapAck(home(31), peer(31)), SWAP_GAP - 1e-6 if early else SWAP_GAP)
    assert names(it) == ([] if early else ["SwapAckReceived"])
    assert commands(it) == ([] if early else [Connect(home(31), 1)])
    assert it.tally.throttled == early


# -- lists of points -------------------------------------------------------------------


def strangers(first: int, count: int) -> list[Point]:
    """Return points of the Internet, each in a /24 of its own."""
    base = Address.parse("20.0.0.1")
    return [
        Point(Address(base + number * 256), 9732)
        for number in range(first, first + count)
    ]


def taught(it: Teaching, number: int, told: list[Point], now: float) -> int:
    return len(it.sift(Address.parse("9.9.9.9"), peer(number), told, now))


def test_the_rations_of_points_are_what_the_table_says() -> None:
    def fresh() -> Teaching:
        return Teaching(lambda _: False)

    it = fresh()
    assert taught(it, 1, strangers(0, 300), 0.0) == 100
    assert taught(it, 1, strangers(300, 10), 19.0) == 0
    assert taught(it, 1, strangers(310, 10), 20.0) == 1
    it = fresh()
    assert sum(taught(it, n, strangers(n * 100, 100), 0.0) for n in range(3)) == 200
    assert taught(it, 3, strangers(300, 10), 9.0) == 0
    assert taught(it, 4, strangers(310, 10), 10.0) == 1
    it = fresh()
    ports = [Point(home(1).address, port) for port in range(1, 30)]
    assert taught(it, 1, ports, 0.0) == 8
    assert taught(it, 2, ports, 599.0) == 0
    assert taught(it, 3, ports, 600.0) == 1


# -- how many are dialled --------------------------------------------------------------


@attrs.define(eq=False)
class Crowd:
    """A world of so many connections and any number of candidates."""

    running: int = 0
    count: int = 199

    def active(self) -> int:
        return self.running

    def leaving(self) -> int:
        return 0

    def candidates(
        self, seen: Mapping[Point, None], start: float, most: int, now: float
    ) -> list[Point]:
        fresh = (home(number) for number in range(1, self.count + 1))
        return [each for each in fresh if each not in seen][:most]

    def droppable(self, now: float) -> list[int]:
        return []


def fills(it: Maintenance) -> list[Point]:
    told = iter(it.next_command, None)
    return [each.point for each in told if isinstance(each, Fill)]


def test_those_that_wait_to_be_dialled_are_not_dialled_beyond_what_is_wanted() -> None:
    world, bounds = Crowd(), Bounds(30, 60, 100)
    it = Maintenance(bounds=bounds, world=world, random=lambda: 0.0)
    it.start(0.0)
    dials = fills(it)
    assert len(dials) == AT_ONCE < bounds.min_target
    # Others come meanwhile, and one is wanted still; half of the dials fail at once.
    world.running = bounds.min_target - 1
    it.active_changed(world.running, 0.2)
    for each in dials[: AT_ONCE // 2]:
        it.dialled(each, False, 0.5)
    assert fills(it) == []
    # Those that take long are counted on no more.
    it.dialled(dials[-1], False, PATIENCE)
    assert len(fills(it)) == 1
    it.dialled(dials[-2], False, PATIENCE)
    assert fills(it) == []


def asked(it: Maintenance) -> int:
    return sum(isinstance(each, Ask) for each in iter(it.next_command, None))


def test_who_leaves_is_no_reason_to_ask_again_and_who_comes_is() -> None:
    world = Crowd(5, count=0)
    it = Maintenance(bounds=Bounds(10, 25, 50), world=world, random=lambda: 0.0)
    it.start(0.0)
    assert asked(it) == 1
    world.running = 4
    it.active_changed(4, 1.0)
    it.met(2.0)
    assert asked(it) == 0
    world.running = 5
    it.active_changed(5, 3.0)
    assert asked(it) == 1


# -- tables ----------------------------------------------------------------------------

TINY = attrs.evolve(Limits(), max_known_points=(4, 3), max_known_peer_ids=(4, 3))


def fail(info: PointInfo, now: float) -> None:
    info.request(1, now)
    info.disconnect(now)


def test_of_a_full_table_who_was_missed_longest_ago_goes_and_the_untried_stay() -> None:
    it = pool(TINY)
    infos = [it.register_point(home(number), 0.0) for number in range(4)]
    fail(infos[1], 7.0)
    fail(infos[2], 5.0)
    it.register_point(home(9), 10.0)
    assert home(2) not in it.known_points
    it.register_point(home(10), 10.0)
    assert list(it.known_points) == [home(0), home(3), home(9), home(10)]


def test_a_score_that_is_no_number_is_the_lowest() -> None:
    for worst in range(4):
        it = pool(TINY)
        for number in range(4):
            score = math.nan if number == worst else -1e300 * (number + 1) / 5
            it.register_peer(peer(number), 0.0).metadata = score
        it.register_peer(peer(9), 0.0)
        assert peer(worst) not in it.known_peers
        assert len(it.known_peers) == 4


def test_points_and_peers_are_news_once() -> None:
    it = pool()
    for _ in range(2):
        it.register_point(home(1), 0.0)
        assert it.news == 1
    it = pool()
    for _ in range(2):
        it.register_peer(peer(1), 0.0)
        assert it.news == 1


def test_of_our_own_points_the_last_seven_that_were_met_are_remembered() -> None:
    it = pool()
    for number in (*range(7), 0, 7):
        it.add_own_point(home(number))
    assert [number for number in range(8) if not it.is_own(home(number))] == [1]


def test_a_connection_that_cannot_be_entered_changes_nothing() -> None:
    it = pool()
    info, known = it.register_point(home(1), 0.0), it.register_peer(peer(1), 0.0)
    elsewhere = ConnectionId(home(2).address, None)
    known.accept(3, elsewhere, 0.0)
    where = ConnectionId(home(1).address, home(1).port)
    running = Running(7, known, info, where, False, False, VERSION, remote(), 0.0)
    with pytest.raises(LocalProtocolError):
        it.join(running, 0.0)
    assert (info.state, it.active) == (points.State.DISCONNECTED, 0)
    assert known.id_point == elsewhere


def test_three_fifths_of_a_list_are_the_best_in_order() -> None:
    it = pool()
    ranked = [home(number) for number in range(1, 101)]
    for number, each in enumerate(ranked):
        info = it.register_point(each, 0.0)
        info.known_public = True
        info.run(peer(1), 0.0, 1)
        info.disconnect(1000.0 - number)
    for size in (50, 53):
        listed = it.advertised(size, banned=lambda _: False)
        best = size - size * 2 // 5
        assert list(listed[:best]) == ranked[:best]
        assert listed[best] != ranked[best]
        assert len(set(listed)) == size
        assert set(listed[best:]) != set(ranked[best:size])


def test_whom_we_are_about_to_meet_is_told_of_first() -> None:
    it = pool()
    gone, here, soon = (it.register_point(home(number), 0.0) for number in range(3))
    for info in (gone, here, soon):
        info.known_public = True
    gone.run(peer(1), 0.0, 1)
    gone.disconnect(5.0)
    here.run(peer(2), 1.0, 2)
    soon.request(3, 1.0)
    listed = it.advertised(10, banned=lambda _: False)
    assert listed == (soon.point, here.point, gone.point)


# -- the inbox -------------------------------------------------------------------------


def test_an_inbox_without_a_limit_takes_all_and_keeps_nothing_behind() -> None:
    box: Inbox[int] = Inbox(None)
    for number in range(100):
        assert box.room(1) > 0
        box.put(Message(1, peer(1), number))
    pulled = [box.next() for _ in range(100)]
    assert [each.message for each in pulled if isinstance(each, Message)] == [*range(100)]
    assert (box.next(), len(box), box.waiting) == (None, 0, 0)


def test_an_inbox_tells_messages_from_what_else_waits() -> None:
    box: Inbox[int] = Inbox(4)
    over = Left(1, peer(1), UNKNOWN)
    for item in (Ready(1, peer(1)), Message(1, peer(1), 5), over):
        box.put(item)
    assert (box.waiting, box.room(1), box._others) == (1, 2, {1: 2})
    assert box.next() == Ready(1, peer(1))
    assert (box.emptied, box._others) == (False, {1: 1})
    assert box.purge(1) == 1
    assert (box.next(), box.emptied, box._others) == (over, True, {})
    assert box.purge(1) == 0


def test_who_watches_attempts_is_told_of_each_step() -> None:
    seen: list[State] = []
    places = Places(watch=lambda attempt: seen.append(attempt.state))
    pool = Pool[float](Limits(), lambda: 1.0, lambda score: score, lambda: 0.0)
    attempt = Attempt(1, True, Point(Address.parse("9.9.9.9"), 1), pool, places)
    attempt.arrive()
    attempt.lost(0.0)
    assert seen == [State.HANDSHAKING, State.LEAVING, State.GONE]


def test_an_operators_lists_are_the_access_lists() -> None:
    acl = Acl(Limits())
    pool = Pool[float](Limits(), lambda: 1.0, lambda score: score, lambda: 0.0)
    steward, where = Steward(pool, acl, {}), Address.parse("9.9.9.9")
    steward.allow(where)
    assert acl.is_exempt(where)
    assert not acl.greylist(where, 0.0)
    steward.disallow(where)
    assert acl.greylist(where, 0.0)
    acl.ban(Address.parse("8.8.8.8"))
    steward.clear_greylists()
    assert not acl.is_banned(where, 0.0)
    assert acl.is_banned(Address.parse("8.8.8.8"), 0.0)
    steward.clear()
    assert not acl.is_banned(Address.parse("8.8.8.8"), 0.0)


def test_what_a_configuration_trusts_stays_banned_if_an_operator_has_banned_it() -> None:
    limits = Limits()
    pool = Pool[float](limits, lambda: 1.0, lambda score: score, lambda: 0.0)
    acl = Acl(limits)
    steward = Steward(pool, acl, {})
    where, somebody = Point(Address.parse("9.9.9.9"), 1), PeerId(bytes(16))
    acl.ban(where.address)
    assert steward.configure_point(where, 0.0, somebody) == []
    info = pool.known_points[where]
    assert (info.trusted, info.expected) == (True, somebody)
    assert acl.is_banned(where.address, 0.0)
    steward.trust_point(where, 0.0)
    assert not acl.is_banned(where.address, 0.0)
