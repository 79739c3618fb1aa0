"""Shares of the bandwidth of whole nodes: even or by score, within caps, never idle."""

from __future__ import annotations

import itertools
from collections import Counter

import attrs
import pytest
from nodes import Sim, identity, node, point
from scenes import IDLE, dial, messages

from tezos_p2p.fsm.bandwidth import UNIT_LEAST, UNIT_MAX
from tezos_p2p.fsm.policy import BY_SCORE, Treatment

KIB = 1024
#: KiB a second.
CAP = 256
WAYS = ["up", "down"]
#: What is said, by turns: tiny, middling, and more than one unit.
SIZES = (200, 5_000, 100_000)
#: Hundreds of megabytes: the bandwidth's own tests take every line, and are counted.
pytestmark = pytest.mark.no_cover
ROOMY = attrs.evolve(
    IDLE,
    expected_connections=60,
    max_connections=60,
    max_incoming_connections=60,
    incoming_message_queue_size=100_000,
    outgoing_message_queue_size=200_000,
)


def peer(number):
    return identity(number).peer_id


class Metered(Sim):
    """A network that notes when how many bytes of the first node's links move."""

    def __init__(self, seed=1):
        super().__init__(seed, seldom=True)
        self.moved = {"up": [], "down": []}

    def _write(self, host, link):
        end = host.ends.get(link)
        room = 0 if end is None else end.room
        super()._write(host, link)
        if end is not None and not host.number and room > end.room:
            self.moved["up"].append((self.now, link, room - end.room))

    def _read(self, end):
        unread = len(end.unread)
        super()._read(end)
        if not end.host.number and unread > len(end.unread):
            self.moved["down"].append((self.now, end.link, unread - len(end.unread)))


class Star:
    """A node with some peers, and who of them says as much as is taken, or hears it.

    ``way``: whether the node in the middle sends (``up``) or is sent to (``down``).
    """

    def __init__(self, way, count, *, cap=CAP, sizes=SIZES, others=ROOMY, **settings):
        self.way, self.sizes = way, itertools.cycle(sizes)
        name = "max_upload_speed" if way == "up" else "max_download_speed"
        self.sim = Metered()
        own = attrs.evolve(ROOMY, **{name: cap})
        self.hub = self.sim.add(point(0), node(0, limits=own, **settings))
        self.greedy = set(range(1, count + 1))
        for number in self.greedy:
            self.sim.add(point(number), node(number, limits=others), keeps=True)
            dial(self.sim, self.sim.hosts[number], 0)
        self.sim.run(5.0)
        assert self.hub.node.pool.active == count
        links = {
            running.peer.peer_id: link
            for link, running in self.hub.node.pool.running.items()
        }
        self.links = {number: links[peer(number)] for number in self.greedy}
        self.size = {number: next(self.sizes) for number in self.greedy}

    @property
    def now(self):
        return self.sim.now

    def run(self, seconds):
        """Let time pass in which whoever is greedy always has something to move."""
        for _ in range(int(seconds * 5)):
            for number in sorted(self.greedy):
                content = bytes(self.size[number])
                who = self.hub if self.way == "up" else self.sim.hosts[number]
                to = peer(number if self.way == "up" else 0)

                def fill(it, to=to, content=content):
                    while it.send(to, content, self.now):
                        pass

                self.sim.do(who, fill)
            self.sim.run(0.2)

    def think(self, number, score):
        self.sim.do(
            self.hub,
            lambda it: it.update_metadata(peer(number), lambda _: score, self.now),
        )

    def bytes(self, since, until=None):
        """Return what each peer's link has moved, since then."""
        until = self.now if until is None else until
        numbers = {link: number for number, link in self.links.items()}
        found = Counter(dict.fromkeys(self.links, 0))
        for at, link, size in self.moved():
            if since < at <= until:
                found[numbers[link]] += size
        return found

    def moved(self, number=None):
        return [
            entry
            for entry in self.sim.moved[self.way]
            if number is None or entry[1] == self.links[number]
        ]


def jain(values):
    got = list(values)
    return sum(got) ** 2 / (len(got) * sum(value * value for value in got))


def windows(moved, since, until, length=10.0):
    """Return the least and the most bytes of any window of so many seconds."""
    times = [since, *(at for at, _, _ in moved if since <= at <= until)]
    sizes = [0, *(size for at, _, size in moved if since <= at <= until)]
    least, most, first, held = 1 << 60, 0, 0, 0
    for at, size in zip(times, sizes, strict=True):
        held += size
        while times[first] < at - length:
            held -= sizes[first]
            first += 1
        most = max(most, held)
    # Between two moves nothing changes: the emptiest window begins just behind one.
    total = [0, *itertools.accumulate(sizes)]
    last = 0
    for index, at in enumerate(times):
        if at + length > until:
            break
        while last < len(times) and times[last] < at + length:
            last += 1
        least = min(least, total[last] - total[index + 1])
    return least, most


