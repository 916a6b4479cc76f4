"""Schedules: which minutes they cover, and what a rule outside its hours does not say."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alerting.detect.engine import ActiveRule, Engine
from alerting.detect.rules import RuleSet
from alerting.detect.schedule import DAYS, WEEK_MIN, Schedule, minute_of_week
from alerting.detect.verdict import Verdict, VerdictKind
from tests.unit.detection import Sample, feed, heat, point

DAY = Schedule(utc_offset="+08:00", hours="08:00-18:00")
RULE = heat(schedule=DAY, on_delay_s=60.0, max_gap_s=1e6)


def us(text: str) -> int:
    """A moment of China's clock, us since 1970 UTC."""
    at = datetime.fromisoformat(text).replace(tzinfo=timezone(timedelta(hours=8)))
    return round(at.timestamp()) * 1_000_000


def engine(*rules: object) -> Engine:
    """An engine with one point."""
    return Engine(RuleSet(threshold=rules), [point(0)], now_s=0.0)  # type: ignore[arg-type]


def said(verdicts: list[Verdict]) -> list[tuple[str, str]]:
    """Kind and local time of each verdict."""
    local = timezone(timedelta(hours=8))
    return [(v.kind, f"{datetime.fromtimestamp(v.at_us / 1e6, local):%H:%M:%S}") for v in verdicts]


@given(
    st.integers(0, 7_000_000_000).map(lambda at_s: datetime.fromtimestamp(at_s, UTC)),
    st.integers(-14 * 60, 14 * 60),
)  # fmt: skip
def test_a_minute_of_the_week_is_the_calendars(at: datetime, offset_min: int) -> None:
    """Day and minute are those of the calendar at the offset, for every date."""
    local = at.astimezone(timezone(timedelta(minutes=offset_min)))
    at_us = np.array([(at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)])
    minute = int(minute_of_week(at_us, np.array([offset_min]))[0])
    assert divmod(minute, 1440) == (local.weekday(), local.hour * 60 + local.minute)


@pytest.mark.parametrize(
    ("schedule", "covered"),
    [
        (Schedule(utc_offset="+00:00"), WEEK_MIN),
        (DAY, 7 * 600),
        (Schedule(utc_offset="+00:00", days=("mon",), hours=("08:00-12:00", "11:00-13:00")), 300),
        (Schedule(utc_offset="+00:00", days=("sun",), hours="22:00-06:00"), 480),
    ],
)
def test_how_much_of_a_week_it_covers(schedule: Schedule, covered: int) -> None:
    """Overlapping hours count once; hours over midnight belong to the day on which they begin."""
    assert schedule.minutes().sum() == covered


def test_sundays_night_ends_on_monday() -> None:
    """Hours over midnight of Sunday reach into Monday, the first day of the table."""
    minutes = Schedule(utc_offset="+00:00", days=("sun",), hours="22:00-06:00").minutes()
    assert minutes[:360].all()
    assert not minutes[360 : DAYS.index("sun") * 1440 + 22 * 60].any()


def test_the_offset_may_lie_west() -> None:
    """A negative offset is one to the west of Greenwich."""
    assert Schedule(utc_offset="-03:30").offset_min() == -210


@pytest.mark.parametrize("moment", ["2024-03-04 07:59:59", "2024-03-04 18:00:00"])
def test_outside_its_hours_a_rule_raises_nothing(moment: str) -> None:
    """The hours begin with their first moment and end before their last one."""
    assert feed(engine(heat(schedule=DAY)), [Sample(0, us(moment), 80.0)]) == []


@pytest.mark.parametrize("moment", ["2024-03-04 08:00:00", "2024-03-04 17:59:59"])
def test_inside_its_hours_a_rule_raises(moment: str) -> None:
    """Both edges of the hours belong to them as the file says."""
    assert len(feed(engine(heat(schedule=DAY)), [Sample(0, us(moment), 80.0)])) == 1


def test_what_is_so_when_the_hours_begin_raises_and_is_let_go_when_they_end() -> None:
    """Levels count, not edges: the first reading inside raises, the first one after clears."""
    watch = engine(RULE)
    at = ["07:50", "07:55", "08:05", "12:00", "17:59", "18:01", "18:02"]
    verdicts = feed(watch, [Sample(0, us(f"2024-03-04 {time}:00"), 80.0) for time in at])
    assert said(verdicts) == [("raise", "08:05:00"), ("clear", "18:01:00")]
    assert verdicts[0].reasons[0].value == 80.0
    assert said(feed(watch, [Sample(0, us("2024-03-05 08:00:00"), 80.0)])) == [("raise", "08:00:00")]


