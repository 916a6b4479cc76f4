"""What the lab can perform: the scenarios that come with Fengsui, and the recordings of a folder."""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from fengsui.errors import FengsuiError
from gateway.drivers.recording import Recording, seconds
from simulators.link import Delivery
from simulators.rehearsal import Piece, piece
from simulators.scenario import Script, library
from simulators.scenario import load as load_scenario
from simulators.trial import DATED_S, Folder, load, points_of, waveform

MAX_READINGS = 2_000_000
"""Of a recording; they are held in memory."""
TICKS = 3_000
"""Of a recording at most: how finely time passes."""
_SCENARIO, _RECORDING = "scenario", "recording"


class LabRefused(FengsuiError):
    """What is asked for is not there, or too much; the text says what to change."""


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """Something to choose."""

    id: str
    group: str
    """``scenario``, or a recording's family."""
    title: str


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """What was so in truth."""

    from_s: float
    to_s: float | None
    """None: a moment."""
    what: str
    where: str = ""


class Take(NamedTuple):
    """A source, ready to be performed."""

    source: Source
    piece: Piece
    marks: tuple[Mark, ...]
    script: Script | None
    origin_s: float = 0.0
    is_dated: bool = False


def sources(recordings: Path | None) -> list[Source]:
    """What there is: the scenarios that come with Fengsui, and the recordings of a folder.

    Raises:
        FengsuiError: The folder is none of recordings.
    """
    found = [
        Source(id=f"{_SCENARIO}/{name}", group=_SCENARIO, title=load_scenario(name).scenario.title)
        for name in library()
    ]
    if recordings is None:
        return found
    return found + [
        _recorded(row)
        for row in Folder(recordings).manifest
        if not waveform(seconds(row.get("sampling_s", "")))
    ]


def take(source: str, recordings: Path | None) -> Take:
    """A source by its id.

    Raises:
        LabRefused: There is none, or it has nothing to judge.
        FengsuiError: It cannot be read.
    """
    sort, _, name = source.partition("/")
    if sort == _SCENARIO and name in library():
        return _scenario(source, load_scenario(name))
    if sort == _RECORDING and recordings is not None:
        folder = Folder(recordings)
        row = next((row for row in folder.manifest if row["file"] == name), None)
        if row is not None:
            return _recording(folder, row)
    raise LabRefused(f"there is no {source[:200]!r}; choose one of the list")


def _scenario(id_: str, script: Script) -> Take:
    scenario = script.scenario
    marks = tuple(
        Mark(
            from_s=float(each.at),
            to_s=min(float(until), float(scenario.length)) if (until := _until(each)) is not None else None,
            what=each.word,
            where=getattr(each, "where", ""),
        )
        for each in scenario.timeline
    )
    source = Source(id=id_, group=_SCENARIO, title=scenario.title)
    return Take(source, piece(script, scenario.seed), marks, script)


def _until(happening: object) -> float | None:
    until: float | None = getattr(happening, "until", None)
    return until


def _recorded(row: dict[str, str]) -> Source:
    """A row of a manifest."""
    told = row.get("scenario", "") or row["file"]
    name = row["file"].rsplit("/", 1)[-1].split(".")[0]
    return Source(
        id=f"{_RECORDING}/{row['file']}", group=row["family"], title=f"{name}: {row['kind']}, {told}"
    )


def _recording(folder: Folder, row: dict[str, str]) -> Take:
    recording = Recording(folder.root / row["file"])
    choice, samples = load(recording)
    if not choice.channels:
        raise LabRefused(f"{row['file']} has no channel that a rule speaks of")
    if samples.present.sum() > MAX_READINGS:
        raise LabRefused(
            f"{row['file']} has more than {MAX_READINGS:,} readings; `fengsui backtest` has no bound"
        )
    cells = samples.cells(slice(None))
    origin_s = float(samples.t_s.min())
    begin_us = round((origin_s + samples.offset_s) * 1e6)
    stamp_s = (cells.at_us - begin_us) / 1e6
    order = np.argsort(stamp_s, kind="stable")
    stamp_s = stamp_s[order]
    length_s = float(samples.t_s.max()) - origin_s
    steps_s = np.diff(np.unique(samples.t_s))
    return Take(
        _recorded(row),
        Piece(
            points=points_of(choice.channels),
            delivery=Delivery(cells.column[order], stamp_s, cells.value[order], stamp_s, stamp_s, []),
            quality=cells.quality[order],
            begin_us=begin_us,
            length_s=length_s,
            tick_s=max(float(np.median(steps_s)) if len(steps_s) else 1.0, length_s / TICKS),
            speaks=None,
        ),
        tuple(_truth(folder, row, recording, origin_s, origin_s + length_s)),
        None,
        origin_s=0.0 if origin_s >= DATED_S else origin_s,
        is_dated=origin_s >= DATED_S,
    )


def _truth(
    folder: Folder, row: dict[str, str], recording: Recording, first_s: float, last_s: float
) -> Iterable[Mark]:
    """What is known of a recording, in seconds from its beginning."""
    kind = row["kind"].strip().lower()
    if kind == "fire" and recording.t_ignition_s is not None and isfinite(recording.t_ignition_s):
        yield Mark(from_s=recording.t_ignition_s - first_s, to_s=None, what="ignition")
    if kind in ("fault", "overheat"):
        for begin_s, end_s in folder.intervals(row, kind, last_s):
            yield Mark(from_s=begin_s - first_s, to_s=end_s - first_s, what=kind)
    for at_s, event in folder.events(row["file"]):
        if at_s != recording.t_ignition_s:
            yield Mark(from_s=at_s - first_s, to_s=None, what=event)
