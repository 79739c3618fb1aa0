"""An HTTP server for a few clients that are trusted with little: everything is bounded.

What bytes mean is `h11`'s business; here they are moved, waited for, and counted.

=======================  ===============================================================
what                     bound
=======================  ===============================================================
connections              `CONNECTIONS_MAX`; then the one idle for longest goes, and if
                         all are busy, who comes is answered 503
head of a request        16 KiB, or what comes at one go, else 431
body of a request        `BODY_MAX` bytes, else 413
a request                `REQUEST_TIMEOUT` seconds from its first byte, else 408
silence between two      `IDLE_TIMEOUT` seconds
an answer that nobody    `WRITE_TIMEOUT` seconds in which none of it is taken, and
reads                    `ANSWER_TIMEOUT` for all of it unless it is a stream; then the
                         connection is cut
what is sent meanwhile   128 KiB; more are left where they are
what is read after the   `LINGER` seconds, `LINGER_MAX` bytes
last answer
=======================  ===============================================================

Who closes the connection while an answer is awaited is not waited with: it is given up.
Answers to what was not read to its end, such as bodies that are too long, are followed by
reading what comes for a moment, or the system would throw them away with it.

Header names are written in lower case, and there is neither ``date`` nor ``server``, as
the reference does it.  An answer has a ``content-length``, or is in chunks, as whoever
answers says; one to HEAD has no body, or a client would take it for the next answer.

Source: RFC 9110 and 9112; answers of a reference node of 2019.
"""

from __future__ import annotations

import asyncio
import contextlib
import http
import math
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import Any, Final, Generic, TypeVar, cast
from urllib.parse import unquote, unquote_plus

import attrs
import h11

from ...fsm.endings import is_passing
from ..ends import report

L = TypeVar("L")

CONNECTIONS_MAX: Final = 64
HEAD_MAX: Final = 16_384
BODY_MAX: Final = 65_536
REQUEST_TIMEOUT: Final = 10.0
IDLE_TIMEOUT: Final = 60.0
WRITE_TIMEOUT: Final = 20.0
ANSWER_TIMEOUT: Final = 120.0
#: Seconds that who reads too slowly has for what waits already, and for which is read on
#: after the last answer on a connection.
LINGER: Final = 1.0
LINGER_MAX: Final = 1 << 22
#: Seconds that connections have to end when the server does.
CLOSE_TIMEOUT: Final = 1.0
#: Seconds without accepting after accepting has failed.
ACCEPT_PAUSE: Final = 1.0
#: Bytes that are written at one go.
_PIECE: Final = 65_536

JSON: Final = "application/json"
TEXT: Final = "text/plain"

Headers = tuple[tuple[str, str], ...]


@attrs.frozen(eq=False)
class Request(Generic[L]):
    """What a client asks.

    Attributes:
        listener: where it was heard.
        method: GET, for example.
        path: its segments, percent-decoded; a last empty one is left out.
        query: names and values, percent-decoded, in order; None: no value.
        headers: by name in lower case; of several the last.
        body: all of it.
    """

    listener: L
    method: str
    path: tuple[str, ...]
    query: tuple[tuple[str, str | None], ...]
    headers: dict[str, str]
    body: bytes


@attrs.frozen(eq=False)
class Reply:
    """What is answered.

    Attributes:
        status: the code.
        body: in pieces.
        content_type: of the body, if any is to be named.
        headers: others, names in lower case.
        sized: whether it has a length; otherwise it comes in chunks.
        stream: more pieces, one chunk each, until it ends or the client goes.
        lost: set when the stream has no more to give because its client is too slow: it
            has `LINGER` seconds to take what waits.
        done: called when the reply was written, or will never be.
    """

    status: int
    body: Sequence[bytes] = ()
    content_type: str | None = None
    headers: Headers = ()
    sized: bool = True
    stream: AsyncGenerator[bytes, None] | None = None
    lost: asyncio.Event | None = None
    done: Callable[[], object] | None = None


