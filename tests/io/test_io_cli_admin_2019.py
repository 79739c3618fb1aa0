"""``tezos-p2p admin`` against a node of 2019: what is asked, and what is printed."""

from __future__ import annotations

import json
import re
from typing import NamedTuple

import pytest
from admin_server import ABSENT, UNIT, AdminServer, answer, failing, value
from admin_vectors import EPHEMERAL, STATS_2019, VERSION_2019, B, E
from io_cli_peers import free_port
from io_cli_runner import golden

from tezos_p2p.io.cli.start import main

RECOGNISED = ["GET /version", "GET /network/version"]
#: An older node: no /version, but one of its own.
OLD = {"GET /network/version": value(VERSION_2019)}
STATS = ("stat", "connections", "peers", "points")


class Block(NamedTuple):
    words: list[str]
    code: int
    out: str
    err: str


def blocks() -> list[Block]:
    found = []
    for text in golden("admin_client_2019.txt").split("\n$ ")[1:]:
        words, code, *lines = text.splitlines()
        cut = lines.index("stderr:")
        out, err = (
            "".join(line.removeprefix("|") + "\n" for line in part if line)
            for part in (lines[1:cut], lines[cut + 1 :])
        )
        found.append(Block(words.split(), int(code.split()[1]), out, err))
    return found


BLOCKS = blocks()
#: What the node answered, by what the client then printed.
ERRORS = {
    "already established": {"id": "node.p2p_pool.connected"},
    "already pending": {"id": "node.p2p_pool.pending_connection"},
    "Connection was refused": {"id": "node.p2p_pool.connection_refused"},
    "Error:\n  \n": {"kind": "temporary", "id": "utils.Timeout"},
    "The peer identity": {"id": "node.p2p_pool.peer_banned", "peer": E},
    "The addr": {"id": "node.p2p_pool.point_banned", "point": "127.0.0.1:18102"},
}


def stat_answers(index: int) -> dict[str, bytes]:
    return {
        f"GET /network/{name}": value(document)
        for name, document in zip(STATS, STATS_2019[index], strict=True)
    }


def request_of(words: list[str]) -> list[str]:
    """What the client of 2019 asked, as recorded."""
    match words:
        case ["p2p", "stat"]:
            return [f"GET /network/{name}" for name in STATS]
        case ["connect", "address", point]:
            return [f"PUT /network/points/{encoded(point)}?timeout=10."]
        case ["kick", "peer", peer_id]:
            return [f"DELETE /network/connections/{peer_id}"]
        case ["ban" | "unban" as verb, "address", point]:
            host = point.rpartition(":")[0]
            return [f"GET /network/points/{encoded(host)}:0/{verb}"]
        case ["trust" | "untrust" as verb, "address", point]:
            return [f"GET /network/points/{encoded(point)}/{verb}"]
        case [verb, "peer", peer_id]:
            return [f"GET /network/peers/{peer_id}/{verb}"]
        case ["is", "address", "banned", point]:
            return [f"GET /network/points/{point}/banned"]
        case ["is", "peer", "banned", peer_id]:
            return [f"GET /network/peers/{peer_id}/banned"]
        case ["clear", "acls"]:
            return ["GET /network/greylist/clear"]
        case _:
            raise AssertionError(words)


def encoded(point: str) -> str:
    return point.replace("[", "%5B").replace("]", "%5D")


def answers_of(block: Block, index: int) -> dict[str, bytes]:
    if block.words == ["p2p", "stat"]:
        return stat_answers(index)
    (request,) = request_of(block.words)
    if block.words[0] == "is":
        return {request: answer("false" if "not banned" in block.out else "true")}
    for text, error in ERRORS.items():
        if text in block.err:
            return {request: failing({"kind": "permanent", **error})}
    return {request: UNIT}


def cases():
    stats = 0
    for number, block in enumerate(BLOCKS[:-1]):
        yield pytest.param(block, stats, id=f"{number}-{' '.join(block.words)}")
        stats += block.words == ["p2p", "stat"]


