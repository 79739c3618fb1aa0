"""Processes that take orders: one for each end, so that neither waits for the other.

A side is a function that gets `Orders` and whatever else it needs.  What it says first
is what its starter waits for (a port, or that it is connected); then it does what it is
told, order by order, until there is none.

Nothing outlives the benchmark: every process is stopped, and killed if that does not
help; it ends when its starter does; and at the latest when its time is up.

For the smoke test of a run without benchmarks, sides are threads: starting processes
would take longer than all they do.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import multiprocessing.dummy
import os
import signal
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
from pairs import Outcome, in_turn

#: Seconds that a process lives at most, that an answer may take, and to stop.
LIFE, PATIENCE, FAREWELL = 100, 30.0, 5.0
#: Seconds that one sample takes, about, and pairs in one comparison.
SAMPLE, PAIRS = 0.5, 7


@attrs.frozen
class _Failure:
    text: str


@attrs.frozen
class Orders:
    """What a side sees of its starter; iterating gives orders until there is none."""

    _pipe: Any

    def say(self, what: object) -> None:
        self._pipe.send(what)

    def __iter__(self) -> Iterator[Any]:
        while (order := self._pipe.recv()) is not None:
            yield order

    async def __aiter__(self) -> AsyncIterator[Any]:
        """Give orders; the loop goes on while they are awaited."""
        while (order := await asyncio.to_thread(self._pipe.recv)) is not None:
            yield order


def _cores() -> list[int]:
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return []


def _live(pipe: Any, side: Callable[..., object], args: tuple[Any, ...]) -> None:
    try:
        said = side(Orders(pipe), *args)
        if asyncio.iscoroutine(said):
            asyncio.run(said)
    except EOFError:  # the starter is gone
        pass
    except BaseException:
        with contextlib.suppress(OSError):
            pipe.send(_Failure(traceback.format_exc()))


def _process(pipe: Any, core: int | None, side: Any, args: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the starter stops us
    if hasattr(signal, "alarm"):
        signal.alarm(LIFE)
    if core is not None:
        os.sched_setaffinity(0, {core})
    _live(pipe, side, args)


class Party:
    """One side, running.

    Args:
        side: what it does; a function or a coroutine function of a module.
        args: what it gets beside its orders.
        place: sides of different places have different cores, if there are so many.
        thread: whether it is a thread.
    """

    def __init__(
        self, side: Callable[..., object], *args: object, place: int, thread: bool
    ) -> None:
        if thread:
            self._pipe, theirs = multiprocessing.dummy.Pipe()
            self._body = multiprocessing.dummy.Process(
                target=_live, args=(theirs, side, args)
            )
            self._body.daemon = True
            self._body.start()
        else:
            context = multiprocessing.get_context("spawn")
            self._pipe, theirs = context.Pipe()
            cores = _cores()
            core = cores[place % len(cores)] if cores else None
            self._body = context.Process(
                target=_process, args=(theirs, core, side, args), daemon=True
            )
            self._body.start()
            theirs.close()

    @property
    def process(self) -> object:
        """What /proc knows it by."""
        return getattr(self._body, "pid", "self")

    def tell(self, order: object) -> None:
        self._pipe.send(order)

    def hear(self) -> Any:
        """Return what it says next."""
        if not self._pipe.poll(PATIENCE):
            raise TimeoutError(f"no answer for {PATIENCE} s")
        said = self._pipe.recv()
        if isinstance(said, _Failure):
            raise RuntimeError(f"a side has failed:\n{said.text}")
        return said

    def ask(self, order: object) -> Any:
        """Tell, and return the answer."""
        self.tell(order)
        return self.hear()

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self.tell(None)
        self._body.join(FAREWELL)
        if self._body.is_alive() and hasattr(self._body, "kill"):
            self._body.kill()
            self._body.join()
        self._pipe.close()


@attrs.frozen
class Talk:
    """A receiving and a sending side that are connected.

    Attributes:
        receiver: says that it is ready for so many messages, then that all have come.
        sender: says nothing but that it is connected.
    """

    receiver: Party
    sender: Party

    def seconds(self, count: int) -> float:
        """Send some messages; return how long it took until the last was received."""

        def send() -> None:
            self.receiver.ask(count)
            self.sender.tell(count)
            self.receiver.hear()

        return undisturbed(send, self.receiver, self.sender)

    def count_for(self, seconds: float) -> int:
        """Return how many messages take so long."""
        count = 100
        while (spent := self.seconds(count)) < seconds / 4:
            count = max(2 * count, min(16 * count, round(count * seconds / 3 / spent)))
        return max(1, round(count * seconds / spent))


def _usage(process: object) -> tuple[float, float]:
    """Return seconds that a process has run, and that it has waited for a core.

    Known on Linux only.
    """
    ran = waited = 0
    for file in Path(f"/proc/{process}/task").glob("*/schedstat"):
        with contextlib.suppress(OSError):  # a thread that is gone meanwhile
            words = file.read_text().split()
            ran, waited = ran + int(words[0]), waited + int(words[1])
    return ran / 1e9, waited / 1e9


def undisturbed(body: Callable[[], object], *parties: Party) -> float:
    """Return how long something takes: wall time, less what others took of it.

    That is the time for which the processes were ready but had no core; as both may have
    waited at once, never less than what the busier of them ran.

    Args:
        body: does it.
        parties: who does it; nobody: this process itself.
    """
    who = [party.process for party in parties] or ["self"]
    before = [_usage(process) for process in who]
    began = time.perf_counter()
    body()
    wall = time.perf_counter() - began
    after = [_usage(process) for process in who]
    used = [(b[0] - a[0], b[1] - a[1]) for a, b in zip(before, after, strict=True)]
    return max(wall - sum(waited for _, waited in used), *(ran for ran, _ in used), 0.0)


@contextlib.contextmanager
def talk(
    receives: tuple[Any, ...], sends: tuple[Any, ...], message: bytes, thread: bool
) -> Iterator[Talk]:
    """Connect two sides; both go when the context is left.

    Args:
        receives: side and arguments; what it says first is its port.
        sends: side and arguments, before port and message; says when it is connected.
        message: what is sent again and again.
        thread: whether they are threads.
    """
    receiver = Party(*receives, place=1, thread=thread)
    try:
        port = receiver.hear()
        sender = Party(*sends, port, message, place=0, thread=thread)
        try:
            sender.hear()
            yield Talk(receiver, sender)
        finally:
            sender.stop()
    finally:
        receiver.stop()


def compare_talks(subject: Talk, yardstick: Talk) -> Outcome:
    """Time two talks in alternating pairs, per message."""
    ours, theirs = subject.count_for(SAMPLE), yardstick.count_for(SAMPLE)

    def take() -> tuple[float, float]:
        return (
            subject.seconds(ours) / ours,
            yardstick.seconds(theirs) / theirs,
        )

    return in_turn(take, PAIRS)
