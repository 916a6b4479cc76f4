"""A real core in the test's own process, with a broker of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from fengsui.model import Lane
from fengsui.runtime import Stop
from fengsui.settings import Broker
from fengsui.viewer import Role, Viewer
from gateway.config import Settings as GatewaySettings
from gateway.config import SpoolSettings
from ingest.inventory import Row
from server.app import Core
from server.config import Embedded, JournalSettings, Settings
from tests.waiting import until

ADMIN = Viewer("0000", frozenset({Role.ADMIN}), None)


@asynccontextmanager
async def core(folder: Path, broker: Broker, rows: Sequence[Row]) -> AsyncIterator[Core]:
    """A core below ``folder`` that listens and knows these rows; stopped at the end."""
    settings = Settings(
        process="core",
        folder=folder / "core",
        socket=folder / "core.sock",
        broker=broker,
        journal=JournalSettings(folder=folder / "core" / "journal", quota_mb=16),
        store=Embedded(folder=folder / "series"),
    )
    opened = await Core.open(settings)
    await opened.registry.add(rows)
    stop = Stop()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(opened.run(stop))
        try:
            await opened.intake.is_listening.wait()
            yield opened
        finally:
            stop.set()


async def judged(core: Core) -> None:
    """Wait until detection has read all that is journalled."""
    await until(lambda: not core.journal.is_behind({lane: core.watch.cursor.at(lane) for lane in Lane}))


async def stored(core: Core) -> None:
    """Wait until the store has all that is journalled."""
    await until(lambda: not core.journal.is_behind(core.writer.cursor))


def gateway(folder: Path, broker: Broker) -> GatewaySettings:
    """Settings of ``gw-1`` below ``folder``."""
    return GatewaySettings(
        process="gateway",
        name="gw-1",
        broker=broker,
        spool=SpoolSettings(folder=folder / "spool", quota_mb=16),
        socket=folder / "gateway.sock",
    )
