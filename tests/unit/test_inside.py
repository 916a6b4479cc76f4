"""What detectors tell of a point for people to look at: the numbers that a verdict comes from."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from msgspec.structs import replace

from alerting.detect.engine import Engine
from alerting.detect.rules import RuleSet
from fengsui.model import Quality
from tests.unit.detection import T0_US, Sample, feed, heat, point, said
from tests.unit.test_detectors import CASES, Case, assert_same_state, every_case

BEYOND: dict[str, Callable[[dict[str, float], float], bool]] = {
    "threshold": lambda known, value: value >= known["limit"],
    "rate": lambda known, value: known["ahead"] >= known["rise"],
    "change": lambda known, value: known["sum"] >= known["sum_limit"],
    "range": lambda known, value: not known["low"] <= value <= known["high"],
    "flat": lambda known, value: known["same_s"] >= known["stuck_s"],
    "flat at a rail": lambda known, value: known["same_s"] >= known["stuck_s"],
    "trend": lambda known, value: known["left_s"] <= known["within_s"],
    "drift": lambda known, value: known["level"] >= known["high"],
    "season": lambda known, value: value >= known["high"],
    "noise": lambda known, value: known["noisy_share"] >= known["noisy_limit"],
}
"""Of each kind, whether what it tells is beyond its limit."""


def followed(case: Case) -> list[tuple[bool, bool, dict[str, float]]]:
    """After each reading: whether a rule raised, whether what is told is beyond its limit, and that."""
    engine, found = case.engine(1), []
    for sample in case.course(case.whole):
        raised = any(one.kind == "raise" for one in said(feed(engine, [sample])))
        (known,) = engine.inside(0).values()
        found.append((raised, BEYOND[case.name](known, sample.value), known))
    return found


@every_case
def test_what_is_told_is_what_decides(case: Case) -> None:
    """Every kind tells numbers that stay on the calm side of its limit and are beyond it when it raises."""
    whole = followed(case)
    calm, rest = whole[: len(case.calm)], whole[len(case.calm) :]
    assert not any(beyond for _, beyond, _ in calm)
    assert [beyond for raised, beyond, _ in rest if raised] == [True]
    assert not rest[-1][1], "cleared, and back on the calm side"


@every_case
def test_asking_changes_nothing(case: Case) -> None:
    """Verdicts and state of an engine that is asked after every reading are those of one that is not."""
    samples = case.course(case.whole)
    asked, silent = case.engine(), case.engine()
    said_when_asked = []
    for sample in samples:
        said_when_asked += said(feed(asked, [sample]))
        asked.inside(0)
    assert said_when_asked == said(feed(silent, samples))
    assert_same_state(asked, silent)


def test_every_kind_is_looked_into() -> None:
    """A new kind of rule has to tell what it knows, too."""
    assert {case.name for case in CASES} == set(BEYOND)


def test_before_the_first_reading_little_is_known() -> None:
    """What has to be learned is not a number yet; limits are."""
    for case in CASES:
        (known,) = case.engine().inside(0).values()
        assert set(known) == set(followed(case)[-1][2])
        assert not BEYOND[case.name](known, 20.0), case.name


def test_the_simulated_is_another_stream() -> None:
    """A test at a point is looked into apart from what is real there; a rule elsewhere tells nothing here."""
    rules = RuleSet(
        threshold=(heat(above=57.0, reset=50.0),), rate=next(c for c in CASES if c.name == "rate").rules.rate
    )
    engine = Engine(rules, [point(0), point(1, "smoke", "%/m")], now_s=0.0)
    assert engine.inside(0, test=True) == {}
    feed(engine, [Sample(0, T0_US, 30.0, Quality.SIMULATED)])
    feed(engine, [Sample(0, T0_US, 20.0)])
    name = rules.rate[0].name
    assert engine.inside(0, test=True)[name]["surroundings"] == 30.0
    assert engine.inside(0)[name]["surroundings"] == 20.0
    assert engine.inside(0)["heat"] == {"limit": 57.0, "reset": 50.0}
    assert engine.inside(1) == {}


def test_a_relative_limit_is_told_as_it_is_at_the_point() -> None:
    """What counts from the point's own bound is told in its value."""
    rules = RuleSet(threshold=(heat(relative_to="high", factor=0.5, above=7.0, reset=0.0),))
    high = Engine(rules, [replace(point(0), high=100.0)], now_s=0.0)
    assert high.inside(0)["heat"] == {"limit": 57.0, "reset": 50.0}
    assert np.isinf(Engine(rules, [point(0)], now_s=0.0).inside(0)["heat"]["limit"])
