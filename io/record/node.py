"""A node that is recorded: its verbs, and what it asks of chance and the application.

The core is deterministic: the same calls, and the same answers to what it asks, make it
do the same.  So that is what is recorded; the replay module does it again, with this
same class and a log that compares.

Beside the verbs of a node, what an application does to its tables is recorded as far as
it calls methods of ``node.pool`` and ``node.acl``; attributes that it sets there are not.
Observers' questions change nothing, and are not recorded: ``next_event`` takes from a
ring on which nothing depends.

Source: our own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, Generic, Self, TypeVar, cast

from ...fsm.acl import Acl
from ...fsm.admission import Attempt, State
from ...fsm.commands import NodeCommand
from ...fsm.diversity import Diversity
from ...fsm.inbox import Item, Message
from ...fsm.local import Local
from ...fsm.machine import LocalProtocolError
from ...fsm.node import Node
from ...fsm.pool import Pool
from ...fsm.settings import Settings
from ...fsm.steward import Kick, Steward
from ...spec.address import Address
from ...spec.identity import PeerId
from ...spec.message import MessageCodec
from ...spec.point import Point
from ...spec.reasons import Direction, Disconnection, P2pError, Reason
from .about import node_json, restore_lists, restore_state, state_json
from .asked import Asker, Governed, named_out
from .log import Fields, Log
from .trace import digest
from .values import (
    Carried,
    Frames,
    bytes_out,
    command_out,
    disconnection_out,
    error_out,
    item_out,
    value_out,
)

M = TypeVar("M")
Meta = TypeVar("Meta")
T = TypeVar("T")

_USER: Final = Disconnection(Reason.USER)
#: Methods of a node's tables and lists that change them.
POOL_CHANGES: Final = frozenset(
    {
        "register_point",
        "register_new_point",
        "learn",
        "unregister_point",
        "register_peer",
        "add_own_point",
    }
)
ACL_CHANGES: Final = frozenset(
    {
        "ban",
        "unban",
        "ban_peer",
        "unban_peer",
        "allow",
        "disallow",
        "greylist",
        "greylist_peer",
        "clear",
        "clear_greylists",
        "collect",
    }
)


class _Door:
    """Stands before tables or lists, and has what changes them recorded."""

    def __init__(
        self, inside: Any, name: str, changes: Iterable[str], node: RecordedNode[Any, Any]
    ) -> None:
        self._inside = inside
        self._name = name
        self._changes = frozenset(changes)
        self._node = node

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inside, name)
        return self._recorded(name, found) if name in self._changes else found

    def _recorded(self, name: str, method: Callable[..., T]) -> Callable[..., T]:
        def change(*args: Any, **named: Any) -> T:
            given = [
                list(a) if name == "learn" and not i else a for i, a in enumerate(args)
            ]
            fields: Fields = {"do": f"{self._name}.{name}"}
            return self._node.step(
                lambda: fields | {"args": value_out(given), "named": named_out(named)},
                lambda: method(*given, **named),
            )

        return change


class RecordedNode(Node[M, Meta], Generic[M, Meta]):
    """A node that is recorded, and otherwise like any other.

    Args:
        local: what we are.
        codec: the application's messages.
        settings: the rest.
        diversity: who may fill our slots; None: anybody.
        log: what takes the recording.
    """

    def __init__(
        self,
        local: Local,
        codec: MessageCodec[M],
        settings: Settings[Meta],
        diversity: Diversity | None,
        log: Log,
    ) -> None:
        self._log = log
        self._inside = False
        # Whether what it knows before it starts is recorded; whether it is told that.
        self._begun = self._told = False
        self._armed: float | None = None
        # Attempts that have made a step within this call, and to which state.
        self._steps: list[tuple[int, State]] = []
        self._sent: dict[int, Frames] = {}
        log.begin(lambda: node_json(local, codec, settings, diversity))
        asker = Asker(log, self._is_recorded)
        super().__init__(
            asker.local(local),
            asker.codec(codec),
            asker.settings(settings),
            diversity,
        )
        self._reception.places.watch = self._watch
        self._tables, self._lists = self.pool, self.acl
        doors = (
            _Door(self.pool, "pool", POOL_CHANGES, self),
            _Door(self.acl, "acl", ACL_CHANGES, self),
        )
        self.pool, self.acl = cast("Pool[Meta]", doors[0]), cast("Acl", doors[1])

    @classmethod
    def of(cls, node: Node[M, Meta], log: Log) -> Self:
        """Return a recorded node in place of one that has not started; drop that.

        It knows what that knew: points, peers, lists.  It does what that would have done:
        a node draws no random number before it starts.

        Raises:
            LocalProtocolError: the node has started.
        """
        if not node._fresh:
            raise LocalProtocolError("record", "started before")
        made = cls(node._local, node._codec, node._settings, node._diversity, log)
        tables, known = made._tables, node.pool
        tables.known_points.update(known.known_points)
        tables.known_peers.update(known.known_peers)
        tables.news = known.news
        state = state_json(known, node.acl)
        for text in state["own"]:
            tables.add_own_point(Point.parse(text))
        restore_lists(made._lists, state)
        return made

    # -- one call ----------------------------------------------------------------------

    def step(
        self,
        call: Callable[[], Fields],
        act: Callable[[], T],
        out: Callable[[T], Fields] | None = None,
    ) -> T:
        """Make a call into the core, and have it recorded; within another: only make it.

        Args:
            call: makes its line.
            act: makes the call.
            out: makes what it gives; None if nothing comes of it but what it changes.
        """
        log = self._log
        if self._inside or log.ended:
            return act()
        if not self._begun:
            self._note_state()
        self._inside = True
        try:
            log.call(call)
            try:
                given = act()
            except Exception as exc:
                name = type(exc).__name__
                log.result(lambda: {"raises": name})
                self._tell_steps()
                raise
            log.result(dict if out is None else lambda: out(given))
            if self._steps:
                self._tell_steps()
            return given
        finally:
            self._inside = False

    def _is_recorded(self) -> bool:
        """Whether what is asked now is part of the recording."""
        return self._inside and not self._log.ended

    def _watch(self, attempt: Attempt[Any]) -> None:
        self._steps.append((attempt.link, attempt.state))
        if attempt.state is State.GONE:
            self._sent.pop(attempt.link, None)

    def _tell_steps(self) -> None:
        steps: dict[int, list[str]] = {}
        for link, state in self._steps:
            steps.setdefault(link, []).append(state.name)
        self._steps.clear()
        for link, names in steps.items():
            self._tell_path(link, names)

    def _tell_path(self, link: int, names: list[str]) -> None:
        self._log.put(lambda: {"link": link, "becomes": names})

    def _note_state(self) -> None:
        """Record what the node knows before it starts."""
        self._begun = True
        self._log.put(lambda: {"state": state_json(self._tables, self._lists)})

    def restore(self, state: Any) -> None:
        """Know what a recording says before the node starts, and record that.

        Raises:
            ValueError: fields are missing or wrong; also KeyError, TypeError, or other.
        """
        restore_state(self._tables, self._lists, state)
        self._told = True
        self._note_state()

    def _input(self, name: str, now: float, act: Callable[[], T], **given: Any) -> T:
        """Make a call of which nothing comes but what it changes."""
        return self.step(lambda: {"do": name, "at": now, **given}, act)

    # -- life --------------------------------------------------------------------------

    def start(self, now: float, wall: float) -> None:
        """Begin to accept, and to look for peers."""
        if self._fresh and not (self._told or self._log.ended):
            self._note_state()  # that may have changed since the first call
        self._input("start", now, partial(super().start, now, wall), wall=wall)

    def stop(self, now: float, deadline: float | None = None) -> None:
        """End everything."""
        act = partial(super().stop, now, deadline)
        self._input("stop", now, act, deadline=deadline)

    # -- inputs ------------------------------------------------------------------------

    def accept(self, remote: Point, now: float) -> int | None:
        """Take in a TCP connection that the other side opened."""
        return self.step(
            lambda: {"do": "accept", "at": now, "remote": str(remote)},
            partial(super().accept, remote, now),
            _is,
        )

    def accept_failed(self, error: int, now: float) -> None:
        """Take note that accepting has failed."""
        act = partial(super().accept_failed, error, now)
        self._input("accept_failed", now, act, error=error)

    def link_made(self, link: int, now: float) -> None:
        """Take note that a dial has succeeded."""
        self._input("link_made", now, partial(super().link_made, link, now), link=link)

    def link_lost(
        self,
        link: int,
        error: int | None,
        now: float,
        direction: Direction = Direction.READ,
    ) -> None:
        """Take note that a dial has failed, a socket broke, or a Close is done."""
        act = partial(super().link_lost, link, error, now, direction)
        told = {"link": link, "error": error, "direction": direction.name}
        self._input("link_lost", now, act, **told)

    def receive_data(
        self, link: int, data: bytes | bytearray | memoryview, now: float
    ) -> None:
        """Take bytes of theirs."""
        self.step(
            lambda: {
                "do": "receive_data",
                "at": now,
                "link": link,
                "data": bytes_out(data),
            },
            partial(super().receive_data, link, data, now),
        )

    def writable(self, link: int, now: float) -> None:
        """Take note that a socket that took no more takes bytes again."""
        self._input("writable", now, partial(super().writable, link, now), link=link)

    def receive_datagram(self, data: bytes, source: Address, now: float) -> None:
        """Take a datagram from the local network."""
        self.step(
            lambda: {
                "do": "receive_datagram",
                "at": now,
                "source": str(source),
                "data": bytes_out(data),
            },
            partial(super().receive_datagram, data, source, now),
        )

    def handle_timeout(self, now: float) -> None:
        """Do what is due."""
        self._input("handle_timeout", now, partial(super().handle_timeout, now))

    # -- commands of the application ---------------------------------------------------

    def send(self, peer_id: PeerId, message: M, now: float) -> bool:
        """Queue one message."""
        return self.step(
            lambda: {"do": "send", "at": now, "peer_id": str(peer_id)},
            partial(super().send, peer_id, message, now),
            _is,
        )

    def broadcast(self, message: M, now: float, skip: Iterable[PeerId] = ()) -> int:
        """Queue one message to all peers."""
        skipped = sorted(skip)
        return self.step(
            lambda: {"do": "broadcast", "at": now, "skip": list(map(str, skipped))},
            partial(super().broadcast, message, now, skipped),
            _is,
        )

    def connect(self, point: Point, now: float) -> int | P2pError:
        """Dial a point."""
        return self.step(
            lambda: {"do": "connect", "at": now, "point": str(point)},
            partial(super().connect, point, now),
            lambda it: {"is": error_out(it) if isinstance(it, P2pError) else it},
        )

    def disconnect(
        self,
        peer_id: PeerId,
        now: float,
        reason: Disconnection = _USER,
        deadline: float | None = None,
    ) -> bool:
        """End the connection to a peer."""
        return self.step(
            lambda: {
                "do": "disconnect",
                "at": now,
                "peer_id": str(peer_id),
                "reason": disconnection_out(reason),
                "deadline": deadline,
            },
            partial(super().disconnect, peer_id, now, reason, deadline),
            _is,
        )

    def give_up(self, link: int, now: float) -> bool:
        """End a dial that has come to nothing yet."""
        return self.step(
            lambda: {"do": "give_up", "at": now, "link": link},
            partial(super().give_up, link, now),
            _is,
        )

    def govern(self, act: Callable[[Steward[Meta]], Iterable[Kick]], now: float) -> None:
        """Have the steward do something."""
        if not self._inside and not self._log.ended:
            act = partial(self._govern, act)
        self._input("govern", now, partial(super().govern, act, now))

    def _govern(
        self, act: Callable[[Steward[Meta]], Iterable[Kick]], steward: Steward[Meta]
    ) -> list[Kick]:
        governed = self._log.ask(
            "govern", lambda: Governed.by(act, steward), Governed.out, Governed.read
        )
        return governed.settle(steward)

    def maintain(self, now: float) -> None:
        """Look after the number of connections now."""
        self._input("maintain", now, partial(super().maintain, now))

    def update_metadata(
        self, peer_id: PeerId, change: Callable[[Meta], Meta], now: float
    ) -> None:
        """Change what is remembered of a peer; what, is not recorded."""
        act = partial(super().update_metadata, peer_id, change, now)
        self._input("update_metadata", now, act, peer_id=str(peer_id))

    # -- outputs -----------------------------------------------------------------------

    def next_command(self) -> NodeCommand | None:
        """Return what a driver has to do next, or None."""
        return self.step(
            lambda: {"do": "next_command"},
            super().next_command,
            lambda command: {"is": command_out(command)},
        )

    def pieces_to_send(self, link: int, room: int, now: float) -> list[bytes]:
        """Return bytes for one ``Write``, in pieces."""
        return self.step(
            lambda: {"do": "pieces_to_send", "at": now, "link": link, "room": room},
            partial(super().pieces_to_send, link, room, now),
            lambda pieces: {"is": self._pieces_out(link, pieces)},
        )

    def _pieces_out(self, link: int, pieces: list[bytes]) -> list[Any]:
        if not pieces:
            return [0]
        frames = self._sent.setdefault(link, Frames())
        sizes = [size for piece in pieces for size in frames.feed(piece)]
        return [sum(map(len, pieces)), digest(*pieces), sizes]

    def read_allowance(self, link: int, now: float) -> int:
        """Return how many bytes may be read now."""
        return self.step(
            lambda: {"do": "read_allowance", "at": now, "link": link},
            partial(super().read_allowance, link, now),
            _is,
        )

    def receive(self) -> Item[M] | None:
        """Return what the application is told next, or None."""
        item = self.step(
            lambda: {"do": "receive"},
            super().receive,
            lambda item: {"is": item_out(item)},
        )
        if isinstance(item, Message):
            carried = cast("Carried", item.message)
            return Message(item.link, item.peer_id, cast("M", carried.message))
        return item

    def next_timeout(self) -> float | None:
        """Return when `handle_timeout` has something to do; recorded when it changes."""
        at = super().next_timeout()
        if at != self._armed and self._begun and not self._inside:
            self._armed = at
            self._log.put(lambda: {"do": "next_timeout", "is": at})
        return at


def _is(given: object) -> Fields:
    return {"is": given}
