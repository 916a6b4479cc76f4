"""Orders of persons, as tests give them."""

from __future__ import annotations

from typing import Any

from alerting.alarms.desk import DEEDS, Order
from alerting.alarms.lifecycle import Alarm, Step


def order(step: Step, alarm: Alarm, **more: object) -> Order:
    """What a person wants done to an alarm as it is; ``more`` replaces or adds fields."""
    fields: dict[str, object] = {"step": step, "alarm": alarm.id, "version": alarm.version}
    return Order(**(fields | more))  # type: ignore[arg-type]  # the tests say what they order


WORDS: dict[str, Any] = {"text": "because", "to": "0002", "for_s": 600, "finding": "cooking"}


def bodies(version: int) -> dict[str, dict[str, Any]]:
    """What a client sends through each door at which persons act on an alarm, by the door's path."""
    return {
        f"/api/v1/alarms/{{alarm}}/{step}": {"version": version} | {name: WORDS[name] for name in deed.needs}
        for step, deed in DEEDS.items()
    }
