"""What happens on a connection, in words for people and as data for programs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from ...spec.block import BlockHeader
from ...spec.convert import CONVERTER
from ...spec.events import (
    Authenticated,
    Closed,
    ConnectionMessageReceived,
    Established,
)
from ...spec.hashes import Hash
from ...spec.identity import difficulty_reached
from ...spec.message import Advertise, SwapAck, SwapRequest
from ...spec.motive import Motive
from ...spec.operation import Operation, OperationList
from ...spec.point import Point
from ...spec.protocol import Protocol
from ...spec.reasons import Disconnection, Reason
from ...spec.shell import (
    CurrentBranch,
    CurrentHead,
    GetBlockHeaders,
    GetOperations,
    GetOperationsForBlocks,
    GetProtocols,
    OperationsForBlock,
)
from ...spec.version import Version
from ..watched import Connected, TurnedAway, message_name

#: Characters of a name, chosen by a peer, that are shown.
_SHOWN: Final = 64
#: Width of the names of facts.
WIDTH: Final = 13

# As the spec package's, but hashes are text, and operations are listed.
_CONVERTER: Final = CONVERTER.copy()
_CONVERTER.register_unstructure_hook(Hash, str)


def _operations_out(operations: OperationList) -> list[Any]:
    return [_CONVERTER.unstructure(operation) for operation in operations]


_CONVERTER.register_unstructure_hook(OperationList, _operations_out)


def fact(name: str, value: str) -> str:
    """Return one line of what a command tells of a connection."""
    return f"{name:<{WIDTH}}  {value}"


def motive_text(motive: Motive) -> str:
    """Name a motive."""
    return motive.name.lower().replace("_", " ")


def versions_text(version: Version) -> str:
    """Name two versions."""
    ddb, p2p = version.distributed_db_version, version.p2p_version
    return f"distributed-db version {ddb}, p2p version {p2p}"


def chain_text(name: str) -> str:
    """Show a chain name: peers may send 65 000 bytes of it."""
    return name if len(name) <= _SHOWN else f"{name[:_SHOWN]}... ({len(name)} bytes)"


def alternatives(why: Disconnection) -> tuple[Point, ...]:
    """Return the points that came with a refusal of theirs."""
    for error in why.errors:
        if "alternative_points" in error.facts:
            return tuple(error.facts["alternative_points"])
    return ()


def facts(event: Any) -> Iterator[tuple[str, str]]:
    """Say what an event tells, fact by fact."""
    match event:
        case Connected(point, incoming, _):
            yield "connected", f"{'from' if incoming else 'to'} {point}"
        case TurnedAway(point, _):
            yield "turned away", f"{point}: too many handshakes in progress"
        case ConnectionMessageReceived(peer_id, message, _):
            work = difficulty_reached(message.public_key, message.proof_of_work_stamp)
            yield "peer id", str(peer_id)
            yield "proof of work", f"{work:.1f} bits"
            yield "listens on", f"port {message.port}" if message.port else "no port"
            yield "chain name", chain_text(message.version.chain_name)
            yield "announces", versions_text(message.version)
        case Authenticated(remote, agreement, _):
            told = remote.metadata
            mempool, private = _yes(told.disable_mempool), _yes(told.private_node)
            yield "metadata", f"disable_mempool: {mempool}, private_node: {private}"
            if isinstance(agreement, Motive):
                yield "agreement", f"none: {motive_text(agreement)}"
            else:
                yield "agreement", versions_text(agreement)
        case Established():
            yield "established", "both sides accept"
        case Closed(why, _):
            yield from _ending(why)
        case _:
            pass


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _ending(why: Disconnection) -> Iterator[tuple[str, str]]:
    if why.motive is not None:
        theirs = why.reason is Reason.AUTHENTICATION_REJECTED_BY_PEER
        motive = motive_text(why.motive)
        yield "their answer" if theirs else "our answer", f"refused: {motive}"
    for point in alternatives(why):
        yield "try instead", str(point)
    yield "closed", str(why) if why.motive is None else why.reason.meaning


def message_json(message: Any) -> dict[str, Any]:
    """Return a message as data: its name, and its fields."""
    return {"name": message_name(message), "fields": _CONVERTER.unstructure(message)}


def message_text(message: Any) -> str:
    """Say what a message is, in one line."""
    name, detail = message_name(message), _detail(message)
    return f"{name}: {detail}" if detail else name


def _detail(message: Any) -> str:
    match message:
        case Advertise(points):
            return ", ".join([_count(points, "point"), *map(str, points)])
        case SwapRequest(point, peer_id) | SwapAck(point, peer_id):
            return f"{peer_id} at {point}"
        case CurrentBranch(_, locator):
            return f"{_block(locator.header)}, {_count(locator.history, 'hash', 'es')}"
        case CurrentHead(_, header, mempool):
            waiting = (*mempool.known_valid, *mempool.pending)
            return f"{_block(header)}, {_count(waiting, 'operation')} in the mempool"
        case BlockHeader():
            return _block(message)
        case Operation() | Protocol():
            return str(message.hash)
        case GetBlockHeaders(hashes) | GetOperations(hashes) | GetProtocols(hashes):
            return ", ".join(map(str, hashes))
        case GetOperationsForBlocks(passes):
            return ", ".join(f"{each.block} {each.validation_pass}" for each in passes)
        case OperationsForBlock(block, number, _, operations):
            return f"{block} {number}, {_count(operations, 'operation')}"
        case _:
            chain = getattr(message, "chain_id", None)
            return "" if chain is None else str(chain)


def _block(header: BlockHeader) -> str:
    return f"level {header.level}, {header.hash}"


def _count(things: Sequence[object], name: str, ending: str = "s") -> str:
    return f"{len(things)} {name}{'' if len(things) == 1 else ending}"
