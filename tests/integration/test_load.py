"""A fleet against a real core: records made by number, accounted for to the last one."""

from __future__ import annotations

import asyncio
import re
import subprocess
from pathlib import Path

from fengsui.model import Lane
from fengsui.runtime import Stop, wall_us
from fengsui.settings import Broker
from simulators.fleet import Member, Tally, Template, load, registered
from tests import coring
from tests.ledger.station import REPOSITORY, python
from tests.servers import mosquitto

GATEWAYS = ["load-000", "load-001", "load-002"]
POINTS = 250


def fleet(broker: Broker, template: Template, rate_per_s: float | None) -> list[Member]:
    """Three gateways."""
    return [
        Member(name, broker, template, spool=number + 1, rate_per_s=rate_per_s, phase=number / 3)
        for number, name in enumerate(GATEWAYS)
    ]


async def test_a_load_as_fast_as_it_can_ends_with_a_balance_without_residue(tmp_path: Path) -> None:
    """What was made is committed, counted alike at both ends, and stored; nothing is an alarm."""
    template = Template(points=POINTS, begin_us=wall_us(), period_us=1_000)
    told: list[Tally] = []
    async with mosquitto(tmp_path / "broker") as process:
        broker = Broker(port=process.port)
        members = fleet(broker, template, None)
        async with asyncio.timeout(60), coring.core(tmp_path, broker, registered(GATEWAYS, POINTS)) as core:
            tally = await load(members, 1.0, Stop(), told.append)
            await coring.stored(core)
            await coring.judged(core)
            balances = core.balances()
            alarms = core.watch.book.alarms(coring.ADMIN)
    assert tally.made == tally.committed > 100
    assert tally.waiting == 0
    assert told[-1].committed <= tally.committed
    assert balances.residue == 0
    assert sum(w.next - 1 for w in balances.wire if w.lane is Lane.TELEMETRY) == tally.made
    assert sum(s.stored for s in balances.store) == tally.readings
    assert tally.readings == sum(template.readings(member.tally.committed) for member in members)
    assert alarms == []


async def test_the_command_prints_the_balance_that_the_server_has(tmp_path: Path) -> None:
    """At a rate, the exit code is 0, the last line adds up, and the server counts the same records."""
    async with mosquitto(tmp_path / "broker") as process, asyncio.timeout(60):
        files = [settings_of(tmp_path, name, process.port) for name in GATEWAYS]
        broker = Broker(port=process.port)
        async with coring.core(tmp_path, broker, registered(GATEWAYS, POINTS)) as core:
            command = python("fengsui", "load", *files, "--points", "750", "--rate", "7500", "--for", "3")
            done = await asyncio.to_thread(
                subprocess.run, command, cwd=REPOSITORY, capture_output=True, text=True, timeout=50
            )
            balances = core.balances()
    assert done.returncode == 0, done.stderr
    found = re.search(r"records: (\d+) made.* = (\d+) committed \+ 0 waiting; ([\d,]+) readings", done.stderr)
    assert found is not None, done.stderr
    made, committed, readings = (int(text.replace(",", "")) for text in found.groups())
    assert made == committed == sum(w.next - 1 for w in balances.wire if w.lane is Lane.TELEMETRY)
    assert readings == sum(balance.journalled for balance in balances.store)
    assert 30 <= made <= 3 * 2 * 32
    assert balances.residue == 0


def settings_of(folder: Path, name: str, port: int) -> str:
    """A gateway's settings file for a broker that lets everybody in."""
    file = folder / f"{name}.toml"
    file.write_text(
        f'process = "gateway"\nname = "{name}"\nsocket = "gateway.sock"\n'
        f'[broker]\nport = {port}\n[spool]\nfolder = "spool"\n'
    )
    return str(file)


async def test_a_load_without_a_server_is_left_waiting(tmp_path: Path) -> None:
    """At a rate, records are made though nobody commits them, and the balance says so."""
    template = Template(points=POINTS, begin_us=wall_us(), period_us=20_000)
    async with mosquitto(tmp_path / "broker") as process, asyncio.timeout(30):
        members = fleet(Broker(port=process.port), template, 100.0)
        tally = await load(members, 1.0, Stop(), lambda _: None, drain_s=0.2)
    assert tally.committed == 0
    assert tally.waiting == tally.made >= 200
    assert 0 < tally.sent <= 3 * 4
