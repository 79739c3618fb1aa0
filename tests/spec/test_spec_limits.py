"""Limits: the protocol's numbers, a node's settings and their rules, thresholds.

Defaults, names and rules: the configuration of the reference node of 2026.  Chunk
sizes: that node, and what a node of May 2019 was seen to write and to accept.
"""

from __future__ import annotations

import math
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tezos_p2p.spec import Limit, Limits, Thresholds, limit_table, limits
from tezos_p2p.spec.limits import CONSTANTS

# -- thresholds ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bounds", "thresholds"),
    [
        ((10, 50, 100), (23, 36, 68, 84)),
        ((0, 0, 0), (0, 0, 0, 0)),
        ((5, 5, 5), (5, 5, 5, 5)),
        ((1, 2, 3), (1, 1, 3, 3)),
        ((0, 2, 4), (0, 0, 4, 4)),
        ((0, 3, 6), (1, 2, 4, 5)),
        ((2, 7, 13), (3, 4, 9, 11)),
    ],
)
def test_thresholds_follow_from_the_numbers_of_connections(
    bounds: tuple[int, int, int], thresholds: tuple[int, int, int, int]
) -> None:
    low, middle, high = bounds
    made = Limits(min_connections=low, expected_connections=middle, max_connections=high)
    assert made.thresholds == Thresholds(*thresholds)


def test_the_defaults_give_the_thresholds_of_the_docstring() -> None:
    assert limits.__doc__ is not None
    values = attrs.astuple(Limits().thresholds)
    assert values == (23, 36, 68, 84)
    assert "Defaults 10, 50, 100 give 23, 36, 68, 84." in limits.__doc__
    for field in attrs.fields(Thresholds):
        assert f"\n{field.name} " in limits.__doc__


@given(st.lists(st.integers(0, 10_000), min_size=3, max_size=3).map(sorted))
def test_thresholds_are_in_order_between_the_bounds(bounds: list[int]) -> None:
    low, middle, high = bounds
    got = Limits(
        min_connections=low, expected_connections=middle, max_connections=high
    ).thresholds
    assert low <= got.min_threshold <= got.min_target <= middle
    assert middle <= got.max_target <= got.max_threshold <= high


# -- rules -----------------------------------------------------------------------------


TIME = "1e-09..1000000000"
LONG = "0..1000000000"
UINT8 = "0..255"
UINT16 = "0..65535"
INT31 = "0..1073741823"

#: Least and greatest legal value of each setting, and how messages show the range.
RANGES: dict[str, tuple[float, float, str]] = {
    "connection_timeout": (1e-9, 1e9, TIME),
    "authentication_timeout": (1e-9, 1e9, TIME),
    "min_connections": (0, 65_535, UINT16),
    "expected_connections": (0, 65_535, UINT16),
    "max_connections": (0, 65_535, UINT16),
    "backlog": (0, 255, UINT8),
    "max_incoming_connections": (0, 255, UINT8),
    "max_download_speed": (0, 1_073_741_823, INT31),
    "max_upload_speed": (0, 1_073_741_823, INT31),
    "swap_linger": (1e-9, 1e9, TIME),
    "binary_chunks_size": (19, 65_535, "19..65535"),
    "read_buffer_size": (0, 1_073_741_823, INT31),
    "read_queue_size": (0, 1_073_741_823, INT31),
    "write_queue_size": (0, 1_073_741_823, INT31),
    "incoming_app_message_queue_size": (0, 1_073_741_823, INT31),
    "incoming_message_queue_size": (0, 1_073_741_823, INT31),
    "outgoing_message_queue_size": (0, 1_073_741_823, INT31),
    "max_known_points": (0, 65_535, UINT16),
    "max_known_peer_ids": (0, 65_535, UINT16),
    "peer_greylist_size": (1, 65_535, "1..65535"),
    "ip_greylist_size_in_kilobytes": (1, 8191, "1..8191"),
    "ip_greylist_cleanup_delay": (0, 1e9, LONG),
    "greylist_timeout": (0, 1e9, LONG),
    "maintenance_idle_time": (1e-9, 1e9, TIME),
}
CONNECTIONS = ("min_connections", "expected_connections", "max_connections")
PAIRS = ("max_known_points", "max_known_peer_ids")
OPTIONAL = {
    "max_download_speed",
    "max_upload_speed",
    "swap_linger",
    "binary_chunks_size",
    "read_queue_size",
    "write_queue_size",
    "incoming_app_message_queue_size",
    "incoming_message_queue_size",
    "outgoing_message_queue_size",
    "max_known_points",
    "max_known_peer_ids",
    "ip_greylist_cleanup_delay",
    "maintenance_idle_time",
}


def complaints(**changes: Any) -> list[str]:
    """What is said of these settings, one rule each."""
    with pytest.raises(ValueError) as caught:
        Limits(**changes)
    return str(caught.value).split("; ")