def test_it_clears_inside_its_hours_as_any_other_rule() -> None:
    """Within the hours the detector's own word goes through."""
    times = {"09:00": 80.0, "09:01": 80.0, "09:02": 20.0}
    samples = [Sample(0, us(f"2024-03-04 {time}:00"), value) for time, value in times.items()]
    assert said(feed(engine(RULE), samples)) == [("raise", "09:01:00"), ("clear", "09:02:00")]


def test_a_late_reading_counts_by_its_own_time() -> None:
    """A late reading from outside the hours says nothing; one from inside says that it was so."""
    at = [us(f"2024-03-04 {time}:00") for time in ("20:00", "07:00", "09:00")]
    newest, *late = [Sample(0, at_us, 80.0, received_at_us=at_us) for at_us in at]
    watch = engine(heat(schedule=DAY))
    feed(watch, [newest])
    assert said(feed(watch, late)) == [(VerdictKind.PAST, "09:00:00")]


def test_rules_without_a_schedule_are_not_held_up() -> None:
    """Of two rules at one point only the one with a schedule is quiet at night."""
    watch = engine(heat(schedule=DAY), heat(name="always"))
    verdicts = feed(watch, [Sample(0, us("2024-03-04 03:00:00"), 80.0)])
    assert [v.rule for v in verdicts] == ["always"]


def test_what_the_book_holds_is_let_go_after_the_hours() -> None:
    """After a restart without a snapshot, the first reading of the evening clears an alarm of the day."""
    watch = engine(heat(schedule=DAY))
    watch.assume([ActiveRule("heat", 0, "gw-1", test=False)])
    assert said(feed(watch, [Sample(0, us("2024-03-04 19:00:00"), 80.0)])) == [("clear", "19:00:00")]


values = st.sampled_from([20.0, 53.0, 60.0, float("nan")])


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(1, 200), values), min_size=1, max_size=60),
    st.lists(st.integers(0, 60), max_size=5),
    st.integers(0, 60),
)  # fmt: skip
def test_the_same_is_said_however_a_stream_is_cut_and_after_a_restart(
    steps: list[tuple[int, int, float]], cuts: list[int], restart: int
) -> None:
    """Whole, in pieces, and with a snapshot in between: the verdicts are the same."""
    rules = RuleSet(threshold=(heat(schedule=DAY, on_delay_s=3600.0, max_gap_s=9000.0), heat(name="always")))
    points = [point(0), point(1)]
    samples, now = [], us("2024-03-04 06:00:00")
    for where, minutes, value in steps:
        now += minutes * 60_000_000
        samples.append(Sample(where, now, value))
    whole = feed(Engine(rules, points, now_s=0.0), samples)
    pieces: list[Verdict] = []
    cut = Engine(rules, points, now_s=0.0)
    edges = sorted({0, len(samples), *(min(edge, len(samples)) for edge in [*cuts, restart])})
    for begin, end in pairwise(edges):
        if begin == min(restart, len(samples)):
            state = cut.state()
            cut = Engine(rules, points, now_s=0.0)
            cut.restore(state)
        pieces += feed(cut, samples[begin:end])

    def key(verdict: Verdict) -> tuple[int, int, str, str]:
        return verdict.at_us, verdict.point, verdict.rule, verdict.kind

    assert sorted(map(key, pieces)) == sorted(map(key, whole))


@given(st.lists(st.tuples(st.integers(1, 300), st.sampled_from([20.0, 60.0])), min_size=1, max_size=60))
def test_a_rule_in_hours_is_the_rule_and_the_hours(steps: list[tuple[int, float]]) -> None:
    """At every reading it is active exactly where the same rule without a schedule is, inside the hours."""
    timed, free = engine(heat(schedule=DAY)), engine(heat())
    active = {"timed": False, "free": False}
    now = us("2024-03-02 00:00:00")
    for minutes, value in steps:
        now += minutes * 60_000_000
        for name, watch in (("timed", timed), ("free", free)):
            for verdict in feed(watch, [Sample(0, now, value)]):
                active[name] = verdict.kind is VerdictKind.RAISE
        hour = (now // 3_600_000_000 + 8) % 24
        assert active["timed"] == (active["free"] and 8 <= hour < 18)
