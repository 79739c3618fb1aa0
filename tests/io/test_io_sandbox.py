"""The sandbox network as a user runs it, and what it makes of all that can go wrong."""

from __future__ import annotations

import functools
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from rich.console import Console

from tezos_p2p.fsm.inbox import Joined, Message, Ready
from tezos_p2p.io import sandbox
from tezos_p2p.io.cli import sandbox as command
from tezos_p2p.io.cli.exits import Exit
from tezos_p2p.io.node_ends import NotConnected
from tezos_p2p.io.sandbox_board import (
    NODES_MAX,
    NODES_MIN,
    Board,
    NodeRow,
    Plan,
    Summary,
)
from tezos_p2p.io.sandbox_worker import (
    HOST,
    Member,
    Part,
    Seat,
    limits_of,
    message_of,
    number_of,
)
from tezos_p2p.spec.identity import Identity
from tezos_p2p.spec.point import Point

COMMAND = (sys.executable, "-m", "tezos_p2p.io.cli", "sandbox")
SMALL = ("--nodes", "5", "--seed", "7")
#: Seconds that anything real may take here.
WAIT = 30.0


def hush(_board):
    pass


# -- as a user runs it -----------------------------------------------------------------


@pytest.fixture(scope="module")
def done():
    return subprocess.run(
        [*COMMAND, *SMALL, "--json"], capture_output=True, text=True, timeout=60
    )


def test_nothing_is_lost_though_a_process_is_killed(done):
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    found = json.loads(line)
    assert (found["good"], found["missing"], found["faults"]) == (True, [], [])
    # Three rounds of five among all, or among four, and one beside the killed one.
    assert found["messages"] == 16
    assert found["expected"] == found["delivered"] == 10 * 4 + 6 * 3
    assert found["late"] == found["caught_up"] == 11
    for phase in ("converged", "healed", "rejoined"):
        assert 0 < found[phase] < found["seconds"] < 25
    assert 0 < found["latency_median"] <= found["latency_max"] < 5
    assert found["told"] >= found["expected"] + found["late"]
    assert found["bytes_out"] > 0 < found["bytes_in"]


def test_a_seed_says_who_is_killed(done):
    found = json.loads(done.stdout)
    assert (found["seed"], found["killed"]) == (7, ["n01"])


def test_what_happens_is_told_while_it_does(done):
    told = [line[10:] for line in done.stderr.splitlines()]
    assert told[0].startswith("5 nodes in 5 processes, all know n0")
    heads = [" ".join(line.split()[:2]) for line in told[1:]]
    assert heads == [
        "converged after",
        "5 messages",
        "process 1",
        "healed after",
        "11 messages",
        "rejoined after",
        "16 messages",
    ]


def test_a_node_that_drops_messages_is_a_loss(monkeypatch, capsys):
    monkeypatch.setattr(sandbox, "PATIENCE", 0.5)
    monkeypatch.setattr(command, "Plan", functools.partial(Plan, deaf=1))
    assert command.sandbox(nodes=5, seed=7) is Exit.FAILED
    out, err = capsys.readouterr()
    # It hears nothing that others say, and takes part in all else.
    assert "\nconverged      after " in out
    assert "\nverdict        FAILED, " in out
    assert err.endswith("tezos-p2p: messages were lost\n")


def test_time_that_is_too_short_is_a_failure_and_is_kept(capsys):
    began = time.monotonic()
    assert command.sandbox(nodes=5, seconds=0.1, as_json=True) is Exit.FAILED
    assert time.monotonic() - began < 5
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert (found["good"], found["converged"], found["latency_max"]) == (
        False,
        None,
        None,
    )
    assert "not all processes have started in time" in err


@pytest.mark.parametrize("wrong", ["--nodes=4", "--nodes=101", "--seconds=0"])
def test_what_cannot_be_is_misuse(wrong):
    done = subprocess.run([*COMMAND, wrong], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("tezos-p2p: Invalid value")


# -- no process is left ----------------------------------------------------------------


def children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in listed.read_text().split()]


def is_gone(pid: int) -> bool:
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


needs_proc = pytest.mark.skipif(
    not os.path.exists(f"/proc/{os.getpid()}/task/{os.getpid()}/children"),
    reason="no list of child processes here",
)


