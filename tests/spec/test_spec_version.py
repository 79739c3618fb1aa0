"""The version triple, what is announced, and agreement.

Bytes: recorded from a reference node of May 2019 and from TezEdge's fixtures.  Sets of
supported versions: the reference node, 2019 and 2026.
"""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from spec_strategies import check_ends, check_round_trip, check_total, fails, versions
from vectors import RECORDED_CHAIN_NAME

from tezos_p2p.spec import (
    GHOSTNET,
    MAINNET,
    NETWORKS,
    SANDBOX,
    SHADOWNET,
    DecodeFault,
    EncodeError,
    Motive,
    Network,
    Version,
    version,
)
from tezos_p2p.spec.version import VERSION, select

MAINNET_2019 = Network("TEZOS", (0,), (0,))

KNOWN = [
    (Version("TEZOS", 0, 0), "0000000554455a4f5300000000"),
    (Version("SANDBOXED_TEZOS", 0, 0), "0000000f53414e44424f5845445f54455a4f5300000000"),
    (Version("TEZOS_MAINNET", 1, 1), "0000000d54455a4f535f4d41494e4e455400010001"),
    (Version("TEZOS_MAINNET", 0, 1), "0000000d54455a4f535f4d41494e4e455400000001"),
    (
        Version(RECORDED_CHAIN_NAME, 0, 1),
        "0000002c54455a4f535f414c5048414e45545f43415254484147455f323031392d31312d32385431"
        "333a30323a31335a00000001",
    ),
    (Version("", 65_535, 65_535), "00000000ffffffff"),
]


@pytest.mark.parametrize(("value", "encoded"), KNOWN)
def test_triples_have_their_recorded_bytes(value: Version, encoded: str) -> None:
    assert VERSION.encode(value).hex() == encoded
    assert VERSION.decode(bytes.fromhex(encoded)) == value
    check_ends(VERSION, bytes.fromhex(encoded))


@given(versions)
def test_every_triple_survives_the_way_to_bytes_and_back(value: Version) -> None:
    check_ends(VERSION, check_round_trip(VERSION, value))


@given(st.binary(max_size=40))
def test_arbitrary_bytes_decode_or_raise_a_decode_error(data: bytes) -> None:
    check_total(VERSION, data)


@given(st.binary(max_size=40))
def test_a_chain_name_may_be_any_bytes_and_keeps_every_one(raw: bytes) -> None:
    data = len(raw).to_bytes(4, "big") + raw + bytes(4)
    value = VERSION.decode(data)
    assert [ord(char) for char in value.chain_name] == list(raw)
    assert VERSION.encode(value) == data


def test_every_byte_of_a_chain_name_is_the_latin_1_character_of_that_number() -> None:
    data = (256).to_bytes(4, "big") + bytes(range(256)) + bytes(4)
    assert VERSION.decode(data).chain_name == "".join(map(chr, range(256)))
    # Not two characters' worth of UTF-8, and not refused where it is none.
    assert VERSION.encode(Version("\u00e9", 0, 0)).hex() == "00000001e900000000"
    assert VERSION.decode(bytes.fromhex("00000002c3a900000000")).chain_name == "\xc3\xa9"


