"""What all workers have in common: a life, and an order in which they end.

A worker is a machine of its own that runs beside the connections: `fsm.welcome` accepts,
`fsm.maintenance` keeps the number of connections right, `fsm.discovery` looks for nodes
nearby.  Each has its own table; seen from the outside each is one of three things:

========  ==============================================================================
state     meaning
========  ==============================================================================
INACTIVE  made, does nothing yet
ACTIVE    works: wants time-outs, gives commands
STOPPED   over, for good: wants nothing, gives nothing, and stopping it again is harmless
========  ==============================================================================

A stopped worker is not started again; a node that is to run again is made anew.

Order matters when a node ends.  Who would bring in new connections ends first, then the
connections, and what carries their last bytes at the very end: `SHUTDOWN`.

Source: the worker and shutdown order of the reference node, 2019 and 2026.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import attrs

from .machine import RUNNERS, Row, States, Table, Trigger, shared


class State(States):
    """Where a worker stands, or all of a node's together."""

    INACTIVE = "made, does nothing yet"
    ACTIVE = "works"
    STOPPED = "over, for good"


# fmt: off
#: The life of every worker; the tables of the workers refine it.
TABLE: Final = Table("worker", State, State.INACTIVE, (
    #   trigger   source                          dest           guard  after
    Row("start",  State.INACTIVE,                 State.ACTIVE,  (),    ()),
    Row("stop",   (State.INACTIVE, State.ACTIVE), State.STOPPED, (),    ()),
))
# fmt: on


class Worker(Protocol):
    """What a worker does for whoever runs it; every ``now`` is monotonic seconds."""

    def start(self, now: float) -> None:
        """Begin to work."""
        ...

    def stop(self, now: float) -> None:
        """End for good; harmless if it has ended."""
        ...

    def handle_timeout(self, now: float) -> None:
        """Do what is due; harmless when nothing is."""
        ...

    def next_timeout(self) -> float | None:
        """Return when `handle_timeout` has something to do, or None."""
        ...


@attrs.frozen
class Stage:
    """One step of the end of a node.

    Attributes:
        name: of the part that ends.
        doc: what that means, in one phrase.
        limit: seconds that it may take at most; 0 if it is over at once.
    """

    name: str
    doc: str
    limit: float = 0.0


#: Workers in the order in which they are started: the door is open before anybody hears.
STARTING: Final = ("welcome", "maintenance", "discovery")

#: Seconds that the last bytes have to leave.
FLUSH_LIMIT: Final = 3.0

#: The end of a node, in order.
SHUTDOWN: Final = (
    Stage("welcome", "nobody is accepted any more"),
    Stage("maintenance", "nobody is dialled, dropped or asked any more"),
    Stage("discovery", "nobody nearby is looked for or heard any more"),
    Stage("pool", "what is known is saved, every connection is told to end"),
    Stage("admission", "attempts in progress are given up"),
    Stage("bandwidth", "what is queued leaves, then every socket is closed", FLUSH_LIMIT),
)


@attrs.define(eq=False)
class Workers:
    """The workers of one node, started and stopped together and in order.

    Every ``now`` is monotonic seconds of one clock and never decreases.

    Args:
        by_name: some or all of those that `STARTING` names.
        runner: ``machine.shared``, or ``machine.compiled`` for simulations.

    Attributes:
        state: where they all stand.

    Raises:
        ValueError: there is no worker of that name.
    """

    by_name: Mapping[str, Worker]
    _runner: Callable[[Table, type], Mapping[str, Trigger]] = shared
    state: State = attrs.field(default=State.INACTIVE, init=False)

    def __attrs_post_init__(self) -> None:
        """Check the names: whom nobody starts would be missed late."""
        unknown = [name for name in self.by_name if name not in STARTING]
        if unknown:
            raise ValueError(f"no workers: {', '.join(unknown)}")

    def start(self, now: float) -> None:
        """Start them.

        Raises:
            LocalProtocolError: they were started or stopped before.
        """
        _FIRE[self._runner]["start"](self, now)
        for name in STARTING:
            if name in self.by_name:
                self.by_name[name].start(now)

    def stop(self, now: float) -> None:
        """Stop them, in the order of `SHUTDOWN`; harmless if they are."""
        if self.state is State.STOPPED:
            return
        _FIRE[self._runner]["stop"](self, now)
        for stage in SHUTDOWN:
            if stage.name in self.by_name:
                self.by_name[stage.name].stop(now)

    def handle_timeout(self, now: float) -> None:
        """Do what is due for any of them."""
        for name in STARTING:
            if name in self.by_name:
                self.by_name[name].handle_timeout(now)

    def next_timeout(self) -> float | None:
        """Return the earliest of their timeouts, or None."""
        times = [worker.next_timeout() for worker in self.by_name.values()]
        return min((at for at in times if at is not None), default=None)


#: The triggers of both runners, built once.
_FIRE: Final[Mapping[Any, Mapping[str, Trigger]]] = {
    runner: runner(TABLE, Workers) for runner in RUNNERS.values()
}
