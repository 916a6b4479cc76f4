"""What every detector must pass, whatever it judges: one suite over all kinds of rules, through the engine.

A new kind of rule adds a :class:`Case` to ``CASES``: a rule, and a course of values that raises it once and
then clears it. The suite then cuts, shuffles, repeats, breaks and restores that course, and random ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from numpy.typing import NDArray

from alerting.detect.engine import ActiveRule, Engine
from alerting.detect.rules import RuleSet
from alerting.detect.schedule import Schedule
from alerting.detect.verdict import VerdictKind
from fengsui.model import Point, Quality
from tests.unit.detection import T0_US, S, Said, Sample, feed, heat, point, said
from tests.unit.test_change import steady
from tests.unit.test_drift import soiling
from tests.unit.test_flat import lively
from tests.unit.test_noise import loose
from tests.unit.test_range import bounds
from tests.unit.test_rate import rising
from tests.unit.test_season import unusual
from tests.unit.test_trend import falling

NAN = float("nan")
POINTS = 3
COLUMNS = {
    "point": np.int32, "at_us": np.int64, "value": np.float64, "quality": np.uint8,
    "received_at_us": np.int64, "age_us": np.int64,
}  # fmt: skip
"""What the engine is given, in its order."""


@dataclass(frozen=True)
class Case:
    """One kind of rule under test.

    Attributes:
        name: Kind, and the variant if there are several.
        rules: What to judge by; small delays and windows.
        calm: Values that never raise, at one reading per second.
        raises: Values that follow them and raise exactly once.
        clears: Values that follow those and clear it.
        point: A registered point that the rule applies to.
        step_s: Time between two readings of the course.
    """

    name: str
    rules: RuleSet
    calm: Sequence[float]
    raises: Sequence[float]
    clears: Sequence[float]
    point: Callable[[int], Point] = point
    step_s: float = 1.0

    def engine(self, points: int = POINTS) -> Engine:
        """An engine with the rule at every point."""
        return Engine(self.rules, [self.point(i) for i in range(points)], now_s=0.0)

    def course(self, values: Sequence[float], *, index: int = 0, start: int = 0) -> list[Sample]:
        """Readings of one point, evenly spaced."""
        begin_us, step_us = T0_US + index, round(self.step_s * S)
        return [
            Sample(index, begin_us + (start + i) * step_us, x, received_at_us=T0_US + (start + i) * step_us)
            for i, x in enumerate(values)
        ]

    @property
    def whole(self) -> list[float]:
        """The course from calm over raised to cleared."""
        return [*self.calm, *self.raises, *self.clears]


CASES = [
    Case(
        "threshold",
        RuleSet(threshold=(heat(on_delay_s=2.0, off_delay_s=3.0),)),
        calm=[20.0] * 10,
        raises=[60.0] * 5,
        clears=[20.0] * 6,
    ),
    Case(
        "rate",
        RuleSet(rate=(rising(off_delay_s=3.0),)),
        calm=[20.0, 20.1] * 20,
        raises=[20.0 + 0.5 * i for i in range(25)],
        clears=[20.0] * 6,
    ),
    Case(
        "change",
        RuleSet(change=(steady(step_s=2.0, learn_steps=10, forget_s=60.0),)),
        calm=[20.0, 20.5, 20.25, 20.0] * 8,
        raises=[30.0] * 14,
        clears=[20.0] * 24,
    ),
    Case(
        "range",
        RuleSet(range=(bounds(on_delay_s=2.0, off_delay_s=3.0),)),
        calm=[20.0] * 10,
        raises=[-300.0] * 5,
        clears=[20.0] * 6,
    ),
    Case(
        "flat",
        RuleSet(flat=(lively(for_s=5.0, factor=3.0, learn_s=10.0, min_changes=4, off_delay_s=3.0),)),
        calm=[20.0, 20.5] * 6,
        raises=[20.25] * 8,
        clears=[20.5, 20.0] * 3,
    ),
    Case(
        "flat at a rail",
        RuleSet(flat=(lively(rail_s=5.0, off_delay_s=3.0),)),
        calm=[20.0, 20.5] * 6,
        raises=[100.0] * 8,
        clears=[20.5, 20.0] * 3,
        point=lambda index: replace(point(index), low=0.0, high=100.0),
    ),
    Case(
        "trend",
        RuleSet(trend=(falling(window_minutes=10, on_delay_s=60.0, off_delay_s=120.0),)),
        calm=[300.0, 301.0] * 8,
        raises=[296.0 - 4.0 * i for i in range(15)],
        clears=[240.0] * 16,
        point=lambda index: point(index, "water_pressure", "kPa"),
        step_s=60.0,
    ),
    Case(
        "drift",
        RuleSet(drift=(soiling(period_minutes=24, max_gap_s=600.0),)),
        calm=[0.25, 0.5] * 50,
        raises=[3.0] * 80,
        clears=[0.25] * 80,
        point=lambda index: point(index, "smoke", "%/m"),
        step_s=120.0,
    ),
    Case(
        "season",
        RuleSet(season=(unusual(on_delay_s=0.0, off_delay_s=7200.0, max_gap_s=3600.0),)),
        calm=[20.0, 21.0] * 169,
        raises=[60.0] * 4,
        clears=[20.0] * 6,
        point=lambda index: point(index, "residual_current", "mA"),
        step_s=3600.0,
    ),
    Case(
        "noise",
        RuleSet(noise=(loose(factor=None, above=1.0, window_minutes=5, off_delay_s=0.0),)),
        calm=[22.0, 22.125] * 20,
        raises=[22.0, 26.0] * 36,
        clears=[22.0] * 120,
        step_s=5.0,
    ),
]
every_case = pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])


def verdicts(engine: Engine, samples: Sequence[Sample], cuts: Sequence[int] = ()) -> list[Said]:
    """What is said of the samples when they come in batches cut at these places."""
    bounds = [0, *sorted(cuts), len(samples)]
    return [v for start, end in pairwise(bounds) for v in said(feed(engine, samples[start:end]))]


def interleaved(*courses: Sequence[Sample]) -> list[Sample]:
    """Several points' readings in order of time."""
    return sorted((sample for course in courses for sample in course), key=lambda sample: sample.at_us)


