"""Flat line: a sensor that stopped changing is found, one that is calm by nature is left alone."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from msgspec.structs import replace

from alerting.detect.engine import Engine
from alerting.detect.rules import Flat, RuleError, RuleSet
from fengsui.model import AlarmClass, Point
from tests.unit.detection import T0_US, S, Sample, feed, point, said

DAY_S, HOUR_S = 86_400, 3_600
NAN = float("nan")


def lively(**changes: object) -> Flat:
    """A fault rule: two hours the same, and five times the longest learned in a day."""
    fields: dict[str, object] = {
        "name": "flat", "version": 1, "cls": AlarmClass.FAULT, "quantity": "temperature", "uom": "degC",
        "severity": 2, "label_en": "Temperature",
    }  # fmt: skip
    return Flat(**(fields | changes))  # type: ignore[arg-type]  # the tests say what they change


def told(
    values: Iterable[float], *, rule: Flat | None = None, at: Point | None = None
) -> list[tuple[str, float]]:
    """What the rule says of a reading a minute: kind and hours since the first."""
    engine = Engine(RuleSet(flat=(rule or lively(),)), [at or point(0)], now_s=0.0)
    samples = [Sample(0, T0_US + i * 60 * S, x) for i, x in enumerate(values)]
    return [(v.kind.value, (v.at_us - T0_US) / S / HOUR_S) for v in said(feed(engine, samples))]


def living(hours: float, *, longest_min: int = 10) -> list[float]:
    """A quantised value that stays the same for up to so many minutes."""
    draw = np.random.default_rng(11)
    values: list[float] = []
    while len(values) < hours * 60:
        values += [20.0 + float(draw.integers(1, 100)) / 8 + len(values)] * int(
            draw.integers(1, longest_min + 1)
        )
    return values[: round(hours * 60)]


def test_a_lively_sensor_that_stops_is_found_and_clears_when_it_moves() -> None:
    """After a day of learning, two hours without a change are a fault; moving for a minute ends it."""
    values = [*living(25), *[5.0] * 180, *living(1)]
    (raised, at_h), (cleared, back_h) = told(values)
    assert (raised, cleared) == ("raise", "clear")
    assert at_h == pytest.approx(27.0)
    assert back_h == pytest.approx(28.0, abs=0.1)


def test_a_sensor_that_is_calm_by_nature_is_left_alone() -> None:
    """Where stretches of an hour are ordinary, four hours say nothing and six do."""
    calm = living(48, longest_min=60)
    assert told([*calm, *[5.0] * 240]) == []
    assert [kind for kind, _ in told([*calm, *[5.0] * 360])] == ["raise"]


def test_a_value_that_hardly_ever_changes_is_never_stuck() -> None:
    """A tank that is full for weeks says nothing, whether it changed once or never."""
    assert told([3.0] * 60 * 24 * 3) == []
    assert told([*living(1)[:20], *[3.0] * 60 * 24 * 3]) == []


def test_nothing_is_said_before_a_day_is_over() -> None:
    """A night is calmer than the afternoon in which a sensor was put up."""
    assert told([*living(6), *[5.0] * 600]) == []


def test_a_break_begins_a_stretch_of_unknown_length() -> None:
    """Whether a value stayed while something invalid came is unknown: nothing is said or cleared."""
    assert told([*living(25), *[5.0] * 100, NAN, *[5.0] * 100]) == []
    kinds = told([*living(25), *[5.0] * 130, NAN, *[5.0] * 60])
    assert [kind for kind, _ in kinds] == ["raise"]


def test_a_stretch_that_was_called_stuck_is_not_learned() -> None:
    """The second failure is found as soon as the first."""
    once = [*[5.0] * 180, *living(1)]
    found = told([*living(25), *once, *once])
    assert [kind for kind, _ in found] == ["raise", "clear"] * 2
    assert found[2][1] - found[0][1] == pytest.approx(4.0, abs=0.2)


def test_stuck_at_a_rail_needs_no_learning() -> None:
    """At the end of its registered range, to the bit, for ten minutes."""
    measured = replace(point(0), low=0.0, high=100.0)
    rule = lively(rail_s=600.0)
    assert told([20.0, 21.0, *[100.0] * 12], rule=rule, at=measured) == [("raise", 0.2)]
    assert told([20.0, 21.0, *[99.0] * 60], rule=rule, at=measured) == []
    assert told([20.0, 21.0, *[100.0] * 60], rule=rule) == []


def test_the_reason_in_words() -> None:
    """An officer reads for how long, and what would be ordinary."""
    engine = Engine(RuleSet(flat=(lively(),)), [point(0)], now_s=0.0)
    values = [*living(25), *[5.0] * 121]
    (verdict,) = feed(engine, [Sample(0, T0_US + i * 60 * S, x) for i, x in enumerate(values)])
    assert verdict.reasons[0].text_en == "Temperature has not changed for 2 h, more than 2 h: stuck"
    assert "2 小时没有任何变化" in verdict.reasons[0].text_zh


@pytest.mark.parametrize(
    "changes", [{"for_s": 0.0}, {"factor": 1.0}, {"learn_s": NAN}, {"min_changes": 1}, {"rail_s": -1.0}]
)
def test_a_rule_that_makes_no_sense_is_refused(changes: dict[str, object]) -> None:
    """A rule that would call every quiet sensor stuck names itself."""
    with pytest.raises(RuleError, match="rule flat: "):
        lively(**changes)
