"""Errors, disconnection reasons, their stable names.

Error ids: printed by a reference node of May 2019 (those that it has), and of 2026.
Tags of reasons: the log encoding of the reference node of 2026.
"""

from __future__ import annotations

import pytest

from tezos_p2p.spec import Direction, Disconnection, ErrorKind, Motive, P2pError, Reason
from tezos_p2p.spec.reasons import UNKNOWN

#: Ids that a reference node of May 2019 gives in its traces.
IDS_2019 = {
    "node.p2p_io_scheduler.connection_closed",
    "node.p2p_socket.decipher_error",
    "node.p2p_socket.invalid_message_size",
    "node.p2p_socket.encoding_error",
    "node.p2p_socket.rejected_socket_connection",
    "node.p2p_socket.rejected_no_common_protocol",
    "node.p2p_socket.decoding_error",
    "node.p2p_socket.myself",
    "node.p2p_socket.not_enough_proof_of_work",
    "node.p2p_socket.invalid_auth",
    "node.p2p_socket.invalid_chunks_size",
    "node.p2p_pool.pending_connection",
    "node.p2p_pool.connected",
    "node.p2p_pool.rejected",
    "node.p2p_pool.too_many_connections",
    "node.p2p_pool.private_mode",
    "node.p2p_pool.point_banned",
    "node.p2p_pool.peer_banned",
    "utils.Timeout",
}

#: What greylists the remote's address when it ends an authentication.
GREYLISTING = {
    "NOT_ENOUGH_PROOF_OF_WORK",
    "INVALID_AUTH",
    "DECIPHER_ERROR",
    "INVALID_MESSAGE_SIZE",
    "ENCODING_ERROR",
    "UNEXPECTED_SIZE_OF_ENCODED_VALUE",
    "DECODING_ERROR",
    "INVALID_CHUNKS_SIZE",
}

TAGS = {
    0x01: "CONNECTION_LOST",
    0x02: "CONNECTION_CLOSED_BY_PEER",
    0x03: "CONNECTION_CLOSED_BY_UNEXPECTED_ERROR",
    0x04: "TCP_CONNECTION_REFUSED",
    0x05: "TCP_CONNECTION_UNREACHABLE",
    0x06: "TCP_CONNECTION_CANCELED",
    0x07: "TCP_CONNECTION_FAILED_UNEXPECTED_ERROR",
    0x08: "SCHEDULED_POP_UNEXPECTED_ERROR",
    0x09: "SCHEDULED_PUSH_UNEXPECTED_ERROR",
    0x10: "IO_SCHEDULER_CLOSED",
    0x11: "IO_SCHEDULER_SHUTDOWN",
    0x12: "ACCEPT_WRITE_ERROR",
    0x13: "ACK_READ_ERROR",
    0x14: "AUTHENTICATION_REJECTED_NO_COMMON_PROTOCOL",
    0x15: "AUTHENTICATION_REJECTED",
    0x16: "AUTHENTICATION_REJECTED_BY_PEER",
    0x17: "AUTHENTICATION_REJECTED_ERROR",
    0x18: "INCOMING_CONNECTION_TOO_MANY",
    0x19: "INCOMING_CONNECTION_BANNED",
    0x20: "UNEXPECTED_PEER_ID",
    0x21: "IP_MANUALLY_BANNED",
    0x22: "PEER_ID_MANUALLY_BANNED",
    0x23: "POOL_DESTROYED",
    0x24: "PEER_SWAPPED",
    0x25: "EXPLICIT_RPC",
    0x26: "MAINTENANCE_TOO_MANY",
    0x27: "USER",
    0x28: "UNKNOWN_REASON",
    0x29: "TCP_NETWORK_UNREACHABLE",
}


def test_errors_have_the_ids_of_the_node_of_2019() -> None:
    assert {kind.id for kind in ErrorKind} >= IDS_2019


@pytest.mark.parametrize(
    ("kind", "id_", "greylists"),
    [
        (
            ErrorKind.UNEXPECTED_SIZE_OF_ENCODED_VALUE,
            "unexpected_size_of_encoded_value",
            True,
        ),
        (
            ErrorKind.UNEXPECTED_SIZE_OF_DECODED_BUFFER,
            "socket.unexpected_size_of_decoded_value",
            False,
        ),
        (ErrorKind.REJECTING_INCOMING, "node.p2p_socket.rejecting_incoming", False),
        (ErrorKind.NONCES_EXHAUSTED, "tezos_p2p.nonces_exhausted", False),
        (ErrorKind.CODEC_FAILED, "tezos_p2p.codec_failed", False),
    ],
)
def test_errors_that_came_after_2019_have_these_ids(
    kind: ErrorKind, id_: str, greylists: bool
) -> None:
    assert (kind.id, kind.greylists) == (id_, greylists)


