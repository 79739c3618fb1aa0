"""``/describe``: the services as clients of the reference ask for them before a call.

A place is ``{"static": {"get_service"?: SERVICE, ..., "subdirs"?: ...}}``; what is below
it is ``{"suffixes": [{"name", "tree"}]}`` or, for an argument, ``{"dynamic_dispatch":
{"arg", "tree"}}``.  A service names its method, path, query, and the schemas of what it
is told and answers; the client reads only whether there is one, and its paths.  Bytes are
described as a text of any length, which says nothing wrong.

Source: the description of its services by a running node of 2019.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

from .openapi import schema
from .routes import PEER, POINT, BadRequest, Query, Route, Router

_ARGS: Final[dict[str, dict[str, str]]] = {
    PEER: {
        "id": "single",
        "name": "peer_id",
        "descr": "who, in Base58Check",
    },
    POINT: {
        "id": "single",
        "name": "point",
        "descr": "where: ipv4:port or [ipv6]:port",
    },
}
_ANY_BYTES: Final[dict[str, Any]] = {
    "toplevel": {
        "fields": [
            {"kind": "dyn", "num_fields": 1, "size": "Uint30"},
            {
                "layout": {"kind": "String"},
                "kind": "anon",
                "data_kind": {"kind": "Variable"},
            },
        ]
    },
    "fields": [],
}
_DRAFT: Final = "http://json-schema.org/draft-04/schema#"


def describe(
    router: Router, path: Sequence[str], *, recurse: bool
) -> dict[str, Any] | None:
    """Return what is at a path, or None: it does not exist, or an argument is none."""
    try:
        router.find(path)
    except BadRequest:
        return None
    shown = router.routes
    prefix: tuple[str, ...] = ()
    for segment in path:
        following = {
            route.path[len(prefix)]
            for route in shown
            if len(route.path) > len(prefix) and route.path[: len(prefix)] == prefix
        }
        argument = next((each for each in (PEER, POINT) if each in following), None)
        if segment in following:
            prefix += (segment,)
        elif argument is not None:
            prefix += (argument,)
        else:
            return None
    return _tree(shown, prefix, recurse)


def _tree(
    routes: Sequence[Route], prefix: tuple[str, ...], recurse: bool
) -> dict[str, Any]:
    size = len(prefix)
    place: dict[str, Any] = {}
    below: dict[str, None] = {}
    for route in routes:
        if route.path[:size] != prefix:
            continue
        if len(route.path) == size:
            place[f"{route.method.lower()}_service"] = _service(route)
        else:
            below[route.path[size]] = None
    if recurse and below:
        argument = next((each for each in _ARGS if each in below), None)
        if argument is not None:
            tree = _tree(routes, (*prefix, argument), recurse)
            found: Any = {"dynamic_dispatch": {"arg": _ARGS[argument], "tree": tree}}
        else:
            names = sorted(below)
            trees = [_tree(routes, (*prefix, name), recurse) for name in names]
            pairs = zip(names, trees, strict=True)
            found = {"suffixes": [{"name": name, "tree": tree} for name, tree in pairs]}
        place["subdirs"] = found
    return {"static": place}


def _service(route: Route) -> dict[str, Any]:
    told = {} if route.body is None else {"input": _schemas(route.body)}
    return {
        "meth": route.method,
        "path": [_ARGS.get(each, each) for each in route.path],
        "description": route.summary,
        "query": [{"name": each.name, "kind": _kind(each)} for each in route.query],
        **told,
        "output": _schemas(route.answer),
        "error": _schemas(None),
    }


def _kind(query: Query) -> dict[str, Any]:
    match query.kind:
        case "flag":
            return {"flag": {}}
        case "filter":
            return {"multi": {"id": "single", "name": "p2p.point.state_filter"}}
        case "timespan":
            of = {"id": "single", "name": "timespan", "descr": "seconds"}
            return {"single": of}


def _schemas(kind: Any) -> dict[str, Any]:
    of = {"type": "object"} if kind is None else _old(schema(kind))
    return {"json_schema": {"$schema": _DRAFT, **of}, "binary_schema": _ANY_BYTES}


def _old(value: Any) -> Any:
    """Say in the words of draft 4 what newer drafts say."""
    if isinstance(value, list):
        return [_old(each) for each in cast("list[object]", value)]
    if not isinstance(value, dict):
        return value
    made: dict[str, Any] = {}
    for name, each in cast("dict[str, Any]", value).items():
        if name == "prefixItems":
            made["items"] = _old(each)
        elif name == "anyOf":
            made["oneOf"] = _old(each)
        elif name == "type" and isinstance(each, list):
            made["oneOf"] = [{"type": of} for of in cast("list[object]", each)]
        else:
            made[name] = _old(each)
    return made
