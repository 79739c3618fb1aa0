"""The demo as a user runs it, and what it makes of everything that can go wrong."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import attrs
import pytest

from tezos_p2p.io import demo, demo_ends
from tezos_p2p.io.cli.start import main as command
from tezos_p2p.io.demo_chain import LEVELS, make_chain, points_known_to
from tezos_p2p.io.demo_ends import Frames
from tezos_p2p.io.demo_talk import BURST, Mismatch, Talk
from tezos_p2p.io.files import save_identity
from tezos_p2p.io.recording import STEPS, Local, replay
from tezos_p2p.spec.hashes import BlockHash, ChainId
from tezos_p2p.spec.identity import Identity
from tezos_p2p.spec.message import Advertise, Bootstrap
from tezos_p2p.spec.operation import Operation
from tezos_p2p.spec.shell import (
    CurrentBranch,
    Deactivate,
    GetBlockHeaders,
    GetCurrentBranch,
    GetOperations,
)

DEMO = (sys.executable, "-m", "tezos_p2p.io.demo")
COMMAND = (sys.executable, "-m", "tezos_p2p.io.cli", "demo")
CHAIN = make_chain()
US, THEM = (Identity.of_secret(bytes([n]) * 32).peer_id for n in (1, 2))


def show(*_, **__):
    pass


# -- as a user runs it -----------------------------------------------------------------

SAID = (
    ("listener", "listening on 127.0.0.1:"),
    ("listener", "connected from 127.0.0.1:"),
    ("dialler", "connected to 127.0.0.1:"),
    ("dialler", "established: both accept, versions 2/1"),
    ("listener", "established: both accept, versions 2/1"),
    ("dialler", "gets Advertise: 4 points"),
    ("dialler", f"gets Current_branch: level {LEVELS - 1}, "),
    ("dialler", "gets 4 Operations_for_block, 9 in all, paths fit"),
    ("dialler", f"asks: Get_block_headers, {BURST} times"),
    ("listener", f"answers Get_block_headers, {BURST} times"),
    ("dialler", f"gets {BURST} Block_header, hashes fit"),
    ("dialler", f" for {BURST} requests, "),
    ("dialler", " messages/s"),
    ("listener", "gets Advertise: 4 points"),
    ("listener", f"gets Current_head: level {LEVELS - 1}, 1 operation pending"),
    ("listener", "gets Operation of 131,072 bytes, hash fits"),
    ("listener", "closed: the peer closed the connection (read)"),
    ("dialler", "closed: the application asked for it: the demo is over"),
    ("dialler", "sent 507 messages: "),
    ("listener", "sent 510 messages: "),
)


@pytest.mark.parametrize("how", [DEMO, COMMAND])
def test_the_demo_succeeds_and_says_so_within_its_time(how):
    began = time.monotonic()
    done = subprocess.run(how, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert time.monotonic() - began < 20
    out = done.stdout
    assert out.endswith("All went well: every message has arrived, every answer fits.\n")
    lines = out.splitlines()
    for role, what in SAID:
        assert any(f" ms  {role} " in line and what in line for line in lines), what
    assert out.count("same bytes") == len(STEPS)
    assert "DIFFERENT" not in out
    assert max(map(len, lines)) < 80
    # One timeline: neither process's words come before what they answer.
    times = [float(line.split()[0]) for line in lines if " ms  " in line[:15]]
    assert times == sorted(times)


def test_messages_share_frames_and_a_big_one_takes_several():
    done = subprocess.run([*COMMAND, "--json"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    steps = {line["step"] for line in lines}
    assert steps == {"identity", "said", "replayed", "result"}
    assert lines[-1] == {"step": "result", "good": True}
    said = [line["what"].split() for line in lines if line["step"] == "said"]
    (burst,) = [words for words in said if words[0] == "frames:"]
    assert 0 < int(burst[1]) < BURST / 2
    assert 0 < int(burst[5]) < BURST / 2
    (big,) = [words for words in said if words[0] == "in"]
    assert int(big[1]) >= 3


def test_the_command_has_help(capsys):
    assert command(["demo", "--help"]) == 0
    assert "--json" in capsys.readouterr().out
    assert command(["demo", "--nothing"]) == 2


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


def running(how):
    """Start the demo; return it and its processes as soon as there is one."""
    process = subprocess.Popen(
        how, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    while not process.stdout.readline().startswith("2."):
        assert process.poll() is None
    while not (found := children(process.pid)):
        assert process.poll() is None
    return process, found


@needs_proc
@pytest.mark.parametrize("how", [DEMO, COMMAND])
def test_an_interrupt_leaves_no_process(how):
    process, found = running(how)
    try:
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, err) == (130, "")
    assert all(is_gone(pid) for pid in found)


@needs_proc
@pytest.mark.parametrize("how", [DEMO, COMMAND])
def test_a_killed_process_fails_the_demo(how):
    process, found = running(how)
    try:
        os.kill(found[0], signal.SIGKILL)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 1
    assert "All went well" not in out
    assert err.endswith("FAILED\n")
    assert "Traceback" not in err


def test_a_reader_that_goes_away_is_no_traceback():
    for how in (DEMO, COMMAND):
        shell = f"{' '.join(how)} | head -n 1"
        done = subprocess.run(
            ["bash", "-c", shell], capture_output=True, text=True, timeout=60
        )
        assert done.stderr == ""


def test_an_end_without_identity_or_of_another_role_is_misuse(capsys):
    for arguments in (["--role", "bogus"], ["--role", "listener"]):
        with pytest.raises(SystemExit) as caught:
            demo.main(arguments)
        assert caught.value.code == 2


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt, 130), (OSError(28, "No space left"), 1)]
)
def test_the_demo_ends_without_a_traceback(monkeypatch, error, code):
    def fail(_):
        raise error

    monkeypatch.setattr(demo, "run", fail)
    assert demo.main([]) == code


# -- the verdict of the demo -----------------------------------------------------------

SCRIPT = """
import json, os, sys, time
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
LEFT = f"{LISTENING}; say('done', sent={{'A': 1}}, received={{'B': 2}})"
RIGHT = "say('done', sent={'B': 2}, received={'A': 1})"
HALF = "sys.stdout.write('{\"role\": '); sys.stdout.flush(); sys.exit(1)"
KILLED = "sys.stdout.flush(); os.kill(os.getpid(), 9)"


