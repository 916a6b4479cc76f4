"""What a gateway costs the small board it runs on: 200 points once a second, relay only.

The real gateway process with its simulated driver, which is the only work beyond relaying; the core at the
other end stores everything, and the database counts the readings that the CPU is divided by.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from bench.backlog import Progress
from bench.figures import Figure, Result, Row
from bench.house import DATABASE, House, PointRow, count, house
from bench.processes import cpu_s, peak_rss_mb, written_bytes
from gateway.drivers.district import signals
from tests.ledger.station import REPOSITORY, python
from tests.servers import Process
from tests.waiting import until

GATEWAY = "edge"
WINDOW_S = 60.0
WINDOWS = 3
DAY_S = 86_400
_TIMEOUT_S = 60.0


async def measure(folder: Path, *, scale: float, tell: Progress) -> Result:
    """Three windows of a minute after the gateway has settled."""
    window_s = max(2.0, WINDOW_S * scale)
    points = [PointRow(GATEWAY, signal.name, signal.quantity, signal.uom) for signal in signals()]
    cpu: list[float] = []
    written: list[float] = []
    async with house(folder, points=points) as running:
        gateway = _gateway(running)
        try:
            await gateway.start()
            await until(lambda: _has(running, 3 * len(points)), _TIMEOUT_S, "readings come in", every_s=0.2)
            for _ in range(WINDOWS):
                before, begun_s = await _look(running, gateway), time.perf_counter()
                await asyncio.sleep(window_s)
                after, took_s = await _look(running, gateway), time.perf_counter() - begun_s
                readings = after[0] - before[0]
                expected = len(points) * took_s
                assert abs(readings - expected) <= 2 * len(points), f"{readings} readings, not {expected:.0f}"
                cpu.append((after[1] - before[1]) * 1000 / readings)
                written.append((after[2] - before[2]) / took_s * DAY_S / 1e9)
                tell(f"{readings} readings in {took_s:.0f} s: {cpu[-1]:.3f} CPU s per 1,000, "
                     f"{written[-1]:.2f} GB/day")  # fmt: skip
            rss_mb = peak_rss_mb(gateway.pid)
        finally:
            await gateway.stop()
    what = f"gateway, {len(points)} points x 1 Hz, relay only"
    return Result(
        [
            Row(
                key="gateway.rss_mb",
                what=f"{what}: peak memory (VmHWM)",
                unit="MB",
                figure=Figure([rss_mb]),
                most=60,
            ),
            Row(
                key="gateway.cpu_s_per_1000",
                what=f"{what}: CPU per 1,000 readings",
                unit="s",
                figure=Figure(cpu),
                most=0.25,
            ),
            Row(
                key="gateway.gb_per_day",
                what=f"{what}: written to flash",
                unit="GB/day",
                figure=Figure(written),
                most=2.0,
                stretch=0.6,
                bound_by="whole pages: a sync a second rewrites the last page of the log and of its metadata",
            ),
        ],
        {"window_s": window_s},
    )


async def _has(running: House, readings: int) -> bool:
    return await count(running.database.port, DATABASE) >= readings


async def _look(running: House, gateway: Process) -> tuple[int, float, int]:
    """Readings in the database, CPU seconds of the gateway, bytes it has written."""
    stored = await count(running.database.port, DATABASE)
    return stored, cpu_s(gateway.pid), written_bytes(gateway.pid)


def _gateway(running: House) -> Process:
    folder = running.folder / GATEWAY
    folder.mkdir()
    config = folder / "gateway.toml"
    config.write_text(
        f'process = "gateway"\nname = "{GATEWAY}"\nsocket = "{folder / "gateway.sock"}"\n'
        f'[spool]\nfolder = "{folder / "spool"}"\n{running.login_toml(GATEWAY)}'
        '[[drivers]]\nkind = "simulated"\nname = "district"\n'
    )
    command = python("fengsui", "gateway", "run", "--config", str(config))
    return Process("gateway", command, folder, cwd=REPOSITORY)
