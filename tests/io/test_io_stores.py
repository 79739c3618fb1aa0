"""Files of a node: what is saved is loaded, what is broken is set aside, nothing lost."""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tezos_p2p.fsm import machine
from tezos_p2p.fsm.acl import Acl, StaticLists
from tezos_p2p.fsm.machine import compiled
from tezos_p2p.fsm.peer import Contact, PeerInfo
from tezos_p2p.fsm.pool import Pool
from tezos_p2p.fsm.prefix import Prefix
from tezos_p2p.io import acl_file, json_file, peers_file
from tezos_p2p.io.acl_file import (
    OperatorLists,
    lists_of,
    load_acl,
    load_anchors,
    read_acl,
    read_anchors,
    restore_lists,
    save_acl,
    save_anchors,
)
from tezos_p2p.io.json_file import (
    FAULTS_TOLD,
    Loaded,
    UnusableFile,
    format_json,
    is_null,
    load_or_set_aside,
    parse_json,
    read_json,
    read_text,
    set_aside,
    sweep,
    write_text,
)
from tezos_p2p.io.peers_file import (
    TEZOS_METADATA,
    MetadataJson,
    format_peers,
    load_peers,
    peers_json,
    read_peers,
    restore_peers,
    save_peers,
)
from tezos_p2p.io.timestamps import Clocks, format_time, parse_time
from tezos_p2p.spec import Address, ConnectionId, Limits, PeerId, Point
from tezos_p2p.spec.metadata import TezosMetadata
from tezos_p2p.spec.pool_events import PeerEvent, PeerEventKind

POSIX = pytest.mark.skipif(os.name != "posix", reason="permissions and links of POSIX")

#: The monotonic clock says 1000 when the wall clock says 2026-11-24 02:00:00.
CLOCKS = Clocks(1000.0, 1_795_485_600.0)
PEERS = [PeerId(bytes([number]) * 16) for number in range(8)]
HERE = ConnectionId(Address.parse("192.0.2.1"), 9732)
THERE = ConnectionId(Address.parse("2001:db8::1"))

#: As a node of 2026 wrote it, with every field; the moments are some of 2019 and 2026.
ENTRY: dict[str, Any] = {
    "peer_id": str(PEERS[1]),
    "created": "2019-05-20T10:00:00-00:00",
    "trusted": True,
    "peer_metadata": TEZOS_METADATA.write(TezosMetadata().plus("requests.sent.head", 3)),
    "events": [
        {
            "kind": "incoming_request",
            "timestamp": "2026-11-24T01:59:00.000-00:00",
            "addr": "::ffff:192.0.2.1",
            "port": 9732,
        },
        {
            "kind": "external_disconnection",
            "timestamp": "2026-11-24T01:59:30.125-00:00",
            "addr": "2001:db8::1",
        },
    ],
    "last_failed_connection": [{"addr": "::1", "port": 1}, "1795485000"],
    "last_rejected_connection": [{"addr": "::1"}, 1795485060],
    "last_established_connection": [
        {"addr": "::ffff:192.0.2.1", "port": 9732},
        "2026-11-24T01:59:00.000-00:00",
    ],
    "last_disconnection": [
        {"addr": "::ffff:192.0.2.2", "port": 19732},
        "2026-11-24T01:59:30.500-00:00",
    ],
}


def entry(**changes: Any) -> dict[str, Any]:
    return {key: value for key, value in (ENTRY | changes).items() if value is not ...}


def described(info: PeerInfo[Any]) -> tuple[Any, ...]:
    return (
        info.peer_id,
        info.created,
        info.trusted,
        info.metadata,
        info.events,
        info.last_failed,
        info.last_rejected,
        info.last_established,
        info.last_disconnection,
    )


def pool_of(limits: Limits | None = None) -> Pool[TezosMetadata]:
    def score(_: TezosMetadata) -> float:
        return 1.0

    return Pool(limits or Limits(), TezosMetadata, score, lambda: 0.5)


def load(path: Path) -> Loaded[tuple[PeerInfo[TezosMetadata], ...]]:
    return load_peers(path, CLOCKS, TEZOS_METADATA)


def put(path: Path, content: object) -> Path:
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    path.write_bytes(raw)
    return path


# -- moments ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000-00:00"),
        (1_795_485_600.125, "2026-11-24T02:00:00.125-00:00"),
        (-0.001, "1969-12-31T23:59:59.999-00:00"),
        (-62_135_596_800.0, "0001-01-01T00:00:00.000-00:00"),
        (-1e18, "0001-01-01T00:00:00.000-00:00"),
        (1e300, "9999-12-31T23:59:59.999-00:00"),
        (float("inf"), "9999-12-31T23:59:59.999-00:00"),
        (float("-inf"), "0001-01-01T00:00:00.000-00:00"),
        (float("nan"), "0001-01-01T00:00:00.000-00:00"),
    ],
)
def test_a_moment_is_written_in_utc_with_three_decimals(seconds: float, text: str):
    assert format_time(seconds) == text


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2026-11-24T02:00:00.125-00:00", 1_795_485_600.125),
        ("2026-11-24T02:00:00-00:00", 1_795_485_600.0),
        ("2026-11-24t02:00:00Z", 1_795_485_600.0),
        ("2026-11-24 03:30:00+01:30", 1_795_485_600.0),
        ("2026-11-23T23:00:00.5-03:00", 1_795_485_600.5),
        ("2016-12-31T23:59:60Z", 1_483_228_800.0),
        (1_795_485_600, 1_795_485_600.0),
        ("1795485600", 1_795_485_600.0),
        ("-5", -5.0),
    ],
)
def test_moments_of_every_form_are_read(value: object, seconds: float):
    assert parse_time(value) == seconds


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        1.5,
        "",
        "yesterday",
        "2026-11-24",
        "2026-11-24T02:00:00",
        "2026-13-24T02:00:00Z",
        "2026-11-31T02:00:00Z",
        "2026-11-24T25:00:00Z",
        "2026-11-24T02:00:61Z",
        "2026-11-24T02:00:00+24:00",
        "2026-11-24T02:00:00+01:60",
        "0000-01-01T00:00:00Z",
        "２０２６-11-24T02:00:00Z",
        1 << 63,
        "9" * 19,
        10**400,
        [],
    ],
)
def test_what_is_no_moment_is_told(value: object):
    with pytest.raises(ValueError):
        parse_time(value)


