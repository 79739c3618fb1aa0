"""What applications give to the drivers, checked before anything is made of it.

Whoever is wrong about an argument is told at once, by a `TypeError` that names it: not by
an `AttributeError` from the middle of a handshake, and not as a connection that ended.
Values that are of the right type but out of range are the business of what they are for;
points alone are looked at here, because their own constructor checks nothing.

Nothing here does I/O, and nothing here is called once per message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final, cast

from ..fsm.diversity import Diversity
from ..fsm.point import Backoff
from ..fsm.prefix import Prefix
from ..spec.address import Address, PointError
from ..spec.hello import ConnectionMetadata
from ..spec.identity import Identity, PeerId
from ..spec.limits import Limits
from ..spec.message import MessageCodec
from ..spec.point import DEFAULT_PORT, PORT_MAX, Point
from ..spec.version import Network

_ADDRESSES: Final = 1 << 128
Who = Address | Prefix | PeerId | Point


def wrong(name: str, wanted: str, value: object) -> TypeError:
    """Return the error for an argument that is of no use.

    It says of which type the value is, and not the value: that may be long, or secret.
    """
    return TypeError(f"{name} must be {wanted}, not {_article(type(value).__name__)}")


def _article(noun: str) -> str:
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


# -- peers and places ------------------------------------------------------------------


def check_point(point: object, name: str) -> Point:
    """Return a point as it is.

    Raises:
        TypeError: it is no `Point`, or one of a text or of another thing that is no port.
        PointError: its address or port is out of range.
    """
    if not isinstance(point, Point):
        raise wrong(name, "a Point", point)
    address, port = cast("tuple[object, object]", point)
    if not isinstance(address, Address):
        raise wrong(f"{name}: the address", "an Address", address)
    if type(port) is not int:
        raise wrong(f"{name}: the port", "an int", port)
    if not 0 <= port <= PORT_MAX or not 0 <= address < _ADDRESSES:
        raise PointError(f"{name}: address or port is out of range")
    return point


def point_at(where: Point | str, name: str, default_port: int | None = None) -> Point:
    """Return a point as it is, or the one that a text says.

    Raises:
        TypeError: it is neither.
        PointError: the text is no point.
    """
    if isinstance(where, str):
        return Point.parse(where, default_port)
    if not isinstance(cast("object", where), Point):
        raise wrong(name, "a Point or its text", where)
    return check_point(where, name)


def peer_at(who: PeerId | str, name: str = "peer_id") -> PeerId:
    """Return a peer id as it is, or the one that a text says.

    Raises:
        TypeError: it is neither.
        ValueError: the text is no peer id.
    """
    if isinstance(who, str):
        return PeerId.parse(who)
    if not isinstance(cast("object", who), PeerId):
        raise wrong(name, "a PeerId or its text", who)
    return who


def who_is(text: str) -> Who:
    """Say whom a text names: a peer id, a point, an address, or a prefix.

    Raises:
        ValueError: none of them.
    """
    for parse in (PeerId.parse, Address.parse, Prefix.parse, Point.parse):
        try:
            return parse(text)
        except ValueError:
            continue
    raise ValueError(f"{text[:80]!r} is no peer id, address, prefix or point")


def who_at(who: Who | str, name: str = "who") -> Who:
    """Return a peer id, a point, an address or a prefix as it is, or what a text names.

    Raises:
        TypeError: it is none of them.
        ValueError: the text is none of them.
    """
    if isinstance(who, str):
        return who_is(who)
    if isinstance(who, Point):
        return check_point(who, name)
    if not isinstance(cast("object", who), (Address, Prefix, PeerId)):
        raise wrong(name, "a PeerId, Point, Address or Prefix, or its text", who)
    return who


# -- what ends are made of -------------------------------------------------------------


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_port(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_codec(value: object) -> bool:
    parts = (getattr(value, name, None) for name in ("encode", "decode"))
    return (
        not isinstance(value, (type, MessageCodec))
        and all(map(callable, parts))
        and hasattr(getattr(value, "limits", None), "items")
    )


def _is(*kinds: type) -> Callable[[object], bool]:
    return lambda value: isinstance(value, kinds)


def _may_be(true: Callable[[object], bool]) -> Callable[[object], bool]:
    return lambda value: value is None or true(value)


#: Of each argument: whether it may be that, and what it is to be.
_RULES: Final[dict[str, tuple[Callable[[object], bool], str]]] = {
    "identity": (_is(Identity), "an Identity"),
    "network": (_is(Network), "a Network, such as spec.MAINNET"),
    "codec": (_is_codec, "the codec of the application's messages, such as RawCodec()"),
    "port": (_is_port, "an int"),
    "metadata": (_is(ConnectionMetadata), "a ConnectionMetadata"),
    "difficulty": (_is_number, "a number of bits"),
    "limits": (_is(Limits), "a Limits"),
    "joins": (_is(bool), "True or False"),
    "judge": (_may_be(callable), "callable, or None"),
    "on_event": (_may_be(callable), "callable, or None"),
    "private_mode": (_is(bool), "True or False"),
    "discovers": (_is(bool), "True or False"),
    "backoff": (_is(Backoff), "a Backoff"),
    "new_metadata": (callable, "callable"),
    "score": (callable, "callable"),
    "policy": (callable, "callable"),
    "shares": (_is(str), "'fair' or 'score'"),
    "diversity": (_may_be(_is(Diversity)), "a Diversity, or None"),
}


def check_ends(
    identity: object,
    network: object,
    codec: object,
    options: Mapping[str, object],
    known: Iterable[str],
) -> None:
    """Check what lone connections and nodes are made of.

    Args:
        identity: who we are.
        network: chain name and versions.
        codec: the application's messages.
        options: the others, by name.
        known: the names that there are.

    Raises:
        TypeError: an option of no such name, or anything that is not what it must be.
        ValueError: bandwidth is to be shared as nobody knows.
    """
    if unknown := options.keys() - set(known):
        raise TypeError(f"no such option: {', '.join(sorted(unknown))}")
    given = {"identity": identity, "network": network, "codec": codec, **options}
    for name, value in given.items():
        rule = _RULES.get(name)
        if rule is not None and not rule[0](value):
            raise wrong(name, rule[1], value)
    if (shares := options.get("shares", "fair")) not in ("fair", "score"):
        raise ValueError(f"shares must be 'fair' or 'score', not {shares!r:.80}")


def listed_points(peers: object) -> tuple[Point, ...]:
    """Return the points that an option lists, as points or text.

    Raises:
        TypeError: it is one text, or no points.
        PointError: a text is no point.
    """
    listed = cast("Iterable[Point | str]", _listed(peers, "peers", "points"))
    return tuple(point_at(each, "each of peers", DEFAULT_PORT) for each in listed)


def listed_trusted(trusted: object) -> tuple[tuple[Point, PeerId | None], ...]:
    """Return the points that an option trusts, and who is expected there.

    Raises:
        TypeError: they are not pairs of a point and a peer id, or None.
    """
    found: list[tuple[Point, PeerId | None]] = []
    for pair in _listed(trusted, "trusted", "pairs: Point, and PeerId or None"):
        match pair:
            case (Point() as point, (PeerId() | None) as expected):
                found.append((check_point(point, "each of trusted"), expected))
            case _:
                raise wrong(
                    "each of trusted", "a pair of Point and PeerId, or None", pair
                )
    return tuple(found)


def _listed(value: object, name: str, what: str) -> Iterable[object]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise wrong(name, f"{what}, in a list or alike", value)
    return cast("Iterable[object]", value)
