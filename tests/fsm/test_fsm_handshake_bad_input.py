"""What a peer may do wrong, in every phase: it ends once, for the right reason."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from fsm_puppet import (
    OUR_SECRET,
    ROLE_NAMES,
    ROLES,
    RUNNER_NAMES,
    Puppet,
    Scene,
    begin,
    cut,
    framed,
    our_local,
    reach,
    scene,
)
from nacl.bindings import crypto_scalarmult_base

from tezos_p2p.fsm import Handshake, State
from tezos_p2p.spec import (
    MAINNET,
    Authenticated,
    Closed,
    ConnectionMessageReceived,
    Direction,
    Disconnection,
    ErrorKind,
    Established,
    Identity,
    Motive,
    PeerId,
    Reason,
)

pytestmark = [
    pytest.mark.parametrize("incoming", ROLES, ids=ROLE_NAMES.get),
    pytest.mark.parametrize("runner", RUNNER_NAMES),
]

GREYLISTED = {
    ErrorKind.NOT_ENOUGH_PROOF_OF_WORK,
    ErrorKind.DECIPHER_ERROR,
    ErrorKind.DECODING_ERROR,
}
#: What the reference says around an error met instead of an answer.
AROUND = {
    ErrorKind.CONNECTION_CLOSED: ErrorKind.REJECTED_SOCKET_CONNECTION,
    ErrorKind.DECIPHER_ERROR: ErrorKind.INVALID_AUTH,
}
#: The states in which their bytes are read at once, and in which they wait.
READING = (State.GREETING, State.METADATA, State.ANSWER)
LIVE = (*READING, State.VERDICT, State.ESTABLISHED)


def check(it: Scene, state: State, kind: ErrorKind) -> Disconnection:
    """Check how it ended: an error that was met in the given state."""
    why = it.the_end()
    assert why.motive is None
    kinds = [error.kind for error in why.errors]
    if state is State.ANSWER:
        assert why.reason is Reason.ACK_READ_ERROR
        assert kinds == ([AROUND[kind], kind] if kind in AROUND else [kind])
        assert not why.greylists
    else:
        assert why.reason is Reason.AUTHENTICATION_REJECTED_ERROR
        assert kinds == [kind]
        assert why.greylists == (kind in GREYLISTED)
    return why


def quiet(it: Scene, state: State) -> None:
    """Check that nothing has been sent since the given state was reached."""
    sizes = {
        State.IDLE: 0,
        State.GREETING: 105,
        State.METADATA: 125,
        State.VERDICT: 125,
        State.ANSWER: 144,
        State.ESTABLISHED: 144,
    }
    assert len(it.sent) == sizes[state]


# -- frames of every length ------------------------------------------------------------

LENGTHS = [*range(19), 89, 90, 103, 5_122, 5_123, 5_124, 32_767, 32_768, 65_534, 65_535]
GARBAGE = b"\xff"


def fault_of(state: State, size: int) -> ErrorKind:
    """Say what is wrong with a frame of that many bytes ff."""
    if state is State.GREETING:
        return ErrorKind.DECODING_ERROR
    if size < 16:
        return ErrorKind.INVALID_INCOMING_CIPHERTEXT_SIZE
    too_long = state is State.ANSWER and size > 16 + 5_107
    return ErrorKind.DECODING_ERROR if too_long else ErrorKind.DECIPHER_ERROR


@pytest.mark.parametrize("size", LENGTHS)
@pytest.mark.parametrize("state", READING)
def test_a_frame_of_garbage_of_any_length_ends_it(
    incoming: bool, runner: str, state: State, size: int
) -> None:
    it = reach(state, incoming, runner)
    it.give(framed(GARBAGE * size), 1.0)
    check(it, state, fault_of(state, size))
    quiet(it, state)
    assert it.events[-1].at == 1.0


TOO_SHORT = [(state, n) for state in (State.METADATA, State.ANSWER) for n in range(16)]


@pytest.mark.parametrize(
    ("state", "size"), [*TOO_SHORT, (State.ANSWER, 5_124), (State.ANSWER, 65_535)]
)
def test_a_length_that_cannot_be_ends_it_before_the_frame_is_there(
    incoming: bool, runner: str, state: State, size: int
) -> None:
    it = reach(state, incoming, runner)
    it.give(size.to_bytes(2, "big")[:1])
    assert it.machine.state is state
    it.give(size.to_bytes(2, "big")[1:])
    check(it, state, fault_of(state, size))


@pytest.mark.parametrize(
    ("state", "size"),
    [(State.METADATA, size) for size in (16, 17, 18, 19, 5_124, 65_535)]
    + [(State.ANSWER, size) for size in (16, 17, 18, 19, 5_123)],
)
def test_a_length_that_can_be_is_waited_for(
    incoming: bool, runner: str, state: State, size: int
) -> None:
    it = reach(state, incoming, runner)
    it.give(size.to_bytes(2, "big") + GARBAGE * (size - 1))
    assert it.machine.state is state
    it.give(GARBAGE)
    check(it, state, ErrorKind.DECIPHER_ERROR)


@pytest.mark.parametrize("size", LENGTHS)
def test_garbage_before_our_verdict_waits_for_it_unread(
    incoming: bool, runner: str, size: int
) -> None:
    it = reach(State.VERDICT, incoming, runner)
    it.give(framed(GARBAGE * size))
    assert it.machine.state is State.VERDICT
    assert it.machine.read_allowance == 65_535 - size
    it.machine.admit(1.0)
    check(it, State.ANSWER, fault_of(State.ANSWER, size))


@pytest.mark.parametrize("size", LENGTHS)
def test_garbage_before_our_refusal_is_never_read(
    incoming: bool, runner: str, size: int
) -> None:
    it = reach(State.VERDICT, incoming, runner)
    it.give(framed(GARBAGE * size))
    it.machine.refuse(Motive.NO_MOTIVE, (), 1.0)
    assert it.the_end().reason is Reason.AUTHENTICATION_REJECTED


@pytest.mark.parametrize("size", LENGTHS)
def test_garbage_behind_their_acceptance_is_not_ours_to_read(
    incoming: bool, runner: str, size: int
) -> None:
    it = reach(State.ESTABLISHED, incoming, runner)
    it.give(framed(GARBAGE * size))
    assert it.machine.state is State.ESTABLISHED
    assert it.machine.hand_over().rest == framed(GARBAGE * size)


# -- messages in the wrong phase, cut short, too long ----------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        bytes.fromhex("0012501315db7509996b061e1b2823e70a6072bd"),  # a metadata chunk
        bytes.fromhex("001130e8b60f4cadb54fafdad7f40eef3e2385"),  # an ack chunk
        b"\0\x06\0\0\0\2\0\2",  # a message in the clear
        b"GET / HTTP/1.1\r\n\r\n" * 1_100,
        b"\x16\x03\x01" + bytes(6_000),  # TLS
        b"SSH-2.0-OpenSSH\r\n" + bytes(22_000),
    ],
)
def test_anything_but_a_connection_message_is_no_greeting(
    incoming: bool, runner: str, wrong: bytes
) -> None:
    it = reach(State.GREETING, incoming, runner)
    it.give(wrong)
    check(it, State.GREETING, ErrorKind.DECODING_ERROR)
    assert len(it.events) == 1


def bodies(peer: Puppet) -> dict[str, bytes]:
    good = peer.body()
    return {
        "nothing": b"",
        "one byte": good[:1],
        "short by one": good[:-1],
        "no version": good[:-4],
        "long by one": good + b"\0",
        "twice": good * 2,
        "longer name announced": good[:82] + b"\0\0\0\x0e" + good[86:],
        "shorter name announced": good[:82] + b"\0\0\0\x0c" + good[86:],
        "huge name announced": good[:82] + b"\x7f\xff\xff\xff" + good[86:],
        "top bit of name": good[:82] + b"\xff\xff\xff\xff" + good[86:],
    }


@pytest.mark.parametrize("case", bodies(Puppet(dialled=True)))
def test_a_connection_message_that_does_not_fill_its_frame_is_refused(
    incoming: bool, runner: str, case: str
) -> None:
    it = reach(State.GREETING, incoming, runner)
    it.give(framed(bodies(it.peer)[case]))
    why = check(it, State.GREETING, ErrorKind.DECODING_ERROR)
    assert "at byte" in why.errors[0].detail
    assert it.machine._local.keys.agreements == 0


def test_a_connection_message_cut_short_anywhere_is_refused(
    incoming: bool, runner: str
) -> None:
    for at in range(103):
        it = reach(State.GREETING, incoming, runner)
        it.give(framed(it.peer.body()[:at]))
        check(it, State.GREETING, ErrorKind.DECODING_ERROR)


@pytest.mark.parametrize(
    ("plain", "kind"),
    [
        (b"", ErrorKind.DECODING_ERROR),  # an empty chunk
        (b"\0", ErrorKind.DECODING_ERROR),  # an ack
        (b"\xff", ErrorKind.DECODING_ERROR),  # a nack of version 0
        (b"\0\0\0", ErrorKind.DECODING_ERROR),
        (b"\1\0\0\0\0\0\0", ErrorKind.DECODING_ERROR),  # a nack
        (b"\0\0\0\2\0\2", ErrorKind.DECODING_ERROR),  # a Bootstrap
    ],
)
def test_an_authentic_chunk_that_is_no_metadata_is_refused(
    incoming: bool, runner: str, plain: bytes, kind: ErrorKind
) -> None:
    it = reach(State.METADATA, incoming, runner)
    it.give(it.peer.seal(plain))
    check(it, State.METADATA, kind)
    quiet(it, State.METADATA)


@pytest.mark.parametrize("state", [State.METADATA, State.ANSWER])
def test_a_second_connection_message_is_refused(
    incoming: bool, runner: str, state: State
) -> None:
    it = reach(state, incoming, runner)
    it.give(it.peer.hello())
    check(it, state, fault_of(state, 103))


SHORT = b"\0\0\0\x06[::]:1"


@pytest.mark.parametrize(
    "plain",
    [
        b"",
        b"\0\0",  # metadata, or an ack and a byte
        b"\xff\xff",
        b"\0\0\0\2\0\2",  # a Bootstrap
        b"\1",
        b"\1\0",
        b"\1\0\0",
        b"\1\0\0\0\0\0",
        b"\1\0\0\0\0\0\0\0",
        b"\1\0\1\0\0\0\1\0",
        b"\1\0\1\0\0\0\x09\0\0\0\x06[::]:1",  # a list one byte too short
        b"\1\0\1\0\0\0\x0b\0\0\0\x06[::]:1",  # one byte too long
        b"\1\0\1\0\0\0\x0a\0\0\0\x06[::].1",  # not a point
        b"\1\0\1\0\0\0\x0a\0\0\0\x06\xff\xfe\xfd:1",
        b"\1\0\1\xff\xff\xff\xff",
        b"\1\0\1\0\0\0\x34\0\0\0\x30" + b"[" + b"0" * 44 + b"]:1",  # too long a point
        b"\1\0\1" + (101 * len(SHORT)).to_bytes(4, "big") + 101 * SHORT,
    ],
)
def test_an_authentic_chunk_that_is_no_answer_is_refused(
    incoming: bool, runner: str, plain: bytes
) -> None:
    it = reach(State.ANSWER, incoming, runner)
    it.give(it.peer.seal(plain))
    check(it, State.ANSWER, ErrorKind.DECODING_ERROR)


@pytest.mark.parametrize("count", [0, 1, 99, 100, 101])
def test_a_list_of_points_is_read_up_to_its_limit(
    incoming: bool, runner: str, count: int
) -> None:
    it = reach(State.ANSWER, incoming, runner)
    it.give(it.peer.seal(b"\1\0\1" + (count * 10).to_bytes(4, "big") + count * SHORT))
    why = it.the_end()
    if count > 100:
        assert why.reason is Reason.ACK_READ_ERROR
    else:
        assert why.reason is Reason.AUTHENTICATION_REJECTED_BY_PEER
        assert len(why.errors[0].facts["alternative_points"]) == count


def test_no_other_tag_is_an_answer(incoming: bool, runner: str) -> None:
    for tag in range(2, 255):
        it = reach(State.ANSWER, incoming, runner)
        it.give(it.peer.seal(bytes([tag]) + bytes(tag % 2 * 6)))
        check(it, State.ANSWER, ErrorKind.DECODING_ERROR)


@pytest.mark.parametrize("state", [State.METADATA, State.ANSWER])
@pytest.mark.parametrize("bit", [0, 7, 8 * 15, 8 * 16])
def test_a_chunk_with_one_bit_changed_is_not_authentic(
    incoming: bool, runner: str, state: State, bit: int
) -> None:
    it = reach(state, incoming, runner)
    chunk = bytearray(it.peer.seal(b"\0\0" if state is State.METADATA else b"\0"))
    chunk[2 + bit // 8] ^= 1 << bit % 8
    it.give(bytes(chunk))
    check(it, state, ErrorKind.DECIPHER_ERROR)


@pytest.mark.parametrize("state", [State.METADATA, State.ANSWER])
@pytest.mark.parametrize("skew", [-1, 1, 2, 1 << 8])
def test_a_chunk_with_another_nonce_is_not_authentic(
    incoming: bool, runner: str, state: State, skew: int
) -> None:
    it = reach(state, incoming, runner)
    it.peer.send_nonce += skew
    it.give(it.peer.seal(b"\0\0" if state is State.METADATA else b"\0"))
    check(it, state, ErrorKind.DECIPHER_ERROR)


def test_a_peer_that_mistakes_whose_nonce_is_whose_is_not_authentic(
    incoming: bool, runner: str
) -> None:
    it = reach(State.METADATA, incoming, runner)
    it.peer.send_nonce = it.peer.receive_nonce - 1
    it.give(it.peer.seal(b"\0\0"))
    check(it, State.METADATA, ErrorKind.DECIPHER_ERROR)


# -- the end of their stream -----------------------------------------------------------


#: Bytes of connection message, metadata and ack of the puppet.
WHOLE = 105 + 20 + 19


@pytest.mark.parametrize("glued", [True, False], ids=["at once", "byte by byte"])
def test_their_stream_may_end_at_any_byte(
    incoming: bool, runner: str, glued: bool
) -> None:
    for at in range(WHOLE + 1):
        it = reach(State.GREETING, incoming, runner)
        hello = it.peer.hello()
        it.peer.meet(bytes(it.sent))
        wire = hello + it.peer.seal(b"\0\0") + it.peer.seal(b"\0")
        assert len(wire) == WHOLE
        step = max(at, 1) if glued else 1
        for start in range(0, at, step):
            it.give_admitting(wire[start : min(start + step, at)], 1.0)
        it.give_admitting(b"", 2.0)
        assert it.events[-1].at == 2.0
        if at == WHOLE:
            why = it.the_end()
            assert [type(event) for event in it.events[-2:]] == [Established, Closed]
            reason = Reason.CONNECTION_CLOSED_BY_PEER
            assert why == Disconnection(reason, direction=Direction.READ)
        else:
            phase = State.ANSWER if at >= 125 else State.GREETING
            check(it, phase, ErrorKind.CONNECTION_CLOSED)
            assert len(it.events) == 1 + (at >= 105) + (at >= 125)


@pytest.mark.parametrize("waiting", [b"", b"\0", b"\0\x11abc"])
def test_their_stream_may_end_before_our_verdict(
    incoming: bool, runner: str, waiting: bytes
) -> None:
    it = reach(State.VERDICT, incoming, runner)
    if waiting:
        it.give(waiting)
    it.give(b"")
    if not waiting:
        check(it, State.VERDICT, ErrorKind.CONNECTION_CLOSED)
        return
    assert it.machine.state is State.VERDICT
    it.machine.admit(1.0)
    check(it, State.ANSWER, ErrorKind.CONNECTION_CLOSED)


def test_their_stream_may_end_with_bytes_waiting_before_our_refusal(
    incoming: bool, runner: str
) -> None:
    it = reach(State.VERDICT, incoming, runner)
    it.give(b"\0\x11abc")
    it.give(b"")
    it.machine.refuse(Motive.TOO_MANY_CONNECTIONS, (), 1.0)
    assert it.the_end().reason is Reason.AUTHENTICATION_REJECTED


@pytest.mark.parametrize("fed", [b"", b"\0"])
def test_their_stream_may_end_before_we_start(
    incoming: bool, runner: str, fed: bytes
) -> None:
    it = scene(incoming, runner)
    if fed:
        it.give(fed)
    it.give(b"")
    assert it.machine.state is State.IDLE
    it.machine.start(1.0)  # what a peer does makes no caller's call illegal
    it.drain()
    check(it, State.GREETING, ErrorKind.CONNECTION_CLOSED)


def test_a_header_alone_greylists_nobody(incoming: bool, runner: str) -> None:
    it = reach(State.METADATA, incoming, runner)
    it.give(b"\0\x13")
    it.give(b"")
    why = check(it, State.METADATA, ErrorKind.CONNECTION_CLOSED)
    assert not why.greylists


# -- replays and mirrors ---------------------------------------------------------------


def test_a_recording_of_an_earlier_handshake_is_not_authentic(
    incoming: bool, runner: str
) -> None:
    local = our_local(runner)
    first = scene(incoming, runner, local)
    begin(first)
    hello = first.peer.hello()
    first.peer.meet(bytes(first.sent))
    wire = hello + first.peer.seal(b"\0\0") + first.peer.seal(b"\0")
    first.give_admitting(wire)
    assert first.machine.state is State.ESTABLISHED
    second = scene(incoming, runner, local)
    begin(second)
    second.give_admitting(wire)
    check(second, State.METADATA, ErrorKind.DECIPHER_ERROR)
    assert [type(event) for event in second.events] == [ConnectionMessageReceived, Closed]
    # What was learnt of a replayed message costs no second agreement.
    assert local.keys.agreements == 1


def test_our_own_bytes_sent_back_to_us_are_not_authentic(
    incoming: bool, runner: str
) -> None:
    it = reach(State.GREETING, incoming, runner)
    it.give(bytes(it.sent))
    mirrored = cut(it.sent)
    assert len(mirrored) == 2
    it.give(mirrored[1])
    check(it, State.METADATA, ErrorKind.DECIPHER_ERROR)
    quiet(it, State.METADATA)


def test_a_thief_of_our_public_key_is_never_taken_for_ourselves(
    incoming: bool, runner: str
) -> None:
    it = scene(incoming, runner, public=crypto_scalarmult_base(OUR_SECRET))
    begin(it)
    it.give(it.peer.hello())
    it.peer.meet(bytes(it.sent[:105]))
    it.give(it.peer.seal(b"\0\0"))
    check(it, State.METADATA, ErrorKind.DECIPHER_ERROR)


def test_a_thief_of_our_public_key_without_its_work_gets_no_further(
    incoming: bool, runner: str
) -> None:
    local = our_local(runner, difficulty=26)
    public = crypto_scalarmult_base(OUR_SECRET)
    it = scene(incoming, runner, local, public=public, stamp=b"\x07" * 24)
    begin(it)
    it.give(it.peer.hello())
    check(it, State.GREETING, ErrorKind.NOT_ENOUGH_PROOF_OF_WORK)
    assert local.keys.agreements == 0


def test_whoever_holds_our_keys_is_ourselves(incoming: bool, runner: str) -> None:
    it = reach(State.METADATA, incoming, runner, secret=OUR_SECRET)
    it.give(it.peer.seal(b"\0\0"), 1.0)
    why = check(it, State.METADATA, ErrorKind.MYSELF)
    assert str(Identity.of_secret(OUR_SECRET).peer_id) in str(why)
    assert not any(isinstance(event, Authenticated) for event in it.events)
    quiet(it, State.METADATA)


def test_metadata_of_ourselves_that_does_not_decode_is_a_decoding_error(
    incoming: bool, runner: str
) -> None:
    it = reach(State.METADATA, incoming, runner, secret=OUR_SECRET)
    it.give(it.peer.seal(b"\0"))
    check(it, State.METADATA, ErrorKind.DECODING_ERROR)


def test_two_ends_of_one_node_recognise_each_other(incoming: bool, runner: str) -> None:
    local = our_local(runner)
    pair = (Handshake(local, incoming), Handshake(local, not incoming))
    for machine in pair:
        machine.start(0.0)
    for _ in range(2):
        data = [machine.data_to_send() for machine in pair]
        for machine, received in zip(pair, reversed(data), strict=True):
            machine.receive_data(received, 0.0)
    for machine in pair:
        events: list[Any] = []
        while (event := machine.next_event()) is not None:
            events.append(event)
        assert events[-1].disconnection.errors[0].kind is ErrorKind.MYSELF


# -- keys and work ---------------------------------------------------------------------

#: The points of order 1, 2, 4 and 8, little-endian; X25519 ignores the top bit.
LOW_ORDER = [
    point[:31] + bytes([point[31] | top])
    for top in (0, 0x80)
    for point in (
        bytes(32),
        b"\x01" + bytes(31),
        bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
        bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
        b"\xec" + b"\xff" * 30 + b"\x7f",
        b"\xed" + b"\xff" * 30 + b"\x7f",
        b"\xee" + b"\xff" * 30 + b"\x7f",
    )
]


@pytest.mark.parametrize("point", LOW_ORDER, ids=bytes.hex)
def test_a_public_key_of_low_order_ends_it_and_greylists_nobody(
    incoming: bool, runner: str, point: bytes
) -> None:
    it = scene(incoming, runner, public=point)
    begin(it)
    it.give(it.peer.hello())
    check(it, State.GREETING, ErrorKind.LOW_ORDER_KEY)
    assert len(it.events) == 1
    quiet(it, State.GREETING)


def bits_of(public: bytes, stamp: bytes) -> int:
    """Count the zero bits that the hash of a key and a stamp begins with."""
    digest = hashlib.blake2b(public + stamp, digest_size=32).digest()
    return 256 - int.from_bytes(digest, "little").bit_length()


def stamp_of(bits: int) -> bytes:
    """Find a stamp of exactly that many bits for the puppet's key."""
    public = Puppet(dialled=True).public
    n = 0
    while bits_of(public, n.to_bytes(24, "big")) != bits:
        n += 1
    return n.to_bytes(24, "big")


