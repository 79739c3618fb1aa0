"""What a node's errors mean, for people: by the ids of the reference.

Scripts of operators look for some of these sentences, so they are the reference's where
it has them, of the generation that the node is of.  An id that is not known is told as
it came, with its fields.

Source: an admin client of 2019, observed; the error ids of the reference node, 2019 and
2026.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from ..spec.motive import Motive
from ..spec.point import Point
from ..spec.rpc import Generation, RpcError

#: Characters of foreign text that are shown.
_SHOWN: Final = 300

_Facts = Mapping[str, Any]
_Text = str | Callable[[_Facts], str]

_REJECTED: Final = "Rejected peer connection: "
_POOL: Final = "node.p2p_pool."
_SOCKET: Final = "node.p2p_socket."


def text_of(error: RpcError, generation: Generation) -> str:
    """Return what an error of a node means.  Never raises."""
    text = _TEXTS.get(error.id)
    if generation is Generation.G2019:
        text = _TEXTS_2019.get(error.id, text)
    if callable(text):
        return text(error.facts)
    if text is not None:
        return text
    for name in ("msg", "error"):
        said = error.facts.get(name)
        if isinstance(said, str):
            return said[:_SHOWN]
    facts = json.dumps(dict(error.facts))[:_SHOWN] if error.facts else ""
    return f"The node tells the error {error.id[:_SHOWN] or error.kind} {facts}".rstrip()


def _fact(facts: _Facts, *names: str) -> str:
    """Return a field that had several names over the years."""
    for name in names:
        if name in facts:
            value = facts[name]
            return (value if isinstance(value, str) else json.dumps(value))[:_SHOWN]
    return "unknown"


def _address(facts: _Facts) -> str:
    """Return the address of a point: the port is not what is banned."""
    text = _fact(facts, "point", "addr")
    try:
        return str(Point.parse(text, 0).address)
    except ValueError:
        return text


def _motive(facts: _Facts) -> str:
    code = facts.get("motive")
    try:
        name = Motive(code).name if type(code) is int else "not told"
    except ValueError:
        name = f"unknown {code}"
    return name.lower().replace("_", " ")


def _rejected(facts: _Facts) -> str:
    text = f"Connection to peer {_fact(facts, 'peer_id', 'peer id')} was rejected"
    return f"{text}: {_motive(facts)}." if "motive" in facts else f"{text}."


def _misplaced(facts: _Facts) -> str:
    return (
        f"At {_fact(facts, 'point')} peer {_fact(facts, 'expected_peer_id')} is expected"
        f", and {_fact(facts, 'received_peer_id')} is there."
    )


def _lazy(facts: _Facts) -> str:
    peer = _fact(facts, "peer_id", "peer id")
    return f"Peer {peer} shows too little proof of work."


def _myself(facts: _Facts) -> str:
    where = _fact(facts, "connection_id", "connection id")
    return f"The node has reached itself, as {where}."


def _banned_peer(facts: _Facts) -> str:
    peer = _fact(facts, "peer", "peer_id", "peer id")
    return f"The peer identity you tried to connect ({peer}) is banned."


_TEXTS: Final[Mapping[str, _Text]] = {
    _POOL + "pending_connection": (
        "Fail to connect with a peer: a connection is already pending."
    ),
    _POOL + "connected": (
        "Fail to connect with a peer: a connection is already established."
    ),
    _POOL + "connection_refused": "Connection was refused.",
    _POOL + "connection_failed": "TCP connection failed (refused or no route to host).",
    _POOL + "rejected": _rejected,
    _POOL + "too_many_connections": "Too many connections.",
    _POOL + "private_mode": "Node is in private mode.",
    _POOL + "point_banned": lambda facts: (
        f"The address you tried to connect ({_address(facts)}) is banned."
    ),
    _POOL + "peer_banned": _banned_peer,
    _POOL + "disabled": "P2P layer disabled.",
    _SOCKET + "decipher_error": "What the other side sent could not be decrypted.",
    _SOCKET + "encoding_error": "A message could not be encoded.",
    _SOCKET + "decoding_error": "What the other side sent could not be decoded.",
    _SOCKET + "invalid_message_size": "The other side sent a message of a wrong size.",
    _SOCKET + "invalid_incoming_ciphertext_size": (
        "The other side sent a chunk of a wrong size."
    ),
    _SOCKET + "rejected_socket_connection": _REJECTED + "the other side refuses.",
    _SOCKET + "rejecting_incoming": lambda facts: (
        f"{_REJECTED}the node refuses: {_motive(facts)}."
    ),
    _SOCKET + "rejected_by_nack": lambda facts: (
        f"{_REJECTED}the other side refuses: {_motive(facts)}."
    ),
    _SOCKET + "rejected_no_common_protocol": (_REJECTED + "no common network protocol."),
    _SOCKET + "myself": _myself,
    _SOCKET + "not_enough_proof_of_work": _lazy,
    _SOCKET + "invalid_auth": "The other side does not prove who it is.",
    _SOCKET + "invalid_chunks_size": "The size of chunks is out of its bounds.",
    "node.p2p_io_scheduler.connection_closed": "The connection was closed.",
    "node.p2p_io_scheduler.connection_error": "The connection broke.",
    "node.p2p_conn.peer_discovery_disabled": "Peer discovery is disabled.",
    "node.p2p_connect_handler.identity_check_failure": _misplaced,
    "node.p2p_maintenance.disabled": "Maintenance is disabled.",
    "p2p.fd.Full_waiting_queue": "The node has too many connections that wait.",
    "p2p.welcome.failed_to_open_listening_socket": "The node cannot listen.",
    "utils.Timeout": "The request has timed out",
}

#: Where the older generation has other words.
_TEXTS_2019: Final[Mapping[str, _Text]] = {
    _POOL + "point_banned": lambda facts: (
        f"The addr you tried to connect ({_address(facts)}) is banned."
    ),
    "utils.Timeout": "",
}
