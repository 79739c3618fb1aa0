"""What is to happen in a sandbox network, and what is known of it: the books.

Nothing here does I/O: `io.sandbox` fills the books with what the processes tell, and asks
them whether something has come about.
"""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any, Final, Literal

import attrs

from ..spec.identity import Identity
from ..spec.limits import Thresholds
from ..spec.point import Point
from .sandbox_worker import DriverName

#: Nodes that a network may have.
NODES_MIN: Final = 5
NODES_MAX: Final = 100
#: Processes that share them, and nodes of one process as long as there are few.
PROCESSES_MIN: Final = 3
PROCESSES_MAX: Final = 8
SHARE: Final = 4
#: Counters that nodes report.
COUNTS: Final = ("told", "heard", "bytes_out", "bytes_in")
#: Phases whose time is taken.
PHASES: Final = ("converged", "healed", "rejoined")


@attrs.frozen
class Plan:
    """What is to happen.

    Attributes:
        nodes: how many, `NODES_MIN` to `NODES_MAX`.
        seconds: all of it takes so long at most.
        driver: of the nodes; mixed: half of each process' nodes have either.
        seed: for whom is killed, who speaks, and how long messages are.
        deaf: nodes that drop what they hear; for tests.
    """

    nodes: int = 12
    seconds: float = 25.0
    driver: Literal["asyncio", "blocking", "mixed"] = "mixed"
    seed: int = 0
    deaf: int = 0

    @property
    def processes(self) -> int:
        """How many processes share the nodes: so many that most outlive any of them."""
        for count in range(PROCESSES_MIN, PROCESSES_MAX):
            share = math.ceil(self.nodes / count)
            if share <= SHARE and 2 * share + 2 <= self.nodes:
                return count
        return PROCESSES_MAX

    @property
    def connections(self) -> tuple[int, int, int]:
        """Fewest, wanted and most connections of a node.

        More than one process has nodes, if they are few: whoever has enough does not ask
        for others, and would be alone if all that it knows were killed at once.  Far
        fewer than there is room for: else who comes last finds all others full.
        """
        least = min(math.ceil(self.nodes / self.processes), SHARE) + 1
        return least, least + 1, least + 7


# -- the books -------------------------------------------------------------------------


@attrs.define(eq=False)
class NodeRow:
    """What is known of one node.

    Attributes:
        name: for people.
        process: number of its process, from 1.
        driver: what moves its bytes.
        point: where it listens.
        identity: who it is.
        alive: whether its process runs.
        peers: names of those who it says are connected.
        counts: messages and bytes of its last life, by the names in `COUNTS`.
    """

    name: str
    process: int
    driver: DriverName
    point: Point
    identity: Identity
    alive: bool = True
    peers: frozenset[str] = frozenset()
    counts: Counter[str] = attrs.field(factory=Counter[str])


