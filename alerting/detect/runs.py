"""Runs of readings beyond a limit or back to normal, held for a delay in event time. Pure numpy.

What is beyond a limit, and what is normal, each kind of rule says for itself; how long either must last, and
what is active, is the same for all of them. Every question that looks at the reading before it of the same
point becomes a running maximum inside the point's segment, so several readings of one point in a batch cost
no pass of their own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Generic, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from alerting.detect.order import NEVER, Bools, Floats, Ints, Readings, Rows, Series, Turns
from alerting.detect.rules import Held
from alerting.detect.slots import Crossing, Inside, Slots
from alerting.detect.verdict import VerdictKind
from fengsui.model import Point

Turned = Mapping[VerdictKind, Rows]
"""Rows of a series by what happens at them."""

States = NDArray[np.int8]

_NONE, _OVER, _UNDER, ACTIVE = 0, 1, 2, 4


class Runs(Slots, ABC):
    """Base of the detectors whose rules are held for a delay.

    A kind of rule implements ``_judge`` and ``_known``.

    Args:
        rules: In the order of their numbers in the state.
        points: By index, dense.
    """

    SLOT_ARRAYS: ClassVar[tuple[str, ...]] = ("_state", "_since_us")

    def __init__(self, rules: Sequence[Held], points: Sequence[Point]) -> None:
        super().__init__(rules, points)
        self._state = np.zeros(self._rule.shape, np.int8)
        self._since_us = np.zeros(self._rule.shape, np.int64)
        self._hot = np.zeros(len(points), np.bool_)
        # One row per rule and a last one for index -1 (no rule).
        self._on_us = np.array([*(round(rule.on_delay_s * 1e6) for rule in rules), 0], np.int64)
        self._off_us = np.array([*(round(rule.off_delay_s * 1e6) for rule in rules), 0], np.int64)
        self._gap_us = np.array([*(round(rule.max_gap_s * 1e6) for rule in rules), 0], np.int64)

    def update(self, series: Series) -> list[Crossing]:
        """Judge readings; the crossings, unordered. Nothing in ``series`` is changed."""
        return [crossing for slot in range(len(self._rule)) for crossing in self._judge(slot, series)]

    @abstractmethod
    def _judge(self, slot: int, series: Series) -> list[Crossing]:
        """What the rules in one slot of every point say."""

    def join(self, other: Self) -> None:
        """Take over what another one of the same rules holds: its points come after one's own."""
        super().join(other)
        self._hot = np.concatenate([self._hot, other._hot])

    def assume_active(self, rule: str, point: int) -> None:
        """Take over from the alarm book that ``rule`` is active at ``point``, if it still applies there."""
        slot = self.slot_of(rule, point)
        if slot is not None:
            self._state[slot, point] |= ACTIVE

    def inside(self, point: int, at_us: int) -> Inside:
        """What the rules that judge ``point`` know of it after its newest reading, which is of ``at_us``."""
        return {
            self._numbered[number].name: self._known(slot, number, point, at_us)
            for slot, number in enumerate(self._rule[:, point].tolist())
            if number >= 0
        }

    @abstractmethod
    def _known(self, slot: int, number: int, point: int, at_us: int) -> dict[str, float]:
        """The same of one rule."""

    def _is_calm(self, slot: int, points: Rows, over: Sequence[Bools]) -> bool:
        """Nothing is beyond a limit in any of these arrays, and nothing is going on at any of ``points``."""
        return not any(some.any() for some in over) and not self._state[slot].take(points).any()

    def _changes(
        self,
        slot: int,
        series: Series,
        over: Bools,
        under: Callable[[Rows], Bools],
        ripe: Bools | None = None,
    ) -> Turned:
        """Rows of ``series`` at which a rule becomes active, and those at which it is so no more.

        Args:
            slot: Which.
            series: Of whole points.
            over: Beyond the limit, shape (n,).
            under: Which of the given rows are normal; never one that is ``over``.
            ripe: Where a run that lasted long enough may raise, shape (n,); None = anywhere.
        """
        point = series.readings.point
        # Nothing beyond a limit now and nothing going on: the usual case ends here.
        hot = over | (self._state[slot].take(point) != _NONE)
        if not hot.any():
            return {}
        points = point[hot]
        self._hot[points] = True
        (chosen,) = self._hot.take(point).nonzero()
        self._hot[points] = False
        allowed = True if ripe is None else ripe[chosen]
        raised, cleared = self._follow(slot, series.take(chosen), over[chosen], under(chosen), allowed)
        turned = {VerdictKind.RAISE: chosen[raised], VerdictKind.CLEAR: chosen[cleared]}
        return {kind: rows for kind, rows in turned.items() if len(rows)}

    def _crossings(
        self,
        slot: int,
        readings: Readings,
        changes: Turned,
        observed: Floats,
        limit: Floats,
        window_s: Floats,
    ) -> list[Crossing]:
        """What ``_changes`` found in ``slot``, with its numbers; the three arrays are of shape (n,)."""
        rule = self._rule[slot][readings.point]
        return [
            Crossing(row, self._numbered[number], kind, *numbers)
            for kind, rows in changes.items()
            for row, number, *numbers in zip(
                readings.row[rows].tolist(),
                rule[rows].tolist(),
                observed[rows].tolist(),
                limit[rows].tolist(),
                window_s[rows].tolist(),
                strict=True,
            )
        ]

    def _follow(
        self, slot: int, series: Series, over: Bools, under: Bools, ripe: Bools | bool
    ) -> tuple[Bools, Bools]:
        """Runs beyond the limit and back to normal, their delays, and what changes by them."""
        point = series.readings.point
        rule = self._rule[slot][point]
        begin, end = point[series.heads], point[series.tails]
        raised, cleared, state, since_us = follow(
            (series.readings.at_us, series.before_us),
            (series.heads, series.tails, series.first),
            (over, under, ripe),
            (self._on_us[rule], self._off_us[rule], self._gap_us[rule]),
            (self._state[slot][begin], self._since_us[slot][begin]),
        )
        self._state[slot][end] = state
        self._since_us[slot][end] = since_us
        return raised, cleared


