"""What is logged: names, levels and facts of each event, as the reference has them."""

from __future__ import annotations

import errno
import io
import json

import pytest

from tezos_p2p.fsm import endings
from tezos_p2p.fsm.maintenance import Bounds
from tezos_p2p.io.data_dir import DataDir
from tezos_p2p.io.log import EventLog, log_files, make_log, notice
from tezos_p2p.spec import asides
from tezos_p2p.spec import pool_events as told
from tezos_p2p.spec.address import Address
from tezos_p2p.spec.identity import PeerId
from tezos_p2p.spec.motive import Motive
from tezos_p2p.spec.point import ConnectionId, Point
from tezos_p2p.spec.reasons import Disconnection, ErrorKind, P2pError, Reason
from tezos_p2p.spec.version import Version

POINT = Point(Address.parse("1.2.3.4"), 9732)
P = "1.2.3.4:9732"
WHERE = ConnectionId(POINT.address, 9732)
NO_PORT = ConnectionId(POINT.address)
PEER, OTHER = PeerId(bytes(16)), PeerId(b"\1" * 16)
X, Y = str(PEER), str(OTHER)
BOUNDS = Bounds(10, 20, 40)
GONE = Disconnection(Reason.CONNECTION_LOST)
ACCEPTING = told.AcceptingRequest(POINT, WHERE, PEER)
REACHED = Disconnection(Reason.TCP_CONNECTION_REFUSED)
AUTH = {"type": "auth", "point": P}


def because(reason, kind, **facts):
    return Disconnection(reason, (P2pError(kind, "", facts),))


FAILED = Reason.AUTHENTICATION_REJECTED_ERROR
MISMATCH = because(
    Reason.AUTHENTICATION_REJECTED_NO_COMMON_PROTOCOL,
    ErrorKind.REJECTED_NO_COMMON_PROTOCOL,
    announced_version=Version("NET", 1, 2),
)
WRONG = because(
    FAILED,
    ErrorKind.IDENTITY_CHECK_FAILURE,
    point=POINT,
    expected_peer_id=PEER,
    peer_id=OTHER,
)


def attempt(why, peer_id=None):
    return asides.AttemptFailed(POINT, False, why, peer_id)


def failed(name, why, **more):
    return ("debug", name, {"point": P, "incoming": False, "why": str(why), **more})


def closed(*reason, point=P, **more):
    return ("info", "close_fd_reason", {"point": point, "reason": [*reason], **more})


