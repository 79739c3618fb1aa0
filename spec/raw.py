"""Messages that are nothing but bytes: the ready-made codec for experiments and tests.

Every message is the payload of one tag, by default the smallest that an application
may use, and any number of bytes up to a limit.

Source: our own.  Other nodes close the connection at a tag that they do not know.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from .message import APPLICATION_TAG_MIN
from .reader import EncodeError

#: Most bytes of a raw message unless told otherwise: 8 MiB.
RAW_MAX_SIZE = 8 << 20


@attrs.frozen
class RawCodec:
    """Codec of messages that are ``bytes``.

    Args:
        tag: of all messages, 0x10 to 0xffff.
        most: bytes of the longest.
    """

    tag: int = APPLICATION_TAG_MIN
    most: int = RAW_MAX_SIZE

    @property
    def limits(self) -> Mapping[int, int]:
        """Most bytes of payload, by tag."""
        return {self.tag: self.most}

    def encode(self, message: bytes) -> tuple[int, bytes]:
        """Return the tag and the message itself.

        Raises:
            EncodeError: the message is no ``bytes``.
        """
        if type(message) is not bytes:
            raise EncodeError(f"a raw message is bytes, not {type(message).__name__}")
        return self.tag, message

    def decode(self, tag: int, payload: bytes) -> bytes:  # noqa: ARG002  # there is one
        """Return the payload itself."""
        return payload
