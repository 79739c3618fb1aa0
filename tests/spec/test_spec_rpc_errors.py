"""Errors as the admin interface lists them."""

from __future__ import annotations

import json

import pytest
import rpc_vectors as v

from tezos_p2p.io.rpc import RPC
from tezos_p2p.spec.identity import PeerId
from tezos_p2p.spec.motive import Motive
from tezos_p2p.spec.point import Point
from tezos_p2p.spec.reasons import Direction, Disconnection, ErrorKind, P2pError, Reason
from tezos_p2p.spec.rpc import Generation
from tezos_p2p.spec.rpc_errors import error_of, errors_of
from tezos_p2p.spec.version import Version

OLD, NEW = RPC[Generation.G2019], RPC[Generation.G2026]
POINT = Point.parse("127.0.0.1:9732")
PEER = PeerId.parse("idtYTfTAvS6fhH9WvkXFtRaK6Cij32")
OTHER = PeerId.parse("idtFh3uZTdnwGG2boFA8s6yFZHeM7C")
VERSION = Version("TEZOS", 0, 0)

#: What the core says, as 2019 writes it and as 2026 does.
ERRORS = [
    (P2pError(ErrorKind.CONNECTION_CLOSED), {}, {}),
    (P2pError(ErrorKind.DECIPHER_ERROR), {}, {}),
    (P2pError(ErrorKind.INVALID_MESSAGE_SIZE), {}, {}),
    (P2pError(ErrorKind.ENCODING_ERROR), {}, {}),
    (P2pError(ErrorKind.REJECTED_SOCKET_CONNECTION), {}, {}),
    (P2pError(ErrorKind.DECODING_ERROR), {}, {}),
    (P2pError(ErrorKind.INVALID_AUTH), {}, {}),
    (P2pError(ErrorKind.PENDING_CONNECTION), {}, {}),
    (P2pError(ErrorKind.CONNECTED), {}, {}),
    (P2pError(ErrorKind.TOO_MANY_CONNECTIONS), {}, {}),
    (P2pError(ErrorKind.PRIVATE_MODE), {}, {}),
    (P2pError(ErrorKind.NOT_ENOUGH_PROOF_OF_WORK), {}, {}),
    (
        P2pError(ErrorKind.NOT_ENOUGH_PROOF_OF_WORK, facts={"peer_id": PEER}),
        {"peer id": str(PEER)},
        {"peer_id": str(PEER)},
    ),
    (P2pError(ErrorKind.REJECTED_NO_COMMON_PROTOCOL), {}, {}),
    (
        P2pError(
            ErrorKind.REJECTED_NO_COMMON_PROTOCOL, facts={"announced_version": VERSION}
        ),
        {"announced_version": json.loads(v.VERSION)},
        {"announced_version": json.loads(v.VERSION)},
    ),
    (
        P2pError(ErrorKind.POINT_BANNED),
        {"point": "127.0.0.1:9732"},
        {"point": "127.0.0.1:9732"},
    ),
    (
        P2pError(ErrorKind.PEER_BANNED, facts={"peer_id": PEER}),
        {"peer": str(PEER)},
        {"peer": str(PEER)},
    ),
    (
        P2pError(ErrorKind.MYSELF, facts={"peer_id": PEER}),
        {"connection id": {"addr": "::ffff:127.0.0.1", "port": 9732}},
        {"connection_id": {"addr": "::ffff:127.0.0.1", "port": 9732}},
    ),
    (
        P2pError(
            ErrorKind.REJECTED,
            facts={"peer_id": PEER, "motive": Motive.ALREADY_CONNECTED},
        ),
        {"peer id": str(PEER)},
        {"peer_id": str(PEER), "motive": 5},
    ),
]


@pytest.mark.parametrize(("error", "old", "new"), ERRORS)
def test_errors_have_their_fields(error, old, new):
    for form, fields in ((OLD, old), (NEW, new)):
        written = form.data(error_of(error, POINT, form))
        assert written == {"kind": "permanent", "id": error.kind.id, **fields}
        if form is OLD:
            texts = [json.loads(text)[0] for text in v.ERRORS]
            needs = (
                ErrorKind.REJECTED_NO_COMMON_PROTOCOL,
                ErrorKind.NOT_ENOUGH_PROOF_OF_WORK,
            )
            bare = error.kind in needs and not fields
            assert written in texts or bare


