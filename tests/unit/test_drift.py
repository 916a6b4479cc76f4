"""Drift: soiling over weeks, and what must not be taken for it."""

from __future__ import annotations

import numpy as np
import pytest

from alerting.detect.engine import Engine
from alerting.detect.rules import Drift, RuleError, RuleSet
from fengsui.model import AlarmClass
from tests.unit.detection import S, Sample, feed, heat, point
from tests.unit.slow import BEGIN_US, Told, Values, assert_a_cut_changes_nothing, play, rough, story

STEP_S = 600.0
DAY = 1440.0


def soiling(**changes: object) -> Drift:
    """A smoke sensor whose clean air may move by 1.5 %/m."""
    fields: dict[str, object] = {
        "name": "soiling", "version": 1, "cls": AlarmClass.TECHNICAL, "quantity": "smoke", "uom": "%/m",
        "severity": 1, "limit": 1.5, "reset": 1.0, "label_en": "Smoke",
    }  # fmt: skip
    return Drift(**(fields | changes))  # type: ignore[arg-type]  # the tests say what they change


def tells(values: Values, *, step_s: float = STEP_S, **changes: object) -> list[Told]:
    """What the rule says of a smoke sensor."""
    return story(RuleSet(drift=(soiling(**changes),)), values, step_s=step_s, quantity="smoke", uom="%/m")


def days(count: float, *, step_s: float = STEP_S) -> Values:
    """The time of each reading, in days."""
    return np.arange(round(count * 86_400 / step_s)) * step_s / 86_400


def clean(t: Values, seed: int = 5) -> Values:
    """Clean air with a daily wave, and smoke of cooking in one hour at noon and two in the evening."""
    draw = np.random.default_rng(seed)
    hour = t % 1 * 24
    cooking = ((hour > 12) & (hour < 13)) | ((hour > 18) & (hour < 20))
    return (
        0.15
        + 0.03 * np.sin(t * 2 * np.pi)
        + draw.normal(0, 0.02, len(t))
        + cooking * draw.exponential(3.0, len(t))
    )


@pytest.mark.parametrize("seed", range(3))
def test_a_sensor_that_soils_over_weeks_is_reported(seed: int) -> None:
    """0.05 %/m a day from day 14 on is 1.5 %/m after 30 days, and is told within six days of it."""
    t = days(60)
    (told,) = tells(clean(t, seed) + 0.05 * np.clip(t - 14, 0, None))
    assert 44 < told.minute / DAY < 50
    assert told.observed == pytest.approx(1.55, abs=0.1)
    assert told.text.startswith("Smoke: quiet level drifted by +1.")
    assert "clean or check the sensor" in told.text


def test_a_sensor_that_stays_clean_says_nothing_for_a_year() -> None:
    """Cooking every day and a week of works with dust are no soiling."""
    t = days(365)
    works = (t > 100) & (t < 105) & (t % 1 > 0.3) & (t % 1 < 0.8)
    assert tells(clean(t) + 5.0 * works) == []


def test_three_days_of_smoke_are_no_soiling() -> None:
    """The median of seven days stays what it was."""
    t = days(30)
    assert tells(clean(t) + np.where((t > 15) & (t < 18), 20.0, 0.0)) == []


def test_cleaning_clears_it() -> None:
    """After the sensor was cleaned, the quiet level comes back to the reference within a week."""
    t = days(70)
    raised, cleared = tells(clean(t) + np.where(t < 50, 0.06 * np.clip(t - 10, 0, None), 0.0))
    assert (raised.kind, cleared.kind) == ("raise", "clear")
    assert 50 < cleared.minute / DAY < 57


def test_nothing_is_said_before_the_reference_is_learned() -> None:
    """The first seven days say nothing, whatever the sensor shows; a given reference speaks after four."""
    t = days(6.9)
    assert tells(clean(t) + 9.0 * (t > 3)) == []
    (told,) = tells(clean(days(6)) + 2.0, reference=0.15)
    assert told.minute / DAY == pytest.approx(5, abs=1.0)


def test_one_direction() -> None:
    """A rule for soiling alone says nothing of a sensor that loses its sensitivity."""
    t = days(40)
    falling = 5.0 - 0.1 * np.clip(t - 8, 0, None) + np.random.default_rng(1).normal(0, 0.02, len(t))
    assert tells(falling, direction="up") == []
    (told,) = tells(falling, direction="down")
    assert told.observed is not None
    assert told.observed < -1.5


def test_hours_away_from_its_own_level() -> None:
    """With a short period the same rule watches a sensor that creeps away over hours."""
    t = days(1, step_s=30)
    creeping = 4.0 + 3.0 * np.clip(t * 24 - 6, 0, None) / 6
    (told,) = tells(creeping, step_s=30, period_minutes=24, quantile=0.5, direction="both")
    assert 9 * 60 < told.minute < 12 * 60


def test_a_fire_limit_is_what_it_was() -> None:
    """A soiled sensor still gives the fire alarm at the same value as a clean one."""
    fire = heat(name="smoke-fire", quantity="smoke", uom="%/m", above=10.0, reset=5.0)
    engine = Engine(RuleSet(threshold=(fire,), drift=(soiling(),)), [point(0, "smoke", "%/m")], now_s=0.0)
    t = days(40)
    said = play(engine, 0.15 + 0.2 * np.clip(t - 8, 0, None), step_s=STEP_S)
    assert [v.rule for v in said] == ["soiling"]
    at_us = BEGIN_US + 40 * 86_400 * S
    samples = [
        Sample(0, at_us, 9.99, received_at_us=at_us),
        Sample(0, at_us + S, 10.0, received_at_us=at_us + S),
    ]
    assert [(v.rule, v.at_us) for v in feed(engine, samples)] == [("smoke-fire", at_us + S)]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"reset": 1.5}, "reset < limit"),
        ({"reset": 0.0}, "reset < limit"),
        ({"limit": float("nan")}, "reset < limit"),
        ({"reference": float("inf")}, "reference"),
        ({"period_minutes": 100}, "multiple of 24"),
        ({"period_minutes": 0}, "multiple of 24"),
        ({"quantile": 1.5}, "quantile"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(changes: dict[str, object], word: str) -> None:
    """The text names the rule and what to change."""
    with pytest.raises(RuleError, match=f"rule soiling: .*{word}"):
        soiling(**changes)


def cut(seed: int) -> int:
    """How many verdicts a rough stream has, however it is cut."""
    draw = np.random.default_rng(seed)
    levels = np.cumsum(draw.choice([-2.0, 0.0, 2.0], (3, 800), p=[0.01, 0.98, 0.01]), axis=1)
    rules = RuleSet(
        drift=(
            soiling(period_minutes=24),
            soiling(name="up", direction="up", reference=0.0, period_minutes=24),
        )
    )
    points = [point(i, "smoke", "%/m") for i in range(3)]
    return assert_a_cut_changes_nothing(rules, points, rough(draw, levels, step_s=60.0), seed)
