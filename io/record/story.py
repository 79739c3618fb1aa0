"""What a trace tells, step by step: each call with its arguments and what came of it.

No identity is needed for that, and nothing is run: a `Story` reads the lines, and puts
those of one call together.

Source: our own.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import attrs

from ...fsm import admission
from .log import Fields
from .trace import Line, TraceError, read_lines
from .values import Frames, bytes_in

#: What the first frames of either direction are.
_HANDSHAKE: Final = ("connection message", "metadata", "answer")
#: What reading a line that is no line of a recording ends in.
WRONG: Final = (LookupError, TypeError, ValueError, AttributeError)
#: Commands whose first argument is a link.
LINK_COMMANDS: Final = frozenset({"Dial", "Write", "Read", "Shut", "Close", "Wake"})
_STATES: Final = frozenset(state.name for state in admission.State)


@attrs.define
class Step:
    """One call into the core, and what came of it.

    Attributes:
        line: number of its line.
        at: seconds since the first call.
        call: its name.
        link: which link it is about, or None.
        fields: its arguments, as they are in the trace.
        given: what it has given.
        raised: what it has raised, or None.
        asked: what the core has asked within it, and how often.
        moves: steps of attempts: link, state before, state after.
        frames: what the bytes that it is about are, in words.
    """

    line: int
    at: float
    call: str
    link: int | None
    fields: Fields
    given: Any = None
    raised: str | None = None
    asked: Counter[str] = attrs.field(factory=Counter[str])
    moves: list[tuple[int, str, str]] = attrs.field(factory=list[tuple[int, str, str]])
    frames: str = ""

    def concerns(self, link: int) -> bool:
        """Whether it is about a link, or has changed the state of its attempt."""
        return self.link == link or any(each == link for each, _, _ in self.moves)


@attrs.frozen(kw_only=True)
class Stretch:
    """A part of a trace.

    Attributes:
        since: seconds after the first call.
        until: the same, inclusive.
        first: number of a line.
        last: the same, inclusive.
        link: only what concerns this link; None: all.
    """

    since: float = -math.inf
    until: float = math.inf
    first: int = 1
    last: int | None = None
    link: int | None = None

    def holds(self, step: Step) -> bool:
        """Whether a step is in it."""
        return (
            self.since <= step.at <= self.until
            and self.first <= step.line
            and (self.last is None or step.line <= self.last)
            and (self.link is None or step.concerns(self.link))
        )


class Story:
    """The steps of a trace.

    Args:
        path: of the trace.

    Attributes:
        head: what the first line says.
        end: what the last line says, if it was come to; None: it is missing.
        points: the other ends of the links that were met so far.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = read_lines(path)
        self.head: Fields = next(self._lines).fields
        self.end: Fields | None = None
        self.points: dict[int, str] = {}
        self._states: dict[int, str] = {}
        self._began: float | None = None
        self._now = 0.0
        # What cuts their frames; how many frames of either direction there were.
        self._frames: dict[int, Frames] = {}
        self._counts: Counter[tuple[int, bool]] = Counter()

    def steps(self) -> Iterator[Step]:
        """Give the steps in order.

        Raises:
            TraceError: a line is not what a recording has.
        """
        step: Step | None = None
        for line in self._lines:
            fields = line.fields
            if "do" in fields or "end" in fields:
                if step is not None:
                    yield self._whole(step)
                step = None
            try:
                if "do" in fields:
                    step = self._step(line)
                elif "end" in fields:
                    self.end = fields
                elif step is not None:
                    self._add(step, fields)
            except WRONG as exc:
                raise self.wrong(line.number, exc) from None
        if step is not None:
            yield self._whole(step)

    def wrong(self, line: int, exc: Exception) -> TraceError:
        """Return the error that a line is not what a recording has."""
        why = f"no line of a recording: {type(exc).__name__}: {exc}"[:200]
        return TraceError(f"{self._path}, line {line}: {why}")

    def _step(self, line: Line) -> Step:
        fields = line.fields
        at = fields.get("at")
        if at is not None:
            self._now = float(at)
            if self._began is None:
                self._began = self._now
        since = self._now - (self._now if self._began is None else self._began)
        step = Step(line.number, since, str(fields["do"])[:40], None, fields)
        self._take_result(step, fields)
        return step

    def _add(self, step: Step, fields: Fields) -> None:
        if "ask" in fields:
            step.asked[str(fields["ask"])[:20]] += 1
        elif "becomes" in fields:
            self._move(step, int(fields["link"]), fields["becomes"])
        else:
            self._take_result(step, fields)

    def _take_result(self, step: Step, fields: Fields) -> None:
        step.given = fields.get("is")
        if "raises" in fields:
            step.raised = str(fields["raises"])[:60]

    def _move(self, step: Step, link: int, names: list[str]) -> None:
        for name in names:
            if name not in _STATES:
                raise ValueError(f"no state of an attempt: {str(name)[:40]}")
            before = self._states.get(link, admission.State.IDLE.name)
            step.moves.append((link, before, name))
            self._states[link] = name
            if name == admission.State.GONE.name:
                self._forget(link)

    def _forget(self, link: int) -> None:
        del self._states[link]
        self._frames.pop(link, None)
        for sent in (True, False):
            self._counts.pop((link, sent), None)

    def _whole(self, step: Step) -> Step:
        """Say of a step to which nothing more is added what it is about."""
        try:
            self._settle(step)
        except WRONG as exc:
            raise self.wrong(step.line, exc) from None
        return step

    def _settle(self, step: Step) -> None:
        fields: Fields = step.fields
        given: Any = step.given
        match step.call:
            case "next_command" if given is not None and given[0] in LINK_COMMANDS:
                step.link = int(given[1])
                if given[0] == "Dial":
                    self.points[step.link] = str(given[2])
            case "accept" if given is not None:
                step.link = int(given)
                self.points[step.link] = str(fields["remote"])
            case "connect" if type(given) is int:
                step.link = given
                self.points[step.link] = str(fields["point"])
            case "receive" if given is not None:
                step.link = int(given[1])
            case _ if "link" in fields:
                step.link = int(fields["link"])
            case _:
                pass
        if step.link is not None:
            step.frames = self._frames_of(step, step.link)

    def _frames_of(self, step: Step, link: int) -> str:
        if step.call == "pieces_to_send" and step.given:
            size, *rest = step.given
            return self._name(link, True, int(size), rest[1] if rest else [])
        if step.call == "receive_data":
            data = bytes_in(step.fields["data"])
            frames = self._frames.setdefault(link, Frames())
            return self._name(link, False, len(data), frames.feed(data))
        return ""

    def _name(self, link: int, sent: bool, size: int, whole: list[int]) -> str:
        """Say what some bytes are."""
        if not size:
            return ""
        count = self._counts[link, sent]
        self._counts[link, sent] += len(whole)
        names: list[str] = [*_HANDSHAKE[count : count + len(whole)]]
        chunks = len(whole) - len(names)
        if chunks:
            names.append(f"{chunks} chunk{'' if chunks == 1 else 's'}")
        return f"{' + '.join(names)}, {size} bytes" if names else f"{size} bytes"
