"""The JSON of the admin interface: as the reference wrote it in 2019, and of 2026."""

from __future__ import annotations

import json
import math
import re

import attrs
import pytest
import rpc_vectors as v

from tezos_p2p.io.rpc import RPC
from tezos_p2p.spec.address import Address
from tezos_p2p.spec.convert import ShapeError
from tezos_p2p.spec.hello import ConnectionMetadata
from tezos_p2p.spec.identity import PeerId
from tezos_p2p.spec.metadata import TezosMetadata
from tezos_p2p.spec.point import ConnectionId, Point
from tezos_p2p.spec.pool_events import (
    MaintenanceEnded,
    MaintenanceStarted,
    PeerEvent,
    PeerEventKind,
    PointEvent,
    PointEventKind,
    PoolEvent,
    RequestRejected,
)
from tezos_p2p.spec.rpc import (
    NO_STAT,
    AclChange,
    CommitInfo,
    ConnectionInfo,
    FullStat,
    Generation,
    GreylistIps,
    Int64,
    NodeVersion,
    PeerChange,
    PeerInfo,
    Peers,
    PeerState,
    PointChange,
    PointInfo,
    Points,
    PointState,
    PointStateKind,
    RpcError,
    Score,
    SoftwareVersion,
    Stat,
    Timestamp,
)
from tezos_p2p.spec.version import Version

OLD, NEW = RPC[Generation.G2019], RPC[Generation.G2026]
PEER = PeerId.parse("idtYTfTAvS6fhH9WvkXFtRaK6Cij32")
HERE = ConnectionId(Address.parse("127.0.0.1"), 9732)
#: 2019-05-16T10:30:05 and 2019-05-17T23:59:59.
EARLY, LATE = Timestamp(1558002605.0), Timestamp(1558137599.0)

_PORT = re.compile(r'(?<="remote_socket_port":)[0-9]+')
_FLOW = re.compile(r'(?<="current_inflow":)[0-9]+')

OBJECTS = [
    (v.PEER_INFO_RUNNING, PeerInfo),
    (v.PEER_INFO_MINIMAL, PeerInfo),
    (v.PEERS, Peers),
    (v.POINT_INFO_RUNNING, PointInfo),
    (v.POINT_INFO_ACCEPTED, PointInfo),
    (v.POINT_INFO_REQUESTED, PointInfo),
    (v.POINT_INFO_MINIMAL, PointInfo),
    (v.POINTS, Points),
    (v.CONNECTION_INCOMING, ConnectionInfo),
    (v.CONNECTION_OUTGOING, ConnectionInfo),
    (v.CONNECTION_NO_PORT, ConnectionInfo),
    (v.STAT, Stat),
    (v.VERSION, Version),
    *((text, PoolEvent) for text in v.POOL_EVENTS),
    *((text, PointEvent) for text in v.POINT_EVENTS),
    *((text, list[RpcError]) for text in v.ERRORS),
]


@pytest.mark.parametrize(("text", "kind"), OBJECTS)
def test_what_the_reference_of_2019_wrote_is_read_and_written_byte_for_byte(text, kind):
    assert OLD.text(OLD.read(text, kind, "it")) == text


def _of_2026(text: str) -> str:
    """What the reference of 2026 writes for the same values."""
    for key in ("operations_for_block",):
        more = '"checkpoint":"0","protocol_branch":"0","predecessor_header":"0",'
        text = text.replace(f'"{key}":"0",', f'"{key}":"0",{more}')
    return text.replace(":05-00:00", ":05.000-00:00").replace(
        ":59-00:00", ":59.000-00:00"
    )


@pytest.mark.parametrize(("text", "kind"), OBJECTS)
def test_in_2026_moments_have_decimals_and_there_are_three_counters_more(text, kind):
    value = OLD.read(text, kind, "it")
    assert NEW.text(value) == _of_2026(text)
    assert NEW.read(_of_2026(text), kind, "it") == value
    assert OLD.read(_of_2026(text), kind, "it") == value


