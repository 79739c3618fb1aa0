"""Who may ask what: where the interface listens, and what is allowed there.

=====================  =================================================================
listens on             allowed, unless an access list says otherwise
=====================  =================================================================
a loopback address     everything
a Unix socket          everything; its file is for its owner alone
any other address      ``GET /network/stat`` only
=====================  =================================================================

An access list is that of the reference's ``config.json``, ``rpc.acl``: a list of
``{"address": "host[:port]", "whitelist": [...]}`` or ``{..., "blacklist": [...]}``.  The
first whose address is that of the listener counts, whichever way it is written: as a
name, too, that has this address, or as one that stands for all (``0.0.0.0``, ``[::]``).
What it lists are requests: a method (left out: any) and a path, in which ``*`` stands for
one segment and ``**`` at the end for any others.

A page in a browser can send requests to loopback.  Hence the name in ``Host`` must be an
IP address, ``localhost``, or one that the operator has named, with the port of the
listener: no name that somebody else's DNS turns into our address.  And whatever changes
something, and in the form of 2019 every GET, is refused when it bears ``Origin``,
``Referer`` or ``Sec-Fetch-*``: programs send none of them.

Source: the RPC access lists of the reference node, 2026; the checks of headers beyond
``Host`` are our own.
"""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import attrs

from ...fsm.scope import Scope, scope_of
from ...spec.address import Address, PointError
from ...spec.point import Endpoint, Point
from ..sockets import point_of

#: TCP port of the interface unless told otherwise.
DEFAULT_PORT: Final = 8732
#: All that strangers may ask.
STRANGERS: Final = ("GET /network/stat",)

_MATCHER: Final = re.compile(r"(?:([A-Z]+)\s*)?(/\S*)")
_ENTRY: Final = ("address", "whitelist", "blacklist")
_TELLTALES: Final = ("origin", "referer")


#: Addresses that stand for all, and for all of IPv4.
_ALL: Final = (Address.parse("::"), Address.parse("0.0.0.0"))  # noqa: S104  # not bound


class AclError(ValueError):
    """An access list that is none; the message says where and why."""


@attrs.frozen
class Matcher:
    """Requests: a method, or any, and a path.

    Attributes:
        method: GET, for example; None: any.
        path: segments; ``*``: any one; a last ``**``: any others.
    """

    method: str | None
    path: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Matcher:
        """Read ``[METHOD] /path``.

        Raises:
            AclError: it is something else.
        """
        match = _MATCHER.fullmatch(text.strip())
        if match is None:
            raise AclError(f"{text!r:.80} is not of the form [METHOD] /path")
        segments = [part for part in match[2].split("/") if part]
        if "**" in segments[:-1]:
            raise AclError(f"{text!r:.80}: ** may only be last")
        return cls(match[1], tuple(segments))

    def matches(self, method: str, path: Sequence[str]) -> bool:
        """Whether a request is meant."""
        if self.method is not None and self.method != method:
            return False
        wanted = self.path
        if wanted and wanted[-1] == "**":
            wanted, path = wanted[:-1], path[: len(wanted) - 1]
        return len(wanted) == len(path) and all(
            want in ("*", have) for want, have in zip(wanted, path, strict=True)
        )


@attrs.frozen
class Policy:
    """What is allowed at an address.

    Attributes:
        address: the listener's.
        listed: requests.
        allows: whether those are allowed, and no others; else they alone are not.
    """

    address: Endpoint
    listed: tuple[Matcher, ...]
    allows: bool

    def is_for(self, point: Point, called: str = "") -> bool:
        """Whether it is about a listener.

        Args:
            point: where that listens.
            called: the host as the operator wrote it, if it is a name.
        """
        if self.address.port not in (None, point.port):
            return False
        host = _plain(self.address.host)
        if self.address.is_unspecified or (called and host == _plain(called)):
            return True
        try:
            address = Address.parse(host)
        except PointError:
            # By its text alone it would forbid nothing where the listener has another.
            return point.address in _addresses_of(host)
        if address in _ALL:
            return address == _ALL[0] or point.address.is_v4
        return address == point.address

    def permits(self, method: str, path: Sequence[str]) -> bool:
        """Whether a request is allowed."""
        return any(it.matches(method, path) for it in self.listed) == self.allows


def _plain(name: str) -> str:
    return name.lower().removesuffix(".")


