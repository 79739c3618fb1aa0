"""Many probes: so many at once, told as they end; again and again, if wanted.

Each probe has a thread of its own while it runs, over either driver; an interrupt leaves
them behind, and the end of the process closes what they hold.
"""

from __future__ import annotations

import datetime
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import attrs

from .exits import Exit
from .network import DriverName
from .output import tell, tell_json
from .probing import Probing

#: Characters of a target to which the column is made as wide.
_WIDEST: Final = 47


def run_all(
    probings: Sequence[Probing], driver: DriverName, concurrency: int
) -> Iterator[Probing]:
    """Run probes, so many at once; give each when it has ended.

    Raises:
        OSError: the system has no more of something.
    """
    waiting: queue.SimpleQueue[Probing | None] = queue.SimpleQueue()
    ended: queue.SimpleQueue[Probing | BaseException] = queue.SimpleQueue()
    given_up = threading.Event()

    def work() -> None:
        while (probing := waiting.get()) is not None and not given_up.is_set():
            try:
                probing.run(driver)
            except BaseException as exc:
                ended.put(exc)
                return
            ended.put(probing)

    threads = min(concurrency, len(probings))
    for probing in (*probings, *[None] * threads):
        waiting.put(probing)
    for _ in range(threads):
        threading.Thread(target=work, daemon=True).start()
    try:
        for _ in probings:
            told = ended.get()
            if isinstance(told, BaseException):
                raise told
            yield told
    finally:
        given_up.set()


@attrs.define
class Watch:
    """Tells how probes of the same points end, round after round.

    Args:
        make: makes a probe of a target.
        targets: the points.
        driver: what moves the bytes.
        concurrency: probes at once.
        as_json: tell as JSON.
        every: seconds from the beginning of one round to that of the next; None: there
            is only one.
        rounds: how many; None: until interrupted.

    Attributes:
        hint: whether any of them looks as if more work were wanted.
        counts: of the last round, by how they have ended.
    """

    make: Callable[[str], Probing]
    targets: Sequence[str]
    driver: DriverName
    concurrency: int
    as_json: bool
    every: float | None = None
    rounds: int | None = None
    hint: bool = attrs.field(default=False, init=False)
    counts: Counter[Exit] = attrs.field(factory=Counter[Exit], init=False)
    _before: dict[str, tuple[Any, ...]] = attrs.field(
        factory=dict[str, tuple[Any, ...]], init=False
    )

    def run(self) -> Exit:
        """Probe; return the worst exit code of the last round.

        Raises:
            OSError: what happens cannot be printed, or the system lacks something.
        """
        began, done = time.monotonic(), 0
        while True:
            self._round()
            done += 1
            if self.every is None or done == self.rounds:
                return max(self.counts)
            # What took longer than it should does not shift the rounds that follow.
            began = max(began + self.every, time.monotonic() - self.every)
            time.sleep(max(0.0, began - time.monotonic()))

    def _round(self) -> None:
        self.counts.clear()
        probings = [self.make(target) for target in self.targets]
        for probing in run_all(probings, self.driver, self.concurrency):
            self.counts[probing.code] += 1
            self.hint |= probing.lacks_work
            outcome, before = probing.outcome, self._before.get(probing.target)
            if before != outcome:
                self._before[probing.target] = outcome
                self._tell(probing, before)

    def _tell(self, probing: Probing, before: tuple[Any, ...] | None) -> None:
        """Tell an outcome that is not the one before."""
        watched = self.every is not None
        now = datetime.datetime.now().astimezone()
        if self.as_json:
            document = probing.document()
            if watched:
                was = None if before is None else before[0]
                document = {"time": now.isoformat(), "before": was, **document}
            tell_json(document)
            return
        width = min(_WIDEST, max(map(len, self.targets)))
        took = f"{probing.seconds * 1000:9.1f} ms"
        line = f"{probing.target:<{width}}  {took}  {probing.result:<11}"
        if watched:
            line = f"{now:%H:%M:%S}  {line}"
        if before is not None and before[0] != probing.result:
            line += f"  (was {before[0]})"
        tell(f"{line}  {probing.gist}".rstrip())

    def summary(self) -> str:
        """Say how many of the last round have ended badly, and how."""
        total, well = self.counts.total(), self.counts[Exit.OK]
        ways = ", ".join(
            f"{self.counts[code]} {name}"
            for code, name in (
                (Exit.REFUSED, "refused"),
                (Exit.NO_HANDSHAKE, "without a handshake"),
                (Exit.UNREACHED, "unreachable"),
            )
            if self.counts[code]
        )
        return f"{well} of {total} points established; {ways}"
