"""State tables and the two runners: equal to each other, to the library, to the table."""

from __future__ import annotations

import itertools
import sys
import weakref
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import pytest
from fsm_puppet import RUNNER_NAMES, State, our_local
from transitions import Machine, MachineError

from tezos_p2p.fsm import (
    Handshake,
    LocalProtocolError,
    Row,
    States,
    Table,
    TableError,
    compiled,
    shared,
)
from tezos_p2p.fsm.handshake import TABLE
from tezos_p2p.fsm.machine import RUNNERS
from tezos_p2p.spec.reasons import UNKNOWN


class Lamp(States):
    RED = "stop"
    AMBER = "wait"
    GREEN = "go"
    BROKEN = "out of order"


#: Guards, alternatives, rows that stay, several callbacks, several sources, self-loops.
LAMP = Table(
    "lamp",
    Lamp,
    Lamp.RED,
    (
        Row("switch", Lamp.RED, Lamp.GREEN, (), ("_log", "_count")),
        Row("switch", Lamp.AMBER, Lamp.RED, ("_jam",), ("_count",)),
        Row("switch", Lamp.AMBER, Lamp.GREEN, ("_calm", "_night"), ("_log",)),
        Row("switch", Lamp.AMBER, None, ("_night",), ("_count", "_log", "_count")),
        Row("switch", Lamp.AMBER, Lamp.BROKEN),
        Row("tick", (Lamp.RED, Lamp.GREEN), None, (), ("_log",)),
        Row("again", Lamp.GREEN, Lamp.GREEN, (), ("_count",)),
        Row("warn", (Lamp.GREEN, Lamp.RED), Lamp.AMBER, ("_calm",), ("_log", "_count")),
        Row("warn", (Lamp.RED, Lamp.GREEN), None),
        Row("fail", (Lamp.RED, Lamp.AMBER, Lamp.GREEN), Lamp.BROKEN, (), ("_count",)),
    ),
)


class Door(States):
    SHUT = "closed"
    OPEN = "open"


#: The same trigger everywhere, and no end.
DOOR = Table(
    "door",
    Door,
    Door.SHUT,
    (
        Row("push", Door.SHUT, Door.OPEN, ("_unlocked",), ("_creak",)),
        Row("push", Door.SHUT, None, (), ("_rattle",)),
        Row("push", Door.OPEN, Door.SHUT, (), ()),
    ),
)

TABLES = (LAMP, DOOR, TABLE)


def stand_in(table: Table) -> type:
    """Make a slotted class with the methods that a table names; they are recorded."""

    def method(name: str) -> Callable[[Any, Any], Any]:
        def run(self: Any, fact: Any) -> Any:
            self.calls.append((name, fact, self.state))
            return self.outcomes.get(name)

        return run

    names = {name for row in table.rows for name in (*row.guard, *row.after)}
    space: dict[str, Any] = {"__slots__": ("calls", "outcomes", "state")}
    return type("StandIn", (), space | {name: method(name) for name in names})


def guards_of(table: Table) -> list[str]:
    return sorted({name for row in table.rows for name in row.guard})


def outcomes_of(table: Table) -> Iterator[dict[str, Any]]:
    names = guards_of(table)
    for values in itertools.product((False, True), repeat=len(names)):
        yield dict(zip(names, values, strict=True))


class Step(NamedTuple):
    """What one trigger did."""

    refused: bool
    state: States
    calls: list[tuple[str, Any, States]]


def by_the_table(
    table: Table, state: States, trigger: str, outcomes: Mapping[str, Any], fact: Any
) -> Step:
    """Say what the rows say, read from top to bottom."""
    calls: list[tuple[str, Any, States]] = []
    for row in table.rows:
        if row.trigger != trigger or state not in row.sources:
            continue
        for guard in row.guard:
            calls.append((guard, fact, state))
            if not outcomes[guard]:
                break
        else:
            after = state if row.dest is None else row.dest
            return Step(False, after, calls + [(name, fact, after) for name in row.after])
    return Step(True, state, calls)


def fired(
    triggers: Mapping[str, Callable[[Any, Any], Any]],
    kind: type,
    state: States,
    trigger: str,
    outcomes: Mapping[str, Any],
    fact: Any,
) -> Step:
    model = kind()
    model.state, model.calls, model.outcomes = state, [], outcomes
    refusal = None
    try:
        assert triggers[trigger](model, fact) is None
    except LocalProtocolError as error:
        refusal = (error.trigger, error.state)
    assert refusal in (None, (trigger, state.name))
    return Step(refusal is not None, model.state, model.calls)


