"""What the commands that talk to nodes have in common: their options.

The types below are the options' types: what a user writes is checked while the command
line is read.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from cyclopts import Parameter

from ...fsm.local import Local
from ...spec.identity import DEFAULT_DIFFICULTY, Identity, target_of
from ...spec.limits import Limits
from ...spec.version import NETWORKS, SANDBOX, Network
from ..files import load_identity
from ..proof_of_work import generate_identity
from .search import search
from .start import remark

#: Most characters of a chain name that an option takes.
_NAME_MAX: Final = 255
_SECONDS_MAX: Final = 86_400.0


def checked(check: Callable[[Any], object]) -> Parameter:
    """Return what lets an option be checked, unless it is left out."""

    def validate(_: Any, value: Any) -> None:
        if value is not None:
            check(value)

    return Parameter(validator=validate)


def parse_versions(text: str) -> tuple[int, ...]:
    """Read version numbers with commas between.

    Raises:
        ValueError: not that, or a number is not in 0..65535.
    """
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() and len(part) < 6 for part in parts):
        raise ValueError(f"{text[:40]!r} is no list of versions such as 0,1")
    return Network("", tuple(map(int, parts))).distributed_db_versions


def _check_name(name: str) -> None:
    if not name.isascii() or not 0 < len(name) <= _NAME_MAX:
        raise ValueError(f"a chain name is 1 to {_NAME_MAX} ASCII characters")


def _check_seconds(seconds: float) -> None:
    if not 0 < seconds <= _SECONDS_MAX:
        raise ValueError(
            f"{seconds:g} seconds; more than 0, and at most {_SECONDS_MAX:g}, are wanted"
        )


NetworkName = Literal["mainnet", "ghostnet", "shadownet", "sandbox"]
DriverName = Literal["asyncio", "blocking"]
ChainName = Annotated[str | None, checked(_check_name)]
Versions = Annotated[str | None, checked(parse_versions)]
Difficulty = Annotated[float | None, checked(target_of)]
Seconds = Annotated[float, checked(_check_seconds)]
MaybeSeconds = Annotated[float | None, checked(_check_seconds)]


def network_of(
    name: NetworkName,
    chain_name: str | None,
    distributed_db_versions: str | None,
    p2p_versions: str | None,
) -> Network:
    """Return the network that the options describe."""
    known = NETWORKS[name]
    ddb, p2p = known.distributed_db_versions, known.p2p_versions
    return Network(
        chain_name or known.chain_name,
        parse_versions(distributed_db_versions) if distributed_db_versions else ddb,
        parse_versions(p2p_versions) if p2p_versions else p2p,
    )


def identity_of(file: Path | None, difficulty: float = 0.0) -> Identity:
    """Read an identity file; without one, make an identity for now.

    Args:
        file: the file, or None.
        difficulty: proof of work to search for an identity without a file.

    Raises:
        IdentityError: the file holds none.
    """
    if file is not None:
        return load_identity(file)
    if difficulty:
        return search(difficulty).identity
    remark("no --identity: a throw-away one, without proof of work")
    return generate_identity(0.0)


def difficulty_of(difficulty: float | None, network: Network) -> float:
    """Return what to ask of peers: what was said, else what nodes of the network ask."""
    if difficulty is not None:
        return difficulty
    return 0.0 if network.chain_name == SANDBOX.chain_name else DEFAULT_DIFFICULTY


def local_of(
    identity: Identity,
    network: Network,
    difficulty: float | None,
    *,
    port: int = 0,
    limits: Limits | None = None,
) -> Local:
    """Return what we are."""
    return Local(
        identity=identity,
        network=network,
        random_bytes=os.urandom,
        port=port,
        difficulty=difficulty_of(difficulty, network),
        limits=limits or Limits(),
    )
