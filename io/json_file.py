"""Files of JSON: read without surprises, written as a whole or not at all.

Reading never waits (a named pipe in place of a file is told), never takes more than a
given size, and refuses what `json` would let pass: numbers that are none, and names given
twice.  A link is followed.

Writing makes a file beside the old one, writes and syncs it, and puts it in the place of
the old one; what fails on the way leaves the old one as it was, and nothing else.  A link
in its place is replaced, never written through, and what is no file at all is left alone.

A file of ours that is not what it should be is *set aside*: renamed, with a number behind
it, over no other file.  What could be read of it is used.
"""

from __future__ import annotations

import collections
import contextlib
import errno
import json
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import attrs

T = TypeVar("T")

#: What a file that was set aside is called, a number behind it.
ASIDE: Final = ".unreadable-"
#: Faults of one file that are told one by one.
FAULTS_TOLD: Final = 10

_TEMPORARY: Final = ".tmp"
_PIECE: Final = 1 << 20


class UnusableFile(ValueError):
    """A file that cannot be read, or is not JSON; the message says why, not which."""


@attrs.frozen
class Loaded(Generic[T]):
    """What a file holds, as far as it could be read.

    Attributes:
        value: that.
        warnings: what was wrong, and what became of the file; one line each.
    """

    value: T
    warnings: tuple[str, ...] = ()


#: How a file is named: whatever `open` takes.
FilePath = str | os.PathLike[str]


def is_null(path: FilePath) -> bool:
    """Whether that is the place where nothing is kept, or a link to it."""
    try:
        return os.path.realpath(path) == os.devnull
    except ValueError:  # no name of a file at all
        return False


# -- text ------------------------------------------------------------------------------


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{text[:40]} is too large a number")
    return number


def _no_repetition(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) < len(pairs):
        count = collections.Counter(name for name, _ in pairs)
        twice = sorted(ascii(name) for name in count if count[name] > 1)
        raise ValueError(f"given more than once: {', '.join(twice)}")
    return document


def parse_json(text: str) -> Any:
    """Read JSON text strictly.

    Raises:
        UnusableFile: it is none.
    """
    try:
        return json.loads(
            text,
            parse_constant=_no_constant,
            parse_float=_finite,
            object_pairs_hook=_no_repetition,
        )
    except RecursionError:
        raise UnusableFile("nested too deeply") from None
    except ValueError as exc:
        raise UnusableFile(f"not JSON: {exc}") from None


def format_json(document: object) -> str:
    """Return JSON text, indented.

    Raises:
        ValueError: nested too deeply to be written, or with numbers that are none.
        TypeError: not a value of JSON.
    """
    try:
        return json.dumps(document, indent=2, allow_nan=False) + "\n"
    except RecursionError:
        raise ValueError("nested too deeply to be written") from None


# -- reading ---------------------------------------------------------------------------


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def read_text(path: FilePath, max_size: int) -> str:
    """Read a text file of at most that many bytes.

    Raises:
        FileNotFoundError: there is none.
        UnusableFile: whatever else is wrong.
    """
    try:
        # Not blocking, or a named pipe in its place would be waited for.
        with open(path, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UnusableFile("not a regular file")
            # In pieces: asked for all that may be, Python makes room for that first.
            raw = bytearray()
            while len(raw) <= max_size and (piece := file.read(_PIECE)):
                raw += piece
        if len(raw) > max_size:
            raise UnusableFile(f"larger than {max_size} bytes")
        return raw.decode("utf-8")
    except FileNotFoundError:
        raise
    except OSError as exc:
        raise UnusableFile(exc.strerror or type(exc).__name__) from None
    except UnicodeDecodeError as exc:
        raise UnusableFile(f"not text: byte {exc.start} is not UTF-8") from None
    except UnusableFile:
        raise
    except ValueError as exc:
        raise UnusableFile(f"no name of a file: {exc}") from None


def read_json(path: FilePath, max_size: int) -> Any:
    """Read a file of JSON.

    Raises:
        FileNotFoundError: there is none.
        UnusableFile: whatever else is wrong.
    """
    return parse_json(read_text(path, max_size))


# -- writing ---------------------------------------------------------------------------


def write_text(
    path: FilePath, text: str, max_size: int, *, keep_mode: bool = False
) -> None:
    """Replace a file by another, complete or not at all, readable by its owner only.

    Args:
        path: which.
        text: what it holds from now on.
        max_size: more bytes are not written: they would not be read again.
        keep_mode: leave its permissions, and as far as possible its owner, as they are.

    Raises:
        OSError: it cannot be written, or is too large; the old one is as it was.
    """
    path, data = Path(path), text.encode("utf-8")
    if len(data) > max_size:
        raise OSError(errno.EFBIG, f"more than {max_size} bytes", str(path))
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(path.parent))
    old = _status(path)
    if (
        old is not None
        and not stat.S_ISREG(old.st_mode)
        and not stat.S_ISLNK(old.st_mode)
    ):
        # A device could be replaced too, by who may do anything.
        raise FileExistsError(errno.EEXIST, "not a regular file", str(path))
    # mkstemp creates with mode 0600.
    handle, temporary = tempfile.mkstemp(
        dir=path.parent, prefix=f".{path.name}.", suffix=_TEMPORARY
    )
    try:
        try:
            _write_all(handle, data)
            if keep_mode and old is not None and stat.S_ISREG(old.st_mode):
                _dress(handle, old)
            os.fsync(handle)
        finally:
            os.close(handle)
        Path(temporary).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(temporary).unlink()
        raise
    _sync_folder(path.parent)


