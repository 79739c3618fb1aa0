"""The handshake: from the first byte of a TCP connection to mutual acceptance.

Two rules.  What follows what is decided in this module alone (the checks themselves are
the channel's, the words for what fails those of endings); and this module does not know
who is welcome: between `Authenticated` and `admit` or `refuse` it waits for somebody
else's verdict.

Both sides run the same table.  Neither waits for the other before it speaks: the
connection message goes out at once, the metadata as soon as theirs is checked, the
answer as soon as the verdict is given.  The role matters in two places only: which
nonce is whose, and which timeout applies (5 s for an incoming handshake, 10 s for an
outgoing attempt; dialling counts too, so the caller may give the deadline).

=============  =========================================================================
state          waits for
=============  =========================================================================
IDLE           `start`
GREETING       their connection message: decoded, then proof of work, then key
METADATA       their metadata, encrypted: proves their key; are they ourselves?
VERDICT        `admit` or `refuse`; what they send meanwhile waits, unread
ANSWER         their answer to our acceptance
ESTABLISHED    `hand_over` to whoever exchanges messages
HANDED_OVER    nothing: somebody else owns the bytes now
CLOSED         nothing: the last event was `Closed`
=============  =========================================================================

Checks are cheapest first, as the protocol has them: decode, then hash, then agree on a
key.  A bad proof of work, and all else that fails before the verdict, closes without a
word; a refusal is sent encrypted, and then nothing of theirs is read any more.  One
absolute deadline covers everything up to `ESTABLISHED`; bytes never move it.

Not in the table: bytes.  They are cut and decoded before a trigger is fired, and the
trigger is given the result; so a step cannot fail half-way.  The end of their stream
is acted on once the bytes before it have been read: a refusal that arrives with it,
before our verdict, is still heard.

Source: the authentication procedure of the reference node, 2019 and 2026, and its
observed behaviour; the order of the checks is that of 2026.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from ..spec.events import (
    Authenticated,
    Closed,
    ConnectionMessageReceived,
    Established,
    HandshakeEvent,
    Remote,
)
from ..spec.hello import (
    ANSWER,
    CONNECTION_MESSAGE,
    CONNECTION_METADATA,
    FRAME_MAX_SIZE,
    Ack,
)
from ..spec.identity import PeerId
from ..spec.limits import FRAME_WIRE_MAX, TAG_SIZE
from ..spec.motive import Motive
from ..spec.point import Point
from ..spec.reader import DecodeError
from ..spec.reasons import Disconnection, ErrorKind
from ..spec.version import Version
from . import endings
from .channel import Channel, ChannelError, Frames, derive_nonces
from .local import Local
from .machine import RUNNERS, LocalProtocolError, Row, States, Table, Trigger


class State(States):
    """Where a handshake stands."""

    IDLE = "nothing sent yet"
    GREETING = "our connection message is out, theirs is awaited"
    METADATA = "a key is agreed, their encrypted metadata is awaited"
    VERDICT = "they are authenticated; we have to admit or refuse them"
    ANSWER = "we have accepted, their answer is awaited"
    ESTABLISHED = "both have accepted"
    HANDED_OVER = "messages are exchanged, by somebody else"
    CLOSED = "over, for the reason in the last event"


_LIVE: Final = (
    State.IDLE,
    State.GREETING,
    State.METADATA,
    State.VERDICT,
    State.ANSWER,
    State.ESTABLISHED,
)

# fmt: off
#: Everything that a handshake can do.
TABLE: Final = Table("handshake", State, State.IDLE, (
    #   trigger          source             dest               guard  after
    Row("start",         State.IDLE,        State.GREETING,    (),    ("_begin",)),
    Row("greet",         State.GREETING,    State.METADATA,    (),    ("_reply",)),
    Row("authenticate",  State.METADATA,    State.VERDICT,     (),    ("_ask",)),
    Row("admit",         State.VERDICT,     State.ANSWER,      (),    ("_accept",)),
    Row("refuse",        State.VERDICT,     State.CLOSED,      (),    ("_say_no",)),
    Row("establish",     State.ANSWER,      State.ESTABLISHED, (),    ("_finish",)),
    Row("hand_over",     State.ESTABLISHED, State.HANDED_OVER, (),    ()),
    Row("end",           _LIVE,             State.CLOSED,      (),    ("_give_up",)),
))
# fmt: on

#: States in which nothing can happen any more.
OVER: Final = frozenset(TABLE.final)

#: Largest plaintext that an answer can have.
ANSWER_MAX_SIZE: Final = ANSWER.max_size or 0
#: There are four different ones: one object each, however many connections.
_metadata_of: Final = functools.lru_cache(8)(CONNECTION_METADATA.decode)
#: The usual answer, encoded once; no other bytes decode to it.
_ACK: Final = ANSWER.encode(Ack())


@attrs.define(eq=False)
class _Beginning:
    """The fact of ``start``: what goes out first, and when it is too late."""

    hello: bytes
    deadline: float


@attrs.define(eq=False)
class _Greeting:
    """The fact of ``greet``: keys, and what is sent sealed with them."""

    channel: Channel
    frame: bytes
    event: ConnectionMessageReceived


@attrs.define(eq=False)
class _Refusal:
    """The fact of ``refuse``: the last word, and why."""

    frame: bytes
    event: Closed


@attrs.frozen
class Session:
    """What a finished handshake hands over.

    Attributes:
        channel: keys and nonces, to go on with.
        unsent: bytes of ours that go out before anything else.
        rest: bytes of theirs that came behind their answer.
        eof: whether their stream has ended after ``rest``.
        remote: who they are.
        version: the versions agreed on.
    """

    channel: Channel = attrs.field(repr=False)
    unsent: bytes
    rest: bytes
    eof: bool
    remote: Remote
    version: Version


@attrs.define(eq=False)
class Handshake:
    """One handshake, either role.

    Feed it, then drain bytes, then events, then re-arm: after any input call
    `data_to_send` and `next_event` until they give nothing, and ask `next_timeout`.
    When the last event is `Closed`, send what `data_to_send` still gives (a refusal),
    shut the writing side down, then read on for a moment and throw away what comes: to
    close over unread bytes can destroy what was just sent.  That reading is the
    caller's; the handshake wants no more bytes.

    Every ``now`` is monotonic seconds of one clock and never decreases.

    Args:
        local: what we are.
        incoming: True if the other side dialled.
    """

    _local: Local
    incoming: bool
    state: State = attrs.field(default=State.IDLE, init=False)
    _frames: Frames = attrs.field(factory=Frames, init=False)
    _outbox: bytes = attrs.field(default=b"", init=False)
    # At most four in all: a deque would double the size of the whole.
    _events: list[HandshakeEvent] = attrs.field(factory=list[HandshakeEvent], init=False)
    _deadline: float | None = attrs.field(default=None, init=False)
    _sent: bytes = attrs.field(default=b"", init=False)
    _eof: bool = attrs.field(default=False, init=False)
    _channel: Channel | None = attrs.field(default=None, init=False, repr=False)
    _greeting: ConnectionMessageReceived | None = attrs.field(default=None, init=False)
    _verdict: Authenticated | None = attrs.field(default=None, init=False)

    # -- inputs ------------------------------------------------------------------------

    def start(self, now: float, deadline: float | None = None) -> None:
        """Send our connection message and set the one deadline of this handshake.

        Args:
            now: the present.
            deadline: monotonic seconds; by default ``now`` plus the limit for the role.

        Raises:
            LocalProtocolError: it was started before, or is over.
        """
        if deadline is None:
            limits = self._local.limits
            deadline = now + (
                limits.authentication_timeout
                if self.incoming
                else limits.connection_timeout
            )
        # Not drawn unless it can be used: a refused call changes nothing, and that
        # includes the state of the random source.
        hello = self._local.hello() if self.state is State.IDLE else b""
        self._fire("start", _Beginning(hello, deadline))
        self._advance(now)

    def receive_data(self, data: bytes | bytearray | memoryview, now: float) -> None:
        """Take bytes of theirs; ``b""`` is the end of their stream.  Never raises.

        Args:
            data: any number of bytes, `read_allowance` at most; need not outlive the
                call.  If more than 65 537 of them cannot be read yet, the handshake
                ends.
            now: the present.
        """
        if self.state in OVER:
            return
        deadline = self._deadline
        if deadline is not None and now >= deadline:
            self._late(now)
            return
        if len(data) == 0:
            self._eof = True
        elif not self._eof:
            self._frames.feed(data)
        self._advance(now)

    def admit(self, now: float) -> None:
        """Accept them: send the acceptance and wait for theirs.

        After the deadline it ends as `handle_timeout` would have ended it.

        Raises:
            LocalProtocolError: not in `VERDICT`, or no common version.
        """
        if self.state is State.VERDICT and self._late(now):
            return
        frame = b""
        if self._verdict is not None and self.state is State.VERDICT:
            agreement = self._verdict.agreement
            if isinstance(agreement, Motive):
                why = f"no common version ({agreement.name.lower()})"
                raise LocalProtocolError("admit", self.state.name, why)
            frame = self._seal(_ACK)
        self._fire("admit", frame)
        self._advance(now)

    def refuse(self, motive: Motive, points: tuple[Point, ...], now: float) -> None:
        """Refuse them: send a nack they can read; `Closed` follows at once.

        After the deadline it ends as `handle_timeout` would have ended it.

        Args:
            motive: why.
            points: other nodes to try, at most 100.
            now: the present.

        Raises:
            LocalProtocolError: not in `VERDICT`.
            EncodeError: the points cannot be sent.
            ValueError: the motive is no int16.
        """
        if self._verdict is None or self.state is not State.VERDICT:
            raise LocalProtocolError("refuse", self.state.name)
        if self._late(now):
            return
        remote = self._verdict.remote
        motive = Motive(motive)
        closed = Closed(endings.refused_by_us(remote, motive), now)
        announced = remote.message.version.p2p_version
        plaintext = self._local.nack(announced, motive, points)  # the nonce is spent last
        self._fire("refuse", _Refusal(self._seal(plaintext), closed))

    def close(self, reason: Disconnection, now: float) -> None:
        """End it from our side, without a word; harmless when it is over.

        Args:
            reason: what `Closed` will say.
            now: the present.
        """
        if not self.over:
            self._end(reason, now)

    def handle_timeout(self, now: float) -> None:
        """Give up if the deadline has passed; early and repeated calls are harmless."""
        self._late(now)

    # -- outputs -----------------------------------------------------------------------

    @property
    def over(self) -> bool:
        """Whether it is closed or handed over."""
        return self.state in OVER

    @property
    def ended(self) -> bool:
        """Whether it is closed: `Closed` is, or was, its last event."""
        return self.state is State.CLOSED

    @property
    def read_allowance(self) -> int:
        """Most bytes that `receive_data` may be given now; 0: do not read at all.

        A socket that is asked for 0 bytes gives ``b""``, which would be the end.
        """
        return 0 if self.over or self._eof else self._frames.room

    @property
    def has_data_to_send(self) -> bool:
        """Whether `data_to_send` has something to give."""
        return bool(self._outbox)

    def data_to_send(self, room: int = 1 << 16) -> bytes:
        """Return and forget up to ``room`` bytes that wait for the wire."""
        data = self._outbox[: max(0, room)]
        self._outbox = self._outbox[len(data) :]
        return data

    def next_event(self) -> HandshakeEvent | None:
        """Return the oldest unread event, or None."""
        return self._events.pop(0) if self._events else None

    def next_timeout(self) -> float | None:
        """Monotonic seconds at which `handle_timeout` has something to do, or None."""
        return self._deadline

    def hand_over(self) -> Session:
        """Give up the connection to whoever exchanges messages on it.

        Raises:
            LocalProtocolError: not in `ESTABLISHED`.
        """
        self._fire("hand_over", None)
        channel, verdict = self._channel, self._verdict
        assert channel is not None
        assert verdict is not None
        assert isinstance(verdict.agreement, Version)
        unsent, self._outbox = self._outbox, b""
        rest = self._frames.drain()
        self._forget()
        remote, version = verdict.remote, verdict.agreement
        return Session(channel, unsent, rest, self._eof, remote, version)

    # -- progress ----------------------------------------------------------------------

    def _advance(self, now: float) -> None:
        """Read whatever frames are complete, as far as the state allows."""
        try:
            while len(self._frames) and (read := _READERS.get(self.state)):
                if not read(self, now):
                    break
        except ChannelError as error:
            self._fail(error.kind, error.detail, now)
        except DecodeError as error:
            self._fail(ErrorKind.DECODING_ERROR, str(error), now)
        if self.state in OVER:
            return
        if len(self._frames) > FRAME_WIRE_MAX:
            detail = f"{len(self._frames)} bytes wait, limit {FRAME_WIRE_MAX}"
            self._fail(ErrorKind.READ_ALLOWANCE_EXCEEDED, detail, now)
        elif (
            self._eof
            and self.state is not State.IDLE
            and (self.state in _READERS or not len(self._frames))
        ):
            self._fail(ErrorKind.CONNECTION_CLOSED, "", now)

    def _read_greeting(self, now: float) -> bool:
        """Their connection message: decode, check the work, agree on a key."""
        body = self._frames.next(0, FRAME_MAX_SIZE)
        if body is None:
            return False
        message = CONNECTION_MESSAGE.decode(body)
        known = self._local.keys.meet(message.public_key, message.proof_of_work_stamp)
        if isinstance(known, ErrorKind):
            if known is ErrorKind.NOT_ENOUGH_PROOF_OF_WORK and not self.incoming:
                why = endings.too_little_work(PeerId.of_key(message.public_key))
            else:
                why = endings.failed(endings.authentication_failed, known)
            self._end(why, now)
            return False
        received = len(body).to_bytes(2, "big") + body
        if self.incoming:
            receive, send = derive_nonces(received, self._sent)
        else:
            send, receive = derive_nonces(self._sent, received)
        channel = Channel(known.shared_key, send, receive)
        frame = b"".join(channel.seal(self._local.metadata_bytes))
        event = ConnectionMessageReceived(known.peer_id, message, now)
        self._fire("greet", _Greeting(channel, frame, event))
        return True

    def _read_metadata(self, now: float) -> bool:
        """Their metadata: it decrypts only if they hold the key they claim."""
        # Of any size: only what does not decrypt, or decrypts to something else, may
        # greylist an address; two bytes of a header prove nothing.
        body = self._frames.next(TAG_SIZE, FRAME_MAX_SIZE)
        if body is None:
            return False
        metadata = _metadata_of(self._open(body))
        greeting = self._greeting
        assert greeting is not None
        # Only now: whoever merely repeats our public key must not make us believe
        # that his address is one of our own.
        if greeting.peer_id == self._local.identity.peer_id:
            self._end(endings.met_myself(greeting.peer_id), now)
            return False
        remote = Remote(greeting.peer_id, greeting.message, metadata)
        agreement = self._local.network.negotiate(greeting.message.version)
        self._fire("authenticate", Authenticated(remote, agreement, now))
        return True

    def _read_answer(self, now: float) -> bool:
        """Their answer to our acceptance."""
        body = self._frames.next(TAG_SIZE, TAG_SIZE + ANSWER_MAX_SIZE)
        if body is None:
            return False
        plaintext = self._open(body)
        if plaintext != _ACK:
            answer = ANSWER.decode(plaintext)
            assert not isinstance(answer, Ack)
            self._end(endings.refused_by_peer(answer), now)
            return False
        verdict = self._verdict
        assert verdict is not None
        assert isinstance(verdict.agreement, Version)
        event = Established(verdict.remote, verdict.agreement, now)
        self._fire("establish", event)
        return True

    # -- endings -----------------------------------------------------------------------

    def _late(self, now: float) -> bool:
        if self._deadline is None or now < self._deadline:
            return False
        self._fail(ErrorKind.TIMEOUT, "", now)
        return True

    def _fail(self, kind: ErrorKind, detail: str, now: float) -> None:
        """End because of an error; how it is reported depends on how far we were."""
        ending = _ENDINGS.get(self.state, endings.authentication_failed)
        self._end(endings.failed(ending, kind, detail), now)

    def _end(self, why: Disconnection, now: float) -> None:
        self._fire("end", Closed(why, now))

    # -- steps: run by the table, cannot fail ------------------------------------------

    def _fire(self, trigger: str, fact: object) -> None:
        _FIRE[self._local.runner][trigger](self, fact)

    def _begin(self, fact: _Beginning) -> None:
        self._outbox = self._sent = fact.hello
        self._deadline = fact.deadline

    def _reply(self, fact: _Greeting) -> None:
        self._channel = fact.channel
        self._greeting = fact.event
        self._outbox += fact.frame
        self._sent = b""
        self._events.append(fact.event)

    def _ask(self, event: Authenticated) -> None:
        self._verdict = event
        self._events.append(event)

    def _accept(self, frame: bytes) -> None:
        self._outbox += frame

    def _say_no(self, fact: _Refusal) -> None:
        self._outbox += fact.frame
        self._forget()
        self._events.append(fact.event)

    def _finish(self, event: Established) -> None:
        self._deadline = None
        self._events.append(event)

    def _give_up(self, event: Closed) -> None:
        self._outbox = b""
        # Of a failure nothing stays; a peer that was refused is still known.
        self._greeting = None
        self._verdict = None
        self._forget()
        self._events.append(event)

    def _forget(self) -> None:
        """Drop what only a living handshake needs, keys before all."""
        self._deadline = None
        self._channel = None
        self._sent = b""
        self._frames.clear()

    # -- plumbing ----------------------------------------------------------------------

    def _open(self, body: bytes) -> bytes:
        assert self._channel is not None
        return self._channel.open(body)

    def _seal(self, plaintext: bytes) -> bytes:
        assert self._channel is not None
        return b"".join(self._channel.seal(plaintext))


#: How failures are reported, in the states that differ from all others.
_ENDINGS: Final[Mapping[State, endings.Ending]] = {
    State.ANSWER: endings.answer_failed,
    State.ESTABLISHED: endings.session_failed,
}

# The class's own parts, named here because they are data of the machine.
# pyright: reportPrivateUsage=false

#: How the next frame is read, in the states that read at all.
_READERS: Final[Mapping[State, Callable[[Handshake, float], bool]]] = {
    State.GREETING: Handshake._read_greeting,
    State.METADATA: Handshake._read_metadata,
    State.ANSWER: Handshake._read_answer,
}

#: The triggers of both runners, built once.
_FIRE: Final[Mapping[Any, Mapping[str, Trigger]]] = {
    runner: runner(TABLE, Handshake) for runner in RUNNERS.values()
}
