"""Worlds of real handshake machines: alone against an adversary, and in pairs.

**Lone worlds.**  One `Handshake`, either role, and an adversary that holds a key of its
own.  It can put any frame of an alphabet on the link: connection messages (good, of a
stolen public key, without enough work, of a low-order key, too long), every message of
the later phases correctly sealed with its next nonce, whatever the phase is, frames
that are replayed, too short, empty or of the greatest size.  It does not have to wait
for anything: the nonces follow from the two connection messages, and it is given the
machine's beforehand.

**Pair worlds.**  An initiator and a responder, and a link in each direction.  What lies
between them is nobody, or an adversary on the wire, without a key that either of them
would take for the other's: it delivers, withholds, drops, alters and replays frames,
sends them back to where they come from, puts in garbage, and ends either stream.  (An
adversary in the middle that finishes handshakes with its own key on both sides is not
explored: its two sides share nothing, so it is two lone worlds.)

All kinds: a link holds at most two messages; messages arrive one by one or two at
once; each end is started, admits or refuses, is closed by its owner, and is told that
its deadline has passed, at any time.  Ends have clocks of their own: their deadlines
pass in any order.  In some worlds a driver oversleeps a deadline, or leaves events
unread.  Without an adversary on the wire messages also arrive in two halves, and stay
with their sender for any time; with one that would add nothing but states: what has
not left yet is what the adversary withholds.

Left out, to keep it finite: an adversary that puts more than two messages (lone), or
one (pair), in front of a machine that does not read them now; a frame cut by the
*sender's* driver; frames put between two halves of another, which is one more way to
alter that other.

**Keys.**  Real bytes are known by names here: everything secret or random is fixed, so
each frame exists once; a name stands for exactly its bytes.  Of a machine the key holds
its state, the names of what it has read, buffered and not yet sent, whose connection
message it took, its verdict, unread events, whether the end of the stream was met,
whether a deadline is armed and has passed.  What is left out, and why equal keys behave
alike all the same, is said at `LEFT_OUT`; the test compares merged worlds move by move.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping
from functools import partial
from typing import Any, Final, Self

import attrs
from explorer import Cloner, Move, check_slots, slots_of
from nacl.bindings import (
    crypto_box_afternm,
    crypto_box_beforenm,
    crypto_box_open_afternm,
)
from nacl.exceptions import CryptoError

from tezos_p2p.fsm import (
    Handshake,
    KeyCache,
    Local,
    LocalProtocolError,
    Session,
    State,
    Table,
)
from tezos_p2p.fsm.channel import Channel, Frames
from tezos_p2p.fsm.handshake import OVER, TABLE
from tezos_p2p.fsm.machine import compiled
from tezos_p2p.spec.events import (
    Authenticated,
    Closed,
    ConnectionMessageReceived,
    Established,
    HandshakeEvent,
    Remote,
)
from tezos_p2p.spec.hello import (
    NONCE_OFFSET,
    ConnectionMessage,
    frame_connection_message,
)
from tezos_p2p.spec.identity import Identity, is_enough_work, search_stamp, target_of
from tezos_p2p.spec.limits import FRAME_WIRE_MAX
from tezos_p2p.spec.motive import Motive
from tezos_p2p.spec.reasons import UNKNOWN
from tezos_p2p.spec.version import MAINNET, Network, Version

#: Bits of work: so few that stamps are found at once, yet some stamps fail.
DIFFICULTY: Final = 2.0
#: Chunk nonces wrap here.
NONCES: Final = 1 << 192
#: Most messages on a link, and most that an adversary puts before a lone machine.
LINK: Final = 2
#: Between two moves, in seconds: bytes arrive later than the start.
TICK: Final = 2.0**-10
#: Timeouts in seconds that the protocol sets for an incoming handshake and an outgoing.
TIMEOUT: Final = {True: 5.0, False: 10.0}

#: States in which a deadline runs.
TIMED: Final = (State.GREETING, State.METADATA, State.VERDICT, State.ANSWER)
#: States in which what arrives is read at once.
READING: Final = (State.GREETING, State.METADATA, State.ANSWER)
#: Events in their order, and how many of them each state has told.
ORDER: Final = ("ConnectionMessageReceived", "Authenticated", "Established")
TOLD: Final = {
    State.IDLE: 0,
    State.GREETING: 0,
    State.METADATA: 1,
    State.VERDICT: 2,
    State.ANSWER: 2,
    State.ESTABLISHED: 3,
    State.HANDED_OVER: 3,
}
#: Chunks sealed and opened so far, by state.
SEALED: Final = {
    State.METADATA: (1, 0),
    State.VERDICT: (1, 1),
    State.ANSWER: (2, 1),
    State.ESTABLISHED: (2, 2),
}
#: In which states the owner may do what.
ALLOWED: Final = {
    "start": State.IDLE,
    "admit": State.VERDICT,
    "refuse": State.VERDICT,
    "hand over": State.ESTABLISHED,
}

# -- state keys ------------------------------------------------------------------------

_Look = Callable[["Setting", Any], Hashable]


def _steady(setting: Setting, machine: Any) -> Hashable:
    # What is over opens and seals nothing any more: the handshake never does, and whom
    # it was handed over to is not part of this world.
    return None if machine.state in OVER else setting.is_steady(machine)


def _buffered(setting: Setting, machine: Any) -> Hashable:
    # What is over reads nothing any more (checked: see `Setting.check_alone`).
    if machine.state in OVER:
        return ()
    return setting.cut(bytes(machine._frames._buffer))


#: What the key holds of a machine, slot by slot.
KEYED: Final[Mapping[str, _Look]] = {
    "state": lambda _, machine: machine.state.name,
    "_frames": _buffered,
    "_outbox": lambda setting, machine: setting.cut(machine._outbox, machine),
    "_events": lambda _, machine: tuple(
        type(event).__name__ for event in machine._events
    ),
    "_deadline": lambda _, machine: machine._deadline is not None,
    "_sent": lambda setting, machine: setting.cut(machine._sent),
    "_eof": lambda _, machine: machine._eof,
    "_channel": _steady,
    "_greeting": lambda setting, machine: setting.greeted(machine),
    "_verdict": lambda _, machine: machine._verdict and type(machine._verdict.agreement),
}
#: What it does not hold, and why nothing that happens later depends on it.
LEFT_OUT: Final[Mapping[str, str]] = {
    "_local": "one constant object per end; its key cache only remembers results",
    "incoming": "constant per end",
}
#: The same for what a machine holds; the reasons say what the key has instead.
PARTS: Final[Mapping[type, Mapping[str, str]]] = {
    Frames: {"_buffer": "named by `_frames`"},
    Channel: {
        "_key": "follows from the greeting; `is_steady` compares it",
        "send_nonce": "first one plus what the state implies; `is_steady` compares it",
        "receive_nonce": "likewise",
    },
}

# -- what the worlds of one exploration share ------------------------------------------


def identity(name: str) -> Identity:
    """Return an identity that only depends on a name, with just enough work."""
    bare = Identity.of_secret(hashlib.blake2b(name.encode(), digest_size=32).digest())
    return attrs.evolve(bare, proof_of_work_stamp=_stamp(bare.public_key))


def _stamp(public_key: bytes, enough: bool = True) -> bytes:
    if enough:
        stamps = search_stamp(public_key, DIFFICULTY, 0, 1)
        return next(stamp for stamp in stamps if stamp is not None)
    tries = (number.to_bytes(24, "big") for number in range(1000))
    return next(
        s for s in tries if not is_enough_work(public_key, s, target_of(DIFFICULTY))
    )


def first_nonces(initiator: bytes, responder: bytes, incoming: bool) -> tuple[int, int]:
    """Return the nonces that an end sends and receives its first chunk with.

    Written down once more, from the protocol: the first 24 bytes of BLAKE2b-256 over
    both framed connection messages, the initiator's first, and a direction; and the
    initiator sends with "Resp -> Init".
    """

    def nonce(direction: bytes) -> int:
        digest = hashlib.blake2b(initiator + responder + direction, digest_size=32)
        return int.from_bytes(digest.digest()[:24], "big")

    back, forth = nonce(b"Resp -> Init"), nonce(b"Init -> Resp")
    return (forth, back) if incoming else (back, forth)


def _seal(key: bytes, nonce: int, plaintext: bytes) -> bytes:
    body = crypto_box_afternm(plaintext, nonce.to_bytes(24, "big"), key)
    return len(body).to_bytes(2, "big") + body


class Setting:
    """What all worlds of one exploration share; nothing in it decides what happens.

    Args:
        owners: identity and network of each end, the initiator first; or of one end.
        incoming: role of each end.
        genuine: names of the three frames that each end must have read, and no others,
            when it is established.
        machine: class of the machines: `Handshake`, or one that is broken on purpose.
        table: its rows.

    Attributes:
        taken: how often each (trigger, source, destination) of the table was taken.
        endings: how often handshakes ended in each way: state, reason, errors, whether
            it greylists.
        alone: number of states of single ends.
    """

    def __init__(
        self,
        owners: tuple[tuple[Identity, Network], ...],
        incoming: tuple[bool, ...],
        genuine: tuple[tuple[str, str, str], ...],
        machine: type[Handshake] = Handshake,
        table: Table = TABLE,
    ) -> None:
        check_slots(Handshake, KEYED, LEFT_OUT)
        for part, reasons in PARTS.items():
            check_slots(part, (), reasons)
        self.extra = tuple(s for s in slots_of(machine) if s not in slots_of(Handshake))
        self.genuine = genuine
        self.cloner = Cloner(
            cloned=(Handshake, Frames, Channel),
            shared=(
                Local,
                ConnectionMessageReceived,
                Authenticated,
                Established,
                Closed,
            ),
        )
        self.taken: Counter[tuple[str, State, State]] = Counter()
        self.endings: Counter[tuple[str, str, tuple[str, ...], bool]] = Counter()
        self.machine = self._recorded(machine, table)
        self.names: dict[bytes, str] = {}
        self.bytes: dict[str, bytes] = {}
        self._cuts: dict[bytes, tuple[str, ...]] = {}
        # By identity, which is quick; they are kept, so that no number is used twice.
        self._greetings: dict[int, tuple[str, ConnectionMessage]] = {}
        self._channels: dict[tuple[bool, str], tuple[bytes, int, int]] = {}
        self._ids: dict[Hashable, int] = {}
        self._whole: dict[int, Hashable] = {}
        self._verified: dict[int, tuple[str, ...]] = {}
        self.locals = tuple(
            self._local(index, owner, network)
            for index, (owner, network) in enumerate(owners)
        )
        self.incoming = incoming
        self.roles = tuple("R" if each else "I" for each in incoming)
        self.hellos = tuple(local.hello() for local in self.locals)
        for role, hello in zip(self.roles, self.hellos, strict=True):
            self.call(hello, f"{role}.hello")
        # What an adversary puts in: filled by `lone` and `pair`.
        self.puts: tuple[Move, ...] = ()
        self.sealed_puts: tuple[tuple[Move, ...], ...] = ()
        self.on_wire = False
        self.halving = True
        self.lazy = False
        self.oversleeps = False
        self.own = tuple(_own_moves(i, role) for i, role in enumerate(self.roles))

    @staticmethod
    def _local(index: int, owner: Identity, network: Network) -> Local:
        return Local(
            identity=owner,
            network=network,
            random_bytes=lambda size: bytes([index + 1]) * size,
            difficulty=DIFFICULTY,
            runner=compiled,
            keys=KeyCache(owner.secret_key, target_of(DIFFICULTY), capacity=1 << 20),
        )

    def _recorded(self, machine: type[Handshake], table: Table) -> type[Handshake]:
        """Make a machine of its table, as the library does; count what is taken."""
        fire = compiled(table, machine)
        taken, endings = self.taken, self.endings

        class Recorded(machine):
            __slots__ = ()

            def _fire(self, trigger: str, fact: Any) -> None:
                source = self.state
                fire[trigger](self, fact)
                taken[trigger, source, self.state] += 1
                event = getattr(fact, "event", fact)
                if type(event) is Closed:
                    why = event.disconnection
                    kinds = tuple(error.kind.name for error in why.errors)
                    endings[source.name, why.reason.name, kinds, why.greylists] += 1

        return Recorded

    # -- names -------------------------------------------------------------------------

    def call(self, piece: bytes, name: str) -> bytes:
        """Give bytes a name, unless they have one."""
        if piece not in self.names:
            assert name not in self.bytes, f"two frames are called {name}"
            self.names[piece] = name
            self.bytes[name] = piece
        return piece

    def halves(self, piece: bytes) -> tuple[bytes, bytes]:
        """Cut a frame in two, and name the halves."""
        name, middle = self.names[piece], len(piece) // 2
        first, second = piece[:middle], piece[middle:]
        # Two frames may begin alike: then it does not matter whose half it is.
        if first not in self.names:
            self.call(first, f"{name}<")
        return first, self.call(second, f">{name}")

    def altered(self, piece: bytes) -> bytes:
        """Change one bit: of the nonce of a connection message, of a chunk's last byte.

        So altered, a connection message is as good as before, but not the one that the
        sender hashed.
        """
        at = NONCE_OFFSET if piece in self.hellos else len(piece) - 1
        other = piece[:at] + bytes([piece[at] ^ 1]) + piece[at + 1 :]
        return self.call(other, f"{self.names[piece]}~")

    def cut(self, data: bytes, machine: Any = None) -> tuple[str, ...]:
        """Return the names of the frames in a row of bytes; what has none is hashed.

        Args:
            data: frames, the last one perhaps not complete.
            machine: whose frames they are, if it may have sealed some just now.
        """
        known = self._cuts.get(data)
        if known is not None:
            return known
        names: list[str] = []
        at = 0
        while at < len(data):
            end = at + 2 + int.from_bytes(data[at : at + 2], "big")
            piece = data[at:end]
            name = self.names.get(piece)
            if name is None and machine is not None:
                name = self._name_sealed(piece, machine)
            names.append(name or "?" + hashlib.blake2b(piece, digest_size=8).hexdigest())
            at = end
        self._cuts[data] = found = tuple(names)
        return found

    def _name_sealed(self, piece: bytes, machine: Any) -> str | None:
        """Open a chunk that a machine has just sealed, to see what it is."""
        to = self.greeted(machine)
        if to is None:
            return None
        role = self.roles[self.incoming.index(machine.incoming)]
        key, sending, _ = self.channel_of(machine.incoming, to)
        for number in range(3):
            nonce = ((sending + number) % NONCES).to_bytes(24, "big")
            try:
                plain = crypto_box_open_afternm(piece[2:], nonce, key)
            except CryptoError:
                continue
            what = "meta" if len(plain) == 2 else ANSWERS.get(plain[:1], "unknown")
            partner = {"I": "R.hello", "R": "I.hello"}[role]
            name = f"{role}.{what}" + ("" if to == partner else f" for {to}")
            self.call(piece, name)
            return name
        return None

    def greeted(self, machine: Any) -> str | None:
        """Return the name of the connection message that a machine took."""
        if machine._greeting is None:
            return None
        message = machine._greeting.message
        known = self._greetings.get(id(message))
        if known is None:
            name = self.names[frame_connection_message(message)]
            known = self._greetings[id(message)] = name, message
        return known[0]

    # -- channels ----------------------------------------------------------------------

    def channel_of(self, incoming: bool, greeting: str) -> tuple[bytes, int, int]:
        """Return key and first nonces, sending and receiving, as they have to be."""
        known = self._channels.get((incoming, greeting))
        if known is None:
            me, theirs = self.incoming.index(incoming), self.bytes[greeting]
            mine = self.hellos[me]
            key = crypto_box_beforenm(theirs[4:36], self.locals[me].identity.secret_key)
            order = (theirs, mine) if incoming else (mine, theirs)
            known = (key, *first_nonces(*order, incoming))
            self._channels[incoming, greeting] = known
        return known

    def is_steady(self, machine: Any) -> bool | None:
        """Whether key and nonces are those that greeting and state imply."""
        channel, greeting = machine._channel, self.greeted(machine)
        if channel is None or greeting is None:
            return None if channel is None and greeting is None else False
        key, sending, receiving = self.channel_of(machine.incoming, greeting)
        sealed, opened = SEALED.get(machine.state, (-1, -1))
        return (
            channel._key == key
            and channel.send_nonce == (sending + sealed) % NONCES
            and channel.receive_nonce == (receiving + opened) % NONCES
        )

    # -- single ends -------------------------------------------------------------------

    def id_of(self, end: End) -> int:
        """Return the number of an end's state."""
        machine = end.machine
        whole = (
            end.index,
            *(look(self, machine) for look in KEYED.values()),
            *(getattr(machine, name) for name in self.extra),
            end.due,
            end.verdict,
            end.told,
            end.wire,
            end.heard,
            end.deaf,
        )
        known = self._ids.get(whole)
        if known is None:
            known = self._ids[whole] = len(self._ids)
        return known

    @property
    def alone(self) -> int:
        """Number of states of single ends."""
        return len(self._ids)

    def faults_of(self, end: End) -> tuple[str, ...]:
        """Give the properties of single ends that do not hold; each state once."""
        number = end.id
        found = self._verified.get(number)
        if found is None:
            found = self._verified[number] = tuple(end.faults())
        return found


