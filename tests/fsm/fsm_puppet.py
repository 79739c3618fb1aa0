"""A scripted peer, and a handshake brought to any of its states.

The puppet seals and opens with PyNaCl and hashlib alone, by the rules of the protocol:
nothing of it is the code under test, so it can also lie.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from typing import Any

import attrs
from nacl.bindings import (
    crypto_box_afternm,
    crypto_box_beforenm,
    crypto_box_open_afternm,
    crypto_scalarmult_base,
)

from tezos_p2p.fsm import Handshake, Local, Session, State
from tezos_p2p.fsm.machine import RUNNERS
from tezos_p2p.spec import Authenticated, Closed, Disconnection, Identity
from tezos_p2p.spec.reasons import UNKNOWN

#: Role of the handshake under test: did the other side dial?
ROLES = (False, True)
ROLE_NAMES = {False: "outgoing", True: "incoming"}
RUNNER_NAMES = tuple(RUNNERS)

OUR_SECRET = b"\x01" * 32
THEIR_SECRET = b"\x02" * 32

#: Bytes: a frame of 65,535 and its length.
FRAME_WIRE_MAX = 65_537
#: Bytes: the largest nack, 7 and 100 points of 51.
ANSWER_MAX = 5_107
#: Bytes that we may have to send at most: greeting, metadata chunk, largest answer.
OUTBOX_MAX = FRAME_WIRE_MAX + 20 + 18 + ANSWER_MAX


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(2, "big") + body


def cut(wire: bytes | bytearray) -> list[bytes]:
    """Cut bytes on the wire into frames, lengths included."""
    frames: list[bytes] = []
    while wire:
        end = 2 + int.from_bytes(wire[:2], "big")
        frames.append(bytes(wire[:end]))
        wire = wire[end:]
    return frames


class Source:
    """Seeded ``random_bytes`` that counts its calls."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self.calls = 0

    def __call__(self, size: int) -> bytes:
        self.calls += 1
        return self._random.randbytes(size)


@attrs.define(eq=False, kw_only=True)
class Puppet:
    """The other side.  ``dialled``: it plays the initiator."""

    dialled: bool
    secret: bytes = THEIR_SECRET
    port: int = 0
    stamp: bytes = bytes(24)
    nonce: bytes = b"\xbb" * 24
    chain: bytes = b"TEZOS_MAINNET"
    ddb: int = 2
    p2p: int = 1
    public: bytes = b""
    sent: bytes = b""
    key: bytes = b""
    send_nonce: int = 0
    receive_nonce: int = 0

    def __attrs_post_init__(self) -> None:
        self.public = self.public or crypto_scalarmult_base(self.secret)

    def body(self) -> bytes:
        return b"".join(
            (
                self.port.to_bytes(2, "big"),
                self.public,
                self.stamp,
                self.nonce,
                len(self.chain).to_bytes(4, "big"),
                self.chain,
                self.ddb.to_bytes(2, "big"),
                self.p2p.to_bytes(2, "big"),
            )
        )

    def hello(self) -> bytes:
        self.sent = framed(self.body())
        return self.sent

    def meet(self, frame: bytes) -> None:
        """Read their whole connection frame; ours has been made before."""
        self.key = crypto_box_beforenm(frame[4:36], self.secret)
        pair = self.sent + frame if self.dialled else frame + self.sent
        nonces = [
            int.from_bytes(
                hashlib.blake2b(pair + word, digest_size=32).digest()[:24], "big"
            )
            for word in (b"Resp -> Init", b"Init -> Resp")
        ]
        # Against intuition, who dials sends with the phrase "Resp -> Init".
        if not self.dialled:
            nonces.reverse()
        self.send_nonce, self.receive_nonce = nonces

    def seal(self, plaintext: bytes) -> bytes:
        nonce = self.send_nonce.to_bytes(24, "big")
        self.send_nonce = (self.send_nonce + 1) % (1 << 192)
        return framed(crypto_box_afternm(plaintext, nonce, self.key))

    def open(self, chunk: bytes) -> bytes:
        assert int.from_bytes(chunk[:2], "big") == len(chunk) - 2
        nonce = self.receive_nonce.to_bytes(24, "big")
        self.receive_nonce = (self.receive_nonce + 1) % (1 << 192)
        return crypto_box_open_afternm(chunk[2:], nonce, self.key)


