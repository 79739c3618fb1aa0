"""The demo as a user runs it, and the loop around the socket when things go wrong."""

from __future__ import annotations

import contextlib
import json
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
from tezos_p2p.io.files import save_identity
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
        (closed,) = [event for event in events if isinstance(event, Closed)]
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


class Broken:
    """A socket on which one call fails."""

    def __init__(self, call, error):
        self.call, self.error = call, error

    def __getattr__(self, name):
        def call(*_):
            if name == self.call:
                raise self.error
            return b""

        return call


@pytest.mark.parametrize("call", ["sendall", "recv", "shutdown"])
@pytest.mark.parametrize(
    "error", [ConnectionResetError(104, "reset"), OSError(113, "No route to host")]
)
def test_whatever_fails_on_the_socket_ends_in_one_event(call, error):
    told = []
    machine = Handshake(local(1), incoming=False)
    assert shake_hands(Broken(call, error), machine, told.append) is None
    assert [type(event) for event in told if not isinstance(event, bytes)] == [Closed]


def test_a_refusal_arrives_although_bytes_of_theirs_are_never_read():
    server = socket.create_server(("127.0.0.1", 0))
    with server, socket.create_connection(server.getsockname()) as theirs:
        ours, _ = server.accept()
        refusing = Handshake(local(1, MAINNET), incoming=True)

        def drive():
            with ours:
                shake_hands(ours, refusing, lambda _: None)

        thread = threading.Thread(target=drive)
        thread.start()
        peer = Handshake(local(2), incoming=False)
        peer.start(time.monotonic())
        theirs.settimeout(10)
        theirs.sendall(peer.data_to_send())
        while peer.state.name != "VERDICT":
            peer.receive_data(theirs.recv(peer.read_allowance), time.monotonic())
            # More than is wanted, behind each frame: it is left unread for ever.
            data = peer.data_to_send()
            theirs.sendall(data + b"unread" * 100 if data else b"")
        thread.join(10)
        assert not thread.is_alive()
        # Without the lingering: a reset, and nothing to read.
        nack = len(peer._frames)  # it may have come with the metadata
        while data := theirs.recv(1000):
            nack += len(data)
        assert nack == 2 + 16 + 7


def test_whoever_talks_on_is_not_listened_to_for_ever():
    ours, theirs = socket.socketpair()
    stop = threading.Event()

    def babble():
        with contextlib.suppress(OSError):
            while not stop.wait(0.05):
                theirs.sendall(b"x")

    thread = threading.Thread(target=babble)
    thread.start()
    began = time.monotonic()
    with ours, theirs:
        demo._linger(ours)
        spent = time.monotonic() - began
        stop.set()
        thread.join(10)
    assert demo.LINGER <= spent < 10


def test_half_a_line_of_a_killed_process_is_nothing(monkeypatch, tmp_path):
    half = "sys.stdout.write('{\"role\": '); sys.stdout.flush(); sys.exit(1)"
    scripted(monkeypatch, f"{LISTENING}; {half}", half)
    assert demo._two_processes(tmp_path) is False


# -- the verdict of the demo -----------------------------------------------------------


SCRIPT = """
import json, sys, time
def say(what, **facts):
    print(json.dumps({{"role": "{role}", "at": 1.0, "what": what, **facts}}), flush=True)
{body}
"""


def scripted(monkeypatch, listener, dialler, patience=10.0):
    """Let the two processes of the demo run scripts instead."""
    processes = []

    def start(role, _identity, port=0):
        body = {"listener": listener, "dialler": dialler}[role]
        code = SCRIPT.format(role=role, body=body)
        command = [sys.executable, "-c", code]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    monkeypatch.setattr(demo, "_start", start)
    monkeypatch.setattr(demo, "PATIENCE", patience)
    return processes


LISTENING = "say('listening', port=1)"
AGREED = f"{LISTENING}; say('session', sends='a', receives='b', peer='p')"


@pytest.mark.parametrize(
    ("listener", "dialler", "verdict"),
    [
        (AGREED, "say('session', sends='b', receives='a', peer='p')", True),
        (AGREED, "say('session', sends='b', receives='x', peer='p')", False),
        (AGREED, "say('session', sends='x', receives='a', peer='p')", False),
        (AGREED, "say('closed'); sys.exit(1)", False),
        (LISTENING, "say('session', sends='b', receives='a', peer='p')", False),
        ("sys.exit(1)", "", False),
        ("say('cannot listen')", "", False),
    ],
)
def test_the_demo_believes_only_two_ends_that_agree(
    monkeypatch, tmp_path, capsys, listener, dialler, verdict
):
    processes = scripted(monkeypatch, listener, dialler)
    assert demo._two_processes(tmp_path) is verdict
    assert all(process.poll() is not None for process in processes)
    assert ("DIFFERENT" in capsys.readouterr().out) == ("'x'" in dialler)


