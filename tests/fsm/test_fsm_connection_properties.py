"""What holds whatever the bytes, the chopping and the moment."""

from __future__ import annotations

import contextlib
import itertools
from typing import Any

import pytest
from connection_pair import (
    BOOTSTRAP,
    DISCONNECT,
    PHASES,
    USER,
    Scene,
    opened,
    pair,
    raw,
    reach,
    scene,
    shake,
)
from fsm_puppet import ROLE_NAMES, ROLES, RUNNER_NAMES, framed
from hypothesis import given, settings
from hypothesis import strategies as st

from tezos_p2p.fsm.lifecycle import State
from tezos_p2p.fsm.machine import LocalProtocolError
from tezos_p2p.spec import Closed, Direction, Motive, Reason

pytestmark = [
    pytest.mark.parametrize("incoming", ROLES, ids=ROLE_NAMES.get),
    pytest.mark.parametrize("runner", RUNNER_NAMES),
]

#: What ends the recorded streams: plaintexts of their last chunks, or bytes as they are.
ENDS: dict[str, tuple[list[bytes], bytes]] = {
    "nothing": ([], b""),
    "disconnect": ([DISCONNECT, raw(b"never") + BOOTSTRAP], b""),
    "disconnect mid-chunk": ([raw(b"last") + DISCONNECT + raw(b"never")], b""),
    "unknown tag": ([raw(b"last") + raw(b"never", 0x77), raw(b"never")], b""),
    "garbage": ([], framed(bytes(40))),
    "short chunk": ([], b"\0\x0f" + bytes(15)),
}


def recorded(it: Scene, end: str) -> bytes:
    """Make all that the peer sends; the handshake has been started."""
    hello = it.peer.hello()
    it.peer.meet(bytes(it.sent[:105]))
    big = raw(bytes(3_000))
    plain = [
        *(b"\0\xff", b"\0"),
        *(
            raw(b"first") + BOOTSTRAP,
            raw(b"second"),
            b"",
            big[:5],
            big[5:7],
            big[7:2_000],
        ),
        *(big[2_000:] + raw(b"third") + raw()[:3], raw()[3:]),
    ]
    chunks, rest = ENDS[end]
    return hello + b"".join(map(it.peer.seal, [*plain, *chunks])) + rest


