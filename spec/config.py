"""A configuration: what a file, the environment and the command line say, put together.

The file is the reference's ``config.json``: an object whose ``p2p`` is ours.  All else in
it belongs to others, is not looked at, and is kept when the file is written, as are
members of ``p2p`` that nobody knows: those are told as warnings.  `options` lists what
``p2p`` holds.

Layers: defaults, then the file, then the environment, then flags; the last that says
something counts.  `resolve` puts them together, remembers of each value where it comes
from, and tells every fault of every layer at once, also of values that a later layer
replaces.

Rules between options, beside the ranges of each:

======================================  ================================================
rule                                    where it is broken
======================================  ================================================
min <= expected <= max connections      a fault
max-connections <= the target of each   a fault, unless checks of the configuration are
table of points or peers                switched off: then a warning
listen-addr has a host                  a warning: without, every interface is meant
======================================  ================================================

What a file leaves out:

==========================  ============================================================
left out                    means
==========================  ============================================================
``p2p``                     all defaults
``listen-addr`` of ``p2p``  no listening, and a warning, as for the reference
the size of a table         400 points or peers, 300 after collection; more if there may
                            be more than 300 connections
anything else               its default
==========================  ============================================================

Files that the reference writes have two sizes of queues exchanged, by a mistake of its
codec: ``incoming-app-message-queue-size``, which counts messages, holds the bytes of the
incoming queue, and ``outgoing-message-queue-size``, which counts bytes, holds the
messages of the application's.  Where that cannot be meant otherwise (at least 65,536
messages and at most 1,024 bytes), the three sizes are put right, and a warning says so;
in all other files each key means what it names.

Source: the configuration of the reference node, 2026, and the retired keys of 2019.
Unlike there, what is left out of ``limits`` has the same default as if all of it were.
"""

from __future__ import annotations

import difflib
import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, cast

import attrs

from .hello import ConnectionMetadata
from .limits import Limits
from .options import (
    DEFAULT_DISCOVERY_HOST,
    DEFAULT_DISCOVERY_PORT,
    DEFAULT_LISTEN_ADDR,
    OPTION_OF,
    OPTIONS,
    SECTIONS,
    shown,
)
from .point import DEFAULT_PORT, Endpoint

#: Most expected connections that ``--connections`` takes without further ado.
CONNECTIONS_FLAG_MAX: Final = 100

_UINT16: Final = 0xFFFF
#: Keys of 2019 that mean nothing any more.
_RETIRED: Final = (
    "limits.known_points_history_size",
    "limits.known_peer_ids_history_size",
)
_TRIO: Final = tuple(f"limits.{n}-connections" for n in ("min", "expected", "max"))
_TABLES: Final = ("limits.max_known_points", "limits.max_known_peer_ids")
# As exchanged by the reference: its key, and the key of what it holds.
_APP: Final = "limits.incoming-app-message-queue-size"
_IN: Final = "limits.incoming-message-queue-size"
_OUT: Final = "limits.outgoing-message-queue-size"
_EXCHANGED: Final = ((_APP, _IN), (_IN, _OUT), (_OUT, _APP))
_MANY_MESSAGES: Final = 1 << 16
_FEW_BYTES: Final = 1 << 10
#: A chunk size below this is more likely meant in KiB.
_CHUNK_DOUBTFUL: Final = 1 << 10
# What a new object of the file has to say, so that the reference reads it as we do.
_SPELT_OUT: Final = {
    "": ("listen-addr",),
    "limits": ("connection-timeout", "max_known_points", "max_known_peer_ids"),
    "greylisting_config": (),
}


@attrs.frozen
class Fault:
    """Something wrong in a configuration.

    Attributes:
        source: the file, ``environment`` or ``command line``.
        path: where in it: a path of JSON, a variable, a flag; empty: all of it.
        what: what is wrong.
        advice: what to do.
    """

    source: str
    path: str
    what: str
    advice: str

    def __str__(self) -> str:
        """Return all of it in one line."""
        where = f"{self.source}: {self.path}" if self.path else self.source
        return f"{where}: {self.what}; {self.advice}"


