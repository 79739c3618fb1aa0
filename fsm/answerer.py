"""What this layer's own messages make a node do: answer, learn, swap, within bounds.

=============  =================================================================
message        makes us
=============  =================================================================
Bootstrap      tell points, unless the peer is private or there are none
Advertise      learn of the points, as far as the peer may teach them
Swap_request   agree, or ignore it (see `fsm.swap`)
Swap_ack       dial the point, if we have asked, and lately
Disconnect     end the connection
=============  =================================================================

In private mode all but the last are ignored, without discovery the first two; neither is
an event then, but a private node tells of the first of each kind that it ignores, as one
does whom a private node asks for points.

Of one peer's messages of a kind, Bootstrap and Advertise are 0.1 s apart at least, and
swaps 60 s.  The reference delays what comes earlier, and reads nothing else of that peer
meanwhile.  Here one Bootstrap and one Advertise wait for their time; other such messages
are dropped, as are all swap messages that come early, and nothing else waits for them.
Since the reference would stop reading us, we never send it a swap message of a kind
within 65 s of another.

What is told depends on the scope of who asks, is made once a second at most, and leaves
out the point of who asks.

What may be taught is said in `fsm.teaching`.

It knows nothing of the pool: `fsm.world` is what it asks.  After each input carry out
what `next_command` gives until it is None, and report: `replied` for each `Reply`,
`swapped` for each `Connect`.

Source: the connection and connect-handler modules of the reference node, 2026; quotas,
caching, scopes and ages are our own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import attrs

from ..spec import pool_events as told
from ..spec.asides import PrivateAsked
from ..spec.hello import POINTS_SENT_MAX
from ..spec.identity import PeerId
from ..spec.message import Advertise, Bootstrap, ControlMessage, SwapAck, SwapRequest
from ..spec.point import Point
from ..spec.reasons import Disconnection, Reason
from .machine import Table, Trigger, shared
from .scope import Scope, may_teach, scope_of
from .swap import Swaps, agreed
from .tally import Tally
from .teaching import Teaching, party_of
from .timers import Timers
from .world import Facts, World

#: Seconds between two Bootstraps, or two Advertises, of one peer.
GAP: Final = 0.1
#: Seconds between two swap messages of one kind of one peer.
SWAP_GAP: Final = 60.0
#: Seconds between two swap messages of one kind to one peer: more than they ask for, as
#: messages travel unevenly.
SWAP_SENT_GAP: Final = 65.0
#: Seconds for which a request of ours may be answered; the next may replace it then.
OFFER_MAX: Final = 120.0
#: Seconds for which what we tell is not made anew.
FRESH: Final = 1.0
#: Unread events that are kept; the oldest go first.
EVENTS_MAX: Final = 1024
#: Draws of a connection that suits a swap before there is none.
DRAWS: Final = 4
_NEVER: Final = -float("inf")
_CLOSED: Final = Disconnection(Reason.CONNECTION_CLOSED_BY_PEER)
_SWAPPED: Final = Disconnection(Reason.PEER_SWAPPED)


@attrs.frozen
class Reply:
    """Queue a message without waiting; report `Answerer.replied`.

    Attributes:
        link: for whom.
        message: what.
        to: who that is.
    """

    link: int
    message: Bootstrap | Advertise | SwapRequest | SwapAck
    to: PeerId


@attrs.frozen
class Learn:
    """Register points, as of somebody who cannot vouch for them.

    Attributes:
        link: who has told of them.
        points: new ones, none of them twice.
    """

    link: int
    points: tuple[Point, ...]


@attrs.frozen
class Connect:
    """Dial a point, under all rules of admission; report `Answerer.swapped`.

    Attributes:
        point: which.
        for_swap_of: the link of the peer that has offered it.
    """

    point: Point
    for_swap_of: int


@attrs.frozen(hash=False)
class Disconnect:
    """End a link.

    Attributes:
        link: which.
        reason: why.
    """

    link: int
    reason: Disconnection


#: Any command of an answerer.
Command = Reply | Learn | Connect | Disconnect


@attrs.define(eq=False, weakref_slot=False)
class _Talk:
    """What is remembered of one peer's messages; made with the first that counts.

    When the last one of a kind was handled, and sent; which wait; the peer that we have
    offered, and until when an answer counts; which kinds privacy made us ignore.
    """

    bootstrap_at: float = _NEVER
    advertise_at: float = _NEVER
    request_at: float = _NEVER
    ack_at: float = _NEVER
    request_sent_at: float = _NEVER
    ack_sent_at: float = _NEVER
    asked: bool = False
    advertised: Advertise | None = None
    offered: PeerId | None = None
    offered_until: float = _NEVER
    ignored: frozenset[str] = frozenset()


@attrs.define(eq=False)
class Answerer:
    """What one node makes of control messages.

    Every ``now`` is monotonic seconds of one clock and never decreases.

    Args:
        world: what it asks.
        linger: seconds between swaps that others ask for; None for no swaps at all.
        private_mode: whether the node keeps to itself.
        discovery: whether it tells and learns points.
        least: connections up to which a swap drops nobody: the node lacks some.
        most: connections above which it ends the new one if the old one is gone.
        runner: ``machine.shared`` or ``machine.compiled``.
        tally: where it counts.

    Attributes:
        swaps: the swap that is going on, and how those before ended.
        teaching: which points peers may teach; to sift those of refusals, too.
    """

    _world: World
    _linger: float | None
    _private_mode: bool = False
    _discovery: bool = True
    _least: int = 0
    _most: int = 0xFFFF
    _runner: Callable[[Table, type], Mapping[str, Trigger]] = shared
    tally: Tally = attrs.field(factory=Tally)
    swaps: Swaps = attrs.field(init=False)
    teaching: Teaching = attrs.field(init=False)
    _talks: dict[int, _Talk] = attrs.field(factory=dict[int, _Talk], init=False)
    _timers: Timers = attrs.field(factory=Timers, init=False)
    _commands: deque[Command] = attrs.field(factory=deque[Command], init=False)
    _events: deque[told.PoolEvent] = attrs.field(init=False)
    # What is told to each scope, and when all of it was made.
    _told: dict[Scope, tuple[Point, ...]] = attrs.field(
        factory=dict[Scope, tuple[Point, ...]], init=False
    )
    _told_at: float = attrs.field(default=_NEVER, init=False)

    def __attrs_post_init__(self) -> None:
        """Make what depends on the arguments."""
        self.swaps = Swaps(self._linger, self._runner)
        self._events = deque(maxlen=EVENTS_MAX)
        self.teaching = Teaching(self._world.knows)

    # -- inputs ------------------------------------------------------------------------

    def received(self, link: int, message: ControlMessage, now: float) -> None:
        """Take a control message; harmless if its link does not run any more."""
        handle = _HANDLERS.get(type(message))
        if handle is None:
            self._commands.append(Disconnect(link, _CLOSED))
            return
        self.tally.own_received[type(message)] += 1
        if self._private_mode:
            self.tally.ignored += 1
        if (facts := self._world.facts(link)) is not None:
            talk = self._talks.get(link)
            if talk is None:
                talk = self._talks[link] = _Talk()
            if self._private_mode:
                self._unheeded(facts, talk, message)
            else:
                handle(self, facts, talk, message, now)

    def handle_timeout(self, now: float) -> None:
        """Handle what has waited for its time; harmless when nothing has."""
        for link in self._timers.pop_due(now):
            talk, facts = self._talks[link], self._world.facts(link)
            message, talk.advertised = talk.advertised, None
            asked, talk.asked = talk.asked, False
            if facts is not None:
                # What is not due yet begins to wait again.
                if asked:
                    self._bootstrap(facts, talk, Bootstrap(), now)
                if message is not None:
                    self._advertise(facts, talk, message, now)

    def replied(self, reply: Reply, taken: bool, now: float) -> None:
        """Take note of what came of a `Reply`.

        Args:
            reply: which.
            taken: whether there was room for it, and its link runs.
            now: the present.

        Raises:
            LocalProtocolError: an answer to a swap that was not to be given.
        """
        message = reply.message
        if isinstance(message, SwapAck):
            if not taken:
                self.swaps.unanswered()
                return
            self.swaps.answered()
        if not taken:
            return
        self._tell(_SENT[type(message)](reply.to))
        self.tally.own_sent[type(message)] += 1
        talk = self._talks.get(reply.link)
        if isinstance(message, SwapAck):
            if talk is not None:
                talk.ack_sent_at = now
            self._dial()
        elif isinstance(message, SwapRequest):
            if talk is None:
                talk = self._talks[reply.link] = _Talk()
            talk.request_sent_at = now
            talk.offered, talk.offered_until = message.peer_id, now + OFFER_MAX

    def swapped(self, link: int | None, now: float) -> None:
        """Take note of what came of a `Connect`.

        Args:
            link: the new one; None, or one that does not run, if it came to nothing.
            now: the present.

        Raises:
            LocalProtocolError: nothing was to be dialled.
        """
        swap = self.swaps.current
        new = None if link is None else self._world.facts(link)
        banned = swap is not None and self._world.is_banned(swap.source, now)
        if new is None or banned:
            self.swaps.fail()
            assert swap is not None
            self._tell(told.SwapFailure(swap.source))
            # Nobody has to go for the friend of an offender, but he himself.
            if new is not None and not new.trusted:
                self._commands.append(Disconnect(new.link, _SWAPPED))
            return
        self.swaps.succeed(new.link, now)
        assert swap is not None
        self._tell(told.SwapSuccess(swap.source))
        if self._world.active() <= self._least:
            return
        dropped = self._world.link_of(swap.drop)
        facts = None if dropped is None else self._world.facts(dropped)
        # The peer may be gone, be trusted by now, or be the very one that was dialled.
        if facts is not None and not facts.trusted and facts.link != new.link:
            self._commands.append(Disconnect(facts.link, _SWAPPED))
        elif self._world.active() > self._most:
            # Others came meanwhile: what should have stayed as many are too many.
            self._commands.append(Disconnect(new.link, _SWAPPED))

    def forget(self, link: int, now: float) -> None:
        """Let go of a link that runs no more; harmless if nothing is known of it."""
        self._talks.pop(link, None)
        self._timers.set(link, None)
        self.swaps.forget(link, now)

    # -- what maintenance asks for -----------------------------------------------------

    def ask(self, links: Iterable[int], now: float) -> None:  # noqa: ARG002  # a verb
        """Ask for points on those of the links that are not private."""
        if self._private_mode or not self._discovery:
            return
        for link in links:
            facts = self._world.facts(link)
            if facts is not None and not facts.private:
                self._commands.append(Reply(link, Bootstrap(), facts.peer_id))

    def swap(self, now: float) -> bool:
        """Propose a swap to anybody; return whether there is whom and what to propose."""
        swaps, world = self.swaps, self._world
        if self._private_mode or swaps.linger is None or swaps.busy:
            return False
        if not world.has_room():
            return False
        for _ in range(DRAWS):
            facts = world.pick(but=None, with_port=False)
            if facts is None:
                return False
            talk = self._talks.get(facts.link)
            if facts.may_swap and (
                talk is None or now - talk.request_sent_at >= SWAP_SENT_GAP
            ):
                offer = self._offer(facts)
                if offer is not None:
                    self._commands.append(
                        Reply(facts.link, SwapRequest(*offer), facts.peer_id)
                    )
                return offer is not None
        return False

    def renew(self) -> None:
        """Tell nothing any more that was true a moment ago: after a ban, for example."""
        self._told.clear()

    # -- outputs -----------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether `next_command` or `next_event` has something."""
        return bool(self._commands or self._events)

    def next_command(self) -> Command | None:
        """Return what is to be done next, or None."""
        return self._commands.popleft() if self._commands else None

    def next_event(self) -> told.PoolEvent | None:
        """Return the oldest unread event, or None."""
        return self._events.popleft() if self._events else None

    def next_timeout(self) -> float | None:
        """Monotonic seconds at which `handle_timeout` has something to do, or None."""
        return self._timers.next()

    # -- messages ----------------------------------------------------------------------

    def _unheeded(
        self, facts: Facts, talk: _Talk, message: ControlMessage, *, theirs: bool = False
    ) -> None:
        kind = _KINDS[type(message)]
        if kind not in talk.ignored:
            talk.ignored |= {kind}
            self._tell(PrivateAsked(facts.peer_id, kind, theirs))

    def _bootstrap(
        self, facts: Facts, talk: _Talk, message: Bootstrap, now: float
    ) -> None:
        if not self._discovery:
            self.tally.ignored += 1
        elif now < talk.bootstrap_at + GAP:
            self.tally.throttled += talk.asked
            talk.asked = True
            self._wait(facts.link, talk)
        else:
            talk.bootstrap_at, talk.asked = now, False
            self._tell(told.BootstrapReceived(facts.peer_id))
            points = () if facts.private else self._points_for(facts, now)
            if facts.private:
                self._unheeded(facts, talk, message, theirs=True)
            if points:
                reply = Reply(facts.link, Advertise(points), facts.peer_id)
                self._commands.append(reply)

    def _advertise(
        self, facts: Facts, talk: _Talk, message: Advertise, now: float
    ) -> None:
        if not self._discovery:
            self.tally.ignored += 1
        elif now < talk.advertise_at + GAP:
            self.tally.throttled += talk.advertised is not None
            talk.advertised = talk.advertised or message
            self._wait(facts.link, talk)
        else:
            talk.advertise_at = now
            taught = len(message.points)
            self._tell(told.AdvertiseReceived(facts.peer_id, points=taught))
            points = self.teaching.sift(facts.address, facts.peer_id, message.points, now)
            if points:
                self._commands.append(Learn(facts.link, points))

    def _request(
        self, facts: Facts, talk: _Talk, message: SwapRequest, now: float
    ) -> None:
        if now < talk.request_at + SWAP_GAP:
            self.tally.throttled += 1
            return
        talk.request_at = now
        self._tell(
            told.SwapRequestReceived(
                facts.peer_id, point=message.point, offered=message.peer_id
            )
        )
        if self.swaps.linger is None:
            self.tally.ignored += 1
            return
        if (
            not self.swaps.may_agree(now)
            or now < talk.ack_sent_at + SWAP_SENT_GAP
            or not self._may_take(facts, message, now)
        ):
            self.tally.ignored += 1
            self.tally.swaps_ignored += 1
            self._tell(told.SwapRequestIgnored(facts.peer_id))
            return
        offer = self._offer(facts)
        if offer is not None:
            self.swaps.agree(agreed(facts, message.point, offer[1]))
            reply = Reply(facts.link, SwapAck(*offer), facts.peer_id)
            self._commands.append(reply)

    def _ack(self, facts: Facts, talk: _Talk, message: SwapAck, now: float) -> None:
        if now < talk.ack_at + SWAP_GAP:
            self.tally.throttled += 1
            return
        talk.ack_at = now
        self._tell(
            told.SwapAckReceived(
                facts.peer_id, point=message.point, offered=message.peer_id
            )
        )
        # One answer to each request, and none to those of long ago.
        offered, talk.offered = talk.offered, None
        if (
            offered is None
            or now > talk.offered_until
            or self.swaps.busy
            or not self._may_take(facts, message, now)
        ):
            self.tally.ignored += 1
            return
        self.swaps.accept(agreed(facts, message.point, offered))
        self._dial()

    # -- helpers -----------------------------------------------------------------------

    def _wait(self, link: int, talk: _Talk) -> None:
        times = [talk.bootstrap_at] * talk.asked
        times += [talk.advertise_at] * (talk.advertised is not None)
        self._timers.set(link, min(times) + GAP)

    def _tell(self, event: told.PoolEvent) -> None:
        self._events.append(event)

    def _dial(self) -> None:
        swap = self.swaps.current
        assert swap is not None
        self._commands.append(Connect(swap.dial, swap.link))

    def _points_for(self, facts: Facts, now: float) -> tuple[Point, ...]:
        """Return what a peer is told."""
        if not self._told or now >= self._told_at + FRESH:
            self._told, self._told_at = {}, now
        scope = scope_of(facts.address)
        points = self._told.get(scope)
        if points is None:
            points = tuple(self._world.points(facts.address, now)[:POINTS_SENT_MAX])
            self._told[scope] = points
        if facts.point in points:
            return tuple(point for point in points if point != facts.point)
        return points

    def _may_take(self, facts: Facts, message: SwapRequest | SwapAck, now: float) -> bool:
        """Whether what a peer offers may be dialled."""
        world = self._world
        party = party_of(facts.address, facts.peer_id)
        return (
            facts.may_swap
            and world.has_room()
            and self.swaps.may_steer(party, world.active(), now)
            and may_teach(facts.address, message.point)
            # Who is here already would refuse a second connection.
            and world.link_of(message.peer_id) is None
            and world.may_dial(message.point, now)
        )

    def _offer(self, to: Facts) -> tuple[Point, PeerId] | None:
        """Return a peer of ours that may be offered to somebody, and dropped."""
        for _ in range(DRAWS):
            facts = self._world.pick(but=to.link, with_port=True)
            if facts is None:
                return None
            point = facts.point
            if point and not facts.trusted and may_teach(to.address, point):
                return point, facts.peer_id
        return None


# The class's own parts, named here because they are data.
# pyright: reportPrivateUsage=false

#: What is done with a message, by its class; Disconnect is not in it.
_HANDLERS: Final[Mapping[type, Callable[[Answerer, Facts, _Talk, Any, float], None]]] = {
    Bootstrap: Answerer._bootstrap,
    Advertise: Answerer._advertise,
    SwapRequest: Answerer._request,
    SwapAck: Answerer._ack,
}
#: What their kinds are called.
_KINDS: Final[Mapping[type, str]] = {
    Bootstrap: "bootstrap",
    Advertise: "advertise",
    SwapRequest: "swap_request",
    SwapAck: "swap_ack",
}
#: What is told when a message was sent, by its class.
_SENT: Final[Mapping[type, Callable[[PeerId], told.PoolEvent]]] = {
    Bootstrap: told.BootstrapSent,
    Advertise: told.AdvertiseSent,
    SwapRequest: told.SwapRequestSent,
    SwapAck: told.SwapAckSent,
}
