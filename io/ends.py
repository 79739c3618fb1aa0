"""What the ends of both real drivers have in common: options, errors, arguments.

Nothing here does I/O.
"""

from __future__ import annotations

import functools
import os
import sys
from typing import Any, Final, Generic, TypedDict, TypeVar, cast

from ..fsm.connection import Connection as Machine
from ..fsm.local import Local
from ..fsm.solo import Judge, Solo
from ..spec.address import PointError
from ..spec.events import Remote
from ..spec.hello import ConnectionMetadata
from ..spec.identity import DEFAULT_DIFFICULTY, Identity, PeerId
from ..spec.limits import Limits
from ..spec.message import ApplicationCodec, MessageCodec
from ..spec.motive import Motive
from ..spec.point import DEFAULT_PORT, Endpoint, Point
from ..spec.reasons import Disconnection, Reason
from ..spec.version import Network
from .arguments import check_ends, check_point, wrong

M = TypeVar("M")

#: Bytes read from a socket at once: one buffer for all connections of a loop.
READ_BUFFER: Final = 1 << 18
#: Bytes that wait in front of a socket at most, but for one chunk more.
WRITE_BUFFER: Final = 1 << 18
#: Bytes written at once: more would be copied through memory that the system has to
#: give first, which takes longer than another call.
WRITE_SIZE: Final = 1 << 16
#: A block of this size, given back once; see `keep_memory`.
_HEAP_SLACK: Final = 1 << 22
#: Writes for one connection before others have their turn.
WRITES_IN_TURN: Final = 4
#: Seconds that `close` waits, unless told otherwise, until what is queued has left.
CLOSE_TIMEOUT: Final = 3.0

# Made once: there may be many dials.
_METADATA, _LIMITS = ConnectionMetadata(), Limits()

#: Ends that an iteration over messages takes for its own.
_ORDERLY: Final = frozenset(
    {Reason.CONNECTION_CLOSED_BY_PEER, Reason.USER, Reason.POOL_DESTROYED}
)

#: Ends of dialling.
_UNREACHED: Final = frozenset(
    {
        Reason.TCP_CONNECTION_CANCELED,  # by the deadline
        Reason.TCP_CONNECTION_REFUSED,
        Reason.TCP_CONNECTION_UNREACHABLE,
        Reason.TCP_NETWORK_UNREACHABLE,
        Reason.TCP_CONNECTION_FAILED_UNEXPECTED_ERROR,
    }
)


class Options(TypedDict, total=False):
    """What ``connect`` and ``listen`` of both drivers take beside the obvious.

    Attributes:
        port: TCP port to announce, 0 for none; by default 0, or where we listen.
        metadata: what we tell authenticated peers about ourselves.
        difficulty: proof of work asked of peers, 0 to 256; by default 26.
        limits: timeouts, queue sizes, chunk size, numbers of connections.
        joins: whether waiting messages share chunks; by default they do.
        judge: called with everybody who could be admitted; returns a motive to refuse
            them, or None.  If it raises, or returns anything else, that is reported, and
            they are refused.
        on_event: called with the link and every event of it, see `spec.events`, by
            whichever thread makes it happen.  If it raises, that is reported.

    Neither may wait for anything of the connections that it is called about.
    """

    port: int
    metadata: ConnectionMetadata
    difficulty: float
    limits: Limits
    joins: bool
    judge: Judge | None
    on_event: Any


class ConnectionEnded(ConnectionError):
    """A connection is over, or never was.

    Attributes:
        disconnection: why.
    """

    def __init__(self, disconnection: Disconnection) -> None:
        super().__init__(str(disconnection))
        self.disconnection = disconnection

    @property
    def orderly(self) -> bool:
        """Whether one side just closed: an iteration over messages ends quietly then."""
        return self.disconnection.reason in _ORDERLY


def report(exc: Exception) -> None:
    """Report what a callback of the application has raised, and go on."""
    sys.excepthook(type(exc), exc, exc.__traceback__)


