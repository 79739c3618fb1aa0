"""Nodes over real sockets when sockets, peers and applications misbehave."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys
import time

import driver_suite
import node_suite
import pytest
from driver_suite import raw
from node_suite import PuppetDoor, dial, limits
from test_io_drivers_faults import blackhole

from tezos_p2p.fsm import welcome
from tezos_p2p.fsm.inbox import Joined, Left
from tezos_p2p.io import aio_driver, blocking_driver
from tezos_p2p.io.node_ends import NotConnected
from tezos_p2p.spec.reasons import Reason

world = node_suite.fixture(("aio", "thread", "calls"))
lively_world = node_suite.fixture(("aio", "thread"))

#: How far a puppet goes before it does what is wrong.
PHASES = ("connect", "greet", "tell", "accept")
phases = pytest.mark.parametrize("phase", PHASES)
roles = pytest.mark.parametrize("dials", [True, False], ids=["dials", "listens"])
#: Nobody is waited for longer than that.
HASTY = limits(connection_timeout=0.5, authentication_timeout=0.5)


def meet(world, ours, dials, phase):
    """Bring a node and a puppet together; return the puppet, and the call that dials."""
    if not dials:
        return dial(ours.point).shake(phase), None
    with PuppetDoor() as door:
        connecting = ours.begin("connect", door.point)
        return door.accept().shake(phase), connecting


def still_fine(world, ours):
    """Check that somebody else is welcome, and heard."""
    world.until(lambda: ours.is_quiet)

    def nothing_is_left() -> bool:
        while ours.receive_now() is not None:
            pass
        return ours.look(lambda: len(ours.core)) == 0

    # Once the application knows of it all, nothing is kept for who is gone; some may
    # not even have been accepted yet.
    world.until(nothing_is_left)
    other = world.node(theirs=True)
    ours.connect(other.point)
    ours.send(other.peer_id, b"still here")
    taking = other.begin("take", 1)
    assert world.result(taking) == [(ours.peer_id, b"still here")]
    other.send(ours.peer_id, b"so am I")
    assert ours.take(1) == [(other.peer_id, b"so am I")]


def noticed(ours) -> bool:
    """Whether it has had any link: without a thread, it accepts only when it runs."""
    return ours.look(lambda: ours.core._traffic._next_link) > 1


def failed(world, connecting):
    """Wait for a dial that must have failed, if there is one."""
    if connecting is not None:
        world.until(connecting.done)
        assert isinstance(connecting.exception(), NotConnected)


# -- sockets that give little ---


class Grudging(socket.socket):
    """Of five calls one is honoured, and only in part."""

    most = 1
    calls = 0

    def _grudge(self) -> None:
        if self.family == socket.AF_UNIX:
            return  # what wakes a loop
        Grudging.calls += 1
        if Grudging.calls % 5 in (1, 2, 3):
            raise BlockingIOError(errno.EAGAIN, "again")
        if Grudging.calls % 5 == 4:
            raise InterruptedError(errno.EINTR, "interrupted")

    def recv_into(self, buffer, *rest):
        self._grudge()
        return super().recv_into(memoryview(buffer)[: self.most], *rest)

    def send(self, data, *rest):
        self._grudge()
        return super().send(memoryview(data)[: self.most], *rest)

    def sendmsg(self, buffers, *rest):
        self._grudge()
        return super().send(b"".join(buffers)[: self.most])


@pytest.mark.parametrize(("most", "size"), [(1, 700), (100, 30_000)])
def test_sockets_may_take_and_give_little(world, monkeypatch, most, size):
    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", Grudging)
        patch.setattr(Grudging, "most", most)
        before = Grudging.calls
        ours, theirs = world.pair()
        message = os.urandom(size)
        taking = theirs.begin("take", 2)
        ours.say(theirs.peer_id, [message, b""])
        saying = theirs.begin("say", ours.peer_id, [message[::-1], b""])
        said = [it for _, it in ours.take(2)]
        assert said == [message[::-1], b""]
        world.result(saying)
        if world.variant == "calls":
            world.until(taking.done)
        assert [it for _, it in world.result(taking)] == [message, b""]
        assert Grudging.calls - before > 100
        ours.stop()
        theirs.stop()


def test_a_peer_that_trickles_is_understood(world):
    ours = world.node()
    with dial(ours.point) as other:
        other.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        def trickle(data):
            for at in range(len(data)):
                other.sock.send(data[at : at + 1])

        def whole():
            trickle(other.puppet.hello())
            other.puppet.meet(other.frame())
            trickle(other.puppet.seal(b"\0\0"))
            other.hear()
            trickle(other.puppet.seal(b"\0"))
            other.hear()
            trickle(other.puppet.seal(raw(b"drop by drop")))

        saying = driver_suite.Task(whole)
        [(_, message)] = ours.take(1)
        assert message == b"drop by drop"
        saying.result()


# -- peers that end badly, anywhere ---


@phases
@roles
def test_a_reset_in_any_phase_costs_nobody_else(world, phase, dials):
    ours = world.node()
    task = driver_suite.Task(meet, world, ours, dials, phase)
    world.until(lambda: task.done)
    other, connecting = task.result()
    if phase == "accept":
        assert ours.pull(Joined)
        if connecting is not None:
            world.result(connecting)
        other.reset()
        left = ours.pull(Left)
        assert left.disconnection.reason is Reason.CONNECTION_CLOSED_BY_PEER
    else:
        other.reset()
        failed(world, connecting)
    still_fine(world, ours)


@phases
@roles
def test_a_half_close_in_any_phase_ends_the_link(world, phase, dials):
    ours = world.node()
    task = driver_suite.Task(meet, world, ours, dials, phase)
    world.until(lambda: task.done)
    other, connecting = task.result()
    with other:
        other.sock.shutdown(socket.SHUT_WR)
        if phase == "accept":
            left = ours.pull(Left)
            assert left.disconnection.reason is Reason.CONNECTION_CLOSED_BY_PEER
        else:
            failed(world, connecting)
        # To its end: we have closed too, as soon as we have noticed them at all.
        draining = driver_suite.Task(other.drain)
        world.until(lambda: draining.done and ours.is_quiet)
        draining.result()
    still_fine(world, ours)


@phases
@roles
def test_a_peer_that_stalls_in_any_phase_is_not_waited_for(world, phase, dials):
    ours = world.node(limits=HASTY)
    began = time.monotonic()
    task = driver_suite.Task(meet, world, ours, dials, phase)
    world.until(lambda: task.done)
    other, connecting = task.result()
    with other:
        if phase == "accept":
            # Silence is no fault of an established connection.
            assert ours.pull(Joined)
            world.pause(0.6)
            assert ours.census == {"RUNNING": 1}
            other.say(raw(b"awake"))
            [(peer_id, message)] = ours.take(1)
            assert message == b"awake"
            ours.disconnect(peer_id)
        else:
            failed(world, connecting)
            world.until(lambda: noticed(ours) and ours.is_quiet)
            assert 0.5 <= time.monotonic() - began < 5.0
        other.drain()
    still_fine(world, ours)


@phases
def test_a_stop_waits_for_nobody_in_the_middle_of_a_handshake(world, phase):
    ours = world.node()
    task = driver_suite.Task(meet, world, ours, False, phase)
    world.until(lambda: task.done)
    other, _ = task.result()
    with other:
        began = time.monotonic()
        ours.stop(0.3)
        assert time.monotonic() - began < 2.0
        other.drain()
    assert ours.is_quiet


def test_a_dial_that_nobody_answers_is_given_up(world):
    ours = world.node(limits=HASTY)
    with blackhole() as point:
        began = time.monotonic()
        with pytest.raises(NotConnected):
            ours.connect(point)
        assert 0.5 <= time.monotonic() - began < 5.0
    still_fine(world, ours)


def test_a_stop_does_not_wait_for_a_dial_that_nobody_answers(lively_world):
    ours = lively_world.node()
    with blackhole() as point:
        connecting = ours.begin("connect", point)
        lively_world.until(lambda: ours.census.get("DIALLING"))
        began = time.monotonic()
        ours.stop()
        assert time.monotonic() - began < 2.0
        failed(lively_world, connecting)


def test_messages_before_a_reset_are_delivered(world):
    ours = world.node()
    other = driver_suite.Task(lambda: dial(ours.point).shake())
    world.until(lambda: other.done)
    with other.result() as puppet:
        puppet.say(raw(b"one"), raw(b"two"))
        # What is still on its way when a reset comes is lost, by TCP itself.
        inbox = ours.core._inbox
        world.until(lambda: ours.look(lambda: inbox.waiting) == 2)
        puppet.reset()
        world.until(lambda: not ours.known)
        assert [it for _, it in ours.take(2)] == [b"one", b"two"]
        left = ours.receive()
        assert isinstance(left, Left)
        assert left.disconnection.reason is Reason.CONNECTION_CLOSED_BY_PEER


@node_suite.isolated
@pytest.mark.parametrize("what", ["garbage", "bad chunk", "bad message"])
def test_who_offends_is_held_off_alone(world, what):
    ours = world.node()
    bad = node_suite.address(200)

    def offend():
        with dial(ours.point, bad) as other:
            if what == "garbage":
                other.sock.sendall(b"\0\x80" + bytes(128))
            elif what == "bad chunk":
                other.shake("greet").sock.sendall(b"\0\x20" + bytes(32))
            else:
                other.shake().say(bytes(40))
            other.drain()

    offending = driver_suite.Task(offend)
    world.until(lambda: offending.done)
    offending.result()
    world.until(lambda: ours.is_quiet)

    def again():
        with dial(ours.point, bad) as other:
            return other.drain()

    coming = driver_suite.Task(again)
    world.until(lambda: coming.done)
    assert coming.result() == b""  # not even greeted
    assert ours.core.refused[Reason.INCOMING_CONNECTION_BANNED] == 1
    still_fine(world, ours)


def test_a_flood_of_visitors_who_reset_at_once_is_no_fault(world):
    ours = world.node()

    def flood():
        for _ in range(15):  # fewer than the system keeps for us
            dial(ours.point).reset()

    flooding = driver_suite.Task(flood)
    world.until(lambda: flooding.done)
    flooding.result()
    still_fine(world, ours)


# -- a system that has nothing left ---


class Poor(socket.socket):
    """Its `accept` fails with each of these, then works."""

    errors: list[int] = []
    failures = 0

    def accept(self):
        if Poor.errors:
            Poor.failures += 1
            number = Poor.errors.pop(0)
            raise OSError(number, os.strerror(number))
        return super().accept()


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS])
def test_without_descriptors_accepting_rests_and_goes_on(world, monkeypatch, number):
    monkeypatch.setattr(welcome, "ACCEPT_DELAY", 0.15)
    monkeypatch.setattr(Poor, "errors", [number, number])
    monkeypatch.setattr(Poor, "failures", 0)
    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", Poor)
        ours = world.node()
    theirs = world.node(theirs=True)
    began = time.monotonic()
    connecting = theirs.begin("connect", ours.point)
    world.until(connecting.done)
    connecting.result()
    assert time.monotonic() - began >= 0.3
    assert Poor.failures == 2  # it has not tried all the time
    world.until(lambda: ours.known)


def test_a_visitor_who_is_gone_does_not_stop_accepting(world, monkeypatch):
    monkeypatch.setattr(welcome, "ACCEPT_DELAY", 1000.0)
    passing = [errno.ECONNABORTED, errno.EINTR, errno.EPROTO]
    monkeypatch.setattr(Poor, "errors", passing)
    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", Poor)
        ours = world.node()
    theirs = world.node(theirs=True)
    connecting = theirs.begin("connect", ours.point)
    world.until(connecting.done)
    connecting.result()
    assert passing == []


def test_a_node_that_rests_from_accepting_can_be_stopped(world, monkeypatch):
    monkeypatch.setattr(Poor, "errors", [errno.EMFILE] * 1000)
    monkeypatch.setattr(Poor, "failures", 0)
    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", Poor)
        ours = world.node()
    with dial(ours.point):
        world.until(lambda: Poor.failures)
        world.pause(0.02)
        ours.stop()
    assert Poor.failures == 1


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENOBUFS])
def test_without_descriptors_a_dial_fails_and_the_next_works(world, monkeypatch, number):
    ours, theirs = world.node(), world.node(theirs=True)

    def refuse(point):
        raise OSError(number, os.strerror(number))

    kind = type(ours.node).__module__.rpartition(".")[2]
    driver = aio_driver if kind == "aio_node" else blocking_driver
    with monkeypatch.context() as patch:
        patch.setattr(driver, "open_for", refuse)
        with pytest.raises(NotConnected):
            ours.connect(theirs.point)
    assert ours.is_quiet
    still_fine(world, ours)


# -- an application that makes mistakes ---


class Mistake(Exception):
    """Of whoever wrote the application."""


def test_an_application_that_raises_leaves_nobody_waiting(lively_world, monkeypatch):
    world = lively_world
    monkeypatch.setattr(sys, "excepthook", lambda *_: None)
    monkeypatch.setattr("threading.excepthook", lambda *_: None)

    def score(_):
        raise Mistake

    ours, theirs = world.node(score=score), world.node(theirs=True)
    waiting = ours.begin("receive")
    connecting = ours.begin("connect", theirs.point)
    world.until(connecting.done)
    assert connecting.exception() is not None
    host = world.host(ours)
    if not isinstance(host, driver_suite.AioHost):
        world.until(waiting.done)  # its loop is no more
        assert ours.node.stopped
    world.result(ours.begin("stop", 0.1))
    world.until(waiting.done)
    if isinstance(host, driver_suite.AioHost):
        assert host.faults  # the loop has told of it
        host.faults.clear()


def test_all_tasks_may_be_cancelled_and_a_stop_still_ends_everything():
    with node_suite.world_of("aio") as world:
        ours, theirs = world.node(), world.node(theirs=True)
        calls = [ours.begin("connect", theirs.point), ours.begin("receive")]

        async def cancel_all():
            for _ in range(3):
                await asyncio.sleep(0)
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()

        world.result(ours.run(cancel_all))
        for each in calls:
            world.until(each.done)
        # The dial itself was a task; or it had succeeded before.
        world.until(lambda: set(ours.census) <= {"RUNNING"})
        ours.disconnect(theirs.peer_id)
        still_fine(world, ours)
