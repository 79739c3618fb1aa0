"""The JSON of both generations of the admin interface, ready to use.

For servers and clients alike: ``RPC[Generation.G2026].read(text, Peers, "peers")``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from ..spec.rpc import Generation
from ..spec.rpc_json import RpcJson
from .timestamps import format_time, format_time_2019, parse_time

#: Writes and reads each generation.
RPC: Final[Mapping[Generation, RpcJson]] = {
    Generation.G2019: RpcJson(Generation.G2019, format_time_2019, parse_time),
    Generation.G2026: RpcJson(Generation.G2026, format_time, parse_time),
}
