"""Access lists: who is banned by the admin, who for a while, and who never is.

=============  ===========================  =================  ==========================
list           holds                        filled by          leaves
=============  ===========================  =================  ==========================
black          addresses, prefixes, peers   the admin          by the admin
white          addresses, prefixes          the admin          by the admin
grey           addresses                    offences           after a time, for room
grey           peers                        offences           after a time, for room
=============  ===========================  =================  ==========================

An address is *banned* if it is in the black or the grey list, a peer likewise.  The
white list keeps addresses out of the grey list (and out of limits per prefix, which are
not kept here); a ban by the admin wins over it.  Ports do not matter.  Trust is no
list: it is a mark on points and peers, kept with them, and shields from no ban.

Every command and what becomes of each list:

==================  ============  ============  ========================================
command             black         white         grey
==================  ============  ============  ========================================
ban                 added                       (stays)
unban               taken out                   what it covers is taken out
allow               (stays)       added         what it covers is taken out
disallow                          taken out
greylist                          (respected)   added, or its time begins anew
clear_greylists                                 emptied
clear               emptied       (stays)       emptied
restore             replaced      replaced      what the new white list covers leaves
==================  ============  ============  ========================================

Greylists hold exact addresses, oldest offence first, and each entry expires by itself:
nothing runs for it, as every question looks at the time.  They are bounded.  Full of
offences that still count, a list drops the oldest, and remembers since when it is not
complete.  The reference uses a Bloom filter instead: it suspects the innocent where this
forgets the guilty, and keeps an entry for 14 or 15 sixteenths of the configured time.

Source: the access-list module of the reference node, 2026, and its clean-up by time of
2019 and of the first design; that greylisted peers expire is from the latter alone.  The
white list, prefixes and the export are our own.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import attrs

from ..spec.address import Address
from ..spec.identity import PeerId
from ..spec.limits import Limits
from .prefix import Prefix, PrefixSet
from .scope import holder_of

#: Bytes that an entry of the address greylist takes (measured: 209 to 217, and 297 for
#: a moment while the table grows).
ENTRY_BYTES: Final = 256


@attrs.frozen
class StaticLists:
    """What the admin decided, as it is kept between two runs.

    Attributes:
        banned: addresses and prefixes.
        banned_peers: peer ids.
        allowed: addresses and prefixes that are exempt.
    """

    banned: tuple[Prefix, ...] = ()
    banned_peers: tuple[PeerId, ...] = ()
    allowed: tuple[Prefix, ...] = ()


class _Offences:
    """When each of a bounded number of offenders offended last.

    Keys are bytes and not ints although addresses are ints: the hash of an int is known
    to everybody, so that who owns a large enough block could choose addresses that all
    fall into one place of the table.
    """

    __slots__ = ("_delay", "_last", "_most", "dropped_since")

    def __init__(self, most: int, delay: float) -> None:
        self._most = most
        self._delay = delay
        self._last: OrderedDict[bytes, float] = OrderedDict()
        self.dropped_since: float | None = None

    def holds(self, key: bytes, now: float) -> bool:
        last = self._last.get(key)
        return last is not None and now < last + self._delay

    def add(self, key: bytes, now: float) -> bool:
        """Begin its time anew; False if that time is nothing."""
        if not self._delay:
            return False
        if key in self._last:
            self._last.move_to_end(key)
        elif len(self._last) >= self._most:
            _, oldest = self._last.popitem(last=False)
            # To forget what has expired is no loss.
            if self.dropped_since is None and now < oldest + self._delay:
                self.dropped_since = now
        self._last[key] = now
        return True

    def discard(self, key: bytes) -> bool:
        return self._last.pop(key, None) is not None

    def discard_covered(self, covers: Callable[[int], bool]) -> bool:
        """Drop the addresses of which that is true; say whether there were any."""
        keys = [key for key in self._last if covers(int.from_bytes(key, "big"))]
        for key in keys:
            del self._last[key]
        return bool(keys)

    def collect(self, now: float) -> int:
        """Drop what has expired; it is all in front, as the delay is one for all."""
        dropped = 0
        while self._last:
            key = next(iter(self._last))
            if now < self._last[key] + self._delay:
                break
            del self._last[key]
            dropped += 1
        return dropped

    def in_force(self, now: float) -> list[bytes]:
        return [key for key, last in self._last.items() if now < last + self._delay]

    def clear(self) -> None:
        self._last.clear()
        self.dropped_since = None


class Acl:
    """The lists of one node.  Every ``now`` is monotonic seconds and never decreases.

    A look-up costs the same however many entries there are, and one step for each
    length of prefix in use; so does greylisting.  What the admin does to a prefix, and
    what lists, is linear in the entries.

    Args:
        limits: ``peer_greylist_size`` bounds the greylist of peers,
            ``ip_greylist_size_in_kilobytes`` that of addresses (1024 / `ENTRY_BYTES`
            entries per KiB: 8192 by default).  ``ip_greylist_cleanup_delay``, and if
            that is None ``greylist_timeout``, is how long an entry counts, in seconds;
            0 greylists nobody.
    """

    __slots__ = ("_allowed", "_banned", "_banned_peers", "_grey", "_grey_peers")

    def __init__(self, limits: Limits) -> None:
        delay = limits.ip_greylist_cleanup_delay
        if delay is None:
            delay = limits.greylist_timeout
        most = limits.ip_greylist_size_in_kilobytes * 1024 // ENTRY_BYTES
        self._grey = _Offences(most, delay)
        self._grey_peers = _Offences(limits.peer_greylist_size, delay)
        self._banned = PrefixSet()
        self._allowed = PrefixSet()
        self._banned_peers: dict[PeerId, None] = {}

    # -- questions ---------------------------------------------------------------------

    def is_banned(self, address: Address, now: float) -> bool:
        """Whether nobody at an address may be talked to."""
        return self._banned.covers(address) or self._grey.holds(address.packed, now)

    def is_peer_banned(self, peer_id: PeerId, now: float) -> bool:
        """Whether a peer may not be talked to, wherever it is."""
        return peer_id in self._banned_peers or self._grey_peers.holds(peer_id, now)

    def is_blacklisted(self, address: Address) -> bool:
        """Whether the admin banned an address, by itself or in a prefix."""
        return self._banned.covers(address)

    def is_peer_blacklisted(self, peer_id: PeerId) -> bool:
        """Whether the admin banned a peer."""
        return peer_id in self._banned_peers

    def is_greylisted(self, address: Address, now: float) -> bool:
        """Whether an address is banned for a while."""
        return self._grey.holds(address.packed, now)

    def is_peer_greylisted(self, peer_id: PeerId, now: float) -> bool:
        """Whether a peer is banned for a while."""
        return self._grey_peers.holds(peer_id, now)

    def is_exempt(self, address: Address) -> bool:
        """Whether an address is in the white list, by itself or in a prefix."""
        return self._allowed.covers(address)

    def holder_of(self, address: Address) -> Prefix:
        """Return for whom an address stands: who is exempt stands for nobody else."""
        return Prefix.of(address) if self.is_exempt(address) else holder_of(address)

    def greylisted_addresses(self, now: float) -> list[Address]:
        """Return the greylisted addresses, oldest offence first."""
        keys = self._grey.in_force(now)
        return [Address(int.from_bytes(key, "big")) for key in keys]

    def greylisted_peers(self, now: float) -> list[PeerId]:
        """Return the greylisted peers, oldest offence first."""
        return [PeerId(key) for key in self._grey_peers.in_force(now)]

    @property
    def not_reliable_since(self) -> float | None:
        """When an address was first dropped from the greylist for want of room.

        Monotonic seconds, or None if that never happened since the list was cleared.
        """
        return self._grey.dropped_since

    # -- offences ----------------------------------------------------------------------

    def greylist(self, address: Address, now: float) -> bool:
        """Ban an address for a while, from now on; say whether that is so.

        It is not if the address is exempt, or nobody is greylisted at all.  Who lists a
        connection's peer too does it if this says True: what is exempt is whatever comes
        from there.
        """
        return not self._allowed.covers(address) and self._grey.add(address.packed, now)

    def greylist_peer(self, peer_id: PeerId, now: float) -> bool:
        """Ban a peer for a while, from now on; False if nobody is greylisted at all."""
        # A plain bytes: a quarter less memory.
        return self._grey_peers.add(bytes(peer_id), now)

    # -- the admin ---------------------------------------------------------------------

    def ban(self, target: Address | Prefix) -> bool:
        """Ban an address or a prefix for good; say whether it is new in the list.

        Raises:
            PrefixError: it is neither.
        """
        return self._banned.add(_prefix_of(target))

    def unban(self, target: Address | Prefix) -> bool:
        """Undo `ban` and lift greylistings; say whether there was anything to undo.

        Out of the black list goes exactly what is named, so an address stays banned as
        long as a prefix around it is.  Greylistings are lifted wherever it reaches.
        """
        prefix = _prefix_of(target)
        # Both are done: no short cut.
        was_banned = self._banned.discard(prefix)
        return self._pardon(prefix) or was_banned

    def ban_peer(self, peer_id: PeerId) -> bool:
        """Ban a peer for good; say whether it is new in the list."""
        if peer_id in self._banned_peers:
            return False
        self._banned_peers[peer_id] = None
        return True

    def unban_peer(self, peer_id: PeerId) -> bool:
        """Take a peer out of both lists; say whether it was in one."""
        was_banned = peer_id in self._banned_peers
        self._banned_peers.pop(peer_id, None)
        return self._grey_peers.discard(peer_id) or was_banned

    def allow(self, target: Address | Prefix) -> bool:
        """Exempt an address or a prefix; say whether it is new in the list.

        Raises:
            PrefixError: it is neither.
        """
        prefix = _prefix_of(target)
        added = self._allowed.add(prefix)
        self._pardon(prefix)
        return added

    def disallow(self, target: Address | Prefix) -> bool:
        """Take exactly this out of the white list; say whether it was in it."""
        return self._allowed.discard(_prefix_of(target))

    def clear_greylists(self) -> None:
        """Forget every offence."""
        self._grey.clear()
        self._grey_peers.clear()

    def clear(self) -> None:
        """Forget every offence and every ban; what is exempt stays so, as trust does."""
        self.clear_greylists()
        self._banned.clear()
        self._banned_peers.clear()

    def collect(self, now: float) -> int:
        """Drop what has expired; say how many entries that were.

        Nothing depends on it but memory, which is bounded anyway.
        """
        return self._grey.collect(now) + self._grey_peers.collect(now)

    # -- export ------------------------------------------------------------------------

    @property
    def static(self) -> StaticLists:
        """What the admin decided, in the order in which he did."""
        return StaticLists(
            tuple(self._banned), tuple(self._banned_peers), tuple(self._allowed)
        )

    def restore(self, static: StaticLists) -> None:
        """Replace what the admin decided; offences stay, but for what is now exempt.

        Raises:
            PrefixError: a prefix is none; nothing has changed.
        """
        banned, allowed = PrefixSet(), PrefixSet()
        for prefix in static.banned:
            banned.add(prefix)
        for prefix in static.allowed:
            allowed.add(prefix)
        self._banned, self._allowed = banned, allowed
        self._banned_peers = dict.fromkeys(static.banned_peers)
        self._grey.discard_covered(allowed.covers)

    def _pardon(self, prefix: Prefix) -> bool:
        """Lift the greylistings of a prefix; say whether there were any."""
        if prefix.is_address:
            return self._grey.discard(prefix.network.to_bytes(16, "big"))
        return self._grey.discard_covered(prefix.contains)


def _prefix_of(target: Address | Prefix) -> Prefix:
    return target if isinstance(target, Prefix) else Prefix.of(target)
