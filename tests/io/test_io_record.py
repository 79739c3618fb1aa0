"""Recordings of nodes: complete, exact, bounded, and no trouble to who is recorded."""

from __future__ import annotations

import base64
import json
import os
import random
import stat

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from io_traces import OPEN, churn, identity, node, nodes, pair, point, recorded
from nacl.bindings import crypto_box_beforenm

from tezos_p2p.fsm.inbox import Message
from tezos_p2p.fsm.machine import LocalProtocolError
from tezos_p2p.fsm.node import Node
from tezos_p2p.fsm.policy import Treatment
from tezos_p2p.fsm.prefix import Prefix
from tezos_p2p.io.record.about import restore_state, state_json
from tezos_p2p.io.record.log import Log, Recorder
from tezos_p2p.io.record.node import RecordedNode
from tezos_p2p.io.record.replay import _CALLS, replay
from tezos_p2p.io.record.trace import CONTENTS, read_lines
from tezos_p2p.io.record.values import Frames, raised_in, raised_out, value_in, value_out
from tezos_p2p.spec.address import Address
from tezos_p2p.spec.message import MessageCodec
from tezos_p2p.spec.raw import RawCodec
from tezos_p2p.spec.reader import DecodeError, DecodeFault, EncodeError
from tezos_p2p.spec.reasons import Disconnection, Reason


@pytest.fixture
def path(tmp_path):
    yield tmp_path / "node.trace"
    while OPEN:
        OPEN.pop().close()


def last(path):
    return json.loads(path.read_text().splitlines()[-1])


def same(path, number=0):
    """Replay a trace of a simulated node; return what came of it."""
    done = replay(path, identity(number))
    assert done.hash == last(path)["hash"]
    assert done.lines == last(path)["lines"] == len(path.read_text().splitlines()) - 1
    return done


# -- the promise -----------------------------------------------------------------------


def test_five_minutes_with_churn_replay_to_the_same_hash_and_disturb_nothing(path):
    sim = churn(path)
    done = same(path)
    assert done.end == "closed"
    assert done.seconds == pytest.approx(300.0, abs=5.0)
    made = sim.hosts[0].node
    assert len(made._sent) <= len(made)  # nothing is kept of who is gone
    ended = made.refused
    assert sum(ended.values()) > 30  # many came and went
    assert len(ended) >= 4
    # The network has done what it does when nobody records.
    assert sim.trace == churn().trace


def test_whatever_is_done_in_whatever_order_replays(tmp_path):
    from test_sim_anything import Walk  # beside `nodes`

    verbs = set()
    for seed in range(8):
        walk = Walk(seed)
        recorders = []
        sim = nodes.Sim(seed)
        walk.sim = sim
        for number in range(walk.count):
            file = tmp_path / f"{seed}-{number}"
            made, recorder = recorded(walk.make(number, seed), file)
            recorders.append(recorder)
            sim.add(point(number), made, keeps=True)
        # What goes past the node's verbs is not recorded.
        walk.acts.remove(walk.do_say_something_of_this_layer)
        for _ in range(60):
            walk.step()
        for number, recorder in enumerate(recorders):
            recorder.close()
            assert same(recorder.path, number).end == "closed"
            verbs |= {line.fields.get("do") for line in read_lines(recorder.path)}
    assert {"stop", "govern", "disconnect", "update_metadata", "connect"} <= verbs


READ_ONLY = {
    *("acl", "census", "due", "maintenance", "next_event", "pending", "pool"),
    *("queues", "readable", "refused", "status", "swaps", "tally", "untaught"),
    "data_to_send",  # asks for pieces
    "survey",
}


def test_every_verb_of_a_node_is_recorded_and_can_be_replayed():
    verbs = {name for name in dir(Node) if not name.startswith("_")}
    assert verbs - READ_ONLY == verbs & set(vars(RecordedNode))
    assert verbs - READ_ONLY == {name for name in _CALLS if "." not in name}


