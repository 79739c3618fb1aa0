"""Two nodes over Twisted: its transports write, pause and half-close for the node.

Twisted reads as much as it likes, up to 64 KiB at once.  What was not allowed waits
here, and the transport is paused meanwhile.
"""

from __future__ import annotations

import time
from typing import Any

from twisted.internet import reactor, task
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IPushProducer
from twisted.internet.protocol import ClientFactory, Protocol, ServerFactory
from two_nodes import DEADLINE, ROOM, Talk, make_node
from zope.interface import implementer

from tezos_p2p.fsm import Accept, Close, Dial, Read, Shut, Write
from tezos_p2p.spec import Address, Point

now = time.monotonic  # the reactor's own clock may be set back


@implementer(IHalfCloseableProtocol, IPushProducer)
class Wire(Protocol):
    """One socket; its transport asks it, as a producer, to wait and to go on."""

    def __init__(self, driver: Driver, link: int, dialled: bool) -> None:
        self.driver, self.link, self.dialled = driver, link, dialled
        self.full = False  # the transport holds enough that it did not write yet
        self.refused = False  # a Write found no room: `writable` is due
        self.waiting = b""  # what came and was not allowed yet

    def connectionMade(self) -> None:  # noqa: N802  # Twisted's names, here and below
        """Twisted has a socket for us."""
        self.transport.setTcpNoDelay(True)
        self.transport.registerProducer(self, streaming=True)
        self.driver.wires[self.link] = self
        if self.dialled:
            self.driver.node.link_made(self.link, now())
        self.driver.pump()

    def dataReceived(self, data: bytes) -> None:  # noqa: N802  # name of Twisted
        """Bytes have come."""
        self.waiting += data
        self.feed()
        self.driver.pump()

    def feed(self) -> None:
        """Pass on what is allowed; pause the transport while anything waits."""
        node, link = self.driver.node, self.link
        while allowance := node.read_allowance(link, now()):
            if not self.waiting:
                self.transport.resumeProducing()
                return
            data, self.waiting = self.waiting[:allowance], self.waiting[allowance:]
            node.receive_data(link, data, now())
        self.transport.pauseProducing()

    def readConnectionLost(self) -> None:  # noqa: N802  # name of Twisted
        """Their stream has ended; nothing waits, or reading would be paused."""
        self.driver.node.receive_data(self.link, b"", now())
        self.driver.pump()

    def writeConnectionLost(self) -> None:  # noqa: N802  # name of Twisted
        """Our stream has ended, as the node wanted."""

    def pauseProducing(self) -> None:  # noqa: N802  # name of Twisted
        """The transport has enough for now."""
        self.full = True

    def resumeProducing(self) -> None:  # noqa: N802  # name of Twisted
        """The transport takes more again."""
        self.full = False
        if self.refused:
            self.refused = False
            self.driver.node.writable(self.link, now())
            self.driver.pump()

    def stopProducing(self) -> None:  # noqa: N802  # name of Twisted
        """The transport is about to be lost."""

    def connectionLost(self, reason: Any) -> None:  # noqa: N802  # name of Twisted
        """The socket is closed, by us or by what has happened to it."""
        del self.driver.wires[self.link]
        self.driver.lost(self.link, reason)


class Door(ServerFactory):
    """Takes in who connects."""

    driver: Driver

    def buildProtocol(self, addr: Any) -> Wire | None:  # noqa: N802  # name of Twisted
        """Return what serves a connection; None: Twisted closes it at once."""
        link = self.driver.node.accept(Point(Address.parse(addr.host), addr.port), now())
        return None if link is None else Wire(self.driver, link, dialled=False)


class Dialling(ClientFactory):
    """One dial."""

    noisy = False

    def __init__(self, driver: Driver, link: int) -> None:
        self.driver, self.link = driver, link

    def buildProtocol(self, addr: Any) -> Wire:  # noqa: ARG002, N802  # Twisted's
        """Return what serves the connection."""
        self.driver.dials.pop(self.link)
        return Wire(self.driver, self.link, dialled=True)

    def clientConnectionFailed(self, connector: Any, reason: Any) -> None:  # noqa: ARG002, N802  # Twisted's
        """Nobody there, or the node has given up."""
        self.driver.dials.pop(self.link)
        self.driver.lost(self.link, reason)


class Driver:
    """Moves bytes between one node and its transports."""

    def __init__(self, name: str, other: str) -> None:
        door = Door()
        door.driver, door.noisy = self, False
        self.port = reactor.listenTCP(0, door, interface="127.0.0.1")
        self.port.stopReading()  # until Accept(True)
        self.node = make_node(self.port.getHost().port)
        self.talk = Talk(self.node, name, other)
        self.wires: dict[int, Wire] = {}
        self.dials: dict[int, Any] = {}
        self.done: Deferred[None] = Deferred()
        self.timer: Any = None
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
        done = self.talk.over and not (self.wires or self.dials)
        if done and not self.done.called:
            self.done.callback(None)

    def arm(self) -> None:
        """Set the one timer anew if the next deadline is another."""
        at = self.node.next_timeout()
        if at == self.at:
            return
        if self.timer is not None:
            self.timer.cancel()
        self.at, self.timer = at, None
        if at is not None:
            self.timer = reactor.callLater(max(0.0, at - now()), self.on_time)

    def on_time(self) -> None:
        """Tell the node that its deadline has come; if not quite, it names it again."""
        self.at = self.timer = None
        self.node.handle_timeout(now())
        self.pump()

    def carry_out(self, command: object) -> None:
        """Do one thing that the node wants."""
        match command:
            case Write(link):
                wire = self.wires[link]
                wire.refused = wire.full
                room = 0 if wire.full else ROOM
                if data := self.node.data_to_send(link, room, now()):
                    wire.transport.write(data)
            case Read(link):
                self.wires[link].feed()
            case Shut(link):
                self.wires[link].transport.loseWriteConnection()
            case Close(link) if link in self.dials:
                self.dials[link].disconnect()
            case Close(link):
                self.wires[link].transport.abortConnection()
            case Dial(link, point):
                dialling = Dialling(self, link)
                host, port = str(point.address), point.port
                self.dials[link] = reactor.connectTCP(host, port, dialling)
            case Accept(True):
                self.port.startReading()
            case Accept(False):
                self.port.stopReading()

    def lost(self, link: int, reason: Any) -> None:
        """Tell the node that a socket is closed, or a dial has failed."""
        self.node.link_lost(link, getattr(reason.value, "osError", None), now())
        self.pump()


async def main(_: Any) -> None:
    """Have both nodes talk until they are done, or the time is up."""
    alice, bob = Driver("alice", "bob"), Driver("bob", "alice")
    alice.pump()
    bob.node.connect(Point.parse(f"127.0.0.1:{alice.port.getHost().port}"), now())
    bob.pump()
    for each in (alice, bob):
        await each.done.addTimeout(DEADLINE, reactor)
        await each.port.stopListening()


if __name__ == "__main__":
    task.react(main)
