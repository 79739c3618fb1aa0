"""How the protocol behaves: state machines that do no I/O.

Fully deterministic: no module here opens a socket, reads a clock or draws a random
number.  Time is an argument, randomness is passed to constructors; the same inputs
give the same outputs, byte for byte.  (The command line of ``diagram``, which writes
files, is no part of any machine.)  The names below are the public ones.
"""

from .channel import Channel, ChannelError, Frames, KeyCache, derive_nonces
from .commands import Accept, Close, Command, Dial, Read, Shut, Wake, Write
from .connection import Connection
from .handshake import Handshake, Session, State
from .lifecycle import State as ConnectionState
from .local import Local
from .machine import LocalProtocolError, Row, States, Table, TableError, compiled, shared
from .queues import BoundedQueue
from .solo import Solo

__all__ = [
    "Accept",
    "BoundedQueue",
    "Channel",
    "ChannelError",
    "Close",
    "Command",
    "Connection",
    "ConnectionState",
    "Dial",
    "Frames",
    "Handshake",
    "KeyCache",
    "Local",
    "LocalProtocolError",
    "Read",
    "Row",
    "Session",
    "Shut",
    "Solo",
    "State",
    "States",
    "Table",
    "TableError",
    "Wake",
    "Write",
    "compiled",
    "derive_nonces",
    "shared",
]