@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_a_moment_that_was_written_is_read_back_to_the_millisecond(count: int):
    assert round(parse_time(format_time(count / 1000)) * 1000) == count


def test_two_clocks_turn_moments_of_each_into_those_of_the_other():
    assert CLOCKS.wall_of(400.0) == CLOCKS.wall - 600
    assert CLOCKS.at_of(CLOCKS.wall - 600) == 400.0
    assert CLOCKS.at_of(0.0) == 1000.0 - CLOCKS.wall


def test_what_is_yet_to_come_by_a_clock_that_was_wrong_is_now():
    assert CLOCKS.at_of(CLOCKS.wall + 1e9) == CLOCKS.now


# -- peers -----------------------------------------------------------------------------


def test_a_file_of_the_reference_is_read_with_everything_in_it(tmp_path: Path):
    found = load(put(tmp_path / "peers.json", [ENTRY]))
    assert found.warnings == ()
    (info,) = found.value
    second = ConnectionId(Address.parse("192.0.2.2"), 19732)
    assert described(info) == (
        PEERS[1],
        1000.0 - (CLOCKS.wall - 1_558_346_400.0),
        True,
        TezosMetadata().plus("requests.sent.head", 3),
        (
            PeerEvent(PeerEventKind.INCOMING_REQUEST, 940.0, HERE),
            PeerEvent(PeerEventKind.EXTERNAL_DISCONNECTION, 970.125, THERE),
        ),
        Contact(ConnectionId(Address(1), 1), 400.0),
        Contact(ConnectionId(Address(1)), 460.0),
        Contact(HERE, 940.0),
        Contact(second, 970.5),
    )
    assert info.last_seen == Contact(second, 970.5)


def test_what_is_written_has_the_fields_and_forms_of_the_reference():
    faults: list[str] = []
    peers = read_peers([ENTRY], faults, CLOCKS, TEZOS_METADATA)
    (written,) = peers_json(peers, CLOCKS.wall_of, TEZOS_METADATA)
    assert faults == []
    assert list(written) == list(ENTRY)
    assert written == ENTRY | {
        "created": "2019-05-20T10:00:00.000-00:00",
        "last_failed_connection": [
            {"addr": "::1", "port": 1},
            "2026-11-24T01:50:00.000-00:00",
        ],
        "last_rejected_connection": [{"addr": "::1"}, "2026-11-24T01:51:00.000-00:00"],
    }


def test_a_file_that_the_reference_of_2019_wrote_is_loaded_without_a_fault(
    tmp_path: Path,
) -> None:
    """Printed by the peer-to-peer library of the reference node of May 2019 when run."""
    text = (Path(__file__).parent / "goldens/peers_2019.txt").read_text("utf-8")
    document, path = json.loads(text), tmp_path / "peers.json"
    path.write_text(text)
    clocks = Clocks(1000.0, 1.8e9)
    found = load_peers(path, clocks, TEZOS_METADATA)
    assert found.warnings == ()
    one, other = found.value
    assert [str(one.peer_id), str(other.peer_id)] == [it["peer_id"] for it in document]
    assert (one.trusted, other.trusted) == (True, False)
    assert [event.kind.name.lower() for event in one.events] == [
        event["kind"] for event in document[0]["events"]
    ]
    here = ConnectionId(Address.parse("127.0.0.1"), 9732)
    assert one.last_seen is not None
    assert one.last_seen.id_point == here
    assert format_time(clocks.wall_of(one.last_seen.at))[:19] == "2019-05-17T23:59:59"
    assert other.last_seen is None
    assert one.metadata == other.metadata == TezosMetadata()
    # We write the same, with parts of a second, and counters that were added since.
    again = json.dumps(peers_json(found.value, clocks.wall_of, TEZOS_METADATA))
    written = json.loads(again.replace(".000-00:00", "-00:00"))
    for ours, theirs in zip(written, document, strict=True):
        counters = ours.pop("peer_metadata"), theirs.pop("peer_metadata")
        assert counters[0].keys() == counters[1].keys()
    assert written == document


def test_what_has_its_default_is_not_written():
    info = PeerInfo(PEERS[0], 1000.0, TezosMetadata())
    (written,) = peers_json([info], CLOCKS.wall_of, TEZOS_METADATA)
    assert list(written) == ["peer_id", "created", "peer_metadata"]


def test_what_a_node_lived_through_is_known_after_a_restart(tmp_path: Path):
    pool = pool_of()
    for number, peer_id in enumerate(PEERS):
        info = pool.register_peer(peer_id, 10.0 + number)
        info.accept(number + 1, HERE, 20.0)
        info.disconnect(HERE, 21.5)
    pool.known_peers[PEERS[3]].trusted = True
    before = [described(info) for info in pool.known_peers.values()]
    path = tmp_path / "peers.json"
    save_peers(path, pool.known_peers.values(), CLOCKS.wall_of, TEZOS_METADATA)
    assert os.listdir(tmp_path) == ["peers.json"]

    # Sixty seconds later, another boot: its monotonic clock is young.
    later = Clocks(5.0, CLOCKS.wall + 60)
    found = load_peers(path, later, TEZOS_METADATA)
    assert found.warnings == ()
    shift = 5.0 - 60 - 1000.0
    assert [info.created - shift for info in found.value] == [each[1] for each in before]
    assert found.value[0].last_rejected == Contact(HERE, 21.5 + shift)
    assert [info.peer_id for info in found.value if info.trusted] == [PEERS[3]]


