"""What the protocol says: values, wire encodings, limits, reasons, events.

No state, no behaviour, no I/O.  Each module's docstring is the specification of its
bytes; the names below are the public ones.
"""

from .events import (
    Authenticated,
    Closed,
    ConnectionMessageReceived,
    Established,
    HandshakeEvent,
    Remote,
    event_json,
)
from .hello import (
    Ack,
    Answer,
    ConnectionMessage,
    ConnectionMetadata,
    Nack,
    NackV0,
    frame_connection_message,
)
from .identity import (
    Identity,
    IdentityError,
    IdentityMismatch,
    InsufficientProofOfWork,
    KeysMismatch,
    PeerId,
    difficulty_reached,
    expected_tries,
    is_enough_work,
    search_stamp,
    target_of,
)
from .limits import Limit, Limits, Thresholds, limit_table
from .message import (
    Advertise,
    ApplicationCodec,
    Bootstrap,
    ControlMessage,
    Disconnect,
    MessageCodec,
    SwapAck,
    SwapRequest,
)
from .motive import Motive
from .point import Address, ConnectionId, Endpoint, Point, PointError
from .reader import (
    DecodeError,
    DecodeFault,
    EncodeError,
)
from .reasons import Direction, Disconnection, ErrorKind, P2pError, Reason
from .version import GHOSTNET, MAINNET, NETWORKS, SANDBOX, SHADOWNET, Network, Version

__all__ = [
    "GHOSTNET",
    "MAINNET",
    "NETWORKS",
    "SANDBOX",
    "SHADOWNET",
    "Ack",
    "Address",
    "Advertise",
    "Answer",
    "ApplicationCodec",
    "Authenticated",
    "Bootstrap",
    "Closed",
    "ConnectionId",
    "ConnectionMessage",
    "ConnectionMessageReceived",
    "ConnectionMetadata",
    "ControlMessage",
    "DecodeError",
    "DecodeFault",
    "Direction",
    "Disconnect",
    "Disconnection",
    "EncodeError",
    "Endpoint",
    "ErrorKind",
    "Established",
    "HandshakeEvent",
    "Identity",
    "IdentityError",
    "IdentityMismatch",
    "InsufficientProofOfWork",
    "KeysMismatch",
    "Limit",
    "Limits",
    "MessageCodec",
    "Motive",
    "Nack",
    "NackV0",
    "Network",
    "P2pError",
    "PeerId",
    "Point",
    "PointError",
    "Reason",
    "Remote",
    "SwapAck",
    "SwapRequest",
    "Thresholds",
    "Version",
    "difficulty_reached",
    "event_json",
    "expected_tries",
    "frame_connection_message",
    "is_enough_work",
    "limit_table",
    "search_stamp",
    "target_of",
]
