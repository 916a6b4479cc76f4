"""Plays a recording: the intervals of the file, at a speed, as readings of one point per column."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import closing
from math import isfinite

from fengsui.model import Description, Quality, Reading
from fengsui.wire import MAX_STAMP_US
from gateway.drivers.base import MAX_BATCH, Pace, Sink
from gateway.drivers.config import Replay
from gateway.drivers.recording import Recording, RecordingError


class ReplayDriver:
    """Plays one recording once; ``run`` returns at the end of the file.

    Event time is the file's own axis: ``epoch_us + t_s``. Without a configured epoch the last row is stamped
    with the time at which it is played (for ``speed`` >= 1), so that no reading comes from the future. Rows
    that fall due while the spool was full are offered at once, in order.
    """

    def __init__(self, config: Replay, pace: Pace) -> None:
        """Open the recording.

        Raises:
            RecordingError: it cannot be read, or lacks a configured column.
        """
        self.name = config.name
        self.recording = Recording(config.file)
        self.columns = self.recording.choose(config.columns)
        self.produced = 0
        """Readings that the sink has accepted."""
        self.begin_us = 0
        """Event time of the first row, once ``run`` has got there."""
        self._config = config
        self._pace = pace

    def describe(self) -> Sequence[Description]:
        """One point per chosen column."""
        return [Description(name=c.point, quantity=c.quantity, unit=c.uom, text=c.text) for c in self.columns]

    async def run(self, sink: Sink) -> None:
        """Play the file to its end.

        Raises:
            RecordingError: a line cannot be read (found before the first row is played), or the configured
                epoch puts a row outside of what a stamp can hold.
        """
        first_s, last_s = await asyncio.to_thread(self.recording.span)
        begin_us = self.begin_us = self._begin_us(first_s, last_s)
        pace = self._pace.scaled(self._config.speed, begin_us)
        batch: list[Reading] = []
        with closing(self.recording.rows(self.columns)) as rows:
            for row in rows:
                at_us = begin_us + round((row.t_s - first_s) * 1e6)
                if not 0 <= at_us < MAX_STAMP_US:
                    raise RecordingError(f"{self.recording.file}: t = {row.t_s} s is no stamp; move epoch_us")
                if at_us > pace.now_us():
                    await self._offer(sink, batch)
                    await pace.wait_until(at_us)
                for column, value in zip(self.columns, row.values, strict=True):
                    if value is not None:
                        quality = Quality.GOOD if isfinite(value) else Quality.BAD
                        batch.append(Reading(column.point, at_us, value, quality))
                if len(batch) >= MAX_BATCH:
                    await self._offer(sink, batch)
        await self._offer(sink, batch)

    def _begin_us(self, first_s: float, last_s: float) -> int:
        """Event time of the first row."""
        if self._config.epoch_us is not None:
            return self._config.epoch_us + round(first_s * 1e6)
        ahead_s = (last_s - first_s) * max(0.0, 1 - 1 / self._config.speed)
        return self._pace.now_us() - round(ahead_s * 1e6)

    async def _offer(self, sink: Sink, batch: list[Reading]) -> None:
        for first in range(0, len(batch), MAX_BATCH):
            await sink.accept(batch[first : first + MAX_BATCH])
        self.produced += len(batch)
        batch.clear()
