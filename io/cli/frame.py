"""The ``tezos-p2p`` command: its groups of commands, and how a command line is read.

To add commands: write a module with a function ``add`` that registers them with the
`App` it is given, and name the module in `GROUPS`.  A command returns an `Exit`, or
None if all went well; what it cannot do it raises as `CommandError`, `OSError` or
`IdentityError`; what it prints goes through `output`.  Its docstring is its help.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Sequence
from typing import Final

from cyclopts import App, CycloptsError, Parameter

from ...spec.identity import IdentityError
from . import (
    admin,
    completion,
    config,
    demo,
    diagrams,
    identity,
    listen,
    probe,
    recordings,
    sandbox,
    spec,
)
from . import run as run_node
from .admin_call import Unfinished, hoisted, tell_usage
from .exits import CommandError, Exit
from .output import help_console, is_terminal

#: One module for each group of commands, in the order of the help.
GROUPS: Final = (
    identity,
    config,
    run_node,
    recordings,
    admin,
    probe,
    listen,
    demo,
    sandbox,
    spec,
    diagrams,
    completion,
)

_HELP: Final = """The peer-to-peer layer of a Tezos node.

Exit codes: 0 done, 1 failed, 2 wrong usage or missing extra, 130 interrupted; probe
has 3, 4 and 5 of its own, and of admin wrong usage is 1.
"""


def _version() -> str:
    return f"tezos-p2p {importlib.metadata.version('tezos-p2p')}"


def make_app() -> App:
    """Return the command with all its groups."""
    app = App(
        name="tezos-p2p",
        help=_HELP,
        version=_version,
        console=help_console(),
        help_format="plaintext",
        help_formatter="default" if is_terminal(sys.stdout) else "plain",
        # Options that are not there to be negated: --no-json says nothing.
        default_parameter=Parameter(negative=()),
        # Errors are told and codes chosen in one place, which is not here.
        result_action="return_value",
        exit_on_error=False,
        print_error=False,
        verbose=False,
        suppress_keyboard_interrupt=False,
    )
    for group in GROUPS:
        group.add(app)
    return app


def run(arguments: Sequence[str]) -> Exit:
    """Do what a command line says.

    Raises:
        CommandError: it could not be done, or the command line is wrong.
        OSError: it could not be done.
    """
    try:
        code: Exit | None = make_app()(hoisted(arguments))
    except CycloptsError as exc:
        if [*arguments[:1]] == ["admin"]:
            return tell_usage(str(exc))
        chain = " ".join(("tezos-p2p", *(exc.command_chain or ())))
        raise CommandError(f"{exc} (see: {chain} --help)", Exit.MISUSE) from None
    except Unfinished as exc:
        return tell_usage(str(exc))
    except IdentityError as exc:
        raise CommandError(str(exc)) from None
    return Exit.OK if code is None else code
