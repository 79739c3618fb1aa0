"""Worlds of whole nodes, with what lies between them.

A *wire* is a TCP connection, from the moment it is dialled until both nodes have
forgotten it.  In each direction it carries what was written, piece by piece, and then
perhaps the end of the stream.  The side that dials may be told that it is made before or
after the other side accepts; a dial that was given up may be accepted all the same.

What happens by itself in the end is *quiet*: dials arrive, bytes and ends of streams are
delivered, sockets closed, items pulled.  What somebody or the network chooses to do is
not: to dial, disconnect, ban, stop, swap or say something, a dial that fails, a
connection that is lost, a deadline that comes.

Left out: pieces that arrive in parts, queues that are full, work that is left (explored
with single connections); drivers that delay writing; bandwidth caps, maintenance and
discovery; the order of deadlines: any may come at any time, which is more than clocks
allow.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from functools import partial
from typing import Any, Final, NamedTuple, Self

import attrs
from explorer import Move
from node_checks import faults_of
from node_host import NONE, Host
from node_setting import AGAIN, NAMES, NOBODY, Rules, Setting

from tezos_p2p.fsm import swap as swaps


class Wire(NamedTuple):
    """A TCP connection.  Pairs are of the end that dialled, then of the other.

    Attributes:
        ends: which nodes; -1: nobody is there.
        made: whether the dial was told to have succeeded.
        taken: whether it was accepted, or never will be.
        open: whether the end has a socket.
        flow: what is on the way to the end.
        ended: whether nothing can be added to that.
        told: whether the end was told so.
    """

    ends: tuple[int, int]
    made: bool = False
    taken: bool = False
    open: tuple[bool, bool] = (True, False)
    flow: tuple[tuple[bytes, ...], tuple[bytes, ...]] = ((), ())
    ended: tuple[bool, bool] = (False, False)
    told: tuple[bool, bool] = (False, False)

    def put(self, side: int, **members: Any) -> Wire:
        """Return a wire of which one end differs."""
        pairs = {name: getattr(self, name) for name in members}
        for name, value in members.items():
            pair = pairs[name]
            pairs[name] = (value, pair[1]) if side == 0 else (pair[0], value)
        return self._replace(**pairs)

    def close(self, side: int) -> Wire:
        """Return a wire of which one end has no socket any more."""
        closed = self.put(side, open=False, flow=())
        return closed.put(1 - side, ended=True)


#: How many wires a dialler may have: numbers are 10 for each dialler, and more.
_EACH: Final = 10


class NodeWorld:
    """Nodes and wires.

    Attributes:
        hosts: the nodes.
        wires: by number.
        harm: acts that may still be done, or None.
        depth: moves that may still be made, or None; not part of the key: who meets a
            state first has made the fewest.
    """

    __slots__ = ("depth", "harm", "hosts", "setting", "wires")

    def __init__(self, setting: Setting) -> None:
        rules = setting.rules
        self.setting = setting
        self.hosts = [Host(setting, index) for index in range(rules.nodes)]
        self.wires: dict[int, Wire] = {}
        self.harm = rules.harm
        self.depth = rules.depth

    def key(self) -> Hashable:
        """Return what decides how this goes on."""
        wires = tuple([(n, self.wires[n]) for n in sorted(self.wires)])
        return (*[host.id for host in self.hosts], wires, self.harm)

    @property
    def at_rest(self) -> bool:
        """Whether nothing is going on, and both ends of each connection know of it."""
        for host in self.hosts:
            if host.closing or host.node.readable:
                return False
            if host.node._answerer.swaps.state is not swaps.State.RESTING:
                return False
        for number, wire in self.wires.items():
            if wire.open != (True, True) or wire.flow != ((), ()) or any(wire.ended):
                return False
            if not all(self.hosts[end].is_settled(number) for end in wire.ends):
                return False
        return True

    def after(self, move: Move) -> Self:
        """Return the world that a move leads to."""
        new = object.__new__(type(self))
        new.setting = self.setting
        new.hosts, new.wires = self.hosts.copy(), self.wires.copy()
        new.harm = self.harm
        new.depth = None if self.depth is None else self.depth - 1
        move.act(new)
        return new

    # -- moves -------------------------------------------------------------------------

    def moves(self) -> Iterator[Move]:
        """Give the moves that are possible."""
        if self.depth == 0:
            return
        for number in sorted(self.wires):
            yield from self._moves_of(number, self.wires[number])
        for index, host in enumerate(self.hosts):
            if self.setting.rules.lazy and host.node.readable:
                yield self._move("own", index, "pull", quiet=True)
        if self.harm != 0:
            yield from self._acts()

    def _moves_of(self, number: int, wire: Wire) -> Iterator[Move]:
        rules = self.setting.rules
        listener = wire.ends[1]
        if not wire.taken:
            if wire.open[0]:
                may_fail = (rules.fails and self.harm != 0) or listener < 0
                if not wire.made and may_fail:
                    yield self._move("fail", number, quiet=listener < 0)
            else:
                yield self._move("vanish", number, quiet=True)
            if listener >= 0:
                yield self._move("accept", number, quiet=True)
        if wire.open[0] and not wire.made and listener >= 0:
            yield self._move("made", number, quiet=True)
        for side, end in enumerate(wire.ends):
            if not wire.open[side]:
                continue
            host = self.hosts[end]
            if number in host.closing:
                yield self._move("close", number, side, quiet=True)
            if host.reads(number) and (side or wire.made):
                pieces = len(wire.flow[side])
                if pieces:
                    yield self._move("hear", number, side, 1, quiet=True)
                if pieces > 1 and rules.glued:
                    yield self._move("hear", number, side, pieces)
                if not pieces and wire.ended[side] and not wire.told[side]:
                    yield self._move("hear_end", number, side, quiet=True)
            if self.harm == 0:
                continue
            if end in rules.expires and host.may_expire(number):
                yield self._move("harm_wire", "expire", number, side)
            if end in rules.loses and (side or wire.made):
                yield self._move("lose", number, side)

    def _acts(self) -> Iterator[Move]:
        rules, hosts = self.setting.rules, self.hosts
        for one, other in rules.dials:
            if self._free(one) != NONE and not hosts[one].node._stopped:
                yield self._move("act", one, "connect", other)
        for one, other in rules.kicks:
            if hosts[one].runs(other):
                yield self._move("act", one, "kick", other)
        for one, other in rules.drains:
            if hosts[one].link_to(other) is not None:
                yield self._move("act", one, "drain", other)
        for one, other in rules.sends:
            if hosts[one].may_say(other):
                yield self._move("act", one, "say", other)
        for one, other in (*rules.bans, *rules.shuns):
            acl, point = hosts[one].node.acl, self.setting.points[other]
            banned = acl.is_peer_blacklisted(self.setting.peer_of(other))
            shunned = acl.is_blacklisted(point.address)
            if (one, other) in rules.bans and not banned:
                yield self._move("act", one, "ban", other)
            if (one, other) in rules.shuns and not shunned:
                yield self._move("act", one, "shun", other)
            if rules.pardons and (banned or shunned):
                yield self._move("act", one, "pardon", other)
        for index in rules.stops:
            if not hosts[index].node._stopped:
                yield self._move("act", index, "stop")
        for one, other, offered in rules.lies:
            if hosts[one].may_say(other):
                yield self._move("act", one, "lie", other, offered)
        for index in rules.proposes:
            if hosts[index].node.pool.active:
                yield self._move("act", index, "propose")

    def _free(self, index: int) -> int:
        """Return the number that the next wire of a node would get, or `NONE`."""
        first = index * _EACH + 1
        for number in range(first, first + self.setting.rules.wires):
            if number not in self.wires:
                return number
        return NONE

    def _move(self, what: str, *args: Any, quiet: bool = False) -> Move:
        moves, which = self.setting.moves, (what, args)
        if (known := moves.get(which)) is None:
            if isinstance(args[0], int) and what in ("own", "act"):
                who = (NAMES[args[0]], args[1], *(self._name(n) for n in args[2:]))
            else:
                who = (what, *args)
            label = " ".join(map(str, who))
            known = moves[which] = Move(label, partial(_act, what, args), quiet)
        return known

    @staticmethod
    def _name(number: int) -> str:
        if number == NOBODY:
            return "nobody"
        again, number = divmod(number, AGAIN)
        return NAMES[number] + "'" * again

    # -- what moves do -----------------------------------------------------------------

    def own(self, index: int, what: str, *args: Any) -> None:
        """Let something happen to a host, and to the wires what it wants then."""
        host, outputs = self.hosts[index].after(what, args, self._free(index))
        self.hosts[index] = host
        for kind, number, data in outputs:
            assert number != NONE, "a world needs more wires"
            if kind == "dial":
                self.wires[number] = Wire((index, data))
                continue
            wire = self.wires.get(number)
            if wire is None:  # accepted just now
                continue
            side = self._side(wire, index)
            if wire.ended[1 - side]:
                continue
            if kind == "shut":
                self.wires[number] = wire.put(1 - side, ended=True)
            else:
                flow = (*wire.flow[1 - side], data)
                self.wires[number] = wire.put(1 - side, flow=flow)
        self._forget()

    def _side(self, wire: Wire, index: int) -> int:
        return int(wire.ends[0] != index)

    def _forget(self) -> None:
        """Drop the wires that nobody knows of any more."""
        for number in list(self.wires):
            wire = self.wires[number]
            if any(wire.open) or not wire.taken:
                continue
            ends = [end for end in wire.ends if end >= 0]
            if not any(self.hosts[end].remembers(number) for end in ends):
                del self.wires[number]

    def act(self, index: int, what: str, *args: Any) -> None:
        """Let somebody do something that counts."""
        self._count()
        self.own(index, what, *args)

    def _count(self) -> None:
        if self.harm is not None:
            self.harm -= 1

    def harm_wire(self, what: str, number: int, side: int) -> None:
        """Let something happen to a link that counts."""
        self._count()
        self.own(self.wires[number].ends[side], what, number)

    def made(self, number: int) -> None:
        """Tell that a dial has succeeded."""
        wire = self.wires[number]
        self.wires[number] = wire._replace(made=True)
        self.own(wire.ends[0], "made", number)

    def accept(self, number: int) -> None:
        """Let a dial arrive."""
        wire = self.wires[number]
        self.wires[number] = wire._replace(taken=True).put(1, open=True)
        self.own(wire.ends[1], "accept", number, wire.ends[0])
        if not self.hosts[wire.ends[1]].remembers(number):
            self.wires[number] = self.wires[number].close(1)
            self._forget()

    def fail(self, number: int) -> None:
        """Let a dial fail."""
        wire = self.wires[number]
        if wire.ends[1] >= 0:
            self._count()
        self.wires[number] = wire._replace(taken=True).close(0)
        self.own(wire.ends[0], "fail", number)

    def vanish(self, number: int) -> None:
        """Let a dial that was given up never arrive."""
        self.wires[number] = self.wires[number]._replace(taken=True)
        self._forget()

    def close(self, number: int, side: int) -> None:
        """Carry a Close out."""
        wire = self.wires[number]
        self.wires[number] = wire.close(side)
        self.own(wire.ends[side], "closed", number)

    def lose(self, number: int, side: int) -> None:
        """Break a wire, as one end sees it."""
        self._count()
        wire = self.wires[number]
        self.wires[number] = wire.close(side)
        self.own(wire.ends[side], "lose", number)

    def hear(self, number: int, side: int, count: int) -> None:
        """Deliver what is on the way."""
        wire = self.wires[number]
        pieces = wire.flow[side]
        self.wires[number] = wire.put(side, flow=pieces[count:])
        self.own(wire.ends[side], "hear", number, b"".join(pieces[:count]))

    def hear_end(self, number: int, side: int) -> None:
        """Deliver the end of a stream."""
        wire = self.wires[number]
        self.wires[number] = wire.put(side, told=True)
        self.own(wire.ends[side], "hear", number, b"")

    # -- properties --------------------------------------------------------------------

    def faults(self) -> Iterator[str]:
        """Give the properties that do not hold."""
        known = self.setting.verified
        for host in self.hosts:
            found = known.get(host.id)
            if found is None:
                found = known[host.id] = tuple(faults_of(host))
            for fault in found:
                yield f"{NAMES[host.index]}: {fault}"
            yield from self._faults_of_wires(host)

    def _faults_of_wires(self, host: Host) -> Iterator[str]:
        """Each link of a node that is not lost has a socket, and each socket a link."""
        index, lines = host.index, host.node._traffic.lines
        links = {number for number, line in lines.items() if not line.lost}
        sockets = {
            number
            for number, wire in self.wires.items()
            for side, end in enumerate(wire.ends)
            if end == index and wire.open[side]
        }
        if links != sockets:
            who = NAMES[index]
            yield f"{who}: links {sorted(links)}, sockets {sorted(sockets)}"
        for number in links & sockets & host.node.pool.running.keys():
            wire, running = self.wires[number], host.node.pool.running[number]
            other = wire.ends[1 - self._side(wire, index)]
            if running.peer.peer_id != self.setting.peer_of(other):
                yield f"{NAMES[index]}: {number} is taken for somebody else"


def _act(what: str, args: tuple[Any, ...], world: Any) -> None:
    getattr(world, what)(*args)


def world_of(rules: Rules) -> NodeWorld:
    """Make a world in which only the connections exist that there are at first."""
    setting = Setting(attrs.evolve(rules, lazy=False, harm=None, depth=None))
    world = NodeWorld(setting)
    for one, other in rules.linked:
        world.own(one, "connect", other)
        while quiet := [move for move in world.moves() if move.quiet]:
            world = world.after(quiet[0])
        assert world.at_rest
    setting.rules = rules
    setting.memory.clear()
    setting.hosts.clear()
    setting.met.clear()
    world.harm, world.depth = rules.harm, rules.depth
    return world
