"""Where a node's admin interface is: an address of HTTP, or a socket in the file system.

Read are ``http://HOST[:PORT][/PREFIX]``, ``https://...``, ``HOST:PORT``, which is HTTP,
and ``unix:PATH``.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

import attrs

from ..spec.address import Address

#: Where the interface is unless something else is said.
DEFAULT_ENDPOINT: Final = "http://127.0.0.1:8732"

_UNIX: Final = "unix:"
#: Bytes of the longest path of a socket, on Linux.
_PATH_MAX: Final = 107
#: A name, or an IPv4 address: what libraries further down take without complaint.
_NAME: Final = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")
_PLACE: Final = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(:[0-9]+)?")
_NAME_MAX: Final = 253


def _is_host(host: str) -> bool:
    if ":" not in host:
        return len(host) <= _NAME_MAX and _NAME.fullmatch(host) is not None
    try:
        Address.parse(host)
    except ValueError:
        return False
    return True


@attrs.frozen
class Endpoint:
    """Where an interface is.

    Attributes:
        base: what comes before a path, for people.
        socket: path of a socket, or None.
    """

    base: str
    socket: str | None = None

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Read an endpoint.

        Raises:
            ValueError: says what is wrong with it.
        """
        if text.startswith(_UNIX):
            return cls._socket(text)
        if not text.isascii() or not text.isprintable() or " " in text:
            raise ValueError(f"{text[:80]!r} has characters that no endpoint has")
        full = text if "://" in text else f"http://{text}"
        try:
            parts = urlsplit(full)
            port = parts.port
        except ValueError as exc:
            raise ValueError(f"{text[:80]!r} is no endpoint: {exc}") from None
        if parts.scheme not in ("http", "https"):
            raise ValueError(f"{parts.scheme[:20]!r} is none of http, https and unix")
        shaped = _PLACE.fullmatch(parts.netloc.rpartition("@")[2]) is not None
        if not shaped or not _is_host(parts.hostname or "") or port == 0:
            raise ValueError(f"{text[:80]!r} is not of the form http://HOST:PORT")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError(f"{text[:80]!r}: no user, query or fragment is taken")
        if "://" not in text and port is None:
            raise ValueError(f"{text[:80]!r} lacks a port, or http:// in front")
        return cls(f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}")

    @classmethod
    def _socket(cls, text: str) -> Endpoint:
        path = text.removeprefix(_UNIX)
        if not path or "\0" in path or len(path.encode("utf-8", "replace")) > _PATH_MAX:
            raise ValueError(
                f"{text[:80]!r} is not of the form unix:PATH, with 1 to {_PATH_MAX} bytes"
            )
        return cls(text, path)

    def uri(self, path: str) -> str:
        """Return the address of a path, for people."""
        return f"{self.base}{path}"

    def url(self, path: str) -> str:
        """Return the address of a path, for HTTP."""
        return f"http://localhost{path}" if self.socket is not None else self.uri(path)

    def __str__(self) -> str:
        """Return the text."""
        return self.base
