"""How verdicts on recordings are judged: every definition of an evaluation in one place, without I/O.

A **device** is one file. An **alarm** is what the alarm book would open: at most one at a time per point or
zone and class, from the first rule that raises until the last has cleared. No-data alarms are neither found
faults nor false ones: that readings are missing from a recording is true. All times are on the file's own
axis, s. ``docs/evaluation.md`` says the same to people.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from math import inf, isfinite
from statistics import median
from typing import NamedTuple

import msgspec

from alerting.backtest.occurrences import Occurrences
from alerting.detect.verdict import Verdict
from fengsui.model import AlarmClass

FAULT_CLASSES = frozenset({AlarmClass.FAULT, AlarmClass.SUPERVISORY, AlarmClass.TECHNICAL})
"""What tells of an equipment fault. A pre-alarm does not: it says that a fire may come."""
WARNING_CLASSES = FAULT_CLASSES | {AlarmClass.FIRE, AlarmClass.PREALARM}
"""What may find an overheat, which is a fault on its way to a fire."""
MIN_LEAD_S = 30.0
"""Lead is judged on fires where 57 C comes later than this after ignition."""
LATER_SAMPLES, LATER_S = 2, 5.0
DAY_S = 86_400.0
MAX_TIMES = 500

Interval = tuple[float, float]


class Facts(NamedTuple):
    """What is known of a recording without looking at a verdict."""

    file: str
    family: str
    kind: str
    """fire, overheat, nuisance, normal or fault."""
    first_s: float
    last_s: float
    sampling_s: float
    t_ignition_s: float | None
    """None unless it is a fire."""
    intervals: tuple[Interval, ...]
    """Labelled faults or heating, in order; both ends belong to them."""


class Alarm(NamedTuple):
    """An alarm's begin."""

    at_s: float
    cls: AlarmClass


class Yardsticks(NamedTuple):
    """When others would have alarmed, or did; None: never, or there is nothing to tell it by."""

    fixed57_s: float | None = None
    en54_a1r_s: float | None = None
    reference_alarm_s: float | None = None


class Status(StrEnum):
    """Whether a file counts; ``note`` says why not."""

    JUDGED = "judged"
    OUT_OF_SCOPE = "out of scope"
    UNREADABLE = "unreadable"


class FileReport(msgspec.Struct, frozen=True, kw_only=True):
    """One file. Beyond what the summary counts it holds what the summary was made from."""

    file: str
    family: str
    kind: str
    alarm_s: float | None = None
    fixed57_s: float | None = None
    en54_a1r_s: float | None = None
    reference_alarm_s: float | None = None
    false_fire_alarms: int = 0
    device_days: float = 0.0
    """Days in which nothing was wrong: the time that false faults are counted over."""
    fault_found: bool | None = None
    """Only for faults and overheats with a labelled interval."""
    fault_delay_s: float | None = None
    note: str = ""
    false_faults: int = 0
    t_ignition_s: float | None = None
    sampling_s: float | None = None
    span_s: Interval | None = None
    intervals: tuple[Interval, ...] = ()
    fire_alarms_s: tuple[float, ...] = ()
    """Begin of each alarm of class fire, at most the first :data:`MAX_TIMES`."""
    fault_alarms_s: tuple[float, ...] = ()
    """The same of what tells of a fault here."""
    false_alarms_s: tuple[float, ...] = ()
    """The same of what was false, fire and fault together."""
    channels: tuple[str, ...] = ()
    """What was fed: ``column: use, quantity in unit``."""
    status: Status = Status.JUDGED

    @property
    def later_limit_s(self) -> float:
        """How far behind a yardstick is not yet *later*: two samples, but at least 5 s."""
        return max(LATER_SAMPLES * (self.sampling_s or 0.0), LATER_S)

    @property
    def lead(self) -> float | None:
        """Share of the time from ignition to 57 C that was gained; ``-inf`` without an alarm.

        None where lead is not judged: no fire, 57 C never reached or within 30 s of ignition.
        """
        if self.kind != "fire" or self.t_ignition_s is None or self.fixed57_s is None:
            return None
        whole_s = self.fixed57_s - self.t_ignition_s
        if whole_s <= MIN_LEAD_S:
            return None
        return -inf if self.alarm_s is None else (self.fixed57_s - self.alarm_s) / whole_s

    @property
    def is_later(self) -> bool:
        """Whether lead is judged here and the alarm is later than 57 C, or never came."""
        return self.lead is not None and self._after(self.fixed57_s)

    @property
    def is_later_than_reference(self) -> bool:
        """Whether the alarm is later than the median real smoke alarm of the same fire, or never came."""
        return self._after(self.reference_alarm_s)

    def _after(self, yardstick_s: float | None) -> bool:
        if yardstick_s is None:
            return False
        return self.alarm_s is None or self.alarm_s - yardstick_s > self.later_limit_s


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """All files together."""

    fires: int
    detected: int
    lead_judged: int
    median_earlier_than_fixed57: float | None
    """None as well when half of the judged fires or more were never alarmed."""
    later_than_fixed57: int
    later_than_reference: int
    false_fire_alarms: int
    device_days: float
    fault_files: int
    fault_files_found: int
    false_faults: int
    false_faults_per_device_day: float | None
    out_of_scope: int
    unreadable: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What ``--report`` writes."""

    summary: Summary
    files: tuple[FileReport, ...]
    folder: str
    rules: str


def alarms(verdicts: Iterable[Verdict]) -> list[tuple[int, AlarmClass]]:
    """Begin (us, event time) and class of every alarm that these verdicts open, in order, without no-data."""
    about_values = (verdict for verdict in verdicts if not verdict.missing)
    begun = (one.first for one in Occurrences().take(about_values) if one.end_us is None)
    return [(verdict.at_us, verdict.cls) for verdict in begun]


def judge(
    facts: Facts,
    found: Sequence[Alarm],
    yardsticks: Yardsticks,
    *,
    channels: tuple[str, ...] = (),
    note: str = "",
) -> FileReport:
    """One file judged by the definitions in the module's text and in ``docs/evaluation.md``."""
    fires = sorted(alarm.at_s for alarm in found if alarm.cls is AlarmClass.FIRE)
    telling = WARNING_CLASSES if facts.kind == "overheat" else FAULT_CLASSES
    faults = sorted(alarm.at_s for alarm in found if alarm.cls in telling)
    wrong = _wrong(facts)
    false_faults = [
        alarm.at_s
        for alarm in found
        if alarm.cls in telling - {AlarmClass.FIRE}
        and not any(low <= alarm.at_s <= high for low, high in wrong)
    ]
    wrong_s = sum(max(0.0, min(high, facts.last_s) - max(low, facts.first_s)) for low, high in wrong)
    alarm_s = next(iter(fires), None)
    false_fires = fires
    fault_found, delay_s = None, None
    if facts.kind == "fire" and facts.t_ignition_s is not None:
        alarm_s = next((at_s for at_s in fires if at_s >= facts.t_ignition_s), None)
        false_fires = [at_s for at_s in fires if at_s < facts.t_ignition_s]
    elif facts.intervals:
        fault_found, delay_s = _found(faults, facts.intervals)
        if facts.kind == "overheat":
            begin_s = facts.intervals[0][0]
            alarm_s = next((at_s for at_s in faults if at_s >= begin_s), None)
            false_fires = [at_s for at_s in fires if at_s < begin_s]
    return FileReport(
        file=facts.file,
        family=facts.family,
        kind=facts.kind,
        alarm_s=_shown(alarm_s),
        fixed57_s=_shown(yardsticks.fixed57_s),
        en54_a1r_s=_shown(yardsticks.en54_a1r_s),
        reference_alarm_s=_shown(yardsticks.reference_alarm_s),
        false_fire_alarms=len(false_fires),
        device_days=round(max(0.0, facts.last_s - facts.first_s - wrong_s) / DAY_S, 6),
        fault_found=fault_found,
        fault_delay_s=_shown(delay_s),
        note=note,
        false_faults=len(false_faults),
        t_ignition_s=facts.t_ignition_s,
        sampling_s=facts.sampling_s,
        span_s=(facts.first_s, facts.last_s),
        intervals=facts.intervals,
        fire_alarms_s=_bounded(fires),
        fault_alarms_s=_bounded(faults),
        false_alarms_s=_bounded(sorted({*false_fires, *false_faults})),
        channels=channels,
    )


