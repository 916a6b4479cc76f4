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
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alerting.detect.order import Bools, Floats, Rows, Series, Turns
from alerting.detect.rules import Rate
from alerting.detect.runs import Recursions
from alerting.detect.slots import Crossing, fetch, store
from fengsui.model import Point

_AMBIENT = 0
"""First column of ``_course``; then the last value, what it must reach after a step (-inf = no step), and
since when it is ahead (while learning: since when it is learned from)."""
_READY = 100
"""``_learned`` of a rule that has seen enough readings to speak."""


class _Seen(NamedTuple):
    """What the readings of a turn find; arrays of shape (m,).

    Attributes:
        ahead: How far the value is ahead of its surroundings; NaN = still learning.
        off_s: For how long.
        over: It is so by the limit.
        ripe: And has not got there in one step without going on rising.
    """

    ahead: Floats
    off_s: Floats
    over: Bools
    ripe: Bools


class Rates(Recursions[_Seen]):
    """The state of every rate rule at every point, for one stream of readings.

    Args:
        rules: In the order of their numbers in the state.
        points: By index, dense.

    Cost: 50 bytes per rule and point.
    """

    SLOT_ARRAYS = (*Recursions.SLOT_ARRAYS, "_course", "_learned")

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

    def _known(self, slot: int, number: int, point: int, at_us: int) -> dict[str, float]:
        ambient, last, _, _ = self._course[slot, point].tolist()
        ready = self._learned[slot, point] == _READY
        return {
            "surroundings": self._sign[number] * ambient if np.isfinite(ambient) else np.nan,
            "ahead": last - ambient if ready else np.nan,
            "rise": float(self._rise[number]),
        }

    def _tell(self, slot: int, series: Series, seen: Sequence[_Seen]) -> list[Crossing]:
        turns = series.turns
        ahead, over = turns.spread([turn.ahead for turn in seen]), turns.spread([turn.over for turn in seen])
        ripe = turns.spread([turn.ripe for turn in seen])
        point = series.readings.point

        def under(rows: Rows) -> Bools:
            low: Bools = ahead[rows] < self._reset[self._rule[slot][point[rows]]]
            return low

        changes = self._changes(slot, series, over, under, ripe)
        if not changes:
            return []
        least, off_s = self._rise[self._rule[slot][point]], turns.spread([turn.off_s for turn in seen])
        return self._crossings(slot, series.readings, changes, ahead, least, off_s)

    def _advance(self, slot: int, turns: Turns, number: NDArray[np.int16]) -> list[_Seen]:
        """Carry the surroundings on; what is seen at each turn."""
        up_per_s, down_per_s, least = self._up_per_s[number], self._down_per_s[number], self._rise[number]
        sign, gap_s = self._sign[number], self._gap_us[number] / 1e6
        rising = bool((sign > 0).all())
        numbers = np.broadcast_to(number, len(turns.points))
        course = fetch(self._course[slot], turns.points)
        learned = self._learned[slot].take(turns.points)
        seen = []
        taught = False
        for span in turns.spans:
            now_s, dt_s = turns.at_s[span], turns.dt_s[span]
            m = len(now_s)
            value = turns.value[span] if rising else turns.value[span] * sign[:m]
            ambient, last, beyond, begun = course[:, :m]
            caught_up = np.maximum(value, ambient - down_per_s[:m] * dt_s)
            follow = np.minimum(caught_up, ambient + up_per_s[:m] * dt_s)
            ahead = value - follow
            fresh = turns.broken[span] | (dt_s > gap_s[:m])
            learning = np.flatnonzero(fresh | (learned[:m] != _READY))
            if len(learning):
                counted = np.where(fresh[learning], 0, learned[learning])
                learned[learning], begun[learning] = self._learn(
                    numbers[learning], counted, begun[learning], now_s[learning]
                )
                taught = True
                follow[learning] = np.where(turns.unknown[span], value, caught_up)[learning]
                ahead[learning] = np.nan
                beyond[learning] = -np.inf
            over = ahead >= least[:m]
            ripe = over
            rare = np.flatnonzero(over | (beyond > -np.inf))
            if len(rare):
                before, enough = last[rare] - ambient[rare], self._rise[numbers[rare]]
                beyond[rare], waits = _ripen(
                    value[rare], last[rare], before, over[rare], beyond[rare], enough
                )
                ripe = over.copy()
                ripe[rare[waits]] = False
            begun[:] = np.where(ahead <= 0, now_s, begun)
            ambient[:], last[:] = follow, value
            seen.append(_Seen(ahead, now_s - begun, over, ripe))
        store(self._course[slot], turns.points, course)
        if taught:
            self._learned[slot][turns.points] = learned
        return seen

    def _learn(
        self, rule: NDArray[np.int16], learned: NDArray[np.int8], begun_s: Floats, now_s: Floats
    ) -> tuple[NDArray[np.int8], Floats]:
        """Count these readings until there are enough, and since when (0 counted = from now on)."""
        begun_s = np.where(learned == 0, now_s, begun_s)
        count = np.minimum(learned + 1, _READY - 1)
        enough = (count >= self._min_samples[rule]) & (now_s - begun_s >= self._min_data_s[rule])
        return np.where(enough, _READY, count).astype(np.int8), begun_s


def _ripen(
    value: Floats, last: Floats, before: Floats, over: Bools, beyond: Floats, least: Floats
) -> tuple[Floats, Bools]:
    """What a value that is ahead must reach (-inf = nothing more), and whether it still has to.

    ``last`` is the value before this one, and ``before`` how far that was ahead.
    """
    step = over & (value - last >= least) & (before < least)
    goal = np.where(step, value + least / 4, beyond)
    waits: Bools = over & (value < goal)
    return np.where(waits, goal, -np.inf), waits
