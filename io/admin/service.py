"""What the interface answers: each request becomes questions and commands of the core.

Lists are made a line at a time: for `SLICE` seconds, then whatever else the node has to
do comes first; one list at a time, and at most `LISTS_MAX` wait for clients to read them.

=====================================  =================================================
where the reference is ambiguous       here
=====================================  =================================================
a change of ``acl`` on a point that    200, and what is said of a point of which nothing
is not known (it answers 404 although  is known
the ban counts)
``trust`` of a point with port 0       400: nobody could be dialled there
a PUT without a body                   as ``{}``; a 400 in the form of 2019, as there
events of a point that begin or end    their own names; in the form of 2019 the one that
a connection                           its clients know
greylisted addresses                   those that are banned now
bans                                   a set: one unban undoes them
``unban`` of 2019                      lifts what is automatic too
=====================================  =================================================

Source: the RPC services of the reference node, 2019 and 2026.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.metadata
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

from ...fsm.machine import LocalProtocolError
from ...fsm.node import Node as Core
from ...fsm.steward import Kick, Steward
from ...fsm.survey import UNKNOWN_POINT
from ...spec import rpc
from ...spec.convert import ShapeError, parse_json
from ...spec.identity import PeerId
from ...spec.point import Point
from ...spec.pool_events import PeerEvent, PointEvent
from ...spec.reasons import Disconnection, ErrorKind, P2pError, Reason
from ...spec.rpc_binary import binary
from ...spec.rpc_errors import TIMED_OUT, error_of, errors_of, failure
from ...spec.rpc_json import minified
from ..ends import report
from ..node_ends import STOP_TIMEOUT, NodeEnds
from ..rpc import RPC
from ..timestamps import Clocks
from .describe import describe
from .guard import Guard, comes_from_a_page
from .http import JSON, TEXT, Reply, Request
from .openapi import openapi
from .routes import METHODS, BadRequest, Nothing, Route, Router, read_query
from .watch import TooMany, Watch

T = TypeVar("T")

#: Seconds for which a list is made at one go.
SLICE: Final = 0.004
#: Seconds that others have between two goes.
PAUSE: Final = 0.001
#: Lists that are made, or wait for their readers, at once.
LISTS_MAX: Final = 4

BYTES: Final = "application/octet-stream"
_NAMED: Final = ("application/json", "application/bson", BYTES)
_RPC: Final = Disconnection(Reason.EXPLICIT_RPC)
_DISABLED: Final = rpc.RpcError("permanent", ErrorKind.P2P_LAYER_DISABLED.id)
_CLOSED: Final = rpc.RpcError("permanent", ErrorKind.CONNECTION_CLOSED.id)
_LINE: Final = b"\n"

AnyCore = Core[Any, Any]


class Service:
    """Answers for one node, in one generation.

    Args:
        node: which.
        generation: of the interface.
    """

    def __init__(self, node: NodeEnds[Any, Any], generation: rpc.Generation) -> None:
        self._node = node
        self._old = generation is rpc.Generation.G2019
        self._form = RPC[generation]
        self._router = Router(generation)
        self.watch = Watch(node, lambda event: self._line(event))
        self._lists = asyncio.Semaphore(LISTS_MAX)
        self._turn = asyncio.Lock()

    # -- what comes before -------------------------------------------------------------

    async def answer(self, request: Request[Guard]) -> Reply:
        """Answer a request; never raises."""
        try:
            return await self._answer(request)
        except BadRequest as exc:
            text = "".join(each if each.isprintable() else "?" for each in str(exc))
            return Reply(400, [text.encode("utf-8", "replace")], TEXT, sized=False)
        except TooMany as exc:
            return Reply(503, [str(exc).encode()], TEXT, sized=False)
        except Exception as exc:
            report(exc)
            return self._errors([failure(f"{type(exc).__name__}: see the node's log")])

    async def _answer(self, request: Request[Guard]) -> Reply:
        guard, method, headers = request.listener, request.method, request.headers
        if not guard.knows_host(headers.get("host", "")):
            return self._forbidden("invalid host")
        if method not in METHODS:
            return Reply(501, sized=False)
        if self._old and request.path[:1] == ("describe",) and method == "GET":
            return self._describe(request)
        found = self._router.find(request.path)
        if not found.routes:
            return Reply(404, sized=False)
        if method == "OPTIONS":
            return _options(found.routes)
        route = found.route(method)
        if route is None:
            allowed = tuple(("allow", each.method) for each in found.routes)
            return Reply(405, headers=allowed, sized=False)
        if (route.changes or self._old) and comes_from_a_page(headers):
            return self._forbidden("cross-site request")
        media = _choose(headers.get("accept"), binary=route.binary)
        if media is None:
            return Reply(406, [", ".join(_NAMED).encode()], sized=False)
        if route.body is not None and headers.get("content-type", JSON) != JSON:
            return Reply(415, sized=False)
        query = read_query(route, request.query, self._router.generation)
        if not guard.permits(method, request.path):
            return Reply(401, content_type=JSON)
        if route.body is not None:
            query["body"] = self._body(route, request.body)
        if found.argument is not None:
            query["at"] = found.argument
        if route.binary:
            query["media"] = media
        reply: Reply | Awaitable[Reply] = getattr(self, f"_{route.name}")(**query)
        return reply if isinstance(reply, Reply) else await reply

    def _body(self, route: Route, body: bytes) -> Any:
        if not body and not self._old:
            body = b"{}"
        try:
            if route.body is Nothing:
                _check_nothing(body)
                return None
            return self._form.shape(parse_json(body, "body"), route.body, "body")
        except (ShapeError, BadRequest) as exc:
            raise BadRequest(f"Failed to parse the request body: {exc}") from None

    def _forbidden(self, why: str) -> Reply:
        name = "x-ocaml-resto-cors-error" if self._old else "x-tezos-p2p-cors-error"
        return Reply(403, headers=((name, why),))

    # -- answers -----------------------------------------------------------------------

    def _line(self, value: object) -> bytes:
        return self._form.text(value).encode("utf-8", "replace") + _LINE

    def _json(self, value: object, status: int = 200) -> Reply:
        return Reply(status, [self._line(value)], JSON)

    def _either(self, value: object, media: str) -> Reply:
        body = binary(value, self._form.generation) if media == BYTES else None
        if media == BYTES and body is None:
            return Reply(406, [", ".join(_NAMED).encode()], sized=False)
        return self._json(value) if body is None else Reply(200, [body], BYTES)

    def _nothing(self) -> Reply:
        return Reply(200, [b"{}\n"], JSON)

    def _absent(self) -> Reply:
        return Reply(404, content_type=JSON)

    def _errors(self, errors: list[rpc.RpcError]) -> Reply:
        return self._json(errors, 500)

    def _govern(
        self, act: Callable[[Steward[Any], float], Iterable[Kick]]
    ) -> Callable[[AnyCore, float], None]:
        return lambda core, now: core.govern(lambda it: act(it, now), now)

    # -- the node ----------------------------------------------------------------------

    def _self_(self, media: str) -> Reply:
        return self._either(self._node.core.survey.peer_id, media)

    def _version_2019(self) -> Reply:
        return self._json(self._node.core.survey.version)

    def _versions_2019(self) -> Reply:
        return self._json([self._node.core.survey.version])

    def _version(self) -> Reply:
        announced = self._node.core.survey.version
        return self._json(rpc.NodeVersion(_software(), announced, None))

    def _stat(self, media: str) -> Reply:
        stat = self._node.ask(lambda core, now: core.survey.stat(now))
        return self._either(stat, media)

    def _health(self) -> Reply:
        active = self._node.ask(lambda core, _: core.pool.active)
        return self._json({"status": "up", "connections": active})

    def _openapi(self) -> Reply:
        return Reply(200, [_openapi_text(self._router.generation)], JSON)

    def _describe(self, request: Request[Guard]) -> Reply:
        recurse = dict(request.query).get("recurse", "no") not in ("no", "false")
        tree = describe(self._router.routes, request.path[1:], recurse=recurse)
        if tree is None:
            return self._absent()
        return Reply(200, [minified(tree).encode() + _LINE], JSON)

    # -- lists -------------------------------------------------------------------------

    async def _connections(self) -> Reply:
        return await self._list(_running, self._connection_line)

    async def _peers(self, filter: Sequence[str]) -> Reply:  # noqa: A002  # the query's
        return await self._list(_peers, functools.partial(self._peer_line, filter))

    async def _points(self, filter: Sequence[str]) -> Reply:  # noqa: A002  # the query's
        return await self._list(_points, functools.partial(self._point_line, filter))

    async def _full_stat(self) -> Reply:
        async def parts() -> list[bytes]:
            stat = self._node.ask(lambda core, now: core.survey.stat(now))
            found = [b'{"stat":', self._form.text(stat).encode()]
            for name, items, line in (
                ("incoming_connections", _incoming, self._connection_line),
                ("outgoing_connections", _outgoing, self._connection_line),
                ("peers", _peers, functools.partial(self._peer_line, ())),
                ("points", _points, functools.partial(self._point_line, ())),
            ):
                found.append(f',"{name}":'.encode())
                found += await self._lines(items, line)
            return [*found, b"}\n"]

        return await self._listed(parts)

    async def _list(
        self,
        pick: Callable[[AnyCore], list[Any]],
        line: Callable[[AnyCore, Any, Clocks], object],
    ) -> Reply:
        async def parts() -> list[bytes]:
            return [*await self._lines(pick, line), _LINE]

        return await self._listed(parts)

    async def _listed(self, parts: Callable[[], Any]) -> Reply:
        await self._lists.acquire()
        try:
            async with self._turn:
                return Reply(200, await parts(), JSON, done=self._lists.release)
        except BaseException:
            self._lists.release()
            raise

    async def _lines(
        self,
        pick: Callable[[AnyCore], list[Any]],
        line: Callable[[AnyCore, Any, Clocks], object],
    ) -> list[bytes]:
        """Make the lines of a list, in pieces, from its bracket to its bracket."""
        items = iter(self._node.ask(lambda core, _: pick(core)))
        pieces = [b"["]
        while texts := self._node.ask(
            lambda core, now: self._some(core, now, items, line)
        ):
            if len(pieces) > 1:
                pieces.append(b",")
            pieces.append(",".join(texts).encode("utf-8", "replace"))
            await asyncio.sleep(PAUSE)
        return [*pieces, b"]"]

    def _some(
        self,
        core: AnyCore,
        now: float,
        items: Iterator[Any],
        line: Callable[[AnyCore, Any, Clocks], object],
    ) -> list[str]:
        """Make as many lines as there is time for; none: there are no more."""
        clocks, texts = Clocks(now, time.time()), list[str]()
        until = time.perf_counter() + SLICE
        for item in items:
            made = line(core, item, clocks)
            if made is not None:
                texts.append(self._form.text(made))
            if texts and time.perf_counter() >= until:
                break
        return texts

    def _connection_line(self, core: AnyCore, item: Any, _: Clocks) -> object:
        running = core.pool.running.get(item)
        return None if running is None else core.survey.connection(running)

    def _peer_line(
        self, states: Sequence[str], core: AnyCore, item: Any, clocks: Clocks
    ) -> object:
        if states and item.state.name.lower() not in states:
            return None
        return item.peer_id, core.survey.peer(item, clocks.now, clocks.wall)

    def _point_line(
        self, states: Sequence[str], core: AnyCore, item: Any, clocks: Clocks
    ) -> object:
        if states and item.state.name.lower() not in states:
            return None
        return item.point, core.survey.point(item, clocks.now, clocks.wall)

    # -- connections -------------------------------------------------------------------

    def _connection(self, at: PeerId, media: str) -> Reply:
        def look(core: AnyCore, _: float) -> rpc.ConnectionInfo | None:
            running = core.pool.by_peer(at)
            return None if running is None else core.survey.connection(running)

        info = self._node.ask(look)
        return self._absent() if info is None else self._either(info, media)

    def _disconnect(self, at: PeerId, wait: bool) -> Reply:
        def end(core: AnyCore, now: float) -> None:
            core.disconnect(at, now, _RPC, now + STOP_TIMEOUT if wait else None)

        self._node.ask(end)
        return self._nothing()

    # -- points ------------------------------------------------------------------------

    def _point(self, at: Point, media: str) -> Reply:
        info = self._node.ask(functools.partial(_point_info, at))
        return self._absent() if info is None else self._either(info, media)

    async def _connect(self, at: Point, timeout: float, body: None) -> Reply:  # noqa: ARG002, ASYNC109  # the query's
        until = asyncio.get_running_loop().time() + timeout
        try:
            link = self._node.ask(lambda core, now: core.connect(at, now))
        except LocalProtocolError:
            return self._errors([_DISABLED])
        if isinstance(link, P2pError):
            return self._errors([error_of(link, at, self._form)])
        changed = asyncio.Event()
        self.watch.look(changed, changed.set)
        try:
            async with asyncio.timeout_at(until):
                while self._node.ask(lambda core, _: _is_pending(core, link)):
                    await changed.wait()
                    changed.clear()
        except TimeoutError:
            pass
        finally:
            self.watch.unlook(changed)
            late = self._node.ask(lambda core, now: core.give_up(link, now))
        if late or not timeout:  # no time at all, and be it refused meanwhile
            return self._errors([TIMED_OUT])
        return self._outcome(link, at)

    def _outcome(self, link: int, at: Point) -> Reply:
        running, ending = self._node.ask(
            lambda core, _: (link in core.pool.running, core.why_not(link))
        )
        if running:
            return self._nothing()
        if ending is None:  # it ran, and is gone
            return self._errors([_CLOSED])
        return self._errors(errors_of(ending, at, self._form))

    def _change_point(self, at: Point, body: rpc.PointChange) -> Reply:
        if body.acl is rpc.AclChange.TRUST and not at.port:
            raise BadRequest("Failed to parse the request body: port 0 cannot be trusted")

        def act(steward: Steward[Any], now: float) -> Iterable[Kick]:
            kicks: list[Kick] = []
            known = at in self._node.core.pool.known_points
            if body.peer_id is not None and known:
                kicks += steward.expect(at, body.peer_id, now)
            match body.acl:
                case rpc.AclChange.BAN:
                    kicks += steward.ban_address(at.address)
                case rpc.AclChange.TRUST:
                    kicks += steward.trust_point(at, now, body.peer_id)
                case rpc.AclChange.OPEN:
                    kicks += steward.open_point(at)
                case None:
                    pass
            return dict(kicks).items()

        self._node.ask(self._govern(act))
        info = self._node.ask(functools.partial(_point_info, at))
        if info is None:
            return self._absent() if body.acl is None else self._json(UNKNOWN_POINT)
        return self._json(info)

    def _ban_point(self, at: Point) -> Reply:
        return self._do(lambda it, _: it.ban_address(at.address, peers=False))

    def _unban_point(self, at: Point) -> Reply:
        return self._do(lambda it, _: it.unban_address(at.address))

    def _trust_point(self, at: Point) -> Reply:
        return self._do(lambda it, now: it.trust_point(at, now))

    def _untrust_point(self, at: Point) -> Reply:
        return self._do(lambda it, _: it.untrust_point(at))

    def _do(self, act: Callable[[Steward[Any], float], Iterable[Kick]]) -> Reply:
        self._node.ask(self._govern(act))
        return self._nothing()

    def _point_banned(self, at: Point) -> Reply:
        def look(core: AnyCore, now: float) -> bool:
            info = core.pool.known_points.get(at)
            if info is not None and info.trusted:
                return False
            return core.acl.is_banned(at.address, now)

        return self._json(self._node.ask(look))

    def _point_log(self, at: Point, monitor: bool) -> Reply:
        def read(core: AnyCore, _: float) -> tuple[PointEvent, ...] | None:
            info = core.pool.known_points.get(at)
            return None if info is None else info.events

        return self._history(read, monitor)

    # -- peers -------------------------------------------------------------------------

    def _peer(self, at: PeerId, media: str) -> Reply:
        info = self._node.ask(functools.partial(_peer_info, at))
        return self._absent() if info is None else self._either(info, media)

    def _change_peer(self, at: PeerId, body: rpc.PeerChange) -> Reply:
        def act(steward: Steward[Any], now: float) -> Iterable[Kick]:
            match body.acl:
                case rpc.AclChange.BAN:
                    return steward.ban_peer(at)
                case rpc.AclChange.TRUST:
                    return steward.trust_peer(at, now)
                case rpc.AclChange.OPEN:
                    return steward.open_peer(at)
                case None:
                    return ()

        self._node.ask(self._govern(act))
        info = self._node.ask(functools.partial(_peer_info, at))
        return self._absent() if info is None else self._json(info)

    def _ban_peer(self, at: PeerId) -> Reply:
        return self._do(lambda it, _: it.ban_peer(at))

    def _unban_peer(self, at: PeerId) -> Reply:
        return self._do(lambda it, _: it.unban_peer(at))

    def _trust_peer(self, at: PeerId) -> Reply:
        return self._do(lambda it, now: it.trust_peer(at, now))

    def _untrust_peer(self, at: PeerId) -> Reply:
        return self._do(lambda it, _: it.untrust_peer(at))

    def _peer_banned(self, at: PeerId) -> Reply:
        def look(core: AnyCore, now: float) -> bool:
            info = core.pool.known_peers.get(at)
            if info is not None and info.trusted:
                return False
            return core.acl.is_peer_banned(at, now)

        return self._json(self._node.ask(look))

    def _peer_log(self, at: PeerId, monitor: bool) -> Reply:
        def read(core: AnyCore, _: float) -> tuple[PeerEvent, ...] | None:
            info = core.pool.known_peers.get(at)
            return None if info is None else info.events

        return self._history(read, monitor)

    # -- lists of bans -----------------------------------------------------------------

    def _clear(self) -> Reply:
        self._node.ask(lambda core, _: core.acl.clear())
        return self._nothing()

    def _greylist_peers(self) -> Reply:
        return self._json(
            self._node.ask(lambda core, now: core.acl.greylisted_peers(now))
        )

    def _greylist_ips(self) -> Reply:
        def look(core: AnyCore, now: float) -> rpc.GreylistIps:
            since = core.acl.not_reliable_since
            wall = None if since is None else rpc.Timestamp(time.time() + since - now)
            return rpc.GreylistIps(core.acl.greylisted_addresses(now), wall)

        return self._json(self._node.ask(look))

    # -- streams -----------------------------------------------------------------------

    def _log(self) -> Reply:
        self.watch.take()
        stream, lost, end = self.watch.events()

        def done() -> None:
            end()
            self.watch.give_back()

        return Reply(200, (), JSON, (), False, stream, lost, done)

    def _history(
        self, read: Callable[[AnyCore, float], tuple[Any, ...] | None], monitor: bool
    ) -> Reply:
        lines = self._node.ask(read)
        if lines is None or not monitor:
            return Reply(200, [self._written(lines or ())], JSON)
        self.watch.take()
        stream = self.watch.history(lambda: self._node.ask(read) or (), self._written)
        done = self.watch.give_back
        return Reply(200, (), JSON, sized=False, stream=stream, done=done)

    def _written(self, lines: Sequence[Any]) -> bytes:
        """Write lines of a history; their moments are monotonic."""
        clocks = self._node.ask(lambda _, now: Clocks(now, time.time()))
        return self._line([each._replace(at=clocks.wall_of(each.at)) for each in lines])


# -- looking ---------------------------------------------------------------------------


def _running(core: AnyCore) -> list[Any]:
    return list(core.pool.running)


def _incoming(core: AnyCore) -> list[Any]:
    return [link for link, it in core.pool.running.items() if it.incoming]


def _outgoing(core: AnyCore) -> list[Any]:
    return [link for link, it in core.pool.running.items() if not it.incoming]


def _peers(core: AnyCore) -> list[Any]:
    return list(core.pool.known_peers.values())


def _points(core: AnyCore) -> list[Any]:
    return list(core.pool.known_points.values())


def _is_pending(core: AnyCore, link: int) -> bool:
    return link in core and link not in core.pool.running


def _point_info(at: Point, core: AnyCore, now: float) -> rpc.PointInfo | None:
    info = core.pool.known_points.get(at)
    return None if info is None else core.survey.point(info, now, time.time())


def _peer_info(at: PeerId, core: AnyCore, now: float) -> rpc.PeerInfo | None:
    info = core.pool.known_peers.get(at)
    return None if info is None else core.survey.peer(info, now, time.time())


# -- headers and bodies ----------------------------------------------------------------


def _options(routes: Iterable[Route]) -> Reply:
    allowed = [("access-control-allow-methods", route.method) for route in routes]
    headers = (("access-control-allow-headers", "Content-Type"), *allowed)
    return Reply(200, headers=headers, sized=False)


def _choose(accept: str | None, *, binary: bool) -> str | None:
    """Return the media type to answer with, or None if none is wanted.

    JSON is first among those that are wanted as much.
    """
    if accept is None:
        return JSON
    ours = (JSON, BYTES) if binary else (JSON,)
    found: dict[str, float] = {}
    for part in accept.lower().split(","):
        name, *parameters = (each.strip() for each in part.split(";"))
        weight = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                weight = _weight(parameter[2:])
        for media in ours:
            if name in (media, "*/*", "application/*"):
                found[media] = max(weight, found.get(media, 0.0))
    wanted = [media for media in ours if found.get(media, 0.0) > 0.0]
    return max(wanted, key=lambda media: found[media], default=None)


def _weight(text: str) -> float:
    try:
        return min(max(float(text), 0.0), 1.0)
    except ValueError:
        return 0.0


def _check_nothing(body: bytes) -> None:
    """Check that a body is an empty object; the words are those of the reference."""
    if not body.strip():
        raise BadRequest("Malformed value")
    document = parse_json(body, "body")
    if isinstance(document, dict):
        for name in document:  # pyright: ignore[reportUnknownVariableType]  # of JSON
            raise BadRequest(f"Unexpected object field {name}")
        return
    what = "empty array" if document == [] else _KINDS[type(document)]
    raise BadRequest(f"Unexpected {what} instead of an empty object")


_KINDS: Final[dict[type[Any], str]] = {
    list: "array",
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    type(None): "null",
}


@functools.cache
def _software() -> rpc.SoftwareVersion:
    numbers = importlib.metadata.version("tezos-p2p").split(".")
    found = [int(each) if each.isdecimal() else 0 for each in (*numbers, "0", "0")]
    return rpc.SoftwareVersion(*found[:3])


@functools.cache
def _openapi_text(generation: rpc.Generation) -> bytes:
    return json.dumps(openapi(Router(generation).routes, generation)).encode() + _LINE
