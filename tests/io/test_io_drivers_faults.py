"""Both drivers when sockets misbehave, calls are given up and callbacks raise."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import driver_suite
import pytest
from driver_suite import (
    CODEC,
    HOME,
    LIVELY,
    OURS,
    VARIANTS,
    RawDoor,
    RawPeer,
    Task,
    met,
    raw,
    roles,
    until,
)

from tezos_p2p.fsm import solo
from tezos_p2p.spec import Authenticated, Closed, Established
from tezos_p2p.spec.motive import Motive
from tezos_p2p.spec.point import Point
from tezos_p2p.spec.reasons import Reason

hosts = driver_suite.hosts
lively_hosts = driver_suite.lively_hosts

HERE = Path(__file__).parent


# -- sockets that give little ---


class Stingy(socket.socket):
    """Reads and writes a few bytes at once, and often none at all."""

    most = 1
    calls = 0

    def _grudge(self) -> None:
        if self.family == socket.AF_UNIX:
            return  # what wakes a loop
        Stingy.calls += 1
        if Stingy.calls % 5 == 1:
            raise BlockingIOError(errno.EAGAIN, "again")
        if Stingy.calls % 7 == 1:
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


@pytest.mark.parametrize(("most", "size"), [(1, 700), (7, 5_000), (1_000, 300_000)])
@pytest.mark.parametrize("variant", ["aio", "thread", "calls"])
@roles
def test_sockets_may_take_and_give_little(monkeypatch, variant, dials, most, size):
    with driver_suite.nothing_left():
        it = driver_suite.Hosts(variant)
        try:
            with monkeypatch.context() as patch:
                patch.setattr(socket, "socket", Stingy)
                patch.setattr(Stingy, "most", most)
                before = Stingy.calls
                message = os.urandom(size)
                door = (it.theirs if dials else it.ours).listen()

                def answer(it=it, door=door, message=message):
                    theirs = door.accept() if dials else it.theirs.connect(door.point)
                    got = theirs.take(2)
                    theirs.send(message[::-1])
                    return got

                task = Task(answer)
                ours = it.ours.connect(door.point) if dials else door.accept()
                ours.send(message)
                ours.send(b"")
                assert ours.receive() == message[::-1]
                assert task.result() == [message, b""]
                assert Stingy.calls - before > 50
        finally:
            it.finish()


@roles
def test_a_peer_that_trickles_is_understood(hosts, dials):
    with met(hosts, dials, "connect") as (other, get):
        trickle(other, other.puppet.hello())
        other.puppet.meet(other.frame())
        trickle(other, other.puppet.seal(b"\0\0"))
        other.hear()
        trickle(other, other.puppet.seal(b"\0"))
        other.hear()
        ours = get()
        task = Task(ours.take, 2)
        trickle(other, other.puppet.seal(raw(b"drop by drop")))
        trickle(other, b"".join(map(other.puppet.seal, (b"\0\0", b"\0\4\0", b"\x10ab"))))
        assert task.result() == [b"drop by drop", b"ab"]


def trickle(other: RawPeer, data: bytes) -> None:
    other.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for at in range(len(data)):
        other.sock.send(data[at : at + 1])


def test_small_buffers_of_the_system_are_enough(hosts):
    with RawDoor(buffer=2048) as door:
        task = Task(hosts.ours.connect, door.point)
        with door.accept() as other:
            other.shake()
            ours = task.result()
            message = bytes(range(256)) * 1000
            whole = len(message) + 6

            def read(other=other, size=whole):
                got = b""
                while len(got) < size:
                    got += other.hear()
                other.say(raw(b"have it"))
                return got

            reading = Task(read)
            ours.send(message)
            assert ours.receive() == b"have it"
            assert reading.result() == raw(message)


# -- accepting that fails ---


class Failing(socket.socket):
    """Its `accept` fails with each of these, then works."""

    errors: list[int] = []
    failed = 0

    def accept(self):
        if Failing.errors:
            number = Failing.errors.pop(0)
            Failing.failed += 1
            raise OSError(number, os.strerror(number))
        return super().accept()


def visit(hosts, monkeypatch, errors):
    """Let accepting fail before it works; return how many seconds it took."""
    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", Failing)
        door = hosts.ours.listen()
    monkeypatch.setattr(Failing, "errors", list(errors))
    task = Task(door.accept)
    began = time.monotonic()
    theirs = hosts.theirs.connect(door.point)
    ours = task.result()
    took = time.monotonic() - began
    theirs.send(b"inside")
    assert ours.receive() == b"inside"
    return took


def test_a_visitor_who_is_gone_does_not_stop_accepting(hosts, monkeypatch):
    monkeypatch.setattr(solo, "ACCEPT_DELAY", 1000.0)
    visit(hosts, monkeypatch, [errno.ECONNABORTED, errno.EINTR, errno.EPROTO])
    assert Failing.errors == []


def test_without_descriptors_accepting_rests_and_goes_on(hosts, monkeypatch):
    monkeypatch.setattr(solo, "ACCEPT_DELAY", 0.15)
    before = Failing.failed
    took = visit(hosts, monkeypatch, [errno.EMFILE, errno.ENFILE])
    assert took >= 0.3
    assert Failing.failed - before == 2  # it has not tried all the time


def test_a_listener_that_rests_can_be_closed(hosts, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", Failing)
        door = hosts.ours.listen()
    monkeypatch.setattr(Failing, "errors", [errno.EMFILE] * 1000)
    before = Failing.failed
    task = Task(door.accept, 0.3 if hosts.variant == "calls" else 20.0)
    with RawPeer.dial(door.point):
        until(lambda: Failing.failed > before)
        if hosts.variant == "calls":
            with pytest.raises(TimeoutError):
                task.result()
        door.close()
        if hosts.variant != "calls":
            with pytest.raises(ConnectionError, match="closed"):
                task.result()
    assert Failing.failed == before + 1


def test_without_ipv6_both_drivers_use_ipv4(hosts, monkeypatch):
    class Lacking(socket.socket):
        def __init__(self, family=socket.AF_INET, *rest, **more):
            if family == socket.AF_INET6:
                raise OSError(errno.EAFNOSUPPORT, "no such family")
            super().__init__(family, *rest, **more)

    with monkeypatch.context() as patch:
        patch.setattr(socket, "socket", Lacking)
        ours, theirs = hosts.join()
        ours.send(b"over IPv4")
        assert theirs.receive() == b"over IPv4"
        assert str(ours.point.address) == "127.0.0.1"
        why = None
        with pytest.raises(ConnectionError) as caught:
            hosts.ours.connect("[::1]:9")
        why = caught.value.disconnection
    assert why.reason is Reason.TCP_CONNECTION_FAILED_UNEXPECTED_ERROR
    assert "EAFNOSUPPORT" in str(why)


# -- what is given up ---


@contextlib.contextmanager
def blackhole():
    """A point where a dial is neither answered nor refused."""
    with contextlib.ExitStack() as stack:
        door = stack.enter_context(socket.socket())
        door.bind(("127.0.0.1", 0))
        door.listen(0)
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(door.getsockname())
        yield Point.parse(f"127.0.0.1:{door.getsockname()[1]}")


def meet_here(hosts):
    """Return a puppet, and our end of the connection, made by this thread."""
    if isinstance(hosts.ours, driver_suite.BlockingHost):
        hosts.ours.use_here()
    with RawDoor() as door:
        task = Task(lambda: door.accept().shake())
        ours = hosts.ours.connect(door.point)
        return task.result(), ours


def give_up(host, call, *args, when=lambda: None, **more):
    """Start a call, and give it up: cancel it, or press Ctrl-C."""
    if isinstance(host, driver_suite.AioHost):
        future = host.start(call, *args, **more)
        when()
        time.sleep(0.02)
        assert not future.done()
        future.cancel()
        until(lambda: future.done())
        return

    def press():
        when()
        time.sleep(0.05)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    task = Task(press)
    with pytest.raises(KeyboardInterrupt):
        call(*args, **more)
        time.sleep(10)
    task.result()


def dial(host):
    must, options = host.options({})
    return lambda point: host.module.connect(point, *must, **options)


def test_dialling_can_be_given_up(hosts):
    with blackhole() as point:
        give_up(hosts.ours, dial(hosts.ours), point)


@pytest.mark.parametrize("step", ["connect", "greet", "tell"])
def test_a_handshake_can_be_given_up(hosts, step):
    with RawDoor() as door:
        others = []

        def when():
            other = door.accept()
            others.append(other.shake(step))

        give_up(hosts.ours, dial(hosts.ours), door.point, when=when)
        with others[0] as other:
            other.drain()  # it is closed


def test_accepting_can_be_given_up_and_goes_on(hosts):
    if isinstance(hosts.ours, driver_suite.BlockingHost):
        hosts.ours.use_here()
    door = hosts.ours.listen()
    give_up(hosts.ours, door.it.accept)
    task = Task(hosts.theirs.connect, door.point)
    door.accept()
    task.result()


def test_receiving_can_be_given_up_and_nothing_is_lost(hosts):
    if isinstance(hosts.ours, driver_suite.BlockingHost):
        hosts.ours.use_here()
    ours, theirs = hosts.join()
    for number in range(3):
        give_up(hosts.ours, ours.it.receive)
        theirs.send(b"%d" % number)
        assert ours.receive() == b"%d" % number


def test_sending_can_be_given_up(hosts):
    other, ours = meet_here(hosts)
    with other:
        while ours.send_now(bytes(1 << 20)):
            pass
        give_up_flood(hosts.ours, ours)
        ours.abort()
        other.drain()


def give_up_flood(host, peer):
    async def flood_aio():
        while True:
            await peer.it.send(bytes(1 << 20))

    def flood():
        while True:
            peer.it.send(bytes(1 << 20))

    aio = isinstance(host, driver_suite.AioHost)
    give_up(host, flood_aio if aio else flood, when=lambda: time.sleep(0.1))


def test_closing_can_be_given_up_and_closes_at_once(hosts):
    other, ours = meet_here(hosts)
    with other:
        while ours.send_now(bytes(1 << 20)):
            pass
        give_up(hosts.ours, ours.it.close, "", 15.0)
        assert ours.disconnection.reason is Reason.USER
        until(lambda: ours.link not in ours.it._driver.core)
        other.drain()


@pytest.mark.parametrize("variant", ["aio", "uvloop"])
def test_calls_that_were_cancelled_leave_nothing_behind(variant):
    with driver_suite.nothing_left():
        it = driver_suite.Hosts(variant)
        try:
            door = it.ours.listen()
            for _ in range(20):
                with pytest.raises(TimeoutError):
                    door.accept(0.001)
            assert door.it._waiters == []
            ours, _ = it.join()
            for _ in range(20):
                with pytest.raises(TimeoutError):
                    ours.receive(0.001)
            assert ours.it._waiters == []
        finally:
            it.finish()


@pytest.mark.parametrize("variant", ["aio", "uvloop"])
def test_a_dial_that_is_given_up_at_any_moment_ends(variant):
    with driver_suite.nothing_left():
        host = driver_suite.make(variant, OURS)
        theirs = driver_suite.make("thread", driver_suite.THEIRS)
        door = theirs.listen()
        must, options = host.options({})

        async def dial_for(turns):
            task = asyncio.ensure_future(
                host.module.connect(door.point, *must, **options)
            )
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await (await task).close(timeout=0)

        try:
            for turns in range(40):
                host.wait_for(dial_for, turns, timeout=10)
        finally:
            host.finish()
            theirs.finish()


@pytest.mark.parametrize("variant", ["aio", "uvloop"])
def test_all_tasks_may_be_cancelled_at_any_moment(variant):
    async def both(turns):
        before = asyncio.all_tasks()
        door = await module.listen(HOME, *must, **options)
        other = (driver_suite.THEIRS, *must[1:])
        task = asyncio.ensure_future(module.connect(door.point, *other, **options))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        for each in asyncio.all_tasks() - before:
            each.cancel()  # the driver's own, too
        with contextlib.suppress(asyncio.CancelledError):
            await (await task).close(timeout=0)
        await door.close()
        for _ in range(20):
            await asyncio.sleep(0)

    with driver_suite.nothing_left():
        host = driver_suite.make(variant, OURS)
        module = host.module
        must, options = host.options({})
        try:
            for turns in range(30):
                host.wait_for(both, turns, timeout=10)
        finally:
            host.finish()


@pytest.mark.parametrize("variant", ["aio", "uvloop"])
def test_a_listener_may_close_at_any_moment(variant):
    async def visit(turns):
        door = await host.module.listen(HOME, *must, **options)
        with RawPeer.dial(door.point) as visitor:
            for _ in range(turns):
                await asyncio.sleep(0)
            await door.close()
            for _ in range(20):
                await asyncio.sleep(0)
            assert len(door._driver.core) == 0
            visitor.sock.setblocking(False)
            with contextlib.suppress(ConnectionError):
                assert len(visitor.drain()) < 200  # hello at most, then the end

    with driver_suite.nothing_left():
        host = driver_suite.make(variant, OURS)
        must, options = host.options({})
        try:
            for turns in range(12):
                host.wait_for(visit, turns, timeout=10)
        finally:
            host.finish()


def test_a_listener_closes_while_visitors_arrive(hosts):
    for count in (1, 5, 20):
        door = hosts.ours.listen()
        visitors = [RawPeer.dial(door.point) for _ in range(count)]
        door.close()
        for visitor in visitors:
            visitor.drain()
            visitor.sock.close()
        assert len(door.it._driver.core) == 0


def test_a_listener_that_closes_ends_whom_nobody_accepted_only(lively_hosts):
    ours, theirs = lively_hosts.ours, lively_hosts.theirs
    door = ours.listen()
    kept = theirs.connect(door.point)
    mine = door.accept()
    waiting = theirs.connect(door.point)
    until(lambda: len(door.it._arrived) == 1)
    with RawPeer.dial(door.point) as shaking:
        shaking.shake("greet")
        door.close()
        shaking.drain()
    assert waiting.ended().reason is Reason.CONNECTION_CLOSED_BY_PEER
    kept.send(b"still here")
    assert mine.receive() == b"still here"
    with pytest.raises(ConnectionError, match="closed"):
        door.accept()
    door.close()


def test_closing_a_listener_wakes_who_waits_though_others_live_on(lively_hosts):
    ours, theirs = lively_hosts.ours, lively_hosts.theirs
    door = ours.listen()
    kept = theirs.connect(door.point)
    mine = door.accept()
    task = Task(door.accept)
    until(lambda: not task.done)
    time.sleep(0.05)
    door.close()
    with pytest.raises(ConnectionError, match="closed"):
        task.result(5)
    kept.send(b"on and on")
    assert mine.receive() == b"on and on"


def test_iterating_over_a_listener_ends_when_it_closes(lively_hosts):
    ours, theirs = lively_hosts.ours, lively_hosts.theirs
    door = ours.listen()
    theirs.connect(door.point)
    task = Task(ours.collect, door.it)
    until(lambda: not door.it._arrived and not door.it._arriving)
    time.sleep(0.05)
    door.close()
    (connection,) = task.result()
    ours.adopt(connection)


# -- processes that are interrupted ---

SCRIPT = """
import os, sys, threading, asyncio, signal
sys.path.insert(0, {here!r})
import driver_suite
from driver_suite import CODEC, OURS, SANDBOX
from tezos_p2p.io import aio, blocking
signal.signal(signal.SIGINT, signal.default_int_handler)  # runners may ignore it
variant, point, what = sys.argv[1:]
must = (point, OURS, SANDBOX, CODEC)