def chopped(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def play(
    incoming: bool, runner: str, end: str, cuts: list[int], late: bool, inline: bool
) -> tuple[list[Any], list[Any], State, bytes]:
    """Run a whole connection; admit at once, or once all bytes are there."""
    it = scene(incoming, runner, inline=inline)
    it.machine.start(0.0)
    it.drain()
    for piece in chopped(recorded(it, end), cuts):
        if late:
            it.give(piece)
        else:
            it.give_admitting(piece)
    if late:
        it.machine.admit(0.0)
        it.drain()
    it.settle()
    it.give(b"")
    it.the_end()
    return it.events, it.got, it.machine.state, bytes(it.sent)


def same(whole: Any, parts: Any, end: str) -> None:
    """Compare two plays of the same bytes."""
    assert parts[:3] == whole[:3]
    # What we had not sent when they ended it is not sent any more.
    assert parts[3].startswith(whole[3])


@settings(max_examples=40)
@given(
    cuts=st.lists(st.integers(0, 4_000), max_size=30),
    end=st.sampled_from(sorted(ENDS)),
    late=st.booleans(),
    inline=st.booleans(),
)
def test_a_connection_does_not_care_how_its_bytes_are_chopped(
    incoming: bool, runner: str, cuts: list[int], end: str, late: bool, inline: bool
) -> None:
    whole = play(incoming, runner, end, [], late, inline)
    same(whole, play(incoming, runner, end, cuts, late, inline), end)
    messages = [each for each in whole[1] if isinstance(each, bytes)]
    expected = [b"first", b"second", bytes(3_000), b"third", b""]
    if end in ("disconnect mid-chunk", "unknown tag"):
        expected.append(b"last")
    assert messages == expected


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("late", [False, True])
def test_a_connection_goes_the_same_way_byte_by_byte(
    incoming: bool, runner: str, end: str, late: bool
) -> None:
    whole = play(incoming, runner, end, [], late, False)
    every = list(range(5_000))
    same(whole, play(incoming, runner, end, every, late, False), end)


PIECES = st.lists(
    st.one_of(
        st.binary(max_size=60),
        st.integers(0, 200).map(lambda n: framed(bytes(n))),
        st.sampled_from([b"\0\x12", b"\0\x10", b"\0\0", bytes(70_000), b"\xff\xff"]),
    ),
    max_size=8,
)
INPUTS = st.lists(
    st.one_of(
        st.tuples(st.just("bytes"), st.binary(max_size=40)),
        st.tuples(st.just("chunk"), st.binary(max_size=40)),
        st.tuples(
            st.just("chunk"),
            st.sampled_from([raw(b"x"), BOOTSTRAP, DISCONNECT, b"", raw()]),
        ),
        st.tuples(st.just("time"), st.floats(0, 12)),
        st.tuples(st.just("gone"), st.sampled_from([None, 32, 104, 110, 5, 12_345])),
        st.tuples(st.just("write"), st.integers(-1, 40)),
    ),
    max_size=12,
)
MOMENTS = [state for state in State if state is not State.HANDSHAKE] + [
    phase for phase in PHASES if phase != "open"
]


def at(moment: Any, incoming: bool, runner: str) -> Scene:
    if isinstance(moment, State):
        return reach(moment, incoming, runner)
    return shake(scene(incoming, runner), moment)


def at_most_one_end(it: Scene) -> None:
    """Check what must hold at any moment, whatever happened before."""
    it.reads = True
    it.drain()
    assert len(it.ends()) == it.machine.ended
    if it.machine.ended:
        it.the_end()


@settings(max_examples=60)
@given(
    moment=st.sampled_from(MOMENTS),
    inputs=INPUTS,
    writes=st.booleans(),
    reads=st.booleans(),
    pulls=st.booleans(),
)
def test_no_input_at_any_moment_raises_and_it_ends_at_most_once(
    incoming: bool,
    runner: str,
    moment: Any,
    inputs: list[tuple[str, Any]],
    writes: bool,
    reads: bool,
    pulls: bool,
) -> None:
    it = at(moment, incoming, runner)
    it.writes, it.reads, it.pulls = writes, reads, pulls
    for kind, value in inputs:
        if kind == "bytes":
            it.give(value)
        elif kind == "chunk":
            it.say(value) if it.peer.key else it.give(value)
        elif kind == "time":
            it.now = max(it.now, value)
            it.machine.handle_timeout(it.now)
        elif kind == "gone":
            it.machine.connection_lost(value, it.now, Direction.WRITE)
        else:
            it.machine.data_to_send(value)
        it.drain()
    at_most_one_end(it)


@given(moment=st.sampled_from(MOMENTS), pieces=PIECES)
@settings(max_examples=60)
def test_garbage_at_any_moment_raises_nothing_and_ends_at_most_once(
    incoming: bool, runner: str, moment: Any, pieces: list[bytes]
) -> None:
    it = at(moment, incoming, runner)
    for piece in pieces:
        it.give(piece)
    at_most_one_end(it)


@given(
    flips=st.lists(
        st.tuples(st.integers(0, 10_000), st.integers(1, 255)), min_size=1, max_size=3
    ),
    cuts=st.lists(st.integers(0, 4_000), max_size=6),
)
@settings(max_examples=60)
def test_nothing_behind_damaged_bytes_is_ever_given(
    incoming: bool, runner: str, flips: list[tuple[int, int]], cuts: list[int]
) -> None:
    it = opened(incoming, runner)
    payloads = [bytes([n]) * n for n in range(30)]
    chunks = [it.peer.seal(raw(payload)) for payload in payloads]
    good = b"".join(chunks)
    wire = bytearray(good)
    for place, mask in flips:
        wire[place % len(wire)] ^= mask
    for piece in chopped(bytes(wire), cuts):
        it.give(piece)
    whole = next(
        (i for i, (a, b) in enumerate(zip(good, wire, strict=True)) if a != b), 0
    )
    intact, end = 0, 0
    for chunk in chunks:
        end += len(chunk)
        intact += wire[:end] == good[:end]
    assert it.got == payloads[:intact]
    if wire != good:
        assert whole < len(good)
        assert intact < len(chunks)
    at_most_one_end(it)


#: One call with its argument; the clock is the number of the call.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("peer"), st.integers(1, 3_000)),
        st.tuples(st.just("send"), st.integers(0, 300)),
        st.tuples(st.just("write"), st.integers(0, 400)),
        st.tuples(st.just("pull"), st.integers(1, 5)),
        st.tuples(st.just("work"), st.none()),
        st.tuples(st.just("eof"), st.none()),
        st.tuples(st.just("close"), st.none() | st.integers(1, 30)),
    ),
    max_size=25,
)


