"""``acl.json`` and ``anchors.json``: what an operator decided, and whom to dial first.

``acl.json``, of our own format, version 1:

==============  ========================================================================
field           value
==============  ========================================================================
version         1
banned          addresses and prefixes: ``192.0.2.1``, ``192.0.2.0/24``, ``2001:db8::/32``
banned_peers    peer ids
allowed         addresses and prefixes that are never greylisted
trusted_points  points, with who is expected there: ``192.0.2.1:9732#id...``, or anybody
trusted_peers   peer ids
==============  ========================================================================

``anchors.json``, version 1: ``version``, and ``anchors``, points with the longest
connected first.

All lists may be absent.  What an operator decided about points is kept nowhere else; that
peers are trusted, ``peers.json`` says too, and where both do this file wins.  Points of
the configuration are trusted without it, and are not in it.

Loading takes what it can: an entry that is wrong is left out, and the file is set aside
as a whole, as is one of a later version.

Source: our own; the reference node keeps neither.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any, Final, TypeVar, cast

import attrs

from ..fsm.acl import Acl, StaticLists
from ..fsm.pool import Pool
from ..fsm.prefix import Prefix
from ..spec.identity import PeerId
from ..spec.point import Endpoint, Point
from .json_file import (
    FilePath,
    Loaded,
    format_json,
    is_null,
    load_or_set_aside,
    write_text,
)

T = TypeVar("T")

#: Version of both formats.
VERSION: Final = 1
#: Larger files are neither read nor written.
ACL_MAX_SIZE: Final = 1 << 24
ANCHORS_MAX_SIZE: Final = 1 << 16


@attrs.frozen
class OperatorLists:
    """What an operator decided, as it is kept between two runs.

    Attributes:
        static: bans, and what is exempt from greylisting.
        trusted_points: points, and who is expected there, or None.
        trusted_peers: peers.
    """

    static: StaticLists = attrs.field(factory=StaticLists)
    trusted_points: tuple[tuple[Point, PeerId | None], ...] = ()
    trusted_peers: tuple[PeerId, ...] = ()


# -- a node's lists --------------------------------------------------------------------


def lists_of(
    pool: Pool[Any], acl: Acl, configured: Collection[Point] = ()
) -> OperatorLists:
    """Return what is to be kept of a node's lists.

    Args:
        pool: who is trusted.
        acl: who is banned, and who is exempt.
        configured: points that are trusted by configuration, and not kept.
    """
    points = [
        (info.point, info.expected)
        for info in pool.known_points.values()
        if info.trusted and info.point not in configured
    ]
    peers = [info.peer_id for info in pool.known_peers.values() if info.trusted]
    return OperatorLists(acl.static, tuple(points), tuple(peers))


def restore_lists(pool: Pool[Any], acl: Acl, lists: OperatorLists, now: float) -> None:
    """Give a node's lists what was kept.

    Best done before the node starts, and after ``peers.json`` was restored: who is
    trusted there and not here is trusted no more.

    Args:
        pool: where trust goes.
        acl: where bans go; they replace what is there.
        lists: what `load_acl` gave.
        now: the present, of the pool's clock.
    """
    acl.restore(lists.static)
    for info in pool.known_peers.values():
        info.trusted = False
    for peer_id in lists.trusted_peers:
        pool.register_peer(peer_id, now).trusted = True
    for point, expected in lists.trusted_points:
        pool.register_point(point, now, trusted=True, expected=expected)


# -- documents -------------------------------------------------------------------------


def acl_json(lists: OperatorLists) -> dict[str, Any]:
    """Return the document of ``acl.json``."""
    static = lists.static
    points = lists.trusted_points
    return {
        "version": VERSION,
        "banned": [str(prefix) for prefix in static.banned],
        "banned_peers": [str(peer_id) for peer_id in static.banned_peers],
        "allowed": [str(prefix) for prefix in static.allowed],
        "trusted_points": [
            f"{point}#{expected}" if expected else str(point)
            for point, expected in points
        ],
        "trusted_peers": [str(peer_id) for peer_id in lists.trusted_peers],
    }


def _trusted_point(text: str) -> tuple[Point, PeerId | None]:
    endpoint = Endpoint.parse(text)
    return endpoint.point(), endpoint.peer_id


class _Document:
    """Reads one document, and gathers what is wrong in it."""

    def __init__(self, document: Any, faults: list[str], names: tuple[str, ...]) -> None:
        self.faults = faults
        self.fields: dict[str, Any] = {}
        if not isinstance(document, dict):
            faults.append(f"an object wanted, not {type(document).__name__}")
            return
        fields = cast("dict[str, Any]", document)
        version = fields.get("version")
        if type(version) is not int or version != VERSION:
            shown = f"{version!a}"[:40] if "version" in fields else "missing"
            faults.append(f"version: {shown}; {VERSION} is all that is known here")
            return
        unknown = [ascii(name) for name in fields if name not in ("version", *names)]
        if unknown:
            faults.append(f"unknown fields: {', '.join(unknown)}"[:200])
        self.fields = fields

    def list(self, name: str, parse: Callable[[str], T]) -> tuple[T, ...]:
        entries = self.fields.get(name, [])
        if not isinstance(entries, list):
            self.faults.append(f"{name}: a list wanted, not {type(entries).__name__}")
            return ()
        # Each once, in order.
        found: dict[T, None] = {}
        for number, entry in enumerate(cast("list[object]", entries)):
            try:
                if not isinstance(entry, str):
                    raise TypeError(f"a text wanted, not {type(entry).__name__}")
                found[parse(entry)] = None
            except (TypeError, ValueError) as exc:
                self.faults.append(f"{name}[{number}]: {exc}"[:200])
        return tuple(found)


_LISTS: Final = (
    "banned",
    "banned_peers",
    "allowed",
    "trusted_points",
    "trusted_peers",
)


def read_acl(document: Any, faults: list[str]) -> OperatorLists:
    """Return the lists of a document, as far as they can be read.  Never raises.

    Args:
        document: what JSON text makes.
        faults: what is wrong is added to it, one line each.
    """
    read = _Document(document, faults, _LISTS)
    static = StaticLists(
        read.list("banned", Prefix.parse),
        read.list("banned_peers", PeerId.parse),
        read.list("allowed", Prefix.parse),
    )
    return OperatorLists(
        static,
        read.list("trusted_points", _trusted_point),
        read.list("trusted_peers", PeerId.parse),
    )


def read_anchors(document: Any, faults: list[str]) -> tuple[Point, ...]:
    """Return the anchors of a document, as far as they can be read.  Never raises.

    Args:
        document: what JSON text makes.
        faults: what is wrong is added to it, one line each.
    """
    return _Document(document, faults, ("anchors",)).list("anchors", Point.parse)


# -- files -----------------------------------------------------------------------------


def save_acl(path: FilePath, lists: OperatorLists) -> None:
    """Write ``acl.json``, complete or not at all; to the null device, nothing.

    Raises:
        OSError: it cannot be written; the old one is as it was.
    """
    if not is_null(path):
        write_text(path, format_json(acl_json(lists)), ACL_MAX_SIZE)


def load_acl(path: FilePath) -> Loaded[OperatorLists | None]:
    """Load ``acl.json``; one that is not as it should be is set aside.  Never raises.

    For who holds the data directory; others read with `json_file.read_json` and
    `read_acl`, which change nothing.

    Returns:
        None if there is no such file: then trust is as ``peers.json`` says.
    """

    def read(document: Any, faults: list[str]) -> OperatorLists | None:
        return read_acl(document, faults)

    return load_or_set_aside(path, ACL_MAX_SIZE, read, None)


def save_anchors(path: FilePath, anchors: Iterable[Point]) -> None:
    """Write ``anchors.json``, complete or not at all; to the null device, nothing.

    Raises:
        OSError: it cannot be written; the old one is as it was.
    """
    if not is_null(path):
        points = [str(point) for point in anchors]
        text = format_json({"version": VERSION, "anchors": points})
        write_text(path, text, ANCHORS_MAX_SIZE)


def load_anchors(path: FilePath) -> Loaded[tuple[Point, ...]]:
    """Load ``anchors.json``; one that is not as it should be is set aside.

    Never raises.  For who holds the data directory, as `load_acl`.
    """
    return load_or_set_aside(path, ANCHORS_MAX_SIZE, read_anchors, ())
