"""The demo as a user runs it, and the loop around the socket when things go wrong."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time

import attrs
import pytest

from tezos_p2p.fsm.handshake import Handshake, Local
from tezos_p2p.io import demo
from tezos_p2p.io.demo import shake_hands
from tezos_p2p.io.recording import STEPS, replay
from tezos_p2p.spec.events import Closed
from tezos_p2p.spec.identity import Identity
from tezos_p2p.spec.limits import Limits
from tezos_p2p.spec.motive import Motive
from tezos_p2p.spec.reasons import Reason
from tezos_p2p.spec.version import MAINNET, SANDBOX


def test_the_demo_succeeds_and_says_so_within_its_time():
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "tezos_p2p.io.demo"],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - began < 20
    out = done.stdout
    assert out.endswith("Both handshakes succeeded.\n")
    assert out.count(": the same\n") == 2
    assert out.count("same bytes") == len(STEPS)
    assert "DIFFERENT" not in out
    for role in ("listener", "dialler"):
        for what in ("our connection message", "our metadata", "our answer"):
            assert any(role in line and what in line for line in out.splitlines())
    assert done.stderr == ""


def test_the_recording_is_followed_byte_for_byte():
    steps = list(replay())
    assert [done.step for done in steps] == list(STEPS)
    assert all(done.same for done in steps)
    assert [done.decrypted for done in steps] == [step.plain for step in STEPS]


def test_a_difference_from_the_recording_is_told_and_fails_the_demo(monkeypatch, capsys):
    assert demo._recorded()
    assert "DIFFERENT" not in capsys.readouterr().out
    frame = bytearray(STEPS[4].frame)
    frame[-1] ^= 1
    changed = attrs.evolve(STEPS[4], frame=bytes(frame), plain=b"\1")
    steps = (*STEPS[:4], changed, *STEPS[5:])
    honest = list(replay())
    monkeypatch.setattr(
        demo,
        "replay",
        lambda: (
            attrs.evolve(done, step=s, same=done.step == s)
            for done, s in zip(honest, steps, strict=True)
        ),
    )
    assert not demo._recorded()
    assert capsys.readouterr().out.count("DIFFERENT BYTES") == 1


def local(secret: int, network=SANDBOX, **limits: float) -> Local:
    return Local(
        identity=Identity.of_secret(bytes([secret]) * 32),
        network=network,
        random_bytes=os.urandom,
        difficulty=0.0,
        limits=Limits(**limits),
    )


def run_both(one: Handshake, other: Handshake):
    """Shake hands over a socket pair, each end in a thread; return what both told."""
    ends = socket.socketpair()
    told = [[], []]
    results = [None, None]

    def drive(index, machine):
        with ends[index]:
            results[index] = shake_hands(ends[index], machine, told[index].append)

    threads = [
        threading.Thread(target=drive, args=(i, m)) for i, m in enumerate((one, other))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    return results, told


def test_both_ends_hold_the_same_keys_afterwards():
    (one, other), _ = run_both(
        Handshake(local(1), incoming=False), Handshake(local(2), incoming=True)
    )
    assert one.channel.fingerprints == other.channel.fingerprints[::-1]


def test_nodes_of_different_networks_refuse_each_other():
    results, told = run_both(
        Handshake(local(1), incoming=False), Handshake(local(2, MAINNET), incoming=True)
    )
    assert results == [None, None]
    for events in told:
        closed = events[-1]
        assert isinstance(closed, Closed)
        assert closed.disconnection.motive is Motive.UNKNOWN_CHAIN_NAME


def test_a_silent_peer_costs_no_more_than_the_deadline():
    ours, theirs = socket.socketpair()
    told = []
    with ours, theirs:
        machine = Handshake(local(1, authentication_timeout=0.2), incoming=True)
        began = time.monotonic()
        assert shake_hands(ours, machine, told.append) is None
        assert 0.2 <= time.monotonic() - began < 5
    assert told[-1].disconnection.reason is Reason.AUTHENTICATION_REJECTED_ERROR


@pytest.mark.parametrize("reset", [False, True])
def test_a_peer_that_goes_away_ends_the_handshake(reset):
    server = socket.create_server(("127.0.0.1", 0))
    told = []
    with server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
        if reset:  # closing over unread bytes sends a reset
            ours.sendall(b"x")
            assert theirs.recv(1, socket.MSG_PEEK) == b"x"
        theirs.close()
        with ours:
            machine = Handshake(local(1), incoming=False)
            assert shake_hands(ours, machine, told.append) is None
    assert isinstance(told[-1], Closed)
