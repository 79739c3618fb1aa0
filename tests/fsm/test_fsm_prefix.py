"""Prefixes: text, what they hold, and sets of them against a plain search."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tezos_p2p.fsm.prefix import Prefix, PrefixError, PrefixSet, prefix_of
from tezos_p2p.spec.address import Address

EVERY = 1 << 128
MAPPED = 0xFFFF << 32

addresses = st.one_of(
    st.integers(0, EVERY - 1),
    st.integers(MAPPED, MAPPED + (1 << 32) - 1),
).map(Address)
prefixes = st.builds(Prefix.of, addresses, st.integers(0, 128))


def at(text: str) -> Address:
    return Address.parse(text)


# -- text ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "network", "length"),
    [
        ("192.0.2.0/24", MAPPED + 0xC0000200, 120),
        ("0.0.0.0/0", MAPPED, 96),
        ("192.0.2.7/32", MAPPED + 0xC0000207, 128),
        ("192.0.2.7", MAPPED + 0xC0000207, 128),
        ("2001:db8::/32", 0x20010DB8 << 96, 32),
        ("::/0", 0, 0),
        ("8000::/1", 1 << 127, 1),
        ("::1", 1, 128),
        ("::1/128", 1, 128),
    ],
)
def test_a_prefix_is_read_from_text(text, network, length):
    assert Prefix.parse(text) == (network, length)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("192.0.2.7/32", "192.0.2.7"),
        ("2001:0DB8::0/32", "2001:db8::/32"),
        ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::/96", "::/96"),
        ("::1/128", "::1"),
        ("::fffe:0:0/95", "::fffe:0:0/95"),
    ],
)
def test_a_prefix_has_one_text_only(text, canonical):
    assert str(Prefix.parse(text)) == canonical


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no IPv4 or IPv6 address"),
        ("/24", "no IPv4 or IPv6 address"),
        ("192.0.2/24", "no IPv4 or IPv6 address"),
        ("[::1]/128", "no IPv4 or IPv6 address"),
        ("192.0.2.0/", "no length: 0 to 32"),
        ("192.0.2.0/33", "no length: 0 to 32"),
        ("192.0.2.0/120", "no length: 0 to 32"),
        ("192.0.2.0/+8", "no length"),
        ("192.0.2.0/ 8", "no length"),
        ("192.0.2.0/08", "no length"),
        ("192.0.2.0/8/8", "no length"),
        ("192.0.2.0/255.255.255.0", "no length"),
        ("192.0.2.0/٢٤", "no length"),
        ("2001:db8::/129", "no length: 0 to 128"),
        ("2001:db8::/-1", "no length"),
        ("192.0.2.77/24", r"behind its length: 192\.0\.2\.0/24\?"),
        ("2001:db8::1/32", "behind its length: 2001:db8::/32"),
        ("::ffff:192.0.2.0/24", "behind its length: ::/24"),
        ("192.0.2.0/" + "9" * 10_000, "no length"),
    ],
)
def test_what_is_no_prefix_is_refused_with_its_reason(text, complaint):
    with pytest.raises(PrefixError, match=complaint) as caught:
        Prefix.parse(text)
    assert len(str(caught.value)) < 200


@given(prefixes)
def test_a_prefix_survives_its_text(prefix):
    assert Prefix.parse(str(prefix)) == prefix


@given(st.integers(0, (1 << 32) - 1), st.integers(0, 32))
def test_ipv4_text_is_that_of_the_standard_library(number, length):
    theirs = ipaddress.IPv4Network((number, length), strict=False)
    ours = Prefix.of(MAPPED + number, 96 + length)
    assert Prefix.parse(str(theirs)) == ours
    assert str(ours).partition("/")[0] == str(theirs.network_address)


@given(st.integers(0, EVERY - 1), st.integers(0, 128))
def test_ipv6_prefixes_are_those_of_the_standard_library(number, length):
    theirs = ipaddress.IPv6Network((number, length), strict=False)
    assert Prefix.parse(str(theirs)) == Prefix.of(number, length)


# -- numbers ---------------------------------------------------------------------------


@pytest.mark.parametrize("length", [-1, 129])
def test_a_length_is_0_to_128(length):
    with pytest.raises(PrefixError, match="length"):
        Prefix.of(at("::1"), length)


@pytest.mark.parametrize("address", [-1, EVERY])
def test_an_address_has_128_bits(address):
    with pytest.raises(PrefixError, match="128 bits"):
        Prefix.of(address)


@given(prefixes, addresses)
def test_a_prefix_holds_the_addresses_that_begin_like_it(prefix, address):
    last = prefix.network + (1 << (128 - prefix.length)) - 1
    assert prefix.contains(address) == (prefix.network <= address <= last)
    assert prefix.contains(prefix.network)
    assert prefix.contains(last)
    assert not prefix.contains(last + 1)
    assert not prefix.contains(prefix.network - 1)
    assert prefix.is_address == (prefix.network == last)


@given(st.integers(-2, EVERY + 1), st.integers(-2, 130))
def test_a_sound_prefix_is_one_that_would_be_made_of_its_numbers(network, length):
    made = 0 <= length <= 128 and 0 <= network < EVERY
    made = made and Prefix.of(network, length).network == network
    assert Prefix(network, length).is_sound == made


@given(prefixes)
def test_what_is_made_is_sound(prefix):
    assert prefix.is_sound


# -- who holds an address --------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "prefix"),
    [
        ("192.0.2.77", "192.0.2.0/24"),
        ("::ffff:192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:1:2fff::7", "2001:db8:1:2f00::/56"),
        ("::1", "::/56"),
    ],
)
def test_addresses_are_put_together_by_24_and_56_bits(address, prefix):
    assert str(prefix_of(at(address))) == prefix


def test_other_lengths_may_be_asked_for():
    assert str(prefix_of(at("192.0.2.77"), v4=16)) == "192.0.0.0/16"
    assert str(prefix_of(at("192.0.2.77"), v4=32)) == "192.0.2.77"
    assert str(prefix_of(at("192.0.2.77"), v4=0)) == "0.0.0.0/0"
    assert str(prefix_of(at("2001:db8::7"), v6=32)) == "2001:db8::/32"
    assert str(prefix_of(at("2001:db8::7"), v6=0)) == "::/0"


@pytest.mark.parametrize(
    ("address", "lengths"),
    [
        ("192.0.2.77", (-1, 0)),
        ("192.0.2.77", (33, 0)),
        ("::1", (0, -1)),
        ("::1", (0, 129)),
    ],
)
def test_lengths_out_of_range_are_refused(address, lengths):
    with pytest.raises(PrefixError, match="length"):
        prefix_of(at(address), *lengths)


# -- sets ------------------------------------------------------------------------------


def set_of(*texts: str) -> PrefixSet:
    members = PrefixSet()
    for text in texts:
        assert members.add(Prefix.parse(text))
    return members


def test_an_empty_set_covers_nothing():
    members = PrefixSet()
    assert not members.covers(at("::"))
    assert list(members) == []
    assert len(members) == 0


def test_a_prefix_in_the_middle_covers_what_is_in_it_and_no_more():
    members = set_of("ffff:eeee::/32")
    assert members.covers(at("ffff:eeee::1"))
    assert not members.covers(at("ffff:eeef::"))
    assert not members.covers(at("ffff:eeed:ffff:ffff:ffff:ffff:ffff:ffff"))


def test_two_halves_cover_everything():
    halves = set_of("::/1", "8000::/1")
    for text in ("::", "::1", "7fff::", "8000::", "192.0.2.1", "ffff::"):
        assert halves.covers(at(text))


def test_all_of_ipv4_is_nothing_of_ipv6():
    members = set_of("0.0.0.0/0")
    assert members.covers(at("0.0.0.0"))
    assert members.covers(at("255.255.255.255"))
    assert not members.covers(at("::"))
    assert not members.covers(at("::fffe:ffff:ffff"))
    assert not members.covers(at("::1:0:0:0"))


def test_a_set_has_each_prefix_once_and_in_the_order_it_came():
    members = set_of("192.0.2.0/24", "::1", "10.0.0.0/8")
    assert not members.add(Prefix.parse("::1"))
    assert [str(each) for each in members] == ["192.0.2.0/24", "::1", "10.0.0.0/8"]
    assert Prefix.parse("10.0.0.0/8") in members
    assert Prefix.parse("10.0.0.0/9") not in members


def test_a_prefix_of_the_same_network_and_another_length_is_another():
    members = set_of("10.0.0.0/8", "10.0.0.0/16")
    assert members.discard(Prefix.parse("10.0.0.0/8"))
    assert not members.discard(Prefix.parse("10.0.0.0/8"))
    assert members.covers(at("10.0.255.1"))
    assert not members.covers(at("10.1.0.0"))


@pytest.mark.parametrize("numbers", [(1, 8), (0, 129), (0, -1), (-1, 128), (EVERY, 128)])
def test_a_set_takes_no_prefix_that_is_none(numbers):
    members = PrefixSet()
    with pytest.raises(PrefixError, match="is no prefix"):
        members.add(Prefix(*numbers))
    assert len(members) == 0


def test_a_set_can_be_emptied():
    members = set_of("::/0", "10.0.0.0/8")
    members.clear()
    assert not members.covers(at("10.0.0.1"))
    assert members.add(Prefix.parse("::/0"))


# Few bits, so that prefixes meet.
near = st.builds(
    lambda head, tail: Address(head << 120 | tail), st.integers(0, 3), st.integers(0, 3)
)
near_prefixes = st.builds(Prefix.of, near, st.sampled_from([0, 6, 7, 8, 126, 127, 128]))


@given(st.lists(st.tuples(st.booleans(), near_prefixes), max_size=30), st.lists(near))
def test_a_set_covers_what_any_of_its_prefixes_holds(changes, questions):
    members, plain = PrefixSet(), []
    for comes, prefix in changes:
        if comes:
            assert members.add(prefix) == (prefix not in plain)
            plain += [prefix] * (prefix not in plain)
        else:
            assert members.discard(prefix) == (prefix in plain)
            plain = [each for each in plain if each != prefix]
        assert list(members) == plain
        assert len(members) == len(plain)
    for address in questions:
        assert members.covers(address) == any(each.contains(address) for each in plain)


def test_a_look_up_asks_once_for_each_length_however_many_prefixes_there_are():
    members = PrefixSet()
    for number in range(10_000):
        members.add(Prefix.of(number << 64, 64))
    members.add(Prefix.parse("2001:db8::/32"))
    assert [len(heads) for heads in members._heads.values()] == [10_000, 1]
    for number in range(10_000):
        members.discard(Prefix.of(number << 64, 64))
    assert list(members._heads) == [96]
