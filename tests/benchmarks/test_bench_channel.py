"""A channel seals and opens nearly as fast as the cipher alone."""

from pairs import judge, work
from yardsticks.bare_box import seal_and_open

from tezos_p2p.fsm.channel import Channel
from tezos_p2p.spec.limits import CHUNK_PLAINTEXT_SENT_MAX

KEY, NONCE = bytes(range(32)), 7
SIZES = {"65517 B": CHUNK_PLAINTEXT_SENT_MAX, "100 B": 100}


def channel_work(size: int):
    plaintext, channel = bytes(size), Channel(KEY, NONCE, NONCE)

    def seal_then_open():
        _, body = channel.seal(plaintext)
        return channel.open(body)

    return work(seal_then_open)


def bare_work(size: int):
    plaintext, nonce = bytes(size), NONCE.to_bytes(24, "big")
    return work(lambda: seal_and_open(plaintext, nonce, KEY))


def test_bench_the_largest_chunks_sealed_and_opened(benchmark):
    size = CHUNK_PLAINTEXT_SENT_MAX
    name = "channel, seal + open of 65517 B / bare calls"
    judge(benchmark, name, channel_work(size), bare_work(size), 0.95)


def test_bench_small_chunks_sealed_and_opened(benchmark):
    name = "channel, seal + open of 100 B / bare calls"
    judge(benchmark, name, channel_work(100), bare_work(100), None)
