"""From the sample at a gateway's driver to the message at a WebSocket client of the console.

One gateway makes urgent and ordinary readings (``bench.station``); as many pages as it takes watch all its
points. Three times: nothing else going on; the series store killed; and with 100,000 telemetry records
waiting in the same gateway's spool, sampled for as long as any of them waits.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Literal

import msgspec
from websockets.asyncio.client import ClientConnection, connect

from bench.backlog import Progress
from bench.figures import Figure, Result, Row, percentile
from bench.house import House, PointRow, house
from bench.processes import CpuMeter, Share, limiting
from bench.station import LIMIT_C, ORDINARY, URGENT
from console.live import WATCHED
from fengsui.errors import UsageError
from fengsui.hold import HoldClock
from fengsui.model import Clock, Kind, Lane, Reading
from fengsui.runtime import wall_us
from fengsui.spool import Item, Spool
from fengsui.wire import encode_readings
from gateway import verb
from tests.ledger.station import REPOSITORY, python
from tests.servers import Process
from tests.waiting import until

GATEWAY = "station"
SAMPLES = 500
QUEUED = 100_000
IN_A_RECORD = 10
IDLE_MS = 250.0
_TIMEOUT_S = 180.0
_AT_ONCE = 2_000

Sort = Literal["urgent", "ordinary", "alarm"]


class _ToldAlarm(msgspec.Struct):
    version: int
    measured_at_us: int


class _Told(msgspec.Struct):
    """As much of a message to a page as is measured."""

    do: str
    rows: list[tuple[str, int, float | None, int, int]] = []
    alarm: _ToldAlarm | None = None


class Pages:
    """Open pages that together watch every point, and what they have seen since ``begin``."""

    def __init__(self) -> None:
        self.samples: dict[Sort, list[float]] = {}
        self.to_core: list[float] = []
        """Of the urgent samples, what passed until the core had received them, ms."""
        self.since_us = 0
        self.begin()

    def begin(self) -> None:
        """Forget what was seen; only what is measured from now on counts."""
        self.samples = {"urgent": [], "ordinary": [], "alarm": []}
        self.to_core = []
        self.since_us = wall_us()

    async def look(self, page: ClientConnection, *, is_first: bool) -> None:
        """Take what comes to one page until it is closed."""
        decoder = msgspec.json.Decoder(_Told)
        async for text in page:
            now_us = time.time_ns() // 1000
            told = decoder.decode(text)
            if told.do == "readings":
                for point, at_us, _, _, received_at_us in told.rows:
                    is_urgent = point.startswith(f"{GATEWAY}-u")
                    self._take("urgent" if is_urgent else "ordinary", at_us, now_us)
                    if is_urgent and at_us >= self.since_us:
                        self.to_core.append((received_at_us - at_us) / 1000)
            elif is_first and told.alarm is not None and told.alarm.version == 1:
                self._take("alarm", told.alarm.measured_at_us, now_us)

    def _take(self, sort: Sort, at_us: int, now_us: int) -> None:
        if at_us >= self.since_us:
            self.samples[sort].append((now_us - at_us) / 1000)


async def measure(folder: Path, *, scale: float, tell: Progress) -> Result:
    """All three, and what the row about the live view asks of ordinary readings."""
    samples = max(20, int(SAMPLES * scale))
    queued = max(5_000, int(QUEUED * scale))  # fewer are gone before anything is measured
    names = [*URGENT, *ORDINARY, *_queued_names()]
    points = [PointRow(GATEWAY, name) for name in names]
    async with house(folder, points=points, with_console=True) as running, _open_pages(running) as pages:
        station = _station(running)
        try:
            await station.start()
            await _collect(pages, "alarm", len(URGENT), tell)
            alarms = pages.samples["alarm"]
            idle, ordinary = await _idle(pages, samples, tell)
            await running.database.kill9()
            dead = await _collect(pages, "urgent", samples, tell, "series store dead")
            await running.database.start()
            backlog: list[float] = []
            to_core: list[float] = []
            drains: list[dict[str, Share]] = []
            while len(backlog) < samples:
                await station.stop()
                _fill_spool(running, queued)
                pages.begin()
                await station.start()
                await until(lambda: pages.samples["urgent"], _TIMEOUT_S, "the gateway is connected")
                pages.begin()
                meter = CpuMeter(_pids(running, station))
                meter.begin()
                begun_s = time.perf_counter()
                backlog += await _while_queued(pages, station, running, tell)
                drains.append(meter.shares(queued, time.perf_counter() - begun_s))
                to_core += pages.to_core
            await station.stop()
            await _settle(running)
        finally:
            await station.stop()
    return _result(idle, ordinary, dead, backlog, alarms, queued, _bound(drains, to_core))


def _result(
    idle: list[float],
    ordinary: list[float],
    dead: list[float],
    backlog: list[float],
    alarms: list[float],
    queued: int,
    bound: str,
) -> Result:
    quiet_ms = percentile(idle, 0.99)
    close = 1.2 * quiet_ms + 5
    what = "sample at the driver to message at a WebSocket client, p99"
    rows = [
        Row(
            key="ws_p99_ms.idle",
            what=f"{what}: urgent",
            unit="ms",
            figure=_p99(idle),
            most=IDLE_MS,
            stretch=50,
        ),
        Row(
            key="ws_p99_ms.ordinary",
            what=f"{what}: ordinary readings, grouped",
            unit="ms",
            figure=_p99(ordinary),
            most=IDLE_MS,
            stretch=50,
            bound_by="the gateway stores telemetry at most every 0.2 s, to spare its flash",
        ),
        Row(
            key="ws_p99_ms.db_dead",
            what=f"{what}: urgent, series store dead",
            unit="ms",
            figure=_p99(dead),
            most=close,
        ),
        Row(
            key="ws_p99_ms.backlog",
            what=f"{what}: urgent, {queued:,} telemetry records queued",
            unit="ms",
            figure=_p99(backlog),
            most=close,
            bound_by=bound,
        ),
        Row(
            key="ws_p99_ms.alarm",
            what="sample that raises an alarm to that alarm on the page, p99",
            unit="ms",
            figure=_p99(alarms),
        ),
    ]
    sets = {"idle": idle, "ordinary": ordinary, "db_dead": dead, "backlog": backlog, "alarm": alarms}
    return Result(
        rows, {"samples_ms": {name: [round(ms, 2) for ms in found] for name, found in sets.items()}}
    )


def _pids(running: House, station: Process) -> dict[str, int]:
    assert running.console is not None
    return {
        "core": running.core.process.pid,
        "influxd": running.database.pid,
        "mosquitto": running.broker.pid,
        "console": running.console.pid,
        "gateway": station.pid,
        "pages": os.getpid(),
    }


def _bound(drains: Sequence[Mapping[str, Share]], to_core: Sequence[float]) -> str:
    """Who was busy while the queue drained, on average of the times it did, and how far the way is shared."""
    shares = {
        name: Share(
            *(sum(parts) / len(drains) for parts in zip(*(drain[name] for drain in drains), strict=True))
        )
        for name in drains[0]
    }
    return f"{limiting(shares, os.cpu_count() or 1)}; to the core p99 {percentile(to_core, 0.99):.1f} ms"


def _p99(samples: Sequence[float]) -> Figure:
    """The p99 of all, and as spread that of three equal parts in the order of time."""
    third = max(1, len(samples) // 3)
    parts = [percentile(samples[at : at + third], 0.99) for at in (0, third, 2 * third)]
    return Figure([percentile(samples, 0.99)], spread=parts)


async def _idle(pages: Pages, samples: int, tell: Progress) -> tuple[list[float], list[float]]:
    pages.begin()
    await _reach(pages, "ordinary", samples, tell, "idle")
    await _reach(pages, "urgent", samples, tell, "idle")
    return pages.samples["urgent"], pages.samples["ordinary"]


async def _collect(
    pages: Pages, sort: Sort, samples: int, tell: Progress, phase: str = "the first crossings"
) -> list[float]:
    pages.begin()
    await _reach(pages, sort, samples, tell, phase)
    return pages.samples[sort]


async def _reach(pages: Pages, sort: Sort, samples: int, tell: Progress, phase: str) -> None:
    await until(lambda: len(pages.samples[sort]) >= samples, _TIMEOUT_S, f"{samples} {sort} samples")
    tell(f"{phase}: {_in_words(sort, pages.samples[sort])}")


def _in_words(sort: Sort, found: Sequence[float]) -> str:
    p50_ms, p99_ms = percentile(found, 0.5), percentile(found, 0.99)
    return f"{len(found)} {sort} samples, p50 {p50_ms:.1f} ms, p99 {p99_ms:.1f} ms"


async def _while_queued(pages: Pages, station: Process, running: House, tell: Progress) -> list[float]:
    """Urgent samples taken while telemetry waits in the gateway."""
    folder = running.folder / GATEWAY
    begun_s = time.perf_counter()

    async def drained() -> bool:
        status = await asyncio.to_thread(verb.ask, folder / "gateway.sock")
        lane = status["hello"]["lanes"][Lane.TELEMETRY]
        waiting = int(lane["next"]) - 1 - max(int(status["upto"][Lane.TELEMETRY]), int(lane["first"]) - 1)
        return waiting < 2 * _AT_ONCE // IN_A_RECORD

    await until(drained, _TIMEOUT_S, "the queue has gone", every_s=0.25)
    found = list(pages.samples["urgent"])
    assert found, "the queue had gone before anything was measured"
    tell(f"queue gone after {time.perf_counter() - begun_s:.1f} s: {_in_words('urgent', found)}")
    return found


async def _settle(running: House) -> None:
    """Everything that was committed is in the database, nothing is unaccounted for."""

    async def done() -> bool:
        status = await running.status()
        return all(balance["waiting"] == 0 for balance in status["store_balance"])

    await until(done, _TIMEOUT_S, "the store has everything", every_s=0.2)
    await running.check_nothing_lost(await running.journalled())


def _station(running: House) -> Process:
    folder = running.folder / GATEWAY
    folder.mkdir(parents=True)
    config = folder / "gateway.toml"
    limits = "".join(f"[points.{name}]\nurgent_above = {LIMIT_C}\n" for name in URGENT)
    config.write_text(
        f'process = "gateway"\nname = "{GATEWAY}"\nsocket = "{folder / "gateway.sock"}"\n'
        f'[spool]\nfolder = "{folder / "spool"}"\n{running.login_toml(GATEWAY)}{limits}'
    )

    async def answers() -> bool:
        try:
            await asyncio.to_thread(verb.ask, folder / "gateway.sock")
        except UsageError:
            return False
        return True

    command = python("bench.station", "--config", str(config))
    return Process("gateway", command, folder, cwd=REPOSITORY, ready=answers)


def _fill_spool(running: House, records: int) -> None:
    """Let so many telemetry records wait in the gateway's spool, as after a long time without a link."""
    spool = Spool(running.folder / GATEWAY / "spool", quota_bytes=512 << 20, now=HoldClock().now)
    begin_us = wall_us() - records * 1_000_000
    try:
        for first in range(0, records, _AT_ONCE):
            numbers = range(first, min(records, first + _AT_ONCE))
            spool.store(Lane.TELEMETRY, [_queued_record(begin_us + n * 1_000_000) for n in numbers])
    finally:
        spool.close()


def _queued_names() -> list[str]:
    return [f"q{i}" for i in range(IN_A_RECORD)]


def _queued_record(at_us: int) -> Item:
    readings = [Reading(name, at_us, 22.0) for name in _queued_names()]
    return Item(Kind.READINGS, encode_readings(readings, Clock.SYNCED), IN_A_RECORD)


@asynccontextmanager
async def _open_pages(running: House) -> AsyncIterator[Pages]:
    ids = [f"{GATEWAY}-{name}" for name in [*URGENT, *ORDINARY]]
    pages = Pages()
    async with AsyncExitStack() as open_, asyncio.TaskGroup() as tasks:
        address, headers = await open_.enter_async_context(running.person())
        looking = []
        for at in range(0, len(ids), WATCHED):
            page = await open_.enter_async_context(
                connect(address, additional_headers=headers, max_size=None)
            )
            await page.send(msgspec.json.encode({"do": "watch", "points": ids[at : at + WATCHED]}).decode())
            looking.append(tasks.create_task(pages.look(page, is_first=at == 0)))
        try:
            yield pages
        finally:
            for task in looking:
                task.cancel()