class _Gone(Exception):  # nothing is wrong
    """The client has gone, or was too slow."""


class _Reader(asyncio.StreamReader):
    """Tells that nothing more will come before all is read that has."""

    def __init__(self) -> None:
        super().__init__(_PIECE)
        self.gone = asyncio.Event()

    def feed_eof(self) -> None:
        super().feed_eof()
        self.gone.set()

    def set_exception(self, exc: Exception) -> None:
        super().set_exception(exc)
        self.gone.set()


class _Line(Generic[L]):
    """One connection of a client."""

    def __init__(self, server: HttpServer[L], listener: L, sock: socket.socket) -> None:
        self._server = server
        self._listener = listener
        self._sock = sock
        self._reader = _Reader()
        self._writer: asyncio.StreamWriter | None = None
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_MAX)
        self.idle = True
        self.task: asyncio.Task[None] | None = None

    def drop(self) -> None:
        """Close what was never served; harmless otherwise."""
        if self._writer is None:
            self._sock.close()

    async def serve(self, busy: bool) -> None:
        """Answer until the client goes; with ``busy``, that there is no time for it."""
        loop = asyncio.get_running_loop()
        protocol = asyncio.StreamReaderProtocol(self._reader)
        try:
            transport, _ = await loop.connect_accepted_socket(
                lambda: protocol, self._sock
            )
        except OSError:
            return
        self._writer = asyncio.StreamWriter(transport, protocol, self._reader, loop)
        try:
            await self._talk(busy)
        except (_Gone, OSError, TimeoutError, h11.LocalProtocolError):
            pass
        except asyncio.CancelledError:
            self._say_goodbye()
            raise
        finally:
            if transport.get_write_buffer_size():
                transport.abort()
            else:
                transport.close()

    def _say_goodbye(self) -> None:
        """End a stream in order, if one is being written."""
        if self._h11.our_state is h11.SEND_BODY:
            with contextlib.suppress(h11.LocalProtocolError, OSError):
                self._send(h11.EndOfMessage())

    async def _talk(self, busy: bool) -> None:
        while True:
            try:
                reply = await self._hear(busy)
            except h11.RemoteProtocolError as exc:
                reply = _plain(exc.error_status_hint, f"{exc}")
            except TimeoutError:
                reply = _plain(408, f"the request took more than {REQUEST_TIMEOUT:g} s")
            if reply is None:
                return
            try:
                await self._write(reply)
            finally:
                await _throw_away(reply)
            if self._h11.our_state is not h11.DONE:
                if self._h11.their_state not in (h11.MUST_CLOSE, h11.CLOSED):
                    await self._see_off()
                return
            if self._h11.their_state is not h11.DONE:
                return
            self._h11.start_next_cycle()

    async def _see_off(self) -> None:
        """Let the last answer arrive, though not all that came was read."""
        assert self._writer is not None
        self.idle = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER):
                if self._writer.can_write_eof():
                    self._writer.write_eof()
                await self._until_gone(LINGER_MAX)

    async def _hear(self, busy: bool) -> Reply | None:
        """Read one request, and have it answered; None: the client has gone."""
        self.idle = True
        if not self._h11.trailing_data[0]:
            try:
                async with asyncio.timeout(REQUEST_TIMEOUT if busy else IDLE_TIMEOUT):
                    self._h11.receive_data(await self._reader.read(_PIECE))
            except TimeoutError:
                return None  # silent: nobody waits for an answer
        self.idle = False
        body = bytearray()
        async with asyncio.timeout(REQUEST_TIMEOUT):
            head = await self._event()
            if not isinstance(head, h11.Request):
                return None
            while isinstance(event := await self._event(), h11.Data):
                body += event.data
                if len(body) > BODY_MAX:
                    return _plain(413, f"a body of more than {BODY_MAX} bytes")
        if busy:
            return _plain(503, "too many connections")
        return await self._answer(_request(self._listener, head, bytes(body)))

    async def _answer(self, request: Request[L]) -> Reply | None:
        """Have a request answered, unless the client goes before it is."""
        answer = asyncio.ensure_future(self._server.answer(request))
        gone = asyncio.ensure_future(self._reader.gone.wait())
        reply: Reply | None = None
        try:
            await asyncio.wait((answer, gone), return_when="FIRST_COMPLETED")
            if answer.done():
                reply = answer.result()
        finally:
            gone.cancel()
            if reply is None:
                answer.cancel()
                await asyncio.wait((answer,))
                if not answer.cancelled():
                    await _throw_away(answer.result())
        return reply

    async def _event(self) -> Any:
        while (event := self._h11.next_event()) is h11.NEED_DATA:
            if self._h11.they_are_waiting_for_100_continue:
                self._send(h11.InformationalResponse(status_code=100, headers=[]))
            self._h11.receive_data(await self._reader.read(_PIECE))
        return event

    async def _write(self, reply: Reply) -> None:
        headers = list(reply.headers)
        if reply.content_type is not None:
            headers.append(("content-type", reply.content_type))
        if reply.sized:
            headers.append(("content-length", str(sum(map(len, reply.body)))))
        else:
            headers.append(("transfer-encoding", "chunked"))
        headers.sort(key=_name)
        self._send(
            h11.Response(
                status_code=reply.status,
                headers=headers,
                reason=http.HTTPStatus(reply.status).phrase.encode(),
            )
        )
        async with asyncio.timeout(ANSWER_TIMEOUT):
            for body in reply.body:
                for at in range(0, len(body), _PIECE):
                    self._send(h11.Data(data=body[at : at + _PIECE]))
                    await self._drain()
        if reply.stream is not None:
            await self._pour(reply.stream, reply.lost or asyncio.Event())
        self._send(h11.EndOfMessage())
        await self._drain()

    async def _pour(
        self, stream: AsyncGenerator[bytes, None], lost: asyncio.Event
    ) -> None:
        """Write a stream until it ends or the client goes."""
        await self._drain()
        gone = asyncio.ensure_future(self._until_gone())
        cut = asyncio.ensure_future(self._cut_when(lost))
        try:
            while True:
                piece = asyncio.ensure_future(anext(stream, None))
                try:
                    await asyncio.wait((piece, gone), return_when="FIRST_COMPLETED")
                finally:
                    if not piece.done():
                        piece.cancel()
                        await asyncio.wait((piece,))
                if gone.done():
                    raise _Gone
                data = piece.result()
                if data is None:
                    return
                self._send(h11.Data(data=data))
                await self._drain()
        finally:
            gone.cancel()
            cut.cancel()

    async def _cut_when(self, lost: asyncio.Event) -> None:
        """Cut the connection of a client that does not even take what waits."""
        await lost.wait()
        await asyncio.sleep(LINGER)
        if self._writer is not None:
            self._writer.transport.abort()

    async def _until_gone(self, most: float = math.inf) -> None:
        with contextlib.suppress(OSError):
            while most > 0 and (data := await self._reader.read(_PIECE)):
                most -= len(data)

    def _send(self, event: Any) -> None:
        assert self._writer is not None
        data = cast("bytes | None", self._h11.send(event))
        if data:
            is_head = isinstance(event, h11.Response)
            self._writer.write(_lowered(data) if is_head else data)

    async def _drain(self) -> None:
        assert self._writer is not None
        transport = self._writer.transport
        while True:
            left = transport.get_write_buffer_size()
            try:
                async with asyncio.timeout(WRITE_TIMEOUT):
                    await self._writer.drain()
                break
            except TimeoutError:
                # Slow it may be: `drain` waits until little is left.
                if transport.get_write_buffer_size() >= left:
                    raise
        await asyncio.sleep(0)  # `drain` alone lets nobody else on while there is room
        if transport.is_closing():
            raise _Gone


