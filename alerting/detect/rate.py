"""Rate of rise: how far a value has run ahead of its slowly learned surroundings. Pure numpy.

The surroundings *a* follow the value *x* upwards no faster than ``limit_per_min`` and downwards no faster
than ``falls_per_min``; the rule raises while ``x - a >= rise``::

    a <- min(max(x, a - falls * dt), a + limit * dt)

So *x - a* is the part of a rise that came faster than the limit, summed up while it lasts: one number for all
speeds, the one-sided CUSUM of the rate above the limit (Page 1954), and what the vented chamber of a
pneumatic rate-of-rise detector does. A steady rise of *r* per minute is told after
``rise / (r - limit_per_min)`` minutes, plus ``on_delay_s``; one slower than the limit never. With 10 K and
3 K/min this is the response of EN 54-5 class A1R at all its rates (``en54.py``).

Against false alarms: *a* falls slowly, so a value that dropped out and came back is no rise; a rise must be
seen by two readings (``on_delay_s``); one that came in a single step counts only when the value goes on
rising by a quarter of ``rise``, which a fire does and a sensor plugged in again does not. No noise floor is
needed: *a* stays at the upper edge of noise and resolution, which costs about one standard deviation.

The surroundings survive a gap or something invalid, falling meanwhile, and are learned for ``min_samples``
and ``min_data_s`` anew. After a clock step nothing is known of the time between, so nothing is kept. Sampling
periods from 0.1 s to ``max_gap_s``.

Delay and false alarms of the shipped rules, measured on recordings: ``docs/detection.md``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from alerting.detect.order import NEVER, Bools, Floats, Rows, Series, Turns
from alerting.detect.rules import Rate
from alerting.detect.runs import Runs
from alerting.detect.slots import Crossing
from fengsui.model import Point

_AMBIENT = 0
"""First column of ``_course``; then the last value, what it must reach after a step (-inf = no step), and
since when it is ahead (while learning: since when it is learned from)."""
_READY = 100
"""``_learned`` of a rule that has seen enough readings to speak."""


class Rates(Runs):
    """The state of every rate rule at every point, for one stream of readings.

    Args:
        rules: In the order of their numbers in the state.
        points: By index, dense.

    Cost: 50 bytes per rule and point.
    """

    SLOT_ARRAYS = (*Runs.SLOT_ARRAYS, "_course", "_learned")

    def __init__(self, rules: Sequence[Rate], points: Sequence[Point]) -> None:
        super().__init__(rules, points)
        self._course = np.zeros((*self._rule.shape, 4))
        self._course[..., _AMBIENT] = -np.inf
        self._learned = np.zeros(self._rule.shape, np.int8)
        self._sign = np.array([-1.0 if rule.falling else 1.0 for rule in rules])
        self._up_per_s = np.array([rule.limit_per_min / 60 for rule in rules])
        self._down_per_s = np.array([rule.falls_per_min / 60 for rule in rules])
        self._rise = np.array([rule.rise for rule in rules])
        self._reset = np.array([rule.reset for rule in rules])
        self._min_samples = np.array([rule.min_samples for rule in rules])
        self._min_data_s = np.array([rule.min_data_s for rule in rules])

    def update(self, series: Series) -> list[Crossing]:
        """Judge readings; the crossings, unordered."""
        series = series.in_range()
        return [crossing for slot in range(len(self._rule)) for crossing in self._judge(slot, series)]

    def _judge(self, slot: int, series: Series) -> list[Crossing]:
        """One slot of every point that has a rule in it."""
        series = self._ruled(slot, series)
        if not len(series.heads):
            return []
        point, at_us = series.readings.point, series.readings.at_us
        rule = self._rule[slot][point]
        rise, begun_s, stepped = self._advance(slot, series, series.turns())

        def under(rows: Rows) -> Bools:
            low: Bools = rise[rows] < self._reset[rule[rows]]
            return low

        least = self._rise[rule]
        changes = self._changes(slot, series, rise >= least, under, ~stepped)
        return self._crossings(slot, series.readings, changes, rise, least, at_us / 1e6 - begun_s)

    def _advance(self, slot: int, series: Series, turns: Turns) -> tuple[Floats, Floats, Bools]:
        """Carry the surroundings on.

        Returns:
            Per reading how far it is ahead of them (NaN = still learning), since when, and whether it got
            there in one step and has not gone on rising.
        """
        readings, before = series.readings, series.before_us
        rule = self._rule[slot][turns.points]
        up_per_s, down_per_s, least = self._up_per_s[rule], self._down_per_s[rule], self._rise[rule]
        x = readings.value * self._sign[self._rule[slot][readings.point]]
        at_s = readings.at_us / 1e6
        since_us = readings.at_us - before
        unknown = before == NEVER
        fresh = unknown | series.broken | (since_us > self._gap_us[self._rule[slot][readings.point]])
        dt_s = np.where(unknown, 0.0, since_us / 1e6)
        rise, begun_s = np.empty(len(x)), np.empty(len(x))
        stepped = np.zeros(len(x), np.bool_)
        course = self._course[slot][turns.points].T.copy()
        learned = self._learned[slot][turns.points]
        for rows in turns.rows:
            value, now_s = x[rows], at_s[rows]
            m = len(value)
            ambient, last, beyond, begun = course[:, :m]
            lowest = ambient - down_per_s[:m] * dt_s[rows]
            follow = np.maximum(value, lowest)
            if (learned[:m] != _READY).any() or fresh[rows].any():
                learning = self._learn(rule[:m], learned[:m], begun, now_s, fresh[rows])
                np.copyto(follow, value, where=unknown[rows])
                np.minimum(follow, ambient + up_per_s[:m] * dt_s[rows], out=follow, where=~learning)
                ahead = np.where(learning, np.nan, value - follow)
                beyond[learning] = -np.inf
            else:
                np.minimum(follow, ambient + up_per_s[:m] * dt_s[rows], out=follow)
                ahead = value - follow
            over = ahead >= least[:m]
            if over.any():
                step = over & (value - last >= least[:m]) & (last - ambient < least[:m])
                np.copyto(beyond, value + least[:m] / 4, where=step)
                np.copyto(beyond, -np.inf, where=value >= beyond)
                stepped[rows] = over & (beyond > -np.inf)
            np.copyto(begun, now_s, where=ahead <= 0)
            ambient[:], last[:] = follow, value
            rise[rows], begun_s[rows] = ahead, begun
        self._course[slot][turns.points] = course.T
        self._learned[slot][turns.points] = learned
        return rise, begun_s, stepped

    def _learn(
        self, rule: Rows, learned: NDArray[np.int8], begun_s: Floats, now_s: Floats, fresh: Bools
    ) -> Bools:
        """Count readings until there are enough; which of these are still learned from."""
        begins = fresh | (learned == 0)
        learned[begins] = 0
        np.copyto(begun_s, now_s, where=begins)
        learning: Bools = learned != _READY
        learned[learning] += 1
        enough = (learned >= self._min_samples[rule]) & (now_s - begun_s >= self._min_data_s[rule])
        learned[learning & enough] = _READY
        np.minimum(learned, _READY - 1, out=learned, where=learning & ~enough)
        return learning
