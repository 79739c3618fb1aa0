"""What the interface answers: each request becomes questions and commands of the core.

=====================================  =================================================
where the reference is ambiguous       here
=====================================  =================================================
a change of ``acl`` on a point that    200, and what is said of a point of which nothing
is not known (it answers 404 although  is known
the ban counts)
``trust`` of a point with port 0       400: nobody could be dialled there
a PUT without a body                   as ``{}``; a 400 in the form of 2019, as there
events of a point that begin or end    their own names; in the form of 2019 the one that
a connection                           its clients know
greylisted addresses                   those that are banned now
bans                                   a set: one unban undoes those of the same address
                                       or peer
``unban`` of 2019                      lifts what is automatic too
=====================================  =================================================

Source: the RPC services of the reference node, 2019 and 2026.
"""

from __future__ import annotations

import asyncio
import functools
import importlib.metadata
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from ...fsm.machine import LocalProtocolError
from ...fsm.steward import Kick, Steward
from ...fsm.survey import UNKNOWN_POINT
from ...spec import rpc
from ...spec.identity import PeerId
from ...spec.point import Point
from ...spec.pool_events import LAST_TAG_2019, PeerEvent, PointEvent
from ...spec.reasons import Disconnection, ErrorKind, P2pError, Reason
from ...spec.rpc_errors import TIMED_OUT, error_of, errors_of
from ..node_ends import STOP_TIMEOUT, NodeEnds
from ..timestamps import Clocks
from .http import JSON, Reply
from .lists import Lists
from .routes import POINT, BadRequest, unacceptable
from .talk import AnyCore
from .watch import Watch

_RPC: Final = Disconnection(Reason.EXPLICIT_RPC)
_DISABLED: Final = rpc.RpcError("permanent", ErrorKind.P2P_LAYER_DISABLED.id)
_NOWHERE: Final = "port 0 cannot be trusted"
_CLOSED: Final = rpc.RpcError("permanent", ErrorKind.CONNECTION_CLOSED.id)


