"""Errors as answers of the admin interface list them, in either generation.

============================  ==========================================================
error                         fields beside ``kind`` and ``id``
============================  ==========================================================
point_banned                  point
peer_banned                   peer
rejected                      peer_id, motive; 2019: only ``peer id``
rejected_by_nack              motive, alternative_points?; 2019: it is
                              rejected_socket_connection without fields
rejected_no_common_protocol   announced_version
not_enough_proof_of_work      peer_id; 2019: ``peer id``.  Who they claim to be
myself                        connection_id; 2019: ``connection id``
identity_check_failure        point, expected_peer_id, received_peer_id; 2019: a failure
connection_failed             none; 2019: connection_refused, or what the system says
Timeout                       none; the only one of kind ``temporary`` that has a name
============================  ==========================================================

What has no error of its own is ``{"kind": "temporary", "id": "failure", "msg": TEXT}``.
Source: the error registrations of the reference node, 2019 and 2026; errors written by a
running node of 2019.
"""

from __future__ import annotations

from typing import Any, Final

from .point import ConnectionId, Point
from .reasons import Disconnection, ErrorKind, P2pError, Reason
from .rpc import Generation, RpcError
from .rpc_json import RpcJson

_PERMANENT: Final = "permanent"
_TEMPORARY: Final = "temporary"
_REFUSED_2019: Final = RpcError(_PERMANENT, "node.p2p_pool.connection_refused")
_NACK_2019: Final = RpcError(_PERMANENT, ErrorKind.REJECTED_SOCKET_CONNECTION.id)
#: The dial took longer than it may.
TIMED_OUT: Final = RpcError(_TEMPORARY, ErrorKind.TIMEOUT.id)

#: What the system says of a dial, in 2019's words.
_UNIX: Final = {
    Reason.TCP_CONNECTION_UNREACHABLE: "No route to host",
    Reason.TCP_NETWORK_UNREACHABLE: "Network is unreachable",
}


def failure(text: str) -> RpcError:
    """Return an error that has no name."""
    return RpcError(_TEMPORARY, "failure", {"msg": text})


def error_of(error: P2pError, point: Point, form: RpcJson) -> RpcError:
    """Return an error as it is written.

    Args:
        error: of the core.
        point: what was dialled.
        form: how its fields are written.
    """
    old, facts, kind = form.generation is Generation.G2019, error.facts, error.kind
    fields: dict[str, Any] = {}
    match kind:
        case ErrorKind.TIMEOUT:
            return TIMED_OUT
        case ErrorKind.CONNECTION_FAILED if old:
            return _REFUSED_2019
        case ErrorKind.REJECTED_BY_NACK if old:
            return _NACK_2019
        case ErrorKind.IDENTITY_CHECK_FAILURE if old:
            return failure(str(error))
        case ErrorKind.POINT_BANNED:
            fields = {"point": str(point)}
        case ErrorKind.PEER_BANNED:
            fields = {"peer": form.data(facts["peer_id"])}
        case ErrorKind.REJECTED if old:
            fields = {"peer id": form.data(facts["peer_id"])}
        case ErrorKind.REJECTED:
            fields = {
                "peer_id": form.data(facts["peer_id"]),
                "motive": int(facts["motive"]),
            }
        case ErrorKind.REJECTED_BY_NACK:
            fields = {"motive": int(facts["motive"])}
            if "alternative_points" in facts:
                points = facts["alternative_points"]
                fields["alternative_points"] = [str(each) for each in points]
        case ErrorKind.REJECTED_NO_COMMON_PROTOCOL:
            if "announced_version" in facts:
                fields = {"announced_version": form.data(facts["announced_version"])}
        case ErrorKind.NOT_ENOUGH_PROOF_OF_WORK:
            if "peer_id" in facts:
                fields = {
                    "peer id" if old else "peer_id": form.data(facts["peer_id"]),
                }
        case ErrorKind.MYSELF:
            name = "connection id" if old else "connection_id"
            fields = {name: form.data(ConnectionId(point.address, point.port))}
        case ErrorKind.IDENTITY_CHECK_FAILURE:
            fields = {
                "point": str(point),
                "expected_peer_id": form.data(facts["expected_peer_id"]),
                "received_peer_id": form.data(facts["peer_id"]),
            }
        case _:
            pass
    return RpcError(_PERMANENT, kind.id, fields)


def errors_of(ending: Disconnection, point: Point, form: RpcJson) -> list[RpcError]:
    """Return why a dial came to nothing, outermost error first.

    Args:
        ending: how it has ended.
        point: what was dialled.
        form: how its fields are written.
    """
    if form.generation is Generation.G2019 and ending.reason in _UNIX:
        text = f"Unix error in connect: {_UNIX[ending.reason]}"
        return [RpcError(_TEMPORARY, "unix_error", {"msg": text})]
    found = [error_of(error, point, form) for error in ending.errors]
    if not found and ending.reason is Reason.CONNECTION_CLOSED_BY_PEER:
        found = [RpcError(_PERMANENT, ErrorKind.CONNECTION_CLOSED.id)]
    return found or [failure(str(ending))]
