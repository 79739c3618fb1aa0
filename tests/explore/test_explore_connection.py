"""The real connection machine, in pairs, explored until nothing new is met.

In every state of every world, for every end, on its own:

- `Closed` is told exactly once and last; then no time is waited for, nothing sent, no
  byte asked for, and neither bytes, the end or the loss of the stream, time, nor a close
  change anything; what was not pulled stays, unless its owner had ended it;
- without work left, exactly what has arrived is given, in order: by `receive`, and as
  events; with work left, a beginning of it.  Whoever is closed because the peer's
  stream ended, was lost, or was wrong, or because of a Disconnect, still gives all that
  had arrived before;
- after a close of either kind `receive` gives nothing, no control message is told, and
  nothing of theirs is kept;
- what leaves is a beginning of what `send` has taken, in chunks with the right nonces;
  a draining close that ends without an error has let all of it leave;
- `send` refuses if, and only if, the queue is not empty and its weights would reach the
  limit; `SendReady` is told once for what was refused, and never without; it is not
  owed by an open end that has nothing left to send;
- bytes are allowed exactly by an open end without work left, or one that is leaving,
  that was not told the end of the stream; work that is left asks to be called at once,
  or will when messages are pulled and events read; a deadline is armed exactly while
  leaving (or shaking hands), is ours, and only ever becomes earlier;
- the weights of both queues are the sums of what is in them, 0 when empty, and below
  the limits or one message's; what is kept of their bytes is bounded, and no more than
  the beginning of a chunk when no work is left;
- what its owner may not do now raises `LocalProtocolError` and changes nothing.

And of both: each is given a beginning of what the other has sent; all of it, if the
other drained and nobody interfered.

Liveness: whatever has happened, and in whatever order what happens by itself happens
(bytes written and delivered, messages pulled, events read, calls that are asked for;
no deadline), it comes to an end: both are closed, or both are open, everything is
delivered and pulled, and nothing is owed.  So nobody is ever called again for nothing.
"""

from __future__ import annotations

import errno
import functools
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import attrs
import connection_setting
import pytest
from connection_end import End
from connection_setting import KEYED, LEFT_OUT, Rules, look_at
from connection_world import ConnectionWorld, both_open, from_the_start
from explorer import Graph, Violated, check_slots, explore, without_large
from handshake_world import TICK

from tezos_p2p.fsm.connection import Connection
from tezos_p2p.fsm.incoming import Incoming
from tezos_p2p.fsm.lifecycle import TABLE, State
from tezos_p2p.fsm.outgoing import Outgoing

# Under coverage, on a busy machine.
pytestmark = pytest.mark.timeout(600)

DRAIN: Final = ("drain",)
BOTH: Final = ("close", "drain")
RESET: Final = ((errno.ECONNRESET, "READ"),)
LOST: Final = (*RESET, (errno.ETIMEDOUT, "READ"), (errno.EHOSTUNREACH, "WRITE"))

