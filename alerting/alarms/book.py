"""The alarm book: every open alarm now, in memory. Pure: verdicts, events and time in, changes out.

At most one occurrence per (point, class) is open. A *source* is what holds it active: a rule, a device's own
event, a gateway's local rule. Several sources join one occurrence; it returns when the last one lets go.
A zone is a subject of its own: what several devices say together is an alarm on top of those of the points.

**Late alarms** (docs/adr/0005). An alarm raised by a record that its gateway held longer than ``LATE_US`` is
shown at once, silent, and sounds as soon as it has stood for ``HOLD_S`` and is still active. Only one that
its own later records restored within that second stays silent. Nothing else is ever silent, and nothing
active is silent for longer: a wrong clock cannot mute an alarm, because age is no clock.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from alerting.alarms.lifecycle import LATCHING, TABLE, Alarm, State, Step, alarm_id
from alerting.detect.device import ENDING, LOCAL, OWN, report
from alerting.detect.engine import ActiveRule
from alerting.detect.rules import RuleSet, Threshold
from alerting.detect.verdict import HOLD_S, LATE_US, Level, Reason, Verdict, VerdictKind, Zone
from alerting.detect.zones import POINTS_NAMED
from alerting.errors import NotAllowed, StaleAlarm, UnknownAlarm
from fengsui.batch import GatewayEvent
from fengsui.model import SIMULATED_EVENT, AlarmClass, Point
from fengsui.viewer import Action, Viewer

UNREGISTERED_PER_GATEWAY = 32
"""Alarms of unregistered points per gateway; further ones are folded into one of the gateway itself."""

CLOSED_REMEMBERED = 10_000
"""Closed alarms whose ids are remembered, so that a replay cannot raise them again."""

PLACES_NAMED = 3
"""Places of points that the alarm of a zone names; its reasons tell more."""

_TEST = "test:"
_UNACKNOWLEDGED = frozenset(
    {State.UNACKNOWLEDGED, State.RETURNED_UNACKNOWLEDGED, State.LATCHED_UNACKNOWLEDGED}
)


class Change(NamedTuple):
    """One thing that happened to an alarm, for the record; ``alarm`` is the alarm after it."""

    alarm: Alarm
    what: str
    """raised, repeated, escalated, eased, returned, sounded, stale, fresh, acknowledged, reset"""
    actor: str
    """The person, or the rule and version, or the gateway."""
    origin: str
    """person, detect, gateway or server."""
    at_us: int
    """Server clock."""


class Claim(NamedTuple):
    """What a rule or a device says about one class at one subject."""

    subject: Subject
    cls: AlarmClass
    source: str
    rule: str
    version: int
    severity: int
    at_us: int
    value: float | None
    limit: float | None
    reset: float | None
    received_at_us: int
    age_us: int
    test: bool
    reasons: tuple[Reason, ...]
    origin: str
    level: Level | None = None
    linkage: bool = False
    points: tuple[str, ...] = ()

    @property
    def actor(self) -> str:
        """Who says so: the rule with its version, or the gateway."""
        return f"{self.rule}@{self.version}" if self.version else self.subject.gateway


class Subject(NamedTuple):
    """What an alarm is about: a registered point, an unregistered one, a gateway, or a zone."""

    id: str
    name: str
    gateway: str
    quantity: str = ""
    uom: str = ""
    unit: str = ""
    building: str = ""
    zone: str = ""
    place: str = ""
    folded: int = 0


class Book:
    """All open alarms.

    Args:
        points: The registry's points by index.
        rules: The rules in force; a gateway's ``local_alarm`` by one of them joins what that rule raises.
        late_us: See ``LATE_US``.
        hold_s: See ``HOLD_S``; in the clock of ``now_s``.
    """

    def __init__(
        self, points: Sequence[Point], rules: RuleSet, *, late_us: int = LATE_US, hold_s: float = HOLD_S
    ) -> None:
        self.adopt(rules)
        self._late_us = late_us
        self._hold_s = hold_s
        self._open: dict[tuple[str, AlarmClass], Alarm] = {}
        self._key: dict[str, tuple[str, AlarmClass]] = {}
        self._closed: OrderedDict[str, None] = OrderedDict()
        self._held: dict[str, float] = {}
        self._of_zones: dict[tuple[str, AlarmClass], None] = {}
        self._silent_points: set[str] = set()
        self._offline_gateways: set[str] = set()
        self._unregistered: dict[str, set[str]] = {}
        self.follow(points)

    def adopt(self, rules: RuleSet) -> None:
        """Take over changed rules; open alarms keep what they were raised with."""
        self._rules = {rule.name: rule for rule in rules.about_readings()}
        self._silences = {rule.name for rule in rules.silence}
        self._offline = rules.offline.name

    def follow(self, points: Sequence[Point]) -> None:
        """Take over a changed registry; open alarms keep what they were raised with."""
        self._points = points
        self._homes: dict[str, tuple[set[str], set[str]]] = {}
        self._gateway_of = {point.id: point.gateway for point in points if point.zone}
        for point in points:
            units, buildings = self._homes.setdefault(point.gateway, (set(), set()))
            units.add(point.unit)
            buildings.add(point.building)

    def load(self, alarms: Iterable[Alarm], closed: Iterable[str]) -> None:
        """Take over the open alarms and the newest closed ids from the record, oldest first."""
        for alarm_id_ in closed:
            self._remember(alarm_id_)
        for alarm in alarms:
            self._put(alarm)
            if alarm.active and alarm.silent:
                self._held[alarm.id] = float("-inf")  # its second is over: the process was away meanwhile
            if self._offline in alarm.sources:
                self._offline_gateways.add(alarm.gateway)
            elif not self._silences.isdisjoint(alarm.sources):
                self._silent_points.add(alarm.point)

    def alarms(self, viewer: Viewer) -> list[Alarm]:
        """The open alarms that ``viewer`` may see."""
        return [alarm for alarm in self._open.values() if viewer.sees(alarm.unit)]

    def active_rules(self) -> list[ActiveRule]:
        """What stands active, for ``Engine.assume`` after a restart."""
        index = {point.id: point.index for point in self._points}
        return [
            ActiveRule(
                source.removeprefix(_TEST),
                index.get(alarm.point, -1),
                alarm.gateway,
                source.startswith(_TEST),
                _zone_of(alarm),
                alarm.cls,
                alarm.raised_at_us,
            )
            for alarm in self._open.values()
            for source in alarm.sources
        ]

    def apply(
        self,
        verdicts: Iterable[Verdict],
        events: Iterable[GatewayEvent],
        *,
        now_us: int,
        now_s: float,
        replay: bool = False,
    ) -> list[Change]:
        """Enter what detection and the devices say; the changes, in order.

        Args:
            verdicts: Of one batch.
            events: Of the same batch.
            now_us: Server's wall clock.
            now_s: Server's monotonic clock.
            replay: The batch may hold entries that were entered before a restart: what is not newer than what
                the book knows of the occurrence is passed over.
        """
        changes: list[Change] = []
        about_zones: list[Verdict] = []
        for verdict in verdicts:
            if verdict.zone is not None:
                about_zones.append(verdict)
            else:
                changes += self._verdict(verdict, now_us, now_s, replay)
        for event in events:
            changes += self._event(event, now_us, now_s, replay)
        for verdict in about_zones:  # the alarms of the points come first
            changes += self._verdict(verdict, now_us, now_s, replay)
        return _without_repeats(changes)

    def advance(self, *, now_us: int, now_s: float) -> list[Change]:
        """Let late alarms sound that have stood for the hold and are still active."""
        due = [alarm_id_ for alarm_id_, at_s in self._held.items() if now_s >= at_s]
        changes: list[Change] = []
        for alarm_id_ in due:
            del self._held[alarm_id_]
            key = self._key.get(alarm_id_)
            if key is not None and self._open[key].active and self._open[key].silent:
                changes.append(self._change(self._open[key], "sounded", "", "server", now_us, silent=False))
        return changes

    def release(self, orphans: Iterable[ActiveRule], *, now_us: int) -> list[Change]:
        """Let go of what no rule holds any more, see ``Engine.orphans``; a fire still waits for its reset."""
        ids = {(item.point, item.gateway, f"{_TEST if item.test else ''}{item.rule}") for item in orphans}
        index = {point.id: point.index for point in self._points}
        return [
            change
            for alarm in list(self._open.values())
            for source in alarm.sources
            if (index.get(alarm.point, -1), alarm.gateway, source) in ids
            for change in self._clear(_withdrawn(alarm, source, now_us), now_us, replay=False)
        ]

    def acknowledge(self, viewer: Viewer, alarm_id_: str, version: int, *, now_us: int) -> Change:
        """A person has seen the alarm at ``version``.

        Raises:
            UnknownAlarm, NotAllowed, StaleAlarm: see there; nothing has changed.
        """
        alarm, after = self._step_of_person(viewer, Action.ACKNOWLEDGE, Step.ACKNOWLEDGE, alarm_id_, version)
        return self._change(
            alarm, "acknowledged", viewer.person, "person", now_us,
            state=after, silent=False, acknowledged_at_us=now_us, acknowledged_by=viewer.person,
        )  # fmt: skip

    def reset(self, viewer: Viewer, alarm_id_: str, version: int, *, now_us: int) -> Change:
        """A person takes a latched, acknowledged alarm off the list.

        Raises:
            UnknownAlarm, NotAllowed, StaleAlarm: see there; nothing has changed.
        """
        alarm, after = self._step_of_person(viewer, Action.RESET, Step.RESET, alarm_id_, version)
        return self._change(alarm, "reset", viewer.person, "person", now_us, state=after)

    def recorded(self, alarm: Alarm) -> None:
        """The record has taken this version of the alarm: note its number, unless it has moved on since."""
        key = self._key.get(alarm.id)
        if key is not None and self._open[key].version == alarm.version:
            self._open[key] = alarm

    def _step_of_person(
        self, viewer: Viewer, action: Action, step: Step, alarm_id_: str, version: int
    ) -> tuple[Alarm, State]:
        key = self._key.get(alarm_id_)
        if key is None or not viewer.sees(self._open[key].unit):
            raise UnknownAlarm(f"no open alarm {alarm_id_[:64]}")
        if not viewer.may(action):
            raise NotAllowed(f"{viewer.person} may not {action} alarms")
        alarm = self._open[key]
        after = TABLE.get((alarm.state, step))
        if alarm.version != version or after is None:
            raise StaleAlarm(f"the alarm is {alarm.state}, version {alarm.version}; look again")
        return alarm, after

    def _verdict(self, verdict: Verdict, now_us: int, now_s: float, replay: bool) -> list[Change]:
        points = [self._points[index] for index in verdict.points]
        if verdict.zone is not None:
            subject = _of_zone(verdict.zone, points)
        elif verdict.point >= 0:
            subject = _of_point(self._points[verdict.point])
        else:
            subject = self._of_gateway(verdict.gateway, verdict.folded)
        claim = Claim(
            subject, verdict.cls, f"{_TEST if verdict.test else ''}{verdict.rule}", verdict.rule,
            verdict.version, verdict.severity, verdict.at_us, verdict.value, verdict.limit, verdict.reset,
            verdict.received_at_us, verdict.age_us, verdict.test, verdict.reasons, "detect",
            verdict.level, verdict.linkage, tuple(point.id for point in points),
        )  # fmt: skip
        if verdict.kind is VerdictKind.PAST:
            return self._past(claim, now_us, now_s)
        if verdict.kind is VerdictKind.RAISE:
            changes = self._raise(claim, now_us, now_s, replay)
        else:
            changes = self._clear(claim, now_us, replay)
        if verdict.missing:
            changes += self._missing(verdict, subject, now_us)
        return changes

    def _event(self, entry: GatewayEvent, now_us: int, now_s: float, replay: bool) -> list[Change]:
        event = entry.event
        mark = _TEST if event.code == SIMULATED_EVENT else ""
        if event.what in ENDING:
            subject = self._of_event(entry)
            return [
                change
                for cls in AlarmClass
                if cls in ENDING[event.what] and (subject.id, cls) in self._open
                for source in self._open[subject.id, cls].sources
                if source.startswith((mark + OWN[0], mark + OWN[1]))
                for change in self._clear(self._claim_of(entry, subject, cls, source, 0, ()), now_us, replay)
            ]
        told = report(event, self._rules)
        if told is None:
            return []
        cls, said, severity, reason = told
        source = mark + said
        if entry.point is None and cls is not AlarmClass.FIRE:
            return []  # an unregistered point's lesser events are in the dead letter, and it is on the list
        subject = self._of_event(entry)
        claim = self._claim_of(entry, subject, cls, source, severity, (reason,))
        return self._raise(claim, now_us, now_s, replay)

    def _claim_of(
        self, entry: GatewayEvent, subject: Subject, cls: AlarmClass, source: str, severity: int,
        reasons: tuple[Reason, ...],
    ) -> Claim:  # fmt: skip
        event = entry.event
        rule = source.removeprefix(_TEST).removeprefix(LOCAL)
        return Claim(
            subject, cls, source, rule, event.version or 0, severity, event.at,
            event.value, event.limit, None, entry.received_at_us, entry.age_ms * 1000,
            event.code == SIMULATED_EVENT, reasons, "gateway",
        )  # fmt: skip

    def _raise(self, claim: Claim, now_us: int, now_s: float, replay: bool) -> list[Change]:
        late = claim.age_us > self._late_us
        alarm = self._open.get((claim.subject.id, claim.cls))
        if alarm is None:
            return self._open_new(claim, late, now_us, now_s)
        held = claim.source in alarm.sources
        if replay and claim.at_us <= alarm.raised_at_us:
            return []
        if claim.subject.name and claim.at_us == alarm.raised_at_us and (held or not alarm.active):
            return []  # a point's same word once more: out of a spool that came back, say
        worse = (
            claim.severity > alarm.severity
            or (alarm.test and not claim.test)
            or (claim.linkage and not alarm.linkage)
            or (claim.level is Level.CONFIRMED and alarm.level is Level.VERIFY)
        )
        step = Step.ESCALATE if alarm.active and worse else Step.RAISE
        # A late raise of something that does not sound now waits like a new one; any other sounds at once.
        quiet = alarm.silent or alarm.state not in _UNACKNOWLEDGED
        state = TABLE[alarm.state, step]
        silent = late and quiet and state in _UNACKNOWLEDGED
        if silent and alarm.id not in self._held:
            self._held[alarm.id] = now_s + self._hold_s
        what = "escalated" if step is Step.ESCALATE else "repeated" if alarm.active else "raised"
        leading = worse or not alarm.active
        known = alarm.points if alarm.active else ()
        changed: dict[str, object] = {
            "state": state, "active": True, "silent": silent, "late": alarm.late or late,
            "stale": alarm.stale and alarm.active, "test": alarm.test and claim.test,
            "count": alarm.count + 1, "raised_at_us": max(claim.at_us, alarm.raised_at_us),
            "severity": max(alarm.severity, claim.severity), "cleared_at_us": None,
            "sources": alarm.sources if held else (*alarm.sources, claim.source),
            "reasons": _joined(alarm.reasons, claim.reasons),
            "linkage": alarm.linkage or claim.linkage,
            "points": tuple(dict.fromkeys((*known, *claim.points)))[:POINTS_NAMED],
        }  # fmt: skip
        if leading:
            changed |= {
                "rule": claim.rule, "rule_version": claim.version, "value": claim.value,
                "limit": claim.limit, "reset": claim.reset,
                "level": Level.CONFIRMED if alarm.level is Level.CONFIRMED else claim.level,
            }  # fmt: skip
        return [self._change(alarm, what, claim.actor, claim.origin, now_us, **changed)]

    def _open_new(self, claim: Claim, late: bool, now_us: int, now_s: float) -> list[Change]:
        subject = claim.subject
        new_id = alarm_id(subject.id, claim.cls, claim.at_us)
        if new_id in self._closed:
            return []
        alarm = Alarm(
            id=new_id, point=subject.id, name=subject.name, gateway=subject.gateway,
            quantity=subject.quantity, uom=subject.uom, cls=claim.cls, severity=claim.severity,
            state=State.UNACKNOWLEDGED, active=True, late=late, silent=late, test=claim.test,
            measured_at_us=claim.at_us, raised_at_us=claim.at_us, age_us_at_receipt=claim.age_us,
            received_at_us=claim.received_at_us, detected_at_us=now_us, rule=claim.rule,
            rule_version=claim.version, value=claim.value, limit=claim.limit, reset=claim.reset,
            reasons=claim.reasons, sources=(claim.source,), unit=subject.unit, building=subject.building,
            zone=subject.zone, place=subject.place, folded=subject.folded, level=claim.level,
            linkage=claim.linkage, points=claim.points,
        )  # fmt: skip
        if late:
            self._held[alarm.id] = now_s + self._hold_s
        self._put(alarm)
        return [Change(alarm, "raised", claim.actor, claim.origin, now_us)]

    def _clear(self, claim: Claim, now_us: int, replay: bool) -> list[Change]:
        alarm = self._open.get((claim.subject.id, claim.cls))
        if alarm is None or claim.source not in alarm.sources:
            return []
        if replay and claim.at_us <= alarm.raised_at_us:
            return []
        sources = tuple(source for source in alarm.sources if source != claim.source)
        if sources:
            left = self._downgraded(alarm, sources, claim.value)
            return [self._change(alarm, "eased", claim.actor, claim.origin, now_us, sources=sources, **left)]
        step = Step.LATCH if alarm.cls in LATCHING else Step.RETURN
        return [
            self._change(
                alarm, "returned", claim.actor, claim.origin, now_us,
                state=TABLE[alarm.state, step], active=False, stale=False, sources=(),
                cleared_at_us=claim.at_us,
            )
        ]  # fmt: skip

    def _downgraded(self, alarm: Alarm, sources: tuple[str, ...], value: float | None) -> dict[str, object]:
        """What the worst of the rules left says; of a fire, or where another source is left, nothing new."""
        left = [self._rules.get(source.removeprefix(_TEST)) for source in sources]
        known = [rule for rule in left if rule is not None]
        worst = max(known, key=lambda rule: rule.severity, default=None)
        if worst is None or len(known) < len(left) or alarm.cls in LATCHING:
            return {}
        if worst.severity >= alarm.severity:
            return {}
        own = worst if isinstance(worst, Threshold) and not worst.relative_to else None
        return {
            "severity": worst.severity, "rule": worst.name, "rule_version": worst.version, "value": value,
            "limit": own.limit if own else None, "reset": own.reset if own else None,
        }  # fmt: skip

    def _past(self, claim: Claim, now_us: int, now_s: float) -> list[Change]:
        """It was so, then: part of an excursion the book knows, or one that has begun and ended."""
        alarm = self._open.get((claim.subject.id, claim.cls))
        if alarm is not None and (alarm.active or claim.at_us <= (alarm.cleared_at_us or 0)):
            return []
        return [
            *self._raise(claim, now_us, now_s, replay=False),
            *self._clear(claim, now_us, replay=False),
        ]

    def _missing(self, verdict: Verdict, subject: Subject, now_us: int) -> list[Change]:
        """Data stopped or came back: what is active there becomes stale, or is known again."""
        gone = verdict.kind is VerdictKind.RAISE
        if verdict.point >= 0:
            (self._silent_points.add if gone else self._silent_points.discard)(subject.id)
        else:
            (self._offline_gateways.add if gone else self._offline_gateways.discard)(subject.gateway)
        concerned = (
            [self._open.get((subject.id, cls)) for cls in AlarmClass]
            if verdict.point >= 0
            else [alarm for alarm in self._open.values() if alarm.gateway == subject.gateway]
        )
        concerned += [self._open[key] for key in self._of_zones]
        changes: list[Change] = []
        for alarm in concerned:
            if alarm is None or not alarm.active or verdict.rule in alarm.sources:
                continue
            stale = self._is_stale(alarm)
            if stale != alarm.stale:
                what = "stale" if stale else "fresh"
                changes.append(self._change(alarm, what, "", "server", now_us, stale=stale))
        return changes

    def _is_stale(self, alarm: Alarm) -> bool:
        """Whether data of its point is missing; of a zone's alarm, of one of the points that raised it."""
        if alarm.point in self._silent_points or alarm.gateway in self._offline_gateways:
            return True
        return any(
            point in self._silent_points or self._gateway_of.get(point) in self._offline_gateways
            for point in alarm.points
        )

    def _change(
        self, alarm: Alarm, what: str, actor: str, origin: str, now_us: int, **fields: object
    ) -> Change:
        changed: Alarm = msgspec.structs.replace(
            alarm, version=alarm.version + 1, number=None, recorded_at_us=None, **fields
        )
        if changed.state is State.CLOSED:
            self._drop(changed)
        else:
            self._open[changed.point, changed.cls] = changed
        return Change(changed, what, actor, origin, now_us)

    def _put(self, alarm: Alarm) -> None:
        self._open[alarm.point, alarm.cls] = alarm
        self._key[alarm.id] = (alarm.point, alarm.cls)
        if _zone_of(alarm) is not None:
            self._of_zones[alarm.point, alarm.cls] = None
        elif alarm.point == f"{alarm.gateway}/{alarm.name}" and alarm.name:
            self._unregistered.setdefault(alarm.gateway, set()).add(alarm.point)

    def _drop(self, alarm: Alarm) -> None:
        del self._open[alarm.point, alarm.cls]
        self._of_zones.pop((alarm.point, alarm.cls), None)
        del self._key[alarm.id]
        self._held.pop(alarm.id, None)
        self._unregistered.get(alarm.gateway, set()).discard(alarm.point)
        self._remember(alarm.id)

    def _remember(self, alarm_id_: str) -> None:
        self._closed[alarm_id_] = None
        if len(self._closed) > CLOSED_REMEMBERED:
            self._closed.popitem(last=False)

    def _of_event(self, entry: GatewayEvent) -> Subject:
        if entry.point is not None:
            return _of_point(entry.point)
        point_id = f"{entry.gateway}/{entry.event.point}"
        known = self._unregistered.get(entry.gateway, set())
        gateway = self._of_gateway(entry.gateway, 0)
        if point_id not in known and len(known) >= UNREGISTERED_PER_GATEWAY:
            return gateway
        return gateway._replace(id=point_id, name=entry.event.point)

    def _of_gateway(self, gateway: str, folded: int) -> Subject:
        """A gateway as subject; it belongs to the unit and building that all its points share, if they do."""
        units, buildings = self._homes.get(gateway, (set[str](), set[str]()))
        return Subject(
            f"{gateway}/", "", gateway,
            unit=min(units) if len(units) == 1 else "",
            building=min(buildings) if len(buildings) == 1 else "",
            folded=folded,
        )  # fmt: skip


