"""Whole nodes, two to four, explored until nothing new is met, or to a depth.

In every state of every world, for every node, on its own:

- dialling + handshaking + running + closing == links not lost == sockets that its driver
  holds; each link that ends is counted once, with a reason, and closed once;
- at most one connection runs per peer, and Running + Accepted never exceeds the most;
- places, seats, shares, the tables of the pool, what diversity counts, and the states of
  points and peers are what the attempts make of them; a deadline is armed exactly for
  what is neither running nor over;
- who is forgotten is forgotten by all parts; no command, fact or answer is left over;
- the application is told Joined, then messages, then Left, once, and of one peer's next
  connection nothing before; after we disconnected or banned somebody, or stopped, no
  message of theirs, and the reason is ours;
- nobody who is banned is connected, nor about to be; who has stopped has no links;
- a swap is going on exactly while its dial is.

And of all: who a node believes is at the other end of a connection that runs is there.

Liveness: whatever has happened, and in whatever order what happens by itself happens
(dials arrive, bytes and ends of streams are delivered, sockets closed, items pulled; no
deadline), it comes to an end in which both ends of every connection run, nothing else is
left, and no swap is going on.  So both nodes agree on whether they are connected, and
nothing waits for anything that never comes.

What was explored is stated at `_ALL`, and checked: 283,924 states with 982,011 moves in
all, of which all worlds of two and of four nodes and four of six of three are closed;
the two others go to depth 10 from nothing, and to depth 4 from two connections.  What
takes long is explored by ``TEZOS_P2P_LONG=1`` only.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

import attrs
import node_setting
import pytest
from explorer import Graph, Violated, explore, without_large
from node_checks import faults_of
from node_copies import Copier
from node_host import Host
from node_setting import AGAIN, LEFT_OUT, NOBODY, Rules
from node_world import NodeWorld, world_of
from test_explore_connection import check_ends

from tezos_p2p.fsm import point as points
from tezos_p2p.fsm import reception, steward, worker
from tezos_p2p.fsm import swap as swaps
from tezos_p2p.fsm.acl import Acl
from tezos_p2p.fsm.admission import Places
from tezos_p2p.fsm.answerer import Answerer
from tezos_p2p.fsm.inbox import Inbox, Left, Message, Ready
from tezos_p2p.fsm.lifecycle import State as Stage
from tezos_p2p.fsm.node import Node
from tezos_p2p.fsm.peer import PeerInfo
from tezos_p2p.fsm.point import PointInfo
from tezos_p2p.fsm.reception import Reception
from tezos_p2p.fsm.steward import Steward
from tezos_p2p.fsm.traffic import Traffic
from tezos_p2p.spec.reasons import Disconnection, Reason

# On a busy machine.
pytestmark = pytest.mark.timeout(600)

A, B, C, D = range(4)
ONE: Final = ((A, B),)
BOTH: Final = ((A, B), (B, A))
ALL: Final = tuple((one, other) for one in range(3) for other in range(3) if one != other)
#: Whom a swap of A and B may change.
SWAPPED: Final = (*BOTH, (A, C), (C, A), (B, D), (D, B), (A, D), (B, C))

#: Each with the number of its states, and of moves out of them.  All are explored until
#: nothing new is met, but those with a depth.
_ALL: Final[dict[str, tuple[Rules, int, int]]] = {
    # Two nodes; both dial, any number of times.
    "two, simultaneous dials": (Rules(dials=BOTH), 1_141, 2_976),
    "two, kicks and messages": (
        Rules(dials=BOTH, kicks=ONE, sends=((B, A),)),
        13_865,
        47_282,
    ),
    "two, bans and messages": (
        Rules(dials=BOTH, bans=ONE, sends=((B, A),)),
        9_426,
        30_227,
    ),
    "two, peers are banned and pardoned": (
        Rules(dials=BOTH, bans=ONE, pardons=True, kicks=((B, A),), lazy=False),
        9_335,
        34_230,
    ),
    "two, addresses are banned and pardoned": (
        Rules(dials=BOTH, shuns=ONE, pardons=True, lazy=False),
        24_141,
        84_330,
    ),
    "two, deadlines": (
        Rules(dials=BOTH, expires=(A,), kicks=BOTH, glued=True, lazy=False),
        23_270,
        76_892,
    ),
    "two, connections are lost": (
        Rules(dials=BOTH, fails=True, loses=(A, B), kicks=ONE, lazy=False),
        17_756,
        80_036,
    ),
    "two, polite ends": (
        Rules(dials=BOTH, drains=BOTH, kicks=ONE, sends=ONE, lazy=False),
        7_177,
        23_309,
    ),
    "two, polite ends with deadlines": (
        Rules(dials=ONE, drains=BOTH, sends=BOTH, expires=(A,), glued=True),
        2_081,
        6_081,
    ),
    "two, stops": (Rules(dials=BOTH, stops=(B,), sends=ONE), 12_167, 34_924),
    "two, no port announced": (
        Rules(dials=BOTH, kicks=BOTH, port=0, lazy=False),
        5_997,
        17_890,
    ),
    "two, two points of one node": (
        Rules(dials=((A, B), (A, B + AGAIN)), kicks=BOTH, wires=2, lazy=False),
        16_534,
        50_434,
    ),
    "two, dials given up": (
        Rules(dials=ONE, wires=2, expires=(A,), lazy=False),
        15_185,
        41_326,
    ),
    # Three.
    "three, one place": (
        Rules(
            nodes=3,
            most=(1, 1, 1),
            dials=((A, C), (B, C)),
            kicks=((C, A), (C, B)),
            sends=((A, C), (B, C)),
        ),
        21_117,
        80_058,
    ),
    "three, a chain with one place each": (
        Rules(nodes=3, most=(1, 1, 1), dials=((A, B), (B, C)), kicks=((B, A), (B, C))),
        6_206,
        20_762,
    ),
    "three, a ring": (
        Rules(nodes=3, dials=((A, B), (B, C), (C, A)), lazy=False),
        14_604,
        51_129,
    ),
    "three, somebody lies to swap": (
        Rules(
            nodes=3,
            linked=((A, B), (C, B)),
            lies=((A, B, C + AGAIN), (A, B, NOBODY)),
            kicks=((B, A), (B, C)),
            lazy=False,
        ),
        1_956,
        6_284,
    ),
    "three, all dial and end, to a depth": (
        Rules(nodes=3, dials=ALL, kicks=ALL, bans=((C, B),), lazy=False, depth=10),
        23_208,
        72_070,
    ),
    "three, connected, anything, to a depth": (
        Rules(
            nodes=3,
            linked=((A, B), (C, B)),
            wires=2,
            dials=ALL,
            kicks=ALL,
            bans=ALL,
            lies=((A, B, C + AGAIN), (C, B, A + AGAIN)),
            expires=(A, B, C),
            fails=True,
            loses=(A, B, C),
            lazy=False,
            depth=4,
        ),
        9_817,
        32_204,
    ),
    # Four: A - B, A - D, B - C; A proposes D to B, B answers with C.
    "four, a swap, and one act of anybody": (
        Rules(
            nodes=4,
            linked=((A, B), (A, D), (B, C)),
            wires=3,
            proposes=(A,),
            kicks=SWAPPED,
            bans=((A, B), (B, D)),
            fails=True,
            loses=(A, B),
            expires=(A, B),
            stops=(A, B),
            harm=2,
            lazy=False,
        ),
        48_941,
        189_567,
    ),
}
WORLDS: Final = without_large(
    _ALL,
    "two, deadlines",
    "two, connections are lost",
    "two, kicks and messages",
    "two, two points of one node",
    "three, one place",
    "three, all dial and end, to a depth",
    "four, a swap, and one act of anybody",
)
#: Small enough to be explored without looking anything up.
_LOOKED_UP: Final[dict[str, Rules]] = {
    "simultaneous dials": Rules(dials=BOTH, lazy=False),
    "kicks and messages": Rules(dials=ONE, kicks=ONE, sends=((B, A),)),
    "any end": Rules(
        dials=ONE,
        kicks=((B, A),),
        bans=ONE,
        pardons=True,
        expires=(B,),
        fails=True,
        loses=(A,),
        harm=3,
        lazy=False,
    ),
    "lies": attrs.evolve(WORLDS["three, somebody lies to swap"][0], harm=2),
    "a swap": Rules(
        nodes=4,
        linked=((A, B), (A, D), (B, C)),
        wires=3,
        proposes=(A,),
        harm=1,
        lazy=False,
    ),
}
SMALL: Final = without_large(_LOOKED_UP, "simultaneous dials", "lies", "a swap")
#: What has to be met somewhere, or the worlds are not about what they say.
MET: Final = (
    *("a dial", "PENDING_CONNECTION", "CONNECTED", "POINT_BANNED"),
    *("TOO_MANY_CONNECTIONS", "RejectingRequest", "RequestRejected"),
    *("AuthenticationFailed", "ConnectionEstablished", "Disconnected", "a message"),
    *("SwapRequestReceived", "SwapAckReceived", "SwapSuccess", "SwapFailure"),
)


def explore_all(name: str, rules: Rules, recheck: int = 0) -> tuple[Graph, NodeWorld]:
    world = world_of(rules)
    return explore(name, world, limit=200_000, recheck=recheck), world


@attrs.frozen
class Summary:
    """What is kept of an exploration: the graphs of all worlds would fill the memory."""

    line: str
    states: int
    transitions: int
    depth: int
    met: tuple[str, ...]
    violated: Violated | None


@functools.cache
def explored(name: str) -> Summary:
    """Explore a world once for all tests."""
    rules = WORLDS[name][0]
    graph, world = explore_all(name, rules)
    closed = "closed" if rules.depth is None else "to this depth"
    line = f"node, {graph}, {closed}; {world.setting.alone} states of single nodes"
    violated = None
    if rules.depth is None:
        try:
            check_ends(graph)
        except Violated as error:
            violated = error
    met = tuple(world.setting.met)
    return Summary(line, graph.states, graph.transitions, graph.depth, met, violated)


# -- the node --------------------------------------------------------------------------


@pytest.mark.parametrize("name", WORLDS)
def test_properties_hold_in_every_state_until_nothing_new_is_met_or_to_the_depth(
    name: str, report: Callable[[str], None]
) -> None:
    found = explored(name)
    report(found.line)
    rules, states, transitions = WORLDS[name]
    assert found.states >= states
    assert found.transitions >= transitions
    if rules.depth is not None:
        assert found.depth == rules.depth


@pytest.mark.parametrize("name", [n for n in WORLDS if WORLDS[n][0].depth is None])
def test_whatever_has_happened_both_ends_come_to_agree(name: str) -> None:
    if (violated := explored(name).violated) is not None:
        raise violated


def test_the_worlds_meet_what_they_are_for(report: Callable[[str], None]) -> None:
    found = [explored(name) for name in WORLDS]
    met = {what for each in found for what in each.met}
    assert [what for what in MET if what not in met] == []
    states, transitions = sum(f.states for f in found), sum(f.transitions for f in found)
    report(f"node, together: {states} states, {transitions} transitions")


def test_simultaneous_dials_end_in_one_connection_or_none() -> None:
    graph, first = explore_all("dials", _LOOKED_UP["simultaneous dials"])
    ends = set()
    for state in (state for state, rests in enumerate(graph.resting) if rests):
        world: Any = first
        for move in graph.moves_to(state):
            world = world.after(move)
        ends.add(tuple(tuple(host.node.pool.running) for host in world.hosts))
    assert ends == {((), ()), ((1,), (1,)), ((11,), (11,))}


# -- the explorer ----------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
def test_states_with_equal_keys_behave_alike_all_of_them(name: str) -> None:
    graph, _ = explore_all(name, attrs.evolve(SMALL[name], remembers=False), recheck=1)
    assert graph.merged == graph.transitions - graph.states + 1
    known, _ = explore_all(name, SMALL[name])
    assert _labels(graph) == _labels(known)


def _labels(graph: Graph) -> list[list[tuple[str, int]]]:
    return [[(move.label, to) for move, to in edges] for edges in graph.edges]


def test_a_key_that_leaves_out_too_much_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    blind = LEFT_OUT | {Acl: {"_banned_peers": "nobody asks"}}
    monkeypatch.setattr(node_setting, "LEFT_OUT", blind)
    rules = Rules(dials=ONE, bans=ONE, remembers=False)
    with pytest.raises(Violated, match="the key is too coarse"):
        explore_all("forgetful", rules, recheck=1)


def test_what_is_left_out_has_to_be_there() -> None:
    with pytest.raises(TypeError, match="'_gone'"):
        Copier((), (), {Node: {"_gone": "it is not there"}}, {})


def test_what_nobody_has_said_how_to_copy_is_not_copied() -> None:
    copier = Copier((), (reception.Over,), {}, {})
    with pytest.raises(TypeError, match="has no __slots__"):
        copier.copy([pytest.MonkeyPatch()])
    with pytest.raises(TypeError, match="Over is not to be met"):
        copier.copy([reception.Over(None, False, None)])  # type: ignore[arg-type]  # any will do


def test_a_copy_knows_the_parts_of_the_copy() -> None:
    world = world_of(WORLDS["two, simultaneous dials"][0])
    node, copier = world.hosts[0].node, world.setting.copier
    new = copier.copy(node)
    assert copier.image(new) == copier.image(node)
    assert new.pool is new._reception.pool is new._steward._pool is not node.pool
    assert new._world._is_open.__self__ is new._reception is not node._reception
    (known,) = new.pool._worth_keeping.__closure__
    assert known.cell_contents is new._diversity is not node._diversity


# -- broken nodes ----------------------------------------------------------------------


def admits_whoever_is_here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove the check for a peer that has a connection."""
    check = reception.refusal

    def refusal(rules: Any, incoming: bool, candidate: Any, *others: Any) -> Any:
        stranger = PeerInfo(candidate.peer.peer_id, 0.0, None)
        return check(rules, incoming, attrs.evolve(candidate, peer=stranger), *others)

    monkeypatch.setattr(reception, "refusal", refusal)


