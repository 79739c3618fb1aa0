"""Keys, peer ids, proof of work: known answers, bounds, the search.

Identities: files and tests of the TezEdge node, and a reference node of May 2019, run.
Targets: computed by the reference's arithmetic, and recorded from the node of 2019.
"""

from __future__ import annotations

import hashlib
import math
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spec_strategies import check_ends, check_round_trip, fails, peer_ids
from vectors import RECORDED_KEYS, SELF_MADE_KEYS_A, SELF_MADE_KEYS_B, Keys

from tezos_p2p.spec import (
    DecodeFault,
    EncodeError,
    Identity,
    IdentityError,
    InsufficientProofOfWork,
    KeysMismatch,
    PeerId,
    difficulty_reached,
    expected_tries,
    identity,
    is_enough_work,
    search_stamp,
    target_of,
)
from tezos_p2p.spec.identity import PEER_ID, PUBLIC_KEY, STAMP, work_of

_hex = bytes.fromhex


class Known(NamedTuple):
    """Keys, and the bits of work that their stamp shows, rounded to 0.01."""

    keys: Keys
    level: float


TEZEDGE = [
    Known(
        Keys(
            "idrRoknJh9zwEePNswF3MPGFzmKaVp",
            _hex("5fd7ba1d15650abc9a510c37a8bee566b708fe6577f0d832b903e8f13d71c94a"),
            _hex("213d61d6e41b443bec6bf0d00f17f59dfb4bdca409c9c03887cc5196be12502e"),
            _hex("4b1354dcfc087e52c8fb510317b9464c297b8a55b79bfc95"),
        ),
        26.27,
    ),
    Known(
        Keys(
            "idsyBpzU3VspRyD3GEDWkgUBRqQNti",
            _hex("8072b92ac74f031808b56c916f291b08201a6957c127f51bae66c1a754ad4209"),
            _hex("46d55abdea246d1d3a3cd9ee746e5d17341e5bbf6765bbcd500ebf08fff46dba"),
            _hex("788a80b4326f0e04eef11ae8ce67c69e2db372ff57d3b23b"),
        ),
        29.25,
    ),
    Known(
        Keys(
            "idt6jzf5Sj4MVXTzxtwXUmJpsHR1bf",
            _hex("6e699289a794e629a13335c6fb7cfe6ee143c29609b020a49b5a575593824459"),
            _hex("1053658cc2676b1aa59558b4b693bb77bbce6cbbcb6f2129ed703b056515bd17"),
            _hex("657ef08d3a806354c1a310b64b86a13a79f76302d249995f"),
        ),
        36.62,
    ),
    Known(RECORDED_KEYS, 26.67),
]
#: Of TezEdge too; does not reach the 26 bits that nodes ask for.
WEAK = Known(
    Keys(
        "idtqxHUjbjbCfaDn4jczoPGsnhacKX",
        _hex("a072c7b3e477142689cadee638078b377df5e5793e3cea529d0b718cde59f212"),
        _hex("d37c77a8643c7f7fce9219e9769ed4dd23bc542265da47a64a2613bd199ad74e"),
        _hex("0cfe810d9b4591f0f50721b6811f2981a4274e9d0593bbd0"),
    ),
    2.12,
)
NODE_2019 = [
    Keys(
        "idtFh3uZTdnwGG2boFA8s6yFZHeM7C",
        _hex("ebc28ea052c65fac7e43b97dcf2077de4ba21277d0323b971d7d56e83204225c"),
        _hex("9315f5537a0c011d3f1d0db1e816ba6b054bb4cd10574bf27df8555ab5351e64"),
        bytes(24),
    ),
    Keys(
        "idtYTfTAvS6fhH9WvkXFtRaK6Cij32",
        _hex("c5c53093d7a610bba4f4012c389d6766b56490229663be35b03239c36328d64c"),
        _hex("76d7b2e27bbbfa93febab427262725bf3a6ba53636d0ff27325196f5d5cb17f6"),
        (122).to_bytes(24, "big"),
    ),
    Keys(
        "idr3dL5v3jdobyPbZPVbWekUdBzJyY",
        _hex("eb9a33c8c54cf7d7c68f8b2cfd6431657c8b84bee6510193d7df877bd074dc3e"),
        _hex("af3272a9bd3ef8c7446b047d37a16d278d53d319467337ff7c00b030382ecd3e"),
        (675).to_bytes(24, "big"),
    ),
]
ALL_KEYS = [
    *(known.keys for known in TEZEDGE),
    WEAK.keys,
    *NODE_2019,
    SELF_MADE_KEYS_A,
    SELF_MADE_KEYS_B,
]


