"""The data-encoding primitives: how values become bytes, and the strict way back.

Every message of the protocol is a table of fields (see the record module), each field
one of the types below.  A type reads, writes, measures and describes itself, so that a
table is at once encoder, decoder, printed layout and documentation.

All integers are big-endian.  "Block" is the innermost bounded stretch of bytes.  Types
that hold others (dynamic, list, present, option, trailing, limited) are in the blocks
module, union and record in the record module.

====================  ==================================================================
type                  bytes
====================  ==================================================================
bool                  1: ``ff`` is written for true, ``00`` for false; any non-zero is
                      read as true
uint8..int64          fixed width, two's complement
uint30                4; read up to 2^31 - 1, written up to 2^30 - 1 (length prefixes)
int31                 4, signed, -2^30 to 2^30 - 1
float64               8, IEEE-754
fixed bytes n         n raw bytes
tail                  no prefix: everything up to the end of the block
dynamic               uint30 byte count, then a value that fills exactly that block
list                  elements back to back to the end of the block; the limit on their
                      number is checked before element n + 1 is read
present               ``ff`` then the value, or ``00`` (a field that may be absent)
option                ``01`` then the value, or ``00`` (a stand-alone option)
trailing              nothing at all when the block is already at its end
union                 a uint8 or uint16 tag, then the payload of its case
limited n             the bytes of its inner type, at most n of them
====================  ==================================================================

Decoding is exact: bytes left over in a block are an error, and a length prefix is
checked against the block around it before anything of that length is touched.
Errors carry the path of the field and the offset in the bytes given; see the reader
module.

Source: the ``data-encoding`` conventions of the reference node, 2019 and 2026, which
agree on all of the above.
"""

from __future__ import annotations

import struct
from typing import Any, Final, Generic, TypeVar, cast

from .reader import DecodeFault, EncodeError, Reader

T = TypeVar("T")
U = TypeVar("U")

#: Largest value of a length prefix that may be written.
UINT30_MAX: Final = (1 << 30) - 1

_U32: Final = struct.Struct(">I")


class BinaryType(Generic[T]):
    """One type of the table above.

    Attributes:
        size: bytes of every value, or None when values differ in size.
        max_size: most bytes of any value, or None when nothing bounds it.
        variable: whether it has no end of its own and fills its block.
    """

    size: int | None = None
    max_size: int | None = None
    variable: bool = False

    def read(self, reader: Reader) -> T:
        """Read one value; raise `DecodeError`."""
        raise NotImplementedError

    def write(self, out: bytearray, value: T) -> None:
        """Append one value; raise `EncodeError`."""
        raise NotImplementedError

    def describe(self) -> dict[str, Any]:
        """Return the layout as plain JSON-ready data."""
        raise NotImplementedError

    def decode(self, data: bytes) -> T:
        """Decode a whole buffer, which must be consumed exactly.

        Raises:
            DecodeError: with fault, path and offset.
        """
        reader = Reader(data)
        value = self.read(reader)
        if reader.pos != reader.end:
            reader.finish()
        return value

    def encode(self, value: T) -> bytes:
        """Encode one value.

        Raises:
            EncodeError: the protocol forbids the value; says which field.
        """
        out = bytearray()
        self.write(out, value)
        return bytes(out)


class Integer(BinaryType[int]):
    """A big-endian integer of fixed width and range."""

    def __init__(
        self, name: str, code: str, low: int, high: int, write_high: int | None = None
    ) -> None:
        self.name = name
        self.code = code
        self.low = low
        self.high = high
        self.write_high = high if write_high is None else write_high
        self._struct = struct.Struct(">" + code)
        self.size = self.max_size = self._struct.size
        # Whether the width alone says which values are legal.
        self.full_range = high - low == (1 << (8 * self._struct.size)) - 1

    def read(self, reader: Reader) -> int:
        """Read one integer; `INVALID_INT` outside the range."""
        reader.need(self._struct.size)
        value: int = self._struct.unpack_from(reader.data, reader.pos)[0]
        if not self.low <= value <= self.high:
            raise reader.fail(DecodeFault.INVALID_INT, f"{value} is not a {self.name}")
        reader.pos += self._struct.size
        return value

    def write(self, out: bytearray, value: int) -> None:
        """Append one integer."""
        # The type is for callers without a type checker: "7" must not pass as 7.
        if not isinstance(cast("object", value), int):
            raise EncodeError(f"{value!r} is not an int")
        if not self.low <= value <= self.write_high:
            raise EncodeError(
                f"{value} is not in {self.low}..{self.write_high} ({self.name})"
            )
        out += self._struct.pack(value)

    def describe(self) -> dict[str, Any]:
        """Name and width."""
        return {"type": self.name, "size": self.size}


