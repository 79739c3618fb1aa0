"""Connections that go as they should: known, sliced, glued, long, both ways."""

from __future__ import annotations

from typing import Any

import pytest
from connection_pair import (
    BOOTSTRAP,
    CODEC,
    USER,
    Scene,
    begin,
    opened,
    pair,
    raw,
    scene,
    shake,
)
from fsm_puppet import ROLE_NAMES, ROLES, RUNNER_NAMES, cut, our_local
from vectors import (
    SELF_MADE_A,
    SELF_MADE_B,
    SELF_MADE_KEYS_A,
    SELF_MADE_KEYS_B,
    SELF_MADE_MESSAGE_NONCE_A,
    SELF_MADE_MESSAGE_NONCE_B,
    SELF_MADE_SLICED_BOOTSTRAP,
)

from tezos_p2p.fsm.connection import READ_SIZE, Connection
from tezos_p2p.fsm.lifecycle import State
from tezos_p2p.fsm.local import Local
from tezos_p2p.fsm.machine import RUNNERS, LocalProtocolError
from tezos_p2p.spec import (
    Authenticated,
    Closed,
    ConnectionMessageReceived,
    ConnectionMetadata,
    Direction,
    Disconnection,
    EncodeError,
    Established,
    Identity,
    Limits,
    Point,
    Reason,
    Version,
)
from tezos_p2p.spec.events import ControlReceived
from tezos_p2p.spec.message import Advertise, Bootstrap, SwapRequest

pytestmark = [
    pytest.mark.parametrize("incoming", ROLES, ids=ROLE_NAMES.get),
    pytest.mark.parametrize("runner", RUNNER_NAMES),
]

STORY = [ConnectionMessageReceived, Authenticated, Established]


def kinds(events: list[Any]) -> list[type]:
    return [type(event) for event in events]


# -- known answers ---------------------------------------------------------------------


def known(incoming: bool, runner: str, **more: Any) -> Connection[bytes]:
    """Return a connection whose bytes are known.  A dials B."""
    keys = (SELF_MADE_KEYS_A, SELF_MADE_KEYS_B)[incoming]
    nonce = (SELF_MADE_MESSAGE_NONCE_A, SELF_MADE_MESSAGE_NONCE_B)[incoming]
    us = (SELF_MADE_A, SELF_MADE_B)[incoming]
    them = (SELF_MADE_A, SELF_MADE_B)[not incoming]
    local = Local(
        identity=Identity(keys.public_key, keys.secret_key, keys.stamp),
        random_bytes=lambda _: nonce,
        port=0 if incoming else 9732,
        metadata=ConnectionMetadata(incoming, incoming),
        difficulty=0,
        runner=RUNNERS[runner],
        limits=Limits(**more),
    )
    machine = Connection(local, CODEC, incoming)
    machine.start(0.0)
    machine.receive_data(them.connection + them.metadata.frame, 0.0)
    machine.admit(0.0)
    machine.receive_data(them.ack.frame, 0.0)
    sent = machine.data_to_send()
    assert sent == us.connection + us.metadata.frame + us.ack.frame
    assert machine.state is State.OPEN
    return machine


POINTS = (Point.parse("127.0.0.1:9732"), Point.parse("[::1]:9733"))
MESSAGES = (Bootstrap(), Advertise(POINTS))


def test_the_known_message_comes_out_of_either_side(incoming: bool, runner: str) -> None:
    machine = known(incoming, runner)
    assert machine.send(MESSAGES[incoming])
    us = (SELF_MADE_A, SELF_MADE_B)[incoming]
    assert machine.data_to_send() == us.message.frame


def test_the_known_message_is_understood_by_either_side(
    incoming: bool, runner: str
) -> None:
    machine = known(incoming, runner)
    while machine.next_event() is not None:
        pass
    them = (SELF_MADE_A, SELF_MADE_B)[not incoming]
    machine.receive_data(them.message.frame, 2.5)
    assert machine.next_event() == ControlReceived(MESSAGES[not incoming], 2.5)
    assert machine.next_event() is None


