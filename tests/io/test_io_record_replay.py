"""``tezos-p2p replay`` and ``explain`` of files that are whole, cut, changed, or none."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import time

import pytest
from io_cli_runner import COMMAND, environment
from io_traces import OPEN, churn, identity, pair

from tezos_p2p.io.cli.start import main
from tezos_p2p.io.files import save_identity
from tezos_p2p.io.record import trace
from tezos_p2p.io.record.explain import MACHINES, chosen, safely, sequence, words
from tezos_p2p.io.record.explain import path as path_of
from tezos_p2p.io.record.replay import Divergence, replay
from tezos_p2p.io.record.story import Story, Stretch
from tezos_p2p.io.record.trace import TraceError

ONE_LINE = re.compile(r"tezos-p2p: [^\n]+\n")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """A folder with a trace of two nodes that meet, and the identities of both."""
    folder = tmp_path_factory.mktemp("traces")
    sim, recorder = pair(folder / "node.trace")
    sim.do(sim.hosts[0], lambda it: it.stop(sim.now, sim.now + 1.0))
    sim.run(2.0)
    recorder.close()
    for number in (0, 1):
        save_identity(identity(number), folder / f"{number}.json")
    yield folder
    while OPEN:
        OPEN.pop().close()


@pytest.fixture
def file(shelf, tmp_path):
    """A copy of that trace, to be changed."""
    copy = tmp_path / "copy.trace"
    copy.write_bytes((shelf / "node.trace").read_bytes())
    return copy


@pytest.fixture
def command(shelf, capsys):
    """Run the command in this process; return code, output, and complaints."""

    def run(*arguments, who=0):
        words = list(map(str, arguments))
        if words[0] == "replay":
            words += ["--identity", str(shelf / f"{who}.json")]
        code = main(words)
        return code, *capsys.readouterr()

    return run


def lines_of(file):
    return file.read_text().splitlines(keepends=True)


def number_of(file, text):
    """Return the number of the first line with a text."""
    return next(n for n, line in enumerate(lines_of(file), 1) if text in line)


def change(file, number, **fields):
    """Change one line."""
    lines = lines_of(file)
    lines[number - 1] = trace.dump(json.loads(lines[number - 1]) | fields) + "\n"
    file.write_text("".join(lines))


# -- replay ----------------------------------------------------------------------------


def test_what_is_whole_replays(file, command):
    code, out, err = command("replay", file)
    assert (code, err) == (0, "")
    told = dict(line.split(None, 1) for line in out.splitlines())
    end = json.loads(lines_of(file)[-1])
    assert told["hash"] == end["hash"]
    assert told["ending"] == "the recording is whole"
    assert told["verdict"] == "the same"
    code, out, _ = command("replay", file, "--json")
    found = json.loads(out)
    assert (code, found["same"], found["hash"]) == (0, True, end["hash"])
    assert found["lines"] == end["lines"] == len(lines_of(file)) - 1


def test_it_is_the_same_for_every_seed_of_hashes(shelf, tmp_path):
    path = tmp_path / "churn.trace"
    churn(path, 30.0)  # with this process's seed
    words = ("replay", str(path), "--identity", str(shelf / "0.json"), "--json")
    done = subprocess.run(
        [*COMMAND, *words],
        env=environment(PYTHONHASHSEED="7"),
        capture_output=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert json.loads(done.stdout)["hash"] == json.loads(lines_of(path)[-1])["hash"]


@pytest.mark.parametrize("cut", [1, 40, 3000])
def test_a_killed_process_leaves_what_replays_up_to_there(file, command, cut):
    whole = file.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    file.write_bytes(whole[: last - cut])
    code, out, err = command("replay", file, "--json")
    found = json.loads(out)
    assert (code, err, found["end"]) == (0, "", None)
    kept = whole[: last - cut].count(b"\n")
    assert kept - 1 <= found["lines"] <= kept  # a call whose end is missing is left out
    _, out, _ = command("replay", file)
    assert "the process was killed" in out
    assert "the same, up to where it ends" in out
    code, out, err = command("explain", file)
    assert code == 0
    assert "the process was killed" in err


CHANGES = (
    # what is looked for, what is changed, what is told
    ('"do":"read_allowance"', {"is": 7}, '"is":7'),
    ('"Dial"', {"is": ["Dial", 1, "9.9.9.9:9"]}, "9.9.9.9:9"),
    ('"becomes":["ACCEPTED"]', {"becomes": ["RUNNING"]}, "RUNNING"),
    ('"do":"send"', {"is": False}, '"is":false'),
    ('"ask":"bytes"', {"ask": "random"}, '"ask":"random"'),
    ('"do":"next_timeout"', {"is": 0.25}, '"is":0.25'),
)


@pytest.mark.parametrize(("text", "fields", "told"), CHANGES)
def test_a_changed_line_is_told_with_what_was_expected(file, command, text, fields, told):
    number = number_of(file, text)
    if "send" in text:
        number = number_of(file, '{"is":true}')
    change(file, number, **fields)
    code, out, err = command("replay", file)
    assert (code, out) == (1, "")
    assert ONE_LINE.fullmatch(err)
    assert err.startswith(f"tezos-p2p: {file}: line {number} differs: expected ")
    assert told in err.split("given")[0]
    code, out, err = command("replay", file, "--json")
    found = json.loads(out)
    assert (code, found["same"], found["line"]) == (1, False, number)
    assert told in found["recorded"]


def test_what_a_node_was_told_makes_the_first_difference(file, command):
    number = number_of(file, '"do":"receive_data"')
    fields = json.loads(lines_of(file)[number - 1])
    # Another message nonce of theirs: all that is encrypted differs.
    data = bytearray(trace_bytes(fields["data"]))
    data[70] ^= 1
    change(file, number, data=bytes_text(data))
    with pytest.raises(Divergence) as found:
        replay(file, identity(0))
    assert found.value.line > number


def trace_bytes(text):
    from tezos_p2p.io.record.values import bytes_in

    return bytes_in(text)


def bytes_text(data):
    from tezos_p2p.io.record.values import bytes_out

    return bytes_out(data)


@pytest.mark.parametrize("which", ["lost", "twice", "again", "swapped", "more"])
def test_lines_out_of_order_are_told(file, command, which):
    lines = lines_of(file)
    at = number_of(file, '"do":"link_made"') - 1
    if which == "lost":
        del lines[at]
    elif which == "again":  # a call that gives no line now
        at = number_of(file, '"do":"next_timeout"') - 1
        lines.insert(at, lines[at])
    elif which == "twice":
        lines.insert(at, lines[at])
    elif which == "swapped":
        lines[at], lines[at + 1] = lines[at + 1], lines[at]
    else:
        lines.append(lines[at])
    file.write_text("".join(lines))
    code, out, err = command("replay", file)
    assert (code, out) == (1, "")
    assert ONE_LINE.fullmatch(err)
    if which == "more":
        assert err.endswith(f"line {len(lines)}: something behind the last line\n")


@pytest.mark.parametrize("field", ["lines", "hash"])
def test_a_last_line_that_does_not_fit_is_told(file, command, field):
    change(file, len(lines_of(file)), **{field: "0"})
    code, _, err = command("replay", file)
    assert code == 1
    assert f"line {len(lines_of(file))} differs" in err


def test_a_changed_answer_that_changes_nothing_shows_in_the_hash(file, command):
    number = number_of(file, '"ask":"score"')
    assert json.loads(lines_of(file)[number - 1])["is"] == 1.0
    change(file, number, **{"is": 1.0000001})
    code, _, err = command("replay", file)
    assert code == 1
    assert f"line {len(lines_of(file))} differs: expected" in err


def test_another_identity_is_told_with_whose_is_wanted(file, command):
    code, out, err = command("replay", file, who=1)
    assert (code, out) == (1, "")
    assert ONE_LINE.fullmatch(err)
    assert f"recorded by {identity(0).peer_id}, and the identity given is" in err
    assert str(identity(1).peer_id) in err


# -- files that are none ---------------------------------------------------------------

HEAD = '{"trace":"tezos-p2p","version":1,"node":{}}\n'
WRONG = {
    "nothing": (b"", "no trace: it does not begin as one does"),
    "text": (b"hello\n" * 50, "no trace: it does not begin as one does"),
    "bytes": (bytes(range(256)) * 10, "no trace: it does not begin as one does"),
    "another": (b'{"trace":"other","version":1,"node":{}}\n', "not the head of one"),
    "later": (
        b'{"trace":"tezos-p2p","version":2,"node":{}}\n',
        "a trace of version 2; this program reads version 1",
    ),
    "node": (b'{"trace":"tezos-p2p","version":1,"node":7}\n', "what the node is"),
    "cut": (HEAD[:-1].encode(), "its first line has no end"),
    "broken": (b'{"trace":oh\n', "line 1: not JSON"),
    "deep": (b'{"trace":' + b"[" * 100_000 + b"\n", "line 1: nested too deeply"),
    "number": (b'{"trace":' + b"9" * 10_000 + b"}\n", "line 1: not JSON"),
    "nan": (b'{"trace":NaN}\n', "NaN is no number"),
}


@pytest.mark.parametrize("verb", ["replay", "explain"])
@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_trace_is_told(tmp_path, command, verb, kind):
    content, told = WRONG[kind]
    file = tmp_path / "x"
    file.write_bytes(content)
    code, out, err = command(verb, file)
    assert (code, out) == (1, "")
    assert ONE_LINE.fullmatch(err)
    assert told in err
    assert str(file) in err


@pytest.mark.parametrize("verb", ["replay", "explain"])
@pytest.mark.parametrize("kind", ["missing", "folder", "fifo", "device", "secret"])
def test_what_cannot_be_read_is_told_and_not_waited_for(tmp_path, command, verb, kind):
    file = tmp_path / "x"
    told = "not a regular file"
    if kind == "missing":
        told = "No such file"
    elif kind == "folder":
        file.mkdir()
        told = "Is a directory"
    elif kind == "fifo":
        os.mkfifo(file)
    elif kind == "device":
        file.symlink_to("/dev/zero")
    else:
        file.write_text(HEAD)
        file.chmod(0)
        if os.access(file, os.R_OK):
            pytest.skip("this user may read anything")
        told = "Permission denied"
    began = time.monotonic()
    code, out, err = command(verb, file)
    assert (code, out) == (1, "")
    assert ONE_LINE.fullmatch(err)
    assert told in err
    assert time.monotonic() - began < 5.0


def test_a_link_to_a_trace_is_followed(file, tmp_path, command):
    link = tmp_path / "link"
    link.symlink_to(file)
    assert command("replay", link)[0] == 0


@pytest.mark.parametrize("verb", ["replay", "explain"])
def test_a_huge_line_is_told_and_not_held(file, command, verb, monkeypatch):
    monkeypatch.setattr(trace, "LINE_MAX", 5_000)
    number = number_of(file, '"do":"link_made"')
    lines = lines_of(file)
    lines[number - 1] = '{"do":"' + "x" * 10_000 + '"}\n'
    file.write_text("".join(lines))
    code, _, err = command(verb, file)
    assert code == 1
    assert err.endswith(f"line {number}: longer than 5000 bytes\n")


LINES = (
    "[]",
    "{}",
    "\u00e9",
    '{"do":7}',
    '{"do":"nothing","at":1.0}',
    '{"do":"start"}',
    '{"do":"start","at":"x","wall":0}',
    '{"do":"accept","at":1,"remote":"nowhere","is":1}',
    '{"do":"accept","at":1,"remote":7,"is":"x"}',
    '{"do":"receive_data","at":1,"link":1,"data":"?"}',
    '{"do":"receive_data","at":1,"link":[],"data":"AAAA"}',
    '{"do":"link_lost","at":1,"link":1,"error":0,"direction":"UP"}',
    '{"do":"pieces_to_send","at":1,"link":1,"room":9,"is":["x","y",3]}',
    '{"do":"pieces_to_send","at":1,"link":1,"room":9,"is":7}',
    '{"do":"next_command","is":7}',
    '{"do":"next_command","is":["Dial"]}',
    '{"do":"receive","is":["Message",1]}',
    '{"do":"receive","is":["Left",1,"x",7]}',
    '{"do":"pool.__init__","args":[],"named":{}}',
    '{"do":"pool.learn","args":[{"no":1}],"named":{}}',
    '{"do":"acl.ban","args":7,"named":{}}',
    '{"state":7}',
    '{"state":{"points":[{}]}}',
    '{"ask":"random","is":"x"}',
    '{"ask":"bytes","raises":[["x"]]}',
    '{"is":1}',
    '{"link":1,"becomes":["NOWHERE"]}',
    '{"link":"x","becomes":7}',
    '{"end":7}',
)


@pytest.mark.parametrize("line", LINES)
def test_lines_that_no_recording_has_are_told(file, line):
    """In place of a call, within one, and behind one."""
    lines = lines_of(file)
    for text in ('"do":"link_made"', '"ask":"bytes"', '"becomes":["HANDSHAKING"]'):
        number = number_of(file, text)
        file.write_text("".join([*lines[: number - 1], line + "\n", *lines[number:]]))
        with pytest.raises((TraceError, Divergence)) as found:
            replay(file, identity(0))
        assert re.search(rf"line {number}\b", str(found.value))
        for tell in (
            lambda story, steps: [safely(story, step, words) for step in steps],
            lambda story, steps: sequence(story, steps, "x"),
            lambda _, steps: path_of("admission", steps, 1),
        ):
            story = Story(file)
            with contextlib.suppress(TraceError):  # nothing else may come of it
                tell(story, chosen(story, Stretch(), every=True))
        file.write_text("".join(lines))


HEADS = (
    {"network": 7},
    {"limits": {}},
    {"port": 70_000},
    {"settings": {"score": "other"}},
    {"diversity": {"bounds": {"per_block": 0}, "anchors": []}},
    {"messages": {"x": 1}},
    {"more": 1},
)


@pytest.mark.parametrize("fields", HEADS)
def test_a_node_that_cannot_be_made_is_told(file, command, fields):
    node = json.loads(lines_of(file)[0])["node"]
    change(file, 1, node=node | fields)
    code, out, err = command("replay", file)
    assert (code, out) == (1, "")
    assert ONE_LINE.fullmatch(err)
    assert "line 1" in err


# -- explain ---------------------------------------------------------------------------


def test_steps_are_told(file, command):
    code, out, err = command("explain", file)
    assert (code, err) == (0, "")
    head, *steps = out.splitlines()
    assert head.split() == [
        *["seconds", "line", "link", "what"],
        str(identity(0).peer_id),
        "did",
    ]
    for told in (
        "starts, 1970-01-01 00:00:00 UTC; asks for ",
        "#1 wants: dial 21.0.0.1:9732",
        "#1 is connected; asks for 1 bytes; #1 is HANDSHAKING",
        "#1 sends connection message, 97 bytes",
        "#1 receives metadata, 20 bytes; #1 is ACCEPTED",
        f"#1 pulled: {identity(1).peer_id} has joined",
        f"queues a message for {identity(1).peer_id}; asks for 1 encode",
        f"#1 pulled: message of {identity(1).peer_id}, tag 0x0010, 10 bytes",
        "stops",
        f"#1 pulled: {identity(1).peer_id} has left: POOL_DESTROYED",
        "#1 lost: closed; #1 is GONE",
    ):
        assert sum(told in " ".join(step.split()) for step in steps) == 1, told
    assert not [step for step in steps if "allowance" in step or "nothing" in step]
    times = [float(step.split()[0]) for step in steps]
    assert times == sorted(times)
    # The numbers are those of the lines.
    for step in steps:
        number = int(step.split()[1])
        assert lines_of(file)[number - 1].startswith('{"do":')


def test_all_steps_are_told_if_that_is_wished(file, command):
    _, some, _ = command("explain", file)
    _, every, _ = command("explain", file, "--all")
    calls = sum(line.startswith('{"do":') for line in lines_of(file))
    assert len(every.splitlines()) == calls + 1 > len(some.splitlines())
    assert set(some.splitlines()) <= set(every.splitlines())


def test_a_stretch_is_told(file, command):
    code, out, _ = command("explain", file, "--from", 2, "--to", 2.5)
    assert code == 0
    times = [float(line.split()[0]) for line in out.splitlines()[1:]]
    assert times
    assert all(2.0 <= at <= 2.5 for at in times)
    number = number_of(file, '"do":"link_made"')
    _, out, _ = command("explain", file, "--from-line", number, "--to-line", number)
    assert "is connected" in out
    assert len(out.splitlines()) == 2


@pytest.mark.parametrize("picture", [(), ("--sequence",), ("--machine", "admission")])
@pytest.mark.parametrize(
    "stretch", [("--link", 99), ("--from", 5, "--to", 1), ("--from-line", 10_000)]
)
def test_a_stretch_of_nothing_is_told_as_such(file, command, stretch, picture):
    code, out, err = command("explain", file, *stretch, *picture)
    assert code == 1
    assert picture or out == ""
    assert "no step there: see --from, --to, --from-line" in err.splitlines()[-1]
    code, out, _ = command("explain", file, *stretch, *picture, "--json")
    assert code == 1
    assert picture or json.loads(out)["steps"] == []


@pytest.mark.parametrize("option", ["--from", "--to"])
def test_a_moment_is_a_number(file, command, option):
    code, out, err = command("explain", file, option, "nan")
    assert (code, out) == (2, "")
    assert f"{option}: a number of seconds wanted" in err


def test_what_is_left_out_is_counted(file, command):
    _, whole, _ = command("explain", file)
    code, out, err = command("explain", file, "--limit", 5)
    assert code == 0
    assert out.splitlines() == whole.splitlines()[:6]
    left = len(whole.splitlines()) - 6
    assert err.startswith(f"tezos-p2p: {left} more steps: choose by --from")
    _, out, _ = command("explain", file, "--limit", 5, "--json")
    found = json.loads(out)
    assert (len(found["steps"]), found["left_out"]) == (5, left)
    assert found["end"]["end"] == "closed"


def test_steps_as_json(file, command):
    _, out, _ = command("explain", file, "--json")
    steps = json.loads(out)["steps"]
    made = next(step for step in steps if step["call"] == "link_made")
    assert made["link"] == 1
    assert made["asks"] == {"bytes": 1}
    assert made["becomes"] == [[1, "HANDSHAKING"]]


def test_a_sequence_is_drawn(file, command):
    code, out, err = command("explain", file, "--sequence")
    assert (code, err) == (0, "")
    lines = [line.strip() for line in out.splitlines()]
    assert lines[:3] == [
        "sequenceDiagram",
        f"participant N as {identity(0).peer_id}",
        "participant P1 as 21.0.0.1:9732",
    ]
    at = [
        lines.index(line)
        for line in (
            "N->>P1: dials (link 1)",
            "P1-->>N: is connected (link 1)",
            "Note over N,P1: HANDSHAKING (link 1)",
            "N->>P1: connection message, 97 bytes",
            "P1->>N: connection message, 97 bytes",
            "N->>P1: metadata, 20 bytes",
            "Note over N,P1: ACCEPTED (link 1)",
            "Note over N,P1: RUNNING (link 1)",
            "N->>P1: 1 chunk, 29 bytes",
            "Note over N: stops",
            "Note over N,P1: GONE (link 1)",
        )
    ]
    assert at == sorted(at)


def test_pictures_can_be_laid_out(tmp_path, command):
    layouter = pytest.importorskip("mmdr")
    path = tmp_path / "churn.trace"
    churn(path, 60.0)
    for options in (["--sequence"], ["--machine", "admission"]):
        code, out, _ = command("explain", path, *options)
        assert code == 0
        assert "</svg>" in layouter.Diagram(out).svg()


def test_the_path_through_a_machine_is_drawn(file, command):
    code, out, err = command("explain", file, "--machine", "admission", "--link", 1)
    assert (code, err) == (0, "")
    edges = dict(re.findall(r"(\w+ --> \w+) : (.*)", out))
    assert edges["IDLE --> DIALLING"] == "dial (1)"
    assert edges["DIALLING --> HANDSHAKING"] == "made (2)"
    assert edges["HANDSHAKING --> ACCEPTED"] == "accept (3)"
    assert edges["LEAVING --> GONE"] == "lost (6)"
    assert edges["IDLE --> HANDSHAKING"] == "arrive"
    assert "class IDLE,DIALLING,HANDSHAKING,ACCEPTED,RUNNING,LEAVING,GONE taken" in out
    _, whole, _ = command("explain", file, "--machine", "admission")
    assert "IDLE --> DIALLING : dial ×1" in whole
    _, none, _ = command("explain", file, "--machine", "admission", "--link", 9)
    _, plain, _ = command("diagrams", "admission")
    assert none == plain


def test_every_path_that_was_taken_is_in_the_table(tmp_path):
    path = tmp_path / "churn.trace"
    churn(path, 30.0)
    table = MACHINES["admission"]
    edges = {(source.name, row.dest.name) for _, source, row in table.lines() if row.dest}
    taken = {move[1:] for step in Story(path).steps() for move in step.moves}
    assert taken <= edges
    assert len(taken) >= 6


def test_two_pictures_at_once_are_none(file, command):
    code, _, err = command("explain", file, "--sequence", "--machine", "admission")
    assert code == 2
    assert ONE_LINE.fullmatch(err)


def test_texts_of_a_trace_play_with_nobody(file, command):
    number = number_of(file, '"do":"link_made"') - 1
    bad = "\x1b[2J;#<script>\n%%{init}%%"
    lines = lines_of(file)
    lines.insert(
        number, trace.dump({"do": "accept", "at": 1, "remote": bad, "is": 9}) + "\n"
    )
    file.write_text("".join(lines))
    for options in ([], ["--sequence"]):
        code, out, _ = command("explain", file, *options)
        assert code == 0
        assert "\x1b" not in out
        if options:
            assert not re.search(r"[;#<>%{}]", out.replace("->>", "").replace("-->>", ""))
    assert len(out.splitlines()) < 80
