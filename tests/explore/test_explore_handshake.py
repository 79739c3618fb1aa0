"""The real handshake machine, explored until nothing new is met.

In every state of every world, for every end, on its own:

- it is never authenticated, let alone established, with its own peer id;
- it has told the events that its state implies, in order, and no others; `Closed` is
  told exactly once, is the last, and nothing follows it;
- it is established only if it has sent its connection message, metadata and acceptance
  and has read the other's, those three and unaltered; and never after its deadline;
- it sends metadata only after it has accepted a connection message, an answer only
  after it has read metadata *and* been given a verdict; the answer is the verdict, a
  refusal in the form that the other can read; nothing comes behind it;
- whoever has refused is closed, and nobody that is refused is ever established;
- once closed it sends nothing, unless it refused: then the rest of that; and neither
  bytes, nor the end of the stream, nor time, nor a close change anything any more; and
  it keeps neither keys nor anything that it has read;
- a deadline is armed exactly while greetings, metadata, verdict or answer are waited
  for, and it is always the first one: bytes do not move it;
- it holds no more bytes than the longest frame, and allows no more than fit;
- its key and nonces are those that the two connection messages, the role and the
  number of chunks imply;
- what its owner may not do now raises `LocalProtocolError` and changes nothing at all;
- a session that is handed over has the unread bytes and the end of the stream, once.

And of a pair: an end is established only if the other has admitted it, and is who it
says; both established have the same key, and what either seals the other opens.

Liveness: from every state, with everybody silent, time alone (and an owner who starts
what is not started and takes over what is established) leads to an end.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import attrs
import handshake_world
import pytest
from explorer import (
    Cloner,
    Graph,
    Move,
    Violated,
    check_slots,
    explore,
    without_large,
)
from handshake_world import FOREIGN, ITSELF, OLD, HandshakeWorld, lone, pair

from tezos_p2p.fsm import Handshake, State, Table, handshake
from tezos_p2p.fsm.handshake import TABLE
from tezos_p2p.spec.events import Authenticated, Remote
from tezos_p2p.spec.hello import ANSWER, CONNECTION_METADATA, Ack
from tezos_p2p.spec.limits import TAG_SIZE
from tezos_p2p.spec.version import MAINNET, Network

#: Frames that add no kind of behaviour where another world has them.
RARE: Final = (
    "hello too long",
    "hello without work",
    "hello of low order",
    "hello with a stolen key",
    "empty",
    "largest",
    "hollow",
    "long meta",
    "bad answer",
    "nack v0",
)
#: Those without content.
EMPTY: Final = ("empty", "hollow")
#: Those that handshakes end of as of no others.
TELLING: Final = ("hello without work", "hello of low order", "largest")
#: The least that still can do every step.
FEW: Final = (*RARE, "garbage", "short", "nack")
FEW_BUT_EMPTY: Final = tuple(name for name in FEW if name not in EMPTY)

# Some of these take half a minute under coverage, on a calm machine.
pytestmark = pytest.mark.timeout(600)

_ALL: Final[dict[str, Callable[[], HandshakeWorld]]] = {
    "pair": pair,
    "pair, deadlines overslept": lambda: pair(oversleeps=True),
    "pair, two networks": lambda: pair(networks=(MAINNET, Network("ELSEWHERE"))),
    "pair, a node and itself": lambda: pair(same=True),
    "pair, adversary on the wire": lambda: pair(on_wire=True),
    "pair, a node and itself, adversary": lambda: pair(on_wire=True, same=True),
    "initiator, stranger": lambda: lone(False, without=EMPTY),
    "initiator, stranger, fewer frames": lambda: lone(
        False, without=tuple(name for name in RARE if name not in TELLING)
    ),
    "responder, stranger": lambda: lone(True, without=RARE),
    "responder, lazy owner": lambda: lone(True, without=FEW, lazy=True, oversleeps=True),
    "initiator, its own key": lambda: lone(False, ITSELF, without=RARE),
    "responder, its own key": lambda: lone(True, ITSELF, without=RARE),
    "responder, foreign peer": lambda: lone(True, FOREIGN, without=FEW),
    "initiator, old peer": lambda: lone(False, OLD, without=FEW_BUT_EMPTY),
}
WORLDS: Final = without_large(
    _ALL, "pair, adversary on the wire", "initiator, stranger", "responder, lazy owner"
)
#: Small enough to be explored again and again.
SMALL: Final = ("pair", "pair, two networks", "initiator, its own key")

#: Lines of the table (trigger, source) that no world takes, each with the reason.
UNTAKEN: Final[dict[tuple[str, State], str]] = {}


@functools.cache
def explored(name: str) -> tuple[Graph, HandshakeWorld]:
    """Explore a world once for all tests."""
    world = WORLDS[name]()
    return explore(name, world, limit=150_000, recheck=97), world


def is_quiet(move: Move) -> bool:
    return move.quiet


# -- the machine -----------------------------------------------------------------------


@pytest.mark.parametrize("name", WORLDS)
def test_properties_hold_in_every_state_until_nothing_new_is_met(
    name: str, report: Callable[[str], None]
) -> None:
    graph, _ = explored(name)
    assert graph.states == len(graph.index) == len(graph.origin)
    assert graph.merged > 0
    report(str(graph))


@pytest.mark.parametrize("name", WORLDS)
def test_time_alone_leads_to_an_end(name: str) -> None:
    graph, _ = explored(name)
    graph.check_liveness(is_quiet, "with time alone")


def test_every_line_of_the_table_is_taken(report: Callable[[str], None]) -> None:
    taken = {
        (trigger, source)
        for name in WORLDS
        for trigger, source, _ in explored(name)[1].setting.taken
    }
    listed = [(trigger, source) for trigger, source, _ in TABLE.lines()]
    untaken = [line for line in listed if line not in taken]
    assert taken <= set(listed)
    assert untaken == list(UNTAKEN)
    names = ", ".join(f"{trigger} from {source.name}" for trigger, source in untaken)
    size = f"{len(TABLE.rows)} as {len(listed)} lines"
    report(f"rows: {size}, never taken: {names or 'none'}")


def test_all_worlds_together(report: Callable[[str], None]) -> None:
    graphs = [explored(name)[0] for name in WORLDS]
    report(
        f"together: {sum(g.states for g in graphs)} states, "
        f"{sum(g.transitions for g in graphs)} transitions, "
        f"{sum(g.merged for g in graphs)} merged worlds compared, "
        f"{sum(g.seconds for g in graphs):.1f} s"
    )


def reaches(name: str, *rows: str) -> list[bool]:
    taken = [trigger for trigger, _, _ in explored(name)[1].setting.taken]
    return [row in taken for row in rows]


@pytest.mark.parametrize(
    "name", [name for name in WORLDS if "itself" in name or "own key" in name]
)
def test_a_node_never_gets_past_authentication_with_itself(name: str) -> None:
    assert reaches(name, "greet", "authenticate", "establish") == [True, False, False]
    kinds = [kinds for _, _, kinds, _ in explored(name)[1].setting.endings]
    assert ("MYSELF",) in kinds


@pytest.mark.parametrize(
    "name", [name for name in ("pair", "pair, adversary on the wire") if name in WORLDS]
)
def test_nodes_that_are_left_alone_do_become_connected(name: str) -> None:
    graph, world = explored(name)
    helpful = ("start", "next frame is sent", "next frame arrives", "admit", "hand over")
    while not world.at_rest:
        moves = [move for move in world.moves() if move.label[3:] in helpful]
        world = world.after(moves[0])
        assert world.key() in graph.index
    assert [end.state for end in world.ends] == [State.HANDED_OVER] * 2


@pytest.mark.parametrize("name", ["pair, two networks", "responder, foreign peer"])
def test_nodes_of_different_networks_only_refuse_each_other(name: str) -> None:
    assert reaches(name, "refuse", "admit", "establish") == [True, False, False]


@pytest.mark.parametrize("name", [n for n in WORLDS if n.startswith("pair")])
def test_honest_nodes_never_greylist_each_other(name: str) -> None:
    endings = explored(name)[1].setting.endings
    greylisting = any(greylists for *_, greylists in endings)
    assert greylisting is ("adversary" in name)


def test_endings_are_those_of_the_protocol() -> None:
    found = {ending for name in WORLDS for ending in explored(name)[1].setting.endings}
    assert sorted(found) == sorted(ENDINGS)


_FAILED: Final = "AUTHENTICATION_REJECTED_ERROR"
_UNANSWERED: Final = ("REJECTED_SOCKET_CONNECTION", "CONNECTION_CLOSED")
_OVERFED: Final = ("READ_ALLOWANCE_EXCEEDED",)
#: State, reason, errors, whether it greylists: every way in which handshakes end.
ENDINGS: Final = (
    ("ANSWER", "ACK_READ_ERROR", ("DECODING_ERROR",), False),
    ("ANSWER", "ACK_READ_ERROR", ("INVALID_AUTH", "DECIPHER_ERROR"), False),
    ("ANSWER", "ACK_READ_ERROR", ("INVALID_INCOMING_CIPHERTEXT_SIZE",), False),
    (
        "ANSWER",
        "ACK_READ_ERROR",
        ("REJECTED_SOCKET_CONNECTION", "CONNECTION_CLOSED"),
        False,
    ),
    ("ANSWER", "ACK_READ_ERROR", ("TIMEOUT",), False),
    ("ANSWER", "AUTHENTICATION_REJECTED_BY_PEER", ("REJECTED_BY_NACK",), False),
    ("ANSWER", "UNKNOWN_REASON", (), False),
    ("ESTABLISHED", "CONNECTION_CLOSED_BY_PEER", (), False),
    ("ESTABLISHED", "CONNECTION_CLOSED_BY_UNEXPECTED_ERROR", _OVERFED, False),
    ("ESTABLISHED", "UNKNOWN_REASON", (), False),
    ("GREETING", _FAILED, ("CONNECTION_CLOSED",), False),
    ("GREETING", _FAILED, ("DECODING_ERROR",), True),
    ("GREETING", _FAILED, ("LOW_ORDER_KEY",), False),
    ("GREETING", _FAILED, ("NOT_ENOUGH_PROOF_OF_WORK",), True),
    ("GREETING", _FAILED, ("TIMEOUT",), False),
    ("GREETING", "UNKNOWN_REASON", (), False),
    ("IDLE", _FAILED, _OVERFED, False),
    ("IDLE", "UNKNOWN_REASON", (), False),
    ("METADATA", _FAILED, ("CONNECTION_CLOSED",), False),
    ("METADATA", _FAILED, ("DECIPHER_ERROR",), True),
    ("METADATA", _FAILED, ("DECODING_ERROR",), True),
    ("METADATA", _FAILED, ("INVALID_INCOMING_CIPHERTEXT_SIZE",), False),
    ("METADATA", _FAILED, ("MYSELF",), False),
    ("METADATA", _FAILED, ("TIMEOUT",), False),
    ("METADATA", "UNKNOWN_REASON", (), False),
    ("VERDICT", "AUTHENTICATION_REJECTED", ("REJECTED",), False),
    ("VERDICT", _FAILED, ("CONNECTION_CLOSED",), False),
    ("VERDICT", _FAILED, _OVERFED, False),
    ("VERDICT", _FAILED, ("TIMEOUT",), False),
    (
        "VERDICT",
        "AUTHENTICATION_REJECTED_NO_COMMON_PROTOCOL",
        ("REJECTED_NO_COMMON_PROTOCOL",),
        False,
    ),
    ("VERDICT", "UNKNOWN_REASON", (), False),
)

# -- the explorer ----------------------------------------------------------------------


def test_clones_are_what_a_replay_from_the_start_gives() -> None:
    graph, first = explored("responder, stranger")
    keys = list(graph.index)
    for state in range(0, graph.states, 31):
        world = HandshakeWorld(first.setting)
        for move in graph.moves_to(state):
            # In place: no machine is cloned here.
            world.ends[0]._id = None
            world.ends[0].now += handshake_world.TICK
            move.act(InPlace(world))
            world._settle()
        assert world.key() == keys[state], graph.path_to(state)


class InPlace:
    """A world whose ends are changed instead of cloned."""

    def __init__(self, world: HandshakeWorld) -> None:
        self.__dict__["world"] = world

    def touch(self, index: int) -> Any:
        return self.world.ends[index]

    def __getattr__(self, name: str) -> Any:
        member = getattr(self.world, name)
        if not callable(member):
            return member
        return functools.partial(getattr(HandshakeWorld, name), self)


@pytest.mark.parametrize("name", SMALL)
def test_worlds_with_equal_keys_behave_alike_all_of_them(name: str) -> None:
    graph = explore(name, WORLDS[name](), recheck=1)
    assert graph.merged == graph.transitions - graph.states + 1


SEEDED: Final = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
from explorer import explore
from test_explore_handshake import SMALL, WORLDS
for name in SMALL:
    graph = explore(name, WORLDS[name]())
    edges = [[(move.label, to) for move, to in each] for each in graph.edges]
    print(name, graph.states, hashlib.sha256(repr(edges).encode()).hexdigest())
"""


