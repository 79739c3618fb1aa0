"""What a driver asks of a core: the verbs that lone connections and nodes share.

Nothing here does I/O.
"""

from __future__ import annotations

from typing import Any, Protocol

from ..spec.point import Point
from ..spec.reasons import Direction


class Core(Protocol):
    """`fsm.solo.Solo` or `fsm.node.Node`; see there."""

    @property
    def pending(self) -> bool:
        """Whether there is anything to carry out."""
        ...

    def __contains__(self, link: int) -> bool:
        """Whether a link is not forgotten."""
        ...

    def __len__(self) -> int:
        """How many links are not forgotten."""
        ...

    def stop(self, now: float, deadline: float | None = None) -> None:
        """End everything."""
        ...

    def accept(self, remote: Point, now: float) -> int | None:
        """Take in a connection."""
        ...

    def accept_failed(self, error: int, now: float) -> None:
        """Take note that accepting has failed."""
        ...

    def link_made(self, link: int, now: float) -> None:
        """Take note that a dial has succeeded."""
        ...

    def link_lost(
        self, link: int, error: int | None, now: float, direction: Direction = ...
    ) -> None:
        """Take note that a socket is gone."""
        ...

    def receive_data(
        self, link: int, data: bytes | bytearray | memoryview, now: float
    ) -> None:
        """Take bytes."""
        ...

    def writable(self, link: int, now: float) -> None:
        """Take note that a socket takes bytes again."""
        ...

    def read_allowance(self, link: int, now: float) -> int:
        """Return how many bytes may be read now."""
        ...

    def pieces_to_send(self, link: int, room: int, now: float) -> list[bytes]:
        """Return bytes for one Write."""
        ...

    def next_command(self) -> Any:
        """Return what is to be done next, or None."""
        ...

    def next_event(self) -> Any:
        """Return what the application is told next, or None."""
        ...

    def next_timeout(self) -> float | None:
        """Return when `handle_timeout` has something to do, or None."""
        ...

    def handle_timeout(self, now: float) -> None:
        """Do what is due."""
        ...
