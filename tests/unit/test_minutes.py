"""Minutes: what a minute comes to, when it is closed, and that batching changes nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from math import isnan, nan, sqrt

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.detect.minutes import MINUTE_US, Closed, Minutes
from alerting.detect.order import NEVER, Order, Readings
from fengsui.model import Quality
from tests.unit.detection import S
from tests.unit.slow import BEGIN_US

Given = tuple[int, float, float, int]
"""Point, stamp in s after ``BEGIN_US``, value, quality."""
Minute = tuple[int, int, int, float, float]
"""Point, minute of the story, gap, value, noise."""


def enter(
    order: Order, minutes: Minutes, rows: list[Given], *, held_s: list[float] | None = None
) -> list[Minute]:
    """The minutes that a batch closes, by point and time."""
    held = [row[1] for row in rows] if held_s is None else held_s
    by = sorted(range(len(rows)), key=lambda i: rows[i][0])
    point = np.array([rows[i][0] for i in by], np.intp)
    at_us = np.array([BEGIN_US + round(rows[i][1] * S) for i in by], np.int64)
    value = np.array([rows[i][2] for i in by], np.float64)
    quality = np.array([rows[i][3] for i in by], np.uint8)
    held_us = np.array([BEGIN_US + round(held[i] * S) for i in by], np.int64)
    readings = Readings(np.array(by, np.intp), point, at_us, value, quality)
    for column in readings:
        column.setflags(write=False)
    series, _ = order.enter(readings, held_us, np.isfinite(value) & (quality != Quality.BAD))
    parts = minutes.update(series) if len(series.readings.row) else []
    return sorted(told for part in parts for told in _told(part))


def _told(closed: Closed) -> list[Minute]:
    assert len(set(closed.point.tolist())) == len(closed.point)
    return [
        (int(p), int(m) - BEGIN_US // MINUTE_US, int(g), float(v), float(n))
        for p, m, g, v, n in zip(
            closed.point, closed.minute, closed.gap, closed.value, closed.noise, strict=True
        )
    ]


def fresh(points: int = 1) -> tuple[Order, Minutes]:
    """An order and minutes of all points."""
    return Order(points), Minutes(np.ones(points, np.bool_))


def test_a_minute_is_closed_by_the_reading_that_begins_the_next() -> None:
    """The verdict of a minute belongs to a reading of the caller's batch, and nothing is said before it."""
    order, minutes = fresh()
    assert enter(order, minutes, [(0, 0.0, 1.0, 0), (0, 30.0, 2.0, 0), (0, 59.9, 6.0, 0)]) == []
    ((point, minute, gap, value, noise),) = enter(order, minutes, [(0, 60.0, 9.0, 0)])
    assert (point, minute, gap, value) == (0, 0, NEVER, 3.0)
    assert noise == sqrt((1.5**2 + 1.5**2) / 3)


def test_a_missing_minute_is_a_gap_and_no_value() -> None:
    """Nothing is filled in between two minutes."""
    order, minutes = fresh()
    rows: list[Given] = [(0, 0.0, 1.0, 0), (0, 60.0, 2.0, 0), (0, 600.0, 3.0, 0), (0, 660.0, 4.0, 0)]
    closed = enter(order, minutes, rows)
    assert [(minute, gap, value) for _, minute, gap, value, _ in closed] == [
        (0, NEVER, 1.0), (1, 1, 2.0), (10, 9, 3.0),
    ]  # fmt: skip


def test_one_glitch_does_not_move_a_minute() -> None:
    """From five readings on, the highest and the lowest are left out."""
    order, minutes = fresh()
    rows: list[Given] = [(0, float(s), 400.0 if s != 7 else 0.0, 0) for s in range(61)]
    assert [closed[3] for closed in enter(order, minutes, rows)] == [400.0]


def test_what_is_out_of_range_or_missing_is_no_part_of_a_minute() -> None:
    """A minute of nothing but invalid readings is a missing minute."""
    order, minutes = fresh()
    rows: list[Given] = [
        (0, 0.0, 1.0, 0), (0, 10.0, 999.0, int(Quality.OUT_OF_RANGE)), (0, 20.0, nan, 0),
        (0, 70.0, 999.0, int(Quality.OUT_OF_RANGE)), (0, 130.0, 3.0, 0), (0, 190.0, 3.0, 0),
    ]  # fmt: skip
    assert [closed[1:4] for closed in enter(order, minutes, rows)] == [(0, NEVER, 1.0), (2, 2, 3.0)]


