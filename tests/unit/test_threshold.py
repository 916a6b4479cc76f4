"""Thresholds: hysteresis, delays, late and missing readings, and that batching changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.detect.engine import Engine
from alerting.detect.rules import RuleSet, Threshold
from alerting.detect.verdict import VerdictKind
from fengsui.model import AlarmClass, Quality
from tests.unit.detection import T0_US, Model, S, Said, Sample, feed, heat, point, said

RAISE, CLEAR, PAST = VerdictKind.RAISE, VerdictKind.CLEAR, VerdictKind.PAST
NAN = float("nan")


def engine_of(*rules: Threshold, points: int = 1) -> Engine:
    """An engine with these rules over temperature points."""
    return Engine(RuleSet(threshold=rules), [point(i) for i in range(points)], now_s=0.0)


def kinds(engine: Engine, values: list[float], *, step_us: int = S, start_us: int = T0_US) -> list[str]:
    """What a series of one point makes the engine say, as text like ``raise@2``."""
    samples = [Sample(0, start_us + i * step_us, x) for i, x in enumerate(values)]
    return [f"{v.kind}@{(v.at_us - start_us) // step_us}" for v in said(feed(engine, samples))]


def test_hysteresis() -> None:
    """An alarm holds between reset and limit, and a value at the limit is an alarm."""
    assert kinds(engine_of(heat()), [20, 57, 55, 50, 49.9, 56, 58]) == ["raise@1", "clear@4", "raise@6"]


def test_below() -> None:
    """A rule with ``below`` is the mirror image."""
    rule = heat(above=None, below=140.0, reset=160.0, cls=AlarmClass.SUPERVISORY)
    assert kinds(engine_of(rule), [300, 140, 150, 160, 161]) == ["raise@1", "clear@4"]


def test_on_delay_counts_event_time_and_one_normal_value_restarts_it() -> None:
    """The limit must be passed for the whole delay, by the readings' own clock."""
    rule = heat(on_delay_s=3.0)
    assert kinds(engine_of(rule), [60, 60, 20, 60, 60, 60, 60]) == ["raise@6"]
    assert kinds(engine_of(rule), [60, 60], step_us=3 * S) == ["raise@1"]


def test_off_delay() -> None:
    """Normal must last for the whole delay too."""
    rule = heat(off_delay_s=2.0)
    assert kinds(engine_of(rule), [60, 20, 20, 55, 20, 20, 20]) == ["raise@0", "clear@6"]


def test_an_hour_old_single_high_reading_does_not_satisfy_a_delay() -> None:
    """What was not measured did not last: a gap restarts a running delay."""
    rule = heat(on_delay_s=30.0, max_gap_s=60.0)
    assert kinds(engine_of(rule), [60, 60], step_us=3600 * S) == []


@pytest.mark.parametrize(
    "missing", [Sample(0, T0_US + S, NAN), Sample(0, T0_US + S, 20.0, Quality.BAD)], ids=["nan", "bad"]
)
def test_missing_is_not_normal(missing: Sample) -> None:
    """A missing reading neither clears an alarm nor breaks a running delay."""
    assert said(feed(engine_of(heat()), [Sample(0, T0_US, 60.0), missing]))[1:] == []
    verdicts = feed(
        engine_of(heat(on_delay_s=2.0)), [Sample(0, T0_US, 60.0), missing, Sample(0, T0_US + 2 * S, 60.0)]
    )
    assert [v.kind for v in verdicts] == [RAISE]


def test_infinite_is_missing() -> None:
    """An infinite value from whatever source is no reading."""
    assert feed(engine_of(heat()), [Sample(0, T0_US, float("inf"))]) == []


def test_out_of_range_raises_and_never_clears() -> None:
    """A value beyond what the sensor can measure may be a fire; it never proves that all is well."""
    samples = [
        Sample(0, T0_US, 400.0, Quality.OUT_OF_RANGE),
        Sample(0, T0_US + S, -273.0, Quality.OUT_OF_RANGE),
        Sample(0, T0_US + 2 * S, 20.0),
    ]
    assert [(v.kind, v.at_us) for v in feed(engine_of(heat()), samples)] == [
        (RAISE, T0_US), (CLEAR, T0_US + 2 * S),
    ]  # fmt: skip