@pytest.mark.parametrize(
    ("listener", "dialler", "verdict"),
    [
        (LEFT, RIGHT, True),
        (LEFT, "say('done', sent={'B': 1}, received={'A': 1})", False),
        (LEFT, "say('done', sent={'B': 2}, received={})", False),
        (LEFT, "say('closed'); sys.exit(1)", False),
        (LEFT, f"{RIGHT}; sys.exit(1)", False),
        (LEFT, f"say('x'); {KILLED}", False),
        (LEFT, HALF, False),
        (LISTENING, RIGHT, False),
        (f"{LISTENING}; {KILLED}", RIGHT, False),
        (f"{LISTENING}; {HALF}", RIGHT, False),
        ("sys.exit(1)", "", False),
        (HALF, "", False),
        ("say('cannot listen')", "", False),
        ("say('cannot listen'); time.sleep(60)", "", False),
    ],
)
def test_the_demo_believes_only_two_ends_that_agree(
    monkeypatch, tmp_path, capsys, listener, dialler, verdict
):
    processes = scripted(monkeypatch, listener, dialler)
    began = time.monotonic()
    assert demo._two_processes(tmp_path, show) is verdict
    assert time.monotonic() - began < 10
    assert all(process.poll() is not None for process in processes)
    assert (capsys.readouterr().err == "") == verdict


@pytest.mark.parametrize("silent", ["listener", "dialler"])
def test_a_silent_process_is_not_waited_for(monkeypatch, tmp_path, capsys, silent):
    scripts = {"listener": LISTENING, "dialler": "", silent: "time.sleep(60)"}
    processes = scripted(monkeypatch, **scripts, patience=1.0)
    began = time.monotonic()
    assert demo._two_processes(tmp_path, show) is False
    assert time.monotonic() - began < 20
    assert all(process.poll() is not None for process in processes)
    assert "not done within 1 s" in capsys.readouterr().err


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize(("live", "recorded"), [(True, False), (False, True)])
def test_the_demo_fails_if_either_half_does(monkeypatch, capsys, live, recorded, as_json):
    monkeypatch.setattr(demo, "_make_identity", lambda *_: None)
    monkeypatch.setattr(demo, "_two_processes", lambda *_: live)
    monkeypatch.setattr(demo, "_recorded", lambda _: recorded)
    assert demo.main(["--json"] if as_json else []) == 1
    out, err = capsys.readouterr()
    assert err == "FAILED\n"
    assert ('"good": false' in out) == as_json


