"""The first thing to show: two processes talk, then a recorded handshake.

``tezos-p2p demo`` and ``python -m tezos_p2p.io.demo`` search a small proof of work for
two identities, start two processes on loopback (one listens over asyncio, one dials
with blocking calls), let them shake hands and ask each other for points, branches,
headers and operations, and check every answer; then feed the recording of
`io.recording` to the same machine.  Needs the core dependencies only; ends by itself
within seconds; exit code 0 if all went well.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast

from ..spec.hello import ANSWER, CONNECTION_MESSAGE, CONNECTION_METADATA
from ..spec.identity import Identity, IdentityError, expected_tries
from ..spec.reader import DecodeError
from .demo_ends import DIFFICULTY, PATIENCE, describe, run_end, versions_text
from .files import save_identity
from .proof_of_work import Progress, generate_identity
from .recording import NETWORK, Replayed, replay

ROLES: Final[tuple[str, str]] = ("listener", "dialler")

#: Prints a line for people, or facts for programs.
Show = Callable[..., None]


def _show_text(text: str = "", **_: Any) -> None:
    print(text, flush=True)


def _show_json(_: str = "", **facts: Any) -> None:
    if facts:
        print(json.dumps(facts), flush=True)


# -- two processes ---------------------------------------------------------------------


def _start(role: str, identity_file: Path, port: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tezos_p2p.io.demo", "--role", role]
    command += ["--identity", str(identity_file), "--port", str(port)]
    # A session of its own: Ctrl-C is this process's to handle, which ends the others.
    return subprocess.Popen(  # noqa: S603  # ourselves
        command, stdout=subprocess.PIPE, text=True, start_new_session=True
    )


@contextlib.contextmanager
def _uninterrupted() -> Generator[None]:
    """Hold back interrupts for a moment, from this thread and those begun meanwhile.

    An interrupt in the middle of a start would leave a process that nobody knows of.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _two_processes(folder: Path, show: Show) -> bool:
    """Run both ends; show their timeline; say whether all went well."""
    processes: list[subprocess.Popen[str]] = []
    late = threading.Event()

    def give_up() -> None:
        late.set()
        for process in processes:
            process.kill()

    watchdog = threading.Timer(PATIENCE, give_up)
    watchdog.daemon = True
    said: list[dict[str, Any]] = []
    try:
        with _uninterrupted():
            watchdog.start()
            processes.append(_start("listener", folder / "listener.json"))
        said.append(_line(processes[0]))
        if "port" in said[0]:
            port = said[0]["port"]
            with _uninterrupted():
                processes.append(_start("dialler", folder / "dialler.json", port))
            for process in processes:
                said += iter(functools.partial(_line, process), {})
        else:
            processes[0].kill()
    except BaseException:
        give_up()
        raise
    finally:
        for process in processes:
            process.communicate()
        watchdog.cancel()
    codes: dict[str, int] = {}
    for role, process in zip(ROLES, processes, strict=False):  # one, if it failed
        codes[role] = process.returncode
    said = [line for line in said if line]
    _show_timeline(said, show)
    if late.is_set():
        return _complain(f"not done within {PATIENCE:g} s")
    return _judge(said, codes)


