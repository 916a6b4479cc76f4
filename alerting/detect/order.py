"""The order of time inside each point: what is late, where a clock fell back, where a series broke.

Every detector is given the same readings in the same order, so this is found out once for all of them. A
batch is sorted by point (stable, so arrival order stays); what a reading's predecessor was is then a look at
the row before it, or at what was kept of the point from the batch before. So how a stream is cut into batches
cannot change a verdict. Pure numpy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from fengsui.model import Quality

ScalarT = TypeVar("ScalarT", bound=np.generic)
Ints = NDArray[np.int64]
Rows = NDArray[np.intp]
Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]

CLOCK_STEP_US = 60_000_000
"""A source whose clock falls back by more than this against the server's starts a new order of time.

Without it one stamp from the future would make every later reading of the point *late* (reliability E12).
"""

NEVER = -1
"""``before_us`` of a reading without a predecessor: the first of its point, or after a clock step."""

_NO_OFFSET = -(2**62)


class Readings(NamedTuple):
    """Readings sorted by point, arrival order kept inside a point; all of shape (n,)."""

    row: Rows
    """Row in the caller's batch."""
    point: Rows
    at_us: Ints
    value: Floats
    quality: NDArray[np.uint8]

    def take(self, rows: Rows | Bools) -> Readings:
        """The given rows of every column."""
        return Readings(
            self.row[rows], self.point[rows], self.at_us[rows], self.value[rows], self.quality[rows]
        )


@dataclass(frozen=True)
class Series:
    """Usable readings of each point in its order of time, none late; arrays of shape (n,).

    Attributes:
        readings: Finite values, sorted by point.
        before_us: Stamp of the reading before it of the same point; ``NEVER`` = none to compare with.
        broken: Something invalid or out of range stood between that one and this one: no rate may be taken
            across it.
        heads: First row of each point, shape (points,).
        tails: Last row of each point, shape (points,).
        first: Mask of ``heads``.
    """

    readings: Readings
    before_us: Ints
    broken: Bools
    heads: Rows
    tails: Rows
    first: Bools

    def take(self, rows: Rows | Bools) -> Series:
        """The given rows; only whole points may be left out."""
        readings = self.readings.take(rows)
        return Series(readings, self.before_us[rows], self.broken[rows], *segments(readings.point))

    @cached_property
    def at_s(self) -> Floats:
        """Measured at, s since 1970."""
        return self.readings.at_us / 1e6

    @cached_property
    def unknown(self) -> Bools:
        """There is no reading before this one to compare with."""
        unknown: Bools = self.before_us == NEVER
        return unknown

    @cached_property
    def dt_s(self) -> Floats:
        """Since the reading before it, s; 0 where ``unknown``."""
        return np.where(self.unknown, 0.0, (self.readings.at_us - self.before_us) / 1e6)

    def last_where(self, mask: Bools) -> Rows:
        """The last row of the same point up to each row at which ``mask`` holds; its first row if at none."""
        here = np.arange(len(mask))
        rows: Rows = np.maximum.accumulate(np.where(mask | self.first, here, 0))
        return rows

    @cached_property
    def in_range(self) -> Series:
        """The readings that a sensor can measure; what follows another one is marked *broken* already."""
        outside = self.readings.quality == Quality.OUT_OF_RANGE
        return self.take(~outside) if outside.any() else self

    @cached_property
    def turns(self) -> Turns:
        """The first reading of every point, then the second of those that have two, and so on."""
        length = self.tails - self.heads + 1
        if not len(length) or length.max() == 1:
            return Turns(self, None, length)
        busy = np.flatnonzero(length > 1)
        order = np.concatenate([busy[np.argsort(-length[busy], kind="stable")], np.flatnonzero(length == 1)])
        return Turns(self, self.heads[order], length[order])