@POSIX
def test_only_the_owner_may_read_what_is_written(tmp_path: Path):
    path = tmp_path / "peers.json"
    path.write_text("[]")
    path.chmod(0o644)
    save_peers(path, [], CLOCKS.wall_of, TEZOS_METADATA)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_peers_and_where_they_were_met_are_known_and_nothing_else_of_the_points():
    pool = pool_of()
    trusted = pool.register_point(Point(HERE.address, 9732), 0.0, trusted=True)
    with_port = PeerInfo(PEERS[0], 1.0, TezosMetadata())
    with_port.last_established = Contact(HERE, 5.0)
    moved = PeerInfo(PEERS[1], 1.0, TezosMetadata())
    moved.last_established = Contact(HERE, 5.0)
    moved.last_disconnection = Contact(ConnectionId(Address(1), 7), 6.0)
    without = PeerInfo(PEERS[2], 1.0, TezosMetadata())
    without.last_rejected = Contact(THERE, 5.0)
    nowhere = PeerInfo(PEERS[3], 1.0, TezosMetadata())
    nowhere.last_failed = Contact(HERE, 5.0)
    zero = PeerInfo(PEERS[4], 1.0, TezosMetadata())
    zero.last_rejected = Contact(ConnectionId(Address(9), 0), 5.0)
    restore_peers(pool, [with_port, moved, without, nowhere, zero], 9.0)
    assert list(pool.known_peers) == PEERS[:5]
    assert list(pool.known_points) == [Point(HERE.address, 9732), Point(Address(1), 7)]
    assert trusted.trusted
    again = pool.known_points[Point(Address(1), 7)]
    assert not again.trusted
    assert not again.known_public
    assert again.expected is None
    assert again.may_dial(9.0)
    assert pool.active == 0


def test_a_peer_that_is_known_already_stays_as_it_is():
    pool = pool_of()
    known = pool.register_peer(PEERS[0], 7.0)
    stale = PeerInfo(PEERS[0], 1.0, TezosMetadata(), trusted=True)
    stale.last_established = Contact(HERE, 5.0)
    restore_peers(pool, [stale], 9.0)
    assert pool.known_peers == {PEERS[0]: known}
    assert not pool.known_points


def test_more_peers_than_the_table_holds_are_collected_with_the_next_stranger():
    pool = pool_of(Limits(max_connections=50, max_known_peer_ids=(5, 3)))
    infos = [PeerInfo(each, 1.0, TezosMetadata()) for each in PEERS[:7]]
    restore_peers(pool, infos, 9.0)
    assert len(pool.known_peers) == 7
    pool.register_peer(PEERS[7], 9.0)
    assert len(pool.known_peers) == 4


def test_restored_peers_run_on_the_machine_of_their_pool():
    faults: list[str] = []
    (info,) = read_peers([ENTRY], faults, CLOCKS, TEZOS_METADATA, compiled)
    assert info.runner is compiled
    (other,) = read_peers([ENTRY], faults, CLOCKS, TEZOS_METADATA)
    assert other.runner is machine.shared
    info.accept(1, HERE, 1001.0)


def test_no_file_is_no_peers_and_no_warning(tmp_path: Path):
    assert load(tmp_path / "peers.json") == Loaded(())
    assert load(tmp_path / "nowhere" / "peers.json") == Loaded(())


BAD_WHOLE = [
    (b"", "not JSON"),
    (b'[{"peer_id"', "not JSON"),
    (b"[NaN]", "NaN is no JSON number"),
    (b"[1e999]", "too large a number"),
    (b'[{"a": 1, "a": 2}]', "given more than once: 'a'"),
    (b"\xff", "byte 0 is not UTF-8"),
    (b"[" * 100_000, "nested too deeply"),
    (b"{}", "a list wanted, not dict"),
    (b"null", "a list wanted, not NoneType"),
    (b"\0" * 4096, "not JSON"),
]


@pytest.mark.parametrize(("content", "says"), BAD_WHOLE)
def test_a_file_that_cannot_be_used_is_set_aside_whole_and_told(
    tmp_path: Path, content: bytes, says: str
):
    path = put(tmp_path / "peers.json", content)
    found = load(path)
    assert found.value == ()
    assert says in found.warnings[1]
    assert found.warnings[0] == (
        f"{path}: not as it should be; it was set aside as peers.json.unreadable-1"
    )
    assert os.listdir(tmp_path) == ["peers.json.unreadable-1"]
    assert (tmp_path / "peers.json.unreadable-1").read_bytes() == content
    assert load(path) == Loaded(())


def test_what_was_set_aside_before_is_never_overwritten(tmp_path: Path):
    contents = [b"one", b"two", b"three"]
    for content in contents:
        load(put(tmp_path / "peers.json", content))
    kept = [(tmp_path / f"peers.json.unreadable-{n}").read_bytes() for n in (1, 2, 3)]
    assert kept == contents


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"peer_id": ...}, "[1].peer_id: missing"),
        ({"peer_id": "idr"}, "[1].peer_id: "),
        ({"peer_id": 7}, "[1].peer_id: str wanted, not int"),
    ],
)
def test_a_peer_without_its_id_is_left_out_and_the_others_are_kept(
    tmp_path: Path, change: dict[str, Any], says: str
):
    first, last = entry(peer_id=str(PEERS[0])), entry(peer_id=str(PEERS[2]))
    document = [first, entry(**change), last, 7]
    found = load(put(tmp_path / "peers.json", document))
    assert [info.peer_id for info in found.value] == [PEERS[0], PEERS[2]]
    assert says in found.warnings[1]
    assert "[3]: an object wanted, not int" in found.warnings[2]
    aside = tmp_path / "peers.json.unreadable-1"
    assert json.loads(aside.read_text()) == document


