"""The JSON of both generations of the admin interface, ready to use.

For servers and clients alike: ``RPC[Generation.G2026].read(text, Peers, "peers")``.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from typing import Final

from ..spec.rpc import Generation
from ..spec.rpc_json import RpcJson
from .timestamps import format_time, format_time_2019, parse_time


@functools.cache
def _made(generation: Generation) -> RpcJson:
    write = format_time if generation is Generation.G2026 else format_time_2019
    return RpcJson(generation, write, parse_time)


class _Forms(Mapping[Generation, RpcJson]):
    """Makes each when it is first asked for: a command that needs none is not held up."""

    def __getitem__(self, generation: Generation) -> RpcJson:
        return _made(generation)

    def __iter__(self) -> Iterator[Generation]:
        return iter(Generation)

    def __len__(self) -> int:
        return len(Generation)


#: Writes and reads each generation.
RPC: Final[Mapping[Generation, RpcJson]] = _Forms()