class Turns:
    """A series in the order in which a recursion takes it; its columns are of shape (n,) in that order.

    A recursion then costs as many steps as the busiest point has readings here, each over all points at once.

    Args:
        series: What is ordered.
        heads: First row of each point, the busiest first, shape (k,); None = each has one reading only.
        length: Readings of each, in the same order.

    Attributes:
        points: Each point once, the busiest first, shape (k,); a turn is about the first so many of them.
        spans: Per turn its place in the columns.
        place: Where among ``points`` each row's point stands.
        last: The last row of each of ``points``.
        value: See ``Readings``.
        at_s, dt_s, unknown: See ``Series``.
        before_s: The reading before it of the same point; meaningless where ``unknown``.
        broken: See ``Series``; or it is ``unknown``.
    """

    def __init__(self, series: Series, heads: Rows | None, length: Rows) -> None:
        self.value, self.broken = series.readings.value, series.broken | series.unknown
        self.at_s, self.dt_s, self.unknown = series.at_s, series.dt_s, series.unknown
        self.before_s = series.before_us / 1e6
        self._rows: Rows | None = None
        if heads is None:
            self.points, self.spans = series.readings.point, [slice(0, len(length))]
            self.place = self.last = np.arange(len(length))
            return
        counts = np.searchsorted(-length, -np.arange(int(length[0])), side="left").tolist()
        each = np.arange(len(heads))
        rows = np.concatenate([heads[:n] + turn for turn, n in enumerate(counts)])
        ends = np.cumsum(counts)
        self.points = series.readings.point.take(heads)
        self.spans = [slice(end - n, end) for end, n in zip(ends.tolist(), counts, strict=True)]
        self.place = np.concatenate([each[:n] for n in counts])
        self.last = (ends - counts).take(length - 1) + each
        self.value, self.broken = self.value.take(rows), self.broken.take(rows)
        self.at_s, self.before_s = self.at_s.take(rows), self.before_s.take(rows)
        self.dt_s, self.unknown = self.dt_s.take(rows), self.unknown.take(rows)
        self._rows = rows

    def spread(self, parts: Sequence[NDArray[ScalarT]]) -> NDArray[ScalarT]:
        """A column, given in one or several parts, in the order of the series."""
        if self._rows is None:
            return parts[0]
        column = np.concatenate(parts)
        ordered = np.empty_like(column)
        ordered[self._rows] = column
        return ordered


