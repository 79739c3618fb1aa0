"""Events of a pool, of points and of peers as JSON: goldens of every kind."""

from __future__ import annotations

import enum
import json
import re
from typing import Any

import pytest

from tezos_p2p.spec import pool_events
from tezos_p2p.spec.address import Address
from tezos_p2p.spec.identity import PeerId
from tezos_p2p.spec.motive import Motive
from tezos_p2p.spec.point import ConnectionId, Point
from tezos_p2p.spec.pool_events import (
    POOL_EVENTS,
    UNNUMBERED,
    AcceptingRequest,
    AdvertiseReceived,
    AdvertiseSent,
    AuthenticationFailed,
    BootstrapReceived,
    BootstrapSent,
    ConnectionEstablished,
    Disconnected,
    ExternalDisconnection,
    GcPeerIds,
    GcPoints,
    IncomingConnection,
    MaintenanceEnded,
    MaintenanceStarted,
    NewPeer,
    NewPoint,
    OutgoingConnection,
    PeerEvent,
    PeerEventKind,
    PointEvent,
    PointEventKind,
    PoolEvent,
    RejectingRequest,
    RequestRejected,
    SwapAckReceived,
    SwapAckSent,
    SwapFailure,
    SwapRequestIgnored,
    SwapRequestReceived,
    SwapRequestSent,
    SwapSuccess,
    TooFewConnections,
    TooManyConnections,
    connection_id_json,
    peer_event_json,
    point_event_json,
    pool_event_json,
    read_pool_event,
)
from tezos_p2p.spec.reasons import Disconnection, Reason

POINT = Point(Address.parse("1.2.3.4"), 40123)
POINT_6 = Point(Address.parse("2001:db8::1"), 9732)
WHERE = ConnectionId(Address.parse("1.2.3.4"), 9732)
NO_PORT = ConnectionId(Address.parse("1.2.3.4"))
PEER = PeerId.parse("idqjq34sB6uHWdFzJDB97zwXAdHASb")
PEER_TEXT = "idqjq34sB6uHWdFzJDB97zwXAdHASb"
WHERE_JSON = {"addr": "::ffff:1.2.3.4", "port": 9732}
REQUEST_JSON = {"point": "1.2.3.4:40123", "id_point": WHERE_JSON, "peer_id": PEER_TEXT}
MOMENT = "2026-08-21T13:31:29.000-00:00"

GOLDENS: list[tuple[PoolEvent, int, str, dict[str, Any]]] = [
    (TooFewConnections(), 0, "too_few_connections", {}),
    (TooManyConnections(), 1, "too_many_connections", {}),
    (NewPoint(POINT_6), 2, "new_point", {"point": "[2001:db8::1]:9732"}),
    (NewPeer(PEER), 3, "new_peer", {"peer_id": PEER_TEXT}),
    (IncomingConnection(POINT), 4, "incoming_connection", {"point": "1.2.3.4:40123"}),
    (OutgoingConnection(POINT), 5, "outgoing_connection", {"point": "1.2.3.4:40123"}),
    (AuthenticationFailed(POINT), 6, "authentication_failed", {"point": "1.2.3.4:40123"}),
    (AcceptingRequest(POINT, WHERE, PEER), 7, "accepting_request", REQUEST_JSON),
    (RejectingRequest(POINT, WHERE, PEER), 8, "rejecting_request", REQUEST_JSON),
    (
        RequestRejected(POINT, WHERE, PEER),
        9,
        "request_rejected",
        {"point": "1.2.3.4:40123", "identity": [WHERE_JSON, PEER_TEXT]},
    ),
    (RequestRejected(POINT), 9, "request_rejected", {"point": "1.2.3.4:40123"}),
    (
        ConnectionEstablished(WHERE, PEER),
        10,
        "connection_established",
        {"id_point": WHERE_JSON, "peer_id": PEER_TEXT},
    ),
    (Disconnected(PEER), 11, "disconnection", {"peer_id": PEER_TEXT}),
    (ExternalDisconnection(PEER), 12, "external_disconnection", {"peer_id": PEER_TEXT}),
    (GcPoints(), 13, "gc_points", {}),
    (GcPeerIds(), 14, "gc_peer_ids", {}),
    (SwapRequestReceived(PEER), 15, "swap_request_received", {"source": PEER_TEXT}),
    (SwapAckReceived(PEER), 16, "swap_ack_received", {"source": PEER_TEXT}),
    (SwapRequestSent(PEER), 17, "swap_request_sent", {"source": PEER_TEXT}),
    (SwapAckSent(PEER), 18, "swap_ack_sent", {"source": PEER_TEXT}),
    (SwapRequestIgnored(PEER), 19, "swap_request_ignored", {"source": PEER_TEXT}),
    (SwapSuccess(PEER), 20, "swap_success", {"source": PEER_TEXT}),
    (SwapFailure(PEER), 21, "swap_failure", {"source": PEER_TEXT}),
    (BootstrapSent(PEER), 22, "bootstrap_sent", {"source": PEER_TEXT}),
    (BootstrapReceived(PEER), 23, "bootstrap_received", {"source": PEER_TEXT}),
    (AdvertiseSent(PEER), 24, "advertise_sent", {"source": PEER_TEXT}),
    (AdvertiseReceived(PEER), 25, "advertise_received", {"source": PEER_TEXT}),
]


