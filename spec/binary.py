"""The data-encoding primitives: how values become bytes, and the strict way back.

Every message of the protocol is a table of fields (`Record`), each field one of
the types below.  A type reads, writes, measures and describes itself, so that a
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
Errors carry the path of the field and the offset in the bytes given.

Source: the ``data-encoding`` conventions of the reference node, 2019 and 2026, which
agree on all of the above.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar, cast

import attrs

T = TypeVar("T")
U = TypeVar("U")

#: Largest value of a length prefix that may be written.
UINT30_MAX: Final = (1 << 30) - 1

_U32: Final = struct.Struct(">I")


class DecodeFault(enum.Enum):
    """What kind of thing was wrong with the bytes; names are stable."""

    NOT_ENOUGH_DATA = "not_enough_data"
    EXTRA_BYTES = "extra_bytes"
    UNEXPECTED_TAG = "unexpected_tag"
    INVALID_INT = "invalid_int"
    SIZE_LIMIT_EXCEEDED = "size_limit_exceeded"
    LIST_TOO_LONG = "list_too_long"
    INVALID_VALUE = "invalid_value"


class _PathError(ValueError):
    """An error that learns the path of the field while it travels outwards."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail
        self._path: list[str] = []

    def inside(self, name: str) -> None:
        """Put one more enclosing field in front of the path."""
        self._path.append(name)

    @property
    def path(self) -> str:
        """Dotted path of the field, outermost first: ``version.chain_name``."""
        return ".".join(reversed(self._path)).replace(".[", "[")


class DecodeError(_PathError):
    """Bytes that the protocol forbids.

    Attributes:
        fault: what kind of fault.
        offset: byte offset in the data given to the decoder.
        detail: one readable phrase with the numbers that matter.
        path: dotted path of the field.
    """

    def __init__(self, fault: DecodeFault, offset: int, detail: str) -> None:
        super().__init__(detail)
        self.fault = fault
        self.offset = offset
        #: For `NOT_ENOUGH_DATA`: whether it was a size limit that cut the block short.
        self.capped = False

    def __str__(self) -> str:
        """Say where, what kind, and the numbers."""
        where = f"{self.path or 'message'} at byte {self.offset}"
        return f"{where}: {self.fault.value.replace('_', ' ')}: {self.detail}"


class EncodeError(_PathError):
    """A value that the protocol has no bytes for.

    Attributes:
        detail: what is wrong with it.
        path: dotted path of the field.
    """

    def __str__(self) -> str:
        """Say which field, and what is wrong with it."""
        return f"{self.path or 'value'}: {self.detail}"


class Reader:
    """A cursor over bytes that never passes the end of its block.

    Attributes:
        data: all the bytes.
        pos: offset of the next byte to read.
        end: offset just past the current block.
        capped: whether a size limit, not the bytes themselves, set ``end``.
    """

    __slots__ = ("capped", "data", "end", "pos")

    def __init__(self, data: bytes, pos: int = 0, end: int | None = None) -> None:
        self.data = data
        self.pos = pos
        self.end = len(data) if end is None else end
        self.capped = False

    @property
    def left(self) -> int:
        """Bytes left in the block."""
        return self.end - self.pos

    def fail(self, fault: DecodeFault, detail: str) -> DecodeError:
        """Make (not raise) an error at the current offset."""
        return DecodeError(fault, self.pos, detail)

    def need(self, size: int) -> None:
        """Raise unless ``size`` more bytes are in the block."""
        if size > self.end - self.pos:
            error = self.fail(
                DecodeFault.NOT_ENOUGH_DATA,
                f"{size} bytes wanted, {self.end - self.pos} left",
            )
            error.capped = self.capped
            raise error

    def take(self, size: int) -> bytes:
        """Return the next ``size`` bytes."""
        self.need(size)
        start = self.pos
        self.pos = start + size
        return self.data[start : self.pos]

    def length(self) -> int:
        """Read a uint30 length prefix that must fit in what is left of the block."""
        self.need(4)
        size: int = _U32.unpack_from(self.data, self.pos)[0]
        if size >> 31:
            raise self.fail(DecodeFault.INVALID_INT, f"length {size} has its top bit set")
        self.pos += 4
        if size > self.end - self.pos:
            self.pos -= 4
            error = self.fail(
                DecodeFault.NOT_ENOUGH_DATA,
                f"length prefix says {size} bytes, {self.end - self.pos - 4} left",
            )
            error.capped = self.capped
            raise error
        return size

    def finish(self) -> None:
        """Raise if anything is left in the block."""
        if self.pos != self.end:
            raise self.fail(DecodeFault.EXTRA_BYTES, f"{self.end - self.pos} left over")


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
        dump: value to wire value; a `ValueError` becomes an `EncodeError`.
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
        except ValueError as exc:
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


