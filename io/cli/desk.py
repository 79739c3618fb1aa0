"""The desk of ``tezos-p2p listen``: what is told, answered and counted."""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from ...fsm.local import Local
from ...spec.convert import CONVERTER
from ...spec.events import Closed, Established, Remote, event_json
from ...spec.hello import POINTS_SENT_MAX
from ...spec.identity import PeerId
from ...spec.message import Advertise, Bootstrap
from ...spec.point import Point
from ..watched import Connected
from .describe import fact, facts, message_json, message_text, versions_text
from .output import tell, tell_json

#: Peers whose points are remembered.
_KNOWN_MAX: Final = 1000


class Desk:
    """Tells what happens on all links; any thread may call.

    Args:
        as_json: tell it as JSON.
        count: connections after which `stopped` is set, or None.

    Attributes:
        stopped: set when it is time to end.
        on_stop: called when that is set.
    """

    def __init__(self, as_json: bool, count: int | None) -> None:
        self.stopped = threading.Event()
        self.on_stop: Callable[[], object] | None = None
        self._as_json = as_json
        self._left = count
        self._lock = threading.RLock()
        self._broken: OSError | None = None
        # From monotonic seconds to those of the calendar.
        self._offset = time.time() - time.monotonic()
        # The other ends of the links.
        self._points: dict[int, Point] = {}
        # Where the peers listen that have said so, oldest first.
        self._known: dict[PeerId, Point] = {}
        # Links whose messages are being told, and how they have ended meanwhile.
        self._served: dict[int, Closed | None] = {}

    # -- from the core -----------------------------------------------------------------

    def opened(self, point: Point, local: Local) -> None:
        """Tell where we listen, and who we are."""
        network, peer_id = local.network, local.identity.peer_id
        told = {
            "event": "listening",
            "point": str(point),
            "peer_id": str(peer_id),
            "network": CONVERTER.unstructure(network),
            "difficulty": local.difficulty,
        }
        announced = network.announced
        lines = (
            ("listening on", str(point)),
            ("peer id", str(peer_id)),
            ("chain name", announced.chain_name),
            ("announces", versions_text(announced)),
            ("work asked", f"{local.difficulty:g} bits"),
        )
        self._put(0, time.monotonic(), told, lines)

    def tell(self, link: int, event: Any) -> None:
        """Tell an event; the end of who is served waits until all of it is told."""
        with self._lock:
            match event:
                case Connected(point, _, _):
                    self._points[link] = point
                case Established(remote, _, _):
                    self._served[link] = None
                    self._meet(self._points[link], remote)
                case Closed():
                    self._points.pop(link, None)
                    if link in self._served:
                        self._served[link] = event
                        return
                case _:
                    pass
            self._tell(link, event)

    def ended(self, link: int) -> None:
        """Tell the end of a link: nothing more is received on it."""
        with self._lock:
            event = self._served.pop(link, None)
            if event is not None:
                self._tell(link, event)

    def release(self, is_gone: Callable[[int], bool]) -> None:
        """Tell the ends of links that were gone before anybody served them.

        Args:
            is_gone: whether a link is, with all that was received on it.
        """
        with self._lock:
            for link, event in list(self._served.items()):
                if event is not None and is_gone(link):
                    self.ended(link)

    def settle(self) -> None:
        """Tell the ends that are not told yet."""
        with self._lock:
            for link in list(self._served):
                self.ended(link)

    def _meet(self, point: Point, remote: Remote) -> None:
        """Remember where a peer listens, unless it wants to be left alone."""
        port = remote.message.port
        if port and not remote.metadata.private_node:
            self._known.pop(remote.peer_id, None)
            self._known[remote.peer_id] = Point(point.address, port)
            if len(self._known) > _KNOWN_MAX:
                del self._known[next(iter(self._known))]

    def _tell(self, link: int, event: Any) -> None:
        self._put(link, event.at, event_json(event), facts(event))
        if isinstance(event, Closed) and self._left is not None:
            self._left -= 1
            if self._left <= 0:
                self._stop()

    # -- messages ----------------------------------------------------------------------

    def received(self, link: int, remote: Remote, message: Any) -> Advertise | None:
        """Tell a message; return what to answer."""
        self._message(link, "received", message)
        if not isinstance(message, Bootstrap):
            return None
        with self._lock:
            known = [
                point
                for peer_id, point in reversed(self._known.items())
                if peer_id != remote.peer_id
            ]
        return Advertise(tuple(known[:POINTS_SENT_MAX]))

    def sent(self, link: int, message: Any) -> None:
        """Tell a message of ours."""
        self._message(link, "sent", message)

    def _message(self, link: int, what: str, message: Any) -> None:
        told: dict[str, Any] = {}
        lines: tuple[tuple[str, str], ...] = ()
        if self._as_json:
            told = {"event": f"message_{what}", "message": message_json(message)}
        else:
            lines = ((what, message_text(message)),)
        self._put(link, time.monotonic(), told, lines)

    # -- printing ----------------------------------------------------------------------

    def _put(self, link: int, at: float, told: dict[str, Any], lines: Any) -> None:
        now = datetime.datetime.fromtimestamp(at + self._offset).astimezone()
        with self._lock:
            if self._broken is not None:
                return
            try:
                if self._as_json:
                    tell_json({"time": now.isoformat(), "link": link or None, **told})
                    return
                clock = now.strftime("%H:%M:%S.%f")[:-3]
                for name, value in lines:
                    number = f"#{link}" if link else ""
                    tell(f"{clock}  {number:<4}  {fact(name, value)}")
            except OSError as exc:
                # Not raised through the driver that has called; `check` does.
                self._broken = exc
                self._stop()

    def check(self) -> None:
        """Raise what has kept us from telling.

        Raises:
            OSError: of standard output.
        """
        if self._broken is not None:
            raise self._broken

    def _stop(self) -> None:
        self.stopped.set()
        if self.on_stop is not None:
            self.on_stop()
