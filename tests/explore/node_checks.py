"""What has to be true of one node, in every state.

The words of `faults_of` say what is not true; the test says what should be.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from node_host import OVER, Host

from tezos_p2p.fsm import peer as peers
from tezos_p2p.fsm import point as points
from tezos_p2p.fsm import swap as swaps
from tezos_p2p.fsm.admission import State
from tezos_p2p.fsm.inbox import Left
from tezos_p2p.fsm.lifecycle import State as Stage

_PENDING = (State.DIALLING, State.HANDSHAKING, State.ACCEPTED)


def faults_of(host: Host) -> Iterator[str]:
    """Give the properties of one node that do not hold."""
    yield from host.wrong
    yield from _faults_of_counts(host)
    yield from _faults_of_tables(host)
    yield from _faults_of_points(host)
    yield from _faults_of_links(host)
    yield from _faults_of_bans(host)
    yield from _faults_of_memory(host)
    yield from _faults_of_swaps(host)


def _faults_of_counts(host: Host) -> Iterator[str]:
    node = host.node
    reception, pool, places = node._reception, node.pool, node._reception.places
    census, limits = node.census(), reception._local.limits
    alive = [line for line in node._traffic.lines.values() if not line.lost]
    if sum(census.values()) != len(alive):
        yield f"{len(alive)} links are not lost, and the census is {census}"
    if census[State.RUNNING] != pool.active:
        yield f"{census[State.RUNNING]} links run, and {pool.active} in the pool"
    if census[State.ACCEPTED] != places.reserved:
        yield f"{places.reserved} places are reserved for {census[State.ACCEPTED]} links"
    if pool.active + places.reserved > limits.max_connections:
        yield f"{pool.active} run, {places.reserved} are reserved: more than may"
    attempts = reception.attempts.values()
    coming = [it for it in attempts if it.incoming and it.state in _PENDING]
    if not places.incoming == len(coming) == len(reception._door):
        seats = f"{places.incoming} and {len(reception._door)}"
        yield f"{seats} seats are taken by {len(coming)} links"
    accepted = [it for it in coming if it.state is State.ACCEPTED]
    if places.coming != len(accepted):
        yield f"{places.coming} places for {len(accepted)} incoming links"
    untold = [it for it in attempts if it.told and it.state in OVER]
    if places.untold != len(untold):
        yield f"{places.untold} links are said to be untold, {len(untold)} are"


def _faults_of_tables(host: Host) -> Iterator[str]:
    node = host.node
    pool, attempts = node.pool, node._reception.attempts
    running = {n for n, it in attempts.items() if it.state is State.RUNNING}
    if set(pool.running) != running:
        yield f"{sorted(pool.running)} run in the pool, {sorted(running)} do"
    by_peer = {it.peer.peer_id: n for n, it in pool.running.items()}
    if len(by_peer) != len(pool.running):
        yield "a peer has two connections"
    if pool._by_peer != by_peer:
        yield "the pool's table of peers is wrong"
    by_point = {it.point.point: n for n, it in pool.running.items() if it.point}
    if pool._by_point != by_point:
        yield "the pool's table of points is wrong"
    listening = {n for n, it in pool.running.items() if it.id_point.port is not None}
    for bag, links in (pool._public, running), (pool._public_with_port, listening):
        if set(bag._items) != links:
            yield f"the pool draws from {bag._items}, not from {sorted(links)}"
    diversity = node._diversity
    if set(diversity._in) != {n for n in running if attempts[n].incoming}:
        yield "diversity counts other incoming links than those that run"
    ours = {n for n, it in attempts.items() if not it.incoming and it.state not in OVER}
    if set(diversity._out) != ours:
        yield "diversity counts other outgoing links than those that live"
    if {n for n, out in diversity._out.items() if out.running} != ours & running:
        yield "diversity does not know which outgoing links run"


def _faults_of_points(host: Host) -> Iterator[str]:
    """Points and peers are what the attempts make of them, and nothing else."""
    node = host.node
    expected: dict[Any, tuple[Any, int]] = {}
    who: dict[Any, tuple[Any, int]] = {}
    for link, it in node._reception.attempts.items():
        if it.state in OVER:
            continue
        at = it.point
        if it.state is State.ACCEPTED:
            who[it.peer] = peers.State.ACCEPTED, link
            state = points.State.ACCEPTED
        elif it.state is State.RUNNING:
            who[it.peer] = peers.State.RUNNING, link
            state = points.State.RUNNING
        else:
            state, at = points.State.REQUESTED, None if it.incoming else at
        if at is not None:
            if at in expected:
                yield f"{at.point} is held by two links"
            expected[at] = state, link
    for info in node.pool.known_points.values():
        found, due = (info.state, info.link), expected.pop(info, None)
        if found != (due or (points.State.DISCONNECTED, None)):
            yield f"{info.point} is {found[0].name} by {found[1]}, not {due}"
        if (info.peer_id is None) is not (found[0] in points._BEFORE):
            yield f"{info.point} is {found[0].name}, and {info.peer_id} there"
    for info in node.pool.known_peers.values():
        found, due = (info.state, info.link), who.pop(info, None)
        if found != (due or (peers.State.DISCONNECTED, None)):
            yield f"{info.peer_id} is {found[0].name} by {found[1]}, not {due}"
    if expected or who:
        yield "a link holds what is in no table"


def _faults_of_links(host: Host) -> Iterator[str]:
    node = host.node
    traffic, attempts = node._traffic, node._reception.attempts
    if set(traffic.lines) != set(attempts):
        yield f"lines {sorted(traffic.lines)}, attempts {sorted(attempts)}"
        return
    armed = traffic.timers._armed
    for link, line in traffic.lines.items():
        it, connection = attempts[link], line.connection
        if (it.state is State.GONE) is not line.lost:
            yield f"{link} is {it.state.name}, lost: {line.lost}"
        if (it.state is State.DIALLING) and line.made:
            yield f"{link} is made, and dialling"
        if (it.state in OVER) is not connection.ended:
            yield f"{link} is {it.state.name}, and {connection.state.name}"
        if it.state is State.RUNNING and connection.version is None:
            yield f"{link} runs without a version"
        polite = connection.state in (Stage.DRAINING, Stage.LINGERING)
        waits = it.state in _PENDING or (polite and it.state not in OVER)
        if (link in armed) is not waits:
            yield f"{link} is {it.state.name}, armed: {link in armed}"
        if (link in host.closing) is not (it.state is State.LEAVING):
            yield f"{link} is {it.state.name}, to be closed: {link in host.closing}"
        if it.state is State.GONE and not it.told:
            yield f"{link} is not forgotten"
        if line.made and not line.lost and link not in traffic.up._links:
            yield f"{link} has no share"
    shares = {n for n, line in traffic.lines.items() if line.made and not line.lost}
    for each in (traffic.up, traffic.down):
        if set(each._links) != shares:
            yield f"{sorted(each._links)} have shares, not {sorted(shares)}"


def _faults_of_bans(host: Host) -> Iterator[str]:
    node = host.node
    for link, it in node._reception.attempts.items():
        if it.state in OVER:
            continue
        if node.acl.is_blacklisted(it.remote_point.address):
            yield f"{link} is {it.state.name} with a banned address"
        if it.peer is not None and node.acl.is_peer_blacklisted(it.peer.peer_id):
            yield f"{link} is {it.state.name} with a banned peer"


def _steered_by(found: swaps.Swaps) -> list[int]:
    """Return the links that swaps know of, but for places that outlive theirs."""
    return [link for link in found._steered if link not in found._gone._armed]


def _faults_of_memory(host: Host) -> Iterator[str]:
    """Nobody knows of a link that is forgotten."""
    node = host.node
    lines = node._traffic.lines
    kept = {
        "the pool": node.pool.running,
        "the timers": node._traffic.timers._armed,
        "the seats": node._reception._door.seats._key_of,
        "the talks": node._answerer._talks,
        "the talks' timers": node._answerer._timers._armed,
        "the swaps": _steered_by(node._answerer.swaps),
        "the driver": dict.fromkeys(host.closing),
    }
    for what, links in kept.items():
        if stale := [link for link in links if link > 0 and link not in lines]:
            yield f"{what} still know of {stale}"
    inbox = node._inbox
    boxes = {**inbox._boxes, **inbox._held}
    if stale := inbox._others.keys() - boxes.keys():
        yield f"the inbox's counts still know of {sorted(stale)}"
    come = [link for links in inbox._links.values() for link in links]
    if stale := [link for link in come if link not in lines and link not in boxes]:
        yield f"the inbox still waits for the end of {stale}"
    for link, box in boxes.items():
        # What is said behind Left, nobody would pull; before it, the link is kept.
        if link not in lines and [type(item) for item in box] != [Left]:
            yield f"the inbox still knows of {link}: {list(box)}"
    unfinished = {
        "commands": node._traffic.commands,
        "facts": node._reception.facts,
        "answers": node._answerer._commands,
        "maintenance": node.maintenance._commands,
    }
    for what, left in unfinished.items():
        if left:
            yield f"{what} are left over: {list(left)}"
    if node._news != node.pool.news:
        yield "maintenance was not told of new points"
    if node._stopped and any(
        it.state not in OVER for it in node._reception.attempts.values()
    ):
        yield "it has stopped, and a link lives"


def _faults_of_swaps(host: Host) -> Iterator[str]:
    node = host.node
    found = node._answerer.swaps
    dialled = [
        it
        for it in node._reception.attempts.values()
        if it.swaps and not it.known and it.state not in OVER
    ]
    if (found.state is swaps.State.DIALLING) is not (len(dialled) == 1):
        yield f"a swap is {found.state.name}, with {len(dialled)} dials"
    if found.state is swaps.State.AGREEING:
        yield "a swap is still being agreed on"
    if found.busy is not (found.current is not None):
        yield f"a swap is {found.state.name}: {found.current}"
