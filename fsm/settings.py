"""What makes one node differ from another beside its identity, network and limits.

Source: the p2p section of the reference node's configuration; policies and diversity are
our own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Literal, TypeVar

import attrs

from ..spec.identity import PeerId
from ..spec.point import Point
from .point import Backoff
from .policy import FAIR, PeerPolicy

Meta = TypeVar("Meta")


@attrs.frozen(kw_only=True)
class Settings(Generic[Meta]):
    """Settings of a node.

    Attributes:
        new_metadata: makes what is remembered of a peer that was never met.
        score: of a peer, from what is remembered; higher is better, 1.0 neutral.
        policy: what a score buys.
        shares: whether bandwidth is shared evenly, or by the policy's weights.
        random: what peers can observe is drawn from here: lists of points, swaps.
        random_inside: what they cannot: whom to drop, whom to dial.
        trusted: points that are known and trusted from the start, and who is expected
            there, or None.
        private_mode: connect to trusted points only, and admit only the trusted.
        discovers: whether lists of points are asked for, given and learned from.
        nearby: whether the local network is told where we listen, and listened to; in
            private mode and without maintenance it is neither.
        listening: TCP port of which the local network is told, if it is another than the
            announced one, else 0.
        backoff: when a point is dialled again.
    """

    new_metadata: Callable[[], Meta]
    score: Callable[[Meta], float]
    policy: PeerPolicy[Any] = FAIR
    shares: Literal["fair", "score"] = "fair"
    random: Callable[[], float] = attrs.field(repr=False)
    random_inside: Callable[[], float] = attrs.field(repr=False)
    trusted: tuple[tuple[Point, PeerId | None], ...] = ()
    private_mode: bool = False
    discovers: bool = True
    nearby: bool = False
    listening: int = 0
    backoff: Backoff = attrs.field(factory=Backoff)
