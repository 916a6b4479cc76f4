"""The order of time inside each point: late readings, clock steps, and where a series is broken."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from alerting.detect.order import CLOCK_STEP_US, NEVER, Order, Readings
from fengsui.model import Quality
from tests.unit.detection import T0_US, S

NAN = float("nan")
Given = tuple[int, int, float, int]
"""Point, stamp in s after T0, value, quality."""


def enter(order: Order, rows: list[Given]) -> tuple[list[tuple[int, int, int, bool]], list[int]]:
    """(point, stamp, stamp before or -1, broken) of each row in order, and the late rows."""
    rows = sorted(rows, key=lambda row: row[0])
    point = np.array([row[0] for row in rows], np.intp)
    at_us = np.array([T0_US + row[1] * S for row in rows], np.int64)
    value = np.array([row[2] for row in rows], np.float64)
    quality = np.array([row[3] for row in rows], np.uint8)
    readings = Readings(np.arange(len(rows)), point, at_us, value, quality)
    series, late = order.enter(readings, at_us, np.isfinite(value) & (quality != Quality.BAD))
    told = [
        (
            int(p),
            (int(at) - T0_US) // S,
            NEVER if before == NEVER else (int(before) - T0_US) // S,
            bool(broken),
        )
        for p, at, before, broken in zip(
            series.readings.point, series.readings.at_us, series.before_us, series.broken, strict=True
        )
    ]
    return told, [] if late is None else [int(row) for row in late.row]


def test_predecessors_are_found_across_batches() -> None:
    """The first reading of a point in a batch looks back to the last one of the batch before."""
    order = Order(2)
    assert enter(order, [(0, 0, 1.0, 0), (1, 5, 1.0, 0), (0, 1, 1.0, 0)])[0] == [
        (0, 0, NEVER, False), (0, 1, 0, False), (1, 5, NEVER, False),
    ]  # fmt: skip
    assert enter(order, [(1, 7, 1.0, 0), (0, 2, 1.0, 0)])[0] == [(0, 2, 1, False), (1, 7, 5, False)]


def test_a_late_reading_is_no_predecessor() -> None:
    """What is not newer than the newest of its point is given back by itself."""
    order = Order(1)
    told, late = enter(order, [(0, 10, 1.0, 0), (0, 5, 1.0, 0), (0, 10, 1.0, 0), (0, 11, 1.0, 0)])
    assert told == [(0, 10, NEVER, False), (0, 11, 10, False)]
    assert late == [1, 2]


def test_an_invalid_reading_breaks_the_series_also_at_the_cut() -> None:
    """No rate may be taken across NaN, *bad* or *out of range*, wherever the batch ends."""
    for breaker in ((0, 2, NAN, 0), (0, 2, 1.0, int(Quality.BAD))):
        order = Order(1)
        assert enter(order, [(0, 1, 1.0, 0), breaker])[0] == [(0, 1, NEVER, False)]
        assert enter(order, [(0, 3, 1.0, 0), (0, 4, 1.0, 0)])[0] == [(0, 3, 1, True), (0, 4, 3, False)]
    order = Order(1)
    enter(order, [(0, 1, 1.0, 0), (0, 2, 999.0, int(Quality.OUT_OF_RANGE))])
    assert enter(order, [(0, 3, 1.0, 0)])[0] == [(0, 3, 2, True)]


def test_a_batch_of_nothing_usable_is_remembered() -> None:
    """Invalid readings alone give no row, and break what follows."""
    order = Order(2)
    assert enter(order, [(1, 1, NAN, 0)]) == ([], [])
    assert enter(order, [(0, 2, 1.0, 0), (1, 2, 1.0, 0)])[0] == [(0, 2, NEVER, False), (1, 2, NEVER, True)]


def test_a_clock_that_falls_back_begins_a_new_order() -> None:
    """One stamp from the future must not make every later reading late."""
    order = Order(1)
    at_us = np.array([T0_US + 2 * CLOCK_STEP_US, T0_US + S])
    held_us = np.array([T0_US, T0_US + S])
    readings = Readings(np.arange(2), np.zeros(2, np.intp), at_us, np.ones(2), np.zeros(2, np.uint8))
    series, late = order.enter(readings, held_us, np.ones(2, np.bool_))
    assert late is None
    assert series.before_us.tolist() == [NEVER, NEVER]


rows = st.tuples(
    st.integers(0, 2),
    st.integers(0, 30),
    st.sampled_from([1.0, 1.0, 1.0, NAN]),
    st.sampled_from([0, 0, 0, 2, 3]),
)


@settings(max_examples=300, deadline=None)
@given(stream=st.lists(rows, max_size=40), cut=st.integers(0, 40))
def test_a_cut_changes_nothing(stream: list[Given], cut: int) -> None:
    """Two batches say of every point what one says, and a restored order goes on as the old one would."""
    whole, parts = Order(3), Order(3)
    expected = enter(whole, stream)[0]
    found = enter(parts, stream[:cut])[0]
    restored = Order(3)
    restored.restore(parts.state())
    rest = enter(parts, stream[cut:])[0]
    assert enter(restored, stream[cut:])[0] == rest
    for index in range(3):
        assert [t for t in expected if t[0] == index] == [t for t in found + rest if t[0] == index]
    for name, array in whole.state().items():
        assert np.array_equal(array, parts.state()[name]), name
