"""A drill: a scenario live through a house of its own, where machines and link really fail, and a verdict.

Core and gateway are on a clock that runs ``speed`` times as fast as real time, so the oracle's seconds are
the scenario's, as in virtual time. What the network and the machines take stays real: at speed 60 a broker
that is away for a second is away for a minute of the scenario.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import NamedTuple

import msgspec
from sqlalchemy import Engine as Database
from sqlalchemy import select

from alerting.alarms.book import Change
from alerting.alarms.lifecycle import Alarm
from alerting.alarms.record import record_table
from fengsui.database import connect
from fengsui.runtime import Stop, Timepiece, wall_us
from gateway.app import Gateway
from gateway.drivers.base import Pace
from ingest.inventory import Row, Sort
from server.app import Core
from server.supervisor import Supervisor
from simulators import faults, house
from simulators.faultproxy import FaultProxy, MqttFaults
from simulators.house import HouseError, Tell, held_readings
from simulators.player import PlayClock
from simulators.scenario import GATEWAY, Script
from simulators.stage import ScenarioDriver, registered
from simulators.timeline import (
    BrokerKill,
    DiskFull,
    Duplicate,
    LinkCut,
    LinkFault,
    MachineFault,
    Reorder,
    Skew,
    SlowDatabase,
)
from simulators.watchroom import Told

DRAIN_S = 60.0
"""Real seconds after the scenario in which everything must be committed, stored, judged and recorded."""
SHUFFLED = 4
"""So many messages of a gateway are held back, at most as long as *reorder* says, and sent in disorder."""
_LOOK_EVERY_S = 0.05
_PROGRESS_EVERY_S = 0.5


class Suffered(NamedTuple):
    """A fault as it was: when, in scenario seconds, and what came of it."""

    word: str
    from_s: float
    until_s: float
    effect: str
    """What was seen of it; empty = nothing, so it proves nothing."""


class Report(NamedTuple):
    """What came of a drill; counts are readings."""

    told: list[Told]
    suffered: list[Suffered]
    produced: int
    stored: int
    waiting: int
    dead: int
    shed: int
    residue: int
    """Readings and records nobody can account for, over the whole way; must be 0."""


class _Drill:
    """One drill that runs."""

    def __init__(
        self,
        core: Core,
        gateway: Gateway,
        driver: ScenarioDriver,
        supervisor: Supervisor,
        disk: faults.SmallDisk,
        link: FaultProxy,
        clock: PlayClock,
    ) -> None:
        self.core = core
        self.gateway = gateway
        self.driver = driver
        self.supervisor = supervisor
        self.disk = disk
        self.link = link
        self.shape = MqttFaults()
        link.up.mqtt = self.shape  # from the beginning, so that it is cut into packets from the first byte on
        self.clock = clock
        self.suffered: list[Suffered] = []

    def now_s(self) -> float:
        """Scenario seconds; below 0 before its beginning."""
        return (self.clock.now_us() - self.driver.begin_us) / 1e6 if self.driver.begin_us else -1.0

    async def suffer(self, fault: MachineFault | LinkFault) -> None:
        """Wait until it is due, inject it, and heal it when it is over."""
        await self._wait(fault.at)
        begun_s = self.now_s()
        match fault:
            case BrokerKill():
                effect = await self._kill(fault)
            case SlowDatabase():
                effect = await self._slow_down(fault)
            case DiskFull():
                effect = await self._fill(fault)
            case LinkCut():
                effect = await self._cut(fault)
            case Duplicate():
                effect = await self._duplicate(fault)
            case Reorder():
                effect = await self._reorder(fault)
            case _:
                raise AssertionError(f"no way to inject {fault.word}")
        self.suffered.append(Suffered(fault.word, begun_s, self.now_s(), effect))

    async def _kill(self, fault: MachineFault) -> str:
        kills = await faults.keep_killed(self.supervisor, lambda: self.now_s() >= fault.until)
        return f"killed {kills} times" if kills > 1 else "killed once"

    async def _slow_down(self, fault: SlowDatabase) -> str:
        store = self.core.store
        assert isinstance(store, faults.SlowStore)
        before, store.delay_s = store.delayed, fault.by / self.clock.rate
        await self._wait(fault.until)
        store.delay_s = 0.0
        count = store.delayed - before
        return f"{count} writes took {fault.by:g} s longer" if count else ""

    async def _fill(self, fault: DiskFull) -> str:
        self.disk.fill(self.core.journal)
        refused_s = None
        try:
            while self.now_s() < fault.until:
                if refused_s is None and any(key.startswith("journal_") for key in self.core.intake.faults):
                    refused_s = self.now_s()
                await asyncio.sleep(_LOOK_EVERY_S)
        finally:
            self.disk.free(self.core.journal)
        return f"{self.disk.how} was full, the core noticed at {refused_s:.1f} s" if refused_s else ""

    async def _cut(self, fault: LinkCut) -> str:
        before, connections = self.link.counts["refused"], self.link.connections
        self.link.cut()
        await self._wait(fault.until)
        self.link.heal()
        refused = self.link.counts["refused"] - before
        return f"{connections} connections were reset, {refused} refused" if connections + refused else ""

    async def _duplicate(self, fault: Duplicate) -> str:
        before, self.shape.copies = self.link.counts["publish_copied"], 2
        await self._wait(fault.until)
        self.shape.copies = 1
        count = self.link.counts["publish_copied"] - before
        return f"{count} messages came twice" if count else ""

    async def _reorder(self, fault: Reorder) -> str:
        before, self.shape.reorder = self.link.counts["publish_reordered"], SHUFFLED
        self.shape.hold_s = fault.within / self.clock.rate
        await self._wait(fault.until)
        self.shape.reorder = 0
        count = self.link.counts["publish_reordered"] - before
        return f"{count} messages came in another order" if count else ""

    async def _wait(self, at_s: float) -> None:
        while True:  # the beginning is not known yet at first
            missing_s = at_s - self.now_s()
            if missing_s <= 0:
                return
            await asyncio.sleep(min(_PROGRESS_EVERY_S, max(0.001, missing_s / self.clock.rate)))


async def drill(
    script: Script, seed: int, speed: float, stop: Stop, tell: Tell, progress: Callable[[str], None]
) -> Report:
    """Play a scenario.

    Args:
        script: What happens, faults of machines and of the link included; *skew* is left out.
        seed: Chance of the scenario.
        speed: Times as fast as it happens.
        stop: Ends it early, without a verdict.
        tell: Called with each line that a person should read.
        progress: Called twice a second with how far it is.

    Raises:
        UsageError: The broker is not installed, or the folder for temporary files has too long a name.
        HouseError: The house did not come up, or it was stopped.
    """
    clock = PlayClock(wall_us())
    with house.folder() as folder, faults.small_disk(folder / "core" / "journal") as disk:
        async with asyncio.TaskGroup() as tasks, AsyncExitStack() as services:

            async def serve(task: str, main: Callable[[Stop], Awaitable[None]]) -> None:
                await services.enter_async_context(house.serving(tasks, task, main))

            supervisor, core_login, field_login = await house.start_broker(folder, GATEWAY, serve, tell)
            core = await Core.open(
                house.core_settings(folder, core_login, speed),
                clock=Timepiece(clock.now_us, clock.now_s),
                open_series=faults.SlowStore.opened,
            )
            link = await services.enter_async_context(FaultProxy(field_login.port, seed=seed))
            field_login = msgspec.structs.replace(field_login, port=link.port)
            await core.registry.add(_rows(script))
            await serve("drill.core", core.run)
            await house.wait_ready("core", core.intake.is_listening.is_set)
            clock.run_at(speed)
            pace = Pace(clock.now_us, lambda seconds: asyncio.sleep(seconds / speed))
            driver = ScenarioDriver(script, seed, 1.0, pace)
            gateway = Gateway(house.gateway_settings(folder, GATEWAY, field_login, speed), drivers=[driver])
            running = _Drill(core, gateway, driver, supervisor, disk, link, clock)
            await serve("drill.gateway", gateway.run)
            suffering = [
                tasks.create_task(running.suffer(each), name=f"drill.{each.word}")
                for each in script.scenario.timeline
                if isinstance(each, MachineFault | LinkFault) and not isinstance(each, Skew)
            ]
            try:
                await _until_over(running, float(script.scenario.length), suffering, stop, progress)
            finally:
                for task in suffering:
                    task.cancel()
            clock.run_at(1.0)
            if not await house.until(lambda: house.is_quiet(core, gateway), DRAIN_S):
                tell(f"not everything was committed, stored, judged and recorded within {DRAIN_S:g} s")
            return await _report(running, core.settings.database_url)


async def _until_over(
    running: _Drill,
    length_s: float,
    suffering: Sequence[asyncio.Task[None]],
    stop: Stop,
    progress: Callable[[str], None],
) -> None:
    """Wait for the end of the scenario and of its faults."""
    told_s = 0.0
    while running.now_s() < length_s or not all(task.done() for task in suffering):
        if stop.is_set():
            raise HouseError("stopped before the end of the scenario")
        if time.monotonic() - told_s >= _PROGRESS_EVERY_S:
            told_s = time.monotonic()
            progress(
                f"{max(0.0, running.now_s()):,.0f} of {length_s:,.0f} s, "
                f"{running.driver.produced:,} readings, "
                f"{running.core.watch.recorder.number} changes of alarms, "
                f"{len(running.suffered)} of {len(suffering)} faults over"
            )
        await asyncio.sleep(_LOOK_EVERY_S)


async def _report(running: _Drill, database: str) -> Report:
    core, produced = running.core, running.driver.produced
    balances = core.balances()
    (balance,) = [each for each in balances.store if each.gateway == GATEWAY]
    held = await asyncio.to_thread(held_readings, running.gateway.spool)
    stored = await core.store.count(None)
    dead, shed = sum(balance.dead.values()), sum(balance.shed.values())
    waiting = held + balance.waiting
    engine = connect(database)
    try:
        told = await asyncio.to_thread(_told, engine, running.driver.begin_us)
    finally:
        engine.dispose()
    return Report(
        told=told,
        suffered=sorted(running.suffered, key=lambda each: each.from_s),
        produced=produced,
        stored=stored,
        waiting=waiting,
        dead=dead,
        shed=shed,
        residue=balances.residue + abs(produced - stored - balance.duplicate - waiting - dead - shed),
    )


def _told(engine: Database, begin_us: int) -> list[Told]:
    """The alarm record, in scenario seconds."""
    with engine.connect() as connection:
        rows = connection.execute(select(record_table).order_by(record_table.c.number)).all()
    return [
        Told(
            (row.at_us - begin_us) / 1e6,
            Change(msgspec.json.decode(row.body, type=Alarm), row.what, row.actor, row.origin, row.at_us),
        )
        for row in rows
    ]


def _rows(script: Script) -> list[Row]:
    """The scenario's points under the ids that its oracle knows."""
    return [
        row._replace(fields=row.fields | {"id": row.fields["name"]}) if row.sort is Sort.POINT else row
        for row in registered(script, GATEWAY)
    ]