@pytest.mark.parametrize("byte", [b"n", b"\xff", b"\xc3", b"\x80"])
def test_a_long_chain_name_costs_the_same_whatever_its_bytes(byte: bytes) -> None:
    # Before any proof of work: the name alone can be as long as a frame.
    size = 65_000
    data = size.to_bytes(4, "big") + byte * size + bytes(4)
    tracemalloc.start()
    try:
        value = VERSION.decode(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert value.chain_name == byte.decode("latin-1") * size
    assert peak < 3 * size


@given(st.binary(max_size=9), st.binary(max_size=9))
def test_chain_names_are_compared_byte_by_byte(one: bytes, two: bytes) -> None:
    names = [
        VERSION.decode(len(raw).to_bytes(4, "big") + raw + bytes(4)).chain_name
        for raw in (one, two)
    ]
    assert (names[0] == names[1]) is (one == two)


@pytest.mark.parametrize(
    "name", ["\u0100", "TEZOS\u20ac", "N\ud800", "\udcff", "\U0001f600"]
)
def test_a_name_that_no_bytes_stand_for_is_refused_on_write(name: str) -> None:
    with pytest.raises(EncodeError, match=r"^chain_name: .*latin-1") as caught:
        VERSION.encode(Version(name, 0, 0))
    assert caught.value.path == "chain_name"


@pytest.mark.parametrize("name", [b"TEZOS", None, 7])
def test_a_name_that_is_no_text_is_refused_on_write(name: object) -> None:
    with pytest.raises(EncodeError) as caught:
        VERSION.encode(Version(name, 0, 0))
    assert caught.value.path == "chain_name"


@pytest.mark.parametrize("number", [-1, 65_536])
def test_version_numbers_are_16_bits(number: int) -> None:
    with pytest.raises(EncodeError) as caught:
        VERSION.encode(Version("", number, 0))
    assert caught.value.path == "distributed_db_version"
    with pytest.raises(EncodeError) as caught:
        VERSION.encode(Version("", 0, number))
    assert caught.value.path == "p2p_version"


@pytest.mark.parametrize("prefix", [14, 1 << 30, 1 << 31, (1 << 32) - 1])
def test_a_chain_name_longer_than_the_data_is_refused_by_its_prefix(prefix: int) -> None:
    error = fails(VERSION, prefix.to_bytes(4, "big") + b"TEZOS_MAINNET")
    assert (error.path, error.offset) == ("chain_name", 0)


@pytest.mark.parametrize(
    ("size", "path", "offset"),
    [
        (3, "chain_name", 0),
        (8, "chain_name", 0),
        (9, "distributed_db_version", 9),
        (10, "distributed_db_version", 9),
        (12, "p2p_version", 11),
    ],
)
def test_a_triple_cut_short_names_the_field(size: int, path: str, offset: int) -> None:
    error = fails(VERSION, bytes.fromhex(KNOWN[0][1])[:size])
    assert (error.fault, error.path, error.offset) == (
        DecodeFault.NOT_ENOUGH_DATA,
        path,
        offset,
    )


# -- agreement -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs", "chosen"),
    [
        # Nodes of 2026, distributed db and p2p; nodes of 2019.
        *(((0, 1, 2), r, min(r, 2)) for r in range(5)),
        *(((0, 1), r, min(r, 1)) for r in range(5)),
        *(((0,), r, 0) for r in range(5)),
        # Nodes that have dropped what is old.
        ((2,), 0, None),
        ((2,), 1, None),
        ((2,), 2, 2),
        ((2,), 65_535, 2),
        ((1, 3), 0, None),
        ((1, 3), 1, 1),
        ((1, 3), 2, None),
        ((1, 3), 3, 3),
        ((1, 3), 4, 3),
        # Order and repetition say nothing.
        ((3, 1, 3), 1, 1),
        ((3, 1, 3), 9, 3),
    ],
)
def test_the_greatest_common_version_is_chosen(
    ours: tuple[int, ...], theirs: int, chosen: int | None
) -> None:
    assert select(ours, theirs) == chosen


def test_any_two_nodes_that_agree_choose_the_same_version() -> None:
    # All non-empty sets of versions below 4, each side announcing its greatest.
    sets = [tuple(v for v in range(4) if mask >> v & 1) for mask in range(1, 16)]
    for ours in sets:
        for theirs in sets:
            mine, other = select(ours, max(theirs)), select(theirs, max(ours))
            assert None in (mine, other) or mine == other
            if max(ours) == max(theirs):
                assert mine == other == max(ours)


@pytest.mark.parametrize("ddb", range(4))
@pytest.mark.parametrize("p2p", range(4))
def test_a_node_of_2026_agrees_with_every_version(ddb: int, p2p: int) -> None:
    agreed = MAINNET.negotiate(Version("TEZOS_MAINNET", ddb, p2p))
    assert agreed == Version("TEZOS_MAINNET", min(ddb, 2), min(p2p, 1))


@pytest.mark.parametrize("ddb", range(4))
@pytest.mark.parametrize("p2p", range(4))
def test_a_node_of_2019_takes_its_only_version_with_everyone(ddb: int, p2p: int) -> None:
    assert MAINNET_2019.negotiate(Version("TEZOS", ddb, p2p)) == Version("TEZOS", 0, 0)


def test_nodes_of_2019_and_2026_agree_on_version_zero_of_both() -> None:
    today = Network("TEZOS")
    assert today.negotiate(MAINNET_2019.announced) == Version("TEZOS", 0, 0)
    assert MAINNET_2019.negotiate(today.announced) == Version("TEZOS", 0, 0)
    assert today.negotiate(today.announced) == Version("TEZOS", 2, 1)


