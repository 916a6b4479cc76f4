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
    """What readings find; arrays of their shape, in the order of turns.

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
        """Carry the stretches on; what is seen at each reading."""
        rule = number if len(number) == 1 else number[turns.place]
        torn = turns.broken | (turns.dt_s > self._gap_us[rule] / 1e6)
        joined = ~torn
        columns = fetch(self._same[slot], turns.points)
        # Of each reading: since when its value is the same, and what was learned before it.
        since_s, longest_s, begun_s, seen = np.empty((4, len(torn)))
        whole_at = np.empty(len(torn), np.bool_)
        numbers = np.broadcast_to(number, len(turns.points))
        for span in turns.spans:
            value, now_s = turns.value[span], turns.at_s[span]
            last, since, longest, begun, changes, whole = columns[:, : len(value)]
            np.minimum(begun, now_s, out=begun)
            begun_s[span], longest_s[span], seen[span] = begun, longest, changes
            moved = (value != last) & joined[span]
            stretch = now_s - since
            (longer,) = (moved & (stretch > longest) & (whole > 0)).nonzero()
            if len(longer):
                limit_s = self._limit_s(
                    numbers[longer], changes[longer], now_s[longer] - begun[longer], longest[longer]
                )
                ordinary = longer[stretch[longer] < limit_s]
                longest[ordinary] = stretch[ordinary]
            changes += moved
            begins = moved | torn[span]
            np.copyto(since, now_s, where=begins)
            np.copyto(whole, moved, where=begins)
            last[:] = value
            since_s[span], whole_at[span] = since, whole
        store(self._same[slot], turns.points, columns)
        same_s = turns.at_s - since_s
        limit_s = self._limit_s(rule, seen, turns.at_s - begun_s, longest_s)
        limit_s = self._railed(limit_s, turns.value, turns.points[turns.place], rule)
        return [_Seen(same_s, limit_s, same_s >= limit_s, whole_at)]

    def _limit_s(
        self, rule: NDArray[np.int16], changes: Floats, learned_s: Floats, longest_s: Floats
    ) -> Floats:
        """After how long the same value is stuck, as far as ``learned_s`` taught; infinite = not yet."""
        learned = (changes >= self._min_changes[rule]) & (learned_s >= self._learn_s[rule])
        return np.where(learned, np.maximum(self._for_s[rule], self._factor[rule] * longest_s), np.inf)

    def _railed(self, bound: Floats, value: Floats, points: Rows, number: NDArray[np.int16]) -> Floats:
        """``bound``, or the shorter time after which a value at an end of its point's range is stuck."""
        if self._low is None or self._high is None:
            return bound
        at_end = (value <= self._low.take(points)) | (value >= self._high.take(points))
        return np.where(at_end, np.minimum(self._rail_s[number], bound), bound)
