"""The JSON of a node's admin interface: what it answers, and what it is told.

Two generations of the interface are in use, of 2019 and of 2026; `rpc_json.RpcJson`
writes the one that it is made for, and reads both.

=================  =====================================================================
value              JSON
=================  =====================================================================
peer id            Base58Check, 30 characters
point              ``1.2.3.4:9732``, ``[2001:db8::1]:9732``
address            IPv6 text always, ``::ffff:127.0.0.1`` for IPv4
`ConnectionId`     ``{"addr": address, "port"?: number}``
`Timestamp`        RFC 3339 of offset ``-00:00``; three decimals, none in 2019
`Int64`            decimal string
`Score`            number, without a point if it is whole
chain name         string; if it is no UTF-8, ``{"invalid_utf8_string": [byte, ...]}``
rate               int31: a faster one is written as the largest
port, version      uint16
field with ``?``   left out when there is nothing to say, never null
=================  =====================================================================

Objects, their fields in this order:

=================  =====================================================================
object             fields
=================  =====================================================================
`Stat`             total_sent, total_recv: int64; current_inflow, current_outflow: number
`Version`          chain_name, distributed_db_version, p2p_version
`ConnectionInfo`   incoming, peer_id, id_point, remote_socket_port, announced_version,
                   private, local_metadata, remote_metadata
`PeerInfo`         score, trusted, conn_metadata?, peer_metadata, state, reachable_at?,
                   stat, and six ``last_*``? of the form ``[connection id, timestamp]``
`PointInfo`        trusted, greylisted_until?, state, p2p_peer_id?, six ``last_*``?,
                   expected_peer_id? (2026)
`PointState`       event_kind, p2p_peer_id? (accepted, running)
``PeerEvent``      kind, timestamp, addr, port?
``PointEvent``     ``[timestamp, {"event_kind", "p2p_peer_id"?}]``
``PoolEvent``      event, and its fields: see the pool_events module
`FullStat`         stat, incoming_connections, outgoing_connections, peers, points (2026)
`NodeVersion`      version, network_version, commit_info or null (2026)
`GreylistIps`      ips, not_reliable_since or null (2026)
`PointChange`      acl?, peer_id?: what PATCH of a point says (2026)
`PeerChange`       acl?: what PATCH of a peer says (2026)
`RpcError`         kind, id, and its own fields; answers hold a list of them
=================  =====================================================================

The 2019 form has no counters ``checkpoint``, ``protocol_branch`` and
``predecessor_header`` in ``peer_metadata``, and calls the events 4 to 6 of a point
``rejecting_request``: its clients know no other name.  Events of a peer say
``external_disconnection`` whoever has ended the connection, in both forms, as the
reference does; in the form of 2026 those of its point tell.  Read are all names.  Of what
others answer unknown fields are passed over; of what a client tells a node they are
faults.

Source: the admin interface of the reference node, 2019 and 2026; answers of a running
node of 2019.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, Final, NewType

import attrs

from .address import Address
from .hello import ConnectionMetadata
from .identity import PeerId
from .point import ConnectionId, Point
from .version import Version

#: Seconds of the epoch.
Timestamp = NewType("Timestamp", float)
#: A whole number of 64 bits; a decimal string in JSON.
Int64 = NewType("Int64", int)
#: What a peer is worth.
Score = NewType("Score", float)


class Generation(enum.Enum):
    """Which form of the interface."""

    G2019 = 2019
    G2026 = 2026


class PeerState(enum.Enum):
    """Where a peer stands."""

    ACCEPTED = "we have accepted them; their answer is awaited"
    RUNNING = "messages flow"
    DISCONNECTED = "they are not here"


class PointStateKind(enum.Enum):
    """Where a point stands."""

    REQUESTED = "we dial it"
    ACCEPTED = "we have accepted them; their answer is awaited"
    RUNNING = "messages flow"
    DISCONNECTED = "nobody is there for us"


class AclChange(enum.Enum):
    """What becomes of a point or a peer."""

    BAN = "banned, and trusted no more"
    TRUST = "trusted, and no more banned"
    OPEN = "neither banned nor trusted"


# -- answers ---------------------------------------------------------------------------


@attrs.frozen(weakref_slot=False)
class Stat:
    """Bytes, and bytes a second; of one connection, or of all.

    Attributes:
        total_sent: since the beginning.
        total_recv: since the beginning.
        current_inflow: received, averaged over the last seconds.
        current_outflow: sent, averaged over the last seconds.
    """

    total_sent: Int64
    total_recv: Int64
    current_inflow: int
    current_outflow: int


#: Of what moves nothing.
NO_STAT: Final = Stat(Int64(0), Int64(0), 0, 0)


@attrs.frozen(weakref_slot=False)
class ConnectionInfo:
    """A connection that runs.

    Attributes:
        incoming: whether the other side dialled.
        peer_id: who they are.
        id_point: where they can be reached.
        remote_socket_port: the other end's TCP port.
        announced_version: what they announced.
        private: whether they must not be advertised.
        local_metadata: what we told them of ourselves.
        remote_metadata: what they told us.
    """

    incoming: bool
    peer_id: PeerId
    id_point: ConnectionId
    remote_socket_port: int
    announced_version: Version
    private: bool
    local_metadata: ConnectionMetadata
    remote_metadata: ConnectionMetadata


#: Where, and when.
LastContact = tuple[ConnectionId, Timestamp]
#: Who, and when.
LastMeeting = tuple[PeerId, Timestamp]


@attrs.frozen(weakref_slot=False, kw_only=True)
class PeerInfo:
    """What is known of a peer.

    Attributes:
        score: what it is worth.
        trusted: whether it is trusted.
        conn_metadata: what it told of itself; while it runs.
        peer_metadata: what the application remembers of it: ``TezosMetadata``, or any
            other JSON value, which is passed through.
        state: where it stands.
        reachable_at: where it is; while it is accepted or runs.
        stat: of its connection; zeros unless it runs.
        last_failed_connection: where and when an attempt failed.
        last_rejected_connection: where and when we accepted it in vain.
        last_established_connection: where and when it last began to run.
        last_disconnection: where and when it last went.
        last_seen: the latest of rejected, established and gone.
        last_miss: the latest of failed, rejected and gone.
    """

    score: Score
    trusted: bool
    conn_metadata: ConnectionMetadata | None = None
    peer_metadata: Any
    state: PeerState
    reachable_at: ConnectionId | None = None
    stat: Stat = attrs.field()
    last_failed_connection: LastContact | None = None
    last_rejected_connection: LastContact | None = None
    last_established_connection: LastContact | None = None
    last_disconnection: LastContact | None = None
    last_seen: LastContact | None = None
    last_miss: LastContact | None = None


@attrs.frozen(weakref_slot=False)
class PointState:
    """Where a point stands, and who is there.

    Attributes:
        event_kind: where it stands.
        p2p_peer_id: who is accepted or runs there.
    """

    event_kind: PointStateKind
    p2p_peer_id: PeerId | None = None


@attrs.frozen(weakref_slot=False, kw_only=True)
class PointInfo:
    """What is known of a point.

    Attributes:
        trusted: whether it is trusted.
        greylisted_until: until when it is better not dialled, perhaps long past; no ban.
        state: where it stands.
        p2p_peer_id: who is accepted or runs there.
        last_failed_connection: when an attempt failed.
        last_rejected_connection: whom we accepted in vain, and when.
        last_established_connection: who last began to run, and when.
        last_disconnection: who last went, and when.
        last_seen: the latest of rejected, established and gone.
        last_miss: the latest of failed, rejected and gone.
        expected_peer_id: who has to be there; not written in 2019.
    """

    trusted: bool
    greylisted_until: Timestamp | None = None
    state: PointState
    p2p_peer_id: PeerId | None = None
    last_failed_connection: Timestamp | None = None
    last_rejected_connection: LastMeeting | None = None
    last_established_connection: LastMeeting | None = None
    last_disconnection: LastMeeting | None = None
    last_seen: LastMeeting | None = None
    last_miss: Timestamp | None = None
    expected_peer_id: PeerId | None = None


#: Lists of what is known.
Peers = list[tuple[PeerId, PeerInfo]]
Points = list[tuple[Point, PointInfo]]


@attrs.frozen
class FullStat:
    """Everything that ``p2p stat`` shows, in one answer.

    Attributes:
        stat: of all connections.
        incoming_connections: whose other side dialled.
        outgoing_connections: which we dialled.
        peers: all that are known.
        points: all that are known.
    """

    stat: Stat
    incoming_connections: list[ConnectionInfo]
    outgoing_connections: list[ConnectionInfo]
    peers: Peers
    points: Points


@attrs.frozen
class SoftwareVersion:
    """Which version of the program.

    Attributes:
        major: first number.
        minor: second number.
        build: third number.
        additional_info: ``"release"``, ``"dev"``, or what the reference writes else.
    """

    major: int
    minor: int
    build: int = 0
    additional_info: Any = "release"


@attrs.frozen
class CommitInfo:
    """From which sources the program was made."""

    commit_hash: str
    commit_date: str


@attrs.frozen
class NodeVersion:
    """Which program, and what it announces to peers.

    Attributes:
        version: of the program.
        network_version: what it announces.
        commit_info: from which sources, if that is known.
    """

    version: SoftwareVersion
    network_version: Version
    commit_info: CommitInfo | None


@attrs.frozen
class GreylistIps:
    """Addresses that are banned for a while.

    Attributes:
        ips: which, the oldest offence first.
        not_reliable_since: when one was first dropped for want of room.
    """

    ips: list[Address]
    not_reliable_since: Timestamp | None


@attrs.frozen(hash=False)
class RpcError:
    """One error of an answer of status 500.

    Attributes:
        kind: ``permanent``, ``temporary``, ``branch`` or ``generic``.
        id: stable name; empty for generic ones.
        facts: the other fields, as they are in JSON.
    """

    kind: str
    id: str
    facts: Mapping[str, Any] = attrs.field(factory=dict[str, Any])


# -- what a node is told ---------------------------------------------------------------


@attrs.frozen
class PointChange:
    """What is to become of a point.

    Attributes:
        acl: ban, trust, or neither; None changes nothing.
        peer_id: who has to be there; None changes nothing.
    """

    acl: AclChange | None = None
    peer_id: PeerId | None = None


@attrs.frozen
class PeerChange:
    """What is to become of a peer.

    Attributes:
        acl: ban, trust, or neither; None changes nothing.
    """

    acl: AclChange | None = None
