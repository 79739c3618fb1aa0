"""Long lists hold nothing up: they are made in slices, one at a time."""

from __future__ import annotations

import json
import os
import threading
import time

import pytest
from admin_suite import DRIVERS, hosted
from node_suite import limits

from tezos_p2p.io.admin import lists
from tezos_p2p.spec.identity import PeerId
from tezos_p2p.spec.point import Point

COUNT = 5000
ROOM = limits(max_known_points=(6000, 5500), max_known_peer_ids=(6000, 5500))
#: Seconds of work that may pass before the loop goes round.
AT_ONCE = 0.020


def fill(core, now, count=COUNT):
    for number in range(count):
        peer = core.pool.register_peer(PeerId(os.urandom(16)), now)
        if not number % 8:
            peer.metadata = peer.metadata.plus("valid_blocks", number)
        address = f"10.{number >> 8}.{number & 255}.1"
        core.pool.register_point(Point.parse(f"{address}:9732"), now)
    core.pool.events.clear()


def test_the_loop_goes_round_while_lists_of_thousands_are_made():
    """Work between two rounds is counted, not time: others use this machine too."""
    with hosted("asyncio", 80, limits=ROOM) as ours:
        ours.ask(fill)
        loop, worst, on = ours.server.loop, [0.0], [True]
        before = [0.0]

        def tick():
            now = time.thread_time()
            worst[0] = max(worst[0], now - before[0])
            before[0] = now
            if on[0]:
                loop.call_soon(tick)

        for path in ("peers", "points"):
            on[0] = True
            ours.server.run(lambda: before.__setitem__(0, time.thread_time()) or tick())
            ours.server.run(lambda: worst.__setitem__(0, 0.0))
            answer = ours.get(f"/network/{path}")
            on[0] = False
            assert len(answer) == COUNT
            assert 0 < worst[0] < AT_ONCE, (path, worst[0])


@pytest.mark.parametrize("driver", DRIVERS)
def test_few_lists_are_made_at_once_and_all_are_answered(driver, monkeypatch):
    monkeypatch.setattr(lists, "SLICE", 0.0001)
    with hosted(driver, 81, limits=ROOM) as ours:
        ours.ask(lambda core, now: fill(core, now, 300))
        sizes: list[int] = []

        def ask():
            sizes.append(len(ours.get("/network/points")))

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        # Others are answered meanwhile.
        assert json.loads(ours.call("GET", "/network/stat")[2])["total_sent"] == "0"
        for thread in threads:
            thread.join(30)
        assert sizes == [300] * 8
