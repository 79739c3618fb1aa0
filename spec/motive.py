"""Why a node refuses another, as told in a nack.

======  =================================  ============================================
code    name                               meaning
======  =================================  ============================================
0       NO_MOTIVE                          none given; also what a v0 nack means
1       TOO_MANY_CONNECTIONS               the refusing node has enough connections
2       UNKNOWN_CHAIN_NAME                 another network
3       DEPRECATED_P2P_VERSION             no common p2p version
4       DEPRECATED_DISTRIBUTED_DB_VERSION  no common distributed-db version
5       ALREADY_CONNECTED                  connected, or connecting, to this peer
other   UNKNOWN_n                          accepted on read and kept as it is
======  =================================  ============================================

On the wire: int16, big-endian.

Source: the rejection module of the reference node, 2026.  Nodes of 2019 know no
motives.
"""

from __future__ import annotations

import enum
from typing import Final, Self, cast

from .binary import INT16
from .blocks import Mapped


class Motive(enum.IntEnum):
    """Why a connection was refused; codes without a name are kept.

    Raises:
        ValueError: not an int16.
    """

    NO_MOTIVE = 0
    TOO_MANY_CONNECTIONS = 1
    UNKNOWN_CHAIN_NAME = 2
    DEPRECATED_P2P_VERSION = 3
    DEPRECATED_DISTRIBUTED_DB_VERSION = 4
    ALREADY_CONNECTED = 5

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        # Made anew each time and registered nowhere: peers choose these codes.
        if not isinstance(value, int) or not -0x8000 <= value <= 0x7FFF:
            return None
        unknown = int.__new__(cls, value)
        unknown._name_ = f"UNKNOWN_{value}"
        unknown._value_ = value
        return unknown

    @property
    def is_known(self) -> bool:
        """Whether the code is one of the table."""
        return 0 <= self <= Motive.ALREADY_CONNECTED

    @property
    def is_version_mismatch(self) -> bool:
        """Whether the two nodes can never talk: another network or no common version."""
        return self in (
            Motive.UNKNOWN_CHAIN_NAME,
            Motive.DEPRECATED_P2P_VERSION,
            Motive.DEPRECATED_DISTRIBUTED_DB_VERSION,
        )


def _dump_motive(motive: Motive) -> int:
    # int("3") and int(1.9) would do: for callers without a type checker.
    if not isinstance(cast("object", motive), int):
        raise ValueError(f"{motive!r} is no motive")
    return int(motive)


MOTIVE: Final = Mapped("motive", INT16, Motive, _dump_motive)
