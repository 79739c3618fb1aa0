"""Serves the metrics of a node over HTTP, to whoever asks.

``GET /metrics`` gives them; any other method or path is answered with 400, ``Bad
request``.  Nothing can be changed over it.

==================  ===================================================================
bound               value
==================  ===================================================================
connections         `CONNECTIONS_MAX` at once; then the oldest goes that has not asked
                    yet, or if all have, who comes is closed unheard
bytes of one        `REQUEST_MAX`, head and body; more, and it is closed
time of one         `SECONDS_MAX` from its first byte to its last, however slow it is;
                    one request each
work                one reading of the node in `FRESH` seconds; who asks sooner gets
                    the one before
==================  ===================================================================

While it serves, it also measures, once a second, how late whatever runs in the node's
loop is served: over asyncio, how late a timer of this loop fires; over blocking calls,
how long another thread waits until it has the node for itself.

Source: the listener for metrics of the reference node, 2026, for the answers; the bounds
are our own.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from typing import Any, Final

from aiohttp import web

from .ends import report
from .metrics import CONTENT_TYPE, Exposition

#: Connections at once.
CONNECTIONS_MAX: Final = 16
#: Bytes that one may send.
REQUEST_MAX: Final = 16_384
#: Seconds that one may take.
SECONDS_MAX: Final = 10.0
#: Seconds for which a text is not made anew.
FRESH: Final = 0.1
#: Seconds between two measurements of the lag.
LAG_EVERY: Final = 1.0
_STOPPING: Final = 1.0

# What strangers send is no matter for our log.
_SILENT: Final = logging.Logger("tezos_p2p.metrics", logging.CRITICAL + 1)


# -- one connection --------------------------------------------------------------------


class _Connection(web.RequestHandler):
    """A connection of a stranger, within the bounds of the module's table."""

    def __init__(self, server: MetricsServer, manager: web.Server, **more: Any) -> None:
        super().__init__(manager, **more)
        self._server = server
        self._heard = 0
        self.asked = False
        self._deadline: asyncio.TimerHandle | None = None
        self._stream: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._stream = transport
        if not self._server.takes_in(self):
            transport.abort()
            return
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(SECONDS_MAX, transport.abort)
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._heard += len(data)
        if self._heard <= REQUEST_MAX:
            super().data_received(data)
        else:
            self.cut()

    def cut(self) -> None:
        """End it at once."""
        if self._stream is not None:
            self._stream.abort()

    def handle_error(
        self,
        request: web.BaseRequest,  # noqa: ARG002  # the library's
        status: int = 500,
        exc: BaseException | None = None,  # noqa: ARG002  # the same
        message: str | None = None,  # noqa: ARG002  # the same
    ) -> web.StreamResponse:
        # The library's own answer repeats what it did not understand.
        return _response(status, "Bad request" if status == 400 else "Error")

    def connection_lost(self, exc: BaseException | None) -> None:
        self._server.forget(self)
        if self._deadline is not None:
            self._deadline.cancel()
            super().connection_lost(exc)


# -- the server ------------------------------------------------------------------------


class MetricsServer:
    """Serves one exposition on some listening sockets, in the running loop.

    Args:
        exposition: what is served.
        measure: returns how late the node was served, in seconds; None: how late this
            loop is.
    """

    def __init__(
        self, exposition: Exposition, measure: Callable[[], float] | None = None
    ) -> None:
        self._exposition = exposition
        self._measure = measure
        self._open: dict[_Connection, None] = {}
        self._text = b""
        self._made = -FRESH

    @contextlib.asynccontextmanager
    async def serving(self, doors: Iterable[socket.socket]) -> AsyncGenerator[None]:
        """Serve while the context lasts; the sockets are closed at its end."""
        loop = asyncio.get_running_loop()
        manager = web.Server(self._answer)

        def connection() -> _Connection:
            return _Connection(
                self,
                manager,
                loop=loop,
                logger=_SILENT,
                access_log=None,
                lingering_time=0.0,
            )

        servers = [await loop.create_server(connection, sock=door) for door in doors]
        watch = loop.create_task(self._watch())
        try:
            yield
        finally:
            watch.cancel()
            for server in servers:
                server.close()
            await manager.shutdown(_STOPPING)
            await asyncio.gather(watch, return_exceptions=True)

    def takes_in(self, connection: _Connection) -> bool:
        """Count one more connection, if there is a place for it."""
        if len(self._open) >= CONNECTIONS_MAX:
            # In order of arrival.
            old = next((each for each in self._open if not each.asked), None)
            if old is None:
                return False
            self.forget(old)
            old.cut()
        self._open[connection] = None
        return True

    def forget(self, connection: _Connection) -> None:
        """Take note that a connection is over."""
        self._open.pop(connection, None)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        assert isinstance(request.protocol, _Connection)
        request.protocol.asked = True
        if request.method == "GET" and request.path == "/metrics":
            return self._metrics()
        return _response(400, "Bad request")

    def _metrics(self) -> web.Response:
        now = time.monotonic()
        if now - self._made >= FRESH:
            try:
                self._text = self._exposition.text()
            except Exception as exc:
                report(exc)
                return _response(500, "Internal error")
            self._made = now
        return _response(200, self._text, CONTENT_TYPE)

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_EVERY
            await asyncio.sleep(LAG_EVERY)
            late = loop.time() - due if self._measure is None else self._measure()
            self._exposition.lag.add(max(0.0, late))


def _response(
    status: int, body: bytes | str, content_type: str = "text/plain"
) -> web.Response:
    """Return the last answer on a connection."""
    if isinstance(body, str):
        body = body.encode()
    headers = {"Content-Type": content_type, "Server": "tezos-p2p"}
    response = web.Response(status=status, body=body, headers=headers)
    response.force_close()
    return response


@contextlib.contextmanager
def serving_in_thread(
    server: MetricsServer, doors: Iterable[socket.socket]
) -> Generator[None]:
    """Serve in a thread with a loop of its own while the context lasts."""
    stop: asyncio.Event | None = None
    loop: asyncio.AbstractEventLoop | None = None
    ready = threading.Event()

    async def serve() -> None:
        nonlocal stop, loop
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        async with server.serving(doors):
            ready.set()
            await stop.wait()

    def run() -> None:
        try:
            asyncio.run(serve())
        finally:
            ready.set()

    thread = threading.Thread(target=run, name="tezos-p2p-metrics", daemon=True)
    thread.start()
    ready.wait()
    try:
        yield
    finally:
        if loop is not None and stop is not None and thread.is_alive():
            with contextlib.suppress(RuntimeError):  # it has just ended
                loop.call_soon_threadsafe(stop.set)
        thread.join(2 * _STOPPING)
