"""The code blocks of README.md and of the documentation run as tests.

``python`` blocks run in order, each file in a namespace of its own.  ``console`` blocks
are checked line by line: what a ``$`` line names must exist (a target of the Makefile,
an extra of the project, a module, a command and its options).  What only prints is run,
and must print the lines that follow it, if any do; a line ``...`` stands for any others.
A ``tezos-p2p`` command that does more is compared with its help, and what follows it is
not looked at.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
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
#: Commands of tezos-p2p that do the same.
PRINTING_COMMANDS: Final = frozenset({"spec", "diagrams", "completion", "--version"})


def _extras(argument: str) -> set[str]:
    match = re.search(r"\[(.*)\]", argument)
    return set(match[1].split(",")) if match else set()


def _check_module(words: list[str], expected: str) -> None:
    module = words[2]
    assert importlib.util.find_spec(module), f"there is no module {module}"
    if module not in PRINTING:
        return
    _check_output(words[1:], expected)


def _run(words: list[str]) -> str:
    """Run Python; return what it prints."""
    command = [sys.executable, *words]
    done = subprocess.run(  # noqa: S603  # a command of the documentation
        command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _check_output(words: list[str], expected: str) -> None:
    out = _run(words)
    if not expected.strip():
        return
    pattern = "".join(
        "(?:.*\n)*?" if line.strip() == "..." else re.escape(line.rstrip()) + " *\n"
        for line in expected.strip("\n").splitlines()
    )
    assert re.fullmatch(pattern, out), f"it prints:\n{out}"


def _help(words: list[str]) -> str:
    """Return the help of a command."""
    # In this process: there are many, and each would load everything anew.
    from tezos_p2p.io.cli.start import main

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main([*words, "--help"]) == 0, f"there is no {words}"
    return out.getvalue()


def _words_of_command(words: list[str]) -> int:
    """Count the words behind ``tezos-p2p`` that name a command."""
    match words[1:]:
        case ["admin", "is", *_]:
            return 4
        case ["admin", "watch" | "top", *_]:
            return 2
        case ["admin", *_]:
            return 3
        case ["identity" | "config", *_]:
            return 2
        case _:
            return 1


def _check_tezos_p2p(words: list[str], expected: str) -> None:
    """Check a line of the command: run it if it only prints, else look into its help."""
    # What the shell would make of the line is not the command's business.
    ends = [words.index(sign) for sign in ("|", ">", "2>", "&", "&&") if sign in words]
    cut = min(ends, default=len(words))
    command = ["-m", "tezos_p2p.io.cli", *words[1:cut]]
    if words[1] in PRINTING_COMMANDS and "--output" not in words and not ends:
        _check_output(command, expected)
        return
    options = {word.partition("=")[0] for word in words[1:cut] if word.startswith("--")}
    group = _words_of_command(words)
    text = _help(words[1 : 1 + group])
    named = " ".join(words[: 1 + group])
    assert re.search(rf"^Usage: {re.escape(named)}\b", text, re.M), f"no {named}"
    known = set(re.findall(r"--[a-z][a-z0-9-]*", text)) | {"--help"}
    assert options <= known, f"{named} has no {options - known}"


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
        case ["tezos-p2p" | ".venv/bin/tezos-p2p", _, *_]:
            _check_tezos_p2p(words, expected)
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
