"""What a running node logs: one line for each thing that happens, as text or as JSON.

A line has a moment (UTC), a level, the name of what happened, and its facts; reasons are
words, not numbers.  As text a fact that has parts is taken apart: ``motive=timer
motive.idle_time=120.0``.  Names and levels are those of the reference's log, so that what
reads that one reads this one:

=====================================  =======  ========================================
name                                   level    facts, beside others
=====================================  =======  ========================================
maintenance_started                    info     motive: {"kind", "idle_time"?}
maintenance_ended                      info     duration
too_few_connections_maintenance        notice   connections, min_target,
                                                expected_connections, min_connections
too_many_connections_maintenance       debug    connections (to be dropped), max_target,
                                                expected_connections, max_connections
new_connection                         info     addr, port, peer
disconnected                           info     peer, point, why
disconnection                          info     peer_id: the same, under another name
close_fd_reason                        info     point, peer, reason: of every socket that
                                                is closed, its end's name and errors' ids
close_fd_unknown_reason                info     point, peer: the same, of a recorded event
                                                that says no more
peer_rejected                          notice   point, peer, motive: by us
greylist_peer                          notice   peer, addr, port, motive
authenticate_status                    debug    type: auth, then accept or nack, then
                                                connected or rejected; point, peer
authenticate_status_peer_id_correct    info     type, point, peer_id
authenticate_status_peer_id_incorrect  warning  type, point, expected_peer_id, peer_id
connect_error                          debug    point, why: nobody was reached
authenticate_reject_protocol_mismatch  debug    point, why, announced
connection_rejected_by_peers           debug    point, why, peer: by them
authentication_error                   debug    point, why: before anybody is accepted
connection_error                       debug    point, why, peer: after we had accepted
swap_request_received,                 info     emitter, proposed_point, proposed_peer
swap_ack_received
swap_succeeded, swap_failed,           info     source
swap_request_ignored
bootstrap_received                     debug    emitter
advertise_received                     debug    emitter, points: how many
private_node_peers_request,            warning  peer: a private node ignores its first
private_node_new_peers,                         Bootstrap, Advertise, Swap_request or
private_node_swap_request,                      Swap_ack
private_node_swap_ack
private_node_request                   warning  peer: private, and asks for points
register_new                           notice   point: of a neighbour
incoming_error                         debug    error: a connection was gone already
incoming_connection_error              error    error: the system gives no connection
save_metadata                          info     file
save_error_peers, parse_error_peers    error    what
file                                   error    what: the same of the other files, and of
                                                the folder
=====================================  =======  ========================================

All other events (`spec.pool_events`) are logged at debug under their own names, and what
only we have under names of ours: ``identity``, ``file``, ``name_not_resolved`` ...
Messages of the application are not logged, nor single reads and writes of sockets: what
the reference tells of those at debug (``message_read``, ``try_read``, ``update_quota``
and their like) has no line here.

Source: the names and levels of the reference node's log events, 2026.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, Final, Literal, TextIO, cast

import attrs
import structlog

from ..fsm.endings import is_passing, name_of
from ..fsm.maintenance import Bounds
from ..spec import asides
from ..spec import pool_events as told
from ..spec.options import shown
from ..spec.point import Point
from ..spec.pool_events import PoolEvent
from ..spec.reasons import Disconnection, ErrorKind, Reason
from ..spec.version import Version
from .data_dir import DataDir
from .household import Household

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "notice", "warning", "error"]

_LEVELS: Final = {"debug": 10, "info": 20, "notice": 20, "warning": 30, "error": 40}

#: How the end of an attempt is called, by its reason; and by how far it had come.
_ENDS: Final = {
    Reason.AUTHENTICATION_REJECTED_BY_PEER: "connection_rejected_by_peers",
    Reason.AUTHENTICATION_REJECTED_NO_COMMON_PROTOCOL: (
        "authenticate_reject_protocol_mismatch"
    ),
    Reason.AUTHENTICATION_REJECTED: "",  # told when we refused them
    Reason.TCP_CONNECTION_REFUSED: "connect_error",
    Reason.TCP_CONNECTION_UNREACHABLE: "connect_error",
    Reason.TCP_NETWORK_UNREACHABLE: "connect_error",
    Reason.TCP_CONNECTION_CANCELED: "connect_error",
    Reason.TCP_CONNECTION_FAILED_UNEXPECTED_ERROR: "connect_error",
}
#: What is written so in names of reasons.
_SHORT: Final = {"TCP", "IO", "IP", "RPC"}
#: How what a private node ignores is called, by the kind of message.
_IGNORED: Final = {
    "bootstrap": "peers_request",
    "advertise": "new_peers",
    "swap_request": "swap_request",
    "swap_ack": "swap_ack",
}


class _Unfailing:
    """A stream whose lines are lost when they cannot be written: a node goes on."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            if self._stream is not None:
                self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            if self._stream is not None:
                self._stream.flush()