async def main():
    if what == "dial":
        print("ready", flush=True)
    async with await aio.connect(*must, difficulty=0) as peer:
        print("ready", flush=True)
        await peer.receive()

def block():
    options = {{"difficulty": 0, "thread": variant == "thread"}}
    if what == "dial":
        print("ready", flush=True)
    with blocking.connect(*must, **options) as peer:
        print("ready", flush=True)
        peer.receive()

before = driver_suite.descriptors()
try:
    if variant == "aio":
        asyncio.run(main())
    elif variant == "uvloop":
        with asyncio.Runner(loop_factory=driver_suite.uvloop.new_event_loop) as runner:
            runner.run(main())
    else:
        block()
except KeyboardInterrupt:
    left = driver_suite.descriptors().keys() - before.keys()
    print("interrupted", threading.active_count(), len(left))
"""


@pytest.mark.parametrize("what", ["dial", "receive"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_ctrl_c_ends_a_process_quietly(variant, what):
    if variant == "uvloop" and driver_suite.uvloop is None:
        pytest.skip("there is no uvloop here")
    with contextlib.ExitStack() as stack:
        if what == "dial":
            point = stack.enter_context(blackhole())
        else:
            host = driver_suite.make("thread", driver_suite.THEIRS)
            stack.callback(host.finish)
            point = host.listen().point
        command = [sys.executable, "-X", "dev", "-c", SCRIPT.format(here=str(HERE))]
        process = subprocess.Popen(
            [*command, variant, str(point), what],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        with process:
            assert process.stdout.readline() == "ready\n"
            time.sleep(0.1)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=driver_suite.WAIT)
    assert err == ""
    assert out == "interrupted 1 0\n"
    assert process.returncode == 0


# -- events ---


@roles
def test_events_are_told_in_order(hosts, dials):
    told = []
    ours, theirs = hosts.join(
        dials, {"on_event": lambda link, event: told.append((link, event))}
    )
    task = Task(theirs.close)
    ours.ended()
    ours.close()
    task.result()
    assert {link for link, _ in told} == {ours.link}
    kinds = [type(event) for _, event in told]
    assert kinds[1:] == [Authenticated, Established, Closed]
    assert told[-1][1].disconnection is ours.disconnection
    times = [event.at for _, event in told]
    assert times == sorted(times)


class Mistake(Exception):
    """Of whoever wrote the callback."""


@pytest.fixture
def reported(monkeypatch):
    """What the application's callbacks have raised and nobody has caught."""
    kinds = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, *_: kinds.append(kind))
    return kinds


