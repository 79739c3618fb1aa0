"""What has to be true of one end, in every state.

The words of `faults_of` say what is not true; the test says what should be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from connection_end import CARRYING, LEAVING, PATIENCE, End
from connection_setting import CODEC, key_of
from handshake_world import TICK

from tezos_p2p.fsm import LocalProtocolError
from tezos_p2p.fsm.lifecycle import State
from tezos_p2p.fsm.queues import INCOMING_OVERHEAD
from tezos_p2p.spec.motive import Motive
from tezos_p2p.spec.reasons import UNKNOWN


def _facts(end: End) -> Iterator[str]:
    """Give what is worth meeting."""
    reader, writer = end.machine._in, end.machine._out
    if reader is None:
        return
    waits = reader._waits_for
    fits = waits > 0 and reader.admits(waits)
    facts = {
        "a refusal": end.owed,
        "work left": reader.stalled,
        "a full queue": waits > 0,
        "a full queue that is not half free": fits and not reader.may_go_on(0),
        "unread control messages": waits < 0,
        "a part of a message": bool(reader._parts),
        "bytes kept": reader.stalled and reader.held > 0,
        "joined messages": len(writer._tail or b"") > len(CODEC.encode("A0")),
    }
    yield from (fact for fact, holds in facts.items() if holds)


def faults_of(end: End) -> Iterator[str]:
    """Give the properties of one end that do not hold."""
    end.setting.met.update(_facts(end))
    me = f"{end.setting.roles[end.index]} in {end.state.name}"
    told = [type(event).__name__ for event in end.pending]
    said = [*told, *["Closed"] * end.over]
    if said.count("Closed") != (not end.is_live):
        yield f"{me} has told Closed {said.count('Closed')} times"
    if "Closed" in told[:-1]:
        yield f"{me} tells something after Closed: {told}"
    if end.closing and end.machine.readable:
        yield f"{me} has messages after a close"
    if end.closing and "ControlReceived" in told:
        yield f"{me} tells of control messages after a close"
    if end.state in CARRYING:
        yield from _faults_of_reading(end, me)
    if end.owes is not None and end.decoded != end.owes:
        yield f"{me} owed {end.owes}, and gives {end.decoded}"
    yield from _faults_of_waiting(end, me)
    yield from _faults_of_queues(end, me)
    where = end.index, key_of(end.machine)
    known = end.setting.tried.get(where)
    if known is None:
        known = end.setting.tried[where] = tuple(_faults_of_use(end, me))
    yield from known


def _faults_of_reading(end: End, me: str) -> Iterator[str]:
    given, expected = end.decoded, end.expected
    for those, these in zip(given, expected, strict=True):
        if those != these[: len(those)]:
            yield f"{me} gives {those} when {these} has arrived"
    if not end.stalled and given != expected:
        yield f"{me} gives {given} when {expected} has arrived, with no work left"
    if not end.stalled and end.state is State.FINISHING:
        yield f"{me} has finished"
    if end.spoiled and not end.stalled:
        yield f"{me} goes on behind what was not theirs"


def _faults_of_waiting(end: End, me: str) -> Iterator[str]:
    machine, due = end.machine, end.machine.next_timeout()
    reads = machine.read_allowance
    if not end.is_live:
        if due is not None or reads or machine.wants_to_write or not machine.ended:
            yield f"{me} is not quite closed"
        return
    if end.state not in CARRYING:
        if due != end.deadline:
            yield f"{me} is to give up at {due}, not at {end.deadline}"
    elif due is not None and due > end.now:
        yield f"{me} waits for the future"
    if end.state is State.OPEN and bool(reads) is (end.stalled or bool(end.deaf)):
        yield f"{me} allows {reads} bytes"
    if end.state is State.FINISHING and (reads or machine.wants_to_write):
        yield f"{me} reads or writes"
    if end.state in LEAVING and bool(reads) is bool(end.deaf):
        yield f"{me} allows {reads} bytes"
    if end.stalled and due is None:
        clone = end.setting.clone(machine)
        while clone.receive() is not None or clone.next_event() is not None:
            pass
        if clone.next_timeout() is None:
            yield f"{me} is never called again for the work that is left"
    if end.state is State.OPEN and end.owed and not machine._out.fill:
        yield f"{me} has lost SendReady"
    if end.state is State.OPEN and end.owed is not bool(machine._out.refused):
        yield f"{me} does not know what it refused"


def _faults_of_queues(end: End, me: str) -> Iterator[str]:
    rules, out, queue = end.setting.rules, end.machine._out, None
    if end.machine._in is not None:
        queue = end.machine._in
        yield from _faults_of_kept(end, me)
    if queue is not None:
        weights = [
            len(CODEC.encode(message)) + INCOMING_OVERHEAD
            for message, _ in queue.items or ()
        ]
        if queue.fill != sum(weights):
            yield f"{me} counts {queue.fill} for {weights} to be pulled"
        limit = rules.waiting[0]
        if limit is not None and queue.fill >= limit and len(weights) > 1:
            yield f"{me} holds {weights} to be pulled, limit {limit}"
    if out is None:
        return
    parts = [weight for _, weight in out._waiting or ()]
    if out._waiting_weight != sum(parts):
        yield f"{me} counts {out._waiting_weight} for {parts} to be sent"
    if out._tail:
        parts.append(out.fill - out._waiting_weight)
    if out.fill != sum(parts) or min(parts, default=1) < 1:
        yield f"{me} counts {out.fill} for {parts} to be sent"
    if not end.is_live:
        return
    if out.sealed != len(end.left):
        yield f"{me} says that {out.sealed} bytes have left"
    waits = len(end.setting.encoded(end.accepted)) - len(end.left)
    if end.state is State.FINISHING:
        waits = 0  # lost with their end
    if out.queued - out.sealed != waits or bool(waits) is not bool(out.fill):
        counts = f"{out.queued - out.sealed} and {out.fill}"
        yield f"{me} counts {counts} for {waits} bytes"
    begun = [
        number
        for number in range(len(end.accepted))
        if len(end.setting.encoded(end.accepted[: number + 1])) > len(end.left)
    ]
    limit = rules.waiting[1]
    if limit is not None and out.fill >= limit and len(begun) > 1:
        yield f"{me} holds {out.fill} to be sent, limit {limit}"


def _faults_of_kept(end: End, me: str) -> Iterator[str]:
    rules, reader = end.setting.rules, end.machine._in
    parts = sum(map(len, reader._parts or ()))
    if reader.held > rules.kept_max:
        yield f"{me} keeps {reader.held} bytes"
    if end.is_live and not reader.stalled and reader.held != len(end.part):
        yield f"{me} keeps {reader.held} bytes of {len(end.part)} without need"
    if len(reader._plain) >= rules.slice_size + 6 or parts > 32:
        yield f"{me} keeps {len(reader._plain)} and {parts} bytes of plaintext"
    if end.closing and (reader.held or reader._plain or parts or reader.controls):
        yield f"{me} keeps what nobody will see"


def _faults_of_use(end: End, me: str) -> Iterator[str]:
    """Try on clones what must be refused, or do nothing, or end it."""
    now, state, clone_of = end.now, end.state, end.setting.clone
    before, due = key_of(end.machine), end.machine.next_timeout()
    refused: dict[str, Callable[[Any], Any]] = {}
    harmless: dict[str, Callable[[Any], Any]] = {}
    ending: dict[str, Callable[[Any], Any]] = {}
    if state is not State.IDLE:
        refused["start"] = lambda m: m.start(now)
    if not end.decides:
        refused["admit"] = lambda m: m.admit(now)
        refused["refuse"] = lambda m: m.refuse(Motive.NO_MOTIVE, (), now)
    if state is not State.OPEN:
        refused["send"] = lambda m: m.send("A0")
        refused["send encoded"] = lambda m: m.send_encoded(*CODEC.frame("A0"))
    if state is State.CLOSED:
        harmless |= {
            "bytes": lambda m: m.receive_data(b"\0\0", now),
            "the end of the stream": lambda m: m.receive_data(b"", now),
            "the loss of the stream": lambda m: m.connection_lost(None, now),
            "a timeout": lambda m: m.handle_timeout(now + PATIENCE),
            "writing": lambda m: m.data_to_send(),
        }
    else:
        ending["close"] = lambda m: m.close(UNKNOWN, now)
        if end.machine._handshake is None:
            ending["a late close"] = lambda m: m.close(UNKNOWN, now, now)
        if state not in CARRYING or due is None:
            harmless["an early timeout"] = lambda m: m.handle_timeout(now)
    if state in LEAVING and due is not None:
        harmless["a later deadline"] = lambda m: m.close(UNKNOWN, now, due + 1)
        harmless["bytes"] = lambda m: m.receive_data(b"\0\0", now)
        clone = clone_of(end.machine)
        clone.close(UNKNOWN, now, now + TICK)
        if clone.next_timeout() != now + TICK:
            yield f"{me} does not take an earlier deadline"
    if state is State.CLOSED:
        # A close then drops what they had to say, and changes nothing else.
        for until in (None, now + PATIENCE):
            clone, emptied = clone_of(end.machine), clone_of(end.machine)
            clone.close(UNKNOWN, now, until)
            while emptied.receive() is not None:
                pass
            if clone.receive() is not None or clone.state is not State.CLOSED:
                yield f"{me} in CLOSED does not drop what is left when it is closed"
            if clone.disconnection is not emptied.disconnection:
                yield f"{me} in CLOSED forgets why when it is closed"
    for what, attempt in refused.items():
        clone = clone_of(end.machine)
        try:
            attempt(clone)
        except LocalProtocolError:
            if key_of(clone) != before:
                yield f"{me} is changed by a refused {what}"
        else:
            yield f"{me} lets its owner {what}"
    for what, attempt in harmless.items():
        clone = clone_of(end.machine)
        attempt(clone)
        if key_of(clone) != before or clone.next_timeout() != due:
            yield f"{me} is changed by {what}"
        if state is State.CLOSED and (clone.data_to_send() or clone.read_allowance):
            yield f"{me} reads or writes after {what}"
    for what, attempt in ending.items():
        clone = clone_of(end.machine)
        attempt(clone)
        if not clone.ended or clone.receive() is not None:
            yield f"{me} is not ended, or purged, by {what}"
        told = [type(event).__name__ for event in clone._events or ()]
        if told[-1:] != ["Closed"] or told.count("Closed") != 1:
            yield f"{me} tells {told} after {what}"
