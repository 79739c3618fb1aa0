"""``tezos-p2p admin top``: how a node fares, on a terminal and elsewhere."""

from __future__ import annotations

import json

from admin_server import AdminServer, answer, value
from admin_vectors import (
    EMPTY_FULL_STAT,
    FULL_STAT_2026,
    STATS_2019,
    STATUS,
    VERSION_2019,
    VERSION_2026,
    B,
    D,
    E,
    connection,
    peer,
)
from io_cli_runner import on_terminal

from tezos_p2p.io.cli.admin_top import columns_that_fit
from tezos_p2p.io.cli.start import main

FULL_STAT = "GET /network/full_stat"
STATUS_OF = "GET /network/status"
#: Of any 2026 node.
NEW = {"GET /version": value(VERSION_2026), FULL_STAT: value(FULL_STAT_2026)}
GREYLIST = {
    "GET /network/greylist/ips": value({"ips": ["::1"], "not_reliable_since": None}),
    "GET /network/greylist/peers": value([B, D]),
}
OURS = NEW | {STATUS_OF: value(STATUS)}


def top(answers, *words):
    with AdminServer(answers) as server:
        code = main(["admin", "top", "--endpoint", server.endpoint, *words])
    return code, server


def facts(out: str) -> dict[str, str]:
    head = out.split("\n\n")[0]
    return {line[:13].strip(): line[13:].strip() for line in head.splitlines()}


def test_all_that_our_own_nodes_tell(capsys):
    code, server = top(OURS, "--once")
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    assert server.requests == ["GET /version", FULL_STAT, STATUS_OF]
    found = facts(out)
    assert found.pop("time").startswith("20")
    assert found == {
        "node": f"{server.endpoint} (2026)",
        "connections": "2: 1 in, 1 out",
        "received": "1.50 MiB (3.20 kiB/s)",
        "sent": "292 B (46 B/s)",
        "known": "1 peers, 1 points",
        "pending": "1",
        "bounds": (
            "10 to 100, 50 expected; looks for peers below 23 until 36, trims above 84 "
            "down to 68"
        ),
        "greylist": "2 addresses, 1 peers",
        "banned": "5 addresses, 0 peers",
        "queue inbox": "3 of 1000",
        "queue writes": "7",
        "refusals": "unknown_chain_name 9, too_many_connections 4",
    }
    head, first, second = out.split("\n\n")[1].splitlines()
    assert head.split()[:4] == ["peer", "id", "point", "way"]
    assert first.split() == [
        *(D, "127.0.0.1:44262", "in", "23", "B/s", "23", "B/s", "146", "B", "146", "B"),
        *("1", "private", "TEZOS.2", "(p2p:", "1)"),
    ]
    # Nothing is known of this one but the connection.
    assert second.split() == [E, "127.0.0.1:18102", "out", "TEZOS.2", "(p2p:", "1)"]


def test_what_another_node_does_not_tell_is_left_out_and_not_asked_again(capsys):
    code, server = top(NEW | GREYLIST, "--count", "2", "--interval", "0.01")
    assert code == 0
    first, second = (facts(part) for part in capsys.readouterr().out.split("\n\nnode"))
    names = ["connections", "received", "sent", "known", "greylist"]
    assert list(first) == ["node", "time", *names]
    assert first["greylist"] == "1 addresses, 2 peers"
    assert set(names) <= set(second)
    assert server.requests[1:] == [
        *(FULL_STAT, STATUS_OF, *GREYLIST),
        *(FULL_STAT, *GREYLIST),
    ]


def test_a_node_of_2019(capsys):
    names = ("stat", "connections", "peers", "points")
    answers = {
        f"GET /network/{name}": value(document)
        for name, document in zip(names, STATS_2019[1], strict=True)
    }
    code, server = top(answers | {"GET /network/version": value(VERSION_2019)}, "--once")
    out = capsys.readouterr().out
    assert code == 0
    found = facts(out)
    assert found["node"] == f"{server.endpoint} (2019)"
    assert found["connections"] == "3: 2 in, 1 out"
    assert "greylist" not in found
    # Those that move most come first, others by their names.
    rows = out.split("\n\n")[1].splitlines()[1:]
    assert [row.split()[0] for row in rows] == [E, B, D]
    assert "trusted" in rows[1]
    assert not [asked for asked in server.requests if "greylist" in asked]


