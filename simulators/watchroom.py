"""The real detection engine and the real alarm book in virtual time; nobody acknowledges anything."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from alerting.alarms.book import Book, Change
from alerting.detect.engine import Engine
from alerting.detect.rules import RuleSet
from alerting.detect.verdict import Verdict
from alerting.watch import of_devices
from fengsui.batch import GatewayEvent
from fengsui.model import Point


class Told(NamedTuple):
    """A change in the alarm book, in virtual seconds from the beginning."""

    at_s: float
    change: Change


class Arrived(NamedTuple):
    """Readings as they arrive, in that order; arrays have shape (n,), as in ``Engine.update``."""

    point: NDArray[np.int32]
    at_us: NDArray[np.int64]
    value: NDArray[np.float64]
    quality: NDArray[np.uint8]
    received_at_us: NDArray[np.int64]
    age_us: NDArray[np.int64]


class Watchroom:
    """Judges what arrives, and lets time pass, as ``alerting/watch.py`` does.

    Args:
        rules: What to judge by.
        points: By index.
        begin_us: The beginning by the server's clock, us since 1970 UTC.

    Attributes:
        engine: To look at and not to touch.
        told: All that has happened to alarms.
        said: What the rules said, and when.
    """

    def __init__(self, rules: RuleSet, points: Sequence[Point], begin_us: int) -> None:
        self.engine, self._book = Engine(rules, points, now_s=0.0), Book(points, rules)
        self._points = points
        self._begin_us = begin_us
        self.told: list[Told] = []
        self.said: list[tuple[float, Verdict]] = []

    def seen(self, gateway: str, now_s: float, *, fresh: bool) -> None:
        """A hello of this gateway; ``fresh`` with the first one of a connection."""
        self.engine.gateway_seen(gateway, now_s=now_s, fresh=fresh)

    def take(self, now_s: float, arrived: Arrived, events: Sequence[GatewayEvent]) -> None:
        """Judge what has come until ``now_s``, then let time pass."""
        now_us = self._begin_us + round(now_s * 1e6)
        verdicts = self.engine.update(*arrived, now_s=now_s, events=of_devices(events, self._points))
        for event in events:
            self.engine.gateway_heard(event.gateway, now_s=now_s)
        changes = self._book.apply(verdicts, events, now_us=now_us, now_s=now_s)
        passed = self.engine.advance(now_s=now_s, now_us=now_us)
        changes += self._book.apply(passed, (), now_us=now_us, now_s=now_s)
        changes += self._book.advance(now_us=now_us, now_s=now_s)
        self.said += [(now_s, verdict) for verdict in (*verdicts, *passed)]
        self.told += [Told(now_s, change) for change in changes]
