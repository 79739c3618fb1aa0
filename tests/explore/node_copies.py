"""Copies and images of whole object graphs: a node with all of its parts.

A node is a graph and no tree: its parts know each other, and some hold bound methods of
others, or functions that know them.  So a copy remembers what it has copied, and an image
says where something comes again.  What never changes is shared: values of the protocol,
frozen classes.

An image is all that a copy would copy, as nested tuples, but for what is left out by
name, each with the reason.  A member that is new to a class so belongs to the image until
somebody says why not; one that is left out and not there (any more) is an error.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Iterable, Mapping
from enum import Enum
from types import BuiltinFunctionType, CellType, FunctionType, MethodType, NoneType
from typing import Any, Final

import attrs
from explorer import slots_of

_ATOMS: Final = (NoneType, bool, int, float, str, bytes, Enum, tuple, frozenset)
_CODE: Final = (BuiltinFunctionType, type)
_DICTS: Final = (dict, OrderedDict)

_Copy = Callable[[Any, dict[int, Any]], Any]
_Image = Callable[[Any, dict[int, int]], Hashable]


def _is_frozen(cls: type) -> bool:
    return attrs.has(cls) and cls.__setattr__ is not object.__setattr__


def _hashes_by_value(cls: type) -> bool:
    return cls.__hash__ is not None and cls.__hash__ is not object.__hash__


class Copier:
    """Copies graphs of slotted objects, and takes their images.

    Args:
        shared: classes whose instances never change, or only in ways that decide
            nothing; beside those that are frozen.
        passing: frozen classes that hold what changes: none of them may be met.
        left_out: for classes the slots that an image leaves out, and why.
        looks: classes whose instances have an image of their own making.

    Raises:
        TypeError: something is left out that is not there.
    """

    def __init__(
        self,
        shared: Iterable[type],
        passing: Iterable[type],
        left_out: Mapping[type, Mapping[str, str]],
        looks: Mapping[type, Callable[[Any], Hashable]],
    ) -> None:
        self._shared = (*_ATOMS, *_CODE, *shared)
        self._passing = tuple(passing)
        self._left_out = left_out
        for cls, names in left_out.items():
            if gone := [name for name in names if name not in slots_of(cls)]:
                raise TypeError(f"{cls.__name__}: {gone} are left out, and not there")
        # None: shared, or its own image.
        self._copies: dict[type, _Copy | None] = {
            bytearray: lambda value, _: bytearray(value),
            deque: self._copy_deque,
            list: self._copy_list,
            set: lambda value, _: set(value),
            FunctionType: self._copy_function,
            MethodType: self._copy_method,
            **dict.fromkeys(_DICTS, self._copy_dict),
        }
        self._images: dict[type, _Image | None] = {
            bytearray: lambda value, _: bytes(value),
            deque: self._image_sequence,
            list: self._image_sequence,
            set: lambda value, _: frozenset(value),
            tuple: self._image_sequence,
            FunctionType: lambda value, seen: (
                value.__code__,
                self._image(_known_to(value), seen),
            ),
            MethodType: lambda value, seen: (
                value.__func__,
                self._image(value.__self__, seen),
            ),
            **dict.fromkeys(_DICTS, self._image_dict),
            **{cls: _looking(look) for cls, look in looks.items()},
        }

    def copy(self, value: Any) -> Any:
        """Return a copy that shares nothing changeable with ``value``.

        Raises:
            TypeError: it holds something of a type that is not known.
        """
        return self._copy(value, {})

    def image(self, value: Any) -> Hashable:
        """Return what decides how ``value`` goes on: equal if alike."""
        return self._image(value, {})

    # -- copies ------------------------------------------------------------------------

    def _copy(self, value: Any, done: dict[int, Any]) -> Any:
        cls = value.__class__
        try:
            how = self._copies[cls]
        except KeyError:
            how = self._copies[cls] = self._how(cls)
        if how is None:
            return value
        known = done.get(id(value))
        return how(value, done) if known is None else known

    def _how(self, cls: type) -> _Copy | None:
        if issubclass(cls, self._passing):
            raise TypeError(f"a {cls.__name__} is not to be met between two steps")
        if issubclass(cls, self._shared) or _is_frozen(cls):
            return None
        names, make, copies = slots_of(cls), cls.__new__, self._copies

        def copy(value: Any, done: dict[int, Any]) -> Any:
            new = done[id(value)] = make(cls)
            for name in names:
                member = getattr(value, name)
                # Most members are shared: no call for those.
                if copies.get(member.__class__, self) is not None:
                    member = self._copy(member, done)
                setattr(new, name, member)
            return new

        return copy

    def _copy_list(self, value: list[Any], done: dict[int, Any]) -> Any:
        new = done[id(value)] = []
        new.extend(self._copy(item, done) for item in value)
        return new

    def _copy_deque(self, value: deque[Any], done: dict[int, Any]) -> Any:
        new: deque[Any] = deque(maxlen=value.maxlen)
        done[id(value)] = new
        new.extend(self._copy(item, done) for item in value)
        return new

    def _copy_dict(self, value: dict[Any, Any], done: dict[int, Any]) -> Any:
        new = done[id(value)] = type(value)()
        for key, item in value.items():
            new[key] = self._copy(item, done)
        return new

    def _copy_function(self, value: FunctionType, done: dict[int, Any]) -> Any:
        known = _known_to(value)
        copied = [self._copy(each, done) for each in known]
        if all(new is old for new, old in zip(copied, known, strict=True)):
            return value
        return done.setdefault(
            id(value),
            FunctionType(
                value.__code__,
                value.__globals__,
                value.__name__,
                value.__defaults__,
                tuple(map(CellType, copied)),
            ),
        )

    def _copy_method(self, value: MethodType, done: dict[int, Any]) -> Any:
        return MethodType(value.__func__, self._copy(value.__self__, done))

    # -- images ------------------------------------------------------------------------

    def _image(self, value: Any, seen: dict[int, int]) -> Hashable:
        cls = value.__class__
        try:
            how = self._images[cls]
        except KeyError:
            how = self._images[cls] = self._look(cls)
        return value if how is None else how(value, seen)

    def _look(self, cls: type) -> _Image | None:
        plain = issubclass(cls, self._shared) or _is_frozen(cls)
        if plain and (_hashes_by_value(cls) or not attrs.has(cls)):
            return None
        if plain and issubclass(cls, self._shared):
            return None  # one object for all worlds: it is its own image
        bases = [base for base in cls.__mro__ if base in self._left_out]
        left_out = {name for base in bases for name in self._left_out[base]}
        names = [name for name in slots_of(cls) if name not in left_out]
        images = self._images

        def image(value: Any, seen: dict[int, int]) -> Hashable:
            where = seen.get(id(value))
            if where is not None:
                return ("again", where)
            seen[id(value)] = len(seen)
            parts: list[Hashable] = [cls]
            for name in names:
                member = getattr(value, name)
                if images.get(member.__class__, self) is not None:
                    member = self._image(member, seen)
                parts.append(member)
            return tuple(parts)

        return image

    def _image_sequence(self, value: Iterable[Any], seen: dict[int, int]) -> Hashable:
        return tuple([self._image(item, seen) for item in value])

    def _image_dict(self, value: dict[Any, Any], seen: dict[int, int]) -> Hashable:
        return tuple([(key, self._image(item, seen)) for key, item in value.items()])


def _known_to(function: FunctionType) -> list[Any]:
    return [cell.cell_contents for cell in function.__closure__ or ()]


def _looking(look: Callable[[Any], Hashable]) -> _Image:
    return lambda value, _: look(value)
