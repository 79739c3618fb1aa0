"""Access lists: every command in every state, expiry, bounds, and a naive model."""

from __future__ import annotations

import itertools
import sys
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tezos_p2p.fsm.acl import ENTRY_BYTES, Acl, StaticLists
from tezos_p2p.fsm.prefix import Prefix, PrefixError
from tezos_p2p.spec.address import Address
from tezos_p2p.spec.identity import PeerId
from tezos_p2p.spec.limits import Limits

DAY = 86_400.0
NOW = 1_000.0


def at(text: str) -> Address:
    return Address.parse(text)


def block(text: str) -> Prefix:
    return Prefix.parse(text)


def peer(number: int) -> PeerId:
    return PeerId(number.to_bytes(16, "big"))


def acl_of(**limits: float) -> Acl:
    return Acl(Limits(**limits))  # type: ignore[arg-type]  # any of its numbers


HOME = at("192.0.2.7")
AROUND = block("192.0.2.0/24")
SAMPLES = [
    at("ffff::3"),
    at("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"),
    at("::ffff:1.2.3.4"),
]


# -- what the reference's tests ask for ------------------------------------------------


def test_new_lists_ban_nobody():
    acl = acl_of()
    assert not any(acl.is_banned(address, NOW) for address in SAMPLES)
    assert not acl.is_peer_banned(peer(1), NOW)
    assert acl.greylisted_addresses(NOW) == []
    assert acl.greylisted_peers(NOW) == []
    assert acl.not_reliable_since is None


def test_who_is_greylisted_is_banned():
    acl = acl_of()
    for address in SAMPLES:
        assert acl.greylist(address, NOW)
    assert all(acl.is_banned(address, NOW) for address in SAMPLES)
    assert not acl.is_banned(at("ffff::4"), NOW)
    assert not any(acl.is_blacklisted(address) for address in SAMPLES)


def test_a_cleared_greylist_bans_nobody():
    acl = acl_of()
    for address in SAMPLES:
        acl.greylist(address, NOW)
    acl.clear_greylists()
    assert not any(acl.is_banned(address, NOW) for address in SAMPLES)


def test_what_has_expired_is_banned_no_more_and_collected_when_asked():
    acl = acl_of(ip_greylist_cleanup_delay=0.1)
    for address in SAMPLES:
        acl.greylist(address, NOW)
    assert acl.collect(NOW + 0.05) == 0
    assert not any(acl.is_banned(address, NOW + 1) for address in SAMPLES)
    assert acl.collect(NOW + 1) == 3
    assert acl.collect(NOW + 1) == 0


def test_a_peer_that_offends_again_is_kept_for_longer_than_who_does_not():
    foo, bar, baz, zor, qux = map(peer, range(5))
    acl = acl_of(peer_greylist_size=3)
    for each in (foo, bar, baz, foo, zor):
        assert acl.greylist_peer(each, NOW)
    assert acl.greylisted_peers(NOW) == [baz, foo, zor]
    assert not acl.is_peer_banned(bar, NOW)
    for each in (baz, baz, baz, qux):
        acl.greylist_peer(each, NOW)
    assert acl.greylisted_peers(NOW) == [zor, baz, qux]
    assert not acl.is_peer_greylisted(foo, NOW)


# -- every command in every state ------------------------------------------------------

#: By command: what it does with each list a state is made of.
COMMANDS = {
    "ban": lambda acl: acl.ban(HOME),
    "unban": lambda acl: acl.unban(HOME),
    "allow": lambda acl: acl.allow(HOME),
    "disallow": lambda acl: acl.disallow(HOME),
    "greylist": lambda acl: acl.greylist(HOME, NOW),
    "clear_greylists": lambda acl: acl.clear_greylists(),
    "clear": lambda acl: acl.clear(),
    "collect": lambda acl: acl.collect(NOW + DAY),
    "restore": lambda acl: acl.restore(StaticLists(allowed=(AROUND,))),
}

#: The state, as letters: black, grey, white.  The last column is the answer.
EFFECTS = """
    state  ban       unban     allow     disallow  greylist  clear_greylists
    -      b  True   -  False  w  True   -  False  g  True   -  None
    b      b  False  -  True   bw True   b  False  bg True   b  None
    g      bg True   -  True   w  True   g  False  g  True   -  None
    w      bw True   w  False  w  False  -  True   w  False  w  None
    bg     bg False  -  True   bw True   bg False  bg True   b  None
    bw     bw False  w  True   bw False  b  True   bw False  bw None

    state  clear     collect   restore
    -      -  None   -  0      w  None
    b      -  None   b  0      w  None
    g      -  None   -  1      w  None
    w      w  None   w  0      w  None
    bg     -  None   b  1      w  None
    bw     w  None   bw 0      w  None
"""