def stock(table: Table) -> Mapping[str, Callable[[Any, Any], Any]]:
    """Build the library's own machine of a table: nothing of ours but the rows."""
    machine = Machine(
        model=None,
        states=table.states,
        initial=table.initial,
        transitions=[
            {
                "trigger": row.trigger,
                "source": list(row.sources),
                "dest": row.dest,
                "conditions": list(row.guard),
                "after": list(row.after),
            }
            for row in table.rows
        ],
        auto_transitions=False,
        send_event=False,
    )

    def strict(name: str) -> Callable[[Any, Any], None]:
        def fire(model: Any, fact: Any) -> None:
            try:
                done = machine.events[name].trigger(model, fact)
            except MachineError:
                done = False
            if not done:
                raise LocalProtocolError(name, model.state.name)

        return fire

    return {name: strict(name) for name in table.triggers}


CASES = [
    pytest.param(table, state, trigger, id=f"{table.name}-{state.name}-{trigger}")
    for table in TABLES
    for state in table.states
    for trigger in table.triggers
]


@pytest.mark.parametrize(("table", "state", "trigger"), CASES)
@pytest.mark.parametrize("runner", [*RUNNER_NAMES, "stock"])
def test_a_runner_does_what_the_rows_say_under_every_outcome_of_the_guards(
    runner: str, table: Table, state: States, trigger: str
) -> None:
    fact = object()
    build = {"stock": lambda t, _: stock(t), **RUNNERS}[runner]
    kind = stand_in(table)
    triggers = build(table, kind)
    for outcomes in outcomes_of(table):
        expected = by_the_table(table, state, trigger, outcomes, fact)
        assert fired(triggers, kind, state, trigger, outcomes, fact) == expected


def test_the_toy_tables_meet_every_kind_of_row() -> None:
    rows = LAMP.rows
    assert any(row.dest is None and row.guard for row in rows)
    assert any(row.dest is None and not row.guard for row in rows)
    assert any(len(row.guard) > 1 for row in rows)
    assert any(len(row.after) > 2 for row in rows)
    assert any(len(row.sources) > 1 and row.guard for row in rows)
    assert any(row.dest is row.source for row in rows)
    assert not DOOR.final
    assert LAMP.final == (Lamp.BROKEN,)


@pytest.mark.parametrize("answer", [1, 2, "yes", [0]], ids=repr)
@pytest.mark.parametrize("runner", RUNNER_NAMES)
def test_a_guard_holds_when_what_it_answers_is_true_in_a_condition(
    runner: str, answer: Any
) -> None:
    kind = stand_in(DOOR)
    triggers = RUNNERS[runner](DOOR, kind)
    step = fired(triggers, kind, Door.SHUT, "push", {"_unlocked": answer}, None)
    assert step.state is Door.OPEN


@pytest.mark.parametrize("answer", [0, None, "", ()], ids=repr)
@pytest.mark.parametrize("runner", RUNNER_NAMES)
def test_a_guard_refuses_when_what_it_answers_is_false_in_a_condition(
    runner: str, answer: Any
) -> None:
    kind = stand_in(DOOR)
    triggers = RUNNERS[runner](DOOR, kind)
    step = fired(triggers, kind, Door.SHUT, "push", {"_unlocked": answer}, None)
    assert step.state is Door.SHUT


class Fragile:
    """A door whose methods fail."""

    __slots__ = ("state",)

    def _unlocked(self, fact: object) -> bool:
        raise KeyError(fact)

    def _creak(self, fact: object) -> None: ...
    def _rattle(self, fact: object) -> None: ...


@pytest.mark.parametrize("runner", RUNNER_NAMES)
def test_an_error_of_a_guard_comes_out_and_nothing_has_changed(runner: str) -> None:
    door = Fragile()
    door.state = Door.SHUT
    with pytest.raises(KeyError, match="why"):
        RUNNERS[runner](DOOR, Fragile)["push"](door, "why")
    assert door.state is Door.SHUT


