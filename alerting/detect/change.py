"""Change: the mean of a steady quantity has moved away from what it was learned to be. Pure numpy.

Readings are averaged over steps of ``step_s`` of event time, which makes sampling from 0.1 s to 60 s alike
and noise small. A step *m* is held against the learned mean and scale by a two-sided CUSUM (Page 1954)::

    z = clip((m - mean) / scale, -4, 4)
    up <- max(0, up + z - allowance)        down <- max(0, down - z - allowance)

The rule raises when ``max(up, down)`` reaches ``limit``, and is normal again below half of it. The clip
makes a glitch count once, and so a single one is no change whatever its size.

*mean* and *scale* are those of the first ``learn_steps`` steps; then they forget over ``forget_s`` (a
running mean that counts no more steps than those), each step taken for no further off than 2.5 scales. What
is learned stands still while the sum is beyond half the limit. So a drift of more than ``allowance`` scales
per ``forget_s`` is told and not learned; what lasts for ``relearn_s`` is learned anew. A scale known from
*n* steps is taken ``1 + 2 / sqrt(n)`` times as large, for it is uncertain, and never smaller than
``least_scale``.

Delay for a change of *d* scales: ``limit / (min(d, 4) - allowance)`` steps and the one it falls into; with
the shipped 2 and 10 that is 60 s for a large one. For independent steps the mean time between false alarms
is beyond 10^9 steps (Siegmund 1985); real plant is not independent, see ``docs/detection.md`` for what was
measured. Not for quantities that wander by nature, such as temperatures.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alerting.detect.order import Bools, Floats, Rows, Series, Turns
from alerting.detect.rules import MOST_SCALES, Change
from alerting.detect.runs import Recursions
from alerting.detect.slots import Crossing, fetch, store
from fengsui.model import Point

_LEARN_CLIP = 2.5
"""Scales that a step may be off for what is learned."""
_UNCLIPPED = 8
"""Steps at the beginning that are learned from as they are: there is no scale yet."""
_UNCERTAIN = 2.0


class _Seen(NamedTuple):
    """What the readings of a turn find; arrays of shape (m,).

    Attributes:
        excess: The larger sum, scales.
        learned: It is one of a step that was judged.
        step: Mean of the running step, or of the one that the reading ends.
        usual: The learned mean that it was held against.
        off_s: For how long the sum has been above 0.
        over: The sum is at the limit.
    """

    excess: Floats
    learned: Bools
    step: Floats
    usual: Floats
    off_s: Floats
    over: Bools


class Changes(Recursions[_Seen]):
    """The state of every change rule at every point, for one stream of readings.

    Args:
        rules: In the order of their numbers in the state.
        points: By index, dense.

    Cost: 75 bytes per rule and point.
    """

    SLOT_ARRAYS = (*Recursions.SLOT_ARRAYS, "_course")

    def __init__(self, rules: Sequence[Change], points: Sequence[Point]) -> None:
        super().__init__(rules, points)
        # Sum and count of the running step; steps learned from, mean, variance; the two sums; since when one
        # of them is above 0.
        self._course = np.zeros((*self._rule.shape, 8))
        self._step_s = np.array([rule.step_s for rule in rules])
        self._allowance = np.array([rule.allowance for rule in rules])
        self._limit = np.array([rule.limit for rule in rules])
        self._least = np.array([rule.least_scale for rule in rules])
        self._learn = np.array([float(rule.learn_steps) for rule in rules])
        self._most = np.array([rule.forget_s / rule.step_s for rule in rules])
        self._relearn_s = np.array([rule.relearn_s for rule in rules])

    def _known(self, slot: int, number: int, point: int, at_us: int) -> dict[str, float]:
        _, _, steps, mean, variance, up, down, _ = self._course[slot, point].tolist()
        return {
            "mean": mean if steps else np.nan,
            "scale": float(self._scale(number, steps, variance)) if steps else np.nan,
            "sum": max(up, down) if steps >= self._learn[number] else np.nan,
            "sum_limit": float(self._limit[number]),
        }

    def _tell(self, slot: int, series: Series, seen: Sequence[_Seen]) -> list[Crossing]:
        turns = series.turns
        excess = turns.spread([turn.excess for turn in seen])
        learned = turns.spread([turn.learned for turn in seen])
        limit = self._limit[self._rule[slot][series.readings.point]]

        def under(rows: Rows) -> Bools:
            low: Bools = (excess[rows] < limit[rows] / 2) & learned[rows]
            return low

        changes = self._changes(slot, series, excess >= limit, under)
        if not changes:
            return []
        step, usual = turns.spread([turn.step for turn in seen]), turns.spread([turn.usual for turn in seen])
        off_s = turns.spread([turn.off_s for turn in seen])
        return self._crossings(slot, series.readings, changes, step, usual, off_s)

    def _advance(self, slot: int, turns: Turns, number: NDArray[np.int16]) -> list[_Seen]:
        """Carry steps, sums and what is learned on; what is seen at each turn."""
        step_s, gap_s = self._step_s[number], self._gap_us[number] / 1e6
        limit, learn = self._limit[number], self._learn[number]
        course = fetch(self._course[slot], turns.points)
        seen = []
        for span in turns.spans:
            value, now_s = turns.value[span], turns.at_s[span]
            m = len(value)
            total, held, steps, mean, _, up, down, since_s = course[:, :m]
            cut = turns.unknown[span] | (turns.dt_s[span] > gap_s[:m])
            lapsed = np.flatnonzero(cut)
            if len(lapsed):
                # What was not measured did not last; an alarm stands until something says otherwise.
                held[lapsed] = 0.0
                fades = cut & (np.maximum(up, down) < limit[:m])
                up[fades] = down[fades] = 0.0
                since_s[lapsed] = np.minimum(since_s[lapsed], now_s[lapsed])
            another = np.floor(now_s / step_s[:m]) != np.floor(turns.before_s[span] / step_s[:m])
            ends = another & (held > 0)
            step = total / np.maximum(held, 1.0)
            if ends.any():
                self._close(number[:m], step, course[2:, :m], now_s, ends)
            goes_on = ~(another | cut)
            total *= goes_on
            total += value
            held *= goes_on
            held += 1
            excess = np.maximum(up, down)
            since_s[:] = np.where(excess > 0, since_s, now_s)
            learned = steps >= learn[:m]
            seen.append(_Seen(excess, learned, step, mean.copy(), now_s - since_s, excess >= limit[:m]))
        store(self._course[slot], turns.points, course)
        return seen

    def _close(
        self, number: NDArray[np.int16], step: Floats, course: Floats, now_s: Floats, ends: Bools
    ) -> None:
        """Judge the steps that end, and learn from them."""
        steps, mean, variance, up, down, since_s = course
        limit = self._limit[number]
        off = step - mean
        scale = self._scale(number, steps, variance)
        judged = ends & (steps >= self._learn[number])
        if judged.any():
            z = np.minimum(np.maximum(off / scale, -MOST_SCALES), MOST_SCALES)
            allowance = self._allowance[number]
            # Twice the limit is as far as a sum goes, so that it comes back in time.
            up += (z - allowance) * judged
            down -= (z + allowance) * judged
            sums = course[3:5]
            np.minimum(np.maximum(sums, 0.0, out=sums), 2 * limit, out=sums)
        stands = np.maximum(up, down) >= limit / 2
        teaches = ends & ~stands
        steps += teaches
        np.minimum(steps, self._most[number], out=steps)
        share = teaches / np.maximum(steps, 1.0)
        reach = _LEARN_CLIP * scale
        if steps.min() <= _UNCLIPPED:
            reach = np.where(steps > _UNCLIPPED, reach, np.inf)
        off = np.minimum(np.maximum(off, -reach), reach)
        mean += off * share
        variance += (off * off * (1 - share) - variance) * share
        if stands.any():
            stale = ends & stands & (now_s - since_s >= self._relearn_s[number])
            steps[stale] = up[stale] = down[stale] = 0.0

    def _scale(
        self, number: NDArray[np.int16] | int, steps: Floats | float, variance: Floats | float
    ) -> Floats:
        """The learned scale as it is taken, however uncertain."""
        scale = np.sqrt(variance) * (1 + _UNCERTAIN / np.sqrt(np.maximum(steps, 1.0)))
        taken: Floats = np.maximum(scale, self._least[number])
        return taken
