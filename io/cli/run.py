"""``tezos-p2p run``: a node that runs until it is told to stop."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from cyclopts import App, Parameter
from cyclopts.validators import Number

from ...fsm.local import Local
from ...fsm.node import Node
from ...fsm.policy import BY_SCORE, FAIR
from ...fsm.settings import Settings
from ...spec.address import PointError
from ...spec.config import Config, ConfigError, Fault
from ...spec.identity import Identity, PeerId
from ...spec.message import MessageCodec
from ...spec.metadata import TezosMetadata, constant_score, usefulness_score
from ...spec.point import Endpoint, Point
from ...spec.rpc import Generation
from ...spec.shell import SHELL_CODEC
from ...spec.version import Network
from ..admin.guard import Policy
from ..admin.server import Door, open_doors, unmatched
from ..config import Flags, load_config, local_part, settings_part
from ..daemon import Daemon, split_names
from ..data_dir import DataDir
from ..files import load_identity, save_identity
from ..interfaces import load_interfaces
from ..log import LogFormat, LogLevel, log_files, make_log
from ..metrics_addr import listen_for_metrics, parse_metrics_addr
from ..names import ask
from ..node_ends import unguessable
from ..record.log import RECORD_MAX, Recorder
from ..record.node import RecordedNode
from ..sockets import Nearby, listen_on, point_of
from .exits import CommandError, Exit
from .network import (
    ChainName,
    DriverName,
    MaybeSeconds,
    NetworkName,
    Versions,
    network_of,
)
from .output import takes_colours
from .search import search
from .start import remark
from .usage import DATA_DIR_ENV, VARIABLES

#: Points that a network's nodes begin with.
_SEEDS: Final = {"mainnet": ("boot.tzinit.org", "boot.tzboot.net", "boot.tzbeta.net")}
HOME: Final = Path("~/.tezos-p2p")
#: What differs from the reference's defaults: only this machine can dial us.
_HERE: Final = {"listen-addr": "127.0.0.1:9732"}
_NOWHERE: Final = "has no effect: there is no admin interface; see --rpc-addr"
_UNUSED: Final = "the admin interface does not listen at this address: it has no effect"


SharesName = Literal["fair", "score"]
FlagsOfNode = Annotated[Flags, Parameter(name="*")]


def add(app: App) -> None:
    """Register the command."""
    app.command(run)


def run(
    *,
    data_dir: Annotated[Path, Parameter(env_var=DATA_DIR_ENV)] = HOME,
    network: NetworkName = "sandbox",
    chain_name: ChainName = None,
    distributed_db_versions: Versions = None,
    p2p_versions: Versions = None,
    driver: DriverName = "asyncio",
    log_format: LogFormat = "text",
    log_level: LogLevel = "info",
    seconds: MaybeSeconds = None,
    record: Path | None = None,
    record_max: Annotated[
        int | None, Parameter(validator=Number(gte=1, lte=1 << 20))
    ] = None,
    rpc_host: Annotated[tuple[str, ...], Parameter(negative=())] = (),
    legacy_rpc: bool = False,
    shares: SharesName = "fair",
    flags: FlagsOfNode | None = None,
) -> None:
    """Run a node until Ctrl-C.

    It finds peers and keeps connections to them, and passes nothing on: there is no
    chain behind it.  On public networks it says so, and asks not to be told operations.

    Args:
        data_dir: folder of identity.json, config.json, peers.json; made if need be.
        network: the network to be on; others than the sandbox only by name.
        chain_name: another network, by the name that its nodes announce.
        distributed_db_versions: versions to support, such as 0,1,2.
        p2p_versions: versions to support, such as 0,1.
        driver: what moves the bytes: asyncio or blocking calls.
        log_format: lines for people, or one JSON object a line, on standard error.
        log_level: the least that is logged.
        seconds: end after so many seconds.
        record: new file to record the run in, for the commands replay and explain.
        record_max: MiB at which the recording ends, 256 unless given; the node goes on.
        rpc_host: another NAME[:PORT] by which clients may call the admin interface.
        legacy_rpc: the admin interface has the form of 2019, not that of 2026.
        shares: divide bandwidth evenly, or by how useful peers have been.
        flags: options of the node, by the reference's names.
    """
    files = DataDir(data_dir.expanduser())
    if record is None and record_max is not None:
        raise CommandError("--record-max is of --record", Exit.MISUSE)
    if record is not None and os.path.lexists(record):
        raise CommandError(
            f"{record}: there is something already; a recording is written to a new file"
        )
    ours = network_of(network, chain_name, distributed_db_versions, p2p_versions)
    flags = Flags() if flags is None else flags
    config = configuration(files, network, flags)
    faces = load_interfaces(files.config, flags)
    log = make_log(log_format, log_level, colours=takes_colours(sys.stderr))
    with files.lock():
        for fault in (*config.warnings, *faces.warnings):
            log.warning("configuration", what=str(fault))
        with contextlib.ExitStack() as doors:
            # First what can be told at once: making an identity may take minutes.
            nearby = _nearby(config)
            door = _open_door(config)
            if door is not None:
                doors.enter_context(door)
            metrics = listen_for_metrics(map(parse_metrics_addr, faces.metrics))
            for each in metrics:
                doors.enter_context(each)
            rpc = _open_rpc(faces.rpc, faces.acl, rpc_host)
            for rpc_door in rpc:
                doors.callback(rpc_door.close)
            for flag, given in (("--legacy-rpc", legacy_rpc), ("--rpc-host", rpc_host)):
                if given and not rpc:
                    log.warning("configuration", what=f"{flag}: {_NOWHERE}")
            for name in unmatched(faces.acl, rpc) if rpc else ():
                log.warning("configuration", what=f"{files.config}: {name}: {_UNUSED}")
            identity = identity_in(files, config.p2p.expected_proof_of_work)
            seeds = _SEEDS.get(network, ())
            daemon = make_daemon(
                files, config, flags, ours, seeds, identity, door, log, shares
            )
            daemon.seconds, daemon.nearby = seconds, nearby
            daemon.metrics, daemon.limits = tuple(metrics), config.p2p.limits
            daemon.doors = rpc
            daemon.generation = Generation.G2019 if legacy_rpc else Generation.G2026
            daemon.public = network != "sandbox"
            warn_of_nobody(network, daemon, log)
            check_descriptors(config.p2p.limits.max_connections, log)
            log.info("identity", peer=str(identity.peer_id), network=ours.chain_name)
            with _recorded(daemon, record, record_max or RECORD_MAX >> 20):
                daemon.run(driver)


@contextlib.contextmanager
def _recorded(daemon: Daemon, path: Path | None, most: int) -> Generator[None]:
    """Have all that a node does recorded, if that is wished."""
    if path is None:
        yield
        return
    log = daemon.log
    recorder = Recorder(
        path, most << 20, lambda line: log.warning("recording", what=line)
    )
    with contextlib.closing(recorder):
        daemon.core = RecordedNode[Any, Any].of(daemon.core, recorder)
        yield


def _open_rpc(
    where: tuple[str, ...], acl: tuple[Policy, ...], names: tuple[str, ...]
) -> tuple[Door, ...]:
    try:
        return open_doors(where, acl, names)
    except PointError as exc:
        raise CommandError(f"--rpc-host: {exc}", Exit.MISUSE) from None


def configuration(files: DataDir, network: NetworkName, flags: Flags) -> Config:
    """Return the whole configuration.

    Raises:
        CommandError: it has faults; the message names them all.
    """
    defaults: dict[str, Any] = dict(_HERE)
    if network == "sandbox":
        defaults["expected-proof-of-work"] = 0.0
    else:
        # We pass nothing on, and should not be told what is to be passed on.
        defaults["disable_mempool"] = True
    faults = load_interfaces(files.config, flags).faults
    try:
        config = load_config(
            files.config, os.environ, flags, defaults=defaults, others=VARIABLES
        )
    except ConfigError as exc:
        faults = exc.faults + faults
    else:
        if not faults:
            return config
    for fault in faults[:-1]:
        remark(f"tezos-p2p: {fault}")
    code = Exit.MISUSE if all(map(_is_typed, faults)) else Exit.FAILED
    raise CommandError(str(faults[-1]), code)


def _is_typed(fault: Fault) -> bool:
    """Whether a fault is of the command line or the environment, and not of the file."""
    if fault.source == "configuration":  # of several options
        return not any(it.startswith("file ") for it in fault.path.split(", "))
    return fault.source in ("command line", "environment")


def identity_in(files: DataDir, difficulty: float) -> Identity:
    """Load the identity of a data directory, or make one with the work that is asked."""
    if os.path.lexists(files.identity):
        return load_identity(files.identity, difficulty)
    remark(f"{files.identity}: there is none yet, one is made")
    identity = search(difficulty).identity
    save_identity(identity, files.identity)
    return identity


def _open_door(config: Config) -> socket.socket | None:
    endpoint = config.p2p.listen_endpoint
    if endpoint is None:
        return None
    point = _resolved(config, "listen-addr", endpoint)
    return listen_on(point, config.p2p.limits.backlog)


def _nearby(config: Config) -> Point | None:
    """Return where datagrams are exchanged.

    Raises:
        OSError: the port is taken; the node takes it itself, later.
    """
    endpoint = config.p2p.discovery_endpoint
    if endpoint is None:
        return None
    point = _resolved(config, "discovery-addr", endpoint)
    Nearby(point).close()
    return point


def _resolved(config: Config, key: str, endpoint: Endpoint) -> Point:
    """Return the first point of an endpoint.

    Raises:
        CommandError: its name has no address; the message says which, and where it is
            from.
    """
    try:
        return endpoint.point()
    except ValueError:
        answer = ask(endpoint, public=False)
    if answer.points:
        return answer.points[0]
    origin = config.origins[key]
    raise CommandError(
        f"{origin}: {endpoint.host}: {answer.why}; write an address, or a name that has "
        "one"
    )


def make_daemon(
    files: DataDir,
    config: Config,
    flags: Flags,
    network: Network,
    seeds: tuple[str, ...],
    identity: Identity,
    door: socket.socket | None,
    log: Any,
    shares: SharesName = "fair",
) -> Daemon:
    """Make a node and what it needs to run by itself."""
    p2p = config.p2p
    household = log_files(files, log)
    bound = None if door is None else point_of(door.getsockname()).port
    endpoints = p2p.peers(seeds, flags.peer, bootstrap=not flags.no_bootstrap_peers)
    trusted: tuple[tuple[Point, PeerId | None], ...]
    try:
        trusted, names = split_names(endpoints)
    except PointError as exc:
        raise CommandError(str(exc), Exit.MISUSE) from None
    diversity = household.diversity()
    core = Node(
        Local(
            identity=identity,
            network=network,
            random_bytes=os.urandom,
            **local_part(p2p, bound),
        ),
        MessageCodec(SHELL_CODEC),
        Settings[Any](
            new_metadata=TezosMetadata,
            score=constant_score if shares == "fair" else usefulness_score,
            policy=FAIR if shares == "fair" else BY_SCORE,
            shares=shares,
            random=unguessable,
            random_inside=unguessable,
            trusted=trusted,
            **settings_part(p2p, bound),
        ),
        diversity,
    )
    household.restore(core, [point for point, _ in trusted])
    return Daemon(
        core=core,
        diversity=diversity,
        door=door,
        nearby=None,
        names=names,
        trusted=tuple(point for point, _ in trusted),
        household=household,
        log=log,
    )


def warn_of_nobody(network: NetworkName, daemon: Daemon, log: Any) -> None:
    """Say so if a node of a public network has nobody to begin with."""
    known = daemon.names or daemon.trusted or daemon.core.pool.known_points
    if network == "sandbox" or known or daemon.anchors:
        return
    log.warning(
        "nobody_to_begin_with",
        network=network,
        what="no points of this network are built in: name some with --peer, or in "
        "bootstrap-peers",
    )


def check_descriptors(connections: int, log: Any) -> None:
    """Raise the limit of open descriptors to what the node may need, if it may be."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    # Handshakes in progress, files, and what the interpreter has open.
    needed = 2 * connections + 128
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    wanted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    if wanted < needed:
        log.warning(
            "few_descriptors",
            limit=wanted,
            needed=needed,
            what="raise it (ulimit -n, LimitNOFILE=), or lower --connections",
        )