#: Names of answers by their tag.
ANSWERS: Final = {b"\x00": "ack", b"\x01": "nack", b"\xff": "nack v0"}


class End:
    """One real machine, with its owner and what is remembered of it for the checks.

    Attributes:
        machine: the real one.
        now: its clock.
        deadline: when it has to give up, by our own reckoning.
        verdict: "admit" or "refuse" once its owner has decided.
        told: names of the events that its owner has read.
        wire: names of the frames that have left it.
        heard: names of the frames that have reached it while it was live.
        deaf: whether it has been told the end of the other's stream.
        session: what was handed over; compared, never used.
    """

    __slots__ = (
        "_id",
        "deadline",
        "deaf",
        "heard",
        "index",
        "machine",
        "now",
        "session",
        "setting",
        "told",
        "verdict",
        "wire",
    )

    def __init__(self, setting: Setting, index: int) -> None:
        self.setting = setting
        self.index = index
        self.machine: Any = setting.machine(
            setting.locals[index], setting.incoming[index]
        )
        self.now = 0.0
        self.deadline: float | None = None
        self.verdict: str | None = None
        self.told: tuple[str, ...] = ()
        self.wire: tuple[str, ...] = ()
        self.heard: tuple[str, ...] = ()
        self.deaf = False
        self.session: Session | None = None
        self._id: int | None = None

    def copy(self) -> End:
        """Return a copy that may be changed."""
        new = object.__new__(End)
        new.setting, new.index = self.setting, self.index
        new.machine = self.setting.cloner.clone(self.machine)
        new.now = self.now + TICK
        new.deadline = self.deadline
        new.verdict, new.told, new.wire = self.verdict, self.told, self.wire
        new.heard, new.deaf, new.session = self.heard, self.deaf, self.session
        new._id = None
        return new

    @property
    def id(self) -> int:
        """Number of the state of this end."""
        if self._id is None:
            self._id = self.setting.id_of(self)
        return self._id

    @property
    def state(self) -> State:
        """State of the machine."""
        return self.machine.state

    @property
    def due(self) -> bool:
        """Whether its deadline has passed without its being told."""
        armed = self.machine._deadline is not None
        return armed and self.deadline is not None and self.now >= self.deadline

    @property
    def outbox(self) -> tuple[str, ...]:
        """Names of the frames that have not left it."""
        return self.setting.cut(self.machine._outbox, self.machine)

    @property
    def waiting(self) -> tuple[str, ...]:
        """Names of the frames that it has not read."""
        return self.setting.cut(bytes(self.machine._frames._buffer))

    @property
    def can_admit(self) -> bool:
        """Whether there is a common version."""
        return isinstance(self.machine._verdict.agreement, Version)

    @property
    def remote(self) -> Remote:
        """With whom it is established, or was when it was handed over."""
        session = self.session
        return self.machine._verdict.remote if session is None else session.remote

    @property
    def channel(self) -> Channel:
        """What seals and opens now."""
        session = self.session
        return self.machine._channel if session is None else session.channel

    # -- what its owner and its driver do ----------------------------------------------

    def start(self) -> None:
        """Begin."""
        self.deadline = self.now + TIMEOUT[self.machine.incoming]
        self.machine.start(self.now)

    def admit(self) -> None:
        """Accept the other; after the deadline that is no verdict any more."""
        self.verdict = None if self.due else "admit"
        self.machine.admit(self.now)

    def refuse(self) -> None:
        """Refuse the other, for the reason that the machine gives, if it does."""
        agreement = self.machine._verdict.agreement
        motive = Motive.TOO_MANY_CONNECTIONS if self.can_admit else agreement
        self.verdict = None if self.due else "refuse"
        self.machine.refuse(motive, (), self.now)

    def hand_over(self) -> None:
        """Take the connection over, and see that nothing is lost or added."""
        machine = self.machine
        rest, remote = bytes(machine._frames._buffer), machine._verdict.remote
        channel = self.setting.cloner.image(machine._channel)
        unsent = machine._outbox
        self.session = session = machine.hand_over()
        assert session.unsent == unsent, "bytes that were not sent yet are lost"
        assert not machine.data_to_send(), "bytes are sent twice"
        # The new owner sends them; here the same hands do, from the same place.
        machine._outbox = unsent
        assert session.rest == rest, "bytes are lost on the way to the session"
        assert session.eof is self.deaf, "the end of the stream is lost"
        assert session.remote == remote, "somebody else is handed over"
        assert self.setting.cloner.image(session.channel) == channel
        assert not len(machine._frames), "bytes are kept after they were handed over"

    def close(self) -> None:
        """End it."""
        self.machine.close(UNKNOWN, self.now)

    def oversleep(self) -> None:
        """Let the deadline pass without a word."""
        assert self.deadline is not None
        self.now = self.deadline

    def time_out(self) -> None:
        """Let the deadline pass, and say so."""
        self.now = max(self.now, self.deadline or 0.0)
        self.machine.handle_timeout(self.now)

    def hear(self, piece: bytes, names: tuple[str, ...]) -> None:
        """Receive bytes."""
        if not piece:
            self.deaf = True
        self.machine.receive_data(piece, self.now)
        whole = (name.removeprefix(">") for name in names if not name.endswith("<"))
        self.heard = (*self.heard, *whole)

    def speak(self) -> bytes:
        """Give the next frame for the wire."""
        outbox = self.machine._outbox
        size = 2 + int.from_bytes(outbox[:2], "big")
        name = self.outbox[0]
        piece = self.machine.data_to_send(size)
        assert piece == outbox[:size], "the wrong bytes are sent"
        self.wire = (*self.wire, name)
        return piece

    def read_event(self) -> None:
        """Take one event."""
        event: HandshakeEvent | None = self.machine.next_event()
        assert event is not None, "an event is lost"
        late = type(event) is Established and event.at >= (self.deadline or 0.0)
        assert not late, "it is established after its deadline"
        self.told = (*self.told, type(event).__name__)

    # -- properties --------------------------------------------------------------------

    def faults(self) -> Iterator[str]:
        """Give the properties of one end that do not hold."""
        machine, state = self.machine, self.state
        me = self.setting.roles[self.index]
        own = self.setting.locals[self.index].identity.peer_id
        events = (*self.told, *(type(event).__name__ for event in machine._events))
        out = (*self.wire, *self.outbox)

        if state is State.CLOSED:
            if events.count("Closed") != 1 or events[-1] != "Closed":
                yield f"{me} is closed, but Closed is not its last event, once: {events}"
            if events[:-1] != ORDER[: len(events) - 1]:
                yield f"{me} tells events out of order: {events}"
            if machine._channel is not None or len(machine._frames) or machine._sent:
                yield f"{me} is closed and keeps keys or bytes"
        elif events != ORDER[: TOLD[state]]:
            yield f"{me} in {state.name} has told {events}"

        known = machine._verdict
        if known is not None and known.remote.peer_id == own:
            yield f"{me} has authenticated itself"
        if state is State.ESTABLISHED:
            if self.heard[:3] != self.setting.genuine[self.index]:
                yield f"{me} is established having read {self.heard[:3]}"
            sent = (f"{me}.hello", f"{me}.meta", f"{me}.ack")
            if tuple(name.split(" for ")[0] for name in out) != sent:
                yield f"{me} is established having sent {out}"
        if "Established" in events and self.verdict != "admit":
            yield f"{me} is established on the verdict {self.verdict}"
        if self.verdict == "refuse" and state is not State.CLOSED:
            yield f"{me} has refused, and is in {state.name}"

        yield from self._faults_of_sending(me, events, out)

        if state in TIMED:
            if machine.next_timeout() != self.deadline:
                yield (
                    f"{me} in {state.name} is to give up at {machine.next_timeout()}, "
                    f"not at {self.deadline}"
                )
        elif machine.next_timeout() is not None:
            yield f"{me} in {state.name} has a deadline"

        size = len(machine._frames)
        if state not in OVER and size > FRAME_WIRE_MAX:
            yield f"{me} holds {size} bytes, limit {FRAME_WIRE_MAX}"
        dead = state in OVER or self.deaf
        if machine.read_allowance != (0 if dead else FRAME_WIRE_MAX - size):
            yield f"{me} holding {size} bytes allows {machine.read_allowance} more"
        if state in SEALED and not self.setting.is_steady(machine):
            yield f"{me} in {state.name} has the wrong key or nonces"
        yield from self._faults_of_use(me)

    def _faults_of_sending(
        self, me: str, events: tuple[str, ...], out: tuple[str, ...]
    ) -> Iterator[str]:
        if out and self.state is State.IDLE:
            yield f"{me} sends {out} before it is started"
        if out and out[0] != f"{me}.hello":
            yield f"{me} begins with {out[0]}"
        if len(out) > 1:
            if "ConnectionMessageReceived" not in events:
                yield f"{me} sends {out[1]} before it has accepted a connection message"
            if not out[1].startswith(f"{me}.meta"):
                yield f"{me} sends {out[1]} for its metadata"
        if len(out) > 2:
            if "Authenticated" not in events:
                yield f"{me} sends {out[2]} before it has read metadata"
            if self.verdict is None:
                yield f"{me} sends {out[2]} without a verdict in time"
            old = (
                not (v := self.machine._verdict)
                or not v.remote.message.version.p2p_version
            )
            nack = "nack v0" if old else "nack"
            what = "ack" if self.verdict == "admit" else nack
            if out[2].split(" for ")[0] != f"{me}.{what}":
                yield f"{me} answers {out[2]} on the verdict {self.verdict}"
        if len(out) > 3:
            yield f"{me} sends {out[3]} after its answer"
        if self.state is State.CLOSED and self.outbox and self.verdict != "refuse":
            yield f"{me} is closed and still sends {self.outbox}"

    def _faults_of_use(self, me: str) -> Iterator[str]:
        """Try on clones what must be refused, or do nothing."""
        cloner, machine, state = self.setting.cloner, self.machine, self.state
        before = cloner.image(machine)
        later = self.now if self.deadline is None else max(self.now, self.deadline)
        tries: dict[str, Callable[[Any], Any]] = {
            "start": lambda m: m.start(self.now),
            "admit": lambda m: m.admit(self.now),
            "refuse": lambda m: m.refuse(Motive.NO_MOTIVE, (), self.now),
            "hand over": lambda m: m.hand_over(),
        }
        for name, attempt in tries.items():
            if ALLOWED[name] is state and (name != "admit" or self.can_admit):
                continue
            clone = cloner.clone(machine)
            try:
                attempt(clone)
            except LocalProtocolError:
                if cloner.image(clone) != before:
                    yield f"{me} in {state.name} is changed by a refused {name}"
            else:
                # A verdict after the deadline ends it, as the timeout would have; in
                # any other state it is as illegal as before.
                verdict_due = self.due and state is State.VERDICT
                if not (verdict_due and clone.state is State.CLOSED):
                    yield f"{me} in {state.name} lets its owner {name}"
        idle: dict[str, Callable[[Any], Any]] = {}
        if state in OVER:
            idle = {
                "bytes": lambda m: m.receive_data(b"\0\0", later),
                "the end of the stream": lambda m: m.receive_data(b"", later),
                "a timeout": lambda m: m.handle_timeout(later + 60),
                "close": lambda m: m.close(UNKNOWN, later),
            }
        elif not self.due:
            idle["an early timeout"] = lambda m: m.handle_timeout(self.now)
            if self.deaf:
                idle["bytes behind the end"] = lambda m: m.receive_data(b"\0\0", self.now)
        for name, attempt in idle.items():
            clone = cloner.clone(machine)
            attempt(clone)
            if cloner.image(clone) != before:
                yield f"{me} in {state.name} is changed by {name}"


