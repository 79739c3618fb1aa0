"""What nodes answer to administrators, and what their clients make of it.

Origin: the answers of 2019 are those of a reference node of May 2019 on loopback, put
together from what its admin client printed at the same time and from answers that were
recorded; the lines of 2026 follow the description of the 2026 client's output, and are
self-made otherwise.
"""

from __future__ import annotations

from typing import Any

B = "idsErQ2rG7SkJorFpW7jjtGDYjR2a4"
D = "idtFD7DRwrigSwibuXgvqqgjm7tdfi"
E = "ids2Erc1ooDHjUR7pV9LwA31uijd51"
#: Nobody whom the node knows.
NOBODY = "idtFh3uZTdnwGG2boFA8s6yFZHeM7C"
#: The port of D's end of its connection; D does not listen.
EPHEMERAL = 45678
SEEN = "2026-11-22T11:48:39-00:00"

VERSION_2019 = {
    "chain_name": "SANDBOXED_TEZOS",
    "distributed_db_version": 0,
    "p2p_version": 0,
}
VERSION_2026 = {
    "version": {"major": 23, "minor": 1, "build": 0, "additional_info": "release"},
    "network_version": {
        "chain_name": "TEZOS",
        "distributed_db_version": 2,
        "p2p_version": 1,
    },
    "commit_info": {
        "commit_hash": "c0ffee00",
        "commit_date": "2026-08-01 10:00:00 +0000",
    },
}


def stat(sent: int, received: int, outflow: int, inflow: int) -> dict[str, Any]:
    return {
        "total_sent": str(sent),
        "total_recv": str(received),
        "current_inflow": inflow,
        "current_outflow": outflow,
    }


def metadata(private: bool = False) -> dict[str, Any]:
    return {"disable_mempool": False, "private_node": private}


def address(port: int | None = None, host: str = "::ffff:127.0.0.1") -> dict[str, Any]:
    return {"addr": host} if port is None else {"addr": host, "port": port}


def connection(
    peer_id: str,
    port: int | None,
    *,
    incoming: bool,
    private: bool = False,
    version: dict[str, Any] = VERSION_2019,
) -> dict[str, Any]:
    return {
        "incoming": incoming,
        "peer_id": peer_id,
        "id_point": address(port),
        "remote_socket_port": EPHEMERAL,
        "announced_version": version,
        "private": private,
        "local_metadata": metadata(),
        "remote_metadata": metadata(private),
    }


def peer(
    peer_id: str,
    bytes_: tuple[int, int, int, int] = (0, 0, 0, 0),
    *,
    state: str = "disconnected",
    trusted: bool = False,
    score: float = 1,
) -> list[Any]:
    info: dict[str, Any] = {
        "score": score,
        "trusted": trusted,
        "peer_metadata": {},
        "state": state,
        "stat": stat(*bytes_),
    }
    if state == "running":
        info["conn_metadata"] = metadata()
        info["reachable_at"] = address(18102)
    return [peer_id, info]


def point(
    text: str,
    peer_id: str | None = None,
    *,
    state: str = "disconnected",
    seen: str | None = None,
    trusted: bool = False,
    at: str = SEEN,
) -> list[Any]:
    info: dict[str, Any] = {"trusted": trusted, "state": {"event_kind": state}}
    if peer_id is not None:
        info["state"]["p2p_peer_id"] = info["p2p_peer_id"] = peer_id
    if seen is not None:
        info["last_seen"] = [seen, at]
        info["last_established_connection"] = [seen, at]
    return [text, info]


IN_B = connection(B, 18102, incoming=True)
IN_D = connection(D, None, incoming=True, private=True)
OUT_E = connection(E, 18104, incoming=False)
_NOT_SEEN = [point("127.0.0.1:18150"), point("[::1]:1"), point("127.0.0.1:1")]

