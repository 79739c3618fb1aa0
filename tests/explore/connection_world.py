"""Worlds of two real connections, an initiator and a responder, and what lies between.

A link in each direction is a stream of bytes, written and delivered in pieces: a frame
as it left, everything that is there at once, or in some worlds a part of a frame.  Their
owners send, pull, read events, and end it, at once or with a deadline, at any time; time
passes for each of them on its own; the system may say that the stream is lost.  When an
end is closed, or lingers, the other's link ends behind what is on its way.  In some
worlds an adversary without keys sits on a link: once it loses, alters, doubles, swaps or
cuts frames short, or ends the stream.

All worlds but one begin where both ends are open: there the handshake is over and
nothing is on the way.  The number of messages is bounded, the queues hold one or two,
and one call does as little work as the rules of the world say.

What happens by itself in the end is *quiet*: bytes are written and delivered, messages
are pulled, events read, and an end that asks to be called at once is called.  No
deadline is among that.

Left out: deadlines that nobody says have passed (only the handshake looks at the clock
without being told, and is explored so by itself); a driver that loses bytes; frames cut
into more than two; more than one act of an adversary on one link (whatever comes behind
a chunk that is not the next one is never read).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from functools import partial
from typing import Any, Final, Self

from connection_checks import faults_of
from connection_end import ALL, End
from connection_setting import Rules, Setting
from explorer import Move

from tezos_p2p.fsm.lifecycle import State

#: Bytes of what is left of a handshake that a small write takes.
CUT: Final = 20
#: What an adversary on the wire can do to a link.
MEDDLING: Final = ("lose", "alter", "shorten", "double", "swap", "cut")


class ConnectionWorld:
    """Two ends, and what is on the way to each of them.

    Attributes:
        ends: the initiator and the responder.
        links: for each end the pieces on their way to it.
        ended: for each end whether nothing can be added to those.
        meddled: for each end whether somebody has meddled with those.
    """

    __slots__ = ("ended", "ends", "links", "meddled", "setting")

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.ends = [End(setting, index) for index in (0, 1)]
        self.links: list[tuple[bytes, ...]] = [(), ()]
        self.ended = [False, False]
        self.meddled = [False, False]

    def key(self) -> Hashable:
        """Return what decides how this goes on."""
        first, second = self.ends
        return (first.id, second.id, *self.links, *self.ended, *self.meddled)

    @property
    def at_rest(self) -> bool:
        """Whether there is nothing to do, and nothing was lost on the way."""
        if not all(end.is_idle for end in self.ends) or any(self.links):
            return False
        first, second = self.ends
        if not first.is_live and not second.is_live:
            return True
        return first.is_live and second.is_live and self._has_all(0) and self._has_all(1)

    def _has_all(self, index: int) -> bool:
        sent = self.setting.received(self._sent_to(index))
        return self.meddled[index] or self.ends[index].decoded == sent

    def _sent_to(self, index: int) -> tuple[str, ...]:
        other = self.ends[1 - index].accepted
        return self.setting.names_in(self.setting.encoded(other))

    def after(self, move: Move) -> Self:
        """Return the world that a move leads to."""
        new = object.__new__(type(self))
        new.setting = self.setting
        new.ends, new.links = self.ends.copy(), self.links.copy()
        new.ended, new.meddled = self.ended.copy(), self.meddled.copy()
        move.act(new)
        new._settle()
        return new

    def _settle(self) -> None:
        """Do what follows at once: notes are taken, events read, sockets closed."""
        for index, end in enumerate(self.ends):
            if not end.touched:
                continue
            end.note()
            if not self.setting.rules.lazy:
                while end.machine._events:
                    end.read_event()
            if not end.is_live:
                self.links[index] = ()
                self.ended[index] = True
            if end.state in (State.LINGERING, State.CLOSED):
                self.ended[1 - index] = True

    def touch(self, index: int) -> End:
        """Return an end that may be changed."""
        end = self.ends[index] = self.ends[index].copy()
        return end

    # -- moves -------------------------------------------------------------------------

    def moves(self) -> Iterator[Move]:
        """Give the moves that are possible."""
        for index, end in enumerate(self.ends):
            if end.machine.readable:
                yield self._own(index, "pull", quiet=True)
            if end.machine._events:
                yield self._own(index, "read_event", quiet=True)
            if end.is_live:
                yield from self._moves_of(index, end)
                yield from self._arrivals(index, end)

    def _moves_of(self, index: int, end: End) -> Iterator[Move]:
        rules, machine, state = self.setting.rules, end.machine, end.state
        if state is State.IDLE:
            yield self._own(index, "start", quiet=True)
        if end.decides:
            yield self._own(index, "admit", quiet=True)
            if rules.refuses and index:
                yield self._own(index, "refuse")
        if machine.wants_to_write:
            yield self._move(index, "write", ALL, quiet=True)
            if (room := self._small_room(machine)) is not None:
                yield self._move(index, "write", room)
        if state is State.OPEN and len(end.accepted) < rules.most[index]:
            for kind in rules.sends[index]:
                yield self._own(index, "send", kind)
        for how in rules.closes[index]:
            if how == "close" or state is State.OPEN:
                yield self._own(index, how)
        if end.can_go_on:
            yield self._own(index, "go_on", quiet=True)
        elif machine.next_timeout() is not None:
            yield self._own(index, "time_out")
        if end.deaf != "lost" and state is not State.IDLE:
            for error, direction in rules.lost:
                yield self._move(index, "lose", error, direction)

    def _small_room(self, machine: Any) -> int | None:
        """Room for less than all."""
        if machine._handshake is not None:
            return None
        if machine._unsent:
            return CUT if len(machine._unsent) > CUT else None
        out = machine._out
        waiting = sum(len(part) for part, _ in out._waiting or ())
        one = len(out._waiting or ()) + bool(out._tail) == 1
        return None if one and waiting <= self.setting.rules.slice_size else 1

    def _arrivals(self, index: int, end: End) -> Iterator[Move]:
        rules, link = self.setting.rules, self.links[index]
        allowed = end.machine.read_allowance
        if not link:
            if self.ended[index] and not end.deaf:
                yield self._move(index, "hear_end", quiet=True)
        elif allowed or (rules.unasked and end.stalled):
            yield self._move(index, "hear", 1, quiet=bool(allowed))
            if len(link) > 1:
                yield self._move(index, "hear", len(link))
            if rules.half and link[0] not in self.setting.rests:
                yield self._move(index, "hear_part")
        if index in rules.on_wire and not self.meddled[index]:
            for what in MEDDLING:
                if link if what != "swap" else len(link) > 1:
                    yield self._move(index, "meddle", what)

    def _own(self, index: int, *what: Any, quiet: bool = False) -> Move:
        return self._move(index, "own", *what, quiet=quiet)

    def _move(self, index: int, what: str, *args: Any, quiet: bool = False) -> Move:
        moves, which = self.setting.moves, (index, what, args, quiet)
        if (known := moves.get(which)) is None:
            role = self.setting.roles[index]
            words = args if what == "own" else (what, *args)
            label = f"{role}: {' '.join(map(str, words))}"
            act = partial(_act, what, index, args)
            known = moves[which] = Move(label, act, quiet)
        return known

    # -- what moves do -----------------------------------------------------------------

    def own(self, index: int, what: str, *args: Any) -> None:
        """Let an owner do something."""
        getattr(self.touch(index), what)(*args)

    def write(self, index: int, room: int) -> None:
        """Let bytes leave."""
        pieces = self.touch(index).write(room)
        if not self.ended[1 - index]:
            self.links[1 - index] = (*self.links[1 - index], *pieces)

    def hear(self, index: int, count: int) -> None:
        """Deliver pieces, no more than is allowed unless that is nothing."""
        link, end = self.links[index], self.touch(index)
        data = b"".join(link[:count])
        allowed = end.machine.read_allowance or len(data)
        rest = data[allowed:]
        if rest:
            self.setting.rests.add(rest)
        self.links[index] = (*((rest,) if rest else ()), *link[count:])
        end.hear(data[:allowed])

    def hear_part(self, index: int) -> None:
        """Deliver the beginning of a frame."""
        first, *rest = self.links[index]
        at = 1 if self.setting.rules.half == 1 else len(first) // 2
        self.setting.rests.add(first[at:])
        self.links[index] = (first[at:], *rest)
        self.touch(index).hear(first[:at])

    def hear_end(self, index: int) -> None:
        """Tell an end that the other's stream has ended."""
        self.touch(index).hear_end()

    def lose(self, index: int, error: int | None, direction: str) -> None:
        """Tell an end that the stream is gone, with all that is on the way to it."""
        self.links[index] = ()
        self.ended[index] = True
        self.touch(index).lose(error, direction)

    def meddle(self, index: int, what: str) -> None:
        """Change what is on the way to an end."""
        first, *rest = self.links[index]
        self.meddled[index] = True
        if what == "cut":
            self.links[index], self.ended[index] = (), True
            return
        changed = {
            "lose": lambda: (),
            "alter": lambda: (first[:-1] + bytes([first[-1] ^ 1]),),
            "shorten": lambda: (b"\0\5" + bytes(5),),
            "double": lambda: (first, first),
            "swap": lambda: (rest.pop(0), first),
        }
        self.links[index] = (*changed[what](), *rest)

    # -- properties --------------------------------------------------------------------

    def faults(self) -> Iterator[str]:
        """Give the properties that do not hold."""
        for index, end in enumerate(self.ends):
            known = self.setting.verified.get(end.id)
            if known is None:
                known = self.setting.verified[end.id] = tuple(faults_of(end))
            yield from known
            yield from self._faults_of_delivery(index, end)

    def _faults_of_delivery(self, index: int, end: End) -> Iterator[str]:
        me, you = self.setting.roles[index], self.setting.roles[1 - index]
        other, sent = self.ends[1 - index], self.setting.received(self._sent_to(index))
        for given, those in zip(end.decoded, sent, strict=True):
            if given != those[: len(given)]:
                yield f"{me} is given {given} when {those} was sent"
        # Nothing is lost if the one who ended it let all of it leave, and nobody else
        # did anything.
        if (
            not end.is_live
            and (end.closing, end.deaf, self.meddled[index]) == ("", "end", False)
            and (other.closing, other.why and other.why[1]) == ("drain", ())
            and end.decoded != sent
        ):
            yield f"{you} has drained {sent}, but {me} is given {end.decoded}"


def _act(what: str, index: int, args: tuple[Any, ...], world: Any) -> None:
    getattr(world, what)(index, *args)


def from_the_start(rules: Rules) -> ConnectionWorld:
    """Make a world in which nothing has happened."""
    return ConnectionWorld(Setting(rules))


def both_open(rules: Rules) -> ConnectionWorld:
    """Make a world in which both ends are open, and nothing is on the way."""
    world = from_the_start(rules)
    with rules.in_force():
        while not world.at_rest:
            world = world.after(next(move for move in world.moves() if move.quiet))
    assert [end.state for end in world.ends] == [State.OPEN] * 2
    if rules.last is not None:
        world.setting.spend_nonces(rules.last)
        for index, end in enumerate(world.ends):
            channel = end.machine._in._channel
            channel.send_nonce = world.setting.nonces[index]
            channel.receive_nonce = world.setting.nonces[1 - index]
            end._id = None
    return world
