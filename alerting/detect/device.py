"""What a device's own event says of its point: the class it raises and what holds it up, or what it ends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from alerting.detect.rules import Rule
from alerting.detect.verdict import Reason
from fengsui.model import POINT_NAME, SIMULATED_EVENT, AlarmClass, Event, What

EVENT = "event:"
LOCAL = "local:"
OWN = (EVENT, LOCAL)
"""What the sources of devices and gateways begin with; every other source is a rule of the server."""

TEXT_MAX = 200
"""Characters of a device's own text that a reason carries; the journal has all of it."""

ENDING: dict[What, frozenset[AlarmClass]] = {
    What.RESTORED: frozenset(AlarmClass) - {AlarmClass.DISABLEMENT},
    What.RESET: frozenset(AlarmClass) - {AlarmClass.DISABLEMENT},
    What.ENABLED: frozenset({AlarmClass.DISABLEMENT}),
}
"""The classes whose own sources an event takes away."""

OF_ALL_PARTS = frozenset({What.RESET, What.SILENCE})
"""What is done to a panel is done to all of its parts."""

_RAISING: dict[What, tuple[AlarmClass, int, str, str]] = {
    What.FIRE: (AlarmClass.FIRE, 4, "The device reports fire", "设备报告火警"),
    What.PREALARM: (AlarmClass.PREALARM, 3, "The device reports a pre-alarm", "设备报告预警"),
    What.SUPERVISORY: (
        AlarmClass.SUPERVISORY,
        2,
        "The device reports a supervisory state",
        "设备报告监管状态",
    ),
    What.FAULT: (AlarmClass.FAULT, 2, "The device reports a fault", "设备报告故障"),
    What.DISABLED: (AlarmClass.DISABLEMENT, 1, "The device reports a disablement", "设备报告屏蔽"),
}


def concerns(event: Event, name: str) -> bool:
    """Whether an event is about the point of that name in its gateway: its own, or a part of it.

    A part's name begins with that of the whole and a colon, as ``panel:1.1:10-2`` is part of ``panel:1.1``.
    """
    return name == event.point or (event.what in OF_ALL_PARTS and name.startswith(f"{event.point}:"))


class DeviceEvent(NamedTuple):
    """An event of a registered point, and when it came; times in us."""

    point: int
    """``Point.index``."""
    event: Event
    received_at_us: int
    age_us: int
    """How long the gateway held it; negative = unknown, read as live."""

    @property
    def test(self) -> bool:
        """No real device said it."""
        return self.event.code == SIMULATED_EVENT


class Report(NamedTuple):
    """What an event raises."""

    cls: AlarmClass
    source: str
    severity: int
    reason: Reason


def report(event: Event, rules: Mapping[str, Rule]) -> Report | None:
    """What ``event`` raises; None = nothing. ``rules`` are the server's own by name."""
    if event.what is What.LOCAL_ALARM:
        name = event.rule if event.rule and POINT_NAME.fullmatch(event.rule) else "rule"
        rule = rules.get(name)
        # A rule the server has too, in the same version, is cleared by the server's own verdict.
        same = rule is not None and rule.version == event.version
        cls, severity = (rule.cls, rule.severity) if rule is not None else (AlarmClass.FIRE, 4)
        source = f"{'' if same else LOCAL}{name}"
        en, zh = "The gateway's own rule raised it", "网关本地规则报警"
    elif event.what in _RAISING:
        cls, severity, en, zh = _RAISING[event.what]
        source = f"{EVENT}{event.what}"
    else:
        return None
    text = f": {event.text[:TEXT_MAX]}" if event.text else ""
    reason = Reason(source, event.value, event.limit, None, f"{en}{text}", f"{zh}{text}")
    return Report(cls, source, severity, reason)
