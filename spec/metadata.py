"""What a node remembers about the behaviour of a peer: the Tezos counters, and scores.

Metadata of peers are local: never on the wire, kept in ``peers.json`` under
``peer_metadata``.  They are counters, arbitrary-precision integers, written as strings
of decimal digits:

========================  ==============================================================
field                     counters
========================  ==============================================================
responses                 sent, failed, received: each by kind; unexpected, outdated
requests                  sent, received, failed, scheduled: each by kind
valid_blocks              blocks of theirs that were valid
old_heads                 heads that were old news
prevalidator_results      cannot_download, cannot_parse, refused_by_prefilter,
                          refused_by_postfilter, applied, branch_delayed,
                          branch_refused, refused, duplicate, outdated: of operations
unactivated_chains        messages about a chain that we do not follow
inactive_chains           ... that they do not follow
future_blocks_advertised  blocks too far in the future
unadvertised              block, operations, protocol: asked for, never advertised
advertisements            sent, received: each of head and branch
========================  ==============================================================

By kind: branch, head, block_header, operations, protocols, operation_hashes_for_block,
operations_for_block, checkpoint, protocol_branch, predecessor_header, other.

All fields are required when read, except checkpoint, protocol_branch and
predecessor_header, which older files lack: they are zero.

A score is a function of the metadata; the higher, the longer the peer is remembered and,
if the node's policy says so, the larger its share of the bandwidth.  The reference gives
every peer 1.0, and so does `constant_score`; `usefulness_score` is a choice.

Source: the peer-metadata module of the reference node, 2026, and its constant score
since 2019.  The reference counts responses that failed or went out as requests; here
every counter is what its name says.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, NewType, Self, TypeVar, cast

import attrs
from cattrs.gen import make_dict_structure_fn

from .convert import CONVERTER

T = TypeVar("T")

#: A number of occurrences; a string of decimal digits in JSON.
Counter = NewType("Counter", int)

#: Digits that a counter may have when read: a million a second, for longer than the
#: universe will last.  Longer ones cost more than they can mean.
COUNTER_DIGITS_MAX: Final = 100

#: The greatest counter.
COUNT_MAX: Final = 10**COUNTER_DIGITS_MAX - 1
_DIGITS: Final = re.compile(r"[0-9]+")
_NONE: Final = Counter(0)


def _counter_in(value: object, _: object) -> Counter:
    if not isinstance(value, str):
        raise TypeError(f"string of digits wanted, not {type(value).__name__}")
    if not _DIGITS.fullmatch(value):
        raise ValueError("not a string of decimal digits")
    if len(value) > COUNTER_DIGITS_MAX:
        raise ValueError(f"{len(value)} digits, at most {COUNTER_DIGITS_MAX}")
    return Counter(int(value))


def _counter_out(value: Counter) -> str:
    return str(value)


CONVERTER.register_structure_hook(Counter, _counter_in)
CONVERTER.register_unstructure_hook(Counter, _counter_out)


@attrs.frozen(weakref_slot=False)
class ByKind:
    """Occurrences by the kind of what was asked for."""

    branch: Counter = _NONE
    head: Counter = _NONE
    block_header: Counter = _NONE
    operations: Counter = _NONE
    protocols: Counter = _NONE
    operation_hashes_for_block: Counter = _NONE
    operations_for_block: Counter = _NONE
    checkpoint: Counter = _NONE
    protocol_branch: Counter = _NONE
    predecessor_header: Counter = _NONE
    other: Counter = _NONE


# Values are immutable, so all peers share their zeros: an untouched record is small.
_NO_KIND: Final = ByKind()


@attrs.frozen(weakref_slot=False)
class Responses:
    """Answers to requests.

    Attributes:
        sent: we gave them.
        failed: we could not give.
        received: they gave us.
        unexpected: not asked for.
        outdated: too late.
    """

    sent: ByKind = _NO_KIND
    failed: ByKind = _NO_KIND
    received: ByKind = _NO_KIND
    unexpected: Counter = _NONE
    outdated: Counter = _NONE


@attrs.frozen(weakref_slot=False)
class Requests:
    """Requests.

    Attributes:
        sent: we asked them.
        received: they asked us.
        failed: could not be sent.
        scheduled: wait to be sent.
    """

    sent: ByKind = _NO_KIND
    received: ByKind = _NO_KIND
    failed: ByKind = _NO_KIND
    scheduled: ByKind = _NO_KIND


@attrs.frozen(weakref_slot=False)
class PrevalidatorResults:
    """What became of operations that they advertised."""

    cannot_download: Counter = _NONE
    cannot_parse: Counter = _NONE
    refused_by_prefilter: Counter = _NONE
    refused_by_postfilter: Counter = _NONE
    applied: Counter = _NONE
    branch_delayed: Counter = _NONE
    branch_refused: Counter = _NONE
    refused: Counter = _NONE
    duplicate: Counter = _NONE
    outdated: Counter = _NONE


@attrs.frozen(weakref_slot=False)
class Unadvertised:
    """What they asked for although we had not advertised it."""

    block: Counter = _NONE
    operations: Counter = _NONE
    protocol: Counter = _NONE


@attrs.frozen(weakref_slot=False)
class HeadsAndBranches:
    """Occurrences by what was advertised."""

    head: Counter = _NONE
    branch: Counter = _NONE


_NO_NEWS: Final = HeadsAndBranches()


@attrs.frozen(weakref_slot=False)
class Advertisements:
    """Heads and branches that were told."""

    sent: HeadsAndBranches = _NO_NEWS
    received: HeadsAndBranches = _NO_NEWS


_NO_RESPONSES: Final = Responses()
_NO_REQUESTS: Final = Requests()
_NO_RESULTS: Final = PrevalidatorResults()
_NOT_UNADVERTISED: Final = Unadvertised()
_NO_ADVERTISEMENTS: Final = Advertisements()


@attrs.frozen(weakref_slot=False)
class TezosMetadata:
    """All counters of one peer; see the module's table.

    Immutable: `plus` gives the record with one more.
    """

    responses: Responses = _NO_RESPONSES
    requests: Requests = _NO_REQUESTS
    valid_blocks: Counter = _NONE
    old_heads: Counter = _NONE
    prevalidator_results: PrevalidatorResults = _NO_RESULTS
    unactivated_chains: Counter = _NONE
    inactive_chains: Counter = _NONE
    future_blocks_advertised: Counter = _NONE
    unadvertised: Unadvertised = _NOT_UNADVERTISED
    advertisements: Advertisements = _NO_ADVERTISEMENTS

    def plus(self, path: str, count: int = 1) -> Self:
        """Return the record with one counter increased.

        Args:
            path: names with dots between, such as ``requests.sent.branch``.
            count: by how much, 0 or more; the counter stops at `COUNT_MAX`.

        Raises:
            ValueError: no counter has that name, or ``count`` is negative.
        """
        if count < 0:
            raise ValueError(f"counters never decrease: {count}")
        return _plus(self, path.split("."), count, path)


def _plus(record: T, names: list[str], count: int, path: str) -> T:
    name, *rest = names
    # Of the class: `getattr` alone would find methods too.
    value = getattr(record, name) if name in _names_of(type(record)) else None
    if value is None or isinstance(value, int) != (not rest):
        raise ValueError(f"{path!r} is no counter")
    new = min(value + count, COUNT_MAX) if not rest else _plus(value, rest, count, path)
    return cast("T", attrs.evolve(cast("Any", record), **{name: new}))


def _names_of(kind: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in attrs.fields(kind))


#: Counters that older files lack.
_LATE: Final = ("checkpoint", "protocol_branch", "predecessor_header")


def _complete(kind: type[T]) -> Callable[[Any, Any], T]:
    """Return a hook that asks for all fields, although the class has defaults."""
    structure = make_dict_structure_fn(
        kind,
        CONVERTER,
        _cattrs_forbid_extra_keys=True,
        _cattrs_detailed_validation=True,
    )
    required = [name for name in _names_of(kind) if name not in _LATE]

    def hook(value: Any, _: Any) -> T:
        if not isinstance(value, dict):
            raise TypeError(f"an object wanted, not {type(value).__name__}")
        missing = [name for name in required if name not in value]
        if missing:
            raise ValueError(f"missing: {', '.join(missing)}")
        return structure(cast("dict[str, Any]", value), kind)

    return hook


# Innermost first: a hook looks up those of its fields when it is made.
CONVERTER.register_structure_hook(ByKind, _complete(ByKind))
CONVERTER.register_structure_hook(HeadsAndBranches, _complete(HeadsAndBranches))
CONVERTER.register_structure_hook(PrevalidatorResults, _complete(PrevalidatorResults))
CONVERTER.register_structure_hook(Unadvertised, _complete(Unadvertised))
CONVERTER.register_structure_hook(Responses, _complete(Responses))
CONVERTER.register_structure_hook(Requests, _complete(Requests))
CONVERTER.register_structure_hook(Advertisements, _complete(Advertisements))
CONVERTER.register_structure_hook(TezosMetadata, _complete(TezosMetadata))


# -- scores ----------------------------------------------------------------------------


def constant_score(metadata: object) -> float:  # noqa: ARG001  # all are equal
    """Return 1.0, the score of every peer in the reference."""
    return 1.0


def _total(counts: ByKind) -> int:
    return sum(attrs.astuple(counts, recurse=False))


def usefulness_score(metadata: TezosMetadata) -> float:
    """Return how useful a peer has been, from 0 to 1; 0.5 for one never heard of.

    The score is ``(u + 1) / (u + h + 2)``: u counts valid blocks, answers that we had
    asked for, and operations that could be applied, now or later; h counts answers that
    nobody asked for, operations that cannot be parsed or were refused, and blocks of
    the future.  A share, so that a peer gains nothing by sending more of the same, and
    newcomers rank between the useful and the harmful.  What they ask of us counts for
    nothing: asking is free.
    """
    results = metadata.prevalidator_results
    useful = (
        metadata.valid_blocks
        + _total(metadata.responses.received)
        + results.applied
        + results.branch_delayed
    )
    harmful = (
        metadata.responses.unexpected
        + results.cannot_parse
        + results.refused_by_prefilter
        + results.refused_by_postfilter
        + results.refused
        + metadata.future_blocks_advertised
    )
    return (useful + 1) / (useful + harmful + 2)
