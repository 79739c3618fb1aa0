"""What is remembered of a peer: counters, their JSON old and new, and the scores."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tezos_p2p.spec.convert import CONVERTER, ShapeError, structure
from tezos_p2p.spec.metadata import (
    COUNTER_DIGITS_MAX,
    TezosMetadata,
    constant_score,
    usefulness_score,
)

KINDS = [
    "branch",
    "head",
    "block_header",
    "operations",
    "protocols",
    "operation_hashes_for_block",
    "operations_for_block",
    "checkpoint",
    "protocol_branch",
    "predecessor_header",
    "other",
]
LATE = ["checkpoint", "protocol_branch", "predecessor_header"]
RESULTS = [
    "cannot_download",
    "cannot_parse",
    "refused_by_prefilter",
    "refused_by_postfilter",
    "applied",
    "branch_delayed",
    "branch_refused",
    "refused",
    "duplicate",
    "outdated",
]
#: Every counter by its path, in the order of the file.
PATHS = [
    *(
        f"responses.{way}.{kind}"
        for way in ("sent", "failed", "received")
        for kind in KINDS
    ),
    "responses.unexpected",
    "responses.outdated",
    *(
        f"requests.{way}.{kind}"
        for way in ("sent", "received", "failed", "scheduled")
        for kind in KINDS
    ),
    "valid_blocks",
    "old_heads",
    *(f"prevalidator_results.{result}" for result in RESULTS),
    "unactivated_chains",
    "inactive_chains",
    "future_blocks_advertised",
    "unadvertised.block",
    "unadvertised.operations",
    "unadvertised.protocol",
    *(
        f"advertisements.{w}.{what}"
        for w in ("sent", "received")
        for what in ("head", "branch")
    ),
]
#: Paths of the objects in the file.
GROUPS = sorted({path.rpartition(".")[0] for path in PATHS} | {"responses", "requests"})


def leaves(document: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{before}{name}.")
        else:
            yield before + name, value


def written(metadata: TezosMetadata) -> dict[str, Any]:
    document = json.loads(json.dumps(CONVERTER.unstructure(metadata)))
    assert isinstance(document, dict)
    return document


def read(document: Any) -> TezosMetadata:
    return structure(json.dumps(document), TezosMetadata, "metadata")


def group(document: dict[str, Any], path: str) -> dict[str, Any]:
    for name in path.split(".") if path else ():
        document = document[name]
    return document


# -- JSON ------------------------------------------------------------------------------


def test_there_are_101_counters_in_the_order_of_the_reference() -> None:
    assert len(PATHS) == 101
    assert list(leaves(written(TezosMetadata()))) == [(path, "0") for path in PATHS]


@pytest.mark.parametrize("path", PATHS)
def test_every_counter_can_be_counted_and_is_written_in_its_place(path: str) -> None:
    metadata = TezosMetadata().plus(path).plus(path, 41)
    document = written(metadata)
    assert dict(leaves(document)) == {**dict.fromkeys(PATHS, "0"), path: "42"}
    assert read(document) == metadata


# A hundred and one counters are what there is: no smaller example exists.
@settings(suppress_health_check=[HealthCheck.large_base_example])
@given(st.lists(st.integers(0, 10**COUNTER_DIGITS_MAX - 1), min_size=101, max_size=101))
def test_whatever_was_counted_is_read_as_it_was_written(counts: list[int]) -> None:
    document = written(TezosMetadata())
    for path, count in zip(PATHS, counts, strict=True):
        before, _, name = path.rpartition(".")
        group(document, before)[name] = str(count)
    metadata = read(document)
    assert written(metadata) == document
    assert metadata.valid_blocks == counts[PATHS.index("valid_blocks")]


def test_older_files_lack_three_kinds_and_those_are_zero() -> None:
    metadata = TezosMetadata().plus("requests.sent.head", 3)
    document = written(metadata)
    for path in GROUPS:
        for name in LATE:
            group(document, path).pop(name, None)
    assert len(list(leaves(document))) == 101 - 7 * 3
    assert read(document) == metadata


@pytest.mark.parametrize("path", [p for p in PATHS if p.rpartition(".")[2] not in LATE])
def test_every_other_counter_is_required(path: str) -> None:
    document = written(TezosMetadata())
    before, _, name = path.rpartition(".")
    del group(document, before)[name]
    with pytest.raises(ValueError, match=f"missing: {name}"):
        read(document)


@pytest.mark.parametrize("path", GROUPS)
def test_names_that_nobody_knows_are_refused(path: str) -> None:
    document = written(TezosMetadata())
    group(document, path)["kindness"] = "1"
    with pytest.raises(ShapeError, match="kindness"):
        read(document)


@pytest.mark.parametrize("path", [path for path in GROUPS if path])
@pytest.mark.parametrize("wrong", [[], "0", 0, None])
def test_an_object_is_wanted_wherever_there_is_one(path: str, wrong: object) -> None:
    document = written(TezosMetadata())
    before, _, name = path.rpartition(".")
    group(document, before)[name] = wrong
    with pytest.raises(ShapeError, match=r"metadata\.\S+: an object wanted, not"):
        read(document)


@pytest.mark.parametrize("wrong", [7, 7.0, True, None, [], {}])
def test_a_counter_is_text(wrong: object) -> None:
    document = written(TezosMetadata())
    document["valid_blocks"] = wrong
    with pytest.raises(ShapeError, match="valid_blocks: string of digits wanted"):
        read(document)


@pytest.mark.parametrize("wrong", ["", "-1", "+1", " 1", "1\n", "1_0", "0x1", "1.0", "٣"])
def test_the_text_of_a_counter_is_decimal_digits_and_nothing_else(wrong: str) -> None:
    document = written(TezosMetadata())
    document["responses"]["sent"]["head"] = wrong
    with pytest.raises(ShapeError, match=r"responses\.sent\.head: not a string of dec"):
        read(document)


def test_a_counter_of_a_hundred_digits_is_read_and_a_longer_one_is_not() -> None:
    document = written(TezosMetadata())
    document["old_heads"] = "9" * 100
    assert read(document).old_heads == 10**100 - 1
    document["old_heads"] = "0" * 100 + "1"
    with pytest.raises(ShapeError, match="old_heads: 101 digits, at most 100"):
        read(document)


def test_all_faults_of_a_document_are_told_at_once() -> None:
    document = written(TezosMetadata())
    document["valid_blocks"] = "many"
    document["unadvertised"]["block"] = 1
    del document["advertisements"]["sent"]["head"]
    with pytest.raises(ShapeError) as caught:
        read(document)
    assert len(caught.value.faults) == 3


# -- counting --------------------------------------------------------------------------


def test_counting_leaves_the_record_before_as_it_was() -> None:
    before = TezosMetadata()
    untouched = copy.deepcopy(before)
    after = before.plus("responses.received.branch", 2)
    assert before == untouched
    assert after != before
    assert after.responses.received.branch == 2
    assert before.plus("old_heads", 0) == before


@pytest.mark.parametrize(
    "path",
    [
        "",
        ".",
        "valid_block",
        "plus",
        "__class__",
        "requests",
        "requests.sent",
        "requests.sent.",
        "requests.sent.heads",
        "requests.unexpected",
        "valid_blocks.real",
        "requests.sent.head.real",
    ],
)
def test_what_is_no_counter_cannot_be_counted(path: str) -> None:
    with pytest.raises(ValueError, match="is no counter"):
        TezosMetadata().plus(path)


def test_counters_never_decrease() -> None:
    with pytest.raises(ValueError, match="never decrease: -1"):
        TezosMetadata().plus("old_heads", -1)


def test_untouched_records_share_their_zeros() -> None:
    one, other = TezosMetadata(), TezosMetadata().plus("valid_blocks")
    assert one.requests is other.requests
    assert one.responses.sent is other.requests.failed


# -- scores ----------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["valid_blocks", "responses.unexpected"])
def test_the_score_of_the_reference_is_one_for_everybody(path: str) -> None:
    assert constant_score(TezosMetadata()) == 1.0
    assert constant_score(TezosMetadata().plus(path, 1000)) == 1.0


USEFUL = [
    "valid_blocks",
    "prevalidator_results.applied",
    "prevalidator_results.branch_delayed",
    *(f"responses.received.{kind}" for kind in KINDS),
]
HARMFUL = [
    "responses.unexpected",
    "prevalidator_results.cannot_parse",
    "prevalidator_results.refused_by_prefilter",
    "prevalidator_results.refused_by_postfilter",
    "prevalidator_results.refused",
    "future_blocks_advertised",
]


@pytest.mark.parametrize("path", PATHS)
def test_only_what_helps_or_harms_us_moves_the_usefulness(path: str) -> None:
    expected = 0.8 if path in USEFUL else 0.2 if path in HARMFUL else 0.5
    assert usefulness_score(TezosMetadata().plus(path, 3)) == expected


def test_usefulness_is_a_share_and_newcomers_are_in_the_middle() -> None:
    newcomer = TezosMetadata()
    assert usefulness_score(newcomer) == 0.5
    mixed = newcomer.plus("valid_blocks", 5).plus("prevalidator_results.applied", 1)
    assert usefulness_score(mixed.plus("responses.unexpected", 2)) == 0.7
    assert usefulness_score(newcomer.plus("valid_blocks", 98)) == 0.99
    assert usefulness_score(newcomer.plus("responses.unexpected", 98)) == 0.01
