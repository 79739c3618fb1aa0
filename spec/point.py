"""Points: where a node can be reached, in text and in bytes.

A point is an address and a TCP port, 0 to 65535.

On the wire a point is text:

======  ====  ======  ==================================================================
offset  size  field   meaning
======  ====  ======  ==================================================================
0       4     length  uint30, at most 47
4       n     text    ``a.b.c.d:port`` for IPv4, ``[ipv6]:port`` otherwise, ASCII
======  ====  ======  ==================================================================

The whole takes at most 51 bytes (2026; 2019 set no limit), or the size limit is
exceeded; text that does not parse is an invalid value.  Written is only the
canonical form (RFC 5952).  Read is the grammar, which must match the whole string:

.. code-block:: text

    full    := addr [ ":" port ] [ "#" peer_id ]
    addr    := ipv4 | "[" (hex | ":" | ".")+ "]" | (letter | digit | "." | "-")+
             | "_" | ""
    ipv4    := four groups of 1 to 3 digits with dots between
    port    := digit+, at most 65535
    peer_id := (letter | digit)+, a valid peer id

On the wire the address must be an IP literal, the port is required, and a
``#peer_id`` is checked and dropped.  In configuration and on the command line the
address may be a host name, ``_`` or empty (both: unspecified).

Addresses have a module of their own.  Of a connection id (an address, and a port if one
is known; files and the admin interface) the bytes are: the address, a presence byte,
and a uint16.

Source: the point module of the reference node (2026), compared with a running node
of 2019; limits of 51 bytes from 2026.
"""

from __future__ import annotations

import functools
import re
import struct
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Self, cast

import attrs

from .address import ADDRESS, Address, PointError, check_range, parse_v4, parse_v6
from .binary import UINT16, BinaryType
from .blocks import Present
from .identity import PeerId
from .reader import DecodeFault, EncodeError, Reader
from .record import Field, Record

#: TCP port on which nodes listen unless configured otherwise.
DEFAULT_PORT: Final = 9732
#: Bytes of the longest point on the wire, its length prefix included.
POINT_MAX_SIZE: Final = 51
PORT_MAX: Final = 0xFFFF
#: How many points' texts are remembered, in each direction.
POINTS_CACHED: Final = 4096

_U32: Final = struct.Struct(">I")

_FULL: Final = re.compile(
    r"(?P<addr>"
    r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}|\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.\-]+|_|)"
    r"(?::(?P<port>[0-9]+))?(?:#(?P<peer_id>[A-Za-z0-9]+))?",
)


