"""A proof of work is searched faster than the plain way, and on all cores at once.

Hashes per second are counted and no find is timed: finds come by chance.  The difficulty
is the greatest there is, so that there are none.
"""

import contextlib
import multiprocessing
import os
from pathlib import Path

from pairs import in_turn, judge, settle, work
from yardsticks.naive_search import search

from tezos_p2p.io.proof_of_work import Progress, find_stamp
from tezos_p2p.spec.identity import DIFFICULTY_RANGE, search_stamp, target_of

PUBLIC_KEY = bytes(range(32))
NEVER = DIFFICULTY_RANGE[1]
TRIES = 1000
FIRST = int.from_bytes(bytes(range(24, 48)), "big")
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1


def test_bench_a_search_on_one_core(benchmark):
    batches = search_stamp(PUBLIC_KEY, NEVER, FIRST, TRIES)
    ours = work(lambda: next(batches))
    plain = work(lambda: search(PUBLIC_KEY, target_of(NEVER), FIRST, TRIES))
    judge(benchmark, f"search of {TRIES} stamps / plain loop", ours, plain, 1.6)


class _EnoughError(Exception):
    pass


def waited() -> float:
    """Return how long the searching processes have waited for a core, on average.

    Known on Linux only; elsewhere other programs must leave all cores to us.
    """
    searching = [child.pid for child in multiprocessing.active_children()] or ["self"]
    files = [Path(f"/proc/{process}/schedstat") for process in searching]
    waits = [int(file.read_text().split()[1]) for file in files if file.exists()]
    return sum(waits) / len(searching) / 1e9


def seconds_per_try(processes: int, settling: float, counting: float) -> float:
    """Search for a while; return the time per stamp.

    Counted is from ``settling`` seconds after the first report, when the processes that
    are still starting have caught up, for ``counting`` seconds.
    """
    first: list[float] = []
    marks: list[tuple[float, int]] = []

    def on_progress(progress: Progress) -> None:
        if not first:
            first.append(progress.seconds)
        since = progress.seconds - first[0]
        if since < settling + counting * len(marks):
            return
        marks.append((progress.seconds - waited(), progress.tries))
        if len(marks) == 2:
            raise _EnoughError

    with contextlib.suppress(_EnoughError):
        find_stamp(PUBLIC_KEY, NEVER, processes, on_progress, batch=5000)
    (began, tried), (ended, tried_then) = marks
    return (ended - began) / (tried_then - tried)


def test_bench_a_search_on_all_cores(benchmark):
    """Wall time here, less the time that the searching processes waited for a core."""
    if benchmark.disabled:
        benchmark.pedantic(seconds_per_try, (CORES, 0.0, 0.01))
        return
    benchmark.pedantic(seconds_per_try, (CORES, 0.3, 0.3), rounds=1)
    found = in_turn(
        lambda: (seconds_per_try(CORES, 0.3, 0.4), seconds_per_try(1, 0.05, 0.4))
    )
    name = f"search of one stamp, {CORES} processes / one process"
    settle(benchmark, name, found, 0.85 * CORES)
