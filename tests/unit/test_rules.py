"""Rules: what is shipped, and which rules are refused with which words."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from alerting.detect.en54 import A1R
from alerting.detect.rules import RuleError, RuleSet
from alerting.rulebook.file import default_rules
from fengsui.model import AlarmClass
from tests.unit.detection import heat
from tests.unit.test_drift import soiling
from tests.unit.test_trend import falling, warming


def test_the_shipped_rules_hold_the_limits_of_the_trade() -> None:
    """57 C is a fire at once; the hydrant limit is 140 kPa with a delay for pump starts."""
    rules = {rule.name: rule for rule in default_rules().threshold}
    fire = rules["heat-fire"]
    assert (fire.cls, fire.above, fire.uom, fire.on_delay_s) == (AlarmClass.FIRE, 57.0, "degC", 0.0)
    assert (rules["water-pressure-low"].below, rules["water-pressure-low"].uom) == (140.0, "kPa")
    assert rules["water-pressure-low"].on_delay_s >= 30
    assert default_rules().offline.after_s == 65.0


def test_the_shipped_rate_rule_stays_above_every_nuisance() -> None:
    """Cooking, steam and a welder's burst bring 5 K at most; a fire is told before class A1R would."""
    (fire,) = (rule for rule in default_rules().rate if rule.quantity == "temperature")
    assert fire.cls is AlarmClass.FIRE
    assert 5.0 < fire.rise < A1R.rise_k
    assert fire.min_samples >= 4
    assert fire.min_data_s >= 20.0


def test_what_only_says_that_something_is_broken_is_a_fault() -> None:
    """Change, flat line and impossible values are faults, never a fire."""
    rules = default_rules()
    assert {rule.cls for rule in (*rules.change, *rules.flat, *rules.range)} == {AlarmClass.FAULT}


def test_the_shipped_slow_rules_are_those_that_the_stories_were_told_with() -> None:
    """What holds for the stories of a main, a cable and a soiled sensor holds for what is shipped."""
    rules = {rule.name: rule for rule in default_rules().about_readings()}
    for name, told in (
        ("water-pressure-falling", falling()),
        ("cable-temperature-rising", warming()),
        ("smoke-soiled", soiling()),
    ):
        labels = {"label_en": rules[name].label_en, "label_zh": rules[name].label_zh}
        assert rules[name] == replace(told, name=name, **labels)


def test_drift_and_noise_are_maintenance() -> None:
    """A soiled or shaking sensor is never a fire, and forecasts are not either."""
    rules = default_rules()
    assert {rule.cls for rule in (*rules.drift, *rules.noise)} == {AlarmClass.TECHNICAL}
    assert AlarmClass.FIRE not in {rule.cls for rule in (*rules.trend, *rules.season)}


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"reset": 57.0}, "normal side"),
        ({"above": None}, "exactly one"),
        ({"below": 3.0}, "exactly one"),
        ({"reset": float("nan")}, "finite"),
        ({"severity": 9}, "severity"),
        ({"on_delay_s": -1.0}, "delays"),
        ({"max_gap_s": 0.0}, "max_gap_s"),
        ({"factor": 0.9}, "relative_to"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(changes: dict[str, object], word: str) -> None:
    """A rule that could never raise or never clear names itself and the fault."""
    with pytest.raises(RuleError, match=f"rule heat: .*{word}"):
        heat(**changes)


def test_a_name_is_used_once() -> None:
    """A record names its rule, so a name means one rule."""
    with pytest.raises(RuleError, match="heat: the name is used twice"):
        RuleSet(threshold=(heat(), heat()))
