"""What holds for every node of every simulated network, looked at after every step.

======================  ================================================================
what                    is looked at
======================  ================================================================
links                   dialling + handshaking + running + closing are those not lost
ends                    each link ends once, with one reason that is counted; it is
                        closed once at most
peers                   one running connection of each; nobody runs who is banned
places                  never above the ceiling, whoever arrives at the same moment
deliveries              who has come is told before what they say, and that they left
                        once, last, before anything of their next connection; nothing
                        is delivered of who was disconnected or banned, from that very
                        step on
containers              inbox, queues, timers, talks, tables, rations: each its bound
======================  ================================================================

All of it costs a look at every link of the node.  In large networks that is taken after
every `SELDOM` steps of a node; after each step, what costs the same for any number of
links: ceilings, seats, whether a peer has two connections, and all deliveries.
"""

from __future__ import annotations

from typing import Any

import attrs

from tezos_p2p.fsm.admission import State
from tezos_p2p.fsm.inbox import Joined, Left, Message
from tezos_p2p.fsm.lifecycle import State as Stage
from tezos_p2p.fsm.node import Node
from tezos_p2p.fsm.pool import EVENTS_MAX
from tezos_p2p.fsm.swap import STEERED_MAX, STEERED_SHARE
from tezos_p2p.io.simulated import Host, Network, _End
from tezos_p2p.spec.identity import PeerId
from tezos_p2p.spec.point import Point
from tezos_p2p.spec.reasons import Reason

SimNode = Node[bytes, float]
SimHost = Host[bytes, float]

#: Steps of a node of a large network after which all of its links are looked at.
SELDOM = 16
#: Ends after which what they said before still counts.
THEIRS = (
    Reason.CONNECTION_LOST,
    Reason.CONNECTION_CLOSED_BY_PEER,
    Reason.CONNECTION_CLOSED_BY_UNEXPECTED_ERROR,
)
#: Timers that are no link's.
WORKERS = 7
#: Entries of a heap of timers that may be dead.
DEAD = 64
_STATES = tuple(State)
_PENDING = (State.DIALLING, State.HANDSHAKING, State.ACCEPTED)


def check(host: SimHost) -> None:
    """Assert what holds for a node between two steps."""
    check_links(host.node)
    check_peers(host.node)
    check_containers(host.node)


def check_links(node: SimNode, unheard: int | None = None) -> None:
    """Assert that all links are counted, in one look at each of them.

    Args:
        node: whose.
        unheard: how many incoming connections it has refused without a link, or None:
            do not look at the reasons of the ends.
    """
    reception, lines, pool = node._reception, node._traffic.lines, node.pool
    limits, places = node._local.limits, reception.places
    count = dict.fromkeys(_STATES, 0)
    coming = reserved = untold = 0
    for it in reception.attempts.values():
        count[it.state] += 1
        if it.incoming and it.state in _PENDING:
            coming += 1
            reserved += it.state is State.ACCEPTED
        elif it.told and it.farewell is not None:
            untold += 1
    gone = count[State.GONE]
    # None is idle, and none is forgotten before its socket is.
    assert not count[State.IDLE]
    assert len(reception.attempts) == len(lines)
    assert sum(1 for line in lines.values() if line.lost) == gone
    census = node.census()
    assert sum(census.values()) == len(lines) - gone, census
    assert count[State.RUNNING] == census[State.RUNNING] == pool.active
    assert count[State.ACCEPTED] == places.reserved
    assert pool.active + places.reserved <= limits.max_connections
    assert (untold, reserved) == (places.untold, places.coming)
    assert coming == places.incoming == len(reception._door)
    assert coming <= limits.max_incoming_connections
    if unheard is not None:
        over = node._traffic._next_link - 1
        over -= count[State.RUNNING] + sum(count[state] for state in _PENDING)
        assert sum(node.refused.values()) == over + unheard, node.refused


def check_peers(node: SimNode) -> None:
    """Assert that each has one connection, and who is banned none."""
    running, acl = node.pool.running.values(), node.acl
    assert len({it.peer.peer_id for it in running}) == len(running)
    if not (acl._banned_peers or len(acl._banned)):
        return
    for it in running:
        if node._reception.is_open(it.link):
            assert not acl.is_peer_blacklisted(it.peer.peer_id)
            assert not acl.is_blacklisted(it.id_point.address)


