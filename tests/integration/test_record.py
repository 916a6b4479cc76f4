"""The alarm record on real databases: in order, once, and shown in time whatever the database does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, event, select, text
from sqlalchemy.exc import OperationalError

from alerting.alarms.audit import verify
from alerting.alarms.book import Book, Change
from alerting.alarms.desk import Desk
from alerting.alarms.lifecycle import Alarm, State, Step
from alerting.alarms.record import PENDING_PER_ALARM, Entry, Recorder, record_table
from alerting.detect.rules import RuleSet
from alerting.detect.snapshot import Cursor
from alerting.errors import RecordUnavailable
from alerting.statistics import Make, TooMuch, of_span
from fengsui.batch import GatewayEvent
from fengsui.database import connect, writing
from fengsui.model import AlarmClass, Event, What
from fengsui.viewer import Role, Viewer
from server.migrations import upgrade
from tests.databases import Database, family, in_cluster, in_folder, own_cluster
from tests.ordering import order
from tests.servers import Process
from tests.unit.detection import T0_US, point
from tests.waiting import background, until

FIRES = 50
DEADLINE_S = 0.3
SHOWN_WITHIN_S = 2.0
OFFICER = Viewer("0417", frozenset({Role.OFFICER}), None)


class Scene:
    """A book of fifty points, a recorder on a database, and all that was published, with its time."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.engine = connect(database.url, busy_timeout_ms=100)
        self.book = Book([point(i) for i in range(FIRES)], RuleSet())
        self.desk = Desk(self.book)
        self.published: list[tuple[float, Entry]] = []
        self.recorder = Recorder(
            self.engine,
            lambda entry: self.published.append((time.monotonic(), entry)),
            wall_us=lambda: T0_US,
            recorded=self.book.recorded,
            deadline_s=DEADLINE_S,
            retry_s=(0.02, 0.1),
        )
        self.moment = 0

    def event(self, index: int, what: What = What.FIRE) -> list[Change]:
        """Something a device says about one of the points."""
        self.moment += 1
        body = Event(point=f"n{index}", at=T0_US + self.moment, what=what)
        heard = GatewayEvent("gw-1", body, point(index), T0_US, 0)
        return self.book.apply((), [heard], now_us=T0_US + self.moment, now_s=0.0)

    def fires(self, *, first: int = 0, count: int = FIRES) -> float:
        """Fire at points one after the other; when that was."""
        for index in range(first, first + count):
            self.recorder.submit(self.event(index), Cursor("j", index + 1, 0))
        return time.monotonic()

    def shown(self, *, recorded: bool) -> list[Entry]:
        """What was published, recorded or not."""
        return [entry for _, entry in self.published if entry.recorded is recorded]

    def rows(self) -> list[tuple[int, str, int]]:
        """Number, alarm and version of every row of the record."""
        columns = record_table.c.number, record_table.c.alarm, record_table.c.version
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(select(*columns).order_by(columns[0]))]

    async def all_shown(self, since_s: float) -> None:
        """Wait until every fire was published, and hold it to the limit."""
        await until(lambda: len({e.alarm.id for _, e in self.published}) == FIRES, 10.0, "all fires shown")
        first: dict[str, float] = {}
        for at_s, entry in self.published:
            first.setdefault(entry.alarm.id, at_s)
        assert max(first.values()) - since_s <= SHOWN_WITHIN_S

    async def all_recorded(self) -> None:
        """Wait for the end of pending, and count: every fire once, in order, with its number."""
        assert await self.recorder.flush(20.0)
        rows = self.rows()
        assert [number for number, _, _ in rows] == list(range(1, len(rows) + 1))
        assert len({alarm for _, alarm, _ in rows}) == FIRES
        assert len({(alarm, version) for _, alarm, version in rows}) == len(rows)
        assert {e.alarm.id for e in self.shown(recorded=True)} == {alarm for _, alarm, _ in rows}
        assert len(self.shown(recorded=True)) == len(rows)
        assert all(alarm.number for alarm in self.book.alarms(OFFICER))
        assert self.recorder.fault == ""