@attrs.frozen
class Field:
    """One line of a message's table.

    Attributes:
        name: attribute of the message class.
        type: how it is written.
        doc: what it means, in one phrase.
    """

    name: str
    type: BinaryType[Any]
    doc: str = ""


class Record(BinaryType[T]):
    """A message: a class and the table of its fields, in wire order.

    Args:
        cls: an attrs class whose arguments are the fields, in the same order.
        name: what the message is called in layouts.
        fields: the table.  A field that fills its block may be followed only by
            fields of fixed size: the block is shortened by theirs.
    """

    def __init__(self, cls: type[T], name: str, *fields: Field) -> None:
        arguments = [a.name for a in attrs.fields(cast("Any", cls)) if a.init]
        if arguments != [field.name for field in fields]:
            raise ValueError(f"{name}: the table is not in the order of {arguments}")
        self.cls: Callable[..., T] = cls
        self.name = name
        self.fields = fields
        sizes = [field.type.size for field in fields]
        if None not in sizes:
            self.size = sum(cast("list[int]", sizes))
        bounds = [field.type.max_size for field in fields]
        if None not in bounds:
            self.max_size = sum(cast("list[int]", bounds))
        fillers = [i for i, field in enumerate(fields) if field.type.variable]
        self.variable = bool(fillers)
        #: Bytes to keep for the fixed fields that follow a filling one.
        self._reserve = 0
        if fillers:
            behind = sizes[fillers[0] + 1 :]
            if None in behind:
                raise ValueError(f"{name}: only fixed-size fields may follow a filler")
            self._reserve = sum(cast("list[int]", behind))
        self._steps = tuple(_runs(fields))

    def read(self, reader: Reader) -> T:
        """Read the fields in order; an error gains the name of its field."""
        start = reader.pos
        values: list[Any] = []
        for step in self._steps:
            if isinstance(step, _Run):
                end = reader.pos + step.size
                if end > reader.end:
                    step.explain(reader)
                values += step.unpack(reader.data, reader.pos)
                reader.pos = end
                continue
            try:
                if step.type.variable and self._reserve:
                    values.append(self._read_filler(reader, step.type))
                else:
                    values.append(step.type.read(reader))
            except DecodeError as error:
                error.inside(step.name)
                raise
        try:
            return self.cls(*values)
        except ValueError as exc:
            reader.pos = start
            raise reader.fail(DecodeFault.INVALID_VALUE, str(exc)) from None

    def _read_filler(self, reader: Reader, kind: BinaryType[Any]) -> Any:
        """Read a field that fills the block, less what follows it."""
        outer, capped = reader.end, reader.capped
        reader.need(self._reserve)
        reader.end, reader.capped = outer - self._reserve, False
        value = kind.read(reader)
        reader.finish()
        reader.end, reader.capped = outer, capped
        return value

    def write(self, out: bytearray, value: T) -> None:
        """Append the fields in order; an error gains the name of its field."""
        for field in self.fields:
            try:
                field.type.write(out, getattr(value, field.name))
            except EncodeError as error:
                error.inside(field.name)
                raise

    def describe(self) -> dict[str, Any]:
        """List the fields with their offsets, as long as those are fixed."""
        offset: int | None = 0
        rows: list[dict[str, Any]] = []
        for field in self.fields:
            row: dict[str, Any] = {"name": field.name}
            if offset is not None:
                row["offset"] = offset
            rows.append(row | {"doc": field.doc, "layout": field.type.describe()})
            if offset is not None:
                size = field.type.size
                offset = None if size is None else offset + size
        layout: dict[str, Any] = {"type": "record", "name": self.name, "fields": rows}
        if self.size is not None:
            layout["size"] = self.size
        elif self.max_size is not None:
            layout["max_bytes"] = self.max_size
        return layout


