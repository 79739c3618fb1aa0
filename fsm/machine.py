"""State tables that run: rows, the shared machine made of them, and strict firing.

Two rules.  Everything a machine can do is a `Row` of its table; what is not in the
table is refused.  And the table is data: the diagrams are drawn from it, the tests
enumerate it, and two runners execute it.

- `shared` builds one `transitions.Machine` for the whole kind, at import.  It holds no
  model: the objects whose state it changes are slotted, and are never registered with
  it (a registered model costs 9 kB and binds a partial per trigger; an unregistered
  one costs its own slots).  This is what real drivers run.
- `compiled` turns the same rows into a dict.  It is two or three times as fast, for
  simulations of thousands of nodes.  A test fires every trigger in every state under
  every outcome of the guards through both, and compares.

Firing is strict: a trigger that the table does not list for the state, or whose guards
all refuse, raises `LocalProtocolError` and changes nothing.

Order within a step: guards, the change of state, then the ``after`` callbacks.  Hence
the house rule: what can fail is done before the trigger and its result passed as the
fact; callbacks only append to queues and set timers.  No callback fires a trigger.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Protocol, cast

import attrs
from transitions import Event, Machine, MachineError, Transition

#: A trigger as the runners see it: model and fact in, nothing out.
Trigger = Callable[[Any, Any], None]


class LocalProtocolError(Exception):
    """The caller did what the protocol does not allow here; nothing has changed.

    Attributes:
        trigger: what was attempted.
        state: name of the state it was attempted in.
    """

    def __init__(self, trigger: str, state: str, why: str = "") -> None:
        super().__init__(
            f"{trigger} is not possible in state {state}" + (why and f": {why}")
        )
        self.trigger = trigger
        self.state = state


class TableError(ValueError):
    """A table that no machine can be made of; raised at import, never later."""


class States(enum.Enum):
    """Base of the enumerations of states; a member's value says what it means."""

    # Members are singletons.  The stock hash is a Python function, and states are
    # looked up at every step: 0.02 µs instead of 0.10.
    __hash__ = object.__hash__


class Model(Protocol):
    """What a machine runs on: anything with a ``state``."""

    state: Any


@attrs.frozen
class Row:
    """One line of a state table.

    Attributes:
        trigger: name of the step.
        source: state, or states, in which it is possible.
        dest: state it leads to, or None to stay without leaving.
        guard: names of predicates of the model; all must hold.  Rows of the same
            trigger and source are alternatives in order; the last has no guard.
        after: names of methods of the model that are run once the state has changed.
    """

    trigger: str
    source: States | tuple[States, ...]
    dest: States | None
    guard: tuple[str, ...] = ()
    after: tuple[str, ...] = ()

    @property
    def sources(self) -> tuple[States, ...]:
        """The source states as a tuple."""
        return self.source if isinstance(self.source, tuple) else (self.source,)


@attrs.frozen(eq=False)
class Table:
    """A whole machine as data.

    Attributes:
        name: of the machine, in diagrams and files.
        states: the enumeration of its states; each value says what the state means.
        initial: where instances begin.
        rows: the lines, in order.

    Raises:
        TableError: a state cannot be reached, a row can never be taken, alternatives
            end in a guard, a row names a state of another machine, or a state has rows
            but none that leaves it.
    """

    name: str
    states: type[States]
    initial: States
    rows: tuple[Row, ...]

    def __attrs_post_init__(self) -> None:
        """Check what can be checked without a model."""
        faults = [*self._foreign(), *self._alternatives(), *self._dead_ends()]
        if faults:
            raise TableError(f"{self.name}: " + "; ".join(faults))

    def _foreign(self) -> Iterator[str]:
        for row in self.rows:
            if not row.sources:
                yield f"{row.trigger} has no source: it would never be taken"
            for state in (*row.sources, row.dest):
                if state is not None and not isinstance(state, self.states):
                    yield f"{row.trigger} names {state}, not a {self.states.__name__}"

    def _alternatives(self) -> Iterator[str]:
        closed: set[tuple[str, States]] = set()
        for trigger, source, row in self.lines():
            if (trigger, source) in closed:
                yield (
                    f"{trigger} from {source.name} is listed again after a row without "
                    "guard: it would never be taken"
                )
            if not row.guard:
                closed.add((trigger, source))
        for trigger, source in dict.fromkeys((t, s) for t, s, _ in self.lines()):
            if (trigger, source) not in closed:
                yield (
                    f"{trigger} from {source.name} has only guarded rows: add one "
                    "without guard for when they all refuse"
                )

    def _dead_ends(self) -> Iterator[str]:
        reachable = self.reachable()
        missing = [state.name for state in self.states if state not in reachable]
        if missing:
            yield f"cannot be reached: {', '.join(missing)}"
        left = {s for _, s, row in self.lines() if row.dest not in (None, s)}
        stuck = [s for s in self.states if s not in left and s not in self.final]
        if stuck:
            yield f"rows, but none that leaves: {', '.join(s.name for s in stuck)}"

    def lines(self) -> Iterator[tuple[str, States, Row]]:
        """Give (trigger, source, row), one per source state, in table order."""
        for row in self.rows:
            for source in row.sources:
                yield row.trigger, source, row

    def reachable(self) -> frozenset[States]:
        """Return the states that some sequence of triggers leads to."""
        seen = {self.initial}
        todo = [self.initial]
        while todo:
            here = todo.pop()
            for _, source, row in self.lines():
                if source is here and row.dest is not None and row.dest not in seen:
                    seen.add(row.dest)
                    todo.append(row.dest)
        return frozenset(seen)

    @property
    def triggers(self) -> tuple[str, ...]:
        """Names of all triggers, in order of first appearance."""
        return tuple(dict.fromkeys(row.trigger for row in self.rows))

    @property
    def final(self) -> tuple[States, ...]:
        """States that no row leaves."""
        left = {source for _, source, _ in self.lines()}
        return tuple(state for state in self.states if state not in left)


