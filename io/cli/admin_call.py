"""What the commands of ``tezos-p2p admin`` have in common: options, calls, errors.

An error of the node, or on the way to it, ends in 1, with nothing on standard output and
on standard error ``Error:`` and the text, indented, as the reference's client does it.
So does a command line that is wrong, with an empty line and the usage behind it: unlike
all other commands of ours, for scripts that know the reference's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeVar

import attrs
from cyclopts import App, CycloptsError, Parameter

from ...spec.identity import PeerId
from ...spec.point import DEFAULT_PORT, Point
from ...spec.rpc import Generation
from ..admin_endpoint import DEFAULT_ENDPOINT, Endpoint
from .exits import Exit
from .network import Seconds, checked
from .start import remark

if TYPE_CHECKING:
    from ..admin_calls import Admin

T = TypeVar("T")

ENDPOINT_ENV: Final = "TEZOS_P2P_ENDPOINT"
_GENERATIONS: Final = {
    "auto": None,
    "2019": Generation.G2019,
    "2026": Generation.G2026,
}
#: Options of all these commands that may stand before the command; True: with a value.
_BEFORE: Final = {
    "--endpoint": True,
    "--generation": True,
    "--timeout": True,
    "--json": False,
}

_USAGE: Final = """
Usage:
  tezos-p2p admin [options] COMMAND [options]
  tezos-p2p admin --help (for a list of commands)
  tezos-p2p admin COMMAND --help (for one of them)

Options of all commands:
  --endpoint: http://HOST:PORT, https://HOST:PORT or unix:PATH of the admin interface
  --generation: auto, 2019 or 2026
  --timeout: seconds that the node may take to answer
  --json: print JSON"""

#: Beginnings of commands, after which more has to come.
_BEGINNINGS: Final = frozenset(
    {
        *("p2p", "connect", "kick", "ban", "unban", "trust", "untrust", "clear"),
        *("is", "is address", "is peer"),
    }
)


class Unfinished(Exception):
    """A command of which only the beginning is there."""


def parse_address(text: str) -> Point:
    """Read an address of a command line.

    Raises:
        PointError: says what is wrong.
    """
    return Point.parse(text, DEFAULT_PORT)


Address = Annotated[str, checked(parse_address)]
Peer = Annotated[str, checked(PeerId.parse)]
MaybeAddress = Annotated[str | None, checked(parse_address)]
MaybePeer = Annotated[str | None, checked(PeerId.parse)]


@Parameter(name="*")
@attrs.frozen
class NodeOptions:
    """Which node is asked, and how.

    Attributes:
        endpoint: where its admin interface is: http://HOST:PORT, https://HOST:PORT or
            unix:PATH.
        generation: of its interface: 2019, 2026, or found out by asking.
        timeout: seconds that it may take to answer.
    """

    endpoint: Annotated[str, Parameter(env_var=ENDPOINT_ENV), checked(Endpoint.parse)] = (
        DEFAULT_ENDPOINT
    )
    generation: Literal["auto", "2019", "2026"] = "auto"
    timeout: Seconds = 30.0


def hoisted(arguments: Sequence[str]) -> list[str]:
    """Let options stand before the command, too: put them behind it.

    Raises:
        Unfinished: the command is only begun.
    """
    front: list[str] = []
    rest = list(arguments[1:])
    while rest:
        name, _, value = rest[0].partition("=")
        takes = _BEFORE.get(name)
        if takes is None:
            break
        count = 2 if takes and not value and "=" not in rest[0] else 1
        front += rest[:count]
        rest = rest[count:]
    if " ".join(rest) in _BEGINNINGS:
        # Not help and success, as for commands that only look.
        named = " ".join(("tezos-p2p admin", *rest))
        raise Unfinished(f"{named}: more words are wanted (see: {named} --help)")
    cut = rest.index("--") if "--" in rest else len(rest)
    # Without a command there is only help to show.
    return ["admin", *rest[:cut], *front, *rest[cut:]] if rest else ["admin"]


def call(
    node: NodeOptions | None,
    work: Callable[[Admin], Awaitable[T]],
    tell: Callable[[T], object],
) -> Exit:
    """Do something with a node, and tell what has come of it.

    Args:
        node: which.
        work: what to do.
        tell: prints its result.
    """
    # Here, for only these commands have to wait until it is loaded.
    from ..admin_calls import Admin
    from ..admin_client import AdminError, open_client

    options = NodeOptions() if node is None else node

    async def run() -> T:
        endpoint = Endpoint.parse(options.endpoint)
        async with open_client(endpoint, options.timeout) as client:
            admin = Admin(client)
            await admin.recognise(_GENERATIONS[options.generation])
            return await work(admin)

    try:
        result = asyncio.run(run())
    except AdminError as exc:
        tell_error(exc.lines)
        return Exit.FAILED
    tell(result)
    return Exit.OK


def run_admin(app: App, arguments: Sequence[str]) -> Exit:
    """Do what a command line says that begins with ``admin``.

    Raises:
        CommandError: it could not be done.
    """
    try:
        code: Exit | None = app(hoisted(arguments))
    except (CycloptsError, Unfinished) as exc:
        return tell_usage(str(exc))
    return Exit.OK if code is None else code


def tell_usage(text: str) -> Exit:
    """Print what is wrong with a command line, as the reference's client does."""
    tell_error([text])
    for line in _USAGE.splitlines():
        remark(line)
    return Exit.FAILED


def tell_error(lines: Sequence[str]) -> None:
    """Print an error as the reference's client does."""
    remark("Error:")
    for line in lines:
        remark(f"  {line}")
