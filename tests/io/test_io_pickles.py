"""What applications are told goes to other processes, and says the same there."""

from __future__ import annotations

import copy
import pickle

import pytest

from tezos_p2p.fsm import (
    Backoff,
    Close,
    Dial,
    Left,
    Message,
    Prefix,
    Ready,
    StaticLists,
    Treatment,
)
from tezos_p2p.io.ends import ConnectionEnded
from tezos_p2p.io.files import (
    ExistentIdentityFile,
    NoIdentityFile,
    UnreadableIdentityFile,
)
from tezos_p2p.io.node_ends import NotConnected
from tezos_p2p.spec import (
    Disconnection,
    ErrorKind,
    Identity,
    Motive,
    P2pError,
    Point,
    Reason,
)

ME = Identity.of_secret(b"\x01" * 32).peer_id
THERE = Point.parse("1.2.3.4:5")
ERROR = P2pError(ErrorKind.REJECTED_BY_NACK, "why", {"motive": Motive.NO_MOTIVE})
ENDINGS = [
    Disconnection(
        Reason.TCP_CONNECTION_REFUSED, (P2pError(ErrorKind.CONNECTION_FAILED),)
    ),
    Disconnection(Reason.AUTHENTICATION_REJECTED_BY_PEER, (ERROR,), Motive.NO_MOTIVE),
    Disconnection(Reason.USER, text="bye"),
]
ERRORS = [
    *map(ConnectionEnded, ENDINGS),
    NotConnected("not connected"),
    NotConnected("no connection came about", ERROR, ENDINGS[1]),
    UnreadableIdentityFile(("peer_id: missing", "public_key: missing")),
    NoIdentityFile("there is none"),
    ExistentIdentityFile("there is one"),
]
VALUES = [
    Dial(1, THERE),
    Close(1),
    Message(1, ME, b"hello"),
    Left(1, ME, ENDINGS[1]),
    Ready(1, ME),
    Treatment(cap_up=5),
    Backoff(),
    Prefix.parse("10.0.0.0/8"),
    StaticLists(),
]


def same(value):
    """Return copies that have gone to another process, or nowhere."""
    numbers = range(2, pickle.HIGHEST_PROTOCOL + 1)
    copies = [pickle.loads(pickle.dumps(value, number)) for number in numbers]
    return [*copies, copy.copy(value), copy.deepcopy(value)]


@pytest.mark.parametrize("error", ERRORS, ids=lambda it: type(it).__name__)
def test_errors_say_the_same_elsewhere(error):
    for again in same(error):
        assert type(again) is type(error)
        assert (str(again), again.args) == (str(error), error.args)
        assert vars(again) == vars(error)


def test_how_a_connection_ended_is_known_elsewhere():
    for again in same(ConnectionEnded(ENDINGS[2])):
        assert again.orderly
        assert again.disconnection == ENDINGS[2]


@pytest.mark.parametrize("value", VALUES, ids=lambda it: type(it).__name__)
def test_values_are_the_same_elsewhere(value):
    for again in same(value):
        assert again == value
        assert type(again) is type(value)
