"""Who may ask what: access lists, hosts, places to listen."""

from __future__ import annotations

import os
import re
import socket
import stat

import pytest

from tezos_p2p.io.admin.guard import AclError, Guard, Matcher, comes_from_a_page, read_acl
from tezos_p2p.io.admin.server import open_doors, unmatched
from tezos_p2p.spec.address import PointError
from tezos_p2p.spec.point import Point

LOOPBACK, ABROAD = Point.parse("127.0.0.1:8732"), Point.parse("10.0.0.1:8732")
STAT = ("GET", ("network", "stat"))
BAN = ("PATCH", ("network", "points", "1.2.3.4:0"))


@pytest.mark.parametrize("where", ["127.0.0.1:8732", "127.8.8.8:1", "[::1]:8732"])
def test_on_loopback_everything_is_allowed(where):
    guard = Guard.of_point(Point.parse(where))
    assert guard.permits(*STAT)
    assert guard.permits(*BAN)


@pytest.mark.parametrize("where", ["10.0.0.1:8732", "0.0.0.0:8732", "[2001:db8::1]:1"])
def test_elsewhere_strangers_see_figures_and_no_more(where):
    guard = Guard.of_point(Point.parse(where))
    assert guard.permits(*STAT)
    assert not guard.permits("PUT", ("network", "stat"))
    assert not guard.permits(*BAN)
    assert not guard.permits("GET", ("network", "self"))
    assert not guard.permits("GET", ("health",))


def test_the_first_list_whose_address_is_ours_counts():
    acl = read_acl(
        [
            {"address": "10.0.0.1:1", "blacklist": []},
            {"address": "rpc.invalid", "whitelist": ["GET /a"]},
            {"address": "10.0.0.1", "whitelist": ["GET /network/*/x", "/b/**"]},
            {"address": "10.0.0.1:8732", "blacklist": []},
            {"address": "127.0.0.1", "blacklist": ["PUT /**", "PATCH/network/**"]},
        ]
    )
    abroad = Guard.of_point(ABROAD, acl=acl)
    assert abroad.permits("GET", ("network", "any", "x"))
    assert not abroad.permits("PUT", ("network", "any", "x"))
    assert not abroad.permits("GET", ("network", "x"))
    for path in (("b",), ("b", "c"), ("b", "c", "d")):
        assert abroad.permits("PUT", path)
    assert not abroad.permits("PUT", ("bb",))
    named = Guard.of_point(LOOPBACK, "RPC.invalid.", acl)
    assert named.permits("GET", ("a",))
    assert not named.permits(*STAT)
    here = Guard.of_point(LOOPBACK, acl=acl)
    assert here.permits(*STAT)
    assert not here.permits(*BAN)
    assert not here.permits("PUT", ())


@pytest.mark.parametrize(
    ("where", "called", "address", "meant"),
    [
        ("127.0.0.1:8732", "", "127.0.0.1", True),
        ("127.0.0.1:8732", "", "localhost:8732", True),
        ("127.0.0.1:8732", "", "LOCALHOST", True),
        ("127.0.0.1:8732", "localhost", "LOCALHOST:8732", True),
        ("127.0.0.1:8732", "", "[::ffff:127.0.0.1]:8732", True),
        ("127.0.0.1:8732", "", "[::ffff:7f00:1]:8732", True),
        ("[::1]:8732", "", "[0:0:0:0:0:0:0:1]:8732", True),
        ("[2001:db8::1]:8732", "", "[2001:DB8:0::1]", True),
        ("127.0.0.1:8732", "", "0.0.0.0:8732", True),
        ("127.0.0.1:8732", "", "[::]", True),
        ("[::1]:8732", "", "[::]:8732", True),
        ("127.0.0.1:8732", "", "_:8732", True),
        ("127.0.0.1:8732", "", ":8732", True),
        ("[::1]:8732", "", "0.0.0.0", False),
        ("127.0.0.1:8732", "", "127.0.0.1:8733", False),
        ("127.0.0.1:8732", "", "0.0.0.0:8733", False),
        ("127.0.0.1:8732", "", "127.0.0.2", False),
        ("127.0.0.1:8732", "", "nobody.invalid", False),
        ("10.0.0.1:8732", "", "localhost", False),
    ],
)
def test_addresses_are_compared_and_not_their_texts(where, called, address, meant):
    """A list that is about the listener and not taken for that would forbid nothing."""
    acl = read_acl([{"address": address, "whitelist": ["GET /network/stat"]}])
    guard = Guard.of_point(Point.parse(where), called, acl)
    assert guard.is_meant(acl[0]) is meant
    if meant:
        assert guard.permits(*STAT)
        assert not guard.permits(*BAN)


def test_lists_about_no_listener_are_told(tmp_path):
    acl = read_acl(
        [
            {"address": "127.0.0.1", "blacklist": []},
            {"address": "localhost", "blacklist": []},  # behind another, yet about it
            {"address": "10.0.0.1", "blacklist": []},
        ]
    )
    for places, names in (
        (["127.0.0.1:0"], ["rpc.acl[2]"]),
        ([f"unix:{tmp_path}/rpc"], ["rpc.acl[0]", "rpc.acl[1]", "rpc.acl[2]"]),
    ):
        doors = open_doors(places, acl)
        assert unmatched(acl, doors) == names
        for door in doors:
            door.close()


