"""The tests inside rule files: what they ask the engine, and when they fail."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.detect.engine import Engine
from alerting.detect.rules import RuleSet
from alerting.detect.schedule import Schedule
from alerting.detect.scope import Scope
from alerting.detect.verdict import VerdictKind
from alerting.rulebook.ruletest import MAX_STEPS, Expected, RuleTest, Said, Signal, Window, judge, play
from tests.unit.detection import S, Sample, feed, heat, point

RULES = RuleSet(threshold=(heat(), heat(name="warm", above=40.0, reset=35.0, off_delay_s=3.0)))


def ruletest(series: str, *expect: Expected, **more: object) -> RuleTest:
    """A test of one temperature point."""
    points = (Signal(series=series, quantity="temperature", uom="degC"),)
    fields: dict[str, object] = {"name": "t", "points": points, "expect": expect or "nothing"}
    return RuleTest(**(fields | more))  # type: ignore[arg-type]  # the tests say what they give


def raises(rule: str, at: Window, point: str = "") -> Expected:
    """A raise is expected."""
    return Expected(rule=rule, raise_s=at, point=point)


@pytest.mark.parametrize(
    ("one", "complaint"),
    [
        (ruletest("20 60", raises("heat", 1)), ""),
        (ruletest("20 60", raises("heat", (0, 5))), ""),
        (ruletest("20 60", raises("heat", 1, "p1")), ""),
        (ruletest("20 60", raises("heat", 1, "p2")), "heat does not raise at 1 s: heat raises at 1 s (p1)"),
        (ruletest("20 60", raises("heat", 2)), "heat does not raise at 2 s: heat raises at 1 s (p1)"),
        (
            ruletest("20 60", raises("heat", (2, 9))),
            "heat does not raise between 2 and 9 s: heat",
        ),
        (ruletest("20 50", raises("heat", 1)), "heat does not raise at 1 s: it says nothing"),
        (
            ruletest("20 60", Expected(rule="heat", nothing=True)),
            "heat raises at 1 s (p1), which is not expected",
        ),
        (ruletest("20 50", Expected(rule="heat", nothing=True)), ""),
        (ruletest("20 60 20", raises("heat", 1)), "heat clears at 2 s (p1), which is not expected"),
        (ruletest("20 60 20", raises("heat", 1), Expected(rule="heat", clear_s=2)), ""),
        (ruletest("20 60", raises("haet", 1)), "there is no rule haet"),
        (ruletest("20 39"), ""),
        (ruletest("20 41"), "warm raises at 1 s (p1), although nothing is expected"),
        (ruletest("20 60 _x70", raises("no-data", (61, 63))), ""),
        (ruletest("20x80", Expected(rule="no-data", nothing=True), heartbeats="1x80"), ""),
        (ruletest("20 _x80", raises("gateway-offline", (65, 67), "gateway"), heartbeats="1"), ""),
        (ruletest("20 20", raises("heat", 0), interval_s=600), "heat does not raise at 0 s: it says nothing"),
        (ruletest(f"20x{MAX_STEPS + 1}"), f"a test has at most {MAX_STEPS}"),
    ],
)
def test_a_test_fails_for_a_reason_in_words(one: RuleTest, complaint: str) -> None:
    """The complaint says what was expected and what was said; without one, the test passes."""
    texts = [text for _, text in judge(one, RULES)]
    assert (texts == []) if not complaint else any(complaint in text for text in texts), texts


def test_the_complaint_names_its_expectation() -> None:
    """Which expectation failed is told by its number, so that a file can tell its line."""
    one = ruletest("20 60", raises("warm", 1), raises("heat", 5))
    assert [number for number, _ in judge(one, RULES)] == [1, None]


def test_points_of_a_test_have_places_and_ranges() -> None:
    """Selectors and limits relative to the point work in tests: the fields of a point can be given."""
    rules = RuleSet(threshold=(heat(scope=Scope(zone="kitchen"), above=0.0, reset=-5.0, relative_to="high"),))
    points = tuple(
        Signal(series="20 90", quantity="temperature", uom="degC", id=id_, zone=zone, high=80.0)
        for id_, zone in (("a", "kitchen"), ("b", "hall"))
    )
    one = RuleTest(name="t", points=points, expect=(raises("heat", 1, "a"),))
    assert judge(one, rules) == []
    assert play(one, rules) == [Said(1.0, "heat", VerdictKind.RAISE, "a")]


def test_a_schedule_in_a_test_goes_by_the_start() -> None:
    """``start`` says when the first sample was measured."""
    rules = RuleSet(threshold=(heat(schedule=Schedule(utc_offset="+08:00", hours="08:00-18:00")),))
    night = ruletest("60x3", raises("heat", 60), start="2024-03-04T07:59+08:00", interval_s=60)
    assert judge(night, rules) == []


@settings(max_examples=50)
@given(st.lists(st.sampled_from([20.0, 38.0, 45.0, 60.0, None, float("nan")]), min_size=1, max_size=60))
def test_a_test_says_what_the_engine_says_reading_by_reading(values: list[float | None]) -> None:
    """However the runner puts samples together, the verdicts on readings are those of single steps."""
    series = " ".join("_" if value is None else str(value) for value in values)
    whole = [one for one in play(ruletest(series), RULES) if one.rule != "no-data"]
    engine = Engine(RULES, [point(0)], now_s=0.0)
    single = []
    for second, value in enumerate(values):
        if value is not None:
            single += feed(engine, [Sample(0, second * S, value)])
    assert [(one.at_s, one.rule, one.kind) for one in whole] == [
        (v.at_us / S, v.rule, v.kind) for v in single
    ]


@pytest.mark.parametrize("interval_s", [1, 7, 90])
def test_silence_is_told_at_the_step_at_which_it_lasted(interval_s: int) -> None:
    """A gap raises no-data with the first step beyond its patience, and the next reading clears it."""
    steps = 60 // interval_s + 3
    said = play(ruletest(f"20x5 _x{steps} 20x2", interval_s=interval_s), RULES)
    last_s, back_s = 4 * interval_s, (5 + steps) * interval_s
    due_s = last_s + (60 // interval_s + 1) * interval_s
    assert [(one.rule, one.kind, one.at_s) for one in said] == [
        ("no-data", VerdictKind.RAISE, due_s), ("no-data", VerdictKind.CLEAR, back_s)
    ]  # fmt: skip