@attrs.define(eq=False)
class Board:
    """What is known of the network at a moment.

    Attributes:
        rows: all nodes, by name.
        bounds: numbers of connections between which a node is content.
        notes: what has happened, one line each.
        faults: what went wrong.
        times: seconds that phases have taken, by name.
        killed: names of the nodes that were killed and started again.
        expected: deliveries that are due or done.
        late: deliveries due to nodes that were not there when it was said, or done.
        caught_up: those that are done.
    """

    rows: dict[str, NodeRow]
    bounds: Thresholds
    began: float = attrs.field(factory=time.monotonic)
    notes: list[str] = attrs.field(factory=list[str])
    faults: list[str] = attrs.field(factory=list[str])
    times: dict[str, float] = attrs.field(factory=dict[str, float])
    killed: list[str] = attrs.field(factory=list[str])
    expected: int = 0
    late: int = 0
    caught_up: int = 0
    _due: set[tuple[int, str]] = attrs.field(factory=set[tuple[int, str]])
    _owed: set[tuple[int, str]] = attrs.field(factory=set[tuple[int, str]])
    _said: dict[int, float] = attrs.field(factory=dict[int, float])
    _got: dict[tuple[int, str], float] = attrs.field(factory=dict[tuple[int, str], float])
    _met: Counter[tuple[str, str]] = attrs.field(factory=Counter[tuple[str, str]])
    _past: Counter[str] = attrs.field(factory=Counter[str])
    _names: dict[str, str] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Know everybody by identity, too."""
        self._names = {str(row.identity.peer_id): row.name for row in self.rows.values()}

    def living(self) -> list[NodeRow]:
        """Return the nodes whose processes run."""
        return [row for row in self.rows.values() if row.alive]

    @property
    def messages(self) -> int:
        """How many messages were said."""
        return len(self._said)

    @property
    def delivered(self) -> int:
        """How many deliveries are done, those to latecomers aside."""
        return len(self._got)

    @property
    def missing(self) -> list[tuple[int, str]]:
        """Messages that somebody still has to hear, and who."""
        return sorted(self._due | self._owed)

    @property
    def totals(self) -> Counter[str]:
        """All counters of all nodes together, as they were last reported."""
        return sum((row.counts for row in self.rows.values()), self._past)

    @property
    def reconnections(self) -> int:
        """How often two nodes have met that had met before."""
        pairs = {tuple(sorted(pair)) for pair in self._met}
        return sum(
            max(self._met[one, other], self._met[other, one]) - 1 for one, other in pairs
        )

    def latencies(self) -> list[float]:
        """Return the seconds that each delivery has taken, those to latecomers aside."""
        return [at - self._said[number] for (number, _), at in self._got.items()]

    def is_whole(self) -> bool:
        """Whether all who live are content with their connections, and one network."""
        living = {row.name: row for row in self.living()}
        low, high = self.bounds.min_threshold, self.bounds.max_threshold
        for row in living.values():
            if not low <= len(row.peers) <= high or not row.peers <= living.keys():
                return False
        reached, ahead = set[str](), [next(iter(living))]
        while ahead:
            name = ahead.pop()
            if name not in reached:
                reached.add(name)
                # A connection is one when both ends say so.
                ahead += [it for it in living[name].peers if name in living[it].peers]
        return len(reached) == len(living)

    # -- what happens ------------------------------------------------------------------

    def note(self, text: str) -> None:
        """Write down what has happened."""
        self.notes.append(f"{time.monotonic() - self.began:6.2f} s  {text}")

    def expect(self, number: int, speaker: str) -> None:
        """Expect that everybody but one hears a message, those who are away later."""
        for row in self.rows.values():
            if row.name != speaker and row.alive:
                self._due.add((number, row.name))
                self.expected += 1

    def take(self, line: dict[str, Any]) -> None:
        """Take what a process tells of its nodes."""
        match line["what"]:
            case "state":
                for state in line["nodes"]:
                    row = self.rows[state["name"]]
                    row.peers = frozenset(self._names[it] for it in state["peers"])
                    row.counts = Counter({name: state[name] for name in COUNTS})
            case "met":
                self._met[line["name"], self._names[line["peer"]]] += 1
            case "said":
                self._said[line["number"]] = line["at"]
            case "got":
                self._take_delivery((line["number"], line["name"]), line["at"])
            case "damaged":
                self.faults.append(f"{line['name']} got a damaged message")
            case _:
                pass

    def _take_delivery(self, which: tuple[int, str], at: float) -> None:
        if which in self._owed:
            self._owed.remove(which)
            self.caught_up += 1
        elif which in self._due:
            self._due.remove(which)
            self._got[which] = at
        else:
            self.faults.append(f"{which[1]} heard message {which[0]} twice")

    def leave(self, rows: Iterable[NodeRow]) -> None:
        """Take note that nodes were killed."""
        for row in rows:
            row.alive, row.peers = False, frozenset()
            self._past.update(row.counts)
            row.counts = Counter()
            self.killed.append(row.name)

    def back(self, rows: Iterable[NodeRow]) -> None:
        """Take note that nodes are there again; they know nothing of what was said."""
        for row in rows:
            row.alive = True
            self._owed |= {(number, row.name) for number in self._said}
            self.late += len(self._said)


@attrs.frozen
class Summary:
    """What has come of it; `json` gives it as an object."""

    plan: Plan
    board: Board
    seconds: float

    @property
    def good(self) -> bool:
        """Whether nothing was lost, and nothing went wrong."""
        return not self.board.faults and not self.board.missing

    def json(self) -> dict[str, Any]:
        """Return all of it."""
        board = self.board
        totals, latencies = board.totals, board.latencies()
        return {
            "good": self.good,
            "nodes": self.plan.nodes,
            "processes": self.plan.processes,
            "driver": self.plan.driver,
            "seed": self.plan.seed,
            "seconds": round(self.seconds, 3),
            **{name: _rounded(board.times.get(name)) for name in PHASES},
            "killed": board.killed,
            "reconnections": board.reconnections,
            "messages": board.messages,
            "expected": board.expected,
            "delivered": board.delivered,
            "late": board.late,
            "caught_up": board.caught_up,
            "missing": [{"message": it, "node": name} for it, name in board.missing],
            "latency_median": _rounded(statistics.median(latencies or [math.nan])),
            "latency_max": _rounded(max(latencies, default=math.nan)),
            **{name: totals[name] for name in COUNTS},
            "faults": board.faults,
        }


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None or math.isnan(seconds) else round(seconds, 6)
