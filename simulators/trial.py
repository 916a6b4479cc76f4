"""Recordings through the one detection engine, in event time, as a device without a gateway would send them.

A folder holds ``manifest.csv`` and ``columns.csv``, and may hold ``events.csv`` and ``reference_alarms.csv``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from math import isfinite
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alerting.detect.engine import Engine
from alerting.detect.rules import RuleSet
from alerting.detect.verdict import Verdict, VerdictKind
from fengsui.model import Point, Quality
from gateway.drivers.recording import Recording, RecordingError, read_table, seconds
from simulators.channels import START_C, Channel, Choice, choose, unplugged
from simulators.evaluation import (
    Alarm,
    Facts,
    FileReport,
    Interval,
    Report,
    Status,
    Yardsticks,
    alarms,
    judge,
    summarise,
)
from simulators.yardsticks import en54_a1r_s, fixed57_s, reference_alarm_s

Floats = NDArray[np.float64]

MIN_SAMPLING_S = 0.1
"""A file sampled faster is a waveform, not readings: a phase current at 1 kHz is for another instrument."""
EPOCH_S = 1_577_836_800.0
"""Where a time axis of plain seconds begins, s since 1970: 1 January 2020, 0:00 UTC."""
DATED_S = 1e8
"""An axis that begins later than this is seconds since 1970 already."""
ROWS_PER_BATCH = 256


class Cells(NamedTuple):
    """Readings, all of shape (n,)."""

    column: NDArray[np.int32]
    at_us: NDArray[np.int64]
    value: Floats
    quality: NDArray[np.uint8]


class Samples(NamedTuple):
    """The chosen channels of a file as arrays."""

    t_s: Floats
    """Shape (n,), the file's own axis."""
    values: Floats
    """Converted, shape (n, m); NaN = missing or invalid."""
    present: NDArray[np.bool_]
    """Shape (n, m): there is a cell; with a value of NaN it was measured and invalid."""

    @property
    def offset_s(self) -> float:
        """How far the engine's clock is ahead of the file's axis, s."""
        return 0.0 if self.t_s[0] >= DATED_S else EPOCH_S - float(self.t_s[0])

    def cells(self, rows: slice) -> Cells:
        """The cells of some rows as readings, row by row."""
        row, column = np.nonzero(self.present[rows])
        value = self.values[rows][row, column]
        at_us = np.round((self.t_s[rows][row] + self.offset_s) * 1e6).astype(np.int64)
        quality = np.where(np.isfinite(value), Quality.GOOD, Quality.BAD).astype(np.uint8)
        return Cells(column.astype(np.int32), at_us, value, quality)


