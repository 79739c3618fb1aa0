"""Handshakes that go as they should: recorded, known, old and new, slow and glued."""

from __future__ import annotations

from typing import Any

import pytest
from fsm_puppet import (
    ROLE_NAMES,
    ROLES,
    RUNNER_NAMES,
    Scene,
    Source,
    cut,
    our_local,
    reach,
    scene,
)
from vectors import (
    RECORDED_CHAIN_NAME,
    RECORDED_INITIATOR,
    RECORDED_KEYS,
    RECORDED_REMOTE_PEER_ID,
    RECORDED_RESPONDER,
    SELF_MADE_A,
    SELF_MADE_B,
    SELF_MADE_KEYS_A,
    SELF_MADE_KEYS_B,
    SELF_MADE_MESSAGE_NONCE_A,
    SELF_MADE_MESSAGE_NONCE_B,
    SELF_MADE_NACK,
    SELF_MADE_NACK_V0,
    Keys,
    Side,
)

from tezos_p2p.fsm import (
    Handshake,
    KeyCache,
    Local,
    LocalProtocolError,
    Session,
    State,
)
from tezos_p2p.fsm.machine import RUNNERS
from tezos_p2p.spec import (
    Authenticated,
    Closed,
    ConnectionMessage,
    ConnectionMessageReceived,
    ConnectionMetadata,
    Direction,
    Disconnection,
    EncodeError,
    ErrorKind,
    Established,
    Identity,
    Limits,
    Motive,
    Network,
    P2pError,
    PeerId,
    Point,
    Reason,
    Remote,
    Version,
    target_of,
)
from tezos_p2p.spec.reasons import UNKNOWN

pytestmark = [
    pytest.mark.parametrize("incoming", ROLES, ids=ROLE_NAMES.get),
    pytest.mark.parametrize("runner", RUNNER_NAMES),
]

MAINNET_VERSION = Version("TEZOS_MAINNET", 2, 1)


def identity_of(keys: Keys) -> Identity:
    return Identity(keys.public_key, keys.secret_key, keys.stamp)


def constant(data: bytes) -> Any:
    def random_bytes(size: int) -> bytes:
        assert size == len(data)
        return data

    return random_bytes


def events_of(machine: Handshake) -> list[Any]:
    found: list[Any] = []
    while (event := machine.next_event()) is not None:
        found.append(event)
    return found


# -- known answers ---------------------------------------------------------------------


def test_a_recorded_handshake_is_replayed_byte_for_byte(
    incoming: bool, runner: str
) -> None:
    # The recording node dialled; seen as accepting, the same bytes must not do.
    us, them = RECORDED_INITIATOR, RECORDED_RESPONDER
    local = Local(
        identity=identity_of(RECORDED_KEYS),
        network=Network(RECORDED_CHAIN_NAME, (0,), (0, 1)),
        random_bytes=constant(us.connection[60:84]),
        port=9732,
        runner=RUNNERS[runner],
    )
    machine = Handshake(local, incoming)
    machine.start(0.0)
    assert machine.data_to_send() == us.connection
    machine.receive_data(them.connection, 0.1)
    if incoming:
        assert machine.data_to_send() != us.metadata.frame
        machine.receive_data(them.metadata.frame, 0.2)
        assert machine.ended
        return
    assert machine.data_to_send() == us.metadata.frame
    machine.receive_data(them.metadata.frame, 0.2)
    machine.admit(0.3)
    assert machine.data_to_send() == us.ack.frame
    machine.receive_data(them.ack.frame + them.message.frame, 0.4)
    session = machine.hand_over()

    theirs = ConnectionMessage(
        9732,
        them.connection[4:36],
        them.connection[36:60],
        them.connection[60:84],
        Version(RECORDED_CHAIN_NAME, 0, 1),
    )
    peer_id = PeerId.parse(RECORDED_REMOTE_PEER_ID)
    remote = Remote(peer_id, theirs, ConnectionMetadata())
    version = Version(RECORDED_CHAIN_NAME, 0, 1)
    assert events_of(machine) == [
        ConnectionMessageReceived(peer_id, theirs, 0.1),
        Authenticated(remote, version, 0.2),
        Established(remote, version, 0.4),
    ]
    assert round(remote.difficulty, 2) == 26.87
    assert (session.rest, session.eof) == (them.message.frame, False)
    assert (session.remote, session.version) == (remote, version)
    assert opened(session) == [them.message.plaintext]
    assert b"".join(session.channel.seal(us.message.plaintext)) == us.message.frame


def opened(session: Session) -> list[bytes]:
    """Open the chunks that came behind the answer."""
    return [session.channel.open(frame[2:]) for frame in cut(session.rest)]


