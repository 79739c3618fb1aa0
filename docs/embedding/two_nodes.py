"""What does not depend on the loop: how a node is made, and what two of them say.

The programs beside this file move the bytes.  Here is the application of their nodes:
when somebody joins, both sides send `COUNT` messages, check that the other's come whole
and in order, and then the one that has dialled hangs up, once the last of its own has
left.  The cap on what is read makes readers pause, which a quick loopback would not.
"""

from __future__ import annotations

import os
import secrets
from typing import Any

from tezos_p2p.fsm import Joined, Left, Local, Message, Node, Settings
from tezos_p2p.spec import SANDBOX, Identity, Limits, MessageCodec, RawCodec

#: Seconds after which a program gives up.
DEADLINE = 20.0
#: Bytes that one write may take.
ROOM = 65_536
#: Messages that each side sends, and the bytes of each.
COUNT, SIZE = 32, 60_000
#: KiB that a node reads in a second.
SPEED = 4_096


def make_node(port: int) -> Node[bytes, None]:
    """Make a node that asks for no proof of work; `port` is where others may dial it."""
    dice = secrets.SystemRandom()
    local = Local(
        identity=Identity.of_secret(os.urandom(32)),
        network=SANDBOX,
        random_bytes=os.urandom,
        port=port,
        difficulty=0.0,
        limits=Limits(max_download_speed=SPEED),
    )
    settings = Settings[None](
        new_metadata=lambda: None,
        score=lambda _: 1.0,
        random=dice.random,
        random_inside=dice.random,
        discovers=False,
    )
    return Node(local, MessageCodec(RawCodec()), settings)


def message(name: str, number: int) -> bytes:
    """Return what a node says: its name, a number, and many zeros."""
    return f"{number} from {name}".encode().ljust(SIZE, b"\0")


class Talk:
    """The application of one node; a driver calls `pull` whenever something is readable.

    Attributes:
        over: whether it wants nothing any more.
        heard: messages that have come.
    """

    def __init__(self, node: Node[bytes, None], name: str, other: str) -> None:
        self.node, self.name, self.other = node, name, other
        self.peer: Any = None
        self.said = self.heard = 0
        self.over = False

    def pull(self, now: float) -> None:
        """Take what there is, and answer; never waits."""
        while (item := self.node.receive()) is not None:
            match item:
                case Joined():
                    self.peer = item.remote.peer_id
                case Message():
                    self.hear(item.message)
                case Left():
                    self.peer = None
                    self.stop(now)
                case _:
                    pass  # Ready: `say` goes on where there was no room
        self.say(now)

    def hear(self, words: bytes) -> None:
        """Check a message."""
        if words != message(self.other, self.heard):
            raise ValueError(f"{self.name} heard {words[:20]!r} at {self.heard}")
        self.heard += 1
        if self.heard == COUNT:
            size = COUNT * len(words)
            print(f"{self.name} heard {size} bytes from {self.other}, in order")

    def say(self, now: float) -> None:
        """Send what there is room for; whoever has dialled hangs up at the end."""
        while self.peer is not None and self.said < COUNT:
            if not self.node.send(self.peer, message(self.name, self.said), now):
                return
            self.said += 1
        if self.name == "bob" and self.said == self.heard == COUNT:
            self.stop(now)

    def stop(self, now: float) -> None:
        """Stop the node; what is queued may leave for three seconds."""
        if not self.over:
            self.over = True
            self.node.stop(now, now + 3.0)
            print(f"{self.name} stops")
