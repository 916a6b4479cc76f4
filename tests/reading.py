"""What every store must give back when it is read: one set of questions for all of them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest

from fengsui.model import Point
from fengsui.viewer import Role, Viewer
from ingest.store.base import History, PointHidden, Rows, SeriesStore
from tests.readings import EVERYBODY, NOW_US, rows

DAY_US = 86_400_000_000


async def whole(store: History, points: Sequence[Point], from_us: int, to_us: int) -> Rows:
    """All pieces as one, after a look at what every piece promises."""
    pieces = [piece async for piece in store.read(EVERYBODY, points, from_us, to_us)]
    assert all(piece.count for piece in pieces)
    assert all((np.diff(piece.at_us) >= 0).all() for piece in pieces)
    assert all(a.at_us[-1] < b.at_us[0] for a, b in itertools.pairwise(pieces))
    return Rows.of(*pieces)


async def read_back(store: SeriesStore, points: Sequence[Point]) -> None:
    """Write three days of three points, and read spans, some of the points, and nothing."""
    rng = np.random.default_rng(7)
    at = np.unique(rng.integers(NOW_US - 3 * DAY_US, NOW_US, 20_000))
    point = rng.integers(0, 3, len(at)).astype(np.int32)
    value = rng.normal(20, 5, len(at)).round(3)
    value[::50] = math.nan
    quality = rng.choice([0, 1, 4], len(at)).astype(np.uint8)
    quality[::50] = 2
    written = rows(point, at, value, quality)
    for part in np.array_split(np.arange(len(at)), 10):
        await store.write(written.take(part))

    async def compare(indexes: list[int], from_us: int, to_us: int) -> None:
        found = await whole(store, [points[i] for i in indexes], from_us, to_us)
        wanted = written.take(np.flatnonzero(np.isin(point, indexes) & (at >= from_us) & (at < to_us)))
        np.testing.assert_array_equal(found.point, wanted.point)
        np.testing.assert_array_equal(found.at_us, wanted.at_us)
        np.testing.assert_array_equal(found.value, wanted.value)
        np.testing.assert_array_equal(found.quality, wanted.quality)

    await compare([0, 1, 2], NOW_US - 3 * DAY_US, NOW_US)
    await compare([2, 0], int(at[100]), int(at[15_000]))
    await compare([1], int(at[100]), int(at[100]) + 1)
    await compare([], NOW_US - DAY_US, NOW_US)
    await compare([0], NOW_US, NOW_US + DAY_US)
    stranger = Viewer("x", frozenset({Role.ENGINEER}), frozenset({"unit-b"}))
    with pytest.raises(PointHidden):
        await anext(aiter(store.read(stranger, points, NOW_US - DAY_US, NOW_US)))


async def read_crowded(store: SeriesStore, points: Sequence[Point], most: int) -> None:
    """More readings in a stretch than one piece holds come in several, down to one microsecond."""
    count = 5 * most
    at = NOW_US + np.arange(count, dtype=np.int64) // 3
    written = rows((np.arange(count) % 3).astype(np.int32), at, np.arange(count, dtype=np.float64))
    await store.write(written)
    pieces = [p async for p in store.read(EVERYBODY, points, NOW_US - DAY_US, NOW_US + DAY_US)]
    assert len(pieces) >= 4
    assert max(piece.count for piece in pieces) <= max(most, 3)
    np.testing.assert_array_equal(Rows.of(*pieces).value, written.value)
