"""Where others reach a node: what ``config.json`` says of its interfaces, beside ``p2p``.

====================  ==================================================================
member                holds
====================  ==================================================================
``rpc.listen-addrs``  where the admin interface listens: ``host[:port]``, or
                      ``unix:PATH``; of 2019 also ``rpc.listen-addr``, a single one
``rpc.acl``           what is allowed there; see ``admin.guard``
``metrics_addr``      where metrics are served: ``[host][:port]``
====================  ==================================================================

The flags ``--rpc-addr`` and ``--metrics-addr`` count instead of what the file says, and
do not add to it.  Whatever else the file has there is not looked at, but for what would
be missed: there is no TLS.  A file in which nothing is of a node's configuration, such as
an identity, is a warning.

Source: the configuration of the reference node, 2019 and 2026.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, cast

import attrs

from ..spec.address import PointError
from ..spec.config import ConfigError, ConfigFile, Fault, Origin, Source
from ..spec.options import shown
from .admin.guard import AclError, Policy, read_acl
from .admin.server import check_place
from .config import Flags, load_config_file
from .metrics_addr import parse_metrics_addr

RPC: Final = "rpc.listen-addrs"
RPC_2019: Final = "rpc.listen-addr"
METRICS: Final = "metrics_addr"

#: What the reference has in the file, of 2019 or of 2026, and what is ours.
_MEMBERS: Final = frozenset(
    {
        *("p2p", "rpc", "metrics_addr", "data-dir", "log", "shell", "network", "dal"),
        *("internal-events", "disable-config-validation", "media-type"),
    }
)
_COMMAND_LINE: Final = "command line"
_EXAMPLES: Final = {RPC: '"127.0.0.1:8732"', METRICS: '"localhost:9932"'}
_WITHOUT: Final = {
    "crt": "there is no TLS: it answers in plain HTTP",
    "key": "there is no TLS: it answers in plain HTTP",
    "cors-origin": "pages of other origins may not read what it answers",
}


@attrs.frozen
class Interfaces:
    """Where others reach a node, and what they may do there.

    Attributes:
        rpc: where the admin interface listens.
        metrics: where metrics are served.
        acl: access lists of the admin interface.
        origins: where the first two come from, by key.
        faults: what is wrong; with any of them a node does not start.
        warnings: what is doubtful.
    """

    rpc: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    acl: tuple[Policy, ...] = ()
    origins: Mapping[str, Origin] = attrs.field(factory=dict[str, Origin])
    faults: tuple[Fault, ...] = ()
    warnings: tuple[Fault, ...] = ()

    @property
    def values(self) -> dict[str, list[str]]:
        """What is listened on, by key, as JSON has it."""
        return {RPC: list(self.rpc), METRICS: list(self.metrics)}


def load_interfaces(path: Path | None, flags: Flags | None = None) -> Interfaces:
    """Put together what a file and the flags say; never raises.

    Args:
        path: of ``config.json``; None, or one that cannot be read: there is none, and
            whoever reads the rest of it tells why.
        flags: the command line.
    """
    try:
        file = ConfigFile() if path is None else load_config_file(path)
    except ConfigError:
        file = ConfigFile()
    return read_interfaces(file, Flags() if flags is None else flags)


def read_interfaces(file: ConfigFile, flags: Flags) -> Interfaces:
    """Do the same with a document; never raises."""
    reading = _Reading(file.name)
    top = reading.members(file.document, "")
    if top and not top.keys() & _MEMBERS:
        what = "nothing in it is of a node's configuration: all is as by default"
        advice = "name another file, or move this one away"
        reading.warnings.append(Fault(file.name, "", what, advice))
    rpc = reading.members(top["rpc"], "rpc") if "rpc" in top else {}
    places = reading.rpc(rpc)
    metrics = reading.places(METRICS, top.get(METRICS), parse_metrics_addr)
    acl = reading.acl(rpc["acl"]) if "acl" in rpc else ()
    reading.miss(rpc)
    origins: dict[str, Origin] = {}
    found: dict[str, tuple[str, ...]] = {}
    for key, said, flag, given, check in (
        (RPC, places, "--rpc-addr", flags.rpc_addr, check_place),
        (METRICS, metrics, "--metrics-addr", flags.metrics_addr, parse_metrics_addr),
    ):
        found[key], origins[key] = said, Origin(Source.DEFAULT)
        if given:
            reading.check(_COMMAND_LINE, flag, key, given, check)
            found[key], origins[key] = tuple(given), Origin(Source.FLAG, flag)
        elif said:
            where = reading.named.get(key, key)
            origins[key] = Origin(Source.FILE, f"{file.name}: {where}")
    return Interfaces(
        found[RPC],
        found[METRICS],
        acl,
        origins,
        tuple(reading.faults),
        tuple(reading.warnings),
    )


class _Reading:
    """Reads a document, and gathers what it finds."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.faults: list[Fault] = []
        self.warnings: list[Fault] = []
        #: Where a key stands if not at its own path.
        self.named: dict[str, str] = {}

    def members(self, value: object, path: str) -> dict[str, Any]:
        if isinstance(value, dict):
            return cast("dict[str, Any]", value)
        if path:  # of the whole document it is told by who reads the rest
            what = f"an object wanted, not {shown(value)}"
            self.faults.append(Fault(self.name, path, what, "write { and } around it"))
        return {}

    def rpc(self, rpc: dict[str, Any]) -> tuple[str, ...]:
        one, several = rpc.get("listen-addr"), rpc.get("listen-addrs")
        if one is None:
            return self.places(RPC, several, check_place)
        self.named[RPC] = RPC_2019
        if several is not None:
            what = "stands beside rpc.listen-addrs"
            self.faults.append(Fault(self.name, RPC_2019, what, "leave it out"))
        return self.places(RPC, [one], check_place)

    def places(
        self, key: str, value: object, check: Callable[[str], object]
    ) -> tuple[str, ...]:
        if value is None:
            return ()
        said = value
        texts = cast("list[object]", value) if isinstance(value, list) else [None]
        path = self.named.get(key, key)
        if not all(isinstance(text, str) for text in texts):
            what = f"a list of texts wanted, not {shown(said)}"
            advice = f"write, for example, [{_EXAMPLES[key]}]"
            self.faults.append(Fault(self.name, path, what, advice))
            return ()
        found = tuple(cast("list[str]", texts))
        self.check(self.name, path, key, found, check)
        return found

    def check(
        self,
        source: str,
        path: str,
        key: str,
        texts: tuple[str, ...],
        check: Callable[[str], object],
    ) -> None:
        for text in texts:
            try:
                check(text)
            except PointError as exc:
                advice = f"write, for example, {_EXAMPLES[key]}"
                self.faults.append(Fault(source, path, str(exc), advice))

    def acl(self, value: object) -> tuple[Policy, ...]:
        try:
            return read_acl(value)
        except AclError as exc:
            path, _, what = str(exc).partition(": ")
            advice = 'write, for example, {"address": "127.0.0.1", "blacklist": []}'
            self.faults.append(Fault(self.name, path, what, advice))
            return ()

    def miss(self, rpc: dict[str, Any]) -> None:
        for name, why in _WITHOUT.items():
            if rpc.get(name):
                what = f"has no effect: {why}"
                self.warnings.append(
                    Fault(self.name, f"rpc.{name}", what, "leave it out")
                )
