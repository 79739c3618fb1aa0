"""``tezos-p2p admin watch``: the stream of a node's events, told and filtered."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import threading

import pytest
from admin_server import ABSENT, AdminServer, answer, chunked, stream, value
from admin_vectors import VERSION_2026, B, D
from io_cli_runner import COMMAND, environment

from tezos_p2p.io import admin_client
from tezos_p2p.io.cli import admin_watch
from tezos_p2p.io.cli.start import main

NEW = {"GET /version": value(VERSION_2026)}
LOG = "GET /network/log"
CLOCK = re.compile(r"^\d\d:\d\d:\d\d\.\d{3}  ", re.M)

#: As a node of 2019 told them, and one of each other shape.
EVENTS = [
    {"event": "disconnection", "peer_id": B},
    {"event": "incoming_connection", "point": "127.0.0.1:44262"},
    {
        "event": "accepting_request",
        "point": "127.0.0.1:44262",
        "id_point": {"addr": "::ffff:127.0.0.1", "port": 18102},
        "peer_id": B,
    },
    {
        "event": "connection_established",
        "id_point": {"addr": "::ffff:127.0.0.1", "port": 18102},
        "peer_id": B,
    },
    {
        "event": "request_rejected",
        "point": "[2001:db8::1]:5",
        "identity": [{"addr": "2001:db8::1"}, D],
    },
    {"event": "swap_request_sent", "source": D},
    {"event": "gc_points"},
]
LINES = f"""\
disconnection           peer_id {B}
incoming_connection     point 127.0.0.1:44262
accepting_request       point 127.0.0.1:44262  id_point 127.0.0.1:18102  peer_id {B}
connection_established  id_point 127.0.0.1:18102  peer_id {B}
request_rejected        point [2001:db8::1]:5  identity 2001:db8::1 {D}
swap_request_sent       source {D}
gc_points
"""


def told(*events):
    return stream(*(json.dumps(event, separators=(",", ":")) for event in events))


def held(data):
    """Send, and leave the stream open until the other side goes."""

    def send(sock):
        sock.sendall(data)
        while sock.recv(100):
            pass

    return send


def watch(log, *words):
    answers = NEW | ({} if log is None else {LOG: log})
    with AdminServer(answers) as server:
        code = main(["admin", "watch", "--endpoint", server.endpoint, *words])
    assert server.requests == ["GET /version", LOG]
    return code


def test_events_are_told_line_by_line(capsys):
    assert watch(held(told(*EVENTS)), "--count", "7") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert len(CLOCK.findall(out)) == 7
    assert CLOCK.sub("", out) == LINES


def test_each_as_an_object(capsys):
    assert watch(held(told(*EVENTS)), "--count", "7", "--json") == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    for document in found:
        assert re.match(r"\d{4}-\d\d-\d\dT.*[+-]\d\d:\d\d$", document.pop("time"))
    assert found == EVENTS


@pytest.mark.parametrize(
    ("words", "numbers"),
    [
        ("--kind gc_points", [6]),
        ("--kind disconnection --kind swap_request_sent", [0, 5]),
        (f"--peer {B}", [0, 2, 3]),
        (f"--peer {D}", [4, 5]),
        ("--point 127.0.0.1", [1, 2, 3]),
        ("--point 127.0.0.1:18102", [2, 3]),
        ("--point [2001:db8::1]", [4]),
        ("--point [2001:db8::1]:6", []),
        (f"--peer {B} --point 127.0.0.1:18102 --kind connection_established", [3]),
        (f"--peer {B} --kind gc_points", []),
    ],
)
def test_filters(words, numbers, capsys):
    last = {"event": "too_few_connections"}
    log = chunked(*(json.dumps(event) + "\n" for event in [*EVENTS, last]))
    assert watch(log, "--json", *words.split()) == 1  # when the stream is over
    out, err = capsys.readouterr()
    names = [json.loads(line)["event"] for line in out.splitlines()]
    assert names == [EVENTS[number]["event"] for number in numbers]
    assert f"the node has ended the stream; {len(numbers)} events were told" in err


def test_documents_cut_anywhere_and_the_last_without_its_end(capsys):
    text = "\n\n".join(map(json.dumps, EVENTS))
    parts = [text[at : at + 7] for at in range(0, len(text), 7)]
    assert watch(chunked(*parts), "--count", "7") == 0
    assert CLOCK.sub("", capsys.readouterr().out) == LINES


def test_events_of_a_later_node_are_told_as_they_are(capsys):
    event = {
        "event": "landing",
        "on": ["Mars", 7],
        "point": 5,
        "identity": "me",
        "x": None,
    }
    event["evil"] = "\x1b[2J"
    for words in ((), ("--point", "1.2.3.4"), ("--peer", B)):
        watch(chunked(json.dumps(event) + "\n"), *words)
    out = capsys.readouterr().out
    assert CLOCK.sub("", out) == (
        "landing                 on Mars 7  point 5  identity me  x null  evil \\x1b[2J\n"
    )


def test_time_is_up(capsys):
    assert watch(held(told(EVENTS[0])), "--seconds", "0.2") == 0
    assert CLOCK.sub("", capsys.readouterr().out) == LINES.splitlines(True)[0]


def cut(sock):
    sock.sendall(told(EVENTS[0])[:-20])


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (chunked(), "the node has ended the stream; 0 events were told"),
        (cut, "the connection ended within the answer"),
        (None, "Did not find service: GET "),
        (ABSENT, "Did not find service: GET "),
        (answer("", 401), "the node's access rules do not allow it (status 401)"),
        (answer("<html>", kind="text/html"), "answers text/html, not JSON"),
        (stream("{nope"), ": an event: not JSON: "),
        (stream("7"), "told what is no event of a node"),
        (stream('{"event":7}'), "told what is no event of a node"),
        (stream("x" * 3000), "told a document of more than 2000 bytes"),
        (held(b""), "no answer within 0.3 seconds"),
    ],
)
def test_a_stream_that_goes_wrong_says_so(log, said, capsys, monkeypatch):
    monkeypatch.setattr(admin_client, "DOCUMENT_MAX", 2000)
    assert watch(log, "--timeout", "0.3" if "within 0.3" in said else "20") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"Error:\n  [^\n]+\n", err)
    assert said in err


def cut_short(sock):
    sock.sendall(b"HTTP/1.1 200 OK\r\n")


def watch_again(log, *words):
    with AdminServer(NEW | {LOG: log}) as server:
        endpoint = ("--endpoint", server.endpoint, "--timeout", "1")
        code = main(["admin", "watch", "--reconnect", *endpoint, *words])
    return code, server.requests.count(LOG)


def test_it_is_watched_again_when_the_stream_has_ended(capsys, monkeypatch):
    monkeypatch.setattr(admin_watch, "FIRST_PAUSE", 0.02)
    documents = [f"{json.dumps(event)}\n" for event in EVENTS]
    log = [
        chunked(documents[0]),  # ended in order
        cut,  # within a document
        held(b""),  # silence, which is no stream
        chunked(documents[1], documents[6]),
    ]
    code, asked = watch_again(log, "--count", "3")
    assert (code, asked) == (0, 4)
    out, err = capsys.readouterr()
    assert CLOCK.sub("", out).splitlines() == [
        line for number, line in enumerate(LINES.splitlines()) if number in (0, 1, 6)
    ]
    lines = [re.sub(r"http\S+", "URI", line) for line in err.splitlines()]
    again = "tezos-p2p: watching again in 0.02 s"
    assert re.match(
        r"tezos-p2p: watching; what happened for \d\.\d s is missing", lines[2]
    )
    assert [*lines[:2], *lines[3:6]] == [
        "tezos-p2p: GET URI the node has ended the stream; 1 events were told",
        again,
        "tezos-p2p: GET URI the connection ended within the answer",
        again,
        "tezos-p2p: watching again in 0.04 s",
    ]
    assert len(lines) == 7


def test_pauses_grow_up_to_a_bound(capsys, monkeypatch):
    monkeypatch.setattr(admin_watch, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(admin_watch, "LAST_PAUSE", 0.03)
    first = chunked(f"{json.dumps(EVENTS[0])}\n")
    assert watch_again([first, cut_short], "--seconds", "0.5")[0] == 0
    pauses = re.findall(r"again in (\S+) s", capsys.readouterr().err)
    assert pauses[:4] == ["0.01", "0.02", "0.03", "0.03"]


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ([held(b"")], "no answer within 1 seconds"),
        ([answer("", 401)], "do not allow it"),
        ([chunked(), answer("<html>", kind="text/html")], "answers text/html, not JSON"),
    ],
)
def test_who_never_was_there_or_is_no_node_is_not_tried_again(
    log, said, capsys, monkeypatch
):
    monkeypatch.setattr(admin_watch, "FIRST_PAUSE", 0.02)
    assert watch_again(log) == (1, len(log))
    assert said in capsys.readouterr().err


def test_it_can_be_interrupted():
    with AdminServer(NEW | {LOG: held(told(EVENTS[0]))}) as server:
        process = subprocess.Popen(
            [*COMMAND, "admin", "watch", "--endpoint", server.endpoint],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        timer = threading.Timer(30, process.kill)
        timer.start()
        try:
            assert "disconnection" in process.stdout.readline()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate()
        finally:
            timer.cancel()
            process.kill()
            process.wait()
    assert (process.returncode, out, err) == (130, "", "")