def counts_no_reservations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Places, "taken", lambda self, active: active)


def keeps_what_was_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Inbox, "purge", lambda self, link: 0)


def tells_of_connections_as_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Inbox, "_begin", lambda self, link, peer_id: None)


def bans_and_stays_connected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Steward, "_links_of", lambda self, peer_id, reason: [])


def bans_only_who_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steward, "_concerned", lambda attempt: attempt.told)


def keeps_a_point_requested(monkeypatch: pytest.MonkeyPatch) -> None:
    disconnect = PointInfo.disconnect

    def keep(self: Any, now: float, *, requested: bool = False) -> None:
        if self.state is not points.State.REQUESTED:
            disconnect(self, now, requested=requested)

    monkeypatch.setattr(PointInfo, "disconnect", keep)


def never_hears_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    receive = Traffic.receive_data

    def receive_data(self: Any, link: int, data: Any, now: float) -> None:
        if data:
            receive(self, link, data, now)

    monkeypatch.setattr(Traffic, "receive_data", receive_data)


def never_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Reception, "let_go", lambda self, link: None)


def forgets_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    settle = Traffic.settle

    def settle_and_disarm(self: Any, link: int, now: float) -> None:
        settle(self, link, now)
        if self.lines[link].made:
            self.timers.set(link, None)

    monkeypatch.setattr(Traffic, "settle", settle_and_disarm)


