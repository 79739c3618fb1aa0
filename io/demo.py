"""The first thing to show: two processes shake hands, then a recorded handshake.

``python -m tezos_p2p.io.demo`` searches a small proof of work for two identities, starts
two processes that complete the handshake over TCP on loopback, compares what both
ends hold, then feeds the recording of `io.recording` to the same machine.  Needs the
core dependencies only; ends by itself within seconds; exit code 0 if all went well.

The loop around the socket is `shake_hands`: a few lines that decide nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, cast

from ..fsm.channel import Frames
from ..fsm.handshake import Handshake, Session, State
from ..fsm.local import Local
from ..spec.events import (
    Authenticated,
    Closed,
    ConnectionMessageReceived,
    Established,
    HandshakeEvent,
)
from ..spec.hello import ANSWER, CONNECTION_MESSAGE, CONNECTION_METADATA, FRAME_MAX_SIZE
from ..spec.identity import Identity, IdentityError, difficulty_reached, expected_tries
from ..spec.limits import FRAME_HEADER_SIZE
from ..spec.motive import Motive
from ..spec.reader import DecodeError
from ..spec.version import SANDBOX
from .files import load_identity, save_identity
from .proof_of_work import Progress, generate_identity
from .recording import NETWORK, Replayed, replay

#: Small enough to be found in about a second, on one core.
DIFFICULTY: Final = 18.0
#: Most seconds that the two processes may take.
PATIENCE: Final = 12.0
#: Seconds to read on, and throw away, after a last word.
LINGER: Final = 0.5
_HOST: Final = "127.0.0.1"


def shake_hands(
    connection: socket.socket,
    machine: Handshake,
    tell: Callable[[HandshakeEvent | bytes], None],
) -> Session | None:
    """Drive a handshake over a blocking socket to its end.

    Args:
        connection: connected; stays open.
        machine: not started.
        tell: called with every event, and with the bytes of every write.

    Returns:
        The session, or None if the handshake failed; the last event says why.
    """
    clock = time.monotonic
    machine.start(clock())
    while True:
        while (event := machine.next_event()) is not None:
            tell(event)
            if isinstance(event, Authenticated):
                if isinstance(event.agreement, Motive):
                    machine.refuse(event.agreement, (), clock())
                else:
                    machine.admit(clock())
        while data := machine.data_to_send():
            # A write that fails tells nothing that reading on does not, and a refusal
            # may wait there to be read.
            with contextlib.suppress(OSError):
                connection.sendall(data)
                tell(data)
        if machine.ended:
            _linger(connection)
            return None
        if machine.state is State.ESTABLISHED:
            return machine.hand_over()
        deadline = machine.next_timeout()
        assert deadline is not None
        connection.settimeout(max(0.001, deadline - clock()))
        try:
            received = connection.recv(machine.read_allowance)
        except TimeoutError:
            machine.handle_timeout(clock())
        except OSError:
            machine.receive_data(b"", clock())
        else:
            machine.receive_data(received, clock())


def _linger(connection: socket.socket) -> None:
    """Let a last word arrive: closing over unread bytes would destroy it."""
    until = time.monotonic() + LINGER
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
        # One deadline: a peer that goes on and on must not be listened to for ever.
        while (left := until - time.monotonic()) > 0:
            connection.settimeout(left)
            if not connection.recv(65_536):
                return


# -- one of the two processes ----------------------------------------------------------


def _describe(event: HandshakeEvent) -> str:
    match event:
        case ConnectionMessageReceived(peer_id, message, _):
            work = difficulty_reached(message.public_key, message.proof_of_work_stamp)
            version = message.version
            return (
                f"connection message of {peer_id}: {work:.1f} bits of work, "
                f"{version.chain_name} {version.distributed_db_version}/"
                f"{version.p2p_version}; key agreed"
            )
        case Authenticated(remote, agreement, _):
            metadata = remote.metadata
            verdict = "refused" if isinstance(agreement, Motive) else "admitted"
            return (
                "metadata decrypted: "
                f"disable_mempool={metadata.disable_mempool} "
                f"private_node={metadata.private_node}; {verdict}"
            )
        case Established(_, version, _):
            return (
                f"their answer: accepted; version {version.distributed_db_version}/"
                f"{version.p2p_version} from now on"
            )
        case Closed(why, _):
            return f"closed: {why}"


def _end(role: str, identity_file: Path, port: int) -> int:
    """Be one end; print one JSON object per line for the parent."""

    def say(what: str, **facts: Any) -> None:
        line = {"role": role, "at": time.monotonic(), "what": what, **facts}
        print(json.dumps(line), flush=True)

    identity = load_identity(identity_file, DIFFICULTY)
    incoming = role == "listener"
    if incoming:
        with socket.create_server((_HOST, 0)) as server:
            server.settimeout(PATIENCE)
            port = server.getsockname()[1]
            say(f"listening on {_HOST}:{port}", port=port)
            connection, _ = server.accept()
            say("accepted a connection")
    else:
        connection = socket.create_connection((_HOST, port), PATIENCE)
        say(f"connected to {_HOST}:{port}")
    local = Local(
        identity=identity,
        network=SANDBOX,
        port=port if incoming else 0,
        random_bytes=os.urandom,
        difficulty=DIFFICULTY,
    )
    with connection:
        machine = Handshake(local, incoming=incoming)
        names = iter(("our connection message", "our metadata", "our answer"))

        def tell(event: HandshakeEvent | bytes) -> None:
            if not isinstance(event, bytes):
                say(_describe(event))
                return
            # Two frames may leave in one write, when theirs have come in one.
            frames = Frames()
            frames.feed(event)
            while (body := frames.next(0, FRAME_MAX_SIZE)) is not None:
                say(f"sent {FRAME_HEADER_SIZE + len(body)} bytes: {next(names)}")

        session = shake_hands(connection, machine, tell)
        if session is None:
            return 1
        sends, receives = session.channel.fingerprints
        say("session", sends=sends, receives=receives, peer=str(session.remote.peer_id))
    return 0


# -- the parent ------------------------------------------------------------------------


class _Timeline:
    """Prints what both processes say, in columns, in seconds since the first word."""

    def __init__(self) -> None:
        self._origin: float | None = None

    def show(self, line: dict[str, Any]) -> None:
        if self._origin is None:
            self._origin = line["at"]
        milliseconds = (line["at"] - self._origin) * 1000
        print(f"  {milliseconds:8.2f} ms  {line['role']:<8}  {line['what']}")


def _start(role: str, identity_file: Path, port: int = 0) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tezos_p2p.io.demo", "--role", role]
    command += ["--identity", str(identity_file), "--port", str(port)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603  # ourselves


def _two_processes(folder: Path) -> bool:
    """Run both ends; print their timeline; say whether they agree."""
    processes: list[subprocess.Popen[str]] = []

    def give_up() -> None:
        print(f"no handshake within {PATIENCE:g} s", file=sys.stderr)
        for process in processes:
            process.kill()

    watchdog = threading.Timer(PATIENCE, give_up)
    watchdog.start()
    try:
        processes.append(_start("listener", folder / "listener.json"))
        said = [_line(processes[0])]
        if "port" not in said[0]:
            print("the listening process did not start", file=sys.stderr)
            return False
        processes.append(_start("dialler", folder / "dialler.json", said[0]["port"]))
        for process in processes:
            while line := _line(process):
                said.append(line)
    finally:
        watchdog.cancel()
        for process in processes:
            process.kill()
            process.communicate()
    said.sort(key=lambda line: line["at"])
    timeline = _Timeline()
    sessions = {line["role"]: line for line in said if line["what"] == "session"}
    for line in said:
        if line["what"] != "session":
            timeline.show(line)
    if len(sessions) < 2:
        print("not both ends have a session", file=sys.stderr)
        return False
    return _agree(sessions["listener"], sessions["dialler"])


def _line(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Return the next thing that a process says; nothing at its end."""
    assert process.stdout is not None
    line = process.stdout.readline()
    # Killed in the middle of a line, it has said nothing.
    return cast("dict[str, Any]", json.loads(line)) if line.endswith("\n") else {}


