"""The tables, the access lists and the steward beside a model of plain lists.

The model searches everything from end to end, and follows what the modules' own words
promise.  It has no table by key, keeps nothing up to date, and knows no peer, point or
prefix but those that are listed here.
"""

from __future__ import annotations

import math
import os
import random
from typing import Any

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from tezos_p2p.fsm.acl import Acl
from tezos_p2p.fsm.admission import Attempt, Candidate, Places
from tezos_p2p.fsm.machine import LocalProtocolError
from tezos_p2p.fsm.point import Backoff
from tezos_p2p.fsm.pool import Pool, Running
from tezos_p2p.fsm.prefix import Prefix
from tezos_p2p.fsm.steward import Steward
from tezos_p2p.spec.address import Address
from tezos_p2p.spec.events import Remote
from tezos_p2p.spec.hello import ConnectionMessage, ConnectionMetadata
from tezos_p2p.spec.identity import PeerId
from tezos_p2p.spec.limits import Limits
from tezos_p2p.spec.point import ConnectionId, Point
from tezos_p2p.spec.pool_events import GcPeerIds, GcPoints, NewPeer, NewPoint
from tezos_p2p.spec.reasons import Disconnection, Reason
from tezos_p2p.spec.version import SANDBOX

#: Seconds for which an offence counts; offenders that the two grey lists hold.
DELAY, GREY_MOST, GREY_PEERS_MOST = 10.0, 4, 3
BACKOFF = Backoff(factor=2.0, initial=1.0, after_disconnection=5.0, cap=4.0)
OWN_MOST = 7

ADDRESSES = tuple(
    map(
        Address.parse,
        ("20.0.0.1", "20.0.0.2", "20.0.1.1", "2001:db8::1", "2001:db8::2"),
    )
)
A, B, C, D, E = ADDRESSES
#: What may be banned: the addresses that are in it.
INSIDE: dict[Address | Prefix, tuple[Address, ...]] = {
    **{address: (address,) for address in ADDRESSES},
    Prefix.parse("20.0.0.0/24"): (A, B),
    Prefix.parse("20.0.0.0/23"): (A, B, C),
    Prefix.parse("0.0.0.0/0"): (A, B, C),
    Prefix.parse("2001:db8::/32"): (D, E),
    Prefix.parse("::/0"): (A, B, C, D, E),
}
POINTS = tuple(Point(address, port) for address in ADDRESSES for port in (9732, 9733))
PEERS = tuple(PeerId(number.to_bytes(16, "big")) for number in range(8))

BY_ADDRESS = Disconnection(Reason.IP_MANUALLY_BANNED)
BY_PEER = Disconnection(Reason.PEER_ID_MANUALLY_BANNED)
UNEXPECTED = Disconnection(Reason.UNEXPECTED_PEER_ID)
COMPLAINT = Disconnection(Reason.USER)

a_point = st.sampled_from(POINTS)
a_peer = st.sampled_from(PEERS)
a_target = st.sampled_from(ADDRESSES) | st.sampled_from(tuple(INSIDE))
an_index = st.integers(0, 11)
rarely = st.sampled_from([False, False, False, True])
a_pause = st.sampled_from([1.0, 0.0])
a_port = st.sampled_from([9732, 9732, 9733, None])


# -- the model -------------------------------------------------------------------------


def last(*dated):
    """Return the last of what is dated, and of several at the same time the first."""
    there = [each for each in dated if each is not None]
    return max(there, key=lambda each: each[1], default=None)


