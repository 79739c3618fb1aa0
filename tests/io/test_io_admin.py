"""The admin interface of two real nodes: what is asked for happens, and is seen to."""

from __future__ import annotations

import http.client
import json
import socket
import time

import pytest
from admin_suite import DRIVERS, LIMIT, Stream, hosted, neighbour
from node_suite import identity_of

from tezos_p2p.io.admin.openapi import schema
from tezos_p2p.io.admin.routes import G2026, ROUTES
from tezos_p2p.io.rpc import RPC
from tezos_p2p.spec import rpc
from tezos_p2p.spec.point import Point
from tezos_p2p.spec.pool_events import PointEvent, PoolEvent
from tezos_p2p.spec.rpc import Generation

FORM = RPC[Generation.G2026]
STRANGER = str(identity_of(900).peer_id)


def peer_of(node):
    return node.core.survey.peer_id


def pending(answer, condition, limit=LIMIT):
    """Ask until a condition holds; there is no event for all that is to be waited for."""
    until = time.monotonic() + limit
    while not condition(got := answer()):
        assert time.monotonic() < until, got
        time.sleep(0.01)
    return got


@pytest.mark.parametrize("driver", DRIVERS)
def test_connect_kick_ban_trust_clear_watched_through_the_log(driver):
    with hosted(driver, 20) as ours, neighbour(21) as theirs:
        peer, point = str(theirs.core.survey.peer_id), str(theirs.point)
        log = ours.stream("/network/log")
        assert log.head[0] == "HTTP/1.1 200 OK"

        assert ours.get(f"/network/points/{point}", "PUT", {}) == {}
        assert log.next() == {"event": "new_point", "point": point}
        assert log.next() == {"event": "outgoing_connection", "point": point}
        id_point = {"addr": "::ffff:127.0.0.1", "port": theirs.point.port}
        established = {"event": "connection_established", "id_point": id_point}
        assert log.until("connection_established") == established | {"peer_id": peer}
        (info,) = ours.get("/network/connections")
        assert FORM.shape(info, rpc.ConnectionInfo, "it").peer_id == peer_of(theirs)
        assert ours.get(f"/network/connections/{peer}") == info

        again, _, why = ours.call("PUT", f"/network/points/{point}", {})
        assert again == 500
        assert json.loads(why) == [{"kind": "permanent", "id": "node.p2p_pool.connected"}]

        assert ours.get(f"/network/connections/{peer}?wait", "DELETE") == {}
        assert log.until("disconnection") == {"event": "disconnection", "peer_id": peer}
        assert ours.call("GET", f"/network/connections/{peer}")[0] == 404
        assert ours.get("/network/connections") == []

        banned = ours.get(f"/network/peers/{peer}", "PATCH", {"acl": "ban"})
        assert banned["trusted"] is False
        assert ours.get(f"/network/peers/{peer}/banned") is True
        status, _, why = ours.call("PUT", f"/network/points/{point}", {})
        assert status == 500
        assert json.loads(why) == [
            {"kind": "permanent", "id": "node.p2p_pool.peer_banned", "peer": peer}
        ]
        log.until("authentication_failed", point=point)

        trusted = ours.get(f"/network/peers/{peer}", "PATCH", {"acl": "trust"})
        assert trusted["trusted"] is True
        assert ours.get(f"/network/peers/{peer}/banned") is False
        assert ours.get(f"/network/points/{point}", "PUT", {}) == {}
        log.until("connection_established", peer_id=peer)

        # A ban of the address ends the connection, and bans who was there.
        port_0 = ours.get("/network/points/127.0.0.1:0", "PATCH", {"acl": "ban"})
        assert port_0 == {"trusted": False, "state": {"event_kind": "disconnected"}}
        log.until("disconnection", peer_id=peer)
        assert ours.get(f"/network/points/{point}/banned") is True
        assert ours.get(f"/network/peers/{peer}/banned") is True
        status, _, why = ours.call("PUT", f"/network/points/{point}", {})
        assert (status, json.loads(why)[0]["point"]) == (500, point)

        assert ours.get("/network/greylist", "DELETE") == {}
        assert ours.get(f"/network/points/{point}/banned") is False
        assert ours.get(f"/network/points/{point}", "PUT", {}) == {}
        log.until("connection_established", peer_id=peer)


