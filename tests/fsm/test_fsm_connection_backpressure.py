"""Bounded queues and bounded work, seen from a driver's calls."""

from __future__ import annotations

from typing import Any

import pytest
from connection_pair import (
    BOOTSTRAP,
    USER,
    Scene,
    opened,
    raw,
    scene,
    shake,
)
from fsm_puppet import ROLE_NAMES, ROLES, RUNNER_NAMES

from tezos_p2p.fsm.connection import KEPT_MAX, READ_SIZE
from tezos_p2p.fsm.incoming import CONTROL_MAX, WORK
from tezos_p2p.fsm.lifecycle import State
from tezos_p2p.spec import Direction, Disconnection, ErrorKind, Reason
from tezos_p2p.spec.events import ControlReceived, SendReady

pytestmark = [
    pytest.mark.parametrize("incoming", ROLES, ids=ROLE_NAMES.get),
    pytest.mark.parametrize("runner", RUNNER_NAMES),
]

#: Weight of a message beside its bytes, when it comes.
MESSAGE = 120


def numbered(count: int) -> list[bytes]:
    return [number.to_bytes(4, "big") for number in range(count)]


def told(it: Scene, kind: type) -> list[Any]:
    return [event for event in it.events if isinstance(event, kind)]


# -- work ------------------------------------------------------------------------------


