"""Addresses and points: where a node can be reached, in text and in bytes.

An address is always an IPv6 address; IPv4 is kept as ``::ffff:a.b.c.d``.  A point is
an address and a TCP port, 0 to 65535.

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

IP literals: IPv4 is four decimal octets without leading zeros.  IPv6 is groups of
hex digits of any number and value up to ffff, at most one ``::`` that stands for one
zero group or more, and possibly a dotted quad as the last 32 bits; no zone.

Binary form of an address alone (files and the admin interface): ``00000010`` and 16
bytes.  Of a connection id (an address, and a port if one is known): that, a presence
byte, and a uint16.

Source: the point module of the reference node (2026), compared with a running node
of 2019; limits of 51 bytes from 2026.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import Any, Final, NamedTuple, Self, cast

import attrs

from .binary import (
    UINT16,
    BinaryType,
    Dynamic,
    FixedBytes,
    Mapped,
    Present,
)
from .identity import PeerId
from .reader import (
    DecodeFault,
    EncodeError,
    Reader,
)
from .record import (
    Field,
    Record,
)

#: TCP port on which nodes listen unless configured otherwise.
DEFAULT_PORT: Final = 9732
#: Bytes of the longest point on the wire, its length prefix included.
POINT_MAX_SIZE: Final = 51
PORT_MAX: Final = 0xFFFF

_MAPPED: Final = 0xFFFF << 32
_V4_MASK: Final = 0xFFFFFFFF
_U32: Final = struct.Struct(">I")

_FULL: Final = re.compile(
    r"(?P<addr>"
    r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}|\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.\-]+|_|)"
    r"(?::(?P<port>[0-9]+))?(?:#(?P<peer_id>[A-Za-z0-9]+))?",
)
_V6_CHARS: Final = re.compile(r"[0-9A-Fa-f:.]+")
# The canonical octets, shifted to their places: both the check and the value of an
# IPv4 address in four look-ups.  An Advertise of 100 points is decoded this way; as
# bytes, since they need not be made text first.
_A, _B, _C, _D = (
    {b"%d" % n: (n << shift) + base for n in range(256)}
    for shift, base in ((24, _MAPPED), (16, 0), (8, 0), (0, 0))
)


class PointError(ValueError):
    """Text that is no point; the message says which rule it breaks."""


def _parse_v4(text: bytes) -> int | None:
    try:
        a, b, c, d = text.split(b".")
        return _A[a] + _B[b] + _C[c] + _D[d]
    except (ValueError, KeyError):
        return None


def _parse_groups(text: str) -> list[int] | None:
    """Read colon-separated groups of hex digits, the last of which may be dotted."""
    if not text:
        return []
    groups: list[int] = []
    parts = text.split(":")
    quad = None
    if "." in parts[-1]:
        quad = _parse_v4(parts.pop().encode())
        if quad is None:
            return None
    for part in parts:
        # The digits that count are few: a long run of zeros must not cost anything.
        digits = part if len(part) < 5 else part.lstrip("0") or "0"
        if not 0 < len(digits) < 5:
            return None
        try:
            groups.append(int(digits, 16))
        except ValueError:  # a dot before the last group
            return None
    if quad is not None:
        groups += [(quad >> 16) & 0xFFFF, quad & 0xFFFF]
    return groups


def _parse_v6(text: str) -> int | None:
    if not _V6_CHARS.fullmatch(text):
        return None
    front, gap, back = text.partition("::")
    head = _parse_groups(front)
    tail = _parse_groups(back)
    if head is None or tail is None or (gap and "." in front):
        return None
    missing = 8 - len(head) - len(tail)
    if missing < 1 if gap else missing != 0:
        return None
    value = 0
    for group in head:
        value = value << 16 | group
    value <<= 16 * missing
    for group in tail:
        value = value << 16 | group
    return value


class Address(int):
    """An IPv6 address as a 128-bit integer; IPv4 is IPv4-mapped.

    An int, so that prefixes are shifts and tables of a million addresses are small.
    Text by `str` (canonical; dotted for IPv4, no brackets) and `Address.parse`.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an IPv4 or IPv6 literal, without brackets.

        Raises:
            PointError: not a literal.
        """
        value = _parse_v4(text.encode("utf-8", "replace"))
        if value is None:
            value = _parse_v6(text)
        if value is None:
            raise PointError(f"{text[:64]!r} is no IPv4 or IPv6 address")
        return cls(value)

    @property
    def packed(self) -> bytes:
        """The 16 bytes, most significant first."""
        return self.to_bytes(16, "big")

    @property
    def is_v4(self) -> bool:
        """Whether it is an IPv4-mapped address."""
        return self >> 32 == 0xFFFF

    @property
    def v6_text(self) -> str:
        """Compressed IPv6 text, dotted behind ``::ffff:`` for IPv4, never brackets."""
        if self.is_v4:
            return "::ffff:" + str(self)
        groups = [(self >> shift) & 0xFFFF for shift in range(112, -1, -16)]
        start, length = _longest_gap(groups)
        if length < 2:
            return ":".join(f"{group:x}" for group in groups)
        front = ":".join(f"{group:x}" for group in groups[:start])
        back = ":".join(f"{group:x}" for group in groups[start + length :])
        return f"{front}::{back}"

    @property
    def is_private(self) -> bool:
        """Whether the reference calls it private, for its check of listen addresses.

        IPv4: 0/8, 10/8, 127/8, 169.254/16, 172.16/12, 192.168/16, 255.255.255.255
        and multicast of the link (224.0.0/24), an organisation (239.192/14) or a site
        (239.255/16).  IPv6: ``::``, ``::1``, ``fe80::/64`` and multicast of a scope
        smaller than global.  Not ``fc00::/7``.
        """
        if self.is_v4:
            host = self & _V4_MASK
            return any(host >> shift == net for net, shift in _PRIVATE_V4)
        if self >> 120 == 0xFF:
            return (self >> 112) & 0xF < 0xE
        return self in (0, 1) or self >> 64 == 0xFE80 << 48

    def __str__(self) -> str:
        """Return the canonical text."""
        if self.is_v4:
            return ".".join(str((self >> shift) & 0xFF) for shift in (24, 16, 8, 0))
        return self.v6_text

    def __repr__(self) -> str:
        """Show the text form."""
        return f"Address.parse({str(self)!r})"


_PRIVATE_V4: Final = (
    (0, 24),
    (10, 24),
    (127, 24),
    (169 << 8 | 254, 16),
    (172 << 4 | 1, 20),
    (192 << 8 | 168, 16),
    (_V4_MASK, 0),
    (224 << 16, 8),  # 224.0.0/24
    (239 << 6 | 192 >> 2, 18),  # 239.192/14
    (239 << 8 | 255, 16),
)


def _longest_gap(groups: list[int]) -> tuple[int, int]:
    """Return start and length of the leftmost longest run of zero groups."""
    best = (0, 0)
    start = None
    for index, group in enumerate([*groups, 1]):
        if group == 0 and start is None:
            start = index
        elif group != 0 and start is not None:
            if index - start > best[1]:
                best = (start, index - start)
            start = None
    return best


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
    tuple.__new__,  # pyright: ignore[reportUnknownMemberType]  # see above
)


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
                host, _, port = data[head:end].rpartition(b":")
                if port.isdigit() and len(port) < 6 and (number := int(port)) <= PORT_MAX:
                    if host[:1] == b"[" and host[-1:] == b"]":
                        value = _parse_v6(host[1:-1].decode("latin-1"))
                    else:
                        value = _parse_v4(host)
                    if value is not None:
                        reader.pos = end
                        # As `Point(...)` does it, less one Python frame.
                        return _new_point(Point, (Address(value), number))
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
        _check_range(value.address)
        text = str(value).encode("ascii")
        out += _U32.pack(len(text))
        out += text

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


def _address_of(raw: bytes) -> Address:
    return Address(int.from_bytes(raw, "big"))


def _packed(address: Address) -> bytes:
    _check_range(address)
    return address.packed


def _check_range(address: int) -> None:
    if not isinstance(cast("object", address), Address) or not 0 <= address < 1 << 128:
        shown = hex(address) if isinstance(cast("object", address), int) else address
        raise EncodeError(f"{shown!s} is no address of 128 bits")


#: An address alone: length 16 and 16 bytes; not used between peers.
ADDRESS: Final = Dynamic(Mapped("address", FixedBytes(16), _address_of, _packed))


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
