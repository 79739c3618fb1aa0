"""Sockets: their options, both families of addresses, systems that lack something."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket

import pytest

from tezos_p2p.io import sockets
from tezos_p2p.io.sockets import (
    ADDRESSES_MAX,
    Nearby,
    configure,
    listen_on,
    open_for,
    point_of,
    points_of,
)
from tezos_p2p.spec.datagram import DATAGRAM, Datagram
from tezos_p2p.spec.identity import PeerId
from tezos_p2p.spec.point import Point

ANY = Point.parse("127.0.0.1:0")


def connected(door: socket.socket) -> tuple[socket.socket, socket.socket]:
    """Dial a door; return both ends."""
    point = point_of(door.getsockname())
    sock, address = open_for(point)
    with contextlib.suppress(BlockingIOError):
        sock.connect(address)
    door.setblocking(True)
    door.settimeout(10)
    other, _ = door.accept()
    return sock, other


def test_options_are_set_on_every_connection():
    with listen_on(ANY, 5) as door:
        dialled, accepted = connected(door)
        configure(accepted)
        with dialled, accepted:
            for sock in (dialled, accepted):
                assert sock.getblocking() is False
                assert not sock.get_inheritable()
                assert not os.get_inheritable(sock.fileno())
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
                assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
                for name, value in (
                    ("TCP_KEEPIDLE", 10),
                    ("TCP_KEEPINTVL", 5),
                    ("TCP_USER_TIMEOUT", 45_000),
                ):
                    option = getattr(socket, name, None)
                    if option is not None:
                        assert sock.getsockopt(socket.IPPROTO_TCP, option) == value
        assert not door.get_inheritable()


def test_what_the_system_does_not_know_is_left_out(monkeypatch):
    known = sockets._known(
        ((socket.IPPROTO_TCP, "TCP_NO_SUCH_OPTION", 1), (12345, "TCP_NODELAY", 1))
    )
    assert known == ((12345, socket.TCP_NODELAY, 1),)
    monkeypatch.setattr(sockets, "_OPTIONS", known)
    with socket.socket() as sock:
        configure(sock)
        assert sock.getblocking() is False


@pytest.mark.parametrize("text", ["127.0.0.1:0", "[::1]:0", "[::]:0", "0.0.0.0:0"])
def test_a_door_opens_on_any_address_and_says_where(text):
    point = Point.parse(text)
    with listen_on(point, 5) as door:
        where = point_of(door.getsockname())
        assert where.address == point.address
        assert where.port > 0
        again = listen_on(Point(point.address, 0), 5)
        assert point_of(again.getsockname()).port != where.port
        again.close()


@pytest.mark.parametrize("text", ["127.0.0.1", "[::1]"])
def test_an_open_door_lets_in_both_families(text):
    with listen_on(Point.parse("[::]:0"), 5) as door:
        port = point_of(door.getsockname()).port
        sock, address = open_for(Point.parse(f"{text}:{port}"))
        with sock, contextlib.suppress(BlockingIOError):
            sock.connect(address)
        door.settimeout(10)
        other, whence = door.accept()
        other.close()
        assert str(point_of(whence)).startswith(text + ":")


def test_a_taken_port_is_an_error_that_names_the_point():
    with listen_on(ANY, 5) as door:
        taken = point_of(door.getsockname())
        with pytest.raises(OSError, match=f"cannot listen on {taken}: ") as caught:
            listen_on(taken, 5)
    assert caught.value.errno == errno.EADDRINUSE
    assert os.strerror(errno.EADDRINUSE) in str(caught.value)


def test_an_error_without_a_number_is_told_in_its_own_words(monkeypatch):
    def refuse(self, address):
        raise OSError("no reason at all")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(OSError, match=r"cannot listen on .*: no reason at all"):
        listen_on(ANY, 5)


def without(monkeypatch, *families, error=errno.EAFNOSUPPORT):
    """Let the system lack families of sockets."""
    real = socket.socket

    class Lacking(real):
        def __init__(self, family=socket.AF_INET, *rest, **more):
            if family in families:
                raise OSError(error, os.strerror(error))
            super().__init__(family, *rest, **more)

    monkeypatch.setattr(socket, "socket", Lacking)


def test_without_ipv6_there_is_ipv4(monkeypatch):
    without(monkeypatch, socket.AF_INET6)
    with listen_on(ANY, 5) as door:
        assert door.family == socket.AF_INET
        dialled, accepted = connected(door)
        with dialled, accepted:
            assert dialled.family == socket.AF_INET
            assert dialled.getblocking() is False
            assert point_of(dialled.getpeername()) == point_of(door.getsockname())


def test_without_ipv6_there_is_no_way_to_an_ipv6_address(monkeypatch):
    without(monkeypatch, socket.AF_INET6)
    with pytest.raises(OSError) as caught:
        open_for(Point.parse("[::1]:1"))
    assert caught.value.errno == errno.EAFNOSUPPORT


def test_without_descriptors_there_is_no_socket_of_any_kind(monkeypatch):
    without(monkeypatch, socket.AF_INET6, error=errno.EMFILE)
    with pytest.raises(OSError) as caught:
        open_for(ANY)
    assert caught.value.errno == errno.EMFILE


def test_a_system_that_knows_only_one_family_per_socket_still_dials(monkeypatch):
    real = socket.socket.setsockopt

    def refuse(self, level, option, value):
        if option == socket.IPV6_V6ONLY and level == socket.IPPROTO_IPV6:
            raise OSError(errno.EINVAL, "no")
        real(self, level, option, value)

    monkeypatch.setattr(socket.socket, "setsockopt", refuse)
    with listen_on(Point.parse("[::1]:0"), 5) as door:
        dialled, accepted = connected(door)
        dialled.close()
        accepted.close()


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (("127.0.0.1", 5), "127.0.0.1:5"),
        (("::ffff:10.1.2.3", 6, 0, 0), "10.1.2.3:6"),
        (("fe80::1%eth0", 7, 0, 2), "[fe80::1]:7"),
        (("::1", 8, 9, 0), "[::1]:8"),
    ],
)
def test_points_of_socket_addresses(address, text):
    assert str(point_of(address)) == text


def test_a_datagram_counts_as_its_first_bytes_as_with_the_reference():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind(("127.0.0.1", 0))
        port = sender.getsockname()[1]
    told = DATAGRAM.encode(Datagram(PeerId(bytes(16)), 9732))
    with (
        contextlib.closing(Nearby(Point.parse(f"127.0.0.1:{port}"))) as nearby,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        for data in (told, told + bytes(500), told[:-1], b""):
            sender.sendto(data, ("127.0.0.1", port))
            assert select.select([nearby.sock], [], [], 5.0)[0]
            found = nearby.receive()
            assert found is not None
            assert found[0] == data[: len(told)]
        assert nearby.receive() is None


def test_each_address_of_a_name_counts_once_and_eight_at_most():
    found = [(0, 0, 0, "", ("10.0.0.1", 1)), (1, 0, 0, "", ("::ffff:10.0.0.1", 1, 0, 0))]
    assert points_of(found) == (Point.parse("10.0.0.1:1"),)
    many = [(0, 0, 0, "", (f"10.0.0.{n}", 1)) for n in range(20)]
    assert [str(point) for point in points_of(many)] == [
        f"10.0.0.{n}:1" for n in range(ADDRESSES_MAX)
    ]