LINES = [
    (
        told.MaintenanceStarted(motive="activation"),
        [("info", "maintenance_started", {"motive": {"kind": "activation"}})],
    ),
    (
        told.MaintenanceStarted(motive="timer", idle_time=120.0),
        [
            (
                "info",
                "maintenance_started",
                {"motive": {"kind": "timer", "idle_time": 120.0}},
            )
        ],
    ),
    (
        told.MaintenanceEnded(duration=1.23456),
        [("info", "maintenance_ended", {"duration": 1.235})],
    ),
    (
        told.TooFewConnections(active=3),
        [
            (
                "notice",
                "too_few_connections_maintenance",
                {
                    "connections": 3,
                    "min_target": BOUNDS.min_target,
                    "min_connections": 10,
                    "expected_connections": 20,
                },
            )
        ],
    ),
    (
        told.TooManyConnections(active=39),
        [
            (
                "debug",
                "too_many_connections_maintenance",
                {
                    "connections": 39 - BOUNDS.max_target,
                    "max_target": BOUNDS.max_target,
                    "max_connections": 40,
                    "expected_connections": 20,
                },
            )
        ],
    ),
    (
        told.ConnectionEstablished(
            WHERE, PEER, incoming=True, version=Version("NET", 2, 1)
        ),
        [
            (
                "debug",
                "authenticate_status",
                {"type": "connected", "point": "[::ffff:1.2.3.4]:9732", "peer": X},
            ),
            (
                "info",
                "new_connection",
                {
                    "addr": "1.2.3.4",
                    "port": 9732,
                    "peer": X,
                    "incoming": True,
                    "private": False,
                    "version": "NET.2 (p2p: 1)",
                },
            ),
        ],
    ),
    (
        told.Disconnected(PEER, id_point=WHERE, why=GONE),
        [
            ("info", "disconnected", {"peer": X, "point": P, "why": str(GONE)}),
            ("info", "disconnection", {"peer_id": X}),
            closed("Connection_lost", peer=X),
        ],
    ),
    (
        told.Disconnected(PEER, id_point=NO_PORT, why=GONE),
        [
            ("info", "disconnected", {"peer": X, "point": "1.2.3.4", "why": str(GONE)}),
            ("info", "disconnection", {"peer_id": X}),
            closed("Connection_lost", point="1.2.3.4", peer=X),
        ],
    ),
    (
        told.Disconnected(PEER, id_point=WHERE),
        [
            ("info", "disconnected", {"peer": X, "point": P, "why": None}),
            ("info", "disconnection", {"peer_id": X}),
            ("info", "close_fd_unknown_reason", {"point": P, "peer": X}),
        ],
    ),
    (
        ACCEPTING,
        [
            ("debug", "authenticate_status", {**AUTH, "peer": X}),
            ("debug", "authenticate_status", {**AUTH, "type": "accept", "peer": X}),
        ],
    ),
    (
        told.AcceptingRequest(POINT, WHERE, PEER, expected=True),
        [
            ("debug", "authenticate_status", {**AUTH, "peer": X}),
            ("info", "authenticate_status_peer_id_correct", {**AUTH, "peer_id": X}),
            ("debug", "authenticate_status", {**AUTH, "type": "accept", "peer": X}),
        ],
    ),
    (
        told.RejectingRequest(POINT, WHERE, PEER, motive=Motive.TOO_MANY_CONNECTIONS),
        [
            ("debug", "authenticate_status", {**AUTH, "peer": X}),
            ("debug", "authenticate_status", {**AUTH, "type": "nack", "peer": X}),
            (
                "notice",
                "peer_rejected",
                {"point": P, "peer": X, "motive": "too_many_connections"},
            ),
        ],
    ),
    (attempt(REACHED), [failed("connect_error", REACHED)]),
    (
        attempt(MISMATCH),
        [
            failed(
                "authenticate_reject_protocol_mismatch",
                MISMATCH,
                announced="NET.1 (p2p: 2)",
            ),
            closed(
                "Authentication_rejected_no_common_protocol",
                "node.p2p_socket.rejected_no_common_protocol",
            ),
        ],
    ),
    (
        attempt(WRONG),
        [
            (
                "warning",
                "authenticate_status_peer_id_incorrect",
                {**AUTH, "expected_peer_id": X, "peer_id": Y},
            ),
            failed("authentication_error", WRONG),
            closed(
                "Authentication_rejected_error",
                "node.p2p_connect_handler.identity_check_failure",
            ),
        ],
    ),
    # Told when we have refused them.
    (
        attempt(Disconnection(Reason.AUTHENTICATION_REJECTED)),
        [closed("Authentication_rejected")],
    ),
    (
        attempt(Disconnection(Reason.AUTHENTICATION_REJECTED_BY_PEER), PEER),
        [
            (
                "debug",
                "authenticate_status",
                {"type": "rejected", "point": P, "peer": X},
            ),
            failed(
                "connection_rejected_by_peers",
                Disconnection(Reason.AUTHENTICATION_REJECTED_BY_PEER),
                peer=X,
            ),
            closed("Authentication_rejected_by_peer", peer=X),
        ],
    ),
    (
        attempt(Disconnection(Reason.ACK_READ_ERROR), PEER),
        [
            failed("connection_error", Disconnection(Reason.ACK_READ_ERROR), peer=X),
            closed("Ack_read_error", peer=X),
        ],
    ),
    (
        asides.Greylisted(POINT, GONE, PEER),
        [
            (
                "notice",
                "greylist_peer",
                {"addr": "1.2.3.4", "port": 9732, "peer": X, "motive": str(GONE)},
            )
        ],
    ),
    (
        asides.Greylisted(POINT, GONE),
        [
            (
                "notice",
                "greylist_peer",
                {"addr": "1.2.3.4", "port": 9732, "motive": str(GONE)},
            )
        ],
    ),
    (
        told.SwapRequestReceived(PEER, point=POINT, offered=OTHER),
        [
            (
                "info",
                "swap_request_received",
                {"emitter": X, "proposed_point": P, "proposed_peer": Y},
            )
        ],
    ),
    (
        told.SwapAckReceived(PEER, point=POINT, offered=OTHER),
        [
            (
                "info",
                "swap_ack_received",
                {"emitter": X, "proposed_point": P, "proposed_peer": Y},
            )
        ],
    ),
    (told.SwapSuccess(PEER), [("info", "swap_succeeded", {"source": X})]),
    (told.SwapFailure(PEER), [("info", "swap_failed", {"source": X})]),
    (told.SwapRequestIgnored(PEER), [("info", "swap_request_ignored", {"source": X})]),
    (told.BootstrapReceived(PEER), [("debug", "bootstrap_received", {"emitter": X})]),
    (
        told.AdvertiseReceived(PEER, points=3),
        [("debug", "advertise_received", {"emitter": X, "points": 3})],
    ),
    (asides.Neighbour(POINT), [("notice", "register_new", {"point": P})]),
    *(
        (
            asides.PrivateAsked(PEER, kind, theirs),
            [("warning", f"private_node_{name}", {"peer": X})],
        )
        for kind, theirs, name in [
            ("bootstrap", False, "peers_request"),
            ("advertise", False, "new_peers"),
            ("swap_request", False, "swap_request"),
            ("swap_ack", False, "swap_ack"),
            ("bootstrap", True, "request"),
        ]
    ),
    (
        asides.AcceptFailed(errno.EMFILE),
        [("error", "incoming_connection_error", {"error": "EMFILE"})],
    ),
    (
        asides.AcceptFailed(errno.ECONNABORTED),
        [("debug", "incoming_error", {"error": "ECONNABORTED"})],
    ),
    (told.NewPoint(POINT), [("debug", "new_point", {"point": P})]),
    (told.GcPeerIds(), [("debug", "gc_peer_ids", {})]),
]


