"""The welcome worker: whether connections are accepted, and when to rest from it.

It decides *whether* there is accepting; *who* may come in is decided later, by admission.
The one thing that goes wrong with accepting as such is that the system has no socket, no
memory or no network left.  Trying again at once would spin, because the connection that
cannot be taken in stays where it is; giving up, as nodes of 2019 did, leaves a node that
nobody reaches any more.  So it rests for a while and goes on.

============  ==========================================================================
state         meaning
============  ==========================================================================
CLOSED        waits for `open`
LISTENING     connections are accepted
BACKING_OFF   the system had nothing left; accepting goes on after `ACCEPT_DELAY`
STOPPED       over
============  ==========================================================================

Failures that concern one connection alone (it was gone before it was accepted) change
nothing.  Whatever else fails counts as the system's: an unknown error is no reason to
stop for ever.

Source: the welcome module of the reference node, 2026; it ends at errors it does not
know, ours rests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import attrs

from . import endings
from .machine import RUNNERS, Row, States, Table, Trigger, shared

#: Seconds without accepting after the system had nothing left.
ACCEPT_DELAY: Final = 5.0


class State(States):
    """Where the worker stands."""

    CLOSED = "not opened yet"
    LISTENING = "connections are accepted"
    BACKING_OFF = "the system had nothing left; rests for a while"
    STOPPED = "over"


_LIVE: Final = (State.CLOSED, State.LISTENING, State.BACKING_OFF)

# fmt: off
#: Everything that the worker can do.
TABLE: Final = Table("welcome", State, State.CLOSED, (
    #   trigger    source             dest               guard  after
    Row("start",   State.CLOSED,      State.LISTENING,   (),    ()),
    Row("fail",    State.LISTENING,   State.BACKING_OFF, (),    ("_rest",)),
    Row("resume",  State.BACKING_OFF, State.LISTENING,   (),    ("_wake",)),
    Row("stop",    _LIVE,             State.STOPPED,     (),    ("_wake",)),
))
# fmt: on


@attrs.define(eq=False)
class Welcome:
    """Whether a node accepts connections.

    Every ``now`` is monotonic seconds of one clock and never decreases.

    Args:
        runner: ``machine.shared``, or ``machine.compiled`` for simulations.

    Attributes:
        state: where it stands.
        failures: how often accepting has failed since it was made, for any reason.
    """

    _runner: Callable[[Table, type], Mapping[str, Trigger]] = shared
    state: State = attrs.field(default=State.CLOSED, init=False)
    failures: int = attrs.field(default=0, init=False)
    _deadline: float | None = attrs.field(default=None, init=False)
    # What `next_command` has said last.
    _told: bool = attrs.field(default=False, init=False)

    def open(self, now: float) -> None:
        """Begin to accept.

        Raises:
            LocalProtocolError: it was opened or stopped before.
        """
        self._fire("start", now)

    def start(self, now: float) -> None:
        """Do as `open`; the name that all workers share."""
        self.open(now)

    def accept_failed(self, error: int, now: float) -> None:
        """Take note that accepting has failed.  Never raises.

        Args:
            error: ``errno``, or 0 if there was none.
            now: the present.
        """
        self.failures += 1
        # While it rests the rest is not drawn out: what fails now was begun before.
        if self.state is State.LISTENING and not endings.is_passing(error):
            self._fire("fail", now)

    def handle_timeout(self, now: float) -> None:
        """Go on if the rest is over; harmless if it is not."""
        if self._deadline is not None and now >= self._deadline:
            self._fire("resume", now)

    def stop(self, now: float) -> None:
        """Accept nobody any more; harmless if it has stopped."""
        if self.state is not State.STOPPED:
            self._fire("stop", now)

    @property
    def accepting(self) -> bool:
        """Whether connections are to be accepted now."""
        return self.state is State.LISTENING

    def next_command(self) -> bool | None:
        """Return True: accept from now on; False: do not; None: as before."""
        if self.accepting == self._told:
            return None
        self._told = self.accepting
        return self._told

    def next_timeout(self) -> float | None:
        """Return when the rest is over, or None."""
        return self._deadline

    # -- steps: run by the table, cannot fail ------------------------------------------

    def _fire(self, trigger: str, now: float) -> None:
        _FIRE[self._runner][trigger](self, now)

    def _rest(self, now: float) -> None:
        self._deadline = now + ACCEPT_DELAY

    def _wake(self, now: float) -> None:  # noqa: ARG002  # the fact, as all steps get it
        self._deadline = None


#: The triggers of both runners, built once.
_FIRE: Final[Mapping[Any, Mapping[str, Trigger]]] = {
    runner: runner(TABLE, Welcome) for runner in RUNNERS.values()
}