# -- the two ends ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ("points_known_to", "other points"),
        ("answers", "Get_block_headers"),
    ],
)
def test_an_end_that_gets_something_else_says_so(
    monkeypatch, tmp_path, capsys, change, word
):
    monkeypatch.setattr(demo_ends, "DIFFICULTY", 0.0)
    monkeypatch.setattr(demo_ends, "PATIENCE", 3.0)
    for role, secret in (("listener", 1), ("dialler", 2)):
        identity = Identity.of_secret(bytes([secret]) * 32)
        save_identity(identity, tmp_path / f"{role}.json")
    codes = {}

    def listen():
        codes["listener"] = demo_ends.run_end("listener", tmp_path / "listener.json", 0)

    honest = Talk.answers
    if change == "answers":
        # One header less than was asked for: the other end waits in vain.
        lost = CHAIN.hashes[-1]

        def answers(talk, request):
            found = honest(talk, request)
            return () if request == GetBlockHeaders((lost,)) else found

        monkeypatch.setattr(Talk, "answers", answers)
    else:
        monkeypatch.setattr(
            "tezos_p2p.io.demo_talk.points_known_to",
            lambda role: points_known_to(role)[1:] if role == "x" else (),
        )
        monkeypatch.setattr(
            Talk,
            "answers",
            lambda talk, request: (
                (Advertise(points_known_to("listener")),)
                if isinstance(request, Bootstrap)
                else honest(talk, request)
            ),
        )
    thread = threading.Thread(target=listen)
    thread.start()
    said = []
    until = time.monotonic() + 20
    while not any("port" in line for line in said) and time.monotonic() < until:
        said += map(json.loads, capsys.readouterr().out.splitlines())
        time.sleep(0.01)
    (port,) = [line["port"] for line in said if "port" in line]
    code = demo_ends.run_end("dialler", tmp_path / "dialler.json", port)
    thread.join(20)
    assert not thread.is_alive()
    assert (code, codes) == (1, {"listener": 1})
    assert word in capsys.readouterr().out


def talks() -> dict[str, Talk]:
    return {
        "dialler": Talk("dialler", US, THEM, CHAIN),
        "listener": Talk("listener", THEM, US, CHAIN),
    }


QUESTIONS = [
    pytest.param(role, question, id=f"{role} {question.name}")
    for role, talk in talks().items()
    for question in talk.questions()
]


@pytest.mark.parametrize(("role", "question"), QUESTIONS)
def test_honest_answers_pass_and_all_others_do_not(role, question):
    talk = talks()[talks()[role].other]
    answers = [each for request in question.requests for each in talk.answers(request)]
    assert len(answers) == question.answers
    assert question.check(answers)
    strangers = {
        Advertise: Advertise(()),
        CurrentBranch: CurrentBranch(ChainId(b"1234"), CHAIN.locator(US, THEM)),
        Operation: Operation(BlockHash(bytes(32)), b"else"),
    }
    kind = type(answers[0])
    others = [
        Deactivate(CHAIN.id),
        strangers.get(kind, Advertise(())),
        *(answers[-2:-1] if len(answers) > 1 else ()),
    ]
    for other in others:
        with pytest.raises(Mismatch):
            question.check([*answers[:-1], other])


def test_a_locator_for_somebody_else_is_noticed():
    talk = talks()["dialler"]
    check = talk.questions()[1].check
    for sender, receiver in ((US, THEM), (THEM, THEM)):
        locator = CHAIN.locator(sender, receiver)
        with pytest.raises(Mismatch, match="other steps"):
            check([CurrentBranch(CHAIN.id, locator)])


@pytest.mark.parametrize(
    "request_",
    [
        Deactivate(CHAIN.id),
        Advertise(()),
        GetCurrentBranch(ChainId(b"else")),
        GetBlockHeaders((BlockHash(bytes(32)),)),
        GetOperations(()),
    ],
)
def test_what_cannot_be_answered_is_a_mismatch(request_):
    with pytest.raises(Mismatch, match="unexpected"):
        talks()["listener"].answers(request_)


def test_the_chain_is_one():
    for before, header in zip(CHAIN.hashes, CHAIN.headers[1:], strict=False):
        assert header.predecessor == before
    assert make_chain() == CHAIN


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_frames_are_counted_however_they_are_cut(size):
    stream = b"".join(
        length.to_bytes(2, "big") + bytes(length) for length in (0, 1, 300, 0, 65_535)
    )
    frames = Frames()
    for at in range(0, len(stream), size):
        frames.feed(stream[at : at + size])
    assert (frames.count, frames.size) == (5, len(stream))


# -- the recording ---------------------------------------------------------------------


def test_the_recording_is_followed_byte_for_byte():
    steps = list(replay())
    assert [done.step for done in steps] == list(STEPS)
    assert all(done.same for done in steps)
    assert [done.decrypted for done in steps] == [step.plain for step in STEPS]


def test_a_difference_from_the_recording_is_told_and_fails_the_demo(monkeypatch, capsys):
    assert demo._recorded(demo._show_text)
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
    assert not demo._recorded(demo._show_text)
    assert capsys.readouterr().out.count("DIFFERENT BYTES") == 1


def test_what_is_decrypted_is_compared_with_what_was_recorded(monkeypatch):
    def garbled():
        for done in replay():
            yield attrs.evolve(done, decrypted=done.decrypted + b"x")

    monkeypatch.setattr(demo, "replay", garbled)
    assert not demo._recorded(show)


def test_a_machine_that_sends_other_bytes_than_were_recorded_is_noticed(monkeypatch):
    nonce = bytes(24)
    monkeypatch.setattr(
        "tezos_p2p.io.recording.Local",
        lambda **settings: Local(**settings | {"random_bytes": lambda _: nonce}),
    )
    first = next(iter(replay()))
    assert not first.same
