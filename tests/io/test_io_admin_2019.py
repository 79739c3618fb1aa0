"""The form of 2019, byte for byte, over a real socket.

The answers of a reference node are compared with ours to the same requests in the same
order.  What cannot be the same is exchanged in what is expected: who the nodes are, their
ports, moments, and bytes a second; lengths stay true to what is sent.
"""

from __future__ import annotations

import json
import re
import socket
import time
from typing import Any

import pytest
from admin_suite import DRIVERS, LIMIT, OLD_SANDBOX, Stream, hosted, neighbour
from io_cli_runner import golden

from tezos_p2p.spec.identity import PeerId
from tezos_p2p.spec.pool_events import (
    AdvertiseReceived,
    AdvertiseSent,
    BootstrapReceived,
    BootstrapSent,
    MaintenanceEnded,
    MaintenanceStarted,
    SwapFailure,
)
from tezos_p2p.spec.rpc import Generation
from tezos_p2p.spec.version import MAINNET

A, B = "idsk7UcFtTMC9GJqNqfD1MqBQD3nbN", "idsnFGMaFMrsewkr2SQrfj9JbYGmp7"
PEER_BYTES = "a664a6e832ddcb194edd26b59e12145a"
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d-00:00")
FLOW = re.compile(r'("current_(?:in|out)flow":)\d+')
#: What is not the same, and why.
OTHERWISE = {
    "body: {\n": "words of the parser that the reference happens to use",
    "HEAD ": "a body after the answer to HEAD would be taken for the next answer",
    "application/bson": "no client wants it first",
    f"{B}/log?monitor": "streams have a test of their own",
    "18102/log?monitor": "streams have a test of their own",
    "GET /network/log": "streams have a test of their own",
}


def blocks() -> list[tuple[str, str]]:
    """Requests and answers, as in the file."""
    text = "\n".join(
        line for line in golden("rpc-2019.txt").splitlines() if not line.startswith("# ")
    )
    found = re.findall(r"((?:^>>> .*\n)+)((?:^(?!>>> ).*\n?)*)", text, re.M)
    return [(request, answer.rstrip("\n")) for request, answer in found]


def in_bytes(request: str, port: int) -> bytes:
    first, *more = (line.removeprefix(">>> ") for line in request.splitlines())
    headers = [f"host: 127.0.0.1:{port}"]
    body = ""
    for line in more:
        name, _, value = line.partition(": ")
        if name == "body":
            body = "" if value == "(empty)" else value
            headers.append(f"content-length: {len(body)}")
        else:
            headers.append(line)
    return "\r\n".join([f"{first} HTTP/1.1", *headers, "", body]).encode()


class Client:
    """One connection that stays open: what is left over shows at once."""

    def __init__(self, port: int) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), LIMIT)
        self.file = self.sock.makefile("rb")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        self.sock.close()

    def call(self, request: bytes) -> bytes:
        self.sock.sendall(request)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self.file.readline()
            assert line, head
            head += line
        if sized := re.search(rb"content-length: (\d+)", head):
            return head + self.file.read(int(sized[1]))
        body = b""
        while not body.endswith(b"0\r\n\r\n"):
            body += self.file.readline()
        return head + body


def again(theirs, ours):
    """Connect anew, once the other side has noticed the end of the first connection."""
    until = time.monotonic() + LIMIT
    while theirs.peers:
        assert time.monotonic() < until
        time.sleep(0.005)
    theirs.connect(ours.point)


def until_connected(ours):
    """Wait until our side knows it too: the other side knows it first."""
    until = time.monotonic() + LIMIT
    while not (found := ours.get("/network/connections")):
        assert time.monotonic() < until
    return found[0]


def normal(text: str) -> str:
    """Exchange what differs from run to run, and its length with it."""
    head, _, body = text.partition("\n\n")
    changed = FLOW.sub(r"\g<1>0", MOMENT.sub("2026-11-22T11:49:35-00:00", body))
    shorter = len(body) - len(changed)
    head = re.sub(
        r"content-length: (\d+)",
        lambda it: f"content-length: {int(it[1]) - shorter}",
        head,
    )
    return f"{head}\n\n{changed}".rstrip("\n")


def read(answer: bytes) -> str:
    head, _, body = answer.partition(b"\r\n\r\n")
    if b"octet-stream" in head:
        body = body.hex().encode()
    return (head + b"\r\n\r\n" + body).decode().replace("\r\n", "\n")


@pytest.mark.parametrize("driver", DRIVERS)
def test_answers_are_those_of_the_reference_byte_for_byte(driver):
    with (
        hosted(driver, 1, Generation.G2019, network=OLD_SANDBOX) as ours,
        neighbour(2, OLD_SANDBOX) as theirs,
        Client(ours.port) as client,
    ):
        running = theirs.connect(ours.point)
        assert running.id_point.port == ours.node.point.port
        info = until_connected(ours)
        swaps = {
            A: ours.peer_id,
            B: str(theirs.core.survey.peer_id),
            "127.0.0.1:18102": str(theirs.point),
            '"port":18102': f'"port":{theirs.point.port}',
            "<PORT>": str(info["remote_socket_port"]),
            PEER_BYTES: bytes(ours.node.core.survey.peer_id).hex(),
        }
        compared, different = 0, []
        for request, answer in blocks():
            if any(sign in request for sign in OTHERWISE):
                continue
            expected = answer
            for old, new in swaps.items():
                request, expected = request.replace(old, new), expected.replace(old, new)
            got = read(client.call(in_bytes(request, ours.port)))
            if "<as above>" in expected:
                got = re.sub(r'("peer_metadata":){.*?}}}', r"\1{<as above>}", got)
                got, expected = (
                    re.sub(r"content-length: \d+\n", "", text) for text in (got, expected)
                )
            if "DELETE" in request and B not in request and "wait&wait" in request:
                again(theirs, ours)  # as it did there, after the kick
                until_connected(ours)
            compared += 1
            if "octet-stream" in request and "stat" in request:
                # Bytes a second are what differs.
                got, expected = got[:-16], expected[:-16]
            if normal(got) != normal(expected):
                different.append(
                    f"{request}\n{normal(expected)}\n-- got --\n{normal(got)}"
                )
        assert not different, "\n\n".join(different)
        assert compared == len(blocks()) - 6


