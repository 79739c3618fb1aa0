"""Both drivers on real sockets: dialling, listening, messages, who is admitted."""

from __future__ import annotations

import driver_suite
import pytest
from driver_suite import CODEC, OURS, THEIRS, WAIT, Task, roles, until

from tezos_p2p.spec import Limits
from tezos_p2p.spec.message import Advertise, Bootstrap
from tezos_p2p.spec.motive import Motive
from tezos_p2p.spec.point import Point
from tezos_p2p.spec.reasons import ErrorKind, Reason
from tezos_p2p.spec.version import Network

hosts = driver_suite.hosts
lively_hosts = driver_suite.lively_hosts


@roles
def test_a_message_goes_either_way(hosts, dials):
    ours, theirs = hosts.join(dials)
    ours.send(b"sixteen bytes ->")
    assert theirs.receive() == b"sixteen bytes ->"
    theirs.send(b"<- sixteen bytes")
    assert ours.receive() == b"<- sixteen bytes"


@roles
def test_each_side_is_told_who_the_other_is(hosts, dials):
    ours, theirs = hosts.join(dials, {"port": 9001}, {"port": 9002})
    assert ours.remote.peer_id == THEIRS.peer_id
    assert theirs.remote.peer_id == OURS.peer_id
    assert ours.remote.message.port == 9002
    assert theirs.remote.message.port == 9001
    assert ours.version == theirs.version
    assert ours.disconnection is None
    assert str(ours.point.address) == str(theirs.point.address) == "127.0.0.1"


@roles
def test_256_bytes_pass_in_chunks_of_21(hosts, dials):
    small = {"limits": {"binary_chunks_size": 21}}
    ours, theirs = hosts.join(dials, small, small)
    message = bytes(range(256))
    ours.send(message)
    theirs.send(message[::-1])
    assert theirs.receive() == message
    assert ours.receive() == message[::-1]


@roles
@pytest.mark.parametrize("size", [0, 1, 131_072, 8 << 20])
def test_messages_of_any_size_arrive_whole(hosts, dials, size):
    ours, theirs = hosts.join(dials)
    there, back = b"\x55" * size, b"\xaa" * size

    def answer():
        got = theirs.receive()
        theirs.send(back)
        return got

    task = Task(answer)
    ours.send(there)
    assert ours.receive() == back
    assert task.result() == there


@roles
def test_many_messages_arrive_in_order(hosts, dials):
    ours, theirs = hosts.join(dials)
    numbers = [number.to_bytes(4, "big") for number in range(600)]
    task = Task(theirs.take, len(numbers))
    for number in numbers:
        while not ours.send_now(number):
            ours.send(number)
    ours.send(b"")
    assert task.result() == numbers
    for number in numbers:
        theirs.send(number)
    assert ours.take(len(numbers)) == numbers


@roles
def test_control_messages_come_in_order_with_the_others(hosts, dials):
    ours, theirs = hosts.join(dials)
    points = Advertise((Point.parse("1.2.3.4:9732"), Point.parse("[2001:db8::1]:1")))
    said = [Bootstrap(), b"one", points, b"two", Advertise(), b"three"]
    task = Task(theirs.take, len(said))
    for message in said:
        ours.send(message)
    assert task.result() == said
    for message in said:
        theirs.send(message)
    assert ours.take(len(said)) == said


@roles
def test_iterating_gives_what_was_sent_and_ends_quietly(hosts, dials):
    ours, theirs = hosts.join(dials)
    for number in range(700):  # more than one turn of an iteration
        theirs.send(b"%d" % number)
    task = Task(theirs.close)
    assert ours.rest() == [b"%d" % number for number in range(700)]
    ours.close()
    task.result()


# -- who is admitted ---


def refusal(hosts, dials, ours=None, theirs=None):
    """Let a handshake fail; return why, as our side tells it."""
    if dials:
        door = hosts.theirs.listen(**theirs or {})
        return Task(hosts.ours.connect, door.point, **ours or {}).ended()
    door = hosts.ours.listen(**ours or {})
    task = Task(hosts.theirs.connect, door.point, **theirs or {})
    if hosts.variant == "calls":
        with pytest.raises(TimeoutError):
            door.accept(0.5)
    return task.ended()


