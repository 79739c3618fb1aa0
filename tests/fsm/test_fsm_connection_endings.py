"""How connections end: by us, by them, by the system, politely and not."""

from __future__ import annotations

import errno
from typing import Any

import pytest
from connection_pair import (
    BOOTSTRAP,
    DISCONNECT,
    LAST_NONCE,
    MANY,
    PHASES,
    USER,
    Scene,
    finish,
    opened,
    overwork,
    raw,
    reach,
    scene,
    shake,
)
from fsm_puppet import ROLE_NAMES, ROLES, RUNNER_NAMES, our_local

from tezos_p2p.fsm import endings
from tezos_p2p.fsm.connection import READ_SIZE
from tezos_p2p.fsm.lifecycle import LINGER, State
from tezos_p2p.spec import (
    Closed,
    ConnectionMetadata,
    Direction,
    Disconnection,
    EncodeError,
    ErrorKind,
    Motive,
    Network,
    P2pError,
    PeerId,
    Point,
    Reason,
    Remote,
)
from tezos_p2p.spec.events import ControlReceived, SendReady
from tezos_p2p.spec.reasons import UNKNOWN

pytestmark = [
    pytest.mark.parametrize("incoming", ROLES, ids=ROLE_NAMES.get),
    pytest.mark.parametrize("runner", RUNNER_NAMES),
]

BY_PEER = Disconnection(Reason.CONNECTION_CLOSED_BY_PEER, direction=Direction.READ)
POINT = Point.parse("127.0.0.1:9732")


def kinds(why: Disconnection) -> list[ErrorKind]:
    return [error.kind for error in why.errors]


# -- our close, at once ----------------------------------------------------------------


def test_an_abrupt_close_drops_all_that_was_queued(incoming: bool, runner: str) -> None:
    it = opened(incoming, runner)
    it.machine.send(bytes(100_000))
    it.machine.close(USER, 2.0)
    assert not it.machine.wants_to_write
    assert it.machine.data_to_send() == b""
    assert it.the_end() is USER
    assert it.events[-1].at == 2.0


def test_after_our_close_nothing_of_theirs_is_given(incoming: bool, runner: str) -> None:
    it = opened(incoming, runner)
    it.pulls = it.reads = False
    it.say(raw(b"one") + BOOTSTRAP + raw(b"two"))
    it.machine.close(USER, 2.0)
    assert it.machine.receive() is None
    assert not it.machine.readable
    it.reads = it.pulls = True
    assert it.drain() == [Closed(USER, 2.0)]
    assert it.got == []


def test_our_close_takes_back_no_other_events(incoming: bool, runner: str) -> None:
    it = shake(scene(incoming, runner), "answer")
    it.reads = False
    it.say(b"\0", BOOTSTRAP)
    it.machine.close(USER, 2.0)
    it.the_end()
    assert [type(event).__name__ for event in it.events[-2:]] == ["Established", "Closed"]


def test_after_our_polite_close_nothing_of_theirs_is_given_either(
    incoming: bool, runner: str
) -> None:
    it = opened(incoming, runner)
    it.pulls = it.reads = False
    it.say(raw(b"one") + BOOTSTRAP)
    it.machine.close(USER, 2.0, 3.0)
    it.pulls = it.reads = True
    assert it.say(raw(b"two") + BOOTSTRAP) == []
    assert it.got == []


def test_work_that_was_left_is_not_done_after_our_close(
    incoming: bool, runner: str
) -> None:
    it = opened(incoming, runner)
    overwork(it)
    done = len(it.got)
    it.machine.close(USER, 0.0, 9.0)
    assert it.machine.next_timeout() == 9.0
    it.machine.handle_timeout(1.0)
    it.drain()
    assert len(it.got) == done < MANY


