"""``tezos-p2p config``: show and check the configuration of a node."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final

from cyclopts import App, Parameter

from ...spec.config import P2p
from ...spec.options import shown
from ..config import Flags, check_config
from ..data_dir import DataDir
from ..interfaces import load_interfaces
from .exits import Exit
from .network import NetworkName
from .output import AsJson, Column, tell, tell_facts, tell_json, tell_table
from .run import HOME, FlagsOfNode, configuration
from .start import complain, remark
from .usage import DATA_DIR_ENV, VARIABLES

_DataDir = Annotated[Path, Parameter(env_var=DATA_DIR_ENV)]
_ORIGINS: Final = (Column("option"), Column("value"), Column("from"))


def add(app: App) -> None:
    """Register the commands of this group."""
    group = App(name="config", help="Show and check the configuration of a node.")
    group.command(show)
    group.command(check)
    app.command(group)


def show(
    *,
    data_dir: _DataDir = HOME,
    network: NetworkName = "sandbox",
    origin: bool = False,
    as_json: AsJson = False,
    flags: FlagsOfNode | None = None,
) -> None:
    """Show what counts of defaults, config.json, environment and flags.

    What an address leaves open is filled in.

    Args:
        data_dir: folder of config.json.
        network: the network to be on; some defaults depend on it.
        origin: show where each value comes from, too.
        as_json: print one JSON object.
        flags: options of the node, as of run.
    """
    files = DataDir(data_dir.expanduser())
    flags = Flags() if flags is None else flags
    config = configuration(files, network, flags)
    faces = load_interfaces(files.config, flags)
    values = {**config.values, **faces.values, **_meant(config.p2p)}
    origins = {**config.origins, **faces.origins}
    for fault in (*config.warnings, *faces.warnings):
        remark(f"tezos-p2p: warning: {fault}")
    if as_json:
        tell_json(
            {
                key: {"value": value, "origin": str(origins[key])} if origin else value
                for key, value in values.items()
            }
        )
    elif origin:
        tell_table(
            _ORIGINS,
            [(key, shown(value), str(origins[key])) for key, value in values.items()],
        )
    else:
        tell_facts({key: shown(value) for key, value in values.items()})


def _meant(p2p: P2p) -> dict[str, str]:
    """Return addresses with what they leave open, by key."""
    found = {"listen-addr": p2p.listen_endpoint, "discovery-addr": p2p.discovery_endpoint}
    return {
        key: f"[{it.host}]:{it.port}" if ":" in it.host else f"{it.host}:{it.port}"
        for key, it in found.items()
        if it is not None
    }


def check(
    file: Path | None = None,
    /,
    *,
    data_dir: _DataDir = HOME,
    as_json: AsJson = False,
    flags: FlagsOfNode | None = None,
) -> Exit:
    """Check a configuration; tell everything that is wrong or doubtful at once.

    The exit code is 1 if it has faults.

    Args:
        file: the config.json; by default that of the data directory.
        data_dir: folder of config.json.
        as_json: print one JSON object, whether it passes or not.
        flags: options of the node, as of run.
    """
    path = DataDir(data_dir.expanduser()).config if file is None else file
    found = check_config(path, os.environ, flags, others=VARIABLES)
    faces = load_interfaces(path, flags)
    faults = found.faults + faces.faults
    for fault in faults:
        complain(str(fault))
    for fault in (*found.warnings, *faces.warnings):
        remark(f"tezos-p2p: warning: {fault}")
    if as_json:
        tell_json(
            {
                "file": str(path),
                "passes": not faults,
                "faults": [str(fault) for fault in faults],
                "warnings": [str(it) for it in (*found.warnings, *faces.warnings)],
            }
        )
    elif not faults:
        tell(f"{path}: passes")
    return Exit.FAILED if faults else Exit.OK
