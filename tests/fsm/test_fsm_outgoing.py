"""Messages in, chunks out: cuts, joins, weights, room."""

from __future__ import annotations

import attrs
import pytest
from connection_pair import LAST_NONCE, raw
from fsm_puppet import Puppet, cut
from hypothesis import given, settings
from hypothesis import strategies as st

from tezos_p2p.fsm import Channel
from tezos_p2p.fsm.outgoing import Outgoing, slice_size_of

KEY = bytes(range(32))
#: Weight of a message beside its bytes, and of each chunk that it takes.
MESSAGE, CHUNK = 96, 128
#: Bytes that a chunk adds on the wire.
OVERHEAD = 18
#: Most plaintext in a chunk of ours.
FULL = 65_517


@attrs.define(eq=False)
class Sender:
    """An outgoing half and the peer that opens what leaves it."""

    out: Outgoing
    peer: Puppet

    def put(self, *payloads: bytes) -> None:
        for payload in payloads:
            message = raw(payload)
            assert self.out.put(message[:6], message[6:])

    def leave(self, room: int = 1 << 30) -> list[bytes]:
        """Seal up to some room; return the plaintexts of the chunks."""
        pieces: list[bytes] = []
        self.out.seal(room, pieces)
        return [self.peer.open(chunk) for chunk in cut(b"".join(pieces))]


def sender(
    size: int = FULL, joins: bool = True, limit: int | None = None, nonce: int = 7
) -> Sender:
    channel = Channel(KEY, nonce, 0)
    peer = Puppet(dialled=False, key=KEY, receive_nonce=nonce)
    return Sender(Outgoing(channel, limit, size, joins), peer)


def slices(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


# -- cuts ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "size"), [(None, 65_517), (19, 1), (21, 3), (65_535, 65_517)]
)
def test_a_chunk_size_counts_the_length_and_the_tag(
    setting: int | None, size: int
) -> None:
    assert slice_size_of(setting) == size


@pytest.mark.parametrize("joins", [True, False])
@pytest.mark.parametrize("size", [1, 3, 7, 1_023, 1_024, FULL])
@pytest.mark.parametrize("n", [0, 1, 3, 10, 250])
def test_a_lone_message_is_cut_as_the_reference_cuts_it(
    joins: bool, size: int, n: int
) -> None:
    it = sender(size, joins)
    it.put(bytes(n))
    assert it.leave() == slices(raw(bytes(n)), size)


@pytest.mark.parametrize("n", [FULL - 6, FULL - 5, 2 * FULL - 6, 2 * FULL - 5, 200_000])
def test_without_joining_a_long_message_is_cut_as_the_reference_cuts_it(n: int) -> None:
    it = sender(joins=False)
    it.put(bytes(n))
    assert it.leave() == slices(raw(bytes(n)), FULL)


@pytest.mark.parametrize("size", [3, 1_024, FULL])
def test_without_joining_every_message_begins_a_chunk(size: int) -> None:
    it = sender(size, joins=False)
    payloads = [b"", b"one", bytes(2 * size), b"two", b"three"]
    it.put(*payloads)
    expected = [chunk for each in payloads for chunk in slices(raw(each), size)]
    assert it.leave() == expected


def test_small_messages_that_wait_leave_in_one_chunk() -> None:
    it = sender()
    payloads = [bytes([i]) * i for i in range(100)]
    it.put(*payloads)
    assert it.leave() == [b"".join(map(raw, payloads))]


def test_a_message_does_not_wait_for_company() -> None:
    it = sender()
    for payload in (b"one", b"two", b"three"):
        it.put(payload)
        assert it.leave() == [raw(payload)]


@pytest.mark.parametrize(("n", "chunks"), [(994, 1), (995, 2)])
def test_a_joined_chunk_is_filled_to_the_last_byte_and_no_further(
    n: int, chunks: int
) -> None:
    it = sender(1_024)
    it.put(bytes(18), bytes(n))  # 24 bytes, and 1 000 or 1 001
    left = it.leave()
    assert len(left) == chunks
    assert b"".join(left) == raw(bytes(18)) + raw(bytes(n))


def test_what_was_sealed_is_not_joined_any_more() -> None:
    it = sender()
    it.put(b"one")
    assert it.leave() == [raw(b"one")]
    it.put(b"two", b"three")
    assert it.leave() == [raw(b"two") + raw(b"three")]


