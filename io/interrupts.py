"""Ctrl-C, kept from coming in the middle of a step of the core.

Python raises `KeyboardInterrupt` between any two operations of the main thread.  In the
middle of a step it would leave tables that contradict each other, a command that nobody
carries out, or half a frame on the wire, and whoever then closes would wait for what
never comes.  So an interrupt that meets the main thread while it holds the lock of a
driver comes when the lock is let go: in the next wait, or when the call returns.  A
second one is not kept: somebody's callback may be what does not return.

As in asyncio, only Python's own handler of SIGINT is replaced, and only while there is
a driver that the main thread uses; whoever has set another has this under control.
"""

from __future__ import annotations

import _thread
import contextlib
import selectors
import signal
import threading
import weakref
from types import FrameType
from typing import Final


class _Interrupts:
    """The handler of SIGINT, and for whom it is there."""

    def __init__(self) -> None:
        self._guarded: weakref.WeakSet[threading.Condition] = weakref.WeakSet()
        # Whether one is kept at present.
        self._kept = False

    def guard(self, condition: threading.Condition) -> bool:
        """Keep interrupts from whoever holds a lock; return False in other threads.

        To be called by the main thread; harmless if it was before.
        """
        if threading.get_ident() != threading.main_thread().ident:
            return False
        self._guarded.add(condition)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            with contextlib.suppress(ValueError):  # another interpreter has it
                signal.signal(signal.SIGINT, self._handle)
        return True

    def release(self, condition: threading.Condition) -> None:
        """Guard a lock no longer; without any left, Python's handler is back.

        If another thread is the last, the main thread puts it back when it comes by: no
        other may set handlers.
        """
        self._guarded.discard(condition)
        if threading.get_ident() == threading.main_thread().ident:
            self._put_back()

    def _put_back(self) -> None:
        if not self._guarded and signal.getsignal(signal.SIGINT) == self._handle:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if not self._kept:
            for condition in list(self._guarded):
                if is_held(condition) and self._keep(condition):
                    return
        self._kept = False
        self._put_back()
        signal.default_int_handler(number, frame)

    def _keep(self, condition: threading.Condition) -> bool:
        self._kept = True
        again = threading.Thread(target=self._send_again, args=(condition,), daemon=True)
        try:
            again.start()
        except RuntimeError:
            return False  # there are no threads left
        return True

    def _send_again(self, condition: threading.Condition) -> None:
        with condition:
            pass  # the main thread has let go
        if not self._kept:
            return  # there was a second one
        self._kept = False
        if hasattr(signal, "pthread_kill"):
            main = threading.main_thread().ident
            assert main is not None
            signal.pthread_kill(main, signal.SIGINT)  # which ends its waiting, too
        else:
            _thread.interrupt_main()


def is_held(condition: threading.Condition) -> bool:
    """Return whether this thread holds the lock."""
    try:
        condition.notify(0)
    except RuntimeError:
        return False
    return True


def wait_on(condition: threading.Condition, seconds: float | None) -> bool:
    """Wait on a condition whose lock is held once; an interrupt finds it held again."""
    try:
        return condition.wait(seconds)
    except BaseException:
        if not is_held(condition):  # it came while the lock was given or taken
            condition.acquire()
        raise


def select_without(
    lock: threading.RLock, watch: selectors.BaseSelector, seconds: float | None
) -> list[tuple[selectors.SelectorKey, int]]:
    """Wait in a selector without a lock that is held once; hold it again afterwards."""
    try:
        lock.release()
        return watch.select(seconds)
    finally:
        try:
            lock.acquire()
        except BaseException:  # an interrupt
            lock.acquire()
            raise


INTERRUPTS: Final = _Interrupts()
