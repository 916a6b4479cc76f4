"""Trends: a robust line through the last minutes, and when it will reach a limit. Pure numpy.

The slope is Theil and Sen's: the median of the slopes between all pairs of minutes, which up to 29 % of wild
values do not carry away - a glitch, a pump that starts, a tap that is opened. A window longer than 32 minutes
is kept in 32 cells of several minutes each. Whether something moves is asked of the whole window; how fast,
and until when, of its newer half, which knows nothing of the time before it began.

Source: P. K. Sen, "Estimates of the regression coefficient based on Kendall's tau", JASA 63 (1968).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alerting.detect.minutes import Closed
from alerting.detect.order import Bools, Floats, Ints, Rows
from alerting.detect.robust import TO_SIGMA, quantile
from alerting.detect.rules import Trend
from alerting.detect.slots import Crossing
from alerting.detect.tracks import Numbers, Tracks
from fengsui.model import Point

CELLS = 32
EXPLAINS = 4.0
"""A line explains the data if the change over the window is at least so many times the scatter around it.

White noise alone comes nowhere near (its change is below once the scatter); the line through a step has
about 2.7.
"""
GOES_ON = 0.5
"""A trend goes on if the newer half of the window is at least so steep against the whole: a step is over."""
_AGE = np.arange(CELLS)[::-1]
"""Of each cell; the newest is 0."""
_CHUNK = 512

Cells = NDArray[np.float32]


class Line(NamedTuple):
    """A robust line through cells; arrays of shape (n,), NaN = too few cells."""

    slope: Floats
    """Per cell."""
    level: Floats
    """Of the line at the newest cell."""
    scatter: Floats
    """Standard deviation of what the line does not explain."""


class _Seen(NamedTuple):
    """What tracks know; arrays of shape (n,).

    Attributes:
        slope: Of the newer half, per minute; 0 = nothing moves.
        eta_s: Until the limit; infinite = never.
        newer: Median of the newer half.
        known: Half of the window's cells are.
    """

    slope: Floats
    eta_s: Floats
    newer: Floats
    known: Bools


class Trends(Tracks):
    """The last minutes of every trend rule at every point.

    Delay: half a window of minutes until there is a line, then ``on_delay_s``.
    """

    ARRAYS = ("_cells", "_filled")

    def __init__(self, rules: Sequence[Trend], points: Sequence[Point]) -> None:
        super().__init__(rules, points)
        self._rules = tuple(rules)
        self._cells = np.full((len(self._point), CELLS), np.nan, np.float32)
        self._filled = np.zeros(len(self._point), np.int16)
        """Minutes in the newest cell."""
        self._width = np.array([-(-rule.window_minutes // CELLS) for rule in rules], np.int64)
        used = [-(-r.window_minutes // w) for r, w in zip(rules, self._width.tolist(), strict=True)]
        self._used = np.array(used, np.int64)
        self._sign = np.array([1.0 if rule.above is not None else -1.0 for rule in rules])
        self._limit = np.array([rule.limit for rule in rules])
        self._within_s = np.array([rule.within_s for rule in rules])
        self._clear_s = np.array([rule.clear_s for rule in rules])
        self._least = np.array([rule.least_change for rule in rules])

    def _follow(self, closed: Closed, track: Rows) -> list[Crossing]:
        rule = self._rule[track]
        seen = self._look(self._enter(closed, track), rule)
        limit = self._limit[rule]
        return self._decide(
            closed,
            track,
            over=(seen.eta_s > 0)
            & (seen.eta_s <= self._within_s[rule]),  # beyond the limit a threshold speaks
            under=seen.known
            & (self._sign[rule] * (limit - seen.newer) > 0)
            & (seen.eta_s > self._clear_s[rule]),
            told=(seen.slope, limit, np.minimum(seen.eta_s, self._clear_s[rule])),
        )

    def _known(self, track: int) -> dict[str, float]:
        rule = self._rule[[track]]
        seen = self._look(self._cells[[track]], rule)
        known, moves = bool(seen.known[0]), bool(np.isfinite(seen.eta_s[0]))
        return {
            "limit": float(self._limit[rule[0]]),
            "slope_per_min": float(seen.slope[0]) if known else np.nan,
            "left_s": float(seen.eta_s[0]) if known and moves else np.nan,
            "within_s": float(self._within_s[rule[0]]),
        }

    def _look(self, cells: Cells, rule: Numbers) -> _Seen:
        """What tracks with these cells, oldest first, know."""
        used, sign = self._used[rule], self._sign[rule]
        cells = _newest(cells, used)
        slope, eta_s = np.zeros(len(rule)), np.full(len(rule), np.inf)
        newer = quantile(_newest(cells[:, CELLS // 2 :], used // 2))
        older = quantile(np.where(used[:, None] // 2 > _AGE, np.float32(np.nan), cells))
        known = np.count_nonzero(~np.isnan(cells), axis=1) * 2 >= used
        # Most points do not move, and this much is seen without a line.
        rows = np.flatnonzero(known & ~(sign * (newer - older) < self._least[rule] / 4))
        if len(rows):
            slope[rows], eta_s[rows] = self._forecast(cells[rows], rule[rows])
        return _Seen(slope, eta_s, newer, known)

    def _forecast(self, cells: Cells, rule: Numbers) -> tuple[Floats, Floats]:
        """Slope per minute, and seconds until the limit (infinite = nothing moves there); known windows."""
        used, width, sign = self._used[rule], self._width[rule], self._sign[rule]
        line = fit(cells)
        change = sign * line.slope * (used - 1)
        half = _newest(cells[:, CELLS // 2 :], used // 2)
        late = fit(half)
        toward = sign * late.slope
        moves = (change >= self._least[rule]) & (change >= EXPLAINS * line.scatter)
        moves &= toward >= GOES_ON * sign * line.slope
        moves &= np.count_nonzero(~np.isnan(half), axis=1) * 2 >= used // 2
        left = np.maximum(sign * (self._limit[rule] - late.level), 0.0)
        eta = self._settled(half, rule, np.where(moves, left / np.where(moves, toward, 1.0), np.inf))
        return late.slope / width, eta * width * 60.0

    def _enter(self, closed: Closed, track: Rows) -> Cells:
        """Put the minutes into their tracks' cells; the cells, oldest first."""
        rule = self._rule[track]
        width = self._width[rule]
        cells = self._cells.take(track, axis=0)
        restarts = self._restarts(closed, rule)
        shift = closed.minute // width - (closed.minute - closed.gap) // width
        shift = np.where(restarts | (closed.gap < 0), CELLS, np.minimum(shift, CELLS))
        for by in np.unique(shift).tolist():
            if by:
                rows = slice(None) if (shift == by).all() else shift == by
                moved = np.full_like(cells[rows], np.nan)
                moved[:, : CELLS - by] = cells[rows][:, by:]
                cells[rows] = moved
        filled = np.where(shift > 0, 1, self._filled[track] + 1)
        newest = cells[:, -1].astype(np.float64)
        first = (filled == 1) | np.isnan(newest)
        cells[:, -1] = np.where(first, closed.value, newest + (closed.value - newest) / filled)
        self._cells[track] = cells
        self._filled[track] = filled
        return cells

    def _settled(self, cells: Cells, rule: Numbers, eta: Floats) -> Floats:
        """The forecasts in cells, later or infinite where a rule says that its quantity settles and it does.

        The medians of three thirds of ``cells`` lie on m + c q^t; below q = 1 that ends at a level, and the
        limit is reached later than by the line, or never.
        """
        eta = eta.copy()
        for number in np.unique(rule).tolist():
            by = self._rules[number]
            if not by.settles:
                continue
            rows = np.flatnonzero((rule == number) & (eta > 0))
            third = int(self._used[number]) // 6
            parts = cells[rows, cells.shape[1] - 3 * third :].reshape(-1, third)
            one, two, three = (self._sign[number] * quantile(parts)).reshape(-1, 3).T
            begun, ended = two - one, three - two
            flattens = (begun > 0) & (ended < begun)
            begun = np.where(flattens, begun, 1.0)
            ended = np.where(flattens, np.maximum(ended, 1e-3 * begun), 0.5)
            q = ended / begun
            final = three + ended * q / (1 - q)
            beyond = final - self._sign[number] * by.limit
            reached = beyond > 0
            thirds = np.log(np.where(reached, beyond, 1.0) / (final - three)) / np.log(q)
            later = np.where(reached, (thirds - 0.5) * third, np.inf)
            eta[rows] = np.where(flattens, np.maximum(eta[rows], later), eta[rows])
        return eta