@attrs.define(eq=False)
class APoint:
    point: Point
    trusted: bool = False
    named: bool = False
    expected: PeerId | None = None
    public: bool = False
    state: str = "DISCONNECTED"
    link: int | None = None
    peer_id: PeerId | None = None
    failed: Any = None
    rejected: Any = None
    established: Any = None
    gone: Any = None
    wait: float = BACKOFF.initial
    retry_at: float = -math.inf

    @property
    def seen(self):
        return last(self.rejected, self.established, self.gone)

    @property
    def missed(self):
        found = last(self.failed, self.rejected, self.gone)
        return None if found is None else found[1]

    def standing(self, now):
        """Say how late it goes."""
        met, failed = self.seen, self.failed
        doubtful = met is None or (failed is not None and failed[1] > met[1])
        late = 2 if self.named else int(not doubtful)
        return late, now if self.missed is None else self.missed

    def free(self, now):
        if self.state == "RUNNING":
            self.gone = self.peer_id, now
            self.wait, self.retry_at = BACKOFF.initial, now + BACKOFF.after_disconnection
        else:
            if self.state == "REQUESTED":
                self.failed = None, now
            else:
                self.rejected = self.peer_id, now
            self.retry_at = now + self.wait
            self.wait = min(BACKOFF.cap, BACKOFF.factor * self.wait)
        self.state, self.link, self.peer_id = "DISCONNECTED", None, None


@attrs.define(eq=False)
class APeer:
    peer_id: PeerId
    created: float
    score: float = 1.0
    trusted: bool = False
    state: str = "DISCONNECTED"
    link: int | None = None
    at: ConnectionId | None = None
    rejected: Any = None
    established: Any = None
    gone: Any = None

    def free(self, now):
        if self.state == "RUNNING":
            self.gone = self.at, now
        else:
            self.rejected = self.at, now
        self.state, self.link, self.at = "DISCONNECTED", None, None


@attrs.define(eq=False)
class ALink:
    number: int
    incoming: bool
    remote: Point
    stage: str
    point: APoint | None = None
    peer: APeer | None = None
    id_point: ConnectionId | None = None
    private: bool = False
    told: bool = False
    remote_told: Remote | None = None

    @property
    def trusted(self):
        return self.peer.trusted or (self.point is not None and self.point.trusted)


def state_of_point(it, now):
    may = it.state == "DISCONNECTED" and now > it.retry_at
    said = it.point, it.trusted, it.named, it.expected, it.public
    return (*said, it.state, it.link, it.peer_id, it.seen, it.missed, may)


def state_of_peer(it):
    facts = it.peer_id, it.created, it.trusted, it.state, it.link, it.at
    seen = last(it.established, it.rejected, it.gone)
    return (*facts, seen, last(it.rejected, it.gone))


meetings = st.lists(
    st.tuples(a_point, a_peer, a_port, rarely, st.booleans(), a_pause),
    min_size=1,
    max_size=8,
)


