"""The datagram by which nodes of one local network find each other.

======  ====  =======  =================================================================
offset  size  field    meaning
======  ====  =======  =================================================================
0       10    magic    the letters ``DISCOMAGIC``
10      16    peer_id  of the sender, the raw bytes
26      2     port     uint16, TCP port on which the sender listens
======  ====  =======  =================================================================

Sent by UDP over IPv4, usually broadcast; nobody answers.  The address that goes with the
port is the one it came from.  It is not authenticated: anybody on the network can send
one in any name, so it is a hint where to dial, and nothing more.

Nodes of the reference read and write the port as a *signed* integer, so ports above
32 767 do not work with them; for the others the bytes are the same.  They read into a
buffer of 28 bytes, so longer datagrams count as their first 28: `read_datagram` does
the same whatever the driver's buffer is.

Source: the discovery module of the reference node, 2019 and 2026; the unsigned port is
ours.
"""

from __future__ import annotations

from typing import Final

import attrs

from .binary import UINT16, FixedBytes
from .blocks import Mapped
from .identity import PEER_ID, PeerId
from .record import Field, Record

#: What every datagram begins with.
DATAGRAM_MAGIC: Final = b"DISCOMAGIC"
#: Bytes of a datagram.
DATAGRAM_SIZE: Final = 28
#: UDP port to which they are sent unless configured otherwise.
DISCOVERY_PORT: Final = 10_732


@attrs.frozen
class Datagram:
    """What a datagram says.

    Attributes:
        peer_id: who claims to have sent it.
        port: 0 to 65535; a node that listens has no reason to send 0.
    """

    peer_id: PeerId
    port: int


@attrs.frozen
class _Wire:
    """All its fields, the constant one included."""

    magic: bytes
    peer_id: PeerId
    port: int


def _load(wire: _Wire) -> Datagram:
    if wire.magic != DATAGRAM_MAGIC:
        raise ValueError(f"begins with {wire.magic!r}, not {DATAGRAM_MAGIC!r}")
    return Datagram(wire.peer_id, wire.port)


def _dump(datagram: Datagram) -> _Wire:
    return _Wire(DATAGRAM_MAGIC, datagram.peer_id, datagram.port)


#: The 28 bytes.
DATAGRAM: Final = Mapped(
    "discovery datagram",
    Record(
        _Wire,
        "discovery datagram",
        Field("magic", FixedBytes(len(DATAGRAM_MAGIC)), "always DISCOMAGIC"),
        Field("peer_id", PEER_ID, "of the sender"),
        Field("port", UINT16, "TCP port on which the sender listens"),
    ),
    _load,
    _dump,
)


def read_datagram(data: bytes) -> Datagram | None:
    """Return what a datagram says, or None if it is none of ours.  Never raises.

    Args:
        data: any bytes; what is behind the first 28 is not looked at.
    """
    # Before anything is made of it: this is what floods consist of.
    if len(data) < DATAGRAM_SIZE or not data.startswith(DATAGRAM_MAGIC):
        return None
    # Any 18 bytes behind the magic are a peer id and a port.
    return DATAGRAM.decode(data[:DATAGRAM_SIZE])
