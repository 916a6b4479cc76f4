"""What a driver needs in a test: a sink that keeps what it is offered, and time that passes when it waits."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from fengsui.model import Event, Reading
from gateway.drivers.base import Pace

START_US = 1_700_000_000_000_000


class Kept:
    """A sink that accepts everything at once; ``calls`` keeps each call's items."""

    def __init__(self) -> None:
        self.calls: list[list[Reading | Event]] = []

    async def accept(self, items: Sequence[Reading | Event]) -> None:
        """Keep the items."""
        self.calls.append(list(items))

    @property
    def readings(self) -> list[Reading]:
        """Every reading so far, in order."""
        return [item for call in self.calls for item in call if isinstance(item, Reading)]

    @property
    def events(self) -> list[Event]:
        """Every event so far, in order."""
        return [item for call in self.calls for item in call if isinstance(item, Event)]


class FreeTime:
    """A clock that stands still until somebody waits, and then is there at once."""

    def __init__(self, now_us: int = START_US) -> None:
        self.now_us = now_us

    @property
    def pace(self) -> Pace:
        """This clock as drivers want it."""
        return Pace(now_us=lambda: self.now_us, sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.now_us += round(seconds * 1e6)
        await asyncio.sleep(0)
