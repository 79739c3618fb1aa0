"""``tezos-p2p admin`` against what is no node, or answers badly: a line and a code."""

from __future__ import annotations

import json
import re
import ssl
import subprocess
import sys
import time

import pytest
from admin_server import AdminServer, answer, chunked, value
from admin_vectors import FULL_STAT_2026, VERSION_2026, B
from io_cli_peers import free_port
from io_cli_runner import environment

from tezos_p2p.io import admin_client
from tezos_p2p.io.admin_endpoint import Endpoint
from tezos_p2p.io.cli import admin_call
from tezos_p2p.io.cli.start import main

NEW = {"GET /version": value(VERSION_2026)}
STAT = "GET /network/full_stat"
JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"


def hang(sock):
    sock.settimeout(20)
    sock.recv(1)


def closing(*parts):
    def send(sock):
        for part in parts:
            sock.sendall(part)

    return send


def endless(sock):
    sock.sendall(JSON + b"transfer-encoding: chunked\r\n\r\n")
    while True:
        sock.sendall(b"10000\r\n" + b" " * 0x10000 + b"\r\n")


def slow(sock):
    sock.sendall(JSON + b"content-length: 1000000\r\n\r\n")
    while True:
        sock.sendall(b" ")
        time.sleep(0.02)


def bad_request(text):
    return chunked(text, status="400 Bad Request", kind="text/plain")


def full_stat(old, new):
    """An answer that is right but for one field."""
    text = json.dumps(FULL_STAT_2026, separators=(",", ":"))
    changed = re.sub(old, new, text, count=1)
    assert changed != text
    return answer(changed)


