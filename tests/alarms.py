"""An alarm for tests that begin where the book ends."""

from __future__ import annotations

from alerting.alarms.lifecycle import Alarm, State
from fengsui.model import AlarmClass
from tests.unit.detection import T0_US


def alarm(**changes: object) -> Alarm:
    """A fire that nobody has acknowledged, but for the changes."""
    fields: dict[str, object] = {
        "id": "a1", "point": "p1", "name": "n1", "gateway": "gw-1", "quantity": "temperature", "uom": "degC",
        "cls": AlarmClass.FIRE, "severity": 4, "state": State.UNACKNOWLEDGED, "active": True,
        "measured_at_us": T0_US, "raised_at_us": T0_US, "age_us_at_receipt": 0, "received_at_us": T0_US,
        "detected_at_us": T0_US, "rule": "heat", "rule_version": 1, "unit": "u1", "building": "tower",
        "place": "Floor 3, kitchen", "value": 63.4, "limit": 57.0,
    }  # fmt: skip
    return Alarm(**(fields | changes))  # type: ignore[arg-type]  # the tests say what they change
