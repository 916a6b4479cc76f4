"""Labelled intervals: what people found there, and how fire alarms stand against it. Pure.

A label file is CSV, UTF-8, with the columns ``point``, ``building``, ``from``, ``to``, ``label`` and, if
wanted, ``note``, in any order. A row names a point or a building, not both; times are ISO 8601 and belong to
the interval.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, tzinfo
from typing import NamedTuple

from alerting.backtest.report import Alarm, FirstFire, Label, Labelled, LabelTally, Outcome
from alerting.errors import AlertingError
from fengsui.model import AlarmClass, Point

COLUMNS = ("point", "building", "from", "to", "label")
_EMPTY_OR_TEXT = ("note",)
MAX_LABELS = 10_000


class LabelError(AlertingError):
    """A label file that cannot be used; the text names the line and says what to change."""


class Interval(NamedTuple):
    """One row: at a point or in a building something was so."""

    point: str
    building: str
    from_us: int
    to_us: int
    label: Label

    def covers(self, alarm: Alarm) -> bool:
        """Whether the alarm is about its point, or in its building."""
        return alarm.subject == self.point if self.point else alarm.building == self.building


def parse_labels(text: str, zone: tzinfo) -> list[Interval]:
    """The rows of a label file; a time without an offset is of ``zone``.

    Raises:
        LabelError: Names the line, and what to change.
    """
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True, restval="")
    try:
        names = reader.fieldnames or []
        if missing := [name for name in COLUMNS if name not in names]:
            raise LabelError(f"line 1: no column {', '.join(missing)}; the first line is {','.join(COLUMNS)}")
        if unknown := [name for name in names if name not in (*COLUMNS, *_EMPTY_OR_TEXT)]:
            raise LabelError(
                f"line 1: unknown column {unknown[0][:40]!r}; known: {', '.join((*COLUMNS, *_EMPTY_OR_TEXT))}"
            )
        found: list[Interval] = []
        for row in reader:
            if len(found) == MAX_LABELS:
                raise LabelError(f"more than {MAX_LABELS} labels; give those of the span alone")
            found.append(_interval(row, zone, reader.line_num))
    except csv.Error as error:
        raise LabelError(f"line {reader.line_num}: not CSV: {error}") from error
    return found


def unknown_places(labels: Iterable[Interval], points: Sequence[Point]) -> list[str]:
    """Points and buildings that labels name and ``points`` do not have, each once."""
    ids, buildings = {point.id for point in points}, {point.building for point in points}
    missing = [
        label.point or label.building
        for label in labels
        if label.point not in ids and (label.point or label.building not in buildings)
    ]
    return list(dict.fromkeys(missing))


def judge(
    labels: Sequence[Interval], draft: Outcome, in_force: Outcome, from_us: int, to_us: int
) -> Labelled:
    """Fire alarms of both rule sets against the labels that reach into ``from_us`` until before ``to_us``."""
    labels = [label for label in labels if label.to_us >= from_us and label.from_us < to_us]
    ours, theirs = _fires(draft), _fires(in_force)
    fires = tuple(
        FirstFire(
            subject=label.point or label.building,
            begin_us=label.from_us,
            draft_delay_s=_first_delay_s(label, ours),
            in_force_delay_s=_first_delay_s(label, theirs),
        )
        for label in labels
        if label.label is Label.REAL
    )
    ours, theirs = ([a for a in found if a.begin_us >= from_us] for found in (ours, theirs))
    tallies = []
    for kind in Label:
        those = [label for label in labels if label.label is kind]
        if those:
            tallies.append(
                LabelTally(
                    label=kind,
                    intervals=len(those),
                    draft_fires=_count(ours, _within(those)),
                    in_force_fires=_count(theirs, _within(those)),
                )
            )
    labelled = _within(labels)
    return Labelled(
        fires=fires,
        tallies=tuple(tallies),
        unlabelled_draft=len(ours) - _count(ours, labelled),
        unlabelled_in_force=len(theirs) - _count(theirs, labelled),
    )


def _interval(row: dict[str, str], zone: tzinfo, line: int) -> Interval:
    cells = {name: (row[name] or "").strip() for name in COLUMNS}
    if bool(cells["point"]) == bool(cells["building"]):
        raise LabelError(f"line {line}: give a point or a building, and leave the other blank")
    try:
        label = Label(cells["label"].lower())
    except ValueError as error:
        known = ", ".join(Label)
        raise LabelError(f"line {line}: {cells['label'][:40]!r} is no label; known: {known}") from error
    begin, end = (_at_us(cells[name], zone, line, name) for name in ("from", "to"))
    if end < begin:
        raise LabelError(f"line {line}: it ends before it begins")
    return Interval(cells["point"], cells["building"], begin, end, label)


def _at_us(cell: str, zone: tzinfo, line: int, name: str) -> int:
    try:
        at = datetime.fromisoformat(cell)
    except ValueError as error:
        raise LabelError(
            f"line {line}: {name} {cell[:40]!r} is no time; write it like 2026-05-01T08:00+08:00"
        ) from error
    return round((at if at.tzinfo else at.replace(tzinfo=zone)).timestamp() * 1e6)


def _fires(outcome: Outcome) -> list[Alarm]:
    return [alarm for alarm in outcome.alarms if alarm.cls is AlarmClass.FIRE]


def _first_delay_s(label: Interval, fires: Sequence[Alarm]) -> float | None:
    """From the labelled begin to the first fire alarm that stands inside; one that stood already: 0."""
    begins = [
        alarm.begin_us
        for alarm in fires
        if label.covers(alarm)
        and alarm.begin_us <= label.to_us
        and (alarm.end_us is None or alarm.end_us >= label.from_us)
    ]
    return max(0, min(begins) - label.from_us) / 1e6 if begins else None


def _within(labels: Sequence[Interval]) -> Callable[[Alarm], bool]:
    """Whether an alarm begins in one of the intervals."""
    points: dict[str, list[Interval]] = {}
    buildings: dict[str, list[Interval]] = {}
    for label in labels:
        (points if label.point else buildings).setdefault(label.point or label.building, []).append(label)

    def is_within(alarm: Alarm) -> bool:
        near = points.get(alarm.subject, []) + buildings.get(alarm.building, [])
        return any(label.from_us <= alarm.begin_us <= label.to_us for label in near)

    return is_within


def _count(alarms: Sequence[Alarm], wanted: Callable[[Alarm], bool]) -> int:
    return sum(map(wanted, alarms))
