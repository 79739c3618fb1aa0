"""Anything in any order: whatever nodes are told to do, nothing is held in the end."""

from __future__ import annotations

import random

import pytest
from nodes import identity, node, point
from scenes import Bad, limits
from watch import check

from tezos_p2p.fsm.inbox import Message
from tezos_p2p.fsm.machine import LocalProtocolError
from tezos_p2p.fsm.prefix import Prefix
from tezos_p2p.spec.message import Advertise, Bootstrap, Disconnect, SwapAck, SwapRequest
from tezos_p2p.spec.reasons import Disconnection, Reason

PAUSES = (0.0, 0.01, 0.05, 0.3, 2.0, 10.0)
#: What a caller may be refused, by what he did.
REFUSABLE = {"do_connect": "connect", "do_send": "send", "do_maintain": "request"}


class Walk:
    """A small network, and a drunk at its levers."""

    def __init__(self, seed):
        self.draw = random.Random(seed)
        self.sim = Bad(seed)
        self.count = self.draw.randint(2, 6)
        self.silenced = 0
        for number in range(self.count):
            self.sim.add(point(number), self.make(number, seed), keeps=True)
        self.acts = [getattr(self, name) for name in dir(self) if name.startswith("do_")]

    def make(self, number, seed):
        draw = self.draw
        least = draw.randint(0, 2)
        expected = least + draw.randint(0, 2)
        tables = draw.choice([(400, 300), (3, 2)])
        own = limits(
            least,
            expected,
            expected + draw.randint(0, 3),
            maintenance_idle_time=draw.choice([None, 5.0, 20.0]),
            swap_linger=draw.choice([None, 1.0, 30.0]),
            max_known_points=tables,
            max_known_peer_ids=tables,
            outgoing_message_queue_size=draw.choice([1 << 23, 500]),
            max_upload_speed=draw.choice([None, None, 1]),
        )
        return node(
            number,
            *(n for n in range(self.count) if draw.random() < 0.4),
            limits=own,
            seed=seed,
            trusted=tuple(n for n in range(self.count) if draw.random() < 0.2),
            private_mode=draw.random() < 0.15,
            discovers=draw.random() < 0.85,
            port=draw.choice([9732, 9732, 9732, 0]),
        )

    def step(self):
        hosts = [host for host in self.sim.hosts if host.up]
        act = self.draw.choice(self.acts)
        host, number = self.draw.choice(hosts), self.draw.randrange(self.count)
        peer_id = identity(number).peer_id
        heard = [len(each.items) for each in self.sim.hosts]
        try:
            self.sim.do(host, lambda it: act(it, number, peer_id, self.sim.now))
        except LocalProtocolError as error:
            # It was not the time for it; whatever else it may be is a fault.
            if error.trigger != REFUSABLE.get(act.__name__):
                raise
            self.sim.do(host, lambda it: None)
        banned = [self.banned_by(each) for each in self.sim.hosts]
        self.sim.run(self.draw.choice(PAUSES))
        for each, before, nobody in zip(self.sim.hosts, heard, banned, strict=True):
            items = each.items[before:]
            self.silenced += len(nobody)
            assert not [
                it for it in items if type(it) is Message and it.peer_id in nobody
            ]

    def banned_by(self, host):
        """Return the peers of which a node must not deliver anything any more."""
        acl = host.node.acl
        return {
            identity(number).peer_id
            for number in range(self.count)
            if acl.is_peer_blacklisted(identity(number).peer_id)
            or acl.is_blacklisted(point(number).address)
        }

    def do_connect(self, it, number, peer_id, now):
        it.connect(point(number), now)

    def do_disconnect(self, it, number, peer_id, now):
        it.disconnect(peer_id, now, deadline=self.draw.choice([None, now + 1.0]))

    def do_send(self, it, number, peer_id, now):
        it.send(peer_id, b"word", now)

    def do_broadcast(self, it, number, peer_id, now):
        it.broadcast(bytes(self.draw.randint(0, 3000)), now)

    def do_maintain(self, it, number, peer_id, now):
        it.maintain(now)

    def do_judge(self, it, number, peer_id, now):
        it.update_metadata(peer_id, lambda _: self.draw.uniform(-1.0, 3.0), now)

    def do_stop(self, it, number, peer_id, now):
        if self.draw.random() < 0.1:
            it.stop(now, self.draw.choice([None, now + 2.0]))

    def do_govern(self, it, number, peer_id, now):
        other = identity(self.draw.choice([number, 9])).peer_id
        where = point(number)
        # Its /24, or a block in which others are as well.
        block = Prefix.of(where.address, self.draw.choice([120, 101]))
        reason = Disconnection(Reason.USER)
        act = self.draw.choice(
            [
                lambda s: s.ban_address(where.address),
                lambda s: s.ban_address(block, peers=self.draw.random() < 0.5),
                lambda s: s.unban_address(where.address),
                lambda s: s.unban_address(block),
                lambda s: s.unban_peer(peer_id),
                lambda s: s.greylist_peer(peer_id, reason, now),
                lambda s: s.untrust_point(where),
                lambda s: s.untrust_peer(peer_id),
                lambda s: s.ban_peer(peer_id),
                lambda s: s.open_point(where),
                lambda s: s.open_peer(peer_id),
                lambda s: s.trust_peer(peer_id, now),
                lambda s: s.trust_point(where, now),
                lambda s: s.expect(where, other, now),
            ]
        )
        it.govern(act, now)

    do_govern_again = do_govern

    def do_change_lists(self, it, number, peer_id, now):
        where = self.draw.choice(
            [point(number).address, Prefix.of(point(number).address, 101)]
        )
        act = self.draw.choice(
            [
                it.acl.clear,
                it.acl.clear_greylists,
                lambda: it.acl.allow(where),
                lambda: it.acl.disallow(where),
                lambda: it.acl.greylist(point(number).address, now),
                lambda: it.acl.greylist_peer(peer_id, now),
            ]
        )
        # As everything that an operator does; it disconnects nobody.
        it.govern(lambda _: [] if act() else (), now)

    def do_say_something_of_this_layer(self, it, number, peer_id, now):
        running = it.pool.by_peer(peer_id)
        if running is not None:
            where, who = point(self.draw.randrange(8)), self.draw.randrange(8)
            offer = (where, identity(who).peer_id)
            messages = [
                Bootstrap(),
                Advertise((where,)),
                SwapRequest(*offer),
                SwapAck(*offer),
                Disconnect(),
            ]
            it._reception.put(running.link, self.draw.choice(messages), now)

    def do_stall(self, it, number, peer_id, now):
        host = self.sim.hosts[number]
        host.pulls = not host.pulls

    def do_kill(self, it, number, peer_id, now):
        host = self.sim.hosts[number]
        others = sum(other.up for other in self.sim.hosts)
        if self.draw.random() < 0.1 and host.node is not it and others > 1 and host.up:
            self.sim.kill(host)

    def end(self):
        """Stop all that are still there; return them."""
        sim = self.sim
        here = [host for host in sim.hosts if host.up]
        for host in here:
            host.pulls = True
            sim.do(host, lambda it: it.stop(sim.now, sim.now + 2.0))
        sim.run(20.0)
        return here


@pytest.mark.parametrize("seed", range(30))
def test_whatever_is_done_in_whatever_order_nothing_is_held_in_the_end(seed):
    walk = Walk(seed)
    for _ in range(60):
        walk.step()
    for host in walk.end():
        made = host.node
        check(host)
        assert sum(made.census().values()) == 0
        assert made._reception.attempts == {}
        assert made._reception.traffic.lines == {}
        assert made.next_timeout() is None
        assert made._answerer._talks == {}
        assert not made._answerer.swaps.busy
        assert (made._diversity.incoming, made._diversity.outgoing) == (0, 0)
        known = (*made.pool.known_points.values(), *made.pool.known_peers.values())
        assert all(info.link is None for info in known)
