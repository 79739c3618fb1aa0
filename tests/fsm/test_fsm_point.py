"""Points: every transition and no other, the back-off, what is remembered of whom."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tezos_p2p.fsm.machine import RUNNERS, LocalProtocolError
from tezos_p2p.fsm.point import EVENTS_MAX, Backoff, Meeting, PointInfo, State
from tezos_p2p.spec.address import Address
from tezos_p2p.spec.identity import PeerId
from tezos_p2p.spec.point import Point
from tezos_p2p.spec.pool_events import PointEvent
from tezos_p2p.spec.pool_events import PointEventKind as Kind

POINT = Point(Address.parse("1.2.3.4"), 9732)
ALICE = PeerId(b"A" * 16)
BOB = PeerId(b"B" * 16)

Act = Callable[[PointInfo, float], None]

#: How each state is reached.
PATHS: dict[State, list[Act]] = {
    State.DISCONNECTED: [],
    State.REQUESTED: [lambda it, now: it.request(7, now)],
    State.ACCEPTED: [lambda it, now: it.accept(7, ALICE, now)],
    State.RUNNING: [lambda it, now: it.run(ALICE, now, 7)],
}


def info(state: State = State.DISCONNECTED, now: float = 0.0, **more: Any) -> PointInfo:
    made = PointInfo(POINT, **more)
    for act in PATHS[state]:
        act(made, now)
    assert made.state is state
    return made


def facts(it: PointInfo) -> tuple[Any, ...]:
    """Everything there is to know."""
    return attrs.astuple(it, recurse=False), it.events


# -- states ----------------------------------------------------------------------------


@pytest.mark.parametrize("runner", RUNNERS.values())
@pytest.mark.parametrize(
    ("source", "act", "dest"),
    [
        (State.DISCONNECTED, "request", State.REQUESTED),
        (State.REQUESTED, "request", State.REQUESTED),
        (State.ACCEPTED, "request", None),
        (State.RUNNING, "request", None),
        (State.DISCONNECTED, "accept", State.ACCEPTED),
        (State.REQUESTED, "accept", State.ACCEPTED),
        (State.ACCEPTED, "accept", None),
        (State.RUNNING, "accept", None),
        (State.DISCONNECTED, "run", State.RUNNING),
        (State.REQUESTED, "run", State.RUNNING),
        (State.ACCEPTED, "run", State.RUNNING),
        (State.RUNNING, "run", None),
        (State.DISCONNECTED, "run other", State.RUNNING),
        (State.REQUESTED, "run other", State.RUNNING),
        (State.ACCEPTED, "run other", None),
        (State.RUNNING, "run other", None),
        (State.DISCONNECTED, "disconnect", None),
        (State.REQUESTED, "disconnect", State.DISCONNECTED),
        (State.ACCEPTED, "disconnect", State.DISCONNECTED),
        (State.RUNNING, "disconnect", State.DISCONNECTED),
    ],
)
def test_each_step_leads_where_it_must_or_changes_nothing(
    runner: Any, source: State, act: str, dest: State | None
) -> None:
    it = info(source, runner=runner)
    acts: dict[str, Callable[[], None]] = {
        "request": lambda: it.request(8, 1.0),
        "accept": lambda: it.accept(8, ALICE, 1.0),
        "run": lambda: it.run(ALICE, 1.0, 8),
        "run other": lambda: it.run(BOB, 1.0, 8),
        "disconnect": lambda: it.disconnect(1.0),
    }
    if act.startswith("run"):
        assert it.may_run(BOB if act == "run other" else ALICE) is (dest is not None)
    before = facts(it)
    if dest is None:
        with pytest.raises(LocalProtocolError) as caught:
            acts[act]()
        assert (caught.value.trigger, caught.value.state) == (act.split()[0], source.name)
        assert facts(it) == before
    else:
        acts[act]()
        assert it.state is dest


def test_a_point_begins_with_nobody_and_nothing_behind_it() -> None:
    it = info()
    assert (it.link, it.peer_id, it.retry_at) == (None, None, None)
    assert (it.last_seen, it.last_miss, it.events) == (None, None, ())
    assert (it.trusted, it.expected, it.known_public) == (False, None, False)
    assert it.may_dial(0.0)


def test_link_and_peer_are_known_while_they_are_there() -> None:
    it = info()
    it.request(7, 0.0)
    assert (it.link, it.peer_id) == (7, None)
    it.request(8, 1.0)
    assert (it.link, it.peer_id) == (8, None)
    it.accept(9, ALICE, 2.0)
    assert (it.link, it.peer_id) == (9, ALICE)
    it.run(ALICE, 3.0)
    assert (it.link, it.peer_id) == (9, ALICE)
    it.disconnect(4.0)
    assert (it.link, it.peer_id) == (None, None)


@pytest.mark.parametrize("state", [State.REQUESTED, State.ACCEPTED, State.RUNNING])
def test_whoever_goes_leaves_neither_link_nor_peer(state: State) -> None:
    it = info(state)
    it.disconnect(1.0)
    assert (it.link, it.peer_id) == (None, None)


@pytest.mark.parametrize("state", [State.REQUESTED, State.ACCEPTED])
def test_a_connection_that_runs_is_the_one_before_unless_another_is_named(
    state: State,
) -> None:
    it = info(state)
    it.run(ALICE, 1.0)
    assert it.link == 7
    it = info(state)
    it.run(ALICE, 1.0, 0)
    assert it.link == 0


def test_nobody_runs_by_no_connection() -> None:
    it = info()
    before = facts(it)
    with pytest.raises(LocalProtocolError, match="by which connection"):
        it.run(ALICE, 1.0)
    assert facts(it) == before


# -- back-off --------------------------------------------------------------------------


def fail(it: PointInfo, now: float, *, accepted: bool = False) -> float:
    """Let an attempt fail; return how long the next has to wait."""
    if accepted:
        it.accept(7, ALICE, now)
    else:
        it.request(7, now)
    it.disconnect(now)
    assert it.retry_at is not None
    return it.retry_at - now


def test_each_failure_waits_a_fifth_longer_than_the_one_before() -> None:
    it = info()
    waits = [fail(it, 0.0, accepted=number % 2 == 1) for number in range(6)]
    assert waits == pytest.approx([1.0, 1.2, 1.44, 1.728, 2.0736, 2.48832])


def test_no_wait_is_longer_than_two_days() -> None:
    it = info()
    waits = [fail(it, 0.0) for _ in range(100)]
    assert waits[:67] == sorted(set(waits[:67]))
    # 1.2 to the 66th is 168,253 s, and to the 67th it would be 201,903 s.
    assert waits[66] == pytest.approx(168_252.8, abs=0.1)
    assert waits[67:] == [172_800.0] * 33


def test_after_a_connection_that_ran_it_is_a_minute_and_then_the_series_anew() -> None:
    it = info()
    assert [fail(it, 0.0) for _ in range(3)] == pytest.approx([1.0, 1.2, 1.44])
    it.run(ALICE, 10.0, 7)
    it.disconnect(100.0)
    assert it.retry_at == 160.0
    waits = [fail(it, 0.0), fail(it, 0.0, accepted=True), fail(it, 0.0)]
    assert waits == pytest.approx([1.0, 1.2, 1.44])


def test_nothing_but_a_connection_that_ran_and_went_ends_the_series() -> None:
    it = info(trusted=True)
    fail(it, 0.0)
    it.accept(7, ALICE, 5.0)
    assert it.retry_at == 1.0
    it.run(ALICE, 6.0)
    assert it.retry_at == 1.0


def test_the_moment_itself_is_still_too_early() -> None:
    it = info()
    fail(it, 100.0)
    assert not it.may_dial(100.0)
    assert not it.may_dial(101.0)
    assert it.may_dial(math.nextafter(101.0, 200.0))


@pytest.mark.parametrize("state", [State.REQUESTED, State.ACCEPTED, State.RUNNING])
def test_where_somebody_is_nobody_dials(state: State) -> None:
    assert not info(state).may_dial(1e9)


def test_who_wishes_or_comes_in_does_not_care_for_the_back_off() -> None:
    it = info()
    fail(it, 0.0)
    it.request(7, 0.5)
    it.disconnect(0.5)
    it.accept(8, ALICE, 0.5)
    assert it.state is State.ACCEPTED


def test_the_back_off_can_be_chosen() -> None:
    it = info(backoff=Backoff(factor=2.0, initial=3.0, after_disconnection=7.0, cap=10.0))
    assert [fail(it, 0.0) for _ in range(4)] == [3.0, 6.0, 10.0, 10.0]
    it.run(ALICE, 0.0, 7)
    it.disconnect(0.0)
    assert it.retry_at == 7.0
    assert fail(it, 0.0) == 3.0


def test_the_back_off_is_that_of_the_reference_unless_chosen() -> None:
    assert attrs.astuple(Backoff()) == (1.2, 1.0, 60.0, 172_800.0)
    assert attrs.astuple(Backoff(1.0, 0.0, 0.0, 0.0)) == (1.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("name", ["factor", "initial", "after_disconnection", "cap"])
@pytest.mark.parametrize("wrong", [-0.5, math.inf, math.nan])
def test_back_offs_out_of_range_are_refused(name: str, wrong: float) -> None:
    with pytest.raises(ValueError, match=rf"^{name} \S+ is not a number of at least"):
        Backoff(**{name: wrong})


def test_all_that_is_wrong_with_a_back_off_is_told_at_once() -> None:
    with pytest.raises(ValueError, match=r"^factor 0\.9 .* 1; initial -1 .* 0; cap nan"):
        Backoff(factor=0.9, initial=-1, cap=math.nan)


@given(
    st.lists(st.sampled_from(["request", "accept", "run", "disconnect"]), max_size=40),
    st.floats(1.0, 3.0),
    st.floats(0.0, 100.0),
)
def test_a_wait_is_never_shorter_than_the_first_nor_longer_than_the_cap(
    acts: list[str], factor: float, initial: float
) -> None:
    it = info(backoff=Backoff(factor, initial, 60.0, 120.0))
    for now, act in enumerate(acts):
        came = it.state
        try:
            if act == "request":
                it.request(7, now)
            elif act == "accept":
                it.accept(7, ALICE, now)
            elif act == "run":
                it.run(ALICE, now, 7)
            else:
                it.disconnect(now)
        except LocalProtocolError:
            assert it.state is came
            continue
        assert (it.link is None) is (it.state is State.DISCONNECTED)
        met = it.state in (State.ACCEPTED, State.RUNNING)
        assert (it.peer_id is not None) is met
        if it.state is State.DISCONNECTED:
            assert it.retry_at is not None
            if came is State.RUNNING:
                assert it.retry_at == now + 60.0
            else:
                assert now + initial <= it.retry_at <= now + 120.0


# -- memory ----------------------------------------------------------------------------


def test_an_attempt_that_fails_before_they_prove_who_they_are_is_a_miss_of_nobody() -> (
    None
):
    it = info()
    fail(it, 5.0)
    assert (it.last_failed, it.last_rejected) == (5.0, None)
    assert it.last_miss == 5.0
    assert it.last_seen is None


def test_an_attempt_that_fails_after_we_accepted_has_met_somebody() -> None:
    it = info()
    fail(it, 5.0, accepted=True)
    assert (it.last_failed, it.last_rejected) == (None, Meeting(ALICE, 5.0))
    assert it.last_miss == 5.0
    assert it.last_seen == Meeting(ALICE, 5.0)


def test_who_runs_is_seen_and_who_goes_is_missed() -> None:
    it = info()
    it.run(BOB, 5.0, 7)
    assert it.last_established == it.last_seen == Meeting(BOB, 5.0)
    assert it.last_miss is None
    it.disconnect(8.0)
    assert it.last_disconnection == it.last_seen == Meeting(BOB, 8.0)
    assert it.last_miss == 8.0


def test_the_latest_of_all_kinds_counts() -> None:
    it = info()
    fail(it, 1.0)
    fail(it, 2.0, accepted=True)
    assert (it.last_seen, it.last_miss) == (Meeting(ALICE, 2.0), 2.0)
    fail(it, 3.0)
    assert (it.last_seen, it.last_miss) == (Meeting(ALICE, 2.0), 3.0)
    it.run(BOB, 4.0, 7)
    assert (it.last_seen, it.last_miss) == (Meeting(BOB, 4.0), 3.0)
    it.disconnect(5.0)
    fail(it, 6.0, accepted=True)
    assert (it.last_seen, it.last_miss) == (Meeting(ALICE, 6.0), 6.0)


def test_of_two_at_the_same_moment_the_rejected_one_was_seen() -> None:
    it = info()
    it.run(BOB, 5.0, 7)
    it.disconnect(5.0)
    fail(it, 5.0, accepted=True)
    assert it.last_seen == Meeting(ALICE, 5.0)


def test_everything_that_happens_is_logged_with_whom_it_was() -> None:
    it = info()
    it.request(7, 1.0)
    it.disconnect(2.0, requested=True)
    it.request(7, 3.0)
    it.accept(7, ALICE, 4.0)
    it.disconnect(5.0)
    it.accept(8, BOB, 6.0)
    it.run(BOB, 7.0)
    it.disconnect(8.0)
    it.run(ALICE, 9.0, 9)
    it.disconnect(10.0, requested=True)
    assert it.events == (
        PointEvent(Kind.OUTGOING_REQUEST, 1.0),
        PointEvent(Kind.REQUEST_REJECTED, 2.0),
        PointEvent(Kind.OUTGOING_REQUEST, 3.0),
        PointEvent(Kind.ACCEPTING_REQUEST, 4.0, ALICE),
        PointEvent(Kind.REQUEST_REJECTED, 5.0, ALICE),
        PointEvent(Kind.ACCEPTING_REQUEST, 6.0, BOB),
        PointEvent(Kind.CONNECTION_ESTABLISHED, 7.0, BOB),
        PointEvent(Kind.EXTERNAL_DISCONNECTION, 8.0, BOB),
        PointEvent(Kind.CONNECTION_ESTABLISHED, 9.0, ALICE),
        PointEvent(Kind.DISCONNECTION, 10.0, ALICE),
    )


def test_a_hundred_lines_are_kept_and_the_oldest_goes_first() -> None:
    assert EVENTS_MAX == 100
    it = info()
    for now in range(100):
        it.request(7, now)
    assert [event.at for event in it.events] == list(range(100))
    it.request(7, 100)
    assert [event.at for event in it.events] == list(range(1, 101))