def test_the_same_graph_is_found_whatever_the_hash_seed() -> None:
    here = str(Path(__file__).parent)
    found = []
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", SEEDED, here],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        found.append(done.stdout)
    assert found[0] == found[1]
    assert len(found[0].splitlines()) == len(SMALL)


def test_a_key_that_leaves_out_too_much_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(handshake_world.KEYED, "_eof", lambda setting, machine: None)
    monkeypatch.setattr(handshake_world.Setting, "id_of", forgetful(handshake_world))
    with pytest.raises(Violated, match="the key is too coarse"):
        explore("forgetful", lone(True, without=FEW), recheck=1)


def forgetful(module: Any) -> Any:
    """Make `Setting.id_of` forget that the end of the stream was told."""
    id_of = module.Setting.id_of

    def forgets(setting: Any, end: Any) -> int:
        blind = end.copy()
        blind.deaf = False
        return id_of(setting, blind)

    return forgets


def test_a_new_member_of_a_machine_must_be_accounted_for() -> None:
    @attrs.define(eq=False)
    class Grown(Handshake):
        _more: int = attrs.field(default=0, init=False)

    keyed, left_out = handshake_world.KEYED, handshake_world.LEFT_OUT
    check_slots(Handshake, keyed, left_out)
    with pytest.raises(TypeError, match="'_more'"):
        check_slots(Grown, keyed, left_out)
    with pytest.raises(TypeError, match="'_gone'"):
        check_slots(Handshake, (*keyed, "_gone"), left_out)


