"""Tracks: base of the slow detectors. A track is one rule at one point, judged by closed minutes.

Only points that a rule applies to have a track, so a long memory costs nothing elsewhere. How long something
has to last before a rule raises or clears is decided here, once for all of them. Pure numpy.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from alerting.detect.minutes import MINUTE_US, Closed
from alerting.detect.order import NEVER, Bools, Floats, Rows
from alerting.detect.rules import Minutely
from alerting.detect.runs import ACTIVE, follow
from alerting.detect.slots import Crossing, Inside, assign, identity, with_slots
from alerting.detect.verdict import VerdictKind
from fengsui.model import Point

Numbers = NDArray[np.int16]


class Tracks(ABC):
    """All tracks of one kind of rule, for one stream of readings (real, or simulated).

    Args:
        rules: Of one kind, in the order of their numbers in the state.
        points: By index, dense.

    A kind of rule implements ``_follow`` and ``_known``, and names in ``ARRAYS`` its attributes of shape
    (tracks, ...).
    """

    ARRAYS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, rules: Sequence[Minutely], points: Sequence[Point]) -> None:
        self._numbered = tuple(rules)
        number = assign(rules, points)
        slot, point = np.nonzero(number >= 0)
        self._track: NDArray[np.int32] = np.full(number.shape, -1, np.int32)
        self._track[slot, point] = np.arange(len(point))
        self._rule = number[slot, point]
        self._point = point.astype(np.int32)
        self._state = np.zeros(len(point), np.int8)
        self._since_us = np.zeros(len(point), np.int64)
        self._on_us = np.array([round(rule.on_delay_s * 1e6) for rule in rules], np.int64)
        self._off_us = np.array([round(rule.off_delay_s * 1e6) for rule in rules], np.int64)
        self._gap_us = np.array([round(rule.max_gap_s * 1e6) for rule in rules], np.int64)

    @property
    def nbytes(self) -> int:
        """Bytes of state for all points."""
        names = ("_track", "_rule", "_point", "_state", "_since_us", *self.ARRAYS)
        return sum(self._array(name).nbytes for name in names)

    def points(self) -> Rows:
        """The points that have a track; one with several rules is named several times."""
        return self._point.astype(np.intp)

    def update(self, closed: Closed) -> list[Crossing]:
        """Judge closed minutes; the crossings, unordered. No argument is changed."""
        crossings: list[Crossing] = []
        for tracks in self._track:
            track = tracks[closed.point]
            mine = track >= 0
            if mine.all():
                crossings += self._follow(closed, track)
            elif mine.any():
                crossings += self._follow(closed.take(mine), track[mine])
        return crossings

    def assume_active(self, rule: str, point: int) -> None:
        """Take over from the alarm book that ``rule`` is active at ``point``, if it still applies there."""
        for tracks in self._track:
            track = int(tracks[point])
            if track >= 0 and self._numbered[self._rule[track]].name == rule:
                self._state[track] |= ACTIVE

    def inside(self, point: int) -> Inside:
        """What the rules that judge ``point`` know of it after the newest closed minute."""
        return {
            self._numbered[self._rule[track]].name: self._known(track)
            for track in self._track[:, point].tolist()
            if track >= 0
        }

    def state(self) -> dict[str, NDArray[np.generic]]:
        """A copy of the state; ``rules`` names the rule versions that the numbers in ``rule`` mean."""
        names = ("_rule", "_point", "_state", "_since_us", *self.ARRAYS)
        identities = np.array([identity(rule) for rule in self._numbered], dtype=np.str_)
        return {"rules": identities} | {name.lstrip("_"): self._array(name).copy() for name in names}

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over ``state`` of every point that still has the same rule in the same version.

        Raises:
            KeyError, ValueError, TypeError, IndexError: not a state of this class.
        """
        known = {identity(rule): number for number, rule in enumerate(self._numbered)}
        renumber = np.array([known.get(str(name), -1) for name in state["rules"]], np.int64)
        rule, point = renumber[state["rule"].astype(np.intp)], state["point"].astype(np.int64)
        count = self._track.shape[1]
        mine = self._rule * np.int64(count) + self._point
        sought = np.where((rule >= 0) & (point < count), rule * count + point, -1)
        order = np.argsort(mine)
        found = np.searchsorted(mine[order], sought)
        there = found < len(mine)
        there[there] = mine[order[found[there]]] == sought[there]
        old, new = np.flatnonzero(there), order[found[there]]
        for name in ("_state", "_since_us", *self.ARRAYS):
            self._array(name)[new] = state[name.lstrip("_")][old]

    def join(self, other: Self) -> None:
        """Take over what another one of the same rules holds: its points come after one's own."""
        before, tracks = self._track.shape[1], len(self._point)
        slots = max(len(self._track), len(other._track))
        theirs = np.where(other._track >= 0, other._track + tracks, -1).astype(np.int32)
        self._track = np.concatenate(
            [with_slots(self._track, slots, -1), with_slots(theirs, slots, -1)], axis=1
        )
        self._point = np.concatenate([self._point, other._point + np.int32(before)])
        for name in ("_rule", "_state", "_since_us", *self.ARRAYS):
            setattr(self, name, np.concatenate([self._array(name), other._array(name)]))

    @abstractmethod
    def _follow(self, closed: Closed, track: Rows) -> list[Crossing]:
        """Judge the minutes, each of the track beside it."""

    @abstractmethod
    def _known(self, track: int) -> dict[str, float]:
        """What one track knows."""

    def _decide(
        self, closed: Closed, track: Rows, over: Bools, under: Bools, told: tuple[Floats, Floats, Floats]
    ) -> list[Crossing]:
        """What changes when ``over`` and ``under`` are held against how long each has to last.

        Args:
            closed: The minutes that decide, shape (n,).
            track: Of each minute.
            over: Where the rule's limit is passed.
            under: Where all is well; neither = nothing can be said, which ends both.
            told: ``observed``, ``limit`` and ``window_s`` of a crossing that raises.
        """
        hot = over | (self._state[track] != 0)
        if not hot.any():
            return []
        if not hot.all():
            closed, track, over, under = closed.take(hot), track[hot], over[hot], under[hot]
            told = (told[0][hot], told[1][hot], told[2][hot])
        rule, each = self._rule[track], np.arange(len(track))
        at_us = closed.minute * MINUTE_US
        before_us = np.where(closed.gap == NEVER, NEVER, at_us - closed.gap * MINUTE_US)
        raised, cleared, self._state[track], self._since_us[track] = follow(
            (at_us, before_us),
            (each, each, np.ones(len(track), np.bool_)),
            (over, under & ~over, True),
            (self._on_us[rule], self._off_us[rule], self._gap_us[rule]),
            (self._state[track], self._since_us[track]),
        )
        crossings: list[Crossing] = []
        for kind, changed in ((VerdictKind.RAISE, raised), (VerdictKind.CLEAR, cleared)):
            for i in np.flatnonzero(changed).tolist():
                by = self._numbered[rule[i]]
                observed, limit, window_s = (float(column[i]) for column in told)
                lasted_s = window_s if kind is VerdictKind.RAISE else by.off_delay_s
                crossings.append(Crossing(int(closed.row[i]), by, kind, observed, limit, lasted_s))
        return crossings

    def _restarts(self, closed: Closed, rule: Numbers) -> Bools:
        """Where what was going on before does not count: a gap too long, a clock that fell back."""
        restarts: Bools = (closed.gap == NEVER) | (closed.gap * MINUTE_US > self._gap_us[rule])
        return restarts

    def _array(self, name: str) -> NDArray[Any]:
        array: NDArray[Any] = getattr(self, name)
        return array
