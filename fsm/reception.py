"""How links come and go: admission, tables and lists, what the application is told.

After everything that may have changed a link, `Reception.attend` hears what its
connection has to tell, decides who is admitted, enters and leaves the pool's tables, and
moves messages to the inbox.  What others have to know it tells the node as facts, in
order; it knows neither the workers nor the answerer.

Where those who come say that they listen, is entered before it is known whether they are
admitted, as far as `fsm.announced` lets it, and told to others unless they are private.
Who is of another network, or has no version in common with us, is neither entered nor
told of, and if we have dialled, forgotten, unless it is trusted or somebody is expected.

Source: the connect handler of the reference node, 2026.  It enters and tells of those of
other networks who come; and forgets whom it has dialled there, also the trusted.
"""

from __future__ import annotations

from collections import deque
from typing import Final, Generic, TypeVar, cast

import attrs

from ..spec import pool_events as told
from ..spec.events import (
    Authenticated,
    Closed,
    ConnectionEvent,
    ControlReceived,
    Established,
    SendReady,
)
from ..spec.identity import PeerId
from ..spec.message import ControlMessage, MessageCodec
from ..spec.motive import Motive
from ..spec.point import ConnectionId, Point
from ..spec.pool_events import PoolEvent
from ..spec.reasons import Disconnection, ErrorKind, P2pError, Reason
from . import endings, lifecycle, telling
from . import point as points
from .acl import Acl
from .admission import (
    Attempt,
    Candidate,
    Places,
    Rules,
    State,
    banned,
    refusal,
    wrong_identity,
)
from .announced import Announced
from .chosen import Chosen
from .connection import Connection
from .diversity import Diversity
from .door import Door
from .facts import Begun, Fact, Heard, Over, Taught
from .inbox import Inbox, Joined, Left, Ready
from .local import Local
from .pool import Pool, Running
from .settings import Settings
from .tally import PHASE_AFTER, Phase, Tally
from .traffic import Traffic

M = TypeVar("M")
Meta = TypeVar("Meta")


