"""The newest reading of every point."""

from __future__ import annotations

import numpy as np

from fengsui.batch import Batch, Position
from fengsui.model import Lane
from server.latest import Latest, LatestReadings

S = 1_000_000


def batch(points: list[int], at_us: list[int], values: list[float], *, received_at_us: int = 50 * S) -> Batch:
    """Readings in journal order."""
    n = len(points)
    return Batch(
        Position(Lane.TELEMETRY, 1),
        np.asarray(points, np.int32),
        np.asarray(at_us, np.int64),
        np.asarray(values, np.float64),
        np.zeros(n, np.uint8),
        np.full(n, received_at_us, np.int64),
        np.zeros(n, np.int64),
    )


def test_a_point_nobody_heard_has_no_reading() -> None:
    """Neither within the arrays nor beyond them."""
    latest = LatestReadings()
    assert (latest.of(3), latest.of(1_000_000)) == (None, None)


def test_the_last_of_several_readings_stays() -> None:
    """Several readings of a point in one batch leave the last, and other points are not touched."""
    latest = LatestReadings()
    latest.take(batch([4, 4, 9], [S, 2 * S, S], [20.0, 21.5, 7.0]), 50 * S)
    assert latest.of(4) == Latest(2 * S, 21.5, 0, 50 * S)
    assert latest.of(9) == Latest(S, 7.0, 0, 50 * S)


def test_an_older_reading_is_not_the_newest() -> None:
    """What comes late goes into history, not onto the screen."""
    latest = LatestReadings()
    latest.take(batch([1], [10 * S], [30.0]), 50 * S)
    latest.take(batch([1], [5 * S], [99.0]), 50 * S)
    assert latest.of(1) == Latest(10 * S, 30.0, 0, 50 * S)


def test_an_invalid_reading_has_no_value() -> None:
    """NaN is measured and invalid: shown as nothing, not as a number."""
    latest = LatestReadings()
    latest.take(batch([0], [S], [float("nan")]), 50 * S)
    assert latest.of(0) == Latest(S, None, 0, 50 * S)


def test_the_arrays_grow_with_the_registry() -> None:
    """A point beyond the present size is entered, and what was there before stays."""
    latest = LatestReadings()
    latest.take(batch([0], [S], [1.0]), 50 * S)
    latest.take(batch([70_000], [S], [2.0]), 50 * S)
    first, far = latest.of(0), latest.of(70_000)
    assert (first and first.value, far and far.value) == (1.0, 2.0)


def test_latency_is_from_received_to_judged() -> None:
    """Unknown before the first batch, then percentiles in ms; an empty batch says nothing."""
    latest = LatestReadings()
    assert latest.latency_ms() == {"p50_ms": None, "p99_ms": None}
    latest.take(batch([0], [S], [1.0], received_at_us=50 * S), 50 * S + 3_000)
    latest.take(batch([], [], []), 90 * S)
    assert latest.latency_ms() == {"p50_ms": 3.0, "p99_ms": 3.0}