def test_a_flood_of_small_messages_is_worked_off_call_by_call(
    incoming: bool, runner: str
) -> None:
    it = opened(incoming, runner, limits={"incoming_message_queue_size": None})
    payloads = numbered(READ_SIZE // 10)
    plain = b"".join(map(raw, payloads))
    wire = b"".join(
        it.peer.seal(plain[at : at + 65_000]) for at in range(0, len(plain), 65_000)
    )
    it.give(wire, 7.0)
    counts = [len(it.got)]
    while (due := it.machine.next_timeout()) is not None:
        assert due <= 7.0
        assert it.machine.read_allowance == 0
        before = len(it.got)
        it.machine.handle_timeout(7.0)
        it.drain()
        counts.append(len(it.got) - before)
    assert all(0 < count <= WORK for count in counts)
    assert it.got == payloads
    assert it.machine.read_allowance == READ_SIZE


def test_a_flood_of_empty_chunks_is_worked_off_call_by_call(
    incoming: bool, runner: str
) -> None:
    it = opened(incoming, runner)
    count = READ_SIZE // 18 - 2
    it.say(*[b""] * count, raw(b"end"))
    assert it.got == []
    assert it.machine.read_allowance == 0
    # Each of them costs at least a few units.
    assert it.settle() >= count * 4 // WORK
    assert it.got == [b"end"]
    assert it.machine.read_allowance == READ_SIZE


def test_a_driver_that_never_calls_again_gets_no_more(
    incoming: bool, runner: str
) -> None:
    it = opened(incoming, runner)
    it.say(raw() * 10_900)
    done = len(it.got)
    it.drain()
    it.drain()
    assert len(it.got) == done
    it.machine.handle_timeout(0.0)
    it.drain()
    assert done < len(it.got) < 10_900


def test_when_nothing_is_left_a_timeout_is_harmless(incoming: bool, runner: str) -> None:
    it = opened(incoming, runner)
    it.say(raw(b"one"))
    for now in (0.0, 1e9):
        it.machine.handle_timeout(now)
        assert it.drain() == []
    assert it.machine.state is State.OPEN


def test_whether_work_is_left_is_told(incoming: bool, runner: str) -> None:
    it = scene(incoming, runner, limits={"incoming_message_queue_size": 1})
    assert not it.machine.stalled
    shake(it)
    it.pulls = False
    it.say(raw(b"one"))
    assert not it.machine.stalled
    it.say(raw(b"two"))
    assert it.machine.stalled
    it.machine.receive()
    assert it.machine.stalled
    it.settle()
    assert not it.machine.stalled
    it.machine.close(USER, 1.0)
    assert not it.machine.stalled


# -- the queue of messages -------------------------------------------------------------


def test_a_full_queue_stops_reading_until_half_of_it_is_pulled(
    incoming: bool, runner: str
) -> None:
    limits = {"incoming_message_queue_size": 10 * (10 + MESSAGE) + 1}
    it = opened(incoming, runner, limits=limits)
    it.pulls = False
    payloads = numbered(25)
    it.say(b"".join(map(raw, payloads)))
    got: list[Any] = []
    for _ in range(5):
        assert it.machine.read_allowance == 0
        assert it.machine.next_timeout() is None
        it.machine.handle_timeout(1.0)
        got.append(it.machine.receive())
    assert it.machine.next_timeout() == 1.0
    it.machine.handle_timeout(2.0)
    assert it.machine.read_allowance == 0
    while it.machine.readable:
        got.append(it.machine.receive())
    assert len(got) == 15
    it.machine.handle_timeout(3.0)
    assert it.machine.read_allowance == READ_SIZE
    while it.machine.readable:
        got.append(it.machine.receive())
    assert got == payloads


@pytest.mark.parametrize(("more", "room"), [(0, False), (1, True)])
def test_the_queue_takes_what_stays_strictly_below_its_limit(
    incoming: bool, runner: str, more: int, room: bool
) -> None:
    limits = {"incoming_message_queue_size": 2 * (10 + MESSAGE) + more}
    it = opened(incoming, runner, limits=limits)
    it.pulls = False
    it.say(raw(b"1234") * 2)
    assert it.machine.read_allowance == (READ_SIZE if room else 0)


def test_a_message_heavier_than_the_queue_passes_alone(
    incoming: bool, runner: str
) -> None:
    it = opened(incoming, runner, limits={"incoming_message_queue_size": 10})
    it.pulls = False
    it.say(raw(bytes(50_000)))
    assert it.machine.read_allowance == READ_SIZE
    it.say(raw(b"next"))
    assert it.machine.read_allowance == 0
    assert it.machine.receive() == bytes(50_000)
    it.settle()
    assert it.machine.read_allowance == READ_SIZE
    assert it.machine.receive() == b"next"


def test_without_a_limit_the_queue_takes_all(incoming: bool, runner: str) -> None:
    it = opened(incoming, runner, limits={"incoming_message_queue_size": None})
    it.pulls = False
    for _ in range(200):
        it.say(raw(bytes(60_000)))
        it.settle()
    assert it.machine.read_allowance == READ_SIZE


# -- events ----------------------------------------------------------------------------


def test_events_that_nobody_looks_at_stop_reading(incoming: bool, runner: str) -> None:
    it = opened(incoming, runner)
    it.reads = False
    it.say(BOOTSTRAP * CONTROL_MAX)
    assert it.machine.read_allowance == READ_SIZE
    it.say(BOOTSTRAP * 2 + raw(b"behind"))
    assert it.machine.read_allowance == 0
    assert it.machine.next_timeout() is None
    it.machine.handle_timeout(0.0)
    assert len(it.machine._events or ()) == CONTROL_MAX
    assert isinstance(it.machine.next_event(), ControlReceived)
    assert it.machine.next_timeout() == 0.0
    it.machine.handle_timeout(0.0)
    assert len(it.machine._events or ()) == CONTROL_MAX
    assert it.machine.next_timeout() is None
    it.reads = True
    it.drain()
    it.settle()
    assert len(told(it, ControlReceived)) + 1 == CONTROL_MAX + 2
    assert it.got == [b"behind"]


def test_a_flood_of_control_messages_is_told_as_it_is_looked_at(
    incoming: bool, runner: str
) -> None:
    it = opened(incoming, runner)
    it.say(BOOTSTRAP * 1_000)
    while it.machine.next_timeout() is not None:
        assert it.machine.read_allowance == 0
        before = len(told(it, ControlReceived))
        it.machine.handle_timeout(0.0)
        it.drain()
        assert 0 < len(told(it, ControlReceived)) - before <= CONTROL_MAX
    assert len(told(it, ControlReceived)) == 1_000


def test_messages_that_nobody_pulls_do_not_count_as_events(
    incoming: bool, runner: str
) -> None:
    it = opened(incoming, runner)
    it.pulls = False
    it.say(raw() * (CONTROL_MAX + 10))
    assert it.machine.read_allowance == READ_SIZE


# -- more than the allowance -----------------------------------------------------------


def test_a_driver_that_reads_on_all_the_same_is_stopped_in_the_end(
    incoming: bool, runner: str
) -> None:
    it = opened(incoming, runner, limits={"incoming_message_queue_size": 1})
    it.pulls = False
    it.say(raw(b"one") + raw(b"two"))
    it.give(b"\0\x10" + bytes(KEPT_MAX - 2 - 1))
    it.give(b"\0")
    assert it.machine.state is State.OPEN
    it.give(b"\0")
    why = it.the_end()
    assert [error.kind for error in why.errors] == [ErrorKind.READ_ALLOWANCE_EXCEEDED]
    assert why.errors[0].detail == f"{KEPT_MAX + 1} bytes wait, limit {KEPT_MAX}"
    assert why.reason is Reason.CONNECTION_CLOSED_BY_UNEXPECTED_ERROR
    assert why.direction is Direction.READ
    assert not why.greylists
    # What came before is theirs to have said.
    assert it.machine.receive() == b"one"


# -- sending ---------------------------------------------------------------------------

#: Weight of a message of 10 bytes in one chunk.
TEN = 10 + 128 + 96


def sending(incoming: bool, runner: str, limit: int | None, **more: Any) -> Scene:
    limits = {"outgoing_message_queue_size": limit, "binary_chunks_size": 28}
    it = opened(incoming, runner, limits=limits, joins=False)
    it.writes = False
    return it


def test_a_full_queue_refuses_and_calls_back_once(incoming: bool, runner: str) -> None:
    it = sending(incoming, runner, 4 * TEN + 1)
    for number in range(4):
        assert it.machine.send(bytes([number] * 4))
    for _ in range(100):
        assert not it.machine.send(b"more")
    assert it.machine.queued == 40
    assert it.drain() == []
    for left in (3, 2):
        assert told(it, SendReady) == []
        it.machine.handle_timeout(float(10 - left))
        it.sent += it.machine.data_to_send(1)
        it.drain()
    assert told(it, SendReady) == [SendReady(8.0)]
    assert it.machine.send(b"more")
    it.writes = True
    it.drain()
    assert told(it, SendReady) == [SendReady(8.0)]
    assert it.hear() == [raw(bytes([n] * 4)) for n in range(4)] + [raw(b"more")]


def test_each_fullness_is_told_of_once(incoming: bool, runner: str) -> None:
    it = sending(incoming, runner, 4 * TEN + 1)
    for times in range(1, 4):
        while it.machine.send(b"1234"):
            pass
        assert not it.machine.send(b"1234")
        it.writes = True
        it.drain()
        it.writes = False
        assert len(told(it, SendReady)) == times


@pytest.mark.parametrize("n", [4, 40, 1_000])
def test_what_was_refused_is_taken_once_there_is_room(
    incoming: bool, runner: str, n: int
) -> None:
    it = sending(incoming, runner, 4 * TEN + 1)
    while it.machine.send(b"1234"):
        pass
    assert not it.machine.send(bytes(n))
    while not told(it, SendReady):
        it.sent += it.machine.data_to_send(1)
        it.drain()
    assert it.machine.send(bytes(n))


@pytest.mark.parametrize("promises", [False, True])
def test_readiness_is_told_of_what_was_to_be_promised(
    incoming: bool, runner: str, promises: bool
) -> None:
    it = sending(incoming, runner, 4 * TEN + 1)
    one = raw(b"1234")[:6], b"1234"
    while it.machine.send_encoded(*one, promises):
        pass
    while it.machine.wants_to_write:
        it.sent += it.machine.data_to_send(1)
        it.drain()
    assert len(told(it, SendReady)) == promises


@pytest.mark.parametrize(("more", "taken"), [(0, False), (1, True)])
def test_the_outgoing_queue_takes_what_stays_strictly_below_its_limit(
    incoming: bool, runner: str, more: int, taken: bool
) -> None:
    it = sending(incoming, runner, 2 * TEN + more)
    assert it.machine.send(b"1234")
    assert it.machine.send_encoded(raw(b"1234")[:6], b"1234") is taken


def test_a_message_heavier_than_the_outgoing_queue_passes_alone(
    incoming: bool, runner: str
) -> None:
    it = sending(incoming, runner, 10)
    assert it.machine.send(bytes(10_000))
    assert not it.machine.send(b"")
    it.writes = True
    it.drain()
    assert it.machine.send(bytes(10_000))


def test_without_a_limit_nothing_that_is_sent_is_refused(
    incoming: bool, runner: str
) -> None:
    it = sending(incoming, runner, None)
    assert all(it.machine.send(bytes(10_000)) for _ in range(1_000))
    it.sent += it.machine.data_to_send(1)
    assert it.drain() == []


def test_nobody_is_called_back_on_a_connection_that_is_over(
    incoming: bool, runner: str
) -> None:
    it = sending(incoming, runner, 10)
    it.machine.send(b"one")
    it.machine.send(b"two")
    it.machine.close(USER, 1.0)
    it.writes = True
    assert it.the_end() == Disconnection(Reason.USER, text="enough")
    assert told(it, SendReady) == []


@pytest.mark.parametrize("room", [1, 100, 5_000])
def test_what_leaves_exceeds_the_room_by_less_than_a_chunk(
    incoming: bool, runner: str, room: int
) -> None:
    it = sending(incoming, runner, None)
    it.machine.send(bytes(9_994))
    while data := it.machine.data_to_send(room):
        assert room <= len(data) < room + 28 or not it.machine.wants_to_write
        it.sent += data
    assert b"".join(it.hear()) == raw(bytes(9_994))
