"""A daemon in this process: names, helpers that die, files that are saved at the end."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import threading
import time

import pytest

from tezos_p2p.io import daemon as module
from tezos_p2p.io import names
from tezos_p2p.io.acl_file import OperatorLists
from tezos_p2p.io.cli import run as command
from tezos_p2p.io.config import Flags
from tezos_p2p.io.data_dir import DataDir
from tezos_p2p.io.proof_of_work import generate_identity
from tezos_p2p.spec import SANDBOX, Endpoint
from tezos_p2p.spec.metadata import TezosMetadata

DRIVERS = ("asyncio", "blocking")
LIMIT = 20.0
ANCHORS = ["203.0.113.7:9732", "198.51.100.4:9732"]


class Log:
    """What is logged; may do something about a line."""

    def __init__(self):
        self.lines = []
        self.on = {}

    def __getattr__(self, level):
        if level.startswith("_"):
            raise AttributeError(level)

        def log(name, /, **facts):
            self.lines.append((level, name, facts))
            if name in self.on:
                self.on[name](facts)

        return log

    def told(self, name):
        return [facts for _, each, facts in self.lines if each == name]


@pytest.fixture
def make(tmp_path, monkeypatch):
    def make(*peers, seeds="sandbox", shares="fair", **changes):
        files, flags = DataDir(tmp_path), Flags(net_addr="none", peer=peers)
        config = command.configuration(files, "sandbox", flags)
        log, identity = Log(), generate_identity(0.0)
        names = command._SEEDS.get(seeds, ())
        made = command.make_daemon(
            files, config, flags, SANDBOX, names, identity, None, log, shares
        )
        made.seconds = LIMIT
        for name, value in changes.items():
            setattr(made, name, value)
        return made, log

    monkeypatch.setattr(module, "RETRY_FIRST", 0.01)
    return make


def stop(*_):
    """Stop the daemon that runs; harmless if there is none."""
    if signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL or (
        signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    ):
        # Not the process: a thread of who runs the tests would take it, and all end.
        signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)


def answer(*addresses, port=1):
    """What ``getaddrinfo`` returns."""
    families = {True: socket.AF_INET6, False: socket.AF_INET}
    return [(families[":" in it], 1, 6, "", (it, port)) for it in addresses]


def known(made):
    return sorted(map(str, made.core.pool.known_points))


@pytest.fixture
def resolver(monkeypatch):
    """Answers in turn; the last one for ever.  An error is raised."""
    answers = []

    def getaddrinfo(host, port, **_):
        found = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return answers


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_name_is_asked_for_again_until_it_has_an_address(make, resolver, driver):
    failed = socket.gaierror(socket.EAI_AGAIN, "try again")
    resolver += [failed, answer(), failed, answer("20.1.0.1", "20.2.0.1")]
    made, log = make("some.example:9732")
    log.on["new_point"] = lambda facts: facts["point"].startswith("20.2.") and stop()
    made.run(driver)
    told = log.told("name_not_resolved")
    assert [each["again_in"] for each in told] == [0.01, 0.02, 0.04]
    assert [each["why"] for each in told] == [
        "try again",
        "it has no address",
        "try again",
    ]
    assert known(made) == ["20.1.0.1:1", "20.2.0.1:1"]
    assert all(info.trusted for info in made.core.pool.known_points.values())


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_public_network_believes_no_name_that_points_home(make, resolver, driver):
    resolver += [
        answer("127.0.0.1", "10.0.0.1", "::1", "fe80::1%lo", "0.0.0.0"),
        answer("192.168.1.1", "20.1.0.1"),
    ]
    made, log = make("some.example:9732", public=True)
    log.on["new_point"] = stop
    made.run(driver)
    told = log.told("name_not_believed")
    assert told[0]["addresses"] == ("127.0.0.1", "10.0.0.1", "::1", "fe80::1", "0.0.0.0")
    assert told[1]["addresses"] == ("192.168.1.1",)
    (unresolved,) = log.told("name_not_resolved")
    assert unresolved["why"] == "none of its addresses is believed"
    assert known(made) == ["20.1.0.1:1"]


@pytest.mark.parametrize("driver", DRIVERS)
def test_of_a_thousand_addresses_eight_are_taken(make, resolver, driver):
    home = [f"10.0.{number}.1" for number in range(200)]
    resolver.append(answer(*home, *(f"20.{n}.0.1" for n in range(200)), *home * 3))
    made, log = make("some.example:9732", public=True)
    log.on["new_point"] = lambda facts: facts["point"].startswith("20.7.") and stop()
    made.run(driver)
    assert known(made) == [f"20.{number}.0.1:1" for number in range(8)]
    assert len(log.told("name_not_believed")[0]["addresses"]) == 8


def test_a_sandbox_believes_all_but_what_no_host_has():
    found = names.answer_of(answer("127.0.0.1", "0.0.0.0", "224.0.0.1"), public=False)
    assert [str(point) for point in found.points] == ["127.0.0.1:1"]
    assert found.unbelieved == ("0.0.0.0", "224.0.0.1")


def test_an_answer_that_cannot_be_read_is_no_traceback(resolver):
    resolver.append(answer("what"))
    found = names.ask(Endpoint.parse("some.example:1"), public=False)
    assert not found.points
    assert found.why
    resolver[0] = UnicodeError("label too long")
    assert "label" in names.ask(Endpoint.parse("some.example:1"), public=False).why


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_resolver_that_hangs_delays_no_end(make, monkeypatch, driver):
    released = threading.Event()

    def getaddrinfo(*_, **__):
        stop()
        released.wait(LIMIT)
        return answer("20.1.0.1")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    made, log = make("some.example:9732")
    before = threading.enumerate()
    began = time.monotonic()
    try:
        made.run(driver)
        assert time.monotonic() - began < 5.0
        assert log.told("stopped")
    finally:
        released.set()
    # What comes when all is over is for nobody.
    for thread in threading.enumerate():
        if thread not in before:
            thread.join(LIMIT)
    assert known(made) == []


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("helper", ["items", "lookup"])
def test_a_helper_that_dies_ends_the_node_and_is_told(make, monkeypatch, driver, helper):
    def die(*_, **__):
        raise KeyError("a fault of ours")

    made, log = make("some.example:9732")
    if helper == "lookup":
        monkeypatch.setattr(module, "lookup", die)
        monkeypatch.setattr(module, "ask", die)
    else:
        monkeypatch.setattr(module, "ask", lambda *_, **__: names.Answer(why="no"))
        for each in (module.aio_node.Node, module.blocking_node.Node):
            monkeypatch.setattr(each, "receive_now", die)
    began = time.monotonic()
    with pytest.raises(OSError, match="has died: KeyError"):
        made.run(driver)
    assert time.monotonic() - began < 10.0
    assert [each["why"] for each in log.told("failed")] == [made._failed]
    assert (made.household.files.peers).exists()


def test_a_save_that_dies_ends_an_asyncio_node(make, monkeypatch):
    made, log = make()
    real = made.household.collect
    calls = []

    def collect(*arguments):
        calls.append(arguments)
        if len(calls) == 1:
            raise RuntimeError("dictionary changed size during iteration")
        return real(*arguments)

    monkeypatch.setattr(type(made.household), "collect", lambda _, *it: collect(*it))
    log.on["activate_layer"] = lambda _: os.kill(os.getpid(), signal.SIGHUP)
    with pytest.raises(OSError, match="dictionary changed size"):
        made.run("asyncio")
    assert len(calls) == 2


def test_the_last_save_of_a_blocking_node_has_the_core_for_itself(make, monkeypatch):
    made, _ = make(seconds=0.05)
    real, begin = made.household.collect, module.blocking_node.Node._begin
    locks, free = [], []

    def collect(*arguments):
        def look():
            free.append(locks[0].acquire(blocking=False))

        other = threading.Thread(target=look)
        other.start()
        other.join()
        return real(*arguments)

    def remember(self, *arguments):
        begin(self, *arguments)
        locks.append(self._lock)

    monkeypatch.setattr(module.blocking_node.Node, "_begin", remember)
    monkeypatch.setattr(type(made.household), "collect", lambda _, *it: collect(*it))
    made.run("blocking")
    assert free == [False]


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_node_that_ends_by_itself_is_told(make, monkeypatch, driver):
    async def nothing(_):
        for item in ():
            yield item

    monkeypatch.setattr(module.aio_node.Node, "items", nothing)
    monkeypatch.setattr(module.blocking_node.Node, "items", lambda _: iter(()))
    made, log = make()
    with pytest.raises(OSError, match=r"^the node has ended by itself$"):
        made.run(driver)
    assert log.told("failed") == [{"why": "the node has ended by itself"}]


def test_what_cannot_be_written_keeps_nothing_else_from_being_saved(make, tmp_path):
    made, log = make()
    made.household._save(1, [{"no": object()}], OperatorLists(), made.anchors)
    (told,) = log.told("save_error_peers")
    assert "peers.json is not saved: TypeError" in told["what"]
    assert json.loads((tmp_path / "anchors.json").read_text())["anchors"] == []


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_node_that_cannot_start_keeps_its_anchors(make, tmp_path, driver):
    text = json.dumps({"version": 1, "anchors": ANCHORS})
    (tmp_path / "anchors.json").write_text(text)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        nearby = Endpoint.parse(f"127.0.0.1:{port}").point()
        made, _ = make(nearby=nearby)
        with pytest.raises(OSError, match=f"UDP port {port}"):
            made.run(driver)
    assert json.loads((tmp_path / "anchors.json").read_text())["anchors"] == ANCHORS


@pytest.mark.parametrize("driver", DRIVERS)
def test_anchors_that_cannot_be_reached_stay(make, tmp_path, monkeypatch, driver):
    text = json.dumps({"version": 1, "anchors": ANCHORS})
    (tmp_path / "anchors.json").write_text(text)
    made, log = make()

    def unreachable(*_):
        raise OSError(101, "Network is unreachable")

    for driven in ("aio_driver", "blocking_driver"):
        monkeypatch.setattr(f"tezos_p2p.io.{driven}.open_for", unreachable)
    tried = []
    log.on["outgoing_connection"] = lambda it: (
        tried.append(it["point"]),
        len(tried) == 2 and stop(),
    )
    made.run(driver)
    assert sorted(tried) == sorted(ANCHORS)
    assert json.loads((tmp_path / "anchors.json").read_text())["anchors"] == ANCHORS


# -- what is told at the start ---------------------------------------------------------


def limits_of(monkeypatch, soft, hard):
    """Have the system say how many descriptors there may be; note what is asked of it."""
    asked = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, it: asked.append(it))
    return asked


@pytest.mark.parametrize(
    ("soft", "hard", "asked", "warned"),
    [
        (1024, 4096, [], None),
        (328, 328, [], None),
        (327, 4096, [(328, 4096)], None),
        (256, resource.RLIM_INFINITY, [(328, resource.RLIM_INFINITY)], None),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, [], None),
        (100, 327, [(327, 327)], 327),
        (100, 100, [(100, 100)], 100),
    ],
)
def test_descriptors_are_asked_for_and_too_few_are_told(
    monkeypatch, soft, hard, asked, warned
):
    found, log = limits_of(monkeypatch, soft, hard), Log()
    command.check_descriptors(100, log)
    assert found == asked
    told = log.told("few_descriptors")
    assert [(it["limit"], it["needed"]) for it in told] == (
        [] if warned is None else [(warned, 328)]
    )
    assert all("--connections" in it["what"] for it in told)


def test_the_limit_of_this_process_is_raised_indeed():
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (200, before[1]))
        log = Log()
        command.check_descriptors(50, log)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (228, before[1])
        assert log.lines == []
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("network", ["ghostnet", "mainnet", "sandbox"])
@pytest.mark.parametrize("peers", [(), ("some.example:1",), ("20.1.0.1:1",)])
def test_a_public_network_that_has_nobody_to_begin_with_says_so(make, network, peers):
    made, log = make(*peers, seeds=network)
    command.warn_of_nobody(network, made, log)
    told = log.told("nobody_to_begin_with")
    assert len(told) == (network == "ghostnet" and not peers)
    assert all(it["network"] == network and "--peer" in it["what"] for it in told)


def test_a_node_that_knows_somebody_of_before_does_not_complain(make):
    made, log = make()
    made.core.pool.register_point(Endpoint.parse("20.1.0.1:1").point(), 0.0)
    command.warn_of_nobody("ghostnet", made, log)
    assert log.lines == []


@pytest.mark.parametrize("shares", ["fair", "score"])
def test_bandwidth_is_shared_as_it_is_wished(make, shares):
    made, _ = make(shares=shares)
    core = made.core
    useful = generate_identity(0.0).peer_id
    core.pool.register_peer(useful, 0.0)
    counted = TezosMetadata().plus("valid_blocks", 98)
    core.update_metadata(useful, lambda _: counted, 0.0)
    settings = core._settings
    assert settings.shares == shares
    score = settings.score(core.pool.known_peers[useful].metadata)
    newcomer = settings.score(TezosMetadata())
    weights = [
        settings.policy(TezosMetadata(), it, False).weight_up for it in (score, newcomer)
    ]
    if shares == "fair":
        assert weights == [1.0, 1.0]
    else:
        assert weights == [0.99, 0.5]
    assert core._traffic.up._policy == shares
