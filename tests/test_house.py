"""Rules of the house that no other tool checks."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("spec", "fsm", "io", "tests", "docs", "diagrams", ".ci")
SOURCES = sorted(
    path for folder in ("spec", "fsm", "io") for path in (ROOT / folder).rglob("*.py")
)
MODULES = [pytest.param(path, id=str(path.relative_to(ROOT))) for path in SOURCES]


def texts() -> list[Path]:
    found = [path for path in ROOT.iterdir() if path.is_file()]
    for folder in FOLDERS:
        found += (ROOT / folder).rglob("*")
    skipped = ("_build", "reference", "__pycache__", "pkgview")
    return [
        path
        for path in found
        if path.is_file()
        and not set(skipped) & set(path.parts)
        and path.name != ".coverage"
    ]


def test_no_file_names_the_host_of_a_package_registry():
    host = re.compile(rb"(pypi|pythonhosted|npmjs|debian)[.](org|com)")
    named = [path for path in texts() if host.search(path.read_bytes())]
    assert named == []


@pytest.mark.parametrize("path", MODULES)
def test_every_escape_from_a_check_says_why(path):
    escape = re.compile(r"#\s*(noqa|type: ignore|pyright: |pragma)[^#]*")
    lines = path.read_text("utf-8").splitlines()
    for before, line in zip(["", *lines], lines, strict=False):
        match = escape.search(line)
        if match is not None:
            reason = line[match.end() :].strip("# ")
            assert reason or before.strip().startswith("#"), line


def lines_of_code(path: Path) -> int:
    """Count lines that are neither blank, nor comment, nor docstring."""
    text = path.read_text("utf-8")
    documented: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            documented |= set(range(node.lineno, (node.end_lineno or 0) + 1))
    return sum(
        1
        for number, line in enumerate(text.splitlines(), 1)
        if number not in documented and line.strip() and not line.strip().startswith("#")
    )


@pytest.mark.parametrize("path", MODULES)
def test_modules_can_be_taken_in_at_one_sitting(path):
    assert lines_of_code(path) <= 350


def test_all_of_io_is_kept_from_the_command_line():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    (contract,) = [
        each
        for each in project["tool"]["importlinter"]["contracts"]
        if "tezos_p2p.io.cli" in each.get("forbidden_modules", ())
    ]
    found = {path.stem for path in (ROOT / "io").glob("*.py")}
    found |= {path.parent.name for path in (ROOT / "io").glob("*/__init__.py")} - {"cli"}
    assert {f"tezos_p2p.io.{name}" for name in found} == {*contract["source_modules"]}


def unseen_jumps(code: ast.AST, closing: bool = False) -> list[int]:
    """Return the lines of each `while` directly inside a `try` that closes something."""
    found: list[int] = []
    last = code.finalbody if isinstance(code, ast.Try) else []
    for node in ast.iter_child_nodes(code):
        if node in last:
            continue  # it closes, and is not closed
        inside = closing
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            inside = False
        elif isinstance(node, ast.AsyncFunctionDef):
            continue  # asyncio raises no interrupt in tasks
        elif isinstance(node, ast.With) and "lock" in ast.unparse(node.items[0]):
            continue  # an interrupt is kept
        elif isinstance(node, ast.Try):
            caught = [ast.unparse(each.type) for each in node.handlers if each.type]
            inside |= bool(node.finalbody) or "BaseException" in caught
        elif isinstance(node, ast.While) and closing:
            found.append(node.lineno)
        found += unseen_jumps(node, inside)
    return found


@pytest.mark.parametrize("path", MODULES)
def test_no_interrupt_passes_what_closes_something(path):
    # python/cpython#130279: where a `while` jumps back, Python 3.12 and 3.13 do not see
    # the `try` around it.  The loop goes into a function of its own.
    assert unseen_jumps(ast.parse(path.read_text("utf-8"))) == []


@pytest.mark.parametrize("path", MODULES)
def test_every_module_says_what_it_is_about(path):
    text = ast.get_docstring(ast.parse(path.read_text("utf-8")))
    assert text is not None
    if path.parent.name == "spec" and path.name != "__init__.py":
        assert "Source:" in text or path.name in ("convert.py", "layouts.py")


def test_the_drivers_folder_never_hides_the_standard_io():
    # A root folder io/ with an __init__.py would be `io` to every type checker.
    assert not (ROOT / "io" / "__init__.py").exists()


def test_every_package_is_in_the_wheel():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    listed = set(settings["tool"]["setuptools"]["packages"])
    found = {
        ".".join(("tezos_p2p", *path.parent.relative_to(ROOT).parts)) for path in SOURCES
    }
    assert found == listed


def test_what_is_exported_exists_and_is_sorted():
    import tezos_p2p.fsm
    import tezos_p2p.spec

    for package in (tezos_p2p.fsm, tezos_p2p.spec):
        for name in package.__all__:
            assert hasattr(package, name)
        assert len(set(package.__all__)) == len(package.__all__)
        constants = [name for name in package.__all__ if name.isupper()]
        classes = [n for n in package.__all__ if n[0].isupper() and not n.isupper()]
        functions = [name for name in package.__all__ if name[0].islower()]
        in_order = sorted(constants) + sorted(classes) + sorted(functions)
        assert package.__all__ == in_order
