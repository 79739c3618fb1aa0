"""How the protocol behaves: state machines that do no I/O.

Fully deterministic: no module here opens a socket, reads a clock or draws a random
number.  Time is an argument, randomness is passed to constructors; the same inputs
give the same outputs, byte for byte.  (The command line of ``diagram``, which writes
files, is no part of any machine.)  The names below are the public ones.
"""

from .acl import Acl, StaticLists
from .channel import Channel, ChannelError, Frames, KeyCache, derive_nonces
from .commands import (
    Accept,
    Close,
    Command,
    Dial,
    Maintained,
    NodeCommand,
    Read,
    Shout,
    Shut,
    Wake,
    Write,
)
from .connection import Connection
from .diversity import Diversity
from .handshake import Handshake, Session, State
from .inbox import Joined, Left, Message, Ready
from .lifecycle import State as ConnectionState
from .local import Local
from .machine import LocalProtocolError, Row, States, Table, TableError, compiled, shared
from .node import Node
from .point import Backoff
from .policy import BY_SCORE, FAIR, PeerPolicy, Treatment
from .pool import Pool
from .prefix import Prefix
from .queues import BoundedQueue
from .settings import Settings
from .solo import Solo
from .steward import Steward

__all__ = [
    "BY_SCORE",
    "FAIR",
    "Accept",
    "Acl",
    "Backoff",
    "BoundedQueue",
    "Channel",
    "ChannelError",
    "Close",
    "Command",
    "Connection",
    "ConnectionState",
    "Dial",
    "Diversity",
    "Frames",
    "Handshake",
    "Joined",
    "KeyCache",
    "Left",
    "Local",
    "LocalProtocolError",
    "Maintained",
    "Message",
    "Node",
    "NodeCommand",
    "PeerPolicy",
    "Pool",
    "Prefix",
    "Read",
    "Ready",
    "Row",
    "Session",
    "Settings",
    "Shout",
    "Shut",
    "Solo",
    "State",
    "States",
    "StaticLists",
    "Steward",
    "Table",
    "TableError",
    "Treatment",
    "Wake",
    "Write",
    "compiled",
    "derive_nonces",
    "shared",
]
