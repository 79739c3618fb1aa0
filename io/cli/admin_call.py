"""What the commands of ``tezos-p2p admin`` have in common: options, calls, errors.

An error of the node, or on the way to it, ends in 1, with nothing on standard output and
on standard error ``Error:`` and the text, indented, as the reference's client does it.
With ``--json``, which that client has not, the text is on standard output, too, as the
member ``error`` of an object; but for ``watch`` and ``top``, whose objects are of many.
So does a command line that is wrong, with an empty line and the usage behind it: unlike
all other commands of ours, for scripts that know the reference's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeVar

import attrs
from cyclopts import App, CycloptsError, Parameter

from ...spec.address import PointError
from ...spec.identity import PeerId
from ...spec.point import DEFAULT_PORT, Point, bracketed
from ...spec.rpc import Generation
from ..admin_endpoint import DEFAULT_ENDPOINT, Endpoint
from .exits import Exit
from .network import Seconds, checked
from .output import tell_json
from .start import remark
from .usage import ENDPOINT_ENV, Misuse, check_filled, said

if TYPE_CHECKING:
    from ..admin_calls import Admin

T = TypeVar("T")


class Failed(Exception):
    """The node could not be asked, or has refused.

    Attributes:
        lines: why, for people.
    """

    def __init__(self, lines: Sequence[str]) -> None:
        super().__init__(*lines)
        self.lines = tuple(lines)


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

#: Commands whose objects each tell one thing of many: an error is none of these.
_STREAMS: Final = ("watch", "top")
#: Beginnings of commands, after which more has to come.
_BEGINNINGS: Final = frozenset(
    {
        *("p2p", "connect", "kick", "ban", "unban", "trust", "untrust", "clear"),
        *("", "is", "is address", "is peer"),
    }
)


def parse_address(text: str) -> Point:
    """Read an address of a command line.

    Raises:
        PointError: says what is wrong.
    """
    if "/" in text:
        raise PointError(
            f"{text[:64]!r} is a prefix: the admin interface takes single addresses; "
            "prefixes are for acl.json of a node of ours"
        )
    if "#" in text:
        raise PointError(f"{text[:64]!r} names a peer: an address alone is wanted")
    try:
        return Point.parse(bracketed(text), DEFAULT_PORT)
    except PointError as exc:
        if str(exc).startswith("port "):
            raise
        what = f"{text[:64]!r} is not of the form 1.2.3.4[:PORT] or [IPv6][:PORT]"
        raise PointError(what) from None


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
        Misuse: the command is only begun.
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
    words = " ".join(_words(rest))
    if words in _BEGINNINGS:
        # Not help and success: nothing was done.
        named = f"tezos-p2p admin {words}".rstrip()
        raise Misuse(f"{named}: more words are wanted (see: {named} --help)")
    cut = rest.index("--") if "--" in rest else len(rest)
    return ["admin", *rest[:cut], *front, *rest[cut:]]


def _words(arguments: Sequence[str]) -> list[str]:
    """Return what is left of a command line without the options that all have."""
    found: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        name, equals, _ = argument.partition("=")
        if name not in _BEFORE:
            found.append(argument)
        elif _BEFORE[name] and not equals:
            next(rest, None)  # its value
    return found


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
        raise Failed(exc.lines) from None
    tell(result)
    return Exit.OK


def run_admin(app: App, arguments: Sequence[str]) -> Exit:
    """Do what a command line says that begins with ``admin``.

    Raises:
        CommandError: it could not be done.
    """
    cut = arguments.index("--") if "--" in arguments else len(arguments)
    words = _words(arguments[1:cut])
    as_json = "--json" in arguments[:cut] and (not words or words[0] not in _STREAMS)
    usage: Sequence[str] = _USAGE.splitlines()
    try:
        check_filled(arguments)
        code: Exit | None = app(hoisted(arguments))
    except Failed as exc:
        lines, usage = exc.lines, ()
    except CycloptsError as exc:
        lines = (said(exc, arguments),)
    except Misuse as exc:
        lines = (str(exc),)
    else:
        return Exit.OK if code is None else code
    tell_error(lines, usage)
    if as_json:
        tell_json({"error": "\n".join(line.strip() for line in lines)})
    return Exit.FAILED


def tell_error(lines: Sequence[str], usage: Sequence[str] = ()) -> None:
    """Print an error as the reference's client does."""
    remark("Error:")
    for line in lines:
        remark(f"  {line}")
    for line in usage:
        remark(line)
