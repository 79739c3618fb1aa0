"""Who moves bytes next, and when: one cap, shared among links by weight.

One `Shares` is one direction, sending or receiving.  A *unit* is what a link moves at
one go: a write, or a read, of at most `UNIT_MAX` bytes where there is a cap.  What is
read is cut to an eighth of a second's worth, see `unit_of`, or a few who always have
something would keep all others waiting for seconds, and newcomers for longer than a
handshake may take; what is written, a chunk cannot be cut.

**Whose turn.**  Links that have something to move stand in a ring.  In every round each
may move a quantum, `QUANTUM` bytes times its weight; it goes on within the round while
some of that is left, and what its last unit took too much comes off the next rounds
(weighted deficit round robin, in the form that needs not know sizes beforehand).  A link
that would be passed over in the next rounds is filed under the round in which it will be
served, and rounds in which nobody is served do not take place: so no call looks at links
that it does not serve.  Unused quanta are lost, debts are kept; a link that had nobody
waiting beside it owes its last unit at most.

**When.**  A cap is a bucket of one unit (of a second's worth or so, if that is less) that
fills steadily; who finds it not empty may move a unit, and what that takes too much has
to be made good first.  So a window of t seconds carries at most ``cap * t`` bytes and
two units.  If the alarm rings late while several links are starved, up to `LATENESS`
seconds of the cap are not lost: a window may carry so much more then.  A link that is
alone does lose them.  Links may have caps of their own, in the same way; while such
a one waits, the others have its share.

The work is conserving: nothing but a cap stops anybody, and without one nobody is ever
starved.  Nothing ticks: buckets and rounds are brought up to date when they are asked.

Links that were given a turn are expected to move what they moved last, so that a cap is
not promised to more links than it has room for.  A turn that nobody used is forgotten
when the cap has made good for what was expected.

Source: the I/O scheduler of the reference node, 2026, has the caps and the fair shares
(of the rate that it measures, renewed every second; greed has no debts there); its
documentation announces shares that follow the score, which are our own.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from heapq import heappop, heappush
from typing import Final, Literal

import attrs

from .average import Average, Stat
from .machine import LocalProtocolError
from .timers import Timers

#: Most bytes that are moved at one go under a cap; reads and writes are to be cut so.
UNIT_MAX: Final = 65_535
#: Units of a second's worth; and bytes below which no unit is cut for that.
UNITS_A_SECOND: Final = 8
UNIT_LEAST: Final = 4096
#: Bytes that a link of weight 1 may move in a round.
QUANTUM: Final = 16_384
#: The least weight; lesser ones count as this.
WEIGHT_MIN: Final = 0.1
#: The greatest weight; greater ones count as this.
WEIGHT_MAX: Final = 10.0
#: Seconds by which an alarm may be late before bandwidth is lost.
LATENESS: Final = 0.05
#: Seconds of a cap that are saved up at most, however little that is.
BURST_MAX: Final = 1.0 - LATENESS

#: ``fair``: all links have weight 1; ``score``: the weights that they are given.
Policy = Literal["fair", "score"]

# Where a link stands that is not in the ring: nowhere, or waiting for its own cap.
_OUT: Final = -1
_HELD: Final = -2


def unit_of(cap: int | None) -> int:
    """Return the most bytes of a unit that can be cut, under a cap in bytes a second."""
    if cap is None:
        return UNIT_MAX
    return min(UNIT_MAX, max(UNIT_LEAST, cap // UNITS_A_SECOND))


def clamped(weight: float) -> float:
    """Return the weight that counts, `WEIGHT_MIN` to `WEIGHT_MAX`; NaN is the least."""
    # In this order: what compares with nothing ends as the least.
    return min(WEIGHT_MAX, weight) if weight > WEIGHT_MIN else WEIGHT_MIN


@attrs.define(eq=False, weakref_slot=False)
class _Bucket:
    """A cap: when the next unit may move.

    ``clear`` is when it is made good for all that has moved; the time since then, up to
    ``burst`` seconds, is credit.  ``cost``: seconds for a byte.
    """

    cap: int
    clear: float
    burst: float = attrs.field(init=False)
    cost: float = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Fill it; a cap of 0 lets nothing pass, ever; one below is refused."""
        if self.cap < 0:
            raise ValueError(f"cap {self.cap} is below 0 bytes a second")
        if not self.cap:
            self.clear, self.burst, self.cost = math.inf, 0.0, 0.0
            return
        self.cost = 1 / self.cap
        self.burst = min(UNIT_MAX * self.cost, BURST_MAX)
        self.clear -= self.burst

    def trim(self, now: float, lateness: float = 0.0) -> None:
        """Lose the credit that is older than credit is kept."""
        self.clear = max(self.clear, now - self.burst - lateness)

    def spend(self, size: int, now: float, lateness: float = 0.0) -> None:
        """Charge some bytes, at least 1."""
        self.clear = max(self.clear, now - self.burst - lateness) + size * self.cost