def self_made(incoming: bool, runner: str) -> tuple[Handshake, Side, Side]:
    """Return the handshake, what it must send, and what it is sent.  A dials B."""
    keys = (SELF_MADE_KEYS_A, SELF_MADE_KEYS_B)[incoming]
    nonce = (SELF_MADE_MESSAGE_NONCE_A, SELF_MADE_MESSAGE_NONCE_B)[incoming]
    local = Local(
        identity=identity_of(keys),
        random_bytes=constant(nonce),
        port=0 if incoming else 9732,
        metadata=ConnectionMetadata(incoming, incoming),
        difficulty=0,
        runner=RUNNERS[runner],
    )
    sides = (SELF_MADE_A, SELF_MADE_B)
    return Handshake(local, incoming), sides[incoming], sides[not incoming]


def test_the_known_handshake_comes_out_in_both_roles(incoming: bool, runner: str) -> None:
    machine, us, them = self_made(incoming, runner)
    machine.start(0.0)
    machine.receive_data(them.connection, 0.0)
    machine.receive_data(them.metadata.frame, 0.0)
    machine.admit(0.0)
    machine.receive_data(them.ack.frame, 0.0)
    sent = machine.data_to_send()
    assert sent == us.connection + us.metadata.frame + us.ack.frame
    session = machine.hand_over()
    assert session.channel.open(them.message.frame[2:]) == them.message.plaintext
    assert b"".join(session.channel.seal(us.message.plaintext)) == us.message.frame
    assert session.remote.metadata == ConnectionMetadata(not incoming, not incoming)
    assert session.remote.message.port == (9732 if incoming else 0)
    assert session.version == MAINNET_VERSION


def test_the_known_refusals_come_out_of_the_side_that_refuses(
    incoming: bool, runner: str
) -> None:
    if not incoming:
        return  # the known refusals are B's
    points = (Point.parse("127.0.0.1:9832"),)
    machine, us, them = self_made(incoming, runner)
    machine.start(0.0)
    machine.receive_data(them.connection + them.metadata.frame, 0.0)
    machine.refuse(Motive.TOO_MANY_CONNECTIONS, points, 0.0)
    assert machine.data_to_send() == (
        us.connection + us.metadata.frame + SELF_MADE_NACK.frame
    )


@pytest.mark.parametrize("old", [False, True], ids=["nack", "nack of version 0"])
def test_the_known_refusals_are_understood_by_the_side_refused(
    incoming: bool, runner: str, old: bool
) -> None:
    if incoming:
        return  # the known refusals are B's
    machine, _, them = self_made(incoming, runner)
    machine.start(0.0)
    machine.receive_data(them.connection + them.metadata.frame, 0.0)
    machine.admit(0.0)
    machine.receive_data((SELF_MADE_NACK_V0 if old else SELF_MADE_NACK).frame, 7.0)
    closed = events_of(machine)[-1]
    motive = Motive.NO_MOTIVE if old else Motive.TOO_MANY_CONNECTIONS
    facts: dict[str, Any] = {"motive": motive}
    if not old:
        facts["alternative_points"] = (Point.parse("127.0.0.1:9832"),)
    error = P2pError(ErrorKind.REJECTED_BY_NACK, facts=facts)
    reason = Reason.AUTHENTICATION_REJECTED_BY_PEER
    assert closed == Closed(Disconnection(reason, (error,), motive), 7.0)
    assert not closed.disconnection.greylists


# -- two of ours -----------------------------------------------------------------------


def test_two_handshakes_of_ours_establish_each_other(incoming: bool, runner: str) -> None:
    ours = Handshake(our_local(runner), incoming)
    other = our_local("compiled", 1, identity=Identity.of_secret(b"\x03" * 32))
    theirs = Handshake(other, not incoming)
    pair = (ours, theirs)
    seen: dict[int, list[Any]] = {0: [], 1: []}
    for machine in pair:
        machine.start(0.0)
    for step in range(1, 10):
        for i, machine in enumerate(pair):
            if data := machine.data_to_send():
                pair[1 - i].receive_data(data, float(step))
        for i, machine in enumerate(pair):
            for event in events_of(machine):
                seen[i].append(type(event))
                if isinstance(event, Authenticated):
                    machine.admit(float(step))
    story = [ConnectionMessageReceived, Authenticated, Established]
    assert seen == {0: story, 1: story}
    a, b = ours.hand_over(), theirs.hand_over()
    assert b.channel.open(b"".join(a.channel.seal(b"there"))[2:]) == b"there"
    assert a.channel.open(b"".join(b.channel.seal(b"and back"))[2:]) == b"and back"
    assert a.remote.peer_id == other.identity.peer_id


def test_we_speak_first_whoever_dialled(incoming: bool, runner: str) -> None:
    it = scene(incoming, runner)
    it.machine.start(0.0)
    assert len(it.machine.data_to_send()) == 105


