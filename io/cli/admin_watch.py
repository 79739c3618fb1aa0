"""``tezos-p2p admin watch``: what happens on a node, as it happens."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import json
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import attrs

from ...spec.address import Address
from ...spec.identity import PeerId
from ...spec.point import Endpoint, Point, bracketed
from ...spec.pool_events import POOL_EVENTS, UNNUMBERED, read_connection_id
from .admin_call import MaybePeer, NodeOptions, call
from .exits import Exit
from .network import MaybeSeconds, checked
from .output import AsJson, tell, tell_json
from .start import complain, remark

if TYPE_CHECKING:
    from ..admin_calls import Admin

#: Seconds until a stream is tried again: at first, and at most.
FIRST_PAUSE: Final = 1.0
LAST_PAUSE: Final = 30.0
#: The names of all events.
KINDS: Final = tuple(kind.name for kind in (*POOL_EVENTS, *UNNUMBERED))
_WIDTH: Final = max(map(len, KINDS))


def _check_kinds(kinds: tuple[str, ...]) -> None:
    for kind in kinds:
        if kind not in KINDS:
            raise ValueError(f"{kind[:40]!r} is none of {', '.join(KINDS)}")


def _parse_place(text: str) -> tuple[Address, int | None]:
    """Read an address, with or without a port.

    Raises:
        PointError: says what is wrong.
    """
    place = Endpoint.parse(bracketed(text))
    return Address.parse(place.host), place.port


def check_count(count: int) -> None:
    """Check a number of things to be told.

    Raises:
        ValueError: less than 1.
    """
    if count < 1:
        raise ValueError("at least 1")


Kinds = Annotated[tuple[str, ...], checked(_check_kinds)]
Place = Annotated[str | None, checked(_parse_place)]
Count = Annotated[int | None, checked(check_count)]


@attrs.frozen
class Filter:
    """Which events are told.

    Attributes:
        kinds: of these; none: of any.
        peer_id: that name this peer; None: any.
        place: that name this address, and port if there is one; None: any.
    """

    kinds: tuple[str, ...] = ()
    peer_id: str | None = None
    place: tuple[Address, int | None] | None = None

    def passes(self, event: dict[str, Any]) -> bool:
        """Tell whether an event is told."""
        if self.kinds and event["event"] not in self.kinds:
            return False
        if self.peer_id is not None and self.peer_id not in _peers_of(event):
            return False
        if self.place is None:
            return True
        address, port = self.place
        return any(
            address == each and port in (None, other) for each, other in _places_of(event)
        )


def _identity_of(event: dict[str, Any]) -> tuple[Any, Any]:
    """Return connection id and peer id, where an event has them as a pair."""
    try:
        where, who = event["identity"]
    except (KeyError, TypeError, ValueError):
        return None, None
    return where, who


def _peers_of(event: dict[str, Any]) -> list[Any]:
    return [event.get("peer_id"), event.get("source"), _identity_of(event)[1]]


def _places_of(event: dict[str, Any]) -> list[tuple[Address, int | None]]:
    places: list[tuple[Address, int | None]] = []
    with contextlib.suppress(ValueError):
        places.append(Point.parse(str(event.get("point"))))
    for where in (event.get("id_point"), _identity_of(event)[0]):
        with contextlib.suppress(ValueError):
            found = read_connection_id(where)
            places.append((found.address, found.port))
    return places


def watch(
    *,
    kind: Kinds = (),
    peer: MaybePeer = None,
    point: Place = None,
    count: Count = None,
    seconds: MaybeSeconds = None,
    reconnect: bool = False,
    node: NodeOptions | None = None,
    as_json: AsJson = False,
) -> Exit:
    """Tell what happens on a node, from now on, until Ctrl-C.

    When the node ends the stream, that is an error: nothing is missed silently.  With
    --reconnect it is told, and tried again after 1 s, 2 s and so on up to 30 s.

    Args:
        kind: tell only events of this kind; may be given several times.
        peer: tell only events that name this peer.
        point: tell only events that name this address, and port if one is given.
        count: end after so many events were told.
        seconds: end after so many seconds.
        reconnect: go on when the stream ends, or the node does; what happens until it is
            there again is missed.
        node: which node.
        as_json: print one JSON object for each event, with the time of its arrival.
    """
    chosen = Filter(
        kind,
        None if peer is None else str(PeerId.parse(peer)),
        None if point is None else _parse_place(point),
    )

    async def work(admin: Admin) -> None:
        watching = _Watching(admin, chosen, count, as_json)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await (watching.again_and_again() if reconnect else watching.once())

    return call(node, work, lambda _: None)


@attrs.define(eq=False)
class _Watching:
    """Watches one node.

    Attributes:
        told: how many events were.
        since: when the stream ended; None: it is open, or never was.
        was_open: whether it ever was.
        pause: seconds until it is tried again.
    """

    _admin: Admin
    _chosen: Filter
    _count: int | None
    _as_json: bool
    told: int = 0
    since: float | None = None
    was_open: bool = False
    pause: float = FIRST_PAUSE

    async def once(self) -> None:
        """Tell what happens until that are enough events.

        Raises:
            AdminError: there is no stream, or it has ended.
        """
        from ..admin_client import NoAnswer

        async with contextlib.aclosing(self._admin.events(self._opened)) as events:
            async for event in events:
                if not self._chosen.passes(event):
                    continue
                _tell(event, self._as_json)
                self.told += 1
                if self.told == self._count:
                    return
        raise NoAnswer(
            f"GET {self._admin.client.endpoint.uri('/network/log')}: "
            f"the node has ended the stream; {self.told} events were told"
        )

    async def again_and_again(self) -> None:
        """Do so, and go on when the node has gone, once it was there.

        Raises:
            AdminError: it never was, or answers as no node does.
        """
        from ..admin_client import NoAnswer, Unreachable

        while True:
            try:
                return await self.once()
            except (NoAnswer, Unreachable) as exc:
                if not self.was_open:
                    raise
                if self.since is None:
                    self.since = time.monotonic()
                    complain(" ".join(line.strip() for line in exc.lines))
                remark(f"tezos-p2p: watching again in {self.pause:g} s")
            await asyncio.sleep(self.pause)
            self.pause = min(2 * self.pause, LAST_PAUSE)

    def _opened(self) -> None:
        self.was_open = True
        self.pause = FIRST_PAUSE
        if self.since is not None:
            gone = time.monotonic() - self.since
            remark(f"tezos-p2p: watching; what happened for {gone:.1f} s is missing")
            self.since = None


def _tell(event: dict[str, Any], as_json: bool) -> None:
    now = datetime.datetime.now().astimezone()
    if as_json:
        tell_json({"time": now.isoformat(), **event})
        return
    clock = now.strftime("%H:%M:%S.%f")[:-3]
    facts = "  ".join(
        f"{name} {_text(value)}" for name, value in event.items() if name != "event"
    )
    tell(f"{clock}  {event['event']:<{_WIDTH}}  {facts}".rstrip())


def _text(value: Any) -> str:
    match value:
        case str():
            return value
        case [*items]:
            return " ".join(map(_text, items))
        case _:
            pass
    try:
        where = read_connection_id(value)
    except ValueError:
        return json.dumps(value)
    if where.port is not None:
        return str(Point(where.address, where.port))
    return str(where.address)
