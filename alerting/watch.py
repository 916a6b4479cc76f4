"""The watch: reads what the journal has, lets detection judge, keeps the book, has it recorded.

Everything here is done in one turn of the event loop per batch and waits for nothing but the next batch:
the record has a task of its own, snapshots are written in a thread. After a restart the watch begins at the
newest good snapshot; what it then reads up to the recorded cursor rebuilds the state and says nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Protocol

import structlog
from sqlalchemy import Engine as Database

from alerting.alarms.book import Book
from alerting.alarms.desk import Desk, Order
from alerting.alarms.lifecycle import Alarm
from alerting.alarms.record import Entry, Recorder, Within
from alerting.detect.device import OF_ALL_PARTS, DeviceEvent, concerns
from alerting.detect.engine import Engine
from alerting.detect.rules import RuleSet
from alerting.detect.snapshot import KEEP, Cursor, Snapshots
from fengsui.batch import Batch, GatewayEvent
from fengsui.model import Lane, Point
from fengsui.viewer import Viewer

SNAPSHOT_EVERY_S = 60.0
TICK_S = 0.25
FOLLOW_EVERY_S = 1.0
"""Taking over 100,000 points costs 0.2 s when one of them moved, 0.01 s when some only came along."""

log = structlog.get_logger()


def _newest(batch: Batch) -> int:
    """The highest index of a point that a batch speaks of; -1 = of none."""
    events = (event.point.index for event in batch.events if event.point is not None)
    return max(int(batch.point.max(initial=-1)), *events, -1)


def of_devices(events: Iterable[GatewayEvent], points: Sequence[Point]) -> list[DeviceEvent]:
    """Events of registered points, as detection takes them; what is done to a whole, once for each part."""
    return [
        DeviceEvent(point.index, event.event, event.received_at_us, event.age_ms * 1000)
        for event in events
        for point in _about(event, points)
    ]


def _about(event: GatewayEvent, points: Sequence[Point]) -> Iterable[Point]:
    if event.event.what in OF_ALL_PARTS:
        return (p for p in points if p.gateway == event.gateway and concerns(event.event, p.name))
    return () if event.point is None else (event.point,)


class Points(Protocol):
    """The registry as the watch needs it; ``generation`` rises with every change."""

    @property
    def points(self) -> Sequence[Point]:
        """By index, dense and stable."""

    @property
    def generation(self) -> int:
        """Rises by one at each change."""


class Watch:
    """Detection, alarm book and alarm record of one core.

    Args:
        rules: What to judge by.
        registry: Where points are looked up.
        database: The state database, migrated.
        snapshots: Where detection's state is kept.
        journal: Identity of the journal whose entries are read.
        publish: Told about each alarm change, see ``Recorder``; must return at once.
        monotonic_s: The server's monotonic clock, in seconds.
        wall_us: The server's wall clock, in us since 1970 UTC.
        beat: Stamped with every tick: proof that the watch is alive.
        within: Called inside each transaction of the record, see ``Recorder``.
        deadline_s: A change that is not recorded by then is shown anyway.
    """

    def __init__(
        self,
        rules: RuleSet,
        registry: Points,
        database: Database,
        snapshots: Snapshots,
        *,
        journal: str,
        publish: Callable[[Entry], None],
        monotonic_s: Callable[[], float],
        wall_us: Callable[[], int],
        beat: Callable[[], None],
        within: Within | None = None,
        deadline_s: float = 1.0,
    ) -> None:
        self._rules = rules
        self._registry = registry
        self._snapshots = snapshots
        self._monotonic_s = monotonic_s
        self._wall_us = wall_us
        self._beat = beat
        self._generation = registry.generation
        self._known, self._followed_s = len(registry.points), float("-inf")
        self.engine = Engine(rules, registry.points, now_s=monotonic_s())
        self.book = Book(registry.points, rules)
        self.desk = Desk(self.book)
        self.recorder = Recorder(
            database,
            publish,
            wall_us=wall_us,
            recorded=self.book.recorded,
            within=within,
            deadline_s=deadline_s,
        )
        self.cursor = Cursor(journal)
        """What detection has read; begin reading after it."""
        self._said = Cursor(journal)
        self._snapshots_at = deque([self.cursor], maxlen=KEEP)
        self.snapshot_fault = ""
        """Why the last snapshot could not be written or read; empty = it could."""

    @property
    def kept(self) -> Cursor:
        """The place of the oldest snapshot kept: what follows it may still be needed from the journal."""
        return self._snapshots_at[0]

    @property
    def saved(self) -> Cursor:
        """The place of the newest snapshot: what follows it is needed from the journal in any case."""
        return self._snapshots_at[-1]

    async def start(self) -> None:
        """Load the book, and detection from the newest good snapshot; ``cursor`` then says where to read on.

        Raises:
            RecordUnavailable: the state database cannot be read.
        """
        loaded = await self.recorder.load()
        self.book.load(loaded.alarms, loaded.closed, loaded.gone)
        if loaded.cursor is not None and loaded.cursor.journal == self.cursor.journal:
            self._said = self.cursor = loaded.cursor
        snapshot = await asyncio.to_thread(self._snapshots.load, self.cursor.journal)
        if snapshot is not None:
            try:
                self.engine.restore(snapshot.state)
                self.cursor = snapshot.cursor
            except (KeyError, ValueError, TypeError, IndexError) as error:
                self.snapshot_fault = f"snapshot of another form: {error}"
                self.engine = Engine(self._rules, self._registry.points, now_s=self._monotonic_s())
        if self._snapshots.damaged:
            self.snapshot_fault = f"damaged snapshots: {', '.join(p.name for p in self._snapshots.damaged)}"
        if self.snapshot_fault:
            log.error("detection starts from older state", fault=self.snapshot_fault)
        self._take_over()
        self._snapshots_at.clear()
        self._snapshots_at.append(self.cursor)

    async def run(self, read: Callable[[], Awaitable[Batch]]) -> None:
        """Watch until cancelled; ``read`` gives the next batch after ``cursor``, the alarm lane first."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.recorder.run(), name="alerting.record")
            group.create_task(self._tick(), name="alerting.tick")
            group.create_task(self._snapshot(), name="alerting.snapshot")
            while True:
                self.take(await read())
                await asyncio.sleep(0)  # a backlog must not keep the loop from everything else

    def take(self, batch: Batch) -> None:
        """Judge one batch and enter the outcome; returns without waiting for anything."""
        now_s, now_us = self._monotonic_s(), self._wall_us()
        self._follow_registry(now_s, batch)
        lane, n = batch.position
        first = self.cursor.at(lane) + 1
        self.cursor = self.cursor.moved(lane, n)
        said = self._said.at(lane)
        known = n <= said
        verdicts = self.engine.update(
            batch.point, batch.at_us, batch.value, batch.quality, batch.received_at_us, batch.age_us,
            now_s=None if known else now_s,
            events=of_devices(batch.events, self._registry.points),
        )  # fmt: skip
        if known:
            return
        for event in batch.events:
            self.engine.gateway_heard(event.gateway, now_s=now_s)
        changes = self.book.apply(verdicts, batch.events, now_us=now_us, now_s=now_s, replay=first <= said)
        self.recorder.submit(changes, self.cursor)

    def gateway_seen(self, gateway: str, *, fresh: bool) -> None:
        """A hello or heartbeat came in; ``fresh`` with the first one of a connection."""
        self.engine.gateway_seen(gateway, now_s=self._monotonic_s(), fresh=fresh)

    def advance(self) -> None:
        """Enter what the passing of time says."""
        now_s, now_us = self._monotonic_s(), self._wall_us()
        self._follow_registry(now_s)
        replaying = any(self.cursor.at(lane) < self._said.at(lane) for lane in Lane)
        verdicts = self.engine.advance(now_s=now_s, now_us=now_us, replaying=replaying)
        changes = self.book.apply(verdicts, (), now_us=now_us, now_s=now_s)
        changes += self.book.advance(now_us=now_us, now_s=now_s)
        self.recorder.submit(changes, None)

    def adopt(self, rules: RuleSet) -> None:
        """Judge by other rules from now on; a rule that stays in its version keeps its state.

        What was raised by a rule that is gone, or is not for that point any more, is let go.
        """
        self._follow_registry(self._monotonic_s())
        self._rules = rules
        self.engine.adopt(rules, now_s=self._monotonic_s())
        self.book.adopt(rules)
        self._take_over()

    async def act(self, viewer: Viewer, order: Order) -> Alarm:
        """Do what a person orders; the alarm after it, its ``number`` None while not yet recorded.

        Raises:
            AlarmRefused: unknown, stale, forbidden or impossible; nothing has changed.
        """
        return await self.recorder.record(self.desk.act(viewer, order, now_us=self._wall_us()))

    async def seen(self, viewer: Viewer, alarms: Iterable[str]) -> None:
        """A client reports that alarms are on an officer's screen; returns like ``act``.

        Raises:
            NotAllowed: The screen is no officer's.
        """
        if changes := self.desk.seen(viewer, alarms, now_us=self._wall_us()):
            await self.recorder.record(changes)

    def find(self, alarm: str) -> Alarm | None:
        """An open alarm, or one of the newest closed ones."""
        return self.book.find(alarm)

    def notified(self, alarm: str) -> None:
        """The first message about an alarm was handed over; later ones change nothing."""
        self.recorder.submit(self.book.notified(alarm, now_us=self._wall_us()), None)

    async def save(self) -> None:
        """Write a snapshot, unless nothing was read since the last one or the record lags behind.

        A snapshot ahead of the record would hide an alarm: after a restart its reading would not be read
        again, and the alarm would not be in the record either.
        """
        if self.cursor == self._snapshots_at[-1] or self.recorder.pending:
            return
        cursor, state = self.cursor, self.engine.state()
        try:
            await asyncio.to_thread(self._snapshots.save, cursor, state)
        except OSError as error:
            if str(error) != self.snapshot_fault:
                log.warning("snapshot of detection failed; a restart will take longer", error=str(error))
            self.snapshot_fault = str(error)
        else:
            self._snapshots_at.append(cursor)
            self.snapshot_fault = ""

    def _take_over(self) -> None:
        """Bring what the book holds active and what the rules can still hold into line."""
        active = self.book.active_rules()
        self.engine.assume(active)
        changes = self.book.release(self.engine.orphans(active), now_us=self._wall_us())
        self.recorder.submit(changes, None)

    def _follow_registry(self, now_s: float, batch: Batch | None = None) -> None:
        """Take over a changed registry: at once when a batch speaks of a point that is new here."""
        if self._registry.generation == self._generation:
            return
        if now_s < self._followed_s + FOLLOW_EVERY_S and not (batch and _newest(batch) >= self._known):
            return
        self._generation, self._followed_s = self._registry.generation, now_s
        self._known = len(self._registry.points)
        self.engine.follow(self._registry.points, now_s=now_s)
        self.book.follow(self._registry.points)

    async def _tick(self) -> None:
        while True:
            self.advance()
            self._beat()
            await asyncio.sleep(TICK_S)

    async def _snapshot(self) -> None:
        while True:
            await asyncio.sleep(SNAPSHOT_EVERY_S)
            await self.save()