@pytest.mark.parametrize("driver", DRIVERS)
def test_everything_has_the_shape_that_it_is_said_to_have(driver):
    with hosted(driver, 22) as ours, neighbour(23) as theirs:
        peer, point = str(peer_of(theirs)), str(theirs.point)
        ours.get(f"/network/points/{point}", "PUT", {})
        places = {"<peer_id>": peer, "<point>": point}
        met = 0
        for route in ROUTES:
            if route.method != "GET" or G2026 not in route.of or route.streams:
                continue
            path = "/".join(places.get(each, each) for each in route.path)
            answer = ours.get(f"/{path}")
            if not route.path[0].endswith(("health", ".json")):
                assert FORM.shape(answer, route.answer, path) is not None
                conforms(answer, schema(route.answer), path)
            met += 1
        assert met == 17
        full = FORM.shape(ours.get("/network/full_stat"), rpc.FullStat, "full_stat")
        assert [each.peer_id for each in full.outgoing_connections] == [peer_of(theirs)]
        assert full.incoming_connections == []
        assert [peer for peer, _ in full.peers] == [peer_of(theirs)]
        (known,) = [info for where, info in full.points if where == theirs.point]
        assert known.state.event_kind is rpc.PointStateKind.RUNNING
        assert full.stat.total_sent == full.peers[0][1].stat.total_sent > 100


def conforms(value, of, path):
    """Check a value against the words of JSON Schema that ours uses."""
    kinds = {
        "object": dict,
        "array": list,
        "string": str,
        "boolean": bool,
        "integer": int,
        "number": (int, float),
    }
    if isinstance(of.get("type"), str):
        assert isinstance(value, kinds[of["type"]]), (path, value, of)
    if "anyOf" in of:
        return
    for name in of.get("required", ()):
        assert name in value, (path, name)
    for name, inner in of.get("properties", {}).items():
        if isinstance(value, dict) and name in value:
            conforms(value[name], inner, f"{path}.{name}")
    for index, inner in enumerate(of.get("prefixItems", ())):
        conforms(value[index], inner, f"{path}[{index}]")
    if "items" in of:
        for each in value:
            conforms(each, of["items"], f"{path}[]")
    if "enum" in of:
        assert value in of["enum"], (path, value)


@pytest.mark.parametrize("driver", DRIVERS)
def test_histories_go_on_while_they_are_watched(driver):
    with hosted(driver, 24) as ours, neighbour(25) as theirs:
        peer, point = str(peer_of(theirs)), str(theirs.point)
        assert ours.get(f"/network/points/{point}/log?monitor") == []  # not known yet
        ours.get(f"/network/points/{point}", "PUT", {})
        at_point = ours.stream(f"/network/points/{point}/log?monitor=yes")
        at_peer = ours.stream(f"/network/peers/{peer}/log?monitor")
        kinds = [each[1]["event_kind"] for each in at_point.next()]
        assert kinds == [
            "outgoing_request",
            "accepting_request",
            "connection_established",
        ]
        assert [each["kind"] for each in at_peer.next()] == [
            "incoming_request",
            "connection_established",
        ]
        ours.get(f"/network/connections/{peer}", "DELETE")
        (gone,) = at_point.next()
        event = FORM.shape(gone, PointEvent, "it")
        assert event.kind.name == "DISCONNECTION"
        assert abs(event.at - time.time()) < 60
        (gone,) = at_peer.next()
        assert gone["kind"] == "external_disconnection"  # of a peer always
        plain = ours.get(f"/network/points/{point}/log?monitor=no")
        assert [each[1]["event_kind"] for each in plain] == [*kinds, "disconnection"]


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_stream_gives_back_what_it_took_when_its_client_goes(driver):
    with hosted(driver, 26) as ours, neighbour(27) as theirs:
        point = str(theirs.point)
        ours.get(f"/network/points/{point}", "PUT", {})
        for path in ("/network/log", f"/network/points/{point}/log?monitor"):
            Stream(ours.port, path).close()
        pending(lambda: ours.node._observers, lambda found: not found)


