"""A network of real nodes on this machine: ``tezos-p2p sandbox``.

Several processes run a few nodes each (`io.sandbox_worker`); this one decides what
happens, and keeps the books:

=========  =============================================================================
phase      what happens
=========  =============================================================================
converge   all start at once, and know one point: until every node has as many connections
           as it should, and all are one network
gossip     nodes say messages; every other node has to hear each of them
kill       one process is killed, and its nodes with it; meanwhile others go on talking
heal       until those that are left are one network again, and know of it
restart    the process is started again: the same points, the same identities; what was
           said before has to reach its nodes, too
gossip     again, among all
stop       all processes end by themselves
=========  =============================================================================

Whatever happens, no process is left: each ends with the pipe to this one.
"""

from __future__ import annotations

import contextlib
import json
import queue
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterable
from typing import IO, Any, Final, cast

from ..spec.point import Point
from .proof_of_work import generate_identity
from .sandbox_board import Board, NodeRow, Plan, Summary
from .sandbox_worker import DIFFICULTY, ENDING, HOST, DriverName, Part, Seat, limits_of
from .sockets import open_for

#: Messages of one round of gossip, and seconds between two of them.
ROUND: Final = 5
BETWEEN: Final = 0.1
#: Bytes of the body of a message at most.
SIZE_MAX: Final = 1 << 15
#: Seconds that a message may take to reach everybody.
PATIENCE: Final = 5.0
#: Seconds that are left for the end.
STOPPING: Final = 3.0
#: Seconds between two looks at what goes on.
TICK: Final = 0.1

#: What runs one process.
COMMAND: Final = (sys.executable, "-m", "tezos_p2p.io.sandbox_worker")


class Failed(Exception):
    """Something did not come about; the message says what."""


# -- processes -------------------------------------------------------------------------


