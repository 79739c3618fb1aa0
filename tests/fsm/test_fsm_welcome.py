"""The welcome worker: accepting, resting when the system has nothing left, the end."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tezos_p2p.fsm import LocalProtocolError
from tezos_p2p.fsm.machine import RUNNERS
from tezos_p2p.fsm.welcome import ACCEPT_DELAY, State, Welcome

EXHAUSTED = [errno.EMFILE, errno.ENFILE, errno.ENETDOWN, errno.ENOBUFS, errno.ENOMEM]
PASSING = [
    errno.EAGAIN,
    errno.ECONNABORTED,
    errno.ECONNRESET,
    errno.EHOSTUNREACH,
    errno.ENETUNREACH,
    errno.EPROTO,
    errno.ETIMEDOUT,
]


def opened(**settings) -> Welcome:
    welcome = Welcome(**settings)
    welcome.open(0.0)
    assert welcome.next_command() is True
    return welcome


@pytest.mark.parametrize("runner", RUNNERS.values(), ids=RUNNERS)
def test_it_accepts_from_open_to_stop(runner):
    welcome = Welcome(runner=runner)
    assert welcome.state is State.CLOSED
    assert not welcome.accepting
    assert welcome.next_command() is None
    welcome.start(1.0)
    assert welcome.accepting
    assert [welcome.next_command(), welcome.next_command()] == [True, None]
    assert welcome.next_timeout() is None
    welcome.handle_timeout(100.0)
    assert welcome.next_command() is None
    welcome.stop(101.0)
    assert welcome.state is State.STOPPED
    assert [welcome.next_command(), welcome.next_command()] == [False, None]


@pytest.mark.parametrize("error", EXHAUSTED, ids=errno.errorcode.get)
def test_it_rests_five_seconds_when_the_system_has_nothing_left(error: int):
    welcome = opened()
    welcome.accept_failed(error, 10.0)
    assert welcome.state is State.BACKING_OFF
    assert not welcome.accepting
    assert [welcome.next_command(), welcome.next_command()] == [False, None]
    assert welcome.next_timeout() == 15.0
    welcome.handle_timeout(14.999)
    assert welcome.next_command() is None
    welcome.handle_timeout(15.0)
    assert welcome.accepting
    assert welcome.next_command() is True
    assert welcome.next_timeout() is None


def test_it_goes_on_for_ever_and_never_spins():
    welcome, now, tries = opened(), 0.0, 0
    while now < 3600.0:
        welcome.accept_failed(errno.EMFILE, now)
        assert welcome.next_command() is False
        tries += 1
        at = welcome.next_timeout()
        assert at is not None
        assert at > now
        now = at
        welcome.handle_timeout(now)
        assert welcome.next_command() is True
    assert tries == welcome.failures == 720


@pytest.mark.parametrize("error", PASSING, ids=errno.errorcode.get)
def test_a_connection_that_is_gone_already_changes_nothing(error: int):
    welcome = opened()
    welcome.accept_failed(error, 10.0)
    assert welcome.accepting
    assert welcome.next_command() is None
    assert welcome.next_timeout() is None
    assert welcome.failures == 1


@pytest.mark.parametrize("error", [0, 12_345, errno.EBADF])
def test_an_error_that_nobody_knows_makes_it_rest_and_not_end(error: int):
    welcome = opened()
    welcome.accept_failed(error, 10.0)
    welcome.handle_timeout(10.0 + ACCEPT_DELAY)
    assert welcome.accepting


def test_what_fails_while_it_rests_does_not_draw_the_rest_out():
    welcome = opened()
    welcome.accept_failed(errno.EMFILE, 10.0)
    welcome.accept_failed(errno.EMFILE, 14.0)
    assert welcome.next_timeout() == 15.0
    assert welcome.failures == 2


def test_what_was_not_fetched_is_not_told_when_it_no_longer_holds():
    welcome = opened()
    welcome.accept_failed(errno.EMFILE, 1.0)
    welcome.handle_timeout(6.0)
    assert welcome.next_command() is None
    unopened = Welcome()
    unopened.open(0.0)
    unopened.stop(0.0)
    assert unopened.next_command() is None


def test_stopping_is_possible_in_every_state_and_more_than_once():
    resting = opened()
    resting.accept_failed(errno.EMFILE, 1.0)
    for welcome in (Welcome(), opened(), resting):
        welcome.stop(2.0)
        welcome.stop(3.0)
        assert welcome.state is State.STOPPED
        assert welcome.next_timeout() is None
        welcome.accept_failed(errno.EMFILE, 4.0)
        welcome.handle_timeout(100.0)
        assert welcome.state is State.STOPPED
        assert welcome.next_command() in (False, None)
        assert welcome.next_command() is None
        with pytest.raises(LocalProtocolError):
            welcome.open(5.0)


def test_it_is_opened_once():
    welcome = opened()
    with pytest.raises(LocalProtocolError):
        welcome.open(1.0)
    assert welcome.accepting


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["fail", "pass", "time", "fetch", "stop"]),
            st.floats(0.0, 6.0),
        ),
        max_size=40,
    )
)
def test_the_driver_always_knows_what_holds(steps):
    welcome, now, told = Welcome(), 0.0, False
    welcome.open(now)
    for what, pause in steps:
        now += pause
        if what == "fail":
            welcome.accept_failed(errno.EMFILE, now)
        elif what == "pass":
            welcome.accept_failed(errno.ECONNABORTED, now)
        elif what == "time":
            welcome.handle_timeout(now)
        elif what == "stop":
            welcome.stop(now)
        else:
            command = welcome.next_command()
            told = told if command is None else command
            assert told == welcome.accepting
        assert (welcome.next_timeout() is None) == (
            welcome.state is not State.BACKING_OFF
        )
