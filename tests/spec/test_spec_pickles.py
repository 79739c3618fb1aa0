"""Values and errors survive a file, another process and a copy as they are."""

from __future__ import annotations

import copy
import enum
import pickle
import types
import typing

import attrs
import pytest

from tezos_p2p import spec
from tezos_p2p.spec import (
    Address,
    DecodeError,
    DecodeFault,
    Disconnection,
    EncodeError,
    ErrorKind,
    Identity,
    Motive,
    Network,
    OperationList,
    P2pError,
    PeerId,
    Reason,
    ShapeError,
    Version,
    pool_events,
)
from tezos_p2p.spec.config import ConfigError, Fault

ERROR = P2pError(ErrorKind.REJECTED_BY_NACK, "why", {"motive": Motive.NO_MOTIVE})
GIVEN = {
    Address: Address.parse("1.2.3.4"),
    Identity: Identity.of_secret(b"\x01" * 32),
    Motive: Motive(7),
    Network: spec.MAINNET,
    OperationList: OperationList([]),
    P2pError: ERROR,
    PeerId: PeerId(b"\x05" * 16),
    Version: Version("TEZOS", 2, 1),
    spec.Limit: spec.limit_table()[0],
    spec.Limits: spec.Limits(),
    bytes: b"\x01" * 32,
    str: "text",
    bool: True,
    int: 1,
    float: 1.5,
    object: "anything",
}


def sample(hint):
    """Make a value of a type, of samples of what it is made of."""
    if hint in GIVEN:
        return GIVEN[hint]
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is typing.Any or isinstance(hint, typing.TypeVar):
        return "anything"
    if hint is None or hint is type(None):
        return None
    if origin in (typing.Union, types.UnionType):
        return sample(args[0])
    if origin is tuple:
        return tuple(sample(each) for each in args if each is not ...)
    if origin is typing.Literal:
        return args[0]
    if origin is not None and issubclass(origin, typing.Mapping):
        return {sample(args[0]): sample(args[1])}
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return next(iter(hint))
    if isinstance(hint, type) and issubclass(hint, bytes):
        return hint(b"\x02" * (4 if hint is spec.ChainId else 32))
    return made(hint)


def made(kind):
    hints = typing.get_type_hints(kind)
    if attrs.has(kind):
        fields = [each for each in attrs.fields(kind) if each.init]
        return kind(**{it.alias: sample(hints[it.name]) for it in fields})
    return kind(**{name: sample(hints[name]) for name in kind._fields})


PROTOCOLS = range(2, pickle.HIGHEST_PROTOCOL + 1)


def same(value):
    """Return copies that have gone to a file, to another process, or nowhere."""
    copies = [pickle.loads(pickle.dumps(value, number)) for number in PROTOCOLS]
    return [*copies, copy.copy(value), copy.deepcopy(value)]


#: Not values: what reads and writes them, and what types are made of.
OTHERS = {"ApplicationCodec", "MessageCodec", "Motive", "ShellCodec"}
CLASSES = [
    getattr(spec, name)
    for name in spec.__all__
    if name not in OTHERS and isinstance(getattr(spec, name), type)
]
TOLD = [each for each in vars(pool_events).values() if isinstance(each, type)]
VALUES = [
    *(each for each in CLASSES if not issubclass(each, Exception)),
    *(each for each in TOLD if attrs.has(each) and not each.__name__.startswith("_")),
]


@pytest.mark.parametrize("kind", dict.fromkeys(VALUES), ids=lambda it: it.__name__)
def test_values_are_the_same_elsewhere(kind):
    value = sample(kind)
    assert type(value) is kind or issubclass(kind, enum.Enum)
    for again in same(value):
        assert again == value
        assert type(again) is type(value)
        assert repr(again) == repr(value)
        assert hash(again) == hash(value)


ERRORS = [
    DecodeError(DecodeFault.UNEXPECTED_TAG, 7, "unknown tag 0x77"),
    EncodeError("too large"),
    ShapeError(["peer_id: missing", "port: 5 is no text"]),
    ConfigError(
        [Fault("file", "p2p.port", "no port", "give one")],
        [Fault("file", "p2p", "doubtful", "look")],
    ),
    *(
        kind("what is wrong")
        for kind in CLASSES
        if issubclass(kind, ValueError)
        and kind not in (DecodeError, EncodeError, ShapeError)
    ),
]


def test_all_errors_are_tried():
    kinds = {type(each) for each in ERRORS}
    assert kinds >= {each for each in CLASSES if issubclass(each, Exception)}


@pytest.mark.parametrize("error", ERRORS, ids=lambda it: type(it).__name__)
def test_errors_say_the_same_elsewhere(error):
    if isinstance(error, (DecodeError, EncodeError)):
        error.inside("points")
    for again in same(error):
        assert type(again) is type(error)
        assert str(again) == str(error)
        assert vars(again) == vars(error)


def test_facts_count_in_comparisons_and_not_in_hashes():
    plain, other = P2pError(ErrorKind.REJECTED_BY_NACK, "why"), attrs.evolve(ERROR)
    assert other == ERROR != plain
    assert hash(plain) == hash(other) == hash(ERROR)
    assert len({plain, other, ERROR}) == 2
    why = Disconnection(Reason.USER, (ERROR,), text="bye")
    assert {why: 1}[copy.deepcopy(why)] == 1


def test_no_facts_stay_unchangeable():
    for again in same(P2pError(ErrorKind.TIMEOUT)):
        with pytest.raises(TypeError):
            again.facts["new"] = 1


def test_facts_of_a_copy_are_its_own():
    again = copy.deepcopy(ERROR)
    again.facts["more"] = 1
    assert "more" not in ERROR.facts
