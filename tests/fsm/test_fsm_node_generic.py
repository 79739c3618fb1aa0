"""A node knows nothing of its application: other messages, other memories of peers."""

from __future__ import annotations

import itertools
import typing

import attrs
import pytest
from typed_application import (
    Ask,
    Record,
    Station,
    Tell,
    WeatherCodec,
    treat,
    trust_in,
    weather_node,
)

from tezos_p2p.fsm.commands import Accept, Close, Dial, Read, Shut, Write
from tezos_p2p.fsm.inbox import Joined, Left
from tezos_p2p.fsm.node import Node
from tezos_p2p.spec.address import Address
from tezos_p2p.spec.identity import Identity
from tezos_p2p.spec.limits import Limits
from tezos_p2p.spec.message import MessageCodec
from tezos_p2p.spec.point import Point
from tezos_p2p.spec.reader import DecodeError, EncodeError
from tezos_p2p.spec.reasons import Reason

LIMITS = Limits(maintenance_idle_time=None)


def peer_id(number):
    return Identity.of_secret(((number + 1) << 3).to_bytes(32, "little")).peer_id


def point(number):
    return Point(Address.parse(f"{20 + number}.0.0.1"), 9732)


def draws(number):
    """Return sources of bytes and of numbers that repeat themselves."""
    counter = itertools.count(1000 * number)

    def some_bytes(size):
        return next(counter).to_bytes(size, "big")

    return some_bytes, lambda: next(counter) % 97 / 97


class Wire:
    """Two stations and the sockets between them; nothing takes any time."""

    def __init__(self, limits=LIMITS):
        self.stations = [
            Station(weather_node(n, *draws(n), limits), {"Paris": (18, 21)} if n else {})
            for n in range(2)
        ]
        self.links = {}
        self.now = 0.0
        self.pulls = True
        self.joined, self.left = [], []
        for station in self.stations:
            station.node.start(0.0, 0.0)

    def settle(self):
        """Move bytes until nothing moves."""
        moved = True
        while moved:
            moved = False
            for number, station in enumerate(self.stations):
                while (command := station.node.next_command()) is not None:
                    moved = True
                    self.carry_out(number, command)
                if self.pulls and station.node.readable:
                    moved = True
                    station.pull(self.now)

    def carry_out(self, number, command):
        node, other = self.stations[number].node, self.stations[1 - number].node
        match command:
            case Dial(link):
                theirs = other.accept(Point(point(number).address, 40_000), self.now)
                assert theirs is not None
                self.links = {(number, link): theirs, (1 - number, theirs): link}
                node.link_made(link, self.now)
            case Write(link):
                data = node.data_to_send(link, 1 << 20, self.now)
                theirs = self.links.get((number, link))
                if data and (1 - number, theirs) in self.links:
                    other.receive_data(theirs, data, self.now)
            case Close(link):
                theirs = self.links.pop((number, link))
                node.link_lost(link, None, self.now)
                if (1 - number, theirs) in self.links:
                    other.receive_data(theirs, b"", self.now)
            case Accept() | Read() | Shut():
                pass
            case _:
                raise AssertionError(command)

    def meet(self):
        assert isinstance(self.stations[0].node.connect(point(1), self.now), int)
        self.settle()
        assert [station.node.pool.active for station in self.stations] == [1, 1]
        return self.stations


def test_messages_of_any_type_come_through_as_what_they_were():
    wire = Wire()
    asks, tells = wire.meet()
    assert asks.node.send(peer_id(1), Ask("Paris"), wire.now)
    wire.settle()
    assert tells.heard == [(peer_id(0), Ask("Paris"))]
    assert asks.heard == [(peer_id(1), Tell((18, 21)))]
    assert tells.node.broadcast(Tell(tuple(range(1000))), wire.now) == 1
    wire.settle()
    assert asks.heard[-1] == (peer_id(1), Tell(tuple(range(1000))))


def test_what_is_remembered_of_peers_is_of_the_applications_own_type():
    wire = Wire()
    asks, _ = wire.meet()
    assert asks.opinion(peer_id(1)) == Record()
    assert asks.opinion(peer_id(5)) is None
    for place in ("Paris", "Paris", "Atlantis"):
        asks.node.send(peer_id(1), Ask(place), wire.now)
        wire.settle()
    assert asks.opinion(peer_id(1)) == Record(right=2, wrong=1)
    asks.node.disconnect(peer_id(1), wire.now)
    wire.settle()
    # It outlives the connection.
    wire.now = 100.0
    wire.meet()
    assert asks.opinion(peer_id(1)) == Record(right=2, wrong=1)