class ConfigError(ValueError):
    """A configuration that cannot be used.

    Attributes:
        faults: every one.
        warnings: what is doubtful beside them.
    """

    def __init__(self, faults: Sequence[Fault], warnings: Sequence[Fault] = ()) -> None:
        super().__init__("; ".join(map(str, faults)))
        self.faults = tuple(faults)
        self.warnings = tuple(warnings)

    def __reduce__(self) -> tuple[object, ...]:
        """Say how to make it again elsewhere."""
        return type(self), (self.faults, self.warnings)


class Source(enum.Enum):
    """Which layer; later ones win."""

    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"
    FLAG = "flag"


@attrs.frozen
class Origin:
    """Where a value comes from.

    Attributes:
        source: which layer.
        name: of the file with the path in it, of the variable, or of the flag; empty for
            defaults.
    """

    source: Source
    name: str = ""

    def __str__(self) -> str:
        """Return all of it in a few words."""
        return f"{self.source.value} {self.name}".rstrip()


@attrs.frozen
class Layer:
    """What one source says.

    Attributes:
        source: which.
        label: how faults call it.
        values: by key of `options.OPTION_OF`, as JSON has them; unchecked.
        names: where each of them stands: a path, a variable, a flag.
        faults: what is wrong beside the values.
        warnings: what is doubtful.
    """

    source: Source
    label: str
    values: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    names: Mapping[str, str] = attrs.field(factory=dict[str, str])
    faults: tuple[Fault, ...] = ()
    warnings: tuple[Fault, ...] = ()

    def name_of(self, key: str) -> str:
        """Return where in the source an option stands."""
        return self.names.get(key, key)


@attrs.frozen
class Reconnection:
    """When a point is dialled again: times in seconds; see ``fsm.point.Backoff``."""

    factor: float = 1.2
    initial_delay: float = 1.0
    disconnection_delay: float = 60.0
    increase_cap: float = 172_800.0


@attrs.frozen(kw_only=True)
class P2p:
    """The ``p2p`` section as values; the defaults are those of `options.OPTIONS`.

    Addresses are text that was checked; names in them are for the caller to resolve.
    """

    expected_proof_of_work: float = 26.0
    bootstrap_peers: tuple[str, ...] | None = None
    listen_addr: str | None = DEFAULT_LISTEN_ADDR
    advertised_net_port: int | None = None
    discovery_addr: str | None = None
    private_mode: bool = False
    limits: Limits = attrs.field(factory=Limits)
    disable_mempool: bool = False
    enable_testchain: bool = False
    reconnection: Reconnection = attrs.field(factory=Reconnection)
    disable_peer_discovery: bool = False

    @property
    def listen_endpoint(self) -> Endpoint | None:
        """Where to listen, with a host and a port; None: nowhere."""
        return _completed(self.listen_addr, "::", DEFAULT_PORT)

    @property
    def discovery_endpoint(self) -> Endpoint | None:
        """Where neighbours are told of us, with a host and a port; None: not told."""
        return _completed(
            self.discovery_addr, DEFAULT_DISCOVERY_HOST, DEFAULT_DISCOVERY_PORT
        )

    @property
    def metadata(self) -> ConnectionMetadata:
        """What is told to peers."""
        return ConnectionMetadata(self.disable_mempool, self.private_mode)

    def announced_port(self, bound: int | None = None) -> int:
        """Return the port to announce, 0 for none.

        Args:
            bound: port on which we listen indeed; None: as configured.
        """
        if self.advertised_net_port is not None:
            return self.advertised_net_port
        if bound is not None:
            return bound
        endpoint = self.listen_endpoint
        return 0 if endpoint is None else endpoint.port or 0

    def peers(
        self,
        network: Iterable[str] = (),
        added: Iterable[str] = (),
        *,
        bootstrap: bool = True,
    ) -> tuple[Endpoint, ...]:
        """Return the points to trust from the start, each once, all with a port.

        Args:
            network: those of the network, used if the configuration has none.
            added: those of the command line, which come last.
            bootstrap: False: only those of the command line.

        Raises:
            PointError: one of the arguments is no point.
        """
        first: Iterable[str] = ()
        if bootstrap:
            first = network if self.bootstrap_peers is None else self.bootstrap_peers
        found: dict[Endpoint, None] = {}
        for text in (*first, *added):
            endpoint = Endpoint.parse(text)
            if endpoint.port is None:
                endpoint = attrs.evolve(endpoint, port=DEFAULT_PORT)
            found[endpoint] = None
        return tuple(found)


