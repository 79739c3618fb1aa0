"""Command lines that are wrong: what is looked for first, and how the rest is told.

An argument that is empty is wrong whatever it is of: a script has a variable that is not
set, and means neither a file of no name nor an address that says nothing.  A command of
which only the beginning is there is wrong, too: what has done nothing must not end in 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from cyclopts import App, CycloptsError, MissingArgumentError, ValidationError

DATA_DIR_ENV: Final = "TEZOS_P2P_DATA_DIR"
ENDPOINT_ENV: Final = "TEZOS_P2P_ENDPOINT"
#: Variables of the command itself, which begin as those of the configuration do.
VARIABLES: Final = (DATA_DIR_ENV, ENDPOINT_ENV)

#: What to write in place of nothing, where there is more to say than that it is empty.
_INSTEAD: Final = {
    "--net-addr": "write 127.0.0.1:9732 to listen on this machine only, [::]:9732 on all "
    "addresses, none nowhere",
    "--discovery-addr": "write none, or leave it out, to tell nobody",
}
_OTHERWISE: Final = "write what is meant, or leave it out"


class Misuse(Exception):
    """A command line that is wrong; the message says why."""


def check_filled(arguments: Sequence[str]) -> None:
    """Refuse arguments that are empty, or blank.

    Raises:
        Misuse: there is one.
    """
    before = ""
    for argument in arguments:
        name, equals, value = argument.partition("=")
        is_option = name.startswith("--") and bool(equals)
        if not (value if is_option else argument).strip():
            option = name if is_option else before if before.startswith("--") else ""
            what = f"{option}: " if option else "an argument "
            instead = _INSTEAD.get(option, _OTHERWISE)
            raise Misuse(f"{what}is empty; {instead}")
        before = argument


def is_begun(app: App, arguments: Sequence[str]) -> bool:
    """Whether a command line only begins a command."""
    _, apps, rest = app.parse_commands(list(arguments))
    return not rest and apps[-1].default_command is None


def said(exc: CycloptsError, arguments: Sequence[str]) -> str:
    """Say what is wrong with a command line, for people.

    Args:
        exc: what has been found.
        arguments: the command line.
    """
    if isinstance(exc, ValidationError) and exc.argument is not None:
        value: Any = exc.argument.value
        if isinstance(value, tuple):
            # What is wrong with one of several names that one.
            token = next(iter(exc.argument.tokens), None)
            keyword = None if token is None else token.keyword
            name = keyword or exc.argument.name.lstrip("-").upper()
            return f"Invalid value for {name}: {exc.exception_message}"
    text = str(exc)
    if isinstance(exc, MissingArgumentError) and "-" in arguments:
        text += ' "-" stands for no file here.'
    return text
