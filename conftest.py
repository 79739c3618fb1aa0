"""The code blocks of README.md and of the documentation run as tests.

``python`` blocks run in order, each file in a namespace of its own.  ``console`` blocks
are checked line by line: what a ``$`` line names must exist (a target of the Makefile,
an extra of the project, a module, a file).  The commands that only print are run, and
must print the lines that follow them, if any do; a line ``...`` stands for any others.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Final

from sybil import Example, Sybil
from sybil.parsers.myst import CodeBlockParser, PythonCodeBlockParser

ROOT: Final = Path(__file__).parent
#: Modules that print and do nothing else: run here, and compared.
PRINTING: Final = frozenset({"tezos_p2p.spec.layouts", "tezos_p2p.fsm.diagram"})


def _extras(argument: str) -> set[str]:
    match = re.search(r"\[(.*)\]", argument)
    return set(match[1].split(",")) if match else set()


def _check_module(words: list[str], expected: str) -> None:
    module = words[2]
    assert importlib.util.find_spec(module), f"there is no module {module}"
    if module not in PRINTING:
        return
    command = [sys.executable, *words[1:]]
    done = subprocess.run(  # noqa: S603  # a command of the documentation
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    if not expected.strip():
        return
    pattern = "".join(
        "(?:.*\n)*?" if line.strip() == "..." else re.escape(line.rstrip()) + " *\n"
        for line in expected.strip("\n").splitlines()
    )
    assert re.fullmatch(pattern, done.stdout), f"it prints:\n{done.stdout}"


def _check_command(command: str, expected: str) -> None:
    words = shlex.split(command, comments=True)
    match words:
        case ["make", *targets]:
            makefile = (ROOT / "Makefile").read_text("utf-8")
            for target in targets:
                assert re.search(rf"^{target}:", makefile, re.M), f"no target {target}"
        case ["pip" | ".venv/bin/pip", "install", *arguments]:
            project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
            known = project["project"]["optional-dependencies"]
            for argument in arguments:
                assert _extras(argument) <= set(known), f"no such extra: {argument}"
        case ["python" | ".venv/bin/python", "-m", _, *_]:
            _check_module(words, expected)
        case _:
            raise AssertionError(f"no check is known for {command!r}")


def check_console(example: Example) -> None:
    """Check every command of a ``console`` block."""
    for part in re.split(r"^\$ ", example.parsed, flags=re.M)[1:]:
        command, _, expected = part.partition("\n")
        _check_command(command, expected)


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), CodeBlockParser("console", check_console)],
    path=str(ROOT),
    patterns=["README.md", "SECURITY.md", "docs/*.md"],
).pytest()
