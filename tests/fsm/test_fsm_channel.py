"""Chunks, nonces, shared keys, frames: against recorded bytes and PyNaCl itself."""

from __future__ import annotations

import hashlib

import pytest
from nacl.bindings import crypto_box_afternm, crypto_box_beforenm, crypto_scalarmult_base
from vectors import (
    BOX_TEZEDGE,
    CHUNKS,
    NONCE_INCREMENTS,
    NONCE_PLUS_65537,
    NONCES,
    RECORDED_INITIATOR,
    RECORDED_RESPONDER,
    RECORDED_SHARED_KEY,
    SELF_MADE_A,
    SELF_MADE_B,
    SELF_MADE_SHARED_KEY,
    SHARED_KEYS,
    Chunk,
    Nonces,
    SharedKey,
    Side,
)

from tezos_p2p.fsm import Channel, ChannelError, KeyCache
from tezos_p2p.fsm.channel import KEY_CACHE_SIZE, Frames, derive_nonces
from tezos_p2p.spec import ErrorKind, PeerId, target_of

KEY = bytes(range(32))
#: Every hash passes.
ANY = (1 << 256) - 1
#: None but zero passes.
NONE = 0
SECRET = b"\x01" * 32
STAMP = bytes(24)


def number(nonce: bytes) -> int:
    return int.from_bytes(nonce, "big")


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(2, "big") + body


def sealed(plaintext: bytes, nonce: int = 0, key: bytes = KEY) -> bytes:
    """Make a whole chunk with PyNaCl alone."""
    return framed(crypto_box_afternm(plaintext, nonce.to_bytes(24, "big"), key))


def text(size: int) -> bytes:
    return bytes(i * 7 % 251 for i in range(size))


# -- nonces ----------------------------------------------------------------------------


@pytest.mark.parametrize("case", NONCES)
def test_first_nonces_are_those_that_other_implementations_derive(case: Nonces) -> None:
    if case.incoming:
        receive, send = derive_nonces(case.received, case.sent)
    else:
        send, receive = derive_nonces(case.sent, case.received)
    assert send == number(case.local)
    assert receive == number(case.remote)


def test_who_dials_sends_with_the_nonce_that_is_named_for_the_other_direction() -> None:
    digest = hashlib.blake2b(b"ir" + b"Resp -> Init", digest_size=32).digest()
    assert derive_nonces(b"i", b"r")[0] == number(digest[:24])


@pytest.mark.parametrize(("before", "after"), NONCE_INCREMENTS, ids=bytes.hex)
def test_a_nonce_grows_by_one_with_each_chunk_and_wraps(
    before: bytes, after: bytes
) -> None:
    sender = Channel(KEY, number(before), 5)
    receiver = Channel(KEY, 6, number(before))
    _, body = sender.seal(b"one")
    assert receiver.open(body) == b"one"
    assert (sender.send_nonce, sender.receive_nonce) == (number(after), 5)
    assert (receiver.send_nonce, receiver.receive_nonce) == (6, number(after))
    assert receiver.open(sender.seal(b"two")[1]) == b"two"


def test_chunks_on_both_sides_of_the_wrap_use_all_ones_and_all_zeros() -> None:
    channel = Channel(KEY, (1 << 192) - 1, 0)
    assert b"".join(channel.seal(b"last")) == sealed(b"last", (1 << 192) - 1)
    assert b"".join(channel.seal(b"first")) == sealed(b"first", 0)


@pytest.mark.parametrize(("before", "after"), NONCE_PLUS_65537, ids=bytes.hex)
def test_a_nonce_carries_over_into_its_third_byte(before: bytes, after: bytes) -> None:
    channel = Channel(KEY, number(before), 0)
    for _ in range(65_537):
        channel.seal(b"")
    assert channel.send_nonce == number(after)


# -- sealing and opening ---------------------------------------------------------------


