"""The maintenance worker: the right number of connections, neither few nor many.

It counts, and says what to do: dial, drop, ask around.  It holds no table of the pool;
what it has to know it asks its `World`.

==========  ============================================================================
state       meaning
==========  ============================================================================
INACTIVE    waits for `start`
DISABLED    there is no maintenance: nothing is ever done
WAITING     nothing is wrong, or nothing can be done; until a time or an event
FILLING     too few: points are being dialled
ASKING      too few, and nobody left to dial: peers were asked for points
TRIMMING    too many: connections are being dropped
STOPPED     over
==========  ============================================================================

A *run* begins when it is started, every idle time, when it is asked for (`request`), and
when a peer leaves and fewer than the minimum are left, or one joins and there are more
than may stay.  What happens during a run begins no second one: a run goes on until the
number lies between the thresholds, both included, or nothing more can be done.

Too few.  Points are dialled, ``at_once`` at a time, until the target is reached or all
have been tried; nobody is dialled while connections and dials together make up the
greater target.  If that leaves us below the threshold, peers are asked, and their answer
or a growing delay is waited for.

To try all once is a *pass*.  Below the threshold it lasts `PASS_TIME` at most: then peers
are asked and all may be dialled again, whatever dials are in progress.  Else whoever
tells us of one dead point after another could prolong it for ever.  At the threshold or
above it, the run is over after `PASS_LONG`.

Too many.  As many as exceed the greater target are dropped, chosen at random among those
that may be.  If none may be, the run is over: it must not spin.

Connections that are ending already, because they may still send what is queued, are not
among those that stay: they are no reason to drop others, nor do they make up for those
that are missing.  But until they are gone they count where nobody may be dialled beyond
the greater target.

Where the reference does otherwise: it dials all candidates in parallel, once per pass; it
asks every 5 seconds for ever; it loops without pause when all that exceeds is protected;
explicit requests that find nothing to do are answered late; it proposes swaps even
when swaps are disabled; and one call of it lasts for as long as there are new points.

Source: the maintenance module of the reference node, 2026 (the triggers of 2019 were
interchanged); the periodic collection is that of 2019.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import attrs

from ..spec.limits import Limits, Thresholds
from ..spec.point import Point
from .commands import Maintained
from .machine import RUNNERS, LocalProtocolError, Row, States, Table, Trigger, shared
from .sampling import sample

#: Dials in progress at most, unless told otherwise.
AT_ONCE: Final = 20
#: Seconds after which a dial is no longer counted on, and another begun beside it.
PATIENCE: Final = 1.0
#: Points that are chosen at one look at all of them, at least.
LOOK: Final = 20
#: Points that one pass dials at most: peers can invent them without end.
PASS_MAX: Final = 1000
#: Seconds that a pass lasts at most: with too few connections, and with enough of them.
PASS_TIME: Final = 60.0
PASS_LONG: Final = 600.0
#: Seconds until points are looked for again, the first time and at most.
SEARCH_FIRST: Final = 5.0
SEARCH_MAX: Final = 30.0
#: Least seconds between two looks at all points because of what was heard, and with it
#: between two questions.
GAP: Final = 0.1
#: Seconds after which connections that were to be dropped, but have not gone, are no
#: longer waited for.
TRIM_LIMIT: Final = 5.0


def _thresholds(bounds: Bounds) -> Thresholds:
    wanted = Limits(
        min_connections=bounds.min_connections,
        expected_connections=bounds.expected_connections,
        max_connections=bounds.max_connections,
    )
    return wanted.thresholds


@attrs.frozen
class Bounds:
    """Numbers of connections: three that are given, four that follow.

    Attributes:
        min_connections: fewest that are acceptable.
        expected_connections: wanted.
        max_connections: most that are acceptable.
        thresholds: what follows from them.

    Raises:
        ValueError: not ``0 <= min <= expected <= max <= 65535``.
    """

    min_connections: int
    expected_connections: int
    max_connections: int
    thresholds: Thresholds = attrs.field(
        default=attrs.Factory(_thresholds, takes_self=True), init=False
    )

    @property
    def min_threshold(self) -> int:
        """Below it, peers are looked for."""
        return self.thresholds.min_threshold

    @property
    def min_target(self) -> int:
        """Peers are looked for until there are so many."""
        return self.thresholds.min_target

    @property
    def max_target(self) -> int:
        """Nobody is dialled beyond it; also where trimming ends."""
        return self.thresholds.max_target

    @property
    def max_threshold(self) -> int:
        """Above it, connections are dropped."""
        return self.thresholds.max_threshold

    def contain(self, active: int) -> bool:
        """Whether nothing is to be done with so many; the thresholds belong to it."""
        return self.min_threshold <= active <= self.max_threshold


class World(Protocol):
    """What maintenance asks of the node that it maintains.  Nothing here may raise."""

    def active(self) -> int:
        """Return the number of running connections, those that are ending included."""
        ...

    def leaving(self) -> int:
        """Return how many of them are ending already."""
        ...

    def candidates(
        self, seen: Mapping[Point, None], start: float, most: int, now: float
    ) -> list[Point]:
        """Return points that may be dialled now, best first.

        Args:
            seen: those not to return.
            start: monotonic seconds; neither those that were missed later than that.
            most: how many at most.
            now: the present.
        """
        ...

    def droppable(self, now: float) -> list[int]:
        """Return the links that may be dropped, in an order that does not vary.

        Not those that are both private and trusted, nor those that are ending already.
        """
        ...


# -- what it tells ---------------------------------------------------------------------


class Cause(enum.Enum):
    """Why a run began; the value is the reference's name of it."""

    ACTIVATION = "activation"
    TIMER = "timer"
    EXTERNAL = "external_event"
    TOO_FEW = "too_few_connections"
    TOO_MANY = "too_many_connections"