@roles
def test_too_little_work_closes_the_connection_and_nobody_comes(hosts, dials):
    listener, dialler = (
        (hosts.theirs, hosts.ours) if dials else (hosts.ours, hosts.theirs)
    )
    door = listener.listen(difficulty=100)
    nobody = Task(door.accept, 0.4)
    why = Task(dialler.connect, door.point).ended()
    assert why.reason is Reason.AUTHENTICATION_REJECTED_ERROR
    assert [error.kind for error in why.errors] == [ErrorKind.CONNECTION_CLOSED]
    with pytest.raises(TimeoutError):
        nobody.result()


@roles
def test_whom_the_judge_refuses_is_told_so_every_time(hosts, dials):
    judged = []

    def judge(remote):
        judged.append(remote.peer_id)
        return Motive.ALREADY_CONNECTED

    listener, dialler = (
        (hosts.theirs, hosts.ours) if dials else (hosts.ours, hosts.theirs)
    )
    door = listener.listen(judge=judge)
    busy = hosts.variant == "calls" and not dials  # its one thread accepts
    nobody = Task(door.accept, 0.8 if busy else WAIT)
    for _ in range(30):
        why = Task(dialler.connect, door.point).ended()
        assert why.reason is Reason.AUTHENTICATION_REJECTED_BY_PEER
        assert why.motive is Motive.ALREADY_CONNECTED
    assert judged == [dialler.identity.peer_id] * 30
    if not busy:
        door.close()
    with pytest.raises(TimeoutError if busy else ConnectionError):
        nobody.result()


@roles
def test_another_network_is_refused_by_both(hosts, dials):
    theirs = {"network": Network("ANOTHER")}
    why = refusal(hosts, dials, None, theirs)
    # Each sees the other's name: who is faster refuses, or is refused.
    assert why.reason in (
        Reason.AUTHENTICATION_REJECTED_NO_COMMON_PROTOCOL,
        Reason.AUTHENTICATION_REJECTED_BY_PEER,
    )
    assert why.motive is Motive.UNKNOWN_CHAIN_NAME


@roles
def test_no_common_version_is_no_connection(hosts, dials):
    theirs = {"network": Network("TEZOS", (0, 1, 2), (7,))}
    why = refusal(hosts, dials, None, theirs)
    assert why.motive is Motive.DEPRECATED_P2P_VERSION


def test_the_expected_peer_is_let_in(hosts):
    door = hosts.theirs.listen()
    ours = hosts.ours.connect(f"{door.point}#{THEIRS.peer_id}")
    assert ours.remote.peer_id == THEIRS.peer_id
    door.accept()


def test_another_than_the_expected_peer_is_not(hosts):
    door = hosts.theirs.listen()
    why = Task(hosts.ours.connect, f"{door.point}#{OURS.peer_id}").ended()
    assert why.reason is Reason.AUTHENTICATION_REJECTED_ERROR
    (error,) = why.errors
    assert error.kind is ErrorKind.IDENTITY_CHECK_FAILURE
    assert error.facts["expected_peer_id"] == OURS.peer_id
    assert error.facts["peer_id"] == THEIRS.peer_id


def test_nobody_connects_to_himself(hosts):
    door = hosts.theirs.listen(identity=OURS)
    why = Task(hosts.ours.connect, door.point).ended()
    assert why.reason is Reason.AUTHENTICATION_REJECTED_ERROR
    assert why.errors[0].kind in (ErrorKind.MYSELF, ErrorKind.CONNECTION_CLOSED)


@pytest.mark.parametrize("dials", [True, False])
def test_no_more_than_max_connections_are_let_in(lively_hosts, dials):
    hosts = lively_hosts
    most = {"min_connections": 0, "expected_connections": 1, "max_connections": 2}
    listener, dialler = (
        (hosts.theirs, hosts.ours) if dials else (hosts.ours, hosts.theirs)
    )
    door = listener.listen(limits=Limits(**most))
    held = [dialler.connect(door.point) for _ in range(2)]
    inside = [door.accept() for _ in range(2)]
    why = Task(dialler.connect, door.point).ended()
    assert why.reason is Reason.AUTHENTICATION_REJECTED_BY_PEER
    assert why.motive is Motive.TOO_MANY_CONNECTIONS
    held[0].close()
    until(lambda: any(peer.disconnection for peer in inside))
    dialler.connect(door.point)
    door.accept()


