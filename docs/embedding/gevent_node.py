"""Two nodes over gevent: a greenlet that reads each link, and one for each write.

Greenlets only give way where they wait, so that a node's verbs, which never wait, need
no lock.  A socket that one greenlet closes wakes the others that wait for it with an
error; they find that the link is lost already.
"""

from __future__ import annotations

import sys
import time

import gevent
import gevent.event
from gevent import socket
from two_nodes import DEADLINE, ROOM, Talk, make_node

from tezos_p2p.fsm import Accept, Close, Dial, Read, Shut, Write
from tezos_p2p.io.sockets import listen_on, open_for, point_of
from tezos_p2p.spec import Point

now = time.monotonic


class Wire:
    """One socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.writing = False  # a greenlet is at it
        self.refused = False  # a Write found no room: `writable` is due
        self.shut = False  # no more is written after what is being written
        self.to_read = gevent.event.Event()


class Driver:
    """Moves bytes between one node and its sockets."""

    def __init__(self, name: str, other: str) -> None:
        door = listen_on(Point.parse("127.0.0.1:0"), backlog=16)
        self.door = socket.socket(fileno=door.detach())
        self.point = point_of(self.door.getsockname())
        self.node = make_node(self.point.port)
        self.talk = Talk(self.node, name, other)
        self.wires: dict[int, Wire] = {}
        self.accepting = gevent.event.Event()
        self.over = gevent.event.Event()
        self.timer: gevent.Greenlet | None = None
        self.at: float | None = None
        self.node.start(now(), time.time())

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
            self.over.set()

    def arm(self) -> None:
        """Set the one timer anew if the next deadline is another."""
        at = self.node.next_timeout()
        if at == self.at:
            return
        if self.timer is not None:
            self.timer.kill(block=False)
        self.at, self.timer = at, None
        if at is not None:
            self.timer = gevent.spawn_later(max(0.0, at - now()), self.on_time)

    def on_time(self) -> None:
        """Tell the node that its deadline has come; if not quite, it names it again."""
        self.at = self.timer = None
        self.node.handle_timeout(now())
        self.pump()

    def carry_out(self, command: object) -> None:
        """Do one thing that the node wants; must not wait."""
        match command:
            case Write(link):
                wire = self.wires[link]
                wire.refused = wire.writing
                room = 0 if wire.writing else ROOM
                if data := self.node.data_to_send(link, room, now()):
                    wire.writing = True
                    gevent.spawn(self.write, link, wire, data)
            case Read(link):
                self.wires[link].to_read.set()
            case Shut(link):
                self.wires[link].shut = True
                if not self.wires[link].writing:
                    gevent.spawn(self.write, link, self.wires[link], b"")
            case Close(link):
                self.lost(link, None)
            case Dial(link, point):
                try:
                    sock, address = open_for(point)
                except OSError as exc:
                    self.node.link_lost(link, exc.errno, now())
                    return
                wire = self.wires[link] = Wire(socket.socket(fileno=sock.detach()))
                gevent.spawn(self.carry, link, wire, address)
            case Accept(True):
                self.accepting.set()
            case Accept(False):
                self.accepting.clear()

    def accept(self) -> None:
        """Take in who connects, while the node wants it."""
        while self.accepting.wait():
            socket.wait_read(self.door.fileno())
            if not self.accepting.is_set():
                continue  # who has connected waits as well
            try:
                sock, address = self.door.accept()
            except OSError as exc:
                self.node.accept_failed(exc.errno or 0, now())
            else:
                link = self.node.accept(point_of(address), now())
                if link is None:
                    sock.close()
                else:
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    wire = self.wires[link] = Wire(sock)
                    gevent.spawn(self.carry, link, wire, None)
            self.pump()

    def carry(self, link: int, wire: Wire, address: tuple | None) -> None:
        """Connect one link, and read what is allowed until the end of their stream."""
        try:
            if address is not None:
                wire.sock.connect(address)
                self.node.link_made(link, now())
                self.pump()
            data = None
            while data != b"" and link in self.wires:
                wire.sock.recv(1, socket.MSG_PEEK)  # waits; asked before, it may be less
                allowance = self.node.read_allowance(link, now())
                if allowance:
                    data = wire.sock.recv(allowance)
                    self.node.receive_data(link, data, now())
                    self.pump()
                else:  # never read 0 bytes: that would look like the end
                    self.arm()  # to be refused may have set a deadline
                    wire.to_read.clear()
                    wire.to_read.wait()
        except OSError as exc:
            self.lost(link, exc.errno)
            self.pump()

    def write(self, link: int, wire: Wire, data: bytes) -> None:
        """Give the socket bytes, as it takes them."""
        try:
            wire.sock.sendall(data)
            if wire.shut:
                wire.sock.shutdown(socket.SHUT_WR)
        except OSError as exc:
            self.lost(link, exc.errno)
        else:
            wire.writing = False
            if wire.refused and link in self.wires:
                wire.refused = False
                self.node.writable(link, now())
        self.pump()

    def lost(self, link: int, error: int | None) -> None:
        """Close a socket, whatever the reason, and say so, once."""
        wire = self.wires.pop(link, None)
        if wire is not None:
            wire.sock.close()
            wire.to_read.set()
            self.node.link_lost(link, error, now())


def main() -> None:
    """Have both nodes talk until they are done, or the time is up."""
    alice, bob = Driver("alice", "bob"), Driver("bob", "alice")
    bob.node.connect(alice.point, now())
    acceptors = [gevent.spawn(each.accept) for each in (alice, bob)]
    with gevent.Timeout(DEADLINE, False):
        for each in (alice, bob):
            each.pump()
        gevent.wait([alice.over, bob.over])
    gevent.killall(acceptors)
    for each in (alice, bob):
        each.door.close()
    if not (alice.over.is_set() and bob.over.is_set()):
        sys.exit("not done in time")


if __name__ == "__main__":
    main()