def effects():
    for table in EFFECTS.strip().split("\n\n"):
        head, *rows = (line.split() for line in table.splitlines())
        for state, *cells in rows:
            for command, after, answer in zip(
                head[1:], cells[::2], cells[1::2], strict=True
            ):
                yield pytest.param(
                    state, command, after, answer, id=f"{command} in {state}"
                )


def state_of(acl: Acl, address: Address) -> str:
    letters = "b" * acl.is_blacklisted(address)
    letters += "g" * acl.is_greylisted(address, NOW)
    letters += "w" * acl.is_exempt(address)
    assert acl.is_banned(address, NOW) == bool(set("bg") & set(letters))
    return letters or "-"


@pytest.mark.parametrize(("state", "command", "after", "answer"), [*effects()])
def test_every_command_in_every_state(state, command, after, answer):
    acl = acl_of()
    if "w" in state:
        acl.allow(HOME)
    if "g" in state:
        acl.greylist(HOME, NOW)
    if "b" in state:
        acl.ban(HOME)
    assert state_of(acl, HOME) == state
    bystander = at("198.51.100.1")
    assert str(COMMANDS[command](acl)) == answer
    assert state_of(acl, HOME) == after
    assert state_of(acl, bystander) == "-"


def test_the_table_of_effects_is_complete():
    seen = {(each.values[0], each.values[1]) for each in effects()}
    # An exempt address is never greylisted.
    states = ["-", "b", "g", "w", "bg", "bw"]
    assert seen == set(itertools.product(states, COMMANDS))


PEER_COMMANDS = {
    "ban": lambda acl: acl.ban_peer(peer(1)),
    "unban": lambda acl: acl.unban_peer(peer(1)),
    "greylist": lambda acl: acl.greylist_peer(peer(1), NOW),
    "clear_greylists": lambda acl: acl.clear_greylists(),
    "clear": lambda acl: acl.clear(),
    "collect": lambda acl: acl.collect(NOW + DAY),
}


@pytest.mark.parametrize(
    ("state", "command", "after", "answer"),
    [
        ("", "ban", "b", True),
        ("", "unban", "", False),
        ("", "greylist", "g", True),
        ("", "clear_greylists", "", None),
        ("", "clear", "", None),
        ("", "collect", "", 0),
        ("b", "ban", "b", False),
        ("b", "unban", "", True),
        ("b", "greylist", "bg", True),
        ("b", "clear_greylists", "b", None),
        ("b", "clear", "", None),
        ("b", "collect", "b", 0),
        ("g", "ban", "bg", True),
        ("g", "unban", "", True),
        ("g", "greylist", "g", True),
        ("g", "clear_greylists", "", None),
        ("g", "clear", "", None),
        ("g", "collect", "", 1),
        ("bg", "ban", "bg", False),
        ("bg", "unban", "", True),
        ("bg", "greylist", "bg", True),
        ("bg", "clear_greylists", "b", None),
        ("bg", "clear", "", None),
        ("bg", "collect", "b", 1),
    ],
)
def test_every_command_on_a_peer_in_every_state(state, command, after, answer):
    acl = acl_of()
    if "b" in state:
        acl.ban_peer(peer(1))
    if "g" in state:
        acl.greylist_peer(peer(1), NOW)
    assert PEER_COMMANDS[command](acl) is answer or command == "collect"
    found = "b" * acl.is_peer_blacklisted(peer(1))
    found += "g" * acl.is_peer_greylisted(peer(1), NOW)
    assert found == after
    assert acl.is_peer_banned(peer(1), NOW) == bool(after)
    assert not acl.is_peer_banned(peer(2), NOW)


# -- prefixes --------------------------------------------------------------------------


def test_a_banned_prefix_bans_what_is_in_it():
    acl = acl_of()
    assert acl.ban(AROUND)
    assert acl.is_banned(HOME, NOW)
    assert acl.is_banned(at("::ffff:192.0.2.255"), NOW)
    assert not acl.is_banned(at("192.0.3.0"), NOW)
    assert not acl.is_banned(at("::192.0.2.7"), NOW)


