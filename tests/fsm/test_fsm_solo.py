"""Lone connections behind a node's verbs: two cores in memory, under one clock."""

from __future__ import annotations

import errno
from collections import deque
from typing import Any

import attrs
import pytest
from fsm_puppet import our_local

from tezos_p2p.fsm.commands import Accept, Close, Dial, Read, Shut, Wake, Write
from tezos_p2p.fsm.connection import READ_SIZE
from tezos_p2p.fsm.lifecycle import State
from tezos_p2p.fsm.machine import LocalProtocolError
from tezos_p2p.fsm.solo import ACCEPT_DELAY, EVENTS_MAX, Solo
from tezos_p2p.spec import Authenticated, Closed, Disconnection, Established, Identity
from tezos_p2p.spec.limits import Limits
from tezos_p2p.spec.message import Advertise, Bootstrap, MessageCodec
from tezos_p2p.spec.motive import Motive
from tezos_p2p.spec.point import Point
from tezos_p2p.spec.raw import RawCodec
from tezos_p2p.spec.reader import EncodeError
from tezos_p2p.spec.reasons import Direction, ErrorKind, Reason
from tezos_p2p.spec.version import Network

CODEC: MessageCodec[bytes] = MessageCodec(RawCodec())
POINT = Point.parse("10.0.0.1:9732")
USER = Disconnection(Reason.USER, text="enough")


@attrs.define(eq=False)
class Wire:
    """One direction of a TCP connection in memory."""

    data: bytearray = attrs.field(factory=bytearray)
    ended: bool = False
    room: int = 1 << 18


@attrs.define(eq=False)
class World:
    """Two cores; the first dials, the second accepts."""

    cores: tuple[Solo[bytes], Solo[bytes]]
    now: float = 0.0
    # (core, link) -> (core, link) of the other end
    ends: dict[tuple[int, int], tuple[int, int]] = attrs.field(factory=dict)
    wires: dict[tuple[int, int], Wire] = attrs.field(factory=dict)
    commands: list[list[Any]] = attrs.field(factory=lambda: [[], []])
    events: list[list[Any]] = attrs.field(factory=lambda: [[], []])
    paused: set[tuple[int, int]] = attrs.field(factory=set)
    accepting: bool = True
    full: set[tuple[int, int]] = attrs.field(factory=set)

    def dial(self, **more: Any) -> int:
        link = self.cores[0].connect(POINT, self.now, **more)
        self.run()
        return link

    def peer(self, link: int) -> int:
        return self.ends[0, link][1]

    def carry_out(self, i: int, command: Any) -> None:
        core = self.cores[i]
        self.commands[i].append(command)
        match command:
            case Dial(link, point):
                assert point == POINT
                other = self.cores[1 - i].accept(Point.parse("10.0.0.2:5"), self.now)
                if other is None:
                    core.link_made(link, self.now)
                    core.link_lost(link, errno.ECONNRESET, self.now)
                    return
                self.ends[i, link] = (1 - i, other)
                self.ends[1 - i, other] = (i, link)
                self.wires[i, link] = Wire()
                self.wires[1 - i, other] = Wire()
                core.link_made(link, self.now)
            case Write(link):
                if (i, link) in self.wires:
                    room = 0 if (i, link) in self.full else 1 << 18
                    self.wires[i, link].data += core.data_to_send(link, room, self.now)
            case Shut(link):
                self.wires[i, link].ended = True
            case Close(link):
                if (i, link) in self.wires:
                    self.wires[i, link].ended = True
                core.link_lost(link, None, self.now)
            case Read(link):
                self.paused.discard((i, link))
            case Accept(on):
                self.accepting = on
            case Wake():
                pass

    def run(self) -> None:
        """Go on until nothing happens any more."""
        for _ in range(100_000):
            if not self.step():
                return
        raise AssertionError("it never comes to rest")

    def step(self) -> bool:
        busy = False
        for i, core in enumerate(self.cores):
            while (command := core.next_command()) is not None:
                self.carry_out(i, command)
                busy = True
            while (told := core.next_event()) is not None:
                self.events[i].append(told)
                busy = True
            due = core.next_timeout()
            if due is not None and due <= self.now:
                core.handle_timeout(self.now)
                busy = True
        for end, (i, link) in self.ends.items():
            wire, core = self.wires[end], self.cores[i]
            if link not in core or (i, link) in self.paused:
                continue
            if not wire.data and not wire.ended:
                continue
            size = core.read_allowance(link, self.now)
            if not size:
                self.paused.add((i, link))
                continue
            if wire.data:
                data = bytes(wire.data[:size])
                del wire.data[:size]
                core.receive_data(link, data, self.now)
            else:
                wire.ended = False
                core.receive_data(link, b"", self.now)
                self.paused.add((i, link))
            busy = True
        return busy

    def advance(self, seconds: float) -> None:
        """Let time pass, deadline by deadline."""
        until = self.now + seconds
        while True:
            self.run()
            due = [at for core in self.cores if (at := core.next_timeout()) is not None]
            if not due or min(due) > until:
                break
            self.now = min(due)
        self.now = until
        self.run()

    def told(self, i: int, kind: type) -> list[Any]:
        return [event for _, event in self.events[i] if isinstance(event, kind)]

    def why(self, i: int) -> Disconnection:
        (closed,) = self.told(i, Closed)
        return closed.disconnection


