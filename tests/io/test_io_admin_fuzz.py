"""Requests made from /openapi.json: nothing ends in an error that is not documented.

Needs the extra ``fuzz``.  ``TEZOS_P2P_FUZZ_SECONDS`` makes it go on for longer.
"""

from __future__ import annotations

import os
import time

import pytest
from admin_suite import hosted, neighbour

from tezos_p2p.io.rpc import RPC
from tezos_p2p.spec.rpc import Generation, RpcError

schemathesis = pytest.importorskip(
    "schemathesis", reason="schemathesis is not installed: pip install '.[fuzz]'"
)

from hypothesis import HealthCheck, given, settings  # noqa: E402  # after the extra

#: Of one generation, all operations together.
SECONDS = float(os.environ.get("TEZOS_P2P_FUZZ_SECONDS", "2"))
#: What follows from paths and queries that are none; every route may answer so.
ANY = {"404", "405", "414", "431"}


def fuzz(operation, base, generation, seconds):
    """Send requests of one operation for some time; return how often what came back."""
    documented = set(operation.definition.raw["responses"]) | ANY
    until = time.monotonic() + seconds
    met: dict[str, int] = {}

    @given(case=operation.as_strategy())
    @settings(
        max_examples=int(4 * SECONDS),
        deadline=None,
        database=None,
        derandomize=SECONDS <= 2,
        suppress_health_check=list(HealthCheck),
    )
    def once(case):
        if time.monotonic() > until and met:
            return
        if "timeout" in (case.query or {}):
            case.query = {"timeout": 0}  # a dial that is waited for tells nothing more
        answer = case.call(base_url=base)
        status = str(answer.status_code)
        met[status] = met.get(status, 0) + 1
        assert status in documented, (operation.label, status, answer.text[:300])
        if status == "500":
            assert RPC[generation].read(answer.text, list[RpcError], "errors")

    once()
    return met


@pytest.mark.parametrize("generation", list(Generation))
@pytest.mark.filterwarnings("default")  # those of the library
@pytest.mark.timeout(60 + 20 * SECONDS)
def test_no_request_made_of_the_schema_ends_badly(generation):
    with hosted("asyncio", 970, generation) as ours, neighbour(971) as theirs:
        theirs.connect(ours.point)
        document = ours.get("/openapi.json")
        for path in [path for path in document["paths"] if path.endswith("/log")]:
            del document["paths"][path]  # streams have tests of their own
        schema = schemathesis.openapi.from_dict(document)
        operations = [each.ok() for each in schema.get_all_operations()]
        assert len(operations) > 15
        base = f"http://127.0.0.1:{ours.port}"
        seen: set[str] = set()
        for operation in operations:
            met = fuzz(operation, base, generation, SECONDS / len(operations))
            assert sum(met.values()) > 0, operation.label
            seen |= met.keys()
        assert {"200", "400"} <= seen
        assert ours.get("/network/self") == ours.peer_id