def test_an_address_stays_banned_while_a_prefix_around_it_is():
    acl = acl_of()
    acl.ban(AROUND)
    assert not acl.unban(HOME)
    assert acl.is_banned(HOME, NOW)
    assert acl.unban(AROUND)
    assert not acl.is_banned(HOME, NOW)


def test_unbanning_a_prefix_leaves_what_was_banned_by_itself():
    acl = acl_of()
    acl.ban(AROUND)
    acl.ban(HOME)
    acl.unban(AROUND)
    assert acl.is_banned(HOME, NOW)
    assert not acl.is_banned(at("192.0.2.8"), NOW)


@pytest.mark.parametrize("command", [Acl.unban, Acl.allow])
def test_a_prefix_lifts_the_greylistings_in_it_and_no_others(command):
    acl = acl_of()
    for text in ("192.0.2.1", "192.0.3.1", "192.0.2.2", "2001:db8::1"):
        acl.greylist(at(text), NOW)
    assert command(acl, AROUND)
    left = [str(address) for address in acl.greylisted_addresses(NOW)]
    assert left == ["192.0.3.1", "2001:db8::1"]


def test_a_white_prefix_is_shielded_from_offences_but_not_from_the_admin():
    acl = acl_of()
    acl.allow(block("10.0.0.0/8"))
    inside = at("10.1.2.3")
    assert not acl.greylist(inside, NOW)
    assert not acl.is_banned(inside, NOW)
    assert acl.is_exempt(inside)
    assert acl.ban(inside)
    assert acl.is_banned(inside, NOW)
    assert acl.is_exempt(inside)


def test_an_address_and_its_prefix_of_full_length_are_one():
    acl = acl_of()
    assert acl.ban(HOME)
    assert not acl.ban(block("192.0.2.7/32"))
    assert acl.unban(block("192.0.2.7/32"))
    assert not acl.is_banned(HOME, NOW)


@pytest.mark.parametrize("target", [Prefix(1, 64), Address(-1), Address(1 << 128)])
@pytest.mark.parametrize("command", [Acl.ban, Acl.allow])
def test_what_is_no_address_and_no_prefix_gets_into_no_list(command, target):
    acl = acl_of()
    with pytest.raises(PrefixError):
        command(acl, target)
    assert acl.static == StaticLists()


# -- time ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "delay"),
    [
        ({}, DAY),
        ({"greylist_timeout": 60.0}, 60.0),
        ({"ip_greylist_cleanup_delay": 90.0}, 90.0),
        ({"ip_greylist_cleanup_delay": 90.0, "greylist_timeout": 60.0}, 90.0),
    ],
)
def test_the_delay_is_the_one_that_is_configured(limits, delay):
    acl = acl_of(**limits)
    acl.greylist(HOME, NOW)
    acl.greylist_peer(peer(1), NOW)
    for later, banned in ((0.0, True), (delay - 0.001, True), (delay, False)):
        assert acl.is_banned(HOME, NOW + later) is banned
        assert acl.is_greylisted(HOME, NOW + later) is banned
        assert acl.is_peer_banned(peer(1), NOW + later) is banned
        assert acl.greylisted_addresses(NOW + later) == [HOME] * banned
        assert acl.greylisted_peers(NOW + later) == [peer(1)] * banned
    assert acl.collect(NOW + delay) == 2


@pytest.mark.parametrize("name", ["ip_greylist_cleanup_delay", "greylist_timeout"])
def test_a_delay_of_nothing_greylists_nobody(name):
    acl = acl_of(**{name: 0})
    assert not acl.greylist(HOME, NOW)
    assert not acl.greylist_peer(peer(1), NOW)
    assert not acl.is_banned(HOME, NOW)
    assert not acl.is_peer_banned(peer(1), NOW)
    assert acl.collect(NOW) == 0


def test_another_offence_begins_the_time_anew():
    acl = acl_of(greylist_timeout=10.0)
    acl.greylist(HOME, 0.0)
    acl.greylist(at("::1"), 1.0)
    acl.greylist(HOME, 9.0)
    assert acl.is_banned(HOME, 18.0)
    assert acl.greylisted_addresses(9.0) == [at("::1"), HOME]
    assert acl.collect(18.0) == 1
    assert not acl.is_banned(HOME, 19.0)


def test_lists_of_peers_are_of_peer_ids():
    acl = acl_of()
    acl.greylist_peer(peer(7), NOW)
    (found,) = acl.greylisted_peers(NOW)
    assert isinstance(found, PeerId)
    assert isinstance(_only(acl.greylisted_addresses(NOW), acl), Address)