def test_the_same_as_an_object_for_each_look(capsys):
    assert top(OURS, "--json", "--count", "2", "--interval", "0.01")[0] == 0
    documents = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(documents) == 2
    for document in documents:
        assert document["status"] == STATUS
        assert document["greylist"] == STATUS["greylist"]
        assert document["stat"] == FULL_STAT_2026["stat"]
        assert document["known"] == {"peers": 1, "points": 1}
        assert [each["peer_id"] for each in document["connections"]] == [D, E]
        assert document["connections"][0]["stat"] == FULL_STAT_2026["peers"][0][1]["stat"]
        assert document["connections"][1]["stat"] is None
    assert top(NEW, "--json", "--once")[0] == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["status"], document["greylist"]) == (None, None)


def test_few_refusals_and_many(capsys):
    for refusals, said in (
        ({}, "none"),
        (
            {f"reason_{number}": number for number in range(9)},
            "reason_8 8, reason_7 7, reason_6 6, reason_5 5, reason_4 4, reason_3 3, "
            "others 3",
        ),
    ):
        status = value(STATUS | {"refusals": refusals})
        assert top(OURS | {STATUS_OF: status}, "--once")[0] == 0
        assert facts(capsys.readouterr().out)["refusals"] == said


def test_a_status_of_a_wrong_shape_is_an_error_in_one_line(capsys):
    assert top(OURS | {STATUS_OF: answer('{"connections":{}}')}, "--once")[0] == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 2
    assert "/network/status: the answer" in err


def test_a_node_that_goes_ends_it_where_nobody_looks(capsys):
    answers = OURS | {FULL_STAT: [value(FULL_STAT_2026), lambda _: None]}
    assert top(answers, "--interval", "0.01")[0] == 1
    out, err = capsys.readouterr()
    assert facts(out)["connections"] == "2: 1 in, 1 out"
    assert err.startswith("Error:\n  GET ")


def many(count: int):
    return value(
        EMPTY_FULL_STAT
        | {
            "incoming_connections": [
                connection(B, n, incoming=True) for n in range(count)
            ]
        }
    )


def test_on_a_terminal_it_fills_the_screen_and_goes_on_when_the_node_goes():
    # A connection that was used before may be stale: it is asked once more.
    gone = [lambda _: None, lambda _: None]
    full = [many(30), *gone, value({**FULL_STAT_2026, "peers": [peer(E)]})]
    with AdminServer(OURS | {FULL_STAT: full}) as server:
        words = ("--count", "3", "--interval", "0.05", "--endpoint", server.endpoint)
        code, shown = on_terminal("admin", "top", *words, columns=150)
    assert code == 0
    # The alternate screen, and the old one and the cursor back.
    assert "\x1b[?1049h" in shown
    assert shown.rstrip().endswith("\x1b[?25h\x1b[?1049l")
    pictures = shown.split("\x1b[H")
    assert any("30: 30 in, 0 out" in each and "more" in each for each in pictures)
    assert "the connection was closed unanswered" in shown
    assert "2: 1 in, 1 out" in shown
    # 2 run, at least 23 are wanted.
    assert "\x1b[33m30: 30 in, 0 out" in shown


def test_columns_are_whole_or_missing():
    row = ("i" * 30, "p" * 21, "out", "1 B/s", "1 B/s", "1 B", "1 B", "1", "", "v" * 40)
    assert columns_that_fit([row], 1000) == list(range(10))
    widths = {30 + 2: [0], 1: [0], 54: [0], 55: [0, 1], 60: [0, 1, 2]}
    for width, numbers in widths.items():
        assert columns_that_fit([row], width) == numbers
    # What is narrow does not take the place of what matters more.
    assert columns_that_fit([(*row[:1], "p" * 200, *row[2:])], 80) == [0]
    assert columns_that_fit([], 20) == [0, 1]
