"""Shares of the bandwidth: fair, by weight, under a cap, and free while nobody waits."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tezos_p2p.fsm.average import Stat
from tezos_p2p.fsm.bandwidth import (
    BURST_MAX,
    LATENESS,
    QUANTUM,
    UNIT_LEAST,
    UNIT_MAX,
    UNITS_A_SECOND,
    WEIGHT_MAX,
    WEIGHT_MIN,
    Policy,
    Shares,
    clamped,
    unit_of,
)
from tezos_p2p.fsm.machine import LocalProtocolError

KIB = 1024
#: What a cap of 1000 bytes a second saves up.
SAVED = int(1000 * BURST_MAX)


@attrs.define
class Run:
    """Links that always have something to move, in virtual time.

    ``sizes``: bytes of a link's units.  ``late``: seconds by which every alarm is late.
    """

    shares: Shares
    sizes: dict[int, Callable[[], int]]
    late: float = 0.0
    now: float = 0.0
    moved: list[tuple[float, int, int]] = attrs.field(
        factory=list[tuple[float, int, int]]
    )

    def unit(self, link: int) -> None:
        size = self.sizes[link]()
        self.shares.spend(link, size, self.now)
        self.moved.append((self.now, link, size))

    def alarm(self, until: float) -> bool:
        at = self.shares.next_timeout()
        if at is None or at + self.late > until:
            self.now = until
            return False
        self.now = max(self.now, at + self.late)
        return True

    def write(self, until: float) -> Run:
        for link in self.sizes:
            self.shares.want(link, self.now)
        while True:
            while (link := self.shares.next(self.now)) is not None:
                self.unit(link)
                self.shares.want(link, self.now)
            if not self.alarm(until):
                return self

    def read(self, until: float) -> Run:
        due: Iterable[int] = tuple(self.sizes)
        while True:
            for link in due:
                while self.shares.may(link, self.now):
                    self.unit(link)
            if not self.alarm(until):
                return self
            due = self.shares.wake(self.now)

    def bytes(self, since: float = 0.0, until: float = math.inf) -> Counter[int]:
        found: Counter[int] = Counter()
        for at, link, size in self.moved:
            if since <= at < until:
                found[link] += size
        return found


WAYS = [pytest.param(Run.write, id="writing"), pytest.param(Run.read, id="reading")]
Way = Callable[[Run, float], Run]


def fixed(size: int) -> Callable[[], int]:
    return lambda: size


def varied(seed: int, least: int = 1, most: int = UNIT_MAX) -> Callable[[], int]:
    """Sizes all over the range, the same in every run."""
    state = [seed]

    def draw() -> int:
        state[0] = (state[0] * 1_103_515_245 + 12_345) % (1 << 31)
        return least + state[0] % (most - least + 1)

    return draw


def shares_of(
    cap: int | None,
    weights: dict[int, float] | int,
    policy: Policy = "fair",
    caps: dict[int, int] | None = None,
) -> Shares:
    shares = Shares(cap, policy, 0.0)
    given_ = weights if isinstance(weights, dict) else dict.fromkeys(range(weights), 1.0)
    for link, weight in given_.items():
        shares.join(link, 0.0, weight, (caps or {}).get(link))
    return shares


def jain(values: Iterable[int]) -> float:
    got = list(values)
    return sum(got) ** 2 / (len(got) * sum(value * value for value in got))


def busiest(run: Run, seconds: float) -> int:
    """Return the most bytes of any window of so many seconds, both ends included."""
    best = start = held = 0
    for at, _, size in run.moved:
        held += size
        while run.moved[start][0] < at - seconds:
            held -= run.moved[start][2]
            start += 1
        best = max(best, held)
    return best


# -- no cap ----------------------------------------------------------------------------


def test_without_a_cap_nobody_is_ever_starved() -> None:
    shares = shares_of(None, 3)
    for turn in range(300):
        link = turn % 3
        assert shares.may(link, 0.0)
        shares.spend(link, UNIT_MAX, 0.0)
        shares.want(link, 0.0)
        assert shares.next_timeout() is None
    assert [shares.next(0.0) is None for _ in range(4)] == [False, False, False, True]


def test_without_a_cap_turns_are_shared_by_bytes_not_by_units() -> None:
    shares = shares_of(None, 2)
    sizes = {0: 60_000, 1: 600}
    moved = Counter[int]()
    for link in sizes:
        shares.want(link, 0.0)
    for _ in range(20_000):
        link = shares.next(0.0)
        assert link is not None
        shares.spend(link, sizes[link], 0.0)
        moved[link] += sizes[link]
        shares.want(link, 0.0)
    assert jain(moved.values()) > 0.999


def test_waking_without_a_cap_gives_all_that_wait_in_order() -> None:
    shares = shares_of(None, 5)
    for link in (3, 1, 4):
        shares.want(link, 0.0)
    assert shares.wake(0.0) == [3, 1, 4]
    assert shares.wake(0.0) == []


def test_a_wish_counts_once_however_often_it_is_told() -> None:
    shares = shares_of(None, 2)
    for link in (0, 1, 0, 0):
        shares.want(link, 0.0)
    assert [shares.next(0.0) for _ in range(3)] == [0, 1, None]


# -- one cap ---------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("links", [1, 2, 7, 50])
def test_a_cap_is_kept_and_made_use_of(way: Way, links: int) -> None:
    cap = 256 * KIB
    sizes = {link: varied(link) for link in range(links)}
    run = way(Run(shares_of(cap, links), sizes), 60.0)
    assert busiest(run, 10.0) <= 10 * cap + 2 * UNIT_MAX
    for start in range(0, 50, 5):
        assert run.bytes(start, start + 10).total() >= 0.95 * 10 * cap


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("cap", [1, 8 * KIB, 64 * KIB, 3_000_000])
def test_a_cap_of_any_size_is_kept(way: Way, cap: int) -> None:
    most = min(UNIT_MAX, 20 * cap)
    run = way(Run(shares_of(cap, 3), {n: varied(n, 1, most) for n in range(3)}), 30.0)
    assert busiest(run, 10.0) <= 10 * cap + 2 * UNIT_MAX
    moved = run.bytes().total()
    assert 30 * cap <= moved <= 30 * cap + min(UNIT_MAX, cap) + UNIT_MAX


@pytest.mark.parametrize("way", WAYS)
def test_equal_links_get_equal_shares_of_a_cap(way: Way) -> None:
    sizes = {link: fixed(200 if link % 2 else 65_000) for link in range(6)}
    run = way(Run(shares_of(256 * KIB, 6), sizes), 40.0)
    assert jain(run.bytes().values()) >= 0.99
    assert jain(run.bytes(20, 30).values()) >= 0.95


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("sizes", [(16_384, 16_384), (65_535, 300), (300, 65_535)])
def test_double_weight_gives_double_share(way: Way, sizes: tuple[int, int]) -> None:
    shares = shares_of(256 * KIB, {1: 2.0, 2: 1.0}, "score")
    run = way(Run(shares, {1: fixed(sizes[0]), 2: fixed(sizes[1])}), 40.0)
    moved = run.bytes(10)
    assert moved[1] / moved[2] == pytest.approx(2.0, rel=0.15)


def test_weights_count_for_nothing_when_shares_are_fair() -> None:
    shares = shares_of(256 * KIB, {1: 10.0, 2: 0.1}, "fair")
    run = Run(shares, {1: varied(1), 2: varied(2)}).write(40.0)
    assert jain(run.bytes().values()) >= 0.99


@pytest.mark.parametrize("way", WAYS)
def test_the_least_weight_gets_on_beside_the_greatest(way: Way) -> None:
    shares = shares_of(256 * KIB, {1: math.inf, 2: 0.0}, "score")
    run = way(Run(shares, {1: fixed(UNIT_MAX), 2: fixed(UNIT_MAX)}), 200.0)
    moved = run.bytes()
    assert moved[1] / moved[2] == pytest.approx(100.0, rel=0.15)


@pytest.mark.parametrize(
    ("weight", "counts"),
    [
        (1.0, 1.0),
        (WEIGHT_MIN, WEIGHT_MIN),
        (0.099, WEIGHT_MIN),
        (-5.0, WEIGHT_MIN),
        (math.nan, WEIGHT_MIN),
        (-math.inf, WEIGHT_MIN),
        (WEIGHT_MAX, WEIGHT_MAX),
        (10.1, WEIGHT_MAX),
        (math.inf, WEIGHT_MAX),
    ],
)
def test_weights_beyond_the_range_are_moved_into_it(weight: float, counts: float) -> None:
    assert clamped(weight) == counts


@pytest.mark.parametrize("way", WAYS)
def test_what_one_cannot_use_goes_to_the_others(way: Way) -> None:
    cap, own = 1024 * KIB, 64 * KIB
    shares = shares_of(cap, 4, caps={3: own})
    run = way(Run(shares, {link: fixed(16_384) for link in range(4)}), 30.0)
    moved = run.bytes(10, 30)
    assert moved[3] == pytest.approx(20 * own, rel=0.05)
    for link in range(3):
        assert moved[link] == pytest.approx(20 * (cap - own) / 3, rel=0.05)


def test_who_falls_silent_leaves_all_to_the_rest_at_once() -> None:
    cap = 256 * KIB
    shares = shares_of(cap, 2)
    run = Run(shares, {0: fixed(16_384), 1: fixed(16_384)}).write(10.0)
    shares.next(run.now + 0.5)  # the last wish of one of them: it moves nothing
    del run.sizes[0]
    shares.leave(0, run.now)
    run.write(20.0)
    assert run.bytes(10.0, 20.0)[1] >= 0.95 * 10 * cap


@pytest.mark.parametrize("way", WAYS)
def test_caps_of_links_are_kept_without_a_common_one(way: Way) -> None:
    caps = {0: 10_000, 1: 100_000, 2: 1_000_000}
    shares = shares_of(None, 3, caps=caps)
    run = way(Run(shares, {link: varied(link) for link in caps}), 30.0)
    for link, cap in caps.items():
        alone = Run(shares, {})
        alone.moved = [entry for entry in run.moved if entry[1] == link]
        assert busiest(alone, 10.0) <= 10 * cap + 2 * UNIT_MAX
        assert run.bytes()[link] >= 0.95 * 30 * cap


def test_no_share_of_a_cap_is_lost_while_a_link_waits_for_its_own() -> None:
    shares = shares_of(100_000, 2, caps={0: 1000})
    run = Run(shares, {0: fixed(UNIT_MAX), 1: fixed(1000)}).write(100.0)
    assert run.bytes().total() >= 100 * 100_000
    assert run.bytes()[0] == UNIT_MAX * 2


def test_a_cap_of_nothing_lets_nothing_pass_and_rings_no_bell() -> None:
    shares = shares_of(0, 2)
    shares.want(0, 0.0)
    assert not shares.may(1, 1e9)
    assert shares.next(1e9) is None
    assert shares.wake(1e9) == []
    assert shares.next_timeout() is None


def test_a_link_whose_own_cap_is_nothing_waits_until_that_changes() -> None:
    shares = shares_of(None, 2, caps={0: 0})
    shares.want(0, 0.0)
    assert shares.next(1e9) is None
    assert shares.next_timeout() is None
    shares.adjust(0, 1.0, 1000, 1e9)
    assert shares.next(1e9) == 0
    shares.adjust(0, 1.0, 0, 1e9)
    assert not shares.may(0, 2e9)
    shares.adjust(0, 1.0, None, 2e9)
    assert shares.next(2e9) == 0
    assert shares.may(0, 2e9)


# -- overdraft and debts ---------------------------------------------------------------


def test_a_unit_may_overdraw_a_cap_and_is_made_good_for() -> None:
    shares = shares_of(1000, 1)
    assert shares.may(0, 0.0)
    shares.spend(0, 1, 0.0)
    assert shares.may(0, 0.0)
    shares.spend(0, UNIT_MAX, 0.0)
    assert not shares.may(0, 0.0)
    # What was saved up was there.
    assert shares.next_timeout() == pytest.approx((UNIT_MAX + 1) / 1000 - BURST_MAX)


def test_what_a_unit_took_too_much_comes_off_the_next_rounds() -> None:
    shares = shares_of(None, 2)
    for link in (0, 1):
        shares.want(link, 0.0)
    assert shares.next(0.0) == 0
    shares.spend(0, 3 * QUANTUM + 1, 0.0)
    shares.want(0, 0.0)
    served: list[int | None] = []
    for _ in range(5):
        served.append(link := shares.next(0.0))
        assert link is not None
        shares.spend(link, QUANTUM, 0.0)
        shares.want(link, 0.0)
    # Three rounds of the other's; in the fourth it has paid and is there first.
    assert served == [1, 1, 1, 0, 1]


def test_who_was_alone_for_an_hour_owes_its_last_unit_at_most() -> None:
    cap = 64 * KIB
    shares = shares_of(cap, 2)
    run = Run(shares, {0: fixed(UNIT_MAX)}).write(3600.0)
    run.sizes[1] = fixed(UNIT_MAX)
    run.write(3640.0)
    assert jain(run.bytes(3600.0).values()) >= 0.99


def test_who_read_alone_for_an_hour_owes_its_last_unit_at_most() -> None:
    shares = shares_of(64 * KIB, 2)
    for second in range(3600):  # within the cap: it never waits
        assert shares.may(0, float(second))
        shares.spend(0, 60_000, float(second))
    run = Run(shares, {0: fixed(60_000), 1: fixed(60_000)}, now=3600.0).read(3640.0)
    assert jain(run.bytes().values()) >= 0.99


def test_who_was_silent_for_an_hour_has_saved_nothing() -> None:
    shares = shares_of(64 * KIB, 3)
    run = Run(shares, {0: fixed(5000), 1: fixed(5000)}).write(3600.0)
    run.sizes[2] = fixed(5000)
    run.write(3620.0)
    assert jain(run.bytes(3600.0).values()) >= 0.99
    assert busiest(run, 10.0) <= 10 * 64 * KIB + 2 * UNIT_MAX


def test_charged_after_it_was_put_back_a_link_waits_for_its_round_all_the_same() -> None:
    shares = shares_of(None, 2)
    shares.want(0, 0.0)
    assert shares.next(0.0) == 0
    shares.want(0, 0.0)
    shares.want(1, 0.0)
    shares.spend(0, UNIT_MAX, 0.0)
    for _ in range(3):
        assert shares.next(0.0) == 1
        shares.spend(1, QUANTUM, 0.0)
        shares.want(1, 0.0)


def test_charged_while_it_is_held_a_link_is_held_longer() -> None:
    shares = shares_of(None, 1, caps={0: 1000})
    shares.spend(0, SAVED + 1000, 0.0)
    shares.want(0, 0.0)
    assert shares.next_timeout() == pytest.approx(1.0)
    shares.spend(0, 1000, 0.5)
    assert shares.next(1.0) is None
    assert shares.next_timeout() == pytest.approx(2.0)
    assert shares.next(2.01) == 0


def test_charged_while_it_waits_for_the_common_cap_a_link_is_held_for_its_own() -> None:
    shares = shares_of(1000, 2, caps={0: 1000})
    shares.spend(1, 2000, 0.0)
    assert not shares.may(0, 0.0)
    shares.spend(0, 5000, 0.0)
    assert not shares.may(1, 0.0)
    assert shares.wake(6.5) == [1]
    assert shares.next_timeout() is not None


# -- turns given under a cap -----------------------------------------------------------


def starved(links: int, cap: int, size: int) -> Shares:
    """Return links that have all moved so many bytes, and are now starved.

    The burst was somebody else's: the cap has to make good for their bytes.
    """
    shares = shares_of(cap, links)
    shares.join(99, 0.0)
    shares.spend(99, int(min(cap * BURST_MAX, UNIT_MAX)), 0.0)
    shares.leave(99, 0.0)
    for link in range(links):
        shares.spend(link, size, 0.0)
    for link in range(links):
        assert not shares.may(link, 0.0)
    return shares


def test_no_more_are_woken_than_the_cap_has_room_for() -> None:
    shares = starved(10, 10_000, 1000 + 1)
    at = shares.next_timeout()
    assert at is not None
    assert shares.wake(at - 0.001) == []
    assert shares.wake(at) == [0]
    assert shares.wake(at) == []
    # The next one's time comes when the first's unit is made good for.
    again = shares.next_timeout()
    assert again == pytest.approx(at + 0.1001)
    shares.spend(0, 1001, at)
    assert shares.next_timeout() == pytest.approx(again)
    assert shares.wake(again) == [1]


def test_all_are_woken_at_once_when_there_is_room_for_all() -> None:
    shares = starved(20, 1_000_000, 1000)
    at = shares.next_timeout()
    assert at is not None
    # The cap of 45 ms, and a burst.
    assert sorted(shares.wake(at + 0.045)) == list(range(20))


def test_turns_that_are_not_used_are_forgotten_when_they_would_be_made_good_for() -> None:
    shares = starved(9, 10_000, 5000)
    at = shares.next_timeout()
    assert at is not None
    assert shares.wake(at) == [0]
    assert shares.wake(at) == []
    later = shares.next_timeout()
    assert later == pytest.approx(at + 0.5)
    # What the first has left, and a unit more.
    assert shares.wake(later) == [1, 2]
    assert shares.next_timeout() == pytest.approx(at + 1.0)
    # However long nobody moves anything, no more than a burst is kept.
    assert shares.wake(at + 500.0) == [3, 4]


def test_a_turn_that_is_given_back_is_the_next_ones_at_once() -> None:
    shares = starved(3, 10_000, 5000)
    at = shares.next_timeout()
    assert at is not None
    assert shares.next(at) == 0
    assert shares.next(at) is None
    shares.spend(0, 0, at)
    assert shares.next_timeout() == at
    assert shares.next(at) == 1
    assert shares.next(at) is None
    shares.leave(1, at)
    assert shares.next(at) == 2


def test_a_link_that_wants_again_gives_its_unused_turn_back() -> None:
    shares = starved(3, 10_000, 5000)
    at = shares.next_timeout()
    assert at is not None
    assert shares.next(at) == 0
    shares.want(0, at)
    assert shares.next(at) == 1


def test_turns_are_forgotten_in_time_though_another_was_used_for_more() -> None:
    shares = starved(6, 10_000, 1000)
    at = shares.next_timeout()
    assert at is not None
    assert shares.wake(at + 0.1) == [0, 1]
    assert shares.wake(at + 0.1) == []  # the cap makes good for both until at + 0.2
    shares.spend(0, 1500, at + 0.1)
    for now in (at + 0.1, at + 0.17):
        assert shares.wake(now) == []
        assert shares.next_timeout() == pytest.approx(at + 0.2)
    assert shares.wake(at + 0.2001) == [2]


def test_a_turn_that_was_forgotten_is_not_taken_back_twice() -> None:
    shares = starved(9, 10_000, 5000)
    at = shares.next_timeout()
    assert at is not None
    assert shares.wake(at) == [0]
    assert shares.wake(at) == []
    assert shares.wake(at + 0.5) == [1, 2]
    for link in range(3):
        shares.spend(link, 0, at + 0.5)
    # Room for what was not used, and a unit more, as before.
    assert shares.wake(at + 0.5) == [3, 4]


def test_a_turn_used_for_less_lets_the_next_go_on_earlier() -> None:
    shares = starved(3, 10_000, 5000)
    at = shares.next_timeout()
    assert at is not None
    assert shares.next(at) == 0
    shares.spend(0, 100, at)
    assert shares.next_timeout() == pytest.approx(at + 0.01)


def test_a_turn_that_comes_too_late_is_waited_for_again() -> None:
    shares = starved(2, 10_000, 5000)
    shares.join(7, 0.0)
    at = shares.next_timeout()
    assert at is not None
    assert shares.next(at) == 0
    shares.spend(7, 8000, at)  # somebody moved something unasked
    assert not shares.may(0, at)  # its place is the first
    later = shares.next_timeout()
    assert later == pytest.approx(at + 0.8)
    assert shares.wake(later) == [0]
    assert shares.may(0, later)


def test_nobody_overtakes_those_who_wait() -> None:
    shares = starved(2, 10_000, 5000)
    shares.join(7, 0.0)
    at = shares.next_timeout()
    assert at is not None
    assert not shares.may(7, at)
    assert [shares.next(at + 10 * turn) for turn in range(3)] == [0, 1, 7]


def test_a_starved_link_may_nothing_until_it_is_woken() -> None:
    shares = starved(1, 10_000, 20_000)
    assert not shares.may(0, 100.0)
    assert shares.next(100.0) == 0
    assert shares.may(0, 100.0)
    assert shares.may(0, 100.0)  # asking uses nothing up


# -- late alarms -----------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("late", [0.001, 0.02, LATENESS])
def test_a_late_alarm_loses_no_bandwidth(way: Way, late: float) -> None:
    cap = 4_000_000
    run = way(Run(shares_of(cap, 20), dict.fromkeys(range(20), fixed(8000)), late), 3.0)
    assert run.bytes(0.5, 2.5).total() >= 0.95 * 2 * cap


def test_an_alarm_that_is_later_still_loses_what_is_beyond() -> None:
    shares = shares_of(4_000_000, 2)
    run = Run(shares, dict.fromkeys(range(2), fixed(8000)), 1.0).write(20.0)
    # Alarms a second apart; each finds the credit of a burst and of the lateness.
    each = UNIT_MAX + LATENESS * 4_000_000 + UNIT_MAX
    assert run.bytes().total() <= 21 * each


def test_idle_time_saves_one_burst_only() -> None:
    cap = 1_000_000
    shares = shares_of(cap, 2)
    run = Run(shares, {0: fixed(10_000), 1: fixed(10_000)}).write(5.0)
    while shares.next(6.0) is not None:
        pass
    run.now = 500.0
    run.moved.clear()
    run.write(500.0)
    assert run.bytes().total() <= UNIT_MAX + 10_000


def test_after_idle_time_no_more_are_woken_than_one_burst_is_for() -> None:
    shares = starved(20, 10_000, 1000)
    for link in range(20):
        shares.leave(link, 0.0)
        shares.join(link, 0.0)
        shares.spend(link, 1000, 0.0)
    for link in range(20):
        shares.want(link, 500.0)
    assert len(shares.wake(500.0)) == 10


# -- links come, change and go ---------------------------------------------------------


def test_a_link_may_leave_from_wherever_it_stands() -> None:
    shares = shares_of(10_000, 5, caps={4: 1000})
    shares.spend(4, 30_000, 0.0)
    for link in range(5):
        shares.want(link, 0.0)  # one is held, the others are filed
    at = shares.next_timeout()
    assert at is not None
    assert shares.next(at) == 0
    for link in (0, 1, 4, 1, 99):
        shares.leave(link, at)
    assert len(shares) == 2
    assert shares.next(at) == 2
    shares.spend(2, 100, at)
    shares.want(2, at)  # in the round that runs
    shares.leave(2, at)
    shares.leave(3, at)
    assert shares.next(at + 100.0) is None
    assert shares.next_timeout() is None
    assert len(shares) == 0
    with pytest.raises(KeyError):
        shares.want(2, at)


def test_a_link_that_left_while_its_own_cap_held_it_is_not_asked_for() -> None:
    shares = shares_of(None, 2, caps={0: 1000, 1: 1000})
    for link in range(2):
        shares.spend(link, SAVED + 1000, 0.0)
        shares.want(link, 0.0)
    shares.leave(0, 0.0)
    assert shares.wake(2.0) == [1]


def test_joining_twice_and_negative_caps_are_refused_and_change_nothing() -> None:
    with pytest.raises(ValueError, match="cap -1 is below 0"):
        Shares(-1, "fair", 0.0)
    shares = shares_of(None, 1)
    with pytest.raises(LocalProtocolError, match="link 0 has its part"):
        shares.join(0, 0.0)
    with pytest.raises(ValueError):
        shares.join(1, 0.0, 1.0, -5)
    assert len(shares) == 1
    shares.want(0, 0.0)
    with pytest.raises(ValueError):
        shares.adjust(0, 2.0, -5, 0.0)
    assert shares.next(0.0) == 0


def test_a_round_that_all_have_left_is_passed_over() -> None:
    shares = shares_of(None, 2)
    shares.want(0, 0.0)
    shares.leave(0, 0.0)
    shares.spend(1, UNIT_MAX, 0.0)
    shares.want(1, 0.0)
    assert shares.next(0.0) == 1


def test_a_new_weight_counts_from_now_on() -> None:
    shares = shares_of(256 * KIB, 2, "score")
    run = Run(shares, {0: fixed(20_000), 1: fixed(20_000)}).write(20.0)
    shares.adjust(0, 3.0, None, run.now)
    run.write(60.0)
    before, after = run.bytes(0, 20), run.bytes(20)
    assert before[0] / before[1] == pytest.approx(1.0, rel=0.1)
    assert after[0] / after[1] == pytest.approx(3.0, rel=0.1)


def test_rounds_that_are_over_were_worth_what_the_old_weight_was() -> None:
    shares = shares_of(None, {0: 0.1, 1: 1.0}, "score")
    for link in range(2):
        shares.want(link, 0.0)
    assert shares.next(0.0) == 0
    shares.spend(0, 20 * QUANTUM, 0.0)
    for _ in range(5):
        assert shares.next(0.0) == 1
        shares.spend(1, QUANTUM, 0.0)
        shares.want(1, 0.0)
    shares.adjust(0, 10.0, None, 0.0)
    shares.want(0, 0.0)
    # Still in debt: its new weight pays in the second round from here.
    assert shares.next(0.0) == 1
    shares.spend(1, QUANTUM, 0.0)
    shares.want(1, 0.0)
    assert shares.next(0.0) == 0


def test_a_smaller_weight_leaves_no_more_than_its_quantum() -> None:
    shares = shares_of(None, {0: 10.0, 1: 1.0}, "score")
    shares.want(0, 0.0)
    assert shares.next(0.0) == 0
    shares.adjust(0, 0.1, None, 0.0)
    shares.spend(0, 1639, 0.0)
    shares.want(0, 0.0)
    shares.want(1, 0.0)
    assert shares.next(0.0) == 1


def test_adjusting_nothing_keeps_the_place() -> None:
    shares = shares_of(None, 2, caps={0: 1000})
    shares.want(0, 0.0)
    shares.want(1, 0.0)
    shares.adjust(0, 1.0, 1000, 0.0)
    shares.adjust(0, 2.0, 1000, 0.0)  # fair: weights do not count
    assert shares.next(0.0) == 0
    shares.want(0, 0.0)
    shares.adjust(1, 1.0, 5000, 0.0)
    assert shares.next(0.0) == 0


def test_what_an_old_cap_was_owed_the_new_one_is() -> None:
    shares = shares_of(None, 1, "score", {0: 1000})
    shares.spend(0, SAVED + 5000, 0.0)
    shares.want(0, 0.0)
    assert shares.next_timeout() == pytest.approx(5.0)
    shares.adjust(0, 2.0, 1000, 0.0)
    assert shares.next_timeout() == pytest.approx(5.0)
    shares.adjust(0, 1.0, 10_000, 0.0)
    assert shares.next_timeout() == pytest.approx(0.5)
    shares.adjust(0, 1.0, None, 0.0)
    assert shares.next_timeout() is None
    assert shares.next(0.0) == 0


def test_changing_a_cap_to_and_fro_refills_nothing() -> None:
    shares = shares_of(None, 1, caps={0: 10_000})
    moved, link = 0, 0
    for turn in range(100):
        shares.adjust(link, 1.0, 10_000 + turn % 2, 0.0)
        if shares.may(link, 0.0):
            shares.spend(link, 1000, 0.0)
            moved += 1000
    assert moved <= 11_000


# -- idle is free ----------------------------------------------------------------------


def test_no_alarm_is_set_while_nobody_waits() -> None:
    shares = shares_of(10_000, 100, caps={5: 10})
    assert shares.next_timeout() is None
    assert shares.may(3, 0.0)
    shares.spend(3, UNIT_MAX, 0.0)
    shares.spend(5, UNIT_MAX, 0.0)
    assert shares.next_timeout() is None
    assert not shares.may(3, 1.0)
    assert shares.next_timeout() is not None
    shares.leave(3, 1.0)
    assert shares.next_timeout() is None


def calls_of(body: Callable[[], object]) -> int:
    """Return how many calls, of C or of Python, something makes."""
    count = 0

    def note(frame: Any, event: str, arg: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(note)
    try:
        body()
    finally:
        sys.setprofile(None)
    return count


def cost_of_a_turn(links: int) -> int:
    shares = shares_of(1 << 30, dict.fromkeys(range(links), 0.1), "score")
    for link in range(links):
        shares.want(link, 0.0)

    def turn(now: float) -> None:
        link = shares.next(now)
        assert link is not None
        shares.spend(link, UNIT_MAX, now)
        shares.want(link, now)
        shares.may(link, now)
        shares.next_timeout()

    for number in range(links):  # then all owe many rounds
        turn(number * 1e-4)

    return calls_of(lambda: turn(links * 1e-4))


def test_a_turn_costs_the_same_among_many_links() -> None:
    assert cost_of_a_turn(2000) == cost_of_a_turn(10)


def test_rounds_in_which_nobody_is_served_cost_nothing() -> None:
    def cost(owed: int) -> int:
        shares = shares_of(None, {0: 0.1}, "score")
        shares.spend(0, owed, 0.0)
        shares.want(0, 0.0)
        return calls_of(lambda: shares.next(0.0))

    assert cost(1 << 30) == cost(1)


# -- figures ---------------------------------------------------------------------------


def test_bytes_are_counted_by_link_and_in_all() -> None:
    shares = shares_of(None, 2)
    shares.spend(0, 1000, 0.5)
    shares.join(9, 0.7)
    shares.spend(9, 500, 0.8)
    assert shares.stat(9, 0.9) == Stat(500, 0)
    # The seconds of all links turn together.
    assert [shares.stat(link, 1.0) for link in (0, 1, 9)] == [
        Stat(1000, 200),
        Stat(0, 0),
        Stat(500, 100),
    ]
    assert shares.total(1.0) == Stat(1500, 300)
    shares.leave(0, 1.0)
    assert shares.total(1.0) == Stat(1500, 300)
    with pytest.raises(KeyError):
        shares.stat(0, 1.0)


# -- any links, any sizes --------------------------------------------------------------

LINKS = st.lists(
    st.tuples(st.floats(0.1, 10.0), st.integers(1, UNIT_MAX)), min_size=2, max_size=8
)


@given(LINKS, st.sampled_from([None, 1_000_000]))
def test_links_that_never_stop_keep_abreast(
    links: list[tuple[float, int]], cap: int | None
) -> None:
    """What two of them moved, by weight, differs by little more than a unit."""
    shares = shares_of(cap, {n: weight for n, (weight, _) in enumerate(links)}, "score")
    moved, now = dict.fromkeys(range(len(links)), 0), 0.0
    for link in moved:
        shares.want(link, now)
    for _ in range(300):
        if (link := shares.next(now)) is None:
            at = shares.next_timeout()
            assert at is not None
            assert at > now
            now, link = at, shares.next(at)
        assert link is not None
        shares.spend(link, links[link][1], now)
        shares.want(link, now)
        moved[link] += links[link][1]
    for one, two in pairwise(moved):
        (w1, s1), (w2, s2) = links[one], links[two]
        # A byte in a thousand for quanta being whole.
        slack = 0.001 * moved[one] / w1
        apart = abs(moved[one] / w1 - moved[two] / w2)
        assert apart <= 2 * QUANTUM + s1 / w1 + s2 / w2 + slack


ARRIVALS = st.lists(
    st.tuples(st.integers(0, 200), st.integers(0, 4), st.integers(1, 4 * UNIT_MAX)),
    min_size=1,
    max_size=25,
)


@given(ARRIVALS, st.sampled_from([5000, 100_000, 10_000_000]), st.booleans())
def test_peers_that_send_now_and_then_are_all_read_and_the_cap_is_kept(
    arrivals: list[tuple[int, int, int]], cap: int, own: bool
) -> None:
    """A driver reads what is there; after the last read of a link it asks once more."""
    shares = shares_of(cap, 5, caps={0: cap // 3} if own else None)
    pending = dict.fromkeys(range(5), 0)
    moved: list[tuple[float, int]] = []
    now = 0.0

    def read(link: int) -> None:
        while shares.may(link, now) and pending[link]:
            size = min(UNIT_MAX, pending[link])
            pending[link] -= size
            shares.spend(link, size, now)
            moved.append((now, size))

    def go_on(until: float) -> None:
        nonlocal now
        while (at := shares.next_timeout()) is not None and at <= until:
            assert at >= now or shares._waiting
            now = max(now, at)
            for link in shares.wake(now):
                read(link)
        now = until

    for wait, link, size in arrivals:
        go_on(now + wait / 10)
        pending[link] += size
        read(link)
    ends = now + 1 + 4 * (sum(size for *_, size in arrivals) + 9 * UNIT_MAX) / cap
    go_on(ends)
    assert not any(pending.values())
    assert shares.next_timeout() is None
    for first, (began, _) in enumerate(moved):
        total = 0
        for at, size in moved[first:]:
            total += size
            assert total <= cap * (at - began) + 2 * UNIT_MAX + 1


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("want"), st.integers(0, 5)),
        st.tuples(st.just("may"), st.integers(0, 5)),
        st.tuples(st.just("leave"), st.integers(0, 5)),
        st.tuples(st.just("adjust"), st.integers(0, 5), st.sampled_from([None, 0, 9000])),
        st.tuples(st.just("spend"), st.integers(0, 5), st.integers(0, UNIT_MAX)),
        st.tuples(st.just("next")),
        st.tuples(st.just("wake")),
        st.tuples(st.just("rest"), st.integers(0, 64)),
    ),
    max_size=60,
)


@given(STEPS, st.sampled_from([None, 5000, 1_000_000]))
def test_whatever_is_called_nobody_is_lost_and_nobody_is_given_twice(
    steps: list[tuple[Any, ...]], cap: int | None
) -> None:
    shares, now = shares_of(cap, 6), 0.0
    waits: set[int] = set()
    stopped: set[int] = set()  # by an own cap of 0

    def give(links: Iterable[int | None]) -> None:
        for link in links:
            if link is not None:
                assert link in waits
                assert link not in stopped
                waits.remove(link)

    for what, *args in steps:
        if what == "rest":
            now += args[0] / 8
        elif what == "next":
            give([shares.next(now)])
        elif what == "wake":
            give(shares.wake(now))
            assert shares.next(now) is None
        elif what == "leave":
            shares.leave(args[0], now)
            shares.join(args[0], now)
            waits.discard(args[0])
            stopped.discard(args[0])
        elif what == "adjust":
            shares.adjust(args[0], 1.0, args[1], now)
            (stopped.add if args[1] == 0 else stopped.discard)(args[0])
        elif what == "spend":
            shares.spend(*args, now)
        elif what == "want":
            shares.want(args[0], now)
            waits.add(args[0])
        elif not shares.may(args[0], now):
            waits.add(args[0])
        _agrees(shares, waits)
    # With time, all who wait are given: each alarm gives somebody, or frees somebody.
    give(shares.wake(now))
    for _ in range(12):
        at = shares.next_timeout()
        if at is None:
            break
        now = max(now, at)
        give(shares.wake(now))
    assert waits <= stopped
    assert shares.next_timeout() is None


def _agrees(shares: Shares, waits: set[int]) -> None:
    """Check the books of the ring against one another."""
    filed = {
        link: number
        for number, entries in [
            (shares._round, shares._current),
            *shares._later.items(),
        ]
        for link in entries
    }
    assert shares._waiting == len(filed)
    for link, it in shares._links.items():
        if it.slot >= 0:
            assert filed.pop(link) == it.slot
        assert (it.slot != -1) == (link in waits)
        assert it.deficit <= it.quantum
    assert filed == {}
    assert sorted(shares._numbers) == sorted(shares._later)
    held = [link for link, it in shares._links.items() if it.slot == -2]
    assert shares._holding == len(held)
    assert shares._promised >= 0


@pytest.mark.parametrize(
    ("cap", "unit"),
    [
        (None, UNIT_MAX),
        *[(0, UNIT_LEAST), (1, UNIT_LEAST), (UNIT_LEAST * UNITS_A_SECOND, UNIT_LEAST)],
        (64 * KIB, 8 * KIB),
        *[
            (8 * UNIT_MAX - 1, UNIT_MAX - 1),
            (8 * UNIT_MAX, UNIT_MAX),
            (1 << 40, UNIT_MAX),
        ],
    ],
)
def test_what_is_read_at_once_is_an_eighth_of_a_second_within_bounds(
    cap: int | None, unit: int
) -> None:
    assert unit_of(cap) == unit
