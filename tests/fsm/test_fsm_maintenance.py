"""The maintenance worker: bounds, triggers, filling, asking, trimming, and no spinning.

The worker runs against a small town: points that answer or do not, after a delay, and
connections that come and go.  Time is the town's.
"""

from __future__ import annotations

import heapq
import random
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tezos_p2p.fsm import LocalProtocolError
from tezos_p2p.fsm.commands import Maintained
from tezos_p2p.fsm.machine import RUNNERS
from tezos_p2p.fsm.maintenance import (
    AT_ONCE,
    GAP,
    LOOK,
    PASS_LONG,
    PASS_MAX,
    PASS_TIME,
    PATIENCE,
    SEARCH_FIRST,
    SEARCH_MAX,
    TABLE,
    TRIM_LIMIT,
    Ask,
    Bounds,
    Cause,
    Collect,
    Drop,
    Ended,
    Fill,
    Maintenance,
    Started,
    State,
    Swap,
    TooFew,
    TooMany,
)
from tezos_p2p.fsm.surroundings import dial_order
from tezos_p2p.spec import Address, Limits, Point

USUAL = Bounds(10, 50, 100)
SMALL = Bounds(3, 6, 9)


def point(number: int) -> Point:
    return Point(Address((0xFFFF << 32) + number), 9732)


class Town:
    """A world with a clock: the node around a maintenance worker, and its peers.

    Every dial takes `delay` seconds; ``alive`` says which points answer.  A point that
    has failed may be dialled again after `backoff`.
    """

    def __init__(
        self,
        bounds: Bounds = USUAL,
        known: int = 0,
        active: int = 0,
        seed: int = 1,
        **settings: Any,
    ) -> None:
        self.chance = random.Random(seed)
        self.now = 0.0
        self.delay = 0.25
        self.backoff = 60.0
        self.alive: Callable[[Point], bool] = lambda point: True
        self.missed: dict[Point, float | None] = {}
        self.learn(known)
        #: Links, each with the point that was dialled, or None.
        self.links: dict[int, Point | None] = {}
        self.protected: set[int] = set()
        #: Those of the links that are about to go.
        self.ending: set[int] = set()
        self.pending: dict[Point, None] = {}
        self.todo: list[tuple[float, int, Callable[[], None]]] = []
        self.count = 0
        self.log: list[tuple[float, Any]] = []
        self.looks = 0
        self.most_dialling = 0
        self.most_committed = 0
        self.drops_work = True
        self.on_ask: Callable[[], None] = lambda: None
        self.worker = Maintenance(
            bounds=bounds, world=self, random=self.chance.random, **settings
        )
        for _ in range(active):
            self._link(None)

    # -- what the worker asks ----------------------------------------------------------

    def active(self) -> int:
        return len(self.links)

    def leaving(self) -> int:
        return len(self.ending & set(self.links))

    def candidates(
        self, seen: Mapping[Point, None], start: float, most: int, now: float
    ) -> list[Point]:
        assert now == self.now
        assert most > 0
        self.looks += 1
        busy = {point: None for point in self.links.values() if point is not None}
        free = [
            (point, miss)
            for point, miss in self.missed.items()
            if point not in seen
            and point not in busy
            and point not in self.pending
            and (miss is None or (miss <= start and now > miss + self.backoff))
        ]
        return dial_order(free, most, self.chance.random)

    def droppable(self, now: float) -> list[int]:
        assert now == self.now
        return [it for it in self.links if it not in self.protected | self.ending]

    # -- what happens ------------------------------------------------------------------

    def learn(self, many: int) -> None:
        for _ in range(many):
            self.missed[point(len(self.missed))] = None

    def _link(self, point: Point | None) -> int:
        self.count += 1
        self.links[self.count] = point
        return self.count

    def join(self, point: Point | None = None) -> int:
        link = self._link(point)
        self.worker.active_changed(len(self.links), self.now)
        self.settle()
        return link

    def leave(self, link: int | None = None) -> None:
        point = self.links.pop(next(iter(self.links)) if link is None else link)
        if point is not None:
            self.missed[point] = self.now
        self.worker.active_changed(len(self.links), self.now)
        self.settle()

    def later(self, delay: float, what: Callable[[], None]) -> None:
        self.count += 1
        heapq.heappush(self.todo, (self.now + delay, self.count, what))

    def answer(self, point: Point) -> None:
        del self.pending[point]
        ok = self.alive(point)
        if ok:
            self.join(point)
        else:
            self.missed[point] = self.now
        self.worker.dialled(point, ok, self.now)
        self.settle()

    def settle(self) -> None:
        """Carry out what the worker says, as a node would."""
        while (command := self.worker.next_command()) is not None:
            self.log.append((self.now, command))
            if isinstance(command, Fill):
                self.pending[command.point] = None
                self.later(self.delay, lambda it=command.point: self.answer(it))
                self.most_dialling = max(self.most_dialling, len(self.pending))
                self.most_committed = max(
                    self.most_committed, len(self.pending) + len(self.links)
                )
            elif isinstance(command, Drop) and self.drops_work:
                self.leave(command.link)
            elif isinstance(command, Ask):
                self.on_ask()

    def start(self) -> Town:
        self.worker.start(self.now)
        self.settle()
        return self

    def request(self) -> None:
        self.worker.request(self.now)
        self.settle()

    def tick(self, now: float) -> None:
        self.now = now
        self.worker.handle_timeout(now)
        self.settle()
        # Not so after other inputs: what is due at that very moment may still be due.
        at = self.worker.next_timeout()
        assert at is None or at > self.now, "it would spin"

    def run(self, until: float) -> Town:
        for _ in range(100_000):
            at = self.worker.next_timeout()
            times = [self.todo[0][0]] if self.todo else []
            due = min(times + ([] if at is None else [at]), default=until)
            if due >= until:
                self.now = until
                return self
            if times and times[0] == due:
                self.now = due
                heapq.heappop(self.todo)[2]()
            else:
                self.tick(due)
        raise AssertionError("it never rests")

    def told(self, *kinds: type) -> list[Any]:
        return [each for _, each in self.log if not kinds or isinstance(each, kinds)]

    def times(self, kind: type) -> list[float]:
        return [round(at, 6) for at, each in self.log if isinstance(each, kind)]

    def counts(self) -> Counter[str]:
        return Counter(type(each).__name__ for _, each in self.log)

    def forget(self) -> None:
        self.log.clear()


