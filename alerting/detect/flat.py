"""Flat line: a value that has not changed for far longer than it ever stayed the same. Pure numpy.

A sensor that is stuck repeats its last value to the bit; so do quantised sensors of calm things, for hours.
So a point's liveliness is learned: the longest stretch of sameness that ended by itself, over ``learn_s``
with at least ``min_changes``. The rule raises when the value has been the same for ``for_s`` and for
``factor`` times that longest stretch; a point that hardly ever changes is never called stuck. A stretch
called stuck does not count as ordinary; a gap or something invalid begins a stretch whose length nobody
knows.

*Stuck at a rail* needs no learning: at or beyond an end of the point's registered range, and the same, for
``rail_s``.

Delay: ``max(for_s, factor * longest)``. False alarms: none can come from a point whose calm stretches are no
longer than ``factor`` times the calmest of its first day.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alerting.detect.order import NEVER, Bools, Floats, Rows, Series
from alerting.detect.rules import Flat
from alerting.detect.runs import Runs
from alerting.detect.slots import Crossing
from fengsui.model import Point

_LAST, _SINCE_S, _LONGEST_S, _BEGUN_S, _CHANGES, _WHOLE = range(6)
"""Columns of the state: last value, since when it is the same, longest ordinary stretch, since when it is
learned, changes seen, and whether this stretch began with a change (1) or out of a gap (0)."""


class Flats(Runs):
    """The state of every flat-line rule at every point, for one stream of readings.

    Args:
        rules: In the order of their numbers in the state.
        points: By index, dense.

    Cost: 60 bytes per rule and point.
    """

    SLOT_ARRAYS = (*Runs.SLOT_ARRAYS, "_same")

    def __init__(self, rules: Sequence[Flat], points: Sequence[Point]) -> None:
        super().__init__(rules, points)
        self._same = np.zeros((*self._rule.shape, 6))
        self._same[..., _LAST] = np.nan
        self._same[..., _SINCE_S] = np.nan
        self._same[..., _BEGUN_S] = np.inf
        self._for_s = np.array([rule.for_s for rule in rules])
        self._factor = np.array([rule.factor for rule in rules])
        self._learn_s = np.array([rule.learn_s for rule in rules])
        self._min_changes = np.array([rule.min_changes for rule in rules])
        self._rail_s = np.array([np.inf if rule.rail_s is None else rule.rail_s for rule in rules])
        railed = np.isfinite(self._rail_s).any()
        self._low = np.array([-np.inf if p.low is None else p.low for p in points]) if railed else None
        self._high = np.array([np.inf if p.high is None else p.high for p in points]) if railed else None

    @property
    def nbytes(self) -> int:
        """Bytes of state for all points, the ends of their ranges included."""
        ends = 0 if self._low is None or self._high is None else self._low.nbytes + self._high.nbytes
        return super().nbytes + ends

    def update(self, series: Series) -> list[Crossing]:
        """Judge readings; the crossings, unordered."""
        series = series.in_range()
        return [crossing for slot in range(len(self._rule)) for crossing in self._judge(slot, series)]

    def _judge(self, slot: int, series: Series) -> list[Crossing]:
        """One slot of every point that has a rule in it."""
        series = self._ruled(slot, series)
        if not len(series.heads):
            return []
        readings = series.readings
        same_s, limit_s, whole = self._advance(slot, series)
        if self._low is not None and self._high is not None:
            value, low, high = readings.value, self._low[readings.point], self._high[readings.point]
            rail_s = self._rail_s[self._rule[slot][readings.point]]
            limit_s = np.where((value <= low) | (value >= high), np.minimum(rail_s, limit_s), limit_s)
        over = same_s >= limit_s

        def under(rows: Rows) -> Bools:
            moves: Bools = whole[rows] & ~over[rows]
            return moves

        changes = self._changes(slot, series, over, under)
        return self._crossings(slot, readings, changes, same_s, limit_s, same_s)

    def _advance(self, slot: int, series: Series) -> tuple[Floats, Floats, Bools]:
        """Carry the stretches on.

        Returns:
            Per reading how long the value is the same, after how long that is stuck (infinite = still
            learning), and whether the stretch began with a change that was seen.
        """
        turns = series.turns()
        number = self._rule[slot][turns.points]
        least_s, factor = self._for_s[number], self._factor[number]
        learn_s, min_changes = self._learn_s[number], self._min_changes[number]
        x, at_s = series.readings.value, series.readings.at_us / 1e6
        gap_us = self._gap_us[self._rule[slot][series.readings.point]]
        before = series.before_us
        cut = (before == NEVER) | series.broken | (series.readings.at_us - before > gap_us)
        same_s, limit_s = np.empty(len(x)), np.empty(len(x))
        whole = np.empty(len(x), np.bool_)
        columns = self._same[slot][turns.points].T.copy()
        for rows in turns.rows:
            value, now_s, torn = x[rows], at_s[rows], cut[rows]
            m = len(value)
            last, since, longest, begun, changes, seen = columns[:, :m]
            np.minimum(begun, now_s, out=begun)
            moved = (value != last) & ~torn
            learned = (changes >= min_changes[:m]) & (now_s - begun >= learn_s[:m])
            bound = np.where(learned, np.maximum(least_s[:m], factor[:m] * longest), np.inf)
            stretch = now_s - since
            ordinary = moved & (stretch < bound) & (seen > 0)
            np.maximum(longest, stretch, out=longest, where=ordinary)
            changes += moved
            begins = moved | torn
            np.copyto(since, now_s, where=begins)
            np.copyto(seen, moved, where=begins)
            last[:] = value
            same_s[rows], whole[rows] = now_s - since, seen > 0
            limit_s[rows] = bound
        self._same[slot][turns.points] = columns.T
        return same_s, limit_s, whole
