"""Trends: the forecast of the time to a limit, and what must not be taken for a trend."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from math import inf, nan
from statistics import median

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.detect.engine import ActiveRule, Engine
from alerting.detect.minutes import MINUTE_US
from alerting.detect.rules import RuleError, RuleSet, Trend
from alerting.detect.trend import EXPLAINS, GOES_ON, fit
from fengsui.model import AlarmClass
from tests.unit.detection import point
from tests.unit.slow import (
    BEGIN_US,
    Told,
    Values,
    assert_a_cut_changes_nothing,
    play,
    rough,
    story,
    tell,
)


def falling(**changes: object) -> Trend:
    """A main that must keep 140 kPa, as shipped."""
    fields: dict[str, object] = {
        "name": "main", "version": 1, "cls": AlarmClass.SUPERVISORY, "quantity": "water_pressure",
        "uom": "kPa", "severity": 2, "below": 140.0, "within_s": 3600.0, "clear_s": 5400.0,
        "window_minutes": 20, "least_change": 10.0, "on_delay_s": 240.0, "label_en": "Water pressure",
    }  # fmt: skip
    return Trend(**(fields | changes))  # type: ignore[arg-type]  # the tests say what they change


def warming(**changes: object) -> Trend:
    """A cable that must stay below 70 C and settles by itself under a load."""
    fields: dict[str, object] = {
        "quantity": "cable_temperature", "uom": "degC", "below": None, "above": 70.0, "within_s": 1800.0,
        "clear_s": 2700.0, "least_change": 2.0, "on_delay_s": 600.0, "settles": True, "name": "cable",
        "cls": AlarmClass.PREALARM,
    }  # fmt: skip
    return falling(**(fields | changes))


def tells(rule: Trend, values: Values, *, step_s: float = 1.0) -> list[Told]:
    """What the rule says of a point of its own quantity."""
    return story(RuleSet(trend=(rule,)), values, step_s=step_s, quantity=rule.quantity, uom=rule.uom)


def minutes_of(hours: float, *, step_s: float = 1.0) -> Values:
    """The time of each reading, in minutes."""
    return np.arange(round(hours * 3600 / step_s)) * step_s / 60


def noise(t: Values, scale: float, seed: int = 7) -> Values:
    """White noise for each reading."""
    return np.random.default_rng(seed).normal(0.0, scale, len(t))


@pytest.mark.parametrize("seed", range(5))
def test_a_main_that_empties_in_forty_minutes_is_forecast(seed: int) -> None:
    """The alarm comes while half an hour is left and says when the limit is reached, within 15 %."""
    t = minutes_of(2)
    pumps = np.where((t % 13) < 1, -60.0, 0.0)
    pressure = 300.0 - np.clip(t - 60, 0, 75) * 4.0
    (told,) = tells(falling(), pressure + pumps + noise(t, 4.0, seed))
    left_min = 100.0 - told.minute
    assert left_min > 20
    assert told.window_s / 60 == pytest.approx(left_min, rel=0.15)
    assert told.text.startswith("Water pressure falling ")
    assert told.text.endswith(f"140 kPa in {round(told.window_s / 60)} min")


@pytest.mark.parametrize("lasts_min", [0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("drop", [-40.0, -120.0, -155.0])
def test_a_pump_start_is_no_trend(lasts_min: float, drop: float) -> None:
    """A transient of some minutes, and what follows it, says nothing."""
    t = minutes_of(2)
    transient = np.where((t >= 60) & (t < 60 + lasts_min), drop * np.exp(-(t - 60) / lasts_min), 0.0)
    assert tells(falling(), 300.0 + transient + noise(t, 4.0)) == []


@pytest.mark.parametrize("height", [-50.0, -100.0, -150.0])
def test_a_step_is_no_trend(height: float) -> None:
    """A valve that is turned takes the pressure to another level, which is not on its way anywhere."""
    t = minutes_of(2)
    assert tells(falling(), 300.0 + np.where(t > 60.5, height, 0.0) + noise(t, 4.0)) == []


def test_a_pressure_pump_that_comes_and_goes_is_no_trend() -> None:
    """The saw of a pressure-maintenance pump, 400 down to 320 kPa in 45 minutes, says nothing in a day."""
    t = minutes_of(24)
    assert tells(falling(), 400.0 - 80.0 * (t % 45) / 45 + noise(t, 4.0)) == []


def test_noise_alone_says_nothing_for_a_week() -> None:
    """A calm point near its limit has no trend; one reading a minute."""
    t = minutes_of(24 * 7, step_s=60)
    assert tells(falling(), 170.0 + noise(t, 3.0), step_s=60) == []


def test_it_clears_when_the_pressure_comes_back_and_not_before() -> None:
    """An alarm goes when nothing falls any more for as long as the rule says."""
    t = minutes_of(3)
    pressure = 300.0 - np.clip(t - 60, 0, 25) * 4.0
    raised, cleared = tells(falling(), pressure + noise(t, 4.0))
    assert (raised.kind, cleared.kind) == ("raise", "clear")
    assert 85 + 10 <= cleared.minute <= 85 + 10 + 20


def test_silence_clears_nothing() -> None:
    """After an hour without a reading the alarm still stands, until a window of minutes says otherwise."""
    t = minutes_of(3)
    pressure = 300.0 - np.clip(t - 60, 0, 25) * 4.0 + noise(t, 4.0)
    pressure[(t > 80) & (t < 140)] = np.nan
    raised, cleared = tells(falling(), pressure)
    assert raised.minute < 80
    assert cleared.minute >= 140 + 10 + 9


@pytest.mark.parametrize("tau_min", [10.0, 20.0, 40.0])
@pytest.mark.parametrize("final", [40.0, 55.0, 65.0])
def test_a_cable_that_warms_up_to_its_load_says_nothing(final: float, tau_min: float) -> None:
    """What flattens below the limit is not forecast to reach it."""
    t = minutes_of(4)
    warm = 25.0 + (final - 25.0) * -np.expm1(-np.clip(t - 60, 0, None) / tau_min)
    assert tells(warming(), warm + noise(t, 0.1)) == []


@pytest.mark.parametrize("tau_min", [20.0, 40.0])
def test_a_cable_that_would_warm_up_beyond_its_limit_is_forecast(tau_min: float) -> None:
    """The alarm of an overload comes before the limit does, with a time that is right within 30 %."""
    t = minutes_of(4)
    warm = 25.0 + 65.0 * -np.expm1(-np.clip(t - 60, 0, None) / tau_min)
    (told,) = tells(warming(), warm + noise(t, 0.1))
    reached = float(t[np.argmax(warm >= 70.0)])
    assert told.minute < reached
    assert told.window_s / 60 == pytest.approx(reached - told.minute, rel=0.3)


def test_what_is_beyond_the_limit_already_is_no_forecast() -> None:
    """Before there is a line the pressure has passed its limit, and the threshold has spoken."""
    t = minutes_of(1)
    assert tells(falling(), 150.0 - 4.0 * t + noise(t, 1.0)) == []


def test_a_slow_source_and_a_long_window() -> None:
    """A tank with a reading every five minutes is followed over hours."""
    rule = falling(
        name="tank", quantity="level", uom="m", below=1.0, within_s=6 * 3600.0, clear_s=9 * 3600.0,
        window_minutes=180, least_change=0.05, max_gap_s=1800.0, on_delay_s=1740.0,
    )  # fmt: skip
    t = minutes_of(24, step_s=300)
    level = 3.0 - np.clip(t - 720, 0, None) * 2.0 / 600
    (told,) = tells(rule, level + noise(t, 0.01), step_s=300)
    assert 720 + 90 < told.minute < 1320 - 240
    assert told.window_s / 60 == pytest.approx(1320 - told.minute, rel=0.15)


def test_the_line_withstands_wild_values() -> None:
    """A quarter of nonsense in a window does not turn the line; missing values are left out."""
    draw = np.random.default_rng(3)
    cells = (100.0 - 2.0 * np.arange(32) + draw.normal(0, 0.5, (200, 32))).astype(np.float32)
    for row in cells:
        row[draw.choice(32, 8, replace=False)] = draw.choice([0.0, 1e4])
        row[draw.choice(32, 4, replace=False)] = np.nan
    line = fit(cells)
    np.testing.assert_allclose(line.slope, -2.0, atol=0.35)
    np.testing.assert_allclose(line.level, 38.0, atol=4.0)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"above": 3.0}, "exactly one"),
        ({"below": None}, "exactly one"),
        ({"clear_s": 3600.0}, "clear_s"),
        ({"window_minutes": 5}, "window_minutes"),
        ({"least_change": 0.0}, "least_change"),
        ({"on_delay_s": -1.0}, "delays"),
        ({"max_gap_s": 30.0}, "max_gap_s"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(changes: dict[str, object], word: str) -> None:
    """The text names the rule and what to change."""
    with pytest.raises(RuleError, match=f"rule main: .*{word}"):
        falling(**changes)


def test_an_alarm_taken_over_from_the_book_is_cleared_here() -> None:
    """What stands recorded as active clears when the minutes say so."""
    rule = falling()
    engine = Engine(RuleSet(trend=(rule,)), [point(0, rule.quantity, rule.uom)], now_s=0.0)
    engine.assume([ActiveRule(rule.name, 0, "", test=False)])
    assert [t.kind for t in tell(play(engine, np.full(3600, 300.0)))] == ["clear"]


@dataclass
class Model:
    """A trend rule that does not settle, one minute after the other, written for the reader."""

    rule: Trend
    minutes: dict[int, float] = field(default_factory=dict)
    newest: int = -1
    phase: str = ""
    since: int = 0
    active: bool = False

    def feed(self, minute: int, value: float) -> str:
        """What a closed minute makes the rule say."""
        rule = self.rule
        if self.newest >= 0 and minute - self.newest > rule.max_gap_s / 60:
            self.minutes, self.phase = {}, ""
        self.newest = minute
        self.minutes[minute] = value
        phase = self.judge(minute)
        if phase != self.phase:
            self.since = minute
        self.phase = phase
        lasted_s = (minute - self.since) * 60
        if phase == "over" and not self.active and lasted_s >= rule.on_delay_s:
            self.active = True
            return "raise"
        if phase == "under" and self.active and lasted_s >= rule.off_delay_s:
            self.active = False
            return "clear"
        return ""

    def judge(self, now: int) -> str:
        """Over, under, or nothing to say."""
        rule = self.rule
        width = -(-rule.window_minutes // 32)
        used = -(-rule.window_minutes // width)
        cells: dict[int, list[float]] = {}
        for minute, value in self.minutes.items():
            cells.setdefault(minute // width - now // width, []).append(value)
        means = {age: sum(vs) / len(vs) for age, vs in cells.items() if age > -used}
        if len(means) * 2 < used:
            return ""
        sign = 1 if rule.above is not None else -1
        newer = median([v for age, v in means.items() if age > -(used // 2)] or [nan])
        older = median([v for age, v in means.items() if age <= -(used // 2)] or [nan])
        if sign * (newer - older) < rule.least_change / 4:
            return "under" if sign * (rule.limit - newer) > 0 else ""
        slope, _, scatter = self.line(means)
        change = sign * slope * (used - 1)
        eta = inf
        if change >= rule.least_change and change >= EXPLAINS * scatter:
            late = {age: v for age, v in means.items() if age > -(used // 2)}
            if len(late) * 2 >= used // 2:
                late_slope, late_level, _ = self.line(late)
                if sign * late_slope >= GOES_ON * sign * slope:
                    eta = max(sign * (rule.limit - late_level), 0.0) / (sign * late_slope) * width * 60
        if 0 < eta <= rule.within_s:
            return "over"
        return "under" if eta > rule.clear_s and sign * (rule.limit - newer) > 0 else ""

    @staticmethod
    def line(means: dict[int, float]) -> tuple[float, float, float]:
        """Slope per cell, level at the newest, scatter."""
        slopes = [(means[b] - means[a]) / (b - a) for a in means for b in means if b > a]
        slope = median(slopes)
        level = median(v - slope * a for a, v in means.items())
        return slope, level, 1.4826 * median(abs(v - slope * a - level) for a, v in means.items())


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), window=st.sampled_from([10, 20, 32, 50]))
def test_it_says_what_the_plain_model_says(seed: int, window: int) -> None:
    """Over hours of climbs, falls, glitches and gaps the verdicts are those of the model."""
    draw = np.random.default_rng(seed)
    t = minutes_of(8, step_s=60)
    turns = np.interp(t, np.arange(0, 481, 40), draw.uniform(60.0, 400.0, 13))
    values = turns + draw.normal(0, 2.0, len(t)) + np.where(draw.random(len(t)) < 0.03, 500.0, 0.0)
    values[draw.random(len(t)) < 0.1] = np.nan
    values[int(draw.integers(400)) :][: int(draw.integers(20))] = np.nan
    values[0], values[-1] = 300.0, 300.0
    rule = falling(window_minutes=window, on_delay_s=60.0, off_delay_s=180.0)
    model = Model(rule)
    known = np.flatnonzero(~np.isnan(values)).tolist()
    expected = [
        (kind, after)
        for minute, after in pairwise(known)
        if (kind := model.feed(BEGIN_US // MINUTE_US + minute, float(values[minute])))
    ]
    assert [(told.kind, told.minute) for told in tells(rule, values, step_s=60)] == expected


def cut(seed: int) -> int:
    """How many verdicts a rough stream has, however it is cut."""
    draw = np.random.default_rng(seed)
    turns = np.array(
        [np.interp(np.arange(500), np.arange(0, 501, 100), draw.uniform(60, 400, 6)) for _ in range(3)]
    )
    rules = RuleSet(
        trend=(
            falling(on_delay_s=60.0, off_delay_s=120.0, window_minutes=12),
            falling(name="rising", below=None, above=350.0, window_minutes=40, on_delay_s=60.0, settles=True),
        )
    )
    points = [point(i, "water_pressure", "kPa") for i in range(3)]
    stream = rough(draw, turns + draw.normal(0, 2, turns.shape), step_s=20.0)
    return assert_a_cut_changes_nothing(rules, points, stream, seed)