def test_peer_info_says_what_the_document_says():
    info = OLD.read(v.PEER_INFO_RUNNING, PeerInfo, "it")
    assert info == PeerInfo(
        score=Score(1.5),
        trusted=True,
        conn_metadata=ConnectionMetadata(False, True),
        peer_metadata=TezosMetadata(),
        state=PeerState.RUNNING,
        reachable_at=HERE,
        stat=Stat(Int64(12345678901), Int64(42), 17, 20),
        last_failed_connection=(attrs.evolve(HERE, port=None), EARLY),
        last_rejected_connection=(
            ConnectionId(Address.parse("2001:db8::1"), 9732),
            EARLY,
        ),
        last_established_connection=(HERE, LATE),
        last_disconnection=(HERE, LATE),
        last_seen=(HERE, LATE),
        last_miss=(attrs.evolve(HERE, port=None), EARLY),
    )


def test_point_info_says_what_the_document_says():
    info = OLD.read(v.POINT_INFO_RUNNING, PointInfo, "it")
    assert info.state == PointState(PointStateKind.RUNNING, PEER)
    assert info.greylisted_until == LATE
    assert info.last_failed_connection == EARLY
    assert info.last_established_connection == (PEER, LATE)


def test_who_is_expected_is_written_in_2026_only():
    info = attrs.evolve(
        OLD.read(v.POINT_INFO_MINIMAL, PointInfo, "it"), expected_peer_id=PEER
    )
    assert OLD.text(info) == v.POINT_INFO_MINIMAL
    text = v.POINT_INFO_MINIMAL[:-1] + f',"expected_peer_id":"{PEER}"}}'
    assert NEW.text(info) == text
    assert NEW.read(text, PointInfo, "it") == info


@pytest.mark.parametrize(
    ("kind", "of_2019"),
    [
        (PointEventKind.OUTGOING_REQUEST, "outgoing_request"),
        (PointEventKind.ACCEPTING_REQUEST, "accepting_request"),
        (PointEventKind.REJECTING_REQUEST, "rejecting_request"),
        (PointEventKind.REQUEST_REJECTED, "request_rejected"),
        (PointEventKind.CONNECTION_ESTABLISHED, "rejecting_request"),
        (PointEventKind.DISCONNECTION, "rejecting_request"),
        (PointEventKind.EXTERNAL_DISCONNECTION, "rejecting_request"),
    ],
)
def test_clients_of_2019_know_no_names_of_late_events_of_a_point(kind, of_2019):
    event = PointEvent(kind, EARLY, PEER)
    assert json.loads(OLD.text(event))[1]["event_kind"] == of_2019
    assert json.loads(NEW.text(event))[1]["event_kind"] == kind.name.lower()
    assert NEW.read(NEW.text(event), PointEvent, "it") == event


@pytest.mark.parametrize("kind", PeerEventKind)
def test_events_of_a_peer(kind):
    event = PeerEvent(kind, EARLY, HERE)
    # Whoever has ended it, as both years' nodes write it.
    ours = kind is PeerEventKind.DISCONNECTION
    written = PeerEventKind.EXTERNAL_DISCONNECTION if ours else kind
    text = (
        f'{{"kind":"{written.name.lower()}","timestamp":"2019-05-16T10:30:05-00:00",'
        '"addr":"::ffff:127.0.0.1","port":9732}'
    )
    assert OLD.text(event) == text
    assert json.loads(NEW.text(event))["kind"] == written.name.lower()
    assert OLD.read(text, PeerEvent, "it") == event._replace(kind=written)
    assert NEW.read(
        text.replace(written.name.lower(), kind.name.lower()), PeerEvent, "it"
    )


def test_a_full_stat_is_all_in_one():
    peers = NEW.read(v.PEERS, Peers, "it")
    points = NEW.read(v.POINTS, Points, "it")
    one = NEW.read(v.CONNECTION_INCOMING, ConnectionInfo, "it")
    full = FullStat(NO_STAT, [one], [], peers, points)
    text = NEW.text(full)
    assert text == (
        '{"stat":{"total_sent":"0","total_recv":"0","current_inflow":0,'
        f'"current_outflow":0}},"incoming_connections":[{v.CONNECTION_INCOMING}],'
        f'"outgoing_connections":[],"peers":{_of_2026(v.PEERS)},"points":{v.POINTS}}}'
    )
    assert NEW.read(text, FullStat, "it") == full


