"""How answers are written: shapes of `spec.rpc` become replies.

Source: answers of a reference node of 2019.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from ...fsm.node import Node as Core
from ...fsm.steward import Kick, Steward
from ...spec import rpc
from ...spec.rpc_binary import binary
from ..node_ends import NodeEnds
from ..rpc import RPC
from .http import JSON, Reply

BYTES: Final = "application/octet-stream"
#: Forms that the reference names; those in BSON are none of ours.
NAMED: Final = ("application/json", "application/bson", BYTES)
_LINE: Final = b"\n"

AnyCore = Core[Any, Any]


class Talk:
    """What all who answer have in common.

    Args:
        node: about which.
        generation: of the interface.
    """

    def __init__(self, node: NodeEnds[Any, Any], generation: rpc.Generation) -> None:
        self._node = node
        self._form = RPC[generation]

    def line(self, value: object) -> bytes:
        """Return a shape as JSON, with the end of a line."""
        return self._form.text(value).encode("utf-8", "replace") + _LINE

    def json(self, value: object, status: int = 200) -> Reply:
        """Answer with a shape."""
        return Reply(status, [self.line(value)], JSON)

    def either(self, value: object, media: str) -> Reply:
        """Answer with a shape, in the form that is wanted."""
        body = binary(value, self._form.generation) if media == BYTES else None
        if media == BYTES and body is None:
            return unwanted()
        return self.json(value) if body is None else Reply(200, [body], BYTES)

    def nothing(self) -> Reply:
        """Answer that it is done."""
        return Reply(200, [b"{}\n"], JSON)

    def absent(self) -> Reply:
        """Answer that it is not known."""
        return Reply(404, content_type=JSON)

    def errors(self, errors: list[rpc.RpcError]) -> Reply:
        """Answer that it could not be done."""
        return self.json(errors, 500)

    def govern(
        self, act: Callable[[Steward[Any], float], Iterable[Kick]]
    ) -> Callable[[AnyCore, float], None]:
        """Return what has a core's steward do something."""
        return lambda core, now: core.govern(lambda it: act(it, now), now)


def unwanted() -> Reply:
    """Say that the answer has no form that is wanted."""
    return Reply(406, [", ".join(NAMED).encode()], sized=False)
