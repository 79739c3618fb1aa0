"""``tezos-p2p admin``: the client side of a node's admin interface.

The commands, their words and their outputs are those of the reference's admin client;
``watch``, ``top`` and ``clear greylists`` are ours.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from cyclopts import App, Parameter

from ...spec.identity import PeerId
from ...spec.rpc import FullStat, Generation
from ..rpc import RPC
from . import admin_rules, admin_top, admin_watch
from .admin_call import Address, NodeOptions, Peer, call, parse_address
from .admin_stat import stat_lines
from .exits import Exit
from .output import AsJson, tell, tell_json, tell_styled
from .start import remark

_HELP: Final = """Look after a node by its admin interface.

The options --endpoint, --generation, --timeout and --json may stand before the command,
too.  Exit codes: 0 done, 1 the node or the way to it failed, or wrong usage.
"""

NoColor = Annotated[bool, Parameter(name="--no-color", show_default=False)]


def add(app: App) -> None:
    """Register the commands of this group."""
    admin = App(name="admin", help=_HELP)
    p2p = App(name="p2p", help="Look at the peer-to-peer layer.")
    p2p.command(stat)
    admin.command(p2p)
    connect = App(name="connect", help="Have the node connect.")
    connect.command(connect_address, name="address")
    admin.command(connect)
    kick = App(name="kick", help="Have the node end a connection.")
    kick.command(kick_peer, name="peer")
    admin.command(kick)
    admin_rules.add(admin)
    admin.command(admin_watch.watch)
    admin.command(admin_top.top)
    app.command(admin)


def stat(
    *,
    node: NodeOptions | None = None,
    no_color: NoColor = False,
    as_json: AsJson = False,
) -> Exit:
    """Show bytes, connections, peers and points.

    Signs: ⚌ runs, ⚎ is dialled or awaits an answer, ⚍ is accepted, ⚏ is not here,
    ★ is trusted.

    Args:
        node: which node.
        no_color: no colours on a terminal, either.
        as_json: print one JSON object.
    """

    async def work(admin: Any) -> tuple[FullStat, Generation]:
        return await admin.stat(), admin.generation

    def told(found: tuple[FullStat, Generation]) -> None:
        full, generation = found
        if as_json:
            tell_json(RPC[generation].data(full))
        else:
            tell_styled(stat_lines(full, generation), plain=no_color)

    return call(node, work, told)


def connect_address(
    address: Address,
    /,
    *,
    node: NodeOptions | None = None,
    as_json: AsJson = False,
) -> Exit:
    """Have the node connect to an address; wait until it has.

    Args:
        address: of the form 1.2.3.4:PORT or [IPv6]:PORT; the port is 9732 unless given.
        node: which node.
        as_json: print one JSON object.
    """
    point = parse_address(address)

    async def work(admin: Any) -> Any:
        return await admin.connect(point)

    def told(result: Any) -> None:
        if as_json:
            tell_json({"point": str(point), "connection": result.value})
        elif result.value == "established":
            tell(f"Connection to {point} established.")
        else:
            # A warning, in the reference's words.
            remark(f"{result.value.capitalize()} to peer {point}")

    return call(node, work, told)


def kick_peer(
    peer: Peer, /, *, node: NodeOptions | None = None, as_json: AsJson = False
) -> Exit:
    """Have the node end its connection to a peer; fine if there is none.

    Args:
        peer: its peer id.
        node: which node.
        as_json: print one JSON object.
    """
    peer_id = PeerId.parse(peer)

    async def work(admin: Any) -> None:
        await admin.kick(peer_id)

    def told(_: None) -> None:
        if as_json:
            tell_json({"peer_id": str(peer_id), "connection": "interrupted"})
        else:
            tell(f"Connection to {peer_id} interrupted.")

    return call(node, work, told)
