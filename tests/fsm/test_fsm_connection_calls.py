"""Every call in every state: what is legal goes on, what is not changes nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import pytest
from connection_pair import (
    CODEC,
    PHASES,
    USER,
    Scene,
    opened,
    raw,
    reach,
    scene,
    shake,
)
from fsm_puppet import OUR_SECRET, ROLE_NAMES, ROLES, RUNNER_NAMES, our_local
from test_fsm_handshake_calls import frozen, slots_of

from tezos_p2p.fsm.connection import _FIRE, Connection, _Leaving
from tezos_p2p.fsm.lifecycle import TABLE, State
from tezos_p2p.fsm.machine import RUNNERS, LocalProtocolError
from tezos_p2p.spec import Closed, Motive

pytestmark = [
    pytest.mark.parametrize("incoming", ROLES, ids=ROLE_NAMES.get),
    pytest.mark.parametrize("runner", RUNNER_NAMES),
]

#: Every moment that is told apart: the states, and the phases of the handshake.
MOMENTS: Mapping[str, Callable[..., Scene]] = {
    **{
        state.name: lambda *a, s=state: reach(s, *a)
        for state in State
        if state is not State.HANDSHAKE
    },
    **{
        phase: lambda *a, p=phase: shake(scene(*a), p)
        for phase in PHASES
        if phase != "open"
    },
}
#: Every call that can be refused, and the moments in which it is not.
CALLS: Mapping[str, tuple[Callable[[Connection[bytes]], object], set[str]]] = {
    "start": (lambda machine: machine.start(0.0), {"IDLE"}),
    "admit": (lambda machine: machine.admit(0.0), {"verdict"}),
    "refuse": (lambda machine: machine.refuse(Motive.NO_MOTIVE, (), 0.0), {"verdict"}),
    "send": (lambda machine: machine.send(b"one"), {"OPEN"}),
    "send_encoded": (
        lambda machine: machine.send_encoded(raw(b"one")[:6], b"one"),
        {"OPEN"},
    ),
}
PAIRS = list(itertools.product(CALLS, MOMENTS))
ILLEGAL = [(call, moment) for call, moment in PAIRS if moment not in CALLS[call][1]]
LEGAL = [(call, moment) for call, moment in PAIRS if moment in CALLS[call][1]]


def shot(machine: Connection[Any]) -> Any:
    """Return all that a call could change."""
    kept = {name: getattr(machine, name) for name in slots_of(machine)}
    if machine._in is not None:
        kept["held"] = machine._in.held, machine._in.fill, machine._in.stalled
    if machine._out is not None:
        out = machine._out
        kept["waits"] = (
            out.fill,
            out.refused,
            out.queued,
            out.sealed,
            frozen(out._channel),
        )
    handshake = machine._handshake
    kept["_handshake"] = None if handshake is None else frozen(handshake)
    return {name: frozen(value) for name, value in kept.items() if name != "_local"}


@pytest.mark.parametrize(("call", "moment"), ILLEGAL)
def test_a_call_at_the_wrong_moment_is_refused_and_changes_nothing(
    incoming: bool, runner: str, call: str, moment: str
) -> None:
    it = MOMENTS[moment](incoming, runner)
    before = shot(it.machine)
    with pytest.raises(LocalProtocolError) as caught:
        CALLS[call][0](it.machine)
    if call == "send_encoded":
        call = "send"
    assert caught.value.trigger == call
    assert shot(it.machine) == before


@pytest.mark.parametrize(("call", "moment"), LEGAL)
def test_a_call_at_the_right_moment_is_done(
    incoming: bool, runner: str, call: str, moment: str
) -> None:
    it = MOMENTS[moment](incoming, runner)
    before = shot(it.machine)
    CALLS[call][0](it.machine)
    assert shot(it.machine) != before


@pytest.mark.parametrize("moment", MOMENTS)
def test_looking_changes_nothing(incoming: bool, runner: str, moment: str) -> None:
    it = MOMENTS[moment](incoming, runner)
    machine = it.machine
    before = shot(machine)
    for _ in range(2):
        assert machine.ended is (moment == "CLOSED")
        for name in ("read_allowance", "wants_to_write", "queued", "sealed", "readable"):
            getattr(machine, name)
        machine.next_timeout()
        machine.data_to_send(0)
        repr(machine)
    assert shot(machine) == before


@pytest.mark.parametrize("moment", MOMENTS)
def test_their_end_is_taken_at_every_moment_and_twice_is_harmless(
    incoming: bool, runner: str, moment: str
) -> None:
    it = MOMENTS[moment](incoming, runner)
    for _ in range(2):
        it.give(b"")
        assert it.machine.read_allowance == 0
        it.give(b"late")
    if moment == "IDLE":
        assert it.events == []  # acted upon by `start`
    else:
        it.settle()
        it.the_end()


# -- the table -------------------------------------------------------------------------

#: Every state with every trigger.
STEPS = [(state, trigger) for state in State for trigger in TABLE.triggers]


def fact_of(trigger: str) -> Any:
    """Return a fact that the trigger's step can use."""
    if trigger in ("refuse", "drain", "finish"):
        return _Leaving(USER, 9.0)
    return {"open": opened(False).events[-1], "end": Closed(USER, 1.0)}.get(trigger)