@pytest.mark.parametrize("driver", DRIVERS)
def test_streams_are_ended_in_order_when_the_interface_ends(driver):
    with hosted(driver, 28) as ours:
        log = Stream(ours.port, "/network/log")
    assert log.chunk() is None
    assert log.file.read() == b""
    log.close()


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_dial_that_takes_too_long_is_given_up(driver):
    with hosted(driver, 30) as ours, socket.create_server(("127.0.0.1", 0)) as silent:
        point = f"127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        status, _, answer = ours.call("PUT", f"/network/points/{point}?timeout=.2e0", {})
        assert status == 500
        assert json.loads(answer) == [{"kind": "temporary", "id": "utils.Timeout"}]
        assert time.monotonic() - began < 5.0
        pending(lambda: ours.ask(lambda core, _: len(core)), lambda links: links == 0)
        # Known it stays, and the next attempt may begin at once.
        assert ours.get(f"/network/points/{point}")["state"] == {
            "event_kind": "disconnected"
        }


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_client_that_goes_while_it_waits_leaves_nothing(driver):
    with hosted(driver, 31) as ours, socket.create_server(("127.0.0.1", 0)) as silent:
        point = f"127.0.0.1:{silent.getsockname()[1]}"
        sock = socket.create_connection(("127.0.0.1", ours.port), LIMIT)
        head = f"PUT /network/points/{point}?timeout=600 HTTP/1.1\r\n"
        rest = f"host: 127.0.0.1:{ours.port}\r\ncontent-length: 0\r\n\r\n"
        sock.sendall((head + rest).encode())
        pending(lambda: ours.ask(lambda core, _: len(core)), lambda links: links == 1)
        began = time.monotonic()
        sock.close()
        pending(lambda: ours.ask(lambda core, _: len(core)), lambda links: links == 0)
        # The client's end has done that, and not a deadline of the dial or a handshake.
        assert time.monotonic() - began < 3.0
        pending(lambda: ours.node._observers, lambda found: not found)


@pytest.mark.parametrize("driver", DRIVERS)
def test_who_is_expected_somewhere(driver):
    with hosted(driver, 32) as ours, neighbour(33) as theirs:
        peer, point = str(peer_of(theirs)), str(theirs.point)
        at = f"/network/points/{point}"
        # Of a point that is not known nothing is expected.
        assert ours.call("PATCH", at, {"peer_id": STRANGER})[0] == 404
        assert ours.call("PATCH", at, {})[0] == 404
        info = ours.get(at, "PATCH", {"acl": "trust", "peer_id": STRANGER})
        assert info["trusted"] is True
        assert "expected_peer_id" not in info
        info = ours.get(at, "PATCH", {"acl": "trust", "peer_id": STRANGER})
        assert info["trusted"] is True
        assert info["expected_peer_id"] == STRANGER
        status, _, why = ours.call("PUT", at, {})
        assert status == 500
        assert json.loads(why) == [
            {
                "kind": "permanent",
                "id": "node.p2p_connect_handler.identity_check_failure",
                "point": point,
                "expected_peer_id": STRANGER,
                "received_peer_id": peer,
            }
        ]
        info = ours.get(at, "PATCH", {"acl": "open", "peer_id": peer})
        assert (info["trusted"], info["expected_peer_id"]) == (False, peer)
        ours.get("/network/greylist", "DELETE")
        assert ours.get(at, "PUT", {}) == {}
        # Somebody else who is there goes, and is greylisted.
        log = ours.stream("/network/log")
        ours.get(at, "PATCH", {"peer_id": STRANGER})
        log.until("disconnection", peer_id=peer)
        assert ours.get("/network/greylist/ips") == {
            "ips": ["::ffff:127.0.0.1"],
            "not_reliable_since": None,
        }
        assert ours.get(f"{at}/banned") is True
        assert ours.get(f"{at}", "PATCH", {"acl": "trust"})["trusted"] is True
        assert ours.get(f"{at}/banned") is False


