"""Wrong arguments: named by one `TypeError`, before there is a socket, in all drivers."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from tezos_p2p.io import aio, aio_node, blocking, blocking_node
from tezos_p2p.io.arguments import check_point, who_at
from tezos_p2p.spec import (
    SANDBOX,
    Address,
    Identity,
    MessageCodec,
    Point,
    PointError,
    RawCodec,
)

IDENTITY = Identity.of_secret(b"\x01" * 32)
HOME = Address.parse("127.0.0.1")
MUST = {"identity": IDENTITY, "network": SANDBOX, "codec": RawCodec()}
#: What is given, and the argument that is to be named.
WRONG = {
    "identity": [None, "secret", b"\x01" * 32, Identity],
    "network": ["mainnet", None],
    "codec": [None, MessageCodec(RawCodec()), RawCodec, "raw"],
    "port": ["9732", True, 9732.0],
    "metadata": [{}, None],
    "difficulty": ["0", None, True],
    "limits": [{}, None, 100],
    "no_such_option": [0],
}
ENDS = {"joins": ["no", 1], "judge": [3, "no"], "on_event": ["print"]}
NODES = {
    "peers": ["127.0.0.1:1", b"127.0.0.1:1", 5, [5], [("127.0.0.1", 1)], [None]],
    "trusted": ["127.0.0.1:1", [IDENTITY.peer_id], [Point(HOME, 1)], 5],
    "private_mode": ["no"],
    "discovers": [0],
    "backoff": [1.0],
    "new_metadata": [{}],
    "score": [3],
    "policy": [None],
    "shares": [None],
    "diversity": [True],
    "nearby": ["127.0.0.1:1", 5],
}
PLACES = [
    9732,
    ("127.0.0.1", 1),
    b"127.0.0.1:1",
    Point("127.0.0.1", 1),  # type: ignore[arg-type]  # what it is about
    Point(HOME, "x"),  # type: ignore[arg-type]  # what it is about
    Point(HOME, 1.0),  # type: ignore[arg-type]  # what it is about
    Point(HOME, True),
    Point(1, 1),  # type: ignore[arg-type]  # what it is about
]


@pytest.fixture(autouse=True)
def no_sockets(monkeypatch):
    """Nobody gets that far."""

    class Forbidden(socket.socket):
        def __init__(self, family=-1, kind=-1, proto=-1, fileno=None):
            # A loop has a pair of its own.
            assert family == socket.AF_UNIX or fileno is not None, "there is a socket"
            super().__init__(family, kind, proto, fileno)

    monkeypatch.setattr(socket, "socket", Forbidden)


def connect(where="127.0.0.1:1", **more):
    blocking.connect(where, **MUST | {"difficulty": 0} | more)


def listen(where="127.0.0.1:0", **more):
    blocking.listen(where, **MUST | {"difficulty": 0} | more)


def connect_aio(where="127.0.0.1:1", **more):
    asyncio.run(aio.connect(where, **MUST | {"difficulty": 0} | more))


def listen_aio(where="127.0.0.1:0", **more):
    asyncio.run(aio.listen(where, **MUST | {"difficulty": 0} | more))


def node(where="127.0.0.1:0", **more):
    blocking_node.Node(listen=where, **MUST | {"difficulty": 0} | more)


def node_aio(where="127.0.0.1:0", **more):
    aio_node.Node(listen=where, **MUST | {"difficulty": 0} | more)


LONE = [connect, listen, connect_aio, listen_aio]
ALL = [*LONE, node, node_aio]


def cases(wrong):
    return [
        pytest.param(name, value, id=f"{name}-{number}")
        for name, values in wrong.items()
        for number, value in enumerate(values)
    ]


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize(("name", "value"), cases(WRONG))
def test_what_all_are_made_of(make, name, value):
    with pytest.raises(TypeError, match=rf"^{name} must be|no such option: {name}"):
        make(**{name: value})


@pytest.mark.parametrize("make", LONE)
@pytest.mark.parametrize(("name", "value"), cases(ENDS))
def test_what_lone_connections_are_made_of(make, name, value):
    with pytest.raises(TypeError, match=rf"^{name} must be"):
        make(**{name: value})


@pytest.mark.parametrize("make", [node, node_aio])
@pytest.mark.parametrize(("name", "value"), cases(NODES))
def test_what_nodes_are_made_of(make, name, value):
    with pytest.raises(TypeError, match=rf"^(each of )?{name} must be"):
        make(**{name: value})


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize("where", PLACES, ids=range(len(PLACES)))
def test_where(make, where):
    with pytest.raises(TypeError, match=r"^(where|listen)\b.* must be"):
        make(where)


@pytest.mark.parametrize("make", ALL)
@pytest.mark.parametrize("point", [Point(HOME, 70_000), Point(Address(1 << 128), 1)])
def test_where_nobody_can_be(make, point):
    with pytest.raises(PointError, match="out of range"):
        make(point)


@pytest.mark.parametrize("make", [node, node_aio])
def test_shares_that_nobody_knows(make):
    with pytest.raises(ValueError, match="not 'even'"):
        make(shares="even")


def test_no_error_shows_what_may_be_secret():
    with pytest.raises(TypeError) as caught:
        connect(identity="the secret key")
    assert str(caught.value) == "identity must be an Identity, not a str"


def test_peers_may_be_given_once():
    # There is no socket for the first, and none is needed.
    made = blocking_node.Node(
        **MUST,
        peers=(each for each in ("127.0.0.1", "127.0.0.1:5")),
        trusted=((Point(HOME, port), None) for port in (6, 7)),
    )
    made._do(lambda core, _: core.start(0.0, 0.0))
    assert [each.port for each in made.core.pool.known_points] == [9732, 5, 6, 7]


def test_what_is_right_passes():
    assert check_point(Point(HOME, 0), "it") == Point(HOME, 0)
    for who in (HOME, IDENTITY.peer_id, Point(HOME, 1)):
        assert who_at(who) is who
        assert who_at(str(who)) == who


# -- mistakes of our own ---


def test_a_mistake_while_dialling_is_no_end_of_a_connection(monkeypatch, capsys):
    def broken(point):
        raise AttributeError(f"a mistake of ours about {point}")

    for driver in ("aio_driver", "blocking_driver"):
        monkeypatch.setattr(f"tezos_p2p.io.{driver}.open_for", broken)
    for make in (connect, connect_aio):
        before = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []
        with pytest.raises(AttributeError, match="a mistake of ours"):
            make()
        after = os.listdir("/proc/self/fd") if os.path.isdir("/proc/self/fd") else []
        assert len(before) == len(after)


def test_a_node_that_dials_by_mistake_reports_it(monkeypatch):
    reported = []
    monkeypatch.setattr("sys.excepthook", lambda kind, *_: reported.append(kind))

    def broken(point):
        raise AttributeError(f"a mistake of ours about {point}")

    async def whole():
        monkeypatch.setattr("tezos_p2p.io.aio_driver.open_for", broken)
        async with aio_node.Node(**MUST) as it:
            with pytest.raises(AttributeError, match="a mistake of ours"):
                await it.connect("127.0.0.1:1")
            assert it.peers == ()

    asyncio.run(whole())
    assert reported == [AttributeError]
