"""A recording played on a clock of its own, with a stopwatch from the driver to the duty officer's desk."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from fengsui.model import Description, Event, Reading
from gateway.drivers.base import Pace, Sink
from gateway.drivers.config import Replay
from gateway.drivers.recording import Column
from gateway.drivers.replay import ReplayDriver


class PlayClock:
    """Time that runs ``rate`` times as fast as real time, and does not jump when the rate changes."""

    def __init__(self, now_us: int) -> None:
        self._us = now_us
        self._since_s = time.perf_counter()
        self.rate = 1.0

    def now_us(self) -> int:
        """Microseconds since 1970 UTC on this clock."""
        return self._us + round((time.perf_counter() - self._since_s) * 1e6 * self.rate)

    def now_s(self) -> float:
        """The same in seconds."""
        return self.now_us() / 1e6

    def run_at(self, rate: float) -> None:
        """Run at another rate from now on."""
        self._us, self._since_s, self.rate = self.now_us(), time.perf_counter(), rate


class Stopwatch:
    """Real milliseconds from the driver's hand to the WebSocket.

    The live view shows the newest reading of a point: one that was overtaken on the way by a newer one is
    stored and judged like any other, and has no time of its own here.
    """

    def __init__(self, points: Iterable[str]) -> None:
        self._offered: dict[str, deque[tuple[int, float]]] = {point: deque() for point in points}
        self.latencies_ms: list[float] = []

    def offered(self, items: Iterable[Reading | Event]) -> None:
        """The driver has these readings in hand now."""
        now_s = time.perf_counter()
        for item in items:
            if isinstance(item, Reading) and item.point in self._offered:
                self._offered[item.point].append((item.at_us, now_s))

    def arrived(self, point: str, at_us: int, arrived_s: float) -> None:
        """A reading came out at the other end at ``arrived_s`` of ``time.perf_counter``."""
        waiting = self._offered[point]
        while waiting and waiting[0][0] <= at_us:
            offered_at_us, offered_s = waiting.popleft()
            if offered_at_us == at_us:
                self.latencies_ms.append((arrived_s - offered_s) * 1000)

    def p99_ms(self) -> float | None:
        """The time that 99 of 100 readings kept; None when none arrived."""
        return round(float(np.percentile(self.latencies_ms, 99)), 1) if self.latencies_ms else None


class _Ended(Exception):
    """The time to play is over."""


class Player:
    """The replay driver, begun and ended on a word (a ``Driver``, and the ``Sink`` of the driver inside).

    Args:
        file: A recording.
        columns: What to play of it.
        clock: Runs at ``speed`` from the first row to the last, in real time before and after.
        speed: How many times as fast as it happened.
        stopwatch: Told when each reading is in the driver's hand.
    """

    name = "recording"

    def __init__(
        self, file: Path, columns: Sequence[Column], clock: PlayClock, speed: float, stopwatch: Stopwatch
    ) -> None:
        names = [column.name for column in columns]
        self._replay = ReplayDriver(
            Replay(name=self.name, file=file, columns=names), Pace(clock.now_us, self._sleep)
        )
        self._clock = clock
        self._speed = speed
        self._stopwatch = stopwatch
        self._sink: Sink
        self.begin = asyncio.Event()
        self.end = asyncio.Event()
        """Set it to stop between two rows."""
        self.ended = asyncio.Event()
        self.produced = 0
        """Readings that the gateway has accepted."""
        self.reached_us = 0
        """Event time of the newest reading offered; 0 before it."""
        self.behind_s = 0.0
        """Real seconds by which readings were offered after they were due, at worst."""

    @property
    def begin_us(self) -> int:
        """Event time of the first row; 0 before it."""
        return self._replay.begin_us

    def describe(self) -> Sequence[Description]:
        """The replay driver's points."""
        return self._replay.describe()

    async def run(self, sink: Sink) -> None:
        """Play once ``begin`` is set, until the file or the time is over."""
        await self.begin.wait()
        if self.ended.is_set():
            return  # begun again by the gateway after an error: half a file twice would prove nothing
        self._sink = sink
        try:
            await self._replay.run(self)
        except _Ended:
            pass
        finally:
            self._clock.run_at(1.0)
            self.ended.set()

    async def accept(self, items: Sequence[Reading | Event]) -> None:
        """Pass on what the replay driver offers."""
        stamps = [item.at_us for item in items if isinstance(item, Reading)]
        late_us = self._clock.now_us() - stamps[0]
        self.behind_s = max(self.behind_s, late_us / 1e6 / self._clock.rate)
        self._stopwatch.offered(items)
        await self._sink.accept(items)
        self.produced += len(items)
        self.reached_us = max(stamps)
        if self.end.is_set():
            raise _Ended

    async def _sleep(self, seconds: float) -> None:
        """Sleep so long on the clock, which begins to run fast when the second row is waited for."""
        if self._clock.rate != self._speed:
            self._clock.run_at(self._speed)
        try:
            async with asyncio.timeout(seconds / self._speed):
                await self.end.wait()
        except TimeoutError:
            return
        raise _Ended