# -- worlds ----------------------------------------------------------------------------


class HandshakeWorld:
    """One or two ends, and what is on the way to each of them.

    Attributes:
        ends: the ends.
        links: for each end the pieces on their way to it.
        ended: for each end whether nothing can be added to those.
    """

    __slots__ = ("ended", "ends", "links", "setting")

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.ends = [End(setting, index) for index in range(len(setting.roles))]
        self.links: list[tuple[bytes, ...]] = [() for _ in self.ends]
        self.ended = [False for _ in self.ends]

    def key(self) -> Hashable:
        """Return what decides how this goes on."""
        names = self.setting.names
        return (
            *(end.id for end in self.ends),
            *(tuple(names[piece] for piece in link) for link in self.links),
            *self.ended,
        )

    @property
    def at_rest(self) -> bool:
        """Whether every end is closed or handed over."""
        return all(end.state in OVER for end in self.ends)

    def after(self, move: Move) -> Self:
        """Return the world that a move leads to."""
        new = object.__new__(type(self))
        new.setting = self.setting
        new.ends = self.ends.copy()
        new.links = self.links.copy()
        new.ended = self.ended.copy()
        move.act(new)
        new._settle()
        return new

    def _settle(self) -> None:
        """Do what follows at once, for every end.

        Events are read, unless their owner is lazy.  A socket whose handshake is over
        is read no more: what is on the way to it is lost, or somebody else's.  When it
        is closed and what was left to send has been sent, so is the socket.
        """
        last = len(self.ends) - 1
        for index, end in enumerate(self.ends):
            if last and self.setting.on_wire:
                while end.machine._outbox and self._has_room(1 - index):
                    end = self.touch(index) if end._id is not None else end
                    self._send(index, end)
            if end._id is not None:  # not touched by this move
                continue
            if not self.setting.lazy:
                while end.machine._events:
                    end.read_event()
            if end.state in OVER:
                end.heard = ()
                self.links[index] = ()
                self.ended[index] = True
                if last and end.state is State.CLOSED and not end.machine._outbox:
                    self.ended[1 - index] = True

    def touch(self, index: int) -> End:
        """Return an end that may be changed."""
        end = self.ends[index] = self.ends[index].copy()
        return end

    # -- moves -------------------------------------------------------------------------

    def moves(self) -> Iterator[Move]:
        """Give the moves that are possible."""
        setting = self.setting
        for index, end in enumerate(self.ends):
            own, state, machine = setting.own[index], end.state, end.machine
            if machine._outbox and (len(self.ends) == 1 or self._has_room(1 - index)):
                yield own["flush"]
            if machine._events:
                yield own["read event"]
            if state in OVER:
                continue
            if state is State.IDLE:
                yield own["start"]
            elif state is State.VERDICT:
                if end.can_admit:
                    yield own["admit"]
                yield own["refuse"]
            elif state is State.ESTABLISHED:
                yield own["hand over"]
            yield own["close"]
            if machine._deadline is not None:
                yield own["time out"]
                if setting.oversleeps and not end.due:
                    yield own["oversleep"]
            yield from self._arrivals(index)
            if len(self.ends) == 1:
                yield from self._puts()
            elif setting.on_wire:
                yield from self._meddling(index)
            if not self.ended[index] and len(self.ends) == 1:
                yield own["cut"]
                if self.links[index]:
                    yield own["sever"]

    def _has_room(self, index: int) -> bool:
        # On the way to a machine that is over there is nothing any more: no limit.
        return len(self.links[index]) < LINK

    def _arrivals(self, index: int) -> Iterator[Move]:
        own, link, end = self.setting.own[index], self.links[index], self.ends[index]
        if link:
            allowed = end.machine.read_allowance
            if len(link[0]) > allowed:
                if not end.deaf:
                    yield own["deliver too much"]
                return
            yield own["deliver"]
            halves = self.setting.halving and self.setting.names[link[0]][0] != ">"
            if halves and len(link[0]) > 1:
                yield own["deliver half"]
            if len(link) > 1 and sum(map(len, link)) <= allowed:
                yield own["deliver all"]
        elif self.ended[index] and not end.deaf:
            yield own["deliver end"]

    def _puts(self) -> Iterator[Move]:
        """What the adversary of a lone world may put next."""
        end = self.ends[0]
        if self.ended[0] or len(self.links[0]) + len(end.waiting) >= LINK:
            return
        yield from self.setting.puts
        under_way = (self.setting.names[piece] for piece in self.links[0])
        sealed = sum("@" in name for name in (*end.heard, *under_way))
        if sealed < len(self.setting.sealed_puts):
            yield from self.setting.sealed_puts[sealed]

    def _meddling(self, index: int) -> Iterator[Move]:
        """What the adversary on the wire may do to an end, besides cutting it off."""
        own, link, end = self.setting.own[index], self.links[index], self.ends[index]
        if link:
            if end.machine.read_allowance >= len(link[0]):
                yield own["deliver altered"]
            yield own["drop"]
        if not end.deaf:
            yield own["cut short"]
        if not end.waiting and not end.deaf:
            if end.state in READING:
                yield from self.setting.puts[index::2]
            other = self.ends[1 - index]
            for kind, frames in (("replay", other.wire), ("reflect", end.wire)):
                for number in range(len(frames)):
                    yield own[f"{kind} {number}"]

    # -- what moves do -----------------------------------------------------------------

    def own(self, index: int, what: str) -> None:
        """Let an owner do something."""
        getattr(self.touch(index), what)()

    def flush(self, index: int) -> None:
        """Let the next frame of an end leave."""
        self._send(index, self.touch(index))

    def _send(self, index: int, end: End) -> None:
        piece = end.speak()
        if len(self.ends) > 1 and not self.ended[1 - index]:
            self.links[1 - index] = (*self.links[1 - index], piece)

    def deliver(self, index: int, count: int = 1) -> None:
        """Deliver one piece, or more in one go."""
        pieces = self.links[index][:count]
        self.links[index] = self.links[index][count:]
        names = tuple(self.setting.names[piece] for piece in pieces)
        self.touch(index).hear(b"".join(pieces), names)

    def deliver_half(self, index: int) -> None:
        """Deliver the first half of the next frame."""
        first, second = self.setting.halves(self.links[index][0])
        self.links[index] = (second, *self.links[index][1:])
        self.touch(index).hear(first, (self.setting.names[first],))

    def deliver_end(self, index: int) -> None:
        """Tell an end that the other's stream has ended."""
        self.touch(index).hear(b"", ())

    def put(self, index: int, piece: bytes) -> None:
        """Put a frame behind what is on the way."""
        self.links[index] = (*self.links[index], piece)

    def inject(self, index: int, piece: bytes) -> None:
        """Deliver a frame of the adversary's before what is on the way."""
        self.touch(index).hear(piece, (self.setting.names[piece],))

    def repeat(self, index: int, whose: int, number: int) -> None:
        """Deliver once more, to an end, what an end has sent."""
        self.inject(index, self.setting.bytes[self.ends[whose].wire[number]])

    def deliver_altered(self, index: int) -> None:
        """Change a bit of the next frame, and deliver it."""
        first, *rest = self.links[index]
        self.links[index] = tuple(rest)
        self.inject(index, self.setting.altered(first))

    def drop(self, index: int) -> None:
        """Lose the next frame."""
        self.links[index] = self.links[index][1:]

    def cut(self, index: int) -> None:
        """End a stream behind what is on the way."""
        self.ended[index] = True

    def sever(self, index: int) -> None:
        """End a stream, and lose what is on the way."""
        self.links[index] = ()
        self.ended[index] = True

    def cut_short(self, index: int) -> None:
        """End a stream, lose what is on the way, and tell the end so."""
        self.sever(index)
        self.deliver_end(index)

    # -- properties --------------------------------------------------------------------

    def faults(self) -> Iterator[str]:
        """Give the properties that do not hold."""
        for end in self.ends:
            yield from self.setting.faults_of(end)
        if len(self.ends) < 2:
            return
        both = (State.ESTABLISHED, State.HANDED_OVER)
        for index, end in enumerate(self.ends):
            other = self.ends[1 - index]
            if end.state in both:
                me, you = self.setting.roles[index], self.setting.roles[1 - index]
                if other.verdict != "admit":
                    yield f"{me} is established on {you}'s verdict {other.verdict}"
                theirs = self.setting.locals[1 - index].identity.peer_id
                if end.remote.peer_id != theirs:
                    yield f"{me} is established with somebody else"
        if all(end.state in both for end in self.ends):
            yield from self._faults_of_channels()

    def _faults_of_channels(self) -> Iterator[str]:
        clone = self.setting.cloner.clone
        for index, role in enumerate(self.setting.roles):
            here = clone(self.ends[index].channel)
            there = clone(self.ends[1 - index].channel)
            if here._key != there._key:
                yield "both are established with different keys"
            elif here.send_nonce != there.receive_nonce:
                yield f"both are established, but the nonces from {role} do not match"
            elif there.open(here.seal(b"hello")[1]) != b"hello":
                yield f"both are established, but what {role} seals does not open"


