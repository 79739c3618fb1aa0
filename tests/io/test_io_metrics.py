"""The metrics: their text, value by value; the listener, and what strangers do to it."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import select
import socket
import sys
import threading
import time
import urllib.request
from pathlib import Path

import attrs
import pytest
from io_cli_runner import golden
from prometheus_client.parser import text_string_to_metric_families

sys.path.insert(0, str(Path(__file__).parents[1] / "sim"))

from nodes import identity, node, pair, point
from scenes import IDLE, Bad, dial, idle_nodes, put
from test_io_daemon import LIMIT, Running

from tezos_p2p.io import metrics_server
from tezos_p2p.io.cli.start import main
from tezos_p2p.io.metrics import CONTENT_TYPE, REFERENCE, Exposition, read
from tezos_p2p.io.metrics_addr import (
    addresses_of,
    listen_for_metrics,
    parse_metrics_addr,
)
from tezos_p2p.io.metrics_server import MetricsServer, serving_in_thread
from tezos_p2p.spec.address import PointError
from tezos_p2p.spec.message import Advertise, Bootstrap, SwapAck, SwapRequest
from tezos_p2p.spec.point import Endpoint

#: What dashboards for the reference ask for.
DASHBOARD = (
    "connections_active",
    "connections_incoming",
    "connections_outgoing",
    "connections_private",
    "peers_accepted",
    "peers_running",
    "peers_disconnected",
    "points_trusted",
    "points_greylisted",
    "points_accepted",
    "points_running",
    "points_disconnected",
    "io_scheduler_total_sent",
    "io_scheduler_total_recv",
    "io_scheduler_current_inflow",
    "io_scheduler_current_outflow",
    "messages_broadcast_message_sent",
    "messages_user_message_sent",
    "messages_user_message_received",
    "messages_user_message_received_error",
    "messages_advertise_sent",
    "messages_advertise_received",
    "messages_bootstrap_sent",
    "messages_bootstrap_received",
    "messages_swap_requests_sent",
    "messages_swap_requests_received",
    "messages_swap_ack_sent",
    "messages_swap_ack_received",
    "swap_ignored",
    "swap_success",
    "swap_fail",
)


def families(text):
    """Return values by name and labels, as a reader of Prometheus' own finds them."""
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def exposition(host, sim, **options):
    return Exposition(lambda: read(host.node, sim.now), IDLE, **options)


def text_of(host, sim):
    return exposition(host, sim, process=False).text().decode()


def values_of(host, sim):
    return read(host.node, sim.now).reference


# -- the text --------------------------------------------------------------------------


def scripted():
    """Return a node to which all kinds of things have happened."""
    sim = Bad(1, latency=(0.02, 0.02))
    own = attrs.evolve(IDLE, max_connections=12)
    hub = sim.add(point(0), node(0, 8, limits=own, trusted=(9,)))
    idle_nodes(sim, range(1, 4))
    sim.add(point(4), node(4, limits=IDLE, private_mode=True, trusted=(0,)))
    idle_nodes(sim, range(5, 6))
    for number in (1, 2, 4):
        dial(sim, sim.hosts[number], 0)
    dial(sim, hub, 3)
    dial(sim, hub, 7)  # nobody is there
    sim.run(1.0)
    sim.do(hub, lambda it: it.send(identity(1).peer_id, b"x" * 1000, sim.now))
    sim.do(hub, lambda it: it.broadcast(b"to all", sim.now))
    sim.do(sim.hosts[2], lambda it: it.broadcast(b"back", sim.now))
    for message in (Bootstrap(), Bootstrap(), Bootstrap(), Advertise((point(30),))):
        put(sim, sim.hosts[1], 0, message)
    put(sim, sim.hosts[2], 0, SwapRequest(point(40), identity(40).peer_id))
    put(sim, sim.hosts[3], 0, SwapAck(point(41), identity(41).peer_id))
    sim.run(1.0)
    put(sim, sim.hosts[1], 0, SwapRequest(point(1), identity(1).peer_id))
    sim.run(1.0)
    sim.do(hub, lambda it: it.disconnect(identity(3).peer_id, sim.now))
    sim.holes.add(point(5))
    dial(sim, hub, 5)  # on its way
    sim.run(0.5)
    return sim, hub


def test_the_text_is_this_text():
    sim, hub = scripted()
    assert text_of(hub, sim) == golden("metrics.txt")