@attrs.frozen
class Started:
    """Tell: a run that has something to do has begun."""

    cause: Cause


@attrs.frozen
class TooFew:
    """Tell: it begins to look for peers."""

    active: int


@attrs.frozen
class TooMany:
    """Tell: it begins to drop connections."""

    active: int


@attrs.frozen
class Fill:
    """Dial a point; report `Maintenance.dialled` when that has ended, either way."""

    point: Point


@attrs.frozen
class Ask:
    """Ask all peers that are not private for points, and wake discovery."""


@attrs.frozen
class Drop:
    """End a connection."""

    link: int


@attrs.frozen
class Collect:
    """Let what is expired be forgotten."""


@attrs.frozen
class Swap:
    """Propose one swap."""


@attrs.frozen
class Ended:
    """Tell: what `Started` told of is over.

    Attributes:
        duration: seconds that it took.
    """

    duration: float


#: Whatever `Maintenance.next_command` gives.
MaintenanceCommand = (
    Started | TooFew | TooMany | Fill | Ask | Drop | Collect | Swap | Ended | Maintained
)


# -- the machine -----------------------------------------------------------------------


class State(States):
    """Where the worker stands."""

    INACTIVE = "not started yet"
    DISABLED = "there is no maintenance"
    WAITING = "nothing to be done for now"
    FILLING = "too few; points are being dialled"
    ASKING = "too few, nobody left to dial; peers were asked for points"
    TRIMMING = "too many; connections are being dropped"
    STOPPED = "over"


_RUNNING: Final = (State.FILLING, State.ASKING, State.TRIMMING)
_LOOKING: Final = (State.FILLING, State.ASKING)
_READY: Final = (State.WAITING, *_RUNNING)
_LIVE: Final = (State.INACTIVE, State.DISABLED, *_READY)

# A search ends by itself, and begins no other.
_IDLE: Final = (State.WAITING, State.TRIMMING)
_FILL: Final = ("_tell_too_few", "_fill")