def test_versions_and_greylists_say_null_where_nothing_is_known():
    version = NodeVersion(SoftwareVersion(0, 1), Version("TEZOS", 2, 1), None)
    assert NEW.text(version) == (
        '{"version":{"major":0,"minor":1,"build":0,"additional_info":"release"},'
        '"network_version":{"chain_name":"TEZOS","distributed_db_version":2,'
        '"p2p_version":1},"commit_info":null}'
    )
    known = attrs.evolve(version, commit_info=CommitInfo("abc", "today"))
    assert NEW.read(NEW.text(known), NodeVersion, "it") == known
    ips = GreylistIps([HERE.address], None)
    assert NEW.text(ips) == '{"ips":["::ffff:127.0.0.1"],"not_reliable_since":null}'
    late = attrs.evolve(ips, not_reliable_since=EARLY)
    assert NEW.read(NEW.text(late), GreylistIps, "it") == late


@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("{}", PointChange, PointChange()),
        ('{"acl":"ban"}', PointChange, PointChange(AclChange.BAN)),
        (f'{{"peer_id":"{PEER}"}}', PointChange, PointChange(None, PEER)),
        ('{"acl":"open"}', PeerChange, PeerChange(AclChange.OPEN)),
        ('{"acl":"trust"}', PeerChange, PeerChange(AclChange.TRUST)),
    ],
)
def test_changes_are_read_and_written(text, kind, value):
    assert NEW.read(text, kind, "body") == value
    assert NEW.text(value) == text


@pytest.mark.parametrize(
    ("text", "kind", "phrase"),
    [
        ('{"acl":"no"}', PointChange, "'no' is none of ban, trust, open"),
        ('{"acl":7}', PeerChange, "7 is none of"),
        ('{"a":1}', PointChange, "unknown fields: a"),
        ('{"acl":"ban","peer_id":"x"}', PeerChange, "unknown fields: peer_id"),
        ('{"peer_id":"idx"}', PointChange, "it.peer_id: "),
        ("[]", PeerChange, "it"),
        ("{", PeerChange, "it: not JSON"),
        ('"x"', Stat, "it"),
        ("{}", Stat, ""),
        (v.STAT.replace('"42"', "42"), Stat, "string of digits wanted"),
        (v.STAT.replace('"42"', '"4.2"'), Stat, "64-bit number"),
        (v.STAT.replace('"42"', '"9223372036854775808"'), Stat, "64-bit number"),
        (v.PEER_INFO_MINIMAL.replace('"score":0', '"score":"0"'), PeerInfo, "number"),
        (
            v.PEER_INFO_MINIMAL.replace('"score":0', '"score":' + "9" * 400),
            PeerInfo,
            "too large",
        ),
        (
            v.CONNECTION_NO_PORT.replace('"TEZOS"', "7"),
            ConnectionInfo,
            "a string wanted, or the bytes of one",
        ),
        (
            v.CONNECTION_NO_PORT.replace('"TEZOS"', '{"invalid_utf8_string":[256]}'),
            ConnectionInfo,
            "a string wanted, or the bytes of one",
        ),
        *(
            (
                v.CONNECTION_NO_PORT.replace(
                    '"TEZOS"', f'{{"invalid_utf8_string":{it}}}'
                ),
                ConnectionInfo,
                "a string wanted, or the bytes of one",
            )
            # A number would be as many zero bytes.
            for it in ("4000000000", "-1", "true", '"x"', "[-1]", "[true]", "[1.0]", "{}")
        ),
        (
            v.CONNECTION_NO_PORT.replace(
                '"TEZOS"', '{"invalid_utf8_string":[' + "0," * 65_535 + "0]}"
            ),
            ConnectionInfo,
            "65535 at most",
        ),
        (_PORT.sub("99999999", v.CONNECTION_NO_PORT), ConnectionInfo, "0 to 65535"),
        (_PORT.sub("-1", v.CONNECTION_NO_PORT), ConnectionInfo, "0 to 65535"),
        (_PORT.sub("true", v.CONNECTION_NO_PORT), ConnectionInfo, "not bool"),
        (_FLOW.sub("1" + "0" * 400, v.STAT), Stat, "-1073741824 to 1073741823"),
        (_FLOW.sub("1073741824", v.STAT), Stat, "-1073741824 to 1073741823"),
        ('{"kind":"incoming_request","timestamp":"x"}', PeerEvent, "addr"),
        ('{"kind":"x","timestamp":"0","addr":"::"}', PeerEvent, "'x' is none of"),
        ('{"kind":"disconnection","timestamp":"x","addr":"::"}', PeerEvent, "a moment"),
        ('["0",{}]', PointEvent, "event_kind"),
        ('["0"]', PointEvent, "event_kind"),
        ('["0",7]', PointEvent, "event_kind"),
        ('{"event":"x"}', PoolEvent, "'x' is no event"),
        ('[{"kind":7}]', list[RpcError], "kind and id are strings"),
        ("[7]", list[RpcError], "an object wanted"),
    ],
)
def test_what_has_another_form_is_refused_readably(text, kind, phrase):
    with pytest.raises(ShapeError) as caught:
        NEW.read(text, kind, "it")
    assert phrase in str(caught.value)
    assert "\n" not in str(caught.value)


