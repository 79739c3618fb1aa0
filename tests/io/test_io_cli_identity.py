"""``tezos-p2p identity``: files that are made, shown, checked; searches that are left."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import time

import pytest
from io_cli_runner import COMMAND, REFERENCE, environment, golden, on_terminal, run

from tezos_p2p.io.cli import search as searching
from tezos_p2p.io.cli.search import describe
from tezos_p2p.io.cli.start import main
from tezos_p2p.io.files import load_identity
from tezos_p2p.io.proof_of_work import Progress, generate_identity
from tezos_p2p.spec.identity import PeerId


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def reference(folder):
    (folder / "reference.json").write_text(json.dumps(REFERENCE))
    return "reference.json"


# -- generate --------------------------------------------------------------------------


def test_an_identity_is_made_kept_private_and_told(folder):
    done = run("identity", "generate", "--difficulty", "9.5", cwd=folder)
    assert done.returncode == 0, done.stderr
    path = folder / "identity.json"
    identity = load_identity(path, 9.5)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(folder.iterdir()) == [path]
    expected = golden("generate.txt").format(
        peer_id=identity.peer_id, level=f"{identity.difficulty:.2f}"
    )
    assert done.stdout == expected
    assert done.stderr == ("searching a proof of work of 9.5 bits, 724 tries expected\n")
    assert identity.secret_key.hex() not in done.stdout + done.stderr


def test_json_of_a_new_identity_has_all_but_the_secret_key(folder):
    arguments = ("identity", "generate", "--difficulty", "8", "--json")
    done = run(*arguments, "--output", "mine.json", cwd=folder)
    document = json.loads(done.stdout)
    assert done.stdout.count("\n") == 1
    identity = load_identity(folder / "mine.json")
    assert document == {
        "peer_id": str(identity.peer_id),
        "public_key": identity.public_key.hex(),
        "difficulty": 8.0,
        "level": identity.difficulty,
        "file": "mine.json",
        "tries": document["tries"],
        "seconds": document["seconds"],
    }
    assert document["tries"] > 0
    assert document["seconds"] >= 0
    assert identity.secret_key.hex() not in done.stdout + done.stderr


@pytest.mark.parametrize("state", ["closed", "nobody reads"])
def test_progress_that_nobody_can_see_goes_nowhere_else(folder, state):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*COMMAND, "identity", "generate", "--difficulty", "1", "--json"],
        stdout=subprocess.PIPE,
        stderr=writing,
        preexec_fn=(lambda: os.close(2)) if state == "closed" else None,
        env=environment(),
    )
    os.close(writing)
    assert done.returncode == 0
    assert json.loads(done.stdout)["difficulty"] == 1.0
    assert (folder / "identity.json").exists()


@pytest.mark.parametrize("kind", ["file", "folder", "dangling link"])
def test_what_exists_is_left_alone_and_told_before_the_search(folder, capsys, kind):
    path = folder / "identity.json"
    match kind:
        case "file":
            path.write_text("precious")
        case "folder":
            path.mkdir()
        case _:
            path.symlink_to("nowhere")
    before = path.lstat()
    # A search of this difficulty would never end.
    assert main(["identity", "generate", "--difficulty", "200"]) == 1
    out, err = capsys.readouterr()
    assert (out, err) == ("", golden("exists.txt"))
    assert path.lstat() == before


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere/identity.json", "nowhere: no such folder"),
        ("file/identity.json", "file/identity.json: Not a directory"),
        ("x" * 250, "File name too long"),
    ],
)
def test_what_cannot_be_written_is_told_before_the_search(folder, capsys, name, said):
    (folder / "file").write_text("")
    assert main(["identity", "generate", "--difficulty", "200", "--output", name]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is forbidden to root")
def test_a_folder_that_may_not_be_written_is_told_before_the_search(folder, capsys):
    folder.chmod(0o500)
    assert main(["identity", "generate", "--difficulty", "200"]) == 1
    assert "Permission denied" in capsys.readouterr().err


def test_a_file_that_comes_during_the_search_is_not_overwritten(
    folder, capsys, monkeypatch
):
    def slow(difficulty, on_progress):
        (folder / "identity.json").write_text("precious")
        return generate_identity(difficulty, on_progress=on_progress)

    monkeypatch.setattr(searching, "generate_identity", slow)
    assert main(["identity", "generate", "--difficulty", "1"]) == 1
    assert "not overwritten" in capsys.readouterr().err
    assert (folder / "identity.json").read_text() == "precious"


def test_a_name_that_is_no_text_is_written_and_told(folder):
    name = os.fsdecode(b"\xff.json")
    done = run("identity", "generate", "--difficulty", "1", "--output", name, cwd=folder)
    assert done.returncode == 0
    assert r"\udcff.json" in done.stdout
    assert os.listdir(os.fsencode(folder)) == [b"\xff.json"]


def is_gone(group: int) -> bool:
    """Whether no process of a group is left, within some seconds."""
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("wait", [0.0, 1.0])
def test_an_interrupt_ends_all_processes_and_leaves_no_file(folder, wait):
    process = subprocess.Popen(
        [*COMMAND, "identity", "generate", "--difficulty", "100"],
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert process.stderr.readline().startswith("searching")
        time.sleep(wait)
        # To the whole group, as a terminal does.
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert (process.returncode, out, err) == (130, "", "")
        assert is_gone(process.pid)
    finally:
        process.kill()
        process.communicate()
    assert list(folder.iterdir()) == []


def test_on_a_terminal_the_search_shows_a_bar_and_removes_it(folder):
    path = str(folder / "identity.json")
    code, shown = on_terminal(
        "identity", "generate", "--difficulty", "17.5", "--output", path
    )
    assert code == 0
    assert "\x1b[?25l" in shown  # cursor hidden, and shown again
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")
    assert str(load_identity(folder / "identity.json").peer_id) in shown


def test_a_dumb_terminal_gets_a_line_instead(folder):
    path = str(folder / "identity.json")
    arguments = ("identity", "generate", "--difficulty", "4", "--output", path)
    code, shown = on_terminal(*arguments, TERM="dumb", columns=300)
    assert code == 0
    assert shown.startswith("searching a proof of work of 4 bits, 16 tries expected\n")
    assert "\x1b" not in shown


# -- progress --------------------------------------------------------------------------

HALF_WAY = Progress(tries=46_000_000, expected=2.0**26, seconds=23.0)


def test_progress_tells_what_is_expected_and_how_likely_it_was_by_now():
    assert describe(HALF_WAY) == (
        "46.0 M tries, 2.00 M/s, 0:23 of 0:34 expected, chance so far 50%"
    )


@pytest.mark.parametrize("room", [3, 17, 20, 43, 64, 100])
def test_progress_fits_where_there_is_room_for_anything(room):
    assert len(describe(HALF_WAY, room)) <= room


@pytest.mark.parametrize(
    ("progress", "said"),
    [
        (Progress(0, 2.0**26, 0.0), "0:00 of 0:00 expected, chance so far 0%"),
        (Progress(10**6, 3.6e9, 1.0), "0:01 of 1:00:00 expected"),
        (Progress(10**6, 8.64e15, 1.0), "of 1e+05 days expected"),
    ],
)
def test_progress_can_be_told_of_any_search(progress, said):
    assert said in describe(progress)


def test_in_a_log_progress_is_a_line_now_and_then(capsys):
    show = searching._lines()
    for second in range(100):
        show(Progress(second * 1000, 2.0**26, float(second)))
    assert capsys.readouterr().err.count(" expected, chance so far ") == 3


@pytest.mark.parametrize("columns", [1, 20, 60, 80])
def test_the_bar_fits_on_any_terminal(columns):
    import io

    from rich.console import Console

    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=columns, no_color=True)
    with searching._bar(console) as show:
        show(HALF_WAY)
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", file.getvalue()))
    assert all(len(line) <= columns for line in lines)
    if columns == 80:
        assert any("46.0 M tries" in line and "━" in line for line in lines)


def test_interrupts_are_heard_again_after_a_search_and_where_none_can_be_held(
    monkeypatch,
):
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    searching.search(1.0)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before
    monkeypatch.delattr(signal, "pthread_sigmask")
    assert searching.search(1.0).seconds >= 0


# -- show and check --------------------------------------------------------------------


def test_show_tells_all_but_the_secret_key(reference, capsys):
    assert main(["identity", "show", reference]) == 0
    assert capsys.readouterr() == (golden("show.txt"), "")


def test_show_as_json(reference, capsys):
    assert main(["identity", "show", reference, "--json"]) == 0
    out, err = capsys.readouterr()
    document = json.loads(out)
    assert document.pop("level") == pytest.approx(12.5, abs=0.1)
    public = {key: value for key, value in REFERENCE.items() if key != "secret_key"}
    assert document == {**public, "file": reference}
    assert err == ""


def test_hex_is_not_broken_on_a_terminal(reference, folder):
    code, shown = on_terminal("identity", "show", str(folder / reference), columns=40)
    assert code == 0
    assert REFERENCE["public_key"] in shown


@pytest.mark.parametrize("arguments", [[], ["--difficulty", "12.5"]])
def test_check_passes_or_not_by_the_difficulty(reference, capsys, arguments):
    code = main(["identity", "check", reference, *arguments])
    out, err = capsys.readouterr()
    if arguments:
        assert (code, out, err) == (0, golden("check_passes.txt"), "")
    else:
        assert (code, out, err) == (1, "", golden("check_fails.txt"))


BAD = {
    "missing": None,
    "not json": "{",
    "not an object": "[]",
    "several faults": json.dumps(REFERENCE | {"secret_key": "af32", "extra": 1}),
    "not text": b"\xff\xfe",
    "other keys": json.dumps(REFERENCE | {"secret_key": "11" * 32}),
    "other peer id": json.dumps(REFERENCE | {"peer_id": str(PeerId(bytes(16)))}),
}


@pytest.mark.parametrize("kind", BAD)
@pytest.mark.parametrize("command", ["show", "check"])
def test_a_bad_file_is_told_without_its_secrets(folder, capsys, kind, command):
    content = BAD[kind]
    if content is not None:
        data = content if isinstance(content, bytes) else content.encode()
        (folder / "bad.json").write_bytes(data)
    assert main(["identity", command, "bad.json", "--json"]) == 1
    out, err = capsys.readouterr()
    assert all(line.startswith("tezos-p2p: bad.json") for line in err.splitlines())
    assert REFERENCE["secret_key"] not in out + err
    if command == "show":
        assert out == ""
        assert err.count("\n") == 1
        return
    document = json.loads(out)
    assert document["file"] == "bad.json"
    assert document["passes"] is False
    assert [f"tezos-p2p: {fault}" for fault in document["faults"]] == err.splitlines()
    assert len(document["faults"]) == (2 if kind == "several faults" else 1)


def test_check_as_json_of_a_good_file(reference, capsys):
    assert main(["identity", "check", reference, "--difficulty", "12", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == {"file": reference, "passes": True, "faults": []}