@pytest.mark.parametrize("case", CHUNKS)
def test_a_chunk_is_sealed_as_other_implementations_do(case: Chunk) -> None:
    channel = Channel(case.shared_key, number(case.nonce), 0)
    assert b"".join(channel.seal(case.plaintext)) == case.frame


@pytest.mark.parametrize("case", CHUNKS)
def test_a_chunk_of_other_implementations_is_opened(case: Chunk) -> None:
    channel = Channel(case.shared_key, 0, number(case.nonce))
    assert channel.open(case.frame[2:]) == case.plaintext


@pytest.mark.parametrize(
    ("key", "side"),
    [
        (RECORDED_SHARED_KEY, RECORDED_INITIATOR),
        (RECORDED_SHARED_KEY, RECORDED_RESPONDER),
        (SELF_MADE_SHARED_KEY, SELF_MADE_A),
        (SELF_MADE_SHARED_KEY, SELF_MADE_B),
    ],
)
def test_a_session_is_sealed_and_opened_chunk_by_chunk(key: bytes, side: Side) -> None:
    first = number(side.first_nonce)
    ours, theirs = Channel(key, first, 0), Channel(key, 0, first)
    for chunk in (side.metadata, side.ack, side.message):
        assert b"".join(ours.seal(chunk.plaintext)) == chunk.frame
        assert theirs.open(chunk.frame[2:]) == chunk.plaintext


SIZES = [*range(19), 32_767, 32_768, 65_502, 65_503, 65_504, 65_516, 65_517]


@pytest.mark.parametrize("size", SIZES)
def test_a_chunk_of_any_legal_size_is_sealed_and_opened(size: int) -> None:
    plaintext = text(size)
    header, body = Channel(KEY, 7, 0).seal(plaintext)
    assert header + body == sealed(plaintext, 7)
    assert header == (size + 16).to_bytes(2, "big")
    assert Channel(KEY, 0, 7).open(body) == plaintext


@pytest.mark.parametrize("size", [65_518, 65_519, 65_520, 100_000])
def test_more_plaintext_than_a_chunk_may_be_sent_with_is_refused(size: int) -> None:
    channel = Channel(KEY, 7, 0)
    with pytest.raises(ValueError, match=f"{size} bytes of plaintext, limit 65517"):
        channel.seal(bytes(size))
    assert channel.send_nonce == 7


@pytest.mark.parametrize("size", [65_518, 65_519])
def test_a_chunk_longer_than_we_would_send_is_opened(size: int) -> None:
    plaintext = text(size)
    assert Channel(KEY, 0, 3).open(sealed(plaintext, 3)[2:]) == plaintext


@pytest.mark.parametrize("kind", [bytes, memoryview], ids=["bytes", "memoryview"])
def test_views_are_sealed_and_opened_as_bytes_are(kind: type) -> None:
    assert b"".join(Channel(KEY, 1, 0).seal(kind(b"view"))) == sealed(b"view", 1)
    assert Channel(KEY, 0, 1).open(kind(sealed(b"view", 1)[2:])) == b"view"


def test_a_view_of_the_middle_of_a_buffer_is_sealed_and_opened() -> None:
    view = memoryview(b"<<view>>")[2:6]
    assert b"".join(Channel(KEY, 1, 0).seal(view)) == sealed(b"view", 1)
    framed_view = memoryview(b"??" + sealed(b"view", 1) + b"??")[4:-2]
    assert Channel(KEY, 0, 1).open(framed_view) == b"view"


