"""One peer connection from the first byte to the last: handshake, messages, end.

Two rules.  This module decides when a connection begins to carry messages, when it stops
and why; what a handshake is, how bytes become messages and messages bytes, is the
business of the handshake, incoming and outgoing modules.  And nothing happens per
message in the table: it is asked when a connection opens and when it ends.

==========  ============================================================================
state       meaning
==========  ============================================================================
IDLE        waits for `start`
HANDSHAKE   who are they, and do both sides accept?  See the handshake module
OPEN        messages both ways
FINISHING   their stream has ended; what they sent before it is still decoded
DRAINING    we end it: what is queued still leaves, what they send is thrown away
LINGERING   all has left and our side is shut; their end, or the deadline, is awaited
CLOSED      over: ``Closed`` was the last event
==========  ============================================================================

Who ends it decides what becomes of the messages that they sent and nobody pulled yet.
If we do (`close`), nothing of theirs is delivered any more.  If they do, or their bytes
were wrong, what they sent before comes first: `receive` gives it even after ``Closed``.
What *we* had queued is lost with their end, as in the reference: a stream has no halves.

A close with a deadline, and a refusal, are polite: the bytes leave, the driver shuts
the writing side (state LINGERING), and what still comes is read and thrown away, because
closing over unread bytes makes the system send a reset that destroys what was just
sent.  The end of their stream or the one deadline ends that.

Back-pressure: the read allowance is 0 while the queue of messages is full, while too
many control messages are unread, and while work is left from the last call.  Then
`next_timeout` gives a time in the past as soon as `handle_timeout` can go on.

Source: the socket and connection modules of the reference node, 2026, and how nodes of
2019 behaved; keeping messages behind a full queue follows what the reference intends
(its reader can lose the last error).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Generic, TypeVar

import attrs

from ..spec import events
from ..spec.events import ConnectionEvent, ControlReceived, Remote
from ..spec.limits import FRAME_WIRE_MAX
from ..spec.message import ControlMessage, MessageCodec
from ..spec.motive import Motive
from ..spec.point import Point
from ..spec.reasons import Direction, Disconnection, ErrorKind, P2pError
from ..spec.version import Version
from . import endings
from .handshake import Handshake
from .incoming import FAULTS, Incoming, fault_of
from .lifecycle import LINGER, TABLE, State
from .local import Local
from .machine import RUNNERS, LocalProtocolError, Trigger
from .outgoing import Outgoing, slice_size_of

M = TypeVar("M")

#: Most bytes that an open connection asks for at once.
READ_SIZE: Final = 1 << 18
#: Bytes that are kept at most because work has stopped: what was asked for, and a frame.
KEPT_MAX: Final = READ_SIZE + FRAME_WIRE_MAX


# Looking a member up in its enumeration takes as long as a call.
_OPEN: Final = State.OPEN
_FINISHING: Final = State.FINISHING
_DRAINING: Final = State.DRAINING


@attrs.define(eq=False)
class _Leaving:
    """The fact of ``refuse``, ``drain`` and ``finish``: why, and how long it may take."""

    why: Disconnection
    deadline: float | None = None


@attrs.define(eq=False, weakref_slot=False)
class Connection(Generic[M]):
    """One connection, either role.

    Feed it, then drain bytes, then events, then messages, then re-arm: after any input
    call `data_to_send`, `next_event` and `receive` until they give nothing, and ask
    `next_timeout`.  ``Closed`` comes exactly once and is the last event.

    Every ``now`` is monotonic seconds of one clock and never decreases.

    Args:
        local: what we are.
        codec: messages to bytes and back.
        incoming: True if the other side dialled.
        joins: whether waiting messages share chunks; off, chunks are cut exactly as the
            reference cuts them.
        inline: whether control messages (Bootstrap, Advertise, Swap) are given by
            `receive`, in order with the application's, and not as events.

    Attributes:
        state: where it stands.
        remote: who they are; None until they are authenticated.
        version: the versions agreed on; None until both have accepted.
        disconnection: why it has ended or is about to; None while it lives.
    """

    _local: Local
    _codec: MessageCodec[M]
    incoming: bool
    joins: bool = True
    inline: bool = False
    state: State = attrs.field(default=State.IDLE, init=False)
    remote: Remote | None = attrs.field(default=None, init=False)
    version: Version | None = attrs.field(default=None, init=False)
    disconnection: Disconnection | None = attrs.field(default=None, init=False)
    _handshake: Handshake | None = attrs.field(default=None, init=False)
    _in: Incoming[M] | None = attrs.field(default=None, init=False, repr=False)
    _out: Outgoing | None = attrs.field(default=None, init=False, repr=False)
    _unsent: bytes = attrs.field(default=b"", init=False, repr=False)
    # A list only while there are any.
    _events: list[ConnectionEvent] | None = attrs.field(default=None, init=False)
    _deadline: float | None = attrs.field(default=None, init=False)
    _eof: bool = attrs.field(default=False, init=False)
    _now: float = attrs.field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        """Be ready for bytes, even before the start."""
        self._handshake = Handshake(self._local, self.incoming)

    # -- inputs ------------------------------------------------------------------------

    def start(self, now: float, deadline: float | None = None) -> None:
        """Send our connection message; the handshake has to be over by the deadline.

        Args:
            now: the present.
            deadline: monotonic seconds; by default ``now`` plus the limit for the role.

        Raises:
            LocalProtocolError: it was started before, or is over.
        """
        if self._handshake is None:
            raise LocalProtocolError("start", self.state.name)
        self._now = now
        self._handshake.start(now, deadline)
        self._fire("start", None)
        self._follow()

    def receive_data(self, data: bytes | bytearray | memoryview, now: float) -> None:
        """Take bytes of theirs; ``b""`` is the end of their stream.  Never raises.

        At most `incoming.WORK` is done at once; the rest waits for `handle_timeout`.

        Args:
            data: any number of bytes, `read_allowance` at most; need not outlive the
                call.
            now: the present.
        """
        self._now = now
        if self._handshake is not None:
            self._eof = self._eof or not len(data)
            self._handshake.receive_data(data, now)
            self._follow()
        elif not len(data):
            self._meet_their_end(None, Direction.READ)
        elif self.state is _OPEN:
            self._work(data)

    def connection_lost(
        self, error: int | None, now: float, direction: Direction = Direction.READ
    ) -> None:
        """Take note that the stream is gone both ways.

        Args:
            error: ``errno`` of the system call that failed, or None.
            now: the present.
            direction: what the call was about.
        """
        self._now = now
        if self._handshake is not None:
            # As if it had just ended: a refusal of theirs may still be unread, and what
            # a reset means is the same in every step.
            self._eof = True
            self._handshake.receive_data(b"", now)
            self._follow()
        elif self.state is State.DRAINING:
            self._leave_unsent(ErrorKind.CONNECTION_CLOSED)
        else:
            self._meet_their_end(error, direction)

    def admit(self, now: float) -> None:
        """Accept them.

        Raises:
            LocalProtocolError: it is not the time for it, or there is no common version.
        """
        if self._handshake is None:
            raise LocalProtocolError("admit", self.state.name)
        self._now = now
        self._handshake.admit(now)
        self._follow()

    def refuse(self, motive: Motive, points: tuple[Point, ...], now: float) -> None:
        """Refuse them: a nack they can read leaves, then it ends within `LINGER`.

        Args:
            motive: why.
            points: other nodes to try, at most 100.
            now: the present.

        Raises:
            LocalProtocolError: it is not the time for it.
            EncodeError: the points cannot be sent.
            ValueError: the motive is no int16.
        """
        if self._handshake is None:
            raise LocalProtocolError("refuse", self.state.name)
        self._now = now
        self._handshake.refuse(motive, points, now)
        self._follow()

    def send(self, message: ControlMessage | M) -> bool:
        """Queue one message.

        Returns:
            False if there is no room: the message is not queued, and exactly one
            ``SendReady`` follows, however often this is tried.

        Raises:
            LocalProtocolError: not in `OPEN`.
            EncodeError: the message has no bytes.
        """
        out = self._out
        if out is None or self.state is not _OPEN:
            raise LocalProtocolError("send", self.state.name)
        header, payload = self._codec.frame(message)
        return out.put(header, payload)

    def send_encoded(self, header: bytes, payload: bytes, promises: bool = True) -> bool:
        """Queue a message that `MessageCodec.frame` has encoded, once for many peers.

        Returns and raises as `send`; without ``promises`` no ``SendReady`` follows.
        """
        out = self._out
        if out is None or self.state is not State.OPEN:
            raise LocalProtocolError("send", self.state.name)
        return (out.put if promises else out.offer)(header, payload)

    def close(
        self, reason: Disconnection, now: float, deadline: float | None = None
    ) -> None:
        """End it from our side; when it is ending or over, the reason stays the first.

        Nothing of theirs is delivered from now on, in either case.

        Args:
            reason: what ``Closed`` will say.
            now: the present.
            deadline: monotonic seconds until which what is queued may still leave; None
                drops it.  Before messages flow there is nothing to wait for.
        """
        self._now = now
        state = self.state
        if self._handshake is not None:
            self._handshake.close(reason, now)
            self._follow()
        elif state in _LEAVING:
            if deadline is None or now >= deadline:
                self._leave_unsent(ErrorKind.CANCELED)
            else:
                assert self._deadline is not None
                self._deadline = min(self._deadline, deadline)
        else:
            self._purge()
            if state is State.OPEN and deadline is not None and now < deadline:
                self._fire("drain", _Leaving(reason, deadline))
                self._check_sent()
            elif state is not State.CLOSED:
                self._end(self.disconnection or reason)

    def handle_timeout(self, now: float) -> None:
        """Do what is due: give up, or go on with work; harmless when nothing is."""
        self._now = now
        if self._handshake is not None:
            self._handshake.handle_timeout(now)
            self._follow()
        elif self.state in _LEAVING:
            if self._deadline is not None and now >= self._deadline:
                self._leave_unsent(ErrorKind.TIMEOUT)
        elif self._may_go_on():
            self._work(b"")

    # -- outputs -----------------------------------------------------------------------

    @property
    def ended(self) -> bool:
        """Whether it is over: ``Closed`` is, or was, its last event."""
        return self.state is State.CLOSED

    @property
    def read_allowance(self) -> int:
        """Most bytes that `receive_data` may be given now; 0: do not read at all.

        A socket that is asked for 0 bytes gives ``b""``, which would be the end.
        """
        if self._handshake is not None:
            return self._handshake.read_allowance
        if self._eof:
            return 0
        if self.state is _OPEN:
            return 0 if self.stalled else READ_SIZE
        return READ_SIZE if self.state in _LEAVING else 0

    @property
    def wants_to_write(self) -> bool:
        """Whether `data_to_send` has something to give."""
        if self._handshake is not None:
            return self._handshake.has_data_to_send
        return bool(self._unsent) or (self._out is not None and self._out.fill > 0)

    @property
    def readable(self) -> bool:
        """Whether `receive` has something to give."""
        return self._in is not None and self._in.items is not None

    @property
    def is_calm(self) -> bool:
        """Whether it is open, has nothing to tell and no work left."""
        incoming = self._in
        return (
            self.state is _OPEN
            and self._events is None
            and incoming is not None
            and not incoming.stalled
        )

    @property
    def stalled(self) -> bool:
        """Whether work is left; it goes on when `next_timeout` says so."""
        return self._in is not None and self._in.stalled

    @property
    def undelivered(self) -> int:
        """Weight of the messages that `receive` has to give; see the queues module."""
        return 0 if self._in is None else self._in.fill

    @property
    def queued(self) -> int:
        """Bytes of messages that `send` has taken so far, but for those dropped."""
        return 0 if self._out is None else self._out.queued

    @property
    def sealed(self) -> int:
        """Bytes of messages that have left so far, as chunks."""
        return 0 if self._out is None else self._out.sealed

    def data_to_send(self, room: int = READ_SIZE) -> bytes:
        """Return and forget bytes for the wire: ``room`` of them, or one chunk more.

        In `DRAINING` the last of them lead to `LINGERING`.
        """
        return b"".join(self.pieces_to_send(room))

    def pieces_to_send(self, room: int = READ_SIZE) -> list[bytes]:
        """Do as `data_to_send`, in pieces, for drivers that can write them unjoined."""
        if self._handshake is not None:
            data = self._handshake.data_to_send(room)
            return [data] if data else []
        pieces: list[bytes] = []
        if self._unsent and room > 0:
            unsent = self._unsent
            pieces.append(unsent[:room])
            self._unsent = unsent[room:]
            room -= len(unsent)
        out = self._out
        if out is not None and out.fill and room > 0:
            out.seal(room, pieces)
            if out.exhausted and (self.state is _OPEN or out.fill):
                fault = P2pError(ErrorKind.NONCES_EXHAUSTED, "sending")
                self._fail(fault, Direction.WRITE)
            elif out.refused and out.ready():
                self._tell(events.SendReady(self._now))
        if self.state is _DRAINING:
            self._check_sent()
        return pieces

    def receive(self) -> ControlMessage | M | None:
        """Return the oldest message that was not pulled yet, or None.

        Only this makes room for more: who does not pull stops the peer, in the end.
        """
        return None if self._in is None else self._in.pop()

    def receive_many(self, most: int) -> list[ControlMessage | M]:
        """Return the oldest messages that were not pulled yet, so many at most."""
        return [] if self._in is None else self._in.take(most)

    def next_event(self) -> ConnectionEvent | None:
        """Return the oldest unread event, or None."""
        if self._events is None:
            return None
        event = self._events.pop(0)
        self._events = self._events or None
        return event

    def next_timeout(self) -> float | None:
        """Monotonic seconds at which `handle_timeout` has something to do, or None."""
        if self._handshake is not None:
            return self._handshake.next_timeout()
        return self._now if self._may_go_on() else self._deadline

    # -- progress ----------------------------------------------------------------------

    def _follow(self) -> None:
        """Do what the handshake has come to."""
        handshake = self._handshake
        assert handshake is not None
        while (event := handshake.next_event()) is not None:
            if isinstance(event, events.Closed):
                self._handshake = None
                self._unsent = handshake.data_to_send(READ_SIZE)
                if self._unsent:
                    deadline = self._now + LINGER
                    self._fire("refuse", _Leaving(event.disconnection, deadline))
                else:
                    self._end(event.disconnection)
            elif isinstance(event, events.Established):
                if handshake.ended:  # they left with their answer: ``Closed`` follows
                    self._fire("open", event)
                else:
                    self._open(handshake, event)
            else:
                if isinstance(event, events.Authenticated):
                    self.remote = event.remote
                self._tell(event)

    def _open(self, handshake: Handshake, event: events.Established) -> None:
        """Begin to carry messages; some of theirs may be here already."""
        session = handshake.hand_over()
        limits = self._local.limits
        self._handshake = None
        self._unsent = session.unsent
        self._in = Incoming(
            session.channel, self._codec, limits.incoming_message_queue_size, self.inline
        )
        self._out = Outgoing(
            session.channel,
            limits.outgoing_message_queue_size,
            slice_size_of(limits.binary_chunks_size),
            self.joins,
        )
        self._eof = False
        self._fire("open", event)
        if session.rest:
            self._work(session.rest)
        if session.eof and self.state is State.OPEN:
            self._meet_their_end(None, Direction.READ)

    def _may_go_on(self) -> bool:
        incoming = self._in if self.state in _CARRYING else None
        return incoming is not None and incoming.may_go_on(len(self._events or ()))

    def _work(self, data: bytes | bytearray | memoryview) -> None:
        """Turn bytes into messages, as far as one call may."""
        incoming = self._in
        assert incoming is not None
        if incoming.stalled and incoming.held + len(data) > KEPT_MAX:
            detail = f"{incoming.held + len(data)} bytes wait, limit {KEPT_MAX}"
            wrong = P2pError(ErrorKind.READ_ALLOWANCE_EXCEEDED, detail)
            self._fail(wrong, Direction.READ)
            return
        fault = None
        try:
            incoming.work(data, len(self._events) if self._events else 0)
        except FAULTS as error:
            fault = fault_of(error)
        if incoming.controls:
            for message in incoming.controls:
                self._tell(ControlReceived(message, self._now))
            incoming.controls = ()
        if fault is not None:
            self._fail(fault, Direction.READ)
        elif incoming.disconnected:
            self._end(endings.stream_ended(None, Direction.READ))
        elif self.state is _FINISHING and not incoming.stalled:
            assert self.disconnection is not None
            self._end(self.disconnection)

    # -- endings -----------------------------------------------------------------------

    def _meet_their_end(self, error: int | None, direction: Direction) -> None:
        """Their stream is over; what came before it may not be decoded yet."""
        self._eof = True
        if self.state is State.OPEN:
            why = endings.stream_ended(error, direction)
            if self.stalled:
                self._fire("finish", _Leaving(why))
            else:
                self._end(why)
        elif self.state is State.LINGERING:
            assert self.disconnection is not None
            self._end(self.disconnection)

    def _check_sent(self) -> None:
        """When all has left, wait for their end, unless it has been seen."""
        if self.wants_to_write:
            return
        self._fire("sent", None)
        if self._eof:
            self._meet_their_end(None, Direction.READ)

    def _leave_unsent(self, kind: ErrorKind) -> None:
        """End what was ending politely; not all may have left."""
        left = len(self._unsent)
        if self._out is not None:
            left += self._out.queued - self._out.sealed
        assert self.disconnection is not None
        self._end(endings.cut_short(self.disconnection, kind, left))

    def _fail(self, error: P2pError, direction: Direction) -> None:
        if self.state is State.DRAINING:
            self._leave_unsent(error.kind)
        else:
            self._end(endings.session_failed(error, direction))

    def _end(self, why: Disconnection) -> None:
        self._fire("end", events.Closed(why, self._now))

    # -- steps: run by the table, cannot fail ------------------------------------------

    def _fire(self, trigger: str, fact: object) -> None:
        _FIRE[self._local.runner][trigger](self, fact)

    def _begin(self, event: events.Established) -> None:
        self.version = event.version
        self._tell(event)

    def _leave(self, fact: _Leaving) -> None:
        self.disconnection = fact.why
        self._deadline = fact.deadline
        if self._out is not None:
            self._out.refused = 0  # nothing can be sent any more: no ``SendReady``

    def _go_deaf(self, fact: _Leaving) -> None:
        self.disconnection = fact.why
        self._drop_ours()

    def _stop(self, event: events.Closed) -> None:
        self._drop_ours()
        self._deadline = None
        self.disconnection = event.disconnection
        if self._in is not None:
            self._in.stop()
            if not self.readable:
                self._in = None
        self._tell(event)

    def _drop_ours(self) -> None:
        self._unsent = b""
        if self._out is not None:
            self._out.clear()

    def _purge(self) -> None:
        """Forget what they sent: whoever leaves a peer hears no more of it."""
        if self._in is not None:
            self._in.clear()
        told = self._events or ()
        self._events = [e for e in told if not isinstance(e, ControlReceived)] or None

    def _tell(self, event: ConnectionEvent) -> None:
        if self._events is None:
            self._events = []
        self._events.append(event)


#: States in which messages of theirs are decoded.
_CARRYING: Final = (State.OPEN, State.FINISHING)
#: States in which we are ending it politely.
_LEAVING: Final = (State.DRAINING, State.LINGERING)

# The class's own parts, named here because they are data of the machine.
# pyright: reportPrivateUsage=false

#: The triggers of both runners, built once.
_FIRE: Final[Mapping[Any, Mapping[str, Trigger]]] = {
    runner: runner(TABLE, Connection) for runner in RUNNERS.values()
}