def identity_of(keys: Keys) -> Identity:
    return Identity(keys.public_key, keys.secret_key, keys.stamp)


# -- peer ids --------------------------------------------------------------------------

RAW_PEER_IDS = [
    # TezEdge.
    ("idrRoknJh9zwEePNswF3MPGFzmKaVp", "47f5c302e9ed3c9a73279fe9f4ad99b6"),
    ("idqjq34sB6uHWdFzJDB97zwXAdHASb", "167c141625d4ed651b06358dc72dd42d"),
    # Reference node of May 2019.
    ("idtFh3uZTdnwGG2boFA8s6yFZHeM7C", "caffbd0d503774d87de73856070ee0f9"),
    ("idtYTfTAvS6fhH9WvkXFtRaK6Cij32", "dfc08072bd9107d74e08afb2cc3d398d"),
    ("idr3dL5v3jdobyPbZPVbWekUdBzJyY", "2c82d6ae4bb767b5c5d1937c68a4dbc1"),
    ("idtLoJX941ETMceBtUjAZH6kStgCph", "d151f94e913012ee77d1fa9e42d1538f"),
]


@pytest.mark.parametrize(("text", "raw"), RAW_PEER_IDS)
def test_peer_ids_have_their_known_text_and_bytes(text: str, raw: str) -> None:
    peer = PeerId.parse(text)
    assert peer.hex() == raw
    assert str(PeerId(_hex(raw))) == text
    assert repr(peer) == f"PeerId('{text}')"
    assert PEER_ID.encode(peer).hex() == raw
    read = PEER_ID.decode(_hex(raw))
    assert read == peer
    assert type(read) is PeerId


@pytest.mark.parametrize("keys", ALL_KEYS, ids=lambda keys: keys.peer_id)
def test_a_peer_id_is_a_short_hash_of_the_public_key(keys: Keys) -> None:
    assert str(PeerId.of_key(keys.public_key)) == keys.peer_id
    assert PeerId.of_key(keys.public_key) == identity_of(keys).peer_id
    # A parameter of the hash, not a truncation of a longer one.
    assert (
        PeerId.of_key(keys.public_key) != hashlib.blake2b(keys.public_key).digest()[:16]
    )


@given(peer_ids)
def test_every_peer_id_prints_as_thirty_characters_that_are_read_back(
    peer: PeerId,
) -> None:
    text = str(peer)
    assert len(text) == 30
    assert text.startswith("id")
    assert PeerId.parse(text) == peer
    check_ends(PEER_ID, check_round_trip(PEER_ID, peer))


@pytest.mark.parametrize("raw", [bytes(16), b"\xff" * 16])
def test_the_least_and_the_greatest_peer_id_print_alike(raw: bytes) -> None:
    text = str(PeerId(raw))
    assert (len(text), text[:2]) == (30, "id")
    assert PeerId.parse(text) == raw


TEXT = "idqSpQPFDBN4yMhLEzwtqGgxRLNrj4"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "'' has 0 characters, a peer id 30"),
        (TEXT[:-1], "has 29 characters, a peer id 30"),
        (TEXT + "1", "has 31 characters, a peer id 30"),
        ("1" + TEXT, "has 31 characters, a peer id 30"),
        ("x" * 1000, f"'{'x' * 40}' has 1000 characters"),
        (TEXT.replace("S", "0"), "'0' at position 3 of "),
        (TEXT.replace("S", "l"), "'l' at position 3 of "),
        (TEXT.replace("S", "\u0661"), "'\u0661' at position 3 of "),
        (TEXT[:-1] + " ", "' ' at position 29 of "),
        ("1" * 30, "does not begin as a peer id does"),
        ("z" * 30, "does not begin as a peer id does"),
        ("ie" + TEXT[2:], "does not begin as a peer id does"),
        (TEXT[:-1] + "5", "has a wrong checksum"),
        (TEXT[:9] + "z" + TEXT[10:], "has a wrong checksum"),
        (TEXT[:5] + TEXT[6] + TEXT[5] + TEXT[7:], "has a wrong checksum"),
    ],
)
def test_text_that_is_no_peer_id_is_refused_with_the_reason(
    text: str, complaint: str
) -> None:
    with pytest.raises(ValueError) as caught:
        PeerId.parse(text)
    assert complaint in str(caught.value)