class Answers(Lists):
    """One method for each route, by its name; see ``Talk``."""

    def __init__(self, node: NodeEnds[Any, Any], generation: rpc.Generation) -> None:
        super().__init__(node, generation)
        old = generation is rpc.Generation.G2019
        self.watch = Watch(node, self.line, LAST_TAG_2019 if old else None)

    # -- the node ----------------------------------------------------------------------

    def self_(self, media: str) -> Reply:
        return self.either(self._node.core.survey.peer_id, media)

    def version_2019(self) -> Reply:
        return self.json(self._node.core.survey.version)

    def versions_2019(self) -> Reply:
        return self.json([self._node.core.survey.version])

    def version(self) -> Reply:
        announced = self._node.core.survey.version
        return self.json(rpc.NodeVersion(_software(), announced, None))

    def stat(self, media: str) -> Reply:
        stat = self._node.ask(lambda core, now: core.survey.stat(now))
        return self.either(stat, media)

    def health(self) -> Reply:
        active = self._node.ask(lambda core, _: core.pool.active)
        us = {"implementation": "tezos-p2p", "status": "up", "connections": active}
        return self.json(us)

    def status(self) -> Reply:
        return self.json(self._node.ask(lambda core, now: core.status(now)))

    # -- connections -------------------------------------------------------------------

    def connection(self, at: PeerId, media: str) -> Reply:
        def look(core: AnyCore, _: float) -> rpc.ConnectionInfo | None:
            running = core.pool.by_peer(at)
            return None if running is None else core.survey.connection(running)

        info = self._node.ask(look)
        return self.absent() if info is None else self.either(info, media)

    def disconnect(self, at: PeerId, wait: bool) -> Reply:
        def end(core: AnyCore, now: float) -> None:
            core.disconnect(at, now, _RPC, now + STOP_TIMEOUT if wait else None)

        self._node.ask(end)
        return self.nothing()

    # -- points ------------------------------------------------------------------------

    def point(self, at: Point, media: str) -> Reply:
        info = self._node.ask(functools.partial(_point_info, at))
        return self.absent() if info is None else self.either(info, media)

    async def connect(self, at: Point, timeout: float, body: None) -> Reply:  # noqa: ARG002, ASYNC109  # the query's
        until = asyncio.get_running_loop().time() + timeout
        try:
            link = self._node.ask(lambda core, now: core.connect(at, now))
        except LocalProtocolError:
            return self.errors([_DISABLED])
        if isinstance(link, P2pError):
            return self.errors([error_of(link, at, self._form)])
        changed = asyncio.Event()
        self.watch.look(changed, changed.set)
        try:
            async with asyncio.timeout_at(until):
                while self._node.ask(lambda core, _: _is_pending(core, link)):
                    await changed.wait()
                    changed.clear()
        except TimeoutError:
            pass
        finally:
            self.watch.unlook(changed)
            late = self._node.ask(functools.partial(_give_up, link))
        if late or not timeout:  # no time at all, and be it refused meanwhile
            return self.errors([TIMED_OUT])
        return self._outcome(link, at)

    def _outcome(self, link: int, at: Point) -> Reply:
        running, ending = self._node.ask(
            lambda core, _: (link in core.pool.running, core.survey.why_not(link))
        )
        if running:
            return self.nothing()
        if ending is None:  # it ran, and is gone
            return self.errors([_CLOSED])
        return self.errors(errors_of(ending, at, self._form))

    def change_point(self, at: Point, body: rpc.PointChange) -> Reply:
        if body.acl is rpc.AclChange.TRUST and not at.port:
            raise BadRequest(f"Failed to parse the request body: {_NOWHERE}")

        def act(steward: Steward[Any], now: float) -> Iterable[Kick]:
            kicks: list[Kick] = []
            known = at in self._node.core.pool.known_points
            if body.peer_id is not None and known:
                kicks += steward.expect(at, body.peer_id, now)
            match body.acl:
                case rpc.AclChange.BAN:
                    kicks += steward.ban_address(at.address)
                case rpc.AclChange.TRUST:
                    kicks += steward.trust_point(at, now)
                case rpc.AclChange.OPEN:
                    kicks += steward.open_point(at)
                case None:
                    pass
            return dict(kicks).items()

        self._node.ask(self.govern(act))
        info = self._node.ask(functools.partial(_point_info, at))
        if info is None:
            return self.absent() if body.acl is None else self.json(UNKNOWN_POINT)
        return self.json(info)

    def ban_point(self, at: Point) -> Reply:
        return self._do(lambda it, _: it.ban_address(at.address, peers=False))

    def unban_point(self, at: Point) -> Reply:
        return self._do(lambda it, _: it.unban_address(at.address))

    def trust_point(self, at: Point) -> Reply:
        if not at.port:
            raise BadRequest(unacceptable(f"network/points/{at}", _NOWHERE, POINT))
        return self._do(lambda it, now: it.trust_point(at, now))

    def untrust_point(self, at: Point) -> Reply:
        return self._do(lambda it, _: it.untrust_point(at))

    def _do(self, act: Callable[[Steward[Any], float], Iterable[Kick]]) -> Reply:
        self._node.ask(self.govern(act))
        return self.nothing()

    def point_banned(self, at: Point) -> Reply:
        def look(core: AnyCore, now: float) -> bool:
            info = core.pool.known_points.get(at)
            if info is not None and info.trusted:
                return False
            return core.acl.is_banned(at.address, now)

        return self.json(self._node.ask(look))

    def point_log(self, at: Point, monitor: bool) -> Reply:
        def read(core: AnyCore, _: float) -> tuple[PointEvent, ...] | None:
            info = core.pool.known_points.get(at)
            return None if info is None else info.events

        return self._history(read, monitor)

    # -- peers -------------------------------------------------------------------------

    def peer(self, at: PeerId, media: str) -> Reply:
        info = self._node.ask(functools.partial(_peer_info, at))
        return self.absent() if info is None else self.either(info, media)

    def change_peer(self, at: PeerId, body: rpc.PeerChange) -> Reply:
        def act(steward: Steward[Any], now: float) -> Iterable[Kick]:
            match body.acl:
                case rpc.AclChange.BAN:
                    return steward.ban_peer(at)
                case rpc.AclChange.TRUST:
                    return steward.trust_peer(at, now)
                case rpc.AclChange.OPEN:
                    return steward.open_peer(at)
                case None:
                    return ()

        self._node.ask(self.govern(act))
        info = self._node.ask(functools.partial(_peer_info, at))
        return self.absent() if info is None else self.json(info)

    def ban_peer(self, at: PeerId) -> Reply:
        return self._do(lambda it, _: it.ban_peer(at))

    def unban_peer(self, at: PeerId) -> Reply:
        return self._do(lambda it, _: it.unban_peer(at))

    def trust_peer(self, at: PeerId) -> Reply:
        return self._do(lambda it, now: it.trust_peer(at, now))

    def untrust_peer(self, at: PeerId) -> Reply:
        return self._do(lambda it, _: it.untrust_peer(at))

    def peer_banned(self, at: PeerId) -> Reply:
        def look(core: AnyCore, now: float) -> bool:
            info = core.pool.known_peers.get(at)
            if info is not None and info.trusted:
                return False
            return core.acl.is_peer_banned(at, now)

        return self.json(self._node.ask(look))

    def peer_log(self, at: PeerId, monitor: bool) -> Reply:
        def read(core: AnyCore, _: float) -> tuple[PeerEvent, ...] | None:
            info = core.pool.known_peers.get(at)
            return None if info is None else info.events

        return self._history(read, monitor)

    # -- lists of bans -----------------------------------------------------------------

    def clear(self, keep_bans: bool = False) -> Reply:
        return self._do(lambda it, _: it.clear_greylists() if keep_bans else it.clear())

    def greylist_peers(self) -> Reply:
        return self.json(self._node.ask(lambda core, now: core.acl.greylisted_peers(now)))

    def greylist_ips(self) -> Reply:
        def look(core: AnyCore, now: float) -> rpc.GreylistIps:
            since = core.acl.not_reliable_since
            wall = None if since is None else rpc.Timestamp(time.time() + since - now)
            return rpc.GreylistIps(core.acl.greylisted_addresses(now), wall)

        return self.json(self._node.ask(look))

    # -- streams -----------------------------------------------------------------------

    def log(self) -> Reply:
        self.watch.take()
        stream, lost, end = self.watch.events()

        def done() -> None:
            end()
            self.watch.give_back()

        return Reply(200, (), JSON, (), False, stream, lost, done)

    def _history(
        self, read: Callable[[AnyCore, float], tuple[Any, ...] | None], monitor: bool
    ) -> Reply:
        lines = self._node.ask(read)
        if lines is None or not monitor:
            return Reply(200, [self._written(lines or ())], JSON)
        self.watch.take()
        stream = self.watch.history(lambda: self._node.ask(read) or (), self._written)
        done = self.watch.give_back
        return Reply(200, (), JSON, sized=False, stream=stream, done=done)

    def _written(self, lines: Sequence[Any]) -> bytes:
        """Write lines of a history; their moments are monotonic."""
        clocks = self._node.ask(lambda _, now: Clocks(now, time.time()))
        return self.line([each._replace(at=clocks.wall_of(each.at)) for each in lines])


# -- looking ---------------------------------------------------------------------------


def _is_pending(core: AnyCore, link: int) -> bool:
    return link in core and link not in core.pool.running


def _give_up(link: int, core: AnyCore, now: float) -> bool:
    """End a dial that is still pending; say whether it was."""
    late = _is_pending(core, link)
    core.govern(lambda it: it.give_up(link), now)
    return late


def _point_info(at: Point, core: AnyCore, now: float) -> rpc.PointInfo | None:
    info = core.pool.known_points.get(at)
    return None if info is None else core.survey.point(info, now, time.time())


def _peer_info(at: PeerId, core: AnyCore, now: float) -> rpc.PeerInfo | None:
    info = core.pool.known_peers.get(at)
    return None if info is None else core.survey.peer(info, now, time.time())


@functools.cache
def _software() -> rpc.SoftwareVersion:
    numbers = importlib.metadata.version("tezos-p2p").split(".")
    found = [int(each) if each.isdecimal() else 0 for each in (*numbers, "0", "0")]
    return rpc.SoftwareVersion(*found[:3])
