"""What an operator may get wrong: empty arguments, closed streams, folders, old files."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from inspect import cleandoc

import attrs
import pytest
from io_cli_runner import COMMAND, environment, on_terminal, run

from tezos_p2p.io import json_file
from tezos_p2p.io.cli import output
from tezos_p2p.io.cli.sandbox import _why
from tezos_p2p.io.cli.start import main
from tezos_p2p.io.config import Flags, load_config
from tezos_p2p.io.data_dir import DataDir
from tezos_p2p.io.log import make_log
from tezos_p2p.spec.config import ConfigError, ConfigFile, resolve

ONE_LINE = re.compile(r"tezos-p2p: [^\n]+\n")
NOWHERE = ("--net-addr", "none", "--seconds", "0.2")


# -- empty arguments -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["run", "--net-addr", ""], "--net-addr: is empty; write 127.0.0.1:9732 "),
        (["run", "--net-addr", " \t"], "--net-addr: is empty"),
        (["run", "--net-addr="], "--net-addr: is empty"),
        (["run", "--peer", ""], "--peer: is empty"),
        (["run", "--rpc-addr", ""], "--rpc-addr: is empty"),
        (["run", "--metrics-addr="], "--metrics-addr: is empty"),
        (["run", "--discovery-addr", ""], "--discovery-addr: is empty; write none"),
        (["run", "--data-dir", ""], "--data-dir: is empty"),
        (["config", "check", "--net-addr", ""], "--net-addr: is empty"),
        (["identity", "generate", "--output", ""], "--output: is empty"),
        (["identity", "show", ""], "an argument is empty"),
        (["listen", ""], "an argument is empty"),
        (["probe", ""], "an argument is empty"),
    ],
)
def test_an_argument_that_is_empty_is_wrong_usage(arguments, named, capsys):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert ONE_LINE.fullmatch(err)
    assert named in err


@pytest.mark.parametrize("text", ["", " "])
@pytest.mark.parametrize("key", ["listen-addr", "discovery-addr"])
def test_an_address_that_is_empty_is_a_fault_wherever_it_stands(key, text):
    """The reference would listen on every interface, and tell every neighbour."""
    flag = {"listen-addr": "net_addr", "discovery-addr": "discovery_addr"}[key]
    for layer in (
        ConfigFile("f", {"p2p": {"listen-addr": "[::]:1", key: text}}).layer(),
        Flags(**{flag: text}).layer(),
    ):
        with pytest.raises(ConfigError, match=r"is empty; write.*nowhere$") as told:
            resolve([layer])
        assert len(told.value.faults) == 1
        assert ("this machine only" in str(told.value)) == (key == "listen-addr")


def test_an_address_without_a_host_is_every_interface_and_that_is_told(tmp_path, capsys):
    show = ["config", "show", "--data-dir", str(tmp_path)]
    for text, port in ((":77", 77), ("_", 9732), ("_:0", 0)):
        assert main([*show, "--net-addr", text, "--json"]) == 0
        out, err = capsys.readouterr()
        assert json.loads(out)["listen-addr"] == f"[::]:{port}"
        assert f'"{text}" has no host: every address of this machine is meant' in err
        assert f'or "127.0.0.1:{port}"' in err
    assert main([*show, "--net-addr", "a.b", "--discovery-addr", "_", "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert found["listen-addr"] == "a.b:9732"
    assert found["discovery-addr"] == "255.255.255.255:10732"
    assert err == ""
    assert main([*show, "--net-addr", "none", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["listen-addr"] is None


def test_variables_that_are_empty_count_as_not_set(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("TEZOS_P2P_DATA_DIR", "")
    monkeypatch.setenv("TEZOS_P2P_ENDPOINT", " ")
    monkeypatch.setenv("TEZOS_P2P_LISTEN_ADDR", "")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.json").write_text('{"p2p": {"listen-addr": "127.0.0.1:5"}}')
    assert main(["config", "show", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["listen-addr"] == "127.0.0.1:9732"
    assert "TEZOS_P2P_ENDPOINT" not in os.environ


def test_an_ipv6_address_that_stands_alone_needs_no_brackets():
    flags = Flags(
        net_addr="::1", peer=("2001:db8::1", "[::1]:2", "a.b"), metrics_addr=("::1",)
    )
    assert load_config(None, None, flags).p2p.listen_addr == "[::1]"
    assert flags.peer == ("[2001:db8::1]", "[::1]:2", "a.b")
    assert (flags.metrics_addr, flags.rpc_addr) == (("[::1]",), ())
    # This could be an address and a port, too: nobody guesses.
    with pytest.raises(ConfigError, match="is not of the form"):
        load_config(None, None, Flags(net_addr="2001:db8::1:9732"))


def test_commands_take_such_an_address_too(capsys):
    assert main(["listen", "::1", "--seconds", "0"]) == 2
    assert "--seconds" in capsys.readouterr().err
    assert main(["listen", "localhost"]) == 2
    err = capsys.readouterr().err
    assert "'localhost' is not of the form 1.2.3.4[:PORT] or [IPv6][:PORT]" in err
    assert main(["listen", "::1:99999"]) == main(["listen", "1.2.3.4:99999"]) == 2
    assert "port 99999 is not in 0..65535" in capsys.readouterr().err
    probed = ["probe", "::1", "--driver", "blocking", "--timeout", "0.2", "--json"]
    assert main([*probed, "--network", "sandbox"]) in (3, 4, 5)
    assert json.loads(capsys.readouterr().out)["target"] == "[::1]"


# -- streams, colours, text ------------------------------------------------------------


@pytest.mark.parametrize("style", ["text", "json"])
@pytest.mark.parametrize("closed", [(2,), (0, 1, 2)])
def test_a_node_runs_without_standard_error(tmp_path, style, closed):
    def close():
        for descriptor in closed:
            os.close(descriptor)

    done = subprocess.run(
        [*COMMAND, "run", "--data-dir", tmp_path, *NOWHERE, "--log-format", style],
        env=environment(),
        preexec_fn=close,
        timeout=60,
    )
    assert done.returncode == 0
    # No file has got the number of a stream, and what was written there.
    assert json.loads((tmp_path / "peers.json").read_text()) == []
    assert json.loads((tmp_path / "acl.json").read_text())["version"] == 1


def test_no_file_gets_the_number_of_a_stream_that_is_closed(tmp_path):
    code = (
        "import os, sys; from tezos_p2p.io.cli.start import main; main(['spec']);"
        "sys.exit(os.open(os.devnull, os.O_RDONLY))"
    )
    for closed in (2, 0):
        done = subprocess.run(
            [sys.executable, "-c", code],
            stdout=subprocess.DEVNULL,
            preexec_fn=lambda number=closed: os.close(number),
        )
        assert done.returncode > 2


def test_a_log_without_a_stream_is_none(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    for style in ("text", "json"):
        make_log(style).warning("nobody_reads", this="line")
        make_log(style, colours=True)._logger.msg("nor this")


def test_colours_of_the_log_are_for_terminals_that_want_them(tmp_path, monkeypatch):
    node = ("run", "--data-dir", str(tmp_path), *NOWHERE)
    assert "\x1b[" in on_terminal(*node)[1]
    for changes in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        code, shown = on_terminal(*node, **changes)
        assert code == 0
        assert "activate_layer" in shown
        assert "\x1b" not in shown
    assert not output.takes_colours(io.StringIO())


def test_a_line_of_text_has_names_and_values_and_nothing_of_python():
    stream = io.StringIO()
    log = make_log("text", "debug", stream)
    log.info("maintenance_started", motive={"kind": "timer", "idle_time": 120.0})
    log.info("close_fd_reason", reason=["Connection_lost", "p2p.x"], point=None)
    log.debug("swap", incoming=True, who=[{"addr": "::1", "port": 7}, "ids"], n=3)
    one, two, three = (line.split()[3:] for line in stream.getvalue().splitlines())
    assert one == ["maintenance_started", "motive=timer", "motive.idle_time=120.0"]
    assert two == ["close_fd_reason", "point=null", "reason=Connection_lost,p2p.x"]
    assert three[1:] == ["incoming=true", "n=3", "who=::1:7,ids"]


# -- folders and files -----------------------------------------------------------------


def test_what_cannot_be_saved_is_told_at_the_start_and_by_the_exit_code(tmp_path):
    (tmp_path / "acl.json").mkdir()
    done = run("run", "--data-dir", str(tmp_path), *NOWHERE, "--log-format", "json")
    lines = [json.loads(x) for x in done.stderr.splitlines() if x.startswith("{")]
    names = [line["event"] for line in lines]
    first = names.index("file")
    assert first < names.index("activate_layer")
    told = [line for line in lines if "cannot be saved" in line.get("what", "")]
    assert [line["level"] for line in told] == ["error"]
    assert f"{tmp_path}: acl.json cannot be saved: " in told[0]["what"]
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last == f"tezos-p2p: not saved: {tmp_path / 'acl.json'}; the log says why"


def test_a_folder_that_cannot_be_written_is_told_in_a_line(tmp_path, monkeypatch):
    files = DataDir(tmp_path)
    assert files.unsavable() == ()
    assert list(tmp_path.iterdir()) == []

    def refuse(**_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(json_file.tempfile, "mkstemp", refuse)
    files.peers.symlink_to(os.devnull)
    assert files.unsavable() == (
        f"{tmp_path}: acl.json, anchors.json cannot be saved: Permission denied; what "
        "they would hold is lost when the node ends",
    )
    files.acl.mkdir()
    assert [line.partition(" cannot")[0] for line in files.unsavable()] == [
        f"{tmp_path}: acl.json",
        f"{tmp_path}: anchors.json",
    ]


def test_a_broken_configuration_is_a_file_and_a_wrong_flag_is_usage(tmp_path, capsys):
    where = ["--data-dir", str(tmp_path)]
    for command in (["run"], ["config", "show"]):
        assert main([*command, *where, "--net-addr", "x y"]) == 2
        assert main([*command, *where, "--connections", "0", "--peer", "_"]) == 2
    for content in ("{", "[]", '{"p2p": {"listen-addr": ""}}', '{"rpc": 7}'):
        (tmp_path / "config.json").write_text(content)
        for command in (["run"], ["config", "show"], ["config", "check"]):
            assert main([*command, *where]) == 1, (content, command)
    limits = {"min-connections": 70, "expected-connections": 60}
    document = {"p2p": {"listen-addr": "127.0.0.1:1", "limits": limits}}
    (tmp_path / "config.json").write_text(json.dumps(document))
    assert main(["run", *where]) == 1
    capsys.readouterr()


def test_rules_that_variables_break_are_usage(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TEZOS_P2P_MIN_CONNECTIONS", "70")
    assert main(["run", "--data-dir", str(tmp_path)]) == 2
    assert "min <= expected <= max" in capsys.readouterr().err


def test_a_file_in_place_of_the_folder_is_called_so(tmp_path, capsys):
    file = tmp_path / "identity.json"
    file.write_text("{}")
    for command in (["run"], ["config", "show"], ["config", "check"]):
        assert main([*command, "--data-dir", str(file)]) == 1
        err = capsys.readouterr().err
        assert ONE_LINE.fullmatch(err)
        # Of a long path the middle is left out.
        assert "identi" in err
        assert " is no folder; name the folder that config.json is in" in err
        assert "mend it" not in err


def test_a_file_of_another_kind_is_no_configuration(tmp_path, capsys):
    path = tmp_path / "identity.json"
    path.write_text('{"peer_id": "idsX"}')
    assert main(["config", "check", str(path)]) == 0
    out, err = capsys.readouterr()
    assert out.endswith(": passes\n")
    assert "warning: " in err
    assert "nothing in it is of a node's configuration" in err
    for document in ({}, {"network": "mainnet"}, {"metrics_addr": []}):
        path.write_text(json.dumps(document))
        assert main(["config", "check", str(path)]) == 0
        assert capsys.readouterr().err == ""


# -- commands that are only begun, options without effect ------------------------------


@pytest.mark.parametrize("arguments", [[], ["identity"], ["config"]])
def test_a_command_that_is_only_begun_has_not_succeeded(arguments, capsys):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"Usage: {' '.join(['tezos-p2p', *arguments])} COMMAND\n")
    assert main([*arguments, "--help"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == err.splitlines()[0]


def test_options_that_have_no_effect_are_told(tmp_path, capsys):
    node = ["run", "--data-dir", str(tmp_path), *NOWHERE]
    assert main([*node, "--record-max", "3"]) == 2
    assert "--record-max is of --record" in capsys.readouterr().err
    assert main([*node, "--legacy-rpc", "--rpc-host", "a.b", "--log-format", "json"]) == 0
    err = capsys.readouterr().err
    lines = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    told = [line["what"] for line in lines if line["event"] == "configuration"]
    assert [text.partition(":")[0] for text in told] == ["--legacy-rpc", "--rpc-host"]
    assert all("there is no admin interface; see --rpc-addr" in text for text in told)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["probe", "bad host"], "Invalid value for TARGETS: 'bad host' is not of the"),
        (
            ["probe", "a", "--watch", "0"],
            "0 seconds; more than 0, and at most 86400, are",
        ),
        (["identity", "generate", "--output", "-"], '"-" stands for no file here'),
    ],
)
def test_what_is_wrong_is_said_in_the_words_of_people(arguments, said, capsys):
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "('" not in err


def test_each_flag_of_a_node_says_what_it_does(capsys):
    assert main(["run", "--help"]) == 0
    out = capsys.readouterr().out
    about = dict(
        re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", cleandoc(Flags.__doc__), re.M)
    )
    assert list(about) == [field.name for field in attrs.fields(Flags)]
    for name, text in about.items():
        assert f"  --{name.replace('_', '-')}" in out
        assert len(text.split()) > 5, name
        assert "switches it" not in text


def test_a_sandbox_that_fails_says_what_has():
    assert _why([], ["no network in time"]) == "no network in time"
    assert _why([1, 2], []) == "2 deliveries missing"
    assert _why([1], ["a", "b", "c"]) == "1 deliveries missing; a; and 2 more faults"