def test_the_known_message_comes_out_in_slices_of_three_bytes(
    incoming: bool, runner: str
) -> None:
    machine = known(incoming, runner, binary_chunks_size=21)
    machine.send(Bootstrap())
    sent = machine.data_to_send()
    if incoming:  # the known slices are A's
        assert [len(chunk) for chunk in cut(sent)] == [21, 21]
    else:
        assert sent == b"".join(SELF_MADE_SLICED_BOOTSTRAP)


def test_the_known_slices_are_understood(incoming: bool, runner: str) -> None:
    if not incoming:
        return  # the known slices are A's
    machine = known(incoming, runner)
    for chunk in SELF_MADE_SLICED_BOOTSTRAP:
        machine.receive_data(chunk, 0.0)
    told: list[Any] = []
    while (event := machine.next_event()) is not None:
        told.append(event)
    assert told[-1] == ControlReceived(Bootstrap(), 0.0)


# -- two of ours -----------------------------------------------------------------------


def test_messages_go_both_ways(incoming: bool, runner: str) -> None:
    it = pair(incoming, runner)
    assert [kinds(events) for events in it.events] == [STORY, STORY]
    for machine, words in zip(it.ends, (b"there", b"and back"), strict=True):
        assert machine.send(words)
        assert machine.send(words * 2)
    it.pump()
    assert it.got == ([b"and back", b"and backand back"], [b"there", b"therethere"])


@pytest.mark.parametrize(
    ("chunk", "n", "chunks"),
    [
        (21, 16, 8),
        (21, 256, 88),
        (None, 256, 1),
        (None, 65_511, 1),
        (None, 65_512, 2),
        (None, 131_072, 3),
        (None, 200_000, 4),
        (65_535, 200_000, 4),
        (4_096, 131_072, 33),
    ],
)
def test_a_message_of_any_length_goes_both_ways(
    incoming: bool, runner: str, chunk: int | None, n: int, chunks: int
) -> None:
    it = pair(incoming, runner, {"binary_chunks_size": chunk}, joins=False)
    for machine in it.ends:
        machine.send(bytes(n))
        data = machine.data_to_send(1 << 30)
        assert len(data) == n + 6 + 18 * chunks
        it.wires[it.ends.index(machine)].extend(data)
    it.pump()
    assert it.got == ([bytes(n)], [bytes(n)])


@pytest.mark.parametrize("joins", [False, True])
def test_many_messages_of_all_lengths_arrive_in_order(
    incoming: bool, runner: str, joins: bool
) -> None:
    it = pair(incoming, runner, joins=joins)
    payloads = [bytes([n % 251]) * (n * n) for n in range(0, 400, 7)]
    for payload in payloads:
        for machine in it.ends:
            assert machine.send(payload)
    it.pump()
    assert it.got == (payloads, payloads)
    for machine in it.ends:
        total = sum(map(len, payloads)) + 6 * len(payloads)
        assert (machine.queued, machine.sealed) == (total, total)


def test_a_message_encoded_once_is_sent_to_many(incoming: bool, runner: str) -> None:
    header, payload = CODEC.frame(b"news" * 20_000)
    scenes = [opened(incoming, runner, nonce=bytes([i]) * 24) for i in range(3)]
    wires: set[bytes] = set()
    for it in scenes:
        assert it.machine.send_encoded(header, payload)
        it.drain()
        wires.add(bytes(it.sent[144:]))
        assert b"".join(it.hear()) == raw(b"news" * 20_000)
    assert len(wires) == 3
    assert payload == b"news" * 20_000


# -- what is told, and when ------------------------------------------------------------


def test_who_they_are_is_known_as_soon_as_they_have_proven_it(
    incoming: bool, runner: str
) -> None:
    it = shake(scene(incoming, runner), "metadata")
    machine = it.machine
    assert machine.remote is None
    it.say(b"\0\xff")
    assert machine.remote == it.events[-1].remote
    assert machine.version is None
    machine.admit(1.0)
    it.say(b"\0")
    assert machine.version == Version("TEZOS_MAINNET", 2, 1)
    assert it.events[-1] == Established(machine.remote, machine.version, 0.0)


def test_a_message_glued_to_their_acceptance_is_read(incoming: bool, runner: str) -> None:
    it = shake(scene(incoming, runner), "answer")
    new = it.say(b"\0", raw(b"first") + BOOTSTRAP)
    assert kinds(new) == [Established, ControlReceived]
    assert it.got == [b"first"]