@pytest.mark.parametrize("bit", range(8 * 19))
def test_one_bit_changed_anywhere_and_a_chunk_does_not_open(bit: int) -> None:
    body = bytearray(sealed(b"abc", 9)[2:])
    body[bit // 8] ^= 1 << bit % 8
    channel = Channel(KEY, 0, 9)
    with pytest.raises(ChannelError) as caught:
        channel.open(bytes(body))
    assert caught.value.kind is ErrorKind.DECIPHER_ERROR
    assert caught.value.detail == "chunk of 19 bytes"
    assert str(caught.value) == "a chunk does not decrypt: chunk of 19 bytes"
    # Spent all the same.
    assert channel.receive_nonce == 10


@pytest.mark.parametrize("size", range(16))
def test_a_body_shorter_than_its_tag_does_not_open(size: int) -> None:
    with pytest.raises(ChannelError) as caught:
        Channel(KEY, 0, 9).open(bytes(size))
    assert caught.value.kind is ErrorKind.DECIPHER_ERROR


@pytest.mark.parametrize("nonce", [8, 10, 9 + (1 << 64), 9 << 8])
def test_a_chunk_opens_with_no_other_nonce(nonce: int) -> None:
    with pytest.raises(ChannelError):
        Channel(KEY, 0, nonce).open(sealed(b"abc", 9)[2:])


def test_a_chunk_opens_with_no_other_key() -> None:
    with pytest.raises(ChannelError):
        Channel(KEY[::-1], 0, 9).open(sealed(b"abc", 9)[2:])


def test_the_same_chunk_does_not_open_twice() -> None:
    channel = Channel(KEY, 0, 9)
    assert channel.open(sealed(b"abc", 9)[2:]) == b"abc"
    with pytest.raises(ChannelError):
        channel.open(sealed(b"abc", 9)[2:])


def test_fingerprints_tell_whether_two_ends_agree() -> None:
    ours, theirs = Channel(KEY, 1, 2), Channel(KEY, 2, 1)
    assert ours.fingerprints == theirs.fingerprints[::-1]
    assert [len(bytes.fromhex(text)) for text in ours.fingerprints] == [8, 8]
    before = ours.fingerprints
    ours.seal(b"")
    assert ours.fingerprints[0] != before[0]
    assert ours.fingerprints[1] == before[1]
    assert Channel(KEY[::-1], 1, 2).fingerprints != before


# -- frames ----------------------------------------------------------------------------


def test_a_frame_is_given_once_it_is_complete() -> None:
    frames = Frames()
    wire = b"\0\x03abc"
    for at in range(len(wire)):
        assert frames.next(0, 65_535) is None
        frames.feed(wire[at : at + 1])
    assert frames.next(0, 65_535) == b"abc"
    assert frames.next(0, 65_535) is None
    assert len(frames) == 0


def test_frames_fed_together_are_given_one_by_one() -> None:
    frames = Frames()
    frames.feed(b"\0\x02ab\0\0\0\x01c\0")
    assert [frames.next(0, 10) for _ in range(4)] == [b"ab", b"", b"c", None]
    assert frames.drain() == b"\0"


@pytest.mark.parametrize("size", [0, 1, 15])
def test_a_frame_too_short_is_refused_on_its_length_alone(size: int) -> None:
    frames = Frames()
    frames.feed(size.to_bytes(2, "big"))
    with pytest.raises(
        ChannelError, match=f"chunk of {size} bytes, at least 16 wanted"
    ) as e:
        frames.next(16, 65_535)
    assert e.value.kind is ErrorKind.INVALID_INCOMING_CIPHERTEXT_SIZE


@pytest.mark.parametrize(("size", "most"), [(19, 18), (65_535, 18), (65_535, 65_534)])
def test_a_frame_too_long_is_refused_on_its_length_alone(size: int, most: int) -> None:
    frames = Frames()
    frames.feed(size.to_bytes(2, "big"))
    with pytest.raises(
        ChannelError, match=f"chunk of {size} bytes, limit {most} here"
    ) as e:
        frames.next(16, most)
    assert e.value.kind is ErrorKind.DECODING_ERROR


@pytest.mark.parametrize("size", [16, 17, 18])
def test_a_frame_at_either_limit_is_given(size: int) -> None:
    frames = Frames()
    frames.feed(framed(bytes(size)))
    assert frames.next(16, 18) == bytes(size)


def test_room_is_what_the_longest_frame_leaves() -> None:
    frames = Frames()
    assert frames.room == 65_537
    frames.feed(bytes(65_536))
    assert frames.room == 1
    frames.feed(b"\0")
    assert frames.room == 0
    frames.feed(b"\0")
    assert frames.room == 0
    assert len(frames) == 65_538


def test_a_drained_buffer_is_empty_and_can_be_fed_again() -> None:
    frames = Frames()
    frames.feed(b"\0\x05ab")
    assert frames.drain() == b"\0\x05ab"
    assert frames.drain() == b""
    frames.feed(b"\0\x01c")
    assert frames.next(0, 10) == b"c"


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_buffer_that_was_fed_may_be_reused_at_once(kind: type) -> None:
    buffer = bytearray(b"\0\x03abc")
    frames = Frames()
    frames.feed(kind(buffer))
    buffer[:] = b"\xff" * 5
    assert frames.next(0, 10) == b"abc"


# -- the cache of shared keys ----------------------------------------------------------


def public(n: int) -> bytes:
    secret = hashlib.blake2b(n.to_bytes(4, "big"), digest_size=32).digest()
    return crypto_scalarmult_base(secret)


def met(cache: KeyCache, n: int, stamp: bytes = STAMP) -> bytes:
    """Meet peer n and return the key."""
    known = cache.meet(public(n), stamp)
    assert not isinstance(known, ErrorKind)
    return known.shared_key


@pytest.mark.parametrize("case", SHARED_KEYS)
def test_a_shared_key_is_the_one_that_other_implementations_agree_on(
    case: SharedKey,
) -> None:
    known = KeyCache(case.secret_key, ANY).meet(case.public_key, STAMP)
    assert not isinstance(known, ErrorKind)
    assert known.shared_key == case.shared_key
    assert known.stamp == STAMP
    assert known.peer_id == PeerId.of_key(case.public_key)


def test_the_chunk_of_the_same_origin_opens_with_it() -> None:
    case = SHARED_KEYS[0]
    known = KeyCache(case.secret_key, ANY).meet(case.public_key, STAMP)
    assert not isinstance(known, ErrorKind)
    channel = Channel(known.shared_key, 0, number(BOX_TEZEDGE.nonce))
    assert channel.open(BOX_TEZEDGE.frame[2:]) == BOX_TEZEDGE.plaintext


def test_a_peer_that_returns_costs_no_second_agreement() -> None:
    cache = KeyCache(SECRET, ANY)
    first = cache.meet(public(7), STAMP)
    assert cache.agreements == 1
    assert cache.meet(public(7), STAMP) is first
    assert (cache.agreements, len(cache)) == (1, 1)


def test_a_new_stamp_of_a_known_key_is_checked_and_remembered_without_agreement() -> None:
    cache = KeyCache(SECRET, ANY)
    key = met(cache, 7)
    newer = cache.meet(public(7), b"\x05" * 24)
    assert not isinstance(newer, ErrorKind)
    assert (newer.shared_key, newer.stamp) == (key, b"\x05" * 24)
    assert (cache.agreements, len(cache)) == (1, 1)
    assert cache.meet(public(7), b"\x05" * 24) is newer


def test_a_bad_stamp_of_a_known_key_is_refused_and_the_good_one_kept() -> None:
    # A target that the stamp of zeros just reaches, and another does not.
    work = {stamp: work_of(7, stamp) for stamp in (STAMP, b"\x05" * 24)}
    good, bad = sorted(work, key=work.__getitem__)
    cache = KeyCache(SECRET, work[good])
    known = cache.meet(public(7), good)
    assert cache.meet(public(7), bad) is ErrorKind.NOT_ENOUGH_PROOF_OF_WORK
    assert cache.meet(public(7), good) is known
    assert cache.agreements == 1


def work_of(n: int, stamp: bytes) -> int:
    digest = hashlib.blake2b(public(n) + stamp, digest_size=32).digest()
    return int.from_bytes(digest, "little")


def test_work_equal_to_the_target_is_enough_and_one_more_is_not() -> None:
    work = work_of(7, STAMP)
    assert met(KeyCache(SECRET, work), 7)
    cache = KeyCache(SECRET, work - 1)
    assert cache.meet(public(7), STAMP) is ErrorKind.NOT_ENOUGH_PROOF_OF_WORK
    assert (cache.agreements, len(cache)) == (0, 0)


def test_a_flood_of_bad_stamps_costs_no_agreement_and_no_memory() -> None:
    cache = KeyCache(SECRET, NONE)
    for n in range(1, 50):
        assert cache.meet(public(n), STAMP) is ErrorKind.NOT_ENOUGH_PROOF_OF_WORK
    assert (cache.agreements, len(cache)) == (0, 0)


@pytest.mark.parametrize("capacity", [1, 2, 3])
def test_one_past_the_capacity_the_least_recently_used_goes(capacity: int) -> None:
    cache = KeyCache(SECRET, ANY, capacity)
    for n in range(1, capacity + 1):
        met(cache, n)
    assert len(cache) == cache.agreements == capacity
    met(cache, 1)  # used again: now the most recent
    met(cache, 99)
    assert len(cache) == capacity
    assert cache.agreements == capacity + 1
    survivors = [99, *([1] if capacity > 1 else []), *range(3, capacity + 1)]
    for n in survivors:
        met(cache, n)
    assert cache.agreements == capacity + 1
    met(cache, 2 if capacity > 1 else 1)  # the one that went
    assert cache.agreements == capacity + 2


def test_a_new_stamp_makes_a_key_the_most_recent() -> None:
    cache = KeyCache(SECRET, ANY, 2)
    met(cache, 1)
    met(cache, 2)
    met(cache, 1, b"\x05" * 24)
    met(cache, 3)
    met(cache, 1, b"\x05" * 24)
    assert cache.agreements == 3
    met(cache, 2)
    assert cache.agreements == 4


def test_the_default_capacity_is_kept_to() -> None:
    cache = KeyCache(SECRET, ANY)
    assert cache.capacity == KEY_CACHE_SIZE == 1024
    for n in range(1, 1026):
        cache.meet(
            hashlib.blake2b(bytes([n % 256, n // 256]), digest_size=32).digest(), STAMP
        )
        assert len(cache) == min(n, 1024)
    assert cache.agreements == 1025


def test_a_cache_of_no_capacity_remembers_nothing_and_still_agrees() -> None:
    cache = KeyCache(SECRET, ANY, 0)
    key = met(cache, 7)
    assert met(cache, 7) == key == crypto_box_beforenm(public(7), SECRET)
    assert (cache.agreements, len(cache)) == (2, 0)


#: The u-coordinates of order 1, 2, 4 and 8 on the curve and its twist, little-endian,
#: reduced or not, below 2^255; X25519 ignores the top bit, hence each twice.
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
def test_a_point_of_low_order_makes_no_key_and_is_not_tried_twice(point: bytes) -> None:
    cache = KeyCache(SECRET, ANY)
    for _ in range(3):
        assert cache.meet(point, STAMP) is ErrorKind.LOW_ORDER_KEY
        assert (cache.agreements, len(cache)) == (1, 1)
    assert cache.meet(point, b"\1" * 24) is ErrorKind.LOW_ORDER_KEY
    assert cache.agreements == 1


def test_work_is_asked_for_before_a_point_of_low_order_is_noticed() -> None:
    cache = KeyCache(SECRET, target_of(26))
    assert cache.meet(bytes(32), STAMP) is ErrorKind.NOT_ENOUGH_PROOF_OF_WORK
    assert cache.agreements == 0


def test_what_is_known_of_a_peer_does_not_show_the_key() -> None:
    cache = KeyCache(SECRET, ANY)
    known = cache.meet(public(7), STAMP)
    assert not isinstance(known, ErrorKind)
    assert repr(known.shared_key)[2:12] not in repr(known)
    assert known.shared_key.hex() not in repr(known)