def _only(addresses: list[Address], acl: Acl) -> Address:
    assert addresses == []
    acl.greylist(HOME, NOW)
    (address,) = acl.greylisted_addresses(NOW)
    return address


# -- room ------------------------------------------------------------------------------


def test_the_list_says_since_when_it_is_not_complete():
    acl = acl_of(ip_greylist_size_in_kilobytes=1)
    for number in range(4):
        acl.greylist(Address(number), NOW + number)
    acl.greylist(Address(0), NOW + 5)  # full, but nobody has to leave
    assert acl.not_reliable_since is None
    assert len(acl.greylisted_addresses(NOW + 5)) == 4
    acl.greylist(Address(4), NOW + 6)
    acl.greylist(Address(5), NOW + 7)
    assert acl.not_reliable_since == NOW + 6
    assert acl.greylisted_addresses(NOW + 7) == [3, 0, 4, 5]
    acl.collect(NOW + 2 * DAY)
    assert acl.not_reliable_since == NOW + 6
    acl.clear_greylists()
    assert acl.not_reliable_since is None


def test_to_drop_what_has_expired_is_no_loss():
    acl = acl_of(ip_greylist_size_in_kilobytes=1, greylist_timeout=10.0)
    for number in range(4):
        acl.greylist(Address(number), 0.0)
    acl.greylist(Address(4), 10.0)
    assert acl.not_reliable_since is None
    assert acl.greylisted_addresses(10.0) == [4]


def test_everything_cleared_makes_the_list_complete_again():
    acl = acl_of(ip_greylist_size_in_kilobytes=1)
    for number in range(5):
        acl.greylist(Address(number), NOW)
    assert acl.not_reliable_since == NOW
    acl.clear()
    assert acl.not_reliable_since is None


@pytest.mark.parametrize(("size", "most"), [(1, 4), (3, 12), (2048, 8192)])
def test_kilobytes_are_so_many_addresses(size, most):
    acl = acl_of(ip_greylist_size_in_kilobytes=size)
    for number in range(most):
        acl.greylist(Address(number), NOW)
    assert len(acl.greylisted_addresses(NOW)) == most
    assert acl.is_banned(Address(0), NOW)
    acl.greylist(Address(most), NOW)
    assert len(acl.greylisted_addresses(NOW)) == most
    assert not acl.is_banned(Address(0), NOW)
    assert acl.not_reliable_since == NOW


def test_so_many_peers_and_not_one_more():
    acl = acl_of()
    for number in range(1023):
        acl.greylist_peer(peer(number), NOW)
    assert acl.is_peer_banned(peer(0), NOW)
    acl.greylist_peer(peer(1023), NOW)
    assert not acl.is_peer_banned(peer(0), NOW)
    assert len(acl.greylisted_peers(NOW)) == 1023
    # Of addresses, not of peers.
    assert acl.not_reliable_since is None


def test_a_thousand_times_more_offenders_than_there_is_room_for_take_no_more_room():
    # 256 addresses; a million against the default 8192 is flat too, and takes longer.
    acl = acl_of(ip_greylist_size_in_kilobytes=64)
    last = acl._grey._last
    sizes = []
    for number in range(256_000):
        acl.greylist(Address(number << 64), NOW)
        if number % 256 == 255:
            sizes.append(sys.getsizeof(last))
            assert len(last) == 256
    assert max(sizes) <= 2 * sizes[0]
    assert max(sizes[3:]) == max(sizes[:3])
    assert acl.is_banned(Address(255_999 << 64), NOW)


def test_the_same_offender_a_thousand_times_is_one():
    acl = acl_of()
    for tick in range(1000):
        acl.greylist(HOME, NOW + tick)
        acl.greylist_peer(peer(1), NOW + tick)
    assert acl.collect(NOW + 2 * DAY) == 2


def test_who_was_taken_out_leaves_nothing_behind():
    acl = acl_of(peer_greylist_size=3)
    for number in range(100):
        acl.greylist_peer(peer(number), NOW)
        assert acl.unban_peer(peer(number))
    for number in range(3):
        acl.greylist_peer(peer(number), NOW)
    assert acl.greylisted_peers(NOW) == [peer(0), peer(1), peer(2)]


