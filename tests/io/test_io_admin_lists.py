"""Long lists hold nothing up: they are made in slices, one at a time."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time

import pytest
from admin_suite import DRIVERS, LIMIT, hosted
from node_suite import limits

from tezos_p2p.io.admin import http, lists
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


class Reader:
    """Asks for a list, and takes of the answer what it is told to take."""

    def __init__(self, ours, path="peers"):
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.sock.settimeout(LIMIT)
        self.sock.connect(("127.0.0.1", ours.port))
        head = f"GET /network/{path} HTTP/1.1\r\nhost: 127.0.0.1:{ours.port}\r\n\r\n"
        self.sock.sendall(head.encode())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()

    def begun(self):
        """Wait until the answer has begun; return all that it takes."""
        head = b""
        while b"\r\n\r\n" not in head:
            head += self.sock.recv(1)
        return int(head.partition(b"content-length: ")[2].split(b"\r\n")[0])

    def take(self, size, pause=0.0):
        """Take so many bytes, or all; return how many there were."""
        taken = 0
        with contextlib.suppress(ConnectionError):
            while taken < size and (got := self.sock.recv(min(65_536, size - taken))):
                taken += len(got)
                time.sleep(pause)
        return taken


def until(condition):
    end = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def unread(ours):
    return ours.server.admin.service._answers._unread


def test_slow_readers_keep_nobody_waiting():
    with hosted("asyncio", 82, limits=ROOM) as ours, contextlib.ExitStack() as stack:
        ours.ask(fill)
        slow = [stack.enter_context(Reader(ours)) for _ in range(lists.LISTS_MAX + 1)]
        for each in slow:
            each.begun()
        began = time.monotonic()
        assert ours.get("/network/connections") == []
        assert len(ours.get("/network/points")) == COUNT
        assert time.monotonic() - began < http.WRITE_TIMEOUT / 2
        assert unread(ours) > 10_000_000
        for each in slow:
            each.sock.close()
        until(lambda: unread(ours) == 0)


def test_what_waits_to_be_read_is_bounded_and_who_waits_behind_it_is_told(monkeypatch):
    monkeypatch.setattr(lists, "UNREAD_MAX", 1_000_000)
    monkeypatch.setattr(lists, "PATIENCE", 0.2)
    with hosted("asyncio", 83, limits=ROOM) as ours:
        ours.ask(fill)
        with Reader(ours) as other:
            other.begun()
            status, _, body = ours.call("GET", "/network/connections")
            assert status == 503
            assert b"wait to be read" in body
            # Others are answered.
            assert ours.call("GET", "/network/stat")[0] == 200
        until(lambda: unread(ours) == 0)
        assert ours.get("/network/connections") == []


def test_who_goes_while_it_waits_for_its_list_waits_no_more(monkeypatch):
    monkeypatch.setattr(lists, "UNREAD_MAX", 1_000_000)
    monkeypatch.setattr(lists, "PATIENCE", 600.0)
    with hosted("asyncio", 84, limits=ROOM) as ours:
        ours.ask(fill)
        with Reader(ours) as slow:
            slow.begun()
            waiters = [Reader(ours) for _ in range(8)]
            until(lambda: len(ours.server.admin.http) == 9)
            for each in waiters:
                each.sock.close()
            until(lambda: len(ours.server.admin.http) == 1)
            assert unread(ours) > 0
        until(lambda: unread(ours) == 0)


def test_readers_may_be_slow_but_not_for_ever(monkeypatch):
    monkeypatch.setattr(http, "WRITE_TIMEOUT", 0.3)
    with hosted("asyncio", 85, limits=ROOM) as ours:
        ours.ask(fill)
        with Reader(ours) as slow, Reader(ours) as stopped:
            size = slow.begun()
            assert stopped.begun() == size
            assert slow.take(500_000, 0.005) == 500_000
            assert slow.take(size - 500_000) == size - 500_000
            assert stopped.take(size) < size  # cut meanwhile
        monkeypatch.setattr(http, "ANSWER_TIMEOUT", 0.5)
        with Reader(ours) as slow:
            size = slow.begun()
            assert slow.take(size, 0.02) < size
        until(lambda: unread(ours) == 0)
