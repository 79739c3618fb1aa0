"""Motives: their codes, which the reference node of 2026 sends, and all others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spec_strategies import check_ends, check_round_trip

from tezos_p2p.spec import EncodeError, Motive, motive
from tezos_p2p.spec.motive import MOTIVE

CODES = {
    0: "NO_MOTIVE",
    1: "TOO_MANY_CONNECTIONS",
    2: "UNKNOWN_CHAIN_NAME",
    3: "DEPRECATED_P2P_VERSION",
    4: "DEPRECATED_DISTRIBUTED_DB_VERSION",
    5: "ALREADY_CONNECTED",
}


def test_the_codes_are_those_of_the_reference() -> None:
    assert {int(known): known.name for known in Motive} == CODES


@pytest.mark.parametrize(("code", "name"), CODES.items())
def test_known_motives_are_an_int16_on_the_wire(code: int, name: str) -> None:
    assert MOTIVE.encode(Motive[name]) == code.to_bytes(2, "big")
    assert MOTIVE.decode(code.to_bytes(2, "big")) is Motive[name]
    assert Motive(code).is_known


@pytest.mark.parametrize(
    ("code", "encoded"), [(6, "0006"), (-1, "ffff"), (32_767, "7fff"), (-32_768, "8000")]
)
def test_unknown_codes_are_kept_as_they_are(code: int, encoded: str) -> None:
    read = MOTIVE.decode(bytes.fromhex(encoded))
    assert read == code
    assert read.name == f"UNKNOWN_{code}"
    assert read.value == code
    assert not read.is_known
    assert not read.is_version_mismatch
    assert MOTIVE.encode(read).hex() == encoded


@given(st.integers(-0x8000, 0x7FFF))
def test_every_int16_is_a_motive(code: int) -> None:
    value = Motive(code)
    assert value.is_known is (0 <= code <= 5)
    check_ends(MOTIVE, check_round_trip(MOTIVE, value))


def test_unknown_codes_leave_nothing_behind() -> None:
    for code in range(6, 1000):
        assert Motive(code) == Motive(code)
    assert len(Motive) == 6
    assert len(Motive._value2member_map_) == 6


@pytest.mark.parametrize("value", [-32_769, 32_768, 1 << 64, "1", None, 1.5])
def test_what_is_no_int16_is_no_motive(value: object) -> None:
    with pytest.raises(ValueError, match="is not a valid Motive"):
        Motive(value)


def test_a_code_beyond_an_int16_is_refused_on_write() -> None:
    with pytest.raises(EncodeError):
        MOTIVE.encode(40_000)


@pytest.mark.parametrize("value", ["3", 1.9, 1.0, None, b"\3"])
def test_what_is_no_int_is_refused_on_write_and_not_converted(value: object) -> None:
    with pytest.raises(EncodeError) as caught:
        MOTIVE.encode(value)
    assert str(caught.value) == f"value: {value!r} is no motive"


def test_three_motives_mean_that_no_common_version_exists() -> None:
    assert [known.name for known in Motive if known.is_version_mismatch] == [
        "UNKNOWN_CHAIN_NAME",
        "DEPRECATED_P2P_VERSION",
        "DEPRECATED_DISTRIBUTED_DB_VERSION",
    ]
    others = (code for code in range(-10, 300) if code not in (2, 3, 4))
    assert not any(Motive(code).is_version_mismatch for code in others)


def test_the_docstring_lists_every_motive_with_its_code() -> None:
    assert motive.__doc__ is not None
    for code, name in CODES.items():
        assert f"\n{code}       {name} " in motive.__doc__
