"""The roster file: read, checked as a whole, and written as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from alerting.errors import RosterRefused
from alerting.notify.roster import dump, load, parse
from tests.rosters import CHANNELS, MONDAY_NOON_US, TEXT, S, roster

DAY_US = 86_400 * S
CALENDAR = """\
BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//rota//EN
BEGIN:VEVENT
UID:night
DTSTART;TZID=Asia/Shanghai:20261101T200000
DTEND;TZID=Asia/Shanghai:20261102T080000
RRULE:FREQ=DAILY;INTERVAL=2
EXDATE;TZID=Asia/Shanghai:20261125T200000
SUMMARY:wang, chief
END:VEVENT
BEGIN:VEVENT
UID:night
RECURRENCE-ID;TZID=Asia/Shanghai:20261127T200000
DTSTART;TZID=Asia/Shanghai:20261127T220000
DURATION:PT1H
SUMMARY:chief
END:VEVENT
BEGIN:VEVENT
UID:holiday
DTSTART;VALUE=DATE:20261201
DTEND;VALUE=DATE:20261202
SUMMARY:li
END:VEVENT
BEGIN:VEVENT
UID:off
STATUS:CANCELLED
DTSTART;VALUE=DATE:20261201
SUMMARY:wang
END:VEVENT
END:VCALENDAR
"""
WITH_CALENDAR = TEXT.replace(
    '    shifts: [{when: {utc_offset: "+08:00", hours: 08:00-20:00}, who: [wang]}]\n',
    "    calendar_file: duty.ics\n",
)


def refused(text: str) -> str:
    """Why a roster is refused."""
    with pytest.raises(RosterRefused) as caught:
        roster(text)
    return str(caught.value)


def test_what_is_written_is_what_was_read() -> None:
    """A roster that is shown and imported again is the same, its calendar included."""
    first = roster(WITH_CALENDAR, {"duty.ics": CALENDAR})
    text = yaml.safe_dump(dump(first), allow_unicode=True, sort_keys=False)
    assert parse(text, "again", CHANNELS, lambda name: name) == first


@pytest.mark.parametrize(
    ("day", "hour", "who"),
    [
        (23, 19, ["li"]),  # the evening of a night shift that has not begun
        (23, 20, ["wang", "chief"]),
        (24, 7, ["wang", "chief"]),
        (24, 8, ["li"]),
        (25, 21, ["li"]),  # taken out
        (27, 20, ["li"]),  # moved by two hours, to one hour of somebody else
        (27, 22, ["chief"]),
        (27, 23, ["li"]),
    ],
)
def test_shifts_of_a_calendar(day: int, hour: int, who: list[str]) -> None:
    """A recurring night shift is on from its begin to its end, and not where it was taken out or moved."""
    rota = roster(WITH_CALENDAR, {"duty.ics": CALENDAR}).rotas[0]
    assert rota.on_duty(MONDAY_NOON_US + (day - 23) * DAY_US + (hour - 12) * 3600 * S) == who


def test_a_recurring_shift_has_no_end() -> None:
    """Years later the rota still says who is on duty."""
    rota = roster(WITH_CALENDAR, {"duty.ics": CALENDAR}).rotas[0]
    hours = [rota.on_duty(MONDAY_NOON_US + 5 * 365 * DAY_US + (8 + 24 * n) * 3600 * S) for n in range(2)]
    assert sorted(hours) == [["li"], ["wang", "chief"]]


def test_an_all_day_shift_begins_at_local_midnight() -> None:
    """The date of a calendar is a day where the officers are; a cancelled event is none."""
    rota = roster(WITH_CALENDAR.replace("[li]", "[chief]"), {"duty.ics": CALENDAR}).rotas[0]
    december_us = MONDAY_NOON_US + 8 * DAY_US
    assert [rota.on_duty(december_us + h * 3600 * S) for h in (-12, 7)] == [["li"], ["li"]]
    assert rota.on_duty(december_us + 24 * 3600 * S) == ["chief"]


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("minimum: [sms]", "minimum: [pager]", 1, "pager is no channel of the core's settings"),
        ("mute: [mail]", "mute: [sms]", 7, "wang mutes sms, which nobody can mute"),
        ("mute: [mail]", "mut: [mail]", 7, "did you mean `mute`?"),
        ("fallback_s: 45", "fallback_s: 61", 2, "<= 60"),
        ("substitute: chief", "substitute: zhao", 12, "zhao stands in for li and is no contact"),
        ("who: [wang]}]\n    otherwise", "who: [zhao]}]\n    otherwise", 24, "zhao has shifts in duty"),
        ("after_s: 120", "after_s: 60", 34, "not later than the one before"),
        ("after_s: 60, who: [chief]", "after_s: 60, who: [boss]", 33, "boss is no contact and no rota"),
        ("channels: [sms]", "channels: [mail]", 33, "chief has none of the channels mail"),
        ("classes: [fire]\n    stages", "classes: [fire]\n    units: [u1]\n    stages", 27, "nobody is"),
        ("severity: 2", "forward: true", 40, "its class is fire and no other"),
        ("- id: chief", "- id: li", 13, "li is there twice"),
        ('who: [sounder, "rota:duty"]\n', "after_s: 5\n        who: [chief]\n", 31, "at once"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_line(old: str, new: str, line: int, said: str) -> None:
    """Each mistake is told with file, line and what to do; nothing of the file is taken."""
    assert old in TEXT
    text = refused(TEXT.replace(old, new, 1))
    assert said in text
    assert f"roster.yaml:{line}:" in text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense", "calendar"),
        (CALENDAR.replace("SUMMARY:wang, chief\n", ""), "needs DTSTART and, as SUMMARY"),
        (CALENDAR.replace("FREQ=DAILY", "FREQ=NEVER"), "NEVER"),
        (CALENDAR.replace("DURATION:PT1H", "DURATION:-PT1H"), "ends before it begins"),
        (CALENDAR.replace("SUMMARY:chief", "SUMMARY:zhao"), "zhao has shifts in duty and is no contact"),
    ],
)
def test_a_wrong_calendar_is_refused(text: str, said: str) -> None:
    """A calendar that cannot be followed is told of when it is imported, not on the night."""
    with pytest.raises(RosterRefused, match=said):
        roster(WITH_CALENDAR, {"duty.ics": text})


def test_missing_files_are_told(tmp_path: Path) -> None:
    """A roster or calendar that is not there is named."""
    with pytest.raises(RosterRefused, match=r"roster\.yaml: cannot be read"):
        load(tmp_path / "roster.yaml", CHANNELS)
    (tmp_path / "roster.yaml").write_text(WITH_CALENDAR, encoding="utf-8")
    with pytest.raises(RosterRefused, match=r"roster\.yaml:25: calendar_file: cannot be read"):
        load(tmp_path / "roster.yaml", CHANNELS)
    (tmp_path / "duty.ics").write_text(CALENDAR, encoding="utf-8")
    assert load(tmp_path / "roster.yaml", CHANNELS) == roster(WITH_CALENDAR, {"duty.ics": CALENDAR})
