"""The ``tezos-p2p`` command: its groups of commands, and how a command line is read.

To add commands: write a module with a function ``add`` that registers them with the
`App` it is given, and name the module in `GROUPS`, with its commands.  A command returns
an `Exit`, or None if all went well; what it cannot do it raises as `CommandError`,
`OSError` or `IdentityError`; what it prints goes through `output`.  Its docstring is its
help.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import sys
from collections.abc import Sequence
from typing import Final

from cyclopts import App, CycloptsError, Parameter

from ...spec.identity import IdentityError
from .exits import CommandError, Exit
from .output import help_console, is_terminal
from .usage import VARIABLES, Misuse, check_filled, is_begun, said

#: The module for each group of commands, and which they are, in the order of the help.
#: A command line that names one of them loads no other: all of them take a second.
GROUPS: Final = {
    "identity": ("identity",),
    "config": ("config",),
    "run": ("run",),
    "recordings": ("replay", "explain"),
    "admin": ("admin",),
    "probe": ("probe",),
    "listen": ("listen",),
    "demo": ("demo",),
    "sandbox": ("sandbox",),
    "spec": ("spec",),
    "diagrams": ("diagrams",),
    "completion": (),  # it knows of all the others
}

_HELP: Final = """The peer-to-peer layer of a Tezos node.

Exit codes: 0 done, 1 failed, 2 wrong usage or missing extra, 130 interrupted; probe
has 3, 4 and 5 of its own, and of admin wrong usage is 1.
"""


def _version() -> str:
    return f"tezos-p2p {importlib.metadata.version('tezos-p2p')}"


def make_app(*modules: str) -> App:
    """Return the command with its groups: some of `GROUPS`, or all."""
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
    for module in modules or GROUPS:
        importlib.import_module(f".{module}", __package__).add(app)
    return app


def run(arguments: Sequence[str]) -> Exit:
    """Do what a command line says.

    Raises:
        CommandError: it could not be done, or the command line is wrong.
        OSError: it could not be done.
    """
    for name in VARIABLES:  # as those of the configuration: empty is not set
        if not os.environ.get(name, name).strip():
            del os.environ[name]
    first = arguments[0] if arguments else ""
    if first == "admin":
        from .admin_call import run_admin

        return run_admin(make_app("admin"), arguments)
    named = [module for module, commands in GROUPS.items() if first in commands]
    app = make_app(*named)
    try:
        check_filled(arguments)
        if is_begun(app, arguments):
            # What it could be, where errors go: nothing was done.
            app.help_print(list(arguments), console=help_console(stderr=True))
            return Exit.MISUSE
        code: Exit | None = app(arguments)
    except Misuse as exc:
        chain = " ".join(("tezos-p2p", *app.parse_commands(list(arguments))[0]))
        raise CommandError(f"{exc} (see: {chain} --help)", Exit.MISUSE) from None
    except CycloptsError as exc:
        chain = " ".join(("tezos-p2p", *(exc.command_chain or ())))
        text = f"{said(exc, arguments)} (see: {chain} --help)"
        raise CommandError(text, Exit.MISUSE) from None
    except IdentityError as exc:
        raise CommandError(str(exc)) from None
    return Exit.OK if code is None else code
