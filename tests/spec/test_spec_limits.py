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


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"connection_timeout": 0}, "connection_timeout must be positive, not 0"),
        ({"connection_timeout": -1.5}, "connection_timeout must be positive, not -1.5"),
        (
            {"connection_timeout": math.nan},
            "connection_timeout must be positive, not nan",
        ),
        ({"authentication_timeout": 0}, "authentication_timeout must be positive, not 0"),
        ({"swap_linger": 0}, "swap_linger must be positive, not 0"),
        ({"swap_linger": -1}, "swap_linger must be positive, not -1"),
        ({"min_connections": -1}, "min_connections must not be negative: -1"),
        (
            {"max_incoming_connections": -1},
            "max_incoming_connections must not be negative: -1",
        ),
        ({"read_buffer_size": -1}, "read_buffer_size must not be negative: -1"),
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
    with pytest.raises(ValueError) as caught:
        Limits(**change)
    assert str(caught.value) == complaint


@pytest.mark.parametrize(
    "change",
    [
        {"connection_timeout": 1e-9},
        {"authentication_timeout": math.inf},
        {"swap_linger": None},
        {"min_connections": 0},
        {"max_incoming_connections": 0},
        {"read_buffer_size": 0},
        {"min_connections": 50},
        {"max_connections": 50},
        {"binary_chunks_size": None},
        {"binary_chunks_size": 19},
        {"binary_chunks_size": 65_535},
    ],
)
def test_values_at_the_edge_of_a_rule_keep_it(change: dict[str, Any]) -> None:
    ((name, value),) = change.items()
    assert getattr(Limits(**change), name) == value


def test_every_broken_rule_is_told_at_once() -> None:
    with pytest.raises(ValueError) as caught:
        Limits(
            connection_timeout=0,
            authentication_timeout=-1,
            swap_linger=0,
            min_connections=-1,
            expected_connections=7,
            max_connections=3,
            max_incoming_connections=-2,
            read_buffer_size=-3,
            binary_chunks_size=18,
        )
    assert str(caught.value).split("; ") == [
        "connection_timeout must be positive, not 0",
        "authentication_timeout must be positive, not -1",
        "swap_linger must be positive, not 0",
        "min_connections must not be negative: -1",
        "max_incoming_connections must not be negative: -2",
        "read_buffer_size must not be negative: -3",
        "min <= expected <= max connections: -1, 7, 3 are not",
        "binary_chunks_size 18 is not in 19..65535",
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
    "max_known_points": 400,
    "max_known_peer_ids": 400,
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
    assert line.default is None or line.default > 0