@pytest.mark.parametrize("state", [s for s in State if s is not State.CLOSED])
def test_we_may_close_at_any_time(incoming: bool, runner: str, state: State) -> None:
    it = reach(state, incoming, runner)
    it.writes = False
    why = Disconnection(Reason.EXPLICIT_RPC)
    it.machine.close(why, 2.0)
    told = it.the_end()
    assert it.events[-1].at == 2.0
    if state is State.DRAINING:
        error = P2pError(ErrorKind.CANCELED, "16 bytes were not sent")
        assert told == Disconnection(Reason.USER, (error,), text="enough")
    elif state is State.FINISHING:
        assert told.reason is Reason.CONNECTION_CLOSED_BY_PEER
    else:
        assert told == (USER if state is State.LINGERING else why)


@pytest.mark.parametrize("phase", PHASES)
def test_a_close_during_the_handshake_waits_for_nothing(
    incoming: bool, runner: str, phase: str
) -> None:
    if phase == "open":
        return
    it = shake(scene(incoming, runner), phase)
    it.machine.close(USER, 1.0, 9.0)
    assert it.machine.data_to_send() == b""
    assert it.the_end() is USER


@pytest.mark.parametrize("late", [0.0, 3.0])
def test_a_polite_close_after_its_deadline_is_an_abrupt_one(
    incoming: bool, runner: str, late: float
) -> None:
    it = opened(incoming, runner)
    it.machine.send(b"one")
    it.machine.close(USER, 5.0, 5.0 - late)
    assert it.machine.data_to_send() == b""
    assert it.the_end() is USER


def test_a_close_after_the_end_changes_nothing(incoming: bool, runner: str) -> None:
    it = reach(State.CLOSED, incoming, runner)
    it.machine.close(USER, 1.0)
    it.machine.close(USER, 1.0, 2.0)
    assert it.the_end() is UNKNOWN


# -- our close, politely ---------------------------------------------------------------


def test_all_that_is_queued_leaves_before_a_polite_end(
    incoming: bool, runner: str
) -> None:
    it = opened(incoming, runner)
    it.writes = False
    it.machine.send(b"one")
    it.machine.send(bytes(200_000))
    it.machine.close(USER, 1.0, 4.0)
    assert it.machine.state is State.DRAINING
    assert it.machine.next_timeout() == 4.0
    assert it.machine.read_allowance == READ_SIZE
    while it.machine.state is State.DRAINING:
        assert it.machine.wants_to_write
        it.sent += it.machine.data_to_send(50_000)
    assert it.machine.state is State.LINGERING
    assert not it.machine.wants_to_write
    assert it.machine.read_allowance == READ_SIZE
    assert it.ends() == []
    assert b"".join(it.hear()) == raw(b"one") + raw(bytes(200_000))
    it.give(b"", 2.0)
    assert it.the_end() is USER
    assert it.events[-1].at == 2.0


def test_with_nothing_queued_a_polite_end_lingers_at_once(
    incoming: bool, runner: str
) -> None:
    it = opened(incoming, runner)
    it.machine.close(USER, 1.0, 4.0)
    assert it.machine.state is State.LINGERING
    assert it.machine.next_timeout() == 4.0


@pytest.mark.parametrize("state", [State.DRAINING, State.LINGERING])
@pytest.mark.parametrize(
    "wrong", [b"\0\0", b"\xff" * 70_000, b"\0\x11" + bytes(17), bytes(18)]
)
def test_what_comes_while_we_leave_is_thrown_away(
    incoming: bool, runner: str, state: State, wrong: bytes
) -> None:
    it = reach(state, incoming, runner)
    it.writes = False
    for _ in range(3):
        assert it.give(wrong) == []
    it.say(raw(b"one"), DISCONNECT)
    assert it.machine.state is state
    assert it.got == []


