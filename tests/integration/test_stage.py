"""A scenario played live: a real gateway feeds a real core through a real broker."""

from __future__ import annotations

import asyncio
from pathlib import Path

from fengsui.model import AlarmClass, Lane
from fengsui.runtime import Stop, wall_us
from fengsui.settings import Broker
from fengsui.viewer import Role, Viewer
from gateway.config import Settings as GatewaySettings
from gateway.config import SpoolSettings
from gateway.drivers.base import Pace
from server.app import Core
from server.config import Embedded, JournalSettings, Settings
from simulators.scenario import load
from simulators.stage import ScenarioDriver, play, registered
from tests.servers import mosquitto
from tests.waiting import until

OFFICER = Viewer("0417", frozenset({Role.OFFICER}), None)


async def test_a_fire_played_live_is_a_test_alarm_of_the_core(tmp_path: Path) -> None:
    """Sixty times as fast: the core confirms every reading, and raises the fire, marked as a test, once."""
    script = load("fire-fast")
    async with mosquitto(tmp_path / "broker") as process:
        broker = Broker(port=process.port)
        core = await Core.open(
            Settings(
                process="core",
                folder=tmp_path / "core",
                socket=tmp_path / "core.sock",
                broker=broker,
                journal=JournalSettings(folder=tmp_path / "journal", quota_mb=16),
                store=Embedded(folder=tmp_path / "series"),
            )
        )
        await core.registry.add(registered(script, "gw-1"))
        gateway = GatewaySettings(
            process="gateway",
            name="gw-1",
            broker=broker,
            spool=SpoolSettings(folder=tmp_path / "spool", quota_mb=16),
            socket=tmp_path / "gateway.sock",
        )
        shares: list[float] = []
        driver = ScenarioDriver(script, 1, 60.0, Pace(wall_us, asyncio.sleep))
        stop = Stop()

        def is_judged() -> bool:
            return not core.journal.is_behind({lane: core.watch.cursor.at(lane) for lane in Lane})

        async with asyncio.timeout(60), asyncio.TaskGroup() as tasks:
            tasks.create_task(core.run(stop))
            await core.intake.is_listening.wait()
            await play(driver, gateway, Stop(), lambda playing: shares.append(playing.reached))
            await until(is_judged)
            fires = [alarm for alarm in core.watch.book.alarms(OFFICER) if alarm.cls is AlarmClass.FIRE]
            counted = core.balances().store
            stop.set()
    assert shares[-1] == 1.0
    assert shares == sorted(shares)
    assert sum(balance.journalled for balance in counted) >= driver.produced == 480
    assert {(alarm.point, alarm.test) for alarm in fires} == {
        ("gw-1.heat-302", True),
        ("gw-1.smoke-302", True),
        ("/scenarios/dorm/dorm-3", True),
    }