def test_every_error_has_an_id_of_its_own_and_a_meaning() -> None:
    ids = [kind.id for kind in ErrorKind]
    assert len(set(ids)) == len(ids) == len(ErrorKind.__members__)
    assert all(kind.meaning for kind in ErrorKind)
    assert len(dict.fromkeys(ErrorKind)) == len(ids)


def test_exactly_these_errors_greylist() -> None:
    assert {kind.name for kind in ErrorKind if kind.greylists} == GREYLISTING


def test_reasons_have_the_tags_of_the_reference() -> None:
    assert {reason.tag: reason.name for reason in Reason} == TAGS
    assert len(Reason.__members__) == len(TAGS)
    assert all(reason.meaning for reason in Reason)


def test_directions_have_the_tags_of_the_reference() -> None:
    assert [(half.name, half.value) for half in Direction] == [("READ", 1), ("WRITE", 2)]


#: What greylists the remote, by the reason that it ends something for.
GREYLISTED = {
    Reason.AUTHENTICATION_REJECTED_ERROR: GREYLISTING,
    # On an established connection: a message that does not decode, and nothing else.
    Reason.CONNECTION_CLOSED_BY_UNEXPECTED_ERROR: {"DECODING_ERROR"},
}


@pytest.mark.parametrize("reason", Reason)
def test_a_remote_is_greylisted_exactly_for_such_errors(reason: Reason) -> None:
    assert not Disconnection(reason).greylists
    closed = P2pError(ErrorKind.CONNECTION_CLOSED)
    for kind in ErrorKind:
        expected = kind.name in GREYLISTED.get(reason, ())
        assert Disconnection(reason, (P2pError(kind),)).greylists is expected
        assert Disconnection(reason, (closed, P2pError(kind))).greylists is expected


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (P2pError(ErrorKind.TIMEOUT), "the deadline has passed"),
        (
            P2pError(ErrorKind.DECODING_ERROR, "port at byte 0: not enough data"),
            "does not decode: port at byte 0: not enough data",
        ),
    ],
)
def test_an_error_says_what_it_means_and_its_detail(error: P2pError, text: str) -> None:
    assert str(error) == text


@pytest.mark.parametrize(
    ("why", "text"),
    [
        (UNKNOWN, "no reason was given"),
        (
            Disconnection(Reason.CONNECTION_LOST, direction=Direction.WRITE),
            "the connection was lost (write)",
        ),
        (
            Disconnection(
                Reason.AUTHENTICATION_REJECTED, motive=Motive.TOO_MANY_CONNECTIONS
            ),
            "we refused the peer (too many connections)",
        ),
        (
            Disconnection(Reason.AUTHENTICATION_REJECTED_BY_PEER, motive=Motive(99)),
            "the peer refused us (unknown 99)",
        ),
        (
            Disconnection(Reason.USER, text="going home"),
            "the application asked for it: going home",
        ),
        (
            Disconnection(
                Reason.ACK_READ_ERROR,
                (
                    P2pError(ErrorKind.INVALID_AUTH),
                    P2pError(ErrorKind.DECIPHER_ERROR, "chunk 1"),
                ),
                Motive.NO_MOTIVE,
                Direction.READ,
                "text",
            ),
            "the peer's answer could not be read (read) (no motive): text: "
            "the answer is not authentic: a chunk does not decrypt: chunk 1",
        ),
    ],
)
def test_a_disconnection_says_why_for_people(why: Disconnection, text: str) -> None:
    assert str(why) == text


def test_an_error_without_facts_has_none_and_cannot_be_given_some() -> None:
    facts = P2pError(ErrorKind.TIMEOUT).facts
    assert dict(facts) == {}
    with pytest.raises(TypeError):
        facts["a"] = 1


def test_errors_and_disconnections_are_equal_by_their_values() -> None:
    one = P2pError(ErrorKind.MYSELF, "d", {"port": 1})
    assert one == P2pError(ErrorKind.MYSELF, "d", {"port": 1})
    assert one != P2pError(ErrorKind.MYSELF, "d", {"port": 2})
    assert Disconnection(Reason.USER, (one,)) == Disconnection(Reason.USER, (one,))
