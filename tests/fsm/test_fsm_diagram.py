"""Diagrams: what is drawn, what the files hold, what the command says."""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

from tezos_p2p.fsm import Row, States, Table, diagram
from tezos_p2p.fsm.handshake import TABLE

DRAWN = Path(__file__).parents[2] / "diagrams"
TEXT_FORMATS = ("mmd", "dot", "json")


class Lamp(States):
    OFF = 'dark, "as ever"'
    ON = "bright"
    GONE = "broken"


LAMP = Table(
    "lamp",
    Lamp,
    Lamp.OFF,
    (
        Row("press", Lamp.OFF, Lamp.ON, ("_powered", "_whole"), ("_shine",)),
        Row("press", Lamp.OFF, None),
        Row("press", Lamp.ON, Lamp.OFF),
        Row("pull", Lamp.ON, Lamp.OFF),
        Row("drop", (Lamp.OFF, Lamp.ON), Lamp.GONE),
    ),
)

HERE = f"{__name__}:LAMP"


class FakeDiagram:
    """Stands in for the layouter's class; what it drew last is kept."""

    drawn = ""

    def __init__(self, text: str) -> None:
        type(self).drawn = text

    def svg(self) -> str:
        return '<svg style="a" class="b"><g style="c"/></svg>\n\n'


@pytest.fixture
def layouter(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[FakeDiagram]]:
    """A layouter is installed, though not the real one."""
    module = ModuleType("mmdr")
    module.__spec__ = ModuleSpec("mmdr", None)
    module.Diagram = FakeDiagram
    monkeypatch.setitem(sys.modules, "mmdr", module)
    FakeDiagram.drawn = ""
    return FakeDiagram


@pytest.fixture
def no_layouter(monkeypatch: pytest.MonkeyPatch) -> None:
    """None is installed, whatever the machine has."""
    monkeypatch.setitem(sys.modules, "mmdr", None)


# -- what is drawn ---------------------------------------------------------------------


def test_a_table_becomes_mermaid() -> None:
    assert diagram.mermaid(LAMP) == (
        "stateDiagram-v2\n"
        "    [*] --> OFF\n"
        "    OFF --> ON : press [powered & whole]\n"
        "    OFF --> OFF : press\n"
        "    ON --> OFF : press, pull\n"
        "    OFF --> GONE : drop\n"
        "    ON --> GONE : drop\n"
        "    GONE --> [*]\n"
    )


def test_a_path_through_it_stands_out() -> None:
    text = diagram.mermaid(LAMP, {("OFF", "ON"): "(1)", ("ON", "GONE"): "×2"})
    plain = diagram.mermaid(LAMP).splitlines()
    assert [line for line in text.splitlines() if line not in plain] == [
        "    OFF --> ON : press [powered & whole] (1)",
        "    ON --> GONE : drop ×2",
        "    classDef taken fill:#ffe8a3,stroke:#a66f00,stroke-width:2px",
        "    class OFF,ON,GONE taken",
    ]
    assert diagram.mermaid(LAMP, {}) == diagram.mermaid(LAMP)


def test_a_table_becomes_dot() -> None:
    assert diagram.dot(LAMP) == (
        'digraph "lamp" {\n'
        '  node [shape=box, style="rounded"];\n'
        "  __start [shape=point];\n"
        "  __start -> OFF;\n"
        '  OFF [tooltip="dark, \\"as ever\\""];\n'
        '  ON [tooltip="bright"];\n'
        '  GONE [tooltip="broken", peripheries=2];\n'
        '  OFF -> ON [label="press [powered & whole]"];\n'
        '  OFF -> OFF [label="press"];\n'
        '  ON -> OFF [label="press, pull"];\n'
        '  OFF -> GONE [label="drop"];\n'
        '  ON -> GONE [label="drop"];\n'
        "}\n"
    )


def test_a_table_becomes_json_from_which_it_can_be_made_again() -> None:
    data = json.loads(diagram.as_json(LAMP))
    assert data["machine"] == "lamp"
    assert data["final"] == ["GONE"]
    assert data["states"]["OFF"] == 'dark, "as ever"'
    rows = tuple(
        Row(
            row["trigger"],
            tuple(Lamp[name] for name in row["source"]),
            None if row["dest"] is None else Lamp[row["dest"]],
            tuple(row["guard"]),
            tuple(row["after"]),
        )
        for row in data["rows"]
    )
    again = Table(data["machine"], Lamp, Lamp[data["initial"]], rows)
    assert list(again.lines()) != []
    assert [
        (trigger, source, row.dest, row.guard, row.after)
        for trigger, source, row in again.lines()
    ] == [
        (trigger, source, row.dest, row.guard, row.after)
        for trigger, source, row in LAMP.lines()
    ]


@pytest.mark.parametrize("suffix", TEXT_FORMATS)
def test_every_row_of_the_handshake_is_in_every_text(suffix: str) -> None:
    text = diagram.FORMATS[suffix](TABLE)
    for trigger, source, row in TABLE.lines():
        assert trigger in text
        assert source.name in text
        assert row.dest is None or row.dest.name in text