def test_a_deadline_that_passes_says_how_much_was_not_sent(
    incoming: bool, runner: str
) -> None:
    it = opened(incoming, runner, limits={"binary_chunks_size": 118})
    it.writes = False
    it.machine.send(bytes(394))
    it.machine.close(USER, 1.0, 4.0)
    assert it.machine.data_to_send(1)
    it.machine.handle_timeout(3.999)
    assert it.machine.state is State.DRAINING
    it.machine.handle_timeout(4.0)
    error = P2pError(ErrorKind.TIMEOUT, "300 bytes were not sent")
    assert it.the_end() == Disconnection(Reason.USER, (error,), text="enough")
    assert it.events[-1].at == 4.0


def test_a_deadline_that_passes_while_lingering_is_no_error(
    incoming: bool, runner: str
) -> None:
    it = reach(State.LINGERING, incoming, runner)
    it.machine.handle_timeout(8.999)
    assert it.machine.state is State.LINGERING
    it.machine.handle_timeout(9.0)
    assert it.the_end() is USER


@pytest.mark.parametrize("state", [State.DRAINING, State.LINGERING])
@pytest.mark.parametrize(("second", "due"), [(7.0, 7.0), (9.0, 9.0), (11.0, 9.0)])
def test_a_second_close_may_only_shorten_the_wait(
    incoming: bool, runner: str, state: State, second: float, due: float
) -> None:
    it = reach(state, incoming, runner)
    it.machine.close(UNKNOWN, 1.0, second)
    assert it.machine.state is state
    assert it.machine.next_timeout() == due
    it.drain()
    it.give(b"", 2.0)
    assert it.the_end() is USER


@pytest.mark.parametrize("deadline", [None, 1.0, 0.5])
def test_a_second_close_without_a_wait_ends_it(
    incoming: bool, runner: str, deadline: float | None
) -> None:
    it = reach(State.DRAINING, incoming, runner)
    it.machine.close(UNKNOWN, 1.0, deadline)
    why = it.the_end()
    error = P2pError(ErrorKind.CANCELED, "16 bytes were not sent")
    assert why == Disconnection(Reason.USER, (error,), text="enough")


def test_their_end_while_we_drain_does_not_stop_our_bytes(
    incoming: bool, runner: str
) -> None:
    it = reach(State.DRAINING, incoming, runner)
    it.machine.receive_data(b"", 1.0)
    assert it.machine.state is State.DRAINING
    assert it.machine.read_allowance == 0
    it.drain()
    assert it.hear() == [raw(b"last words")]
    assert it.the_end() is USER


def test_a_stream_that_breaks_while_we_drain_says_how_much_was_not_sent(
    incoming: bool, runner: str
) -> None:
    it = reach(State.DRAINING, incoming, runner)
    it.machine.connection_lost(errno.EPIPE, 2.0, Direction.WRITE)
    error = P2pError(ErrorKind.CONNECTION_CLOSED, "16 bytes were not sent")
    assert it.the_end() == Disconnection(Reason.USER, (error,), text="enough")


@pytest.mark.parametrize("error", [None, errno.ECONNRESET, errno.EIO])
def test_a_stream_that_breaks_while_we_linger_is_their_end(
    incoming: bool, runner: str, error: int | None
) -> None:
    it = reach(State.LINGERING, incoming, runner)
    it.machine.connection_lost(error, 2.0)
    assert it.the_end() is USER


def test_nobody_is_called_to_send_on_a_connection_that_is_ending(
    incoming: bool, runner: str
) -> None:
    it = opened(incoming, runner, limits={"outgoing_message_queue_size": 10})
    it.machine.send(b"one")
    assert not it.machine.send(b"two")
    it.machine.close(USER, 0.0, 9.0)
    it.drain()
    assert it.machine.state is State.LINGERING
    assert not any(isinstance(event, SendReady) for event in it.events)


# -- their end -------------------------------------------------------------------------

