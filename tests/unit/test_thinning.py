"""Histories that are longer than a chart is wide."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fengsui.viewer import Role, Viewer
from ingest.store.base import PointHidden, Rows, Series, Thinning, check_seen
from tests.readings import point, steady


def series(rows: Rows) -> Series:
    """Rows of one point as its history."""
    return Series(rows.at_us, rows.value, rows.quality)


def thinned(whole: Series, max_points: int, pieces: int = 1) -> Series:
    """``whole`` put through a thinning in pieces."""
    thinning = Thinning(int(whole.at_us[0]), int(whole.at_us[-1]) + 1, max_points)
    for index in np.array_split(np.arange(whole.count), pieces):
        thinning.add(Series(whole.at_us[index], whole.value[index], whole.quality[index]))
    return thinning.series()


def test_a_short_history_is_whole() -> None:
    """What fits is kept to the last reading, in order of time even if the pieces were not."""
    whole = series(steady(50))
    thinning = Thinning(int(whole.at_us[0]), int(whole.at_us[-1]) + 1, 50)
    for index in (np.arange(25, 50), np.arange(25)):
        thinning.add(Series(whole.at_us[index], whole.value[index], whole.quality[index]))
    assert thinning.series().at_us.tolist() == whole.at_us.tolist()


def test_nothing_is_nothing() -> None:
    """A range without readings gives an empty series."""
    assert Thinning(0, 10, 100).series().count == 0


def test_peaks_and_gaps_survive() -> None:
    """One spike, one dip and one invalid reading among 250,000 are still there among 500."""
    value = np.sin(np.arange(250_000) / 5_000)
    value[70_001], value[140_002], value[210_003] = 90.0, -90.0, np.nan
    at = np.arange(250_000, dtype=np.int64) * 1_000_000
    few = thinned(Series(at, value, np.zeros(250_000, np.uint8)), 500, pieces=7)
    assert few.count <= 500
    assert {70_001_000_000, 140_002_000_000, 210_003_000_000} <= set(few.at_us.tolist())
    assert np.isnan(few.value).sum() == 1


@given(
    st.lists(
        st.tuples(st.integers(0, 10_000), st.floats(-50, 50) | st.just(float("nan"))),
        min_size=1,
        unique_by=lambda item: item[0],
    ),
    st.integers(1, 60),
)
def test_every_bucket_keeps_its_extremes(items: list[tuple[int, float]], max_points: int) -> None:
    """The thinned history is a subset with the same first, last, lowest and highest, within the bound."""
    items.sort()
    at, value = np.array([a for a, _ in items]), np.array([v for _, v in items])
    few = thinned(Series(at, value, np.zeros(len(at), np.uint8)), max_points)
    assert few.count <= max(max_points, 5)
    assert set(few.at_us.tolist()) <= set(at.tolist())
    assert (few.at_us[0], few.at_us[-1]) == (at[0], at[-1])
    if not np.isnan(value).all():
        assert np.nanmin(few.value) == np.nanmin(value)
        assert np.nanmax(few.value) == np.nanmax(value)
    assert np.isnan(few.value).any() == np.isnan(value).any()


def test_a_hidden_point_is_refused() -> None:
    """Who does not see the point's unit is told that there is no such point."""
    here, there = point(0, "p", unit="a"), Viewer("x", frozenset({Role.VIEWER}), frozenset({"b"}))
    with pytest.raises(PointHidden, match="no point p"):
        check_seen(there, here)
    check_seen(Viewer("x", frozenset({Role.VIEWER}), frozenset({"a"})), here)
