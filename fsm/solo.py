"""Lone connections behind the verbs of a node: for clients, probes and tests.

No pool, no lists, no maintenance: whoever speaks our network's protocol is admitted, up
to the limits, and each link's messages are pulled by whoever asked for the link.  The
verbs are the node's, so that one driver does for both: after any input, carry out
`next_command` until it gives None, and re-arm `next_timeout` if it changed.

Nobody answers for a lone connection: Bootstrap, Advertise and Swaps are given by
`receive`, in order with the application's messages.

Who is admitted, in this order: not the wrong peer (a link that was dialled with an
expected peer id), not another network or version, not more than ``max_connections``,
and not whom ``judge`` refuses.

Source: our own; the limits are the reference's.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Final, Generic, TypeVar, cast

import attrs

from ..spec.events import (
    Authenticated,
    Closed,
    ConnectionEvent,
    Established,
    Remote,
)
from ..spec.identity import PeerId
from ..spec.message import ControlMessage, MessageCodec
from ..spec.motive import Motive
from ..spec.point import Point
from ..spec.reasons import Direction, Disconnection, ErrorKind, P2pError, Reason
from ..spec.version import Version
from . import endings
from .commands import Accept, Close, Command, Dial, Read, Shut, Wake, Write
from .connection import READ_SIZE, Connection
from .lifecycle import State
from .local import Local
from .timers import Timers

M = TypeVar("M")

#: Unread events that are kept; the oldest go first.
EVENTS_MAX: Final = 1024
#: Seconds without accepting after the system had no socket left.
ACCEPT_DELAY: Final = 5.0
_FORGOTTEN: Final = Disconnection(Reason.USER)
#: Stands for a link where there is none.
_ACCEPTING: Final = 0

#: Says why a peer is refused, or None if it is not.
Judge = Callable[[Remote], Motive | None]


@attrs.define(eq=False, weakref_slot=False)
class _Link(Generic[M]):
    """What is known of one link beside its connection.

    ``made`` is True between `link_made` (or `accept`) and `link_lost`, ``lost`` after
    it.  ``writing``: a Write is on its way, or the socket takes no more.  ``paused``:
    the driver was told to stop reading.  ``resuming``: interrupted work is about to go
    on.  ``flushing``: somebody waits until more has left.  ``pending``: an incoming
    handshake that is not over; ``admitted``: counted as running.
    """

    connection: Connection[M]
    point: Point
    expected: PeerId | None = None
    deadline: float | None = None
    made: bool = False
    lost: bool = False
    writing: bool = False
    paused: bool = False
    shut: bool = False
    closing: bool = False
    resuming: bool = False
    flushing: bool = False
    pending: bool = False
    admitted: bool = False


@attrs.define(eq=False)
class Solo(Generic[M]):
    """Any number of lone connections.

    Every ``now`` is monotonic seconds of one clock and never decreases.  A link that was
    never allotted, or is forgotten, raises `KeyError`.

    Args:
        local: what we are, limits included.
        codec: messages to bytes and back.
        joins: whether waiting messages share chunks.
        judge: called with everybody who could be admitted; returns why not, or None.

    Attributes:
        turned_away: incoming connections that were closed unheard, for lack of room.
    """

    _local: Local
    _codec: MessageCodec[M]
    _joins: bool = True
    _judge: Judge | None = None
    turned_away: int = attrs.field(default=0, init=False)
    _links: dict[int, _Link[M]] = attrs.field(factory=dict[int, _Link[M]], init=False)
    _next_link: int = attrs.field(default=1, init=False)
    _commands: deque[Command] = attrs.field(factory=deque[Command], init=False)
    _events: deque[tuple[int, ConnectionEvent]] = attrs.field(init=False)
    _timers: Timers = attrs.field(factory=Timers, init=False)
    # Links whose handshake the other side began and that are not decided, and links
    # that carry messages or are about to.
    _pending: int = attrs.field(default=0, init=False)
    _running: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        """Make the ring of events."""
        self._events = deque(maxlen=EVENTS_MAX)

    # -- inputs ------------------------------------------------------------------------

    def accept(self, remote: Point, now: float) -> int | None:
        """Take in a TCP connection that the other side opened.

        Returns:
            Its link; None if too many handshakes are in progress: close it at once.
        """
        if self._pending >= self._local.limits.max_incoming_connections:
            self.turned_away += 1
            return None
        number, link = self._allot(remote, incoming=True)
        self._pending += 1
        link.made = link.pending = True
        link.connection.start(now)
        self._settle(number, link)
        return number

    def accept_failed(self, error: int, now: float) -> None:
        """Take note that accepting has failed; when the system has nothing left, rest.

        Args:
            error: ``errno``.
            now: the present.
        """
        if not endings.is_passing(error):
            self._commands.append(Accept(False))
            self._timers.set(_ACCEPTING, now + ACCEPT_DELAY)

    def connect(self, point: Point, now: float, expected: PeerId | None = None) -> int:
        """Dial a point; dialling and handshake have ``connection_timeout`` in all.

        Args:
            point: where.
            now: the present.
            expected: who has to answer there, or anybody.

        Returns:
            The link, for which a `Dial` follows.
        """
        number, link = self._allot(point, incoming=False)
        link.expected = expected
        link.deadline = now + self._local.limits.connection_timeout
        self._commands.append(Dial(number, point))
        self._timers.set(number, link.deadline)
        return number

    def link_made(self, link: int, now: float) -> None:
        """Take note that a dial has succeeded."""
        it = self._links[link]
        if it.closing:
            self._commands.append(Close(link))
            return
        it.made = True
        it.connection.start(now, it.deadline)
        self._settle(link, it)

    def link_lost(
        self,
        link: int,
        error: int | None,
        now: float,
        direction: Direction = Direction.READ,
    ) -> None:
        """Take note that a dial has failed, a socket broke, or a Close is done.

        Args:
            link: which.
            error: ``errno``, or None.
            now: the present.
            direction: what the failed call was about.
        """
        it = self._links[link]
        if it.lost:
            return
        if not it.connection.ended:
            if it.made:
                it.connection.connection_lost(error, now, direction)
            else:
                it.connection.close(endings.dial_failed(error), now)
        it.lost, it.closing = True, True
        self._settle(link, it)

    def receive_data(
        self, link: int, data: bytes | bytearray | memoryview, now: float
    ) -> None:
        """Take bytes of theirs, at most `read_allowance`; ``b""`` is their end."""
        it = self._links[link]
        it.connection.receive_data(data, now)
        self._settle(link, it)

    def writable(self, link: int, now: float) -> None:  # noqa: ARG002  # the node's verb
        """Take note that a socket that took no more takes bytes again."""
        it = self._links[link]
        if it.writing:
            it.writing = False
            self._settle(link, it)

    def handle_timeout(self, now: float) -> None:
        """Do what is due on all links; harmless when nothing is."""
        for number in self._timers.pop_due(now):
            if number == _ACCEPTING:
                self._commands.append(Accept(True))
                continue
            it = self._links[number]
            it.resuming = False
            if it.made or it.lost:
                it.connection.handle_timeout(now)
            elif it.deadline is not None and now >= it.deadline:
                late = P2pError(ErrorKind.TIMEOUT)
                why = Disconnection(Reason.TCP_CONNECTION_CANCELED, (late,))
                it.connection.close(why, now)
            self._settle(number, it)

    # -- commands of the application ---------------------------------------------------

    def send(self, link: int, message: ControlMessage | M) -> bool:
        """Queue one message; False: no room, one ``SendReady`` follows.

        Raises:
            LocalProtocolError: the link does not carry messages (any more).
            EncodeError: the message has no bytes.
        """
        it = self._links[link]
        taken = it.connection.send(message)
        if not it.writing:
            it.writing = True
            self._commands.append(Write(link))
        return taken

    def flush(self, link: int) -> bool:
        """Ask for a `Wake` when more has left; return whether nothing is left."""
        it = self._links[link]
        it.flushing = it.connection.wants_to_write
        return not it.flushing

    def broadcast(self, message: ControlMessage | M, skip: Iterable[int] = ()) -> int:
        """Queue one message, encoded once, on all open links; return on how many.

        Links without room miss it; no ``SendReady`` follows for that.
        """
        header, payload = self._codec.frame(message)
        without = frozenset(skip)
        taken = 0
        for number, it in self._links.items():
            if it.connection.state is State.OPEN and number not in without:
                taken += it.connection.send_encoded(header, payload, promises=False)
                if not it.writing:
                    it.writing = True
                    self._commands.append(Write(number))
        return taken

    def close(
        self,
        link: int,
        reason: Disconnection,
        now: float,
        deadline: float | None = None,
    ) -> None:
        """End a link; nothing of theirs is delivered any more.

        Args:
            link: which.
            reason: what `Closed` will say.
            now: the present.
            deadline: until when what is queued may still leave; None drops it.
        """
        it = self._links[link]
        it.connection.close(reason, now, deadline)
        self._settle(link, it)

    def stop(self, now: float, deadline: float | None = None) -> None:
        """End all links, as `close` would each."""
        why = Disconnection(Reason.POOL_DESTROYED)
        for number in list(self._links):
            self.close(number, why, now, deadline)

    def forget(self, link: int, now: float, reason: Disconnection = _FORGOTTEN) -> None:
        """Let go of a link: end it if it has not ended, drop what nobody pulled.

        Harmless if it is forgotten already.

        Args:
            link: which.
            now: the present.
            reason: what `Closed` will say, if this ends it.
        """
        it = self._links.get(link)
        if it is None:
            return
        it.connection.close(reason, now)
        self._settle(link, it)

    # -- outputs -----------------------------------------------------------------------

    @property
    def pending(self) -> bool:
        """Whether there are commands, or another next timeout than was asked for last."""
        return bool(self._commands) or self._timers.changed

    def __contains__(self, link: int) -> bool:
        """Whether a link was allotted and is not forgotten."""
        return link in self._links

    def __len__(self) -> int:
        """How many links are not forgotten."""
        return len(self._links)

    @property
    def links(self) -> tuple[int, ...]:
        """The links that are not forgotten, oldest first."""
        return tuple(self._links)

    def connection(self, link: int) -> Connection[M]:
        """Return the machine of a link, to look at."""
        return self._links[link].connection

    def point(self, link: int) -> Point:
        """Return where the other end of a link is."""
        return self._links[link].point

    def next_command(self) -> Command | None:
        """Return what a driver has to do next, or None."""
        return self._commands.popleft() if self._commands else None

    def data_to_send(self, link: int, room: int, now: float) -> bytes:
        """Return bytes for one `Write`; see `pieces_to_send`."""
        return b"".join(self.pieces_to_send(link, room, now))

    def pieces_to_send(self, link: int, room: int, now: float) -> list[bytes]:  # noqa: ARG002  # the node's verb
        """Return bytes for one `Write`, in pieces.

        Args:
            link: which.
            room: bytes that the socket's buffer takes; 0 or less: nothing is given, and
                no `Write` comes until `writable`.
            now: the present.

        Returns:
            At most ``room`` bytes, or one chunk more.
        """
        it = self._links[link]
        if room <= 0:
            it.writing = True
            return []
        it.writing = False
        pieces = it.connection.pieces_to_send(room)
        self._settle(link, it)
        if it.flushing:
            it.flushing = False
            self._commands.append(Wake(link))
        return pieces

    def read_allowance(self, link: int, now: float) -> int:  # noqa: ARG002  # the node's verb
        """Return how many bytes may be read now; 0: none until `Read`."""
        it = self._links[link]
        allowance = 0 if it.closing else it.connection.read_allowance
        it.paused = not allowance
        return min(allowance, READ_SIZE)

    def receive(self, link: int) -> ControlMessage | M | None:
        """Return the oldest message of a link that was not pulled yet, or None."""
        it = self._links[link]
        connection = it.connection
        message = connection.receive()
        if connection.stalled:
            # Once until the work has gone on: half a queue may be pulled before.
            if not it.resuming and (at := connection.next_timeout()) is not None:
                it.resuming = True
                self._timers.set(link, at)
        elif it.lost and not connection.readable:
            self._drop(link)
            self._commands.append(Wake(link))
        return message

    def readable(self, link: int) -> bool:
        """Whether `receive` has something to give."""
        return self._links[link].connection.readable

    def next_event(self) -> tuple[int, ConnectionEvent] | None:
        """Return the oldest unread event and its link, or None."""
        return self._events.popleft() if self._events else None

    def next_timeout(self) -> float | None:
        """Monotonic seconds at which `handle_timeout` has something to do, or None."""
        return self._timers.next()

    # -- plumbing ----------------------------------------------------------------------

    def _allot(self, point: Point, *, incoming: bool) -> tuple[int, _Link[M]]:
        number = self._next_link
        self._next_link += 1
        connection = Connection(
            self._local, self._codec, incoming, joins=self._joins, inline=True
        )
        link = self._links[number] = _Link(connection, point)
        return number, link

    def _settle(self, number: int, it: _Link[M]) -> None:
        """Hear what the connection has to tell, and tell the driver what to do."""
        connection, commands = it.connection, self._commands
        if connection.is_calm and not it.lost and not it.paused:
            if connection.readable:
                commands.append(Wake(number))
            if not it.writing and connection.wants_to_write:
                it.writing = True
                commands.append(Write(number))
            return
        wake = connection.readable or it.lost
        while (event := connection.next_event()) is not None:
            wake = True
            self._events.append((number, event))
            self._note(it, event)
        if connection.wants_to_write and not it.writing:
            it.writing = True
            commands.append(Write(number))
        state = connection.state
        if state is State.LINGERING and not it.shut:
            it.shut = True
            commands.append(Shut(number))
        over = connection.ended or state is State.FINISHING
        if over and not it.closing:
            it.closing = True
            commands.append(Close(number))
        if it.paused and not it.closing and connection.read_allowance:
            it.paused = False
            commands.append(Read(number))
        if wake:
            commands.append(Wake(number))
        at = connection.next_timeout()
        if at is None and not it.made and not it.closing:
            at = it.deadline
        self._timers.set(number, at)
        if it.lost and connection.ended and not connection.readable:
            self._drop(number)

    def _note(self, it: _Link[M], event: ConnectionEvent) -> None:
        """Give the verdict when it is asked for, and keep count."""
        if isinstance(event, Authenticated):
            self._decide(it, event)
        elif isinstance(event, (Established, Closed)):
            self._pending -= it.pending
            it.pending = False

    def _decide(self, it: _Link[M], event: Authenticated) -> None:
        connection, remote, motive = it.connection, event.remote, event.agreement
        expected = it.expected
        if expected is not None and expected != remote.peer_id:
            connection.close(endings.wrong_peer(it.point, expected, remote), event.at)
            return
        if isinstance(motive, Version):
            if self._running >= self._local.limits.max_connections:
                motive = Motive.TOO_MANY_CONNECTIONS
            elif self._judge is not None and (judged := self._judge(remote)) is not None:
                # Of callers without types: whatever else it returns lets nobody in.
                said = cast("object", judged)
                motive = said if isinstance(said, Motive) else Motive.NO_MOTIVE
        if isinstance(motive, Motive):
            connection.refuse(motive, (), event.at)
        else:
            it.admitted = True
            self._running += 1
            connection.admit(event.at)

    def _drop(self, number: int) -> None:
        it = self._links.pop(number, None)
        # Not before: messages that nobody has pulled take room as a live link does.
        self._running -= it is not None and it.admitted
        self._timers.set(number, None)