PLAIN = (
    PEERS[1],
    1000.0,
    False,
    TezosMetadata(),
    (),
    None,
    None,
    None,
    None,
)


@pytest.mark.parametrize(
    ("field", "value", "place", "says"),
    [
        ("created", ..., 1, "created: missing"),
        ("created", "soon", 1, "created: a moment wanted"),
        ("trusted", "yes", 2, "trusted: bool wanted, not str"),
        ("peer_metadata", ..., 3, "peer_metadata: missing"),
        ("peer_metadata", {"responses": 1}, 3, "peer_metadata: missing"),
        ("peer_metadata", [], 3, "peer_metadata: an object wanted"),
        ("events", {}, 4, "events: a list wanted, not dict"),
        ("events", [1], 4, "events: an object wanted, not int"),
        ("events", [{"kind": "x"}], 4, "missing: ['addr', 'timestamp']"),
        (
            "events",
            [{"kind": ["x"], "timestamp": 0, "addr": "::1"}],
            4,
            "events: ['x'] is no kind of event",
        ),
        (
            "events",
            [{"kind": "x", "timestamp": 0, "addr": "::1"}],
            4,
            "events: 'x' is no kind of event",
        ),
        ("last_failed_connection", {}, 5, "a pair [{addr, port}, moment] wanted"),
        ("last_rejected_connection", [1, 2, 3], 6, "a pair [{addr, port}, moment]"),
        ("last_rejected_connection", [7, 0], 6, "an object wanted, not int"),
        ("last_established_connection", [{"addr": "::1"}, "x"], 7, "a moment wanted"),
        ("last_established_connection", [{"addr": "::g"}, 0], 7, "is no IPv4 or IPv6"),
        ("last_disconnection", [{"addr": "::1", "port": 65536}, 0], 8, "port 65536"),
        ("last_disconnection", [{"addr": "::1", "port": None}, 0], 8, "port None"),
        ("last_disconnection", [{"addr": "::1", "x": 1}, 0], 8, "unknown: ['x']"),
    ],
)
def test_what_is_wrong_of_a_peer_is_as_if_it_were_absent_and_the_rest_is_kept(
    tmp_path: Path, field: str, value: object, place: int, says: str
):
    good = load(put(tmp_path / "good.json", [ENTRY])).value
    found = load(put(tmp_path / "peers.json", [entry(**{field: value})]))
    assert len(found.warnings) == 2
    assert says in found.warnings[1]
    assert f"[0].{field}: " in found.warnings[1]
    wanted = list(described(good[0]))
    wanted[place] = PLAIN[place]
    assert described(found.value[0]) == tuple(wanted)


def test_fields_that_nobody_knows_are_told_and_the_peer_is_kept(tmp_path: Path):
    found = load(put(tmp_path / "peers.json", [entry(fame=1, **{"\x1b[2J": 2})]))
    assert len(found.value) == 1
    assert r"[0]: unknown fields: 'fame', '\x1b[2J'" in found.warnings[1]
    assert all(each.isprintable() for each in found.warnings)


def test_of_a_peer_given_twice_the_first_counts(tmp_path: Path):
    twice = [ENTRY, entry(trusted=...), ENTRY]
    found = load(put(tmp_path / "peers.json", twice))
    assert [info.trusted for info in found.value] == [True]
    assert "[1]: id" in found.warnings[1]
    assert len(found.warnings) == 3


def test_of_many_faults_the_first_are_told_and_the_rest_are_counted(tmp_path: Path):
    found = load(put(tmp_path / "peers.json", [7] * 25))
    assert len(found.warnings) == FAULTS_TOLD + 2
    assert found.warnings[-1].endswith("and 15 more faults")


def test_no_more_events_are_kept_than_a_node_keeps(tmp_path: Path):
    events = [
        {"kind": "disconnection", "timestamp": number, "addr": "::1", "port": number}
        for number in range(250)
    ]
    found = load(put(tmp_path / "peers.json", [entry(events=events)]))
    ports = [event.id_point.port for event in found.value[0].events]
    assert ports == list(range(150, 250))


def test_a_reader_of_metadata_may_fail_in_any_way(tmp_path: Path):
    def read(_: object) -> int:
        raise ZeroDivisionError

    metadata = MetadataJson(lambda: 7, read, int)
    found = load_peers(put(tmp_path / "peers.json", [ENTRY]), CLOCKS, metadata)
    assert found.value[0].metadata == 7
    assert "ZeroDivisionError" in found.warnings[1]


def test_a_counter_that_is_wrong_is_told_with_its_path(tmp_path: Path):
    metadata = json.loads(json.dumps(ENTRY["peer_metadata"]))
    metadata["requests"]["sent"]["head"] = "many"
    found = load(put(tmp_path / "peers.json", [entry(peer_metadata=metadata)]))
    assert found.value[0].metadata == TezosMetadata()
    assert "[0].peer_metadata: not a string of decimal digits @ $" in found.warnings[1]
    assert found.warnings[1].endswith(".requests.sent.head")


def test_metadata_that_count_as_false_are_not_lost(tmp_path: Path):
    metadata = MetadataJson(lambda: 7, int, int)
    path = put(tmp_path / "peers.json", [entry(peer_metadata=0)])
    assert load_peers(path, CLOCKS, metadata).value[0].metadata == 0


def test_an_oversized_file_is_not_read_and_is_set_aside(tmp_path, monkeypatch):
    monkeypatch.setattr(peers_file, "PEERS_MAX_SIZE", 100)
    found = load(put(tmp_path / "peers.json", [ENTRY]))
    assert "larger than 100 bytes" in found.warnings[1]
    monkeypatch.setattr(peers_file, "PEERS_MAX_SIZE", 2)
    assert load(put(tmp_path / "peers.json", [])) == Loaded(())