@pytest.fixture
async def scene(state: Database) -> AsyncIterator[Scene]:
    """A migrated database of each kind with a recorder that runs."""
    async with recording(state) as scene:
        yield scene


@asynccontextmanager
async def recording(database: Database) -> AsyncIterator[Scene]:
    """The same on one database."""
    await asyncio.to_thread(upgrade, database.url)
    scene = Scene(database)
    async with background(scene.recorder.run()):
        yield scene
    scene.engine.dispose()


async def test_record_then_publish(scene: Scene) -> None:
    """With a healthy database an alarm is told once, with its number."""
    await scene.recorder.load()  # as a core does: it is connected
    since_s = scene.fires()
    await scene.all_shown(since_s)
    await scene.all_recorded()
    assert scene.shown(recorded=False) == []
    assert await asyncio.to_thread(verify, scene.engine, []) == []


async def test_locked_database(scene: Scene) -> None:
    """R73: fifty fires while it is locked: each shown in time, recorded once after."""
    with scene.database.locked():
        since_s = scene.fires()
        await scene.all_shown(since_s)
        assert scene.shown(recorded=True) == []
        await until(lambda: scene.recorder.fault, 5.0, "fault")
        assert "lock" in scene.recorder.fault
        assert scene.recorder.pending == FIRES
    await scene.all_recorded()


async def test_fires_while_the_fault_is_known_are_shown_at_once(scene: Scene) -> None:
    """Nobody waits for a database that is known not to answer."""
    with scene.database.locked():
        scene.fires(count=1)
        await until(lambda: scene.recorder.fault, 5.0, "fault")
        scene.fires(first=1, count=FIRES - 1)
        assert len(scene.shown(recorded=False)) == FIRES
    await scene.all_recorded()


async def test_full_disk(tmp_path: Path) -> None:
    """R73: the database cannot grow; after room is made every fire is recorded once."""
    async with recording(in_folder(tmp_path)) as scene:
        await _fill_up(scene)


async def _fill_up(scene: Scene) -> None:
    limit = {"pages": 1}

    def shrink(connection: sqlite3.Connection, _entry: object) -> None:
        connection.execute(f"PRAGMA max_page_count={limit['pages']}").close()

    event.listen(scene.engine, "connect", shrink)
    scene.engine.dispose()
    filler = connect(scene.database.url)
    with writing(filler) as connection:  # no free page may be left inside the file
        connection.execute(text("CREATE TABLE filler (x TEXT)"))
    filler.dispose()
    since_s = scene.fires()
    await scene.all_shown(since_s)
    await until(lambda: "full" in scene.recorder.fault, 5.0, "disk full")
    limit["pages"] = 1_000_000
    await scene.all_recorded()


async def test_damaged_file(tmp_path: Path) -> None:
    """R73: the file cannot be read at all; once it is put back every fire is recorded once."""
    async with recording(in_folder(tmp_path)) as scene:
        await _damage(scene, tmp_path / "state.db")


async def _damage(scene: Scene, path: Path) -> None:
    scene.engine.dispose()
    whole = path.read_bytes()
    path.write_bytes(b"\0" * len(whole))
    since_s = scene.fires()
    await scene.all_shown(since_s)
    await until(lambda: scene.recorder.fault, 5.0, "fault")
    with pytest.raises(RecordUnavailable, match="cannot be read"):
        await scene.recorder.load()
    for leftover in path.parent.glob("state.db-*"):
        leftover.unlink()
    path.write_bytes(whole)
    await scene.all_recorded()


async def test_a_database_server_that_is_killed() -> None:
    """R73: fires while PostgreSQL is gone: each shown in time, recorded once when it is back."""
    async with own_cluster() as server, recording(await asyncio.to_thread(in_cluster, server)) as scene:
        scene.fires(count=1)
        assert await scene.recorder.flush(5.0)
        await server.kill9()
        assert not server.running
        since_s = scene.fires(first=1, count=FIRES - 1)
        await scene.all_shown(since_s)
        assert scene.recorder.pending == FIRES - 1
        await server.start()
        await scene.all_recorded()


