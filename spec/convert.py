"""JSON in and out of the values of this package: one strict cattrs converter.

The stock converter is lenient: it would turn ``"7"`` into 7, 7.9 into 7 and ``"no"``
into True, and write bytes as base 85.  This one takes a value of the right JSON type
or none, writes bytes as lower-case hex digits, peer ids in Base58Check, addresses
and points as text.  `structure` reports every fault of a document at once, each with
its path.
"""

from __future__ import annotations

import collections
import enum
import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Final, NewType, TypeVar, cast

import cattrs
from cattrs.preconf.json import make_converter

from .address import Address
from .identity import KEY_SIZE, STAMP_SIZE, PeerId
from .point import Point

T = TypeVar("T")

#: Bytes that appear as 64 hex digits in JSON.
Hex32 = NewType("Hex32", bytes)
#: Bytes that appear as 48 hex digits in JSON.
Hex24 = NewType("Hex24", bytes)

#: Characters of what is said about one fault: some would repeat the document.
PHRASE_MAX: Final = 200

_HEX: Final = re.compile(r"[0-9A-Fa-f]*")

CONVERTER: Final = make_converter(forbid_extra_keys=True, detailed_validation=True)


def _strictly(value: object, kind: type[Any]) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{kind.__name__} wanted, not {type(value).__name__}")
    return value


def _number(value: object, _: type[float]) -> float:
    if type(value) not in (int, float):
        raise TypeError(f"number wanted, not {type(value).__name__}")
    return float(value)  # type: ignore[arg-type]  # checked on the line above


def _hex(size: int) -> Callable[[object, object], bytes]:
    def from_hex(value: object, _: object) -> bytes:
        text: str = _strictly(value, str)
        # Not left to fromhex, which skips blanks.
        if not _HEX.fullmatch(text):
            raise ValueError("not a string of hex digits")
        if len(text) != 2 * size:
            raise ValueError(f"{len(text)} hex digits, {2 * size} wanted")
        return bytes.fromhex(text)

    return from_hex


def _parsed(parse: Callable[[str], T]) -> Callable[[object, object], T]:
    def from_text(value: object, _: object) -> T:
        return parse(_strictly(value, str))

    return from_text


def _enum_out(value: enum.Enum) -> object:
    return value.name.lower()


for _kind in (int, str, bool):
    CONVERTER.register_structure_hook(_kind, _strictly)
CONVERTER.register_structure_hook(float, _number)
CONVERTER.register_structure_hook(Hex32, _hex(KEY_SIZE))
CONVERTER.register_structure_hook(Hex24, _hex(STAMP_SIZE))
CONVERTER.register_structure_hook(PeerId, _parsed(PeerId.parse))
CONVERTER.register_structure_hook(Address, _parsed(Address.parse))
CONVERTER.register_structure_hook(Point, _parsed(Point.parse))
CONVERTER.register_unstructure_hook(bytes, bytes.hex)
CONVERTER.register_unstructure_hook(PeerId, str)
CONVERTER.register_unstructure_hook(Address, str)
CONVERTER.register_unstructure_hook(Point, str)
CONVERTER.register_unstructure_hook(enum.Enum, _enum_out)


class ShapeError(ValueError):
    """A document that is not JSON, or not of the right shape.

    Attributes:
        faults: one readable phrase per fault, with its path.
    """

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)

    def __reduce__(self) -> tuple[object, ...]:
        """Say how to make it again elsewhere."""
        return type(self), (self.faults,)


def _no_constant(name: str) -> object:
    raise ValueError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise ValueError(f"{text} is too large a number")
    return number


def _no_repetition(pairs: list[tuple[str, object]]) -> dict[str, object]:
    document = dict(pairs)
    if len(document) < len(pairs):
        count = collections.Counter(name for name, _ in pairs)
        twice = sorted(name for name in count if count[name] > 1)
        raise ValueError(f"given more than once: {', '.join(map(_shown, twice))}")
    return document


def _shown(name: str) -> str:
    """Show a name from a document: as it is, unless it could play with a terminal."""
    return name if name.isprintable() else repr(name)


def _phrase(exc: BaseException, _: type[Any] | None) -> str:
    if isinstance(exc, KeyError):
        return "missing"
    if isinstance(exc, cattrs.ForbiddenExtraKeysError):
        return "unknown fields: " + ", ".join(map(_shown, sorted(exc.extra_fields)))
    return (str(exc) or type(exc).__name__)[:PHRASE_MAX]


def parse_json(text: str | bytes, name: str) -> object:
    """Return what JSON text says; of floats and repetitions only what JSON means.

    Args:
        text: the document; bytes are UTF-8.
        name: what the document is called in error messages.

    Raises:
        ShapeError: it is no JSON.
    """
    try:
        return json.loads(
            text if isinstance(text, str) else text.decode("utf-8"),
            parse_constant=_no_constant,
            parse_float=_finite,
            object_pairs_hook=_no_repetition,
        )
    except RecursionError:
        raise ShapeError([f"{name}: nested too deeply"]) from None
    except ValueError as exc:
        raise ShapeError([f"{name}: not JSON: {exc}"]) from None


def shaped(
    document: object, kind: type[T], name: str, converter: cattrs.Converter = CONVERTER
) -> T:
    """Return the value that a document says, of a class or of what a converter knows.

    Args:
        document: what `parse_json` returned.
        kind: what it has to be.
        name: what the document is called in error messages.
        converter: knows how.

    Raises:
        ShapeError: every fault at once.
    """
    try:
        return converter.structure(document, kind)
    except cattrs.BaseValidationError as exc:
        # The name is put in front afterwards: it may contain anything.
        faults = cattrs.transform_error(exc, path="$", format_exception=_phrase)
        parts = (fault.rpartition(" @ $") for fault in faults)
        raise ShapeError([f"{name}{path}: {what}" for what, _, path in parts]) from None
    except (ValueError, TypeError) as exc:  # of a hook for the document as a whole
        raise ShapeError([f"{name}: {exc}"]) from None


def structure(text: str, kind: type[T], name: str) -> T:
    """Read the JSON text of an object into a value of an attrs class.

    Args:
        text: the document.
        kind: class to build.
        name: what the document is called in error messages.

    Raises:
        ShapeError: every fault at once.
    """
    document = parse_json(text, name)
    if not isinstance(document, dict):
        raise ShapeError([f"{name}: an object wanted, not {type(document).__name__}"])
    return shaped(cast("dict[str, Any]", document), kind, name)
