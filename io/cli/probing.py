"""What a probe does: names to addresses, one handshake, one question, the verdict."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any, Final

from ...spec.address import PointError
from ...spec.convert import CONVERTER
from ...spec.events import (
    Authenticated,
    Closed,
    ConnectionMessageReceived,
    Established,
    event_json,
)
from ...spec.identity import DEFAULT_DIFFICULTY, Identity, PeerId
from ...spec.limits import Limits
from ...spec.message import Advertise, Bootstrap
from ...spec.point import Endpoint, Point
from ...spec.reasons import Disconnection, ErrorKind, Reason
from ...spec.version import Network, Version
from .. import blocking
from ..ends import ConnectionEnded, question, split, unreached
from ..sockets import points_of
from ..watched import Watched, dial_aio, dial_blocking
from .describe import (
    alternatives,
    chain_text,
    fact,
    facts,
    message_json,
    message_text,
    motive_text,
)
from .exits import Exit
from .network import DriverName, local_of
from .output import tell

#: Seconds that the end of a connection may take.
_CLOSING: Final = 0.5
#: Least seconds that are left for one address.
_LEAST: Final = 0.001
_REFUSALS: Final = frozenset(
    {
        Reason.AUTHENTICATION_REJECTED,
        Reason.AUTHENTICATION_REJECTED_BY_PEER,
        Reason.AUTHENTICATION_REJECTED_NO_COMMON_PROTOCOL,
    }
)
#: How it looks when they hang up, whatever their reason.
_SHUT: Final = (ErrorKind.CONNECTION_CLOSED, ErrorKind.CONNECTION_ERROR)
_RESULTS: Final = {
    Exit.OK: "established",
    Exit.REFUSED: "refused",
    Exit.NO_HANDSHAKE: "failed",
    Exit.UNREACHED: "unreachable",
}


def code_of(why: Disconnection) -> Exit:
    """Return the exit code for the end of a handshake."""
    if why.reason in _REFUSALS:
        return Exit.REFUSED
    late = any(error.kind is ErrorKind.TIMEOUT for error in why.errors)
    return Exit.UNREACHED if late or _is_unreached(why) else Exit.NO_HANDSHAKE


def _is_unreached(why: Disconnection) -> bool:
    return unreached(why) or why.reason is Reason.TCP_CONNECTION_CANCELED


class Probing:
    """One probe.

    Args:
        target: ``host[:port][#peer_id]``.
        identity: who we are.
        network: the network to be on.
        difficulty: bits of work to ask for, or None for what the network asks.
        bootstrap: whether to ask for points.
        timeout: seconds for all of it.
        silent: print nothing.

    Attributes:
        target: what was probed.
        code: how it has ended.
        error: why not well; empty if well.
    """

    def __init__(
        self,
        target: str,
        identity: Identity,
        network: Network,
        difficulty: float | None,
        *,
        bootstrap: bool = False,
        timeout: float = 10.0,
        silent: bool = False,
    ) -> None:
        self.code = Exit.OK
        self.error = ""
        self.target = target
        self._identity = identity
        self._network = network
        self._difficulty = difficulty
        self._bootstrap = bootstrap
        self._timeout = timeout
        self._silent = silent
        self._broken: OSError | None = None
        self._began = time.monotonic()
        self._expected: PeerId | None = None
        self._steps: list[dict[str, Any]] = []
        self._point: Point | None = None
        self._hello: ConnectionMessageReceived | None = None
        self._authenticated: Authenticated | None = None
        self._version: Version | None = None
        self._why: Disconnection | None = None
        self._advertised: tuple[Point, ...] | None = None

    def run(self, driver: DriverName) -> Exit:
        """Do it; return the exit code.

        Raises:
            OSError: what happens cannot be printed.
        """
        us = str(self._identity.peer_id)
        self._step("we are", us, event="identity", peer_id=us)
        points = self._points()
        for index, point in enumerate(points):
            self._point = point
            # An address that does not answer leaves time for the others.
            share = self._left / (len(points) - index)
            try:
                self._shake_hands(driver, point, share)
            except ConnectionEnded as exc:
                self._fail(exc.disconnection)
            else:
                self.code, self.error, self._why = Exit.OK, "", None
            if self._broken is not None:
                raise self._broken
            if self._why is None or not _is_unreached(self._why):
                break
        return self.code

    @property
    def lacks_work(self) -> bool:
        """Whether it looks as if they wanted more proof of work than we showed."""
        return (
            self.code is Exit.NO_HANDSHAKE
            and self._hello is not None
            and self._authenticated is None
            and self._identity.difficulty < DEFAULT_DIFFICULTY
            and self._why is not None
            and any(error.kind in _SHUT for error in self._why.errors)
        )

    @property
    def result(self) -> str:
        """How it has ended, in one word."""
        return _RESULTS[self.code]

    @property
    def seconds(self) -> float:
        """How long it took, as far as there was anything to tell."""
        return float(self._steps[-1]["seconds"])

    @property
    def gist(self) -> str:
        """Say in a few words who was met, or what was wrong."""
        if self.error or self._hello is None or self._version is None:
            return self.error
        told = [str(self._hello.peer_id), _brief(self._version)]
        if self._advertised is not None:
            told.append(_count(self._advertised))
        return "  ".join(told)

    @property
    def outcome(self) -> tuple[str, str, str]:
        """What makes a difference between two probes of one point: result, who, why."""
        who = "" if self._hello is None else str(self._hello.peer_id)
        return self.result, who, self.error or str(self._version)

    def document(self) -> dict[str, Any]:
        """Return all of it as data."""
        out = CONVERTER.unstructure
        remote: dict[str, Any] | None = None
        if self._hello is not None:
            told = self._authenticated
            remote = {
                "peer_id": str(self._hello.peer_id),
                "authenticated": told is not None,
                "message": out(self._hello.message),
                "metadata": None if told is None else out(told.remote.metadata),
            }
        why = self._why
        return {
            "target": self.target,
            "result": self.result,
            "exit_code": int(self.code),
            "error": self.error or None,
            "point": out(self._point),
            "peer_id": str(self._identity.peer_id),
            "network": out(self._network),
            "remote": remote,
            "version": out(self._version),
            "disconnection": out(why),
            "alternative_points": out(() if why is None else alternatives(why)),
            "advertised": out(self._advertised),
            "steps": self._steps,
        }

    # -- getting there -----------------------------------------------------------------

    @property
    def _left(self) -> float:
        return max(self._began + self._timeout - time.monotonic(), _LEAST)

    def _points(self) -> tuple[Point, ...]:
        """Return where to dial; nothing if there is no such name."""
        where, self._expected = split(self.target)
        if isinstance(where, Point):
            return (where,)
        answer = self._resolve(where)
        if isinstance(answer, tuple):
            for point in answer:
                self._step("resolved", str(point), event="resolved", point=str(point))
            return answer
        self.code, self.error = Exit.UNREACHED, f"no address: {answer}"
        self._step("no address", answer, event="no_address", message=answer)
        return ()

    def _resolve(self, where: Endpoint) -> tuple[Point, ...] | str:
        # In a thread that may be left behind: asking can take minutes.
        answers: queue.SimpleQueue[tuple[Point, ...] | str] = queue.SimpleQueue()

        def ask() -> None:
            try:
                found = socket.getaddrinfo(*question(where), type=socket.SOCK_STREAM)
                answers.put(points_of(found))
            except OSError as exc:
                answers.put(exc.strerror or str(exc))
            except PointError as exc:
                answers.put(str(exc))

        threading.Thread(target=ask, daemon=True).start()
        with contextlib.suppress(queue.Empty):
            return answers.get(timeout=self._left)
        return f"no answer within {self._timeout:g} s"

    # -- shaking hands -----------------------------------------------------------------

    def _shake_hands(self, driver: DriverName, point: Point, share: float) -> None:
        self._step("dialling", str(point), event="dialling", point=str(point))
        limits = Limits(connection_timeout=share)
        local = local_of(self._identity, self._network, self._difficulty, limits=limits)
        core = Watched(local, self._note)
        if driver == "asyncio":
            asyncio.run(self._over_asyncio(core, point))
        else:
            self._over_blocking(core, point)

    async def _over_asyncio(self, core: Watched, point: Point) -> None:
        peer = await dial_aio(core, point, self._expected)
        try:
            if self._bootstrap:
                await peer.send(self._asked())
                async with asyncio.timeout(self._left):
                    while not self._answers(await peer.receive()):
                        pass
        except (TimeoutError, ConnectionEnded) as exc:
            self._unanswered(exc)
        finally:
            await peer.close("probed", timeout=_CLOSING)

    def _over_blocking(self, core: Watched, point: Point) -> None:
        peer = dial_blocking(core, point, self._expected, thread=False)
        try:
            if self._bootstrap:
                self._ask_blocking(peer)
        except (TimeoutError, ConnectionEnded) as exc:
            self._unanswered(exc)
        finally:
            peer.close("probed", timeout=_CLOSING)

    def _ask_blocking(self, peer: blocking.Connection[Any]) -> None:
        peer.send(self._asked(), self._left)
        while not self._answers(peer.receive(self._left)):
            pass

    def _asked(self) -> Bootstrap:
        message = Bootstrap()
        told = message_json(message)
        self._step("sent", message_text(message), event="message_sent", message=told)
        return message

    def _answers(self, message: Any) -> bool:
        """Tell of a message; return whether it is what was asked for."""
        told = {"event": "message_received", "message": message_json(message)}
        if not isinstance(message, Advertise):
            self._step("received", message_text(message), **told)
            return False
        self._advertised = message.points
        self._step("received", f"Advertise: {_count(message.points)}", **told)
        for point in message.points:
            self._line(self._steps[-1]["seconds"], "knows", str(point))
        return True

    def _unanswered(self, exc: Exception) -> None:
        late = not isinstance(exc, ConnectionEnded)
        why = f"within {self._timeout:g} s" if late else str(exc)
        self._step("no answer", why, event="no_answer", message=why)

    # -- telling -----------------------------------------------------------------------

    def _note(self, _: int, event: Any) -> None:
        """Keep and show an event of the core."""
        match event:
            case Closed(why, _) if why.reason is Reason.USER:
                return  # our own doing
            case ConnectionMessageReceived():
                self._hello = event
            case Authenticated():
                self._authenticated = event
            case Established(_, version, _):
                self._version = version
            case _:
                pass
        seconds = max(0.0, event.at - self._began)
        self._steps.append({"seconds": round(seconds, 6), **event_json(event)})
        for name, value in facts(event):
            self._line(seconds, name, value)

    def _step(self, name: str, value: str, **told: Any) -> None:
        """Keep and show what the core knows nothing of."""
        seconds = time.monotonic() - self._began
        self._steps.append({"seconds": round(seconds, 6), **told})
        self._line(seconds, name, value)

    def _line(self, seconds: float, name: str, value: str) -> None:
        if self._silent or self._broken is not None:
            return
        try:
            tell(f"{seconds * 1000:9.1f} ms  {fact(name, value)}")
        except OSError as exc:
            # Not raised through the driver that has called; `run` does.
            self._broken = exc

    def _fail(self, why: Disconnection) -> None:
        self._why, self.code, self.error = why, code_of(why), str(why)
        if why.reason is Reason.AUTHENTICATION_REJECTED_BY_PEER:
            assert why.motive is not None
            self.error = f"the peer refused us: {motive_text(why.motive)}"
        elif why.motive is not None and self._hello is not None:
            theirs, ours = self._hello.message.version, self._network.announced
            self.error = f"we refused the peer: {motive_text(why.motive)}"
            if why.motive.is_version_mismatch:
                self.error += f": {_brief(theirs)} there, {_brief(ours)} here"
        elif self.code is Exit.NO_HANDSHAKE:
            self.error = f"no handshake: {why}"


def _count(points: Sequence[Point]) -> str:
    return f"{len(points)} point{'' if len(points) == 1 else 's'}"


def _brief(version: Version) -> str:
    ddb, p2p = version.distributed_db_version, version.p2p_version
    return f"{chain_text(version.chain_name)} {ddb}/{p2p}"
