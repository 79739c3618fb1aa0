"""Bytes in, messages out: cuts, checks, bounded work, bounded memory."""

from __future__ import annotations

import itertools
import tracemalloc
from typing import Any, cast

import attrs
import pytest
from connection_pair import BOOTSTRAP, CODEC, DISCONNECT, LAST_NONCE, raw
from fsm_puppet import Puppet, framed
from hypothesis import given, settings
from hypothesis import strategies as st

from tezos_p2p.fsm import Channel, ChannelError
from tezos_p2p.fsm.incoming import CONTROL_MAX, WORK, CodecError, Incoming
from tezos_p2p.spec import DecodeError, DecodeFault, ErrorKind
from tezos_p2p.spec.message import Bootstrap, MessageCodec
from tezos_p2p.spec.raw import RawCodec

KEY = bytes(range(32))
#: Weight of a message beside its bytes.
MESSAGE = 120


@attrs.define(eq=False)
class Reader:
    """A reading half and the peer whose chunks it reads; ``got``: what was pulled."""

    half: Incoming[Any]
    peer: Puppet
    pulls: bool = True
    got: list[Any] = attrs.field(factory=list)

    def feed(self, wire: bytes, unread: int = 0) -> None:
        try:
            self.half.work(wire, unread)
        finally:
            while self.pulls and (message := self.half.pop()) is not None:
                self.got.append(message)

    def say(self, *plain: bytes) -> None:
        self.feed(b"".join(map(self.peer.seal, plain)))

    def say_in_steps(self, plain: bytes, step: int) -> None:
        for at in range(0, len(plain), step):
            self.say(plain[at : at + step])

    def settle(self) -> int:
        """Go on as long as there is work; return how many calls it took."""
        calls = 0
        while self.half.may_go_on(0):
            self.feed(b"")
            calls += 1
        return calls


def reader(
    limit: int | None = None,
    *,
    codec: MessageCodec[Any] = CODEC,
    inline: bool = False,
    nonce: int = 7,
    pulls: bool = True,
) -> Reader:
    half = Incoming(Channel(KEY, 0, nonce), codec, limit, inline)
    return Reader(half, Puppet(dialled=False, key=KEY, send_nonce=nonce), pulls)


def header(size: int, tag: int = 0x10) -> bytes:
    return size.to_bytes(4, "big") + tag.to_bytes(2, "big")


# -- cuts ------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [1, 2, 3, 5, 6, 7, 100, 65_519])
@pytest.mark.parametrize("n", [0, 1, 5, 250, 5_000])
def test_messages_are_cut_from_one_stream_however_it_is_chunked(
    step: int, n: int
) -> None:
    it = reader()
    plain = raw(b"first") + raw(bytes(n)) + raw() + raw(b"last")
    for at in range(0, len(plain), step):
        it.say(plain[at : at + step])
        it.settle()
    assert it.got == [b"first", bytes(n), b"", b"last"]


def test_the_longest_chunk_that_can_be_is_read() -> None:
    it = reader()
    it.say(raw(bytes(65_519 - 6)))
    assert [len(message) for message in it.got] == [65_513]


@pytest.mark.parametrize("at", range(13))
def test_an_empty_chunk_changes_nothing(at: int) -> None:
    it = reader()
    plain = raw(b"one") + raw(b"two")
    it.say(plain[:at], b"", b"", plain[at:])
    assert it.got == [b"one", b"two"]


def test_a_chunk_is_opened_with_its_last_byte_and_not_before() -> None:
    it = reader()
    wire = it.peer.seal(raw(b"one"))
    for byte in wire[:-1]:
        it.feed(bytes([byte]))
        assert it.got == []
    assert it.half.held == len(wire) - 1
    it.feed(wire[-1:])
    assert it.got == [b"one"]
    assert it.half.held == 0


