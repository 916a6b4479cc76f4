"""The newest reading of every point, for who looks at it live. Arrays by ``Point.index``."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import numpy as np

from fengsui.batch import Batch

_LATENCIES = 4_096


class Latest(NamedTuple):
    """A point's newest reading; ``value`` None = measured and invalid."""

    at_us: int
    value: float | None
    quality: int
    received_at_us: int


class LatestReadings:
    """Keeps up with batches; several readings of a point in one batch leave the last."""

    def __init__(self) -> None:
        self._size = 0
        self._grow(1_024)
        self._latencies: deque[float] = deque(maxlen=_LATENCIES)

    def take(self, batch: Batch, now_us: int) -> None:
        """Enter a batch that detection has just read."""
        if not batch.count:
            return
        top = int(batch.point.max())
        if top >= self._size:
            self._grow(max(top + 1, 2 * self._size))
        newer = batch.at_us >= self._at_us[batch.point]
        point = batch.point[newer]
        self._at_us[point] = batch.at_us[newer]
        self._value[point] = batch.value[newer]
        self._quality[point] = batch.quality[newer]
        self._received_at_us[point] = batch.received_at_us[newer]
        self._latencies.append((now_us - int(batch.received_at_us[-1])) / 1000)

    def of(self, index: int) -> Latest | None:
        """The newest reading of a point, or None when there was none since this process began."""
        if index >= self._size or not self._at_us[index]:
            return None
        value = float(self._value[index])
        return Latest(
            int(self._at_us[index]),
            None if np.isnan(value) else value,
            int(self._quality[index]),
            int(self._received_at_us[index]),
        )

    def latency_ms(self) -> dict[str, float | None]:
        """From received to judged, of the last few thousand batches, ms."""
        if not self._latencies:
            return {"p50_ms": None, "p99_ms": None}
        p50, p99 = np.percentile(np.fromiter(self._latencies, np.float64), (50, 99))
        return {"p50_ms": round(float(p50), 2), "p99_ms": round(float(p99), 2)}

    def _grow(self, size: int) -> None:
        before = self._size
        self._size = size
        if not before:
            self._at_us = np.zeros(size, np.int64)
            self._value = np.full(size, np.nan)
            self._quality = np.zeros(size, np.uint8)
            self._received_at_us = np.zeros(size, np.int64)
            return
        more = size - before
        self._at_us = np.concatenate([self._at_us, np.zeros(more, np.int64)])
        self._value = np.concatenate([self._value, np.full(more, np.nan)])
        self._quality = np.concatenate([self._quality, np.zeros(more, np.uint8)])
        self._received_at_us = np.concatenate([self._received_at_us, np.zeros(more, np.int64)])