# -- one cap ---------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_equal_peers_that_always_have_something_get_equal_shares_of_a_cap(way):
    star = Star(way, 8)
    begun = star.now
    star.run(40.0)
    assert jain(star.bytes(begun).values()) >= 0.95
    for since in range(0, 30, 5):
        shares = star.bytes(begun + since, begun + since + 10)
        assert jain(shares.values()) >= 0.95


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("count", "cap"), [(1, CAP), (3, CAP), (20, CAP), (5, 1024)])
def test_any_ten_seconds_are_within_the_cap_and_nearly_all_of_it_is_used(way, count, cap):
    star = Star(way, count, cap=cap)
    begun = star.now
    star.run(30.0)
    least, most = windows(star.moved(), begun, star.now)
    assert most <= 10 * cap * KIB + 2 * UNIT_MAX
    assert least >= 0.95 * 10 * cap * KIB


@pytest.mark.parametrize(("count", "cap"), [(1, 16), (2, 16), (1, 24), (4, 64)])
def test_newcomers_get_a_word_in_beside_those_who_always_say_something(count, cap):
    star = Star("down", count, cap=cap, sizes=(60_000,))
    begun = star.now
    star.run(10.0)
    for number in range(count + 1, count + 4):
        host = star.sim.add(point(number), node(number, limits=ROOMY))
        dial(star.sim, host, 0)
        star.run(12.0)
        assert star.hub.node.pool.by_peer(peer(number)) is not None
    least, most = windows(star.moved(), begun, star.now)
    assert most <= 10 * cap * KIB + 2 * UNIT_MAX
    assert least >= 0.95 * 10 * cap * KIB - UNIT_LEAST


@pytest.mark.parametrize("way", WAYS)
def test_a_cap_that_is_smaller_than_one_unit_is_kept(way):
    star = Star(way, 3, cap=8)
    begun = star.now
    star.run(120.0)
    _, most = windows(star.moved(), begun, star.now)
    assert most <= 10 * 8 * KIB + 2 * UNIT_MAX
    assert star.bytes(begun).total() >= 0.95 * 120 * 8 * KIB


@pytest.mark.parametrize("way", WAYS)
def test_what_who_falls_silent_would_have_had_goes_to_the_others_at_once(way):
    star = Star(way, 4)
    star.run(15.0)
    star.greedy = {1, 2, 3}
    star.run(10.0)  # what was said before has left by then
    begun = star.now
    star.run(20.0)
    shares = star.bytes(begun)
    assert shares.pop(4) == 0
    assert jain(shares.values()) >= 0.95
    least, _ = windows(star.moved(), begun, star.now)
    assert least >= 0.95 * 10 * CAP * KIB
    star.greedy = {1, 2, 3, 4}
    begun = star.now
    star.run(20.0)
    assert jain(star.bytes(begun).values()) >= 0.95


# -- caps at both ends -----------------------------------------------------------------

#: Of a server, what it receives; and of each of its clients, what it sends.
SERVER_CAP, CLIENT_CAP = 1024, 256


@pytest.mark.parametrize("talking", [8, 4, 3])
def test_clients_with_caps_share_that_of_their_server_or_have_their_own(talking):
    star = Star(
        "down",
        8,
        cap=SERVER_CAP,
        # Powers of two up to one that takes more than a chunk.
        sizes=[2**n for n in range(6, 17)],
        others=attrs.evolve(ROOMY, max_upload_speed=CLIENT_CAP),
    )
    star.greedy = set(range(1, talking + 1))
    star.run(2.0)
    begun = star.now
    star.run(20.0)
    least, most = windows(star.moved(), begun, star.now)
    assert most <= 10 * SERVER_CAP * KIB + 2 * UNIT_MAX
    # Four and more fill the server's cap, three do not, and none exceeds its own.
    assert least >= 0.95 * 10 * min(SERVER_CAP, talking * CLIENT_CAP) * KIB
    shares = star.bytes(begun)
    for number in star.greedy:
        _, most = windows(star.moved(number), begun, star.now)
        assert most <= 10 * CLIENT_CAP * KIB + 2 * UNIT_MAX
    assert jain([shares[number] for number in star.greedy]) >= 0.95
    assert sum(shares[number] for number in range(talking + 1, 9)) == 0


# -- by score --------------------------------------------------------------------------

