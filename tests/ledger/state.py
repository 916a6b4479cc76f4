"""The row about the state database: locked, out of room, gone."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from functools import partial
from pathlib import Path

from tests.ledger.run import Bell, Run, background
from tests.ledger.stack import Stack
from tests.powercut import Volume, power
from tests.waiting import until

BASE_RATE = 1_000.0
FIRES = 50
HURT_S, FULL_HURT_S = 3.0, 30.0

Heal = Callable[[], Awaitable[None]]


async def r73_state_database(run: Run) -> None:
    """The state database locked, out of room, gone: 50 fires each are shown, and recorded once it is back."""
    hurts = [_lock, _fill, _cut]
    async with power(run.folder / "disk") as volume, run.stack(state=volume.mount) as stack:
        bell = Bell()
        async with background(bell.listen(stack.core)):
            stack.station.order(rate=BASE_RATE)
            await stack.station.accepted(500)
            for cycle in range(run.cycles):
                hurt, fires = hurts[cycle % len(hurts)], FIRES * (cycle + 1)
                heal = await hurt(volume, stack)
                run.faults += 1
                stack.station.order(fires=fires)
                await stack.station.accepted(0, fires=fires)
                await until(partial(bell.has_rung, fires), 15, f"{fires} alarms are shown")
                run.expect(len(bell.recorded) == fires - FIRES, f"{hurt.__name__}: nothing is recorded")
                await asyncio.sleep(FULL_HURT_S if run.full else HURT_S)  # its length is the fault
                await heal()
                await until(partial(bell.has_told, fires), 30, f"{fires} alarms are recorded")
        worst = max(bell.delays_s(stack.station.ledger().fires))
        run.expect(worst <= 2, f"each alarm shown in {worst:.3f} s <= 2 s")
        run.judge(await stack.verdict())


async def _lock(volume: Volume, stack: Stack) -> Heal:
    lock = sqlite3.connect(stack.state, isolation_level=None)
    lock.execute("BEGIN IMMEDIATE")

    async def unlock() -> None:
        lock.close()

    return unlock


async def _fill(volume: Volume, stack: Stack) -> Heal:
    with closing(sqlite3.connect(stack.state)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # else there is room in the log
    filler = volume.mount / "filler"
    await asyncio.to_thread(_fill_up, filler)

    async def make_room() -> None:
        filler.unlink()

    return make_room


def _fill_up(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


async def _cut(volume: Volume, stack: Stack) -> Heal:
    await volume.cut()
    return volume.remount
