"""How a command ends: the exit codes that scripts can rely on.

====  ==================================================================================
code  meaning
====  ==================================================================================
0     done; also after ``--help`` and ``--version``
1     what was asked for failed: a check, a file and what is in it, a connection, a node;
      ``admin``: wrong usage, too, as with the reference's client
2     wrong usage, but of ``admin``: arguments or environment variables that are wrong,
      or no command; or the extra ``node`` is not installed
3     ``probe``: refused, by either side: a nack, another network, no common version
4     ``probe``: no handshake: it is no Tezos node, it gave up, or it is another peer
5     ``probe``: nobody was reached, or nothing came in time
130   interrupted
====  ==================================================================================

Of many points that ``probe`` is given, the highest counts.

An error that is nobody's fault but the program's shows a traceback and ends in 1.
"""

from __future__ import annotations

import enum


class Exit(enum.IntEnum):
    """The exit codes."""

    OK = 0
    FAILED = 1
    MISUSE = 2
    REFUSED = 3
    NO_HANDSHAKE = 4
    UNREACHED = 5
    INTERRUPTED = 130


class CommandError(Exception):
    """What a command could not do, in one line for people.

    Attributes:
        code: the exit code to end with.
    """

    def __init__(self, text: str, code: Exit = Exit.FAILED) -> None:
        super().__init__(text)
        self.code = code
