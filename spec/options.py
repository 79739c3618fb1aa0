"""The options of the ``p2p`` section of a configuration file: what each may be.

An option is known by its key, its path below ``p2p``: ``listen-addr``, or
``limits.max-connections``.  The mixed spelling, hyphens here and underscores there, is
that of the files.  Values are as JSON has them.

===========  ===========================================================================
kind         in a file, and as text (environment variables)
===========  ===========================================================================
FLAG         ``true``, ``false``; as text also 1, 0, yes, no, on, off, in any case
NUMBER       a number; as text in decimal
COUNT        a whole number; as text in decimal
TEXT         a text
TEXTS        a list of texts; as text separated by commas or blanks, none for no texts
PAIR         a list of two whole numbers; as text separated by a comma or blanks
===========  ===========================================================================

Where ``null`` is allowed its text is ``none``.  Numbers named *speed* are KiB a second;
the size of chunks is in bytes, in the file and in the environment, although the flag of
the reference counts KiB; all times are seconds.

Addresses may leave out their port, or their host (as ``:PORT`` or ``_``: every interface,
or every neighbour), but not both by saying nothing at all.

Source: the configuration of the reference node, 2026.  There an empty address is taken,
and means every interface: too much for what a script has left empty by mistake.  There
the size of chunks is a single byte, so that no useful one can be written; here it is any
size that the wire allows.  Where its codec takes no ``null`` for something that may be
absent, ours does.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

import attrs

from .address import PointError
from .identity import DEFAULT_DIFFICULTY
from .limits import Limits
from .point import DEFAULT_PORT, Endpoint

#: Where a node listens if nothing else is said: on all addresses.
DEFAULT_LISTEN_ADDR: Final = f"[::]:{DEFAULT_PORT}"
#: UDP port of the discovery of neighbours, unless configured otherwise.
DEFAULT_DISCOVERY_PORT: Final = 10732
#: Where neighbours are told of us, unless configured otherwise.
DEFAULT_DISCOVERY_HOST: Final = "255.255.255.255"
#: What every environment variable of an option begins with.
ENV_PREFIX: Final = "TEZOS_P2P_"

#: Objects inside ``p2p`` that have options of their own.
SECTIONS: Final = ("limits", "greylisting_config")

#: What is wrong with an address of no characters: a variable of a script that is not
#: set, more likely than a wish to listen to everybody, which the reference reads there.
_EMPTY: Final = "is empty"
_MOST: Final = 1e9
_SHOWN_MAX: Final = 60
#: Greater ones are not even shown: Python refuses to print them, from a size on.
_WHOLE_MAX: Final = 10**30
_WHOLE: Final = re.compile(r"[+-]?[0-9]{1,30}")
_DECIMAL: Final = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]{1,3})?")
_WORDS: Final = {
    word: value
    for value, words in ((True, "1 yes on true"), (False, "0 no off false"))
    for word in words.split()
}


class Kind(enum.Enum):
    """What a value of an option is, for people."""

    FLAG = "true or false"
    NUMBER = "a number"
    COUNT = "a whole number"
    TEXT = "a text"
    TEXTS = "a list of texts"
    PAIR = "a list of two whole numbers"


@attrs.frozen(kw_only=True)
class Option:
    """One option.

    Attributes:
        key: path below ``p2p``.
        kind: what its values are.
        default: where nothing is said, as JSON has it.
        unit: what its numbers count; empty where there is nothing to count.
        meaning: one phrase.
        example: a value that makes sense.
        flag: of the reference's command line; empty if there is none.
        nullable: whether ``null`` is a value.
        name: of the attribute of `Limits`, or of `config.P2p`, that it sets.
        low: least number; of limits, `Limits` knows it.
        high: greatest number; the same.
    """

    key: str
    kind: Kind
    default: Any
    unit: str
    meaning: str
    example: Any
    flag: str = ""
    nullable: bool = False
    name: str
    low: float = attrs.field(default=0.0, repr=False)
    high: float = attrs.field(default=_MOST, repr=False)

    @property
    def env(self) -> str:
        """Name of its environment variable."""
        section, _, last = self.key.rpartition(".")
        front = "GREYLISTING_" if section == "greylisting_config" else ""
        return ENV_PREFIX + front + last.replace("-", "_").upper()

    def fault(self, value: object) -> tuple[str, str] | None:
        """Say what is wrong with a value, and what to do; None if nothing is.

        Args:
            value: anything that JSON can hold.
        """
        if value is None and self.nullable:
            return None
        what = self._wrong(value)
        if what is None:
            return None
        if what == _EMPTY:
            return what, self._instead()
        return what, f"write, for example, {shown(self.example)}"

    def _instead(self) -> str:
        """Say what to write in place of nothing: for each thing that may be meant."""
        nowhere = "; null in a file, none elsewhere, means nowhere"
        if self.key != "listen-addr":
            return f"write, for example, {shown(self.example)}{nowhere}"
        here, everywhere = shown(f"127.0.0.1:{DEFAULT_PORT}"), shown(DEFAULT_LISTEN_ADDR)
        return (
            f"write {here} for this machine only, {everywhere} for all addresses{nowhere}"
        )

    def of_text(self, text: str) -> Any:
        """Read the text of an environment variable.

        Text that is no value of this kind is returned as it is: `fault` tells.
        """
        text = text.strip()
        if text.lower() == "none" and (self.nullable or self.kind is Kind.TEXTS):
            return [] if self.kind is Kind.TEXTS else None
        return _READERS[self.kind](text)

    def _wrong(self, value: object) -> str | None:
        if not _IS[self.kind](value):
            null = " or null" if self.nullable else ""
            return f"{self.kind.value}{null} wanted, not {shown(value)}"
        if self.kind is Kind.TEXT:
            text = cast("str", value)
            return self._wrong_text(text) if text.strip() else _EMPTY
        if self.kind is Kind.TEXTS:
            faults = map(self._wrong_text, cast("list[str]", value))
            return "; ".join(filter(None, faults)) or None
        if self.kind is Kind.FLAG:
            return None
        if self.key.startswith("limits."):
            return _wrong_limit(self.name, value)
        number = cast("float", value)
        if not self.low <= number <= self.high:
            return f"{shown(value)} is not in {self.low:g}..{self.high:.10g}"
        return None

    def _wrong_text(self, text: str) -> str | None:
        try:
            endpoint = Endpoint.parse(text)
        except PointError as exc:
            return str(exc)
        what = _RULES[self.key](endpoint)
        return None if what is None else f"{shown(text)} {what}"


def shown(value: object) -> str:
    """Show a value of a document: short, in one line that cannot play with a terminal."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        items = cast("list[object]", value)
        simple = len(items) < 3 and not any(isinstance(i, (list, dict)) for i in items)
        return f"[{', '.join(map(shown, items))}]" if simple else "a list"
    if isinstance(value, int) and abs(value) > _WHOLE_MAX:
        return "a number of too many digits"
    text = f'"{ascii(value)[1:-1]}"' if isinstance(value, str) else ascii(value)
    return text if len(text) <= _SHOWN_MAX else text[:_SHOWN_MAX] + "..."