@pytest.mark.parametrize(("state", "trigger"), STEPS)
def test_the_table_is_followed_and_nothing_else(
    incoming: bool, runner: str, state: State, trigger: str
) -> None:
    fire = _FIRE[RUNNERS[runner]][trigger]
    rows = {(name, source): row for name, source, row in TABLE.lines()}
    row = rows.get((trigger, state))
    it = reach(state, incoming, runner)
    machine = it.machine
    fact = fact_of(trigger)
    before = shot(machine)
    if row is None:
        with pytest.raises(LocalProtocolError) as caught:
            fire(machine, fact)
        assert (caught.value.trigger, caught.value.state) == (trigger, state.name)
        assert shot(machine) == before
    else:
        fire(machine, fact)
        assert machine.state is row.dest


def test_every_row_of_the_table_is_taken_by_some_story(
    incoming: bool, runner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: set[tuple[str, State]] = set()
    original = Connection._fire

    def fire(self: Connection[Any], trigger: str, fact: object) -> None:
        taken.add((trigger, self.state))
        original(self, trigger, fact)

    monkeypatch.setattr(Connection, "_fire", fire)
    for state in State:
        it = reach(state, incoming, runner)
        it.machine.close(USER, 0.0)
    it = shake(scene(incoming, runner), "verdict")
    it.machine.refuse(Motive.NO_MOTIVE, (), 0.0)
    it.drain()
    assert taken == {(name, source) for name, source, _ in TABLE.lines()}


# -- what a connection is made of ------------------------------------------------------


def test_a_connection_has_slots_only(incoming: bool, runner: str) -> None:
    machine = Connection(our_local(runner), CODEC, incoming)
    assert not hasattr(machine, "__dict__")
    assert {field.name for field in attrs.fields(Connection)} <= set(slots_of(machine))
    it = opened(incoming, runner)
    for half in (it.machine._in, it.machine._out):
        assert not hasattr(half, "__dict__")


@pytest.mark.parametrize("moment", MOMENTS)
def test_nothing_of_the_secrets_is_shown(
    incoming: bool, runner: str, moment: str
) -> None:
    it = MOMENTS[moment](incoming, runner)
    shown = repr(it.machine)
    secrets = [OUR_SECRET, it.peer.key, raw(b"last words")]
    for secret in secrets:
        if secret:
            assert secret.hex() not in shown
            assert repr(secret)[2:-1] not in shown


def test_the_handshake_is_forgotten_once_it_is_over(incoming: bool, runner: str) -> None:
    for state in (State.OPEN, State.CLOSED):
        it = reach(state, incoming, runner)
        assert it.machine._handshake is None
        assert it.machine._events is None


def test_what_was_read_is_forgotten_once_it_is_over(incoming: bool, runner: str) -> None:
    it = opened(incoming, runner)
    it.say(raw(b"one") + raw(b"two")[:7])
    it.give(b"")
    assert it.machine._in is None
    it = opened(incoming, runner)
    it.pulls = False
    it.say(raw(b"one") + raw(b"two")[:7])
    it.give(b"")
    assert it.machine._in is not None
    assert it.machine._in._parts is None
