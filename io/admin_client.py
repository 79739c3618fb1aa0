"""One node's admin interface as a client sees it: requests, answers, what goes wrong.

An answer is whatever the other end makes of it: it may be no node, no HTTP, no JSON,
endless, late, or cut.  All of that ends in an `AdminError` with a text for people, and
nothing of it takes more than a bound of memory or time.

======================  ================================================================
raised                  when
======================  ================================================================
`Unreachable`           no connection could be made
`NoAnswer`              the connection broke, or nothing came in time
`BadAnswer`             something came, and a node's answer it is not
`NoSuchService`         404: no such route, or nothing is known of what it names
`NotAllowed`            401 or 403: the node does not serve us
`NodeError`             the node tells what is wrong, by the ids of its errors
`AdminError`            any other status
======================  ================================================================

A path is sent as it is given: only the brackets of an IPv6 point are percent-encoded, as
nodes of 2019 are used to.  Redirects are not followed, no proxy and no cookie is used.

Source: traffic between an admin client and a node, both of 2019; the reference's RPC
layer, 2026.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Any, Final

import aiohttp
import attrs
from yarl import URL

from ..spec.convert import ShapeError, parse_json
from ..spec.rpc import Generation, RpcError
from .admin_endpoint import Endpoint
from .admin_texts import text_of
from .rpc import RPC

#: Bytes of the longest answer that is taken: a node's tables have bounds, too.
ANSWER_MAX: Final = 64 << 20
#: Bytes of the longest document of a stream.
DOCUMENT_MAX: Final = 1 << 20
#: Bytes of an error's text that are looked at.
_TEXT_MAX: Final = 64 << 10
#: Characters of a foreign text that are shown.
_SHOWN: Final = 300

JSON: Final = "application/json"
_HEADERS: Final = {
    "Accept": JSON,
    "Accept-Encoding": "identity",
    "User-Agent": "tezos-p2p",
}


class AdminError(Exception):
    """What could not be done, for people.

    Attributes:
        lines: the text; one line but where the reference has more.
    """

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


class Unreachable(AdminError):
    """No connection could be made."""


class NoAnswer(AdminError):
    """The connection broke, or nothing came in time."""


class BadAnswer(AdminError):
    """What came is not what nodes answer."""


class NoSuchService(AdminError):
    """The node has no such route, or knows nothing of what it names."""


class NotAllowed(AdminError):
    """The node does not serve us."""


class NodeError(AdminError):
    """The node tells what is wrong.

    Attributes:
        errors: as it tells them, the most telling first.
    """

    def __init__(self, errors: Sequence[RpcError], generation: Generation) -> None:
        super().__init__(*(text_of(error, generation) for error in errors))
        self.errors = tuple(errors)

    @property
    def ids(self) -> tuple[str, ...]:
        """What the errors are."""
        return tuple(error.id for error in self.errors)


@attrs.frozen
class Request:
    """What is asked, for the texts of errors."""

    method: str
    uri: str

    def __str__(self) -> str:
        """Return method and address."""
        return f"{self.method} {self.uri}"


def _nothing() -> None:
    """Do nothing."""


@attrs.define(eq=False)
class Client:
    """Asks one node.  Made by `open_client`.

    Attributes:
        endpoint: where it is.
        timeout: seconds for one answer.
        session: makes the connections.
        generation: of the node, once it is known; the texts of errors depend on it.
    """

    endpoint: Endpoint
    timeout: float
    session: aiohttp.ClientSession
    generation: Generation = Generation.G2026

    async def ask(
        self, method: str, path: str, body: str | None = None, patience: float = 0.0
    ) -> Any:
        """Return the answer to a request: a JSON value.

        Args:
            method: GET, PUT, PATCH, DELETE.
            path: with its query.
            body: JSON text.
            patience: seconds that the node may take on top.

        Raises:
            AdminError: there is none.
        """
        request = Request(method, self.endpoint.uri(path))
        timeout = self.timeout + patience
        async with (
            self._guard(request, timeout),
            asyncio.timeout(timeout),
            self._send(request, path, body) as response,
        ):
            return self._value(request, response, await self._body(request, response))

    async def documents(
        self, path: str, on_open: Callable[[], object] = _nothing
    ) -> AsyncGenerator[Any]:
        """Yield what a stream tells; it ends when the other end ends it.

        Args:
            path: with its query.
            on_open: called when there is a stream.

        Raises:
            AdminError: there is no such stream, or it broke.
        """
        request = Request("GET", self.endpoint.uri(path))
        async with self._guard(request, self.timeout):
            async with asyncio.timeout(self.timeout):
                response = await self._send(request, path, None)
        async with response:
            if response.status != 200:
                async with self._guard(request, self.timeout):
                    async with asyncio.timeout(self.timeout):
                        body = await self._body(request, response)
                self._value(request, response, body)
            _check_type(request, response)
            on_open()
            async for line in self._lines(request, response):
                yield _parse(f"{request}: an event", line)

    # -- below -------------------------------------------------------------------------

    def _send(self, request: Request, path: str, body: str | None) -> Any:
        return self.session.request(
            request.method,
            URL(self.endpoint.url(path), encoded=True),
            data=None if body is None else body.encode("utf-8"),
            headers=None if body is None else {"Content-Type": JSON},
            allow_redirects=False,
        )

    def _value(
        self, request: Request, response: aiohttp.ClientResponse, body: bytes
    ) -> Any:
        """Return the JSON value of an answer.

        Raises:
            AdminError: it has none, or is a refusal.
        """
        status = response.status
        if status in (200, 500) and _is_json(response):
            value = _parse(f"{request}: the answer", body)
            if status == 200:
                return value
            raise NodeError(_errors(request, value), self.generation)
        if status == 200:
            _check_type(request, response)
        raise _refusal(request, response, body)

    async def _body(self, request: Request, response: aiohttp.ClientResponse) -> bytes:
        """Read an answer to its end."""
        parts: list[bytes] = []
        size = 0
        async for part in response.content.iter_any():
            size += len(part)
            if size > ANSWER_MAX:
                # Not read to its end, which it may not have.
                response.close()
                raise BadAnswer(
                    f"{request}: the answer is longer than {ANSWER_MAX} bytes"
                )
            parts.append(part)
        return b"".join(parts)

    async def _lines(
        self, request: Request, response: aiohttp.ClientResponse
    ) -> AsyncIterator[bytes]:
        """Split a stream into its documents."""
        rest = b""
        while True:
            async with self._guard(request, self.timeout):
                part = await response.content.readany()
            if not part:
                break
            *lines, rest = (rest + part).split(b"\n")
            if max(map(len, (*lines, rest))) > DOCUMENT_MAX:
                response.close()
                raise BadAnswer(
                    f"{request}: told a document of more than {DOCUMENT_MAX} bytes"
                )
            for line in lines:
                if line.strip():
                    yield line
        if rest.strip():
            yield rest

    @contextlib.asynccontextmanager
    async def _guard(self, request: Request, patience: float) -> AsyncGenerator[None]:
        """Turn what a library raises into what people can read."""
        try:
            yield
        except aiohttp.ClientConnectorCertificateError as exc:
            reason = f"certificate not accepted: {_first(exc.certificate_error)}"
            raise _unreachable(request, reason) from None
        except aiohttp.ClientConnectorError as exc:
            raise _unreachable(request, _reason(exc.os_error)) from None
        except TimeoutError:
            raise NoAnswer(f"{request}: no answer within {patience:g} seconds") from None
        except aiohttp.ServerDisconnectedError:
            raise NoAnswer(f"{request}: the connection was closed unanswered") from None
        except aiohttp.ClientPayloadError:
            raise NoAnswer(f"{request}: the connection ended within the answer") from None
        except aiohttp.ClientOSError as exc:
            raise NoAnswer(f"{request}: the connection broke: {_reason(exc)}") from None
        except aiohttp.ClientResponseError as exc:
            text = f"{request}: the answer is not HTTP: {_first(exc.message)}"
            raise BadAnswer(text[:_SHOWN]) from None
        except aiohttp.ClientError as exc:
            text = f"{request}: {_first(exc) or type(exc).__name__}"
            raise BadAnswer(text[:_SHOWN]) from None


@contextlib.asynccontextmanager
async def open_client(
    endpoint: Endpoint, patience: float = 30.0
) -> AsyncGenerator[Client]:
    """Open a client; connections are made when something is asked.

    Args:
        endpoint: where the node is.
        patience: seconds for one answer.
    """
    connector = (
        aiohttp.TCPConnector()
        if endpoint.socket is None
        else aiohttp.UnixConnector(endpoint.socket)
    )
    async with aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=_HEADERS,
        # Each request has its own, see there; a stream has none.
        timeout=aiohttp.ClientTimeout(total=None),
        auto_decompress=False,
    ) as session:
        yield Client(endpoint, patience, session)


# -- what an answer says ---------------------------------------------------------------


def _parse(name: str, body: bytes) -> Any:
    try:
        return parse_json(body, name)
    except ShapeError as exc:
        raise BadAnswer(str(exc)[:_SHOWN]) from None


def _errors(request: Request, value: object) -> Sequence[RpcError]:
    """Read what a node says is wrong.

    Raises:
        BadAnswer: it does not say it as nodes do.
    """
    try:
        found = RPC[Generation.G2026].shape(value, list[RpcError], f"{request}: errors")
    except ShapeError as exc:
        raise BadAnswer(str(exc)[:_SHOWN]) from None
    if not found or not isinstance(value, list):
        raise BadAnswer(f"{request}: the node has failed, and does not say why")
    return found


def _refusal(
    request: Request, response: aiohttp.ClientResponse, body: bytes
) -> AdminError:
    """Return what a status says that is not success."""
    status = response.status
    text = _first(body[:_TEXT_MAX].decode("utf-8", "replace"))[:_SHOWN]
    match status:
        case 401 | 403:
            said = f"the node's access rules do not allow it (status {status})"
            return NotAllowed(f"{request}: {said}")
        case 404:
            # The reference's words, which scripts know.
            return NoSuchService(f"Did not find service: {request}")
        case 405 | 501:
            said = "the node does not know this method there; see --generation"
        case 500 if text:
            said = f"the node has failed: {text}"
        case _ if 300 <= status < 400:
            where = response.headers.get("Location", "nowhere")
            said = f"redirected to {where[:_SHOWN]}, which is not followed"
        case _:
            said = f"status {status} {response.reason or ''}".rstrip()
            if text and response.content_type == "text/plain":
                said += f": {text}"
    return AdminError(f"{request}: {said}")


def _is_json(response: aiohttp.ClientResponse) -> bool:
    return response.content_type == JSON


def _check_type(request: Request, response: aiohttp.ClientResponse) -> None:
    if not _is_json(response):
        found = response.headers.get("Content-Type", "nothing that it names")[:80]
        raise BadAnswer(f"{request}: answers {found}, not JSON: is it a node's address?")


def _unreachable(request: Request, reason: str) -> Unreachable:
    """Say it as the reference does, line by line."""
    return Unreachable(
        "Rpc request failed:",
        f"   - meth: {request.method}",
        f"   - uri: {request.uri}",
        f'   - error: Unable to connect to the node: "{reason}"',
    )


def _reason(error: OSError) -> str:
    """Return what the system says; asyncio puts words of its own in its place."""
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {(error.reason or str(error)).lower().replace('_', ' ')}"
    if isinstance(error, ConnectionResetError):
        return os.strerror(errno.ECONNRESET)
    if error.errno is not None and not isinstance(error, socket.gaierror):
        return os.strerror(error.errno)
    return _first(error.strerror or error) or type(error).__name__


def _first(text: object) -> str:
    """Return the first line of a text that says something."""
    lines = (line.strip() for line in str(text).splitlines())
    return next((line for line in lines if line), "")