def test_each_value_is_what_the_scene_says():
    sim, hub = scripted()
    found = values_of(hub, sim)
    stat = hub.node.survey.stat(sim.now)
    expected = dict.fromkeys((f"octez_p2p_{name}" for name in DASHBOARD), 0)
    expected |= {
        f"octez_p2p_{name}": value
        for name, value in {
            "connections_active": 3,
            "connections_incoming": 3,
            "connections_private": 1,
            "peers_running": 3,
            "peers_disconnected": 1,
            "points_trusted": 1,
            # The one that we left, nobody's, that of the swap.
            "points_greylisted": 3,
            "points_running": 3,
            # Those three, the first that we knew, the trusted one, the one we were told.
            "points_disconnected": 6,
            "io_scheduler_total_sent": stat.total_sent,
            "io_scheduler_total_recv": stat.total_recv,
            "io_scheduler_current_inflow": stat.current_inflow,
            "io_scheduler_current_outflow": stat.current_outflow,
            "messages_user_message_sent": 1,
            "messages_broadcast_message_sent": 4,
            "messages_user_message_received": 1,
            "messages_bootstrap_received": 3,
            "messages_advertise_received": 1,
            "messages_advertise_sent": 2,
            "messages_swap_requests_received": 2,
            "messages_swap_ack_received": 1,
            "messages_swap_ack_sent": 1,
            "swap_ignored": 1,
            "swap_fail": 1,
        }.items()
    }
    assert found == expected


def test_all_names_of_the_reference_are_there_and_no_others():
    assert len(DASHBOARD) == len(set(DASHBOARD)) == 31
    names = [name for name, _, _ in REFERENCE]
    assert names == sorted(f"octez_p2p_{name}" for name in DASHBOARD)
    counters = [name for name, kind, _ in REFERENCE if kind == "counter"]
    assert all(
        name.startswith(("octez_p2p_messages_", "octez_p2p_swap_")) for name in counters
    )
    assert len(counters) == 15


def test_help_is_the_references():
    texts = {name.removeprefix("octez_p2p_"): text for name, _, text in REFERENCE}
    assert texts["peers_accepted"] == "Number of accepted connections"
    assert texts["points_greylisted"] == "Number of greylisted points"
    assert texts["io_scheduler_total_sent"] == "Total amount of sent data (in bytes)"
    assert texts["io_scheduler_current_inflow"] == "Current ingoing data rate"
    wrong = "Number of user message received that resulted in error"
    assert texts["messages_user_message_received_error"] == wrong
    assert texts["messages_swap_requests_sent"] == "Number of swap sent"
    assert texts["messages_swap_ack_received"] == "Number of swap acks received"
    assert texts["swap_success"] == "Number of successful swap"


def test_who_reads_prometheus_reads_this():
    sim, hub = scripted()
    text = exposition(hub, sim).text().decode()
    found = families(text)
    for name, kind, _ in REFERENCE:
        # The reader adds to counters what it expects them to end in.
        read_as = name + "_total" if kind == "counter" else name
        assert found[read_as,] == values_of(hub, sim)[name]
        assert f"\n{name} " in "\n" + text
    assert found["tezos_p2p_throttled_messages_total",] == 1
    assert found["tezos_p2p_links", ("state", "running")] == 3
    assert found["tezos_p2p_links", ("state", "dialling")] == 1
    refused = "tezos_p2p_refused_connections_total"
    assert found[refused, ("reason", "user")] == 1
    assert found["process_open_fds",] > 0
    assert found["process_cpu_seconds_total",] > 0
    assert ("python_gc_collections_total", ("generation", "0")) in found


def test_families_are_sorted_and_there_once_and_no_line_is_blank():
    sim, hub = scripted()
    lines = exposition(hub, sim).text().decode().splitlines()
    names = [line.split()[2] for line in lines if line.startswith("# HELP ")]
    assert names == sorted(set(names))
    assert [line.split()[2] for line in lines if line.startswith("# TYPE ")] == names
    assert all(lines)


def test_steps_of_handshakes_are_a_histogram():
    met = pair()
    found = families(text_of(met.one, met.sim))
    name, dials = "tezos_p2p_handshake_seconds", ("phase", "dial")
    took = found[f"{name}_sum", dials]
    assert found[f"{name}_count", dials] == 1
    for bound in (0.001, 0.1, 10.0):
        expected = took <= bound
        assert found[f"{name}_bucket", ("le", str(bound)), dials] == expected
    assert found[f"{name}_bucket", ("le", "+Inf"), dials] == 1
    assert families(text_of(met.other, met.sim))[f"{name}_count", dials] == 0


