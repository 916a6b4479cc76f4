"""The nemesis: a seeded schedule of faults, with a timeline that says what it did and when."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One way to hurt the system; ``inject`` must raise if it took no effect."""

    name: str
    inject: Callable[[], Awaitable[None]]
    heal: Callable[[], Awaitable[None]]


class Nemesis:
    """Draws a fault, waits, injects, waits, heals; the same seed gives the same draws.

    Attributes:
        faults: How many were injected.
        timeline: ``(seconds since the start, what)``.
    """

    def __init__(
        self,
        seed: int,
        faults: Sequence[Fault],
        *,
        up_s: tuple[float, float] = (0.3, 2.0),
        down_s: tuple[float, float] = (0.05, 0.5),
        tell: Callable[[str], None] = print,
    ) -> None:
        self.seed = seed
        self.faults = 0
        self.timeline: list[tuple[float, str]] = []
        self._choices = list(faults)
        self._random = random.Random(seed)
        self._up_s = up_s
        self._down_s = down_s
        self._tell = tell
        self._began = time.monotonic()

    def note(self, what: str) -> None:
        """Put something on the timeline."""
        at_s = time.monotonic() - self._began
        self.timeline.append((at_s, what))
        self._tell(f"nemesis {at_s:8.3f} s  {what}")

    async def run(self, cycles: int) -> None:
        """Inject and heal ``cycles`` faults, drawn from all that were given."""
        self._began = time.monotonic()
        self.note(f"seed {self.seed}, {cycles} cycles of {', '.join(f.name for f in self._choices)}")
        for cycle in range(1, cycles + 1):
            fault = self._random.choice(self._choices)
            await asyncio.sleep(self._random.uniform(*self._up_s))
            await fault.inject()
            self.faults += 1
            self.note(f"{cycle}: {fault.name}")
            await asyncio.sleep(self._random.uniform(*self._down_s))
            await fault.heal()
            self.note(f"{cycle}: healed")