_ALL: Final[dict[str, Rules]] = {
    "open, no limits": Rules(closes=(BOTH, DRAIN)),
    "open, one message fills": Rules(work=1, waiting=(256, 464), closes=(BOTH, BOTH)),
    "open, streams are lost": Rules(
        most=(2, 1), work=1, waiting=(256, 464), closes=(BOTH, DRAIN), lost=LOST
    ),
    "open, two messages fill": Rules(
        sends=(("A", "B", "boot"), ()),
        most=(3, 0),
        work=1,
        waiting=(300, 500),
        closes=((), ("close",)),
    ),
    "open, cut anywhere": Rules(
        sends=(("A", "B"), ("A",)),
        most=(3, 1),
        work=1,
        waiting=(300, 500),
        half=2,
        slice_size=20,
        closes=(DRAIN, ()),
    ),
    "open, cut behind the first byte": Rules(
        sends=(("A", "B", "bye"), ()), most=(3, 0), half=1, slice_size=20
    ),
    "open, bodies referred to": Rules(
        sends=(("A", "B"), ()),
        most=(3, 0),
        work=6,
        half=2,
        slice_size=20,
        refers=True,
        closes=(DRAIN, ()),
    ),
    "open, tiny chunks, not joined": Rules(
        sends=(("A", "B"), ()), most=(3, 0), work=6, half=2, slice_size=5, joins=False
    ),
    "open, lazy owners, control messages": Rules(
        sends=(("A", "boot"), ()),
        most=(3, 0),
        controls=1,
        waiting=(None, 464),
        lazy=True,
        closes=((), DRAIN),
    ),
    "open, control messages inline": Rules(
        sends=(("A", "boot"), ("boot",)),
        most=(3, 1),
        work=1,
        waiting=(300, 500),
        inline=True,
        closes=((), DRAIN),
    ),
    "open, forger": Rules(
        sends=(("A", "bye", "X", "Y"), ("A",)),
        most=(2, 1),
        work=1,
        waiting=(256, None),
        closes=(DRAIN, ()),
    ),
    "open, adversary on one link": Rules(
        sends=(("A",), ()),
        most=(3, 0),
        work=1,
        waiting=(256, None),
        on_wire=(1,),
        half=2,
        slice_size=8,
        closes=((), DRAIN),
    ),
    "open, adversary on both links": Rules(
        most=(2, 1), work=1, waiting=(256, None), on_wire=(0, 1), slice_size=8
    ),
    "open, bytes that were not asked for": Rules(
        most=(3, 1),
        work=1,
        waiting=(256, None),
        unasked=True,
        read_size=20,
        slice_size=8,
        closes=((), DRAIN),
    ),
    "open, last nonces": Rules(most=(3, 1), work=5, last=2, closes=(BOTH, DRAIN)),
    "from the start": Rules(
        most=(1, 1), work=1, refuses=True, closes=(BOTH, BOTH), lost=RESET
    ),
    "from the start, cut anywhere": Rules(
        most=(1, 0), work=1, refuses=True, half=2, lazy=True, closes=(DRAIN, ())
    ),
}
WORLDS: Final = without_large(_ALL, "open, cut anywhere", "open, bodies referred to")
#: Small enough to be explored again and again.
SMALL: Final = (
    "from the start",
    "open, bytes that were not asked for",
    "open, cut behind the first byte",
    "open, two messages fill",
)

#: Lines of the table (trigger, source) that no world takes, each with the reason.
UNTAKEN: Final[dict[tuple[str, State], str]] = {}


def world_of(name: str, **changes: Any) -> ConnectionWorld:
    make = from_the_start if name.startswith("from the start") else both_open
    return make(attrs.evolve(WORLDS[name], **changes))


def explore_all(name: str, world: ConnectionWorld, recheck: int = 0) -> Graph:
    with world.setting.rules.in_force():
        return explore(name, world, limit=100_000, recheck=recheck)


@functools.cache
def explored(name: str) -> tuple[Graph, ConnectionWorld]:
    """Explore a world once for all tests."""
    world = world_of(name)
    return explore_all(name, world, recheck=97), world


def check_ends(graph: Graph) -> None:
    """Raise `Violated` unless all quiet moves lead to rest, in whatever order.

    That is so if states from which no quiet move leads are at rest, and no quiet moves
    lead in a circle: both are checked.
    """
    left: list[int] = []
    before: list[list[int]] = [[] for _ in graph.edges]
    for state, edges in enumerate(graph.edges):
        nexts = [there for move, there in edges if move.quiet]
        left.append(len(nexts))
        for there in nexts:
            before[there].append(state)
        if not nexts and not graph.resting[state]:
            what = "nothing more happens by itself, and not all is done"
            raise Violated(graph.name, what, graph.path_to(state))
    todo = [state for state, count in enumerate(left) if not count]
    for state in todo:
        for source in before[state]:
            left[source] -= 1
            if not left[source]:
                todo.append(source)
    for state, count in enumerate(left):
        if count:
            raise Violated(graph.name, "it never ends by itself", graph.path_to(state))


# -- the machine -----------------------------------------------------------------------


@pytest.mark.parametrize("name", WORLDS)
def test_properties_hold_in_every_state_until_nothing_new_is_met(
    name: str, report: Callable[[str], None]
) -> None:
    graph, _ = explored(name)
    assert graph.states == len(graph.index) == len(graph.origin)
    assert graph.merged > 0
    report(f"connection, {graph}")


@pytest.mark.parametrize("name", WORLDS)
def test_whatever_has_happened_it_comes_to_an_end(name: str) -> None:
    graph, _ = explored(name)
    check_ends(graph)


