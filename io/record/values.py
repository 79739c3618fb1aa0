"""Values as the lines of a trace have them, and back.

Source: our own; docs/recording.md describes every field.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import Any, Final, cast

import attrs

from ...fsm.commands import NodeCommand
from ...fsm.inbox import Item, Message
from ...fsm.prefix import Prefix
from ...spec.address import Address
from ...spec.convert import CONVERTER
from ...spec.identity import PeerId
from ...spec.motive import Motive
from ...spec.point import Point
from ...spec.reader import DecodeError, DecodeFault
from ...spec.reasons import Direction, Disconnection, ErrorKind, P2pError, Reason
from .trace import digest


def bytes_out(data: bytes | bytearray | memoryview) -> str:
    """Write bytes."""
    return base64.b64encode(data).decode("ascii")


def bytes_in(text: Any) -> bytes:
    """Read bytes.

    Raises:
        ValueError: no base 64.
    """
    if not isinstance(text, str):
        raise ValueError("no bytes in base 64")
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as exc:
        raise ValueError(f"no bytes in base 64: {exc}") from None


def error_out(error: P2pError) -> list[Any]:
    """Write an error of a connection, without its facts."""
    return [error.kind.name, error.detail]


def disconnection_out(why: Disconnection) -> dict[str, Any]:
    """Write why a connection has ended, without the facts of its errors."""
    return {
        "reason": why.reason.name,
        "errors": [error_out(error) for error in why.errors],
        "motive": None if why.motive is None else why.motive.name,
        "direction": None if why.direction is None else why.direction.name,
        "text": why.text,
    }


def disconnection_in(fields: Any) -> Disconnection:
    """Read what `disconnection_out` writes.

    Raises:
        ValueError: it is not that; also KeyError or TypeError.
    """
    motive, direction = fields["motive"], fields["direction"]
    return Disconnection(
        Reason[fields["reason"]],
        tuple(P2pError(ErrorKind[kind], detail) for kind, detail in fields["errors"]),
        None if motive is None else Motive[motive],
        None if direction is None else Direction[direction],
        fields["text"],
    )


def command_out(command: NodeCommand | None) -> list[Any] | None:
    """Write a command: the name of its class, then what belongs to it."""
    if command is None:
        return None
    return [type(command).__name__, *map(_plain, attrs.astuple(command, recurse=False))]


def item_out(item: Item[Any] | None) -> list[Any] | None:
    """Write what the application pulls; a message is a `Carried`: tag, size, hash."""
    if item is None:
        return None
    if isinstance(item, Message):
        carried: Carried = item.message
        about = [carried.tag, carried.size, carried.hash]
        return ["Message", item.link, str(item.peer_id), *about]
    return [type(item).__name__, *map(_plain, attrs.astuple(item, recurse=False))]


def _plain(value: Any) -> Any:
    if isinstance(value, Disconnection):
        return disconnection_out(value)
    return value_out(value) if type(value) is bytes else CONVERTER.unstructure(value)


@attrs.frozen
class Carried:
    """A message on its way from the codec to the application.

    Attributes:
        message: itself; None when a trace is replayed.
        tag: its tag.
        size: bytes of its payload.
        hash: of the payload.
    """

    message: Any
    tag: int
    size: int
    hash: str

    @classmethod
    def of(
        cls, message: Any, tag: int, payload: bytes, *, hashed: bool = True
    ) -> Carried:
        """Return what carries a message that was decoded from a payload."""
        return cls(message, tag, len(payload), digest(payload) if hashed else "")


#: Types whose text alone would not say what they are.
_KINDS: Final[dict[str, Any]] = {
    "address": (Address, str, Address.parse),
    "prefix": (Prefix, str, Prefix.parse),
    "peer_id": (PeerId, str, PeerId.parse),
    "point": (Point, str, Point.parse),
    "disconnection": (Disconnection, disconnection_out, disconnection_in),
    "bytes": (bytes, bytes_out, bytes_in),
}


def value_out(value: Any) -> Any:
    """Write an argument so that its type can be told.

    Raises:
        TypeError: no type that an argument has.
    """
    for name, (kind, write, _) in _KINDS.items():
        if type(value) is kind:
            return {name: write(value)}
    if isinstance(value, (list, tuple)):
        return [value_out(each) for each in cast("Iterable[Any]", value)]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"no argument that can be recorded: {type(value).__name__}")


def value_in(value: Any) -> Any:
    """Read what `value_out` writes.

    Raises:
        ValueError: it is not that; also KeyError or TypeError.
    """
    if isinstance(value, dict):
        ((name, inner),) = cast("dict[str, Any]", value).items()
        return _KINDS[name][2](inner)
    if type(value) is list:
        return [value_in(each) for each in cast("Iterable[Any]", value)]
    return value


def raised_out(exc: Exception) -> list[Any]:
    """Write what an application's function has raised: its name; of a fault, where."""
    if isinstance(exc, DecodeError):
        return ["DecodeError", exc.fault.value, exc.offset, exc.detail, exc.path]
    return [type(exc).__name__]


def raised_in(fields: Any) -> Exception:
    """Return something like what `raised_out` has written.

    Raises:
        ValueError: it is not that; also TypeError.
    """
    name, *rest = fields
    if not rest:
        return cast("Exception", type(name, (Exception,), {})())
    fault, offset, detail, path = rest
    error = DecodeError(DecodeFault(fault), offset, detail)
    if path:
        error.inside(path)
    return error


class Frames:
    """Counts the frames of one direction of a link: their sizes are not encrypted."""

    __slots__ = ("_head", "_left", "_size")

    def __init__(self) -> None:
        self._head = b""
        self._left = self._size = 0

    def feed(self, data: bytes | bytearray | memoryview) -> list[int]:
        """Take bytes; return the sizes, headers included, of the frames they complete."""
        done: list[int] = []
        at, end = 0, len(data)
        while at < end:
            if not self._left:
                part = bytes(data[at : at + 2 - len(self._head)])
                at += len(part)
                self._head += part
                if len(self._head) < 2:
                    break
                self._left = int.from_bytes(self._head, "big")
                self._size, self._head = self._left + 2, b""
            step = min(self._left, end - at)
            at += step
            self._left -= step
            if not self._left:
                done.append(self._size)
        return done
