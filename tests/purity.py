"""The core draws no time, no chance and no socket: what shows it while tests run.

`guarded` replaces clocks, random sources and sockets by wrappers that look at the
frames that call them and raise when the innermost one that can answer for the call is
of ``tezos_p2p.spec`` or ``tezos_p2p.fsm``.  Everybody else is let through: pytest and
Hypothesis need clocks.  `imports_of` reads a module's imports from its syntax tree.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib.util
import os
import random
import secrets
import socket
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import nacl.bindings
import nacl.utils
import pytest

import tezos_p2p.fsm
import tezos_p2p.spec

SPEC = Path(tezos_p2p.spec.__file__).parent
FSM = Path(tezos_p2p.fsm.__file__).parent

#: Modules that the core may not import, by the name they are imported with.
FORBIDDEN_MODULES = frozenset(
    {
        "asyncio",
        "datetime",
        "logging",
        "multiprocessing",
        "os",
        "random",
        "secrets",
        "select",
        "selectors",
        "socket",
        "ssl",
        "subprocess",
        "tezos_p2p.io",
        "threading",
        "time",
    }
)

#: What PyNaCl offers the core: functions whose results follow from their arguments.
PURE_NACL = frozenset(
    {
        "nacl.bindings.crypto_box_afternm",
        "nacl.bindings.crypto_box_beforenm",
        "nacl.bindings.crypto_box_open_afternm",
        "nacl.bindings.crypto_scalarmult_base",
        "nacl.exceptions.CryptoError",
    }
)

_CLOCKS = (
    "time time_ns monotonic monotonic_ns perf_counter perf_counter_ns process_time "
    "process_time_ns thread_time thread_time_ns clock_gettime clock_gettime_ns sleep "
    "localtime gmtime ctime strftime"
)
_DICE = (
    "random uniform triangular randint randrange choice choices shuffle sample "
    "getrandbits randbytes seed gauss normalvariate lognormvariate expovariate "
    "vonmisesvariate gammavariate betavariate paretovariate weibullvariate"
)
_SECRETS = "token_bytes token_hex token_urlsafe randbits randbelow choice"
_LIBRARIES_OF_THE_CORE = {"attr", "attrs", "cattrs", "nacl", "transitions"}
_NACL = "randombytes crypto_box_keypair crypto_kx_keypair crypto_sign_keypair"

#: Every function that the core may not reach: (owner, name).
FORBIDDEN_CALLS: tuple[tuple[Any, str], ...] = tuple(
    (owner, name)
    for owner, names in (
        (time, _CLOCKS),
        (random, _DICE),
        (secrets, _SECRETS),
        (os, "urandom getrandom"),
        (uuid, "uuid1 uuid4"),
        (socket, "create_connection getaddrinfo gethostname gethostbyname socketpair"),
        (nacl.bindings, _NACL),
        (nacl.utils, "random"),
    )
    for name in names.split()
    if hasattr(owner, name)
)


class Impurity(AssertionError):
    """Code of spec/ or fsm/ asked for the time, for chance or for a socket."""


@functools.cache
def _answers(filename: str) -> bool | None:
    """Say whether code of this file is the core (True), may ask (False), or neither."""
    if filename.startswith(("<attrs generated", "<cattrs generated")):
        return "tezos_p2p.spec." in filename or "tezos_p2p.fsm." in filename or None
    path = Path(filename)
    if path.parent in (SPEC, FSM):
        return True
    if Path(__file__).parent in path.parents:
        return False
    if path.match("logging/__init__.py"):
        return False
    if "site-packages" in path.parts:
        package = path.parts[path.parts.index("site-packages") + 1]
        # What the core calls is the core's own doing.
        return (
            None
            if package in {"nacl", "transitions", "attr", "attrs", "cattrs"}
            else False
        )
    return None


def _asked_by_the_core(frame: FrameType | None) -> str:
    """Return the core's file that answers for a call, or nothing."""
    while frame is not None:
        answer = _answers(frame.f_code.co_filename)
        if answer is not None:
            return f"{frame.f_code.co_filename}:{frame.f_lineno}" if answer else ""
        frame = frame.f_back
    return ""


class _Guard:
    """A callable that refuses the core.  Not a function: it never becomes a method."""

    def __init__(
        self, original: Callable[..., Any], name: str, caught: list[str]
    ) -> None:
        self._original = original
        self._name = name
        self._caught = caught

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        where = _asked_by_the_core(sys._getframe(1))
        if where:
            self._caught.append(f"{self._name} by {where}")
            raise Impurity(self._caught[-1])
        return self._original(*args, **kwargs)


def _replace(patch: pytest.MonkeyPatch, caught: list[str]) -> None:
    """Put guards in the places of all forbidden calls, also where they go by a name."""
    guards: dict[int, tuple[Any, _Guard]] = {}
    for owner, name in FORBIDDEN_CALLS:
        original = getattr(owner, name)
        guard = _Guard(original, f"{owner.__name__}.{name}", caught)
        patch.setattr(owner, name, guard)
        guards[id(original)] = original, guard
    # Names that were bound by ``from x import y`` before.
    for module_name, module in list(sys.modules.items()):
        if module_name.split(".")[0] in {"nacl", "tezos_p2p"}:
            for key, value in list(vars(module).items()):
                if id(value) in guards:
                    patch.setattr(module, key, guards[id(value)][1])


@contextlib.contextmanager
def guarded() -> Iterator[list[str]]:
    """Refuse the core every clock, random source and socket; give what was caught."""
    caught: list[str] = []
    open_socket = socket.socket.__init__

    def socket_init(self: socket.socket, *args: Any, **kwargs: Any) -> None:
        where = _asked_by_the_core(sys._getframe(1))
        if where:
            caught.append(f"socket.socket by {where}")
            raise Impurity(caught[-1])
        open_socket(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        _replace(patch, caught)
        patch.setattr(socket.socket, "__init__", socket_init)
        yield caught


def guard_module() -> Iterator[None]:
    """Body of the fixture that runs every test of a folder under `guarded`."""
    with guarded() as caught:
        yield
    assert not caught, caught


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parents = package.split(".")
    base = ".".join(parents[: len(parents) - node.level + 1])
    return f"{base}.{node.module}" if node.module else base


def imports_of(source: str, package: str) -> set[str]:
    """Return the dotted names that a module's text imports, wherever in the text.

    Args:
        source: text of the module.
        package: that it belongs to, for relative imports.
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, package)
            found.update(f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and node.args:
            function = node.func
            name = getattr(function, "attr", getattr(function, "id", ""))
            first = node.args[0]
            if (
                name in {"import_module", "__import__"}
                and isinstance(first, ast.Constant)
                and isinstance(first.value, str)
            ):
                found.add(importlib.util.resolve_name(first.value, package))
    return found


def within(name: str, modules: frozenset[str]) -> bool:
    """Whether a dotted name is one of the modules, or something inside one."""
    parts = name.split(".")
    return any(".".join(parts[: i + 1]) in modules for i in range(len(parts)))
