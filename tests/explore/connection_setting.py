"""What all worlds of an exploration of connections share: messages, keys, sizes.

**Keys.**  Everything secret or random is fixed, so bytes are exact: the key of a live
machine holds all that it holds, byte for byte, but times and what never changes (see
`LEFT_OUT`).  Every time in it is either the present or a deadline that has not passed,
and the only move that reaches a deadline handles it at once: so it is enough to know
whether one is armed.  Of a closed machine the key holds the queue and the unread events;
that nothing else of it can be seen any more is tried out in every closed state.
"""

from __future__ import annotations

import struct
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, Final
from unittest import mock

import attrs
from explorer import Cloner, Move, check_slots
from handshake_world import DIFFICULTY, NONCES, first_nonces, identity
from nacl.bindings import crypto_box_beforenm, crypto_box_open_afternm

from tezos_p2p.fsm import Handshake, KeyCache, Local, connection, incoming, outgoing
from tezos_p2p.fsm.channel import Channel, Frames
from tezos_p2p.fsm.connection import Connection
from tezos_p2p.fsm.incoming import Incoming
from tezos_p2p.fsm.lifecycle import TABLE, State
from tezos_p2p.fsm.machine import States, Table, compiled
from tezos_p2p.fsm.outgoing import Outgoing
from tezos_p2p.spec.events import (
    Authenticated,
    Closed,
    ConnectionMessageReceived,
    ControlReceived,
    Established,
    Remote,
    SendReady,
)
from tezos_p2p.spec.identity import target_of
from tezos_p2p.spec.limits import Limits
from tezos_p2p.spec.message import Bootstrap, Disconnect, MessageCodec
from tezos_p2p.spec.reader import DecodeError, DecodeFault
from tezos_p2p.spec.reasons import Disconnection
from tezos_p2p.spec.version import MAINNET, Version

# -- messages --------------------------------------------------------------------------

_HEADER: Final = struct.Struct(">IH")
#: Application messages by the first letter of their names: tag and payload size.
KINDS: Final = {"A": (0x10, 2), "B": (0x11, 26), "X": (0x12, 2), "Y": (0x13, 2)}
#: This layer's own, which have no number.
CONTROLS: Final[Mapping[str, Any]] = {"boot": Bootstrap(), "bye": Disconnect()}
_CONTROL_NAMES: Final = {type(message): name for name, message in CONTROLS.items()}
_CONTROL_TAGS: Final = {2: "boot", 1: "bye"}
#: Those behind which nothing is read.
TERMINAL: Final = ("X", "Y", "bye")


class Letters:
    """Messages of an application: their names; X does not decode, Y makes it fail."""

    limits: Final = dict(KINDS.values())

    def encode(self, message: str) -> tuple[int, bytes]:
        tag, size = KINDS[message[0]]
        return tag, message.encode().ljust(size)

    def decode(self, tag: int, payload: bytes) -> str:
        message = payload.decode().rstrip()
        if message[0] == "X":
            raise DecodeError(DecodeFault.UNEXPECTED_TAG, 0, message)
        if message[0] == "Y":
            raise ValueError(message)
        return message


CODEC: Final = MessageCodec(Letters())


def name_of(message: Any) -> str:
    """Return the name of a message."""
    return message if isinstance(message, str) else _CONTROL_NAMES[type(message)]


def read_names(plain: bytes) -> tuple[str, ...]:
    """Return the names of the whole messages in plaintext, to the first terminal one.

    Written down once more: uint32 size of what follows, uint16 tag, payload.
    """
    names: list[str] = []
    at = 0
    while len(plain) - at >= 6:
        size, tag = _HEADER.unpack_from(plain, at)
        body = plain[at + 6 : at + 4 + size]
        at += 4 + size
        if at > len(plain):
            break
        names.append(_CONTROL_TAGS.get(tag) or body.decode().rstrip())
        if names[-1].startswith(TERMINAL):
            break
    return tuple(names)


# -- state keys ------------------------------------------------------------------------