@pytest.mark.parametrize("suffix", TEXT_FORMATS)
def test_the_files_hold_what_the_tables_say(suffix: str) -> None:
    for name, table in diagram.MACHINES.items():
        text = (DRAWN / f"{name}.{suffix}").read_text("utf-8")
        assert text == diagram.FORMATS[suffix](table)


def test_the_pictures_are_of_the_text_that_the_tables_give() -> None:
    for name, table in diagram.MACHINES.items():
        assert diagram.is_current(DRAWN / f"{name}.svg", table, "svg")
        assert (DRAWN / f"{name}.svg").read_text("utf-8").startswith("<svg")


def test_every_file_there_is_of_a_machine_there_is() -> None:
    files = {path.name for path in DRAWN.iterdir() if path.suffix[1:] in diagram.FORMATS}
    assert files == {
        f"{name}.{suffix}" for name in diagram.MACHINES for suffix in diagram.FORMATS
    }


# -- pictures --------------------------------------------------------------------------


def test_a_picture_is_laid_out_from_mermaid_and_signed(
    layouter: type[FakeDiagram],
) -> None:
    picture = diagram.svg(LAMP)
    assert layouter.drawn == diagram.mermaid(LAMP)
    lines = picture.splitlines()
    # A background in the first style, and in no other.
    assert lines[0] == '<svg style="background:white;a" class="b"><g style="c"/></svg>'
    assert lines[1].startswith("<!-- made of mermaid sha256 ")
    assert len(lines) == 2


def test_without_a_layouter_there_is_no_picture(no_layouter: None) -> None:
    with pytest.raises(diagram.MissingLayouter, match=r"tezos-p2p\[dev\]"):
        diagram.svg(LAMP)


@pytest.mark.skipif(
    importlib.util.find_spec("mmdr") is None, reason="the layouter is not installed"
)
def test_the_real_layouter_draws_every_state() -> None:
    picture = diagram.svg(TABLE)
    assert picture.startswith("<svg")
    assert 'style="background:white;' in picture
    for state in TABLE.states:
        assert state.name in picture


# -- the command -----------------------------------------------------------------------


def test_the_text_goes_to_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    assert diagram.main([]) == 0
    assert capsys.readouterr().out == "".join(
        diagram.mermaid(table) for table in diagram.MACHINES.values()
    )


