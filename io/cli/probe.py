"""``tezos-p2p probe``: one handshake with a node, step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from ...spec.identity import target_of
from .exits import CommandError, Exit
from .network import (
    ChainName,
    Difficulty,
    DriverName,
    NetworkName,
    Seconds,
    Target,
    Versions,
    identity_of,
    network_of,
)
from .output import AsJson, tell_json
from .probing import Probing
from .start import remark

_HINT = (
    "nodes of public networks close on who shows less than 26 bits of work: "
    "see tezos-p2p identity generate, and --identity"
)


def _check_work(_: Any, difficulty: float) -> None:
    target_of(difficulty)


_Work = Annotated[float, Parameter(name="--pow", validator=_check_work)]


def add(app: App) -> None:
    """Register the command."""
    app.command(probe)


def probe(
    target: Target,
    /,
    *,
    identity: Path | None = None,
    work: _Work = 0.0,
    network: NetworkName = "mainnet",
    chain_name: ChainName = None,
    distributed_db_versions: Versions = None,
    p2p_versions: Versions = None,
    difficulty: Difficulty = None,
    bootstrap: Annotated[bool, Parameter(show_default=False)] = False,
    timeout: Seconds = 10.0,
    driver: DriverName = "asyncio",
    as_json: AsJson = False,
) -> Exit:
    """Shake hands with a node once, and tell each step.

    Exit codes: 0 established, 3 refused by either side, 4 no handshake (no Tezos node,
    too little proof of work, another peer), 5 unreachable or too slow.

    Nodes of public networks ask for 26 bits of work, and may shut out for a day the
    address of who shows less.

    Args:
        target: host[:port][#peer_id]; the port is 9732 unless given.
        identity: file of our identity; without it one is made for this time.
        work: bits of work to search for an identity without a file.
        network: the network to be on.
        chain_name: another network, by the name that its nodes announce.
        distributed_db_versions: versions to support, such as 0,1,2.
        p2p_versions: versions to support, such as 0,1.
        difficulty: bits of work to ask of the node: 26, or 0 on the sandbox network.
        bootstrap: ask the node for points of others.
        timeout: seconds that all of it may take.
        driver: what moves the bytes: asyncio or blocking calls.
        as_json: print one JSON object.
    """
    if identity is not None and work:
        raise CommandError("--pow makes an identity, --identity names one", Exit.MISUSE)
    ours = network_of(network, chain_name, distributed_db_versions, p2p_versions)
    probing = Probing(
        target,
        identity_of(identity, work),
        ours,
        difficulty,
        bootstrap=bootstrap,
        timeout=timeout,
        silent=as_json,
    )
    code = probing.run(driver)
    if as_json:
        tell_json(probing.document())
    if code is not Exit.OK:
        if identity is None and probing.lacks_work:
            remark(_HINT)
        raise CommandError(f"{target}: {probing.error}", code)
    return code
