"""What moves bytes between a core and blocking applications' sockets: ``selectors``.

A driver carries out commands (see `fsm.commands`), keeps one deadline, wakes who waits,
and decides nothing.  Its loop runs in a thread of its own while there is something to
wait for, or, without a thread, inside the calls that wait.

The aio_driver module does the same for asyncio, in the same order.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from ..fsm.commands import Accept, Close, Dial, Read, Shut, Wake, Write
from ..spec.point import Point
from ..spec.reasons import Direction
from .core import Core
from .ends import (
    READ_BUFFER,
    WRITE_BUFFER,
    WRITE_SIZE,
    WRITES_IN_TURN,
    keep_memory,
    report,
)
from .interrupts import INTERRUPTS, StepLock, in_main_thread, select_without, wait_on
from .sockets import Bell, Wire, configure, open_for, point_of

C_co = TypeVar("C_co", bound=Core, covariant=True)

_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


def _ignore(_: int) -> None:
    return None


class Driver(Generic[C_co]):
    """Moves bytes between a core and its sockets.

    Args:
        core: what decides.
        on_event: called with every event of the core, and the link it is about, by
            whichever thread makes it happen; must not block.
        thread: whether the loop runs in a thread of its own.
    """

    def __init__(
        self,
        core: C_co,
        on_event: Callable[[int, Any], object] | None = None,
        thread: bool = True,
    ) -> None:
        self.core = core
        self.clock = time.monotonic
        self.buffer = memoryview(bytearray(READ_BUFFER))
        self.lock = StepLock()
        self._changed = threading.Condition(self.lock)
        self._guarded: bool | None = None
        self._on_event = on_event
        keep_memory()
        self._wires: dict[int, Wire] = {}
        self._owners: dict[int, Callable[[], object]] = {}
        self._to_write: list[int] = []
        self._door: socket.socket | None = None
        self._on_accept: Callable[[int], object] = _ignore
        # There only while there is something to wait for, as is the thread.
        self._selector: selectors.BaseSelector | None = None
        self._bell: Bell | None = None
        # Whether anybody was woken since the loop last went round.
        self._woke = False
        self.threaded = thread
        self._thread: threading.Thread | None = None
        # The thread that waits in the selector, and so does not hold the lock.
        self._turning: int | None = None
        # Without a thread, the one that may use it.
        self._user: int | None = None

    # -- from the sockets --------------------------------------------------------------

    def made(self, link: int, wire: Wire) -> None:
        """A socket is connected."""
        error = wire.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:
            self.lost(link, error)
            return
        wire.connecting = False
        self.core.link_made(link, self.clock())
        self._ask_for(link, wire)

    def accepted(self, sock: socket.socket, address: Any) -> None:
        """The other side has connected a socket."""
        link = self.core.accept(point_of(address), self.clock())
        if link is None:
            sock.close()
            return
        configure(sock)
        wire = self._wires[link] = Wire(sock, connecting=False)
        self._ask_for(link, wire)
        self._on_accept(link)

    def received(self, link: int, wire: Wire) -> None:
        """A socket has bytes, or the end of the stream."""
        allowance = self.core.read_allowance(link, self.clock())
        if not allowance:
            wire.paused = True
            self._ask_for(link, wire)
            return
        try:
            size = wire.sock.recv_into(self.buffer[:allowance])
        except (BlockingIOError, InterruptedError):
            return
        except OSError as exc:
            self.lost(link, exc.errno)
            return
        self.core.receive_data(link, self.buffer[:size], self.clock())
        wire.paused = not size or not self.core.read_allowance(link, self.clock())
        if wire.paused:
            self._ask_for(link, wire)

    def writable(self, link: int, wire: Wire) -> None:
        """A socket takes bytes again."""
        self._write(link, wire)
        if not wire.left and self._wires.get(link) is wire:
            self.core.writable(link, self.clock())

    def lost(
        self, link: int, error: int | None, direction: Direction = Direction.READ
    ) -> None:
        """A socket is of no more use, or a dial has failed."""
        wire = self._wires.pop(link, None)
        if wire is not None:
            if wire.interest:
                self._watch.unregister(wire.sock)
            wire.sock.close()
        self.core.link_lost(link, error, self.clock(), direction)

    # -- from the application ----------------------------------------------------------

    def adopt(self, link: int, wake: Callable[[], object]) -> None:
        """Have a function called whenever something happens on a link."""
        self._owners[link] = wake

    def open_door(self, door: socket.socket, on_accept: Callable[[int], object]) -> None:
        """Accept connections on a listening socket; call a function with each link."""
        self._door = door
        self._on_accept = on_accept
        self._watch.register(door, _READ, None)
        self.pump()

    def wake(self) -> None:
        """Wake whoever waits."""
        self._woke = True
        self._changed.notify_all()

    def close_door(self) -> None:
        """Accept no more."""
        if self._door is not None:
            with contextlib.suppress(KeyError):
                self._watch.unregister(self._door)
            self._door.close()
            self._door = None
            self._changed.notify_all()
            self.pump()

    def pump(self) -> None:
        """Carry out what the core wants; to be called after each of its inputs.

        Raises:
            RuntimeError: without a thread of its own, it is for one thread only.
        """
        core = self.core
        if not self.threaded:
            self._check_user()
        while (command := core.next_command()) is not None:
            match command:
                case Write(link):
                    self._to_write.append(link)
                case Wake(link):
                    if (wake := self._owners.get(link)) is not None:
                        wake()
                        if link not in core:
                            self._owners.pop(link, None)
                    self.wake()
                case Read(link):
                    if (wire := self._wires.get(link)) is not None:
                        wire.paused = False
                        self._ask_for(link, wire)
                case Shut(link):
                    if (wire := self._wires.get(link)) is not None:
                        wire.shut = True
                        self._write(link, wire)
                case Close(link):
                    self.lost(link, None)
                case Dial(link, point):
                    self._dial(link, point)
                case Accept(on):
                    if self._door is not None:
                        if on:
                            self._watch.register(self._door, _READ, None)
                        else:
                            self._watch.unregister(self._door)
                case _:
                    self._carry_out(command)
        self._go_on()
        self._tell()

    def _carry_out(self, command: Any) -> None:
        """Carry out what only some cores want."""

    def _tell(self) -> None:
        """Tell the application what has happened."""
        while (told := self.core.next_event()) is not None:
            if self._on_event is not None:
                try:
                    self._on_event(*told)
                except Exception as exc:
                    report(exc)

    def wait(self, until: float | None = None) -> bool:
        """Wait until something happens; call with the lock held.

        Args:
            until: monotonic seconds at which to give up, or None.

        Returns:
            False if nothing has happened in time.
        """
        left = None if until is None else max(0.0, until - self.clock())
        if not self.busy:
            return False
        self.guard()
        if not self.threaded:
            self._check_user()
            self._turn(left)
            return self._woke or left != 0.0
        if self._thread is threading.current_thread():
            raise RuntimeError("a callback must not wait: it is called by the loop")
        self._woke = False
        self.flush()  # sooner than the thread would
        # What flushing itself has brought about is not told a second time.
        return self._woke or wait_on(self._changed, left)

    def guard(self) -> None:
        """Keep interrupts from the steps of this thread, if it is the main thread."""
        # Once until nothing is left: asking takes as long as a message.
        if self._guarded is None and in_main_thread():
            self._guarded = INTERRUPTS.guard(self._changed)

    def _check_user(self) -> None:
        if self._user is None:
            self._user = threading.get_ident()
        elif self._user != threading.get_ident():
            raise RuntimeError("thread=False: only the thread that began may use it")

    # -- carrying out ------------------------------------------------------------------

    def flush(self) -> None:
        """Write for every link that has something to say, a few times each."""
        for _ in range(WRITES_IN_TURN):
            if not self._to_write:
                break
            links, self._to_write = self._to_write, []
            for link in links:
                self._fetch(link)
            if self.core.pending:
                self.pump()

    def _fetch(self, link: int) -> None:
        wire = self._wires.get(link)
        if wire is not None and wire.left:
            # First: if the socket takes it all, nobody will say that there is room.
            self._write(link, wire)
            wire = self._wires.get(link)
        if wire is None:
            return
        room = WRITE_BUFFER - wire.size
        pieces = self.core.pieces_to_send(link, min(room, WRITE_SIZE), self.clock())
        if pieces:
            wire.left.extend(pieces)
            wire.size += sum(map(len, pieces))
            self._write(link, wire)

    def _write(self, link: int, wire: Wire) -> None:
        try:
            wire.write()
        except OSError as exc:
            self.lost(link, exc.errno, Direction.WRITE)
        else:
            self._ask_for(link, wire)

    def _dial(self, link: int, point: Point) -> None:
        try:
            sock, address = open_for(point)
        except OSError as exc:
            self.lost(link, exc.errno)
            return
        wire = self._wires[link] = Wire(sock, connecting=True)
        try:
            sock.connect(address)
        except (BlockingIOError, InterruptedError):
            self._ask_for(link, wire)
        except OSError as exc:
            self.lost(link, exc.errno)
        else:
            self._ask_for(link, wire)

    def _accept(self) -> None:
        assert self._door is not None
        try:
            sock, address = self._door.accept()
        except OSError as exc:
            self.core.accept_failed(exc.errno or 0, self.clock())
        else:
            self.accepted(sock, address)

    def _ask_for(self, link: int, wire: Wire) -> None:
        """Tell the selector what to look for."""
        if self._wires.get(link) is not wire:
            return
        if wire.connecting:
            interest = _WRITE
        else:
            interest = (0 if wire.paused else _READ) | (_WRITE if wire.left else 0)
        if interest == wire.interest:
            return
        if not interest:
            self._watch.unregister(wire.sock)
        elif not wire.interest:
            self._watch.register(wire.sock, interest, link)
        else:
            self._watch.modify(wire.sock, interest, link)
        wire.interest = interest

    # -- the loop ----------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether there is anything to wait for: a link, or a door."""
        return len(self.core) > 0 or self._door is not None

    @property
    def _watch(self) -> selectors.BaseSelector:
        """The selector, made when it is needed."""
        if self._selector is None:
            self.guard()
            self._selector = selectors.DefaultSelector()
            self._bell = Bell()
            self._selector.register(self._bell.ear, _READ, None)
        return self._selector

    def run(self) -> None:
        """Run the loop until there is nothing left to wait for."""
        with self.lock:
            try:
                while self.busy:
                    self._turn(None)
            except BaseException:
                self._give_up()  # somebody's callback
                raise
            finally:
                self._thread = None
                self._finish()
                self._changed.notify_all()

    def _give_up(self) -> None:
        """End everything: whoever waits must not wait for a loop that is no more."""
        self._on_event = None
        self.close_door()
        self.core.stop(self.clock())
        self.pump()

    def join(self) -> None:
        """Wait for the thread to end, if nothing is left for it; without the lock."""
        with self.lock:
            if self.busy:
                return
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        self.rest()

    def rest(self) -> None:
        """Keep interrupts from nobody any more, if nothing is left."""
        if not self.busy:
            self._guarded = None
            INTERRUPTS.release(self._changed)

    def _finish(self) -> None:
        """Give back what the loop needs."""
        for each in (self._selector, self._bell):
            if each is not None:
                each.close()
        self._selector = self._bell = None

    def _turn(self, most: float | None) -> None:
        """Go round once: write, wait for the sockets or the deadline, do what came."""
        self._woke = False
        self.flush()
        if not self.busy or (self._woke and not self.threaded):
            return  # whoever waits has to look first
        delay = 0.0 if self._to_write else most
        at = self.core.next_timeout()
        if at is not None:
            left = max(0.0, at - self.clock())
            delay = left if delay is None else min(delay, left)
        self._turning = threading.get_ident()
        try:
            ready = select_without(self._changed, self._watch, delay)
        finally:
            self._turning = None
        for key, mask in ready:
            self._serve(key, mask)
        self.core.handle_timeout(self.clock())
        self.pump()
        self.flush()

    def _serve(self, key: selectors.SelectorKey, mask: int) -> None:
        if self._bell is not None and key.fileobj is self._bell.ear:
            self._bell.heard()
        elif key.data is None:
            if key.fileobj is self._door:
                self._accept()
        elif (wire := self._wires.get(key.data)) and wire.sock is key.fileobj:
            if wire.connecting:
                self.made(key.data, wire)
                return
            if mask & _WRITE:
                self.writable(key.data, wire)
            if mask & _READ and self._wires.get(key.data) is wire and not wire.paused:
                self.received(key.data, wire)

    def _go_on(self) -> None:
        """See to it that somebody runs the loop, and knows what has changed."""
        if self._thread is None:
            if not self.busy:
                self._finish()
            elif self.threaded:
                thread = threading.Thread(target=self.run, name="tezos-p2p", daemon=True)
                self._thread = thread
                try:
                    thread.start()  # it begins with taking the lock
                except RuntimeError:
                    self._give_up()
                    self._thread = None
                    self._finish()
                    raise
        elif self._bell and self._turning not in (None, threading.get_ident()):
            self._bell.ring()