UINT8: Final = Integer("uint8", "B", 0, 0xFF)
INT8: Final = Integer("int8", "b", -0x80, 0x7F)
UINT16: Final = Integer("uint16", "H", 0, 0xFFFF)
INT16: Final = Integer("int16", "h", -0x8000, 0x7FFF)
INT32: Final = Integer("int32", "i", -(1 << 31), (1 << 31) - 1)
INT64: Final = Integer("int64", "q", -(1 << 63), (1 << 63) - 1)
UINT30: Final = Integer("uint30", "I", 0, (1 << 31) - 1, UINT30_MAX)
INT31: Final = Integer("int31", "i", -(1 << 30), (1 << 30) - 1)


class Float64(BinaryType[float]):
    """An IEEE-754 double, big-endian."""

    size = max_size = 8
    _struct = struct.Struct(">d")

    def read(self, reader: Reader) -> float:
        """Read one double; every bit pattern is legal."""
        reader.need(8)
        value: float = self._struct.unpack_from(reader.data, reader.pos)[0]
        reader.pos += 8
        return value

    def write(self, out: bytearray, value: float) -> None:
        """Append one double."""
        try:
            out += self._struct.pack(value)
        except (struct.error, OverflowError) as exc:
            raise EncodeError(f"{value!r} is not a float: {exc}") from None

    def describe(self) -> dict[str, Any]:
        """Name and width."""
        return {"type": "float64", "size": 8}


class Bool(BinaryType[bool]):
    """One byte; ``ff`` or ``00`` written, any non-zero read as true."""

    size = max_size = 1

    def read(self, reader: Reader) -> bool:
        """Read one flag."""
        return reader.take(1) != b"\0"

    def write(self, out: bytearray, value: bool) -> None:
        """Append one flag."""
        if not isinstance(cast("object", value), bool):
            raise EncodeError(f"{value!r} is not a bool")
        out.append(0xFF if value else 0)

    def describe(self) -> dict[str, Any]:
        """Name and width."""
        return {"type": "bool", "size": 1}


FLOAT64: Final = Float64()
BOOL: Final = Bool()


def _check_bytes(value: object) -> None:
    # For callers without a type checker, as above.
    if not isinstance(value, bytes | bytearray | memoryview):
        raise EncodeError(f"{type(value).__name__} is not bytes")


class FixedBytes(BinaryType[bytes]):
    """Exactly ``size`` raw bytes."""

    def __init__(self, size: int) -> None:
        self.size = self.max_size = self.count = size

    def read(self, reader: Reader) -> bytes:
        """Take the bytes."""
        return reader.take(self.count)

    def write(self, out: bytearray, value: bytes) -> None:
        """Append the bytes, whose number must be right."""
        _check_bytes(value)
        if len(value) != self.count:
            raise EncodeError(f"{len(value)} bytes, {self.count} wanted")
        out += value

    def describe(self) -> dict[str, Any]:
        """Size."""
        return {"type": "bytes", "size": self.size}


class Tail(BinaryType[bytes]):
    """Raw bytes up to the end of the block."""

    variable = True

    def read(self, reader: Reader) -> bytes:
        """Take all that is left."""
        return reader.take(reader.left)

    def write(self, out: bytearray, value: bytes) -> None:
        """Append the bytes."""
        _check_bytes(value)
        out += value

    def describe(self) -> dict[str, Any]:
        """Say that it fills the block."""
        return {"type": "bytes", "fills": "block"}


class Empty(BinaryType[None]):
    """No bytes at all."""

    size = max_size = 0

    def read(self, reader: Reader) -> None:
        """Read nothing."""

    def write(self, out: bytearray, value: None) -> None:
        """Write nothing."""

    def describe(self) -> dict[str, Any]:
        """Say that it is empty."""
        return {"type": "empty", "size": 0}


TAIL: Final = Tail()
EMPTY: Final = Empty()
