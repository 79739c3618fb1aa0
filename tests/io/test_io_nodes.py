"""Nodes over every driver: connecting, messages, who is refused, stopping."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
import time

import attrs
import driver_suite
import node_suite
import pytest
from node_suite import WAIT, busy_limits, limits

from tezos_p2p.fsm.inbox import Joined, Left, Message
from tezos_p2p.fsm.machine import LocalProtocolError
from tezos_p2p.fsm.prefix import Prefix
from tezos_p2p.io.node_ends import NotConnected
from tezos_p2p.spec import PointError
from tezos_p2p.spec.address import Address
from tezos_p2p.spec.metadata import TezosMetadata
from tezos_p2p.spec.point import Point
from tezos_p2p.spec.pool_events import ConnectionEstablished, Disconnected
from tezos_p2p.spec.reasons import ErrorKind, Reason

world = node_suite.fixture(node_suite.VARIANTS)
real_world = node_suite.fixture(node_suite.REAL)

MIB = 1 << 20
#: Little waits anywhere but in the system's own buffers.
NARROW = limits(
    incoming_message_queue_size=100_000,
    incoming_app_message_queue_size=2,
    outgoing_message_queue_size=100_000,
)
#: Has room only where nothing else waits.
LONG = b"at last" * 20_000


def flood(side, peer, message=bytes(4 * MIB), turns=50, calm=0.25):
    """Queue messages until there is no room, and nothing moves; return how many.

    Nothing has moved in so many turns and seconds: a busy machine lets a thread wait.
    """
    count, still, before, moved = 0, 0, -1, time.monotonic()
    while still < turns or (side.world.real and time.monotonic() - moved < calm):
        if side.send_now(peer.peer_id, message):
            count += 1
        side.world.step()
        link = side.link_to(peer).link
        sealed = side.look(lambda link=link: side.core._reception.connection(link).sealed)
        still += 1
        if sealed != before:
            still, before, moved = 0, sealed, time.monotonic()
    return count


# -- connecting ---


def test_a_point_is_connected_to_and_both_are_told(world):
    ours, theirs = world.node(), world.node(theirs=True)
    running = ours.connect(theirs.point)
    assert running.peer.peer_id == theirs.peer_id
    assert not running.incoming
    assert ours.known == (theirs.peer_id,)
    assert world.result(ours.run(lambda: ours.node.peers)) == (running,)
    assert theirs.pull(Joined).remote.peer_id == ours.peer_id
    assert ours.pull(Joined).remote.peer_id == theirs.peer_id
    assert theirs.link_to(ours).incoming


def test_a_text_is_connected_to_if_the_right_peer_is_there(world):
    ours, theirs = world.node(), world.node(theirs=True)
    assert ours.connect(theirs.text).peer.peer_id == theirs.peer_id
    assert ours.known == (theirs.peer_id,)


def test_another_peer_than_the_expected_one_is_refused(world):
    ours, theirs, third = world.node(), world.node(theirs=True), world.node(theirs=True)
    with pytest.raises(NotConnected):
        ours.connect(f"{theirs.point}#{third.peer_id}")
    world.until(lambda: theirs.is_quiet and ours.is_quiet)
    assert ours.known == theirs.known == ()
    # Nobody else pays for it.
    assert ours.connect(third.text).peer.peer_id == third.peer_id


def test_where_nobody_listens_no_connection_comes_about(world):
    ours, theirs = world.node(), world.node(theirs=True)
    theirs.stop()
    if not world.real:
        world.network.kill(theirs.node.host)
    with pytest.raises(NotConnected):
        ours.connect(theirs.point)
    assert ours.is_quiet


def test_who_is_connected_is_not_dialled_again(world):
    ours, theirs = world.pair()
    with pytest.raises(NotConnected) as caught:
        ours.connect(theirs.point)
    assert caught.value.why.kind is ErrorKind.CONNECTED
    assert ours.census == {"RUNNING": 1}


def test_a_node_finds_out_that_it_dials_itself(world):
    ours = world.node()
    with pytest.raises(NotConnected):
        ours.connect(ours.point)
    world.until(lambda: ours.is_quiet)
    assert ours.known == ()


def test_two_that_dial_each_other_at_once_have_one_connection_or_none(world):
    if world.variant == "calls":
        pytest.skip("a node without a thread answers within its own calls only")
    ours, theirs = world.node(), world.node(theirs=True)
    both = [ours.begin("connect", theirs.point), theirs.begin("connect", ours.point)]
    world.until(lambda: all(each.done() for each in both))
    world.until(lambda: sum(ours.census.values()) <= 1 >= sum(theirs.census.values()))
    world.until(lambda: len(ours.known) == len(theirs.known))
    for each in both:
        assert each.exception() is None or isinstance(each.exception(), NotConnected)


@pytest.mark.parametrize("text", ["", "a b:1", "1.2.3.4:99999", "127.0.0.1:1#idnonsense"])
def test_texts_that_name_no_host_are_refused(world, text):
    with pytest.raises(PointError):
        world.node().connect(text)


# -- maintenance ---


def test_maintenance_connects_to_the_points_that_it_was_given(world):
    theirs = [world.node(theirs=True) for _ in range(3)]
    wanted = busy_limits(3, 3, 5)
    ours = world.node(limits=wanted, peers=[each.point for each in theirs])
    world.until(lambda: set(ours.known) == {each.peer_id for each in theirs})
    assert ours.maintain() is True


def test_maintenance_learns_of_peers_from_peers(world):
    # Where a node listens has to be where it dials from, or nobody could tell.
    home = {"listen": "127.0.0.1:0"} if world.real else {}
    first, third = world.node(theirs=True, **home), world.node(theirs=True, **home)
    third.connect(first.point)
    wanted = busy_limits(2, 2, 4)
    ours = world.node(limits=wanted, peers=[first.point], **home)
    world.until(lambda: set(ours.known) == {first.peer_id, third.peer_id})
    assert ours.maintain() is True


def test_maintenance_drops_those_who_are_too_many(world):
    ours = world.node(limits=busy_limits(0, 1, 4))  # trims above 3, to 2
    theirs = [world.node(theirs=True) for _ in range(4)]
    for each in theirs[:3]:
        ours.connect(each.point)
    assert ours.maintain() is True
    assert len(ours.known) == 3
    with pytest.raises(NotConnected):
        ours.connect(theirs[3].point)  # the threshold is reached
    reception = ours.core._reception
    reception._rules = attrs.evolve(reception._rules, threshold=4)
    # One too many: it may be gone again before it was seen.
    with contextlib.suppress(NotConnected):
        ours.connect(theirs[3].point)
    world.until(lambda: len(ours.known) == 2)
    assert ours.maintain() is True
    world.until(lambda: sum(bool(each.known) for each in theirs) == 2)


def test_who_waits_for_maintenance_is_told_when_it_stops(world):
    if world.variant == "calls":
        pytest.skip("only one call at once without a thread")
    dead = Point.parse("127.77.0.1:1" if world.real else "250.1.1.1:1")
    ours = world.node(limits=busy_limits(3, 3, 5), peers=[dead])
    asked = ours.begin("maintain")
    stopping = ours.begin("stop")
    assert world.result(asked) is False
    world.result(stopping)


def test_without_maintenance_asking_for_it_is_an_error(world):
    ours = world.node()
    with pytest.raises(LocalProtocolError):
        ours.maintain()
    ours.stop()
    with pytest.raises(LocalProtocolError):
        ours.maintain()


# -- messages ---


def test_messages_arrive_each_way_in_order(world):
    ours, theirs = world.pair()
    numbers = [b"%d" % n for n in range(100)]
    taking = theirs.begin("take", 100)
    ours.say(theirs.peer_id, numbers)
    assert world.result(taking) == [(ours.peer_id, each) for each in numbers]
    saying = theirs.begin("say", ours.peer_id, numbers)
    assert ours.take(100) == [(theirs.peer_id, each) for each in numbers]
    world.result(saying)


def test_big_messages_arrive_whole_and_in_order(world):
    ours, theirs = world.pair()
    big = [bytes([n]) * (MIB + n) for n in range(6)]
    taking, saying = theirs.begin("take", 6), theirs.begin("say", ours.peer_id, big)
    ours.say(theirs.peer_id, big)
    assert ours.take(6) == [(theirs.peer_id, each) for each in big]
    assert world.result(taking) == [(ours.peer_id, each) for each in big]
    world.result(saying)


def test_thousands_of_small_messages_arrive_in_order(world):
    ours, theirs = world.pair()
    many = [n.to_bytes(1 + n % 40, "big") if n < 256 else b"%d" % n for n in range(5_000)]
    taking, saying = theirs.begin("take", 5_000), theirs.begin("say", ours.peer_id, many)
    ours.say(theirs.peer_id, many)
    assert ours.take(5_000) == [(theirs.peer_id, each) for each in many]
    assert world.result(taking) == [(ours.peer_id, each) for each in many]
    world.result(saying)


def test_a_broadcast_reaches_all_but_those_skipped(world):
    ours = world.node()
    theirs = [world.node(theirs=True) for _ in range(3)]
    for each in theirs:
        ours.connect(each.point)
    assert ours.broadcast(b"all") == 3
    assert ours.broadcast(b"two", skip=[theirs[1].peer_id]) == 2
    assert ours.broadcast(b"end") == 3
    for number, each in enumerate(theirs):
        said = [b"all", b"end"] if number == 1 else [b"all", b"two", b"end"]
        taking = each.begin("take", len(said))
        assert world.result(taking) == [(ours.peer_id, message) for message in said]


def test_a_broadcast_passes_over_who_has_no_room(world):
    ours = world.node(limits=NARROW)
    stuck, free = world.node(theirs=True, limits=NARROW), world.node(theirs=True)
    ours.connect(stuck.point)
    ours.connect(free.point)
    flood(ours, stuck)
    assert ours.broadcast(LONG) == 1
    taking = free.begin("take", 1)
    assert world.result(taking) == [(ours.peer_id, LONG)]


def test_sending_without_room_waits_and_goes_on(world):
    ours, theirs = world.pair({"limits": NARROW}, {"limits": NARROW})
    count = flood(ours, theirs)
    sending = ours.begin("send", theirs.peer_id, LONG)
    if world.variant == "calls":
        time.sleep(0.05)
    else:
        world.pause(0.05)
    assert not sending.done()
    taking = theirs.begin("take", count + 1)
    world.result(sending)
    assert [len(it) for _, it in world.result(taking)] == [4 * MIB] * count + [len(LONG)]


def test_a_send_that_waits_is_told_when_its_peer_goes(world):
    ours, theirs = world.pair({"limits": NARROW}, {"limits": NARROW})
    flood(ours, theirs)
    sending = ours.begin("send", theirs.peer_id, LONG)
    theirs.disconnect(ours.peer_id)
    with pytest.raises(NotConnected):
        world.result(sending)


def test_nothing_can_be_sent_to_who_is_not_connected(world):
    ours, theirs = world.node(), world.node(theirs=True)
    for verb in ("send", "send_now"):
        with pytest.raises(NotConnected):
            getattr(ours, verb)(theirs.peer_id, b"")
    assert ours.broadcast(b"nobody") == 0
    assert ours.disconnect(theirs.peer_id) is False


def test_a_consumer_that_is_stuck_delays_no_other_peer(world):
    ours = world.node(limits=NARROW)
    stuck, free = world.node(theirs=True, limits=NARROW), world.node(theirs=True)
    ours.connect(stuck.point)
    ours.connect(free.point)
    flood(ours, stuck)
    taking = free.begin("take", 200)
    ours.say(free.peer_id, [b"%d" % n for n in range(200)])
    assert [it for _, it in world.result(taking)] == [b"%d" % n for n in range(200)]
    # The system may have found room for a little more; but no end of it.
    assert flood(ours, stuck) < 5


def test_an_application_that_does_not_pull_stops_only_who_talks(world):
    ours = world.node(limits=NARROW)
    loud, quiet = (world.node(theirs=True, limits=NARROW) for _ in range(2))
    ours.connect(loud.point)
    ours.connect(quiet.point)
    flood(loud, ours)
    quiet.send_now(ours.peer_id, b"psst")
    # We do not pull, and yet we write.
    taking = quiet.begin("take", 50)
    ours.say(quiet.peer_id, [b"%d" % n for n in range(50)])
    assert len(world.result(taking)) == 50
    # Who is quiet has its turn, whatever the other has sent.
    found = [ours.take(1)[0] for _ in range(3)]
    assert (quiet.peer_id, b"psst") in found


# -- who is refused ---


def test_who_is_disconnected_may_come_again(world):
    ours, theirs = world.pair()
    assert ours.disconnect(theirs.peer_id) is True
    assert ours.pull(Left).disconnection.reason is Reason.USER
    left = theirs.begin("receive")
    assert isinstance(world.result(left), Joined)
    left = theirs.begin("receive")
    assert world.result(left).disconnection.reason is Reason.CONNECTION_CLOSED_BY_PEER
    world.until(lambda: ours.is_quiet and theirs.is_quiet)
    assert ours.connect(theirs.point).peer.peer_id == theirs.peer_id


def test_nothing_of_a_peer_is_delivered_after_it_was_disconnected(world):
    ours, theirs = world.pair()
    taking = ours.begin("take", 1)
    theirs.say(ours.peer_id, [b"first", *[b"late"] * 20])
    assert world.result(taking) == [(theirs.peer_id, b"first")]
    ours.disconnect(theirs.peer_id)
    rest = []
    while not (rest and isinstance(rest[-1], Left)):
        rest.append(ours.receive())
    assert not [item for item in rest if isinstance(item, Message)]


def test_a_banned_peer_goes_and_does_not_come_back(world):
    ours, theirs = world.pair()
    ours.ban(theirs.peer_id)
    assert ours.pull(Left).disconnection.reason is Reason.PEER_ID_MANUALLY_BANNED
    world.until(lambda: ours.is_quiet and theirs.is_quiet)
    coming = theirs.begin("connect", ours.point)
    world.until(coming.done)
    assert isinstance(coming.exception(), NotConnected)
    with pytest.raises(NotConnected):
        ours.connect(theirs.point)
    world.until(lambda: ours.is_quiet and theirs.is_quiet)
    ours.unban(str(theirs.peer_id))
    assert ours.connect(theirs.point).peer.peer_id == theirs.peer_id


def test_a_banned_address_is_neither_dialled_nor_heard(world):
    ours, theirs = world.pair()
    # Whoever dials does it from here.
    source = "127.0.0.1" if world.real else str(theirs.point.address)
    ours.ban(str(theirs.point.address))
    ours.ban(source)
    assert ours.pull(Left).disconnection.reason is Reason.IP_MANUALLY_BANNED
    world.until(lambda: ours.is_quiet and theirs.is_quiet)
    with pytest.raises(NotConnected) as caught:
        ours.connect(theirs.point)
    assert caught.value.why.kind is ErrorKind.POINT_BANNED
    coming = theirs.begin("connect", ours.point)
    world.until(coming.done)
    assert isinstance(coming.exception(), NotConnected)
    assert ours.core.refused[Reason.INCOMING_CONNECTION_BANNED] == 1
    ours.unban(source)
    ours.unban(theirs.point)
    # The peer was banned with its address.
    ours.unban(theirs.peer_id)
    assert ours.connect(theirs.point).peer.peer_id == theirs.peer_id


def test_an_operator_may_do_all_that_the_lists_know(world):
    ours = world.node(limits=limits(incoming_message_queue_size=100_000))
    theirs = world.node(theirs=True)
    acl, place = ours.core.acl, "9.9.9.0/24"
    here = Address.parse("9.9.9.9")
    for who in (place, str(here), "9.9.9.9:9732", str(theirs.peer_id)):
        ours.ban(who)
        ours.open(who)
    assert not acl.is_blacklisted(here)
    assert not acl.is_peer_blacklisted(theirs.peer_id)
    ours.trust("9.9.9.9:9732")
    ours.open("9.9.9.9:9732")
    assert not ours.core.pool.known_points[Point(here, 9732)].trusted
    ours.trust(theirs.peer_id)
    ours.open(theirs.peer_id)
    assert not ours.core.pool.known_peers[theirs.peer_id].trusted
    ours.allow(place)
    assert acl.is_exempt(here)
    ours.disallow(Prefix.parse(place))
    assert not acl.is_exempt(here)
    for wrong in ("9.9.9.9:1", str(theirs.peer_id)):
        with pytest.raises(ValueError, match="no address or prefix"):
            ours.allow(wrong)
    ours.ban(place)
    ours.connect(theirs.point)
    ours.greylist(theirs.peer_id, "says what is not so")
    left = ours.pull(Left)
    assert (left.peer_id, left.disconnection.text) == (
        theirs.peer_id,
        "says what is not so",
    )
    with pytest.raises(NotConnected, match="banned"):
        ours.connect(theirs.point)
    ours.clear_greylists()
    assert acl.is_blacklisted(here)
    ours.connect(theirs.point)
    ours.clear_lists()
    assert not acl.is_blacklisted(here)


def test_in_private_mode_only_the_trusted_come_in(world):
    ours = world.node(private_mode=True)
    theirs = world.node(theirs=True)
    with pytest.raises(NotConnected) as caught:
        ours.connect(theirs.point)
    assert caught.value.why.kind is ErrorKind.PRIVATE_MODE
    coming = theirs.begin("connect", ours.point)
    world.until(coming.done)
    assert isinstance(coming.exception(), NotConnected)
    world.until(lambda: ours.is_quiet)
    ours.trust(theirs.peer_id)
    ours.trust(str(theirs.point))
    assert ours.connect(theirs.point).trusted
    ours.untrust(theirs.point)
    assert ours.link_to(theirs).trusted
    ours.untrust(str(theirs.peer_id))
    assert not ours.link_to(theirs).trusted


def test_what_is_neither_a_peer_nor_a_point_is_told_off(world):
    ours = world.node()
    for verb in ("ban", "unban", "trust", "untrust"):
        with pytest.raises(ValueError, match="is no peer id"):
            getattr(ours, verb)("nobody at all")
    with pytest.raises(ValueError, match="neither a peer id nor a point"):
        ours.trust("10.0.0.0/8")


def test_what_is_remembered_of_a_peer_can_be_changed(world):
    ours, theirs = world.pair()
    changed = attrs.evolve(TezosMetadata(), valid_blocks=3)
    ours.update_metadata(theirs.peer_id, lambda it: changed)
    assert ours.link_to(theirs).peer.metadata == changed


def test_observers_are_told_in_order(world):
    ours, theirs = world.pair()
    ours.disconnect(theirs.peer_id)
    told = []
    while (event := ours.next_event()) is not None:
        told.append(type(event))
    assert told[-1] is Disconnected
    assert told.index(ConnectionEstablished) < told.index(Disconnected)


# -- stopping ---


def test_receiving_and_iterating_end_when_it_stops(world):
    if world.variant == "calls":
        pytest.skip("only one call at once without a thread")
    ours, theirs = world.pair()
    theirs.send(ours.peer_id, b"one")
    theirs.send(ours.peer_id, b"two")
    waiting = [ours.begin(verb) for verb in ("watch", "listen", "receive")]
    if world.real:
        world.pause(0.02)
    ours.stop()
    items = [*world.result(waiting[0])]
    messages = [message for _, message in world.result(waiting[1])]
    with contextlib.suppress(NotConnected):
        items.append(world.result(waiting[2]))
    messages += [item.message for item in items if isinstance(item, Message)]
    assert sorted(messages) == [b"one", b"two"]
    with pytest.raises(NotConnected):
        ours.receive()
    assert ours.receive_now() is None
    assert ours.listen() == ours.watch() == []


def test_the_last_item_is_that_the_peer_has_left(world):
    ours, theirs = world.pair()
    theirs.send(ours.peer_id, b"bye")
    world.until(lambda: any(it.messages for it in [tally(ours)]))
    ours.stop()
    items = ours.watch()
    assert isinstance(items[0], Joined)
    assert isinstance(items[-1], Left)
    assert items[-1].disconnection.reason is Reason.POOL_DESTROYED


@attrs.frozen
class Tally:
    messages: int


def tally(side):
    return Tally(side.core._inbox.waiting)


def test_a_stop_lets_leave_what_is_queued(world):
    ours, theirs = world.pair()
    watching = theirs.begin("watch")
    messages = [bytes([n]) * 300_000 for n in range(8)]
    for message in messages:
        assert ours.send_now(theirs.peer_id, message)
    ours.stop()
    world.until(lambda: not theirs.known)
    theirs.stop()
    items = world.result(watching)
    assert [item.message for item in items if isinstance(item, Message)] == messages


@pytest.mark.parametrize("timeout", [0.0, 0.3])
def test_a_stop_waits_no_longer_than_it_may_for_a_peer_that_reads_nothing(world, timeout):
    ours, theirs = world.pair({"limits": NARROW}, {"limits": NARROW})
    flood(ours, theirs)
    began = world.clock()
    ours.stop(timeout)
    took = world.clock() - began
    assert timeout <= took < timeout + (2.0 if world.real else 0.1)
    assert ours.is_quiet


def test_who_is_stopped_without_time_drops_what_is_queued(world):
    ours, theirs = world.pair({"limits": NARROW}, {"limits": NARROW})
    count = flood(ours, theirs)
    ours.stop(0.0)
    watching = theirs.begin("watch")
    world.until(lambda: not theirs.known)
    theirs.stop()
    items = world.result(watching)
    assert len([item for item in items if isinstance(item, Message)]) < count


def test_stopping_again_is_harmless(world):
    ours, _ = world.pair()
    for _ in range(3):
        ours.stop()
    assert ours.known == ()
    assert ours.core.next_timeout() is None


def test_several_may_stop_it_at_once(world):
    if world.variant == "calls":
        pytest.skip("only one call at once without a thread")
    ours, theirs = world.pair({"limits": NARROW}, {"limits": NARROW})
    flood(ours, theirs)
    for each in [ours.begin("stop", 0.2) for _ in range(3)]:
        world.result(each)
    assert ours.is_quiet


@pytest.mark.parametrize("number", [0, 1], ids=["who began it", "who came later"])
def test_a_stop_may_be_given_up_and_ends_at_once_if_by_who_began_it(number):
    with node_suite.world_of("aio") as world:
        ours, theirs = world.pair({"limits": NARROW}, {"limits": NARROW})
        flood(ours, theirs)
        began = world.clock()
        calls = [ours.begin("stop", 3.0) for _ in range(2)]
        world.until(lambda: ours.node.stopped)
        calls.pop(number).cancel()
        world.result(calls[0])
        assert (world.clock() - began < 2.5) is (number == 0)
        assert ours.is_quiet


def test_a_stop_ends_what_is_being_dialled(world):
    ours, theirs = world.node(), world.node(theirs=True)
    connecting = ours.begin("connect", theirs.point)
    if world.variant == "calls":
        world.result(connecting)  # only one call at once without a thread
    ours.stop()
    world.until(connecting.done)
    if connecting.exception() is not None:
        assert isinstance(connecting.exception(), (NotConnected, LocalProtocolError))
    assert ours.is_quiet
    world.until(lambda: theirs.is_quiet)


def test_it_is_started_once(world):
    ours = world.node()
    with pytest.raises(LocalProtocolError):
        ours.begin("start").result(WAIT)
    ours.stop()
    with pytest.raises(LocalProtocolError):
        ours.begin("start").result(WAIT)


def test_who_was_stopped_before_the_start_does_not_start(real_world):
    ours = real_world.node(start=False)
    ours.stop()
    ours.stop()
    with pytest.raises(LocalProtocolError):
        ours.start()
    with pytest.raises(NotConnected):
        ours.receive()
    assert ours.listen() == []


def test_before_the_start_it_can_be_told_whom_to_ban(world):
    ours, theirs = world.node(start=False), world.node(theirs=True)
    ours.ban(theirs.peer_id)
    ours.start()
    with pytest.raises(NotConnected):
        ours.connect(theirs.point)


#: What needs connections, and so a start.
NEEDS_A_START = {
    "send": (driver_suite.THEIRS.peer_id, b"m"),
    "send_now": (driver_suite.THEIRS.peer_id, b"m"),
    "broadcast": (b"m",),
    "receive": (),
    "receive_now": (),
    "connect": ("127.0.0.1:1",),
    "maintain": (),
}


@pytest.mark.parametrize("verb", NEEDS_A_START)
def test_what_needs_connections_needs_a_start(world, verb):
    ours = world.node(start=False)
    with pytest.raises(LocalProtocolError) as caught:
        ours.begin(verb, *NEEDS_A_START[verb]).result(WAIT)
    assert caught.value.state == "not started"
    ours.start()  # nothing has happened
    assert ours.is_quiet


def test_iterating_needs_a_start(real_world):
    ours = real_world.node(start=False)
    for verb in ("listen", "watch"):
        with pytest.raises(LocalProtocolError):
            ours.begin(verb).result(WAIT)


@pytest.mark.parametrize("variant", ["thread", "calls"])
def test_running_needs_a_start(variant):
    with node_suite.world_of(variant) as world, pytest.raises(LocalProtocolError):
        world.node(start=False).run(world.node(start=False).node.run, 0.0).result(WAIT)


def test_before_the_start_lists_may_be_filled_and_all_be_looked_at(world):
    ours, theirs = world.node(start=False), world.node(theirs=True)
    who, there = theirs.peer_id, theirs.point
    for verb in ("ban", "unban", "open", "trust", "untrust"):
        ours.begin(verb, who).result(WAIT)
    ours.begin("expect", there, who).result(WAIT)
    ours.begin("allow", there.address).result(WAIT)
    ours.begin("disallow", there.address).result(WAIT)
    ours.begin("clear_lists").result(WAIT)
    ours.begin("configure", str(there), str(who)).result(WAIT)
    ours.begin("greylist", who, "why").result(WAIT)
    assert ours.begin("disconnect", who).result(WAIT) is False
    assert ours.run(lambda: ours.node.peers).result(WAIT) == ()
    assert ours.begin("ask", lambda core, now: now).result(WAIT) == 0.0
    ours.begin("update_metadata", who, lambda it: it).result(WAIT)
    ours.start()
    assert ours.connect(there).peer.peer_id == who
    assert ours.link_to(theirs).trusted


def test_who_was_stopped_says_so_when_it_is_started(world):
    ours = world.node(start=False)
    if world.real:
        ours.stop()
        with pytest.raises(LocalProtocolError, match="state stopped"):
            ours.begin("start").result(WAIT)
        with pytest.raises(NotConnected):
            ours.begin("send", ours.peer_id, b"m").result(WAIT)
        assert ours.begin("receive_now").result(WAIT) is None


# -- how it shows itself ---


def test_a_node_shows_where_it_is_and_how_it_stands(real_world):
    ours, theirs = real_world.node(start=False), real_world.node(theirs=True)
    kind = f"{type(ours.node).__module__.rpartition('.')[2]}.Node"
    name = f"<{kind} {ours.point} {ours.peer_id}"
    assert repr(ours.node) == f"{name} not started, peers: 0>"
    ours.start()
    running = ours.connect(theirs.point)
    assert repr(ours.node) == f"{name} running, peers: 1>"
    assert len(repr(running)) < 150
    assert str(theirs.peer_id) in repr(running)
    ours.stop()
    assert repr(ours.node) == f"{name} stopped, peers: 0>"


# -- who is meant ---


def test_a_peer_is_disconnected_by_its_text(world):
    ours, theirs = world.pair()
    assert ours.disconnect(str(theirs.peer_id)) is True
    world.until(lambda: not ours.known)
    ours.pull(Left)
    assert ours.disconnect(str(theirs.peer_id)) is False


NO_PEER = [5, None, ("127.0.0.1", 1), bytes(16), Point.parse("127.0.0.1:1")]


@pytest.mark.parametrize("who", NO_PEER, ids=["int", "None", "pair", "bytes", "point"])
def test_what_is_no_peer_is_an_error(world, who):
    ours, _ = world.pair()
    for verb, more in {
        "disconnect": (),
        "greylist": ("why",),
        "update_metadata": (lambda it: it,),
    }.items():
        with pytest.raises(TypeError, match="peer_id must be a PeerId or its text"):
            ours.begin(verb, who, *more).result(WAIT)
    with pytest.raises(TypeError, match="peer_id must be a PeerId, not"):
        ours.begin("send", who, b"m").result(WAIT)
    with pytest.raises(TypeError):
        ours.begin("expect", ours.point, who).result(WAIT)


@pytest.mark.parametrize("text", ["", "garbage", "127.0.0.1:1", "idnonsense"])
def test_a_text_that_is_no_peer_id_is_an_error(world, text):
    ours = world.node()
    for verb, more in {"disconnect": (), "greylist": ("why",)}.items():
        with pytest.raises(ValueError):
            ours.begin(verb, text, *more).result(WAIT)


def test_the_text_of_a_peer_is_not_sent_to_and_that_is_said(world):
    ours, theirs = world.pair()
    with pytest.raises(TypeError, match="peer_id must be a PeerId, not a str"):
        ours.begin("send", str(theirs.peer_id), b"m").result(WAIT)


@pytest.mark.parametrize("who", [5, None, b"\1\2\3\4", ("127.0.0.1", 1)])
def test_what_names_nobody_is_not_banned(world, who):
    ours = world.node()
    for verb in ("ban", "unban", "open", "trust", "untrust", "allow", "disallow"):
        with pytest.raises(TypeError, match="must be a PeerId, Point, Address or Prefix"):
            ours.begin(verb, who).result(WAIT)


# -- what is left behind ---


def test_the_with_statement_starts_and_stops(real_world):
    ours = real_world.node(start=False)
    theirs = real_world.node(theirs=True)

    async def use_async(node):
        async with node as it:
            await it.connect(theirs.point)
            return it.stopped

    def use(node):
        with node as it:
            it.connect(theirs.point)
            return it.stopped

    asynchronous = hasattr(ours.node, "__aenter__")
    whole = ours.run(use_async if asynchronous else use, ours.node)
    assert real_world.result(whole) is False
    assert ours.node.stopped
    assert ours.is_quiet
    real_world.until(lambda: theirs.is_quiet)


class Mistake(Exception):
    """Of the application."""


def test_after_a_mistake_the_with_statement_does_not_wait(real_world):
    ours = real_world.node(start=False, limits=NARROW)
    theirs = real_world.node(theirs=True, limits=NARROW)

    async def use_async(node):
        async with node as it:
            await it.connect(theirs.point)
            for _ in range(9):
                it.send_now(theirs.peer_id, bytes(4 * MIB))
                await asyncio.sleep(0.01)
            raise Mistake

    def use(node):
        with node as it:
            it.connect(theirs.point)
            for _ in range(9):
                it.send_now(theirs.peer_id, bytes(4 * MIB))
                it.run(0.01)
            raise Mistake

    asynchronous = hasattr(ours.node, "__aenter__")
    began = time.monotonic()
    whole = ours.run(use_async if asynchronous else use, ours.node)
    with pytest.raises(Mistake):
        real_world.result(whole)
    assert time.monotonic() - began < 2.5  # a stop would wait for 3
    assert ours.is_quiet


def test_a_stopped_node_has_no_task_thread_descriptor_or_callback(real_world):
    """While the loop, or the process, goes on; the world itself checks it at its end."""
    threads = set(threading.enumerate())
    before = driver_suite.descriptors()
    theirs = real_world.node(theirs=True)
    ours = real_world.node(limits=busy_limits(1, 1, 3), peers=[theirs.point])
    real_world.until(lambda: ours.known)
    ours.send(theirs.peer_id, b"hello")
    ours.stop()
    theirs.stop()
    real_world.until(lambda: set(threading.enumerate()) <= threads | {loop_user()}, 5)
    # Some loops close what they have closed a turn later.
    give_up = time.monotonic() + 5
    while new := descriptors_beside(before):
        assert time.monotonic() < give_up, new
        real_world.step()
    for side in (ours, theirs):
        host = real_world.host(side)
        if isinstance(host, driver_suite.AioHost):
            assert real_world.result(side.run(tasks)) == 0
            real_world.result(side.run(node_suite.idle))
            assert side.node._driver._timer is None
        assert side.core.next_timeout() is None
        assert len(side.core) == 0 or side.core.readable


def descriptors_beside(before):
    now = driver_suite.descriptors()
    new = {number: what for number, what in now.items() if number not in before}
    # uvloop keeps one in reserve for when there are no more, until the loop ends.
    return {number: what for number, what in new.items() if what != "/dev/null"}


def loop_user():
    """Return the thread that uses a node which has none, if there is one."""
    named = [it for it in threading.enumerate() if it.name == "user"]
    return named[0] if named else threading.current_thread()


def tasks():
    return len(asyncio.all_tasks() - {asyncio.current_task()})


@pytest.mark.parametrize("turns", range(12))
def test_a_connect_that_is_given_up_at_any_moment_leaves_nothing(turns):
    with node_suite.world_of("aio") as world:
        ours, theirs = world.node(), world.node(theirs=True)

        async def give_up():
            task = asyncio.ensure_future(ours.node.connect(theirs.point))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await ours.node.stop(0.0)
            return len(ours.node._news), tasks()

        assert world.result(ours.run(give_up)) == (0, 0)


def test_calls_that_were_given_up_leave_nobody_waiting():
    with node_suite.world_of("aio") as world:
        ours, theirs = world.pair({"limits": NARROW}, {"limits": NARROW})
        flood(ours, theirs)

        async def give_up():
            node = ours.node
            with contextlib.suppress(TimeoutError):
                while True:  # there may be a `Ready` on its way
                    await asyncio.wait_for(node.receive(), 0.2)
            for call in (node.receive, lambda: node.send(theirs.peer_id, LONG)):
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(call(), 0.02)
            return len(node._readers), [len(it) for it in node._rooms.values()]

        readers, rooms = world.result(ours.run(give_up))
        assert readers == 0
        assert sum(rooms) == 0


@pytest.mark.parametrize("variant", ["thread", "calls"])
def test_blocking_calls_may_be_bounded(variant):
    with node_suite.world_of(variant) as world:
        ours, theirs = world.pair({"limits": NARROW}, {"limits": NARROW})
        flood(ours, theirs)
        with contextlib.suppress(TimeoutError):
            while True:  # there may be a `Ready` on its way
                ours.receive(timeout=0.2)
        for verb, facts in (("receive", ()), ("send", (theirs.peer_id, LONG))):
            began = time.monotonic()
            with pytest.raises(TimeoutError):
                getattr(ours, verb)(*facts, timeout=0.05)
            assert 0.05 <= time.monotonic() - began < 2.0
        with pytest.raises(TimeoutError):
            ours.receive(timeout=0)


@pytest.mark.parametrize("variant", ["thread", "calls"])
def test_a_send_that_makes_room_itself_does_not_wait_for_it(variant):
    with node_suite.world_of(variant) as world:
        ours, theirs = world.pair({"limits": NARROW}, {"limits": NARROW})

        def fill_and_send():
            with ours.node.paused() as core:
                now = time.monotonic()
                while core.send(theirs.peer_id, bytes(1000), now):
                    pass
                # All of that fits into the system's buffers, and so leaves at once.
                ours.node.send(theirs.peer_id, bytes(1000), timeout=5.0)

        world.result(ours.run(fill_and_send))


def test_without_a_thread_a_second_one_is_told_off():
    with node_suite.world_of("calls") as world:
        ours, _ = world.pair()
        with pytest.raises(RuntimeError, match="thread=False"):
            ours.node.run(0.1)
        with pytest.raises(RuntimeError, match="thread=False"):
            ours.node.peers  # noqa: B018  # it asks


# -- the local network ---


def udp_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def test_neighbours_find_each_other_by_datagrams(real_world):
    nearby = Point.parse(f"127.255.255.255:{udp_port()}")
    home = {"listen": "127.0.0.1:0", "nearby": nearby}
    wanted = {"limits": busy_limits(1, 1, 3)}
    ours = real_world.node(**home, **wanted)
    theirs = real_world.node(theirs=True, **home, **wanted)
    real_world.until(lambda: ours.known and theirs.known)
    assert ours.known == (theirs.peer_id,)
    # Garbage is no reason to stop listening.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        for data in (b"", b"x", bytes(28), bytes(2000)):
            sock.sendto(data, (str(nearby.address), nearby.port))
    third = real_world.node(theirs=True, **home, **wanted)
    real_world.until(lambda: third.known)


def test_a_node_that_has_found_no_neighbour_can_be_stopped(real_world):
    nearby = Point.parse(f"127.255.255.255:{udp_port()}")
    ours = real_world.node(listen="127.0.0.1:0", nearby=nearby)
    ours.stop()
    ours.stop()


def test_neighbours_of_the_simulated_network_find_each_other():
    with node_suite.world_of("simulated") as world:
        wanted = {"limits": busy_limits(1, 1, 3), "nearby": True}
        ours, theirs = world.node(**wanted), world.node(**wanted)
        world.until(lambda: ours.known == (theirs.peer_id,))


def test_a_node_whose_datagrams_have_no_port_does_not_start(real_world):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.255.255.255", 0))
        nearby = Point.parse(f"127.255.255.255:{sock.getsockname()[1]}")
        ours = real_world.node(start=False, nearby=nearby)
        with pytest.raises(OSError, match="cannot listen for neighbours"):
            ours.start()
        ours.stop()


def test_a_node_that_fails_to_start_in_a_with_statement_keeps_no_door(real_world):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.255.255.255", 0))
        nearby = Point.parse(f"127.255.255.255:{sock.getsockname()[1]}")
        ours = real_world.node(start=False, nearby=nearby)

        async def use_async(node):
            async with node:
                pass

        def use(node):
            with node:
                pass

        asynchronous = hasattr(ours.node, "__aenter__")
        whole = ours.run(use_async if asynchronous else use, ours.node)
        with pytest.raises(OSError, match="cannot listen for neighbours"):
            real_world.result(whole)
        assert ours.node._door.fileno() == -1


# -- how fast ---


def test_what_is_sent_keeps_within_the_cap(world):
    cap = 512  # KiB/s
    ours, theirs = world.pair({"limits": limits(max_upload_speed=cap)})
    core, sent = ours.core, []

    def spy(pieces_to_send):
        def whole(link, room, now):
            pieces = pieces_to_send(link, room, now)
            sent.append((world.clock(), sum(map(len, pieces))))
            return pieces

        return whole

    # The class has slots and no other way in.
    kind = type(core)
    original = kind.pieces_to_send

    def patched(self, link, room, now):
        if self is not core:
            return original(self, link, room, now)
        return spy(lambda *facts: original(self, *facts))(link, room, now)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "pieces_to_send", patched)
        taking = theirs.begin("take", 24)
        began = world.clock()
        ours.say(theirs.peer_id, [bytes(32_768)] * 24)
        world.result(taking)
        took = world.clock() - began
    total, rate, unit = 24 * 32_768, cap * 1024, 65_535
    assert sum(size for _, size in sent) >= total
    # What a window carries: the cap, and two units.
    for first in range(len(sent)):
        for last in range(first, len(sent)):
            size = sum(size for _, size in sent[first : last + 1])
            span = sent[last][0] - sent[first][0]
            assert size <= rate * (span + 0.001) + 2 * unit
    assert took >= (total - 2 * unit) / rate - (0.05 if world.real else 0.0)
    assert took < 3 * total / rate + 1.0


def test_what_is_read_keeps_within_the_cap(world):
    cap = 512  # KiB/s
    ours, theirs = world.pair({"limits": limits(max_download_speed=cap)})
    saying = theirs.begin("say", ours.peer_id, [bytes(32_768)] * 24)
    began = world.clock()
    ours.take(24)
    took = world.clock() - began
    world.result(saying)
    total, rate, unit = 24 * 32_768, cap * 1024, 65_535
    assert (total - 2 * unit) / rate - 0.05 <= took < 3 * total / rate + 1.0