@roles
def test_an_observer_that_raises_is_reported_and_all_goes_on(hosts, dials, reported):
    def raising(link, event):
        raise Mistake

    ours, theirs = hosts.join(dials, {"on_event": raising})
    ours.send(b"there")
    assert theirs.receive() == b"there"
    task = Task(theirs.close)
    assert ours.ended().reason is Reason.CONNECTION_CLOSED_BY_PEER
    ours.close()
    task.result()
    assert reported == [Mistake] * 4


def test_whom_a_judge_that_raises_cannot_judge_is_refused(hosts, reported):
    def judge(remote):
        if not reported:
            raise Mistake

    door = hosts.ours.listen(judge=judge)
    task = Task(door.accept)
    why = Task(hosts.theirs.connect, door.point).ended()
    assert why.reason is Reason.AUTHENTICATION_REJECTED_BY_PEER
    assert why.motive is Motive.NO_MOTIVE
    hosts.theirs.connect(door.point)
    task.result()
    assert reported == [Mistake]


@pytest.mark.parametrize(
    "answer",
    [False, True, 0, "no", (), Motive],
    ids=["no", "yes", "0", "text", "()", "kind"],
)
def test_whom_a_judge_answers_with_anything_but_a_motive_is_refused(answer, monkeypatch):
    raised = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, _: raised.append(error))
    for variant in driver_suite.VARIANTS:
        with driver_suite.nothing_left():
            it = driver_suite.Hosts(variant)
            answers = [answer, None]
            door = it.ours.listen(judge=lambda _, said=answers: said.pop(0))
            task = Task(door.accept)
            why = Task(it.theirs.connect, door.point).ended()
            assert why.reason is Reason.AUTHENTICATION_REJECTED_BY_PEER
            assert why.motive is Motive.NO_MOTIVE
            it.theirs.connect(door.point)  # None admits
            task.result()
            it.finish()
    assert len(raised) == len(driver_suite.VARIANTS)
    for error in raised:
        assert type(error) is TypeError
        assert str(error).startswith(f"judge returned {answer!r}")