class Folder:
    """A folder of recordings: its tables are read, its files are judged as they are asked for."""

    def __init__(self, root: Path) -> None:
        """Read the tables.

        Raises:
            RecordingError: no manifest.csv or columns.csv, or one that cannot be read.
        """
        for name in ("manifest.csv", "columns.csv"):
            if not (root / name).is_file():
                raise RecordingError(
                    f"{root}: has no {name}; give the folder that holds manifest.csv and columns.csv"
                )
        self.root = root
        self.manifest = read_table(root / "manifest.csv", ("file", "family", "kind"))
        self._events = _optional(root / "events.csv", ("file", "t", "event"))
        self._reference = _optional(root / "reference_alarms.csv", ("file", "alarm_type", "t_activation_s"))

    def evaluate(self, rules: RuleSet, name: str, progress: Callable[[FileReport, int], None]) -> Report:
        """Judge every file of the manifest by ``rules``.

        A file that cannot be read is reported in its ``note`` and judged nowhere.

        Args:
            rules: What the engine judges by.
            name: Of the rules, for the report.
            progress: Told each file's report and how many are done.
        """
        files: list[FileReport] = []
        for row in self.manifest:
            files.append(self._file(row, rules))
            progress(files[-1], len(files))
        return Report(
            summary=summarise(files), files=tuple(files), folder=self.root.absolute().name, rules=name
        )

    def _file(self, row: dict[str, str], rules: RuleSet) -> FileReport:
        file, family, kind = row["file"], row["family"], row["kind"].strip().lower()
        sampling_s = seconds(row.get("sampling_s", ""))
        if note := waveform(sampling_s):
            return FileReport(file=file, family=family, kind=kind, note=note, status=Status.OUT_OF_SCOPE)
        try:
            recording = Recording(self.root / file)
            choice, samples = load(recording)
            facts = self._facts(row, kind, recording, samples.t_s, sampling_s)
        except RecordingError as error:
            note = str(error)
            return FileReport(file=file, family=family, kind=kind, note=note, status=Status.UNREADABLE)
        verdicts, offset_s = play(choice.channels, samples, rules)
        found = [Alarm(at_us / 1e6 - offset_s, cls) for at_us, cls in alarms(verdicts)]
        return judge(
            facts,
            found,
            self._yardsticks(facts, choice.channels, samples),
            channels=tuple(f"{c.column.name}: {c.use}, {c.quantity} in {c.uom}" for c in choice.channels),
            note=_note(choice, facts, verdicts),
        )

    def _facts(
        self, row: dict[str, str], kind: str, recording: Recording, t_s: Floats, sampling_s: float | None
    ) -> Facts:
        if kind == "fire" and (recording.t_ignition_s is None or not isfinite(recording.t_ignition_s)):
            raise RecordingError(f"{recording.file}: a fire without t_ignition_s in manifest.csv")
        steps_s = np.diff(t_s)
        steps_s = steps_s[steps_s > 0]
        return Facts(
            file=row["file"],
            family=row["family"],
            kind=kind,
            first_s=float(t_s.min()),
            last_s=float(t_s.max()),
            sampling_s=sampling_s or (float(np.median(steps_s)) if len(steps_s) else 0.0),
            t_ignition_s=recording.t_ignition_s if kind == "fire" else None,
            intervals=self.intervals(row, kind, float(t_s.max())) if kind in ("fault", "overheat") else (),
        )

    def events(self, file: str) -> list[tuple[float, str]]:
        """What was noted down in a file's time, by the file's own axis."""
        noted = ((seconds(row["t"]), row["event"]) for row in self._events if row["file"] == file)
        return [(at_s, event) for at_s, event in noted if at_s is not None]

    def intervals(self, row: dict[str, str], kind: str, last_s: float) -> tuple[Interval, ...]:
        """Labelled intervals: of the manifest, else of the events, else (overheat) from time 0 to the end."""
        first, last = (seconds(row.get(key, "") or "") for key in ("t_fault_first", "t_fault_last"))
        if first is not None:
            return ((first, last_s if last is None else last),)
        begun: float | None = None
        intervals: list[Interval] = []
        for at_s, event in self.events(row["file"]):
            words = event.lower()
            if not _LABEL.search(words):
                continue
            if _START.search(words):
                begun = at_s
            elif _END.search(words) and begun is not None:
                intervals.append((begun, at_s))
                begun = None
        if begun is not None:
            intervals.append((begun, last_s))
        if not intervals and kind == "overheat":
            intervals.append((0.0, last_s))
        return tuple(sorted(intervals))

    def _yardsticks(self, facts: Facts, channels: Sequence[Channel], samples: Samples) -> Yardsticks:
        if facts.t_ignition_s is None:
            return Yardsticks()
        near_c = samples.values[:, [channel.absolute_c for channel in channels]]
        return Yardsticks(
            fixed57_s(samples.t_s, near_c, facts.t_ignition_s),
            en54_a1r_s(samples.t_s, near_c, facts.t_ignition_s),
            reference_alarm_s(self._reference, facts.file),
        )


def waveform(sampling_s: float | None) -> str:
    """Why a file sampled every ``sampling_s`` (None: not said) is out of scope; empty: it is not."""
    if sampling_s is None or not 0 < sampling_s < MIN_SAMPLING_S:
        return ""
    return f"{1 / sampling_s:g} samples a second are a waveform, out of scope"