def test_a_clone_shares_nothing_that_changes() -> None:
    @attrs.define(eq=False)
    class Inner:
        data: bytearray

    @attrs.define(eq=False)
    class Outer:
        inner: Inner
        rows: list[Any]

    cloner = Cloner(cloned=(Inner, Outer), shared=())
    old = Outer(Inner(bytearray(b"a")), [Inner(bytearray(b"b"))])
    before = cloner.image(old)
    new = cloner.clone(old)
    assert cloner.image(new) == before
    new.inner.data += b"!"
    new.rows[0].data += b"!"
    new.rows.append(None)
    assert cloner.image(old) == before != cloner.image(new)
    with pytest.raises(TypeError, match="how a set is copied"):
        cloner.clone(Outer(Inner(bytearray()), [set()]))


# -- broken machines -------------------------------------------------------------------


class SendsMetadataEarly(Handshake):
    __slots__ = ()

    def _begin(self, fact: Any) -> None:
        Handshake._begin(self, fact)
        self._outbox += b"\x00\x12" + bytes(18)


class RearmsTheDeadline(Handshake):
    __slots__ = ()

    def receive_data(self, data: Any, now: float) -> None:
        Handshake.receive_data(self, data, now)
        if self._deadline is not None:
            self._deadline = now + 5.0


