"""Sockets as this protocol wants them, for all drivers.

Every socket is IPv6 and takes IPv4 as mapped addresses (``::ffff:a.b.c.d``), as the
core's addresses do; on a system without IPv6, IPv4 addresses get IPv4 sockets.  Sockets
are not inherited by child processes, and do not block.

===================  ===================================================================
option               value
===================  ===================================================================
TCP_NODELAY          on: the core joins what waits, nothing else may delay
SO_KEEPALIVE         first probe after 10 s, then every 5 s: an established connection
                     may be silent for ever, only this tells that the other end is gone
TCP_USER_TIMEOUT     45 s until sent bytes must be acknowledged, where it exists
IPV6_V6ONLY          off
===================  ===================================================================

Source: the socket options of the reference node, 2026.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from collections import deque
from collections.abc import Iterable
from typing import Any, Final

from ..spec.address import Address
from ..spec.datagram import DATAGRAM_SIZE
from ..spec.limits import Limits
from ..spec.point import DEFAULT_PORT, Point
from .arguments import point_at

#: Seconds of silence before the first keep-alive probe, and between probes.
KEEPALIVE_IDLE: Final = 10
KEEPALIVE_INTERVAL: Final = 5
#: Milliseconds that sent bytes may stay unacknowledged.
USER_TIMEOUT: Final = 45_000

_WISHES: Final = (
    (socket.IPPROTO_TCP, "TCP_NODELAY", 1),
    (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
    (socket.IPPROTO_TCP, "TCP_KEEPIDLE", KEEPALIVE_IDLE),
    (socket.IPPROTO_TCP, "TCP_KEEPALIVE", KEEPALIVE_IDLE),  # the same, on macOS
    (socket.IPPROTO_TCP, "TCP_KEEPINTVL", KEEPALIVE_INTERVAL),
    (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", USER_TIMEOUT),
)


def _known(wishes: Iterable[tuple[int, str, int]]) -> tuple[tuple[int, int, int], ...]:
    """Return the options that this system's Python knows, by number."""
    return tuple(
        (level, getattr(socket, name), value)
        for level, name, value in wishes
        if hasattr(socket, name)
    )


_OPTIONS: Final = _known(_WISHES)


def configure(sock: socket.socket) -> None:
    """Set the options of a TCP connection; what the system lacks is left out."""
    sock.setblocking(False)
    for option in _OPTIONS:
        try:  # each on its own; a context manager would take longer than the call
            sock.setsockopt(*option)
        except OSError:
            continue


def open_for(point: Point) -> tuple[socket.socket, tuple[Any, ...]]:
    """Return a socket to dial a point with, and the address for ``connect``.

    Raises:
        OSError: the system has no socket of that kind, or none left.
    """
    address = point.address.v6_text, point.port, 0, 0  # before there is a socket
    try:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    except OSError as exc:
        if exc.errno != errno.EAFNOSUPPORT or not point.address.is_v4:
            raise
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        configure(sock)
        return sock, (str(point.address), point.port)
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    configure(sock)
    return sock, address


def listen_on(point: Point, backlog: int) -> socket.socket:
    """Return a socket that listens on a point; port 0: one that is free.

    Raises:
        OSError: it cannot; the message names the point.
    """
    sock, address = open_for(point)
    try:
        if os.name == "posix":  # elsewhere it would let others steal the port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(backlog)
    except OSError as exc:
        sock.close()
        why = os.strerror(exc.errno) if exc.errno else str(exc)
        raise OSError(exc.errno, f"cannot listen on {point}: {why}") from None
    return sock


#: What a system says that lacks one of the addresses of a name.
_LACKING: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


def listen_on_each(points: Iterable[Point], backlog: int) -> list[socket.socket]:
    """Return sockets that listen on all points of a name, all on the first one's port.

    One that this system does not have is left out, if another is there.

    Raises:
        OSError: it cannot; the message names the point.
    """
    lacking: OSError | None = None
    with contextlib.ExitStack() as stack:
        found: list[socket.socket] = []
        for point in points:
            port = point_of(found[0].getsockname()).port if found else point.port
            try:
                sock = listen_on(Point(point.address, port), backlog)
            except OSError as exc:
                if exc.errno not in _LACKING:
                    raise
                lacking = exc
            else:
                found.append(stack.enter_context(sock))
        if not found:
            raise lacking or OSError(errno.EADDRNOTAVAIL, "there is no address")
        stack.pop_all()
        return found