def test_the_score_of_the_applications_record_decides_who_is_forgotten_first():
    wire = Wire(attrs.evolve(LIMITS, max_known_peer_ids=(3, 2)))
    node = wire.stations[0].node
    for number, record in ((10, Record(5, 0)), (11, Record(0, 5)), (12, Record(1, 0))):
        node.update_metadata(peer_id(number), lambda _, it=record: it, wire.now)
    node.update_metadata(peer_id(13), lambda it: it, wire.now)
    assert set(node.pool.known_peers) == {peer_id(n) for n in (10, 12, 13)}


def test_the_applications_policy_slows_down_who_is_often_wrong():
    wire = Wire()
    asks, _ = wire.meet()
    node = asks.node
    node.update_metadata(peer_id(1), lambda _: Record(0, 3), wire.now)
    for _ in range(20):
        assert node.send(peer_id(1), Tell(tuple(range(1000))), wire.now)
    wire.settle()
    got = len(wire.stations[1].heard)
    assert got < 20
    for _ in range(400):
        wire.now += 1.0
        for station in wire.stations:
            station.node.handle_timeout(wire.now)
        wire.settle()
    assert len(wire.stations[1].heard) == 20


@pytest.mark.parametrize("message", [Tell((-1,)), Tell((0,) * 1001), Ask("x" * 101)])
def test_what_cannot_be_encoded_is_the_senders_mistake_and_breaks_nothing(message):
    wire = Wire()
    asks, tells = wire.meet()
    with pytest.raises(EncodeError):
        asks.node.send(peer_id(1), message, wire.now)
    with pytest.raises(EncodeError):
        asks.node.broadcast(message, wire.now)
    asks.node.send(peer_id(1), Ask("Rome"), wire.now)
    wire.settle()
    assert tells.heard == [(peer_id(0), Ask("Rome"))]


def test_what_the_applications_codec_does_not_decode_ends_the_connection():
    wire = Wire()
    asks, tells = wire.meet()
    codec = WeatherCodec()
    for tag, payload in ((0x20, b"\xff"), (0x21, b"1234567")):
        with pytest.raises(DecodeError):
            codec.decode(tag, payload)
    (link,) = asks.node.pool.running
    asks.node._reception.connection(link).send_encoded(b"\0\0\0\3\0\x20", b"\xff")
    asks.node._traffic.settle(link, wire.now)
    wire.settle()
    assert [station.node.pool.active for station in wire.stations] == [0, 0]
    assert tells.heard == []
    assert tells.node.acl.is_peer_greylisted(peer_id(0), wire.now)


def test_items_tell_of_coming_and_going_around_the_messages():
    wire = Wire()
    wire.pulls = False
    asks, tells = wire.meet()
    asks.node.send(peer_id(1), Ask("Oslo"), wire.now)
    wire.settle()
    asks.node.disconnect(peer_id(1), wire.now)
    wire.settle()
    items = []
    while (item := tells.node.receive()) is not None:
        items.append(item)
    joined, message, left = items
    assert isinstance(joined, Joined)
    assert joined.version.chain_name == "WEATHER"
    assert joined.version.distributed_db_version == 7
    assert (message.peer_id, message.message) == (peer_id(0), Ask("Oslo"))
    assert isinstance(left, Left)
    assert left.disconnection.reason is Reason.CONNECTION_CLOSED_BY_PEER


def test_a_codec_with_tags_of_this_layer_is_refused():
    @attrs.frozen
    class Greedy(WeatherCodec):
        limits: dict[int, int] = attrs.field(factory=lambda: {0x05: 10})

    with pytest.raises(ValueError, match="tag"):
        MessageCodec(Greedy())


def test_the_score_and_the_treatment_follow_from_the_record():
    assert trust_in(Record()) == 1.0
    assert treat(Record(0, 1), 0.5, False).cap_up == 1000
    assert treat(Record(0, 1), 0.5, True).cap_up is None
    assert treat(Record(9, 0), 10.0, False).weight_up == 4.0


def test_a_node_is_generic_in_its_messages_and_in_what_it_remembers():
    assert len(typing.get_args(Node[Ask | Tell, Record])) == 2
