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
while when that fails (see `names`).  What runs beside the node, and dies, ends it: an
error is told, files are saved, and `Daemon.run` raises, as it does if the files could not
be saved at the end.  A manager that asks for it (``NOTIFY_SOCKET``) is told when the node
is up, and when it stops.

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
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterable
from typing import Any, Final, Literal

import attrs

from ..fsm.diversity import Diversity
from ..fsm.node import Node as Core
from ..spec.identity import PeerId
from ..spec.limits import Limits
from ..spec.point import Endpoint, Point
from ..spec.rpc import Generation
from . import aio_node, blocking_node
from .admin.server import AdminServer, AdminThread, Door
from .ends import question
from .household import SAVE_EVERY, Household
from .log import EventLog, notice
from .metrics_addr import addresses_of
from .names import Answer, ask, lookup

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


class _EndedByItself(Exception):
    """A node is over, and nobody has stopped it."""


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
        public: whether its network is one of the Internet.
        trusted: points to begin with that need not be resolved.
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
    public: bool = False
    trusted: tuple[Point, ...] = ()
    anchors: tuple[Point, ...] = attrs.field(init=False)
    _failed: str = attrs.field(default="", init=False)
    _waiter: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        """Know the anchors of the last run: a node that does not start keeps them."""
        self.anchors = self.diversity.anchors()

    def run(self, driver: DriverName) -> None:
        """Run until told to stop.

        Raises:
            OSError: a socket cannot be had, the node has ended by itself, or what runs
                beside it has; or its files could not be saved at the end.
        """
        if driver == "asyncio":
            asyncio.run(self._run_asyncio())
        else:
            self._run_blocking()
        if self._failed:
            raise OSError(self._failed)
        if unsaved := self.household.unsaved:
            names = ", ".join(map(str, unsaved))
            raise OSError(f"not saved: {names}; the log says why")

    # -- asyncio -----------------------------------------------------------------------

    async def _run_asyncio(self) -> None:
        loop = asyncio.get_running_loop()
        stop, save = asyncio.Event(), asyncio.Event()
        for number in _SIGNALS:
            loop.add_signal_handler(number, (save if number is _SAVING else stop).set)
        node = aio_node.Node[Any, Any].of(self.core, self.door, self.nearby)
        tasks: list[asyncio.Task[None]] = []
        try:
            node.on_event = self._event_log()
            # The admin interface ends first: it is entered last.
            async with (
                self._metrics_asyncio(),
                node,
                AdminServer(node, self.doors, self.generation),
            ):
                self._up(node.point)
                helpers = [self._pull(node), self._save_asyncio(save)]
                helpers += [self._resolve(node, name) for name in self.names]
                tasks += [asyncio.create_task(self._seen(it, stop)) for it in helpers]
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.seconds):
                        await stop.wait()
                stop.set()
                self._down()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.household.collect(self.core, self.anchors)()
            for number in _SIGNALS:
                loop.remove_signal_handler(number)
        self._stopped()

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
        async for _ in node.items():
            pass  # there is nobody whom to pass it on to
        raise _EndedByItself

    async def _seen(self, helper: Coroutine[Any, Any, None], stop: asyncio.Event) -> None:
        """Run what runs beside the node; if that dies, the node stops."""
        try:
            await helper
        except Exception as exc:
            if not stop.is_set():
                self._died(exc)
                stop.set()

    async def _resolve(self, node: aio_node.Node[Any, Any], name: Endpoint) -> None:
        delay = RETRY_FIRST
        while True:
            answer = await lookup(name, public=self.public)
            if self._heard(name, answer, delay):
                self._found(node, answer.points, name.peer_id)
                return
            await asyncio.sleep(delay)
            delay = min(2 * delay, RETRY_MAX)

    async def _save_asyncio(self, asked: asyncio.Event) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SAVE_EVERY):
                    await asked.wait()
            asked.clear()
            self.anchors = self.diversity.anchors()
            save = self.household.collect(self.core, self.anchors)
            await asyncio.to_thread(save)

    # -- blocking ----------------------------------------------------------------------

    def _run_blocking(self) -> None:
        # Blocked in all threads that begin from now on: this one alone waits for them.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        node = blocking_node.Node[Any, Any].of(self.core, self.door, self.nearby)
        self._waiter = threading.get_ident()
        stopped = threading.Event()
        threads: list[threading.Thread] = []
        try:
            node.on_event = self._event_log()
            with (
                self._metrics_in_thread(node),
                node,
                AdminThread(node, self.doors, self.generation),
            ):
                self._up(node.point)
                jobs: list[Callable[[], None]] = [
                    functools.partial(self._pull_blocking, node)
                ]
                jobs += [
                    functools.partial(self._resolve_blocking, node, name, stopped)
                    for name in self.names
                ]
                for job in jobs:
                    helper = functools.partial(self._seen_blocking, job, stopped)
                    threads.append(threading.Thread(target=helper, daemon=True))
                    threads[-1].start()
                self._wait_for_signals(node)
                stopped.set()
                with node.paused():
                    self._down()
        finally:
            stopped.set()
            for thread in threads[:1]:  # others may hang in the resolver
                thread.join(1.0)
            with node.paused():  # and may be done with it at this very moment
                save = self.household.collect(self.core, self.anchors)
            save()
            while signal.sigtimedwait(_SIGNALS, 0) is not None:
                pass  # who asks twice to stop must not kill it now
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._stopped()

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

    def _seen_blocking(self, job: Callable[[], None], stopped: threading.Event) -> None:
        """Run what runs beside the node; if that dies, the node stops."""
        try:
            job()
        except Exception as exc:
            if not stopped.is_set():
                self._died(exc)
                # Who waits for signals hears of nothing else.
                # That thread, not the process: others may not block the signal.
                signal.pthread_kill(self._waiter, signal.SIGTERM)

    def _pull_blocking(self, node: blocking_node.Node[Any, Any]) -> None:
        for _ in node.items():
            pass
        raise _EndedByItself

    def _resolve_blocking(
        self,
        node: blocking_node.Node[Any, Any],
        name: Endpoint,
        stopped: threading.Event,
    ) -> None:
        delay = RETRY_FIRST
        while not stopped.is_set():
            answer = ask(name, public=self.public)
            with node.paused():
                if stopped.is_set():
                    return
                if self._heard(name, answer, delay):
                    self._found(node, answer.points, name.peer_id)
                    return
            stopped.wait(delay)
            delay = min(2 * delay, RETRY_MAX)

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

    def _stopped(self) -> None:
        for part in ("welcome_worker", "maintenance_worker", "connection_pool"):
            notice(self.log, f"shutdown_{part}")  # in the order of the core
        self.log.info("stopped")

    def _found(
        self,
        node: aio_node.Node[Any, Any] | blocking_node.Node[Any, Any],
        points: tuple[Point, ...],
        expected: PeerId | None,
    ) -> None:
        """A name of the configuration has addresses."""
        for point in points:
            self.household.configure(point)
            node.configure(point, expected)

    def _heard(self, name: Endpoint, answer: Answer, delay: float) -> bool:
        """Tell what is wrong with an answer; return whether it is of any use."""
        if answer.unbelieved:
            self.log.warning(
                "name_not_believed",
                name=name.host,
                addresses=answer.unbelieved,
                what="no addresses of the Internet; write them instead if they are meant",
            )
        if not answer.points:
            self.log.warning(
                "name_not_resolved", name=name.host, why=answer.why, again_in=delay
            )
        return bool(answer.points)

    def _event_log(self) -> EventLog:
        return EventLog(self.log, self.core.maintenance.bounds)

    def _died(self, exc: Exception) -> None:
        """What runs beside the node has died, and nobody else would tell."""
        self._failed = f"what runs beside the node has died: {exc!r}"
        if isinstance(exc, _EndedByItself):
            self._failed = "the node has ended by itself"
        self.log.error("failed", why=self._failed)


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