def _completed(text: str | None, host: str, port: int) -> Endpoint | None:
    if text is None:
        return None
    endpoint = Endpoint.parse(text)
    return Endpoint(
        host if endpoint.is_unspecified else endpoint.host,
        port if endpoint.port is None else endpoint.port,
    )


@attrs.frozen
class Config:
    """A whole configuration.

    Attributes:
        p2p: its values.
        values: the same as JSON has them, by key, in the order of `options.OPTIONS`.
        origins: where each of them comes from.
        warnings: what is doubtful.
    """

    p2p: P2p
    values: Mapping[str, Any]
    origins: Mapping[str, Origin]
    warnings: tuple[Fault, ...] = ()


# -- the file --------------------------------------------------------------------------


@attrs.frozen
class ConfigFile:
    """A document of a configuration file, whatever else it holds.

    Attributes:
        name: how faults call it.
        document: what JSON text makes; nothing in it is changed.
    """

    name: str = "config.json"
    document: Any = attrs.field(factory=dict[str, Any])

    def layer(self) -> Layer:
        """Return what it says; never raises, as faults are told by the layer."""
        read = _Reading(self.name)
        read.all(self.document)
        return Layer(
            Source.FILE,
            self.name,
            read.values,
            {key: f"p2p.{key}" for key in read.values},
            tuple(read.faults),
            tuple(read.warnings),
        )

    def with_values(
        self, changes: Mapping[str, Any], without: Iterable[str] = ()
    ) -> ConfigFile:
        """Return it with some options changed and some left out; all else is kept.

        An object that has to be made for it also says what the reference would read
        otherwise if it were left out: where to listen, and some limits.

        Args:
            changes: new values, by key.
            without: keys of options to leave out.

        Raises:
            ConfigError: a value is wrong, there is no such option, or the document has
                something else in place of an object; every fault at once.
        """
        removed = dict.fromkeys(without)
        named = (*changes, *removed)
        faults = [_unknown(self.name, key) for key in named if key not in OPTION_OF]
        for key, value in changes.items():
            option = OPTION_OF.get(key)
            found = None if option is None else option.fault(value)
            if found is not None:
                faults.append(Fault(self.name, f"p2p.{key}", *found))
        faults += self.layer().faults if not faults else ()
        if faults:
            raise ConfigError(faults)
        document = dict(cast("dict[str, Any]", self.document))
        for key in removed:
            _drop(document, key)
        for key, value in changes.items():
            _put(document, key, value)
        return ConfigFile(self.name, document)