def test_each_step_is_told_with_its_time(incoming: bool, runner: str) -> None:
    it = scene(incoming, runner, port=1234, ddb=1)
    it.machine.start(1.0)
    it.drain()
    message = ConnectionMessage(
        1234, it.peer.public, bytes(24), b"\xbb" * 24, Version("TEZOS_MAINNET", 1, 1)
    )
    peer_id = PeerId.of_key(it.peer.public)
    received = ConnectionMessageReceived(peer_id, message, 1.5)
    assert it.give(it.peer.hello(), 1.5) == [received]
    it.peer.meet(bytes(it.sent[:105]))
    remote = Remote(peer_id, message, ConnectionMetadata(True, False))
    version = Version("TEZOS_MAINNET", 1, 1)
    authenticated = Authenticated(remote, version, 2.5)
    assert it.give(it.peer.seal(b"\xff\0"), 2.5) == [authenticated]
    it.machine.admit(3.0)
    assert it.drain() == []
    assert it.give(it.peer.seal(b"\0"), 3.5) == [Established(remote, version, 3.5)]
    assert it.peer.open(bytes(it.sent[105:125])) == b"\0\0"
    assert it.peer.open(bytes(it.sent[125:])) == b"\0"


def test_each_phase_sends_its_bytes_as_soon_as_it_may(
    incoming: bool, runner: str
) -> None:
    it = scene(incoming, runner)
    sizes: list[int] = []
    it.machine.start(0.0)
    sizes.append(len(it.machine.data_to_send()))
    for data in (it.peer.hello(), b""):
        if data:
            it.machine.receive_data(data, 0.0)
    sizes.append(len(it.machine.data_to_send()))
    assert sizes == [105, 20]
    assert it.machine.state is State.METADATA


@pytest.mark.parametrize("flag", range(4))
def test_what_we_say_of_ourselves_is_sent_encrypted(
    incoming: bool, runner: str, flag: int
) -> None:
    metadata = ConnectionMetadata(bool(flag & 1), bool(flag & 2))
    it = reach(State.METADATA, incoming, runner, our_local(runner, metadata=metadata))
    expected = bytes([0xFF if flag & 1 else 0, 0xFF if flag & 2 else 0])
    assert it.heard == [expected]


@pytest.mark.parametrize("byte", [1, 0x7F, 0xFF])
def test_any_byte_but_zero_is_a_yes_in_their_metadata(
    incoming: bool, runner: str, byte: int
) -> None:
    it = reach(State.METADATA, incoming, runner)
    (event,) = it.give(it.peer.seal(bytes([0, byte])))
    assert event.remote.metadata == ConnectionMetadata(False, True)


def test_a_fresh_nonce_is_drawn_for_each_handshake_and_nothing_else(
    incoming: bool, runner: str
) -> None:
    local = our_local(runner)
    source = local.random_bytes
    assert isinstance(source, Source)
    frames: list[bytes] = []
    for expected in (1, 2, 3):
        it = reach(State.ESTABLISHED, incoming, runner, local)
        assert source.calls == expected
        frames.append(bytes(it.sent[:105]))
    assert len({frame[60:84] for frame in frames}) == 3
    assert len({frame[:60] + frame[84:] for frame in frames}) == 1


def test_a_peer_that_returns_is_greeted_without_another_key_agreement(
    incoming: bool, runner: str
) -> None:
    local = our_local(runner)
    for _ in range(3):
        reach(State.ESTABLISHED, incoming, runner, local)
    assert local.keys.agreements == 1


# -- generations -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs", "chosen"),
    [
        (((0, 1, 2), (0, 1)), (0, 0), (0, 0)),  # 2019
        (((0, 1, 2), (0, 1)), (0, 1), (0, 1)),  # between
        (((0, 1, 2), (0, 1)), (1, 1), (1, 1)),
        (((0, 1, 2), (0, 1)), (2, 1), (2, 1)),  # 2026
        (((0, 1, 2), (0, 1)), (9, 7), (2, 1)),  # later
        (((0,), (0,)), (2, 1), (0, 0)),  # we are of 2019
        (((2, 0), (1,)), (0, 1), (0, 1)),
    ],
)
def test_the_newest_versions_that_both_know_are_agreed_on(
    incoming: bool,
    runner: str,
    ours: tuple[tuple[int, ...], tuple[int, ...]],
    theirs: tuple[int, int],
    chosen: tuple[int, int],
) -> None:
    local = our_local(runner, network=Network("TEZOS", *ours))
    it = reach(
        State.ESTABLISHED,
        incoming,
        runner,
        local,
        chain=b"TEZOS",
        ddb=theirs[0],
        p2p=theirs[1],
    )
    assert it.machine.hand_over().version == Version("TEZOS", *chosen)
    assert cut(it.sent)[0][-4:] == bytes([0, max(ours[0]), 0, max(ours[1])])


