"""``tezos-p2p admin`` against nodes of 2026, and against our own."""

from __future__ import annotations

import json

import pytest
from admin_server import ABSENT, UNIT, AdminServer, answer, failing, value
from admin_vectors import (
    EMPTY_FULL_STAT,
    FULL_STAT_2026,
    NOBODY,
    PRINTED_2026,
    VERSION_2026,
    B,
    D,
    E,
    connection,
    peer,
    point,
)
from io_cli_runner import on_terminal

from tezos_p2p.io.admin_texts import text_of
from tezos_p2p.io.cli.admin_stat import rate_text, size_text
from tezos_p2p.io.cli.start import main
from tezos_p2p.spec.rpc import Generation, RpcError

NEW = {"GET /version": value(VERSION_2026)}
FULL_STAT = {"GET /network/full_stat": value(FULL_STAT_2026)}
PUT = "PUT /network/points/127.0.0.1:9732?timeout=10."


def admin(answers, *words):
    """Run a command; return its exit code, and the server."""
    with AdminServer(NEW | answers) as server:
        code = main(["admin", *words, "--endpoint", server.endpoint])
    return code, server


# -- p2p stat --------------------------------------------------------------------------


def test_the_layout_of_2026_to_the_last_blank(capsys):
    code, server = admin(FULL_STAT, "p2p", "stat")
    assert code == 0
    assert capsys.readouterr() == (PRINTED_2026, "")
    assert server.requests == ["GET /version", "GET /network/full_stat"]


def test_empty_sections_are_headings(capsys):
    assert (
        admin({"GET /network/full_stat": value(EMPTY_FULL_STAT)}, "p2p", "stat")[0] == 0
    )
    lines = capsys.readouterr().out.split("\n")
    zeros = f"↗ {'0 B (0 B/s)':>27} ↘ {'0 B (0 B/s)':>27} "
    assert lines[:6] == [
        "GLOBAL STATS",
        f"  {zeros}",
        "CONNECTIONS",
        " INCOMING",
        " OUTGOING",
        "KNOWN PEERS",
    ]
    assert lines[6].split() == ["St", "Sc", "Peer", "Id", "Upload", "Download", "Tr"]
    assert lines[7:] == ["KNOWN POINTS", "", ""]


def test_every_state_has_its_sign(capsys):
    full = EMPTY_FULL_STAT | {
        "incoming_connections": [
            {**connection(B, 9, incoming=True), "id_point": {"addr": "2001:db8::1"}}
        ],
        "peers": [
            peer(B, state="accepted", score=2.6),
            peer(D, state="running", trusted=True),
            peer(E, score=-1),
        ],
        "points": [
            point("[2001:db8::1]:7", state="requested", trusted=True),
            point("127.0.0.1:8", B, state="accepted"),
            point("127.0.0.1:9", seen=D, at="2026-08-21T13:31:00.125-00:00"),
            point("127.0.0.1:10", D, state="running", trusted=True),
        ],
    }
    assert admin({"GET /network/full_stat": value(full)}, "p2p", "stat")[0] == 0
    out = capsys.readouterr().out
    zeros = f"↗ {'0 B (0 B/s)':>27} ↘ {'0 B (0 B/s)':>27} "
    assert f"  ↘ {B} [2001:db8::1]:45678 (SANDBOXED_TEZOS.0 (p2p: 0)) \n" in out
    assert (
        f"  ⚎   3  {B} {zeros}  \n  ⚌   1  {D} {zeros} ★\n  ⚏   -1  {E} {zeros}  \n"
        in out
    )
    assert out.endswith(
        "KNOWN POINTS\n"
        "  ⚎  [2001:db8::1]:7 ★\n"
        "  ⚍  127.0.0.1:8  \n"
        f"  ⚏  127.0.0.1:9 (last seen: {D} 2026-08-21T13:31:00.125-00:00)  \n"
        f"  ⚌  127.0.0.1:10 {D} ★\n\n"
    )