@pytest.mark.parametrize("silent", ["listener", "dialler"])
def test_a_silent_process_is_not_waited_for(monkeypatch, tmp_path, capsys, silent):
    scripts = {"listener": LISTENING, "dialler": "", silent: "time.sleep(60)"}
    processes = scripted(monkeypatch, **scripts, patience=1.0)
    began = time.monotonic()
    assert demo._two_processes(tmp_path) is False
    assert time.monotonic() - began < 20
    assert all(process.poll() is not None for process in processes)
    assert "no handshake within 1 s" in capsys.readouterr().err


@pytest.mark.parametrize(("live", "recorded"), [(True, False), (False, True)])
def test_the_demo_fails_if_either_half_does(monkeypatch, capsys, live, recorded):
    monkeypatch.setattr(demo, "_make_identity", lambda _: None)
    monkeypatch.setattr(demo, "_two_processes", lambda _: live)
    monkeypatch.setattr(demo, "_recorded", lambda: recorded)
    assert demo.main([]) == 1
    assert "FAILED" in capsys.readouterr().err


def test_what_is_decrypted_is_compared_with_what_was_recorded(monkeypatch):
    def garbled():
        for done in replay():
            yield attrs.evolve(done, decrypted=done.decrypted + b"x")

    monkeypatch.setattr(demo, "replay", garbled)
    assert not demo._recorded()


def test_a_machine_that_sends_other_bytes_than_were_recorded_is_noticed(monkeypatch):
    nonce = bytes(24)
    monkeypatch.setattr(
        "tezos_p2p.io.recording.Local",
        lambda **settings: Local(**settings | {"random_bytes": lambda _: nonce}),
    )
    first = next(iter(replay()))
    assert not first.same


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt, 130), (OSError(28, "No space left"), 1)]
)
def test_the_demo_ends_without_a_traceback(monkeypatch, error, code):
    def fail():
        raise error

    monkeypatch.setattr(demo, "_parent", fail)
    assert demo.main([]) == code


def test_a_reader_that_goes_away_is_no_traceback():
    command = f"{sys.executable} -m tezos_p2p.io.demo | head -n 1"
    done = subprocess.run(
        ["bash", "-c", command], capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""


def test_an_end_without_identity_or_of_another_role_is_misuse(capsys):
    for arguments in (["--role", "bogus"], ["--role", "listener"]):
        with pytest.raises(SystemExit) as caught:
            demo.main(arguments)
        assert caught.value.code == 2


def test_frames_that_leave_in_one_write_are_told_one_by_one(
    monkeypatch, tmp_path, capsys
):
    # All of theirs at once: then our metadata and our answer leave at once, too.
    us, them = Identity.of_secret(b"\1" * 32), Identity.of_secret(b"\2" * 32)
    for name, identity in (("dialler", us), ("listener", them)):
        save_identity(identity, tmp_path / f"{name}.json")
    monkeypatch.setattr(demo, "DIFFICULTY", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = Handshake(local(2), incoming=True)

        def all_at_once():
            theirs, _ = server.accept()
            with theirs:
                theirs.settimeout(10)
                peer.start(0.0)
                peer.receive_data(theirs.recv(97), 0.0)
                theirs.sendall(peer.data_to_send())
                while peer.state.name != "ESTABLISHED":
                    peer.receive_data(theirs.recv(1000), 0.0)
                    if peer.state.name == "VERDICT":
                        peer.admit(0.0)
                    theirs.sendall(peer.data_to_send())

        thread = threading.Thread(target=all_at_once)
        thread.start()
        port = server.getsockname()[1]
        assert demo._end("dialler", tmp_path / "dialler.json", port) == 0
        thread.join(10)
        assert not thread.is_alive()
    said = [json.loads(line)["what"] for line in capsys.readouterr().out.splitlines()]
    sent = [line.partition(": ")[2] for line in said if line.startswith("sent")]
    assert sent == ["our connection message", "our metadata", "our answer"]
