"""Thresholds over all points at once: limit and reset, and late readings by the limit alone. Pure numpy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from alerting.detect.order import Bools, Readings, Rows, Series
from alerting.detect.rules import Threshold
from alerting.detect.runs import Runs, Turned
from alerting.detect.slots import Crossing, shared
from alerting.detect.verdict import VerdictKind
from fengsui.model import Point, Quality


class Thresholds(Runs):
    """The state of every threshold rule at every point, for one stream of readings (real, or simulated).

    Args:
        rules: In the order of their numbers in the state.
        points: By index, dense.
    """

    def __init__(self, rules: Sequence[Threshold], points: Sequence[Point]) -> None:
        super().__init__(rules, points)
        # One row per rule and a last one that never crosses, so that index -1 (no rule) needs no mask.
        sign = [1.0 if rule.above is not None else -1.0 for rule in rules]
        self._sign = np.array([*sign, 1.0])
        self._limit = np.array([*(s * rule.limit for s, rule in zip(sign, rules, strict=True)), np.inf])
        self._reset = np.array([*(s * rule.reset for s, rule in zip(sign, rules, strict=True)), -np.inf])

    def update(self, series: Series) -> list[Crossing]:
        """Judge readings; the crossings, unordered."""
        return [crossing for slot in range(len(self._rule)) for crossing in self._judge(slot, series)]

    def late(self, readings: Readings) -> list[Crossing]:
        """Judge late readings, which change no state, by the limit alone."""
        crossings: list[Crossing] = []
        for slot in range(len(self._rule)):
            rule = self._rule[slot][readings.point]
            over = np.flatnonzero(readings.value * self._sign[rule] >= self._limit[rule])
            crossings += self._found(slot, readings, rule, {VerdictKind.PAST: over})
        return crossings

    def _judge(self, slot: int, series: Series) -> list[Crossing]:
        """One slot of every point."""
        readings = series.readings
        rule = self._rule[slot].take(readings.point)
        number = shared(rule)
        value = readings.value * self._sign[number]

        def under(rows: Rows) -> Bools:
            # A value beyond what the sensor can measure may raise an alarm; it never proves that all is well.
            measured = readings.quality[rows] != Quality.OUT_OF_RANGE
            normal: Bools = (value[rows] < self._reset[rule[rows]]) & measured
            return normal

        changes = self._changes(slot, series, value >= self._limit[number], under)
        return self._found(slot, readings, rule, changes) if changes else []

    def _found(
        self, slot: int, readings: Readings, rule: NDArray[np.int16], changes: Turned
    ) -> list[Crossing]:
        limit, on_s = self._limit[rule] * self._sign[rule], self._on_us[rule] / 1e6
        return self._crossings(slot, readings, changes, readings.value, limit, on_s)
