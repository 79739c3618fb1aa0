"""``tezos-p2p config``: show and check the configuration of a node."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final

from cyclopts import App, Parameter

from ...spec.options import shown
from ..config import Flags, check_config
from ..data_dir import DataDir
from .exits import Exit
from .network import NetworkName
from .output import AsJson, Column, tell, tell_facts, tell_json, tell_table
from .run import HOME, OTHERS, FlagsOfNode, configuration
from .start import complain, remark

_DataDir = Annotated[Path, Parameter(env_var=OTHERS[0])]
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

    Args:
        data_dir: folder of config.json.
        network: the network to be on; some defaults depend on it.
        origin: show where each value comes from, too.
        as_json: print one JSON object.
        flags: options of the node, as of run.
    """
    files = DataDir(data_dir.expanduser())
    config = configuration(files, network, Flags() if flags is None else flags)
    for fault in config.warnings:
        remark(f"tezos-p2p: warning: {fault}")
    if as_json:
        tell_json(
            {
                key: {"value": value, "origin": str(config.origins[key])}
                if origin
                else value
                for key, value in config.values.items()
            }
        )
    elif origin:
        tell_table(
            _ORIGINS,
            [
                (key, shown(value), str(config.origins[key]))
                for key, value in config.values.items()
            ],
        )
    else:
        tell_facts({key: shown(value) for key, value in config.values.items()})


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
    found = check_config(path, os.environ, flags, others=OTHERS)
    for fault in found.faults:
        complain(str(fault))
    for fault in found.warnings:
        remark(f"tezos-p2p: warning: {fault}")
    if as_json:
        tell_json(
            {
                "file": str(path),
                "passes": not found.faults,
                "faults": [str(fault) for fault in found.faults],
                "warnings": [str(fault) for fault in found.warnings],
            }
        )
    elif not found.faults:
        tell(f"{path}: passes")
    return Exit.FAILED if found.faults else Exit.OK
