"""The table of a connection's life, which `fsm.connection` runs.

What the states mean for messages, and who may end what, is told there.
"""

from __future__ import annotations

from typing import Final

from .machine import Row, States, Table

#: Seconds in which a refusal has to leave and be answered by the end of their stream.
LINGER: Final = 0.5


class State(States):
    """Where a connection stands."""

    IDLE = "nothing sent yet"
    HANDSHAKE = "authentication, verdict and answers"
    OPEN = "messages both ways"
    FINISHING = "their stream has ended; what they sent is still decoded"
    DRAINING = "ending; what is queued leaves, what they send is thrown away"
    LINGERING = "all has left; the end of their stream is awaited for a moment"
    CLOSED = "over, for the reason in the last event"


_LIVE: Final = tuple(state for state in State if state is not State.CLOSED)

# fmt: off
#: Everything that a connection can do.
TABLE: Final = Table("connection", State, State.IDLE, (
    #   trigger    source           dest             guard  after
    Row("start",   State.IDLE,      State.HANDSHAKE, (),    ()),
    Row("open",    State.HANDSHAKE, State.OPEN,      (),    ("_begin",)),
    Row("refuse",  State.HANDSHAKE, State.DRAINING,  (),    ("_leave",)),
    Row("drain",   State.OPEN,      State.DRAINING,  (),    ("_leave",)),
    Row("finish",  State.OPEN,      State.FINISHING, (),    ("_go_deaf",)),
    Row("sent",    State.DRAINING,  State.LINGERING, (),    ()),
    Row("end",     _LIVE,           State.CLOSED,    (),    ("_stop",)),
))
# fmt: on
