"""Snapshots of detection on disk: the state as arrays, and the place in the journal that it stands for.

A snapshot is one ``.npz`` file, written beside, fsynced, renamed. The last three are kept, and the newest one
that reads back whole is loaded: a damaged one costs a longer replay, never the state.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fengsui.model import Lane

KEEP = 3


class Cursor(NamedTuple):
    """Everything up to these entries of the journal named ``journal`` is behind the reader; 0 = nothing."""

    journal: str
    alarm: int = 0
    telemetry: int = 0

    def at(self, lane: Lane) -> int:
        """The last entry of ``lane`` that is behind the reader."""
        return self.alarm if lane is Lane.ALARM else self.telemetry

    def moved(self, lane: Lane, n: int) -> Cursor:
        """The cursor after entry ``n`` of ``lane``; it never moves back."""
        n = max(n, self.at(lane))
        return self._replace(alarm=n) if lane is Lane.ALARM else self._replace(telemetry=n)


class Snapshot(NamedTuple):
    """State of detection at ``cursor``."""

    cursor: Cursor
    state: dict[str, NDArray[np.generic]]


class Snapshots:
    """The snapshots in one folder, which is made if it is missing."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self.damaged: list[Path] = []
        """Files that could not be read back at the last ``load``; a fault to show."""

    def save(self, cursor: Cursor, state: Mapping[str, NDArray[np.generic]]) -> None:
        """Write a snapshot durably and drop the oldest ones (blocking: call it in a thread).

        Raises:
            OSError: the disk does not take it; the earlier snapshots stay.
        """
        kept = self._newest_first()
        number = int(kept[0].stem.removeprefix("detect-")) + 1 if kept else 1
        path = self._folder / f"detect-{number:012d}.npz"
        beside = path.with_suffix(".new")
        position = np.array([cursor.alarm, cursor.telemetry], np.int64)
        arrays = {"cursor": position, "journal": np.array(cursor.journal, np.str_), **state}
        with beside.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
            file.flush()
            os.fsync(file.fileno())
        beside.rename(path)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        for old in self._newest_first()[KEEP:]:
            old.unlink()

    def load(self, journal: str) -> Snapshot | None:
        """The newest good snapshot that counts in ``journal``, or None (blocking: call it in a thread)."""
        self.damaged = []
        for path in self._newest_first():
            try:
                with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
                    state = {name: file[name] for name in file.files}
                alarm, telemetry = (int(n) for n in state.pop("cursor"))
                cursor = Cursor(str(state.pop("journal")), alarm, telemetry)
            except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
                self.damaged.append(path)
                continue
            if cursor.journal == journal:
                return Snapshot(cursor, state)
        return None

    def _newest_first(self) -> list[Path]:
        return sorted(self._folder.glob("detect-*.npz"), reverse=True)
