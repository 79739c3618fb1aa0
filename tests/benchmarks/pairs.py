"""Timing in alternating pairs: how fast is A, measured in units of B, here and now.

Absolute times say little on a machine that others use too: they swing by a factor of
two.  The ratio of two pieces of work timed one right after the other hardly moves.  So
every target is a ratio to a yardstick, a few plain lines that do the unavoidable part of
the same work; subject and yardstick are timed in turn, and the median of the ratios of
the pairs is what counts.  Absolute figures are printed beside the name of the processor,
and gate nothing.

Times are CPU times of this process: what other programs take meanwhile is not counted.
What the work needs and what is not to be timed is made by `Work.supply`.
"""

from __future__ import annotations

import gc
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
from pytest_benchmark.fixture import BenchmarkFixture

#: Pairs in one comparison.
PAIRS = 15
#: Seconds that one sample takes, about, and turns that it is cut into.  A pair is taken
#: a little of this and a little of that, so that both see the same machine; the quickest
#: turn of each counts, since what others do can only slow it down.
SAMPLE, TURNS = 0.03, 10
#: Runs that are supplied at a time: few enough to stay in the caches.
BATCH = 50
#: The comparison is repeated, once, if the samples of the yardstick differ by more.
SPREAD = 0.25


def _nothing() -> None:
    return None


@attrs.frozen
class Work:
    """Something to be timed.

    Attributes:
        run: does it once, with what was supplied.
        supply: makes what one run needs; not timed.
    """

    run: Callable[[Any], object]
    supply: Callable[[], Any] = _nothing

    def seconds(self, runs: int) -> float:
        """Return the CPU time of some runs."""
        run, spent = self.run, 0.0
        while runs > 0:
            supplies = [self.supply() for _ in range(min(runs, BATCH))]
            began = time.process_time()
            for supplied in supplies:
                run(supplied)
            spent += time.process_time() - began
            runs -= len(supplies)
        return spent

    def runs_for(self, seconds: float) -> int:
        """Return how many runs take about so long."""
        runs = 1
        while (spent := self.seconds(runs)) < seconds / 4:
            runs *= 2
        return max(1, round(runs * seconds / spent))


def work(body: Callable[[], object]) -> Work:
    """Make work of a function that needs nothing."""
    return Work(lambda _: body())


@attrs.frozen
class Outcome:
    """What a comparison gave.

    Attributes:
        ratios: rate of the subject in units of the yardstick's rate, pair by pair.
        subject: seconds per run, median.
        yardstick: seconds per run, median.
        spread: how far the yardstick's samples lie apart, relative to their median.
    """

    ratios: tuple[float, ...]
    subject: float
    yardstick: float
    spread: float

    @property
    def median(self) -> float:
        """The ratio that counts."""
        return statistics.median(self.ratios)


def outcome(samples: list[tuple[float, float]]) -> Outcome:
    """Sum up pairs of (seconds per run of the subject, of the yardstick)."""
    subjects, yardsticks = [a for a, _ in samples], [b for _, b in samples]
    middle = statistics.median(yardsticks)
    return Outcome(
        tuple(b / a for a, b in samples),
        statistics.median(subjects),
        middle,
        (max(yardsticks) - min(yardsticks)) / middle,
    )


@contextmanager
def _no_collection() -> Iterator[None]:
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def in_turn(take: Callable[[], tuple[float, float]], pairs: int = PAIRS) -> Outcome:
    """Take pairs; once more if the machine was too restless, and keep the calmer lot."""
    with _no_collection():
        first = outcome([take() for _ in range(pairs)])
        if first.spread <= SPREAD:
            return first
        second = outcome([take() for _ in range(pairs)])
    return min(first, second, key=lambda lot: lot.spread)


def compare(subject: Work, yardstick: Work) -> Outcome:
    """Time a subject and a yardstick in alternating pairs."""
    ours, theirs = subject.runs_for(SAMPLE / TURNS), yardstick.runs_for(SAMPLE / TURNS)

    def take() -> tuple[float, float]:
        turns = [(subject.seconds(ours), yardstick.seconds(theirs)) for _ in range(TURNS)]
        return min(a for a, _ in turns) / ours, min(b for _, b in turns) / theirs

    return in_turn(take)


def processor() -> str:
    """Return the name of the processor."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def report(name: str, found: Outcome, least: float | None) -> None:
    """Print one line: the ratio, its range, the target, absolute figures, processor."""
    target = "not judged" if least is None else f"at least {least:.3g}"
    print(
        f"\n{name}: {found.median:.3f} ({min(found.ratios):.3f}..{max(found.ratios):.3f},"
        f" {target}); {found.subject * 1e6:.2f} µs, yardstick {found.yardstick * 1e6:.2f}"
        f" µs ±{found.spread * 50:.0f} %, {processor()}",
        end="",
    )


def judge(
    benchmark: BenchmarkFixture,
    name: str,
    subject: Work,
    yardstick: Work,
    least: float | None,
) -> None:
    """Run the subject as a benchmark; then hold its ratio to the yardstick to a target.

    With benchmarks disabled both are run once, and nothing is judged.

    Args:
        benchmark: pytest-benchmark's fixture, which keeps the absolute figures.
        name: of the line that is printed.
        subject: what is ours.
        yardstick: what it is measured by.
        least: smallest median of the ratios of rates that will do; None: any.
    """

    def supply() -> tuple[tuple[Any], dict[str, Any]]:
        return (subject.supply(),), {}

    if benchmark.disabled:
        benchmark.pedantic(subject.run, setup=supply)
        yardstick.run(yardstick.supply())
        return
    if subject.supply is _nothing:
        benchmark(subject.run, None)
    else:
        benchmark.pedantic(subject.run, setup=supply, rounds=2000, warmup_rounds=50)
    found = compare(subject, yardstick)
    settle(benchmark, name, found, least)


def settle(
    benchmark: BenchmarkFixture, name: str, found: Outcome, least: float | None
) -> None:
    """Print an outcome, keep it with the benchmark, and fail if it falls short."""
    report(name, found, least)
    benchmark.extra_info["ratio"] = found.median
    benchmark.extra_info["target"] = least
    assert least is None or found.median >= least
