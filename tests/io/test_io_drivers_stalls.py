"""Both drivers: nobody waits for ever, and nothing is kept for nobody."""

from __future__ import annotations

import contextlib
import errno
import threading
import time

import driver_suite
import pytest
from driver_suite import (
    LIVELY,
    WAIT,
    RawPeer,
    Task,
    met,
    raw,
    until,
)

from tezos_p2p.fsm.lifecycle import State
from tezos_p2p.io import sockets
from tezos_p2p.spec import PointError
from tezos_p2p.spec.motive import Motive
from tezos_p2p.spec.reasons import Reason

hosts = driver_suite.hosts
lively_hosts = driver_suite.lively_hosts
blocking = pytest.mark.parametrize("variant", ["thread", "calls"])

#: One message of this fills a queue whose limit is smaller.
BIG = bytes(100_000)
FEW = {"min_connections": 0, "expected_connections": 1, "max_connections": 2}


class Tap:
    """Lets no byte pass to any socket while it is closed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.is_open = True
        send = sockets._send

        def guarded(sock, pieces):
            if not self.is_open:
                raise BlockingIOError(errno.EAGAIN, "the tap is closed")
            return send(sock, pieces)

        monkeypatch.setattr(sockets, "_send", guarded)


@blocking
def test_a_socket_that_empties_just_when_there_was_no_room_goes_on(variant, monkeypatch):
    tap = Tap(monkeypatch)
    with driver_suite.nothing_left():
        it = driver_suite.Hosts(variant)
        # The other end is of the other driver: its bytes do not pass the tap.
        if variant == "calls":
            it.theirs.finish()
            it.theirs = driver_suite.make("aio", driver_suite.THEIRS)
        try:
            ours, theirs = it.join()
            driver = ours.it._driver

            def fill() -> None:
                with driver.lock:
                    tap.is_open = False
                    assert ours.it.send_now(bytes(2 << 20))
                    for _ in range(3):  # until more waits than there is room for
                        driver.flush()
                    wire = driver._wires[ours.it.link]
                    assert wire.size >= 1 << 18
                    tap.is_open = True
                    driver.core.writable(ours.it.link, driver.clock())
                    driver.pump()
                    driver.flush()

            ours.host.run(fill)
            got = Task(theirs.receive)
            ours.send_and_flush(b"end")
            assert len(got.result()) == 2 << 20
            assert theirs.receive() == b"end"
        finally:
            it.finish()


@pytest.mark.parametrize("variant", LIVELY)
def test_a_close_behind_a_full_queue_does_not_wait_for_a_consumer(variant):
    with driver_suite.nothing_left():
        it = driver_suite.Hosts(variant)
        try:
            limits = {"incoming_message_queue_size": 1000}
            with met(it, True, limits=limits) as (other, mine):
                ours = mine()
                for _ in range(3):
                    other.say(raw(bytes(600)))
                machine = ours.it._machine
                until(lambda: machine.stalled)
                other.reset()

                def notices() -> bool:
                    with contextlib.suppress(ConnectionError):
                        ours.send_now(b"are you there")
                    return machine.state is not State.OPEN

                until(notices)
                assert machine.state is State.FINISHING
                Task(ours.close, timeout=0.5).result(WAIT / 2)
                assert machine.ended
                # The first to end it is the one that is told of.
                assert ours.it.disconnection.reason is Reason.CONNECTION_CLOSED_BY_PEER
        finally:
            it.finish()


def test_a_second_close_may_be_shorter_than_the_first(lively_hosts):
    with met(lively_hosts, True) as (other, mine):
        ours = mine()
        ours.send(bytes(8 << 20))  # which is never read
        patient = Task(ours.close, timeout=2 * WAIT)
        until(lambda: ours.it.disconnection is not None)
        began = time.monotonic()
        Task(ours.close, timeout=0.1).result()
        patient.result()
        assert time.monotonic() - began < WAIT
        errors = ours.it.disconnection.errors
        assert "bytes were not sent" in errors[0].detail
        other.sock.close()


def visit(point, secret: int, *say: bytes) -> None:
    """Shake hands, say something, and leave; wait until that has arrived."""
    with RawPeer.dial(point, secret=bytes([secret]) * 32) as other:
        other.shake()
        if say:
            other.say(*say)


@pytest.mark.parametrize("variant", LIVELY)
def test_visitors_who_left_messages_count_until_somebody_takes_them(variant):
    with driver_suite.nothing_left():
        it = driver_suite.Hosts(variant)
        try:
            door = it.ours.listen(limits=FEW)
            core = door.it._driver.core
            for secret in (11, 12):
                visit(door.point, secret, raw(b"remember me"))
            until(lambda: all(core.connection(n).ended for n in core.links))
            assert len(core) == 2
            with RawPeer.dial(door.point, secret=b"\x0d" * 32) as third:
                third.shake("tell")
                third.say(b"\0")
                answer = third.hear()
            assert answer[:3] == b"\1\0\1"  # a nack
            assert Motive(answer[2]) is Motive.TOO_MANY_CONNECTIONS
            for _ in range(2):
                guest = door.accept()
                assert guest.receive() == b"remember me"
                guest.close()
            until(lambda: not len(core))
            visit(door.point, 14, raw(b"welcome again"))
            assert door.accept().receive() == b"welcome again"
        finally:
            it.finish()


@pytest.mark.parametrize("variant", LIVELY)
def test_visitors_who_left_nothing_are_forgotten(variant):
    with driver_suite.nothing_left():
        it = driver_suite.Hosts(variant)
        try:
            door = it.ours.listen(limits=FEW)
            for secret in range(20, 26):
                visit(door.point, secret)
                until(lambda: not len(door.it._driver.core))
            assert not door.it._arrived
            assert not door.it._arriving
        finally:
            it.finish()


def test_visitors_who_reset_at_once_are_no_fault(lively_hosts):
    door = lively_hosts.ours.listen()
    for _ in range(20):
        RawPeer.dial(door.point).reset()
    visit(door.point, 30, raw(b"still here"))
    assert door.accept().receive() == b"still here"
    until(lambda: not len(door.it._driver.core))


def test_asking_without_waiting_still_reads(hosts):
    if hosts.variant != "calls":
        pytest.skip("only without a thread is reading left to the call")
    ours, theirs = hosts.join()
    theirs.send_and_flush(b"it is there")

    def ask():
        give_up = time.monotonic() + WAIT
        while time.monotonic() < give_up:
            try:
                return ours.it.receive(timeout=0)
            except TimeoutError:
                time.sleep(0.002)
        return None

    assert ours.host.run(ask) == b"it is there"


def test_a_thread_that_cannot_be_started_leaves_none_to_wait_for(monkeypatch):
    with driver_suite.nothing_left():
        host = driver_suite.make("thread", driver_suite.OURS)

        def refuse(self) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(RuntimeError, match="can't start"):
                host.listen()
        host.finish()


@pytest.mark.parametrize("name", ["a..b:1", "x" * 64 + ".example:1"])
@pytest.mark.parametrize("variant", LIVELY)
def test_a_name_that_cannot_be_asked_for_is_told_as_such(variant, name):
    with driver_suite.nothing_left():
        host = driver_suite.make(variant, driver_suite.OURS)
        try:
            with pytest.raises(PointError, match="no host name"):
                host.connect(name)
        finally:
            host.finish()
