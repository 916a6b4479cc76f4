"""The lab: a scenario or a recording performed under two rule sets, with what detectors know meanwhile.

Both run through the engine and the alarm book in virtual time, as ``rehearsal.py`` does it, so silence and
the events of devices are judged, too. The engine that is looked into is the one that judges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from math import ceil, isfinite

import msgspec
import numpy as np
from numpy.typing import NDArray

from alerting.backtest.difference import compare
from alerting.backtest.report import Alarm, Difference
from alerting.detect.engine import Engine
from alerting.detect.rules import RuleSet
from alerting.detect.scope import EVERYWHERE
from alerting.detect.slots import applies
from alerting.detect.verdict import Verdict, VerdictKind
from alerting.rulebook.diff import kind_of
from alerting.rulebook.file import RuleFile
from alerting.rulebook.ruletest import Signal
from alerting.rulebook.series import write
from alerting.rulebook.written import Written, sampled, with_test
from fengsui.model import AlarmClass, Point, Quality
from ingest.store.base import Series, Thinning
from simulators.oracle import judge
from simulators.rehearsal import Piece, Rehearsal, perform
from simulators.takes import LabRefused, Mark, Source, Take
from simulators.watchroom import Told

GAP_S, GAP_STEPS, GAPS = 12.0, 5.0, 200
"""A gap is longer than so many seconds and than so many usual steps; so many are told, the longest."""
LOOKS = 800
"""How often a point is looked into, and how much of its signal is drawn: a screen has no more columns."""


class Outcome(msgspec.Struct, frozen=True):
    """How an expectation came out."""

    got: str
    holds: bool


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """A line of a scenario's oracle."""

    wanted: str
    cls: AlarmClass | None
    """None: that something never comes."""
    where: str
    after_s: float
    by_s: float
    draft: Outcome
    in_force: Outcome