def test_what_the_tables_hold_before_the_start_is_part_of_it(path):
    made = node(0)
    pool, acl = made.pool, made.acl
    pool.register_point(point(1), 0.0, trusted=True, expected=identity(1).peer_id)
    info = pool.register_point(point(2), 0.0)
    info.request(1, 0.0)
    info.disconnect(0.1 + 0.2)  # no float that is written short
    pool.register_peer(identity(3).peer_id, -1.5).trusted = True
    pool.add_own_point(point(4))
    acl.ban(Prefix.parse("10.0.0.0/8"))
    acl.ban_peer(identity(5).peer_id)
    acl.allow(Address.parse("20.0.0.1"))
    acl.greylist(Address.parse("30.0.0.1"), 0.1)
    acl.greylist_peer(identity(6).peer_id, 0.2)
    original, (made, recorder) = made, recorded(made, path)
    again = node(9)
    restore_state(again.pool, again.acl, state_json(pool, acl))
    for copy in (made, again):
        assert told_of(copy) == told_of(original)
    made.pool.register_point(point(7), 0.0)
    # What is done to the tables by hand counts until the start.
    made.pool.known_points[point(7)].trusted = True
    sim = nodes.Sim(1)
    sim.add(point(0), made)
    sim.add(point(1), node(1))
    sim.run(100.0)
    recorder.close()
    same(path)
    state = [line.fields for line in read_lines(path) if "state" in line.fields][-1]
    assert [each["point"] for each in state["state"]["points"]] == list(
        map(str, (point(1), point(2), point(7)))
    )
    assert state["state"]["points"][2]["trusted"]
    assert state["state"]["points"][1]["last_failed"] == 0.1 + 0.2
    assert state["state"]["greylisted"] == [["30.0.0.1", 0.1]]


def told_of(made):
    """Return all that a node knows that anything depends on."""
    points = [
        {
            name: getattr(info, name)
            for name in (
                *("point", "trusted", "expected", "known_public", "last_failed"),
                *("last_rejected", "last_established", "last_disconnection"),
                *("retry_at", "_delay", "state"),
            )
        }
        for info in made.pool.known_points.values()
    ]
    peers = [
        (info.peer_id, info.created, info.trusted)
        for info in made.pool.known_peers.values()
    ]
    acl = made.acl
    grey = (dict(acl._grey._last), dict(acl._grey_peers._last))
    return points, peers, list(made.pool._own), made.pool.news, acl.static, grey


def test_what_is_said_by_name_to_the_tables_counts_in_the_replay(path):
    made, recorder = recorded(node(0), path)
    sim = nodes.Sim(1)
    one = sim.add(point(0), made)
    sim.add(point(1), node(1))
    who = identity(7).peer_id
    sim.do(one, lambda it: it.pool.register_point(point(1), sim.now, expected=who))
    sim.do(one, lambda it: it.connect(point(1), sim.now))
    sim.run(5.0)
    recorder.close()
    assert made.pool.active == 0  # it is somebody else
    same(path)


def test_a_node_that_has_started_is_not_recorded(path):
    made = node(0)
    made.start(0.0, 0.0)
    recorder = Recorder(path)
    with pytest.raises(LocalProtocolError):
        RecordedNode.of(made, recorder)
    recorder.close()


# -- what the core is told and asked ---------------------------------------------------


class Moody:
    """A codec that fails as it is told to, by the first byte of a message."""

    limits = RawCodec().limits

    def encode(self, message):
        if message == b"cannot":
            raise EncodeError("no bytes for that")
        return RawCodec().encode(message)

    def decode(self, tag, payload):
        if payload.startswith(b"none"):
            return None
        if payload.startswith(b"fault"):
            raise DecodeError(DecodeFault.NOT_ENOUGH_DATA, 3, "it is a fault")
        if payload.startswith(b"bug"):
            raise ZeroDivisionError("a bug")
        return RawCodec().decode(tag, payload)


@pytest.mark.parametrize("word", [b"none", b"fault", b"bug"])
def test_messages_that_do_not_decode(path, word):
    made = node(0)
    made._codec = MessageCodec(Moody())
    moody = Node(made._local, made._codec, made._settings, made._diversity)
    made, recorder = recorded(moody, path)
    sim = nodes.Sim(1)
    one, other = sim.add(point(0), made, keeps=True), sim.add(point(1), node(1, 0))
    sim.run(1.0)
    # All in one chunk: the third of them is wrong, not the first.
    for message in (b"fine", b"fine as well", word, b"never heard"):
        other.node.send(identity(0).peer_id, message, sim.now)
    sim.do(other, lambda it: None)
    sim.run(1.0)
    recorder.close()
    heard = [item.message for item in one.items if isinstance(item, Message)]
    assert heard in ([b"fine", b"fine as well"], [])  # a fault purges
    same(path)
    asks = [line.fields for line in read_lines(path) if "number" in line.fields]
    assert [(ask["ask"], ask["number"]) for ask in asks] == [("decode", 3)]


