"""Breadth-first exploration of real machines: worlds, moves, keys, paths.

A `World` is some machines of the library with whatever lies between them and whoever
may act on them.  It names the moves that are possible in it, and gives the world that
each of them leads to.  `explore` tries all of them, in order, from the first world on,
until no move leads anywhere new: then the frontier is empty, and what holds in every
state that was met holds in every run, however long, of what the world models.

Three things make that possible.

- **Keys.**  Worlds with the same key count as one state.  A key leaves out what grows
  for ever (clocks, nonces, totals), and must not leave out anything that decides what
  happens next.  That is not only argued: `explore` can expand every n-th world that it
  drops as already known, and compare move by move with what was stored for the state.
  With n = 1 the comparison is a proof that equal keys behave alike.
- **Cheap clones.**  `Cloner` copies a slotted object in a few microseconds: what is
  immutable is shared, and a member of a type that nobody has told it how to copy is an
  error, not a silent alias.  (`copy.deepcopy` takes thirty times as long.)
- **Shortest paths.**  Each state remembers the move that first led to it, and the
  search is breadth-first; so a broken property is reported with a shortest list of
  moves that breaks it.

Nothing here knows of handshakes.  Everything is deterministic: moves are tried in the
order in which the world names them, and no set is iterated.
"""

from __future__ import annotations

import gc
import os
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from enum import Enum
from types import NoneType
from typing import Any, Final, Protocol, Self, TypeVar

import attrs

T = TypeVar("T")

# -- which worlds ----------------------------------------------------------------------


def without_large(worlds: Mapping[str, T], *large: str) -> dict[str, T]:
    """Leave out worlds that take long, unless everything was asked for.

    Raises:
        KeyError: there is no such world.
    """
    kept = dict(worlds)
    for name in large:
        world = kept.pop(name)
        if os.environ.get("TEZOS_P2P_LONG"):
            kept[name] = world
    return kept


# -- worlds ----------------------------------------------------------------------------


@attrs.frozen(eq=False)
class Move:
    """Something that can happen.

    Attributes:
        label: what, in a few words: paths are lists of these.
        act: does it to a world that may be changed.
        quiet: whether it happens by itself if everybody who could do harm or be of
            help does nothing: time passing, and what an owner always does in the end.
    """

    label: str
    act: Callable[[Any], None] = attrs.field(repr=False)
    quiet: bool = False


class World(Protocol):
    """Machines, what lies between them, and what may happen to them."""

    def key(self) -> Hashable:
        """Return what of this world decides how it goes on."""
        ...

    def moves(self) -> Iterable[Move]:
        """Give the moves that are possible, always in the same order."""
        ...

    def after(self, move: Move) -> Self:
        """Return the world that a move leads to; this one stays as it is."""
        ...

    def faults(self) -> Iterable[str]:
        """Give the properties that do not hold here, in words."""
        ...

    @property
    def at_rest(self) -> bool:
        """Whether everything that was begun here has come to its end."""
        ...


# -- clones ----------------------------------------------------------------------------


def slots_of(cls: type) -> tuple[str, ...]:
    """Return the names of all slots of a class, inherited ones first.

    Raises:
        TypeError: its instances have a ``__dict__``, where anything might hide.
    """
    names: list[str] = []
    for base in reversed(cls.__mro__[:-1]):
        if "__slots__" not in vars(base):
            raise TypeError(f"{base.__name__} has no __slots__")
        own = vars(base)["__slots__"]
        names += [own] if isinstance(own, str) else own
    return tuple(name for name in dict.fromkeys(names) if name != "__weakref__")


def _same(value: Any) -> Any:
    return value


