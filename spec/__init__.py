"""What the protocol says: values, wire encodings, limits, reasons, events.

No state, no behaviour, no I/O.  Each module's docstring is the specification of its
bytes; the names below are the public ones.
"""

from .address import (
    Address,
    PointError,
)
from .convert import ShapeError
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
    ANSWER,
    CONNECTION_MESSAGE,
    CONNECTION_METADATA,
    POINTS_MAX,
    POINTS_SENT_MAX,
    Ack,
    Answer,
    ConnectionMessage,
    ConnectionMetadata,
    Nack,
    NackV0,
    frame_connection_message,
)
from .identity import (
    DEFAULT_DIFFICULTY,
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
from .point import (
    DEFAULT_PORT,
    ConnectionId,
    Endpoint,
    Point,
)
from .reader import (
    DecodeError,
    DecodeFault,
    EncodeError,
)
from .reasons import Direction, Disconnection, ErrorKind, P2pError, Reason
from .version import GHOSTNET, MAINNET, NETWORKS, SANDBOX, SHADOWNET, Network, Version

__all__ = [
    "ANSWER",
    "CONNECTION_MESSAGE",
    "CONNECTION_METADATA",
    "DEFAULT_DIFFICULTY",
    "DEFAULT_PORT",
    "GHOSTNET",
    "MAINNET",
    "NETWORKS",
    "POINTS_MAX",
    "POINTS_SENT_MAX",
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
    "ShapeError",
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
