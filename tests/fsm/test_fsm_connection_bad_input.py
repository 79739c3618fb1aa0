"""What a peer may do wrong on an open connection: it ends once, for the right reason."""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from connection_pair import (
    BOOTSTRAP,
    Scene,
    opened,
    raw,
    reach,
    scene,
    shake,
)
from fsm_puppet import ROLE_NAMES, ROLES, RUNNER_NAMES, framed

from tezos_p2p.fsm.lifecycle import State
from tezos_p2p.spec import (
    DecodeError,
    DecodeFault,
    Direction,
    Disconnection,
    ErrorKind,
    Reason,
)
from tezos_p2p.spec.message import MessageCodec

pytestmark = [
    pytest.mark.parametrize("incoming", ROLES, ids=ROLE_NAMES.get),
    pytest.mark.parametrize("runner", RUNNER_NAMES),
]


def check(it: Scene, kind: ErrorKind, detail: str | None = None) -> Disconnection:
    """Check that it ended because of an error in what was read; return why."""
    why = it.the_end()
    assert why.reason is Reason.CONNECTION_CLOSED_BY_UNEXPECTED_ERROR
    assert why.direction is Direction.READ
    (error,) = why.errors
    assert error.kind is kind
    assert detail is None or error.detail == detail
    assert why.greylists is (kind is ErrorKind.DECODING_ERROR)
    return why


# -- chunks ----------------------------------------------------------------------------


@pytest.mark.parametrize("size", range(16))
def test_a_chunk_shorter_than_its_tag_ends_it_before_it_is_there(
    incoming: bool, runner: str, size: int
) -> None:
    it = opened(incoming, runner)
    it.say(raw(b"before"))
    it.give(b"\0")
    assert it.machine.state is State.OPEN
    it.give(bytes([size]), 2.0)
    detail = f"chunk of {size} bytes, at least 16 wanted"
    check(it, ErrorKind.INVALID_INCOMING_CIPHERTEXT_SIZE, detail)
    assert it.got == [b"before"]
    assert it.events[-1].at == 2.0


@pytest.mark.parametrize("size", [16, 17, 1_000, 65_535])
def test_a_chunk_of_garbage_ends_it_with_its_last_byte(
    incoming: bool, runner: str, size: int
) -> None:
    it = opened(incoming, runner)
    it.give(framed(b"\xff" * size)[:-1])
    assert it.machine.state is State.OPEN
    it.give(b"\xff")
    check(it, ErrorKind.DECIPHER_ERROR, f"chunk of {size} bytes")


@pytest.mark.parametrize("at", range(2, 28, 3))
@pytest.mark.parametrize("mask", [1, 0x80])
def test_a_chunk_with_a_bit_changed_ends_it(
    incoming: bool, runner: str, at: int, mask: int
) -> None:
    it = opened(incoming, runner)
    wire = bytearray(it.peer.seal(raw(b"four")))
    wire[at] ^= mask
    it.give(bytes(wire))
    check(it, ErrorKind.DECIPHER_ERROR)
    assert it.got == []


#: The order in which three chunks are sent, and how many of them can be read.
ORDERS = {
    "dropped first": ((1, 2), 0),
    "dropped second": ((0, 2), 1),
    "repeated": ((0, 0, 1, 2), 1),
    "swapped": ((0, 2, 1), 1),
    "swapped first": ((1, 0, 2), 0),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("step", [1, 10_000])
def test_chunks_out_of_order_end_it_where_the_order_breaks(
    incoming: bool, runner: str, order: str, step: int
) -> None:
    it = opened(incoming, runner)
    payloads = [b"zero", b"one", b"two"]
    chunks = [it.peer.seal(raw(payload)) for payload in payloads]
    places, good = ORDERS[order]
    wire = b"".join(chunks[place] for place in places)
    for at in range(0, len(wire), step):
        it.give(wire[at : at + step])
    check(it, ErrorKind.DECIPHER_ERROR)
    assert it.got == payloads[:good]


@pytest.mark.parametrize("state", [s for s in State if s is not State.HANDSHAKE])
def test_a_chunk_of_garbage_is_met_only_where_chunks_are_read(
    incoming: bool, runner: str, state: State
) -> None:
    it = reach(state, incoming, runner)
    it.writes = False
    before = list(it.got)
    it.give(framed(b"\xff" * 50))
    if state is State.OPEN:
        check(it, ErrorKind.DECIPHER_ERROR)
    else:
        assert it.machine.state is state
    assert it.got == before


def test_a_chunk_of_the_handshake_is_no_chunk_of_a_message(
    incoming: bool, runner: str
) -> None:
    it = shake(scene(incoming, runner), "answer")
    ack = it.peer.seal(b"\0")
    it.give(ack)
    it.give(ack)
    check(it, ErrorKind.DECIPHER_ERROR)


def test_our_own_chunks_sent_back_do_not_decrypt(incoming: bool, runner: str) -> None:
    it = opened(incoming, runner)
    it.machine.send(b"hello")
    it.drain()
    it.give(bytes(it.sent[144:]))
    check(it, ErrorKind.DECIPHER_ERROR)


# -- messages --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("plain", "detail"),
    [
        (b"\0\0\0\0", "size at byte 0: not enough data: size 0 has no room for a tag"),
        (b"\0\0\0\1", "size at byte 0: not enough data: size 1 has no room for a tag"),
        (
            b"\x06\x3f\xff\xfd",
            "size at byte 0: size limit exceeded: message of 104857601 bytes, "
            "limit 104857600",
        ),
        (
            b"\xff\xff\xff\xff",
            "size at byte 0: size limit exceeded: message of 4294967299 bytes, "
            "limit 104857600",
        ),
        (b"\0\0\0\2\0\x0f", "tag at byte 4: unexpected tag: unknown tag 0x000f"),
        (b"\0\0\xff\xff\xff\xff", "tag at byte 4: unexpected tag: unknown tag 0xffff"),
        (
            b"\0\4\0\3\0\x10",
            "size at byte 0: size limit exceeded: message 0x0010 of 262151 bytes, "
            "limit 262150",
        ),
        (
            b"\0\0\0\3\0\2",
            "size at byte 0: size limit exceeded: message 0x0002 of 7 bytes, limit 6",
        ),
        (
            raw(b"\0\0\0", 3),
            "points[0] at byte 6: not enough data: 4 bytes wanted, 3 left",
        ),
    ],
)
@pytest.mark.parametrize("step", [1, 4, 100])
def test_a_message_that_does_not_decode_ends_it_and_greylists(
    incoming: bool, runner: str, plain: bytes, detail: str, step: int
) -> None:
    it = opened(incoming, runner)
    it.say(raw(b"before") + BOOTSTRAP)
    for at in range(0, len(plain), step):
        assert it.machine.state is State.OPEN
        it.say(plain[at : at + step])
    check(it, ErrorKind.DECODING_ERROR, detail)
    assert it.got == [b"before"]
    assert len(it.events) == 5


