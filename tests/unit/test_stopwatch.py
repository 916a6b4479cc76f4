"""The stations of an alarm: what was measured, and nothing else."""

from __future__ import annotations

from alerting.alarms.lifecycle import Step
from alerting.alarms.stopwatch import stamps
from fengsui.batch import UNKNOWN_AGE
from tests.unit.detection import T0_US, S
from tests.unit.test_book import EVERYBODY, Scene, verdict


def test_each_station_is_stamped_when_it_is_passed() -> None:
    """By the source's clock until it left the gateway, by the server's from then on."""
    scene = Scene()
    scene.now_s = 2
    scene.says(verdict(age_us=300_000, received_at_us=T0_US + S))
    assert stamps(scene.alarm) == (
        T0_US, T0_US + 300_000, T0_US + S, T0_US + 2 * S, None, None, None, None,
    )  # fmt: skip
    scene.now_s = 3
    scene.book.notified(scene.alarm.id, now_us=scene.now_us)
    scene.now_s = 4
    scene.hands.seen(EVERYBODY, [scene.alarm.id], now_us=scene.now_us)
    scene.now_s = 5
    scene.acknowledge()
    assert stamps(scene.alarm)[4:] == (None, T0_US + 3 * S, T0_US + 4 * S, T0_US + 5 * S)


def test_what_nobody_measured_stays_absent() -> None:
    """An unknown age, and an alarm that came back without a new sample."""
    scene = Scene()
    scene.says(verdict(age_us=UNKNOWN_AGE))
    assert (stamps(scene.alarm).gateway_out, stamps(scene.alarm).measured) == (None, T0_US)
    scene.orders(Step.RESET, scene.acknowledge())
    again = stamps(scene.alarm)
    assert (again.measured, again.gateway_out, again.received) == (None, None, None)
    assert again.detected == scene.now_us