@pytest.fixture
def network():
    """A network that has converged, and its processes."""
    process = subprocess.Popen(
        [*COMMAND, *SMALL], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    found = []
    try:
        while "converged" not in process.stderr.readline():
            assert process.poll() is None
        found += children(process.pid)
        assert len(found) == 5
        yield process, found
    finally:
        process.kill()
        process.communicate()
        assert all(is_gone(pid) for pid in found)


@needs_proc
def test_an_interrupt_leaves_no_process(network):
    process, found = network
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=WAIT)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert all(is_gone(pid) for pid in found)


@needs_proc
def test_processes_end_when_the_one_that_started_them_is_killed(network):
    process, found = network
    process.kill()
    process.wait(WAIT)
    assert all(is_gone(pid) for pid in found)


@needs_proc
def test_a_process_that_ends_by_itself_is_a_failure(network):
    process, found = network
    os.kill(found[1], signal.SIGKILL)
    out, err = process.communicate(timeout=WAIT)
    assert process.returncode == 1
    assert "tezos-p2p: process 2 has ended by itself\n" in err
    assert "FAILED" in out
    assert all(is_gone(pid) for pid in found)


# -- processes that do as they like ----------------------------------------------------

READY = 'print(\'{"what": "ready"}\', flush=True)'


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("sys.exit(3)", "process 1 has ended by itself"),
        (
            'print(\'{"what": "failed", "why": "no port"}\', flush=True); input()',
            "process 1: no port",
        ),
        ("sys.stdout.write('{\"wh'); sys.exit(1)", "process 1 has ended by itself"),
        ("time.sleep(60)", "not all processes have started in time"),
        (f"{READY}; time.sleep(60)", "the network has not converged in time"),
    ],
)
def test_a_process_that_does_not_do_its_part_is_told_and_ended(monkeypatch, body, fault):
    code = f"import sys, time; input(); {body}"
    monkeypatch.setattr(sandbox, "COMMAND", (sys.executable, "-c", code))
    monkeypatch.setattr(sandbox, "STOPPING", 0.5)
    monkeypatch.setattr(Plan, "processes", 1)
    before = threading.active_count()
    summary = sandbox.run(Plan(nodes=5, seconds=1.0), hush)
    assert not summary.good
    assert summary.board.faults[0] == fault
    assert summary.seconds < 10
    assert threading.active_count() == before


def test_a_process_that_fails_while_it_stops_is_a_fault(monkeypatch):
    code = f"import sys; input(); {READY}; input(); input(); sys.exit(4)"
    monkeypatch.setattr(sandbox, "COMMAND", (sys.executable, "-c", code))
    monkeypatch.setattr(Plan, "processes", 1)
    monkeypatch.setattr(Board, "is_whole", lambda _: True)

    def play(self):
        self._start(1, self.board.living()[0])
        self._go("converged")

    monkeypatch.setattr(sandbox.Sandbox, "_play", play)
    summary = sandbox.run(Plan(nodes=5, seconds=10.0), hush)
    assert summary.board.faults == ["process 1 ended with exit code 4"]


# -- the plan --------------------------------------------------------------------------


