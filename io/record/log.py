"""What takes a recording, line by line: in order, with calls and what they ask.

`Recorder` writes the lines to a file; ``replay.Comparer`` compares them with one.

.. code-block:: python

    recorder = Recorder(Path("node.trace"))
    node = RecordedNode.of(Node(...), recorder)  # before it starts
    ...  # a driver uses `node` as it would use the other
    recorder.close()

A recording is never the node's trouble: when the file cannot be written, or is as large
as it may be, recording ends, that is told once, and the node goes on.

Source: our own; the format is that of the trace module.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, Final, TypeVar

from .trace import CONTENTS, FORMAT, HASH_SIZE, LINE_MAX, VERSION, dump
from .values import Carried, raised_out

T = TypeVar("T")
Fields = dict[str, Any]
#: Makes a line, or a part of it: not called when nobody takes it.
Make = Callable[[], Fields]
#: Makes a message of a tag and a payload.
Decode = Callable[[int, bytes], Any]

#: Bytes of a recording at most, unless told otherwise.
RECORD_MAX: Final = 256 << 20
#: Of them kept for the last line.
_END_ROOM: Final = 512
#: When these give nothing, there is nothing more to do.
_LAST: Final = ("next_command", "receive")


class Log:
    """Puts lines in order; who writes or compares them is the subclass's affair.

    A call's line waits until it is known whether the core asks something within it.

    Attributes:
        lines: how many there were so far.
        decoded: messages that were decoded so far.
    """

    def __init__(self) -> None:
        self._call: Fields | None = None
        self._hash = hashlib.blake2b(digest_size=HASH_SIZE)
        self.lines = 0
        self.decoded = 0

    @property
    def ended(self) -> bool:
        """Whether no more lines are taken."""
        return False

    @property
    def hash(self) -> str:
        """Hash of the lines so far."""
        return self._hash.hexdigest()

    def begin(self, make: Make) -> None:
        """Take what the node is, and put it into the head."""
        raise NotImplementedError

    def call(self, make: Make) -> None:
        """Take a call, before it is made."""
        self._call = make()

    def result(self, make: Make) -> None:
        """Take what a call gives, after it was made; may be nothing."""
        call, self._call, fields = self._call, None, make()
        if call is not None or fields:
            self._put({**(call or {}), **fields})

    def put(self, make: Make) -> None:
        """Take any other line."""
        fields = make()
        if self._call is not None:
            call, self._call = self._call, None
            self._put(call)
        self._put(fields)

    def ask(
        self,
        kind: str,
        real: Callable[[], T],
        out: Callable[[T], Any],
        read: Callable[[Any], T],
    ) -> T:
        """Return an answer to what the core asks, and take it.

        Args:
            kind: what is asked.
            real: answers.
            out: writes an answer.
            read: reads what that has written.
        """
        raise NotImplementedError

    def decode(self, tag: int, payload: bytes, real: Decode) -> Carried | None:
        """Decode a message, and take what is wrong with it, if anything is."""
        raise NotImplementedError

    def _put(self, fields: Fields) -> None:
        raise NotImplementedError

    def _count(self, line: bytes) -> None:
        self._hash.update(line)
        self.lines += 1


class Recorder(Log):
    """Writes a trace to a new file, readable and writable by its owner only.

    What happened is given to the system whenever the driver has nothing more to do, so
    that of a process that is killed little is lost.

    Args:
        path: where; nothing may be there, not even a link.
        most: bytes of the file at most.
        tell: called once, with one line, if recording ends before `close`.

    Attributes:
        path: where.
        why: why recording has ended, or None.

    Raises:
        OSError: the file cannot be made.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        most: int = RECORD_MAX,
        tell: Callable[[str], object] | None = None,
    ) -> None:
        super().__init__()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
        self.path = Path(path)
        self.why: str | None = None
        self._most = most
        self._size = 0
        self._tell = tell
        self._file: IO[bytes] = os.fdopen(os.open(path, flags, 0o600), "wb", 1 << 16)

    @property
    def ended(self) -> bool:
        """Whether no more is recorded."""
        return self.why is not None

    def close(self) -> None:
        """End the recording; harmless when it has ended."""
        if not self.ended:
            self._end("closed", "the recording is whole")

    def begin(self, make: Make) -> None:
        """Write the head."""
        head = {"trace": FORMAT, "version": VERSION, "says": CONTENTS}
        made_by = f"tezos-p2p {importlib.metadata.version('tezos-p2p')}"
        self._guard(lambda: self._put({**head, "made_by": made_by, "node": make()}))

    def call(self, make: Make) -> None:
        """Take a call, before it is made."""
        self._guard(lambda: Log.call(self, make))

    def result(self, make: Make) -> None:
        """Write what a call gives."""
        self._guard(lambda: Log.result(self, make))

    def put(self, make: Make) -> None:
        """Write any other line."""
        self._guard(lambda: Log.put(self, make))

    def ask(
        self,
        kind: str,
        real: Callable[[], T],
        out: Callable[[T], Any],
        read: Callable[[Any], T],  # noqa: ARG002  # for who replays
    ) -> T:
        """Return the real answer, and write it."""
        try:
            answer = real()
        except Exception as exc:
            raised = raised_out(exc)
            self.put(lambda: {"ask": kind, "raises": raised})
            raise
        self.put(lambda: {"ask": kind, "is": out(answer)})
        return answer

    def decode(self, tag: int, payload: bytes, real: Decode) -> Carried | None:
        """Decode a message with the real codec; write what is wrong with it."""
        self.decoded += 1
        number = self.decoded
        try:
            message = real(tag, payload)
        except Exception as exc:
            raised = raised_out(exc)
            self.put(lambda: {"ask": "decode", "number": number, "raises": raised})
            raise
        if message is None:
            self.put(lambda: {"ask": "decode", "number": number, "is": None})
            return None
        return Carried.of(message, tag, payload, hashed=not self.ended)

    # -- the file ----------------------------------------------------------------------

    def _guard(self, act: Callable[[], object]) -> None:
        """Do something that may fail without the node's noticing."""
        if self.ended:
            return
        try:
            act()
        except OSError as exc:
            self._end("failed", f"cannot write: {exc.strerror or exc}")
        except Exception as exc:
            self._end("failed", f"cannot record: {type(exc).__name__}: {exc}")

    def _put(self, fields: Fields) -> None:
        if self.ended:
            return
        line = f"{dump(fields)}\n".encode("ascii")
        size = len(line)
        if size > LINE_MAX or self._size + size > self._most - _END_ROOM:
            self._end("full", f"it would be larger than {self._most} bytes")
            return
        self._file.write(line)
        self._size += size
        self._count(line)
        if fields.get("do") in _LAST and fields.get("is") is None:
            self._file.flush()  # all is done: it may be long until the next call

    def _end(self, end: str, why: str) -> None:
        """Write the last line, if that can be; tell of it."""
        self.why = why
        last = {"end": end, "why": why[:200], "lines": self.lines, "hash": self.hash}
        try:
            self._file.write(f"{dump(last)}\n".encode("ascii"))
            self._file.flush()
        except (OSError, ValueError) as exc:
            if end == "closed":
                end, why = "failed", f"cannot write: {exc}"
        # Once more is tried to write what could not be written.
        with contextlib.suppress(OSError):
            self._file.close()
        if end != "closed" and self._tell is not None:
            with contextlib.suppress(Exception):
                self._tell(f"{self.path}: recording has ended: {why}")
