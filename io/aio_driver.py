"""What moves bytes between a core and the sockets of an asyncio loop.

A driver carries out commands (see `fsm.commands`), sets one timer, wakes who waits, and
decides nothing.  All connections of a loop are read into one buffer and decrypted from
there; all that was queued in one tick of the loop leaves in one write.  There is no task
per connection, only one while dialling or accepting.

The blocking_driver module does the same over ``selectors``, in the same order.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import sys
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar, cast
from weakref import WeakKeyDictionary

from ..fsm.commands import Accept, Close, Dial, Read, Shut, Wake, Write
from ..spec.point import Point
from .core import Core
from .ends import (
    READ_BUFFER,
    WRITE_BUFFER,
    WRITE_SIZE,
    WRITES_IN_TURN,
    keep_memory,
    report,
)
from .sockets import configure, open_for, point_of

C_co = TypeVar("C_co", bound=Core, covariant=True)
Loop = asyncio.AbstractEventLoop

#: Of some Pythons, `writelines` never says when the buffer has room again.
_WRITELINES_FORGETS: Final = (3, 12) <= sys.version_info < (3, 12, 9) or (
    3,
    13,
) <= sys.version_info < (3, 13, 2)

_BUFFERS: Final[WeakKeyDictionary[Loop, memoryview]] = WeakKeyDictionary()


def _ignore(_: int) -> None:
    return None


def _close(sock: socket.socket) -> None:
    """Close a socket that a loop which gave up may have closed without telling it."""
    with contextlib.suppress(OSError):
        sock.close()


class _Wire(asyncio.BufferedProtocol):
    """One TCP connection."""

    __slots__ = ("_driver", "link", "remote", "transport")

    def __init__(
        self, driver: Driver[Any], link: int = 0, remote: Point | None = None
    ) -> None:
        self._driver = driver
        # Who has dialled us, if anybody has.
        self.remote = remote
        # 0 until the core knows of it.
        self.link = link
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Not every loop's transports inherit from the class that they implement.
        self.transport = transport = cast("asyncio.Transport", transport)
        transport.set_write_buffer_limits(WRITE_BUFFER - 1, WRITE_BUFFER // 4)
        if self.link:
            self._driver.made(self.link, self)
        else:
            self.link = self._driver.accepted(self)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002  # the loop's wish
        driver = self._driver
        if not self.link:
            return driver.buffer
        # Reading is paused while it is 0; no buffer at all would be an error.
        allowance = driver.core.read_allowance(self.link, driver.clock())
        return driver.buffer[: allowance or 1]

    def buffer_updated(self, nbytes: int) -> None:
        if self.link:
            self._driver.received(self.link, self._driver.buffer[:nbytes])

    def eof_received(self) -> bool:
        if self.link:
            self._driver.received(self.link, b"")
        return True  # the core says when to close

    def resume_writing(self) -> None:
        self._driver.writable(self.link)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self.link:
            self._driver.lost(self.link, exc)


class Driver(Generic[C_co]):
    """Moves bytes between a core and the sockets of one event loop.

    Args:
        core: what decides.
        on_event: called with every event of the core, and the link it is about.
    """

    def __init__(
        self, core: C_co, on_event: Callable[[int, Any], object] | None = None
    ) -> None:
        self.core = core
        self.loop = asyncio.get_running_loop()
        self.clock = self.loop.time
        self.buffer = _BUFFERS.get(self.loop) or memoryview(bytearray(READ_BUFFER))
        _BUFFERS[self.loop] = self.buffer
        self._on_event = on_event
        keep_memory()
        self._wires: dict[int, _Wire] = {}
        self._dials: dict[int, asyncio.Task[None]] = {}
        self._owners: dict[int, Callable[[], object]] = {}
        self._to_write: list[int] = []
        self._flushing = False
        self._timer: asyncio.TimerHandle | None = None
        self._at: float | None = None
        #: The last dial that failed because of a mistake, for who waits for it.
        self.mistake: tuple[int, Exception] | None = None
        self._door: socket.socket | None = None
        self._on_accept: Callable[[int], object] = _ignore
        self._arrivals: set[asyncio.Task[Any]] = set()

    # -- from the sockets --------------------------------------------------------------

    def made(self, link: int, wire: _Wire) -> None:
        """A socket is connected."""
        self._wires[link] = wire
        self._dials.pop(link, None)
        self.core.link_made(link, self.clock())
        self.pump()

    def accepted(self, wire: _Wire) -> int:
        """The other side has connected a socket; return its link, or 0 if unwanted."""
        assert wire.transport is not None
        if self._door is None:
            wire.transport.abort()
            return 0
        assert wire.remote is not None
        link = self.core.accept(wire.remote, self.clock())
        if link is None:
            wire.transport.abort()
            return 0
        self._wires[link] = wire
        self._on_accept(link)
        self.pump()
        return link

    def received(self, link: int, data: bytes | memoryview) -> None:
        """Bytes have come, or the end of the stream."""
        self.core.receive_data(link, data, self.clock())
        if self.core.pending:
            self.pump()
        wire = self._wires.get(link)
        if (
            wire is not None
            and wire.transport is not None
            and not self.core.read_allowance(link, self.clock())
        ):
            wire.transport.pause_reading()
            if self.core.pending:
                self.pump()  # its share is spent: the core asks to be woken

    def writable(self, link: int) -> None:
        """A socket takes bytes again."""
        self.core.writable(link, self.clock())
        self.pump()

    def lost(self, link: int, exc: BaseException | None) -> None:
        """A socket is closed, or a dial has failed."""
        self._dials.pop(link, None)
        self._wires.pop(link, None)
        if link not in self.core:
            return  # a dial that was given up when it had just succeeded ends twice
        error = exc.errno if isinstance(exc, OSError) else None
        self.core.link_lost(link, error, self.clock())
        self.pump()

    # -- from the application ----------------------------------------------------------

    def adopt(self, link: int, wake: Callable[[], object]) -> None:
        """Have a function called whenever something happens on a link."""
        self._owners[link] = wake

    def open_door(self, door: socket.socket, on_accept: Callable[[int], object]) -> None:
        """Accept connections on a listening socket; call a function with each link."""
        self._door = door
        self._on_accept = on_accept
        self.loop.add_reader(door, self._accept)

    def close_door(self) -> None:
        """Accept no more."""
        if self._door is not None:
            self.loop.remove_reader(self._door)
            self._door.close()
            self._door = None

    async def finish_accepting(self) -> None:
        """Wait for what was accepted last; it is turned away."""
        while self._arrivals:
            await asyncio.gather(*self._arrivals, return_exceptions=True)
            await asyncio.sleep(0)  # `gather` of what is done does not let callbacks run

    def pump(self) -> None:
        """Carry out what the core wants; to be called after each of its inputs."""
        core = self.core
        while (command := core.next_command()) is not None:
            match command:
                case Write(link):
                    if not self._to_write and not self._flushing:
                        self.loop.call_soon(self._flush)
                    self._to_write.append(link)
                case Wake(link):
                    if (wake := self._owners.get(link)) is not None:
                        wake()
                        if link not in core:
                            self._owners.pop(link, None)
                case Read(link):
                    if (wire := self._wires.get(link)) and wire.transport is not None:
                        wire.transport.resume_reading()
                case Shut(link):
                    self._shut(link)
                case Close(link):
                    self._close(link)
                case Dial(link, point):
                    task = self.loop.create_task(self._dial(link, point))
                    self._dials[link] = task
                    task.add_done_callback(functools.partial(self._dialled, link))
                case Accept(on):
                    if self._door is not None:
                        if on:
                            self.loop.add_reader(self._door, self._accept)
                        else:
                            self.loop.remove_reader(self._door)
                case _:
                    self._carry_out(command)
        self._arm()
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

    # -- carrying out ------------------------------------------------------------------

    def _flush(self) -> None:
        """Write for every link that has something to say, a few times each."""
        self._flushing = True
        try:
            for _ in range(WRITES_IN_TURN):
                links, self._to_write = self._to_write, []
                for link in links:
                    self._write(link)
                if self.core.pending:
                    self.pump()
                if not self._to_write:
                    break
        finally:
            self._flushing = False
            if self._to_write:
                self.loop.call_soon(self._flush)

    def _write(self, link: int) -> None:
        wire = self._wires.get(link)
        if wire is None or wire.transport is None or wire.transport.is_closing():
            return
        room = WRITE_BUFFER - wire.transport.get_write_buffer_size()
        pieces = self.core.pieces_to_send(link, min(room, WRITE_SIZE), self.clock())
        if pieces and _WRITELINES_FORGETS:
            wire.transport.write(b"".join(pieces))
        elif pieces:
            wire.transport.writelines(pieces)

    def _shut(self, link: int) -> None:
        wire = self._wires.get(link)
        if wire is not None and wire.transport is not None:
            with contextlib.suppress(OSError):  # it is broken: they will hear of it
                wire.transport.write_eof()

    def _close(self, link: int) -> None:
        wire, dial = self._wires.get(link), self._dials.get(link)
        if wire is not None and wire.transport is not None:
            wire.transport.abort()
        elif dial is not None:
            dial.cancel()

    async def _dial(self, link: int, point: Point) -> None:
        sock, address = open_for(point)
        try:
            await self.loop.sock_connect(sock, address)
            await self.loop.create_connection(lambda: _Wire(self, link), sock=sock)
        except BaseException:
            _close(sock)
            raise

    def _dialled(self, link: int, task: asyncio.Task[None]) -> None:
        """Take note of how dialling has ended; it may never have begun."""
        if link in self._dials:
            exc = None if task.cancelled() else task.exception()
            if isinstance(exc, Exception) and not isinstance(exc, OSError):
                self._mistaken(link, exc)
            self.lost(link, exc)

    def _mistaken(self, link: int, exc: Exception) -> None:
        """A dial failed because of a mistake, which is no news of the other side."""
        self.mistake = link, exc

    def _accept(self) -> None:
        if self._door is None:
            return
        try:
            sock, address = self._door.accept()
        except OSError as exc:
            self.core.accept_failed(exc.errno or 0, self.clock())
            self.pump()
            return
        configure(sock)
        task = self.loop.create_task(self._take_in(sock, point_of(address)))
        self._arrivals.add(task)
        task.add_done_callback(functools.partial(self._taken_in, sock))

    async def _take_in(self, sock: socket.socket, remote: Point) -> None:
        wire = _Wire(self, remote=remote)
        try:
            await self.loop.connect_accepted_socket(lambda: wire, sock)
        except (OSError, asyncio.CancelledError) as exc:
            _close(sock)
            if wire.link:
                self.lost(wire.link, exc)

    def _taken_in(self, sock: socket.socket, task: asyncio.Task[None]) -> None:
        self._arrivals.discard(task)
        if task.cancelled():
            _close(sock)

    def _arm(self) -> None:
        """Set the one timer anew if the next deadline is another."""
        at = self.core.next_timeout()
        if at == self._at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._at, self._timer = at, None
        if at is not None:
            self._timer = self.loop.call_at(at, self._on_timer)

    def _on_timer(self) -> None:
        # Loops may wake a tick early.
        at, self._at, self._timer = self._at, None, None
        assert at is not None
        self.core.handle_timeout(max(at, self.clock()))
        self.pump()