class Seen(Protocol):
    """What the readings of a turn find, or of all turns in their order; arrays of their shape."""

    @property
    def over(self) -> Bools:
        """Beyond the limit."""


SeenT = TypeVar("SeenT", bound=Seen)


class Recursions(Runs, Generic[SeenT]):
    """Base of the detectors that carry a few numbers per point from reading to reading, turn by turn.

    A kind of rule implements ``_advance`` and ``_tell``; both are given only the points that have a rule in
    the slot, and what their sensors can measure.
    """

    def _judge(self, slot: int, series: Series) -> list[Crossing]:
        series, number = self._ruled(slot, series.in_range)
        turns = series.turns
        if not len(turns.points):
            return []
        seen = self._advance(slot, turns, number)
        if self._is_calm(slot, turns.points, [turn.over for turn in seen]):
            return []
        return self._tell(slot, series, seen)

    @abstractmethod
    def _advance(self, slot: int, turns: Turns, number: NDArray[np.int16]) -> list[SeenT]:
        """Carry the numbers on by all readings; ``number`` is the rule of each point of ``turns``.

        What is seen may be in one part or in several, one behind the other in the order of turns.
        """

    @abstractmethod
    def _tell(self, slot: int, series: Series, seen: Sequence[SeenT]) -> list[Crossing]:
        """What changes by what was seen, where something is beyond a limit or going on."""


def follow(
    stamps: tuple[Ints, Ints],
    parts: tuple[Rows, Rows, Bools],
    said: tuple[Bools, Bools, Bools | bool],
    delays: tuple[Ints, Ints, Ints],
    carried: tuple[States, Ints],
) -> tuple[Bools, Bools, States, Ints]:
    """What runs beyond a limit and back to normal come to when each has to last.

    Args:
        stamps: Stamp of each row and of the one before it (``NEVER`` = none), us, shape (n,) each.
        parts: First and last rows of each point, shape (points,) each, and a mask of the first ones.
        said: Beyond the limit; normal, never both; may raise. Shape (n,) each.
        delays: Of the rule of each row, us: until it raises, until it clears, longest gap. Shape (n,) each.
        carried: State (0 = nothing goes on) and begin of the run of each point, as returned the last time.

    Returns:
        Where a rule becomes active, where it is so no more, shape (n,); state and begin of the run to carry.
    """
    (at, before), (heads, tails, first), (over, under, ripe) = stamps, parts, said
    here = np.arange(len(at))
    phase: States = over * np.int8(_OVER) + under * np.int8(_UNDER)
    previous = np.empty_like(phase)
    previous[1:] = phase[:-1]
    previous[heads] = carried[0] & 3
    fresh = (phase != previous) | (before == NEVER) | (at - before > delays[2])
    begin = np.where(fresh, at, 0)
    begin[heads] = np.where(fresh[heads], at[heads], carried[1])
    since = begin[np.maximum.accumulate(np.where(fresh | first, here, 0))]
    lasted = at - since
    on = (phase == _OVER) & (lasted >= delays[0]) & ripe
    off = (phase == _UNDER) & (lasted >= delays[1])

    kept = np.zeros(len(at), np.bool_)
    kept[heads] = (carried[0] & ACTIVE) != 0
    decided = np.maximum.accumulate(np.where(on | off | first, here, 0))
    active = on[decided] | (kept[decided] & ~off[decided])
    was = np.empty_like(active)
    was[1:] = active[:-1]
    was[heads] = kept[heads]

    # Whether a point that is not active has been normal for long does not matter to anything.
    end: States = np.where(~active[tails] & (phase[tails] == _UNDER), np.int8(_NONE), phase[tails])
    end |= np.where(active[tails], np.int8(ACTIVE), np.int8(0))
    return active & ~was, was & ~active, end, np.where(end == _NONE, 0, since[tails])