@settings(max_examples=60)
@given(steps=STEPS, small=st.booleans())
def test_any_sequence_of_inputs_ends_at_most_once_and_is_repeatable(
    incoming: bool, runner: str, steps: list[tuple[str, Any]], small: bool
) -> None:
    def run(chosen: str) -> tuple[list[Any], list[Any], bytes, State]:
        limits = {
            "incoming_message_queue_size": 300 if small else None,
            "outgoing_message_queue_size": 700 if small else None,
            "binary_chunks_size": 60 if small else None,
        }
        it = opened(incoming, chosen, limits=limits)
        it.writes = it.pulls = False
        wire = b"".join(it.peer.seal(raw(bytes(n)) + BOOTSTRAP) for n in range(120))
        sent = 0
        for now, (kind, value) in enumerate(steps):
            it.now = float(now)
            machine = it.machine
            if kind == "peer":
                if room := min(machine.read_allowance, value):
                    it.give(wire[:room] or b"")
                    wire = wire[room:]
            elif kind == "send" and machine.state is State.OPEN:
                sent += machine.send(bytes(value)) and value + 6
            elif kind == "write":
                it.sent += machine.data_to_send(value)
            elif kind == "pull":
                it.got += [machine.receive() for _ in range(value)]
            elif kind == "work":
                machine.handle_timeout(it.now)
            elif kind == "eof":
                it.give(b"")
            elif kind == "close":
                machine.close(USER, it.now, value and it.now + value)
            it.drain()
            lost = machine.state in (State.FINISHING, State.CLOSED)
            assert machine.queued == (machine.sealed if lost else sent)
        at_most_one_end(it)
        plain = b"".join(it.hear())
        assert len(plain) == it.machine.sealed
        return it.events, it.got, bytes(it.sent), it.machine.state

    first = run(runner)
    assert run(runner) == first
    assert run("compiled") == first


@settings(max_examples=30)
@given(
    sizes=st.lists(st.integers(0, 40) | st.integers(0, 3_000), max_size=20),
    chunk=st.sampled_from([19, 21, 60, 1_100, None]),
    joins=st.booleans(),
    queue=st.sampled_from([1, 2_000, None]),
)
def test_whatever_is_sent_arrives_whatever_the_settings(
    incoming: bool,
    runner: str,
    sizes: list[int],
    chunk: int | None,
    joins: bool,
    queue: int | None,
) -> None:
    limits = {
        "binary_chunks_size": chunk,
        "incoming_message_queue_size": queue,
        "outgoing_message_queue_size": queue,
    }
    it = pair(incoming, runner, limits, joins)
    payloads = [bytes([n % 251]) * size for n, size in enumerate(sizes)]
    for payload in payloads:
        for machine in it.ends:
            if not machine.send(payload):
                it.pump()
                assert machine.send(payload)
    it.pump()
    assert it.got == (payloads, payloads)
    a, b = it.ends
    a.close(USER, 1.0, 2.0)
    b.receive_data(b"", 1.0)
    a.receive_data(b"", 1.0)
    it.pump()
    assert [machine.ended for machine in it.ends] == [True, True]
    ends = [events[-1] for events in it.events]
    assert all(isinstance(end, Closed) for end in ends)
    assert ends[0].disconnection is USER
    assert ends[1].disconnection.reason is Reason.CONNECTION_CLOSED_BY_PEER


@given(moment=st.sampled_from(MOMENTS), call=st.integers(0, 3))
@settings(max_examples=40)
def test_a_call_is_done_or_refused_and_raises_nothing_else(
    incoming: bool, runner: str, moment: Any, call: int
) -> None:
    it = at(moment, incoming, runner)
    calls = (
        lambda: it.machine.start(0.0),
        lambda: it.machine.admit(0.0),
        lambda: it.machine.refuse(Motive.NO_MOTIVE, (), 0.0),
        lambda: it.machine.send(b"one"),
    )
    with contextlib.suppress(LocalProtocolError):
        calls[call]()
    at_most_one_end(it)
