"""What a peer's score buys: shares and caps of bandwidth, and whether it may swap.

A policy is a function of what is known of a peer: its metadata, the score that the
application computes from it, and whether an operator trusts it.  It is asked when a
connection begins and whenever the metadata change; it says how the peer is treated, and
nobody can see it on the wire.

=========  =============================================================================
policy     treatment
=========  =============================================================================
FAIR       everybody alike: an equal share of the bandwidth (the reference's behaviour)
BY_SCORE   shares in proportion to the score, within bounds; a score of 1.0 is neutral
=========  =============================================================================

A score comes from the application and may be anything a float can be: below zero,
infinite, not a number.  No policy here ever gives a share of nothing for it: a peer that
we do not want is disconnected or banned, it is not starved.

Source: our own; the reference has the score, and plans a share by score, but uses it to
order the collection of peers only.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, TypeVar

import attrs

from .bandwidth import WEIGHT_MAX, WEIGHT_MIN

Meta = TypeVar("Meta")


def _check_weight(
    instance: object,  # noqa: ARG001  # the validator's signature
    attribute: attrs.Attribute[float],
    weight: float,
) -> None:
    # Written so that not-a-number fails.
    if not WEIGHT_MIN <= weight <= WEIGHT_MAX:
        raise ValueError(
            f"{attribute.name} {weight} is not in {WEIGHT_MIN}..{WEIGHT_MAX:g}"
        )


def _check_cap(
    instance: object,  # noqa: ARG001  # the validator's signature
    attribute: attrs.Attribute[int | None],
    cap: int | None,
) -> None:
    if cap is not None and cap < 1:
        raise ValueError(f"{attribute.name} {cap} is less than a byte a second")


def _weight() -> Any:
    return attrs.field(default=1.0, validator=_check_weight)


def _cap() -> Any:
    return attrs.field(default=None, validator=_check_cap)


@attrs.frozen(kw_only=True)
class Treatment:
    """How one peer is treated.

    Attributes:
        weight_up: its share of what we send, relative to others' weights; 0.1 to 10.
        cap_up: most bytes a second that we send to it, or None.
        weight_down: its share of what we read; 0.1 to 10.
        cap_down: most bytes a second that we read from it, or None.
        may_swap: whether it may propose swaps, and is asked for some.

    Raises:
        ValueError: a weight out of range, or a cap below 1.
    """

    weight_up: float = _weight()
    cap_up: int | None = _cap()
    weight_down: float = _weight()
    cap_down: int | None = _cap()
    may_swap: bool = True


#: Says how a peer is treated: of its metadata, its score, and whether it is trusted.
PeerPolicy = Callable[[Meta, float, bool], Treatment]


@attrs.frozen
class Alike:
    """Everybody is treated alike, whatever the score.

    Args:
        treatment: everybody's; by default an equal share without a cap.
    """

    treatment: Treatment = attrs.field(factory=Treatment)

    def __call__(self, metadata: object, score: float, trusted: bool) -> Treatment:  # noqa: ARG002  # a policy's signature
        """Return the one treatment."""
        return self.treatment


def _zero_if_nan(score: float) -> float:
    return 0.0 if math.isnan(score) else score


@attrs.frozen(kw_only=True)
class ByScore:
    """A peer's share is its score, within bounds; the same both ways.

    A trusted peer has at least ``trusted_least``: an operator's word weighs more than
    what was counted.  A score that is not a number counts as 0.

    Args:
        least: weight of the lowest scores.
        most: weight of the highest scores.
        trusted_least: weight below which no trusted peer falls.
        swap_from: score from which a peer may swap; None for any.  Trusted peers may.
        cap_below: bytes a second, each way, for whoever scores less than ``swap_from``
            and is not trusted; None for no cap.

    Raises:
        ValueError: bounds out of order or of range, or a cap below 1.
    """

    least: float = attrs.field(default=0.25, validator=_check_weight)
    most: float = attrs.field(default=4.0, validator=_check_weight)
    trusted_least: float = attrs.field(default=1.0, validator=_check_weight)
    swap_from: float | None = 0.0
    cap_below: int | None = _cap()

    def __attrs_post_init__(self) -> None:
        """Check the order of the bounds."""
        if not self.least <= self.trusted_least <= self.most:
            raise ValueError(
                "least <= trusted_least <= most: "
                f"{self.least}, {self.trusted_least}, {self.most} are not"
            )

    def __call__(self, metadata: object, score: float, trusted: bool) -> Treatment:  # noqa: ARG002  # a policy's signature
        """Return the treatment that a score buys."""
        score = _zero_if_nan(score)
        low = self.trusted_least if trusted else self.least
        weight = min(max(score, low), self.most)
        poor = self.swap_from is not None and score < self.swap_from and not trusted
        cap = self.cap_below if poor else None
        return Treatment(
            weight_up=weight,
            cap_up=cap,
            weight_down=weight,
            cap_down=cap,
            may_swap=not poor,
        )


#: Everybody alike: what the reference does.
FAIR: Final = Alike()
#: Shares in proportion to the score, a quarter to four times the neutral one.
BY_SCORE: Final = ByScore()