def our_local(runner: str = "compiled", seed: int = 0, **changes: Any) -> Local:
    """Return what we are: trivial keys, no work asked."""
    settings: dict[str, Any] = {
        "identity": Identity.of_secret(OUR_SECRET),
        "random_bytes": Source(seed),
        "port": 9732,
        "difficulty": 0,
        "runner": RUNNERS[runner],
    }
    return Local(**settings | changes)


def check_bounds(machine: Handshake) -> None:
    """Nothing that the peer can grow is beyond its bound."""
    assert len(machine._frames) <= FRAME_WIRE_MAX
    assert len(machine._outbox) <= OUTBOX_MAX
    assert len(machine._events) <= 4


@attrs.define(eq=False, kw_only=True)
class Scene:
    """A handshake and its puppet; all that came out of the handshake so far."""

    machine: Handshake
    peer: Puppet
    events: list[Any] = attrs.field(factory=list)
    sent: bytearray = attrs.field(factory=bytearray)
    heard: list[bytes] = attrs.field(factory=list)
    session: Session | None = None

    def drain(self) -> list[Any]:
        """Take what the handshake puts out; return the new events."""
        check_bounds(self.machine)
        while data := self.machine.data_to_send():
            self.sent += data
        new: list[Any] = []
        while (event := self.machine.next_event()) is not None:
            new.append(event)
        self.events += new
        return new

    def give(self, data: bytes, now: float = 0.0) -> list[Any]:
        """Feed bytes of the peer; return the new events."""
        self.machine.receive_data(data, now)
        return self.drain()

    def give_admitting(self, data: bytes, now: float = 0.0) -> list[Any]:
        """Feed bytes; admit as soon as that is asked for."""
        new = self.give(data, now)
        if any(isinstance(event, Authenticated) for event in new):
            if not self.machine.over:
                self.machine.admit(now)
            new += self.drain()
        return new

    def the_end(self) -> Disconnection:
        """Check that it is over, told once, for ever; return why."""
        machine = self.machine
        self.drain()
        closed = [event for event in self.events if isinstance(event, Closed)]
        assert len(closed) == 1
        assert self.events[-1] is closed[0]
        assert machine.ended
        assert machine.over
        assert machine.state is State.CLOSED
        machine.receive_data(b"\0" * 200, 1e6)
        machine.receive_data(b"", 1e6)
        machine.handle_timeout(1e9)
        machine.close(UNKNOWN, 1e9)
        assert machine.next_timeout() is None
        assert machine.next_event() is None
        assert machine.data_to_send() == b""
        assert machine.read_allowance == 0
        check_bounds(machine)
        return closed[0].disconnection


def scene(
    incoming: bool, runner: str = "compiled", local: Local | None = None, **peer: Any
) -> Scene:
    """Return a handshake in IDLE and a puppet."""
    return Scene(
        machine=Handshake(local or our_local(runner), incoming),
        peer=Puppet(dialled=incoming, **peer),
    )


def begin(it: Scene) -> None:
    it.machine.start(0.0)
    it.drain()


def greet(it: Scene) -> None:
    it.give(it.peer.hello())
    hello, chunk = cut(it.sent)
    it.peer.meet(hello)
    it.heard.append(it.peer.open(chunk))


def tell(it: Scene) -> None:
    it.give(it.peer.seal(b"\0\0"))


def admit(it: Scene) -> None:
    before = len(it.sent)
    it.machine.admit(0.0)
    it.drain()
    it.heard.append(it.peer.open(bytes(it.sent[before:])))


def answer(it: Scene) -> None:
    it.give(it.peer.seal(b"\0"))


def hand_over(it: Scene) -> None:
    it.session = it.machine.hand_over()


def close(it: Scene) -> None:
    it.machine.close(UNKNOWN, 0.0)
    it.drain()


#: The steps that lead to each state.
WAYS: dict[State, tuple[Callable[[Scene], None], ...]] = {
    State.IDLE: (),
    State.GREETING: (begin,),
    State.METADATA: (begin, greet),
    State.VERDICT: (begin, greet, tell),
    State.ANSWER: (begin, greet, tell, admit),
    State.ESTABLISHED: (begin, greet, tell, admit, answer),
    State.HANDED_OVER: (begin, greet, tell, admit, answer, hand_over),
    State.CLOSED: (begin, close),
}


def reach(
    state: State,
    incoming: bool,
    runner: str = "compiled",
    local: Local | None = None,
    **peer: Any,
) -> Scene:
    """Return a scene whose handshake is in the given state, everything drained."""
    it = scene(incoming, runner, local, **peer)
    for step in WAYS[state]:
        step(it)
    assert it.machine.state is state
    return it
