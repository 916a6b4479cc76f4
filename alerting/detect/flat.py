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
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from alerting.detect.order import Bools, Floats, Rows, Series, Turns
from alerting.detect.rules import Flat
from alerting.detect.runs import Recursions
from alerting.detect.slots import Crossing, fetch, store
from fengsui.model import Point

_LAST, _SINCE_S, _LONGEST_S, _BEGUN_S, _CHANGES, _WHOLE = range(6)
"""Columns of the state: last value, since when it is the same, longest ordinary stretch, since when it is
learned, changes seen, and whether this stretch began with a change (1) or out of a gap (0)."""


class _Seen(NamedTuple):
    """What the readings of a turn find; arrays of shape (m,).

    Attributes:
        same_s: How long the value is the same.
        limit_s: After how long that is stuck; infinite = still learning.
        over: It is so long.
        whole: The stretch began with a change that was seen.
    """

    same_s: Floats
    limit_s: Floats
    over: Bools
    whole: Bools


class Flats(Recursions[_Seen]):
    """The state of every flat-line rule at every point, for one stream of readings.

    Args:
        rules: In the order of their numbers in the state.
        points: By index, dense.

    Cost: 60 bytes per rule and point.
    """

    SLOT_ARRAYS = (*Recursions.SLOT_ARRAYS, "_same")

    def __init__(self, rules: Sequence[Flat], points: Sequence[Point]) -> None:
        super().__init__(rules, points)
        self._same = np.zeros((*self._rule.shape, 6))
        self._same[..., _LAST] = np.nan
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

    def join(self, other: Self) -> None:
        """Take over what another one of the same rules holds: its points come after one's own."""
        super().join(other)
        if self._low is not None and self._high is not None:
            assert other._low is not None  # its rules are the same
            assert other._high is not None
            self._low = np.append(self._low, other._low)
            self._high = np.append(self._high, other._high)

    def _known(self, slot: int, number: int, point: int, at_us: int) -> dict[str, float]:
        last, since_s, longest_s, begun_s, changes, _ = self._same[slot, point].tolist()
        at_s = at_us / 1e6
        learned = changes >= self._min_changes[number] and at_s - begun_s >= self._learn_s[number]
        stuck_s = max(self._for_s[number], self._factor[number] * longest_s) if learned else np.inf
        if (
            self._low is not None
            and self._high is not None
            and not self._low[point] < last < self._high[point]
        ):
            stuck_s = min(stuck_s, self._rail_s[number])
        return {
            "same_s": np.nan if np.isnan(last) else at_s - since_s,
            "stuck_s": float(stuck_s) if np.isfinite(stuck_s) else np.nan,
        }

    def _tell(self, slot: int, series: Series, seen: Sequence[_Seen]) -> list[Crossing]:
        turns = series.turns
        over, whole = turns.spread([turn.over for turn in seen]), turns.spread([turn.whole for turn in seen])

        def under(rows: Rows) -> Bools:
            moves: Bools = whole[rows] & ~over[rows]
            return moves

        changes = self._changes(slot, series, over, under)
        if not changes:
            return []
        same_s = turns.spread([turn.same_s for turn in seen])
        limit_s = turns.spread([turn.limit_s for turn in seen])
        return self._crossings(slot, series.readings, changes, same_s, limit_s, same_s)

    def _advance(self, slot: int, turns: Turns, number: NDArray[np.int16]) -> list[_Seen]:
        """Carry the stretches on; what is seen at each turn."""
        least_s, factor = self._for_s[number], self._factor[number]
        learn_s, min_changes = self._learn_s[number], self._min_changes[number]
        gap_s = self._gap_us[number] / 1e6
        seen = []
        columns = fetch(self._same[slot], turns.points)
        for span in turns.spans:
            value, now_s = turns.value[span], turns.at_s[span]
            m = len(value)
            torn = turns.broken[span] | (turns.dt_s[span] > gap_s[:m])
            last, since, longest, begun, changes, whole = columns[:, :m]
            np.minimum(begun, now_s, out=begun)
            moved = (value != last) & ~torn
            learned = (changes >= min_changes[:m]) & (now_s - begun >= learn_s[:m])
            bound = np.where(learned, np.maximum(least_s[:m], factor[:m] * longest), np.inf)
            stretch = now_s - since
            ordinary = moved & (stretch < bound) & (whole > 0)
            np.maximum(longest, stretch * ordinary, out=longest)
            changes += moved
            begins = moved | torn
            since[:] = np.where(begins, now_s, since)
            whole[:] = np.where(begins, moved, whole)
            last[:] = value
            same_s = now_s - since
            limit_s = self._railed(bound, value, turns.points[:m], number[:m])
            seen.append(_Seen(same_s, limit_s, same_s >= limit_s, whole > 0))
        store(self._same[slot], turns.points, columns)
        return seen

    def _railed(self, bound: Floats, value: Floats, points: Rows, number: NDArray[np.int16]) -> Floats:
        """``bound``, or the shorter time after which a value at an end of its point's range is stuck."""
        if self._low is None or self._high is None:
            return bound
        at_end = (value <= self._low.take(points)) | (value >= self._high.take(points))
        return np.where(at_end, np.minimum(self._rail_s[number], bound), bound)
