"""JSON in and out: strict types, and every fault of a document at once with its path."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest

from tezos_p2p.spec import Address, Limits, Motive, PeerId, Point
from tezos_p2p.spec.convert import CONVERTER, Hex24, Hex32, ShapeError, structure

PEER = "idqSpQPFDBN4yMhLEzwtqGgxRLNrj4"


@attrs.frozen
class Inner:
    port: int
    name: str = "none"


@attrs.frozen
class Outer:
    flag: bool
    ratio: float
    key: Hex32
    stamp: Hex24
    peer: PeerId
    address: Address
    points: list[Point]
    inner: Inner
    maybe: float | None = None
    pair: tuple[int, int] | None = None


GOOD: dict[str, Any] = {
    "flag": True,
    "ratio": 1.5,
    "key": "ab" * 32,
    "stamp": "0C" * 24,
    "peer": PEER,
    "address": "::ffff:1.2.3.4",
    "points": ["127.0.0.1:9732", "[::1]:80"],
    "inner": {"port": 7},
}


def read(**changes: Any) -> Outer:
    return structure(json.dumps(GOOD | changes), Outer, "thing")


def faults(text: str, kind: type[Any] = Outer) -> tuple[str, ...]:
    with pytest.raises(ShapeError) as caught:
        structure(text, kind, "thing")
    assert str(caught.value) == "; ".join(caught.value.faults)
    return caught.value.faults


def faults_of(**changes: Any) -> tuple[str, ...]:
    return faults(json.dumps(GOOD | changes))


def test_a_right_document_becomes_the_value() -> None:
    assert read() == Outer(
        True,
        1.5,
        Hex32(b"\xab" * 32),
        Hex24(b"\x0c" * 24),
        PeerId.parse(PEER),
        Address.parse("1.2.3.4"),
        [Point.parse("127.0.0.1:9732"), Point.parse("[::1]:80")],
        Inner(7, "none"),
    )


def test_a_whole_number_serves_where_a_number_is_wanted() -> None:
    value = read(ratio=3, maybe=2).ratio
    assert (value, type(value)) == (3.0, float)
    assert read(maybe=None).maybe is None
    assert read(maybe=2.5).maybe == 2.5


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"flag": 1}, "thing.flag: bool wanted, not int"),
        ({"flag": "no"}, "thing.flag: bool wanted, not str"),
        ({"flag": None}, "thing.flag: bool wanted, not NoneType"),
        ({"ratio": "1.5"}, "thing.ratio: number wanted, not str"),
        ({"ratio": True}, "thing.ratio: number wanted, not bool"),
        ({"maybe": "1"}, "thing.maybe: number wanted, not str"),
        ({"inner": {"port": "7"}}, "thing.inner.port: int wanted, not str"),
        ({"inner": {"port": 7.9}}, "thing.inner.port: int wanted, not float"),
        ({"inner": {"port": 7.0}}, "thing.inner.port: int wanted, not float"),
        ({"inner": {"port": True}}, "thing.inner.port: int wanted, not bool"),
        ({"inner": {"port": 7, "name": 7}}, "thing.inner.name: str wanted, not int"),
        ({"inner": {}}, "thing.inner.port: missing"),
        ({"key": "ab" * 31}, "thing.key: 62 hex digits, 64 wanted"),
        ({"key": "ab" * 33}, "thing.key: 66 hex digits, 64 wanted"),
        ({"key": "xy" * 32}, "thing.key: not a string of hex digits"),
        ({"key": "a" * 63}, "thing.key: 63 hex digits, 64 wanted"),
        ({"key": 7}, "thing.key: str wanted, not int"),
        ({"stamp": "ab" * 32}, "thing.stamp: 64 hex digits, 48 wanted"),
        ({"stamp": None}, "thing.stamp: str wanted, not NoneType"),
        ({"peer": 7}, "thing.peer: str wanted, not int"),
        ({"peer": "id"}, "thing.peer: 'id' has 2 characters, a peer id 30"),
        ({"address": "foo"}, "thing.address: 'foo' is no IPv4 or IPv6 address"),
        ({"points": ["[::1]:1", 9]}, "thing.points[1]: str wanted, not int"),
        ({"points": ["[::1]"]}, "thing.points[0]: '::1' lacks a port"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_with_its_path(
    change: dict[str, Any], fault: str
) -> None:
    assert faults_of(**change) == (fault,)


@pytest.mark.parametrize("text", ["ab" * 31 + "  ", " " * 64, "ab " * 21 + "a"])
def test_blanks_do_not_count_as_hex_digits(text: str) -> None:
    assert faults_of(key=text) == ("thing.key: not a string of hex digits",)


def test_every_fault_of_a_document_is_told_at_once() -> None:
    document = GOOD | {"flag": "yes", "ratio": None, "more": 1, "extra": 2}
    document["inner"] = {"name": 1, "odd": 0}
    del document["peer"]
    assert sorted(faults(json.dumps(document))) == [
        "thing.flag: bool wanted, not str",
        "thing.inner.name: str wanted, not int",
        "thing.inner.port: missing",
        "thing.inner: unknown fields: odd",
        "thing.peer: missing",
        "thing.ratio: number wanted, not NoneType",
        "thing: unknown fields: extra, more",
    ]


@pytest.mark.parametrize("inner", [None, 7, "x", [1]])
def test_something_else_in_place_of_an_object_is_a_fault(inner: object) -> None:
    assert all(fault.startswith("thing.inner") for fault in faults_of(inner=inner))


def test_rules_of_the_class_are_faults_of_the_document() -> None:
    (fault,) = faults('{"max_connections": 1, "binary_chunks_size": 3}', Limits)
    assert fault == (
        "thing: binary_chunks_size 3 is not in 19..65535; "
        "min <= expected <= max connections: 10, 50, 1 are not"
    )


def test_a_pair_is_read_as_a_pair() -> None:
    assert read(pair=[400, 300]).pair == (400, 300)
    assert faults_of(pair=[400, "300"]) != ()
    assert faults_of(pair=[400]) != ()


@pytest.mark.parametrize("text", ["", "{", "{'a': 1}", "nope", '{"a": 1} x', "\ufeff{}"])
def test_what_is_not_json_is_refused_as_such(text: str) -> None:
    (fault,) = faults(text)
    assert fault.startswith("thing: not JSON: ")


@pytest.mark.parametrize(
    ("text", "kind"), [("[]", "list"), ("1", "int"), ('"a"', "str"), ("null", "NoneType")]
)
def test_a_document_that_is_no_object_is_refused(text: str, kind: str) -> None:
    assert faults(text) == (f"thing: an object wanted, not {kind}",)


def test_a_document_nested_without_end_is_refused() -> None:
    assert faults('{"a":' + "[" * 200_000) == ("thing: nested too deeply",)


def test_a_number_of_too_many_digits_is_refused() -> None:
    (fault,) = faults('{"a": ' + "9" * 5000 + "}")
    assert fault.startswith("thing: not JSON: ")
    (fault,) = faults_of(ratio=10**400)
    assert fault.startswith("thing.ratio: ")


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1" + "0" * 400 + ".0"])
def test_a_number_too_large_for_a_double_is_refused(number: str) -> None:
    # json would make it infinite, which no rule of a class expects.
    fault = f"thing: not JSON: {number} is too large a number"
    assert faults(f'{{"ratio": {number}}}') == (fault,)
    assert faults(f'{{"a": [{{"b": {number}}}]}}') == (fault,)


def test_the_greatest_double_and_the_least_are_no_faults() -> None:
    for text in ("1.7976931348623157e308", "-1.7976931348623157e308", "5e-324"):
        document = json.dumps(GOOD).replace('"ratio": 1.5', f'"ratio": {text}')
        assert structure(document, Outer, "thing").ratio == float(text)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ('{"x": 1, "x": 1}', "x"),
        ('{"x": 1, "y": 2, "x": null, "x": 3}', "x"),
        ('{"b": 1, "a": 1, "c": 1, "b": 1, "a": 1}', "a, b"),
        ('{"inner": {"port": 1, "port": 2}}', "port"),
        ('{"points": [{"": 1, "": 1}]}', ""),
        # Escapes do not hide a repetition.
        ('{"x": 1, "\\u0078": 2}', "x"),
    ],
)
def test_a_key_given_twice_is_refused_and_neither_value_is_taken(
    text: str, names: str
) -> None:
    assert faults(text) == (f"thing: not JSON: given more than once: {names}",)


def test_the_same_key_in_several_objects_is_no_repetition() -> None:
    text = '{"port": 1, "name": {"port": 1}}'
    assert faults(text, Inner) == ("thing.name: str wanted, not dict",)


@pytest.mark.parametrize("name", ["a @ b", " @ ", "x @ $", " @ $.y", "$", "c @ $[0] @ d"])
def test_the_name_of_a_document_stays_whole_in_its_faults(name: str) -> None:
    def faults_named(text: str, kind: type[Any]) -> tuple[str, ...]:
        with pytest.raises(ShapeError) as caught:
            structure(text, kind, name)
        return caught.value.faults

    document = json.dumps(GOOD | {"flag": 1, "points": [9], " @ $.z": 0})
    assert sorted(faults_named(document, Outer)) == sorted(
        [
            f"{name}.flag: bool wanted, not int",
            f"{name}.points[0]: str wanted, not int",
            f"{name}: unknown fields:  @ $.z",
        ]
    )
    assert faults_named("[]", Outer) == (f"{name}: an object wanted, not list",)
    assert faults_named('{"backlog": 256}', Limits) == (
        f"{name}: backlog 256 is not in 0..255",
    )
    (fault,) = faults_named("{", Outer)
    assert fault.startswith(f"{name}: not JSON: ")


def test_an_error_without_words_is_named_by_its_class() -> None:
    @attrs.frozen
    class Mute:
        a: int

        def __attrs_post_init__(self) -> None:
            raise ValueError

    assert faults('{"a": 1}', Mute) == ("thing: ValueError",)


def test_values_are_written_as_text_that_is_read_back() -> None:
    value = read(maybe=2, pair=[1, 2])
    written = CONVERTER.unstructure(value)
    assert json.loads(json.dumps(written)) == {
        **GOOD,
        "stamp": "0c" * 24,
        "address": "1.2.3.4",
        "inner": {"port": 7, "name": "none"},
        "maybe": 2.0,
        "pair": [1, 2],
    }
    assert structure(json.dumps(written), Outer, "thing") == value


def test_bytes_are_lower_case_hex_digits_and_enumerations_lower_case_words() -> None:
    assert CONVERTER.unstructure(b"\x00\xab") == "00ab"
    assert CONVERTER.unstructure(Motive.TOO_MANY_CONNECTIONS) == "too_many_connections"
    assert CONVERTER.unstructure(Motive(77)) == "unknown_77"
    assert CONVERTER.unstructure(PeerId.parse(PEER)) == PEER
    assert CONVERTER.unstructure(Address(1)) == "::1"
    assert CONVERTER.unstructure((Point(Address(1), 2),)) in (["[::1]:2"], ("[::1]:2",))


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_numbers_that_json_does_not_have_are_refused(constant: str) -> None:
    with pytest.raises(ShapeError, match=f"{constant} is no JSON number"):
        structure(f'{{"x": {constant}}}', Outer, "thing")