def test_a_small_file_takes_little_memory_however_large_it_may_be(tmp_path: Path):
    path = put(tmp_path / "peers.json", [])
    tracemalloc.start()
    try:
        assert load(path) == Loaded(())
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_file_that_is_larger_than_the_memory_is_set_aside(tmp_path: Path):
    def read(document: Any, faults: list[str]) -> None:
        raise MemoryError

    path = put(tmp_path / "peers.json", [])
    found = load_or_set_aside(path, 100, read, None)
    assert found.value is None
    assert "larger than the memory that is left" in found.warnings[1]
    assert (tmp_path / "peers.json.unreadable-1").read_text() == "[]"


def test_what_would_not_be_read_again_is_not_written(tmp_path, monkeypatch):
    path = put(tmp_path / "peers.json", [])
    (info,) = read_peers([ENTRY], [], CLOCKS, TEZOS_METADATA)
    size = len(format_peers(peers_json([info], CLOCKS.wall_of, TEZOS_METADATA)))
    monkeypatch.setattr(peers_file, "PEERS_MAX_SIZE", size - 1)
    with pytest.raises(OSError, match=f"more than {size - 1} bytes"):
        save_peers(path, [info], CLOCKS.wall_of, TEZOS_METADATA)
    assert path.read_text() == "[]"
    monkeypatch.setattr(peers_file, "PEERS_MAX_SIZE", size)
    save_peers(path, [info], CLOCKS.wall_of, TEZOS_METADATA)
    assert load(path).warnings == ()


def test_as_many_peers_as_a_table_can_hold_fit_into_the_file():
    far = ConnectionId(Address((1 << 128) - 1), 65535)
    info = PeerInfo(PEERS[0], 1.0, TezosMetadata(), trusted=True)
    last = Contact(far, 1.0)
    info.last_failed = info.last_rejected = last
    info.last_established = info.last_disconnection = last
    longest = max(PeerEventKind, key=lambda kind: len(kind.name))
    info.remember([PeerEvent(longest, 1.0, far)] * 100)
    line = len(format_peers(peers_json([info], CLOCKS.wall_of, TEZOS_METADATA)))
    assert line * 65536 < peers_file.PEERS_MAX_SIZE


def test_each_peer_has_a_line_of_its_own():
    text = format_peers([{"a": 1}, {"b": [2]}])
    assert text == '[{"a": 1},\n{"b": [2]}]\n'
    assert format_peers([]) == "[]\n"
    with pytest.raises(ValueError):
        format_peers([float("inf")])


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(sorted(ENTRY)), JSON), JSON)
def test_any_json_is_peers_or_readable_faults(fields: dict[str, Any], other: Any):
    for document in (other, [other], [ENTRY | fields], [fields]):
        faults: list[str] = []
        found = read_peers(document, faults, CLOCKS, TEZOS_METADATA)
        assert found or faults or document == []
        assert all(fault and len(fault) <= 200 for fault in faults)
        peers_json(found, CLOCKS.wall_of, TEZOS_METADATA)


MOMENTS = st.integers(-(10**12), 1_000_000).map(lambda count: count / 1000)
ID_POINTS = st.builds(
    ConnectionId,
    st.integers(0, (1 << 128) - 1).map(Address),
    st.none() | st.integers(0, 65535),
)
CONTACTS = st.none() | st.builds(Contact, ID_POINTS, MOMENTS)


@st.composite
def infos(draw: st.DrawFn) -> PeerInfo[TezosMetadata]:
    info = PeerInfo(
        PeerId(draw(st.binary(min_size=16, max_size=16))),
        draw(MOMENTS),
        TezosMetadata().plus("valid_blocks", draw(st.integers(0, 10**20))),
        draw(st.booleans()),
    )
    info.last_failed = draw(CONTACTS)
    info.last_rejected = draw(CONTACTS)
    info.last_established = draw(CONTACTS)
    info.last_disconnection = draw(CONTACTS)
    kinds = st.sampled_from(PeerEventKind)
    info.remember(draw(st.lists(st.builds(PeerEvent, kinds, MOMENTS, ID_POINTS))))
    return info


@given(st.lists(infos(), unique_by=lambda info: info.peer_id, max_size=4))
def test_peers_that_were_written_are_read_back(peers: list[PeerInfo[TezosMetadata]]):
    text = format_peers(peers_json(peers, CLOCKS.wall_of, TEZOS_METADATA))
    faults: list[str] = []
    found = read_peers(parse_json(text), faults, CLOCKS, TEZOS_METADATA)
    assert faults == []

    def rounded(value: Any) -> Any:
        # Moments are written in milliseconds, and moved between clocks as floats.
        if isinstance(value, float):
            return round(value * 1000)
        if isinstance(value, (tuple, Contact, PeerEvent)):
            return tuple(map(rounded, value))
        return value

    assert [rounded(described(info)) for info in found] == [
        rounded(described(info)) for info in peers
    ]


# -- what an operator decided ----------------------------------------------------------

LISTS = OperatorLists(
    StaticLists(
        (Prefix.parse("192.0.2.0/24"), Prefix.parse("2001:db8::1")),
        (PEERS[0], PEERS[1]),
        (Prefix.parse("198.51.100.7"), Prefix.parse("2001:db8::/32")),
    ),
    ((Point.parse("203.0.113.1:9732"), None), (Point.parse("[::1]:80"), PEERS[2])),
    (PEERS[3],),
)


def test_what_an_operator_decided_is_written_as_text(tmp_path: Path):
    path = tmp_path / "acl.json"
    save_acl(path, LISTS)
    assert json.loads(path.read_text()) == {
        "version": 1,
        "banned": ["192.0.2.0/24", "2001:db8::1"],
        "banned_peers": [str(PEERS[0]), str(PEERS[1])],
        "allowed": ["198.51.100.7", "2001:db8::/32"],
        "trusted_points": ["203.0.113.1:9732", f"[::1]:80#{PEERS[2]}"],
        "trusted_peers": [str(PEERS[3])],
    }
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 or os.name != "posix"
    assert load_acl(path) == Loaded(LISTS)


