"""How connections over real sockets end, whoever ends them and whenever."""

from __future__ import annotations

import contextlib
import errno
import socket
import time

import driver_suite
import pytest
from driver_suite import RawDoor, RawPeer, Task, met, raw, roles, until

from tezos_p2p.io import sockets
from tezos_p2p.io.aio import ConnectionEnded
from tezos_p2p.spec import Limits
from tezos_p2p.spec.point import Point
from tezos_p2p.spec.reasons import ErrorKind, Reason

hosts = driver_suite.hosts
lively_hosts = driver_suite.lively_hosts

STEPS = ("connect", "greet", "tell", "accept")
#: What a handshake ends with when the other side is gone.
LOST = (Reason.AUTHENTICATION_REJECTED_ERROR, Reason.ACK_READ_ERROR)


# -- closing ---


@roles
def test_who_reads_while_the_other_closes_is_told(hosts, dials):
    ours, theirs = hosts.join(dials)
    task = Task(ours.receive)
    closing = Task(theirs.close)
    assert task.ended().reason is Reason.CONNECTION_CLOSED_BY_PEER
    ours.close()
    closing.result()
    assert theirs.disconnection.reason is Reason.USER


@roles
def test_what_came_before_the_end_is_read_first(hosts, dials):
    ours, theirs = hosts.join(dials)
    theirs.send(b"one")
    theirs.send_and_flush(b"two")
    task = Task(theirs.close)
    assert ours.take(2) == [b"one", b"two"]
    assert ours.ended().reason is Reason.CONNECTION_CLOSED_BY_PEER
    with pytest.raises(ConnectionEnded):
        ours.send_now(b"too late")
    ours.close()
    task.result()


@roles
def test_who_has_closed_reads_and_writes_no_more(hosts, dials):
    ours, theirs = hosts.join(dials)
    theirs.send_and_flush(b"nobody will read this")
    closing = Task(ours.close, "done with it")
    why = theirs.ended()
    assert why.reason is Reason.CONNECTION_CLOSED_BY_PEER
    theirs.close()
    closing.result()
    assert ours.disconnection.reason is Reason.USER
    assert ours.disconnection.text == "done with it"
    for call in (ours.receive, lambda: ours.send(b""), lambda: ours.send_now(b"")):
        with pytest.raises(ConnectionEnded) as caught:
            call()
        assert caught.value.disconnection is ours.disconnection
        assert caught.value.orderly
    assert ours.receive_now() is None
    assert ours.rest() == []
    ours.close()
    ours.abort()


@roles
@pytest.mark.parametrize("size", [10, 4 << 20])
def test_closing_lets_leave_what_is_queued(hosts, dials, size):
    ours, theirs = hosts.join(dials)
    task = Task(theirs.rest)
    message = b"\x37" * size
    for _ in range(3):
        if not ours.send_now(message):
            ours.send(message)
    began = time.monotonic()
    ours.close(timeout=30.0)
    assert time.monotonic() - began < 15  # it ends with their end, not in the end
    assert task.result() == [message] * 3
    assert ours.disconnection.errors == ()


@roles
def test_aborting_does_not(hosts, dials):
    ours, theirs = hosts.join(dials)
    for _ in range(3):
        ours.send_now(bytes(4 << 20))
    ours.abort()
    assert ours.disconnection.reason is Reason.USER
    with pytest.raises(ConnectionEnded):
        ours.receive()
    why = theirs.ended()
    assert why.reason is Reason.CONNECTION_CLOSED_BY_PEER


def test_leaving_the_block_closes_and_flushes_but_not_after_an_error(lively_hosts):
    ours, theirs = lively_hosts.join()

    async def leave_aio():
        async with ours.it as it:
            await it.send(bytes(1 << 20))

    def leave():
        with ours.it as it:
            it.send(bytes(1 << 20))

    task = Task(theirs.rest)
    if lively_hosts.variant == "thread":
        leave()
    else:
        lively_hosts.ours.run(leave_aio)
    assert task.result() == [bytes(1 << 20)]
    assert ours.disconnection.reason is Reason.USER


@roles
def test_who_writes_while_the_other_closes_is_told(hosts, dials):
    ours, theirs = hosts.join(dials)
    theirs.abort()

    def write():
        while True:
            ours.send(bytes(1 << 16))

    why = Task(write).ended()
    assert why.reason is Reason.CONNECTION_CLOSED_BY_PEER


@roles
def test_a_half_close_ends_it_after_what_came_before(hosts, dials):
    with met(hosts, dials) as (other, get):
        ours = get()
        other.say(raw(b"last words"))
        other.sock.shutdown(socket.SHUT_WR)
        assert ours.receive() == b"last words"
        assert ours.ended().reason is Reason.CONNECTION_CLOSED_BY_PEER
        assert other.drain() == b""


