"""The status of a node of ours: its JSON, and what may be missing."""

from __future__ import annotations

import copy

import pytest
from admin_vectors import STATUS

from tezos_p2p.io.rpc import RPC
from tezos_p2p.spec.convert import ShapeError
from tezos_p2p.spec.rpc import Generation
from tezos_p2p.spec.status import Status

JSON = RPC[Generation.G2026]


def read(document) -> Status:
    return JSON.shape(document, Status, "status")


def test_json_in_and_out():
    status = read(STATUS)
    assert status.connections.running == 2
    assert status.connections.max_threshold == 84
    assert (status.greylist.ips, status.greylist.peers) == (2, 1)
    assert (status.banned.ips, status.banned.peers) == (5, 0)
    assert JSON.data(status) == STATUS


def test_queues_with_and_without_a_bound():
    assert read(STATUS).fills() == [("inbox", 3, 1000), ("writes", 7, None)]
    assert read(STATUS | {"queues": {}}).fills() == []


def test_what_a_later_node_tells_besides_is_passed_over():
    assert read(STATUS | {"more": 1}) == read(STATUS)


@pytest.mark.parametrize("name", [*STATUS, "running"])
def test_what_is_missing_is_named(name):
    document = copy.deepcopy(STATUS)
    (document if name in document else document["connections"]).pop(name)
    with pytest.raises(ShapeError, match=r"\bmissing\b") as caught:
        read(document)
    assert name in str(caught.value)


@pytest.mark.parametrize("value", ["3", 3.5, None, True])
def test_counts_are_whole_numbers(value):
    with pytest.raises(ShapeError, match="int wanted"):
        read(STATUS | {"queues": {"inbox": value}})