class SaysClosedTwice(Handshake):
    __slots__ = ()

    def _give_up(self, fact: Any) -> None:
        Handshake._give_up(self, fact)
        self._events.append(fact)


class AnswersUnasked(Handshake):
    __slots__ = ()

    def _ask(self, fact: Any) -> None:
        Handshake._ask(self, fact)
        assert self._channel is not None
        self._outbox += b"".join(self._channel.seal(ANSWER.encode(Ack())))


class LeavesTheTimerArmed(Handshake):
    __slots__ = ()

    def _finish(self, fact: Any) -> None:
        self._events.append(fact)


class TalksOnWhenClosed(Handshake):
    __slots__ = ()

    def _give_up(self, fact: Any) -> None:
        outbox = self._outbox
        Handshake._give_up(self, fact)
        self._outbox = outbox


class ReadsOnWhenClosed(Handshake):
    __slots__ = ()

    def receive_data(self, data: Any, now: float) -> None:
        self._frames.feed(data)
        Handshake.receive_data(self, b"", now) if not data else self._advance(now)


class LosesTheRest(Handshake):
    __slots__ = ()

    def hand_over(self) -> Any:
        return attrs.evolve(Handshake.hand_over(self), rest=b"")


class UsesANonceTwice(Handshake):
    __slots__ = ()

    def _accept(self, fact: Any) -> None:
        Handshake._accept(self, fact)
        assert self._channel is not None
        self._channel.send_nonce -= 1