def test_the_fullest_queue_is_told_as_a_part_of_its_limit():
    limits = attrs.evolve(IDLE, outgoing_message_queue_size=1000)
    met = pair(limits=limits)
    met.one.node.send(identity(1).peer_id, b"x" * 494, met.sim.now)
    name = "tezos_p2p_queue_fill_ratio"
    made = Exposition(lambda: read(met.one.node, met.sim.now), limits, process=False)
    assert families(made.text().decode())[name, ("queue", "outgoing")] == 0.5
    free = attrs.evolve(limits, outgoing_message_queue_size=None)
    made = Exposition(lambda: read(met.one.node, met.sim.now), free, process=False)
    assert families(made.text().decode())[name, ("queue", "outgoing")] == 0


# -- addresses -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("", "localhost", 9932),
        (":1234", "localhost", 1234),
        ("127.0.0.1", "127.0.0.1", 9932),
        ("127.0.0.1:1", "127.0.0.1", 1),
        ("[::1]", "::1", 9932),
        ("[::1]:80", "::1", 80),
        ("node.example:0", "node.example", 0),
        ("_:80", "::", 80),
    ],
)
def test_what_an_address_leaves_out_is_this_machine_and_9932(text, host, port):
    assert parse_metrics_addr(text) == Endpoint(host, port)


@pytest.mark.parametrize(
    "text", [":65536", "a b", "::1", "x" * 64, ":80#" + str(identity(1).peer_id)]
)
def test_what_is_no_address_is_refused(text):
    with pytest.raises(PointError):
        parse_metrics_addr(text)


def listening(*texts):
    return listen_for_metrics(map(parse_metrics_addr, texts))


def test_all_addresses_are_listened_on():
    with contextlib.ExitStack() as stack:
        doors = [stack.enter_context(each) for each in listening("127.0.0.1:0", ":0")]
        assert len(doors) >= 2
        assert addresses_of(doors).count(", ") == len(doors) - 1
        for door in doors:
            socket.create_connection(door.getsockname()[:2]).close()


def test_an_address_of_a_name_that_this_system_lacks_is_left_out(monkeypatch):
    found = [(0, 0, 0, "", (host, 0)) for host in ("192.0.2.1", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    (door,) = listening("twofold:0")
    with door:
        assert addresses_of([door]).startswith("127.0.0.1:")
    del found[1]
    with pytest.raises(OSError, match=r"cannot listen on 192\.0\.2\.1") as caught:
        listening("twofold:0")
    assert caught.value.errno == errno.EADDRNOTAVAIL


def test_a_failure_leaves_no_socket_behind():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"metrics: cannot listen on 127.0.0.1:{port}"):
            listening("127.0.0.2:0", f"127.0.0.1:{port}")  # warnings are errors


@pytest.mark.parametrize(
    ("address", "code", "said"),
    [
        (":99999", 2, "port 99999 is not in 0..65535"),
        ("nowhere.invalid:0", 1, "metrics: nowhere.invalid has no address"),
        ("TAKEN", 1, "metrics: cannot listen on 127.0.0.1:"),
    ],
)
def test_bad_addresses_are_one_readable_line(tmp_path, capsys, address, code, said):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = address.replace("TAKEN", f"127.0.0.1:{taken.getsockname()[1]}")
        options = ("--net-addr", "none", "--metrics-addr", address)
        assert main(["run", "--data-dir", str(tmp_path), *options]) == code
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("tezos-p2p: ")
    assert said in error


# -- the listener ----------------------------------------------------------------------


class Fake:
    """An exposition that counts how often it is asked."""

    def __init__(self, fails=False, more=b""):
        self.asked = 0
        self.told = more
        self.fails = fails
        self.lag = self
        self.lags = []
        self.more = threading.Event()

    def text(self):
        if self.fails:
            raise RuntimeError("broken")
        self.asked += 1
        return self.told + f"asked {self.asked}\n".encode()

    def add(self, seconds):
        self.lags.append(seconds)
        self.more.set()


@contextlib.contextmanager
def served(fake=None, **options):
    """Serve in a thread; return where."""
    (door,) = listening("127.0.0.1:0")
    where = door.getsockname()[:2]
    server = MetricsServer(fake or Fake(), **options)
    with serving_in_thread(server, [door]):
        yield where[0], where[1], server


def say(where, data, *, ends=False):
    """Send bytes, return all that comes back until the other side ends it."""
    with socket.create_connection(where[:2], timeout=LIMIT) as sock:
        with contextlib.suppress(OSError):
            sock.sendall(data)
            if ends:
                sock.shutdown(socket.SHUT_WR)
        heard = b""
        with contextlib.suppress(ConnectionError):
            while more := sock.recv(65_536):
                heard += more
        return heard


def get(path="/metrics", method="GET", head=""):
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\n{head}\r\n".encode()


def test_metrics_are_given_with_their_type_and_the_connection_ends():
    with served() as where:
        head, _, body = say(where, get()).partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert lines[0] == "HTTP/1.1 200 OK"
    assert f"Content-Type: {CONTENT_TYPE}" in lines
    assert "Connection: close" in lines
    assert body == b"asked 1\n"


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("/", "GET"),
        ("/metrics/", "GET"),
        ("/metric", "GET"),
        ("//metrics", "GET"),
        ("/metrics", "POST"),
        ("/metrics", "PUT"),
        ("/metrics", "DELETE"),
        ("/metrics", "OPTIONS"),
        ("/metrics", "BREW"),
        ("*", "OPTIONS"),
    ],
)
def test_anything_else_is_a_bad_request(path, method):
    fake = Fake()
    with served(fake) as where:
        heard = say(where, get(path, method))
    assert heard[:8] in (b"HTTP/1.1", b"HTTP/1.0")
    assert heard[8:].startswith(b" 400 Bad Request\r\n")
    assert b"aiohttp" not in heard
    assert heard.endswith(b"\r\n\r\nBad request")
    assert fake.asked == 0