def test_a_callback_that_waits_is_told_off(monkeypatch):
    raised = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, error, _: raised.append(error))
    with driver_suite.nothing_left():
        it = driver_suite.Hosts("thread")
        got = []

        def waiting(link, event):
            if got and not raised:
                got[0].it.receive(timeout=5.0)  # the loop would wait for itself

        door = it.ours.listen(on_event=waiting)
        it.theirs.connect(door.point)
        got.append(door.accept())
        it.theirs.connect(door.point)
        door.accept()
        assert [type(error) for error in raised] == [RuntimeError]
        it.finish()


def test_without_a_thread_a_second_one_is_told_off():
    with driver_suite.nothing_left():
        it = driver_suite.Hosts("calls")
        ours, _ = it.join()
        for call in (ours.it.receive, lambda: ours.it.send(b""), ours.it.close):
            with pytest.raises(RuntimeError, match="thread=False"):
                call()
        it.finish()


# -- many threads ---


@pytest.mark.parametrize("variant", LIVELY)
def test_many_may_send_and_receive_at_once(variant):
    with driver_suite.nothing_left():
        it = driver_suite.Hosts(variant)
        try:
            small = {"limits": {"outgoing_message_queue_size": 4_000}}
            ours, theirs = it.join(True, small, small)
            names = [b"%d-%d" % (who, n) for who in range(4) for n in range(100)]

            def send(end, who):
                for n in range(100):
                    end.send(b"%d-%d" % (who, n))

            senders = [Task(send, end, who) for end in (ours, theirs) for who in range(4)]
            takers = [
                (end, Task(end.take, 100)) for end in (ours, theirs) for _ in range(4)
            ]
            for task in senders:
                task.result()
            for end in (ours, theirs):
                got = [
                    each for who, task in takers if who is end for each in task.result()
                ]
                assert sorted(got) == sorted(names)
        finally:
            it.finish()