@pytest.mark.parametrize("same_name", [True, False])
@pytest.mark.parametrize("ddb", [0, 1, 2])
@pytest.mark.parametrize("p2p", [0, 1, 2])
def test_the_first_disagreement_in_order_is_the_motive(
    same_name: bool, ddb: int, p2p: int
) -> None:
    picky = Network("N", (1,), (1,))
    answer = picky.negotiate(Version("N" if same_name else "M", ddb, p2p))
    if not same_name:
        assert answer is Motive.UNKNOWN_CHAIN_NAME
    elif ddb == 0:
        assert answer is Motive.DEPRECATED_DISTRIBUTED_DB_VERSION
    elif p2p == 0:
        assert answer is Motive.DEPRECATED_P2P_VERSION
    else:
        assert answer == Version("N", 1, 1)


@pytest.mark.parametrize(
    "name", ["", "TEZOS", "tezos_mainnet", "TEZOS_MAINNET ", "SANDBOXED_TEZOS_MAINNET"]
)
def test_no_other_name_than_our_own_is_accepted(name: str) -> None:
    answer = MAINNET.negotiate(Version(name, 2, 1))
    assert answer is Motive.UNKNOWN_CHAIN_NAME


def test_the_greatest_of_each_list_is_announced_whatever_their_order() -> None:
    assert MAINNET.announced == Version("TEZOS_MAINNET", 2, 1)
    assert MAINNET_2019.announced == Version("TEZOS", 0, 0)
    assert Network("N", (1, 7, 3), (2, 0)).announced == Version("N", 7, 2)


@pytest.mark.parametrize(
    "bad", [(), (-1,), (0, 65_536), (1.5,), (0, 0.5), ("1",), (None,)]
)
def test_a_list_of_versions_is_not_empty_and_stays_in_16_bits(
    bad: tuple[int, ...],
) -> None:
    for arguments in ((bad, (0,)), ((0,), bad)):
        with pytest.raises(ValueError) as caught:
            Network("N", *arguments)
        assert str(caught.value) == f"versions must be one or more of 0..65535: {bad}"
    assert Network("N", (0, 65_535), (65_535,)).announced.p2p_version == 65_535


def test_versions_are_kept_as_tuples_whatever_holds_them() -> None:
    made = Network("N", [2, 0], iter((1, 0)))
    assert made == Network("N", (2, 0), (1, 0))
    assert made.distributed_db_versions == (2, 0)
    assert made.p2p_versions == (1, 0)
    assert hash(made) == hash(Network("N", (2, 0), (1, 0)))
    assert made.announced == Version("N", 2, 1)
    with pytest.raises(ValueError):
        Network("N", [])


@pytest.mark.parametrize(
    ("network", "name", "sandboxed"),
    [
        (MAINNET, "TEZOS_MAINNET", "SANDBOXED_TEZOS_MAINNET"),
        (GHOSTNET, "TEZOS_ITHACANET_2022-01-25T15:00:00Z", "SANDBOXED_TEZOS"),
        (SHADOWNET, "TEZOS_SHADOWNET_2025-08-07T20:00:00Z", "SANDBOXED_TEZOS"),
        (SANDBOX, "TEZOS", "SANDBOXED_TEZOS"),
    ],
)
def test_networks_have_their_names_and_the_names_of_their_sandboxes(
    network: Network, name: str, sandboxed: str
) -> None:
    assert network.chain_name == name
    assert network.sandboxed.chain_name == sandboxed
    assert network.distributed_db_versions == (0, 1, 2)
    assert network.sandboxed.distributed_db_versions == (0, 1, 2)
    assert network.p2p_versions == network.sandboxed.p2p_versions == (0, 1)
    assert network in NETWORKS.values()


def test_the_sandbox_of_other_versions_keeps_them() -> None:
    assert MAINNET_2019.sandboxed == Network("SANDBOXED_TEZOS", (0,), (0,))


@pytest.mark.parametrize(
    "network", [MAINNET.sandboxed, SANDBOX.sandboxed, Network("SANDBOXED_X", (1,), (0,))]
)
def test_the_sandbox_of_a_sandbox_is_itself(network: Network) -> None:
    assert network.sandboxed == network
    assert network.sandboxed.sandboxed.chain_name == network.chain_name


def test_a_name_that_only_resembles_a_sandboxs_has_a_sandbox_of_its_own() -> None:
    for name in ("SANDBOXED", "sandboxed_TEZOS", "X_SANDBOXED_TEZOS"):
        assert Network(name).sandboxed.chain_name == "SANDBOXED_TEZOS"


def test_networks_are_found_by_the_names_of_commands() -> None:
    assert list(NETWORKS) == ["mainnet", "ghostnet", "shadownet", "sandbox"]


def test_the_docstring_names_every_field_of_the_table() -> None:
    assert version.__doc__ is not None
    for field in VERSION.fields:
        assert f" {field.name} " in version.__doc__
