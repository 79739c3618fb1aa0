"""Every request that the interface answers, of both generations, as data.

The same table finds who answers a request, says what methods a path has, and is what
``/openapi.json`` and ``/describe`` show.

=======================  ===============================================================
what is asked wrongly    answer
=======================  ===============================================================
no such method anywhere  501, and HEAD too
no such path             404
an argument in the path  400 ``Failed to parsed an argument in path. After "PATH", ...``
a method it has not      405, an ``allow`` line for each that it has
a query                  400 ``Failed to parse the query string: ...``
=======================  ===============================================================

What the query says: unknown names are passed over; a name that may be there once and is
there twice is a fault; a flag left out is false, one without a value true.

Source: the RPC services of the reference node, 2019 and 2026; answers of a running node
of 2019.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Literal

import attrs

from ...spec import rpc
from ...spec.identity import PeerId
from ...spec.point import Point
from ...spec.pool_events import PeerEvent, PointEvent, PoolEvent
from ...spec.rpc import Generation
from ...spec.status import Status
from ...spec.version import Version

G2019: Final = Generation.G2019
G2026: Final = Generation.G2026
_BOTH: Final = (G2019, G2026)

#: Seconds that a ``timeout`` may say at most, and means if it is left out.
TIMEOUT_MAX: Final = 600.0
TIMEOUT: Final = 10.0

METHODS: Final = ("GET", "PUT", "PATCH", "DELETE", "POST", "OPTIONS")

PEER: Final = "<peer_id>"
POINT: Final = "<point>"

Kind = Literal["flag", "filter", "timespan"]


class BadRequest(ValueError):
    """A path, a query or a body that says nothing we could do; the text of the 400."""


@attrs.frozen
class Query:
    """One name that a query may have.

    Attributes:
        name: which.
        kind: what it takes.
        values: of a filter.
        meaning: for people.
    """

    name: str
    kind: Kind
    meaning: str
    values: tuple[str, ...] = ()


@attrs.frozen
class Route:
    """One method of one path.

    Attributes:
        method: which.
        path: segments; `PEER` and `POINT` stand for one.
        name: of who answers.
        summary: for people.
        answer: what it holds, as `spec.rpc` has it; None: ``{}``.
        of: the generations that have it.
        query: names that it looks at.
        body: what it has to be told.
        absent: whether there is a 404 for what is not known.
        changes: whether it changes anything.
        streams: whether events follow as they happen.
        binary: whether the answer has a form in bytes.
    """

    method: str
    path: tuple[str, ...]
    name: str
    summary: str
    answer: Any = None
    of: tuple[Generation, ...] = _BOTH
    query: tuple[Query, ...] = ()
    body: Any = None
    absent: bool = False
    changes: bool = False
    streams: bool = False
    binary: bool = False


_MONITOR: Final = Query("monitor", "flag", "go on with what happens from now on")
_KEEP_BANS: Final = Query("keep_bans", "flag", "leave those that are for good; ours")
_WAIT: Final = Query("wait", "flag", "let what is queued leave first")
_RECURSE: Final = Query("recurse", "flag", "and all that is below")
_TIMEOUT: Final = Query("timeout", "timespan", "seconds to wait, 10 if left out")
_PEER_FILTER: Final = Query(
    "filter", "filter", "only those", ("accepted", "running", "disconnected")
)
_POINT_FILTER: Final = Query(
    "filter",
    "filter",
    "only those",
    ("requested", "accepted", "running", "disconnected"),
)


class Nothing:
    """A body that is an empty object."""


def _at(path: str) -> tuple[str, ...]:
    return tuple(path.strip("/").split("/"))


_PEER_AT: Final = f"/network/peers/{PEER}"
_POINT_AT: Final = f"/network/points/{POINT}"
_CONN_AT: Final = f"/network/connections/{PEER}"

# fmt: off
#: All of them; of one path the later methods are named first, as the reference does.
ROUTES: Final = (
    Route("GET", _at("/network/self"), "self_", "Who the node is.", PeerId,
          binary=True),
    Route("GET", _at("/network/version"), "version_2019", "What it announces.", Version,
          of=(G2019,)),
    Route("GET", _at("/network/versions"), "versions_2019", "The same, as a list.",
          list[Version], of=(G2019,)),
    Route("GET", _at("/version"), "version", "Program, and what it announces.",
          rpc.NodeVersion, of=(G2026,)),
    Route("GET", _at("/network/stat"), "stat", "Bytes moved by all connections.",
          rpc.Stat, binary=True),
    Route("GET", _at("/network/full_stat"), "full_stat", "All that p2p stat shows.",
          rpc.FullStat, of=(G2026,)),
    Route("GET", _at("/network/log"), "log", "Events, from now on.", PoolEvent,
          streams=True),
    Route("GET", _at("/network/connections"), "connections", "Connections that run.",
          list[rpc.ConnectionInfo]),
    Route("GET", _at(_CONN_AT), "connection", "One that runs.", rpc.ConnectionInfo,
          absent=True, binary=True),
    Route("DELETE", _at(_CONN_AT), "disconnect", "End the connection to a peer.",
          query=(_WAIT,), changes=True),
    Route("GET", _at("/network/points"), "points", "Known points.", rpc.Points,
          query=(_POINT_FILTER,)),
    Route("GET", _at(_POINT_AT), "point", "One of them.", rpc.PointInfo, absent=True,
          binary=True),
    Route("PUT", _at(_POINT_AT), "connect", "Dial a point.", query=(_TIMEOUT,),
          body=Nothing, changes=True),
    Route("PATCH", _at(_POINT_AT), "change_point", "Ban or trust it, or neither.",
          rpc.PointInfo, of=(G2026,), body=rpc.PointChange, absent=True, changes=True),
    Route("GET", _at(f"{_POINT_AT}/log"), "point_log", "What happened there.",
          list[PointEvent], query=(_MONITOR,), streams=True),
    Route("GET", _at(f"{_POINT_AT}/banned"), "point_banned",
          "Whether its address is banned; false if it is trusted.", bool),
    Route("GET", _at(f"{_POINT_AT}/ban"), "ban_point", "Ban its address.",
          of=(G2019,), changes=True),
    Route("GET", _at(f"{_POINT_AT}/unban"), "unban_point", "Take that back.",
          of=(G2019,), changes=True),
    Route("GET", _at(f"{_POINT_AT}/trust"), "trust_point", "Trust it.",
          of=(G2019,), changes=True),
    Route("GET", _at(f"{_POINT_AT}/untrust"), "untrust_point", "Trust it no more.",
          of=(G2019,), changes=True),
    Route("GET", _at("/network/peers"), "peers", "Known peers.", rpc.Peers,
          query=(_PEER_FILTER,)),
    Route("GET", _at(_PEER_AT), "peer", "One of them.", rpc.PeerInfo, absent=True,
          binary=True),
    Route("PATCH", _at(_PEER_AT), "change_peer", "Ban or trust it, or neither.",
          rpc.PeerInfo, of=(G2026,), body=rpc.PeerChange, absent=True, changes=True),
    Route("GET", _at(f"{_PEER_AT}/log"), "peer_log", "What happened with it.",
          list[PeerEvent], query=(_MONITOR,), streams=True),
    Route("GET", _at(f"{_PEER_AT}/banned"), "peer_banned",
          "Whether it is banned; false if it is trusted.", bool),
    Route("GET", _at(f"{_PEER_AT}/ban"), "ban_peer", "Ban it.", of=(G2019,),
          changes=True),
    Route("GET", _at(f"{_PEER_AT}/unban"), "unban_peer", "Take that back.", of=(G2019,),
          changes=True),
    Route("GET", _at(f"{_PEER_AT}/trust"), "trust_peer", "Trust it.", of=(G2019,),
          changes=True),
    Route("GET", _at(f"{_PEER_AT}/untrust"), "untrust_peer", "Trust it no more.",
          of=(G2019,), changes=True),
    Route("DELETE", _at("/network/greylist"), "clear", "Forget bans, of all kinds.",
          of=(G2026,), query=(_KEEP_BANS,), changes=True),
    Route("GET", _at("/network/greylist/clear"), "clear", "Forget bans, of all kinds.",
          of=(G2019,), query=(_KEEP_BANS,), changes=True),
    Route("GET", _at("/network/greylist/peers"), "greylist_peers",
          "Peers that are banned for a while.", list[PeerId], of=(G2026,)),
    Route("GET", _at("/network/greylist/ips"), "greylist_ips",
          "Addresses that are banned for a while.", rpc.GreylistIps, of=(G2026,)),
    Route("GET", _at("/network/status"), "status", "How full the node is; ours.", Status),
    Route("GET", _at("/health"), "health", "Whether the node is up.", dict[str, Any]),
    Route("GET", _at("/openapi.json"), "openapi", "This interface.", dict[str, Any]),
)
# fmt: on

#: Where a description of what is at any path is found, at that path below it.
DESCRIBE: Final = Route(
    "GET",
    _at("/describe"),
    "describe",
    "What is at a path.",
    dict[str, Any],
    query=(_RECURSE,),
    absent=True,
)


# -- finding ---------------------------------------------------------------------------


@attrs.define(eq=False)
class _Place:
    """A path: what goes on from it, and its methods."""

    static: dict[str, _Place] = attrs.field(factory=dict[str, "_Place"])
    argument: tuple[str, _Place] | None = None
    routes: list[Route] = attrs.field(factory=list[Route])


@attrs.frozen
class Found:
    """Where a path leads.

    Attributes:
        routes: its methods, in the order in which they are named.
        argument: what the path says beside, if it says anything.
    """

    routes: tuple[Route, ...]
    argument: PeerId | Point | None

    def route(self, method: str) -> Route | None:
        """Return the route of a method, or None."""
        return next((route for route in self.routes if route.method == method), None)


class Router:
    """Finds the routes of one generation."""

    def __init__(self, generation: Generation) -> None:
        self.generation = generation
        self.routes = tuple(route for route in ROUTES if generation in route.of)
        self._root = _Place()
        for route in self.routes:
            place = self._root
            for segment in route.path:
                if segment in (PEER, POINT):
                    if place.argument is None:
                        place.argument = segment, _Place()
                    place = place.argument[1]
                else:
                    place = place.static.setdefault(segment, _Place())
            place.routes.insert(0, route)

    def find(self, path: Sequence[str]) -> Found:
        """Return where a path leads: to no routes at all if it does not exist.

        Raises:
            BadRequest: an argument in it cannot be read.
        """
        place, argument = self._root, None
        for number, segment in enumerate(path):
            if segment in place.static:
                place = place.static[segment]
            elif place.argument is not None:
                kind, place = place.argument
                argument = self._argument(kind, path[: number + 1])
            else:
                return Found((), None)
        return Found(tuple(place.routes), argument)

    def _argument(self, kind: str, path: Sequence[str]) -> PeerId | Point:
        text = path[-1]
        try:
            return PeerId.parse(text) if kind == PEER else Point.parse(text)
        except ValueError as exc:
            why = self._why(kind, text, exc)
        raise BadRequest(unacceptable("/".join(path), why, kind))

    def _why(self, kind: str, text: str, exc: ValueError) -> str:
        if kind == PEER:
            return (
                "failed to decode Base58Check-encoded data "
                f'(Crypto_box.Public_key_hash): "{text}"'
            )
        if self.generation is G2026:
            return str(exc)
        port = text.rpartition(":")[2] if ":" in text else ""
        return "P2p_point.of_string" if port.isdecimal() else "int_of_string"


def unacceptable(path: str, why: str, kind: str) -> str:
    """Return what is said of an argument in a path that does not do."""
    return (
        f'Failed to parsed an argument in path. After "{path}", the value "{why}" '
        f'is not acceptable for type "{kind[1:-1]}"'
    )


# -- queries ---------------------------------------------------------------------------

_TRUE: Final = ("", "true", "t", "yes", "y")
_FALSE: Final = ("false", "f", "no", "n")
_FALSE_2019: Final = ("no", "false")
_SPAN: Final = re.compile(
    r"(?:[0-9]{1,12}(?:\.[0-9]{0,12})?|\.[0-9]{1,12})(?:[eE][+-]?[0-9]{1,3})?"
)


def read_query(
    route: Route,
    pairs: Iterable[tuple[str, str | None]],
    generation: Generation,
) -> dict[str, Any]:
    """Return what a query says to a route, by name, of what may be said to it.

    Raises:
        BadRequest: something in it cannot be read.
    """
    said: dict[str, list[str | None]] = {each.name: [] for each in route.query}
    for name, value in pairs:
        if name in said:
            said[name].append(value)
    try:
        return {
            each.name: _READERS[each.kind](each, said[each.name], generation)
            for each in route.query
        }
    except BadRequest as exc:
        raise BadRequest(f"Failed to parse the query string: {exc}") from None


def _single(query: Query, values: list[str | None]) -> str | None:
    if len(values) > 1:
        raise BadRequest(f"Duplicate argument '{query.name}' in query string.")
    return values[0] or "" if values else None


def _wrong(query: Query, text: str, why: str) -> BadRequest:
    return BadRequest(f"Failed to parse argument '{query.name}' (\"{text}\"): {why}")


def _flag(query: Query, values: list[str | None], generation: Generation) -> bool:
    text = _single(query, values)
    if text is None:
        return False
    lowered = text.lower()
    if generation is G2019:
        return lowered not in _FALSE_2019
    if lowered in _TRUE or lowered in _FALSE:
        return lowered in _TRUE
    raise _wrong(query, text, f"invalid flag: {text}")


def _filter(
    query: Query,
    values: list[str | None],
    generation: Generation,  # noqa: ARG001  # as all readers get it
) -> tuple[str, ...]:
    for value in values:
        if value not in query.values:
            raise _wrong(query, value or "", f"Invalid state: {value or ''}")
    return tuple(value for value in values if value is not None)


def _timespan(
    query: Query,
    values: list[str | None],
    generation: Generation,  # noqa: ARG001  # as all readers get it
) -> float:
    text = _single(query, values)
    if text is None:
        return TIMEOUT
    seconds = float(text) if _SPAN.fullmatch(text) else math.nan
    if not 0.0 <= seconds <= TIMEOUT_MAX:
        raise _wrong(query, text, f'failed to parse timespan: "{text}"')
    return seconds


_READERS: Final[dict[str, Callable[[Query, list[str | None], Generation], Any]]] = {
    "flag": _flag,
    "filter": _filter,
    "timespan": _timespan,
}