#: What a failed call says: reason, and kinds of errors.
FAULTS = [
    (None, Reason.CONNECTION_CLOSED_BY_PEER, ""),
    (errno.ECONNRESET, Reason.CONNECTION_CLOSED_BY_PEER, ""),
    (errno.EPIPE, Reason.CONNECTION_CLOSED_BY_PEER, ""),
    (errno.ECONNABORTED, Reason.CONNECTION_CLOSED_BY_PEER, ""),
    (errno.ETIMEDOUT, Reason.CONNECTION_LOST, ""),
    (errno.EIO, Reason.CONNECTION_CLOSED_BY_UNEXPECTED_ERROR, "EIO"),
    (errno.EHOSTUNREACH, Reason.CONNECTION_CLOSED_BY_UNEXPECTED_ERROR, "EHOSTUNREACH"),
    (99_999, Reason.CONNECTION_CLOSED_BY_UNEXPECTED_ERROR, "error 99999"),
]


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize(("error", "reason", "detail"), FAULTS)
@pytest.mark.parametrize("state", [State.OPEN, State.FINISHING])
def test_the_system_says_why_a_stream_is_gone(
    incoming: bool,
    runner: str,
    state: State,
    error: int | None,
    reason: Reason,
    detail: str,
    direction: Direction,
) -> None:
    it = opened(incoming, runner)
    if state is State.FINISHING:
        overwork(it)
    it.machine.connection_lost(error, 3.0, direction)
    assert it.machine.state is (State.CLOSED if state is State.OPEN else state)
    it.now = 3.0
    it.settle()
    why = it.the_end()
    errors = (P2pError(ErrorKind.CONNECTION_ERROR, detail),) if detail else ()
    if error == errno.EPIPE:  # nothing else can be said of a pipe
        direction = Direction.WRITE
    assert why == Disconnection(reason, errors, direction=direction)
    assert not why.greylists


def test_a_stream_that_breaks_was_being_read_unless_said_otherwise(
    incoming: bool, runner: str
) -> None:
    it = opened(incoming, runner)
    it.machine.connection_lost(errno.ETIMEDOUT, 3.0)
    assert it.the_end().direction is Direction.READ


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("error", [None, errno.ECONNRESET])
def test_a_stream_that_breaks_in_the_handshake_is_its_end(
    incoming: bool, runner: str, phase: str, error: int | None
) -> None:
    it = shake(scene(incoming, runner), phase)
    it.machine.connection_lost(error, 3.0)
    reasons = {"answer": Reason.ACK_READ_ERROR, "open": Reason.CONNECTION_CLOSED_BY_PEER}
    expected = reasons.get(phase, Reason.AUTHENTICATION_REJECTED_ERROR)
    why = it.the_end()
    assert why.reason is expected
    assert not why.greylists


@pytest.mark.parametrize("lost", [False, True])
def test_their_end_before_the_start_is_acted_upon_by_the_start(
    incoming: bool, runner: str, lost: bool
) -> None:
    it = scene(incoming, runner)
    if lost:
        it.machine.connection_lost(None, 0.0)
    else:
        it.give(b"")
    assert it.machine.state is State.IDLE
    it.machine.start(0.0)
    assert it.the_end().reason is Reason.AUTHENTICATION_REJECTED_ERROR


def test_their_end_drops_what_we_had_queued(incoming: bool, runner: str) -> None:
    it = opened(incoming, runner)
    it.machine.send(b"one")
    it.machine.receive_data(b"", 1.0)
    assert it.machine.data_to_send() == b""
    assert it.the_end() == BY_PEER


def test_messages_that_came_before_their_end_are_given_after_it(
    incoming: bool, runner: str
) -> None:
    it = opened(incoming, runner)
    it.pulls = False
    it.say(raw(b"one") + raw(b"two"))
    it.give(b"", 1.0)
    assert it.machine.ended
    assert it.machine.readable
    assert [it.machine.receive() for _ in range(3)] == [b"one", b"two", None]
    assert it.the_end() == BY_PEER


@pytest.mark.parametrize(
    "rest", [raw(b"cut short")[:5], raw(b"cut short")[:8], b"", raw(b"x" * 9_000)[:-1]]
)
def test_a_message_that_their_end_cuts_short_is_dropped(
    incoming: bool, runner: str, rest: bytes
) -> None:
    it = opened(incoming, runner)
    it.say(raw(b"one") + rest)
    it.give(it.peer.seal(raw(b"two"))[:-1])
    it.give(b"")
    assert it.got == [b"one"]
    assert it.the_end() == BY_PEER


