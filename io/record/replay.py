"""Replaying a trace: a fresh node is given what was recorded, and must do the same.

Every line that a `RecordedNode` would write is compared with the one that is there; what
the core asks is answered from the trace.  So the first line that differs is found, with
what was recorded there and what the node does now.

The trace is input from outside: whatever it holds, the worst that comes of it is a
`TraceError` or a `Divergence`.

Source: our own.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import attrs

from ...spec.address import Address
from ...spec.identity import Identity, PeerId
from ...spec.point import Point
from ...spec.reasons import Direction
from .about import node_of
from .asked import ACL_CHANGES, POOL_CHANGES
from .log import Decode, Fields, Log, Make
from .node import RecordedNode
from .trace import Line, TraceError, dump, read_lines
from .values import Carried, bytes_in, disconnection_in, raised_in, value_in

T = TypeVar("T")
Replica = RecordedNode[Any, Any]

#: Characters of a line that are shown where it differs, and how many before that.
_SHOWN: Final = 100
_BEFORE: Final = 30


class Divergence(Exception):
    """A node does not do what was recorded.

    Attributes:
        line: number of the first line that differs.
        recorded: what is there.
        given: what the node does in its place; empty if nothing.
    """

    def __init__(self, line: int, recorded: str, given: str) -> None:
        at = next(
            (i for i, (a, b) in enumerate(zip(recorded, given, strict=False)) if a != b),
            min(len(recorded), len(given)),
        )
        told = f"expected {_part(recorded, at)}, given {_part(given, at) or 'nothing'}"
        super().__init__(f"line {line} differs: {told}")
        self.line = line
        self.recorded = recorded
        self.given = given


def _part(text: str, at: int) -> str:
    start = max(0, at - _BEFORE)
    part = text[start : start + _SHOWN]
    before = "..." if start else ""
    return f"{before}{part}{'...' if start + _SHOWN < len(text) else ''}"


@attrs.frozen
class Replayed:
    """What was replayed, and was the same.

    Attributes:
        lines: how many.
        hash: of them.
        calls: into the core.
        seconds: of the node's clock, from the first call to the last.
        end: why the recording has ended: ``closed``, ``full`` or ``failed``; None if its
            last line is missing: the process was killed.
        why: the same in words.
    """

    lines: int
    hash: str
    calls: int
    seconds: float
    end: str | None
    why: str


class _Halt(BaseException):
    """Ends a replay from within the core, whatever that catches.

    ``why``: if it failed.
    """

    def __init__(self, why: Exception | None = None) -> None:
        super().__init__()
        self.why = why


class Comparer(Log):
    """Compares what a node does with a trace, and answers what it asks.

    Args:
        lines: the trace.
        path: of the trace, to name it.

    Attributes:
        last: the last line, if it was come to.
    """

    def __init__(self, lines: Iterator[Line], path: Path) -> None:
        super().__init__()
        self._lines = lines
        self._path = path
        self._ahead: deque[Line] = deque()
        self.last: Line | None = None

    def peek(self, behind: int = 0) -> Line | None:
        """Return the line that is next, or one behind it; None at the end."""
        while len(self._ahead) <= behind and self.last is None:
            try:
                line = next(self._lines, None)
            except TraceError as exc:
                raise _Halt(exc) from None
            if line is None:
                break
            if "end" in line.fields:
                self.last = line
            else:
                self._ahead.append(line)
        return self._ahead[behind] if len(self._ahead) > behind else None

    def halt(self, line: Line, why: str) -> NoReturn:
        """End the replay: a line is not what a recording has."""
        raise _Halt(TraceError(f"{self._path}, line {line.number}: {why}"))

    def begin(self, make: Make) -> None:
        """Compare what the node is."""
        line = self._take()
        recorded, given = dump({"node": line.fields["node"]}), dump({"node": make()})
        if recorded != given:
            raise _Halt(Divergence(line.number, recorded, given))
        self._same(line.text)

    def ask(
        self,
        kind: str,
        real: Callable[[], T],  # noqa: ARG002  # for who records
        out: Callable[[T], Any],  # noqa: ARG002  # for who records
        read: Callable[[Any], T],
    ) -> T:
        """Return the answer that was recorded."""
        self._flush()
        line = self._take()
        if line.fields.get("ask") != kind:
            raise _Halt(Divergence(line.number, line.text, dump({"ask": kind})))
        self._same(line.text)
        return self._answer(line, read)

    def _answer(self, line: Line, read: Callable[[Any], T]) -> T:
        try:
            if "raises" in line.fields:
                raised = raised_in(line.fields["raises"])
            else:
                return read(line.fields["is"])
        except Exception as exc:
            self.halt(line, f"no such answer: {_name(exc)}")
        raise raised

    def decode(
        self,
        tag: int,
        payload: bytes,
        real: Decode,  # noqa: ARG002  # for who records
    ) -> Carried | None:
        """Return a message without content, or do what was recorded instead."""
        self.decoded += 1
        line = self.peek(behind=self._call is not None)
        if (
            line is None
            or line.fields.get("ask") != "decode"
            or line.fields.get("number") != self.decoded
        ):
            return Carried.of(None, tag, payload)
        return self.ask("decode", lambda: None, _nothing, _nothing)

    def _same(self, text: str) -> None:
        self._count(f"{text}\n".encode("ascii"))

    def _flush(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            self._put(call)

    def _take(self) -> Line:
        if self.peek() is None:
            raise _Halt
        return self._ahead.popleft()

    def _put(self, fields: Fields) -> None:
        text, line = dump(fields), self._take()
        if text != line.text:
            raise _Halt(Divergence(line.number, line.text, text))
        self._same(text)


def _nothing(_: object) -> None:
    return None


def _name(exc: Exception) -> str:
    return f"{type(exc).__name__}: {exc}"[:200]


def replay(path: str | os.PathLike[str], identity: Identity) -> Replayed:
    """Give a fresh node what was recorded, and compare what it does.

    Args:
        path: the trace.
        identity: the node's: a trace has no secret key.

    Raises:
        TraceError: it is no trace, or another node's.
        Divergence: the node does not do what was recorded.
    """
    path = Path(path)
    lines = read_lines(path)
    log = Comparer(lines, path)
    run = _Run(log)
    try:
        run.all(path, identity)
    except _Halt as halt:
        if halt.why is not None:
            raise halt.why from None
    last = log.last
    if last is None:
        why = "the last line is missing: the process was killed"
        return Replayed(log.lines, log.hash, run.calls, run.seconds, None, why)
    return _settled(path, lines, log, run, last)


def _settled(
    path: Path, lines: Iterator[Line], log: Comparer, run: _Run, last: Line
) -> Replayed:
    """Check the last line against those before it."""
    counted = {"lines": log.lines, "hash": log.hash}
    recorded = {name: last.fields.get(name) for name in counted}
    if recorded != counted:
        raise Divergence(last.number, dump(recorded), dump(counted))
    behind = next(lines, None)
    if behind is not None:
        raise TraceError(f"{path}, line {behind.number}: something behind the last line")
    end, why = (str(last.fields.get(name))[:200] for name in ("end", "why"))
    return Replayed(log.lines, log.hash, run.calls, run.seconds, end, why)


class _Run:
    """Makes the calls of a trace, one after the other."""

    def __init__(self, log: Comparer) -> None:
        self._log = log
        self._first: float | None = None
        self._last = 0.0
        self.calls = 0

    @property
    def seconds(self) -> float:
        return 0.0 if self._first is None else self._last - self._first

    def all(self, path: Path, identity: Identity) -> None:
        log = self._log
        head = log.peek()
        assert head is not None  # there is a head, or an error
        node = self._node(path, head, identity)
        while (line := log.peek()) is not None:
            self._one(node, line)
            if log.peek() is line:
                raise Divergence(line.number, line.text, "")

    def _node(self, path: Path, head: Line, identity: Identity) -> Replica:
        fields = head.fields["node"]
        expected = str(fields.get("peer_id"))[:64]
        if expected != str(identity.peer_id):
            raise TraceError(
                f"{path}: recorded by {expected}, and the identity given is "
                f"{identity.peer_id}: give the one that the node had"
            )
        try:
            made = node_of(fields, identity)
            return Replica(
                made.local, made.codec, made.settings, made.diversity, self._log
            )
        except Exception as exc:
            self._log.halt(head, f"its node cannot be made: {_name(exc)}")

    def _one(self, node: Replica, line: Line) -> None:
        fields = line.fields
        try:
            if "state" in fields:
                node.restore(fields["state"])
                return
            call = _CALLS.get(fields.get("do", ""))
            if call is None:
                self._log.halt(line, "no call begins here")
            self.calls += 1
            at = fields.get("at")
            if isinstance(at, (int, float)):
                self._first = at if self._first is None else self._first
                self._last = at
            call(node, fields)
        except Exception as exc:
            # What the core has raised was recorded, and compared, as anything else.
            if self._log.peek() is line:
                self._log.halt(line, f"no such call: {_name(exc)}")


# -- the calls -------------------------------------------------------------------------


def _peer(fields: Fields) -> PeerId:
    return PeerId.parse(fields["peer_id"])


def _lost(node: Replica, fields: Fields) -> None:
    direction = Direction[fields["direction"]]
    node.link_lost(fields["link"], fields["error"], fields["at"], direction)


def _datagram(node: Replica, fields: Fields) -> None:
    source = Address.parse(fields["source"])
    node.receive_datagram(bytes_in(fields["data"]), source, fields["at"])


def _broadcast(node: Replica, fields: Fields) -> int:
    skip = [PeerId.parse(text) for text in fields["skip"]]
    return node.broadcast(None, fields["at"], skip)


def _disconnect(node: Replica, fields: Fields) -> bool:
    reason = disconnection_in(fields["reason"])
    return node.disconnect(_peer(fields), fields["at"], reason, fields["deadline"])


def _change(part: str, name: str) -> Callable[[Replica, Fields], object]:
    def change(node: Replica, fields: Fields) -> object:
        method = getattr(getattr(node, part), name)
        named = {key: value_in(value) for key, value in fields["named"].items()}
        return method(*value_in(fields["args"]), **named)

    return change


_CALLS: Final[Mapping[str, Callable[[Replica, Fields], object]]] = {
    "start": lambda n, it: n.start(it["at"], it["wall"]),
    "stop": lambda n, it: n.stop(it["at"], it["deadline"]),
    "accept": lambda n, it: n.accept(Point.parse(it["remote"]), it["at"]),
    "accept_failed": lambda n, it: n.accept_failed(it["error"], it["at"]),
    "link_made": lambda n, it: n.link_made(it["link"], it["at"]),
    "link_lost": _lost,
    "receive_data": lambda n, it: n.receive_data(
        it["link"], bytes_in(it["data"]), it["at"]
    ),
    "writable": lambda n, it: n.writable(it["link"], it["at"]),
    "receive_datagram": _datagram,
    "handle_timeout": lambda n, it: n.handle_timeout(it["at"]),
    "send": lambda n, it: n.send(_peer(it), None, it["at"]),
    "broadcast": _broadcast,
    "connect": lambda n, it: n.connect(Point.parse(it["point"]), it["at"]),
    "disconnect": _disconnect,
    "govern": lambda n, it: n.govern(lambda _: (), it["at"]),
    "maintain": lambda n, it: n.maintain(it["at"]),
    "update_metadata": lambda n, it: n.update_metadata(
        _peer(it), lambda metadata: metadata, it["at"]
    ),
    "next_command": lambda n, _: n.next_command(),
    "pieces_to_send": lambda n, it: n.pieces_to_send(it["link"], it["room"], it["at"]),
    "read_allowance": lambda n, it: n.read_allowance(it["link"], it["at"]),
    "receive": lambda n, _: n.receive(),
    "next_timeout": lambda n, _: n.next_timeout(),
    **{f"pool.{name}": _change("pool", name) for name in sorted(POOL_CHANGES)},
    **{f"acl.{name}": _change("acl", name) for name in sorted(ACL_CHANGES)},
}
