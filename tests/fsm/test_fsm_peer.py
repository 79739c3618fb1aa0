"""Peers: every transition and no other, where they were met, and their history."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tezos_p2p.fsm.machine import RUNNERS, LocalProtocolError
from tezos_p2p.fsm.peer import Contact, IdPoint, PeerInfo, State
from tezos_p2p.spec.address import Address
from tezos_p2p.spec.identity import PeerId
from tezos_p2p.spec.pool_events import PeerEvent
from tezos_p2p.spec.pool_events import PeerEventKind as Kind

ALICE = PeerId(b"A" * 16)
HERE = IdPoint(Address.parse("1.2.3.4"), 9732)
THERE = IdPoint(Address.parse("1.2.3.4"))


def info(state: State = State.DISCONNECTED, **more: Any) -> PeerInfo[float]:
    made = PeerInfo(ALICE, -5.0, 1.0, **more)
    if state is State.ACCEPTED:
        made.accept(7, HERE, 0.0)
    elif state is State.RUNNING:
        made.run(7, HERE, 0.0)
    assert made.state is state
    return made


def facts(it: PeerInfo[float]) -> tuple[Any, ...]:
    """Everything there is to know."""
    return attrs.astuple(it, recurse=False), it.events


# -- states ----------------------------------------------------------------------------


@pytest.mark.parametrize("runner", RUNNERS.values())
@pytest.mark.parametrize(
    ("source", "act", "where", "dest"),
    [
        (State.DISCONNECTED, "accept", HERE, State.ACCEPTED),
        (State.ACCEPTED, "accept", HERE, None),
        (State.ACCEPTED, "accept", THERE, None),
        (State.RUNNING, "accept", HERE, None),
        (State.RUNNING, "accept", THERE, None),
        (State.DISCONNECTED, "run", HERE, State.RUNNING),
        (State.ACCEPTED, "run", HERE, State.RUNNING),
        (State.ACCEPTED, "run", THERE, None),
        (State.RUNNING, "run", HERE, None),
        (State.RUNNING, "run", THERE, None),
        (State.DISCONNECTED, "disconnect", HERE, None),
        (State.ACCEPTED, "disconnect", HERE, State.DISCONNECTED),
        (State.ACCEPTED, "disconnect", THERE, None),
        (State.RUNNING, "disconnect", HERE, State.DISCONNECTED),
        (State.RUNNING, "disconnect", THERE, None),
    ],
)
def test_each_step_leads_where_it_must_or_changes_nothing(
    runner: Any, source: State, act: str, where: IdPoint, dest: State | None
) -> None:
    it = info(source, runner=runner)
    acts: dict[str, Callable[[], None]] = {
        "accept": lambda: it.accept(8, where, 1.0),
        "run": lambda: it.run(8, where, 1.0),
        "disconnect": lambda: it.disconnect(where, 1.0),
    }
    if act == "run":
        assert it.may_run(where) is (dest is not None)
    before = facts(it)
    if dest is None:
        with pytest.raises(LocalProtocolError) as caught:
            acts[act]()
        assert (caught.value.trigger, caught.value.state) == (act, source.name)
        assert facts(it) == before
    else:
        acts[act]()
        assert it.state is dest


def test_a_peer_begins_with_what_is_remembered_and_no_connection() -> None:
    it = info()
    assert (it.peer_id, it.created, it.metadata, it.trusted) == (ALICE, -5.0, 1.0, False)
    assert (it.link, it.id_point) == (None, None)
    assert (it.last_seen, it.last_miss, it.events) == (None, None, ())


def test_link_and_place_are_known_while_they_are_here() -> None:
    it = info()
    it.accept(7, HERE, 0.0)
    assert (it.link, it.id_point) == (7, HERE)
    it.run(8, HERE, 1.0)
    assert (it.link, it.id_point) == (8, HERE)
    it.disconnect(HERE, 2.0)
    assert (it.link, it.id_point) == (None, None)
    it.accept(9, THERE, 3.0)
    assert (it.link, it.id_point) == (9, THERE)
    it.disconnect(THERE, 4.0)
    assert (it.link, it.id_point) == (None, None)


# -- memory ----------------------------------------------------------------------------


def test_who_was_accepted_in_vain_is_seen_and_missed() -> None:
    it = info()
    it.accept(7, HERE, 3.0)
    assert (it.last_seen, it.last_miss) == (None, None)
    it.disconnect(HERE, 5.0)
    assert it.last_rejected == it.last_seen == it.last_miss == Contact(HERE, 5.0)
    assert (it.last_established, it.last_disconnection) == (None, None)


def test_who_runs_is_seen_and_who_goes_is_missed() -> None:
    it = info()
    it.run(7, HERE, 5.0)
    assert it.last_established == it.last_seen == Contact(HERE, 5.0)
    assert it.last_miss is None
    it.disconnect(HERE, 8.0)
    assert it.last_disconnection == it.last_seen == it.last_miss == Contact(HERE, 8.0)
    assert it.last_rejected is None


def test_a_failure_is_known_from_files_alone_and_is_a_miss() -> None:
    it = info(last_failed=Contact(THERE, -1.0), last_rejected=Contact(HERE, -2.0))
    assert it.last_miss == Contact(THERE, -1.0)
    assert it.last_seen == Contact(HERE, -2.0)
    it.accept(7, HERE, 1.0)
    it.disconnect(HERE, 2.0)
    assert it.last_miss == Contact(HERE, 2.0)
    assert it.last_failed == Contact(THERE, -1.0)


@pytest.mark.parametrize(
    ("rejected", "established", "disconnection", "seen", "missed"),
    [
        (3.0, 2.0, 1.0, "rejected", "rejected"),
        (2.0, 3.0, 1.0, "established", "rejected"),
        (1.0, 2.0, 3.0, "gone", "gone"),
        # Of those at the same moment the one that is asked for first.
        (5.0, 5.0, 5.0, "established", "rejected"),
        (5.0, 4.0, 5.0, "rejected", "rejected"),
    ],
)
def test_the_latest_of_all_kinds_counts(
    rejected: float, established: float, disconnection: float, seen: str, missed: str
) -> None:
    ports = {"rejected": 1, "established": 2, "gone": 3}
    where = {name: IdPoint(HERE.address, port) for name, port in ports.items()}
    it = info(
        last_rejected=Contact(where["rejected"], rejected),
        last_established=Contact(where["established"], established),
        last_disconnection=Contact(where["gone"], disconnection),
    )
    assert it.last_seen is not None
    assert it.last_miss is not None
    assert it.last_seen.id_point == where[seen]
    assert it.last_miss.id_point == where[missed]


def test_everything_that_happens_is_logged_with_where_it_was() -> None:
    it = info()
    it.accept(7, HERE, 1.0)
    it.disconnect(HERE, 2.0, requested=True)
    it.accept(8, THERE, 3.0)
    it.run(8, THERE, 4.0)
    it.disconnect(THERE, 5.0)
    it.run(9, HERE, 6.0)
    it.disconnect(HERE, 7.0, requested=True)
    assert it.events == (
        PeerEvent(Kind.INCOMING_REQUEST, 1.0, HERE),
        PeerEvent(Kind.REQUEST_REJECTED, 2.0, HERE),
        PeerEvent(Kind.INCOMING_REQUEST, 3.0, THERE),
        PeerEvent(Kind.CONNECTION_ESTABLISHED, 4.0, THERE),
        PeerEvent(Kind.EXTERNAL_DISCONNECTION, 5.0, THERE),
        PeerEvent(Kind.CONNECTION_ESTABLISHED, 6.0, HERE),
        PeerEvent(Kind.DISCONNECTION, 7.0, HERE),
    )


def test_a_hundred_lines_are_kept_and_the_oldest_goes_first() -> None:
    it = info()
    it.remember(PeerEvent(Kind.INCOMING_REQUEST, now, HERE) for now in range(-100, 0))
    assert [event.at for event in it.events] == list(range(-100, 0))
    it.accept(7, THERE, 0.0)
    assert [event.at for event in it.events] == list(range(-99, 1))
    assert it.events[-1] == PeerEvent(Kind.INCOMING_REQUEST, 0.0, THERE)


def test_no_history_to_remember_is_no_history() -> None:
    it = info()
    it.remember([])
    assert it.events == ()


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["accept", "run", "disconnect"]),
            st.sampled_from([HERE, THERE]),
        ),
        max_size=30,
    )
)
def test_a_peer_is_somewhere_exactly_while_it_has_a_connection(
    acts: list[tuple[str, IdPoint]],
) -> None:
    it = info()
    for link, (act, where) in enumerate(acts):
        before = facts(it)
        try:
            if act == "accept":
                it.accept(link, where, link)
            elif act == "run":
                it.run(link, where, link)
            else:
                it.disconnect(where, link)
        except LocalProtocolError:
            assert facts(it) == before
            continue
        gone = it.state is State.DISCONNECTED
        assert (it.link, it.id_point) == ((None, None) if gone else (link, where))
        assert it.events[-1][1:] == (link, where)