def test_all_that_was_recorded_is_here():
    assert len(BLOCKS) == 34
    assert len(list(cases())) == 33
    assert len([block for block in BLOCKS if block.code]) == 8


@pytest.mark.parametrize(("block", "stats"), list(cases()))
def test_it_asks_and_prints_as_the_client_of_2019(block, stats, capsys):
    with AdminServer(OLD | answers_of(block, stats)) as server:
        code = main(["admin", *block.words, "--endpoint", server.endpoint])
    out, err = capsys.readouterr()
    assert out == block.out.replace("<PORT>", str(EPHEMERAL))
    assert err == block.err
    assert code == block.code
    assert server.requests == RECOGNISED + request_of(block.words)


def test_nobody_there_is_told_as_the_client_of_2019_told_it(capsys):
    block = BLOCKS[-1]
    endpoint = f"http://127.0.0.1:{free_port()}"
    words = ["admin", *block.words, "--endpoint", endpoint, "--generation", "2019"]
    assert main(words) == block.code
    assert capsys.readouterr() == (block.out, block.err.replace("<NODE>", endpoint))


def test_requests_are_those_that_a_node_of_2019_understands():
    with AdminServer(OLD | {"PUT /network/points/1.2.3.4:5?timeout=10.": UNIT}) as server:
        main(["admin", "connect", "address", "1.2.3.4:5", "--endpoint", server.endpoint])
    assert server.asked[-1] == ("PUT /network/points/1.2.3.4:5?timeout=10.", "{}")
    head = server.heads[-1].lower()
    # Another type, or a charset, would be refused.
    assert "\r\ncontent-type: application/json\r\n" in head
    assert "\r\naccept: application/json\r\n" in head


def test_the_layer_that_is_off_is_told(capsys):
    off = failing({"kind": "generic", "error": "The P2P layer is disabled."})
    with AdminServer(OLD | {"PUT /network/points/1.2.3.4:9732?timeout=10.": off}) as it:
        assert main(["admin", "connect", "address", "1.2.3.4", "--endpoint", it.endpoint])
    assert capsys.readouterr() == ("", "Error:\n  The P2P layer is disabled.\n")


def test_a_route_that_is_not_there_is_told_in_the_words_of_the_reference(capsys):
    with AdminServer(OLD | {f"GET /network/peers/{B}/ban": ABSENT}) as it:
        assert main(["admin", "ban", "peer", B, "--endpoint", it.endpoint]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    uri = f"{it.endpoint}/network/peers/{B}/ban"
    assert err == f"Error:\n  Did not find service: GET {uri}\n"


def test_the_generation_can_be_forced(capsys):
    with AdminServer(stat_answers(0)) as server:
        words = ["p2p", "stat", "--generation", "2019", "--endpoint", server.endpoint]
        assert main(["admin", *words]) == 0
    assert server.requests == request_of(["p2p", "stat"])
    assert capsys.readouterr().out == BLOCKS[0].out.replace("<PORT>", str(EPHEMERAL))


def test_the_document_has_the_same_form_for_both_generations(capsys):
    with AdminServer(OLD | stat_answers(1)) as it:
        assert main(["admin", "p2p", "stat", "--json", "--endpoint", it.endpoint]) == 0
    document = json.loads(capsys.readouterr().out)
    stat, connections, peers, points = STATS_2019[1]
    assert document["stat"] == stat
    assert document["incoming_connections"] == connections[1:]
    assert document["outgoing_connections"] == connections[:1]
    assert [each[0] for each in document["peers"]] == [each[0] for each in peers]
    assert document["points"] == points


def test_signs_of_points_and_peers():
    lines = "\n".join(block.out for block in BLOCKS if block.words == ["p2p", "stat"])
    assert set(re.findall("[⚎⚌⚏⚍★↘↗]", lines)) == set("⚎⚌⚏★↘↗")
