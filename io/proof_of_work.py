"""Searching a proof of work on all cores, with progress.

The search itself is `spec.identity.search_stamp`; here it is given processes, since
hashing 56 bytes holds the interpreter's lock.  Each process begins at its own random
stamp: with 2^192 of them, nobody tries the same one twice.
"""

from __future__ import annotations

import contextlib
import math
import multiprocessing
import os
import secrets
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Final, cast

import attrs
from nacl.bindings import crypto_box_keypair

from ..spec.identity import (
    STAMP_SIZE,
    Identity,
    expected_tries,
    search_stamp,
    target_of,
)

#: Searches that need fewer tries than this do not pay for more processes: 0.2 s.
SMALL: Final = 300_000
#: Stamps tried between two reports of progress of one process: some 30 ms.
BATCH: Final = 50_000


@attrs.frozen
class Progress:
    """How a search stands.

    Attributes:
        tries: stamps tried so far, all processes together.
        expected: mean number of tries that the difficulty takes.
        seconds: time spent so far.
    """

    tries: int
    expected: float
    seconds: float

    @property
    def rate(self) -> float:
        """Tries per second; 0 as long as nothing is known."""
        return self.tries / self.seconds if self.seconds > 0 else 0.0

    @property
    def chance(self) -> float:
        """How likely a search of this length was to succeed, 0 to 1."""
        return -math.expm1(-self.tries / self.expected)


def _first() -> int:
    return int.from_bytes(secrets.token_bytes(STAMP_SIZE), "big")


def _counted(
    public_key: bytes, difficulty: float, batch: int
) -> Generator[tuple[int, bytes | None]]:
    """Search; give how many tries each step took, and the stamp with the last."""
    first, tries = _first(), 0
    for stamp in search_stamp(public_key, difficulty, first, batch):
        took = batch
        if stamp is not None:  # they are tried in order, and wrap around
            at = int.from_bytes(stamp, "big") - first
            took = at % (1 << 8 * STAMP_SIZE) + 1 - tries
        tries += took
        yield took, stamp


def _search(public_key: bytes, difficulty: float, batch: int, out: Connection) -> None:
    """Search in a process of its own; report batches, then the stamp."""
    try:
        for found in _counted(public_key, difficulty, batch):
            out.send(found)
    except (BrokenPipeError, KeyboardInterrupt):
        pass  # somebody else has found one, or nobody wants one any more


def generate_identity(
    difficulty: float,
    processes: int | None = None,
    on_progress: Callable[[Progress], None] | None = None,
) -> Identity:
    """Make a key pair and search a stamp for it.

    Args:
        difficulty: 0 to 256; each unit doubles the time.
        processes: how many search at once; by default one for each core at hand, or
            only the calling one when the search is short.
        on_progress: called many times per second, in the calling thread, and once at
            the end, when it tells all tries.

    As always with `multiprocessing`, a script that searches with several processes
    guards its main part by ``if __name__ == "__main__"``.

    Raises:
        ValueError: difficulty out of range, or fewer than one process.
        ChildProcessError: one of the processes was killed, or did not start.
    """
    target_of(difficulty)
    count = _cores() if processes is None else processes
    if processes is None and expected_tries(difficulty) < SMALL:
        count = 1
    public_key, secret_key = crypto_box_keypair()
    stamp = find_stamp(public_key, difficulty, count, on_progress)
    return Identity(public_key, secret_key, stamp)


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def find_stamp(
    public_key: bytes,
    difficulty: float,
    processes: int,
    on_progress: Callable[[Progress], None] | None = None,
    batch: int = BATCH,
) -> bytes:
    """Search a stamp for a public key; see `generate_identity` for the arguments.

    With one process it is the calling one.  No process is left when it returns or
    raises.
    """
    if processes < 1:
        raise ValueError(f"at least one process must search, not {processes}")
    if batch < 1:
        raise ValueError(f"at least one stamp must be tried at a time, not {batch}")
    expected, began, tries = expected_tries(difficulty), time.monotonic(), 0
    if processes == 1:
        batches = _counted(public_key, difficulty, batch)
    else:
        batches = _search_apart(public_key, difficulty, processes, batch)
    with contextlib.closing(batches):
        for took, stamp in batches:
            tries += took
            if on_progress is not None:
                on_progress(Progress(tries, expected, time.monotonic() - began))
            if stamp is not None:
                return stamp
    raise AssertionError("a search ends in a stamp")


def _what_happened(workers: Sequence[SpawnProcess]) -> str:
    for worker in workers:
        worker.join(1)
        # A process that cannot be started exits with a code, one that is killed with
        # the negative number of a signal.
        if worker.exitcode is not None and worker.exitcode > 0:
            return (
                "a searching process did not start: is the script's main part guarded "
                'by `if __name__ == "__main__"`?'
            )
    return "a searching process was killed"


def _reports(
    readers: list[Connection], workers: list[SpawnProcess]
) -> Iterator[tuple[int, bytes | None]]:
    while True:
        for ready in wait(readers):
            try:
                yield cast("Connection", ready).recv()
            except EOFError:
                raise ChildProcessError(_what_happened(workers)) from None


def _search_apart(
    public_key: bytes, difficulty: float, processes: int, batch: int
) -> Generator[tuple[int, bytes | None]]:
    """Give what the processes report, as it comes; end them all when left."""
    # Spawned, not forked: a fork copies whatever threads and locks the caller has.
    context = multiprocessing.get_context("spawn")
    readers: list[Connection] = []
    workers: list[SpawnProcess] = []
    try:
        for _ in range(processes):
            reader, writer = context.Pipe(duplex=False)
            readers.append(reader)
            arguments = (public_key, difficulty, batch, writer)
            worker = context.Process(target=_search, args=arguments, daemon=True)
            worker.start()
            workers.append(worker)
            writer.close()
        yield from _reports(readers, workers)
    finally:
        for worker in workers:
            worker.terminate()
        for worker in workers:
            worker.join()
            worker.close()
        for reader in readers:
            reader.close()