@pytest.mark.parametrize("runner", RUNNER_NAMES)
def test_an_interrupt_comes_out_wherever_it_meets_a_step(runner: str) -> None:
    kind = stand_in(DOOR)
    push = RUNNERS[runner](DOOR, kind)["push"]

    def step(interrupt_at: int | None) -> int:
        """Take a step; return how many calls and returns it took until it ended."""
        door = kind()
        door.state, door.calls, door.outcomes = Door.SHUT, [], {"_unlocked": True}
        count = 0

        def interrupt(*_: object) -> None:
            nonlocal count
            count += 1
            if count == interrupt_at:
                raise KeyboardInterrupt

        sys.setprofile(interrupt)
        try:
            push(door, None)
        finally:
            sys.setprofile(None)
        return count

    step(None)  # what is looked up once is looked up here
    moments = step(None)
    assert moments > 5
    for moment in range(1, moments):
        with pytest.raises(KeyboardInterrupt):
            step(moment)


@pytest.mark.parametrize("runner", RUNNER_NAMES)
def test_a_runner_keeps_no_object_alive_and_adds_nothing_to_it(runner: str) -> None:
    local = our_local(runner)
    machine = Handshake(local, incoming=True)
    machine.start(0.0)
    machine.close(UNKNOWN, 1.0)
    gone = weakref.ref(machine)
    assert not hasattr(machine, "__dict__")
    del machine
    assert gone() is None


@pytest.mark.parametrize("runner", RUNNER_NAMES)
def test_one_set_of_triggers_serves_many_objects(runner: str) -> None:
    kind = stand_in(DOOR)
    triggers = RUNNERS[runner](DOOR, kind)
    doors = [kind() for _ in range(3)]
    for door in doors:
        door.state, door.calls, door.outcomes = Door.SHUT, [], {"_unlocked": True}
    triggers["push"](doors[1], "x")
    assert [door.state for door in doors] == [Door.SHUT, Door.OPEN, Door.SHUT]
    assert doors[0].calls == doors[2].calls == []


def test_both_runners_are_offered_by_name() -> None:
    assert {name: RUNNERS[name] for name in ("shared", "compiled")} == {
        "shared": shared,
        "compiled": compiled,
    }


# -- tables that are refused -----------------------------------------------------------


class Two(States):
    A = "first"
    B = "second"


class Other(States):
    X = "elsewhere"


def build(*rows: Row) -> Table:
    return Table("bad", Two, Two.A, rows)


def test_a_row_behind_one_without_guard_is_refused() -> None:
    with pytest.raises(TableError, match=r"go from A is listed again .* never be taken"):
        build(Row("go", Two.A, Two.B), Row("go", Two.A, Two.A, ("_g",)))


def test_the_same_row_twice_is_refused() -> None:
    with pytest.raises(TableError, match="listed again"):
        build(Row("go", Two.A, Two.B), Row("go", Two.A, Two.B))


def test_a_source_named_twice_in_a_row_is_refused() -> None:
    with pytest.raises(TableError, match="listed again"):
        build(Row("go", (Two.A, Two.A), Two.B))


def test_alternatives_that_end_in_a_guard_are_refused() -> None:
    with pytest.raises(TableError, match="go from A has only guarded rows"):
        build(Row("go", Two.A, Two.B, ("_g",)), Row("go", Two.B, Two.A))


def test_a_state_that_cannot_be_reached_is_refused() -> None:
    with pytest.raises(TableError, match="cannot be reached: B"):
        build(Row("go", Two.A, Two.A), Row("go", Two.B, Two.A))


def test_a_state_that_only_itself_leads_to_cannot_be_reached() -> None:
    with pytest.raises(TableError, match="cannot be reached: B"):
        build(Row("go", Two.A, None), Row("go", Two.B, Two.B))


def test_a_state_that_no_row_leads_out_of_but_has_rows_is_refused() -> None:
    # Neither final, since it has rows, nor ever left.
    with pytest.raises(TableError, match="B"):
        build(Row("go", Two.A, Two.B), Row("stay", Two.B, None))
    with pytest.raises(TableError, match="B"):
        build(Row("go", Two.A, Two.B), Row("stay", Two.B, Two.B))


def test_a_row_without_source_is_refused_since_it_is_never_taken() -> None:
    with pytest.raises(TableError):
        build(Row("go", Two.A, Two.B), Row("never", (), Two.A))


def test_a_row_from_a_state_of_another_machine_is_refused() -> None:
    with pytest.raises(TableError):
        build(Row("go", Two.A, Two.B), Row("never", Other.X, Two.A))