def logged(level, do):
    stream = io.StringIO()
    do(make_log("json", level, stream))
    found = []
    for line in map(json.loads, stream.getvalue().splitlines()):
        assert line.pop("timestamp").endswith("Z")
        found.append((line.pop("level"), line.pop("event"), line))
    return found


@pytest.mark.parametrize(("event", "lines"), LINES)
def test_each_event_has_the_name_the_level_and_the_facts_of_the_reference(event, lines):
    assert logged("debug", lambda log: EventLog(log, BOUNDS)(event)) == lines


def test_every_event_of_a_node_can_be_logged():
    plain = {told.ConnectionEstablished: (WHERE, PEER)}
    for kind in told.POOL_EVENTS:
        given = {
            told.PointTold: (POINT,),
            told.PeerTold: (PEER,),
            told.RequestTold: (POINT, WHERE, PEER),
            told.MessageTold: (PEER,),
        }
        arguments = plain.get(kind) or next(
            (given[base] for base in kind.__mro__ if base in given), ()
        )
        event = kind(*arguments)
        assert logged("debug", lambda log, it=event: EventLog(log, BOUNDS)(it))


def everything(log):
    log.debug("a")
    log.info("b")
    notice(log, "c")
    log.warning("d")
    log.error("e")


@pytest.mark.parametrize(
    ("level", "names"),
    [
        ("debug", "abcde"),
        ("info", "bcde"),
        ("notice", "cde"),
        ("warning", "de"),
        ("error", "e"),
    ],
)
def test_what_is_below_the_level_is_not_logged(level, names):
    assert "".join(name for _, name, _ in logged(level, everything)) == names


def test_a_line_for_people_names_its_level():
    stream = io.StringIO()
    everything(make_log("text", "debug", stream))
    lines = stream.getvalue().splitlines()
    levels = ("debug", "info", "notice", "warning", "error")
    assert len(lines) == len(levels)
    for line, level in zip(lines, levels, strict=True):
        assert f"[{level}" in line


def test_files_that_are_saved_and_those_that_are_not_are_told(tmp_path):
    files = DataDir(tmp_path)
    (tmp_path / "peers.json").mkdir()

    def save(log):
        household = log_files(files, log)
        household._tell("parse_error_peers", ("no peers",))
        household._tell("file", ("no lists",))
        household._save(1, [], _lists(), ())
        (tmp_path / "peers.json").rmdir()
        household._save(2, [], _lists(), ())

    found = [(level, name) for level, name, _ in logged("debug", save)]
    assert found == [
        ("error", "parse_error_peers"),
        ("error", "file"),
        ("error", "save_error_peers"),
        ("debug", "saved"),
        ("debug", "saved"),
        ("info", "save_metadata"),
        ("debug", "saved"),
        ("debug", "saved"),
    ]


def _lists():
    from tezos_p2p.io.acl_file import OperatorLists

    return OperatorLists()


@pytest.mark.parametrize(
    ("reason", "name"),
    [
        (Reason.TCP_CONNECTION_CANCELED, "TCP_connection_canceled"),
        (Reason.IO_SCHEDULER_SHUTDOWN, "IO_scheduler_shutdown"),
        (Reason.IP_MANUALLY_BANNED, "IP_manually_banned"),
        (Reason.EXPLICIT_RPC, "Explicit_RPC"),
        (Reason.PEER_SWAPPED, "Peer_swapped"),
        (Reason.USER, "User"),
    ],
)
def test_a_reason_is_spelled_as_the_reference_does(reason, name):
    event = told.Disconnected(PEER, id_point=WHERE, why=Disconnection(reason))
    lines = logged("info", lambda log: EventLog(log, BOUNDS)(event))
    assert closed(name, peer=X) in lines


def test_the_end_of_a_dial_is_told_whatever_the_system_says():
    for error in (errno.ECONNREFUSED, errno.ENETUNREACH, errno.EADDRNOTAVAIL, None):
        event = attempt(endings.dial_failed(error))
        ((level, name, facts),) = logged(
            "debug", lambda log, it=event: EventLog(log, BOUNDS)(it)
        )
        assert (level, name, facts["point"]) == ("debug", "connect_error", P)