# -- of the pool -----------------------------------------------------------------------


@pytest.mark.parametrize(("event", "tag", "name", "fields"), GOLDENS)
def test_every_event_of_a_pool_has_its_number_its_name_and_its_fields(
    event: PoolEvent, tag: int, name: str, fields: dict[str, Any]
) -> None:
    document = pool_event_json(event)
    assert json.loads(json.dumps(document)) == {"event": name, **fields}
    assert list(document) == ["event", *fields]
    assert (event.tag, event.name) == (tag, name)
    assert POOL_EVENTS[tag] is type(event)


def test_there_are_twenty_six_kinds_and_every_one_has_a_golden() -> None:
    assert len(POOL_EVENTS) == 26
    assert {type(event) for event, *_ in GOLDENS} == set(POOL_EVENTS)


@pytest.mark.parametrize(
    ("event", "name"),
    [
        (MaintenanceStarted(motive="timer", idle_time=120.0), "maintenance_started"),
        (MaintenanceEnded(duration=1.5), "maintenance_ended"),
    ],
)
def test_runs_of_maintenance_have_a_name_and_no_number(
    event: PoolEvent, name: str
) -> None:
    assert pool_event_json(event) == {"event": name}
    assert event.tag is None
    assert type(event) in UNNUMBERED
    assert not hasattr(event, "__dict__")
    assert pool_events.__doc__ is not None
    assert f"\n—    {name} " in pool_events.__doc__


def test_what_is_aside_is_not_in_the_json() -> None:
    gone = Disconnection(Reason.USER)
    told: dict[PoolEvent, PoolEvent] = {
        TooFewConnections(active=7): TooFewConnections(),
        TooManyConnections(active=7): TooManyConnections(),
        AcceptingRequest(POINT, WHERE, PEER, expected=True): AcceptingRequest(
            POINT, WHERE, PEER
        ),
        RejectingRequest(POINT, WHERE, PEER, motive=Motive.ALREADY_CONNECTED): (
            RejectingRequest(POINT, WHERE, PEER)
        ),
        ConnectionEstablished(WHERE, PEER, incoming=True, private=True): (
            ConnectionEstablished(WHERE, PEER)
        ),
        SwapRequestReceived(PEER, point=POINT, offered=PEER): SwapRequestReceived(PEER),
        SwapAckReceived(PEER, point=POINT, offered=PEER): SwapAckReceived(PEER),
        AdvertiseReceived(PEER, points=3): AdvertiseReceived(PEER),
    }
    for event, plain in told.items():
        assert event != plain
        assert pool_event_json(event) == pool_event_json(plain)
    ended = Disconnected(PEER, id_point=WHERE, why=gone)
    assert ended != Disconnected(PEER)
    assert pool_event_json(ended) == pool_event_json(Disconnected(PEER))