@pytest.mark.parametrize("suffix", TEXT_FORMATS)
def test_a_machine_and_a_format_may_be_chosen(
    suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert diagram.main(["handshake", "--format", suffix]) == 0
    assert capsys.readouterr().out == diagram.FORMATS[suffix](TABLE)


def test_a_table_of_ones_own_may_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert diagram.main([HERE, "--format", "dot"]) == 0
    assert capsys.readouterr().out == diagram.dot(LAMP)


def test_a_picture_goes_to_standard_output(
    layouter: type[FakeDiagram], capsys: pytest.CaptureFixture[str]
) -> None:
    assert diagram.main([HERE, "--format", "svg"]) == 0
    assert capsys.readouterr().out == diagram.svg(LAMP)


def test_a_picture_without_layouter_is_an_error(
    no_layouter: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert diagram.main([HERE, "--format", "svg"]) == 2
    assert "needs the mmdr package" in capsys.readouterr().err


def test_all_formats_are_written_into_a_folder_that_is_made(
    layouter: type[FakeDiagram], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "new" / "folder"
    assert diagram.main([HERE, "--output", str(folder)]) == 0
    for suffix, draw in diagram.FORMATS.items():
        assert (folder / f"lamp.{suffix}").read_bytes() == draw(LAMP).encode()
    assert capsys.readouterr() == ("", "")
    assert diagram.main([HERE, "--output", str(folder), "--check"]) == 0


def test_what_is_current_is_not_written_again(
    layouter: type[FakeDiagram], tmp_path: Path
) -> None:
    diagram.main([HERE, "--output", str(tmp_path)])
    for path in tmp_path.iterdir():
        path.chmod(0o444)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert diagram.main([HERE, "--output", str(tmp_path)]) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_one_format_only_may_be_written(tmp_path: Path) -> None:
    assert diagram.main(["--format", "json", "--output", str(tmp_path)]) == 0
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {f"{name}.json" for name in diagram.MACHINES}


def test_without_layouter_the_texts_are_written_and_the_picture_is_missed(
    no_layouter: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert diagram.main(["--output", str(tmp_path)]) == 0
    assert "no SVG" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {
        f"{name}.{suffix}" for name in diagram.MACHINES for suffix in TEXT_FORMATS
    }


def test_a_stale_picture_cannot_be_written_without_layouter(
    no_layouter: None, tmp_path: Path
) -> None:
    arguments = [HERE, "--format", "svg", "--output", str(tmp_path)]
    assert diagram.main(arguments) == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("installed", [True, False])
def test_the_files_in_the_repository_are_checked(
    installed: bool, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue("layouter" if installed else "no_layouter")
    assert diagram.main(["--output", str(DRAWN), "--check"]) == 0


@pytest.fixture
def drawn(layouter: type[FakeDiagram], tmp_path: Path) -> Path:
    """A folder with all files of the lamp, current."""
    assert diagram.main([HERE, "--output", str(tmp_path)]) == 0
    return tmp_path


def check(folder: Path, *more: str) -> int:
    return diagram.main([HERE, "--output", str(folder), "--check", *more])


@pytest.mark.parametrize("suffix", diagram.FORMATS)
def test_a_file_that_differs_is_reported_and_left_alone(
    drawn: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = drawn / f"lamp.{suffix}"
    text = path.read_text("utf-8")
    changed = text[:-9] + ("0" if text[-9] != "0" else "1") + text[-8:]
    path.write_text(changed, "utf-8")
    assert check(drawn) == 1
    assert capsys.readouterr().err == f"diagram: out of date: lamp.{suffix}\n"
    assert path.read_text("utf-8") == changed
    # Other formats are not concerned.
    for other in set(diagram.FORMATS) - {suffix}:
        assert check(drawn, "--format", other) == 0


@pytest.mark.parametrize("suffix", diagram.FORMATS)
def test_a_file_that_is_missing_is_reported(
    drawn: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (drawn / f"lamp.{suffix}").unlink()
    assert check(drawn) == 1
    assert f"lamp.{suffix}" in capsys.readouterr().err


def test_a_stale_picture_is_noticed_without_layouter_too(
    drawn: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "mmdr", None)
    assert check(drawn) == 0
    (drawn / "lamp.svg").write_text("<svg/>\n", "utf-8")
    assert check(drawn) == 1
    assert capsys.readouterr().err == "diagram: out of date: lamp.svg\n"


@pytest.mark.parametrize("suffix", diagram.FORMATS)
def test_a_file_with_more_behind_its_end_is_reported(drawn: Path, suffix: str) -> None:
    with (drawn / f"lamp.{suffix}").open("a") as file:
        file.write("\n")
    assert check(drawn) == 1


@pytest.mark.parametrize("suffix", diagram.FORMATS)
def test_a_file_that_is_not_even_text_is_reported(drawn: Path, suffix: str) -> None:
    (drawn / f"lamp.{suffix}").write_bytes(b"\xff\xfe\x80")
    assert check(drawn) == 1
    assert diagram.main([HERE, "--output", str(drawn)]) == 0
    assert check(drawn) == 0


def test_a_picture_is_compared_by_the_text_it_was_made_of(drawn: Path) -> None:
    path = drawn / "lamp.svg"
    other = "<svg>drawn otherwise</svg>\n"
    path.write_text(other + diagram._fingerprint(LAMP, other))
    assert check(drawn) == 0


def test_a_picture_that_was_gutted_is_noticed(drawn: Path) -> None:
    path = drawn / "lamp.svg"
    path.write_text("<svg/>\n" + path.read_text("utf-8").splitlines()[-1] + "\n")
    assert check(drawn) == 1


@pytest.mark.parametrize(
    ("name", "why"),
    [
        (
            "nothing",
            "no machine 'nothing'; there are: connection, handshake, admission, ",
        ),
        ("no_such_module_at_all:TABLE", "cannot import 'no_such_module_at_all'"),
        ("tezos_p2p.fsm.handshake:NOTHING", "is not a Table"),
        ("tezos_p2p.fsm.handshake:State", "is not a Table"),
        ("tezos_p2p.fsm.handshake:", "is not a Table"),
        (":TABLE", ""),
        (".handshake:TABLE", ""),
        ("tezos_p2p.fsm.:TABLE", ""),
    ],
)
def test_what_is_no_table_is_misuse_and_says_so(
    name: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert diagram.main([name]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("diagram: ")
    assert why in err


def test_a_check_without_a_folder_is_misuse(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        diagram.main(["--check"])
    assert caught.value.code == 2
    assert "--check needs --output" in capsys.readouterr().err


def test_an_unknown_format_is_misuse(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        diagram.main(["--format", "png"])
    assert caught.value.code == 2


def test_a_folder_that_cannot_be_made_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("in the way")
    arguments = ["--format", "mmd", "--output", str(tmp_path / "file" / "folder")]
    assert diagram.main(arguments) == 2
    assert capsys.readouterr().err.startswith("diagram: ")


def test_the_module_runs_as_a_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tezos_p2p.fsm.diagram", "handshake"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == diagram.mermaid(TABLE)


def test_a_table_is_found_by_the_name_of_its_machine() -> None:
    assert diagram.find_table("handshake") is TABLE
    assert diagram.find_table(HERE) is LAMP
    assert importlib.import_module(__name__).LAMP is LAMP
