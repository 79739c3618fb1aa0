"""How far an address reaches, and who may tell whom of it.

=========  ===================================  ========================================
scope      IPv4                                 IPv6
=========  ===================================  ========================================
LOOPBACK   127/8                                ``::1``
PRIVATE    10/8, 172.16/12, 192.168/16,         fc00::/7, fe80::/10, fec0::/10,
           100.64/10, 169.254/16, 198.18/15,    64:ff9b:1::/48; for documentation:
           192.0.0/24; for documentation:       2001:db8::/32, 3fff::/20
           192.0.2/24, 198.51.100/24,
           203.0.113/24
NOWHERE    0/8, 224/3                           everything else outside of 2000::/3
GLOBAL     the rest                             2000::/3
=========  ===================================  ========================================

Addresses of documentation are private: nobody on the Internet has them, and examples and
simulations that use them find each other.  An IPv6 address that carries an IPv4 one
(64:ff9b::/96, 6to4, Teredo) reaches as far as that one.

Who may tell whom: points that reach farther than, or as far as, the address of whoever
tells or is told.  So a peer of the Internet can neither make us dial into our own network
nor learn of it, and a peer of our own network can tell us of both.

Source: our own; the registries of special-purpose addresses.  The reference has a
function for it that nothing calls: its nodes gossip any address.
"""

from __future__ import annotations

import enum
import functools
from typing import Final

from ..spec.address import Address
from ..spec.point import Point
from .prefix import V4_BITS, Prefix, PrefixSet, prefix_of

_MAPPED: Final = 0xFFFF << 32
_V4_MASK: Final = 0xFFFFFFFF


class Scope(enum.Enum):
    """How far an address reaches.

    Attributes:
        reach: the greater, the farther.
        meaning: one phrase.
    """

    __hash__ = object.__hash__

    NOWHERE = (-1, "no host has it")
    LOOPBACK = (0, "this machine")
    PRIVATE = (1, "a network of its own")
    GLOBAL = (2, "the Internet")

    def __init__(self, reach: int, meaning: str) -> None:
        self.reach = reach
        self.meaning = meaning

    def may_teach(self, taught: Scope) -> bool:
        """Whether whoever is in this scope may tell and be told of what is in another."""
        # Who is nowhere, and yet connected, is a stranger.
        own = Scope.GLOBAL if self is Scope.NOWHERE else self
        return taught is not Scope.NOWHERE and taught.reach >= own.reach


def _set_of(*texts: str) -> PrefixSet:
    prefixes = PrefixSet()
    for text in texts:
        prefixes.add(Prefix.parse(text))
    return prefixes


_LOOPBACK: Final = _set_of("127.0.0.0/8", "::1")
_PRIVATE: Final = _set_of(
    "10.0.0.0/8",
    "172.16.0.0/12",
    "192.168.0.0/16",
    "100.64.0.0/10",
    "169.254.0.0/16",
    "198.18.0.0/15",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "fc00::/7",
    "fe80::/10",
    "fec0::/10",
    "64:ff9b:1::/48",
    "2001:db8::/32",
    "3fff::/20",
)
_NOWHERE_V4: Final = _set_of("0.0.0.0/8", "224.0.0.0/3")
# Each after a shift that leaves the prefix alone.
_NAT64: Final = 0x64FF9B << 64
_6TO4: Final = 0x2002
_TEREDO: Final = 0x20010000
_UNICAST: Final = 0b001


@functools.lru_cache(maxsize=4096)
def carried(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 one carries, or else the address itself."""
    if address >> 32 == _NAT64:
        return Address(_MAPPED | address & _V4_MASK)
    if address >> 112 == _6TO4:
        return Address(_MAPPED | (address >> 80) & _V4_MASK)
    if address >> 96 == _TEREDO:
        return Address(_MAPPED | ~address & _V4_MASK)
    return address


@functools.lru_cache(maxsize=4096)
def holder_of(address: Address) -> Prefix:
    """Return the prefix that stands for who holds an address, or the one it carries."""
    return prefix_of(carried(address))


@functools.lru_cache(maxsize=4096)
def host_of(address: Address) -> Prefix:
    """Return what one host has at least: its IPv4 address, or an IPv6 prefix."""
    return prefix_of(carried(address), V4_BITS)


# A node is told of the same addresses again and again.
@functools.lru_cache(maxsize=4096)
def scope_of(address: Address) -> Scope:
    """Say how far an address reaches."""
    address = carried(address)
    if _PRIVATE.covers(address):
        return Scope.PRIVATE
    if _LOOPBACK.covers(address):
        return Scope.LOOPBACK
    reachable = (
        not _NOWHERE_V4.covers(address) if address.is_v4 else address >> 125 == _UNICAST
    )
    return Scope.GLOBAL if reachable else Scope.NOWHERE


def may_teach(address: Address, point: Point) -> bool:
    """Whether somebody at an address may tell us of a point, and may be told of it.

    Never of a point with port 0, nor of one that nobody can reach.

    Args:
        address: where the peer is that tells or is told.
        point: of what.
    """
    return bool(point.port) and scope_of(address).may_teach(scope_of(point.address))