def test_their_end_waits_until_what_came_before_it_is_decoded(
    incoming: bool, runner: str
) -> None:
    it = reach(State.FINISHING, incoming, runner)
    assert it.machine.read_allowance == 0
    assert it.ends() == []
    it.machine.receive_data(it.peer.seal(raw(b"behind the end")), 1.0)
    it.give(b"")
    it.now = 1.0
    assert it.settle() == 1
    assert it.got == [b""] * MANY
    assert it.the_end() == BY_PEER
    assert it.events[-1].at == 1.0


def test_their_end_waits_for_a_full_queue(incoming: bool, runner: str) -> None:
    it = opened(incoming, runner, limits={"incoming_message_queue_size": 1})
    it.pulls = False
    it.say(raw(b"one") + raw(b"two") + raw(b"three"))
    it.give(b"", 1.0)
    assert it.machine.state is State.FINISHING
    for expected in (b"one", b"two", b"three"):
        assert it.machine.next_timeout() is None
        assert it.machine.receive() == expected
        it.settle()
    assert it.the_end() == BY_PEER


def test_their_end_waits_for_control_messages_to_be_looked_at(
    incoming: bool, runner: str
) -> None:
    it = opened(incoming, runner)
    it.reads = False
    it.say(BOOTSTRAP * 70 + raw(b"last"))
    it.give(b"", 1.0)
    assert it.machine.state is State.FINISHING
    assert it.machine.next_timeout() is None
    it.reads = True
    it.drain()
    assert it.settle() == 1
    assert sum(isinstance(event, ControlReceived) for event in it.events) == 70
    assert it.got == [b"last"]
    assert it.the_end() == BY_PEER


def test_after_their_end_nothing_of_ours_leaves(incoming: bool, runner: str) -> None:
    it = opened(incoming, runner)
    it.machine.send(b"one")
    it.writes = False
    finish(it)
    assert it.machine.state is State.FINISHING
    assert not it.machine.wants_to_write
    assert it.machine.data_to_send() == b""


def test_a_fault_that_shows_after_their_end_is_the_reason(
    incoming: bool, runner: str
) -> None:
    it = opened(incoming, runner)
    it.say(raw() * MANY + raw(tag=0x77))
    it.give(b"")
    assert it.machine.state is State.FINISHING
    it.settle()
    assert len(it.got) == MANY
    why = it.the_end()
    assert kinds(why) == [ErrorKind.DECODING_ERROR]
    assert why.greylists


def test_our_close_after_their_end_drops_what_is_left(
    incoming: bool, runner: str
) -> None:
    for deadline in (None, 9.0):
        it = opened(incoming, runner)
        finish(it)
        done = len(it.got)
        it.machine.close(USER, 1.0, deadline)
        assert it.the_end().reason is Reason.CONNECTION_CLOSED_BY_PEER
        assert len(it.got) == done < MANY


# -- a Disconnect ----------------------------------------------------------------------


@pytest.mark.parametrize("step", [1, 19, 24, 30, 50, 1_000])
@pytest.mark.parametrize("joined", [False, True])
def test_a_disconnect_ends_it_behind_what_came_before(
    incoming: bool, runner: str, joined: bool, step: int
) -> None:
    it = opened(incoming, runner)
    plain = (raw(b"one") + BOOTSTRAP, DISCONNECT, raw(b"two") + BOOTSTRAP + b"\xff" * 9)
    wire = b"".join(map(it.peer.seal, [b"".join(plain)] if joined else plain))
    for at in range(0, len(wire), step):
        it.give(wire[at : at + step])
    assert it.got == [b"one"]
    why = it.the_end()
    assert why == BY_PEER
    assert not why.greylists
    assert sum(isinstance(event, ControlReceived) for event in it.events) == 1


