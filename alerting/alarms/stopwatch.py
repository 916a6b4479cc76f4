"""From the sample to the officer: when an alarm passed each station. Pure; nothing is invented."""

from __future__ import annotations

from typing import NamedTuple

from alerting.alarms.lifecycle import Alarm


class Stamps(NamedTuple):
    """When an alarm was where, us since 1970 UTC; None = it was not there yet, or nobody measured it.

    ``measured`` and ``gateway_out`` are by the clock of the source, all others by the server's.
    """

    measured: int | None
    gateway_out: int | None
    """Received minus transit: when the gateway sent it, counted by how long the gateway had held it."""
    received: int | None
    detected: int
    recorded: int | None
    notified: int | None
    seen: int | None
    """First reported to be on an officer's screen."""
    acknowledged: int | None


def stamps(alarm: Alarm) -> Stamps:
    """The stations of an alarm.

    One that came back after a reset begins when it was detected: no new sample raised it. Without a known age
    nobody knows when the gateway sent it.
    """
    sampled = alarm.after is None
    age_us = alarm.age_us_at_receipt
    return Stamps(
        measured=alarm.measured_at_us if sampled else None,
        gateway_out=alarm.measured_at_us + age_us if sampled and age_us >= 0 else None,
        received=alarm.received_at_us if sampled else None,
        detected=alarm.detected_at_us,
        recorded=alarm.recorded_at_us,
        notified=alarm.notified_at_us,
        seen=alarm.seen_at_us,
        acknowledged=alarm.acknowledged_at_us,
    )