def test_every_setting_has_a_range() -> None:
    assert list(RANGES) == [field.name for field in attrs.fields(Limits)]


@pytest.mark.parametrize("name", [n for n in RANGES if n not in (*CONNECTIONS, *PAIRS)])
def test_a_number_is_taken_at_both_ends_of_its_range_and_refused_beyond(
    name: str,
) -> None:
    low, high, shown = RANGES[name]
    for value in (low, high):
        assert getattr(Limits(**{name: value}), name) == value
    below: tuple[float, ...] = (0, -1, -math.inf) if low else (-1, -0.5, -math.inf)
    for value in (*below, high + 1, math.inf, math.nan):
        assert complaints(**{name: value}) == [f"{name} {value} is not in {shown}"]


@pytest.mark.parametrize("position", range(3))
def test_numbers_of_connections_are_16_bits(position: int) -> None:
    same = dict.fromkeys(CONNECTIONS, 65_535)
    assert Limits(**same).thresholds == Thresholds(65_535, 65_535, 65_535, 65_535)
    none = dict.fromkeys(CONNECTIONS, 0)
    assert Limits(**none).thresholds == Thresholds(0, 0, 0, 0)
    name = CONNECTIONS[position]
    over = f"{name} 65536 is not in 0..65535"
    assert complaints(**(same | {name: 65_536}))[0] == over
    assert complaints(**(none | {name: -1}))[0] == f"{name} -1 is not in 0..65535"


@pytest.mark.parametrize("name", PAIRS)
def test_a_table_has_a_most_and_a_target_of_16_bits_each(name: str) -> None:
    for pair in ((0, 0), (65_535, 65_535), (65_535, 0), (7, 7)):
        assert getattr(Limits(**{name: pair}), name) == pair
    for pair in ((65_536, 0), (0, -1), (-1, -2), (65_537, 65_536), (math.nan, 0)):
        assert complaints(**{name: pair}) == [f"{name} {pair} is not in 0..65535"]


@pytest.mark.parametrize("name", PAIRS)
def test_the_target_of_a_table_does_not_exceed_its_most(name: str) -> None:
    assert complaints(**{name: (300, 400)}) == [f"{name}: target 400 exceeds most 300"]
    assert complaints(**{name: (6, 7)}) == [f"{name}: target 7 exceeds most 6"]
    # Of numbers that are none, the first rule is told.
    assert complaints(**{name: (-1, 65_536)}) == [
        f"{name} (-1, 65536) is not in 0..65535"
    ]


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("value", [3, "ab", (3,), (1, 2, 3), [4, 3]])
def test_what_is_no_pair_is_told(name: str, value: Any) -> None:
    assert complaints(**{name: value}) == [f"{name} {value} is not a pair of numbers"]


@pytest.mark.parametrize("name", PAIRS)
def test_pairs_hold_whole_numbers(name: str) -> None:
    for pair in ((None, 3), (3.5, 3), (True, 0), ("4", 3)):
        assert complaints(**{name: pair}) == [f"{name} {pair} is not in 0..65535"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("connection_timeout", None),
        ("connection_timeout", "10"),
        ("min_connections", None),
        ("max_connections", 60.5),
        ("backlog", True),
        ("read_buffer_size", "16384"),
        ("greylist_timeout", None),
    ],
)
def test_settings_of_another_kind_are_told(name: str, value: Any) -> None:
    (told,) = complaints(**{name: value})
    assert told.startswith(f"{name} {value} is not in ")


@pytest.mark.parametrize("name", sorted(OPTIONAL))
def test_no_limit_is_within_every_range(name: str) -> None:
    assert getattr(Limits(**{name: None}), name) is None


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"connection_timeout": 0}, "connection_timeout 0 is not in 1e-09..1000000000"),
        (
            {"connection_timeout": -1.5},
            "connection_timeout -1.5 is not in 1e-09..1000000000",
        ),
        (
            {"connection_timeout": math.nan},
            "connection_timeout nan is not in 1e-09..1000000000",
        ),
        (
            {"authentication_timeout": math.inf},
            "authentication_timeout inf is not in 1e-09..1000000000",
        ),
        ({"swap_linger": 0}, "swap_linger 0 is not in 1e-09..1000000000"),
        ({"min_connections": -1}, "min_connections -1 is not in 0..65535"),
        (
            {"max_incoming_connections": 256},
            "max_incoming_connections 256 is not in 0..255",
        ),
        ({"read_buffer_size": -1}, "read_buffer_size -1 is not in 0..1073741823"),
        (
            {"min_connections": 51},
            "min <= expected <= max connections: 51, 50, 100 are not",
        ),
        (
            {"expected_connections": 101},
            "min <= expected <= max connections: 10, 101, 100 are not",
        ),
        (
            {"max_connections": 49},
            "min <= expected <= max connections: 10, 50, 49 are not",
        ),
        ({"binary_chunks_size": 18}, "binary_chunks_size 18 is not in 19..65535"),
        ({"binary_chunks_size": 0}, "binary_chunks_size 0 is not in 19..65535"),
        ({"binary_chunks_size": 65_536}, "binary_chunks_size 65536 is not in 19..65535"),
    ],
)
def test_a_broken_rule_is_told_alone(change: dict[str, Any], complaint: str) -> None:
    assert complaints(**change) == [complaint]