def _of_point(point: Point) -> Subject:
    return Subject(
        point.id, point.name, point.gateway, point.quantity, point.uom, point.unit, point.building,
        point.zone, point.place,
    )  # fmt: skip


def _of_zone(zone: Zone, points: Sequence[Point]) -> Subject:
    """A zone as subject; its place is where the points are that raised it."""
    places = list(dict.fromkeys(point.place for point in points if point.place))
    return Subject(
        f"/{zone.unit}/{zone.building}/{zone.name}", zone.name, "",
        unit=zone.unit, building=zone.building, zone=zone.name, place="; ".join(places[:PLACES_NAMED]),
    )  # fmt: skip


def _zone_of(alarm: Alarm) -> Zone | None:
    """The zone that an alarm is about."""
    return Zone(alarm.unit, alarm.building, alarm.zone) if alarm.point.startswith("/") else None


def _withdrawn(alarm: Alarm, source: str, now_us: int) -> Claim:
    """What is said of an alarm in place of a rule that cannot speak any more."""
    rule = source.removeprefix(_TEST)
    return Claim(
        Subject(alarm.point, alarm.name, alarm.gateway), alarm.cls, source, rule,
        alarm.rule_version if alarm.rule == rule else 0, alarm.severity, now_us, None, None, None, now_us, 0,
        alarm.test, (), "server",
    )  # fmt: skip


def _joined(reasons: tuple[Reason, ...], more: tuple[Reason, ...]) -> tuple[Reason, ...]:
    """Reasons with the newest one of each key, in the order the keys came first.

    The parts of a reason (``key#1``, ...) go when it is said anew.
    """
    anew = {reason.key for reason in more}
    kept = (reason for reason in reasons if "#" not in reason.key or reason.key.split("#")[0] not in anew)
    return tuple({reason.key: reason for reason in (*kept, *more)}.values())


def _without_repeats(changes: list[Change]) -> list[Change]:
    """Only the last one of repeats that follow each other on one alarm; their count is in it."""
    kept: list[Change] = []
    for change in changes:
        if kept and change.what == kept[-1].what == "repeated" and change.alarm.id == kept[-1].alarm.id:
            kept.pop()
        kept.append(change)
    return kept
