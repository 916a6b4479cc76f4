"""Decoded records as arrays: what detection and the series store both read from the journal.

The server's side of :mod:`fengsui.wire`; it needs numpy, so a gateway that only relays never imports it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fengsui.model import Event, Lane, Point

UNKNOWN_AGE = -1


class Position(NamedTuple):
    """Where a reader stands: every entry of ``lane`` up to and including ``n`` is behind it."""

    lane: Lane
    n: int


@dataclass(frozen=True, slots=True)
class GatewayEvent:
    """An event with what the server knows about it; ``point`` is None when nobody registered it."""

    gateway: str
    event: Event
    point: Point | None
    received_at_us: int
    age_ms: int
    """How long the gateway held it, ms; ``UNKNOWN_AGE`` reads as live."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Readings and events of consecutive journal entries of one lane; all arrays have shape (n,).

    Attributes:
        position: The last entry in this batch.
        point: int32, ``Point.index``.
        at_us: int64, measured at, us since 1970 UTC, gateway clock.
        value: float64, in the point's unit of measure; NaN = measured and invalid.
        quality: uint8, ``Quality``.
        received_at_us: int64, server clock.
        age_us: int64, how long the gateway held the record; ``UNKNOWN_AGE`` reads as live.
        events: In journal order.
    """

    position: Position
    point: NDArray[np.int32]
    at_us: NDArray[np.int64]
    value: NDArray[np.float64]
    quality: NDArray[np.uint8]
    received_at_us: NDArray[np.int64]
    age_us: NDArray[np.int64]
    events: list[GatewayEvent] = field(default_factory=list)

    @property
    def count(self) -> int:
        """Number of readings."""
        return len(self.value)