def check_writable(path: Path) -> None:
    """Find out whether `write_text` could replace a file, without touching it.

    Raises:
        OSError: it could not, as things are.
    """
    _status(path)
    handle, temporary = tempfile.mkstemp(
        dir=path.parent, prefix=f".{path.name}.", suffix=_TEMPORARY
    )
    os.close(handle)
    Path(temporary).unlink()


def _status(path: Path) -> os.stat_result | None:
    """Return what is known of a file or link that may be replaced or renamed, or None.

    Raises:
        FileExistsError: it is something else.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISLNK(found.st_mode):
        # A device of the system would go too, if we may do anything.
        raise FileExistsError(errno.EEXIST, "not a regular file", str(path))
    return found


def _write_all(handle: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(handle, rest) :]


def _dress(handle: int, old: os.stat_result) -> None:
    """Give a new file what the old one had."""
    if os.name == "posix":
        with contextlib.suppress(PermissionError):
            os.fchown(handle, old.st_uid, old.st_gid)
        os.fchmod(handle, stat.S_IMODE(old.st_mode))


def _sync_folder(folder: Path) -> None:
    # Without it a crash of the system may bring the old file back.  Some file systems
    # cannot; the new file is in place whatever is said here.
    if os.name == "posix":
        with contextlib.suppress(OSError):
            handle = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)


def sweep(path: Path) -> None:
    """Remove what writers of a file left behind when they were killed.

    For who knows that nobody writes it: see `data_dir`.
    """
    prefix = f".{path.name}."
    for each in path.parent.iterdir():
        if each.name.startswith(prefix) and each.name.endswith(_TEMPORARY):
            with contextlib.suppress(OSError):
                each.unlink()


# -- files of ours ---------------------------------------------------------------------


def set_aside(path: Path) -> Path:
    """Rename a file, so that another can take its place; return its new name.

    Raises:
        OSError: it cannot be renamed, or is neither a file nor a link; it is left as it
            is.
    """
    _status(path)
    number = 1
    while True:
        aside = path.with_name(f"{path.name}{ASIDE}{number}")
        try:
            # The name is taken first: a rename could overwrite.
            os.close(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except FileExistsError:
            number += 1
            continue
        try:
            path.replace(aside)
        except OSError:
            with contextlib.suppress(OSError):
                aside.unlink()
            raise
        _sync_folder(path.parent)
        return aside


def load_or_set_aside(
    path: FilePath, max_size: int, read: Callable[[Any, list[str]], T], empty: T
) -> Loaded[T]:
    """Read a file of ours; one that is not what it should be is set aside.  Never raises.

    Args:
        path: which; there may be none.
        max_size: more bytes are not read.
        read: makes a value of a document, as far as it can, and adds to the list what is
            wrong in it.
        empty: the value of no file.
    """
    if is_null(path):
        return Loaded(empty)
    faults: list[str] = []
    try:
        value = read(read_json(path, max_size), faults)
    except FileNotFoundError:
        return Loaded(empty)
    except UnusableFile as exc:
        value, faults = empty, [str(exc)]
    except MemoryError:
        value, faults = empty, ["larger than the memory that is left"]
    if not faults:
        return Loaded(value)
    try:
        fate = f"was set aside as {set_aside(Path(path)).name}"
    except (OSError, ValueError) as exc:
        fate = f"could not be set aside: {exc}"
    told = [f"{path}: {fault}" for fault in faults[:FAULTS_TOLD]]
    if len(faults) > FAULTS_TOLD:
        told.append(f"{path}: and {len(faults) - FAULTS_TOLD} more faults")
    return Loaded(value, (f"{path}: not as it should be; it {fate}", *told))