def test_without_a_file_nothing_was_decided(tmp_path: Path):
    assert load_acl(tmp_path / "acl.json") == Loaded(None)
    assert load_acl(put(tmp_path / "acl.json", {"version": 1})) == Loaded(OperatorLists())


def test_the_lists_of_a_node_are_the_same_after_a_restart():
    pool, acl = pool_of(), Acl(Limits())
    acl.ban(Prefix.parse("192.0.2.0/24"))
    acl.ban_peer(PEERS[0])
    acl.allow(Address(5))
    configured = Point(Address(6), 1)
    pool.register_point(configured, 0.0, trusted=True)
    pool.register_point(Point(Address(7), 2), 0.0, trusted=True, expected=PEERS[2])
    pool.register_point(Point(Address(8), 3), 0.0)
    pool.register_peer(PEERS[1], 0.0)
    pool.register_peer(PEERS[3], 0.0).trusted = True
    lists = lists_of(pool, acl, [configured])
    assert lists.trusted_points == ((Point(Address(7), 2), PEERS[2]),)
    assert lists.trusted_peers == (PEERS[3],)

    again, other = pool_of(), Acl(Limits())
    other.ban(Address(99))
    restore_lists(again, other, lists, 5.0)
    assert other.static == acl.static
    assert lists_of(again, other) == lists
    info = again.known_points[Point(Address(7), 2)]
    assert (info.trusted, info.expected) == (True, PEERS[2])


def test_trust_that_was_withdrawn_does_not_come_back_from_an_older_file():
    pool = pool_of()
    restore_peers(pool, [PeerInfo(PEERS[0], 1.0, TezosMetadata(), trusted=True)], 9.0)
    restore_lists(pool, Acl(Limits()), OperatorLists(trusted_peers=(PEERS[1],)), 9.0)
    trusted = {peer: info.trusted for peer, info in pool.known_peers.items()}
    assert trusted == {PEERS[0]: False, PEERS[1]: True}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"banned": ["192.0.2.0/24", "192.0.2.7/24", 7]}, "banned[1]: 192.0.2.7/24 has"),
        ({"banned_peers": ["idr"]}, "banned_peers[0]: "),
        ({"allowed": "all"}, "allowed: a list wanted, not str"),
        (
            {"trusted_points": ["192.0.2.1"]},
            "trusted_points[0]: '192.0.2.1' lacks a port",
        ),
        ({"trusted_points": ["a.example.org:1"]}, "is no IPv4 or IPv6 address"),
        ({"trusted_peers": [None]}, "trusted_peers[0]: a text wanted, not NoneType"),
        ({"bans": []}, "unknown fields: 'bans'"),
    ],
)
def test_an_entry_that_is_wrong_is_left_out_and_the_others_are_kept(
    tmp_path: Path, change: dict[str, Any], says: str
):
    plain = {"version": 1, "banned": ["192.0.2.0/24"], "allowed": ["::1"]}
    path = put(tmp_path / "acl.json", plain | change)
    found = load_acl(path)
    assert says in found.warnings[1]
    assert (tmp_path / "acl.json.unreadable-1").exists()
    assert found.value is not None
    assert found.value.static.banned == (Prefix.parse("192.0.2.0/24"),)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"version": 2, "banned": []}, "version: 2; 1 is all that is known here"),
        ({"banned": []}, "version: missing; 1 is all that is known here"),
        ({"version": True}, "version: True; 1 is all"),
        ({"version": "1"}, "version: '1'; 1 is all"),
        ([], "an object wanted, not list"),
    ],
)
def test_a_file_of_another_version_is_set_aside(
    tmp_path: Path, document: object, says: str
):
    for name, load_it in (("acl.json", load_acl), ("anchors.json", load_anchors)):
        found = load_it(put(tmp_path / name, document))
        assert says in found.warnings[1]
        assert found.value in ((), OperatorLists())
        assert json.loads((tmp_path / f"{name}.unreadable-1").read_text()) == document


def test_a_file_that_is_no_json_decides_nothing(tmp_path: Path):
    found = load_acl(put(tmp_path / "acl.json", b"{"))
    assert found.value is None
    assert "not JSON" in found.warnings[1]


NAMES = ("version", *acl_file._LISTS, "anchors")


@given(st.dictionaries(st.sampled_from(NAMES), JSON | st.just(1)), JSON)
def test_any_json_is_lists_or_readable_faults(fields: dict[str, Any], other: Any):
    for document in (other, fields, fields | {"version": 1}):
        for read in (read_acl, read_anchors):
            faults: list[str] = []
            read(document, faults)
            assert all(fault and len(fault) <= 200 for fault in faults)


PREFIXES = st.builds(Prefix.of, st.integers(0, (1 << 128) - 1), st.integers(0, 128))
IDS = st.binary(min_size=16, max_size=16).map(PeerId)
POINTS = st.builds(
    Point, st.integers(0, (1 << 128) - 1).map(Address), st.integers(0, 65535)
)


