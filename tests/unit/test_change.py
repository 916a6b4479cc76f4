"""Change against a learned baseline: what is told how soon, and what glitches and noise may not do."""

from __future__ import annotations

from collections.abc import Iterable
from math import floor, inf, sqrt

import numpy as np
import pytest
from river.drift import PageHinkley

from alerting.detect.engine import Engine
from alerting.detect.rules import Change, RuleError, RuleSet
from fengsui.model import AlarmClass
from tests.unit.detection import T0_US, S, Sample, feed, point, said

T0_S = T0_US // S
NAN = float("nan")


def steady(**changes: object) -> Change:
    """A fault rule as shipped: steps of 10 s, 30 of them to learn from, 2 scales allowed, 10 the limit."""
    fields: dict[str, object] = {
        "name": "change", "version": 1, "cls": AlarmClass.FAULT, "quantity": "temperature", "uom": "degC",
        "severity": 2, "least_scale": 0.1, "label_en": "Flow",
    }  # fmt: skip
    return Change(**(fields | changes))  # type: ignore[arg-type]  # the tests say what they change


def series(values: Iterable[float], *, period_s: float = 10.0, start_s: float = 0.0) -> list[Sample]:
    """Readings of point 0, evenly spaced."""
    return [Sample(0, T0_US + round((start_s + i * period_s) * S), x) for i, x in enumerate(values)]


def told(samples: list[Sample], rule: Change | None = None) -> list[str]:
    """What the rule says of a series, as text like ``raise@2`` in seconds."""
    engine = Engine(RuleSet(change=(rule or steady(),)), [point(0)], now_s=0.0)
    return [f"{v.kind}@{(v.at_us - T0_US) / S:g}" for v in said(feed(engine, samples))]


def noise(count: int, *, mean: float = 100.0, scale: float = 1.0, seed: int = 5) -> list[float]:
    """Independent Gaussian readings."""
    return [mean + scale * x for x in np.random.default_rng(seed).standard_normal(count).tolist()]


@pytest.mark.parametrize("shift", [20.0, -20.0])
def test_a_large_change_is_told_within_a_minute(shift: float) -> None:
    """Both ways: five steps of four scales, two of which are allowed, and the step it falls into."""
    assert told(series([*noise(100), *noise(20, mean=100 + shift)])) == ["raise@1050"]


@pytest.mark.parametrize("period_s", [0.1, 1.0, 5.0, 60.0])
def test_every_sampling_period_works(period_s: float) -> None:
    """A change of four times the readings' scatter is told within two minutes, or twelve readings."""
    count = round(max(600.0, 60 * period_s) / period_s)
    found = told(series([*noise(count), *noise(count, mean=104, seed=6)], period_s=period_s))
    assert len(found) == 1
    assert 0 < float(found[0].removeprefix("raise@")) - count * period_s <= max(120, 12 * period_s)


def test_noise_alone_says_nothing_for_a_day() -> None:
    """A day of independent steps is no change."""
    assert told(series(noise(8640))) == []


def test_one_glitch_is_no_change_whatever_its_size() -> None:
    """A single step counts for four scales; two in a row are no change either."""
    for glitch in (1e6, -1e6):
        assert told(series([*noise(100), glitch, *noise(50), glitch, glitch, *noise(50)])) == []


def test_a_glitch_while_learning_does_not_deafen() -> None:
    """What is learned takes a wild step for no further off than a few scales."""
    learned = noise(60)
    learned[20] = 1e6
    (first, *_) = told(series([*learned, *noise(30, mean=120.0)]))
    assert float(first.removeprefix("raise@")) <= 700


def test_the_return_of_the_mean_clears() -> None:
    """What was normal was not forgotten during the alarm, and its return is told."""
    found = told(series([*noise(100), *noise(200, mean=120.0), *noise(50)]))
    assert [text.partition("@")[0] for text in found] == ["raise", "clear"]
    assert 3000 < float(found[1].removeprefix("clear@")) <= 3100


def test_a_new_normal_is_learned_after_a_day() -> None:
    """A set point that was changed for good does not stay a fault."""
    rule = steady(relearn_s=1800.0)
    found = told(series([*noise(100), *noise(400, mean=120.0)]), rule)
    assert [text.partition("@")[0] for text in found] == ["raise", "clear"]
    assert 2800 < float(found[1].removeprefix("clear@")) <= 3300


def test_a_drift_of_hours_is_told_and_not_learned() -> None:
    """Eight scales in six hours is no new normal; half a scale is."""
    steps = np.arange(6 * 360)
    still = noise(2160)
    drift = np.array(noise(len(steps), seed=6))
    assert told(series([*still, *(drift + 8 * steps / len(steps)).tolist()]))
    assert told(series([*still, *(drift + 0.5 * steps / len(steps)).tolist()])) == []