class NeverGivesUp(Handshake):
    __slots__ = ()

    def handle_timeout(self, now: float) -> None:
        pass


class ForgetsThatItIsLate(Handshake):
    __slots__ = ()

    def admit(self, now: float) -> None:
        early = now if self._deadline is None else min(now, self._deadline - 1.0)
        Handshake.admit(self, early)


BROKEN: Final[dict[type[Handshake], tuple[str, int]]] = {
    SendsMetadataEarly: ("before it has accepted a connection message", 1),
    RearmsTheDeadline: ("is to give up at", 3),
    SaysClosedTwice: ("but Closed is not its last event, once", 1),
    AnswersUnasked: ("R.ack for hello without a verdict", 4),
    LeavesTheTimerArmed: ("R in ESTABLISHED has a deadline", 7),
    TalksOnWhenClosed: ("is closed and still sends", 2),
    ReadsOnWhenClosed: ("is changed by bytes", 1),
    LosesTheRest: ("bytes are lost on the way to the session", 9),
    UsesANonceTwice: ("R in ANSWER has the wrong key or nonces", 5),
}


@pytest.mark.parametrize("machine", BROKEN, ids=lambda machine: machine.__name__)
def test_a_broken_machine_is_found(machine: type[Handshake]) -> None:
    what, steps = BROKEN[machine]
    with pytest.raises(Violated) as caught:
        explore(machine.__name__, lone(True, without=FEW, machine=machine))
    print(caught.value)
    assert what in caught.value.what
    assert len(caught.value.path) == steps


def test_a_machine_that_never_gives_up_is_found() -> None:
    graph = explore("stuck", pair(machine=NeverGivesUp))
    with pytest.raises(Violated) as caught:
        graph.check_liveness(is_quiet, "with time alone")
    print(caught.value)
    assert caught.value.path == []


def test_a_machine_that_is_established_late_is_found() -> None:
    world = lone(True, without=FEW, oversleeps=True, machine=ForgetsThatItIsLate)
    with pytest.raises(Violated) as caught:
        explore("late", world)
    print(caught.value)
    assert "without a verdict in time" in caught.value.what
    assert caught.value.path[-2:] == ["R: deadline passes, nobody says so", "R: admit"]


def test_a_table_that_goes_on_after_a_refusal_is_found() -> None:
    rows = tuple(
        attrs.evolve(row, dest=State.ANSWER) if row.trigger == "refuse" else row
        for row in TABLE.rows
    )
    table = Table("broken", State, State.IDLE, rows)
    with pytest.raises(Violated) as caught:
        explore("goes on", pair(table=table))
    print(caught.value)
    assert "has refused, and is in ANSWER" in caught.value.what


def test_a_machine_that_welcomes_itself_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def read_metadata(machine: Any, now: float) -> bool:
        body = machine._frames.next(TAG_SIZE, TAG_SIZE + 2)
        if body is None:
            return False
        told = CONNECTION_METADATA.decode(machine._open(body))
        remote = Remote(machine._greeting.peer_id, machine._greeting.message, told)
        event = Authenticated(remote, MAINNET.announced, now)
        machine._fire("authenticate", event)
        return True

    monkeypatch.setitem(handshake._READERS, State.METADATA, read_metadata)
    with pytest.raises(Violated) as caught:
        explore("welcomes itself", pair(same=True))
    print(caught.value)
    assert "has authenticated itself" in caught.value.what


def test_swapped_nonces_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = handshake.derive_nonces
    monkeypatch.setattr(handshake, "derive_nonces", lambda i, r: right(i, r)[::-1])
    with pytest.raises(Violated, match="wrong key or nonces") as caught:
        explore("swapped", pair())
    print(caught.value)