async def test_a_database_server_that_hangs() -> None:
    """R73: the same while it takes connections and answers nothing."""
    async with own_cluster() as server, recording(await asyncio.to_thread(in_cluster, server)) as scene:
        scene.fires(count=1)
        assert await scene.recorder.flush(5.0)
        with hanging(server):
            since_s = scene.fires(first=1, count=FIRES - 1)
            await scene.all_shown(since_s)
            assert scene.recorder.pending == FIRES - 1
        await scene.all_recorded()


@contextlib.contextmanager
def hanging(server: Process) -> Iterator[None]:
    """The server and its children stopped."""
    pids = family(server.pid)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


async def test_a_commit_whose_answer_was_lost_is_not_recorded_twice(scene: Scene) -> None:
    """The version of an alarm is the key: the same change again finds itself."""
    changes = scene.event(0)
    scene.recorder.submit(changes, None)
    assert await scene.recorder.flush(5.0)
    scene.recorder.submit(changes, None)
    assert await scene.recorder.flush(5.0)
    assert len(scene.rows()) == 1
    assert [e.alarm.number for e in scene.shown(recorded=True)] == [1, 1]


async def test_what_is_written_within_is_recorded_or_taken_back_with_the_changes(scene: Scene) -> None:
    """The hook sees numbered changes inside their transaction: both are kept, or neither, and each once."""
    with writing(scene.engine) as connection:
        connection.execute(text("CREATE TABLE step (number BIGINT, what TEXT)"))
    fails = {"left": 1}
    calls: list[list[int | None]] = []

    def within(connection: Connection, changes: Sequence[Change]) -> None:
        calls.append([change.alarm.number for change in changes])
        for change in changes:
            values = {"number": change.alarm.number, "what": change.what}
            connection.execute(text("INSERT INTO step VALUES (:number, :what)"), values)
        if fails["left"]:
            fails["left"] -= 1
            raise OperationalError("COMMIT", {}, OSError("the disk went away"))

    recorder = Recorder(
        scene.engine, lambda _: None, wall_us=lambda: T0_US, recorded=lambda _: None, within=within,
        retry_s=(0.02, 0.1),
    )  # fmt: skip
    changes = [*scene.event(0), *scene.event(1)]
    recorder.submit(changes, None)
    async with background(recorder.run()):
        await until(lambda: recorder.fault, 5.0, "the first attempt failed")
        assert scene.rows() == []
        assert await recorder.flush(5.0)
        recorder.submit(changes, None)
        assert await recorder.flush(5.0)
    assert calls == [[1, 2], [1, 2]]
    with scene.engine.connect() as connection:
        steps = [tuple(row) for row in connection.execute(text("SELECT number, what FROM step"))]
    assert steps == [(1, "raised"), (2, "raised")]
    assert [number for number, _, _ in scene.rows()] == [1, 2]


async def test_book_and_cursor_come_back(scene: Scene) -> None:
    """What was recorded is what the next process starts from; closed alarms only by id."""
    scene.fires(count=3)
    scene.recorder.submit(scene.event(3, What.FAULT), Cursor("j", 7, 5))
    assert await scene.recorder.flush(5.0)
    fault = next(a for a in scene.book.alarms(OFFICER) if a.cls is AlarmClass.FAULT)
    scene.recorder.submit(scene.event(3, What.RESTORED), None)
    seen = order(Step.ACKNOWLEDGE, fault, version=fault.version + 1)
    alarm = await scene.recorder.record(scene.desk.act(OFFICER, seen, now_us=T0_US))
    assert (alarm.state, alarm.number) == (State.CLOSED, 6)
    loaded = await Recorder(scene.engine, lambda _: None, wall_us=lambda: 0, recorded=lambda _: None).load()
    assert loaded.alarms == scene.book.alarms(OFFICER)
    assert loaded.gone == [alarm]
    assert (loaded.closed, loaded.cursor, loaded.number) == ([fault.id], Cursor("j", 7, 5), 6)


