"""Configuration: ``config.json``, environment variables and flags, put together.

Defaults, then the file, then the environment, then flags: the last that says something
counts.  `spec.config` knows what may be said, and puts the layers together; here they are
fetched.

Environment variables, beside one for each option (`spec.options.Option.env`):

===========================  ===========================================================
variable                     means
===========================  ===========================================================
TEZOS_P2P_CONNECTIONS        as ``--connections``; the variables of what it sets win
TEZOS_P2P_PEER_TABLE_SIZE    as ``--peer-table-size``; the same
===========================  ===========================================================

A variable that is empty counts as not set.  ``none`` is ``null``, and of
TEZOS_P2P_BOOTSTRAP_PEERS the empty list.

The configuration belongs to its user: a broken one is told with all its faults and left
alone, never set aside.

Source: the configuration and the command line of the reference node, 2026; the names of
the variables are our own.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypedDict

import attrs

from ..fsm.point import Backoff
from ..spec.config import (
    CONNECTIONS_FLAG_MAX,
    Config,
    ConfigError,
    ConfigFile,
    Fault,
    Layer,
    P2p,
    Source,
    connections_values,
    resolve,
    table_values,
)
from ..spec.hello import ConnectionMetadata
from ..spec.limits import Limits
from ..spec.options import ENV_PREFIX, OPTION_OF, OPTIONS, shown
from ..spec.point import bracketed
from .json_file import UnusableFile, format_json, read_json, write_text

#: Larger files are neither read nor written.
CONFIG_MAX_SIZE: Final = 1 << 20

_CONNECTIONS: Final = ENV_PREFIX + "CONNECTIONS"
_TABLE_SIZE: Final = ENV_PREFIX + "PEER_TABLE_SIZE"
_COMPOUND: Final = (_CONNECTIONS, _TABLE_SIZE)
_VARIABLES: Final = tuple(option.env for option in OPTIONS)
_ENVIRONMENT: Final = "environment"
_COMMAND_LINE: Final = "command line"
# Eight points for each connection still fit the file's uint16.
_CONNECTIONS_MAX: Final = 0xFFFF // 8
_TABLE_SIZE_MAX: Final = 0xFFFF


# -- the file --------------------------------------------------------------------------


def load_config_file(path: Path, *, must_exist: bool = False) -> ConfigFile:
    """Read ``config.json``, and leave it as it is.

    Args:
        path: which.
        must_exist: whether it is a fault if there is none; otherwise it is as if empty.

    Raises:
        ConfigError: it cannot be read, or is not JSON.  What is wrong in the document is
            told by `check_config` and `load_config`.
    """
    name = str(path) if str(path).isprintable() else ascii(str(path))
    try:
        return ConfigFile(name, read_json(path, CONFIG_MAX_SIZE))
    except FileNotFoundError:
        if not must_exist:
            return ConfigFile(name)
        what, advice = "there is no such file", "make one, or name another"
    except UnusableFile as exc:
        what, advice = str(exc), "mend it, or move it away to have the defaults"
        folder = path.parent
        if os.path.lexists(folder) and not folder.is_dir():
            what = f"{str(folder)!a:.80} is no folder"
            advice = "name the folder that config.json is in, or is to be in"
    raise ConfigError([Fault(name, "", what, advice)]) from None


def save_config_file(path: Path, file: ConfigFile) -> None:
    """Write ``config.json``, complete or not at all; its permissions stay as they are.

    Raises:
        OSError: it cannot be written; the old one is as it was.
        ValueError: the document is nested too deeply; the same.
    """
    write_text(path, format_json(file.document), CONFIG_MAX_SIZE, keep_mode=True)


# -- the environment -------------------------------------------------------------------


def environment_layer(environ: Mapping[str, str], others: Collection[str] = ()) -> Layer:
    """Return what environment variables say; never raises.

    Args:
        environ: `os.environ`, or another.
        others: variables that begin as ours do and belong to somebody else.
    """
    values: dict[str, Any] = {}
    names: dict[str, str] = {}
    faults: list[Fault] = []
    warnings: list[Fault] = []
    said = {name: text for name, text in environ.items() if text.strip()}
    for name in _COMPOUND:
        if name not in said:
            continue
        text = said[name].strip()
        number = int(text) if re.fullmatch(r"[0-9]{1,9}", text) else text
        meant, fault = _compound(name, number, _ENVIRONMENT, name == _CONNECTIONS)
        values |= meant
        names |= dict.fromkeys(meant, name)
        faults += fault
    for option in OPTIONS:
        if option.env in said:
            values[option.key] = option.of_text(said[option.env])
            names[option.key] = option.env
    known = [name.removeprefix(ENV_PREFIX) for name in (*_VARIABLES, *_COMPOUND)]
    for name in sorted(environ):
        own = name.removeprefix(ENV_PREFIX)
        if own != name and own not in known and name not in others:
            alike = difflib.get_close_matches(own, known, 1)
            advice = f"did you mean {ENV_PREFIX}{alike[0]}?" if alike else "unset it"
            what = "there is no such variable"
            shown_name = name if name.isprintable() else ascii(name)
            warnings.append(Fault(_ENVIRONMENT, shown_name, what, advice))
    return Layer(
        Source.ENVIRONMENT, _ENVIRONMENT, values, names, tuple(faults), tuple(warnings)
    )


def _compound(
    name: str, number: object, label: str, connections: bool, *, validate: bool = True
) -> tuple[dict[str, Any], list[Fault]]:
    """Return what a number of connections, or a size of tables, means."""
    most = _CONNECTIONS_MAX if connections else _TABLE_SIZE_MAX
    if not isinstance(number, int) or not 0 <= number <= most:
        what = f"a whole number in 0..{most} wanted, not {shown(number)}"
        return {}, [Fault(label, name, what, "write, for example, 50")]
    if connections and validate and number > CONNECTIONS_FLAG_MAX:
        what = f"{number} connections; more than {CONNECTIONS_FLAG_MAX} cost more than"
        what += " they bring"
        advice = "write fewer, set the limits one by one, or switch the checks off"
        return {}, [Fault(label, name, what, advice)]
    return connections_values(number) if connections else table_values(number), []


# -- flags -----------------------------------------------------------------------------


def _typed(text: str | None) -> str | None:
    return None if text is None else bracketed(text)


def _all_typed(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(map(bracketed, texts))


@attrs.frozen(kw_only=True)
class Flags:
    """What the command line says, by the reference's names; None: nothing.

    An IPv6 address that stands alone needs no brackets.

    Attributes:
        net_addr: where to listen: HOST[:PORT], port 9732 if none is given; ``[::]`` is
            every address of this machine, ``none`` nowhere.
        advertised_net_port: port to announce to peers, if it is not the one that is
            listened on.
        discovery_addr: where neighbours of the local network are told of us by UDP:
            IPv4[:PORT], such as 255.255.255.255:10732; ``none``: nowhere.
        peer: one more trusted point, HOST[:PORT][#PEER_ID], beside those of the
            configuration or of the network; may be given several times.
        no_bootstrap_peers: begin with the points of --peer only, and leave out those of
            the configuration and of the network.
        private_mode: connect to trusted points and peers only, and be announced to
            nobody.
        expected_pow: bits of proof of work that peers must show, and our identity.
        connections: connections that are wanted; half of it at least, half as many
            again at most, and tables to fit.
        peer_table_size: most points, and most peers, that are remembered.
        max_download_speed: KiB a second that all peers together may send us.
        max_upload_speed: KiB a second that we send to all peers together.
        binary_chunks_size: KiB of the largest chunk that is sent, 1 to 63.
        disable_mempool: ask peers not to tell us operations of their mempool.
        enable_testchain: has no effect any more, and is taken for old scripts.
        disable_p2p_swap: neither ask peers to exchange connections, nor agree to it.
        disable_p2p_maintenance: neither look for peers nor drop any to keep the number
            of connections within its bounds.
        disable_config_validation: only warn where the configuration breaks rules whose
            breach hurts nobody but this node.
        rpc_addr: where the admin interface listens: HOST[:PORT], port 8732 if none is
            given, or unix:PATH; several if repeated.
        metrics_addr: serve metrics for Prometheus on [HOST][:PORT], localhost and 9932
            unless said otherwise; may be given several times.
    """

    net_addr: str | None = attrs.field(default=None, converter=_typed)
    advertised_net_port: int | None = None
    discovery_addr: str | None = attrs.field(default=None, converter=_typed)
    peer: tuple[str, ...] = attrs.field(default=(), converter=_all_typed)
    no_bootstrap_peers: bool = False
    private_mode: bool = False
    expected_pow: float | None = None
    connections: int | None = None
    peer_table_size: int | None = None
    max_download_speed: int | None = None
    max_upload_speed: int | None = None
    binary_chunks_size: int | None = None
    disable_mempool: bool = False
    enable_testchain: bool = False
    disable_p2p_swap: bool = False
    disable_p2p_maintenance: bool = False
    disable_config_validation: bool = False
    rpc_addr: tuple[str, ...] = attrs.field(default=(), converter=_all_typed)
    metrics_addr: tuple[str, ...] = attrs.field(default=(), converter=_all_typed)

    def layer(self) -> Layer:
        """Return what they say; never raises."""
        values: dict[str, Any] = {}
        names: dict[str, str] = {}
        faults: list[Fault] = []
        for name, number in (
            ("--connections", self.connections),
            ("--peer-table-size", self.peer_table_size),
        ):
            if number is not None:
                meant, fault = _compound(
                    name,
                    number,
                    _COMMAND_LINE,
                    name == "--connections",
                    validate=not self.disable_config_validation,
                )
                values |= meant
                names |= dict.fromkeys(meant, name)
                faults += fault
        for key, name, value in self._said():
            values[key] = value
            names[key] = name
        faults += _wrong_peers(self.peer)
        return Layer(Source.FLAG, _COMMAND_LINE, values, names, tuple(faults))

    def _said(self) -> list[tuple[str, str, Any]]:
        """Return key, flag and value of all that is said."""
        chunk = self.binary_chunks_size
        given = [
            ("advertised-net-port", "--advertised-net-port", self.advertised_net_port),
            ("expected-proof-of-work", "--expected-pow", self.expected_pow),
            (
                "limits.max-download-speed",
                "--max-download-speed",
                self.max_download_speed,
            ),
            ("limits.max-upload-speed", "--max-upload-speed", self.max_upload_speed),
            (
                "limits.binary-chunks-size",
                "--binary-chunks-size",
                None if chunk is None else chunk * 1024,
            ),
            ("private-mode", "--private-mode", self.private_mode or None),
            ("disable_mempool", "--disable-mempool", self.disable_mempool or None),
            ("enable_testchain", "--enable-testchain", self.enable_testchain or None),
        ]
        said: list[tuple[str, str, Any]] = [each for each in given if each[2] is not None]
        for key, flag, text in (
            ("listen-addr", "--net-addr", self.net_addr),
            ("discovery-addr", "--discovery-addr", self.discovery_addr),
        ):
            if text is not None:
                said.append((key, flag, OPTION_OF[key].of_text(text)))
        if self.disable_p2p_swap:
            said.append(("limits.swap-linger", "--disable-p2p-swap", None))
        if self.disable_p2p_maintenance:
            flag = "--disable-p2p-maintenance"
            said.append(("limits.maintenance-idle-time", flag, None))
        return said


def _wrong_peers(peers: tuple[str, ...]) -> list[Fault]:
    option = OPTION_OF["bootstrap-peers"]
    found = [option.fault([peer]) for peer in peers]
    return [Fault(_COMMAND_LINE, "--peer", *each) for each in found if each is not None]


# -- all of it -------------------------------------------------------------------------


def load_config(
    path: Path | None,
    environ: Mapping[str, str] | None = None,
    flags: Flags | None = None,
    *,
    defaults: Mapping[str, Any] | None = None,
    others: Collection[str] = (),
    must_exist: bool = False,
) -> Config:
    """Put a whole configuration together.

    Args:
        path: of ``config.json``; None: there is none.
        environ: environment variables; None: there are none.
        flags: the command line; None: there is none.
        defaults: by key, what differs from the defaults of the reference.
        others: environment variables that are not meant; see `environment_layer`.
        must_exist: whether it is a fault if there is no file.

    Raises:
        ConfigError: every fault of file, environment and flags, at once.
        KeyError: ``defaults`` has an option that there is not.
    """
    flags = Flags() if flags is None else flags
    layers = [Layer(Source.DEFAULT, "defaults", defaults or {})]
    if path is not None:
        try:
            layers.append(load_config_file(path, must_exist=must_exist).layer())
        except ConfigError as exc:
            layers.append(Layer(Source.FILE, str(path), faults=exc.faults))
    if environ is not None:
        layers.append(environment_layer(environ, others))
    layers.append(flags.layer())
    return resolve(layers, validate=not flags.disable_config_validation)


@attrs.frozen
class Findings:
    """What a check has found.

    Attributes:
        faults: with any of them a node does not start.
        warnings: what is doubtful.
    """

    faults: tuple[Fault, ...] = ()
    warnings: tuple[Fault, ...] = ()


def check_config(
    path: Path | None,
    environ: Mapping[str, str] | None = None,
    flags: Flags | None = None,
    *,
    others: Collection[str] = (),
    must_exist: bool = True,
) -> Findings:
    """Return everything that is wrong or doubtful; the arguments are `load_config`'s."""
    try:
        config = load_config(path, environ, flags, others=others, must_exist=must_exist)
    except ConfigError as exc:
        return Findings(exc.faults, exc.warnings)
    return Findings((), config.warnings)


# -- for the core ----------------------------------------------------------------------


class LocalPart(TypedDict):
    """What a configuration says of `fsm.local.Local`: keyword arguments."""

    port: int
    metadata: ConnectionMetadata
    difficulty: float
    limits: Limits


class SettingsPart(TypedDict):
    """What a configuration says of `fsm.settings.Settings`: keyword arguments.

    The trusted points are missing: names in `P2p.peers` have to be resolved for them.
    """

    private_mode: bool
    discovers: bool
    nearby: bool
    listening: int
    backoff: Backoff


def local_part(p2p: P2p, bound: int | None = None) -> LocalPart:
    """Return keyword arguments for `fsm.local.Local`.

    Args:
        p2p: the configuration.
        bound: port on which the node listens indeed; None: as configured.
    """
    return {
        "port": p2p.announced_port(bound),
        "metadata": p2p.metadata,
        "difficulty": p2p.expected_proof_of_work,
        "limits": p2p.limits,
    }


def settings_part(p2p: P2p, bound: int | None = None) -> SettingsPart:
    """Return keyword arguments for `fsm.settings.Settings`.

    Args:
        p2p: the configuration.
        bound: port on which the node listens indeed; None: as configured.
    """
    again = p2p.reconnection
    # Who does not listen has nothing to tell; who is private hides; and without
    # maintenance nobody needs neighbours.
    nearby = (
        p2p.discovery_addr is not None
        and p2p.listen_addr is not None
        and p2p.announced_port(bound) != 0
        and not p2p.private_mode
        and p2p.limits.maintenance_idle_time is not None
    )
    return {
        "private_mode": p2p.private_mode,
        "discovers": not p2p.disable_peer_discovery,
        "nearby": nearby,
        "listening": bound or 0,
        "backoff": Backoff(
            again.factor,
            again.initial_delay,
            again.disconnection_delay,
            again.increase_cap,
        ),
    }