def test_every_line_of_the_table_is_taken(report: Callable[[str], None]) -> None:
    taken = {line for name in WORLDS for line in explored(name)[1].setting.taken}
    listed = [(trigger, source) for trigger, source, _ in TABLE.lines()]
    assert taken <= set(listed)
    assert [line for line in listed if line not in taken] == list(UNTAKEN)
    report(f"connection, rows: {len(TABLE.rows)} as {len(listed)} lines, all taken")


def test_all_worlds_together(report: Callable[[str], None]) -> None:
    graphs = [explored(name)[0] for name in WORLDS]
    report(
        f"connection, together: {sum(g.states for g in graphs)} states, "
        f"{sum(g.transitions for g in graphs)} transitions, "
        f"{sum(g.merged for g in graphs)} merged worlds compared, "
        f"{sum(g.seconds for g in graphs):.1f} s"
    )


def test_the_worlds_meet_what_they_are_for() -> None:
    met = {name: explored(name)[1].setting.met for name in WORLDS}
    assert "joined messages" in met["open, no limits"]
    assert {"a refusal", "a full queue", "bytes kept"} <= met["open, one message fills"]
    assert "a full queue that is not half free" in met["open, two messages fill"]
    assert "unread control messages" in met["open, lazy owners, control messages"]
    assert "a part of a message" in met["open, tiny chunks, not joined"]
    assert all("work left" in met[name] for name in WORLDS if WORLDS[name].work == 1)


def test_endings_are_those_of_the_protocol() -> None:
    found = {ending for name in WORLDS for ending in explored(name)[1].setting.endings}
    assert sorted(found) == sorted(ENDINGS)


_BY_PEER: Final = "CONNECTION_CLOSED_BY_PEER"
_ERROR: Final = "CONNECTION_CLOSED_BY_UNEXPECTED_ERROR"
_FAILED: Final = "AUTHENTICATION_REJECTED_ERROR"
#: State, reason, errors, whether it greylists: every way in which connections end.
ENDINGS: Final = (
    ("DRAINING", "AUTHENTICATION_REJECTED", ("REJECTED", "CANCELED"), False),
    ("DRAINING", "AUTHENTICATION_REJECTED", ("REJECTED", "CONNECTION_CLOSED"), False),
    ("DRAINING", "AUTHENTICATION_REJECTED", ("REJECTED", "TIMEOUT"), False),
    ("DRAINING", "UNKNOWN_REASON", ("CANCELED",), False),
    ("DRAINING", "UNKNOWN_REASON", ("CONNECTION_CLOSED",), False),
    ("DRAINING", "UNKNOWN_REASON", ("TIMEOUT",), False),
    ("FINISHING", _BY_PEER, (), False),
    ("FINISHING", _ERROR, ("CODEC_FAILED",), False),
    ("FINISHING", _ERROR, ("CONNECTION_ERROR",), False),
    ("FINISHING", _ERROR, ("DECIPHER_ERROR",), False),
    ("FINISHING", _ERROR, ("DECODING_ERROR",), True),
    ("FINISHING", "CONNECTION_LOST", (), False),
    (
        "HANDSHAKE",
        "ACK_READ_ERROR",
        ("REJECTED_SOCKET_CONNECTION", "CONNECTION_CLOSED"),
        False,
    ),
    ("HANDSHAKE", "ACK_READ_ERROR", ("TIMEOUT",), False),
    ("HANDSHAKE", "AUTHENTICATION_REJECTED_BY_PEER", ("REJECTED_BY_NACK",), False),
    ("HANDSHAKE", _FAILED, ("CONNECTION_CLOSED",), False),
    ("HANDSHAKE", _FAILED, ("TIMEOUT",), False),
    ("HANDSHAKE", "UNKNOWN_REASON", (), False),
    ("IDLE", "UNKNOWN_REASON", (), False),
    ("LINGERING", "AUTHENTICATION_REJECTED", ("REJECTED",), False),
    ("LINGERING", "UNKNOWN_REASON", (), False),
    ("OPEN", _BY_PEER, (), False),
    ("OPEN", _ERROR, ("CODEC_FAILED",), False),
    ("OPEN", _ERROR, ("CONNECTION_ERROR",), False),
    ("OPEN", _ERROR, ("DECIPHER_ERROR",), False),
    ("OPEN", _ERROR, ("DECODING_ERROR",), True),
    ("OPEN", _ERROR, ("INVALID_INCOMING_CIPHERTEXT_SIZE",), False),
    ("OPEN", _ERROR, ("NONCES_EXHAUSTED",), False),
    ("OPEN", _ERROR, ("READ_ALLOWANCE_EXCEEDED",), False),
    ("OPEN", "CONNECTION_LOST", (), False),
    ("OPEN", "UNKNOWN_REASON", (), False),
)

