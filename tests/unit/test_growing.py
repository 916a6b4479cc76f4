"""A registry that grows under a running detection: as if the points had been there from the start."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from alerting.alarms.book import Book
from alerting.detect.engine import Engine
from alerting.detect.rules import RuleSet
from alerting.detect.schedule import Schedule
from fengsui.model import Point
from tests.unit.detection import T0_US, S, Sample, feed, heat, point, said
from tests.unit.test_change import steady
from tests.unit.test_detectors import assert_same_state
from tests.unit.test_drift import soiling
from tests.unit.test_flat import lively
from tests.unit.test_inventory import ClosedRow
from tests.unit.test_noise import loose
from tests.unit.test_range import bounds
from tests.unit.test_rate import rising
from tests.unit.test_season import unusual
from tests.unit.test_trend import falling

RULES = RuleSet(
    threshold=(
        heat(on_delay_s=2.0),
        heat(name="near-its-end", above=-5.0, reset=-10.0, relative_to="high", factor=0.9),
        heat(name="by-day", schedule=Schedule(utc_offset="+00:00", hours="08:00-23:00")),
        heat(name="damp", quantity="humidity", uom="%", above=5.0, reset=1.0, relative_to="low"),
    ),
    rate=(rising(),),
    change=(steady(step_s=2.0, learn_steps=10, forget_s=60.0),),
    range=(bounds(),),
    flat=(lively(for_s=5.0, factor=3.0, learn_s=10.0, min_changes=4), lively(name="rail", rail_s=5.0)),
    trend=(falling(window_minutes=10, on_delay_s=60.0, off_delay_s=120.0),),
    drift=(soiling(period_minutes=24, max_gap_s=600.0),),
    season=(unusual(on_delay_s=0.0, off_delay_s=7200.0, max_gap_s=3600.0),),
    noise=(loose(factor=None, above=1.0, window_minutes=5, off_delay_s=0.0),),
)
KINDS: list[tuple[str, str, float | None, float | None]] = [
    ("temperature", "degC", None, None), ("temperature", "degC", 0.0, 100.0),
    ("temperature", "degC", -20.0, 60.0), ("humidity", "%", 40.0, None), ("humidity", "%", 60.0, 100.0),
    ("water_pressure", "kPa", 0.0, 500.0), ("smoke", "%/m", None, None),
    ("residual_current", "mA", None, None), ("door", "1", None, None),
]  # fmt: skip
"""Quantities with and without rules and ranges: points have from no slot to six, and limits of their own."""
VALUES = np.array([20.0, 20.5, 21.0, 22.0, 45.0, 59.0, 60.0, 95.0, 300.0, -300.0, np.nan])


def of_kind(index: int, kind: int) -> Point:
    """A point of that kind."""
    quantity, uom, low, high = KINDS[kind]
    return replace(point(index, quantity, uom, gateway=f"gw-{index % 2}"), low=low, high=high)


def readings(rng: np.random.Generator, points: int, begin: int, count: int) -> list[Sample]:
    """Random readings: seconds and minutes apart, runs of calm and of anything."""
    samples = []
    at_us = T0_US + begin * S
    for _ in range(count if points else 0):
        at_us += int(rng.choice([1, 1, 1, 1, 60, 60, 600])) * S
        value = float(VALUES[rng.integers(3 if rng.random() < 0.6 else len(VALUES))])
        quality = int(rng.choice([0, 0, 0, 0, 0, 2, 4]))
        samples.append(Sample(int(rng.integers(points)), at_us, value, quality, at_us))
    return samples


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.integers(0, len(KINDS) - 1), min_size=1, max_size=7),
    st.lists(st.integers(0, 7), min_size=1, max_size=2),
    st.integers(0, 2**32 - 1),
)
def test_a_point_that_came_later_is_as_if_it_had_always_been(
    kinds: list[int], steps: list[int], seed: int
) -> None:
    """Whatever the kinds of the points before and behind: no verdict and no state differs."""
    rng = np.random.default_rng(seed)
    points = [of_kind(index, kind) for index, kind in enumerate(kinds)]
    sizes = sorted(min(step, len(points)) for step in steps)
    grown = Engine(RULES, points[: sizes[0]], now_s=0.0)
    feed_all(grown, readings(rng, sizes[0], 0, 60))
    anew = Engine(RULES, points, now_s=0.0)
    anew.restore(grown.state())
    for size in (*sizes, len(points)):
        grown.follow(points[:size], now_s=0.0)
    samples = readings(rng, len(points), 200_000, 150)
    assert feed_all(grown, samples) == feed_all(anew, samples)
    for index in range(len(points)):
        assert repr(grown.inside(index)) == repr(anew.inside(index))
    ours, theirs = Engine(RULES, points, now_s=0.0), Engine(RULES, points, now_s=0.0)
    ours.restore(grown.state())
    theirs.restore(anew.state())
    assert_same_state(ours, theirs)


def feed_all(engine: Engine, samples: list[Sample]) -> list[object]:
    """In batches of 30; what was said."""
    return [v for at in range(0, len(samples), 30) for v in said(feed(engine, samples[at : at + 30]))]


def test_growing_looks_at_no_point_that_is_known() -> None:
    """A name registered among 100,000 must not hold up their alarms."""
    points = [of_kind(index, index % len(KINDS)) for index in range(20)]
    engine, book = Engine(RULES, points[:18], now_s=0.0), Book(points[:18], RULES)
    for count in (19, 20):
        engine.follow(ClosedRow(points[:count]), now_s=1.0)
        book.follow(ClosedRow(points[:count]))
    assert engine.presence.points_of("gw-1") == 10
    assert engine.inside(18).keys() == Engine(RULES, points, now_s=0.0).inside(18).keys()


def test_a_point_that_moved_is_followed_as_well() -> None:
    """Not only what came along: another quantity has other rules, another gateway another silence."""
    points = [of_kind(0, 0), of_kind(1, 0)]
    engine = Engine(RULES, points, now_s=0.0)
    moved = [points[0], replace(of_kind(1, 3), gateway="gw-9"), of_kind(2, 0)]
    engine.follow(moved, now_s=1.0)
    assert engine.inside(1).keys() == {"damp"}
    assert [engine.presence.points_of(gateway) for gateway in ("gw-0", "gw-1", "gw-9")] == [2, 0, 1]


def test_the_silence_of_a_later_point_counts_from_its_coming() -> None:
    """A new point has as long to speak as one that was there from the start."""
    rule = next(rule for rule in RULES.silence if not rule.quantity)
    engine = Engine(RULES, [point(0, "door", "1")], now_s=0.0)
    engine.gateway_seen("gw-1", now_s=0.0, fresh=True)
    begin_s = rule.after_s / 2
    engine.follow([point(0, "door", "1"), point(1, "door", "1")], now_s=begin_s)
    engine.gateway_seen("gw-1", now_s=rule.after_s + 1, fresh=False)
    assert engine.presence.fallen_silent(rule.after_s + 1) == [0]
    engine.gateway_seen("gw-1", now_s=begin_s + rule.after_s + 1, fresh=False)
    assert engine.presence.fallen_silent(begin_s + rule.after_s + 1) == [1]