def test_head_is_a_bad_request_without_a_body():
    with served() as where:
        heard = say(where, get(method="HEAD"))
    assert heard.startswith(b"HTTP/1.1 400 ")
    assert heard.endswith(b"\r\n\r\n")


def test_a_query_is_no_other_path():
    with served() as where:
        assert b"\r\n\r\nasked 1\n" in say(where, get("/metrics?name[]=x"))


@pytest.mark.parametrize(
    "data",
    [
        b"\0" * 100,
        b"GET /metrics\r\n\r\n",
        b"GET /metrics HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 200,
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n broken\r\n\r\n",
        b"GET /m" + b"x" * 9000 + b" HTTP/1.1\r\n\r\n",
        get("/metrics", "POST", "Content-Length: 5\r\n") + b"hello",
        get("/metrics", "POST", "Transfer-Encoding: chunked\r\n") + b"zz\r\n",
        get()[:-4],
        b"",
    ],
)
def test_what_is_no_request_ends_without_a_trace(data, capfd):
    with served() as where:
        heard = say(where, data, ends=True)
        assert not heard or heard.startswith(b"HTTP/")
        assert not heard.startswith(b"HTTP/1.1 500")
        assert b"asked" in say(where, get())
    assert capfd.readouterr().err == ""


def test_who_sends_too_much_is_cut_off():
    head = "".join(f"X-{n}: {'x' * 500}\r\n" for n in range(100))
    fake = Fake()
    with served(fake) as where:
        heard = say(where, get(head=head))
        body = say(
            where, get("/x", "POST", f"Content-Length: {1 << 24}\r\n") + b"x" * (1 << 22)
        )
        assert fake.asked == 0
        assert b"200 OK" not in heard + body
        assert b"asked 1" in say(where, get())


def test_who_is_slow_is_cut_off(monkeypatch):
    monkeypatch.setattr(metrics_server, "SECONDS_MAX", 0.2)
    with served() as where:
        assert say(where, b"GET /metrics HTTP/1.1\r\n") == b""
        with socket.create_connection(where[:2], timeout=LIMIT) as sock:
            began = time.monotonic()
            # A byte now and then does not help.
            while not select.select([sock], [], [], 0.02)[0]:
                sock.sendall(b"G")
            assert time.monotonic() - began < LIMIT / 2
        assert b"asked" in say(where, get())


