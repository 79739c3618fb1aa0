"""Chance from ``random()`` alone: even, repeatable, and as many draws as promised."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tezos_p2p.fsm.sampling import Bag, below, choice, sample, shuffle

ALMOST_ONE = 1.0 - 2.0**-53


class Draws:
    """Given floats, in order; counts how many were taken."""

    def __init__(self, floats: Iterator[float] | list[float]) -> None:
        self.floats = iter(floats)
        self.taken = 0

    def __call__(self) -> float:
        self.taken += 1
        return next(self.floats)


def every(*counts: int) -> Iterator[Draws]:
    """Give all draws that pick each combination of ``counts`` choices exactly once."""
    for picks in itertools.product(*(range(count) for count in counts)):
        floats = [(n + 0.5) / count for n, count in zip(picks, counts, strict=True)]
        yield Draws(floats)


# -- an index, an item -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("drawn", "index"),
    [(0.0, 0), (0.24, 0), (0.25, 1), (0.5, 2), (0.74, 2), (ALMOST_ONE, 3), (1.0, 3)],
)
def test_an_index_is_the_share_that_was_drawn(drawn: float, index: int) -> None:
    assert below(4, lambda: drawn) == index
    assert choice("abcd", lambda: drawn) == "abcd"[index]


def test_an_index_and_a_choice_take_one_draw_even_if_there_is_only_one() -> None:
    draws = Draws([0.9, 0.9])
    assert below(1, draws) == 0
    assert draws.taken == 1
    assert choice([7], draws) == 7
    assert draws.taken == 2


def test_nothing_can_be_chosen_from_nothing() -> None:
    with pytest.raises(IndexError):
        choice([], lambda: 0.5)


# -- shuffles and samples --------------------------------------------------------------


def test_a_shuffle_gives_every_order_once_over_all_draws() -> None:
    orders = []
    for draws in every(4, 3, 2):
        items = list("abcd")
        shuffle(items, draws)
        assert draws.taken == 3
        orders.append("".join(items))
    assert sorted(orders) == ["".join(each) for each in itertools.permutations("abcd")]


def test_a_shuffle_is_the_same_on_every_python() -> None:
    items = list("abcdef")
    # Swapped with the last: 0 of 6, 4 of 5, 2 of 4, 1 of 3, 0 of 2.
    shuffle(items, Draws([0.0, 0.99, 0.5, 0.34, 0.1]))
    assert "".join(items) == "dfbcea"


@pytest.mark.parametrize("items", [[], ["a"]])
def test_nothing_to_shuffle_takes_no_draw(items: list[str]) -> None:
    before = list(items)
    shuffle(items, Draws([]))
    assert items == before


def test_a_sample_gives_every_arrangement_once_over_all_draws() -> None:
    drawn = []
    for draws in every(5, 4, 3):
        drawn.append("".join(sample("abcde", 3, draws)))
        assert draws.taken == 3
    arrangements = ["".join(each) for each in itertools.permutations("abcde", 3)]
    assert sorted(drawn) == arrangements


def test_a_sample_of_everything_gives_every_order_once() -> None:
    drawn = ["".join(sample("abcd", 4, draws)) for draws in every(4, 3, 2, 1)]
    assert sorted(drawn) == ["".join(each) for each in itertools.permutations("abcd")]


@pytest.mark.parametrize(("count", "size"), [(-1, 0), (0, 0), (2, 2), (3, 3), (4, 3)])
def test_a_sample_is_never_larger_than_what_there_is(count: int, size: int) -> None:
    draws = Draws([0.5] * 4)
    assert len(sample([1, 2, 3], count, draws)) == size
    assert draws.taken == size


@given(st.integers(0, 60), st.integers(-2, 70), st.randoms(use_true_random=False))
def test_a_sample_has_no_item_twice_and_leaves_the_items_alone(
    total: int, count: int, chance: random.Random
) -> None:
    items = list(range(total))
    drawn = sample(items, count, chance.random)
    assert items == list(range(total))
    assert len(set(drawn)) == len(drawn) == max(0, min(count, total))
    assert set(drawn) <= set(items)


def test_a_sample_from_very_many_looks_only_at_what_it_takes() -> None:
    items = range(10**15)
    assert sample(items, 2, Draws([0.5, 0.0])) == [5 * 10**14, 1]


# -- bags ------------------------------------------------------------------------------


def bag(items: str) -> Bag[str]:
    made: Bag[str] = Bag()
    for item in items:
        made.add(item)
    return made


def test_what_is_put_into_a_bag_twice_is_inside_once() -> None:
    it = bag("abca")
    assert len(it) == 3
    assert "a" in it
    it.discard("a")
    assert "a" not in it
    assert len(it) == 2


@pytest.mark.parametrize("gone", "abc")
def test_whatever_is_taken_out_of_a_bag_the_rest_can_be_picked(gone: str) -> None:
    it = bag("abc")
    it.discard(gone)
    it.discard(gone)
    it.discard("z")
    picked = [it.pick(draws) for draws in every(2)]
    assert sorted(picked) == [item for item in "abc" if item != gone]
    for item in "abc":
        it.discard(item)
    assert len(it) == 0
    assert it.pick(Draws([])) is None


@pytest.mark.parametrize("barred", "abcd")
def test_each_but_the_barred_one_is_picked_as_often(barred: str) -> None:
    picked = [bag("abcd").pick(draws, barred) for draws in every(3)]
    assert sorted(picked) == [item for item in "abcd" if item != barred]


def test_barring_who_is_not_inside_bars_nobody() -> None:
    picked = [bag("abcd").pick(draws, "z") for draws in every(4)]
    assert picked == list("abcd")


def test_a_pick_takes_one_draw_or_none_if_there_is_nothing() -> None:
    draws = Draws([0.5, 0.5])
    assert bag("").pick(draws) is None
    assert bag("a").pick(draws, "a") is None
    assert draws.taken == 0
    assert bag("ab").pick(draws, "a") == "b"
    assert bag("a").pick(draws) == "a"
    assert draws.taken == 2


def test_the_order_inside_a_bag_follows_from_the_calls_alone() -> None:
    it = bag("abcde")
    it.discard("b")  # e fills the gap
    it.add("b")
    assert [it.pick(draws) for draws in every(5)] == list("aecdb")


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9)), max_size=60))
def test_a_bag_is_a_set_that_can_be_drawn_from(steps: list[tuple[bool, int]]) -> None:
    it: Bag[int] = Bag()
    plain: set[int] = set()
    for put, item in steps:
        (it.add if put else it.discard)(item)
        (plain.add if put else plain.discard)(item)
        assert len(it) == len(plain)
        assert [number in it for number in range(10)] == [n in plain for n in range(10)]
    if plain:
        assert {it.pick(draws) for draws in every(len(plain))} == plain
    for but in range(10):
        rest = plain - {but}
        picked = [it.pick(draws, but) for draws in every(len(rest) or 1)]
        assert Counter(picked) == Counter(rest or [None])
