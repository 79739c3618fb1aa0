"""An application of its own: its messages, what it remembers of peers, its node.

Nothing here is of a particular chain.  This module is meant to pass a strict type check:
what comes out of a node has the application's own types.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import assert_never, assert_type

import attrs

from tezos_p2p.fsm.inbox import Item, Joined, Left, Message, Ready
from tezos_p2p.fsm.local import Local
from tezos_p2p.fsm.node import Node
from tezos_p2p.fsm.peer import PeerInfo
from tezos_p2p.fsm.policy import Treatment
from tezos_p2p.fsm.pool import Pool
from tezos_p2p.fsm.settings import Settings
from tezos_p2p.spec.hello import ConnectionMetadata
from tezos_p2p.spec.identity import Identity, PeerId
from tezos_p2p.spec.limits import Limits
from tezos_p2p.spec.message import ApplicationCodec, MessageCodec
from tezos_p2p.spec.reader import DecodeError, DecodeFault, EncodeError
from tezos_p2p.spec.version import Network

_NUMBER = struct.Struct(">Q")


@attrs.frozen
class Ask:
    """Asks for the weather at a place."""

    place: str


@attrs.frozen
class Tell:
    """Tells the temperatures of a place, in degrees."""

    degrees: tuple[int, ...]


#: What nodes of this application say to each other.
Weather = Ask | Tell


@attrs.frozen
class WeatherCodec:
    """Ask is text under tag 0x20, Tell numbers of 8 bytes under tag 0x21."""

    @property
    def limits(self) -> Mapping[int, int]:
        """Most bytes of payload, by tag."""
        return {0x20: 100, 0x21: 8 * 1000}

    def encode(self, message: Weather) -> tuple[int, bytes]:
        """Return tag and payload."""
        match message:
            case Ask(place):
                return 0x20, place.encode()
            case Tell(degrees):
                try:
                    return 0x21, b"".join(map(_NUMBER.pack, degrees))
                except struct.error as error:
                    raise EncodeError(str(error)) from None

    def decode(self, tag: int, payload: bytes) -> Weather:
        """Return the message."""
        if tag == 0x20:
            try:
                return Ask(payload.decode())
            except UnicodeDecodeError as error:
                fault = DecodeFault.INVALID_VALUE
                raise DecodeError(fault, error.start, "no text") from None
        if len(payload) % _NUMBER.size:
            raise DecodeError(DecodeFault.NOT_ENOUGH_DATA, len(payload), "half a number")
        return Tell(tuple(number for (number,) in _NUMBER.iter_unpack(payload)))


@attrs.frozen
class Record:
    """What is remembered of a peer: how often it was right, and how often wrong."""

    right: int = 0
    wrong: int = 0


def trust_in(record: Record) -> float:
    """Return the score of a peer."""
    return (1.0 + record.right) / (1.0 + record.wrong)


def treat(record: Record, score: float, trusted: bool) -> Treatment:
    """Give who is wrong more often than right a thousand bytes a second."""
    poor = record.wrong > record.right and not trusted
    weight = min(max(score, 0.25), 4.0)
    return Treatment(weight_up=weight, cap_up=1000 if poor else None, may_swap=not poor)


WeatherNode = Node[Weather, Record]


def weather_node(
    number: int,
    random_bytes: Callable[[int], bytes],
    random: Callable[[], float],
    limits: Limits,
) -> WeatherNode:
    """Make a node of this application."""
    secret = ((number + 1) << 3).to_bytes(32, "little")
    application: ApplicationCodec[Weather] = WeatherCodec()
    local = Local(
        identity=Identity.of_secret(secret),
        network=Network("WEATHER", distributed_db_versions=(7,)),
        random_bytes=random_bytes,
        port=9732,
        metadata=ConnectionMetadata(),
        difficulty=0.0,
        limits=limits,
    )
    settings: Settings[Record] = Settings(
        new_metadata=Record,
        score=trust_in,
        policy=treat,
        shares="score",
        random=random,
        random_inside=random,
    )
    return Node(local, MessageCodec(application), settings)


@attrs.define
class Station:
    """An application: answers questions, and remembers who was right."""

    node: WeatherNode
    degrees: Mapping[str, tuple[int, ...]]
    heard: list[tuple[PeerId, Weather]] = attrs.field(
        factory=list[tuple[PeerId, "Weather"]]
    )

    def pull(self, now: float) -> None:
        """Take everything that waits."""
        while (item := self.node.receive()) is not None:
            assert_type(item, Item[Weather])
            self._take(item, now)

    def _take(self, item: Item[Weather], now: float) -> None:
        match item:
            case Message(_, peer_id, message):
                self._hear(peer_id, message, now)
            case Joined() | Left() | Ready():
                pass

    def _hear(self, peer_id: PeerId, message: Weather, now: float) -> None:
        self.heard.append((peer_id, message))
        match message:
            case Ask(place):
                answer = Tell(self.degrees.get(place, ()))
                assert_type(self.node.send(peer_id, answer, now), bool)
            case Tell(degrees):
                right = bool(degrees)
                self.node.update_metadata(
                    peer_id, lambda it: self.judged(it, right=right), now
                )
            case _:
                assert_never(message)

    @staticmethod
    def judged(record: Record, *, right: bool) -> Record:
        """Return what is to be remembered after an answer."""
        if right:
            return attrs.evolve(record, right=record.right + 1)
        return attrs.evolve(record, wrong=record.wrong + 1)

    def opinion(self, peer_id: PeerId) -> Record | None:
        """Return what is remembered of a peer."""
        pool = self.node.pool
        assert_type(pool, Pool[Record])
        info = pool.known_peers.get(peer_id)
        assert_type(info, PeerInfo[Record] | None)
        return None if info is None else info.metadata
