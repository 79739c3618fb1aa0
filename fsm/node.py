"""A whole node: composes the machines, and moves what happens between them.

The verbs are those of a connection, with a *link* where a connection has none: one TCP
connection, a number that is never used twice.  After any input a driver carries out
`next_command` until it gives None, re-arms `next_timeout` if it changed, and wakes the
application if something is `readable`.

=============  =========================================================================
part           is asked
=============  =========================================================================
`Traffic`      how bytes move: connections, deadlines, shares of the bandwidth
`Reception`    who comes and goes: each link's ``Attempt``, what the application is told
`Pool`         who is known and connected
`Acl`          who is banned
`Maintenance`  whether there are enough connections, or too many
`Welcome`      whether connections are accepted
`Answerer`     what this layer's own messages make us do
`Inbox`        what the application pulls next
`Diversity`    who may fill our slots
`Steward`      what an operator decides
`Tally`        what has happened how often; `Figures` has what else is told
`Survey`       what an operator may see
=============  =========================================================================

None of them holds another's state; who must know what is decided here, and only here.

Source: the connect handler, pool and maintenance modules of the reference node, 2026.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, TypeVar

import attrs

from ..spec.address import Address
from ..spec.identity import PeerId
from ..spec.message import MessageCodec
from ..spec.point import Point
from ..spec.pool_events import PoolEvent
from ..spec.reasons import Direction, Disconnection, P2pError, Reason
from . import answerer as answers
from . import maintenance as upkeep
from . import telling
from .acl import Acl
from .answerer import Answerer
from .commands import Accept, Maintained, NodeCommand, Shout
from .discovery import Discovery
from .diversity import Diversity
from .facts import Begun, Heard, Over
from .figures import Figures
from .inbox import Inbox, Item
from .local import Local
from .machine import LocalProtocolError
from .maintenance import Maintenance
from .parts import assemble
from .pool import Pool, Running
from .reception import Reception
from .settings import Settings
from .steward import Kick, Steward, kick_all
from .surroundings import Surroundings
from .survey import Survey
from .tally import Tally
from .traffic import Traffic
from .welcome import Welcome
from .wishes import Wishes
from .worker import Workers

M = TypeVar("M")
Meta = TypeVar("Meta")

#: Timers of the machines; links' are positive, the traffic's -1 and -2.
_WELCOME: Final = -3
_MAINTENANCE: Final = -4
_ANSWERER: Final = -5
_DISCOVERY: Final = -6
_DIVERSITY: Final = -7
_USER: Final = Disconnection(Reason.USER)
_TRIMMED: Final = Disconnection(Reason.MAINTENANCE_TOO_MANY)


@attrs.define(eq=False)
class Node(Figures[M, Meta]):
    """A node of the network.

    Every ``now`` is monotonic seconds of one clock and never decreases.  A link that was
    never allotted, or is forgotten, raises `KeyError`.

    Args:
        local: what we are: identity, network, limits.
        codec: the application's messages.
        settings: the rest.
        diversity: who may fill our slots; None: anybody.

    Attributes:
        pool: who is known and connected, to look at.
        acl: who is banned, to look at.
        maintenance: whether there are enough connections, to look at.
        tally: what is counted for observers, to look at.
        survey: what an operator may see.
    """

    _local: Local
    _codec: MessageCodec[M]
    _settings: Settings[Meta]
    _diversity: Diversity | None = attrs.field(factory=Diversity)
    pool: Pool[Meta] = attrs.field(init=False)
    acl: Acl = attrs.field(init=False)
    maintenance: Maintenance = attrs.field(init=False)
    tally: Tally = attrs.field(init=False)
    survey: Survey[Meta] = attrs.field(init=False)
    _workers: Workers = attrs.field(init=False)
    _now: float = attrs.field(default=0.0, init=False)
    _news: int = attrs.field(default=0, init=False)
    _traffic: Traffic[M] = attrs.field(init=False)
    _reception: Reception[M, Meta] = attrs.field(init=False)
    _inbox: Inbox[M] = attrs.field(init=False)
    _welcome: Welcome = attrs.field(init=False)
    _answerer: Answerer = attrs.field(init=False)
    _discovery: Discovery | None = attrs.field(init=False)
    _steward: Steward[Meta] = attrs.field(init=False)
    _world: Surroundings[Meta] = attrs.field(init=False)
    _wishes: Wishes = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Make the parts."""
        parts = assemble(self._local, self._codec, self._settings, self._diversity)
        self._traffic, self._reception = parts.traffic, parts.reception
        self._inbox, self.tally = parts.reception.inbox, parts.reception.tally
        self.pool, self.acl = parts.reception.pool, parts.reception.acl
        self.maintenance, self._answerer = parts.maintenance, parts.answerer
        self._welcome, self._discovery = parts.welcome, parts.discovery
        self._world = parts.world
        self._workers, self._wishes = parts.workers, parts.wishes
        self._steward, self.survey = parts.steward, parts.survey

    # -- life --------------------------------------------------------------------------

    def start(self, now: float, wall: float) -> None:  # noqa: ARG002  # for the files
        """Begin to accept, and to look for peers.

        Args:
            now: the present.
            wall: seconds of the epoch at that moment; nothing is decided by it.

        Raises:
            LocalProtocolError: it was started before.
        """
        if not self._fresh:
            raise LocalProtocolError("start", "started before")
        for point, expected in self._settings.trusted:
            self.pool.register_point(point, now, trusted=True, expected=expected)
        if self._diversity is not None:
            self.pool.learn(self._diversity.waiting_anchors, now)
        self._workers.start(now)
        self._follow(now)

    def stop(self, now: float, deadline: float | None = None) -> None:
        """End everything, in the order of `worker.SHUTDOWN`; harmless if it has ended.

        Args:
            now: the present.
            deadline: until when what is queued may still leave; None drops it.
        """
        self._workers.stop(now)
        self._follow(now)  # the door is shut before anybody goes
        why = Disconnection(Reason.POOL_DESTROYED)
        for link, reason in kick_all(self._reception.attempts, why):
            self._reception.close(link, reason, now, deadline)
        self._follow(now)

    # -- inputs ------------------------------------------------------------------------

    def accept(self, remote: Point, now: float) -> int | None:
        """Take in a TCP connection that the other side opened.

        Returns:
            Its link; None: close it at once, without a word.
        """
        if not self._active:
            return None
        link = self._reception.arrive(remote, now)
        self._follow_link(now)
        return link

    def accept_failed(self, error: int, now: float) -> None:
        """Take note that accepting has failed with an ``errno``."""
        self._reception.events.append(telling.not_accepted(error))
        self._welcome.accept_failed(error, now)
        self._follow(now)

    def link_made(self, link: int, now: float) -> None:
        """Take note that a dial has succeeded."""
        self._reception.made(link, now)
        self._follow_link(now)

    def link_lost(
        self,
        link: int,
        error: int | None,
        now: float,
        direction: Direction = Direction.READ,
    ) -> None:
        """Take note that a dial has failed, a socket broke, or a Close is done."""
        self._traffic.lost(link, error, now, direction)
        self._reception.attend(link, now)
        self._follow_link(now)

    def receive_data(
        self, link: int, data: bytes | bytearray | memoryview, now: float
    ) -> None:
        """Take bytes of theirs, at most `read_allowance`; ``b""`` is their end."""
        self._traffic.receive_data(link, data, now)
        self._reception.attend(link, now)
        self._follow_link(now)

    def writable(self, link: int, now: float) -> None:
        """Take note that a socket that took no more takes bytes again."""
        self._traffic.writable(link)
        self._reception.attend(link, now)
        self._follow_link(now)

    def receive_datagram(self, data: bytes, source: Address, now: float) -> None:
        """Take a datagram from the local network."""
        if self._discovery is not None and self._active:
            point = self._discovery.receive(source, data, now)
            if point is not None:
                self.pool.meet(point, now)
            self._follow(now)

    def handle_timeout(self, now: float) -> None:
        """Do what is due; harmless when nothing is."""
        for key in self._traffic.due(now):
            if key > 0:
                self._reception.attend(key, now)
            elif key == _WELCOME:
                self._welcome.handle_timeout(now)
            elif key == _MAINTENANCE:
                self.maintenance.handle_timeout(now)
            elif key == _DISCOVERY and self._discovery is not None:
                self._discovery.handle_timeout(now)
            elif key == _DIVERSITY:
                self._test(now)
            else:
                self._answerer.handle_timeout(now)
        self._follow(now)

    def _test(self, now: float) -> None:
        """Dial a point that a newcomer would drive out, to see if it is still there."""
        point = None if self._diversity is None else self._diversity.next_test(now)
        if point is not None and point in self.pool.known_points and self._active:
            self._dial(point, now)  # or not, if it may not be

    # -- commands of the application ---------------------------------------------------

    def send(self, peer_id: PeerId, message: M, now: float) -> bool:
        """Queue one message; False: no room, one `inbox.Ready` follows.

        Raises:
            LocalProtocolError: the peer is not connected.
            EncodeError: the message has no bytes.
        """
        running = self.pool.by_peer(peer_id)
        if running is None:
            raise LocalProtocolError("send", "DISCONNECTED", f"to {peer_id}")
        line = self._traffic.lines[running.link]
        taken = line.connection.send(message)
        self.tally.sent += 1
        if not line.writing:  # else its Write was asked for before
            self._traffic.settle(running.link, now)
        return taken

    def broadcast(self, message: M, now: float, skip: Iterable[PeerId] = ()) -> int:
        """Queue one message, encoded once, to all peers; return to how many.

        Peers without room miss it.
        """
        return self._reception.broadcast(message, frozenset(skip), now)

    def connect(self, point: Point, now: float) -> int | P2pError:
        """Dial a point, whatever its back-off; return the link, or why not.

        ``survey.why_not`` tells how it ended, ``Steward.give_up`` ends it before.
        """
        link = self._wishes.make(self._dial(point, now))
        self._follow(now)
        return link

    def disconnect(
        self,
        peer_id: PeerId,
        now: float,
        reason: Disconnection = _USER,
        deadline: float | None = None,
    ) -> bool:
        """End the connection to a peer; nothing of theirs is delivered any more.

        Args:
            peer_id: whose.
            now: the present.
            reason: what `inbox.Left` will say.
            deadline: until when what is queued may still leave; None drops it.

        Returns:
            False if there is no such connection.
        """
        running = self.pool.by_peer(peer_id)
        if running is not None:
            self._reception.close(running.link, reason, now, deadline)
            self._follow(now)
        return running is not None

    def govern(self, act: Callable[[Steward[Meta]], Iterable[Kick]], now: float) -> None:
        """Have the steward do something, and disconnect whom it says.

        For example ``node.govern(lambda it: it.ban_peer(peer_id), now)``.
        """
        for link, reason in act(self._steward):
            self._reception.close(link, reason, now)
        for running in self.pool.running.values():
            self._treat(running, now)  # trust may have changed
        self._answerer.renew()
        self._reception.chosen.renew()
        self._follow(now)

    def maintain(self, now: float) -> None:
        """Look after the number of connections now; a `Maintained` command follows.

        Raises:
            LocalProtocolError: not started, stopped, or there is no maintenance.
        """
        self.maintenance.request(now)
        self._follow(now)

    def update_metadata(
        self, peer_id: PeerId, change: Callable[[Meta], Meta], now: float
    ) -> None:
        """Change what is remembered of a peer, and with it how the peer is treated."""
        info = self.pool.register_peer(peer_id, now)
        info.metadata = change(info.metadata)
        running = self.pool.by_peer(peer_id)
        if running is not None:
            self._treat(running, now)
        self._follow_link(now)

    # -- outputs -----------------------------------------------------------------------

    @property
    def due(self) -> bool:
        """Whether there is anything to carry out, or to re-arm."""
        traffic = self._traffic
        return bool(traffic.commands) or traffic.timers.changed or traffic.has_turn

    @property
    def pending(self) -> bool:
        """Whether there is anything to carry out, to re-arm or to pull."""
        return self.due or self.readable

    def __contains__(self, link: int) -> bool:
        """Whether a link was allotted, and its socket may still be there."""
        line = self._traffic.lines.get(link)
        return line is not None and not line.lost

    def __len__(self) -> int:
        """How many links are not forgotten."""
        return len(self._traffic.lines)

    def next_command(self) -> NodeCommand | None:
        """Return what a driver has to do next, or None."""
        return self._traffic.next_command()

    def pieces_to_send(self, link: int, room: int, now: float) -> list[bytes]:
        """Return bytes for one `Write`, in pieces; see `Solo.pieces_to_send`."""
        pieces = self._traffic.pieces_to_send(link, room, now)
        self._reception.attend(link, now)
        self._follow_link(now)
        return pieces

    def data_to_send(self, link: int, room: int, now: float) -> bytes:
        """Return bytes for one `Write`."""
        return b"".join(self.pieces_to_send(link, room, now))

    def read_allowance(self, link: int, now: float) -> int:
        """Return how many bytes may be read now; 0: none until `Read`."""
        return self._traffic.read_allowance(link, now)

    @property
    def readable(self) -> bool:
        """Whether `receive` has something to give."""
        return len(self._inbox) > 0

    def receive(self) -> Item[M] | None:
        """Return what the application is told next, or None."""
        item = self._inbox.next()
        if item is None or not self._inbox.emptied:
            return item  # there is time to fill its queue when that is empty
        if item.link in self._reception.attempts:
            self._reception.pulled(item.link, self._now)
            self._follow_link(self._now)
        return item

    def next_event(self) -> PoolEvent | None:
        """Return the oldest unread event for observers, or None."""
        events = self._reception.events
        return events.popleft() if events else None

    def next_timeout(self) -> float | None:
        """Monotonic seconds at which `handle_timeout` has something to do, or None."""
        return self._traffic.timers.next()

    # -- what follows ------------------------------------------------------------------

    def _follow_link(self, now: float) -> None:
        """Do as `_follow` after what has changed no worker."""
        self._now = now
        if self._reception.facts or self.pool.news != self._news:
            self._follow(now)

    def _follow(self, now: float) -> None:
        """Move what has happened between the parts, until nothing is left to move."""
        self._now = now
        upkeeper, answerer = self.maintenance, self._answerer
        facts, pool = self._reception.facts, self.pool
        while facts or pool.news != self._news or upkeeper.busy or answerer.busy:
            self._tell_all(now)
            self._maintain(now)
            self._answer(now)
        accepting = self._welcome.next_command()
        if accepting is not None:
            self._traffic.commands.append(Accept(accepting))
        timers = self._traffic.timers
        if self._discovery is not None:
            while (data := self._discovery.next_datagram()) is not None:
                self._traffic.commands.append(Shout(data))
            timers.set(_DISCOVERY, self._discovery.next_timeout())
        timers.set(_WELCOME, self._welcome.next_timeout())
        timers.set(_MAINTENANCE, self.maintenance.next_timeout())
        timers.set(_ANSWERER, self._answerer.next_timeout())
        if self._diversity is not None:
            at = None if self._stopped else self._diversity.next_timeout()
            timers.set(_DIVERSITY, at)

    def _tell_all(self, now: float) -> None:
        """Tell the workers what has become of links."""
        while (fact := self._reception.next_fact()) is not None:
            match fact:
                case Begun(attempt, running):
                    self._treat(running, now)
                    if self._diversity is not None:
                        self._diversity.joined(running.link, incoming=running.incoming)
                    self._settled(attempt, True, now)
                case Over(attempt, ran, why):
                    self._wishes.over(attempt.link, ran, why)
                    if self._diversity is not None:
                        self._diversity.left(attempt.link)
                    self._answerer.forget(attempt.link, now)
                    self._settled(attempt, ran, now)
                case Heard(attempt, message):
                    self._answerer.received(attempt.link, message, now)
                case _:
                    if self._settings.discovers:
                        points = self._answerer.teaching.sift(*fact.told, now)
                        self.pool.learn(points, now)
        if self.pool.news != self._news:
            self._news = self.pool.news
            self.maintenance.met(now)

    def _settled(self, attempt: Any, ran: bool, now: float) -> None:
        """An attempt has come to run, or is over; ``ran``: it has, at any time."""
        ours, attempt.known = not (attempt.incoming or attempt.known), True
        if ours and attempt.swaps:
            self._answerer.swapped(attempt.link if ran else None, now)
            self._answer(now)  # who is swapped goes before anybody counts
        if ran:  # first, or maintenance would think that the dial brought nobody
            self.maintenance.active_changed(self.pool.active, now)
        if ours:
            self.maintenance.dialled(attempt.remote_point, ran, now)

    def _maintain(self, now: float) -> None:
        """Carry out what maintenance wants."""
        while (command := self.maintenance.next_command()) is not None:
            match command:
                case upkeep.Fill(point):
                    info = self.pool.known_points.get(point)
                    may = info is not None and self._world.may_fill(info, now)
                    if not may or not isinstance(self._dial(point, now), int):
                        self.maintenance.dialled(point, False, now)
                case upkeep.Drop(link):
                    self._reception.close(link, _TRIMMED, now)
                case upkeep.Ask():
                    self._answerer.ask(list(self.pool.running), now)
                    if self._discovery is not None:
                        self._discovery.wake(now)
                case upkeep.Swap():
                    self._answerer.swap(now)
                case upkeep.Collect():
                    self.acl.collect(now)
                case Maintained():
                    self._traffic.commands.append(command)
                case _:
                    event = telling.of_maintenance(command, self._local.limits)
                    self._reception.events.append(event)

    def _answer(self, now: float) -> None:
        """Carry out what the answerer wants."""
        while (command := self._answerer.next_command()) is not None:
            match command:
                case answers.Reply(link, message):
                    taken = self._reception.put(link, message, now)
                    self._answerer.replied(command, taken, now)
                case answers.Learn(_, points):
                    self.pool.learn(points, now)
                case answers.Connect(point):
                    dialled = self._dial(point, now)
                    if isinstance(dialled, int):
                        self._reception.attempts[dialled].swaps = True
                    else:
                        self._answerer.swapped(None, now)
                case _:
                    self._reception.close(command.link, command.reason, now)
        while (event := self._answerer.next_event()) is not None:
            self._reception.events.append(event)

    def _dial(self, point: Point, now: float) -> int | P2pError:
        if not self._active:
            raise LocalProtocolError("connect", "not running")
        link = self._reception.dial(point, now)
        if isinstance(link, int) and self._diversity is not None:
            self._diversity.dialled(link, point, now)
        return link

    def _treat(self, running: Running[Meta], now: float) -> None:
        peer, settings = running.peer, self._settings
        score = settings.score(peer.metadata)
        treatment = settings.policy(peer.metadata, score, running.trusted)
        self._traffic.treat(running.link, treatment, now)
