"""The discovery worker: when it announces itself, and what it believes of others."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tezos_p2p.fsm import LocalProtocolError
from tezos_p2p.fsm.discovery import ANSWER_BURST, ANSWER_RATE, Discovery, State
from tezos_p2p.fsm.machine import RUNNERS
from tezos_p2p.spec import Address, EncodeError, PeerId, Point
from tezos_p2p.spec.datagram import DATAGRAM, Datagram

US = PeerId(b"\x01" * 16)
THEM = PeerId(b"\x02" * 16)
NEARBY = Address.parse("192.168.1.7")


def announced(port: int = 9732, peer_id: PeerId = THEM) -> bytes:
    return DATAGRAM.encode(Datagram(peer_id, port))


def started(now: float = 0.0, **settings) -> Discovery:
    discovery = Discovery(US, 9732, **settings)
    discovery.start(now)
    assert discovery.next_datagram() == announced(peer_id=US)
    return discovery


def gaps_of(discovery: Discovery, now: float, count: int) -> list[float]:
    """Let time pass; return how long it waits between announcements."""
    gaps = []
    for _ in range(count):
        at = discovery.next_timeout()
        assert at is not None
        discovery.handle_timeout(at)
        assert discovery.next_datagram() == announced(peer_id=US)
        assert discovery.next_datagram() is None
        gaps.append(round(at - now, 6))
        now = at
    return gaps


# -- the sender ------------------------------------------------------------------------


@pytest.mark.parametrize("runner", RUNNERS.values(), ids=RUNNERS)
def test_the_gaps_double_from_a_tenth_of_a_second_and_stay_at_51(runner):
    discovery = started(runner=runner)
    doubling = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2]
    assert gaps_of(discovery, 0.0, 8) == doubling[:8]
    assert discovery.state is State.SEEKING
    assert gaps_of(discovery, 25.5, 6) == [*doubling[8:], 51.2, 51.2, 51.2, 51.2]
    assert discovery.state is State.STEADY


def test_after_a_wake_up_they_double_from_two_tenths_and_stay_at_102():
    discovery = started()
    gaps_of(discovery, 0.0, 20)
    assert discovery.state is State.STEADY
    discovery.wake(10_000.0)
    assert discovery.state is State.SEEKING
    assert discovery.next_datagram() == announced(peer_id=US)
    doubling = [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 51.2, 102.4]
    assert gaps_of(discovery, 10_000.0, 13) == [*doubling, 102.4, 102.4, 102.4]


def test_nothing_is_announced_before_it_is_due():
    discovery = started()
    discovery.handle_timeout(0.0999)
    assert discovery.next_datagram() is None
    discovery.handle_timeout(0.1)
    assert discovery.next_datagram() is not None


def test_however_often_it_is_woken_a_tenth_of_a_second_lies_between_announcements():
    discovery, sent, step = started(), 0, 0.001
    for number in range(10_000):
        now = number * step
        discovery.wake(now)
        discovery.handle_timeout(now)
        if discovery.next_datagram():
            sent += 1
    # Rounding may draw each gap out by a step, and never shorten one.
    assert 98 <= sent <= 100


def test_what_nobody_fetched_is_not_sent_twice():
    discovery = Discovery(US, 9732)
    discovery.start(0.0)
    discovery.handle_timeout(1.0)
    discovery.handle_timeout(2.0)
    assert discovery.next_datagram() is not None
    assert discovery.next_datagram() is None


def test_a_port_above_32767_is_announced_unsigned():
    discovery = Discovery(US, 40_000)
    discovery.start(0.0)
    assert discovery.next_datagram() == b"DISCOMAGIC" + US + b"\x9c\x40"


def test_a_node_that_does_not_listen_has_nothing_to_announce():
    with pytest.raises(ValueError, match="nothing to announce"):
        Discovery(US, 0)
    with pytest.raises(EncodeError):
        Discovery(US, 65_536)


# -- the listener ----------------------------------------------------------------------


def test_a_datagram_of_somebody_else_is_a_point():
    discovery = started()
    assert discovery.receive(NEARBY, announced(), 1.0) == Point(NEARBY, 9732)
    assert discovery.receive(NEARBY, announced(65_535), 1.0) == Point(NEARBY, 65_535)
    assert discovery.receive(NEARBY, announced() + b"more", 1.0) == Point(NEARBY, 9732)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        announced()[:27],
        b"discomagic" + announced()[10:],
        announced(peer_id=US),
        announced(0),
    ],
    ids=["empty", "short", "wrong magic", "our own", "port 0"],
)
def test_what_is_no_announcement_of_a_listening_neighbour_is_ignored(data: bytes):
    discovery = started()
    for number in range(1000):
        assert discovery.receive(NEARBY, data, 1.0 + number * 1e-6) is None
    # Nor does it use up what is kept for others.
    assert discovery.passed_over == 0
    assert discovery.receive(NEARBY, announced(), 1.01) is not None


def test_a_flood_is_capped_whatever_sources_it_claims():
    discovery, now, passed = started(), 0.0, 0
    for number in range(20_000):
        now = number * 0.001
        source = Address((0xFFFF << 32) + number)
        passed += discovery.receive(source, announced(), now) is not None
    assert passed == pytest.approx(ANSWER_BURST + ANSWER_RATE * now, abs=2)
    assert discovery.passed_over == 20_000 - passed


def test_exactly_as_many_as_the_burst_pass_at_once():
    discovery = started()
    answers = [discovery.receive(NEARBY, announced(), 0.0) for _ in range(60)]
    assert sum(point is not None for point in answers) == ANSWER_BURST
    assert discovery.receive(NEARBY, announced(), 0.05) is None
    assert discovery.receive(NEARBY, announced(), 0.16) is not None
    assert discovery.receive(NEARBY, announced(), 0.16) is None


def test_a_long_silence_saves_up_no_more_than_the_burst():
    discovery = started()
    answers = [discovery.receive(NEARBY, announced(), 1e9) for _ in range(200)]
    assert sum(point is not None for point in answers) == ANSWER_BURST


def test_a_flood_leaves_nothing_behind():
    discovery = started()
    data = announced()
    discovery.receive(NEARBY, data, 0.0)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(5000):
            discovery.receive(Address(number), data, number * 0.01)
        assert tracemalloc.get_traced_memory()[0] - before < 2000
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=60), st.floats(0.0, 1e6))
def test_no_datagram_raises(data: bytes, now: float):
    discovery = started()
    assert discovery.receive(NEARBY, data, now) is None
    discovery.receive(NEARBY, b"DISCOMAGIC" + data, now)


# -- its life --------------------------------------------------------------------------


def test_before_the_start_and_after_the_end_it_neither_speaks_nor_hears():
    fresh = Discovery(US, 9732)
    stopped = started()
    stopped.handle_timeout(0.1)
    stopped.stop(0.2)
    stopped.stop(0.3)
    assert stopped.state is State.STOPPED
    for discovery in (fresh, stopped):
        state = discovery.state
        discovery.wake(1.0)
        discovery.handle_timeout(100.0)
        assert discovery.state is state
        assert discovery.next_datagram() is None
        assert discovery.next_timeout() is None
        assert discovery.receive(NEARBY, announced(), 100.0) is None


def test_it_is_started_once():
    discovery = started()
    with pytest.raises(LocalProtocolError):
        discovery.start(1.0)
    discovery.stop(2.0)
    with pytest.raises(LocalProtocolError):
        discovery.start(3.0)
