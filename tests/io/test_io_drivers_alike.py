"""Both drivers look alike: classes, methods, their order, their parameters."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

from tezos_p2p.io import aio, aio_driver, blocking, blocking_driver

#: Names of one protocol of Python, with and without ``await``.
PLAIN = {"__aiter__": "__iter__", "__aenter__": "__enter__", "__aexit__": "__exit__"}
#: Parameters that only blocking calls need: there is no `asyncio.timeout` for them.
ONLY_BLOCKING = {"timeout", "thread"}
#: What a thread does at once takes tasks some turns of the loop.
ONLY_AIO = {"finish_accepting"}


def outline(module) -> dict[str, list[tuple[str, list[str]]]]:
    """Public classes and functions in order, with their methods and parameters."""
    tree = ast.parse(Path(module.__file__).read_text("utf-8"))
    found: dict[str, list[tuple[str, list[str]]]] = {}
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            found[node.name] = methods(node)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            found[node.name] = [parameters(node)]
    return found


def methods(node: ast.ClassDef) -> list[tuple[str, list[str]]]:
    return [
        parameters(each)
        for each in node.body
        if isinstance(each, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]


def parameters(node) -> tuple[str, list[str]]:
    every = [*node.args.args, *node.args.kwonlyargs]
    names = [each.arg for each in every if each.arg != "self"]
    return PLAIN.get(node.name, node.name), names


def is_public(name: str) -> bool:
    return not name.startswith("_") or name.endswith("__")


def test_the_modules_have_the_same_classes_and_functions_in_the_same_order():
    assert list(outline(aio)) == list(outline(blocking))
    one, two = outline(aio_driver), outline(blocking_driver)
    assert [*filter(is_public, one)] == [*filter(is_public, two)] == ["Driver"]
    assert aio.__all__ == blocking.__all__


@pytest.mark.parametrize("name", ["Connection", "Listener", "connect", "listen", "dial"])
def test_the_ends_have_the_same_methods_in_the_same_order(name):
    one = [each for each in outline(aio)[name] if is_public(each[0])]
    two = [each for each in outline(blocking)[name] if is_public(each[0])]
    assert [method for method, _ in one] == [method for method, _ in two]
    for (method, ours), (_, theirs) in zip(one, two, strict=True):
        drop = ONLY_BLOCKING - set(ours)
        assert ours == [each for each in theirs if each not in drop], method


def test_the_ends_have_the_same_properties_and_words():
    for kind in ("Connection", "Listener"):
        one, two = getattr(aio, kind), getattr(blocking, kind)
        for name, member in vars(one).items():
            if isinstance(member, property):
                assert isinstance(inspect.getattr_static(two, name), property)
        for name, _ in outline(aio)[kind]:
            if name.startswith("_"):
                continue
            ours, theirs = getattr(one, name).__doc__, getattr(two, name).__doc__
            assert ours.splitlines()[0] == theirs.splitlines()[0], name


def test_the_drivers_share_methods_in_the_same_order():
    one = [name for name, _ in outline(aio_driver)["Driver"]]
    two = [name for name, _ in outline(blocking_driver)["Driver"]]
    common = [name for name in one if name in two]
    assert common == [name for name in two if name in one]
    assert [name for name in one if is_public(name) and name not in ONLY_AIO] == [
        name for name in common if is_public(name)
    ]
    assert {"made", "accepted", "received", "writable", "lost", "pump"} <= set(common)


def test_both_drivers_carry_out_the_same_commands_in_the_same_order():
    def cases(module) -> list[str]:
        tree = ast.parse(Path(module.__file__).read_text("utf-8"))
        return [
            node.pattern.cls.id
            for node in ast.walk(tree)
            if isinstance(node, ast.match_case)
            and isinstance(node.pattern, ast.MatchClass)
        ]

    from tezos_p2p.fsm import commands

    assert cases(aio_driver) == cases(blocking_driver)
    every = {each.__name__ for each in commands.Command.__args__}
    assert set(cases(aio_driver)) == every
