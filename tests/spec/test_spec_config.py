"""Configuration: what a file may say, whose word counts, and what is told of faults."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tezos_p2p.spec import Endpoint, Limits, PeerId, PointError
from tezos_p2p.spec.config import (
    Config,
    ConfigError,
    ConfigFile,
    Fault,
    Layer,
    Origin,
    P2p,
    Reconnection,
    Source,
    connections_values,
    resolve,
    table_values,
)
from tezos_p2p.spec.options import OPTION_OF, OPTIONS, Kind, shown

PEER = "idqSpQPFDBN4yMhLEzwtqGgxRLNrj4"

#: A file with everything, as a node of 2026 writes it.
WHOLE: dict[str, Any] = {
    "data-dir": "/var/lib/node",
    "rpc": {"listen-addrs": ["localhost:8732"], "cors": {"origin": ["*"]}},
    "p2p": {
        "expected-proof-of-work": 24.5,
        "bootstrap-peers": [
            "a.example.org",
            f"192.0.2.1:80#{PEER}",
            "[2001:db8::1]:1",
        ],
        "listen-addr": "127.0.0.1:19732",
        "advertised-net-port": 9999,
        "discovery-addr": "192.0.2.255",
        "private-mode": True,
        "limits": {
            "connection-timeout": 7,
            "authentication-timeout": 2.5,
            "min-connections": 1,
            "expected-connections": 2,
            "max-connections": 3,
            "backlog": 4,
            "max-incoming-connections": 5,
            "max-download-speed": 6,
            "max-upload-speed": 7,
            "swap-linger": None,
            "binary-chunks-size": 16_384,
            "read-buffer-size": 8,
            "read-queue-size": None,
            "write-queue-size": 9,
            "incoming-app-message-queue-size": 11,
            "incoming-message-queue-size": None,
            "outgoing-message-queue-size": 12,
            "max_known_points": [14, 13],
            "max_known_peer_ids": [16, 15],
            "peer_greylist_size": 17,
            "ip_greylist_size_in_kilobytes": 18,
            "ip_greylist_cleanup_delay": 19.5,
            "greylist-timeout": 20,
            "maintenance-idle-time": None,
        },
        "disable_mempool": True,
        "enable_testchain": False,
        "greylisting_config": {
            "factor": 2,
            "initial-delay": 0.5,
            "disconnection-delay": 3,
            "increase-cap": 4,
        },
        "disable_peer_discovery": True,
    },
    "shell": {"chain_validator": {"synchronisation_threshold": 2}},
    "network": {"chain_name": "TEZOS", "genesis": {"time": "2018-06-30T16:07:32Z"}},
}


def of(document: object, **kwargs: Any) -> Config:
    return resolve([ConfigFile("f", document).layer()], **kwargs)


def p2p(**members: Any) -> Config:
    names = {name.replace("_", "-"): value for name, value in members.items()}
    return of({"p2p": {"listen-addr": "[::]:9732"} | names})


def limits(**members: Any) -> Config:
    keys = {each.name: each.key.partition(".")[2] for each in OPTIONS if "." in each.key}
    return p2p(limits={keys[name]: value for name, value in members.items()})


def faults(document: object, **kwargs: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        of(document, **kwargs)
    told = [str(fault) for fault in caught.value.faults]
    assert str(caught.value) == "; ".join(told)
    return told


def warnings(document: object) -> list[str]:
    return [str(each) for each in of(document).warnings]


# -- defaults --------------------------------------------------------------------------


@pytest.mark.parametrize("document", [{}, {"rpc": {}}, {"p2p": {"listen-addr": "[::]"}}])
def test_what_is_left_out_has_its_default(document: dict[str, Any]) -> None:
    config = of(document)
    listen = config.p2p.listen_addr
    assert config.p2p == attrs.evolve(P2p(), listen_addr=listen)
    assert config.p2p.limits == Limits()
    assert config.warnings == ()


def test_what_is_left_out_of_limits_has_the_same_default_as_if_all_of_it_were() -> None:
    assert p2p(limits={}).p2p == P2p()
    assert p2p(limits={"backlog": 20}, greylisting_config={}).p2p == P2p()
    assert p2p(limits={"backlog": 21}).p2p.limits == Limits(backlog=21)


def test_the_defaults_of_the_values_are_those_of_the_options() -> None:
    assert resolve([]).p2p == P2p()
    assert {option.key for option in OPTIONS} == set(resolve([]).values)
    assert len({option.env for option in OPTIONS}) == len(OPTIONS) == len(OPTION_OF)


def test_every_option_takes_its_default_and_its_example() -> None:
    for option in OPTIONS:
        assert option.fault(option.default) is None
        assert option.fault(option.example) is None
        assert option.example is not None
        assert option.meaning


# -- a whole file ----------------------------------------------------------------------


def test_everything_that_a_file_says_is_taken() -> None:
    config = of(WHOLE)
    assert config.p2p == P2p(
        expected_proof_of_work=24.5,
        bootstrap_peers=("a.example.org", f"192.0.2.1:80#{PEER}", "[2001:db8::1]:1"),
        listen_addr="127.0.0.1:19732",
        advertised_net_port=9999,
        discovery_addr="192.0.2.255",
        private_mode=True,
        limits=Limits(
            connection_timeout=7,
            authentication_timeout=2.5,
            min_connections=1,
            expected_connections=2,
            max_connections=3,
            backlog=4,
            max_incoming_connections=5,
            max_download_speed=6,
            max_upload_speed=7,
            swap_linger=None,
            binary_chunks_size=16_384,
            read_buffer_size=8,
            read_queue_size=None,
            write_queue_size=9,
            incoming_app_message_queue_size=11,
            incoming_message_queue_size=None,
            outgoing_message_queue_size=12,
            max_known_points=(14, 13),
            max_known_peer_ids=(16, 15),
            peer_greylist_size=17,
            ip_greylist_size_in_kilobytes=18,
            ip_greylist_cleanup_delay=19.5,
            greylist_timeout=20,
            maintenance_idle_time=None,
        ),
        disable_mempool=True,
        enable_testchain=False,
        reconnection=Reconnection(2, 0.5, 3, 4),
        disable_peer_discovery=True,
    )
    assert config.warnings == ()
    said = WHOLE["p2p"]
    for key, value in config.values.items():
        section, _, name = key.rpartition(".")
        assert (said[section] if section else said)[name] == value


def test_every_value_of_a_whole_file_is_known_to_come_from_it() -> None:
    origins = of(WHOLE).origins
    assert {origin.source for origin in origins.values()} == {Source.FILE}
    assert str(origins["limits.backlog"]) == "file f: p2p.limits.backlog"


def test_every_option_has_an_effect_of_its_own() -> None:
    # Two options bound to one value would pass the test of the whole file by accident.
    plain = of({"p2p": {"listen-addr": "[::]:9732"}})
    seen = {repr(plain.p2p)}
    for option in OPTIONS:
        section, _, name = option.key.rpartition(".")
        value = WHOLE["p2p"][section][name] if section else WHOLE["p2p"][name]
        if option.key == "enable_testchain":
            value = True
        if option.key.endswith("min-connections"):
            value = 9
        if option.key.endswith("expected-connections"):
            value = 49
        if option.key.endswith("max-connections"):
            value = 99
        if option.kind is Kind.PAIR:
            value = [500, 400]
        said = {section: {name: value}} if section else {name: value}
        seen.add(repr(of({"p2p": {"listen-addr": "[::]:9732"} | said}).p2p))
    assert len(seen) == len(OPTIONS) + 1


# -- quirks ----------------------------------------------------------------------------


def test_a_section_without_an_address_to_listen_at_does_not_listen_and_says_so() -> None:
    config = of({"p2p": {}})
    assert config.p2p.listen_addr is None
    assert config.p2p.listen_endpoint is None
    assert [str(each) for each in config.warnings] == [
        "f: p2p.listen-addr: left out: the node does not listen; to listen, write, for "
        'example, "[::]:9732"'
    ]


def test_null_is_a_silent_way_not_to_listen() -> None:
    config = of({"p2p": {"listen-addr": None}})
    assert config.p2p.listen_addr is None
    assert config.warnings == ()


def test_the_timeout_of_greylisting_is_used_only_if_the_delay_is_not_given() -> None:
    # What the access lists do with the two is theirs; here both arrive.
    both = limits(greylist_timeout=5).p2p.limits
    assert (both.ip_greylist_cleanup_delay, both.greylist_timeout) == (None, 5.0)


def test_sizes_of_queues_mean_what_they_name() -> None:
    found = limits(
        incoming_app_message_queue_size=20,
        incoming_message_queue_size=4096,
        outgoing_message_queue_size=8192,
    ).p2p.limits
    assert found.incoming_app_message_queue_size == 20
    assert found.incoming_message_queue_size == 4096
    assert found.outgoing_message_queue_size == 8192


def test_sizes_of_queues_that_the_reference_exchanged_are_put_right() -> None:
    config = limits(
        incoming_app_message_queue_size=1 << 23,
        incoming_message_queue_size=1 << 22,
        outgoing_message_queue_size=10,
    )
    found = config.p2p.limits
    assert found.incoming_app_message_queue_size == 10
    assert found.incoming_message_queue_size == 1 << 23
    assert found.outgoing_message_queue_size == 1 << 22
    assert ["exchanged" in each.what for each in config.warnings] == [True]


def test_what_the_reference_left_out_of_exchanged_sizes_is_its_default() -> None:
    config = limits(
        incoming_app_message_queue_size=1 << 23, outgoing_message_queue_size=10
    )
    assert config.p2p == P2p()
    assert len(config.warnings) == 1


@pytest.mark.parametrize(
    ("messages", "size"),
    [((1 << 16) - 1, 1024), (1 << 16, 1025), (None, 10), (1 << 23, None)],
)
def test_sizes_of_queues_that_may_be_meant_are_left_alone(
    messages: int | None, size: int | None
) -> None:
    config = limits(
        incoming_app_message_queue_size=messages, outgoing_message_queue_size=size
    )
    found = config.p2p.limits
    assert found.incoming_app_message_queue_size == messages
    assert found.outgoing_message_queue_size == size
    assert config.warnings == ()


def test_the_least_that_cannot_be_meant_is_exchanged() -> None:
    found = limits(
        incoming_app_message_queue_size=1 << 16, outgoing_message_queue_size=1024
    )
    assert found.p2p.limits.incoming_app_message_queue_size == 1024


def test_a_table_that_is_left_out_is_never_smaller_than_the_connections() -> None:
    def tables(most: int) -> list[tuple[int, int] | None]:
        found = limits(max_connections=most, expected_connections=50).p2p.limits
        return [found.max_known_points, found.max_known_peer_ids]

    assert tables(300) == [(400, 300)] * 2
    assert tables(301) == [(1204, 903)] * 2
    assert tables(20_000) == [(65535, 60_000)] * 2
    assert tables(65535) == [(65535, 65535)] * 2


def test_a_chunk_of_few_bytes_is_doubted() -> None:
    assert limits(binary_chunks_size=1024).warnings == ()
    (warning,) = limits(binary_chunks_size=63).warnings
    assert warning.path == "p2p.limits.binary-chunks-size"
    assert "only the flag counts KiB" in str(warning)


def test_the_test_chain_is_told_to_have_no_effect() -> None:
    assert warnings({"p2p": {"listen-addr": "[::]", "enable_testchain": True}}) == [
        "f: p2p.enable_testchain: has no effect; leave it out"
    ]


# -- what nobody knows -----------------------------------------------------------------


def test_what_nobody_knows_is_a_warning_with_a_guess() -> None:
    document = {
        "p2p": {
            "listen-adr": 1,
            "limits": {"max-conections": 1, "zzz": {}, "known_points_history_size": 500},
            "limits.backlog": 7,
            "\x1b[2J": 1,
            "listen-addr": "[::]",
        },
        "unheard-of": 7,
    }
    assert warnings(document) == [
        "f: p2p.listen-adr: there is no such option; did you mean listen-addr?",
        "f: p2p.limits.max-conections: there is no such option; did you mean "
        "limits.max-connections?",
        "f: p2p.limits.zzz: there is no such option; see the list of options",
        "f: p2p.limits.known_points_history_size: has no effect since 2019; leave it out",
        "f: p2p.limits.backlog: there is no such option; did you mean limits.backlog?",
        r"f: 'p2p.\x1b[2J': there is no such option; see the list of options",
    ]
    assert of(document).p2p.limits.backlog == 20


# -- faults ----------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["", " \t"])
def test_an_address_that_says_nothing_is_a_fault(text: str) -> None:
    (listen,) = faults({"p2p": {"listen-addr": text}})
    assert listen == (
        'f: p2p.listen-addr: is empty; write "127.0.0.1:9732" for this machine only, '
        '"[::]:9732" for all addresses; null in a file, none elsewhere, means nowhere'
    )
    (nearby,) = faults({"p2p": {"listen-addr": "[::]", "discovery-addr": text}})
    assert nearby == (
        'f: p2p.discovery-addr: is empty; write, for example, "255.255.255.255:10732"; '
        "null in a file, none elsewhere, means nowhere"
    )


@pytest.mark.parametrize(("text", "port"), [("_", 9732), (":9732", 9732), (":0", 0)])
def test_an_address_without_a_host_is_doubtful(text: str, port: int) -> None:
    assert warnings({"p2p": {"listen-addr": text}}) == [
        f'configuration: file f: p2p.listen-addr: "{text}" has no host: every address of '
        f'this machine is meant; write "[::]:{port}" if so, or "127.0.0.1:{port}"'
    ]


def test_every_fault_is_told_at_once_with_its_path_and_what_to_do() -> None:
    document = {
        "p2p": {
            "expected-proof-of-work": 300,
            "bootstrap-peers": ["a:b:c", "_:1", "ok.example.org", "1.2.3.4:0"],
            "listen-addr": f"[::]:1#{PEER}",
            "advertised-net-port": 65536,
            "discovery-addr": "[::1]",
            "private-mode": 1,
            "limits": {
                "backlog": "20",
                "swap-linger": 0,
                "max_known_points": [3, 4],
                "max_known_peer_ids": [1, 2, 3],
                "read-buffer-size": None,
                "connection-timeout": True,
            },
            "greylisting_config": {"factor": 0.5},
        }
    }
    assert faults(document) == [
        "f: p2p.expected-proof-of-work: 300 is not in 0..256; write, for example, 26.0",
        "f: p2p.bootstrap-peers: 'a:b:c' is not of the form host[:port][#peer_id]; "
        '"_:1" lacks an address to dial; "1.2.3.4:0" has port 0, where nobody listens; '
        'write, for example, ["boot.example.org:9732"]',
        f'f: p2p.listen-addr: "[::]:1#{PEER}" names a peer; we listen for anybody; '
        'write, for example, "[::]:9732"',
        "f: p2p.advertised-net-port: 65536 is not in 0..65535; write, for example, 9732",
        'f: p2p.discovery-addr: "[::1]" is an IPv6 address; IPv4 only; write, for '
        'example, "255.255.255.255:10732"',
        "f: p2p.private-mode: true or false wanted, not 1; write, for example, true",
        'f: p2p.limits.backlog: a whole number wanted, not "20"; write, for example, 20',
        "f: p2p.limits.swap-linger: 0 is not in 1e-09..1000000000; write, for example, "
        "30.0",
        "f: p2p.limits.max_known_points: target 4 exceeds most 3; write, for example, "
        "[400, 300]",
        "f: p2p.limits.max_known_peer_ids: a list of two whole numbers or null wanted, "
        "not a list; write, for example, [400, 300]",
        "f: p2p.limits.read-buffer-size: a whole number wanted, not null; write, for "
        "example, 16384",
        "f: p2p.limits.connection-timeout: a number wanted, not true; write, for "
        "example, 10.0",
        "f: p2p.greylisting_config.factor: 0.5 is not in 1..1000000000; write, for "
        "example, 1.2",
    ]


def test_a_neighbourhood_has_no_peer_id() -> None:
    (fault,) = faults({"p2p": {"discovery-addr": f"1.2.3.4#{PEER}"}})
    assert "names a peer; all neighbours are meant" in fault


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        ([], "f: an object wanted, not []; write { and } around it"),
        (None, "f: an object wanted, not null; write { and } around it"),
        ({"p2p": [1]}, "f: p2p: an object wanted, not [1]; write { and } around it"),
        ({"p2p": {"limits": 7}}, "f: p2p.limits: an object wanted, not 7; write { and }"),
    ],
)
def test_something_else_in_place_of_an_object_is_a_fault(
    document: object, fault: str
) -> None:
    (told,) = faults(document)
    assert told.startswith(fault)


def test_bounds_of_connections_out_of_order_are_told_with_where_they_come_from() -> None:
    document = {"p2p": {"limits": {"min-connections": 70, "max-connections": 60}}}
    assert faults(document) == [
        "configuration: file f: p2p.limits.min-connections, default, file f: "
        "p2p.limits.max-connections: min <= expected <= max connections: 70, 50, 60 are "
        "not; set all three, or --connections"
    ]


def test_a_wrong_bound_is_not_compared_with_the_others() -> None:
    document = {"p2p": {"limits": {"min-connections": 70, "expected-connections": "x"}}}
    assert len(faults(document)) == 1


SMALL = {"p2p": {"listen-addr": "[::]", "limits": {"max_known_points": [100, 99]}}}


def test_a_table_smaller_than_the_connections_is_a_fault() -> None:
    assert faults(SMALL) == [
        "configuration: file f: p2p.limits.max_known_points, default: "
        "limits.max_known_points: collection leaves 99, fewer than 100 connections; "
        "write, for example, [400, 300]"
    ]
    SMALL_ENOUGH = {"listen-addr": "[::]", "limits": {"max_known_points": [100, 100]}}
    assert of({"p2p": SMALL_ENOUGH}).p2p.limits.max_known_points == (100, 100)


def test_a_table_without_a_bound_is_not_too_small() -> None:
    assert limits(max_known_points=None).p2p.limits.max_known_points is None


def test_with_checks_switched_off_a_small_table_is_a_warning() -> None:
    config = of(SMALL, validate=False)
    assert config.p2p.limits.max_known_points == (100, 99)
    assert ["collection leaves 99" in each.what for each in config.warnings] == [True]


def test_a_wrong_table_is_not_compared_with_the_connections() -> None:
    document = {
        "p2p": {"limits": {"max_known_points": [1, 9], "max_known_peer_ids": [9, 1]}}
    }
    (fault,) = faults(document)
    assert "target 9 exceeds most 1" in fault


def test_warnings_come_with_the_faults() -> None:
    with pytest.raises(ConfigError) as caught:
        of({"p2p": {"private-mode": 0, "x": 1}})
    assert [each.path for each in caught.value.warnings] == ["p2p.x", "p2p.listen-addr"]


# -- layers ----------------------------------------------------------------------------


def layer(source: Source, **values: Any) -> Layer:
    named = {f"limits.{name.replace('_', '-')}": value for name, value in values.items()}
    return Layer(source, source.value, named, {key: f"<{key}>" for key in named})


def test_the_last_layer_that_says_something_counts_and_is_remembered() -> None:
    config = resolve(
        [
            layer(Source.DEFAULT, backlog=1),
            layer(Source.FILE, backlog=2, min_connections=2, max_connections=90),
            layer(Source.ENVIRONMENT, min_connections=3, expected_connections=33),
            layer(Source.FLAG, expected_connections=44),
        ]
    )
    found = config.p2p.limits
    assert (found.backlog, found.min_connections) == (2, 3)
    assert (found.expected_connections, found.max_connections) == (44, 90)
    origins = {key.partition(".")[2]: str(config.origins[key]) for key in config.origins}
    assert origins["backlog"] == "file file: <limits.backlog>"
    assert origins["min-connections"] == "environment <limits.min-connections>"
    assert origins["expected-connections"] == "flag <limits.expected-connections>"
    assert origins["swap-linger"] == "default"
    assert config.origins["limits.swap-linger"] == Origin(Source.DEFAULT)


def test_a_fault_is_told_even_if_a_later_layer_replaces_the_value() -> None:
    wrong = layer(Source.FILE, backlog=-1)
    with pytest.raises(ConfigError, match=r"file: <limits\.backlog>: -1 is not in"):
        resolve([wrong, layer(Source.FLAG, backlog=5)])


def test_an_option_without_a_name_is_called_by_its_key() -> None:
    with pytest.raises(ConfigError, match=r"here: limits\.backlog: a whole number"):
        resolve([Layer(Source.FLAG, "here", {"limits.backlog": 0.5})])


def test_a_layer_with_an_option_that_there_is_not_is_the_callers_mistake() -> None:
    with pytest.raises(KeyError):
        resolve([Layer(Source.FLAG, "here", {"backlog": 5})])


def test_a_number_of_connections_sets_bounds_and_tables() -> None:
    def found(expected: int) -> Limits:
        values = connections_values(expected)
        return resolve([Layer(Source.FLAG, "here", values)]).p2p.limits

    assert found(30) == Limits(
        min_connections=15,
        expected_connections=30,
        max_connections=45,
        max_known_points=(240, 180),
        max_known_peer_ids=(240, 180),
    )
    one = found(1)
    assert (one.min_connections, one.max_connections) == (1, 1)
    assert found(0).max_connections == 0
    assert found(3).thresholds
    assert table_values(11)["limits.max_known_points"] == [11, 6]


# -- text of environment variables -----------------------------------------------------


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("private-mode", " YES ", True),
        ("private-mode", "off", False),
        ("private-mode", "2", "2"),
        ("private-mode", "none", "none"),
        ("limits.backlog", "12", 12),
        ("limits.backlog", "-1", -1),
        ("limits.backlog", "1_2", "1_2"),
        ("limits.backlog", "1.0", "1.0"),
        ("limits.backlog", "٣", "٣"),
        ("limits.backlog", "9" * 31, "9" * 31),
        ("limits.swap-linger", "2.5", 2.5),
        ("limits.swap-linger", "1e2", 100.0),
        ("limits.swap-linger", ".5", 0.5),
        ("limits.swap-linger", "None", None),
        ("limits.swap-linger", "nan", "nan"),
        ("limits.swap-linger", "inf", "inf"),
        ("limits.max_known_points", "40,30", [40, 30]),
        ("limits.max_known_points", "40 30", [40, 30]),
        ("limits.max_known_points", "40", [40]),
        ("limits.max_known_points", "a,3", ["a", 3]),
        ("limits.max_known_points", "none", None),
        (
            "bootstrap-peers",
            "a.example.org, [::1]:2  c",
            ["a.example.org", "[::1]:2", "c"],
        ),
        ("bootstrap-peers", "none", []),
        ("listen-addr", "[::1]:5", "[::1]:5"),
        ("listen-addr", "none", None),
    ],
)
def test_text_is_read_as_what_the_option_is(key: str, text: str, value: object) -> None:
    found = OPTION_OF[key].of_text(text)
    assert (found, type(found)) == (value, type(value))


@given(st.sampled_from(OPTIONS), st.text())
def test_any_text_is_a_value_or_a_fault(option: Any, text: str) -> None:
    option.fault(option.of_text(text))


@given(st.sampled_from(OPTIONS), st.data())
def test_what_a_value_is_as_text_is_read_back(option: Any, data: st.DataObject) -> None:
    plain = {
        Kind.FLAG: st.booleans(),
        Kind.NUMBER: st.floats(0, 1e9),
        Kind.COUNT: st.integers(-(10**20), 10**20),
        Kind.TEXT: st.sampled_from(["[::]:1", "a.b:2", "_"]),
        Kind.TEXTS: st.lists(st.sampled_from(["[::]:1", "a.b:2", "_"])),
        Kind.PAIR: st.lists(st.integers(-5, 10**6), min_size=2, max_size=2),
    }[option.kind]
    value = data.draw(plain)
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    assert option.of_text(text or "none") == value


# -- the file is written as it was -----------------------------------------------------


def test_what_is_changed_is_changed_and_all_else_is_kept_in_order() -> None:
    before = json.dumps(WHOLE)
    changes = {"limits.backlog": 9, "private-mode": False, "limits.swap-linger": None}
    changed = ConfigFile("f", WHOLE).with_values(changes, without=["discovery-addr"])
    assert json.dumps(WHOLE) == before
    wanted = json.loads(before)
    wanted["p2p"]["limits"]["backlog"] = 9
    wanted["p2p"]["private-mode"] = False
    del wanted["p2p"]["discovery-addr"]
    assert json.dumps(changed.document) == json.dumps(wanted)
    assert changed.name == "f"


def test_a_section_that_is_made_says_what_the_reference_would_read_otherwise() -> None:
    made = ConfigFile().with_values({"limits.backlog": 9, "greylisting_config.factor": 2})
    assert made.document == {
        "p2p": {
            "listen-addr": "[::]:9732",
            "limits": {
                "connection-timeout": 10.0,
                "max_known_points": [400, 300],
                "max_known_peer_ids": [400, 300],
                "backlog": 9,
            },
            "greylisting_config": {"factor": 2},
        }
    }
    again = made.with_values({"limits.backlog": 10, "private-mode": True})
    assert again.document["p2p"]["limits"]["backlog"] == 10
    assert made.document["p2p"]["limits"]["backlog"] == 9


def test_null_is_written_by_leaving_out_where_the_reference_has_none() -> None:
    file = ConfigFile("f", WHOLE).with_values(
        dict.fromkeys(["listen-addr", "bootstrap-peers", "limits.max-upload-speed"])
    )
    section = file.document["p2p"]
    assert not {"listen-addr", "bootstrap-peers"} & section.keys()
    assert "max-upload-speed" not in section["limits"]
    values = resolve([file.layer()]).values
    assert values["listen-addr"] is values["limits.max-upload-speed"] is None


def test_leaving_out_what_is_not_there_changes_nothing() -> None:
    for document in ({}, {"p2p": {}}, {"p2p": {"limits": {}}}):
        file = ConfigFile("f", document)
        assert file.with_values({}, without=["limits.backlog"]).document == document
        assert file.with_values({}, without=["private-mode"]).document == document


def test_a_wrong_change_is_refused_with_all_its_faults() -> None:
    with pytest.raises(ConfigError) as caught:
        ConfigFile("f").with_values(
            {"limits.backlog": 256, "backlog": 1, "private-mode": None}, without=["x"]
        )
    assert [(each.path, each.what) for each in caught.value.faults] == [
        ("p2p.backlog", "there is no such option"),
        ("p2p.x", "there is no such option"),
        ("p2p.limits.backlog", "256 is not in 0..255"),
        ("p2p.private-mode", "true or false wanted, not null"),
    ]


@pytest.mark.parametrize("document", [[], {"p2p": 1}, {"p2p": {"limits": []}}])
def test_a_document_of_another_shape_is_not_changed(document: object) -> None:
    with pytest.raises(ConfigError, match="an object wanted"):
        ConfigFile("f", document).with_values({"limits.backlog": 1})


# -- values for the core ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        (None, None, None),
        ("[::1]:5", "::1", 5),
        ("", "::", 9732),
        ("_:5", "::", 5),
        (":0", "::", 0),
        ("name.example.org", "name.example.org", 9732),
    ],
)
def test_where_to_listen_is_complete(
    text: str | None, host: str | None, port: int | None
) -> None:
    endpoint = P2p(listen_addr=text).listen_endpoint
    assert endpoint == (None if host is None else Endpoint(host, port))


def test_where_neighbours_are_told_is_complete() -> None:
    assert P2p().discovery_endpoint is None
    everybody = Endpoint("255.255.255.255", 10732)
    assert P2p(discovery_addr="_").discovery_endpoint == everybody
    assert P2p(discovery_addr="1.2.3.4:5").discovery_endpoint == Endpoint("1.2.3.4", 5)


def test_the_port_to_announce_is_the_configured_one_or_that_of_the_socket() -> None:
    assert P2p().announced_port() == 9732
    assert P2p().announced_port(77) == 77
    assert P2p(listen_addr=None).announced_port() == 0
    assert P2p(listen_addr="[::]:0").announced_port() == 0
    assert P2p(advertised_net_port=5).announced_port(77) == 5
    assert P2p(advertised_net_port=0).announced_port(77) == 0


def test_peers_are_those_of_the_file_or_of_the_network_and_those_of_the_command() -> None:
    plain = P2p()
    own = P2p(bootstrap_peers=("a.example.org", "b.example.org:1"))
    network, added = ["n.example.org"], [f"1.2.3.4#{PEER}", "b.example.org:1"]

    def hosts(section: P2p, **kwargs: Any) -> list[str]:
        return [each.host for each in section.peers(network, added, **kwargs)]

    assert hosts(plain) == ["n.example.org", "1.2.3.4", "b.example.org"]
    assert hosts(own) == ["a.example.org", "b.example.org", "1.2.3.4"]
    assert hosts(own, bootstrap=False) == ["1.2.3.4", "b.example.org"]
    assert hosts(P2p(bootstrap_peers=())) == ["1.2.3.4", "b.example.org"]
    first = own.peers(network, added)[2]
    assert first == Endpoint("1.2.3.4", 9732, PeerId.parse(PEER))
    with pytest.raises(PointError):
        plain.peers(["a b"])


def test_what_is_told_to_peers_follows_the_file() -> None:
    metadata = of(WHOLE).p2p.metadata
    assert (metadata.disable_mempool, metadata.private_node) == (True, True)
    assert P2p().metadata.private_node is False


# -- garbage ---------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


def section(options: list[Any]) -> st.SearchStrategy[dict[str, Any]]:
    names = {option.key.rpartition(".")[2]: JSON for option in options}
    known = st.fixed_dictionaries({}, optional=names)
    return st.tuples(known, st.dictionaries(st.text(), JSON, max_size=2)).map(
        lambda both: both[1] | both[0]
    )


TOP = [option for option in OPTIONS if "." not in option.key]
INNER = [option for option in OPTIONS if option.key.startswith("limits.")]
DELAYS = [option for option in OPTIONS if option.key.startswith("greylisting")]
DOCUMENTS = st.one_of(
    JSON,
    st.fixed_dictionaries({"p2p": JSON}),
    st.tuples(section(TOP), JSON | section(INNER), JSON | section(DELAYS)).map(
        lambda t: {"p2p": t[0] | {"limits": t[1], "greylisting_config": t[2]}, "x": []}
    ),
)


@given(DOCUMENTS)
def test_any_json_is_a_configuration_or_a_list_of_readable_faults(document: Any) -> None:
    try:
        config = of(document)
    except ConfigError as exc:
        told: tuple[Fault, ...] = exc.faults
        assert told
    else:
        told = config.warnings
        assert set(config.values) == set(OPTION_OF) == set(config.origins)
    for fault in told:
        assert str(fault).isprintable()
        assert fault.what
        assert fault.advice


@given(DOCUMENTS, st.sampled_from(OPTIONS))
def test_a_change_says_what_it_says_and_moves_nothing_else(
    document: Any, option: Any
) -> None:
    before = repr(document)
    try:
        changed = ConfigFile("f", document).with_values({option.key: option.example})
    except ConfigError:
        return
    assert repr(document) == before
    found = changed.layer()
    assert found.values[option.key] == option.example or "queue" in option.key
    old = ConfigFile("f", document).layer()
    if "p2p" in document and option.key.partition(".")[0] in document["p2p"]:
        others = {key: found.values.get(key) for key in old.values if key != option.key}
        assert all(
            repr(others[key]) == repr(old.values[key]) or "queue" in key for key in others
        )
    assert {k: v for k, v in changed.document.items() if k != "p2p"} == {
        k: v for k, v in document.items() if k != "p2p"
    } or "nan" in before


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        ([1, "a"], '[1, "a"]'),
        ([1, [2]], "a list"),
        ([1, 2, 3], "a list"),
        ({}, "an object"),
        ("a\x1b\n", r'"a\x1b\n"'),
        ("x" * 99, '"' + "x" * 59 + "..."),
        (10**30, "1" + "0" * 30),
        (-(10**31), "a number of too many digits"),
        (1.5, "1.5"),
    ],
)
def test_values_are_shown_short_and_in_one_line(value: object, text: str) -> None:
    assert shown(value) == text


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_none_is_a_fault(number: float) -> None:
    document = {"expected-proof-of-work": number, "limits": {"swap-linger": number}}
    assert len(faults({"p2p": document})) == 2


def test_a_section_that_is_no_object_is_not_also_told_to_leave_things_out() -> None:
    assert warnings_of({"p2p": 7}) == ()


def warnings_of(document: object) -> tuple[Fault, ...]:
    return ConfigFile("f", document).layer().warnings


def test_a_number_of_too_many_digits_is_a_fault() -> None:
    # Python would not even print it.
    assert shown(10**9999) == "a number of too many digits"
    (fault,) = faults({"p2p": {"limits": {"backlog": 10**9999}}})
    assert "a whole number wanted, not a number of too many digits" in fault
    (fault,) = faults({"p2p": {"limits": {"swap-linger": 10**9999}}})
    assert "a number or null wanted, not a number of too many digits" in fault
