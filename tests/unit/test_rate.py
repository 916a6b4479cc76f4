"""Rate of rise: what is told and how early, and what a glitch, a gap and a slow rise may not do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf, nan

import numpy as np
import pytest

from alerting.detect.engine import Engine
from alerting.detect.rules import Rate, RuleError, RuleSet
from fengsui.model import AlarmClass, Quality
from tests.unit.detection import T0_US, S, Sample, feed, point, said


def rising(**changes: object) -> Rate:
    """A fire rule: 6 K ahead of surroundings that follow at 2 K/min."""
    fields: dict[str, object] = {
        "name": "rise", "version": 1, "cls": AlarmClass.FIRE, "quantity": "temperature", "uom": "degC",
        "severity": 4, "limit_per_min": 2.0, "rise": 6.0,
    }  # fmt: skip
    return Rate(**(fields | changes))  # type: ignore[arg-type]  # the tests say what they change


def series(values: Iterable[float], *, period_s: float = 1.0, start_s: float = 0.0) -> list[Sample]:
    """Readings of point 0, evenly spaced."""
    return [Sample(0, T0_US + round((start_s + i * period_s) * S), x) for i, x in enumerate(values)]


def told(samples: list[Sample], rule: Rate | None = None) -> list[str]:
    """What the rule says of a series, as text like ``raise@2`` in seconds."""
    engine = Engine(RuleSet(rate=(rule or rising(),)), [point(0)], now_s=0.0)
    return [f"{v.kind}@{(v.at_us - T0_US) / S:g}" for v in said(feed(engine, samples))]


REST = [22.0] * 60
"""One minute at rest."""


def test_a_ramp_is_told_after_the_rise_over_the_excess_rate() -> None:
    """At 21 K/min, 19 more than allowed, 6 K are reached after 19 s, and held for 2 s."""
    assert told(series(REST + [22 + 0.35 * i for i in range(60)])) == ["raise@81"]


@pytest.mark.parametrize("period_s", [0.1, 0.5, 2.0, 5.0, 10.0, 60.0])
def test_every_sampling_period_works(period_s: float) -> None:
    """A ramp of 12 K/min is told within 36 s, the delay and three readings, from 0.1 s to 60 s."""
    rest = series([22.0] * round(max(60, 8 * period_s) / period_s), period_s=period_s)
    start_s = len(rest) * period_s
    ramp = series([22 + 0.2 * i * period_s for i in range(round(600 / period_s))], period_s=period_s)
    moved = [s._replace(at_us=s.at_us + round(start_s * S)) for s in ramp]
    (first, *_) = told(rest + moved)
    assert first.startswith("raise@")
    assert 36 <= float(first[6:]) - start_s <= 36 + 2 + 3 * period_s


def test_a_slow_rise_is_never_told() -> None:
    """What rises no faster than the limit is followed for ever: sun, heating, the course of a day."""
    assert told(series([20 + i * 1.9 / 60 for i in range(3600)])) == []


def test_the_end_of_a_rise_clears() -> None:
    """A plateau is caught up with at the limit, and cleared after the delay."""
    plateau = REST + [22 + 0.35 * i for i in range(30)] + [32.0] * 400
    assert [x.partition("@")[0] for x in told(series(plateau))] == ["raise", "clear"]


@pytest.mark.parametrize("glitch", [0.3, -40.0, 45.0, 400.0])
@pytest.mark.parametrize("count", [1, 2])
def test_a_short_glitch_is_no_rise(glitch: float, count: int) -> None:
    """One or two wrong readings and back, at 3 to 7 s between readings as in a household, say nothing."""
    samples = series([*REST, *[glitch] * count, *REST], period_s=5.0)
    assert [x for x in told(samples) if count == 1 or glitch < 22] == []


def test_a_sensor_that_was_stuck_at_zero_for_an_hour_and_comes_back_is_no_fire() -> None:
    """A step alone is not believed: the value must go on rising, and what comes back stays where it is."""
    assert told(series([*REST, *[0.0] * 720, *[28.0, 28.1, 28.0, 27.9] * 60], period_s=5.0)) == []


def test_a_step_that_goes_on_rising_is_a_fire() -> None:
    """With 10 s between readings a fire rises by more than the limit at once."""
    assert told(series([*[22.0] * 10, 35.0, 50.0, 70.0], period_s=10.0)) == ["raise@110"]


def test_a_fire_after_a_glitch_is_told_as_early_as_without_it() -> None:
    """What a step had to reach is forgotten with the step."""
    ramp = [22 + 0.35 * i for i in range(60)]
    assert told(series([*REST[:30], 45.0, *REST[31:], *ramp])) == ["raise@81"]


def test_a_break_is_learned_from_again_and_remembers_the_surroundings() -> None:
    """After something invalid nothing is said for 4 readings and 20 s; a cold stretch is no new normal."""
    ramp = [22 + 0.35 * i for i in range(60)]
    whole = series(REST + ramp)
    broken = [*whole[:70], whole[70]._replace(value=nan), *whole[71:]]
    assert told(broken) == ["raise@112"]
    cold = series([*REST, nan, *[0.3] * 60, nan, *[22.0] * 60])
    assert told(cold) == []


def test_a_value_out_of_range_is_not_used() -> None:
    """What the sensor cannot measure neither raises nor teaches."""
    samples = series(REST + [22 + 0.35 * i for i in range(60)])
    beyond = [s._replace(quality=Quality.OUT_OF_RANGE) if i >= 60 else s for i, s in enumerate(samples)]
    assert told(beyond) == []


def test_a_gap_restarts() -> None:
    """Two readings ten minutes apart are no rate."""
    assert told([*series(REST), *series([60.0] * 15, start_s=660.0)]) == []


def test_noise_and_resolution_say_nothing_and_cost_little() -> None:
    """Noise of half a degree in steps of half a degree is no rise; a fire in it is told in time."""
    draw = np.random.default_rng(7)
    noisy = np.round((22 + 0.5 * draw.standard_normal(2_000)) * 2) / 2
    assert told(series(noisy.tolist(), period_s=5.0)) == []
    ramp = 22 + np.arange(100) / 3 + 0.5 * draw.standard_normal(100)
    (first, *_) = told(series([*(22 + 0.5 * draw.standard_normal(120)).tolist(), *ramp.tolist()]))
    assert 138 <= float(first[6:]) <= 150


def test_falling_is_the_mirror_image() -> None:
    """A pressure that falls fast is judged by the same formula downwards."""
    rule = rising(falling=True)
    assert told(series(REST + [22 - 0.35 * i for i in range(60)]), rule) == ["raise@81"]
    assert told(series(REST + [22 + 0.35 * i for i in range(60)]), rule) == []


def test_the_reason_in_words() -> None:
    """An officer reads how much, in what time, and what would have been allowed."""
    engine = Engine(RuleSet(rate=(rising(label_en="Temperature"),)), [point(0)], now_s=0.0)
    (verdict,) = feed(engine, series(REST + [22 + 0.35 * i for i in range(22)]))
    (reason,) = verdict.reasons
    assert reason.text_en == "Temperature rose 7.35 °C in 21 s, 6.65 °C more than at 2 °C/min (limit 6 °C)"
    assert "21 秒内上升 7.35 °C" in reason.text_zh
    assert reason.value == pytest.approx(7.35 - 2 * 21 / 60)
    assert reason.window_s == pytest.approx(21.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"rise": 0.0}, {"limit_per_min": -1.0}, {"falls_per_min": nan}, {"rise": inf}, {"reset_rise": 6.0},
        {"min_samples": 1}, {"min_data_s": -1.0}, {"on_delay_s": -1.0},
    ],
)  # fmt: skip
def test_a_rule_that_makes_no_sense_is_refused(changes: dict[str, object]) -> None:
    """A rule that could never raise or never clear names itself."""
    with pytest.raises(RuleError, match="rule rise: "):
        rising(**changes)


@dataclass
class PlainRate:
    """The same rule, one reading after the other, written for the reader and not for speed."""

    rule: Rate
    ambient: float = -inf
    last: float = nan
    beyond: float = -inf
    learned: int = 0
    begun_s: float = 0.0
    over_since_s: float | None = None
    under_since_s: float | None = None
    active: bool = False
    at_s: float | None = None

    def feed(self, at_s: float, x: float, *, broken: bool = False) -> str:
        """What one reading makes the rule say: raise, clear, or nothing."""
        rule = self.rule
        gap_s = None if self.at_s is None else at_s - self.at_s
        self.at_s = at_s
        if gap_s is None or broken or gap_s > rule.max_gap_s:
            self.learned, self.begun_s = 0, at_s
        elapsed_s = gap_s or 0.0
        if gap_s is None or gap_s > rule.max_gap_s:
            self.over_since_s = self.under_since_s = None
        floor = self.ambient - rule.falls_per_min / 60 * elapsed_s
        if self.learned < 100:
            follow, ahead = max(x, floor), nan
            self.beyond = -inf
            self.learned = min(self.learned + 1, 99)
            if self.learned >= rule.min_samples and at_s - self.begun_s >= rule.min_data_s:
                self.learned = 100
        else:
            follow = min(max(x, floor), self.ambient + rule.limit_per_min / 60 * elapsed_s)
            ahead = x - follow
        over = ahead >= rule.rise
        if over and x - self.last >= rule.rise and self.last - self.ambient < rule.rise:
            self.beyond = x + rule.rise / 4
        if not over or x >= self.beyond:
            self.beyond = -inf
        stepped = over and self.beyond > -inf
        if ahead <= 0:
            self.begun_s = at_s
        self.ambient, self.last = follow, x
        under = ahead < rule.reset
        self.over_since_s = (at_s if self.over_since_s is None else self.over_since_s) if over else None
        self.under_since_s = (at_s if self.under_since_s is None else self.under_since_s) if under else None
        on = self.over_since_s is not None and at_s - self.over_since_s >= rule.on_delay_s
        off = self.under_since_s is not None and at_s - self.under_since_s >= rule.off_delay_s
        was = self.active
        self.active = (was or (on and not stepped)) and not off
        return {(False, True): "raise", (True, False): "clear"}.get((was, self.active), "")


@pytest.mark.parametrize("seed", range(20))
def test_says_what_the_plain_model_says(seed: int) -> None:
    """Over a wandering, jumping series with gaps and breaks the arrays say what the recursion says."""
    draw = np.random.default_rng(seed)
    rule = rising(off_delay_s=5.0)
    model, at_s, x, broken = PlainRate(rule), 0.0, 22.0, False
    samples: list[Sample] = []
    expected: list[str] = []
    for _ in range(600):
        at_s += float(draw.choice([0.5, 1.0, 1.0, 2.0, 5.0, 200.0], p=[0.2, 0.3, 0.3, 0.1, 0.095, 0.005]))
        x += float(draw.choice([0.0, 0.1, 0.8, -0.8, 12.0, -12.0], p=[0.3, 0.3, 0.2, 0.17, 0.02, 0.01]))
        bad = draw.random() < 0.01
        samples.append(Sample(0, T0_US + round(at_s * S), nan if bad else x))
        if bad:
            broken = True
            continue
        if kind := model.feed(at_s, x, broken=broken):
            expected.append(f"{kind}@{at_s:g}")
        broken = False
    assert told(samples, rule) == expected
    assert expected