class Cloner:
    """Copies slotted objects, member by member, as deep as it has to and no deeper.

    Args:
        cloned: slotted classes whose instances change: a clone gets its own.
        shared: classes whose instances never change, or only in ways that decide
            nothing: clones share them.
    """

    _ATOMS: Final = (NoneType, bool, int, float, str, bytes, Enum)

    def __init__(self, cloned: Iterable[type], shared: Iterable[type]) -> None:
        self._slots = {cls: slots_of(cls) for cls in cloned}
        self._shared = (*self._ATOMS, *shared)
        self._plain: set[type] = set()  # classes known not to be cloned
        self._copy: dict[type, Callable[[Any], Any]] = {
            bytearray: bytearray,
            deque: self._sequence,
            list: self._sequence,
        }

    def clone(self, value: Any) -> Any:
        """Return a copy that shares nothing changeable with ``value``.

        Raises:
            TypeError: it holds something of a type that is not known.
        """
        cls: type = type(value)
        copy = self._copy.get(cls)
        if copy is None:
            self._copy[cls] = copy = self._how(cls)
        return copy(value)

    def image(self, value: Any) -> Any:
        """Return all that a clone would copy as nested tuples: equal if alike."""
        if (slots := self._slots_of(type(value))) is not None:
            return tuple(self.image(getattr(value, name)) for name in slots)
        if isinstance(value, deque | list):
            return tuple(map(self.image, value))
        return bytes(value) if type(value) is bytearray else value

    def _slots_of(self, cls: type) -> tuple[str, ...] | None:
        # A subclass of a class that is cloned is cloned too, with its own slots.
        if cls in self._plain:
            return None
        if cls not in self._slots:
            if not issubclass(cls, tuple(self._slots)):
                self._plain.add(cls)
                return None
            self._slots[cls] = slots_of(cls)
        return self._slots[cls]

    def _how(self, cls: type) -> Callable[[Any], Any]:
        slots = self._slots_of(cls)
        if slots is not None:
            return self._slotted(cls, slots)
        if issubclass(cls, self._shared):
            return _same
        raise TypeError(f"nobody has said how a {cls.__name__} is copied")

    def _slotted(self, cls: type, slots: tuple[str, ...]) -> Callable[[Any], Any]:
        known, clone, make, put = self._copy.get, self.clone, cls.__new__, setattr
        if cls.__setattr__ is not object.__setattr__:
            put = object.__setattr__

        def copy(value: Any) -> Any:
            new = make(cls)
            for name in slots:
                member = getattr(value, name)
                # Most members are shared: no call for those.
                if (how := known(member.__class__, clone)) is not _same:
                    member = how(member)
                put(new, name, member)
            return new

        return copy

    def _sequence(self, value: Any) -> Any:
        return type(value)(map(self.clone, value))


def check_slots(cls: type, keyed: Iterable[str], left_out: Mapping[str, str]) -> None:
    """Check that a key accounts for every slot of a class, and for no other.

    Args:
        cls: a slotted class.
        keyed: slots that the key looks at.
        left_out: slots that it does not, each with the reason.

    Raises:
        TypeError: with the names, if the lists and the slots differ.
    """
    known = (*keyed, *left_out)
    slots = slots_of(cls)
    new = [name for name in slots if name not in known]
    gone = [name for name in known if name not in slots]
    if new or gone or len(set(known)) != len(known):
        raise TypeError(
            f"the state key of {cls.__name__} does not account for its members: say of "
            f"{new} whether they belong to the key; {gone} are not there (any more)"
        )


# -- exploration -----------------------------------------------------------------------


class Violated(AssertionError):
    """A property does not hold in some state.

    Attributes:
        what: the property, in words.
        path: labels of a shortest sequence of moves to that state.
    """

    def __init__(self, world: str, what: str, path: list[str]) -> None:
        steps = [f"  {number}. {label}" for number, label in enumerate(path, 1)]
        super().__init__(
            "\n".join([f"{world}: {what}, after", *(steps or ["  nothing"])])
        )
        self.what = what
        self.path = path


@attrs.define(eq=False)
class Graph:
    """All that was met.

    Attributes:
        name: of the world.
        index: number of each state by its key, in the order in which they were met.
        origin: for each state the state and the move that first led to it.
        edges: for each state the moves, each with the number of the state it leads to.
        resting: for each state whether it is at rest.
        depth: moves to the state that is farthest from the first one.
        merged: worlds dropped as known that were expanded all the same and compared.
        seconds: time taken.
    """

    name: str
    index: dict[Hashable, int] = attrs.Factory(dict)
    origin: list[tuple[int, Move | None]] = attrs.Factory(list)
    edges: list[tuple[tuple[Move, int], ...]] = attrs.Factory(list)
    resting: list[bool] = attrs.Factory(list)
    depth: int = 0
    merged: int = 0
    seconds: float = 0.0

    @property
    def states(self) -> int:
        """Number of states."""
        return len(self.edges)

    @property
    def transitions(self) -> int:
        """Number of moves out of all states."""
        return sum(map(len, self.edges))

    def moves_to(self, state: int) -> list[Move]:
        """Return a shortest sequence of moves to a state."""
        path: list[Move] = []
        while (step := self.origin[state])[1] is not None:
            state, move = step
            path.append(move)
        return path[::-1]

    def path_to(self, state: int) -> list[str]:
        """Return the labels of a shortest sequence of moves to a state."""
        return [move.label for move in self.moves_to(state)]

    def stuck(self, may: Callable[[Move], bool]) -> Iterator[int]:
        """Give the states from which no state at rest is reached by some moves alone.

        Backward reachability: no assumption of fairness is needed.

        Args:
            may: which moves count.
        """
        back: list[list[int]] = [[] for _ in self.edges]
        for state, edges in enumerate(self.edges):
            for move, there in edges:
                if may(move):
                    back[there].append(state)
        good = list(self.resting)
        todo = [state for state, rests in enumerate(good) if rests]
        while todo:
            for state in back[todo.pop()]:
                if not good[state]:
                    good[state] = True
                    todo.append(state)
        return (state for state, fine in enumerate(good) if not fine)

    def check_liveness(self, may: Callable[[Move], bool], what: str) -> None:
        """Raise `Violated` unless ``may`` moves lead to rest from every state."""
        for state in self.stuck(may):
            raise Violated(self.name, f"no end is reached {what}", self.path_to(state))

    def __str__(self) -> str:
        """Give the figures on one line."""
        return (
            f"{self.name}: {self.states} states, {self.transitions} transitions, "
            f"depth {self.depth}, {self.seconds:.1f} s"
        )


