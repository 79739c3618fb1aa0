"""One real node with its driver and its application, and what is remembered of it.

The driver carries out what it is told at once, but for `Close`: that waits, and is
carried out at any time later.  The application pulls at any time, or at once.

A link has the number of the wire that it is one end of.  A number is given again when
both nodes have forgotten it; that they really have, in all of their parts, is checked.
"""

from __future__ import annotations

import errno
from collections.abc import Hashable
from typing import Any, Final

from node_setting import HELLO, NOW, Setting

from tezos_p2p.fsm.admission import State
from tezos_p2p.fsm.commands import Accept, Close, Dial, Read, Shut, Write
from tezos_p2p.fsm.inbox import Joined, Left, Message
from tezos_p2p.fsm.lifecycle import State as Stage
from tezos_p2p.spec.address import Address
from tezos_p2p.spec.message import SwapRequest
from tezos_p2p.spec.point import Point
from tezos_p2p.spec.reasons import Reason

#: Room of a write that takes everything.
ALL: Final = 1 << 20
#: Seconds that a polite end gives.
PATIENCE: Final = 60.0
#: Number of a link that must not be allotted.
NONE: Final = 99
OVER: Final = (State.LEAVING, State.GONE)

#: What a node wants of the world: what, on which wire, with what.
Output = tuple[str, int, Any]