@pytest.mark.parametrize(
    ("size", "total", "rate"),
    [
        (0, "0 B", "0 B/s"),
        (1023, "1023 B", "1023 B/s"),
        (1024, "1.00 kiB", "1.00 kiB/s"),
        ((1 << 20) - 1, "1024.00 kiB", "1024.00 kiB/s"),
        (1152, "1.12 kiB", "1.12 kiB/s"),
        (1408, "1.38 kiB", "1.38 kiB/s"),
        (-1536, "-1.50 kiB", "-1.50 kiB/s"),
        (1 << 20, "1.00 MiB", "1.00 MiB/s"),
        (3 << 30, "3.00 GiB", "3072.00 MiB/s"),
        (5 << 40, "5.00 TiB", "5242880.00 MiB/s"),
        (1 << 60, "1048576.00 TiB", "1099511627776.00 MiB/s"),
    ],
)
def test_sizes_and_rates(size, total, rate):
    assert size_text(size) == total
    assert rate_text(size) == rate


def test_no_size_is_too_large():
    assert size_text(10**400 << 40) == f"{10**400}.00 TiB"


def test_what_a_later_node_tells_besides_is_passed_over(capsys):
    full = {**FULL_STAT_2026, "news": 1, "stat": {**FULL_STAT_2026["stat"], "more": []}}
    full["peers"] = [[who, {**info, "future": None}] for who, info in full["peers"]]
    assert admin({"GET /network/full_stat": value(full)}, "p2p", "stat")[0] == 0
    assert capsys.readouterr().out == PRINTED_2026


def test_names_that_peers_choose_cannot_play_with_a_terminal(capsys):
    evil = connection(B, 9, incoming=True)
    evil["announced_version"] = {
        "chain_name": "A\x1b[2J\nKNOWN POINTS é",
        "distributed_db_version": 1,
        "p2p_version": 0,
    }
    full = EMPTY_FULL_STAT | {"incoming_connections": [evil]}
    assert admin({"GET /network/full_stat": value(full)}, "p2p", "stat")[0] == 0
    out = capsys.readouterr().out
    assert f"  ↘ {B} 127.0.0.1:9 (A\\x1b[2J KNOWN POINTS é.1 (p2p: 0)) \n" in out
    assert out.count("\nKNOWN POINTS\n") == 1


@pytest.mark.parametrize("words", [(), ("--no-color",)])
def test_colours_are_for_terminals_that_want_them(words):
    with AdminServer(NEW | FULL_STAT) as server:
        code, shown = on_terminal(
            *("admin", "p2p", "stat", "--endpoint", server.endpoint, *words), columns=60
        )
    assert code == 0
    coloured = not words
    assert ("\x1b[32m⚌\x1b[0m" in shown) == coloured
    assert ("\x1b[" in shown) == coloured
    if not coloured:
        # No line is wrapped or cut by us, however narrow the terminal.
        assert shown == PRINTED_2026


# -- what is changed -------------------------------------------------------------------

INFO = value(point("127.0.0.1:1")[1])


@pytest.mark.parametrize(
    ("words", "path", "body", "said"),
    [
        (
            "ban address 1.2.3.4:5",
            "points/1.2.3.4:0",
            "ban",
            "Address 1.2.3.4:* is now banned.",
        ),
        (
            "ban address 1.2.3.4",
            "points/1.2.3.4:0",
            "ban",
            "Address 1.2.3.4:* is now banned.",
        ),
        (
            "unban address [2001:db8::1]:5",
            "points/%5B2001:db8::1%5D:0",
            "open",
            "Address [2001:db8::1]:* is now unbanned.",
        ),
        (
            "trust address [2001:db8::1]",
            "points/%5B2001:db8::1%5D:9732",
            "trust",
            "Address [2001:db8::1]:9732 is now trusted.",
        ),
        (
            "untrust address 1.2.3.4:5",
            "points/1.2.3.4:5",
            "open",
            "Address 1.2.3.4:5 is now untrusted.",
        ),
        (f"ban peer {B}", f"peers/{B}", "ban", f"The peer {B[:12]} is now banned."),
        (f"unban peer {B}", f"peers/{B}", "open", f"The peer {B[:12]} is now unbanned."),
        (f"trust peer {B}", f"peers/{B}", "trust", f"The peer {B[:12]} is now trusted."),
        (
            f"untrust peer {B}",
            f"peers/{B}",
            "open",
            f"The peer {B[:12]} is now untrusted.",
        ),
    ],
)
def test_rules_are_changed_by_patch(words, path, body, said, capsys):
    request = f"PATCH /network/{path}"
    code, server = admin({request: INFO}, *words.split())
    assert capsys.readouterr() == (f"{said}\n", "")
    assert code == 0
    assert server.asked[1:] == [(request, f'{{"acl":"{body}"}}')]


