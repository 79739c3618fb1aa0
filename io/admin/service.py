"""What is looked at before a request is answered: host, path, method, forms, query.

The order is that of the reference, whose answers tell it: the host first, the access list
only when all else but the body is known to be right.

Source: the RPC server of the reference node, 2019 and 2026.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Awaitable, Iterable, Sequence
from typing import Any, Final

from ...spec import rpc
from ...spec.convert import ShapeError, parse_json
from ...spec.rpc_errors import failure
from ...spec.rpc_json import minified
from ..ends import report
from ..node_ends import NodeEnds
from ..rpc import RPC
from .answers import Answers
from .describe import describe
from .guard import Guard, comes_from_a_page
from .http import JSON, TEXT, Reply, Request
from .openapi import openapi
from .routes import (
    DESCRIBE,
    METHODS,
    BadRequest,
    Found,
    Nothing,
    Route,
    Router,
    read_query,
)
from .talk import BYTES, unwanted
from .watch import TooMany

_LINE: Final = b"\n"
_DESCRIBED: Final = Found((DESCRIBE,), None)


class Service:
    """Answers for one node, in one generation.

    Args:
        node: which.
        generation: of the interface.
    """

    def __init__(self, node: NodeEnds[Any, Any], generation: rpc.Generation) -> None:
        self._old = generation is rpc.Generation.G2019
        self._form = RPC[generation]
        self._router = Router(generation)
        self._answers = Answers(node, generation)

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
            return self._answers.errors(
                [failure(f"{type(exc).__name__}: see the node's log")]
            )

    async def _answer(self, request: Request[Guard]) -> Reply:
        guard, method, headers = request.listener, request.method, request.headers
        if not guard.knows_host(headers.get("host", "")):
            return self._forbidden("invalid host")
        if method not in METHODS:
            return Reply(501, sized=False)
        described = request.path[:1] == DESCRIBE.path
        found = _DESCRIBED if described else self._router.find(request.path)
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
            return unwanted()
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
        if described:
            return self._describe(request.path[1:], **query)
        if route.name == "openapi":
            return Reply(200, [_openapi_text(self._router.generation)], JSON)
        reply: Reply | Awaitable[Reply] = getattr(self._answers, route.name)(**query)
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

    def _describe(self, path: Sequence[str], recurse: bool) -> Reply:
        tree = describe(self._router, path, recurse=recurse)
        if tree is None:
            return self._answers.absent()
        return Reply(200, [minified(tree).encode() + _LINE], JSON)


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
def _openapi_text(generation: rpc.Generation) -> bytes:
    # A description is the same operation at any path below it: one stands for all.
    routes = (*Router(generation).routes, DESCRIBE)
    return json.dumps(openapi(routes, generation)).encode() + _LINE
