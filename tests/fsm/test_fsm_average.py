"""Moving averages: the reference's figures, and laziness that nobody can see."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tezos_p2p.fsm.average import Average, Stat, renewed

#: What a node of 2019 showed, second by second, after one burst of 146 bytes.
BURST = (29, 23, 18, 14, 11, 8, 6, 4, 3, 2, 1, 0)


def test_a_burst_fades_as_it_does_in_the_reference() -> None:
    counter = Average(0.0)
    counter.add(146, 0.5)
    shown = [counter.stat(float(second)).average for second in range(1, 13)]
    assert tuple(shown) == BURST


@pytest.mark.parametrize("second", range(1, 13))
def test_who_reads_late_sees_the_same(second: int) -> None:
    counter = Average(0.0)
    counter.add(146, 0.5)
    assert counter.stat(second + 0.9) == Stat(146, BURST[second - 1])


def test_a_steady_rate_is_approached_by_a_fifth_of_what_is_missing() -> None:
    counter = Average(0.0)
    for second in range(40):
        counter.add(1_000_000, float(second))
        expected = 1_000_000 * (1 - 0.8 ** (second + 1))
        assert counter.stat(second + 0.999).average <= expected
        shown = Average(0.0)
        shown.average, shown.current, shown.at = (
            counter.average,
            counter.current,
            counter.at,
        )
        assert shown.stat(second + 1.0).average == pytest.approx(expected, abs=6)


def test_the_second_that_runs_is_not_in_the_average_yet() -> None:
    counter = Average(10.0)
    counter.add(1000, 10.0)
    assert counter.stat(10.999) == Stat(1000, 0)
    assert counter.stat(11.0) == Stat(1000, 200)


def test_bytes_of_one_instant_after_the_turn_belong_to_the_new_second() -> None:
    counter = Average(0.0)
    counter.add(1000, 0.999)
    counter.add(500, 1.0)
    assert (counter.average, counter.current, counter.total) == (200, 500, 1500)


def test_seconds_of_counters_that_share_their_beginning_turn_together() -> None:
    old, young = Average(0.25), Average(0.25)
    young.add(100, 1.2)
    old.add(100, 1.2)
    assert old.stat(1.25) == young.stat(1.25) == Stat(100, 20)


def test_reading_resets_nothing() -> None:
    counter = Average(0.0)
    counter.add(1000, 0.1)
    assert [counter.stat(1.5) for _ in range(3)] == [Stat(1000, 200)] * 3
    assert counter.stat(0.2) == Stat(1000, 200)  # an older time changes nothing


def test_no_time_at_all_counts_as_a_millisecond() -> None:
    assert renewed(1000, 7, 0) == renewed(1000, 7, 1) == 1400 + 800


def test_a_longer_second_counts_for_less() -> None:
    assert renewed(0, 1000, 2000) == 100
    assert renewed(999, 0, 2000) == 799


def test_a_year_of_silence_is_made_up_for_at_once() -> None:
    counter = Average(0.0)
    counter.add(1 << 50, 0.0)
    assert counter.stat(365 * 86_400.0) == Stat(1 << 50, 0)
    counter.add(10, 365 * 86_400.5)
    assert counter.stat(365 * 86_400.5 + 1).average == 2


MOVES = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 1 << 20)), max_size=30)


@given(MOVES, st.integers(0, 200))
def test_laziness_gives_what_a_ticker_would(
    moves: list[tuple[int, int]], rest: int
) -> None:
    """Times are eighths of a second: floats are exact."""
    counter, now = Average(0.0), 0
    per_second: dict[int, int] = {}
    for wait, size in moves:
        now += wait
        counter.add(size, now / 8)
        per_second[now // 8] = per_second.get(now // 8, 0) + size
    now += rest
    ticked = 0
    for second in range(now // 8):
        moved = per_second.get(second, 0)
        ticked = 200 * moved // 1000 + 800 * ticked // 1000
    assert counter.stat(now / 8) == Stat(sum(size for _, size in moves), ticked)
