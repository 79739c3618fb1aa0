"""``tezos-p2p completion`` and ``--install-completion``: completion for shells."""

from __future__ import annotations

from typing import Literal

from cyclopts import App

from .output import AsJson, tell_json


def add(app: App) -> None:
    """Register the commands."""

    def completion(
        shell: Literal["bash", "zsh", "fish"], /, *, as_json: AsJson = False
    ) -> None:
        """Print the script that completes this command's arguments in a shell.

        The option --install-completion also puts it where the shell looks for it.

        Args:
            shell: bash, zsh or fish.
            as_json: print one JSON object.
        """
        script = app.generate_completion(shell=shell)
        if as_json:
            tell_json({"shell": shell, "script": script})
        else:
            print(script, end="" if script.endswith("\n") else "\n")

    app.command(completion)
    # Its signature does not say what else it takes.
    app.register_install_completion_command(  # pyright: ignore[reportUnknownMemberType]  # untyped **kwargs
        help="Install completion for your shell, also in its startup file."
    )
