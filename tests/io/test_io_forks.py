"""A process that was forked: what is the parent's stays the parent's."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import threading
import warnings

import driver_suite
import pytest
from driver_suite import CODEC, OURS, SANDBOX, THEIRS, WAIT, descriptors

from tezos_p2p.io import aio, aio_node, blocking, blocking_node

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="nothing is forked here")
SEAMLESS = {"difficulty": 0.0}


def in_child(check) -> None:
    """Run something in a child, and tell what came of it."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of forks beside threads: which it is about
        pid = os.fork()
    if not pid:
        said = b"it hung"
        with contextlib.suppress(BaseException):
            signal.alarm(int(WAIT))
            try:
                check()
                said = b"done"
            except BaseException as exc:
                said = repr(exc).encode()
            os.write(write, said)
        os._exit(0)
    os.close(write)
    with open(read, "rb") as file:
        assert file.read() == b"done"
    os.waitpid(pid, 0)


def refused(call, *args):
    with pytest.raises(RuntimeError, match="forked"):
        call(*args)


@pytest.mark.parametrize("thread", [True, False])
def test_connections_and_listeners_of_the_parent(thread):
    handler = signal.getsignal(signal.SIGINT)
    with driver_suite.nothing_left(), contextlib.ExitStack() as stack:
        door = stack.enter_context(
            blocking.listen("127.0.0.1:0", OURS, SANDBOX, CODEC, **SEAMLESS)
        )
        ours = stack.enter_context(
            blocking.connect(
                door.point, THEIRS, SANDBOX, CODEC, thread=thread, **SEAMLESS
            )
        )
        theirs = stack.enter_context(door.accept(WAIT))
        inside = descriptors()

        def check():
            assert signal.getsignal(signal.SIGINT) is handler
            assert len(descriptors()) < len(inside)
            for end in (ours, theirs):
                refused(end.send, b"not ours")
                refused(end.send_now, b"not ours")
                refused(end.send_and_flush, b"not ours")
                refused(end.receive)
                refused(end.receive_now)
                refused(next, iter(end))
                end.close()
                end.abort()
                with end:
                    pass
            refused(door.accept)
            door.close()
            assert "Connection" in repr(ours)
            # The child may have its own.
            with (
                blocking.listen("127.0.0.1:0", OURS, SANDBOX, CODEC, **SEAMLESS) as mine,
                blocking.connect(mine.point, THEIRS, SANDBOX, CODEC, **SEAMLESS) as it,
                mine.accept(WAIT) as other,
            ):
                it.send(b"mine")
                assert other.receive(WAIT) == b"mine"

        in_child(check)
        for _ in range(2):
            ours.send_and_flush(b"later")
            assert theirs.receive(WAIT) == b"later"
            theirs.send(b"back")
            assert ours.receive(WAIT) == b"back"
        in_child(lambda: None)
        ours.close()  # first: without a thread it would not answer
        blocking.connect(door.point, THEIRS, SANDBOX, CODEC, **SEAMLESS).close()
    assert signal.getsignal(signal.SIGINT) is handler


@pytest.mark.parametrize("thread", [True, False])
def test_nodes_of_the_parent(thread):
    with driver_suite.nothing_left():
        one = blocking_node.Node(OURS, SANDBOX, CODEC, "127.0.0.1:0", **SEAMLESS)
        two = blocking_node.Node(THEIRS, SANDBOX, CODEC, thread=thread, **SEAMLESS)
        with one, two:
            two.connect(one.point)

            def check():
                for it, who in ((one, THEIRS), (two, OURS)):
                    refused(it.send, who.peer_id, b"not ours")
                    refused(it.broadcast, b"not ours")
                    refused(it.receive)
                    refused(it.ban, "1.2.3.4")
                    refused(it.disconnect, who.peer_id)
                    refused(getattr, it, "peers")
                    it.stop()
                    with contextlib.suppress(RuntimeError), it:
                        pass

            in_child(check)
            two.send(OURS.peer_id, b"later")
            two.run(0.01)
            for _, message in one:
                assert message == b"later"
                break


def test_a_lock_that_somebody_holds_holds_up_no_child():
    with driver_suite.nothing_left():
        door = blocking.listen("127.0.0.1:0", OURS, SANDBOX, CODEC, **SEAMLESS)
        held, done = threading.Event(), threading.Event()

        def hold():
            with door._driver.lock:
                held.set()
                done.wait(WAIT)

        holder = threading.Thread(target=hold)
        holder.start()
        held.wait(WAIT)

        def check():
            refused(door.accept)
            door.close()

        in_child(check)
        done.set()
        holder.join()
        door.close()


def test_of_a_loop_that_was_left():
    made = {}

    async def whole():
        made["door"] = await aio.listen("127.0.0.1:0", OURS, SANDBOX, CODEC, **SEAMLESS)
        there = made["door"].point
        made["ours"] = await aio.connect(there, THEIRS, SANDBOX, CODEC, **SEAMLESS)
        made["theirs"] = await made["door"].accept()
        made["node"] = aio_node.Node(OURS, SANDBOX, CODEC, "127.0.0.1:0", **SEAMLESS)
        await made["node"].start()
        await asyncio.to_thread(in_child, check)
        ours, theirs = made["ours"], made["theirs"]
        for _ in range(2):
            await ours.send(b"later")
            assert await theirs.receive() == b"later"
            await theirs.send(b"back")
            assert await ours.receive() == b"back"
        await end()

    async def end():
        for name in ("ours", "theirs", "door"):
            await made[name].close()
        await made["node"].stop()

    def check():
        refused(made["ours"].send_now, b"not ours")
        for name in ("ours", "theirs"):
            made[name].abort()
        # In a loop of its own: the other is the parent's.
        asyncio.new_event_loop().run_until_complete(end())

    asyncio.run(whole())
