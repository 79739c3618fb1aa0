"""Who may fill our slots: quotas, rations of dials, reserves, anchors, tests."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tezos_p2p.fsm.diversity import (
    DIALLED_MAX,
    TESTS_MAX,
    Bounds,
    Diversity,
    Eviction,
    block_of,
)
from tezos_p2p.spec.address import Address
from tezos_p2p.spec.limits import Limits
from tezos_p2p.spec.point import Point

HOUR = 3600.0


def point(text: str, port: int = 9732) -> Point:
    return Point(Address.parse(text), port)


def test_few_connections_go_to_one_block():
    diversity = Diversity(Bounds(per_block=3))
    for number in range(3):
        there = point(f"20.1.{number}.1")
        assert diversity.may_dial(there, 0.0)
        diversity.dialled(number, there, 0.0)
    # Attempts count from the moment they begin: thirty in parallel are thirty.
    assert not diversity.may_dial(point("20.1.200.1"), 0.0)
    assert diversity.may_dial(point("20.2.0.1"), 0.0)
    diversity.joined(0, incoming=False)
    assert not diversity.may_dial(point("20.1.200.1"), 0.0)
    diversity.left(1)
    assert diversity.may_dial(point("20.1.200.1"), 0.0)
    diversity.left(0)
    diversity.left(0)
    diversity.left(99)
    assert diversity.outgoing == 1
    diversity.left(2)
    assert diversity.outgoing == 0


def test_a_block_is_a_sixteenth_of_ipv4_and_a_provider_of_ipv6():
    def same(one: str, other: str) -> bool:
        return block_of(Address.parse(one)) == block_of(Address.parse(other))

    assert same("1.2.3.4", "1.2.255.255")
    assert not same("1.2.3.4", "1.3.3.4")
    assert same("2600:1::", "2600:1:ffff::1")
    assert not same("2600:1::", "2600:2::")
    # Tunnels make no new neighbourhoods: the IPv4 address behind them counts.
    assert same("2002:102:304::1", "1.2.9.9")
    assert same("64:ff9b::1.2.3.4", "1.2.9.9")
    assert not same("2600:1::", "1.2.3.4")


def test_quota_gives_way_while_the_node_lacks_connections():
    diversity = Diversity(Bounds(per_block=1))
    diversity.dialled(1, point("20.1.0.1"), 0.0)
    other = point("20.1.0.2")
    assert not diversity.may_dial(other, 0.0)
    assert diversity.may_dial(other, 0.0, lacking=True)
    assert diversity.may_dial(other, 0.0, exempt=True)


@pytest.mark.parametrize("net", ["127.0.0.1", "10.0.0.1", "fd00::1", "203.0.113.4"])
def test_networks_of_ones_own_have_no_quota(net):
    diversity = Diversity()
    for port in range(1, 200):
        there = point(net, port)
        assert diversity.may_dial(there, 0.0)
        diversity.dialled(port, there, 0.0)
        diversity.joined(port, incoming=False)
    assert diversity.outgoing == 199


def test_what_nobody_can_reach_is_not_dialled():
    diversity = Diversity()
    for bad in (point("0.0.0.0"), point("224.0.0.1"), point("::"), point("8.8.8.8", 0)):
        assert not diversity.may_dial(bad, 0.0)
        assert not diversity.may_dial(bad, 0.0, lacking=True)
    # An operator knows what he does.
    assert diversity.may_dial(point("224.0.0.1"), 0.0, exempt=True)


def test_an_address_with_a_thousand_ports_is_dialled_a_few_times_a_minute():
    diversity = Diversity()
    dials = 0
    for second in range(600):
        for port in range(1, 20):
            victim = point("20.1.0.1", second * 20 + port)
            if diversity.may_dial(victim, float(second), lacking=True):
                diversity.dialled(1, victim, float(second))
                dials += 1
    diversity.left(1)
    assert dials == 6 + 59  # a burst, and one every ten seconds
    assert diversity.may_dial(point("20.1.0.2"), 600.0)


def test_the_dials_that_are_remembered_are_bounded():
    diversity = Diversity()
    for number in range(DIALLED_MAX + 10):
        address = Address((0xFFFF << 32) + (20 << 24) + number)
        diversity.dialled(number, Point(address, 1), 0.0)
        diversity.left(number)
    assert len(diversity._dials) == DIALLED_MAX
    assert not diversity._blocks


def test_the_last_slots_are_not_for_whoever_comes():
    diversity = Diversity()
    slots = Limits().thresholds.max_threshold
    assert (slots, diversity.reserved(slots)) == (84, 8)
    for link in range(slots - 8):
        assert diversity.may_take_in(slots)
        diversity.joined(link, incoming=True)
    assert not diversity.may_take_in(slots)
    assert diversity.may_take_in(slots, exempt=True)
    diversity.left(5)
    assert diversity.may_take_in(slots)
    assert diversity.incoming == 75


@pytest.mark.parametrize("slots", range(1, 8))
def test_small_nodes_reserve_nothing(slots):
    diversity = Diversity()
    for link in range(slots):
        assert diversity.may_take_in(slots)
        diversity.joined(link, incoming=True)
    assert not diversity.may_take_in(slots)


def test_a_node_of_the_usual_size_among_honest_peers_never_notices():
    limits = Limits()
    chance = random.Random(1)
    refused = 0
    diversity = Diversity()
    for link in range(limits.thresholds.max_target):
        host = chance.randrange(1 << 16)
        there = point(f"{20 + chance.randrange(30)}.7.{host >> 8}.{host & 255}")
        refused += not diversity.may_dial(there, link * 0.1)
        diversity.dialled(link, there, link * 0.1)
        diversity.joined(link, incoming=False)
    assert refused == 0
    # And as many as come to a half-empty node find a place.
    for link in range(limits.max_connections // 2):
        assert diversity.may_take_in(limits.thresholds.max_threshold)
        diversity.joined(1000 + link, incoming=True)


def test_an_attacker_of_one_block_never_gets_all_outgoing_slots():
    diversity = Diversity()
    minimum, wanted = 10, 50
    chance = random.Random(2)
    own = 0
    for attempt in range(2000):
        now = attempt * 1.0
        if diversity.outgoing == wanted:
            break
        evil = chance.random() < 0.95
        host = chance.randrange(1 << 16)
        net = "66.6" if evil else f"{20 + chance.randrange(40)}.1"
        there = point(f"{net}.{host >> 8}.{host & 255}")
        if diversity.may_dial(there, now, lacking=diversity.outgoing < minimum):
            diversity.dialled(attempt, there, now)
            own += not evil
    assert diversity.outgoing == wanted
    assert own >= wanted - minimum


def test_an_outgoing_link_that_was_never_dialled_is_a_mistake():
    diversity = Diversity()
    with pytest.raises(KeyError):
        diversity.joined(1, incoming=False)
    assert diversity.outgoing == 0


def test_a_link_that_is_dialled_twice_counts_once():
    diversity = Diversity(Bounds(per_block=1))
    diversity.dialled(1, point("20.1.0.1"), 0.0)
    diversity.dialled(1, point("20.2.0.1"), 0.0)
    assert diversity.outgoing == 1
    assert diversity.may_dial(point("20.1.0.2"), 0.0)


# -- anchors ---------------------------------------------------------------------------


def run(diversity: Diversity, link: int, text: str) -> None:
    diversity.dialled(link, point(text), 0.0)
    diversity.joined(link, incoming=False)


def test_the_longest_connected_of_each_block_are_the_anchors():
    diversity = Diversity(Bounds(anchors=3))
    diversity.dialled(9, point("29.1.0.1"), 0.0)  # a dial that is not answered yet
    diversity.dialled(1, point("21.1.0.1"), 0.0)
    run(diversity, 2, "22.1.0.1")
    diversity.joined(1, incoming=False)
    run(diversity, 3, "22.1.0.2")
    diversity.joined(8, incoming=True)
    run(diversity, 4, "23.1.0.1")
    run(diversity, 5, "24.1.0.1")
    names = [str(each.address) for each in diversity.anchors()]
    assert names == ["22.1.0.1", "21.1.0.1", "23.1.0.1"]
    diversity.left(1)
    names = [str(each.address) for each in diversity.anchors()]
    assert names == ["22.1.0.1", "23.1.0.1", "24.1.0.1"]


def test_anchors_of_ones_own_network_may_be_neighbours():
    diversity = Diversity()
    for link in range(6):
        run(diversity, link, f"10.0.0.{link + 1}")
    assert [each.address & 0xFF for each in diversity.anchors()] == [1, 2, 3, 4]


def test_anchors_are_dialled_first_after_a_restart():
    kept = tuple(point(f"2{number}.1.0.1") for number in range(6))
    diversity = Diversity(Bounds(anchors=4), kept)
    assert diversity.waiting_anchors == kept[:4]
    diversity.dialled(1, kept[1], 0.0)
    assert diversity.waiting_anchors == (kept[0], kept[2], kept[3])
    # A crash now loses none of them.
    assert diversity.anchors() == kept[:4]
    diversity.joined(1, incoming=False)
    assert diversity.anchors() == (kept[1], kept[0], kept[2], kept[3])
    for link, each in enumerate(kept[:4]):
        diversity.dialled(link, each, 1.0)
    assert diversity.waiting_anchors == ()


def test_an_anchor_that_cannot_be_reached_stays_one():
    kept = (point("21.1.0.1"), point("22.1.0.1"))
    diversity = Diversity(Bounds(anchors=4), kept)
    for link, each in enumerate(kept):
        diversity.dialled(link, each, 0.0)
    diversity.left(0)
    diversity.left(1)
    assert diversity.anchors() == kept
    assert diversity.waiting_anchors == kept
    # Once it was reached it is dialled as all others are.
    diversity.dialled(2, kept[0], 1.0)
    diversity.joined(2, incoming=False)
    diversity.left(2)
    assert diversity.waiting_anchors == kept[1:]
    assert diversity.anchors() == kept


def test_anchors_are_kept_until_others_take_their_places():
    kept = (point("21.1.0.1"), point("22.1.0.1"))
    diversity = Diversity(Bounds(anchors=2), kept)
    run(diversity, 1, "23.1.0.1")
    assert diversity.anchors() == (point("23.1.0.1"), kept[0])
    run(diversity, 2, "24.1.0.1")
    replaced = (point("23.1.0.1"), point("24.1.0.1"))
    assert diversity.anchors() == replaced
    # The network is gone: the last ones are known, not those of before.
    diversity.left(1)
    diversity.left(2)
    assert diversity.anchors() == replaced


def test_there_may_be_no_anchors():
    diversity = Diversity(Bounds(anchors=0), (point("20.1.0.1"),))
    run(diversity, 1, "21.1.0.1")
    assert diversity.anchors() == diversity.waiting_anchors == ()


# -- test before evict -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("seen", "missed", "advice"),
    [
        (None, None, Eviction.YES),  # hearsay
        (None, 5.0, Eviction.YES),
        (5.0, 6.0, Eviction.YES),  # reached once, but not when it was last tried
        (5.0, 5.0, Eviction.TEST),
        (5.0, 4.0, Eviction.TEST),
        (5.0, None, Eviction.TEST),
        (9 * HOUR, None, Eviction.NO),
        (7 * HOUR + 1.0, 1.0, Eviction.NO),
        (7 * HOUR, 1.0, Eviction.TEST),
    ],
)
def test_who_may_leave_the_table(seen, missed, advice):
    diversity = Diversity()
    assert diversity.may_evict(point("20.1.0.1"), seen, missed, 10 * HOUR) is advice
    due = diversity.next_test(10 * HOUR)
    assert (due is not None) is (advice is Eviction.TEST)


def test_tests_are_few_and_each_point_waits_once():
    diversity = Diversity()
    assert diversity.next_timeout() is None
    first, second = point("20.1.0.1"), point("20.2.0.1")
    for _ in range(3):
        diversity.may_evict(first, 0.0, None, 10 * HOUR)
        diversity.may_evict(second, 0.0, None, 10 * HOUR)
    now = 10 * HOUR
    at = diversity.next_timeout()
    assert at is not None
    assert at <= now
    assert diversity.next_test(now) == first
    assert diversity.next_test(now) is None
    assert diversity.next_timeout() == now + 120.0
    assert diversity.next_test(now + 119.9) is None
    assert diversity.next_test(now + 120.0) == second
    assert diversity.next_timeout() is None
    assert diversity.next_test(now + 999.0) is None


def test_whoever_is_dialled_anyhow_needs_no_test():
    diversity = Diversity()
    diversity.may_evict(point("20.1.0.1"), 0.0, None, 10 * HOUR)
    diversity.dialled(1, point("20.1.0.1"), 10 * HOUR)
    assert diversity.next_timeout() is None


def test_those_that_may_not_be_dialled_keep_nobody_waiting():
    diversity, now = Diversity(), 10 * HOUR
    for number in range(TESTS_MAX):
        diversity.may_evict(point(f"20.{number}.0.1"), 0.0, None, now)
    last = point(f"20.{TESTS_MAX - 1}.0.1")
    assert diversity.next_test(now, lambda it: it == last) == last
    assert diversity.next_timeout() is None
    # If nobody may, no time is lost either.
    diversity.may_evict(last, 0.0, None, now)
    assert diversity.next_test(now + 120.0, lambda it: False) is None
    diversity.may_evict(last, 0.0, None, now)
    assert diversity.next_test(now + 120.0) == last


def test_the_points_that_wait_for_a_test_are_bounded():
    diversity = Diversity()
    for number in range(TESTS_MAX + 1):
        advice = diversity.may_evict(point("20.1.0.1", number + 1), 0.0, None, 10 * HOUR)
        assert advice is Eviction.TEST
    assert len(diversity._tests) == TESTS_MAX


# -- bounds ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "least"),
    [
        ("per_block", 1),
        ("dials_per_minute", 1),
        ("reserved", 0),
        ("anchors", 0),
        ("fresh", 0),
        ("test_gap", 0),
    ],
)
def test_bounds_that_would_stop_the_node_are_refused(name, least):
    Diversity(Bounds(**{name: least}))
    with pytest.raises(ValueError, match=name):
        Bounds(**{name: least - 1})


STEPS = st.lists(
    st.tuples(
        st.sampled_from(("dial", "join", "take", "leave")),
        st.integers(0, 9),
        st.sampled_from(("20.1.0.1", "20.1.0.2", "20.2.0.1", "10.0.0.1", "2600::1")),
    ),
    max_size=60,
)


@given(STEPS)
def test_counts_are_what_a_list_of_links_would_count(steps):
    diversity = Diversity(Bounds(per_block=2))
    ours: dict[int, Point] = {}
    theirs: set[int] = set()
    for step, link, text in steps:
        there = point(text)
        if step == "dial" and link not in theirs:
            if diversity.may_dial(there, 0.0, lacking=True):
                diversity.dialled(link, there, 0.0)
                ours[link] = there
        elif step == "join" and link in ours:
            diversity.joined(link, incoming=False)
        elif step == "take" and link not in ours:
            diversity.joined(link, incoming=True)
            theirs.add(link)
        elif step == "leave":
            diversity.left(link)
            ours.pop(link, None)
            theirs.discard(link)
        assert diversity.outgoing == len(ours)
        assert diversity.incoming == len(theirs)
        counted: dict[object, int] = {}
        for each in ours.values():
            if each.address != Address.parse("10.0.0.1"):
                block = block_of(each.address)
                counted[block] = counted.get(block, 0) + 1
        assert diversity._blocks == counted