@pytest.mark.parametrize(
    ("error", "old", "new"),
    [
        (
            P2pError(ErrorKind.TIMEOUT),
            {"kind": "temporary", "id": "utils.Timeout"},
            {"kind": "temporary", "id": "utils.Timeout"},
        ),
        (
            P2pError(ErrorKind.CONNECTION_FAILED),
            {"kind": "permanent", "id": "node.p2p_pool.connection_refused"},
            {"kind": "permanent", "id": "node.p2p_pool.connection_failed"},
        ),
        (
            P2pError(ErrorKind.REJECTED_BY_NACK, facts={"motive": Motive.NO_MOTIVE}),
            {"kind": "permanent", "id": "node.p2p_socket.rejected_socket_connection"},
            {
                "kind": "permanent",
                "id": "node.p2p_socket.rejected_by_nack",
                "motive": 0,
            },
        ),
        (
            P2pError(
                ErrorKind.REJECTED_BY_NACK,
                facts={"motive": Motive(77), "alternative_points": (POINT,)},
            ),
            {"kind": "permanent", "id": "node.p2p_socket.rejected_socket_connection"},
            {
                "kind": "permanent",
                "id": "node.p2p_socket.rejected_by_nack",
                "motive": 77,
                "alternative_points": ["127.0.0.1:9732"],
            },
        ),
        (
            P2pError(
                ErrorKind.IDENTITY_CHECK_FAILURE,
                "somebody else",
                {"expected_peer_id": PEER, "peer_id": OTHER, "point": POINT},
            ),
            {
                "kind": "temporary",
                "id": "failure",
                "msg": "another peer than the expected one answers there: somebody else",
            },
            {
                "kind": "permanent",
                "id": "node.p2p_connect_handler.identity_check_failure",
                "point": "127.0.0.1:9732",
                "expected_peer_id": str(PEER),
                "received_peer_id": str(OTHER),
            },
        ),
    ],
)
def test_generations_call_some_errors_otherwise(error, old, new):
    assert OLD.data(error_of(error, POINT, OLD)) == old
    assert NEW.data(error_of(error, POINT, NEW)) == new


def test_a_dial_ends_for_all_of_its_errors():
    errors = (P2pError(ErrorKind.INVALID_AUTH), P2pError(ErrorKind.DECIPHER_ERROR))
    ending = Disconnection(Reason.ACK_READ_ERROR, errors)
    assert [each.id for each in errors_of(ending, POINT, NEW)] == [
        "node.p2p_socket.invalid_auth",
        "node.p2p_socket.decipher_error",
    ]


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (Reason.TCP_CONNECTION_UNREACHABLE, "No route to host"),
        (Reason.TCP_NETWORK_UNREACHABLE, "Network is unreachable"),
    ],
)
def test_2019_says_what_the_system_says(reason, text):
    ending = Disconnection(reason, (P2pError(ErrorKind.CONNECTION_FAILED),))
    (error,) = errors_of(ending, POINT, OLD)
    assert OLD.data(error) == {
        "kind": "temporary",
        "id": "unix_error",
        "msg": f"Unix error in connect: {text}",
    }
    (error,) = errors_of(ending, POINT, NEW)
    assert error.id == "node.p2p_pool.connection_failed"


def test_ends_without_errors_have_one_made():
    closed = Disconnection(Reason.CONNECTION_CLOSED_BY_PEER, direction=Direction.READ)
    (error,) = errors_of(closed, POINT, NEW)
    assert error.id == "node.p2p_io_scheduler.connection_closed"
    (error,) = errors_of(Disconnection(Reason.POOL_DESTROYED), POINT, NEW)
    assert NEW.data(error) == {
        "kind": "temporary",
        "id": "failure",
        "msg": "the pool of connections is gone",
    }