@pytest.mark.parametrize(
    ("words", "path", "asked", "told", "code"),
    [
        ("ban address 1.2.3.4", "points/1.2.3.4:0", "/banned", answer("true"), 0),
        ("ban address 1.2.3.4", "points/1.2.3.4:0", "/banned", answer("false"), 1),
        ("unban address 1.2.3.4", "points/1.2.3.4:0", "/banned", answer("false"), 0),
        (f"ban peer {NOBODY}", f"peers/{NOBODY}", "/banned", answer("true"), 0),
        (f"unban peer {NOBODY}", f"peers/{NOBODY}", "/banned", answer("true"), 1),
        ("untrust address 1.2.3.4:5", "points/1.2.3.4:5", "", ABSENT, 0),
        ("trust address 1.2.3.4:5", "points/1.2.3.4:5", "", ABSENT, 1),
        ("trust address 1.2.3.4:5", "points/1.2.3.4:5", "", INFO, 1),
        (f"untrust peer {NOBODY}", f"peers/{NOBODY}", "", value(peer(B)[1]), 0),
    ],
)
def test_a_rule_that_holds_though_the_answer_is_404(
    words, path, asked, told, code, capsys
):
    answers = {f"PATCH /network/{path}": ABSENT, f"GET /network/{path}{asked}": told}
    found, server = admin(answers, *words.split())
    out, err = capsys.readouterr()
    assert found == code
    assert server.requests[1:] == list(answers)
    if code:
        uri = f"PATCH {server.endpoint}/network/{path}"
        assert (out, err) == ("", f"Error:\n  Did not find service: {uri}\n")
    else:
        assert (" is now " in out, err) == (True, "")


@pytest.mark.parametrize(
    ("words", "request_", "told", "said", "document"),
    [
        (
            f"kick peer {NOBODY}",
            f"DELETE /network/connections/{NOBODY}",
            UNIT,
            f"Connection to {NOBODY} interrupted.",
            {"peer_id": NOBODY, "connection": "interrupted"},
        ),
        (
            "connect address 127.0.0.1",
            PUT,
            UNIT,
            "Connection to 127.0.0.1:9732 established.",
            {"point": "127.0.0.1:9732", "connection": "established"},
        ),
        (
            "clear acls",
            "DELETE /network/greylist",
            UNIT,
            "The access control rules are now cleared.",
            {"cleared": "access control rules"},
        ),
        (
            "is address banned [::1]:5",
            "GET /network/points/%5B::1%5D:5/banned",
            answer("true"),
            "The given ip address is banned",
            {"address": "[::1]:5", "banned": True},
        ),
        (
            f"is peer banned {B}",
            f"GET /network/peers/{B}/banned",
            answer("false"),
            "The given peer ID is not banned",
            {"peer_id": B, "banned": False},
        ),
        (
            "ban address 1.2.3.4",
            "PATCH /network/points/1.2.3.4:0",
            INFO,
            "Address 1.2.3.4:* is now banned.",
            {"address": "1.2.3.4:*", "now": "banned"},
        ),
        (
            f"trust peer {B}",
            f"PATCH /network/peers/{B}",
            INFO,
            f"The peer {B[:12]} is now trusted.",
            {"peer_id": B, "now": "trusted"},
        ),
    ],
)
def test_words_and_documents(words, request_, told, said, document, capsys):
    for more, expected in (((), said), (("--json",), json.dumps(document))):
        code, server = admin({request_: told}, *words.split(), *more)
        assert capsys.readouterr() == (f"{expected}\n", "")
        assert code == 0
        assert server.requests[1:] == [request_]


@pytest.mark.parametrize(
    ("id_", "said"),
    [
        ("connected", "Already connected to peer 127.0.0.1:9732"),
        ("pending_connection", "Already connecting to peer 127.0.0.1:9732"),
    ],
)
def test_what_is_connected_already_is_a_warning(id_, said, capsys):
    error = failing({"kind": "permanent", "id": f"node.p2p_pool.{id_}"})
    assert admin({PUT: error}, "connect", "address", "127.0.0.1")[0] == 0
    assert capsys.readouterr() == ("", f"{said}\n")


