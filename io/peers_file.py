"""``peers.json``: the peers that a node knows, in the reference's format.

A list of objects:

===========================  ===========================================================
field                        value
===========================  ===========================================================
peer_id                      Base58Check
created                      moment at which it was first met
trusted                      boolean; absent: false
peer_metadata                what the application remembers of it
events                       its last hundred events, oldest first; absent: none
last_failed_connection       ``[{"addr", "port"?}, moment]``; absent: never
last_rejected_connection     the same
last_established_connection  the same
last_disconnection           the same
===========================  ===========================================================

An ``addr`` is IPv6 text, IPv4 behind ``::ffff:``; an event is ``{"kind", "timestamp",
"addr", "port"?}``.  Points are not kept: those where a peer was last met, if it told its
port, are known again after loading, with neither trust nor back-off.

Loading takes what it can.  A peer without a valid ``peer_id`` is left out; of another
what is wrong is as if it were absent, and trust that is no boolean is none.  A file in
which anything is wrong is set aside as a whole.

Source: the peers file of the reference node, 2026; it reads those of 2019.  Where that
refuses to start, or overwrites what it cannot read, this does neither.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Generic, TypeVar, cast

import attrs
import cattrs

from ..fsm.machine import Trigger, shared
from ..fsm.peer import Contact, PeerInfo
from ..fsm.point import EVENTS_MAX
from ..fsm.pool import Pool
from ..spec.address import Address
from ..spec.convert import CONVERTER
from ..spec.identity import PeerId
from ..spec.metadata import TezosMetadata
from ..spec.point import PORT_MAX, ConnectionId, Point
from ..spec.pool_events import (
    PeerEvent,
    PeerEventKind,
    connection_id_json,
    peer_event_json,
)
from .json_file import FilePath, Loaded, is_null, load_or_set_aside, write_text
from .timestamps import Clocks, format_time, parse_time

T = TypeVar("T")
Meta = TypeVar("Meta")

#: Larger files are neither read nor written: 65,535 peers with all that can be known of
#: them take 1.2 GB.
PEERS_MAX_SIZE: Final = 1 << 31

_LASTS: Final = {
    "last_failed_connection": "last_failed",
    "last_rejected_connection": "last_rejected",
    "last_established_connection": "last_established",
    "last_disconnection": "last_disconnection",
}
_FIELDS: Final = ("peer_id", "created", "trusted", "peer_metadata", "events", *_LASTS)
_KINDS: Final = {kind.name.lower(): kind for kind in PeerEventKind}


@attrs.frozen
class MetadataJson(Generic[Meta]):
    """How what is remembered of a peer becomes JSON, and JSON that.

    Attributes:
        new: makes what is remembered of a peer that was never met.
        read: makes it of JSON; may raise anything but what ends a program.
        write: makes JSON of it.
    """

    new: Callable[[], Meta]
    read: Callable[[Any], Meta]
    write: Callable[[Meta], Any]


def _read_tezos(value: Any) -> TezosMetadata:
    return CONVERTER.structure(value, TezosMetadata)


#: The counters of the Tezos shell.
TEZOS_METADATA: Final = MetadataJson(TezosMetadata, _read_tezos, CONVERTER.unstructure)


# -- writing ---------------------------------------------------------------------------


def peers_json(
    peers: Iterable[PeerInfo[Meta]],
    wall_of: Callable[[float], float],
    metadata: MetadataJson[Meta],
) -> list[dict[str, Any]]:
    """Return the document of some peers.

    Args:
        peers: which: the values of ``pool.known_peers``.
        wall_of: seconds of the epoch of a monotonic moment; see `Clocks`.
        metadata: of what kind they are.
    """
    return [_peer_json(info, wall_of, metadata) for info in peers]


def format_peers(document: Iterable[Any]) -> str:
    """Return the text of ``peers.json``: a list, each peer on a line.

    Raises:
        ValueError: metadata that are no JSON.
        TypeError: the same.
    """
    lines = [json.dumps(each, allow_nan=False) for each in document]
    return "[" + ",\n".join(lines) + "]\n"


def save_peers(
    path: FilePath,
    peers: Iterable[PeerInfo[Meta]],
    wall_of: Callable[[float], float],
    metadata: MetadataJson[Meta],
) -> None:
    """Write ``peers.json``, complete or not at all; to the null device, nothing.

    Raises:
        OSError: it cannot be written; the old one is as it was.
        ValueError: metadata that are no JSON; the same.
        TypeError: the same.
    """
    if not is_null(path):
        text = format_peers(peers_json(peers, wall_of, metadata))
        write_text(path, text, PEERS_MAX_SIZE)


def _peer_json(
    info: PeerInfo[Meta],
    wall_of: Callable[[float], float],
    metadata: MetadataJson[Meta],
) -> dict[str, Any]:
    def time(at: float) -> str:
        return format_time(wall_of(at))

    entry: dict[str, Any] = {"peer_id": str(info.peer_id), "created": time(info.created)}
    if info.trusted:
        entry["trusted"] = True
    entry["peer_metadata"] = metadata.write(info.metadata)
    if info.events:
        entry["events"] = [peer_event_json(each, time(each.at)) for each in info.events]
    for name, attribute in _LASTS.items():
        contact: Contact | None = getattr(info, attribute)
        if contact is not None:
            entry[name] = [connection_id_json(contact.id_point), time(contact.at)]
    return entry


# -- reading ---------------------------------------------------------------------------


@attrs.frozen
class _Reader(Generic[Meta]):
    """Reads one document, and gathers what is wrong in it."""

    clocks: Clocks
    metadata: MetadataJson[Meta]
    runner: Callable[..., Mapping[str, Trigger]]
    faults: list[str]

    def peers(self, document: Any) -> tuple[PeerInfo[Meta], ...]:
        if not isinstance(document, list):
            self.faults.append(f"a list wanted, not {_type(document)}")
            return ()
        found: dict[PeerId, PeerInfo[Meta]] = {}
        for number, entry in enumerate(cast("list[object]", document)):
            info = self.peer(entry, f"[{number}]")
            if info is None:
                continue
            if info.peer_id in found:
                self.faults.append(f"[{number}]: {info.peer_id} is given more than once")
            found.setdefault(info.peer_id, info)
        return tuple(found.values())

    def peer(self, entry: Any, path: str) -> PeerInfo[Meta] | None:
        if not isinstance(entry, dict):
            self.faults.append(f"{path}: an object wanted, not {_type(entry)}")
            return None
        fields = cast("dict[str, Any]", entry)
        unknown = [ascii(name) for name in fields if name not in _FIELDS]
        if unknown:
            self.faults.append(f"{path}: unknown fields: {', '.join(unknown)}"[:200])
        peer_id = self.field(fields, path, "peer_id", _peer_id, None)
        if peer_id is None:
            return None
        metadata = self.field(fields, path, "peer_metadata", self.metadata.read, None)
        info = PeerInfo(
            peer_id,
            self.field(fields, path, "created", self.moment, self.clocks.now),
            self.metadata.new() if metadata is None else metadata,
            self.field(fields, path, "trusted", _flag, False, optional=True),
            runner=self.runner,
        )
        for name, attribute in _LASTS.items():
            contact = self.field(fields, path, name, self.contact, None, optional=True)
            setattr(info, attribute, contact)
        info.remember(self.field(fields, path, "events", self.events, (), optional=True))
        return info

    def field(
        self,
        fields: Mapping[str, Any],
        path: str,
        name: str,
        read: Callable[[Any], T],
        default: T,
        *,
        optional: bool = False,
    ) -> T:
        if name not in fields:
            if not optional:
                self.faults.append(f"{path}.{name}: missing")
            return default
        try:
            return read(fields[name])
        except Exception as exc:  # an application's reader may raise any
            self.faults.append(f"{path}.{name}: {_why(exc)}"[:200])
            return default

    def moment(self, value: Any) -> float:
        return self.clocks.at_of(parse_time(value))

    def contact(self, value: Any) -> Contact:
        if not isinstance(value, list) or len(cast("list[object]", value)) != 2:
            raise ValueError("a pair [{addr, port}, moment] wanted")
        where, when = cast("list[object]", value)
        return Contact(_id_point(where, ()), self.moment(when))

    def events(self, value: Any) -> tuple[PeerEvent, ...]:
        if not isinstance(value, list):
            raise TypeError(f"a list wanted, not {_type(value)}")
        # Those before would be dropped again.
        return tuple(map(self.event, cast("list[object]", value)[-EVENTS_MAX:]))

    def event(self, value: Any) -> PeerEvent:
        id_point = _id_point(value, ("kind", "timestamp"))
        kind = _KINDS.get(value["kind"]) if isinstance(value["kind"], str) else None
        if kind is None:
            raise ValueError(f"{value['kind']!a} is no kind of event")
        return PeerEvent(kind, self.moment(value["timestamp"]), id_point)


def _type(value: object) -> str:
    return type(value).__name__


def _peer_id(value: object) -> PeerId:
    return CONVERTER.structure(value, PeerId)


def _flag(value: object) -> bool:
    return CONVERTER.structure(value, bool)


def _id_point(value: Any, others: tuple[str, ...]) -> ConnectionId:
    """Read ``addr`` and ``port`` of an object that must also have some other fields."""
    if not isinstance(value, dict):
        raise TypeError(f"an object wanted, not {_type(value)}")
    fields = cast("dict[str, Any]", value)
    missing = [name for name in ("addr", *others) if name not in fields]
    unknown = [name for name in fields if name not in ("addr", "port", *others)]
    if missing or unknown:
        raise ValueError(f"missing: {missing}, unknown: {unknown}")
    address = CONVERTER.structure(fields["addr"], Address)
    port = fields.get("port")
    if "port" in fields and (type(port) is not int or not 0 <= port <= PORT_MAX):
        raise ValueError(f"port {ascii(port)[:40]} is not in 0..{PORT_MAX}")
    return ConnectionId(address, port)


def _why(exc: Exception) -> str:
    if not isinstance(exc, cattrs.BaseValidationError):
        return str(exc) or type(exc).__name__
    faults = cattrs.transform_error(exc, path="$", format_exception=_phrase)
    return "; ".join(faults)


def _phrase(exc: BaseException, _: type[Any] | None) -> str:
    return str(exc) or type(exc).__name__


def read_peers(
    document: Any,
    faults: list[str],
    clocks: Clocks,
    metadata: MetadataJson[Meta],
    runner: Callable[..., Mapping[str, Trigger]] = shared,
) -> tuple[PeerInfo[Meta], ...]:
    """Return the peers of a document, as far as they can be read.  Never raises.

    Args:
        document: what JSON text makes.
        faults: what is wrong is added to it, one line each.
        clocks: the present; moments of the file that are yet to come are now.
        metadata: of what kind they are.
        runner: that of the pool for which they are meant.
    """
    return _Reader(clocks, metadata, runner, faults).peers(document)


def load_peers(
    path: FilePath,
    clocks: Clocks,
    metadata: MetadataJson[Meta],
    runner: Callable[..., Mapping[str, Trigger]] = shared,
) -> Loaded[tuple[PeerInfo[Meta], ...]]:
    """Load ``peers.json``; one that is not as it should be is set aside.  Never raises.

    For who holds the data directory; others read with `json_file.read_json` and
    `read_peers`, which change nothing.
    """

    def read(document: Any, faults: list[str]) -> tuple[PeerInfo[Meta], ...]:
        return read_peers(document, faults, clocks, metadata, runner)

    return load_or_set_aside(path, PEERS_MAX_SIZE, read, ())


def restore_peers(pool: Pool[Meta], peers: Iterable[PeerInfo[Meta]], now: float) -> None:
    """Let a pool know loaded peers, and the points where they were last met.

    A peer that the pool knows already stays as it is.  Best done before the node starts;
    trusted points may be registered before or after.

    Args:
        pool: whose.
        peers: what `load_peers` gave, for the pool's own kind of metadata and runner.
        now: the present, of the pool's clock.
    """
    for info in peers:
        if pool.known_peers.setdefault(info.peer_id, info) is not info:
            continue
        seen = info.last_seen
        if seen is not None and seen.id_point.port:
            point = Point(seen.id_point.address, seen.id_point.port)
            pool.register_point(point, now)