def core(seed: int, identity: Any = None, judge: Any = None, **more: Any) -> Solo[bytes]:
    identity = identity or Identity.of_secret(bytes([seed + 1]) * 32)
    if isinstance(more.get("limits"), dict):
        more["limits"] = Limits(**more["limits"])
    joins = more.pop("joins", True)
    return Solo(our_local(seed=seed, identity=identity, **more), CODEC, joins, judge)


def world(ours: dict[str, Any] | None = None, theirs: dict[str, Any] | None = None):
    return World((core(1, **ours or {}), core(2, **theirs or {})))


def joined(ours: dict[str, Any] | None = None, theirs: dict[str, Any] | None = None):
    it = world(ours, theirs)
    link = it.dial()
    peer = it.peer(link)
    assert it.cores[0].connection(link).state is State.OPEN
    assert it.cores[1].connection(peer).state is State.OPEN
    return it, link, peer


def take(it: World, i: int, link: int) -> list[Any]:
    got = []
    while True:
        it.run()
        if link not in it.cores[i] or not it.cores[i].readable(link):
            return got
        got.append(it.cores[i].receive(link))


# -- messages ---


@pytest.mark.parametrize("joins", [True, False])
def test_messages_pass_both_ways_in_order_with_control_messages(joins):
    it, link, peer = joined({"joins": joins})
    said = [b"one", Bootstrap(), b"two", Advertise((POINT,)), b"x" * 200_000]
    for message in said:
        assert it.cores[0].send(link, message)
        assert it.cores[1].send(peer, message)
    assert take(it, 0, link) == said
    assert take(it, 1, peer) == said
    assert it.cores[0].receive(link) is None


@pytest.mark.parametrize("size", [0, 256, 131_072, 8 << 20])
@pytest.mark.parametrize("chunk", [None, 21])
def test_messages_of_any_size_pass(size, chunk):
    if chunk and size > 1000:
        size = 1000
    limits = {"limits": {"binary_chunks_size": chunk}}
    it, link, peer = joined(limits, limits)
    it.cores[0].send(link, b"\x42" * size)
    assert take(it, 1, peer) == [b"\x42" * size]


def test_events_and_numbers_are_as_they_should():
    it, link, peer = joined()
    for i, number in ((0, link), (1, peer)):
        assert [each for each, _ in it.events[i]] == [number] * 3
        assert [type(event) for _, event in it.events[i]][1:] == [
            Authenticated,
            Established,
        ]
        assert it.cores[i].links == (number,)
        assert number in it.cores[i]
        assert len(it.cores[i]) == 1
    assert it.cores[0].point(link) == POINT
    assert it.cores[0].next_timeout() is None
    for call in ("send", "point", "connection", "readable", "receive"):
        more = (b"",) if call == "send" else ()
        with pytest.raises(KeyError):
            getattr(it.cores[0], call)(99, *more)


def test_links_are_numbered_and_no_number_comes_back():
    it = world()
    links = [it.dial() for _ in range(3)]
    for link in links:
        it.cores[0].forget(link, it.now)
    it.run()
    links += [it.dial()]
    assert links == [1, 2, 3, 4]
    assert it.cores[0].links == (4,)


