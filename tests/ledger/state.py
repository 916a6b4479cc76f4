"""The row about the state database: locked, out of room, gone, hanging."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from tests.databases import family
from tests.ledger.run import Bell, Run
from tests.ledger.stack import Stack
from tests.powercut import Volume, power
from tests.waiting import background, until

BASE_RATE = 1_000.0
FIRES = 50
HURT_S, FULL_HURT_S = 3.0, 30.0

Heal = Callable[[], Awaitable[None]]
Hurt = Callable[[Stack], Awaitable[Heal]]


async def r73_state_database(run: Run) -> None:
    """The state database locked, out of room, gone: 50 fires each are shown, and recorded once it is back."""
    async with AsyncExitStack() as open_:
        hurts: list[Hurt]
        if run.state == "postgresql":
            stack = await open_.enter_async_context(run.stack())
            hurts = [_lock, _freeze, _kill]
        else:
            volume = await open_.enter_async_context(power(run.folder / "disk"))
            stack = await open_.enter_async_context(run.stack(state_volume=volume.mount))
            hurts = [_lock, partial(_fill, volume), partial(_cut, volume)]
        bell = Bell()
        async with background(bell.listen(stack.core)):
            stack.station.order(rate=BASE_RATE)
            await stack.station.accepted(500)
            for cycle in range(run.cycles):
                hurt, fires = hurts[cycle % len(hurts)], FIRES * (cycle + 1)
                heal = await hurt(stack)
                run.faults += 1
                stack.station.order(fires=fires)
                await stack.station.accepted(0, fires=fires)
                await until(partial(bell.has_rung, fires), 15, f"{fires} alarms are shown")
                run.expect(len(bell.recorded) == fires - FIRES, f"hurt {cycle + 1}: nothing is recorded")
                await asyncio.sleep(FULL_HURT_S if run.full else HURT_S)  # its length is the fault
                await heal()
                await until(partial(bell.has_told, fires), 30, f"{fires} alarms are recorded")
        worst = max(bell.delays_s(stack.station.ledger().fires))
        run.expect(worst <= 2, f"each alarm shown in {worst:.3f} s <= 2 s")
        run.judge(await stack.verdict())


async def _lock(stack: Stack) -> Heal:
    lock = stack.state.locked()
    await asyncio.to_thread(lock.__enter__)

    async def unlock() -> None:
        lock.__exit__(None, None, None)

    return unlock


async def _freeze(stack: Stack) -> Heal:
    assert stack.state_server is not None
    pids = family(stack.state_server.pid)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)

    async def thaw() -> None:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)

    return thaw


async def _kill(stack: Stack) -> Heal:
    assert stack.state_server is not None
    await stack.state_server.kill9()
    return stack.state_server.start


async def _fill(volume: Volume, stack: Stack) -> Heal:
    stack.state.query("PRAGMA wal_checkpoint(TRUNCATE)")  # else there is room in the log
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