def check_containers(node: SimNode) -> None:
    """Assert the bounds of whatever a peer or a caller can fill."""
    limits, pool, traffic = node._local.limits, node.pool, node._traffic
    lines, answerer, reception = traffic.lines, node._answerer, node._reception
    # The inbox: so many messages of each, and who has come, has left, has room.
    most = limits.incoming_app_message_queue_size
    inbox = node._inbox
    assert not inbox._held.keys() & inbox._boxes.keys()
    # Who waits for his last connection to be over has come, and takes a place.
    held = [link for links in inbox._links.values() for link in links[1:]]
    assert sorted(held) == sorted(inbox._held)
    assert len(inbox._links) + len(held) <= 2 * limits.max_connections
    for link, box in (*inbox._boxes.items(), *inbox._held.items()):
        others = sum(type(item) is not Message for item in box)
        assert others == inbox._others.get(link, 0) <= 3, (link, box)
        assert most is None or len(box) - others <= max(1, most - 1), (link, box)
    assert len(inbox) <= 2 * limits.max_connections
    # The queues of each connection: below the limit, or one message alone.
    for link in pool.running:
        connection = lines[link].connection
        queue, out = connection._in, connection._out
        limit = limits.incoming_message_queue_size
        if queue is not None and limit is not None and queue.fill >= limit:
            assert len(queue) == 1, (link, queue.fill)
        limit = limits.outgoing_message_queue_size
        if out is not None and limit is not None and out.fill >= limit:
            assert len(out._waiting or ()) <= 1, (link, out.fill)
    # The timers: one for each link and worker, and some that are dead.
    for timers, others in (traffic.timers, WORKERS), (answerer._timers, 0):
        armed = timers._armed
        assert sum(1 for key in armed if key not in lines) <= others
        assert len(timers) <= DEAD + 2 * len(armed)
    assert answerer._talks.keys() <= pool.running.keys()
    # Places that swaps have filled, or that nobody is to fill in their stead yet.
    steered, gone = answerer.swaps._steered, answerer.swaps._gone._armed
    assert {link for link in steered if link not in gone} <= pool.running.keys()
    assert gone.keys() <= steered.keys()
    assert len(steered) <= max(STEERED_MAX, limits.max_connections // STEERED_SHARE)
    assert len(reception.events) <= EVENTS_MAX
    assert len(node.maintenance._dialling) <= node.maintenance._at_once
    for left in (
        traffic.commands,
        reception.facts,
        answerer._commands,
        node.maintenance._commands,
    ):
        assert not left


class Told(list[Any]):
    """What an application pulls, looked at item by item; kept if it keeps it.

    Attributes:
        come: links whose peers have come and not left, for the application, and who.
        silent: links of which nothing may be delivered any more.
    """

    def __init__(self, node: SimNode, keeps: bool) -> None:
        super().__init__()
        self.node, self.keeps = node, keeps
        self.come: dict[int, PeerId] = {}
        self.silent: set[int] = set()

    def append(self, item: Any) -> None:
        link = item.link
        if type(item) is Joined:
            assert link not in self.come, f"{link} has come twice"
            assert item.remote.peer_id not in self.come.values(), f"{item}: is here"
            self.come[link] = item.remote.peer_id
        else:
            assert link in self.come, f"nobody has come on {link}, or has left: {item}"
        if type(item) is Message:
            assert link not in self.silent, f"{link} is silenced: {item}"
            assert not self.node.acl.is_peer_blacklisted(item.peer_id), item
        elif type(item) is Left:
            assert isinstance(item.disconnection.reason, Reason)
            del self.come[link]
            self.silent.discard(link)
        if self.keeps:
            super().append(item)


@attrs.define(eq=False)
class Watch:
    """What is known of one node from outside."""

    node: SimNode
    told: Told
    running: dict[int, None] = attrs.field(factory=dict[int, None])
    closing: set[int] = attrs.field(factory=set[int])
    #: Incoming connections that were refused unheard.
    unheard: int = 0
    steps: int = 0
    #: Of the tables of points and peers, when they were looked at last.
    sizes: list[int] = attrs.field(factory=lambda: [0, 0])

    def open_links(self) -> set[int]:
        lines, opened = self.node._traffic.lines, Stage.OPEN
        return {n for n in self.node.pool.running if lines[n].connection.state is opened}

    def silence(self) -> None:
        """Take note of whom we have ended since; before anything is pulled."""
        running = self.node.pool.running
        if running.keys() == self.running.keys():
            return
        for link in self.running.keys() - running.keys():
            if self.ended_by_us(link):
                self.told.silent.add(link)
        self.running = dict.fromkeys(running)

    def ended_by_us(self, link: int) -> bool:
        """Whether a link that was open has ended, or is about to, because we want it."""
        attempt = self.node._reception.attempts.get(link)
        if attempt is None:
            return False  # it has left, for the application too
        why = attempt.farewell
        if why is None:
            return self.node._traffic.lines[link].connection.state in _POLITE
        return why.reason not in THEIRS or why.greylists

    def glance(self) -> None:
        """Look at what costs the same however many links there are."""
        node = self.node
        reception, pool, limits = node._reception, node.pool, node._local.limits
        places = reception.places
        assert len(reception.attempts) == len(node._traffic.lines)
        assert len(pool._by_peer) == len(pool.running)
        assert len(pool.running) + places.reserved <= limits.max_connections
        assert len(reception._door) == places.incoming
        assert places.incoming <= limits.max_incoming_connections
        assert not node._traffic.commands
        assert not reception.facts

    def check_tables(self) -> None:
        """What exceeds a table is trusted, or in use; or was when it came."""
        limits, pool = self.node._local.limits, self.node.pool
        tables: tuple[tuple[Any, tuple[int, int] | None], ...] = (
            (pool.known_points, limits.max_known_points),
            (pool.known_peers, limits.max_known_peer_ids),
        )
        for number, (table, bounds) in enumerate(tables):
            before, self.sizes[number] = self.sizes[number], len(table)
            if bounds is None or len(table) <= max(before, bounds[0]):
                continue
            held = sum(1 for it in table.values() if it.trusted or it.link is not None)
            # A table without any room has that of who came last.
            assert len(table) <= max(1, bounds[0]) + held, (len(table), bounds, held)

    def look(self) -> None:
        """Look at everything."""
        check_links(self.node, self.unheard)
        check_peers(self.node)
        check_containers(self.node)
        self.check_tables()


_POLITE = (Stage.DRAINING, Stage.LINGERING)


class Watched(Network[bytes, float]):
    """A simulated network of which every node is watched, at each of its steps.

    Args:
        seed: of the network.
        seldom: look at all links of a node after `SELDOM` of its steps, not after each.
        others: of the network.
    """

    def __init__(self, seed: int = 0, *, seldom: bool = False, **others: Any) -> None:
        super().__init__(seed, **others)
        self.seldom = seldom
        self.watches: dict[int, Watch] = {}

    def add(self, point: Point, node: SimNode, *, keeps: bool = False) -> SimHost:
        self.watches[len(self.hosts)] = Watch(node, Told(node, keeps))
        return super().add(point, node, keeps=keeps)

    def do(self, host: SimHost, act: Any) -> Any:
        watch = self.watches[host.number]

        def acted(node: SimNode) -> Any:
            before = watch.open_links()
            try:
                return act(node)
            finally:
                gone = before - watch.open_links()
                watch.told.silent |= {link for link in gone if watch.ended_by_us(link)}

        return super().do(host, acted)

    def knock(self, host: SimHost, source: Point) -> int | None:
        """Have a silent connection come from where no host is; return its link."""
        link = host.node.accept(source, self.now)
        if link is not None:
            host.ends[link] = _End(host, link, 0.0)
        self._follow(host, "accept", link, str(source))
        return link

    def _follow(self, host: SimHost, what: str, *facts: Any) -> None:
        watch = self.watches[host.number]
        if host.items is None or not watch.steps:
            host.items = watch.told
        watch.steps += 1
        watch.unheard += what == "accept" and facts[0] is None
        watch.silence()
        super()._follow(host, what, *facts)
        watch.silence()
        watch.glance()
        # Maintenance knows of all points, but what is said to the tables by name.
        assert what == "do" or host.node._news == host.node.pool.news
        if not self.seldom or watch.steps % SELDOM == 0:
            watch.look()

    def _close(self, host: SimHost, link: int) -> None:
        closing = self.watches[host.number].closing
        assert link not in closing, f"{link} is closed twice"
        closing.add(link)
        super()._close(host, link)

    def _closed(self, end: Any) -> None:
        self.watches[end.host.number].closing.remove(end.link)
        super()._closed(end)
