"""Running the command: in this process, in one of its own, on a terminal."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path

GOLDENS = Path(__file__).parent / "goldens"
COMMAND = (sys.executable, "-m", "tezos_p2p.io.cli")

# As in test_io_files: of a reference node of May 2019; its stamp shows 12.5 bits.
REFERENCE = {
    "peer_id": "idr3dL5v3jdobyPbZPVbWekUdBzJyY",
    "public_key": "eb9a33c8c54cf7d7c68f8b2cfd6431657c8b84bee6510193d7df877bd074dc3e",
    "secret_key": "af3272a9bd3ef8c7446b047d37a16d278d53d319467337ff7c00b030382ecd3e",
    "proof_of_work_stamp": "0000000000000000000000000000000000000000000002a3",
}


def golden(name: str) -> str:
    return (GOLDENS / name).read_text("utf-8")


def environment(**changes: str) -> dict[str, str]:
    """The environment, but for what would change colours and widths."""
    drop = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TTY_COMPATIBLE", "TERM")
    kept = {name: value for name, value in os.environ.items() if name not in drop}
    return kept | {"TERM": "xterm-256color"} | changes


def run(*arguments: str, cwd: Path | None = None, **changes: str):
    """Run the command in a process of its own, with pipes."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=cwd,
        env=environment(**changes),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def on_terminal(*arguments: str, columns: int = 80, **changes: str) -> tuple[int, str]:
    """Run the command on a terminal; return its exit code and all that it shows."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [*COMMAND, *arguments],
        env=environment(**changes),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    try:
        # Linux has an error, not an end, when nobody holds the other side any more.
        with contextlib.suppress(OSError):
            while data := os.read(ours, 65_536):
                shown += data
        code = process.wait(60)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    return code, shown.decode("utf-8").replace("\r\n", "\n")
