"""The trace format: what a recording of a node is made of, line by line.

A trace is text, one JSON object a line: a head, then what happened in order, then an end.

=================================  =====================================================
line                               says
=================================  =====================================================
``{"trace", "version", ..}``       the head: format, its version, what the node is
``{"state": {..}}``                tables and lists before the node starts
``{"do", "at"?, .., "is"?}``       a call into the core, its arguments, and what it gives
``{"ask", "is"}``                  within a call: what the core asked, and the answer
``{"is"}``                         what the call gives within which something was asked
``{"link", "becomes"}``            after a call: the states that an attempt has come to
``{"end", "why", "lines", ..}``    the last: why it ends, lines before, their hash
=================================  =====================================================

Where a call or a question failed there is ``raises`` in place of ``is``.  Times are
monotonic seconds, bytes base 64, hashes BLAKE2b of 16 bytes in hex digits.

Source: our own; docs/recording.md describes every field.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final, cast

import attrs

#: What the head names.
FORMAT: Final = "tezos-p2p"
#: Version of the format; others are not read.
VERSION: Final = 1
#: Most bytes of a line: the longest message, in base 64, fits.
LINE_MAX: Final = 1 << 28
#: Bytes of a hash.
HASH_SIZE: Final = 16

#: What the head of every trace says to whoever finds the file.
CONTENTS: Final = (
    "A recording of a peer-to-peer node. It holds no secret key. From this file alone "
    "can be derived: the node's peer id and settings; the addresses, ports and peer ids "
    "it knew, met, trusted and banned, and when; the size and time of everything it "
    "received and sent; every message that its own application sent, in clear; every "
    "random number that it drew. With the node's secret key also everything that it "
    "received, in clear. Treat it as you treat the node's logs, and keep it apart from "
    "its identity file."
)

# One for all lines: to make it costs more than to write most of them.
_encode: Final = json.JSONEncoder(
    separators=(",", ":"), allow_nan=False, check_circular=False
).encode
#: How every trace begins.
_BEGINS: Final = b'{"trace":'


class TraceError(ValueError):
    """A file that is no trace, or not one that can be used; the message says why."""


@attrs.frozen
class Line:
    """One line of a trace.

    Attributes:
        number: counted from 1.
        text: as it is in the file, without its end.
        fields: what it says.
    """

    number: int
    text: str
    fields: dict[str, Any]


def dump(fields: dict[str, Any]) -> str:
    """Return the one text that a line has."""
    return _encode(fields)


def digest(*pieces: bytes) -> str:
    """Return the hash of some bytes, one behind the other, as lines show it."""
    found = hashlib.blake2b(digest_size=HASH_SIZE)
    for piece in pieces:
        found.update(piece)
    return found.hexdigest()


def _open_at_once(path: str, flags: int) -> int:
    # Not blocking, or a named pipe in its place would be waited for.
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_lines(path: Path) -> Iterator[Line]:
    """Give the lines of a trace, the head first, as far as they are whole.

    A last line without its end is left out: the node was killed while it wrote.

    Raises:
        TraceError: it cannot be read, is no trace, is of another version, or has a line
            that is none; says at which line.
    """
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise TraceError(f"{path}: not a regular file")
            yield from _lines_of(file, path)
    except OSError as exc:
        raise TraceError(f"{path}: {exc.strerror or exc}") from None


def _lines_of(file: IO[bytes], path: Path) -> Iterator[Line]:
    begins = file.read(len(_BEGINS))
    if begins != _BEGINS:
        raise TraceError(f"{path}: no trace: it does not begin as one does")
    number, before = 0, begins
    while raw := before + file.readline(LINE_MAX + 1):
        number, before = number + 1, b""
        if not raw.endswith(b"\n"):
            if len(raw) > LINE_MAX:
                raise TraceError(f"{path}, line {number}: longer than {LINE_MAX} bytes")
            if number == 1:
                raise TraceError(f"{path}: no trace: its first line has no end")
            return
        line = _line(raw[:-1], number, path)
        if number == 1:
            _check_head(line.fields, path)
        yield line


def _line(raw: bytes, number: int, path: Path) -> Line:
    where = f"{path}, line {number}"
    try:
        text = raw.decode("ascii")
        fields = json.loads(text, parse_constant=_no_constant)
    except RecursionError:
        raise TraceError(f"{where}: nested too deeply") from None
    except UnicodeDecodeError as exc:
        raise TraceError(f"{where}: byte {exc.start} is not ASCII") from None
    except ValueError as exc:
        raise TraceError(f"{where}: not JSON: {exc}") from None
    if not isinstance(fields, dict):
        raise TraceError(f"{where}: no JSON object")
    return Line(number, text, cast("dict[str, Any]", fields))


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no number")


def _check_head(fields: dict[str, Any], path: Path) -> None:
    if fields.get("trace") != FORMAT:
        raise TraceError(f"{path}: no trace: line 1 is not the head of one")
    if fields.get("version") != VERSION:
        found = str(fields.get("version"))[:20]
        raise TraceError(
            f"{path}: a trace of version {found}; this program reads version {VERSION}"
        )
    if not isinstance(fields.get("node"), dict):
        raise TraceError(f"{path}: no trace: its head does not say what the node is")
