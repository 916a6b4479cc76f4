"""How long the core is away when it is killed: 1,000 readings a second coming in, 1 GB waiting for the store.

The series store is dead and the journal filled until 1 GB waits for it. Then the core is killed (SIGKILL) and
started again at once. It is back when it has committed records beyond what any gateway had heard of before.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from bench.backlog import Progress
from bench.figures import Figure, Result, Row
from bench.house import House, PointRow, house
from fengsui.model import Lane, Quality
from simulators.fleet import Member, Tally, Template, run_fleet
from tests.waiting import until

BASE = 10
BASE_POINTS = 100
BASE_HZ = 1.0
FILLERS = 10
FILLER_POINTS = 1_000
BACKLOG_BYTES = 1 << 30
KILLS = 3
_RECORD_BYTES = 19_000
"""Of a filler's record, roughly."""
_QUOTA_MB = 4_096
_TIMEOUT_S = 600.0
_BETWEEN_S = 5.0


async def measure(folder: Path, *, scale: float, tell: Progress) -> Result:
    """Three kills."""
    backlog = max(20 << 20, int(BACKLOG_BYTES * scale))
    base = [f"b{i:02d}" for i in range(BASE)]
    fillers = [f"f{i:02d}" for i in range(FILLERS)]
    points = [PointRow(name, f"p{i:03d}") for name in base for i in range(BASE_POINTS)]
    points += [PointRow(name, f"p{i:03d}") for name in fillers for i in range(FILLER_POINTS)]
    took: list[float] = []
    async with house(folder, points=points, quota_mb=_QUOTA_MB) as running:
        await running.database.kill9()
        await _fill(running, fillers, backlog, tell)
        members = [_member(running, name, BASE_POINTS, 1 << 40, BASE_HZ, i) for i, name in enumerate(base)]
        async with asyncio.TaskGroup() as tasks:
            load = tasks.create_task(run_fleet(members))
            await until(lambda: all(m.tally.committed > 2 for m in members), 60, "the base load is committed")
            if scale == 1:
                await _snapshot_taken(running)
            for _ in range(KILLS):
                took.append(await _kill(running, members))
                tell(f"consuming again after {took[-1]:.2f} s")
                await asyncio.sleep(_BETWEEN_S)
            load.cancel()
        waiting = _journal_bytes(running)
        assert waiting >= backlog, f"only {waiting:,} bytes wait for the store"
        status = await running.status()
        for row in [*status["gateways"], *status["store_balance"]]:
            assert row["residue"] == 0, f"residue: {row}"
    row = Row(
        key="restart_s",
        what=f"core killed at 1,000 readings/s, {backlog / 1e9:.2f} GB behind in the store: until it commits",
        unit="s",
        figure=Figure(took),
        most=5.0,
    )
    return Result([row], {"backlog_bytes": waiting})


async def _kill(running: House, members: list[Member]) -> float:
    """Seconds from SIGKILL to the first record committed by the new process."""
    core = running.core.process
    await core.kill9()
    begun_s = time.perf_counter()
    committed = [member.tally.committed for member in members]
    core.spawn()
    await until(
        lambda: any(m.tally.committed > before for m, before in zip(members, committed, strict=True)),
        _TIMEOUT_S,
        "the core commits again",
        every_s=0.005,
    )
    took_s = time.perf_counter() - begun_s
    await core.wait_ready(60)
    return took_s


async def _fill(running: House, fillers: list[str], backlog: int, tell: Progress) -> None:
    """Let the journal grow by ``backlog`` bytes that the store does not take."""
    records = backlog // (_RECORD_BYTES * len(fillers)) + 1
    members = [_member(running, name, FILLER_POINTS, records, None, i) for i, name in enumerate(fillers)]

    def told(tally: Tally) -> None:
        tell(f"{_journal_bytes(running) / 1e6:,.0f} MB wait for the store, {tally.committed:,} records")

    await run_fleet(members, told)


def _member(
    running: House, name: str, points: int, records: int, rate_per_s: float | None, number: int
) -> Member:
    template = Template(
        points=points,
        begin_us=time.time_ns() // 1000,
        period_us=1_000_000,
        values=[21.5],
        quality=Quality.GOOD,
        per_record=points,
    )
    login = running.login(name)
    return Member(name, login, template, spool=1 + number, records=records, rate_per_s=rate_per_s)


async def _snapshot_taken(running: House) -> None:
    """Wait until detection has read everything and a snapshot of that is kept, as in a long outage."""

    async def caught_up() -> bool:
        journal = (await running.status())["server"]["journal"]
        return bool(journal["end"][Lane.TELEMETRY] - journal["detected"][Lane.TELEMETRY] < 100)

    await until(caught_up, _TIMEOUT_S, "detection is at the end of the journal", every_s=0.2)
    folder, since_s = running.folder / "core" / "snapshots", time.time()
    await until(
        lambda: any(file.stat().st_mtime > since_s for file in folder.iterdir()),
        _TIMEOUT_S,
        "a snapshot of detection",
        every_s=0.2,
    )


def _journal_bytes(running: House) -> int:
    return sum(file.stat().st_size for file in (running.folder / "core" / "journal").rglob("*.log"))