def test_a_broadcast_reaches_all_that_are_open_but_those_to_skip():
    it = world({"limits": {"outgoing_message_queue_size": 1000}})
    one, two, three, four = (it.dial() for _ in range(4))
    it.cores[0].close(four, USER, it.now)
    it.full.add((0, three))
    assert it.cores[0].send(three, bytes(900))
    assert it.cores[0].broadcast(b"news" * 100, skip=[two]) == 1
    it.run()
    assert take(it, 1, it.peer(one)) == [b"news" * 100]
    assert take(it, 1, it.peer(two)) == []
    # Where it did not fit, a Write is on its way already.
    assert it.cores[0].broadcast(b"more") == 2
    assert it.cores[0].broadcast(b"more") == 2
    it.run()
    assert take(it, 1, it.peer(one)) == [b"more"] * 2
    with pytest.raises(EncodeError):
        it.cores[0].broadcast("text")


def test_sending_on_what_is_not_open_is_a_mistake():
    it = world()
    link = it.cores[0].connect(POINT, 0.0)
    with pytest.raises(LocalProtocolError):
        it.cores[0].send(link, b"")


# -- back-pressure ---


def test_a_full_socket_stops_writing_until_it_takes_bytes_again():
    it, link, peer = joined()
    it.full.add((0, link))
    it.cores[0].send(link, b"waits")
    it.run()
    assert it.commands[0][-1] == Write(link)
    it.cores[0].send(link, b"waits, too")
    it.run()
    assert take(it, 1, peer) == []
    it.full.clear()
    it.cores[0].writable(link, it.now)
    it.cores[0].writable(link, it.now)  # harmless
    assert take(it, 1, peer) == [b"waits", b"waits, too"]


def test_one_write_is_one_question_and_no_more_than_its_room():
    it, link, _ = joined()
    ours = it.cores[0]
    ours.send(link, bytes(300_000))
    assert ours.next_command() == Write(link)
    assert ours.next_command() is None
    pieces = ours.pieces_to_send(link, 1000, it.now)
    assert 0 < sum(map(len, pieces)) <= 1000 + 65_537
    assert ours.next_command() == Write(link)
    assert ours.pieces_to_send(link, 0, it.now) == []
    assert ours.next_command() is None


def test_who_waits_until_more_has_left_is_woken_once():
    it, link, _ = joined()
    ours = it.cores[0]
    assert ours.flush(link)  # there is nothing to wait for
    ours.send(link, bytes(100))
    assert ours.next_command() == Write(link)
    ours.pieces_to_send(link, 1 << 18, it.now)
    assert ours.next_command() is None  # nobody waits
    ours.send(link, bytes(100))
    assert not ours.flush(link)
    assert ours.next_command() == Write(link)
    ours.pieces_to_send(link, 1 << 18, it.now)
    assert ours.next_command() == Wake(link)
    assert ours.flush(link)
    ours.send(link, bytes(100))
    ours.next_command()
    ours.pieces_to_send(link, 1 << 18, it.now)
    assert ours.next_command() is None


def test_who_does_not_pull_stops_the_peer_and_pulling_starts_it():
    it, link, peer = joined(
        {"limits": {"outgoing_message_queue_size": 1 << 18}},
        {"limits": {"incoming_message_queue_size": 1 << 18}},
    )
    sent = 0
    wire = it.wires[0, link]
    while True:
        if not it.cores[0].send(link, bytes(50_000)):
            it.run()
            if len(wire.data) > 1 << 20:
                break
            continue
        sent += 1
        it.run()
        if len(wire.data) > 1 << 20:
            it.full.add((0, link))
            break
    assert it.cores[1].read_allowance(peer, it.now) == 0
    assert it.cores[1].connection(peer)._in.fill < 1 << 18
    assert (1, peer) in it.paused
    it.full.clear()
    it.cores[0].writable(link, it.now)
    got = take(it, 1, peer)
    assert len(got) == sent
    assert Read(peer) in it.commands[1]
    assert it.cores[1].read_allowance(peer, it.now) == READ_SIZE


def test_work_that_was_put_off_goes_on_by_itself():
    it, link, peer = joined()
    for _ in range(20_000):
        it.cores[0].send(link, b"")
    assert len(take(it, 1, peer)) == 20_000
    assert it.cores[1].next_timeout() is None


def test_pulling_says_that_there_is_something_to_do():
    it, link, peer = joined({}, {"limits": {"incoming_message_queue_size": 300}})
    for _ in range(10):
        it.cores[0].send(link, bytes(100))
    it.run()
    ours = it.cores[1]
    assert ours.read_allowance(peer, it.now) == 0
    assert not ours.pending
    while not ours.pending:
        ours.receive(peer)
    assert ours.next_timeout() == it.now
    assert not ours.pending


