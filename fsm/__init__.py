"""How the protocol behaves: state machines that do no I/O.

Fully deterministic: no module here opens a socket, reads a clock or draws a random
number.  Time is an argument, randomness is passed to constructors; the same inputs
give the same outputs, byte for byte.  (The command line of ``diagram``, which writes
files, is no part of any machine.)  The names below are the public ones.
"""

from .channel import Channel, ChannelError, ChunkStream, Frames, KeyCache, derive_nonces
from .handshake import Handshake, Session, State
from .local import Local
from .machine import LocalProtocolError, Row, States, Table, TableError, compiled, shared

__all__ = [
    "Channel",
    "ChannelError",
    "ChunkStream",
    "Frames",
    "Handshake",
    "KeyCache",
    "Local",
    "LocalProtocolError",
    "Row",
    "Session",
    "State",
    "States",
    "Table",
    "TableError",
    "compiled",
    "derive_nonces",
    "shared",
]
