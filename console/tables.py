"""Statistics as CSV, a table a file; an apostrophe leads what a spreadsheet would run as a formula."""

from __future__ import annotations

import csv
import io

import msgspec

from alerting.statistics import Answered, Nuisances, Source, Statistics
from ingest.sheet import guarded

TABLES: dict[str, type[msgspec.Struct]] = {
    "bad_actors": Source,
    "nuisances": Nuisances,
    "answered": Answered,
}
"""What there is, by the name of its field."""


def to_csv(statistics: Statistics, table: str) -> str:
    """One of ``TABLES``: a header, then its rows. Findings stand in one cell, ``cooking=2; dust=1``."""
    out = io.StringIO()
    rows = csv.writer(out)
    rows.writerow(TABLES[table].__struct_fields__)
    for row in getattr(statistics, table):
        rows.writerow([_cell(value) for value in msgspec.structs.astuple(row)])
    return out.getvalue()


def _cell(value: object) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key}={count}" for key, count in sorted(value.items()))
    if isinstance(value, float):
        return f"{value:.6g}"
    return guarded("" if value is None else str(value))
