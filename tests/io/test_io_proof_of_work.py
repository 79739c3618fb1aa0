"""Searching a stamp with one process and with several."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys

import pytest

from tezos_p2p.io import proof_of_work
from tezos_p2p.io.proof_of_work import Progress, find_stamp, generate_identity
from tezos_p2p.spec.identity import Identity, is_enough_work, target_of

KEY = Identity.of_secret(b"\5" * 32).public_key


def test_a_generated_identity_is_sound_and_reaches_its_difficulty():
    identity = generate_identity(8.5)
    identity.check(8.5)


def test_no_two_identities_are_alike():
    assert generate_identity(0.0).peer_id != generate_identity(0.0).peer_id


@pytest.mark.parametrize("processes", [1, 2])
def test_the_stamp_found_is_good_and_no_process_is_left(processes):
    seen: list[Progress] = []
    stamp = find_stamp(KEY, 13.0, processes, seen.append, batch=200)
    assert is_enough_work(KEY, stamp, target_of(13.0))
    assert multiprocessing.active_children() == []
    tries = [progress.tries for progress in seen]
    assert tries == sorted(tries)
    assert all(progress.expected == 8192 for progress in seen)


@pytest.mark.parametrize("first", [0, 5, (1 << 192) - 3])
def test_all_tries_are_told_at_the_end_and_those_before_the_find(monkeypatch, first):
    monkeypatch.setattr(proof_of_work, "_first", lambda: first)
    seen: list[int] = []
    stamp = find_stamp(KEY, 5.0, 1, lambda each: seen.append(each.tries), batch=7)
    tries = 1
    while (first + tries - 1) % (1 << 192) != int.from_bytes(stamp, "big"):
        tries += 1
    assert seen == [*range(7, tries, 7), tries]


@pytest.mark.parametrize("processes", [1, 2])
def test_giving_up_from_the_progress_callback_leaves_no_process(processes):
    class Enough(Exception):
        pass

    def stop(progress: Progress) -> None:
        assert progress.tries >= 100
        raise Enough

    with pytest.raises(Enough):
        find_stamp(KEY, 200.0, processes, stop, batch=100)
    assert multiprocessing.active_children() == []


def test_a_killed_process_is_reported_not_waited_for():
    def kill(_: Progress) -> None:
        for child in multiprocessing.active_children():
            os.kill(child.pid, 9)

    with pytest.raises(ChildProcessError, match="killed"):
        find_stamp(KEY, 200.0, 2, kill, batch=100)
    assert multiprocessing.active_children() == []


def test_one_process_that_is_killed_is_enough():
    killed = []

    def kill(_: Progress) -> None:
        if not killed:
            killed.append(multiprocessing.active_children()[0].pid)
            os.kill(killed[0], 9)

    with pytest.raises(ChildProcessError, match="was killed"):
        find_stamp(KEY, 200.0, 2, kill, batch=100)
    assert multiprocessing.active_children() == []


def test_a_search_leaves_no_descriptor():
    find_stamp(KEY, 4.0, 2, batch=100)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        find_stamp(KEY, 4.0, 2, batch=100)
    assert len(os.listdir("/proc/self/fd")) <= before


def test_a_script_without_a_guard_is_told_what_it_lacks(tmp_path):
    script = tmp_path / "unguarded.py"
    script.write_text(
        "from tezos_p2p.io.proof_of_work import generate_identity\n"
        "generate_identity(30.0, processes=2)\n"
    )
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=60
    )
    assert "ChildProcessError: a searching process did not start" in done.stderr


def test_a_batch_has_at_least_one_try():
    with pytest.raises(ValueError, match="at least one stamp"):
        find_stamp(KEY, 1.0, 1, batch=0)


@pytest.mark.parametrize("processes", [0, -1])
def test_some_process_must_search(processes):
    with pytest.raises(ValueError, match="at least one process"):
        generate_identity(1.0, processes)


@pytest.mark.parametrize("difficulty", [-1.0, 256.5, float("nan")])
def test_an_impossible_difficulty_is_refused_before_anything_starts(difficulty):
    with pytest.raises(ValueError, match="difficulty"):
        generate_identity(difficulty)


def test_long_searches_use_all_cores_and_short_ones_do_not(monkeypatch):
    asked: list[int] = []

    def record(_key, _difficulty, processes, _on_progress):
        asked.append(processes)
        return bytes(24)

    monkeypatch.setattr(proof_of_work, "find_stamp", record)
    monkeypatch.setattr(proof_of_work.os, "sched_getaffinity", lambda _: {0, 1, 2})
    generate_identity(26.0)
    generate_identity(10.0)
    generate_identity(10.0, 2)
    monkeypatch.delattr(proof_of_work.os, "sched_getaffinity")
    monkeypatch.setattr(proof_of_work.os, "cpu_count", lambda: None)
    generate_identity(26.0)
    assert asked == [3, 1, 2, 1]


def test_progress_tells_rate_and_chance():
    progress = Progress(tries=1000, expected=1000.0, seconds=2.0)
    assert progress.rate == 500.0
    assert progress.chance == pytest.approx(0.632, abs=0.001)
    assert Progress(0, 1000.0, 0.0).rate == 0.0
    assert Progress(0, 1000.0, 0.0).chance == 0.0
