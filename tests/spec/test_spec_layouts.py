"""Layouts as data: JSON and tables, consistent with what the codecs really write."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from spec_strategies import (
    Raw,
    answers,
    connection_ids,
    connection_messages,
    controls,
    points,
)
from vectors import SELF_MADE_A

from tezos_p2p.spec import (
    ConnectionId,
    ConnectionMessage,
    ControlMessage,
    MessageCodec,
    Point,
    layouts,
    limit_table,
)
from tezos_p2p.spec.address import ADDRESS
from tezos_p2p.spec.hello import ANSWER, CONNECTION_MESSAGE, CONNECTION_METADATA
from tezos_p2p.spec.layouts import LAYOUTS, layout_text, layouts_json, main, summary
from tezos_p2p.spec.point import CONNECTION_ID, POINT
from tezos_p2p.spec.version import VERSION

NAMES = [
    "connection-message",
    "connection-metadata",
    "answer",
    "message",
    "version",
    "point",
    "address",
    "connection-id",
    "discovery-datagram",
    "get-current-branch",
    "current-branch",
    "deactivate",
    "get-current-head",
    "current-head",
    "get-block-headers",
    "block-header",
    "get-operations",
    "operation",
    "get-protocols",
    "protocol",
    "get-operations-for-blocks",
    "operations-for-block",
    "get-checkpoint",
    "checkpoint",
    "get-protocol-branch",
    "protocol-branch",
    "get-predecessor-header",
    "predecessor-header",
    "locator",
    "mempool",
    "merkle-path",
    "operation-list",
]


class Walk:
    """Measures an encoding by nothing but its layout, as another language would."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.offsets: dict[str, int] = {}

    def take(self, size: int) -> int:
        assert self.at + size <= len(self.data)
        value = int.from_bytes(self.data[self.at : self.at + size], "big")
        self.at += size
        return value

    def walk(self, layout: Any, end: int, path: str = "") -> None:
        start = self.at
        kind = layout["type"]
        if kind == "record":
            for field in layout["fields"]:
                name = f"{path}.{field['name']}".removeprefix(".")
                if "offset" in field:
                    assert field["offset"] == self.at - start
                self.offsets[name] = self.at
                self.walk(field["layout"], end, name)
        elif kind == "dynamic":
            size = self.take({"uint16": 2, "uint30": 4}[layout["prefix"]])
            inner = self.at + size
            self.walk(layout["of"], inner, path)
            assert self.at == inner
        elif kind == "list":
            count = 0
            while self.at < end:
                self.walk(layout["of"], end, f"{path}[{count}]")
                count += 1
            assert count <= layout["max_length"]
        elif kind == "union":
            tag = self.take({"uint8": 1, "uint16": 2}[layout["tag"]])
            (case,) = [case for case in layout["cases"] if case["tag"] == tag]
            self.walk(case["layout"], end, path)
        elif kind == "optional":
            present = f"{self.take(1):02x}"
            if present != "00":
                assert present == layout["present"]
                self.walk(layout["of"], end, path)
        elif "size" in layout:
            self.take(layout["size"])
        else:
            assert kind == "text" or layout["fills"] == "block"
            self.take(end - self.at)
        assert layout.get("size", self.at - start) == self.at - start
        assert layout.get("max_bytes", self.at - start) >= self.at - start


def measured(name: str, data: bytes) -> dict[str, int]:
    walk = Walk(data)
    walk.walk(LAYOUTS[name], len(data))
    assert walk.at == len(data)
    return walk.offsets


def test_there_are_layouts_of_these_names() -> None:
    assert list(LAYOUTS) == NAMES


def test_offsets_are_those_of_a_recorded_message() -> None:
    offsets = measured("connection-message", SELF_MADE_A.connection)
    assert offsets == {
        "port": 2,
        "public_key": 4,
        "proof_of_work_stamp": 36,
        "message_nonce": 60,
        "version": 84,
        "version.chain_name": 84,
        "version.distributed_db_version": 101,
        "version.p2p_version": 103,
    }


@given(connection_messages)
def test_connection_messages_are_written_as_their_layout_says(
    value: ConnectionMessage,
) -> None:
    body = CONNECTION_MESSAGE.encode(value)
    measured("connection-message", len(body).to_bytes(2, "big") + body)
    measured("version", VERSION.encode(value.version))


@given(answers)
def test_answers_are_written_as_their_layout_says(value: Any) -> None:
    measured("answer", ANSWER.encode(value))


@given(controls)
def test_messages_are_written_as_their_layout_says(value: ControlMessage) -> None:
    measured("message", MessageCodec(Raw({})).encode(value))


@given(points, connection_ids)
def test_points_and_ids_are_written_as_their_layout_says(
    value: Point, peer: ConnectionId
) -> None:
    measured("point", POINT.encode(value))
    measured("address", ADDRESS.encode(value.address))
    measured("connection-id", CONNECTION_ID.encode(peer))


def test_metadata_are_written_as_their_layout_says() -> None:
    data = CONNECTION_METADATA.encode(CONNECTION_METADATA.decode(b"\0\xff"))
    assert measured("connection-metadata", data) == {
        "disable_mempool": 0,
        "private_node": 1,
    }


def test_the_document_is_valid_json_with_every_layout_and_limit() -> None:
    document = json.loads(layouts_json())
    assert document["layouts"] == LAYOUTS
    assert [line["name"] for line in document["limits"]] == [
        line.name for line in limit_table()
    ]
    assert document["limits"][0] == {
        "name": "frame_max_size",
        "unit": "bytes",
        "default": 65_535,
        "meaning": "body of a frame, from its uint16",
        "key": "",
    }


