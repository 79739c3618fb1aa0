"""One real connection with its owner, its driver, and what has to be true of it.

An `End` remembers, by its own reckoning, what its connection can be held to: the
messages that were accepted, the plaintext that has left, the plaintext that has arrived,
who ended it and how, whether something was refused and not made good.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, Final

from connection_setting import CODEC, CONTROLS, Setting, key_of, kinds_of, name_of
from handshake_world import TICK

from tezos_p2p.fsm import State as Step
from tezos_p2p.fsm.lifecycle import LINGER, State
from tezos_p2p.fsm.queues import CHUNK_WEIGHT, OUTGOING_OVERHEAD
from tezos_p2p.spec.events import Closed, ControlReceived, SendReady
from tezos_p2p.spec.motive import Motive
from tezos_p2p.spec.reasons import UNKNOWN, Direction

#: Seconds that a draining close gives.
PATIENCE: Final = 60.0
#: Room of a write that takes everything.
ALL: Final = 1 << 20
LEAVING: Final = (State.DRAINING, State.LINGERING)
CARRYING: Final = (State.OPEN, State.FINISHING)
#: Errors that are no fault of theirs: what they sent may be lost with them.
OURS: Final = ("READ_ALLOWANCE_EXCEEDED", "NONCES_EXHAUSTED")


def frames_of(data: bytes) -> list[bytes]:
    """Cut bytes into frames; the last one may not be whole."""
    frames: list[bytes] = []
    while data:
        size = 2 + int.from_bytes(data[:2], "big")
        frames.append(data[:size])
        data = data[size:]
    return frames


class End:
    """One real connection, and what is remembered of it for the checks.

    Attributes:
        machine: the real one.
        now: its clock.
        accepted: names of the messages that `send` has taken.
        left: their plaintext, as far as it has left; ``sealed`` the number of chunks.
        arrived: plaintext of the chunks that have arrived whole, in order and unaltered;
            ``heard`` their number, the three frames of the handshake counting below 0;
            ``part`` the beginning of the next one; ``spoiled`` whether it was not theirs.
        got: names of the messages that `receive` has given.
        told: names of the control messages that events have told.
        owed: whether `send` has refused something, and no `SendReady` was told since.
        ready: number of `SendReady` that wait to be read.
        closing: how its owner has ended it: "close", "drain", "refuse", or not.
        deadline: until when, by our own reckoning.
        deaf: how it was told the end of their stream: "end", "lost", or not.
        why: reason and errors in `Closed`.
        whole: whether all that it accepted had left when it closed.
        owes: names of what it still gives or has given when it is closed, or None.
        over: whether `Closed` was read.
    """

    _MEMORY: Final = (
        *("accepted", "left", "sealed", "arrived", "heard", "part", "spoiled", "got"),
        *("told", "owed", "ready", "closing", "deadline", "deaf", "why", "whole"),
        *("owes", "over"),
    )
    __slots__ = (*_MEMORY, "_id", "index", "machine", "now", "setting")

    def __init__(self, setting: Setting, index: int) -> None:
        self.setting = setting
        self.index = index
        rules = setting.rules
        self.machine: Any = setting.machine(
            setting.locals[index], CODEC, bool(index), rules.joins, rules.inline
        )
        self.now = 0.0
        self.accepted: tuple[str, ...] = ()
        self.left, self.sealed = b"", 0
        self.arrived, self.heard, self.part, self.spoiled = b"", -3, b"", False
        self.got: tuple[str, ...] = ()
        self.told: tuple[str, ...] = ()
        self.owed, self.ready = False, 0
        self.closing = self.deaf = ""
        self.deadline: float | None = None
        self.why: tuple[str, tuple[str, ...]] | None = None
        self.whole = self.over = False
        self.owes: tuple[tuple[str, ...], tuple[str, ...]] | None = None
        self._id: int | None = None

    def copy(self) -> End:
        """Return a copy that may be changed."""
        new = object.__new__(End)
        for name in End._MEMORY:
            setattr(new, name, getattr(self, name))
        new.setting, new.index = self.setting, self.index
        new.machine = self.setting.clone(self.machine)
        new.now = self.now + TICK
        new._id = None
        return new

    @property
    def touched(self) -> bool:
        """Whether it may be changed."""
        return self._id is None

    @property
    def id(self) -> int:
        """Number of the state of this end."""
        if self._id is None:
            self._id = self.setting.number_of(self.image())
        return self._id

    def image(self) -> Hashable:
        """Return what decides how this end goes on, and what it is held to."""
        memory = [getattr(self, name) for name in End._MEMORY if name != "deadline"]
        return (self.index, key_of(self.machine), *memory, self.deadline is None)

    @property
    def state(self) -> State:
        """State of the machine."""
        return self.machine.state

    @property
    def is_live(self) -> bool:
        """Whether it is not over."""
        return self.machine.state is not State.CLOSED

    @property
    def pending(self) -> list[Any]:
        """Events that wait to be read."""
        return self.machine._events or []

    @property
    def stalled(self) -> bool:
        """Whether work is left."""
        return self.machine._in is not None and self.machine._in.stalled

    @property
    def decides(self) -> bool:
        """Whether a verdict is awaited."""
        handshake = self.machine._handshake
        return handshake is not None and handshake.state is Step.VERDICT

    @property
    def can_go_on(self) -> bool:
        """Whether it asks to be called at once."""
        due = self.machine.next_timeout()
        return due is not None and due <= self.now

    @property
    def is_idle(self) -> bool:
        """Whether nothing is to be done for it."""
        machine = self.machine
        if machine.readable or machine._events:
            return False
        if machine.state is State.CLOSED:
            return True
        busy = machine.wants_to_write or self.stalled or self.owed
        return machine.state is State.OPEN and not busy

    @property
    def decoded(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of what it has given or would give: by `receive`, and as events."""
        queue = self.machine._in and self.machine._in.items
        given = self.got
        if queue:
            given = (*given, *(name_of(message) for message, _ in queue))
        told = tuple(
            name_of(event.message)
            for event in self.pending
            if type(event) is ControlReceived
        )
        return given, (*self.told, *told)

    @property
    def expected(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Names of what has arrived, likewise."""
        return self.setting.received(self.setting.names_in(self.arrived))

    # -- what its owner and its driver do ----------------------------------------------

    def start(self) -> None:
        """Begin."""
        self.machine.start(self.now)
        self.deadline = self.machine.next_timeout()

    def admit(self) -> None:
        """Accept the other."""
        self.machine.admit(self.now)

    def refuse(self) -> None:
        """Refuse the other."""
        self.closing = "refuse"
        self.deadline = self.now + LINGER
        self.machine.refuse(Motive.TOO_MANY_CONNECTIONS, (), self.now)

    def send(self, kind: str) -> None:
        """Try to send a message; see that it is refused if, and only if, it has to be."""
        name = kind if kind in CONTROLS else f"{kind}{len(self.accepted)}"
        rules, out = self.setting.rules, self.machine._out
        size = len(CODEC.encode(CONTROLS.get(name, name)))
        chunks = -(-size // rules.slice_size)
        weight = size + chunks * CHUNK_WEIGHT + OUTGOING_OVERHEAD
        limit, fill = rules.waiting[1], out.fill
        room = limit is None or not fill or fill + weight < limit
        taken = self.machine.send(CONTROLS.get(name, name))
        assert taken is room, f"{name} is {'taken' if taken else 'refused'}"
        if taken:
            self.accepted = (*self.accepted, name)
        else:
            self.owed = True

    def write(self, room: int) -> list[bytes]:
        """Give bytes for the wire, in pieces; see that they are the right ones."""
        machine = self.machine
        if machine._handshake is not None:
            return frames_of(machine.data_to_send(room))
        head = machine._unsent[:room]
        data = machine.data_to_send(room)
        assert data[: len(head)] == head, "what the handshake left is not sent first"
        frames = frames_of(data[len(head) :])
        for frame in frames:
            self.left += self.setting.open(self.index, self.sealed, frame)
            self.sealed += 1
        whole = self.setting.encoded(self.accepted)
        assert whole.startswith(self.left), "other bytes are sent than were queued"
        assert data, "there was nothing to send"
        return frames_of(head) + frames

    def hear(self, data: bytes) -> None:
        """Receive bytes."""
        if not self.closing:
            self._listen(data)
        self.machine.receive_data(data, self.now)

    def _listen(self, data: bytes) -> None:
        *frames, last = frames_of(self.part + data)
        if len(last) >= 2 and len(last) == 2 + int.from_bytes(last[:2], "big"):
            frames, last = [*frames, last], b""
        self.part = last
        for frame in frames:
            if self.heard >= 0:
                whose, number, plain = self.setting.frames.get(frame, (-1, -1, b""))
                if (whose, number) != (1 - self.index, self.heard):
                    self.spoiled = True
                if not self.spoiled:
                    self.arrived += plain
            self.heard += 1

    def hear_end(self) -> None:
        """Be told that their stream has ended."""
        self.deaf = "end"
        self.machine.receive_data(b"", self.now)

    def lose(self, error: int | None, direction: str) -> None:
        """Be told that the stream is gone."""
        self.deaf = "lost"
        self.machine.connection_lost(error, self.now, Direction[direction])

    def pull(self) -> None:
        """Take one message."""
        message = self.machine.receive()
        assert message is not None, "a readable message is not there"
        self.got = (*self.got, name_of(message))

    def read_event(self) -> None:
        """Take one event."""
        event = self.machine.next_event()
        assert event is not None, "an event is lost"
        assert not self.over, "something is told after Closed"
        if type(event) is ControlReceived:
            assert not self.closing, "a control message is told after a close"
            self.told = (*self.told, name_of(event.message))
        elif type(event) is SendReady:
            self.ready -= 1
        elif type(event) is Closed:
            self.over = True

    def close(self) -> None:
        """End it at once."""
        self.closing = self.closing or "close"
        self.machine.close(UNKNOWN, self.now)

    def drain(self) -> None:
        """End it when all has left."""
        self.closing = "drain"
        self.deadline = self.now + PATIENCE
        self.machine.close(UNKNOWN, self.now, self.deadline)

    def time_out(self) -> None:
        """Let the deadline pass, and say so."""
        self.now = max(self.now, self.machine.next_timeout())
        self.machine.handle_timeout(self.now)

    def go_on(self) -> None:
        """Give it time for the work that is left."""
        self.machine.handle_timeout(self.now)

    # -- what is noted after each move -------------------------------------------------

    def note(self) -> None:
        """Take note of what a move has led to; forget what nothing depends on."""
        ready = sum(type(event) is SendReady for event in self.pending)
        if ready > self.ready:
            assert self.owed, "SendReady is told, but nothing was refused"
            assert ready == self.ready + 1, "SendReady is told twice"
            self.owed = False
        self.ready = ready
        if self.closing:
            self.arrived, self.heard, self.part = b"", 0, b""
        if self.state is not State.OPEN:
            self.owed = False  # nothing can be sent any more
        if self.state in CARRYING:
            self.deadline = None
        elif self.state is State.CLOSED and self.why is None:
            self._note_end()

    def _note_end(self) -> None:
        closed = self.pending[-1] if self.pending else None
        assert type(closed) is Closed, "it is closed, but Closed is not its last event"
        kinds = kinds_of(closed.disconnection)
        self.why = (closed.disconnection.reason.name, kinds)
        self.whole = self.left == self.setting.encoded(self.accepted)
        if self.closing == "drain" and not kinds:
            assert self.whole, "it drained without a fault, and not all has left"
        if not self.closing:
            given = self.owes = self.decoded
            lost = given != self.expected and not set(OURS) & set(kinds)
            assert not lost, f"it is closed, has got {self.expected} and gives {given}"
        self.left, self.sealed, self.owed, self.deadline = b"", 0, False, None
        self.arrived, self.heard, self.part, self.spoiled = b"", 0, b"", False