@pytest.mark.parametrize(
    ("peer", "motive"),
    [
        ({"chain": b"TEZOS"}, Motive.UNKNOWN_CHAIN_NAME),
        ({"chain": b"TEZOS_MAINNET\0"}, Motive.UNKNOWN_CHAIN_NAME),
        ({"chain": b""}, Motive.UNKNOWN_CHAIN_NAME),
        ({"chain": b"\xff\xfe", "ddb": 0, "p2p": 0}, Motive.UNKNOWN_CHAIN_NAME),
        ({"ddb": 0}, Motive.DEPRECATED_DISTRIBUTED_DB_VERSION),
        ({"ddb": 0, "p2p": 0}, Motive.DEPRECATED_DISTRIBUTED_DB_VERSION),
        ({"p2p": 0}, Motive.DEPRECATED_P2P_VERSION),
    ],
)
def test_without_anything_in_common_they_cannot_be_admitted_only_refused(
    incoming: bool, runner: str, peer: dict[str, Any], motive: Motive
) -> None:
    local = our_local(runner, network=Network("TEZOS_MAINNET", (1, 2), (1,)))
    it = reach(State.VERDICT, incoming, runner, local, **peer)
    assert it.events[-1].agreement is motive
    with pytest.raises(
        LocalProtocolError, match=f"no common version .{motive.name.lower()}"
    ):
        it.machine.admit(0.0)
    assert it.machine.state is State.VERDICT
    assert it.machine.data_to_send() == b""
    it.machine.refuse(motive, (), 1.0)
    before = len(it.sent)
    it.drain()
    plain = it.peer.open(bytes(it.sent[before:]))
    if it.peer.p2p:
        assert plain == b"\x01" + bytes([0, motive]) + bytes(4)
    else:
        assert plain == b"\xff"
    announced = it.events[1].remote.message.version
    why = it.the_end()
    reason = Reason.AUTHENTICATION_REJECTED_NO_COMMON_PROTOCOL
    facts = {"announced_version": announced}
    error = P2pError(ErrorKind.REJECTED_NO_COMMON_PROTOCOL, facts=facts)
    assert why == Disconnection(reason, (error,), motive)
    assert not why.greylists


# -- our refusals ----------------------------------------------------------------------


def point(n: int) -> Point:
    return Point.parse(f"[2001:db8:1111:2222:3333:4444:5555:{n:x}]:65535")


@pytest.mark.parametrize("count", [0, 1, 50, 100])
@pytest.mark.parametrize("motive", [*Motive, Motive(6), Motive(-1), Motive(0x7FFF)])
def test_a_refusal_says_why_and_whom_else_to_try(
    incoming: bool, runner: str, motive: Motive, count: int
) -> None:
    it = reach(State.VERDICT, incoming, runner)
    before = len(it.sent)
    points = tuple(point(n) for n in range(count))
    it.machine.refuse(motive, points, 2.0)
    it.drain()
    listed = b"".join(len(str(p)).to_bytes(4, "big") + str(p).encode() for p in points)
    size = len(listed).to_bytes(4, "big")
    plain = it.peer.open(bytes(it.sent[before:]))
    assert plain == b"\x01" + int(motive).to_bytes(2, "big", signed=True) + size + listed
    remote = it.events[1].remote
    why = it.the_end()
    assert it.events[-1].at == 2.0
    assert why.motive is motive or why.motive == motive
    assert not why.greylists
    if motive in (2, 3, 4):
        assert why.reason is Reason.AUTHENTICATION_REJECTED_NO_COMMON_PROTOCOL
    else:
        assert why.reason is Reason.AUTHENTICATION_REJECTED
        facts = {"peer_id": remote.peer_id, "motive": motive}
        assert why.errors == (P2pError(ErrorKind.REJECTED, facts=facts),)


@pytest.mark.parametrize("p2p", [0, 1, 2, 65_535])
def test_the_form_of_a_refusal_follows_what_they_announced(
    incoming: bool, runner: str, p2p: int
) -> None:
    # Even where an older version was agreed on, since we know only that one.
    local = our_local(runner, network=Network("TEZOS_MAINNET", (0,), (0,)))
    it = reach(State.VERDICT, incoming, runner, local, p2p=p2p)
    before = len(it.sent)
    it.machine.refuse(Motive.ALREADY_CONNECTED, (point(1),), 0.0)
    it.drain()
    tag = it.peer.open(bytes(it.sent[before:]))[:1]
    assert tag == (b"\x01" if p2p else b"\xff")


def test_more_points_than_a_refusal_may_hold_are_the_callers_mistake(
    incoming: bool, runner: str
) -> None:
    it = reach(State.VERDICT, incoming, runner)
    with pytest.raises(EncodeError):
        it.machine.refuse(Motive.NO_MOTIVE, tuple(point(n) for n in range(101)), 0.0)
    assert it.machine.state is State.VERDICT
    assert it.machine.data_to_send() == b""
    before = len(it.sent)
    it.machine.admit(0.0)
    it.drain()
    # No nonce was spent.
    assert it.peer.open(bytes(it.sent[before:])) == b"\0"


