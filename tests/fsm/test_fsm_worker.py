"""The life that all workers share, and the order in which a node's parts end."""

from __future__ import annotations

from typing import Any

import pytest

from tezos_p2p.fsm import (
    LocalProtocolError,
    States,
    Table,
    discovery,
    maintenance,
    welcome,
)
from tezos_p2p.fsm.machine import RUNNERS
from tezos_p2p.fsm.worker import (
    FLUSH_LIMIT,
    SHUTDOWN,
    STARTING,
    TABLE,
    State,
    Workers,
)


class Recorder:
    """A worker that writes down what it is told."""

    def __init__(self, name: str, log: list[Any], at: float | None = None) -> None:
        self.name, self.log, self.at = name, log, at

    def start(self, now: float) -> None:
        self.log.append((self.name, "start", now))

    def stop(self, now: float) -> None:
        self.log.append((self.name, "stop", now))

    def handle_timeout(self, now: float) -> None:
        self.log.append((self.name, "timeout", now))

    def next_timeout(self) -> float | None:
        return self.at


@pytest.mark.parametrize("runner", RUNNERS.values(), ids=RUNNERS)
def test_workers_start_and_stop_in_order_whatever_order_they_are_given_in(runner):
    log: list[Any] = []
    workers = Workers(
        {name: Recorder(name, log) for name in reversed(STARTING)}, runner=runner
    )
    assert workers.state is State.INACTIVE
    workers.start(1.0)
    assert workers.state is State.ACTIVE
    workers.handle_timeout(2.0)
    workers.stop(3.0)
    assert workers.state is State.STOPPED
    order = ["welcome", "maintenance", "discovery"]
    assert log == [
        (name, what, now)
        for what, now in (("start", 1.0), ("timeout", 2.0), ("stop", 3.0))
        for name in order
    ]


def test_a_node_without_some_of_them_runs_the_others():
    log: list[Any] = []
    workers = Workers({"maintenance": Recorder("maintenance", log)})
    workers.start(1.0)
    workers.handle_timeout(2.0)
    workers.stop(3.0)
    assert [what for _, what, _ in log] == ["start", "timeout", "stop"]
    Workers({}).start(0.0)


def test_workers_are_stopped_once_even_before_they_were_started():
    log: list[Any] = []
    workers = Workers({"welcome": Recorder("welcome", log)})
    workers.stop(1.0)
    workers.stop(2.0)
    assert log == [("welcome", "stop", 1.0)]
    with pytest.raises(LocalProtocolError):
        workers.start(3.0)


def test_workers_are_started_once():
    log: list[Any] = []
    workers = Workers({"welcome": Recorder("welcome", log)})
    workers.start(1.0)
    with pytest.raises(LocalProtocolError):
        workers.start(2.0)
    assert len(log) == 1


def test_the_next_timeout_is_the_earliest_of_theirs():
    def next_of(*times: float | None) -> float | None:
        named = zip(STARTING, times, strict=False)
        return Workers({n: Recorder(n, [], at) for n, at in named}).next_timeout()

    assert next_of() is None
    assert next_of(None, None) is None
    assert next_of(None, 3.0, 2.0) == 2.0


def test_a_worker_that_nobody_would_start_is_refused():
    with pytest.raises(ValueError, match="no workers: wellcome"):
        Workers({"wellcome": Recorder("wellcome", [])})


def test_who_brings_connections_ends_before_them_and_the_bytes_last():
    names = [stage.name for stage in SHUTDOWN]
    assert names == [
        "welcome",
        "maintenance",
        "discovery",
        "pool",
        "admission",
        "bandwidth",
    ]
    assert set(STARTING) <= set(names)
    assert len(set(names)) == len(names)
    assert all(stage.doc for stage in SHUTDOWN)
    assert [stage.limit for stage in SHUTDOWN] == [0, 0, 0, 0, 0, FLUSH_LIMIT]
    assert FLUSH_LIMIT == 3.0


def folded(table: Table, state: States) -> State:
    """Say what a worker's own state means to the outside."""
    if state is table.initial:
        return State.INACTIVE
    return State.STOPPED if state in table.final else State.ACTIVE


@pytest.mark.parametrize(
    "table",
    [welcome.TABLE, maintenance.TABLE, discovery.TABLE],
    ids=lambda table: table.name,
)
def test_the_table_of_every_worker_refines_this_one(table: Table):
    steps = {(row.trigger, source): row.dest for _, source, row in TABLE.lines()}
    assert [state.name for state in table.final] == ["STOPPED"]
    for trigger, source, row in table.lines():
        before = folded(table, source)
        after = folded(table, row.dest or source)
        if before is after:
            # Its own business: only a worker that works has any.
            assert before is State.ACTIVE
        else:
            assert steps[trigger, before] is after
    stopping = {source for trigger, source, _ in table.lines() if trigger == "stop"}
    assert stopping == set(table.states) - set(table.final)
