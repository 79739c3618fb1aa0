"""The simulated network itself: what it refuses, who is killed, and bytes that change."""

from __future__ import annotations

import math

import pytest
from nodes import identity, node, point

from tezos_p2p.fsm.inbox import Message
from tezos_p2p.fsm.machine import LocalProtocolError
from tezos_p2p.io.simulated import Network
from tezos_p2p.spec import Point, PointError, Reason


def pair(network):
    one = network.add(point(0), node(0, 1), keeps=True)
    other = network.add(str(point(1)), node(1), keeps=True)
    network.run(10.0)
    return one, other


# -- what it refuses ---


@pytest.mark.parametrize("seconds", [-20.0, math.nan, math.inf, -math.inf])
def test_no_time_passes_backwards_or_without_end(seconds):
    network = Network()
    one, other = pair(network)
    with pytest.raises(ValueError, match="cannot pass"):
        network.run(seconds)
    assert network.now == 10.0
    network.run(0.0)
    assert one.node.pool.active == other.node.pool.active == 1


@pytest.mark.parametrize(
    "latency", [(-1.0, 1.0), (2.0, 1.0), (0.0, math.inf), (math.nan, 1)]
)
def test_latencies_that_are_none(latency):
    with pytest.raises(ValueError, match="are none"):
        Network(latency=latency)


def test_two_hosts_are_not_at_one_point():
    network = Network()
    pair(network)
    second = node(2)
    with pytest.raises(ValueError, match="already"):
        network.add(point(0), second)
    assert len(network.hosts) == 2
    network.add(point(2), second)  # nothing has happened to it


@pytest.mark.parametrize(
    ("where", "error"),
    [
        ("garbage", PointError),
        ("30.0.0.1", PointError),
        (5, TypeError),
        (Point("30.0.0.1", 5), TypeError),
        (("30.0.0.1", 5), TypeError),
    ],
)
def test_where_nobody_can_be(where, error):
    network = Network()
    with pytest.raises(error):
        network.add(where, node(0))
    assert network.hosts == []
    with pytest.raises(TypeError, match="node must be a Node"):
        network.add(point(0), identity(0))


def test_a_node_is_added_once():
    network = Network()
    one, _ = pair(network)
    with pytest.raises(LocalProtocolError):
        network.add(point(7), one.node)
    assert len(network.hosts) == 2
    network.run(1.0)


def test_hosts_show_themselves_in_a_line():
    one, other = pair(Network())
    assert len(repr(one)) < 200
    (running,) = one.node.pool.running.values()
    assert repr(running) == (
        f"<Running {running.link} {identity(1).peer_id} [::ffff:21.0.0.1]:9732 outgoing>"
    )
    (running,) = other.node.pool.running.values()
    assert repr(running).endswith(" incoming>")


# -- who is killed ---


def test_who_is_killed_does_nothing_and_may_be_followed_by_another():
    network = Network()
    one, other = pair(network)
    network.kill(other)
    network.kill(other)
    with pytest.raises(LocalProtocolError, match="killed"):
        network.do(other, lambda it: it.connect(point(0), network.now))
    assert other.node.pool.active == 1  # as it was
    network.run(5.0)
    assert one.node.pool.active == 0
    again = network.add(point(1), node(1, 0, seed=1))
    network.kill(other)  # which is no longer there
    network.run(60.0)
    assert again.node.pool.active == one.node.pool.active == 1


# -- bytes that change ---


def torn(data):
    return data[:-1] + bytes([data[-1] ^ 1])


def told(host, message):
    return [it.message for it in host.items if isinstance(it, Message)].count(message)


def test_whose_bytes_are_corrupted_is_greylisted_by_all_whom_it_meets():
    met = set()

    def tamper(sender, receiver, data):
        met.add((sender.number, receiver.number))
        return torn(data) if sender.number == 0 else data

    network = Network(tamper=tamper)
    liar = network.add(point(0), node(0, 1, 2, 3))
    others = [network.add(point(n), node(n, 1, 2, 3)) for n in (1, 2, 3)]
    network.run(60.0)
    assert liar.node.pool.active == 0
    for host in others:
        assert host.node.pool.active == 2
        assert host.node.acl.is_banned(point(0).address, network.now)
        assert host.node.refused[Reason.AUTHENTICATION_REJECTED_ERROR] >= 1
        for other in (1, 2, 3):
            assert not host.node.acl.is_banned(point(other).address, network.now)
    assert {(0, 1), (1, 0), (1, 2)} <= met


def test_whose_messages_are_corrupted_is_disconnected():
    lies = []

    def tamper(sender, _receiver, data):
        return torn(data) if lies and sender.number == 0 else data

    network = Network(tamper=tamper)
    one, other = pair(network)
    lies.append(one)
    network.do(one, lambda it: it.broadcast(b"lie", network.now))
    network.run(0.3)
    assert other.node.pool.active == 0
    assert told(other, b"lie") == 0


def test_what_is_lost_is_no_end_of_the_stream_and_takes_no_room():
    lost = [0]

    def tamper(sender, _receiver, data):
        if not lost[0] or sender.number:
            return data
        lost[0] += 1
        return None

    network = Network(tamper=tamper)
    one, other = pair(network)
    lost[0] = 1
    for _ in range(50):  # more than fits the way
        network.do(one, lambda it: it.broadcast(bytes(50_000), network.now))
        network.run(0.1)
    assert lost[0] > 30
    assert one.node.pool.active == other.node.pool.active == 1
    assert told(other, bytes(50_000)) == 0


def test_more_may_arrive_than_has_left():
    network = Network(tamper=lambda sender, _, data: data + data * (sender.number == 0))
    one, other = pair(network)
    network.run(10.0)
    assert one.node.pool.active == other.node.pool.active == 0


def test_what_is_changed_is_part_of_the_trace():
    def run(tamper):
        network = Network(tamper=tamper)
        pair(network)
        return network.trace

    plain = run(None)
    assert run(lambda _, __, data: data) == plain
    assert run(lambda _, __, data: bytes(bytearray(data))) == plain
    some = run(lambda sender, _, data: data[::-1] if sender.number else data)
    assert some == run(lambda sender, _, data: data[::-1] if sender.number else data)
    other = run(lambda sender, _, data: data[:-1] if sender.number else data)
    assert len({plain, some, other}) == 3


def test_what_arrives_are_bytes():
    network = Network(tamper=lambda *_: "text")
    with pytest.raises(TypeError, match="what tamper returns must be bytes, or None"):
        pair(network)