def test_a_refusal_is_sent_whole_after_what_was_still_to_send(
    incoming: bool, runner: str
) -> None:
    it = scene(incoming, runner)
    it.machine.start(0.0)
    hello = it.machine.data_to_send(105)
    it.machine.receive_data(it.peer.hello(), 0.0)
    it.peer.meet(hello)
    it.machine.receive_data(it.peer.seal(b"\0\0"), 0.0)
    it.machine.refuse(Motive.NO_MOTIVE, (), 0.0)
    # Nobody took the metadata before: it still goes first.
    assert it.machine.ended
    metadata, nack = it.machine.data_to_send(20), it.machine.data_to_send()
    assert it.peer.open(metadata) == b"\0\0"
    assert it.peer.open(nack) == b"\x01" + bytes(6)
    it.the_end()


def test_after_our_refusal_nothing_of_theirs_is_read(incoming: bool, runner: str) -> None:
    it = reach(State.VERDICT, incoming, runner)
    it.give(it.peer.seal(b"\0"))
    it.machine.refuse(Motive.NO_MOTIVE, (), 0.0)
    it.drain()
    assert [type(event) for event in it.events] == [
        ConnectionMessageReceived,
        Authenticated,
        Closed,
    ]
    it.the_end()


# -- their refusals --------------------------------------------------------------------


@pytest.mark.parametrize("count", [0, 1, 100])
@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 5, 6, 300, 0x7FFF, -1, -0x8000])
def test_their_refusal_is_told_with_its_motive_and_points(
    incoming: bool, runner: str, code: int, count: int
) -> None:
    it = reach(State.ANSWER, incoming, runner)
    points = tuple(point(n) for n in range(count))
    listed = b"".join(len(str(p)).to_bytes(4, "big") + str(p).encode() for p in points)
    plain = (
        b"\x01"
        + code.to_bytes(2, "big", signed=True)
        + len(listed).to_bytes(4, "big")
        + listed
    )
    it.give(it.peer.seal(plain), 3.0)
    why = it.the_end()
    assert why.reason is Reason.AUTHENTICATION_REJECTED_BY_PEER
    assert why.motive is not None
    assert int(why.motive) == code
    (error,) = why.errors
    assert error.kind is ErrorKind.REJECTED_BY_NACK
    assert error.facts == {"motive": why.motive, "alternative_points": points}
    assert not why.greylists


@pytest.mark.parametrize("p2p", [0, 1])
def test_a_refusal_of_either_form_is_read_from_either_generation(
    incoming: bool, runner: str, p2p: int
) -> None:
    for plain in (b"\xff", b"\x01" + bytes(6)):
        it = reach(State.ANSWER, incoming, runner, p2p=p2p)
        it.give(it.peer.seal(plain))
        why = it.the_end()
        assert why.reason is Reason.AUTHENTICATION_REJECTED_BY_PEER
        assert why.motive is Motive.NO_MOTIVE
        assert ("alternative_points" in why.errors[0].facts) == (plain != b"\xff")


@pytest.mark.parametrize("glued", [False, True])
def test_a_refusal_and_an_end_that_come_before_our_verdict_are_still_heard(
    incoming: bool, runner: str, glued: bool
) -> None:
    it = reach(State.METADATA, incoming, runner)
    metadata, nack = it.peer.seal(b"\0\0"), it.peer.seal(b"\x01\0\x01" + bytes(4))
    if glued:
        it.give(metadata + nack, 1.0)
    else:
        it.give(metadata, 1.0)
        it.give(nack, 1.0)
    it.give(b"", 1.0)
    assert it.machine.state is State.VERDICT
    assert it.machine.read_allowance == 0
    it.machine.admit(2.0)
    why = it.the_end()
    assert why.reason is Reason.AUTHENTICATION_REJECTED_BY_PEER
    assert why.motive is Motive.TOO_MANY_CONNECTIONS
    assert it.events[-1].at == 2.0


def test_an_acceptance_and_an_end_before_our_verdict_establish_and_then_end(
    incoming: bool, runner: str
) -> None:
    it = reach(State.VERDICT, incoming, runner)
    it.give(it.peer.seal(b"\0"))
    it.give(b"")
    it.machine.admit(2.0)
    why = it.the_end()
    assert [type(event) for event in it.events[-2:]] == [Established, Closed]
    closed = Reason.CONNECTION_CLOSED_BY_PEER
    assert why == Disconnection(closed, direction=Direction.READ)


# -- bytes -----------------------------------------------------------------------------


def test_bytes_behind_the_answer_come_out_of_hand_over(
    incoming: bool, runner: str
) -> None:
    it = reach(State.ANSWER, incoming, runner)
    ack = it.peer.seal(b"\0")
    messages = it.peer.seal(b"first") + it.peer.seal(b"second")
    it.give(ack + messages[:-3])
    assert it.machine.state is State.ESTABLISHED
    it.give(messages[-3:])
    session = it.machine.hand_over()
    assert (session.rest, session.eof) == (messages, False)
    assert opened(session) == [b"first", b"second"]


