"""What is said, and of what: verdicts and devices' events as claims about one class at one subject. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from alerting.alarms.lifecycle import Alarm
from alerting.detect.device import LOCAL
from alerting.detect.verdict import Level, Reason, Verdict, Zone
from fengsui.batch import GatewayEvent
from fengsui.model import SIMULATED_EVENT, AlarmClass, Point

PLACES_NAMED = 3
"""Places of points that the alarm of a zone names; its reasons tell more."""

TEST = "test:"
"""Stands in front of the source where it was simulated."""


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
    person: str = ""

    @property
    def actor(self) -> str:
        """Who says so: the person, the rule with its version, or the gateway."""
        return self.person or (f"{self.rule}@{self.version}" if self.version else self.subject.gateway)


def of_verdict(verdict: Verdict, subject: Subject, points: Sequence[Point]) -> Claim:
    """What detection says; ``points`` are those that the verdict names."""
    return Claim(
        subject, verdict.cls, f"{TEST if verdict.test else ''}{verdict.rule}", verdict.rule,
        verdict.version, verdict.severity, verdict.at_us, verdict.value, verdict.limit, verdict.reset,
        verdict.received_at_us, verdict.age_us, verdict.test, verdict.reasons, "detect",
        verdict.level, verdict.linkage, tuple(point.id for point in points),
    )  # fmt: skip


def of_event(
    entry: GatewayEvent, subject: Subject, cls: AlarmClass, source: str, severity: int = 0,
    reasons: tuple[Reason, ...] = (),
) -> Claim:  # fmt: skip
    """What a device or a gateway says of one of its sources."""
    event = entry.event
    rule = source.removeprefix(TEST).removeprefix(LOCAL)
    return Claim(
        subject, cls, source, rule, event.version or 0, severity, event.at,
        event.value, event.limit, None, entry.received_at_us, entry.age_ms * 1000,
        event.code == SIMULATED_EVENT, reasons, "gateway",
    )  # fmt: skip


def withdrawn(alarm: Alarm, source: str, now_us: int) -> Claim:
    """What is said of an alarm in place of a rule that cannot speak any more."""
    rule = source.removeprefix(TEST)
    return Claim(
        subject_of(alarm), alarm.cls, source, rule,
        alarm.rule_version if alarm.rule == rule else 0, alarm.severity, now_us, None, None, None, now_us, 0,
        alarm.test, (), "server",
    )  # fmt: skip


def of_point(point: Point) -> Subject:
    """A registered point as subject."""
    return Subject(
        point.id, point.name, point.gateway, point.quantity, point.uom, point.unit, point.building,
        point.zone, point.place,
    )  # fmt: skip


def of_zone(zone: Zone, points: Sequence[Point]) -> Subject:
    """A zone as subject; its place is where the points are that raised it."""
    places = list(dict.fromkeys(point.place for point in points if point.place))
    return Subject(
        f"/{zone.unit}/{zone.building}/{zone.name}", zone.name, "",
        unit=zone.unit, building=zone.building, zone=zone.name, place="; ".join(places[:PLACES_NAMED]),
    )  # fmt: skip


def subject_of(alarm: Alarm) -> Subject:
    """What an alarm is about."""
    return Subject(
        alarm.point, alarm.name, alarm.gateway, alarm.quantity, alarm.uom, alarm.unit, alarm.building,
        alarm.zone, alarm.place,
    )  # fmt: skip


def zone_of(alarm: Alarm) -> Zone | None:
    """The zone that an alarm is about."""
    return Zone(alarm.unit, alarm.building, alarm.zone) if alarm.point.startswith("/") else None


def joined(reasons: tuple[Reason, ...], more: tuple[Reason, ...]) -> tuple[Reason, ...]:
    """Reasons with the newest one of each key, in the order the keys came first.

    The parts of a reason (``key#1``, ...) go when it is said anew.
    """
    anew = {reason.key for reason in more}
    kept = (reason for reason in reasons if "#" not in reason.key or reason.key.split("#")[0] not in anew)
    return tuple({reason.key: reason for reason in (*kept, *more)}.values())
