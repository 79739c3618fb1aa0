"""What the demo's two nodes ask each other, how they answer, and what they check.

One asks, the other answers, then the other way round; whoever has no more questions
says Deactivate.  Every answer is checked against what was asked: by hash, by Merkle
path, by the distances in a locator.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs

from ..spec.block import BlockHeader
from ..spec.identity import PeerId
from ..spec.merkle import operation_list_hash
from ..spec.message import Advertise, Bootstrap
from ..spec.operation import OPERATION, Mempool, Operation
from ..spec.shell import (
    BlockPass,
    CurrentBranch,
    CurrentHead,
    GetBlockHeaders,
    GetCurrentBranch,
    GetCurrentHead,
    GetOperations,
    GetOperationsForBlocks,
    OperationsForBlock,
)
from .demo_chain import PASSES, Chain, points_known_to

#: Requests that are sent in one burst.
BURST: Final = 500


class Mismatch(Exception):
    """An answer that is not what was asked for."""


@attrs.frozen
class Question:
    """Requests that are sent at once, and what is made of the answers.

    Attributes:
        name: of the request.
        requests: the messages.
        answers: how many are awaited.
        check: raises `Mismatch`, or says in few words what the answers are.
    """

    name: str
    requests: tuple[Any, ...]
    answers: int
    check: Callable[[Sequence[Any]], str]


def _need(holds: bool, what: str) -> None:
    if not holds:
        raise Mismatch(what)


def _all(answers: Sequence[Any], kind: type[Any]) -> None:
    for answer in answers:
        _need(isinstance(answer, kind), f"{type(answer).__name__}, not {kind.__name__}")


@attrs.frozen
class Talk:
    """What one end asks and answers.

    Attributes:
        role: "dialler" or "listener".
        us: our peer id.
        them: the other one's.
        chain: what both know.
    """

    role: str
    us: PeerId
    them: PeerId
    chain: Chain

    @property
    def other(self) -> str:
        """The role of the other one."""
        return "listener" if self.role == "dialler" else "dialler"

    # -- asking ------------------------------------------------------------------------

    def questions(self) -> tuple[Question, ...]:
        """Return what to ask, in order."""
        chain = self.chain
        first = Question("Bootstrap", (Bootstrap(),), 1, self._check_points)
        if self.role == "listener":
            head, big = GetCurrentHead(chain.id), GetOperations((chain.big.hash,))
            return (
                first,
                Question("Get_current_head", (head,), 1, self._check_head),
                Question("Get_operations", (big,), 1, self._check_big),
            )
        branch, last = GetCurrentBranch(chain.id), chain.hashes[-1]
        passes = tuple(BlockPass(last, number) for number in range(len(PASSES)))
        lists = GetOperationsForBlocks(passes)
        wanted = chain.hashes[-BURST:]
        burst = tuple(GetBlockHeaders((wanted,)) for wanted in wanted)
        return (
            first,
            Question("Get_current_branch", (branch,), 1, self._check_branch),
            Question(
                "Get_operations_for_blocks", (lists,), len(passes), self._check_lists
            ),
            Question("Get_block_headers", burst, BURST, self._check_headers),
        )

    def _check_points(self, answers: Sequence[Any]) -> str:
        _all(answers, Advertise)
        (answer,) = answers
        _need(answer.points == points_known_to(self.other), "other points")
        return f"Advertise: {len(answer.points)} points"

    def _check_branch(self, answers: Sequence[Any]) -> str:
        _all(answers, CurrentBranch)
        (answer,) = answers
        _need(answer.chain_id == self.chain.id, "another chain")
        expected = self.chain.locator(self.them, self.us)
        _need(answer.locator == expected, "the locator has other steps")
        level, size = answer.locator.header.level, len(answer.locator.history)
        return f"Current_branch: level {level}, {size} hashes back"

    def _check_lists(self, answers: Sequence[Any]) -> str:
        _all(answers, OperationsForBlock)
        found = 0
        for number, answer in enumerate(answers):
            root = answer.path.root(operation_list_hash(answer.operations.hashes))
            expected = (self.chain.head.operations_hash, number)
            _need(root == expected, "operations of another block")
            found += len(answer.operations)
        return f"{len(answers)} Operations_for_block, {found} in all, paths fit"

    def _check_headers(self, answers: Sequence[Any]) -> str:
        _all(answers, BlockHeader)
        hashes = tuple(answer.hash for answer in answers)
        _need(hashes == self.chain.hashes[-BURST:], "headers of other blocks")
        return f"{len(answers)} Block_header, hashes fit"

    def _check_head(self, answers: Sequence[Any]) -> str:
        _all(answers, CurrentHead)
        (answer,) = answers
        _need(answer.header.hash == self.chain.hashes[-1], "another head")
        _need(self.chain.big.hash in answer.mempool.pending, "another mempool")
        return f"Current_head: level {answer.header.level}, 1 operation pending"

    def _check_big(self, answers: Sequence[Any]) -> str:
        _all(answers, Operation)
        (answer,) = answers
        _need(answer.hash == self.chain.big.hash, "another operation")
        return f"Operation of {len(OPERATION.encode(answer)):,} bytes, hash fits"

    # -- answering ---------------------------------------------------------------------

    def answers(self, request: Any) -> tuple[Any, ...]:
        """Return the answers to a request.

        Raises:
            Mismatch: it asks for what is not there, or is no request.
        """
        chain = self.chain
        match request:
            case Bootstrap():
                return (Advertise(points_known_to(self.role)),)
            case GetCurrentBranch(chain.id):
                return (CurrentBranch(chain.id, chain.locator(self.us, self.them)),)
            case GetCurrentHead(chain.id):
                mempool = Mempool(pending=(chain.big.hash,))
                return (CurrentHead(chain.id, chain.head, mempool),)
            case GetOperations((wanted,)) if wanted == chain.big.hash:
                return (chain.big,)
            case GetBlockHeaders((wanted,)) if wanted in chain.hashes:
                return (chain.headers[chain.hashes.index(wanted)],)
            case GetOperationsForBlocks(passes):
                return tuple(chain.operations(each.validation_pass) for each in passes)
            case _:
                raise Mismatch(f"unexpected {type(request).__name__}")