def test_any_kind_of_bytes_is_taken_and_need_not_outlive_the_call() -> None:
    it = reader()
    for kind in (bytearray, memoryview):
        wire = bytearray(it.peer.seal(raw(b"one")) + it.peer.seal(raw(b"two"))[:30])
        it.feed(cast("bytes", kind(wire)))
        wire[:] = bytes(len(wire))
        it.peer.send_nonce -= 1
        it.feed(cast("bytes", kind(it.peer.seal(raw(b"two"))[30:])))
    assert it.got == [b"one", b"two"] * 2


@given(
    sizes=st.lists(st.integers(0, 30) | st.integers(0, 9_000), max_size=8),
    cuts=st.lists(st.integers(0, 30_000), max_size=12),
    feeds=st.lists(st.integers(1, 9_000), min_size=1, max_size=6),
    limit=st.sampled_from([None, 1, 200, 5_000]),
)
@settings(max_examples=120)
def test_messages_do_not_care_about_chunks_reads_and_queues(
    sizes: list[int], cuts: list[int], feeds: list[int], limit: int | None
) -> None:
    it = reader(limit)
    payloads = [bytes([i + 1]) * n for i, n in enumerate(sizes)]
    plain = b"".join(map(raw, payloads))
    edges = sorted({0, len(plain), *(cut % (len(plain) + 1) for cut in cuts)})
    wire = b"".join(it.peer.seal(plain[a:b]) for a, b in itertools.pairwise(edges))
    turn = 0
    while wire:
        size = feeds[turn % len(feeds)]
        it.feed(wire[:size])
        it.settle()
        wire = wire[size:]
        turn += 1
    assert it.got == payloads
    assert it.half.held == 0
    assert not it.half.stalled


# -- checks ----------------------------------------------------------------------------


@pytest.mark.parametrize("size", range(16))
@pytest.mark.parametrize("split", [False, True])
def test_a_chunk_shorter_than_its_tag_is_refused_by_its_length_alone(
    size: int, split: bool
) -> None:
    it = reader()
    wire = size.to_bytes(2, "big")
    if split:
        it.feed(wire[:1])
        wire = wire[1:]
    with pytest.raises(ChannelError) as caught:
        it.feed(wire)
    assert caught.value.kind is ErrorKind.INVALID_INCOMING_CIPHERTEXT_SIZE
    assert caught.value.detail == f"chunk of {size} bytes, at least 16 wanted"


@pytest.mark.parametrize("size", [16, 17, 65_535])
def test_a_length_that_can_be_is_waited_for(size: int) -> None:
    it = reader()
    it.feed(framed(bytes(size))[:-1])
    with pytest.raises(ChannelError) as caught:
        it.feed(b"\0")
    assert caught.value.kind is ErrorKind.DECIPHER_ERROR


@pytest.mark.parametrize(
    ("head", "fault"),
    [
        ("00000000", DecodeFault.NOT_ENOUGH_DATA),
        ("00000001", DecodeFault.NOT_ENOUGH_DATA),
        ("063ffffd", DecodeFault.SIZE_LIMIT_EXCEEDED),  # 100 MiB and one byte
        ("3fffffff", DecodeFault.SIZE_LIMIT_EXCEEDED),
        ("80000000", DecodeFault.SIZE_LIMIT_EXCEEDED),
        ("ffffffff", DecodeFault.SIZE_LIMIT_EXCEEDED),
        ("000000020000", DecodeFault.UNEXPECTED_TAG),
        ("000000020006", DecodeFault.UNEXPECTED_TAG),
        ("00010000000f", DecodeFault.UNEXPECTED_TAG),
        ("000000020011", DecodeFault.UNEXPECTED_TAG),
        ("00000002ffff", DecodeFault.UNEXPECTED_TAG),
        ("000000030001", DecodeFault.SIZE_LIMIT_EXCEEDED),
        ("000000030002", DecodeFault.SIZE_LIMIT_EXCEEDED),
        ("000013ef0003", DecodeFault.SIZE_LIMIT_EXCEEDED),
        ("000000460004", DecodeFault.SIZE_LIMIT_EXCEEDED),
        ("000000460005", DecodeFault.SIZE_LIMIT_EXCEEDED),
        ("000400030010", DecodeFault.SIZE_LIMIT_EXCEEDED),
    ],
)
@pytest.mark.parametrize("step", [1, 3, 6, 100])
@pytest.mark.parametrize("before", [b"", raw(b"good")])
def test_a_header_is_refused_as_soon_as_it_shows(
    head: str, fault: DecodeFault, step: int, before: bytes
) -> None:
    it = reader()
    plain = before + bytes.fromhex(head)
    last = (len(plain) - 1) // step * step
    # With the byte that shows it, and not one chunk earlier.
    it.say_in_steps(plain[:last], step)
    with pytest.raises(DecodeError) as caught:
        it.say(plain[last:])
    assert caught.value.fault is fault
    assert it.got == ([b"good"] if before else [])


