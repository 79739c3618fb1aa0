"""How far addresses reach, and who may tell whom."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tezos_p2p.fsm.scope import Scope, carried, may_teach, scope_of
from tezos_p2p.spec.address import Address
from tezos_p2p.spec.point import Point

ADDRESSES = st.one_of(
    st.integers(0, 2**128 - 1),
    st.integers(0, 2**32 - 1).map(lambda host: 0xFFFF << 32 | host),
    st.integers(0, 2**125 - 1).map(lambda rest: 1 << 125 | rest),
).map(Address)


@pytest.mark.parametrize(
    ("scope", "texts"),
    [
        (Scope.LOOPBACK, "127.0.0.1 127.255.255.255 ::1"),
        (
            Scope.PRIVATE,
            "10.0.0.1 10.255.255.255 172.16.0.0 172.31.255.255 192.168.1.1 100.64.0.1 "
            "100.127.255.255 169.254.1.1 198.18.0.1 198.19.255.255 192.0.0.1 192.0.2.1 "
            "198.51.100.7 203.0.113.9 fc00::1 fdff::1 fe80::1 febf::1 fec0::1 "
            "64:ff9b:1::1 2001:db8::1 3fff::1",
        ),
        (Scope.NOWHERE, "0.0.0.0 0.1.2.3 224.0.0.1 240.0.0.1 255.255.255.255"),
        (Scope.NOWHERE, ":: ::2 ::1.2.3.4 100::1 ff02::1 ff0e::1 4000::1 e000::1"),
        (
            Scope.GLOBAL,
            "1.2.3.4 9.255.255.255 11.0.0.0 172.15.255.255 172.32.0.0 100.63.255.255 "
            "100.128.0.0 126.255.255.255 128.0.0.0 223.255.255.255 192.0.1.1 "
            "198.17.255.255 198.20.0.0 2000::1 2600::1 2001:db7::1 3ffe::1",
        ),
        # What an IPv6 address carries says where it leads.
        (Scope.GLOBAL, "64:ff9b::8.8.8.8 2002:808:808::1 2001:0:1::f7f7:f7f7"),
        (Scope.PRIVATE, "64:ff9b::10.0.0.1 2002:a00:1::1 2001:0:1::f5ff:fffe"),
        (Scope.LOOPBACK, "64:ff9b::127.0.0.1 2002:7f00:1::"),
        (Scope.NOWHERE, "64:ff9b::0.0.0.0 2002:e000:1::"),
    ],
)
def test_how_far_an_address_reaches(scope, texts):
    for text in texts.split():
        assert scope_of(Address.parse(text)) is scope, text


@given(ADDRESSES)
def test_what_is_carried_carries_nothing(address):
    assert carried(carried(address)) == carried(address)


@given(ADDRESSES)
def test_the_internet_is_not_wider_than_the_standard_library_has_it(address):
    if scope_of(address) is Scope.GLOBAL and carried(address) == address:
        text = str(address)
        # Some blocks of special purpose are smaller than we care about.
        special = ("192.0.0.0/8", "192.88.99.0/24", "2001::/23", "2620:4f:8000::/48")
        known = ipaddress.ip_address(text)
        if not any(
            known in block
            for block in map(ipaddress.ip_network, special)
            if block.version == known.version
        ):
            assert known.is_global
            assert not known.is_multicast


def point(text: str) -> Point:
    return Point(Address.parse(text), 9732)


SAMPLES = {
    Scope.LOOPBACK: "127.0.0.1",
    Scope.PRIVATE: "192.168.0.7",
    Scope.GLOBAL: "8.8.4.4",
    Scope.NOWHERE: "224.0.0.1",
}


@pytest.mark.parametrize(
    ("source", "taught"),
    [
        (Scope.LOOPBACK, {Scope.LOOPBACK, Scope.PRIVATE, Scope.GLOBAL}),
        (Scope.PRIVATE, {Scope.PRIVATE, Scope.GLOBAL}),
        (Scope.GLOBAL, {Scope.GLOBAL}),
        (Scope.NOWHERE, {Scope.GLOBAL}),
    ],
)
def test_nobody_tells_of_what_is_nearer_than_himself(source, taught):
    address = Address.parse(SAMPLES[source])
    for scope, text in SAMPLES.items():
        assert may_teach(address, point(text)) is (scope in taught), scope


def test_nobody_tells_of_port_zero():
    local = Address.parse("127.0.0.1")
    assert not may_teach(local, Point(local, 0))
    assert may_teach(local, Point(local, 1))
    assert may_teach(local, Point(local, 65535))


def test_every_scope_has_a_meaning():
    assert len({scope.meaning for scope in Scope}) == len(Scope)
