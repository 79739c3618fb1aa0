"""``tezos-p2p identity``: make, show and check identity files."""

from __future__ import annotations

import errno
import tempfile
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from ...spec.identity import DEFAULT_DIFFICULTY, IdentityError, target_of
from ..files import (
    ExistentIdentityFile,
    UnreadableIdentityFile,
    load_identity,
    save_identity,
)
from .exits import Exit
from .output import AsJson, tell, tell_facts, tell_json
from .search import search
from .start import complain


def _check_difficulty(_: Any, difficulty: float) -> None:
    target_of(difficulty)


_Difficulty = Annotated[float, Parameter(validator=_check_difficulty)]
_DEFAULT_OUTPUT = Path("identity.json")


def add(app: App) -> None:
    """Register the commands of this group."""
    group = App(name="identity", help="Make, show and check identity files.")
    group.command(generate)
    group.command(show)
    group.command(check)
    app.command(group)


def generate(
    *,
    difficulty: _Difficulty = DEFAULT_DIFFICULTY,
    output: Path = _DEFAULT_OUTPUT,
    as_json: AsJson = False,
) -> None:
    """Make a new identity and search its proof of work on all cores.

    A file that exists is never overwritten.  The new one can be read by its owner only.

    Args:
        difficulty: bits of work, 0 to 256; each doubles the time, nodes ask for 26.
        output: the file to write.
        as_json: print one JSON object.
    """
    _rehearse(output)
    found = search(difficulty)
    identity = found.identity
    save_identity(identity, output)
    if as_json:
        tell_json(
            {
                "peer_id": str(identity.peer_id),
                "public_key": identity.public_key.hex(),
                "difficulty": difficulty,
                "level": identity.difficulty,
                "file": str(output),
                "tries": found.tries,
                "seconds": round(found.seconds, 3),
            }
        )
        return
    tell_facts(
        {
            "peer id": str(identity.peer_id),
            "proof of work": f"{identity.difficulty:.2f} bits",
            "file": str(output),
        }
    )


def _rehearse(path: Path) -> None:
    """Raise now what would keep the file from being written after a long search."""
    try:
        path.lstat()
    except FileNotFoundError:
        pass
    else:
        raise ExistentIdentityFile(f"{path}: exists, and is not overwritten")
    if not path.parent.is_dir():
        raise FileNotFoundError(errno.ENOENT, "no such folder", str(path.parent))
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}."):
        pass


def show(file: Path, /, *, as_json: AsJson = False) -> None:
    """Show an identity file, but for its secret key.

    Args:
        file: the identity file.
        as_json: print one JSON object.
    """
    identity = load_identity(file)
    if as_json:
        tell_json(
            {
                "peer_id": str(identity.peer_id),
                "public_key": identity.public_key.hex(),
                "proof_of_work_stamp": identity.proof_of_work_stamp.hex(),
                "level": identity.difficulty,
                "file": str(file),
            }
        )
        return
    tell_facts(
        {
            "peer id": str(identity.peer_id),
            "public key": identity.public_key.hex(),
            "stamp": identity.proof_of_work_stamp.hex(),
            "proof of work": f"{identity.difficulty:.2f} bits",
        }
    )


def check(
    file: Path,
    /,
    *,
    difficulty: _Difficulty = DEFAULT_DIFFICULTY,
    as_json: AsJson = False,
) -> Exit:
    """Check an identity file: its form, its keys, its peer id and its proof of work.

    The exit code is 1 if it does not pass, and standard error says why.

    Args:
        file: the identity file.
        difficulty: bits of work that it must show, 0 to 256.
        as_json: print one JSON object, whether it passes or not.
    """
    try:
        identity = load_identity(file, difficulty)
    except IdentityError as exc:
        faults: tuple[str, ...] = (str(exc),)
        if isinstance(exc, UnreadableIdentityFile):
            faults = exc.faults
        for fault in faults:
            complain(fault)
        if as_json:
            tell_json({"file": str(file), "passes": False, "faults": list(faults)})
        return Exit.FAILED
    if as_json:
        tell_json({"file": str(file), "passes": True, "faults": []})
    else:
        tell(
            f"{file}: passes: {identity.peer_id}, "
            f"{identity.difficulty:.2f} bits of work, {difficulty:g} asked"
        )
    return Exit.OK
