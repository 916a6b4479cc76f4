"""A folder of recordings as one history: every file a building of its own, every chosen channel a point."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import msgspec
import numpy as np

from alerting.backtest.report import Report
from fengsui.model import Point
from fengsui.viewer import Role, Viewer
from gateway.drivers.recording import Recording, RecordingError, seconds
from ingest.store.base import ROWS_PER_PIECE, Rows
from server.backtest import Question, prepare
from server.errand import Progress
from simulators.trial import Folder, load, points_of, waveform

MAX_READINGS = 50_000_000
"""They are held in memory, 21 bytes each, twice while they are sorted."""


EVERYBODY = Viewer("shell", frozenset({Role.ENGINEER}), None)
"""Files belong to nobody: who can read them may judge them."""


class Archive(NamedTuple):
    """What the files hold."""

    points: list[Point]
    """Named ``file:column``; unit ``recordings``, building, zone and device by the file's name."""
    rows: Rows
    """In order of time. Files that count from 0 begin on 1 January 2020, 0:00 UTC."""
    notes: list[str]
    """Files left out, and why."""

    def backtest(self, question: Question, in_force: str, progress: Callable[[Progress], None]) -> Report:
        """Judge what is asked for; ``in_force`` is the text of the rules to compare with.

        Raises:
            BacktestRefused: the question cannot be answered as asked.
        """
        ready = prepare(self.points, EVERYBODY, question, in_force)
        indexes = [point.index for point in ready.points]
        at_us = self.rows.at_us
        inside = (at_us >= ready.span.warm_us) & (at_us < ready.span.to_us)
        wanted = np.flatnonzero(inside & np.isin(self.rows.point, indexes))
        for first in range(0, len(wanted), ROWS_PER_PIECE):
            rows = self.rows.take(wanted[first : first + ROWS_PER_PIECE])
            ready.test.feed(rows.point, rows.at_us, rows.value, rows.quality)
            progress(Progress(int(rows.at_us[-1]), ready.test.readings))
        return ready.test.report(labels=ready.labels, notes=[*ready.notes, *self.notes])


def load_archive(root: Path, progress: Callable[[str], None]) -> Archive:
    """Every file of the manifest that can be judged, by the channels that an evaluation chooses.

    Args:
        root: Holds ``manifest.csv`` and ``columns.csv``.
        progress: Told each file's name when it is read.

    Raises:
        RecordingError: no such folder, or more than ``MAX_READINGS`` in it.
    """
    points: list[Point] = []
    parts: list[Rows] = []
    notes: list[str] = []
    count = 0
    for row in Folder(root).manifest:
        file = row["file"]
        progress(file)
        if note := waveform(seconds(row.get("sampling_s", ""))):
            notes.append(f"{file}: {note}")
            continue
        try:
            choice, samples = load(Recording(root / file))
        except RecordingError as error:
            notes.append(str(error))
            continue
        cells = samples.cells(slice(None))
        count += len(cells.value)
        if count > MAX_READINGS:
            raise RecordingError(f"{root}: more than {MAX_READINGS} readings; give a folder with fewer files")
        parts.append(Rows(cells.column + len(points), cells.at_us, cells.value, cells.quality))
        place = PurePosixPath(file).name.split(".")[0]
        points += [
            msgspec.structs.replace(
                point, index=len(points) + point.index, id=f"{place}:{point.id}", building=place, zone=place,
                device=place,
            )
            for point in points_of(choice.channels)
        ]  # fmt: skip
    return Archive(points, Rows.of(*parts).in_time(), notes)
