"""Bounded queues: strictly below the limit, or empty."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tezos_p2p.fsm.queues import BoundedQueue, admits


@pytest.mark.parametrize(
    ("fill", "weight", "limit", "taken"),
    [
        (0, 1, 10, True),
        (0, 10, 10, True),
        (0, 1_000, 10, True),
        (1, 8, 10, True),
        (1, 9, 10, False),
        (1, 10, 10, False),
        (9, 1, 10, False),
        (0, 1, 0, True),
        (1, 1, 0, False),
        (1 << 40, 1 << 40, None, True),
    ],
)
def test_an_element_is_admitted_strictly_below_the_limit_or_if_there_is_none(
    fill: int, weight: int, limit: int | None, taken: bool
) -> None:
    assert admits(fill, weight, limit) is taken
    queue: BoundedQueue[str] = BoundedQueue(limit)
    if fill:
        assert queue.push("first", fill)
    assert queue.admits(weight) is taken
    assert queue.push("second", weight) is taken
    assert len(queue) == bool(fill) + taken


def test_a_queue_that_refuses_does_not_change() -> None:
    queue: BoundedQueue[str] = BoundedQueue(10)
    queue.push("a", 5)
    assert not queue.push("b", 5)
    assert (len(queue), queue.fill) == (1, 5)
    assert [queue.pop(), queue.pop()] == ["a", None]


def test_an_oversize_element_passes_alone_and_keeps_all_others_out() -> None:
    queue: BoundedQueue[str] = BoundedQueue(10)
    assert queue.push("huge", 11)
    assert not queue.push("tiny", 1)
    assert queue.pop() == "huge"
    assert queue.push("tiny", 1)


def test_nothing_is_allocated_while_a_queue_is_empty() -> None:
    queue: BoundedQueue[str] = BoundedQueue(10)
    assert queue.items is None
    queue.push("a", 1)
    assert queue.items is not None
    queue.pop()
    assert queue.items is None


def test_a_cleared_queue_is_as_new() -> None:
    queue: BoundedQueue[str] = BoundedQueue(10)
    queue.push("a", 9)
    queue.clear()
    assert (queue.items, queue.fill, len(queue), queue.pop()) == (None, 0, 0, None)
    assert queue.push("b", 9)


@given(
    limit=st.none() | st.integers(0, 60),
    steps=st.lists(st.none() | st.integers(1, 40), max_size=60),
)
def test_what_is_in_comes_out_in_order_and_the_weights_add_up(
    limit: int | None, steps: list[int | None]
) -> None:
    queue: BoundedQueue[int] = BoundedQueue(limit)
    model: list[tuple[int, int]] = []
    for number, weight in enumerate(steps):
        if weight is None:
            assert queue.pop() == (model.pop(0)[0] if model else None)
        else:
            total = sum(w for _, w in model)
            expected = limit is None or not model or total + weight < limit
            assert queue.push(number, weight) is expected
            if expected:
                model.append((number, weight))
        assert (len(queue), queue.fill) == (len(model), sum(w for _, w in model))
        # More than the limit only for one that is alone.
        assert limit is None or len(model) < 2 or queue.fill < limit


@given(st.lists(st.integers(1, 9)), st.integers(-1, 12), st.integers(0, 3))
def test_taking_many_is_popping_one_by_one(weights, most, before):
    one, other = BoundedQueue[int](None), BoundedQueue[int](None)
    for number, weight in enumerate(weights):
        for queue in (one, other):
            assert queue.push(number, weight)
    for queue in (one, other):
        for _ in range(before):
            queue.pop()
    taken = one.take(most)
    popped = [other.pop() for _ in range(min(max(most, 0), len(other)))]
    assert taken == popped
    assert (one.fill, len(one), one.items is None) == (
        other.fill,
        len(other),
        other.items is None,
    )
