"""Clocks of the wall that are wrong: between two runs, and while a node runs."""

from __future__ import annotations

import json

import pytest

from tezos_p2p.fsm.peer import Contact
from tezos_p2p.io import household as module
from tezos_p2p.io.data_dir import DataDir
from tezos_p2p.io.household import Household
from tezos_p2p.io.node_ends import make_core
from tezos_p2p.io.peers_file import TEZOS_METADATA, load_peers
from tezos_p2p.io.proof_of_work import generate_identity
from tezos_p2p.io.timestamps import Clocks
from tezos_p2p.spec import SANDBOX, Address, ConnectionId, PeerId, RawCodec

DAY = 86_400.0
NOW = 1_790_000_000.0  # 2026
PEER = PeerId(b"\1" * 16)
WHERE = ConnectionId(Address.parse("20.1.0.1"), 9732)


class Clock:
    """In place of the module `time`."""

    def __init__(self, now, wall):
        self.now, self.wall = now, wall

    def monotonic(self):
        return self.now

    def time(self):
        return self.wall


def core():
    return make_core(generate_identity(0.0), SANDBOX, RawCodec(), 0, False, {})


@pytest.fixture
def keep(tmp_path, monkeypatch):
    """Save, and load with other clocks; return what is known then, and the warnings."""

    def keep(saving, loading):
        told = []
        household = Household(DataDir(tmp_path), lambda _, line: told.append(line))
        before, after = core(), core()
        info = before.pool.register_peer(PEER, saving.now - 5 * DAY)
        info.trusted = True
        info.last_established = Contact(WHERE, saving.now - DAY)
        monkeypatch.setattr(module, "time", saving)
        household.collect(before, ())()
        monkeypatch.setattr(module, "time", loading)
        household.restore(after, ())
        # And it can be saved again, as often as one likes.
        household.collect(after, ())()
        return after.pool.known_peers[PEER], told

    return keep


@pytest.mark.parametrize("leap", [0.0, -3600.0, -30 * DAY, 30 * DAY, 3650 * DAY])
def test_a_wall_clock_that_was_set_between_two_runs_loses_nothing(keep, leap):
    # The monotonic clock begins anew with the machine.
    info, told = keep(Clock(9 * DAY, NOW), Clock(7.0, NOW + leap))
    assert told == []
    assert info.trusted
    assert info.last_established is not None
    assert info.last_established.id_point == WHERE
    # Never the future: back-offs and orders would wait for it.
    assert info.last_established.at <= 7.0
    assert info.created <= info.last_established.at
    if leap >= 0.0:
        assert info.last_established.at == pytest.approx(7.0 - DAY - leap)


@pytest.mark.parametrize("wall", [0.0, 86_400.0])
def test_a_machine_that_does_not_know_the_time_keeps_its_peers(keep, tmp_path, wall):
    info, told = keep(Clock(9 * DAY, NOW), Clock(7.0, wall))
    assert told == []
    assert info.trusted
    assert info.last_established is not None
    assert info.last_established.at == 7.0
    # What was saved by the wrong clock is read by the right one.
    clocks = Clocks(50.0, NOW + DAY)
    found = load_peers(tmp_path / "peers.json", clocks, TEZOS_METADATA)
    assert found.warnings == ()
    assert [each.peer_id for each in found.value] == [PEER]


def test_a_wall_clock_that_is_set_while_the_node_runs_moves_what_is_saved(
    tmp_path, monkeypatch
):
    told = []
    household = Household(DataDir(tmp_path), lambda _, line: told.append(line))
    made, clock = core(), Clock(100.0, NOW)
    monkeypatch.setattr(module, "time", clock)
    made.pool.register_peer(PEER, 100.0)
    created = []
    for wall in (NOW, NOW - 30 * DAY, 0.0, NOW + 3650 * DAY):
        clock.wall, clock.now = wall, clock.now + 10.0
        household.collect(made, ())()
        (entry,) = json.loads((tmp_path / "peers.json").read_text())
        created.append(entry["created"])
    assert told == []
    # As long ago as it was, by whatever clock is believed at the time.
    assert created[0].startswith("2026-09-21T")
    assert created[2].startswith("1969-12-31T23:59:")