def fit(cells: Cells) -> Line:
    """The robust line through each row.

    Args:
        cells: Values one step apart, shape (n, cells); NaN = missing.

    Returns:
        NaN in rows with fewer than two values.

    Source: Sen 1968; the level is the median of what remains, the scatter its median absolute deviation.
    """
    parts = [_fit(cells[begin : begin + _CHUNK]) for begin in range(0, len(cells), _CHUNK)]
    if len(parts) == 1:
        return parts[0]
    return Line(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def _fit(cells: Cells) -> Line:
    count = cells.shape[1]
    slopes = np.empty((len(cells), count * (count - 1) // 2), np.float32)
    begin = 0
    for lag in range(1, count):
        part = slopes[:, begin : begin + count - lag]
        np.subtract(cells[:, lag:], cells[:, :-lag], out=part)
        part *= np.float32(1 / lag)
        begin += count - lag
    slope = quantile(slopes)
    rest = cells - slope[:, None] * np.arange(1 - count, 1)
    level = quantile(rest)
    return Line(slope, level, TO_SIGMA * quantile(np.abs(rest - level[:, None])))


def _newest(cells: Cells, used: Ints) -> Cells:
    """The cells without those that are older than the newest ``used`` of each row."""
    count = cells.shape[1]
    if (used >= count).all():
        return cells
    return np.where(_AGE[-count:] >= used[:, None], np.float32(np.nan), cells)
