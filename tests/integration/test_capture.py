"""Traffic captured beside a running core, and played again through another one."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

from alerting.rulebook.file import default_rules
from fengsui.model import AlarmClass
from fengsui.runtime import Stop, wall_us
from fengsui.settings import Broker
from gateway.drivers.base import Pace
from simulators import playback
from simulators.capture import Capture
from simulators.scenario import load
from simulators.stage import ScenarioDriver, play, registered
from tests import coring
from tests.ledger.station import REPOSITORY, python
from tests.servers import mosquitto
from tests.waiting import until

SPEED = 60.0


async def capture(data: Path, file: Path, *more: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, beside the core in this one."""
    command = python("fengsui", "capture", "--data", str(data), "--to", str(file), *more)
    return await asyncio.to_thread(
        subprocess.run, command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60
    )


def entries_of(file: Path) -> list[tuple[str, bytes]]:
    """Who said what."""
    return [(entry.gateway, entry.record) for entry in Capture(file).entries()]


async def test_what_was_captured_raises_the_same_fires_when_it_is_replayed(tmp_path: Path) -> None:
    """In virtual time and live, each fire of the day it was captured comes again, as a test."""
    script = load("fire-fast")
    file = tmp_path / "fire.capture"
    async with mosquitto(tmp_path / "broker") as process, asyncio.timeout(120):
        broker = Broker(port=process.port)
        async with coring.core(tmp_path / "one", broker, registered(script, "gw-1")) as core:
            driver = ScenarioDriver(script, 1, SPEED, Pace(wall_us, asyncio.sleep))
            following = asyncio.create_task(capture(tmp_path / "one" / "core", file, "--for", "10"))
            await until(file.exists)
            await play(driver, coring.gateway(tmp_path / "one", broker), Stop(), lambda _: None)
            followed = await following
            await coring.judged(core)
            whole = await capture(tmp_path / "one" / "core", tmp_path / "whole.capture")
            bounded = await capture(tmp_path / "one" / "core", tmp_path / "b", "--most-mb", "0.001")
            fires = {a.name for a in core.watch.book.alarms(coring.ADMIN) if a.cls is AlarmClass.FIRE}
            counted = sum(balance.journalled for balance in core.balances().store)
        assert followed.returncode == 0, followed.stderr
        assert entries_of(file) == entries_of(tmp_path / "whole.capture")
        assert "ended at 0.001 MB" in bounded.stderr
        assert 0 < len(entries_of(tmp_path / "b")) < len(entries_of(file))
        assert whole.returncode == 0, whole.stderr
        captured = Capture(tmp_path / "whole.capture")
        assert captured.end is not None
        assert (captured.end.readings, captured.end.missed) == (counted, 0)

        played = playback.play_back(captured, default_rules(), lambda _: None)
        raised = [told.change.alarm for told in played.told if told.change.what == "raised"]
        again = {alarm.name for alarm in raised if alarm.cls is AlarmClass.FIRE}
        assert again == fires != set()
        assert all(alarm.test for alarm in raised)

        rows = playback.registered(captured, "gw-1")
        async with coring.core(tmp_path / "two", broker, rows) as core:
            live = playback.CaptureDriver(captured, SPEED, Pace(wall_us, asyncio.sleep))
            await play(live, coring.gateway(tmp_path / "two", broker), Stop(), lambda _: None)
            await coring.judged(core)
            alarms = core.watch.book.alarms(coring.ADMIN)
            residue = core.balances().residue
    of_points = {alarm.name for alarm in alarms if alarm.cls is AlarmClass.FIRE and not alarm.points}
    assert of_points == {f"gw-1.{name}" for name in ("heat-302", "smoke-302")}
    assert all(alarm.test for alarm in alarms)
    assert live.produced == driver.produced
    assert residue == 0


async def test_a_capture_of_no_core_is_told(tmp_path: Path) -> None:
    """Who names a wrong folder reads what to do, and no file is made."""
    done = await capture(tmp_path / "nowhere", tmp_path / "c")
    assert done.returncode != 0
    assert "is not there; start the core once, or name its data directory" in done.stderr
    assert not (tmp_path / "c").exists()
