"""``tezos-p2p listen`` in processes of its own: who comes, what is told, how it ends."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import socket
import subprocess
import time

import pytest
from io_cli_peers import (
    Puppet,
    free_port,
    message,
    normal,
    points,
    read_frame,
    reference_file,
    wait_for_end,
)
from io_cli_runner import COMMAND, environment, golden, on_terminal, run

from tezos_p2p.io.cli.desk import Desk
from tezos_p2p.io.cli.start import main
from tezos_p2p.io.watched import Connected
from tezos_p2p.spec.events import Closed, Established, Remote
from tezos_p2p.spec.hello import ConnectionMessage, ConnectionMetadata
from tezos_p2p.spec.identity import Identity, PeerId
from tezos_p2p.spec.message import Advertise, Bootstrap
from tezos_p2p.spec.point import Point
from tezos_p2p.spec.reasons import Disconnection, Reason
from tezos_p2p.spec.version import SANDBOX

DRIVERS = ("asyncio", "blocking")
both = pytest.mark.parametrize("driver", DRIVERS)


class Listening:
    """A process that listens; ended in any case."""

    def __init__(self, folder, *arguments):
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [
                *(*COMMAND, "listen", "127.0.0.1:0"),
                *("--identity", reference_file(folder), *arguments),
            ],
            env=environment(PYTHONWARNINGS="error"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.as_json = "--json" in arguments
        first = self.until("listening")
        found = json.loads(first)["point"] if self.as_json else first.split()[-1]
        self.port = int(found.rpartition(":")[2])

    def until(self, word: str) -> str:
        while True:
            line = self.process.stdout.readline()
            assert line, self.process.communicate()
            self.lines.append(line)
            if word in line:
                return line

    def end(self) -> tuple[int, str, str]:
        # Not communicate, which knows nothing of what readline has read ahead.
        out, err = self.process.stdout.read(), self.process.stderr.read()
        self.process.wait(20)
        text = normal("".join(self.lines) + out, port=self.port)
        return self.process.returncode, text, err

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


class Caller:
    """A puppet that dials."""

    def __init__(self, port, /, **settings):
        self.sock = socket.create_connection(("127.0.0.1", port), 20)
        self.puppet = Puppet(dialled=True, **{"chain": b"TEZOS", **settings})

    def shake_hands(self, answer=b"\0"):
        self.sock.sendall(self.puppet.hello())
        self.puppet.meet(read_frame(self.sock))
        self.sock.sendall(self.puppet.seal(b"\0\0"))
        self.puppet.open(read_frame(self.sock))
        self.sock.sendall(self.puppet.seal(answer))
        self.puppet.open(read_frame(self.sock))
        return self

    def say(self, *messages):
        self.sock.sendall(b"".join(map(self.puppet.seal, messages)))

    def hear(self):
        return self.puppet.open(read_frame(self.sock))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.sock.close()


# -- what is told ----------------------------------------------------------------------


@both
def test_all_that_happens_is_told(tmp_path, driver):
    arguments = ("--count", "3", "--driver", driver)
    with Listening(tmp_path, *arguments) as it:
        with Caller(it.port, port=19732) as first:
            first.shake_hands()
            it.until("established")
            with Caller(it.port, secret=b"\3" * 32, ddb=0, p2p=0) as second:
                second.shake_hands()
                second.say(message(2))
                assert second.hear() == message(3, points("127.0.0.1:19732"))
            it.until("closed")
            first.say(message(0x10, b"abcd"), message(2), message(3, points("[::1]:1")))
            assert first.hear() == message(3)
        it.until("closed")
        with Caller(it.port, chain=b"ELSE") as third:
            third.sock.sendall(third.puppet.hello())
            third.puppet.meet(read_frame(third.sock))
            third.sock.sendall(third.puppet.seal(b"\1\1"))
            wait_for_end(third.sock)
        code, out, err = it.end()
    assert (code, err) == (0, "")
    assert out == golden("listen.txt")


@both
def test_all_that_happens_as_json(tmp_path, driver):
    arguments = ("--count", "1", "--driver", driver, "--json")
    with Listening(tmp_path, *arguments) as it:
        with Caller(it.port) as caller:
            caller.shake_hands()
            caller.say(message(2), message(0x10, b"abcd"))
            caller.hear()
            it.until("Get_current_branch")
        code, out, err = it.end()
    assert (code, err) == (0, "")
    lines = [json.loads(line) for line in out.replace("PORT", "1").splitlines()]
    assert [line["event"] for line in lines] == [
        "listening",
        "connected",
        "connection_message_received",
        "authenticated",
        "established",
        "message_received",
        "message_sent",
        "message_received",
        "closed",
    ]
    assert all(list(line)[:3] == ["time", "link", "event"] for line in lines)
    assert [line["link"] for line in lines] == [None] + [1] * 8
    times = [line["time"] for line in lines]
    assert times == sorted(times)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+[+-]\d\d:\d\d", times[0])
    assert lines[0]["network"]["chain_name"] == "TEZOS"
    assert lines[1]["incoming"] is True
    assert lines[5]["message"] == {"name": "Bootstrap", "fields": {}}
    assert lines[6]["message"] == {"name": "Advertise", "fields": {"points": []}}
    assert lines[8]["disconnection"]["reason"] == "connection_closed_by_peer"


@pytest.mark.parametrize("prober", DRIVERS)
@both
def test_a_probe_of_a_listener_over_both_drivers(tmp_path, capsys, driver, prober):
    arguments = ("--count", "1", "--driver", driver)
    with Listening(tmp_path, *arguments) as it:
        probe = ["probe", f"127.0.0.1:{it.port}", "--network", "sandbox", "--bootstrap"]
        assert main([*probe, "--driver", prober]) == 0
        out = normal(capsys.readouterr().out, port=it.port)
        code, told, err = it.end()
    assert (code, err) == (0, "")

    def nobody_in_particular(text):
        # The prober's identity is another each time.
        text = re.sub(r"\bid[\w]{28}\b", "PEER", text)
        return re.sub(r"[\d.]+ bits", "SOME bits", text)

    expected = golden("listen_probed.txt")
    assert nobody_in_particular(f"{out}\n{told}") == expected


GARBAGE = {
    "http": b"GET / HTTP/1.1\r\nHost: here\r\n\r\n",
    "zeros": bytes(200),
    "nothing": b"",
    "half": Puppet(dialled=True).hello()[:40],
}


@both
def test_garbage_ends_a_connection_and_nothing_else(tmp_path, driver):
    arguments = ("--count", str(len(GARBAGE) + 1), "--driver", driver)
    with Listening(tmp_path, *arguments) as it:
        for data in GARBAGE.values():
            with socket.create_connection(("127.0.0.1", it.port), 20) as sock:
                sock.sendall(data)
                # What is refused at once may be reset before we come to the end.
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_WR)
                wait_for_end(sock)
            assert "authentication failed" in it.until("closed")
        with Caller(it.port) as caller:
            caller.shake_hands()
            caller.say(b"\0\0\0\2\xff\xff")  # a tag that there is not
            wait_for_end(caller.sock)
        code, out, err = it.end()
    assert (code, err) == (0, "")
    assert "unknown tag 0xffff" in out


@both
def test_who_is_too_many_is_turned_away(tmp_path, driver):
    with Listening(tmp_path, "--driver", driver) as it, contextlib.ExitStack() as stack:
        for _ in range(21):
            sock = socket.create_connection(("127.0.0.1", it.port), 20)
            stack.enter_context(sock)
        assert "too many handshakes in progress" in it.until("turned away")


def test_a_flood_of_messages_is_told_in_full(tmp_path):
    with Listening(tmp_path, "--count", "1", "--json") as it:
        with Caller(it.port) as caller:
            caller.shake_hands()
            caller.sock.sendall(caller.puppet.seal(message(0x10, b"abcd") * 3000))
        code, out, err = it.end()
    assert (code, err) == (0, "")
    assert out.count("Get_current_branch") == 3000
    assert '"event": "closed"' in out.splitlines()[-1]


# -- how it ends -----------------------------------------------------------------------


@both
def test_the_time_that_was_given_ends_it(tmp_path, driver):
    began = time.monotonic()
    done = run("listen", "127.0.0.1:0", "--seconds", "0.3", "--driver", driver)
    assert time.monotonic() - began < 20
    assert (done.returncode, done.stdout.count("listening on")) == (0, 1)
    assert done.stderr == "no --identity: a throw-away one, without proof of work\n"


@both
def test_the_time_that_was_given_ends_connections_too(tmp_path, driver):
    with Listening(tmp_path, "--seconds", "1.5", "--driver", driver) as it:
        with Caller(it.port) as caller:
            caller.shake_hands()
            wait_for_end(caller.sock)
        code, out, err = it.end()
    assert (code, err) == (0, "")
    assert out.endswith("#1    closed         the application asked for it\n")


@both
def test_an_interrupt_closes_in_order(tmp_path, driver):
    with (
        Listening(tmp_path, "--driver", driver) as it,
        Caller(it.port) as open_one,
        Caller(it.port, secret=b"\3" * 32) as other,
        socket.create_connection(("127.0.0.1", it.port), 20) as silent,
    ):
        open_one.shake_hands()
        other.shake_hands()
        it.until("established")
        it.until("established")
        silent.settimeout(20)
        assert silent.recv(1)  # greeted: it is among those that have to be closed
        it.process.send_signal(signal.SIGINT)
        for sock in (open_one.sock, other.sock, silent):
            wait_for_end(sock)
        code, out, err = it.end()
    assert (code, err) == (130, "")
    # Who is established may not be accepted yet: then the listener closes it.
    assert out.count("closed         the application asked for it") == 3


@both
def test_a_reader_that_goes_away_ends_it(tmp_path, driver):
    with Listening(tmp_path, "--driver", driver) as it:
        it.until("work asked")
        it.process.stdout.close()
        with contextlib.suppress(OSError, EOFError), Caller(it.port) as caller:
            caller.shake_hands()
            wait_for_end(caller.sock)
        assert it.process.wait(20) == 1
        assert it.process.stderr.read() == ""


def test_a_port_that_is_taken_is_told(tmp_path, capsys):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        arguments = ["--identity", reference_file(tmp_path)]
        assert main(["listen", f"127.0.0.1:{port}", *arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"tezos-p2p: cannot listen on 127.0.0.1:{port}: ")
    assert err.count("\n") == 1


def test_the_port_is_free_again_afterwards(tmp_path):
    port = free_port()
    for _ in range(2):
        done = run("listen", f"127.0.0.1:{port}", "--seconds", "0.1")
        assert done.returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        "localhost:1",
        ":9732",
        "127.0.0.1:70000",
        "a b",
        "127.0.0.1:0 --count 0",
        "127.0.0.1:0 --seconds 0",
        "127.0.0.1:0 --seconds x",
        "127.0.0.1:0 --network nowhere",
        "127.0.0.1:0 --p2p-versions x",
        "127.0.0.1:0 --pow 3",
        "127.0.0.1:0 --timeout 3",
    ],
)
def test_wrong_usage_is_one_line_and_2(arguments, capsys):
    assert main(["listen", *arguments.split()]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1


def test_nothing_is_wider_than_a_terminal():
    code, shown = on_terminal("listen", "127.0.0.1:0", "--seconds", "0.1")
    assert code == 0
    assert max(map(len, shown.splitlines())) <= 80


# -- the desk --------------------------------------------------------------------------


def remote(secret: int, port: int = 9732, private: bool = False) -> Remote:
    identity = Identity.of_secret(bytes([secret]) * 32)
    hello = ConnectionMessage(
        port, identity.public_key, bytes(24), bytes(24), SANDBOX.announced
    )
    return Remote(identity.peer_id, hello, ConnectionMetadata(False, private))


def meet(desk: Desk, link: int, host: str, them: Remote) -> None:
    point = Point.parse(f"{host}:50000")
    desk.tell(link, Connected(point, True, 0.0))
    desk.tell(link, Established(them, SANDBOX.announced, 0.0))


def test_points_are_those_of_others_who_listen_and_do_not_hide(capsys):
    desk = Desk(False, None)
    meet(desk, 1, "192.0.2.1", remote(1))
    meet(desk, 2, "192.0.2.1", remote(2, port=0))
    meet(desk, 3, "192.0.2.1", remote(3, private=True))
    meet(desk, 4, "[2001:db8::1]", remote(4, port=4))
    meet(desk, 5, "192.0.2.1", remote(1, port=1))  # once more, and elsewhere
    assert desk.received(1, remote(9), Bootstrap()) == Advertise(
        (Point.parse("192.0.2.1:1"), Point.parse("[2001:db8::1]:4"))
    )
    assert desk.received(1, remote(1), Bootstrap()) == Advertise(
        (Point.parse("[2001:db8::1]:4"),)
    )
    assert desk.received(1, remote(9), Advertise()) is None


def test_what_is_remembered_and_advertised_has_a_bound(capsys):
    desk, hello = Desk(False, None), remote(1).message
    for number in range(1200):
        them = Remote(PeerId(number.to_bytes(16, "big")), hello, ConnectionMetadata())
        meet(desk, number + 1, "192.0.2.1", them)
        desk.tell(number + 1, Closed(Disconnection(Reason.USER), 0.0))
        desk.ended(number + 1)
    assert len(desk._known) == 1000
    assert not desk._points
    assert not desk._served
    answer = desk.received(1, remote(9), Bootstrap())
    assert len(answer.points) == 50


def test_the_end_of_who_is_served_waits_for_what_is_still_received(capsys):
    desk, them = Desk(False, 1), remote(1)
    meet(desk, 1, "192.0.2.1", them)
    desk.tell(1, Closed(Disconnection(Reason.CONNECTION_CLOSED_BY_PEER), 0.0))
    assert not desk.stopped.is_set()
    desk.received(1, them, Bootstrap())
    desk.ended(1)
    desk.ended(1)
    assert desk.stopped.is_set()
    told = [line.split()[2] for line in capsys.readouterr().out.splitlines()]
    assert told == ["connected", "established", "received", "closed"]
    # Nobody serves who was not accepted any more: told at the very end.
    meet(desk, 2, "192.0.2.1", them)
    desk.tell(2, Closed(Disconnection(Reason.USER), 0.0))
    desk.settle()
    assert capsys.readouterr().out.count("closed") == 1
