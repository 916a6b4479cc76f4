"""The gate behind the detectors: a rule with a schedule is heard only in its hours.

A detector goes on judging outside the hours, so that what is already so when they begin raises with their
first reading, and what still is so when they end is let go with the first reading after. Pure numpy.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from alerting.detect.order import Bools, Ints, Readings, Rows, Series
from alerting.detect.rules import Rule
from alerting.detect.schedule import WEEK_MIN, minute_of_week
from alerting.detect.slots import Crossing, Slots
from alerting.detect.verdict import VerdictKind
from fengsui.model import Point


class Gate(Slots):
    """What the rules with a schedule may say, for one stream of readings.

    Args:
        rules: Of all kinds; those without a schedule pass.
        points: By index, dense.
    """

    SLOT_ARRAYS = ("_inside", "_said", "_numbers")

    def __init__(self, rules: Sequence[Rule], points: Sequence[Point]) -> None:
        timed = tuple(rule for rule in rules if rule.schedule is not None)
        super().__init__(timed, points if timed else ())
        self._number = {rule.name: number for number, rule in enumerate(timed)}
        shape = self._rule.shape
        self._inside = np.zeros(shape, np.bool_)
        """What the detector says: the rule's condition holds."""
        self._said = np.zeros(shape, np.bool_)
        """What the gate let through of it."""
        self._numbers = np.zeros((*shape, 3))
        """Observed, limit and window of the last raise of the detector."""
        self._open = np.zeros((len(timed), WEEK_MIN), np.bool_)
        self._offset_min = np.zeros(len(timed), np.int64)
        for number, rule in enumerate(timed):
            assert rule.schedule is not None
            self._open[number] = rule.schedule.minutes()
            self._offset_min[number] = rule.schedule.offset_min()

    def update(self, series: Series, crossings: list[Crossing]) -> list[Crossing]:
        """What of the detectors' crossings counts, and what the hours' beginning and end say."""
        if not self._numbered:
            return crossings
        passed = [crossing for crossing in crossings if crossing.rule.name not in self._number]
        timed = [crossing for crossing in crossings if crossing.rule.name in self._number]
        for slot in range(len(self._rule)):
            passed += self._judge(slot, series, timed)
        return passed

    def late(self, readings: Readings, crossings: list[Crossing]) -> list[Crossing]:
        """Crossings of late readings without those outside their rule's hours."""
        if not self._numbered or not crossings:
            return crossings
        at = readings.at_us[_rows_of(readings, crossings)]
        return [
            crossing
            for crossing, at_us in zip(crossings, at, strict=True)
            if crossing.rule.name not in self._number
            or self._is_open(np.array([self._number[crossing.rule.name]]), np.array([at_us]))[0]
        ]

    def assume_active(self, rule: str, point: int) -> None:
        """Take over from the alarm book that ``rule`` is active at ``point``, if it still applies there."""
        slot = self.slot_of(rule, point) if rule in self._number else None
        if slot is not None:
            self._inside[slot, point] = self._said[slot, point] = True

    def _is_open(self, number: NDArray[np.int16] | Rows, at_us: Ints) -> Bools:
        is_open: Bools = self._open[number, minute_of_week(at_us, self._offset_min[number])]
        return is_open

    def _judge(self, slot: int, series: Series, timed: list[Crossing]) -> list[Crossing]:
        """One slot of every point: forward what the detector says, within the hours."""
        point = series.readings.point
        turn = np.zeros(len(point), np.int8)
        said_at: dict[int, Crossing] = {}
        number = self._rule[slot][point]
        where = _rows_of(series.readings, timed).tolist() if timed else []
        for at, crossing in zip(where, timed, strict=True):
            if number[at] == self._number[crossing.rule.name]:
                turn[at] = 1 if crossing.kind is VerdictKind.RAISE else -1
                said_at[crossing.row] = crossing
        concerned = self._inside[slot] | self._said[slot]
        concerned[point[turn != 0]] = True
        chosen = np.flatnonzero(concerned[point] & (number >= 0))
        if not len(chosen):
            return []
        chosen_series = series.take(chosen)
        readings, heads, tails = chosen_series.readings, chosen_series.heads, chosen_series.tails
        first = chosen_series.first
        point, turn = readings.point, turn[chosen]
        here = np.arange(len(point))
        decided = np.maximum.accumulate(np.where((turn != 0) | first, here, 0))
        kept = np.zeros(len(point), np.bool_)
        kept[heads] = self._inside[slot][point[heads]]
        inside = np.where(turn[decided] != 0, turn[decided] > 0, kept[decided])
        said = inside & self._is_open(self._rule[slot][point], readings.at_us)
        was = np.empty_like(said)
        was[1:] = said[:-1]
        was[heads] = self._said[slot][point[heads]]
        out: list[Crossing] = []
        for at in np.flatnonzero((turn > 0) | (said != was)).tolist():
            row, index = int(readings.row[at]), int(point[at])
            if turn[at] > 0:
                raised = said_at[row]
                self._numbers[slot, index] = raised.observed, raised.limit, raised.window_s
            if said[at] != was[at]:
                kind = VerdictKind.RAISE if said[at] else VerdictKind.CLEAR
                numbers = self._numbers[slot, index].tolist()
                rule = self._numbered[self._rule[slot, index]]
                out.append(said_at.get(row) or Crossing(row, rule, kind, *numbers))
        self._inside[slot][point[tails]] = inside[tails]
        self._said[slot][point[tails]] = said[tails]
        return out


def _rows_of(readings: Readings, crossings: list[Crossing]) -> Rows:
    """Where in ``readings`` each crossing's reading stands."""
    order = np.argsort(readings.row)
    return order[np.searchsorted(readings.row[order], [crossing.row for crossing in crossings])]
