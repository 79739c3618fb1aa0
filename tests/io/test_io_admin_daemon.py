"""``tezos-p2p run --rpc-addr`` as a process, with each driver."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import stat
import time

import pytest
from io_cli_runner import run
from test_io_daemon import DRIVERS, LIMIT, start  # noqa: F401  # a fixture


def asked(listening, method, path, body=None):
    host, _, port = listening.rpartition(":")
    with contextlib.closing(http.client.HTTPConnection(host, int(port), LIMIT)) as line:
        line.request(method, path, body)
        answer = line.getresponse()
        return answer.status, json.loads(answer.read() or b"null")


@pytest.mark.parametrize("driver", DRIVERS)
def test_nodes_are_connected_and_watched_through_their_interfaces(start, driver):  # noqa: F811  # the fixture
    one = start("one", "--rpc-addr", "127.0.0.1:0", driver=driver)
    two = start("two", driver=driver)
    rpc = one.until("admin_interface")
    assert rpc["form"] == "2026"
    where = rpc["listening"]
    assert asked(where, "GET", "/network/self") == (200, one.peer)
    host, _, port = where.rpartition(":")
    with socket.create_connection((host, int(port)), LIMIT) as log:
        log.sendall(f"GET /network/log HTTP/1.1\r\nhost: {where}\r\n\r\n".encode())
        file = log.makefile("rb")
        assert file.readline() == b"HTTP/1.1 200 OK\r\n"
        assert asked(where, "PUT", f"/network/points/{two.where}") == (200, {})
        told = b""
        while b'"connection_established"' not in told:
            told = file.readline()
            assert told
        # The log of the node tells the same events: nobody takes them from anybody.
        assert one.until("new_connection")["peer"] == two.peer
        one.until("outgoing_connection", point=two.where)
        began = time.monotonic()
        assert one.stop() == 0
        assert time.monotonic() - began < 5.0
        rest = file.read()
        assert rest.endswith(b"0\r\n\r\n")  # the stream was ended in order
        file.close()
    assert one.lines[-1]["event"] == "stopped"
    with pytest.raises(OSError):
        socket.create_connection((host, int(port)), LIMIT)


@pytest.mark.parametrize("driver", DRIVERS)
def test_unix_sockets_and_the_form_of_2019(start, tmp_path, driver):  # noqa: F811  # the fixture
    path = tmp_path / "rpc.sock"
    arguments = ("--rpc-addr", f"unix:{path}", "--rpc-addr", "127.0.0.1:0")
    node = start("one", *arguments, "--legacy-rpc", driver=driver)
    assert node.until("admin_interface", listening=f"unix:{path}")["form"] == "2019"
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    with socket.socket(socket.AF_UNIX) as sock:
        sock.connect(str(path))
        sock.sendall(b"GET /network/version HTTP/1.0\r\nhost: anything\r\n\r\n")
        data = b""
        while part := sock.recv(65_536):
            data += part
    assert data.startswith(b"HTTP/1.1 200 OK\r\n")
    assert node.stop(signal.SIGINT) == 0
    assert not path.exists()


def test_what_cannot_be_listened_on_is_told_in_a_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        folder = ("--data-dir", str(tmp_path / "x"), "--net-addr", "none")
        done = run("run", *folder, "--rpc-addr", f"127.0.0.1:{port}")
        assert done.returncode == 1
        last = done.stderr.splitlines()[-1]
        assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in last
        done = run("run", *folder, "--rpc-addr", "a b")
        assert done.returncode == 2
        assert "is not of the form host[:port]" in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr


def test_the_access_list_of_the_configuration_counts(start, tmp_path):  # noqa: F811  # the fixture
    folder = tmp_path / "one"
    folder.mkdir()
    acl = [{"address": "127.0.0.1", "whitelist": ["GET /network/self"]}]
    (folder / "config.json").write_text(json.dumps({"rpc": {"acl": acl}}))
    node = start("one", "--rpc-addr", "127.0.0.1:0")
    where = node.until("admin_interface")["listening"]
    assert asked(where, "GET", "/network/self")[0] == 200
    assert asked(where, "GET", "/network/peers")[0] == 401
    assert node.stop() == 0
    acl[0]["whitelist"] = ["nonsense"]
    (folder / "config.json").write_text(json.dumps({"rpc": {"acl": acl}}))
    done = run("run", "--data-dir", str(folder), "--net-addr", "none")
    assert done.returncode == 1
    assert "rpc.acl[0]" in done.stderr.splitlines()[-1]
