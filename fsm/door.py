"""Whom a node hears at all: incoming connections before their first byte.

An incoming connection takes a seat until it runs or is over.  Seats are few, and who
connects and then says nothing keeps one for seconds, at no cost.  So no prefix takes more
than its part of the seats, or begins more than so many connections a second; and when all
seats are taken, the oldest of the most represented prefix yields its own.  Who is on the
white list is not held to that, nor is loopback.

Source: the connect handler of the reference node, 2026, which only counts all seats and
lets nobody in who comes late; the rest is our own.
"""

from __future__ import annotations

from typing import Final

import attrs

from ..spec.address import Address
from ..spec.reasons import Reason
from .acl import Acl
from .prefix import Prefix
from .ration import Counts, Ration
from .scope import Scope, scope_of

#: Accepts per second and in one go from one prefix, and prefixes that are remembered.
ACCEPT_RATE: Final = 2.0
ACCEPT_BURST: Final = 20
ACCEPT_PREFIXES: Final = 4096
#: One prefix may hold so great a part of the handshakes in progress.
PREFIX_SHARE: Final = 4


@attrs.define(eq=False)
class Door:
    """The seats of those who come.

    Args:
        acl: who is banned, and who is exempt.
        most: seats.

    Attributes:
        seats: who holds them, by whom an address stands for.
    """

    _acl: Acl
    _most: int
    seats: Counts[Prefix] = attrs.field(init=False)
    _accepts: Ration[Prefix] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Count the seats, fill the rations."""
        self.seats = Counts(self._most)
        self._accepts = Ration(ACCEPT_RATE, ACCEPT_BURST, ACCEPT_PREFIXES)

    def __len__(self) -> int:
        """Seats that are taken."""
        return len(self.seats)

    def knock(self, address: Address, now: float) -> Reason | int | None:
        """Say what is to be done about who comes.

        Returns:
            Why it is not heard; or the link that has to yield its seat to it; or None:
            there is a seat.
        """
        if self._acl.is_banned(address, now):
            return Reason.INCOMING_CONNECTION_BANNED
        holder = self._acl.holder_of(address)
        if not (self._acl.is_exempt(address) or scope_of(address) is Scope.LOOPBACK):
            if not self._accepts.take(holder, now):
                return Reason.INCOMING_CONNECTION_TOO_MANY
            if self.seats.count(holder) >= max(1, self._most // PREFIX_SHARE):
                return Reason.INCOMING_CONNECTION_TOO_MANY
        if not self.seats.full:
            return None
        victim = self.seats.yielding_to(holder)
        return Reason.INCOMING_CONNECTION_TOO_MANY if victim is None else victim

    def sit(self, link: int, address: Address) -> None:
        """Give a link a seat."""
        self.seats.add(self._acl.holder_of(address), link)

    def rise(self, link: int) -> None:
        """Take the seat of a link back; harmless if it has none."""
        self.seats.remove(link)