def test_who_survives_a_process_can_still_have_enough_connections():
    for nodes in range(NODES_MIN, NODES_MAX + 1):
        plan = Plan(nodes=nodes)
        share = -(-nodes // plan.processes)
        bounds = limits_of(plan.connections).thresholds
        assert 3 <= plan.processes <= 8
        assert 2 <= bounds.min_threshold <= nodes - share - 1
        # Whoever has enough is not alone when one process is killed.
        assert share > 4 or bounds.min_threshold > share


def test_a_part_reaches_its_process_as_it_is():
    seats = (
        Seat("n01", "asyncio", 1, "aa", "bb", 2),
        Seat("n02", "blocking", 2, "", "", 2),
    )
    part = Part(seats, (3, 4, 10), 5.5)
    assert Part.of_facts(json.loads(part.to_json())) == part


@pytest.mark.parametrize("size", [0, 1, 8, 1000])
def test_a_message_that_was_changed_is_none(size):
    message = message_of(3, size)
    assert (len(message), number_of(message)) == (24 + size, 3)
    assert message[8:24] == hashlib.blake2b(message[24:], digest_size=16).digest()
    assert number_of(message + b"\0") is None
    assert number_of(message[:23]) is None


# -- one node --------------------------------------------------------------------------

US, THEM, OTHER = (Identity.of_secret(bytes([n]) * 32).peer_id for n in (1, 2, 3))


class FakeNode:
    def __init__(self):
        self.said = []
        self.gone = False

    def broadcast(self, message, skip=()):
        self.said.append((message, tuple(skip)))
        return 3

    def send_now(self, peer_id, message):
        if self.gone:
            raise NotConnected("gone")
        self.said.append((message, peer_id))
        return True


def member(deaf=False):
    told = []
    seat = Seat("n01", "asyncio", 1, "", "", 1, deaf)
    node = FakeNode()
    tell = lambda what, **facts: told.append((what, facts.get("number")))  # noqa: E731  # of one line
    return Member(seat, node, tell), node, told


def test_a_message_is_passed_on_once_and_not_to_whom_it_came_from():
    ours, node, told = member()
    message = message_of(5, 100)
    for peer_id in (THEM, OTHER, THEM):
        ours.take(Message(1, peer_id, message))
    assert node.said == [(message, (THEM,))]
    assert told == [("got", 5)]
    assert (ours._heard, ours._told, ours._bytes_out) == (3, 3, 3 * 124)


def test_what_one_has_said_oneself_is_no_news():
    ours, node, told = member()
    ours.say(1, 10)
    ours.take(Message(1, THEM, message_of(1, 10)))
    assert node.said == [(message_of(1, 10), ())]
    assert told == [("said", 1)]


def test_a_damaged_message_is_told_and_not_passed_on():
    ours, node, told = member()
    ours.take(Message(1, THEM, message_of(1, 10)[:-1]))
    assert (node.said, told) == ([], [("damaged", None)])


def test_who_joins_or_has_room_again_is_told_everything():
    ours, node, told = member()
    ours.say(1, 10)
    ours.say(2, 20)
    node.said.clear()
    remote = type("Remote", (), {"peer_id": THEM})()
    everything = [(message_of(1, 10), THEM), (message_of(2, 20), THEM)]
    for item in (Joined(1, remote, None), Ready(1, THEM)):
        ours.take(item)
        assert node.said == everything
        node.said.clear()
    node.gone = True
    ours.take(Ready(1, THEM))
    assert told == [("said", 1), ("said", 2), ("met", None)]


def test_a_deaf_node_drops_what_it_hears():
    ours, node, told = member(deaf=True)
    ours.take(Message(1, THEM, message_of(1, 10)))
    assert (node.said, told, ours._heard) == ([], [], 1)


# -- the books -------------------------------------------------------------------------


def board(count=4, bounds=(2, 3, 9)):
    rows = {}
    for number in range(1, count + 1):
        identity = Identity.of_secret(bytes([number]) * 32)
        point = Point(HOST, 1000 + number)
        driver = "blocking" if number % 2 else "asyncio"
        rows[f"n{number}"] = NodeRow(
            f"n{number}", number % 2 + 1, driver, point, identity
        )
    return Board(rows, limits_of(bounds).thresholds)


def connect(ours, *pairs):
    peers = {name: set() for name in ours.rows}
    for one, other in pairs:
        peers[one].add(other)
        peers[other].add(one)
    for name, them in peers.items():
        ours.rows[name].peers = frozenset(them)


RING = (("n1", "n2"), ("n2", "n3"), ("n3", "n4"), ("n4", "n1"))


def test_a_network_is_whole_when_all_have_enough_and_hang_together():
    ours = board()
    assert not ours.is_whole()
    connect(ours, *RING)
    assert ours.is_whole()
    connect(ours, *RING[:-1])  # the ends have too few
    assert not ours.is_whole()


def test_two_networks_are_not_one():
    ours = board(6)
    left = (("n1", "n2"), ("n2", "n3"), ("n3", "n1"))
    right = (("n4", "n5"), ("n5", "n6"), ("n6", "n4"))
    connect(ours, *left, *right)
    assert not ours.is_whole()
    connect(ours, *left, *right, ("n1", "n4"))
    assert ours.is_whole()
    # A connection of which one end knows nothing is none.
    ours.rows["n4"].peers -= {"n1"}
    assert not ours.is_whole()


def test_too_many_connections_are_not_content():
    ours = board(4, bounds=(2, 2, 2))
    connect(ours, *RING)
    assert ours.is_whole()
    connect(ours, *RING, ("n1", "n3"))
    assert not ours.is_whole()


def test_a_network_that_still_holds_on_to_the_killed_has_not_healed():
    ours = board()
    connect(ours, *RING, ("n2", "n4"), ("n1", "n3"))
    ours.leave([ours.rows["n4"]])
    assert not ours.is_whole()
    connect(ours, *RING[:2], ("n3", "n1"))
    assert ours.is_whole()


def got(number, name, at=2.0):
    return {"what": "got", "number": number, "name": name, "at": at}


def test_each_delivery_counts_once_and_none_may_miss():
    ours = board()
    ours.expect(1, "n2")
    assert ours.missing == [(1, "n1"), (1, "n3"), (1, "n4")]
    ours.take({"what": "said", "number": 1, "name": "n2", "at": 1.5})
    for name in ("n1", "n3"):
        ours.take(got(1, name))
    assert (ours.missing, ours.expected, ours.delivered) == ([(1, "n4")], 3, 2)
    assert not Summary(Plan(), ours, 1.0).good
    ours.take(got(1, "n4", 3.5))
    summary = Summary(Plan(), ours, 1.0)
    assert summary.good
    found = summary.json()
    assert (found["latency_median"], found["latency_max"]) == (0.5, 2.0)
    ours.take(got(1, "n4"))
    assert ours.faults == ["n4 heard message 1 twice"]
    assert not Summary(Plan(), ours, 1.0).good


def test_who_comes_back_has_to_hear_what_was_said_before():
    ours = board()
    ours.take({"what": "said", "number": 1, "name": "n1", "at": 1.0})
    ours.rows["n4"].counts["told"] = 5
    ours.leave([ours.rows["n4"]])
    ours.expect(2, "n1")
    assert ours.missing == [(2, "n2"), (2, "n3")]
    ours.take({"what": "said", "number": 2, "name": "n1", "at": 1.0})
    ours.back([ours.rows["n4"]])
    assert ours.missing == [(1, "n4"), (2, "n2"), (2, "n3"), (2, "n4")]
    ours.take(got(1, "n4"))
    assert (ours.late, ours.caught_up, ours.delivered) == (2, 1, 0)
    assert (ours.killed, ours.totals["told"]) == (["n4"], 5)


def test_a_damaged_message_is_a_fault():
    ours = board()
    ours.take({"what": "damaged", "name": "n3"})
    assert ours.faults == ["n3 got a damaged message"]


def test_a_reconnection_is_one_though_both_ends_tell():
    ours = board()
    ids = {name: str(row.identity.peer_id) for name, row in ours.rows.items()}
    for name, other in (("n1", "n2"), ("n2", "n1"), ("n3", "n1")):
        ours.take({"what": "met", "name": name, "peer": ids[other]})
    assert ours.reconnections == 0
    for name, other in (("n1", "n2"), ("n2", "n1"), ("n1", "n2")):
        ours.take({"what": "met", "name": name, "peer": ids[other]})
    assert ours.reconnections == 2


# -- what people see -------------------------------------------------------------------


def drawn(ours, height=30):
    console = Console(width=80, file=io.StringIO(), highlight=False)
    with console.capture() as capture:
        console.print(command._picture(ours, height))
    return capture.get().splitlines()


def test_the_table_shows_connections_against_their_bounds_on_any_screen():
    ours = board()
    connect(ours, *RING[:-1])
    ours.rows["n2"].counts.update(told=1234, heard=5, bytes_out=3 << 20, bytes_in=2047)
    ours.leave([ours.rows["n4"]])
    ours.note("something")
    lines = drawn(ours)
    assert max(map(len, lines)) <= 80
    assert "port" in lines[0]
    assert lines[1].split()[:7] == ["n1", "2", "blocking", "1001", "1", "of", "2-7"]
    assert lines[2].split()[7:] == ["1,234", "5", "3.0", "MiB", "2.0", "KiB"]
    assert "killed" in lines[4]
    assert lines[5].split()[:3] == ["all", "1,234", "5"]
    assert lines[-1].endswith("  something")
    assert "... 2 more" in "\n".join(drawn(ours, height=10))
    assert len(drawn(ours, height=10)) < 10
