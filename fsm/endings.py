"""How handshakes end, in the reference's words: a reason and the errors behind it.

===================================  ===================================================
while                                what goes wrong is reported as
===================================  ===================================================
authenticating, or deciding          AUTHENTICATION_REJECTED_ERROR: the error; may
                                     greylist the address
waiting for their answer             ACK_READ_ERROR: the error, behind INVALID_AUTH or
                                     REJECTED_SOCKET_CONNECTION where the reference
                                     says so; greylists nobody
established                          CONNECTION_CLOSED_BY_PEER, CONNECTION_LOST, or
                                     CONNECTION_CLOSED_BY_UNEXPECTED_ERROR: the error;
                                     greylists if a message did not decode
refused by us                        AUTHENTICATION_REJECTED, or ..._NO_COMMON_PROTOCOL
refused by them                      AUTHENTICATION_REJECTED_BY_PEER
===================================  ===================================================

Source: the authentication and connect modules of the reference node, 2026; running
nodes of 2019 for what greylists.
"""

from __future__ import annotations

import errno
import functools
from collections.abc import Callable
from typing import Any, Final

import attrs

from ..spec.events import Remote
from ..spec.hello import Nack, NackV0
from ..spec.identity import PeerId
from ..spec.motive import Motive
from ..spec.point import Point
from ..spec.reasons import Direction, Disconnection, ErrorKind, P2pError, Reason

Ending = Callable[[P2pError], Disconnection]

#: What the reference says around an error that is met instead of an answer.
_AROUND: Final = {
    ErrorKind.CONNECTION_CLOSED: ErrorKind.REJECTED_SOCKET_CONNECTION,
    ErrorKind.DECIPHER_ERROR: ErrorKind.INVALID_AUTH,
}


def authentication_failed(error: P2pError) -> Disconnection:
    """End an authentication."""
    return Disconnection(Reason.AUTHENTICATION_REJECTED_ERROR, (error,))


def answer_failed(error: P2pError) -> Disconnection:
    """End the wait for their answer."""
    around = _AROUND.get(error.kind)
    errors = (error,) if around is None else (P2pError(around), error)
    return Disconnection(Reason.ACK_READ_ERROR, errors)


def session_failed(error: P2pError, direction: Direction | None = None) -> Disconnection:
    """End what was established."""
    if error.kind is ErrorKind.CONNECTION_CLOSED:
        reason = Reason.CONNECTION_CLOSED_BY_PEER
        return Disconnection(reason, direction=Direction.READ)
    reason = Reason.CONNECTION_CLOSED_BY_UNEXPECTED_ERROR
    return Disconnection(reason, (error,), direction=direction)


#: What a failed system call says of an established connection.
_GONE: Final = {
    errno.ECONNRESET: Reason.CONNECTION_CLOSED_BY_PEER,
    errno.EPIPE: Reason.CONNECTION_CLOSED_BY_PEER,
    errno.ECONNABORTED: Reason.CONNECTION_CLOSED_BY_PEER,
    errno.ETIMEDOUT: Reason.CONNECTION_LOST,
}


def stream_ended(error: int | None, direction: Direction) -> Disconnection:
    """End what was established because the system says so.

    Args:
        error: ``errno``, or None: the stream just ended.
        direction: of the call that said it; a broken pipe speaks for itself.
    """
    if error == errno.EPIPE:
        direction = Direction.WRITE
    if error is None:
        return Disconnection(Reason.CONNECTION_CLOSED_BY_PEER, direction=direction)
    reason = _GONE.get(error)
    if reason is not None:
        return Disconnection(reason, direction=direction)
    what = P2pError(ErrorKind.CONNECTION_ERROR, name_of(error))
    return session_failed(what, direction)


#: What accepting says of a connection that is gone already, or of none.
_PASSING: Final = frozenset(
    {
        errno.EAGAIN,
        errno.ECONNABORTED,
        errno.ECONNRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.EINTR,
        errno.ENETUNREACH,
        errno.ENOPROTOOPT,
        errno.EOPNOTSUPP,
        errno.EPERM,
        errno.EPROTO,
        errno.ETIMEDOUT,
        getattr(errno, "ENONET", errno.EHOSTUNREACH),  # Linux alone has it
    }
)


