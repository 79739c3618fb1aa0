"""Where metrics are served: addresses as people write them, and the sockets.

Source: ``--metrics-addr`` of the reference node, 2026.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterable, Sequence
from typing import Final

from ..spec.address import PointError
from ..spec.point import Endpoint, Point
from .ends import question
from .sockets import listen_on_each, point_of, points_of

#: TCP port, and host, if an address does not say them.
DEFAULT_PORT: Final = 9932
DEFAULT_HOST: Final = "localhost"
_BACKLOG: Final = 16


def parse_metrics_addr(text: str) -> Endpoint:
    """Read ``[host][:port]``; what is missing is ``localhost``, and 9932.

    Raises:
        PointError: it is not of that form, or names a peer.
    """
    endpoint = Endpoint.parse(text)
    if endpoint.peer_id is not None:
        raise PointError(f"{text[:64]!r} names a peer; an address has none")
    host = endpoint.host or DEFAULT_HOST
    port = DEFAULT_PORT if endpoint.port is None else endpoint.port
    made = Endpoint("::" if host == "_" else host, port)
    question(made)
    return made


def listen_for_metrics(endpoints: Iterable[Endpoint]) -> list[socket.socket]:
    """Return sockets that listen on all addresses of all endpoints.

    An address of a name that this system does not have is left out, if another is there.

    Raises:
        OSError: it cannot; the message names the address.
    """
    with contextlib.ExitStack() as stack:
        doors: list[socket.socket] = []
        for endpoint in endpoints:
            try:
                found = listen_on_each(_points(endpoint), _BACKLOG)
            except OSError as exc:
                raise OSError(exc.errno, f"metrics: {exc.strerror}") from None
            doors += [stack.enter_context(door) for door in found]
        stack.pop_all()
        return doors


def _points(endpoint: Endpoint) -> Sequence[Point]:
    try:
        return (endpoint.point(),)
    except PointError:
        pass
    host, port = question(endpoint)
    try:
        return points_of(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    except OSError as exc:
        raise OSError(
            exc.errno, f"metrics: {host} has no address: {exc.strerror}"
        ) from None


def addresses_of(doors: Iterable[socket.socket]) -> str:
    """Say where some sockets listen."""
    return ", ".join(str(point_of(door.getsockname())) for door in doors)
