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
_NO_ROWS = np.empty(0, np.intp)


class _Seen(NamedTuple):
    """What readings find; arrays of their shape, in the order of turns.

    Attributes:
        ahead: How far the value is ahead of its surroundings; NaN = still learning.
        over: It is so by the limit.
        ripe: And has not got there in one step without going on rising.
        level: It is not ahead; what is counted by time begins here.
        begun_s: When that was before these readings.
    """

    ahead: Floats
    over: Bools
    ripe: Bools
    level: Bools
    begun_s: Floats


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
        ahead, over = turns.spread([part.ahead for part in seen]), turns.spread([part.over for part in seen])
        ripe = turns.spread([part.ripe for part in seen])
        rule = self._rule[slot][series.readings.point]

        def under(rows: Rows) -> Bools:
            low: Bools = ahead[rows] < self._reset[rule[rows]]
            return low

        changes = self._changes(slot, series, over, under, ripe)
        if not changes:
            return []
        level = turns.spread([part.level for part in seen])
        since = series.last_where(level)
        begun_s = np.where(level[since], series.at_s[since], turns.spread([part.begun_s for part in seen]))
        return self._crossings(slot, series.readings, changes, ahead, self._rise[rule], series.at_s - begun_s)

    def _advance(self, slot: int, turns: Turns, number: NDArray[np.int16]) -> list[_Seen]:
        """Carry the surroundings on; what is seen at each reading."""
        rule = number if len(number) == 1 else number[turns.place]
        value, sign = turns.value, self._sign[rule]
        if (sign < 0).any():
            value = value * sign
        falls, climbs = self._down_per_s[rule] * turns.dt_s, self._up_per_s[rule] * turns.dt_s
        fresh = turns.broken | (turns.dt_s > self._gap_us[rule] / 1e6)
        course = fetch(self._course[slot], turns.points)
        learned = self._learned[slot].take(turns.points)
        ambient, last, beyond, begun = course
        begun_s = begun[turns.place]
        follow, learns, level = np.empty_like(value), np.zeros_like(fresh), np.zeros_like(fresh)
        teaches = bool(fresh.any() or (learned != _READY).any())
        numbers = np.broadcast_to(number, len(turns.points))
        before = ambient
        for span in turns.spans:
            now = follow[span]
            m = len(now)
            highest = before[:m] + climbs[span]
            np.subtract(before[:m], falls[span], out=now)
            np.maximum(now, value[span], out=now)
            new = np.flatnonzero(fresh[span] | (learned[:m] != _READY)) if teaches else _NO_ROWS
            if not len(new):
                before = np.minimum(now, highest, out=now)
                continue
            rows = new + span.start
            caught_up = np.where(turns.unknown[rows], value[rows], now[new])
            before = np.minimum(now, highest, out=now)
            now[new] = caught_up
            counted = np.where(fresh[rows], 0, learned[new])
            learned[new], begun[new] = self._learn(numbers[new], counted, begun[new], turns.at_s[rows])
            learns[rows], level[rows] = True, counted == 0
        ahead = value - follow
        if teaches:
            self._learned[slot][turns.points] = learned
            ahead[learns] = np.nan
        level |= ahead <= 0
        over = ahead >= self._rise[rule]
        ripe = over
        if over.any() or (beyond > -np.inf).any():
            ripe = self._ripe(
                turns, numbers, (value, value - follow, over, learns), (last, last - ambient, beyond)
            )
        fallen = np.flatnonzero(level)
        begun[turns.place[fallen]] = turns.at_s[fallen]  # the last of each point stays
        ambient[:], last[:] = follow[turns.last], value[turns.last]
        store(self._course[slot], turns.points, course)
        return [_Seen(ahead, over, ripe, level, begun_s)]

    def _ripe(
        self,
        turns: Turns,
        numbers: NDArray[np.int16],
        readings: tuple[Floats, Floats, Bools, Bools],
        carried: tuple[Floats, Floats, Floats],
    ) -> Bools:
        """Which readings that are over got there by rising.

        Args:
            turns: The readings.
            numbers: Rule of each point, in the order of ``turns.points``.
            readings: Of each its value, how far it is ahead, whether over its limit, whether learned from.
            carried: Of each point its last value, how far that was ahead, and what it must reach after a
                step, which is carried on.
        """
        (value, lead, over, learns), (last, before, beyond) = readings, carried
        ripe = over.copy()
        for span in turns.spans:
            m = span.stop - span.start
            goal = beyond[:m]
            goal[learns[span]] = -np.inf
            rare = np.flatnonzero(over[span] | (goal > -np.inf))
            if len(rare):
                rows, least = rare + span.start, self._rise[numbers[rare]]
                goal[rare], waits = _ripen(
                    value[rows], last[rare], before[rare], over[rows], goal[rare], least
                )
                ripe[rows[waits]] = False
            last, before = value[span], lead[span]
        return ripe

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
