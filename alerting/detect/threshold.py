"""Thresholds over all points at once: hysteresis, delays in event time, late readings. Pure numpy.

Each point has up to K *slots*, one per rule that fits it. State is a structure of arrays, shape (K, points).
A batch is sorted by point (stable, so arrival order stays), and every question that looks at the previous
reading of the same point becomes a running maximum inside the point's segment. So several readings of one
point cost no pass of their own, and how a stream is cut into batches cannot change a verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alerting.detect.rules import Threshold
from alerting.detect.verdict import VerdictKind
from fengsui.model import Point, Quality

Ints = NDArray[np.int64]
Rows = NDArray[np.intp]
Bools = NDArray[np.bool_]

CLOCK_STEP_US = 60_000_000
"""A source whose clock falls back by more than this against the server's starts a new order of time.

Without it one stamp from the future would make every later reading of the point *late* (reliability E12).
"""

_NONE, _OVER, _UNDER, _ACTIVE = 0, 1, 2, 4
_NEVER = -1
_NO_OFFSET = -(2**62)


class Readings(NamedTuple):
    """Usable readings sorted by point, arrival order kept inside a point; all of shape (n,)."""

    row: Rows
    """Row in the caller's batch."""
    point: NDArray[np.intp]
    at_us: Ints
    value: NDArray[np.float64]
    quality: NDArray[np.uint8]
    held_at_us: Ints
    """When the gateway took the reading, by the server's clock: received minus age."""

    def take(self, rows: Rows | Bools) -> Readings:
        """The given rows of every column."""
        return Readings(
            self.row[rows], self.point[rows], self.at_us[rows],
            self.value[rows], self.quality[rows], self.held_at_us[rows],
        )  # fmt: skip


class Crossing(NamedTuple):
    """A reading that changed what a rule says of its point."""

    row: int
    rule: Threshold
    kind: VerdictKind