@pytest.mark.parametrize(
    "head",
    [
        *["00000002", "063ffffc", "0000000200", "000000020010", "0004000200"],
        *["000400020010", "000013ee0003", "000000450004", "000000450005"],
    ],
)
def test_a_header_at_its_bound_is_waited_for(head: str) -> None:
    it = reader()
    it.say(bytes.fromhex(head))
    assert not it.half.stalled


@pytest.mark.parametrize(
    ("payload", "place"),
    [
        (raw(b"\0", 3), "points[0] at byte 6: not enough data"),
        (raw(b"\0\0\0\7foo:123", 3), "points[0] at byte 10: invalid value"),
        (raw(b"\0\0\0\6[::]:1" * 101, 3), "points[100] at byte 1006: list too long"),
        (raw(b"\0\0\0\6[::]:1" + bytes(15), 4), "peer_id at byte 16: not enough data"),
        (raw(b"\0\0\0\6[::]:1" + bytes(17), 5), "byte 32: extra bytes"),
    ],
)
@pytest.mark.parametrize("step", [7, 100_000])
def test_a_payload_that_does_not_decode_is_named_by_its_place(
    payload: bytes, place: str, step: int
) -> None:
    it = reader()
    plain = raw(b"before") + payload
    with pytest.raises(DecodeError) as caught:
        it.say_in_steps(plain, step)
    assert place in str(caught.value)
    assert it.got == [b"before"]


@attrs.frozen
class Picky:
    """A codec that refuses some payloads, properly or not."""

    error: BaseException

    @property
    def limits(self) -> dict[int, int]:
        return {0x10: 1_000}

    def encode(self, message: bytes) -> tuple[int, bytes]:
        return 0x10, message

    def decode(self, tag: int, payload: bytes) -> bytes:
        if payload.startswith(b"bad"):
            raise self.error
        return payload


@pytest.mark.parametrize("step", [7, 100])
def test_an_error_of_the_codec_is_moved_to_its_place_in_the_message(step: int) -> None:
    error = DecodeError(DecodeFault.INVALID_VALUE, 1, "starts badly")
    it = reader(codec=MessageCodec(Picky(error)))
    plain = raw(b"good") + raw(b"bad")
    with pytest.raises(DecodeError) as caught:
        it.say_in_steps(plain, step)
    assert (caught.value.offset, it.got) == (7, [b"good"])


class Forgetful(RawCodec):
    """Decodes to nothing, which nobody could tell from no message."""

    def decode(self, tag: int, payload: bytes) -> Any:
        return None


@pytest.mark.parametrize("step", [7, 100])
def test_a_codec_that_decodes_to_none_is_told_so(step: int) -> None:
    it = reader(codec=MessageCodec(Forgetful()))
    with pytest.raises(CodecError, match="tag 0x0010: decoded to None"):
        it.say_in_steps(raw(b"gone"), step)


@pytest.mark.parametrize("step", [7, 100])
@pytest.mark.parametrize(
    "error", [ValueError("no"), RecursionError("deep"), MemoryError(), KeyError(1)]
)
def test_whatever_else_a_codec_raises_is_told_from_a_decode_error(
    error: Exception, step: int
) -> None:
    it = reader(codec=MessageCodec(Picky(error)))
    plain = raw(b"good") + raw(b"bad")
    with pytest.raises(CodecError) as caught:
        it.say_in_steps(plain, step)
    assert str(caught.value) == f"tag 0x0010: {type(error).__name__}"
    assert caught.value.__cause__ is error
    assert it.got == [b"good"]


