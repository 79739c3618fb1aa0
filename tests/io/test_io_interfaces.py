"""Where the interfaces of a node are, by its configuration and by flags."""

from __future__ import annotations

import json

import pytest
from io_cli_runner import run
from test_io_daemon import start  # noqa: F401  # a fixture

from tezos_p2p.io.cli.start import main
from tezos_p2p.io.config import Flags
from tezos_p2p.io.interfaces import load_interfaces, read_interfaces
from tezos_p2p.spec.config import ConfigFile


def read(document, **flags):
    return read_interfaces(ConfigFile("f", document), Flags(**flags))


@pytest.mark.parametrize("document", [{}, {"rpc": {}}, {"p2p": {"rpc": 7}}, [], 7])
def test_nothing_is_open_unless_it_is_said(document):
    found = read(document)
    assert (found.rpc, found.metrics, found.acl) == ((), (), ())
    assert (found.faults, found.warnings) == ((), ())
    assert {key: str(origin) for key, origin in found.origins.items()} == {
        "rpc.listen-addrs": "default",
        "metrics_addr": "default",
    }


def test_the_file_counts_and_the_flags_count_more():
    document = {
        "rpc": {"listen-addrs": ["localhost:1", "unix:/x"], "acl": []},
        "metrics_addr": [":9"],
    }
    found = read(document)
    assert found.values == {
        "rpc.listen-addrs": ["localhost:1", "unix:/x"],
        "metrics_addr": [":9"],
    }
    assert str(found.origins["rpc.listen-addrs"]) == "file f: rpc.listen-addrs"
    assert str(found.origins["metrics_addr"]) == "file f: metrics_addr"
    found = read(document, rpc_addr=("127.0.0.1",), metrics_addr=("a", "b"))
    assert (found.rpc, found.metrics) == (("127.0.0.1",), ("a", "b"))
    assert str(found.origins["rpc.listen-addrs"]) == "flag --rpc-addr"
    assert str(found.origins["metrics_addr"]) == "flag --metrics-addr"
    assert not found.faults


def test_the_single_address_of_2019():
    found = read({"rpc": {"listen-addr": "localhost:8732"}})
    assert found.rpc == ("localhost:8732",)
    assert str(found.origins["rpc.listen-addrs"]) == "file f: rpc.listen-addr"


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"rpc": 7}, "f: rpc: an object wanted, not 7; "),
        (
            {"rpc": {"listen-addrs": "a"}},
            'rpc.listen-addrs: a list of texts wanted, not "a"',
        ),
        ({"rpc": {"listen-addrs": [7]}}, "a list of texts wanted, not [7]"),
        (
            {"rpc": {"listen-addrs": ["a b"]}},
            "rpc.listen-addrs: 'a b' is not of the form",
        ),
        ({"rpc": {"listen-addrs": [":1"]}}, "say on which address"),
        ({"rpc": {"listen-addr": 7}}, "f: rpc.listen-addr: a list of texts"),
        ({"rpc": {"listen-addr": "a b"}}, "f: rpc.listen-addr: 'a b' is not of the form"),
        ({"rpc": {"listen-addr": "a", "listen-addrs": []}}, "stands beside"),
        ({"rpc": {"acl": [7]}}, "f: rpc.acl[0]: an object with address"),
        ({"metrics_addr": ":1"}, "metrics_addr: a list of texts wanted"),
        ({"metrics_addr": [":99999"]}, "f: metrics_addr: port 99999 is not in 0..65535"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(document, said):
    (fault,) = read(document).faults
    assert said in str(fault)


def test_all_faults_are_told_at_once_those_of_flags_too():
    document = {"rpc": {"listen-addrs": ["a b", ":1"], "acl": 7}, "metrics_addr": [""]}
    found = read(document, rpc_addr=("c d",), metrics_addr=("e f",))
    assert [(fault.source, fault.path) for fault in found.faults] == [
        ("f", "rpc.listen-addrs"),
        ("f", "rpc.listen-addrs"),
        ("f", "rpc.acl"),
        ("command line", "--rpc-addr"),
        ("command line", "--metrics-addr"),
    ]


def test_what_would_be_missed_is_told():
    document = {"rpc": {"crt": "a", "key": "b", "cors-origin": ["*"], "cors-headers": []}}
    said = [str(each) for each in read(document).warnings]
    assert ["rpc.crt" in said[0], "rpc.key" in said[1], "cors" in said[2]] == [True] * 3


def test_a_file_that_cannot_be_read_is_for_others_to_tell(tmp_path):
    path = tmp_path / "config.json"
    path.write_text("{nope")
    assert load_interfaces(path).faults == ()
    assert load_interfaces(None).values == load_interfaces(tmp_path / "no").values


def test_they_are_shown_with_their_origins_and_checked(tmp_path, capsys):
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"rpc": {"listen-addrs": ["127.0.0.1:0"]}}))
    where = ("--data-dir", str(tmp_path))
    show = ("config", "show", "--origin", "--json", "--metrics-addr", ":0", *where)
    assert main(list(show)) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rpc.listen-addrs"] == {
        "value": ["127.0.0.1:0"],
        "origin": f"file {path}: rpc.listen-addrs",
    }
    assert found["metrics_addr"] == {"value": [":0"], "origin": "flag --metrics-addr"}
    assert main(["config", "check", *where]) == 0
    path.write_text(
        json.dumps(
            {"rpc": {"listen-addrs": ["a b"]}, "p2p": {"limits": {"backlog": 300}}}
        )
    )
    capsys.readouterr()
    assert main(["config", "check", *where]) == 1
    told = capsys.readouterr().err
    assert "p2p.limits.backlog" in told
    assert "rpc.listen-addrs: 'a b'" in told
    # A node that starts tells both as well.
    assert main(["run", *where]) == 1
    told = capsys.readouterr().err
    assert "p2p.limits.backlog" in told
    assert "rpc.listen-addrs: 'a b'" in told


def test_a_node_listens_where_its_file_says(start, tmp_path):  # noqa: F811  # the fixture
    folder = tmp_path / "one"
    folder.mkdir()
    acl = [
        {"address": "localhost", "whitelist": ["GET /network/self"]},
        {"address": "10.9.9.9", "blacklist": []},
    ]
    document = {
        "rpc": {"listen-addrs": ["127.0.0.1:0"], "acl": acl},
        "metrics_addr": ["127.0.0.1:0"],
    }
    (folder / "config.json").write_text(json.dumps(document))
    node = start("one")
    where = node.until("admin_interface")["listening"]
    assert node.until("metrics")["listening"].startswith("127.0.0.1:")
    unused = node.until("configuration")["what"]
    assert "rpc.acl[1]: the admin interface does not listen at this address" in unused
    endpoint = ("--endpoint", f"http://{where}", "--generation", "2026")
    done = run("admin", "p2p", "stat", *endpoint)
    assert done.returncode == 1
    assert "do not allow it (status 401)" in done.stderr
    assert node.stop() == 0