def test_what_calls_raise_is_recorded_and_raised(path):
    made, recorder = recorded(node(0), path)
    peer_id = identity(1).peer_id
    with pytest.raises(LocalProtocolError):
        made.connect(point(1), 0.0)
    made.start(1, 2)  # whole numbers stay whole
    with pytest.raises(LocalProtocolError):
        made.start(1, 2)
    with pytest.raises(LocalProtocolError):
        made.send(peer_id, b"x", 1.0)
    with pytest.raises(KeyError):
        made.receive_data(7, b"x", 1.0)
    with pytest.raises(ZeroDivisionError):
        made.govern(lambda steward: 1 / 0, 1.0)
    with pytest.raises(ZeroDivisionError):
        made.update_metadata(peer_id, lambda _: 1 / 0, 1.0)
    made.accept_failed(24, 1.0)
    made.receive_datagram(b"x", Address.parse("127.0.0.1"), 1.0)
    recorder.close()
    raised = [
        line.fields["raises"] for line in read_lines(path) if "raises" in line.fields
    ]
    assert raised[:4] == [*["LocalProtocolError"] * 3, "KeyError"]
    # What is done with metadata is not recorded, and so not that it fails.
    lines = path.read_text().splitlines(keepends=True)
    cut = next(n for n, line in enumerate(lines) if "update_metadata" in line)
    path.write_text("".join(lines[:cut]))
    assert replay(path, identity(0)).lines == cut


def test_scores_of_any_kind_are_exact(path):
    made = node(0, 1, policy=lambda *_: Treatment(weight_up=0.1 + 0.2))
    settings_ = attrs.evolve(made._settings, score=lambda _: float("nan"))
    made = Node(made._local, made._codec, settings_, made._diversity)
    made.pool.register_point(point(1), 0.0)
    made, recorder = recorded(made, path)
    sim = nodes.Sim(1)
    sim.add(point(0), made)
    sim.add(point(1), node(1))
    sim.run(2.0)
    recorder.close()
    asks = {
        line.fields["ask"]: line.fields["is"]
        for line in read_lines(path)
        if "ask" in line.fields
    }
    assert asks["score"] == "nan"
    assert asks["policy"]["weight_up"] == 0.1 + 0.2
    same(path)


# -- the file --------------------------------------------------------------------------


def test_the_file_is_its_owners_and_says_what_can_be_derived_from_it(path):
    _, recorder = pair(path)
    recorder.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    head = json.loads(path.read_text().splitlines()[0])
    assert head["says"] == CONTENTS
    assert head["node"]["peer_id"] == str(identity(0).peer_id)


def test_no_secret_key_is_in_it(path):
    _, recorder = pair(path)
    recorder.close()
    secret, data = identity(0).secret_key, path.read_bytes()
    shared = crypto_box_beforenm(identity(1).public_key, secret)
    for key in (secret, shared):
        assert key not in data
        assert key.hex().encode() not in data
        assert base64.b64encode(key).rstrip(b"=")[:-1] not in data
    assert identity(0).public_key.hex().encode() in data  # the search would find it


@pytest.mark.parametrize("kind", ["file", "link", "dangling", "folder", "fifo"])
def test_nothing_that_is_there_is_touched(path, tmp_path, kind):
    target = tmp_path / "target"
    if kind == "file":
        path.write_text("mine")
    elif kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to(target)
        if kind == "link":
            target.write_text("mine")
    with pytest.raises(FileExistsError):
        Recorder(path)
    assert not target.exists() or target.read_text() == "mine"
    assert kind != "file" or path.read_text() == "mine"


def test_at_its_cap_it_ends_says_so_and_the_node_goes_on(path):
    told = []
    sim = churn(path, 60.0, most=20_000, tell=told.append)
    assert path.stat().st_size <= 20_000
    end = last(path)
    assert (end["end"], end["why"]) == ("full", "it would be larger than 20000 bytes")
    assert told == [f"{path}: recording has ended: {end['why']}"]
    done = same(path)
    assert (done.end, done.why) == ("full", end["why"])
    assert sim.trace == churn(None, 60.0).trace