@attrs.frozen
class Endpoint:
    """What ``addr[:port][#peer_id]`` says, before any name is resolved.

    Attributes:
        host: IP literal without brackets, host name, ``"_"`` or ``""``.
        port: 0 to 65535, or None.
        peer_id: who is expected there, or None.
    """

    host: str
    port: int | None = None
    peer_id: PeerId | None = None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the full grammar, as configuration and command line use it.

        Raises:
            PointError: bad format, port out of range, or bad peer id.
        """
        match = _FULL.fullmatch(text)
        if match is None:
            raise PointError(f"{text[:64]!r} is not of the form host[:port][#peer_id]")
        host, port, peer = match.group("addr", "port", "peer_id")
        if host.startswith("["):
            host = host[1:-1]
        return cls(host, _parse_port(port), _parse_peer(peer))

    @property
    def is_unspecified(self) -> bool:
        """Whether the host is left open (``""`` or ``"_"``)."""
        return self.host in ("", "_")

    def point(self, default_port: int | None = None) -> Point:
        """Return the point, for a host that is an IP literal.

        Raises:
            PointError: the host is a name, or there is no port.
        """
        port = default_port if self.port is None else self.port
        if port is None:
            raise PointError(f"{self.host!r} lacks a port")
        return Point(Address.parse(self.host), port)


def bracketed(text: str) -> str:
    """Put brackets around an IPv6 address that stands alone, as people type it.

    What could be an address and a port as well, such as ``2001:db8::1:9732``, and
    whatever else, stays as it is: nobody should have to guess which was meant.
    """
    head, _, last = text.rpartition(":")
    if parse_v6(text) is None or (last.isdigit() and parse_v6(head) is not None):
        return text
    return f"[{text}]"


def _parse_port(text: str | None) -> int | None:
    if text is None:
        return None
    digits = text.lstrip("0") or "0"
    if len(digits) > 5 or int(digits) > PORT_MAX:
        raise PointError(f"port {text[:16]} is not in 0..{PORT_MAX}")
    return int(digits)


def _parse_peer(text: str | None) -> PeerId | None:
    if text is None:
        return None
    try:
        return PeerId.parse(text)
    except ValueError as exc:
        raise PointError(str(exc)) from None


class Point(NamedTuple):
    """An address and a TCP port.

    A tuple: points are keys of every table, and tuples hash, compare and are made
    several times faster than attrs classes.

    Attributes:
        address: where.
        port: 0 to 65535.
    """

    address: Address
    port: int

    @classmethod
    def parse(cls, text: str, default_port: int | None = None) -> Point:
        """Read ``a.b.c.d:port`` or ``[ipv6]:port``; a valid ``#peer_id`` is dropped.

        Args:
            text: the text.
            default_port: used when the text has none; by default a port is required.

        Raises:
            PointError: says which rule is broken.
        """
        return Endpoint.parse(text).point(default_port)

    def __str__(self) -> str:
        """Return the canonical text."""
        if self.address.is_v4:
            return f"{self.address}:{self.port}"
        return f"[{self.address}]:{self.port}"


# What `Point(...)` calls in the end; typeshed's own type of it is partly unknown.
_new_point: Final = cast(
    "Callable[[type[Point], tuple[int, int]], Point]",
    tuple.__new__,  # pyright: ignore[reportUnknownMemberType]  # typeshed's
)


# The same points are told again and again, by and to everybody.
@functools.lru_cache(maxsize=POINTS_CACHED)
def _canonical(text: bytes) -> Point | None:
    """Read a point in canonical form; None if it is not."""
    host, _, port = text.rpartition(b":")
    if not port.isdigit() or len(port) > 5 or (number := int(port)) > PORT_MAX:
        return None
    if host[:1] == b"[" and host[-1:] == b"]":
        value = parse_v6(host[1:-1].decode("latin-1"))
    else:
        value = parse_v4(host)
    # As `Point(...)` does it, less one Python frame.
    return None if value is None else _new_point(Point, (Address(value), number))


@functools.lru_cache(maxsize=POINTS_CACHED)
def _written(point: Point) -> bytes:
    text = str(point).encode("ascii")
    return _U32.pack(len(text)) + text


class PointType(BinaryType[Point]):
    """A point on the wire; see the module's table."""

    max_size = POINT_MAX_SIZE

    def read(self, reader: Reader) -> Point:
        """Read one point."""
        # Canonical forms, by far the most frequent, go without the grammar and its
        # errors; whatever does not match goes the long way.
        data, start = reader.data, reader.pos
        head = start + 4
        if head <= reader.end:
            end = head + _U32.unpack_from(data, start)[0]
            if end <= reader.end and end - start <= POINT_MAX_SIZE:
                point = _canonical(bytes(data[head:end]))
                if point is not None:
                    reader.pos = end
                    return point
        return self._read_any(reader)

    def _read_any(self, reader: Reader) -> Point:
        start = reader.pos
        size = reader.length()
        if size > POINT_MAX_SIZE - 4:
            reader.pos = start
            raise reader.fail(
                DecodeFault.SIZE_LIMIT_EXCEEDED,
                f"point of {size + 4} bytes, limit {POINT_MAX_SIZE}",
            )
        # Latin-1 never fails, and the grammar admits nothing beyond ASCII.
        text = reader.take(size).decode("latin-1")
        try:
            return Point.parse(text)
        except PointError as exc:
            reader.pos = start + 4
            raise reader.fail(DecodeFault.INVALID_VALUE, str(exc)) from None

    def write(self, out: bytearray, value: Point) -> None:
        """Append one point."""
        if not isinstance(cast("object", value), Point):
            raise EncodeError(f"{value!r} is no point")
        if type(value.port) is not int or not 0 <= value.port <= PORT_MAX:
            raise EncodeError(f"port {value.port} is not in 0..{PORT_MAX}")
        check_range(value.address)
        out += _written(value)

    def describe(self) -> dict[str, Any]:
        """Length, text, limit."""
        return {
            "type": "dynamic",
            "prefix": "uint30",
            "of": {"type": "text", "grammar": "a.b.c.d:port or [ipv6]:port"},
            "max_bytes": POINT_MAX_SIZE,
            "as": "point",
        }


POINT: Final = PointType()


@attrs.frozen
class ConnectionId:
    """An address and the port on which the remote listens, if it announced one."""

    address: Address
    port: int | None = None

    def __str__(self) -> str:
        """Return ``[ipv6]:port`` or ``[ipv6]:??``, IPv4 being ``::ffff:`` here."""
        return f"[{self.address.v6_text}]:{'??' if self.port is None else self.port}"


CONNECTION_ID: Final = Record(
    ConnectionId,
    "connection id",
    Field("address", ADDRESS, "remote address"),
    Field("port", Present(UINT16), "port on which it listens, if known"),
)