@pytest.mark.parametrize("step", [7, 100])
def test_what_is_no_error_of_the_codec_is_not_caught(step: int) -> None:
    it = reader(codec=MessageCodec(Picky(KeyboardInterrupt())))
    plain = raw(b"bad luck")
    with pytest.raises(KeyboardInterrupt):
        it.say_in_steps(plain, step)


# -- a Disconnect ----------------------------------------------------------------------


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("inline", [False, True])
@pytest.mark.parametrize("step", [1, 10, 19, 24, 31, 45, 1_000])
def test_nothing_is_read_behind_a_disconnect(
    split: bool, inline: bool, step: int
) -> None:
    it = reader(inline=inline)
    chunks = (raw(b"before"), DISCONNECT, raw(b"after"), b"\xff" * 8)
    wire = b"".join(map(it.peer.seal, chunks if split else [b"".join(chunks)]))
    for at in range(0, len(wire), step):
        if not it.half.disconnected:
            it.feed(wire[at : at + step])
    assert it.half.disconnected
    assert it.got == [b"before"]
    assert it.half.controls == ()


def test_a_disconnect_is_heard_however_much_waits() -> None:
    it = reader(limit=1, pulls=False, codec=CODEC)
    it.say(raw(b"alone") + DISCONNECT)
    assert it.half.disconnected
    it = reader()
    it.feed(it.peer.seal(DISCONNECT), CONTROL_MAX)
    assert it.half.disconnected


# -- bounded work ----------------------------------------------------------------------

QUARTER = 1 << 18


def test_one_call_decodes_a_bounded_number_of_messages() -> None:
    it = reader()
    count = QUARTER // 6
    plain = b"".join(raw() for _ in range(count))
    it.say(*(plain[at : at + 60_000] for at in range(0, len(plain), 60_000)))
    assert 0 < len(it.got) <= WORK
    assert it.half.stalled
    assert it.half.may_go_on(0)
    calls = 1
    while it.half.may_go_on(0):
        before = len(it.got)
        it.feed(b"")
        assert 0 < len(it.got) - before <= WORK
        calls += 1
    assert it.got == [b""] * count
    assert calls >= count / WORK
    assert not it.half.stalled


def test_one_call_opens_a_bounded_number_of_chunks() -> None:
    it = reader()
    count = QUARTER // 18
    opened: list[int] = []
    open_ = it.half._channel.open

    class Counting:
        receive_nonce = 1

        def open(self, body: memoryview) -> bytes:
            opened[-1] += 1
            return open_(body)

    it.half._channel = cast("Channel", Counting())
    wire = b"".join(it.peer.seal(b"") for _ in range(count)) + it.peer.seal(raw(b"end"))
    opened.append(0)
    it.feed(wire)
    assert it.half.stalled
    while it.half.may_go_on(0):
        opened.append(0)
        it.feed(b"")
    assert max(opened) <= WORK // 4
    assert sum(opened) == count + 1
    assert it.got == [b"end"]
    assert it.half.held == 0


def test_points_cost_more_than_their_bytes() -> None:
    it = reader(inline=True)
    advertise = raw(b"\0\0\0\6[::]:1" * 100, 3)
    it.say(*[advertise * 20] * 12)
    # A thousand bytes of points are a hundred times the work of parsing one.
    assert 0 < len(it.got) <= 1 + WORK // (1 + (1_000 >> 3))
    it.settle()
    assert len(it.got) == 240