# -- bounds ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("three", "four"),
    [
        ((10, 50, 100), (23, 36, 68, 84)),
        ((3, 6, 9), (4, 5, 7, 8)),
        ((1, 1, 1), (1, 1, 1, 1)),
        ((0, 1, 1), (0, 0, 1, 1)),
        ((0, 0, 0), (0, 0, 0, 0)),
        ((25, 50, 75), (33, 41, 59, 67)),
    ],
)
def test_the_bounds_follow_from_min_expected_and_max(three, four):
    b = Bounds(*three)
    assert (b.min_threshold, b.min_target, b.max_target, b.max_threshold) == four


@given(st.lists(st.integers(0, 65_535), min_size=3, max_size=3).map(sorted))
def test_the_bounds_are_in_order_for_all_triples(three):
    b = Bounds(*three)
    low, expected, high = three
    assert low <= b.min_threshold <= b.min_target <= expected
    assert expected <= b.max_target <= b.max_threshold <= high
    # Above nothing wanted there is nothing to look for; else one suffices to look.
    assert b.contain(b.min_target)
    assert b.contain(b.max_target)
    assert b.contain(b.min_threshold)
    assert b.contain(b.max_threshold)
    assert not b.contain(b.min_threshold - 1)
    assert not b.contain(b.max_threshold + 1)


def test_bounds_out_of_order_are_refused():
    with pytest.raises(ValueError, match="min <= expected <= max"):
        Bounds(3, 2, 4)
    with pytest.raises(ValueError, match="min_connections"):
        Bounds(-1, 2, 4)


def test_the_default_bounds_are_those_of_the_limits():
    assert USUAL.thresholds == Limits().thresholds


# -- whom to dial first ----------------------------------------------------------------


def test_never_missed_points_come_first_then_those_missed_longest_ago():
    missed = [(point(1), 9.0), (point(2), 3.0), (point(3), None), (point(4), 5.0)]
    order = [point(3), point(2), point(4), point(1)]
    assert dial_order(missed, 10, random.Random(1).random) == order
    assert dial_order(missed, 2, random.Random(1).random) == order[:2]
    assert dial_order([], 5, random.Random(1).random) == []


def test_each_fourth_was_missed_however_many_were_not():
    fresh = [(point(number), None) for number in range(100)]
    missed = [(point(number), float(number)) for number in range(100, 103)]
    order = dial_order(fresh + missed, 20, random.Random(1).random)
    assert len(order) == len(set(order)) == 20
    places = {place: it for place, it in enumerate(order) if it.address & 0xFF >= 100}
    assert places == {3: point(100), 7: point(101), 11: point(102)}
    # Who is left over when one kind ends comes behind it.
    order = dial_order(fresh[:2] + missed, 20, random.Random(1).random)
    assert order[2:] == [point(100), point(101), point(102)]


def test_a_miss_at_time_zero_is_a_miss():
    missed = [(point(1), 0.0), (point(2), None)]
    for seed in range(20):
        chosen = dial_order(missed, 1, random.Random(seed).random)
        assert chosen == [point(2)]


def test_equals_are_in_random_order_and_the_same_for_the_same_seed():
    missed = [(point(number), None) for number in range(4)]
    firsts = Counter(
        dial_order(missed, 1, random.Random(seed).random)[0] for seed in range(400)
    )
    assert len(firsts) == 4
    assert min(firsts.values()) > 60
    once, again = (dial_order(missed, 4, random.Random(5).random) for _ in range(2))
    assert once == again
    # Chance that gives always the same decides nothing, and breaks nothing.
    assert dial_order(missed, 4, lambda: 0.0) == [point(n) for n in range(4)]


# -- when it runs ----------------------------------------------------------------------


@pytest.mark.parametrize("runner", RUNNERS.values(), ids=RUNNERS)
def test_at_the_thresholds_themselves_nothing_is_done_but_a_swap(runner):
    for active in (23, 84):
        town = Town(active=active, known=50, runner=runner).start()
        assert town.told() == [Collect(), Swap(), Maintained(True)]
        assert town.worker.state is State.WAITING
        assert town.worker.next_timeout() == 120.0