def tuples(each: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(each, unique=True, max_size=4).map(tuple)


@given(
    st.builds(
        OperatorLists,
        st.builds(StaticLists, tuples(PREFIXES), tuples(IDS), tuples(PREFIXES)),
        tuples(st.tuples(POINTS, st.none() | IDS)),
        tuples(IDS),
    )
)
def test_lists_that_were_written_are_read_back(lists: OperatorLists):
    faults: list[str] = []
    text = format_json(acl_file.acl_json(lists))
    assert read_acl(parse_json(text), faults) == lists
    assert faults == []


# -- anchors ---------------------------------------------------------------------------


def test_anchors_are_kept_in_their_order(tmp_path: Path):
    points = tuple(map(Point.parse, ["203.0.113.1:9732", "[2001:db8::1]:1"]))
    path = tmp_path / "anchors.json"
    assert load_anchors(path) == Loaded(())
    save_anchors(path, points)
    assert json.loads(path.read_text()) == {
        "version": 1,
        "anchors": ["203.0.113.1:9732", "[2001:db8::1]:1"],
    }
    assert load_anchors(path) == Loaded(points)
    save_anchors(path, [])
    assert load_anchors(path) == Loaded(())


# -- writing ---------------------------------------------------------------------------

BIG = 1 << 20
#: What a writer asks of the system, in order.
CALLS = ["mkstemp", "write", "fsync", "close", "replace"]


def break_(monkeypatch: pytest.MonkeyPatch, call: str, error: int) -> None:
    def fail(*args: Any, **_: Any) -> None:
        if call == "close":
            close(args[0])
        raise OSError(error, os.strerror(error))

    close = os.close
    owner = {"mkstemp": json_file.tempfile, "replace": Path}.get(call, json_file.os)
    monkeypatch.setattr(owner, call, fail)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EROFS])
@pytest.mark.parametrize("old", ["precious", None])
def test_whatever_fails_while_saving_the_old_file_stays_and_nothing_else(
    tmp_path, monkeypatch, call, error, old
):
    path = tmp_path / "peers.json"
    if old is not None:
        path.write_text(old)
    with monkeypatch.context() as patched:
        break_(patched, call, error)
        with pytest.raises(OSError) as caught:
            save_peers(path, [], CLOCKS.wall_of, TEZOS_METADATA)
    assert caught.value.errno == error
    assert os.listdir(tmp_path) == (["peers.json"] if old is not None else [])
    if old is not None:
        assert path.read_text() == old


