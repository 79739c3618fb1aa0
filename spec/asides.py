"""What a node tells observers in the same process beside the stream of its pool.

===================  ====================  =============================================
kind                 attributes            told when
===================  ====================  =============================================
attempt_failed       point, incoming,      a dial or a handshake has come to nothing,
                     peer_id?, why         also if one side has refused the other
greylisted           point, peer_id?, why  somebody is banned for a while, automatically
accept_failed        error                 the system gives no connection: an ``errno``
neighbour            point                 somebody of the local network has told of it
private_asked        source, message,      a node that keeps to itself was asked, or asks:
                     theirs                once for each connection and kind of message
===================  ====================  =============================================

They come in the same ring and the same order as the events of `pool_events`, and have no
number: the reference has them in its log only.  What writes the pool's stream for others
leaves them out: they are of the class `Aside`.

Source: the log events of the reference node, 2026.
"""

from __future__ import annotations

import attrs

from .identity import PeerId
from .point import Point
from .pool_events import PoolEvent
from .reasons import Disconnection


class Aside(PoolEvent):
    """What is not on the pool's stream."""

    __slots__ = ()
    tag = None


@attrs.frozen(weakref_slot=False)
class AttemptFailed(Aside):
    """An attempt has come to nothing.

    Attributes:
        point: remote end of the socket if incoming, else the point that was dialled.
        incoming: whether they have dialled.
        why: what has ended it.
        peer_id: who they are, if we had accepted them.
    """

    name = "attempt_failed"
    point: Point
    incoming: bool
    why: Disconnection
    peer_id: PeerId | None = None


@attrs.frozen(weakref_slot=False)
class Greylisted(Aside):
    """An address, and the peer there if we had accepted it, is banned for a while.

    Attributes:
        point: remote end of the socket if incoming, else the point that was dialled.
        why: what for.
        peer_id: who that is, if it is known.
    """

    name = "greylisted"
    point: Point
    why: Disconnection
    peer_id: PeerId | None = None


@attrs.frozen(weakref_slot=False)
class AcceptFailed(Aside):
    """The system has failed to give us a connection that somebody has made.

    Attributes:
        error: its ``errno``.
    """

    name = "accept_failed"
    error: int


@attrs.frozen(weakref_slot=False)
class Neighbour(Aside):
    """Somebody of the local network has told us where it listens.

    Attributes:
        point: there; it was not known before.
    """

    name = "neighbour"
    point: Point


@attrs.frozen(weakref_slot=False)
class PrivateAsked(Aside):
    """A message that is not for, or not of, a node that keeps to itself was ignored.

    Told with the first of its kind on a connection only: who goes on costs no more lines.

    Attributes:
        source: whose message it was.
        message: its kind, ``bootstrap`` or another of this layer's own.
        theirs: whether they are the private node, not we.
    """

    name = "private_asked"
    source: PeerId
    message: str
    theirs: bool
