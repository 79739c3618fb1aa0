"""How handshakes end, in the reference's words: a reason and the errors behind it.

===================================  ===================================================
while                                what goes wrong is reported as
===================================  ===================================================
authenticating, or deciding          AUTHENTICATION_REJECTED_ERROR: the error; may
                                     greylist the address
waiting for their answer             ACK_READ_ERROR: the error, behind INVALID_AUTH or
                                     REJECTED_SOCKET_CONNECTION where the reference
                                     says so; greylists nobody
established, not yet handed over     CONNECTION_CLOSED_BY_PEER, or
                                     CONNECTION_CLOSED_BY_UNEXPECTED_ERROR: the error
refused by us                        AUTHENTICATION_REJECTED, or ..._NO_COMMON_PROTOCOL
refused by them                      AUTHENTICATION_REJECTED_BY_PEER
===================================  ===================================================

Source: the authentication and connect modules of the reference node, 2026; running
nodes of 2019 for what greylists.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

from ..spec.events import Remote
from ..spec.hello import Nack, NackV0
from ..spec.identity import PeerId
from ..spec.motive import Motive
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


def session_failed(error: P2pError) -> Disconnection:
    """End what was established and not yet handed over."""
    if error.kind is ErrorKind.CONNECTION_CLOSED:
        reason = Reason.CONNECTION_CLOSED_BY_PEER
        return Disconnection(reason, direction=Direction.READ)
    return Disconnection(Reason.CONNECTION_CLOSED_BY_UNEXPECTED_ERROR, (error,))


@functools.cache
def _plainly(ending: Ending, kind: ErrorKind) -> Disconnection:
    return ending(P2pError(kind))


def failed(ending: Ending, kind: ErrorKind, detail: str = "") -> Disconnection:
    """Apply one of the above; without detail, give the same object each time.

    Floods end without detail: nothing is made for them.  Hence a proof of work that
    falls short does not say whose it is, which nothing has proven anyway.
    """
    return ending(P2pError(kind, detail)) if detail else _plainly(ending, kind)


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