def summarise(files: Sequence[FileReport]) -> Summary:
    """Counts over the judged files; an alarm that never came has no lead at all and is later."""
    judged = [file for file in files if file.status is Status.JUDGED]
    fires = [file for file in judged if file.kind == "fire"]
    leads = [lead for file in fires if (lead := file.lead) is not None]
    middle = median(leads) if leads else -inf
    faults = [file for file in judged if file.kind == "fault" and file.fault_found is not None]
    days = sum(file.device_days for file in judged)
    false_faults = sum(file.false_faults for file in judged)
    return Summary(
        fires=len(fires),
        detected=sum(file.alarm_s is not None for file in fires),
        lead_judged=len(leads),
        median_earlier_than_fixed57=round(middle, 4) if isfinite(middle) else None,
        later_than_fixed57=sum(file.is_later for file in fires),
        later_than_reference=sum(file.is_later_than_reference for file in fires),
        false_fire_alarms=sum(file.false_fire_alarms for file in judged),
        device_days=round(days, 4),
        fault_files=len(faults),
        fault_files_found=sum(bool(file.fault_found) for file in faults),
        false_faults=false_faults,
        false_faults_per_device_day=round(false_faults / days, 4) if days else None,
        out_of_scope=sum(file.status is Status.OUT_OF_SCOPE for file in files),
        unreadable=sum(file.status is Status.UNREADABLE for file in files),
    )


def _wrong(facts: Facts) -> Sequence[Interval]:
    """When something is wrong: from ignition, from the begin of heating, in labelled faults."""
    match facts.kind:
        case "fire" if facts.t_ignition_s is not None:
            return [(facts.t_ignition_s, inf)]
        case "overheat" if facts.intervals:
            return [(facts.intervals[0][0], inf)]
        case _:
            return facts.intervals


def _found(faults: Sequence[float], intervals: Sequence[Interval]) -> tuple[bool, float | None]:
    """Whether the first fault lies in a labelled interval, and how long after its begin."""
    if faults:
        for low, high in intervals:
            if low <= faults[0] <= high:
                return True, faults[0] - low
    return False, None


def _shown(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)


def _bounded(times: Sequence[float]) -> tuple[float, ...]:
    return tuple(round(at_s, 3) for at_s in times[:MAX_TIMES])