class Host:
    """A node, its driver, its application.

    Attributes:
        node: the real one.
        closing: links whose `Close` waits to be carried out.
        heard: for each link what its application was told last: who joined, or "left".
        deaf: links that we have ended while the application knew of them, each with the
            reason that it has to be told; None: any.
        wrong: what went wrong in a step, in words.
    """

    __slots__ = ("_id", "closing", "deaf", "heard", "index", "node", "setting", "wrong")

    def __init__(self, setting: Setting, index: int) -> None:
        self.setting = setting
        self.index = index
        self.node: Any = setting.node(index)
        self.closing: tuple[int, ...] = ()
        self.heard: dict[int, str] = {}
        self.deaf: dict[int, Reason | None] = {}
        self.wrong: tuple[str, ...] = ()
        self._id: int | None = None
        self._follow([])

    def key(self) -> Hashable:
        """Return what decides how this goes on."""
        return (
            self.index,
            self.setting.copier.image(self.node),
            self.closing,
            tuple(self.heard.items()),
            tuple(self.deaf.items()),
            self.wrong,
        )

    @property
    def id(self) -> int:
        """Number of the state; equal if, and only if, the keys are."""
        if self._id is None:
            self._id = self.setting.number_of(self.key())
        return self._id

    # -- steps -------------------------------------------------------------------------

    def after(self, what: str, args: tuple[Any, ...], free: int) -> tuple[Host, Any]:
        """Return the host after something has happened to it, and what it wants then.

        Args:
            what: name of the method.
            args: of it.
            free: number of the wire that a dial would get, or `NONE`.
        """
        setting = self.setting
        if not setting.rules.remembers:
            return self._after(what, args, free)
        step = (self.id, what, args, free)
        known = setting.memory.get(step)
        if known is None:
            new, outputs = self._after(what, args, free)
            known = setting.hosts.setdefault(new.id, new), outputs
            setting.memory[step] = known
        return known

    def _after(self, what: str, args: tuple[Any, ...], free: int) -> tuple[Host, Any]:
        new = object.__new__(Host)
        new.setting, new.index = self.setting, self.index
        new.node = self.setting.copier.copy(self.node)
        new.closing, new.wrong, new._id = self.closing, self.wrong, None
        new.heard, new.deaf = self.heard.copy(), self.deaf.copy()
        reception = new.node._reception
        new.node._traffic._next_link = free
        before = [n for n, it in reception.attempts.items() if it.state not in OVER]
        counted = sum(reception.tally.refused.values())
        outputs: list[Output] = []
        shed = getattr(new, what)(*args) == "shed" and not new.node._stopped
        new._follow(outputs)
        begun = [args[0]] if what == "accept" and new.remembers(args[0]) else []
        begun += [wire for kind, wire, _ in outputs if kind == "dial"]
        attempts = reception.attempts
        live = [n for n, it in attempts.items() if it.state not in OVER]
        ended = sum(1 for n in (*before, *begun) if n not in live) + shed
        if (told := sum(reception.tally.refused.values()) - counted) != ended:
            new.wrong += (f"{what} ends {ended} links, for {told} reasons",)
        return new, tuple(outputs)

    def _follow(self, outputs: list[Output]) -> None:
        """Carry out what the node wants."""
        node = self.node
        self._carry_out(outputs)
        if not self.setting.rules.lazy:
            while node.readable:
                self.pull()
                self._carry_out(outputs)
        while (event := node.next_event()) is not None:
            self.setting.met[type(event).__name__] += 1
        for link in [link for link in self.heard if not self.remembers(link)]:
            if self.heard.pop(link) != "left":
                self.wrong += (f"{link} is forgotten, and Left was not told",)
        for link in [link for link in self.deaf if not self.remembers(link)]:
            del self.deaf[link]

    def _carry_out(self, outputs: list[Output]) -> None:
        node = self.node
        while (command := node.next_command()) is not None:
            match command:
                case Dial(link, point):
                    outputs.append(("dial", link, self.setting.number_at(point)))
                case Write(link):
                    if data := node.data_to_send(link, ALL, NOW):
                        outputs.append(("send", link, data))
                case Shut(link):
                    outputs.append(("shut", link, None))
                case Close(link):
                    self.closing = (*(n for n in self.closing if n != link), link)
                case Accept() | Read():
                    pass
                case _:
                    self.wrong += (f"{command} is not expected",)

    # -- what can happen: the driver ---------------------------------------------------

    def accept(self, wire: int, remote: int) -> str:
        """Take in a connection; "shed" if the node does not want it."""
        self.node._traffic._next_link = wire
        address: Address = self.setting.points[remote].address
        link = self.node.accept(Point(address, 50_000 + wire), NOW)
        return "shed" if link is None else ""

    def made(self, wire: int) -> None:
        """Tell that a dial has succeeded."""
        self.node.link_made(wire, NOW)

    def fail(self, wire: int) -> None:
        """Tell that a dial has failed."""
        self._lost(wire, errno.ECONNREFUSED)

    def lose(self, wire: int) -> None:
        """Tell that a connection is broken."""
        self._lost(wire, errno.ECONNRESET)

    def closed(self, wire: int) -> None:
        """Carry a Close out."""
        self._lost(wire, None)

    def _lost(self, wire: int, error: int | None) -> None:
        self.closing = tuple(each for each in self.closing if each != wire)
        self.node.link_lost(wire, error, NOW)

    def hear(self, wire: int, data: bytes) -> None:
        """Give the node bytes, or the end of the stream."""
        if self.node.read_allowance(wire, NOW) < max(len(data), 1):
            self.wrong += (f"{wire} reads less than a frame",)
        self.node.receive_data(wire, data, NOW)

    def expire(self, wire: int) -> None:
        """Let the deadline of a link have come."""
        traffic = self.node._traffic
        line = traffic.lines[wire]
        connection = line.connection
        if not line.made:
            line.deadline = NOW
        elif connection._handshake is not None:
            connection._handshake._deadline = NOW
        else:
            connection._deadline = NOW
        traffic.timers.set(wire, NOW)
        self.node.handle_timeout(NOW)

    # -- what can happen: the application and the operator -----------------------------

    def connect(self, other: int) -> None:
        """Dial somebody; a refusal changes nothing."""
        found = self.node.connect(self.setting.point_of(other), NOW)
        outcome = "a dial" if isinstance(found, int) else found.kind.name
        self.setting.met[outcome] += 1

    def kick(self, other: int, deadline: float | None = None) -> None:
        """Disconnect somebody."""
        peer_id = self.setting.peer_of(other)
        link = self.node.pool.by_peer(peer_id).link
        for each, attempt in self.node._reception.attempts.items():
            if attempt.told and attempt.peer.peer_id == peer_id:
                self.deaf.setdefault(each, Reason.USER if each == link else None)
        if not self.node.disconnect(peer_id, NOW, deadline=deadline):
            self.wrong += ("a peer that runs cannot be disconnected",)

    def drain(self, other: int) -> None:
        """Disconnect somebody politely."""
        self.kick(other, NOW + PATIENCE)

    def ban(self, other: int) -> None:
        """Ban a peer."""
        peer_id = self.setting.peer_of(other)
        for link, attempt in self.node._reception.attempts.items():
            if attempt.told and attempt.peer.peer_id == peer_id:
                self._go_deaf(link, Reason.PEER_ID_MANUALLY_BANNED)
        self.node.govern(lambda it: it.ban_peer(peer_id), NOW)

    def shun(self, other: int) -> None:
        """Ban an address."""
        address = self.setting.points[other].address
        for link, attempt in self.node._reception.attempts.items():
            if attempt.told and attempt.remote_point.address == address:
                self._go_deaf(link, Reason.IP_MANUALLY_BANNED)
        self.node.govern(lambda it: it.ban_address(address, peers=False), NOW)

    def _go_deaf(self, link: int, reason: Reason) -> None:
        # Who has ended it already is the one to be told.
        runs = self.node._reception.attempts[link].state is State.RUNNING
        self.deaf.setdefault(link, reason if runs else None)

    def pardon(self, other: int) -> None:
        """Undo both bans."""
        peer_id, address = self.setting.peer_of(other), self.setting.points[other].address
        self.node.govern(lambda it: it.unban_peer(peer_id), NOW)
        self.node.govern(lambda it: it.unban_address(address), NOW)

    def say(self, other: int) -> None:
        """Send a message."""
        if not self.node.send(self.setting.peer_of(other), HELLO, NOW):
            self.wrong += ("there is no room for one message",)

    def stop(self) -> None:
        """End everything."""
        for link, attempt in self.node._reception.attempts.items():
            if attempt.state is State.RUNNING:
                self._go_deaf(link, Reason.POOL_DESTROYED)
        self.node.stop(NOW)

    def lie(self, other: int, offered: int) -> None:
        """Ask somebody to swap for a point, under a name that nobody has."""
        point = self.setting.point_of(offered)
        link, node = self.link_to(other), self.node
        request = SwapRequest(point, self.setting.stranger)
        node._reception.connection(link).send(request)
        node._traffic.settle(link, NOW)

    def propose(self) -> None:
        """Propose a swap, as maintenance does."""
        self.node._answerer.swap(NOW)
        self.node._follow(NOW)

    def pull(self) -> None:
        """Pull one item, and check that it may come."""
        item = self.node.receive()
        link, before = item.link, self.heard.get(item.link)
        joined = before not in (None, "left")
        match item:
            case Joined(_, remote):
                who = str(remote.peer_id)
                fits, self.heard[link] = before is None, who
                if list(self.heard.values()).count(who) > 1:
                    self.wrong += (f"{link} joined before the last one left",)
            case Left(_, _, why):
                fits, self.heard[link] = joined, "left"
                asked = self.deaf.get(link)
                if asked is not None and why.reason is not asked:
                    self.wrong += (
                        f"{link} left for {why.reason.name}, not {asked.name}",
                    )
            case Message():
                fits = joined
                self.setting.met["a message"] += 1
                if link in self.deaf:
                    self.wrong += (f"a message on {link} after our end of it",)
            case _:
                fits = joined
        if not fits:
            self.wrong += (f"{type(item).__name__} on {link} after {before}",)

    # -- questions ---------------------------------------------------------------------

    def remembers(self, wire: int) -> bool:
        """Whether the node knows a link, or is still to tell of it."""
        return wire in self.node._traffic.lines or self.node._inbox.holds(wire)

    def reads(self, wire: int) -> bool:
        """Whether a driver may read."""
        line = self.node._traffic.lines[wire]
        return bool(line.connection.read_allowance) and not line.closing

    def may_expire(self, wire: int) -> bool:
        """Whether a deadline is armed."""
        return wire in self.node._traffic.timers._armed

    def runs(self, other: int) -> bool:
        """Whether somebody is connected."""
        return self.node.pool.by_peer(self.setting.peer_of(other)) is not None

    def link_to(self, other: int) -> int | None:
        """Return the link to somebody who runs, and is not about to end; or None."""
        running = self.node.pool.by_peer(self.setting.peer_of(other))
        if running is None or not self.node._reception.is_open(running.link):
            return None
        return int(running.link)

    def may_say(self, other: int) -> bool:
        """Whether somebody is connected to whom nothing was said yet."""
        link = self.link_to(other)
        if link is None:
            return False
        connection = self.node._reception.connection(link)
        return connection.state is Stage.OPEN and not connection.queued

    def is_settled(self, wire: int) -> bool:
        """Whether a link runs."""
        attempt = self.node._reception.attempts.get(wire)
        return (
            attempt is not None
            and attempt.state is State.RUNNING
            and self.node._reception.is_open(wire)
        )