@pytest.mark.parametrize("inline", [False, True])
def test_control_messages_are_work_too(inline: bool) -> None:
    it = reader(inline=inline)
    seen = 0
    it.say(raw() * (WORK - 40) + BOOTSTRAP * 40)
    assert it.half.stalled
    done = len(it.got) + len(it.half.controls)
    assert WORK - 40 < done < WORK
    seen += len(it.half.controls)
    it.half.controls = ()
    it.feed(b"")
    seen += len(it.half.controls)
    assert it.got.count(Bootstrap()) + seen == 40
    assert not it.half.stalled


def test_big_messages_cost_more_than_small_ones() -> None:
    it = reader()
    it.say(*[raw(bytes(60_000))] * 30)
    assert 0 < len(it.got) <= 1 + WORK * 128 // 60_000
    it.settle()
    assert len(it.got) == 30


@pytest.mark.parametrize("step", [1, 5, 19, 100])
def test_bytes_that_come_while_work_is_left_wait_their_turn(step: int) -> None:
    it = reader(limit=1, pulls=False)
    wire = it.peer.seal(raw(b"one") + raw(b"two")) + it.peer.seal(raw(b"three"))
    for at in range(0, len(wire), step):
        it.half.work(wire[at : at + step], 0)
    assert it.half.stalled
    assert it.half.held == len(it.peer.seal(raw(b"three")))
    for expected in (b"one", b"two", b"three"):
        assert it.half.pop() == expected
        it.half.work(b"", 0)
    assert (it.half.held, it.half.stalled) == (0, False)


# -- full queues -----------------------------------------------------------------------


def test_a_full_queue_stops_work_until_half_of_it_is_pulled() -> None:
    weight = 10 + MESSAGE
    it = reader(limit=10 * weight + 1, pulls=False)
    it.say(b"".join(raw(bytes([i] * 4)) for i in range(25)))
    assert len(it.half) == 10
    assert it.half.stalled
    for left in (9, 8, 7, 6):
        it.half.pop()
        assert len(it.half) == left
        assert not it.half.may_go_on(0)
    it.half.pop()
    assert it.half.may_go_on(0)
    it.feed(b"")
    assert len(it.half) == 10


@pytest.mark.parametrize(
    ("limit", "taken"), [(2 * (10 + MESSAGE), 1), (2 * (10 + MESSAGE) + 1, 2)]
)
@pytest.mark.parametrize("step", [1, 7, 100])
def test_the_queue_is_admitted_to_strictly_below_its_limit(
    limit: int, taken: int, step: int
) -> None:
    it = reader(limit, pulls=False)
    plain = raw(b"1234") * 3
    it.say_in_steps(plain, step)
    assert len(it.half) == taken
    assert it.half.fill == taken * (10 + MESSAGE)
    assert it.half.stalled


@pytest.mark.parametrize("step", [100, 100_000])
def test_a_message_heavier_than_the_limit_passes_alone(step: int) -> None:
    it = reader(10, pulls=False)
    plain = raw(bytes(5_000)) + raw(b"next")
    it.say_in_steps(plain, step)
    assert [it.half.pop(), it.half.pop()] == [bytes(5_000), None]
    assert it.half.may_go_on(0)
    it.feed(b"")
    assert it.half.pop() == b"next"


def test_work_does_not_go_on_before_the_message_that_waits_has_room() -> None:
    it = reader(1_000, pulls=False)
    it.say(raw(bytes(100)) + raw(bytes(100)) + raw(bytes(700)))
    assert it.half.stalled
    it.half.pop()
    assert it.half.fill < 500
    assert not it.half.may_go_on(0)
    it.half.pop()
    assert it.half.may_go_on(0)


def test_control_messages_that_nobody_looks_at_stop_work() -> None:
    it = reader()
    it.say(BOOTSTRAP * (CONTROL_MAX + 5) + raw(b"end"))
    assert it.half.controls == (Bootstrap(),) * CONTROL_MAX
    assert it.half.stalled
    it.half.controls = ()
    assert not it.half.may_go_on(CONTROL_MAX)
    assert it.half.may_go_on(CONTROL_MAX - 1)
    it.feed(b"", CONTROL_MAX - 1)
    assert it.half.controls == (Bootstrap(),)
    it.half.controls = ()
    it.feed(b"", 0)
    assert it.half.controls == (Bootstrap(),) * 4
    assert it.got == [b"end"]