def _plain(value: object) -> object:
    """Return a value as people read it: what JSON calls by other names than Python."""
    if isinstance(value, dict):  # in a list
        return ":".join(str(_plain(each)) for each in cast("Any", value).values())
    if isinstance(value, list | tuple):
        return ",".join(str(_plain(each)) for each in cast("list[object]", value))
    return shown(value) if value is None or isinstance(value, bool) else value


def _lay_out(line: MutableMapping[str, Any], name: str, value: object) -> None:
    """Add a fact to a line; of one that has parts each of them, and their kind first."""
    if not isinstance(value, dict):
        line[name] = _plain(value)
        return
    for part, each in cast("dict[str, object]", value).items():
        _lay_out(line, name if part == "kind" else f"{name}.{part}", each)


def _flat(_: Any, __: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Take apart what has parts: in text each fact is a name and a value."""
    flat: dict[str, Any] = {}
    for name, value in line.items():
        _lay_out(flat, name, value)
    return flat


def make_log(
    style: LogFormat = "text",
    level: LogLevel = "info",
    stream: TextIO | None = None,
    *,
    colours: bool = False,
) -> Any:
    """Return a logger: a `structlog` bound logger.

    Args:
        style: lines for people, or one JSON object a line.
        level: the least that is logged.
        stream: where to; by default standard error, and nowhere if that is closed.
        colours: whether lines for people have them.
    """
    render: list[Any] = [structlog.processors.JSONRenderer()]
    if style == "text":
        # By place: the first, a width, has another name in later versions.
        render = [_flat, structlog.dev.ConsoleRenderer(24, colours)]

    def add_level(
        _: Any, method: str, line: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        # structlog has no level between info and warning.
        if line.setdefault("level", method) == "info" and level == "notice":
            raise structlog.DropEvent
        return line

    return structlog.wrap_logger(
        structlog.PrintLogger(cast("TextIO", _Unfailing(stream or sys.stderr))),
        processors=[
            add_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
    )


def notice(log: Any, name: str, **facts: Any) -> None:
    """Log what is more than information, and no warning."""
    log.info(name, level="notice", **facts)


@attrs.frozen
class EventLog:
    """Logs the events of a node.

    Args:
        log: a logger.
        bounds: of the number of connections.
    """

    log: Any
    bounds: Bounds

    def __call__(self, event: PoolEvent) -> None:
        """Log one event."""
        log = self.log
        match event:
            case told.MaintenanceStarted() | told.MaintenanceEnded():
                self._maintenance(event)
            case told.TooFewConnections() | told.TooManyConnections():
                self._bounds(event)
            case told.ConnectionEstablished() | told.Disconnected():
                self._connection(event)
            case told.AcceptingRequest() | told.RejectingRequest():
                self._verdict(event)
            case asides.AttemptFailed():
                self._attempt(event)
            case asides.Greylisted(point, why, peer_id):
                where = {"addr": str(point.address), "port": point.port}
                notice(log, "greylist_peer", **_peer(peer_id), **where, motive=str(why))
            case told.SwapRequestReceived() | told.SwapAckReceived():
                log.info(
                    event.name,
                    emitter=str(event.source),
                    proposed_point=str(event.point),
                    proposed_peer=str(event.offered),
                )
            case told.SwapSuccess(source):
                log.info("swap_succeeded", source=str(source))
            case told.SwapFailure(source):
                log.info("swap_failed", source=str(source))
            case told.SwapRequestIgnored(source):
                log.info(event.name, source=str(source))
            case told.BootstrapReceived(source):
                log.debug(event.name, emitter=str(source))
            case told.AdvertiseReceived(source):
                log.debug(event.name, emitter=str(source), points=event.points)
            case asides.PrivateAsked(source, message, theirs):
                kind = "request" if theirs else _IGNORED[message]
                log.warning(f"private_node_{kind}", peer=str(source))
            case asides.Neighbour(point):
                notice(log, "register_new", point=str(point))
            case asides.AcceptFailed(error):
                if is_passing(error):
                    log.debug("incoming_error", error=name_of(error))
                else:
                    log.error("incoming_connection_error", error=name_of(error))
            case _:
                facts = told.pool_event_json(event)
                log.debug(facts.pop("event"), **facts)

    def _maintenance(
        self, event: told.MaintenanceStarted | told.MaintenanceEnded
    ) -> None:
        if isinstance(event, told.MaintenanceEnded):
            self.log.info(event.name, duration=round(event.duration, 3))
            return
        motive: dict[str, Any] = {"kind": event.motive}
        if event.idle_time is not None:
            motive["idle_time"] = event.idle_time
        self.log.info(event.name, motive=motive)

    def _bounds(self, event: told.TooFewConnections | told.TooManyConnections) -> None:
        bounds = self.bounds
        expected = {"expected_connections": bounds.expected_connections}
        if isinstance(event, told.TooFewConnections):
            notice(
                self.log,
                "too_few_connections_maintenance",
                connections=event.active,
                min_target=bounds.min_target,
                min_connections=bounds.min_connections,
                **expected,
            )
        else:
            self.log.debug(
                "too_many_connections_maintenance",
                connections=event.active - bounds.max_target,
                max_target=bounds.max_target,
                max_connections=bounds.max_connections,
                **expected,
            )

    def _connection(self, event: told.ConnectionEstablished | told.Disconnected) -> None:
        where, peer = event.id_point, str(event.peer_id)
        addr = None if where is None else str(where.address)
        port = None if where is None else where.port
        if isinstance(event, told.Disconnected):
            point = addr  # of who cannot be dialled there is no more
            if where is not None and port is not None:
                point = str(Point(where.address, port))
            why = None if event.why is None else str(event.why)
            self.log.info("disconnected", peer=peer, point=point, why=why)
            self.log.info("disconnection", peer_id=peer)
            self._socket_closed(event.why, point, peer=peer)
            return
        status = {"type": "connected", "point": str(where), "peer": peer}
        self.log.debug("authenticate_status", **status)
        self.log.info(
            "new_connection",
            addr=addr,
            port=port,
            peer=peer,
            incoming=event.incoming,
            private=event.private,
            version=_version(event.version),
        )

    def _verdict(self, event: told.AcceptingRequest | told.RejectingRequest) -> None:
        log, point, peer = self.log, str(event.point), str(event.peer_id)
        log.debug("authenticate_status", type="auth", point=point, peer=peer)
        if isinstance(event, told.RejectingRequest):
            log.debug("authenticate_status", type="nack", point=point, peer=peer)
            motive = "" if event.motive is None else event.motive.name.lower()
            notice(log, "peer_rejected", point=point, peer=peer, motive=motive)
            return
        if event.expected:
            name = "authenticate_status_peer_id_correct"
            log.info(name, type="auth", point=point, peer_id=peer)
        log.debug("authenticate_status", type="accept", point=point, peer=peer)

    def _attempt(self, event: asides.AttemptFailed) -> None:
        log, why, point = self.log, event.why, str(event.point)
        for error in why.errors:
            if error.kind is ErrorKind.IDENTITY_CHECK_FAILURE:
                log.warning(
                    "authenticate_status_peer_id_incorrect",
                    type="auth",
                    **{name: str(value) for name, value in error.facts.items()},
                )
        peer = _peer(event.peer_id)
        default = "authentication_error" if event.peer_id is None else "connection_error"
        name = _ENDS.get(why.reason, default)
        if name == "connection_rejected_by_peers":
            log.debug("authenticate_status", type="rejected", point=point, **peer)
        if name:
            facts: dict[str, Any] = {"point": point, "incoming": event.incoming, **peer}
            for error in why.errors:
                if (announced := error.facts.get("announced_version")) is not None:
                    facts["announced"] = _version(announced)
            log.debug(name, **facts, why=str(why))
        if name != "connect_error":
            self._socket_closed(why, point, **peer)

    def _socket_closed(
        self, why: Disconnection | None, point: str | None, **peer: str
    ) -> None:
        if why is None:
            self.log.info("close_fd_unknown_reason", point=point, **peer)
            return
        reason = [_word(why.reason), *(error.kind.id for error in why.errors)]
        self.log.info("close_fd_reason", point=point, **peer, reason=reason)


def _word(reason: Reason) -> str:
    words = reason.name.split("_")
    words = [each if each in _SHORT else each.lower() for each in words]
    return "_".join([words[0][0].upper() + words[0][1:], *words[1:]])


def _version(version: Version | None) -> str | None:
    if version is None:
        return None
    network = f"{version.chain_name}.{version.distributed_db_version}"
    return f"{network} (p2p: {version.p2p_version})"


def _peer(peer_id: object) -> dict[str, str]:
    return {} if peer_id is None else {"peer": str(peer_id)}


def log_files(files: DataDir, log: Any) -> Household:
    """Return the keeper of a node's files, who logs what becomes of them."""

    def warn(name: str, line: str) -> None:
        log.error(name, what=line)

    def saved(path: Path) -> None:
        if path == files.peers:
            log.info("save_metadata", file=str(path))
        else:
            log.debug("saved", file=str(path))

    return Household(files, warn, saved)
