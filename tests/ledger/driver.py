"""The driver of a gateway under test: offers readings that carry their identity, and writes the ledger.

It obeys an orders file, which the test replaces atomically while the gateway lives, dies and comes back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from fengsui.model import Description, Event, Reading, What
from gateway.drivers.base import MAX_BATCH, Sink
from tests.ledger.ledger import Book

WORKERS = 8
_ORDERS_EVERY_S = 0.05
_CATCH_UP_S = 1.0


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What the gateway shall offer; all counts are totals, so that a restart goes on where it was."""

    rate: float = 0.0
    """Readings per second; 0 pauses."""
    block: int = 20
    """Readings per call of ``accept``, at most 200."""
    readings: int = 1 << 31
    """Offer no number beyond this."""
    fires: int = 0
    """So many points ``a-0001`` .. shall have reported fire, one event each."""

    def write(self, path: Path) -> None:
        """Replace the orders file."""
        new = path.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(self))
        new.replace(path)


def fire_point(n: int) -> str:
    """Name of the nth point that reports a fire."""
    return f"a-{n:04d}"


class LedgerDriver:
    """Implements ``gateway.drivers.base.Driver``."""

    def __init__(self, book: Book, orders: Path) -> None:
        self.name = "ledger"
        self._book = book
        self._path = orders
        self._orders = Orders()
        self._due_s = time.monotonic()

    def describe(self) -> Sequence[Description]:
        """Nothing: the points are registered beforehand; the journal then counts readings and fires only."""
        return ()

    async def run(self, sink: Sink) -> None:
        """Obey until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._read_orders())
            tasks.create_task(self._offer_fires(sink))
            for _ in range(WORKERS):
                tasks.create_task(self._offer_readings(sink))

    async def _read_orders(self) -> None:
        while True:
            self._orders = msgspec.json.decode(self._path.read_bytes(), type=Orders)
            await asyncio.sleep(_ORDERS_EVERY_S)

    async def _offer_readings(self, sink: Sink) -> None:
        plan = self._book.ledger.plan
        names = plan.names()
        while True:
            orders = self._orders
            if orders.rate <= 0 or self._book.ledger.next > orders.readings:
                await asyncio.sleep(_ORDERS_EVERY_S)
                continue
            now_s = time.monotonic()
            self._due_s = max(self._due_s + orders.block / orders.rate, now_s - _CATCH_UP_S)
            if self._due_s > now_s:
                await asyncio.sleep(self._due_s - now_s)
            count = min(orders.block, MAX_BATCH, self._orders.readings + 1 - self._book.ledger.next)
            if count <= 0:
                continue
            newest_us = self._book.ledger.newest_us
            numbers, stamps = self._book.offer(
                count, max(time.time_ns() // 1000, newest_us + plan.spacing_us)
            )
            values = plan.values(numbers, stamps)
            rows = zip(plan.point(numbers).tolist(), stamps.tolist(), values.tolist(), strict=True)
            await sink.accept([Reading(names[point], at_us, value) for point, at_us, value in rows])
            self._book.accept(numbers)

    async def _offer_fires(self, sink: Sink) -> None:
        while True:
            fires = self._book.ledger.fires
            if self._orders.fires <= len(fires):
                await asyncio.sleep(_ORDERS_EVERY_S)
                continue
            point, at_us = fire_point(len(fires) + 1), time.time_ns() // 1000
            self._book.fire(point, at_us)
            await sink.accept([Event(point, at_us, What.FIRE)])
            self._book.sounded(point)