@pytest.mark.parametrize("change", [{"min_connections": 50}, {"max_connections": 50}])
def test_numbers_of_connections_may_be_the_same(change: dict[str, Any]) -> None:
    ((name, value),) = change.items()
    assert getattr(Limits(**change), name) == value


def test_every_broken_rule_is_told_at_once() -> None:
    told = complaints(
        connection_timeout=0,
        authentication_timeout=-1,
        swap_linger=0,
        min_connections=-1,
        expected_connections=7,
        max_connections=3,
        max_incoming_connections=-2,
        max_known_points=(1, 2),
        max_known_peer_ids=(70_000, 3),
        read_buffer_size=-3,
        binary_chunks_size=18,
    )
    assert told == [
        "connection_timeout 0 is not in 1e-09..1000000000",
        "authentication_timeout -1 is not in 1e-09..1000000000",
        "min_connections -1 is not in 0..65535",
        "max_incoming_connections -2 is not in 0..255",
        "swap_linger 0 is not in 1e-09..1000000000",
        "binary_chunks_size 18 is not in 19..65535",
        "read_buffer_size -3 is not in 0..1073741823",
        "max_known_points: target 2 exceeds most 1",
        "max_known_peer_ids (70000, 3) is not in 0..65535",
        "min <= expected <= max connections: -1, 7, 3 are not",
    ]


def test_a_change_of_settings_is_checked_again() -> None:
    with pytest.raises(ValueError):
        attrs.evolve(Limits(), max_connections=1)


# -- the table -------------------------------------------------------------------------


def test_the_protocols_own_numbers_are_these() -> None:
    assert {line.name: line.default for line in CONSTANTS} == {
        "frame_max_size": 65_535,
        "chunk_plaintext_sent_max": 65_517,
        "chunk_plaintext_max": 65_519,
        "message_max_size": 104_857_600,
        "point_max_size": 51,
        "points_max": 100,
        "points_sent_max": 50,
        "uint30_max": 1_073_741_823,
        "default_port": 9732,
        "default_difficulty": 26.0,
    }


def test_a_frame_is_a_header_a_tag_and_a_plaintext() -> None:
    assert limits.FRAME_HEADER_SIZE == 2
    assert limits.TAG_SIZE == 16
    assert limits.CHUNK_OVERHEAD == 18
    assert limits.FRAME_WIRE_MAX == 65_537


DEFAULTS = {
    "connection-timeout": 10.0,
    "authentication-timeout": 5.0,
    "min-connections": 10,
    "expected-connections": 50,
    "max-connections": 100,
    "backlog": 20,
    "max-incoming-connections": 20,
    "max-download-speed": None,
    "max-upload-speed": None,
    "swap-linger": 30.0,
    "binary-chunks-size": None,
    "read-buffer-size": 16_384,
    "read-queue-size": 8_388_608,
    "write-queue-size": 8_388_608,
    "incoming-app-message-queue-size": 10,
    "incoming-message-queue-size": 8_388_608,
    "outgoing-message-queue-size": 8_388_608,
    "max_known_points": (400, 300),
    "max_known_peer_ids": (400, 300),
    "peer_greylist_size": 1023,
    "ip_greylist_size_in_kilobytes": 2048,
    "ip_greylist_cleanup_delay": None,
    "greylist-timeout": 86_400.0,
    "maintenance-idle-time": 120.0,
}


def test_settings_have_the_keys_and_defaults_of_the_reference() -> None:
    settings = [line for line in limit_table() if line.key]
    assert {line.key: line.default for line in settings} == DEFAULTS
    assert (Limits().max_known_points, Limits().max_known_peer_ids) == ((400, 300),) * 2


def test_the_table_lists_constants_and_then_every_setting() -> None:
    table = limit_table()
    names = [field.name for field in attrs.fields(Limits)]
    assert table[: len(CONSTANTS)] == CONSTANTS
    assert [line.name for line in table[len(CONSTANTS) :]] == names
    assert all(line.key == "" for line in CONSTANTS)
    assert len({line.name for line in table}) == len(table)


@pytest.mark.parametrize("line", limit_table(), ids=lambda line: line.name)
def test_every_limit_has_a_unit_and_a_meaning(line: Limit) -> None:
    assert line.unit
    assert line.meaning
    numbers = line.default if isinstance(line.default, tuple) else (line.default,)
    assert all(number is None or number > 0 for number in numbers)
    assert (type(line.default) is tuple) is (line.name in PAIRS)
