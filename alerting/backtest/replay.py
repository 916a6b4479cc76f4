"""Readings of the past through the live engine, under two rule sets at once. Pure: arrays in, a report out.

What is judged is what the engine judges live, with these differences, which a store of readings imposes:

- Every reading is on time: the store has its stamp, not when it was received. So nothing is *late*.
- Silence and gateways offline are not judged: they are a matter of receive time. The engine's monotonic clock
  stands still here.
- Events of devices are not in a series store; rules that need them see none.
- Nobody acknowledges or resets: a fire alarm ends with its condition, and the next one counts again.

State is fresh at the beginning of the warm-up, which is judged and not counted: so baselines are learned and
what stood before the span is no news in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from alerting.backtest.difference import compare
from alerting.backtest.labels import Interval, judge
from alerting.backtest.occurrences import Occurrence, Occurrences
from alerting.backtest.report import Alarm, DayTally, Outcome, Report, RuleTally
from alerting.detect.engine import Engine
from alerting.detect.rules import RuleSet
from alerting.detect.verdict import Verdict, VerdictKind
from fengsui.model import AlarmClass, Point

MOST_ALARMS = 20_000
"""Single alarms kept of each rule set, some 10 MB; what is beyond is counted by day and building only."""

_ROWS = 20_000
"""Readings that the engine is given at once: more do not fit a processor's cache, and cost a third more."""


class Span(NamedTuple):
    """What is judged and what is counted, us since 1970 UTC."""

    warm_us: int
    """From here on readings are judged, ..."""
    from_us: int
    """... from here on alarms are counted, ..."""
    to_us: int
    """... until before this."""
    zone: tzinfo = UTC
    """Whose days alarms are counted by."""

    @property
    def offset_s(self) -> int:
        """Of the zone from UTC, at the begin."""
        offset = _moment(self.from_us, self.zone).utcoffset()
        assert offset is not None
        return round(offset.total_seconds())

    def day(self, at_us: int) -> str:
        """ISO date of a moment."""
        return _moment(at_us, self.zone).date().isoformat()

    def days(self) -> tuple[str, ...]:
        """Every date of the counted span."""
        first = _moment(self.from_us, self.zone).date()
        last = _moment(max(self.from_us, self.to_us - 1), self.zone).date()
        return tuple((first + timedelta(n)).isoformat() for n in range((last - first).days + 1))


class Backtest:
    """One backtest: feed it the readings in order of time, then ask for the report.

    Args:
        points: Those whose readings come, in any order; rules see these points and no others.
        draft: The rules in question.
        in_force: The rules to compare them with.
        span: What is judged and counted.
        most_alarms: Single alarms kept of each rule set.
    """

    def __init__(
        self,
        points: Sequence[Point],
        draft: RuleSet,
        in_force: RuleSet,
        span: Span,
        *,
        most_alarms: int = MOST_ALARMS,
    ) -> None:
        self._span = span
        self._place = np.full(max((point.index for point in points), default=-1) + 1, -1, np.int32)
        self._place[[point.index for point in points]] = np.arange(len(points), dtype=np.int32)
        self._points = [_renumbered(point, place) for place, point in enumerate(points)]
        self._draft = _Run(draft, self._points, span, most_alarms)
        self._in_force = _Run(in_force, self._points, span, most_alarms)
        self._first_us: int | None = None
        self._last_us: int | None = None
        self._readings = 0

    @property
    def readings(self) -> int:
        """How many have been judged."""
        return self._readings

    def feed(
        self,
        point: NDArray[np.int32],
        at_us: NDArray[np.int64],
        value: NDArray[np.float64],
        quality: NDArray[np.uint8],
    ) -> None:
        """Judge readings, in ascending time and none older than those before.

        Args:
            point: ``Point.index`` of the given points, shape (n,).
            at_us: Measured at, shape (n,).
            value: NaN = measured and invalid, shape (n,).
            quality: ``Quality``, shape (n,).

        Raises:
            ValueError: an unknown point, or an order that is none.
        """
        if not len(at_us):
            return
        known = (point >= 0) & (point < len(self._place))
        if not known.all() or (place := self._place[point]).min() < 0:
            raise ValueError("a reading of a point that this backtest does not have")
        if (np.diff(at_us) < 0).any() or (self._last_us is not None and at_us[0] < self._last_us):
            raise ValueError("readings must come in order of time")
        if self._first_us is None:
            self._first_us = int(at_us[0])
        self._last_us = int(at_us[-1])
        self._readings += len(at_us)
        for first in range(0, len(at_us), _ROWS):
            rows = slice(first, first + _ROWS)
            for run in (self._draft, self._in_force):
                run.take(place[rows], at_us[rows], value[rows], quality[rows])

    def report(
        self,
        *,
        labels: Sequence[Interval] | None = None,
        buildings: Mapping[str, str] | None = None,
        recorded_fires: int | None = None,
        notes: Iterable[str] = (),
    ) -> Report:
        """What both rule sets said so far; ``labels`` and the rest go with it, see ``Report``."""
        span = self._span
        draft, in_force = self._draft.outcome(), self._in_force.outcome()
        known = buildings or {}
        return Report(
            warm_us=span.warm_us,
            from_us=span.from_us,
            to_us=span.to_us,
            offset_s=span.offset_s,
            days=span.days(),
            points=len(self._points),
            readings=self._readings,
            first_us=self._first_us,
            last_us=self._last_us,
            unjudged=tuple(self._points[place].id for place in self._draft.engine.unjudged()),
            buildings={id_: known.get(id_, id_) for id_ in sorted({p.building for p in self._points})},
            draft=draft,
            in_force=in_force,
            difference=compare(draft.alarms, in_force.alarms, span.from_us),
            labelled=None if labels is None else judge(labels, draft, in_force, span.from_us, span.to_us),
            recorded_fires=recorded_fires,
            notes=tuple(notes),
        )


