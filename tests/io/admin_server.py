"""A server on loopback that plays a node's admin interface: bytes as they are scripted.

It knows nothing of what is tested, and of HTTP no more than where a request ends.
"""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from typing import Any

#: What is sent for a request: bytes, or a function that does what it likes.
Answer = bytes | Callable[[socket.socket], object]

REASONS = {200: "OK", 404: "Not Found", 500: "Internal Server Error"}


def answer(body: str, status: int = 200, kind: str = "application/json") -> bytes:
    """As nodes answer: the length told, one LF at the end."""
    data = (body + "\n").encode()
    head = (
        f"HTTP/1.1 {status} {REASONS.get(status, 'Told')}\r\n"
        f"content-length: {len(data)}\r\ncontent-type: {kind}\r\n\r\n"
    )
    return head.encode() + data


def chunked(*parts: str, status: str = "200 OK", kind: str = "application/json") -> bytes:
    """As nodes answer in chunks: streams, and most refusals."""
    head = (
        f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    chunks = [f"{len(part.encode()):x}\r\n{part}\r\n" for part in (*parts, "")]
    return (head + "".join(chunks)).encode()


def stream(*documents: str) -> bytes:
    """A stream that does not end."""
    whole = chunked(*(f"{document}\n" for document in documents))
    return whole.removesuffix(b"0\r\n\r\n")


UNIT = answer("{}")
#: An object is not known.
ABSENT = (
    b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n"
    b"content-type: application/json\r\n\r\n"
)
#: There is no such route.
NO_ROUTE = chunked(status="404 Not Found").replace(
    b"content-type: application/json\r\n", b""
)


def failing(*errors: Mapping[str, Any]) -> bytes:
    return answer(json.dumps(errors, separators=(",", ":")), 500)


def value(document: Any) -> bytes:
    return answer(json.dumps(document, separators=(",", ":")))


class AdminServer:
    """Answers what is scripted; what is not has no route.

    A list is answered one by one, its last for ever.
    """

    def __init__(
        self,
        answers: Mapping[str, Answer | list[Answer]],
        *,
        path: str | None = None,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        self.answers = {
            key: list(told) if isinstance(told, list) else [told]
            for key, told in answers.items()
        }
        #: Each request: method and path, and the body.
        self.asked: list[tuple[str, str]] = []
        self.heads: list[str] = []
        self._tls = tls
        self._open: set[socket.socket] = set()
        self._stopped = threading.Event()
        if path is not None:
            self._door = socket.socket(socket.AF_UNIX)
            self._door.bind(path)
            self._door.listen()
            self.endpoint = f"unix:{path}"
        else:
            self._door = socket.create_server((host, 0))
            self.port = self._door.getsockname()[1]
            self.endpoint = f"http{'s' if tls else ''}://{host}:{self.port}"
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stopped.set()
        # accept() is not woken by close alone.
        for sock in (self._door, *self._open):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        self._door.close()
        self._thread.join(10)
        assert not self._thread.is_alive()

    @property
    def requests(self) -> list[str]:
        return [asked for asked, _ in self.asked]

    def _accept(self) -> None:
        threads = []
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._door.accept()
                thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
                threads.append(thread)
                thread.start()
        for thread in threads:
            thread.join(10)

    def _serve(self, sock: socket.socket) -> None:
        self._open.add(sock)
        with contextlib.suppress(OSError, EOFError):
            sock.settimeout(20)
            if self._tls is not None:
                inner, sock = sock, self._tls.wrap_socket(sock, server_side=True)
                self._open.discard(inner)
                self._open.add(sock)
            with sock, sock.makefile("rb") as file:
                while self._one(sock, file):
                    pass
        self._open.discard(sock)
        sock.close()

    def _one(self, sock: socket.socket, file: Any) -> bool:
        """Answer one request; False: the connection is over."""
        first = file.readline()
        if not first:
            return False
        try:
            method, path, _ = first.decode().split(" ")
        except ValueError:
            sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            return False
        head = first.decode()
        while (line := file.readline()) not in (b"\r\n", b""):
            head += line.decode()
        headers = dict(
            line.lower().split(": ", 1) for line in head.splitlines()[1:] if line
        )
        body = file.read(int(headers.get("content-length", 0)))
        if "chunked" in headers.get("transfer-encoding", ""):
            while size := int(file.readline(), 16):
                body += file.read(size + 2)[:size]
            file.readline()
        key = f"{method} {path}"
        self.heads.append(head)
        self.asked.append((key, body.decode()))
        script = self.answers.get(key, [NO_ROUTE])
        told = script.pop(0) if len(script) > 1 else script[0]
        if isinstance(told, bytes):
            sock.sendall(told)
            return True
        told(sock)
        return False
