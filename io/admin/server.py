"""The admin interface beside a node: in the node's own event loop, or in a thread.

=============  =========================================================================
driver         where the interface runs
=============  =========================================================================
asyncio        in the loop of the node
blocking       in a loop of its own, in a thread; the node is for all threads
=============  =========================================================================

It ends before the node does: streams in order, all else at once, within a second or so.

Source: the RPC server of the reference node, 2026, for where it listens.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import attrs

from ...spec.address import PointError
from ...spec.point import Endpoint, Point
from ...spec.rpc import Generation
from ..node_ends import NodeEnds
from ..sockets import listen_on_each, point_of, points_of
from .guard import DEFAULT_PORT, Guard, Policy
from .http import CLOSE_TIMEOUT, HttpServer
from .service import Service

#: Connections that wait to be accepted.
BACKLOG: Final = 16
_UNIX: Final = "unix:"


@attrs.frozen(eq=False)
class Door:
    """A listening socket, and what is let through there.

    Attributes:
        sock: the socket.
        guard: of what comes.
        path: of a Unix socket: it is removed in the end.
    """

    sock: socket.socket
    guard: Guard
    path: Path | None = None

    def close(self) -> None:
        """Listen no more."""
        self.sock.close()
        if self.path is not None:
            with contextlib.suppress(OSError):
                self.path.unlink()


def open_doors(
    where: Sequence[str], acl: Sequence[Policy] = (), names: Sequence[str] = ()
) -> tuple[Door, ...]:
    """Listen at some places; all of them, or none.

    Args:
        where: ``host[:port]``, port 8732 if none is given, or ``unix:PATH``; of a name
            all addresses.
        acl: access lists of the configuration.
        names: hosts that requests may name, ``name[:port]``.

    Raises:
        OSError: it cannot; the message names the place.
        PointError: a text is no place.
    """
    doors: list[Door] = []
    try:
        for text in where:
            doors += _open(text, acl, names)
    except BaseException:
        for door in doors:
            door.close()
        raise
    return tuple(doors)


def unmatched(acl: Sequence[Policy], doors: Sequence[Door]) -> list[str]:
    """Return the names of access lists that are about none of some listeners."""
    return [
        f"rpc.acl[{number}]"
        for number, policy in enumerate(acl)
        if not any(door.guard.is_meant(policy) for door in doors)
    ]


def check_place(text: str) -> None:
    """Check that a text is a place to listen at, as `open_doors` takes it.

    Raises:
        PointError: it is none.
    """
    if not text.startswith(_UNIX):
        _endpoint(text)


def _endpoint(text: str) -> Endpoint:
    endpoint = Endpoint.parse(text)
    if endpoint.is_unspecified:
        port = DEFAULT_PORT if endpoint.port is None else endpoint.port
        raise PointError(f"{text!r:.80}: say on which address, 127.0.0.1:{port} perhaps")
    return endpoint


def _open(text: str, acl: Sequence[Policy], names: Sequence[str]) -> list[Door]:
    if text.startswith(_UNIX):
        return [_open_path(Path(text.removeprefix(_UNIX)))]
    endpoint = _endpoint(text)
    port = DEFAULT_PORT if endpoint.port is None else endpoint.port
    called = ""
    try:
        points: Sequence[Point] = (endpoint.point(port),)
    except PointError:
        called = endpoint.host
        try:
            found = socket.getaddrinfo(called, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as exc:
            why = getattr(exc, "strerror", None) or str(exc)
            raise OSError(f"cannot listen on {text}: {why}") from None
        points = points_of(found)
    socks = listen_on_each(points, BACKLOG)
    try:
        bound = [point_of(sock.getsockname()) for sock in socks]
        guards = [Guard.of_point(point, called, acl, names) for point in bound]
    except BaseException:
        for sock in socks:
            sock.close()
        raise
    return [Door(*each) for each in zip(socks, guards, strict=True)]


def _open_path(path: Path) -> Door:
    if not hasattr(socket, "AF_UNIX"):
        raise OSError(f"cannot listen on {path}: this system has no Unix sockets")
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _remove_stale(path)
        # Nobody may connect before its mode is set: not even for a moment.
        before = os.umask(0o177)
        try:
            sock.bind(str(path))
        finally:
            os.umask(before)
        sock.listen(BACKLOG)
    except OSError as exc:
        sock.close()
        why = exc.strerror or str(exc)
        raise OSError(exc.errno, f"cannot listen on unix:{path}: {why}") from None
    return Door(sock, Guard.of_path(str(path)), path)


def _remove_stale(path: Path) -> None:
    """Remove a socket that nobody listens on any more; anything else stays."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return
    except FileNotFoundError:
        return
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        probe.settimeout(1.0)
        probe.connect(str(path))
    except ConnectionRefusedError:
        path.unlink(missing_ok=True)
    except OSError:
        return
    finally:
        probe.close()


class AdminServer:
    """The interface in the running event loop, from ``async with`` to its end.

    Args:
        node: that it is about.
        doors: where it listens; closed with it.
        generation: which form.
    """

    def __init__(
        self,
        node: NodeEnds[Any, Any],
        doors: Sequence[Door],
        generation: Generation = Generation.G2026,
    ) -> None:
        self.doors = tuple(doors)
        self.service = Service(node, generation)
        self.http = HttpServer[Guard](self.service.answer)

    async def __aenter__(self) -> Self:
        """Begin to listen, and return itself."""
        for door in self.doors:
            self.http.listen(door.sock, door.guard)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End."""
        await self.http.close()
        for door in self.doors:
            door.close()


class AdminThread:
    """The interface in a thread of its own, from ``with`` to its end.

    Args:
        node: that it is about; it must be for all threads.
        doors: where it listens; closed with it.
        generation: which form.
    """

    def __init__(
        self,
        node: NodeEnds[Any, Any],
        doors: Sequence[Door],
        generation: Generation = Generation.G2026,
    ) -> None:
        self._made = node, tuple(doors), generation
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="admin", daemon=True)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with AdminServer(*self._made):
                self._ready.set()
                await self._stop.wait()
        finally:
            self._ready.set()

    def __enter__(self) -> Self:
        """Begin to listen, and return itself."""
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End."""
        if self._loop is not None and self._stop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(3 * CLOSE_TIMEOUT)
