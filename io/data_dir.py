"""The data directory of a node: which files are in it, and one node at a time.

The lock is the operating system's, on a file that stays there: it ends with its process,
however that ends, and a file without a process behind it locks nobody out.  The file
holds the process id of who has the lock, for people.  Two nodes of one process lock each
other out as well.  On file systems of other machines the lock is as good as theirs.

Source: our own.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import attrs

from .json_file import check_writable, is_null, sweep

#: Name of the file that is locked.
LOCK_NAME: Final = "tezos-p2p.lock"

_PID_SIZE: Final = 32

if sys.platform == "win32":
    import msvcrt

    # Far behind the text: what is locked cannot be read by others there.
    _LOCK_AT: Final = 1 << 30

    def _lock(handle: int) -> None:
        os.lseek(handle, _LOCK_AT, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)

    def _unlock(handle: int) -> None:
        os.lseek(handle, _LOCK_AT, os.SEEK_SET)
        msvcrt.locking(handle, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    # Of the open file, not of the process: `lockf` would let a second node of the same
    # process in, and be lost as soon as anybody closes the file.
    def _lock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(handle: int) -> None:
        fcntl.flock(handle, fcntl.LOCK_UN)


_TAKEN: Final = (errno.EAGAIN, errno.EACCES, errno.EWOULDBLOCK, errno.EDEADLK)


class DataDirLocked(OSError):
    """Another node uses the data directory.

    Attributes:
        pid: of its process; None if that could not be found out.
    """

    def __init__(self, folder: Path, pid: int | None) -> None:
        who = "another process" if pid is None else f"process {pid}{_command(pid)}"
        if pid == os.getpid():
            who = "another node of this process"
        super().__init__(
            f"{folder}: in use by {who}; stop that one, or give this node a data "
            "directory of its own"
        )
        self.pid = pid


@attrs.frozen
class DataDir:
    """The files of one node.

    Args:
        folder: where they are.
    """

    folder: Path

    @property
    def identity(self) -> Path:
        """Keys and proof of work; see `files`."""
        return self.folder / "identity.json"

    @property
    def config(self) -> Path:
        """The configuration; see `config`."""
        return self.folder / "config.json"

    @property
    def peers(self) -> Path:
        """Known peers; see `peers_file`."""
        return self.folder / "peers.json"

    @property
    def acl(self) -> Path:
        """What an operator decided; see `acl_file`."""
        return self.folder / "acl.json"

    @property
    def anchors(self) -> Path:
        """Whom to dial first; see `acl_file`."""
        return self.folder / "anchors.json"

    @property
    def kept(self) -> tuple[Path, ...]:
        """The files that a node saves while it runs."""
        return (self.peers, self.acl, self.anchors)

    def unsavable(self) -> tuple[str, ...]:
        """Say which files could not be saved now, and why; a line for each reason.

        A folder may well be read-only: an identity, a configuration and an old lock need
        no more.  But whoever bans somebody should know that the ban will not last.
        """
        found: dict[str, list[str]] = {}
        for path in self.kept:
            try:
                if not is_null(path):
                    check_writable(path)
            except OSError as exc:
                found.setdefault(str(exc.strerror), []).append(path.name)
        return tuple(
            f"{self.folder}: {', '.join(names)} cannot be saved: {why}; what they would "
            "hold is lost when the node ends"
            for why, names in found.items()
        )

    def lock(self) -> DataDirLock:
        """Make the folder if need be, and lock it; remove what a killed node left.

        Raises:
            DataDirLocked: another node has it.
            OSError: it cannot be made or written, or locks do not work there.
        """
        with contextlib.suppress(FileExistsError):
            self.folder.mkdir(mode=0o700, parents=True)
        if not self.folder.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, "not a folder", str(self.folder))
        path = self.folder / LOCK_NAME
        handle = _open(path)
        try:
            try:
                _lock(handle)
            except OSError as exc:
                if exc.errno not in _TAKEN:
                    raise
                raise DataDirLocked(self.folder, _pid_in(handle)) from None
            _write_pid(handle)
            for each in self.kept:
                sweep(each)
        except BaseException:
            os.close(handle)
            raise
        return DataDirLock(path, handle)


@attrs.define(eq=False)
class DataDirLock:
    """A lock that is held; a context manager that gives it back at its end.

    Attributes:
        path: the file.
    """

    path: Path
    _handle: int | None = attrs.field(repr=False)

    @property
    def held(self) -> bool:
        """Whether it was not given back yet."""
        return self._handle is not None

    def release(self) -> None:
        """Give it back; harmless if that was done before."""
        handle, self._handle = self._handle, None
        if handle is None:
            return
        # The file stays: who waits for it may have it open.
        with contextlib.suppress(OSError):
            os.ftruncate(handle, 0)
        with contextlib.suppress(OSError):
            # For processes that have inherited it.
            _unlock(handle)
        os.close(handle)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


def _open(path: Path) -> int:
    # Neither through a link nor waiting for a pipe: what is written there is lost.
    flags = os.O_RDWR | os.O_CREAT
    for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC"):
        flags |= getattr(os, name, 0)
    handle = os.open(path, flags, 0o600)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise FileExistsError(errno.EEXIST, "not a regular file", str(path))
    return handle


def _write_pid(handle: int) -> None:
    # A full disk must not keep a node from starting: the lock holds without it.
    with contextlib.suppress(OSError):
        os.ftruncate(handle, 0)
        os.lseek(handle, 0, os.SEEK_SET)
        os.write(handle, f"{os.getpid()}\n".encode("ascii"))


def _pid_in(handle: int) -> int | None:
    try:
        os.lseek(handle, 0, os.SEEK_SET)
        text = os.read(handle, _PID_SIZE)
    except OSError:
        return None
    # The other may have the lock and not have written yet.
    return int(text) if text.strip().isdigit() and text.endswith(b"\n") else None


def _command(pid: int) -> str:
    """Return what is known of a process, for people; nothing where nothing is."""
    try:
        name = Path(f"/proc/{pid}/comm").read_text("utf-8", "replace").strip()
    except OSError:
        return ""
    return f" ({name})" if name.isprintable() and name else ""
