"""Addresses: always IPv6, IPv4 kept as ``::ffff:a.b.c.d``; their text and their bytes.

IP literals: IPv4 is four decimal octets without leading zeros.  IPv6 is groups of hex
digits of any number and value up to ffff, at most one ``::`` that stands for one zero
group or more, and possibly a dotted quad as the last 32 bits; no zone, nothing behind.
Written is the canonical form: dotted for IPv4, else RFC 5952.

Binary form of an address alone (files and the admin interface, not between peers):

======  ====  =======  =================================================================
offset  size  field    meaning
======  ====  =======  =================================================================
0       4     length   uint30, always 16
4       16    address  most significant byte first
======  ====  =======  =================================================================

Source: the address module of the reference node (2026), compared with a running node of
2019.
"""

from __future__ import annotations

import re
from typing import Final, Self, cast

from .binary import FixedBytes
from .blocks import Dynamic, Mapped
from .reader import EncodeError

_MAPPED: Final = 0xFFFF << 32
_V4_MASK: Final = 0xFFFFFFFF
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


def parse_v4(text: bytes) -> int | None:
    """Return the mapped IPv6 address of a dotted quad, or None if it is none."""
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
        quad = parse_v4(parts.pop().encode())
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


def parse_v6(text: str) -> int | None:
    """Return the address of an IPv6 literal, or None if it is none."""
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
        value = parse_v4(text.encode("utf-8", "replace"))
        if value is None:
            value = parse_v6(text)
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


def _address_of(raw: bytes) -> Address:
    return Address(int.from_bytes(raw, "big"))


def _packed(address: Address) -> bytes:
    check_range(address)
    return address.packed


def check_range(address: int) -> None:
    """Raise `EncodeError` unless it is an `Address` of 128 bits."""
    if not isinstance(cast("object", address), Address) or not 0 <= address < 1 << 128:
        shown = hex(address) if isinstance(cast("object", address), int) else address
        raise EncodeError(f"{shown!s} is no address of 128 bits")


#: An address alone: length 16 and 16 bytes; not used between peers.
ADDRESS: Final = Dynamic(Mapped("address", FixedBytes(16), _address_of, _packed))
