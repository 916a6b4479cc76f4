"""What can be made to fail in a house of one's own: each a way in, a way back, and a count that proves it."""

from __future__ import annotations

import asyncio
import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fengsui.journal import Journal
from ingest.store.base import Outcome, Registered, Rows
from ingest.store.embedded import EmbeddedStore
from server.config import Embedded, Influx
from server.supervisor import Supervisor
from simulators import house

SMALL_MB = 64
_BALLAST = "ballast"
_CHUNK = 1 << 20
_KILL_EVERY_S = 0.1


class SlowStore(EmbeddedStore):
    """The embedded store, as slow as it is told to be.

    Attributes:
        delay_s: Real seconds that a write takes longer.
        delayed: Writes that did.
    """

    delay_s = 0.0
    delayed = 0

    @classmethod
    def opened(cls, settings: Embedded | Influx, _registered: Registered) -> SlowStore:
        """As ``server.series.open_store``."""
        assert isinstance(settings, Embedded)
        return cls(settings.folder, retention_days=settings.retention_days)

    async def write(self, rows: Rows) -> Outcome:
        """Wait, then store."""
        if self.delay_s:
            self.delayed += 1
            await asyncio.sleep(self.delay_s)
        return await super().write(rows)


class SmallDisk:
    """The medium of a journal: a small filesystem where we may mount one, and otherwise its quota.

    Attributes:
        how: Which of both it is, in words.
    """

    def __init__(self, folder: Path, *, is_mounted: bool) -> None:
        self._ballast = folder / _BALLAST
        self._is_mounted = is_mounted
        self._quota_bytes = 0
        self.how = f"a filesystem of {SMALL_MB} MB" if is_mounted else "the journal's quota"

    def fill(self, journal: Journal) -> None:
        """Leave no room."""
        if not self._is_mounted:
            self._quota_bytes = journal.quota_bytes
            journal.limit(1)
            return
        with self._ballast.open("wb", buffering=0) as file:
            size = _CHUNK
            while size:
                try:
                    file.write(bytes(size))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    size //= 2

    def free(self, journal: Journal) -> None:
        """Give the room back."""
        if self._is_mounted:
            self._ballast.unlink()
        else:
            journal.limit(self._quota_bytes)


@contextmanager
def small_disk(folder: Path) -> Iterator[SmallDisk]:
    """Make ``folder``, a small filesystem of its own if this machine lets us mount one until the end."""
    folder.mkdir(parents=True)
    options = ("-t", "tmpfs", "-o", f"size={SMALL_MB}m,mode=700", "tmpfs")
    is_mounted = os.geteuid() == 0 and _done("mount", *options, str(folder))
    try:
        yield SmallDisk(folder, is_mounted=is_mounted)
    finally:
        if is_mounted and not _done("umount", str(folder)):
            _done("umount", "--lazy", str(folder))


async def keep_killed(supervisor: Supervisor, until: Callable[[], bool]) -> int:
    """Kill the broker, and again whenever it is back; how often it was."""
    kills = 0
    while not kills or not until():
        kills += supervisor.kill(house.BROKER)
        await asyncio.sleep(_KILL_EVERY_S)
    return kills


def _done(*command: str) -> bool:
    with suppress(OSError, subprocess.TimeoutExpired):
        return subprocess.run(command, capture_output=True, timeout=30).returncode == 0
    return False
