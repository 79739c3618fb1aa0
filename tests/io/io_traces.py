"""Simulated networks of which a node is recorded: what the tests of recordings share."""

from __future__ import annotations

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "sim"))

import nodes  # found by the line above
from nodes import Sim, identity, node, point

from tezos_p2p.fsm.policy import Treatment
from tezos_p2p.io.record.log import Recorder
from tezos_p2p.io.record.node import RecordedNode

__all__ = ["churn", "identity", "node", "nodes", "pair", "point", "recorded"]


#: Recorders that were made, to be closed at a test's end.
OPEN = []


def recorded(made, path, **options):
    """Return a node that is recorded in a file, and what writes that."""
    recorder = Recorder(path, **options)
    OPEN.append(recorder)
    return RecordedNode.of(made, recorder), recorder


def by_score(_metadata, score, trusted):
    """A policy of an application."""
    return Treatment(weight_up=2.0 if trusted else max(0.5, score), may_swap=score >= 0)


def churn(path=None, seconds=300.0, seed=1, **options):
    """Run a network whose nodes come and go; record the first, if there is a path.

    That one talks, bans, trusts and judges meanwhile.
    """
    sim, draw = Sim(seed), random.Random(seed)
    recorder = None
    for number in range(10):
        known = () if number == 1 else (1,)
        made = node(number, *known, seed=seed, policy=by_score, shares="score")
        if number == 0 and path is not None:
            made, recorder = recorded(made, path, **options)
        sim.add(point(number), made)
    first, number = sim.hosts[0], 10
    while sim.now < seconds:
        sim.run(5.0)
        up = [host for host in sim.hosts[2:] if host.up]
        if len(up) > 6:
            sim.kill(draw.choice(up))
        sim.add(point(number), node(number, 1, 0, seed=seed))
        who = draw.randrange(number)
        deed = draw.choice(DEEDS)
        sim.do(first, lambda it, do=deed, who=who: do(it, who, sim.now))
        number += 1
    if recorder is not None:
        recorder.close()
    return sim


#: What is done to the node that is recorded.
DEEDS = (
    lambda it, who, now: it.broadcast(bytes(100 * who), now, [identity(who).peer_id]),
    lambda it, who, now: it.disconnect(identity(who).peer_id, now),
    lambda it, who, now: it.govern(lambda s: s.ban_address(point(who).address), now),
    lambda it, who, now: it.govern(lambda s: s.unban_address(point(who).address), now),
    lambda it, who, now: it.govern(lambda s: s.trust_point(point(who), now), now),
    lambda it, who, now: it.update_metadata(
        identity(who).peer_id, lambda _: 0.1 + who / 7, now
    ),
    lambda it, who, now: it.acl.clear(),
    lambda it, who, now: it.maintain(now),
    lambda it, who, now: it.connect(point(who), now),
)


def pair(path, seconds=2.0, **options):
    """Record the first of two nodes that meet and talk."""
    made, recorder = recorded(node(0, 1), path, **options)
    sim = Sim(1)
    one, other = sim.add(point(0), made, keeps=True), sim.add(point(1), node(1))
    sim.run(seconds)
    sim.do(one, lambda it: it.send(identity(1).peer_id, b"hello", sim.now))
    sim.do(other, lambda it: it.send(identity(0).peer_id, b"and to you", sim.now))
    sim.run(seconds)
    return sim, recorder