async def _throw_away(reply: Reply) -> None:
    """End a reply that was written, or will never be."""
    if reply.stream is not None:
        await reply.stream.aclose()
    if reply.done is not None:
        reply.done()


def _name(header: tuple[str, str]) -> str:
    return header[0]


def _lowered(head: bytes) -> bytes:
    """Write the names of headers in lower case; h11 capitalises those it adds."""
    first, *lines = head.split(b"\r\n")
    for number, line in enumerate(lines):
        name, colon, value = line.partition(b":")
        lines[number] = name.lower() + colon + value
    return b"\r\n".join((first, *lines))


def _plain(status: int, text: str) -> Reply:
    """A reply to what is no request that anybody could answer."""
    return Reply(
        status, [text.encode("utf-8", "replace")], TEXT, (("connection", "close"),), False
    )


def _request(listener: L, head: h11.Request, body: bytes) -> Request[L]:
    target = head.target.decode("latin-1")
    path, _, query = target.partition("?")
    segments = [unquote(part) for part in path.removeprefix("/").split("/")]
    if segments and not segments[-1]:
        segments.pop()
    pairs: list[tuple[str, str | None]] = []
    for part in filter(None, query.split("&")):
        name, sign, value = part.partition("=")
        pairs.append((unquote_plus(name), unquote_plus(value) if sign else None))
    headers = {
        name.decode("latin-1"): value.decode("latin-1") for name, value in head.headers
    }
    method = head.method.decode("latin-1")
    return Request(listener, method, tuple(segments), tuple(pairs), headers, body)


