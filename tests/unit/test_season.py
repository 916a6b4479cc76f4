"""Season: the usual week, what is far from it, and silence until a week is known."""

from __future__ import annotations

import numpy as np
import pytest

from alerting.detect.minutes import MINUTE_US
from alerting.detect.rules import RuleError, RuleSet, Season
from fengsui.model import AlarmClass
from tests.unit.detection import point
from tests.unit.slow import BEGIN_US, Told, Values, assert_a_cut_changes_nothing, rough, story

STEP_S = 600.0
DAY = 1440.0


def unusual(**changes: object) -> Season:
    """Residual current above what is usual, for half an hour."""
    fields: dict[str, object] = {
        "name": "unusual", "version": 1, "cls": AlarmClass.PREALARM, "quantity": "residual_current",
        "uom": "mA", "severity": 2, "least_scale": 3.0, "max_gap_s": 1800.0, "label_en": "Residual current",
    }  # fmt: skip
    return Season(**(fields | changes))  # type: ignore[arg-type]  # the tests say what they change


def tells(values: Values, **changes: object) -> list[Told]:
    """What the rule says of a point with a reading every ten minutes."""
    rules = RuleSet(season=(unusual(**changes),))
    return story(rules, values, step_s=STEP_S, quantity="residual_current", uom="mA")


def weeks(count: float) -> Values:
    """The time of each reading, in days since the story began."""
    return np.arange(round(count * 7 * 86_400 / STEP_S)) * STEP_S / 86_400


def local(t: Values, offset_minutes: int = 480) -> tuple[Values, Values]:
    """Day of the week, 0 = Monday, and hour of the day of each reading, by a clock on the wall."""
    minute = BEGIN_US / MINUTE_US + t * 1440 + offset_minutes
    return (minute // 1440 + 3) % 7, minute % 1440 / 60


def load(t: Values, seed: int = 2, offset_minutes: int = 480) -> Values:
    """A building: 40 mA at night, 160 mA at work on five days, half of that on Saturday."""
    day, hour = local(t, offset_minutes)
    work = np.where((hour >= 8) & (hour < 18), np.where(day < 5, 120.0, np.where(day == 5, 60.0, 0.0)), 0.0)
    draw = np.random.default_rng(seed)
    weekly = np.repeat(draw.normal(1.0, 0.03, 60), 1008)[: len(t)]
    return 40.0 + work * weekly + draw.normal(0, 2.0, len(t))


@pytest.mark.parametrize("seed", range(3))
def test_a_leak_at_night_is_told_although_the_day_is_higher(seed: int) -> None:
    """100 mA at three in the morning of week five is far from usual; 160 mA at noon is not."""
    t = weeks(5)
    _, hour = local(t)
    night = (t > 29) & (t < 29.99) & (hour >= 1) & (hour < 5)
    raised, cleared = tells(load(t, seed) + 60.0 * night)
    begun_min = t[night][0] * 1440
    assert begun_min + 30 <= raised.minute <= begun_min + 60
    assert t[night][-1] * 1440 < cleared.minute < t[night][-1] * 1440 + 90
    assert raised.text.startswith("Residual current ")
    assert raised.text.endswith(" mA at this hour of the week")
    assert "usually at most " in raised.text


def test_a_weekday_load_on_a_sunday_is_unusual() -> None:
    """The hour of the week counts, and not the hour of the day."""
    t = weeks(5)
    day, hour = local(t)
    sunday = (t > 28) & (day == 6) & (hour >= 9) & (hour < 15)
    assert [told.kind for told in tells(load(t) + 120.0 * sunday)] == ["raise", "clear"]


def test_an_ordinary_quarter_says_nothing() -> None:
    """Working days, weekends and weeks that differ by some percent are usual."""
    assert tells(load(weeks(13))) == []


def test_nothing_is_said_in_the_first_two_weeks() -> None:
    """Before two weeks of an hour are known nothing is unusual, whatever it is."""
    t = weeks(2)
    assert tells(load(t) + np.where(t > 13, 900.0, 0.0)) == []


def test_an_hour_that_was_missed_is_judged_by_the_hours_beside_it() -> None:
    """With one of its two weeks missing an hour is not known yet, and its neighbours speak for it."""
    t = weeks(3)
    _, hour = local(t)
    three = (hour >= 3) & (hour < 4)
    values = load(t)
    values[three & (t < 14)] = np.nan
    leak = three & (t > 15) & (t < 16)
    (told, _) = tells(values + 60.0 * leak)
    assert told.minute <= t[leak][-1] * 1440 + 10
    values[(hour >= 2) & (hour < 5) & (t < 14)] = np.nan
    assert tells(values + 60.0 * leak) == []


def test_a_lasting_change_is_told_and_then_learned() -> None:
    """A new tenant is unusual once, and usual some weeks later."""
    t = weeks(16)
    told = tells(load(t) + np.where(t > 28, 40.0, 0.0))
    assert told[0].kind == "raise"
    assert told[0].minute < 29 * DAY
    assert told[-1].kind == "clear"
    assert told[-1].minute < 28 * DAY + 8 * 7 * DAY


def test_one_odd_week_is_forgotten() -> None:
    """A festival in week four moves the usual too little to hide a leak in week seven."""
    t = weeks(7)
    festival = (t > 21) & (t < 28)
    _, hour = local(t)
    leak = (t > 44) & (t < 45) & (hour < 5)
    told = tells(load(t) + 80.0 * festival + 60.0 * leak)
    assert [said.minute for said in told if said.kind == "raise" and said.minute > 28 * DAY]


def test_below_and_both() -> None:
    """Water that stops running in the daytime is as unusual as water that runs at night."""
    t = weeks(5)
    day, hour = local(t)
    off = (t > 28) & (day == 2) & (hour >= 10) & (hour < 14)
    missing = load(t) - 110.0 * off
    assert tells(missing, direction="up") == []
    for direction in ("down", "both"):
        raised, _ = tells(missing, direction=direction)
        assert "usually at least " in raised.text


def test_hours_are_local() -> None:
    """Work that begins at eight sharp splits no hour where the clock is half an hour off the whole ones."""
    t = weeks(5)
    india = 330
    day, hour = local(t, india)
    late = (t > 28) & (day == 1) & (hour >= 18) & (hour < 19)
    values = load(t, offset_minutes=india) + 40.0 * late
    assert [told.kind for told in tells(values, utc_offset_minutes=india)] == ["raise", "clear"]
    assert tells(values, utc_offset_minutes=0) == []


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"clear_scales": 6.0}, "clear_scales < scales"),
        ({"scales": float("inf")}, "clear_scales < scales"),
        ({"least_scale": 0.0}, "least_scale"),
        ({"utc_offset_minutes": 900}, "utc_offset_minutes"),
        ({"warm_weeks": 1}, "warm_weeks"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(changes: dict[str, object], word: str) -> None:
    """The text names the rule and what to change."""
    with pytest.raises(RuleError, match=f"rule unusual: .*{word}"):
        unusual(**changes)


def cut(seed: int) -> int:
    """How many verdicts a rough stream has, however it is cut."""
    draw = np.random.default_rng(seed)
    t = np.arange(4 * 168 * 2) / 48
    values = np.array([load(t, seed + i) for i in range(2)])
    values += np.where(draw.random(values.shape) < 0.02, 100.0, 0.0)
    rules = RuleSet(season=(unusual(on_delay_s=0.0, off_delay_s=0.0, direction="both", max_gap_s=3600.0),))
    points = [point(i, "residual_current", "mA") for i in range(2)]
    return assert_a_cut_changes_nothing(rules, points, rough(draw, values, step_s=1800.0), seed)
