"""``tezos-p2p spec``, ``diagrams`` and ``completion``: commands that print what is."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import typing

import pytest
from io_cli_runner import golden, run

from tezos_p2p.fsm.diagram import FORMATS, MACHINES, as_json, dot, mermaid
from tezos_p2p.io.cli import diagrams
from tezos_p2p.io.cli.start import main
from tezos_p2p.spec.layouts import LAYOUTS, summary


def printed(capsys, *arguments, code=0, err=""):
    assert main(arguments) == code
    out, said = capsys.readouterr()
    assert said == err
    return out


# -- spec ------------------------------------------------------------------------------


def test_the_layouts_are_listed(capsys):
    lines = printed(capsys, "spec").splitlines()
    assert lines[0].split() == ["name", "layout"]
    listed = {line.split(maxsplit=1)[0]: line.split(maxsplit=1)[1] for line in lines[1:]}
    assert listed == {name: summary(layout) for name, layout in LAYOUTS.items()}


def test_the_list_as_json(capsys):
    document = json.loads(printed(capsys, "spec", "--json"))
    lines = [{"name": name, "summary": summary(LAYOUTS[name])} for name in LAYOUTS]
    assert document == {"layouts": lines}


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("connection-metadata", "spec_metadata.txt"),
        ("connection-message", "spec_connection_message.txt"),
        ("answer", "spec_answer.txt"),
        ("point", "spec_point.txt"),
    ],
)
def test_a_layout_is_a_table(capsys, name, file):
    assert printed(capsys, "spec", name) == golden(file)


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_can_be_shown_and_is_its_data_as_json(capsys, name):
    assert printed(capsys, "spec", name).startswith(name)
    document = json.loads(printed(capsys, "spec", name, "--json"))
    assert document == {"name": name, "layout": json.loads(json.dumps(LAYOUTS[name]))}


def test_an_unknown_name_is_answered_with_close_ones(capsys):
    err = capsys.readouterr
    assert main(["spec", "conection-metadata"]) == 2
    assert "did you mean connection-metadata" in err().err
    assert main(["spec", "ANSWER"]) == 2
    assert "did you mean answer" in err().err
    assert main(["spec", "zzz"]) == 2
    assert err().err == golden("spec_unknown.txt")


# -- diagrams --------------------------------------------------------------------------


def test_the_machines_are_listed(capsys):
    lines = printed(capsys, "diagrams").splitlines()
    assert lines[0].split() == ["machine", "states", "rows"]
    assert [line.split() for line in lines[1:]] == [
        [table.name, str(len(table.states)), str(len(table.rows))]
        for table in MACHINES.values()
    ]
    document = json.loads(printed(capsys, "diagrams", "--json"))
    assert [line["name"] for line in document["machines"]] == list(MACHINES)


def test_a_machine_is_printed(capsys):
    table = MACHINES["handshake"]
    assert printed(capsys, "diagrams", "handshake") == mermaid(table)
    both = printed(capsys, "diagrams", "handshake", "--format=dot", "--format", "json")
    assert both == dot(table) + as_json(table)
    document = json.loads(printed(capsys, "diagrams", "handshake", "--json"))
    (diagram,) = document["diagrams"]
    assert diagram == {"machine": "handshake", "format": "mmd", "text": mermaid(table)}


def test_a_format_alone_prints_every_machine(capsys):
    expected = "".join(dot(table) for table in MACHINES.values())
    assert printed(capsys, "diagrams", "--format", "dot") == expected


def test_the_formats_are_those_there_are():
    assert set(typing.get_args(diagrams._Format)) == set(FORMATS)


def test_files_are_written_once_and_checked(capsys, tmp_path):
    folder = tmp_path / "new" / "folder"
    arguments = (
        "diagrams",
        "--output",
        str(folder),
        "--format",
        "mmd",
        "--format",
        "dot",
    )
    names = [
        f"{folder}/{name}.{suffix}" for name in MACHINES for suffix in ("mmd", "dot")
    ]
    stale = f"tezos-p2p: out of date: {', '.join(names)}\n"
    assert printed(capsys, *arguments, "--check", code=1, err=stale) == ""
    assert not folder.exists()
    assert printed(capsys, *arguments).splitlines() == names
    assert (folder / "handshake.mmd").read_text() == mermaid(MACHINES["handshake"])
    assert printed(capsys, *arguments) == ""
    assert printed(capsys, *arguments, "--check") == ""
    document = json.loads(printed(capsys, *arguments, "--json"))
    assert document == {"current": names, "written": []}
    (folder / "handshake.dot").write_text("else")
    err = f"tezos-p2p: out of date: {folder}/handshake.dot\n"
    checked = printed(capsys, *arguments, "--check", "--json", code=1, err=err)
    assert json.loads(checked)["stale"] == [f"{folder}/handshake.dot"]


def without_layouter(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "mmdr" else find(name)
    )
    monkeypatch.setitem(__import__("sys").modules, "mmdr", None)


def test_without_the_layouter_all_but_pictures_are_written(capsys, tmp_path, monkeypatch):
    without_layouter(monkeypatch)
    err = "tezos-p2p: no SVG, for want of the mmdr package\n"
    out = printed(capsys, "diagrams", "handshake", "--output", str(tmp_path), err=err)
    assert out.count("\n") == 3
    assert main(["diagrams", "--format", "svg"]) == 2
    assert "pip install 'tezos-p2p[dev]'" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_told(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    arguments = ["diagrams", "--output", str(tmp_path / "file"), "--format", "mmd"]
    assert main(arguments) == 1
    assert capsys.readouterr().err.endswith("/file: File exists\n")


# -- completion ------------------------------------------------------------------------


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_is_printed_that_the_shell_can_read(capsys, shell, tmp_path):
    script = printed(capsys, "completion", shell)
    for word in ("identity", "generate", "--difficulty", "diagrams"):
        assert word.removeprefix("--") in script
    document = json.loads(printed(capsys, "completion", shell, "--json"))
    assert document["shell"] == shell
    assert document["script"].rstrip("\n") == script.rstrip("\n")
    if program := shutil.which(shell):
        (tmp_path / "script").write_text(script)
        done = subprocess.run([program, "-n", tmp_path / "script"], capture_output=True)
        assert (done.returncode, done.stderr) == (0, b"")


COMPLETING = """
source ./script
complete_words() {
  COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMPREPLY=()
  _tezos_p2p
  echo "${COMPREPLY[*]}"
}
complete_words tezos-p2p ""
complete_words tezos-p2p identity gen
complete_words tezos-p2p identity generate --d
complete_words tezos-p2p diagrams --format s
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_completes_commands_options_and_choices(capsys, tmp_path):
    (tmp_path / "script").write_text(printed(capsys, "completion", "bash"))
    done = subprocess.run(
        ["bash", "-c", COMPLETING], cwd=tmp_path, capture_output=True, text=True
    )
    first, *rest = done.stdout.splitlines()
    assert {"identity", "spec", "diagrams", "completion"} <= set(first.split())
    assert rest == ["generate", "--difficulty", "svg"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_is_installed_below_the_home_folder(tmp_path, shell):
    done = run(
        "--install-completion",
        "--shell",
        shell,
        cwd=tmp_path,
        HOME=str(tmp_path),
        XDG_CONFIG_HOME=str(tmp_path / ".config"),
        XDG_DATA_HOME=str(tmp_path / ".local"),
        ZSH_CUSTOM="",
        ZSH="",
    )
    assert (done.returncode, done.stderr) == (0, "")
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any("identity" in path.read_text() for path in written)
    assert str(tmp_path) in done.stdout