def test_a_row_to_a_state_of_another_machine_is_refused() -> None:
    with pytest.raises(TableError):
        build(Row("go", Two.A, Two.B), Row("away", Two.B, Other.X))


def test_a_machine_that_begins_elsewhere_is_refused() -> None:
    with pytest.raises(TableError):
        Table("bad", Two, Other.X, (Row("go", Two.A, Two.B),))


def test_all_faults_of_a_table_are_told_at_once() -> None:
    with pytest.raises(TableError) as caught:
        build(Row("go", Two.A, Two.A, ("_g",)), Row("never", (), Two.A))
    for fault in ("go from A has only guarded rows", "never", "cannot be reached: B"):
        assert fault in str(caught.value)


class Half:
    """A door that lacks a method, and has an attribute in place of another."""

    _creak = "not callable"

    def _unlocked(self, fact: object) -> bool:
        return True


@pytest.mark.parametrize("runner", RUNNER_NAMES)
def test_a_model_without_a_method_that_the_table_names_is_refused(runner: str) -> None:
    with pytest.raises(TableError, match="door: Half has no method _creak"):
        RUNNERS[runner](DOOR, Half)

    class More(Half):
        def _creak(self, fact: object) -> None: ...

    with pytest.raises(TableError, match="door: More has no method _rattle"):
        RUNNERS[runner](DOOR, More)


@pytest.mark.parametrize("runner", RUNNER_NAMES)
def test_a_model_without_a_guard_that_the_table_names_is_refused(runner: str) -> None:
    class Mute:
        def _creak(self, fact: object) -> None: ...
        def _rattle(self, fact: object) -> None: ...

    with pytest.raises(TableError, match="door: Mute has no method _unlocked"):
        RUNNERS[runner](DOOR, Mute)


# -- tables as data --------------------------------------------------------------------


def test_lines_are_given_per_source_in_the_order_of_the_table() -> None:
    lines = [(trigger, source.name) for trigger, source, _ in LAMP.lines()]
    assert lines[5:9] == [
        ("tick", "RED"),
        ("tick", "GREEN"),
        ("again", "GREEN"),
        ("warn", "GREEN"),
    ]
    assert len(lines) == 5 + 2 + 1 + 2 + 2 + 3


def test_triggers_are_named_once_in_order_of_appearance() -> None:
    assert LAMP.triggers == ("switch", "tick", "again", "warn", "fail")


def test_what_is_reachable_follows_the_rows() -> None:
    assert LAMP.reachable() == frozenset(Lamp)
    assert DOOR.reachable() == frozenset(Door)


def test_the_sources_of_a_row_are_always_a_tuple() -> None:
    assert Row("go", Two.A, Two.B).sources == (Two.A,)
    assert Row("go", (Two.A, Two.B), None).sources == (Two.A, Two.B)


def test_states_hash_by_identity_and_serve_as_keys() -> None:
    assert {Two.A: 1, Two.B: 2}[Two.B] == 2
    assert hash(Two.A) == object.__hash__(Two.A)
    assert Two.A != Other.X


def test_a_refusal_names_trigger_state_and_cause() -> None:
    error = LocalProtocolError("admit", "VERDICT", "no common version")
    assert str(error) == "admit is not possible in state VERDICT: no common version"
    assert (error.trigger, error.state) == ("admit", "VERDICT")
    assert str(LocalProtocolError("go", "A")) == "go is not possible in state A"


# -- the handshake's table -------------------------------------------------------------


def test_every_live_state_of_a_handshake_can_end() -> None:
    ends = {source for trigger, source, _ in TABLE.lines() if trigger == "end"}
    assert ends == set(State) - set(TABLE.final)
    assert TABLE.final == (State.HANDED_OVER, State.CLOSED)


def test_only_an_end_or_a_refusal_leads_to_closed() -> None:
    leads = {row.trigger for row in TABLE.rows if row.dest is State.CLOSED}
    assert leads == {"end", "refuse"}


def test_the_way_to_established_has_no_short_cut() -> None:
    way = [State.IDLE]
    while way[-1] is not State.ESTABLISHED:
        (following,) = {
            row.dest
            for _, source, row in TABLE.lines()
            if source is way[-1] and row.dest is not State.CLOSED
        }
        way.append(following)
    assert [state.name for state in way] == [
        "IDLE",
        "GREETING",
        "METADATA",
        "VERDICT",
        "ANSWER",
        "ESTABLISHED",
    ]