class _PlainTransition(Transition):
    """A transition without callbacks before it, which no table here has."""

    def take(self, model: Any, fact: Any, states: Mapping[str, Any]) -> bool:
        """Ask the guards, change the state, run the callbacks; log nothing."""
        for guard in self.conditions:
            if not getattr(model, cast("str", guard.func))(fact):
                return False
        if self.dest:
            model.state = states[self.dest]
        for name in self.after:
            getattr(model, cast("str", name))(fact)
        return True


class _PlainEvent(Event):
    """A trigger that is given a model and a fact.

    The library makes an object of what is going on, and asks it at every turn; and
    around its last callbacks, of which no machine here has any, it catches whatever is
    raised, an interrupt with it: a Ctrl-C at that moment would be lost.
    """

    def trigger(self, model: Any, *args: Any, **_: Any) -> bool:
        """Run the step that is listed for the state of a model."""
        listed: Any = self.transitions.get(model.state._name_)
        if listed is None:
            raise MachineError(f"{self.name} is not listed for {model.state.name}")
        taken = False
        for each in listed:  # not in a generator, where an interrupt can be lost
            taken = taken or each.take(model, args[0], self.machine.members)
        return taken


class _SharedMachine(Machine):
    """The library's machine, for what tables use of it and no more.

    States are enumeration members, models one object each, callbacks names of methods
    that take the fact.  Spared are the questions that the general case asks at every
    step, and its log; measured, a step takes 0.7 µs instead of 11.4.
    """

    transition_cls = _PlainTransition
    event_cls = _PlainEvent

    def __init__(self, table: Table, rows: list[dict[str, Any]]) -> None:
        #: The states by name, as the models have them.
        self.members = {state.name: state for state in table.states}
        super().__init__(
            model=None,
            states=table.states,
            initial=table.initial,
            transitions=rows,
            auto_transitions=False,
            send_event=False,
        )


def _check_callbacks(table: Table, model: type) -> None:
    for row in table.rows:
        for name in (*row.guard, *row.after):
            if not callable(getattr(model, name, None)):
                raise TableError(f"{table.name}: {model.__name__} has no method {name}")


def shared(table: Table, model: type) -> Mapping[str, Trigger]:
    """Build the one `transitions.Machine` of a kind; return its strict triggers.

    Args:
        table: the machine.
        model: class of the objects it will run on; has the methods that rows name.

    Raises:
        TableError: ``model`` lacks a method.
    """
    _check_callbacks(table, model)
    rows: list[dict[str, Any]] = [
        {
            "trigger": row.trigger,
            "source": list(row.sources),
            "dest": row.dest,
            "conditions": list(row.guard),
            "after": list(row.after),
        }
        for row in table.rows
    ]
    machine = _SharedMachine(table, rows)

    def strict(name: str) -> Trigger:
        fire_event = machine.events[name].trigger

        def fire(model: Model, fact: Any) -> None:
            try:
                fired = fire_event(model, fact)
            except MachineError:
                raise LocalProtocolError(name, model.state.name) from None
            # A complete table has no refusal left; the library's answer is not
            # thrown away all the same.
            assert fired

        return fire

    return {name: strict(name) for name in table.triggers}


def compiled(table: Table, model: type) -> Mapping[str, Trigger]:
    """Turn the rows into a dict; return triggers that do what `shared` ones do.

    Args:
        table: the machine.
        model: class of the objects it will run on; has the methods that rows name.

    Raises:
        TableError: ``model`` lacks a method.
    """
    _check_callbacks(table, model)
    # Methods are taken from the class once: the models are never subclassed.
    steps: dict[str, dict[States, _Step]] = {name: {} for name in table.triggers}
    for trigger, source, row in table.lines():
        step = steps[trigger].setdefault(source, _Step())
        guards = tuple(getattr(model, name) for name in row.guard)
        after = tuple(getattr(model, name) for name in row.after)
        if guards:
            step.guarded.append((guards, row.dest, after))
        else:
            step.dest, step.after = row.dest, after

    def strict(name: str) -> Trigger:
        by_state = steps[name]

        def fire(model: Model, fact: Any) -> None:
            step = by_state.get(model.state)
            if step is None:
                raise LocalProtocolError(name, model.state.name)
            dest, after = step.dest, step.after
            for guards, guarded_dest, guarded_after in step.guarded:
                if all(guard(model, fact) for guard in guards):
                    dest, after = guarded_dest, guarded_after
                    break
            if dest is not None:
                model.state = dest
            for effect in after:
                effect(model, fact)

        return fire

    return {name: strict(name) for name in table.triggers}


_Guards = Sequence[Callable[[Any, Any], bool]]
_Effects = Sequence[Callable[[Any, Any], None]]


@attrs.define(eq=False)
class _Step:
    """What one trigger does in one state: the guarded alternatives, then the rest."""

    guarded: list[tuple[_Guards, States | None, _Effects]] = attrs.field(
        factory=list[tuple[_Guards, States | None, _Effects]]
    )
    dest: States | None = None
    after: _Effects = ()


#: The two runners by name.
RUNNERS: Final[Mapping[str, Callable[[Table, type], Mapping[str, Trigger]]]] = {
    "shared": shared,
    "compiled": compiled,
}