def test_points_without_a_slow_rule_cost_nothing() -> None:
    """Only wanted points have an open minute."""
    one, all_ = Minutes(np.arange(1000) == 5), Minutes(np.ones(1000, np.bool_))
    assert all_.nbytes - one.nbytes == 999 * 76
    order = Order(1000)
    assert [
        m[0]
        for m in enter(order, one, [(4, 0.0, 1.0, 0), (5, 0.0, 1.0, 0), (4, 60.0, 1.0, 0), (5, 60.0, 1.0, 0)])
    ] == [5]


def test_a_clock_that_falls_back_drops_the_open_minute() -> None:
    """What was counted by a wrong clock is not compared with what follows."""
    order, minutes = fresh()
    enter(order, minutes, [(0, 7200.0, 1.0, 0)], held_s=[0.0])
    rows: list[Given] = [(0, 60.0, 2.0, 0), (0, 120.0, 3.0, 0)]
    assert [closed[1:4] for closed in enter(order, minutes, rows, held_s=[60.0, 120.0])] == [(1, NEVER, 2.0)]


@dataclass
class Model:
    """The same, one reading of one point after the other."""

    readings: list[float] = field(default_factory=list)
    minute: int = -1
    before: int = NEVER
    newest_s: float = -1.0

    def feed(self, at_s: float, value: float, quality: int) -> tuple[int, int, float, float] | None:
        """The minute that this reading closes."""
        if isnan(value) or quality == Quality.BAD or at_s <= self.newest_s:
            return None
        self.newest_s = at_s
        if quality == Quality.OUT_OF_RANGE:
            return None
        minute, closed = int(at_s // 60), None
        if minute != self.minute and self.readings:
            closed = self.close()
            self.before = self.minute
            self.readings = []
        self.minute = minute
        self.readings.append(value)
        return closed

    def close(self) -> tuple[int, int, float, float]:
        """Minute, gap, value, noise."""
        kept = sorted(self.readings)[1:-1] if len(self.readings) >= 5 else self.readings
        steps = [b - a for a, b in pairwise(self.readings)]
        mean = sum(steps) / max(len(steps), 1)
        noise = nan
        if len(steps) > 1:
            noise = sqrt(sum((d - mean) ** 2 for d in steps) / 2 / (len(steps) - 1 / len(steps)))
        gap = NEVER if self.before == NEVER else self.minute - self.before
        return self.minute, gap, sum(kept) / len(kept), noise


rows = st.tuples(
    st.integers(0, 2),
    st.sampled_from([1.0, 7.0, 13.0, 31.0, 60.0, 200.0, -50.0]),
    st.sampled_from([1.0, 1.25, 5.0, 1e6, nan]),
    st.sampled_from([0, 0, 0, 0, 2, 3]),
)


@settings(max_examples=200, deadline=None)
@given(steps=st.lists(rows, max_size=80), cuts=st.lists(st.integers(0, 80), max_size=4))
def test_any_split_says_what_the_plain_model_says(steps: list[Given], cuts: list[int]) -> None:
    """However a stream is cut, each minute comes to what its readings come to one by one."""
    clock = [0.0, 0.0, 0.0]
    stream: list[Given] = []
    for point, step_s, value, quality in steps:
        clock[point] = max(clock[point] + step_s, 0.0)
        stream.append((point, clock[point], value, quality))
    models = [Model() for _ in range(3)]
    expected = [
        (point, *closed)
        for point, at_s, value, quality in stream
        if (closed := models[point].feed(at_s, value, quality)) is not None
    ]
    (order, minutes), (whole_order, whole) = fresh(3), fresh(3)
    whole_said = enter(whole_order, whole, stream)
    found: list[Minute] = []
    edges = [0, *sorted(min(c, len(stream)) for c in cuts), len(stream)]
    for begin, end in pairwise(edges):
        restored = Minutes(np.ones(3, np.bool_))
        restored.restore(minutes.state())
        minutes = restored
        found += enter(order, minutes, stream[begin:end])
    np.testing.assert_allclose(np.array(whole_said), np.array(sorted(expected)), rtol=1e-9)
    np.testing.assert_array_equal(np.array(sorted(found)), np.array(whole_said))
