"""The core does no I/O: what it imports, and what it calls."""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from purity import (
    FORBIDDEN_CALLS,
    FORBIDDEN_MODULES,
    FSM,
    PURE_NACL,
    SPEC,
    Impurity,
    guarded,
    imports_of,
    within,
)

from tezos_p2p.fsm import Local
from tezos_p2p.spec import Identity

MODULES = sorted([*SPEC.glob("*.py"), *FSM.glob("*.py")])


def name_of(path: Path) -> str:
    return f"{path.parent.name}/{path.name}"


def package_of(path: Path) -> str:
    return f"tezos_p2p.{path.parent.name}"


def imports_in(path: Path) -> set[str]:
    return imports_of(path.read_text("utf-8"), package_of(path))


def test_the_modules_of_the_core_are_found() -> None:
    names = {name_of(path) for path in MODULES}
    assert {"spec/hello.py", "fsm/handshake.py", "fsm/machine.py"} <= names


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_of_the_core_imports_nothing_that_does_io(path: Path) -> None:
    assert not {name for name in imports_in(path) if within(name, FORBIDDEN_MODULES)}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_of_the_core_imports_nothing_random_of_nacl(path: Path) -> None:
    used = {name for name in imports_in(path) if name.split(".")[0] == "nacl"}
    assert used <= PURE_NACL


@pytest.mark.parametrize("path", sorted(SPEC.glob("*.py")), ids=name_of)
def test_spec_imports_nothing_of_fsm(path: Path) -> None:
    assert not {
        name for name in imports_in(path) if within(name, frozenset({"tezos_p2p.fsm"}))
    }


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("import time", "time"),
        ("import os.path", "os.path"),
        ("import asyncio.events as e", "asyncio.events"),
        ("from random import choice", "random.choice"),
        ("def f():\n    import socket", "socket"),
        ("if x:\n    from os import urandom as u", "os.urandom"),
        ("from ..io import blocking", "tezos_p2p.io.blocking"),
        ("from .. import io", "tezos_p2p.io"),
        ("from ..io.demo import main", "tezos_p2p.io.demo.main"),
        ("import tezos_p2p.io.demo", "tezos_p2p.io.demo"),
        ("import importlib\nimportlib.import_module('secrets')", "secrets"),
        ("__import__('ssl')", "ssl"),
        ("importlib.import_module('..io', __package__)", "tezos_p2p.io"),
    ],
)
def test_every_way_to_import_is_seen(source: str, name: str) -> None:
    found = imports_of(source, "tezos_p2p.fsm")
    assert name in found
    assert within(name, FORBIDDEN_MODULES)


@pytest.mark.parametrize(
    "source",
    [
        "import timeit",
        "from .time import x",
        "from ..spec.reasons import Reason",
        "import io",
        "from . import random",
        "import_module(name)",
        "import_module(1)",
    ],
)
def test_names_that_only_look_alike_are_not_mistaken(source: str) -> None:
    found = imports_of(source, "tezos_p2p.fsm")
    assert not {name for name in found if within(name, FORBIDDEN_MODULES)}


# -- calls -----------------------------------------------------------------------------


@pytest.fixture(scope="class")
def guard() -> Iterator[list[str]]:
    with guarded() as calls:  # which takes a while
        yield calls


@pytest.fixture
def caught(guard: list[str]) -> list[str]:
    guard.clear()
    return guard


def from_file(path: Path) -> Callable[[Callable[[], Any]], Any]:
    """Return a function that calls its argument, as code of the given file."""
    space: dict[str, Any] = {}
    code = "def call(function):\n    return function()\n"
    exec(compile(code, str(path), "exec"), space)
    call: Callable[[Callable[[], Any]], Any] = space["call"]
    return call


class TestGuarded:
    @pytest.mark.parametrize("folder", [SPEC, FSM], ids=lambda path: path.name)
    @pytest.mark.parametrize(
        ("owner", "name"), FORBIDDEN_CALLS, ids=lambda x: getattr(x, "__name__", x)
    )
    def test_code_of_the_core_is_refused_clocks_chance_and_sockets(
        self, caught: list[str], owner: Any, name: str, folder: Path
    ) -> None:
        with pytest.raises(Impurity, match=rf"{name} by .*made_up\.py:2"):
            from_file(folder / "made_up.py")(getattr(owner, name))
        assert len(caught) == 1

    def test_code_of_the_core_cannot_open_a_socket(self, caught: list[str]) -> None:
        with pytest.raises(Impurity, match=r"socket\.socket by"):
            from_file(FSM / "made_up.py")(socket.socket)

    def test_a_library_between_does_not_hide_the_core(self, caught: list[str]) -> None:
        library = from_file(Path("/x/site-packages/nacl/utils.py"))
        with pytest.raises(Impurity):
            from_file(FSM / "made_up.py")(partial(library, time.time))

    def test_real_code_of_the_core_is_caught_in_the_act(self, caught: list[str]) -> None:
        local = Local(
            identity=Identity.of_secret(bytes(31) + b"\x01"), random_bytes=os.urandom
        )
        with pytest.raises(Impurity, match=r"urandom by .*fsm"):
            local.hello()

    def test_everybody_else_may_ask(self, caught: list[str]) -> None:
        assert time.monotonic() <= time.monotonic()
        assert 0 <= random.random() < 1
        assert len(os.urandom(3)) == 3
        socket.socket().close()
        assert from_file(Path("/x/site-packages/hypothesis/a.py"))(time.time) > 0
        # A clean-up hook of Hypothesis that runs while the core does.
        hook = from_file(Path("/x/site-packages/hypothesis/a.py"))
        assert from_file(FSM / "made_up.py")(partial(hook, time.time)) > 0
        assert not caught


def test_all_is_as_before_once_the_guard_is_gone() -> None:
    before = [getattr(owner, name) for owner, name in FORBIDDEN_CALLS]
    opening = socket.socket.__init__
    with guarded():
        assert time.time is not before[0]
        assert socket.socket.__init__ is not opening
    assert [getattr(owner, name) for owner, name in FORBIDDEN_CALLS] == before
    assert socket.socket.__init__ is opening
    assert from_file(FSM / "made_up.py")(time.time) > 0
