"""How ``tezos-p2p listen`` serves its connections, over either driver.

Both end when the desk says so, when the time is up, or when interrupted, and close what
is open before they do.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
import threading
import time
from typing import Any, Final

from .. import aio, blocking
from ..ends import ConnectionEnded
from ..watched import Watched, listen_aio, listen_blocking
from .desk import Desk

#: Seconds that the end of a connection may take.
_CLOSING: Final = 0.5
#: Seconds between two looks at the clock.
_PAUSE: Final = 0.1


# -- asyncio ---------------------------------------------------------------------------


def serve_asyncio(
    desk: Desk, core: Watched, door: socket.socket, seconds: float | None
) -> None:
    """Serve with a task for each connection."""
    asyncio.run(_serve(desk, core, door, seconds))


async def _serve(
    desk: Desk, core: Watched, door: socket.socket, seconds: float | None
) -> None:
    stop = asyncio.Event()
    desk.on_stop = stop.set
    peers: dict[aio.Connection[Any], asyncio.Task[None]] = {}

    async def serve(peer: aio.Connection[Any]) -> None:
        try:
            await _talk(desk, peer)
        finally:
            del peers[peer]

    async def accept() -> None:
        async for peer in listener:
            peers[peer] = asyncio.create_task(serve(peer))

    listener = listen_aio(core, door)
    accepting = asyncio.create_task(accept())
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not stop.is_set():
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(stop.wait(), _PAUSE)
                    # Who came and went before it could be accepted is nobody's to serve.
                    served = frozenset(peer.link for peer in peers)
                    desk.release(functools.partial(_is_gone, core, served))
    finally:
        await listener.close()
        await accepting
        tasks = list(peers.values())
        await asyncio.gather(*(peer.close(timeout=_CLOSING) for peer in list(peers)))
        await asyncio.gather(*tasks)
        desk.settle()


async def _talk(desk: Desk, peer: aio.Connection[Any]) -> None:
    with contextlib.suppress(ConnectionEnded):
        async for message in peer:
            answer = desk.received(peer.link, peer.remote, message)
            with contextlib.suppress(ConnectionEnded):
                if answer is not None and peer.send_now(answer):
                    desk.sent(peer.link, answer)
    await peer.close(timeout=_CLOSING)
    desk.ended(peer.link)


# -- blocking --------------------------------------------------------------------------


def serve_blocking(
    desk: Desk, core: Watched, door: socket.socket, seconds: float | None
) -> None:
    """Serve with a thread for each connection."""
    until = None if seconds is None else time.monotonic() + seconds
    threads: dict[blocking.Connection[Any], threading.Thread] = {}
    listener = listen_blocking(core, door)
    try:
        _accept_blocking(desk, core, listener, threads, until)
    finally:
        listener.close()
        for peer in threads:
            peer.close(timeout=_CLOSING)
        for thread in threads.values():
            thread.join()
        desk.settle()


def _accept_blocking(
    desk: Desk,
    core: Watched,
    listener: blocking.Listener[Any],
    threads: dict[blocking.Connection[Any], threading.Thread],
    until: float | None,
) -> None:
    while not desk.stopped.is_set() and (until is None or time.monotonic() < until):
        for peer in [peer for peer in threads if not threads[peer].is_alive()]:
            del threads[peer]
        with contextlib.suppress(TimeoutError):
            peer = listener.accept(_PAUSE)
            thread = threads[peer] = threading.Thread(
                target=_talk_blocking, args=(desk, peer), daemon=True
            )
            thread.start()
        # Who came and went before it could be accepted is nobody's to serve.
        served = frozenset(peer.link for peer in threads)
        desk.release(functools.partial(_is_gone, core, served))


def _is_gone(core: Watched, served: frozenset[int], link: int) -> bool:
    return link not in served and link not in core


def _talk_blocking(desk: Desk, peer: blocking.Connection[Any]) -> None:
    with contextlib.suppress(ConnectionEnded):
        for message in peer:
            answer = desk.received(peer.link, peer.remote, message)
            with contextlib.suppress(ConnectionEnded):
                if answer is not None and peer.send_now(answer):
                    desk.sent(peer.link, answer)
    peer.close(timeout=_CLOSING)
    desk.ended(peer.link)