def _own_moves(index: int, role: str) -> dict[str, Move]:
    """Make the moves of one end, once."""

    def move(label: str, what: str, *args: Any, quiet: bool = False) -> Move:
        def act(world: HandshakeWorld) -> None:
            getattr(world, what)(index, *args)

        return Move(f"{role}: {label}", act, quiet)

    moves = {
        "start": move("start", "own", "start", quiet=True),
        "admit": move("admit", "own", "admit"),
        "refuse": move("refuse", "own", "refuse"),
        "hand over": move("hand over", "own", "hand_over", quiet=True),
        "close": move("close", "own", "close"),
        "time out": move(
            "deadline passes, timeout handled", "own", "time_out", quiet=True
        ),
        "oversleep": move("deadline passes, nobody says so", "own", "oversleep"),
        "read event": move("event is read", "own", "read_event"),
        "flush": move("next frame is sent", "flush"),
        "deliver": move("next frame arrives", "deliver"),
        "deliver too much": move("next frame arrives unasked", "deliver"),
        "deliver half": move("half of the next frame arrives", "deliver_half"),
        "deliver all": move("two frames arrive at once", "deliver", 2),
        "deliver end": move("end of stream arrives", "deliver_end"),
        "deliver altered": move("next frame arrives altered", "deliver_altered"),
        "cut short": move("end of stream arrives, not what was sent", "cut_short"),
        "drop": move("next frame is lost", "drop"),
        "cut": move("their stream is ended", "cut"),
        "sever": move("their stream is cut off", "sever"),
    }
    for number in range(3):
        for kind, whose in (("replay", 1 - index), ("reflect", index)):
            words = "their" if kind == "replay" else "its own"
            label = f"{words} frame {number + 1} arrives again"
            moves[f"{kind} {number}"] = move(label, "repeat", whose, number)
    return moves


