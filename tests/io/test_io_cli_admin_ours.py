"""``tezos-p2p admin`` against our own nodes, as processes, of both drivers and forms."""

from __future__ import annotations

import json
import re

import pytest
from test_io_daemon import Running

from tezos_p2p.io.cli.start import main


class Operator:
    """Somebody at a shell."""

    def __init__(self, endpoint, capsys):
        self.options = ["--endpoint", f"http://{endpoint}"]
        self.capsys = capsys

    def __call__(self, *words, code=0):
        assert main(["admin", *self.options, *words]) == code, self.capsys.readouterr()
        out, err = self.capsys.readouterr()
        assert (not err) == (not code), err
        return err if code else out


@pytest.mark.parametrize(
    ("driver", "legacy"), [("asyncio", False), ("blocking", False), ("blocking", True)]
)
def test_an_operator_steers_a_node_from_the_first_word_to_the_last(
    tmp_path, capsys, driver, legacy
):
    form = ["--legacy-rpc"] if legacy else []
    one = Running(tmp_path / "one", "--rpc-addr", "127.0.0.1:0", *form, driver=driver)
    two = Running(tmp_path / "two")
    try:
        ask = Operator(one.until("admin_interface")["listening"], capsys)
        where, who = two.where, two.peer
        assert ask("connect", "address", where) == f"Connection to {where} established.\n"
        shown = ask("p2p", "stat")
        assert shown.startswith("GLOBAL STATS\n")
        assert re.search(rf"↗ {who} {re.escape(where)} \(TEZOS\.2 \(p2p: 1\)\)", shown)
        top = json.loads(ask("top", "--once", "--json"))
        assert top["connections"][0]["peer_id"] == who
        assert top["status"]["connections"]["running"] == 1
        assert "running" in ask("top", "--once") or "1 out" in ask("top", "--once")
        assert ask("ban", "peer", who) == f"The peer {who[:12]} is now banned.\n"
        assert ask("is", "peer", "banned", who) == "The given peer ID is banned\n"
        assert "banned" in ask("connect", "address", where, code=1)
        assert ask("clear", "greylists")
        assert ask("is", "peer", "banned", who) == "The given peer ID is banned\n"
        assert ask("unban", "peer", who) == f"The peer {who[:12]} is now unbanned.\n"
        assert ask("trust", "address", where) == f"Address {where} is now trusted.\n"
        assert re.search(rf"{re.escape(where)}.*★", ask("p2p", "stat"))
        assert ask("connect", "address", where)
        ask("ban", "address", "192.0.2.9")
        assert ask("is", "address", "banned", "192.0.2.9") == (
            "The given ip address is banned\n"
        )
        assert ask("clear", "acls") == "The access control rules are now cleared.\n"
        assert ask("is", "address", "banned", "192.0.2.9") == (
            "The given ip address is not banned\n"
        )
        assert one.stop() == two.stop() == 0
        assert "Traceback" not in json.dumps(one.lines + two.lines)
    finally:
        for each in (one, two):
            each.process.kill()
            each.wait()
