"""Pairs of connections that are open and talk: in memory, over sockets, over drivers.

What the sides of two_processes do is here too: ours and the yardsticks'.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

from two_processes import Orders
from yardsticks import buffered_public, streams_naive

from tezos_p2p.fsm.channel import KeyCache
from tezos_p2p.fsm.connection import Connection
from tezos_p2p.fsm.lifecycle import State
from tezos_p2p.fsm.local import Local
from tezos_p2p.io import aio, blocking
from tezos_p2p.spec.events import Authenticated
from tezos_p2p.spec.identity import Identity, target_of
from tezos_p2p.spec.limits import CHUNK_PLAINTEXT_SENT_MAX
from tezos_p2p.spec.message import MESSAGE_HEADER_SIZE, MessageCodec
from tezos_p2p.spec.raw import RawCodec
from tezos_p2p.spec.version import SANDBOX

NOW = 0.0
RAW, CODEC = RawCodec(), MessageCodec(RawCodec())
#: A small message, and one that fills the largest chunk together with its header.
SMALL = bytes(100)
BULK = bytes(CHUNK_PLAINTEXT_SENT_MAX - MESSAGE_HEADER_SIZE)
#: The plaintext of the largest chunk, for yardsticks that know no headers.
CHUNK = bytes(CHUNK_PLAINTEXT_SENT_MAX)
LOOPBACK = "127.0.0.1"


def someone(number: int) -> Identity:
    # The lowest three bits of a secret key are ignored.
    return Identity.of_secret((number << 3).to_bytes(32, "little"))


def node(number: int) -> Local:
    """Make a node that remembers no keys: what it knows is its connections' own."""
    identity = someone(number)
    return Local(
        identity=identity,
        network=SANDBOX,
        random_bytes=os.urandom,
        difficulty=0.0,
        keys=KeyCache(identity.secret_key, target_of(0.0), 0),
    )


# -- in memory -------------------------------------------------------------------------


def opened(
    one: Local, other: Local, joins: bool = True
) -> tuple[Connection[bytes], Connection[bytes]]:
    """Return both ends of an open connection, who dialled first."""
    dialler = Connection(one, CODEC, False, joins=joins)
    acceptor = Connection(other, CODEC, True, joins=joins)
    dialler.start(NOW)
    acceptor.start(NOW)
    for here, there in ((dialler, acceptor), (acceptor, dialler)) * 3:
        data = here.data_to_send()
        if data:
            there.receive_data(data, NOW)
        while (event := there.next_event()) is not None:
            if isinstance(event, Authenticated):
                there.admit(NOW)
    assert dialler.state is acceptor.state is State.OPEN
    return dialler, acceptor


def transfer(
    sender: Connection[bytes], receiver: Connection[bytes], message: bytes, count: int
) -> None:
    """Send a backlog from one end to the other; all of it is pulled."""
    sent = received = 0
    while received < count:
        while sent < count and sender.send(message):
            sent += 1
        while data := sender.data_to_send(1 << 18):
            receiver.receive_data(data, NOW)
            while True:
                while receiver.receive() is not None:
                    received += 1
                if receiver.next_timeout() is None:
                    break
                receiver.handle_timeout(NOW)
        while sender.next_event() is not None:
            pass


# -- over blocking sockets, by hand ----------------------------------------------------

_BUFFER = memoryview(bytearray(4096))


def _hop(
    message: bytes,
    sender: Connection[bytes],
    here: socket.socket,
    receiver: Connection[bytes],
    there: socket.socket,
) -> bytes:
    sender.send(message)
    here.sendall(sender.data_to_send())
    while True:
        size = there.recv_into(_BUFFER)
        receiver.receive_data(_BUFFER[:size], time.monotonic())
        got = receiver.receive()
        if got is not None:
            return got


def round_trips(
    message: bytes,
    count: int,
    near: tuple[Connection[bytes], socket.socket],
    far: tuple[Connection[bytes], socket.socket],
) -> None:
    for _ in range(count):
        _hop(_hop(message, *near, *far), *far, *near)