def test_an_entry_takes_no_more_bytes_than_are_counted_for_it():
    acl = acl_of(ip_greylist_size_in_kilobytes=512)
    tracemalloc.start()
    try:
        for number in range(5_000):
            acl.greylist(Address(number << 64), NOW + number)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(acl.greylisted_addresses(NOW + 5_000)) == 2048
    assert 2048 * ENTRY_BYTES * 0.5 < taken <= 512 * 1024


def test_addresses_that_were_chosen_to_collide_do_not():
    # The hash of an int is its rest by this number; of these each is 7.
    modulus = sys.hash_info.modulus
    crafted = [Address(7 + number * modulus) for number in range(4_000)]
    assert {hash(address) for address in crafted} == {7}
    acl = acl_of()
    for address in crafted:
        acl.greylist(address, NOW)
    assert len({hash(key) for key in acl._grey._last}) > 3_990


# -- what is kept between two runs -----------------------------------------------------


def test_what_the_admin_decided_can_be_taken_out_and_put_back():
    acl = acl_of()
    acl.ban(AROUND)
    acl.ban(at("::1"))
    acl.ban_peer(peer(2))
    acl.ban_peer(peer(1))
    acl.allow(block("10.0.0.0/8"))
    acl.greylist(at("203.0.113.1"), NOW)
    kept = acl.static
    assert kept == StaticLists(
        (AROUND, block("::1")), (peer(2), peer(1)), (block("10.0.0.0/8"),)
    )
    other = acl_of()
    other.ban(at("203.0.113.2"))
    other.greylist(at("203.0.113.3"), NOW)
    other.greylist(at("10.0.0.1"), NOW)
    other.greylist_peer(peer(3), NOW)
    other.restore(kept)
    assert other.static == kept
    assert other.is_banned(HOME, NOW)
    assert other.is_peer_banned(peer(1), NOW)
    assert not other.is_banned(at("203.0.113.2"), NOW)
    assert other.greylisted_addresses(NOW) == [at("203.0.113.3")]
    assert other.greylisted_peers(NOW) == [peer(3)]


def test_bad_lists_change_nothing():
    acl = acl_of()
    acl.ban(HOME)
    before = acl.static
    for bad in (
        StaticLists(banned=(Prefix(1, 8),)),
        StaticLists(allowed=(Prefix(1, 8),)),
    ):
        with pytest.raises(PrefixError):
            acl.restore(bad)
        assert acl.static == before


# -- a naive model ---------------------------------------------------------------------

DELAY = 10.0
addresses = st.sampled_from(
    [at(f"192.0.2.{number}") for number in (0, 1, 127, 128, 129)]
    + [at(text) for text in ("192.0.3.1", "10.0.0.1", "::1", "2001:db8::1", "2001:db9::")]
)
prefixes = st.sampled_from(
    [
        block(text)
        for text in (
            "192.0.2.0/24",
            "192.0.2.128/25",
            "192.0.2.0/23",
            "0.0.0.0/0",
            "2001:db8::/32",
            "2001:db8::/31",
            "::/0",
        )
    ]
)
targets = st.one_of(addresses, addresses, prefixes)
peers = st.integers(0, 5).map(peer)


def holds(target: Address | Prefix, address: Address) -> bool:
    return target.contains(address) if isinstance(target, Prefix) else target == address


