"""Out of physical range: what a sensor cannot have measured is a fault of it, once it lasts."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from alerting.detect.engine import Engine
from alerting.detect.rules import Range, RuleError, RuleSet
from fengsui.model import AlarmClass, Point, Quality
from tests.unit.detection import T0_US, S, Sample, feed, point, said

GOOD, OUT = Quality.GOOD, Quality.OUT_OF_RANGE


def bounds(**changes: object) -> Range:
    """A fault rule: temperatures are between -60 and 1300 degC."""
    fields: dict[str, object] = {
        "name": "range", "version": 1, "cls": AlarmClass.FAULT, "quantity": "temperature", "uom": "degC",
        "severity": 2, "low": -60.0, "high": 1300.0, "label_en": "Temperature",
    }  # fmt: skip
    return Range(**(fields | changes))  # type: ignore[arg-type]  # the tests say what they change


def told(readings: list[tuple[float, Quality]], at: Point | None = None) -> list[str]:
    """What the rule says of readings at 5 s, as text like ``raise@10``."""
    engine = Engine(RuleSet(range=(bounds(),)), [at or point(0)], now_s=0.0)
    samples = [Sample(0, T0_US + i * 5 * S, x, quality) for i, (x, quality) in enumerate(readings)]
    return [f"{v.kind}@{(v.at_us - T0_US) // S}" for v in said(feed(engine, samples))]


@pytest.mark.parametrize("value", [-127.0, 1372.0])
def test_impossible_for_long_enough(value: float) -> None:
    """A value that no room has, for 10 s, is a fault; back inside for a minute it is none any more."""
    readings = [(20.0, GOOD)] * 2 + [(value, GOOD)] * 4 + [(20.0, GOOD)] * 20
    assert told(readings) == ["raise@20", "clear@90"]


def test_one_wild_value_is_no_fault() -> None:
    """What does not last says nothing."""
    assert told([(20.0, GOOD), (-127.0, GOOD), (20.0, GOOD)] * 20) == []


def test_the_registered_range_of_a_point_narrows_it() -> None:
    """A sensor built for -20 to 120 degC cannot have measured 200."""
    narrow = replace(point(0), low=-20.0, high=120.0)
    assert told([(200.0, GOOD)] * 4, narrow) == ["raise@10"]
    assert told([(200.0, GOOD)] * 4) == []


def test_what_its_source_disowns_is_out_of_range() -> None:
    """Quality *out of range* counts whatever the value, and its end is no sooner believed."""
    assert told([(50.0, OUT)] * 4 + [(50.0, GOOD)] * 13) == ["raise@10", "clear@80"]


def test_a_point_without_a_rule_is_left_alone() -> None:
    """Quality *out of range* of a point in another unit of measure says nothing here."""
    assert told([(50.0, OUT)] * 4, point(0, uom="K")) == []


@pytest.mark.parametrize(
    ("reading", "words"),
    [
        ((-127.0, GOOD), "Temperature -127 °C is below all it can be (-60 °C)"),
        ((1372.0, GOOD), "Temperature 1372 °C is above all it can be (1300 °C)"),
        ((50.0, OUT), "Temperature 50 °C is out of range, says its source"),
    ],
)
def test_the_reason_in_words(reading: tuple[float, Quality], words: str) -> None:
    """An officer reads the value and the end it is beyond."""
    engine = Engine(RuleSet(range=(bounds(on_delay_s=0.0),)), [point(0)], now_s=0.0)
    (verdict,) = feed(engine, [Sample(0, T0_US, *reading)])
    assert verdict.reasons[0].text_en == words
    assert "temperature" in verdict.reasons[0].text_zh


@pytest.mark.parametrize("changes", [{"low": 1300.0}, {"high": float("inf")}, {"off_delay_s": -1.0}])
def test_a_rule_that_makes_no_sense_is_refused(changes: dict[str, object]) -> None:
    """A range that holds nothing names itself."""
    with pytest.raises(RuleError, match="rule range: "):
        bounds(**changes)
