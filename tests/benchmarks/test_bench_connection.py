"""What a connection costs per message, without a driver: in memory and on sockets.

Messages that wait share chunks, so a backlog costs less than one chunk for each message;
a message that is alone costs its chunk and a little more.  The round trips on sockets
are the latency of a program that awaits every answer, with each of the drivers.

A ratio of times that may be 1.4 at most is a ratio of rates of 1 / 1.4 at least.
"""

import pytest
from pairs import in_turn, judge, settle, work
from talking import (
    LOOPBACK,
    SMALL,
    aio_echo,
    aio_pair_on_a_loop,
    aio_round_trips,
    blocking_pair,
    blocking_round_trips,
    node,
    opened,
    round_trips,
    tcp_pair,
    transfer,
    unix_pair,
)
from two_processes import undisturbed
from yardsticks import bare_awaited, bare_round_trip
from yardsticks.one_chunk_each import seal_and_open_each

BACKLOG, TRIPS = 1000, 50
LEAST_OF_A_BACKLOG = {True: 2.5, False: 0.6}
LEAST_ON_SOCKETS, LEAST_AWAITED = 1 / 1.4, 1 / 2.2

sockets = pytest.mark.parametrize("pair", [unix_pair, tcp_pair])


@pytest.mark.parametrize("joins", [True, False], ids=["joined", "not joined"])
def test_bench_a_backlog_in_memory(benchmark, joins):
    sender, receiver = opened(node(1), node(2), joins)
    subject = work(lambda: transfer(sender, receiver, SMALL, BACKLOG))
    yardstick = work(lambda: seal_and_open_each(SMALL, BACKLOG))
    how = "joined" if joins else "not joined"
    name = f"{BACKLOG} messages of 100 B in memory, {how} / one chunk each, bare"
    judge(benchmark, name, subject, yardstick, LEAST_OF_A_BACKLOG[joins])
    assert receiver.receive() is None


@sockets
def test_bench_a_round_trip_on_blocking_sockets(benchmark, pair):
    one, other = opened(node(1), node(2))
    with pair() as (near, far), pair() as bare:
        subject = work(lambda: round_trips(SMALL, TRIPS, (one, near), (other, far)))
        yardstick = work(lambda: bare_round_trip.round_trips(SMALL, TRIPS, *bare))
        name = f"{TRIPS} round trips of 100 B, machines on a {pair.__name__} / bare calls"
        judge(benchmark, name, subject, yardstick, LEAST_ON_SOCKETS)


@sockets
def test_bench_a_round_trip_awaited(benchmark, pair):
    # Our connection is TCP in either case; judged is the less favourable yardstick.
    with aio_pair_on_a_loop() as (loop, near, far), pair() as bare:
        echo = loop.create_task(aio_echo(far))

        def trips():
            loop.run_until_complete(aio_round_trips(near, SMALL, TRIPS))

        yardstick = work(lambda: bare_round_trip.round_trips(SMALL, TRIPS, *bare))
        name = f"{TRIPS} round trips of 100 B over asyncio / bare calls, {pair.__name__}"
        least = LEAST_AWAITED if pair is unix_pair else None
        try:
            judge(benchmark, name, work(trips), yardstick, least)
        finally:
            echo.cancel()


def test_bench_a_round_trip_awaited_by_both(benchmark):
    """What of it is asyncio's: the yardstick is awaited too."""
    with aio_pair_on_a_loop() as (loop, near, far):
        echo = loop.create_task(aio_echo(far))
        bare = loop.run_until_complete(bare_awaited.open_pair(LOOPBACK))

        def ours():
            loop.run_until_complete(aio_round_trips(near, SMALL, TRIPS))

        def plain():
            loop.run_until_complete(bare_awaited.round_trips(bare, SMALL, TRIPS))

        name = f"{TRIPS} round trips of 100 B over asyncio / bare calls over asyncio"
        try:
            judge(benchmark, name, work(ours), work(plain), LEAST_AWAITED)
        finally:
            echo.cancel()
            bare.transport.close()


@pytest.mark.parametrize("thread", [True, False], ids=["thread", "no thread"])
def test_bench_a_round_trip_with_blocking_calls(benchmark, thread):
    """Wall time, less what others took of it: threads wait for each other."""
    with blocking_pair(thread) as (near, _), unix_pair() as bare:

        def ours():
            blocking_round_trips(near, SMALL, TRIPS)

        def plain():
            bare_round_trip.round_trips(SMALL, TRIPS, *bare)

        if benchmark.disabled:
            benchmark.pedantic(ours)
            plain()
            return
        benchmark.pedantic(ours, rounds=5)
        found = in_turn(lambda: (undisturbed(ours), undisturbed(plain)))
        how = "a thread" if thread else "no thread"
        name = f"{TRIPS} round trips of 100 B, blocking driver with {how} / bare calls"
        settle(benchmark, name, found, None)
