"""Moments as text: seconds of the epoch, and RFC 3339 as the reference node writes it.

Written is ``2026-08-21T13:31:29.125-00:00``: UTC, three decimals; for clients of 2019
none.  Read is any text of
RFC 3339, with or without decimals (the reference of 2019 wrote none), and a whole number
of seconds of the epoch, as a number or as text.

Source: the time module of the reference node, 2019 and 2026.
"""

from __future__ import annotations

import datetime
import math
import re
from typing import Final

import attrs

# Without a zone: UTC throughout.
_EPOCH: Final = datetime.datetime(1970, 1, 1)
_MILLISECOND: Final = datetime.timedelta(milliseconds=1)
# Milliseconds of the years 1 to 9999.
_LEAST: Final = (datetime.datetime.min - _EPOCH) // _MILLISECOND
_MOST: Final = (datetime.datetime.max - _EPOCH) // _MILLISECOND
_INT64: Final = 1 << 63
_SECONDS: Final = re.compile(r"-?[0-9]{1,19}")
_RFC3339: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})"
    r"(\.[0-9]{1,12})?(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)


def format_time(seconds: float) -> str:
    """Return a moment as text; beyond the years 1 to 9999 the nearest that there is."""
    if not abs(seconds) < _INT64:
        seconds = float(_INT64 if seconds > 0 else -_INT64)
    return _moment(round(seconds * 1000)).isoformat(timespec="milliseconds") + "-00:00"


def format_time_2019(seconds: float) -> str:
    """Return a moment as text without decimals: the second in which it is."""
    if not abs(seconds) < _INT64:
        seconds = float(_INT64 if seconds > 0 else -_INT64)
    return _moment(math.floor(seconds) * 1000).isoformat(timespec="seconds") + "-00:00"


def _moment(milliseconds: int) -> datetime.datetime:
    return _EPOCH + min(max(milliseconds, _LEAST), _MOST) * _MILLISECOND


def parse_time(value: object) -> float:
    """Return the seconds of the epoch that a value of JSON says.

    Raises:
        ValueError: it is no moment.
    """
    if isinstance(value, str) and _SECONDS.fullmatch(value):
        value = int(value)
    if type(value) is int and abs(value) < _INT64:
        return float(value)
    match = _RFC3339.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("a moment wanted, such as 2026-08-21T13:31:29.125-00:00")
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    fraction, sign, hours, minutes = match.groups()[6:]
    # A leap second is the first of the next minute.
    leap = second == 60
    moment = datetime.datetime(year, month, day, hour, minute, second - leap)
    seconds = (moment - _EPOCH).total_seconds() + leap + float(fraction or 0)
    if sign is not None:
        if int(hours) > 23 or int(minutes) > 59:
            raise ValueError("offset of more than a day")
        offset = int(hours) * 3600 + int(minutes) * 60
        seconds -= offset if sign == "+" else -offset
    return seconds


@attrs.frozen
class Clocks:
    """One moment on two clocks, to turn moments of the one into those of the other.

    Take it anew for each use: the clocks drift apart when one is set, or sleeps.

    Args:
        now: monotonic seconds.
        wall: seconds of the epoch.
    """

    now: float
    wall: float

    def wall_of(self, at: float) -> float:
        """Return the seconds of the epoch of a monotonic moment."""
        return self.wall + (at - self.now)

    def at_of(self, wall: float) -> float:
        """Return the monotonic seconds of a moment of the epoch; never the future.

        What a file says to be yet to come was written by a clock that was wrong.
        """
        return min(self.now, self.now + (wall - self.wall))
