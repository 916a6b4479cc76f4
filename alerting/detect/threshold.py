"""Thresholds over all points at once: hysteresis, delays in event time, late readings. Pure numpy.

Every question that looks at the previous reading of the same point becomes a running maximum inside the
point's segment, so several readings of one point in a batch cost no pass of their own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from alerting.detect.order import NEVER, Bools, Floats, Readings, Series
from alerting.detect.rules import Threshold
from alerting.detect.slots import Crossing, Slots
from alerting.detect.verdict import VerdictKind
from fengsui.model import Point, Quality

_NONE, _OVER, _UNDER, _ACTIVE = 0, 1, 2, 4


class Thresholds(Slots):
    """The state of every threshold rule at every point, for one stream of readings (real, or simulated).

    Args:
        rules: In the order of their numbers in the state.
        points: By index, dense.
    """

    SLOT_ARRAYS = ("_state", "_since_us")

    def __init__(self, rules: Sequence[Threshold], points: Sequence[Point]) -> None:
        super().__init__(rules, points)
        self._rules = tuple(rules)
        self._state = np.zeros(self._rule.shape, np.int8)
        self._since_us = np.zeros(self._rule.shape, np.int64)
        self._hot = np.zeros(len(points), np.bool_)
        # One row per rule and a last one that never crosses, so that index -1 (no rule) needs no mask.
        sign = [1.0 if rule.above is not None else -1.0 for rule in rules]
        self._sign = np.array([*sign, 0.0])
        self._limit = np.array([*(s * rule.limit for s, rule in zip(sign, rules, strict=True)), np.inf])
        self._reset = np.array([*(s * rule.reset for s, rule in zip(sign, rules, strict=True)), -np.inf])
        self._on_us = np.array([*(round(rule.on_delay_s * 1e6) for rule in rules), 0], np.int64)
        self._off_us = np.array([*(round(rule.off_delay_s * 1e6) for rule in rules), 0], np.int64)
        self._gap_us = np.array([*(round(rule.max_gap_s * 1e6) for rule in rules), 0], np.int64)

    def update(self, series: Series) -> list[Crossing]:
        """Judge readings; the crossings, unordered."""
        return [crossing for slot in range(len(self._rule)) for crossing in self._judge(slot, series)]

    def late(self, readings: Readings) -> list[Crossing]:
        """Judge late readings, which change no state, by the limit alone."""
        crossings: list[Crossing] = []
        for slot in range(len(self._rule)):
            rule = self._rule[slot][readings.point]
            over = readings.value * self._sign[rule] >= self._limit[rule]
            crossings += self._crossings(readings.take(over), rule[over], VerdictKind.PAST)
        return crossings

    def assume_active(self, rule: str, point: int) -> None:
        """Take over from the alarm book that ``rule`` is active at ``point``, if it still applies there."""
        slot = self.slot_of(rule, point)
        if slot is not None:
            self._state[slot, point] |= _ACTIVE

    def _judge(self, slot: int, series: Series) -> list[Crossing]:
        """One slot of every point."""
        state = self._state[slot]
        readings = series.readings
        point = readings.point
        rule = self._rule[slot][point]
        value = readings.value * self._sign[rule]
        over = value >= self._limit[rule]
        # Nothing beyond a limit now and nothing going on: the usual case ends here.
        hot = over | (state[point] != _NONE)
        if not hot.any():
            return []
        self._hot[point[hot]] = True
        chosen = np.flatnonzero(self._hot[point])
        self._hot[point[hot]] = False
        return self._follow(slot, series.take(chosen), rule[chosen], value[chosen], over[chosen])

    def _follow(
        self,
        slot: int,
        series: Series,
        rule: NDArray[np.int16],
        value: Floats,
        over: Bools,
    ) -> list[Crossing]:
        """Runs beyond the limit and beyond reset, their delays, and what changes by them."""
        readings, before, _, heads, tails, first = series
        point, at = readings.point, readings.at_us
        here = np.arange(len(point))
        carried = self._state[slot][point[heads]]

        # A value beyond what the sensor can measure may raise an alarm; it never proves that all is well.
        under = (value < self._reset[rule]) & (readings.quality != Quality.OUT_OF_RANGE)
        phase = over * np.int8(_OVER) + under * np.int8(_UNDER)
        previous = np.empty_like(phase)
        previous[1:] = phase[:-1]
        previous[heads] = carried & 3
        fresh = (phase != previous) | (before == NEVER) | (at - before > self._gap_us[rule])
        begin = np.where(fresh, at, 0)
        begin[heads] = np.where(fresh[heads], at[heads], self._since_us[slot][point[heads]])
        since = begin[np.maximum.accumulate(np.where(fresh | first, here, 0))]
        lasted = at - since
        on = (phase == _OVER) & (lasted >= self._on_us[rule])
        off = (phase == _UNDER) & (lasted >= self._off_us[rule])

        kept = np.zeros(len(point), np.bool_)
        kept[heads] = (carried & _ACTIVE) != 0
        decided = np.maximum.accumulate(np.where(on | off | first, here, 0))
        active = on[decided] | (kept[decided] & ~off[decided])
        was = np.empty_like(active)
        was[1:] = active[:-1]
        was[heads] = kept[heads]

        # Whether a point that is not active has been normal for long does not matter to anything.
        end = np.where(~active[tails] & (phase[tails] == _UNDER), np.int8(_NONE), phase[tails])
        end = end | np.where(active[tails], np.int8(_ACTIVE), np.int8(0))
        self._state[slot][point[tails]] = end
        self._since_us[slot][point[tails]] = np.where(end == _NONE, 0, since[tails])

        raised, cleared = active & ~was, was & ~active
        return self._crossings(readings.take(raised), rule[raised], VerdictKind.RAISE) + self._crossings(
            readings.take(cleared), rule[cleared], VerdictKind.CLEAR
        )

    def _crossings(self, readings: Readings, number: NDArray[np.int16], kind: VerdictKind) -> list[Crossing]:
        rules = [self._rules[n] for n in number.tolist()]
        found = zip(readings.row.tolist(), rules, readings.value.tolist(), strict=True)
        return [Crossing(row, rule, kind, value, rule.limit, rule.on_delay_s) for row, rule, value in found]