@attrs.define(eq=False, weakref_slot=False)
class _Share(Average):
    """One link's part.

    ``deficit``: bytes that it may still move, or owes if negative, as of ``round``.
    ``slot``: the round that it is filed under, or where else it is.  ``given``: it has
    a turn that it has not used, and ``promise`` bytes are set aside for it.  ``size``:
    bytes of its last unit.
    """

    round: int
    quantum: int = QUANTUM
    bucket: _Bucket | None = None
    deficit: int = attrs.field(default=0, init=False)
    slot: int = attrs.field(default=_OUT, init=False)
    given: bool = attrs.field(default=False, init=False)
    promise: int = attrs.field(default=0, init=False)
    size: int = attrs.field(default=QUANTUM, init=False)

    def reckon(self, round_: int) -> int:
        """Return the deficit as of a round that is not before ``round``."""
        passed = round_ - self.round
        if passed:
            # What was left of a round that is over is lost.
            gained = self.deficit + passed * self.quantum
            self.deficit = min(gained, self.quantum)
            self.round = round_
        return self.deficit


@attrs.define(eq=False)
class Shares:
    """The turns of all links in one direction.

    Every ``now`` is monotonic seconds of one clock and never decreases.  A link that has
    not joined, or has left, raises `KeyError`.

    Who writes: `want` when there is something to write, then whatever `next` gives moves
    one unit, and `spend` says how much it was.  Who reads: `may` before every read, then
    `spend`; a link that may not is given by `next` or `wake` when it may.  Whenever links
    are left waiting, `next_timeout` says when to ask again.

    Args:
        cap: bytes a second of all links together; None for no cap; 0 lets nothing pass.
        policy: whether weights count.
        now: the present.

    Raises:
        ValueError: the cap is below 0.
    """

    _cap: int | None
    _policy: Policy
    _now: float
    _links: dict[int, _Share] = attrs.field(factory=dict[int, _Share], init=False)
    _all: Average = attrs.field(init=False)
    _bucket: _Bucket | None = attrs.field(init=False)
    # The ring: the round that runs, those that have links filed under them, their
    # numbers as a heap, and how many links there are in all of them.
    _round: int = attrs.field(default=0, init=False)
    _current: OrderedDict[int, _Share] = attrs.field(init=False)
    _later: dict[int, OrderedDict[int, _Share]] = attrs.field(init=False)
    _numbers: list[int] = attrs.field(factory=list[int], init=False)
    _waiting: int = attrs.field(default=0, init=False)
    # Links that wait for their own caps.
    _held: Timers = attrs.field(factory=Timers, init=False)
    _holding: int = attrs.field(default=0, init=False)
    # Bytes that links with unused turns are expected to move; when the cap will have
    # made good for them, once that keeps others waiting; whether others wait for it; by
    # how many seconds beyond the burst they were let go on too late.
    _promised: int = attrs.field(default=0, init=False)
    _until: float = attrs.field(default=math.inf, init=False)
    _starved: bool = attrs.field(default=False, init=False)
    _late: float = attrs.field(default=0.0, init=False)

    def __attrs_post_init__(self) -> None:
        """Begin with a full bucket."""
        self._all = Average(self._now)
        self._bucket = None if self._cap is None else _Bucket(self._cap, self._now)
        self._current, self._later = OrderedDict(), {}

    # -- links -------------------------------------------------------------------------

    def join(
        self, link: int, now: float, weight: float = 1.0, cap: int | None = None
    ) -> None:
        """Take in a link; its first turn is in the next round.

        Args:
            link: which; must not have joined yet.
            now: the present.
            weight: its share relative to others', if the policy looks at it.
            cap: bytes a second of its own, at least 0; None for no more than the common.

        Raises:
            LocalProtocolError: the link has joined already.
            ValueError: the cap is below 0.
        """
        if link in self._links:
            raise LocalProtocolError("join", "joined", f"link {link} has its part")
        self._all.bring_up_to_date(now)
        bucket = None if cap is None else _Bucket(cap, now)
        quantum = self._quantum(weight)
        self._links[link] = _Share(self._all.at, self._round, quantum, bucket)

    def leave(self, link: int, now: float) -> None:  # noqa: ARG002  # as all others
        """Forget a link; harmless if it is not known.  What it moved stays counted."""
        it = self._links.pop(link, None)
        if it is not None:
            self._take_back(it)
            self._take_out(link, it)

    def adjust(self, link: int, weight: float, cap: int | None, now: float) -> None:
        """Change a link's weight and own cap, from now on; see `join`.

        A link that waits goes on waiting, behind those of its new round.  What the old
        cap has not made good for yet, the new one has to; credit is carried over too.

        Raises:
            ValueError: the cap is below 0.
        """
        it = self._links[link]
        quantum, old = self._quantum(weight), it.bucket
        if quantum == it.quantum and cap == (old.cap if old else None):
            return
        new = None if cap is None else _Bucket(cap, now)
        if cap and new is not None and old is not None and old.cap:
            new.clear = now + (old.clear - now) * old.cap / cap
        waits = it.slot != _OUT
        self._take_out(link, it)
        it.reckon(self._round)
        it.quantum, it.bucket = quantum, new
        it.deficit = min(it.deficit, quantum)
        if waits:
            self._queue(link, it, now)

    def __len__(self) -> int:
        """How many links have joined and not left."""
        return len(self._links)

    # -- turns -------------------------------------------------------------------------

    def want(self, link: int, now: float) -> None:
        """Take note that a link has something to move; harmless if that is known."""
        it = self._links[link]
        if it.slot == _OUT:
            self._take_back(it)
            self._queue(link, it, now)

    def may(self, link: int, now: float) -> bool:
        """Whether a link may move a unit right now.

        If not it counts as starved until `next` or `wake` gives it.
        """
        it = self._links[link]
        common, own = self._bucket, it.bucket
        if common is None and own is None:
            return True
        if it.slot != _OUT:
            return False
        # Nobody overtakes those who wait for the common cap.
        if (
            common is None or (now >= common.clear and (it.given or not self._waiting))
        ) and (own is None or now >= own.clear):
            return True
        had_turn = it.given
        self._take_back(it)
        self._queue(link, it, now)
        if had_turn and it.slot == self._round:
            self._current.move_to_end(link, last=False)
        if common is not None and now < common.clear:
            self._starved = True
        return False

    def next(self, now: float) -> int | None:
        """Return the link whose turn it is, or None if nobody may move anything now.

        The link is taken out of the ring; `want` puts it back.
        """
        if self._holding:
            self._release(now)
        if not self._waiting or not self._open(now):
            return None
        if not self._current:
            self._advance()
        link, it = self._current.popitem(last=False)
        self._give(it)
        return link

    def wake(self, now: float) -> list[int]:
        """Return all whose turn it is, as repeated calls of `next` would.

        Under a cap these are as many as it has room for, if they move what they moved
        last.
        """
        woken: list[int] = []
        if self._holding:
            self._release(now)
        while self._waiting and self._open(now):
            if not self._current:
                self._advance()
            bucket, current, room = self._bucket, self._current, math.inf
            if bucket is not None:
                room = (now - bucket.clear) * bucket.cap
            while True:
                link, it = current.popitem(last=False)
                self._give(it)
                woken.append(link)
                if not current or self._promised > room:
                    break
        return woken

    def spend(self, link: int, size: int, now: float) -> None:
        """Charge what a link has moved; its turn is over.

        Args:
            link: which.
            size: bytes, 0 if it had nothing after all.
            now: the present.
        """
        it = self._links[link]
        if it.given:
            self._take_back(it)
        if not size:
            return
        it.size = size
        it.add(size, now)
        self._all.add(size, now)
        deficit = it.deficit if it.round == self._round else it.reckon(self._round)
        # Alone, it moves on credit that nobody misses: older debts are forgiven.
        if deficit < 0 and not self._waiting:
            deficit = 0
        it.deficit = deficit - size
        if it.bucket is not None:
            it.bucket.spend(size, now)
        if self._bucket is not None:
            self._bucket.spend(size, now, self._late)
        if it.slot >= 0:
            # It was put back before it was charged: its round may be a later one.
            self._take_out(link, it)
            self._queue(link, it, now)

    def next_timeout(self) -> float | None:
        """Monotonic seconds at which starved links may go on; None if nobody is."""
        bucket = self._bucket
        at = self._held.next() if self._holding else None
        at = math.inf if at is None else at
        if self._waiting and bucket is not None:
            made_good = bucket.clear + self._promised * bucket.cost
            at = min(at, max(bucket.clear, min(self._until, made_good)))
        return None if at == math.inf else at

    # -- figures -----------------------------------------------------------------------

    def stat(self, link: int, now: float) -> Stat:
        """Return what a link has moved, and how fast lately."""
        return self._links[link].stat(now)

    def total(self, now: float) -> Stat:
        """Return what all links have moved, and how fast lately."""
        return self._all.stat(now)

    # -- the ring ----------------------------------------------------------------------

    def _quantum(self, weight: float) -> int:
        return QUANTUM if self._policy == "fair" else int(QUANTUM * clamped(weight))

    def _queue(self, link: int, it: _Share, now: float) -> None:
        """Put a link into the ring, or hold it back for its own cap."""
        own = it.bucket
        if own is not None and now < own.clear:
            it.slot = _HELD
            self._holding += 1
            self._held.set(link, own.clear)
            return
        if not self._waiting:
            self._starved, self._late = False, 0.0
        deficit = it.reckon(self._round)
        if deficit > 0:
            it.slot = self._round
            self._current[link] = it
        else:
            # The first round in which it has paid what it owes, and has some left.
            it.slot = number = self._round + 1 + -deficit // it.quantum
            entries = self._later.get(number)
            if entries is None:
                self._later[number] = entries = OrderedDict[int, _Share]()
                heappush(self._numbers, number)
            entries[link] = it
        self._waiting += 1

    def _take_out(self, link: int, it: _Share) -> None:
        """Take a link out of wherever it waits."""
        if it.slot == _OUT:
            return
        if it.slot == _HELD:
            self._holding -= 1
            self._held.set(link, None)
        else:
            at_once = it.slot == self._round
            del (self._current if at_once else self._later[it.slot])[link]
            self._waiting -= 1
        it.slot = _OUT

    def _advance(self) -> None:
        """Go on to the next round in which somebody is served; there is one."""
        while not self._current:
            self._round = heappop(self._numbers)
            self._current = self._later.pop(self._round)

    def _release(self, now: float) -> None:
        """Put those into the ring whose own caps let them go on."""
        for link in self._held.pop_due(now):
            it = self._links[link]
            it.slot = _OUT
            self._holding -= 1
            self._queue(link, it, now)

    def _give(self, it: _Share) -> None:
        """Give a link, just taken out of the ring, its turn."""
        # Its own cap minds not: a link in the ring is filed again when that is charged.
        self._waiting -= 1
        it.slot = _OUT
        if self._bucket is not None:
            it.given = True
            it.promise = it.size
            self._promised += it.size

    # -- the common cap ----------------------------------------------------------------

    def _open(self, now: float) -> bool:
        """Whether the common cap has room for one more turn."""
        bucket = self._bucket
        if bucket is None:
            return True
        if now >= bucket.clear:
            if now >= self._until:
                # Turns were not used, or for less; so nobody was late.
                bucket.trim(now)
                self._promised, self._until = 0, math.inf
            if self._starved:
                lost = now - bucket.burst - bucket.clear
                self._late = max(0.0, min(lost, LATENESS))
            bucket.trim(now, self._late)
            made_good = bucket.clear + self._promised * bucket.cost
            if now >= made_good:
                return True
            self._until = min(self._until, made_good)
        self._starved = True
        return False

    def _take_back(self, it: _Share) -> None:
        """Take back a turn, used or not."""
        # After turns were forgotten, fewer bytes are set aside than links remember.
        self._promised = max(0, self._promised - it.promise)
        if not self._promised:
            self._until = math.inf
        it.given, it.promise = False, 0
