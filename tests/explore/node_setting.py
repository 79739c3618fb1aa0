"""What all worlds of one exploration of nodes share: rules, nodes, keys, memory.

Everything secret or random is fixed, so each frame between two nodes exists once.  All
nodes are on loopback addresses, where nothing is rationed by the second, and have neither
maintenance nor discovery: they do only what they are told, or asked.  The clock stands
still: a deadline has come when the explorer says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping
from typing import Any, Final

import attrs
from explorer import Move
from handshake_world import identity
from node_copies import Copier

from tezos_p2p.fsm.admission import Attempt, Candidate
from tezos_p2p.fsm.answerer import Answerer
from tezos_p2p.fsm.channel import KeyCache
from tezos_p2p.fsm.local import Local
from tezos_p2p.fsm.machine import compiled
from tezos_p2p.fsm.node import Node
from tezos_p2p.fsm.peer import PeerInfo
from tezos_p2p.fsm.point import PointInfo
from tezos_p2p.fsm.pool import Pool
from tezos_p2p.fsm.reception import Begun, Heard, Over, Reception
from tezos_p2p.fsm.settings import Settings
from tezos_p2p.fsm.swap import Swaps
from tezos_p2p.fsm.tally import Tally
from tezos_p2p.fsm.timers import Timers
from tezos_p2p.fsm.traffic import Traffic
from tezos_p2p.fsm.wishes import Wishes
from tezos_p2p.spec.address import Address
from tezos_p2p.spec.identity import PeerId
from tezos_p2p.spec.limits import Limits
from tezos_p2p.spec.message import MessageCodec
from tezos_p2p.spec.point import Point
from tezos_p2p.spec.raw import RawCodec
from tezos_p2p.spec.reasons import Disconnection
from tezos_p2p.spec.version import SANDBOX

#: The moment at which everything happens.
NOW: Final = 1000.0
PORT: Final = 9732
NAMES: Final = "ABCDE"
#: Instead of the number of a node: where nobody is; and to be added: its second point.
NOBODY: Final = -1
AGAIN: Final = 10
CODEC: Final = MessageCodec(RawCodec())
#: What an application says.
HELLO: Final = b"hello"

_HISTORY: Final = "only told, or asked by maintenance and for lists of points"
_COUNT: Final = "counts for observers"
#: Members that an image of a node leaves out, and why nothing that happens here depends
#: on them.
LEFT_OUT: Final[Mapping[type, Mapping[str, str]]] = {
    Node: {
        "tally": _COUNT,
        "_news": "equals the pool's; asked of maintenance, which is disabled",
    },
    Pool: {"news": "see there", "events": "read at once"},
    Reception: {
        "tally": _COUNT + "; how it grows is checked at every step",
        "chosen": "nothing: without discovery no points are told",
        "_announced": "no node announces another point than before",
    },
    Traffic: {
        "up": "there are no caps: it counts bytes; who has joined is checked",
        "down": "the same",
        "_next_link": "set anew before each step",
    },
    Wishes: {"_ends": "why dials came to nothing, for who asks; nothing here does"},
    Timers: {
        "_heap": "what counts is in `_armed`; who is due, one at a time here",
        "changed": "not asked here",
    },
    PointInfo: {
        "reached": _HISTORY,
        "last_failed": _HISTORY,
        "last_rejected": _HISTORY,
        "last_established": _HISTORY,
        "last_disconnection": _HISTORY,
        "retry_at": "maintenance asks; who connects by command does not",
        "_delay": "the same",
        "_events": _HISTORY,
    },
    PeerInfo: {
        "last_failed": _HISTORY,
        "last_rejected": _HISTORY,
        "last_established": _HISTORY,
        "last_disconnection": _HISTORY,
        "_events": _HISTORY,
    },
    Answerer: {"tally": _COUNT},
    Swaps: {"won": _COUNT, "lost": _COUNT},
    Attempt: {"began": "only counted"},
}


def _look_at_disconnection(why: Disconnection) -> Hashable:
    kinds = tuple(error.kind for error in why.errors)
    return why.reason, kinds, why.motive, why.direction, why.text


Pairs = tuple[tuple[int, int], ...]


@attrs.frozen(kw_only=True, eq=False)
class Rules:
    """What is possible in a world.  Nodes are numbers; pairs are of who does it to whom.

    Attributes:
        nodes: how many there are.
        most: most connections of each.
        port: what they announce; 0: nothing.
        dials: who dials whom, any number of times; `NOBODY`: where nobody is; `AGAIN`
            more: at a second point of the same node.
        wires: how many of one node's dials may be there at once; one counts until both
            nodes have forgotten it.
        sends: who sends one message on each of its connections.
        kicks: who disconnects whom.
        drains: who disconnects whom, with a deadline.
        bans: who bans the peer of whom.
        shuns: who bans the address of whom.
        pardons: whether bans are undone, too.
        fails: whether dials fail.
        expires: nodes whose deadlines come.
        loses: nodes that are told that a connection is lost.
        stops: nodes that are stopped.
        lies: who asks whom to swap for a point of whom, under the name of a peer that
            does not exist.
        proposes: nodes that propose swaps.
        harm: most acts of dialling, ending, losing, banning, ... in all; None: any
            number.
        lazy: whether applications pull when they like, or at once.
        glued: whether what is on the way also arrives together.
        linked: who is connected to whom at first.
        depth: most moves; None: any number.
        remembers: whether a step from a state that is known is looked up.
    """

    nodes: int = 2
    most: tuple[int, ...] = (4, 4, 4, 4)
    port: int = PORT
    dials: Pairs = ()
    wires: int = 1
    sends: Pairs = ()
    kicks: Pairs = ()
    drains: Pairs = ()
    bans: Pairs = ()
    shuns: Pairs = ()
    pardons: bool = False
    fails: bool = False
    expires: tuple[int, ...] = ()
    loses: tuple[int, ...] = ()
    stops: tuple[int, ...] = ()
    lies: tuple[tuple[int, int, int], ...] = ()
    proposes: tuple[int, ...] = ()
    harm: int | None = None
    lazy: bool = True
    glued: bool = False
    linked: Pairs = ()
    depth: int | None = None
    remembers: bool = True


class Setting:
    """What all worlds of one exploration share; nothing in it decides what happens.

    Attributes:
        met: how often what was met for the first time.
        memory: for a state of a host, and what happens to it, what comes of it.
        hosts: for the number of a state, a host in it.
    """

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self.copier = Copier(
            shared=(Local, MessageCodec, KeyCache, Settings, Tally),
            passing=(Begun, Over, Heard, Candidate),
            left_out=LEFT_OUT,
            looks={Disconnection: _look_at_disconnection},
        )
        count = rules.nodes
        self.points = [
            Point(Address.parse(f"127.0.0.{number + 1}"), PORT) for number in range(count)
        ]
        self.nowhere = Point(Address.parse("127.0.0.99"), PORT)
        self.identities = [identity(f"node {number}") for number in range(count)]
        self.stranger: PeerId = identity("nobody").peer_id
        self.met: Counter[str] = Counter()
        self.moves: dict[Hashable, Move] = {}
        self.memory: dict[Hashable, Any] = {}
        self.hosts: dict[int, Any] = {}
        self.verified: dict[int, tuple[str, ...]] = {}
        self._numbers: dict[Hashable, int] = {}

    def number_of(self, state: Hashable) -> int:
        """Return the number of a state of a host."""
        return self._numbers.setdefault(state, len(self._numbers))

    @property
    def alone(self) -> int:
        """Number of states of single hosts."""
        return len(self._numbers)

    def point_of(self, number: int) -> Point:
        """Return where a node is, or where nobody is."""
        if number == NOBODY:
            return self.nowhere
        again, number = divmod(number, AGAIN)
        return Point(self.points[number].address, PORT + again)

    def number_at(self, point: Point) -> int:
        """Return who is at a point."""
        addresses = [each.address for each in self.points]
        return NOBODY if point == self.nowhere else addresses.index(point.address)

    def peer_of(self, number: int) -> PeerId:
        """Return who somebody is."""
        return self.identities[number].peer_id

    def node(self, number: int) -> Node[bytes, float]:
        """Make one of the nodes; it knows the others, so that their order is settled."""
        most = self.rules.most[number]
        limits = Limits(
            min_connections=0,
            expected_connections=most,
            max_connections=most,
            maintenance_idle_time=None,
        )
        local = Local(
            identity=self.identities[number],
            network=SANDBOX,
            random_bytes=lambda size: bytes([number + 1]) * size,
            port=self.rules.port,
            difficulty=0.0,
            limits=limits,
            runner=compiled,
        )
        settings = Settings(
            new_metadata=_one,
            score=_same,
            random=_zero,
            random_inside=_zero,
            discovers=False,
        )
        node: Node[bytes, float] = Node(local, CODEC, settings)
        node.start(NOW, NOW)
        for other in range(self.rules.nodes):
            if other != number:
                node.pool.register_point(self.points[other], NOW)
                node.pool.register_peer(self.peer_of(other), NOW)
        node.govern(_nothing, NOW)  # so all is told that follows from it
        node.pool.events.clear()
        return node


def _nothing(_: Any) -> tuple[()]:
    return ()


def _one() -> float:
    return 1.0


def _zero() -> float:
    return 0.0


def _same(metadata: float) -> float:
    return metadata