def assert_same_state(a: Engine, b: Engine) -> None:
    """Two engines know the same, to 1e-6."""
    ours, theirs = a.state(), b.state()
    assert set(ours) == set(theirs)
    for name, array in ours.items():
        if array.dtype.kind == "f":
            assert np.allclose(array, theirs[name], rtol=1e-6, atol=1e-6, equal_nan=True), name
        else:
            assert np.array_equal(array, theirs[name]), name


@every_case
def test_the_course_raises_once_and_clears_once(case: Case) -> None:
    """A case tests something: its values raise and then clear, and calm alone says nothing."""
    assert said(feed(case.engine(), case.course(case.calm))) == []
    kinds = [v.kind for v in said(feed(case.engine(), case.course(case.whole)))]
    assert kinds == [VerdictKind.RAISE, VerdictKind.CLEAR]


@every_case
def test_one_by_one_is_all_at_once(case: Case) -> None:
    """Many readings of a point in one batch say what they say one by one."""
    samples = interleaved(*(case.course(case.whole, index=i, start=7 * i) for i in range(POINTS)))
    whole, single = case.engine(), case.engine()
    assert verdicts(single, samples, range(1, len(samples))) == verdicts(whole, samples)
    assert_same_state(single, whole)


@every_case
def test_the_order_between_points_does_not_matter(case: Case) -> None:
    """Two lanes interleave as they like: what one point says does not depend on when the others arrive."""
    courses = [case.course(case.whole, index=i) for i in range(POINTS)]
    together = verdicts(case.engine(), interleaved(*courses))
    apart = verdicts(case.engine(), [sample for course in courses[::-1] for sample in course])
    assert sorted(together) == sorted(apart)
    assert len(together) == 2 * POINTS


@every_case
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_restored_in_the_middle_is_as_if_unbroken(case: Case, part: float) -> None:
    """Replay is live: state saved and restored between two batches changes no verdict and no state."""
    samples = interleaved(*(case.course(case.whole, index=i, start=5 * i) for i in range(POINTS)))
    cut = round(part * len(samples))
    unbroken, restored = case.engine(), case.engine(POINTS + 1)
    feed(unbroken, samples[:cut])
    restored.restore(unbroken.state())
    assert said(feed(restored, samples[cut:])) == said(feed(unbroken, samples[cut:]))
    again = case.engine(POINTS + 1)
    again.restore(unbroken.state())
    assert_same_state(again, restored)


