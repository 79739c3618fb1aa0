"""Swaps of a node: one at a time, seldom, and few by the grace of one party.

A swap exchanges a connection of ours for one of another node: A offers its peer p to B;
B, if it agrees, offers its peer q in return, connects to p and drops q; A connects to q
and drops p.  On our side:

=========  =========================================  ==================================
role       what happens                               steps
=========  =========================================  ==================================
B, asked   our answer is queued, then p is dialled    agree, answered, then an outcome
           the answer finds no room                   agree, unanswered
A, asking  their answer came: q is dialled            accept, then an outcome
=========  =========================================  ==================================

The outcome is succeed or fail.  Requests are not taken up while a swap is going on, nor
for the linger after a success; answers to our own are not bound by the linger.

A peer that may choose whom we connect to could surround us with its friends, or strip us
of whom we have chosen, if its friends hang up as soon as they run.  So few places are
given by swaps (as many as a quarter of the links that run), and fewer by those of one
party (2).  A place is taken for half an hour at least, and as long as its link runs: in
quiet networks swaps are about as frequent as without that.  What an offender has begun
comes to nothing: if whom we agreed with is banned meanwhile, nobody is dropped.

Source: the swap part of the reference node's connect handler, 2026; one at a time and the
shares are our own.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, Final

import attrs

from ..spec.identity import PeerId
from ..spec.point import Point
from .machine import RUNNERS, Row, States, Table, Trigger, shared
from .teaching import party_of
from .timers import Timers
from .world import Facts

#: Places that one party may have filled for us.
STEERED_MAX: Final = 2
#: One place may be filled by swaps for so many running links; 2 may in any case.
STEERED_SHARE: Final = 4
#: Seconds for which a place counts at least, whether or not its link still runs.
STEERED_TIME: Final = 1800.0


class State(States):
    """Where the swap of a node stands."""

    RESTING = "no swap is going on"
    AGREEING = "we agree to a swap; our answer is being queued"
    DIALLING = "the point that was offered is being dialled"


_RESTING, _AGREEING, _DIALLING = State.RESTING, State.AGREEING, State.DIALLING

# fmt: off
#: Everything that a swap can do.
TABLE: Final = Table("swap", State, _RESTING, (
    #   trigger       source     dest       guard  after
    Row("agree",      _RESTING,  _AGREEING, (),    ("_take_up",)),
    Row("answered",   _AGREEING, _DIALLING, (),    ()           ),
    Row("unanswered", _AGREEING, _RESTING,  (),    ("_put_down",)),
    Row("accept",     _RESTING,  _DIALLING, (),    ("_take_up",)),
    Row("succeed",    _DIALLING, _RESTING,  (),    ("_win", "_put_down")),
    Row("fail",       _DIALLING, _RESTING,  (),    ("_lose", "_put_down")),
))
# fmt: on


@attrs.frozen
class Swap:
    """One swap.

    Attributes:
        link: whom it was agreed with.
        source: that peer.
        party: who answers for it, for the shares.
        dial: the point that they have offered.
        drop: the peer that we have offered.
    """

    link: int
    source: PeerId
    party: Hashable
    dial: Point
    drop: PeerId


def agreed(facts: Facts, dial: Point, drop: PeerId) -> Swap:
    """Return a swap with whom we know something of; see `Swap`."""
    party = party_of(facts.address, facts.peer_id)
    return Swap(facts.link, facts.peer_id, party, dial, drop)


@attrs.define(eq=False)
class Swaps:
    """The swaps of one node.

    Args:
        linger: seconds between swaps that others ask for; None for no swaps at all.
        runner: ``machine.shared`` or ``machine.compiled``.

    Attributes:
        state: where the swap that is going on stands.
        current: that swap, or None.
        won: swaps that have succeeded.
        lost: swaps that have failed.
    """

    linger: float | None
    _runner: Callable[[Table, type], Mapping[str, Trigger]] = shared
    state: State = attrs.field(default=State.RESTING, init=False)
    current: Swap | None = attrs.field(default=None, init=False)
    won: int = attrs.field(default=0, init=False)
    lost: int = attrs.field(default=0, init=False)
    _succeeded: float = attrs.field(default=-float("inf"), init=False)
    # By link the party, and until when the place is taken at least; of links that are
    # gone, when it is free.
    _steered: dict[int, tuple[Hashable, float]] = attrs.field(
        factory=dict[int, tuple[Hashable, float]], init=False
    )
    _gone: Timers = attrs.field(factory=Timers, init=False)
    _parties: dict[Hashable, int] = attrs.field(factory=dict[Hashable, int], init=False)

    # -- questions ---------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a swap is going on."""
        return self.state is not _RESTING

    def may_agree(self, now: float) -> bool:
        """Whether it is the time for a swap that somebody else asks for."""
        if self.linger is None or self.busy:
            return False
        return now - self._succeeded >= self.linger

    def may_steer(self, party: Hashable, active: int, now: float) -> bool:
        """Whether one more link may owe its place to a party.

        Args:
            party: whom it would be owed to.
            active: links that run.
            now: the present.
        """
        for link in self._gone.pop_due(now):
            self._free(link)
        most = max(STEERED_MAX, active // STEERED_SHARE)
        return len(self._steered) < most and self._parties.get(party, 0) < STEERED_MAX

    # -- steps -------------------------------------------------------------------------

    def agree(self, swap: Swap) -> None:
        """Take a request up.

        Raises:
            LocalProtocolError: a swap is going on.
        """
        self._fire("agree", swap)

    def answered(self) -> None:
        """Take note that our answer is on its way: the point is dialled now.

        Raises:
            LocalProtocolError: no answer was to be given.
        """
        self._fire("answered", None)

    def unanswered(self) -> None:
        """Take note that our answer found no room: nothing has happened.

        Raises:
            LocalProtocolError: no answer was to be given.
        """
        self._fire("unanswered", None)

    def accept(self, swap: Swap) -> None:
        """Take up the answer to a request of ours: the point is dialled now.

        Raises:
            LocalProtocolError: a swap is going on.
        """
        self._fire("accept", swap)

    def succeed(self, link: int, now: float) -> None:
        """Take note that the point that was dialled runs.

        Args:
            link: under which.
            now: the present.

        Raises:
            LocalProtocolError: none was dialled.
        """
        party = None if self.current is None else self.current.party
        self._fire("succeed", now)
        self._steered[link] = party, now + STEERED_TIME
        self._parties[party] = self._parties.get(party, 0) + 1

    def fail(self) -> None:
        """Take note that the dial came to nothing.

        Raises:
            LocalProtocolError: none was dialled.
        """
        self._fire("fail", None)

    def forget(self, link: int, now: float) -> None:
        """Take note that a link is gone; harmless if it owes its place to nobody."""
        if link not in self._steered:
            return
        _, until = self._steered[link]
        if now < until:
            self._gone.set(link, until)
        else:
            self._free(link)

    def _free(self, link: int) -> None:
        party, _ = self._steered.pop(link)
        count = self._parties[party] - 1
        if count:
            self._parties[party] = count
        else:
            del self._parties[party]

    # -- steps: run by the table, cannot fail ------------------------------------------

    def _fire(self, trigger: str, fact: object) -> None:
        _FIRE[self._runner][trigger](self, fact)

    def _take_up(self, swap: Swap) -> None:
        self.current = swap

    def _win(self, now: float) -> None:
        self._succeeded = now
        self.won += 1

    def _lose(self, _: None) -> None:
        self.lost += 1

    def _put_down(self, _: float | None) -> None:
        self.current = None


# The class's own parts, named here because they are data of the machine.
# pyright: reportPrivateUsage=false

#: The triggers of both runners, built once.
_FIRE: Final[Mapping[Any, Mapping[str, Trigger]]] = {
    runner: runner(TABLE, Swaps) for runner in RUNNERS.values()
}
