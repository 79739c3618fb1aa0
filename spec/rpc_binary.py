"""The admin interface in bytes (``application/octet-stream``), as far as it is known.

=================  =====================================================================
answer             bytes
=================  =====================================================================
peer id            16
`Stat`             int64 sent, int64 received, int32 inflow, int32 outflow: 24
`ConnectionInfo`   bool incoming, peer id, connection id, uint16 port, version, bool
                   private, 2 bools of local and 2 of remote metadata
`PeerInfo`         double score, bool trusted, metadata?, the counters, uint8 state,
                   connection id?, stat, six pairs? of connection id and moment
`PointInfo`        bool trusted, moment (0: none), uint8 state and peer id, peer id?, and
                   six moments? or pairs? of peer id and moment
=================  =====================================================================

A field with a ``?`` is a byte, 00 or ff, and after ff the value; a moment is an int64 of
seconds; a connection id is an address with its length in front, and a uint16 port?; a
counter is a number of seven bits a byte, the lowest first, the high bit set in all but
the last.  States count as the admin interface names them.  The last two answers are known
of 2019 only.  Answers of 2026 have their length in front, four bytes.

Source: answers of a running node of 2019, and values encoded by its library.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final, TypeVar

import attrs

from .hello import CONNECTION_METADATA
from .identity import PeerId
from .metadata import ByKind, TezosMetadata
from .point import CONNECTION_ID, ConnectionId
from .rpc import (
    ConnectionInfo,
    Generation,
    LastContact,
    LastMeeting,
    PeerInfo,
    PeerState,
    PointInfo,
    PointStateKind,
    Stat,
)
from .version import VERSION

T = TypeVar("T")

_BOOL: Final = {False: b"\x00", True: b"\xff"}
_STATES: Final = {state: bytes([tag]) for tag, state in enumerate(PeerState)}
_POINT_STATES: Final = {state: bytes([tag]) for tag, state in enumerate(PointStateKind)}
_LATE: Final = ("checkpoint", "protocol_branch", "predecessor_header")


def binary(value: object, generation: Generation) -> bytes | None:
    """Return an answer in bytes; None if its form is not known."""
    if isinstance(value, PeerId):
        body = bytes(value)
    elif isinstance(value, Stat):
        body = _stat(value)
    elif isinstance(value, ConnectionInfo):
        body = _connection(value)
    elif isinstance(value, PeerInfo) and _is_old(generation, value.peer_metadata):
        body = _peer(value)
    elif isinstance(value, PointInfo) and generation is Generation.G2019:
        body = _point(value)
    else:
        return None
    return body if generation is Generation.G2019 else struct.pack(">I", len(body)) + body


def _is_old(generation: Generation, metadata: object) -> bool:
    return generation is Generation.G2019 and isinstance(metadata, TezosMetadata)


def _maybe(value: T | None, write: Callable[[T], bytes]) -> bytes:
    return b"\x00" if value is None else b"\xff" + write(value)


def _moment(seconds: float) -> bytes:
    return struct.pack(">q", int(seconds // 1))


def _id_point(value: ConnectionId) -> bytes:
    return CONNECTION_ID.encode(value)


def _contact(value: LastContact) -> bytes:
    return _id_point(value[0]) + _moment(value[1])


def _meeting(value: LastMeeting) -> bytes:
    return bytes(value[0]) + _moment(value[1])


def _stat(value: Stat) -> bytes:
    fields = attrs.astuple(value)
    return struct.pack(">qqii", *fields)


def _connection(value: ConnectionInfo) -> bytes:
    return b"".join(
        (
            _BOOL[value.incoming],
            bytes(value.peer_id),
            _id_point(value.id_point),
            struct.pack(">H", value.remote_socket_port),
            VERSION.encode(value.announced_version),
            _BOOL[value.private],
            CONNECTION_METADATA.encode(value.local_metadata),
            CONNECTION_METADATA.encode(value.remote_metadata),
        )
    )


def _number(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _counters(value: Any) -> bytes:
    if isinstance(value, int):
        return _number(value)
    names = [each.name for each in attrs.fields(value.__class__)]
    if isinstance(value, ByKind):
        names = [name for name in names if name not in _LATE]
    return b"".join(_counters(getattr(value, name)) for name in names)


def _peer(value: PeerInfo) -> bytes:
    lasts = (
        value.last_failed_connection,
        value.last_rejected_connection,
        value.last_established_connection,
        value.last_disconnection,
        value.last_seen,
        value.last_miss,
    )
    return b"".join(
        (
            struct.pack(">d", value.score),
            _BOOL[value.trusted],
            _maybe(value.conn_metadata, CONNECTION_METADATA.encode),
            _counters(value.peer_metadata),
            _STATES[value.state],
            _maybe(value.reachable_at, _id_point),
            _stat(value.stat),
            *(_maybe(last, _contact) for last in lasts),
        )
    )


def _point(value: PointInfo) -> bytes:
    state = value.state
    return b"".join(
        (
            _BOOL[value.trusted],
            _moment(value.greylisted_until or 0.0),
            _POINT_STATES[state.event_kind],
            b"" if state.p2p_peer_id is None else bytes(state.p2p_peer_id),
            _maybe(value.p2p_peer_id, bytes),
            _maybe(value.last_failed_connection, _moment),
            _maybe(value.last_rejected_connection, _meeting),
            _maybe(value.last_established_connection, _meeting),
            _maybe(value.last_disconnection, _meeting),
            _maybe(value.last_seen, _meeting),
            _maybe(value.last_miss, _moment),
        )
    )