def test_greylists_are_shown():
    with hosted("asyncio", 34) as ours:
        known = identity_of(901).peer_id
        ours.ask(lambda core, now: core.acl.greylist_peer(known, now))
        assert ours.get("/network/greylist/peers") == [str(known)]
        assert ours.get("/network/greylist", "DELETE") == {}
        assert ours.get("/network/greylist/peers") == []


def test_unknown_peers_that_are_banned_stay_unknown_but_banned():
    with hosted("asyncio", 35) as ours:
        at = f"/network/peers/{STRANGER}"
        assert ours.call("PATCH", at, {"acl": "ban"})[0] == 404
        assert ours.get(f"{at}/banned") is True
        assert ours.get(at, "PATCH", {"acl": "trust"})["trusted"] is True
        assert ours.get(at, "PATCH", {})["trusted"] is True
        assert ours.get(at, "PATCH", {"acl": "open"})["trusted"] is False
        assert ours.get(f"{at}/log") == []


def test_filters_are_alternatives():
    with hosted("asyncio", 36) as ours, neighbour(37) as theirs:
        ours.get(f"/network/points/{theirs.point}", "PUT", {})
        ours.get("/network/points/10.0.0.1:9", "PATCH", {"acl": "trust"})
        names = {"running": str(theirs.point), "disconnected": "10.0.0.1:9"}

        def listed(query):
            return {point for point, _ in ours.get(f"/network/points{query}")}

        for state, point in names.items():
            assert listed(f"?filter={state}") == {point}
        assert listed("?filter=running&filter=disconnected&x=y") == set(names.values())
        assert listed("") == set(names.values())
        assert listed("?filter=requested") == set()
        assert ours.get("/network/peers?filter=accepted") == []
        assert len(ours.get("/network/peers?filter=running")) == 1


def test_documents_about_itself():
    with hosted("asyncio", 38) as ours:
        document = ours.get("/openapi.json")
        paths = {
            (method.upper(), path)
            for path, methods in document["paths"].items()
            for method in methods
        }
        told = {
            (each.method, "/" + "/".join(each.path).replace("<", "{").replace(">", "}"))
            for each in ROUTES
            if G2026 in each.of
        }
        assert paths == told | {("GET", "/describe")}
        assert ours.get("/health") == {
            "implementation": "tezos-p2p",
            "status": "up",
            "connections": 0,
        }
        found = ours.get("/version")
        assert found["commit_info"] is None
        assert found["network_version"]["chain_name"] == "TEZOS"


