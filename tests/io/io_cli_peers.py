"""Other ends for the commands that talk to nodes: puppets behind real sockets.

A puppet seals and opens by the rules of the protocol, with nothing of what is tested.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from io_cli_runner import REFERENCE

_PUPPETS = str(Path(__file__).parents[1] / "fsm")
if _PUPPETS not in sys.path:
    sys.path.insert(0, _PUPPETS)

from fsm_puppet import Puppet, framed  # noqa: E402  # behind the path to it

Script = Callable[[socket.socket], object]
US = REFERENCE["peer_id"]


def reference_file(folder: Path) -> str:
    path = folder / "reference.json"
    path.write_text(json.dumps(REFERENCE))
    return str(path)


@contextlib.contextmanager
def serving(script: Script) -> Iterator[int]:
    """Run a script for one connection that comes to a port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(20)

        def serve():
            with contextlib.suppress(OSError, EOFError):
                connection, _ = server.accept()
                with connection:
                    connection.settimeout(20)
                    script(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
    thread.join(20)
    assert not thread.is_alive()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def read(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def read_frame(sock: socket.socket) -> bytes:
    head = read(sock, 2)
    return head + read(sock, int.from_bytes(head, "big"))


def wait_for_end(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while sock.recv(65_536):
            pass


def greet(sock: socket.socket, puppet: Puppet) -> None:
    """Exchange connection messages and metadata."""
    sock.sendall(puppet.hello())
    puppet.meet(read_frame(sock))
    sock.sendall(puppet.seal(b"\0\0"))
    puppet.open(read_frame(sock))


def answering(answer: bytes, after: Callable | None = None, **settings) -> Script:
    """Shake hands, say an answer, go on with it."""

    def script(sock):
        puppet = Puppet(dialled=False, **settings)
        greet(sock, puppet)
        sock.sendall(puppet.seal(answer))
        if after is not None:
            puppet.open(read_frame(sock))  # their answer
            after(sock, puppet)
        wait_for_end(sock)

    return script


def message(tag: int, payload: bytes = b"") -> bytes:
    return (len(payload) + 2).to_bytes(4, "big") + tag.to_bytes(2, "big") + payload


def points(*texts: str) -> bytes:
    return b"".join(len(text).to_bytes(4, "big") + text.encode() for text in texts)


def nack(motive: int, *texts: str) -> bytes:
    listed = points(*texts)
    return b"\1" + motive.to_bytes(2, "big") + len(listed).to_bytes(4, "big") + listed


def normal(text: str, **names: object) -> str:
    """Take out of what was printed what is never the same."""
    text = re.sub(r"^ *\d+\.\d ms", "TIME", text, flags=re.M)
    text = re.sub(r"^\d\d:\d\d:\d\d\.\d\d\d", "TIME", text, flags=re.M)
    text = re.sub(r"from 127\.0\.0\.1:\d+", "from 127.0.0.1:FROM", text)
    for name, value in names.items():
        text = re.sub(rf"\b{re.escape(str(value))}\b", name.upper(), text)
    return text


__all__ = ["Puppet", "framed"]
