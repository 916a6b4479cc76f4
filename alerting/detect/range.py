"""Out of physical range: what a quantity cannot be, a point cannot measure, or its source does not vouch for.

A value beyond a rule's ``low`` or ``high``, beyond the point's registered range, or of quality *out of range*
is a fault of the sensor once it lasts ``on_delay_s``, which takes at least two readings: one wild value is
none. It may be a fire at the same time; thresholds judge it, too. Pure numpy.

Delay: ``on_delay_s``, rounded up to the next reading. Cost: 27 bytes per rule and point.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np

from alerting.detect.order import Bools, Rows, Series
from alerting.detect.rules import Range
from alerting.detect.runs import Runs
from alerting.detect.slots import Crossing
from fengsui.model import Point, Quality


class Ranges(Runs):
    """The state of every range rule at every point, for one stream of readings.

    Args:
        rules: In the order of their numbers in the state.
        points: By index, dense.
    """

    FIXED: ClassVar[Mapping[str, float]] = {"_low": -np.inf, "_high": np.inf}

    def __init__(self, rules: Sequence[Range], points: Sequence[Point]) -> None:
        super().__init__(rules, points)
        low = np.array([-np.inf if p.low is None else p.low for p in points])
        high = np.array([np.inf if p.high is None else p.high for p in points])
        # No rule (-1) is the last of each table: nothing is outside of it.
        self._low = np.maximum(np.array([*(rule.low for rule in rules), -np.inf])[self._rule], low)
        self._high = np.minimum(np.array([*(rule.high for rule in rules), np.inf])[self._rule], high)
        self._low[self._rule < 0], self._high[self._rule < 0] = -np.inf, np.inf

    @property
    def nbytes(self) -> int:
        """Bytes of state for all points, the limits included."""
        return super().nbytes + int(self._low.nbytes + self._high.nbytes)

    def _known(self, slot: int, number: int, point: int, at_us: int) -> dict[str, float]:
        return {"low": float(self._low[slot, point]), "high": float(self._high[slot, point])}

    def _judge(self, slot: int, series: Series) -> list[Crossing]:
        """One slot of every point."""
        point, value = series.readings.point, series.readings.value
        low, high = self._low[slot].take(point), self._high[slot].take(point)
        over = (value < low) | (value > high)
        disowned = series.readings.quality == Quality.OUT_OF_RANGE
        if disowned.any():
            over |= disowned & (self._rule[slot][point] >= 0)

        def under(rows: Rows) -> Bools:
            inside: Bools = ~over[rows]
            return inside

        changes = self._changes(slot, series, over, under)
        if not changes:
            return []
        limit = np.clip(value, low, high)
        on_s = self._on_us[self._rule[slot][point]] / 1e6
        return self._crossings(slot, series.readings, changes, value, limit, on_s)
