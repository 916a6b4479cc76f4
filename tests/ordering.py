"""Orders of persons, as tests give them."""

from __future__ import annotations

from alerting.alarms.desk import Order
from alerting.alarms.lifecycle import Alarm, Step


def order(step: Step, alarm: Alarm, **more: object) -> Order:
    """What a person wants done to an alarm as it is; ``more`` replaces or adds fields."""
    fields: dict[str, object] = {"step": step, "alarm": alarm.id, "version": alarm.version}
    return Order(**(fields | more))  # type: ignore[arg-type]  # the tests say what they order