def explore(
    name: str, first: World, *, limit: int = 1_000_000, recheck: int = 0
) -> Graph:
    """Explore a world until nothing new is met.

    Args:
        name: of the world, in reports.
        first: where to begin.
        limit: most states; more are taken as a sign that the key does not close.
        recheck: expand every ``recheck``-th world that is dropped because its key is
            known, and compare; 0 for none.

    Raises:
        Violated: a property is broken; or a move raised something; or two worlds with
            the same key do not behave alike.
        RuntimeError: more than ``limit`` states.
    """
    begun = time.perf_counter()
    graph = Graph(name)
    # A graph is all live and no garbage: looking for cycles takes a fifth of the time.
    collects = gc.isenabled()
    gc.disable()
    try:
        _explore(graph, first, limit, recheck)
    finally:
        if collects:
            gc.enable()
    graph.seconds = time.perf_counter() - begun
    return graph


def _explore(graph: Graph, first: World, limit: int, recheck: int) -> None:
    name = graph.name
    index, origin = graph.index, graph.origin
    frontier: deque[tuple[World, int]] = deque()
    dropped: list[tuple[World, int, int, Move]] = []
    merges = 0

    def meet(key: Hashable, world: World, state: int, move: Move | None, far: int) -> int:
        number = index[key] = len(origin)
        origin.append((state, move))
        graph.resting.append(world.at_rest)
        graph.depth = max(graph.depth, far)
        frontier.append((world, far))
        if faults := "; ".join(world.faults()):
            raise Violated(name, faults, graph.path_to(number))
        if number > limit:
            raise RuntimeError(f"{name}: more than {limit} states: the key is too fine")
        return number

    meet(first.key(), first, 0, None, 0)
    while frontier:
        world, far = frontier.popleft()
        state = len(graph.edges)
        edges: list[tuple[Move, int]] = []
        for move in world.moves():
            there = _step(graph, world, state, move)
            key = there.key()
            known = index.get(key)
            if known is None:
                known = meet(key, there, state, move, far + 1)
            elif recheck:
                merges += 1
                if merges % recheck == 0:
                    dropped.append((there, known, state, move))
            edges.append((move, known))
        graph.edges.append(tuple(edges))
        # Compared as soon as what it is compared with has been expanded: few wait.
        if len(dropped) >= 1024:
            dropped = [each for each in dropped if not _compared(graph, *each)]
    for each in dropped:
        assert _compared(graph, *each)


def _step(graph: Graph, world: World, state: int, move: Move) -> World:
    try:
        return world.after(move)
    except Exception as error:
        path = [*graph.path_to(state), move.label]
        what = f"{type(error).__name__} is raised ({error})"
        raise Violated(graph.name, what, path) from error


def _compared(graph: Graph, world: World, known: int, state: int, move: Move) -> bool:
    """Compare a dropped world with the state it was taken for; False: too early."""
    if known >= graph.states:
        return False
    graph.merged += 1
    path = [*graph.path_to(state), move.label]
    if faults := "; ".join(world.faults()):
        raise Violated(graph.name, faults, path)
    found = [(m, graph.index.get(world.after(m).key())) for m in world.moves()]
    if found != list(graph.edges[known]) or world.at_rest is not graph.resting[known]:
        other = ", ".join(graph.path_to(known)) or "nothing"
        what = f"the key is too coarse: this does not behave as it does after {other}"
        raise Violated(graph.name, what, path)
    return True
