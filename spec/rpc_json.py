"""Writes and reads the JSON of the admin interface, in either generation; see `rpc`.

Of what others answer unknown fields are passed over; of what a client tells a node they
are faults.  A calendar is not of this layer: who makes an `RpcJson` gives it one.

Source: as the `rpc` module.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast

import attrs
import cattrs
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from .address import Address
from .convert import CONVERTER, parse_json, shaped
from .identity import PeerId
from .metadata import ByKind, TezosMetadata
from .point import ConnectionId
from .pool_events import (
    PeerEvent,
    PeerEventKind,
    PointEvent,
    PointEventKind,
    PoolEvent,
    connection_id_json,
    peer_event_json,
    point_event_json,
    pool_event_json,
    read_connection_id,
    read_pool_event,
)
from .rpc import (
    AclChange,
    ConnectionInfo,
    Generation,
    Int64,
    PeerChange,
    PeerInfo,
    PeerState,
    PointChange,
    PointInfo,
    PointState,
    PointStateKind,
    RpcError,
    Score,
    Stat,
    Timestamp,
)
from .version import Version

T = TypeVar("T")

_INT64: Final = re.compile(r"-?[0-9]{1,19}")
#: Whole numbers up to this are written without a point; above, doubles skip some.
_WHOLE: Final = float(1 << 53)

#: Bytes of the longest name of a chain: none longer fits a connection message.
_NAME_MAX: Final = 65_535
_NO_NAME: Final = f"a string wanted, or the bytes of one, {_NAME_MAX} at most"
_INT31: Final = range(-(1 << 30), 1 << 30)
_UINT16: Final = range(1 << 16)

_NOTHING: Final = TezosMetadata()
# One by one: the hook for all of them that older versions of cattrs have goes first.
_ENUMS: Final = (PeerState, PointStateKind, AclChange)
_TOLD: Final = (PointChange, PeerChange)


def _int64_in(value: object, _: object) -> Int64:
    if not isinstance(value, str):
        raise TypeError(f"string of digits wanted, not {type(value).__name__}")
    if not _INT64.fullmatch(value) or not -(1 << 63) <= int(value) < 1 << 63:
        raise ValueError("not a 64-bit number in decimal digits")
    return Int64(int(value))


def _within(bounds: range) -> Callable[[object, object], int]:
    """Return what reads a whole number within bounds."""

    def read(value: object, _: object) -> int:
        if type(value) is not int:
            raise TypeError(f"a whole number wanted, not {type(value).__name__}")
        if value not in bounds:
            raise ValueError(f"a number from {bounds[0]} to {bounds[-1]} wanted")
        return value

    return read


def _octet(value: object) -> int:
    return _OCTET_IN(value, int)


_OCTET_IN: Final = _within(range(256))
_INT31_IN: Final = _within(_INT31)
_UINT16_IN: Final = _within(_UINT16)


def _int31_out(value: int) -> int:
    return min(max(value, _INT31[0]), _INT31[-1])


def _score_in(value: object, _: object) -> Score:
    if type(value) not in (int, float):
        raise TypeError(f"number wanted, not {type(value).__name__}")
    try:
        return Score(float(cast("float", value)))
    except OverflowError:
        raise ValueError("too large a number") from None


def _score_out(value: float) -> int | float:
    if value - value:  # neither JSON nor of any use
        return 0
    return int(value) if abs(value) <= _WHOLE and value == int(value) else value


def _chain_name_in(value: Any, _: object) -> str:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass").decode("latin-1")
    try:
        found = value["invalid_utf8_string"]
    except (TypeError, KeyError):
        found = None
    # A number alone would make `bytes` as many zeros.
    octets = cast("list[object]", found) if isinstance(found, list) else [None]
    if len(octets) > _NAME_MAX:
        raise ValueError(_NO_NAME)
    try:
        return bytes(map(_octet, octets)).decode("latin-1")
    except (TypeError, ValueError):
        raise ValueError(_NO_NAME) from None


def _chain_name_out(value: str) -> str | dict[str, list[int]]:
    raw = value.encode("latin-1")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return {"invalid_utf8_string": list(raw)}


def _enum_in(value: object, kind: type[enum.Enum]) -> enum.Enum:
    names = {each.name.lower(): each for each in kind}
    if not isinstance(value, str) or value not in names:
        raise ValueError(f"{value!r:.40} is none of {', '.join(names)}")
    return names[value]


def _is_pool_event(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, PoolEvent)


def _connection_id_in(value: Any, _: object) -> ConnectionId:
    return read_connection_id(value)


def _peer_event_in(value: Any, read_time: Callable[[object], float]) -> PeerEvent:
    where = read_connection_id(value)
    kind = _enum_in(value.get("kind"), PeerEventKind)
    return PeerEvent(
        cast("PeerEventKind", kind), read_time(value.get("timestamp")), where
    )


def _point_event_in(value: Any, read_time: Callable[[object], float]) -> PointEvent:
    try:
        time, told = value
        kind, peer_id = told["event_kind"], told.get("p2p_peer_id")
    except (TypeError, ValueError, KeyError, AttributeError):
        raise ValueError('[timestamp, {"event_kind", "p2p_peer_id"?}] wanted') from None
    return PointEvent(
        cast("PointEventKind", _enum_in(kind, PointEventKind)),
        read_time(time),
        None if peer_id is None else CONVERTER.structure(peer_id, PeerId),
    )


def _metadata_in(value: object, _: object) -> Any:
    try:
        return CONVERTER.structure(value, TezosMetadata)
    except (cattrs.BaseValidationError, ValueError, TypeError):
        return value  # another application's


def _omitting(
    kind: type[Any], write: Callable[[Any], dict[str, Any]]
) -> Callable[[Any], dict[str, Any]]:
    """Have fields left out that are None, in whose place the others stay."""
    optional = {each.name for each in attrs.fields(kind) if each.default is None}

    def written(value: Any) -> dict[str, Any]:
        data = write(value)
        for name in optional:
            if name in data and data[name] is None:
                del data[name]
        return data

    return written


def _of_object(read: Callable[[Any, Any], T]) -> Callable[[Any, Any], T]:
    def from_object(value: Any, kind: Any) -> T:
        if not isinstance(value, dict):
            raise TypeError(f"an object wanted, not {type(value).__name__}")
        return read(cast("dict[str, Any]", value), kind)

    return from_object


def _error_in(value: Any, _: object) -> RpcError:
    if not isinstance(value, dict):
        raise TypeError(f"an object wanted, not {type(value).__name__}")
    facts = dict(cast("dict[str, Any]", value))
    kind, id_ = facts.pop("kind", ""), facts.pop("id", "")
    if not isinstance(kind, str) or not isinstance(id_, str):
        raise TypeError("kind and id are strings")
    return RpcError(kind, id_, facts)


def _error_out(error: RpcError) -> dict[str, Any]:
    id_ = {"id": error.id} if error.id else {}
    return {"kind": error.kind, **id_, **error.facts}


@attrs.frozen(eq=False)
class RpcJson:
    """Writes and reads one generation of the interface.

    Args:
        generation: which.
        write_time: makes text of seconds of the epoch.
        read_time: makes seconds of the epoch of a JSON value; may raise ValueError.
    """

    generation: Generation
    _write_time: Callable[[float], str]
    _read_time: Callable[[object], float]
    _converter: cattrs.Converter = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Make the converter."""
        object.__setattr__(self, "_converter", self._make())

    def data(self, value: object) -> Any:
        """Return a value as data that `json.dumps` takes; it is not to be changed."""
        return self._converter.unstructure(value)

    def text(self, value: object) -> str:
        """Return a value as JSON without blanks."""
        return minified(self.data(value))

    def read(self, text: str, kind: type[T], name: str) -> T:
        """Read JSON text.

        Args:
            text: the document.
            kind: what it has to be, ``list[ConnectionInfo]`` or `rpc.Peers` for example.
            name: what the document is called in error messages.

        Raises:
            ShapeError: every fault at once.
        """
        return self.shape(parse_json(text, name), kind, name)

    def shape(self, document: object, kind: type[T], name: str) -> T:
        """Make a value of what `json.loads` returns; see `read`."""
        return shaped(document, kind, name, self._converter)

    def _point_event_out(self, event: PointEvent) -> list[Any]:
        data = point_event_json(event, self._write_time(event.at))
        if event.kind in _NAMELESS_2019 and self.generation is Generation.G2019:
            data[1]["event_kind"] = "rejecting_request"
        return data

    def _peer_event_out(self, event: PeerEvent) -> dict[str, Any]:
        data = peer_event_json(event, self._write_time(event.at))
        if event.kind is PeerEventKind.DISCONNECTION:
            data["kind"] = PeerEventKind.EXTERNAL_DISCONNECTION.name.lower()
        return data

    def _make(self) -> cattrs.Converter:
        made = CONVERTER.copy(forbid_extra_keys=False)
        read = self._read_time
        made.register_unstructure_hook(Address, _v6_text)
        made.register_unstructure_hook(Timestamp, self._write_time)
        made.register_structure_hook(Timestamp, lambda value, _: read(value))
        made.register_unstructure_hook(Int64, str)
        made.register_structure_hook(Int64, _int64_in)
        made.register_unstructure_hook(Score, _score_out)
        made.register_structure_hook(Score, _score_in)
        made.register_unstructure_hook(ConnectionId, connection_id_json)
        made.register_structure_hook(ConnectionId, _connection_id_in)
        for each in _ENUMS:
            made.register_structure_hook(each, _enum_in)
        made.register_unstructure_hook(PointEvent, self._point_event_out)
        made.register_structure_hook(PointEvent, lambda it, _: _point_event_in(it, read))
        made.register_unstructure_hook(PeerEvent, self._peer_event_out)
        made.register_structure_hook(PeerEvent, lambda it, _: _peer_event_in(it, read))
        made.register_unstructure_hook_func(_is_pool_event, pool_event_json)
        made.register_structure_hook(PoolEvent, lambda it, _: read_pool_event(it))
        made.register_unstructure_hook(RpcError, _error_out)
        made.register_structure_hook(RpcError, _error_in)
        name = override(
            unstruct_hook=_chain_name_out,
            struct_hook=_chain_name_in,
        )
        made.register_unstructure_hook(
            Version, make_dict_unstructure_fn(Version, made, chain_name=name)
        )
        short = override(struct_hook=_UINT16_IN)
        made.register_structure_hook(
            Version,
            make_dict_structure_fn(
                Version,
                made,
                chain_name=name,
                distributed_db_version=short,
                p2p_version=short,
            ),
        )
        rate = override(struct_hook=_INT31_IN, unstruct_hook=_int31_out)
        rates: dict[str, Any] = {"current_inflow": rate, "current_outflow": rate}
        made.register_structure_hook(Stat, make_dict_structure_fn(Stat, made, **rates))
        made.register_unstructure_hook(
            Stat, make_dict_unstructure_fn(Stat, made, **rates)
        )
        made.register_structure_hook(
            ConnectionInfo,
            make_dict_structure_fn(ConnectionInfo, made, remote_socket_port=short),
        )
        old = override(omit=True if self.generation is Generation.G2019 else None)
        by_kind = make_dict_unstructure_fn(
            ByKind, made, checkpoint=old, protocol_branch=old, predecessor_header=old
        )
        made.register_unstructure_hook(ByKind, by_kind)
        nothing = made.unstructure(_NOTHING)
        counters_out = make_dict_unstructure_fn(TezosMetadata, made)
        # Most peers were met and no more: theirs are made once, and not to be changed.
        made.register_unstructure_hook(
            TezosMetadata, lambda it: nothing if it == _NOTHING else counters_out(it)
        )
        for kind in (PointState, PeerInfo, PointChange, PeerChange):
            write = make_dict_unstructure_fn(kind, made)
            made.register_unstructure_hook(kind, _omitting(kind, write))
        point = make_dict_unstructure_fn(PointInfo, made, expected_peer_id=old)
        made.register_unstructure_hook(PointInfo, _omitting(PointInfo, point))
        counters = override(struct_hook=_metadata_in)
        made.register_structure_hook(
            PeerInfo, make_dict_structure_fn(PeerInfo, made, peer_metadata=counters)
        )
        for kind in _TOLD:
            change = make_dict_structure_fn(kind, made, _cattrs_forbid_extra_keys=True)
            made.register_structure_hook(kind, _of_object(change))
        return made


_NAMELESS_2019: Final = (
    PointEventKind.CONNECTION_ESTABLISHED,
    PointEventKind.DISCONNECTION,
    PointEventKind.EXTERNAL_DISCONNECTION,
)


def _v6_text(address: Address) -> str:
    return address.v6_text


def minified(data: object) -> str:
    """Return data as JSON text without blanks."""
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