class HttpServer(Generic[L]):
    """Listens on sockets, in the running event loop.

    Args:
        answer: called with every request; must not raise.
    """

    def __init__(self, answer: Callable[[Request[L]], Awaitable[Reply]]) -> None:
        self.answer = answer
        self._lines: dict[_Line[L], None] = {}
        self._doors: list[socket.socket] = []
        self._closing = False

    def __len__(self) -> int:
        """How many connections there are."""
        return len(self._lines)

    def listen(self, door: socket.socket, listener: L) -> None:
        """Accept connections on a listening socket; requests say where they came."""
        door.setblocking(False)
        self._doors.append(door)
        self._watch(door, listener)

    async def close(self) -> None:
        """Accept no more, and end all connections; streams are ended in order."""
        self._closing = True
        loop = asyncio.get_running_loop()
        for door in self._doors:
            loop.remove_reader(door)
            door.close()
        tasks = [line.task for line in self._lines if line.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT)

    def _watch(self, door: socket.socket, listener: L) -> None:
        if not self._closing:
            loop = asyncio.get_running_loop()
            loop.add_reader(door, self._accept, door, listener)

    def _accept(self, door: socket.socket, listener: L) -> None:
        # Not `sock_accept`: cancelled in time, it loses whom it has just accepted.
        try:
            sock, _ = door.accept()
        except OSError as exc:
            if exc.errno is None or not is_passing(exc.errno):
                loop = asyncio.get_running_loop()
                loop.remove_reader(door)
                loop.call_later(ACCEPT_PAUSE, self._watch, door, listener)
            return
        sock.setblocking(False)
        with contextlib.suppress(OSError):
            # What the system buffers is out of our sight: megabytes would look stuck.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _PIECE)
        self._take_in(sock, listener)

    def _take_in(self, sock: socket.socket, listener: L) -> None:
        busy = False
        if len(self._lines) >= CONNECTIONS_MAX:
            # In order of arrival; what is idle has nothing to lose.
            old = next((line for line in self._lines if line.idle), None)
            if old is not None and old.task is not None:
                old.task.cancel()
                self._lines.pop(old, None)
            elif len(self._lines) >= 2 * CONNECTIONS_MAX:
                sock.close()
                return
            else:
                busy = True
        line = _Line(self, listener, sock)
        self._lines[line] = None
        line.task = asyncio.ensure_future(line.serve(busy))
        line.task.add_done_callback(lambda task: self._ended(line, task))

    def _ended(self, line: _Line[L], task: asyncio.Task[None]) -> None:
        self._lines.pop(line, None)
        line.drop()
        exc = None if task.cancelled() else task.exception()
        if isinstance(exc, Exception):
            report(exc)
