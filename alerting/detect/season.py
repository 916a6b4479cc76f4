"""Season: what is usual in each hour of the week, and a value far from it. Pure numpy.

Each of the 168 hours has a mean and a scale, learned once a week from the minutes of the hour; the scale
holds both the scatter inside the hour and that from week to week. What is far away is drawn in before it is
learned, so one odd night changes little, and a lasting change becomes usual in some weeks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alerting.detect.minutes import Closed
from alerting.detect.order import Floats, Ints, Rows
from alerting.detect.rules import Season
from alerting.detect.slots import Crossing
from alerting.detect.tracks import Tracks
from fengsui.model import Point

HOURS = 168
_MEMORY_WEEKS = 8
"""An hour is learned as the mean of its weeks up to here, then with this memory."""
_DRAWN_IN = 3.0
"""A week further away than so many scales counts as if it were so far away."""
_MONDAY = 72
"""1970 began on a Thursday."""

_HOUR, _COUNT, _SHIFT, _SUM, _SQUARES, _MEAN, _SCALE = range(7)
"""Columns of an open hour: its number in local time, sums of value minus shift, and what is usual in it."""


class Seasons(Tracks):
    """The usual week of every season rule at every point.

    Delay: ``on_delay_s``. Warm-up: ``warm_weeks`` weeks of an hour, or of both hours beside it.
    """

    ARRAYS = ("_open", "_mean", "_scale", "_weeks")

    def __init__(self, rules: Sequence[Season], points: Sequence[Point]) -> None:
        super().__init__(rules, points)
        count = len(self._point)
        self._open = np.zeros((count, 7))
        self._mean = np.zeros((count, HOURS), np.float32)
        self._scale = np.zeros((count, HOURS), np.float32)
        self._weeks = np.zeros((count, HOURS), np.uint8)
        self._offset = np.array([rule.utc_offset_minutes for rule in rules], np.int64)
        self._warm = np.array([rule.warm_weeks for rule in rules], np.int64)
        self._least = np.array([rule.least_scale for rule in rules])
        self._limit = np.array([rule.scales for rule in rules])
        self._reset = np.array([rule.clear_scales for rule in rules])
        self._on_delay_s = np.array([rule.on_delay_s for rule in rules])
        self._up = np.array([rule.direction != "down" for rule in rules], np.bool_)
        self._down = np.array([rule.direction != "up" for rule in rules], np.bool_)

    def _follow(self, closed: Closed, track: Rows) -> list[Crossing]:
        rule = self._rule[track]
        hour = (closed.minute + self._offset[rule]) // 60
        opened = self._open.take(track, axis=0)
        rows = np.flatnonzero((opened[:, _COUNT] == 0) | (opened[:, _HOUR] != hour))
        if len(rows):
            self._learn(track[rows], opened[rows])
            opened[rows, _HOUR] = hour[rows]
            opened[rows, _COUNT] = opened[rows, _SUM] = opened[rows, _SQUARES] = 0.0
            opened[rows, _SHIFT] = closed.value[rows]
            opened[rows, _MEAN], opened[rows, _SCALE] = self._usual(track[rows], _cell(hour[rows]))
        apart = closed.value - opened[:, _SHIFT]
        opened[:, _COUNT] += 1
        opened[:, _SUM] += apart
        opened[:, _SQUARES] += apart * apart
        self._open[track] = opened

        mean, scale = opened[:, _MEAN], np.maximum(opened[:, _SCALE], self._least[rule])
        apart = closed.value - mean
        up = self._up[rule] & ((apart >= 0) | ~self._down[rule])
        away = np.where(up, apart, -apart)
        allowed = self._limit[rule] * scale
        return self._decide(
            closed,
            track,
            over=away >= allowed,
            under=away < self._reset[rule] * scale,
            told=(closed.value, mean + np.where(up, allowed, -allowed), self._on_delay_s[rule]),
        )

    def _known(self, track: int) -> dict[str, float]:
        rule, opened = self._rule[track], self._open[track]
        usual = float(opened[_MEAN]) if opened[_COUNT] else np.nan
        allowed = self._limit[rule] * max(float(opened[_SCALE]), self._least[rule])
        return {
            "usual": usual,
            "high": usual + allowed if self._up[rule] else np.nan,
            "low": usual - allowed if self._down[rule] else np.nan,
        }

    def _learn(self, track: Rows, ended: Floats) -> None:
        """One more week of the hours that have ended, those among ``ended`` that were open at all."""
        rows = np.flatnonzero(ended[:, _COUNT] > 0)
        if not len(rows):
            return
        track, ended = track[rows], ended[rows]
        rule, cell = self._rule[track], _cell(ended[:, _HOUR].astype(np.int64))
        part = ended[:, _SUM] / ended[:, _COUNT]
        inside = np.maximum(ended[:, _SQUARES] / ended[:, _COUNT] - part * part, 0.0)
        weeks = self._weeks[track, cell].astype(np.int64)
        mean, scale = self._mean[track, cell].astype(np.float64), self._scale[track, cell].astype(np.float64)
        apart = ended[:, _SHIFT] + part - mean
        most = np.where(weeks >= self._warm[rule], _DRAWN_IN * np.maximum(scale, self._least[rule]), np.inf)
        share = 1.0 / np.minimum(weeks + 1, _MEMORY_WEEKS)
        drawn = np.clip(apart, -most, most)
        spread = np.minimum(inside, most * most) + np.where(weeks > 0, drawn * drawn, 0.0)
        self._mean[track, cell] = mean + share * drawn
        self._scale[track, cell] = np.sqrt((1.0 - share) * scale * scale + share * spread)
        self._weeks[track, cell] = np.minimum(weeks + 1, 255)

    def _usual(self, track: Rows, cell: Ints) -> tuple[Floats, Floats]:
        """Mean and scale of an hour, or of both hours beside it while it is not known; NaN = not known."""
        around = (cell[:, None] + np.array([0, -1, 1])) % HOURS
        of = track[:, None]
        warm = self._weeks[of, around] >= self._warm[self._rule[track]][:, None]
        own = warm[:, 0]
        warm[:, 1:] = (warm[:, 1] & warm[:, 2] & ~own)[:, None]
        known = np.where(own, 1.0, np.where(warm[:, 1], 2.0, np.nan))
        means, scales = self._mean[of, around].astype(np.float64), self._scale[of, around].astype(np.float64)
        mean = np.where(warm, means, 0.0).sum(axis=1) / known
        apart = np.where(warm, means - mean[:, None], 0.0)
        squares = np.where(warm, scales * scales, 0.0) + apart * apart
        return mean, np.sqrt(squares.sum(axis=1) / known)


def _cell(hour: Ints) -> Ints:
    """Hour of the week, 0 = Monday 00:00, of a number of hours since 1970."""
    return (hour + _MONDAY) % HOURS
