"""Handshakes in memory, as a driver would run them: both ends, or one under a flood."""

import os

from tezos_p2p.fsm.channel import KEY_CACHE_SIZE, KeyCache
from tezos_p2p.fsm.handshake import Handshake, Local
from tezos_p2p.spec.events import Authenticated
from tezos_p2p.spec.identity import Identity, target_of

NOW = 0.0


def node(seed: int, runner, cached: bool, difficulty: float = 0.0) -> Local:
    """Make a node; ``cached``: it remembers the keys it has agreed on."""
    identity = Identity.of_secret(bytes([seed]) * 32)
    capacity = KEY_CACHE_SIZE if cached else 0
    keys = KeyCache(identity.secret_key, target_of(difficulty), capacity)
    return Local(
        identity=identity,
        random_bytes=os.urandom,
        difficulty=difficulty,
        runner=runner,
        keys=keys,
    )


def deliver(data: bytes, end: Handshake) -> bytes:
    """Give bytes to one end, admit whoever is there; return what it says to that."""
    end.receive_data(data, NOW)
    while (event := end.next_event()) is not None:
        if type(event) is Authenticated:
            end.admit(NOW)
    return end.data_to_send()


def shake_hands(one: Local, other: Local) -> None:
    """Run a whole handshake, from two new objects to two sessions."""
    dialler, acceptor = Handshake(one, incoming=False), Handshake(other, incoming=True)
    dialler.start(NOW)
    acceptor.start(NOW)
    said = deliver(dialler.data_to_send(), acceptor)  # connection messages
    said = deliver(said, dialler)  # metadata
    said = deliver(said, acceptor)  # answers
    deliver(said, dialler)
    dialler.hand_over()
    acceptor.hand_over()


def started(local: Local) -> Handshake:
    """Return a handshake whose connection message is on the wire."""
    end = Handshake(local, incoming=True)
    end.start(NOW)
    end.data_to_send()
    return end
