"""Names of hosts: asked for beside all else, and what of the answer is believed.

A resolver may hang for as long as it likes: it is asked in a thread that nobody waits
for, so it delays neither another name nor the end of the process.

What it says comes from strangers.  Of a name on a public network only addresses of the
Internet are believed: otherwise whoever owns or forges a name has us dial into our own
network, or ourselves (``fsm.scope``; who wants that writes the address).  Nowhere are
addresses believed that no host has.  Of one name 8 addresses are taken.

Source: our own; getaddrinfo(3).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterable
from typing import Any

import attrs

from ..fsm.scope import Scope, scope_of
from ..spec.point import Endpoint, Point
from .ends import question
from .sockets import ADDRESSES_MAX, point_of


@attrs.frozen
class Answer:
    """What is known of a name.

    Attributes:
        points: to be dialled.
        unbelieved: addresses that are not believed; as many as are told.
        why: what is wrong if there is no point.
    """

    points: tuple[Point, ...] = ()
    unbelieved: tuple[str, ...] = ()
    why: str = ""


def answer_of(found: Iterable[Any], *, public: bool) -> Answer:
    """Return what of an answer of ``getaddrinfo`` is believed.

    Args:
        found: that.
        public: whether the network is one of the Internet.
    """
    asked = Scope.GLOBAL if public else Scope.LOOPBACK
    points = dict.fromkeys(point_of(address) for *_, address in found)
    good = [each for each in points if asked.may_teach(scope_of(each.address))]
    # Whoever sends a thousand must not hide the good ones behind others.
    bad = [
        str(each.address)
        for each in points
        if not asked.may_teach(scope_of(each.address))
    ]
    why = ""
    if not good:
        why = "it has no address" if not bad else "none of its addresses is believed"
    return Answer(tuple(good[:ADDRESSES_MAX]), tuple(bad[:ADDRESSES_MAX]), why)


def ask(name: Endpoint, *, public: bool) -> Answer:
    """Ask the system for the addresses of a name; waits, and never raises."""
    try:
        found = socket.getaddrinfo(*question(name), type=socket.SOCK_STREAM)
        return answer_of(found, public=public)
    except OSError as exc:
        return Answer(why=exc.strerror or str(exc))
    except ValueError as exc:  # no name, or no answer, that anybody understands
        return Answer(why=str(exc))


async def lookup(name: Endpoint, *, public: bool) -> Answer:
    """Do the same beside all else; whoever is cancelled does not wait for the system."""
    loop = asyncio.get_running_loop()
    waiter: asyncio.Future[Answer] = loop.create_future()

    def tell(answer: Answer) -> None:
        if not waiter.done():
            waiter.set_result(answer)

    def work() -> None:
        answer = ask(name, public=public)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(tell, answer)

    # Not the loop's executor: a loop that ends waits for that one.
    threading.Thread(target=work, name="tezos-p2p-names", daemon=True).start()
    return await waiter