def _wrong_limit(name: str, value: Any) -> str | None:
    # The ranges are known to `Limits` alone; rules between limits are for later.
    if isinstance(value, list):
        value = tuple(cast("list[object]", value))
    limit: dict[str, Any] = {name: value}
    try:
        Limits(**limit)
    except ValueError as exc:
        for fault in str(exc).split("; "):
            if re.match(rf"{name}\b", fault):
                return fault.removeprefix(name).lstrip(": ")
    return None


# -- kinds -----------------------------------------------------------------------------


def _is_number(value: object) -> bool:
    return _is_count(value) or type(value) is float


def _is_count(value: object) -> bool:
    return type(value) is int and abs(value) <= _WHOLE_MAX


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, cast("list[object]", value)))


def _is_pair(value: object) -> bool:
    if not isinstance(value, list):
        return False
    items = cast("list[object]", value)
    return len(items) == 2 and all(map(_is_count, items))


def _is_flag(value: object) -> bool:
    return isinstance(value, bool)


_IS: Final[Mapping[Kind, Callable[[object], bool]]] = {
    Kind.FLAG: _is_flag,
    Kind.NUMBER: _is_number,
    Kind.COUNT: _is_count,
    Kind.TEXT: _is_text,
    Kind.TEXTS: _is_texts,
    Kind.PAIR: _is_pair,
}


def _flag_of(text: str) -> Any:
    return _WORDS.get(text.lower(), text)


def _count_of(text: str) -> Any:
    return int(text) if _WHOLE.fullmatch(text) else text


def _number_of(text: str) -> Any:
    return float(text) if _DECIMAL.fullmatch(text) else text


def _texts_of(text: str) -> Any:
    return text.replace(",", " ").split()


def _pair_of(text: str) -> Any:
    return [_count_of(each) for each in text.replace(",", " ").split()]


_READERS: Final[Mapping[Kind, Callable[[str], Any]]] = {
    Kind.FLAG: _flag_of,
    Kind.NUMBER: _number_of,
    Kind.COUNT: _count_of,
    Kind.TEXT: str,
    Kind.TEXTS: _texts_of,
    Kind.PAIR: _pair_of,
}


# -- rules for addresses ---------------------------------------------------------------


def _wrong_peer(endpoint: Endpoint) -> str | None:
    if endpoint.is_unspecified:
        return "lacks an address to dial"
    return None if endpoint.port != 0 else "has port 0, where nobody listens"


def _wrong_listen(endpoint: Endpoint) -> str | None:
    return None if endpoint.peer_id is None else "names a peer; we listen for anybody"


def _wrong_discovery(endpoint: Endpoint) -> str | None:
    if endpoint.peer_id is not None:
        return "names a peer; all neighbours are meant"
    return "is an IPv6 address; IPv4 only" if ":" in endpoint.host else None


