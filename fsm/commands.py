"""What the core tells a driver to do: one class per command.

A driver carries commands out, in order, and decides nothing.

==========  ============================================================================
command     to be done
==========  ============================================================================
Dial        open a TCP connection to the point; report ``link_made`` or ``link_lost``
Write       ask once for ``data_to_send`` and write it
Read        read again: the allowance was 0, and is not any more
Shut        when all that was written has left, shut the writing side down
Close       close the socket now, whatever has not left yet; report ``link_lost``
Wake        wake who waits on this link: there is something to pull, or its state changed
Accept      accept connections, or stop until further notice
Shout       send a datagram to the local network
Maintained  tell whoever called ``maintain`` that the run is over
==========  ============================================================================

A link is one TCP connection: a number, never used twice.  After ``link_lost`` there is
no Close for it: what was reported is gone, and its socket the driver's to close.

Source: our own.
"""

from __future__ import annotations

import attrs

from ..spec.point import Point


@attrs.define
class Dial:
    """Open a TCP connection.

    Attributes:
        link: its number from now on.
        point: where to.
    """

    link: int
    point: Point


@attrs.define
class Write:
    """Ask once for bytes, and write them."""

    link: int


@attrs.define
class Read:
    """Read again."""

    link: int


@attrs.define
class Shut:
    """Send no more after what was written."""

    link: int


@attrs.define
class Close:
    """Close the socket now."""

    link: int


@attrs.define
class Wake:
    """Wake whoever waits on the link."""

    link: int


@attrs.define
class Accept:
    """Accept connections, or stop.

    Attributes:
        on: whether to.
    """

    on: bool


@attrs.define
class Shout:
    """Send a datagram to the local network; if that fails, it is lost.

    Attributes:
        data: what.
    """

    data: bytes


@attrs.frozen
class Maintained:
    """Tell who asked for maintenance: the run is over.

    Attributes:
        within: whether the number of connections is within its bounds now.
    """

    within: bool


#: Any command about connections.
Command = Dial | Write | Read | Shut | Close | Wake | Accept
#: Any command of a node.
NodeCommand = Command | Shout | Maintained