def test_late_reading_is_judged_by_the_limit_alone() -> None:
    """A reading not newer than the newest says what was, and touches neither delay nor state."""
    engine = engine_of(heat(on_delay_s=5.0))
    feed(engine, [Sample(0, T0_US + 10 * S, 20.0)])
    late = feed(engine, [Sample(0, T0_US + 10 * S, 60.0), Sample(0, T0_US, 60.0), Sample(0, T0_US + S, 20.0)])
    assert [(v.kind, v.at_us) for v in late] == [(PAST, T0_US + 10 * S), (PAST, T0_US)]
    assert feed(engine, [Sample(0, T0_US + 11 * S, 60.0)]) == []


def test_a_stamp_from_the_future_does_not_make_all_later_readings_late() -> None:
    """When a source's clock falls back, its readings go on being judged in full."""
    engine = engine_of(heat())
    ahead = 2 * 86_400 * S
    samples = [
        Sample(0, T0_US + ahead, 20.0, received_at_us=T0_US),
        Sample(0, T0_US + S, 60.0, received_at_us=T0_US + S),
        Sample(0, T0_US + 2 * S, 20.0, received_at_us=T0_US + 2 * S),
    ]
    assert [v.kind for v in feed(engine, samples)] == [RAISE, CLEAR]


def test_backlog_is_late_although_it_arrives_later() -> None:
    """A record that the gateway held is no clock step: its age says when it was taken."""
    engine = engine_of(heat())
    feed(engine, [Sample(0, T0_US + 900 * S, 20.0, received_at_us=T0_US + 900 * S)])
    held = Sample(0, T0_US, 60.0, received_at_us=T0_US + 901 * S, age_us=901 * S)
    assert [v.kind for v in feed(engine, [held])] == [PAST]


def test_simulated_readings_neither_clear_nor_hide_a_real_fire() -> None:
    """Quality 4 is judged apart; its verdicts are marked."""
    engine = engine_of(heat())
    test = Quality.SIMULATED
    samples = [
        Sample(0, T0_US, 60.0, test), Sample(0, T0_US + S, 60.0), Sample(0, T0_US + 2 * S, 20.0, test),
    ]  # fmt: skip
    verdicts = feed(engine, samples)
    assert [(v.kind, v.test) for v in verdicts] == [(RAISE, True), (RAISE, False), (CLEAR, True)]


def test_long_constant_stream_says_nothing_more() -> None:
    """A constant value raises once and never again."""
    engine = engine_of(heat())
    assert kinds(engine, [60.0] * 5000) == ["raise@0"]
    assert kinds(engine, [60.0] * 5000, start_us=T0_US + 5000 * S) == []


def test_no_argument_is_changed() -> None:
    """The arrays given to the engine are read-only to it."""
    arrays = (
        np.zeros(2, np.int32), np.array([T0_US, T0_US + S]), np.array([60.0, NAN]), np.zeros(2, np.uint8),
        np.full(2, T0_US), np.zeros(2, np.int64),
    )  # fmt: skip
    for array in arrays:
        array.setflags(write=False)
    assert len(engine_of(heat()).update(*arrays, now_s=0.0)) == 1


def test_a_verdict_carries_its_reason() -> None:
    """Rule, version, value, limit, window and a sentence in both languages go with the alarm."""
    (verdict,) = feed(engine_of(heat(label_en="Temperature", label_zh="温度")), [Sample(0, T0_US, 61.25)])
    assert (verdict.rule, verdict.version, verdict.value, verdict.limit, verdict.reset) == (
        "heat", 1, 61.25, 57.0, 50.0,
    )  # fmt: skip
    (reason,) = verdict.reasons
    assert reason.text_en == "Temperature 61.25 °C at or above 57 °C"
    assert "温度" in reason.text_zh