@pytest.mark.parametrize("n", [FULL - 6, FULL - 5, FULL, FULL + 1, 2 * FULL, 200_000])
@pytest.mark.parametrize("before", [None, 0, 100, FULL - 12, FULL - 11])
@pytest.mark.parametrize("after", [None, 0, 100])
def test_a_big_message_arrives_whole_among_small_ones(
    n: int, before: int | None, after: int | None
) -> None:
    it = sender()
    sizes = [size for size in (before, n, after) if size is not None]
    payloads = [bytes([i + 1]) * size for i, size in enumerate(sizes)]
    it.put(*payloads)
    left = it.leave()
    assert b"".join(left) == b"".join(map(raw, payloads))
    assert all(len(chunk) <= FULL for chunk in left)
    # A header, or the end of a body, may fill a chunk of its own.
    assert len(left) <= sum(map(len, left)) // FULL + 3
    assert it.out.fill == 0


def test_the_end_of_a_big_message_is_joined_with_the_next() -> None:
    it = sender()
    it.put(bytes(FULL + 10), b"next")
    left = it.leave()
    assert left == [raw(bytes(FULL + 10))[:6], bytes(FULL), bytes(10) + raw(b"next")]


def test_the_header_of_a_big_message_is_joined_with_what_waits() -> None:
    it = sender()
    it.put(b"before", bytes(2 * FULL))
    header = raw(bytes(2 * FULL))[:6]
    assert it.leave() == [raw(b"before") + header, bytes(FULL), bytes(FULL)]


def test_a_body_of_many_chunks_is_not_copied() -> None:
    it = sender()
    payload = bytes(10 * FULL)
    it.out.put(raw(payload)[:6], payload)
    assert it.out._waiting is not None
    (part,) = [part for part, _ in it.out._waiting if isinstance(part, memoryview)]
    assert part.obj is payload


# -- room ------------------------------------------------------------------------------


@pytest.mark.parametrize("room", [0, -1, -100_000])
def test_without_room_nothing_is_sealed(room: int) -> None:
    it = sender()
    it.put(b"one")
    assert it.leave(room) == []
    assert (it.out.queued, it.out.sealed) == (9, 0)


@pytest.mark.parametrize("joins", [True, False])
@pytest.mark.parametrize(
    ("room", "chunks"), [(1, 1), (28, 1), (29, 2), (56, 2), (57, 3), (10_000, 10)]
)
def test_chunks_are_sealed_until_the_room_is_used_up(
    joins: bool, room: int, chunks: int
) -> None:
    it = sender(10, joins)
    it.put(bytes(94))
    left = it.leave(room)
    assert len(left) == chunks
    assert it.out.sealed == 10 * chunks
    assert b"".join(left + it.leave()) == raw(bytes(94))


def test_bytes_put_in_and_bytes_that_have_left_are_counted() -> None:
    it = sender(10, joins=False)
    it.put(bytes(14), bytes(4))
    assert (it.out.queued, it.out.sealed) == (30, 0)
    it.leave(1)
    assert (it.out.queued, it.out.sealed) == (30, 10)
    it.leave()
    assert (it.out.queued, it.out.sealed) == (30, 30)


SIZES = st.lists(
    st.one_of(
        st.integers(0, 40),
        st.sampled_from([1_010, 1_017, 1_018, 1_019, 1_023, 1_024, 1_025, 2_048, 5_000]),
    ),
    max_size=14,
)


@settings(max_examples=150)
@given(
    sizes=SIZES,
    rooms=st.lists(st.integers(-2, 4_000), min_size=1, max_size=10),
    joins=st.booleans(),
    size=st.sampled_from([1, 2, 3, 5, 6, 7, 30, 1_023, 1_024, 1_030, FULL]),
)
def test_any_mix_of_messages_leaves_intact_whatever_the_room(
    sizes: list[int], rooms: list[int], joins: bool, size: int
) -> None:
    it = sender(size, joins)
    expected, left = b"", b""
    for number, n in enumerate(sizes):
        payload = bytes([number + 1]) * n
        it.put(payload)
        expected += raw(payload)
        room = rooms[number % len(rooms)]
        chunks = it.leave(room)
        wire = sum(map(len, chunks)) + OVERHEAD * len(chunks)
        assert wire < max(room, 0) + size + OVERHEAD
        assert all(0 < len(chunk) <= size for chunk in chunks)
        left += b"".join(chunks)
        assert (it.out.queued, it.out.sealed) == (len(expected), len(left))
        assert (it.out.fill > 0) == (left != expected)
    left += b"".join(it.leave())
    assert left == expected
    assert it.out.fill == 0


# -- weights ---------------------------------------------------------------------------


@pytest.mark.parametrize("joins", [True, False])
@pytest.mark.parametrize(
    ("size", "n", "chunks"),
    [
        *[(FULL, 0, 1), (FULL, FULL - 6, 1), (FULL, FULL - 5, 2), (FULL, 200_000, 4)],
        *[(3, 0, 2), (3, 1, 3), (10, 4, 1), (10, 5, 2)],
    ],
)
def test_a_message_weighs_its_bytes_its_chunks_and_a_little_more(
    joins: bool, size: int, n: int, chunks: int
) -> None:
    it = sender(size, joins)
    it.put(bytes(n))
    assert it.out.fill == 6 + n + chunks * CHUNK + MESSAGE


