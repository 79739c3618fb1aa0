"""How full a node is: what ``GET /network/status`` answers.

The reference has no such route; it is ours alone.  An object of:

===========  ===========================================================================
field        holds
===========  ===========================================================================
connections  ``{"running", "pending", "min", "expected", "max", "min_threshold",
             "min_target", "max_target", "max_threshold"}``: numbers of connections
queues       fill and bound of each queue: ``{"inbox": n, "inbox_max": n, ...}``
refusals     how many attempts came to nothing, by the name of the reason,
             in lower case
greylist     ``{"ips", "peers"}``: how many are banned for a while
banned       ``{"ips", "peers"}``: how many an operator has banned
===========  ===========================================================================

All values are whole numbers.  Who reads it passes over fields that it does not know.

Source: none; it tells what the reference's metrics tell, and the bounds beside it.
"""

from __future__ import annotations

from typing import Final

import attrs

#: Behind the name of a queue: its bound.
BOUND: Final = "_max"


@attrs.frozen
class ConnectionCounts:
    """How many connections there are, and the bounds that they are held to.

    Attributes:
        running: on which messages flow.
        pending: that are dialled, or shake hands.
        min: configured minimum.
        expected: configured number.
        max: configured maximum.
        min_threshold: below it, peers are looked for.
        min_target: until there are this many.
        max_target: trimming stops here, and so does dialling.
        max_threshold: above it, connections are trimmed; at it, peers are refused.
    """

    running: int
    pending: int
    min: int
    expected: int
    max: int
    min_threshold: int
    min_target: int
    max_target: int
    max_threshold: int


@attrs.frozen
class Listed:
    """How many are on a list.

    Attributes:
        ips: addresses.
        peers: peer ids.
    """

    ips: int
    peers: int


@attrs.frozen(hash=False)
class Status:
    """How full a node is.

    Attributes:
        connections: how many, and their bounds.
        queues: fill by name, and the bound by the name with `BOUND` behind it.
        refusals: attempts that came to nothing, by reason, in lower case.
        greylist: who is banned for a while.
        banned: whom an operator has banned.
    """

    connections: ConnectionCounts
    queues: dict[str, int]
    refusals: dict[str, int]
    greylist: Listed
    banned: Listed

    def fills(self) -> list[tuple[str, int, int | None]]:
        """Return name, fill and bound of each queue; None: the bound is not told."""
        return [
            (name, fill, self.queues.get(name + BOUND))
            for name, fill in self.queues.items()
            if not name.endswith(BOUND)
        ]