def _line(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Return the next thing that a process says; nothing at its end."""
    assert process.stdout is not None
    line = process.stdout.readline()
    # Killed in the middle of a line, it has said nothing.
    return cast("dict[str, Any]", json.loads(line)) if line.endswith("\n") else {}


def _complain(text: str) -> bool:
    print(text, file=sys.stderr, flush=True)
    return False


def _show_timeline(said: list[dict[str, Any]], show: Show) -> None:
    """Show what both processes have said, in the order in which it happened."""
    said.sort(key=lambda line: line["at"])
    for line in said:
        seconds = line["at"] - said[0]["at"]
        if line["what"] == "done":
            continue
        text = f"  {seconds * 1000:8.2f} ms  {line['role']:<8}  {line['what']}"
        role, what = line["role"], line["what"]
        show(text, step="said", seconds=round(seconds, 6), role=role, what=what)


def _judge(said: list[dict[str, Any]], codes: Mapping[str, int]) -> bool:
    """Say whether both ended well, and whether all that was sent has arrived."""
    done = {line["role"]: line for line in said if line["what"] == "done"}
    for role in ROLES:
        if role not in codes:
            return _complain("the listening process did not start")
        if codes[role] != 0 or role not in done:
            return _complain(f"the {role}'s process failed (exit code {codes[role]})")
    for sender, receiver in (ROLES, ROLES[::-1]):
        sent, received = done[sender]["sent"], done[receiver]["received"]
        if sent != received:
            return _complain(f"the {sender} sent {sent}, the {receiver} got {received}")
    return True


# -- the recording ---------------------------------------------------------------------


def _said(done: Replayed) -> str:
    """Decode what a frame of the recording says."""
    name, plain = done.step.name, done.decrypted
    try:
        if name == "connection message":
            message = CONNECTION_MESSAGE.decode(plain)
            return f"port {message.port}, {versions_text(message.version)}"
        if name == "metadata":
            return str(CONNECTION_METADATA.decode(plain))
        if name == "answer":
            return str(ANSWER.decode(plain))
    except DecodeError as exc:
        return f"does not decode: {exc}"
    return f"tag {plain[4:6].hex()}, payload {plain[6:].hex()} (Get_current_branch)"


def _recorded(show: Show) -> bool:
    """Replay the recording; show each step."""
    agreed = True
    for done in replay():
        same = done.same and done.decrypted == done.step.plain
        agreed = agreed and same
        arrow = "->" if done.step.sent else "<-"
        verdict = "same bytes" if done.same else "DIFFERENT BYTES"
        frame = done.step.frame.hex()
        short = frame if len(frame) <= 40 else f"{frame[:37]}..."
        show(
            f"  {arrow} {done.step.name:<18}  {short:<40}  {verdict}",
            step="replayed",
            sent=done.step.sent,
            name=done.step.name,
            frame=frame,
            same=same,
        )
        show(f"       says: {_said(done)}")
        for event in done.events:
            for line in describe(event):
                show(f"       machine: {line}")
    return agreed


# -- all of it -------------------------------------------------------------------------


def _make_identity(path: Path, show: Show) -> Identity:
    def progress(standing: Progress) -> None:
        print(
            f"\r  {path.stem:<8}  {standing.tries:>9,} tries, "
            f"{standing.rate / 1e6:.2f} M/s, {standing.expected:,.0f} expected ",
            end="",
            flush=True,
        )

    began = time.monotonic()
    # Python has no sys.stdout at all when it is closed.
    terminal = sys.stdout is not None and sys.stdout.isatty()  # pyright: ignore[reportUnnecessaryComparison]  # None if closed
    terminal = terminal and show is _show_text
    if not terminal:
        expected = expected_tries(DIFFICULTY)
        show(f"  {path.stem:<8}  searching, {expected:,.0f} tries expected")
    identity = generate_identity(DIFFICULTY, on_progress=progress if terminal else None)
    save_identity(identity, path)
    spent = time.monotonic() - began
    text = f"  {path.stem:<8}  {identity.peer_id}: {identity.difficulty:.1f} bits"
    show(
        ("\r" if terminal else "") + f"{text} after {spent:.2f} s".ljust(79 * terminal),
        step="identity",
        role=path.stem,
        peer_id=str(identity.peer_id),
        level=identity.difficulty,
        seconds=round(spent, 3),
    )
    return identity


def run(as_json: bool = False) -> int:
    """Run the demo; return its exit code.

    Raises:
        OSError: it cannot print, write its files or start its processes.
    """
    show = _show_json if as_json else _show_text
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        show(f"1. Two identities with a proof of work of {DIFFICULTY:g} bits:")
        for role in ROLES:
            _make_identity(folder / f"{role}.json", show)
        show("\n2. Two processes on loopback; one listens over asyncio, one dials with")
        show("   blocking calls. They shake hands, then ask each other:")
        live = _two_processes(folder, show)
    show(f"\n3. A handshake recorded on {NETWORK.chain_name}:")
    recorded = _recorded(show)
    good = live and recorded
    if good:
        text = "\nAll went well: every message has arrived, every answer fits."
        show(text, step="result", good=True)
        return 0
    if as_json:
        show(step="result", good=False)
    _complain("FAILED")
    return 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo, or one end of it; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tezos_p2p.io.demo",
        description="Two processes talk over TCP; then a recorded handshake.",
    )
    parser.add_argument("--json", action="store_true", help="print JSON lines")
    parser.add_argument("--role", choices=ROLES, help=argparse.SUPPRESS)
    parser.add_argument("--identity", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.role and not options.identity:
        parser.error("--role needs --identity")
    try:
        if options.role:
            return run_end(options.role, options.identity, options.port)
        return run(options.json)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Nobody reads any more; keep the interpreter from saying so when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (OSError, IdentityError) as exc:
        print(f"{options.role or 'demo'}: {exc}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