@pytest.mark.parametrize("most", [0, 3000])
def test_a_cap_below_the_head_is_no_trouble(path, most):
    _, recorder = pair(path, most=most)
    assert recorder.ended
    assert json.loads(path.read_text().splitlines()[-1])["end"] == "full"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("late", [False, True])
def test_a_full_disk_ends_the_recording_and_nothing_else(path, late):
    told = []
    made, recorder = recorded(node(0, 1), path, tell=told.append)
    sim = nodes.Sim(1)

    def fill():
        recorder._file.close()
        recorder._file = open("/dev/full", "wb")  # noqa: SIM115  # it closes it

    if not late:
        fill()
    one, other = sim.add(point(0), made, keeps=True), sim.add(point(1), node(1))
    if late:
        fill()
    sim.run(2.0)
    sim.do(other, lambda it: it.send(identity(0).peer_id, b"hello", sim.now))
    sim.run(2.0)
    assert [item.message for item in one.items if isinstance(item, Message)] == [b"hello"]
    recorder.close()
    assert len(told) == 1
    assert "No space left on device" in told[0]


def test_what_cannot_be_written_ends_the_recording_and_nothing_else(path):
    told = []
    made, _ = recorded(node(0), path, tell=told.append)
    made.start(0.0, 0.0)
    made.stop(1.0, float("inf"))  # no number of JSON
    assert made._stopped
    assert "cannot record: ValueError" in told[0]
    assert last(path)["end"] == "failed"
    assert same(path).end == "failed"


def test_who_is_told_may_fail(path):
    def tell(line):
        raise OSError(line)

    sim, recorder = pair(path, most=3000, tell=tell)
    assert recorder.ended
    assert sim.hosts[0].node.pool.active == 1


def test_what_has_happened_is_given_to_the_system_when_all_is_done(path):
    sim, _ = pair(path)
    node_ = sim.hosts[0].node
    assert node_.next_command() is None
    lines = path.read_text().splitlines()
    assert lines[-1] == '{"do":"next_command","is":null}'


def test_a_log_is_for_subclasses():
    log = Log()
    assert not log.ended
    for act in (
        lambda: log.begin(dict),
        lambda: log.put(dict),
        lambda: log.ask("x", int, int, int),
        lambda: log.decode(0, b"", RawCodec().decode),
    ):
        with pytest.raises(NotImplementedError):
            act()


# -- values ----------------------------------------------------------------------------

arguments = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(),
        st.binary(),
        st.integers(0, 50).map(point),
        st.integers(0, 50).map(lambda n: identity(n).peer_id),
        st.integers(0, 50).map(lambda n: point(n).address),
        st.just(Prefix.parse("10.0.0.0/8")),
        st.just(Disconnection(Reason.USER)),
    ),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=6,
)


@given(arguments)
@settings(max_examples=100, deadline=None)
def test_arguments_are_what_they_were(value):
    text = json.dumps(value_out(value))
    found = value_in(json.loads(text))
    assert found == value
    assert type(found) is type(value)


def test_what_is_no_argument_is_told():
    with pytest.raises(TypeError, match="no argument that can be recorded: object"):
        value_out(object())


@pytest.mark.parametrize(
    "error",
    [DecodeError(DecodeFault.NOT_ENOUGH_DATA, 3, "why"), ZeroDivisionError("a bug")],
)
def test_errors_of_an_application_keep_what_matters(error):
    if isinstance(error, DecodeError):
        error.inside("field")
    found = raised_in(json.loads(json.dumps(raised_out(error))))
    assert type(found).__name__ == type(error).__name__
    if isinstance(error, DecodeError):
        assert str(found) == str(error)


def test_frames_are_counted_wherever_they_are_cut():
    sizes = [0, 1, 300, 65_535]
    data = b"".join(size.to_bytes(2, "big") + bytes(size) for size in sizes)
    draw = random.Random(1)
    for _ in range(20):
        frames, found, at = Frames(), [], 0
        while at < len(data):
            step = draw.choice((1, 2, 3, 500, 40_000))
            found += frames.feed(data[at : at + step])
            at += step
        assert found == [size + 2 for size in sizes]


def test_a_dial_that_is_given_up_is_given_up_again(path):
    made, recorder = recorded(node(0), path)
    made.start(0.0, 0.0)
    link = made.connect(point(1), 0.0)
    made.govern(lambda it: it.give_up(link), 1.0)
    assert made.survey.why_not(link) is not None
    recorder.close()
    assert same(path, 0).end == "closed"
