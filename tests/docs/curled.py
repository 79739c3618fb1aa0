"""The ``curl`` lines of the documentation, sent to a node that is started for them.

What a line names stands for what is there: ``127.0.0.1:8732`` is the interface,
``127.0.0.1:8719`` another one in the form of 2019, ``127.0.0.1:9733`` a second node, and
``$PEER`` who that is.  Where there is no curl the same request is sent without it.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1] / name) for name in ("io", "fsm", "")]

LIMIT = 20.0
#: Streams go on until somebody has seen enough: curl's code for that.
TIMED_OUT = 28

_stack = contextlib.ExitStack()
_places: dict[str, str] = {}


def _start() -> None:
    from admin_suite import hosted, neighbour

    from tezos_p2p.io.admin.server import AdminThread, open_doors
    from tezos_p2p.spec.rpc import Generation

    ours = _stack.enter_context(hosted("blocking", 990))
    theirs = _stack.enter_context(neighbour(991))
    doors = open_doors(["127.0.0.1:0"])
    _stack.enter_context(AdminThread(ours.node, doors, Generation.G2019))
    _places.update(
        {
            "127.0.0.1:8732": f"127.0.0.1:{ours.port}",
            "127.0.0.1:8719": doors[0].guard.name,
            "127.0.0.1:9733": str(theirs.point),
            "$PEER": str(theirs.core.survey.peer_id),
        }
    )


def stop() -> None:
    """End what was started."""
    _places.clear()
    _stack.close()


def put(text: str) -> str:
    """Put what is there for what is named."""
    for name, there in _places.items():
        text = text.replace(name, there)
    return text


def check(words: list[str], expected: str) -> None:
    """Send what a line says; what follows it must come back, ``...`` being anything."""
    if not _places:
        _start()
    words = [put(word) for word in words]
    out = _by_curl(words) if shutil.which("curl") else _without(words)
    if expected.strip():
        pattern = "".join(
            ".*?".join(map(re.escape, put(line.rstrip()).split("..."))) + r"\s*"
            for line in expected.strip("\n").splitlines()
        )
        assert re.fullmatch(pattern, out, re.S), f"{words}: it answers:\n{out}"


def _by_curl(words: list[str]) -> str:
    done = subprocess.run(
        ["curl", "--silent", "--show-error", "--fail-with-body", *words[1:]],
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    ok = done.returncode == 0 or (done.returncode == TIMED_OUT and "--max-time" in words)
    # An error that the page shows is what is expected, and compared.
    assert ok or done.stderr.rstrip().endswith(" 500"), f"{words}: {done.stderr}"
    return done.stdout


def _without(words: list[str]) -> str:
    method, body, headers, url = None, None, {}, ""
    rest: Any = iter(words[1:])
    for word in rest:
        match word:
            case "-X" | "--request":
                method = next(rest)
            case "-d" | "--data" | "--json":
                body = next(rest)
                headers.setdefault("content-type", "application/json")
            case "-H" | "--header":
                name, _, value = next(rest).partition(":")
                headers[name.lower()] = value.strip()
            case "--max-time":
                next(rest)
            case _ if word.startswith("-"):
                continue
            case _:
                url = word
    place, _, path = url.removeprefix("http://").partition("/")
    host, _, port = place.rpartition(":")
    line = http.client.HTTPConnection(host, int(port), timeout=LIMIT)
    with contextlib.closing(line):
        line.request(method or ("POST" if body else "GET"), "/" + path, body, headers)
        answer = line.getresponse()
        assert answer.status in (200, 500), answer.status
        if "--max-time" in words:
            line.sock.settimeout(float(words[words.index("--max-time") + 1]))
            with contextlib.suppress(TimeoutError):
                return answer.read1().decode()
            return ""
        return answer.read().decode()
