"""The points of a probe: from the command line, and from files.

A point is ``host[:port][#peer_id]``, and an IPv6 address that stands alone on the command
line needs no brackets.  A file has one point a line.  Empty lines are skipped, and so
is what follows a ``#`` at the beginning of a line or behind a blank.  All that is wrong
with a file is told at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from ...spec.address import PointError
from ...spec.identity import PeerId
from ...spec.point import DEFAULT_PORT, Point, bracketed
from ..ends import split
from .exits import CommandError, Exit
from .start import remark

#: Larger files are not read, nor files with more points.
FILE_MAX: Final = 1 << 20
POINTS_MAX: Final = 10_000

#: Faults of one file that are told one by one.
_FAULTS_MAX: Final = 100
_COMMENT: Final = re.compile(r"(^|\s)#.*")


def check_target(text: str) -> None:
    """Check a point, or ``@FILE``, of the command line.

    Raises:
        PointError: it is neither.
    """
    if not text.startswith("@"):
        _meaning(bracketed(text))


def targets_of(texts: Iterable[str], files: Iterable[Path]) -> list[str]:
    """Return all points that are named, each once.

    Args:
        texts: points, and ``@FILE``.
        files: files of points.

    Raises:
        CommandError: files with faults; or there is no point, or there are too many.
        OSError: a file cannot be read.
    """
    named: list[str] = []
    for text in texts:
        if text.startswith("@"):
            named += read_targets(Path(text[1:]))
        else:
            named.append(bracketed(text))
    for file in files:
        named += read_targets(file)
    first: dict[object, str] = {}
    twice = 0
    for text in named:
        meaning = _meaning(text)
        twice += meaning in first
        first.setdefault(meaning, text)
    if twice:
        points = "1 point is" if twice == 1 else f"{twice} points are"
        remark(f"tezos-p2p: {points} named more than once, and probed once")
    if not first:
        raise CommandError("no point to probe", Exit.MISUSE)
    if len(first) > POINTS_MAX:
        text = f"{len(first)} points; more than {POINTS_MAX} are not probed at once"
        raise CommandError(text, Exit.MISUSE)
    return list(first.values())


def read_targets(path: Path) -> list[str]:
    """Read a file of points.

    Raises:
        CommandError: it has faults, which are told line by line.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        data = file.read(FILE_MAX + 1)
    if len(data) > FILE_MAX:
        raise CommandError(f"{path}: larger than {FILE_MAX} bytes", Exit.MISUSE)
    found: list[str] = []
    faults: list[str] = []
    # What is no UTF-8 is no point either, and is told with the line that it is in.
    lines = data.decode("utf-8-sig", "backslashreplace").split("\n")
    for number, line in enumerate(lines, 1):
        text = _COMMENT.sub("", line).strip()
        if text:
            try:
                _meaning(text)
            except PointError as exc:
                faults.append(f"{path}:{number}: {exc}")
            else:
                found.append(text)
    if faults:
        for fault in faults[:-1][: _FAULTS_MAX - 1]:
            remark(f"tezos-p2p: {fault}")
        more = len(faults) - _FAULTS_MAX
        last = faults[-1] if more <= 0 else f"{path}: and {more + 1} lines more"
        raise CommandError(last, Exit.MISUSE)
    return found


def _meaning(text: str) -> tuple[Point | tuple[str, int], PeerId | None]:
    """Return what two texts have in common that name the same.

    Raises:
        PointError: it is no point.
    """
    where, peer_id = split(text)
    if isinstance(where, Point):
        return where, peer_id
    port = DEFAULT_PORT if where.port is None else where.port
    return (where.host.lower().rstrip("."), port), peer_id
