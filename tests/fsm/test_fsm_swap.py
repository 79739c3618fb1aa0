"""The swap of a node: its machine, its linger, and the shares of those who steer it."""

from __future__ import annotations

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tezos_p2p.fsm.machine import LocalProtocolError, compiled, shared
from tezos_p2p.fsm.swap import STEERED_MAX, STEERED_TIME, State, Swap, Swaps
from tezos_p2p.spec.address import Address
from tezos_p2p.spec.identity import PeerId
from tezos_p2p.spec.point import Point

ASKED = Swap(
    link=1,
    source=PeerId(bytes(16)),
    party="them",
    dial=Point(Address.parse("10.0.0.9"), 9732),
    drop=PeerId(b"\1" * 16),
)


@pytest.mark.parametrize("runner", [shared, compiled])
def test_who_is_asked_answers_and_dials(runner):
    swaps = Swaps(30.0, runner)
    assert (swaps.state, swaps.busy, swaps.current) == (State.RESTING, False, None)
    swaps.agree(ASKED)
    assert (swaps.state, swaps.busy, swaps.current) == (State.AGREEING, True, ASKED)
    swaps.answered()
    assert (swaps.state, swaps.busy, swaps.current) == (State.DIALLING, True, ASKED)
    swaps.succeed(7, 101.0)
    assert (swaps.state, swaps.busy, swaps.current) == (State.RESTING, False, None)
    assert (swaps.won, swaps.lost) == (1, 0)


def test_who_has_asked_dials_at_once():
    swaps = Swaps(30.0)
    swaps.accept(ASKED)
    assert (swaps.state, swaps.current) == (State.DIALLING, ASKED)
    swaps.fail()
    assert (swaps.state, swaps.current) == (State.RESTING, None)
    assert (swaps.won, swaps.lost) == (0, 1)


def test_an_answer_without_room_has_no_consequences():
    swaps = Swaps(30.0)
    swaps.agree(ASKED)
    assert not swaps.may_agree(1e6)
    swaps.unanswered()
    assert (swaps.state, swaps.current) == (State.RESTING, None)
    assert swaps.may_agree(100.0)
    assert (swaps.won, swaps.lost) == (0, 0)


def test_requests_rest_during_a_swap_and_after_a_success():
    swaps = Swaps(30.0)
    assert swaps.may_agree(-1e9)
    swaps.agree(ASKED)
    swaps.answered()
    assert not swaps.may_agree(1e6)  # one at a time, whatever the clock says
    swaps.succeed(7, 109.0)
    assert not swaps.may_agree(138.9)
    assert swaps.may_agree(139.0)


def test_after_a_failure_requests_are_taken_up_unless_a_success_is_recent():
    swaps = Swaps(30.0)
    swaps.accept(ASKED)
    swaps.fail()
    assert swaps.may_agree(100.0)
    swaps.accept(ASKED)
    swaps.succeed(7, 110.0)
    swaps.accept(ASKED)
    swaps.fail()
    assert not swaps.may_agree(139.9)
    assert swaps.may_agree(140.0)


def test_there_may_be_no_swaps_at_all():
    assert not Swaps(None).may_agree(1e9)


STEPS = {
    "agree": lambda swaps: swaps.agree(ASKED),
    "answered": lambda swaps: swaps.answered(),
    "unanswered": lambda swaps: swaps.unanswered(),
    "accept": lambda swaps: swaps.accept(ASKED),
    "succeed": lambda swaps: swaps.succeed(7, 110.0),
    "fail": lambda swaps: swaps.fail(),
}
LEGAL = {
    State.RESTING: {"agree": State.AGREEING, "accept": State.DIALLING},
    State.AGREEING: {"answered": State.DIALLING, "unanswered": State.RESTING},
    State.DIALLING: {"succeed": State.RESTING, "fail": State.RESTING},
}
WAYS = {State.RESTING: (), State.AGREEING: ("agree",), State.DIALLING: ("accept",)}


