"""``tezos-p2p probe`` against our own listener, puppets, and what is no node at all."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import subprocess
import threading
import time

import pytest
from io_cli_peers import (
    US,
    Puppet,
    answering,
    free_port,
    greet,
    message,
    nack,
    normal,
    points,
    read_frame,
    reference_file,
    serving,
    wait_for_end,
)
from io_cli_runner import COMMAND, environment, golden, on_terminal, run

from tezos_p2p.io.cli import probing
from tezos_p2p.io.cli.start import main
from tezos_p2p.spec.identity import Identity, PeerId

DRIVERS = ("asyncio", "blocking")
both = pytest.mark.parametrize("driver", DRIVERS)
SOMEBODY = PeerId(b"\1" * 16)


@pytest.fixture
def ask(tmp_path, capsys):
    """Probe in this process: with our identity, asking for no work."""
    identity = reference_file(tmp_path)

    def probe(port, *arguments, host="127.0.0.1", suffix=""):
        began = time.monotonic()
        settings = {"--identity": identity, "--difficulty": "0", "--timeout": "5"}
        more = (
            word
            for name, value in settings.items()
            if name not in arguments
            for word in (name, value)
        )
        code = main(["probe", f"{host}:{port}{suffix}", *arguments, *more])
        assert time.monotonic() - began < 10
        out, err = capsys.readouterr()
        return code, normal(out, port=port), normal(err, port=port)

    return probe


def advertise(sock, puppet):
    assert puppet.open(read_frame(sock)) == message(2)
    sock.sendall(puppet.seal(message(0x10, b"abcd")))
    listed = points("192.0.2.1:9732", "[2001:db8::1]:19732")
    sock.sendall(puppet.seal(message(3, listed)))


def hang_up(sock, puppet):
    puppet.open(read_frame(sock))
    sock.shutdown(socket.SHUT_WR)


# -- handshakes ------------------------------------------------------------------------

HANDSHAKES = {
    "established": (answering(b"\0", port=9732), (), 0),
    "2019": (answering(b"\xff", ddb=0, p2p=0), (), 3),
    "accepts_2019": (answering(b"\0", ddb=0, p2p=0), (), 0),
    "nack": (answering(nack(1, "192.0.2.1:9732", "[2001:db8::1]:9732")), (), 3),
    "unknown_motive": (answering(nack(77)), (), 3),
    "other_chain": (answering(b"\0", chain=b"TEZOS\x1b[2J"), (), 3),
    "other_version": (answering(b"\0"), ("--distributed-db-versions", "7,9"), 3),
    "bootstrap": (answering(b"\0", advertise), ("--bootstrap",), 0),
    "hangs_up": (answering(b"\0", hang_up), ("--bootstrap",), 0),
}


@both
@pytest.mark.parametrize("name", HANDSHAKES)
def test_each_step_of_a_handshake_is_told(ask, driver, name):
    script, arguments, expected = HANDSHAKES[name]
    with serving(script) as port:
        code, out, err = ask(port, *arguments, "--driver", driver)
    assert (code, out + err) == (expected, golden(f"probe_{name}.txt"))


@both
def test_no_answer_to_bootstrap_is_told_and_no_failure(ask, driver):
    with serving(answering(b"\0", lambda *_: None)) as port:
        code, out, err = ask(port, "--bootstrap", "--timeout", "1", "--driver", driver)
    assert (code, err) == (0, "")
    assert out.splitlines()[-2:] == [
        "TIME  sent           Bootstrap",
        "TIME  no answer      within 1 s",
    ]


@both
def test_who_answers_can_be_demanded(ask, driver):
    them = Identity.of_secret(b"\2" * 32).peer_id
    with serving(answering(b"\0")) as port:
        assert ask(port, "--driver", driver, suffix=f"#{them}")[0] == 0
    with serving(answering(b"\0")) as port:
        code, out, err = ask(port, "--driver", driver, suffix=f"#{SOMEBODY}")
    assert code == 4
    assert err.endswith(f"{them} answers at 127.0.0.1:PORT instead of {SOMEBODY}\n")
    assert err.count("\n") == 1
    assert "established" not in out


@both
def test_too_little_work_of_theirs_is_a_failure(ask, driver):
    with serving(answering(b"\0")) as port:
        code, _, err = ask(port, "--difficulty", "20", "--driver", driver)
    assert code == 4
    assert err == (
        "tezos-p2p: 127.0.0.1:PORT: no handshake: the authentication failed: "
        "the peer's proof of work falls short\n"
    )


def test_we_do_not_talk_to_ourselves(ask):
    import nacl.bindings  # the reference's secret key is ours
    from io_cli_runner import REFERENCE

    secret = bytes.fromhex(REFERENCE["secret_key"])
    assert nacl.bindings.crypto_scalarmult_base(secret).hex() == REFERENCE["public_key"]
    with serving(answering(b"\0", secret=secret)) as port:
        code, _, err = ask(port)
    assert code == 4
    assert "the peer is ourselves" in err


# -- no handshakes ---------------------------------------------------------------------


def http(sock):
    sock.recv(1000)
    sock.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")


def ssh(sock):
    sock.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")
    wait_for_end(sock)


def zeros(sock):
    sock.sendall(bytes(200))
    wait_for_end(sock)


def reset(sock):
    sock.recv(10)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def half(sock):
    sock.sendall(Puppet(dialled=False).hello()[:50])


def unsealed(sock):
    sock.sendall(Puppet(dialled=False).hello())
    sock.sendall(b"\0\x12" + bytes(18))
    wait_for_end(sock)


def no_answer(sock):
    greet(sock, Puppet(dialled=False))


def trickle(sock):
    with contextlib.suppress(OSError):
        for byte in Puppet(dialled=False).hello():
            sock.sendall(bytes([byte]))
            time.sleep(0.2)


BROKEN = {
    "http": (http, 4),
    "ssh": (ssh, 5),
    "zeros": (zeros, 4),
    "reset": (reset, 4),
    "closes": (lambda _: None, 4),
    "half": (half, 4),
    "unsealed": (unsealed, 4),
    "no answer": (no_answer, 4),
    "silent": (wait_for_end, 5),
    "trickle": (trickle, 5),
}


@both
@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_no_node_is_one_line_and_a_code(ask, driver, kind):
    script, expected = BROKEN[kind]
    began = time.monotonic()
    with serving(script) as port:
        code, out, err = ask(port, "--timeout", "1", "--driver", driver)
        assert time.monotonic() - began < 5
    assert code == expected
    assert "TIME  connected      to 127.0.0.1:PORT\n" in out
    assert out.splitlines()[-1].startswith("TIME  closed         ")
    assert err.startswith("tezos-p2p: 127.0.0.1:PORT: ")
    assert err.count("\n") == 1


@both
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_refused_port_is_unreachable(ask, driver, host):
    code, out, err = ask(free_port(), "--driver", driver, host=host)
    assert code == 5
    assert ("resolved" in out) == (host == "localhost")
    assert err == f"tezos-p2p: {host}:PORT: connection refused: could not be reached\n"


@both
@pytest.mark.parametrize("host", ["nowhere.invalid", "a..b", "x" * 80 + ".invalid"])
def test_a_name_without_address_is_unreachable(ask, driver, host):
    code, out, err = ask(9732, "--driver", driver, host=host)
    assert code == 5
    assert "no address" in out
    assert err.startswith(f"tezos-p2p: {host}:PORT: no address: ")
    assert err.count("\n") == 1


def test_a_name_that_takes_too_long_is_given_up(ask, monkeypatch):
    release = threading.Event()

    def slow(*_, **__):
        release.wait(20)
        return []

    monkeypatch.setattr(probing.socket, "getaddrinfo", slow)
    code, _, err = ask(9732, "--timeout", "0.2", host="slow.invalid")
    release.set()
    assert code == 5
    assert err.endswith("no address: no answer within 0.2 s\n")


@both
def test_addresses_of_a_name_are_tried_in_turn(ask, driver, monkeypatch):
    with serving(answering(b"\0")) as port:
        found = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))
            for host in ("127.0.0.2", "127.0.0.1", "127.0.0.3")
        ]
        monkeypatch.setattr(probing.socket, "getaddrinfo", lambda *_, **__: found)
        code, out, err = ask(port, "--driver", driver, host="node.invalid")
    assert (code, err) == (0, "")
    assert out.count("resolved") == 3
    assert out.count("dialling") == 2
    assert "connected      to 127.0.0.1:PORT" in out


# -- usage -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments",
    [
        "",
        "127.0.0.1 127.0.0.1:70000",
        "h --concurrency 0",
        "h --concurrency 101",
        "h --watch 0",
        "h --watch 1 --rounds 0",
        "h --rounds 2",
        "127.0.0.1:70000",
        "127.0.0.1:9732#id",
        ":9732",
        "_:9732",
        "h --timeout 0",
        "h --timeout nan",
        "h --timeout 1e9",
        "h --difficulty 257",
        "h --pow -1",
        "h --pow 3 --identity x",
        "h --network nowhere",
        "h --chain-name=",
        "h --chain-name é",
        "h --distributed-db-versions=",
        "h --distributed-db-versions 1,,2",
        "h --p2p-versions 65536",
        "h --p2p-versions -1",
        "h --driver trio",
        "h --no-bootstrap",
    ],
)
def test_wrong_usage_is_one_line_and_2(arguments, capsys):
    assert main(["probe", *arguments.split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("tezos-p2p: ")
    assert err.count("\n") == 1


def test_an_identity_file_that_is_none_is_told(capsys, tmp_path):
    assert main(["probe", "127.0.0.1", "--identity", str(tmp_path / "x")]) == 1
    assert "no identity file there" in capsys.readouterr().err


def closing_for_lack_of_work(sock):
    sock.sendall(Puppet(dialled=False).hello())
    read_frame(sock)


@both
def test_a_throw_away_identity_is_told_and_more_work_is_advised(driver, capsys):
    arguments = ("--difficulty", "0", "--driver", driver)
    with serving(closing_for_lack_of_work) as port:
        assert main(["probe", f"127.0.0.1:{port}", *arguments]) == 4
    first, advice, error = capsys.readouterr().err.splitlines()
    assert first == "no --identity: a throw-away one, without proof of work"
    assert "tezos-p2p identity generate" in advice
    assert error.endswith("no handshake: the authentication failed: closed by the peer")


def test_work_for_a_throw_away_identity_is_searched_and_shown(capsys):
    shown = []

    def look(sock):
        sock.sendall(Puppet(dialled=False).hello())
        shown.append(read_frame(sock))

    with serving(look) as port:
        main(["probe", f"127.0.0.1:{port}", "--pow", "9", "--difficulty", "0"])
    assert "searching a proof of work of 9 bits" in capsys.readouterr().err
    from tezos_p2p.spec.identity import difficulty_reached

    assert difficulty_reached(shown[0][4:36], shown[0][36:60]) >= 9


@pytest.mark.parametrize(
    ("arguments", "chain", "ddb", "p2p"),
    [
        ((), b"TEZOS_MAINNET", 2, 1),
        (("--network", "sandbox", "--p2p-versions", "0"), b"TEZOS", 2, 0),
        (("--chain-name", "X", "--distributed-db-versions", "0,5,3"), b"X", 5, 1),
    ],
)
def test_the_network_that_was_asked_for_is_announced(ask, arguments, chain, ddb, p2p):
    heard = []
    with serving(lambda sock: heard.append(read_frame(sock))) as port:
        ask(port, *arguments)
    (frame,) = heard
    assert frame[:4] == (len(frame) - 2).to_bytes(2, "big") + b"\0\0"  # no port
    expected = len(chain).to_bytes(4, "big") + chain
    assert frame[84:] == expected + ddb.to_bytes(2, "big") + p2p.to_bytes(2, "big")


# -- JSON ------------------------------------------------------------------------------

KEYS = [
    "target",
    "result",
    "exit_code",
    "error",
    "point",
    "peer_id",
    "network",
    "remote",
    "version",
    "disconnection",
    "alternative_points",
    "advertised",
    "steps",
]


def ask_json(ask, script, *arguments):
    with serving(script) as port:
        code, out, err = ask(port, "--json", *arguments)
    assert out.count("\n") == 1
    document = json.loads(out.replace("PORT", "1"))
    assert list(document) == KEYS
    assert document["exit_code"] == code
    assert document["peer_id"] == US
    assert err == ("" if code == 0 else f"tezos-p2p: 127.0.0.1:PORT: {error_of(out)}\n")
    return document


def error_of(out):
    return json.loads(out.replace("PORT", "1"))["error"]


@both
def test_json_of_what_went_well(ask, driver):
    script = answering(b"\0", advertise, port=9732)
    document = ask_json(ask, script, "--bootstrap", "--driver", driver)
    assert document["result"] == "established"
    assert document["error"] is None
    assert document["remote"]["authenticated"] is True
    assert document["remote"]["message"]["port"] == 9732
    assert document["version"] == {
        "chain_name": "TEZOS_MAINNET",
        "distributed_db_version": 2,
        "p2p_version": 1,
    }
    assert document["advertised"] == ["192.0.2.1:9732", "[2001:db8::1]:19732"]
    events = [step["event"] for step in document["steps"]]
    assert events == [
        "identity",
        "dialling",
        "connected",
        "connection_message_received",
        "authenticated",
        "established",
        "message_sent",
        "message_received",
        "message_received",
    ]
    seconds = [step["seconds"] for step in document["steps"]]
    assert seconds == sorted(seconds)
    branch = document["steps"][-2]["message"]
    assert branch["name"] == "Get_current_branch"
    assert branch["fields"]["chain_id"].startswith("Net")


def test_json_of_a_refusal(ask):
    document = ask_json(ask, answering(nack(1, "192.0.2.1:9732")))
    assert document["result"] == "refused"
    assert document["alternative_points"] == ["192.0.2.1:9732"]
    assert document["disconnection"]["motive"] == "too_many_connections"
    assert document["version"] is None


def test_json_of_what_is_no_node(ask):
    document = ask_json(ask, http)
    assert document["result"] == "failed"
    assert document["remote"] is None
    document = ask_json(ask, wait_for_end, "--timeout", "0.5")
    assert document["result"] == "unreachable"


def test_json_of_nobody(ask):
    code, out, _ = ask(free_port(), "--json", host="nowhere.invalid")
    document = json.loads(out.replace("PORT", "1"))
    assert (code, document["result"], document["point"]) == (5, "unreachable", None)


# -- processes -------------------------------------------------------------------------

EASILY = ("--difficulty", "0")
PIPES = {
    "env": environment(),
    "stdout": subprocess.PIPE,
    "stderr": subprocess.PIPE,
    "text": True,
}


def probing_at(port, *arguments):
    return [*COMMAND, "probe", f"127.0.0.1:{port}", *arguments]


@both
def test_an_interrupt_ends_a_probe_at_once(driver):
    gone = threading.Event()

    def wait(sock):
        wait_for_end(sock)
        gone.set()

    with serving(wait) as port:
        process = subprocess.Popen(
            probing_at(port, "--timeout", "60", "--driver", driver), **PIPES
        )
        try:
            while "connected" not in process.stdout.readline():
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=10)
        finally:
            process.kill()
            process.communicate()
        assert gone.wait(10)
    assert process.returncode == 130
    assert err == "no --identity: a throw-away one, without proof of work\n"


@both
def test_an_interrupt_while_points_are_awaited(driver):
    with serving(answering(b"\0", lambda *_: None)) as port:
        process = subprocess.Popen(
            probing_at(
                port, *EASILY, "--timeout", "60", "--bootstrap", "--driver", driver
            ),
            **PIPES,
        )
        try:
            while "Bootstrap" not in process.stdout.readline():
                assert process.poll() is None
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=10)
        finally:
            process.kill()
            process.communicate()
    assert process.returncode == 130
    assert "Traceback" not in err


@both
def test_a_reader_that_goes_away_is_no_traceback(driver):
    reading, writing = os.pipe()
    os.close(reading)
    with serving(answering(b"\0")) as port:
        done = subprocess.run(
            probing_at(port, *EASILY, "--driver", driver),
            stdout=writing,
            stderr=subprocess.PIPE,
            env=environment(),
            text=True,
            timeout=30,
        )
        os.close(writing)
    assert done.returncode == 1
    assert done.stderr == "no --identity: a throw-away one, without proof of work\n"


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_full_disk_is_told(more):
    with open("/dev/full", "w") as full, serving(answering(b"\0")) as port:
        done = subprocess.run(
            probing_at(port, *EASILY, *more),
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment(),
            text=True,
            timeout=30,
        )
    assert done.returncode == 1
    assert done.stderr.endswith("tezos-p2p: No space left on device\n")


def test_nothing_is_wider_than_a_terminal():
    with serving(answering(nack(1, "192.0.2.1:9732"), port=9732)) as port:
        code, shown = on_terminal("probe", f"127.0.0.1:{port}", "--difficulty", "0")
    assert code == 3
    assert max(map(len, shown.splitlines())) <= 80


def test_warnings_are_errors_and_there_are_none():
    with serving(answering(b"\0")) as port:
        for driver in DRIVERS:
            done = run(
                *("probe", f"127.0.0.1:{port}", "--timeout", "2", "--driver", driver),
                PYTHONWARNINGS="error",
                PYTHONDEVMODE="1",
            )
            lines = done.stderr.splitlines()
            assert all(line.startswith(("tezos-p2p", "no --", "nodes")) for line in lines)
