"""What is a parent's in a process that was forked: let go of there, at once.

A child has copies of all sockets, and of the keys and counters of all connections, but
none of the threads.  What it wrote would come twice under one message nonce, and break
the connection at best; what it told a selector, the parent's would hear; and whoever
waited for a thread would wait for ever.  So in the child a driver is of no use from the
first moment: it closes its copies, which ends nothing of the parent's; closing is
harmless; all else is a `RuntimeError`.

Finding that out costs nothing before a fork.  A program that is started in the child
(``subprocess``, or ``spawn`` of ``multiprocessing``) inherits nothing anyway.
"""

from __future__ import annotations

import os
from typing import Final, NoReturn, Protocol
from weakref import WeakSet

#: What is raised in a child.
NOT_OURS: Final = (
    "it belongs to the process that this one was forked from: connect, listen, or make a "
    "node here"
)


class Owned(Protocol):
    """What one process alone may use."""

    def disown(self) -> None:
        """Be of no use any more, and close what there are copies of."""
        ...


_EVERY: Final[WeakSet[Owned]] = WeakSet()


def own(it: Owned) -> None:
    """Have something disowned in children of this process."""
    _EVERY.add(it)


def refuse() -> NoReturn:
    """Stand in for what must not be done in a child.

    Raises:
        RuntimeError: always.
    """
    raise RuntimeError(NOT_OURS)


def _fork() -> None:
    for it in list(_EVERY):
        it.disown()
    _EVERY.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_fork)