def test_a_disconnect_is_found_after_their_end_too(incoming: bool, runner: str) -> None:
    it = opened(incoming, runner)
    it.say(raw() * MANY + DISCONNECT + raw(b"never"))
    it.machine.connection_lost(errno.EIO, 0.0)
    it.settle()
    assert it.got == [b""] * MANY
    assert it.the_end() == BY_PEER


# -- refusals --------------------------------------------------------------------------


def refused(incoming: bool, runner: str, **more: Any) -> Scene:
    """Return a scene in which they were refused at 1.0; nothing has left yet."""
    it = shake(scene(incoming, runner, **more), "verdict")
    it.writes = False
    it.machine.refuse(Motive.TOO_MANY_CONNECTIONS, (POINT,), 1.0)
    assert it.drain() == []
    return it


def test_a_refusal_leaves_and_their_end_is_awaited(incoming: bool, runner: str) -> None:
    it = refused(incoming, runner)
    assert it.machine.state is State.DRAINING
    assert it.machine.next_timeout() == 1.0 + LINGER == 1.5
    assert it.machine.read_allowance == READ_SIZE
    assert it.machine.wants_to_write
    it.writes = True
    it.drain()
    assert it.hear() == [bytes.fromhex("010001000000120000000e") + b"127.0.0.1:9732"]
    assert it.machine.state is State.LINGERING
    it.give(b"whatever", 1.2)
    it.give(b"", 1.3)
    why = it.the_end()
    assert why.reason is Reason.AUTHENTICATION_REJECTED
    assert why.motive is Motive.TOO_MANY_CONNECTIONS
    assert kinds(why) == [ErrorKind.REJECTED]
    assert it.events[-1].at == 1.3


def test_a_refusal_that_they_do_not_answer_ends_after_half_a_second(
    incoming: bool, runner: str
) -> None:
    it = refused(incoming, runner)
    it.writes = True
    it.drain()
    it.machine.handle_timeout(1.499)
    assert it.machine.state is State.LINGERING
    it.machine.handle_timeout(1.5)
    assert kinds(it.the_end()) == [ErrorKind.REJECTED]


def test_a_refusal_that_does_not_leave_ends_after_half_a_second_too(
    incoming: bool, runner: str
) -> None:
    it = refused(incoming, runner)
    left = len(it.machine.data_to_send(10))
    it.machine.handle_timeout(1.5)
    why = it.the_end()
    assert why.reason is Reason.AUTHENTICATION_REJECTED
    assert kinds(why) == [ErrorKind.REJECTED, ErrorKind.TIMEOUT]
    assert why.errors[1].detail == f"{43 - left} bytes were not sent"


@pytest.mark.parametrize("when", ["before", "after"])
def test_their_end_before_our_refusal_has_left_does_not_stop_it(
    incoming: bool, runner: str, when: str
) -> None:
    it = shake(scene(incoming, runner), "verdict")
    it.writes = False
    if when == "before":
        it.say(b"\0")
        it.give(b"", 0.5)
    it.machine.refuse(Motive.NO_MOTIVE, (), 1.0)
    if when == "after":
        it.give(b"", 1.1)
    assert it.machine.state is State.DRAINING
    assert it.machine.read_allowance == 0
    it.writes = True
    it.drain()
    assert it.hear() == [b"\1\0\0\0\0\0\0"]
    assert it.the_end().reason is Reason.AUTHENTICATION_REJECTED


def test_a_refusal_waits_behind_all_that_did_not_leave_before_it(
    incoming: bool, runner: str
) -> None:
    # With the longest name that a network can have.
    network = Network("x" * 65_445, (2,), (1,))
    it = scene(incoming, runner, local=our_local(runner, network=network))
    it.writes = False
    it.peer.chain = b"x" * 65_445
    it.machine.start(0.0)
    assert it.machine._handshake is not None
    hello = it.machine._handshake._sent
    it.give(it.peer.hello())
    it.peer.meet(hello)
    it.say(b"\0\0")
    it.machine.refuse(Motive.NO_MOTIVE, (POINT,) * 100, 0.0)
    it.writes = True
    it.drain()
    assert bytes(it.sent[:65_537]) == hello
    del it.sent[:65_537]
    assert [len(plain) for plain in it.hear()] == [2, 7 + 1_800]


