"""``fengsui backtest``: what rules would have said of the past, beside the rules in force."""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from statistics import median

import msgspec

from alerting.backtest.report import Alarm, Labelled, Outcome, Report
from fengsui import settings
from fengsui.errors import Unavailable, UsageError
from fengsui.model import AlarmClass
from fengsui.runtime import OK
from fengsui.shell import DATA, person
from fengsui.viewer import Role, Viewer
from server.backtest import (
    DAY_S,
    WARM_UP_DAYS,
    Kept,
    Question,
    backtest,
    text_in_force,
)
from server.config import Settings
from server.errand import Progress
from simulators.archive import load_archive
from simulators.backtest_page import render
from simulators.screen import Screen

SUMMARY = "judge stored readings by draft rules, and compare them with the rules in force"

UNAVAILABLE = 1
"""Exit code when the store or the state database does not answer now."""

_SHOWN = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the verb."""
    parser.add_argument("rules", type=Path, metavar="RULES", help="the draft: a rule file")
    parser.add_argument(
        "--from",
        dest="begin",
        type=_time,
        metavar="TIME",
        help="count from here on, such as 2026-05-01 or 2026-05-01T08:00+08:00; days are those of its offset"
        " from UTC, without one of this machine's",
    )
    parser.add_argument("--to", dest="end", type=_time, metavar="TIME", help="count until before this")
    parser.add_argument(
        "--scope",
        default="",
        metavar="PART=TEXT,...",
        help="only these points: unit=, building=, zone=, device_type=, device=, point=, as in the scope of a"
        " rule: * is any text, ! takes out again, a part given twice fits either",
    )
    parser.add_argument(
        "--warm-up",
        type=float,
        metavar="DAYS",
        help="judge so long before --from without counting, so that baselines are learned"
        f" ({WARM_UP_DAYS:g}; 0 with --folder)",
    )
    source = parser.add_mutually_exclusive_group()
    source.add_argument(
        "--data",
        type=Path,
        default=DATA,
        metavar="DIR",
        help="the core's data directory, which holds its core.toml (var/core); the core may be running",
    )
    source.add_argument("--config", type=Path, metavar="FILE", help="the core's settings file, if elsewhere")
    source.add_argument(
        "--folder",
        type=Path,
        metavar="DIR",
        help="judge recordings instead: a folder with manifest.csv and columns.csv; --from and --to may be"
        " left out",
    )
    parser.add_argument(
        "--against",
        type=Path,
        metavar="FILE",
        help="compare with these rules (those in force, or as shipped)",
    )
    parser.add_argument(
        "--labels",
        type=Path,
        metavar="FILE",
        help="CSV of what people found: point,building,from,to,label; see docs/backtest.md",
    )
    parser.add_argument("--report", type=Path, metavar="OUT.json", help="write the report there")
    parser.add_argument("--html", type=Path, metavar="OUT.html", help="write a page for people there")
    parser.epilog = (
        "Exit code: 0 done, 1 the store or the state database does not answer now, 64 the rules, the span,"
        " the scope, the labels or an output cannot be used, 78 the core's settings cannot be used."
    )


def run(args: argparse.Namespace) -> int:
    """Judge, tell, write."""
    for out in (args.report, args.html):
        if out is not None and not out.absolute().parent.is_dir():
            raise UsageError(f"{out}: there is no folder {out.absolute().parent}; make it first")
    screen = Screen()
    try:
        report = _over_folder(args, screen) if args.folder is not None else _over_store(args, screen)
    except Unavailable as error:
        print(f"fengsui: {error}", file=sys.stderr)
        return UNAVAILABLE
    screen.tell(summary(report))
    if args.report is not None:
        _write(args.report, msgspec.json.format(msgspec.json.encode(report), indent=1))
    if args.html is not None:
        _write(args.html, render(report, args.rules.name).encode())
    return OK


def _over_store(args: argparse.Namespace, screen: Screen) -> Report:
    if args.begin is None or args.end is None:
        raise UsageError("give --from and --to; only recordings in a --folder have a span of their own")
    file = args.config or args.data / "core.toml"
    if args.config is None and not file.exists():
        raise UsageError(f"{file} is not there; name the core's data directory with --data, or --config FILE")
    core = settings.load(file, Settings)
    kept = Kept(core.store, core.database_url, text_in_force(args.against or core.rules, core.folder))
    warm_days = WARM_UP_DAYS if args.warm_up is None else args.warm_up
    question = _question(args, _us(args.begin), _us(args.end), warm_days, args.begin)
    viewer = Viewer(person(), frozenset({Role.ADMIN}), None)
    return asyncio.run(backtest(kept, viewer, question, Speed(screen, question).tell))


def _over_folder(args: argparse.Namespace, screen: Screen) -> Report:
    archive = load_archive(args.folder, lambda file: screen.progress(f"reading {file}"))
    at_us = archive.rows.at_us
    if not len(at_us):
        raise UsageError(f"{args.folder}: no file of it can be judged: {'; '.join(archive.notes) or 'empty'}")
    begin = args.begin or datetime.fromtimestamp(int(at_us[0]) / 1e6, UTC)
    begin_us = int(at_us[0]) if args.begin is None else _us(args.begin)
    end_us = int(at_us[-1]) + 1 if args.end is None else _us(args.end)
    question = _question(args, begin_us, end_us, args.warm_up or 0.0, begin)
    return archive.backtest(question, text_in_force(args.against), Speed(screen, question).tell)


def _question(
    args: argparse.Namespace, from_us: int, to_us: int, warm_days: float, zoned: datetime
) -> Question:
    offset = zoned.utcoffset()
    assert offset is not None
    return Question(
        rules=_read(args.rules),
        from_us=from_us,
        to_us=to_us,
        warm_s=warm_days * DAY_S,
        offset_s=round(offset.total_seconds()),
        scope=args.scope,
        labels=None if args.labels is None else _read(args.labels),
    )


class Speed:
    """Days done, and how much faster than they happened, on a screen."""

    def __init__(self, screen: Screen, question: Question) -> None:
        self._screen = screen
        self._begin_us = question.from_us - question.warm_s * 1e6
        self._days = (question.to_us - self._begin_us) / DAY_S / 1e6
        self._start_s = time.monotonic()

    def tell(self, progress: Progress) -> None:
        """Show how far it is."""
        done_s = (progress.at_us - self._begin_us) / 1e6
        took_s = max(1e-3, time.monotonic() - self._start_s)
        at = datetime.fromtimestamp(progress.at_us / 1e6, UTC)
        self._screen.progress(
            f"{at:%Y-%m-%d %H:%M}Z, day {done_s / DAY_S:.1f} of {self._days:.1f} with the warm-up,"
            f" {progress.readings:,} readings, {done_s / took_s:,.0f} times real time"
        )


def summary(report: Report) -> str:
    """What a person must know of it, in a few lines."""
    zone = timezone(timedelta(seconds=report.offset_s))
    draft, in_force, difference = report.draft, report.in_force, report.difference
    recorded = "" if report.recorded_fires is None else f"; the alarm record has {report.recorded_fires}"
    lines = [
        f"{len(report.days)} days, {report.points:,} points, {report.readings:,} readings",
        *(f"note: {note}" for note in report.notes),
    ]
    if report.unjudged:
        named = ", ".join(report.unjudged[:_SHOWN]) + (", ..." if len(report.unjudged) > _SHOWN else "")
        lines.append(
            f"note: no rule of the draft speaks in the unit of {len(report.unjudged)} points: {named}"
        )
    for cls in AlarmClass:
        ours, theirs = draft.begun(cls), in_force.begun(cls)
        if ours or theirs or cls is AlarmClass.FIRE:
            more = recorded if cls is AlarmClass.FIRE else ""
            lines.append(f"{cls} alarms: draft {ours}, in force {theirs}{more}")
    lines += _by_building(report)
    if left_out := draft.left_out + in_force.left_out:
        lines.append(f"note: {left_out} alarms are only counted; the difference does not have them")
    earlier = [pair.earlier_s for pair in difference.moved if pair.earlier_s > 0]
    later = [-pair.earlier_s for pair in difference.moved if pair.earlier_s < 0]
    lines.append(
        f"difference: {len(difference.added)} added, {len(difference.removed)} removed,"
        f" {len(earlier)} earlier{_median(earlier)}, {len(later)} later{_median(later)},"
        f" {difference.same} the same"
    )
    lines += _listed("added", difference.added, zone) + _listed("removed", difference.removed, zone)
    if report.labelled is not None:
        lines += _labelled(report.labelled)
    return "\n".join(lines)


def _by_building(report: Report) -> list[str]:
    draft, in_force = _fires(report.draft), _fires(report.in_force)
    changed = sorted(draft.keys() | in_force.keys(), key=lambda b: (-abs(draft[b] - in_force[b]), b))
    lines = [
        f"  {report.buildings.get(building) or building or 'no building'}: draft {draft[building]},"
        f" in force {in_force[building]}"
        for building in changed[:_SHOWN]
    ]
    return lines + ([f"  ... and {len(changed) - _SHOWN} more buildings"] if len(changed) > _SHOWN else [])


def _fires(outcome: Outcome) -> Counter[str]:
    found: Counter[str] = Counter()
    for day in outcome.days:
        if day.cls is AlarmClass.FIRE:
            found[day.building] += day.alarms
    return found


def _listed(what: str, alarms: Sequence[Alarm], zone: tzinfo) -> list[str]:
    shown = [
        f"  {what}: {datetime.fromtimestamp(alarm.begin_us / 1e6, zone):%Y-%m-%d %H:%M:%S}"
        f" {alarm.subject} {alarm.cls}{' (test)' if alarm.test else ''}: {alarm.text_en or alarm.rule}"
        for alarm in alarms[:_SHOWN]
    ]
    return shown + ([f"  {what}: ... and {len(alarms) - _SHOWN} more"] if len(alarms) > _SHOWN else [])


def _labelled(labelled: Labelled) -> list[str]:
    draft = [fire.draft_delay_s for fire in labelled.fires if fire.draft_delay_s is not None]
    in_force = [fire.in_force_delay_s for fire in labelled.fires if fire.in_force_delay_s is not None]
    count = len(labelled.fires)
    lines = [
        f"labelled fires: draft {len(draft)} of {count}{_median(draft)},"
        f" in force {len(in_force)} of {count}{_median(in_force)}"
    ]
    lines += [
        f"fire alarms in {tally.intervals} labelled {tally.label}: draft {tally.draft_fires},"
        f" in force {tally.in_force_fires}"
        for tally in labelled.tallies
        if tally.label.is_nuisance
    ]
    return [
        *lines,
        f"fire alarms that nobody labelled: draft {labelled.unlabelled_draft},"
        f" in force {labelled.unlabelled_in_force}",
    ]


def _median(seconds: Sequence[float]) -> str:
    return f" (median {median(seconds):,.4g} s)" if seconds else ""


def _time(text: str) -> datetime:
    """A time with its offset from UTC; without one, of this machine's zone."""
    try:
        at = datetime.fromisoformat(text)
        return at if at.tzinfo is not None else at.astimezone()
    except (ValueError, OverflowError, OSError) as error:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time; write it like 2026-05-01 or 2026-05-01T08:00+08:00"
        ) from error


def _us(at: datetime) -> int:
    return round(at.timestamp() * 1e6)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file}: cannot be read: {error}") from error


def _write(file: Path, content: bytes) -> None:
    try:
        file.write_bytes(content)
    except OSError as error:
        raise UsageError(f"{file}: cannot be written: {error.strerror}") from error
