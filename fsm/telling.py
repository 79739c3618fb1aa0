"""How the parts of a node word for observers what has happened.

Source: the pool-event and log modules of the reference node, 2026.
"""

from __future__ import annotations

from typing import Any

from ..spec.asides import AcceptFailed, AttemptFailed, Greylisted
from ..spec.identity import PeerId
from ..spec.limits import Limits
from ..spec.motive import Motive
from ..spec.point import Point
from ..spec.pool_events import (
    AcceptingRequest,
    ConnectionEstablished,
    Disconnected,
    MaintenanceEnded,
    MaintenanceStarted,
    PoolEvent,
    RejectingRequest,
    RequestRejected,
    TooFewConnections,
    TooManyConnections,
)
from ..spec.reasons import Disconnection
from .admission import Attempt, Candidate
from .maintenance import Cause, Ended, Started, TooFew, TooMany
from .pool import Running


def of_maintenance(told: Started | TooFew | TooMany | Ended, limits: Limits) -> PoolEvent:
    """Word what maintenance tells.

    Args:
        told: that.
        limits: of the node.
    """
    match told:
        case Started(cause):
            idle = limits.maintenance_idle_time if cause is Cause.TIMER else None
            return MaintenanceStarted(motive=cause.value, idle_time=idle)
        case TooFew(active):
            return TooFewConnections(active=active)
        case TooMany(active):
            return TooManyConnections(active=active)
        case _:
            return MaintenanceEnded(duration=told.duration)


def _who(attempt: Attempt[Any]) -> PeerId | None:
    return None if attempt.peer is None else attempt.peer.peer_id


def not_accepted(error: int) -> PoolEvent:
    """Word that the system has given us no connection: an ``errno``."""
    return AcceptFailed(error)


def accepting(candidate: Candidate[Any], remote_point: Point) -> PoolEvent:
    """Word that we accept somebody."""
    point = candidate.point
    return AcceptingRequest(
        remote_point,
        candidate.id_point,
        candidate.remote.peer_id,
        expected=point is not None and point.expected is not None,
    )


def rejecting(
    candidate: Candidate[Any], remote_point: Point, motive: Motive
) -> PoolEvent:
    """Word that we refuse somebody."""
    request = remote_point, candidate.id_point, candidate.remote.peer_id
    return RejectingRequest(*request, motive=motive)


def established(running: Running[Any]) -> PoolEvent:
    """Word that messages may flow."""
    return ConnectionEstablished(
        running.id_point,
        running.peer.peer_id,
        incoming=running.incoming,
        private=running.private,
        version=running.version,
    )


def disconnected(attempt: Attempt[Any], why: Disconnection) -> PoolEvent:
    """Word that what was running is over."""
    assert attempt.peer is not None
    return Disconnected(attempt.peer.peer_id, id_point=attempt.id_point, why=why)


def failed(attempt: Attempt[Any], why: Disconnection) -> PoolEvent:
    """Word that an attempt has come to nothing."""
    return AttemptFailed(attempt.remote_point, attempt.incoming, why, _who(attempt))


def rejected(attempt: Attempt[Any]) -> PoolEvent:
    """Word that an incoming attempt has come to nothing after our acceptance."""
    return RequestRejected(attempt.remote_point, attempt.id_point, _who(attempt))


def greylisted(attempt: Attempt[Any], why: Disconnection) -> PoolEvent:
    """Word that whoever is behind an attempt is banned for a while."""
    return Greylisted(attempt.remote_point, why, _who(attempt))