class AclMachine(RuleBasedStateMachine):
    """Drives the lists beside plain Python lists that are searched from end to end."""

    @initialize()
    def begin(self):
        self.acl = acl_of(
            peer_greylist_size=3, ip_greylist_size_in_kilobytes=1, greylist_timeout=DELAY
        )
        self.now = 100.0
        self.black: list[Address | Prefix] = []
        self.white: list[Address | Prefix] = []
        self.black_peers: list[PeerId] = []
        self.grey: list[tuple[Address, float]] = []
        self.grey_peers: list[tuple[PeerId, float]] = []
        self.unreliable: float | None = None

    def in_force(self, entries):
        return [key for key, since in entries if self.now < since + DELAY]

    def lift(self, whom) -> bool:
        before = len(self.grey)
        self.grey = [entry for entry in self.grey if not holds(whom, entry[0])]
        return len(self.grey) < before

    @rule(seconds=st.sampled_from([0.0, 0.5, 3.0, 10.0]))
    def wait(self, seconds):
        self.now += seconds

    @rule(address=addresses)
    def greylist(self, address):
        exempt = any(holds(each, address) for each in self.white)
        assert self.acl.greylist(address, self.now) is not exempt
        if exempt:
            return
        self.grey = [entry for entry in self.grey if entry[0] != address]
        if len(self.grey) == 4:
            _, since = self.grey.pop(0)
            if self.unreliable is None and self.now < since + DELAY:
                self.unreliable = self.now
        self.grey.append((address, self.now))

    @rule(peer_id=peers)
    def greylist_peer(self, peer_id):
        assert self.acl.greylist_peer(peer_id, self.now)
        self.grey_peers = [entry for entry in self.grey_peers if entry[0] != peer_id]
        self.grey_peers = [*self.grey_peers, (peer_id, self.now)][-3:]

    @rule(whom=targets)
    def ban(self, whom):
        assert self.acl.ban(whom) is (whom not in self.black)
        self.black += [whom] * (whom not in self.black)

    @rule(whom=targets)
    def unban(self, whom):
        lifted = self.lift(whom)
        assert self.acl.unban(whom) is (lifted or whom in self.black)
        self.black = [each for each in self.black if each != whom]

    @rule(peer_id=peers)
    def ban_peer(self, peer_id):
        assert self.acl.ban_peer(peer_id) is (peer_id not in self.black_peers)
        self.black_peers += [peer_id] * (peer_id not in self.black_peers)

    @rule(peer_id=peers)
    def unban_peer(self, peer_id):
        known = [*self.black_peers, *(key for key, _ in self.grey_peers)]
        assert self.acl.unban_peer(peer_id) is (peer_id in known)
        self.black_peers = [each for each in self.black_peers if each != peer_id]
        self.grey_peers = [entry for entry in self.grey_peers if entry[0] != peer_id]

    @rule(whom=targets)
    def allow(self, whom):
        assert self.acl.allow(whom) is (whom not in self.white)
        self.white += [whom] * (whom not in self.white)
        self.lift(whom)

    @rule(whom=targets)
    def disallow(self, whom):
        assert self.acl.disallow(whom) is (whom in self.white)
        self.white = [each for each in self.white if each != whom]

    @rule()
    def collect(self):
        every = [*self.grey, *self.grey_peers]
        assert self.acl.collect(self.now) == len(every) - len(self.in_force(every))
        self.grey = [entry for entry in self.grey if self.now < entry[1] + DELAY]
        self.grey_peers = [e for e in self.grey_peers if self.now < e[1] + DELAY]

    @rule(everything=st.booleans())
    def clear(self, everything):
        if everything:
            self.acl.clear()
            self.black, self.black_peers = [], []
        else:
            self.acl.clear_greylists()
        self.grey, self.grey_peers, self.unreliable = [], [], None

    @rule()
    def come_back_after_a_restart(self):
        static = self.acl.static
        self.acl = acl_of(
            peer_greylist_size=3, ip_greylist_size_in_kilobytes=1, greylist_timeout=DELAY
        )
        self.acl.restore(static)
        self.grey, self.grey_peers, self.unreliable = [], [], None

    @invariant()
    def answers_are_those_of_the_model(self):
        acl, now = self.acl, self.now
        grey, grey_peers = self.in_force(self.grey), self.in_force(self.grey_peers)
        assert acl.greylisted_addresses(now) == grey
        assert acl.greylisted_peers(now) == grey_peers
        assert acl.not_reliable_since == self.unreliable
        for address in map(at, ("192.0.2.0", "192.0.2.128", "192.0.3.1", "2001:db9::")):
            black = any(holds(each, address) for each in self.black)
            assert acl.is_blacklisted(address) == black
            assert acl.is_greylisted(address, now) == (address in grey)
            assert acl.is_banned(address, now) == (black or address in grey)
            exempt = any(holds(each, address) for each in self.white)
            assert acl.is_exempt(address) == exempt
            assert not (exempt and address in grey)
        for peer_id in map(peer, range(6)):
            black = peer_id in self.black_peers
            assert acl.is_peer_blacklisted(peer_id) == black
            assert acl.is_peer_banned(peer_id, now) == (black or peer_id in grey_peers)


TestAclBesideTheModel = AclMachine.TestCase
TestAclBesideTheModel.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None
)


@given(st.lists(st.tuples(st.integers(0, 9), st.floats(0, 5)), max_size=60))
def test_nobody_is_banned_longer_or_shorter_than_the_delay(offences):
    acl = acl_of(greylist_timeout=DELAY)
    now, last = 0.0, {}
    for number, gap in offences:
        now += gap
        acl.greylist(Address(number), now)
        last[number] = now
        for each in range(10):
            expected = each in last and now < last[each] + DELAY
            assert acl.is_banned(Address(each), now) is expected