def test_rates_that_are_too_large_are_written_as_the_largest():
    fast = Stat(Int64(0), Int64(0), 1 << 40, (1 << 30) - 1)
    assert NEW.read(NEW.text(fast), Stat, "it").current_inflow == (1 << 30) - 1
    assert NEW.data(fast)["current_outflow"] == (1 << 30) - 1


def test_answers_of_later_nodes_may_have_more_fields():
    assert NEW.read(v.STAT[:-1] + ',"more":[]}', Stat, "it") == NEW.read(
        v.STAT, Stat, "it"
    )
    text = v.PEER_INFO_MINIMAL.replace(v.METADATA, '{"mine":[1]}')
    info = NEW.read(text, PeerInfo, "it")
    assert info.peer_metadata == {"mine": [1]}
    assert NEW.text(info) == text


@pytest.mark.parametrize(
    ("score", "text"),
    [
        (1.0, "1"),
        (-2.0, "-2"),
        (0.25, "0.25"),
        (1e300, "1e+300"),
        (math.inf, "0"),
        (math.nan, "0"),
    ],
)
def test_scores_are_numbers_whole_ones_without_a_point(score, text):
    assert OLD.text(_scored(score)).startswith(f'{{"score":{text},')


def _scored(score: float) -> PeerInfo:
    return attrs.evolve(OLD.read(v.PEER_INFO_MINIMAL, PeerInfo, "it"), score=Score(score))


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("TEZOS", '"TEZOS"'),
        ("é".encode().decode("latin-1"), '"é"'),
        ("\xff", '{"invalid_utf8_string":[255]}'),
    ],
)
def test_names_of_chains_are_any_bytes(name, text):
    version = Version(name, 0, 0)
    written = NEW.text(version)
    assert written.startswith(f'{{"chain_name":{text},')
    assert NEW.read(written, Version, "it") == version


def test_generic_errors_have_no_id():
    error = RpcError("generic", "", {"error": "no"})
    assert NEW.text([error]) == '[{"kind":"generic","error":"no"}]'


def test_maintenance_has_events_of_our_own():
    assert NEW.text(MaintenanceStarted()) == '{"event":"maintenance_started"}'
    ended = NEW.read('{"event":"maintenance_ended"}', PoolEvent, "it")
    assert ended == MaintenanceEnded()


def test_a_point_of_an_incoming_request_that_came_to_nothing():
    point = Point.parse("127.0.0.1:9")
    event = RequestRejected(point, HERE, PEER)
    assert NEW.read(NEW.text(event), PoolEvent, "it") == event