def test_a_constant_is_judged_by_the_least_scale() -> None:
    """Where nothing ever moved, a step of resolution is nothing and one of fifty is something."""
    assert told(series([*[5.0] * 100, *[5.1] * 100])) == []
    assert told(series([*[5.0] * 100, *[10.0] * 10])) == ["raise@1050"]


def test_a_gap_ends_a_running_sum_and_not_an_alarm() -> None:
    """What was not measured did not last; an alarm stands until normal values say otherwise."""
    off = noise(3, mean=120.0)
    later_s = 1030.0 + 7200
    assert told([*series([*noise(100), *off]), *series(off, start_s=later_s)]) == []
    whole = [*series([*noise(100), *noise(30, mean=120.0)]), *series(noise(20, mean=120.0), start_s=8500.0)]
    assert told(whole) == ["raise@1050"]


def test_the_reason_in_words() -> None:
    """An officer reads the value, what is usual, and for how long it has been off."""
    engine = Engine(RuleSet(change=(steady(),)), [point(0)], now_s=0.0)
    (verdict,) = feed(engine, series([*[100.0] * 100, *[80.0] * 10]))
    assert verdict.reasons[0].text_en == "Flow 80 °C, for 0.833 min below the usual 100 °C"
    assert "低于平常的 100 °C" in verdict.reasons[0].text_zh


@pytest.mark.parametrize(
    "changes",
    [
        {"least_scale": 0.0}, {"allowance": 4.0}, {"limit": NAN}, {"step_s": -1.0}, {"learn_steps": 3},
        {"forget_s": 60.0}, {"relearn_s": inf},
    ],
)  # fmt: skip
def test_a_rule_that_makes_no_sense_is_refused(changes: dict[str, object]) -> None:
    """A rule that could never raise, or raises on its own resolution, names itself."""
    with pytest.raises(RuleError, match="rule change: "):
        steady(**changes)


@pytest.mark.parametrize("seed", range(8))
def test_says_what_the_textbook_recursion_says(seed: int) -> None:
    """The sums are those of the recursion in the module's text, one reading after the other."""
    draw = np.random.default_rng(seed)
    rule = steady(learn_steps=10, forget_s=300.0)
    at_s = np.cumsum(draw.choice([1.0, 3.0, 12.0, 40.0], 500))
    values = 50 + draw.standard_normal(500) + np.repeat(draw.choice([0.0, 0.0, 9.0, -9.0], 10), 50)
    steps: dict[int, list[float]] = {}
    mean = variance = up = down = 0.0
    count, active, expected, closed = 0, False, [], None
    for t, x in zip(at_s.tolist(), values.tolist(), strict=True):
        number = floor((T0_S + t) / rule.step_s)
        if closed is not None and number != closed:
            m = sum(steps[closed]) / len(steps[closed])
            scale = max(sqrt(variance) * (1 + 2 / sqrt(max(count, 1))), rule.least_scale)
            if count >= rule.learn_steps:
                z = min(max((m - mean) / scale, -4), 4)
                up = min(max(0.0, up + z - rule.allowance), 2 * rule.limit)
                down = min(max(0.0, down - z - rule.allowance), 2 * rule.limit)
            if max(up, down) < rule.limit / 2:
                count = min(count + 1, round(rule.forget_s / rule.step_s))
                reach = 2.5 * scale if count > 8 else inf
                off = min(max(m - mean, -reach), reach)
                mean += off / count
                variance += (off * off * (1 - 1 / count) - variance) / count
            was, active = active, max(up, down) >= rule.limit * (0.5 if active else 1)
            if was != active:
                expected.append(f"{'raise' if active else 'clear'}@{t:g}")
        closed = number
        steps.setdefault(number, []).append(x)
    assert (
        told([Sample(0, T0_US + round(t * S), x) for t, x in zip(at_s, values, strict=True)], rule)
        == expected
    )


@pytest.mark.parametrize("shift", [4.0, 6.0, -5.0])
def test_oracle_page_hinkley_of_river(shift: float) -> None:
    """On a shared stream river's Page-Hinkley and this rule find the same change, and nothing before it."""
    stream = [*noise(400), *noise(100, mean=100 + shift, seed=9)]
    oracle = PageHinkley(min_instances=30, delta=2.0, threshold=10.0, alpha=1.0, mode="both")
    theirs = None
    for i, x in enumerate(stream):
        oracle.update(x)  # type: ignore[no-untyped-call]  # river ships no types
        if oracle.drift_detected and theirs is None:
            theirs = i
    (ours, *_) = (float(text.removeprefix("raise@")) / 10 for text in told(series(stream)) if "raise" in text)
    assert theirs is not None
    assert 400 <= theirs < 420
    assert abs(ours - theirs) <= 8
