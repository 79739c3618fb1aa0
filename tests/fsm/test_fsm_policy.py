"""Policies: what a score buys, and that no score buys nothing or everything."""

from __future__ import annotations

import math

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tezos_p2p.fsm.policy import (
    BY_SCORE,
    FAIR,
    WEIGHT_MAX,
    WEIGHT_MIN,
    Alike,
    ByScore,
    PeerPolicy,
    Treatment,
)

ANY_SCORE = st.floats(allow_nan=True, allow_infinity=True)


def test_the_fair_policy_treats_everybody_alike():
    plain = Treatment()
    assert plain == Treatment(
        weight_up=1.0, cap_up=None, weight_down=1.0, cap_down=None, may_swap=True
    )
    for score in (-1.0, 0.0, 1.0, 1e9, math.nan):
        for trusted in (False, True):
            assert FAIR(object(), score, trusted) == plain


def test_everybody_may_be_given_one_cap():
    capped = Treatment(cap_up=10_000, cap_down=20_000)
    assert Alike(capped)(None, 5.0, False) is capped


@pytest.mark.parametrize(
    ("score", "trusted", "weight"),
    [
        (1.0, False, 1.0),  # the neutral score of the reference: a fair share
        (2.0, False, 2.0),
        (4.0, False, 4.0),
        (4.1, False, 4.0),
        (math.inf, True, 4.0),
        (0.25, False, 0.25),
        (0.2, False, 0.25),
        (-math.inf, False, 0.25),
        (math.nan, False, 0.25),
        (0.25, True, 1.0),
        (math.nan, True, 1.0),
        (3.0, True, 3.0),
    ],
)
def test_a_share_follows_the_score_within_bounds(score, trusted, weight):
    treatment = BY_SCORE(None, score, trusted)
    assert treatment.weight_up == treatment.weight_down == weight
    assert treatment.cap_up is None
    assert treatment.cap_down is None


def test_who_scores_below_the_mark_neither_swaps_nor_exceeds_the_cap():
    policy = ByScore(swap_from=0.5, cap_below=1000)
    poor, enough = policy(None, 0.49, False), policy(None, 0.5, False)
    assert (poor.may_swap, poor.cap_up, poor.cap_down) == (False, 1000, 1000)
    assert (enough.may_swap, enough.cap_up, enough.cap_down) == (True, None, None)
    assert policy(None, -9.0, True).may_swap
    assert policy(None, -9.0, True).cap_up is None
    assert not BY_SCORE(None, -0.1, False).may_swap


def test_everybody_may_swap_if_there_is_no_mark():
    assert ByScore(swap_from=None, cap_below=1)(None, -1e300, False).may_swap
    assert ByScore(swap_from=None, cap_below=1)(None, -1e300, False).cap_up is None


@given(low=ANY_SCORE, high=ANY_SCORE, trusted=st.booleans())
def test_a_better_score_never_gets_less_and_nobody_gets_nothing(low, high, trusted):
    low, high = (0.0 if math.isnan(each) else each for each in (low, high))
    less, more = sorted((low, high))
    worse, better = BY_SCORE(None, less, trusted), BY_SCORE(None, more, trusted)
    assert WEIGHT_MIN <= worse.weight_up <= better.weight_up <= WEIGHT_MAX
    assert worse.may_swap <= better.may_swap


@given(score=ANY_SCORE)
def test_trust_never_costs_anything(score):
    trusted, other = BY_SCORE(None, score, True), BY_SCORE(None, score, False)
    assert trusted.weight_up >= other.weight_up
    assert trusted.may_swap >= other.may_swap


@pytest.mark.parametrize("name", ["weight_up", "weight_down"])
def test_a_weight_has_bounds(name):
    for good in (WEIGHT_MIN, 1.0, WEIGHT_MAX):
        assert getattr(Treatment(**{name: good}), name) == good
    for bad in (0.0, WEIGHT_MIN * 0.99, WEIGHT_MAX * 1.01, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match=name):
            Treatment(**{name: bad})


@pytest.mark.parametrize("name", ["cap_up", "cap_down"])
def test_a_cap_is_a_byte_a_second_at_least(name):
    assert getattr(Treatment(**{name: 1}), name) == 1
    with pytest.raises(ValueError, match=name):
        Treatment(**{name: 0})


def test_bounds_of_scores_have_an_order():
    assert (
        ByScore(least=1.0, trusted_least=1.0, most=1.0)(None, 7.0, False).weight_up == 1
    )
    for bad in ({"least": 2.0}, {"most": 0.5}, {"trusted_least": 5.0}):
        with pytest.raises(ValueError, match="trusted_least"):
            ByScore(**bad)
    with pytest.raises(ValueError, match="least"):
        ByScore(least=0.0)
    with pytest.raises(ValueError, match="cap_below"):
        ByScore(cap_below=0)


def test_a_policy_of_ones_own_is_a_function():
    @attrs.frozen
    class Counters:
        faults: int

    def strict(metadata: Counters, score: float, trusted: bool) -> Treatment:
        return Treatment(may_swap=metadata.faults == 0)

    policy: PeerPolicy[Counters] = strict
    assert policy(Counters(0), 1.0, False).may_swap
    assert not policy(Counters(1), 1.0, False).may_swap
    policy = FAIR
    assert policy(Counters(1), 1.0, False).may_swap
