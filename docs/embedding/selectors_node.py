"""Two nodes in one thread, over a bare ``selectors`` loop.

One ``select`` waits for the sockets and the deadlines of both.  A socket is watched for
what its node wants of it, and every command is carried out at once.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import selectors
import socket
import sys
import time
from selectors import EVENT_READ, EVENT_WRITE

from two_nodes import DEADLINE, ROOM, Talk, make_node

from tezos_p2p.fsm import Accept, Close, Dial, Read, Shut, Write
from tezos_p2p.io.sockets import configure, listen_on, open_for, point_of
from tezos_p2p.spec import Point

now = time.monotonic


class Wire:
    """One socket."""

    def __init__(self, sock: socket.socket, connecting: bool) -> None:
        self.sock, self.connecting = sock, connecting
        self.left = memoryview(b"")  # what the socket did not take yet
        self.refused = False  # a Write found no room: `writable` is due
        self.paused = False  # the allowance was 0, or their stream has ended
        self.shut = False  # no more is written after what is left
        self.watched = 0


class Driver:
    """Moves bytes between one node and its sockets."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self.selector = selector
        self.door = listen_on(Point.parse("127.0.0.1:0"), backlog=16)
        self.point = point_of(self.door.getsockname())
        self.node = make_node(self.point.port)
        self.wires: dict[int, Wire] = {}
        self.node.start(now(), time.time())

    def pump(self) -> bool:
        """Carry out what the node wants, after any input.

        Returns:
            Whether the application can pull something; that is an input as well.
        """
        while (command := self.node.next_command()) is not None:
            self.carry_out(command)
        return self.node.readable

    def carry_out(self, command: object) -> None:
        """Do one thing that the node wants."""
        match command:
            case Write(link):
                wire = self.wires[link]
                wire.refused = len(wire.left) > 0
                room = 0 if wire.refused else ROOM
                if data := self.node.data_to_send(link, room, now()):
                    wire.left = memoryview(data)
                    self.push(link, wire)
            case Read(link):
                self.wires[link].paused = False
                self.watch(link, self.wires[link])
            case Shut(link):
                self.wires[link].shut = True
                self.push(link, self.wires[link])
            case Close(link):
                self.lost(link, None)
            case Dial(link, point):
                self.dial(link, point)
            case Accept(True):
                self.selector.register(self.door, EVENT_READ, self.accept)
            case Accept(False):
                self.selector.unregister(self.door)

    def dial(self, link: int, point: Point) -> None:
        """Begin to connect."""
        try:
            sock, address = open_for(point)
        except OSError as exc:
            self.node.link_lost(link, exc.errno, now())
            return
        wire = self.wires[link] = Wire(sock, connecting=True)
        error = sock.connect_ex(address)
        if error in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
            self.watch(link, wire)
        else:
            self.lost(link, error)

    def accept(self, _: int) -> None:
        """Take in who has connected."""
        try:
            sock, address = self.door.accept()
        except OSError as exc:
            self.node.accept_failed(exc.errno or 0, now())
            return
        link = self.node.accept(point_of(address), now())
        if link is None:
            sock.close()
            return
        configure(sock)
        self.wires[link] = Wire(sock, connecting=False)
        self.watch(link, self.wires[link])

    def serve(self, link: int, mask: int) -> None:
        """Do what a socket is ready for; its link may be lost since it was found so."""
        wire = self.wires.get(link)
        if wire is not None and wire.connecting:
            wire.connecting = False
            if error := wire.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
                self.lost(link, error)
            else:
                self.node.link_made(link, now())
                self.watch(link, wire)
        elif wire is not None:
            if mask & EVENT_WRITE:
                self.push(link, wire)
            if mask & EVENT_READ and link in self.wires:
                self.read(link, wire)

    def read(self, link: int, wire: Wire) -> None:
        """Read what is allowed."""
        allowance = self.node.read_allowance(link, now())
        wire.paused = not allowance  # until Read; never read 0 bytes: that looks like b""
        try:
            data = wire.sock.recv(allowance) if allowance else None
        except BlockingIOError:
            return
        except OSError as exc:
            self.lost(link, exc.errno)
            return
        if data is not None:
            wire.paused = not data  # an end that was told would be readable for ever
            self.node.receive_data(link, data, now())
        self.watch(link, wire)

    def push(self, link: int, wire: Wire) -> None:
        """Give the socket as much as it takes of what is left."""
        try:
            while wire.left:
                wire.left = wire.left[wire.sock.send(wire.left) :]
        except BlockingIOError:
            pass
        except OSError as exc:
            self.lost(link, exc.errno)
            return
        if wire.shut and not wire.left:
            with contextlib.suppress(OSError):
                wire.sock.shutdown(socket.SHUT_WR)
        if wire.refused and not wire.left:
            wire.refused = False
            self.node.writable(link, now())
        self.watch(link, wire)

    def lost(self, link: int, error: int | None) -> None:
        """Close a socket, whatever the reason, and say so."""
        wire = self.wires.pop(link)
        if wire.watched:
            self.selector.unregister(wire.sock)
        wire.sock.close()
        self.node.link_lost(link, error, now())

    def watch(self, link: int, wire: Wire) -> None:
        """Have the selector look for what the node wants of a socket."""
        reads = 0 if wire.paused or wire.connecting else EVENT_READ
        wanted = reads | (EVENT_WRITE if wire.left or wire.connecting else 0)
        if wanted != wire.watched:
            if wire.watched:
                self.selector.unregister(wire.sock)
            if wanted:
                serve = functools.partial(self.serve, link)
                self.selector.register(wire.sock, wanted, serve)
            wire.watched = wanted


def main() -> None:
    """Have both nodes talk until they are done, or the time is up."""
    selector = selectors.DefaultSelector()
    alice, bob = Driver(selector), Driver(selector)
    talks = {
        alice: Talk(alice.node, "alice", "bob"),
        bob: Talk(bob.node, "bob", "alice"),
    }
    bob.node.connect(alice.point, now())
    until = now() + DEADLINE
    while True:
        deadlines = [until]
        for each, talk in talks.items():
            each.node.handle_timeout(now())
            while each.pump():
                talk.pull(now())
            # There is no timer to arm: `select` is told anew how long to wait.
            if (at := each.node.next_timeout()) is not None:
                deadlines.append(at)
        if all(talk.over and not each.wires for each, talk in talks.items()):
            break
        if now() >= until:
            sys.exit("not done in time")
        for key, mask in selector.select(max(0.0, min(deadlines) - now())):
            key.data(mask)
    for each in talks:
        each.door.close()
    selector.close()


if __name__ == "__main__":
    main()
