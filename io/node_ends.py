"""What the nodes of both real drivers have in common: options, lists, errors.

Nothing here does I/O, waits or decides: it words what an application wants as verbs of
the core.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable
from typing import Any, Final, Generic, Literal, TypedDict, TypeVar, cast

import attrs

from ..fsm.diversity import Diversity
from ..fsm.local import Local
from ..fsm.machine import LocalProtocolError
from ..fsm.node import Node as Core
from ..fsm.point import Backoff
from ..fsm.policy import FAIR, PeerPolicy
from ..fsm.pool import Running
from ..fsm.prefix import Prefix
from ..fsm.settings import Settings
from ..fsm.steward import Kick, Steward
from ..fsm.worker import FLUSH_LIMIT
from ..spec.address import Address
from ..spec.hello import ConnectionMetadata
from ..spec.identity import DEFAULT_DIFFICULTY, Identity, PeerId
from ..spec.limits import Limits
from ..spec.message import ApplicationCodec, MessageCodec
from ..spec.metadata import TezosMetadata, constant_score
from ..spec.point import Point
from ..spec.pool_events import PoolEvent
from ..spec.reasons import Disconnection, P2pError, Reason
from ..spec.version import Network
from .arguments import (
    Who,
    check_ends,
    check_point,
    listed_points,
    listed_trusted,
    peer_at,
    point_at,
    who_at,
    wrong,
)
from .ends import report, shown

M = TypeVar("M")
Meta = TypeVar("Meta")
T = TypeVar("T")

#: Seconds that a stop waits, unless told otherwise, until what is queued has left.
STOP_TIMEOUT: Final = FLUSH_LIMIT


#: Numbers of 0 to 1, 1 excluded, of the system's own source.
unguessable: Final = random.SystemRandom().random


class NodeOptions(TypedDict, total=False):
    """What the nodes of both drivers take beside the obvious.

    Attributes:
        port: TCP port to announce; by default the one listened on, or none.
        metadata: what we tell authenticated peers about ourselves.
        difficulty: proof of work asked of peers, 0 to 256; by default 26.
        limits: timeouts, queue sizes, numbers of connections.
        peers: points to begin with, as `spec.point.Point` or text.
        trusted: points that are trusted from the start, and who is expected there.
        private_mode: connect to trusted points only, admit only the trusted.
        discovers: whether lists of points are asked for, given and learned from.
        backoff: when a point is dialled again.
        new_metadata: makes what is remembered of a peer; by default Tezos' counters.
        score: of a peer, from what is remembered; by default 1.0 for all.
        policy: what a score buys.
        shares: whether bandwidth is shared evenly, or by the policy's weights.
        diversity: who may fill our slots; None: anybody.
    """

    port: int
    metadata: ConnectionMetadata
    difficulty: float
    limits: Limits
    peers: Iterable[Point | str]
    trusted: Iterable[tuple[Point, PeerId | None]]
    private_mode: bool
    discovers: bool
    backoff: Backoff
    new_metadata: Callable[[], Any]
    score: Callable[[Any], float]
    policy: PeerPolicy[Any]
    shares: Literal["fair", "score"]
    diversity: Diversity | None


class NotConnected(ConnectionError):
    """There is no connection to a peer, or none came about.

    Attributes:
        why: what the core says of it, if it says anything.
        ending: how an attempt has ended, if there was one.
    """

    def __init__(
        self,
        text: str,
        why: P2pError | None = None,
        ending: Disconnection | None = None,
    ) -> None:
        super().__init__(text)
        self.why = why
        self.ending = ending


def check_node(
    identity: Identity,
    network: Network,
    codec: ApplicationCodec[Any],
    nearby: Point | None,
    options: NodeOptions,
) -> None:
    """Check what a node is made of, before it has a socket; peers and trusted are listed.

    Args:
        identity: who we are.
        network: chain name and versions.
        codec: the application's messages.
        nearby: where datagrams of the local network are exchanged, or None.
        options: see `NodeOptions`; what may be had once only is kept there as a tuple.

    Raises:
        TypeError: an option of no such name, or an argument is not what it must be.
        PointError: a peer's text is no point.
        ValueError: bandwidth is to be shared as nobody knows.
    """
    check_ends(identity, network, codec, options, NodeOptions.__annotations__)
    options["peers"] = listed_points(options.get("peers", ()))
    options["trusted"] = listed_trusted(options.get("trusted", ()))
    if nearby is not None:
        check_point(nearby, "nearby")


def make_core(
    identity: Identity,
    network: Network,
    codec: ApplicationCodec[M],
    port: int,
    nearby: bool,
    options: NodeOptions,
) -> Core[M, Any]:
    """Make a node of what the user gave.

    Args:
        identity: who we are.
        network: chain name and versions.
        codec: the application's messages.
        port: TCP port to announce if the options do not say it, 0 for none.
        nearby: whether the local network is told where we listen.
        options: see `NodeOptions`; checked.
    """
    private = options.get("private_mode", False)
    local = Local(
        identity=identity,
        network=network,
        random_bytes=os.urandom,
        port=options.get("port", port),
        metadata=options.get("metadata", ConnectionMetadata(private_node=private)),
        difficulty=options.get("difficulty", DEFAULT_DIFFICULTY),
        limits=options.get("limits", Limits()),
    )
    settings = Settings[Any](
        new_metadata=options.get("new_metadata", TezosMetadata),
        score=options.get("score", constant_score),
        policy=options.get("policy", FAIR),
        shares=options.get("shares", "fair"),
        # Of the system: what peers can observe must not tell what comes next.
        random=unguessable,
        random_inside=unguessable,
        trusted=tuple(options.get("trusted", ())),
        private_mode=private,
        discovers=options.get("discovers", True),
        nearby=nearby,
        backoff=options.get("backoff", Backoff()),
    )
    diversity = options["diversity"] if "diversity" in options else Diversity()
    core = Core(local, MessageCodec(codec), settings, diversity)
    for peer in options.get("peers", ()):
        core.pool.register_point(point_at(peer, "each of peers"), 0.0)
    return core


def _ban(steward: Steward[Any], who: Who) -> Iterable[Kick]:
    if isinstance(who, PeerId):
        return steward.ban_peer(who)
    return steward.ban_address(who.address if isinstance(who, Point) else who)


def _unban(steward: Steward[Any], who: Who) -> Iterable[Kick]:
    if isinstance(who, PeerId):
        return steward.unban_peer(who)
    return steward.unban_address(who.address if isinstance(who, Point) else who)


def _open(steward: Steward[Any], who: Who) -> Iterable[Kick]:
    if isinstance(who, PeerId):
        return steward.open_peer(who)
    if isinstance(who, Point):
        return steward.open_point(who)
    return steward.unban_address(who)


def _place(where: Address | Prefix | str) -> Address | Prefix:
    named = who_at(where, "where")
    if isinstance(named, (PeerId, Point)):
        raise ValueError(f"{str(where)[:80]!r} is no address or prefix")
    return named


@attrs.frozen(eq=False)
class Observer:
    """Who is told what happens; see `NodeEnds.observe`."""

    on_event: Callable[[PoolEvent], object] | None
    on_change: Callable[[], object] | None


def _tell(told: Callable[..., object], *what: PoolEvent) -> None:
    try:
        told(*what)
    except Exception as exc:
        report(exc)


class NodeEnds(Generic[M, Meta]):
    """A node as an application sees it, as far as no waiting is needed.

    Before the start lists and tables may be filled, and all may be looked at; what needs
    connections is `LocalProtocolError`: ``connect``, `broadcast`, ``send``, `send_now`,
    ``receive``, ``receive_now``, iterating, ``maintain``, and ``run``.  Where a peer, a
    point or an address is named, its text does as well, but for ``send`` and `send_now`;
    what is neither is a `TypeError`.

    Attributes:
        core: the node itself, to look at; to be changed only through this class.
        point: where it listens, or None.
        on_event: called with every event for observers, by whichever thread makes it
            happen; must not block.  If it raises, that is reported.  Without it, 1,024
            wait for `next_event`.
    """

    core: Core[M, Meta]
    point: Point | None = None
    on_event: Callable[[PoolEvent], object] | None = None
    #: Whether it has ended, or is ending; it does not start again.
    stopped: bool = False
    _started: bool = False
    # Replaced, never changed: who comes and goes disturbs nobody who is told.
    _observers: tuple[Observer, ...] = ()

    def __repr__(self) -> str:
        """Show where it listens, who it is, and how it stands."""
        state = "running" if self._started else "not started"
        state = "stopped" if self.stopped else state
        where = () if self.point is None else (self.point,)
        count = f"peers: {self.core.pool.active}"
        return shown(self, *where, self.core.survey.peer_id, f"{state},", count)

    def observe(
        self,
        on_event: Callable[[PoolEvent], object] | None = None,
        on_change: Callable[[], object] | None = None,
    ) -> Callable[[], None]:
        """Tell one more observer what happens, beside ``on_event`` and other observers.

        While anybody listens to events, none are left for `next_event`.

        Args:
            on_event: called as ``on_event`` of the node is.
            on_change: called when anything may have changed, in the same way.

        Returns:
            What ends it; harmless the second time.
        """
        observer = Observer(on_event, on_change)

        def begin(core: Core[M, Meta], _: float) -> None:
            self._tell_events()
            if on_event is not None:
                # What is past is none of its business, nor of anybody's any more.
                while core.next_event() is not None:
                    continue
            self._observers += (observer,)

        def end(_: Core[M, Meta], __: float) -> None:
            others = tuple(each for each in self._observers if each is not observer)
            self._observers = others

        self._do(begin)
        return lambda: self._do(end)

    def ask(self, act: Callable[[Core[M, Meta], float], T]) -> T:
        """Have the core to oneself for one question or command, and the present.

        What follows from it is carried out.  It must be short: nothing moves meanwhile.
        """
        done = self._do(act)
        if self._observers and self.core.pool.events:
            self._do(lambda _, __: self._tell_events())
        return done

    def _tell_events(self) -> None:
        """Give the observers what has happened."""
        if self.on_event is None and not self._observers:
            return  # as most of the time
        listeners: list[Callable[[PoolEvent], object]] = []
        if self.core.pool.events:
            told = [self.on_event, *(each.on_event for each in self._observers)]
            listeners = [each for each in told if each is not None]
        while listeners and (event := self.core.next_event()) is not None:
            for listener in listeners:
                _tell(listener, event)
        for each in self._observers:
            if each.on_change is not None:
                _tell(each.on_change)

    def _check_started(self, verb: str) -> None:
        """Raise if a call can come to nothing but by a start that nobody has made.

        Raises:
            LocalProtocolError: that is so.
        """
        if not self._started and not self.stopped:
            raise LocalProtocolError(verb, "not started")

    def _dial(self, point: Point, expected: PeerId | None) -> int:
        """Dial a point, and return the link.

        Raises:
            NotConnected: it is not to be dialled.
        """
        if expected is not None:
            self.expect(point, expected)
        try:
            link = self._do(lambda core, now: core.connect(point, now))
        except LocalProtocolError:
            raise NotConnected(f"{point} is not dialled: the node is not up") from None
        if isinstance(link, P2pError):
            raise NotConnected(f"{point} is not dialled: {link}", link)
        return link

    def _came_to_nothing(self, link: int, point: Point) -> NotConnected:
        """Return the error for a dial that is over."""
        ending = self._do(lambda core, _: core.survey.why_not(link))
        text = f"no connection to {point} came about"
        if ending is None:  # it ran, and is gone
            return NotConnected(text)
        why = ending.errors[0] if ending.errors else None
        return NotConnected(f"{text}: {ending}", why, ending)

    def _do(self, act: Callable[[Core[M, Meta], float], T]) -> T:
        """Give the core one input, and carry out what follows."""
        raise NotImplementedError

    @property
    def peers(self) -> tuple[Running[Meta], ...]:
        """Who is connected, in the order in which they came."""
        return self._do(lambda core, _: tuple(core.pool.running.values()))

    def broadcast(self, message: M, skip: Iterable[PeerId] = ()) -> int:
        """Queue one message, encoded once, to all peers; return to how many.

        Peers without room miss it.

        Raises:
            EncodeError: the message has no bytes.
            LocalProtocolError: the node was not started.
        """
        taken = self._do(lambda core, now: core.broadcast(message, now, skip))
        if not taken:
            self._check_started("broadcast")
        return taken

    def send_now(self, peer_id: PeerId, message: M) -> bool:
        """Queue one message; return False if there is no room.

        Args:
            peer_id: to whom; not its text, which would have to be read each time.
            message: what.

        Raises:
            NotConnected: there is no such connection.
            LocalProtocolError: the node was not started.
            EncodeError: the message has no bytes.
            TypeError: that is no peer id.
        """
        try:
            return self._do(lambda core, now: core.send(peer_id, message, now))
        except LocalProtocolError:
            if not isinstance(cast("object", peer_id), PeerId):
                raise wrong("peer_id", "a PeerId", peer_id) from None
            self._check_started("send")
            raise NotConnected(f"not connected to {peer_id}") from None

    def disconnect(self, peer_id: PeerId | str) -> bool:
        """End the connection to a peer; return False if there is none.

        Raises:
            ValueError: a text that is no peer id.
        """
        who = peer_at(peer_id)
        return self._do(lambda core, now: core.disconnect(who, now))

    def ban(self, who: Who | str) -> None:
        """Ban a peer, an address (of a point) or a prefix, and disconnect whom it hits.

        Raises:
            ValueError: a text that is none of them.
        """
        named = who_at(who)
        self._do(lambda core, now: core.govern(lambda it: _ban(it, named), now))

    def unban(self, who: Who | str) -> None:
        """Take back a ban, and what the grey list says.

        Raises:
            ValueError: a text that is none of them.
        """
        named = who_at(who)
        self._do(lambda core, now: core.govern(lambda it: _unban(it, named), now))

    def allow(self, where: Address | Prefix | str) -> None:
        """Put an address or a prefix on the white list: it is never greylisted.

        Raises:
            ValueError: a text that is neither.
        """
        named = _place(where)
        self._do(lambda core, now: core.govern(lambda it: it.allow(named), now))

    def disallow(self, where: Address | Prefix | str) -> None:
        """Take an address or a prefix off the white list.

        Raises:
            ValueError: a text that is neither.
        """
        named = _place(where)
        self._do(lambda core, now: core.govern(lambda it: it.disallow(named), now))

    def greylist(self, peer_id: PeerId | str, why: str) -> None:
        """Ban a peer that misbehaves, and its address, for a while; disconnect it.

        Args:
            peer_id: who; nothing happens if it is not connected.
            why: what it has done.

        Raises:
            ValueError: a text that is no peer id.
        """
        who = peer_at(peer_id)
        reason = Disconnection(Reason.USER, text=why)
        self._do(
            lambda core, now: core.govern(
                lambda it: it.greylist_peer(who, reason, now), now
            )
        )

    def clear_greylists(self) -> None:
        """Forgive all that are banned for a while; who is banned for good stays so."""
        self._do(lambda core, now: core.govern(lambda it: it.clear_greylists(), now))

    def clear_lists(self) -> None:
        """Empty the grey lists and the black lists; trust and the white list stay."""
        self._do(lambda core, now: core.govern(lambda it: it.clear(), now))

    def open(self, who: Who | str) -> None:
        """Neither ban nor trust a peer, a point, an address or a prefix.

        Raises:
            ValueError: a text that is none of them.
        """
        named = who_at(who)
        self._do(lambda core, now: core.govern(lambda it: _open(it, named), now))

    def trust(self, who: PeerId | Point | str) -> None:
        """Trust a peer or a point, and unban it.

        Raises:
            ValueError: neither a peer id nor a point.
        """
        self._entrust(who, True)

    def configure(self, point: Point | str, expected: PeerId | str | None = None) -> None:
        """Trust a point as a configuration does: what an operator has banned stays so.

        Raises:
            ValueError: a text that is no point, or no peer id.
        """
        there = point_at(point, "point")
        who = None if expected is None else peer_at(expected, "expected")
        self._do(
            lambda core, now: core.govern(
                lambda it: it.configure_point(there, now, who), now
            )
        )

    def expect(self, point: Point | str, peer_id: PeerId | str) -> None:
        """Say who has to be at a point.

        Raises:
            ValueError: a text that is no point, or no peer id.
        """
        there, who = point_at(point, "point"), peer_at(peer_id)
        self._do(
            lambda core, now: core.govern(lambda it: it.expect(there, who, now), now)
        )

    def untrust(self, who: PeerId | Point | str) -> None:
        """Trust a peer or a point no more.

        Raises:
            ValueError: neither a peer id nor a point.
        """
        self._entrust(who, False)

    def _entrust(self, who: PeerId | Point | str, trusted: bool) -> None:
        named = who_at(who)

        def act(steward: Steward[Any], now: float) -> Iterable[Kick]:
            if isinstance(named, PeerId):
                return (
                    steward.trust_peer(named, now)
                    if trusted
                    else steward.untrust_peer(named)
                )
            if isinstance(named, Point):
                return (
                    steward.trust_point(named, now)
                    if trusted
                    else steward.untrust_point(named)
                )
            raise ValueError(f"{who} is neither a peer id nor a point")

        self._do(lambda core, now: core.govern(lambda it: act(it, now), now))

    def update_metadata(
        self, peer_id: PeerId | str, change: Callable[[Meta], Meta]
    ) -> None:
        """Change what is remembered of a peer, and with it how the peer is treated.

        Raises:
            ValueError: a text that is no peer id.
        """
        who = peer_at(peer_id)
        self._do(lambda core, now: core.update_metadata(who, change, now))

    def next_event(self) -> PoolEvent | None:
        """Return the oldest unread event for observers, or None; 1,024 are kept."""
        return self._do(lambda core, _: core.next_event())