def test_a_point_in_another_unit_of_measure_is_reported_and_not_judged() -> None:
    """A rule in degC says nothing about a point in K, and somebody is told."""
    engine = Engine(RuleSet(threshold=(heat(),)), [point(0), point(1, uom="K")], now_s=0.0)
    assert engine.unjudged() == [1]
    assert feed(engine, [Sample(1, T0_US, 400.0)]) == []


RULES = (
    heat(),
    heat(
        name="pre", cls=AlarmClass.PREALARM, above=40.0, reset=35.0, on_delay_s=2.0, off_delay_s=3.0,
        max_gap_s=5.0,
    ),
    heat(name="frost", cls=AlarmClass.SUPERVISORY, above=None, below=5.0, reset=8.0, off_delay_s=1.0),
)  # fmt: skip

samples = st.builds(
    lambda p, at, skew, value, quality, held: Sample(
        p, T0_US + (at + skew) * S // 2, value, quality, T0_US + (at + held) * S // 2, held * S // 2
    ),
    st.integers(0, 2),
    st.integers(0, 60) | st.just(10_000),
    st.sampled_from([0, 0, 0, 0, -300, 300]),
    st.sampled_from([0.0, 5.0, 7.0, 20.0, 37.0, 45.0, 52.0, 57.0, 80.0, NAN]),
    st.sampled_from([0, 0, 0, 0, 1, 2, 3, 4]),
    st.sampled_from([0, 0, 1, 500]),
)


@settings(max_examples=300, deadline=None)
@given(stream=st.lists(samples, max_size=60), data=st.data())
def test_any_split_into_batches_says_what_the_plain_model_says(
    stream: list[Sample], data: st.DataObject
) -> None:
    """However a stream is cut, the verdicts are those of judging one reading after the other."""
    points = [point(i) for i in range(3)]
    model = Model(RULES, points)
    expected = [verdict for sample in stream for verdict in model.feed(sample)]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    engine = Engine(RuleSet(threshold=RULES), points, now_s=0.0)
    found: list[Said] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += said(feed(engine, stream[start:end]))
    whole = Engine(RuleSet(threshold=RULES), points, now_s=0.0)
    assert found == expected
    assert said(feed(whole, stream)) == expected
    for name, array in whole.state().items():
        assert np.array_equal(array, engine.state()[name]), name


@settings(max_examples=100, deadline=None)
@given(stream=st.lists(samples, max_size=60), cut=st.integers(0, 60))
def test_state_restored_in_the_middle_goes_on_as_if_unbroken(stream: list[Sample], cut: int) -> None:
    """Saving and restoring the state between two batches changes no verdict."""
    points = [point(i) for i in range(3)]
    unbroken = Engine(RuleSet(threshold=RULES), points, now_s=0.0)
    first = said(feed(unbroken, stream[:cut]))
    restored = Engine(RuleSet(threshold=RULES[::-1]), [*points, point(3)], now_s=50.0)
    restored.restore(unbroken.state())
    assert set(said(feed(restored, stream[cut:]))) == set(said(feed(unbroken, stream[cut:])))
    assert len(first) <= len(RULES) * len(stream)


def test_a_changed_rule_starts_afresh_and_the_others_keep_their_state() -> None:
    """State belongs to a rule in a version: a new limit is judged from the start."""
    old = Engine(RuleSet(threshold=(heat(), RULES[2])), [point(0)], now_s=0.0)
    feed(old, [Sample(0, T0_US, 60.0)])
    new = Engine(RuleSet(threshold=(heat(version=2, above=58.0), RULES[2])), [point(0)], now_s=0.0)
    new.restore(old.state())
    assert [(v.kind, v.version) for v in feed(new, [Sample(0, T0_US + S, 60.0)])] == [(RAISE, 2)]


def test_a_new_point_is_judged_and_the_old_ones_keep_their_state() -> None:
    """The registry may grow while detection runs."""
    engine = engine_of(heat())
    feed(engine, [Sample(0, T0_US, 60.0)])
    engine.follow([point(0), point(1)], now_s=1.0)
    assert [v.point for v in feed(engine, [Sample(0, T0_US + S, 60.0), Sample(1, T0_US + S, 60.0)])] == [1]
