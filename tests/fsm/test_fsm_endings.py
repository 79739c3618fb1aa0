"""How what goes wrong is reported, phase by phase; see the table in `fsm.endings`."""

from __future__ import annotations

import pytest

from tezos_p2p.fsm import endings
from tezos_p2p.spec.reasons import Direction, Disconnection, ErrorKind, P2pError, Reason

CLOSED, SPOILT = ErrorKind.CONNECTION_CLOSED, ErrorKind.DECIPHER_ERROR


@pytest.mark.parametrize(
    ("ending", "kind", "why"),
    [
        (
            endings.authentication_failed,
            CLOSED,
            Disconnection(Reason.AUTHENTICATION_REJECTED_ERROR, (P2pError(CLOSED),)),
        ),
        (
            endings.answer_failed,
            CLOSED,
            Disconnection(
                Reason.ACK_READ_ERROR,
                (P2pError(ErrorKind.REJECTED_SOCKET_CONNECTION), P2pError(CLOSED)),
            ),
        ),
        (
            endings.answer_failed,
            SPOILT,
            Disconnection(
                Reason.ACK_READ_ERROR,
                (P2pError(ErrorKind.INVALID_AUTH), P2pError(SPOILT)),
            ),
        ),
        (
            endings.answer_failed,
            ErrorKind.TIMEOUT,
            Disconnection(Reason.ACK_READ_ERROR, (P2pError(ErrorKind.TIMEOUT),)),
        ),
        (
            endings.session_failed,
            CLOSED,
            Disconnection(Reason.CONNECTION_CLOSED_BY_PEER, direction=Direction.READ),
        ),
        (
            endings.session_failed,
            SPOILT,
            Disconnection(
                Reason.CONNECTION_CLOSED_BY_UNEXPECTED_ERROR, (P2pError(SPOILT),)
            ),
        ),
    ],
)
def test_what_goes_wrong_is_reported_as_the_phase_has_it(ending, kind, why):
    assert ending(P2pError(kind)) == why
    endings._plainly.cache_clear()  # whatever ran before
    once, again = endings.failed(ending, kind), endings.failed(ending, kind)
    assert once == why
    assert once is again
    # The error itself comes last; the end of a stream has none.
    told = [it.detail for it in endings.failed(ending, kind, "3 bytes").errors]
    assert told == [*("" for _ in why.errors[1:]), *("3 bytes" for _ in why.errors[:1])]
