"""Messages and handshakes over loopback, by both drivers, and what a careful hand gets.

The two ends of a talk are two processes, each on a core of its own; both talks of a
comparison stand open all the time, and are timed in turn.  What counts is the wall time
until the receiver has its last message, less the time that other programs took.

A backlog of small messages has to be twice as fast as one chunk for each; big messages,
which are mostly cipher, may cost little more than with nothing around it.
"""

import crowds
import pytest
import talking
from pairs import in_turn, judge, settle, work
from talking import BULK, CHUNK, SMALL
from two_processes import Party, compare_talks, talk, undisturbed
from yardsticks.beforenm import agree
from yardsticks.one_chunk_each import seal_and_open_each

OURS = {
    "asyncio": (talking.aio_receives, talking.aio_sends),
    "blocking": (talking.blocking_receives, talking.blocking_sends),
}
BUFFERED = (talking.buffered_receives, talking.buffered_sends)
STREAMS = (talking.streams_receive, talking.streams_send)

each_driver = pytest.mark.parametrize("driver", list(OURS))


def judge_talks(benchmark, name, ours, ours_says, theirs, theirs_says, least):
    """Compare talks; with benchmarks disabled, send a few messages over both."""
    smoke = benchmark.disabled
    with (
        talk(*ours, ours_says, thread=smoke) as subject,
        talk(*theirs, theirs_says, thread=smoke) as yardstick,
    ):
        if smoke:
            benchmark.pedantic(subject.seconds, (10,))
            yardstick.seconds(10)
            return
        benchmark.pedantic(subject.seconds, (subject.count_for(0.2),), rounds=1)
        settle(benchmark, name, compare_talks(subject, yardstick), least)


def sides(pair, *args):
    """Return what `talk` wants: both sides with their arguments."""
    receives, sends = pair
    return (receives, *args), (sends, *args)


@pytest.mark.parametrize("joins", [True, False], ids=["joined", "not joined"])
@each_driver
def test_bench_small_messages_between_processes(benchmark, driver, joins):
    how = "joined" if joins else "not joined"
    name = f"messages of 100 B, {driver}, {how} / one chunk each, buffered"
    ours, theirs = sides(OURS[driver], joins), sides(BUFFERED)
    judge_talks(benchmark, name, ours, SMALL, theirs, SMALL, 2.0 if joins else None)


@each_driver
def test_bench_bulk_between_processes(benchmark, driver):
    name = f"messages of 65511 B, {driver} / buffered chunks of 65517 B"
    ours, theirs = sides(OURS[driver], True), sides(BUFFERED)
    judge_talks(benchmark, name, ours, BULK, theirs, CHUNK, 0.85)


@each_driver
def test_bench_bulk_between_processes_the_naive_way(benchmark, driver):
    name = f"messages of 65511 B, {driver} / chunks of 65517 B over streams"
    ours, theirs = sides(OURS[driver], True), sides(STREAMS)
    judge_talks(benchmark, name, ours, BULK, theirs, CHUNK, 1.8)


def test_bench_bulk_in_one_loop(benchmark):
    count = 32
    with talking.aio_pair_on_a_loop() as (loop, near, far):

        def ours():
            loop.run_until_complete(talking.aio_transfer(near, far, BULK, count))

        name = f"{count} messages of 65511 B in one loop / bare seal + open of 65517 B"
        plain = work(lambda: seal_and_open_each(CHUNK, count))
        judge(benchmark, name, work(ours), plain, 0.60)


def test_bench_handshakes_over_loopback(benchmark):
    """Rounds of dialling, 32 at once; who has dialled leaves at once."""
    smoke, people = benchmark.disabled, 32 if benchmark.disabled else 2048
    listening = Party(crowds.welcomes, place=1, thread=smoke)
    try:
        port = listening.hear()
        dialling = Party(crowds.knocks, port, people, place=0, thread=smoke)
        try:
            dialling.hear()
            if smoke:
                benchmark.pedantic(dialling.ask, (crowds.AT_ONCE,))
                agree()
                return
            count = 16 * crowds.AT_ONCE
            benchmark.pedantic(dialling.ask, (count,), rounds=1)

            def take():
                ours = undisturbed(lambda: dialling.ask(count), listening, dialling)
                return ours / count, work(agree).seconds(1000) / 1000

            found = in_turn(take, 9)
        finally:
            dialling.stop()
    finally:
        listening.stop()
    name = f"handshake over loopback, {crowds.AT_ONCE} at once / key agreement"
    settle(benchmark, name, found, 0.12)