@pytest.mark.parametrize("runner", RUNNERS.values(), ids=RUNNERS)
def test_one_past_a_threshold_it_starts_to_work(runner):
    few = Town(active=22, known=50, runner=runner).start()
    assert few.told()[:3] == [Collect(), Started(Cause.ACTIVATION), TooFew(22)]
    assert few.worker.state is State.FILLING
    many = Town(active=85, runner=runner).start()
    assert many.told()[:3] == [Collect(), Started(Cause.ACTIVATION), TooMany(85)]
    assert many.active() == 68


def test_it_runs_every_idle_time_and_proposes_one_swap_each_time():
    town = Town(active=50).start().run(600.0)
    assert town.times(Swap) == town.times(Collect) == [0.0, 120.0, 240.0, 360.0, 480.0]
    assert town.times(Maintained) == town.times(Swap)


def test_an_explicit_request_runs_at_once_and_puts_the_timer_off():
    town = Town(active=50).start().run(100.0)
    town.forget()
    town.request()
    assert town.told() == [Collect(), Swap(), Maintained(True)]
    assert town.worker.next_timeout() == 220.0


def test_a_request_during_a_run_is_answered_at_the_end_of_it():
    town = Town(known=30).start()
    town.forget()
    town.request()
    town.request()
    assert town.told() == []
    town.run(5.0)
    assert town.told(Maintained) == [Maintained(True)]


def test_too_few_is_noticed_when_one_leaves_below_the_minimum_and_not_at_it():
    town = Town(active=24, known=50, idle_time=36_000.0).start()
    town.forget()
    while town.active() > 10:
        town.leave()
    assert town.told() == []
    town.leave()
    assert town.told(Started) == [Started(Cause.TOO_FEW)]
    town.run(5.0)
    assert town.active() >= 36
    assert town.told(Ended, Maintained)[-1] == Maintained(True)


def test_a_join_below_the_minimum_is_no_reason_to_run():
    town = Town(active=50, known=50).start()
    # All but a few are gone at once, of which the last event tells.
    town.worker._active = 3
    town.links = dict(list(town.links.items())[:3])
    town.forget()
    town.join()
    assert town.told() == []
    town.leave()
    assert town.told(Started) == [Started(Cause.TOO_FEW)]


def test_too_many_is_noticed_when_one_joins_at_the_maximum_and_not_below_it():
    town = Town(active=84, idle_time=36_000.0).start()
    town.forget()
    while town.active() < 99:
        town.join()
    assert town.told() == []
    town.join()
    assert town.told(Started, TooMany) == [Started(Cause.TOO_MANY), TooMany(100)]
    assert town.active() == 68


def test_one_that_leaves_above_the_maximum_is_no_reason_to_run():
    town = Town(active=84).start()
    for _ in range(20):
        town._link(None)
    town.worker._active = 104
    town.forget()
    town.leave()
    assert town.active() == 103
    assert town.told() == []


def test_at_bounds_that_coincide_a_join_makes_no_useless_swap():
    town = Town(Bounds(1, 1, 1), known=1).start().run(5.0)
    assert town.active() == 1
    assert town.counts()["Swap"] == 1
    town.forget()
    town.join()
    assert town.told(Swap, TooMany) == [TooMany(2), Swap()]
    town.forget()
    town.worker.active_changed(1, town.now)
    assert town.worker.next_command() is None


def test_reaching_a_maximum_that_is_within_the_bounds_begins_nothing():
    town = Town(Bounds(0, 1, 1)).start()
    town.forget()
    town.join()
    assert town.told() == []
    town.join()
    assert town.told(TooMany) == [TooMany(2)]


def test_what_changes_nothing_begins_nothing():
    town = Town(active=50).start()
    town.forget()
    town.worker.active_changed(50, 1.0)
    town.worker.met(1.0)
    town.worker.dialled(point(1), False, 1.0)
    town.worker.handle_timeout(1.0)
    town.settle()
    assert town.told() == []


# -- too few ---------------------------------------------------------------------------


@pytest.mark.parametrize("runner", RUNNERS.values(), ids=RUNNERS)
def test_from_nothing_it_fills_up_to_the_target_in_a_moment(runner):
    town = Town(known=300, runner=runner).start().run(10.0)
    assert 36 <= town.active() <= 68
    assert town.most_committed <= 68
    assert town.most_dialling == AT_ONCE
    assert town.times(Maintained) == [0.5]
    assert town.told(Ended) == [Ended(0.5)]
    assert town.told(Swap) == [Swap()]
    assert town.told(TooFew) == [TooFew(0)]


def test_it_ends_without_the_target_when_all_have_been_tried():
    town = Town(known=30).start().run(10.0)
    # 30 is between threshold and target: nobody is left, and that is enough.
    assert town.active() == 30
    assert town.told(Ask) == []
    assert town.told(Maintained) == [Maintained(True)]


def test_dead_points_do_not_keep_the_others_waiting():
    town = Town(known=100)
    town.alive = lambda it: it.address % 2 == 0
    slow = {point(1), point(3)}
    answer = town.answer

    def late(it: Point) -> None:
        if it in slow:
            slow.discard(it)
            town.later(10.0, lambda: late(it))
        else:
            answer(it)

    town.answer = late
    town.start().run(2.0 + PATIENCE)
    assert town.active() >= 36


@pytest.mark.parametrize("at_once", [1, 3, 20, 1000])
def test_dials_in_progress_are_bounded(at_once: int):
    town = Town(known=400, at_once=at_once)
    town.alive = lambda it: it.address % 3 == 0
    town.start().run(200.0)
    assert town.most_dialling == min(at_once, 36)
    assert town.most_committed <= 36
    assert town.active() == 36


