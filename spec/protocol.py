"""Protocols, as sources that a node compiles.

**Protocol**, at most 2 097 152 bytes:

======  ====  ====================  ====================================================
offset  size  field                 meaning
======  ====  ====================  ====================================================
0       2     expected_environment  uint16, version of the interface to the node
2       4     length n              uint30
6       n     components            modules back to back
======  ====  ====================  ====================================================

**Component**: uint30 length and name; ``ff`` and uint30 length and interface, or ``00``
when it has none; uint30 length and implementation.

The hash of a protocol is BLAKE2b-256 of all of that.  Environments 0 to 17 exist in
2026, in 2019 there was 0; any other is read, since the number says nothing about bytes.

A protocol may have 1024 components here: known ones have a few hundred.  The reference
does not count them, and is left with 233 000 to go through at worst.

Source: the protocol module of the reference node, 2019 and 2026, limits of 2026.  The
limit on the number of components is our own.
"""

from __future__ import annotations

from typing import Final

import attrs

from .binary import UINT16
from .blocks import BYTES, Dynamic, Items, Limited, Present
from .hashes import ProtocolHash
from .record import Field, Record

#: Most bytes of a protocol: 2 MiB.
PROTOCOL_MAX_SIZE: Final = 2 << 20
#: Most components of a protocol.
COMPONENTS_MAX: Final = 1024


def _show_source(source: bytes | None) -> str:
    return "None" if source is None else f"<{len(source)} bytes>"


@attrs.frozen
class Component:
    """One module of a protocol.

    Attributes:
        name: of the module.
        interface: its signature, if it has one.
        implementation: its source.
    """

    name: bytes
    interface: bytes | None = attrs.field(repr=_show_source)
    implementation: bytes = attrs.field(repr=_show_source)


COMPONENT: Final = Record(
    Component,
    "component",
    Field("name", BYTES, "of the module"),
    Field("interface", Present(BYTES), "its signature, if it has one"),
    Field("implementation", BYTES, "its source"),
)


@attrs.frozen
class Protocol:
    """The sources of a protocol.

    Attributes:
        expected_environment: version of the interface between it and the node.
        components: its modules, at most 1024.
    """

    expected_environment: int
    components: tuple[Component, ...]

    @property
    def hash(self) -> ProtocolHash:
        """The name of the protocol; worked out each time, from up to 2 MiB.

        Raises:
            EncodeError: a field is out of range.
        """
        return ProtocolHash.of(PROTOCOL.encode(self))


PROTOCOL: Final = Limited(
    PROTOCOL_MAX_SIZE,
    Record(
        Protocol,
        "protocol",
        Field("expected_environment", UINT16, "version of its interface to the node"),
        Field("components", Dynamic(Items(COMPONENT, COMPONENTS_MAX)), "its modules"),
    ),
)
