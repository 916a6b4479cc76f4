"""Urgent limits: whatever can raise a fire is sent first, and what a gateway reads is what was derived."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.detect.engine import Engine
from alerting.detect.rules import RuleSet, Threshold
from alerting.detect.schedule import Schedule
from alerting.detect.scope import Scope
from alerting.detect.verdict import VerdictKind
from alerting.rulebook.file import default_rules
from alerting.rulebook.urgent import CLASSES, Limits, in_toml, limits
from fengsui.errors import SettingsError
from fengsui.model import AlarmClass, Point
from gateway.collect import Urgent
from gateway.config import read_urgent
from tests.unit.detection import T0_US, S, Sample, feed, heat, point

HALL = msgspec.structs.replace(point(0), low=10.0, high=80.0, zone="hall")
NIGHT = Schedule(utc_offset="+08:00", hours=("22:00-24:00", "00:00-06:00"))


def found(*rules: Threshold, at: Point = HALL) -> Limits | None:
    """The limits of one point."""
    return limits(rules, [at]).get(at.name)


def test_the_limit_that_is_reached_first_counts() -> None:
    """Of fire and pre-alarm, on each side; hours and delays make nothing less urgent."""
    early = heat(name="early", cls=AlarmClass.PREALARM, above=46.0, reset=42.0, schedule=NIGHT, on_delay_s=60)
    cold = heat(name="cold", cls=AlarmClass.PREALARM, above=None, below=-5.0, reset=0.0)
    colder = heat(name="colder", above=None, below=-20.0, reset=0.0)
    technical = heat(name="technical", cls=AlarmClass.TECHNICAL, above=30.0, reset=20.0)
    assert found(heat(), early, technical) == Limits(46.0, None)
    assert found(colder, cold, heat()) == Limits(57.0, -5.0)
    assert found(technical) is None


def test_a_rule_counts_where_it_judges() -> None:
    """Another quantity, unit or place has no part in it; a limit of the point's own is as it is there."""
    assert found(heat(uom="degF"), heat(quantity="smoke"), heat(scope=Scope(zone=("attic",)))) is None
    assert found(heat(scope=Scope(zone=("h*",)))) == Limits(57.0, None)
    own = heat(relative_to="high", factor=0.5, above=5.0, reset=0.0)
    assert found(own, heat()) == Limits(45.0, None)
    assert found(own, at=point(0)) is None


def test_the_shipped_rules() -> None:
    """Heat is urgent from its pre-alarm on, and water is no fire."""
    points = [HALL, point(1, "water_pressure", "kPa"), point(2, "smoke", "%/m")]
    expected = {"n0": Limits(46.0, None), "n2": Limits(5.0, None)}
    assert limits(default_rules().threshold, points) == expected


RULES = [
    heat(
        name=f"r{number}", cls=cls, above=limit if side > 0 else None, below=limit if side < 0 else None,
        reset=limit - 2 * side, relative_to=relative, on_delay_s=delay_s, schedule=schedule,
        scope=Scope(zone=zone),
    )
    for number, (cls, side, limit, relative, delay_s, schedule, zone) in enumerate(
        product(
            (AlarmClass.FIRE, AlarmClass.PREALARM, AlarmClass.FAULT), (1, -1), (-20.0, 10.0, 57.0),
            ("", "low", "high"), (0.0, 3.0), (None, NIGHT), ("hall", "attic"),
        )
    )
]  # fmt: skip
"""Of every class, on every side, with and without what may lie between a limit and an alarm."""


@settings(deadline=None)
@given(
    rules=st.lists(st.sampled_from(RULES), min_size=1, max_size=4, unique=True).map(tuple),
    samples=st.lists(st.tuples(st.integers(-5, 20), st.integers(-40, 150).map(float)), max_size=30),
)
def test_every_reading_that_can_raise_is_urgent(
    rules: tuple[Threshold, ...], samples: list[tuple[int, float]]
) -> None:
    """In order or late, by whichever rule: what raises a fire or a pre-alarm lies beyond an urgent limit."""
    above, below = found(*rules) or Limits(None, None)
    urgent = Urgent(above, below)
    engine = Engine(RuleSet(threshold=rules), [HALL], now_s=0.0)
    at_us = T0_US
    for step_s, value in samples:
        at_us += step_s * S
        for verdict in feed(engine, [Sample(0, at_us, value)]):
            if verdict.kind is not VerdictKind.CLEAR and verdict.cls in CLASSES:
                assert urgent.holds(value), verdict


def test_a_gateway_reads_what_was_derived(tmp_path: Path) -> None:
    """Names of any script and limits of any size come back as they were."""
    derived = {'b1:"温度"\\': Limits(46.0, None), "p": Limits(None, -1e-7), "q": Limits(1e22, 0.1 + 0.2)}
    path = tmp_path / "urgent.toml"
    path.write_text(in_toml(derived), encoding="utf-8")
    assert {
        name: Limits(*msgspec.structs.astuple(urgent)) for name, urgent in read_urgent(path).items()
    } == derived


def test_a_file_that_holds_something_else_is_refused(tmp_path: Path) -> None:
    """A missing file names the verb that makes it, a slip of the pen the key."""
    path = tmp_path / "urgent.toml"
    with pytest.raises(SettingsError, match="no such file; `fengsui rules urgent`"):
        read_urgent(path)
    path.write_text("[points.a]\nurgent_abov = 3.0\n")
    with pytest.raises(
        SettingsError, match=r"unknown key `points\.\*\.urgent_abov`; did you mean `urgent_above`"
    ):
        read_urgent(path)
