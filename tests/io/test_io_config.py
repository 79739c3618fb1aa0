"""Configuration of files, the environment and flags: whose word counts, what is told."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tezos_p2p.fsm.local import Local
from tezos_p2p.fsm.point import Backoff
from tezos_p2p.fsm.settings import Settings
from tezos_p2p.io import config as module
from tezos_p2p.io.config import (
    Findings,
    Flags,
    check_config,
    environment_layer,
    load_config,
    load_config_file,
    local_part,
    save_config_file,
    settings_part,
)
from tezos_p2p.spec import Identity, Limits
from tezos_p2p.spec.config import ConfigError, ConfigFile, P2p, Reconnection, resolve
from tezos_p2p.spec.options import OPTIONS

POSIX = pytest.mark.skipif(os.name != "posix", reason="permissions of POSIX")
LISTEN = {"listen-addr": "[::]:9732"}


def write(folder: Path, content: object) -> Path:
    path = folder / "config.json"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        path.write_text(json.dumps(content))
    return path


def env(**variables: str) -> dict[str, str]:
    return {f"TEZOS_P2P_{name}": value for name, value in variables.items()}


def faults(path: Path | None, *args: Any, **kwargs: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(path, *args, **kwargs)
    return [str(fault) for fault in caught.value.faults]


# -- whose word counts -----------------------------------------------------------------


def test_flags_win_over_the_environment_over_the_file_over_defaults(tmp_path: Path):
    limits = {"backlog": 1, "min-connections": 1, "max-incoming-connections": 1}
    path = write(tmp_path, {"p2p": LISTEN | {"limits": limits, "private-mode": True}})
    variables = env(BACKLOG="2", MIN_CONNECTIONS="2", EXPECTED_PROOF_OF_WORK="2")
    config = load_config(path, variables, Flags(expected_pow=3, disable_p2p_swap=True))
    found = config.p2p.limits
    assert found.max_incoming_connections == 1
    assert (found.backlog, found.min_connections) == (2, 2)
    assert config.p2p.expected_proof_of_work == 3
    assert found.swap_linger is None
    assert config.p2p.private_mode
    origins = {key: str(origin) for key, origin in config.origins.items()}
    assert origins["limits.max-incoming-connections"] == (
        f"file {path}: p2p.limits.max-incoming-connections"
    )
    assert origins["limits.backlog"] == "environment TEZOS_P2P_BACKLOG"
    assert origins["expected-proof-of-work"] == "flag --expected-pow"
    assert origins["limits.swap-linger"] == "flag --disable-p2p-swap"
    assert origins["discovery-addr"] == "default"


def test_without_anything_there_are_the_defaults(tmp_path: Path):
    for path in (None, tmp_path / "config.json"):
        assert load_config(path).p2p == P2p()
        assert load_config(path, {}, Flags()).p2p == P2p()


def test_a_program_may_have_defaults_of_its_own_that_everything_else_overrides(
    tmp_path: Path,
):
    own = {"listen-addr": "127.0.0.1:9732"}
    assert load_config(None, defaults=own).p2p.listen_addr == "127.0.0.1:9732"
    assert str(load_config(None, defaults=own).origins["listen-addr"]) == (
        "default listen-addr"
    )
    path = write(tmp_path, {"p2p": LISTEN})
    assert load_config(path, defaults=own).p2p.listen_addr == "[::]:9732"
    path = write(tmp_path, {"p2p": {}})
    assert load_config(path, defaults=own).p2p.listen_addr is None


# -- the environment -------------------------------------------------------------------


def test_every_option_has_a_variable_that_sets_it():
    for option in OPTIONS:
        value = option.example
        text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
        layer = environment_layer({option.env: text})
        assert layer.values == {option.key: value}
        assert layer.names == {option.key: option.env}


def test_an_empty_variable_is_none_and_the_word_none_is_null():
    layer = environment_layer(
        env(LISTEN_ADDR=" ", SWAP_LINGER="none", BOOTSTRAP_PEERS="none")
    )
    assert layer.values == {"limits.swap-linger": None, "bootstrap-peers": []}


def test_connections_of_the_environment_set_bounds_and_tables():
    variables = env(CONNECTIONS="30", PEER_TABLE_SIZE="99", MAX_CONNECTIONS="31")
    config = load_config(None, variables)
    assert config.p2p.limits == Limits(
        min_connections=15,
        expected_connections=30,
        max_connections=31,
        max_known_points=(99, 72),
        max_known_peer_ids=(99, 72),
    )
    name = "environment TEZOS_P2P_CONNECTIONS"
    assert str(config.origins["limits.min-connections"]) == name
    assert str(config.origins["limits.max-connections"]).endswith("_MAX_CONNECTIONS")
    assert str(config.origins["limits.max_known_points"]).endswith("_PEER_TABLE_SIZE")


def test_faults_of_the_environment_name_the_variable():
    assert faults(None, env(BACKLOG="many", CONNECTIONS="-1", PRIVATE_MODE="maybe")) == [
        'environment: TEZOS_P2P_CONNECTIONS: a whole number in 0..8191 wanted, not "-1"; '
        "write, for example, 50",
        'environment: TEZOS_P2P_PRIVATE_MODE: true or false wanted, not "maybe"; write, '
        "for example, true",
        'environment: TEZOS_P2P_BACKLOG: a whole number wanted, not "many"; write, for '
        "example, 20",
    ]


def test_a_variable_that_there_is_not_is_a_warning_with_a_guess():
    variables = env(BAKLOG="1", ZZZ="1", DATA_DIR="/x") | {"OTHER": "1"}
    config = load_config(None, variables, others=["TEZOS_P2P_DATA_DIR"])
    assert [str(each) for each in config.warnings] == [
        "environment: TEZOS_P2P_BAKLOG: there is no such variable; did you mean "
        "TEZOS_P2P_BACKLOG?",
        "environment: TEZOS_P2P_ZZZ: there is no such variable; unset it",
    ]


# -- flags -----------------------------------------------------------------------------


def test_every_flag_has_its_effect():
    flags = Flags(
        net_addr="127.0.0.1:1",
        advertised_net_port=2,
        discovery_addr="192.0.2.255",
        private_mode=True,
        expected_pow=4,
        connections=30,
        peer_table_size=200,
        max_download_speed=5,
        max_upload_speed=6,
        binary_chunks_size=63,
        disable_mempool=True,
        enable_testchain=True,
        disable_p2p_swap=True,
        disable_p2p_maintenance=True,
    )
    assert load_config(None, None, flags).p2p == P2p(
        expected_proof_of_work=4,
        listen_addr="127.0.0.1:1",
        advertised_net_port=2,
        discovery_addr="192.0.2.255",
        private_mode=True,
        disable_mempool=True,
        enable_testchain=True,
        limits=Limits(
            min_connections=15,
            expected_connections=30,
            max_connections=45,
            max_known_points=(200, 150),
            max_known_peer_ids=(200, 150),
            max_download_speed=5,
            max_upload_speed=6,
            binary_chunks_size=63 * 1024,
            swap_linger=None,
            maintenance_idle_time=None,
        ),
    )


def test_flags_that_are_not_given_say_nothing():
    assert Flags().layer().values == {}
    assert Flags(peer=("1.2.3.4",), no_bootstrap_peers=True).layer().values == {}


def test_a_flag_only_switches_on(tmp_path: Path):
    path = write(tmp_path, {"p2p": LISTEN | {"private-mode": True}})
    assert load_config(path, None, Flags(private_mode=False)).p2p.private_mode


def test_the_size_of_chunks_in_the_file_stays_if_the_flag_is_not_given(tmp_path: Path):
    limits = {"binary-chunks-size": 5000}
    path = write(tmp_path, {"p2p": LISTEN | {"limits": limits}})
    assert load_config(path, None, Flags()).p2p.limits.binary_chunks_size == 5000


def test_no_address_to_listen_at_can_be_asked_for():
    assert load_config(None, None, Flags(net_addr="none")).p2p.listen_addr is None


def test_faults_of_flags_name_the_flag():
    flags = Flags(
        net_addr="a b", expected_pow=257, binary_chunks_size=64, peer=("x y", "_", "ok")
    )
    told = faults(None, None, flags)
    assert [each.split(": ")[:2] for each in told] == [
        ["command line", "--peer"],
        ["command line", "--peer"],
        ["command line", "--expected-pow"],
        ["command line", "--binary-chunks-size"],
        ["command line", "--net-addr"],
    ]
    assert "65536 is not in 19..65535" in told[3]


def test_too_many_connections_have_to_be_insisted_on():
    (fault,) = faults(None, None, Flags(connections=101))
    assert fault.startswith("command line: --connections: 101 connections; more than 100")
    assert load_config(None, None, Flags(connections=100)).p2p.limits.max_connections
    sure = Flags(connections=101, disable_config_validation=True)
    assert load_config(None, None, sure).p2p.limits.max_connections == 151
    beyond = Flags(connections=8192, disable_config_validation=True)
    assert "0..8191 wanted, not 8192" in faults(None, None, beyond)[0]
    beyond = Flags(peer_table_size=65536)
    assert "0..65535 wanted, not 65536" in faults(None, None, beyond)[0]


def test_small_tables_have_to_be_insisted_on():
    (one, two) = faults(None, None, Flags(peer_table_size=100))
    assert "limits.max_known_points: collection leaves 75" in one
    assert "limits.max_known_peer_ids: collection leaves 75" in two
    sure = Flags(peer_table_size=100, disable_config_validation=True)
    assert len(load_config(None, None, sure).warnings) == 2


# -- faults of all at once -------------------------------------------------------------


def test_faults_of_file_environment_and_flags_are_told_at_once(tmp_path: Path):
    path = write(tmp_path, {"p2p": {"private-mode": 1, "limits": []}})
    told = faults(path, env(BACKLOG="-5"), Flags(advertised_net_port=-1))
    assert [each.partition(": ")[0] for each in told] == [
        str(path),
        str(path),
        "environment",
        "command line",
    ]


def test_a_check_tells_faults_and_warnings_without_raising(tmp_path: Path):
    path = write(tmp_path, {"p2p": {"x": 1}})
    found = check_config(path)
    assert found.faults == ()
    assert [each.path for each in found.warnings] == ["p2p.x", "p2p.listen-addr"]
    found = check_config(path, env(BACKLOG="-5"))
    assert [each.path for each in found.faults] == ["TEZOS_P2P_BACKLOG"]
    assert len(found.warnings) == 2
    assert check_config(None) == Findings()


def test_a_check_asks_for_a_file(tmp_path: Path):
    path = tmp_path / "config.json"
    (fault,) = check_config(path).faults
    assert str(fault) == f"{path}: there is no such file; make one, or name another"
    assert check_config(path, must_exist=False) == Findings()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"{", "not JSON: Expecting property name"),
        (b"", "not JSON"),
        (b"\xff", "byte 0 is not UTF-8"),
        (b'{"p2p": {}, "p2p": {}}', "given more than once: 'p2p'"),
        (b'{"x": NaN}', "NaN is no JSON number"),
        (b'{"x": ' + b"[" * 100_000, "nested too deeply"),
        (b" " * (1 << 20) + b"{}", "larger than 1048576 bytes"),
        (b"[]", "an object wanted, not []"),
    ],
)
def test_a_broken_file_is_told_and_left_alone(tmp_path: Path, content: bytes, says: str):
    path = write(tmp_path, content)
    (fault,) = faults(path)
    assert fault.startswith(f"{path}: ")
    assert says in fault
    assert os.listdir(tmp_path) == ["config.json"]
    assert path.read_bytes() == content


def test_a_folder_in_place_of_the_file_is_told(tmp_path: Path):
    (fault,) = faults(tmp_path)
    assert "Is a directory" in fault or "not a regular file" in fault


def test_the_name_of_a_file_cannot_play_with_a_terminal(tmp_path: Path):
    path = tmp_path / "a\x1b[2J.json"
    for content in ("{", '{"p2p": 7}'):
        path.write_text(content)
        (fault,) = faults(path)
        assert r"a\x1b[2J.json" in fault
        assert fault.isprintable()


# -- saving ----------------------------------------------------------------------------

REAL = {
    "data-dir": "/var/lib/node",
    "rpc": {"listen-addrs": ["localhost:8732"], "acl": [{"address": "é", "x": [1.5e-7]}]},
    "p2p": {
        "bootstrap-peers": ["boot.example.org"],
        "listen-addr": "[::]:9732",
        "later-than-us": {"a": [None, True]},
        "limits": {"connection-timeout": 10, "max_known_points": [800, 600]},
    },
    "shell": {"chain_validator": {"synchronisation_threshold": 4}},
    "network": "mainnet",
}


def test_a_file_is_read_and_written_as_it_is(tmp_path: Path):
    path = write(tmp_path, REAL)
    file = load_config_file(path)
    save_config_file(path, file)
    assert json.dumps(json.loads(path.read_text())) == json.dumps(REAL)
    assert load_config_file(path) == file
    assert os.listdir(tmp_path) == ["config.json"]


def test_a_change_keeps_everything_else(tmp_path: Path):
    path = write(tmp_path, REAL)
    save_config_file(path, load_config_file(path).with_values({"limits.backlog": 9}))
    wanted = json.loads(json.dumps(REAL))
    wanted["p2p"]["limits"]["backlog"] = 9
    assert json.dumps(json.loads(path.read_text())) == json.dumps(wanted)
    assert load_config(path).p2p.limits.backlog == 9


def test_a_new_file_means_what_the_values_mean(tmp_path: Path):
    path = tmp_path / "config.json"
    file = load_config_file(path).with_values({"limits.max-connections": 60})
    save_config_file(path, file)
    assert load_config(path).p2p == P2p(limits=Limits(max_connections=60))
    assert load_config(path).warnings == ()


@POSIX
def test_permissions_of_a_file_stay_as_they_are_and_a_new_one_is_its_owners(
    tmp_path: Path,
):
    path = tmp_path / "config.json"
    save_config_file(path, ConfigFile())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    save_config_file(path, ConfigFile())
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.parametrize("depth", [900, 100_000])
def test_what_could_not_be_read_again_is_not_written(tmp_path: Path, depth: int):
    path = write(tmp_path, REAL)
    before = path.read_bytes()
    deep: list[Any] = []
    for _ in range(depth):
        deep = [deep]
    # Indented, the lesser one is larger than what is read.
    with pytest.raises((OSError, ValueError), match=r"more than 1048576|too deeply"):
        save_config_file(path, ConfigFile("f", {"x": deep}))
    assert path.read_bytes() == before
    while deep:
        (deep,) = deep  # taken apart step by step: freeing it would recurse


def test_a_missing_file_is_as_if_empty_unless_it_has_to_exist(tmp_path: Path):
    path = tmp_path / "config.json"
    assert load_config_file(path) == ConfigFile(str(path), {})
    with pytest.raises(ConfigError, match="no such file"):
        load_config_file(path, must_exist=True)


# -- for the core ----------------------------------------------------------------------


def test_a_node_is_made_of_what_the_configuration_says():
    p2p = P2p(
        expected_proof_of_work=5,
        listen_addr="[::]:77",
        discovery_addr="_",
        disable_mempool=True,
        limits=Limits(backlog=7),
        reconnection=Reconnection(2, 3, 4, 5),
        disable_peer_discovery=True,
    )
    identity = Identity.of_secret(b"\1" * 32)
    local = Local(identity=identity, random_bytes=bytes, **local_part(p2p))
    assert (local.port, local.difficulty, local.limits.backlog) == (77, 5, 7)
    assert local.metadata.disable_mempool
    settings: Settings[None] = Settings(
        new_metadata=lambda: None,
        score=lambda _: 1.0,
        random=lambda: 0.5,
        random_inside=lambda: 0.5,
        **settings_part(p2p),
    )
    assert settings.backoff == Backoff(2, 3, 4, 5)
    assert (settings.discovers, settings.private_mode) == (False, False)
    assert settings.nearby
    assert local_part(p2p, 99)["port"] == 99


@pytest.mark.parametrize(
    "change",
    [
        {"discovery_addr": None},
        {"listen_addr": None},
        {"private_mode": True},
        {"advertised_net_port": 0},
        {"limits": Limits(maintenance_idle_time=None)},
    ],
)
def test_neighbours_are_not_told_of_who_hides_or_cannot_be_reached(
    change: dict[str, Any],
):
    p2p = P2p(discovery_addr="_")
    assert settings_part(p2p)["nearby"]
    assert not settings_part(attrs.evolve(p2p, **change))["nearby"]


def test_a_port_that_the_system_chooses_is_announced_once_it_is_known():
    p2p = P2p(discovery_addr="_", listen_addr="[::]:0")
    assert not settings_part(p2p)["nearby"]
    assert settings_part(p2p, 5)["nearby"]


def test_what_a_configuration_allows_the_core_allows():
    # Ranges are written down twice where one layer cannot see the other.
    for option in OPTIONS:
        if option.key.startswith("greylisting_config."):
            values = {option.key: option.low}
            layer = module.Layer(module.Source.FLAG, "here", values)
            assert settings_part(resolve([layer]).p2p)["backoff"]


# -- garbage ---------------------------------------------------------------------------


@given(
    st.dictionaries(
        st.sampled_from([option.env for option in OPTIONS] + [*module._COMPOUND])
        | st.text(max_size=8).map("TEZOS_P2P_".__add__),
        st.text(max_size=12) | st.integers().map(str),
    )
)
def test_any_environment_is_a_configuration_or_readable_faults(variables: dict[str, str]):
    found = check_config(None, variables)
    assert all(str(each).isprintable() for each in (*found.faults, *found.warnings))


@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_any_bytes_are_a_configuration_or_readable_faults(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
):
    path = write(tmp_path_factory.mktemp("c"), content)
    found = check_config(path)
    assert all(str(each).isprintable() for each in (*found.faults, *found.warnings))
    assert path.read_bytes() == content


# -- documents -------------------------------------------------------------------------


def test_the_page_for_operators_lists_every_option_as_it_is():
    page = Path(__file__).parents[2] / "docs" / "files.md"
    table = page.read_text("utf-8").rpartition("### All options")[2]
    rows = [line for line in table.splitlines() if line.startswith("| ``")]
    assert rows == [
        f"| ``{each.key}`` | "
        f"{'none' if each.default is None else json.dumps(each.default)} | "
        f"{each.unit} | {each.meaning} | ``{each.env}`` | "
        f"{f'``{each.flag}``' if each.flag else ''} |"
        for each in OPTIONS
    ]
