"""The interface as an OpenAPI document, and its shapes as JSON Schema.

Both follow from the table of routes and from the classes of `spec.rpc`.

Source: OpenAPI 3.1; JSON Schema 2020-12.
"""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Iterable
from typing import Any, Final

import attrs

from ...spec import rpc
from ...spec.address import Address
from ...spec.identity import PeerId
from ...spec.point import ConnectionId, Point
from ...spec.pool_events import (
    POOL_EVENTS,
    UNNUMBERED,
    PeerEvent,
    PeerEventKind,
    PointEvent,
    PointEventKind,
    PoolEvent,
)
from ...spec.rpc import Generation
from .routes import PEER, POINT, Nothing, Query, Route

_MOMENT: Final = {"type": "string", "description": "RFC 3339, offset -00:00"}
_PEER_ID: Final = {"type": "string", "pattern": "^id[1-9A-HJ-NP-Za-km-z]{28}$"}
_POINT: Final = {"type": "string", "description": "1.2.3.4:9732 or [2001:db8::1]:9732"}
_ADDRESS: Final = {"type": "string", "description": "IPv6 text, ::ffff:1.2.3.4 for IPv4"}
_ID_POINT: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"addr": _ADDRESS, "port": {"type": "integer"}},
    "required": ["addr"],
}
_CHAIN_NAME: Final[dict[str, Any]] = {"type": ["string", "object"]}
_ERROR: Final[dict[str, Any]] = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"kind": {"type": "string"}, "id": {"type": "string"}},
        "required": ["kind"],
    },
}


def _names(kinds: Iterable[enum.Enum]) -> dict[str, Any]:
    return {"type": "string", "enum": [kind.name.lower() for kind in kinds]}


_KNOWN: Final[dict[Any, dict[str, Any]]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    Any: {},
    rpc.Int64: {"type": "string", "pattern": "^-?[0-9]+$"},
    rpc.Score: {"type": "number"},
    rpc.Timestamp: _MOMENT,
    PeerId: _PEER_ID,
    Point: _POINT,
    Address: _ADDRESS,
    ConnectionId: _ID_POINT,
    Nothing: {"type": "object", "additionalProperties": False},
    PeerEvent: {
        "type": "object",
        "properties": {
            "kind": _names(PeerEventKind),
            "timestamp": _MOMENT,
            **_ID_POINT["properties"],
        },
        "required": ["kind", "timestamp", "addr"],
    },
    PointEvent: {
        "type": "array",
        "prefixItems": [
            _MOMENT,
            {
                "type": "object",
                "properties": {
                    "event_kind": _names(PointEventKind),
                    "p2p_peer_id": _PEER_ID,
                },
                "required": ["event_kind"],
            },
        ],
    },
    PoolEvent: {
        "type": "object",
        "properties": {
            "event": {
                "type": "string",
                "enum": [it.name for it in (*POOL_EVENTS, *UNNUMBERED)],
            }
        },
        "required": ["event"],
    },
}


def schema(kind: Any) -> dict[str, Any]:
    """Return the JSON Schema of a shape."""
    if kind in _KNOWN:
        return _KNOWN[kind]
    origin, of = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        some = [schema(each) for each in of if each is not type(None)]
        return some[0]
    if origin is list:
        return {"type": "array", "items": schema(of[0])}
    if origin is tuple:
        items = [schema(each) for each in of]
        return {"type": "array", "prefixItems": items}
    if origin is dict:
        return {"type": "object"}
    if issubclass(kind, enum.Enum):
        return _names(kind)
    return _object(kind)


def _object(kind: type[Any]) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    properties: dict[str, Any] = {}
    required: list[str] = []
    for field in attrs.fields(kind):
        of = hints[field.name]
        made = _CHAIN_NAME if field.name == "chain_name" else schema(of)
        if field.default is not None:
            required.append(field.name)
            if type(None) in typing.get_args(of):  # null, not left out
                made = {"anyOf": [made, {"type": "null"}]}
        properties[field.name] = made
    strict = kind in (rpc.PointChange, rpc.PeerChange)
    extra = {"additionalProperties": False} if strict else {}
    needed = {"required": required} if required and not strict else {}
    return {"type": "object", "properties": properties, **needed, **extra}


# -- the document ----------------------------------------------------------------------


def _parameter(query: Query) -> dict[str, Any]:
    of: dict[str, Any]
    match query.kind:
        case "flag":
            of = {"type": "string", "enum": ["", "true", "false", "yes", "no"]}
        case "filter":
            of = {"type": "array", "items": {"type": "string", "enum": [*query.values]}}
        case "timespan":
            of = {"type": "number", "minimum": 0, "maximum": 600}
    return {
        "name": query.name,
        "in": "query",
        "description": query.meaning,
        "schema": of,
    }


_IN_PATH: Final = {
    PEER: {"name": "peer_id", "in": "path", "required": True, "schema": _PEER_ID},
    POINT: {"name": "point", "in": "path", "required": True, "schema": _POINT},
}
_PLAIN: Final = {"text/plain": {"schema": {"type": "string"}}}


def _responses(route: Route) -> dict[str, Any]:
    of = {"type": "object"} if route.answer is None else schema(route.answer)
    media: dict[str, Any] = {"application/json": {"schema": of}}
    if route.binary:
        media["application/octet-stream"] = {"schema": {}}
    found: dict[str, Any] = {
        "200": {"description": "done", "content": media},
        "400": {"description": "cannot be read", "content": _PLAIN},
        "401": {"description": "not allowed where the request came in"},
        "403": {"description": "another host is named, or a page in a browser asks"},
        "406": {"description": "no form that is wanted"},
    }
    if route.absent:
        found["404"] = {"description": "not known"}
    if route.body is not None:
        found["415"] = {"description": "a form that is not read"}
    if route.streams:
        found["503"] = {"description": "too many streams", "content": _PLAIN}
    if route.name == "connect":
        content = {"application/json": {"schema": _ERROR}}
        found["500"] = {"description": "no connection came about", "content": content}
    return found


def openapi(routes: Iterable[Route], generation: Generation) -> dict[str, Any]:
    """Return the document of one generation."""
    paths: dict[str, Any] = {}
    for route in routes:
        path = "/" + "/".join(route.path).replace("<", "{").replace(">", "}")
        in_path = [_IN_PATH[each] for each in route.path if each in _IN_PATH]
        operation: dict[str, Any] = {
            "operationId": f"{route.method.lower()}_{route.name.strip('_')}",
            "summary": route.summary,
            "parameters": [*in_path, *map(_parameter, route.query)],
            "responses": _responses(route),
        }
        if route.body is not None:
            content = {"application/json": {"schema": schema(route.body)}}
            operation["requestBody"] = {"content": content, "required": False}
        paths.setdefault(path, {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "tezos-p2p",
            "version": str(generation.value),
            "description": "The admin interface of a node.",
        },
        "paths": paths,
    }