def test_the_remote_end_without_a_listening_port_has_no_port() -> None:
    assert pool_event_json(ConnectionEstablished(NO_PORT, PEER)) == {
        "event": "connection_established",
        "id_point": {"addr": "::ffff:1.2.3.4"},
        "peer_id": PEER_TEXT,
    }
    assert pool_event_json(RequestRejected(POINT, NO_PORT, PEER)) == {
        "event": "request_rejected",
        "point": "1.2.3.4:40123",
        "identity": [{"addr": "::ffff:1.2.3.4"}, PEER_TEXT],
    }


def test_events_of_different_kinds_about_the_same_are_not_equal() -> None:
    assert NewPoint(POINT) == NewPoint(POINT)
    assert NewPoint(POINT) != IncomingConnection(POINT)
    assert GcPoints() != GcPeerIds()
    assert len({SwapAckSent(PEER), SwapAckReceived(PEER), SwapAckSent(PEER)}) == 2


@pytest.mark.parametrize(("event", "tag", "name", "fields"), GOLDENS)
def test_events_are_small_and_cannot_be_changed(
    event: PoolEvent, tag: int, name: str, fields: dict[str, Any]
) -> None:
    assert not hasattr(event, "__dict__")
    with pytest.raises(AttributeError):
        event.tag = 99  # type: ignore[misc]  # wrong on purpose
    assert (event.tag, event.name) == (tag, name)


@pytest.mark.parametrize(("event", "tag", "name", "fields"), GOLDENS)
def test_the_docstring_lists_every_event_of_a_pool(
    event: PoolEvent, tag: int, name: str, fields: dict[str, Any]
) -> None:
    assert pool_events.__doc__ is not None
    lines = [line.split() for line in pool_events.__doc__.splitlines()]
    assert [str(tag), name] in [line[:2] for line in lines]


# -- of points and of peers ------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "port", "expected"),
    [
        ("1.2.3.4", 9732, {"addr": "::ffff:1.2.3.4", "port": 9732}),
        ("1.2.3.4", None, {"addr": "::ffff:1.2.3.4"}),
        ("2001:db8::1", 65535, {"addr": "2001:db8::1", "port": 65535}),
        ("::1", 0, {"addr": "::1", "port": 0}),
    ],
)
def test_where_somebody_can_be_reached_is_an_address_of_ipv6_and_maybe_a_port(
    text: str, port: int | None, expected: dict[str, Any]
) -> None:
    where = ConnectionId(Address.parse(text), port)
    assert connection_id_json(where) == expected


