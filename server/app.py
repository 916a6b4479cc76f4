"""The core process, put together: intake, journal, detection, alarm book and record, store, local socket."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec
import numpy as np
import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

import fengsui
from alerting.alarms.audit import EXPORT_EVERY_S, Heads
from alerting.alarms.lifecycle import Alarm
from alerting.alarms.record import Entry as Told
from alerting.detect.rules import RuleSet
from alerting.detect.snapshot import Cursor, Snapshots
from alerting.errors import DeliveryError, HeadsDamaged
from alerting.notify.notification import Notification
from alerting.watch import Watch
from fengsui.batch import Batch
from fengsui.database import connect
from fengsui.journal import Journal
from fengsui.log import sync_folder
from fengsui.model import Lane
from fengsui.runtime import MACHINE, Beats, Stop, Timepiece
from fengsui.viewer import Viewer
from fengsui.wire import UNREADABLE, Hello
from ingest.conservation import Balances, StoreBalance, as_json
from ingest.deadletter import DeadLetter, DeadLetterUnavailable, Letter
from ingest.decode import Decoded, Decoder
from ingest.feed import Feed
from ingest.gateways import Gateways
from ingest.intake import Intake, Unnumbered
from ingest.registry import Registry, RegistryUnavailable
from ingest.writer import STORE_DOWN, Writer
from server.answers import Answers
from server.backtest import Kept
from server.backtests import backtests
from server.config import Settings
from server.faults import Faults
from server.lab import lab
from server.latest import LatestReadings
from server.local import Local, Refused
from server.migrations import upgrade
from server.replies import Replies
from server.rulebook import Rulebook
from server.secrets import keep
from server.series import OpenSeries, open_store

STATUS_EVERY_S = 1.0
KEEP_EVERY_S = 5.0
COMMAND_S = 10
REGISTRY_EVERY_S = 1.0
JOURNAL_FAULT_FILL = 0.8
_REPLIES = 100
_REPLAYS = 10_000
_FLUSH_S = 5.0

log = structlog.get_logger()


class Core:
    """Everything of one core; made by :meth:`open`, served by :meth:`run`."""

    def __init__(
        self,
        settings: Settings,
        database: Engine,
        registry: Registry,
        journal: Journal,
        *,
        rulebook: Rulebook,
        clock: Timepiece,
        open_series: OpenSeries,
    ) -> None:
        self.settings = settings
        self.database = database
        self.registry = registry
        self.journal = journal
        self.clock = clock
        self.started_at_us = clock.wall_us()
        self.beats = Beats()
        self.latest = LatestReadings()
        self.faults = Faults(clock.wall_us)
        folder = settings.folder
        self.decoder = Decoder(registry)
        self.deadletter = DeadLetter(folder / "deadletter.db")
        self.store = open_series(settings.store, registry)
        self.feed = Feed(journal, self.decoder, self._first_seen)
        self.writer = Writer(
            journal, self._read_for_store, self.store, self.deadletter.put, folder / "store.cursor"
        )
        self.backtests = backtests(lambda: Kept(settings.store, settings.database_url, rulebook.file.text))
        self.lab = lab(settings.recordings, lambda: rulebook.file.text)
        self.local = Local(settings.socket, Answers(self).answer)
        self.rulebook = rulebook
        self.notification: Notification | None = None
        key = keep(folder / "notify.key").reveal().encode() if settings.notify.channels else b""
        if settings.notify.channels:
            self.notification = Notification(
                database,
                settings.notify,
                settings.broker,
                command=self._command,
                named=self.named,
                told=self._notified,
                key=key,
                clock=clock,
                beat=self.beats.beat("notify", 1.0),
            )
        self.watch = Watch(
            rulebook.rules,
            registry,
            database,
            Snapshots(folder / "snapshots"),
            journal=journal.identity,
            publish=self._tell,
            monotonic_s=clock.monotonic_s,
            wall_us=clock.wall_us,
            beat=self.beats.beat("watch", 1.0),
            within=self.notification.within if self.notification else None,
        )
        self.replies: Replies | None = None
        if self.notification is not None and settings.notify.replies is not None:
            self.replies = Replies(
                settings.notify.replies,
                database,
                key,
                self.notification.roster,
                self.watch,
                named=self.named,
                clock=clock,
            )
        self.gateways = Gateways(journal)
        self.intake = Intake(
            settings.broker,
            journal,
            self.gateways,
            make_room=self._make_room,
            set_aside=self._set_aside,
            on_hello=self._on_hello,
            on_reply=self._on_reply,
            window=settings.window,
            clock=clock,
        )
        self._heads = Heads(settings.heads)
        self._replies: deque[tuple[str, str, str]] = deque(maxlen=_REPLIES)
        self._replied = asyncio.Event()
        self._replays: asyncio.Queue[tuple[str, str]] = asyncio.Queue(maxsize=_REPLAYS)

    @classmethod
    async def open(
        cls, settings: Settings, *, clock: Timepiece = MACHINE, open_series: OpenSeries = open_store
    ) -> Core:
        """Open what the core keeps, and load the alarm book.

        Raises:
            SettingsError: The rule file cannot be used, or is not what its versions have been here.
            JournalError, RecordUnavailable, RegistryUnavailable: What it keeps cannot be read.
        """
        settings.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        sync_folder(settings.folder.parent)
        file, path = await asyncio.to_thread(Rulebook.read, settings.rules, settings.folder)
        await asyncio.to_thread(upgrade, settings.database_url)
        database = connect(settings.database_url)
        rulebook = await Rulebook.open(file, path, database, now_us=clock.wall_us())
        registry = await Registry.open(database)
        journal = Journal(settings.journal.folder, quota_bytes=settings.journal.quota_mb << 20)
        core = cls(
            settings, database, registry, journal, rulebook=rulebook, clock=clock, open_series=open_series
        )
        await core.watch.start()
        if core.notification is not None:
            await core.notification.start()
        return core

    async def run(self, stop: Stop) -> None:
        """Serve until ``stop`` is set; what is committed waits in the journal for the next start."""
        try:
            async with asyncio.TaskGroup() as tasks:
                work = [
                    tasks.create_task(self.local.run(), name="core.local"),
                    tasks.create_task(self.watch.run(self._read_for_watch), name="core.watch"),
                    tasks.create_task(self.writer.run(), name="core.store"),
                    tasks.create_task(self.intake.run(), name="core.intake"),
                    tasks.create_task(self._tell_status(), name="core.status"),
                    tasks.create_task(self._keep_house(), name="core.house"),
                    tasks.create_task(self._export_heads(), name="core.heads"),
                    tasks.create_task(self._follow_registry(), name="core.registry"),
                    tasks.create_task(self._replay(), name="core.replay"),
                    tasks.create_task(self.backtests.run(), name="core.backtests"),
                    tasks.create_task(self.lab.run(), name="core.lab"),
                    tasks.create_task(self.beats.feed_watchdog(), name="core.watchdog"),
                ]
                if self.notification is not None:
                    work.append(tasks.create_task(self.notification.run(), name="core.notify"))
                if self.replies is not None:
                    work.append(tasks.create_task(self.replies.run(), name="core.replies"))
                await stop.wait()
                await self.watch.recorder.flush(_FLUSH_S)
                await self._export_head()
                for task in work:
                    task.cancel()
        finally:
            with suppress(TimeoutError):
                async with asyncio.timeout(_FLUSH_S):
                    await self.watch.save()
            await self.store.aclose()
            await self.deadletter.aclose()
            self.journal.close()

    # the way of a reading

    async def _read_for_store(self, cursor: Mapping[Lane, int]) -> Decoded:
        if await self.intake.let_alarms_pass():
            await asyncio.sleep(0)  # detection first
        return await self.feed.read(cursor)

    async def _read_for_watch(self) -> Batch:
        await self.intake.let_alarms_pass()  # they are read before telemetry
        cursor = self.watch.cursor
        decoded = await self.feed.read({lane: cursor.at(lane) for lane in Lane})
        self.latest.take(decoded.batch, self.clock.wall_us())
        self._tell_readings(decoded.batch)
        return decoded.batch

    def _first_seen(self, decoded: Decoded) -> None:
        self.registry.names.see(decoded.seen)
        self.registry.names.describe(decoded.described)

    async def _set_aside(self, messages: list[Unnumbered]) -> None:
        letters = [Letter(m.source, m.reason, m.text, m.payload, m.received_at_us) for m in messages]
        try:
            await self.deadletter.put(letters)
        except DeadLetterUnavailable as error:
            log.exception("core.dead_letter_unavailable", messages=len(letters))
            self.faults.set("dead_letter", str(error), f"死信文件不可用:{error}")

    async def _make_room(self, lane: Lane) -> bool:
        """Free space in a full lane of the journal: what is done with, else what the store then misses."""
        before = self.journal.first(lane)
        self._release(self.watch.kept)
        if self.journal.first(lane) > before:
            return True
        await self.watch.save()
        self._release(self.watch.saved)
        if self.journal.first(lane) > before or lane is Lane.ALARM:
            return self.journal.first(lane) > before
        since = self.writer.cursor[lane]
        tally = await self.journal.tally_oldest(lane, since)
        if tally is None or tally.last > self.watch.saved.at(lane):
            return False
        if not await self.writer.skip_to(lane, tally.last, tally.readings, since=since, reason=STORE_DOWN):
            return False
        self._release(self.watch.saved)
        return self.journal.first(lane) > before

    def _release(self, detect: Cursor) -> None:
        self.journal.release([{lane: detect.at(lane) for lane in Lane}, self.writer.cursor])

    # who is told

    def _tell(self, told: Told) -> None:
        self.local.tell_alarm(told.alarm.number, told.recorded, self.named(told.alarm))

    def _notified(self, alarm: str) -> None:
        self.watch.notified(alarm)

    def named(self, alarm: Alarm) -> Alarm:
        """The alarm as a person reads it: building and zone by their names. The record keeps the ids."""
        return msgspec.structs.replace(
            alarm,
            building=self.registry.building_name(alarm.building),
            zone=self.registry.zone_name(alarm.zone),
        )

    def _tell_readings(self, batch: Batch) -> None:
        watched = [
            point.index for id_ in self.local.watched if (point := self.registry.by_id(id_)) is not None
        ]
        if not watched or not batch.count:
            return
        rows = np.flatnonzero(np.isin(batch.point, watched))
        points = self.registry.points
        self.local.tell_readings(
            (
                points[int(batch.point[row])].id,
                int(batch.at_us[row]),
                None if np.isnan(batch.value[row]) else float(batch.value[row]),
                int(batch.quality[row]),
                int(batch.received_at_us[row]),
            )
            for row in rows
        )

    def _on_hello(self, gateway: str, hello: Hello) -> None:
        if not hello.gone:
            self.watch.gateway_seen(gateway, fresh=hello.fresh)

    def _on_reply(self, gateway: str, payload: bytes) -> None:
        try:
            reply = msgspec.json.decode(payload, type=dict[str, Any])
        except UNREADABLE:
            log.warning("core.reply_unreadable", gateway=gateway)
            return
        refused = str(reply.get("refused") or "")[:500]
        done = str(reply.get("done") or "")[:500]
        self._replies.append((str(reply.get("nonce", "")), done, refused))
        self._replied.set()

    def put_in_force(self, rules: RuleSet) -> None:
        """Judge by these rules from now on; what stays the same keeps its state."""
        self.watch.adopt(rules)

    async def command(self, gateway: str, what: str, args: Mapping[str, str]) -> str:
        """Ask a gateway to do something (wire contract, *Configuration and commands*); its answer.

        Raises:
            Refused: There is no broker, it did not answer in time, or it will not do it.
        """
        now_ms, nonce = time.time_ns() // 1_000_000, secrets.token_hex(8)
        asked = {"nonce": nonce, "issued": now_ms, "expires": now_ms + COMMAND_S * 1_000}
        asked |= {"what": what, "args": dict(args)}
        if not self.intake.send(gateway, "command", msgspec.json.encode(asked)):
            raise Refused("unavailable", "the core has no connection to the broker; try again in a moment")
        try:
            async with asyncio.timeout(COMMAND_S):
                while True:
                    for known, done, refused in self._replies:
                        if known == nonce and refused:
                            raise Refused("invalid", refused)
                        if known == nonce:
                            return done
                    self._replied.clear()
                    await self._replied.wait()
        except TimeoutError:
            raise Refused("unavailable", "the gateway does not answer; is it running?") from None

    async def _command(self, gateway: str, what: str, args: Mapping[str, str]) -> str:
        """As ``command``, for a channel."""
        try:
            return await self.command(gateway, what, args)
        except Refused as error:
            raise DeliveryError(f"{gateway}: {error}", retryable=True) from error

    # regular work

    async def _tell_status(self) -> None:
        beat = self.beats.beat("status", STATUS_EVERY_S)
        while True:
            beat()
            self._look_for_faults()
            self.local.tell_status(self._status(None))
            await asyncio.sleep(STATUS_EVERY_S)

    async def _keep_house(self) -> None:
        """Give back journal space, deliver dead letters again."""
        while True:
            await asyncio.sleep(KEEP_EVERY_S)
            self._release(self.watch.kept)
            try:
                await self.deadletter.replay_requested(self.decoder, self.store.write)
                self.faults.clear("dead_letter")
            except DeadLetterUnavailable as error:
                self.faults.set("dead_letter", str(error), f"死信文件不可用:{error}")

    async def _export_heads(self) -> None:
        """Keep a witness of the alarm record outside of it."""
        while True:
            await self._export_head()
            await asyncio.sleep(EXPORT_EVERY_S)

    async def _export_head(self) -> None:
        try:
            flaw = await asyncio.to_thread(self._heads.export, self.database, self.clock.wall_us())
        except (OSError, SQLAlchemyError, HeadsDamaged) as error:
            flaw = f"its head could not be exported: {error}"
        self.faults.hold("audit", bool(flaw), f"alarm record: {flaw}", "报警记录审计异常")

    async def _follow_registry(self) -> None:
        """Take over what another process registered, and deliver what was put aside for want of it."""
        while True:
            await asyncio.sleep(REGISTRY_EVERY_S)
            unknown = [(name.gateway, name.name) for name in self.registry.names.all()]
            try:
                changed = await self.registry.refresh()
                self.faults.clear("registry")
            except RegistryUnavailable as error:
                self.faults.set("registry", str(error), f"登记库不可用:{error}")
                continue
            if changed:
                for gateway, name in unknown:
                    if self.registry.point(gateway, name) is not None:
                        self.replay_soon(gateway, name)

    def replay_soon(self, gateway: str, name: str) -> None:
        """Deliver into history what was put aside while this name was unknown."""
        self.feed.forget()
        try:
            self._replays.put_nowait((gateway, name))
        except asyncio.QueueFull:
            log.warning("core.replays_full", gateway=gateway, name=name)

    async def _replay(self) -> None:
        while True:
            names = [await self._replays.get()]
            while not self._replays.empty():  # all that were registered meanwhile wait for the writer once
                names.append(self._replays.get_nowait())
            await self._until_written(self.journal.end())
            for gateway, name in names:
                try:
                    done = await self.deadletter.replay(self.decoder, self.store.write, gateway, name)
                except DeadLetterUnavailable:
                    log.exception("core.replay_failed", gateway=gateway, name=name)
                else:
                    log.info("core.replayed", gateway=gateway, name=name, readings=done.readings)

    async def _until_written(self, end: Mapping[Lane, int]) -> None:
        """What was read before a name was known may still be on its way to the dead letter."""
        while any(self.writer.cursor[lane] < end[lane] for lane in Lane):  # noqa: ASYNC110 - no event tells it
            await asyncio.sleep(REGISTRY_EVERY_S)

    # status

    def balances(self) -> Balances:
        """Both balances of conservation, of this moment."""
        journalled = self.journal.journalled()
        written = self.writer.balances
        store = []
        for gateway, readings in journalled.items():
            balance = written.get(gateway)
            if balance is None:
                store.append(StoreBalance(gateway=gateway, journalled=readings, stored=0, waiting=readings))
                continue
            store.append(
                StoreBalance(
                    gateway=gateway,
                    journalled=readings,
                    stored=balance.stored + balance.passed,
                    duplicate=balance.duplicate,
                    dead=dict(balance.dead),
                    shed=dict(balance.shed),
                    waiting=readings - balance.read,
                )
            )
        return Balances(self.gateways.balances(), store)

    def status(self, viewer: Viewer) -> dict[str, Any]:
        """What the console shows of this core, as far as the viewer sees it."""
        return self._status(viewer)

    def _status(self, viewer: Viewer | None) -> dict[str, Any]:
        statistics = self.writer.statistics()
        recorder = self.watch.recorder
        balances = self.balances()
        seen = None if viewer is None or viewer.units is None else self._gateways_of(viewer)
        return {
            "at_us": self.clock.wall_us(),
            "server": {
                "version": fengsui.__version__,
                "started_at_us": self.started_at_us,
                "journal": {
                    "identity": self.journal.identity,
                    "fill": {lane: round(self.journal.fill(lane), 4) for lane in Lane},
                    "end": self.journal.end(),
                    "detected": {lane: self.watch.cursor.at(lane) for lane in Lane},
                    "stored": self.writer.cursor,
                },
                "store": {
                    "kind": self.store.kind,
                    "state": statistics.state,
                    "text": statistics.text,
                    "waiting": sum(balance.waiting for balance in balances.store),
                },
                "database": {
                    "state": "unavailable" if recorder.fault else "ok",
                    "text": recorder.fault,
                    "pending": recorder.pending,
                },
                "points": len(self.registry.points),
                "simulated": bool(self.settings.simulated_gateway),
                "faults": self.faults.told(),
            },
            "gateways": [
                gateway
                for gateway in self.gateways.status(time.monotonic())
                if seen is None or gateway["gateway"] in seen
            ],
            "store_balance": [
                as_json(balance) for balance in balances.store if seen is None or balance.gateway in seen
            ],
            "alarms": [[*key, count] for key, count in self.watch.book.counts().items()]
            if viewer is None or viewer.units is None
            else [],
            "latency": self.latest.latency_ms(),
        }

    def _gateways_of(self, viewer: Viewer) -> frozenset[str]:
        return frozenset(point.gateway for point in self.registry.points if viewer.sees(point.unit))

    def _look_for_faults(self) -> None:
        """Hold what should be against what is; each fault is a sentence in both languages."""
        faults = self.faults
        statistics, recorder = self.writer.statistics(), self.watch.recorder
        faults.hold("broker", bool(self.intake.faults), "; ".join(self.intake.faults.values()), "接入异常")
        faults.hold("store", bool(self.writer.faults), "; ".join(self.writer.faults), "历史库异常")
        faults.hold("store_state", statistics.state != "ok", statistics.text, "历史库写不进")
        faults.hold(
            "database", bool(recorder.fault), f"alarms are not recorded: {recorder.fault}", "报警未入库"
        )
        fill = max(self.journal.fill(lane) for lane in Lane)
        faults.hold("journal", fill >= JOURNAL_FAULT_FILL, f"the journal is {fill:.0%} full", "日志将满")
        damage = "; ".join(f"{lane} {d.first} to {d.last}" for lane, d in self.journal.damage)
        faults.hold("damage", bool(damage), f"journal entries cannot be read: {damage}", "日志有损坏")
        faults.hold("snapshot", bool(self.watch.snapshot_fault), self.watch.snapshot_fault, "检测快照异常")
        if (letters := self.deadletter.fault) is not None:
            faults.set("dead_letters", *letters)
        else:
            faults.clear("dead_letters")
        untold = self.notification.faults() if self.notification is not None else {}
        said = "; ".join(f"{name}: {text}" for name, text in untold.items())
        faults.hold("notify", bool(untold), said, "通知异常")
        stale = self.beats.stale(time.monotonic())
        faults.hold("beats", bool(stale), f"not alive: {', '.join(stale)}", "内部任务停滞")
        residue = self.balances().residue
        faults.hold(
            "residue", residue != 0, f"{residue} readings or records are not accounted for", "守恒有残差"
        )
