"""Noise: values that scatter from reading to reading more than they should: a loose contact. Pure numpy.

The scatter of a minute is that of the steps between its readings, which no steady movement touches; with one
or two readings a minute it is how far the last three minutes bend. What counts is the share of noisy minutes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alerting.detect.minutes import Closed
from alerting.detect.order import Rows
from alerting.detect.rules import Noise
from alerting.detect.slots import Crossing
from alerting.detect.tracks import Tracks
from fengsui.model import Point

MANY, FEW = 0.5, 0.2
"""Share of noisy minutes from which on a point is noisy, and below which it is not."""

_SHARE, _LEARNED, _LOGS, _PREVIOUS, _STEP = range(5)
"""Columns of a track: share of noisy minutes; how many were learned from, and the sum of the logarithms of
their noise; value of the minute before, and its difference to the one before that."""


class Noises(Tracks):
    """The share of noisy minutes of every noise rule at every point, aged over the rule's window.

    Delay: about 0.7 of the window. Warm-up: ``learn_minutes``, if the rule has a factor and no limit.
    """

    ARRAYS = ("_kept",)

    def __init__(self, rules: Sequence[Noise], points: Sequence[Point]) -> None:
        super().__init__(rules, points)
        self._kept = np.zeros((len(self._point), 5))
        self._kept[:, _PREVIOUS:] = np.nan
        self._given = np.array([np.nan if rule.above is None else rule.above for rule in rules])
        self._factor = np.array([rule.factor or np.nan for rule in rules])
        self._least = np.array([rule.least for rule in rules])
        self._learn = np.array([rule.learn_minutes if rule.above is None else 0 for rule in rules])
        self._window = np.array([rule.window_minutes for rule in rules])

    def _known(self, track: int) -> dict[str, float]:
        judged = self._kept[track, _LEARNED] >= self._learn[self._rule[track]]
        return {"noisy_share": float(self._kept[track, _SHARE]) if judged else np.nan, "noisy_limit": MANY}

    def _follow(self, closed: Closed, track: Rows) -> list[Crossing]:
        rule = self._rule[track]
        kept = self._kept.take(track, axis=0)
        restarts = self._restarts(closed, rule)
        step = np.where(restarts, np.nan, closed.value - kept[:, _PREVIOUS])
        bend = np.abs(step - kept[:, _STEP]) / np.sqrt(6.0)
        noise = np.where(np.isnan(closed.noise), bend, closed.noise)
        known = ~np.isnan(noise)
        learning = known & (kept[:, _LEARNED] < self._learn[rule])
        usual = np.exp(kept[:, _LOGS] / np.maximum(kept[:, _LEARNED], 1))
        limit = np.where(self._learn[rule] > 0, self._factor[rule] * usual, self._given[rule])
        judged = known & ~learning
        share = np.where(restarts, 0.0, kept[:, _SHARE])
        kept[:, _SHARE] = np.where(judged, share + ((noise >= limit) - share) / self._window[rule], share)
        kept[:, _PREVIOUS], kept[:, _STEP] = closed.value, step
        if learning.any():
            kept[learning, _LEARNED] += 1
            kept[learning, _LOGS] += np.log(np.maximum(noise[learning], self._least[rule[learning]]))
        self._kept[track] = kept
        return self._decide(
            closed,
            track,
            over=judged & (kept[:, _SHARE] >= MANY),
            under=judged & (kept[:, _SHARE] <= FEW),
            told=(noise, limit, self._window[rule] * 60.0),
        )