def test_inline_control_messages_are_queued_in_order_with_the_others() -> None:
    it = reader(inline=True)
    it.say(raw(b"one") + BOOTSTRAP + raw(b"two") + BOOTSTRAP)
    assert it.got == [b"one", Bootstrap(), b"two", Bootstrap()]
    assert it.half.controls == ()


def test_inline_control_messages_fill_the_queue() -> None:
    it = reader(2 * (6 + MESSAGE) + 1, inline=True, pulls=False)
    it.say(BOOTSTRAP * 3)
    assert len(it.half) == 2
    assert it.half.fill == 2 * (6 + MESSAGE)
    assert not it.half.may_go_on(0)


# -- memory ----------------------------------------------------------------------------


class Clear:
    """A channel of plaintext: what is kept is the only cost."""

    receive_nonce = 1

    def open(self, body: memoryview) -> bytes:
        return bytes(body[16:])


def test_a_message_in_tiny_chunks_costs_little_more_than_its_bytes() -> None:
    size = 1 << 17
    it = reader()
    it.half._channel = cast("Channel", Clear())
    plain = raw(bytes(size))
    lengths = [1 + (at & 1) for at in range(2 * len(plain) // 3)]
    wire = bytearray()
    for length in lengths:
        wire += framed(bytes(16) + b"\0" * length)
    # Headers are written over the zeros: the sixth byte is in the fourth chunk.
    at, put = 0, 0
    for length in lengths[:5]:
        piece = plain[put : put + length]
        wire[at + 18 : at + 18 + len(piece)] = piece
        at, put = at + 18 + length, put + length
    data = bytes(wire[:-100])
    tracemalloc.start()
    try:
        view = memoryview(data)
        for start in range(0, len(view), 1 << 14):
            it.half.work(view[start : start + (1 << 14)], 0)
            while it.half.may_go_on(0):
                it.half.work(b"", 0)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(it.half) == 0
    assert sum(map(len, it.half._parts or ())) > size * 0.99
    assert kept < 1.3 * size
    # And what one call is given: it may wait as a whole.
    assert peak < 1.5 * size + (1 << 16)


def test_big_parts_of_a_message_are_kept_as_they_come() -> None:
    it = reader()
    plain = raw(bytes(50_000))
    it.say(plain[:10], plain[10:20_000], plain[20_000:20_010], plain[20_010:40_000])
    assert it.half._parts is not None
    assert [type(part) for part in it.half._parts] == [bytearray, bytes] * 2
    it.say(plain[40_000:])
    assert it.got == [bytes(50_000)]
    assert it.half._parts is None


def test_what_was_stopped_keeps_messages_and_nothing_else() -> None:
    it = reader(limit=200, pulls=False)
    it.say(raw(b"one") + raw(b"two") + raw(bytes(1_000))[:20])
    it.half.stop()
    assert (it.half.held, it.half.stalled, it.half.may_go_on(0)) == (0, False, False)
    it.half.work(b"", 0)
    assert [it.half.pop(), it.half.pop()] == [b"one", None]


def test_what_was_cleared_keeps_nothing() -> None:
    it = reader(limit=200, pulls=False)
    it.say(raw(b"one") + BOOTSTRAP + raw(b"two"))
    it.half.clear()
    it.half.work(b"", 0)
    assert (it.half.pop(), it.half.controls, it.half.stalled) == (None, (), False)


# -- the last nonce --------------------------------------------------------------------


def test_a_chunk_behind_the_last_nonce_is_the_end() -> None:
    it = reader(nonce=LAST_NONCE - 1)
    it.say(raw(b"one"))
    it.say(raw(b"two"))
    with pytest.raises(ChannelError) as caught:
        it.say(raw(b"three"))
    assert caught.value.kind is ErrorKind.NONCES_EXHAUSTED
    assert it.got == [b"one", b"two"]