class Tables(RuleBasedStateMachine):
    """Drives the real ones and the model, and compares them after every rule."""

    @initialize(
        points=st.sampled_from([(4, 3), (8, 4), (8, 8), (3, 3), (1, 0), None]),
        peers=st.sampled_from([(4, 3), (5, 1), (3, 3), (1, 0), None]),
        those=meetings,
    )
    def begin(self, points, peers, those):
        limits = Limits(
            max_known_points=points,
            max_known_peer_ids=peers,
            peer_greylist_size=GREY_PEERS_MOST,
            ip_greylist_size_in_kilobytes=1,
            greylist_timeout=DELAY,
        )
        self.chance = random.Random(0).random
        self.place: float | None = None
        self.pool: Pool[float] = Pool(
            limits, lambda: 1.0, lambda score: score, self.draw, BACKOFF
        )
        self.acl = Acl(limits)
        self.attempts: dict[int, Attempt[float]] = {}
        self.places = Places()
        self.steward = Steward(self.pool, self.acl, self.attempts)
        self.now = 100.0
        # The model.
        self.most_points, self.most_peers = points, peers
        self.points: list[APoint] = []
        self.peers: list[APeer] = []
        self.links: list[ALink] = []
        self.number = 0
        self.joined: list[int] = []
        self.own: list[Point] = []
        self.events: list[Any] = []
        self.news = 0
        self.black: list[Any] = []
        self.black_peers: list[PeerId] = []
        self.white: list[Any] = []
        self.grey: list[tuple[Address, float]] = []
        self.grey_peers: list[tuple[PeerId, float]] = []
        self.unreliable: float | None = None
        self.peak = 0
        # Who came last to run at a point.  Of a point that is forgotten while somebody
        # runs there, and met anew, there are two; whether the first is found once the
        # second has gone is open, as no node forgets such a point.
        self.newest: dict[Point, int] = {}
        self.meet(those)

    def draw(self):
        return self.chance() if self.place is None else self.place

    # -- what the model knows ----------------------------------------------------------

    def known_point(self, point):
        return next((it for it in self.points if it.point == point), None)

    def known_peer(self, peer_id):
        return next((it for it in self.peers if it.peer_id == peer_id), None)

    def of(self, *stages):
        return [link for link in self.links if link.stage in stages]

    def one_of(self, index, *stages):
        found = self.of(*stages)
        return found[index % len(found)]

    def is_grey(self, key, entries):
        return any(each == key and self.now < at + DELAY for each, at in entries)

    def is_black(self, address):
        return any(address in INSIDE[target] for target in self.black)

    def is_banned(self, address):
        return self.is_black(address) or self.is_grey(address, self.grey)

    def is_exempt(self, address):
        return any(address in INSIDE[target] for target in self.white)

    def running_at(self, point):
        return [
            link.number
            for link in self.of("running")
            if link.point is not None and link.point.point == point
        ]

    # -- what the model does -----------------------------------------------------------

    def make_room(self, table, bounds, worth, event):
        if bounds is None or len(table) < bounds[0]:
            return
        excess = max(1, len(table) - min(bounds[1], bounds[0] - bounds[0] // 8))
        may_go = [
            each
            for each in reversed(table)
            if each.state == "DISCONNECTED" and not each.trusted
        ]
        for each in sorted(may_go, key=worth)[:excess]:
            table.remove(each)
        self.events.append(event)

    def enter_point(self, point, named=True):
        found = self.known_point(point)
        if found is None:
            self.make_room(
                self.points,
                self.most_points,
                lambda it: it.standing(self.now),
                GcPoints(),
            )
            found = APoint(point)
            self.points.append(found)
            self.events.append(NewPoint(point))
            self.news += 1
        found.named |= named
        return found

    def enter_peer(self, peer_id):
        found = self.known_peer(peer_id)
        if found is None:
            self.make_room(
                self.peers,
                self.most_peers,
                lambda it: -math.inf if math.isnan(it.score) else it.score,
                GcPeerIds(),
            )
            found = APeer(peer_id, self.now)
            self.peers.append(found)
            self.events.append(NewPeer(peer_id))
            self.news += 1
        return found

    def ask_own(self, point):
        """Say whether a point is our own; to be asked for is to be used."""
        if point not in self.own:
            return False
        self.own = [*(each for each in self.own if each != point), point]
        return True

    def offend(self, address):
        if self.is_exempt(address):
            return False
        self.grey = [entry for entry in self.grey if entry[0] != address]
        if len(self.grey) == GREY_MOST:
            _, since = self.grey.pop(0)
            if self.unreliable is None and self.now < since + DELAY:
                self.unreliable = self.now
        self.grey.append((address, self.now))
        return True

    def offend_as_peer(self, peer_id):
        entries = [entry for entry in self.grey_peers if entry[0] != peer_id]
        self.grey_peers = [*entries, (peer_id, self.now)][-GREY_PEERS_MOST:]

    def pardon(self, target):
        self.grey = [entry for entry in self.grey if entry[0] not in INSIDE[target]]

    def unban(self, target):
        self.black = [each for each in self.black if each != target]
        self.pardon(target)

    def ban_this_peer(self, peer_id):
        if peer_id not in self.black_peers:
            self.black_peers.append(peer_id)
        found = self.known_peer(peer_id)
        if found is not None:
            found.trusted = False

    def unban_this_peer(self, peer_id):
        self.black_peers = [each for each in self.black_peers if each != peer_id]
        self.grey_peers = [entry for entry in self.grey_peers if entry[0] != peer_id]

    def concerned(self):
        """Return the links that are not over, and those whose words may be pulled."""
        return [link for link in self.links if link.told or link.stage != "over"]

    def of_peer(self, peer_id):
        return [
            link
            for link in self.concerned()
            if link.peer is not None and link.peer.peer_id == peer_id
        ]

    def give_back(self, link):
        if link.stage == "running":
            link.told = True
        if link.point is not None:
            link.point.free(self.now)
        if link.stage in ("accepted", "running"):
            link.peer.free(self.now)
        link.stage = "over"

    def end(self, link):
        self.attempts[link.number].leave(self.now)
        self.attempts[link.number].told = link.told or link.stage == "running"
        self.give_back(link)

    def carry_out(self, kicks, links, reason):
        """Compare who has to go, and have them go, as a node does."""
        assert kicks == [(link.number, reason) for link in links]
        for link in links:
            if link.stage != "over":
                self.attempts[link.number].ours = True
                self.end(link)

    # -- registration ------------------------------------------------------------------

    @rule(
        point=a_point,
        trusted=st.sampled_from([None, None, True, False]),
        expected=st.one_of(st.none(), st.none(), a_peer),
    )
    def register_a_point(self, point, trusted, expected):
        info = self.pool.register_point(
            point, self.now, trusted=trusted, expected=expected
        )
        assert info is self.pool.known_points[point]
        entered = self.enter_point(point)
        entered.trusted = entered.trusted if trusted is None else trusted
        entered.expected = entered.expected if expected is None else expected

    @rule(points=st.lists(a_point, min_size=1, unique=True))
    def hear_of_points(self, points):
        for point in points:
            info = self.pool.register_new_point(point, self.now)
            own = self.ask_own(point)
            assert (info is None) is own
            if not own:
                self.enter_point(point, named=False)

    @rule(peer_ids=st.lists(a_peer, min_size=1, unique=True))
    def register_peers(self, peer_ids):
        for peer_id in peer_ids:
            info = self.pool.register_peer(peer_id, self.now)
            assert info is self.pool.known_peers[peer_id]
            self.enter_peer(peer_id)

    @precondition(lambda self: self.peers)
    @rule(scores=st.lists(st.sampled_from([0.5, 2.0, math.nan, -1.0]), min_size=2))
    def think_of_peers(self, scores):
        for peer, score in zip(reversed(self.peers), scores, strict=False):
            self.pool.known_peers[peer.peer_id].metadata = peer.score = score

    @rule(point=a_point)
    def forget_a_point(self, point):
        self.pool.unregister_point(point)
        self.points = [it for it in self.points if it.point != point]

    @rule(points=st.lists(a_point, min_size=1, unique=True))
    def find_points_to_be_our_own(self, points):
        for point in points:
            self.pool.add_own_point(point)
            self.points = [it for it in self.points if it.point != point]
            others = [each for each in self.own if each != point]
            self.own = [*others, point][-OWN_MOST:]

    @rule(point=a_point)
    def ask_whether_a_point_is_our_own(self, point):
        assert self.pool.is_own(point) is self.ask_own(point)

    # -- connections -------------------------------------------------------------------

    def begin_attempt(self, incoming, remote):
        self.number += 1
        made: Attempt[float] = Attempt(
            self.number, incoming, remote, self.pool, self.places
        )
        self.attempts[self.number] = made
        return made

    @rule(point=a_point)
    def dial(self, point):
        info = self.pool.register_point(point, self.now)
        known = self.enter_point(point)
        if known.state != "DISCONNECTED":
            return
        self.begin_attempt(False, point).dial(info, self.now)
        self.attempts[self.number].made()
        known.state, known.link = "REQUESTED", self.number
        self.links.append(ALink(self.number, False, point, "handshaking", known))

    @rule(address=st.sampled_from(ADDRESSES))
    def be_dialled(self, address):
        remote = Point(address, 40_000 + self.number)
        self.begin_attempt(True, remote).arrive()
        self.links.append(ALink(self.number, True, remote, "handshaking"))

    @precondition(lambda self: self.of("handshaking"))
    @rule(index=an_index, peer_id=a_peer, port=a_port, private=rarely)
    def accept(self, index, peer_id, port, private):
        link = self.one_of(index, "handshaking")
        attempt = self.attempts[link.number]
        info, known = attempt.point, link.point
        address = link.remote.address
        if not link.incoming:
            port = link.remote.port
        elif port is not None:
            info = self.pool.register_new_point(Point(address, port), self.now)
            own = self.ask_own(Point(address, port))
            at = Point(address, port)
            known = None if own else self.enter_point(at, named=False)
        peer_info = self.pool.register_peer(peer_id, self.now)
        peer = self.enter_peer(peer_id)
        if known is not None:
            info.known_public = known.public = not private
        here = link.incoming and known is not None and known.state != "DISCONNECTED"
        if here or peer.state != "DISCONNECTED":
            self.end(link)
            return
        message = ConnectionMessage(
            port or 0, bytes(32), bytes(24), bytes(24), SANDBOX.announced
        )
        remote = Remote(peer_id, message, ConnectionMetadata(private_node=private))
        id_point = ConnectionId(address, port)
        attempt.accept(Candidate(remote, id_point, info, peer_info, self.now))
        if known is not None:
            known.state, known.link, known.peer_id = "ACCEPTED", link.number, peer_id
        peer.state, peer.link, peer.at = "ACCEPTED", link.number, id_point
        link.point, link.peer, link.id_point = known, peer, id_point
        link.private, link.stage = private, "accepted"
        link.remote_told = remote

    def running_of(self, link, number):
        attempt = self.attempts[link.number]
        return Running(
            link=number,
            peer=attempt.peer,
            point=attempt.point,
            id_point=link.id_point,
            incoming=link.incoming,
            private=link.private,
            version=SANDBOX.announced,
            remote=link.remote_told,
            since=self.now,
        )

    @precondition(lambda self: self.of("accepted"))
    @rule(index=an_index)
    def join(self, index):
        link = self.one_of(index, "accepted")
        attempt = self.attempts[link.number]
        attempt.run(self.running_of(link, link.number), self.now)
        attempt.told = link.told = True
        link.stage = "running"
        self.joined.append(link.number)
        link.peer.state = "RUNNING"
        link.peer.established = link.id_point, self.now
        if link.point is not None:
            self.newest[link.point.point] = link.number
            link.point.state = "RUNNING"
            link.point.established = link.peer.peer_id, self.now

    @rule(those=meetings)
    def meet(self, those):
        """Go all the way at once, so that many run in few steps."""
        for point, peer_id, port, private, out, pause in those:
            self.now += pause
            before = self.number
            if out:
                self.dial(point)
            else:
                self.be_dialled(point.address)
            if self.number > before:
                self.accept(len(self.of("handshaking")) - 1, peer_id, port, private)
                if self.links[-1].stage == "accepted":
                    self.join(len(self.of("accepted")) - 1)

    def refuse_to(self, act, *facts):
        with pytest.raises((LocalProtocolError, KeyError)):
            act(*facts, self.now)

    @precondition(lambda self: self.of("running"))
    @rule(index=an_index, peer_id=a_peer, point=a_point)
    def misuse(self, index, peer_id, point):
        """Do what cannot be; that nothing has changed, the comparison shows."""
        self.refuse_to(self.pool.leave, self.number + 1)
        link = self.one_of(index, "running")
        twin = self.running_of(link, self.number + 1)
        self.refuse_to(self.pool.join, twin)
        if link.point is not None:
            other = self.pool.register_peer(peer_id, self.now)
            self.enter_peer(peer_id)
            self.refuse_to(self.pool.join, attrs.evolve(twin, peer=other))
        elsewhere = self.pool.register_point(point, self.now)
        self.enter_point(point)
        self.refuse_to(self.pool.join, attrs.evolve(twin, point=elsewhere))

    @precondition(lambda self: self.of("handshaking", "accepted", "running"))
    @rule(goings=st.lists(st.tuples(an_index, a_pause), min_size=1, max_size=5))
    def leave(self, goings):
        for index, pause in goings:
            self.now += pause
            if self.of("handshaking", "accepted", "running"):
                self.end(self.one_of(index, "handshaking", "accepted", "running"))

    @precondition(lambda self: self.of("over"))
    @rule(index=an_index)
    def tell_the_application(self, index):
        link = self.one_of(index, "over")
        attempt = self.attempts.pop(link.number)
        attempt.lost(self.now)
        attempt.told = False
        self.links.remove(link)

    # -- the steward -------------------------------------------------------------------

    @rule(whom=a_target, peers=st.booleans())
    def ban_an_address(self, whom, peers):
        kicks = self.steward.ban_address(whom, peers=peers)
        self.black += [whom] * (whom not in self.black)
        for known in self.points:
            if known.point.address in INSIDE[whom]:
                known.trusted = False
        going = [link for link in self.concerned() if link.remote.address in INSIDE[whom]]
        for link in going:
            if peers and link.told:
                self.ban_this_peer(link.peer.peer_id)
        self.carry_out(kicks, going, BY_ADDRESS)

    @rule(whom=a_target)
    def unban_an_address(self, whom):
        assert self.steward.unban_address(whom) == []
        self.unban(whom)

    @rule(peer_id=a_peer)
    def ban_a_peer(self, peer_id):
        kicks = self.steward.ban_peer(peer_id)
        self.ban_this_peer(peer_id)
        self.carry_out(kicks, self.of_peer(peer_id), BY_PEER)

    @rule(peer_id=a_peer, trusts=st.booleans())
    def unban_a_peer(self, peer_id, trusts):
        if trusts:
            assert self.steward.trust_peer(peer_id, self.now) == []
            self.enter_peer(peer_id).trusted = True
        else:
            assert self.steward.unban_peer(peer_id) == []
        self.unban_this_peer(peer_id)

    def expect_at(self, kicks, point, peer_id):
        known = self.enter_point(point)
        known.expected = peer_id
        going = []
        if known.peer_id not in (None, peer_id):
            going = [link for link in self.links if link.number == known.link]
            self.offend(point.address)
        self.carry_out(kicks, going, UNEXPECTED)

    @rule(
        point=a_point,
        trusts=st.booleans(),
        expected=st.none() | a_peer,
        who_is_there=st.booleans(),
    )
    def trust_or_expect(self, point, trusts, expected, who_is_there):
        known = self.known_point(point)
        if who_is_there and known is not None:
            expected = known.peer_id
        if not trusts and expected is None:
            return
        if trusts:
            kicks = self.steward.trust_point(point, self.now, expected)
            self.unban(point.address)
            self.enter_point(point).trusted = True
        else:
            kicks = self.steward.expect(point, expected, self.now)
        if expected is None:
            assert kicks == []
        else:
            self.expect_at(kicks, point, expected)

    @rule(point=a_point, unbans=st.booleans())
    def trust_a_point_no_more(self, point, unbans):
        if unbans:
            assert self.steward.open_point(point) == []
            self.unban(point.address)
        else:
            assert self.steward.untrust_point(point) == []
        known = self.known_point(point)
        if known is not None:
            known.trusted = False

    @rule(peer_id=a_peer, unbans=st.booleans())
    def trust_a_peer_no_more(self, peer_id, unbans):
        if unbans:
            assert self.steward.open_peer(peer_id) == []
            self.unban_this_peer(peer_id)
        else:
            assert self.steward.untrust_peer(peer_id) == []
        known = self.known_peer(peer_id)
        if known is not None:
            known.trusted = False

    @rule(peer_id=a_peer)
    def complain_of_a_peer(self, peer_id):
        kicks = self.steward.greylist_peer(peer_id, COMPLAINT, self.now)
        # Also who has gone, while the application was not told of that.
        those = self.of_peer(peer_id)
        here = [link for link in those if link.told or link.stage == "running"]
        for link in here:
            if self.offend(link.remote.address):
                self.offend_as_peer(peer_id)
        self.carry_out(kicks, self.of_peer(peer_id) if here else [], COMPLAINT)

    # -- the lists ---------------------------------------------------------------------

    @rule(
        offences=st.lists(
            st.tuples(st.sampled_from(ADDRESSES) | a_peer, a_pause),
            min_size=1,
            max_size=6,
            unique_by=lambda offence: offence[0],
        )
    )
    def greylist(self, offences):
        for offender, pause in offences:
            self.now += pause
            if isinstance(offender, PeerId):
                assert self.acl.greylist_peer(offender, self.now)
                self.offend_as_peer(offender)
            else:
                greylisted = self.acl.greylist(offender, self.now)
                assert greylisted is self.offend(offender)

    @rule(whom=a_target, also=rarely)
    def exempt(self, whom, also):
        if also:
            self.acl.allow(whom)
            self.white += [whom] * (whom not in self.white)
            self.pardon(whom)
        else:
            self.acl.disallow(whom)
            self.white = [each for each in self.white if each != whom]

    @rule(seconds=st.sampled_from([0.0, 0.5, 1.0, 4.0, 10.0]))
    def wait(self, seconds):
        self.now += seconds

    @rule()
    def collect(self):
        before = len(self.grey) + len(self.grey_peers)
        self.grey = [entry for entry in self.grey if self.now < entry[1] + DELAY]
        self.grey_peers = [e for e in self.grey_peers if self.now < e[1] + DELAY]
        left = len(self.grey) + len(self.grey_peers)
        assert self.acl.collect(self.now) == before - left

    @rule(everything=st.booleans())
    def clear(self, everything):
        if everything:
            self.acl.clear()
            self.black, self.black_peers = [], []
        else:
            self.acl.clear_greylists()
        self.grey, self.grey_peers, self.unreliable = [], [], None

    # -- questions ---------------------------------------------------------------------

    @rule(with_port=st.booleans(), index=st.none() | an_index)
    def draw_a_connection(self, with_port, index):
        may = [
            link.number
            for link in self.of("running")
            if not link.private and not (with_port and link.id_point.port is None)
        ]
        but = may[index % len(may)] if may and index is not None else None
        may = [number for number in may if number != but]
        draws = max(1, len(may))
        drawn = []
        for place in range(draws):
            # Every one of them stands for an equal part of what may be drawn.
            self.place = (place + 0.5) / draws
            drawn.append(self.pool.random_running(with_port=with_port, but=but))
        self.place = None
        if may:
            assert sorted(each.link for each in drawn) == sorted(may)
        else:
            assert drawn == [None]

    @rule(short=st.sampled_from([-9, 0, 1, 2, 3, 4, 9]))
    def list_points_for_others(self, short):
        may = [
            it for it in self.points if it.public and not self.is_banned(it.point.address)
        ]
        size = max(0, len(may) - short)
        everybody = len(may) <= size
        best = len(may) if everybody else size - size * 2 // 5

        def rank(it):
            seen, here = it.seen, it.state != "DISCONNECTED"
            at = -math.inf if seen is None else seen[1]
            return (0, at) if here else (1, -at)

        ranks = {it.point: rank(it) for it in may}
        order = sorted(ranks.values())
        draws = max(1, len(may) - best)
        drawn = set()
        for place in range(draws):
            self.place = (place + 0.5) / draws
            told = self.pool.advertised(
                size, banned=lambda point: self.acl.is_banned(point.address, self.now)
            )
            assert len(told) == len(set(told)) == min(size, len(may))
            assert set(told) <= set(ranks)
            assert [ranks[point] for point in told[:best]] == order[:best]
            drawn |= set(told[best : best + 1])
        self.place = None
        if best < size < len(may):
            # Whoever is not among the best is as likely to come next.
            assert drawn == set(ranks) - set(told[:best])

    @invariant()
    def the_tables_are_those_of_the_model(self):
        pool, now = self.pool, self.now
        assert [
            (
                *(key, it.trusted, it.named, it.expected, it.known_public, it.state.name),
                *(it.link, it.peer_id, it.last_seen, it.last_miss, it.may_dial(now)),
            )
            for key, it in pool.known_points.items()
        ] == [state_of_point(it, now) for it in self.points]
        assert [
            (
                *(key, it.created, it.trusted, it.state.name),
                *(it.link, it.id_point, it.last_seen, it.last_miss),
            )
            for key, it in pool.known_peers.items()
        ] == [state_of_peer(it) for it in self.peers]
        assert list(pool.events) == self.events
        assert pool.news == self.news

    @invariant()
    def who_is_connected_is_found_wherever_one_looks(self):
        pool, running = self.pool, self.of("running")
        here = {link.number for link in running}
        assert list(pool.running) == [number for number in self.joined if number in here]
        assert pool.active == len(running)
        for link in running:
            assert pool.running[link.number].trusted is bool(link.trusted)
        for peer_id in PEERS:
            found = pool.by_peer(peer_id)
            here = [link.number for link in running if link.peer.peer_id == peer_id]
            assert here == ([] if found is None else [found.link])
        for point in POINTS:
            found = pool.by_point(point)
            here = self.running_at(point)
            newest = self.newest.get(point)
            if newest in here:
                assert found.link == newest
            else:
                assert found is None or found.link in here
        places = self.places
        assert places.reserved == len(self.of("accepted"))
        assert places.incoming == sum(
            link.incoming for link in self.of("handshaking", "accepted")
        )

    @invariant()
    def the_lists_are_those_of_the_model(self):
        acl, now = self.acl, self.now
        in_force = [key for key, at in self.grey if now < at + DELAY]
        assert acl.greylisted_addresses(now) == in_force
        in_force_peers = [key for key, at in self.grey_peers if now < at + DELAY]
        assert acl.greylisted_peers(now) == in_force_peers
        assert acl.not_reliable_since == self.unreliable
        for address in ADDRESSES:
            assert acl.is_blacklisted(address) is self.is_black(address)
            assert acl.is_banned(address, now) is self.is_banned(address)
            assert acl.is_exempt(address) is self.is_exempt(address)
        for peer_id in PEERS:
            black = peer_id in self.black_peers
            assert acl.is_peer_blacklisted(peer_id) is black
            assert acl.is_peer_banned(peer_id, now) is (
                black or peer_id in in_force_peers
            )

    @invariant()
    def no_table_is_above_its_bound_but_for_who_may_not_go(self):
        for table, bounds in (
            (self.pool.known_points, self.most_points),
            (self.pool.known_peers, self.most_peers),
        ):
            kept = sum(it.trusted or it.link is not None for it in table.values())
            # Who was kept once may be let go without anybody new coming.
            self.peak = max(self.peak, kept)
            assert bounds is None or len(table) <= max(bounds[0], self.peak + 1)
        static = self.acl.static
        assert set(static.banned_peers) <= set(PEERS)
        assert len(static.banned) <= len(INSIDE)
        assert len(self.acl.greylisted_addresses(0.0)) <= GREY_MOST
        assert len(self.acl.greylisted_peers(0.0)) <= GREY_PEERS_MOST

    def teardown(self):
        # To ask is to use: nobody asks for all of them before the end.
        if hasattr(self, "own"):
            for point in POINTS:
                assert self.pool.is_own(point) is (point in self.own)


TestTablesBesideTheModel = Tables.TestCase
TestTablesBesideTheModel.settings = settings(
    max_examples=300 if os.environ.get("TEZOS_P2P_LONG") else 80,
    stateful_step_count=60,
    deadline=None,
)
