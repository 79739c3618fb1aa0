"""What all tests share: the vectors' folder on the path, one Hypothesis profile."""

from __future__ import annotations

import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

# `from vectors import ...` from any folder of tests.
_HERE = str(Path(__file__).parent)
if _HERE not in sys.path:
    sys.path.insert(0, _HERE)

# The same examples in every run: a failure is a failure of the code, not of the day.
# No check looks at the clock: a busy machine must not fail a test either.
settings.register_profile(
    "deterministic",
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("deterministic")