@given(
    st.integers(0, 29),
    st.sampled_from("123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"),
)
def test_any_single_mistyped_character_is_noticed(position: int, char: str) -> None:
    if TEXT[position] == char:
        return
    with pytest.raises(ValueError):
        PeerId.parse(TEXT[:position] + char + TEXT[position + 1 :])


@pytest.mark.parametrize("size", [0, 15, 17, 32])
def test_a_peer_id_has_sixteen_bytes(size: int) -> None:
    with pytest.raises(ValueError, match=f"a peer id has 16 bytes, not {size}"):
        PeerId(bytes(size))
    assert fails(PEER_ID, bytes(size)).fault is (
        DecodeFault.NOT_ENOUGH_DATA if size < 16 else DecodeFault.EXTRA_BYTES
    )


@pytest.mark.parametrize("value", [16, 0, TEXT, None, [0] * 16])
def test_what_is_no_bytes_is_no_peer_id_on_write(value: object) -> None:
    # bytes(16) would be sixteen zeros.
    with pytest.raises(EncodeError) as caught:
        PEER_ID.encode(value)
    assert str(caught.value) == f"value: {value!r} is no peer id"


@pytest.mark.parametrize("size", [0, 15, 17])
def test_bytes_of_another_size_are_no_peer_id_on_write(size: int) -> None:
    with pytest.raises(EncodeError, match=f"^value: {size} bytes, 16 wanted$"):
        PEER_ID.encode(bytes(size))


@pytest.mark.parametrize(("codec", "size"), [(PUBLIC_KEY, 32), (STAMP, 24)])
def test_keys_and_stamps_have_a_fixed_size(codec: object, size: int) -> None:
    assert codec in (PUBLIC_KEY, STAMP)
    kind = PUBLIC_KEY if codec is PUBLIC_KEY else STAMP
    raw = bytes(range(size))
    check_ends(kind, check_round_trip(kind, raw))
    for wrong in (raw[1:], raw + b"\0"):
        with pytest.raises(EncodeError):
            kind.encode(wrong)


# -- targets ---------------------------------------------------------------------------

TARGETS = [
    # Computed by the reference's arithmetic.
    (0, "f" * 64),
    (1, "7" + "f" * 63),
    (3.5, "16a09e667f3bcd7f" + "f" * 48),
    (24, "000000" + "f" * 58),
    (26, "0000003f" + "f" * 56),
    (26.5, "0000002d413cccfe779a" + "f" * 44),
    (201, "0" * 50 + "7fffffffffffff"),
    (202, "0" * 50 + "3fffffffffffff"),
    (203.25, "1ae89f995ad3ad"),
    (255, "1"),
    (256, "0"),
    # Recorded from a reference node of May 2019.
    (8, "ff" * 31),
    (12.5, "b504f333f9de6b" + "f" * 47),
    (15.999, "1002d711c79a8e7" + "f" * 46),
    (16, "f" * 60),
    (20, "f" * 59),
]


@pytest.mark.parametrize(("difficulty", "target"), TARGETS)
def test_targets_are_those_of_the_reference(difficulty: float, target: str) -> None:
    assert target_of(difficulty) == int(target, 16)


@pytest.mark.parametrize(
    "difficulty", [-1, -1e-9, 256.0000001, 257, math.inf, -math.inf, math.nan]
)
def test_a_difficulty_out_of_range_is_refused(difficulty: float) -> None:
    with pytest.raises(ValueError, match=r"is not in 0\.0\.\.256\.0$"):
        target_of(difficulty)
    with pytest.raises(ValueError):
        expected_tries(difficulty)
    with pytest.raises(ValueError):
        next(search_stamp(bytes(32), difficulty, 0))
    with pytest.raises(ValueError):
        identity_of(NODE_2019[0]).check(difficulty)


