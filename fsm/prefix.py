"""Prefixes of addresses, as ``192.0.2.0/24`` or ``2001:db8::/32``, and sets of them.

A prefix is its first address and a length in bits, 0 to 128.  As addresses are IPv6
throughout, with IPv4 as ``::ffff:a.b.c.d``, an IPv4 length counts inside the mapped
block: ``192.0.2.0/24`` has length 96 + 24, and ``0.0.0.0/0`` is every IPv4 address and
no other.  A single address is a prefix of length 128.

Text: an address literal, alone or followed by ``/`` and a decimal length without sign
or leading zeros, 0 to 32 behind a dotted quad, 0 to 128 behind anything else.  Bits
behind the length must be zero: who writes ``192.0.2.77/24`` means either less or more
than he wrote.  Written is the canonical form, IPv4 dotted and with its own length,
single addresses without one.

Source: our own; the reference node had a set of prefixes in 2019, and lists exact
addresses only in 2026.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

from ..spec.address import Address, PointError

#: Bits of an address.
ADDRESS_BITS: Final = 128
#: Bits of an IPv4 address.
V4_BITS: Final = 32
#: Bits in front of the IPv4 address in a mapped one.
V4_START: Final = ADDRESS_BITS - V4_BITS
#: Length by which IPv4 addresses are put together where none is asked for: what one
#: customer is usually given.
DEFAULT_V4: Final = 24
#: The same for IPv6.
DEFAULT_V6: Final = 56

# Looked up and not converted: `int` takes signs, blanks and digits of other scripts.
_LENGTHS: Final = {str(length): length for length in range(ADDRESS_BITS + 1)}


class PrefixError(ValueError):
    """Text or numbers that are no prefix; the message says which rule they break."""


class Prefix(NamedTuple):
    """A block of addresses.  Made by ``of`` or ``parse``, which check it.

    Attributes:
        network: first address, 128 bits.
        length: bits that all its addresses share, 0 to 128.
    """

    network: int
    length: int

    @classmethod
    def of(cls, address: int, length: int = ADDRESS_BITS) -> Prefix:
        """Return the prefix of that length (of 128) around an address.

        Raises:
            PrefixError: the length is not in 0..128, or the address not of 128 bits.
        """
        if not 0 <= length <= ADDRESS_BITS:
            raise PrefixError(f"length {length} is not in 0..{ADDRESS_BITS}")
        if not 0 <= address < 1 << ADDRESS_BITS:
            raise PrefixError(f"{address:#x} is no address of {ADDRESS_BITS} bits")
        shift = ADDRESS_BITS - length
        return cls(address >> shift << shift, length)

    @classmethod
    def parse(cls, text: str) -> Prefix:
        """Read ``address`` or ``address/length``.

        Raises:
            PrefixError: no address, no length, or bits behind the length.
        """
        literal, slash, bits = text.partition("/")
        try:
            address = Address.parse(literal)
        except PointError as error:
            raise PrefixError(str(error)) from None
        if not slash:
            return cls.of(address)
        # The notation decides: ``::ffff:192.0.2.0/120`` is ``192.0.2.0/24``.
        start = 0 if ":" in literal else V4_START
        length = _LENGTHS.get(bits)
        if length is None or start + length > ADDRESS_BITS:
            most = ADDRESS_BITS - start
            raise PrefixError(f"{bits[:64]!r} is no length: 0 to {most} wanted")
        prefix = cls.of(address, start + length)
        if prefix.network != address:
            raise PrefixError(f"{text} has bits behind its length: {prefix}?")
        return prefix

    @property
    def is_address(self) -> bool:
        """Whether it holds a single address."""
        return self.length == ADDRESS_BITS

    @property
    def is_sound(self) -> bool:
        """Whether the numbers are what ``of`` would have made of them."""
        return (
            0 <= self.length <= ADDRESS_BITS
            and 0 <= self.network < 1 << ADDRESS_BITS
            and self.network % (1 << (ADDRESS_BITS - self.length)) == 0
        )

    def contains(self, address: int) -> bool:
        """Whether an address is in the block."""
        shift = ADDRESS_BITS - self.length
        return address >> shift == self.network >> shift

    def __str__(self) -> str:
        """Return the canonical text."""
        address = Address(self.network)
        if self.is_address:
            return str(address)
        # Only a length of 96 or more can leave the mark of a mapped address whole.
        return f"{address}/{self.length - V4_START if address.is_v4 else self.length}"


def prefix_of(address: Address, v4: int = DEFAULT_V4, v6: int = DEFAULT_V6) -> Prefix:
    """Return the prefix that stands for whoever holds an address.

    Args:
        address: any.
        v4: length for IPv4 addresses, 0 to 32.
        v6: length for the others, 0 to 128.

    Raises:
        PrefixError: a length is out of range.
    """
    if not address.is_v4:
        return Prefix.of(address, v6)
    if not 0 <= v4 <= V4_BITS:
        raise PrefixError(f"length {v4} is not in 0..{V4_BITS}")
    return Prefix.of(address, V4_START + v4)


class PrefixSet:
    """A set of prefixes that says quickly whether any of them holds an address.

    A look-up costs one step for each length that occurs in the set, however many
    prefixes there are.  Iteration gives them in the order in which they came.
    """

    __slots__ = ("_heads", "_members")

    def __init__(self) -> None:
        self._members: dict[Prefix, None] = {}
        # By number of bits that do not count, the values of those that do.
        self._heads: dict[int, set[int]] = {}

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Prefix]:
        return iter(self._members)

    def __contains__(self, prefix: Prefix) -> bool:
        """Whether exactly this prefix was added."""
        return prefix in self._members

    def covers(self, address: int) -> bool:
        """Whether an address is in any of the prefixes."""
        # A generator would take three times as long; it is asked of every address.
        for shift, heads in self._heads.items():  # noqa: SIM110  # any() takes longer
            if address >> shift in heads:
                return True
        return False

    def add(self, prefix: Prefix) -> bool:
        """Add a prefix; say whether it is new.

        Raises:
            PrefixError: its numbers are no prefix.
        """
        if not prefix.is_sound:
            network, length = prefix
            raise PrefixError(f"network {network:#x}, length {length} is no prefix")
        if prefix in self._members:
            return False
        self._members[prefix] = None
        shift = ADDRESS_BITS - prefix.length
        self._heads.setdefault(shift, set()).add(prefix.network >> shift)
        return True

    def discard(self, prefix: Prefix) -> bool:
        """Take out exactly this prefix; say whether it was there."""
        if prefix not in self._members:
            return False
        del self._members[prefix]
        shift = ADDRESS_BITS - prefix.length
        heads = self._heads[shift]
        heads.remove(prefix.network >> shift)
        if not heads:
            del self._heads[shift]
        return True

    def clear(self) -> None:
        """Take out everything."""
        self._members.clear()
        self._heads.clear()