SCORED = {"policy": BY_SCORE, "shares": "score"}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("sizes", [(5_000,), SIZES])
def test_who_has_twice_the_score_gets_twice_as_much(way, sizes):
    star = Star(way, 4, sizes=sizes, **SCORED)
    for number in (1, 2):
        star.think(number, 2.0)
    begun = star.now
    star.run(40.0)
    shares = star.bytes(begun)
    for better in (1, 2):
        for other in (3, 4):
            assert shares[better] / shares[other] == pytest.approx(2.0, rel=0.15)
    least, most = windows(star.moved(), begun, star.now)
    assert least >= 0.95 * 10 * CAP * KIB
    assert most <= 10 * CAP * KIB + 2 * UNIT_MAX


@pytest.mark.parametrize("way", WAYS)
def test_a_score_that_changes_changes_the_share_from_then_on(way):
    star = Star(way, 2, **SCORED)
    for first, other in ((1.0, 1.0), (3.0, 1.0), (1.0, 2.0), (100.0, 0.0)):
        star.think(1, first)
        star.think(2, other)
        star.run(2.0)
        begun = star.now
        star.run(20.0)
        shares = star.bytes(begun)
        # Nobody has more than four times the neutral share, or less than a quarter.
        ratio = min(4.0, first) / max(0.25, other)
        assert shares[1] / shares[2] == pytest.approx(ratio, rel=0.15)
        assert shares.total() >= 0.95 * 20 * CAP * KIB


@pytest.mark.parametrize("way", WAYS)
def test_where_shares_are_fair_no_score_buys_more(way):
    star = Star(way, 3, policy=BY_SCORE, shares="fair")
    for number, score in ((1, 4.0), (2, 1.0), (3, 0.25)):
        star.think(number, score)
    begun = star.now
    star.run(30.0)
    assert jain(star.bytes(begun).values()) >= 0.95


# -- caps of single peers --------------------------------------------------------------

#: KiB a second that a peer without a good score has for itself.
OWN_CAP = 32


def capped(metadata, score, trusted):
    own = None if score >= 1.0 else OWN_CAP * KIB
    return Treatment(cap_up=own, cap_down=own)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("cap", [None, CAP])
def test_a_peers_own_cap_is_kept_and_what_it_cannot_have_goes_to_the_others(way, cap):
    star = Star(way, 3, cap=cap, sizes=(5_000,), policy=capped)
    star.think(1, 0.5)
    begun = star.now
    star.run(30.0)
    _, most = windows(star.moved(1), begun, star.now)
    assert most <= 10 * OWN_CAP * KIB + 2 * UNIT_MAX
    shares = star.bytes(begun)
    assert shares[1] >= 0.95 * 30 * OWN_CAP * KIB
    if cap is None:
        # As much as they say, and they say as much as is taken five times a second.
        assert min(shares[2], shares[3]) > 20 * shares[1]
    else:
        least, most = windows(star.moved(), begun, star.now)
        assert least >= 0.95 * 10 * cap * KIB
        assert most <= 10 * cap * KIB + 2 * UNIT_MAX
        assert jain((shares[2], shares[3])) >= 0.95


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("cap", [None, CAP])
def test_a_peers_own_cap_begins_and_ends_while_it_talks(way, cap):
    star = Star(way, 2, cap=cap, sizes=(5_000,), policy=capped)
    star.run(10.0)
    for _ in range(2):
        star.think(1, 0.5)
        begun = star.now
        star.run(20.0)
        _, most = windows(star.moved(1), begun, star.now)
        assert most <= 10 * OWN_CAP * KIB + 2 * UNIT_MAX
        star.think(1, 1.0)
        star.run(2.0)
        begun = star.now
        star.run(10.0)
        shares = star.bytes(begun)
        assert jain(shares.values()) >= 0.95
        if cap is not None:
            assert shares.total() >= 0.95 * 10 * cap * KIB


# -- one that is stuck -----------------------------------------------------------------


def test_fifty_are_not_slowed_by_one_that_takes_nothing():
    star = Star("up", 51, cap=None)
    stuck, *healthy = star.sim.hosts[1:]
    stuck.pulls = False
    for said in range(1, 121):
        reached = star.sim.do(star.hub, lambda it: it.broadcast(bytes(30_000), star.now))
        star.sim.run(0.1)
        assert all(len(messages(host)) == said for host in healthy)
    assert reached == 50  # nothing more fits in front of the one that is stuck


def test_under_a_cap_the_share_of_one_that_takes_nothing_goes_to_fifty_others():
    star = Star("up", 51, cap=1024)
    star.sim.hosts[1].pulls = False
    star.run(20.0)
    begun = star.now
    star.run(10.0)
    shares = star.bytes(begun)
    assert shares.pop(1) == 0
    assert jain(shares.values()) >= 0.95
    assert shares.total() >= 0.95 * 10 * 1024 * KIB
