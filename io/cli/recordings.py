"""``tezos-p2p replay`` and ``explain``: what ``run --record`` has written."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import attrs
from cyclopts import App, Parameter
from cyclopts.validators import Number

from ..files import load_identity
from ..record import explain as told
from ..record.explain import chosen, safely, words
from ..record.replay import Divergence, Replayed
from ..record.replay import replay as replayed
from ..record.story import Step, Story, Stretch
from ..record.trace import TraceError
from .exits import CommandError, Exit
from .output import AsJson, tell, tell_facts, tell_json
from .start import complain

#: Steps that are told, and that are drawn, unless told otherwise.
TOLD: Final = 1000
DRAWN: Final = 300

_NOTHING: Final = (
    "no step there: see --from, --to, --from-line, --to-line and --link, or tell --all"
)

_Line = Annotated[int | None, Parameter(validator=Number(gte=1))]
_Flag = Annotated[bool, Parameter(show_default=False)]


def add(app: App) -> None:
    """Register the commands."""
    app.command(replay)
    app.command(explain)


def replay(
    file: Path,
    /,
    *,
    identity: Path,
    as_json: AsJson = False,
) -> Exit:
    """Give a fresh node what was recorded; exit code 1 unless it does the same.

    Args:
        file: what run --record has written.
        identity: the node's identity file; a recording has no secret key.
        as_json: print one JSON object.
    """
    # Its proof of work was its peers' to judge.
    who = load_identity(identity, 0.0)
    try:
        done = replayed(file, who)
    except TraceError as exc:
        raise CommandError(str(exc)) from None
    except Divergence as exc:
        if as_json:
            found = {"line": exc.line, "recorded": exc.recorded, "given": exc.given}
            tell_json({"same": False, **found})
        raise CommandError(f"{file}: {exc}") from None
    _tell(done, as_json=as_json)
    return Exit.OK


def _tell(done: Replayed, *, as_json: bool) -> None:
    if as_json:
        tell_json({"same": True, **attrs.asdict(done)})
        return
    whole = done.end == "closed"
    tell_facts(
        {
            "lines": f"{done.lines:,}",
            "calls": f"{done.calls:,}",
            "time": f"{done.seconds:.3f} s",
            "hash": done.hash,
            "ending": done.why if whole else f"early: {done.why}",
            "verdict": "the same" if whole else "the same, up to where it ends",
        }
    )


def explain(
    file: Path,
    /,
    *,
    since: Annotated[float, Parameter(name="--from")] = 0.0,
    until: Annotated[float, Parameter(name="--to")] = math.inf,
    from_line: _Line = None,
    to_line: _Line = None,
    link: int | None = None,
    sequence: _Flag = False,
    machine: Literal["admission"] | None = None,
    every: Annotated[bool, Parameter(name="--all", show_default=False)] = False,
    limit: Annotated[int | None, Parameter(validator=Number(gte=1, lte=10**6))] = None,
    as_json: AsJson = False,
) -> Exit:
    """Tell what was recorded, step by step, or draw it as Mermaid text.

    The exit code is 1 if there is no step where it was asked for.

    Args:
        file: what run --record has written.
        since: seconds after the first call.
        until: the same, inclusive.
        from_line: number of a line of the file.
        to_line: the same, inclusive.
        link: only this link.
        sequence: draw a sequence diagram.
        machine: draw the path that was taken through this machine.
        every: also the calls that only ask what is to be done.
        limit: steps at most; 1000 are told, 300 drawn.
        as_json: print one JSON object.
    """
    for name, seconds in (("--from", since), ("--to", until)):
        if math.isnan(seconds):
            raise CommandError(f"{name}: a number of seconds wanted", Exit.MISUSE)
    if sequence and machine is not None:
        raise CommandError("--sequence and --machine are two pictures", Exit.MISUSE)
    stretch = Stretch(
        since=since, until=until, first=from_line or 1, last=to_line, link=link
    )
    try:
        story = Story(file)
        if machine is not None:
            cut = _Cut(chosen(story, stretch), None)
            _print("machine", told.path(machine, cut, link), as_json)
        elif sequence:
            cut = _Cut(chosen(story, stretch, every=every), limit or DRAWN)
            _draw(story, cut, as_json=as_json)
        else:
            cut = _Cut(chosen(story, stretch, every=every), limit or TOLD)
            _list(story, cut, as_json=as_json)
    except TraceError as exc:
        raise CommandError(str(exc)) from None
    if not cut.told:
        raise CommandError(f"{file}: {_NOTHING}")
    return Exit.OK


class _Cut:
    """So many steps, or all, and the number of those that were left out."""

    def __init__(self, steps: Iterator[Step], most: int | None) -> None:
        self._steps = steps
        self._most = most
        self.told = self.left_out = 0

    def __iter__(self) -> Iterator[Step]:
        for step in itertools.islice(self._steps, self._most):
            self.told += 1
            yield step
        self.left_out = sum(1 for _ in self._steps)

    def complain(self) -> None:
        if self.left_out:
            complain(
                f"{self.left_out} more steps: choose by --from, --to or --link, "
                "or raise --limit"
            )


def _peer_id(story: Story) -> str:
    return str(story.head["node"].get("peer_id"))[:64]


def _print(name: str, text: str, as_json: bool) -> None:
    if as_json:
        tell_json({name: text})
    else:
        print(text, end="")


def _draw(story: Story, cut: _Cut, *, as_json: bool) -> None:
    _print("sequence", told.sequence(story, cut, _peer_id(story)), as_json)
    cut.complain()


def _list(story: Story, cut: _Cut, *, as_json: bool) -> None:
    if as_json:
        steps = [_step_json(step, safely(story, step, words)) for step in cut]
        head = {"node": story.head["node"], "steps": steps, "left_out": cut.left_out}
        tell_json({**head, "end": story.end})
        return
    for step in cut:
        if cut.told == 1:
            tell(f"{'seconds':>11}  {'line':>7}  {'link':<6}  what {_peer_id(story)} did")
        number = "" if step.link is None else f"#{step.link}"
        text = safely(story, step, words)
        tell(f"{step.at:>11.6f}  {step.line:>7}  {number:<6}  {text}")
    cut.complain()
    if story.end is None:
        complain("the last line is missing: the process was killed")
    elif story.end.get("end") != "closed":
        complain(f"recording has ended early: {str(story.end.get('why'))[:200]}")


def _step_json(step: Step, text: str) -> dict[str, Any]:
    return {
        "line": step.line,
        "at": step.at,
        "call": step.call,
        "link": step.link,
        "told": text,
        "is": step.given,
        "raises": step.raised,
        "asks": dict(step.asked),
        "becomes": [[link, after] for link, _, after in step.moves],
    }