@pytest.mark.parametrize("generation", list(Generation))
def test_the_reference_s_clients_are_told_of_the_services(generation):
    with hosted("asyncio", 39, generation) as ours:
        tree = ours.get("/describe?recurse=yes")
        found: set[tuple[str, str]] = set()

        def walk(place):
            (inner,) = place.values()
            for name, value in inner.items():
                if name.endswith("_service"):
                    path = "/".join(
                        each if isinstance(each, str) else f"<{each['name']}>"
                        for each in value["path"]
                    )
                    found.add((value["meth"], path))
                    keys = {"meth", "path", "description", "query", "output", "error"}
                    assert keys <= value.keys()
                    assert value["output"].keys() == {"json_schema", "binary_schema"}
            below = inner.get("subdirs", {})
            for each in below.get("suffixes", ()):
                walk(each["tree"])
            if "dynamic_dispatch" in below:
                walk(below["dynamic_dispatch"]["tree"])

        walk(tree)
        assert found == {
            (each.method, "/".join(each.path)) for each in ROUTES if generation in each.of
        }
        one = ours.get("/describe/network/self?recurse=no")
        assert one["static"]["get_service"]["path"] == ["network", "self"]
        peer = ours.get(f"/describe/network/peers/{STRANGER}?recurse=no")
        assert "get_service" in peer["static"]
        for path in ("/describe/nope", "/describe/network/peers/idx", "/describe/a/b"):
            status, headers, body = ours.call("GET", f"{path}?recurse=no")
            assert (status, headers["content-length"], body) == (404, "0", b"")
            assert headers["content-type"] == "application/json"
        below = ours.get("/describe/network?recurse=no")
        assert below == {"static": {}}
        assert ours.call("PUT", "/describe/network/self")[0] == 405
        assert ours.call("GET", "/describe?recurse=yes&recurse=yes")[0] == 400


def test_requests_may_come_one_behind_the_other():
    with hosted("asyncio", 40) as ours:
        head = f"GET /network/self HTTP/1.1\r\nhost: 127.0.0.1:{ours.port}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", ours.port), LIMIT) as sock:
            sock.sendall(head.encode() * 3)
            with sock.makefile("rb") as file:
                for _ in range(3):
                    while file.readline().strip():
                        continue
                    assert file.readline() == f'"{ours.peer_id}"\n'.encode()


def test_old_clients_get_an_answer_and_an_end():
    with hosted("asyncio", 41) as ours:
        with socket.create_connection(("127.0.0.1", ours.port), LIMIT) as sock:
            head = f"GET /network/self HTTP/1.0\r\nhost: 127.0.0.1:{ours.port}\r\n\r\n"
            sock.sendall(head.encode())
            data = b""
            while part := sock.recv(65536):
                data += part
        assert data.endswith(f'\r\n\r\n"{ours.peer_id}"\n'.encode())


def test_bytes_where_they_are_wanted():
    with hosted("asyncio", 42) as ours:
        wanted = "application/octet-stream"
        status, headers, body = ours.call("GET", "/network/self", accept=wanted)
        assert (status, headers["content-type"]) == (200, wanted)
        assert body == bytes.fromhex("00000010") + bytes(ours.node.core.survey.peer_id)
        both = f"application/json;q=1,application/bson;q=0.100,{wanted};q=0.200"
        status, headers, _ = ours.call("GET", "/network/self", accept=both)
        assert (status, headers["content-type"]) == (200, "application/json")
        assert ours.call("GET", "/network/peers", accept=wanted)[0] == 406
        ours.get(f"/network/peers/{STRANGER}", "PATCH", {"acl": "trust"})
        # How 2026 writes it is not known.
        assert ours.call("GET", f"/network/peers/{STRANGER}", accept=wanted)[0] == 406


def test_events_are_what_clients_read():
    with hosted("asyncio", 43) as ours:
        log = ours.stream("/network/log")
        ours.get("/network/points/10.0.0.1:9", "PATCH", {"acl": "trust"})
        event = FORM.shape(log.next(), PoolEvent, "it")
        assert event.point == Point.parse("10.0.0.1:9")


def test_a_connection_is_kept_by_those_who_want_it():
    with hosted("asyncio", 44) as ours:
        line = http.client.HTTPConnection("127.0.0.1", ours.port, timeout=LIMIT)
        for _ in range(3):
            line.request("GET", "/network/self")
            assert json.loads(line.getresponse().read()) == ours.peer_id
        sock = line.sock
        line.request("GET", "/nope")
        assert line.getresponse().read() == b""
        assert line.sock is sock
        line.close()
