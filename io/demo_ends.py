"""The demo's two processes: one listens over asyncio, one dials with blocking calls.

Each prints one JSON object a line for the parent, and asks or answers as `demo_talk`
says.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from ..fsm.local import Local
from ..spec.events import (
    Authenticated,
    Closed,
    ConnectionMessageReceived,
    Established,
    Remote,
)
from ..spec.identity import Identity, difficulty_reached
from ..spec.motive import Motive
from ..spec.point import Point
from ..spec.shell import Deactivate
from ..spec.version import SANDBOX, Version
from . import aio, blocking
from .demo_chain import make_chain
from .demo_talk import Mismatch, Question, Talk
from .ends import ConnectionEnded
from .files import load_identity
from .sockets import listen_on, point_of
from .watched import Connected, Watched, dial_blocking, listen_aio, message_name

#: Proof of work of both ends: found in about a second, on one core.
DIFFICULTY: Final = 18.0
#: Most seconds that the two processes may take.
PATIENCE: Final = 12.0
_HOST: Final = "127.0.0.1"


class Frames:
    """Counts the frames in a stream of bytes.

    Attributes:
        count: those that have begun.
        size: bytes in all.
    """

    def __init__(self) -> None:
        self.count = 0
        self.size = 0
        self._head = b""
        self._left = 0

    def feed(self, data: bytes | memoryview) -> None:
        """Take bytes of the stream."""
        self.size += len(data)
        at = 0
        while at < len(data):
            if self._left:
                step = min(self._left, len(data) - at)
                self._left -= step
                at += step
                continue
            self._head += bytes(data[at : at + 1])
            at += 1
            if len(self._head) == 2:
                self.count += 1
                self._left = int.from_bytes(self._head, "big")
                self._head = b""


class Counting(Watched):
    """A core with one connection that counts the frames on the wire.

    Attributes:
        out: what we send.
        into: what we receive.
    """

    def __init__(self, local: Local, tell: Callable[[int, Any], object]) -> None:
        super().__init__(local, tell)
        self.out, self.into = Frames(), Frames()

    def pieces_to_send(self, link: int, room: int, now: float) -> list[bytes]:
        """Return bytes for one write, counted."""
        pieces = super().pieces_to_send(link, room, now)
        for piece in pieces:
            self.out.feed(piece)
        return pieces

    def receive_data(
        self, link: int, data: bytes | bytearray | memoryview, now: float
    ) -> None:
        """Take bytes of theirs, and count them."""
        self.into.feed(memoryview(data))
        super().receive_data(link, data, now)


def versions_text(version: Version) -> str:
    """Name a network and the versions on it."""
    ddb, p2p = version.distributed_db_version, version.p2p_version
    return f"{version.chain_name} {ddb}/{p2p}"


def describe(event: Any) -> Iterator[str]:
    """Say what an event tells."""
    match event:
        case Connected(point, incoming, _):
            yield f"connected {'from' if incoming else 'to'} {point}"
        case ConnectionMessageReceived(peer_id, message, _):
            work = difficulty_reached(message.public_key, message.proof_of_work_stamp)
            yield f"connection message: {peer_id}"
            yield f"  {versions_text(message.version)}"
            yield f"  {work:.1f} bits of work; key agreed"
        case Authenticated(remote, agreement, _):
            verdict = "refused" if isinstance(agreement, Motive) else "admitted"
            told = remote.metadata
            private = f"private_node={told.private_node}"
            yield f"metadata: disable_mempool={told.disable_mempool}, {private}"
            yield f"  {verdict}"
        case Established(_, version, _):
            ddb, p2p = version.distributed_db_version, version.p2p_version
            yield f"established: both accept, versions {ddb}/{p2p}"
        case Closed(why, _):
            yield f"closed: {why}"
        case _:
            pass


class End:
    """What both ends have in common: what is said and counted.

    Attributes:
        core: what decides.
    """

    def __init__(self, role: str, identity: Identity, port: int) -> None:
        self.role = role
        self._lock = threading.Lock()
        local = Local(
            identity=identity,
            network=SANDBOX,
            port=port,
            random_bytes=os.urandom,
            difficulty=DIFFICULTY,
        )
        self.core = Counting(local, self._tell)
        self._us = identity.peer_id
        self._chain = make_chain()
        self._sent: collections.Counter[str] = collections.Counter()
        self._received: collections.Counter[str] = collections.Counter()
        self._run: tuple[str, int, float] = ("", 0, 0.0)

    def say(self, what: str, at: float | None = None, **facts: Any) -> None:
        """Print one line for the parent."""
        at = time.monotonic() if at is None else at
        line = {"role": self.role, "at": at, "what": what, **facts}
        with self._lock:  # the driver's thread speaks, too
            print(json.dumps(line), flush=True)

    def _tell(self, _: int, event: Any) -> None:
        # Not raised through the driver that has called: nobody listens any more.
        with contextlib.suppress(OSError):
            for what in describe(event):
                self.say(what, event.at)

    def run(self, talk: Callable[[], object]) -> int:
        """Do one's part; return the exit code."""
        try:
            talk()
        except Mismatch as exc:
            self.say(f"mismatch: {exc}")
        except TimeoutError:
            self.say(f"nothing came within {PATIENCE:g} s")
        except ConnectionEnded:
            self.say("it ended too early")
        else:
            return 0
        return 1

    def talk(self, remote: Remote) -> Talk:
        """Return what to ask and answer."""
        return Talk(self.role, self._us, remote.peer_id, self._chain)

    def sent(self, message: Any) -> Any:
        """Count a message that is about to be sent, and return it."""
        self._sent[message_name(message)] += 1
        return message

    def received(self, message: Any) -> Any:
        """Count a message that has come, and return it."""
        self._received[message_name(message)] += 1
        return message

    def ask(self, question: Question) -> tuple[float, int, int]:
        """Say what is asked; return the time, and the frames that went each way."""
        times = f", {len(question.requests)} times" if len(question.requests) > 1 else ""
        self.say(f"asks: {question.name}{times}")
        return time.monotonic(), self.core.out.count, self.core.into.count

    def judge(
        self, question: Question, answers: list[Any], since: tuple[float, int, int]
    ) -> None:
        """Check the answers, and say what they are."""
        seconds = time.monotonic() - since[0]
        out, into = self.core.out.count - since[1], self.core.into.count - since[2]
        self.say(f"  gets {question.check(answers)}")
        many = len(question.requests)
        if many > 1:
            both = many + len(answers)
            self.say(f"  frames: {out} for {many} requests, {into} for the answers")
            self.say(f"  {seconds * 1000:.0f} ms: {both / seconds:,.0f} messages/s")
        elif into > len(answers):
            self.say(f"  in {into} frames")

    def served(self, request: Any) -> None:
        """Say what is answered, once for a run of equal requests."""
        name, count, at = self._run
        new = message_name(request)
        count = count + 1 if new == name else 1
        if new != name and name:
            times = f", {self._run[1]} times" if self._run[1] > 1 else ""
            self.say(f"  answers {name}{times}", at)
        self._run = (new, count, time.monotonic())

    def done(self) -> None:
        """Tell the parent what was sent and received."""
        out = self.core.out
        self.say(
            f"sent {self._sent.total():,} messages: "
            f"{out.size:,} bytes in {out.count} frames"
        )
        self.say("done", sent=self._sent, received=self._received)


