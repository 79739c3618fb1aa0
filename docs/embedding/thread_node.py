"""Two nodes in threads of their own; other threads call them and wait for what they say.

Each thread runs the loop of ``selectors_node``.  Everybody else takes the lock, calls the
node, and rings a bell: a byte through a pair of sockets that the loop watches as well.
The loop lets go of the lock while it waits, and only then.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from selectors_node import Driver
from two_nodes import COUNT, DEADLINE, message

from tezos_p2p.fsm import Message
from tezos_p2p.spec import PeerId, Point

now = time.monotonic


class NodeThread:
    """A node in a thread; what is public may be called by any other thread.

    Nothing is queued on the way: who pulls nothing stops the peer, not the loop, and who
    sends more than there is room for waits.
    """

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._driver = Driver(self._selector)
        self._node = self._driver.node
        self.point = self._driver.point
        self._stopping = False
        self._changed = threading.Condition()  # holds the lock
        self._bell, self._ear = socket.socketpair()
        self._bell.setblocking(False)
        self._selector.register(self._ear, selectors.EVENT_READ, self._hear)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    # -- for other threads -------------------------------------------------------------

    def connect(self, point: Point) -> None:
        """Begin to dial a point; `receive` tells who has joined."""
        with self._changed:
            self._node.connect(point, now())
            self._ring()

    def send(self, peer: PeerId, words: bytes) -> None:
        """Queue a message; wait until there is room."""
        self._wait(lambda: self._node.send(peer, words, now()))

    def receive(self) -> Any:
        """Return what the node tells next; wait until there is anything."""
        return self._wait(self._node.receive)

    def stop(self) -> None:
        """End everything, and the thread; what is queued may leave for three seconds."""
        with self._changed:
            self._stopping = True
            self._node.stop(now(), now() + 3.0)
            self._ring()
        self._thread.join(DEADLINE)

    def _wait(self, act: Callable[[], Any]) -> Any:
        until = now() + DEADLINE
        with self._changed:
            while not (result := act()):
                if not self._changed.wait(until - now()):
                    raise TimeoutError("not done in time")
            self._ring()
            return result

    def _ring(self) -> None:
        """Wake the loop: after a call of ours it has to look for commands."""
        with contextlib.suppress(BlockingIOError):  # it rings enough
            self._bell.send(b"!")

    # -- the thread --------------------------------------------------------------------

    def _hear(self, _: int) -> None:
        self._ear.recv(4096)

    def _run(self) -> None:
        with self._changed:
            while True:
                self._driver.pump()
                self._changed.notify_all()  # something may be readable, or have room
                if self._stopping and not self._driver.wires:
                    break
                at = self._node.next_timeout()
                left = None if at is None else max(0.0, at - now())
                self._changed.release()
                try:
                    ready = self._selector.select(left)
                finally:
                    self._changed.acquire()
                for key, mask in ready:
                    key.data(mask)
                self._node.handle_timeout(now())
        for each in (self._selector, self._driver.door, self._bell, self._ear):
            each.close()


def say(node: NodeThread, name: str, peer: PeerId) -> None:
    """Send everything, as fast as there is room."""
    for number in range(COUNT):
        node.send(peer, message(name, number))


def hear(node: NodeThread, name: str, other: str) -> str:
    """Take everything that the other says; return how much that was."""
    for number in range(COUNT):
        while not isinstance(item := node.receive(), Message):
            pass  # Ready: `send` has seen to it
        if item.message != message(other, number):
            raise ValueError(f"{name} heard {item.message[:20]!r} at {number}")
    return f"{name} heard {COUNT * len(message(other, 0))} bytes from {other}, in order"


def main() -> None:
    """Have both nodes talk, with two more threads for each."""
    alice, bob = NodeThread(), NodeThread()
    try:
        bob.connect(alice.point)
        with ThreadPoolExecutor() as threads:
            says, hears = [], []
            for node, name, other in ((alice, "alice", "bob"), (bob, "bob", "alice")):
                peer = node.receive().remote.peer_id  # the first to tell is Joined
                says.append(threads.submit(say, node, name, peer))
                hears.append(threads.submit(hear, node, name, other))
            for said in says:
                said.result()
            for heard in hears:  # two threads that print mix their lines
                print(heard.result())
    finally:
        for node, name in ((bob, "bob"), (alice, "alice")):
            node.stop()
            print(f"{name} stops")


if __name__ == "__main__":
    main()
