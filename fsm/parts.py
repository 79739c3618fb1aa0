"""How the parts of a node are made of its settings; what none of them decides.

Source: the limits and thresholds of the reference node, 2026.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import attrs

from ..spec.message import MessageCodec
from .acl import Acl
from .admission import Rules
from .answerer import Answerer
from .bandwidth import UNIT_MAX, Shares, unit_of
from .discovery import Discovery
from .diversity import Diversity, Eviction
from .local import Local
from .maintenance import Bounds, Maintenance
from .point import PointInfo
from .pool import Pool
from .reception import Reception
from .settings import Settings
from .steward import Steward
from .surroundings import Surroundings
from .survey import Survey
from .traffic import Traffic
from .welcome import Welcome
from .wishes import Wishes
from .worker import Worker, Workers

M = TypeVar("M")
Meta = TypeVar("Meta")


@attrs.frozen
class Parts(Generic[M, Meta]):
    """What `node.Node` composes."""

    traffic: Traffic[M]
    reception: Reception[M, Meta]
    welcome: Welcome
    maintenance: Maintenance
    answerer: Answerer
    discovery: Discovery | None
    world: Surroundings[Meta]
    workers: Workers
    steward: Steward[Meta]
    survey: Survey[Meta]
    wishes: Wishes


def assemble(
    local: Local,
    codec: MessageCodec[M],
    settings: Settings[Meta],
    diversity: Diversity | None,
) -> Parts[M, Meta]:
    """Make the parts of one node."""
    limits, idle_time = local.limits, local.limits.maintenance_idle_time
    most = limits.max_connections
    bounds = Bounds(limits.min_connections, limits.expected_connections, most)
    # Without maintenance nobody trims what exceeds the threshold.
    threshold = most if idle_time is None else bounds.max_threshold
    acl = Acl(limits)
    pool = Pool(
        limits,
        settings.new_metadata,
        settings.score,
        settings.random,
        settings.backoff,
        local.runner,
        *(() if diversity is None else (_keeper(diversity),)),
    )
    up, down = limits.max_upload_speed, limits.max_download_speed
    traffic = Traffic[M](
        _shares(up, settings),
        _shares(down, settings),
        up is not None,
        down is not None,
        max(1, UNIT_MAX - (limits.binary_chunks_size or UNIT_MAX)),
        unit_of(_bytes(down)),
    )
    rules = Rules(threshold, most, settings.private_mode)
    reception = Reception(local, codec, settings, rules, pool, acl, traffic, diversity)
    world = Surroundings(
        pool,
        acl,
        diversity,
        bounds,
        settings.private_mode,
        settings.random,
        settings.random_inside,
        reception.places,
        most,
        settings.policy,
        settings.score,
        reception.is_open,
        0 if idle_time is None else bounds.max_target,
    )
    maintenance = Maintenance(
        bounds=bounds,
        world=world,
        random=settings.random_inside,
        idle_time=idle_time,
        private_mode=settings.private_mode,
        swaps=limits.swap_linger is not None,
        # By more than what a network takes.
        spread=0.25,
        runner=local.runner,
    )
    answerer = Answerer(
        world,
        limits.swap_linger,
        settings.private_mode,
        settings.discovers,
        bounds.min_connections,
        bounds.max_threshold,
        local.runner,
        reception.tally,
    )
    discovery = None
    # Who is private hides, and without maintenance nobody needs neighbours.
    if settings.nearby and not settings.private_mode and idle_time is not None:
        discovery = Discovery(
            local.identity.peer_id, settings.listening or local.port, local.runner
        )
    welcome = Welcome(local.runner)
    attempts, wishes = reception.attempts, Wishes()
    working: dict[str, Worker] = {"welcome": welcome, "maintenance": maintenance}
    if discovery is not None:
        working["discovery"] = discovery
    return Parts(
        traffic,
        reception,
        welcome,
        maintenance,
        answerer,
        discovery,
        world,
        Workers(working, local.runner),
        Steward(pool, acl, attempts),
        Survey(local, pool, traffic, attempts, settings.score, wishes),
        wishes,
    )


def _keeper(diversity: Diversity) -> Callable[[PointInfo, float], bool]:
    def worth_keeping(info: PointInfo, now: float) -> bool:
        # Not `last_seen` and `last_miss`: who comes to us proves no port, and who comes
        # and goes has not missed.
        advice = diversity.may_evict(info.point, info.reached, info.last_failed, now)
        return advice is not Eviction.YES

    return worth_keeping


def _bytes(speed: int | None) -> int | None:
    # The limit is in KiB.
    return None if speed is None else speed * 1024


def _shares(speed: int | None, settings: Settings[Any]) -> Shares:
    return Shares(_bytes(speed), settings.shares, 0.0)