# fmt: off
#: Everything that the worker can do.
TABLE: Final = Table("maintenance", State, State.INACTIVE, (
    #   trigger   source          dest            guard                after
    Row("start",  State.INACTIVE, State.DISABLED, ("_is_disabled",),   ()),
    Row("start",  State.INACTIVE, State.WAITING,  (),                  ()),
    Row("check",  _IDLE,          State.FILLING,  ("_has_too_few",),   _FILL),
    Row("check",  _READY,         State.TRIMMING, ("_can_trim",),      ("_trim",)),
    Row("check",  _READY,         State.WAITING,  (),                  ("_finish",)),
    Row("ask",    State.FILLING,  State.ASKING,   (),                  ("_ask",)),
    Row("resume", State.ASKING,   State.FILLING,  (),                  ("_fill",)),
    Row("stop",   _LIVE,          State.STOPPED,  (),                  ("_cease",)),
))
# fmt: on


@attrs.frozen
class _Facts:
    """The fact of ``check``: how many stay, and who has to go; asked before it."""

    now: float
    active: int
    drops: tuple[int, ...] = ()


@attrs.define(eq=False, kw_only=True)
class Maintenance:
    """Keeps the number of connections of one node within its bounds.

    After any input, carry out `next_command` until it gives None, and re-arm
    `next_timeout`.  Every ``now`` is monotonic seconds of one clock and never decreases.

    Args:
        bounds: the numbers.
        world: whom to ask.
        random: gives numbers of 0 to 1, 1 excluded; for whom to drop.
        idle_time: seconds between two runs, above 0; None disables maintenance.
        private_mode: nobody is asked, no swap proposed; candidates are the world's to
            restrict.
        swaps: whether to propose swaps.
        at_once: most dials in progress, 1 or more.
        search: first wait of a search, in seconds.
        spread: greatest part of it that is added, drawn at the start.  Nodes whose waits
            are the same may dial and refuse each other in step for ever.
        runner: ``machine.shared``, or ``machine.compiled`` for simulations.

    Attributes:
        state: where it stands.

    Raises:
        ValueError: no idle time at all, or no dials at all.
    """

    bounds: Bounds
    _world: World = attrs.field(alias="world")
    _random: Callable[[], float] = attrs.field(alias="random")
    _idle_time: float | None = attrs.field(default=120.0, alias="idle_time")
    _private_mode: bool = attrs.field(default=False, alias="private_mode")
    _swaps: bool = attrs.field(default=True, alias="swaps")
    _at_once: int = attrs.field(default=AT_ONCE, alias="at_once")
    _search: float = attrs.field(default=SEARCH_FIRST, alias="search")
    _spread: float = attrs.field(default=0.0, alias="spread")
    _runner: Callable[[Table, type], Mapping[str, Trigger]] = attrs.field(
        default=shared, alias="runner"
    )
    state: State = attrs.field(default=State.INACTIVE, init=False)
    _commands: deque[MaintenanceCommand] = attrs.field(
        factory=deque[MaintenanceCommand], init=False
    )
    _deadline: float | None = attrs.field(default=None, init=False)
    # The last number of which `active_changed` has told.
    _active: int = attrs.field(default=0, init=False)
    # The run: since when, if it has something to do.
    _since: float | None = attrs.field(default=None, init=False)
    # The pass: since when, what it has dialled, who is next, when it last looked.
    _start: float = attrs.field(default=0.0, init=False)
    _seen: dict[Point, None] = attrs.field(factory=dict[Point, None], init=False)
    _queue: deque[Point] = attrs.field(factory=deque[Point], init=False)
    _looked: float = attrs.field(default=0.0, init=False)
    # Dials in progress, of this pass or one before.
    # Since when.
    _dialling: dict[Point, float] = attrs.field(factory=dict[Point, float], init=False)
    # The search: how long to wait the next time, and when it may ask again.
    _delay: float = attrs.field(init=False)
    _ask_at: float | None = attrs.field(default=None, init=False)
    # Connections that have still to go.
    _leaving: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        """Check what would make it spin, or do nothing."""
        self._delay = self._search
        if self._idle_time is not None and not self._idle_time > 0:
            raise ValueError(f"idle time {self._idle_time} is not above 0")
        if self._at_once < 1:
            raise ValueError(f"{self._at_once} dials at once are none")

    # -- inputs ------------------------------------------------------------------------

    def start(self, now: float) -> None:
        """Begin, with a run.

        Raises:
            LocalProtocolError: it was started or stopped before.
        """
        self._active = self._world.active()
        self._fire("start", now)
        if self._spread:
            self._search *= 1.0 + self._spread * self._random()
            self._delay = self._search
        if self.state is State.WAITING:
            self._run(Cause.ACTIVATION, now)

    def stop(self, now: float) -> None:
        """End for good; harmless if it has ended.

        Who waits for the end of a run is told.
        """
        if self.state is not State.STOPPED:
            self._fire("stop", now)

    def request(self, now: float) -> None:
        """Run now, or wait for the run in progress: `Maintained` follows.

        Raises:
            LocalProtocolError: not started, disabled, or stopped.
        """
        if self.state is State.WAITING:
            self._run(Cause.EXTERNAL, now)
        elif self.state not in _RUNNING:
            raise LocalProtocolError("request", self.state.name)

    def active_changed(self, active: int, now: float) -> None:
        """Take note that a connection has joined or left.

        Args:
            active: how many are running now.
            now: the present.
        """
        change, self._active = active - self._active, active
        bounds = self.bounds
        if change > 0:
            self._ask_at = None  # somebody who was not asked yet
        match self.state:
            case State.WAITING:
                # At the bound itself there is nothing to do but, at most, a swap that
                # nobody needs.
                if change < 0 and active < bounds.min_connections:
                    self._run(Cause.TOO_FEW, now)
                elif (
                    change > 0
                    and active >= bounds.max_connections
                    and active > bounds.max_threshold
                ):
                    self._run(Cause.TOO_MANY, now)
            case State.FILLING | State.ASKING if (
                # To count those that stay takes longer.
                active >= bounds.min_target and self._staying() >= bounds.min_target
            ):
                self._check(now)
            case State.ASKING if change > 0:
                self._look_at(now)
            case State.TRIMMING:
                self._leaving += min(change, 0)
                if self._leaving <= 0:
                    self._check(now)
            case _:
                pass

    def dialled(self, point: Point, ok: bool, now: float) -> None:
        """Take note that a dial has ended; first of a join, then of its dial.

        Args:
            point: what `Fill` said.
            ok: whether there is a connection now.
            now: the present.
        """
        self._dialling.pop(point, None)
        if ok:
            self._delay = self._search
        if self.state is State.FILLING:
            self._advance(now)

    def met(self, now: float) -> None:
        """Take note that there are new points or peers; once for many will do."""
        if self.state in _LOOKING:
            self._look_at(now)

    def handle_timeout(self, now: float) -> None:
        """Do what is due; harmless when nothing is."""
        if self._deadline is None or now < self._deadline:
            return
        match self.state:
            case State.WAITING:
                self._run(Cause.TIMER, now)
            case State.ASKING:
                self._resume(now)
            case State.FILLING:
                self._deadline = None
                self._advance(now)
            case _:
                self._check(now)

    # -- outputs -----------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether `next_command` has something."""
        return bool(self._commands)

    def next_command(self) -> MaintenanceCommand | None:
        """Return the next thing to do or to tell, or None."""
        return self._commands.popleft() if self._commands else None

    def next_timeout(self) -> float | None:
        """Return when `handle_timeout` has something to do, or None."""
        return self._deadline

    # -- how a run goes ----------------------------------------------------------------

    def _run(self, cause: Cause, now: float) -> None:
        self._commands.append(Collect())
        if not self.bounds.contain(self._staying()):
            self._since = now
            self._commands.append(Started(cause))
        self._delay = self._search
        self._check(now)

    def _staying(self) -> int:
        return self._world.active() - self._world.leaving()

    def _check(self, now: float) -> None:
        """See where we are, and do what that asks for."""
        active = self._staying()
        drops: list[int] = []
        if active > self.bounds.max_threshold:
            links = self._world.droppable(now)
            excess = min(active - self.bounds.max_target, len(links))
            drops = sample(links, excess, self._random)
        self._fire("check", _Facts(now, active, tuple(drops)))
        if self.state is State.FILLING:
            self._advance(now)

    def _resume(self, now: float) -> None:
        self._fire("resume", _Facts(now, self._staying()))
        self._advance(now)

    def _look_at(self, now: float) -> None:
        """Look at the points again: now, or as soon as that may be."""
        at = self._looked + GAP
        if now < at:
            self._deadline = at if self._deadline is None else min(self._deadline, at)
        elif self.state is State.ASKING:
            self._resume(now)
        else:
            self._advance(now)

    def _advance(self, now: float) -> None:
        """Dial as many as may be; if none may and none is in progress, what then?"""
        bounds, dialling = self.bounds, self._dialling
        active = self._staying()
        if active >= bounds.min_target:
            self._check(now)
            return
        enough = active >= bounds.min_threshold
        end = self._start + (PASS_LONG if enough else PASS_TIME)
        if now >= end:
            if enough:
                self._check(now)
                return
            self._fire("ask", _Facts(now, active))
            self._fire("resume", _Facts(now, active))
            end = now + PASS_TIME
        # No more than are wanted, or a network that starts at once overruns itself; but
        # most points are dead, and nobody waits for those.
        young = [since for since in dialling.values() if now < since + PATIENCE]
        room = min(
            bounds.max_target - self._world.active() - len(dialling),
            bounds.min_target - active - len(young),
        )
        looked = False
        while room > 0 and len(dialling) < self._at_once and len(self._seen) < PASS_MAX:
            if not self._queue:
                if looked:
                    break
                looked, self._looked = True, now
                most = max(room, LOOK)  # a look costs as much as there are points
                found = self._world.candidates(self._seen, self._start, most, now)
                self._queue.extend(found[:most])
                continue
            point = self._queue.popleft()
            if point in self._seen or point in dialling:
                continue
            self._seen[point] = None
            dialling[point] = now
            young.append(now)
            self._commands.append(Fill(point))
            room -= 1
        if dialling:
            at = min(end, young[0] + PATIENCE) if young else end
            self._deadline = at if self._deadline is None else min(self._deadline, at)
        elif enough:
            self._check(now)
        else:
            self._fire("ask", _Facts(now, active))

    # -- steps: run by the table, cannot fail ------------------------------------------

    def _fire(self, trigger: str, fact: object) -> None:
        _FIRE[self._runner][trigger](self, fact)

    def _is_disabled(self, now: float) -> bool:  # noqa: ARG002  # as all guards get it
        return self._idle_time is None

    def _has_too_few(self, facts: _Facts) -> bool:
        return facts.active < self.bounds.min_threshold

    def _can_trim(self, facts: _Facts) -> bool:
        return bool(facts.drops)

    def _tell_too_few(self, facts: _Facts) -> None:
        self._commands.append(TooFew(facts.active))

    def _fill(self, facts: _Facts) -> None:
        self._start = facts.now
        self._seen.clear()
        self._queue.clear()
        self._deadline = None

    def _ask(self, facts: _Facts) -> None:
        if self._ask_at is None or facts.now >= self._ask_at:
            if not self._private_mode:
                self._commands.append(Ask())
            self._ask_at = facts.now + self._delay
            self._delay = min(2 * self._delay, SEARCH_MAX)
        self._deadline = self._ask_at

    def _trim(self, facts: _Facts) -> None:
        self._commands.append(TooMany(facts.active))
        self._commands.extend(map(Drop, facts.drops))
        self._leaving = len(facts.drops)
        self._deadline = facts.now + TRIM_LIMIT

    def _finish(self, facts: _Facts) -> None:
        within = self.bounds.contain(facts.active)
        if within and self._swaps and not self._private_mode:
            self._commands.append(Swap())
        if self._since is not None:
            self._commands.append(Ended(facts.now - self._since))
            self._since = None
        self._commands.append(Maintained(within))
        assert self._idle_time is not None  # or it were disabled
        self._deadline = facts.now + max(self._idle_time, GAP)

    def _cease(self, now: float) -> None:  # noqa: ARG002  # as all steps get it
        waited = self._since is not None
        self._commands.clear()
        if waited:
            self._commands.append(Maintained(False))
        self._deadline = None


#: The triggers of both runners, built once.
_FIRE: Final[Mapping[Any, Mapping[str, Trigger]]] = {
    runner: runner(TABLE, Maintenance) for runner in RUNNERS.values()
}