# -- adversaries -----------------------------------------------------------------------

#: Plaintexts that the adversary of a lone world seals with its next nonce.
SEALED_KINDS: Final = {
    "meta": b"\x00\xff",
    "long meta": bytes(3),
    "ack": b"\x00",
    "nack": b"\x01\x00\x01" + bytes(4),
    "nack v0": b"\xff",
    "bad answer": b"\x02",
    "message": bytes(3) + b"\x01\x02",
    "hollow": b"",
}
#: Frames in the clear, besides connection messages.
CLEAR_KINDS: Final = {
    "garbage": b"\x00\x28" + bytes(range(40)),
    "short": b"\x00\x0f" + bytes(15),
    "empty": b"\x00\x00",
    "largest": b"\xff\xff" + bytes(65535),
}
#: Those of them that an adversary on the wire uses.
NOISE: Final = ("garbage", "short")


def hello_frame(
    who: Identity, network: Network, *, public_key: bytes | None = None, work: bool = True
) -> bytes:
    """Frame a connection message, perhaps with a key or a stamp that will not do."""
    key = who.public_key if public_key is None else public_key
    message = ConnectionMessage(
        9732, key, _stamp(key, work), bytes([0xE]) * 24, network.announced
    )
    return frame_connection_message(message)


STRANGER: Final = "stranger"
ITSELF: Final = "itself"
FOREIGN: Final = "foreign"
OLD: Final = "old"
_NETWORKS: Final = {
    FOREIGN: Network("ELSEWHERE"),
    OLD: Network("TEZOS_MAINNET", (0,), (0,)),
}