def test_the_default_of_a_limit_is_a_number_or_a_pair_or_nothing() -> None:
    defaults = {
        line["name"]: line["default"] for line in json.loads(layouts_json())["limits"]
    }
    assert defaults["max_known_points"] == [400, 300]
    assert defaults["max_known_peer_ids"] == [400, 300]
    assert defaults["binary_chunks_size"] is None
    assert defaults["greylist_timeout"] == 86_400.0
    pairs = [name for name, value in defaults.items() if isinstance(value, list)]
    assert pairs == ["max_known_points", "max_known_peer_ids"]


def test_every_field_and_case_of_every_layout_says_what_it_means() -> None:
    def check(layout: Any) -> int:
        rows = [*layout.get("fields", ()), *layout.get("cases", ())]
        assert all(row["doc"] for row in rows)
        inner = sum(check(row["layout"]) for row in rows)
        return len(rows) + inner + (check(layout["of"]) if "of" in layout else 0)

    assert check(LAYOUTS["connection-message"]) == 8
    assert check(LAYOUTS["message"]) == 5 + 1 + 2 + 2
    assert sum(map(check, LAYOUTS.values())) > 20


@pytest.mark.parametrize(
    ("name", "phrase"),
    [
        ("connection-message", "uint16 length, then connection message"),
        ("connection-metadata", "connection metadata"),
        ("answer", "answer"),
        ("message", "uint30 length, then peer message, at most 104857600 bytes"),
        ("version", "version"),
        ("point", "point: uint30 length, then text, at most 51 bytes"),
        ("address", "uint30 length, then address: 16 bytes"),
        ("connection-id", "connection id"),
    ],
)
def test_a_layout_is_summed_up_in_a_phrase(name: str, phrase: str) -> None:
    assert summary(LAYOUTS[name]) == phrase
    assert layout_text(name).startswith(f"{name}: {phrase}\n")


@pytest.mark.parametrize(
    ("layout", "phrase"),
    [
        ({"type": "bytes", "fills": "block"}, "bytes"),
        ({"type": "bytes", "size": 7}, "7 bytes"),
        ({"type": "uint8", "size": 1}, "uint8"),
        ({"type": "list", "of": {"type": "bool"}}, "x (bool)"),
        ({"type": "list", "max_length": 3, "of": {"type": "bool"}}, "at most 3 x (bool)"),
        (
            {"type": "optional", "present": "ff", "of": {"type": "bool"}},
            "optional (ff) bool",
        ),
        ({"type": "bytes", "max_bytes": 9}, "bytes, at most 9 bytes"),
        ({"type": "record", "name": "r", "max_bytes": 9}, "r"),
    ],
)
def test_every_kind_of_layout_has_its_phrase(layout: Any, phrase: str) -> None:
    assert summary(layout) == phrase


def columns(name: str) -> list[list[str]]:
    """The cells of a table, which are two blanks or more apart."""
    rows = layout_text(name).splitlines()[1:]
    return [re.split(r"  +", row.strip()) for row in rows]


def test_a_table_lists_offset_name_type_and_meaning() -> None:
    assert columns("version") == [
        [
            "0",
            "chain_name: uint30 length, then bytes",
            "network name, compared byte by byte",
        ],
        ["distributed_db_version: uint16", "greatest supported by the sender"],
        ["p2p_version: uint16", "greatest supported by the sender"],
    ]


def test_the_cells_of_a_table_stand_in_columns() -> None:
    for name in NAMES:
        rows = layout_text(name).splitlines()[1:]
        assert (
            len(
                {
                    row.index(cells[-1])
                    for row, cells in zip(rows, columns(name), strict=True)
                }
            )
            < 2
        )


def test_a_table_of_a_union_lists_tags_and_what_is_inside() -> None:
    rows = columns("answer")
    assert [row[:2] for row in rows if row[0].startswith("tag")] == [
        ["tag 0x0", "ack"],
        ["tag 0x1", "nack"],
        ["tag 0xff", "nack v0"],
    ]
    assert rows[3][0].startswith("points: uint30 length, then at most 100 x (point: ")


def test_offsets_are_shown_only_where_they_count_from_the_beginning() -> None:
    text = layout_text("connection-message")
    assert "\n   0  port: uint16" in text
    # Those of the version inside would be offsets in the version.
    inner = [line for line in text.splitlines() if "chain_name" in line]
    assert [line[:6].strip() for line in inner] == [""]


def test_a_layout_of_another_name_does_not_exist() -> None:
    with pytest.raises(KeyError):
        layout_text("nothing")


def test_the_command_prints_everything_as_json(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([]) == 0
    assert capsys.readouterr().out == layouts_json()


def test_the_command_prints_what_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["point", "version"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document == {name: LAYOUTS[name] for name in ("point", "version")}


def test_the_command_prints_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--text", "point"]) == 0
    assert capsys.readouterr().out == layout_text("point")
    assert main(["--text"]) == 0
    assert capsys.readouterr().out == "\n".join(map(layout_text, NAMES))


def test_the_command_refuses_a_name_it_does_not_know(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["point", "nothing"]) == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    assert streams.err == f"no layout 'nothing'; there are: {', '.join(NAMES)}\n"


def test_the_module_runs_as_a_command() -> None:
    assert layouts.__doc__ is not None
    assert "``python -m\ntezos_p2p.spec.layouts``" in layouts.__doc__
    done = subprocess.run(
        [sys.executable, "-m", "tezos_p2p.spec.layouts", "point"],
        capture_output=True,
        check=True,
        text=True,
        timeout=60,
    )
    assert json.loads(done.stdout) == {"point": LAYOUTS["point"]}
