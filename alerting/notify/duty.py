"""Who is on duty: shifts by the week and shifts of an iCalendar file. Pure, at a given time.

Of a calendar (RFC 5545) each event is a shift of the contact that its ``SUMMARY`` names; several names are
separated by commas. Recurrences (``RRULE``, ``RDATE``, ``EXDATE``) and moved occurrences (``RECURRENCE-ID``)
are followed without an end, so that a rota does not run out on the day up to which somebody expanded it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from dateutil.rrule import rruleset, rrulestr
from icalendar import Calendar
from icalendar.cal import Component

from alerting.detect.schedule import WEEK_MIN, Schedule, minute_of_week

_LOCAL = ZoneInfo("Asia/Shanghai")
"""Of a calendar's times that name no zone ("floating" in RFC 5545)."""


class Event(NamedTuple):
    """One event of a calendar: every begin of a shift, how long each lasts, and whose it is."""

    begins: rruleset
    lasts: timedelta
    who: tuple[str, ...]

    def covers(self, at: datetime) -> bool:
        """Whether a shift of this event is on at ``at``; its last moment does not belong to it."""
        begin = self.begins.before(at, inc=True)
        return begin is not None and at < begin + self.lasts


@lru_cache(maxsize=64)
def events(text: str) -> tuple[Event, ...]:
    """The shifts of an iCalendar text.

    Raises:
        ValueError: It is no calendar, or an event has no begin, no end, no name or no usable recurrence.
    """
    calendar = Calendar.from_ical(text)
    if calendar.name != "VCALENDAR":
        raise ValueError("is no iCalendar text; export the rota as .ics")
    components = [
        component for component in calendar.walk("VEVENT") if component.get("STATUS") != "CANCELLED"
    ]
    moved: dict[str, list[datetime]] = {}
    for component in calendar.walk("VEVENT"):
        if (original := component.get("RECURRENCE-ID")) is not None:
            moved.setdefault(str(component.get("UID")), []).append(_moment(original.dt))
    return tuple(_event(component, moved) for component in components)


def on_shift(text: str, at: datetime) -> list[str]:
    """Who is on duty at ``at`` by an iCalendar text, in the order of its events."""
    return _once(who for event in events(text) if event.covers(at) for who in event.who)


def covers(schedule: Schedule, at_us: int) -> bool:
    """Whether a schedule is in force at ``at_us``, us since 1970 UTC."""
    return bool(schedule.minutes()[_minute(schedule, at_us)])


def ends_us(schedule: Schedule, at_us: int) -> int:
    """When a schedule that is in force at ``at_us`` is first not; ``at_us`` if it is not, or always is."""
    minutes = np.roll(schedule.minutes(), -_minute(schedule, at_us))
    free = int(np.argmin(minutes))
    return at_us if minutes[free] or free == 0 else (at_us // 60_000_000 + free) * 60_000_000


def _minute(schedule: Schedule, at_us: int) -> int:
    minute = minute_of_week(np.array([at_us]), np.array([schedule.offset_min()]))
    return int(minute[0]) % WEEK_MIN


def _event(component: Component, moved: dict[str, list[datetime]]) -> Event:
    title = str(component.get("SUMMARY", ""))
    who = tuple(name.strip() for name in title.split(",") if name.strip())
    begin, end = component.get("DTSTART"), component.get("DTEND")
    if begin is None or not who:
        raise ValueError(
            f"event {title or component.get('UID')}: needs DTSTART and, as SUMMARY, who is on duty"
        )
    first = _moment(begin.dt)
    if end is not None:
        lasts = _moment(end.dt) - first
    elif (duration := component.get("DURATION")) is not None:
        lasts = duration.dt
    else:
        lasts = timedelta(days=1) if not isinstance(begin.dt, datetime) else timedelta(0)
    if lasts <= timedelta(0):
        raise ValueError(f"event {title}: ends before it begins; give it DTEND or DURATION")
    begins = rruleset()
    begins.rdate(first)
    rules = component.get("RRULE", [])
    for rule in rules if isinstance(rules, list) else [rules]:
        begins.rrule(rrulestr(rule.to_ical().decode(), dtstart=first))
    for moment in _moments(component, "RDATE"):
        begins.rdate(moment)
    for moment in _moments(component, "EXDATE"):
        begins.exdate(moment)
    if component.get("RECURRENCE-ID") is None:
        for moment in moved.get(str(component.get("UID")), ()):
            begins.exdate(moment)
    return Event(begins, lasts, who)


def _moments(component: Component, name: str) -> list[datetime]:
    value = component.get(name, [])
    lists = value if isinstance(value, list) else [value]
    return [_moment(item.dt) for one in lists for item in one.dts]


def _moment(value: date | datetime) -> datetime:
    """A calendar's date or time as an aware time; a whole day begins at local midnight."""
    if not isinstance(value, datetime):
        value = datetime.combine(value, time())
    return value if value.tzinfo is not None else value.replace(tzinfo=_LOCAL)


def _once(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def moment(at_us: int) -> datetime:
    """The aware time of microseconds since 1970 UTC."""
    return datetime.fromtimestamp(at_us / 1e6, UTC)


def chosen(shifts: Sequence[tuple[Schedule, Sequence[str]]], calendar: str, at_us: int) -> list[str]:
    """Who is on duty at ``at_us`` by weekly shifts and a calendar's, each once; empty = nobody."""
    weekly = [name for schedule, who in shifts if covers(schedule, at_us) for name in who]
    return _once([*weekly, *(on_shift(calendar, moment(at_us)) if calendar else ())])