def test_a_hundred_and_one_points_greylist(incoming: bool, runner: str) -> None:
    it = opened(incoming, runner)
    it.say(raw(b"\0\0\0\6[::]:1" * 100, 3))
    assert it.machine.state is State.OPEN
    it.say(raw(b"\0\0\0\6[::]:1" * 101, 3))
    check(it, ErrorKind.DECODING_ERROR)


def test_the_reference_tests_garbled_data_greylists(incoming: bool, runner: str) -> None:
    # A frame that decrypts, with the four integers 4, -1, -1, -1 in it.
    it = opened(incoming, runner)
    it.say(b"\0\0\0\4" + b"\xff" * 12)
    check(it, ErrorKind.DECODING_ERROR)


def test_messages_before_a_fault_are_given_after_the_end(
    incoming: bool, runner: str
) -> None:
    it = opened(incoming, runner)
    it.pulls = False
    it.say(raw(b"one") + raw(b"two") + bytes(4))
    assert it.machine.ended
    it.pulls = True
    it.drain()
    assert it.got == [b"one", b"two"]
    check(it, ErrorKind.DECODING_ERROR)


def test_a_fault_behind_work_that_was_left_shows_when_it_is_done(
    incoming: bool, runner: str
) -> None:
    it = opened(incoming, runner)
    it.say(raw() * 6_000 + bytes(4))
    assert it.machine.state is State.OPEN
    it.now = 4.0
    it.settle()
    assert it.got == [b""] * 6_000
    check(it, ErrorKind.DECODING_ERROR)
    assert it.events[-1].at == 4.0


# -- the application's codec -----------------------------------------------------------


@attrs.frozen
class Failing:
    """A codec whose decoder raises what it is told."""

    error: Exception

    @property
    def limits(self) -> dict[int, int]:
        return {0x10: 1_000}

    def encode(self, message: bytes) -> tuple[int, bytes]:
        raise self.error

    def decode(self, tag: int, payload: bytes) -> bytes:
        raise self.error


ERRORS: list[Any] = [ValueError("no"), RuntimeError(), KeyError("x"), RecursionError()]


@pytest.mark.parametrize("step", [7, 100])
@pytest.mark.parametrize("error", ERRORS, ids=repr)
def test_a_codec_that_raises_what_it_must_not_ends_it_but_greylists_nobody(
    incoming: bool, runner: str, error: Exception, step: int
) -> None:
    it = opened(incoming, runner, codec=MessageCodec(Failing(error)))
    plain = BOOTSTRAP + raw(b"one")
    for at in range(0, len(plain), step):
        it.say(plain[at : at + step])
    check(it, ErrorKind.CODEC_FAILED, f"tag 0x0010: {type(error).__name__}")
    assert len(it.events) == 5


def test_a_codec_that_refuses_greylists(incoming: bool, runner: str) -> None:
    error = DecodeError(DecodeFault.INVALID_VALUE, 2, "no good")
    it = opened(incoming, runner, codec=MessageCodec(Failing(error)))
    it.say(raw(b"one"))
    check(it, ErrorKind.DECODING_ERROR, "message at byte 8: invalid value: no good")


def test_what_a_codec_raises_while_it_encodes_is_the_callers(
    incoming: bool, runner: str
) -> None:
    it = opened(incoming, runner, codec=MessageCodec(Failing(RuntimeError("no"))))
    with pytest.raises(RuntimeError, match="no"):
        it.machine.send(b"one")
    assert it.machine.state is State.OPEN
    assert it.machine.queued == 0