# -- the explorer ----------------------------------------------------------------------


class InPlace(ConnectionWorld):
    """A world whose ends are changed instead of cloned."""

    __slots__ = ()

    def touch(self, index: int) -> End:
        end = self.ends[index]
        end._id = None
        end.now += TICK
        return end


def test_clones_are_what_a_replay_from_the_start_gives() -> None:
    name = "from the start"
    graph, first = explored(name)
    keys = list(graph.index)
    with first.setting.rules.in_force():
        for state in range(0, graph.states, 31):
            world = InPlace(first.setting)
            for move in graph.moves_to(state):
                move.act(world)
                world._settle()
            assert world.key() == keys[state], graph.path_to(state)


@pytest.mark.parametrize("name", SMALL)
def test_worlds_with_equal_keys_behave_alike_all_of_them(name: str) -> None:
    graph = explore_all(name, world_of(name), recheck=1)
    assert graph.merged == graph.transitions - graph.states + 1


SEEDED: Final = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
from test_explore_connection import SMALL, explore_all, world_of
for name in SMALL[:2]:
    graph = explore_all(name, world_of(name))
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
    assert len(found[0].splitlines()) == 2


def test_a_key_that_leaves_out_too_much_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    names = tuple(name for name in KEYED[Connection] if name != "_eof")
    monkeypatch.setitem(connection_setting.LOOKS, Connection, look_at(names))
    monkeypatch.setattr(End, "image", forgetful)
    with pytest.raises(Violated, match="the key is too coarse"):
        explore_all("forgetful", world_of("open, no limits"), recheck=1)


def forgetful(end: End) -> Any:
    """Forget that the end of the stream was told."""
    blind = end.copy()
    blind.deaf = ""
    return IMAGE(blind)


IMAGE: Final = End.image


def test_a_new_member_of_a_machine_must_be_accounted_for() -> None:
    class Grown(Outgoing):
        __slots__ = ("_more",)

    keyed, left_out = KEYED[Outgoing], LEFT_OUT[Outgoing]
    check_slots(Outgoing, keyed, left_out)
    with pytest.raises(TypeError, match="'_more'"):
        check_slots(Grown, keyed, left_out)
    with pytest.raises(TypeError, match="'_gone'"):
        check_slots(Outgoing, (*keyed, "_gone"), left_out)


# -- broken machines -------------------------------------------------------------------


class DoesNotPurge(Connection[Any]):
    __slots__ = ()

    def _purge(self) -> None:
        pass


class PurgesOnlyMessages(Connection[Any]):
    __slots__ = ()

    def _purge(self) -> None:
        events = self._events
        Connection._purge(self)
        self._events = events


class SaysClosedTwice(Connection[Any]):
    __slots__ = ()

    def _stop(self, event: Any) -> None:
        Connection._stop(self, event)
        self._tell(event)


class SkipsWhatIsLeft(Connection[Any]):
    __slots__ = ()

    def _meet_their_end(self, error: Any, direction: Any) -> None:
        if self._in is not None:
            self._in.stop()
        Connection._meet_their_end(self, error, direction)


class NeverFinishes(Connection[Any]):
    __slots__ = ()

    def _work(self, data: Any) -> None:
        if self.state is not State.FINISHING:
            Connection._work(self, data)


class LeavesTooEarly(Connection[Any]):
    __slots__ = ()

    def _check_sent(self) -> None:
        if self._out is not None and self._out.fill:
            self._out.clear()
        Connection._check_sent(self)


class ForgetsWhatWaits(Connection[Any]):
    __slots__ = ()

    def _meet_their_end(self, error: Any, direction: Any) -> None:
        if self.state is State.DRAINING:
            self._out.clear()
            self._end(self.disconnection)
        else:
            Connection._meet_their_end(self, error, direction)


class LingersOn(Connection[Any]):
    __slots__ = ()

    def _meet_their_end(self, error: Any, direction: Any) -> None:
        if self.state is State.LINGERING:
            self._eof = True
        else:
            Connection._meet_their_end(self, error, direction)