@pytest.mark.parametrize("state", State)
@pytest.mark.parametrize("step", STEPS)
def test_every_step_in_every_state(state, step):
    swaps = Swaps(30.0)
    for each in WAYS[state]:
        STEPS[each](swaps)
    assert swaps.state is state
    before = (swaps.current, swaps.won, swaps.lost, swaps.may_steer("them", 0, 0.0))
    if step in LEGAL[state]:
        STEPS[step](swaps)
        assert swaps.state is LEGAL[state][step]
        assert (swaps.current is None) is (swaps.state is State.RESTING)
    else:
        with pytest.raises(LocalProtocolError) as caught:
            STEPS[step](swaps)
        assert (caught.value.trigger, caught.value.state) == (step, state.name)
        assert swaps.state is state
        after = (swaps.current, swaps.won, swaps.lost, swaps.may_steer("them", 0, 0.0))
        assert after == before


def win(swaps: Swaps, link: int, party: str, now: float = 0.0) -> None:
    swaps.accept(attrs.evolve(ASKED, party=party))
    swaps.succeed(link, now)


def test_one_party_fills_two_of_our_places():
    swaps = Swaps(30.0)
    win(swaps, 1, "them")
    assert swaps.may_steer("them", 100, 0.0)
    win(swaps, 2, "them", 10.0)
    assert not swaps.may_steer("them", 100, 10.0)
    assert swaps.may_steer("others", 100, 10.0)
    assert not swaps.may_steer("them", 100, 1e9)  # as long as both run


def test_a_place_is_taken_for_its_time_also_if_its_link_is_gone_at_once():
    swaps = Swaps(30.0)
    win(swaps, 1, "them")
    win(swaps, 2, "them", 10.0)
    swaps.forget(99, 11.0)
    for now in (11.0, 12.0):
        swaps.forget(1, now)
        swaps.forget(2, now)
    assert not swaps.may_steer("them", 100, STEERED_TIME - 0.1)
    assert swaps.may_steer("them", 100, STEERED_TIME)
    win(swaps, 3, "them", STEERED_TIME)
    assert not swaps.may_steer("them", 100, STEERED_TIME + 9.9)
    assert swaps.may_steer("them", 100, STEERED_TIME + 10.0)


def test_a_place_that_was_taken_for_its_time_is_free_when_its_link_is_gone():
    swaps = Swaps(30.0)
    win(swaps, 1, "them")
    win(swaps, 2, "them")
    swaps.forget(1, STEERED_TIME)
    assert swaps.may_steer("them", 100, STEERED_TIME)
    swaps.forget(2, STEERED_TIME)
    swaps.forget(2, STEERED_TIME)
    assert not swaps._parties
    assert not swaps._steered
    assert not swaps._gone._armed


@pytest.mark.parametrize("gone", [False, True])
def test_a_quarter_of_our_places_is_filled_by_others(gone):
    swaps = Swaps(30.0)
    for link in range(5):
        win(swaps, link, f"party {link}")
        if gone:
            swaps.forget(link, 1.0)
    assert not swaps.may_steer("another", 23, 1.0)
    assert swaps.may_steer("another", 24, 1.0)
    assert not swaps.may_steer("another", 0, 1.0)
    assert swaps.may_steer("another", 0, STEERED_TIME) is gone
    assert Swaps(30.0).may_steer("another", 0, 0.0)


@given(
    st.lists(
        st.tuples(
            st.booleans(),
            st.integers(0, 9),
            st.sampled_from(["a", "b", "c"]),
            st.sampled_from([0.0, 60.0, 600.0, STEERED_TIME]),
        ),
        max_size=50,
    )
)
def test_shares_are_kept_if_they_are_asked_for(steps):
    swaps, now, new = Swaps(30.0), 0.0, 0
    running: dict[int, str] = {}
    won: list[tuple[float, str]] = []
    for comes, number, party, passed in steps:
        now += passed
        if comes and swaps.may_steer(party, 16, now):
            new += 1
            win(swaps, new, party, now)
            running[new] = party
            won.append((now, party))
        elif not comes and running:
            link = list(running)[number % len(running)]
            del running[link]
            swaps.forget(link, now)
        lately = [who for at, who in won if now < at + STEERED_TIME]
        for places in (list(running.values()), lately):
            assert len(places) <= 4
            assert all(places.count(each) <= STEERED_MAX for each in "abc")
        assert len(swaps._steered) == sum(swaps._parties.values()) <= 4
        assert all(count <= STEERED_MAX for count in swaps._parties.values())
        assert len(swaps._gone) < 80
