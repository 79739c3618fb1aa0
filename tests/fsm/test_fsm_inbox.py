"""What the application pulls: in order per peer, in turn between peers, bounded."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tezos_p2p.fsm.inbox import Inbox, Item, Joined, Left, Message, Ready
from tezos_p2p.spec.events import Remote
from tezos_p2p.spec.hello import ConnectionMessage, ConnectionMetadata
from tezos_p2p.spec.identity import PeerId
from tezos_p2p.spec.reasons import Disconnection, Reason
from tezos_p2p.spec.version import SANDBOX

WHY = Disconnection(Reason.USER)
VERSION = SANDBOX.announced
HELLO = ConnectionMessage(9732, bytes(32), bytes(24), bytes(24), VERSION)


def peer(link: int) -> PeerId:
    return PeerId(link.to_bytes(16, "big"))


def said(link: int, text: str) -> Message[str]:
    return Message(link, peer(link), text)


def came(link: int, who: int) -> Joined:
    return Joined(link, Remote(peer(who), HELLO, ConnectionMetadata()), VERSION)


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


def test_a_peers_next_connection_waits_until_it_was_told_that_the_last_is_over() -> None:
    inbox = Inbox[str](3)
    for link in (1, 2, 3):
        inbox.put(came(link, who=7))
        inbox.put(Message(link, peer(7), "a"))
        assert inbox.holds(link)
        assert inbox.room(link) == 1
    inbox.put(came(4, who=8))
    assert (len(inbox), inbox.waiting) == (2, 3)
    assert inbox.before(1) == inbox.before(4) == inbox.before(5) == ()
    assert inbox.before(3) == (1, 2)
    assert [item.link for item in pulled(inbox)] == [1, 4, 1]
    assert inbox.next() is None  # it is to be told that 1 is over
    inbox.put(Message(1, peer(7), "b"))  # that was not decoded yet
    inbox.put(Left(1, peer(7), WHY))
    assert [item.link for item in pulled(inbox)] == [1, 1, 2, 2]
    inbox.put(Message(2, peer(7), "c"))
    assert inbox.purge(2) == 1
    assert inbox.purge(3) == 1
    inbox.put(Ready(3, peer(7)))
    inbox.put(Left(2, peer(7), WHY))
    found = [(item.link, type(item)) for item in pulled(inbox)]
    assert found == [(2, Left), (3, Joined), (3, Ready)]
    inbox.put(Left(3, peer(7), WHY))
    inbox.put(Left(4, peer(8), WHY))
    pulled(inbox)
    assert not inbox._links
    assert not inbox._held
    assert not inbox._others


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 9)), max_size=60))
def test_each_peer_is_told_in_order_however_often_it_comes(
    steps: list[tuple[int, int]],
) -> None:
    """As a node does: who has left is told when all else of that link was pulled."""
    inbox, number = Inbox[str](4), 0
    said: dict[int, list[str]] = {who: [] for who in range(3)}
    links: dict[int, list[int]] = {who: [] for who in range(3)}
    heard: dict[int, list[str]] = {who: [] for who in range(3)}

    def pull() -> bool:
        for mine in links.values():
            over = mine[:-1]  # but the last of each peer
            for link in over:
                if not inbox.holds(link) and link not in told:
                    inbox.put(Left(link, peer(owner[link]), WHY))
                    told.add(link)
        item = inbox.next()
        if item is not None:
            what = item.message if isinstance(item, Message) else type(item).__name__
            heard[owner[item.link]].append(f"{item.link} {what}")
        return item is not None

    owner: dict[int, int] = {}
    told: set[int] = set()
    for who, what in steps:
        mine = links[who]
        if what < 3 or not mine:
            number += 1
            if mine:
                said[who].append(f"{mine[-1]} Left")
            mine.append(number)
            owner[number] = who
            inbox.put(came(number, who))
            said[who].append(f"{number} Joined")
        elif what < 7:
            if inbox.room(mine[-1]):
                inbox.put_all(mine[-1], peer(who), [str(what)])
                said[who].append(f"{mine[-1]} {what}")
        else:
            pull()
        assert inbox.waiting <= 3 * number
    while pull():
        pass
    assert heard == said
    assert len(inbox) == inbox.waiting == 0