def _guarded(judge: Judge) -> Judge:
    def judge_safely(remote: Remote) -> Motive | None:
        try:
            motive = judge(remote)
            if motive is None or isinstance(cast("object", motive), Motive):
                return motive
            # Whoever answers yes or no would admit all, or those whom it means to refuse.
            raise TypeError(  # reported as what a judge raises is
                f"judge returned {motive!r:.80}: it must be a Motive to refuse, or None"
            )
        except Exception as exc:
            report(exc)
            return Motive.NO_MOTIVE

    return judge_safely


class Ends(Generic[M]):
    """A core for lone connections, made of what the user gave.

    Raises:
        TypeError: an option of no such name, or anything that is not what it must be.
    """

    def __init__(
        self,
        identity: Identity,
        network: Network,
        codec: ApplicationCodec[M],
        options: Options,
    ) -> None:
        check_ends(identity, network, codec, options, Options.__annotations__)
        local = Local(
            identity=identity,
            network=network,
            random_bytes=os.urandom,
            port=options.get("port", 0),
            metadata=options.get("metadata", _METADATA),
            difficulty=options.get("difficulty", DEFAULT_DIFFICULTY),
            limits=options.get("limits", _LIMITS),
        )
        judge = options.get("judge")
        self.solo = Solo(
            local,
            MessageCodec(codec),
            options.get("joins", True),
            None if judge is None else _guarded(judge),
        )
        self.on_event = options.get("on_event")


def split(where: Point | str) -> tuple[Point | Endpoint, PeerId | None]:
    """Return where to dial, and who has to answer there.

    Args:
        where: a point, or ``host[:port][#peer_id]``; the default port is 9732.

    Returns:
        A point, or an endpoint whose host is a name that has to be resolved.

    Raises:
        TypeError: it is neither a point nor a text.
        PointError: the text is not of that form, or names no host.
    """
    if isinstance(where, Point):
        return check_point(where, "where"), None
    if not isinstance(cast("object", where), str):
        raise wrong("where", "a Point or a text", where)
    endpoint = Endpoint.parse(where)
    if endpoint.is_unspecified:
        raise PointError(f"{where!r} names no host")
    try:
        return endpoint.point(DEFAULT_PORT), endpoint.peer_id
    except PointError:
        return endpoint, endpoint.peer_id


def shown(it: object, *words: object) -> str:
    """Return how an end shows itself: short, whatever it holds."""
    kind = type(it)
    name = f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}"
    return f"<{' '.join([name, *map(str, words)])}>"


def shown_connection(it: object, point: Point, machine: Machine[Any]) -> str:
    """Return how a connection shows itself: where, who, and how it stands."""
    who = () if machine.remote is None else (machine.remote.peer_id,)
    why = () if machine.disconnection is None else (f"({machine.disconnection})",)
    return shown(it, point, *who, machine.state.name.lower(), *why)


@functools.cache
def keep_memory() -> None:
    """Let the C library keep what it frees; to be called by who moves many bytes.

    Chunks make blocks of 64 KiB come and go.  glibc gives what is free at the end of its
    heap back to the system from 128 KiB on, and then takes it again, page by page: up to
    a third of the time.  That bound follows the biggest block of its own mapping that
    was ever freed (``mallopt(3)``, on ``M_MMAP_THRESHOLD``); so one is.  Elsewhere this
    does nothing, and once does for all.
    """
    bytearray(_HEAP_SLACK)


def question(endpoint: Endpoint) -> tuple[str, int]:
    """Return what to ask ``getaddrinfo``: host and port.

    Raises:
        PointError: the host is no name that could have an address.
    """
    try:
        endpoint.host.encode("idna")
    except UnicodeError as exc:
        raise PointError(f"{endpoint.host[:64]!r} is no host name: {exc}") from None
    port = DEFAULT_PORT if endpoint.port is None else endpoint.port
    return endpoint.host, port


def unreached(why: Disconnection) -> bool:
    """Whether no TCP connection came about, so that another address may be tried."""
    return why.reason in _UNREACHED
