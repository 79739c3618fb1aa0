"""What a running node logs: one line for each thing that happens, as text or as JSON.

A line has a moment (UTC), a level, the name of what happened, and its facts.  The names
are those of the events (`spec.pool_events`) and of the reference's log; reasons are
words, not numbers.

===========  ===========================================================================
level        what
===========  ===========================================================================
error        the node cannot go on
warning      something is wrong, and was made do with
info         the node's own life; connections that begin and end; too few, too many
debug        every other event
===========  ===========================================================================

Source: the names and levels of the reference node's log events, 2026.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any, Final, Literal, TextIO, cast

import structlog

from ..fsm.inbox import Joined, Left
from ..spec.pool_events import (
    ConnectionEstablished,
    PoolEvent,
    TooFewConnections,
    TooManyConnections,
    pool_event_json,
)

LogFormat = Literal["text", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

_LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}
_NOTABLE: Final = (TooFewConnections, TooManyConnections)


class _Unfailing:
    """A stream whose lines are lost when they cannot be written: a node goes on."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


def make_log(
    style: LogFormat = "text", level: LogLevel = "info", stream: TextIO | None = None
) -> Any:
    """Return a logger: a `structlog` bound logger.

    Args:
        style: lines for people, or one JSON object a line.
        level: the least that is logged.
        stream: where to; by default standard error.
    """
    render: Any = structlog.processors.JSONRenderer()
    if style == "text":
        out = stream or sys.stderr
        render = structlog.dev.ConsoleRenderer(colors=out.isatty(), pad_event_to=24)
    return structlog.wrap_logger(
        structlog.PrintLogger(cast("TextIO", _Unfailing(stream or sys.stderr))),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
    )


def log_item(log: Any, item: object) -> None:
    """Log that somebody joined or left; messages of the application are not logged."""
    match item:
        case Joined(link, remote, version):
            log.info(
                "new_connection",
                peer=str(remote.peer_id),
                link=link,
                version=f"{version.chain_name}.{version.distributed_db_version}"
                f" (p2p: {version.p2p_version})",
                private=remote.metadata.private_node,
            )
        case Left(link, peer_id, disconnection):
            log.info("disconnected", peer=str(peer_id), link=link, why=str(disconnection))
        case _:
            pass


def log_event(log: Any, event: PoolEvent) -> None:
    """Log an event of the pool."""
    if isinstance(event, ConnectionEstablished):
        return  # told as who joined
    facts = pool_event_json(event)
    name = facts.pop("event")
    (log.info if isinstance(event, _NOTABLE) else log.debug)(name, **facts)