def test_messages_and_the_end_that_wait_are_handed_over_together(
    incoming: bool, runner: str
) -> None:
    it = reach(State.ESTABLISHED, incoming, runner)
    message = it.peer.seal(b"last words")
    it.give(message)
    it.give(b"")
    assert it.machine.state is State.ESTABLISHED
    session = it.machine.hand_over()
    assert (session.rest, session.eof) == (message, True)
    assert it.machine.over
    assert not it.machine.ended
    assert it.machine.read_allowance == 0


def test_after_the_hand_over_the_handshake_takes_and_tells_nothing(
    incoming: bool, runner: str
) -> None:
    it = reach(State.HANDED_OVER, incoming, runner)
    told = len(it.events)
    it.give(b"\0" * 300)
    it.give(b"")
    it.machine.handle_timeout(1e9)
    it.machine.close(UNKNOWN, 1e9)
    assert it.drain() == []
    assert len(it.events) == told
    assert it.machine.state is State.HANDED_OVER
    assert it.machine.next_timeout() is None


def test_an_acceptance_still_unsent_at_the_hand_over_is_handed_over_too(
    incoming: bool, runner: str
) -> None:
    it = reach(State.VERDICT, incoming, runner)
    it.machine.receive_data(it.peer.seal(b"\0"), 0.0)
    it.machine.admit(0.0)
    session = it.machine.hand_over()
    assert it.machine.data_to_send() == b""
    assert it.peer.open(session.unsent) == b"\0"
    assert session.channel.send_nonce == it.peer.receive_nonce


@pytest.mark.parametrize("room", [1, 2, 7, 64, 144, 145, 1 << 16])
def test_what_is_to_send_is_given_in_slices_of_any_size(
    incoming: bool, runner: str, room: int
) -> None:
    whole = reach(State.ANSWER, incoming, runner).sent
    it = scene(incoming, runner)
    it.machine.start(0.0)
    out = bytearray(it.machine.data_to_send(105))
    it.machine.receive_data(it.peer.hello(), 0.0)
    it.peer.meet(bytes(out))
    it.machine.receive_data(it.peer.seal(b"\0\0"), 0.0)
    it.machine.admit(0.0)
    while piece := it.machine.data_to_send(room):
        assert len(piece) <= room
        out += piece
    assert out == whole


@pytest.mark.parametrize("room", [0, -1, -100])
def test_without_room_nothing_is_given_and_nothing_lost(
    incoming: bool, runner: str, room: int
) -> None:
    it = scene(incoming, runner)
    it.machine.start(0.0)
    assert it.machine.data_to_send(room) == b""
    assert len(it.machine.data_to_send()) == 105


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_buffer_may_be_reused_as_soon_as_it_was_received(
    incoming: bool, runner: str, kind: type
) -> None:
    it = reach(State.GREETING, incoming, runner)
    buffer = bytearray(it.peer.hello())
    it.machine.receive_data(kind(buffer[:50]), 0.0)
    rest = bytearray(buffer[50:])
    view = kind(rest)
    it.machine.receive_data(view, 0.0)
    del view
    rest[:] = bytes(len(rest))
    (event,) = it.drain()
    assert event.message.version == MAINNET_VERSION


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_an_empty_buffer_of_any_kind_is_the_end(
    incoming: bool, runner: str, kind: type
) -> None:
    it = reach(State.GREETING, incoming, runner)
    it.give(kind(b""))
    assert it.the_end().errors[0].kind is ErrorKind.CONNECTION_CLOSED


def test_bytes_that_come_before_the_start_wait_for_it(
    incoming: bool, runner: str
) -> None:
    it = scene(incoming, runner)
    assert it.give(it.peer.hello()) == []
    assert it.machine.read_allowance == 65_537 - 105
    it.machine.start(1.0)
    (event,) = it.drain()
    assert isinstance(event, ConnectionMessageReceived)
    assert event.at == 1.0


def test_the_allowance_is_the_longest_frame_less_what_waits(
    incoming: bool, runner: str
) -> None:
    it = reach(State.GREETING, incoming, runner)
    assert it.machine.read_allowance == 65_537
    hello = it.peer.hello()
    it.give(hello[:40])
    assert it.machine.read_allowance == 65_497
    it.give(hello[40:])
    assert it.machine.read_allowance == 65_537


@pytest.mark.parametrize("state", [State.IDLE, State.VERDICT, State.ESTABLISHED])
def test_all_that_is_allowed_may_wait_and_not_one_byte_more(
    incoming: bool, runner: str, state: State
) -> None:
    it = reach(state, incoming, runner)
    it.give(bytes(65_536))
    assert it.machine.read_allowance == 1
    it.give(b"\0")
    assert it.machine.read_allowance == 0
    assert it.machine.state is state
    it.machine.receive_data(b"\0", 4.0)
    closed = events_of(it.machine)[-1]
    (error,) = closed.disconnection.errors
    assert error.kind is ErrorKind.READ_ALLOWANCE_EXCEEDED
    assert error.detail == "65538 bytes wait, limit 65537"
    expected = (
        Reason.CONNECTION_CLOSED_BY_UNEXPECTED_ERROR
        if state is State.ESTABLISHED
        else Reason.AUTHENTICATION_REJECTED_ERROR
    )
    assert closed == Closed(Disconnection(expected, (error,)), 4.0)
    assert not closed.disconnection.greylists


