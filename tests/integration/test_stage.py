"""A scenario played live: a real gateway, or a plain device, feeds a real core through a real broker."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fengsui.model import AlarmClass
from fengsui.runtime import Stop, wall_us
from fengsui.settings import Broker
from fengsui.viewer import Role, Viewer
from gateway.drivers.base import Pace
from simulators.plain import PlainDevice, publish
from simulators.scenario import load
from simulators.stage import ScenarioDriver, play, registered
from tests import coring
from tests.servers import mosquitto
from tests.waiting import until

OFFICER = Viewer("0417", frozenset({Role.OFFICER}), None)


FIRES = {
    ("gw-1.heat-302", True),
    ("gw-1.smoke-302", True),
    ("/scenarios/dorm/dorm-3", True),
}


async def test_a_fire_played_live_is_a_test_alarm_of_the_core(tmp_path: Path) -> None:
    """Sixty times as fast: the core confirms every reading, and raises the fire, marked as a test, once."""
    script = load("fire-fast")
    async with mosquitto(tmp_path / "broker") as process:
        broker = Broker(port=process.port)
        shares: list[float] = []
        driver = ScenarioDriver(script, 1, 60.0, Pace(wall_us, asyncio.sleep))
        async with (
            asyncio.timeout(60),
            coring.core(tmp_path, broker, registered(script, "gw-1")) as core,
        ):
            gateway = coring.gateway(tmp_path, broker)
            await play(driver, gateway, Stop(), lambda playing: shares.append(playing.reached))
            await coring.judged(core)
            fires = [alarm for alarm in core.watch.book.alarms(OFFICER) if alarm.cls is AlarmClass.FIRE]
            counted = core.balances().store
    assert shares[-1] == 1.0
    assert shares == sorted(shares)
    assert sum(balance.journalled for balance in counted) >= driver.produced == 480
    assert {(alarm.point, alarm.test) for alarm in fires} == FIRES


async def test_a_plain_device_raises_the_same_fire_as_a_test(tmp_path: Path) -> None:
    """Published as JSON with quality *simulated*, every reading is stored once and every alarm is a test."""
    script = load("fire-fast")
    async with mosquitto(tmp_path / "broker") as process:
        broker = Broker(port=process.port)
        driver = ScenarioDriver(script, 1, 60.0, Pace(wall_us, asyncio.sleep))
        device = PlainDevice("gw-1", broker)
        async with (
            asyncio.timeout(60),
            coring.core(tmp_path, broker, registered(script, "gw-1")) as core,
        ):
            await publish(driver, device, Stop(), lambda: None)

            def has_all() -> bool:
                return core.journal.journalled().get("gw-1", 0) >= 480

            await until(has_all)
            await coring.judged(core)
            await coring.stored(core)
            fires = [alarm for alarm in core.watch.book.alarms(OFFICER) if alarm.cls is AlarmClass.FIRE]
            (balance,) = core.balances().store
    assert (device.published, device.left_out, device.refused) == (480, 0, 0)
    assert (balance.journalled, balance.stored, balance.residue) == (480, 480, 0)
    assert {(alarm.point, alarm.test) for alarm in fires} == FIRES
