"""``tezos-p2p demo``: see the module of the demo itself."""

from __future__ import annotations

from cyclopts import App

from ..demo import run
from .exits import Exit
from .output import AsJson


def add(app: App) -> None:
    """Register the command."""
    app.command(demo)


def demo(*, as_json: AsJson = False) -> Exit:
    """Let two processes talk over TCP on loopback, then replay a recorded handshake.

    Searches a small proof of work for two identities, shakes hands, asks for points,
    branches, headers and operations both ways, and checks every answer.  Ends within
    seconds; the exit code is 1 if anything was missing or did not fit.

    Args:
        as_json: print one JSON object for each thing that happens.
    """
    return Exit(run(as_json))