def is_passing(error: int) -> bool:
    """Whether accepting may go on at once after it has failed with this ``errno``."""
    return error in _PASSING


def cut_short(why: Disconnection, kind: ErrorKind, left: int) -> Disconnection:
    """Add to a reason that ``left`` bytes of ours were not sent, if there are any."""
    if not left:
        return why
    error = P2pError(kind, f"{left} bytes were not sent")
    return attrs.evolve(why, errors=(*why.errors, error))


#: What a failed system call says of an attempt to dial.
_UNREACHED: Final = {
    errno.ECONNREFUSED: Reason.TCP_CONNECTION_REFUSED,
    errno.EHOSTUNREACH: Reason.TCP_CONNECTION_UNREACHABLE,
    errno.ENETUNREACH: Reason.TCP_NETWORK_UNREACHABLE,
    errno.ECANCELED: Reason.TCP_CONNECTION_CANCELED,
}


def dial_failed(error: int | None) -> Disconnection:
    """End what never was connected.

    Args:
        error: ``errno``, or None if dialling was given up.
    """
    if error is None:
        error = errno.ECANCELED
    reason = _UNREACHED.get(error, Reason.TCP_CONNECTION_FAILED_UNEXPECTED_ERROR)
    detail = "" if error in _UNREACHED else name_of(error)
    return Disconnection(reason, (P2pError(ErrorKind.CONNECTION_FAILED, detail),))


def name_of(error: int) -> str:
    """Name an ``errno`` as the system's manuals do."""
    return errno.errorcode.get(error, f"error {error}")


def wrong_peer(point: Point, expected: PeerId, remote: Remote) -> Disconnection:
    """End because another peer than the expected one answers at a point."""
    facts = {"point": point, "expected_peer_id": expected, "peer_id": remote.peer_id}
    detail = f"{remote.peer_id} answers at {point} instead of {expected}"
    return authentication_failed(
        P2pError(ErrorKind.IDENTITY_CHECK_FAILURE, detail, facts)
    )


@functools.cache
def _plainly(ending: Ending, kind: ErrorKind) -> Disconnection:
    return ending(P2pError(kind))


def failed(ending: Ending, kind: ErrorKind, detail: str = "") -> Disconnection:
    """Apply one of the above; without detail, give the same object each time.

    Floods end without detail: nothing is made for them.  Hence a proof of work that
    falls short does not say whose it is, unless it is of somebody whom we dial.
    """
    return ending(P2pError(kind, detail)) if detail else _plainly(ending, kind)


def too_little_work(claimed: PeerId) -> Disconnection:
    """End because the proof of work of whom we dial falls short.

    Args:
        claimed: who they say they are; nothing has proven it.
    """
    facts = {"peer_id": claimed}
    return authentication_failed(
        P2pError(ErrorKind.NOT_ENOUGH_PROOF_OF_WORK, facts=facts)
    )


def met_myself(peer_id: PeerId) -> Disconnection:
    """End because the other end is this very node."""
    facts = {"peer_id": peer_id}
    return authentication_failed(P2pError(ErrorKind.MYSELF, str(peer_id), facts))


def refused_by_us(remote: Remote, motive: Motive) -> Disconnection:
    """End with our refusal."""
    facts: dict[str, Any]
    if motive.is_version_mismatch:
        reason = Reason.AUTHENTICATION_REJECTED_NO_COMMON_PROTOCOL
        facts = {"announced_version": remote.message.version}
        error = P2pError(ErrorKind.REJECTED_NO_COMMON_PROTOCOL, facts=facts)
    else:
        reason = Reason.AUTHENTICATION_REJECTED
        facts = {"peer_id": remote.peer_id, "motive": motive}
        error = P2pError(ErrorKind.REJECTED, facts=facts)
    return Disconnection(reason, (error,), motive)


def refused_by_peer(answer: NackV0 | Nack) -> Disconnection:
    """End with their refusal."""
    motive = answer.motive if isinstance(answer, Nack) else Motive.NO_MOTIVE
    facts: dict[str, Any] = {"motive": motive}
    if isinstance(answer, Nack):
        facts["alternative_points"] = answer.points
    error = P2pError(ErrorKind.REJECTED_BY_NACK, facts=facts)
    return Disconnection(Reason.AUTHENTICATION_REJECTED_BY_PEER, (error,), motive)