def _agree(listener: dict[str, Any], dialler: dict[str, Any]) -> bool:
    """Compare what both ends hold: keys and nonces, crosswise."""
    print("\nShared state (fingerprints of key and next nonce):")
    agreed = True
    for sender, receiver in ((dialler, listener), (listener, dialler)):
        same = sender["sends"] == receiver["receives"]
        agreed = agreed and same
        print(
            f"  {sender['role']:<8} sends {sender['sends']}, "
            f"{receiver['role']:<8} receives {receiver['receives']}: "
            f"{'the same' if same else 'DIFFERENT'}"
        )
    return agreed


def _said(done: Replayed) -> str:
    """Decode what a frame of the recording says."""
    name, plain = done.step.name, done.decrypted
    try:
        if name == "connection message":
            message = CONNECTION_MESSAGE.decode(plain)
            return f"port {message.port}, {message.version}"
        if name == "metadata":
            return str(CONNECTION_METADATA.decode(plain))
        if name == "answer":
            return str(ANSWER.decode(plain))
    except DecodeError as exc:
        return f"does not decode: {exc}"
    return f"tag {plain[4:6].hex()}, payload {plain[6:].hex()} (Get_current_branch)"


def _recorded() -> bool:
    """Replay the recording; print each step."""
    agreed = True
    for done in replay():
        agreed = agreed and done.same and done.decrypted == done.step.plain
        arrow = "->" if done.step.sent else "<-"
        verdict = "same bytes" if done.same else "DIFFERENT BYTES"
        frame = done.step.frame.hex()
        frame = frame if len(frame) <= 44 else f"{frame[:41]}..."
        print(f"  {arrow} {done.step.name:<18} {frame:<44} {verdict}")
        print(f"       says: {_said(done)}")
        for event in done.events:
            print(f"       machine: {_describe(event)}")
    return agreed


