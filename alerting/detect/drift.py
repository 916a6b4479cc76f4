"""Drift: a sensor whose value in quiet hours moves away from what it was: soiling, ageing. Pure numpy.

A period (a day) is divided into 24 cells (hours); its level is a low quantile of their means, so that what
happens in some hours of a day does not count. The median of the last seven levels is held against the
reference, which is given with the rule or is the median of the first seven. It is reported as maintenance and
touches no other rule.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alerting.detect.minutes import Closed
from alerting.detect.order import Floats, Ints, Rows
from alerting.detect.robust import quantile
from alerting.detect.rules import DRIFT_CELLS, Drift
from alerting.detect.slots import Crossing
from alerting.detect.tracks import Tracks
from fengsui.model import Point

LEVELS = 7
NEEDED = 4
"""Levels that must be known before a drift is judged against a given reference."""

_CELL, _COUNT, _SUM, _SEEN = range(4)
"""Columns of an open cell; ``_SEEN`` counts the levels of the track."""


class Drifts(Tracks):
    """The quiet level of every drift rule at every point, over the last seven periods.

    Delay: about four periods after the level has moved; seven periods of warm-up without a given reference.
    """

    ARRAYS = ("_open", "_cells", "_levels", "_reference")

    def __init__(self, rules: Sequence[Drift], points: Sequence[Point]) -> None:
        super().__init__(rules, points)
        count = len(self._point)
        self._open = np.zeros((count, 4))
        self._cells = np.full((count, DRIFT_CELLS), np.nan, np.float32)
        self._levels = np.full((count, LEVELS), np.nan, np.float32)
        given = [np.nan if rule.reference is None else rule.reference for rule in rules]
        self._reference = np.array([*given, np.nan])[self._rule] if count else np.empty(0)
        self._width = np.array([rule.period_minutes // DRIFT_CELLS for rule in rules], np.int64)
        self._window_s = np.array([rule.period_minutes * 60.0 * LEVELS for rule in rules])
        self._quantile = np.array([rule.quantile for rule in rules])
        self._limit = np.array([rule.limit for rule in rules])
        self._reset = np.array([rule.reset for rule in rules])
        self._up = np.array([rule.direction != "down" for rule in rules], np.bool_)
        self._down = np.array([rule.direction != "up" for rule in rules], np.bool_)

    def _follow(self, closed: Closed, track: Rows) -> list[Crossing]:
        cell = closed.minute // self._width[self._rule[track]]
        opened = self._open.take(track, axis=0)
        moved = np.flatnonzero((opened[:, _COUNT] > 0) & (opened[:, _CELL] != cell))
        crossings: list[Crossing] = []
        if len(moved):
            crossings = self._end(closed.take(moved), track[moved], opened[moved], cell[moved])
            opened[moved, _SEEN] = self._open[track[moved], _SEEN]
            opened[moved, _COUNT] = opened[moved, _SUM] = 0.0
        opened[:, _CELL] = cell
        opened[:, _COUNT] += 1
        opened[:, _SUM] += closed.value
        self._open[track] = opened
        return crossings

    def _known(self, track: int) -> dict[str, float]:
        rule, reference = self._rule[track], float(self._reference[track])
        return {
            "level": float(quantile(self._levels[[track]])[0]),
            "reference": reference,
            "high": reference + self._limit[rule] if self._up[rule] else np.nan,
            "low": reference - self._limit[rule] if self._down[rule] else np.nan,
        }

    def _end(self, closed: Closed, track: Rows, ended: Floats, cell: Ints) -> list[Crossing]:
        """Cells are full; where the period is over too, its level is judged."""
        cells, each = self._cells[track], np.arange(len(track))
        number = ended[:, _CELL].astype(np.int64)
        cells[each, number % DRIFT_CELLS] = ended[:, _SUM] / ended[:, _COUNT]
        over = number // DRIFT_CELLS != cell // DRIFT_CELLS
        whole = over & (np.count_nonzero(~np.isnan(cells), axis=1) * 2 >= DRIFT_CELLS)
        rows = np.flatnonzero(whole)
        level = quantile(cells[rows], self._quantile[self._rule[track[rows]]])
        cells[over] = np.nan
        self._cells[track] = cells
        return self._judge(closed.take(rows), track[rows], level) if len(rows) else []

    def _judge(self, closed: Closed, track: Rows, level: Floats) -> list[Crossing]:
        """One more level of each of these tracks, and what it says of the sensor."""
        rule = self._rule[track]
        levels = np.concatenate([self._levels[track, 1:], level[:, None]], axis=1, dtype=np.float32)
        self._levels[track] = levels
        seen = self._open[track, _SEEN] + 1
        self._open[track, _SEEN] = seen
        now, reference = quantile(levels), self._reference[track]
        learned = np.isnan(reference) & (seen >= LEVELS)
        reference[learned] = now[learned]
        self._reference[track] = reference
        drift = now - reference
        away = np.maximum(
            np.where(self._up[rule], drift, -np.inf), np.where(self._down[rule], -drift, -np.inf)
        )
        known = seen >= NEEDED
        return self._decide(
            closed,
            track,
            over=known & (away >= self._limit[rule]),
            under=known & (away < self._reset[rule]),
            told=(drift, self._limit[rule], self._window_s[rule]),
        )
