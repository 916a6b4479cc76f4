"""What a series store must do: take readings for good, and give back a point's history.

::

    StoreError
    +-- StoreUnavailable     hold the data and try again
    +-- StoreMisconfigured   hold the data and tell a person; only a person can help
    +-- PointHidden          the viewer may not see this point's unit; answer as if it did not exist
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fengsui.batch import Batch
from fengsui.errors import FengsuiError
from fengsui.model import Point
from fengsui.viewer import Viewer

ROWS_PER_PIECE = 200_000
"""Most readings in one piece of ``History.read``; some 15 MB while a store's answer is turned into arrays."""

PARTS_PER_BUCKET = 5
"""First, last, lowest, highest and the first invalid reading of a bucket."""


class StoreError(FengsuiError):
    """Root of this tree."""


class StoreUnavailable(StoreError):
    """The store did not answer, or asked to be left alone for ``retry_after_s`` (None: it did not say)."""

    def __init__(self, retry_after_s: float | None, text: str) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class StoreMisconfigured(StoreError):
    """The store will not take anything until a person corrects address, name, rights or files."""


class PointHidden(StoreError):
    """This viewer's units do not hold the point."""


class Refused(NamedTuple):
    """One reading that the store will never take, and the store's own words for it."""

    row: int
    text: str


class Outcome(NamedTuple):
    """What became of the rows of one write: n = stored + duplicates + refused."""

    stored: int
    duplicates: list[int]
    """Rows whose (point, stamp) was there before; the value given last stays."""
    refused: list[Refused]


@dataclass(frozen=True, slots=True)
class Rows:
    """Readings to be stored; all arrays have shape (n,), as in :class:`fengsui.batch.Batch`."""

    point: NDArray[np.int32]
    at_us: NDArray[np.int64]
    value: NDArray[np.float64]
    quality: NDArray[np.uint8]

    @classmethod
    def of(cls, *parts: Batch | Rows) -> Rows:
        """The rows of batches, or of other rows, one after another; of none, none."""
        return cls(
            np.concatenate([np.empty(0, np.int32), *(part.point for part in parts)]),
            np.concatenate([np.empty(0, np.int64), *(part.at_us for part in parts)]),
            np.concatenate([np.empty(0, np.float64), *(part.value for part in parts)]),
            np.concatenate([np.empty(0, np.uint8), *(part.quality for part in parts)]),
        )

    @property
    def count(self) -> int:
        """Number of readings."""
        return len(self.value)

    def take(self, index: NDArray[np.intp]) -> Rows:
        """The rows at ``index``, in that order."""
        return Rows(self.point[index], self.at_us[index], self.value[index], self.quality[index])

    def in_time(self) -> Rows:
        """The rows in ascending time; what was measured at one moment, by point."""
        return self.take(np.lexsort((self.point, self.at_us)))


@dataclass(frozen=True, slots=True)
class Series:
    """One point's history in ascending time; all arrays have shape (n,), NaN = measured and invalid."""

    at_us: NDArray[np.int64]
    value: NDArray[np.float64]
    quality: NDArray[np.uint8]

    @classmethod
    def empty(cls) -> Series:
        """No reading at all."""
        return cls(np.empty(0, np.int64), np.empty(0, np.float64), np.empty(0, np.uint8))

    @property
    def count(self) -> int:
        """Number of readings."""
        return len(self.value)


class Registered(Protocol):
    """The part of the registry a store needs: points by index, which only ever grows at its end."""

    @property
    def points(self) -> Sequence[Point]:
        """All points; ``points[i].index == i``."""


class History(Protocol):
    """The part of a store that gives readings back; it changes nothing, so any process may open one."""

    @property
    def faults(self) -> Sequence[str]:
        """What a person must be told about this store, one sentence each."""

    async def history(
        self, viewer: Viewer, point: Point, from_us: int, to_us: int, max_points: int
    ) -> Series:
        """Readings of a point with ``from_us <= at < to_us``, thinned to at most ``max_points``.

        Raises:
            PointHidden: the viewer does not see the point's unit.
            StoreUnavailable, StoreMisconfigured: as for ``Writable.write``.
        """

    def read(self, viewer: Viewer, points: Sequence[Point], from_us: int, to_us: int) -> AsyncIterator[Rows]:
        """Every reading of ``points`` with ``from_us <= at < to_us``, none thinned, in pieces.

        A piece holds one stretch of time, in order of time, later than the piece before it; never more than
        ``ROWS_PER_PIECE`` rows unless they share one microsecond, and never none.

        Raises:
            PointHidden, StoreUnavailable, StoreMisconfigured: as for ``history``.
        """

    async def aclose(self) -> None:
        """Let go of files and connections."""