@pytest.mark.parametrize("at_once", [1, 3, 20, 60, 1000])
def test_beside_dials_that_take_long_others_are_begun(at_once: int):
    town = Town(known=400, at_once=at_once)
    town.delay = 10.0
    town.start().run(PATIENCE - 0.01)
    assert town.most_dialling == min(at_once, 36)
    town.run(PATIENCE + 0.01)
    assert town.most_dialling == min(at_once, 68)
    town.run(9.9)
    assert town.most_dialling == town.most_committed == min(at_once, 68)


@pytest.mark.parametrize("start", [0.13436424411240122, *(n / 97 for n in range(97))])
def test_what_is_due_of_a_slow_dial_is_done_whatever_the_rounding(start: float):
    town = Town(known=400, at_once=60)
    town.delay = 10.0
    town.now = start
    town.start().run(start + PATIENCE + 0.01)  # `tick` fails where it would spin
    assert town.most_dialling == 60


def test_dials_begun_before_count_when_the_next_run_dials():
    town = Town(known=400)
    town.delay = 10.0
    town.start()
    assert town.most_dialling == 20
    # Others come in, the run is over; then they go, and the dials are still out.
    guests = [town.join() for _ in range(36)]
    assert town.worker.state is State.WAITING
    for guest in guests:
        town.leave(guest)
    assert town.worker.state is State.FILLING
    assert town.most_dialling == 20
    town.run(60.0)
    assert town.most_dialling == 20
    assert town.active() >= 36


def test_a_dial_of_an_earlier_run_is_not_begun_again():
    town = Town(known=2)
    town.delay = 10.0
    town.candidates = lambda *_: [point(0), point(1)]
    town.start()
    guests = [town.join() for _ in range(36)]
    for guest in guests:
        town.leave(guest)
    assert town.worker.state is State.FILLING
    assert town.told(Fill) == [Fill(point(0)), Fill(point(1))]


def test_who_was_next_in_an_earlier_run_is_not_dialled_without_a_look():
    town = Town(known=300).start().run(10.0)
    assert town.worker.state is State.WAITING
    town.missed = {point(1000): None}
    town.forget()
    for link in list(town.links):
        town.leave(link)
    assert town.told(Fill) == [Fill(point(1000))]


def test_a_point_is_dialled_once_in_a_pass():
    town = Town(known=50)
    town.alive = lambda it: False
    town.backoff = 0.0
    town.start().run(4.9)
    assert Counter(it.point for it in town.told(Fill)) == Counter(town.missed.keys())


def test_a_world_that_names_the_same_point_again_does_not_make_it_spin():
    town = Town(known=5)
    town.candidates = lambda *_: [point(1), point(1), point(2)]
    town.alive = lambda it: False
    town.start().run(4.9)
    assert town.told(Fill) == [Fill(point(1)), Fill(point(2))]
    assert town.worker.state is State.ASKING


def test_a_pass_dials_no_more_than_its_bound_however_many_points_there_are():
    town = Town(known=PASS_MAX + 1)
    town.delay = 0.001
    town.alive = lambda it: False
    town.start().run(4.9)
    assert town.counts()["Fill"] == PASS_MAX
    assert town.worker.state is State.ASKING
    town.run(6.0)
    assert town.counts()["Fill"] == PASS_MAX + 1


def test_a_pass_of_exactly_its_bound_dials_all():
    town = Town(known=PASS_MAX)
    town.delay = 0.001
    town.alive = lambda it: False
    town.start().run(4.9)
    assert town.counts()["Fill"] == PASS_MAX


def taught_without_end(town: Town, every: float, until: float) -> Town:
    """Have somebody tell of one dead point after another, in time for the next dial."""
    at = town.now
    while town.now < until:
        at += every
        town.run(at)
        town.learn(1)
        town.worker.met(town.now)
        town.settle()
    return town


