"""The frame of the command: usage, exit codes, streams, terminals."""

from __future__ import annotations

import importlib.metadata
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from io_cli_runner import COMMAND, environment, golden, on_terminal, run

from tezos_p2p.io.cli import frame, start
from tezos_p2p.io.cli.exits import CommandError, Exit
from tezos_p2p.io.cli.start import main, printable

ONE_LINE = re.compile(r"tezos-p2p: [^\n]+\n")
COMMANDS = ("completion", "diagrams", "identity", "spec")


@pytest.mark.parametrize("module", frame.GROUPS)
def test_the_table_of_groups_says_which_commands_a_module_has(module):
    found = {name for name in frame.make_app(module) if not name.startswith("-")}
    assert found == set(frame.GROUPS[module] or [module])


def test_a_command_loads_no_other():
    code = (
        "import sys; from tezos_p2p.io.cli.start import main; main(['spec']); "
        "sys.exit(any(n.startswith('tezos_p2p.io.admin') for n in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# -- help and version ------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)])
def test_help_names_every_command_and_the_exit_codes(arguments, capsys):
    # Nothing at all is no command: the same, but where errors go.
    assert main(arguments) == (0 if arguments else 2)
    out, err = capsys.readouterr()
    if not arguments:
        out, err = err, out
    assert err == ""
    for name in (*COMMANDS, "--install-completion", "--version", "Exit codes: 0 done"):
        assert name in out


@pytest.mark.parametrize(
    "command",
    [*COMMANDS, "identity generate", "identity show", "identity check"],
)
def test_every_command_has_help_and_every_one_that_prints_has_json(command, capsys):
    assert main([*command.split(), "--help"]) == 0
    out, err = capsys.readouterr()
    assert f"Usage: tezos-p2p {command}" in out
    assert err == ""
    assert ("--json" in out) == (command != "identity")
    assert "--no-" not in out


def test_the_version_is_that_of_the_package(capsys):
    assert main(["--version"]) == 0
    version = importlib.metadata.version("tezos-p2p")
    assert capsys.readouterr().out == f"tezos-p2p {version}\n"


def test_the_installed_script_is_the_command():
    script = Path(sys.executable).with_name("tezos-p2p")
    done = subprocess.run([script, "--version"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("tezos-p2p ")


# -- errors ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        "--nothing",
        "nothing",
        "identity nothing",
        "identity generate --nothing",
        "identity generate --difficulty much",
        "identity generate --difficulty 256.5",
        "identity generate --difficulty -1",
        "identity generate --difficulty nan",
        "identity generate extra",
        "identity generate --no-json",
        "identity show",
        "identity show one two",
        "identity check x --difficulty 300",
        "spec nothing",
        "spec one two",
        "diagrams nothing",
        "diagrams --format png",
        "diagrams --check",
        "completion",
        "completion csh",
    ],
)
def test_wrong_usage_is_one_line_and_2(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert ONE_LINE.fullmatch(err)
    assert list(tmp_path.iterdir()) == []


def test_what_is_wrong_is_named_and_where_to_read_on(capsys):
    main(["identity", "generate", "--difficulty", "300"])
    err = capsys.readouterr().err
    assert "--difficulty" in err
    assert "difficulty 300.0 is not in 0.0..256.0" in err
    assert err.endswith("(see: tezos-p2p identity generate --help)\n")


@pytest.mark.parametrize("module", ["cyclopts", "rich"])
def test_a_missing_extra_is_named_in_one_line(module):
    code = (
        f"import sys; sys.modules[{module!r}] = None\n"
        "from tezos_p2p.io.cli.start import main\n"
        "sys.exit(main(['spec']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == golden("missing_extra.txt")


def test_another_missing_module_is_a_fault_of_ours_and_not_hidden(monkeypatch):
    monkeypatch.setitem(sys.modules, "tezos_p2p.io.cli.frame", None)
    with pytest.raises(ModuleNotFoundError):
        main(["spec"])


def raising(error):
    def run_(_):
        raise error

    return run_


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (CommandError("no luck"), 1, "no luck"),
        (CommandError("no such thing", Exit.MISUSE), 2, "no such thing"),
        (FileNotFoundError(2, "No such file", "a\nb"), 1, "a b: No such file"),
        (PermissionError(13, "Permission denied"), 1, "Permission denied"),
        (ChildProcessError("a process was killed"), 1, "a process was killed"),
        (TimeoutError(), 1, "TimeoutError"),
        (KeyboardInterrupt(), 130, None),
        (BrokenPipeError(32, "Broken pipe"), 1, None),
    ],
)
def test_expected_errors_are_one_line_and_a_code(monkeypatch, capsys, error, code, said):
    monkeypatch.setattr(frame, "run", raising(error))
    assert main([]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err == ("" if said is None else f"tezos-p2p: {said}\n")


@pytest.mark.parametrize("error", [ValueError("a bug"), RuntimeError("a bug")])
def test_unexpected_errors_are_not_hidden(monkeypatch, error):
    monkeypatch.setattr(frame, "run", raising(error))
    with pytest.raises(type(error), match="a bug"):
        main([])


def test_nothing_that_is_printed_can_play_with_a_terminal(capsys):
    assert printable("a\x1b[2Jb\r\nc\u202e\udcff") == r"a\x1b[2Jb c\u202e\udcff"
    assert main(["identity", "show", "\x1b]0;title\x07"]) == 1
    err = capsys.readouterr().err
    assert r"\x1b]0;title\x07: no identity file there" in err


# -- streams ---------------------------------------------------------------------------


def test_a_reader_that_goes_away_is_no_traceback():
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*COMMAND, "spec", "message"],
        stdout=writing,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("arguments", [["spec"], ["spec", "--json"], ["--help"]])
def test_a_full_disk_is_told(arguments):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [*COMMAND, *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
    assert done.returncode == 1
    assert done.stderr == "tezos-p2p: No space left on device\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_an_error_that_cannot_be_told_leaves_its_code():
    with open("/dev/full", "w") as full:
        done = subprocess.run([*COMMAND, "spec", "x"], stderr=full, env=environment())
    assert done.returncode == 2


@pytest.mark.parametrize("closed", [(1,), (2,), (1, 2)])
def test_closed_streams_are_no_crash(closed):
    def close():
        for descriptor in closed:
            os.close(descriptor)

    for arguments, code in ((["spec"], 0), (["spec", "x"], 2), (["--help"], 0)):
        done = subprocess.run(
            [*COMMAND, *arguments], capture_output=True, preexec_fn=close, text=True
        )
        assert done.returncode == code
        assert "Traceback" not in done.stderr


@pytest.mark.parametrize("stream", [None, io.StringIO()])
def test_streams_without_a_descriptor_will_do(monkeypatch, stream):
    monkeypatch.setattr(sys, "stdout", stream)
    assert main(["spec"]) == 0
    start._settle(stream)


def test_characters_that_the_encoding_lacks_are_no_error():
    done = run("--help", PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")


# -- terminals -------------------------------------------------------------------------

CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLOUR = re.compile(r"\x1b\[([0-9]+;)*(3[0-7]|38|9[0-7])(;[0-9]+)*m")


@pytest.mark.parametrize("arguments", [["--help"], ["spec", "message"], ["diagrams"]])
def test_pipes_get_no_controls_whatever_the_terminal(arguments):
    done = run(*arguments)
    assert done.returncode == 0
    assert done.stdout.isascii()
    assert done.stdout.replace("\n", "").isprintable()
    assert not any(line.endswith(" ") for line in done.stdout.splitlines())


def test_pipes_get_whole_lines_however_narrow(tmp_path):
    assert run("spec", "answer", COLUMNS="20").stdout == run("spec", "answer").stdout
    assert run("--help", COLUMNS="20").stdout == run("--help").stdout


@pytest.mark.parametrize("columns", [1, 10, 40, 80, 200])
@pytest.mark.parametrize("arguments", [["--help"], ["spec", "message"], ["diagrams"]])
def test_no_terminal_is_too_narrow(arguments, columns):
    code, shown = on_terminal(*arguments, columns=columns)
    assert code == 0
    # The first line is left to the terminal to wrap; of one column nothing can be asked.
    for line in CONTROL.sub("", shown).splitlines()[1:]:
        assert len(line) <= columns or columns < 10


def test_a_table_on_a_terminal_loses_nothing():
    _, shown = on_terminal("spec", "connection-metadata", columns=200)
    text = [line.split() for line in CONTROL.sub("", shown).splitlines()]
    assert text == [line.split() for line in golden("spec_metadata.txt").splitlines()]


def test_no_color_is_honoured_and_dumb_terminals_get_plain_text():
    assert COLOUR.search(on_terminal("identity", "generate", "--help")[1])
    assert not COLOUR.search(
        on_terminal("identity", "generate", "--help", NO_COLOR="1")[1]
    )
    for arguments in (["--help"], ["spec", "message"]):
        code, shown = on_terminal(*arguments, TERM="dumb")
        assert code == 0
        assert "\x1b" not in shown
