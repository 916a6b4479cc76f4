"""The alarm book: every open alarm now, in memory. Pure: verdicts, events and time in, changes out.

At most one occurrence per (point, class) is open. A *source* is what holds it active: a rule, a device's own
event, a gateway's local rule. Several sources join one occurrence; it returns when the last one lets go.
A zone is a subject of its own: what several devices say together is an alarm on top of those of the points.

**Late alarms** (docs/adr/0005). An alarm raised by a record that its gateway held longer than ``LATE_US`` is
shown at once, silent, and sounds as soon as it has stood for ``HOLD_S`` and is still active. Only one that
its own later records restored within that second stays silent. Nothing else is ever silent, and nothing
active is silent for longer: a wrong clock cannot mute an alarm, because age is no clock.

**Inhibited alarms** (docs/adr/0027). What inhibits alarms of a point is its open alarm of class
*disablement*: a person shelved a class or took the point out of service, or the device reports that it is
disabled. When that returns, what is still active asks for attention again. A fire is never inhibited.

What persons do is in ``desk.py``, which changes alarms through the methods of the part *for the desk*.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import NamedTuple

import msgspec

from alerting.alarms.claim import (
    TEST,
    Claim,
    Subject,
    joined,
    of_event,
    of_point,
    of_verdict,
    of_zone,
    subject_of,
    withdrawn,
    zone_of,
)
from alerting.alarms.lifecycle import (
    DESK,
    LATCHING,
    TABLE,
    UNACKNOWLEDGED,
    Alarm,
    Disablement,
    Mark,
    Moved,
    State,
    Step,
    alarm_id,
    inhibition,
    successor_id,
)
from alerting.detect.device import ENDING, OF_ALL_PARTS, OWN, TEXT_MAX, concerns, report
from alerting.detect.engine import ActiveRule
from alerting.detect.rules import RuleSet, Threshold
from alerting.detect.verdict import HOLD_S, LATE_US, Level, Verdict, VerdictKind
from alerting.detect.zones import POINTS_NAMED
from fengsui.batch import GatewayEvent
from fengsui.model import SIMULATED_EVENT, AlarmClass, Point, What
from fengsui.viewer import Viewer

UNREGISTERED_PER_GATEWAY = 32
"""Alarms of unregistered points per gateway; further ones are folded into one of the gateway itself."""

CLOSED_REMEMBERED = 10_000
"""Closed alarms whose ids are remembered, so that a replay cannot raise them again."""

CLOSED_KEPT = 1_000
"""Closed alarms that can still be looked at, commented, closed with a finding and reopened."""

UNMOVED = frozenset(
    {"repeated", "eased", "sounded", "fresh", "seen", "notified", "commented", "silenced", "silenced_on_site"}
)
"""Changes that nobody needs to know of before deciding; an action on a version before them is good."""


class Change(NamedTuple):
    """One thing that happened to an alarm, for the record; ``alarm`` is the alarm after it."""

    alarm: Alarm
    what: str
    """By machines: raised, repeated, escalated, eased, returned, sounded, stale, unknown, fresh, notified,
    suppressed, resumed. On site: silenced_on_site, reset_on_site. By persons: acknowledged, reset, silenced,
    commented, assigned, taken, verified, closed, reopened, shelved, out_of_service, resumed, seen."""
    actor: str
    """The person, or the rule and version, or the gateway."""
    origin: str
    """person, detect, gateway or server."""
    at_us: int
    """Server clock."""
    reason: str = ""
    """The person's own words."""


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
        self._gone: OrderedDict[str, Alarm] = OrderedDict()
        self._held: dict[str, float] = {}
        self._disabled: dict[str, None] = {}
        self._due_s: dict[tuple[str, str], float] = {}
        self._of_zones: dict[tuple[str, AlarmClass], None] = {}
        self._silent_points: set[str] = set()
        self._offline_gateways: set[str] = set()
        self._unregistered: dict[str, set[str]] = {}
        self._points: list[Point] = []
        self._homes: dict[str, tuple[set[str], set[str]]] = {}
        self._gateway_of: dict[str, str] = {}
        self.follow(points)

    def adopt(self, rules: RuleSet) -> None:
        """Take over changed rules; open alarms keep what they were raised with."""
        self._rules = {rule.name: rule for rule in rules.about_readings()}
        self._silences = {rule.name for rule in rules.silence}
        self._offline = rules.offline.name

    def follow(self, points: Sequence[Point]) -> None:
        """Take over a changed registry; open alarms keep what they were raised with."""
        known = len(self._points)
        if points[:known] != self._points:
            self._points, known = [], 0
            self._homes.clear()
            self._gateway_of.clear()
        for point in points[known:]:
            self._points.append(point)
            if point.zone:
                self._gateway_of[point.id] = point.gateway
            units, buildings = self._homes.setdefault(point.gateway, (set(), set()))
            units.add(point.unit)
            buildings.add(point.building)

    def load(self, alarms: Iterable[Alarm], closed: Iterable[str], gone: Iterable[Alarm] = ()) -> None:
        """Take over from the record, each oldest first: open alarms, closed ids, the newest closed alarms."""
        for alarm_id_ in closed:
            self._remember(alarm_id_)
        for alarm in gone:
            self._keep(alarm)
        for alarm in alarms:
            self._put(alarm)
            if alarm.active and alarm.silent:
                self._held[alarm.id] = float("-inf")  # its second is over: the process was away meanwhile
            if alarm.disablements:
                self._disabled[alarm.point] = None
            if self._offline in alarm.sources:
                self._offline_gateways.add(alarm.gateway)
            elif not self._silences.isdisjoint(alarm.sources):
                self._silent_points.add(alarm.point)

    def alarms(self, viewer: Viewer) -> list[Alarm]:
        """The open alarms that ``viewer`` may see."""
        return [alarm for alarm in self._open.values() if viewer.sees(alarm.unit)]

    def counts(self) -> Counter[tuple[AlarmClass, State]]:
        """How many open alarms there are of each class in each state, tests left out."""
        return Counter((alarm.cls, alarm.state) for alarm in self._open.values() if not alarm.test)

    def closed(self, viewer: Viewer, limit: int) -> list[Alarm]:
        """The newest closed alarms that ``viewer`` may see, of those still kept; the newest first."""
        seen = (alarm for alarm in reversed(self._gone.values()) if viewer.sees(alarm.unit))
        return list(islice(seen, limit))

    def active_rules(self) -> list[ActiveRule]:
        """What stands active, for ``Engine.assume`` after a restart."""
        index = {point.id: point.index for point in self._points}
        return [
            ActiveRule(
                source.removeprefix(TEST),
                index.get(alarm.point, -1),
                alarm.gateway,
                source.startswith(TEST),
                zone_of(alarm),
                alarm.cls,
                alarm.raised_at_us,
            )
            for alarm in self._open.values()
            for source in alarm.sources
            if not source.startswith(DESK)
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
        return _without_repeats(self._inhibited(changes, now_us))

    def advance(self, *, now_us: int, now_s: float) -> list[Change]:
        """What time brings: late alarms sound that are still active after the hold, disablements end."""
        due = [alarm_id_ for alarm_id_, at_s in self._held.items() if now_s >= at_s]
        changes: list[Change] = []
        for alarm_id_ in due:
            del self._held[alarm_id_]
            key = self._key.get(alarm_id_)
            if key is not None and self._open[key].active and self._open[key].silent:
                changes.append(self.change(self._open[key], "sounded", "", "server", now_us, silent=False))
        changes += self._expired(now_us, now_s)
        return self._inhibited(changes, now_us)

    def release(self, orphans: Iterable[ActiveRule], *, now_us: int) -> list[Change]:
        """Let go of what no rule holds any more, see ``Engine.orphans``; a fire still waits for its reset."""
        ids = {(item.point, item.gateway, f"{TEST if item.test else ''}{item.rule}") for item in orphans}
        index = {point.id: point.index for point in self._points}
        return [
            change
            for alarm in list(self._open.values())
            for source in alarm.sources
            if (index.get(alarm.point, -1), alarm.gateway, source) in ids
            for change in self._clear(withdrawn(alarm, source, now_us), now_us, replay=False)
        ]

    def recorded(self, alarm: Alarm) -> None:
        """The record has taken this version of the alarm: note its number, unless it has moved on since."""
        known = self.find(alarm.id)
        if known is None or known.version != alarm.version:
            return
        if alarm.state is State.CLOSED:
            self._gone[alarm.id] = alarm
        else:
            self._open[self._key[alarm.id]] = alarm

    def notified(self, alarm_id_: str, *, now_us: int) -> list[Change]:
        """The first message about an alarm was handed over; nothing the second time."""
        alarm = self.find(alarm_id_)
        if alarm is None or alarm.notified_at_us is not None:
            return []
        return [self.change(alarm, "notified", "", "server", now_us, notified_at_us=now_us)]

    # for the desk

    def find(self, alarm_id_: str) -> Alarm | None:
        """An open alarm, or one of the newest closed ones."""
        key = self._key.get(alarm_id_)
        return self._open[key] if key is not None else self._gone.get(alarm_id_)

    def disabling(self, point: str) -> Alarm | None:
        """What inhibits alarms of a point: its open alarm of class disablement."""
        return self._open.get((point, AlarmClass.DISABLEMENT))

    def change(
        self, alarm: Alarm, what: str, actor: str, origin: str, now_us: int, **fields: object
    ) -> Change:
        """The next version of an alarm; ``fields`` are what differs."""
        version = alarm.version + 1
        moved = alarm.moved if what in UNMOVED else Moved(version, what, actor, now_us)
        changed: Alarm = msgspec.structs.replace(
            alarm, version=version, number=None, recorded_at_us=None, moved=moved, **fields
        )
        if changed.state is State.CLOSED:
            self._drop(changed)
        else:
            self._open[changed.point, changed.cls] = changed
        return Change(changed, what, actor, origin, now_us)

    def enter(self, claim: Claim, word: Disablement, now_us: int) -> list[Change]:
        """Take a person's disablement, and let it inhibit; one that is new here is acknowledged with it."""
        (change,) = self._raise(claim, now_us, 0.0, replay=False)
        alarm = change.alarm
        known = () if change.what == "raised" else alarm.disablements
        fields: dict[str, object] = {"disablements": (*known, word)}
        if change.what == "raised":
            fields |= {
                "state": TABLE[alarm.state, Step.ACKNOWLEDGE], "acknowledged_at_us": now_us,
                "acknowledged_by": word.mark.by,
            }  # fmt: skip
        alarm = msgspec.structs.replace(alarm, **fields)
        self._open[alarm.point, alarm.cls] = alarm
        self._disabled[alarm.point] = None
        return self._inhibited([change._replace(alarm=alarm, reason=word.mark.text)], now_us)

    def lift(
        self, alarm: Alarm, sources: Iterable[str], actor: str, origin: str, now_us: int
    ) -> list[Change]:
        """End persons' disablements that hold ``alarm``; what they inhibited asks for attention again."""
        gone = frozenset(sources)
        left = tuple(source for source in alarm.sources if source not in gone)
        fields: dict[str, object] = {
            "sources": left,
            "disablements": tuple(one for one in alarm.disablements if one.source not in gone),
        }
        for source in gone:
            self._due_s.pop((alarm.point, source), None)
        if not fields["disablements"]:
            self._disabled.pop(alarm.point, None)
        if not left:
            fields |= {"state": TABLE[alarm.state, Step.RETURN], "active": False, "cleared_at_us": now_us}
        what = "eased" if left else "returned"
        return self._inhibited([self.change(alarm, what, actor, origin, now_us, **fields)], now_us)

    def again(self, alarm: Alarm, now_us: int) -> Change:
        """The next occurrence of a closed alarm whose sources still hold; nothing has been done about it."""
        return self._opened(
            Alarm(
                id=successor_id(alarm.id), after=alarm.id, point=alarm.point,
                name=alarm.name, gateway=alarm.gateway, quantity=alarm.quantity, uom=alarm.uom, cls=alarm.cls,
                severity=alarm.severity, state=State.UNACKNOWLEDGED, active=True, stale=alarm.stale,
                test=alarm.test, measured_at_us=alarm.raised_at_us, raised_at_us=alarm.raised_at_us,
                age_us_at_receipt=alarm.age_us_at_receipt, received_at_us=alarm.received_at_us,
                detected_at_us=now_us, rule=alarm.rule, rule_version=alarm.rule_version, value=alarm.value,
                limit=alarm.limit, reset=alarm.reset, reasons=alarm.reasons, sources=alarm.sources,
                unit=alarm.unit, building=alarm.building, zone=alarm.zone, place=alarm.place,
                folded=alarm.folded, level=alarm.level, linkage=alarm.linkage, points=alarm.points,
                disablements=alarm.disablements,
            ),
            "", "server", now_us,
        )  # fmt: skip

    # what is said

    def _verdict(self, verdict: Verdict, now_us: int, now_s: float, replay: bool) -> list[Change]:
        points = [self._points[index] for index in verdict.points]
        if verdict.zone is not None:
            subject = of_zone(verdict.zone, points)
        elif verdict.point >= 0:
            subject = of_point(self._points[verdict.point])
        else:
            subject = self._of_gateway(verdict.gateway, verdict.folded)
        claim = of_verdict(verdict, subject, points)
        if verdict.kind is VerdictKind.PAST:
            return self._past(claim, now_us, now_s)
        if verdict.missing:
            silent = self._silent_points if verdict.point >= 0 else self._offline_gateways
            who = subject.id if verdict.point >= 0 else subject.gateway
            (silent.add if verdict.kind is VerdictKind.RAISE else silent.discard)(who)
        if verdict.kind is VerdictKind.RAISE:
            changes = self._raise(claim, now_us, now_s, replay)
        else:
            changes = self._clear(claim, now_us, replay)
        if verdict.missing:
            changes += self._missing(verdict, subject, now_us)
        return changes

    def _event(self, entry: GatewayEvent, now_us: int, now_s: float, replay: bool) -> list[Change]:
        event = entry.event
        mark = TEST if event.code == SIMULATED_EVENT else ""
        if event.what in ENDING or event.what in OF_ALL_PARTS:
            changes: list[Change] = []
            for alarm in self._concerned(entry):
                changes += [
                    change
                    for source in alarm.sources
                    if alarm.cls in ENDING.get(event.what, ())
                    and source.startswith((mark + OWN[0], mark + OWN[1]))
                    for change in self._clear(
                        of_event(entry, subject_of(alarm), alarm.cls, source), now_us, replay
                    )
                ]
                changes += self._done_on_site(entry, alarm.id, now_us, replay)
            return changes
        told = report(event, self._rules)
        if told is None:
            return []
        cls, said, severity, reason = told
        if entry.point is None and cls is not AlarmClass.FIRE:
            return []  # an unregistered point's lesser events are in the dead letter, and it is on the list
        claim = of_event(entry, self._of_event(entry), cls, mark + said, severity, (reason,))
        return self._raise(claim, now_us, now_s, replay)

    def _concerned(self, entry: GatewayEvent) -> list[Alarm]:
        """The open alarms of what an event is about: of its point, and of its parts if it concerns them."""
        own = self._of_event(entry).id
        found = [alarm for cls in AlarmClass if (alarm := self._open.get((own, cls))) is not None]
        if entry.event.what in OF_ALL_PARTS:
            found += [
                alarm
                for alarm in self._open.values()
                if alarm.gateway == entry.gateway and alarm.point != own and concerns(entry.event, alarm.name)
            ]
        return found

    def _done_on_site(self, entry: GatewayEvent, alarm_id_: str, now_us: int, replay: bool) -> list[Change]:
        """Somebody silenced or reset the device: a mark on what stands there, once; the desk's own stay."""
        event, alarm = entry.event, self.find(alarm_id_)
        field = {What.SILENCE: "silenced_on_site", What.RESET: "reset_on_site"}.get(event.what)
        if field is None or alarm is None or alarm.state is State.CLOSED:
            return []
        if alarm.cls is AlarmClass.DISABLEMENT or (event.code == SIMULATED_EVENT and not alarm.test):
            return []
        mark = Mark(event.at, entry.gateway, (event.text or "")[:TEXT_MAX])
        known: Mark | None = getattr(alarm, field)
        newest_us = max(alarm.raised_at_us, known.at_us if known is not None else 0)
        if known == mark or (replay and mark.at_us <= newest_us):
            return []
        fields: dict[str, object] = {field: mark}
        done = self.change(alarm, field, entry.gateway, "gateway", now_us, **fields)
        return [done._replace(reason=mark.text)]

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
        quiet = alarm.silent or alarm.state not in UNACKNOWLEDGED
        state = TABLE[alarm.state, step]
        silent = late and quiet and state in UNACKNOWLEDGED
        if silent and alarm.id not in self._held:
            self._held[alarm.id] = now_s + self._hold_s
        what = "escalated" if step is Step.ESCALATE else "repeated" if alarm.active else "raised"
        leading = worse or not alarm.active
        known = alarm.points if alarm.active else ()
        changed: dict[str, object] = {
            "state": state, "active": True, "silent": silent, "late": alarm.late or late,
            "stale": alarm.stale and alarm.active, "unknown": False, "test": alarm.test and claim.test,
            "count": alarm.count + 1, "raised_at_us": max(claim.at_us, alarm.raised_at_us),
            "severity": max(alarm.severity, claim.severity), "cleared_at_us": None,
            "sources": alarm.sources if held else (*alarm.sources, claim.source),
            "reasons": joined(alarm.reasons, claim.reasons),
            "linkage": alarm.linkage or claim.linkage,
            "points": tuple(dict.fromkeys((*known, *claim.points)))[:POINTS_NAMED],
        }  # fmt: skip
        if leading:
            changed |= {
                "rule": claim.rule, "rule_version": claim.version, "value": claim.value,
                "limit": claim.limit, "reset": claim.reset,
                "level": Level.CONFIRMED if alarm.level is Level.CONFIRMED else claim.level,
                "silenced": None,
            }  # fmt: skip
        if not alarm.active:
            changed |= {"reset_on_site": None, "verified": None, "finding": None, "closed": None}
        return [self.change(alarm, what, claim.actor, claim.origin, now_us, **changed)]

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
        return [self._opened(alarm, claim.actor, claim.origin, now_us)]

    def _opened(self, alarm: Alarm, actor: str, origin: str, now_us: int) -> Change:
        alarm = msgspec.structs.replace(
            alarm,
            inhibited=inhibition(self.disabling(alarm.point), alarm.cls),
            moved=Moved(1, "raised", actor, now_us),
        )
        self._put(alarm)
        return Change(alarm, "raised", actor, origin, now_us)

    def _clear(self, claim: Claim, now_us: int, replay: bool) -> list[Change]:
        alarm = self._open.get((claim.subject.id, claim.cls))
        if alarm is None or claim.source not in alarm.sources:
            return []
        if replay and claim.at_us <= alarm.raised_at_us:
            return []
        sources = tuple(source for source in alarm.sources if source != claim.source)
        if sources:
            left = self._downgraded(alarm, sources, claim.value)
            return [self.change(alarm, "eased", claim.actor, claim.origin, now_us, sources=sources, **left)]
        step = Step.LATCH if alarm.cls in LATCHING else Step.RETURN
        return [
            self.change(
                alarm, "returned", claim.actor, claim.origin, now_us,
                state=TABLE[alarm.state, step], active=False, stale=False,
                unknown=self._has_no_data(alarm), sources=(), cleared_at_us=claim.at_us,
            )
        ]  # fmt: skip

    def _downgraded(self, alarm: Alarm, sources: tuple[str, ...], value: float | None) -> dict[str, object]:
        """What the worst of the rules left says; of a fire, or where another source is left, nothing new."""
        left = [self._rules.get(source.removeprefix(TEST)) for source in sources]
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
        """Data stopped or came back: what is there becomes stale or unknown, or is known again."""
        concerned = (
            [self._open.get((subject.id, cls)) for cls in AlarmClass]
            if verdict.point >= 0
            else [alarm for alarm in self._open.values() if alarm.gateway == subject.gateway]
        )
        concerned += [self._open[key] for key in self._of_zones]
        changes: list[Change] = []
        for alarm in concerned:
            if alarm is None or verdict.rule in alarm.sources or alarm.disablements:
                continue
            no_data = self._has_no_data(alarm)
            if no_data != (alarm.stale or alarm.unknown):
                what = "fresh" if not no_data else "stale" if alarm.active else "unknown"
                fields: dict[str, object] = {
                    "stale": no_data and alarm.active,
                    "unknown": no_data and not alarm.active,
                }
                changes.append(self.change(alarm, what, "", "server", now_us, **fields))
        return changes

    def _has_no_data(self, alarm: Alarm) -> bool:
        """Whether data of its point is missing; of a zone's alarm, of one of the points that raised it."""
        if alarm.point in self._silent_points or alarm.gateway in self._offline_gateways:
            return True
        return any(
            point in self._silent_points or self._gateway_of.get(point) in self._offline_gateways
            for point in alarm.points
        )

    def _expired(self, now_us: int, now_s: float) -> list[Change]:
        """End disablements whose time is over; once they are known here, the monotonic clock counts."""
        changes: list[Change] = []
        for point in list(self._disabled):
            alarm = self.disabling(point)
            words = alarm.disablements if alarm is not None else ()
            over = [
                word.source
                for word in words
                if now_s
                >= self._due_s.setdefault((point, word.source), now_s + (word.until_us - now_us) / 1e6)
            ]
            if alarm is not None and over:
                changes += self.lift(alarm, over, "", "server", now_us)
        return changes

    def _inhibited(self, changes: list[Change], now_us: int) -> list[Change]:
        """The changes, and those of alarms at the same points that are inhibited by them, or no longer."""
        more: list[Change] = []
        disabling = {c.alarm.point: c for c in changes if c.alarm.cls is AlarmClass.DISABLEMENT}
        for point, because in disabling.items():
            for cls in AlarmClass:
                alarm = self._open.get((point, cls))
                if alarm is None or (why := inhibition(self.disabling(point), cls)) is alarm.inhibited:
                    continue
                fields: dict[str, object] = {"inhibited": why}
                if why is None and alarm.active:
                    state = TABLE[alarm.state, Step.ESCALATE]
                    fields |= {"state": state, "silent": False, "silenced": None}
                actor, origin = because.actor, because.origin
                change = self.change(alarm, why or "resumed", actor, origin, now_us, **fields)
                more.append(change._replace(reason=because.reason))
        return changes + more

    def _put(self, alarm: Alarm) -> None:
        self._open[alarm.point, alarm.cls] = alarm
        self._key[alarm.id] = (alarm.point, alarm.cls)
        if zone_of(alarm) is not None:
            self._of_zones[alarm.point, alarm.cls] = None
        elif alarm.point == f"{alarm.gateway}/{alarm.name}" and alarm.name:
            self._unregistered.setdefault(alarm.gateway, set()).add(alarm.point)

    def _drop(self, alarm: Alarm) -> None:
        if self._key.pop(alarm.id, None) is not None:
            del self._open[alarm.point, alarm.cls]
            self._of_zones.pop((alarm.point, alarm.cls), None)
            self._held.pop(alarm.id, None)
            self._unregistered.get(alarm.gateway, set()).discard(alarm.point)
            self._remember(alarm.id)
        self._keep(alarm)

    def _keep(self, alarm: Alarm) -> None:
        self._gone[alarm.id] = alarm
        if len(self._gone) > CLOSED_KEPT:
            self._gone.popitem(last=False)

    def _remember(self, alarm_id_: str) -> None:
        self._closed[alarm_id_] = None
        if len(self._closed) > CLOSED_REMEMBERED:
            self._closed.popitem(last=False)

    def _of_event(self, entry: GatewayEvent) -> Subject:
        if entry.point is not None:
            return of_point(entry.point)
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


def _without_repeats(changes: list[Change]) -> list[Change]:
    """Only the last one of repeats that follow each other on one alarm; their count is in it."""
    kept: list[Change] = []
    for change in changes:
        if kept and change.what == kept[-1].what == "repeated" and change.alarm.id == kept[-1].alarm.id:
            kept.pop()
        kept.append(change)
    return kept