def _addresses_of(name: str) -> Sequence[Address]:
    """Return what the system says of a name: nothing if it does not know it."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return [point_of(where).address for *_, where in found]


def _list(value: Any, what: str) -> list[object]:
    if not isinstance(value, list):
        raise AclError(f"{what}: a list wanted")
    return cast("list[object]", value)


def read_acl(document: Any) -> tuple[Policy, ...]:
    """Return the access lists of ``rpc.acl``.

    Raises:
        AclError: it is none; the message says which entry and why.
    """
    found: list[Policy] = []
    for number, entry in enumerate(_list(document, "rpc.acl")):
        where = f"rpc.acl[{number}]"
        try:
            found.append(_policy(entry))
        except (AclError, PointError) as exc:
            raise AclError(f"{where}: {exc}") from None
    return tuple(found)


def _policy(entry: object) -> Policy:
    if not isinstance(entry, dict):
        raise AclError("an object with address, and whitelist or blacklist, wanted")
    fields = cast("dict[str, Any]", entry)
    lists = [name for name in _ENTRY[1:] if name in fields]
    if "address" not in fields or len(lists) != 1 or set(fields) - set(_ENTRY):
        raise AclError("address, and either whitelist or blacklist, wanted")
    address, listed = fields["address"], fields[lists[0]]
    if not isinstance(address, str):
        raise AclError("address: host[:port] wanted")
    matchers: list[Matcher] = []
    for text in _list(listed, lists[0]):
        if not isinstance(text, str):
            raise AclError(f"{lists[0]}: {text!r:.40} is no text")
        matchers.append(Matcher.parse(text))
    return Policy(Endpoint.parse(address), tuple(matchers), lists[0] == "whitelist")


@attrs.frozen
class Guard:
    """What one listener lets through.

    Attributes:
        name: where it listens, for people.
        port: TCP port, or None for a Unix socket.
        policy: what is allowed.
        names: that ``Host`` may say beside IP addresses and localhost, in lower case,
            with a port or for any.
        point: where it listens, or None.
        called: its host as the operator wrote it, if that is a name.
    """

    name: str
    port: int | None
    policy: Policy
    names: tuple[Endpoint, ...] = ()
    point: Point | None = None
    called: str = ""

    @classmethod
    def of_point(
        cls,
        point: Point,
        called: str = "",
        acl: Sequence[Policy] = (),
        names: Sequence[str] = (),
    ) -> Guard:
        """Return the guard of a TCP listener.

        Args:
            point: where it listens.
            called: the host as the operator wrote it.
            acl: access lists; see `read_acl`.
            names: hosts that ``Host`` may say, ``name[:port]``.

        Raises:
            PointError: a name is none.
        """
        everything = Policy(Endpoint(""), (), allows=False)
        little = Policy(Endpoint(""), tuple(map(Matcher.parse, STRANGERS)), allows=True)
        default = everything if scope_of(point.address) is Scope.LOOPBACK else little
        policy = next((it for it in acl if it.is_for(point, called)), default)
        known = [Endpoint.parse(name.lower()) for name in names]
        if called:
            known.append(Endpoint(called.lower(), point.port))
        return cls(str(point), point.port, policy, tuple(known), point, called)

    def is_meant(self, policy: Policy) -> bool:
        """Whether an access list is about this listener, be there one before it."""
        return self.point is not None and policy.is_for(self.point, self.called)

    @classmethod
    def of_path(cls, path: str) -> Guard:
        """Return the guard of a Unix socket."""
        return cls(f"unix:{path}", None, Policy(Endpoint(""), (), allows=False))

    def knows_host(self, host: str) -> bool:
        """Whether ``Host`` names us, and not a name that somebody has us mistaken for."""
        if self.port is None:
            return True
        try:
            asked = Endpoint.parse(host.lower())
        except PointError:
            return False
        port = 80 if asked.port is None else asked.port
        for name in self.names:
            if name.host == asked.host and name.port in (None, port):
                return True
        if port != self.port or asked.is_unspecified:
            return False
        if asked.host == "localhost":
            return True
        with contextlib.suppress(PointError):
            Address.parse(asked.host)
            return True
        return False

    def permits(self, method: str, path: Sequence[str]) -> bool:
        """Whether the access list lets a request through."""
        return self.policy.permits(method, path)


def comes_from_a_page(headers: Mapping[str, str]) -> bool:
    """Whether a browser sends a request for a page."""
    return any(name in _TELLTALES or name.startswith("sec-fetch-") for name in headers)
