"""Bad input at the admin interface: the right status, one readable line, nothing lost."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time

import pytest
from admin_suite import DRIVERS, LIMIT, OLD_SANDBOX, Stream, hosted, neighbour
from node_suite import identity_of

from tezos_p2p.io.admin import http as server
from tezos_p2p.io.admin import watch
from tezos_p2p.io.admin.guard import read_acl
from tezos_p2p.io.admin.routes import G2019, G2026, PEER, POINT, ROUTES, Router
from tezos_p2p.spec.pool_events import GcPoints
from tezos_p2p.spec.rpc import Generation

SOMEBODY = str(identity_of(950).peer_id)
PLACES = {PEER: SOMEBODY, POINT: "127.0.0.1:9"}
WRONG = {
    PEER: ("idbogus", "x" * 5000, "%00", "%ff%fe", "id%20x", "..", SOMEBODY + "x"),
    POINT: (
        "127.0.0.1",
        "localhost:9",
        "127.0.0.1:99999",
        "300.1.1.1:9",
        "[::1]",
        "[::1:9",
        "%5B::1%5D:x",
        "9" * 5000,
        "%0d%0ax:y",
    ),
}


@pytest.fixture(scope="module", params=[Generation.G2026, Generation.G2019])
def ours(request):
    network = {"network": OLD_SANDBOX} if request.param is G2019 else {}
    with hosted("asyncio", 60, request.param, **network) as host:
        host.generation = request.param
        yield host


def routes(generation):
    return [
        pytest.param(route, id=f"{route.method} {'/'.join(route.path)}")
        for route in ROUTES
        if generation in route.of
    ]


def one_line(headers, body):
    assert headers["content-type"] == "text/plain"
    assert "\n" not in body.decode()
    assert len(body) < 20_000
    assert body


def all_routes(ours):
    return [route for route in ROUTES if ours.generation in route.of]


def test_wrong_arguments_in_every_path(ours):
    for route in all_routes(ours):
        for place in (PEER, POINT):
            if place not in route.path:
                continue
            for wrong in WRONG[place]:
                path = "/" + "/".join(wrong if it == place else it for it in route.path)
                status, headers, body = ours.call(route.method, path)
                assert status == 400, (route.method, path)
                one_line(headers, body)
                assert b"Failed to parsed an argument in path. After" in body


def test_wrong_methods_at_every_path(ours):
    for route in all_routes(ours):
        path = "/" + "/".join(PLACES.get(each, each) for each in route.path)
        have = {each.method for each in all_routes(ours) if each.path == route.path}
        for method in ("GET", "PUT", "PATCH", "DELETE", "POST"):
            if method in have:
                continue
            status, headers, body = ours.call(method, path, b"{}")
            assert (status, body) == (405, b""), (method, path)
            assert "allow" in headers
        assert ours.call("HEAD", path)[0] == 501
        assert ours.call("TRACE", path)[0] == 501
        status, headers, body = ours.call("OPTIONS", path)
        assert (status, body) == (200, b"")
        assert headers["access-control-allow-headers"] == "Content-Type"


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/nope",
        "/network",
        "/network//self",
        "//network/self",
        "/network/self/more",
        "/NETWORK/self",
        f"/network/peers/{SOMEBODY}/log/x",
        "/" + "a/" * 2000,
    ],
)
def test_paths_that_do_not_exist(ours, path):
    status, headers, body = ours.call("GET", path)
    assert (status, body) == (404, b"")
    assert headers["transfer-encoding"] == "chunked"


@pytest.mark.parametrize(
    ("query", "phrase"),
    [
        ("peers?filter=foo", "Invalid state: foo"),
        ("peers?filter", "Invalid state: "),
        ("peers?filter=requested", "Invalid state: requested"),
        ("points?filter=running,disconnected", "Invalid state: running,disconnected"),
        ("points?filter=running&filter=%00", "Invalid state: "),
        (f"peers/{SOMEBODY}/log?monitor&monitor", "Duplicate argument 'monitor'"),
    ],
)
def test_queries_that_say_nothing(ours, query, phrase):
    status, headers, body = ours.call("GET", f"/network/{query}")
    assert status == 400
    one_line(headers, body)
    assert body.decode().startswith("Failed to parse the query string: ")
    assert phrase in body.decode()


@pytest.mark.parametrize(
    "timeout",
    ["abc", "inf", "nan", "-1", "1e999", "601", "1_0", "0x10", "", "%20", "1e3", "."],
)
def test_timeouts_are_finite_and_not_long(ours, timeout):
    path = f"/network/points/127.0.0.1:9?timeout={timeout}"
    status, headers, body = ours.call("PUT", path, b"{}")
    assert status == 400
    one_line(headers, body)
    assert b"failed to parse timespan" in body


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"a":1}', b"\xff\xfe", b"7", b"null"])
def test_bodies_that_are_no_empty_object(ours, body):
    status, headers, said = ours.call("PUT", "/network/points/127.0.0.1:9", body)
    assert status == 400
    one_line(headers, said)
    assert said.startswith(b"Failed to parse the request body: ")


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"[" * 60_000,
        b'{"acl":"maybe"}',
        b'{"acl":7}',
        b'{"acl":"ban","acl":"ban"}',
        b'{"x":1}',
        b'{"peer_id":"idx"}',
        b"nope",
        b'"' + b"\\ud800" * 100 + b'"',
    ],
)
@pytest.mark.parametrize("path", ["points/127.0.0.1:9", f"peers/{SOMEBODY}"])
def test_changes_that_are_none(body, path, modern):
    status, headers, said = modern.call("PATCH", f"/network/{path}", body)
    assert status == 400
    one_line(headers, said)
    assert said.startswith(b"Failed to parse the request body: ")


@pytest.fixture(scope="module")
def modern():
    with hosted("asyncio", 61) as host:
        yield host


def test_nobody_can_be_trusted_at_port_0(modern):
    where = "/network/points/127.0.0.1:0"
    status, headers, said = modern.call("PATCH", where, b'{"acl":"trust"}')
    assert status == 400
    one_line(headers, said)
    assert modern.call("GET", where)[0] == 404


@pytest.mark.parametrize(
    ("accept", "status"),
    [
        ("text/html", 406),
        ("application/bson", 406),
        ("application/json;q=0", 406),
        ("application/json;q=x", 406),
        ("", 406),
        (";;;,,,q=", 406),
        ("*/*;q=0.1", 200),
        ("text/html, application/*", 200),
        ("APPLICATION/JSON", 200),
    ],
)
def test_forms_that_are_wanted(ours, accept, status):
    got, _, body = ours.call("GET", "/network/self", accept=accept)
    assert got == status
    if status == 406:
        assert body == b"application/json, application/bson, application/octet-stream"


@pytest.mark.parametrize("kind", ["text/plain", "application/json; charset=utf-8", ""])
def test_forms_that_are_not_read(ours, kind):
    headers = {"content_type": kind}
    at = "/network/points/127.0.0.1:9"
    status, _, body = ours.call("PUT", at, b"{}", **headers)
    assert (status, body) == (415, b"")


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET /network/self\r\n\r\n", 400),
        (b"GET /network/self HTTP/1.1\r\n\r\n", 400),  # no host
        (b"GET /network/self HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400),
        (b"GET /network/self HTTP/9.9\r\nhost: a\r\n\r\n", 403),
        (b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nhost: a\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 50_000 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nhost: a\r\nx : y\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\ncontent-length: -1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n", 501),
        (b"PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(400), 400),
        (b"\x00" * 1000, 400),
    ],
    ids=range(13),
)
def test_what_is_no_request(modern, raw, status):
    with socket.create_connection(("127.0.0.1", modern.port), LIMIT) as sock:
        with contextlib.suppress(OSError):
            sock.sendall(raw)
            sock.shutdown(socket.SHUT_WR)
        data = b""
        with contextlib.suppress(ConnectionResetError):
            while part := sock.recv(65536):
                data += part
    found = re.match(rb"HTTP/1\.1 (\d+) ", data)
    # What is not read to its end is cut, and the answer may be lost with it.
    assert found or (status == 431 and not data), data[:200]
    assert not found or int(found[1]) in (status, 400)
    assert modern.get("/network/self") == modern.peer_id


def test_a_huge_body_is_not_read_to_its_end(ours):
    with socket.create_connection(("127.0.0.1", ours.port), LIMIT) as sock:
        head = (
            f"PUT /network/points/127.0.0.1:9 HTTP/1.1\r\nhost: 127.0.0.1:{ours.port}\r\n"
        )
        sock.sendall(f"{head}content-length: 1000000000\r\n\r\n".encode())
        sent, got = 0, b""
        with contextlib.suppress(OSError):
            while sent < 50_000_000:
                sent += sock.send(b"x" * 65_536)
        with contextlib.suppress(OSError):
            got = sock.recv(65_536)
        assert sent < 50_000_000
        assert got == b"" or got.startswith(b"HTTP/1.1 413 ")


def test_who_sends_too_much_is_told_before_it_is_cut(modern):
    """What was not read has the system throw away what was written."""
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", modern.port), LIMIT) as sock:
            head = "PUT /network/points/127.0.0.1:9 HTTP/1.1\r\n"
            head += f"host: 127.0.0.1:{modern.port}\r\ncontent-length: 1000000\r\n\r\n"
            sock.sendall(head.encode() + bytes(1_000_000))
            time.sleep(0.02)
            got = b""
            while part := sock.recv(65_536):
                got += part
        assert got.startswith(b"HTTP/1.1 413 ")
        assert got.endswith(b"\r\n0\r\n\r\n")


def test_what_is_sent_while_an_answer_is_awaited_is_kept(modern):
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        socket.create_connection(("127.0.0.1", modern.port), LIMIT) as sock,
    ):
        point = f"127.0.0.1:{silent.getsockname()[1]}"
        host = f"host: 127.0.0.1:{modern.port}\r\n"
        dial = f"PUT /network/points/{point}?timeout=0.2 HTTP/1.1\r\n{host}"
        sock.sendall(f"{dial}content-length: 0\r\n\r\n".encode())
        time.sleep(0.05)
        for _ in range(2):
            sock.sendall(f"GET /network/self HTTP/1.1\r\n{host}\r\n".encode())
        got = b""
        while got.count(modern.peer_id.encode()) < 2:
            part = sock.recv(65_536)
            assert part, got
            got += part
        assert got.startswith(b"HTTP/1.1 500 ")


def test_a_body_that_is_announced_is_asked_for(modern):
    with socket.create_connection(("127.0.0.1", modern.port), LIMIT) as sock:
        head = f"PATCH /network/peers/{SOMEBODY} HTTP/1.1\r\n"
        rest = f"host: 127.0.0.1:{modern.port}\r\nexpect: 100-continue\r\n"
        sock.sendall(f"{head}{rest}content-length: 2\r\n\r\n".encode())
        assert sock.recv(100).startswith(b"HTTP/1.1 100 ")
        sock.sendall(b"{}")
        assert sock.recv(1000).startswith(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0")


@pytest.mark.parametrize("part", ["nothing", "a head", "a body"])
def test_slow_clients_are_not_waited_for(monkeypatch, part):
    monkeypatch.setattr(server, "REQUEST_TIMEOUT", 0.2)
    monkeypatch.setattr(server, "IDLE_TIMEOUT", 0.2)
    with hosted("asyncio", 62) as ours:
        host = f"host: 127.0.0.1:{ours.port}\r\n"
        sent = {
            "nothing": "",
            "a head": "GET /network/self HTTP/1.1\r\nho",
            "a body": f"PUT /x HTTP/1.1\r\n{host}content-length: 2\r\n\r\n",
        }
        with socket.create_connection(("127.0.0.1", ours.port), LIMIT) as sock:
            sock.sendall(sent[part].encode())
            got = b""
            while more := sock.recv(65_536):
                got += more
        if part == "nothing":
            assert got == b""
        else:
            assert got.startswith(b"HTTP/1.1 408 ")
            assert b"the request took more than 0.2 s" in got


def test_connections_are_counted(monkeypatch):
    monkeypatch.setattr(server, "CONNECTIONS_MAX", 8)
    with hosted("asyncio", 63) as ours, contextlib.ExitStack() as stack:
        # Silent ones make room for whoever comes.
        silent = [
            stack.enter_context(socket.create_connection(("127.0.0.1", ours.port), LIMIT))
            for _ in range(50)
        ]
        assert ours.get("/network/self") == ours.peer_id
        assert len(ours.server.admin.http) <= 8
        assert silent[0].recv(1) == b""
        # Those that have begun to say something do not, until their time is over.
        busy = []

        def waiting():
            lines = [*ours.server.admin.http._lines]
            return sum(bool(line._h11.trailing_data[0]) for line in lines)

        until = time.monotonic() + LIMIT
        for number in range(1, 9):
            sock = socket.create_connection(("127.0.0.1", ours.port), LIMIT)
            busy.append(stack.enter_context(sock))
            sock.sendall(b"GET /network/self HTTP/1.1\r\n")
            while waiting() < number:
                assert time.monotonic() < until
        status, headers, body = ours.call("GET", "/network/self")
        assert (status, body) == (503, b"too many connections")
        assert headers["connection"] == "close"
        for sock in busy:
            sock.sendall(f"host: 127.0.0.1:{ours.port}\r\n\r\n".encode())
            assert sock.recv(100).startswith(b"HTTP/1.1 200 OK")
        # Far too many are not even answered.
        for sock in busy:
            sock.sendall(b"GET /network/self HTTP/1.1\r\n")
        flood = [
            stack.enter_context(socket.create_connection(("127.0.0.1", ours.port), LIMIT))
            for _ in range(40)
        ]
        for sock in flood:
            with contextlib.suppress(OSError):
                sock.sendall(b"GET /network/self HTTP/1.1\r\n")
        assert len(ours.server.admin.http) <= 2 * 8


@pytest.mark.parametrize("driver", DRIVERS)
def test_streams_are_counted(monkeypatch, driver):
    monkeypatch.setattr(watch, "STREAMS_MAX", 5)
    with hosted(driver, 64) as ours, contextlib.ExitStack() as stack:
        streams = []
        for _ in range(5):
            streams.append(Stream(ours.port, "/network/log"))
            stack.callback(streams[-1].close)
        for path in ("/network/log", "/network/log", "/network/log"):
            status, headers, body = ours.call("GET", path)
            assert status == 503
            one_line(headers, body)
        assert ours.get("/network/self") == ours.peer_id
        streams[0].close()
        until = time.monotonic() + LIMIT
        while True:
            more = Stream(ours.port, "/network/log")
            stack.callback(more.close)
            if more.head[0] == "HTTP/1.1 200 OK":
                break
            assert time.monotonic() < until


@pytest.mark.parametrize("driver", DRIVERS)
def test_who_reads_too_slowly_loses_the_stream_and_nothing_grows(driver):
    with hosted(driver, 65) as ours:
        slow = ours.stream("/network/log")
        slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)

        def burst(core, _):
            core.pool.events.extend(GcPoints() for _ in range(1000))

        quick = ours.stream("/network/log")
        ours.ask(burst)
        for _ in range(1000):
            assert quick.next() == {"event": "gc_points"}
        quick.close()
        # The slow one's socket takes some; what waits is bounded, and then it ends.
        until = time.monotonic() + 3 * LIMIT
        while ours.node._observers:
            ours.ask(burst)
            time.sleep(0.01)  # the interface needs the interpreter too
            assert time.monotonic() < until
        count = 0
        with contextlib.suppress(ConnectionError, ValueError):
            while slow.chunk() is not None:
                count += 1
        assert count >= 1000


def test_bursts_end_streams_but_never_the_node():
    with hosted("asyncio", 66) as ours:
        log = ours.stream("/network/log")

        def flood(core, _):
            for _ in range(5):
                core.pool.events.extend(GcPoints() for _ in range(1000))
                ours.node._tell_events()

        ours.ask(flood)
        count = 0
        while log.chunk() is not None:
            count += 1
        assert count <= watch.WAITING_MAX + 1
        assert ours.get("/network/self") == ours.peer_id


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{port}", 200),
        ("localhost:{port}", 200),
        ("LOCALHOST:{port}", 200),
        ("[::1]:{port}", 200),
        ("10.1.2.3:{port}", 200),
        ("evil.example:{port}", 403),
        ("localhost", 403),
        ("127.0.0.1:1", 403),
        ("127.0.0.1.evil.example:{port}", 403),
        ("_:{port}", 403),
        (":{port}", 403),
        ("a b", 403),
        ("", 403),
    ],
)
def test_hosts_that_are_not_ours(modern, host, status):
    got, headers, body = modern.call(
        "GET", "/network/self", host=host.format(port=modern.port)
    )
    assert got == status
    if status == 403:
        assert (body, headers["content-length"]) == (b"", "0")
        assert headers["x-tezos-p2p-cors-error"] == "invalid host"


@pytest.mark.parametrize(
    "name", ["origin", "referer", "sec_fetch_site", "Sec_Fetch_Mode"]
)
def test_pages_in_browsers_change_nothing(modern, name):
    for method, path in (
        ("DELETE", "/network/greylist"),
        ("PUT", "/network/points/127.0.0.1:9"),
        ("PATCH", "/network/points/127.0.0.1:9"),
        ("PATCH", f"/network/peers/{SOMEBODY}"),
        ("DELETE", f"/network/connections/{SOMEBODY}"),
    ):
        status, headers, _ = modern.call(method, path, b"{}", **{name: "null"})
        assert status == 403, path
        assert headers["x-tezos-p2p-cors-error"] == "cross-site request"
    # Nobody else can read what they may ask.
    assert modern.call("GET", "/network/self", **{name: "null"})[0] == 200


def test_pages_in_browsers_ask_nothing_in_the_form_of_2019():
    with hosted("asyncio", 67, G2019) as ours:
        for route in ROUTES:
            if G2019 in route.of and not route.streams:
                path = "/" + "/".join(PLACES.get(each, each) for each in route.path)
                status, headers, _ = ours.call(route.method, path, b"{}", origin="null")
                assert status == 403, path
                assert headers["x-ocaml-resto-cors-error"] == "cross-site request"
        for path in ("/describe", "/describe/network/self?recurse=no"):
            assert ours.call("GET", path)[0] == 200
            assert ours.call("GET", path, origin="http://evil")[0] == 403


@pytest.mark.parametrize("generation", [G2019, G2026])
def test_an_access_list_is_kept_to_by_descriptions_too(generation):
    acl = [{"address": "127.0.0.1", "whitelist": ["GET /network/**"]}]
    with hosted("asyncio", 75, generation, policies=read_acl(acl)) as ours:
        assert ours.call("GET", "/network/self")[0] == 200
        for path in ("/describe", "/describe/network/self?recurse=no"):
            status, headers, body = ours.call("GET", path)
            assert (status, body) == (401, b"")
            assert headers["content-type"] == "application/json"


def test_an_access_list_is_kept_to():
    acl = [
        {"address": "127.0.0.1:1", "whitelist": []},
        {"address": "127.0.0.1", "whitelist": ["GET /network/*", "/network/peers/**"]},
    ]
    with hosted("asyncio", 68, policies=read_acl(acl)) as ours:
        assert ours.call("GET", "/network/self")[0] == 200
        assert ours.call("GET", "/network/peers")[0] == 200
        assert ours.call("PATCH", f"/network/peers/{SOMEBODY}", {})[0] == 404
        status, headers, body = ours.call("DELETE", "/network/greylist")
        assert (status, body, headers["content-type"]) == (401, b"", "application/json")
        assert ours.call("GET", "/network/points/127.0.0.1:9")[0] == 401
        # Routes, forms and queries are looked at before.
        assert ours.call("GET", "/network/points?filter=x")[0] == 400
        assert ours.call("POST", "/network/greylist")[0] == 405


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_crowd_of_clients_is_answered(driver):
    """Many at once, with a node beside them that goes on."""
    with hosted(driver, 69) as ours, neighbour(70) as theirs:
        ours.get(f"/network/points/{theirs.point}", "PUT", {})
        failed = []

        def ask():
            for path in ("full_stat", "peers", "points", "stat"):
                try:
                    assert ours.get(f"/network/{path}")
                except Exception as exc:
                    failed.append(exc)

        threads = [threading.Thread(target=ask) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(LIMIT)
        assert not failed
        assert json.loads(ours.call("GET", "/health")[2])["connections"] == 1


def test_every_route_is_found_in_its_generation_only():
    for generation in (G2019, G2026):
        router = Router(generation)
        for route in ROUTES:
            path = [PLACES.get(each, each) for each in route.path]
            found = router.find(path).route(route.method)
            assert (found is route) == (generation in route.of), route
