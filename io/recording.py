"""A handshake that two real nodes had, as a node of the Rust implementation saw it.

Recorded on the ``TEZOS_ALPHANET_CARTHAGE`` test network; part of the public test data
of TezEdge (MIT licence), identity included.  The side that dialled is replayed: given
the same identity and message nonce, the machine must send the very same bytes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import attrs
from nacl.bindings import crypto_box_beforenm

from ..fsm.channel import Channel, derive_nonces
from ..fsm.handshake import Handshake
from ..fsm.local import Local
from ..spec.events import Authenticated, HandshakeEvent
from ..spec.hello import CONNECTION_MESSAGE, MESSAGE_NONCE_SIZE, NONCE_OFFSET
from ..spec.identity import Identity
from ..spec.limits import FRAME_HEADER_SIZE
from ..spec.version import Network


@attrs.frozen
class Step:
    """One frame of the recording.

    Attributes:
        sent: True if the side that dialled sent it.
        name: what it is.
        frame: the bytes on the wire.
        plain: what it says, decrypted; for clear frames the body.
    """

    sent: bool
    name: str
    frame: bytes
    plain: bytes


def _clear(sent: bool, frame: str) -> Step:
    raw = bytes.fromhex(frame)
    return Step(sent, "connection message", raw, raw[FRAME_HEADER_SIZE:])


def _sealed(sent: bool, name: str, frame: str, plain: str) -> Step:
    return Step(sent, name, bytes.fromhex(frame), bytes.fromhex(plain))


IDENTITY: Final = Identity.of_secret(
    bytes.fromhex("66adf08839c350109d8955a92c6561f966d6a048968763d12b7026c7e368fbe1"),
    bytes.fromhex("ff6d772406b595e2ae0fd5c640a62a47212f21cbbcaac6b4"),
)

STEPS: Final = (
    _clear(
        True,
        "0086260440a2c1e551c1e48b89e2a13bb58114f613801439ec6c4fc3396799768a748b6eff6d"
        "772406b595e2ae0fd5c640a62a47212f21cbbcaac6b430f1069e8db55d9506a7bdb07be08805"
        "a6287d6848f5dfef0000002c54455a4f535f414c5048414e45545f43415254484147455f3230"
        "31392d31312d32385431333a30323a31335a00000001",
    ),
    _clear(
        False,
        "00862604e20639fd5df66ebbf5a480093778a12d3139e37d94fc97cba9992cbcb083a971815f"
        "987cc7eaf3b774cd500ed5c6c55e06e584fedd59767986605f5d933f3104f9b0164c826a21ea"
        "ad5e9430e76d1cb60000002c54455a4f535f414c5048414e45545f43415254484147455f3230"
        "31392d31312d32385431333a30323a31335a00000001",
    ),
    _sealed(True, "metadata", "0012501315db7509996b061e1b2823e70a6072bd", "0000"),
    _sealed(False, "metadata", "0012ee039c3446e496eb29bc1c65859c77aa30d9", "0000"),
    _sealed(True, "answer", "001130e8b60f4cadb54fafdad7f40eef3e2385", "00"),
    _sealed(False, "answer", "00112d52b63dedb4e6eae4a1f4fa62f08da66e", "00"),
    _sealed(
        True,
        "message",
        "001addfb5a68d7e4d67adce85dc7db8d2a4e57354dbd611efe5d61a9",
        "0000000600109caecab9",
    ),
    _sealed(
        False,
        "message",
        "001a603f34e0ace75b55bb275b814e791d61c49c318d0bc2ea2625dc",
        "0000000600109caecab9",
    ),
)

#: What both nodes announced.
NETWORK: Final = Network("TEZOS_ALPHANET_CARTHAGE_2019-11-28T13:02:13Z", (0,), (0, 1))
PORT: Final = 9732


@attrs.frozen
class Replayed:
    """One step of the recording, done again.

    Attributes:
        step: what was recorded.
        same: whether the machine sent the very bytes that were recorded, or took them.
        decrypted: what the frame says, opened with the key and the nonces of this
            handshake and nothing else; for clear frames the body.
        events: what the machine told after it.
    """

    step: Step
    same: bool
    decrypted: bytes
    events: tuple[HandshakeEvent, ...]


def _openers() -> dict[bool, Channel]:
    """Return what opens the frames of either direction, made from the first two."""
    ours, theirs = STEPS[0].frame, STEPS[1].frame
    remote = CONNECTION_MESSAGE.decode(theirs[FRAME_HEADER_SIZE:])
    key = crypto_box_beforenm(remote.public_key, IDENTITY.secret_key)
    send, receive = derive_nonces(ours, theirs)
    return {True: Channel(key, 0, send), False: Channel(key, 0, receive)}


def replay() -> Iterator[Replayed]:
    """Do the recorded handshake again, frame by frame, as the side that dialled."""
    nonce = STEPS[0].frame[NONCE_OFFSET : NONCE_OFFSET + MESSAGE_NONCE_SIZE]
    local = Local(
        identity=IDENTITY, network=NETWORK, port=PORT, random_bytes=lambda _: nonce
    )
    machine = Handshake(local, incoming=False)
    machine.start(0.0)
    openers, channel = _openers(), None
    for step in STEPS:
        if step.name == "message" and channel is None:
            channel = machine.hand_over().channel
        body = step.frame[FRAME_HEADER_SIZE:]
        if channel is not None and step.sent:
            same = b"".join(channel.seal(step.plain)) == step.frame
        elif channel is not None:
            same = channel.open(body) == step.plain
        elif step.sent:
            same = machine.data_to_send(len(step.frame)) == step.frame
        else:
            machine.receive_data(step.frame, 0.0)
            same = not machine.ended
        clear = step.name == "connection message"
        decrypted = body if clear else openers[step.sent].open(body)
        events: list[HandshakeEvent] = []
        while (event := machine.next_event()) is not None:
            events.append(event)
            if isinstance(event, Authenticated):
                machine.admit(0.0)
        yield Replayed(step, same, decrypted, tuple(events))