#: Fractions that survive their subtraction from 54 in double arithmetic.
difficulties = st.integers(0, 256 << 40).map(lambda number: number / (1 << 40))


@given(difficulties, difficulties)
def test_more_difficulty_never_means_a_larger_target(one: float, two: float) -> None:
    low, high = sorted((one, two))
    assert 0 <= target_of(high) <= target_of(low) < 1 << 256


def test_a_fraction_lost_in_double_arithmetic_gives_a_mantissa_of_a_power_of_two() -> (
    None
):
    # What the formula says, and a hash value never notices: 54 - 2^-60 is 54.
    assert target_of(2.0**-60) == 1 << 256 | ((1 << 202) - 1)
    assert is_enough_work(bytes(32), bytes(24), target_of(2.0**-60))


@given(st.floats(0, 200))
def test_a_target_is_two_to_the_power_of_what_is_left(difficulty: float) -> None:
    assert math.log2(target_of(difficulty) + 1) == pytest.approx(256 - difficulty)


# -- checks ----------------------------------------------------------------------------

K0, K1, K2 = (keys.public_key for keys in NODE_2019)
K3 = _hex("af37da23184f859fa755b3d941df5f87ab9e8378ab08382cc4b08148e0fbd82c")
K4 = _hex("8b221b7fee5452878211e9cbbd087199386d91fb4bec22cabe831f5135da3e2c")

#: Public key, stamp, difficulties reached and not reached: a reference node of May 2019.
CHECKS = [
    (K0, 0, (0,), (8, 13, 17, 20, 256)),
    (K1, 122, (4,), (12.5, 16, 18, 26)),
    (K2, 675, (0, 8), (13, 17, 20, 256)),
    (K3, 0x8316, (4, 12.5, 16), (18, 26)),
    (K4, 0x140F2, (0, 8, 13, 17, 20), (256,)),
]


@pytest.mark.parametrize(("key", "stamp", "reached", "missed"), CHECKS)
def test_stamps_reach_the_difficulties_they_reached_in_2019(
    key: bytes, stamp: int, reached: tuple[float, ...], missed: tuple[float, ...]
) -> None:
    raw = stamp.to_bytes(24, "big")
    assert all(is_enough_work(key, raw, target_of(d)) for d in reached)
    assert not any(is_enough_work(key, raw, target_of(d)) for d in missed)


@pytest.mark.parametrize(
    ("keys", "digest"),
    [
        (
            NODE_2019[0],
            "7d0c2feb8d58e6a420a3f2a99436d7a58994035a270b25d6c28a7bb8e270841c",
        ),
        (
            NODE_2019[1],
            "6d251017eebec597273790028dcc1152fce258dac06d1f52806b0e4464754000",
        ),
        (
            NODE_2019[2],
            "969108a70ffcd445dcca1cf49dd132042b6a60b715ad5f696446506137dc0a00",
        ),
    ],
)
def test_the_hash_is_read_with_its_last_byte_first(keys: Keys, digest: str) -> None:
    work = work_of(keys.public_key, keys.stamp)
    assert work == int.from_bytes(_hex(digest), "little")


def test_the_byte_order_is_that_of_two_decimal_values_of_tezedge() -> None:
    # Hashes whose value as an integer TezEdge states in its proof-of-work tests.
    assert int.from_bytes(
        _hex("6a9b7e0243f052c67124d54abd23991734e7dad8a53ab7d82fd96b4e0b000000"), "little"
    ) == int("304818138341606080779209476504996542811599673553028925663939963820906")
    key = _hex("d8246d13d0270cbfff4046b6d94b05ab19920bc5ad9fb77f3e945c40b340e874")
    stamp = _hex("d1d0ebd55784bc92852d913dbf0fb5152d505b567d930fb2")
    digest = _hex("6f5b26c392eee6b98fa6d6623055540834a4d563f1f8359233e2563d25000000")
    assert work_of(key, stamp) == int.from_bytes(digest, "little")
    assert is_enough_work(key, stamp, target_of(24.0))
    assert is_enough_work(key, stamp, target_of(26.0))
    assert not is_enough_work(key, stamp, target_of(27.0))
    assert difficulty_reached(key, stamp) == pytest.approx(26.78, abs=0.005)


