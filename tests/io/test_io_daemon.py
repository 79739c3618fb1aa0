"""``tezos-p2p run`` and ``config`` as processes, with real files and signals."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import threading
import time

import pytest
from io_cli_runner import COMMAND, environment, run

LIMIT = 20.0
DRIVERS = ("asyncio", "blocking")


class Running:
    """A daemon, and what it has logged so far."""

    def __init__(
        self,
        folder,
        *arguments,
        driver="asyncio",
        address="127.0.0.1",
        seconds=60,
        **more,
    ):
        options = ("--net-addr", f"{address}:0", "--connections", "4")
        options += ("--seconds", str(seconds))
        style = ("--log-format", "json", "--log-level", "debug", "--driver", driver)
        self.process = subprocess.Popen(
            [*COMMAND, "run", "--data-dir", str(folder), *options, *style, *arguments],
            env=environment(**more),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self.lines = []
        self.more = threading.Condition()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.process.stderr:
            with self.more:
                with contextlib.suppress(ValueError):
                    self.lines.append(json.loads(line))
                self.more.notify_all()
        self.process.stderr.close()

    def until(self, name, **facts):
        """Wait for a line of the log."""

        def found():
            for line in self.lines:
                if line["event"] == name and facts.items() <= line.items():
                    return line
            return None

        with self.more:
            assert self.more.wait_for(lambda: found() is not None, LIMIT), self.lines
            return found()

    @property
    def where(self):
        return self.until("activate_layer")["listening"]

    @property
    def peer(self):
        return self.until("identity")["peer"]

    def stop(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.wait()

    def wait(self):
        code = self.process.wait(LIMIT)
        self.reader.join(LIMIT)
        return code


@pytest.fixture
def start(tmp_path):
    with contextlib.ExitStack() as stack:

        def start(name, *arguments, **options):
            made = Running(tmp_path / name, *arguments, **options)

            def end():
                if made.process.poll() is None:
                    made.process.kill()
                made.wait()

            stack.callback(end)
            return made

        yield start


@pytest.mark.parametrize("driver", DRIVERS)
def test_two_nodes_find_each_other_and_remember_it(start, tmp_path, driver):
    one = start("one", driver=driver)
    two = start("two", "--peer", one.where, driver=DRIVERS[driver == "asyncio"])
    assert two.until("new_connection")["peer"] == one.peer
    assert one.until("new_connection")["peer"] == two.peer
    assert two.stop() == 0
    assert one.until("disconnected")["why"].startswith("the peer closed the connection")
    names = [line["event"] for line in two.lines]
    assert names[-1] == "stopped"
    saved = [line["file"] for line in two.lines if line["event"] == "saved"]
    assert [name.rpartition("/")[2] for name in saved] == ["acl.json", "anchors.json"]
    kept = json.loads((tmp_path / "two" / "peers.json").read_text())
    assert [peer["peer_id"] for peer in kept] == [one.peer]
    anchors = json.loads((tmp_path / "two" / "anchors.json").read_text())["anchors"]
    assert anchors == [one.where]
    # The next run knows whom to dial without being told.
    again = start("two", driver=driver, address="127.0.0.2")
    assert again.peer == two.peer
    assert again.until("new_connection")["peer"] == one.peer


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stops_when_it_is_told_to(start, driver, number):
    node = start("one", driver=driver)
    assert node.where.startswith("127.0.0.1:")
    began = time.monotonic()
    assert node.stop(number) == 0
    assert time.monotonic() - began < 5.0
    assert node.lines[-1]["event"] == "stopped"


@pytest.mark.parametrize("driver", DRIVERS)
def test_it_saves_when_it_hangs_up(start, tmp_path, driver):
    node = start("one", driver=driver)
    assert node.where
    assert not (tmp_path / "one" / "peers.json").exists()
    node.process.send_signal(signal.SIGHUP)
    told = node.until("save_metadata", level="info")
    assert told["file"] == str(tmp_path / "one" / "peers.json")
    assert json.loads((tmp_path / "one" / "peers.json").read_text()) == []
    assert node.process.poll() is None


@pytest.mark.parametrize("driver", DRIVERS)
def test_files_that_cannot_be_saved_are_told_and_do_not_end_it(start, tmp_path, driver):
    node = start("one", driver=driver)
    assert node.where
    (tmp_path / "one" / "acl.json").mkdir()
    node.process.send_signal(signal.SIGHUP)
    assert "acl.json is not saved" in node.until("file", level="error")["what"]
    assert node.stop() == 1


def test_a_second_node_in_the_same_folder_is_told_who_has_it(start, tmp_path):
    node = start("one")
    assert node.where
    again = run("run", "--data-dir", str(tmp_path / "one"), "--seconds", "1")
    assert again.returncode == 1
    assert str(node.process.pid) in again.stderr
    assert len(again.stderr.splitlines()) == 1


def test_broken_peers_are_set_aside_and_the_node_runs(start, tmp_path):
    folder = tmp_path / "one"
    folder.mkdir()
    (folder / "peers.json").write_text('{"what": 1}')
    node = start("one")
    assert "peers.json" in node.until("parse_error_peers", level="error")["what"]
    assert node.where
    assert node.stop() == 0
    assert (folder / "peers.json.unreadable-1").read_text() == '{"what": 1}'


def test_a_port_that_is_taken_is_told(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run("run", "--data-dir", str(tmp_path), "--net-addr", where)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"tezos-p2p: cannot listen on {where}")


def test_a_port_that_is_taken_is_told_before_an_identity_is_made(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        given = ("--data-dir", str(tmp_path), "--net-addr", where, "--expected-pow")
        done = run("run", *given, "70")  # which takes for ever
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"tezos-p2p: cannot listen on {where}")
    assert not (tmp_path / "identity.json").exists()


def test_a_port_for_datagrams_that_is_taken_is_told_as_early(tmp_path):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        given = ("--data-dir", str(tmp_path), "--discovery-addr", f"127.0.0.1:{port}")
        done = run("run", *given, "--net-addr", "127.0.0.1:0", "--expected-pow", "70")
    assert done.returncode == 1
    told = f"tezos-p2p: cannot listen for neighbours on UDP port {port}"
    assert done.stderr.splitlines()[-1].startswith(told)
    assert not (tmp_path / "identity.json").exists()


@pytest.mark.parametrize("option", ["--net-addr", "--discovery-addr"])
def test_an_address_of_ones_own_that_is_none_is_told_by_option_and_name(tmp_path, option):
    given = ("--data-dir", str(tmp_path), "--expected-pow", "70")
    done = run("run", *given, option, "nobody.invalid:1")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"tezos-p2p: flag {option}: nobody.invalid: ")
    assert line.endswith("; write an address, or a name that has one")


def test_all_faults_of_a_configuration_are_told_at_once(tmp_path):
    (tmp_path / "config.json").write_text(
        '{"p2p": {"listen-addr": 3, "limits": {"max-connections": "x"}}}'
    )
    given = ("--data-dir", str(tmp_path), "--peer", "x y")
    done = run("run", *given, TEZOS_P2P_PRIVATE_MODE="maybe")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    for place in ("p2p.listen-addr", "p2p.limits.max-connections", "PRIVATE_MODE"):
        assert sum(place in line for line in lines) == 1, lines
    assert sum("--peer" in line for line in lines) == 1
    checked = run("config", "check", str(tmp_path / "config.json"), "--json")
    assert checked.returncode == 1
    assert len(json.loads(checked.stdout)["faults"]) == 2


def test_an_identity_that_is_none_is_told_and_left_alone(tmp_path):
    (tmp_path / "identity.json").write_text("{}")
    done = run("run", "--data-dir", str(tmp_path), "--seconds", "1")
    assert done.returncode == 1
    assert "identity.json" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "identity.json").read_text() == "{}"


def test_names_that_have_no_address_are_tried_again_and_end_nothing(start):
    node = start("one", "--peer", "nobody.invalid:9732")
    told = node.until("name_not_resolved")
    assert (told["name"], told["again_in"]) == ("nobody.invalid", 5.0)
    assert node.stop() == 0


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_name_that_is_configured_lifts_no_ban_and_is_not_kept(start, tmp_path, driver):
    folder = tmp_path / "one"
    folder.mkdir()
    lists = {
        "version": 1,
        "banned": ["127.0.0.1", "::1"],
        "banned_peers": [],
        "allowed": [],
        "trusted_points": [],
        "trusted_peers": [],
    }
    (folder / "acl.json").write_text(json.dumps(lists))
    node = start("one", "--peer", "localhost:1", driver=driver)
    node.until("new_point")
    assert node.stop() == 0
    kept = json.loads((folder / "acl.json").read_text())
    assert kept["trusted_points"] == []
    assert len(kept["banned"]) == 2


def test_names_that_cannot_be_are_told_at_once(tmp_path):
    given = ("--data-dir", str(tmp_path), "--net-addr", "none", "--seconds", "1")
    done = run("run", *given, "--peer", "a" * 70 + ".example:1")
    assert done.returncode == 2
    assert "is no host name" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_log_that_nobody_reads_ends_nothing(tmp_path, driver):
    given = ("--data-dir", str(tmp_path), "--net-addr", "127.0.0.1:0", "--seconds", "0.5")
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, "run", *given, "--driver", driver],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=full,
            timeout=LIMIT,
        )
    assert done.returncode == 0
    assert (tmp_path / "peers.json").exists()


def test_names_of_peers_are_resolved(start):
    one = start("one")
    port = one.where.rpartition(":")[2]
    two = start("two", "--peer", f"localhost:{port}")
    assert two.until("new_connection")["peer"] == one.peer


def test_somebody_else_than_expected_is_refused(start):
    one = start("one")
    other = "idsBYqNVAonUks6jKofP7ts98hkEuL"
    two = start("two", "--peer", f"{one.where}#{other}")
    wrong = two.until("authenticate_status_peer_id_incorrect", level="warning")
    assert (wrong["point"], wrong["expected_peer_id"]) == (one.where, other)
    assert wrong["peer_id"] == one.peer
    two.until("authentication_error", point=one.where)
    # All that either has to tell of it is told when both have ended.
    assert (two.stop(), one.stop()) == (0, 0)
    for line in two.lines + one.lines:
        assert line["event"] != "new_connection"


@pytest.mark.parametrize("driver", DRIVERS)
def test_the_manager_is_told_when_it_is_up_and_when_it_stops(start, tmp_path, driver):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(LIMIT)
        node = start("one", driver=driver, NOTIFY_SOCKET=str(tmp_path / "notify"))
        assert manager.recv(64) == b"READY=1"
        assert node.where
        assert node.stop() == 0
        assert manager.recv(64) == b"STOPPING=1"


def test_public_networks_are_joined_by_name_only_and_without_a_mempool(tmp_path):
    given = ("config", "show", "--json", "--data-dir", str(tmp_path))
    here = json.loads(run(*given).stdout)
    there = json.loads(run(*given, "--network", "mainnet").stdout)
    assert (here["disable_mempool"], there["disable_mempool"]) == (False, True)
    assert (here["expected-proof-of-work"], there["expected-proof-of-work"]) == (
        0.0,
        26.0,
    )
    assert here["listen-addr"] == there["listen-addr"] == "127.0.0.1:9732"


def test_the_origins_of_values_are_shown(tmp_path):
    (tmp_path / "config.json").write_text('{"p2p": {"listen-addr": "127.0.0.1:1"}}')
    shown = run(
        *("config", "show", "--origin", "--json", "--data-dir", str(tmp_path)),
        *("--advertised-net-port", "7"),
        TEZOS_P2P_PRIVATE_MODE="yes",
    )
    found = json.loads(shown.stdout)
    assert found["listen-addr"]["origin"].startswith("file")
    assert found["private-mode"] == {
        "value": True,
        "origin": "environment TEZOS_P2P_PRIVATE_MODE",
    }
    assert found["advertised-net-port"]["origin"] == "flag --advertised-net-port"
    plain = run("config", "show", "--origin", "--data-dir", str(tmp_path))
    assert "listen-addr" in plain.stdout


def test_a_log_for_people_has_names_and_words(tmp_path):
    given = ("--data-dir", str(tmp_path), "--net-addr", "127.0.0.1:0", "--seconds", "0.2")
    done = run("run", *given)
    assert done.returncode == 0
    assert done.stdout == ""
    assert "activate_layer" in done.stderr
    assert "\x1b" not in done.stderr


def test_an_idle_node_sleeps(start):
    node = start("one")
    assert node.where
    time.sleep(0.5)

    def switches():
        with open(f"/proc/{node.process.pid}/status") as status:
            found = dict(line.split(":\t") for line in status if ":\t" in line)
        return int(found["voluntary_ctxt_switches"])

    if not os.path.exists("/proc/self/status"):
        pytest.skip("only Linux counts how often a process was woken")
    before = switches()
    select.select([], [], [], 2.0)
    assert switches() - before <= 1
