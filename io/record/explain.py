"""Traces in words, as sequence diagrams, and as paths through a state diagram.

The diagrams are Mermaid text.  Everything in a trace is input from outside: what goes
into a diagram is cut and cleaned.

Source: our own; the state diagram is drawn from the table that runs.
"""

from __future__ import annotations

import datetime
import errno
import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeVar

from ...fsm import admission, diagram
from .story import WRONG, Step, Story, Stretch

T = TypeVar("T")

#: Calls that are not told, unless something comes of them or all are wanted.
_QUIET: Final = frozenset({"read_allowance", "next_timeout", "handle_timeout"})
#: Commands of which their consequence is told.
_CARRIED_OUT: Final = frozenset({"Write", "Read", "Wake"})
#: Machines whose steps a trace has.
MACHINES: Final = {admission.TABLE.name: admission.TABLE}
#: Participants of a sequence diagram beside the node.
PARTICIPANTS_MAX: Final = 40
#: Numbers of steps that are shown beside one edge.
_NUMBERS_MAX: Final = 8

_PLAIN: Final = {
    "stop": "stops",
    "link_made": "is connected",
    "writable": "can be written to again",
    "handle_timeout": "a moment has come",
}
_UNCLEAN: Final = re.compile(r"[^\w .:,()\[\]/+*-]", re.ASCII)


def is_told(step: Step) -> bool:
    """Whether a step says something that those around it do not."""
    if step.call in _QUIET:
        return bool(step.moves or step.asked) or step.raised is not None
    if step.call == "next_command":
        return step.given is not None and step.given[0] not in _CARRIED_OUT
    return not (step.call == "receive" and step.given is None and not step.moves)


def chosen(story: Story, stretch: Stretch, *, every: bool = False) -> Iterator[Step]:
    """Give the steps of a stretch; those that say little only if all are wanted."""
    for step in story.steps():
        if stretch.holds(step) and (every or safely(story, step, is_told)):
            yield step


def safely(story: Story, step: Step, tell: Callable[[Step], T]) -> T:
    """Tell something of a step.

    Raises:
        TraceError: it is not what a recording has.
    """
    try:
        return tell(step)
    except WRONG as exc:
        raise story.wrong(step.line, exc) from None


# -- in words --------------------------------------------------------------------------


def words(step: Step) -> str:
    """Say in one line what a step is, and what came of it."""
    parts = [_call(step)]
    if step.raised is not None:
        parts.append(f"raises {step.raised}")
    if step.asked:
        asked = (f"{count} {name}" for name, count in step.asked.items())
        parts.append(f"asks for {', '.join(asked)}")
    for link, moves in itertools.groupby(step.moves, lambda move: move[0]):
        parts.append(f"#{link} is {' then '.join(after for _, _, after in moves)}")
    return "; ".join(parts)


def _call(step: Step) -> str:
    fields, given = step.fields, step.given
    match step.call:
        case "next_command":
            return "nothing to do" if given is None else f"wants: {_command(given)}"
        case "pieces_to_send":
            return f"sends {step.frames or 'nothing'}"
        case "receive_data":
            return f"receives {step.frames or 'the end of the stream'}"
        case "start":
            began = datetime.datetime.fromtimestamp(fields["wall"], datetime.UTC)
            return f"starts, {began:%Y-%m-%d %H:%M:%S} UTC"
        case "stop" | "link_made" | "writable" | "handle_timeout":
            return _PLAIN[step.call]
        case "accept" if given is None:
            return f"turns {fields.get('remote')} away"
        case "accept":
            return f"accepts {fields.get('remote')}"
        case "link_lost":
            return f"lost: {_error(fields.get('error'))}"
        case "receive":
            return f"pulled: {_item(given)}"
        case "send":
            room = "" if given in (True, None) else ", but there is no room"
            return f"queues a message for {fields.get('peer_id')}{room}"
        case "broadcast":
            return f"broadcasts a message, {_flat(given)} peers have room"
        case "connect" if not isinstance(given, int):
            return f"connect {fields.get('point')}: {_flat(given)}"
        case _:
            shown = (
                f"{name} {_flat(value)}"
                for name, value in fields.items()
                if name not in ("do", "at", "link", "is", "raises") and value is not None
            )
            gives = "" if given is None else f" gives {_flat(given)}"
            return f"{' '.join([step.call, *shown])}{gives}"


def _command(command: list[Any]) -> str:
    name, *rest = command
    if name == "Dial":
        return f"dial {rest[1]}"
    if name == "Accept":
        return "accept connections" if rest[0] else "accept no connections"
    if name == "Maintained":
        return f"tell that maintenance is over, {'' if rest[0] else 'not '}within bounds"
    return str(name).lower()