def test_no_more_handshakes_at_once_than_allowed(lively_hosts):
    ours = lively_hosts.ours
    door = ours.listen(limits=Limits(max_incoming_connections=3))
    silent = [driver_suite.RawPeer.dial(door.point) for _ in range(3)]
    for peer in silent:
        peer.frame()  # they say hello: the handshake is in progress
    with driver_suite.RawPeer.dial(door.point) as fourth:
        assert fourth.drain() == b""
    silent.pop().reset()
    until(lambda: ours.do(lambda: door.it._driver.core._pending) == 2)
    with driver_suite.RawPeer.dial(door.point) as fifth:
        fifth.shake()
        door.accept()
    for peer in silent:
        peer.sock.close()


def test_thirty_two_shake_hands_at_once(lively_hosts):
    ours, theirs = lively_hosts.ours, lively_hosts.theirs
    door = ours.listen(limits=Limits(max_incoming_connections=40, backlog=64))
    tasks = [Task(theirs.connect, door.point) for _ in range(32)]
    inside = [door.accept() for _ in tasks]
    outside = [task.result() for task in tasks]
    for number, peer in enumerate(outside):
        peer.send(b"%d" % number)
    got = sorted(int(peer.receive()) for peer in inside)
    assert got == list(range(32))
    for peer in inside:
        peer.send(b"ready")
    assert [peer.receive() for peer in outside] == [b"ready"] * 32


# -- what they speak ---


@roles
def test_a_puppet_of_2019_is_understood(hosts, dials):
    with driver_suite.met(hosts, dials, puppet={"ddb": 0, "p2p": 0}) as (other, get):
        ours = get()
        assert (ours.version.distributed_db_version, ours.version.p2p_version) == (0, 0)
        whole = driver_suite.raw(bytes(200_000))
        most = 65_503  # as nodes of 2019 cut
        other.say(*(whole[at : at + most] for at in range(0, len(whole), most)))
        assert ours.receive() == bytes(200_000)
        ours.send(b"to 2019")
        assert other.hear() == driver_suite.raw(b"to 2019")
        other.say(driver_suite.raw(tag=b"\0\2"))
        assert ours.receive() == Bootstrap()


@pytest.mark.parametrize("dialler", driver_suite.VARIANTS)
@pytest.mark.parametrize("listener", driver_suite.LIVELY)
def test_every_driver_understands_every_other(dialler, listener):
    with driver_suite.nothing_left():
        one = driver_suite.make(dialler, OURS)
        two = driver_suite.make(listener, THEIRS)
        try:
            door = two.listen()
            ours = one.connect(door.point)
            theirs = door.accept()
            ours.send(bytes(100_000))
            assert theirs.receive() == bytes(100_000)
            theirs.send(b"back")
            assert ours.receive() == b"back"
            task = Task(theirs.close)
            assert ours.ended().reason is Reason.CONNECTION_CLOSED_BY_PEER
            task.result()
        finally:
            one.finish()
            two.finish()


def test_messages_that_are_none_are_the_callers_mistake(hosts):
    from tezos_p2p.spec.reader import EncodeError

    ours, theirs = hosts.join()
    for wrong in ("text", bytes((16 << 20) + 1)):
        with pytest.raises(EncodeError):
            ours.send_now(wrong)
    ours.send(b"right")
    assert theirs.receive() == b"right"


def test_both_sides_may_use_another_codec(hosts):
    from tezos_p2p.spec.raw import RawCodec

    ours, theirs = hosts.join(
        True, {"codec": RawCodec(tag=0x77)}, {"codec": RawCodec(tag=0x77)}
    )
    ours.send(b"other tag")
    assert theirs.receive() == b"other tag"
    assert CODEC.tag != 0x77


# -- how they show themselves ---


def test_ends_show_where_who_and_how_they_stand(hosts):
    door = hosts.ours.listen()
    module = type(door.it).__module__.rpartition(".")[2]
    assert repr(door.it) == f"<{module}.Listener {door.point} listening, 0 waiting>"
    task = Task(door.accept)
    theirs = hosts.theirs.connect(door.point)
    ours = task.result()
    who = hosts.theirs.identity.peer_id
    assert repr(ours.it) == f"<{module}.Connection {ours.it.point} {who} open>"
    theirs.close()
    ours.ended()
    why = "(the peer closed the connection (read))"
    assert repr(ours.it) == f"<{module}.Connection {ours.it.point} {who} closed {why}>"
    door.close()
    assert repr(door.it) == f"<{module}.Listener {door.point} closed, 0 waiting>"
