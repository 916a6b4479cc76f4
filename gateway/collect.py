"""From drivers into the spool: which lane, which record, and *accepted* only when it is synced.

Events and *urgent* readings go to the alarm lane, a record each, at once. Telemetry is grouped: a group
closes when it holds 200 readings, or when ``group_s`` has passed since the last one was stored, so that a
lone sweep is not held up and a stream costs at most one sync per ``group_s``. A group never spans a change of
clock state, a step of the wall clock or more than a record can span.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from math import isinf
from typing import NamedTuple

import msgspec

from fengsui.hold import Stamp
from fengsui.model import Clock, Event, Kind, Lane, Reading
from fengsui.spool import Item, Spool, SpoolFull
from fengsui.wire import MAX_BODY, MAX_SPAN_US, encode_body, encode_readings

GROUP_READINGS = 200
URGENT_EVERY_S = 5.0
WALL_STEP_MS = 500
_QUEUE_ITEMS = 20_000
_STAMPS_KEPT = 4
_FULL_PAUSE_S = 0.5
_MOST_RAW = 32 * 1024
_MOST_TEXT = 1_000


class Urgent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits of a point beyond which its readings take the alarm lane, in the point's unit of measure."""

    urgent_above: float | None = None
    urgent_below: float | None = None

    def holds(self, value: float) -> bool:
        """Is this value beyond a limit?"""
        above, below = self.urgent_above, self.urgent_below
        return (above is not None and value >= above) or (below is not None and value <= below)


class _Offered(NamedTuple):
    item: Reading | Event
    clock: Clock
    stamp: Stamp
    done: asyncio.Future[None]


class Collector:
    """Takes what drivers read and returns when the spool has synced it (implements ``Sink``).

    Args:
        spool: Where it goes.
        urgent: Limits by point name.
        now: The holding clock.
        stored: Told which lane has something new.
        group_s: At most one telemetry sync in this time, seconds.
    """

    def __init__(
        self,
        spool: Spool,
        *,
        urgent: dict[str, Urgent],
        now: Callable[[], Stamp],
        stored: Callable[[Lane], None],
        group_s: float = 0.2,
    ) -> None:
        self._spool = spool
        self._urgent = urgent
        self._now = now
        self._stored = stored
        self._group_s = group_s
        self._queues: dict[Lane, deque[_Offered]] = {lane: deque() for lane in Lane}
        self._grown = {lane: asyncio.Event() for lane in Lane}
        self._shrunk = asyncio.Event()
        self._urgent_at_ms: dict[str, int] = {}
        self._stamps: dict[str, deque[int]] = {}
        self.accepted = 0
        self.infinite = 0
        self.full: set[Lane] = set()

    async def accept(self, items: Sequence[Reading | Event]) -> None:
        """Take readings and events over; they are on the medium when this returns."""
        loop = asyncio.get_running_loop()
        futures = []
        for item in items:
            lane = self._lane_of(item)
            while len(self._queues[lane]) >= _QUEUE_ITEMS:
                self._shrunk.clear()
                await self._shrunk.wait()
            if isinstance(item, Reading) and isinf(item.value):
                self.infinite += 1
            stamp = self._now()
            future: asyncio.Future[None] = loop.create_future()
            self._queues[lane].append(_Offered(self._unique(item), stamp.clock, stamp, future))
            self._grown[lane].set()
            futures.append(future)
        for future in futures:
            await future
        self.accepted += len(items)

    async def run(self) -> None:
        """Store until cancelled.

        Raises:
            LogFailed: The medium failed; the process must stop and start again.
        """
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._store_alarms(), name="collect.alarm")
            tasks.create_task(self._store_telemetry(), name="collect.telemetry")

    async def _store_alarms(self) -> None:
        while True:
            offered = await self._take(Lane.ALARM, GROUP_READINGS)
            await self._store(Lane.ALARM, [([o], _item([o])) for o in offered])

    async def _store_telemetry(self) -> None:
        loop = asyncio.get_running_loop()
        stored_at = loop.time() - self._group_s
        while True:
            await self._wait(Lane.TELEMETRY)
            pause = stored_at + self._group_s - loop.time()
            while pause > 0 and len(self._queues[Lane.TELEMETRY]) < GROUP_READINGS:
                self._grown[Lane.TELEMETRY].clear()
                try:
                    async with asyncio.timeout(pause):
                        await self._grown[Lane.TELEMETRY].wait()
                except TimeoutError:
                    break
                pause = stored_at + self._group_s - loop.time()
            offered = await self._take(Lane.TELEMETRY, 20 * GROUP_READINGS)
            stored_at = loop.time()
            await self._store(Lane.TELEMETRY, [(group, _item(group)) for group in _groups(offered)])

    async def _wait(self, lane: Lane) -> None:
        while not self._queues[lane]:
            self._grown[lane].clear()
            await self._grown[lane].wait()

    async def _take(self, lane: Lane, most: int) -> list[_Offered]:
        await self._wait(lane)
        queue = self._queues[lane]
        offered = [queue.popleft() for _ in range(min(most, len(queue)))]
        self._shrunk.set()
        return offered

    async def store(self, lane: Lane, items: Sequence[Item]) -> None:
        """Put records into the spool, waiting for room as long as it takes."""
        while True:
            try:
                await asyncio.to_thread(self._spool.store, lane, items)
                break
            except SpoolFull:  # nothing may be shed: the drivers wait, and a person is told
                self.full.add(lane)
                await asyncio.sleep(_FULL_PAUSE_S)
        self.full.discard(lane)
        self._stored(lane)

    async def _store(self, lane: Lane, groups: list[tuple[list[_Offered], Item]]) -> None:
        await self.store(lane, [item for _, item in groups])
        for offered, _ in groups:
            for one in offered:
                if not one.done.cancelled():
                    one.done.set_result(None)

    def _lane_of(self, item: Reading | Event) -> Lane:
        if isinstance(item, Event):
            return Lane.ALARM
        limits = self._urgent.get(item.point)
        if limits is None or not limits.holds(item.value):
            self._urgent_at_ms.pop(item.point, None)
            return Lane.TELEMETRY
        now_ms = self._now().since_boot_ms
        before = self._urgent_at_ms.get(item.point)
        if before is not None and now_ms - before < URGENT_EVERY_S * 1000:
            return Lane.TELEMETRY
        self._urgent_at_ms[item.point] = now_ms
        return Lane.ALARM

    def _unique(self, item: Reading | Event) -> Reading | Event:
        """The same item, its stamp moved by microseconds when the point has used it just before."""
        if isinstance(item, Event):
            return item
        used = self._stamps.setdefault(item.point, deque(maxlen=_STAMPS_KEPT))
        at_us = item.at_us
        while at_us in used:
            at_us += 1
        used.append(at_us)
        return item if at_us == item.at_us else msgspec.structs.replace(item, at_us=at_us)


