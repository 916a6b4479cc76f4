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

from alerting.detect.order import NEVER, Bools, Floats, Rows, Series
from alerting.detect.rules import MOST_SCALES, Change
from alerting.detect.runs import Runs
from alerting.detect.slots import Crossing
from fengsui.model import Point

_LEARN_CLIP = 2.5
"""Scales that a step may be off for what is learned."""
_UNCLIPPED = 8
"""Steps at the beginning that are learned from as they are: there is no scale yet."""
_UNCERTAIN = 2.0


class _Seen(NamedTuple):
    """What a reading finds; arrays of shape (n,).

    Attributes:
        excess: The larger sum, scales; NaN = still learning.
        step: Mean of the last complete step.
        usual: The learned mean that it was held against.
        off_s: For how long the sum has been above 0.
    """

    excess: Floats
    step: Floats
    usual: Floats
    off_s: Floats


class Changes(Runs):
    """The state of every change rule at every point, for one stream of readings.

    Args:
        rules: In the order of their numbers in the state.
        points: By index, dense.

    Cost: 91 bytes per rule and point.
    """

    SLOT_ARRAYS = (*Runs.SLOT_ARRAYS, "_course")

    def __init__(self, rules: Sequence[Change], points: Sequence[Point]) -> None:
        super().__init__(rules, points)
        # Number, sum and count of the running step; its mean when it was last complete; steps learned from,
        # mean, variance; the two sums; since when one of them is above 0.
        self._course = np.zeros((*self._rule.shape, 10))
        self._step_s = np.array([rule.step_s for rule in rules])
        self._allowance = np.array([rule.allowance for rule in rules])
        self._limit = np.array([rule.limit for rule in rules])
        self._least = np.array([rule.least_scale for rule in rules])
        self._learn = np.array([float(rule.learn_steps) for rule in rules])
        self._most = np.array([rule.forget_s / rule.step_s for rule in rules])
        self._relearn_s = np.array([rule.relearn_s for rule in rules])

    def update(self, series: Series) -> list[Crossing]:
        """Judge readings; the crossings, unordered."""
        series = series.in_range()
        return [crossing for slot in range(len(self._rule)) for crossing in self._judge(slot, series)]

    def _judge(self, slot: int, series: Series) -> list[Crossing]:
        """One slot of every point that has a rule in it."""
        series = self._ruled(slot, series)
        if not len(series.heads):
            return []
        seen = self._advance(slot, series)
        limit = self._limit[self._rule[slot][series.readings.point]]

        def under(rows: Rows) -> Bools:
            low: Bools = seen.excess[rows] < limit[rows] / 2
            return low

        turned = self._changes(slot, series, seen.excess >= limit, under)
        return self._crossings(slot, series.readings, turned, seen.step, seen.usual, seen.off_s)

    def _advance(self, slot: int, series: Series) -> _Seen:
        """Carry steps, sums and what is learned on."""
        readings, before = series.readings, series.before_us
        number = self._rule[slot][readings.point]
        at_s = readings.at_us / 1e6
        step = np.floor(at_s / self._step_s[number])
        apart = (before == NEVER) | (readings.at_us - before > self._gap_us[number])
        turns = series.turns()
        number = self._rule[slot][turns.points]
        limit, learn = self._limit[number], self._learn[number]
        course = self._course[slot][turns.points].T.copy()
        seen = _Seen(*(np.empty(len(at_s)) for _ in _Seen._fields))
        for rows in turns.rows:
            value, now_s, here, cut = readings.value[rows], at_s[rows], step[rows], apart[rows]
            m = len(value)
            running, total, held, mean_step, steps, mean, _, up, down, since_s = course[:, :m]
            np.copyto(held, 0.0, where=cut)
            ends = (here != running) & (held > 0)
            if ends.any():
                np.divide(total, held, out=mean_step, where=ends)
                self._close(number[:m], course[3:, :m], now_s, ends)
            begins = (here != running) | cut
            np.copyto(total, np.where(begins, value, total + value))
            np.copyto(held, np.where(begins, 1.0, held + 1))
            running[:] = here
            excess = np.maximum(up, down)
            if (
                cut.any()
            ):  # what was not measured did not last, but an alarm stands until something says otherwise
                lapsed = cut & (excess < limit[:m])
                for sums in (up, down, excess):
                    np.copyto(sums, 0.0, where=lapsed)
                np.minimum(since_s, now_s, out=since_s)
            seen.excess[rows] = np.where(steps >= learn[:m], excess, np.nan)
            seen.step[rows], seen.usual[rows], seen.off_s[rows] = mean_step, mean, now_s - since_s
        self._course[slot][turns.points] = course.T
        return seen

    def _close(self, number: Rows, course: Floats, now_s: Floats, ends: Bools) -> None:
        """Judge the steps that end, and learn from them."""
        mean_step, steps, mean, variance, up, down, since_s = course
        limit = self._limit[number]
        off = mean_step - mean
        scale = np.sqrt(variance) * (1 + _UNCERTAIN / np.sqrt(np.maximum(steps, 1.0)))
        np.maximum(scale, self._least[number], out=scale)
        learned = steps >= self._learn[number]
        judged = ends & learned
        if judged.any():
            z = np.clip(off / scale, -MOST_SCALES, MOST_SCALES)
            allowance = self._allowance[number]
            # Twice the limit is as far as a sum goes, so that it comes back in time.
            np.copyto(up, np.clip(up + z - allowance, 0.0, 2 * limit), where=judged)
            np.copyto(down, np.clip(down - z - allowance, 0.0, 2 * limit), where=judged)
        excess = np.maximum(up, down)
        np.copyto(since_s, now_s, where=ends & (excess <= 0))
        teaches = ends & (excess < limit / 2)
        stale = ends & ~teaches & (now_s - since_s >= self._relearn_s[number])
        np.copyto(steps, np.where(teaches, np.minimum(steps + 1, self._most[number]), steps))
        reach = np.where(steps > _UNCLIPPED, _LEARN_CLIP * scale, np.inf)
        off = np.where(teaches, np.clip(off, -reach, reach), 0.0)
        share = 1 / np.maximum(steps, 1.0)
        mean += off * share
        np.copyto(variance, variance + (off * off * (1 - share) - variance) * share, where=teaches)
        if stale.any():
            for column in (steps, up, down):
                np.copyto(column, 0.0, where=stale)