class Order:
    """The newest stamp of each point, and what goes with it.

    Args:
        count: Points, by index, dense.
    """

    def __init__(self, count: int) -> None:
        self._newest_us = np.full(count, NEVER, np.int64)
        self._offset_us = np.full(count, _NO_OFFSET, np.int64)
        self._broken = np.zeros(count, np.bool_)
        self._any_broken = False

    @property
    def nbytes(self) -> int:
        """Bytes of state for all points."""
        return self._newest_us.nbytes + self._offset_us.nbytes + self._broken.nbytes

    def join(self, other: Self) -> None:
        """Take over what another one holds: its points come after one's own."""
        self._newest_us = np.append(self._newest_us, other._newest_us)
        self._offset_us = np.append(self._offset_us, other._offset_us)
        self._broken = np.append(self._broken, other._broken)
        self._any_broken |= other._any_broken

    def newest_us(self, point: int) -> int:
        """Stamp of the newest usable reading of a point; ``NEVER`` = none yet."""
        return int(self._newest_us[point])

    def enter(self, readings: Readings, held_at_us: Ints, valid: Bools) -> tuple[Series, Readings | None]:
        """Readings in their points' order of time, and those that came late (None = none did).

        Args:
            readings: Sorted by point, at least one; invalid ones included, for they break a series.
            held_at_us: When the gateway took each, by the server's clock: received minus age, shape (n,).
            valid: Which are usable: finite and not *bad*, shape (n,).

        A reading not newer than the newest usable one of its point is *late*: it moves nothing.
        """
        breaks = ~valid | (readings.quality == Quality.OUT_OF_RANGE)
        cause = breaks if self._any_broken or breaks.any() else None
        kept = None if valid.all() else np.flatnonzero(valid)
        usable, held = (readings, held_at_us) if kept is None else (readings.take(kept), held_at_us[kept])
        before, late = self._stamps(usable, held)
        lagging = None
        if late is not None:
            kept = np.arange(len(valid)) if kept is None else kept
            lagging, kept, before = usable.take(late), kept[~late], before[~late]
        in_order = readings if kept is None else readings.take(kept)
        heads, tails, first = segments(in_order.point)
        if cause is None:
            broken = np.zeros(len(in_order.row), np.bool_)
        else:
            broken = self._breaks(readings.point, cause, kept, heads, tails)
        return Series(in_order, before, broken, heads, tails, first), lagging

    def state(self) -> dict[str, NDArray[np.generic]]:
        """A copy of the state."""
        return {
            "newest_us": self._newest_us.copy(),
            "offset_us": self._offset_us.copy(),
            "broken": self._broken.copy(),
        }

    def restore(self, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over ``state`` of the points that are known here.

        Raises:
            KeyError, ValueError, TypeError: not a state of this class.
        """
        count = min(len(self._newest_us), len(state["newest_us"]))
        self._newest_us[:count] = state["newest_us"][:count]
        self._offset_us[:count] = state["offset_us"][:count]
        self._broken[:count] = state["broken"][:count]
        self._any_broken = bool(self._broken.any())

    def _stamps(self, readings: Readings, held_at_us: Ints) -> tuple[Ints, Bools | None]:
        """The newest stamp of the point before each reading (or ``NEVER``), and which readings are late.

        Moves the marks of the points on.
        """
        point, at = readings.point, readings.at_us
        heads, tails, first = segments(point)
        offset = at - held_at_us
        previous = np.empty_like(offset)
        previous[1:] = offset[:-1]
        points = point.take(heads)
        previous[heads] = self._offset_us.take(points)
        self._offset_us[points] = offset.take(tails)
        before = np.empty_like(at)
        before[1:] = at[:-1]
        before[heads] = self._newest_us.take(points)
        stepped = offset < previous - CLOCK_STEP_US
        before[stepped] = NEVER
        if (at > before).all():
            self._newest_us[points] = at.take(tails)
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

    def _breaks(self, point: Rows, breaks: Bools, kept: Rows | None, heads: Rows, tails: Rows) -> Bools:
        """For each kept row: did something break the series since the kept row before it?

        Moves the marks of the points on.
        """
        kept = np.arange(len(point)) if kept is None else kept
        so_far = np.cumsum(breaks)
        all_heads, all_tails, _ = segments(point)
        own = breaks[kept]
        since = np.empty(len(kept), np.int64)
        since[1:] = so_far[kept[:-1]] - own[:-1]  # out of range breaks what follows
        # A point's first kept row looks back to where the point begins in this batch, and to the mark.
        begin = all_heads[np.searchsorted(point[all_heads], point[kept[heads]])]
        since[heads] = so_far[begin] - breaks[begin]
        broken: Bools = so_far[kept] - own > since
        broken[heads] |= self._broken[point[kept[heads]]]
        points = point[all_tails]
        last = np.full(len(points), -1, np.int64)
        last[np.searchsorted(points, point[kept[tails]])] = kept[tails]
        begin_count: Ints = so_far[all_heads] - breaks[all_heads]
        after = np.where(last >= 0, so_far[last] - breaks[last], begin_count)
        marked = so_far[all_tails] > after
        self._broken[points] = np.where(last >= 0, marked, marked | self._broken[points])
        self._any_broken = bool(self._broken.any())
        return broken


def by_point(point: Rows) -> Rows:
    """The rows in order of point, arrival order kept inside a point; at most 2^32 rows.

    Point and row make one number, which numpy sorts about ten times faster than it sorts by one and keeps the
    other.
    """
    key = (point << 32) | np.arange(len(point))
    key.sort()
    rows: Rows = key & 0xFFFF_FFFF
    return rows


def segments(point: Rows) -> tuple[Rows, Rows, Bools]:
    """First and last row of each point in an array sorted by point, and a mask of the first ones."""
    first = np.empty(len(point), np.bool_)
    first[:1] = True
    np.not_equal(point[1:], point[:-1], out=first[1:])
    (heads,) = first.nonzero()
    tails = np.empty_like(heads)
    np.subtract(heads[1:], 1, out=tails[:-1])
    tails[-1:] = len(point) - 1
    return heads, tails, first
