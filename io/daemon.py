"""A node that runs until it is told to stop: ``tezos-p2p run``.

It looks for peers, keeps their number within bounds, and passes nothing on: what peers
say is read, counted and dropped, since there is no chain behind it.

=================  =====================================================================
signal             does
=================  =====================================================================
SIGINT, SIGTERM    stops: the admin interface ends, nobody is accepted, nobody dialled,
                   what is queued may leave for 3 s, files are saved
SIGHUP             saves the files now
=================  =====================================================================

Names among the points to begin with are resolved beside all else, and again after a
while when that fails.  A manager that asks for it (``NOTIFY_SOCKET``) is told when the
node is up, and when it stops.

Source: the life cycle of the reference node, 2026; sd_notify(3).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Iterable
from typing import Any, Final, Literal

import attrs

from ..fsm.diversity import Diversity
from ..fsm.node import Node as Core
from ..spec.identity import PeerId
from ..spec.limits import Limits
from ..spec.point import Endpoint, Point
from ..spec.pool_events import PoolEvent
from ..spec.rpc import Generation
from . import aio_node, blocking_node
from .admin.server import AdminServer, AdminThread, Door
from .ends import question
from .household import SAVE_EVERY, Household
from .log import log_event, log_item
from .metrics_addr import addresses_of
from .sockets import points_of

DriverName = Literal["asyncio", "blocking"]

#: Seconds until a name is resolved again, the first time and at most.
RETRY_FIRST: Final = 5.0
RETRY_MAX: Final = 600.0

_SIGNALS: Final = tuple(
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP")
    if hasattr(signal, name)
)
_SAVING: Final = getattr(signal, "SIGHUP", None)


@attrs.define(eq=False)
class Daemon:
    """What a node needs to run by itself.

    Args:
        core: the node.
        diversity: the node's.
        door: where it listens, or None.
        nearby: where datagrams of the local network are exchanged, or None.
        names: points to begin with whose names are to be resolved.
        household: its files.
        log: a `structlog` logger.
        seconds: end after so many; None: when told to.
        metrics: sockets on which metrics are served, if any; closed at the end.
        limits: of the node.
        doors: where the admin interface listens.
        generation: which form it has.
    """

    core: Core[Any, Any]
    diversity: Diversity
    door: socket.socket | None
    nearby: Point | None
    names: tuple[Endpoint, ...]
    household: Household
    log: Any
    seconds: float | None = None
    metrics: tuple[socket.socket, ...] = ()
    limits: Limits = attrs.field(factory=Limits)
    doors: tuple[Door, ...] = ()
    generation: Generation = Generation.G2026
    anchors: tuple[Point, ...] = attrs.field(default=(), init=False)
    _failed: bool = attrs.field(default=False, init=False)

    def run(self, driver: DriverName) -> None:
        """Run until told to stop.

        Raises:
            OSError: a socket cannot be had, or the node has ended by itself.
        """
        if driver == "asyncio":
            asyncio.run(self._run_asyncio())
        else:
            self._run_blocking()
        if self._failed:
            raise OSError("the node has ended by itself")

    # -- asyncio -----------------------------------------------------------------------

    async def _run_asyncio(self) -> None:
        loop = asyncio.get_running_loop()
        stop, save = asyncio.Event(), asyncio.Event()
        for number in _SIGNALS:
            loop.add_signal_handler(number, (save if number is _SAVING else stop).set)
        node = aio_node.Node[Any, Any].of(self.core, self.door, self.nearby)
        tasks: list[asyncio.Task[None]] = []
        try:
            node.on_event = self._log_event
            # The admin interface ends first: it is entered last.
            async with (
                self._metrics_asyncio(),
                node,
                AdminServer(node, self.doors, self.generation),
            ):
                self._up(node.point)
                tasks.append(asyncio.create_task(self._pull(node)))
                tasks += [
                    asyncio.create_task(self._resolve(node, name)) for name in self.names
                ]
                tasks.append(asyncio.create_task(self._save_asyncio(save)))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.seconds):
                        await stop.wait()
                self._down()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.household.collect(self.core, self.anchors)()
            for number in _SIGNALS:
                loop.remove_signal_handler(number)
        self.log.info("stopped")

    @contextlib.asynccontextmanager
    async def _metrics_asyncio(self) -> AsyncGenerator[None]:
        """Serve metrics in this loop, if they are wanted."""
        if not self.metrics:
            yield
            return
        # Most nodes run without, and it takes longer to import than all else.
        from .metrics import Exposition, read
        from .metrics_server import MetricsServer

        clock = asyncio.get_running_loop().time
        exposition = Exposition(lambda: read(self.core, clock()), self.limits)
        async with MetricsServer(exposition).serving(self.metrics):
            self.log.info("metrics", listening=addresses_of(self.metrics))
            yield

    async def _pull(self, node: aio_node.Node[Any, Any]) -> None:
        async for item in node.items():
            log_item(self.log, item)

    async def _resolve(self, node: aio_node.Node[Any, Any], name: Endpoint) -> None:
        loop = asyncio.get_running_loop()
        host, port = question(name)
        delay = RETRY_FIRST
        while True:
            try:
                found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            except OSError as exc:
                self._unresolved(name, exc, delay)
                await asyncio.sleep(delay)
                delay = min(2 * delay, RETRY_MAX)
            else:
                for point in points_of(found):
                    self._found(node, point, name.peer_id)
                return

    async def _save_asyncio(self, asked: asyncio.Event) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SAVE_EVERY):
                    await asked.wait()
            asked.clear()
            self.anchors = self.diversity.anchors()
            save = self.household.collect(self.core, self.anchors)
            await asyncio.to_thread(save)
            self.log.debug("saved")

    # -- blocking ----------------------------------------------------------------------

    def _run_blocking(self) -> None:
        # Blocked in all threads that begin from now on: this one alone waits for them.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        node = blocking_node.Node[Any, Any].of(self.core, self.door, self.nearby)
        stopped = threading.Event()
        threads: list[threading.Thread] = []
        try:
            node.on_event = self._log_event
            with (
                self._metrics_in_thread(node),
                node,
                AdminThread(node, self.doors, self.generation),
            ):
                self._up(node.point)
                jobs: list[Callable[[], None]] = [
                    functools.partial(self._pull_blocking, node, stopped)
                ]
                jobs += [
                    functools.partial(self._resolve_blocking, node, name, stopped)
                    for name in self.names
                ]
                for job in jobs:
                    threads.append(threading.Thread(target=job, daemon=True))
                    threads[-1].start()
                self._wait_for_signals(node)
                stopped.set()
                with node.paused():
                    self._down()
        finally:
            stopped.set()
            for thread in threads[:1]:  # others may hang in the resolver
                thread.join(1.0)
            self.household.collect(self.core, self.anchors)()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self.log.info("stopped")

    @contextlib.contextmanager
    def _metrics_in_thread(self, node: blocking_node.Node[Any, Any]) -> Generator[None]:
        """Serve metrics in a thread of their own, if they are wanted."""
        if not self.metrics:
            yield
            return
        from .metrics import Exposition, Reading, read
        from .metrics_server import MetricsServer, serving_in_thread

        def look() -> Reading:
            with node.paused() as core:
                return read(core, time.monotonic())

        def measure() -> float:
            began = time.monotonic()
            with node.paused():
                return time.monotonic() - began

        server = MetricsServer(Exposition(look, self.limits), measure)
        with serving_in_thread(server, self.metrics):
            self.log.info("metrics", listening=addresses_of(self.metrics))
            yield

    def _wait_for_signals(self, node: blocking_node.Node[Any, Any]) -> None:
        until = None if self.seconds is None else time.monotonic() + self.seconds
        save_at = time.monotonic() + SAVE_EVERY
        while True:
            now = time.monotonic()
            due = save_at if until is None else min(save_at, until)
            got = signal.sigtimedwait(_SIGNALS, max(0.0, due - now))
            if got is not None and got.si_signo != _SAVING:
                return
            if until is not None and time.monotonic() >= until:
                return
            save_at = time.monotonic() + SAVE_EVERY
            with node.paused():
                self.anchors = self.diversity.anchors()
                save = self.household.collect(self.core, self.anchors)
            save()
            self.log.debug("saved")

    def _pull_blocking(
        self, node: blocking_node.Node[Any, Any], stopped: threading.Event
    ) -> None:
        for item in node.items():
            log_item(self.log, item)
        if not stopped.is_set():
            # Who waits for signals hears of nothing else.
            self._failed = True
            os.kill(os.getpid(), signal.SIGTERM)

    def _resolve_blocking(
        self,
        node: blocking_node.Node[Any, Any],
        name: Endpoint,
        stopped: threading.Event,
    ) -> None:
        host, port = question(name)
        delay = RETRY_FIRST
        while not stopped.is_set():
            try:
                found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            except OSError as exc:
                self._unresolved(name, exc, delay)
                stopped.wait(delay)
                delay = min(2 * delay, RETRY_MAX)
            else:
                for point in points_of(found):
                    self._found(node, point, name.peer_id)
                return

    # -- both --------------------------------------------------------------------------

    def _up(self, point: Point | None) -> None:
        where = "nowhere" if point is None else str(point)
        self.log.info("activate_layer", listening=where)
        for door in self.doors:
            form = str(self.generation.value)
            self.log.info("admin_interface", listening=door.guard.name, form=form)
        notify("READY=1")

    def _down(self) -> None:
        self.anchors = self.diversity.anchors()  # once it has stopped, nobody is left
        self.log.info("stopping")
        notify("STOPPING=1")

    def _found(
        self,
        node: aio_node.Node[Any, Any] | blocking_node.Node[Any, Any],
        point: Point,
        expected: PeerId | None,
    ) -> None:
        """A name of the configuration has an address."""
        self.household.configure(point)
        node.configure(point, expected)

    def _log_event(self, event: PoolEvent) -> None:
        log_event(self.log, event)

    def _unresolved(self, name: Endpoint, exc: OSError, delay: float) -> None:
        self.log.warning(
            "name_not_resolved", name=name.host, why=exc.strerror, again_in=delay
        )


def split_names(
    endpoints: Iterable[Endpoint],
) -> tuple[tuple[tuple[Point, PeerId | None], ...], tuple[Endpoint, ...]]:
    """Return the points among endpoints, and who is expected there, and the names.

    Raises:
        PointError: a name that no host can have.
    """
    points: list[tuple[Point, PeerId | None]] = []
    names: list[Endpoint] = []
    for endpoint in endpoints:
        try:
            points.append((endpoint.point(), endpoint.peer_id))
        except ValueError:
            question(endpoint)
            names.append(endpoint)
    return tuple(points), tuple(names)


def notify(text: str) -> None:
    """Tell the service manager, if there is one; see sd_notify(3)."""
    where = os.environ.get("NOTIFY_SOCKET", "")
    if not where.startswith(("/", "@")) or not hasattr(socket, "AF_UNIX"):
        return
    address = "\0" + where[1:] if where.startswith("@") else where
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock,
    ):
        sock.connect(address)
        sock.sendall(text.encode())