def load(recording: Recording) -> tuple[Choice, Samples]:
    """The channels of a recording by rule, and what they measured in the units of the rules.

    Raises:
        RecordingError: a line cannot be read, or there is none.
    """
    choice = choose(recording.columns)
    channels = choice.channels
    times: list[float] = []
    cells: list[list[float]] = []
    for row in recording.rows([channel.column for channel in channels]):
        times.append(row.t_s)
        cells.append([np.inf if value is None else value for value in row.values])
    if not times:
        raise RecordingError(f"{recording.file}: has no row with a time")
    t_s = np.array(times)
    raw = np.array(cells, np.float64).reshape(len(times), len(channels))
    present = ~np.isinf(raw)
    raw[~present] = np.nan
    values = np.empty_like(raw)
    with np.errstate(over="ignore"):  # an absurd cell becomes infinite, and that is no value
        for number, channel in enumerate(channels):
            values[:, number] = channel.convert(raw[:, number])
    reasons = dict.fromkeys(unplugged(channels, t_s, values), "not connected: no room at rest at the start")
    for number in np.flatnonzero(~np.isfinite(values).any(axis=0)).tolist():
        reasons[channels[number].column.name] = "never measured"
    kept = np.array([channel.column.name not in reasons for channel in channels], np.bool_)
    chosen = tuple(channel for channel, keep in zip(channels, kept, strict=True) if keep)
    return Choice(chosen, choice.left_out | reasons), Samples(t_s, values[:, kept], present[:, kept])


def play(channels: Sequence[Channel], samples: Samples, rules: RuleSet) -> tuple[list[Verdict], float]:
    """What the engine says of these readings, and how far its clock is ahead of the file's axis, s."""
    t_s, offset_s, points = samples.t_s, samples.offset_s, points_of(channels)
    engine = Engine(rules, points, now_s=float(t_s[0]) + offset_s)
    now_s = np.maximum.accumulate(t_s + offset_s)
    verdicts: list[Verdict] = []
    for first in range(0, len(t_s), ROWS_PER_BATCH):
        rows = slice(first, first + ROWS_PER_BATCH)
        column, at_us, value, quality = samples.cells(rows)
        until_s = float(now_s[rows][-1])
        verdicts += engine.update(column, at_us, value, quality, at_us, np.zeros_like(at_us), now_s=until_s)
        verdicts += engine.advance(now_s=until_s, now_us=round(until_s * 1e6))
    return verdicts, offset_s


def points_of(channels: Sequence[Channel]) -> list[Point]:
    """The channels of one file as the points of one device."""
    return [
        Point(
            index=number,
            id=channel.column.point,
            gateway="recording",
            name=channel.column.point,
            quantity=channel.quantity,
            uom=channel.uom,
            device="recording",
            zone="recording",
            building="recording",
            unit="recordings",
        )
        for number, channel in enumerate(channels)
    ]


def _note(choice: Choice, facts: Facts, verdicts: Sequence[Verdict]) -> str:
    said = [] if choice.channels else ["no channel to judge"]
    if any(channel.column.quantity == "temperature_rise" for channel in choice.channels):
        said.append(f"rises in K, taken to start at {START_C:g} degC; no yardstick in degC")
    if facts.kind == "fault" and not facts.intervals:
        said.append("no labelled interval: nothing to find")
    if silences := sum(v.missing and v.kind is VerdictKind.RAISE for v in verdicts):
        said.append(f"{silences} no-data alarms")
    if choice.left_out:
        said.append(f"left out: {choice.reasons()}")
    return "; ".join(said)


def _optional(file: Path, needed: Sequence[str]) -> list[dict[str, str]]:
    return read_table(file, needed) if file.is_file() else []


_LABEL = re.compile(r"anomal|fault|failure|leak|heating|overheat")
_START = re.compile(r"\b(start|starts|started|begin|begins|on)\b")
_END = re.compile(r"\b(end|ends|ended|stop|stops|stopped|off)\b")
