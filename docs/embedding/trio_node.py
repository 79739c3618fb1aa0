"""Two nodes over trio: a task that carries each link, one that writes, one for the time.

A node's verbs return at once and never await, so that no task can come between an input
and what follows from it.  What waits is cancelled through the scope of its link.
"""

from __future__ import annotations

import contextlib
import math
import socket
import sys
import time

import trio
from two_nodes import DEADLINE, ROOM, Talk, make_node

from tezos_p2p.fsm import Accept, Close, Dial, Read, Shut, Write
from tezos_p2p.io.sockets import configure, listen_on, open_for, point_of
from tezos_p2p.spec import Point

now = trio.current_time


class Wire:
    """One socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.scope = trio.CancelScope()
        self.left = memoryview(b"")  # what the socket did not take yet
        self.refused = False  # a Write found no room: `writable` is due
        self.shut = False  # no more is written after what is left
        self.to_write = trio.Event()
        self.to_read = trio.Event()


class Driver:
    """Moves bytes between one node and its sockets."""

    def __init__(self, name: str, other: str) -> None:
        self.door = listen_on(Point.parse("127.0.0.1:0"), backlog=16)
        self.point = point_of(self.door.getsockname())
        self.node = make_node(self.point.port)
        self.talk = Talk(self.node, name, other)
        self.wires: dict[int, Wire] = {}
        self.listening = trio.CancelScope()
        self.timer = trio.CancelScope()
        self.at: float | None = None

    async def run(self, first: Point | None) -> None:
        """Run a node that dials a point, until it is done."""
        self.node.start(now(), time.time())
        if first is not None:
            self.node.connect(first, now())
        with self.door:
            async with trio.open_nursery() as self.tasks:
                self.pump()
                await self.keep_time()

    def pump(self) -> None:
        """Carry out what the node wants; to be called after each of its inputs."""
        while True:
            while (command := self.node.next_command()) is not None:
                self.carry_out(command)
            if not self.node.readable:
                break
            self.talk.pull(now())
        self.arm()
        if self.talk.over and not self.wires:
            self.tasks.cancel_scope.cancel()

    def arm(self) -> None:
        """Set the one timer anew if the next deadline is another."""
        at = self.node.next_timeout()
        if at != self.at:
            self.at, self.timer.deadline = at, math.inf if at is None else at

    async def keep_time(self) -> None:
        """Tell the node when its deadlines have come."""
        while True:
            with self.timer:
                await trio.sleep_forever()
            self.at, self.timer = None, trio.CancelScope()
            self.node.handle_timeout(now())
            self.pump()

    def carry_out(self, command: object) -> None:
        """Do one thing that the node wants."""
        match command:
            case Write(link):
                wire = self.wires[link]
                wire.refused = len(wire.left) > 0
                room = 0 if wire.refused else ROOM
                if data := self.node.data_to_send(link, room, now()):
                    wire.left = memoryview(data)
                    wire.to_write.set()
            case Read(link):
                self.wires[link].to_read.set()
            case Shut(link):
                self.wires[link].shut = True
                self.wires[link].to_write.set()
            case Close(link):
                self.lost(link, None)
            case Dial(link, point):
                try:
                    sock, address = open_for(point)
                except OSError as exc:
                    self.node.link_lost(link, exc.errno, now())
                    return
                wire = self.wires[link] = Wire(sock)
                self.tasks.start_soon(self.carry, link, wire, address)
            case Accept(True):
                self.listening = trio.CancelScope()
                self.tasks.start_soon(self.accept, self.listening)
            case Accept(False):
                self.listening.cancel()

    async def accept(self, scope: trio.CancelScope) -> None:
        """Take in who connects, until that is cancelled."""
        with scope:
            while True:
                await trio.lowlevel.wait_readable(self.door)
                try:
                    sock, address = self.door.accept()
                except OSError as exc:
                    self.node.accept_failed(exc.errno or 0, now())
                else:
                    link = self.node.accept(point_of(address), now())
                    if link is None:
                        sock.close()
                    else:
                        configure(sock)
                        wire = self.wires[link] = Wire(sock)
                        self.tasks.start_soon(self.carry, link, wire, None)
                self.pump()

    async def carry(self, link: int, wire: Wire, address: tuple | None) -> None:
        """Be there for one link, from its dial to its end."""
        try:
            with wire.scope:
                if address is not None:
                    await trio.socket.from_stdlib_socket(wire.sock).connect(address)
                    self.node.link_made(link, now())
                    self.pump()
                async with trio.open_nursery() as tasks:
                    tasks.start_soon(self.write, link, wire)
                    await self.read(link, wire)
        except* OSError as group:
            self.lost(link, group.exceptions[0].errno)
            self.pump()

    async def read(self, link: int, wire: Wire) -> None:
        """Read what is allowed, until the end of their stream."""
        data = None
        while data != b"" and link in self.wires:
            await trio.lowlevel.wait_readable(wire.sock)
            allowance = self.node.read_allowance(link, now())
            if not allowance:  # never read 0 bytes: that would look like the end
                self.arm()  # to be refused may have set a deadline
                wire.to_read = trio.Event()
                await wire.to_read.wait()
                continue
            with contextlib.suppress(BlockingIOError):
                data = wire.sock.recv(allowance)
                self.node.receive_data(link, data, now())
                self.pump()

    async def write(self, link: int, wire: Wire) -> None:
        """Give the socket what there is, as it takes it."""
        while True:
            await wire.to_write.wait()
            while wire.left:
                await trio.lowlevel.wait_writable(wire.sock)
                with contextlib.suppress(BlockingIOError):
                    wire.left = wire.left[wire.sock.send(wire.left) :]
            wire.to_write = trio.Event()
            if wire.shut:
                wire.sock.shutdown(socket.SHUT_WR)
            if wire.refused:
                wire.refused = False
                self.node.writable(link, now())
                self.pump()

    def lost(self, link: int, error: int | None) -> None:
        """Close a socket, whatever the reason, and say so, once."""
        wire = self.wires.pop(link, None)
        if wire is None:
            return
        wire.scope.cancel()
        wire.sock.close()
        self.node.link_lost(link, error, now())


async def main() -> None:
    """Have both nodes talk until they are done, or the time is up."""
    alice, bob = Driver("alice", "bob"), Driver("bob", "alice")
    with trio.move_on_after(DEADLINE) as limit:
        async with trio.open_nursery() as tasks:
            tasks.start_soon(alice.run, None)
            tasks.start_soon(bob.run, alice.point)
    if limit.cancelled_caught:
        sys.exit("not done in time")


if __name__ == "__main__":
    trio.run(main)
