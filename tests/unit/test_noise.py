"""Noise: a loose contact, and what moves without scattering."""

from __future__ import annotations

import numpy as np
import pytest

from alerting.detect.rules import Noise, RuleError, RuleSet
from fengsui.model import AlarmClass
from tests.unit.detection import point
from tests.unit.slow import Told, Values, assert_a_cut_changes_nothing, rough, story


def loose(**changes: object) -> Noise:
    """A temperature that scatters five times as much as on its first day."""
    fields: dict[str, object] = {
        "name": "loose", "version": 1, "cls": AlarmClass.TECHNICAL, "quantity": "temperature", "uom": "degC",
        "severity": 1, "factor": 5.0, "least": 0.05, "learn_minutes": 120, "label_en": "Temperature",
    }  # fmt: skip
    return Noise(**(fields | changes))  # type: ignore[arg-type]  # the tests say what they change


def tells(values: Values, *, step_s: float = 5.0, **changes: object) -> list[Told]:
    """What the rule says of a temperature."""
    rules = RuleSet(noise=(loose(**changes),))
    return story(rules, values, step_s=step_s, quantity="temperature", uom="degC")


def minutes_of(hours: float, *, step_s: float = 5.0) -> Values:
    """The time of each reading, in minutes."""
    return np.arange(round(hours * 3600 / step_s)) * step_s / 60


def calm(t: Values, scale: float = 0.1, seed: int = 4) -> Values:
    """A room."""
    return 22.0 + np.random.default_rng(seed).normal(0.0, scale, len(t))


def bursts(t: Values, share: float, seed: int = 9) -> Values:
    """A contact that is loose in this share of the minutes, from minute 180 up to 300."""
    draw = np.random.default_rng(seed)
    bad = np.repeat(draw.random(len(t) // 12 + 1) < share, 12)[: len(t)]
    return np.where(bad & (t >= 180) & (t < 300), draw.choice([0.0, -4.0, 3.0], len(t)), 0.0)


@pytest.mark.parametrize("step_s", [5.0, 60.0])
def test_a_loose_contact_is_reported_and_gone_when_it_is_fixed(step_s: float) -> None:
    """Scatter in most minutes is told within the window, also with one reading a minute, and clears later."""
    t = minutes_of(8, step_s=step_s)
    shaking = np.where((t >= 180) & (t < 300), np.random.default_rng(1).normal(0, 3.0, len(t)), 0.0)
    raised, cleared = tells(calm(t) + shaking, step_s=step_s)
    assert (raised.kind, cleared.kind) == ("raise", "clear")
    assert 180 + 10 < raised.minute < 180 + 45
    assert 300 + 30 < cleared.minute < 300 + 75
    assert raised.text.startswith("Temperature scatters by ")
    assert raised.text.endswith("in most of 20 min; check the wiring")


def test_a_contact_that_is_loose_now_and_then_is_reported() -> None:
    """Three quarters of the minutes are enough, a quarter of them is not."""
    t = minutes_of(5)
    assert [told.kind for told in tells(calm(t) + bursts(t, 0.75))] == ["raise"]
    assert tells(calm(t) + bursts(t, 0.25)) == []


@pytest.mark.parametrize("step_s", [5.0, 60.0])
def test_what_moves_does_not_scatter(step_s: float) -> None:
    """A fire of 10 C a minute and a step of 30 C are no noise, and neither is a glitch."""
    t = minutes_of(8, step_s=step_s)
    moving = 10.0 * np.clip(t - 180, 0, 40) - 300.0 * (t > 300)
    moving[(t > 400) & (t < 401)] += 50.0
    assert tells(calm(t) + moving, step_s=step_s) == []


def test_the_bound_is_learned_for_each_point() -> None:
    """What one point always did is no fault of it; a given bound needs no learning."""
    t = minutes_of(6)
    assert tells(calm(t, 2.0)) == []
    (told,) = tells(calm(t, 2.0), factor=None, above=1.0)
    assert 10 < told.minute < 30


def test_a_sensor_of_coarse_steps_is_not_noisy() -> None:
    """Half-degree steps that come and go stay below the factor over what can be told."""
    t = minutes_of(12)
    steps = np.round(calm(t, 0.1) * 2) / 2
    wander = np.round((22.0 + 0.3 * np.sin(t / 60)) * 2) / 2
    assert tells(np.where(t < 240, 22.0, steps + wander - 22.0), least=0.25) == []


def test_nothing_is_said_before_it_is_learned() -> None:
    """The first two hours say nothing, whatever the readings do."""
    t = minutes_of(1.9)
    assert tells(calm(t, 0.1) + 9.0 * np.random.default_rng(1).normal(0, 1, len(t)) * (t > 60)) == []


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"above": 1.0}, "exactly one"),
        ({"factor": None}, "exactly one"),
        ({"factor": 1.0}, "factor"),
        ({"least": 0.0}, "least"),
        ({"factor": None, "above": 0.0}, "above is positive"),
        ({"window_minutes": 1}, "window_minutes"),
        ({"learn_minutes": 1}, "learn_minutes"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(changes: dict[str, object], word: str) -> None:
    """The text names the rule and what to change."""
    with pytest.raises(RuleError, match=f"rule loose: .*{word}"):
        loose(**changes)


def cut(seed: int) -> int:
    """How many verdicts a rough stream has, however it is cut."""
    draw = np.random.default_rng(seed)
    shakes = np.repeat(draw.choice([0.1, 0.1, 3.0], (3, 20)), 50, axis=1)
    rules = RuleSet(
        noise=(
            loose(learn_minutes=60, off_delay_s=60.0, window_minutes=5),
            loose(name="given", factor=None, above=1.0, window_minutes=5, off_delay_s=60.0),
        )
    )
    values = 22.0 + draw.normal(0, 1, shakes.shape) * shakes
    points = [point(i) for i in range(3)]
    return assert_a_cut_changes_nothing(rules, points, rough(draw, values, step_s=25.0), seed)