class Thresholds:
    """The state of every threshold rule at every point, for one kind of reading (real, or simulated).

    Args:
        rules: In the order of their numbers in the state.
        points: By index, dense.
    """

    def __init__(self, rules: Sequence[Threshold], points: Sequence[Point]) -> None:
        self._rules = tuple(rules)
        fitting: dict[tuple[str, str], list[int]] = {}
        for number, rule in enumerate(rules):
            fitting.setdefault((rule.quantity, rule.uom), []).append(number)
        slots = max((len(numbers) for numbers in fitting.values()), default=0)
        count = len(points)
        self._rule = np.full((slots, count), -1, np.int16)
        kinds = list(fitting)
        number_of = {kind: i for i, kind in enumerate(kinds)}
        kind = np.fromiter((number_of.get((p.quantity, p.uom), -1) for p in points), np.int32, count)
        for i, numbers in enumerate(fitting.values()):
            for slot, number in enumerate(numbers):
                self._rule[slot, kind == i] = number
        self._state = np.zeros((slots, count), np.int8)
        self._since_us = np.zeros((slots, count), np.int64)
        self._newest_us = np.full(count, _NEVER, np.int64)
        self._offset_us = np.full(count, _NO_OFFSET, np.int64)
        self._hot = np.zeros(count, np.bool_)
        # One row per rule and a last one that never crosses, so that index -1 (no rule) needs no mask.
        sign = [1.0 if rule.above is not None else -1.0 for rule in rules]
        self._sign = np.array([*sign, 0.0])
        self._limit = np.array([*(s * rule.limit for s, rule in zip(sign, rules, strict=True)), np.inf])
        self._reset = np.array([*(s * rule.reset for s, rule in zip(sign, rules, strict=True)), -np.inf])
        self._on_us = np.array([*(round(rule.on_delay_s * 1e6) for rule in rules), 0], np.int64)
        self._off_us = np.array([*(round(rule.off_delay_s * 1e6) for rule in rules), 0], np.int64)
        self._gap_us = np.array([*(round(rule.max_gap_s * 1e6) for rule in rules), 0], np.int64)

    @property
    def nbytes(self) -> int:
        """Bytes of state for all points."""
        arrays = (self._rule, self._state, self._since_us, self._newest_us, self._offset_us, self._hot)
        return sum(array.nbytes for array in arrays)

    def update(self, readings: Readings) -> list[Crossing]:
        """Judge readings; the crossings, unordered.

        A reading not newer than the newest of its point is *late*: it changes no state and is judged by the
        limit alone. Values must be finite: a missing value is no reading.
        """
        if not len(readings.row) or not len(self._rule):
            return []
        before, late = self._order(readings)
        crossings: list[Crossing] = []
        if late is not None:
            crossings = self._judge_late(readings.take(late))
            in_order = ~late
            readings, before = readings.take(in_order), before[in_order]
        for slot in range(len(self._rule)):
            crossings += self._judge(slot, readings, before)
        return crossings

    def assume_active(self, rule: str, point: int) -> None:
        """Take over from the alarm book that ``rule`` is active at ``point``, if it still applies there."""
        for slot in range(len(self._rule)):
            number = int(self._rule[slot, point])
            if number >= 0 and self._rules[number].name == rule:
                self._state[slot, point] |= _ACTIVE

    def state(self) -> dict[str, NDArray[np.generic]]:
        """A copy of the state; ``rules`` names the rule versions that the numbers in ``rule`` mean."""
        return {
            "rules": np.array([_identity(rule) for rule in self._rules], dtype=np.str_),
            "rule": self._rule.copy(),
            "state": self._state.copy(),
            "since_us": self._since_us.copy(),
            "newest_us": self._newest_us.copy(),
            "offset_us": self._offset_us.copy(),
        }

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over ``state`` for every point and slot that still has the same rule in the same version.

        Raises:
            KeyError, ValueError, TypeError: not a state of this class.
        """
        known = {_identity(rule): number for number, rule in enumerate(self._rules)}
        renumber = np.array([known.get(str(name), -2) for name in state["rules"]] + [-1], np.int16)
        count = min(len(self._newest_us), len(state["newest_us"]))
        old_rule = renumber[state["rule"].astype(np.int16)[:, :count]]
        for slot in range(len(self._rule)):
            for old in range(len(old_rule)):
                same = (self._rule[slot, :count] == old_rule[old]) & (old_rule[old] >= 0)
                self._state[slot, :count][same] = state["state"][old, :count][same]
                self._since_us[slot, :count][same] = state["since_us"][old, :count][same]
        self._newest_us[:count] = state["newest_us"][:count]
        self._offset_us[:count] = state["offset_us"][:count]

    def _order(self, readings: Readings) -> tuple[Ints, Bools | None]:
        """The newest stamp of the point before each reading (or ``_NEVER``), and which readings are late.

        Moves the marks of the points on.
        """
        point, at = readings.point, readings.at_us
        heads, tails, first = _segments(point)
        offset = at - readings.held_at_us
        previous = np.empty_like(offset)
        previous[1:] = offset[:-1]
        previous[heads] = self._offset_us[point[heads]]
        self._offset_us[point[tails]] = offset[tails]
        before = np.empty_like(at)
        before[1:] = at[:-1]
        before[heads] = self._newest_us[point[heads]]
        stepped = offset < previous - CLOCK_STEP_US
        before[stepped] = _NEVER
        if (at > before).all():
            self._newest_us[point[tails]] = at[tails]
            return before, None
        # Something is out of order: the running maximum inside each segment. Stamps become ranks, so that
        # segment and stamp fit one sortable number.
        cut = first | stepped
        highest = np.where(cut, np.maximum(at, before), at)
        stamps, rank = np.unique(highest, return_inverse=True)
        base = np.cumsum(cut) * len(stamps)
        running = stamps[np.maximum.accumulate(base + rank) - base]
        inside = np.flatnonzero(~cut)
        before[inside] = running[inside - 1]
        self._newest_us[point[tails]] = running[tails]
        return before, at <= before

    def _judge_late(self, late: Readings) -> list[Crossing]:
        crossings: list[Crossing] = []
        for slot in range(len(self._rule)):
            rule = self._rule[slot][late.point]
            over = late.value * self._sign[rule] >= self._limit[rule]
            crossings += self._crossings(late.row[over], rule[over], VerdictKind.PAST)
        return crossings

    def _judge(self, slot: int, readings: Readings, before: Ints) -> list[Crossing]:
        """One slot of every point; ``before`` is the point's previous stamp."""
        state = self._state[slot]
        point = readings.point
        rule = self._rule[slot][point]
        value = readings.value * self._sign[rule]
        over = value >= self._limit[rule]
        # Nothing beyond a limit now and nothing going on: the usual case ends here.
        hot = over | (state[point] != _NONE)
        if not hot.any():
            return []
        self._hot[point[hot]] = True
        chosen = np.flatnonzero(self._hot[point])
        self._hot[point[hot]] = False
        return self._follow(
            slot, readings.take(chosen), before[chosen], rule[chosen], value[chosen], over[chosen]
        )

    def _follow(
        self,
        slot: int,
        readings: Readings,
        before: Ints,
        rule: NDArray[np.int16],
        value: NDArray[np.float64],
        over: Bools,
    ) -> list[Crossing]:
        """Runs beyond the limit and beyond reset, their delays, and what changes by them."""
        point, at = readings.point, readings.at_us
        heads, tails, first = _segments(point)
        here = np.arange(len(point))
        carried = self._state[slot][point[heads]]

        # A value beyond what the sensor can measure may raise an alarm; it never proves that all is well.
        under = (value < self._reset[rule]) & (readings.quality != Quality.OUT_OF_RANGE)
        phase = over * np.int8(_OVER) + under * np.int8(_UNDER)
        previous = np.empty_like(phase)
        previous[1:] = phase[:-1]
        previous[heads] = carried & 3
        fresh = (phase != previous) | (before == _NEVER) | (at - before > self._gap_us[rule])
        begin = np.where(fresh, at, 0)
        begin[heads] = np.where(fresh[heads], at[heads], self._since_us[slot][point[heads]])
        since = begin[np.maximum.accumulate(np.where(fresh | first, here, 0))]
        lasted = at - since
        on = (phase == _OVER) & (lasted >= self._on_us[rule])
        off = (phase == _UNDER) & (lasted >= self._off_us[rule])

        kept = np.zeros(len(point), np.bool_)
        kept[heads] = (carried & _ACTIVE) != 0
        decided = np.maximum.accumulate(np.where(on | off | first, here, 0))
        active = on[decided] | (kept[decided] & ~off[decided])
        was = np.empty_like(active)
        was[1:] = active[:-1]
        was[heads] = kept[heads]

        # Whether a point that is not active has been normal for long does not matter to anything.
        end = np.where(~active[tails] & (phase[tails] == _UNDER), np.int8(_NONE), phase[tails])
        end = end | np.where(active[tails], np.int8(_ACTIVE), np.int8(0))
        self._state[slot][point[tails]] = end
        self._since_us[slot][point[tails]] = np.where(end == _NONE, 0, since[tails])

        raised, cleared = active & ~was, was & ~active
        return self._crossings(readings.row[raised], rule[raised], VerdictKind.RAISE) + self._crossings(
            readings.row[cleared], rule[cleared], VerdictKind.CLEAR
        )

    def _crossings(self, rows: Rows, rule: NDArray[np.int16], kind: VerdictKind) -> list[Crossing]:
        pairs = zip(rows.tolist(), rule.tolist(), strict=True)
        return [Crossing(row, self._rules[number], kind) for row, number in pairs]


def _segments(point: NDArray[np.intp]) -> tuple[Rows, Rows, Bools]:
    """First and last row of each point in a non-empty array sorted by point, and a mask of the first ones."""
    first = np.empty(len(point), np.bool_)
    first[0] = True
    np.not_equal(point[1:], point[:-1], out=first[1:])
    heads = np.flatnonzero(first)
    tails = np.append(heads[1:] - 1, len(point) - 1)
    return heads, tails, first


def _identity(rule: Threshold) -> str:
    return f"{rule.name}@{rule.version}"
