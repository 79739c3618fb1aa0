"""``tezos-p2p probe``: one handshake with a node, step by step; or with many nodes."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import App, Parameter

from ...spec.identity import target_of
from .exits import CommandError, Exit
from .network import (
    ChainName,
    Difficulty,
    DriverName,
    MaybeSeconds,
    NetworkName,
    Seconds,
    Versions,
    checked,
    identity_of,
    network_of,
)
from .output import AsJson, tell_json
from .probing import Probing
from .probing_many import Watch
from .start import remark
from .targets import check_target, targets_of

_HINT = (
    "nodes of public networks close on who shows less than 26 bits of work: "
    "see tezos-p2p identity generate, and --identity"
)


#: Most points that are probed at once, and most rounds.
_CONCURRENCY_MAX: Final = 100
_ROUNDS_MAX: Final = 1_000_000


def _check_targets(texts: tuple[str, ...] | str) -> None:
    for text in (texts,) if isinstance(texts, str) else texts:
        check_target(text)


def _check_concurrency(count: int) -> None:
    if not 1 <= count <= _CONCURRENCY_MAX:
        raise ValueError(f"{count} is not in 1..{_CONCURRENCY_MAX}")


def _check_rounds(count: int) -> None:
    if not 1 <= count <= _ROUNDS_MAX:
        raise ValueError(f"{count} is not in 1..{_ROUNDS_MAX}")


def _check_work(_: Any, difficulty: float) -> None:
    target_of(difficulty)


_Work = Annotated[float, Parameter(name="--pow", validator=_check_work)]


def add(app: App) -> None:
    """Register the command."""
    app.command(probe)


def probe(
    *targets: Annotated[str, checked(_check_targets)],
    from_file: Annotated[tuple[Path, ...], Parameter(name="--from")] = (),
    concurrency: Annotated[int, checked(_check_concurrency)] = 16,
    watch: MaybeSeconds = None,
    rounds: Annotated[int | None, checked(_check_rounds)] = None,
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
    """Shake hands with a node once, and tell each step; or with many, a line for each.

    Exit codes: 0 established, 3 refused by either side, 4 no handshake (no Tezos node,
    too little proof of work, another peer), 5 unreachable or too slow; of many points
    the highest.

    Nodes of public networks ask for 26 bits of work, and may shut out for a day the
    address of who shows less.

    Args:
        targets: host[:port][#peer_id]; the port is 9732 unless given.  @FILE is a file
            of them.
        from_file: file of points, one a line; # begins a comment.
        concurrency: points that are probed at once.
        watch: probe again every so many seconds, and tell what changes.
        rounds: end after so many rounds of --watch.
        identity: file of our identity; without it one is made for this time.
        work: bits of work to search for an identity without a file.
        network: the network to be on.
        chain_name: another network, by the name that its nodes announce.
        distributed_db_versions: versions to support, such as 0,1,2.
        p2p_versions: versions to support, such as 0,1.
        difficulty: bits of work to ask of the node: 26, or 0 on the sandbox network.
        bootstrap: ask the node for points of others.
        timeout: seconds that all of it may take, for each point.
        driver: what moves the bytes: asyncio or blocking calls.
        as_json: print one JSON object; of many points, one for each.
    """
    if identity is not None and work:
        raise CommandError("--pow makes an identity, --identity names one", Exit.MISUSE)
    if rounds is not None and watch is None:
        raise CommandError("--rounds is of --watch", Exit.MISUSE)
    ours = network_of(network, chain_name, distributed_db_versions, p2p_versions)
    points = targets_of(targets, from_file)
    # Who names one point is told each step.
    single = len(targets) == 1 and not (from_file or watch or targets[0][0] == "@")
    make = functools.partial(
        Probing,
        identity=identity_of(identity, work),
        network=ours,
        difficulty=difficulty,
        bootstrap=bootstrap,
        timeout=timeout,
        silent=as_json or not single,
    )
    if single:
        return _probe_one(make(points[0]), driver, as_json, identity)
    many = Watch(make, points, driver, concurrency, as_json, watch, rounds)
    code = many.run()
    if identity is None and many.hint:
        remark(_HINT)
    if code is not Exit.OK:
        raise CommandError(many.summary(), code)
    return code


def _probe_one(
    probing: Probing, driver: DriverName, as_json: bool, identity: Path | None
) -> Exit:
    code = probing.run(driver)
    if as_json:
        tell_json(probing.document())
    if code is not Exit.OK:
        if identity is None and probing.lacks_work:
            remark(_HINT)
        raise CommandError(f"{probing.target}: {probing.error}", code)
    return code