_CONSTANT: Final = "constant per end"
#: Slots that the key does not hold, and why nothing that happens later depends on them.
LEFT_OUT: Final[Mapping[type, Mapping[str, str]]] = {
    Connection: {
        "_local": _CONSTANT,
        "_codec": _CONSTANT,
        "incoming": _CONSTANT,
        "joins": _CONSTANT,
        "inline": _CONSTANT,
        "remote": "told, never asked",
        "version": "told, never asked",
        "_now": "only told: in events, and as a time in the past",
    },
    Incoming: {
        "_codec": _CONSTANT,
        "_inline": _CONSTANT,
        "limit": _CONSTANT,
        "_budget": "set anew by every call that does work",
    },
    Outgoing: {"_limit": _CONSTANT, "_slice": _CONSTANT, "_joinable": _CONSTANT},
    Handshake: {"_local": _CONSTANT, "incoming": _CONSTANT},
    Frames: {},
    Channel: {"_key": "the same in a whole exploration, once there is one"},
}
#: Slots that it does hold.
KEYED: Final[Mapping[type, tuple[str, ...]]] = {
    Connection: (
        *("state", "_handshake", "_in", "_out", "_unsent", "_events"),
        *("disconnection", "_deadline", "_eof"),
    ),
    Incoming: (
        *(
            "fill",
            "items",
            "controls",
            "disconnected",
            "stalled",
            "_wire",
            "_plain",
            "_at",
        ),
        *("_missing", "_tag", "_parts", "_waits_for", "_spent", "_channel"),
    ),
    Outgoing: (
        *("fill", "refused", "sealed"),
        *("_waiting", "_waiting_weight", "_tail", "_channel"),
    ),
    Handshake: (
        *("state", "_frames", "_outbox", "_events", "_deadline", "_sent", "_eof"),
        *("_channel", "_greeting", "_verdict"),
    ),
    Frames: ("_buffer",),
    Channel: ("send_nonce", "receive_nonce"),
}
#: Classes of which only the presence counts: their contents are constant per end.
_PRESENT: Final = (ConnectionMessageReceived, Authenticated, Established, SendReady)

_Look = Callable[[Any], Hashable]


def _as_it_is(value: Any) -> Hashable:
    return value


def look_at(names: tuple[str, ...]) -> _Look:
    """Return how to look at some members."""
    return lambda value: tuple([shape(getattr(value, name)) for name in names])


def _incoming(names: tuple[str, ...]) -> _Look:
    whole = look_at(tuple(n for n in names if n not in ("_channel", "_tag")))

    def look(value: Any) -> Hashable:
        # The tag is only asked while bytes are missing; of the channel only one half
        # is used here.
        tag = value._missing and value._tag
        return whole(value), tag, value._channel.receive_nonce

    return look


def _outgoing(names: tuple[str, ...]) -> _Look:
    whole = look_at(tuple(name for name in names if name != "_channel"))
    return lambda value: (whole(value), value._channel.send_nonce)


_SPECIAL: Final = {Incoming: _incoming, Outgoing: _outgoing}
#: How to look at a value, by its class.
LOOKS: Final[dict[type, _Look]] = {
    **dict.fromkeys((int, bool, bytes, str, type(None)), _as_it_is),
    **dict.fromkeys((list, tuple, deque), lambda value: tuple(map(shape, value))),
    **dict.fromkeys((bytearray, memoryview), bytes),
    **dict.fromkeys(_PRESENT, lambda value: type(value).__name__),
    float: lambda value: True,  # a deadline that has not passed
    ControlReceived: lambda value: name_of(value.message),
    Closed: lambda value: ("Closed", shape(value.disconnection)),
    Disconnection: lambda why: (why.reason.name, kinds_of(why), why.direction is None),
    **{type(message): name_of for message in CONTROLS.values()},
    **{cls: _SPECIAL.get(cls, look_at)(names) for cls, names in KEYED.items()},
}


def shape(value: Any) -> Hashable:
    """Return what decides how something goes on, as nested tuples."""
    look = LOOKS.get(value.__class__)
    if look is None:
        look = LOOKS[value.__class__] = _look_for(value.__class__)
    return look(value)


def _look_for(cls: type) -> _Look:
    if issubclass(cls, States):
        return lambda value: value.name
    # Machines that are broken on purpose.
    return next(LOOKS[base] for base in cls.__mro__ if base in KEYED)


