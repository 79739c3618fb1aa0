"""``tezos-p2p probe`` of many points: at once, from files, again and again."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import subprocess
import threading
import time

import pytest
from io_cli_peers import (
    answering,
    free_port,
    nack,
    reference_file,
    wait_for_end,
)
from io_cli_runner import COMMAND, environment
from test_io_cli_probe import advertise, closing_for_lack_of_work, http

from tezos_p2p.io.cli import probing, probing_many, targets
from tezos_p2p.io.cli.start import main

DRIVERS = ("asyncio", "blocking")
both = pytest.mark.parametrize("driver", DRIVERS)
WELL = answering(b"\0")
REFUSING = answering(nack(1))


@contextlib.contextmanager
def serving_all(*scripts, host="127.0.0.1"):
    """Run scripts for the connections that come to a port, the last for all further.

    Gives the port, and a list of how many are there at once.
    """
    there, most, lock = [0], [0], threading.Lock()
    threads = []
    with socket.create_server((host, 0)) as server:
        server.settimeout(0.05)
        stop = threading.Event()

        def serve(connection, script):
            with lock:
                there[0] += 1
                most[0] = max(most[0], there[0])
            with connection:
                with contextlib.suppress(OSError, EOFError):
                    connection.settimeout(20)
                    script(connection)
                with lock:  # before the other end can know
                    there[0] -= 1

        def accept():
            left = list(scripts)
            while not stop.is_set():
                with contextlib.suppress(TimeoutError, OSError):
                    connection, _ = server.accept()
                    script = left.pop(0) if len(left) > 1 else left[0]
                    thread = threading.Thread(target=serve, args=(connection, script))
                    thread.start()
                    threads.append(thread)

        accepting = threading.Thread(target=accept)
        accepting.start()
        try:
            yield server.getsockname()[1], most
        finally:
            stop.set()
            accepting.join()
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()


@pytest.fixture
def ask(tmp_path, capsys):
    """Probe in this process: with our identity, asking for no work."""
    identity = reference_file(tmp_path)

    def probe(*arguments):
        settings = {"--identity": identity, "--difficulty": "0", "--timeout": "5"}
        more = [
            word
            for name, value in settings.items()
            if name not in arguments
            for word in (name, value)
        ]
        code = main(["probe", *map(str, arguments), *more])
        out, err = capsys.readouterr()
        return code, out, err

    return probe


def told(out):
    """Return the result of each point, in the order of the lines."""
    lines = [re.match(r"(\S+) +\d+\.\d ms  (\S+)", line) for line in out.splitlines()]
    return [match.groups() for match in lines]


# -- several points --------------------------------------------------------------------


@both
def test_each_point_is_told_on_a_line_and_the_worst_counts(ask, driver):
    with serving_all(WELL) as (good, _), serving_all(REFUSING) as (bad, _):
        gone = f"127.0.0.1:{free_port()}"
        points = [f"127.0.0.1:{good}", f"127.0.0.1:{bad}", gone]
        code, out, err = ask(*points, "--driver", driver)
        results = ("established", "refused", "unreachable")
        assert sorted(told(out)) == sorted(zip(points, results, strict=True))
        assert code == 5
        assert err == ("tezos-p2p: 1 of 3 points established; 1 refused, 1 unreachable\n")
        assert "the peer refused us: too many connections" in out
        assert re.search(r"established  id\w{28}  TEZOS_MAINNET 2/1\n", out)
        assert ask(*points[:2], "--driver", driver)[0] == 3
        code, out, err = ask(points[0], f"localhost:{good}", "--driver", driver)
        assert (code, err, out.count("established")) == (0, "", 2)


@both
def test_json_is_one_object_for_each_point(ask, driver):
    with serving_all(WELL) as (good, _), serving_all(http) as (web, _):
        points = [f"127.0.0.1:{good}", f"127.0.0.1:{web}"]
        code, out, _ = ask(*points, "--json", "--driver", driver)
    assert code == 4
    documents = {it["target"]: it for it in map(json.loads, out.splitlines())}
    assert {it: documents[it]["result"] for it in documents} == dict(
        zip(points, ("established", "failed"), strict=True)
    )
    assert documents[points[0]]["steps"][-1]["event"] == "established"
    assert "before" not in documents[points[0]]


def test_who_ends_first_is_told_first(ask, monkeypatch):
    late = threading.Event()

    def slow(sock):
        late.wait(10)
        WELL(sock)

    tell = probing_many.tell
    # When one is told, the slow one may go on.
    monkeypatch.setattr(probing_many, "tell", lambda line: (tell(line), late.set()))
    with serving_all(slow) as (first, _), serving_all(WELL) as (second, _):
        code, out, _ = ask(f"127.0.0.1:{first}", f"127.0.0.1:{second}")
    ports = [int(point.rpartition(":")[2]) for point, _ in told(out)]
    assert (code, ports) == (0, [second, first])


@both
@pytest.mark.parametrize("most", [1, 3])
def test_no_more_are_probed_at_once_than_was_said(ask, driver, most):
    def slowly(sock):
        time.sleep(0.03)  # others would come meanwhile

    with serving_all(slowly) as (port, seen):
        points = [f"127.0.0.{n}:{port}" for n in range(1, 2)]
        points += [f"localhost:{port}", f"[::ffff:127.0.0.1]:{port}"]
        points += [f"127.0.0.1:{port}#{peer}" for peer in PEERS]
        code, out, _ = ask(*points, "--concurrency", most, "--driver", driver)
    assert code == 4
    assert len(out.splitlines()) == len(set(points)) - 1  # two of them are the same
    assert seen[0] == most


PEERS = (
    "idr3dL5v3jdobyPbZPVbWekUdBzJyY",
    "idsjadhs6Je7e2PKjQUnvwFREE4XLe",
    "idsLKC76x55ExTZrjdAFN78ojecZPX",
    "ids5Kn4QYgmBmdphqs1DZ3xhpYG26f",
)


def test_a_name_without_address_keeps_no_other_up(ask):
    with serving_all(WELL) as (good, _):
        code, out, _ = ask("nowhere.invalid", f"127.0.0.1:{good}", "a..b:1")
    assert code == 5
    assert dict(told(out)) == {
        "nowhere.invalid": "unreachable",
        f"127.0.0.1:{good}": "established",
        "a..b:1": "unreachable",
    }


def test_who_is_named_twice_is_probed_once(ask):
    with serving_all(WELL) as (good, _):
        same = f"127.0.0.1:{good}"
        code, out, err = ask(same, same, f"127.0.0.1:0{good}")
    assert (code, out.count("established")) == (0, 1)
    assert err == "tezos-p2p: 2 points are named more than once, and probed once\n"


def test_points_that_are_asked_for_are_counted(ask):

    with serving_all(answering(b"\0", advertise)) as (port, _):
        _, out, _ = ask(f"127.0.0.1:{port}", f"localhost:{port}", "--bootstrap")
    assert out.count("TEZOS_MAINNET 2/1  2 points\n") == 2


def test_more_work_is_advised_once(capsys):

    with serving_all(closing_for_lack_of_work) as (port, _):
        points = (f"127.0.0.1:{port}", f"localhost:{port}")
        assert main(["probe", *points, "--difficulty", "0"]) == 4
    _, advice, summary = capsys.readouterr().err.splitlines()
    assert "tezos-p2p identity generate" in advice
    assert summary.endswith("0 of 2 points established; 2 without a handshake")


# -- files -----------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["@", "--from"])
def test_a_file_has_a_point_a_line(ask, tmp_path, way):
    with serving_all(WELL) as (port, _):
        path = tmp_path / "points"
        path.write_bytes(
            b"\xef\xbb\xbf# ours\r\n\n"
            + f"127.0.0.1:{port}\r\n  localhost:{port}\t # named\n".encode()
            + f"127.0.0.1:{port}#{PEERS[0]}".encode()
        )
        named = [f"@{path}"] if way == "@" else ["--from", path]
        code, out, _ = ask(*named)
    assert code == 4  # another peer is there
    assert sorted(result for _, result in told(out)) == [
        "established",
        "established",
        "failed",
    ]


def test_a_file_of_one_point_is_told_as_many_are(ask, tmp_path):
    path = tmp_path / "points"
    with serving_all(WELL) as (port, _):
        path.write_text(f"127.0.0.1:{port}\n")
        code, out, _ = ask(f"@{path}")
    assert (code, told(out)) == (0, [(f"127.0.0.1:{port}", "established")])


def test_all_faults_of_a_file_are_told_with_their_lines(ask, tmp_path):
    path = tmp_path / "points"
    path.write_bytes(b"good:1\nbad one\n# ok\nx:70000\n\xff\n:1\nx#id\n")
    code, out, err = ask(f"@{path}")
    assert (code, out) == (2, "")
    lines = err.splitlines()
    places = [re.match(rf"tezos-p2p: {path}:(\d+): .", line)[1] for line in lines]
    assert places == ["2", "4", "5", "6", "7"]
    assert "port 70000 is not in 0..65535" in lines[1]


def test_the_faults_that_are_told_have_a_bound(ask, tmp_path):
    path = tmp_path / "points"
    for count, last in ((100, f"{path}:100: "), (101, f"{path}: and 2 lines more")):
        path.write_text("?\n" * count)
        _, _, err = ask(f"@{path}")
        lines = err.splitlines()
        assert len(lines) == 100
        assert lines[-1].startswith(f"tezos-p2p: {last}")


@pytest.mark.parametrize("content", ["", "# nothing\n\n"])
def test_a_file_without_points_is_wrong_usage(ask, tmp_path, content):
    path = tmp_path / "points"
    path.write_text(content)
    assert ask(f"@{path}") == (2, "", "tezos-p2p: no point to probe\n")


def test_a_file_that_is_not_there_is_told(ask, tmp_path):
    path = tmp_path / "points"
    for named in ([f"@{path}"], ["--from", path]):
        code, _, err = ask(*named)
        assert code == 1
        assert err == f"tezos-p2p: {path}: No such file or directory\n"


def test_files_have_bounds(ask, tmp_path, monkeypatch):
    path = tmp_path / "points"
    monkeypatch.setattr(targets, "FILE_MAX", 10)
    path.write_text("a:1\nb:2\n# ")
    assert targets.read_targets(path) == ["a:1", "b:2"]
    path.write_text("a:1\nb:2\n# x")
    assert ask(f"@{path}")[0] == 2
    monkeypatch.setattr(targets, "FILE_MAX", 1000)
    monkeypatch.setattr(targets, "POINTS_MAX", 2)
    assert targets.targets_of(["a", "b"], []) == ["a", "b"]
    code, _, err = ask("a", "b", "c")
    assert (code, err) == (2, "tezos-p2p: 3 points; more than 2 are not probed at once\n")


def test_a_thousand_points_are_probed(ask, tmp_path):
    path = tmp_path / "points"
    port = free_port()
    names = [f"127.1.{n // 250}.{n % 250 + 1}:{port}" for n in range(1000)]
    path.write_text("\n".join(names))
    code, out, err = ask("--from", path, "--concurrency", "32", "--driver", "blocking")
    assert code == 5
    assert sorted(point for point, _ in told(out)) == sorted(names)
    assert err == "tezos-p2p: 0 of 1000 points established; 1000 unreachable\n"


# -- again and again -------------------------------------------------------------------


@both
def test_a_watch_tells_changes_and_nothing_else(ask, driver):
    with serving_all(WELL, WELL, REFUSING, REFUSING, WELL) as (port, _):
        watch = ("--watch", "0.01", "--rounds", "5", "--driver", driver)
        code, out, err = ask(f"127.0.0.1:{port}", *watch)
    assert (code, err) == (0, "")  # of the last round
    begin = re.compile(r"^\d\d:\d\d:\d\d  \S+ +\d+\.\d ms  ", re.M)
    lines = begin.sub("", out).splitlines()
    assert [line.split("  ")[0].split() for line in lines] == [
        ["established"],
        ["refused"],
        ["established"],
    ]
    assert "(was established)  the peer refused us" in lines[1]
    assert "(was refused)  id" in lines[2]


def test_the_last_round_says_how_a_watch_ends(ask):
    with serving_all(WELL, REFUSING) as (port, _):
        watch = ("--watch", "0.01", "--rounds", "2", "--json")
        code, out, err = ask(f"127.0.0.1:{port}", *watch)
    assert (code, err) == (3, "tezos-p2p: 0 of 1 points established; 1 refused\n")
    first, second = map(json.loads, out.splitlines())
    assert (first["before"], first["result"]) == (None, "established")
    assert (second["before"], second["result"]) == ("established", "refused")
    assert list(first)[:2] == ["time", "before"]


def test_another_peer_at_the_same_point_is_a_change(ask):
    other = answering(b"\0", secret=b"\5" * 32)
    with serving_all(WELL, other) as (port, _):
        code, out, _ = ask(f"127.0.0.1:{port}", "--watch", "0.01", "--rounds", "2")
    assert code == 0
    peers = re.findall(r"\bid\w{28}\b", out)
    assert len(set(peers)) == len(peers) == 2
    assert "was" not in out


def test_rounds_begin_when_they_are_due(ask):
    with serving_all(WELL) as (port, _):
        began = time.monotonic()
        ask(f"127.0.0.1:{port}", "--watch", "0.4", "--rounds", "2")
        assert time.monotonic() - began >= 0.4


# -- interrupts ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("driver", "watched"), [("asyncio", False), ("blocking", False), ("asyncio", True)]
)
def test_an_interrupt_ends_all_probes_without_a_word(driver, watched):
    with serving_all(wait_for_end) as (port, _), serving_all(WELL) as (good, _):
        points = [f"127.0.0.1:{good}", f"127.0.0.1:{port}"][: 1 if watched else 2]
        more = ("--watch", "60") if watched else ("--timeout", "60")
        easily = ("--difficulty", "0", "--driver", driver)
        process = subprocess.Popen(
            [*COMMAND, "probe", *points, f"localhost:{good}", *more, *easily],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            for _ in range(2):
                assert "established" in process.stdout.readline()
            began = time.monotonic()
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=20)
            assert time.monotonic() - began < 10
        finally:
            process.kill()
            process.communicate()
    assert process.returncode == 130
    assert err == "no --identity: a throw-away one, without proof of work\n"


def test_what_the_system_lacks_is_one_line(ask, monkeypatch):
    def run(*_):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(probing.Probing, "run", run)
    assert ask("a", "b") == (1, "", "tezos-p2p: Too many open files\n")


def test_texts_that_name_the_same_are_one_point():
    same = ["Node.example", "node.example:9732", "node.example.", "node.example:9732"]
    others = ["node.example:1", f"node.example#{PEERS[0]}", "127.0.0.1"]
    found = targets.targets_of([*same, *others, "127.0.0.1:9732"], [])
    assert found == ["Node.example", *others]
