"""Every call in every state: what is legal goes on, what is not changes nothing."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import pytest
from fsm_puppet import ROLE_NAMES, ROLES, RUNNER_NAMES, Scene, Source, our_local, reach

from tezos_p2p.fsm import Channel, Handshake, LocalProtocolError, State
from tezos_p2p.fsm.handshake import TABLE
from tezos_p2p.spec import Address, Closed, EncodeError, Motive, Point

pytestmark = [
    pytest.mark.parametrize("incoming", ROLES, ids=ROLE_NAMES.get),
    pytest.mark.parametrize("runner", RUNNER_NAMES),
]


def slots_of(thing: object) -> list[str]:
    names = [
        name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())
    ]
    return [name for name in names if name != "__weakref__"]


def frozen(thing: Any) -> Any:
    """Return a copy that shows every change: all slots of all objects of the core."""
    if isinstance(thing, bytearray):
        return bytes(thing)
    if isinstance(thing, deque | list | tuple):
        return tuple(frozen(item) for item in thing)
    if isinstance(thing, OrderedDict):
        return tuple((frozen(key), frozen(value)) for key, value in thing.items())
    if isinstance(thing, Source):
        return thing.calls
    if type(thing).__module__.startswith("tezos_p2p.fsm") and not callable(thing):
        if isinstance(thing, State):
            return thing
        return {name: frozen(getattr(thing, name)) for name in slots_of(thing)}
    return thing


#: All calls that can be refused, with arguments that are legal in themselves.
CALLS: Mapping[str, Callable[[Handshake], object]] = {
    "start": lambda machine: machine.start(1.0),
    "start with deadline": lambda machine: machine.start(1.0, 3.0),
    "admit": lambda machine: machine.admit(1.0),
    "refuse": lambda machine: machine.refuse(Motive.NO_MOTIVE, (), 1.0),
    "refuse with points": lambda machine: machine.refuse(
        Motive.ALREADY_CONNECTED, (Point.parse("127.0.0.1:9732"),), 1.0
    ),
    "hand_over": lambda machine: machine.hand_over(),
}


def is_legal(call: str, state: State) -> bool:
    trigger = call.split()[0]
    return any(trigger == name and source is state for name, source, _ in TABLE.lines())


ILLEGAL = [
    (call, state) for call in CALLS for state in State if not is_legal(call, state)
]
LEGAL = [(call, state) for call in CALLS for state in State if is_legal(call, state)]


@pytest.mark.parametrize("fed", [b"", b"\0\x11junk"], ids=["quiet", "bytes waiting"])
@pytest.mark.parametrize(("call", "state"), ILLEGAL)
def test_a_call_that_the_table_does_not_list_is_refused_and_changes_nothing(
    incoming: bool, runner: str, call: str, state: State, fed: bytes
) -> None:
    it = reach(state, incoming, runner)
    if fed:
        it.machine.receive_data(fed, 0.5)
    before = frozen(it.machine)
    with pytest.raises(LocalProtocolError) as caught:
        CALLS[call](it.machine)
    assert (caught.value.trigger, caught.value.state) == (call.split()[0], state.name)
    assert frozen(it.machine) == before


@pytest.mark.parametrize(("call", "state"), LEGAL)
def test_a_call_that_the_table_lists_leads_where_the_table_says(
    incoming: bool, runner: str, call: str, state: State
) -> None:
    it = reach(state, incoming, runner)
    CALLS[call](it.machine)
    trigger = call.split()[0]
    (dest,) = [
        row.dest
        for name, source, row in TABLE.lines()
        if (name, source) == (trigger, state)
    ]
    assert it.machine.state is dest


def test_the_snapshot_sees_the_smallest_change(incoming: bool, runner: str) -> None:
    def bytes_wait(it: Scene) -> None:
        it.machine.receive_data(b"\0", 0.0)

    def nonce_spent(it: Scene) -> None:
        channel = it.machine._channel
        assert isinstance(channel, Channel)
        channel.seal(b"")

    def random_drawn(it: Scene) -> None:
        it.machine._local.random_bytes(1)

    def key_met(it: Scene) -> None:
        it.machine._local.keys.meet(b"\x09" + bytes(31), bytes(24))

    def sent(it: Scene) -> None:
        it.machine.admit(0.0)
        assert it.machine.data_to_send()
        it.machine.state = State.VERDICT

    for change in (bytes_wait, nonce_spent, random_drawn, key_met, sent):
        it = reach(State.VERDICT, incoming, runner)
        before = frozen(it.machine)
        assert frozen(it.machine) == before
        change(it)
        assert frozen(it.machine) != before


@pytest.mark.parametrize("state", State)
def test_looking_changes_nothing(incoming: bool, runner: str, state: State) -> None:
    it = reach(state, incoming, runner)
    before = frozen(it.machine)
    for _ in range(2):
        assert it.machine.over == (state in (State.HANDED_OVER, State.CLOSED))
        assert it.machine.ended == (state is State.CLOSED)
        assert it.machine.read_allowance == (0 if it.machine.over else 65_537)
        assert it.machine.next_event() is None
        assert it.machine.data_to_send() == b""
        it.machine.next_timeout()
        it.machine.handle_timeout(0.0)
        repr(it.machine)
    assert frozen(it.machine) == before


@pytest.mark.parametrize("state", State)
def test_their_end_is_taken_in_every_state_and_twice_is_harmless(
    incoming: bool, runner: str, state: State
) -> None:
    it = reach(state, incoming, runner)
    told = len(it.events)
    it.give(b"")
    it.give(b"")
    it.give(b"late bytes")
    new = it.events[told:]
    if state in (State.HANDED_OVER, State.CLOSED):
        assert new == []
    elif state is State.IDLE:
        assert new == []  # acted upon by `start`
    else:
        assert [type(event) for event in new] == [Closed]
        it.the_end()


def test_bytes_behind_their_end_are_not_kept(incoming: bool, runner: str) -> None:
    it = reach(State.VERDICT, incoming, runner)
    it.give(b"\0")
    it.give(b"")
    before = frozen(it.machine)
    it.give(b"more")
    assert frozen(it.machine) == before


def test_both_runners_tell_the_same_story(incoming: bool, runner: str) -> None:
    ours = reach(State.ESTABLISHED, incoming, runner)
    other = reach(State.ESTABLISHED, incoming, "compiled")
    assert ours.events == other.events
    assert ours.sent == other.sent


def test_a_handshake_has_slots_only(incoming: bool, runner: str) -> None:
    machine = Handshake(our_local(runner), incoming)
    assert not hasattr(machine, "__dict__")
    assert {field.name for field in attrs.fields(Handshake)} <= set(slots_of(machine))


POINT = Point(Address(1), 9732)


@pytest.mark.parametrize("p2p", [0, 1])
@pytest.mark.parametrize(
    ("motive", "points", "error"),
    [
        (Motive.NO_MOTIVE, (POINT,) * 101, EncodeError),
        (Motive.NO_MOTIVE, (Point(Address(1), 70_000),), EncodeError),
        (70_000, (), ValueError),
    ],
)
def test_a_refusal_that_cannot_be_sent_changes_nothing(
    incoming: bool, runner: str, p2p: int, motive: Any, points: Any, error: type
) -> None:
    it = reach(State.VERDICT, incoming, runner, p2p=p2p)
    before = frozen(it.machine)
    with pytest.raises(error):
        it.machine.refuse(motive, points, 1.0)
    assert frozen(it.machine) == before
    sent = len(it.sent)
    it.machine.refuse(Motive.TOO_MANY_CONNECTIONS, (POINT,), 1.0)
    it.drain()
    # Sealed with the next nonce: none was spent on what was not sent.
    assert it.peer.open(bytes(it.sent[sent:]))[:1] == (b"\1" if p2p else b"\xff")


def test_a_motive_may_be_given_as_a_number(incoming: bool, runner: str) -> None:
    it = reach(State.VERDICT, incoming, runner)
    number: Any = 1
    it.machine.refuse(number, (), 1.0)
    it.drain()
    assert it.the_end().motive is Motive.TOO_MANY_CONNECTIONS


@pytest.mark.parametrize(
    "state", [State.GREETING, State.METADATA, State.ANSWER, State.CLOSED]
)
def test_a_verdict_out_of_place_is_refused_even_when_it_is_too_late(
    incoming: bool, runner: str, state: State
) -> None:
    it = reach(state, incoming, runner)
    before = frozen(it.machine)
    for call in (
        lambda: it.machine.admit(1e6),
        lambda: it.machine.refuse(Motive.NO_MOTIVE, (), 1e6),
    ):
        with pytest.raises(LocalProtocolError):
            call()
        assert frozen(it.machine) == before


@pytest.mark.parametrize(
    "state", [State.METADATA, State.VERDICT, State.ANSWER, State.ESTABLISHED]
)
def test_of_a_failed_handshake_nothing_is_kept(
    incoming: bool, runner: str, state: State
) -> None:
    it = reach(state, incoming, runner)
    assert it.machine._greeting is not None
    it.give(b"")
    assert it.machine.ended
    kept = ("_greeting", "_verdict", "_channel", "_sent", "_outbox", "_events")
    assert not any(getattr(it.machine, name) for name in kept)
    assert len(it.machine._frames) == 0
