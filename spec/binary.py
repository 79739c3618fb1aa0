"""The data-encoding primitives: how values become bytes, and the strict way back.

Every message of the protocol is a table of fields (see the record module), each field
one of the types below.  A type reads, writes, measures and describes itself, so that a
table is at once encoder, decoder, printed layout and documentation.

All integers are big-endian.  "Block" is the innermost bounded stretch of bytes.

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

import functools
import struct
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar, cast

from .reader import DecodeError, DecodeFault, EncodeError, Reader

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


class Dynamic(BinaryType[T]):
    """A uint30 byte count, then a value that fills exactly that many bytes."""

    def __init__(self, inner: BinaryType[T]) -> None:
        self.inner = inner
        self.max_size = None if inner.max_size is None else 4 + inner.max_size

    def read(self, reader: Reader) -> T:
        """Read the count, check it against the block, read the value inside."""
        size = reader.length()
        outer, capped = reader.end, reader.capped
        reader.end, reader.capped = reader.pos + size, False
        value = self.inner.read(reader)
        if reader.pos != reader.end:
            reader.finish()
        reader.end, reader.capped = outer, capped
        return value

    def write(self, out: bytearray, value: T) -> None:
        """Append count and value."""
        start = len(out)
        out += b"\0\0\0\0"
        self.inner.write(out, value)
        size = len(out) - start - 4
        if size > UINT30_MAX:
            raise EncodeError(f"{size} bytes do not fit a uint30 length prefix")
        _U32.pack_into(out, start, size)

    def describe(self) -> dict[str, Any]:
        """Prefix and content."""
        return {"type": "dynamic", "prefix": "uint30", "of": self.inner.describe()}


class Bytes(Dynamic[bytes]):
    """``bytes`` and ``string`` of the conventions: a length and that many bytes."""

    def __init__(self) -> None:
        super().__init__(TAIL)

    def read(self, reader: Reader) -> bytes:
        """Read the count, check it against the block, take the bytes."""
        size = reader.length()
        start = reader.pos
        reader.pos = end = start + size
        return reader.data[start:end]


BYTES: Final = Bytes()


class Items(BinaryType[tuple[T, ...]]):
    """Elements back to back up to the end of the block.

    Args:
        item: the element, which must consume something.
        most: largest number of elements, or None.
    """

    variable = True

    def __init__(self, item: BinaryType[T], most: int | None = None) -> None:
        if item.variable or item.size == 0:
            raise ValueError("list elements must delimit themselves and consume bytes")
        self.item = item
        self.most = most
        if most is not None and item.max_size is not None:
            self.max_size = most * item.max_size

    def read(self, reader: Reader) -> tuple[T, ...]:
        """Read elements until the block ends."""
        most, item = self.most, self.item
        if most is not None and item.size is not None and reader.left > most * item.size:
            raise reader.fail(
                DecodeFault.SIZE_LIMIT_EXCEEDED,
                f"{reader.left} bytes of elements, at most {most * item.size} allowed",
            )
        values: list[T] = []
        read, end = item.read, reader.end
        try:
            while reader.pos < end:
                if len(values) == most:
                    raise reader.fail(
                        DecodeFault.LIST_TOO_LONG, f"more than {most} elements"
                    )
                values.append(read(reader))
        except DecodeError as error:
            error.inside(f"[{len(values)}]")
            raise
        return tuple(values)

    def write(self, out: bytearray, value: Sequence[T]) -> None:
        """Append the elements; their number is checked first."""
        if self.most is not None and len(value) > self.most:
            raise EncodeError(f"{len(value)} elements, at most {self.most} allowed")
        for index, element in enumerate(value):
            try:
                self.item.write(out, element)
            except EncodeError as error:
                error.inside(f"[{index}]")
                raise

    def describe(self) -> dict[str, Any]:
        """Element and limit."""
        layout: dict[str, Any] = {"type": "list", "fills": "block"}
        if self.most is not None:
            layout["max_length"] = self.most
        return layout | {"of": self.item.describe()}


class Limited(BinaryType[T]):
    """The bytes of ``inner``, at most ``most`` of them, nested prefixes counted."""

    def __init__(self, most: int, inner: BinaryType[T]) -> None:
        self.most = most
        self.inner = inner
        self.size = inner.size
        self.variable = inner.variable
        self.max_size = most if inner.max_size is None else min(most, inner.max_size)

    def _too_big(self, reader: Reader, size: int) -> DecodeError:
        return reader.fail(
            DecodeFault.SIZE_LIMIT_EXCEEDED, f"{size} bytes or more, limit {self.most}"
        )

    def read(self, reader: Reader) -> T:
        """Read the inner value with the block cut down to the limit."""
        outer, capped = reader.end, reader.capped
        cap = reader.pos + self.most
        if cap >= outer:
            return self.inner.read(reader)
        if self.inner.variable:
            raise self._too_big(reader, reader.left)
        reader.end, reader.capped = cap, True
        try:
            value = self.inner.read(reader)
        except DecodeError as error:
            if error.capped:
                raise self._too_big(reader, self.most + 1) from None
            raise
        reader.end, reader.capped = outer, capped
        return value

    def write(self, out: bytearray, value: T) -> None:
        """Append the value; raise if it took more than the limit."""
        start = len(out)
        self.inner.write(out, value)
        if len(out) - start > self.most:
            raise EncodeError(f"{len(out) - start} bytes, limit {self.most}")

    def describe(self) -> dict[str, Any]:
        """Inner layout and limit."""
        return self.inner.describe() | {"max_bytes": self.most}


class Mapped(BinaryType[T], Generic[T, U]):
    """A type whose values are shown as something nicer than their bytes.

    Args:
        name: what the value is called in layouts.
        inner: the type on the wire.
        load: wire value to value; a `ValueError` becomes `INVALID_VALUE`.
        dump: value to wire value; what it raises for a wrong one becomes an
            `EncodeError`.
    """

    def __init__(
        self,
        name: str,
        inner: BinaryType[U],
        load: Callable[[U], T],
        dump: Callable[[T], U],
    ) -> None:
        self.name = name
        self.inner = inner
        self.load = load
        self.dump = dump
        self.size = inner.size
        self.max_size = inner.max_size
        self.variable = inner.variable

    def read(self, reader: Reader) -> T:
        """Read and convert."""
        start = reader.pos
        value = self.inner.read(reader)
        try:
            return self.load(value)
        except ValueError as exc:
            reader.pos = start
            raise reader.fail(DecodeFault.INVALID_VALUE, str(exc)) from None

    def write(self, out: bytearray, value: T) -> None:
        """Convert and append."""
        try:
            plain = self.dump(value)
        except EncodeError:
            raise
        except (AttributeError, TypeError, ValueError) as exc:
            raise EncodeError(str(exc)) from None
        self.inner.write(out, plain)

    def describe(self) -> dict[str, Any]:
        """Inner layout under the value's own name."""
        return self.inner.describe() | {"as": self.name}