def kinds_of(why: Disconnection) -> tuple[str, ...]:
    """Return the names of the errors behind an ending."""
    return tuple(error.kind.name for error in why.errors)


def key_of(machine: Any) -> Hashable:
    """Return the key of a connection."""
    if machine.state is State.CLOSED:
        queue = None
        if machine._in is not None:
            queue = machine._in.fill, shape(machine._in.items)
        return "CLOSED", queue, shape(machine._events)
    return shape(machine)


# -- settings --------------------------------------------------------------------------


@attrs.frozen(kw_only=True, eq=False)
class Rules:
    """What is possible in a world, and how big things are in it.

    Attributes:
        sends: for the initiator and the responder, the kinds of messages they may send.
        most: how many each of them may send.
        work: units of work in one call.
        controls: control messages that may wait.
        waiting: limits of the queues of messages: incoming and outgoing.
        slice_size: most bytes of plaintext in a chunk.
        read_size: most bytes that are asked for at once.
        joins, inline: as for a `Connection`.
        refers: whether bodies are referred to, as those of big messages.
        lazy: whether events are read one by one, at any time.
        closes: what their owners may do to end it, for each end.
        lost: what the system may say: errors and directions.
        half: frames also arrive in two: cut in the middle (2), or behind the first byte
            (1); 0: they do not.
        unasked: whether bytes are delivered that were not asked for.
        on_wire: links on which an adversary may meddle, once each.
        refuses: whether the responder may refuse.
        last: chunks that may be sealed and opened until nonces are exhausted, or None.
        machine: class of the machines, or one that is broken on purpose.
        parts: names of the connection module that are replaced.
    """

    sends: tuple[tuple[str, ...], tuple[str, ...]] = (("A",), ("A",))
    most: tuple[int, int] = (2, 2)
    work: int = 2500
    controls: int = 64
    waiting: tuple[int | None, int | None] = (None, None)
    slice_size: int = 40
    read_size: int = 1 << 10
    joins: bool = True
    inline: bool = False
    refers: bool = False
    lazy: bool = False
    closes: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    lost: tuple[tuple[int | None, str], ...] = ()
    half: int = 0
    unasked: bool = False
    on_wire: tuple[int, ...] = ()
    refuses: bool = False
    last: int | None = None
    machine: type[Connection[Any]] = Connection
    table: Table = TABLE
    parts: Mapping[str, Any] = attrs.Factory(dict)

    @property
    def kept_max(self) -> int:
        """Most bytes that may be kept: what was asked for, and a frame."""
        return self.read_size + self.slice_size + 18

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Have the modules know the sizes of this world."""
        sizes = {
            incoming: {"WORK": self.work, "CONTROL_MAX": self.controls},
            connection: {
                "READ_SIZE": self.read_size,
                "KEPT_MAX": self.kept_max,
                **self.parts,
            },
            outgoing: {"_WORTH_REFERRING": 1 if self.refers else 1024},
        }
        with ExitStack() as stack:
            for module, values in sizes.items():
                stack.enter_context(mock.patch.multiple(module, **values))
            yield


class Setting:
    """What all worlds of one exploration share; nothing in it decides what happens.

    Attributes:
        taken: how often each (trigger, source) of the table was taken.
        endings: how often connections ended in each way: state, reason, errors, whether
            it greylists.
        met: other things that were met.
    """

    roles: Final = ("I", "R")

    def __init__(self, rules: Rules) -> None:
        for cls, names in KEYED.items():
            check_slots(cls, names, LEFT_OUT[cls])
        self.rules = rules
        self.cloner = Cloner(
            cloned=(Connection, *(cls for cls in KEYED if cls is not Connection)),
            shared=(
                *(Local, MessageCodec, Remote, Version, Disconnection, tuple),
                *(*_PRESENT, ControlReceived, Closed),
            ),
        )
        self.taken: Counter[tuple[str, State]] = Counter()
        self.endings: Counter[tuple[str, str, tuple[str, ...], bool]] = Counter()
        self.met: set[str] = set()
        self.machine = self._recorded(rules.machine, rules.table)
        self.locals = tuple(map(self._local, (0, 1), ("initiator", "responder")))
        hellos = [local.hello() for local in self.locals]
        nonces = [first_nonces(hellos[0], hellos[1], bool(index)) for index in (0, 1)]
        self.key = crypto_box_beforenm(
            self.locals[0].identity.public_key, self.locals[1].identity.secret_key
        )
        # Metadata and acceptance have been sealed before the first message.
        self.nonces = [(sending + 2) % NONCES for sending, _ in nonces]
        self.moves: dict[Hashable, Move] = {}
        #: For each frame whose it is, its number, and the plaintext.
        self.frames: dict[bytes, tuple[int, int, bytes]] = {}
        self.rests: set[bytes] = set()
        self._encoded: dict[tuple[str, ...], bytes] = {(): b""}
        self._names: dict[bytes, tuple[str, ...]] = {}
        self._ids: dict[Hashable, int] = {}
        self.verified: dict[int, tuple[str, ...]] = {}
        self.tried: dict[Hashable, tuple[str, ...]] = {}

    def _local(self, index: int, who: str) -> Local:
        owner, rules = identity(who), self.rules
        return Local(
            identity=owner,
            network=MAINNET,
            random_bytes=lambda size: bytes([index + 1]) * size,
            difficulty=DIFFICULTY,
            limits=Limits(
                incoming_message_queue_size=rules.waiting[0],
                outgoing_message_queue_size=rules.waiting[1],
                binary_chunks_size=rules.slice_size + 18,
            ),
            runner=compiled,
            keys=KeyCache(owner.secret_key, target_of(DIFFICULTY)),
        )

    def _recorded(self, machine: type[Connection[Any]], table: Table) -> type[Any]:
        """Make a machine of its table, as the library does; count what is taken."""
        fire = compiled(table, machine)
        taken, endings = self.taken, self.endings

        class Recorded(machine):
            __slots__ = ()

            def _fire(self, trigger: str, fact: Any) -> None:
                source = self.state
                fire[trigger](self, fact)
                taken[trigger, source] += 1
                if type(fact) is Closed:
                    why = fact.disconnection
                    ending = (source.name, why.reason.name, kinds_of(why), why.greylists)
                    endings[ending] += 1

        return Recorded

    def spend_nonces(self, left: int) -> None:
        """Let only so many nonces be left, to the responder one more."""
        self.nonces = [NONCES - left, NONCES - left - 1]

    def clone(self, machine: Any) -> Any:
        """Copy a connection; both halves of a copy share a channel, as they should."""
        new = self.cloner.clone(machine)
        if new._in is not None:
            new._out._channel = new._in._channel
        return new

    # -- names and numbers, each found once --------------------------------------------

    def open(self, index: int, number: int, frame: bytes) -> bytes:
        """Return the plaintext of a chunk of an end, which must be the next."""
        known = self.frames.get(frame)
        if known is None:
            nonce = (self.nonces[index] + number) % NONCES
            plain = crypto_box_open_afternm(
                frame[2:], nonce.to_bytes(24, "big"), self.key
            )
            known = self.frames[frame] = (index, number, plain)
        assert known[:2] == (index, number), "a chunk is sealed with a wrong nonce"
        return known[2]

    def encoded(self, names: tuple[str, ...]) -> bytes:
        """Return the bytes of messages."""
        known = self._encoded.get(names)
        if known is None:
            last = CODEC.encode(CONTROLS.get(names[-1], names[-1]))
            known = self._encoded[names] = self.encoded(names[:-1]) + last
        return known

    def names_in(self, plain: bytes) -> tuple[str, ...]:
        """Return the names of the messages in plaintext that are to be delivered."""
        known = self._names.get(plain)
        if known is None:
            names = read_names(plain)
            if names and names[-1].startswith(TERMINAL):
                names = names[:-1]
            known = self._names[plain] = names
        return known

    def received(self, names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Tell what `receive` gives from what is told as events."""
        if self.rules.inline:
            return names, ()
        told = tuple(name for name in names if name in CONTROLS)
        return tuple(name for name in names if name not in CONTROLS), told

    def number_of(self, state: Hashable) -> int:
        """Return the number of a state of an end."""
        return self._ids.setdefault(state, len(self._ids))

    @property
    def alone(self) -> int:
        """Number of states of single ends."""
        return len(self._ids)