# -- the listener, over asyncio --------------------------------------------------------


async def _listen(end: End, door: socket.socket) -> None:
    async with (
        asyncio.timeout(PATIENCE),
        listen_aio(end.core, door) as listener,
        await listener.accept() as peer,
    ):
        talk = end.talk(peer.remote)
        await _serve(end, talk, peer)
        for question in talk.questions():
            since = end.ask(question)
            for request in question.requests:
                await peer.send(end.sent(request))
            answers = [
                end.received(await peer.receive()) for _ in range(question.answers)
            ]
            end.judge(question, answers, since)
        await peer.send(end.sent(Deactivate(talk.chain.id)))
        async for message in peer:  # their end, and nothing before
            raise Mismatch(f"unexpected {message_name(end.received(message))}")
    end.done()


async def _serve(end: End, talk: Talk, peer: aio.Connection[Any]) -> None:
    while True:
        request = end.received(await peer.receive())
        end.served(request)
        if isinstance(request, Deactivate):
            return
        for answer in talk.answers(request):
            await peer.send(end.sent(answer))


# -- the dialler, with blocking calls --------------------------------------------------


def _dial(end: End, point: Point) -> None:
    with dial_blocking(end.core, point, None) as peer:
        talk = end.talk(peer.remote)
        for question in talk.questions():
            since = end.ask(question)
            for request in question.requests:
                peer.send(end.sent(request), PATIENCE)
            answers = [
                end.received(peer.receive(PATIENCE)) for _ in range(question.answers)
            ]
            end.judge(question, answers, since)
        peer.send(end.sent(Deactivate(talk.chain.id)), PATIENCE)
        _serve_blocking(end, talk, peer)
        peer.close("the demo is over")
    end.done()


def _serve_blocking(end: End, talk: Talk, peer: blocking.Connection[Any]) -> None:
    while True:
        request = end.received(peer.receive(PATIENCE))
        end.served(request)
        if isinstance(request, Deactivate):
            return
        for answer in talk.answers(request):
            peer.send(end.sent(answer), PATIENCE)


def run_end(role: str, identity_file: Path, port: int) -> int:
    """Be one end; return the exit code.

    Raises:
        OSError: there is no connection, or nobody to print for.
        IdentityError: the file holds no identity.
    """
    identity = load_identity(identity_file, DIFFICULTY)
    if role == "dialler":
        end = End(role, identity, 0)
        return end.run(lambda: _dial(end, Point.parse(f"{_HOST}:{port}")))
    with listen_on(Point.parse(f"{_HOST}:{port}"), 1) as door:
        port = point_of(door.getsockname()).port
        end = End(role, identity, port)
        end.say(f"listening on {_HOST}:{port}", port=port)
        return end.run(lambda: asyncio.run(_listen(end, door)))