def _make_identity(path: Path) -> Identity:
    def show(progress: Progress) -> None:
        print(
            f"\r  {path.stem:<8}  {progress.tries:>9,} tries, "
            f"{progress.rate / 1e6:.2f} M/s, {progress.expected:,.0f} expected ",
            end="",
            flush=True,
        )

    began = time.monotonic()
    # Python has no sys.stdout at all when it is closed.
    terminal = sys.stdout is not None and sys.stdout.isatty()  # pyright: ignore[reportUnnecessaryComparison]  # see above
    if not terminal:
        expected = expected_tries(DIFFICULTY)
        print(f"  {path.stem:<8}  searching, {expected:,.0f} tries expected")
    identity = generate_identity(DIFFICULTY, on_progress=show if terminal else None)
    save_identity(identity, path)
    spent = time.monotonic() - began
    print(
        ("\r" if terminal else "")
        + f"  {path.stem:<8}  {identity.peer_id}: {identity.difficulty:.1f} bits "
        f"after {spent:.2f} s".ljust(79)
    )
    return identity


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tezos_p2p.io.demo",
        description="Two processes shake hands over TCP; then a recorded handshake.",
    )
    parser.add_argument("--role", choices=("listener", "dialler"), help=argparse.SUPPRESS)
    parser.add_argument("--identity", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.role and not options.identity:
        parser.error("--role needs --identity")
    try:
        if options.role:
            return _end(options.role, options.identity, options.port)
        return _parent()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # Nobody reads any more; keep the interpreter from saying so when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (OSError, IdentityError) as exc:
        print(f"{options.role or 'demo'}: {exc}", file=sys.stderr)
        return 1


def _parent() -> int:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print(f"1. Two identities with a proof of work of {DIFFICULTY:g} bits:")
        for role in ("listener", "dialler"):
            _make_identity(folder / f"{role}.json")
        print("\n2. Two processes, TCP on loopback, one handshake:")
        live = _two_processes(folder)
    print(f"\n3. A handshake recorded on {NETWORK.chain_name}, done again:")
    recorded = _recorded()
    if live and recorded:
        print("\nBoth handshakes succeeded.")
        return 0
    print("\nFAILED", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