#: Answers of 2019 to the four questions of ``p2p stat``, each time that it was asked:
#: stat, connections, peers, points.
STATS_2019 = (
    (
        stat(292, 292, 36, 36),
        [IN_B, IN_D],
        [
            peer(B, (146, 146, 18, 18), state="running"),
            peer(D, (146, 146, 18, 18), state="running"),
        ],
        [point("127.0.0.1:18102", B, state="running", seen=B)],
    ),
    (
        stat(545, 438, 7, 4),
        # Incoming connections are shown first, in whatever order they come.
        [OUT_E, IN_B, IN_D],
        [
            peer(B, (146, 146, 0, 0), state="running", trusted=True),
            peer(D, (146, 146, 0, 0), state="running"),
            peer(E, (146, 146, 1, 1), state="running"),
        ],
        [
            point("127.0.0.1:18104", E, state="running", seen=E),
            point("127.0.0.1:18102", B, state="running", seen=B),
            *_NOT_SEEN,
            point("127.0.0.1:5", trusted=True),
        ],
    ),
    (
        stat(545, 438, 7, 4),
        [IN_D, OUT_E],
        [
            peer(B),
            peer(D, (146, 146, 0, 0), state="running"),
            peer(E, (146, 146, 1, 1), state="running"),
        ],
        [
            point("127.0.0.1:18104", E, state="running", seen=E),
            point("127.0.0.1:18102", seen=B),
            *_NOT_SEEN,
            point("127.0.0.1:5"),
        ],
    ),
    (
        stat(672, 565, 5, 3),
        [IN_D],
        [peer(B), peer(D, (146, 146, 0, 0), state="running"), peer(E)],
        [
            point("127.0.0.1:18104", state="requested", seen=E),
            point("127.0.0.1:18102", seen=B),
            *_NOT_SEEN,
            point("127.0.0.1:5"),
        ],
    ),
)

_TEZOS_2 = {"chain_name": "TEZOS", "distributed_db_version": 2, "p2p_version": 1}
FULL_STAT_2026 = {
    "stat": stat(292, 1572864, 46, 3277),
    "incoming_connections": [
        connection(D, 44262, incoming=True, private=True, version=_TEZOS_2)
    ],
    "outgoing_connections": [connection(E, 18102, incoming=False, version=_TEZOS_2)],
    "peers": [peer(D, (146, 146, 23, 23), state="running")],
    "points": [
        point(
            "127.0.0.1:18102",
            E,
            state="running",
            seen=E,
            at="2026-08-21T13:31:00.125-00:00",
        )
    ],
}
#: What ``p2p stat`` makes of it, every blank and the empty line at the end included.
PRINTED_2026 = (
    "GLOBAL STATS\n"
    "  ↗              292 B (46 B/s) ↘       1.50 MiB (3.20 kiB/s) \n"
    "CONNECTIONS\n"
    " INCOMING\n"
    f"  ↘ {D} 127.0.0.1:44262 (TEZOS.2 (p2p: 1))  private\n"
    " OUTGOING\n"
    f"  ↗ {E} 127.0.0.1:18102 (TEZOS.2 (p2p: 1)) \n"
    "KNOWN PEERS\n"
    "  St Sc            Peer Id                        Upload                       "
    "Download            Tr\n"
    f"  ⚌   1  {D} ↗              146 B (23 B/s) ↘              146 B (23 B/s)   \n"
    "KNOWN POINTS\n"
    f"  ⚌  127.0.0.1:18102 {E}  \n"
    "\n"
)
EMPTY_FULL_STAT = {
    "stat": stat(0, 0, 0, 0),
    "incoming_connections": [],
    "outgoing_connections": [],
    "peers": [],
    "points": [],
}
STATUS = {
    "connections": {
        "running": 2,
        "pending": 1,
        "min": 10,
        "expected": 50,
        "max": 100,
        "min_threshold": 23,
        "min_target": 36,
        "max_target": 68,
        "max_threshold": 84,
    },
    "queues": {"inbox": 3, "inbox_max": 1000, "writes": 7},
    "refusals": {"too_many_connections": 4, "unknown_chain_name": 9},
    "greylist": {"ips": 2, "peers": 1},
    "banned": {"ips": 5, "peers": 0},
}