def test_a_disk_that_fills_half_way_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "peers.json"
    path.write_text("precious")
    real, room = os.write, [1000]

    def write(handle: int, data: Any) -> int:
        if not room[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = real(handle, bytes(data)[: room[0]])
        room[0] -= taken
        return taken

    monkeypatch.setattr(json_file.os, "write", write)
    with pytest.raises(OSError, match="No space"):
        write_text(path, "x" * 5000, BIG)
    assert room == [0]
    assert path.read_text() == "precious"
    assert os.listdir(tmp_path) == ["peers.json"]


def test_a_system_that_takes_a_few_bytes_at_a_time_gets_all_of_them(
    tmp_path, monkeypatch
):
    real = os.write
    monkeypatch.setattr(
        json_file.os, "write", lambda handle, data: real(handle, bytes(data)[:7])
    )
    write_text(tmp_path / "x", "0123456789" * 50, BIG)
    assert (tmp_path / "x").read_text() == "0123456789" * 50


@pytest.mark.parametrize("call", ["open", "fsync"])
def test_a_file_system_that_cannot_sync_a_folder_is_no_failure(
    tmp_path, monkeypatch, call
):
    real = getattr(os, call)

    def fail(what: Any, *args: Any) -> Any:
        is_folder = what == tmp_path or (
            call == "fsync" and stat.S_ISDIR(os.fstat(what).st_mode)
        )
        if is_folder:
            raise OSError(errno.EINVAL, "Invalid argument")
        return real(what, *args)

    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    monkeypatch.setattr(json_file.os, call, fail)
    write_text(tmp_path / "x", "new", BIG)
    monkeypatch.undo()
    assert (tmp_path / "x").read_text() == "new"
    after = len(os.listdir("/proc/self/fd")) if before else 0
    assert after == before


@POSIX
def test_the_folder_is_synced_after_the_file_is_in_place(tmp_path, monkeypatch):
    done = []
    real_sync, real_replace = os.fsync, Path.replace

    def sync(handle: int) -> None:
        done.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        real_sync(handle)

    def replace(self: Path, target: Path) -> Path:
        done.append("replace")
        return real_replace(self, target)

    monkeypatch.setattr(json_file.os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", replace)
    write_text(tmp_path / "x", "new", BIG)
    assert done == ["file", "replace", "folder"]


@POSIX
def test_a_real_limit_of_the_system_leaves_the_old_file(tmp_path: Path):
    path = tmp_path / "peers.json"
    path.write_text("precious")
    program = (
        "import resource, sys, pathlib\n"
        "from tezos_p2p.io.json_file import write_text\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))\n"
        "try: write_text(pathlib.Path(sys.argv[1]), 'x' * 100_000, 1 << 20)\n"
        "except OSError as exc: print(exc.errno)\n"
    )
    out = subprocess.run(
        [sys.executable, "-c", program, path], capture_output=True, text=True, check=True
    )
    assert out.stdout.split() == [str(errno.EFBIG)]
    assert path.read_text() == "precious"
    assert os.listdir(tmp_path) == ["peers.json"]


def test_what_a_killed_writer_left_is_swept_and_nothing_else(tmp_path: Path):
    path = tmp_path / "peers.json"
    path.write_text("precious")
    program = (
        "import os, sys, pathlib\n"
        "from tezos_p2p.io import json_file\n"
        "json_file.os.fsync = lambda handle: os._exit(9)\n"
        "json_file.write_text(pathlib.Path(sys.argv[1]), 'new', 9)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, path], check=False)
    assert done.returncode == 9
    assert path.read_text() == "precious"
    (left,) = set(os.listdir(tmp_path)) - {"peers.json"}
    others = [".peers.json.swp", ".acl.json.abc.tmp", "peers.json.unreadable-1"]
    for name in others:
        (tmp_path / name).write_text("")
    sweep(path)
    assert set(os.listdir(tmp_path)) == {"peers.json", *others}
    assert left.startswith(".peers.json.")


def test_a_missing_folder_is_told_by_its_name(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=r"no such folder.*nowhere"):
        write_text(tmp_path / "nowhere" / "x", "", BIG)


def test_what_is_no_file_is_never_replaced(tmp_path: Path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(FileExistsError, match="not a regular file"):
        write_text(tmp_path / "folder", "", BIG)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(FileExistsError, match="not a regular file"):
            write_text(tmp_path / "pipe", "", BIG)
        assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


@POSIX
def test_a_link_is_followed_in_reading_and_replaced_in_writing(tmp_path: Path):
    target, path = tmp_path / "elsewhere", tmp_path / "anchors.json"
    save_anchors(target, [Point(Address(1), 2)])
    before = target.read_text()
    path.symlink_to(target)
    assert load_anchors(path).value == (Point(Address(1), 2),)
    save_anchors(path, [])
    assert not path.is_symlink()
    assert target.read_text() == before


@POSIX
def test_a_broken_file_behind_a_link_stays_where_it_is(tmp_path: Path):
    target, path = tmp_path / "elsewhere", tmp_path / "anchors.json"
    target.write_text("broken")
    path.symlink_to(target)
    assert "set aside" in load_anchors(path).warnings[0]
    assert target.read_text() == "broken"
    assert (tmp_path / "anchors.json.unreadable-1").is_symlink()
    assert not path.exists()


@POSIX
def test_permissions_are_kept_where_the_file_is_its_users(tmp_path: Path):
    path = tmp_path / "config.json"
    write_text(path, "one", BIG, keep_mode=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    write_text(path, "two", BIG, keep_mode=True)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    write_text(path, "three", BIG)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@POSIX
def test_the_owner_is_kept_where_that_is_allowed(tmp_path, monkeypatch):
    path, asked = tmp_path / "config.json", []
    path.write_text("one")

    def chown(handle: int, user: int, group: int) -> None:
        asked.append((user, group))
        raise PermissionError

    monkeypatch.setattr(json_file.os, "fchown", chown)
    write_text(path, "two", BIG, keep_mode=True)
    assert asked == [(os.getuid(), path.stat().st_gid)]
    assert path.read_text() == "two"


# -- reading ---------------------------------------------------------------------------


def test_a_folder_in_place_of_a_file_is_told_and_stays(tmp_path: Path):
    path = tmp_path / "peers.json"
    path.mkdir()
    found = load(path)
    assert found.value == ()
    assert "could not be set aside: " in found.warnings[0]
    assert os.listdir(tmp_path) == ["peers.json"]


def test_a_file_that_cannot_be_renamed_stays_and_is_told(tmp_path, monkeypatch):
    path = put(tmp_path / "peers.json", b"broken")
    with monkeypatch.context() as patched:
        break_(patched, "replace", errno.EROFS)
        found = load(path)
    assert "could not be set aside: " in found.warnings[0]
    assert os.listdir(tmp_path) == ["peers.json"]
    assert path.read_bytes() == b"broken"


def test_a_file_that_the_system_does_not_give_is_set_aside(tmp_path, monkeypatch):
    path = put(tmp_path / "peers.json", [ENTRY])

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("builtins.open", fail)
        found = load(path)
    assert "Input/output error" in found.warnings[1]
    assert json.loads((tmp_path / "peers.json.unreadable-1").read_text()) == [ENTRY]


def test_what_cannot_be_the_name_of_a_file_is_told(tmp_path: Path):
    found = load(tmp_path / "a\0b")
    assert found.value == ()
    assert "no name of a file" in found.warnings[1]
    with pytest.raises(UnusableFile, match="no name of a file"):
        read_text(tmp_path / "a\0b", 10)


def test_the_null_device_is_no_file_and_is_left_alone(tmp_path, monkeypatch):
    assert is_null(Path(os.devnull))
    # A stand-in: the system's own must survive this test even if it fails.
    device, link = tmp_path / "null", tmp_path / "peers.json"
    device.write_text("not JSON")
    link.symlink_to(device)
    monkeypatch.setattr(json_file.os, "devnull", str(device))
    for path in (device, link):
        assert is_null(path)
        assert load(path) == Loaded(())
        save_peers(path, [], CLOCKS.wall_of, TEZOS_METADATA)
        save_acl(path, LISTS)
        save_anchors(path, [])
    assert link.is_symlink()
    assert device.read_text() == "not JSON"
    assert len(os.listdir(tmp_path)) == 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_what_is_no_file_is_not_set_aside(tmp_path: Path):
    path = tmp_path / "peers.json"
    os.mkfifo(path)
    found = load(path)
    assert "could not be set aside: " in found.warnings[0]
    assert "not a regular file" in found.warnings[1]
    assert os.listdir(tmp_path) == ["peers.json"]
    assert stat.S_ISFIFO(path.lstat().st_mode)


def test_setting_aside_what_is_not_there_leaves_nothing(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        set_aside(tmp_path / "nothing")
    assert os.listdir(tmp_path) == []


def test_json_that_is_too_deep_or_no_json_is_not_written(tmp_path: Path):
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ValueError, match="nested too deeply"):
        format_json(deep)
    with pytest.raises(ValueError):
        format_json(float("nan"))
    while deep:
        (deep,) = deep  # taken apart step by step: freeing it would recurse


@given(JSON)
def test_json_that_was_written_is_read_back(document: Any):
    assert parse_json(format_json(document)) == document


def test_reading_changes_nothing(tmp_path: Path):
    path = put(tmp_path / "x.json", {"a": [1]})
    before = path.stat().st_mtime_ns
    assert read_json(path, 100) == {"a": [1]}
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize("kind", [str, Path])
def test_files_may_be_named_as_for_open(kind, tmp_path):
    name = kind(tmp_path / "file.json")
    save_acl(name, LISTS)
    assert load_acl(name).value == LISTS
    save_peers(name, [], CLOCKS.wall_of, TEZOS_METADATA)
    assert load_peers(name, CLOCKS, TEZOS_METADATA).value == ()
    save_anchors(name, [])
    assert load_anchors(name).value == ()
    Path(name).write_text("no JSON")
    assert "set aside" in load_anchors(name).warnings[0]
