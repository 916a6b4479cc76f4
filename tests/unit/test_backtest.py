"""The core of a backtest, on histories made here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.backtest.labels import Interval
from alerting.backtest.occurrences import Occurrences
from alerting.backtest.replay import Backtest, Span
from alerting.backtest.report import Alarm, Difference, Label, Report
from alerting.detect.engine import Engine
from alerting.detect.rules import Coincidence, RuleSet, Threshold
from alerting.detect.verdict import Level, Verdict
from fengsui.model import AlarmClass, Point, Quality
from tests.unit.detection import S, Sample, heat

DAY_US = 86_400 * S
FROM_US = int(datetime(2026, 5, 1, tzinfo=UTC).timestamp()) * S
THREE_DAYS = Span(FROM_US - DAY_US, FROM_US, FROM_US + 3 * DAY_US)


def at(index: int, building: str = "b1") -> Point:
    """A registered thermometer in a building."""
    return Point(
        index=index, id=f"p{index}", gateway="gw", name=f"n{index}", quantity="temperature", uom="degC",
        unit="u1", building=building,
    )  # fmt: skip


def rules(*thresholds: Threshold) -> RuleSet:
    """A rule set of thresholds."""
    return RuleSet(threshold=thresholds)


def readings(*columns: tuple[int, float, float], quality: Quality = Quality.GOOD) -> list[Sample]:
    """Rows of point, seconds after the begin of the span, value."""
    return [Sample(point, FROM_US + round(s * S), value, quality) for point, s, value in columns]


def peak(point: int, begin_s: float, *, top: float = 80.0, rise_s: int = 60) -> list[Sample]:
    """A temperature that rises from 20 degC to ``top`` and falls again, a reading every 10 s."""
    steps = [(point, begin_s + s, 20 + (top - 20) * s / rise_s) for s in range(0, rise_s + 1, 10)]
    return readings(*steps, (point, begin_s + rise_s + 10, 20.0))


def feed(backtest: Backtest, samples: Sequence[Sample], pieces: int = 1) -> None:
    """The samples in order of time, cut into pieces."""
    ordered = sorted(samples, key=lambda sample: (sample.at_us, sample.point))
    for rows in np.array_split(np.arange(len(ordered)), pieces):
        part = [ordered[row] for row in rows]
        backtest.feed(
            np.array([s.point for s in part], np.int32),
            np.array([s.at_us for s in part], np.int64),
            np.array([s.value for s in part], np.float64),
            np.array([s.quality for s in part], np.uint8),
        )


def run(
    samples: Sequence[Sample],
    draft: RuleSet,
    in_force: RuleSet | None = None,
    *,
    points: Sequence[Point] = (at(0), at(1), at(2, "b2")),
    span: Span = THREE_DAYS,
    labels: Sequence[Interval] | None = None,
    most_alarms: int = 100,
) -> Report:
    """A backtest of these readings."""
    backtest = Backtest(points, draft, in_force or draft, span, most_alarms=most_alarms)
    feed(backtest, samples)
    return backtest.report(labels=labels)


def begins_s(alarms: Sequence[Alarm]) -> list[tuple[str, float]]:
    """Subject and begin of alarms, in seconds of the span."""
    return [(alarm.subject, (alarm.begin_us - FROM_US) / S) for alarm in alarms]


def test_fires_are_counted_by_day_and_building() -> None:
    """Each day and building has its count, real and simulated told apart, and every day is listed."""
    simulated = [sample._replace(quality=Quality.SIMULATED) for sample in peak(2, 100)]
    samples = [*peak(0, 0), *peak(0, 5_000), *peak(1, 10), *peak(2, 2 * 86_400), *simulated]
    report = run(samples, rules(heat()))
    days = [(d.day, d.building, d.cls, d.alarms, d.test) for d in report.draft.days]
    assert days == [
        ("2026-05-01", "b1", "fire", 3, 0),
        ("2026-05-01", "b2", "fire", 1, 1),
        ("2026-05-03", "b2", "fire", 1, 0),
    ]
    assert report.days == ("2026-05-01", "2026-05-02", "2026-05-03")
    assert report.draft.begun(AlarmClass.FIRE) == 5
    assert (report.readings, report.points) == (len(samples), 3)
    tallies = [(tally.rule, tally.raises, tally.clears) for tally in report.draft.rules]
    assert tallies == [("heat", 5, 5)]


def test_days_are_those_of_the_zone() -> None:
    """A fire at 20:00 UTC belongs to the next day in China."""
    china = timezone(timedelta(hours=8))
    span = Span(FROM_US, FROM_US, FROM_US + DAY_US, china)
    report = run(peak(0, 20 * 3600), rules(heat()), span=span)
    assert [day.day for day in report.draft.days] == ["2026-05-02"]
    assert report.days == ("2026-05-01", "2026-05-02")


def test_an_alarm_is_one_however_many_rules_hold_it() -> None:
    """It begins with the first rule, ends with the last, and has the highest severity of them."""
    low = heat(name="low", above=40.0, reset=30.0, severity=2)
    report = run(peak(0, 0), rules(heat(), low))
    (alarm,) = report.draft.alarms
    assert (alarm.rule, alarm.severity, alarm.value) == ("low", 4, 40.0)
    assert begins_s([alarm]) == [("p0", 20.0)]
    assert alarm.end_us == FROM_US + 70 * S
    assert "40" in alarm.text_en
    assert "40" in alarm.text_zh


def test_the_warm_up_is_judged_and_not_counted() -> None:
    """What was raised before the span neither counts nor is raised again in it; state goes on across."""
    before = readings((0, -30, 20.0), (0, -20, 90.0), (1, -20, 90.0), (1, -10, 20.0))
    inside = readings((0, 10, 90.0), (0, 20, 20.0), (0, 30, 90.0))
    report = run(before + inside, rules(heat()))
    assert begins_s(report.draft.alarms) == [("p0", -20.0), ("p0", 30.0)]
    assert report.draft.begun(AlarmClass.FIRE) == 1
    assert [(tally.raises, tally.clears) for tally in report.draft.rules] == [(1, 1)]


def test_a_delay_that_began_in_the_warm_up_ends_in_the_span() -> None:
    """The warm-up gives a running delay its past; without it the alarm comes later."""
    samples = readings(*((0, s, 90.0) for s in range(-60, 90, 10)))
    slow = rules(heat(on_delay_s=70.0))
    assert begins_s(run(samples, slow).draft.alarms) == [("p0", 10.0)]
    cold = run([s for s in samples if s.at_us >= FROM_US], slow)
    assert begins_s(cold.draft.alarms) == [("p0", 70.0)]


def test_the_difference_names_added_removed_and_moved() -> None:
    """A lower limit finds one more and another sooner; a point that it leaves out is removed."""
    draft = rules(heat(above=45.0, reset=40.0, version=2))
    in_force = rules(heat(), heat(name="k", cls=AlarmClass.PREALARM, above=70.0, reset=60.0))
    report = run([*peak(0, 0), *peak(1, 0, top=50.0)], draft, in_force)
    difference = report.difference
    assert begins_s(difference.added) == [("p1", 50.0)]
    assert [(alarm.subject, alarm.cls) for alarm in difference.removed] == [("p0", "prealarm")]
    assert [(pair.subject, pair.earlier_s) for pair in difference.moved] == [("p0", 10.0)]
    assert difference.same == 0


def test_the_same_rules_differ_in_nothing() -> None:
    """Against themselves, rules have only alarms that are the same."""
    report = run([*peak(0, 0), *peak(2, 50)], rules(heat()))
    assert report.difference == Difference(added=(), removed=(), moved=(), same=2)


def test_one_long_alarm_against_three_short_ones() -> None:
    """A pair is made once: the other two are added, for somebody would be called for each."""
    flapping = readings(*((0, 100 * i + s, 60.0 if s < 50 else 48.0) for i in range(3) for s in (0, 50)))
    in_force = rules(heat(reset=10.0))
    report = run([*readings((0, -10, 20.0)), *flapping], rules(heat()), in_force)
    assert report.difference.same == 1
    assert begins_s(report.difference.added) == [("p0", 100.0), ("p0", 200.0)]


def test_what_stood_before_the_span_under_one_rule_set_is_no_news() -> None:
    """In force since before the span, in the draft only inside it: later, neither added nor removed."""
    samples = readings((0, -60, 20.0), (0, -50, 58.0), (0, 10, 70.0), (0, 20, 20.0))
    report = run(samples, rules(heat(above=65.0)), rules(heat()))
    assert [(pair.subject, pair.earlier_s) for pair in report.difference.moved] == [("p0", -60.0)]
    assert (report.difference.added, report.difference.removed) == ((), ())
    assert report.in_force.begun(AlarmClass.FIRE) == 0


def label(kind: Label, begin_s: float, end_s: float, *, point: str = "", building: str = "") -> Interval:
    """A label in seconds of the span."""
    return Interval(point, building, FROM_US + round(begin_s * S), FROM_US + round(end_s * S), kind)


def test_fires_against_labels() -> None:
    """Real fires have the delay of each rule set, nuisances a count, and what nobody labelled is told."""
    draft, in_force = rules(heat(above=45.0, reset=40.0)), rules(heat())
    samples = [*peak(0, 0), *peak(1, 500, top=50.0), *peak(2, 900), *peak(0, 4_000)]
    labels = [
        label(Label.REAL, 5, 300, building="b1"),
        label(Label.COOKING, 400, 700, point="p1"),
        label(Label.REAL, 2_000, 2_100, point="p2"),
        label(Label.DUST, -9_000, -8_000, point="p2"),
        label(Label.UNKNOWN, 890, 1_000, building="b2"),
    ]
    labelled = run(samples, draft, in_force, labels=labels).labelled
    assert labelled is not None
    fires = [(fire.subject, fire.draft_delay_s, fire.in_force_delay_s) for fire in labelled.fires]
    assert fires == [("b1", 25.0, 35.0), ("p2", None, None)]
    tallies = [(t.label, t.intervals, t.draft_fires, t.in_force_fires) for t in labelled.tallies]
    assert tallies == [("real", 2, 1, 1), ("cooking", 1, 1, 0), ("unknown", 1, 1, 1)]
    assert (labelled.unlabelled_draft, labelled.unlabelled_in_force) == (1, 1)


def test_alarms_beyond_the_bound_are_counted() -> None:
    """Single alarms are bounded; the counts by day stay complete and say how many are left out."""
    report = run([sample for i in range(10) for sample in peak(0, 1_000 * i)], rules(heat()), most_alarms=4)
    assert len(report.draft.alarms) == 4
    assert report.draft.left_out == 6
    assert report.draft.begun(AlarmClass.FIRE) == 10
    assert begins_s(report.draft.alarms)[0] == ("p0", 40.0)


def test_an_alarm_that_stands_at_the_end_has_none() -> None:
    """Nothing is made up about what was not measured."""
    report = run(readings((0, 0, 20.0), (0, 10, 90.0)), rules(heat()))
    assert [alarm.end_us for alarm in report.draft.alarms] == [None]


def test_some_points_of_a_registry() -> None:
    """Any selection of points keeps its names, whatever their indexes; strangers are refused."""
    points = [at(40), at(7, "b2")]
    report = run([*peak(40, 0), *peak(7, 100)], rules(heat()), points=points)
    assert [(alarm.subject, alarm.building) for alarm in report.draft.alarms] == [("p40", "b1"), ("p7", "b2")]
    for stranger in (8, 41, -1):
        with pytest.raises(ValueError, match="does not have"):
            run(readings((stranger, 0, 20.0)), rules(heat()), points=points)


def test_time_must_not_run_back() -> None:
    """Pieces in a wrong order are a mistake of the caller, not late readings."""
    backtest = Backtest([at(0)], rules(heat()), rules(heat()), Span(FROM_US, FROM_US, FROM_US + DAY_US))
    feed(backtest, readings((0, 10, 20.0)))
    with pytest.raises(ValueError, match="order of time"):
        feed(backtest, readings((0, 9, 20.0)))


def test_a_zone_has_an_alarm_of_its_own() -> None:
    """Devices of a zone in fire are one more alarm, of the zone and in its building, however many agree."""
    rule = Coincidence(
        name="two",
        version=1,
        cls=AlarmClass.FIRE,
        severity=4,
        level=Level.CONFIRMED,
        devices=2,
        window_s=60.0,
    )
    points = [msgspec.structs.replace(at(n), zone="z1", device=f"d{n}") for n in range(3)]
    judged = RuleSet(threshold=(heat(),), coincidence=(rule,))
    report = run([*peak(0, 0), *peak(1, 20), *peak(2, 30)], judged, rules(heat()), points=points)
    (zone,) = report.difference.added
    assert (zone.subject, zone.building, zone.rule) == ("/u1/b1/z1", "b1", "two")
    assert begins_s([zone]) == [("/u1/b1/z1", 60.0)]
    assert report.draft.begun(AlarmClass.FIRE) == 4
    assert [(day.building, day.alarms) for day in report.draft.days] == [("b1", 4)]


def test_points_that_no_rule_speaks_of() -> None:
    """A point whose unit of measure no rule of the draft has is named, for it was not judged."""
    odd = msgspec.structs.replace(at(1), uom="degF")
    assert run(peak(0, 0), rules(heat()), points=[at(0), odd]).unjudged == ("p1",)


def test_the_report_is_json() -> None:
    """It goes through JSON and back unchanged."""
    report = run([*peak(0, 0)], rules(heat()), labels=[label(Label.REAL, 0, 100, point="p0")])
    assert msgspec.json.decode(msgspec.json.encode(report), type=Report) == report


values = st.floats(15, 95).map(lambda value: round(value, 1)) | st.just(float("nan"))
steps = st.tuples(st.integers(0, 2), st.integers(1, 200), values, st.sampled_from([0, 0, 0, 1, 2, 3, 4]))


@given(st.lists(steps, min_size=1, max_size=120), st.integers(1, 9), st.integers(1, 9))
@settings(max_examples=120, deadline=None)
def test_a_backtest_says_what_the_live_engine_said(
    moves: list[tuple[int, int, float, int]], batches: int, pieces: int
) -> None:
    """Over the same readings a backtest has the alarms of the live run, however either was cut."""
    history: list[Sample] = []
    now_s = -600
    for point, gap_s, value, quality in moves:
        now_s += gap_s
        history += [s._replace(quality=quality) for s in readings((point, now_s, value))]
    points = [at(0), at(1), at(2, "b2")]
    judged = rules(
        heat(on_delay_s=30.0, max_gap_s=120.0),
        heat(name="pre", cls=AlarmClass.PREALARM, above=40.0, reset=35.0, off_delay_s=60.0),
        heat(name="cold", cls=AlarmClass.SUPERVISORY, above=None, below=18.0, reset=20.0),
    )
    live = Engine(judged, points, now_s=0.0)
    verdicts: list[Verdict] = []
    for rows in np.array_split(np.arange(len(history)), batches):
        part = [history[row] for row in rows]
        if part:
            at_us = np.array([s.at_us for s in part], np.int64)
            verdicts += live.update(
                np.array([s.point for s in part], np.int32), at_us,
                np.array([s.value for s in part], np.float64), np.array([s.quality for s in part], np.uint8),
                at_us + 70_000, np.full(len(part), 20_000, np.int64), now_s=float(at_us[-1]) / S,
            )  # fmt: skip
    verdicts = sorted((v for v in verdicts if not v.missing), key=lambda v: (v.at_us, v.point))
    occurrences = Occurrences()
    ended = [one for one in occurrences.take(verdicts) if one.end_us is not None]
    wanted = sorted(
        (one.first.at_us, points[one.first.point].id, one.first.cls, one.end_us, one.first.test)
        for one in [*ended, *occurrences.standing]
        if one.end_us is None or one.end_us >= FROM_US
    )
    backtest = Backtest(points, judged, rules(), Span(FROM_US - 600 * S, FROM_US, FROM_US + DAY_US))
    feed(backtest, history, pieces)
    report = backtest.report()
    found = [(a.begin_us, a.subject, a.cls, a.end_us, a.test) for a in report.draft.alarms]
    assert sorted(found, key=repr) == sorted(wanted, key=repr)
    assert len(report.difference.added) == sum(begin >= FROM_US for begin, *_ in wanted)
