"""Messages as tables: records of fields, and unions of cases.

A `Record` is a class and the table of its fields in wire order; a `Union` is a tag and
the table of its cases.  Encoder, decoder, printed layout and documentation all derive
from the table, so none can disagree with another.

A field that fills its block (a tail, a list) may be followed only by fields of fixed
size: the block is shortened by theirs.  Neighbouring fields of fixed width are read in
one step.

Source: the object and union conventions of the reference's ``data-encoding``.
"""

from __future__ import annotations

import functools
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar, cast

import attrs

from .binary import BinaryType, Bool, FixedBytes, Integer
from .reader import DecodeError, DecodeFault, EncodeError, Reader

T = TypeVar("T")


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
        #: (size, struct reader, run), or (0, reader of the field's type, field).
        self._steps = tuple(self._step(step) for step in _runs(fields))

    def _step(self, step: _Run | Field) -> tuple[int, Callable[..., Any], Any]:
        if isinstance(step, _Run):
            return step.size, step.unpack, step
        if step.type.variable and self._reserve:
            return 0, functools.partial(self._read_filler, step.type), step
        return 0, step.type.read, step

    def read(self, reader: Reader) -> T:
        """Read the fields in order; an error gains the name of its field."""
        start = reader.pos
        values: list[Any] = []
        for size, read, step in self._steps:
            if size:
                end = reader.pos + size
                if end > reader.end:
                    step.explain(reader)
                values += read(reader.data, reader.pos)
                reader.pos = end
                continue
            try:
                values.append(read(reader))
            except DecodeError as error:
                error.inside(step.name)
                raise
        try:
            return self.cls(*values)
        except ValueError as exc:
            reader.pos = start
            raise reader.fail(DecodeFault.INVALID_VALUE, str(exc)) from None

    def _read_filler(self, kind: BinaryType[Any], reader: Reader) -> Any:
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
