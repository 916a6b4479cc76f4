"""Minutes: what the readings of a point come to in each minute of event time, for the slow detectors.

A minute is closed by the reading that begins a later one, so nothing here looks at a clock. A minute without
a reading is missing; it is never filled in. Points without a slow rule cost nothing. Pure numpy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from alerting.detect.order import NEVER, Bools, Floats, Ints, Rows, Series, segments
from fengsui.model import Quality

MINUTE_US = 60_000_000

TRIM_FROM = 5
"""From so many readings on, the highest and the lowest are left out of a minute's value: one glitch of the
sensor does not move it."""

_MINUTE, _COUNT, _SUM, _LOW, _HIGH, _FIRST, _LAST, _SQUARES = range(8)
"""Columns of an open minute, 64 bytes: a line of the cache. The squares are of the steps between readings."""

_EMPTY = np.array([0.0, 0.0, 0.0, np.inf, -np.inf, np.nan, np.nan, 0.0])


class Closed(NamedTuple):
    """Closed minutes, each point at most once, sorted by point; arrays of shape (n,)."""

    row: Rows
    """Row in the caller's batch of the reading that closed it."""
    point: Rows
    minute: Ints
    """Minutes since 1970 UTC."""
    gap: Ints
    """Minutes since the closed one before: 1 = none is missing; ``NEVER`` = none to compare with."""
    value: Floats
    """Mean, without the highest and the lowest of ``TRIM_FROM`` readings or more."""
    noise: Floats
    """Standard deviation of white noise that explains how the steps between the minute's readings differ from
    their mean, so that a steady rise is none; NaN with fewer than three readings."""

    def take(self, rows: Rows | Bools) -> Closed:
        """The given rows of every column."""
        return Closed(
            self.row[rows],
            self.point[rows],
            self.minute[rows],
            self.gap[rows],
            self.value[rows],
            self.noise[rows],
        )