def test_a_hash_equal_to_the_target_is_enough() -> None:
    work = work_of(K0, bytes(24))
    assert is_enough_work(K0, bytes(24), work)
    assert not is_enough_work(K0, bytes(24), work - 1)


@pytest.mark.parametrize("known", [*TEZEDGE, WEAK], ids=lambda known: known.keys.peer_id)
def test_stamps_show_the_work_that_went_into_them(known: Known) -> None:
    reached = difficulty_reached(known.keys.public_key, known.keys.stamp)
    assert reached == pytest.approx(known.level, abs=0.006)
    assert identity_of(known.keys).difficulty == reached
    assert is_enough_work(*known.keys[1::2], target_of(math.floor(reached)))
    assert not is_enough_work(*known.keys[1::2], target_of(math.ceil(reached)))


@pytest.mark.parametrize(
    ("difficulty", "tries"), [(0, 1), (1, 2), (8, 256), (26, 1 << 26), (256, 2.0**256)]
)
def test_each_bit_doubles_the_tries_to_expect(difficulty: float, tries: float) -> None:
    assert expected_tries(difficulty) == tries


# -- search ----------------------------------------------------------------------------


def find(key: bytes, difficulty: float, first: int, batch: int = 1000) -> bytes:
    """Search to the end."""
    for step in search_stamp(key, difficulty, first, batch):
        if step is not None:
            return step
    raise AssertionError("the search ended without a stamp")


