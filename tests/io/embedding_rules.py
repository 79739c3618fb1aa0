"""Runs a program of docs/embedding with nodes that watch how they are driven.

``python embedding_rules.py PROGRAM [mute]``: the last line that it prints is JSON, for
each node what was counted, and which rules of docs/embedding.md were broken.  Sockets
have small buffers, reading is capped, writing too for the first node, and the other dials
two points more: one where nobody listens, and one where nobody ever answers.  With
``mute`` no message is ever taken, and the program has little time.
"""

from __future__ import annotations

import functools
import json
import runpy
import socket
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tezos_p2p.fsm import Accept, Close, Dial, Node, Read, Shut, Write
from tezos_p2p.io import sockets
from tezos_p2p.spec import Limits, PeerId, Point

FOLDER = Path(__file__).parents[2] / "docs" / "embedding"
#: KiB that the first node writes in a second; the other writes as it likes.
SPEEDS = iter([6_000, None])
NODES: list[Watched] = []
#: Sockets that must outlive the run.
KEPT: list[socket.socket] = []


def refusing() -> Point:
    """Return a point where nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sockets.point_of(sock.getsockname())


def silent() -> Point:
    """Return a point where dials are never answered: its queue is full."""
    door = socket.socket()
    door.bind(("127.0.0.1", 0))
    door.listen(0)
    KEPT.append(door)
    for _ in range(4):
        caller = socket.socket()
        caller.setblocking(False)
        caller.connect_ex(door.getsockname())
        KEPT.append(caller)
    return sockets.point_of(door.getsockname())


def input_(verb: Any) -> Any:
    """Have a verb checked: never inside another, and time does not go back."""

    @functools.wraps(verb)
    def checked(self: Watched, *facts: Any) -> Any:
        if verb.__name__ not in ("receive", "next_command"):
            self.expect(facts[-1] >= self.latest, f"{verb.__name__}: time goes back")
            self.latest = facts[-1]
        self.expect(not self.inside, f"{verb.__name__} inside {self.inside}")
        outside, self.inside = self.inside, verb.__name__
        try:
            return verb(self, *facts)
        finally:
            self.inside = outside

    return checked


class Watched(Node):
    """A node that writes down what a driver does wrong."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        NODES.append(self)
        self.counts: Counter[str] = Counter()
        self.broken: list[str] = []
        self.inside = ""
        self.latest = 0.0
        self.links: set[int] = set()
        self.dialling: set[int] = set()
        self.shut: set[int] = set()
        self.to_close: set[int] = set()
        self.to_write: Counter[int] = Counter()
        self.refused_room: set[int] = set()
        self.allowed: dict[int, int] = {}
        self.resting: set[int] = set()
        self.unarmed = False
        self.accepting = False

    def expect(self, holds: object, what: str) -> None:
        if not holds:
            self.broken.append(what)

    def known(self, link: int, verb: str) -> None:
        self.expect(link in self.links, f"{verb}: link {link} is lost, or never was")

    @input_
    def next_command(self) -> Any:
        command = super().next_command()
        if command is not None:
            self.counts[type(command).__name__] += 1
        match command:
            case Write(link):
                self.to_write[link] += 1
            case Read(link):
                self.resting.discard(link)
            case Dial(link):
                self.links.add(link)
                self.dialling.add(link)
            case Shut(link):
                self.shut.add(link)
            case Close(link):
                # They close when they see our end; if not, the node's patience is over.
                self.expect(link not in self.shut, "Shut: they have seen no end")
                self.to_close.add(link)
            case Accept(on):
                self.accepting = on
        return command

    @input_
    def accept(self, remote: Point, now: float) -> Any:
        self.expect(self.accepting, "accept: not now")
        link = super().accept(remote, now)
        if link is not None:
            self.links.add(link)
        return link

    @input_
    def link_made(self, link: int, now: float) -> None:
        self.known(link, "link_made")
        self.expect(link in self.dialling, "link_made: twice, or no dial")
        self.dialling.discard(link)
        self.counts["made"] += 1
        super().link_made(link, now)

    def link_lost(self, link: int, error: int | None, now: float) -> None:
        self._lost(link, error, now)

    @input_
    def _lost(self, link: int, error: int | None, now: float) -> None:
        self.known(link, "link_lost")
        self.links.discard(link)
        self.to_close.discard(link)
        self.to_write.pop(link, None)
        self.counts[f"lost {link in self.dialling} {error}"] += 1
        super().link_lost(link, error, now)

    @input_
    def read_allowance(self, link: int, now: float) -> int:
        self.known(link, "read_allowance")
        allowance = self.allowed[link] = super().read_allowance(link, now)
        if not allowance:
            self.counts["rests"] += 1
            self.resting.add(link)
            self.unarmed = True
        return allowance

    def receive_data(self, link: int, data: Any, now: float) -> None:
        self._received(link, data, now)

    @input_
    def _received(self, link: int, data: Any, now: float) -> None:
        self.known(link, "receive_data")
        most = self.allowed.pop(link, 0)
        self.expect(len(data) <= most, f"receive_data: {len(data)} > {most}")
        self.expect(link not in self.resting or not data, "receive_data: no Read yet")
        self.counts["reads" if data else "ends"] += 1
        if not data:
            self.shut.discard(link)
        super().receive_data(link, data, now)

    def data_to_send(self, link: int, room: int, now: float) -> bytes:
        return self._data(link, room, now)

    @input_
    def _data(self, link: int, room: int, now: float) -> bytes:
        self.known(link, "data_to_send")
        self.expect(
            self.to_write[link] == 1, f"data_to_send: {self.to_write[link]} Write"
        )
        self.to_write[link] -= 1
        if room <= 0:
            self.counts["no room"] += 1
            self.refused_room.add(link)
        return super().data_to_send(link, room, now)

    @input_
    def writable(self, link: int, now: float) -> None:
        self.known(link, "writable")
        self.expect(link in self.refused_room, "writable: no room was refused")
        self.refused_room.discard(link)
        self.counts["writable"] += 1
        self.counts["unarmed"] += self.unarmed
        super().writable(link, now)

    @input_
    def handle_timeout(self, now: float) -> None:
        self.counts["timeouts"] += 1
        self.counts["unarmed"] += self.unarmed
        super().handle_timeout(now)

    @input_
    def send(self, peer: PeerId, message: bytes, now: float) -> bool:
        return super().send(peer, message, now)

    @input_
    def receive(self) -> Any:
        return super().receive()

    def next_timeout(self) -> float | None:
        self.unarmed = False
        return super().next_timeout()

    def connect(self, point: Point, now: float) -> Any:
        for each in (refusing(), silent()):
            assert isinstance(super().connect(each, now), int)
        return super().connect(point, now)

    def report(self) -> dict[str, Any]:
        self.expect(not self.links, f"links at the end: {self.links}")
        self.expect(not self.to_close, f"not closed: {self.to_close}")
        self.expect(not any(self.to_write.values()), "a Write was not carried out")
        self.expect(not self.accepting, "it has not stopped")
        refused = {reason.name: count for reason, count in self.refused.items()}
        return {"broken": self.broken, "counts": self.counts, "refused": refused}


class Mute(Watched):
    """A node that takes no message."""

    def send(self, *_: Any) -> bool:
        return False


def narrow(configure: Any, sock: socket.socket) -> None:
    """Have a socket hold little, though more than one read may take."""
    configure(sock)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8_192)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 131_072)


def main() -> None:
    sys.path.insert(0, str(FOLDER))
    import two_nodes

    sockets.configure = functools.partial(narrow, sockets.configure)
    two_nodes.Limits = lambda **kept: Limits(max_upload_speed=next(SPEEDS), **kept)
    two_nodes.Node = Watched
    if sys.argv[2:] == ["mute"]:
        two_nodes.Node, two_nodes.DEADLINE = Mute, 1.0
    try:
        runpy.run_path(str(FOLDER / sys.argv[1]), run_name="__main__")
    finally:
        for each in KEPT:
            each.close()
        print(json.dumps([each.report() for each in NODES]))


if __name__ == "__main__":
    main()