def lone(
    incoming: bool,
    who: str = STRANGER,
    *,
    without: tuple[str, ...] = (),
    lazy: bool = False,
    oversleeps: bool = False,
    machine: type[Handshake] = Handshake,
    table: Table = TABLE,
) -> HandshakeWorld:
    """Make a world of one machine and an adversary that holds a key.

    Args:
        incoming: role of the machine.
        who: the adversary is a stranger with a key of its own, holds the machine's own
            key, is of a foreign network, or is an old node without motives.
        without: kinds of frames that it does not use.
        lazy: whether events are read one by one, at any time.
        oversleeps: whether deadlines may pass without a word.
        machine: class of the machine.
        table: its rows.
    """
    owner = identity("responder" if incoming else "initiator")
    adversary = owner if who == ITSELF else identity("adversary")
    setting = Setting(
        ((owner, MAINNET),),
        (incoming,),
        (("hello", "meta@0", "ack@1"),),
        machine,
        table,
    )
    setting.lazy, setting.oversleeps = lazy, oversleeps
    hello = hello_frame(adversary, _NETWORKS.get(who, MAINNET))
    clear = {
        "hello": hello,
        "hello with a stolen key": hello_frame(
            adversary, MAINNET, public_key=owner.public_key
        ),
        "hello without work": hello_frame(adversary, MAINNET, work=False),
        "hello of low order": hello_frame(adversary, MAINNET, public_key=bytes(32)),
        "hello too long": (len(hello) - 1).to_bytes(2, "big") + hello[2:] + b"\0",
        **CLEAR_KINDS,
    }
    if who == ITSELF:
        del clear["hello with a stolen key"]  # it is none
    for name in without:
        clear.pop(name, None)
    order = (setting.hellos[0], hello) if not incoming else (hello, setting.hellos[0])
    sending, _ = first_nonces(*order, not incoming)
    key = crypto_box_beforenm(owner.public_key, adversary.secret_key)

    def put(name: str, piece: bytes) -> Move:
        setting.call(piece, name)
        return Move(f"adversary: {name}", partial(_put, 0, piece))

    setting.puts = tuple(put(name, piece) for name, piece in clear.items())
    setting.sealed_puts = tuple(
        tuple(
            put(f"{name}@{number}", _seal(key, sending + number, plain))
            for name, plain in SEALED_KINDS.items()
            if name not in without
        )
        for number in range(4)
    )
    # What was sealed first may be sent again at any later time.
    again = setting.sealed_puts[0][0]
    replay = Move(f"{again.label}, again", again.act)
    head, *tail = setting.sealed_puts
    setting.sealed_puts = (head, *((*moves, replay) for moves in tail))
    return HandshakeWorld(setting)