class _Reading:
    """Reads a document, and gathers what it finds."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.values: dict[str, Any] = {}
        self.faults: list[Fault] = []
        self.warnings: list[Fault] = []

    def all(self, document: object) -> None:
        top = self._members(document, "")
        if "p2p" not in top:
            return
        p2p = self._members(top["p2p"], "p2p")
        for key, value in p2p.items():
            if key not in SECTIONS:
                # No path is a name: a dot in it reaches nowhere.
                self._take(key, value, known="." not in key)
                continue
            for inner, each in self._members(value, f"p2p.{key}").items():
                self._take(f"{key}.{inner}", each)
        if isinstance(top["p2p"], dict) and "listen-addr" not in p2p:
            self.values["listen-addr"] = None
            advice = f'to listen, write, for example, "{DEFAULT_LISTEN_ADDR}"'
            self._warn("p2p.listen-addr", "left out: the node does not listen", advice)
        self._put_right()
        self._doubt()

    def _members(self, value: object, path: str) -> dict[str, Any]:
        if isinstance(value, dict):
            return cast("dict[str, Any]", value)
        what = f"an object wanted, not {shown(value)}"
        self.faults.append(Fault(self.name, path, what, "write { and } around it"))
        return {}

    def _take(self, key: str, value: object, *, known: bool = True) -> None:
        if known and key in OPTION_OF:
            self.values[key] = value
        elif key in _RETIRED:
            self._warn(f"p2p.{key}", "has no effect since 2019", "leave it out")
        else:
            self.warnings.append(_unknown(self.name, key))

    def _warn(self, path: str, what: str, advice: str) -> None:
        self.warnings.append(Fault(self.name, path, what, advice))

    def _put_right(self) -> None:
        messages, few = self.values.get(_APP), self.values.get(_OUT)
        if not (type(messages) is int and type(few) is int):
            return
        if messages < _MANY_MESSAGES or few > _FEW_BYTES:
            return
        held = {to: self.values[key] for key, to in _EXCHANGED if key in self.values}
        self.values.update(held)
        if _OUT not in held:
            del self.values[_OUT]
        what = (
            "the sizes of three queues are exchanged, as the reference node writes them"
        )
        self._warn("p2p.limits", what, "nothing: they are taken as they were meant")

    def _doubt(self) -> None:
        size = self.values.get("limits.binary-chunks-size")
        if type(size) is int and 0 < size < _CHUNK_DOUBTFUL:
            what = f"{size} bytes are very little for a chunk"
            advice = "write bytes; only the flag counts KiB"
            self._warn("p2p.limits.binary-chunks-size", what, advice)
        if self.values.get("enable_testchain") is True:
            self._warn("p2p.enable_testchain", "has no effect", "leave it out")


def _unknown(source: str, key: str) -> Fault:
    alike = difflib.get_close_matches(key, OPTION_OF, 1)
    advice = f"did you mean {alike[0]}?" if alike else "see the list of options"
    path = f"p2p.{key}"
    path = path if path.isprintable() else ascii(path)
    return Fault(source, path, "there is no such option", advice)


def _parts(key: str) -> tuple[str, str]:
    section, _, name = key.rpartition(".")
    return section, name


def _put(document: dict[str, Any], key: str, value: object) -> None:
    """Set an option in a document of which only the outermost object may be changed."""
    section, name = _parts(key)
    p2p = _own(document, "p2p", "")
    inner = _own(p2p, section, section) if section else p2p
    absent = OPTION_OF[key].default is None or key == "listen-addr"
    if value is None and absent:
        # The reference has no null here.
        inner.pop(name, None)
    else:
        inner[name] = value


def _drop(document: dict[str, Any], key: str) -> None:
    section, name = _parts(key)
    if "p2p" not in document or (section and section not in document["p2p"]):
        return
    p2p = _own(document, "p2p", "")
    inner = _own(p2p, section, section) if section else p2p
    inner.pop(name, None)


def _own(outer: dict[str, Any], name: str, section: str) -> dict[str, Any]:
    """Return a member that is an object, as one that may be changed, made if need be."""
    if name in outer:
        outer[name] = dict(outer[name])
    else:
        spelt = (f"{section}.{each}".lstrip(".") for each in _SPELT_OUT[section])
        outer[name] = {_parts(key)[1]: OPTION_OF[key].default for key in spelt}
    return cast("dict[str, Any]", outer[name])


# -- layers ----------------------------------------------------------------------------


def connections_values(expected: int) -> dict[str, Any]:
    """Return what ``--connections`` means, by key: bounds, and sizes of the tables."""
    trio = (1 if expected == 1 else expected // 2, expected, 3 * expected // 2)
    return dict(zip(_TRIO, trio, strict=True)) | table_values(8 * expected)


def table_values(size: int) -> dict[str, Any]:
    """Return what ``--peer-table-size`` means, by key."""
    return {key: [size, size // 4 * 3] for key in _TABLES}


def resolve(layers: Iterable[Layer], *, validate: bool = True) -> Config:
    """Put layers together.

    Args:
        layers: the last that says something counts; defaults need not be among them,
            but another layer of defaults may.
        validate: False: rules whose breach hurts only the operator are warnings.

    Raises:
        ConfigError: every fault of every layer, at once.
        KeyError: a layer has an option that there is not.
    """
    values = {option.key: option.default for option in OPTIONS}
    origins = dict.fromkeys(values, Origin(Source.DEFAULT))
    faults: list[Fault] = []
    warnings: list[Fault] = []
    wrong: dict[str, None] = {}
    for layer in layers:
        faults += layer.faults
        warnings += layer.warnings
        for key, value in layer.values.items():
            found = OPTION_OF[key].fault(value)
            name = layer.name_of(key)
            if found is not None:
                faults.append(Fault(layer.label, name, *found))
                wrong[key] = None
                continue
            values[key] = value
            if layer.source is Source.FILE:
                name = f"{layer.label}: {name}"
            origins[key] = Origin(layer.source, name)
    if not wrong.keys() & {*_TRIO}:
        faults += _out_of_order(values, origins)
        if not wrong.keys() & {*_TABLES}:
            small = [*_too_small(values, origins)]
            faults += small if validate else ()
            warnings += () if validate else small
    if faults:
        raise ConfigError(faults, warnings)
    warnings += _for_everybody(values, origins)
    return Config(_typed(values), values, origins, tuple(warnings))


def _for_everybody(
    values: Mapping[str, Any], origins: Mapping[str, Origin]
) -> Iterator[Fault]:
    text = values["listen-addr"]
    if text is not None and (where := Endpoint.parse(text)).is_unspecified:
        port = DEFAULT_PORT if where.port is None else where.port
        what = f"{shown(text)} has no host: every address of this machine is meant"
        advice = f'write "[::]:{port}" if so, or "127.0.0.1:{port}"'
        yield Fault(*_named(("listen-addr",), origins), what, advice)


def _named(keys: Iterable[str], origins: Mapping[str, Origin]) -> tuple[str, str]:
    """Return source and path of a fault that concerns several options."""
    said = [str(origins[key]) for key in keys]
    return "configuration", ", ".join(dict.fromkeys(said))


def _out_of_order(
    values: Mapping[str, Any], origins: Mapping[str, Origin]
) -> Iterator[Fault]:
    wanted = [values[key] for key in _TRIO]
    if wanted != sorted(wanted):
        numbers = ", ".join(map(str, wanted))
        what = f"min <= expected <= max connections: {numbers} are not"
        yield Fault(*_named(_TRIO, origins), what, "set all three, or --connections")


def _too_small(values: dict[str, Any], origins: dict[str, Origin]) -> Iterator[Fault]:
    most = values["limits.max-connections"]
    for key in _TABLES:
        table = values[key]
        if table is None or table[1] >= most:
            continue
        larger = [min(4 * most, _UINT16), min(3 * most, _UINT16)]
        if origins[key].source is Source.DEFAULT:
            values[key] = larger
            continue
        what = f"{key}: collection leaves {table[1]}, fewer than {most} connections"
        where = _named((key, "limits.max-connections"), origins)
        yield Fault(*where, what, f"write, for example, {shown(larger)}")


def _typed(values: Mapping[str, Any]) -> P2p:
    """Make values of what was checked."""
    fields: dict[str, dict[str, Any]] = {"": {}, **{section: {} for section in SECTIONS}}
    for option in OPTIONS:
        value = values[option.key]
        if isinstance(value, list):
            value = tuple(cast("list[object]", value))
        fields[_parts(option.key)[0]][option.name] = value
    return P2p(
        **fields[""],
        limits=Limits(**fields["limits"]),
        reconnection=Reconnection(**fields["greylisting_config"]),
    )