def test_work_one_bit_short_greylists_without_a_word(incoming: bool, runner: str) -> None:
    local = our_local(runner, difficulty=10)
    it = scene(incoming, runner, local, stamp=stamp_of(9))
    begin(it)
    it.give(it.peer.hello())
    why = check(it, State.GREETING, ErrorKind.NOT_ENOUGH_PROOF_OF_WORK)
    # Of whoever dials us there may be a flood: nothing is made for it.
    claimed = {} if incoming else {"peer_id": PeerId.of_key(it.peer.public)}
    assert why.errors[0].facts == claimed
    assert len(it.events) == 1
    quiet(it, State.GREETING)
    assert local.keys.agreements == 0


def test_work_of_just_the_bits_asked_for_is_enough(incoming: bool, runner: str) -> None:
    local = our_local(runner, difficulty=10)
    it = reach(State.VERDICT, incoming, runner, local, stamp=stamp_of(10))
    assert 10 <= it.events[-1].remote.difficulty < 11


#: Two identities of the TezEdge project: public key, stamp, bits that it reaches.
REAL = (
    (
        "5fd7ba1d15650abc9a510c37a8bee566b708fe6577f0d832b903e8f13d71c94a",
        "4b1354dcfc087e52c8fb510317b9464c297b8a55b79bfc95",
        26.27,
    ),
    (
        "a072c7b3e477142689cadee638078b377df5e5793e3cea529d0b718cde59f212",
        "0cfe810d9b4591f0f50721b6811f2981a4274e9d0593bbd0",
        2.12,
    ),
)