class Present(BinaryType[T | None]):
    """A field that may be absent: ``ff`` and the value, or ``00``.

    Any non-zero presence byte is read as true, as for `Bool`.
    """

    present = 0xFF

    def __init__(self, inner: BinaryType[T]) -> None:
        self.inner = inner
        self.max_size = None if inner.max_size is None else 1 + inner.max_size

    def read(self, reader: Reader) -> T | None:
        """Read the presence byte, then the value if there is one."""
        return None if reader.take(1) == b"\0" else self.inner.read(reader)

    def write(self, out: bytearray, value: T | None) -> None:
        """Append presence and value."""
        if value is None:
            out.append(0)
            return
        out.append(self.present)
        self.inner.write(out, value)

    def describe(self) -> dict[str, Any]:
        """Presence byte and content."""
        present = f"{self.present:02x}"
        return {"type": "optional", "present": present, "of": self.inner.describe()}


class Option(Present[T]):
    """A stand-alone option: ``01`` and the value, or ``00``; other tags are refused."""

    present = 0x01

    def read(self, reader: Reader) -> T | None:
        """Read the tag, then the value if there is one."""
        tag = reader.take(1)[0]
        if tag > 1:
            reader.pos -= 1
            raise reader.fail(DecodeFault.UNEXPECTED_TAG, f"{tag:#x} is no option tag")
        return self.inner.read(reader) if tag else None


class Trailing(BinaryType[T | None]):
    """A field that fills its block, or is absent when the block is at its end."""

    variable = True

    def __init__(self, inner: BinaryType[T]) -> None:
        self.inner = inner
        self.max_size = inner.max_size

    def read(self, reader: Reader) -> T | None:
        """Read the value if any byte is left."""
        return self.inner.read(reader) if reader.left else None

    def write(self, out: bytearray, value: T | None) -> None:
        """Append the value, if any."""
        if value is not None:
            self.inner.write(out, value)

    def describe(self) -> dict[str, Any]:
        """Content, marked as optional."""
        return {"type": "optional", "present": "any byte", "of": self.inner.describe()}


class Remembered(BinaryType[T]):
    """A value that ends its block and mostly is one of few: decoded once, looked up then.

    The bytes say all there is to say, so that remembering cannot be noticed, but for
    the time: 0.3 µs instead of 1.6 for the versions in a connection message.

    Args:
        inner: the type.
        values: how many values to remember; the least recent go first.
        size: bytes of the longest that is worth it.
    """

    def __init__(self, inner: BinaryType[T], values: int, size: int) -> None:
        self.inner = inner
        self.size = inner.size
        self.max_size = inner.max_size
        self._longest = size
        self._decode = functools.lru_cache(values)(inner.decode)

    def read(self, reader: Reader) -> T:
        """Look up what is left of the block, or read it."""
        raw = reader.data[reader.pos : reader.end]
        if len(raw) <= self._longest:
            try:
                value = self._decode(raw)
            except DecodeError:
                return self.inner.read(reader)  # again, for path and offset
            reader.pos = reader.end
            return value
        return self.inner.read(reader)

    def write(self, out: bytearray, value: T) -> None:
        """Append the value."""
        self.inner.write(out, value)

    def describe(self) -> dict[str, Any]:
        """Inner layout."""
        return self.inner.describe()
