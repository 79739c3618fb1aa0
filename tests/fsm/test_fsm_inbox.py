"""What the application pulls: in order per peer, in turn between peers, bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tezos_p2p.fsm.inbox import Inbox, Item, Left, Message, Ready
from tezos_p2p.spec.identity import PeerId
from tezos_p2p.spec.reasons import Disconnection, Reason

WHY = Disconnection(Reason.USER)


def peer(link: int) -> PeerId:
    return PeerId(link.to_bytes(16, "big"))


def said(link: int, text: str) -> Message[str]:
    return Message(link, peer(link), text)


def pulled(inbox: Inbox[str]) -> list[Item[str]]:
    items: list[Item[str]] = []
    while (item := inbox.next()) is not None:
        items.append(item)
    return items


def test_peers_take_turns_and_each_is_told_in_order() -> None:
    inbox = Inbox[str](None)
    for text in ("a", "b", "c"):
        inbox.put(said(1, text))
    inbox.put(said(2, "x"))
    inbox.put(said(3, "y"))
    inbox.put(said(3, "z"))
    texts = [item.message for item in pulled(inbox) if isinstance(item, Message)]
    assert texts == ["a", "x", "y", "b", "z", "c"]


@pytest.mark.parametrize(("limit", "held"), [(10, 9), (2, 1), (1, 1), (0, 1)])
def test_messages_stay_below_the_limit_but_one_is_always_taken(
    limit: int, held: int
) -> None:
    inbox = Inbox[str](limit)
    taken = 0
    while inbox.room(1):
        inbox.put(said(1, "m"))
        taken += 1
    assert taken == held
    assert inbox.room(2)
    inbox.next()
    assert inbox.room(1)


def test_what_is_no_message_takes_no_room() -> None:
    inbox = Inbox[str](2)
    for _ in range(5):
        inbox.put(Ready(1, peer(1)))
    assert inbox.room(1)


def test_whom_we_leave_says_no_more_but_that_he_left() -> None:
    inbox = Inbox[str](None)
    inbox.put(said(1, "a"))
    inbox.put(said(2, "b"))
    inbox.put(said(1, "c"))
    assert inbox.purge(1) == 2
    inbox.put(Left(1, peer(1), WHY))
    items = pulled(inbox)
    assert items == [said(2, "b"), Left(1, peer(1), WHY)]


def test_purging_keeps_what_is_no_message_in_its_place() -> None:
    inbox = Inbox[str](None)
    inbox.put(Ready(1, peer(1)))
    inbox.put(said(1, "a"))
    assert inbox.purge(1) == 1
    assert inbox.purge(1) == 0
    assert inbox.purge(7) == 0
    assert pulled(inbox) == [Ready(1, peer(1))]


@given(st.lists(st.tuples(st.integers(1, 4), st.sampled_from(["put", "pull", "purge"]))))
def test_nothing_is_lost_or_told_twice(steps: list[tuple[int, str]]) -> None:
    inbox, waiting = Inbox[str](4), dict[int, list[str]]()
    for number, (link, step) in enumerate(steps):
        queue = waiting.setdefault(link, [])
        if step == "put" and inbox.room(link):
            inbox.put(said(link, str(number)))
            queue.append(str(number))
        elif step == "purge":
            assert inbox.purge(link) == len(queue)
            queue.clear()
        elif step == "pull":
            item = inbox.next()
            if item is None:
                assert not any(waiting.values())
            else:
                assert isinstance(item, Message)
                assert item.message == waiting[item.link].pop(0)
        assert all(len(each) < 4 for each in waiting.values())
        assert len(inbox) == sum(1 for each in waiting.values() if each)


def test_that_there_is_room_again_waits_once_however_often_it_is_told() -> None:
    inbox = Inbox[str](10)
    for _ in range(3):
        inbox.put(Ready(1, PeerId(bytes(16))))
        inbox.put(Ready(1, PeerId(bytes(16))))
        assert inbox.next() == Ready(1, PeerId(bytes(16)))
        assert inbox.next() is None


def test_messages_put_together_are_those_put_one_by_one() -> None:
    one, other = Inbox[int](10), Inbox[int](10)
    who = PeerId(bytes(16))
    for link, messages in ((1, [1, 2, 3]), (2, [4]), (1, [5])):
        one.put_all(link, who, messages)
        for message in messages:
            other.put(Message(link, who, message))
        assert one.room(link) == other.room(link)
    assert one.waiting == other.waiting == 5
    pulled = [one.next() for _ in range(6)]
    assert pulled == [other.next() for _ in range(6)]
    assert pulled[-1] is None