@pytest.mark.parametrize("part", ["threshold", "rate", "range", "flat", "slow", "slow.noise", "gate"])
def test_a_snapshot_from_before_a_kind_of_rule_gives_the_others_their_state(part: str) -> None:
    """The younger kind begins anew, and everything else goes on as it was."""
    rules = RuleSet(
        threshold=(heat(on_delay_s=30.0, schedule=Schedule(utc_offset="+00:00", hours="00:00-24:00")),),
        rate=(rising(),),
        range=(bounds(),),
        flat=(lively(),),
        trend=(falling(quantity="temperature", uom="degC"),),
        noise=(loose(),),
    )

    def engine() -> Engine:
        return Engine(rules, [point(0)], now_s=0.0)

    old, young, fresh = engine(), engine(), engine().state()
    values = [*(20.0 + i % 3 for i in range(30)), *[60.0] * 5, 5000.0]
    feed(old, [Sample(0, T0_US + i * 10 * S, value) for i, value in enumerate(values)])
    kept = old.state()
    changed = [name for name in fresh if kept[name].tobytes() != fresh[name].tobytes()]
    assert any(name.startswith(f"real.{part}.") for name in changed)
    young.restore({name: array for name, array in kept.items() if not name.startswith(f"real.{part}.")})
    for name, array in young.state().items():
        expected = fresh if name.startswith(f"real.{part}.") else kept
        np.testing.assert_array_equal(array, expected[name], err_msg=name)


def test_what_is_no_snapshot_is_refused() -> None:
    """Nothing at all is no older snapshot, and neither is a detector that has lost an array."""
    with pytest.raises(KeyError):
        CASES[0].engine().restore({})
    state = CASES[0].engine().state()
    del state["real.threshold.since_us"]
    with pytest.raises(KeyError):
        CASES[0].engine().restore(state)


@every_case
def test_a_grown_registry_keeps_the_state(case: Case) -> None:
    """A point added in the middle of a course changes nothing for the others, and is judged itself."""
    samples = case.course(case.whole)
    cut = len(case.calm) + len(case.raises) // 2
    expected = said(feed(case.engine(1), samples))
    engine = case.engine(1)
    found = said(feed(engine, samples[:cut]))
    engine.follow([case.point(i) for i in range(2)], now_s=1.0)
    assert found + said(feed(engine, samples[cut:])) == expected
    assert len(said(feed(engine, case.course(case.whole, index=1)))) == 2


@every_case
def test_no_argument_is_changed(case: Case) -> None:
    """The arrays given to the engine are read-only to it."""
    samples = case.course([*case.whole, NAN])
    arrays: list[NDArray[np.generic]] = []
    for name, dtype in COLUMNS.items():
        array = np.array([getattr(sample, name) for sample in samples], dtype)
        array.setflags(write=False)
        arrays.append(array)
    assert len(case.engine().update(*arrays, now_s=0.0)) == 2  # type: ignore[arg-type]  # dtypes as above


@every_case
def test_duplicates_say_nothing_new(case: Case) -> None:
    """Every reading delivered twice raises and clears as often as delivered once."""
    samples = case.course(case.whole)
    twice = [sample for sample in samples for _ in range(2)]
    expected = said(feed(case.engine(), samples))
    assert [v for v in said(feed(case.engine(), twice)) if v.kind is not VerdictKind.PAST] == expected


@every_case
def test_late_readings_change_nothing(case: Case) -> None:
    """The whole course once more, late and in the middle of itself, neither raises, clears nor teaches."""
    samples = case.course(case.whole)
    expected, engine = said(feed(case.engine(), samples)), case.engine()
    cut = len(case.calm) + len(case.raises) // 2
    received = samples[cut - 1].received_at_us
    late = [s._replace(received_at_us=received, age_us=received - s.at_us) for s in samples[:cut]]
    found = said(feed(engine, samples[:cut]))
    assert {v.kind for v in said(feed(engine, late))} <= {VerdictKind.PAST}
    assert found + said(feed(engine, samples[cut:])) == expected


@every_case
@pytest.mark.parametrize("value", [NAN, float("inf"), 1e300])
def test_what_is_invalid_neither_raises_nor_clears(case: Case, value: float) -> None:
    """NaN, infinite and *bad* readings say nothing, however long they come."""
    quality = Quality.GOOD if value != 1e300 else Quality.BAD
    raised = [*case.calm, *case.raises]
    missing = [s._replace(quality=quality) for s in case.course([value] * 500, start=len(raised))]
    engine = case.engine()
    assert [v.kind for v in said(feed(engine, case.course(raised)))] == [VerdictKind.RAISE]
    assert said(feed(engine, missing)) == []
    only = case.engine()
    assert said(feed(only, [s._replace(quality=quality) for s in case.course([value] * 500)])) == []


