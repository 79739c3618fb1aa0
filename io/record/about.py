"""What the head and the state of a trace say of a node, and nodes made of that again.

The secret key is not among it: whoever replays a trace brings the identity.

Source: our own; the names of limits and settings are those of the modules that hold them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NoReturn, cast

import attrs

from ...fsm.acl import Acl, StaticLists
from ...fsm.diversity import Bounds, Diversity
from ...fsm.local import Local
from ...fsm.machine import compiled
from ...fsm.peer import PeerInfo
from ...fsm.point import Backoff, Meeting, PointInfo
from ...fsm.policy import FAIR
from ...fsm.pool import Pool
from ...fsm.prefix import Prefix
from ...fsm.settings import Settings
from ...spec.address import Address
from ...spec.convert import CONVERTER
from ...spec.hello import ConnectionMetadata
from ...spec.identity import Identity, PeerId
from ...spec.limits import Limits
from ...spec.message import MessageCodec
from ...spec.metadata import constant_score
from ...spec.point import Point
from ...spec.version import Network

#: Settings that are plain values.
_PLAIN: Final = ("shares", "private_mode", "discovers", "nearby", "listening")
#: What is known of a point, beside its name, that anything depends on.
_FLAGS: Final = ("trusted", "known_public", "last_failed", "retry_at", "_delay")
#: The same, of which traces of before do not tell; and what is supposed then.
_LATER: Final = {"named": True, "reached": None}
_MEETINGS: Final = ("last_rejected", "last_established", "last_disconnection")


# -- what a node is --------------------------------------------------------------------


def node_json(
    local: Local,
    codec: MessageCodec[Any],
    settings: Settings[Any],
    diversity: Diversity | None,
) -> dict[str, Any]:
    """Return what a node is, all of it public."""
    identity, trusted = local.identity, settings.trusted
    return {
        "peer_id": str(identity.peer_id),
        "public_key": identity.public_key.hex(),
        "proof_of_work_stamp": identity.proof_of_work_stamp.hex(),
        "network": CONVERTER.unstructure(local.network),
        "port": local.port,
        "metadata": CONVERTER.unstructure(local.metadata),
        "difficulty": local.difficulty,
        "limits": CONVERTER.unstructure(local.limits),
        "messages": {str(tag): most for tag, most in codec.application.limits.items()},
        "settings": {
            **{name: getattr(settings, name) for name in _PLAIN},
            "trusted": [
                [str(point), None if who is None else str(who)] for point, who in trusted
            ],
            "backoff": CONVERTER.unstructure(settings.backoff),
            # What is not known by name is asked, and its answers are recorded.
            "score": "constant" if settings.score is constant_score else "asked",
            "policy": "fair" if settings.policy is FAIR else "asked",
        },
        "diversity": None if diversity is None else _diversity_out(diversity),
    }


def _diversity_out(diversity: Diversity) -> dict[str, Any]:
    bounds = attrs.asdict(_field(diversity, "_bounds"))
    return {"bounds": bounds, "anchors": list(map(str, _field(diversity, "_kept")))}


def _field(of: Any, name: str) -> Any:
    return getattr(of, name)


def _not_asked(*_: object) -> NoReturn:
    raise AssertionError("answered by the trace")


@attrs.frozen
class _Payloads:
    """A codec that has nothing but the limits of another; the trace has the rest."""

    limits: dict[int, int]
    encode = decode = staticmethod(_not_asked)


@attrs.frozen
class Made:
    """What a node can be made of.

    Attributes:
        local: keys, versions, limits.
        codec: the limits of the application's messages.
        settings: the rest; what is random is not answered here.
        diversity: who may fill the slots.
    """

    local: Local
    codec: MessageCodec[Any]
    settings: Settings[Any]
    diversity: Diversity | None


def node_of(fields: Any, identity: Identity) -> Made:
    """Return what a node was made of.

    Args:
        fields: what `node_json` gave.
        identity: the node's own.

    Raises:
        ValueError: fields are missing or wrong; also KeyError, TypeError, or any other.
    """
    limits = dict(fields["limits"])
    for name in ("max_known_points", "max_known_peer_ids"):
        if limits[name] is not None:
            limits[name] = tuple(limits[name])
    network = fields["network"]
    local = Local(
        identity=identity,
        network=Network(
            network["chain_name"],
            tuple(network["distributed_db_versions"]),
            tuple(network["p2p_versions"]),
        ),
        random_bytes=cast("Callable[[int], bytes]", _not_asked),
        port=fields["port"],
        metadata=ConnectionMetadata(**fields["metadata"]),
        difficulty=fields["difficulty"],
        limits=Limits(**limits),
        runner=compiled,
    )
    tags = {int(tag): most for tag, most in fields["messages"].items()}
    given = fields["settings"]
    known = {
        "score": {"constant": constant_score, "asked": _not_asked}[given["score"]],
        "policy": {"fair": FAIR, "asked": _not_asked}[given["policy"]],
    }
    settings = Settings[Any](
        new_metadata=lambda: None,
        random=cast("Callable[[], float]", _not_asked),
        random_inside=cast("Callable[[], float]", _not_asked),
        trusted=tuple(
            (Point.parse(point), None if who is None else PeerId.parse(who))
            for point, who in given["trusted"]
        ),
        backoff=Backoff(**given["backoff"]),
        **{name: given[name] for name in _PLAIN},
        **cast("dict[str, Any]", known),
    )
    diverse, diversity = fields["diversity"], None
    if diverse is not None:
        anchors = tuple(map(Point.parse, diverse["anchors"]))
        diversity = Diversity(Bounds(**diverse["bounds"]), anchors=anchors)
    return Made(local, MessageCodec(cast("Any", _Payloads(tags))), settings, diversity)


# -- what it knows before it starts ----------------------------------------------------


def state_json(pool: Pool[Any], acl: Acl) -> dict[str, Any]:
    """Return what a node knows that has no links yet."""
    static = acl.static
    return {
        "news": pool.news,
        "points": [_point_out(info) for info in pool.known_points.values()],
        "peers": [
            [str(info.peer_id), info.created, info.trusted]
            for info in pool.known_peers.values()
        ],
        "own": list(map(str, _field(pool, "_own"))),
        "banned": list(map(str, static.banned)),
        "banned_peers": list(map(str, static.banned_peers)),
        "allowed": list(map(str, static.allowed)),
        "greylisted": [
            [str(Address(int.from_bytes(key, "big"))), at]
            for key, at in _offences(acl, "_grey").items()
        ],
        "greylisted_peers": [
            [str(PeerId(key)), at] for key, at in _offences(acl, "_grey_peers").items()
        ],
    }


def _offences(acl: Acl, name: str) -> dict[bytes, float]:
    offences: dict[bytes, float] = _field(_field(acl, name), "_last")
    return offences


def _point_out(info: PointInfo) -> dict[str, Any]:
    fields = {name: getattr(info, name) for name in (*_FLAGS, *_LATER)}
    for name in _MEETINGS:
        meeting: Meeting | None = getattr(info, name)
        fields[name] = None if meeting is None else [str(meeting.peer_id), meeting.at]
    expected = None if info.expected is None else str(info.expected)
    return {"point": str(info.point), "expected": expected, **fields}


def restore_state(pool: Pool[Any], acl: Acl, fields: Any) -> None:
    """Let a node that has no links know what `state_json` gave, and nothing else.

    Raises:
        ValueError: fields are missing or wrong; also KeyError, TypeError, or any other.
    """
    pool.known_points.clear()
    pool.known_peers.clear()
    for entry in fields["points"]:
        _restore_point(pool, entry)
    runner, new_metadata = _field(pool, "_runner"), _field(pool, "_new_metadata")
    for text, created, trusted in fields["peers"]:
        who = PeerId.parse(text)
        info = PeerInfo[Any](who, created, new_metadata(), trusted, runner=runner)
        pool.known_peers[who] = info
    _field(pool, "_own").clear()
    for text in fields["own"]:
        pool.add_own_point(Point.parse(text))
    pool.news = fields["news"]
    restore_lists(acl, fields)


def _restore_point(pool: Pool[Any], entry: Any) -> None:
    point, backoff = Point.parse(entry["point"]), _field(pool, "_backoff")
    info = PointInfo(point, backoff=backoff, runner=_field(pool, "_runner"))
    for name in _FLAGS:
        setattr(info, name, entry[name])
    for name, before in _LATER.items():
        setattr(info, name, entry.get(name, before))
    for name in _MEETINGS:
        if entry[name] is not None:
            who, at = entry[name]
            setattr(info, name, Meeting(PeerId.parse(who), at))
    if entry["expected"] is not None:
        info.expected = PeerId.parse(entry["expected"])
    pool.known_points[point] = info


def restore_lists(acl: Acl, fields: Any) -> None:
    """Give access lists what `state_json` says of them.

    Raises:
        ValueError: fields are missing or wrong; also KeyError, TypeError, or any other.
    """
    acl.clear_greylists()
    acl.restore(
        StaticLists(
            tuple(map(Prefix.parse, fields["banned"])),
            tuple(map(PeerId.parse, fields["banned_peers"])),
            tuple(map(Prefix.parse, fields["allowed"])),
        )
    )
    for text, at in fields["greylisted"]:
        _offences(acl, "_grey")[Address.parse(text).packed] = at
    for text, at in fields["greylisted_peers"]:
        _offences(acl, "_grey_peers")[bytes(PeerId.parse(text))] = at