@pytest.mark.parametrize("difficulty", [2, 2.25, 26, 26.25, 26.5])
@pytest.mark.parametrize(("public", "stamp", "reached"), REAL)
def test_real_stamps_pass_up_to_the_work_that_is_in_them(
    incoming: bool,
    runner: str,
    public: str,
    stamp: str,
    reached: float,
    difficulty: float,
) -> None:
    local = our_local(runner, difficulty=difficulty)
    it = scene(
        incoming,
        runner,
        local,
        public=bytes.fromhex(public),
        stamp=bytes.fromhex(stamp),
    )
    begin(it)
    it.give(it.peer.hello())
    if reached >= difficulty:
        assert it.machine.state is State.METADATA
    else:
        check(it, State.GREETING, ErrorKind.NOT_ENOUGH_PROOF_OF_WORK)


def test_the_checks_come_in_the_order_of_their_price(incoming: bool, runner: str) -> None:
    # Each message has all the faults of those after it as well.
    local = our_local(runner, difficulty=10)
    low = bytes(32)
    faults = [
        (framed(Puppet(dialled=True, public=low).body()[:-1]), ErrorKind.DECODING_ERROR),
        (
            Puppet(dialled=True, public=low, stamp=bad_stamp(low)).hello(),
            ErrorKind.NOT_ENOUGH_PROOF_OF_WORK,
        ),
        (
            Puppet(dialled=True, public=low, stamp=good_stamp(low)).hello(),
            ErrorKind.LOW_ORDER_KEY,
        ),
    ]
    agreements = []
    for hello, kind in faults:
        it = scene(incoming, runner, local)
        begin(it)
        it.give(hello)
        check(it, State.GREETING, kind)
        agreements.append(local.keys.agreements)
    assert agreements == [0, 0, 1]