def _groups(offered: list[_Offered]) -> list[list[_Offered]]:
    groups: list[list[_Offered]] = []
    for one in offered:
        group = groups[-1] if groups else []
        if group and len(group) < GROUP_READINGS and _fits(group, one):
            group.append(one)
        else:
            groups.append([one])
    return groups


def _fits(group: list[_Offered], one: _Offered) -> bool:
    first, last = group[0], group[-1]
    drift_ms = (one.stamp.wall_ms - last.stamp.wall_ms) - (one.stamp.since_boot_ms - last.stamp.since_boot_ms)
    assert isinstance(first.item, Reading)
    assert isinstance(one.item, Reading)
    span_us = abs(one.item.at_us - first.item.at_us)
    return one.clock == first.clock and abs(drift_ms) <= WALL_STEP_MS and span_us <= MAX_SPAN_US // 2


def _event_body(event: Event) -> bytes:
    """The event as a body; evidence that does not fit into a record is cut, what happened never is."""
    body = encode_body(event)
    if len(body) <= MAX_BODY:
        return body
    raw = None if event.raw is None else event.raw[:_MOST_RAW]
    text, code = (None if word is None else word[:_MOST_TEXT] for word in (event.text, event.code))
    return encode_body(msgspec.structs.replace(event, raw=raw, text=text, code=code))


def _item(group: list[_Offered]) -> Item:
    first = group[0]
    if isinstance(first.item, Event):
        return Item(Kind.EVENT, _event_body(msgspec.structs.replace(first.item, c=first.clock)), 1)
    readings = [one.item for one in group if isinstance(one.item, Reading)]
    return Item(Kind.READINGS, encode_readings(readings, first.clock), len(readings))