def test_every_deviation_is_met():
    for sign in OTHERWISE:
        assert any(sign in request for request, _ in blocks()), sign


def recorded(path: str) -> list[Any]:
    """The documents of a stream of the recording."""
    (answer,) = [told for asked, told in blocks() if f"GET {path}\n" in asked]
    lines = answer.partition("\n\n")[2].splitlines()
    return [json.loads(line) for line in lines if line[:1] in "[{" and line]


@pytest.mark.parametrize("driver", DRIVERS)
def test_streams_of_2019(driver):
    """The three streams of the recording, around a kick and a new connection."""
    with (
        hosted(driver, 3, Generation.G2019, network=OLD_SANDBOX) as ours,
        neighbour(4, OLD_SANDBOX) as theirs,
    ):
        theirs.connect(ours.point)
        peer, point = str(theirs.core.survey.peer_id), str(theirs.point)
        until_connected(ours)
        log = ours.stream("/network/log")
        peer_log = ours.stream(f"/network/peers/{peer}/log?monitor")
        point_log = ours.stream(f"/network/points/{point}/log?monitor")
        for stream in (log, peer_log, point_log):
            assert stream.head == [
                "HTTP/1.1 200 OK",
                "content-type: application/json",
                "transfer-encoding: chunked",
            ]
        of_log = [each["event"] for each in recorded("/network/log")]
        of_peer = [
            [each["kind"] for each in lines]
            for lines in recorded(f"/network/peers/{B}/log?monitor")
        ]
        of_point = [
            [each[1]["event_kind"] for each in lines]
            for lines in recorded("/network/points/127.0.0.1:18102/log?monitor")
        ]
        assert (len(of_log), len(of_peer), len(of_point)) == (4, 4, 4)
        assert [each["kind"] for each in peer_log.next()] == of_peer.pop(0)
        assert [it[1]["event_kind"] for it in point_log.next()] == of_point.pop(0)
        assert ours.get(f"/network/connections/{peer}", "DELETE") == {}
        assert log.chunk() == f'{{"event":"disconnection","peer_id":"{peer}"}}\n'.encode()
        assert of_log.pop(0) == "disconnection"
        (gone,) = peer_log.next()
        assert [gone["kind"]] == of_peer.pop(0)
        assert gone.keys() == {"kind", "timestamp", "addr", "port"}
        assert MOMENT.fullmatch(gone["timestamp"])
        (gone,) = point_log.next()
        assert gone[1] == {"event_kind": of_point.pop(0)[0], "p2p_peer_id": peer}
        again(theirs, ours)
        assert [log.next()["event"] for _ in of_log] == of_log
        assert [[peer_log.next()[0]["kind"]] for _ in of_peer] == of_peer
        assert [[point_log.next()[0][1]["event_kind"]] for _ in of_point] == of_point


def test_streams_of_2019_have_no_events_that_are_younger():
    who = PeerId.parse(B)
    young = (
        MaintenanceStarted(),
        *(kind(who) for kind in (BootstrapSent, BootstrapReceived, AdvertiseSent)),
        AdvertiseReceived(who),
        MaintenanceEnded(),
    )
    for generation in Generation:
        with hosted("asyncio", 6, generation) as ours:
            log = ours.stream("/network/log")

            def tell(core, _):
                core.pool.events.extend((*young, SwapFailure(who)))

            ours.ask(tell)
            names = [it.name for it in young] if generation is Generation.G2026 else []
            for name in (*names, "swap_failure"):
                assert log.next()["event"] == name


def test_the_place_that_nobody_could_be_dialled_at_is_not_trusted():
    with hosted("asyncio", 7, Generation.G2019) as ours:
        status, headers, body = ours.call("GET", "/network/points/10.9.9.9:0/trust")
        assert (status, headers["content-type"]) == (400, "text/plain")
        assert body.startswith(b"Failed to parsed an argument in path. After ")
        assert ours.get("/network/points") == []
        assert ours.get("/network/points/10.9.9.9:0/ban") == {}
        assert ours.get("/network/points/10.9.9.9:7/trust") == {}


def test_a_name_of_another_network_changes_nothing_but_itself():
    with hosted("asyncio", 5, Generation.G2019, network=MAINNET) as ours:
        assert ours.get("/network/version") == {
            "chain_name": "TEZOS_MAINNET",
            "distributed_db_version": 2,
            "p2p_version": 1,
        }
        assert ours.call("GET", "/version")[0] == 404
        assert isinstance(ours.stream("/network/log"), Stream)