class _Run:
    """Neighbouring fields of fixed width, read by one `struct` call."""

    def __init__(self, fields: Sequence[Field]) -> None:
        packed = struct.Struct(">" + "".join(_code(field.type) for field in fields))
        self.fields = fields
        self.size: Final = packed.size
        self.unpack: Final = packed.unpack_from

    def explain(self, reader: Reader) -> None:
        """Read field by field, to raise with the name of the one cut short."""
        for field in self.fields:
            try:
                field.type.read(reader)
            except DecodeError as error:
                error.inside(field.name)
                raise


def _code(kind: BinaryType[Any]) -> str:
    """Return the `struct` code of a type that any bytes are legal for, or nothing."""
    if isinstance(kind, Integer) and kind.full_range:
        return kind.code
    if isinstance(kind, FixedBytes):
        return f"{kind.count}s"
    return "?" if isinstance(kind, Bool) else ""


def _runs(fields: Sequence[Field]) -> Iterator[_Run | Field]:
    run: list[Field] = []
    for field in fields:
        if _code(field.type):
            run.append(field)
            continue
        if run:
            yield _Run(run)
            run = []
        yield field
    if run:
        yield _Run(run)


@attrs.frozen
class Case:
    """One case of a union.

    Attributes:
        tag: value of the tag.
        cls: class of the values that this case encodes.
        type: the payload.
        doc: when it is used, in one phrase.
    """

    tag: int
    cls: type[Any]
    type: BinaryType[Any]
    doc: str = ""


class Union(BinaryType[T]):
    """A tag, then the payload of the case it names."""

    def __init__(self, name: str, tag: Integer, *cases: Case) -> None:
        self.name = name
        self.tag = tag
        self.cases = cases
        self.by_tag: Mapping[int, Case] = {case.tag: case for case in cases}
        self.by_class: Mapping[type[Any], Case] = {case.cls: case for case in cases}
        self.variable = any(case.type.variable for case in cases)
        bounds = [case.type.max_size for case in cases]
        if None not in bounds:
            self.max_size = cast("int", tag.size) + max(cast("list[int]", bounds))

    def read(self, reader: Reader) -> T:
        """Read the tag, then its payload."""
        start = reader.pos
        tag = self.tag.read(reader)
        case = self.by_tag.get(tag)
        if case is None:
            reader.pos = start
            raise reader.fail(
                DecodeFault.UNEXPECTED_TAG, f"{tag:#x} is no tag of {self.name}"
            )
        return cast("T", case.type.read(reader))

    def write(self, out: bytearray, value: T) -> None:
        """Append the tag of the value's class, and the payload."""
        case = self.by_class.get(type(value))
        if case is None:
            raise EncodeError(f"{type(value).__name__} is no case of {self.name}")
        self.tag.write(out, case.tag)
        case.type.write(out, value)

    def describe(self) -> dict[str, Any]:
        """List the cases."""
        cases = [
            {"tag": case.tag, "doc": case.doc, "layout": case.type.describe()}
            for case in self.cases
        ]
        layout: dict[str, Any] = {"type": "union", "name": self.name}
        return layout | {"tag": self.tag.name, "cases": cases}
