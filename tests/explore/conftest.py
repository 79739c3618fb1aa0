"""Prints the figures of each exploration at the end of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
FIGURES = pytest.StashKey[list[str]]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave explorations out of the coverage: the other tests take every branch.

    Hundreds of thousands of steps take ten times as long while lines are counted.
    """
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("no_cover")


@pytest.fixture(scope="session")
def report(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """Print a line now, and once more in the summary of the run."""
    lines = pytestconfig.stash.setdefault(FIGURES, [])

    def say(line: str) -> None:
        print(line)
        lines.append(line)

    return say


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say how much was explored."""
    if lines := config.stash.get(FIGURES, []):
        terminalreporter.section("exploration", "-")
        for line in lines:
            terminalreporter.write_line(line)
