"""What all tests share: the vectors' folder on the path, one Hypothesis profile."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# `from vectors import ...` from any folder of tests.
_HERE = str(Path(__file__).parent)
if _HERE not in sys.path:
    sys.path.insert(0, _HERE)

# The same examples in every run: a failure is a failure of the code, not of the day.
# No check looks at the clock: a busy machine must not fail a test either.
settings.register_profile(
    "deterministic",
    # Of tests that do not say how many: fewer where the same was tried before.
    max_examples=int(os.environ.get("HYPOTHESIS_EXAMPLES", "100")),
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("deterministic")


#: Folders whose tests are claimed to cover the core; tracing the others finds no line
#: more, and takes longer than they do.
_COVERING = tuple(Path(__file__).parent / name for name in ("fsm", "sim", "spec"))
#: Files of few tests that take long: whoever got one of them last would be waited for.
_FIRST = ("test_sim_hour", "test_explore_node", "test_explore_connection")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long; measure coverage by what is there to test the core."""
    items.sort(key=lambda item: item.path.stem not in _FIRST)
    for item in items:
        if not any(item.path.is_relative_to(folder) for folder in _COVERING):
            item.add_marker(pytest.mark.no_cover)


def _untraced(item: pytest.Item) -> Generator[None, object, object]:
    """Do without tracing what does not count for coverage.

    Of pytest-cov the same is asked.  But in a worker of pytest-xdist it has begun twice
    (seen in 7.1.0), and what it stops is the second: then the first goes on tracing.
    """
    if item.get_closest_marker("no_cover") is None:
        return (yield)
    tracers = sys.gettrace(), threading.gettrace()
    sys.settrace(None)
    threading.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(tracers[0])
        threading.settrace(tracers[1])


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    """See `_untraced`."""
    return (yield from _untraced(item))


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """See `_untraced`."""
    return (yield from _untraced(item))


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """See `_untraced`."""
    return (yield from _untraced(item))
