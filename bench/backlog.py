"""How fast a backlog of gateways reaches the series store, against a raw sender to the same database.

The backlog: records of 100 readings (one sweep of a gateway's 100 points) waiting at 20 gateways that speak
the real wire, drained through Mosquitto, the core's synced journal and its detection into InfluxDB. The raw
sender writes the same readings as bodies of 20,000 lines made beforehand, over two connections, and does
nothing else. Each run has databases of its own; the time ends when the last reading is in the database.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from bench.figures import Figure, Result, Row
from bench.house import DATABASE, PointRow, count, house
from bench.processes import CpuMeter, Share, limiting
from fengsui.model import Point, Quality
from ingest.store.base import Rows
from ingest.store.influx import MAX_ROWS_PER_REQUEST
from ingest.store.line import Lines
from simulators.fleet import Member, Tally, Template, run_fleet
from tests.servers import HOST, influxd

GATEWAYS = 20
POINTS = 100
RECORDS = 50_000
PERIOD_US = 1_000_000
CONNECTIONS = 2
RUNS = 3
_VALUES = 64
_TIMEOUT_S = 600.0

Progress = Callable[[str], None]


def value(seq: int) -> float:
    """What every point measures in its sweep number ``seq``."""
    return round(20.0 + 0.1 * (seq % _VALUES), 1)


def sweeps_from(begin_us: int) -> Template:
    """Records of one gateway whose values change from sweep to sweep, 20.0 to 26.3 C."""
    values = [value(sweep + 1) for sweep in range(_VALUES)]
    return Template(
        points=POINTS, begin_us=begin_us, period_us=PERIOD_US, values=values, quality=Quality.GOOD
    )


def names() -> list[str]:
    """Names of the gateways."""
    return [f"g{i:02d}" for i in range(GATEWAYS)]


def points(gateways: list[str]) -> list[PointRow]:
    """Every point of these gateways, as a template names them."""
    return [PointRow(gateway, f"p{i:03d}") for gateway in gateways for i in range(POINTS)]


async def measure(folder: Path, *, scale: float, tell: Progress) -> Result:
    """Raw and whole chain by turns; the ratio of their medians."""
    sweeps = max(4, int(RECORDS * scale) // GATEWAYS)
    readings = sweeps * GATEWAYS * POINTS
    begin_us = time.time_ns() // 1000 - sweeps * PERIOD_US
    bodies = list(_bodies(sweeps, begin_us))
    raw: list[float] = []
    chain: list[float] = []
    shares: dict[str, Share] = {}
    for run in range(RUNS):
        raw.append(readings / await _send_raw(folder / f"raw-{run}", bodies, readings))
        tell(f"raw sender {raw[-1]:,.0f} lines/s")
        took_s, shares = await _drain(folder / f"chain-{run}", sweeps, begin_us, tell)
        chain.append(readings / took_s)
        tell(f"whole chain {chain[-1]:,.0f} readings/s, {chain[-1] / raw[-1]:.2f} of raw")
    ratio = Figure([whole / alone for whole, alone in zip(chain, raw, strict=True)])
    row = Row(
        key="stored_ratio_raw_influx",
        what=f"backlog of {readings:,} readings in records of {POINTS}: stored/s over the raw sender's",
        figure=ratio,
        least=0.5,
        stretch=0.8,
        bound_by=limiting(shares, os.cpu_count() or 1),
    )
    details = {
        "readings": readings,
        "stored_per_s": Figure(chain).as_json(),
        "raw_lines_per_s": Figure(raw).as_json(),
        "cpu_us_per_reading": {name: round(share.us_per_unit, 3) for name, share in shares.items()},
        "cores": {name: round(share.cores, 2) for name, share in shares.items()},
    }
    return Result([row], details)


def _bodies(sweeps: int, begin_us: int) -> Iterator[bytes]:
    """Requests of the raw sender: the readings of all gateways in the order of time."""
    gateways = names()
    registered = [
        Point(index=i, id=row.id, gateway=row.gateway, name=row.name, quantity=row.quantity, uom=row.uom)
        for i, row in enumerate(points(gateways))
    ]
    lines = Lines(_Registered(registered))
    n = len(registered)
    per_request = MAX_ROWS_PER_REQUEST // n
    for first in range(0, sweeps, per_request):
        chosen = np.arange(first, min(sweeps, first + per_request))
        values = np.array([value(seq + 1) for seq in chosen.tolist()])
        yield lines.encode(
            Rows(
                np.tile(np.arange(n, dtype=np.int32), len(chosen)),
                np.repeat(begin_us + chosen * PERIOD_US, n),
                np.repeat(values, n),
                np.zeros(n * len(chosen), np.uint8),
            )
        )


class _Registered:
    def __init__(self, registered: list[Point]) -> None:
        self.points = registered


async def _send_raw(folder: Path, bodies: list[bytes], readings: int) -> float:
    """Seconds for all bodies."""
    async with influxd(folder, database=DATABASE) as database:
        waiting = iter(bodies)

        async def connection() -> None:
            reader, writer = await asyncio.open_connection(HOST, database.port)
            for body in waiting:
                head = f"POST /write?db={DATABASE}&precision=u HTTP/1.1\r\nHost: {HOST}\r\n"
                writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode())
                writer.write(body)
                await writer.drain()
                answer = await reader.readuntil(b"\r\n\r\n")
                assert answer.startswith(b"HTTP/1.1 204"), answer
            writer.close()

        begun_s = time.perf_counter()
        await asyncio.gather(*(connection() for _ in range(CONNECTIONS)))
        took_s = time.perf_counter() - begun_s
        assert await count(database.port, DATABASE) == readings
        return took_s


async def _drain(folder: Path, sweeps: int, begin_us: int, tell: Progress) -> tuple[float, dict[str, Share]]:
    """Seconds until the database has everything, and what each process used meanwhile per reading."""
    gateways = names()
    readings = sweeps * GATEWAYS * POINTS
    async with house(folder, points=points(gateways)) as running:
        template = sweeps_from(begin_us)
        fleet = [
            Member(name, running.login(name), template, spool=1 + i, records=sweeps)
            for i, name in enumerate(gateways)
        ]
        pids = {
            "core": running.core.process.pid,
            "influxd": running.database.pid,
            "mosquitto": running.broker.pid,
            "load generator": os.getpid(),
        }
        meter = CpuMeter(pids)

        def told(tally: Tally) -> None:
            tell(f"committed {tally.committed * POINTS:,} of {readings:,}")

        meter.begin()
        begun_s = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(run_fleet(fleet, told))
            await running.wait_stored(readings, _TIMEOUT_S)
            took_s = time.perf_counter() - begun_s
        shares = meter.shares(readings, took_s)
        await running.check_nothing_lost(readings)
        return took_s, shares
