"""Where the ``tezos-p2p`` command starts, and where its errors end.

Nothing of the extra ``node`` is imported before it is known to be there, and no error
that can be expected shows a traceback.  The exit codes are those of `Exit`.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Final, TextIO, cast

from .exits import CommandError, Exit

_EXTRA: Final = (
    "aiohttp",
    "cyclopts",
    "h11",
    "prometheus_client",
    "rich",
    "structlog",
    "yarl",
)
_NEEDS_EXTRA: Final = (
    "the tezos-p2p command needs the extra \"node\": pip install 'tezos-p2p[node]'"
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    _fill_places()
    _write_anything()
    try:
        code = _run(sys.argv[1:] if arguments is None else arguments)
        # Not left to the interpreter's end, where nobody could tell of a full disk.
        if _is_open(sys.stdout):
            sys.stdout.flush()
    except KeyboardInterrupt:
        code = Exit.INTERRUPTED
    except BrokenPipeError:
        code = Exit.FAILED  # nobody reads any more: nobody to tell
    except CommandError as exc:
        complain(str(exc))
        code = exc.code
    except OSError as exc:
        complain(_explain(exc))
        code = Exit.FAILED
    for stream in (sys.stdout, sys.stderr):
        _settle(stream)
    return int(code)


def complain(text: str) -> None:
    """Print what went wrong as one line to standard error."""
    remark(f"tezos-p2p: {text}")


def remark(text: str) -> None:
    """Print one line to standard error, if anybody reads there."""
    if _is_open(sys.stderr):
        with contextlib.suppress(OSError):
            print(printable(text), file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """Return text as one line that cannot play with a terminal."""
    line = " ".join(text.splitlines())
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode("ascii")
        for char in line
    )


def _run(arguments: Sequence[str]) -> Exit:
    try:
        from .frame import run

        # Some parts are imported only by the commands that need them.
        return run(arguments)
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] not in _EXTRA:
            raise
        raise CommandError(_NEEDS_EXTRA, Exit.MISUSE) from None


def _fill_places() -> None:
    """Let nobody get the descriptor of a standard stream that is closed.

    The first file that is opened would, and whatever writes to standard error without
    asking Python, such as the interpreter when it crashes, would write into it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free


def _write_anything() -> None:
    """Let no character be an error: names of files may hold any, terminals few."""
    stream = cast("object", sys.stdout)
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="backslashreplace")


def _is_open(stream: TextIO) -> bool:
    # Python has None in place of a stream that was closed when it started.
    return cast("object", stream) is not None


def _explain(exc: OSError) -> str:
    what = exc.strerror or str(exc) or type(exc).__name__
    return f"{exc.filename}: {what}" if exc.filename else what


def _settle(stream: TextIO) -> None:
    """Drop what cannot be written: the interpreter would try again, and complain."""
    if not _is_open(stream):
        return
    try:
        stream.flush()
    except OSError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
