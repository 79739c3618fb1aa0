"""Who may fill our slots: a policy against eclipses that nobody can see on the wire.

An attacker who holds a few blocks of addresses tries to become everybody we are connected
to: he fills our table with his points, takes every incoming slot, and waits for a
restart.  What stands against it:

========================  ==============================================================
rule                      holds for
========================  ==============================================================
quota of a block          outgoing connections and dials: few to one /16 (IPv6: /32)
dials of an address       few a minute: 1,000 ports taught for one address do not make us
                          a nuisance to a third party
reserved slots            incoming connections never take the last slots: they are for
                          those that we choose ourselves
anchors                   points that we were connected to longest are dialled first
                          after a restart, until each was reached once; they are kept
                          for the next restart until others take their places
test before evict         a point that a dial of ours has reached before leaves the table
                          only after a new dial, the test, has failed; who comes to us
                          proves no port
========================  ==============================================================

Who waits for a test is dialled under the rules for whatever a node dials by itself: not
without maintenance, and never beyond the connections that it wants.  Who may not be
dialled when its turn has come waits no longer, and stays in the table: the next newcomer
will have it tested.

Quota and dials count for the Internet only: networks of one's own are one block, and a
sandbox is one address.  The trusted and the exempt are counted, and never refused.  While
the node lacks connections the quota gives way: peers of one block are better than none.
The defaults are so wide that a node of 10, 50, 100 connections among honest peers never
notices them.

Source: our own; eclipse attacks on other networks, 2015 to 2026.  The reference has
nothing of it.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable
from typing import Final

import attrs

from ..spec.address import Address
from ..spec.point import Point
from .prefix import Prefix, prefix_of
from .ration import Ration
from .scope import Scope, carried, scope_of

#: Addresses whose dials are remembered; the least recently dialled goes first.
DIALLED_MAX: Final = 4096
#: Bits of the blocks of addresses that one party is likely to hold as a whole.
BLOCK_V4: Final = 16
BLOCK_V6: Final = 32
#: Points that wait for a test; more are not taken.
TESTS_MAX: Final = 64


@functools.lru_cache(maxsize=4096)
def block_of(address: Address) -> Prefix:
    """Return the block that an address counts as one of: a /16, of IPv6 a /32."""
    return prefix_of(carried(address), BLOCK_V4, BLOCK_V6)


class Eviction(enum.Enum):
    """Whether a point may leave the table of known points."""

    YES = "it was never reached, or not when it was last tried"
    NO = "it was reached lately"
    TEST = "it was reached once: dial it before you decide"


@attrs.frozen(kw_only=True)
class Bounds:
    """How much diversity is asked for.

    Attributes:
        per_block: outgoing connections and dials to one block of addresses.
        dials_per_minute: to one address, in the long run; as many at once.
        reserved: slots that incoming connections cannot take, unless an eighth of all
            slots is fewer.
        anchors: points kept for a restart, each of another block.
        fresh: seconds for which a point that was reached is not doubted.
        test_gap: least seconds between two tests.

    Raises:
        ValueError: a number below its least.
    """

    per_block: int = 8
    dials_per_minute: int = 6
    reserved: int = 8
    anchors: int = 4
    fresh: float = 3 * 3600.0
    test_gap: float = 120.0

    def __attrs_post_init__(self) -> None:
        """Check what would stop the node altogether."""
        for name, least in (("per_block", 1), ("dials_per_minute", 1), ("reserved", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} {getattr(self, name)} is below {least}")
        for name in ("anchors", "fresh", "test_gap"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} {getattr(self, name)} is below 0")


def _anybody(_point: Point) -> bool:
    return True


@attrs.define(eq=False, weakref_slot=False)
class _Out:
    """One outgoing link: its point, and the block that it counts for, if any."""

    point: Point
    block: Prefix | None
    running: bool = False


@attrs.define(eq=False)
class Diversity:
    """Counts who fills our slots, and says who may not.

    Every ``now`` is monotonic seconds of one clock and never decreases.  An attempt of
    ours is told by `dialled`, one of theirs by nothing until it runs; `joined` follows
    when it runs, and `left` when it is over, in whatever way.  All cost the same however
    many links there are, but `anchors`.

    Args:
        bounds: how much is asked for.
        anchors: what `anchors` said before the restart.
    """

    _bounds: Bounds = attrs.field(factory=Bounds)
    _kept: tuple[Point, ...] = attrs.field(default=(), alias="anchors")
    # In the order in which they began to run: the longest connected come first.
    _out: dict[int, _Out] = attrs.field(factory=dict[int, _Out], init=False)
    _in: dict[int, None] = attrs.field(factory=dict[int, None], init=False)
    _blocks: dict[Prefix, int] = attrs.field(factory=dict[Prefix, int], init=False)
    _dials: Ration[Address] = attrs.field(init=False)
    # Anchors that were not reached since the start, and are not being dialled.
    _waiting: dict[Point, None] = attrs.field(factory=dict[Point, None], init=False)
    # What `anchors` has said last; nothing else asks for it.
    _said: tuple[Point, ...] = attrs.field(init=False)
    _tests: dict[Point, None] = attrs.field(factory=dict[Point, None], init=False)
    _next_test: float = attrs.field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        """Line the anchors up, fill the rations."""
        dials = self._bounds.dials_per_minute
        self._dials = Ration(dials / 60.0, dials, DIALLED_MAX)
        self._kept = self._kept[: self._bounds.anchors]
        self._said = self._kept
        self._waiting = dict.fromkeys(self._kept)

    # -- what we dial ------------------------------------------------------------------

    def may_dial(
        self, point: Point, now: float, *, exempt: bool = False, lacking: bool = False
    ) -> bool:
        """Whether a point may be dialled now.

        Args:
            point: which.
            now: the present.
            exempt: it is trusted, or on the white list.
            lacking: the node has fewer connections than are acceptable.
        """
        if exempt:
            return True
        scope = scope_of(point.address)
        if scope is Scope.NOWHERE or not point.port:
            return False
        if scope is not Scope.GLOBAL:
            return True
        if self._dials.wait(carried(point.address), now) > 0.0:
            return False
        block = block_of(point.address)
        return lacking or self._blocks.get(block, 0) < self._bounds.per_block

    def dialled(self, link: int, point: Point, now: float) -> None:
        """Count an attempt of ours; whoever was counted before under this link has left.

        Args:
            link: under which `joined` and `left` will tell its fate.
            point: where to.
            now: the present.
        """
        self.left(link)
        self._waiting.pop(point, None)
        self._tests.pop(point, None)
        block = None
        if scope_of(point.address) is Scope.GLOBAL:
            block = block_of(point.address)
            self._blocks[block] = self._blocks.get(block, 0) + 1
            self._dials.take(carried(point.address), now)
        self._out[link] = _Out(point, block)

    # -- links -------------------------------------------------------------------------

    def joined(self, link: int, *, incoming: bool) -> None:
        """Count a link that runs.

        Args:
            link: which; if it is ours, `dialled` has told of it.
            incoming: whether they have opened it.

        Raises:
            KeyError: an outgoing link that was not dialled.
        """
        if incoming:
            self._in[link] = None
        else:
            out = self._out.pop(link)
            out.running = True
            self._out[link] = out

    def left(self, link: int) -> None:
        """Forget a link, or an attempt that has failed; harmless if it is not known."""
        self._in.pop(link, None)
        out = self._out.pop(link, None)
        if out is not None and not out.running and out.point in self._kept:
            self._waiting[out.point] = None  # once more, when its back-off is over
        if out is None or out.block is None:
            return
        count = self._blocks[out.block] - 1
        if count:
            self._blocks[out.block] = count
        else:
            del self._blocks[out.block]

    @property
    def incoming(self) -> int:
        """How many incoming links run."""
        return len(self._in)

    @property
    def outgoing(self) -> int:
        """How many outgoing links run, or are being dialled."""
        return len(self._out)

    def reserved(self, slots: int) -> int:
        """Return how many of that many slots incoming connections cannot take."""
        return min(self._bounds.reserved, slots // 8)

    def may_take_in(self, slots: int, *, exempt: bool = False, coming: int = 0) -> bool:
        """Whether one more incoming connection may run.

        Args:
            slots: connections at which the node refuses.
            exempt: the peer is trusted, or its address on the white list.
            coming: incoming ones that were accepted and do not run yet.
        """
        return exempt or len(self._in) + coming < slots - self.reserved(slots)

    # -- anchors -----------------------------------------------------------------------

    def anchors(self) -> tuple[Point, ...]:
        """Return what is to be dialled first after a restart: save it.

        The outgoing links that have run for longest, each of another block.  Where there
        are too few of them, what was said the last time comes behind them: who loses all
        connections, or has none yet, does not lose the anchors.
        """
        chosen: dict[Point, None] = {}
        blocks: dict[Prefix, None] = {}
        running = (out.point for out in self._out.values() if out.running)
        for point in dict.fromkeys((*running, *self._said)):
            block = block_of(point.address)
            if len(chosen) == self._bounds.anchors:
                break
            if block not in blocks or scope_of(point.address) is not Scope.GLOBAL:
                blocks[block] = None
                chosen[point] = None
        self._said = tuple(chosen)
        return self._said

    @property
    def waiting_anchors(self) -> tuple[Point, ...]:
        """The anchors that were not reached yet: to be dialled before all others."""
        return tuple(self._waiting)

    # -- test before evict -------------------------------------------------------------

    def may_evict(
        self, point: Point, seen: float | None, missed: float | None, now: float
    ) -> Eviction:
        """Advise whether a point may leave the table; if a test is due, line it up.

        Advice: the table has a bound whatever is said here, and when all are worth
        keeping the one that was reached longest ago goes.

        Args:
            point: which; it is not connected.
            seen: when it was last reached, or None.
            missed: when a dial last failed, or None.
            now: the present.
        """
        if seen is None or (missed is not None and missed > seen):
            return Eviction.YES
        if now < seen + self._bounds.fresh:
            return Eviction.NO
        if len(self._tests) < TESTS_MAX:
            self._tests[point] = None
        return Eviction.TEST

    def next_test(
        self, now: float, may: Callable[[Point], bool] = _anybody
    ) -> Point | None:
        """Return a point to be dialled as a test, if one waits and its time has come.

        What comes of it is seen in the point's record; if it runs, so much the better.
        Nobody waits in vain for those before it that may not be dialled.

        Args:
            now: the present.
            may: says whether a point may be dialled; those that may not are given up.
        """
        if now < self._next_test:
            return None
        while self._tests:
            point = next(iter(self._tests))
            del self._tests[point]
            if may(point):
                self._next_test = now + self._bounds.test_gap
                return point
        return None

    def next_timeout(self) -> float | None:
        """Monotonic seconds at which `next_test` has something, or None."""
        return self._next_test if self._tests else None