@pytest.mark.parametrize(
    ("key", "difficulty", "increments"), [(K0, 0, 0), (K1, 8, 122), (K2, 12.5, 675)]
)
@pytest.mark.parametrize("batch", [1, 100, 10_000])
def test_the_search_finds_the_first_stamp_as_the_node_of_2019_did(
    key: bytes, difficulty: float, increments: int, batch: int
) -> None:
    steps = list(search_stamp(key, difficulty, 0, batch))
    assert steps == [None] * (increments // batch) + [increments.to_bytes(24, "big")]


def test_the_search_agrees_with_trying_every_stamp() -> None:
    for difficulty in (0.5, 3.25, 7.999, 8.0, 9.0):
        for first in (0, 1000, 1 << 100):
            number = first
            target = target_of(difficulty)
            while not is_enough_work(K3, number.to_bytes(24, "big"), target):
                number += 1
            assert find(K3, difficulty, first) == number.to_bytes(24, "big")


@pytest.mark.parametrize("batch", [1, 3, 5, 1000])
def test_the_search_wraps_from_the_last_stamp_to_zero(batch: int) -> None:
    # The first stamp from zero on that reaches 8 bits is 122, and the last five stamps
    # of all do not reach it.
    last = (1 << 192) - 5
    assert find(K1, 8, last, batch) == (122).to_bytes(24, "big")
    steps = list(search_stamp(K1, 8, last, batch))
    assert len(steps) - 1 == 127 // batch


def test_a_first_stamp_beyond_192_bits_is_taken_modulo_them() -> None:
    assert find(K1, 8, (1 << 192) + 100) == (122).to_bytes(24, "big")
    assert find(K1, 8, -5) == (122).to_bytes(24, "big")


def test_a_search_can_be_left_and_gone_on_with() -> None:
    search = search_stamp(K2, 12.5, 0, 100)
    assert [next(search) for _ in range(6)] == [None] * 6
    other = search_stamp(K1, 8, 0, 1000)
    assert next(other) == (122).to_bytes(24, "big")
    assert next(search) == (675).to_bytes(24, "big")
    assert next(search, "end") == "end"


def test_a_search_at_difficulty_zero_takes_the_first_stamp() -> None:
    assert list(search_stamp(K0, 0, 77)) == [(77).to_bytes(24, "big")]


def test_a_search_at_difficulty_256_goes_on_without_a_find() -> None:
    search = search_stamp(K0, 256, 0, 10)
    assert [next(search) for _ in range(50)] == [None] * 50


def test_whole_zero_bytes_are_not_all_that_counts() -> None:
    # 8 bits are a whole byte; half a bit more must refuse some of what passes there.
    eight = [find(K4, 8, first) for first in range(0, 5000, 500)]
    assert any(not is_enough_work(K4, stamp, target_of(8.5)) for stamp in eight)
    more = [find(K4, 8.5, first) for first in range(0, 5000, 500)]
    assert all(is_enough_work(K4, stamp, target_of(8.5)) for stamp in more)


# -- identities ------------------------------------------------------------------------


@pytest.mark.parametrize("keys", ALL_KEYS, ids=lambda keys: keys.peer_id)
def test_known_identities_are_sound(keys: Keys) -> None:
    one = identity_of(keys)
    one.check()
    assert Identity.of_secret(keys.secret_key, keys.stamp) == one
    assert Identity.of_secret(keys.secret_key).proof_of_work_stamp == bytes(24)


@pytest.mark.parametrize(
    ("sizes", "complaint"),
    [
        ((0, 32, 24), "public_key has 0 bytes, 32 wanted"),
        ((31, 32, 24), "public_key has 31 bytes, 32 wanted"),
        ((33, 32, 24), "public_key has 33 bytes, 32 wanted"),
        ((32, 1, 24), "secret_key has 1 bytes, 32 wanted"),
        ((32, 31, 24), "secret_key has 31 bytes, 32 wanted"),
        ((32, 64, 24), "secret_key has 64 bytes, 32 wanted"),
        ((32, 32, 0), "proof_of_work_stamp has 0 bytes, 24 wanted"),
        ((32, 32, 23), "proof_of_work_stamp has 23 bytes, 24 wanted"),
        ((32, 32, 25), "proof_of_work_stamp has 25 bytes, 24 wanted"),
        # The first of many.
        ((1, 2, 3), "public_key has 1 bytes, 32 wanted"),
    ],
)
def test_an_identity_is_made_of_parts_of_the_right_size(
    sizes: tuple[int, int, int], complaint: str
) -> None:
    with pytest.raises(IdentityError) as caught:
        Identity(*map(bytes, sizes))
    assert str(caught.value) == complaint


@pytest.mark.parametrize("size", [0, 1, 31, 33])
def test_a_secret_of_another_size_makes_no_identity(size: int) -> None:
    with pytest.raises(IdentityError) as caught:
        Identity.of_secret(b"\x05" * size)
    assert str(caught.value) == f"secret_key has {size} bytes, 32 wanted"


def test_a_stamp_of_another_size_makes_no_identity() -> None:
    with pytest.raises(IdentityError) as caught:
        Identity.of_secret(bytes(range(32)), bytes(25))
    assert str(caught.value) == "proof_of_work_stamp has 25 bytes, 24 wanted"


@pytest.mark.parametrize("known", TEZEDGE, ids=lambda known: known.keys.peer_id)
def test_identities_that_worked_enough_pass_the_usual_check(known: Known) -> None:
    identity_of(known.keys).check(identity.DEFAULT_DIFFICULTY)
    assert identity.DEFAULT_DIFFICULTY == 26.0


def test_an_identity_that_worked_too_little_says_how_much() -> None:
    weak = identity_of(WEAK.keys)
    weak.check(2)
    with pytest.raises(InsufficientProofOfWork) as caught:
        weak.check(26)
    assert str(caught.value) == (
        "proof of work reaches 2.12 bits, 26 are expected: search for a better stamp"
    )
    assert isinstance(caught.value, IdentityError)


def test_keys_that_do_not_belong_together_are_noticed_before_the_work() -> None:
    mixed = Identity(K0, NODE_2019[1].secret_key, bytes(24))
    for difficulty in (None, 256):
        with pytest.raises(KeysMismatch, match=f"^public key {K0.hex()} does not belong"):
            mixed.check(difficulty)


def test_an_identity_never_shows_its_secret_key() -> None:
    keys = NODE_2019[1]
    shown = repr(identity_of(keys))
    assert keys.public_key.hex() in shown
    assert keys.peer_id in shown
    assert keys.secret_key.hex() not in shown
    assert repr(keys.secret_key) not in shown
    with pytest.raises(KeysMismatch) as caught:
        Identity(K0, keys.secret_key, bytes(24)).check()
    assert keys.secret_key.hex() not in str(caught.value)


def test_the_docstring_names_the_fields_of_message_and_file() -> None:
    assert identity.__doc__ is not None
    for word in ("public_key", "proof_of_work_stamp", "peer_id", "secret_key", "26.0"):
        assert word in identity.__doc__
