"""Rations and counts: what one prefix gets, against plain models."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tezos_p2p.fsm.machine import LocalProtocolError
from tezos_p2p.fsm.prefix import Prefix, prefix_of
from tezos_p2p.fsm.ration import Counts, Ration
from tezos_p2p.spec.address import Address

# -- rations ---------------------------------------------------------------------------


def test_a_new_key_has_a_full_bucket_and_no_more():
    ration = Ration[str](rate=1.0, burst=3, most=10)
    assert [ration.take("a", 100.0) for _ in range(5)] == [True] * 3 + [False] * 2
    assert ration.take("b", 100.0)


def test_tokens_come_one_by_one_at_the_rate():
    ration = Ration[str](rate=2.0, burst=2, most=10)
    assert [ration.take("a", 0.0) for _ in range(3)] == [True, True, False]
    assert not ration.take("a", 0.49)
    assert ration.take("a", 0.5)
    assert not ration.take("a", 0.99)
    assert ration.take("a", 1.0)


def test_a_bucket_does_not_hold_more_than_the_burst_however_long_it_waits():
    ration = Ration[str](rate=1.0, burst=2, most=10)
    ration.take("a", 0.0)
    assert [ration.take("a", 1e6) for _ in range(3)] == [True, True, False]


def test_refused_attempts_cost_nothing():
    ration = Ration[str](rate=1.0, burst=1, most=10)
    assert ration.take("a", 0.0)
    assert not any(ration.take("a", tick / 100) for tick in range(100))
    assert ration.take("a", 1.0)


def test_waiting_says_when_the_next_token_is_there():
    ration = Ration[str](rate=4.0, burst=2, most=10)
    assert ration.wait("a", 5.0) == 0.0
    assert len(ration) == 0
    ration.take("a", 5.0)
    assert ration.wait("a", 5.0) == 0.0
    ration.take("a", 5.0)
    assert ration.wait("a", 5.0) == 0.25
    assert ration.wait("a", 5.125) == 0.125
    assert ration.wait("a", 6.0) == 0.0


@given(
    st.floats(1e-3, 1e4),
    st.integers(1, 50),
    st.floats(0, 1e8),
    st.integers(0, 60),
    st.floats(0, 1e4),
)
def test_who_waits_as_long_as_told_is_never_refused(rate, burst, start, taken, later):
    ration = Ration[str](rate, burst, 1)
    for _ in range(taken):
        ration.take("a", start)
    now = start + later
    for _ in range(3):
        now += ration.wait("a", now)
        assert ration.wait("a", now) == 0.0
        assert ration.take("a", now)


@given(
    st.sampled_from([0.1, 0.3, 1.0, 3.0, 7.0, 100.0]),
    st.integers(1, 9),
    st.lists(st.floats(0, 20), min_size=1, max_size=80),
)
def test_no_window_gives_more_than_the_burst_and_what_came_meanwhile(rate, burst, gaps):
    ration = Ration[str](rate, burst, 1)
    now, given_at = 1e5, []
    for gap in gaps:
        now += gap / (10 * rate)
        if ration.take("a", now):
            given_at.append(now)
    for first, start in enumerate(given_at):
        for count, end in enumerate(given_at[first:], 1):
            assert count <= burst + (end - start) * rate + rate * 1e-5 + 1e-3


def test_an_early_token_is_paid_back():
    # A microsecond early is on time, but a million of them are no second.
    ration = Ration[str](rate=1000.0, burst=1, most=1)
    taken = sum(ration.take("a", tick * 0.000_999_5) for tick in range(20_000))
    assert taken <= 20_000 * 0.999_5 + 1


def test_the_key_unused_for_the_longest_time_is_forgotten_for_room():
    ration = Ration[str](rate=0.001, burst=1, most=3)
    for key in "abc":
        assert ration.take(key, 0.0)
    assert len(ration) == 3
    assert not ration.take("a", 1.0)  # a refusal is a use
    assert ration.take("d", 1.0)
    assert len(ration) == 3
    assert not ration.take("a", 1.0)
    assert not ration.take("c", 1.0)
    assert ration.wait("b", 1.0) == 0.0


def test_asking_is_no_use():
    ration = Ration[str](rate=0.001, burst=1, most=2)
    ration.take("a", 0.0)
    ration.take("b", 0.0)
    assert ration.wait("a", 0.0) > 0
    ration.take("c", 0.0)
    assert ration.wait("a", 0.0) == 0.0
    assert ration.wait("b", 0.0) > 0


def test_any_number_of_prefixes_takes_a_bounded_place():
    ration = Ration[Prefix](rate=1.0, burst=1, most=64)
    for number in range(65):
        ration.take(prefix_of(Address(number << 72)), 0.0)
        assert len(ration) == min(number + 1, 64)
    for number in range(20_000):
        ration.take(prefix_of(Address(number << 72)), 1.0)
    assert len(ration) == 64


@pytest.mark.parametrize(
    ("rate", "burst", "most"),
    [
        (0.0, 1, 1),
        (-1.0, 1, 1),
        (math.inf, 1, 1),
        (math.nan, 1, 1),
        (1.0, 0, 1),
        (1.0, 1, 0),
    ],
)
def test_senseless_rations_are_refused(rate, burst, most):
    with pytest.raises(ValueError, match="is n"):
        Ration[str](rate, burst, most)


# -- counts ----------------------------------------------------------------------------


def counted(most: int, *keys: str) -> Counts[str]:
    """Links 1, 2, 3 ... of these keys."""
    counts = Counts[str](most)
    for link, key in enumerate(keys, 1):
        counts.add(key, link)
    return counts


def test_nobody_yields_where_nobody_is():
    counts = Counts[str](3)
    assert (len(counts), counts.peak, counts.full) == (0, 0, False)
    assert counts.victim() is None
    assert counts.yielding_to("a") is None


def test_places_are_counted_in_all_and_by_key():
    counts = counted(4, "a", "b", "a")
    assert (len(counts), counts.count("a"), counts.count("b")) == (3, 2, 1)
    assert (counts.count("c"), counts.peak, counts.full) == (0, 2, False)
    assert 3 in counts
    assert 4 not in counts
    counts.add("c", 4)
    assert counts.full


def test_a_place_more_than_there_are_is_refused():
    counts = counted(2, "a", "b")
    with pytest.raises(LocalProtocolError, match="2 places are taken"):
        counts.add("c", 3)
    assert len(counts) == 2
    assert counts.count("c") == 0


def test_a_link_has_one_place():
    counts = counted(5, "a")
    with pytest.raises(LocalProtocolError, match="link 1 has a place"):
        counts.add("b", 1)
    assert counts.count("b") == 0


def test_a_place_is_given_back_once():
    counts = counted(2, "a", "b")
    assert counts.remove(1)
    assert not counts.remove(1)
    assert (len(counts), counts.count("a"), counts.peak) == (1, 0, 1)
    assert counts.remove(2)
    assert (counts.peak, counts.victim()) == (0, None)


def test_no_places_are_always_full():
    counts = Counts[str](0)
    assert counts.full
    assert counts.yielding_to("a") is None
    with pytest.raises(ValueError, match="0 or more"):
        Counts[str](-1)


def test_the_oldest_of_the_most_represented_yields():
    counts = counted(9, "a", "b", "b", "a", "a", "c")
    assert counts.victim() == 1
    counts.remove(1)
    # Two each now: b has been there for longer.
    assert counts.victim() == 2
    counts.add("a", 7)
    assert counts.victim() == 4


def test_a_place_changes_hands_only_for_who_has_fewer():
    counts = counted(6, "a", "a", "a", "b", "b", "c")
    assert counts.yielding_to("new") == 1
    assert counts.yielding_to("c") == 1
    assert counts.yielding_to("b") is None
    assert counts.yielding_to("a") is None


def test_of_an_even_crowd_the_oldest_yields_but_to_who_has_none_only():
    counts = counted(4, "a", "b", "a", "b")
    assert counts.yielding_to("a") is None
    counts = counted(3, "a", "b", "c")
    assert counts.yielding_to("b") is None
    for newcomer, oldest in enumerate((1, 2, 3, 4), 4):
        assert counts.yielding_to(f"new {newcomer}") == oldest
        counts.remove(oldest)
        counts.add(f"new {newcomer}", newcomer)


def test_a_flood_from_one_prefix_pushes_out_nobody_else():
    counts = Counts[str](20)
    counts.add("honest", 1)
    for link in range(2, 1000):
        if not counts.full:
            counts.add("flood", link)
        else:
            assert counts.yielding_to("flood") is None
    for link in range(1000, 1010):
        victim = counts.yielding_to(f"honest {link}")
        assert victim is not None
        assert victim != 1
        counts.remove(victim)
        counts.add(f"honest {link}", link)
    assert counts.count("flood") == 9
    assert counts.count("honest") == 1


class PlainCounts:
    """The same by looking at everything."""

    def __init__(self) -> None:
        self.places: list[tuple[str, int]] = []

    def count(self, key: str) -> int:
        return sum(each == key for each, _ in self.places)

    def peak(self) -> int:
        return max((self.count(key) for key, _ in self.places), default=0)

    def victims(self) -> set[int]:
        """The oldest link of each of the keys that hold most."""
        first: dict[str, int] = {}
        for key, link in self.places:
            first.setdefault(key, link)
        return {link for key, link in first.items() if self.count(key) == self.peak()}


@given(
    st.integers(1, 12),
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 30), st.booleans())),
)
def test_counts_are_those_of_a_plain_search(most, steps):
    counts, plain = Counts[str](most), PlainCounts()
    for link, (key, old, comes) in enumerate(steps):
        if comes and not counts.full:
            counts.add(key, link)
            plain.places.append((key, link))
        elif not comes:
            before = len(plain.places)
            plain.places = [each for each in plain.places if each[1] != old]
            assert counts.remove(old) == (len(plain.places) < before)
        assert len(counts) == len(plain.places) <= most
        assert counts.peak == plain.peak()
        assert all(counts.count(each) == plain.count(each) for each in "abcd")
        victim, victims = counts.victim(), plain.victims()
        assert victim in victims if victims else victim is None
        for newcomer in "abcd":
            held = plain.count(newcomer)
            improves = plain.peak() > held + 1 or (plain.peak() > 0 and not held)
            assert counts.yielding_to(newcomer) == (victim if improves else None)


def test_nothing_is_kept_of_who_has_left():
    counts = Counts[str](8)
    for link in range(1000):
        if counts.full:
            assert counts.remove(link - 8)
        counts.add(f"key {link}", link)
    assert len(counts._links) == 8
    for link in range(992, 1000):
        counts.remove(link)
    assert not counts._links
    assert not counts._by_count
    assert not counts._key_of
