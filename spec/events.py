"""Everything that the outside can be told, machine by machine, with its JSON.

Handshake, in this order, `Closed` possible at any point and then last:

===========================  ===========================================================
event                        tells
===========================  ===========================================================
ConnectionMessageReceived    their connection message is decoded, its work is enough
Authenticated                they hold the key they claim, and are not us: decide
Established                  both sides have accepted
Closed                       it is over; always the last event, exactly once
===========================  ===========================================================

A connection tells the same, and between `Established` and `Closed`:

===========================  ===========================================================
event                        tells
===========================  ===========================================================
SendReady                    there is room again for what ``send`` has refused
ControlReceived              a message of this layer itself: Bootstrap, Advertise, Swap
===========================  ===========================================================

`event_json` gives any event as a JSON object whose ``event`` is the class name in
lower-case words with underscores.

Source: our own; the names of reasons, errors and motives in it are the reference's.
"""

from __future__ import annotations

import re
from typing import Any, Final

import attrs

from .convert import CONVERTER
from .hello import ConnectionMessage, ConnectionMetadata
from .identity import PeerId, difficulty_reached
from .message import ControlMessage
from .motive import Motive
from .reasons import Disconnection, ErrorKind, P2pError
from .version import Version


@attrs.frozen(weakref_slot=False)
class Remote:
    """What a peer has told and proven about itself.

    Attributes:
        peer_id: hash of its public key.
        message: its connection message.
        metadata: its connection metadata.
    """

    peer_id: PeerId
    message: ConnectionMessage
    metadata: ConnectionMetadata

    @property
    def difficulty(self) -> float:
        """About how many bits of work its stamp shows."""
        message = self.message
        return difficulty_reached(message.public_key, message.proof_of_work_stamp)


@attrs.frozen
class ConnectionMessageReceived:
    """Their connection message is decoded, its work is enough, a key is agreed.

    Nothing proves yet that they hold the secret key.

    Attributes:
        peer_id: hash of the public key they show.
        message: all of it.
        at: monotonic seconds.
    """

    peer_id: PeerId
    message: ConnectionMessage
    at: float


@attrs.frozen
class Authenticated:
    """They hold the key they claim, and are not us: admit or refuse them.

    Attributes:
        remote: who they are.
        agreement: the versions to use with them, or the motive to refuse them with.
        at: monotonic seconds.
    """

    remote: Remote
    agreement: Version | Motive
    at: float


@attrs.frozen
class Established:
    """Both sides have accepted; messages may flow.

    Attributes:
        remote: who they are.
        version: the versions agreed on.
        at: monotonic seconds.
    """

    remote: Remote
    version: Version
    at: float


@attrs.frozen
class Closed:
    """It is over: the last event, exactly once.

    Attributes:
        disconnection: why.
        at: monotonic seconds.
    """

    disconnection: Disconnection
    at: float


@attrs.frozen
class SendReady:
    """There is room again for what was refused; once, however much was refused.

    Attributes:
        at: monotonic seconds.
    """

    at: float


@attrs.frozen
class ControlReceived:
    """A message of this layer itself has arrived; the application does not see it.

    Attributes:
        message: what they say.
        at: monotonic seconds.
    """

    message: ControlMessage
    at: float


#: Any event of a handshake.
HandshakeEvent = ConnectionMessageReceived | Authenticated | Established | Closed
#: Any event of a connection.
ConnectionEvent = HandshakeEvent | SendReady | ControlReceived

_WORD: Final = re.compile(r"(?<=[a-z])(?=[A-Z])")


def _error_out(error: P2pError) -> dict[str, Any]:
    facts = {name: CONVERTER.unstructure(value) for name, value in error.facts.items()}
    return {**facts, "id": error.kind.id, "detail": error.detail or error.kind.meaning}


def _disconnection_out(why: Disconnection) -> dict[str, Any]:
    json: dict[str, Any] = {
        "reason": why.reason.name.lower(),
        "tag": why.reason.tag,
        "errors": [_error_out(error) for error in why.errors],
        "greylists": why.greylists,
        "message": str(why),
    }
    if why.direction is not None:
        json["direction"] = why.direction.name.lower()
    if why.text:
        json["text"] = why.text
    if why.motive is not None:
        json["motive"] = why.motive.name.lower()
        json["motive_code"] = int(why.motive)
    return json


def _kind_out(kind: ErrorKind) -> str:
    return kind.id


CONVERTER.register_unstructure_hook(ErrorKind, _kind_out)
CONVERTER.register_unstructure_hook(P2pError, _error_out)
CONVERTER.register_unstructure_hook(Disconnection, _disconnection_out)


def event_json(event: Any) -> dict[str, Any]:
    """Return an event as data that `json.dumps` takes: name first, then its fields."""
    fields = CONVERTER.unstructure(event)
    if isinstance(event, ControlReceived):
        # The fields of some control messages are the same: only the name tells.
        fields["message"] = {"kind": _words(event.message), **fields["message"]}
    return {"event": _words(event), **fields}


def _words(value: Any) -> str:
    """Return the name of a value's class as lower-case words."""
    return _WORD.sub("_", type(value).__name__).lower()