@pytest.mark.parametrize("every", [0.5, 9.0])
def test_who_was_away_when_first_dialled_is_found_among_any_number_of_lies(every: float):
    town = Town(SMALL, known=8)
    town.delay = 10.0
    town.alive = lambda it: town.now > 30.0 and it in set(map(point, range(8)))
    taught_without_end(town.start(), every, 2 * PASS_TIME + town.delay)
    assert town.active() >= SMALL.min_threshold
    assert town.times(Ask)[0] == PASS_TIME
    # One pass after the other, and never the same point twice in one.
    dials = [(at // PASS_TIME, it) for at, it in town.log if isinstance(it, Fill)]
    assert len(dials) == len(set(dials))


def test_a_pass_that_is_over_in_time_is_not_cut_off():
    town = Town(known=100)
    town.alive = lambda it: False
    town.delay = 10.0
    town.start().run(54.0)
    assert len(set(town.told(Fill))) == town.counts()["Fill"] == 100
    assert town.times(Ask) == [50.0]


def test_what_cannot_be_reached_in_one_pass_is_in_the_next():
    town = Town(known=200)
    town.alive = lambda it: False
    town.delay = 10.0
    town.backoff = 1000.0
    town.start().run(100.0)
    assert len(set(town.told(Fill))) == town.counts()["Fill"] == 200
    assert town.times(Ask) == [PASS_TIME]


def test_with_enough_connections_a_run_is_over_though_the_lies_go_on():
    town = Town(active=22, known=1)
    town.alive = lambda it: it == point(0)
    town.delay = 10.0
    taught_without_end(town.start(), 9.0, PASS_LONG - 9.0)
    assert (town.worker.state, town.active()) == (State.FILLING, 23)
    taught_without_end(town, 9.0, PASS_LONG + 9.0)
    assert town.times(Maintained) == [PASS_LONG]
    assert town.told(Ask) == []
    assert town.worker.state is State.WAITING


def test_incoming_connections_end_the_search_at_the_target():
    town = Town().start()
    assert town.worker.state is State.ASKING
    for _ in range(22):
        town.join()
    assert town.worker.state is State.ASKING
    town.join()
    # At the threshold it looks once more, as soon as it may; nobody is there.
    town.run(1.0)
    assert town.worker.state is State.WAITING
    assert town.told(Maintained) == [Maintained(True)]


def test_a_number_that_has_risen_unnoticed_ends_the_search():
    town = Town().start()
    for _ in range(36):
        town._link(None)
    town.run(SEARCH_FIRST + 0.1)
    assert town.worker.state is State.WAITING
    assert town.told(Maintained) == [Maintained(True)]


def test_a_flood_of_joins_ends_the_search_at_the_target_without_waiting():
    town = Town().start()
    for _ in range(36):
        assert town.worker.state is State.ASKING
        town.join()
    assert town.worker.state is State.WAITING


# -- asking ----------------------------------------------------------------------------


@pytest.mark.parametrize("runner", RUNNERS.values(), ids=RUNNERS)
def test_with_nobody_to_dial_it_asks_and_waits_longer_each_time(runner):
    town = Town(active=5, runner=runner).start().run(150.0)
    assert town.times(Ask) == [0.0, 5.0, 15.0, 35.0, 65.0, 95.0, 125.0]
    assert town.told(TooFew) == [TooFew(5)]
    assert (SEARCH_FIRST, SEARCH_MAX) == (5.0, 30.0)


def test_an_answer_is_followed_at_once():
    town = Town(active=5).start()
    town.run(1.0)
    town.learn(60)
    town.worker.met(town.now)
    town.settle()
    assert town.worker.state is State.FILLING
    town.run(4.0)
    assert 36 <= town.active() <= 68
    assert town.counts()["Ask"] == 1


def test_news_that_bring_nobody_neither_ask_again_nor_look_too_often():
    town = Town(active=5).start()
    looks = town.looks
    for number in range(1, 4000):
        town.now = number * 0.001
        town.tick(town.now)
        town.worker.met(town.now)
        town.settle()
    assert town.looks - looks <= 4.0 / GAP
    assert town.counts()["Ask"] == 1
    town.run(5.5)
    assert town.times(Ask) == [0.0, 5.0]


def test_news_during_the_dials_are_taken_up_while_the_dials_go_on():
    town = Town(known=3)
    town.delay = 10.0
    town.start()
    town.learn(2)
    town.now = 0.05
    town.worker.met(0.05)
    town.settle()
    assert town.counts()["Fill"] == 3
    town.run(0.2)
    assert town.counts()["Fill"] == 5
    assert town.times(Fill)[-1] == GAP
    town.learn(1)
    town.worker.met(town.now)
    town.settle()
    assert town.counts()["Fill"] == 6


def test_news_are_left_alone_while_there_is_somebody_to_dial():
    town = Town(known=300)
    town.delay = 10.0
    town.start()
    looks = town.looks
    town.now = 5.0
    town.worker.met(5.0)
    town.settle()
    assert town.looks == looks


def test_a_new_peer_is_asked_without_waiting_for_the_next_round():
    town = Town(known=1)
    town.backoff = 7.0
    town.alive = lambda it: town.now > 8.0
    town.start().run(20.0)
    # 0.25: the only point failed.  5.25: it is too early for it.  15.25: now it answers.
    assert town.times(Fill) == [0.0, 15.25]
    assert town.times(Ask) == [0.25, 5.25, 15.5]


def test_a_peer_that_comes_in_is_asked_and_the_delay_stays():
    town = Town().start().run(16.0)
    town.join()
    town.run(17.0)
    assert town.times(Ask) == [0.0, 5.0, 15.0, 16.0]


def test_peers_that_come_and_go_quickly_do_not_make_it_ask_all_the_time():
    town = Town().start()
    for number in range(2000):
        town.run(1.0 + number * 0.001)
        town.leave(town.join())
    assert town.counts()["Ask"] <= 2.0 / GAP + 3
    assert town.looks <= 2.0 / GAP + 6


def test_a_new_search_begins_as_the_first_did():
    town = Town().start().run(40.0)
    for _ in range(36):
        town.join()
    town.run(41.0)
    town.forget()
    while town.active() > 9:
        town.leave()
    town.run(60.0)
    # Asked at once, and again after the first delay.
    assert town.times(Ask) == [41.0, 46.0, 56.0]


def test_the_first_wait_of_a_search_is_drawn_at_the_start():
    town = Town(search=4.0, spread=0.25)
    before = town.chance.getstate()
    drawn = random.Random()
    drawn.setstate(before)
    town.start().run(10.0)
    asked = town.times(Ask)
    assert asked[:2] == pytest.approx([0.0, 4.0 * (1.0 + 0.25 * drawn.random())])
    assert 4.0 < asked[1] < 5.0


def test_the_delay_begins_anew_when_a_dial_succeeded():
    town = Town().start().run(40.0)
    town.learn(1)
    town.worker.met(town.now)
    town.settle()
    town.run(60.0)
    assert town.active() == 1
    assert town.times(Ask) == [0.0, 5.0, 15.0, 35.0, 40.25, 45.25, 55.25]


def test_a_private_node_asks_nobody_and_proposes_no_swap_but_tries_again():
    town = Town(Bounds(1, 1, 1), known=1, private_mode=True)
    town.backoff = 60.0
    town.start().run(10.0)
    assert town.active() == 1
    town.forget()
    town.leave()
    assert town.told() == [Collect(), Started(Cause.TOO_FEW), TooFew(0)]
    town.run(100.0)
    assert town.active() == 1
    assert not {"Ask", "Swap"} & set(town.counts())
    # Lost at 10.0, it may be dialled 60 s later: 5, 10, 20 and 30 s after each other.
    assert town.times(Fill) == [75.0]


def test_dial_rates_decay_when_all_others_are_full():
    town = Town(known=10)
    town.alive = lambda it: False
    refusals: Counter[Point] = Counter()
    # As the reference's back-off has it: 1.2 to the number of refusals.
    town.candidates = lambda seen, start, most, now: [
        it
        for it, miss in town.missed.items()
        if it not in seen
        and it not in town.pending
        and (miss is None or now > miss + 1.2 ** refusals[it])
    ][:most]
    town.alive = lambda it: bool(refusals.update([it]))
    town.start().run(3600.0)
    dials = town.times(Fill)
    assert sum(at < 600.0 for at in dials) > 10 * sum(at >= 3000.0 for at in dials) / 3
    assert town.counts()["Ask"] <= 3600 / SEARCH_MAX + 5


# -- too many --------------------------------------------------------------------------


@pytest.mark.parametrize("runner", RUNNERS.values(), ids=RUNNERS)
@pytest.mark.parametrize("active", [85, 100, 300])
def test_trimming_ends_exactly_at_the_target(active: int, runner):
    town = Town(active=active, runner=runner).start()
    assert town.active() == 68
    assert town.counts()["Drop"] == active - 68
    assert town.told(Ended, Swap, Maintained) == [Swap(), Ended(0.0), Maintained(True)]


def test_those_that_are_leaving_are_no_reason_to_drop_others():
    town = Town(active=100)
    town.ending = set(range(1, 17))
    town.start()
    assert town.told(Drop) == []
    assert town.told(Maintained) == [Maintained(True)]
    town = Town(active=100)
    town.ending = set(range(1, 16))  # 85 stay, one too many
    town.start()
    assert town.told(TooMany) == [TooMany(85)]
    for link in sorted(town.ending):
        town.leave(link)
    assert town.active() == 68


def test_those_that_are_leaving_do_not_make_up_for_those_that_are_missing():
    town = Town(active=40, known=60)
    town.ending = set(range(1, 19))
    town.start()
    assert town.told(TooFew) == [TooFew(22)]
    town.run(5.0)
    # They count where nobody is dialled beyond the greater target.
    assert town.active() - town.leaving() == 36
    assert town.most_committed <= 68
    town = Town(active=68, known=60)
    town.ending = set(range(1, 60))
    town.start().run(4.0)
    assert town.told(Fill) == []
    assert town.worker.state is State.ASKING
    for link in sorted(town.ending):
        town.leave(link)
    town.run(6.0)
    assert town.active() == 36


@pytest.mark.parametrize("known", [0, 1])
def test_a_search_goes_on_until_enough_stay(known: int):
    town = Town(active=40, known=known)
    town.delay = 1.0
    town.ending = set(range(1, 31))
    town.start()
    state = State.FILLING if known else State.ASKING
    for _ in range(25):
        assert town.worker.state is state
        town.join()
    town.join()
    assert town.active() - town.leaving() == 36
    assert town.worker.state is State.WAITING


def test_whom_it_drops_is_random_and_the_same_for_the_same_seed():
    victims: Counter[int] = Counter()
    for seed in range(200):
        victims.update(it.link for it in Town(active=85, seed=seed).start().told(Drop))
    assert len(victims) == 85
    assert max(victims.values()) < 75
    assert min(victims.values()) > 15
    once, again = (Town(active=90, seed=7).start().told(Drop) for _ in range(2))
    assert once == again


def test_whom_the_world_protects_is_spared():
    town = Town(active=100)
    town.protected = set(range(1, 61))
    town.start()
    assert town.active() == 68
    assert set(range(1, 61)) <= set(town.links)


def test_when_too_few_may_be_dropped_those_are_and_then_it_rests():
    town = Town(active=100)
    town.protected = set(range(1, 91))
    town.start()
    assert town.active() == 90
    assert town.worker.state is State.WAITING
    assert town.told(Swap) == []
    assert town.told(Maintained) == [Maintained(False)]
    assert town.worker.next_timeout() == 120.0
    town.forget()
    town.run(1000.0)
    assert town.counts()["Maintained"] == 8
    assert town.told(Drop, TooMany) == []


def test_when_none_may_be_dropped_it_does_nothing_and_says_so():
    town = Town(active=100)
    town.protected = set(town.links)
    town.start()
    assert town.told() == [
        Collect(),
        Started(Cause.ACTIVATION),
        Ended(0.0),
        Maintained(False),
    ]


def test_connections_that_take_their_time_to_go_are_waited_for():
    town = Town(active=100)
    town.drops_work = False
    town.start()
    drops = [it.link for it in town.told(Drop)]
    assert len(drops) == 32
    for link in drops[:-1]:
        town.leave(link)
        # Nobody else is dropped instead.
        assert town.worker.state is State.TRIMMING
    town.join()
    town.leave(drops[-1])
    assert town.worker.state is State.WAITING
    assert town.active() == 69
    assert town.counts()["Drop"] == 32


def test_connections_that_never_go_are_not_waited_for_for_ever():
    town = Town(active=100)
    town.drops_work = False
    town.start()
    assert town.worker.next_timeout() == TRIM_LIMIT
    town.run(TRIM_LIMIT * 3 + 1)
    assert town.times(TooMany) == [0.0, 5.0, 10.0, 15.0]
    assert town.counts()["Drop"] == 4 * 32


def test_a_crowd_that_comes_while_it_trims_is_trimmed_too():
    town = Town(active=100)
    town.drops_work = False
    town.start()
    drops = [it.link for it in town.told(Drop)]
    for _ in range(40):
        town.join()
    town.drops_work = True
    for link in drops:
        town.leave(link)
    assert town.active() == 68
    assert town.worker.state is State.WAITING


def test_a_crowd_that_comes_while_it_fills_is_trimmed_at_the_next_check():
    town = Town(known=1).start()
    for _ in range(90):
        town._link(None)
    town.run(1.0)
    assert town.active() == 68
    assert town.told(TooMany)
    # And those that go while it trims can be too many.
    town = Town(active=100, known=80)
    town.drops_work = False
    town.start()
    for link in list(town.links)[:95]:
        town.links.pop(link)
    town.now = 1.0
    town.worker.active_changed(5, 1.0)
    town.settle()
    assert town.worker.state is State.FILLING
    assert town.told(TooFew) == [TooFew(5)]


# -- swaps -----------------------------------------------------------------------------


def test_no_swap_is_proposed_when_swaps_are_disabled():
    town = Town(active=50, swaps=False).start().run(600.0)
    assert town.told(Swap) == []
    assert town.counts()["Maintained"] == 5


# -- its life --------------------------------------------------------------------------


def test_without_idle_time_there_is_no_maintenance():
    town = Town(known=50, idle_time=None).start()
    assert town.worker.state is State.DISABLED
    town.join()
    town.leave()
    town.run(1000.0)
    assert town.told() == []
    with pytest.raises(LocalProtocolError, match="DISABLED"):
        town.worker.request(town.now)
    town.worker.stop(town.now)
    assert town.worker.state is State.STOPPED


def prepared(state: State) -> Town:
    """Return a town whose worker is in a state."""
    if state is State.FILLING:
        town = Town(known=30).start()
    elif state is State.ASKING:
        town = Town().start()
    elif state is State.TRIMMING:
        town = Town(active=100)
        town.drops_work = False
        town.start()
    elif state is State.INACTIVE:
        town = Town(active=50)
    else:
        idle = None if state is State.DISABLED else 120.0
        town = Town(active=50, idle_time=idle).start()
        if state is State.STOPPED:
            town.worker.stop(0.0)
    assert town.worker.state is state
    town.forget()
    return town


@pytest.mark.parametrize("state", State, ids=lambda state: state.name)
def test_it_stops_in_every_state_and_tells_who_waits(state: State):
    town = prepared(state)
    # Something is left to be told, and must not be done any more.
    town.worker._commands.append(Swap())
    town.worker.stop(1.0)
    town.worker.stop(2.0)
    town.now = 2.0
    town.settle()
    waited = state in (State.FILLING, State.ASKING, State.TRIMMING)
    if state is not State.STOPPED:
        assert town.told() == ([Maintained(False)] if waited else [])
    town.forget()
    assert town.worker.state is State.STOPPED
    assert town.worker.next_timeout() is None
    town.worker.active_changed(3, 3.0)
    town.worker.active_changed(2, 3.0)
    town.worker.met(3.0)
    town.worker.dialled(point(1), True, 3.0)
    town.worker.handle_timeout(1e6)
    assert town.worker.next_command() is None
    with pytest.raises(LocalProtocolError):
        town.worker.start(4.0)
    with pytest.raises(LocalProtocolError, match="STOPPED"):
        town.worker.request(4.0)


def test_before_the_start_nothing_happens_and_nothing_can_be_asked_for():
    town = Town(active=5, known=50)
    town.worker.active_changed(4, 0.0)
    town.worker.met(0.0)
    town.worker.handle_timeout(100.0)
    assert town.worker.next_command() is None
    with pytest.raises(LocalProtocolError, match="INACTIVE"):
        town.worker.request(0.0)


@pytest.mark.parametrize("state", [State.WAITING, State.FILLING, State.DISABLED])
def test_it_is_started_once(state: State):
    with pytest.raises(LocalProtocolError):
        prepared(state).worker.start(1.0)


@pytest.mark.parametrize(
    "wrong", [{"idle_time": 0.0}, {"idle_time": -1.0}, {"at_once": 0}]
)
def test_settings_that_would_spin_or_do_nothing_are_refused(wrong):
    with pytest.raises(ValueError, match=r"not above 0|are none"):
        Town(**wrong)


def test_the_smallest_idle_time_does_not_make_it_spin():
    town = Town(active=50, idle_time=1e-9).start().run(10.0)
    assert town.counts()["Maintained"] <= 10.0 / GAP + 2


# -- whatever happens ------------------------------------------------------------------

triples = st.lists(st.integers(0, 14), min_size=3, max_size=3).map(sorted)


@settings(max_examples=150, deadline=None)
@given(
    triples,
    st.integers(0, 30),
    st.integers(0, 60),
    st.integers(1, 25),
    st.integers(0, 1000),
)
def test_from_any_number_it_comes_within_any_bounds(
    three, active: int, known: int, at_once: int, seed: int
):
    bounds = Bounds(*three)
    town = Town(bounds, known=known, active=active, at_once=at_once, seed=seed)
    town.start().run(30.0)
    n = town.active()
    if active < bounds.min_threshold:
        assert n == min(known + active, max(n, bounds.min_target))
        assert n <= bounds.max_target
        assert town.most_committed <= bounds.max_target
    elif active > bounds.max_threshold:
        assert n == bounds.max_target
    else:
        assert n == active
    assert town.most_dialling <= at_once
    assert (town.worker.state is State.WAITING) == bounds.contain(n)


steps = st.lists(
    st.tuples(
        st.sampled_from(["join", "leave", "wait", "request", "learn", "protect"]),
        st.integers(0, 12),
    ),
    max_size=50,
)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from([(3, 6, 9), (1, 1, 1), (0, 5, 12), (2, 2, 9), (4, 4, 4)]),
    steps,
    st.integers(0, 1000),
    st.sampled_from(list(RUNNERS)),
)
def test_whatever_happens_it_keeps_its_promises(three, steps, seed: int, runner: str):
    town = Town(Bounds(*three), known=5, seed=seed, runner=RUNNERS[runner])
    town.alive = lambda it: town.chance.random() < 0.6
    town.backoff = 3.0
    town.start()
    asked = 0
    for what, many in steps:
        if what == "wait":
            town.run(town.now + many)
        elif what == "request":
            town.request()
            asked += 1
        elif what == "learn":
            town.learn(many)
            town.worker.met(town.now)
            town.settle()
        elif what == "protect":
            town.protected = set(list(town.links)[:many])
        else:
            for _ in range(many):
                if what == "join":
                    town.join()
                elif town.links:
                    town.leave()
        worker = town.worker
        # Every state has something to wait for; every promise to dial is kept track of.
        if worker.state is State.FILLING:
            assert town.pending
        else:
            assert worker.next_timeout() is not None
        assert set(worker._dialling) == set(town.pending)
        assert len(town.pending) <= AT_ONCE
        assert len(worker._seen) <= PASS_MAX
        assert len(worker._queue) <= max(LOOK, Bounds(*three).max_target)
    counts = town.counts()
    assert counts["Started"] - counts["Ended"] == (
        town.worker.state in (State.FILLING, State.ASKING, State.TRIMMING)
    )
    assert counts["Swap"] <= counts["Maintained"]
    if asked and town.worker.state is State.WAITING:
        assert counts["Maintained"] >= 1
    # At last nobody is protected and enough answer: it gets there.
    town.protected = set()
    town.alive = lambda it: True
    town.learn(40)
    town.worker.met(town.now)
    town.settle()
    if town.worker.state is State.WAITING:
        town.request()
    town.run(town.now + 200.0)
    assert Bounds(*three).contain(town.active())


def test_the_same_seed_gives_the_same_run_with_both_runners():
    def trace(runner: str) -> list[tuple[float, Any]]:
        town = Town(known=120, seed=3, runner=RUNNERS[runner])
        town.alive = lambda it: town.chance.random() < 0.3
        town.start().run(500.0)
        for _ in range(70):
            town.join()
        return town.run(900.0).log

    assert trace("shared") == trace("compiled") == trace("shared")


def test_every_row_of_the_table_is_taken_and_no_step_is_refused():
    taken: set[tuple[str, State, State]] = set()

    class Watched(Maintenance):
        __slots__ = ()

        def _fire(self, trigger: str, fact: object) -> None:
            before = self.state
            super()._fire(trigger, fact)
            taken.add((trigger, before, self.state))

    def watch(town: Town) -> Town:
        town.worker.__class__ = Watched
        return town

    for seed in range(6):
        town = watch(Town(SMALL, known=8, seed=seed))
        town.backoff = 1.0
        town.alive = lambda it, town=town: town.chance.random() < 0.5
        town.start()
        for _ in range(150):
            what = town.chance.randrange(4)
            if what == 0:
                for _ in range(town.chance.randrange(12)):
                    # Several at once: a look may find any number.
                    town._link(None)
            elif what == 1:
                town.drops_work = not town.drops_work
            elif what == 2:
                town.links.clear()
            town.worker.active_changed(len(town.links), town.now)
            town.settle()
            town.run(town.now + town.chance.random() * 8)
        town.worker.stop(town.now)
    for state in (State.DISABLED, State.INACTIVE, *State):
        town = watch(Town(active=50, idle_time=None if state is State.DISABLED else 9.0))
        if state is State.FILLING:
            town.learn(3)
            town.links.clear()
        elif state is State.ASKING:
            town.links.clear()
        elif state is State.TRIMMING:
            town.drops_work = False
            for _ in range(50):
                town._link(None)
        if state is not State.INACTIVE:
            town.start()
        town.worker.stop(0.0)
    rows = {(t, source, row.dest) for t, source, row in TABLE.lines()}
    assert {row for row in rows if row not in taken} == set()
    assert taken <= rows