@pytest.mark.parametrize("cut_at", [1, 18, 19, 20, 30, 42])
def test_bytes_that_come_before_our_verdict_are_read_behind_it(
    incoming: bool, runner: str, cut_at: int
) -> None:
    it = shake(scene(incoming, runner), "verdict")
    wire = it.peer.seal(b"\0") + it.peer.seal(raw(b"first"))
    it.give(wire[:cut_at])
    assert it.machine.read_allowance == 65_537 - cut_at
    it.machine.admit(0.0)
    it.give(wire[cut_at:])
    assert it.got == [b"first"]


def test_their_end_behind_bytes_that_wait_for_our_verdict_comes_last(
    incoming: bool, runner: str
) -> None:
    it = shake(scene(incoming, runner), "verdict")
    it.say(b"\0", raw(b"first"))
    it.give(b"")
    assert it.machine.read_allowance == 0
    it.machine.admit(1.0)
    new = it.drain()
    assert kinds(new) == [Established, Closed]
    assert it.got == [b"first"]
    reason = Reason.CONNECTION_CLOSED_BY_PEER
    assert it.the_end() == Disconnection(reason, direction=Direction.READ)


def test_their_end_behind_nothing_but_their_acceptance_is_told_too(
    incoming: bool, runner: str
) -> None:
    it = shake(scene(incoming, runner), "verdict")
    it.say(b"\0")
    it.give(b"")
    it.machine.admit(1.0)
    assert kinds(it.drain()) == [Established, Closed]
    assert it.machine.version is not None
    reason = Reason.CONNECTION_CLOSED_BY_PEER
    assert it.the_end() == Disconnection(reason, direction=Direction.READ)


def test_what_waits_behind_our_verdict_is_worked_off_before_their_end(
    incoming: bool, runner: str
) -> None:
    it = shake(scene(incoming, runner), "verdict")
    it.say(b"\0", raw() * 10_900)
    it.give(b"")
    it.machine.admit(1.0)
    assert it.machine.state is State.FINISHING
    it.drain()
    it.now = 1.0
    assert it.settle() == 2
    assert it.got == [b""] * 10_900
    assert it.the_end().reason is Reason.CONNECTION_CLOSED_BY_PEER


@pytest.mark.parametrize("room", [1, 5, 18, 19, 20, 1_000])
def test_our_last_bytes_of_the_handshake_leave_before_the_first_message(
    incoming: bool, runner: str, room: int
) -> None:
    it = shake(scene(incoming, runner), "verdict")
    it.writes = False
    it.machine.admit(0.0)
    it.say(b"\0")
    it.machine.send(b"first")
    while it.machine.wants_to_write:
        data = it.machine.data_to_send(room)
        assert len(data) < room + 18 + 11
        it.sent += data
    assert it.hear() == [b"\0", raw(b"first")]


def test_pieces_are_the_same_bytes_unjoined(incoming: bool, runner: str) -> None:
    one, other = opened(incoming, runner), opened(incoming, runner)
    for it in (one, other):
        it.machine.send(bytes(100_000))
    pieces = one.machine.pieces_to_send(1 << 20)
    assert len(pieces) > 2
    assert b"".join(pieces) == other.machine.data_to_send(1 << 20)
    assert one.machine.pieces_to_send() == []


def test_pieces_of_the_handshake_are_one(incoming: bool, runner: str) -> None:
    it = scene(incoming, runner)
    assert it.machine.pieces_to_send() == []
    it.machine.start(0.0)
    assert it.machine.wants_to_write
    assert [len(piece) for piece in it.machine.pieces_to_send()] == [105]
    assert not it.machine.wants_to_write


@pytest.mark.parametrize("room", [0, -1])
def test_without_room_nothing_leaves(incoming: bool, runner: str, room: int) -> None:
    it = opened(incoming, runner)
    it.machine.send(b"one")
    assert it.machine.data_to_send(room) == b""
    assert it.machine.wants_to_write
    it = scene(incoming, runner)
    it.machine.start(0.0)
    assert it.machine.data_to_send(room) == b""


