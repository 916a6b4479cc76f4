"""What the slow detectors cost by themselves, with a rule of every kind at every point.

Each point has a reading a second on average and closes a minute with the first reading of the next. One whole
minute of event time is measured, so that the cost of closing is spread over all its readings.
"""

from __future__ import annotations

import time

import numpy as np
from msgspec.structs import replace

from alerting.detect.minutes import MINUTE_US
from alerting.detect.order import Order, Readings
from alerting.detect.rules import Drift, Noise, RuleSet, Season, Trend
from alerting.detect.slow import Slow
from fengsui.model import AlarmClass, Point

BATCH = 5_000
HISTORY_MINUTES = 30
"""Before the measured minute, with one reading a minute on average: enough of a window to draw lines."""
_HOUR_US = 1_790_002_800_000_000
_SEED = 20261123


def every_kind() -> RuleSet:
    """One slow rule of each kind, all for temperatures."""
    cls, quantity, uom = AlarmClass.TECHNICAL, "temperature", "degC"
    trend = Trend(
        name="trend", version=1, cls=cls, quantity=quantity, uom=uom, severity=1, above=57.0, settles=True,
        within_s=3600.0, clear_s=5400.0, window_minutes=32, least_change=2.0,
    )  # fmt: skip
    drift = Drift(
        name="drift", version=1, cls=cls, quantity=quantity, uom=uom, severity=1, limit=5.0, reset=3.0
    )
    season = Season(
        name="season", version=1, cls=cls, quantity=quantity, uom=uom, severity=1, least_scale=0.2
    )
    noise = Noise(
        name="noise", version=1, cls=cls, quantity=quantity, uom=uom, severity=1, factor=5.0, least=0.05
    )
    return RuleSet(trend=(trend,), drift=(drift,), season=(season,), noise=(noise,))


def slow_cost(
    points: int, *, every_s: float = 1.0, moving: float = 0.0, hour: bool = False
) -> tuple[float, float]:
    """CPU time in us per reading of the slow set alone, without the order of time; bytes of state per point.

    Args:
        points: How many; all have the four rules.
        every_s: Time between two readings of a point.
        moving: Share of the points that are on their way to the limit, each of which needs a line.
        hour: The first minute of an hour is measured, for which the usual has to be looked up.
    """
    point = Point(index=0, id="p0", gateway="g", name="p0", quantity="temperature", uom="degC")
    registered = [replace(point, index=i, id=f"p{i}", name=f"p{i}") for i in range(points)]
    draw = np.random.default_rng(_SEED)
    order, slow = Order(points), Slow(every_kind(), registered)
    begin_us = _HOUR_US + (1 if hour else 31) * MINUTE_US
    dense_us = begin_us - round(5e6 * every_s)
    at_us, spent_s, measured = begin_us - HISTORY_MINUTES * MINUTE_US, 0.0, 0
    while at_us < begin_us + MINUTE_US:
        span_us = round((every_s * 1e6 if at_us >= dense_us else MINUTE_US) * BATCH / points)
        chosen = np.sort(draw.integers(0, points, BATCH))
        stamps = at_us + np.sort(draw.integers(0, span_us, BATCH))
        value = 22.0 + draw.normal(0.0, 0.05, BATCH)
        value += np.where(chosen < moving * points, 0.8 * (stamps - begin_us) / MINUTE_US + 16.0, 0.0)
        readings = Readings(np.arange(BATCH), chosen, stamps, value, np.zeros(BATCH, np.uint8))
        series, _ = order.enter(readings, stamps, np.ones(BATCH, np.bool_))
        begun_s = time.thread_time()
        slow.update(series)
        if at_us >= begin_us:
            spent_s += time.thread_time() - begun_s
            measured += len(series.readings.row)
        at_us += span_us
    return spent_s * 1e6 / measured, slow.nbytes / points