# -- endings ---


def test_a_polite_close_lets_everything_leave():
    it, link, peer = joined()
    for _ in range(5):
        it.cores[0].send(link, bytes(100_000))
    it.cores[0].close(link, USER, it.now, it.now + 3)
    got = take(it, 1, peer)
    assert got == [bytes(100_000)] * 5
    assert it.why(0) == USER
    assert it.why(1).reason is Reason.CONNECTION_CLOSED_BY_PEER
    assert Shut(link) in it.commands[0]
    assert it.cores[0].links == it.cores[1].links == ()
    assert it.cores[0].next_timeout() is None


def test_a_polite_close_ends_at_its_deadline():
    it, link, _ = joined()
    it.full.add((0, link))
    it.cores[0].send(link, bytes(100_000))
    it.cores[0].close(link, USER, it.now, it.now + 3)
    it.run()
    assert it.told(0, Closed) == []
    assert it.cores[0].next_timeout() == 3.0
    it.advance(3)
    why = it.why(0)
    assert why.reason is Reason.USER
    assert why.errors[0].kind is ErrorKind.TIMEOUT
    assert link not in it.cores[0]


def test_an_abrupt_close_drops_everything():
    it, link, peer = joined()
    it.cores[0].send(link, b"lost")
    it.cores[1].send(peer, b"unread")
    it.run()
    it.cores[0].send(link, bytes(1000))
    it.cores[0].close(link, USER, it.now)
    assert it.cores[0].receive(link) is None
    it.run()
    assert it.why(0) == USER
    assert link not in it.cores[0]
    assert it.why(1).reason is Reason.CONNECTION_CLOSED_BY_PEER
    assert take(it, 1, peer) == [b"lost"]
    assert peer not in it.cores[1]


def test_an_ended_link_stays_until_its_messages_are_pulled_and_then_wakes():
    it, link, peer = joined()
    it.cores[0].send(link, b"one")
    it.cores[0].send(link, b"two")
    it.cores[0].close(link, USER, it.now, it.now + 1)
    it.run()
    ours = it.cores[1]
    assert ours.connection(peer).ended
    assert peer in ours
    assert ours.receive(peer) == b"one"
    assert not ours.pending
    assert ours.receive(peer) == b"two"
    assert peer not in ours
    assert ours.pending
    assert ours.next_command() == Wake(peer)


def test_forgetting_drops_what_nobody_pulled():
    it, link, peer = joined()
    it.cores[0].send(link, b"one")
    it.run()
    it.cores[1].forget(peer, it.now)
    it.run()
    assert peer not in it.cores[1]
    it.cores[1].forget(peer, it.now)
    assert it.why(1).reason is Reason.USER
    assert it.why(0).reason is Reason.CONNECTION_CLOSED_BY_PEER


def test_forgetting_an_ended_link_with_messages():
    it, link, peer = joined()
    it.cores[0].send(link, b"one")
    it.cores[0].close(link, USER, it.now, it.now + 1)
    it.run()
    it.cores[1].forget(peer, it.now)
    assert peer not in it.cores[1]


def test_stopping_ends_all():
    it = world()
    links = [it.dial() for _ in range(3)]
    it.cores[0].stop(it.now, it.now + 1)
    it.run()
    assert [why.disconnection.reason for why in it.told(0, Closed)] == [
        Reason.POOL_DESTROYED
    ] * len(links)
    assert it.cores[0].links == it.cores[1].links == ()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (None, Reason.CONNECTION_CLOSED_BY_PEER),
        (errno.ECONNRESET, Reason.CONNECTION_CLOSED_BY_PEER),
        (errno.ETIMEDOUT, Reason.CONNECTION_LOST),
        (errno.EIO, Reason.CONNECTION_CLOSED_BY_UNEXPECTED_ERROR),
    ],
)
def test_a_broken_socket_ends_the_link_and_no_close_follows(error, reason):
    it, _link, peer = joined()
    it.commands[1].clear()
    it.cores[1].link_lost(peer, error, it.now, Direction.WRITE)
    it.run()
    why = it.why(1)
    assert (why.reason, why.direction) == (reason, Direction.WRITE)
    assert it.commands[1] == [Wake(peer)]
    assert peer not in it.cores[1]