@roles
def test_an_end_in_the_middle_of_a_chunk_is_an_end(hosts, dials):
    with met(hosts, dials) as (other, get):
        ours = get()
        other.sock.sendall(other.puppet.seal(raw(b"never whole"))[:-3])
        other.sock.close()
        assert ours.ended().reason is Reason.CONNECTION_CLOSED_BY_PEER


@roles
def test_a_disconnect_message_ends_it(hosts, dials):
    with met(hosts, dials) as (other, get):
        ours = get()
        other.say(raw(b"before"), raw(tag=b"\0\1"), raw(b"behind"))
        assert ours.receive() == b"before"
        assert ours.ended().reason is Reason.CONNECTION_CLOSED_BY_PEER
        other.drain()


# -- bad input ---


@roles
def test_a_frame_that_does_not_decrypt_ends_it(hosts, dials):
    with met(hosts, dials) as (other, get):
        ours = get()
        other.say(raw(b"before"))
        other.sock.sendall(b"\0\x20" + bytes(32))
        assert ours.receive() == b"before"
        why = ours.ended()
        assert why.reason is Reason.CONNECTION_CLOSED_BY_UNEXPECTED_ERROR
        assert why.errors[0].kind is ErrorKind.DECIPHER_ERROR
        other.drain()


@roles
def test_a_message_that_does_not_decode_ends_it(hosts, dials):
    with met(hosts, dials) as (other, get):
        ours = get()
        other.say(b"\0\0\0\4" + b"\xff" * 12)
        why = ours.ended()
        assert why.reason is Reason.CONNECTION_CLOSED_BY_UNEXPECTED_ERROR
        assert why.errors[0].kind is ErrorKind.DECODING_ERROR
        assert why.greylists
        other.drain()
        with pytest.raises(ConnectionEnded):
            ours.receive()


@pytest.mark.parametrize("step", STEPS)
@roles
def test_a_reset_at_any_step_ends_it(hosts, dials, step):
    with met(hosts, dials, step) as (other, get):
        if step != "accept":
            if step == "connect":
                other.frame()  # before it, the dial itself may fail
            other.reset()
            if dials:
                with pytest.raises(ConnectionEnded) as caught:
                    get()
                assert caught.value.disconnection.reason in LOST
        else:
            ours = get()
            other.reset()
            assert ours.ended().reason is Reason.CONNECTION_CLOSED_BY_PEER
    if not dials and step != "accept":
        # Nothing of it is left: the next one gets in.
        Task(hosts.theirs.connect, hosts.ours.made[0].point).result()
        get()


@roles
def test_a_reset_in_the_middle_of_the_connection_message(hosts, dials):
    with met(hosts, dials, "connect") as (other, get):
        other.sock.sendall(other.puppet.hello()[:50])
        other.frame()
        other.reset()
        if dials:
            with pytest.raises(ConnectionEnded) as caught:
                get()
            assert caught.value.disconnection.reason in LOST
    if not dials:
        Task(hosts.theirs.connect, hosts.ours.made[0].point).result()
        get()


@roles
def test_a_reset_in_the_middle_of_a_chunk(hosts, dials):
    with met(hosts, dials) as (other, get):
        ours = get()
        other.say(raw(b"whole"))
        other.sock.sendall(other.puppet.seal(raw(bytes(1000)))[:500])
        assert ours.receive() == b"whole"
        other.reset()
        assert ours.ended().reason is Reason.CONNECTION_CLOSED_BY_PEER


@roles
def test_a_reset_while_we_write(hosts, dials):
    with met(hosts, dials) as (other, get):
        ours = get()

        def write():
            while True:
                ours.send(bytes(1 << 20))

        task = Task(write)
        other.hear()
        other.reset()
        assert task.ended().reason is Reason.CONNECTION_CLOSED_BY_PEER


# -- servers that are none ---


@pytest.mark.parametrize(
    "said", [b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(20_000), b"\0\0", b"\0\x01a"]
)
def test_a_server_that_speaks_otherwise(hosts, said):
    with RawDoor() as door:
        task = Task(hosts.ours.connect, door.point)
        with door.accept() as other:
            # What is refused at once may be reset before all of it is said.
            with contextlib.suppress(OSError):
                other.sock.sendall(said)
                other.sock.shutdown(socket.SHUT_WR)
            why = task.ended()
            other.drain()
    assert why.reason is Reason.AUTHENTICATION_REJECTED_ERROR


def test_a_server_that_says_nothing(hosts):
    began = time.monotonic()
    with RawDoor() as door:
        task = Task(hosts.ours.connect, door.point, limits=Limits(connection_timeout=0.2))
        with door.accept() as other:
            why = task.ended()
            other.drain()
    assert 0.15 < time.monotonic() - began < 10
    assert why.errors[0].kind is ErrorKind.TIMEOUT


