"""What an administrator asks of a node, of either generation.

=================  ================================  ===================================
asked              2026                              2019
=================  ================================  ===================================
everything known   GET full_stat                     GET stat, connections, peers, points
a connection       PUT points/A?timeout=10.          the same
its end            DELETE connections/P              the same
ban ... untrust    PATCH points/A, peers/P           GET points/A/ban, peers/P/ban ...
whether banned     GET points/A/banned, peers/...    the same
lists emptied      DELETE greylist                   GET greylist/clear
=================  ================================  ===================================

An address is banned as port 0 of it, on which most nodes know no point; a reference node
of 2026 then bans, and answers 404 all the same.  So does one that is asked to ban a peer
that it does not know.  After such an answer it is asked how things stand.

Only our own nodes have ``/network/status``, and can empty the greylist but not the bans.

Source: an admin client and a node of 2019, observed; the reference's admin interface,
2026.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncGenerator, Callable
from typing import Any, Final, TypeVar, cast

import attrs

from ..spec.convert import ShapeError
from ..spec.identity import PeerId
from ..spec.point import Point
from ..spec.rpc import (
    AclChange,
    ConnectionInfo,
    FullStat,
    Generation,
    GreylistIps,
    PeerChange,
    PeerInfo,
    Peers,
    PointChange,
    PointInfo,
    Points,
    Stat,
)
from ..spec.status import Listed, Status
from .admin_client import (
    AdminError,
    BadAnswer,
    Client,
    NodeError,
    NoSuchService,
    NotAllowed,
)
from .rpc import RPC

T = TypeVar("T")

#: What our own nodes call themselves in their answer to ``GET /health``.
IMPLEMENTATION: Final = "tezos-p2p"
#: Seconds that a node may take to connect.
CONNECT_TIMEOUT: Final = 10.0
#: Faults of one answer that are told.
_FAULTS_TOLD: Final = 3

_CONNECTED: Final = "node.p2p_pool.connected"
_PENDING: Final = "node.p2p_pool.pending_connection"


class Rule(enum.Enum):
    """What becomes of an address or a peer; the value is the verb of commands."""

    BAN = "ban"
    UNBAN = "unban"
    TRUST = "trust"
    UNTRUST = "untrust"

    @property
    def change(self) -> AclChange:
        """As PATCH tells it, which has one word for both ways back."""
        if self is Rule.BAN:
            return AclChange.BAN
        return AclChange.TRUST if self is Rule.TRUST else AclChange.OPEN


class Connected(enum.Enum):
    """What has come of the wish for a connection."""

    ESTABLISHED = "established"
    ALREADY_CONNECTED = "already connected"
    ALREADY_CONNECTING = "already connecting"


@attrs.frozen
class Admin:
    """Administrates one node.  Whatever goes wrong is an `AdminError`.

    Attributes:
        client: asks it.
    """

    client: Client

    @property
    def generation(self) -> Generation:
        """Of the node's interface."""
        return self.client.generation

    async def recognise(self, generation: Generation | None) -> None:
        """Find out which generation the node is of, unless that is said.

        Nodes of 2019 have no ``/version``, later ones no ``/network/version``.
        """
        if generation is None:
            generation = await self._generation()
        self.client.generation = generation

    async def _generation(self) -> Generation:
        try:
            version = await self._get("/version")
        except NotAllowed:
            return Generation.G2026  # the older have no such rules
        except NoSuchService:
            pass
        else:
            if "network_version" not in _object(version):
                uri = self.client.endpoint.uri("/version")
                raise BadAnswer(f"GET {uri}: the answer is not that of a Tezos node")
            return Generation.G2026
        try:
            await self._get("/network/version")
        except NoSuchService:
            raise BadAnswer(
                f"{self.client.endpoint}: no Tezos node: it serves neither /version nor "
                "/network/version"
            ) from None
        return Generation.G2019

    # -- looking -----------------------------------------------------------------------

    async def stat(self) -> FullStat:
        """Return everything that the node knows."""
        if self.generation is Generation.G2026:
            return await self._read("/network/full_stat", FullStat)
        stat = await self._read("/network/stat", Stat)
        connections = await self._read("/network/connections", list[ConnectionInfo])
        peers = await self._read("/network/peers", Peers)
        points = await self._read("/network/points", Points)
        return FullStat(
            stat,
            [each for each in connections if each.incoming],
            [each for each in connections if not each.incoming],
            peers,
            points,
        )

    async def is_address_banned(self, point: Point) -> bool:
        """Tell whether the address of a point is banned; the port does not matter."""
        return await self._read(f"{_point_path(point)}/banned", bool)

    async def is_peer_banned(self, peer_id: PeerId) -> bool:
        """Tell whether a peer is banned."""
        return await self._read(f"{_peer_path(peer_id)}/banned", bool)

    async def greylist(self) -> Listed | None:
        """Return how many are greylisted; None: the node does not tell."""
        if self.generation is Generation.G2019:
            return None
        try:
            ips = await self._read("/network/greylist/ips", GreylistIps)
            peers = await self._read("/network/greylist/peers", list[PeerId])
        except (NoSuchService, NotAllowed):
            return None
        return Listed(len(ips.ips), len(peers))

    async def status(self) -> Status | None:
        """Return how full the node is; None: it does not tell, only ours do."""
        try:
            return await self._read("/network/status", Status)
        except (NoSuchService, NotAllowed):
            return None

    async def events(
        self, on_open: Callable[[], object] = lambda: None
    ) -> AsyncGenerator[dict[str, Any]]:
        """Yield what the node tells of itself from now on, as it is in JSON.

        Args:
            on_open: called when there is a stream.
        """
        async for document in self.client.documents("/network/log", on_open):
            event = _object(document)
            if not isinstance(event.get("event"), str):
                uri = self.client.endpoint.uri("/network/log")
                raise BadAnswer(f"GET {uri}: told what is no event of a node")
            yield event

    # -- doing -------------------------------------------------------------------------

    async def connect(self, point: Point) -> Connected:
        """Have the node connect to a point; returns when it has."""
        path = f"{_point_path(point)}?timeout={CONNECT_TIMEOUT:g}."
        try:
            await self.client.ask("PUT", path, "{}", patience=CONNECT_TIMEOUT)
        except NodeError as exc:
            # The older clients call it an error.
            if self.generation is Generation.G2026 and _CONNECTED in exc.ids:
                return Connected.ALREADY_CONNECTED
            if self.generation is Generation.G2026 and _PENDING in exc.ids:
                return Connected.ALREADY_CONNECTING
            raise
        return Connected.ESTABLISHED

    async def kick(self, peer_id: PeerId) -> None:
        """Have the node end its connection to a peer; fine if there is none."""
        await self.client.ask("DELETE", f"/network/connections/{peer_id}")

    async def rule_address(self, rule: Rule, point: Point) -> None:
        """Change what becomes of an address (ban, unban), or of one point of it."""
        if rule in (Rule.BAN, Rule.UNBAN):
            point = Point(point.address, 0)
        change = PointChange(acl=rule.change)
        path = _point_path(point)
        try:
            await self._rule(rule, path, change)
        except NoSuchService:
            if self.generation is Generation.G2019 or not await self._holds(
                rule, path, PointInfo
            ):
                raise

    async def rule_peer(self, rule: Rule, peer_id: PeerId) -> None:
        """Change what becomes of a peer."""
        path = _peer_path(peer_id)
        try:
            await self._rule(rule, path, PeerChange(acl=rule.change))
        except NoSuchService:
            if self.generation is Generation.G2019 or not await self._holds(
                rule, path, PeerInfo
            ):
                raise

    async def clear(self) -> None:
        """Empty all lists: who is greylisted, and who is banned."""
        if self.generation is Generation.G2019:
            await self._get("/network/greylist/clear")
        else:
            await self.client.ask("DELETE", "/network/greylist")

    async def clear_greylists(self) -> None:
        """Empty the greylist; bans stay.  Only our own nodes can."""
        try:
            health = await self._get("/health")
        except (NoSuchService, NotAllowed, BadAnswer):
            health = None
        if _object(health).get("implementation") != IMPLEMENTATION:
            raise AdminError(
                f"{self.client.endpoint}: only nodes of {IMPLEMENTATION} can clear the "
                "greylists and keep the bans, and this is none; clear acls clears both"
            )
        if self.generation is Generation.G2019:
            await self._get("/network/greylist/clear?keep_bans")
        else:
            await self.client.ask("DELETE", "/network/greylist?keep_bans")

    # -- below -------------------------------------------------------------------------

    async def _rule(self, rule: Rule, path: str, change: object) -> None:
        if self.generation is Generation.G2019:
            await self._get(f"{path}/{rule.value}")
        else:
            body = RPC[self.generation].text(change)
            await self.client.ask("PATCH", path, body)

    async def _holds(
        self, rule: Rule, path: str, kind: type[PointInfo | PeerInfo]
    ) -> bool:
        """Tell whether things stand as a rule wants them, whatever was answered."""
        if rule in (Rule.BAN, Rule.UNBAN):
            banned = await self._read(f"{path}/banned", bool)
            return banned is (rule is Rule.BAN)
        try:
            info: PointInfo | PeerInfo = await self._read(path, kind)
        except NoSuchService:
            return rule is Rule.UNTRUST  # who is not known is not trusted
        return info.trusted is (rule is Rule.TRUST)

    async def _get(self, path: str) -> Any:
        return await self.client.ask("GET", path)

    async def _read(self, path: str, kind: type[T]) -> T:
        return self._shaped(await self._get(path), kind, path)

    def _shaped(self, document: object, kind: type[T], path: str) -> T:
        name = f"GET {self.client.endpoint.uri(path)}: the answer"
        try:
            return RPC[self.generation].shape(document, kind, name)
        except ShapeError as exc:
            told = exc.faults[:_FAULTS_TOLD]
            more = len(exc.faults) - len(told)
            text = "; ".join(told) + (f"; and {more} more faults" if more else "")
            raise BadAnswer(text) from None


def _object(document: object) -> dict[str, Any]:
    """Return a JSON object; an empty one in place of anything else."""
    return cast("dict[str, Any]", document) if isinstance(document, dict) else {}


def _point_path(point: Point) -> str:
    # Nothing but the brackets, as the reference's client does it.
    text = str(point).replace("[", "%5B").replace("]", "%5D")
    return f"/network/points/{text}"


def _peer_path(peer_id: PeerId) -> str:
    return f"/network/peers/{peer_id}"