def test_a_link_is_lost_once():
    it, link, peer = joined()
    it.cores[0].send(link, b"unread")
    it.run()
    it.cores[1].link_lost(peer, None, it.now)
    it.cores[1].link_lost(peer, errno.EIO, it.now)
    it.run()
    assert it.why(1).reason is Reason.CONNECTION_CLOSED_BY_PEER
    assert take(it, 1, peer) == [b"unread"]


# -- dialling ---


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (errno.ECONNREFUSED, Reason.TCP_CONNECTION_REFUSED),
        (errno.EHOSTUNREACH, Reason.TCP_CONNECTION_UNREACHABLE),
        (errno.ENETUNREACH, Reason.TCP_NETWORK_UNREACHABLE),
        (errno.EMFILE, Reason.TCP_CONNECTION_FAILED_UNEXPECTED_ERROR),
        (None, Reason.TCP_CONNECTION_CANCELED),
    ],
)
def test_a_dial_that_fails_says_why(error, reason):
    ours = core(1)
    link = ours.connect(POINT, 0.0)
    assert ours.next_command() == Dial(link, POINT)
    ours.link_lost(link, error, 0.0)
    _, closed = ours.next_event()
    assert closed.disconnection.reason is reason
    assert ours.next_command() == Wake(link)
    assert link not in ours
    assert ours.next_timeout() is None


def test_dialling_and_handshake_have_one_deadline():
    ours = core(1, limits={"connection_timeout": 10.0})
    link = ours.connect(POINT, 0.0)
    assert ours.next_timeout() == 10.0
    ours.handle_timeout(9.0)
    ours.link_made(link, 9.0)
    assert ours.next_timeout() == 10.0
    ours.handle_timeout(10.0)
    (closed,) = [event for _, event in iter(ours.next_event, None)]
    assert closed.disconnection.errors[0].kind is ErrorKind.TIMEOUT
    assert Close(link) in list(iter(ours.next_command, None))


def test_a_dial_that_takes_too_long_is_given_up():
    ours = core(1, limits={"connection_timeout": 10.0})
    link = ours.connect(POINT, 0.0)
    ours.next_command()
    ours.handle_timeout(10.0)
    assert list(iter(ours.next_command, None)) == [Close(link), Wake(link)]
    _, closed = ours.next_event()
    assert closed.disconnection.reason is Reason.TCP_CONNECTION_CANCELED
    assert closed.disconnection.errors[0].kind is ErrorKind.TIMEOUT
    assert ours.next_timeout() is None
    # It succeeds after all: close it again.
    ours.link_made(link, 11.0)
    assert list(iter(ours.next_command, None)) == [Close(link)]
    ours.link_lost(link, None, 11.0)
    assert link not in ours


def test_a_dial_that_is_closed_is_given_up():
    ours = core(1)
    link = ours.connect(POINT, 0.0)
    ours.next_command()
    ours.close(link, USER, 1.0)
    assert list(iter(ours.next_command, None)) == [Close(link), Wake(link)]
    ours.link_lost(link, errno.ECANCELED, 1.0)
    assert link not in ours
    _, closed = ours.next_event()
    assert closed.disconnection == USER


def test_a_deadline_that_was_not_meant_changes_nothing():
    ours = core(1)
    link = ours.connect(POINT, 0.0)
    ours._timers.set(link, 1.0)
    ours.handle_timeout(1.0)
    assert not ours.connection(link).ended
    assert ours.next_timeout() == 10.0


# -- who is admitted ---


def test_the_expected_peer_is_let_in_and_no_other():
    it = world()
    it.dial(expected=Identity.of_secret(b"\x03" * 32).peer_id)
    assert len(it.told(0, Established)) == 1
    it = world()
    it.dial(expected=Identity.of_secret(b"\x09" * 32).peer_id)
    assert it.told(0, Established) == []
    assert it.why(0).errors[0].kind is ErrorKind.IDENTITY_CHECK_FAILURE
    assert it.cores[0].links == it.cores[1].links == ()


def test_whom_the_judge_refuses_hears_the_motive():
    met = []

    def judge(remote):
        met.append(remote.peer_id)
        return Motive.ALREADY_CONNECTED if len(met) == 1 else None

    it = world({}, {"judge": judge})
    it.dial()
    it.advance(1)
    assert it.why(0).reason is Reason.AUTHENTICATION_REJECTED_BY_PEER
    assert it.why(0).motive is Motive.ALREADY_CONNECTED
    assert it.why(1).reason is Reason.AUTHENTICATION_REJECTED
    it.dial()
    assert len(it.told(0, Established)) == 1
    assert met == [Identity.of_secret(b"\x02" * 32).peer_id] * 2


