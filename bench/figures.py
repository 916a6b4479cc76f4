"""What a measurement found: figures with their spread, and rows that hold a bound or miss it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil
from statistics import median
from typing import Any, Literal

Verdict = Literal["holds", "misses"]


@dataclass(frozen=True)
class Figure:
    """One figure, measured once or more.

    ``runs`` are in the order of measuring; ``spread`` stands in for them when they cannot tell it (a
    percentile of everything, and of parts of it).
    """

    runs: Sequence[float]
    spread: Sequence[float] = ()

    def __post_init__(self) -> None:
        if not self.runs:
            raise ValueError("a figure without a measurement")

    @property
    def median(self) -> float:
        """The figure itself."""
        return median(self.runs)

    def as_json(self) -> dict[str, Any]:
        """Median, spread, and every run."""
        spread = [*self.runs, *self.spread]
        return {
            "median": rounded(self.median),
            "min": rounded(min(spread)),
            "max": rounded(max(spread)),
            "runs": [rounded(run) for run in self.runs],
        }


@dataclass(frozen=True, kw_only=True)
class Row:
    """A line of the table of numbers to hold.

    Args:
        key: Its place in ``latest.json``, with a dot for each level.
        what: What was measured, for a person.
        figure: What was found.
        unit: Of the figure; empty for a ratio.
        most: The figure holds up to here.
        least: Or it holds from here on.
        stretch: What it should become.
        bound_by: What limits it, as far as this run can tell.
    """

    key: str
    what: str
    figure: Figure
    unit: str = ""
    most: float | None = None
    least: float | None = None
    stretch: float | None = None
    bound_by: str = ""

    @property
    def verdict(self) -> Verdict | None:
        """None when the row has no bound and is told for comparison only."""
        value = self.figure.median
        if self.most is not None:
            return "holds" if value <= self.most else "misses"
        if self.least is not None:
            return "holds" if value >= self.least else "misses"
        return None

    @property
    def used(self) -> float | None:
        """How much of the bound is used: 1 is just at it, more than 1 misses."""
        value = self.figure.median
        if self.most is not None:
            return value / self.most if self.most else None
        if self.least is not None:
            return self.least / value if value else None
        return None

    @property
    def bound(self) -> str:
        """The bound in words."""
        limit = f"<= {self.most:,.4g}" if self.most is not None else ""
        limit = f">= {self.least:,.6g}" if self.least is not None else limit
        stretch = f" (stretch {self.stretch:,.6g})" if self.stretch is not None else ""
        return f"{limit} {self.unit}".rstrip() + stretch if limit else ""

    def as_json(self) -> dict[str, Any]:
        """Everything about the row."""
        return {
            "key": self.key,
            "what": self.what,
            "unit": self.unit,
            **self.figure.as_json(),
            "bound": self.bound,
            "verdict": self.verdict,
            "used": None if self.used is None else rounded(self.used),
            "bound_by": self.bound_by,
        }


@dataclass(frozen=True)
class Result:
    """What one measurement found.

    ``details`` is for the page and the curious: CPU of each process, samples of latencies, yardsticks.
    ``tables`` stand in ``latest.json`` beside the rows, by their keys: one figure at several sizes.
    """

    rows: Sequence[Row]
    details: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)


def by_key(rows: Sequence[Row]) -> dict[str, Any]:
    """The rows' medians in the form of ``latest.json``: a dot in a key opens a level."""
    found: dict[str, Any] = {}
    for row in rows:
        *path, last = row.key.split(".")
        level = found
        for name in path:
            level = level.setdefault(name, {})
        level[last] = rounded(row.figure.median)
    return found


def percentile(samples: Sequence[float], share: float) -> float:
    """The sample that ``share`` (0 to 1) of all do not exceed; the nearest rank, nothing interpolated."""
    ranked = sorted(samples)
    return ranked[max(0, ceil(len(ranked) * share) - 1)]


def rounded(value: float) -> float:
    """Four significant digits: more than any of these figures is good for."""
    return float(f"{value:.4g}")