@attrs.define(eq=False)
class Reception(Generic[M, Meta]):
    """All links of a node, and who is behind them.

    Args:
        local: what we are.
        codec: the application's messages.
        settings: of the node.
        rules: whom it admits.
        pool: who is known and connected.
        acl: who is banned.
        traffic: how bytes move.
        diversity: who may fill our slots; None: anybody.

    Attributes:
        attempts: of every link that is not forgotten.
        inbox: what the application pulls.
        events: for observers; the pool's.
        tally: what is counted for observers.
        facts: what the node was not told yet.
        chosen: what those are told who are refused.
    """

    _local: Local
    _codec: MessageCodec[M]
    _settings: Settings[Meta]
    _rules: Rules
    pool: Pool[Meta]
    acl: Acl
    traffic: Traffic[M]
    _diversity: Diversity | None
    attempts: dict[int, Attempt[Meta]] = attrs.field(
        factory=dict[int, Attempt[Meta]], init=False
    )
    inbox: Inbox[M] = attrs.field(init=False)
    events: deque[PoolEvent] = attrs.field(init=False)
    tally: Tally = attrs.field(factory=Tally, init=False)
    places: Places = attrs.field(init=False)
    facts: deque[Fact[Meta]] = attrs.field(factory=deque[Fact[Meta]], init=False)
    _door: Door = attrs.field(init=False)
    chosen: Chosen = attrs.field(init=False)
    _announced: Announced = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Make the parts."""
        limits = self._local.limits
        self.inbox = Inbox(limits.incoming_app_message_queue_size)
        self.events = self.pool.events
        self.places = Places(runner=self._local.runner)
        self._door = Door(self.acl, limits.max_incoming_connections)
        self.chosen = Chosen(self.pool, self.acl, self._settings.discovers)
        self._announced = Announced(self.pool)

    def next_fact(self) -> Fact[Meta] | None:
        """Return the oldest fact that the node was not told yet, or None."""
        return self.facts.popleft() if self.facts else None

    # -- links -------------------------------------------------------------------------

    def dial(self, point: Point, now: float) -> int | P2pError:
        """Dial a point, whatever its back-off; return the link, or why not."""
        refused = self._refuse_to_dial(point, now)
        if refused is not None:
            return P2pError(refused, str(point))
        info = self.pool.register_point(point, now, named=False)
        if self._rules.private_mode and not info.trusted:
            return P2pError(ErrorKind.PRIVATE_MODE, str(point))
        if info.state is points.State.RUNNING:
            return P2pError(ErrorKind.CONNECTED, str(point))
        if info.state is not points.State.DISCONNECTED:
            return P2pError(ErrorKind.PENDING_CONNECTION, str(point))
        deadline = now + self._local.limits.connection_timeout
        connection = Connection(self._local, self._codec, incoming=False)
        link = self.traffic.dial(point, connection, deadline)
        attempt = self.attempts[link] = Attempt(
            link, False, point, self.pool, self.places, now
        )
        attempt.dial(info, now)
        self.events.append(told.OutgoingConnection(point))
        return link

    def _refuse_to_dial(self, point: Point, now: float) -> ErrorKind | None:
        if self.acl.is_banned(point.address, now):
            return ErrorKind.POINT_BANNED
        if self.places.taken(self.pool.active) >= self._rules.most:
            return ErrorKind.TOO_MANY_CONNECTIONS
        return None

    def arrive(self, remote: Point, now: float) -> int | None:
        """Take in an incoming connection; return the link, or None: close it unheard."""
        self.events.append(told.IncomingConnection(remote))
        verdict = self._door.knock(remote.address, now)
        if isinstance(verdict, Reason):
            self.tally.ended(verdict)
            return None
        if verdict is not None:
            crowded = Disconnection(Reason.INCOMING_CONNECTION_TOO_MANY)
            self.close(verdict, crowded, now)
        connection = Connection(self._local, self._codec, incoming=True)
        deadline = now + self._local.limits.authentication_timeout
        link = self.traffic.arrive(connection, now, deadline)
        attempt = self.attempts[link] = Attempt(
            link, True, remote, self.pool, self.places, now
        )
        attempt.arrive()
        self._door.sit(link, remote.address)
        self.attend(link, now)
        return link

    def made(self, link: int, now: float) -> None:
        """Take note that a dial has succeeded."""
        if self.traffic.made(link, now):
            self.attempts[link].made()
            self.tally.step(self.attempts[link], Phase.DIAL, now)
            self.attend(link, now)

    # -- one link ----------------------------------------------------------------------

    def connection(self, link: int) -> Connection[M]:
        """Return the connection of a link."""
        return self.traffic.lines[link].connection

    def attend(self, link: int, now: float) -> None:
        """Hear what a link has to tell, and see to what follows."""
        line, attempt = self.traffic.lines[link], self.attempts[link]
        connection = line.connection
        while (event := connection.next_event()) is not None:
            # What is still decoded behind a lost socket is no news of a connection, but
            # nobody escapes by hanging up while all that they have sent is not read yet.
            if attempt.state is not State.GONE:
                self._hear(attempt, event, now)
            elif isinstance(event, Closed) and event.disconnection.greylists:
                self.tally.over(event.disconnection)
                self._condemn(attempt, event.disconnection, now)
        if line.lost and attempt.state is not State.GONE:
            if attempt.state is not State.LEAVING:
                assert connection.disconnection is not None
                self._see_off(attempt, connection.disconnection, now)
            attempt.lost(now)
        self.fill(link)
        self.traffic.settle(link, now)
        self.let_go(link)

    def put(self, link: int, message: ControlMessage, now: float) -> bool:
        """Queue a message of this layer, if the link still carries any."""
        if link not in self.pool.running or not self.is_open(link):
            return False
        taken = self.connection(link).send_encoded(*self._codec.frame(message), False)
        self.traffic.settle(link, now)
        return taken

    def broadcast(self, message: M, without: frozenset[PeerId], now: float) -> int:
        """Queue a message, encoded once, to all but some; return to how many."""
        header, payload = self._codec.frame(message)
        taken = 0
        for link, running in self.pool.running.items():
            if running.peer.peer_id not in without and self.is_open(link):
                self.tally.broadcast += 1
                taken += self.connection(link).send_encoded(header, payload, False)
                self.traffic.settle(link, now)
        return taken

    def is_open(self, link: int) -> bool:
        """Whether a link carries messages and is not about to end."""
        return self.connection(link).state is lifecycle.State.OPEN

    def let_go(self, link: int) -> None:
        """Forget a link that is gone, once the application was told."""
        attempt = self.attempts[link]
        if attempt.state is State.GONE and not attempt.told:
            del self.attempts[link]
            self.traffic.drop(link)

    def pulled(self, link: int, now: float) -> None:
        """See to a link of which the application has pulled all that was there."""
        line = self.traffic.lines[link]
        if line.connection.is_calm and not line.paused:
            self.fill(link)  # nothing else can follow
        else:
            self.attend(link, now)

    def fill(self, link: int) -> None:
        """Move messages to where the application pulls them, as many as may wait."""
        attempt, inbox = self.attempts[link], self.inbox
        if not attempt.told or attempt.peer is None:
            return
        connection, peer_id = self.connection(link), attempt.peer.peer_id
        if connection.readable and (room := inbox.room(link)) > 0:
            # This layer's own messages do not join the queue.
            messages = cast("list[M]", connection.receive_many(room))
            inbox.put_all(link, peer_id, messages)
            self.tally.received += len(messages)
        # Not before all else was pulled: so whoever comes and goes while nobody pulls
        # goes on taking a place.
        if attempt.farewell is None or connection.readable or inbox.holds(link):
            return
        if connection.ended:
            inbox.put(Left(link, peer_id, attempt.farewell))
            attempt.told = False
            self.places.untold -= 1

    def close(
        self, link: int, reason: Disconnection, now: float, deadline: float | None = None
    ) -> None:
        """End a link: nothing of theirs is delivered any more; harmless if it is gone.

        Nor is what they said on connections before it, which are over.
        """
        for each in (link, *self.inbox.before(link)):
            if each in self.attempts:
                self.attempts[each].ours = True
                self.inbox.purge(each)
                self.traffic.close(each, reason, now, deadline)
                self.attend(each, now)

    # -- what a connection tells -------------------------------------------------------

    def _hear(self, attempt: Attempt[Meta], event: ConnectionEvent, now: float) -> None:
        if (phase := PHASE_AFTER.get(type(event))) is not None:
            self.tally.step(attempt, phase, event.at)
        match event:
            case Authenticated():
                self._decide(attempt, event, now)
            case Established():
                self._welcome_in(attempt, event, now)
            case ControlReceived(message):
                self.facts.append(Heard(attempt, message))
            case SendReady() if attempt.peer is not None:
                self.inbox.put(Ready(attempt.link, attempt.peer.peer_id))
            case Closed(why):
                self._see_off(attempt, why, now)
            case _:
                pass

    def _decide(self, attempt: Attempt[Meta], event: Authenticated, now: float) -> None:
        """Admit or refuse who has proven who it is."""
        connection, remote = self.connection(attempt.link), event.remote
        if self.acl.is_peer_banned(remote.peer_id, now):
            connection.close(banned(remote.peer_id), now)
            return
        point, where = attempt.point, attempt.remote_point
        id_point = ConnectionId(where.address, where.port)
        foreign = isinstance(event.agreement, Motive)
        if attempt.incoming:
            id_point = ConnectionId(where.address, remote.message.port or None)
            who = None if foreign else remote.peer_id
            point = self._announced.enter(id_point, who, now)
        if point is not None and wrong_identity(point, remote):
            assert point.expected is not None
            why = endings.wrong_peer(point.point, point.expected, remote)
            connection.close(why, now)
            return
        peer = self.pool.register_peer(remote.peer_id, now)
        if point is not None and not (foreign and attempt.incoming):
            point.known_public = not (foreign or remote.metadata.private_node)
        attempt.reached = not (attempt.incoming or foreign)
        candidate = Candidate(remote, id_point, point, peer, now)
        verdict = refusal(
            self._rules,
            attempt.incoming,
            candidate,
            event.agreement,
            self._places_for(attempt, candidate),
        )
        if isinstance(verdict, Motive):
            remote_point = attempt.remote_point
            self.events.append(telling.rejecting(candidate, remote_point, verdict))
            # A nack of version 0 has no list.
            listed = remote.message.version.p2p_version > 0
            others = self.chosen.points(id_point, now) if listed else ()
            connection.refuse(verdict, others, now)
        elif verdict is not None:
            connection.close(verdict, now)
        else:
            self.events.append(telling.accepting(candidate, attempt.remote_point))
            attempt.accept(candidate)
            connection.admit(now)

    def _places_for(self, attempt: Attempt[Meta], candidate: Candidate[Meta]) -> int:
        """Return how many places are taken; the last ones are not for the incoming."""
        taken = self.places.taken(self.pool.active)
        if attempt.swaps:
            return taken - (self._rules.most - self._rules.threshold)
        if self._diversity is None or not attempt.incoming:
            return taken
        point = candidate.point
        trusted = candidate.peer.trusted or (point is not None and point.trusted)
        exempt = trusted or self.acl.is_exempt(candidate.id_point.address)
        slots = self._rules.threshold
        coming = self.places.coming
        if self._diversity.may_take_in(slots, exempt=exempt, coming=coming):
            return taken
        return slots

    def _welcome_in(self, attempt: Attempt[Meta], event: Established, now: float) -> None:
        """Both sides have accepted."""
        peer, id_point = attempt.peer, attempt.id_point
        assert peer is not None and id_point is not None  # noqa: PT018  # one fact
        running = Running(
            link=attempt.link,
            peer=peer,
            point=attempt.point,
            id_point=id_point,
            incoming=attempt.incoming,
            private=event.remote.metadata.private_node,
            version=event.version,
            remote=event.remote,
            since=now,
        )
        attempt.run(running, now)
        attempt.told = True
        self._door.rise(attempt.link)
        self.inbox.put(Joined(attempt.link, event.remote, event.version))
        self.events.append(telling.established(running))
        self.facts.append(Begun(attempt, running))

    def _see_off(self, attempt: Attempt[Meta], why: Disconnection, now: float) -> None:
        """It is over, for whatever reason; everything is given back."""
        before = attempt.state
        if why.greylists:
            self._condemn(attempt, why, now)
        attempt.leave(now)
        self.tally.ended(why.reason)
        self._door.rise(attempt.link)
        self.facts.append(Over(attempt, before is State.RUNNING, why))
        if before is State.RUNNING:
            attempt.farewell = why
            self.tally.over(why)
            self.places.untold += 1
            self.events.append(telling.disconnected(attempt, why))
        else:
            self.events.append(telling.failed(attempt, why))
            self._learn_from_failure(attempt, before, why)

    def _condemn(self, attempt: Attempt[Meta], why: Disconnection, now: float) -> None:
        """Ban an address, and the peer there, for a while; nobody hears more of it."""
        if self.acl.greylist(attempt.remote_point.address, now):
            self.events.append(telling.greylisted(attempt, why))
            if attempt.peer is not None:
                self.acl.greylist_peer(attempt.peer.peer_id, now)
        if attempt.told:
            attempt.farewell = why
            self.inbox.purge(attempt.link)
            self.connection(attempt.link).close(why, now)  # it forgets what it has

    def _learn_from_failure(
        self, attempt: Attempt[Meta], before: State, why: Disconnection
    ) -> None:
        point, peer = attempt.remote_point, attempt.peer
        if before is State.HANDSHAKING and why.reason is _FAILED:
            self.events.append(told.AuthenticationFailed(point))
        elif before is State.ACCEPTED and attempt.incoming:
            self.events.append(telling.rejected(attempt))
        ours = not attempt.incoming
        if ours and why.reason is Reason.AUTHENTICATION_REJECTED_NO_COMMON_PROTOCOL:
            info = self.pool.known_points.get(point)
            # What an operator has said of it outlives that nobody of ours is there.
            if info is None or not (info.trusted or info.expected):
                self.pool.unregister_point(point)
        for error in why.errors:
            if ours and error.kind is ErrorKind.MYSELF:
                # Not of those who come: who joins two connections of ours would choose.
                self.pool.add_own_point(point)
            elif error.kind is ErrorKind.REJECTED_BY_NACK and peer is not None:
                others = error.facts.get("alternative_points", ())
                self.facts.append(Taught(point.address, peer.peer_id, others))


#: How the end of a handshake is told that went wrong.
_FAILED: Final = Reason.AUTHENTICATION_REJECTED_ERROR