class _Run:
    """One rule set."""

    def __init__(self, rules: RuleSet, points: Sequence[Point], span: Span, most_alarms: int) -> None:
        self.engine = Engine(rules, points, now_s=0.0)
        self._points = points
        self._occurrences = Occurrences()
        self._span = span
        self._most_alarms = most_alarms
        self._ended: list[Alarm] = []
        self._left_out = 0
        self._days: Counter[tuple[str, str, AlarmClass]] = Counter()
        self._tests: Counter[tuple[str, str, AlarmClass]] = Counter()
        self._said: Counter[tuple[str, int, AlarmClass, VerdictKind]] = Counter()

    def take(
        self,
        point: NDArray[np.int32],
        at_us: NDArray[np.int64],
        value: NDArray[np.float64],
        quality: NDArray[np.uint8],
    ) -> None:
        """Judge readings."""
        verdicts = self.engine.update(point, at_us, value, quality, at_us, np.zeros_like(at_us), now_s=None)
        if verdicts:
            self._count(verdicts)

    def outcome(self) -> Outcome:
        """What was said so far."""
        alarms = [*self._ended, *map(self._alarm, self._occurrences.standing)]
        alarms.sort(key=lambda alarm: (alarm.begin_us, alarm.subject, alarm.cls))
        rules = sorted({(rule, version, cls) for rule, version, cls, _ in self._said})
        return Outcome(
            days=tuple(
                DayTally(day=day, building=building, cls=cls, alarms=n, test=self._tests[day, building, cls])
                for (day, building, cls), n in sorted(self._days.items())
            ),
            rules=tuple(
                RuleTally(
                    rule=rule, version=version, cls=cls,
                    raises=self._said[rule, version, cls, VerdictKind.RAISE]
                    + self._said[rule, version, cls, VerdictKind.PAST],
                    clears=self._said[rule, version, cls, VerdictKind.CLEAR],
                )
                for rule, version, cls in rules
            ),
            alarms=tuple(alarms[: self._most_alarms]),
            left_out=self._left_out + max(0, len(alarms) - self._most_alarms),
        )  # fmt: skip

    def _count(self, verdicts: list[Verdict]) -> None:
        verdicts.sort(key=lambda verdict: verdict.at_us)
        from_us = self._span.from_us
        for verdict in verdicts:
            if verdict.at_us >= from_us:
                self._said[verdict.rule, verdict.version, verdict.cls, verdict.kind] += 1
        for occurrence in self._occurrences.take(verdicts):
            first = occurrence.first
            if occurrence.end_us is None and first.at_us >= from_us:
                key = self._span.day(first.at_us), self._building(first), first.cls
                self._days[key] += 1
                self._tests[key] += first.test
            elif occurrence.end_us is not None and occurrence.end_us >= from_us:
                if len(self._ended) < self._most_alarms:
                    self._ended.append(self._alarm(occurrence))
                else:
                    self._left_out += 1

    def _building(self, verdict: Verdict) -> str:
        if verdict.zone is not None:
            return verdict.zone.building
        return self._points[verdict.point].building

    def _alarm(self, occurrence: Occurrence) -> Alarm:
        first = occurrence.first
        text_en, text_zh = next(((reason.text_en, reason.text_zh) for reason in first.reasons), ("", ""))
        return Alarm(
            subject=self._points[first.point].id if first.zone is None else "/" + "/".join(first.zone),
            building=self._building(first), cls=first.cls, rule=first.rule, version=first.version,
            severity=occurrence.severity, begin_us=first.at_us, end_us=occurrence.end_us, value=first.value,
            text_en=text_en, text_zh=text_zh, test=first.test,
        )  # fmt: skip


def _renumbered(point: Point, index: int) -> Point:
    return msgspec.structs.replace(point, index=index)


def _moment(at_us: int, zone: tzinfo) -> datetime:
    return datetime.fromtimestamp(at_us // 1_000_000, zone)