@pytest.mark.parametrize(
    ("kinds", "names"),
    [
        (
            PointEventKind,
            [
                "outgoing_request",
                "accepting_request",
                "rejecting_request",
                "request_rejected",
                "connection_established",
                "disconnection",
                "external_disconnection",
            ],
        ),
        (
            PeerEventKind,
            [
                "incoming_request",
                "rejecting_request",
                "request_rejected",
                "connection_established",
                "disconnection",
                "external_disconnection",
            ],
        ),
    ],
)
def test_kinds_of_history_are_in_the_order_of_their_numbers(
    kinds: type[enum.Enum], names: list[str]
) -> None:
    assert [kind.name.lower() for kind in kinds] == names


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (
            PointEvent(PointEventKind.OUTGOING_REQUEST, 1.0),
            {"event_kind": "outgoing_request"},
        ),
        (
            PointEvent(PointEventKind.ACCEPTING_REQUEST, 1.0, PEER),
            {"event_kind": "accepting_request", "p2p_peer_id": PEER_TEXT},
        ),
        (
            PointEvent(PointEventKind.REQUEST_REJECTED, 1.0),
            {"event_kind": "request_rejected"},
        ),
        (
            PointEvent(PointEventKind.REQUEST_REJECTED, 1.0, PEER),
            {"event_kind": "request_rejected", "p2p_peer_id": PEER_TEXT},
        ),
        # The three that the reference calls rejecting_request.
        (
            PointEvent(PointEventKind.CONNECTION_ESTABLISHED, 1.0, PEER),
            {"event_kind": "connection_established", "p2p_peer_id": PEER_TEXT},
        ),
        (
            PointEvent(PointEventKind.DISCONNECTION, 1.0, PEER),
            {"event_kind": "disconnection", "p2p_peer_id": PEER_TEXT},
        ),
        (
            PointEvent(PointEventKind.EXTERNAL_DISCONNECTION, 1.0, PEER),
            {"event_kind": "external_disconnection", "p2p_peer_id": PEER_TEXT},
        ),
    ],
)
def test_a_line_of_a_points_history_is_a_pair_of_time_and_what(
    event: PointEvent, expected: dict[str, Any]
) -> None:
    document = point_event_json(event, MOMENT)
    assert json.loads(json.dumps(document)) == [MOMENT, expected]


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (
            PeerEvent(PeerEventKind.INCOMING_REQUEST, 1.0, WHERE),
            {
                "kind": "incoming_request",
                "timestamp": MOMENT,
                "addr": "::ffff:1.2.3.4",
                "port": 9732,
            },
        ),
        (
            PeerEvent(PeerEventKind.EXTERNAL_DISCONNECTION, 1.0, NO_PORT),
            {
                "kind": "external_disconnection",
                "timestamp": MOMENT,
                "addr": "::ffff:1.2.3.4",
            },
        ),
    ],
)
def test_a_line_of_a_peers_history_is_one_flat_object(
    event: PeerEvent, expected: dict[str, Any]
) -> None:
    document = peer_event_json(event, MOMENT)
    assert json.loads(json.dumps(document)) == expected
    assert list(document) == list(expected)


@pytest.mark.parametrize("event", [event for event, *_ in GOLDENS])
def test_every_event_is_read_as_it_was_written(event):
    assert read_pool_event({**pool_event_json(event), "more": 1}) == event


@pytest.mark.parametrize(
    ("document", "phrase"),
    [
        ([], "an object wanted, not list"),
        ({}, "None is no event"),
        ({"event": ["new_peer"]}, "['new_peer'] is no event"),
        ({"event": "x" * 100}, "is no event"),
        ({"event": "new_peer"}, "new_peer: peer_id: missing"),
        ({"event": "new_peer", "peer_id": 7}, "new_peer: peer_id: string wanted"),
        ({"event": "new_peer", "peer_id": "idx"}, "new_peer: peer_id: "),
        ({"event": "new_point", "point": "x"}, "new_point: point: "),
        (
            {"event": "request_rejected", "point": "[::1]:9", "identity": [1]},
            "identity: a pair",
        ),
        (
            {"event": "request_rejected", "point": "[::1]:9", "identity": 1},
            "identity: a pair",
        ),
        (
            {"event": "connection_established", "id_point": {"port": 1}},
            "an object with addr",
        ),
        (
            {"event": "connection_established", "id_point": 7},
            "an object with addr",
        ),
        (
            {"event": "connection_established", "id_point": {"addr": 7}},
            "string wanted",
        ),
        (
            {"event": "connection_established", "id_point": {"addr": "::", "port": -1}},
            "port -1 is not in 0..65535",
        ),
        (
            {"event": "connection_established", "id_point": {"addr": "::", "port": "1"}},
            "is not in 0..65535",
        ),
    ],
)
def test_what_is_no_event_is_refused_readably(document, phrase):
    with pytest.raises(ValueError, match=re.escape(phrase)):
        read_pool_event(document)