FAULTS = [
    ("closed", closing(), "the connection was closed unanswered"),
    ("no-http", closing(b"SSH-2.0-OpenSSH_9.2\r\n"), "the answer is not HTTP: "),
    ("binary", closing(bytes(range(256)) * 4), "the answer is not HTTP: "),
    ("cut-head", closing(JSON), "the connection was closed unanswered"),
    (
        "cut-body",
        closing(JSON + b"content-length: 1000\r\n\r\n{"),
        "the connection ended within the answer",
    ),
    (
        "cut-chunk",
        closing(JSON + b"transfer-encoding: chunked\r\n\r\n4\r\n{"),
        "the connection ended within the answer",
    ),
    ("silence", hang, "no answer within 0.3 seconds"),
    ("slow", slow, "no answer within 0.3 seconds"),
    ("huge", endless, "the answer is longer than 1000000 bytes"),
    ("huge-head", closing(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000), "not HTTP: "),
    ("web-page", answer("<html>hi", kind="text/html"), "answers text/html, not JSON"),
    ("binary-type", answer("", kind="application/octet-stream"), "not JSON"),
    ("no-type", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", "not JSON"),
    ("no-json", answer("{nope"), "the answer: not JSON: "),
    ("empty", answer(""), "the answer: not JSON: "),
    (
        "no-text",
        answer("\udcff".encode("utf-8", "surrogateescape").decode("latin-1")),
        "$",
    ),
    ("deep", answer("[" * 100_000), "the answer: nested too deeply"),
    ("number", answer("9" * 10_000), "the answer: not JSON: "),
    ("shape", answer('{"stat":7}'), "the answer"),
    ("list", answer("[]"), "the answer"),
    (
        "rate",
        full_stat(r'(?<="current_inflow":)\d+', "1" + "0" * 400),
        "a number from -1073741824 to 1073741823 wanted",
    ),
    (
        "port",
        full_stat(r'(?<="remote_socket_port":)\d+', "99999999"),
        "a number from 0 to 65535 wanted",
    ),
    (
        # A number is not as many zero bytes.
        "name",
        full_stat(r'(?<="chain_name":)"\w+"', '{"invalid_utf8_string":4000000000}'),
        "a string wanted, or the bytes of one",
    ),
    (
        "redirect",
        b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\n"
        b"content-length: 0\r\n\r\n",
        "redirected to http://127.0.0.1:1/, which is not followed",
    ),
    (
        "400",
        bad_request("Failed to parse the query string: no"),
        "status 400 Bad Request: Failed to parse the query string: no",
    ),
    ("401", answer("", 401), "the node's access rules do not allow it (status 401)"),
    ("403", answer("", 403), "the node's access rules do not allow it (status 403)"),
    ("404", answer("", 404), "Did not find service: GET "),
    (
        "405",
        chunked(status="405 No"),
        "does not know this method there; see --generation",
    ),
    ("415", chunked(status="415 Unsupported Media Type"), "status 415 Unsupported Media"),
    ("500-text", answer("Not_found", 500, "text/ocaml.exception"), "failed: Not_found"),
    ("500-empty", answer("", 500, "text/plain"), "status 500"),
    ("500-no-list", answer("{}", 500), "the node has failed, and does not say why"),
    ("500-no-error", answer("[7]", 500), "errors"),
    ("500-nothing", answer("[]", 500), "the node has failed, and does not say why"),
    ("502", answer("<html>", 502, "text/html"), "status 502 Told"),
    ("204", b"HTTP/1.1 204 No Content\r\n\r\n", "status 204 No Content"),
]


@pytest.mark.parametrize(
    ("told", "said"), [pytest.param(*case, id=name) for name, *case in FAULTS]
)
def test_what_goes_wrong_is_one_line(told, said, capsys, monkeypatch):
    monkeypatch.setattr(admin_client, "ANSWER_MAX", 1_000_000)
    start = time.monotonic()
    timeout = "0.3" if said.startswith("no answer") else "20"
    with AdminServer(NEW | {STAT: told}) as server:
        words = ("--endpoint", server.endpoint, "--timeout", timeout)
        assert main(["admin", "p2p", "stat", *words]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"Error:\n  [^\n]+\n", err)
    assert re.search(said if said == "$" else re.escape(said), err)
    assert f"{server.endpoint}/network/full_stat" in err
    assert len(err) < 1000
    assert time.monotonic() - start < 10


def test_faults_of_a_long_answer_are_not_all_told(capsys):
    full = {**FULL_STAT_2026, "peers": [["idbogus", {}]] * 100}
    with AdminServer(NEW | {STAT: value(full)}) as server:
        assert main(["admin", "p2p", "stat", "--endpoint", server.endpoint]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 2
    assert re.search(r"; and \d+ more faults\n$", err)


@pytest.mark.parametrize(
    "told",
    [
        {},
        {"GET /version": answer("{}")},
        {"GET /version": answer("<html>", kind="text/html")},
    ],
)
def test_another_server_is_no_node(told, capsys):
    with AdminServer(told) as server:
        assert main(["admin", "p2p", "stat", "--endpoint", server.endpoint]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(
        r"Error:\n  [^\n]+(no Tezos node|not that of a Tezos node|not JSON)[^\n]*\n", err
    )


# -- on the way ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("endpoint", "reason"),
    [
        ("http://127.0.0.1:{free}", "Connection refused"),
        ("http://[::1]:{free}", "Connection refused"),
        ("http://localhost:{free}", "Connection refused|Multiple exceptions"),
        ("http://no-such-host.invalid:1", "[Nn]ame|failure|resolution|known|Domain"),
    ],
)
def test_nobody_there(endpoint, reason, capsys):
    endpoint = endpoint.format(free=free_port())
    assert main(["admin", "clear", "acls", "--endpoint", endpoint]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    head = "Error:\n  Rpc request failed:\n     - meth: GET\n"
    head += f"     - uri: {endpoint}/version\n"
    assert err.startswith(head)
    last = err.removeprefix(head)
    assert re.fullmatch(
        rf'     - error: Unable to connect to the node: "[^\n]*({reason})[^\n]*"\n', last
    )


def test_tls_that_is_none(capsys):
    with AdminServer(NEW) as server:
        endpoint = server.endpoint.replace("http", "https")
        assert main(["admin", "clear", "acls", "--endpoint", endpoint]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert re.search(r'Unable to connect to the node: "TLS failed: [^\n]+"\n$', err)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt"]
    command += ["ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-days", "3650"]
    try:
        subprocess.run(
            [*command, "-keyout", key, "-out", cert], check=True, capture_output=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no openssl here")
    return key, cert


def tls_context(certificate):
    key, cert = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


def test_a_certificate_that_nobody_vouches_for(certificate, capsys):
    with AdminServer(NEW, tls=tls_context(certificate)) as server:
        assert main(["admin", "clear", "acls", "--endpoint", server.endpoint]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert 'Unable to connect to the node: "certificate not accepted: ' in err
    assert "self-signed certificate" in err or "self signed certificate" in err


def test_a_node_behind_tls(certificate):
    answers = NEW | {"GET /network/peers/" + B + "/banned": answer("true")}
    with AdminServer(answers, tls=tls_context(certificate)) as server:
        words = ["admin", "is", "peer", "banned", B, "--endpoint"]
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "tezos_p2p.io.cli",
                *words,
                f"https://localhost:{server.port}",
            ],
            env=environment(SSL_CERT_FILE=str(certificate[1])),
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        "The given peer ID is banned\n",
        "",
    )


def test_http_on_a_port_of_tls(certificate, capsys):
    with AdminServer(NEW, tls=tls_context(certificate)) as server:
        endpoint = server.endpoint.replace("https", "http")
        assert main(["admin", "clear", "acls", "--endpoint", endpoint]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"Error:\n  GET [^\n]+\n", err)


# -- wrong usage -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("nope", "nope"),
        ("kick peer", "PEER"),
        ("kick peer idbogus", "idbogus"),
        (f"kick peer {B[:-1]}a", "checksum"),
        (f"kick peer {B} {B}", "nused"),
        ("ban address", "ADDRESS"),
        ("ban address localhost:1", "is not of the form 1.2.3.4[:PORT] or [IPv6][:PORT]"),
        ("ban address 1.2.3.4:99999", "port 99999 is not in 0..65535"),
        ("ban address 1.2.3.4:x", "is not of the form"),
        # The last could be a port.
        ("ban address 2001:db8::1:9732", "is not of the form"),
        ("ban address 2001:db8::/32", "is a prefix: the admin interface takes single"),
        (f"trust address 1.2.3.4#{B}", "names a peer: an address alone is wanted"),
        ("connect address 1.2.3", "'1.2.3' is not of the form 1.2.3.4[:PORT]"),
        ("", "tezos-p2p admin: more words are wanted"),
        ("--endpoint http://[::1]:1", "tezos-p2p admin: more words are wanted"),
        ("is address banned", "ADDRESS"),
        ("is address", "more words are wanted"),
        ("kick --json", "tezos-p2p admin kick: more words are wanted"),
        ("is --timeout=1 peer --generation 2019", "is peer: more words are wanted"),
        ("--json kick", "more words are wanted"),
        ("clear everything", "everything"),
        ("p2p stat more", "more"),
        ("p2p stat --generation 2020", "2020"),
        ("p2p stat --timeout 0", "seconds"),
        ("--nothing p2p stat", "nothing"),
        ("p2p stat --endpoint ftp://127.0.0.1", "'ftp' is none of http, https and unix"),
        ("p2p stat --endpoint localhost", "lacks a port"),
        ("p2p stat --endpoint http://", "is not of the form http://HOST:PORT"),
        ("p2p stat --endpoint http://a..b:1", "is not of the form http://HOST:PORT"),
        (f"p2p stat --endpoint http://{'a' * 64}:1", "is not of the form"),
        (f"p2p stat --endpoint http://{'a.' * 127}:1", "is not of the form"),
        ("p2p stat --endpoint http://[fe80::1%lo]:1", "is not of the form"),
        ("p2p stat --endpoint http://[::1]x:1", "is not of the form"),
        ("p2p stat --endpoint http://h:", "is not of the form"),
        ("p2p stat --endpoint http://h:99999", "is no endpoint"),
        ("p2p stat --endpoint http://u:p@h:1", "no user, query or fragment"),
        ("p2p stat --endpoint http://h:1/?a", "no user, query or fragment"),
        ("p2p stat --endpoint http://[::1", "is no endpoint"),
        ("p2p stat --endpoint http://é:1", "characters that no endpoint has"),
        ("p2p stat --endpoint unix:", "is not of the form unix:PATH"),
        (f"p2p stat --endpoint unix:/{'x' * 200}", "is not of the form unix:PATH"),
        ("watch --kind nope", "for --kind: 'nope' is none of too_few_connections, "),
        ("watch --point localhost", "is no IPv4 or IPv6 address"),
        ("watch --peer me", "me"),
        ("watch --count 0", "at least 1"),
        ("top --interval 0", "seconds"),
    ],
)
def test_wrong_usage_is_told_as_the_reference_does(arguments, said, capsys):
    """One line, an empty line, and the usage; 1 for scripts that know its client."""
    assert main(["admin", *arguments.split()]) == 1
    out, err = capsys.readouterr()
    if "--json" not in arguments:
        assert out == ""
    else:
        assert said in json.loads(out)["error"]
    assert re.match(r"Error:\n  [^\n]+\n\nUsage:\n  tezos-p2p admin ", err)
    assert said in err.splitlines()[1]


def test_the_usage_has_the_options_of_all_commands(capsys):
    assert main(["admin", "nope"]) == 1
    usage = capsys.readouterr().err.partition("Options of all commands:\n")[2]
    assert re.findall(r"^  (--\w+): .+$", usage, re.M) == [*admin_call._BEFORE]


def test_wrong_usage_from_the_environment(capsys, monkeypatch):
    monkeypatch.setenv("TEZOS_P2P_ENDPOINT", "ftp://x")
    assert main(["admin", "p2p", "stat"]) == 1
    assert "'ftp' is none of http, https and unix" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "uri", "url"),
    [
        ("http://127.0.0.1:8732", "http://127.0.0.1:8732/x", "http://127.0.0.1:8732/x"),
        ("node.example:1", "http://node.example:1/x", "http://node.example:1/x"),
        ("https://h/a/", "https://h/a/x", "https://h/a/x"),
        ("unix:/run/a", "unix:/run/a/x", "http://localhost/x"),
    ],
)
def test_endpoints(text, uri, url):
    endpoint = Endpoint.parse(text)
    assert endpoint.uri("/x") == uri
    assert endpoint.url("/x") == url


def test_the_extra_is_named_where_the_library_is_not():
    code = (
        "import sys; sys.modules['aiohttp'] = None\n"
        "from tezos_p2p.io.cli.start import main\n"
        "sys.exit(main(['admin', 'clear', 'acls']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert "pip install 'tezos-p2p[node]'" in done.stderr
    assert done.stderr.count("\n") == 1