def test_a_full_buffer_is_read_on_once_we_admit(incoming: bool, runner: str) -> None:
    it = reach(State.VERDICT, incoming, runner)
    ack = it.peer.seal(b"\0")
    it.give(ack + bytes(65_537 - len(ack)))
    assert it.machine.read_allowance == 0
    it.machine.admit(0.0)
    it.drain()
    assert it.machine.state is State.ESTABLISHED
    assert it.machine.read_allowance == len(ack)


@pytest.mark.parametrize("n", [0, 1, 13, 128, 129, 1_000, 65_445])
def test_a_chain_name_of_any_length_is_read(incoming: bool, runner: str, n: int) -> None:
    it = reach(State.GREETING, incoming, runner, chain=b"x" * n)
    (event,) = it.give(it.peer.hello())
    assert event.message.version.chain_name == "x" * n
    assert len(it.peer.sent) == 92 + n


# -- the deadline ----------------------------------------------------------------------

WAITING = [State.GREETING, State.METADATA, State.VERDICT, State.ANSWER]


def test_the_role_chooses_the_timeout(incoming: bool, runner: str) -> None:
    it = scene(incoming, runner)
    assert it.machine.next_timeout() is None
    it.machine.start(100.0)
    assert it.machine.next_timeout() == (105.0 if incoming else 110.0)


def test_the_timeouts_are_those_of_the_limits(incoming: bool, runner: str) -> None:
    limits = Limits(authentication_timeout=2.0, connection_timeout=3.5)
    it = scene(incoming, runner, our_local(runner, limits=limits))
    it.machine.start(100.0)
    assert it.machine.next_timeout() == (102.0 if incoming else 103.5)


def test_a_deadline_may_be_given(incoming: bool, runner: str) -> None:
    it = scene(incoming, runner)
    it.machine.start(100.0, 104.25)
    assert it.machine.next_timeout() == 104.25


@pytest.mark.parametrize("state", WAITING)
def test_the_deadline_strikes_exactly_when_it_is_reached(
    incoming: bool, runner: str, state: State
) -> None:
    it = reach(state, incoming, runner)
    deadline = 5.0 if incoming else 10.0
    assert it.machine.next_timeout() == deadline
    it.machine.handle_timeout(deadline - 1e-9)
    it.machine.handle_timeout(deadline - 1e-9)
    assert it.drain() == []
    assert it.machine.state is state
    it.machine.handle_timeout(deadline)
    assert it.machine.next_timeout() is None
    reason = (
        Reason.ACK_READ_ERROR
        if state is State.ANSWER
        else Reason.AUTHENTICATION_REJECTED_ERROR
    )
    why = it.the_end()
    assert why == Disconnection(reason, (P2pError(ErrorKind.TIMEOUT),))
    assert it.events[-1].at == deadline
    assert not why.greylists


@pytest.mark.parametrize("state", WAITING)
def test_bytes_that_come_at_the_deadline_come_too_late(
    incoming: bool, runner: str, state: State
) -> None:
    it = reach(state, incoming, runner)
    data = {
        State.GREETING: lambda: it.peer.hello(),
        State.METADATA: lambda: it.peer.seal(b"\0\0"),
        State.VERDICT: lambda: it.peer.seal(b"\0"),
        State.ANSWER: lambda: it.peer.seal(b"\0"),
    }[state]()
    new = it.give(data, 5.0 if incoming else 10.0)
    assert len(new) == 1
    assert it.the_end().errors == (P2pError(ErrorKind.TIMEOUT),)


@pytest.mark.parametrize("late", [0.0, 3.0])
@pytest.mark.parametrize("verdict", ["admit", "refuse"])
def test_a_verdict_at_the_deadline_or_after_it_comes_too_late(
    incoming: bool, runner: str, verdict: str, late: float
) -> None:
    it = reach(State.VERDICT, incoming, runner)
    it.give(it.peer.seal(b"\0"))
    now = (5.0 if incoming else 10.0) + late
    if verdict == "admit":
        it.machine.admit(now)
    else:
        it.machine.refuse(Motive.NO_MOTIVE, (), now)
    assert it.machine.data_to_send() == b""
    why = it.the_end()
    error = P2pError(ErrorKind.TIMEOUT)
    assert why == Disconnection(Reason.AUTHENTICATION_REJECTED_ERROR, (error,))
    assert it.events[-1].at == now


def test_a_peer_that_sends_a_byte_per_second_is_given_no_more_time(
    incoming: bool, runner: str
) -> None:
    it = reach(State.GREETING, incoming, runner)
    deadline = 5.0 if incoming else 10.0
    for second, byte in enumerate(it.peer.hello(), 1):
        assert it.machine.next_timeout() == deadline
        it.give(bytes([byte]), float(second))
        if it.machine.over:
            break
    assert it.events[-1].at == deadline
    assert it.the_end().errors == (P2pError(ErrorKind.TIMEOUT),)


