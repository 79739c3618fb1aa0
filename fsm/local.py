"""What a node brings to every handshake: keys, versions, limits, and its randomness.

One `Local` serves all handshakes of a node.  What never changes between them is
encoded once: a handshake adds 24 random bytes.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any, cast

import attrs

from ..spec.hello import (
    ANSWER,
    CONNECTION_METADATA,
    MESSAGE_NONCE_SIZE,
    NONCE_OFFSET,
    ConnectionMessage,
    ConnectionMetadata,
    Nack,
    frame_connection_message,
    nack_for,
)
from ..spec.identity import DEFAULT_DIFFICULTY, Identity, target_of
from ..spec.limits import Limits
from ..spec.motive import Motive
from ..spec.point import Point
from ..spec.version import MAINNET, Network
from .channel import KeyCache
from .machine import RUNNERS, LocalProtocolError, Table, Trigger, shared


def _derived(method: str, *, init: bool = False) -> Any:
    """Make an attribute whose default is computed from the others, once."""
    make: Callable[[Any], Any] = operator.methodcaller(method)
    default = attrs.Factory(make, takes_self=True)
    return attrs.field(default=default, init=init, repr=False)


@attrs.frozen(eq=False, kw_only=True)
class Local:
    """What all handshakes of one node have in common.

    Args:
        identity: our keys and stamp.
        network: our chain name and versions.
        random_bytes: ``random_bytes(n)`` returns n unpredictable bytes: `os.urandom`
            outside of tests.
        port: TCP port to announce, 0 for none.
        metadata: what we tell authenticated peers about ourselves.
        difficulty: proof of work asked of peers, 0 to 256.
        limits: timeouts are taken from here.
        runner: ``machine.shared``, or ``machine.compiled`` for simulations.
        keys: cache of shared keys, made for the same identity and difficulty; by default
            a new one.

    Attributes:
        metadata_bytes: our metadata, encoded.

    Raises:
        ValueError: difficulty out of range, cache of another node, or unknown runner.
        EncodeError: the port, or a version, does not fit its field.
    """

    identity: Identity
    network: Network = MAINNET
    random_bytes: Callable[[int], bytes] = attrs.field(repr=False)
    port: int = 0
    metadata: ConnectionMetadata = attrs.field(factory=ConnectionMetadata)
    difficulty: float = DEFAULT_DIFFICULTY
    limits: Limits = attrs.field(factory=Limits)
    runner: Callable[[Table, type], Mapping[str, Trigger]] = shared
    keys: KeyCache = _derived("_make_keys", init=True)
    metadata_bytes: bytes = _derived("_encode_metadata")
    _hello: bytes = _derived("_frame_hello")
    # Version and motive, points, and the bytes of the last nack.
    _nack: list[Any] = attrs.field(factory=list[Any], init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        """Check what the parts cannot check alone."""
        if not self.keys.serves(self.identity.secret_key, target_of(self.difficulty)):
            raise ValueError("the key cache was made for another key or difficulty")
        if self.runner not in RUNNERS.values():
            raise ValueError("the runner is machine.shared or machine.compiled")

    def _make_keys(self) -> KeyCache:
        return KeyCache(self.identity.secret_key, target_of(self.difficulty))

    def _encode_metadata(self) -> bytes:
        return CONNECTION_METADATA.encode(self.metadata)

    def _frame_hello(self) -> bytes:
        return frame_connection_message(
            ConnectionMessage(
                self.port,
                self.identity.public_key,
                self.identity.proof_of_work_stamp,
                bytes(MESSAGE_NONCE_SIZE),
                self.network.announced,
            )
        )

    def nack(self, announced: int, motive: Motive, points: tuple[Point, ...]) -> bytes:
        """Return the answer that refuses somebody; crowds that get the same share it.

        Args:
            announced: their p2p version.
            motive: why.
            points: other nodes to try, at most 100.

        Raises:
            EncodeError: the points cannot be sent, be it to others than them.
        """
        last = self._nack
        if not (last and last[0] == (announced, motive) and last[1] is points):
            # Checked is also what a remote of version 0 will not be told.
            plaintext = ANSWER.encode(Nack(motive, points))
            answer = nack_for(announced, motive, points)
            if answer != Nack(motive, points):
                plaintext = ANSWER.encode(answer)
            last[:] = (announced, motive), points, plaintext
        return cast("bytes", last[2])

    def hello(self) -> bytes:
        """Return our framed connection message with a fresh nonce.

        Raises:
            LocalProtocolError: ``random_bytes`` gave another number of bytes.
        """
        frame = self._hello
        nonce = self.random_bytes(MESSAGE_NONCE_SIZE)
        if len(nonce) != MESSAGE_NONCE_SIZE:
            why = f"random_bytes({MESSAGE_NONCE_SIZE}) gave {len(nonce)} bytes"
            raise LocalProtocolError("start", "IDLE", why)
        return frame[:NONCE_OFFSET] + nonce + frame[NONCE_OFFSET + MESSAGE_NONCE_SIZE :]