def test_the_queue_is_admitted_to_strictly_below_its_limit() -> None:
    weight = 6 + CHUNK + MESSAGE
    for limit, taken in ((2 * weight, False), (2 * weight + 1, True)):
        it = sender(limit=limit)
        it.put(b"")
        assert it.out.put(raw()[:6], b"") is taken


def test_a_message_heavier_than_the_limit_passes_alone() -> None:
    it = sender(limit=10)
    it.put(bytes(100_000))
    assert not it.out.put(raw()[:6], b"")
    it.leave()
    it.put(bytes(100_000))


def test_a_refused_message_changes_nothing_but_what_is_remembered_of_it() -> None:
    it = sender(limit=10)
    it.put(b"one")
    fill = it.out.fill
    for n in (0, 5, 3):
        assert not it.out.put(raw(bytes(n))[:6], bytes(n))
        assert (it.out.fill, it.out.queued) == (fill, 9)
    assert it.out.refused == 6 + 5 + CHUNK + MESSAGE
    assert it.leave() == [raw(b"one")]


def test_what_is_offered_and_finds_no_room_is_not_remembered() -> None:
    it = sender(limit=100)
    big, small = raw(bytes(1_000)), raw(b"two")
    assert it.out.offer(*parts(big))
    assert not it.out.offer(*parts(small))
    assert it.out.refused == 0
    assert not it.out.put(*parts(small))
    refused = it.out.refused
    assert not it.out.offer(*parts(big))  # heavier: and who was refused waits no longer
    assert it.out.refused == refused
    assert b"".join(it.leave()) == big
    assert it.out.ready()
    assert not it.out.ready()
    assert it.out.offer(*parts(small))
    assert it.leave() == [small]


def parts(message: bytes) -> tuple[bytes, bytes]:
    return message[:6], message[6:]


def test_without_a_limit_nothing_is_refused() -> None:
    it = sender(limit=None)
    for _ in range(1_000):
        it.put(bytes(1_000))
    assert it.out.refused == 0
    assert not it.out.ready()


def test_readiness_is_told_once_and_not_before_half_is_free() -> None:
    weight = 10 + CHUNK + MESSAGE
    it = sender(10, joins=False, limit=10 * weight + 1)
    assert not it.out.ready()
    for _ in range(10):
        it.put(bytes(4))
    assert not it.out.put(raw(bytes(4))[:6], bytes(4))
    for _ in range(4):
        it.leave(1)
        assert not it.out.ready()
    it.leave(1)  # 5 of 10 are left
    assert it.out.ready()
    assert not it.out.ready()


def test_there_is_no_readiness_until_what_was_refused_would_be_taken() -> None:
    weight = 10 + CHUNK + MESSAGE
    limit = 10 * weight
    it = sender(10, joins=False, limit=limit)
    for _ in range(6):
        it.put(bytes(4))
    big = raw(bytes(334))  # 34 chunks: more than half of the limit
    assert not it.out.put(big[:6], big[6:])
    while not it.out.ready():
        assert it.leave(1)
    assert it.out.put(big[:6], big[6:])


def test_what_is_heavier_than_the_limit_is_ready_for_when_all_has_left() -> None:
    it = sender(limit=100)
    it.put(b"one")
    big = raw(bytes(1_000))
    assert not it.out.put(big[:6], big[6:])
    assert not it.out.ready()
    it.leave()
    assert it.out.ready()
    assert it.out.put(big[:6], big[6:])


def test_what_was_cleared_does_not_leave() -> None:
    for size in (3, FULL):
        it = sender(size, limit=1_100)
        it.put(b"one", b"two")
        it.out.put(raw(bytes(1_000))[:6], bytes(1_000))
        it.out.clear()
        assert (it.out.fill, it.out.refused, it.leave()) == (0, 0, [])
        assert (it.out.queued, it.out.sealed) == (0, 0)
        assert not it.out.ready()
        it.put(b"three")
        assert b"".join(it.leave()) == raw(b"three")


# -- the last nonce --------------------------------------------------------------------


def test_nothing_is_sealed_behind_the_last_nonce() -> None:
    it = sender(10, nonce=LAST_NONCE - 1)
    it.put(bytes(94))
    assert not it.out.exhausted
    assert it.leave(1) == [raw(bytes(94))[:10]]
    assert not it.out.exhausted
    assert it.leave() == [raw(bytes(94))[10:20]]
    assert it.out.exhausted
