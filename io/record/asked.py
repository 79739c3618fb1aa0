"""What a recorded node asks: chance, the application's functions, and the operator.

Everything that a core is given and calls itself stands here behind a function that has
the answer recorded, or takes it from a recording.

Source: our own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, TypeVar, cast

import attrs

from ...fsm.local import Local
from ...fsm.policy import FAIR, Treatment
from ...fsm.settings import Settings
from ...fsm.steward import Kick, Steward
from ...spec.message import MessageCodec
from ...spec.metadata import constant_score
from .log import Log
from .values import (
    Carried,
    bytes_in,
    bytes_out,
    disconnection_in,
    disconnection_out,
    raised_in,
    raised_out,
    value_in,
    value_out,
)

M = TypeVar("M")
Meta = TypeVar("Meta")
T = TypeVar("T")
Fields = dict[str, Any]


def named_out(named: Mapping[str, Any]) -> Fields:
    """Write named arguments."""
    return {name: value_out(value) for name, value in named.items()}


@attrs.frozen
class Asker:
    """Has everything recorded that a node asks.

    Args:
        log: what takes it.
        within: whether a call into the core is being made; what is asked at other times
            is no part of the recording.
    """

    log: Log
    within: Callable[[], bool]

    def _asked(
        self,
        kind: str,
        real: Callable[..., T],
        out: Callable[[T], Any],
        read: Callable[[Any], T],
    ) -> Callable[..., T]:
        def ask(*args: Any) -> T:
            if not self.within():
                return real(*args)
            return self.log.ask(kind, lambda: real(*args), out, read)

        return ask

    def local(self, local: Local) -> Local:
        """Return what we are, with the source of bytes recorded."""
        source = self._asked("bytes", local.random_bytes, bytes_out, bytes_in)
        return attrs.evolve(local, random_bytes=source)

    def settings(self, settings: Settings[Meta]) -> Settings[Meta]:
        """Return settings whose functions are recorded."""
        changes: dict[str, Any] = {
            name: self._asked(name, getattr(settings, name), float, float)
            for name in ("random", "random_inside")
        }
        if settings.score is not constant_score:
            changes["score"] = self._asked("score", settings.score, _score_out, float)
        if settings.policy is not FAIR:
            changes["policy"] = self._asked(
                "policy", settings.policy, attrs.asdict, lambda it: Treatment(**it)
            )
        return attrs.evolve(settings, **changes)

    def codec(self, codec: MessageCodec[M]) -> MessageCodec[M]:
        """Return a codec of whose messages it is recorded what matters."""
        return MessageCodec(cast("Any", _Codec(codec.application, self)))

    def encode(self, real: Callable[[Any], tuple[int, bytes]], message: Any) -> Any:
        """Return tag and payload of a message."""
        return self._asked("encode", real, _encoded_out, _encoded_in)(message)


def _score_out(score: float) -> Any:
    return score if math.isfinite(score) else str(score)


def _encoded_out(encoded: tuple[int, bytes]) -> list[Any]:
    return [encoded[0], bytes_out(encoded[1])]


def _encoded_in(fields: Any) -> tuple[int, bytes]:
    tag, payload = fields
    return tag, bytes_in(payload)


@attrs.frozen
class _Codec:
    """The application's codec, recorded."""

    real: Any
    asker: Asker

    @property
    def limits(self) -> Mapping[int, int]:
        limits: Mapping[int, int] = self.real.limits
        return limits

    def encode(self, message: Any) -> tuple[int, bytes]:
        encoded: tuple[int, bytes] = self.asker.encode(self.real.encode, message)
        return encoded

    def decode(self, tag: int, payload: bytes) -> Carried | None:
        return self.asker.log.decode(tag, payload, self.real.decode)


_STEWARD: Final = frozenset(name for name in vars(Steward) if not name.startswith("_"))


@attrs.frozen
class Governed:
    """What a steward was told to do, and what came of it; ``done``: it was told."""

    told: list[tuple[str, Any, Fields]]
    kicks: list[Kick]
    error: Exception | None
    done: bool

    @classmethod
    def by(
        cls, act: Callable[[Steward[Any]], Iterable[Kick]], steward: Steward[Any]
    ) -> Governed:
        """Have a steward do something, and take note of it."""
        told: list[tuple[str, Any, Fields]] = []
        try:
            kicks = list(act(cast("Any", _Witness(steward, told))))
        except Exception as exc:
            return cls(told, [], exc, True)
        return cls(told, kicks, None, True)

    def out(self) -> Fields:
        """Write it."""
        return {
            "told": [
                [name, value_out(a), named_out(named)] for name, a, named in self.told
            ],
            "kicks": [[link, disconnection_out(why)] for link, why in self.kicks],
            "error": None if self.error is None else raised_out(self.error),
        }

    @classmethod
    def read(cls, fields: Any) -> Governed:
        """Read what `out` writes.

        Raises:
            ValueError: it is not that; also KeyError or TypeError.
        """
        told: list[tuple[str, Any, Fields]] = []
        for name, args, named in fields["told"]:
            if name not in _STEWARD:
                raise ValueError(f"no verb of a steward: {str(name)[:40]}")
            values = {key: value_in(value) for key, value in named.items()}
            told.append((name, value_in(args), values))
        kicks = [(link, disconnection_in(why)) for link, why in fields["kicks"]]
        error = None if fields["error"] is None else raised_in(fields["error"])
        return cls(told, kicks, error, False)

    def settle(self, steward: Steward[Any]) -> list[Kick]:
        """Do it, if it is not done; return who has to go."""
        for name, args, named in () if self.done else self.told:
            getattr(steward, name)(*args, **named)
        if self.error is not None:
            raise self.error
        return self.kicks


class _Witness:
    """Stands in for the steward, and notes what it is told to do."""

    def __init__(
        self, steward: Steward[Any], told: list[tuple[str, Any, Fields]]
    ) -> None:
        self._steward = steward
        self._told = told

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._steward, name)

        def noting(*args: Any, **named: Any) -> Any:
            self._told.append((name, args, named))
            return method(*args, **named)

        return noting