_RULES: Final[Mapping[str, Callable[[Endpoint], str | None]]] = {
    "bootstrap-peers": _wrong_peer,
    "listen-addr": _wrong_listen,
    "discovery-addr": _wrong_discovery,
}


# -- the table -------------------------------------------------------------------------


def _limit_options() -> tuple[Option, ...]:
    flags = {
        "min_connections": "--connections",
        "expected_connections": "--connections",
        "max_connections": "--connections",
        "max_download_speed": "--max-download-speed",
        "max_upload_speed": "--max-upload-speed",
        "swap_linger": "--disable-p2p-swap",
        "binary_chunks_size": "--binary-chunks-size",
        "max_known_points": "--peer-table-size",
        "max_known_peer_ids": "--peer-table-size",
        "maintenance_idle_time": "--disable-p2p-maintenance",
    }
    kinds = {"int": Kind.COUNT, "float": Kind.NUMBER, "tuple[int, int]": Kind.PAIR}
    examples = {
        "max_download_speed": 1024,
        "max_upload_speed": 1024,
        "binary_chunks_size": 16_384,
        "ip_greylist_cleanup_delay": 86_400.0,
    }
    options: list[Option] = []
    for field in attrs.fields(Limits):
        name, about, default = field.name, field.metadata, field.default
        if isinstance(default, tuple):
            default = list(cast("tuple[int, int]", default))
        # As it is written: a converter may have resolved what attrs knows of it.
        kind, nullable, _ = str(Limits.__annotations__[name]).partition(" | None")
        option = Option(
            key="limits." + (about["key"] or name.replace("_", "-")),
            kind=kinds[kind],
            default=default,
            unit=about["unit"],
            meaning=about["meaning"],
            example=examples.get(name, default),
            flag=flags.get(name, ""),
            nullable=bool(nullable),
            name=name,
        )
        options.append(option)
    return tuple(options)


def _flag(key: str, meaning: str, flag: str = "") -> Option:
    return Option(
        key=key,
        kind=Kind.FLAG,
        default=False,
        unit="",
        meaning=meaning,
        example=True,
        flag=flag,
        name=key.replace("-", "_"),
    )


def _delay(key: str, default: float, meaning: str, unit: str, low: float) -> Option:
    return Option(
        key=f"greylisting_config.{key}",
        kind=Kind.NUMBER,
        default=default,
        unit=unit,
        meaning=meaning,
        example=default,
        name=key.replace("-", "_"),
        low=low,
    )


#: Every option, in the order in which the reference documents them.
OPTIONS: Final = (
    Option(
        key="expected-proof-of-work",
        kind=Kind.NUMBER,
        default=DEFAULT_DIFFICULTY,
        unit="bits",
        meaning="proof of work asked of peers and of us",
        example=DEFAULT_DIFFICULTY,
        flag="--expected-pow",
        name="expected_proof_of_work",
        high=256.0,
    ),
    Option(
        key="bootstrap-peers",
        kind=Kind.TEXTS,
        default=None,
        unit="",
        meaning="trusted points to begin with; none: those of the network",
        example=["boot.example.org:9732"],
        flag="--peer",
        nullable=True,
        name="bootstrap_peers",
    ),
    Option(
        key="listen-addr",
        kind=Kind.TEXT,
        default=DEFAULT_LISTEN_ADDR,
        unit="",
        meaning="where to listen; none: nowhere",
        example=DEFAULT_LISTEN_ADDR,
        flag="--net-addr",
        nullable=True,
        name="listen_addr",
    ),
    Option(
        key="advertised-net-port",
        kind=Kind.COUNT,
        default=None,
        unit="port",
        meaning="port to announce; none: that of listen-addr",
        example=DEFAULT_PORT,
        flag="--advertised-net-port",
        nullable=True,
        name="advertised_net_port",
        high=65535.0,
    ),
    Option(
        key="discovery-addr",
        kind=Kind.TEXT,
        default=None,
        unit="",
        meaning="where neighbours are told of us; none: not told",
        example=f"{DEFAULT_DISCOVERY_HOST}:{DEFAULT_DISCOVERY_PORT}",
        flag="--discovery-addr",
        nullable=True,
        name="discovery_addr",
    ),
    _flag("private-mode", "connect to trusted points and peers only", "--private-mode"),
    *_limit_options(),
    _flag("disable_mempool", "ask peers for no mempool", "--disable-mempool"),
    _flag("enable_testchain", "no effect any more", "--enable-testchain"),
    _delay("factor", 1.2, "how much longer each wait is than the last", "times", 1.0),
    _delay("initial-delay", 1.0, "wait after the first failed attempt", "s", 0.0),
    _delay("disconnection-delay", 60.0, "wait after a connection", "s", 0.0),
    _delay("increase-cap", 172_800.0, "longest wait", "s", 0.0),
    _flag("disable_peer_discovery", "neither ask for points, nor give or learn any"),
)

#: The same, by key.
OPTION_OF: Final[Mapping[str, Option]] = {option.key: option for option in OPTIONS}