async def test_an_acknowledgement_without_database_has_no_number_and_is_recorded_later(scene: Scene) -> None:
    """A person is told that it is not yet recorded, and it is not lost."""
    scene.fires()
    await scene.all_recorded()
    target = scene.book.alarms(OFFICER)[0]
    with scene.database.locked():
        changes = scene.desk.act(OFFICER, order(Step.ACKNOWLEDGE, target), now_us=T0_US)
        alarm: Alarm = await scene.recorder.record(changes)
        assert (alarm.state, alarm.number) == (State.ACKNOWLEDGED, None)
    await scene.all_recorded()
    assert scene.rows()[-1][1:] == (target.id, 2)


async def test_statistics_of_a_span(scene: Scene) -> None:
    """Every ring of the span is counted, of the viewer's units only; a span that is none is refused."""
    scene.fires(count=3)
    assert await scene.recorder.flush(5.0)
    span = {"from_us": T0_US, "to_us": T0_US + 600_000_000}
    day = await of_span(scene.engine, OFFICER, lambda _: Make("", ""), **span)
    assert (day.alarms, day.load.rung, day.load.classes) == (3, 3, {AlarmClass.FIRE: 3})
    stranger = Viewer("0999", frozenset({Role.OFFICER}), frozenset({"another"}))
    assert (await of_span(scene.engine, stranger, lambda _: Make("", ""), **span)).alarms == 0
    late = {"from_us": T0_US + 2, "to_us": T0_US + 3}  # one fire was heard 2 us after the begin
    assert (await of_span(scene.engine, OFFICER, lambda _: Make("", ""), **late)).load.rung == 1
    with pytest.raises(TooMuch, match="at most 400 days"):
        await of_span(scene.engine, OFFICER, lambda _: Make("", ""), from_us=1, to_us=1)


async def test_the_record_tells_an_alarms_story_to_who_may_see_it(scene: Scene) -> None:
    """Every change with person and reason, oldest first; to who sees other units it does not exist."""
    scene.recorder.submit(scene.event(0), None)
    (alarm,) = scene.book.alarms(OFFICER)
    comment = order(Step.COMMENT, alarm, text="kitchen, 厨房")
    await scene.recorder.record(scene.desk.act(OFFICER, comment, now_us=T0_US + 9))
    told = await scene.recorder.story(OFFICER, alarm.id)
    assert told is not None
    assert [(row.number, row.what, row.actor, row.origin, row.reason) for row in told.rows] == [
        (1, "raised", "gw-1", "gateway", ""), (2, "commented", "0417", "person", "kitchen, 厨房"),
    ]  # fmt: skip
    assert told.alarm == scene.book.find(alarm.id)
    stranger = Viewer("0009", frozenset({Role.OFFICER}), frozenset({"u2"}))
    assert await scene.recorder.story(stranger, alarm.id) is None
    assert await scene.recorder.story(OFFICER, "nothing") is None


async def test_pending_is_bounded_per_alarm(scene: Scene) -> None:
    """A chattering alarm without a database keeps its beginning and its newest changes, and is counted."""
    with scene.database.locked():
        scene.fires()
        await until(lambda: scene.recorder.fault, 5.0, "fault")
        for _ in range(100):
            scene.recorder.submit(scene.event(0), None)
        assert scene.recorder.pending == FIRES - 1 + PENDING_PER_ALARM
        assert scene.recorder.merged == 101 - PENDING_PER_ALARM
    await scene.all_recorded()
    versions = [version for _, alarm, version in scene.rows() if alarm == scene.rows()[0][1]]
    assert (versions[0], versions[-1]) == (1, 101)