@contextlib.contextmanager
def _uninterrupted() -> Generator[None]:
    """Hold back interrupts: one in the middle of a start would lose the process."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Process:
    """A process with some of the nodes.

    Args:
        number: from 1.
        part: what it does.
        lines: where to put what it tells, None at its end, with itself.
    """

    def __init__(
        self, number: int, part: Part, lines: queue.SimpleQueue[tuple[Process, Any]]
    ) -> None:
        self.number = number
        self.ready = self.over = False
        self._lines = lines
        # A session of its own: Ctrl-C is this process's to handle, which ends the others.
        self._popen = subprocess.Popen(  # noqa: S603  # ourselves
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._input = cast("IO[str]", self._popen.stdin)
        self._write(part.to_json())
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def order(self, do: str, **facts: Any) -> None:
        """Tell it to do something; harmless if it has ended."""
        self._write(json.dumps({"do": do, **facts}))

    def _write(self, line: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            print(line, file=self._input, flush=True)

    def _read(self) -> None:
        for line in cast("IO[str]", self._popen.stdout):
            if line.endswith("\n"):  # killed in the middle of a line, it has said nothing
                self._lines.put((self, json.loads(line)))
        self._lines.put((self, None))

    def end(self, seconds: float) -> int | None:
        """Wait until it ends; kill it if that takes too long.

        Returns:
            Its exit code; None if it was killed.
        """
        code: int | None = None
        try:
            code = self._popen.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            pass
        finally:
            self.kill()
        return code

    def kill(self) -> None:
        """Kill it, unless it has ended; nothing of it is left."""
        self.over = True
        self._popen.kill()
        self._popen.wait()
        self._reader.join()
        with contextlib.suppress(OSError):
            self._input.close()
        cast("IO[str]", self._popen.stdout).close()


# -- what happens ----------------------------------------------------------------------


class Sandbox:
    """Lets a plan happen.

    Args:
        plan: what.
        show: called with what is known, a few times a second.
    """

    def __init__(self, plan: Plan, show: Callable[[Board], None]) -> None:
        self._plan, self._show = plan, show
        self._random = random.Random(plan.seed)  # noqa: S311  # no secrets
        self._lines: queue.SimpleQueue[tuple[Process, Any]] = queue.SimpleQueue()
        self._processes: dict[int, Process] = {}
        self._number = 0
        self._began = time.monotonic()
        # What is left at the end is for ending.
        self._until = self._began + plan.seconds - min(STOPPING, plan.seconds / 4)
        self._shown = 0.0
        self.board = Board({}, limits_of(plan.connections).thresholds)

    def run(self) -> Summary:
        """Do all of it.

        Raises:
            OSError: a process cannot be started, or there is no port.
            KeyboardInterrupt: no process is left.
        """
        with contextlib.ExitStack() as stack:
            self._seat(stack)
            try:
                self._play()
            except Failed as exc:
                self.board.faults.append(str(exc))
            finally:
                self._stop()
        self._show(self.board)
        return Summary(self._plan, self.board, time.monotonic() - self._began)

    def _seat(self, stack: contextlib.ExitStack) -> None:
        """Give every node a name, an identity and a point."""
        plan, rows = self._plan, self.board.rows
        for index in range(plan.nodes):
            turn, process = divmod(index, plan.processes)
            driver: DriverName = ("asyncio", "blocking")[turn % 2]
            if plan.driver != "mixed":
                driver = plan.driver
            point = Point(HOST, _port(stack))
            identity = generate_identity(DIFFICULTY)
            name = f"n{index + 1:02}"
            rows[name] = NodeRow(name, process + 1, driver, point, identity)
        self.board = Board(rows, self.board.bounds, self._began)

    def _play(self) -> None:
        plan, board = self._plan, self.board
        first = self._random.choice(board.living())
        board.note(
            f"{plan.nodes} nodes in {plan.processes} processes, "
            f"all know {first.name} at {first.point}"
        )
        for number in range(1, plan.processes + 1):
            self._start(number, first)
        self._go("converged")
        self._gossip(ROUND)
        victim = self._random.randint(1, plan.processes)
        rows = [row for row in board.rows.values() if row.process == victim]
        self._processes.pop(victim).kill()
        board.leave(rows)
        names = " ".join(row.name for row in rows)
        board.note(f"process {victim} is killed: {names}")
        since = time.monotonic()
        self._say()
        self._wait_until_whole("healed", since)
        self._gossip(ROUND)
        self._start(victim, self._random.choice(board.living()))
        self._go("rejoined", rows)
        self._gossip(ROUND, self._random.choice(rows))

    def _start(self, number: int, known: NodeRow) -> None:
        """Start a process whose nodes know one node."""
        seats = tuple(
            Seat(
                row.name,
                row.driver,
                row.point.port,
                row.identity.secret_key.hex(),
                row.identity.proof_of_work_stamp.hex(),
                known.point.port,
                deaf=index < self._plan.deaf,
            )
            for index, row in enumerate(self.board.rows.values())
            if row.process == number
        )
        left = self._began + self._plan.seconds - time.monotonic()
        part = Part(seats, self._plan.connections, left + ENDING)
        with _uninterrupted():
            self._processes[number] = Process(number, part, self._lines)

    def _go(self, phase: str, rows: Iterable[NodeRow] = ()) -> None:
        """Have the nodes of new processes start, all at once."""
        new = [it for it in self._processes.values() if not it.ready]
        late = "not all processes have started in time"
        self._wait(lambda: all(it.ready for it in new), self._until, late)
        self.board.back(rows)
        since = time.monotonic()
        for process in new:
            process.order("go")
        self._wait_until_whole(phase, since)

    def _wait_until_whole(self, phase: str, since: float) -> None:
        late = f"the network has not {phase} in time"
        self._wait(self.board.is_whole, self._until, late)
        spent = self.board.times[phase] = time.monotonic() - since
        self.board.note(f"{phase} after {spent:.2f} s")

    # -- gossip ------------------------------------------------------------------------

    def _gossip(self, count: int, speaker: NodeRow | None = None) -> None:
        """Have nodes say messages; wait until everybody has heard them."""
        board = self.board
        for index in range(count):
            self._say(speaker if index == 0 else None)
            self._pass(BETWEEN)
        until = min(self._until, time.monotonic() + PATIENCE)
        late = "messages were lost"
        self._wait(lambda: not board.missing, until, late)
        said = f"{board.messages} messages said, {board.delivered} deliveries"
        late_ones = f", {board.caught_up} to latecomers" if board.caught_up else ""
        board.note(f"{said}{late_ones}: all of them")

    def _say(self, speaker: NodeRow | None = None) -> None:
        if speaker is None:
            speaker = self._random.choice(self.board.living())
        self._number += 1
        self.board.expect(self._number, speaker.name)
        size = self._random.randint(0, SIZE_MAX)
        self._processes[speaker.process].order(
            "say", name=speaker.name, number=self._number, size=size
        )

    # -- waiting -----------------------------------------------------------------------

    def _wait(self, done: Callable[[], bool], until: float, late: str) -> None:
        """Take what the processes tell until something has come about.

        Raises:
            Failed: it has not in time, or a process has ended by itself.
        """
        while not done():
            left = until - time.monotonic()
            if left <= 0:
                raise Failed(late)
            self._take_next(left)

    def _pass(self, seconds: float) -> None:
        """Let time pass."""
        until = min(self._until, time.monotonic() + seconds)
        while (left := until - time.monotonic()) > 0:
            self._take_next(left)

    def _take_next(self, left: float) -> None:
        if time.monotonic() - self._shown >= TICK:
            self._shown = time.monotonic()
            self._show(self.board)
        try:
            process, line = self._lines.get(timeout=min(left, TICK))
        except queue.Empty:
            return
        if process.over:
            return  # killed: whatever it had to say
        if line is None:
            raise Failed(f"process {process.number} has ended by itself")
        if line["what"] == "failed":
            raise Failed(f"process {process.number}: {line['why']}")
        process.ready |= line["what"] == "ready"
        self.board.take(line)

    def _stop(self) -> None:
        """End all processes, in order if that goes."""
        for process in self._processes.values():
            process.order("stop")
        until = time.monotonic() + STOPPING
        for process in self._processes.values():
            code = process.end(until - time.monotonic())
            if code != 0:
                how = "did not stop" if code is None else f"ended with exit code {code}"
                self.board.faults.append(f"process {process.number} {how}")


def _port(stack: contextlib.ExitStack) -> int:
    """Return a port that is free, and stays so for us where the system lets us."""
    sock, address = open_for(Point(HOST, 0))
    stack.callback(sock.close)
    if sys.platform == "linux":
        # Bound, and not listening: others of ours may bind it, the system gives it to
        # nobody as the port of a connection.  Elsewhere it would be in our own way.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(address)
    port = cast("int", sock.getsockname()[1])
    if sys.platform != "linux":
        sock.close()
    return port


def run(plan: Plan, show: Callable[[Board], None]) -> Summary:
    """Let a plan happen; see `Sandbox`."""
    return Sandbox(plan, show).run()
