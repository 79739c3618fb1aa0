"""``tezos-p2p admin``: who is banned and who is trusted; the words are the reference's.

``untrust`` of the 2026 interface unbans too, and ``unban`` untrusts: it has one word for
both ways back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from cyclopts import App

from ...spec.identity import PeerId
from ...spec.point import Point
from .admin_call import Address, NodeOptions, Peer, call, parse_address
from .exits import Exit
from .output import AsJson, tell, tell_json

if TYPE_CHECKING:
    from ..admin_calls import Admin

#: Characters of a peer id that are said.
_SHORT: Final = 12

#: Verb, what has come of it, help for the address and for the peer.
_RULES: Final = (
    ("ban", "banned", "Ban an address, whatever the port.", "Ban a peer."),
    ("unban", "unbanned", "Lift the ban of an address.", "Lift the ban of a peer."),
    ("trust", "trusted", "Trust an address and port.", "Trust a peer."),
    (
        "untrust",
        "untrusted",
        "Trust an address and port no more.",
        "Trust a peer no more.",
    ),
)


def add(admin: App) -> None:
    """Register the commands."""
    for verb, done, of_address, of_peer in _RULES:
        group = App(name=verb, help=f"{verb.capitalize()} an address or a peer.")
        group.command(_address_rule(verb, done), name="address", help=of_address)
        group.command(_peer_rule(verb, done), name="peer", help=of_peer)
        admin.command(group)
    asking = App(name="is", help="Ask whether an address or a peer is banned.")
    for name, ask in (("address", is_address_banned), ("peer", is_peer_banned)):
        group = App(name=name, help=f"Ask about one {name}.")
        group.command(ask, name="banned")
        asking.command(group)
    admin.command(asking)
    clear = App(name="clear", help="Empty lists.")
    clear.command(clear_acls, name="acls")
    clear.command(clear_greylists, name="greylists")
    admin.command(clear)


def _host(point: Point) -> str:
    return str(point.address) if point.address.is_v4 else f"[{point.address}]"


def _address_rule(verb: str, done: str) -> Callable[..., Exit]:
    def rule(
        address: Address,
        /,
        *,
        node: NodeOptions | None = None,
        as_json: AsJson = False,
    ) -> Exit:
        """Change a rule.

        Args:
            address: of the form 1.2.3.4:PORT or [IPv6]:PORT; the port is 9732 unless
                given.
            node: which node.
            as_json: print one JSON object.
        """
        point = parse_address(address)
        shown = f"{_host(point)}:*" if verb in ("ban", "unban") else str(point)

        async def work(admin: Admin) -> None:
            from ..admin_calls import Rule

            await admin.rule_address(Rule(verb), point)

        def told(_: None) -> None:
            if as_json:
                tell_json({"address": shown, "now": done})
            else:
                tell(f"Address {shown} is now {done}.")

        return call(node, work, told)

    return rule


def _peer_rule(verb: str, done: str) -> Callable[..., Exit]:
    def rule(
        peer: Peer,
        /,
        *,
        node: NodeOptions | None = None,
        as_json: AsJson = False,
    ) -> Exit:
        """Change a rule.

        Args:
            peer: its peer id.
            node: which node.
            as_json: print one JSON object.
        """
        peer_id = PeerId.parse(peer)

        async def work(admin: Admin) -> None:
            from ..admin_calls import Rule

            await admin.rule_peer(Rule(verb), peer_id)

        def told(_: None) -> None:
            if as_json:
                tell_json({"peer_id": str(peer_id), "now": done})
            else:
                tell(f"The peer {str(peer_id)[:_SHORT]} is now {done}.")

        return call(node, work, told)

    return rule


def is_address_banned(
    address: Address, /, *, node: NodeOptions | None = None, as_json: AsJson = False
) -> Exit:
    """Ask whether an address is banned; one that is trusted with this port is not.

    Args:
        address: of the form 1.2.3.4:PORT or [IPv6]:PORT; the port is 9732 unless given.
        node: which node.
        as_json: print one JSON object.
    """
    point = parse_address(address)

    async def work(admin: Admin) -> bool:
        return await admin.is_address_banned(point)

    return call(node, work, _verdict("ip address", {"address": str(point)}, as_json))


def is_peer_banned(
    peer: Peer, /, *, node: NodeOptions | None = None, as_json: AsJson = False
) -> Exit:
    """Ask whether a peer is banned.

    Args:
        peer: its peer id.
        node: which node.
        as_json: print one JSON object.
    """
    peer_id = PeerId.parse(peer)

    async def work(admin: Admin) -> bool:
        return await admin.is_peer_banned(peer_id)

    return call(node, work, _verdict("peer ID", {"peer_id": str(peer_id)}, as_json))


def _verdict(what: str, who: dict[str, Any], as_json: bool) -> Callable[[bool], None]:
    def told(banned: bool) -> None:
        if as_json:
            tell_json({**who, "banned": banned})
        else:
            tell(f"The given {what} is {'' if banned else 'not '}banned")

    return told


def clear_acls(*, node: NodeOptions | None = None, as_json: AsJson = False) -> Exit:
    """Empty all lists: the greylists, and all bans.  Trust stays.

    Args:
        node: which node.
        as_json: print one JSON object.
    """

    async def work(admin: Admin) -> None:
        await admin.clear()

    return call(node, work, _cleared("access control rules", as_json))


def clear_greylists(*, node: NodeOptions | None = None, as_json: AsJson = False) -> Exit:
    """Empty the greylists; bans stay.  Only nodes of tezos-p2p can do that.

    Args:
        node: which node.
        as_json: print one JSON object.
    """

    async def work(admin: Admin) -> None:
        await admin.clear_greylists()

    return call(node, work, _cleared("greylists", as_json))


def _cleared(what: str, as_json: bool) -> Callable[[None], None]:
    def told(_: None) -> None:
        if as_json:
            tell_json({"cleared": what})
        else:
            tell(f"The {what} are now cleared.")

    return told