def listen_at(where: Point | str, limits: Limits | None) -> socket.socket:
    """Return a socket that listens on a point, or on what a text says; port 9732 if none.

    Raises:
        OSError: it cannot; the message names the point.
        PointError: the text is no point.
        TypeError: it is neither a point nor a text.
    """
    point = point_at(where, "listen", DEFAULT_PORT)
    return listen_on(point, (limits or Limits()).backlog)


def point_of(address: Any) -> Point:
    """Return the point of a socket address, zone and flow label left out."""
    host, port = address[0], address[1]
    return Point(Address.parse(host.partition("%")[0]), port)


#: Addresses of one name that are tried.
ADDRESSES_MAX: Final = 8


def points_of(found: Iterable[Any]) -> tuple[Point, ...]:
    """Return the points of what ``getaddrinfo`` found, each once, at most 8."""
    points = dict.fromkeys(point_of(address) for *_, address in found)
    return tuple(points)[:ADDRESSES_MAX]


class Nearby:
    """Datagrams of the local network, IPv4 only.

    Args:
        to: where ours go: a broadcast address, and the port on which all listen.

    Attributes:
        sock: to be watched for reading.

    Raises:
        OSError: it cannot listen there; the message names the port.
    """

    def __init__(self, to: Point) -> None:
        self._to = str(to.address), to.port
        self.sock = sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            loopback = self._to[0].startswith("127.")
            anywhere = "0.0.0.0"  # noqa: S104  # a broadcast comes on any of them
            sock.bind((self._to[0] if loopback else anywhere, to.port))
        except OSError as exc:
            sock.close()
            why = os.strerror(exc.errno) if exc.errno else str(exc)
            raise OSError(
                exc.errno, f"cannot listen for neighbours on UDP port {to.port}: {why}"
            ) from None

    def shout(self, data: bytes) -> None:
        """Send a datagram; if that fails, it is lost."""
        with contextlib.suppress(OSError):
            self.sock.sendto(data, self._to)

    def receive(self) -> tuple[bytes, Address] | None:
        """Return a datagram and who sent it, or None if there is none after all."""
        try:
            data, (host, _) = self.sock.recvfrom(DATAGRAM_SIZE)
        except OSError:
            return None
        return data, Address.parse(host)

    def close(self) -> None:
        """Send and receive no more."""
        self.sock.close()


class Bell:
    """Ends the waiting of a selector from another thread.

    Attributes:
        ear: to be watched for reading.
    """

    def __init__(self) -> None:
        self._mouth, self.ear = socket.socketpair()
        self._mouth.setblocking(False)
        self.ear.setblocking(False)
        self._rung = False

    def ring(self) -> None:
        """Make the ear readable; once until it was heard."""
        if not self._rung:
            self._rung = True
            with contextlib.suppress(OSError):
                self._mouth.send(b"\0")

    def heard(self) -> None:
        """Make ready for the next time."""
        with contextlib.suppress(OSError):
            self.ear.recv(64)
        self._rung = False

    def close(self) -> None:
        """Close both ends."""
        self._mouth.close()
        self.ear.close()


#: Pieces that one system call takes at most.
PIECES_MAX: Final = 64


class Wire:
    """One TCP connection, or one that is being dialled."""

    __slots__ = ("connecting", "interest", "left", "paused", "shut", "size", "sock")

    def __init__(self, sock: socket.socket, connecting: bool) -> None:
        self.sock = sock
        self.connecting = connecting
        # Reading rests: the core wants nothing now, or the stream has ended.
        self.paused = False
        self.shut = False
        # What the socket did not take yet, and its bytes.
        self.left: deque[bytes | memoryview] = deque()
        self.size = 0
        self.interest = 0

    def write(self) -> None:
        """Give the socket as much as it takes."""
        left = self.left
        while left:
            pieces = [left.popleft() for _ in range(min(len(left), PIECES_MAX))]
            try:
                sent = _send(self.sock, pieces)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                left.clear()
                raise
            self.size -= sent
            for index, piece in enumerate(pieces):
                if sent < len(piece):
                    left.extendleft(reversed(pieces[index + 1 :]))
                    left.appendleft(memoryview(piece)[sent:])
                    return
                sent -= len(piece)
        if self.shut:
            with contextlib.suppress(OSError):  # it is broken: they will hear of it
                self.sock.shutdown(socket.SHUT_WR)


def _send(sock: socket.socket, pieces: list[bytes | memoryview]) -> int:
    if hasattr(sock, "sendmsg"):
        return sock.sendmsg(pieces)
    return sock.send(b"".join(pieces))
