"""Selectors and assignment: which rule judges which point."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.detect.engine import Engine
from alerting.detect.rules import RuleSet
from alerting.detect.scope import Places, Scope
from alerting.detect.slots import applies, assign
from alerting.detect.verdict import VerdictKind
from fengsui.model import Point
from tests.unit.detection import T0_US, S, Sample, feed, heat, point


def placed(index: int, **fields: object) -> Point:
    """A temperature point somewhere."""
    return msgspec.structs.replace(point(index), **fields)


@pytest.mark.parametrize(
    ("scope", "fits"),
    [
        (Scope(), True),
        (Scope(zone="b1-3"), True),
        (Scope(zone=("b2-1", "b1-3")), True),
        (Scope(zone="b1-*"), True),
        (Scope(zone="*-3"), True),
        (Scope(zone="b*3"), True),
        (Scope(zone="b1"), False),
        (Scope(zone="b2-*"), False),
        (Scope(zone="B1-3"), False),
        (Scope(zone="!b1-*"), False),
        (Scope(zone="!b2-*"), True),
        (Scope(zone=("b1-*", "!b1-3")), False),
        (Scope(zone=("!b1-4", "b1-*")), True),
        (Scope(zone="b1-3", unit="u2"), False),
        (Scope(device_type="hydrant", unit="u1", building="b1"), True),
        (Scope(device_type="sprinkler"), False),
        (Scope(device="d.7"), False),
        (Scope(device="d-7", point="p0"), True),
        (Scope(point="p"), False),
    ],
)
def test_a_selector(scope: Scope, fits: bool) -> None:
    """Every part that is given must fit: exactly, by a star, or by not being taken out."""
    there = placed(0, zone="b1-3", building="b1", device="d-7", device_type="hydrant")
    assert scope.covers(there) is fits


names = st.text("ab-", max_size=4)


@given(names, names, names)
def test_a_star_stands_for_any_text(before: str, between: str, after: str) -> None:
    """``a*b`` fits whatever begins with a and ends with b, and nothing that does not."""
    scope = Scope(zone=f"{before}*{after}")
    assert scope.covers(placed(0, zone=before + between + after))
    other = before + between
    assert scope.covers(placed(0, zone=other)) == (
        len(other) >= len(before) + len(after) and other.endswith(after)
    )


scopes = st.builds(
    Scope,
    zone=st.lists(st.sampled_from(["a", "b", "a*", "!b"]), max_size=2).map(tuple),
    device_type=st.sampled_from(["", "x"]).map(lambda text: (text,) if text else ()),
)


@given(
    st.lists(scopes, max_size=6),
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xy")), max_size=8),
)
def test_a_point_has_exactly_the_rules_that_apply(chosen: list[Scope], where: list[tuple[str, str]]) -> None:
    """Whatever the selectors, each point is judged by the rules that apply to it, once, and by no other."""
    rules = [heat(name=f"r{number}", scope=scope) for number, scope in enumerate(chosen)]
    rules.append(heat(name="other", quantity="smoke", uom="%/m"))
    points = [placed(index, zone=zone, device_type=type_) for index, (zone, type_) in enumerate(where)]
    table = assign(rules, points)
    for there in points:
        judging = sorted(number for number in table[:, there.index].tolist() if number >= 0)
        assert judging == [number for number, rule in enumerate(rules) if applies(rule, there)]


def test_slots_are_as_many_as_rules_at_one_point() -> None:
    """A rule for each of many buildings costs one slot, not one for each building."""
    rules = [heat(name=f"b{number}", scope=Scope(building=f"b{number}")) for number in range(50)]
    points = [placed(index, building=f"b{index % 50}") for index in range(200)]
    table = assign(rules, points)
    assert table.shape == (1, 200)
    assert np.array_equal(table[0], np.arange(200) % 50)


def test_only_points_of_the_selector_are_judged() -> None:
    """Of two equal readings only the one inside the scope raises: nobody gets the alarm of another."""
    engine = Engine(
        RuleSet(threshold=(heat(scope=Scope(zone="a")),)),
        [placed(0, zone="a"), placed(1, zone="b")],
        now_s=0.0,
    )
    verdicts = feed(engine, [Sample(0, T0_US, 60.0), Sample(1, T0_US, 60.0)])
    assert [(v.kind, v.point) for v in verdicts] == [(VerdictKind.RAISE, 0)]


def test_limits_that_count_from_the_point_itself() -> None:
    """Relative to ``high``, each point has the limit of its own range, in verdict and reason."""
    rule = heat(above=-5.0, reset=-10.0, relative_to="high", factor=0.9)
    points = [placed(0, high=100.0), placed(1, high=200.0), placed(2)]
    engine = Engine(RuleSet(threshold=(rule,)), points, now_s=0.0)
    assert engine.unjudged() == [2]
    verdicts = feed(engine, [Sample(0, T0_US, 86.0), Sample(1, T0_US, 174.0), Sample(2, T0_US, 1e6)])
    (first,) = verdicts
    assert (first.point, first.limit, first.reset, first.rule, first.version) == (0, 85.0, 80.0, "heat", 1)
    assert "at or above 85 °C" in first.reasons[0].text_en
    (second,) = feed(engine, [Sample(1, T0_US + S, 175.0)])
    assert (second.point, second.limit) == (1, 175.0)


def test_relative_limits_survive_a_restart_and_a_changed_range() -> None:
    """State goes by rule and version, so an alarm raised under one range is cleared under the next one."""
    rules = RuleSet(threshold=(heat(above=0.0, reset=-5.0, relative_to="high"), heat(name="fixed")))
    points = [placed(0, high=50.0), placed(1, high=40.0)]
    engine = Engine(rules, points, now_s=0.0)
    assert [v.rule for v in feed(engine, [Sample(0, T0_US, 51.0)])] == ["heat"]
    again = Engine(rules, [placed(0, high=45.0), points[1]], now_s=0.0)
    again.restore(engine.state())
    assert feed(again, [Sample(0, T0_US + S, 44.0)]) == []
    (clear,) = feed(again, [Sample(0, T0_US + 2 * S, 39.0)])
    assert (clear.kind, clear.rule, clear.limit) == (VerdictKind.CLEAR, "heat", 45.0)


@given(scopes, st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xy")), max_size=8))
def test_many_points_at_once_are_judged_as_one_by_one(scope: Scope, where: list[tuple[str, str]]) -> None:
    """What a scope covers of many points is what it covers of each."""
    points = [placed(index, zone=zone, device_type=type_) for index, (zone, type_) in enumerate(where)]
    assert Places(points).covered(scope).tolist() == [scope.covers(there) for there in points]
