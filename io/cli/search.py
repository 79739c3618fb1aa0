"""A search for a proof of work that people can watch and interrupt."""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Generator
from multiprocessing import resource_tracker
from typing import Final

import attrs
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TextColumn,
)
from rich.table import Column

from ...spec.identity import Identity, expected_tries
from ..proof_of_work import Progress as Standing
from ..proof_of_work import generate_identity
from .output import is_terminal
from .start import remark

#: Seconds between two lines of progress where no bar can be drawn.
PAUSE: Final = 30.0
#: Width of the bar.
BAR: Final = 10


@attrs.frozen
class Found:
    """What a search has found, and what it took.

    Attributes:
        tries: those that were reported before the find, and those that led to it.
    """

    identity: Identity
    tries: int
    seconds: float


def search(difficulty: float) -> Found:
    """Search on all cores, with progress on standard error.

    Raises:
        KeyboardInterrupt: no process is left.
        OSError: see `generate_identity`.
    """
    began, tries = time.monotonic(), 0
    with _progress(difficulty) as show, _interrupts_for_us_alone() as listen:

        def report(standing: Standing) -> None:
            nonlocal tries
            tries = standing.tries
            listen()
            show(standing)

        identity = generate_identity(difficulty, on_progress=report)
    return Found(identity, tries, time.monotonic() - began)


@contextlib.contextmanager
def _interrupts_for_us_alone() -> Generator[Callable[[], None]]:
    """Hold back interrupts until what is given is called.

    Ctrl-C reaches every process of the terminal.  Those that are being started would
    show a traceback each; started with the signal blocked, they leave it to this one.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield lambda: None
        return
    # Starting it would unblock the signal, and the first process starts it.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])

    def listen() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    try:
        yield listen
    finally:
        listen()


# -- progress --------------------------------------------------------------------------


@contextlib.contextmanager
def _progress(difficulty: float) -> Generator[Callable[[Standing], None]]:
    console = Console(stderr=True, highlight=False)
    if is_terminal(sys.stderr) and not console.is_dumb_terminal:
        with _bar(console) as show:
            yield show
    else:
        remark(
            f"searching a proof of work of {difficulty:g} bits, "
            f"{expected_tries(difficulty):,.0f} tries expected"
        )
        yield _lines()


def _lines() -> Callable[[Standing], None]:
    due = PAUSE

    def show(standing: Standing) -> None:
        nonlocal due
        if standing.seconds >= due:
            due = standing.seconds + PAUSE
            remark(describe(standing))

    return show


@contextlib.contextmanager
def _bar(console: Console) -> Generator[Callable[[Standing], None]]:
    # Short of the last columns: a ^C that is echoed there would begin another line.
    room = console.width - 4
    columns: list[ProgressColumn] = []
    if room >= 70:
        # The chance, not a part of the work: the search has no memory.
        columns.append(BarColumn(BAR))
        room -= BAR + 1
    cut = Column(no_wrap=True, max_width=max(room, 1))
    columns.append(TextColumn("{task.description}", table_column=cut))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("searching", total=1.0)

        def show(standing: Standing) -> None:
            line = describe(standing, room)
            bar.update(task, completed=standing.chance, description=line)

        yield show


def describe(standing: Standing, room: int = 80) -> str:
    """Say how a search stands, in one line: all of it, or what there is room for."""
    tries = f"{standing.tries / 1e6:,.1f} M tries"
    percent = f"{abs(standing.chance):.0%}"  # there is a -0.0
    chance = f"chance so far {percent}"
    mean = standing.expected / standing.rate if standing.rate else 0.0
    spent = f"{_clock(standing.seconds)} of {_clock(mean)} expected"
    full = f"{tries}, {standing.rate / 1e6:.2f} M/s, {spent}, {chance}"
    for line in (full, f"{spent}, {chance}", chance):
        if len(line) <= room:
            return line
    return percent


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02}"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours < 100 else f"{hours / 24:.3g} days"