class Minutes:
    """The open minute of every point that is wanted.

    Args:
        wanted: Mask of the points, by index.

    A reading out of range has no part in a minute; one that is missing neither. After a step back of the
    source's clock the open minute is dropped and the next one begins a new count (``gap`` is ``NEVER``).
    """

    def __init__(self, wanted: Bools) -> None:
        self._points = np.flatnonzero(wanted)
        self._dense = np.full(len(wanted), -1, np.int32)
        self._dense[self._points] = np.arange(len(self._points))
        self._open = np.zeros((len(self._points), len(_EMPTY)))
        self._before = np.zeros(len(self._points), np.int32)
        """The minute closed before the open one; 0 = none to compare with."""

    @property
    def nbytes(self) -> int:
        """Bytes of state for all points."""
        return self._points.nbytes + self._dense.nbytes + self._open.nbytes + self._before.nbytes

    def update(self, series: Series) -> list[Closed]:
        """The minutes that these readings close, oldest first: each point once in each element."""
        readings, before, heads, begins = series.readings, series.before_us, series.heads, series.first
        if not len(self._points):
            return []
        dense = self._dense[readings.point]
        kept = (dense >= 0) & (readings.quality != Quality.OUT_OF_RANGE)
        if not kept.all():
            if not kept.any():
                return []
            readings, before, dense = readings.take(kept), before[kept], dense[kept]
            heads, _, begins = segments(readings.point)
        minute, value, restarted = readings.at_us // MINUTE_US, readings.value, before == NEVER

        # A run is what a batch has of one minute of a point; the first may go on with the open minute.
        owner = dense[heads]
        carried = self._open.take(owner, axis=0)
        begins = begins | restarted
        begins[1:] |= minute[1:] != minute[:-1]
        start = np.flatnonzero(begins)
        one_each = len(start) == len(heads)
        lead = np.arange(len(heads)) if one_each else np.searchsorted(start, heads)
        exists, again = carried[:, _COUNT] > 0, restarted[heads]
        fresh = np.flatnonzero(~exists | again | (carried[:, _MINUTE] != minute[heads]))
        over = fresh[(exists & ~again)[fresh]]
        ended, by, before_ended = carried[over], heads[over], self._before[owner[over]]
        if len(fresh):
            carried[fresh] = _EMPTY
            self._before[owner[fresh]] = 0
            self._before[owner[over]] = ended[:, _MINUTE]
        runs = carried
        last: Rows | slice = slice(None)
        if not one_each:
            runs = np.tile(_EMPTY, (len(start), 1))
            runs[lead] = carried
        _gather(runs, minute, value, begins, start)
        if not one_each:
            last = np.append(lead[1:], len(start)) - 1
            previous = np.where(restarted[start], 0, minute[start - 1])
            previous[lead] = self._before[owner]
            self._before[owner] = previous[last]
            inner = np.append(~restarted[start[1:]], False)
            inner[last] = False
            within = np.flatnonzero(inner)
            by = np.concatenate([by, start[within + 1]])
            order = np.argsort(by, kind="stable")
            ended, by = np.concatenate([ended, runs[within]])[order], by[order]
            before_ended = np.concatenate([before_ended, previous[within]])[order]
        # Rows as single items of 64 bytes are written twice as fast.
        self._open.view("V64")[owner] = runs[last].view("V64")
        if not len(by):
            return []
        return _passes(_closed(ended, before_ended, readings.row, readings.point, by))

    def join(self, other: Self) -> None:
        """Take over what another one holds: its points come after one's own."""
        before, wanted = len(self._dense), len(self._points)
        theirs = np.where(other._dense >= 0, other._dense + wanted, -1).astype(np.int32)
        self._dense = np.concatenate([self._dense, theirs])
        self._points = np.concatenate([self._points, other._points + before])
        self._open = np.concatenate([self._open, other._open])
        self._before = np.concatenate([self._before, other._before])

    def state(self) -> dict[str, NDArray[np.generic]]:
        """A copy of the state."""
        return {"points": self._points.copy(), "open": self._open.copy(), "before": self._before.copy()}

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over ``state`` of the points that are wanted here.

        Raises:
            KeyError, ValueError, TypeError, IndexError: not a state of this class.
        """
        points = state["points"].astype(np.intp)
        known = np.flatnonzero(points < len(self._dense))
        known = known[self._dense[points[known]] >= 0]
        here = self._dense[points[known]]
        self._open[here] = state["open"][known]
        self._before[here] = state["before"][known]


def _gather(runs: Floats, minute: Ints, value: Floats, begins: Bools, start: Rows) -> None:
    """Add the readings of each run to what it had, in their order: the same to the last bit however cut."""
    first = value[start]
    step = first - runs[:, _LAST]
    runs[:, _MINUTE] = minute[start]
    runs[:, _SQUARES] += np.where(runs[:, _COUNT] > 0, step * step, 0.0)
    runs[:, _FIRST] = np.where(runs[:, _COUNT] > 0, runs[:, _FIRST], first)
    runs[:, _COUNT] += 1
    runs[:, _SUM] += first
    runs[:, _LOW] = np.minimum(runs[:, _LOW], first)
    runs[:, _HIGH] = np.maximum(runs[:, _HIGH], first)
    runs[:, _LAST] = first
    if len(start) < len(value):
        further = np.flatnonzero(~begins)
        run, more = (np.cumsum(begins) - 1)[further], value[further]
        step = more - value[further - 1]
        np.add.at(runs[:, _SQUARES], run, step * step)  # one by one, unlike reduceat
        np.add.at(runs[:, _SUM], run, more)
        np.minimum.at(runs[:, _LOW], run, more)
        np.maximum.at(runs[:, _HIGH], run, more)
        ends = np.append(start[1:], len(value)) - 1
        runs[:, _COUNT] += ends - start
        runs[:, _LAST] = value[ends]


def _closed(minutes: Floats, before: Ints, row: Rows, point: Rows, by: Rows) -> Closed:
    """What the detectors are told of minutes that the readings ``by`` closed."""
    number, count, total, low, high, first, last, squares = minutes.T
    trimmed = count >= TRIM_FROM
    value = np.where(trimmed, total - low - high, total) / np.where(trimmed, count - 2, count)
    minute, steps = number.astype(np.int64), np.maximum(count - 1, 1)
    # Of white noise the steps' squares, less those of their mean, come to so many times its variance.
    times = np.where(steps > 1, 2 * (steps - 1 / steps), np.nan)
    return Closed(
        row=row[by],
        point=point[by],
        minute=minute,
        gap=np.where(before > 0, minute - before, NEVER),
        value=np.clip(value, low, high),  # rounding must not make a constant move
        noise=np.sqrt(np.maximum(squares - (last - first) ** 2 / steps, 0.0) / times),
    )


def _passes(closed: Closed) -> list[Closed]:
    """Minutes sorted by point and time, so divided that each point is in each part at most once."""
    heads, tails, _ = segments(closed.point)
    here = np.arange(len(closed.point))
    rank = here - np.repeat(heads, tails - heads + 1)
    if not rank.any():
        return [closed]
    order = np.argsort(rank, kind="stable")
    return [closed.take(part) for part in np.split(order, np.cumsum(np.bincount(rank))[:-1])]