@pytest.mark.parametrize("judged", [False, True, "no", 0])
def test_a_judge_that_says_neither_none_nor_a_motive_lets_nobody_in(judged):
    it = world({}, {"judge": lambda _: judged})
    it.dial()
    it.advance(1)
    assert it.why(0).reason is Reason.AUTHENTICATION_REJECTED_BY_PEER
    assert it.why(0).motive is Motive.NO_MOTIVE
    assert it.told(0, Established) == []


def test_another_network_is_refused_before_the_judge_is_asked():
    def judge(remote):
        raise AssertionError("not asked")

    it = world({"network": Network("ANOTHER")}, {"judge": judge})
    it.dial()
    it.advance(1)
    assert it.why(1).motive is Motive.UNKNOWN_CHAIN_NAME
    assert it.cores[1].links == ()


def test_no_more_than_max_connections_are_let_in():
    limits = {"min_connections": 0, "expected_connections": 1, "max_connections": 2}
    it = world({}, {"limits": limits})
    first, _ = it.dial(), it.dial()
    assert it.cores[1]._running == 2
    it.dial()
    it.advance(1)
    assert it.why(0).motive is Motive.TOO_MANY_CONNECTIONS
    it.cores[0].close(first, USER, it.now)
    it.run()
    assert it.cores[1]._running == 1
    it.dial()
    assert len(it.told(0, Established)) == 3


def test_no_more_handshakes_at_once_than_allowed():
    ours = core(1, limits={"max_incoming_connections": 2})
    links = [ours.accept(POINT, 0.0) for _ in range(4)]
    assert links == [1, 2, None, None]
    assert ours.turned_away == 2
    ours.link_lost(1, None, 0.0)
    assert ours.accept(POINT, 0.0) == 3
    ours.handle_timeout(5.0)
    assert ours._pending == 0
    assert ours.accept(POINT, 5.0) == 4


def test_a_handshake_that_is_over_is_not_counted_any_more():
    it = world({}, {"limits": {"max_incoming_connections": 1}})
    for _ in range(3):
        it.dial()
    assert len(it.told(1, Established)) == 3
    assert it.cores[1]._pending == 0
    assert it.cores[1].turned_away == 0


def test_a_visitor_who_is_silent_is_shown_out():
    ours = core(1)
    link = ours.accept(POINT, 0.0)
    assert ours.next_timeout() == 5.0
    ours.handle_timeout(5.0)
    assert Close(link) in list(iter(ours.next_command, None))
    ours.link_lost(link, None, 5.0)
    assert ours.links == ()


# -- accepting ---


@pytest.mark.parametrize(
    "error", [errno.ECONNABORTED, errno.EAGAIN, errno.EINTR, errno.EPROTO]
)
def test_errors_of_one_visitor_change_nothing(error):
    ours = core(1)
    ours.accept_failed(error, 0.0)
    assert ours.next_command() is None
    assert ours.next_timeout() is None


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, 0])
def test_accepting_rests_when_the_system_has_nothing_left(error):
    ours = core(1)
    ours.accept_failed(error, 7.0)
    assert ours.next_command() == Accept(False)
    assert ours.next_timeout() == 7.0 + ACCEPT_DELAY == 12.0
    ours.handle_timeout(11.9)
    assert ours.next_command() is None
    ours.handle_timeout(12.0)
    assert ours.next_command() == Accept(True)
    assert ours.next_timeout() is None


# -- events ---


def test_unread_events_are_bounded_and_the_oldest_go_first():
    ours = core(1)
    for _ in range(EVENTS_MAX + 10):
        link = ours.connect(POINT, 0.0)
        ours.close(link, USER, 0.0)
    told = list(iter(ours.next_event, None))
    assert len(told) == EVENTS_MAX
    assert told[0][0] == 11


def test_the_same_inputs_give_the_same_outputs():
    def transcript():
        it, link, peer = joined()
        it.cores[0].send(link, b"hello")
        it.run()
        it.cores[1].close(peer, USER, it.now, 1.0)
        it.run()
        return (
            deque(it.commands),
            it.events,
            {k: bytes(w.data) for k, w in it.wires.items()},
        )

    assert transcript() == transcript()