class Inside(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule knew of the point, over time."""

    rule: str
    version: int
    kind: str
    cls: AlarmClass
    measures: dict[str, list[float | None]]
    """Numbers by their names in docs/lab.md, each as long as ``Side.at_s``; null = not known."""


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule set said."""

    alarms: tuple[Alarm, ...]
    """What the alarm book would have: one for all rules of a class at a point."""
    verdicts: tuple[Alarm, ...]
    """What each rule said by itself, from raise to clear."""
    at_s: list[float]
    inside: tuple[Inside, ...]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A run of the lab. Seconds count from the beginning of the source."""

    source: Source
    begin_us: int
    is_dated: bool
    """Whether ``begin_us`` means a day."""
    origin_s: float
    """What the source's own axis shows at its beginning."""
    length_s: float
    readings: int
    points: tuple[Point, ...]
    point: str
    """The one that is drawn and looked into."""
    at_s: list[float]
    value: list[float | None]
    """Of the point; null = a reading without a value."""
    gaps: tuple[tuple[float, float], ...]
    """From when to when it has no reading: far longer than it usually takes from one to the next."""
    marks: tuple[Mark, ...]
    expected: tuple[Expected, ...]
    draft: Side
    in_force: Side
    difference: Difference


def play(
    take: Take, draft: RuleSet, in_force: RuleSet, point: str, progress: Callable[[float], None]
) -> Report:
    """Perform a source under both rule sets; ``progress`` is told which share is done.

    Raises:
        LabRefused: It has no such point.
    """
    judged = (one for one in take.piece.points if any(applies(rule, one) for rule in draft.about_readings()))
    watched = _point(take, point) if point else next(judged, take.piece.points[0])
    ours, our_side = _side(take, draft, watched, lambda share: progress(share / 2))
    theirs, their_side = _side(take, in_force, watched, lambda share: progress(0.5 + share / 2))
    at_s, value = _signal(take.piece, watched)
    thin = Thinning(0, round(take.piece.length_s * 1e6) + 1, LOOKS)
    thin.add(Series((at_s * 1e6).astype(np.int64), value, np.zeros(len(at_s), np.uint8)))
    shown = thin.series()
    return Report(
        source=take.source,
        begin_us=take.piece.begin_us,
        is_dated=take.is_dated,
        origin_s=take.origin_s,
        length_s=take.piece.length_s,
        readings=len(take.piece.delivery.value),
        points=tuple(take.piece.points),
        point=watched.id,
        at_s=[at / 1e6 for at in shown.at_us.tolist()],
        value=[_number(one) for one in shown.value.tolist()],
        gaps=_gaps(at_s),
        marks=take.marks,
        expected=_expectations(take, ours.told, theirs.told),
        draft=our_side,
        in_force=their_side,
        difference=compare(our_side.alarms, their_side.alarms, take.piece.begin_us),
    )


def keep(
    take: Take, draft: RuleFile, point: str, from_s: float, to_s: float, name: str, rule: str
) -> Written:
    """The draft with a test more: this span of a point's signal, and what the draft says of it.

    Raises:
        LabRefused: No such point, or no reading in the span.
        RulesRefused: The test cannot stand in the draft.
    """
    watched = _point(take, point)
    at_s, value = _signal(take.piece, watched)
    inside = (at_s >= from_s) & (at_s < to_s)
    if not inside.any():
        raise LabRefused(f"{watched.id} has no reading from {from_s:g} to {to_s:g} s")
    at_s, value = at_s[inside], value[inside]
    try:
        runs, interval_s = sampled(at_s, value)
    except ValueError as error:
        raise LabRefused(f"{error}; choose a shorter span") from error
    rules = draft.rules
    scopes = [rule.scope for rule in rules.about_readings()]
    scopes += [rule.scope for rule in rules.coincidence] + [rule.scope for rule in rules.silence]
    scoped = any(scope != EVERYWHERE for scope in scopes)
    place = ("unit", "building", "zone", "device", "device_type") if scoped else ()
    signal = Signal(
        series=write(runs),
        quantity=watched.quantity,
        uom=watched.uom,
        id=watched.id,
        low=watched.low,
        high=watched.high,
        **{part: getattr(watched, part) for part in place},
    )
    begins = datetime.fromtimestamp(take.piece.begin_us / 1e6 + float(at_s.min()), UTC).replace(microsecond=0)
    return with_test(draft, name, signal, interval_s, begins.isoformat() if take.is_dated else "", rule)


def _point(take: Take, point: str) -> Point:
    found = next((one for one in take.piece.points if one.id == point), None)
    if found is None:
        raise LabRefused(f"{take.source.title} has no point {point[:80]!r}")
    return found


def _signal(piece: Piece, point: Point) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Readings of a point by the source's clock, both of shape (n,)."""
    mine = piece.delivery.point == point.index
    at_s, value = piece.delivery.stamp_s[mine], piece.delivery.value[mine]
    order = np.argsort(at_s, kind="stable")
    return at_s[order], value[order]


def _side(
    take: Take, rules: RuleSet, watched: Point, progress: Callable[[float], None]
) -> tuple[Rehearsal, Side]:
    looks = _Looks(take.piece, watched)
    rehearsal = perform(take.piece, rules, progress, looks)
    about = {rule.name: rule for rule in rules.about_readings()}
    inside = tuple(
        Inside(
            rule=name,
            version=about[name].version,
            kind=kind_of(about[name]),
            cls=about[name].cls,
            measures=known,
        )
        for name, known in looks.measures.items()
    )
    alarms, verdicts = tuple(_alarms(take, rehearsal.told)), tuple(_verdicts(take, rehearsal.said))
    return rehearsal, Side(alarms=alarms, verdicts=verdicts, at_s=looks.at_s, inside=inside)


class _Looks:
    """What the engine knows of a point, now and then."""

    def __init__(self, piece: Piece, point: Point) -> None:
        self._every = max(1, ceil(piece.length_s / piece.tick_s / LOOKS))
        self._point = point.index
        self._is_test = bool((piece.quality == Quality.SIMULATED).any())
        self._tick = 0
        self.at_s: list[float] = []
        self.measures: dict[str, dict[str, list[float | None]]] = {}

    def __call__(self, now_s: float, engine: Engine) -> None:
        self._tick += 1
        if self._tick % self._every:
            return
        inside = engine.inside(self._point, test=self._is_test)
        if not inside:
            return
        self.at_s.append(now_s)
        for rule, known in inside.items():
            kept = self.measures.setdefault(rule, {name: [] for name in known})
            for name, number in known.items():
                kept[name].append(_number(number))


def _gaps(at_s: NDArray[np.float64]) -> tuple[tuple[float, float], ...]:
    """Where readings are missing, in order of time."""
    steps_s = np.diff(at_s)
    if not len(steps_s):
        return ()
    (rows,) = np.nonzero(steps_s > max(GAP_S, GAP_STEPS * float(np.median(steps_s))))
    rows = np.sort(rows[np.argsort(-steps_s[rows], kind="stable")][:GAPS])
    return tuple((float(at_s[row]), float(at_s[row + 1])) for row in rows.tolist())


def _number(number: float) -> float | None:
    """To six digits, and JSON knows no other numbers than these."""
    return float(f"{number:.6g}") if isfinite(number) else None


def _alarms(take: Take, told: Iterable[Told]) -> list[Alarm]:
    """Alarms from raise to return; one that is raised anew while it waits for a reset is another here."""
    standing: dict[str, Alarm] = {}
    found: list[Alarm] = []
    for at_s, change in told:
        alarm = change.alarm
        if alarm.active and alarm.id not in standing:
            reason = next(iter(alarm.reasons), None)
            standing[alarm.id] = Alarm(
                subject=alarm.point, building=alarm.building, cls=alarm.cls, rule=alarm.rule,
                version=alarm.rule_version, severity=alarm.severity,
                begin_us=_moment_us(take.piece, at_s, alarm.raised_at_us), end_us=None, value=alarm.value,
                text_en=reason.text_en if reason else "", text_zh=reason.text_zh if reason else "",
                test=alarm.test,
            )  # fmt: skip
        elif not alarm.active and alarm.id in standing:
            over_us = _moment_us(take.piece, at_s, alarm.cleared_at_us or 0)
            found.append(msgspec.structs.replace(standing.pop(alarm.id), end_us=over_us))
    return sorted([*found, *standing.values()], key=lambda one: (one.begin_us, one.subject, one.cls))


def _verdicts(take: Take, said: Iterable[tuple[float, Verdict]]) -> list[Alarm]:
    """What each rule said of each subject, from raise to clear; a late one is over at once."""
    standing: dict[tuple[str, str], Alarm] = {}
    found: list[Alarm] = []
    for at_s, verdict in said:
        point = take.piece.points[verdict.point] if verdict.point >= 0 else None
        subject = "/" + "/".join(verdict.zone) if verdict.zone else point.id if point else verdict.gateway
        moment_us = _moment_us(take.piece, at_s, verdict.at_us)
        known = standing.pop((subject, verdict.rule), None)
        if known is not None:
            found.append(msgspec.structs.replace(known, end_us=moment_us))
        if verdict.kind is VerdictKind.CLEAR:
            continue
        reason = next(iter(verdict.reasons), None)
        one = Alarm(
            subject=subject, building=point.building if point else "", cls=verdict.cls, rule=verdict.rule,
            version=verdict.version, severity=verdict.severity, begin_us=moment_us,
            end_us=moment_us if verdict.kind is VerdictKind.PAST else None, value=verdict.value,
            text_en=reason.text_en if reason else "", text_zh=reason.text_zh if reason else "",
            test=verdict.test,
        )  # fmt: skip
        if verdict.kind is VerdictKind.PAST:
            found.append(one)
        else:
            standing[subject, verdict.rule] = one
    return sorted([*found, *standing.values()], key=lambda one: (one.begin_us, one.subject, one.rule))


def _moment_us(piece: Piece, at_s: float, stamped_us: int) -> int:
    """When something changed: by its stamp if that lies in the tick that told it, else when it was told."""
    told_us = piece.begin_us + round(at_s * 1e6)
    return stamped_us if 0 <= told_us - stamped_us <= piece.tick_s * 1e6 else told_us


def _expectations(take: Take, ours: list[Told], theirs: list[Told]) -> tuple[Expected, ...]:
    if take.script is None:
        return ()
    scenario = take.script.scenario
    lines: list[tuple[AlarmClass | None, str, float, float]] = [
        (one.cls, one.where, one.after, one.by) for one in scenario.expect
    ]
    lines += [(None, one.where, one.from_s, min(one.until, scenario.length)) for one in scenario.never]
    return tuple(
        Expected(
            wanted=our.wanted, cls=cls, where=where, after_s=float(after_s), by_s=float(by_s),
            draft=Outcome(our.got, our.holds), in_force=Outcome(their.got, their.holds),
        )
        for (cls, where, after_s, by_s), our, their in zip(
            lines, judge(take.script, ours), judge(take.script, theirs), strict=True
        )
    )  # fmt: skip
