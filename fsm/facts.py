"""What becomes of links, as far as others than the reception have to know.

Source: our own.
"""

from __future__ import annotations

from typing import Generic, TypeVar

import attrs

from ..spec.address import Address
from ..spec.identity import PeerId
from ..spec.message import ControlMessage
from ..spec.point import Point
from ..spec.reasons import Disconnection
from .admission import Attempt
from .pool import Running

Meta = TypeVar("Meta")


@attrs.frozen
class Begun(Generic[Meta]):
    """A link runs."""

    attempt: Attempt[Meta]
    running: Running[Meta]


@attrs.frozen
class Over(Generic[Meta]):
    """A link is over, and why; ``ran``: it was running."""

    attempt: Attempt[Meta]
    ran: bool
    why: Disconnection


@attrs.frozen
class Heard(Generic[Meta]):
    """A message of this layer itself."""

    attempt: Attempt[Meta]
    message: ControlMessage


@attrs.frozen
class Taught:
    """Points that somebody has told us of, with a refusal."""

    source: Address
    peer_id: PeerId
    points: tuple[Point, ...]

    @property
    def told(self) -> tuple[Address, PeerId, tuple[Point, ...]]:
        """By whom at which address, and of what."""
        return self.source, self.peer_id, self.points


#: Any of them.
Fact = Begun[Meta] | Over[Meta] | Heard[Meta] | Taught
