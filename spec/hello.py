"""The messages of a handshake: connection message, connection metadata, answer.

**Connection message**, in the clear, the first bytes of each side, sent at once:

======  ====  ======================  ==================================================
offset  size  field                   meaning
======  ====  ======================  ==================================================
0       2     length                  uint16, of what follows; 90 + n, any value is read
2       2     port                    TCP port on which the sender listens, 0 for none
4       32    public_key              X25519 public key
36      24    proof_of_work_stamp     see the identity module
60      24    message_nonce           fresh random bytes for each connection
84      4     chain name length n     uint30
88      n     chain name              any bytes
88 + n  2     distributed_db_version  greatest that the sender supports
90 + n  2     p2p_version             greatest that the sender supports
======  ====  ======================  ==================================================

The length must be consumed exactly.  Whatever does not decode greylists the address
of the sender and closes the connection.

**Connection metadata**, one encrypted chunk of 2 bytes: bool ``disable_mempool`` (send
me no mempool contents), bool ``private_node`` (do not advertise my address).  Exact
consumption; a violation greylists the address.

**Answer**, one encrypted chunk, a uint8 tag:

====  =======  =========================================================================
tag   name     payload
====  =======  =========================================================================
00    Ack      none
01    Nack     int16 motive, then a uint30 byte length and that many bytes of points,
               at most 100 points
ff    NackV0   none; all that nodes of 2019 send or know
====  =======  =========================================================================

All three are read from anyone; ``01`` is sent only to those who announced a p2p
version above 0.  Other tags, or more than 100 points, end the attempt; they greylist
nobody.

Source: the connection message, metadata and ack encodings of the reference node,
2019 and 2026; a recorded handshake of 2019; a running node of 2019.
"""

from __future__ import annotations

import struct
from typing import Final

import attrs

from .binary import BOOL, UINT8, UINT16, BinaryType, FixedBytes
from .blocks import Dynamic, Items, Remembered
from .identity import PUBLIC_KEY, STAMP
from .motive import MOTIVE, Motive
from .point import POINT, Point
from .reader import EncodeError
from .record import Case, Field, Record, Union
from .version import VERSION, Version

#: Bytes of the random nonce in a connection message.
MESSAGE_NONCE_SIZE: Final = 24
#: Most bytes that a uint16 frame length can announce.
FRAME_MAX_SIZE: Final = 0xFFFF
#: Most points that a nack or an Advertise may hold when read.
POINTS_MAX: Final = 100
#: Most points that we put in a nack or an Advertise, as the reference does.
POINTS_SENT_MAX: Final = 50

_U16: Final = struct.Struct(">H")


@attrs.frozen(weakref_slot=False)
class ConnectionMessage:
    """The first message of each side, in the clear.

    Attributes:
        port: 1 to 65535, or 0 when the sender does not listen.
        public_key: 32 bytes.
        proof_of_work_stamp: 24 bytes.
        message_nonce: 24 bytes, fresh for each connection.
        version: what the sender supports at most.
    """

    port: int
    public_key: bytes = attrs.field(repr=bytes.hex)
    proof_of_work_stamp: bytes = attrs.field(repr=bytes.hex)
    message_nonce: bytes = attrs.field(repr=bytes.hex)
    version: Version


# A node meets few networks and versions, in every connection message anew.
_VERSION: Final = Remembered(VERSION, values=256, size=64)
CONNECTION_MESSAGE: Final = Record(
    ConnectionMessage,
    "connection message",
    Field("port", UINT16, "TCP port on which the sender listens, 0 for none"),
    Field("public_key", PUBLIC_KEY, "X25519 public key"),
    Field("proof_of_work_stamp", STAMP, "proof of work over public key and stamp"),
    Field("message_nonce", FixedBytes(MESSAGE_NONCE_SIZE), "fresh for each connection"),
    Field("version", _VERSION, "network and greatest versions of the sender"),
)

#: Offset of the message nonce in a framed connection message.
NONCE_OFFSET: Final = 60


def frame_connection_message(message: ConnectionMessage) -> bytes:
    """Encode with the uint16 length in front: the exact bytes that nonces hash.

    Raises:
        EncodeError: a field is out of range, or the whole exceeds 65535 bytes.
    """
    body = CONNECTION_MESSAGE.encode(message)
    if len(body) > FRAME_MAX_SIZE:
        error = EncodeError(f"{len(body)} bytes, limit {FRAME_MAX_SIZE}")
        error.inside("connection message")
        raise error
    return _U16.pack(len(body)) + body


@attrs.frozen
class ConnectionMetadata:
    """What each side tells the other about itself, encrypted.

    Attributes:
        disable_mempool: "send me no mempool contents".
        private_node: "do not advertise my address".
    """

    disable_mempool: bool = False
    private_node: bool = False


CONNECTION_METADATA: Final = Record(
    ConnectionMetadata,
    "connection metadata",
    Field("disable_mempool", BOOL, "wants no mempool contents"),
    Field("private_node", BOOL, "its address must not be advertised"),
)


@attrs.frozen
class Ack:
    """Accepted."""


@attrs.frozen
class NackV0:
    """Refused, as nodes of p2p version 0 say it: no motive, no points."""


@attrs.frozen
class Nack:
    """Refused.

    Attributes:
        motive: why; unknown codes are kept.
        points: other nodes to try, at most 100.
    """

    motive: Motive
    points: tuple[Point, ...] = ()


#: What a side says once it has decided.
Answer = Ack | NackV0 | Nack

_ACK: Final = Record(Ack, "ack")
_NACK_V0: Final = Record(NackV0, "nack v0")
NACK: Final = Record(
    Nack,
    "nack",
    Field("motive", MOTIVE, "why; unknown codes are kept"),
    Field("points", Dynamic(Items(POINT, POINTS_MAX)), "other nodes to try"),
)

ANSWER: Final[BinaryType[Answer]] = Union(
    "answer",
    UINT8,
    Case(0x00, Ack, _ACK, "accepted"),
    Case(0x01, Nack, NACK, "refused; sent to those who announced p2p version 1 or more"),
    Case(0xFF, NackV0, _NACK_V0, "refused; sent to those who announced p2p version 0"),
)


def nack_for(p2p_version: int, motive: Motive, points: tuple[Point, ...]) -> Answer:
    """Return the refusal that a remote of the announced p2p version can read."""
    return Nack(motive, points) if p2p_version > 0 else NackV0()
