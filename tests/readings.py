"""Points and rows for tests of the series store and its writer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from fengsui.model import Point
from fengsui.viewer import Role, Viewer
from ingest.store.base import Rows

EVERYBODY = Viewer("test", frozenset({Role.ENGINEER}), None)
NOW_US = 1_790_000_000_000_000
"""21 September 2026."""


@dataclass
class Points:
    """A registry of points and nothing else."""

    points: list[Point] = field(default_factory=list)

    @classmethod
    def named(cls, *ids: str, gateway: str = "gw", unit: str = "unit-a") -> Points:
        """Points with these ids."""
        return cls([point(index, id_, gateway=gateway, unit=unit) for index, id_ in enumerate(ids)])


def point(index: int, id_: str, *, gateway: str = "gw", unit: str = "unit-a") -> Point:
    """A temperature."""
    return Point(
        index=index, id=id_, gateway=gateway, name=f"n{index}", quantity="temperature", uom="degC", unit=unit
    )


def rows(
    points: Sequence[int] | NDArray[np.int32],
    at_us: Sequence[int] | NDArray[np.int64],
    values: Sequence[float] | NDArray[np.float64],
    quality: Sequence[int] | NDArray[np.uint8] | None = None,
) -> Rows:
    """Rows of columns."""
    return Rows(
        np.asarray(points, np.int32),
        np.asarray(at_us, np.int64),
        np.asarray(values, np.float64),
        np.zeros(len(values), np.uint8) if quality is None else np.asarray(quality, np.uint8),
    )


def steady(n: int, *, points: int = 1, begin_us: int = NOW_US) -> Rows:
    """``n`` good readings, one a second over ``points`` points in turn, each with a value of its own."""
    at = np.arange(n, dtype=np.int64)
    return rows((at % points).astype(np.int32), begin_us + at * 1_000_000, at.astype(np.float64) / 4)