@contextlib.contextmanager
def tcp_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Give two blocking sockets that are connected over loopback."""
    with socket.create_server((LOOPBACK, 0)) as door:
        near = socket.create_connection(door.getsockname())
        far, _ = door.accept()
    with near, far:
        for sock in (near, far):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield near, far


@contextlib.contextmanager
def unix_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    near, far = socket.socketpair()
    with near, far:
        yield near, far


# -- over both drivers, in one process -------------------------------------------------


@contextlib.asynccontextmanager
async def aio_pair() -> AsyncIterator[tuple[Any, Any]]:
    """Give both ends of a connection in one loop."""
    async with await aio.listen(
        f"{LOOPBACK}:0", someone(2), SANDBOX, RAW, difficulty=0.0
    ) as listener:
        near = await aio.connect(listener.point, someone(1), SANDBOX, RAW, difficulty=0.0)
        far = await listener.accept()
        try:
            yield near, far
        finally:
            await asyncio.gather(near.close(), far.close())


@contextlib.contextmanager
def aio_pair_on_a_loop() -> Iterator[tuple[asyncio.AbstractEventLoop, Any, Any]]:
    """Give a loop that does not run, and both ends of a connection in it."""
    with asyncio.Runner() as runner:
        pair = aio_pair()
        near, far = runner.run(pair.__aenter__())
        try:
            yield runner.get_loop(), near, far
        finally:
            runner.run(pair.__aexit__(None, None, None))


async def aio_echo(connection: Any) -> None:
    async for message in connection:
        await connection.send(message)


async def aio_round_trips(connection: Any, message: bytes, count: int) -> None:
    for _ in range(count):
        await connection.send(message)
        await connection.receive()


async def aio_transfer(near: Any, far: Any, message: bytes, count: int) -> None:
    """Send messages from end to end, both at work in one loop."""

    async def send() -> None:
        for _ in range(count):
            await near.send(message)

    sending = asyncio.create_task(send())
    left = count
    async with contextlib.aclosing(aiter(far)) as messages:
        async for _ in messages:
            left -= 1
            if not left:
                break
    await sending


@contextlib.contextmanager
def blocking_pair(thread: bool) -> Iterator[tuple[Any, Any]]:
    """Give one end of a connection, and the other, which echoes in a thread."""
    options: Any = {"difficulty": 0.0, "thread": thread}
    ready: queue.SimpleQueue[Any] = queue.SimpleQueue()
    ends: list[Any] = []

    def serve() -> None:
        # Without a thread of its own, a listener is for the thread that began.
        with blocking.listen(
            f"{LOOPBACK}:0", someone(2), SANDBOX, RAW, **options
        ) as listener:
            ready.put(listener.point)
            far = listener.accept(10.0)
            ends.append(far)
            for message in far:
                far.send(message)
            far.close()

    server = threading.Thread(target=serve, daemon=True)
    server.start()
    near = blocking.connect(ready.get(timeout=10.0), someone(1), SANDBOX, RAW, **options)
    try:
        near.send(SMALL)
        near.receive(10.0)
        yield near, ends[0]
    finally:
        near.close()
        server.join(10.0)


def blocking_round_trips(connection: Any, message: bytes, count: int) -> None:
    for _ in range(count):
        connection.send(message)
        connection.receive(10.0)


# -- sides for two processes: ours -----------------------------------------------------


async def aio_receives(orders: Orders, joins: bool) -> None:
    async with await aio.listen(
        f"{LOOPBACK}:0", someone(2), SANDBOX, RAW, difficulty=0.0, joins=joins
    ) as listener:
        orders.say(listener.point.port)
        async with (
            await listener.accept() as peer,
            contextlib.aclosing(aiter(peer)) as messages,
        ):
            async for count in orders:
                left = count
                orders.say("ready")
                async for _ in messages:
                    left -= 1
                    if not left:
                        break
                orders.say("received")


async def aio_sends(orders: Orders, joins: bool, port: int, message: bytes) -> None:
    async with await aio.connect(
        f"{LOOPBACK}:{port}", someone(1), SANDBOX, RAW, difficulty=0.0, joins=joins
    ) as peer:
        orders.say("connected")
        async for count in orders:
            for _ in range(count):
                await peer.send(message)


def blocking_receives(orders: Orders, joins: bool) -> None:
    with blocking.listen(
        f"{LOOPBACK}:0", someone(2), SANDBOX, RAW, difficulty=0.0, joins=joins
    ) as listener:
        orders.say(listener.point.port)
        with listener.accept(30.0) as peer:
            messages = iter(peer)
            for count in orders:
                left = count
                orders.say("ready")
                for _ in messages:
                    left -= 1
                    if not left:
                        break
                orders.say("received")


def blocking_sends(orders: Orders, joins: bool, port: int, message: bytes) -> None:
    with blocking.connect(
        f"{LOOPBACK}:{port}", someone(1), SANDBOX, RAW, difficulty=0.0, joins=joins
    ) as peer:
        orders.say("connected")
        for count in orders:
            for _ in range(count):
                peer.send(message)


# -- the yardsticks' -------------------------------------------------------------------


async def buffered_receives(orders: Orders) -> None:
    loop, left, over = asyncio.get_running_loop(), 0, loop_future()

    def on_message(_: bytes) -> None:
        nonlocal left
        left -= 1
        if not left:
            over.set_result(None)

    server = await loop.create_server(
        lambda: buffered_public.Receiver(on_message), LOOPBACK, 0
    )
    orders.say(server.sockets[0].getsockname()[1])
    async for count in orders:
        left, over = count, loop_future()
        orders.say("ready")
        await over
        orders.say("received")
    server.close()


def loop_future() -> asyncio.Future[None]:
    return asyncio.get_running_loop().create_future()


async def buffered_sends(orders: Orders, port: int, message: bytes) -> None:
    loop = asyncio.get_running_loop()
    transport, sender = await loop.create_connection(
        buffered_public.Sender, LOOPBACK, port
    )
    orders.say("connected")
    async for count in orders:
        await sender.send(message, count)
    transport.close()


async def streams_receive(orders: Orders) -> None:
    came = loop_future()
    server = await asyncio.start_server(
        lambda reader, writer: came.set_result((reader, writer)), LOOPBACK, 0
    )
    orders.say(server.sockets[0].getsockname()[1])
    reader, writer = await came
    first = 0
    async for count in orders:
        orders.say("ready")
        await streams_naive.receive(reader, first, count)
        first += count
        orders.say("received")
    writer.close()
    server.close()


async def streams_send(orders: Orders, port: int, message: bytes) -> None:
    _, writer = await asyncio.open_connection(LOOPBACK, port)
    orders.say("connected")
    first = 0
    async for count in orders:
        await streams_naive.send(writer, message, first, count)
        first += count
    writer.close()
