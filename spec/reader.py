"""A cursor over bytes that never leaves its block, and errors that say where.

Whatever is read is checked against the block around it first; a length prefix is
checked before anything of that length is touched.  An error names the kind of fault,
the path of the field (``points[3]``, ``version.chain_name``) and the offset in the bytes
given; the path is put together only when there is an error.

Source: our own; the kinds of faults are those of the reference's ``data-encoding``, as
far as messages between peers can meet them.
"""

from __future__ import annotations

import enum
import struct
from typing import Final

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

    def __reduce__(self) -> tuple[object, ...]:
        """Say how to make it again elsewhere."""
        return type(self), (self.fault, self.offset, self.detail), self.__dict__

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
        pos, end = self.pos + 4, self.end
        if pos <= end:
            size: int = _U32.unpack_from(self.data, self.pos)[0]
            if pos + size <= end:
                self.pos = pos
                return size
        self.need(4)
        size = _U32.unpack_from(self.data, self.pos)[0]
        if size >> 31:
            raise self.fail(DecodeFault.INVALID_INT, f"length {size} has its top bit set")
        error = self.fail(
            DecodeFault.NOT_ENOUGH_DATA,
            f"length prefix says {size} bytes, {end - pos} left",
        )
        error.capped = self.capped
        raise error

    def finish(self) -> None:
        """Raise if anything is left in the block."""
        if self.pos != self.end:
            raise self.fail(DecodeFault.EXTRA_BYTES, f"{self.end - self.pos} left over")