def counts_an_end_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    close = Reception.close

    def close_and_count(self: Any, link: int, reason: Any, *others: Any) -> None:
        close(self, link, reason, *others)
        self.tally.ended(reason.reason)

    monkeypatch.setattr(Reception, "close", close_and_count)


def blames_the_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    close = Reception.close
    theirs = Disconnection(Reason.CONNECTION_CLOSED_BY_PEER)

    def close_for_them(self: Any, link: int, _: Any, *others: Any) -> None:
        close(self, link, theirs, *others)

    monkeypatch.setattr(Reception, "close", close_for_them)


def never_ends_a_swap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Answerer, "swapped", lambda self, link, now: None)


def never_shuts(monkeypatch: pytest.MonkeyPatch) -> None:
    settle = Traffic.settle

    def settle_unshut(self: Any, link: int, now: float) -> None:
        self.lines[link].shut = True
        settle(self, link, now)

    monkeypatch.setattr(Traffic, "settle", settle_unshut)


_DIALS, _MESSAGES = "two, simultaneous dials", "two, kicks and messages"
_CHAIN = "three, a chain with one place each"
_ADDRESSES = "two, addresses are banned and pardoned"
#: For each: a world, what is found, and the number of moves that lead to it.
BROKEN: Final[dict[Callable[[pytest.MonkeyPatch], None], tuple[str, str, int]]] = {
    admits_whoever_is_here: (
        "two, no port announced",
        "LocalProtocolError is raised",
        12,
    ),
    counts_no_reservations: (_CHAIN, "more than may", 12),
    keeps_what_was_said: (_MESSAGES, "a message on 1 after our end of it", 14),
    tells_of_connections_as_they_come: (_MESSAGES, "11 joined before the last one", 22),
    bans_and_stays_connected: ("two, bans and messages", "with a banned peer", 7),
    bans_only_who_runs: (_ADDRESSES, "DIALLING with a banned address", 2),
    keeps_a_point_requested: ("two, connections are lost", "is REQUESTED by 1", 2),
    never_hears_the_end: (_DIALS, "nothing more happens by itself", 22),
    never_forgets: (_MESSAGES, "is not forgotten", 10),
    forgets_a_deadline: (_DIALS, "is HANDSHAKING, armed: False", 2),
    counts_an_end_twice: (_MESSAGES, "kick ends 1 links, for 2 reasons", 9),
    blames_the_peer: (_MESSAGES, "left for CONNECTION_CLOSED_BY_PEER, not USER", 11),
    never_ends_a_swap: ("three, somebody lies to swap", "a swap is DIALLING", 3),
    never_shuts: ("two, polite ends", "nothing more happens by itself", 10),
}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
def test_a_broken_node_is_found(
    broken: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, what, steps = BROKEN[broken]
    broken(monkeypatch)
    with pytest.raises(Violated) as caught:
        check_ends(explore_all(broken.__name__, _ALL[name][0])[0])
    print(caught.value)
    assert what in caught.value.what
    assert len(caught.value.path) == steps


#: What is done to a node that runs one connection, and what is found then.
TAMPERED: Final[dict[str, Callable[[Any, Host], object]]] = {
    "links are not lost, and the census": lambda n, _: n._traffic.lines.clear(),
    "run, and 0 in the pool": lambda n, _: n.pool.running.clear(),
    "1 places are reserved": lambda n, _: setattr(n._reception.places, "reserved", 1),
    "1 and 0 seats": lambda n, _: setattr(n._reception.places, "incoming", 1),
    "1 places for 0 incoming": lambda n, _: setattr(n._reception.places, "coming", 1),
    "said to be untold": lambda n, _: setattr(n._reception.places, "untold", 1),
    "table of peers is wrong": lambda n, _: n.pool._by_peer.clear(),
    "table of points is wrong": lambda n, _: n.pool._by_point.clear(),
    "the pool draws from": lambda n, _: n.pool._public.discard(1),
    "other incoming links": lambda n, _: n._diversity._in.update({1: None}),
    "other outgoing links": lambda n, _: n._diversity._out.clear(),
    "does not know which outgoing": lambda n, _: setattr(
        n._diversity._out[1], "running", False
    ),
    "is RUNNING by 2": lambda n, _: setattr(_attempt(n).point, "link", 2),
    "is RUNNING, and None there": lambda n, _: setattr(
        _attempt(n).point, "peer_id", None
    ),
    "is RUNNING by 3": lambda n, _: setattr(_attempt(n).peer, "link", 3),
    "holds what is in no table": lambda n, _: n.pool.known_points.clear(),
    "attempts []": lambda n, _: n._reception.attempts.clear(),
    "1 is RUNNING, lost: True": lambda n, _: setattr(n._traffic.lines[1], "lost", True),
    "and CLOSED": lambda n, _: setattr(
        n._traffic.lines[1].connection, "state", Stage.CLOSED
    ),
    "runs without a version": lambda n, _: setattr(
        n._traffic.lines[1].connection, "version", None
    ),
    "1 is RUNNING, armed: True": lambda n, _: n._traffic.timers.set(1, 2000.0),
    "to be closed: True": lambda _, host: setattr(host, "closing", (1,)),
    "1 has no share": lambda n, _: n._traffic.up.leave(1, 1000.0),
    "have shares, not [1]": lambda n, _: n._traffic.down.leave(1, 1000.0),
    "with a banned address": lambda n, _: n.acl.ban(_attempt(n).remote_point.address),
    "with a banned peer": lambda n, _: n.acl.ban_peer(_attempt(n).peer.peer_id),
    "the talks still know of [7]": lambda n, _: n._answerer._talks.update({7: None}),
    "the timers still know of [7]": lambda n, _: n._traffic.timers.set(7, 2000.0),
    "counts still know of [7]": lambda n, _: n._inbox._others.update({7: 1}),
    "the inbox still knows of 7": lambda n, _: n._inbox.put(Ready(7, None)),
    "commands are left over": lambda n, _: n._traffic.commands.append(None),
    "was not told of new points": lambda n, _: setattr(n, "_news", 0),
    "it has stopped": lambda n, _: setattr(n._workers, "state", worker.State.STOPPED),
    "a swap is DIALLING, with 0": lambda n, _: setattr(
        n._answerer.swaps, "state", swaps.State.DIALLING
    ),
    "still being agreed on": lambda n, _: setattr(
        n._answerer.swaps, "state", swaps.State.AGREEING
    ),
    "a swap is RESTING: 5": lambda n, _: setattr(n._answerer.swaps, "current", 5),
}


def _attempt(node: Any) -> Any:
    return node._reception.attempts[1]


@pytest.mark.parametrize("what", TAMPERED)
def test_each_property_of_a_node_can_be_found_broken(what: str) -> None:
    (host, _) = world_of(Rules(linked=ONE)).hosts
    assert list(faults_of(host)) == []
    TAMPERED[what](host.node, host)
    assert what in "; ".join(faults_of(host))


def test_properties_of_wires_can_be_found_broken() -> None:
    world = world_of(Rules(linked=ONE))
    assert list(world.faults()) == []
    (number,) = world.wires
    whole = world.wires.pop(number)
    assert "A: links [1], sockets []" in list(world.faults())
    world.wires[number] = whole._replace(ends=(A, A))
    assert "A: 1 is taken for somebody else" in list(world.faults())


def test_items_in_a_wrong_order_are_found() -> None:
    (host, _) = world_of(Rules(linked=ONE)).hosts
    peer_id = host.setting.peer_of(B)
    left = Left(1, peer_id, Disconnection(Reason.UNKNOWN_REASON))
    for item in (Message(1, peer_id, b""), left, left, Ready(1, peer_id)):
        host.node._inbox.put(item)
    for _ in range(4):
        host.pull()
    assert host.wrong == ("Left on 1 after left", "Ready on 1 after left")
