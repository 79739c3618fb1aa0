"""The messages of an established connection, and the slot for the application's.

======  ====  =======  =================================================================
offset  size  field    meaning
======  ====  =======  =================================================================
0       4     size     uint30, of what follows; at least 2
4       2     tag      uint16
6       n     payload  exactly size - 2 bytes
======  ====  =======  =================================================================

=======  ============  =========================================================  =====
tag      name          payload                                                    total
=======  ============  =========================================================  =====
0x0001   Disconnect    none; never sent by known nodes                            6
0x0002   Bootstrap     none: "tell me points"                                     6
0x0003   Advertise     points back to back, no count; at most 100 on read         5106
0x0004   Swap_request  point, then 16 bytes of peer id                            73
0x0005   Swap_ack      point, then 16 bytes of peer id                            73
0x0010+  application   what the application's codec says                          limit
=======  ============  =========================================================  =====

"total" is the most bytes, size and tag included; "limit" is the codec's own and 6 more.
The whole message is limited to 100 MiB (104 857 600 bytes, size field included); every
tag has its own, smaller limit, checked as soon as size and tag are known.  An unknown
tag is an error after 6 bytes.  On an established connection a message that does not
decode closes it and greylists the peer (2026; in 2019 it only closed).

Source: the p2p message encodings of the reference node, 2019 and 2026; limits of
100 points and 100 MiB from 2026; a running node of 2019.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, Protocol, TypeVar, cast

import attrs

from .binary import UINT16, BinaryType
from .blocks import Items
from .hello import POINTS_MAX
from .identity import PEER_ID, PeerId
from .point import POINT, Point
from .reader import DecodeError, DecodeFault, EncodeError, Reader
from .record import Case, Field, Record, Union

M = TypeVar("M")

#: Most bytes of any message, its 4-byte size included: 100 MiB.
MESSAGE_MAX_SIZE: Final = 100 << 20
#: Bytes of the size and the tag in front of every message.
MESSAGE_HEADER_SIZE: Final = 6
#: Smallest tag that an application may use.
APPLICATION_TAG_MIN: Final = 0x10

_HEADER: Final = struct.Struct(">IH")
_pack_header: Final = _HEADER.pack


@attrs.frozen
class Disconnect:
    """Asks to end the connection; costs the sender nothing."""


@attrs.frozen
class Bootstrap:
    """Asks for points of other nodes."""


@attrs.frozen
class Advertise:
    """Tells points of other nodes.

    Attributes:
        points: at most 100; senders use at most 50.
    """

    points: tuple[Point, ...] = ()


@attrs.frozen
class SwapRequest:
    """Proposes to exchange one connection for another.

    Attributes:
        point: where the proposed peer listens.
        peer_id: the proposed peer.
    """

    point: Point
    peer_id: PeerId


@attrs.frozen
class SwapAck:
    """Agrees to an exchange of connections.

    Attributes:
        point: where the peer given in return listens.
        peer_id: the peer given in return.
    """

    point: Point
    peer_id: PeerId


#: Any message of this layer itself.
ControlMessage = Disconnect | Bootstrap | Advertise | SwapRequest | SwapAck

_SWAP: Final = (
    Field("point", POINT, "where that peer listens"),
    Field("peer_id", PEER_ID, "that peer"),
)

CONTROL: Final[Union[ControlMessage]] = Union(
    "peer message",
    UINT16,
    Case(0x01, Disconnect, Record(Disconnect, "Disconnect"), "end the connection"),
    Case(0x02, Bootstrap, Record(Bootstrap, "Bootstrap"), "tell me points"),
    Case(
        0x03,
        Advertise,
        Record(
            Advertise,
            "Advertise",
            Field("points", Items(POINT, POINTS_MAX), "other nodes, back to back"),
        ),
        "here are points",
    ),
    Case(0x04, SwapRequest, Record(SwapRequest, "Swap_request", *_SWAP), "exchange?"),
    Case(0x05, SwapAck, Record(SwapAck, "Swap_ack", *_SWAP), "exchange!"),
)


_CONTROL_CASES: Final = CONTROL.by_class


class ApplicationCodec(Protocol[M]):
    """What an application says of its messages: the slot of this layer.

    Attributes:
        limits: for each tag from 0x10 to 0xffff, the most bytes of its payload.
    """

    @property
    def limits(self) -> Mapping[int, int]:
        """Most bytes of payload, by tag."""
        ...

    def encode(self, message: M) -> tuple[int, bytes]:
        """Return tag and payload; raise `EncodeError`."""
        ...

    def decode(self, tag: int, payload: bytes) -> M:
        """Return the message; raise `DecodeError`, its offsets in the payload."""
        ...


@attrs.frozen(eq=False)
class MessageCodec(Generic[M]):
    """Reads and writes the control messages and one application's messages.

    Args:
        application: codec of the application's messages.

    Raises:
        ValueError: a tag of the application is below 0x10 or above 0xffff, or a limit
            is not between 0 and 100 MiB less the header.
    """

    application: ApplicationCodec[M]
    #: Most bytes of a message, header included, by tag.
    limits: Mapping[int, int] = attrs.field(init=False)
    _encode: Callable[[Any], tuple[int, bytes]] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Join the limits of both families."""
        limits: dict[int, int] = {}
        for case in CONTROL.cases:
            limits[case.tag] = MESSAGE_HEADER_SIZE + cast("int", case.type.max_size)
        for tag, most in self.application.limits.items():
            if not APPLICATION_TAG_MIN <= tag <= 0xFFFF:
                raise ValueError(f"application tag {tag:#x} is not in 0x10..0xffff")
            if not 0 <= most <= MESSAGE_MAX_SIZE - MESSAGE_HEADER_SIZE:
                raise ValueError(f"limit {most} of tag {tag:#x} exceeds 100 MiB")
            limits[tag] = MESSAGE_HEADER_SIZE + most
        object.__setattr__(self, "limits", limits)
        object.__setattr__(self, "_encode", self.application.encode)

    def expect(self, header: bytes) -> int | None:
        """Return the whole size of the message whose first bytes are given.

        To be asked as bytes arrive: faults of size and tag show as early as they can.
        What is inside is looked at when all of it is there: 5106 bytes at most for
        this layer's own messages.

        Args:
            header: the first bytes of a message; only the first 6 are looked at.

        Returns:
            Bytes of the message, size field included, or None when fewer than 6 bytes
            are given and they are not yet wrong.

        Raises:
            DecodeError: size below 2 or above the limit, or an unknown tag.
        """
        if len(header) >= MESSAGE_HEADER_SIZE:
            size, tag = _HEADER.unpack_from(header)
            limit = self.limits.get(tag)
        elif len(header) >= 4:
            size = int.from_bytes(header[:4], "big")
            tag, limit = None, MESSAGE_MAX_SIZE
        else:
            return None
        if size < 2:
            raise _header_fault(
                DecodeFault.NOT_ENOUGH_DATA, 0, f"size {size} has no room for a tag"
            )
        if size + 4 > MESSAGE_MAX_SIZE:
            raise _header_fault(
                DecodeFault.SIZE_LIMIT_EXCEEDED,
                0,
                f"message of {size + 4} bytes, limit {MESSAGE_MAX_SIZE}",
            )
        if limit is None:
            raise _header_fault(DecodeFault.UNEXPECTED_TAG, 4, f"unknown tag {tag:#06x}")
        if size + 4 > limit:
            raise _header_fault(
                DecodeFault.SIZE_LIMIT_EXCEEDED,
                0,
                f"message {tag:#06x} of {size + 4} bytes, limit {limit}",
            )
        return None if tag is None else size + 4

    def decode(self, data: bytes) -> ControlMessage | M:
        """Decode one whole message, size field included.

        Raises:
            DecodeError: with path and offset in ``data``.
        """
        size = self.expect(data)
        reader = Reader(data)
        if size is None or size > len(data):
            reader.need(MESSAGE_HEADER_SIZE if size is None else size)
        if size != len(data):
            reader.pos = cast("int", size)
            reader.finish()
        tag = int.from_bytes(data[4:MESSAGE_HEADER_SIZE], "big")
        return self.decode_payload(tag, data[MESSAGE_HEADER_SIZE:])

    def decode_payload(self, tag: int, payload: bytes) -> ControlMessage | M:
        """Decode what follows the header of a message that `expect` let pass.

        Raises:
            DecodeError: with path, and offset in the whole message.
        """
        try:
            if tag >= APPLICATION_TAG_MIN:
                return self.application.decode(tag, payload)
            return cast("ControlMessage", CONTROL.by_tag[tag].type.decode(payload))
        except DecodeError as error:
            error.offset += MESSAGE_HEADER_SIZE
            raise

    def encode(self, message: ControlMessage | M) -> bytes:
        """Encode one message, size field included.

        Raises:
            EncodeError: a field is out of range, the tag is not one of the codec's,
                or the message exceeds its limit.
        """
        header, payload = self.frame(message)
        return header + payload

    def frame(self, message: ControlMessage | M) -> tuple[bytes, bytes]:
        """Encode one message as header and payload, so that a big one is not copied.

        Raises:
            EncodeError: as `encode`.
        """
        case = _CONTROL_CASES.get(type(message))
        if case is not None:
            payload = case.type.encode(message)
            return _pack_header(len(payload) + 2, case.tag), payload
        tag, payload = self._encode(message)
        size = len(payload) + MESSAGE_HEADER_SIZE
        most = self.limits.get(tag)
        if most is None or tag < APPLICATION_TAG_MIN:
            raise EncodeError(f"tag {tag:#06x} is not one of the application's")
        if size > most:
            raise EncodeError(f"message {tag:#06x} of {size} bytes, limit {most}")
        return _pack_header(size - 4, tag), payload


def _header_fault(fault: DecodeFault, offset: int, detail: str) -> DecodeError:
    error = DecodeError(fault, offset, detail)
    error.inside("tag" if fault is DecodeFault.UNEXPECTED_TAG else "size")
    return error


def describe_message() -> dict[str, Any]:
    """Return the layout of a whole message as plain data."""
    control: BinaryType[Any] = CONTROL
    layout: dict[str, Any] = {"type": "dynamic", "prefix": "uint30"}
    return layout | {"of": control.describe(), "max_bytes": MESSAGE_MAX_SIZE}
