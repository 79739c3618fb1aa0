"""The programs of docs/embedding: each runs, and does just what its node says."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

RULES = Path(__file__).with_name("embedding_rules.py")
FOLDER = RULES.parents[2] / "docs" / "embedding"
PAGE = FOLDER.with_name("embedding-loops.md")
#: What a program needs beside this library.
NEEDS = {
    "gevent_node.py": "gevent",
    "qt_node.py": "PySide6",
    "selectors_node.py": "selectors",
    "thread_node.py": "threading",
    "trio_node.py": "trio",
    "twisted_node.py": "twisted",
}


def program(name: str):
    package = NEEDS[name]
    missing = importlib.util.find_spec(package) is None
    return pytest.param(
        name, marks=pytest.mark.skipif(missing, reason=f"{package} is not installed")
    )


#: What both nodes have to say in the end, in any order.
TALK = [
    "alice heard 1920000 bytes from bob, in order",
    "alice stops",
    "bob heard 1920000 bytes from alice, in order",
    "bob stops",
]

every_program = pytest.mark.parametrize("name", [program(name) for name in NEEDS])


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own; what it forgets to close is an error."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-W", "always::ResourceWarning", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def complaints(done: subprocess.CompletedProcess[str]) -> list[str]:
    """Return what was printed as an error, but for a file that Twisted keeps."""
    return [line for line in done.stderr.splitlines() if "'/dev/null'" not in line]


@every_program
def test_both_nodes_hear_everything_and_stop_by_themselves(name):
    done = run(FOLDER / name)
    assert complaints(done) == []
    assert done.returncode == 0
    assert sorted(done.stdout.splitlines()) == TALK


@every_program
def test_every_rule_of_driving_is_kept(name):
    done = run(RULES, name)
    assert complaints(done) == []
    assert done.returncode == 0
    *talk, last = done.stdout.splitlines()
    assert sorted(talk) == TALK
    nodes = json.loads(last)
    assert [each["broken"] for each in nodes] == [[], []]
    alice, bob = (each["counts"] for each in nodes)
    for counts in (alice, bob):
        assert counts["Accept"] == 2  # once to begin, once to end
        # Who rests does not ask again before it is told to.
        assert 0 < counts["Read"] <= counts["rests"] <= counts["Read"] + 2
        if name not in ("selectors_node.py", "thread_node.py"):
            # Those ask before each wait; the others arm a timer, whenever it is another.
            assert counts["timeouts"] < 2 * counts["rests"] + 50
            assert counts["unarmed"] == 0
    assert bob["Dial"] == 3
    assert bob["made"] == 1
    assert bob["no room"] == bob["writable"] > 0
    assert bob["Shut"] == 1
    assert alice["ends"] == 1
    assert alice["Close"] == 1
    refused = nodes[1]["refused"]
    assert refused["TCP_CONNECTION_REFUSED"] == 1  # its errno came through
    assert refused["POOL_DESTROYED"] == 2  # the connection, and the dial without answer


@every_program
def test_a_program_that_cannot_finish_gives_up(name):
    done = run(RULES, name, "mute")
    assert done.returncode == 1
    assert "heard" not in done.stdout
    assert re.search("not done in time|TimeoutError", done.stderr)


def test_every_program_is_run_and_shown():
    programs = {path.name for path in FOLDER.glob("*.py")}
    assert programs == {*NEEDS, "two_nodes.py"}
    page = PAGE.read_text("utf-8")
    for name in programs:
        assert f"```{{literalinclude}} embedding/{name}\n" in page
