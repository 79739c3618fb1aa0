"""What an operator may see of a node: figures, connections, what is known of whom.

Nothing here changes anything.  The shapes are those of the admin interface (`spec.rpc`);
their moments are seconds of the epoch, so whoever asks says what the clock on the wall
shows.  Of every list one line is made at a time: a node with thousands of them is not to
be held up by who looks at it.

Source: the statistics, peer and point information of the reference node, 2026.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, Generic, TypeVar

import attrs

from ..spec import rpc
from ..spec.identity import PeerId
from ..spec.version import Version
from . import peer as peers
from . import point as points
from .admission import Attempt
from .local import Local
from .pool import Pool, Running
from .traffic import Traffic

Meta = TypeVar("Meta")

#: Greatest number of bytes a second that the interface can say.
_INT31: Final = (1 << 30) - 1

_PEER_STATES: Final = {each: rpc.PeerState[each.name] for each in peers.State}
_POINT_STATES: Final = {each: rpc.PointStateKind[each.name] for each in points.State}


@attrs.define(eq=False)
class Survey(Generic[Meta]):
    """Looks at one node.

    Args:
        local: what we are.
        pool: who is known and connected.
        traffic: how bytes move.
        attempts: of every link.
        score: of a peer, from what is remembered.
    """

    _local: Local
    _pool: Pool[Meta]
    _traffic: Traffic[Any]
    _attempts: Mapping[int, Attempt[Meta]]
    _score: Callable[[Meta], float]

    @property
    def peer_id(self) -> PeerId:
        """Who we are."""
        return self._local.identity.peer_id

    @property
    def version(self) -> Version:
        """What we announce."""
        return self._local.network.announced

    def stat(self, now: float) -> rpc.Stat:
        """Return what all connections together have moved, and how fast lately."""
        up, down = self._traffic.up.total(now), self._traffic.down.total(now)
        return _stat(up.total, down.total, up.average, down.average)

    def stat_of(self, link: int, now: float) -> rpc.Stat:
        """Return what a connection has moved, and how fast lately; it must run."""
        up = self._traffic.up.stat(link, now)
        down = self._traffic.down.stat(link, now)
        return _stat(up.total, down.total, up.average, down.average)

    def connection(self, running: Running[Meta]) -> rpc.ConnectionInfo:
        """Return what there is to say of a connection that runs."""
        return rpc.ConnectionInfo(
            incoming=running.incoming,
            peer_id=running.peer.peer_id,
            id_point=running.id_point,
            remote_socket_port=self._attempts[running.link].remote_point.port,
            announced_version=running.remote.message.version,
            private=running.private,
            local_metadata=self._local.metadata,
            remote_metadata=running.remote.metadata,
        )

    def peer(self, info: peers.PeerInfo[Meta], now: float, wall: float) -> rpc.PeerInfo:
        """Return what is known of a peer.

        Args:
            info: the pool's.
            now: the present.
            wall: the same, as seconds of the epoch.
        """

        def last(contact: peers.Contact | None) -> rpc.LastContact | None:
            if contact is None:
                return None
            return contact.id_point, rpc.Timestamp(wall + (contact.at - now))

        running = self._pool.by_peer(info.peer_id)
        return rpc.PeerInfo(
            score=rpc.Score(self._score(info.metadata)),
            trusted=info.trusted,
            conn_metadata=None if running is None else running.remote.metadata,
            peer_metadata=info.metadata,
            state=_PEER_STATES[info.state],
            reachable_at=info.id_point,
            stat=rpc.NO_STAT if running is None else self.stat_of(running.link, now),
            last_failed_connection=last(info.last_failed),
            last_rejected_connection=last(info.last_rejected),
            last_established_connection=last(info.last_established),
            last_disconnection=last(info.last_disconnection),
            last_seen=last(info.last_seen),
            last_miss=last(info.last_miss),
        )

    def point(self, info: points.PointInfo, now: float, wall: float) -> rpc.PointInfo:
        """Return what is known of a point; see `peer`."""

        def at(moment: float | None) -> rpc.Timestamp | None:
            return None if moment is None else rpc.Timestamp(wall + (moment - now))

        def last(meeting: points.Meeting | None) -> rpc.LastMeeting | None:
            if meeting is None:
                return None
            return meeting.peer_id, rpc.Timestamp(wall + (meeting.at - now))

        return rpc.PointInfo(
            trusted=info.trusted,
            greylisted_until=at(info.retry_at),
            state=rpc.PointState(_POINT_STATES[info.state], info.peer_id),
            p2p_peer_id=info.peer_id,
            last_failed_connection=at(info.last_failed),
            last_rejected_connection=last(info.last_rejected),
            last_established_connection=last(info.last_established),
            last_disconnection=last(info.last_disconnection),
            last_seen=last(info.last_seen),
            last_miss=at(info.last_miss),
            expected_peer_id=info.expected,
        )


def _stat(sent: int, received: int, up: int, down: int) -> rpc.Stat:
    inflow, outflow = min(down, _INT31), min(up, _INT31)
    return rpc.Stat(rpc.Int64(sent), rpc.Int64(received), inflow, outflow)


#: What is said of a point of which nothing is known.
UNKNOWN_POINT: Final = rpc.PointInfo(
    trusted=False, state=rpc.PointState(rpc.PointStateKind.DISCONNECTED)
)
