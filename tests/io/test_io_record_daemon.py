"""``tezos-p2p run --record``: real processes, real sockets, and the file that is left.

By default a node is recorded for a second or two; ``TEZOS_P2P_LONG=1`` records one for
five minutes while others come and go.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import time
import types

import pytest
from io_traces import node as node_of
from test_io_daemon import DRIVERS, LIMIT, Running

from tezos_p2p.io.cli.run import _recorded as recorded_run
from tezos_p2p.io.cli.start import main
from tezos_p2p.io.files import load_identity
from tezos_p2p.io.record.replay import replay
from tezos_p2p.io.record.trace import read_lines

LONG = os.environ.get("TEZOS_P2P_LONG") == "1"


@pytest.fixture
def start(tmp_path):
    made = []

    def start(name, *arguments, **options):
        made.append(Running(tmp_path / name, *arguments, **options))
        return made[-1]

    yield start
    for node in made:
        if node.process.poll() is None:
            node.process.kill()
        node.wait()


def replayed(path, folder):
    return replay(path, load_identity(folder / "identity.json", 0.0))


def calls(path):
    return [line.fields.get("do") for line in read_lines(path)]


def test_runs_are_recorded_and_replay(start, tmp_path):
    """With both drivers; what the first run has left is known to the second."""
    other = start("other")
    for driver, more in zip(DRIVERS, (("--peer", other.where), ()), strict=True):
        path = tmp_path / f"{driver}.trace"
        node = start("one", "--record", str(path), *more, driver=driver)
        node.until("new_connection")
        node.process.send_signal(signal.SIGHUP)
        node.until("saved")
        assert node.stop() == 0
        assert not [line for line in node.lines if line["event"] == "recording"]
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert replayed(path, tmp_path / "one").end == "closed"
        assert {"receive_data", "pieces_to_send", "receive", "stop"} <= set(calls(path))
        identity = json.loads((tmp_path / "one" / "identity.json").read_text())
        assert identity["public_key"] in path.read_text()
        assert identity["secret_key"] not in path.read_text()
    lines = [line.fields for line in read_lines(path)]
    state = next(fields["state"] for fields in lines if "state" in fields)
    assert state["peers"][0][0] == other.peer


def test_of_runs_that_are_killed_nothing_is_lost_but_their_end(start, tmp_path):
    paths = {name: tmp_path / f"{name}.trace" for name in DRIVERS}
    first, second = DRIVERS
    one = start(first, "--record", str(paths[first]), driver=first)
    more = ("--peer", one.where)
    two = start(second, "--record", str(paths[second]), *more, driver=second)
    for node in (one, two):
        node.until("new_connection")
    give_up = time.monotonic() + LIMIT
    for path in paths.values():  # told to observers, it is pulled a moment later
        while "Joined" not in path.read_text():
            assert time.monotonic() < give_up
            time.sleep(0.01)
    # Of who is killed last the other's end may be half told: that is no fault.
    for node in (one, two):
        node.process.kill()
        node.wait()
    for name, path in paths.items():
        assert replayed(path, tmp_path / name).end is None
        assert "Joined" in path.read_text()


def test_what_ends_a_recording_is_logged(tmp_path):
    told = []
    log = types.SimpleNamespace(warning=lambda event, what: told.append((event, what)))
    daemon = types.SimpleNamespace(core=node_of(0), log=log)
    with recorded_run(daemon, tmp_path / "x", 0):
        daemon.core.start(0.0, 0.0)
    assert told == [
        (
            "recording",
            f"{tmp_path / 'x'}: recording has ended: it would be larger than 0 bytes",
        )
    ]


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_is_there_is_refused_before_anything_else(tmp_path, capsys, kind):
    path = tmp_path / "x"
    if kind == "file":
        path.write_text("mine")
    else:
        path.symlink_to(tmp_path / "nowhere")
    folder = tmp_path / "one"
    assert main(["run", "--data-dir", str(folder), "--record", str(path)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        f"tezos-p2p: {path}: there is something already; a recording is written to a "
        "new file\n"
    )
    assert not folder.exists()
    assert not (tmp_path / "nowhere").exists()


def test_where_nothing_can_be_written_is_told(tmp_path, capsys):
    path = tmp_path / "no" / "x"
    given = ("--data-dir", str(tmp_path / "one"), "--net-addr", "127.0.0.1:0")
    assert main(["run", *given, "--seconds", "1", "--record", str(path)]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"tezos-p2p: {path}: No such file or directory"


@pytest.mark.skipif(not LONG, reason="five minutes: TEZOS_P2P_LONG=1 runs it")
@pytest.mark.timeout(600)
@pytest.mark.parametrize("driver", DRIVERS)
def test_five_minutes_with_churn_replay_to_the_same_hash(start, tmp_path, driver):
    path = tmp_path / "node.trace"
    node = start("one", "--record", str(path), driver=driver, seconds=400)
    node.until("activate_layer")
    began, number = time.monotonic(), 0
    while time.monotonic() < began + 300.0:
        other = start(f"other-{number % 5}", "--peer", node.where)
        other.until("new_connection")
        number += 1
        other.stop(signal.SIGKILL if number % 2 else signal.SIGTERM)
    assert node.stop() == 0
    done = replayed(path, tmp_path / "one")
    assert done.end == "closed"
    assert done.seconds >= 300.0
    assert done.hash == json.loads(path.read_text().splitlines()[-1])["hash"]
    assert calls(path).count("accept") >= number