def test_closing_from_elsewhere_wakes_who_receives(lively_hosts):
    ours, theirs = lively_hosts.join()
    waiting = [Task(ours.receive) for _ in range(3)]
    if lively_hosts.variant != "thread":
        until(lambda: len(ours.it._waiters or ()) == 3)
    else:
        time.sleep(0.05)
    # The other side does not read: it ends with our deadline at the latest.
    task = Task(ours.close, "elsewhere", 2.0)
    for each in waiting:
        assert each.ended().text == "elsewhere"
    task.result()
    theirs.ended()


# -- what is asked for wrongly ---


def test_options_that_do_not_exist_are_refused(hosts):
    with pytest.raises(TypeError, match="no such option: dificulty"):
        hosts.ours.listen(dificulty=0)
    with pytest.raises(TypeError, match="no such option: dificulty"):
        hosts.ours.connect("127.0.0.1:1", dificulty=0)


def test_a_door_whose_options_are_wrong_does_not_stay_open(hosts):
    with pytest.raises(ValueError):
        hosts.ours.listen(difficulty=1000)


@pytest.mark.parametrize("where", ["", "_", "_:9732", "[::1", "a b:1", "1.2.3.4:99999"])
def test_texts_that_name_no_host_are_refused(hosts, where):
    with pytest.raises(ValueError):
        hosts.ours.connect(where)


def test_no_socket_is_inherited(hosts):
    before = driver_suite.descriptors()
    hosts.join(True)
    hosts.join(False)
    new = driver_suite.descriptors().keys() - before.keys()
    assert len(new) >= 6 or not Path("/proc/self/fd").is_dir()
    assert not any(os.get_inheritable(fd) for fd in new)
    assert CODEC.most
