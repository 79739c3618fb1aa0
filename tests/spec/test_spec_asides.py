"""What observers learn beside the stream of the pool."""

from __future__ import annotations

import pytest

from tezos_p2p.spec import asides
from tezos_p2p.spec.address import Address
from tezos_p2p.spec.asides import (
    AcceptFailed,
    Aside,
    AttemptFailed,
    Greylisted,
    Neighbour,
    PrivateAsked,
)
from tezos_p2p.spec.identity import PeerId
from tezos_p2p.spec.point import Point
from tezos_p2p.spec.pool_events import POOL_EVENTS, pool_event_json
from tezos_p2p.spec.reasons import Disconnection, Reason

POINT = Point(Address.parse("1.2.3.4"), 40123)
PEER = PeerId(bytes(16))
WHY = Disconnection(Reason.CONNECTION_LOST)


@pytest.mark.parametrize(
    ("event", "facts"),
    [
        (
            AttemptFailed(POINT, True, WHY),
            {"point": "1.2.3.4:40123", "incoming": True, "why": str(WHY)},
        ),
        (
            Greylisted(POINT, WHY, PEER),
            {"point": "1.2.3.4:40123", "why": str(WHY), "peer_id": str(PEER)},
        ),
        (AcceptFailed(24), {"error": 24}),
        (Neighbour(POINT), {"point": "1.2.3.4:40123"}),
        (
            PrivateAsked(PEER, "bootstrap", theirs=True),
            {"source": str(PEER), "message": "bootstrap", "theirs": True},
        ),
    ],
)
def test_they_have_a_name_and_no_number(event, facts):
    assert pool_event_json(event) == {"event": event.name, **facts}
    assert isinstance(event, Aside)
    assert event.tag is None
    assert type(event) not in POOL_EVENTS
    assert not hasattr(event, "__dict__")
    assert asides.__doc__ is not None
    assert f"\n{event.name} " in asides.__doc__
