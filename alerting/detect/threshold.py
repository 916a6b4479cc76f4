"""Thresholds over all points at once: limit and reset, and late readings by the limit alone. Pure numpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from numpy.typing import NDArray

from alerting.detect.order import Bools, Readings, Rows, Series
from alerting.detect.rules import Threshold
from alerting.detect.runs import Runs, Turned
from alerting.detect.slots import Crossing, shared, with_slots
from alerting.detect.verdict import VerdictKind
from fengsui.model import Point, Quality

Numbers = NDArray[np.int16] | NDArray[np.int32]


class Thresholds(Runs):
    """The state of every threshold rule at every point, for one stream of readings (real, or simulated).

    Args:
        rules: In the order of their numbers in the state.
        points: By index, dense.
    """

    def __init__(self, rules: Sequence[Threshold], points: Sequence[Point]) -> None:
        super().__init__(rules, points)
        self._own, limits = _own_limits(rules, points, self._rule)
        """For each slot the row of its limits in the three arrays below; -1 = none."""
        # One row per limit and a last one that never crosses, so that index -1 (no rule) needs no mask.
        sign = [1.0 if rule.above is not None else -1.0 for rule in limits]
        self._sign = np.array([*sign, 1.0])
        self._limit = np.array([*(s * rule.limit for s, rule in zip(sign, limits, strict=True)), np.inf])
        self._reset = np.array([*(s * rule.reset for s, rule in zip(sign, limits, strict=True)), -np.inf])

    @property
    def nbytes(self) -> int:
        """Bytes of state for all points."""
        return super().nbytes + (0 if self._own is self._rule else self._own.nbytes)

    def join(self, other: Self) -> None:
        """Take over what another one of the same rules holds: its points come after one's own."""
        if self._own is self._rule:
            super().join(other)
            self._own = self._rule
            return
        given, limits = len(self._numbered), len(self._limit) - 1
        own, theirs = self._own, np.where(other._own >= given, other._own + (limits - given), other._own)
        super().join(other)
        slots = len(self._rule)
        self._own = np.concatenate([with_slots(own, slots, -1), with_slots(theirs, slots, -1)], axis=1)
        for name in ("_sign", "_limit", "_reset"):
            mine, more = self._array(name), other._array(name)
            setattr(self, name, np.concatenate([mine[:-1], more[given:-1], mine[-1:]]))

    def late(self, readings: Readings) -> list[Crossing]:
        """Judge late readings, which change no state, by the limit alone."""
        crossings: list[Crossing] = []
        for slot in range(len(self._rule)):
            own = self._own[slot][readings.point]
            over = np.flatnonzero(readings.value * self._sign[own] >= self._limit[own])
            crossings += self._found(slot, readings, own, {VerdictKind.PAST: over})
        return crossings

    def _known(self, slot: int, number: int, point: int, at_us: int) -> dict[str, float]:
        own = self._own[slot, point]
        sign = self._sign[own]
        return {"limit": float(self._limit[own] * sign), "reset": float(self._reset[own] * sign)}

    def _judge(self, slot: int, series: Series) -> list[Crossing]:
        """One slot of every point."""
        readings = series.readings
        own = self._own[slot].take(readings.point)
        number = shared(own)
        value = readings.value * self._sign[number]

        def under(rows: Rows) -> Bools:
            # A value beyond what the sensor can measure may raise an alarm; it never proves that all is well.
            measured = readings.quality[rows] != Quality.OUT_OF_RANGE
            normal: Bools = (value[rows] < self._reset[own[rows]]) & measured
            return normal

        changes = self._changes(slot, series, value >= self._limit[number], under)
        return self._found(slot, readings, own, changes) if changes else []

    def _found(self, slot: int, readings: Readings, own: Numbers, changes: Turned) -> list[Crossing]:
        limit, on_s = self._limit[own] * self._sign[own], self._on_us[self._rule[slot][readings.point]] / 1e6
        return self._crossings(slot, readings, changes, readings.value, limit, on_s)


def _own_limits(
    rules: Sequence[Threshold], points: Sequence[Point], assigned: NDArray[np.int16]
) -> tuple[Numbers, list[Threshold]]:
    """For each slot the number of its limits, and the rules with them: the given, then one per other limit.

    Without a rule relative to its points the slots are those of ``assigned``, not a copy.
    """
    limits = list(rules)
    relative = [number for number, rule in enumerate(rules) if rule.relative_to]
    if not relative:
        return assigned, limits
    table = assigned.astype(np.int32)
    known: dict[Threshold, int] = {}
    for slot, index in np.argwhere(np.isin(assigned, relative)).tolist():
        rule = rules[assigned[slot, index]].at(points[index])
        if rule is not None and rule not in known:
            known[rule] = len(limits)
            limits.append(rule)
        table[slot, index] = -1 if rule is None else known[rule]
    return table, limits