@pytest.mark.parametrize("step", ["connect", "greet", "tell"])
def test_a_visitor_who_falls_silent_is_shown_out(hosts, step):
    door = hosts.ours.listen(limits=Limits(authentication_timeout=0.2))
    task = Task(door.accept, 20.0)
    with RawPeer.dial(door.point) as other:
        other.shake(step)
        other.drain()  # until they close
    with RawPeer.dial(door.point) as other:
        other.shake()
        task.result()


def test_nobody_listens_there(hosts):
    with RawDoor() as door:
        point = door.point
    why = Task(hosts.ours.connect, point).ended()
    assert why.reason is Reason.TCP_CONNECTION_REFUSED


def test_a_name_that_does_not_exist(hosts):
    task = Task(hosts.ours.connect, "nowhere.invalid:9732")
    with pytest.raises(OSError):
        task.result()


# -- a peer that does not read, an application that does not read ---


def test_who_stops_reading_stops_only_his_own_connection(lively_hosts):
    ours = lively_hosts.ours
    door = ours.listen(limits=Limits(outgoing_message_queue_size=1 << 20))
    with RawPeer.dial(door.point) as deaf:
        deaf.shake()
        stuck = door.accept()
        while stuck.send_now(bytes(1 << 18)):
            pass
        until(lambda: not stuck.send_now(bytes(1 << 18)))
        # However much the system's buffers take, it comes to an end.
        give_up = time.monotonic() + 10
        with pytest.raises(TimeoutError):
            while time.monotonic() < give_up:
                stuck.send(bytes(1 << 18), timeout=0.3)
        task = Task(lively_hosts.theirs.connect, door.point)
        other = door.accept()
        task.result().send(b"still alive")
        assert other.receive() == b"still alive"
        began = time.monotonic()
        stuck.close(timeout=0.3)
        assert 0.2 < time.monotonic() - began < 10
        assert stuck.disconnection.errors[-1].kind is ErrorKind.TIMEOUT
        with contextlib.suppress(ConnectionError):
            deaf.drain()


def test_who_reads_late_gets_everything(lively_hosts):
    with met(lively_hosts, True) as (other, get):
        ours = get()
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < 1000:
                ours.send(bytes(1 << 18), timeout=0.3)
                sent += 1
        size = sent * (6 + (1 << 18))
        while size > 0:
            size -= len(other.hear())
        assert size == 0
        ours.send(b"and now")
        assert other.hear() == raw(b"and now")


def test_a_write_that_fails_ends_its_own_connection_only(monkeypatch):
    real = sockets._send
    broken = []

    def send(sock, pieces):
        if sock in broken:
            raise ConnectionResetError(errno.ECONNRESET, "reset")
        return real(sock, pieces)

    monkeypatch.setattr(sockets, "_send", send)
    with driver_suite.nothing_left():
        host = driver_suite.make("thread", driver_suite.OURS)
        door = host.listen()
        with RawPeer.dial(door.point) as deaf, RawPeer.dial(door.point) as other:
            deaf.shake()
            stuck = door.accept()
            other.shake()
            alive = door.accept()
            with pytest.raises(TimeoutError):
                while True:
                    stuck.send(bytes(1 << 20), timeout=0.3)
            broken.append(door.it._driver._wires[stuck.link].sock)
            task = Task(deaf.drain)  # makes room: the loop writes on
            why = stuck.ended()
            assert why.reason is Reason.CONNECTION_CLOSED_BY_PEER
            task.result()
            other.say(raw(b"still here"))
            assert alive.receive() == b"still here"
        host.finish()


def test_without_a_thread_flushing_waits_for_nothing_else():
    with driver_suite.nothing_left():
        it = driver_suite.Hosts("calls")
        ours, theirs = it.join()
        began = time.monotonic()
        for _ in range(3):
            ours.send_and_flush(b"on its way")
            assert theirs.receive() == b"on its way"
        theirs.abort()
        with pytest.raises(ConnectionEnded):
            while True:
                ours.send_and_flush(bytes(1 << 16))
        ours.close()
        assert time.monotonic() - began < driver_suite.WAIT / 2
        it.finish()


def test_without_a_thread_too_closing_takes_no_longer_than_allowed():
    with driver_suite.nothing_left():
        ours = driver_suite.make("calls", driver_suite.OURS)
        with RawDoor(buffer=4096) as door:
            task = Task(ours.connect, door.point)
            with door.accept() as deaf:
                deaf.shake()
                stuck = task.result()
                while stuck.send_now(bytes(1 << 20)):
                    pass
                with pytest.raises(TimeoutError):
                    for _ in range(100):
                        stuck.send(bytes(1 << 20), timeout=0.2)
                began = time.monotonic()
                stuck.close(timeout=0.3)
                assert 0.2 < time.monotonic() - began < 10
        ours.finish()


