"""What a pool tells its observers, and what it remembers of points and peers; as JSON.

Events of the pool, a stream of objects ``{"event": NAME, ...}``:

===  =========================  ========================  ==============================
tag  name                       fields                    told when
===  =========================  ========================  ==============================
0    too_few_connections                                  maintenance starts to fill
1    too_many_connections                                 maintenance starts to trim
2    new_point                  point                     a point is registered
3    new_peer                   peer_id                   a peer is registered
4    incoming_connection        point                     TCP accepted, before any check
5    outgoing_connection        point                     just before TCP connects
6    authentication_failed      point                     a handshake fails, or is late
7    accepting_request          point, id_point, peer_id  we accept them
8    rejecting_request          point, id_point, peer_id  we refuse them
9    request_rejected           point, identity?          an incoming one, after our ack
10   connection_established     id_point, peer_id         messages may flow
11   disconnection              peer_id                   any end of a running connection
12   external_disconnection     peer_id                   never; the number is kept
13   gc_points                                            points were collected
14   gc_peer_ids                                          peers were collected
15   swap_request_received      source
16   swap_ack_received          source
17   swap_request_sent          source                    source is the recipient here
18   swap_ack_sent              source
19   swap_request_ignored       source
20   swap_success               source
21   swap_failure               source
22   bootstrap_sent             source                    source is the recipient here
23   bootstrap_received         source
24   advertise_sent             source                    source is the recipient here
25   advertise_received         source
—    maintenance_started                                  a run that has something to do
—    maintenance_ended                                    it is over
===  =========================  ========================  ==============================

A ``point`` is text, and of an incoming connection it is the remote end of the socket;
an ``id_point`` is an object ``{"addr", "port"?}`` whose address is IPv6 text; ``source``
and ``peer_id`` are Base58Check; ``identity`` is the pair ``[id_point, peer_id]``.  The
last two have a name and no number: the reference has the events but no way to write them.

Observers in the same process learn more from some events than the stream has room for:
attributes that are *aside*.  They have defaults, and are not in the JSON.

Events of one point and of one peer, which the pool keeps for each:

===  ======================  =========================================================
tag  of a point              JSON: ``[TIME, {"event_kind": KIND, "p2p_peer_id"?}]``
===  ======================  =========================================================
0    outgoing_request        we dial it
1    accepting_request       somebody proved who it is there, and we accept them
2    rejecting_request       never logged; the number is kept
3    request_rejected        the attempt has failed, or they refused us
4    connection_established  messages may flow
5    disconnection           we have ended it
6    external_disconnection  they have, or the network
===  ======================  =========================================================

Of a peer: ``{"kind", "timestamp", "addr", "port"?}``, the kinds in the same sense:
incoming_request (for either direction), rejecting_request, request_rejected,
connection_established, disconnection, external_disconnection.  The reference writes the
kinds 4 to 6 of a point as ``rejecting_request``, by mistake; here they have their names.

Source: the pool-event, point-state and peer-state modules of the reference node, 2026.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, NamedTuple, TypeVar, cast

import attrs

from .address import Address
from .identity import PeerId
from .motive import Motive
from .point import PORT_MAX, ConnectionId, Point
from .reasons import Disconnection
from .version import Version

T = TypeVar("T")


@attrs.frozen(weakref_slot=False)
class PoolEvent:
    """What a pool tells; each kind is a subclass.

    Attributes:
        tag: number of the kind, 0 to 25; None: it has none.
        name: of the kind, in JSON.
    """

    tag: ClassVar[int | None]
    name: ClassVar[str]


_ASIDE: Final = "aside"


def _aside(default: Any) -> Any:
    """Return an attribute that is not in the JSON."""
    return attrs.field(default=default, metadata={_ASIDE: True}, kw_only=True)


@attrs.frozen(weakref_slot=False)
class PointTold(PoolEvent):
    """Something about a point.

    Attributes:
        point: which.
    """

    point: Point


@attrs.frozen(weakref_slot=False)
class PeerTold(PoolEvent):
    """Something about a peer.

    Attributes:
        peer_id: which.
    """

    peer_id: PeerId


@attrs.frozen(weakref_slot=False)
class RequestTold(PoolEvent):
    """Something about an attempt whose other side is known.

    Attributes:
        point: remote end of the socket if incoming, else the point that was dialled.
        id_point: where they can be reached.
        peer_id: who they are.
    """

    point: Point
    id_point: ConnectionId
    peer_id: PeerId


@attrs.frozen(weakref_slot=False)
class MessageTold(PoolEvent):
    """Something about a message of this layer.

    Attributes:
        source: who sent it; for what we sent, who it went to.
    """

    source: PeerId


@attrs.frozen(weakref_slot=False)
class TooFewConnections(PoolEvent):
    """Maintenance starts to fill.

    Attributes:
        active: connections that run; aside.
    """

    tag = 0
    name = "too_few_connections"
    active: int = _aside(0)


@attrs.frozen(weakref_slot=False)
class TooManyConnections(PoolEvent):
    """Maintenance starts to trim.

    Attributes:
        active: connections that run; aside.
    """

    tag = 1
    name = "too_many_connections"
    active: int = _aside(0)


class NewPoint(PointTold):
    """A point is registered."""

    __slots__ = ()
    tag = 2
    name = "new_point"


class NewPeer(PeerTold):
    """A peer is registered."""

    __slots__ = ()
    tag = 3
    name = "new_peer"


class IncomingConnection(PointTold):
    """TCP has accepted somebody; nothing is checked yet."""

    __slots__ = ()
    tag = 4
    name = "incoming_connection"


class OutgoingConnection(PointTold):
    """TCP is about to connect."""

    __slots__ = ()
    tag = 5
    name = "outgoing_connection"


class AuthenticationFailed(PointTold):
    """A handshake has failed, or taken too long."""

    __slots__ = ()
    tag = 6
    name = "authentication_failed"


@attrs.frozen(weakref_slot=False)
class AcceptingRequest(RequestTold):
    """We accept them; their answer is awaited.

    Attributes:
        expected: somebody was expected there, and it is they; aside.
    """

    tag = 7
    name = "accepting_request"
    expected: bool = _aside(False)


@attrs.frozen(weakref_slot=False)
class RejectingRequest(RequestTold):
    """We refuse them, and say so.

    Attributes:
        motive: why; aside.
    """

    tag = 8
    name = "rejecting_request"
    motive: Motive | None = _aside(None)


@attrs.frozen(weakref_slot=False)
class RequestRejected(PointTold):
    """An incoming connection that we had accepted came to nothing.

    Attributes:
        point: remote end of the socket.
        id_point: where they can be reached; None if that is not known.
        peer_id: who they are; given if ``id_point`` is.
    """

    tag = 9
    name = "request_rejected"
    id_point: ConnectionId | None = None
    peer_id: PeerId | None = None


@attrs.frozen(weakref_slot=False)
class ConnectionEstablished(PoolEvent):
    """Messages may flow.

    Attributes:
        id_point: where they can be reached.
        peer_id: who they are.
        incoming: whether they have dialled; aside.
        private: whether they keep to themselves; aside.
        version: what both sides speak; aside.
    """

    tag = 10
    name = "connection_established"
    id_point: ConnectionId
    peer_id: PeerId
    incoming: bool = _aside(False)
    private: bool = _aside(False)
    version: Version | None = _aside(None)


@attrs.frozen(weakref_slot=False)
class Disconnected(PeerTold):
    """A running connection has ended, whoever ended it.

    Attributes:
        id_point: where they could be reached; aside.
        why: what has ended it; aside.
    """

    tag = 11
    name = "disconnection"
    id_point: ConnectionId | None = _aside(None)
    why: Disconnection | None = _aside(None)


class ExternalDisconnection(PeerTold):
    """Never told; the reference has a number for it."""

    __slots__ = ()
    tag = 12
    name = "external_disconnection"


class GcPoints(PoolEvent):
    """Points were collected."""

    __slots__ = ()
    tag = 13
    name = "gc_points"


class GcPeerIds(PoolEvent):
    """Peers were collected."""

    __slots__ = ()
    tag = 14
    name = "gc_peer_ids"


@attrs.frozen(weakref_slot=False)
class OfferTold(MessageTold):
    """They offer one of their peers.

    Attributes:
        point: where that peer is; aside.
        offered: who that is; aside.
    """

    point: Point | None = _aside(None)
    offered: PeerId | None = _aside(None)


class SwapRequestReceived(OfferTold):
    """They propose to swap."""

    __slots__ = ()
    tag = 15
    name = "swap_request_received"


class SwapAckReceived(OfferTold):
    """They agree to swap."""

    __slots__ = ()
    tag = 16
    name = "swap_ack_received"


class SwapRequestSent(MessageTold):
    """We propose to swap."""

    __slots__ = ()
    tag = 17
    name = "swap_request_sent"


class SwapAckSent(MessageTold):
    """We agree to swap."""

    __slots__ = ()
    tag = 18
    name = "swap_ack_sent"


class SwapRequestIgnored(MessageTold):
    """They propose to swap, and it is not the time."""

    __slots__ = ()
    tag = 19
    name = "swap_request_ignored"


class SwapSuccess(MessageTold):
    """The new connection of a swap stands."""

    __slots__ = ()
    tag = 20
    name = "swap_success"


class SwapFailure(MessageTold):
    """The new connection of a swap came to nothing."""

    __slots__ = ()
    tag = 21
    name = "swap_failure"


class BootstrapSent(MessageTold):
    """We ask for points."""

    __slots__ = ()
    tag = 22
    name = "bootstrap_sent"


class BootstrapReceived(MessageTold):
    """They ask for points."""

    __slots__ = ()
    tag = 23
    name = "bootstrap_received"


class AdvertiseSent(MessageTold):
    """We tell them points."""

    __slots__ = ()
    tag = 24
    name = "advertise_sent"


@attrs.frozen(weakref_slot=False)
class AdvertiseReceived(MessageTold):
    """They tell us points.

    Attributes:
        points: how many; aside.
    """

    tag = 25
    name = "advertise_received"
    points: int = _aside(0)


@attrs.frozen(weakref_slot=False)
class MaintenanceStarted(PoolEvent):
    """A run of maintenance that has something to do has begun.

    Attributes:
        motive: the reference's name of what made it begin; aside.
        idle_time: seconds since the last run, if that is it; aside.
    """

    tag = None
    name = "maintenance_started"
    motive: str = _aside("")
    idle_time: float | None = _aside(None)


@attrs.frozen(weakref_slot=False)
class MaintenanceEnded(PoolEvent):
    """What `MaintenanceStarted` told of is over.

    Attributes:
        duration: seconds that it took; aside.
    """

    tag = None
    name = "maintenance_ended"
    duration: float = _aside(0.0)


#: Every kind of event of a pool that has a number, by that.
POOL_EVENTS: Final[tuple[type[PoolEvent], ...]] = (
    TooFewConnections,
    TooManyConnections,
    NewPoint,
    NewPeer,
    IncomingConnection,
    OutgoingConnection,
    AuthenticationFailed,
    AcceptingRequest,
    RejectingRequest,
    RequestRejected,
    ConnectionEstablished,
    Disconnected,
    ExternalDisconnection,
    GcPoints,
    GcPeerIds,
    SwapRequestReceived,
    SwapAckReceived,
    SwapRequestSent,
    SwapAckSent,
    SwapRequestIgnored,
    SwapSuccess,
    SwapFailure,
    BootstrapSent,
    BootstrapReceived,
    AdvertiseSent,
    AdvertiseReceived,
)
#: The kinds that have a name on the stream, and no number.
UNNUMBERED: Final[tuple[type[PoolEvent], ...]] = (MaintenanceStarted, MaintenanceEnded)
_BY_NAME: Final = {kind.name: kind for kind in (*POOL_EVENTS, *UNNUMBERED)}


#: Events of greater tags, and those without one, are younger than 2019.
LAST_TAG_2019: Final = 21


class PointEventKind(enum.Enum):
    """What happened at a point; the order is that of the numbers."""

    OUTGOING_REQUEST = "we dial it"
    ACCEPTING_REQUEST = "somebody proved who it is there, and we accept them"
    REJECTING_REQUEST = "never logged; the reference has a number for it"
    REQUEST_REJECTED = "the attempt has failed, or they refused us"
    CONNECTION_ESTABLISHED = "messages may flow"
    DISCONNECTION = "we have ended it"
    EXTERNAL_DISCONNECTION = "they have ended it, or the network"


class PeerEventKind(enum.Enum):
    """What happened with a peer; the order is that of the numbers."""

    INCOMING_REQUEST = "we accept them, whoever dialled"
    REJECTING_REQUEST = "never logged; the reference has a number for it"
    REQUEST_REJECTED = "the attempt has failed, or they refused us"
    CONNECTION_ESTABLISHED = "messages may flow"
    DISCONNECTION = "we have ended it"
    EXTERNAL_DISCONNECTION = "they have ended it, or the network"


class PointEvent(NamedTuple):
    """One line of what happened at a point.

    Attributes:
        kind: what.
        at: monotonic seconds.
        peer_id: with whom, if that is known.
    """

    kind: PointEventKind
    at: float
    peer_id: PeerId | None = None


class PeerEvent(NamedTuple):
    """One line of what happened with a peer.

    Attributes:
        kind: what.
        at: monotonic seconds.
        id_point: where.
    """

    kind: PeerEventKind
    at: float
    id_point: ConnectionId


def connection_id_json(id_point: ConnectionId) -> dict[str, Any]:
    """Return ``{"addr", "port"?}``: the address as IPv6 text, the port if known."""
    json: dict[str, Any] = {"addr": id_point.address.v6_text}
    if id_point.port is not None:
        json["port"] = id_point.port
    return json


def _json_of(value: Any) -> Any:
    if isinstance(value, ConnectionId):
        return connection_id_json(value)
    return value if type(value) in (bool, int) else str(value)


def pool_event_json(event: PoolEvent) -> dict[str, Any]:
    """Return an event of the pool as data that `json.dumps` takes, its name first."""
    json: dict[str, Any] = {"event": event.name}
    for field in attrs.fields(type(event)):
        value = getattr(event, field.name)
        if value is not None and _ASIDE not in field.metadata:
            json[field.name] = _json_of(value)
    if isinstance(event, RequestRejected):
        who = [json.pop(name, None) for name in ("id_point", "peer_id")]
        if None not in who:
            json["identity"] = who
    return json


def read_connection_id(value: Any) -> ConnectionId:
    """Return what ``{"addr", "port"?}`` says; other fields are passed over.

    Raises:
        ValueError: it says nothing of the kind.
    """
    if not isinstance(value, dict) or "addr" not in value:
        raise ValueError("an object with addr, and port if it is known, wanted")
    fields = cast("dict[str, Any]", value)
    port = fields.get("port")
    if port is not None and (type(port) is not int or not 0 <= port <= PORT_MAX):
        raise ValueError(f"port {port!r:.40} is not in 0..{PORT_MAX}")
    return ConnectionId(_parsed(Address.parse, fields["addr"]), port)


def _parsed(parse: Callable[[str], T], value: object) -> T:
    if not isinstance(value, str):
        raise ValueError(f"string wanted, not {type(value).__name__}")
    return parse(value)


def _peer_id(value: object) -> PeerId:
    return _parsed(PeerId.parse, value)


_READERS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "point": lambda value: _parsed(Point.parse, value),
    "peer_id": _peer_id,
    "source": _peer_id,
    "id_point": read_connection_id,
}


def read_pool_event(value: Any) -> PoolEvent:
    """Return the event that an object of the stream says; other fields are passed over.

    Raises:
        ValueError: it says none.
    """
    if not isinstance(value, dict):
        raise ValueError(f"an object wanted, not {type(value).__name__}")
    fields = dict(cast("dict[str, Any]", value))
    name = fields.get("event")
    kind = _BY_NAME.get(name) if isinstance(name, str) else None
    if kind is None:
        raise ValueError(f"{name!r:.60} is no event")
    if kind is RequestRejected and "identity" in fields:
        try:
            fields["id_point"], fields["peer_id"] = fields["identity"]
        except (TypeError, ValueError):
            raise ValueError("identity: a pair [id_point, peer_id] wanted") from None
    found: dict[str, Any] = {}
    for field in attrs.fields(kind):
        if field.name in fields:
            try:
                found[field.name] = _READERS[field.name](fields[field.name])
            except ValueError as exc:
                raise ValueError(f"{name}: {field.name}: {exc}") from None
        elif field.default is attrs.NOTHING:
            raise ValueError(f"{name}: {field.name}: missing")
    return kind(**found)


def point_event_json(event: PointEvent, time: str) -> list[Any]:
    """Return one line of a point's history for JSON.

    Args:
        event: the line.
        time: its moment, as the document writes moments.
    """
    json = {"event_kind": event.kind.name.lower()}
    if event.peer_id is not None:
        json["p2p_peer_id"] = str(event.peer_id)
    return [time, json]


def peer_event_json(event: PeerEvent, time: str) -> dict[str, Any]:
    """Return one line of a peer's history for JSON.

    Args:
        event: the line.
        time: its moment, as the document writes moments.
    """
    where = connection_id_json(event.id_point)
    return {"kind": event.kind.name.lower(), "timestamp": time, **where}
