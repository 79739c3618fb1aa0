"""Ctrl-C, kept from coming in the middle of a step of the core.

Python raises `KeyboardInterrupt` between any two operations of the main thread.  In the
middle of a step it would leave tables that contradict each other, a command that nobody
carries out, or half a frame on the wire, and whoever then closes would wait for what
never comes.  So an interrupt that meets the main thread while it holds the lock of a
driver is kept until the lock is let go: at the end of the call, or before it waits.  A
second one is not kept: somebody's callback may be what does not return.

As in asyncio, only Python's own handler of SIGINT is replaced, and only while the main
thread uses a driver; whoever has set another has this under control.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import selectors
import signal
import threading
import weakref
from collections.abc import Callable
from enum import Enum
from types import FrameType
from typing import Final, TypeVar

T = TypeVar("T")


class Mode(Enum):
    """What is done with an interrupt."""

    BY_LOCK = "kept if the main thread holds a guarded lock"
    RAISED = "raised: whoever waits is between steps, with the lock or without"
    KEPT = "kept: a lock is being taken back"


class _Interrupts:
    """The handler of SIGINT, and for whom it is there.

    Attributes:
        kept: whether an interrupt is kept at present.
        mode: what is done with the next; changed by the main thread alone.
    """

    def __init__(self) -> None:
        self.kept = False
        self.mode = Mode.BY_LOCK
        # By their ids.  No lock, which an interrupt could leave locked: each access is a
        # single operation, and only the main thread adds.
        self._guarded: dict[int, weakref.ref[threading.Condition]] = {}

    @property
    def guarded(self) -> list[threading.Condition]:
        """Those whose locks are guarded."""
        found = [each() for each in list(self._guarded.values())]
        return [condition for condition in found if condition is not None]

    def guard(self, condition: threading.Condition) -> bool:
        """Keep interrupts from whoever holds a lock, if this is the main thread.

        Returns:
            Whether they are kept: not in other threads, and not by other handlers.
        """
        if not in_main_thread():
            return False
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            with contextlib.suppress(ValueError):  # another interpreter has it
                signal.signal(signal.SIGINT, self._handle)
        for key, each in list(self._guarded.items()):
            if each() is None:
                self._guarded.pop(key, None)
        self._guarded[id(condition)] = weakref.ref(condition)
        return signal.getsignal(signal.SIGINT) == self._handle

    def release(self, condition: threading.Condition) -> None:
        """Guard a lock no longer; without any left, Python's handler is back.

        If another thread is the last, the main thread puts it back when it comes by: no
        other may set handlers.
        """
        self._guarded.pop(id(condition), None)
        if in_main_thread():
            self._put_back()

    def deliver(self) -> None:
        """Raise what is kept, if this is the main thread and it is between steps.

        Raises:
            KeyboardInterrupt: there was an interrupt.
        """
        if self.kept and in_main_thread() and not self._is_untimely():
            self._come(signal.SIGINT, None)

    def _put_back(self) -> None:
        if not self.guarded and signal.getsignal(signal.SIGINT) == self._handle:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _is_untimely(self) -> bool:
        if self.mode is Mode.BY_LOCK:
            return any(map(is_held, self.guarded))
        return self.mode is Mode.KEPT

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.mode is Mode.KEPT or (not self.kept and self._is_untimely()):
            self.kept = True
        else:
            self._come(number, frame)

    def _come(self, number: int, frame: FrameType | None) -> None:
        self.kept = False
        self._put_back()
        signal.default_int_handler(number, frame)


INTERRUPTS: Final = _Interrupts()


class StepLock(_thread.RLock):  # type: ignore[misc]  # final in typeshed only
    """A lock whose last letting go raises the interrupt that was kept meanwhile."""

    def __exit__(self, *_: object) -> None:
        """Let go."""
        self.release()
        if INTERRUPTS.kept:
            INTERRUPTS.deliver()


_main = threading.main_thread().ident


def _fork() -> None:
    global _main
    _main = threading.main_thread().ident


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_fork)


def in_main_thread() -> bool:
    """Return whether this is the thread in which Python runs handlers of signals."""
    return threading.get_ident() == _main  # looking it up takes as long as a message


def is_held(condition: threading.Condition) -> bool:
    """Return whether this thread holds the lock."""
    try:
        condition.notify(0)
    except RuntimeError:
        return False
    return True


def between_steps(condition: threading.Condition, wait: Callable[[], T]) -> T:
    """Wait for something with a lock that is held once, and may be let go meanwhile.

    An interrupt that is kept, or comes, is raised, and finds the lock held again.

    Raises:
        KeyboardInterrupt: there was an interrupt.
    """
    if not in_main_thread():
        return wait()
    try:
        INTERRUPTS.mode = Mode.RAISED
        INTERRUPTS.deliver()
        return wait()
    finally:
        # No call comes before this, so no interrupt does.
        INTERRUPTS.mode = Mode.KEPT
        if not is_held(condition):
            condition.acquire()
        INTERRUPTS.mode = Mode.BY_LOCK


def select_without(
    condition: threading.Condition, watch: selectors.BaseSelector, seconds: float | None
) -> list[tuple[selectors.SelectorKey, int]]:
    """Wait in a selector without a lock that is held once; hold it again afterwards."""

    def wait() -> list[tuple[selectors.SelectorKey, int]]:
        condition.release()
        try:
            return watch.select(seconds)
        finally:
            condition.acquire()

    return between_steps(condition, wait)


def wait_on(condition: threading.Condition, seconds: float | None) -> bool:
    """Wait on a condition whose lock is held once."""
    return between_steps(condition, lambda: condition.wait(seconds))
