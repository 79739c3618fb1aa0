"""What one operator does to a node of ours, another one sees: all of it by commands."""

from __future__ import annotations

import contextlib
import itertools
import json
import queue
import subprocess
import threading

import pytest
from io_cli_runner import COMMAND, environment
from test_io_cli_admin_ours import Operator
from test_io_daemon import Running


class Watching:
    """Another one, who watches what happens."""

    def __init__(self, ask):
        self.process = subprocess.Popen(
            [*COMMAND, "admin", *ask.options, "watch", "--json"],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.told = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        for port in itertools.count(1):  # until its stream is open
            ask("trust", "address", f"127.0.0.1:{port}")
            with contextlib.suppress(queue.Empty):
                self.told.get(timeout=0.2)
                break

    def _read(self):
        for line in self.process.stdout:
            self.told.put(json.loads(line))

    def until(self, name, **facts):
        """Wait for the next event of a name, with some facts."""
        while True:
            event = self.told.get(timeout=20)
            if event["event"] == name and facts.items() <= event.items():
                return event

    def close(self):
        self.process.kill()
        return self.process.communicate()


@pytest.mark.parametrize(("driver", "legacy"), [("asyncio", False), ("blocking", True)])
def test_what_an_operator_does_is_seen_by_another_who_watches(
    tmp_path, capsys, driver, legacy
):
    form = ["--legacy-rpc"] if legacy else []
    # Neither dials by itself.
    quiet = ("--disable-p2p-maintenance",)
    one = Running(
        tmp_path / "one", "--rpc-addr", "127.0.0.1:0", *quiet, *form, driver=driver
    )
    two = Running(tmp_path / "two", *quiet)
    try:
        ask = Operator(one.until("admin_interface")["listening"], capsys)
        where, who = two.where, two.peer
        with contextlib.closing(Watching(ask)) as seen:

            def connect():
                ask("connect", "address", where)
                seen.until("outgoing_connection", point=where)
                assert "id_point" in seen.until("connection_established", peer_id=who)

            ask("trust", "address", where)
            seen.until("new_point", point=where)
            connect()
            ask("kick", "peer", who)
            seen.until("disconnection", peer_id=who)
            connect()
            ask("ban", "peer", who)
            seen.until("disconnection", peer_id=who)
            ask("connect", "address", where, code=1)
            seen.until("authentication_failed", point=where)
            ask("clear", "acls")
            connect()
            ask("ban", "address", where)
            seen.until("disconnection", peer_id=who)
            assert "is banned" in ask("connect", "address", where, code=1)
            # Trust lifts the ban of the address; of 2026 that of who was there stays.
            ask("trust", "address", where)
            if not legacy:
                ask("connect", "address", where, code=1)
                seen.until("authentication_failed", point=where)
                ask("unban", "peer", who)
            connect()
            assert one.stop() == 0
            seen.process.wait(20)
            assert seen.process.returncode == 1
            assert "the node has ended the stream" in seen.process.stderr.read()
        assert two.stop() == 0
    finally:
        for each in (one, two):
            each.process.kill()
            each.wait()
