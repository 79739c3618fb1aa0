"""A core for lone connections that also tells of sockets, and how to drive it.

The core's own events begin with the first message of the other side.  Who shows people
what happens wants to know before: has anybody answered, and where?  ``connect`` and
``listen`` of the drivers make their cores themselves; the functions here take one.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Final

import attrs

from ..fsm.local import Local
from ..fsm.solo import Solo
from ..spec.identity import PeerId
from ..spec.message import CONTROL, MessageCodec
from ..spec.point import Point
from ..spec.shell import SHELL_CODEC, SHELL_MESSAGES, ShellMessage
from . import aio, aio_driver, blocking, blocking_driver

#: Called with a link and what has happened on it.
Tell = Callable[[int, Any], object]

_NAMES: Final[dict[type[Any], str]] = {
    **{case.cls: case.type.describe()["name"] for case in CONTROL.cases},
    **{case.cls: name for name, case in SHELL_MESSAGES.items()},
}


def message_name(message: Any) -> str:
    """Return the name of a message, as the tables of the spec package give it."""
    return _NAMES[type(message)]


@attrs.frozen
class Connected:
    """There is a TCP connection: the first that is told of a link.

    Attributes:
        point: the other end of it.
        incoming: whether the other side has dialled.
        at: monotonic seconds.
    """

    point: Point
    incoming: bool
    at: float


@attrs.frozen
class TurnedAway:
    """Somebody's connection was closed at once: too many handshakes are in progress.

    Attributes:
        point: the other end of it.
        at: monotonic seconds.
    """

    point: Point
    at: float


class Watched(Solo[ShellMessage]):
    """Lone connections with the shell's messages.

    Args:
        local: what we are.
        tell: called with every event, the core's own included; must not block or raise.
    """

    def __init__(self, local: Local, tell: Tell) -> None:
        super().__init__(local, MessageCodec(SHELL_CODEC))
        self.tell = tell

    def accept(self, remote: Point, now: float) -> int | None:
        """Take in a TCP connection, and tell of it."""
        link = super().accept(remote, now)
        if link is None:
            self.tell(0, TurnedAway(remote, now))
        else:
            self.tell(link, Connected(remote, True, now))
        return link

    def link_made(self, link: int, now: float) -> None:
        """Take note that a dial has succeeded, and tell of it."""
        self.tell(link, Connected(self.point(link), False, now))
        super().link_made(link, now)


async def dial_aio(
    core: Watched, point: Point, expected: PeerId | None
) -> aio.Connection[ShellMessage]:
    """Dial a point over asyncio and shake hands.

    Raises:
        ConnectionEnded: as `aio.connect`.
    """
    return await aio.dial(aio_driver.Driver(core, core.tell), point, expected)


def dial_blocking(
    core: Watched, point: Point, expected: PeerId | None, *, thread: bool = True
) -> blocking.Connection[ShellMessage]:
    """Dial a point over blocking calls and shake hands.

    Raises:
        ConnectionEnded: as `blocking.connect`.
    """
    return blocking.dial(blocking_driver.Driver(core, core.tell, thread), point, expected)


def listen_aio(core: Watched, door: socket.socket) -> aio.Listener[ShellMessage]:
    """Accept connections on a listening socket, over the running asyncio loop."""
    return aio.Listener(aio_driver.Driver(core, core.tell), door)


def listen_blocking(
    core: Watched, door: socket.socket
) -> blocking.Listener[ShellMessage]:
    """Accept connections on a listening socket, over a thread."""
    return blocking.Listener(blocking_driver.Driver(core, core.tell), door)