def test_once_established_there_is_no_deadline(incoming: bool, runner: str) -> None:
    it = reach(State.ESTABLISHED, incoming, runner)
    assert it.machine.next_timeout() is None
    it.machine.handle_timeout(1e9)
    it.give(b"\0", 1e9)
    assert it.machine.state is State.ESTABLISHED


def test_a_handshake_that_was_not_started_has_no_deadline(
    incoming: bool, runner: str
) -> None:
    it = scene(incoming, runner)
    it.machine.handle_timeout(1e9)
    assert it.machine.state is State.IDLE
    assert it.drain() == []


# -- our own ends ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "state", [s for s in State if s not in (State.HANDED_OVER, State.CLOSED)]
)
def test_we_may_close_at_any_time_without_a_word(
    incoming: bool, runner: str, state: State
) -> None:
    it = reach(state, incoming, runner)
    if state is State.VERDICT:
        it.machine.receive_data(it.peer.seal(b"\0"), 0.0)
    why = Disconnection(Reason.USER, text="enough")
    it.machine.close(why, 2.0)
    assert it.machine.data_to_send() == b""
    assert it.the_end() is why
    assert it.events[-1].at == 2.0


def test_what_was_not_sent_yet_is_not_sent_after_a_close(
    incoming: bool, runner: str
) -> None:
    it = scene(incoming, runner)
    it.machine.start(0.0)
    it.machine.close(UNKNOWN, 0.0)
    assert it.machine.data_to_send() == b""
    assert it.the_end() == Disconnection(Reason.UNKNOWN_REASON)


def test_a_second_close_changes_nothing(incoming: bool, runner: str) -> None:
    it = reach(State.CLOSED, incoming, runner)
    it.machine.close(Disconnection(Reason.USER), 1.0)
    assert it.the_end().reason is Reason.UNKNOWN_REASON


@pytest.mark.parametrize("state", [s for s in State if s is not State.IDLE])
def test_a_closed_handshake_keeps_none_of_their_bytes(
    incoming: bool, runner: str, state: State
) -> None:
    if state in (State.HANDED_OVER, State.CLOSED):
        return
    it: Scene = reach(state, incoming, runner)
    it.give(b"\0")
    it.machine.close(UNKNOWN, 0.0)
    assert len(it.machine._frames) == 0


def test_nothing_of_the_secrets_is_shown(incoming: bool, runner: str) -> None:
    it = reach(State.ESTABLISHED, incoming, runner)
    session = it.machine.hand_over()
    for shown in (repr(it.machine), repr(session)):
        assert it.peer.key.hex() not in shown
        assert repr(it.peer.key)[2:-1] not in shown
        assert repr(b"\x01" * 32)[2:-1] not in shown
        assert (b"\x01" * 32).hex() not in shown


def test_settings_that_cannot_be_sent_are_the_callers_mistake(
    incoming: bool, runner: str
) -> None:
    with pytest.raises(EncodeError, match="port"):
        our_local(runner, port=65_536)
    with pytest.raises(EncodeError, match="connection message"):
        our_local(runner, network=Network("x" * 65_446))
    with pytest.raises(ValueError, match="difficulty"):
        our_local(runner, difficulty=256.5)
    assert len(our_local(runner, network=Network("x" * 65_445)).hello()) == 65_537
    with pytest.raises(ValueError, match="key cache was made for another"):
        our_local(runner, difficulty=26, keys=KeyCache(b"\x01" * 32, target_of(25)))
    with pytest.raises(ValueError, match="key cache was made for another"):
        our_local(runner, difficulty=26, keys=KeyCache(b"\x03" * 32, target_of(26)))
    with pytest.raises(ValueError, match="runner"):
        Local(
            identity=Identity.of_secret(b"\x01" * 32),
            random_bytes=Source(),
            runner=lambda table, model: {},
        )


@pytest.mark.parametrize("size", [0, 23, 25])
def test_a_random_source_that_gives_another_number_of_bytes_is_refused(
    incoming: bool, runner: str, size: int
) -> None:
    local = our_local(runner, random_bytes=lambda _: bytes(size))
    it = scene(incoming, runner, local)
    with pytest.raises(LocalProtocolError, match=rf"random_bytes.24. gave {size} bytes"):
        it.machine.start(0.0)
    assert it.machine.state is State.IDLE
    assert it.machine.next_timeout() is None
    assert it.machine.data_to_send() == b""


def test_a_cache_of_keys_may_be_shared_by_many_settings(
    incoming: bool, runner: str
) -> None:
    keys = KeyCache(b"\x01" * 32, target_of(0))
    for port in (1, 2):
        reach(State.ESTABLISHED, incoming, runner, our_local(port=port, keys=keys))
    assert keys.agreements == 1