class ReadsOnWhenFull(Connection[Any]):
    __slots__ = ()

    @property
    def read_allowance(self) -> int:
        allowed = Connection.read_allowance.__get__(self)
        return allowed or (64 if self.state is State.OPEN and not self._eof else 0)


class PutsItOff(Connection[Any]):
    __slots__ = ()

    def close(self, reason: Any, now: float, deadline: float | None = None) -> None:
        Connection.close(self, reason, now, deadline)
        if self.state is State.DRAINING and deadline is not None:
            self._deadline = deadline


class TellsOfNoRoom(Outgoing):
    __slots__ = ()

    def ready(self) -> bool:
        return False


class TellsOfRoomTwice(Outgoing):
    __slots__ = ()

    def ready(self) -> bool:
        refused = self.refused
        is_ready = Outgoing.ready(self)
        self.refused = refused
        return is_ready


class TakesOneTooMany(Outgoing):
    __slots__ = ()

    def put(self, header: bytes, payload: bytes) -> bool:
        limit = self._limit
        self._limit = limit + 1
        taken = Outgoing.put(self, header, payload)
        self._limit = limit
        return taken


class SleepsWhenFull(Incoming[Any]):
    __slots__ = ()

    def may_go_on(self, unread: int) -> bool:
        return self._waits_for <= 0 and Incoming.may_go_on(self, unread)


class NeverSleeps(Incoming[Any]):
    __slots__ = ()

    def may_go_on(self, unread: int) -> bool:
        return self.stalled


class ReadsBehindDisconnect(Incoming[Any]):
    __slots__ = ()

    def work(self, data: Any, unread: int) -> None:
        Incoming.work(self, data, unread)
        if self.disconnected:
            self.disconnected = False
            Incoming.work(self, b"", unread)


class DropsAPart(Incoming[Any]):
    __slots__ = ()

    def _keep(self, part: bytes) -> None:
        if self._parts is None:
            Incoming._keep(self, part)
        else:
            Incoming._keep(self, bytes(len(part)))


_FULL, _FULLER = "open, one message fills", "open, two messages fill"
#: For each: a world, what is found, and the number of moves that lead to it.
BROKEN: Final[dict[type, tuple[str, str, int]]] = {
    DoesNotPurge: ("open, no limits", "R in OPEN is not ended, or purged, by close", 3),
    PurgesOnlyMessages: (
        "open, lazy owners, control messages",
        "R in LINGERING tells of control messages after a close",
        4,
    ),
    SaysClosedTwice: ("open, no limits", "tells ['Closed', 'Closed'] after close", 0),
    SkipsWhatIsLeft: (_FULL, "has got (('A0',), ()) and gives ((), ())", 5),
    NeverFinishes: (_FULL, "it never ends by itself", 2),
    LeavesTooEarly: (_FULL, "I in LINGERING counts 0 and 0 for 8 bytes", 2),
    ForgetsWhatWaits: (_FULL, "it drained without a fault, and not all has left", 4),
    LingersOn: ("open, no limits", "nothing more happens by itself", 3),
    ReadsOnWhenFull: (_FULL, "R in OPEN allows 64 bytes", 3),
    PutsItOff: (_FULL, "is changed by a later deadline", 2),
    TellsOfNoRoom: (_FULL, "I in OPEN has lost SendReady", 3),
    TellsOfRoomTwice: (_FULL, "I in OPEN does not know what it refused", 3),
    TakesOneTooMany: (_FULL, "A1 is taken", 2),
    SleepsWhenFull: (_FULLER, "is never called again for the work that is left", 7),
    NeverSleeps: (_FULLER, "it never ends by itself", 3),
    ReadsBehindDisconnect: (
        "open, cut behind the first byte",
        "R in OPEN gives ('B1',) when () has arrived",
        4,
    ),
    DropsAPart: ("open, tiny chunks, not joined", "when ('B0',) has arrived", 6),
}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
def test_a_broken_machine_is_found(broken: type) -> None:
    name, what, steps = BROKEN[broken]
    part = broken.__mro__[1]
    replaced = {"parts": {part.__name__: broken}}
    changes: Any = {"machine": broken} if part is Connection else replaced
    with pytest.raises(Violated) as caught:
        check_ends(explore_all(broken.__name__, world_of(name, **changes)))
    print(caught.value)
    assert what in caught.value.what
    assert len(caught.value.path) == steps