@pytest.mark.parametrize(
    ("document", "phrase"),
    [
        ({}, "rpc.acl: a list wanted"),
        ([7], "rpc.acl[0]: an object"),
        ([{}], "rpc.acl[0]: address, and either"),
        ([{"address": "a", "whitelist": [], "blacklist": []}], "either"),
        ([{"address": "a", "whitelist": [], "more": 1}], "either"),
        ([{"address": 7, "whitelist": []}], "address: host[:port] wanted"),
        ([{"address": "a b", "whitelist": []}], "is not of the form host"),
        ([{"address": "a", "whitelist": "x"}], "whitelist: a list wanted"),
        ([{"address": "a", "blacklist": [7]}], "blacklist: 7 is no text"),
        ([{"address": "a", "blacklist": ["get /x"]}], "[METHOD] /path"),
        ([{"address": "a", "blacklist": ["GET /**/x"]}], "** may only be last"),
    ],
)
def test_lists_that_are_none_are_told(document, phrase):
    with pytest.raises(AclError, match=re.escape(phrase)):
        read_acl(document)


def test_matchers_know_methods_and_segments():
    anything = Matcher.parse("/**")
    assert anything.matches("GET", ())
    assert anything.matches("PUT", ("a", "b"))
    assert Matcher.parse(" GET  /a/ ").matches("GET", ("a",))


def test_names_that_the_operator_has_given_are_ours():
    guard = Guard.of_point(LOOPBACK, "node.example", names=["proxy.example", "x:99"])
    for host in ("node.example:8732", "NODE.example:8732", "proxy.example", "x:99"):
        assert guard.knows_host(host), host
    for host in ("node.example", "node.example:1", "x", "x:8732", "y:8732", "", "::1"):
        assert not guard.knows_host(host), host
    assert Guard.of_path("/x").knows_host("anything at all")


@pytest.mark.parametrize(
    ("headers", "page"),
    [
        ({"host": "a"}, False),
        ({"origin": "null"}, True),
        ({"referer": "http://a/"}, True),
        ({"sec-fetch-site": "none"}, True),
        ({"user-agent": "origin"}, False),
    ],
)
def test_pages_give_themselves_away(headers, page):
    assert comes_from_a_page(headers) is page


# -- places to listen ------------------------------------------------------------------


def test_a_port_in_use_is_told_and_nothing_is_left_open():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port}: "):
            open_doors(["127.0.0.1:0", f"127.0.0.1:{port}"])


@pytest.mark.parametrize(
    ("where", "phrase"),
    [
        (":8732", "say on which address"),
        ("", "say on which address"),
        ("_", "say on which address"),
        ("a b", "not of the form"),
        ("127.0.0.1:99999", "99999"),
    ],
)
def test_places_that_are_none_are_told(where, phrase):
    with pytest.raises(PointError, match=re.escape(phrase)):
        open_doors([where])


def test_names_that_nobody_has_are_told():
    with pytest.raises(OSError, match=r"cannot listen on nobody\.invalid:1: "):
        open_doors(["nobody.invalid:1"])


def test_localhost_is_a_name_with_an_address():
    (door,) = open_doors(["localhost:0"])
    assert door.guard.permits(*BAN)
    assert door.guard.knows_host(f"localhost:{door.guard.port}")
    door.close()


def test_all_addresses_of_a_name_are_listened_on(monkeypatch):
    addresses = "127.0.0.1", "127.0.0.2"

    def found(host, port, **_):
        assert host == "here.test"
        return [(socket.AF_INET, None, None, "", (it, port)) for it in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", found)
    acl = read_acl([{"address": "127.0.0.2", "whitelist": ["GET /network/stat"]}])
    first, second = doors = open_doors(["here.test:0"], acl)
    port = first.guard.port
    assert [door.guard.name for door in doors] == [f"{it}:{port}" for it in addresses]
    assert all(door.guard.knows_host(f"here.test:{port}") for door in doors)
    assert first.guard.permits(*BAN)
    assert not second.guard.permits(*BAN)
    for door in doors:
        door.close()
    with (
        socket.create_server(("127.0.0.2", 0)) as taken,
        pytest.raises(OSError, match=r"cannot listen on 127.0.0.2:\d+: "),
    ):
        open_doors([f"here.test:{taken.getsockname()[1]}"])


def test_a_unix_socket_is_for_its_owner(tmp_path):
    path = tmp_path / "rpc.sock"
    (door,) = open_doors([f"unix:{path}"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert door.guard.permits(*BAN)
    assert door.guard.name == f"unix:{path}"
    # Somebody listens: it is not taken away.
    with pytest.raises(OSError, match="cannot listen on unix:"):
        open_doors([f"unix:{path}"])
    assert path.exists()
    door.sock.close()  # as a crash leaves it
    (again,) = open_doors([f"unix:{path}"])
    again.close()
    assert not path.exists()
    again.close()


def test_what_is_no_socket_is_left_alone(tmp_path):
    path = tmp_path / "precious"
    path.write_text("keep me")
    with pytest.raises(OSError, match="cannot listen on unix:"):
        open_doors([f"unix:{path}"])
    assert path.read_text() == "keep me"
    with pytest.raises(OSError, match="cannot listen on unix:"):
        open_doors([f"unix:{tmp_path}/missing/x"])
    with pytest.raises(OSError, match="cannot listen on unix:"):
        open_doors(["unix:/" + "x" * 200])
    assert os.umask(os.umask(0o022)) != 0o177
