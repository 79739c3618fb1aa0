"""Two nodes in Qt's main loop, beside whatever else happens there; needs no display.

The sockets are Python's, watched by Qt: ``QTcpSocket`` cannot shut its writing side alone
and tells no ``errno``.
"""

from __future__ import annotations

import contextlib
import errno
import math
import socket
import sys
import time
from collections.abc import Callable

from PySide6.QtCore import QCoreApplication, QSocketNotifier, Qt, QTimer
from two_nodes import DEADLINE, ROOM, Talk, make_node

from tezos_p2p.fsm import Accept, Close, Dial, Read, Shut, Write
from tezos_p2p.io.sockets import configure, listen_on, open_for, point_of
from tezos_p2p.spec import Point

now = time.monotonic
READABLE, WRITABLE = QSocketNotifier.Type.Read, QSocketNotifier.Type.Write


class Wire:
    """One socket, and what watches it."""

    def __init__(self, sock: socket.socket, connecting: bool) -> None:
        self.sock, self.connecting = sock, connecting
        self.left = memoryview(b"")  # what the socket did not take yet
        self.refused = False  # a Write found no room: `writable` is due
        self.shut = False  # no more is written after what is left
        self.reads = QSocketNotifier(sock.fileno(), READABLE)
        self.writes = QSocketNotifier(sock.fileno(), WRITABLE)
        self.reads.setEnabled(not connecting)
        self.writes.setEnabled(connecting)

    def close(self) -> None:
        """Stop watching first: Qt must not look at a socket that is another's by now."""
        for each in (self.reads, self.writes):
            each.setEnabled(False)
            each.deleteLater()  # it may be the one that has called us
        self.sock.close()


class Driver:
    """Moves bytes between one node and its sockets."""

    def __init__(self, name: str, other: str, tell: Callable[[], None]) -> None:
        self.tell = tell  # called when all is over
        self.door = listen_on(Point.parse("127.0.0.1:0"), backlog=16)
        self.point = point_of(self.door.getsockname())
        self.node = make_node(self.point.port)
        self.talk = Talk(self.node, name, other)
        self.wires: dict[int, Wire] = {}
        self.knocks = QSocketNotifier(self.door.fileno(), READABLE)
        self.knocks.setEnabled(False)
        self.knocks.activated.connect(self.accept)
        self.timer = QTimer(singleShot=True, timerType=Qt.TimerType.PreciseTimer)
        self.timer.timeout.connect(self.on_time)
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
        if self.over:
            self.tell()

    @property
    def over(self) -> bool:
        """Whether nothing is left to do."""
        return self.talk.over and not self.wires

    def arm(self) -> None:
        """Set the one timer anew if the next deadline is another."""
        at = self.node.next_timeout()
        if at == self.at:
            return
        self.at = at
        if at is None:
            self.timer.stop()
        else:
            self.timer.start(max(0, math.ceil((at - now()) * 1000)))

    def on_time(self) -> None:
        """Tell the node that its deadline has come; if not quite, it names it again."""
        self.at = None
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
                    self.push(link, wire)
            case Read(link):
                self.wires[link].reads.setEnabled(True)
            case Shut(link):
                self.wires[link].shut = True
                self.push(link, self.wires[link])
            case Close(link):
                self.lost(link, None)
            case Dial(link, point):
                self.dial(link, point)
            case Accept(on):
                self.knocks.setEnabled(on)

    def dial(self, link: int, point: Point) -> None:
        """Begin to connect."""
        try:
            sock, address = open_for(point)
        except OSError as exc:
            self.node.link_lost(link, exc.errno, now())
            return
        error = sock.connect_ex(address)
        self.add(link, sock, connecting=True)
        if error not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
            self.lost(link, error)

    def accept(self) -> None:
        """Take in who has connected."""
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
                self.add(link, sock, connecting=False)
        self.pump()

    def add(self, link: int, sock: socket.socket, connecting: bool) -> None:
        """Have Qt watch a socket."""
        wire = self.wires[link] = Wire(sock, connecting)
        wire.reads.activated.connect(lambda *_: self.read(link, wire))
        wire.writes.activated.connect(lambda *_: self.on_writable(link, wire))

    def read(self, link: int, wire: Wire) -> None:
        """Read what is allowed."""
        if link not in self.wires:  # lost since Qt found it ready
            return
        allowance = self.node.read_allowance(link, now())
        if not allowance:  # never read 0 bytes: that would look like the end
            wire.reads.setEnabled(False)  # until Read
        else:
            try:
                data = wire.sock.recv(allowance)
            except BlockingIOError:
                return
            except OSError as exc:
                self.lost(link, exc.errno)
            else:
                wire.reads.setEnabled(len(data) > 0)  # an end is told once
                self.node.receive_data(link, data, now())
        self.pump()  # also if nothing was allowed: that may have set a deadline

    def on_writable(self, link: int, wire: Wire) -> None:
        """A dial has ended, or the socket takes bytes again."""
        if link not in self.wires:
            return
        if not wire.connecting:
            self.push(link, wire)
        elif error := wire.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            self.lost(link, error)
        else:
            wire.connecting = False
            wire.writes.setEnabled(False)
            wire.reads.setEnabled(True)
            self.node.link_made(link, now())
        self.pump()

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
        wire.writes.setEnabled(len(wire.left) > 0)
        if wire.shut and not wire.left:
            with contextlib.suppress(OSError):
                wire.sock.shutdown(socket.SHUT_WR)
        if wire.refused and not wire.left:
            wire.refused = False
            self.node.writable(link, now())

    def lost(self, link: int, error: int | None) -> None:
        """Close a socket, whatever the reason, and say so."""
        self.wires.pop(link).close()
        self.node.link_lost(link, error, now())


def main() -> None:
    """Have both nodes talk until they are done, or the time is up."""
    app = QCoreApplication([])

    def look() -> None:
        if alice.over and bob.over:
            app.quit()

    alice, bob = Driver("alice", "bob", look), Driver("bob", "alice", look)
    bob.node.connect(alice.point, now())
    QTimer.singleShot(0, alice.pump)
    QTimer.singleShot(0, bob.pump)
    QTimer.singleShot(int(DEADLINE * 1000), app.quit)
    app.exec()
    for each in (alice, bob):
        each.door.close()
    if not (alice.over and bob.over):
        sys.exit("not done in time")


if __name__ == "__main__":
    main()
