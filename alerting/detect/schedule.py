"""When a rule is in force: days and hours of a week at a fixed offset from UTC. Pure, in event time."""

from __future__ import annotations

import re
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from alerting.detect.order import Bools, Ints

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WEEK_MIN = 7 * 24 * 60

_DAY_MIN = 24 * 60
_THURSDAY_MIN = 3 * _DAY_MIN
"""1970-01-01 was a Thursday."""
_MINUTE_US = 60_000_000
_HOURS = re.compile(r"([01]\d|2[0-4]):([0-5]\d)-([01]\d|2[0-4]):([0-5]\d)")
_OFFSET = re.compile(r"([+-])(0\d|1[0-4]):([0-5]\d)")


class Schedule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Days and hours in which a rule raises and holds; from the first moment, up to but without the last.

    Attributes:
        utc_offset: Of the local time that ``days`` and ``hours`` are in, such as ``+08:00``.
        days: The days on which the hours begin.
        hours: One or several ``HH:MM-HH:MM``; one that ends before it begins ends on the next day.
    """

    utc_offset: str
    days: tuple[Day, ...] = DAYS
    hours: str | tuple[str, ...] = "00:00-24:00"

    def __post_init__(self) -> None:
        """Refuse hours that are none."""
        if not _OFFSET.fullmatch(self.utc_offset):
            raise ValueError(f"schedule: utc_offset {self.utc_offset!r}; write it like +08:00")
        if not self.days:
            raise ValueError("schedule: no days, so the rule would never be in force")
        for hours in self._hours():
            found = _HOURS.fullmatch(hours)
            if not found or max(_minute(found, 1), _minute(found, 3)) > _DAY_MIN:
                raise ValueError(f"schedule: hours {hours!r}; write them like 08:00-18:00, up to 24:00")
            if _minute(found, 1) == _minute(found, 3):
                raise ValueError(f"schedule: hours {hours!r} begin and end at the same minute")

    def minutes(self) -> Bools:
        """Which minutes of a local week, from Monday 00:00 on, it covers; shape (WEEK_MIN,)."""
        covered = np.zeros(WEEK_MIN, np.bool_)
        for day in self.days:
            for hours in self._hours():
                found = _HOURS.fullmatch(hours)
                assert found is not None
                begin, end = _minute(found, 1), _minute(found, 3)
                minutes = np.arange(begin, end if end > begin else end + _DAY_MIN)
                covered[(minutes + DAYS.index(day) * _DAY_MIN) % WEEK_MIN] = True
        return covered

    def offset_min(self) -> int:
        """``utc_offset`` in minutes."""
        found = _OFFSET.fullmatch(self.utc_offset)
        assert found is not None
        minutes = int(found[2]) * 60 + int(found[3])
        return minutes if found[1] == "+" else -minutes

    def _hours(self) -> tuple[str, ...]:
        return (self.hours,) if isinstance(self.hours, str) else self.hours


def minute_of_week(at_us: Ints, offset_min: NDArray[np.int64]) -> Ints:
    """The minute of the local week, from Monday 00:00 on, of stamps in us since 1970 UTC; shape (n,)."""
    minute: Ints = (at_us // _MINUTE_US + offset_min + _THURSDAY_MIN) % WEEK_MIN
    return minute


def _minute(hours: re.Match[str], group: int) -> int:
    return int(hours[group]) * 60 + int(hours[group + 1])