@every_case
@pytest.mark.parametrize("gap_s", [3_600, 30 * 86_400])
def test_a_gap_alone_says_nothing(case: Case, gap_s: int) -> None:
    """Silence is another rule's business: the same calm value after an hour or a month says nothing."""
    engine = case.engine()
    last = case.calm[-1]
    feed(engine, case.course(case.calm))
    later = [Sample(0, T0_US + (gap_s + 1000 + i) * S, last, received_at_us=T0_US) for i in range(3)]
    assert said(feed(engine, later)) == []


@every_case
def test_a_clock_step_does_not_end_detection(case: Case) -> None:
    """After a stamp of the day after tomorrow the course of today is judged as ever."""
    ahead = Sample(0, T0_US + 2 * 86_400 * S, case.calm[0], received_at_us=T0_US - S)
    engine = case.engine()
    assert said(feed(engine, [ahead])) == []
    expected = said(feed(case.engine(), case.course(case.whole)))
    assert said(feed(engine, case.course(case.whole))) == expected


@every_case
def test_simulated_readings_stay_apart(case: Case) -> None:
    """A simulated course neither raises nor clears nor teaches what is real."""
    real = case.course(case.whole)
    test = [s._replace(quality=Quality.SIMULATED, at_us=s.at_us + 1) for s in case.course(case.whole[::-1])]
    expected = said(feed(case.engine(), real))
    found = said(feed(case.engine(), interleaved(real, test)))
    assert [v for v in found if not v.test] == expected


@every_case
def test_a_changed_version_starts_afresh(case: Case) -> None:
    """State belongs to a rule in a version: a new one learns and raises by itself."""
    newer = {
        kind: tuple(replace(rule, version=2) for rule in getattr(case.rules, kind))
        for kind in case.rules.__struct_fields__
        if kind not in ("silence", "offline")
    }
    old, engine = case.engine(1), Engine(replace(case.rules, **newer), [case.point(0)], now_s=0.0)
    raised = [*case.calm, *case.raises]
    feed(old, case.course(raised))
    engine.restore(old.state())
    assert [v.kind for v in said(feed(engine, case.course(case.whole, start=len(raised))))] == [
        VerdictKind.RAISE, VerdictKind.CLEAR,
    ]  # fmt: skip


@every_case
def test_a_raised_rule_survives_in_the_book_alone(case: Case) -> None:
    """What the alarm book holds active is cleared by what would clear it, even with all other state lost."""
    engine = case.engine(1)
    rule = case.rules.about_readings()[0].name
    engine.assume([ActiveRule(rule, 0, "", False)])
    normal = [*case.calm, *case.clears]
    assert [v.kind for v in said(feed(engine, case.course(normal)))] == [VerdictKind.CLEAR]


@every_case
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_stream_cut_anywhere_says_the_same(case: Case, data: st.DataObject) -> None:
    """Random streams with gaps, steps, breaks and late readings: a cut or a restore changes nothing."""
    values = sorted(set(case.whole))
    row = st.builds(
        lambda p, value, quality, skew: (p, value, quality, skew),
        st.integers(0, POINTS - 1),
        st.sampled_from([*values, NAN]),
        st.sampled_from([0, 0, 0, 0, 0, 0, 1, 2, 3, 4]),
        st.sampled_from([1, 1, 1, 1, 1, 0, -3, 40, 500, -4000]),
    )
    at_us, samples = T0_US, case.course(case.calm) if data.draw(st.booleans()) else []
    at_us += len(samples) * round(case.step_s * S)
    received = at_us
    for p, value, quality, skew in data.draw(st.lists(row, max_size=80)):
        at_us += round(skew * case.step_s * S)
        received += S
        samples.append(Sample(p, at_us, value, quality, received))
    cuts = data.draw(st.lists(st.integers(0, len(samples)), max_size=4))
    whole, parts = case.engine(), case.engine()
    expected = verdicts(whole, samples)
    assert verdicts(parts, samples, cuts) == expected
    assert_same_state(parts, whole)
    cut = data.draw(st.integers(0, len(samples)))
    before, after = case.engine(), case.engine()
    found = said(feed(before, samples[:cut]))
    after.restore(before.state())
    assert found + said(feed(after, samples[cut:])) == expected