class Writable(Protocol):
    """The part of a store that takes readings; one process writes."""

    @property
    def faults(self) -> Sequence[str]:
        """What a person must be told about this store, one sentence each."""

    async def write(self, rows: Rows) -> Outcome:
        """Store rows; when this returns they are durable. Safe to repeat: a known stamp is overwritten.

        Raises:
            StoreUnavailable: nothing is certain; repeat the same rows.
            StoreMisconfigured: the same, but only a person can help.
        """


class SeriesStore(History, Writable, Protocol):
    """A place for readings."""

    kind: str
    """``influx`` or ``embedded``, as the status shows it."""

    async def count(self, point: Point | None) -> int:
        """How many readings are stored, of one point or (None) of all; for the ledger, not for people."""


Window = Callable[[int, int, int], Awaitable[Rows | None]]
"""What is stored from one stamp until before another, in any order; None if it is more than so many rows."""

_FIRST_WINDOW_US = 3_600_000_000
_WIDEST_WINDOW_US = 24 * _FIRST_WINDOW_US
_ANY_NUMBER = 1 << 31


async def pieces(window: Window, from_us: int, to_us: int) -> AsyncIterator[Rows]:
    """A span in windows as wide as their readings allow; see ``History.read``."""
    width_us = _FIRST_WINDOW_US
    while from_us < to_us:
        until_us = min(from_us + width_us, to_us)
        rows = await window(from_us, until_us, ROWS_PER_PIECE if width_us > 1 else _ANY_NUMBER)
        if rows is None:
            width_us = max(1, (until_us - from_us) // 4)
            continue
        if rows.count:
            yield rows.in_time()
        from_us = until_us
        if rows.count <= ROWS_PER_PIECE // 4:
            width_us = min(2 * width_us, _WIDEST_WINDOW_US)


class Thinning:
    """Collects a history piece by piece and keeps at most ``max_points`` of it.

    A history that fits is kept whole. A longer one is cut into equal buckets of time, and of each the first,
    last, lowest, highest and first invalid reading stay, so that no peak and no gap disappears from a chart.
    """

    def __init__(self, from_us: int, to_us: int, max_points: int) -> None:
        buckets = max(1, max_points // PARTS_PER_BUCKET)
        self._from_us = from_us
        self._width_us = max(1, -(-(to_us - from_us) // buckets))
        self._max_points = max(max_points, PARTS_PER_BUCKET)
        self._pieces: list[Series] = []
        self._count = 0

    def add(self, piece: Series) -> None:
        """Take the next readings, all inside the range; pieces may come in any order of time."""
        self._pieces.append(piece)
        self._count += piece.count
        if self._count > self._max_points + 100_000:
            self._pieces = [self._thinned()]
            self._count = self._pieces[0].count

    def series(self) -> Series:
        """What is kept of everything added."""
        return self._thinned()

    def _thinned(self) -> Series:
        if not self._pieces:
            return Series.empty()
        at = np.concatenate([piece.at_us for piece in self._pieces])
        value = np.concatenate([piece.value for piece in self._pieces])
        quality = np.concatenate([piece.quality for piece in self._pieces])
        order = np.argsort(at, kind="stable")
        if len(at) > self._max_points:
            order = order[self._kept(at[order], value[order])]
        return Series(at[order], value[order], quality[order])

    def _kept(self, at: NDArray[np.int64], value: NDArray[np.float64]) -> NDArray[np.intp]:
        bucket = (at - self._from_us) // self._width_us
        first = np.flatnonzero(np.diff(bucket, prepend=bucket[0] - 1))
        last = np.append(first[1:], len(at)) - 1
        lowest = np.lexsort((value, bucket))[first]
        highest = np.lexsort((-value, bucket))[first]
        invalid = np.lexsort((~np.isnan(value), bucket))[first]
        return np.unique(np.concatenate([first, last, lowest, highest, invalid]))


def check_seen(viewer: Viewer, point: Point) -> None:
    """Refuse a viewer whose units do not hold the point.

    Raises:
        PointHidden: it is not theirs to see.
    """
    if not viewer.sees(point.unit):
        raise PointHidden(f"no point {point.id}")
