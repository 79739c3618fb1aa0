"""Why things end: errors, disconnection reasons, and their stable names.

An *error* says what went wrong; its id is the one that the reference's admin
interface uses (``node.p2p_socket.decipher_error``), or begins with ``tezos_p2p.`` where
the reference has none.  A *reason* says why a connection is gone; its tag is the one
of the reference's log (0x01 to 0x29), never sent to peers.  A `Disconnection` is a
reason with what belongs to it.

Greylisting follows exactly from the errors marked so when they end an authentication
(reason `AUTHENTICATION_REJECTED_ERROR`; the address is greylisted), and from a message
that does not decode on an established connection (2026; address and peer).  Errors
while answers are exchanged, chunks that do not decrypt on an established connection,
closed connections and timeouts greylist nobody.

Source: the error and disconnection-reason modules of the reference node, 2026;
running nodes of 2019 for what greylists.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import attrs

from .motive import Motive


class ErrorKind(enum.Enum):
    """What went wrong.

    Attributes:
        id: stable name.
        meaning: one phrase for people.
        greylists: whether it greylists the remote's address when it ends an
            authentication.
    """

    __hash__ = object.__hash__

    CONNECTION_CLOSED = ("node.p2p_io_scheduler.connection_closed", "closed by the peer")
    CONNECTION_ERROR = ("node.p2p_io_scheduler.connection_error", "connection failed")
    DECIPHER_ERROR = ("node.p2p_socket.decipher_error", "a chunk does not decrypt", True)
    INVALID_MESSAGE_SIZE = (
        "node.p2p_socket.invalid_message_size",
        "a message does not fit one chunk",
        True,
    )
    INVALID_INCOMING_CIPHERTEXT_SIZE = (
        "node.p2p_socket.invalid_incoming_ciphertext_size",
        "a chunk is shorter than its authentication tag",
    )
    ENCODING_ERROR = ("node.p2p_socket.encoding_error", "cannot be encoded", True)
    UNEXPECTED_SIZE_OF_ENCODED_VALUE = (
        "unexpected_size_of_encoded_value",
        "encoded to another size than announced",
        True,
    )
    UNEXPECTED_SIZE_OF_DECODED_BUFFER = (
        "socket.unexpected_size_of_decoded_value",
        "our own connection message does not fit its frame",
    )
    DECODING_ERROR = ("node.p2p_socket.decoding_error", "does not decode", True)
    REJECTED_SOCKET_CONNECTION = (
        "node.p2p_socket.rejected_socket_connection",
        "the peer closed instead of answering",
    )
    REJECTED_BY_NACK = ("node.p2p_socket.rejected_by_nack", "the peer refused")
    REJECTED_NO_COMMON_PROTOCOL = (
        "node.p2p_socket.rejected_no_common_protocol",
        "no common network or version",
    )
    REJECTING_INCOMING = (
        "node.p2p_socket.rejecting_incoming",
        "an incoming connection is being refused",
    )
    MYSELF = ("node.p2p_socket.myself", "the peer is ourselves")
    NOT_ENOUGH_PROOF_OF_WORK = (
        "node.p2p_socket.not_enough_proof_of_work",
        "the peer's proof of work falls short",
        True,
    )
    INVALID_AUTH = ("node.p2p_socket.invalid_auth", "the answer is not authentic", True)
    INVALID_CHUNKS_SIZE = (
        "node.p2p_socket.invalid_chunks_size",
        "the configured chunk size is not legal",
        True,
    )
    LOW_ORDER_KEY = (
        "tezos_p2p.low_order_public_key",
        "the public key is a point of low order: no secret can be agreed on",
    )
    READ_ALLOWANCE_EXCEEDED = (
        "tezos_p2p.read_allowance_exceeded",
        "more bytes than the read allowance were fed",
    )
    NONCES_EXHAUSTED = (
        "tezos_p2p.nonces_exhausted",
        "the last chunk nonce is spent: another would repeat one",
    )
    CODEC_FAILED = (
        "tezos_p2p.codec_failed",
        "the application's codec raised what it must not",
    )
    PENDING_CONNECTION = ("node.p2p_pool.pending_connection", "already being connected")
    CONNECTED = ("node.p2p_pool.connected", "already connected")
    CONNECTION_FAILED = ("node.p2p_pool.connection_failed", "could not be reached")
    REJECTED = ("node.p2p_pool.rejected", "we refused the peer")
    TOO_MANY_CONNECTIONS = ("node.p2p_pool.too_many_connections", "too many connections")
    PRIVATE_MODE = ("node.p2p_pool.private_mode", "the node is in private mode")
    POINT_BANNED = ("node.p2p_pool.point_banned", "the address is banned")
    PEER_BANNED = ("node.p2p_pool.peer_banned", "the peer is banned")
    P2P_LAYER_DISABLED = ("node.p2p_pool.disabled", "the P2P layer is disabled")
    IDENTITY_CHECK_FAILURE = (
        "node.p2p_connect_handler.identity_check_failure",
        "another peer than the expected one answers there",
    )
    PEER_DISCOVERY_DISABLED = (
        "node.p2p_conn.peer_discovery_disabled",
        "peer discovery is disabled",
    )
    MAINTENANCE_DISABLED = ("node.p2p_maintenance.disabled", "maintenance is disabled")
    FAILED_TO_OPEN_LISTENING_SOCKET = (
        "p2p.welcome.failed_to_open_listening_socket",
        "cannot listen there",
    )
    FULL_WAITING_QUEUE = ("p2p.fd.Full_waiting_queue", "out of file descriptors")
    TIMEOUT = ("utils.Timeout", "the deadline has passed")
    CANCELED = ("canceled", "given up by the caller")

    def __init__(self, id: str, meaning: str, greylists: bool = False) -> None:  # noqa: A002  # the field's name
        self.id = id
        self.meaning = meaning
        self.greylists = greylists


_NO_FACTS: Final[Mapping[str, Any]] = MappingProxyType({})


@attrs.frozen
class P2pError:
    """One error, with the facts that belong to it.

    Facts count when errors are compared, but not in their hash.

    Attributes:
        kind: which.
        detail: what exactly, with numbers, field and offset; may be empty.
        facts: values that callers act on: ``peer_id``, ``motive``,
            ``alternative_points``, ``announced_version``.  What a connection alone does
            not know, such as the remote's address, is the caller's to add.
    """

    kind: ErrorKind
    detail: str = ""
    facts: Mapping[str, Any] = attrs.field(default=_NO_FACTS, hash=False)

    def __reduce__(self) -> tuple[object, ...]:
        """Say how to make a copy, or one from a file: no facts are no plain mapping."""
        facts = (dict(self.facts),) if self.facts else ()
        return type(self), (self.kind, self.detail, *facts)

    def __str__(self) -> str:
        """Say what went wrong."""
        return f"{self.kind.meaning}: {self.detail}" if self.detail else self.kind.meaning


class Reason(enum.Enum):
    """Why a connection ended.

    Attributes:
        tag: number in the reference's log.
        meaning: one phrase for people.
    """

    CONNECTION_LOST = (0x01, "the connection was lost")
    CONNECTION_CLOSED_BY_PEER = (0x02, "the peer closed the connection")
    CONNECTION_CLOSED_BY_UNEXPECTED_ERROR = (0x03, "the connection failed")
    TCP_CONNECTION_REFUSED = (0x04, "connection refused")
    TCP_CONNECTION_UNREACHABLE = (0x05, "host unreachable")
    TCP_CONNECTION_CANCELED = (0x06, "dialling was given up")
    TCP_CONNECTION_FAILED_UNEXPECTED_ERROR = (0x07, "dialling failed")
    SCHEDULED_POP_UNEXPECTED_ERROR = (0x08, "writing failed inside the node")
    SCHEDULED_PUSH_UNEXPECTED_ERROR = (0x09, "reading failed inside the node")
    IO_SCHEDULER_CLOSED = (0x10, "the scheduler dropped the connection")
    IO_SCHEDULER_SHUTDOWN = (0x11, "the node is shutting down")
    ACCEPT_WRITE_ERROR = (0x12, "our acceptance could not be sent")
    ACK_READ_ERROR = (0x13, "the peer's answer could not be read")
    AUTHENTICATION_REJECTED_NO_COMMON_PROTOCOL = (0x14, "no common network or version")
    AUTHENTICATION_REJECTED = (0x15, "we refused the peer")
    AUTHENTICATION_REJECTED_BY_PEER = (0x16, "the peer refused us")
    AUTHENTICATION_REJECTED_ERROR = (0x17, "the authentication failed")
    INCOMING_CONNECTION_TOO_MANY = (0x18, "too many handshakes in progress")
    INCOMING_CONNECTION_BANNED = (0x19, "the address is banned")
    UNEXPECTED_PEER_ID = (0x20, "another peer than the expected one")
    IP_MANUALLY_BANNED = (0x21, "the address was banned by an operator")
    PEER_ID_MANUALLY_BANNED = (0x22, "the peer was banned by an operator")
    POOL_DESTROYED = (0x23, "the pool of connections is gone")
    PEER_SWAPPED = (0x24, "exchanged for another peer")
    EXPLICIT_RPC = (0x25, "an operator asked for it")
    MAINTENANCE_TOO_MANY = (0x26, "more connections than wanted")
    USER = (0x27, "the application asked for it")
    UNKNOWN_REASON = (0x28, "no reason was given")
    TCP_NETWORK_UNREACHABLE = (0x29, "network unreachable")

    def __init__(self, tag: int, meaning: str) -> None:
        self.tag = tag
        self.meaning = meaning


class Direction(enum.Enum):
    """Which half of a connection a fault was met on."""

    READ = 0x01
    WRITE = 0x02


@attrs.frozen
class Disconnection:
    """Why one connection ended, with what belongs to it.

    Attributes:
        reason: the reason.
        errors: the errors behind it, outermost first.
        motive: why the peer was refused, when one side refused.
        direction: which half failed, for lost and closed connections.
        text: the application's own words, for `Reason.USER`.
    """

    reason: Reason
    errors: tuple[P2pError, ...] = ()
    motive: Motive | None = None
    direction: Direction | None = None
    text: str = ""

    @property
    def greylists(self) -> bool:
        """Whether the remote must be greylisted for it."""
        if self.reason is Reason.AUTHENTICATION_REJECTED_ERROR:
            return any(error.kind.greylists for error in self.errors)
        return self.reason is Reason.CONNECTION_CLOSED_BY_UNEXPECTED_ERROR and any(
            error.kind is ErrorKind.DECODING_ERROR for error in self.errors
        )

    def __str__(self) -> str:
        """Say why, for people."""
        parts = [self.reason.meaning]
        if self.direction is not None:
            parts[0] += f" ({self.direction.name.lower()})"
        if self.motive is not None:
            parts[0] += f" ({self.motive.name.lower().replace('_', ' ')})"
        if self.text:
            parts.append(self.text)
        return ": ".join([*parts, *map(str, self.errors)])


#: What a close without a reason of its own means.
UNKNOWN: Final = Disconnection(Reason.UNKNOWN_REASON)