def test_a_consumer_that_never_reads_stops_the_peer_and_nothing_else(lively_hosts):
    ours, theirs = lively_hosts.ours, lively_hosts.theirs
    limits = Limits(incoming_message_queue_size=1 << 18)
    door = ours.listen(limits=limits)
    flooder = theirs.connect(
        door.point, limits=Limits(outgoing_message_queue_size=1 << 18)
    )
    lazy = door.accept()
    sent = 0
    with pytest.raises(TimeoutError):  # TCP stops it
        while sent < 10_000:
            flooder.send(bytes(1 << 16), timeout=0.3)
            sent += 1
    incoming = lazy.it._machine._in
    assert incoming.fill < 1 << 18
    assert incoming.held <= (1 << 18) + 65_537
    if lively_hosts.variant != "thread":
        wire = ours.do(lambda: door.it._driver._wires[lazy.link])
        assert not ours.do(wire.transport.is_reading)
    # Its own writes and its timers go on, and so do the others.
    lazy.send(b"hello")
    assert flooder.receive() == b"hello"
    other_end = theirs.connect(door.point)
    other = door.accept()
    other_end.send(b"not for the lazy one")
    assert other.receive() == b"not for the lazy one"
    # When it reads at last, everything goes on.
    for _ in range(sent):
        assert lazy.receive() == bytes(1 << 16)
    flooder.send(b"free again")
    assert lazy.receive() == b"free again"


def test_messages_that_nobody_pulled_go_with_the_connection(lively_hosts):
    ours, theirs = lively_hosts.join(False)
    for _ in range(3):
        theirs.send_and_flush(bytes(1000))
    until(lambda: ours.it._machine.readable)
    task = Task(theirs.close)
    until(lambda: ours.disconnection is not None)
    ours.close()
    task.result()
    assert ours.link not in ours.it._driver.core
    assert ours.it._driver._owners == {}


def test_a_connection_that_is_read_to_its_end_needs_no_close(lively_hosts):
    ours, theirs = lively_hosts.join(True)
    theirs.send(b"one")
    theirs.send(b"two")
    Task(theirs.close).result()
    until(lambda: ours.disconnection is not None)
    assert ours.rest() == [b"one", b"two"]
    driver = ours.it._driver
    until(lambda: driver._owners == {})
    assert len(driver.core) == 0
    if lively_hosts.variant == "thread":
        until(lambda: driver._thread is None)
        assert driver._selector is None
    ours.close()


# -- names and addresses ---


@pytest.fixture
def two_addresses(monkeypatch):
    """Let every name have two addresses; nobody listens at the first."""

    def found(port):
        points = (Point.parse(f"[::1]:{port}"), Point.parse(f"127.0.0.1:{port}"))
        for module in ("aio", "blocking"):
            monkeypatch.setattr(
                f"tezos_p2p.io.{module}.points_of", lambda *_: points, raising=True
            )

    return found


def test_all_addresses_of_a_name_are_tried(hosts, two_addresses):
    door = hosts.theirs.listen("127.0.0.1:0")
    two_addresses(door.point.port)
    ours = hosts.ours.connect(f"localhost:{door.point.port}")
    door.accept()
    assert str(ours.point.address) == "127.0.0.1"


def test_the_last_address_says_why_none_answers(hosts, two_addresses):
    with RawDoor() as door:
        port = door.point.port
    two_addresses(port)
    why = Task(hosts.ours.connect, f"localhost:{port}").ended()
    assert why.reason is Reason.TCP_CONNECTION_REFUSED


def test_an_address_that_answers_is_the_last_that_is_tried(hosts, monkeypatch):
    first = hosts.theirs.listen("127.0.0.1:0", difficulty=100)
    second = hosts.theirs.listen("127.0.0.1:0")
    for module in ("aio", "blocking"):
        monkeypatch.setattr(
            f"tezos_p2p.io.{module}.points_of", lambda *_: (first.point, second.point)
        )
    why = Task(hosts.ours.connect, "localhost:1").ended()
    assert why.reason is Reason.AUTHENTICATION_REJECTED_ERROR


def test_one_door_for_both_families_of_addresses(hosts):
    door = hosts.theirs.listen("[::]:0")
    for text in ("127.0.0.1", "[::1]"):
        ours = hosts.ours.connect(f"{text}:{door.point.port}")
        theirs = door.accept()
        expected = Point.parse(f"{text}:0").address
        assert ours.point.address == theirs.point.address == expected
        assert str(ours.point) == f"{text}:{door.point.port}"
