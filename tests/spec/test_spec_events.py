"""Events as JSON: goldens of every event, errors with facts included."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from vectors import RECORDED_INITIATOR, RECORDED_KEYS

from tezos_p2p.spec import (
    Advertise,
    Authenticated,
    Bootstrap,
    Closed,
    ConnectionEvent,
    ConnectionMessageReceived,
    ConnectionMetadata,
    ControlMessage,
    ControlReceived,
    Direction,
    Disconnection,
    ErrorKind,
    Established,
    Motive,
    P2pError,
    PeerId,
    Point,
    Reason,
    Remote,
    SendReady,
    SwapAck,
    SwapRequest,
    Version,
    event_json,
    events,
)
from tezos_p2p.spec.hello import CONNECTION_MESSAGE
from tezos_p2p.spec.version import VERSION

PEER = PeerId.parse(RECORDED_KEYS.peer_id)
MESSAGE = CONNECTION_MESSAGE.decode(RECORDED_INITIATOR.connection[2:])
REMOTE = Remote(PEER, MESSAGE, ConnectionMetadata(private_node=True))
AGREED = Version("TEZOS", 0, 1)

MESSAGE_JSON = {
    "port": 9732,
    "public_key": "40a2c1e551c1e48b89e2a13bb58114f613801439ec6c4fc3396799768a748b6e",
    "proof_of_work_stamp": "ff6d772406b595e2ae0fd5c640a62a47212f21cbbcaac6b4",
    "message_nonce": "30f1069e8db55d9506a7bdb07be08805a6287d6848f5dfef",
    "version": {
        "chain_name": "TEZOS_ALPHANET_CARTHAGE_2019-11-28T13:02:13Z",
        "distributed_db_version": 0,
        "p2p_version": 1,
    },
}
REMOTE_JSON = {
    "peer_id": "idqjq34sB6uHWdFzJDB97zwXAdHASb",
    "message": MESSAGE_JSON,
    "metadata": {"disable_mempool": False, "private_node": True},
}
AGREED_JSON = {"chain_name": "TEZOS", "distributed_db_version": 0, "p2p_version": 1}

GOLDENS: list[tuple[ConnectionEvent, dict[str, Any]]] = [
    (
        ConnectionMessageReceived(PEER, MESSAGE, 1.25),
        {
            "event": "connection_message_received",
            "peer_id": "idqjq34sB6uHWdFzJDB97zwXAdHASb",
            "message": MESSAGE_JSON,
            "at": 1.25,
        },
    ),
    (
        Authenticated(REMOTE, AGREED, 2.0),
        {
            "event": "authenticated",
            "remote": REMOTE_JSON,
            "agreement": AGREED_JSON,
            "at": 2.0,
        },
    ),
    (
        Authenticated(REMOTE, Motive.UNKNOWN_CHAIN_NAME, 2.0),
        {
            "event": "authenticated",
            "remote": REMOTE_JSON,
            "agreement": "unknown_chain_name",
            "at": 2.0,
        },
    ),
    (
        Established(REMOTE, AGREED, 3.5),
        {
            "event": "established",
            "remote": REMOTE_JSON,
            "version": AGREED_JSON,
            "at": 3.5,
        },
    ),
    (SendReady(3.75), {"event": "send_ready", "at": 3.75}),
    (
        Closed(Disconnection(Reason.USER, text="bye"), 4.0),
        {
            "event": "closed",
            "disconnection": {
                "reason": "user",
                "tag": 0x27,
                "errors": [],
                "greylists": False,
                "message": "the application asked for it: bye",
                "text": "bye",
            },
            "at": 4.0,
        },
    ),
    (
        Closed(
            Disconnection(
                Reason.AUTHENTICATION_REJECTED_BY_PEER,
                (
                    P2pError(
                        ErrorKind.REJECTED_BY_NACK,
                        facts={
                            "motive": Motive.TOO_MANY_CONNECTIONS,
                            "alternative_points": (
                                Point.parse("127.0.0.1:9732"),
                                Point.parse("[::1]:9733"),
                            ),
                        },
                    ),
                ),
                motive=Motive.TOO_MANY_CONNECTIONS,
            ),
            4.0,
        ),
        {
            "event": "closed",
            "disconnection": {
                "reason": "authentication_rejected_by_peer",
                "tag": 0x16,
                "errors": [
                    {
                        "id": "node.p2p_socket.rejected_by_nack",
                        "detail": "the peer refused",
                        "motive": "too_many_connections",
                        "alternative_points": ["127.0.0.1:9732", "[::1]:9733"],
                    }
                ],
                "greylists": False,
                "message": "the peer refused us (too many connections): the peer refused",
                "motive": "too_many_connections",
                "motive_code": 1,
            },
            "at": 4.0,
        },
    ),
    (
        Closed(
            Disconnection(
                Reason.AUTHENTICATION_REJECTED_ERROR,
                (
                    P2pError(
                        ErrorKind.NOT_ENOUGH_PROOF_OF_WORK, "2.12 bits", {"peer_id": PEER}
                    ),
                ),
            ),
            4.0,
        ),
        {
            "event": "closed",
            "disconnection": {
                "reason": "authentication_rejected_error",
                "tag": 0x17,
                "errors": [
                    {
                        "id": "node.p2p_socket.not_enough_proof_of_work",
                        "detail": "2.12 bits",
                        "peer_id": "idqjq34sB6uHWdFzJDB97zwXAdHASb",
                    }
                ],
                "greylists": True,
                "message": "the authentication failed: "
                "the peer's proof of work falls short: 2.12 bits",
            },
            "at": 4.0,
        },
    ),
    (
        Closed(
            Disconnection(
                Reason.AUTHENTICATION_REJECTED_NO_COMMON_PROTOCOL,
                (
                    P2pError(
                        ErrorKind.REJECTED_NO_COMMON_PROTOCOL,
                        facts={"announced_version": AGREED},
                    ),
                ),
                Motive(300),
            ),
            4.0,
        ),
        {
            "event": "closed",
            "disconnection": {
                "reason": "authentication_rejected_no_common_protocol",
                "tag": 0x14,
                "errors": [
                    {
                        "id": "node.p2p_socket.rejected_no_common_protocol",
                        "detail": "no common network or version",
                        "announced_version": AGREED_JSON,
                    }
                ],
                "greylists": False,
                "message": "no common network or version (unknown 300): "
                "no common network or version",
                "motive": "unknown_300",
                "motive_code": 300,
            },
            "at": 4.0,
        },
    ),
]


@pytest.mark.parametrize(("event", "golden"), GOLDENS)
def test_events_have_their_json(event: ConnectionEvent, golden: dict[str, Any]) -> None:
    document = event_json(event)
    assert json.loads(json.dumps(document)) == golden
    assert next(iter(document)) == "event"


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        (Bootstrap(), {"kind": "bootstrap"}),
        (
            Advertise((Point.parse("127.0.0.1:9732"), Point.parse("[::1]:9733"))),
            {"kind": "advertise", "points": ["127.0.0.1:9732", "[::1]:9733"]},
        ),
        (
            SwapRequest(Point.parse("[::1]:9733"), PEER),
            {
                "kind": "swap_request",
                "point": "[::1]:9733",
                "peer_id": "idqjq34sB6uHWdFzJDB97zwXAdHASb",
            },
        ),
        (
            SwapAck(Point.parse("[::1]:9733"), PEER),
            {
                "kind": "swap_ack",
                "point": "[::1]:9733",
                "peer_id": "idqjq34sB6uHWdFzJDB97zwXAdHASb",
            },
        ),
    ],
)
def test_control_messages_have_their_kind_and_fields_in_json(
    message: ControlMessage, fields: dict[str, Any]
) -> None:
    document = json.loads(json.dumps(event_json(ControlReceived(message, 1.5))))
    assert (document["event"], document["at"]) == ("control_received", 1.5)
    assert document["message"] == fields


def test_a_motive_of_no_motive_is_told_all_the_same() -> None:
    why = Disconnection(Reason.AUTHENTICATION_REJECTED_BY_PEER, motive=Motive.NO_MOTIVE)
    document = event_json(Closed(why, 0.0))["disconnection"]
    assert (document["motive"], document["motive_code"]) == ("no_motive", 0)


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize("direction", [None, *Direction])
def test_every_reason_makes_json(reason: Reason, direction: Direction | None) -> None:
    errors = tuple(P2pError(kind, facts={"kind": kind}) for kind in ErrorKind)
    why = Disconnection(reason, errors, direction=direction)
    document = json.loads(json.dumps(event_json(Closed(why, 0.0))))["disconnection"]
    assert document["reason"] == reason.name.lower()
    assert document["tag"] == reason.tag
    assert document["message"] == str(why)
    assert "text" not in document
    if direction is None:
        assert "direction" not in document
    else:
        assert document["direction"] == direction.name.lower()
    assert [error["id"] for error in document["errors"]] == [k.id for k in ErrorKind]
    assert [error["kind"] for error in document["errors"]] == [k.id for k in ErrorKind]


def test_names_of_networks_of_any_bytes_make_json_that_can_be_printed() -> None:
    raw = b"TEZOS\x00\xc3\xa9\xff"
    odd = VERSION.decode(len(raw).to_bytes(4, "big") + raw + bytes(4))
    text = json.dumps(event_json(Established(REMOTE, odd, 0.0)))
    assert text.isascii()
    name = json.loads(text)["version"]["chain_name"]
    assert name == "TEZOS\0\xc3\xa9\xff"
    assert name.encode("utf-8").decode("utf-8").encode("latin-1") == raw


def test_prose_the_applications_text_and_the_direction_have_keys_of_their_own() -> None:
    why = Disconnection(
        Reason.CONNECTION_LOST,
        (P2pError(ErrorKind.TIMEOUT),),
        Motive.ALREADY_CONNECTED,
        Direction.WRITE,
        "going home",
    )
    assert event_json(Closed(why, 0.0))["disconnection"] == {
        "reason": "connection_lost",
        "tag": 1,
        "errors": [{"id": "utils.Timeout", "detail": "the deadline has passed"}],
        "greylists": False,
        "message": "the connection was lost (write) (already connected): going home: "
        "the deadline has passed",
        "direction": "write",
        "text": "going home",
        "motive": "already_connected",
        "motive_code": 5,
    }


def test_without_text_direction_and_motive_there_are_no_keys_for_them() -> None:
    document = event_json(Closed(Disconnection(Reason.USER), 0.0))["disconnection"]
    assert list(document) == ["reason", "tag", "errors", "greylists", "message"]
    assert document["message"] == "the application asked for it"


@pytest.mark.parametrize("detail", ["", "2 bytes"])
def test_facts_of_an_error_never_stand_in_for_its_id_and_detail(detail: str) -> None:
    facts = {"id": "utils.Timeout", "detail": "all is well", "peer_id": PEER}
    why = Disconnection(
        Reason.CONNECTION_LOST, (P2pError(ErrorKind.MYSELF, detail, facts),)
    )
    (error,) = event_json(Closed(why, 0.0))["disconnection"]["errors"]
    assert error == {
        "id": "node.p2p_socket.myself",
        "detail": detail or "the peer is ourselves",
        "peer_id": str(PEER),
    }


def test_a_remote_shows_the_work_of_its_stamp() -> None:
    # The level of TezEdge's recording node.
    assert REMOTE.difficulty == pytest.approx(26.67, abs=0.006)


def test_the_docstring_lists_every_event() -> None:
    assert events.__doc__ is not None
    for kind in get_args(ConnectionEvent):
        assert f"\n{kind.__name__} " in events.__doc__