def bad_stamp(public: bytes) -> bytes:
    return next(s for n in range(99) if bits_of(public, s := n.to_bytes(24, "big")) < 10)


def good_stamp(public: bytes) -> bytes:
    return next(
        s for n in range(1 << 20) if bits_of(public, s := n.to_bytes(24, "big")) >= 10
    )


@pytest.mark.parametrize("chain", ["TEZOS", "tezos_mainnet", "TEZOS_MAINNE", ""])
def test_another_network_is_told_before_any_verdict_and_greylists_nobody(
    incoming: bool, runner: str, chain: str
) -> None:
    it = reach(State.VERDICT, incoming, runner, chain=chain.encode())
    assert it.events[-1].agreement is Motive.UNKNOWN_CHAIN_NAME
    assert MAINNET.chain_name != chain
    it.machine.refuse(it.events[-1].agreement, (), 0.0)
    it.drain()
    assert not it.the_end().greylists


# -- silence ---------------------------------------------------------------------------


@pytest.mark.parametrize("partial", [b"", b"\0", b"\0\x11", b"\0\x11abc"])
@pytest.mark.parametrize("state", [*READING, State.VERDICT])
def test_silence_in_any_phase_ends_at_the_deadline(
    incoming: bool, runner: str, state: State, partial: bytes
) -> None:
    it = reach(state, incoming, runner)
    if partial:
        it.give(partial, 1.0)
    deadline = it.machine.next_timeout()
    assert deadline == (5.0 if incoming else 10.0)
    it.machine.handle_timeout(deadline)
    check(it, state, ErrorKind.TIMEOUT)
    assert it.events[-1].at == deadline
    quiet(it, state)


@pytest.mark.parametrize("state", [*READING, State.VERDICT])
def test_a_byte_per_second_in_any_phase_ends_at_the_deadline(
    incoming: bool, runner: str, state: State
) -> None:
    it = reach(state, incoming, runner)
    deadline = 5.0 if incoming else 10.0
    for second, byte in enumerate(b"\0\x11" + GARBAGE * 20, 1):
        it.give(bytes([byte]), float(second))
        if it.machine.over:
            break
        assert it.machine.next_timeout() == deadline
    check(it, state, ErrorKind.TIMEOUT)
    assert it.events[-1].at == deadline


@pytest.mark.parametrize("state", LIVE)
def test_endless_bytes_within_the_allowance_stay_within_the_bound(
    incoming: bool, runner: str, state: State
) -> None:
    it = reach(state, incoming, runner)
    for _ in range(200):
        room = it.machine.read_allowance
        if room == 0:
            break
        it.give(GARBAGE * min(room, 1_000), 1.0)
    if it.machine.over:
        kind = fault_of(state, 65_535)
        check(it, state, kind)
    else:
        assert state in (State.VERDICT, State.ESTABLISHED)
        assert len(it.machine._frames) == 65_537