def _item(item: list[Any] | None) -> str:
    if item is None:
        return "nothing"
    match item:
        case ["Message", _, who, tag, size, *_]:
            return f"message of {who}, tag {int(tag):#06x}, {size} bytes"
        case ["Joined", _, remote, *_]:
            return f"{remote.get('peer_id')} has joined"
        case ["Left", _, who, why, *_]:
            return f"{who} has left: {_flat(why.get('reason'))}"
        case _:
            return _flat(item)


def _error(number: object) -> str:
    if number is None:
        return "closed"
    return errno.errorcode.get(number, str(number)) if isinstance(number, int) else "?"


def _flat(value: object) -> str:
    text = value if isinstance(value, str) else re.sub(r"['\"{}]", "", str(value))
    return text if len(text) <= 80 else f"{text[:77]}..."


# -- as a sequence diagram -------------------------------------------------------------


def sequence(story: Story, steps: Iterable[Step], peer_id: str) -> str:
    """Return a Mermaid ``sequenceDiagram`` of some steps of a story."""
    drawn = _Sequence(story)
    for step in steps:
        safely(story, step, drawn.add)
    return drawn.text(peer_id)


class _Sequence:
    def __init__(self, story: Story) -> None:
        self._story = story
        self._names: dict[str, str] = {}
        self._lines: list[str] = []

    def add(self, step: Step) -> None:
        if step.link is not None or step.call == "accept":
            self._arrow(step)
        elif step.call in ("send", "broadcast", "start", "stop"):
            self._lines.append(f"Note over N: {_clean(_call(step))}")
        for link, moves in itertools.groupby(step.moves, lambda move: move[0]):
            if link in self._story.points:  # else the dial is still to come
                states = ", ".join(after for _, _, after in moves)
                who = self._of(link)
                self._lines.append(f"Note over N,{who}: {states} (link {link})")

    def _arrow(self, step: Step) -> None:
        given = step.given
        if step.link is None:
            who = self._at(str(step.fields.get("remote")))
            self._lines.append(f"{who}-xN: turned away")
            return
        who, link = self._of(step.link), f"(link {step.link})"
        match step.call:
            case "next_command" if given[0] == "Dial":
                self._lines.append(f"N->>{who}: dials {link}")
            case "next_command" if given[0] == "Close":
                self._lines.append(f"N-x{who}: closes {link}")
            case "next_command" if given[0] == "Shut":
                self._lines.append(f"N->>{who}: sends no more {link}")
            case "accept":
                self._lines.append(f"{who}->>N: connects {link}")
            case "link_made":
                self._lines.append(f"{who}-->>N: is connected {link}")
            case "link_lost" if step.fields.get("error") is not None:
                self._lines.append(f"{who}-xN: {_error(step.fields['error'])} {link}")
            case "pieces_to_send" if step.frames:
                self._lines.append(f"N->>{who}: {step.frames}")
            case "receive_data":
                self._lines.append(f"{who}->>N: {step.frames or 'end of stream'}")
            case "receive":
                self._lines.append(f"Note left of N: {_clean(_item(given))}")
            case _:
                pass

    def _of(self, link: int) -> str:
        return self._at(self._story.points.get(link, f"link {link}"))

    def _at(self, point: str) -> str:
        if point not in self._names:
            if len(self._names) == PARTICIPANTS_MAX:
                return "Others"
            self._names[point] = f"P{len(self._names) + 1}"
        return self._names[point]

    def text(self, peer_id: str) -> str:
        head = ["sequenceDiagram", f"    participant N as {_clean(peer_id)}"]
        for point, name in self._names.items():
            head.append(f"    participant {name} as {_clean(point)}")
        return "\n".join([*head, *(f"    {line}" for line in self._lines)]) + "\n"


def _clean(text: str) -> str:
    """Leave what means nothing to Mermaid."""
    return _UNCLEAN.sub(" ", text)[:100]


# -- as a path -------------------------------------------------------------------------


def path(machine: str, steps: Iterable[Step], link: int | None) -> str:
    """Return a Mermaid state diagram in which the path that was taken stands out.

    Args:
        machine: one of `MACHINES`.
        steps: of a story.
        link: whose path, its steps numbered; None: of all, counted.
    """
    taken: dict[tuple[str, str], list[int]] = {}
    number = 0
    for step in steps:
        for each, before, after in step.moves:
            if link is None or each == link:
                number += 1
                taken.setdefault((before, after), []).append(number)
    said = {
        edge: f"×{len(numbers)}" if link is None else f"({_numbers(numbers)})"
        for edge, numbers in taken.items()
    }
    return diagram.mermaid(MACHINES[machine], said)


def _numbers(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:_NUMBERS_MAX]))
    return shown if len(numbers) <= _NUMBERS_MAX else f"{shown}, ..."
