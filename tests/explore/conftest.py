"""Prints the figures of each exploration at the end of a run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

FIGURES = pytest.StashKey[list[str]]()


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