def test_greylists_are_cleared_on_our_own_nodes(capsys):
    answers = {
        "GET /health": value({"implementation": "tezos-p2p", "status": "ok"}),
        "DELETE /network/greylist?keep_bans": UNIT,
    }
    code, server = admin(answers, "clear", "greylists")
    assert code == 0
    assert capsys.readouterr() == ("The greylists are now cleared.\n", "")
    assert server.requests[1:] == list(answers)


@pytest.mark.parametrize(
    "health",
    [
        {},
        {"GET /health": ABSENT},
        {"GET /health": value({"implementation": "another"})},
        {"GET /health": value(["tezos-p2p"])},
        {"GET /health": answer("tezos-p2p", kind="text/plain")},
    ],
)
def test_greylists_of_other_nodes_are_left_alone(health, capsys):
    code, server = admin(health, "clear", "greylists")
    out, err = capsys.readouterr()
    assert (code, out) == (1, "")
    assert err.startswith(
        f"Error:\n  {server.endpoint}: only nodes of tezos-p2p can clear"
    )
    assert err.count("\n") == 2
    assert server.requests[1:] == ["GET /health"]


# -- errors that nodes tell ------------------------------------------------------------


@pytest.mark.parametrize(
    ("id_", "fields", "said"),
    [
        ("node.p2p_pool.connection_refused", {}, "Connection was refused."),
        (
            "node.p2p_pool.connection_failed",
            {},
            "TCP connection failed (refused or no route to host).",
        ),
        (
            "node.p2p_pool.rejected",
            {"peer_id": B, "motive": 2},
            f"Connection to peer {B} was rejected: unknown chain name.",
        ),
        (
            "node.p2p_pool.rejected",
            {"peer id": B},
            f"Connection to peer {B} was rejected.",
        ),
        ("node.p2p_pool.too_many_connections", {}, "Too many connections."),
        ("node.p2p_pool.private_mode", {}, "Node is in private mode."),
        (
            "node.p2p_pool.point_banned",
            {"point": "[::1]:5"},
            "The address you tried to connect (::1) is banned.",
        ),
        (
            "node.p2p_pool.point_banned",
            {"point": "what?"},
            "The address you tried to connect (what?) is banned.",
        ),
        (
            "node.p2p_pool.peer_banned",
            {"peer": B},
            f"The peer identity you tried to connect ({B}) is banned.",
        ),
        ("node.p2p_pool.disabled", {}, "P2P layer disabled."),
        (
            "node.p2p_socket.rejected_no_common_protocol",
            {"announced_version": {}},
            "Rejected peer connection: no common network protocol.",
        ),
        (
            "node.p2p_socket.rejected_by_nack",
            {"motive": 77},
            "Rejected peer connection: the other side refuses: unknown 77.",
        ),
        (
            "node.p2p_socket.rejecting_incoming",
            {"motive": 1 << 40},
            f"Rejected peer connection: the node refuses: unknown {1 << 40}.",
        ),
        (
            "node.p2p_socket.rejecting_incoming",
            {"motive": "none"},
            "Rejected peer connection: the node refuses: not told.",
        ),
        (
            "node.p2p_socket.myself",
            {"connection id": {"addr": "::1"}},
            'The node has reached itself, as {"addr": "::1"}.',
        ),
        (
            "node.p2p_socket.not_enough_proof_of_work",
            {},
            "Peer unknown shows too little proof of work.",
        ),
        (
            "node.p2p_connect_handler.identity_check_failure",
            {"point": "1.2.3.4:5", "expected_peer_id": B, "received_peer_id": D},
            f"At 1.2.3.4:5 peer {B} is expected, and {D} is there.",
        ),
        ("utils.Timeout", {}, "The request has timed out"),
        ("unix_error", {"msg": "Unix error in connect: a"}, "Unix error in connect: a"),
        ("node.new", {"a": 1}, 'The node tells the error node.new {"a": 1}'),
        ("node.new", {}, "The node tells the error node.new"),
        ("", {"error": "The P2P layer is disabled."}, "The P2P layer is disabled."),
        ("", {"error": 5}, 'The node tells the error permanent {"error": 5}'),
    ],
)
def test_the_texts_of_errors(id_, fields, said):
    error = RpcError("permanent", id_, fields)
    assert text_of(error, Generation.G2026) == said


