"""What an established connection costs while nobody says anything: bytes, and no time.

Memory is judged by what Python's objects take (tracemalloc), at the end that was dialled,
whose process holds nothing but that end.  Resident memory is measured in a run of its
own, and reported.
"""

import asyncio
import gc
import time
import tracemalloc

import crowds
import pytest
from talking import SMALL, aio_pair, blocking_pair, node, opened, transfer
from two_processes import Party

from tezos_p2p.fsm.connection import Connection

CONNECTIONS, WARMING_UP = 512, 32
CORE_MOST, DRIVER_MOST = 1024, 2.0


def bytes_of_connections(count: int, talks: bool) -> float:
    """Return the bytes that an open connection and all it owns take, on average."""
    ours, theirs = node(1), [node(10 + number) for number in range(count)]
    kept = [None] * count
    transfer_all(*opened(theirs[0], ours))
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for number, other in enumerate(theirs):
            far, kept[number] = opened(other, ours)
            if talks:
                transfer_all(far, kept[number])
        del far
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert all(type(end) is Connection for end in kept)
    assert all(end.next_timeout() is None for end in kept)
    return (after - before) / count


def transfer_all(one, other) -> None:
    """Send backlogs of small messages, and big ones, both ways."""
    for sender, receiver in ((one, other), (other, one)):
        transfer(sender, receiver, SMALL, 100)
        transfer(sender, receiver, bytes(100_000), 3)


@pytest.mark.parametrize("talks", [False, True], ids=["fresh", "after messages"])
def test_bench_memory_of_a_core(benchmark, talks):
    count = 3 if benchmark.disabled else CONNECTIONS
    size = benchmark.pedantic(bytes_of_connections, (count, talks), rounds=1)
    if benchmark.disabled:
        return
    when = "after messages" if talks else "fresh"
    print(f"\nidle connection, core, {when}: {size:.0f} B (at most {CORE_MOST})", end="")
    benchmark.extra_info["bytes"] = size
    assert size <= CORE_MOST


def growth(holds, joins, count, thread):
    """Have one process hold connections of another; return bytes for each, or None."""
    holding = Party(*holds, place=0, thread=thread)
    try:
        port = holding.hear()
        joining = Party(joins[0], port, *joins[1:], place=1, thread=thread)
        try:
            joining.hear()
            for number in (WARMING_UP, count):
                holding.ask(number)  # it has looked at its memory as it is before
                joining.ask(number)
                grown = holding.hear()
            return None if grown is None else grown / count
        finally:
            joining.stop()
    finally:
        holding.stop()


@pytest.mark.parametrize("traced", [True, False], ids=["objects", "resident"])
@pytest.mark.parametrize("talks", [False, True], ids=["fresh", "after messages"])
def test_bench_memory_with_the_driver(benchmark, talks, traced):
    smoke = benchmark.disabled
    count = crowds.AT_ONCE if smoke else CONNECTIONS
    holds, joins = (crowds.holds_ours, traced, talks), (crowds.joins_ours, talks)
    ours = benchmark.pedantic(growth, (holds, joins, count, smoke), rounds=1)
    holds, joins = (crowds.holds_bare, traced), (crowds.joins_bare,)
    bare = growth(holds, joins, count, smoke)
    if smoke or ours is None or bare is None:
        return
    when = "after messages" if talks else "fresh"
    what = "objects" if traced else "resident"
    target = f"at most {DRIVER_MOST:g}" if traced else "not judged"
    print(
        f"\nidle connection, core and driver, {when}, {what} / bare protocol:"
        f" {ours / bare:.2f} ({target}); {ours:.0f} B, yardstick {bare:.0f} B",
        end="",
    )
    benchmark.extra_info.update(bytes=ours, yardstick=bare)
    assert not traced or ours / bare <= DRIVER_MOST


def counted(selector, turns):
    """Have a selector count how often it is asked."""
    select = selector.select

    def counting(timeout=None):
        turns.append(timeout)
        return select(timeout)

    selector.select = counting


async def turns_in(seconds: float) -> int:
    """Return how often the loop goes round while nothing is done but sleep."""
    turns = []
    loop = asyncio.get_running_loop()
    counted(loop._selector, turns)
    await asyncio.sleep(seconds)
    del loop._selector.select
    return len(turns)


async def idle_turns(seconds: float) -> tuple[int, int]:
    async with aio_pair() as (near, far):
        await near.send(SMALL)
        assert await far.receive() == SMALL
        await asyncio.sleep(0.05)
        for end in (near, far):
            assert end._machine.next_timeout() is None
            assert end._core.next_timeout() is None
            assert end._driver._timer is None
        with_them = await turns_in(seconds)
    return with_them, await turns_in(seconds)


def test_bench_an_idle_connection_wakes_no_loop(benchmark):
    seconds = 0.05 if benchmark.disabled else 1.0
    turns, without = benchmark.pedantic(
        lambda: asyncio.run(idle_turns(seconds)), rounds=1
    )
    # The loop may look a moment early whether its time has come.
    assert turns <= 2
    assert without <= 2


def test_bench_an_idle_connection_wakes_no_thread(benchmark):
    seconds = 0.05 if benchmark.disabled else 1.0
    with blocking_pair(thread=True) as (near, far):
        time.sleep(0.05)
        turns = []
        for end in (near, far):
            assert end._core.next_timeout() is None
            counted(end._driver._selector, turns)
        benchmark.pedantic(time.sleep, (seconds,), rounds=1)
        assert turns == []