def test_control_messages_are_events_and_not_given_to_the_application(
    incoming: bool, runner: str
) -> None:
    it = opened(incoming, runner)
    new = it.say(raw(b"one") + BOOTSTRAP + raw(b"two"))
    assert new == [ControlReceived(Bootstrap(), 0.0)]
    assert it.got == [b"one", b"two"]


def test_inline_control_messages_come_in_order_with_the_others(
    incoming: bool, runner: str
) -> None:
    it = opened(incoming, runner, inline=True)
    assert it.say(raw(b"one") + BOOTSTRAP + raw(b"two")) == []
    assert it.got == [b"one", Bootstrap(), b"two"]


def test_an_open_connection_may_be_silent_for_ever(incoming: bool, runner: str) -> None:
    it = opened(incoming, runner)
    assert it.machine.next_timeout() is None
    it.machine.handle_timeout(1e9)
    assert it.machine.state is State.OPEN
    it.say(raw(b"still here"))
    assert it.got == [b"still here"]


def test_what_can_be_read_is_said_without_taking_it(incoming: bool, runner: str) -> None:
    it = opened(incoming, runner)
    it.pulls = False
    assert not it.machine.readable
    it.say(raw(b"one"))
    assert it.machine.readable
    assert it.machine.receive() == b"one"
    assert not it.machine.readable
    assert it.machine.receive() is None


def test_before_messages_flow_there_is_nothing_to_receive(
    incoming: bool, runner: str
) -> None:
    for it in (scene(incoming, runner), shake(scene(incoming, runner), "verdict")):
        assert it.machine.receive() is None
        assert (it.machine.queued, it.machine.sealed) == (0, 0)
        assert not it.machine.readable


def test_an_open_connection_reads_a_quarter_of_a_mebibyte_at_once(
    incoming: bool, runner: str
) -> None:
    assert opened(incoming, runner).machine.read_allowance == READ_SIZE == 262_144


def test_a_message_that_has_no_bytes_is_the_callers_mistake(
    incoming: bool, runner: str
) -> None:
    it = opened(incoming, runner)
    for wrong in (
        bytes((1 << 18) + 1),
        "text",
        Advertise((Point.parse("[::]:1"),) * 101),
    ):
        with pytest.raises(EncodeError):
            it.machine.send(wrong)
    assert it.machine.queued == 0
    assert not it.machine.wants_to_write
    it.machine.send(b"fine")
    it.drain()
    assert it.hear() == [raw(b"fine")]


def test_a_start_that_fails_can_be_tried_again(incoming: bool, runner: str) -> None:
    sizes = [23, 24]
    local = our_local(runner, random_bytes=lambda _: bytes(sizes.pop(0)))
    it = scene(incoming, runner, local=local)
    with pytest.raises(LocalProtocolError, match="gave 23 bytes"):
        it.machine.start(0.0)
    assert it.machine.state is State.IDLE
    begin(it)
    assert it.machine.state is State.HANDSHAKE


def test_the_deadline_of_the_handshake_is_the_one_that_is_given(
    incoming: bool, runner: str
) -> None:
    it = scene(incoming, runner)
    assert it.machine.next_timeout() is None
    it.machine.start(1.0, 3.0)
    assert it.machine.next_timeout() == 3.0
    it.machine.handle_timeout(2.9)
    assert it.machine.state is State.HANDSHAKE
    it.machine.handle_timeout(3.0)
    assert it.the_end().reason is Reason.AUTHENTICATION_REJECTED_ERROR


def test_connections_of_both_runners_tell_the_same_story(
    incoming: bool, runner: str
) -> None:
    def story(chosen: str) -> tuple[list[Any], bytes, list[Any]]:
        it: Scene = opened(incoming, chosen)
        it.machine.send(b"one")
        it.say(raw(b"two") + BOOTSTRAP)
        it.machine.send(b"three")
        it.machine.close(USER, 1.0, 2.0)
        it.drain()
        it.give(b"", 1.5)
        return it.events, bytes(it.sent), it.got

    assert story(runner) == story("compiled")


def test_a_request_to_swap_is_told_with_its_point_and_peer(
    incoming: bool, runner: str
) -> None:
    it = opened(incoming, runner)
    swap = SwapRequest(POINTS[0], Identity.of_secret(b"\x04" * 32).peer_id)
    (event,) = it.say(CODEC.encode(swap))
    assert event == ControlReceived(swap, 0.0)