def _put(index: int, piece: bytes, world: HandshakeWorld) -> None:
    world.put(index, piece)


def _inject(index: int, piece: bytes, world: HandshakeWorld) -> None:
    world.inject(index, piece)


def pair(
    *,
    on_wire: bool = False,
    same: bool = False,
    networks: tuple[Network, Network] = (MAINNET, MAINNET),
    oversleeps: bool = False,
    machine: type[Handshake] = Handshake,
    table: Table = TABLE,
) -> HandshakeWorld:
    """Make a world of an initiator, a responder and what is between them.

    Args:
        on_wire: whether there is an adversary on the wire.
        same: whether both are the same node: it dials itself.
        networks: of the initiator and the responder.
        oversleeps: whether deadlines may pass without a word.
        machine: class of the machines.
        table: their rows.
    """
    first, second = identity("initiator"), identity("responder")
    setting = Setting(
        ((first, networks[0]), (first if same else second, networks[1])),
        (False, True),
        (("R.hello", "R.meta", "R.ack"), ("I.hello", "I.meta", "I.ack")),
        machine,
        table,
    )
    setting.on_wire, setting.oversleeps = on_wire, oversleeps
    setting.halving = not on_wire
    setting.puts = tuple(
        Move(
            f"{setting.roles[index]}: adversary's {name} arrives",
            partial(_inject, index, setting.call(piece, name)),
        )
        for name, piece in CLEAR_KINDS.items()
        if name in NOISE
        for index in (0, 1)
    )
    return HandshakeWorld(setting)