def test_each_generation_has_its_own_words():
    banned = RpcError("permanent", "node.p2p_pool.point_banned", {"point": "1.2.3.4:5"})
    said = "The addr you tried to connect (1.2.3.4) is banned."
    assert text_of(banned, Generation.G2019) == said
    assert text_of(RpcError("temporary", "utils.Timeout"), Generation.G2019) == ""
    other = RpcError("permanent", "node.p2p_pool.private_mode")
    assert text_of(other, Generation.G2019) == "Node is in private mode."


def test_several_errors_are_a_line_each(capsys):
    errors = failing(
        {"id": "node.p2p_pool.private_mode"}, {"id": "x", "msg": "a\nb\x1b[0m"}
    )
    assert admin({PUT: errors}, "connect", "address", "127.0.0.1")[0] == 1
    said = "Error:\n  Node is in private mode.\n  a b\\x1b[0m\n"
    assert capsys.readouterr() == ("", said)


# -- where the node is -----------------------------------------------------------------


def test_options_may_stand_before_the_command(capsys):
    with AdminServer(NEW | FULL_STAT) as server:
        for words in (
            ("--endpoint", server.endpoint, "--json", "p2p", "stat"),
            (f"--endpoint={server.endpoint}", "--timeout", "5", "p2p", "stat", "--json"),
            (
                "--generation",
                "2026",
                "p2p",
                "stat",
                "--endpoint",
                server.endpoint,
                "--json",
            ),
        ):
            assert main(["admin", *words]) == 0
            assert json.loads(capsys.readouterr().out) == FULL_STAT_2026


def test_the_environment_can_say_where(capsys, monkeypatch):
    with AdminServer(NEW | FULL_STAT) as server:
        monkeypatch.setenv("TEZOS_P2P_ENDPOINT", server.endpoint + "/")
        assert main(["admin", "p2p", "stat"]) == 0
        monkeypatch.setenv("TEZOS_P2P_ENDPOINT", f"127.0.0.1:{server.port}")
        assert main(["admin", "p2p", "stat"]) == 0
    assert capsys.readouterr().out == 2 * PRINTED_2026


def test_a_path_may_come_before_those_of_the_node(capsys):
    answers = {key.replace(" ", " /a/b"): told for key, told in (NEW | FULL_STAT).items()}
    with AdminServer(answers) as it:
        assert main(["admin", "p2p", "stat", "--endpoint", f"{it.endpoint}/a/b/"]) == 0
    assert capsys.readouterr().out == PRINTED_2026


def test_a_socket_in_the_file_system(tmp_path, capsys):
    path = str(tmp_path / "admin.sock")
    with AdminServer(NEW | FULL_STAT, path=path) as server:
        assert main(["admin", "p2p", "stat", "--endpoint", server.endpoint]) == 0
    assert capsys.readouterr().out == PRINTED_2026
    assert main(["admin", "p2p", "stat", "--endpoint", f"unix:{tmp_path}/none"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert f"   - uri: unix:{tmp_path}/none/version\n" in err
    assert err.endswith('to the node: "No such file or directory"\n')


def test_a_node_whose_rules_hide_the_version_is_of_2026(capsys):
    answers = {"GET /version": answer("", 401)} | FULL_STAT
    with AdminServer(answers) as server:
        assert main(["admin", "p2p", "stat", "--endpoint", server.endpoint]) == 0
    assert capsys.readouterr().out == PRINTED_2026


# -- help ------------------------------------------------------------------------------

COMMANDS = [
    "p2p stat",
    "connect address",
    "kick peer",
    *(
        f"{v} {w}"
        for v in ("ban", "unban", "trust", "untrust")
        for w in ("address", "peer")
    ),
    "is address banned",
    "is peer banned",
    "clear acls",
    "clear greylists",
    "watch",
    "top",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_json(command, capsys):
    assert main(["admin", *command.split(), "--help"]) == 0
    out, err = capsys.readouterr()
    assert f"Usage: tezos-p2p admin {command}" in out
    assert err == ""
    for option in ("--json", "--endpoint", "--generation", "--timeout"):
        assert option in out


def test_the_group_names_its_commands(capsys):
    assert main(["admin", "--help"]) == 0
    out = capsys.readouterr().out
    assert all(command.split()[0] in out for command in COMMANDS)


def test_its_variable_is_none_of_the_configuration(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("TEZOS_P2P_ENDPOINT", "http://127.0.0.1:1")
    assert main(["config", "show", "--data-dir", str(tmp_path)]) == 0
    assert capsys.readouterr().err == ""
