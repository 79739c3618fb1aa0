"""The links of a node: their connections, deadlines, and whose turn it is to move bytes.

Nothing here decides who may connect.  A link's connection is fed and emptied, and what
follows for the driver is queued as commands: see `Traffic.settle`, which is called after
everything that may have changed a link, and looks at no other.

Without a cap, who has something to write is told to write.  Under one, links take turns
in the order of their shares: one ``Write`` at a time, the next when its bytes are known.
A read is begun by the driver, which asks how much it may read: nothing, while the
link's share is spent.

Source: our own; the shares are described in the bandwidth module.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Generic, TypeVar

import attrs

from ..spec.point import Point
from ..spec.reasons import Direction, Disconnection, ErrorKind, P2pError, Reason
from . import endings
from .bandwidth import UNIT_MAX, Shares
from .commands import (
    Accept,
    Close,
    Dial,
    Maintained,
    NodeCommand,
    Read,
    Shout,
    Shut,
    Write,
)
from .connection import READ_SIZE, Connection
from .lifecycle import State
from .policy import Treatment
from .timers import Timers

M = TypeVar("M")

#: Timers that are no link's.
UP: Final = -1
DOWN: Final = -2


@attrs.define(eq=False, weakref_slot=False)
class Line(Generic[M]):
    """One link, beside what its connection knows.

    ``made`` is True from `Traffic.made` (or `Traffic.arrive`) on, ``lost`` after
    `Traffic.lost`.  ``writing``: a ``Write`` is on its way, or the socket takes no more.
    ``paused``: the driver was told to stop reading.  ``starved``: because the link's
    share is spent, and not for the connection's sake.
    """

    connection: Connection[M]
    deadline: float | None = None
    made: bool = False
    lost: bool = False
    writing: bool = False
    paused: bool = False
    starved: bool = False
    shut: bool = False
    closing: bool = False


@attrs.define(eq=False)
class Traffic(Generic[M]):
    """The links of one node.

    Args:
        up: shares of what is sent.
        down: shares of what is received.
        rations_up: whether what is sent is capped: in all, or any link's.
        rations_down: the same for what is received.
        most_room: bytes that one turn under a cap may send; a chunk more is a unit.
        most_read: bytes that are read at once under a cap.

    Attributes:
        lines: every link that is not lost yet.
        timers: by link; `UP` and `DOWN` are the shares', other negative ones the node's.
        commands: what the driver has to do.
    """

    up: Shares
    down: Shares
    rations_up: bool
    rations_down: bool
    most_room: int = 1
    most_read: int = UNIT_MAX
    lines: dict[int, Line[M]] = attrs.field(factory=dict[int, Line[M]], init=False)
    timers: Timers = attrs.field(factory=Timers, init=False)
    commands: deque[NodeCommand] = attrs.field(factory=deque[NodeCommand], init=False)
    _next_link: int = attrs.field(default=1, init=False)
    # The link whose Write was given under a cap, and whose bytes are not known yet.
    _turn: int = attrs.field(default=0, init=False)
    _now: float = attrs.field(default=0.0, init=False)

    # -- inputs ------------------------------------------------------------------------

    def dial(self, point: Point, connection: Connection[M], deadline: float) -> int:
        """Begin to dial; return the link."""
        link = self._allot(Line(connection, deadline))
        self.commands.append(Dial(link, point))
        self.timers.set(link, deadline)
        return link

    def arrive(self, connection: Connection[M], now: float, deadline: float) -> int:
        """Take in a TCP connection that the other side opened; return the link."""
        line = Line(connection, deadline, made=True)
        link = self._allot(line)
        self._join(link, now)
        connection.start(now, deadline)
        return link

    def made(self, link: int, now: float) -> bool:
        """Take note that a dial has succeeded; False: it was given up before."""
        line = self.lines[link]
        if line.closing:
            self.commands.append(Close(link))
            return False
        line.made = True
        self._join(link, now)
        line.connection.start(now, line.deadline)
        return True

    def lost(
        self, link: int, error: int | None, now: float, direction: Direction
    ) -> None:
        """Take note that a dial has failed, a socket broke, or a Close is done."""
        line = self.lines[link]
        if not line.connection.ended:
            if line.made:
                line.connection.connection_lost(error, now, direction)
            else:
                line.connection.close(endings.dial_failed(error), now)
        line.lost = line.closing = True
        if self._turn == link:
            self._turn = 0
        if line.made:
            self.up.leave(link, now)
            self.down.leave(link, now)

    def receive_data(
        self, link: int, data: bytes | bytearray | memoryview, now: float
    ) -> None:
        """Take bytes of theirs."""
        self.down.spend(link, len(data), now)
        if self.rations_down:
            self.timers.set(DOWN, self.down.next_timeout())
        self.lines[link].connection.receive_data(data, now)

    def writable(self, link: int) -> None:
        """Take note that a socket that took no more takes bytes again."""
        self.lines[link].writing = False

    def due(self, now: float) -> list[int]:
        """Return the timers that are due, those of links after letting them act."""
        self._now = now
        due: list[int] = []
        for key in self.timers.pop_due(now):
            if key == DOWN:
                self._wake(now)
            elif key != UP:  # whose turn it is, `next_command` asks
                due.append(key)
            line = self.lines.get(key)
            if line is not None:
                self._act(line, now)
        return due

    def _wake(self, now: float) -> None:
        """Have those read on whose share lets them."""
        for link in self.down.wake(now):
            woken = self.lines[link]
            woken.starved = woken.paused = False
            self.commands.append(Read(link))
        self.timers.set(DOWN, self.down.next_timeout())

    def _act(self, line: Line[M], now: float) -> None:
        if line.made:
            line.connection.handle_timeout(now)
        else:
            late = P2pError(ErrorKind.TIMEOUT)
            why = Disconnection(Reason.TCP_CONNECTION_CANCELED, (late,))
            line.connection.close(why, now)

    def close(
        self, link: int, reason: Disconnection, now: float, deadline: float | None = None
    ) -> None:
        """End a link."""
        self.lines[link].connection.close(reason, now, deadline)

    def treat(self, link: int, treatment: Treatment, now: float) -> None:
        """Change a link's shares, and its own caps."""
        self.rations_up |= treatment.cap_up is not None
        self.rations_down |= treatment.cap_down is not None
        self.up.adjust(link, treatment.weight_up, treatment.cap_up, now)
        self.down.adjust(link, treatment.weight_down, treatment.cap_down, now)
        if self.rations_down:
            self._wake(now)
        self.timers.set(UP, self.up.next_timeout())

    def drop(self, link: int) -> None:
        """Forget a link that is lost and has nothing left to tell."""
        del self.lines[link]
        self.timers.set(link, None)

    # -- what follows ------------------------------------------------------------------

    def settle(self, link: int, now: float) -> None:
        """Tell the driver what follows from what has happened on a link."""
        self._now = now
        line = self.lines[link]
        connection, commands = line.connection, self.commands
        if not line.writing and not line.lost and connection.wants_to_write:
            line.writing = True
            if self.rations_up:
                self.up.want(link, now)
            else:
                commands.append(Write(link))
        state = connection.state
        if state is State.LINGERING and not line.shut:
            line.shut = True
            commands.append(Shut(link))
        if (state is State.CLOSED or state is State.FINISHING) and not line.closing:
            line.closing = True
            commands.append(Close(link))
        waits = line.paused and not line.starved and not line.closing
        if waits and connection.read_allowance:
            line.paused = False
            commands.append(Read(link))
        at = connection.next_timeout()
        if at is None and not line.made and not line.closing:
            at = line.deadline
        self.timers.set(link, at)

    @property
    def has_turn(self) -> bool:
        """Whether a link may have its turn to write, of those that wait for one."""
        return self.rations_up and not self._turn

    def next_command(self) -> NodeCommand | None:
        """Return what the driver has to do next, or None."""
        while self.commands:
            command = self.commands.popleft()
            if isinstance(command, (Accept, Shout, Maintained)):
                return command
            # A link may have been lost since.
            line = self.lines.get(command.link)
            if line is not None and not line.lost:
                return command
        if self._turn or not self.rations_up:
            return None
        link = self.up.next(self._now)
        self.timers.set(UP, self.up.next_timeout())
        if link is None:
            return None
        self._turn = link
        return Write(link)

    def pieces_to_send(self, link: int, room: int, now: float) -> list[bytes]:
        """Return bytes for one ``Write``; see `Solo.pieces_to_send`."""
        self._now = now
        line = self.lines[link]
        if self._turn == link:
            self._turn = 0
        if room <= 0:
            line.writing = True
            self.up.spend(link, 0, now)
            return []
        line.writing = False
        if self.rations_up:
            # What is sent may exceed it by one chunk.
            room = min(room, self.most_room)
        pieces = line.connection.pieces_to_send(room)
        self.up.spend(link, sum(map(len, pieces)), now)
        self.timers.set(UP, self.up.next_timeout())
        return pieces

    def read_allowance(self, link: int, now: float) -> int:
        """Return how many bytes may be read now; 0: none until ``Read``."""
        line = self.lines[link]
        allowance = 0 if line.closing else line.connection.read_allowance
        if allowance and self.rations_down:
            if self.down.may(link, now):
                allowance = min(allowance, self.most_read)
            else:
                allowance, line.starved = 0, True
                self.timers.set(DOWN, self.down.next_timeout())
        line.paused = not allowance
        return min(allowance, READ_SIZE)

    # -- plumbing ----------------------------------------------------------------------

    def _allot(self, line: Line[M]) -> int:
        link = self._next_link
        self._next_link += 1
        self.lines[link] = line
        return link

    def _join(self, link: int, now: float) -> None:
        self.up.join(link, now)
        self.down.join(link, now)
