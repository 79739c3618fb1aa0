"""A connection brought to any of its states, opposite a puppet or another connection.

The puppet speaks after the handshake as before it: PyNaCl and the rules alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import fsm_puppet
from fsm_puppet import Puppet, cut, our_local

from tezos_p2p.fsm.connection import KEPT_MAX, Connection
from tezos_p2p.fsm.incoming import CONTROL_MAX
from tezos_p2p.fsm.lifecycle import State
from tezos_p2p.fsm.local import Local
from tezos_p2p.spec import Authenticated, Closed, Disconnection, Identity, Limits, Reason
from tezos_p2p.spec.message import MessageCodec
from tezos_p2p.spec.raw import RawCodec
from tezos_p2p.spec.reasons import UNKNOWN

#: One tag, 0x10, with bytes; a quarter of a million at most unless told otherwise.
CODEC: MessageCodec[bytes] = MessageCodec(RawCodec(most=1 << 18))
#: What our own closes give as their reason.
USER = Disconnection(Reason.USER, text="enough")
#: The last nonce of all.
LAST_NONCE = (1 << 192) - 1


def raw(payload: bytes = b"", tag: int = 0x10) -> bytes:
    """Return a message as it is in plaintext."""
    return (len(payload) + 2).to_bytes(4, "big") + tag.to_bytes(2, "big") + payload


DISCONNECT = raw(tag=1)
BOOTSTRAP = raw(tag=2)
#: More small messages than one call may decode.
MANY = 6_000


@attrs.define(eq=False, kw_only=True)
class Scene:
    """A connection and its puppet; all that came out of the connection so far.

    ``writes``, ``reads``, ``pulls``: whether `drain` takes bytes, events, messages.
    """

    machine: Connection[Any]
    peer: Puppet
    writes: bool = True
    reads: bool = True
    pulls: bool = True
    now: float = 0.0
    events: list[Any] = attrs.field(factory=list)
    sent: bytearray = attrs.field(factory=bytearray)
    heard: list[bytes] = attrs.field(factory=list)
    got: list[Any] = attrs.field(factory=list)
    _read: int = 0

    def drain(self) -> list[Any]:
        """Take what the connection puts out; return the new events."""
        self.check_bounds()
        while self.writes and (data := self.machine.data_to_send()):
            self.sent += data
        new: list[Any] = []
        while self.reads and (event := self.machine.next_event()) is not None:
            new.append(event)
        self.events += new
        while self.pulls and (message := self.machine.receive()) is not None:
            self.got.append(message)
        return new

    def check_bounds(self) -> None:
        """Nothing that the peer can grow is beyond its bound."""
        machine = self.machine
        lives = machine.state in (State.IDLE, State.HANDSHAKE, State.OPEN)
        assert (machine.disconnection is None) is lives
        # Beside those that wait: what a handshake tells, SendReady and Closed.
        assert len(machine._events or ()) <= CONTROL_MAX + 6
        if machine._in is not None:
            assert machine._in.held <= KEPT_MAX

    def give(self, data: bytes, now: float | None = None) -> list[Any]:
        """Feed bytes of the peer; return the new events."""
        self.now = self.now if now is None else now
        self.machine.receive_data(data, self.now)
        return self.drain()

    def give_admitting(self, data: bytes) -> list[Any]:
        """Feed bytes; admit as soon as that is asked for."""
        new = self.give(data)
        if any(isinstance(event, Authenticated) for event in new):
            if self.machine.state is State.HANDSHAKE:
                self.machine.admit(self.now)
            new += self.drain()
        return new

    def settle(self) -> int:
        """Go on with work as long as it is due; return how many calls it took."""
        calls = 0
        while (due := self.machine.next_timeout()) is not None and due <= self.now:
            self.machine.handle_timeout(self.now)
            self.drain()
            calls += 1
            assert calls < 10_000
        return calls

    def say(self, *plain: bytes) -> list[Any]:
        """Let the peer send chunks with these plaintexts, in one piece."""
        return self.give(b"".join(map(self.peer.seal, plain)))

    def hear(self) -> list[bytes]:
        """Let the peer open the chunks that it has not read yet."""
        chunks = cut(self.sent[self._read :])
        self._read = len(self.sent)
        return [self.peer.open(chunk) for chunk in chunks]

    def ends(self) -> list[Closed]:
        return [event for event in self.events if isinstance(event, Closed)]

    def the_end(self) -> Disconnection:
        """Check that it is over, told once, for ever; return why."""
        machine = self.machine
        self.reads = True
        self.drain()
        (closed,) = self.ends()
        assert self.events[-1] is closed
        assert machine.state is State.CLOSED
        assert machine.ended
        assert machine.disconnection is closed.disconnection
        machine.receive_data(bytes(200), 1e6)
        machine.receive_data(b"", 1e6)
        machine.connection_lost(None, 1e6)
        machine.handle_timeout(1e9)
        if not machine.readable:  # it would drop what they had to say
            machine.close(UNKNOWN, 1e9, 2e9)
        assert machine.next_timeout() is None
        assert machine.next_event() is None
        assert machine.data_to_send() == b""
        assert not machine.wants_to_write
        assert machine.read_allowance == 0
        return closed.disconnection


def scene(
    incoming: bool,
    runner: str = "compiled",
    *,
    codec: MessageCodec[Any] = CODEC,
    local: Local | None = None,
    limits: dict[str, Any] | None = None,
    joins: bool = True,
    inline: bool = False,
    **peer: Any,
) -> Scene:
    """Return a connection in IDLE and a puppet."""
    local = local or our_local(runner, limits=Limits(**limits or {}))
    return Scene(
        machine=Connection(local, codec, incoming, joins, inline),
        peer=Puppet(dialled=incoming, **peer),
    )


def begin(it: Any) -> None:
    it.machine.start(0.0)
    it.drain()


#: What leads from one phase of the handshake to the next.
PHASES: dict[str, Callable[[Any], None]] = {
    "greeting": begin,
    "metadata": fsm_puppet.greet,
    "verdict": fsm_puppet.tell,
    "answer": fsm_puppet.admit,
    "open": fsm_puppet.answer,
}


def shake(it: Scene, phase: str = "open") -> Scene:
    """Bring the handshake to a phase."""
    for name, step in PHASES.items():
        step(it)
        if name == phase:
            break
    it._read = len(it.sent)
    return it


def overwork(it: Scene, count: int = MANY) -> None:
    """Give it, in one chunk, more messages than one call decodes."""
    it.say(raw() * count)
    assert it.machine.read_allowance == 0


def finish(it: Scene) -> None:
    overwork(it)
    it.give(b"")


def drain(it: Scene) -> None:
    it.machine.send(b"last words")
    it.machine.close(USER, 0.0, 9.0)


def linger(it: Scene) -> None:
    it.machine.close(USER, 0.0, 9.0)


def close(it: Scene) -> None:
    it.machine.close(UNKNOWN, 0.0)
    it.drain()


#: The steps that lead to each state.
WAYS: dict[State, tuple[Callable[[Scene], Any], ...]] = {
    State.IDLE: (),
    State.HANDSHAKE: (begin,),
    State.OPEN: (shake,),
    State.FINISHING: (shake, finish),
    State.DRAINING: (shake, drain),
    State.LINGERING: (shake, linger),
    State.CLOSED: (shake, close),
}


def reach(state: State, incoming: bool, runner: str = "compiled", **more: Any) -> Scene:
    """Return a scene whose connection is in the given state."""
    it = scene(incoming, runner, **more)
    for step in WAYS[state]:
        step(it)
    assert it.machine.state is state
    return it


def opened(incoming: bool, runner: str = "compiled", **more: Any) -> Scene:
    """Return a scene whose connection carries messages, everything drained."""
    return reach(State.OPEN, incoming, runner, **more)


@attrs.define(eq=False)
class Pair:
    """Two connections of ours, joined by wires without delay, under one clock."""

    ends: tuple[Connection[Any], Connection[Any]]
    now: float = 0.0
    events: tuple[list[Any], list[Any]] = attrs.field(factory=lambda: ([], []))
    got: tuple[list[Any], list[Any]] = attrs.field(factory=lambda: ([], []))
    wires: tuple[bytearray, bytearray] = attrs.field(
        factory=lambda: (bytearray(), bytearray())
    )

    def pump(self) -> None:
        """Move bytes, admit, go on with work, until nothing happens any more."""
        busy = True
        while busy:
            busy = False
            for i, machine in enumerate(self.ends):
                self.wires[i].extend(machine.data_to_send())
                other = self.ends[1 - i]
                if self.wires[i] and (room := other.read_allowance):
                    other.receive_data(bytes(self.wires[i][:room]), self.now)
                    del self.wires[i][:room]
                    busy = True
            for i, machine in enumerate(self.ends):
                while (event := machine.next_event()) is not None:
                    self.events[i].append(event)
                    busy = True
                    if isinstance(event, Authenticated):
                        machine.admit(self.now)
                while (message := machine.receive()) is not None:
                    self.got[i].append(message)
                due = machine.next_timeout()
                if due is not None and due <= self.now:
                    machine.handle_timeout(self.now)
                    busy = True


def pair(
    incoming: bool, runner: str, limits: dict[str, Any] | None = None, joins: bool = True
) -> Pair:
    """Return two connections that have established each other."""
    settings = Limits(**limits or {})
    other = our_local(
        "compiled", 1, identity=Identity.of_secret(b"\x03" * 32), limits=settings
    )
    it = Pair(
        (
            Connection(our_local(runner, limits=settings), CODEC, incoming, joins),
            Connection(other, CODEC, not incoming, joins),
        )
    )
    for machine in it.ends:
        machine.start(0.0)
    it.pump()
    assert [machine.state for machine in it.ends] == [State.OPEN] * 2
    return it