def test_so_many_are_served_at_once_and_no_more(monkeypatch):
    monkeypatch.setattr(metrics_server, "CONNECTIONS_MAX", 3)
    with served() as where, contextlib.ExitStack() as stack:
        held = [
            stack.enter_context(socket.create_connection(where[:2], timeout=LIMIT))
            for _ in range(3)
        ]
        for sock in held[:2]:
            sock.sendall(b"GET ")
        # Who has not asked, be it begun, makes room for whoever comes: the oldest.
        assert b"asked" in say(where, get())
        with contextlib.suppress(ConnectionError):
            assert held[0].recv(65_536) == b""
        held[1].sendall(b"/metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        while piece := held[1].recv(65_536):
            answer += piece
        assert b"asked" in answer
        assert b"asked" in say(where, get())


def test_the_silent_shut_nobody_out():
    with served() as where, contextlib.ExitStack() as stack:
        for _ in range(2 * metrics_server.CONNECTIONS_MAX):
            stack.enter_context(socket.create_connection(where[:2], timeout=LIMIT))
        began = time.monotonic()
        for _ in range(3):
            assert b"asked" in say(where, get())
        assert time.monotonic() - began < metrics_server.SECONDS_MAX / 2


def test_who_has_asked_makes_room_for_nobody(monkeypatch):
    monkeypatch.setattr(metrics_server, "CONNECTIONS_MAX", 2)
    with served(Fake(more=b"x" * 50_000_000)) as where, contextlib.ExitStack() as stack:
        for _ in range(2):
            sock = stack.enter_context(socket.socket())
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.settimeout(LIMIT)
            sock.connect(where[:2])
            sock.sendall(get())
            assert sock.recv(1) == b"H"
        assert say(where, get()) == b""


def test_who_asks_at_once_again_gets_the_same(monkeypatch):
    monkeypatch.setattr(metrics_server, "FRESH", 3600.0)
    fake = Fake()
    with served(fake) as where:
        assert [say(where, get())[-8:] for _ in range(3)] == [b"asked 1\n"] * 3
    monkeypatch.setattr(metrics_server, "FRESH", 0.0)
    with served(fake) as where:
        assert [say(where, get())[-8:] for _ in range(2)] == [b"asked 2\n", b"asked 3\n"]


def test_a_fault_of_ours_is_reported_and_ends_nothing(monkeypatch):
    told = []
    monkeypatch.setattr(sys, "excepthook", lambda *args: told.append(args))
    fake = Fake(fails=True)
    with served(fake) as where:
        assert say(where, get()).startswith(b"HTTP/1.1 500 ")
        fake.fails = False
        assert b"asked 1" in say(where, get())
    assert [kind for kind, _, _ in told] == [RuntimeError]


@pytest.mark.parametrize("measure", [None, lambda: 0.25])
def test_the_lag_is_measured_while_metrics_are_served(monkeypatch, measure):
    monkeypatch.setattr(metrics_server, "LAG_EVERY", 0.02)
    fake = Fake()
    with served(fake, measure=measure):
        assert fake.more.wait(LIMIT)
    assert all(lag >= 0 for lag in fake.lags)
    if measure is not None:
        assert set(fake.lags) == {0.25}


def test_a_loop_that_is_kept_busy_is_late(monkeypatch):
    monkeypatch.setattr(metrics_server, "LAG_EVERY", 0.01)
    fake = Fake()

    async def keep_busy():
        (door,) = listening("127.0.0.1:0")
        async with MetricsServer(fake).serving([door]):
            await asyncio.sleep(0)
            threading.Event().wait(0.15)  # no other task of this loop may run
            await asyncio.sleep(0.02)

    asyncio.run(keep_busy())
    assert max(fake.lags) > 0.1


# -- nodes -----------------------------------------------------------------------------


def scrape(log_line):
    (point_, *_) = log_line["listening"].split(", ")
    with urllib.request.urlopen(f"http://{point_}/metrics", timeout=LIMIT) as answer:
        assert answer.headers["Content-Type"] == CONTENT_TYPE
        return families(answer.read().decode())


def test_nodes_of_both_drivers_show_their_connections(tmp_path):
    with contextlib.ExitStack() as stack:

        def start(name, *arguments, **options):
            made = Running(
                tmp_path / name, "--metrics-addr", "127.0.0.1:0", *arguments, **options
            )
            stack.callback(lambda: (made.process.kill(), made.wait()))
            return made

        one = start("one", "--metrics-addr", ":0", driver="asyncio")
        two = start("two", "--peer", one.where, driver="blocking")
        assert one.until("metrics")["listening"].count(", ") >= 1
        two.until("new_connection")
        one.until("new_connection")
        ours, theirs = scrape(one.until("metrics")), scrape(two.until("metrics"))
        for found in (ours, theirs):
            assert found["octez_p2p_connections_active",] == 1
            assert found["octez_p2p_io_scheduler_total_sent",] > 100
            assert found["octez_p2p_io_scheduler_total_recv",] > 100
            steps = "tezos_p2p_handshake_seconds_count"
            assert found[steps, ("phase", "answer")] == 1
        assert ours["octez_p2p_connections_incoming",] == 1
        assert theirs["octez_p2p_connections_outgoing",] == 1
        assert theirs["octez_p2p_points_trusted",] == 1
        assert theirs[steps, ("phase", "dial")] >= 1
        assert two.stop() == 0
        one.until("disconnected")
        again = scrape(one.until("metrics"))
        assert again["octez_p2p_connections_active",] == 0
        assert again["octez_p2p_peers_disconnected",] == 1
        assert one.stop() == 0
        assert "Traceback" not in json.dumps(one.lines + two.lines)