def test_a_stream_that_breaks_before_our_refusal_has_left_ends_it(
    incoming: bool, runner: str
) -> None:
    it = refused(incoming, runner)
    it.machine.connection_lost(errno.ECONNRESET, 1.1)
    why = it.the_end()
    assert why.reason is Reason.AUTHENTICATION_REJECTED
    assert kinds(why) == [ErrorKind.REJECTED, ErrorKind.CONNECTION_CLOSED]


@pytest.mark.parametrize("deadline", [None, 1.2])
def test_a_close_behind_our_refusal_keeps_its_reason(
    incoming: bool, runner: str, deadline: float | None
) -> None:
    it = refused(incoming, runner)
    it.machine.close(USER, 1.1, deadline)
    if deadline is not None:
        assert it.machine.next_timeout() == deadline
        it.machine.handle_timeout(deadline)
    why = it.the_end()
    assert why.reason is Reason.AUTHENTICATION_REJECTED
    assert len(why.errors) == 2


def test_a_refusal_that_cannot_be_encoded_changes_nothing(
    incoming: bool, runner: str
) -> None:
    it = shake(scene(incoming, runner), "verdict")
    with pytest.raises(EncodeError):
        it.machine.refuse(Motive.NO_MOTIVE, (POINT,) * 101, 0.0)
    assert it.machine.state is State.HANDSHAKE
    it.machine.admit(0.0)
    it.drain()
    assert it.hear() == [b"\0"]


@pytest.mark.parametrize("verdict", ["admit", "refuse"])
def test_a_verdict_that_comes_too_late_is_a_timeout(
    incoming: bool, runner: str, verdict: str
) -> None:
    it = shake(scene(incoming, runner), "verdict")
    if verdict == "admit":
        it.machine.admit(10.0)
    else:
        it.machine.refuse(Motive.NO_MOTIVE, (), 10.0)
    assert it.machine.data_to_send() == b""
    assert kinds(it.the_end()) == [ErrorKind.TIMEOUT]


def test_their_refusal_ends_it(incoming: bool, runner: str) -> None:
    it = shake(scene(incoming, runner), "answer")
    it.say(b"\1\0\1\0\0\0\0")
    why = it.the_end()
    assert why.reason is Reason.AUTHENTICATION_REJECTED_BY_PEER
    assert why.motive is Motive.TOO_MANY_CONNECTIONS
    assert it.machine.remote is not None


# -- the last nonce --------------------------------------------------------------------


def test_the_last_nonce_of_ours_is_the_end(incoming: bool, runner: str) -> None:
    it = opened(incoming, runner)
    assert it.machine._out is not None
    channel = it.machine._out._channel
    channel.send_nonce = it.peer.receive_nonce = LAST_NONCE - 1
    it.machine.send(b"one")
    it.drain()
    assert it.machine.state is State.OPEN
    it.machine.send(b"two")
    it.drain()
    assert it.hear() == [raw(b"one"), raw(b"two")]
    why = it.the_end()
    error = P2pError(ErrorKind.NONCES_EXHAUSTED, "sending")
    reason = Reason.CONNECTION_CLOSED_BY_UNEXPECTED_ERROR
    assert why == Disconnection(reason, (error,), direction=Direction.WRITE)
    assert not why.greylists


