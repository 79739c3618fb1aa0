"""Files of a node: for now its identity.

``identity.json`` is an object of strings: ``peer_id`` (may be absent on reading, always
written), ``public_key`` and ``secret_key`` (64 hex digits each), ``proof_of_work_stamp``
(48 hex digits).  Reading never changes a file; writing never overwrites one, is
atomic, and gives nobody else access (mode 0600; on Windows that means nothing).

Source: the identity file of the reference node, 2019 and 2026, which read each
other's.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import tempfile
from pathlib import Path

import attrs

from ..spec.convert import Hex24, Hex32, ShapeError, structure
from ..spec.identity import Identity, IdentityError, IdentityMismatch, PeerId

#: Larger files cannot be identities; they are not even read.
IDENTITY_MAX_SIZE = 1 << 16


class NoIdentityFile(IdentityError):
    """There is no identity file where one was expected."""


class ExistentIdentityFile(IdentityError):
    """There is already an identity file; it is never overwritten."""


class UnreadableIdentityFile(IdentityError):
    """The file cannot be read, is not JSON, or is not of the right shape.

    Attributes:
        faults: one readable phrase per fault.
    """

    def __init__(self, faults: tuple[str, ...]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults

    def __reduce__(self) -> tuple[object, ...]:
        """Say how to make it again elsewhere."""
        return type(self), (self.faults,)


@attrs.frozen
class _IdentityFile:
    public_key: Hex32
    secret_key: Hex32
    proof_of_work_stamp: Hex24
    peer_id: PeerId | None = None


def parse_identity(
    text: str, name: str = "identity.json", difficulty: float | None = None
) -> Identity:
    """Read an identity from JSON text.

    Args:
        text: the content of the file.
        name: what to call it in errors.
        difficulty: proof of work it must show, or None not to check.

    Raises:
        UnreadableIdentityFile: every fault of form at once.
        IdentityMismatch: the peer id is not the public key's.
        KeysMismatch: the public key is not the secret key's.
        InsufficientProofOfWork: the stamp falls short of ``difficulty``.
    """
    try:
        shape = structure(text, _IdentityFile, name)
    except ShapeError as exc:
        raise UnreadableIdentityFile(exc.faults) from None
    identity = Identity(shape.public_key, shape.secret_key, shape.proof_of_work_stamp)
    if shape.peer_id is not None and shape.peer_id != identity.peer_id:
        raise IdentityMismatch(
            f"{name}: peer_id is {shape.peer_id}, but its public_key makes "
            f"{identity.peer_id}"
        )
    try:
        identity.check(difficulty)
    except IdentityError as exc:
        raise type(exc)(f"{name}: {exc}") from None
    return identity


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def load_identity(
    path: str | os.PathLike[str], difficulty: float | None = None
) -> Identity:
    """Read an identity file, and leave it as it is.

    Args:
        path: where.
        difficulty: proof of work it must show, or None not to check.

    Raises:
        NoIdentityFile: there is no such file.
        IdentityError: see `parse_identity`; also when it cannot be read.
    """
    try:
        # Not blocking, or a named pipe in its place would be waited for.
        with open(path, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise UnreadableIdentityFile((f"{path}: not a regular file",))
            raw = file.read(IDENTITY_MAX_SIZE + 1)
        text = raw.decode("utf-8")
    except FileNotFoundError:
        raise NoIdentityFile(f"{path}: no identity file there; generate one") from None
    except OSError as exc:
        raise UnreadableIdentityFile((f"{path}: {exc.strerror}",)) from None
    except UnicodeDecodeError as exc:
        raise UnreadableIdentityFile(
            (f"{path}: not text: byte {exc.start} is not UTF-8",)
        ) from None
    except ValueError as exc:
        if isinstance(exc, IdentityError):
            raise
        raise NoIdentityFile(f"{str(path)!r} is no name of a file: {exc}") from None
    if len(raw) > IDENTITY_MAX_SIZE:
        raise UnreadableIdentityFile(
            (f"{path}: larger than {IDENTITY_MAX_SIZE} bytes: not an identity file",)
        )
    return parse_identity(text, str(path), difficulty)


def save_identity(identity: Identity, path: str | os.PathLike[str]) -> None:
    """Write a new identity file, complete or not at all, readable by its owner only.

    Args:
        identity: what is written, its secret key included.
        path: where.

    Raises:
        ExistentIdentityFile: there is a file already; it is left as it is.
        OSError: the folder does not exist, cannot be written, or is on a file system
            without hard links.
    """
    document = {
        "peer_id": str(identity.peer_id),
        "public_key": identity.public_key.hex(),
        "secret_key": identity.secret_key.hex(),
        "proof_of_work_stamp": identity.proof_of_work_stamp.hex(),
    }
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(path.parent))
    # mkstemp creates with mode 0600.  A link, not a rename: it fails if the name is
    # taken, so that two writers cannot destroy each other's keys.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)
    except FileExistsError:
        raise ExistentIdentityFile(f"{path}: exists, and is not overwritten") from None
    finally:
        Path(temporary).unlink()
