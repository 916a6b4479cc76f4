"""An intake on a journal of its own, for tests of what comes over the wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from fengsui.journal import Entry, Journal
from fengsui.model import Lane
from fengsui.settings import Broker
from fengsui.wire import Hello
from ingest.gateways import Gateways
from ingest.intake import Intake, Unnumbered
from tests.servers import Process

ALARM, TELEMETRY = Lane.ALARM, Lane.TELEMETRY


class Core:
    """An intake on a journal of its own, and everything it tells."""

    def __init__(self, port: int, folder: Path, *, window: int = 64) -> None:
        self.journal = Journal(folder, quota_bytes=1 << 26)
        self.gateways = Gateways(self.journal)
        self.aside: list[Unnumbered] = []
        self.hellos: list[tuple[str, Hello]] = []
        self.replies: list[tuple[str, bytes]] = []
        self.has_room = True
        self.intake = Intake(
            Broker(port=port),
            self.journal,
            self.gateways,
            make_room=self._make_room,
            set_aside=self._set_aside,
            on_hello=lambda gateway, hello: self.hellos.append((gateway, hello)),
            on_reply=lambda gateway, payload: self.replies.append((gateway, payload)),
            window=window,
        )

    async def _make_room(self, lane: Lane) -> bool:
        return self.has_room

    async def _set_aside(self, messages: list[Unnumbered]) -> None:
        self.aside += messages

    async def entries(self) -> list[Entry]:
        """Everything journalled, alarms first."""
        cursor = {ALARM: 0, TELEMETRY: 0}
        found: list[Entry] = []
        while self.journal.is_behind(cursor):
            batch = await self.journal.read(cursor, max_readings=10_000)
            cursor[batch[0].lane] = batch[-1].n
            found += batch
        return found


@asynccontextmanager
async def core(server: Process, folder: Path, *, window: int = 64) -> AsyncIterator[Core]:
    """A running intake that listens; what it did stays in ``folder``."""
    made = Core(server.port, folder / "journal", window=window)
    running = asyncio.create_task(made.intake.run())
    try:
        async with asyncio.timeout(10):
            await made.intake.is_listening.wait()
        yield made
    finally:
        running.cancel()
        await asyncio.wait([running])
        made.journal.close()
