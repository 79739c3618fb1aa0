"""A node with its admin interface, over either driver, and clients for it."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import Future
from typing import Any

from node_suite import IDLE, identity_of

from tezos_p2p.io import aio_node, blocking_node
from tezos_p2p.io.admin.guard import Policy
from tezos_p2p.io.admin.server import AdminServer, AdminThread, open_doors
from tezos_p2p.spec.rpc import Generation
from tezos_p2p.spec.shell import SHELL_CODEC
from tezos_p2p.spec.version import SANDBOX, Network

DRIVERS = ("asyncio", "blocking")
LIMIT = 20.0
#: What nodes of 2019 announce in a sandbox.
OLD_SANDBOX = Network("SANDBOXED_TEZOS", (0,), (0,))


class Host:
    """A node that is asked: itself, and where its interface listens."""

    def __init__(self, node: Any, port: int, server: Any = None) -> None:
        self.node = node
        self.port = port
        self.server = server
        self.peer_id = str(node.core.survey.peer_id)
        self.streams: list[Stream] = []

    @property
    def point(self) -> str:
        return str(self.node.point)

    def close(self) -> None:
        for stream in self.streams:
            stream.close()

    def ask(self, act: Any) -> Any:
        """Have the core to oneself, whichever thread it lives in."""
        if self.server is None:
            return self.node.ask(act)
        return self.server.run(lambda: self.node.ask(act))

    def call(
        self, method: str, path: str, body: Any = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one request; return status, headers and body of the answer."""
        with contextlib.closing(
            http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT)
        ) as line:
            text = body if isinstance(body, bytes | None) else json.dumps(body).encode()
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            line.request(method, path, text, named)
            answer = line.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()

    def get(self, path: str, method: str = "GET", body: Any = None) -> Any:
        """Send one request that must go well; return what the answer says."""
        status, _, answer = self.call(method, path, body)
        assert status == 200, (status, answer)
        assert answer.endswith(b"\n")
        return json.loads(answer)

    def stream(self, path: str) -> Stream:
        stream = Stream(self.port, path)
        self.streams.append(stream)
        return stream


class Stream:
    """A stream of the interface: one document for each chunk."""

    def __init__(self, port: int, path: str) -> None:
        self.sock = socket.create_connection(("127.0.0.1", port), LIMIT)
        head = f"GET {path} HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\n\r\n"
        self.sock.sendall(head.encode())
        self.file = self.sock.makefile("rb")
        self.head = []
        while (line := self.file.readline()).strip():
            self.head.append(line.decode().strip())

    def chunk(self) -> bytes | None:
        """The next chunk; None if it is the last."""
        size = int(self.file.readline(), 16)
        data = self.file.read(size)
        assert self.file.readline() == b"\r\n"
        return data if size else None

    def next(self) -> Any:
        data = self.chunk()
        assert data is not None, "the stream has ended"
        assert data.endswith(b"\n")
        return json.loads(data)

    def until(self, name: str, **facts: Any) -> Any:
        """The next event of a name, with some facts."""
        while True:
            event = self.next()
            if event["event"] == name and facts.items() <= event.items():
                return event

    def close(self) -> None:
        self.file.close()
        self.sock.close()


class _Loop:
    """A loop in a thread, with a node and its interface."""

    def __init__(self, make: Any, policies: Any, generation: Generation) -> None:
        self.ready: Future[tuple[Any, int]] = Future()
        self.stop: asyncio.Event
        self.loop: asyncio.AbstractEventLoop
        self.made = make, policies, generation
        self.admin: AdminServer
        self.thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self.thread.start()

    async def _run(self) -> None:
        make, policies, generation = self.made
        try:
            self.loop, self.stop = asyncio.get_running_loop(), asyncio.Event()
            doors = open_doors(("127.0.0.1:0",), policies)
            async with make() as node, AdminServer(node, doors, generation) as admin:
                self.admin = admin
                self.ready.set_result((node, doors[0].guard.port))
                await self.stop.wait()
        except BaseException as exc:
            if not self.ready.done():
                self.ready.set_exception(exc)
            raise

    def run(self, act: Any) -> Any:
        async def once() -> Any:
            return act()

        return asyncio.run_coroutine_threadsafe(once(), self.loop).result(LIMIT)

    def end(self) -> None:
        self.loop.call_soon_threadsafe(self.stop.set)
        self.thread.join(LIMIT)
        assert not self.thread.is_alive()


@contextlib.contextmanager
def hosted(
    driver: str,
    number: int,
    generation: Generation = Generation.G2026,
    policies: tuple[Policy, ...] = (),
    network: Network = SANDBOX,
    **options: Any,
) -> Generator[Host]:
    """Run a node with its interface."""
    options = {"limits": IDLE, "difficulty": 0.0, "diversity": None, **options}
    args = (identity_of(number), network, SHELL_CODEC, "127.0.0.1:0")
    if driver == "asyncio":
        loop = _Loop(lambda: aio_node.Node(*args, **options), policies, generation)
        try:
            node, port = loop.ready.result(LIMIT)
            with contextlib.closing(Host(node, port, loop)) as host:
                yield host
        finally:
            loop.end()
        return
    doors = open_doors(("127.0.0.1:0",), policies)
    with (
        blocking_node.Node(*args, **options) as node,
        AdminThread(node, doors, generation),
        contextlib.closing(Host(node, doors[0].guard.port or 0)) as host,
    ):
        yield host


@contextlib.contextmanager
def neighbour(
    number: int, network: Network = SANDBOX, **options: Any
) -> Iterator[blocking_node.Node[Any, Any]]:
    """Run a node without an interface."""
    options = {"limits": IDLE, "difficulty": 0.0, "diversity": None, **options}
    args = (identity_of(number), network, SHELL_CODEC, "127.0.0.1:0")
    with blocking_node.Node(*args, **options) as node:
        yield node