def test_the_last_nonce_of_ours_while_we_leave_says_how_much_was_not_sent(
    incoming: bool, runner: str
) -> None:
    it = opened(incoming, runner, limits={"binary_chunks_size": 28})
    assert it.machine._out is not None
    it.machine._out._channel.send_nonce = LAST_NONCE
    it.machine.send(bytes(24))
    it.machine.close(USER, 0.0, 9.0)
    it.drain()
    error = P2pError(ErrorKind.NONCES_EXHAUSTED, "20 bytes were not sent")
    assert it.the_end() == Disconnection(Reason.USER, (error,), text="enough")


def test_the_last_nonce_of_theirs_is_the_end(incoming: bool, runner: str) -> None:
    it = opened(incoming, runner)
    assert it.machine._in is not None
    it.machine._in._channel.receive_nonce = it.peer.send_nonce = LAST_NONCE - 1
    for text in (b"one", b"two", b"three"):
        it.say(raw(text))
    assert it.got == [b"one", b"two"]
    why = it.the_end()
    error = P2pError(ErrorKind.NONCES_EXHAUSTED, "receiving")
    reason = Reason.CONNECTION_CLOSED_BY_UNEXPECTED_ERROR
    assert why == Disconnection(reason, (error,), direction=Direction.READ)


# -- words -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "reason", "detail"),
    [
        (errno.ECONNREFUSED, Reason.TCP_CONNECTION_REFUSED, ""),
        (errno.EHOSTUNREACH, Reason.TCP_CONNECTION_UNREACHABLE, ""),
        (errno.ENETUNREACH, Reason.TCP_NETWORK_UNREACHABLE, ""),
        (errno.ECANCELED, Reason.TCP_CONNECTION_CANCELED, ""),
        (None, Reason.TCP_CONNECTION_CANCELED, ""),
        (errno.EACCES, Reason.TCP_CONNECTION_FAILED_UNEXPECTED_ERROR, "EACCES"),
        (errno.ETIMEDOUT, Reason.TCP_CONNECTION_FAILED_UNEXPECTED_ERROR, "ETIMEDOUT"),
        (-3, Reason.TCP_CONNECTION_FAILED_UNEXPECTED_ERROR, "error -3"),
    ],
)
def test_a_dial_that_fails_says_why(
    incoming: bool, runner: str, error: int | None, reason: Reason, detail: str
) -> None:
    why = endings.dial_failed(error)
    expected = P2pError(ErrorKind.CONNECTION_FAILED, detail)
    assert why == Disconnection(reason, (expected,))
    assert not why.greylists


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (errno.EAGAIN, True),
        (errno.EINTR, True),
        (errno.ECONNABORTED, True),
        (errno.ECONNRESET, True),
        (errno.ETIMEDOUT, True),
        (errno.EHOSTUNREACH, True),
        (errno.ENETUNREACH, True),
        (errno.EPROTO, True),
        (errno.EPERM, True),
        (errno.EMFILE, False),
        (errno.ENFILE, False),
        (errno.ENETDOWN, False),
        (errno.EBADF, False),
        (0, False),
    ],
)
def test_a_connection_that_is_gone_before_it_is_accepted_is_passed_over(
    incoming: bool, runner: str, error: int, passing: bool
) -> None:
    assert endings.is_passing(error) is passing


def test_another_peer_than_the_expected_one_is_named(incoming: bool, runner: str) -> None:
    it = shake(scene(incoming, runner), "verdict")
    remote = it.machine.remote
    assert isinstance(remote, Remote)
    assert remote.metadata == ConnectionMetadata()
    expected = PeerId(bytes(16))
    why = endings.wrong_peer(POINT, expected, remote)
    assert why.reason is Reason.AUTHENTICATION_REJECTED_ERROR
    (error,) = why.errors
    assert error.kind is ErrorKind.IDENTITY_CHECK_FAILURE
    assert dict(error.facts) == {
        "point": POINT,
        "expected_peer_id": expected,
        "peer_id": remote.peer_id,
    }
    assert error.detail == (
        f"{remote.peer_id} answers at 127.0.0.1:9732 instead of {expected}"
    )
    assert not why.greylists
    it.machine.close(why, 1.0)
    assert it.the_end() is why
