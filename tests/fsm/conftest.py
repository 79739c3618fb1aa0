"""Everything here runs with clocks, chance and sockets out of the core's reach."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from purity import guard_module


@pytest.fixture(scope="module", autouse=True)
def _pure() -> Iterator[None]:
    yield from guard_module()
