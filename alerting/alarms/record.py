"""The alarm record: everything that ever happened to every alarm, append-only, numbered, chained by hash.

Three tables. ``alarm_record`` has one row per change; ``chain`` is the SHA-256 over the row before and this
row, so an edited, removed or reordered row breaks every later one; ``audit.py`` looks for that, and for more.
``alarm`` has the newest version of each alarm, from which the book is loaded. ``detect_cursor`` names the
journal and the entries whose outcome is in the record; it is written in the same transaction as the changes,
so that a replay knows what was said.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
import structlog
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Engine,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    delete,
    func,
    insert,
    select,
    update,
)  # fmt: skip
from sqlalchemy.exc import SQLAlchemyError

from alerting.alarms.book import CLOSED_KEPT, CLOSED_REMEMBERED, Change
from alerting.alarms.lifecycle import Alarm, State
from alerting.detect.snapshot import Cursor
from alerting.errors import RecordUnavailable
from fengsui.database import metadata, writing
from fengsui.model import AlarmClass
from fengsui.viewer import Viewer

record_table = Table(
    "alarm_record",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("alarm", String(36), nullable=False),
    Column("version", Integer, nullable=False),
    Column("at_us", BigInteger, nullable=False),
    Column("what", String(16), nullable=False),
    Column("actor", String(200), nullable=False),
    Column("origin", String(16), nullable=False),
    Column("unit", String(80), nullable=False),
    Column("body", Text, nullable=False),
    Column("reason", Text, nullable=False, default=""),
    Column("chain", String(64), nullable=False),
    UniqueConstraint("alarm", "version"),
    Index("ix_alarm_record_at_us", "at_us"),
)

alarm_table = Table(
    "alarm",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("open", Boolean, nullable=False),
    Column("unit", String(80), nullable=False),
    Column("point", String(200), nullable=False),
    Column("cls", String(16), nullable=False),
    Column("body", Text, nullable=False),
    Index("ix_alarm_open", "open", "number"),
)

cursor_table = Table(
    "detect_cursor",
    metadata,
    Column("journal", String(64), primary_key=True),
    Column("alarm", BigInteger, nullable=False),
    Column("telemetry", BigInteger, nullable=False),
)

DEADLINE_S = 1.0
"""A change that is not recorded by then is shown anyway, marked as not yet recorded."""

PENDING_PER_ALARM = 16
"""Changes of one alarm that wait for the database; beyond it the ones in the middle are merged, counted."""

RETRY_S = (0.5, 5.0)

STORY_ROWS = 1_000

GENESIS = "0" * 64
"""What the first row follows."""

Within = Callable[[Connection, Sequence[Change]], None]
"""What somebody else writes in the transaction that records these changes."""

log = structlog.get_logger()


class Entry(NamedTuple):
    """A change as the world is told about it."""

    alarm: Alarm
    what: str
    recorded: bool


class Loaded(NamedTuple):
    """What the record knows when the process starts."""

    alarms: list[Alarm]
    """Open ones, oldest first."""
    closed: list[str]
    """Ids of the newest closed ones, oldest first."""
    gone: list[Alarm]
    """The newest closed ones, oldest first."""
    cursor: Cursor | None
    number: int
    """Last number given, 0 before the first."""


class Row(NamedTuple):
    """One row of an alarm's story, as a person reads it."""

    number: int
    version: int
    at_us: int
    """Server clock."""
    what: str
    actor: str
    origin: str
    reason: str
    state: str


class Story(NamedTuple):
    """All that the record has of one alarm."""

    alarm: Alarm
    """As it was recorded last."""
    rows: list[Row]
    """Oldest first, the newest ``STORY_ROWS``."""


@dataclass(slots=True)
class _Pending:
    change: Change
    shown: bool = False
    done: asyncio.Event = field(default_factory=asyncio.Event)
    timer: asyncio.TimerHandle | None = None


class Recorder:
    """Records changes in order, exactly once, and tells the world: after recording, or at the deadline.

    Args:
        engine: The state database.
        publish: Told about each change, maybe twice: not yet recorded at the deadline, recorded later. Must
            return at once.
        wall_us: The server's wall clock, for ``recorded_at_us``.
        recorded: Told about each alarm version with its number, before ``publish``.
        within: Called inside the transaction that records a batch, after its rows, with the changes
            as recorded (their alarms numbered): what must be true exactly when they are is written by it.
            It runs in the database's thread; what it raises takes the whole batch back, and a database error
            is tried again.
        deadline_s: See ``DEADLINE_S``.
        retry_s: First and longest pause after the database refused.
    """

    def __init__(
        self,
        engine: Engine,
        publish: Callable[[Entry], None],
        *,
        wall_us: Callable[[], int],
        recorded: Callable[[Alarm], None],
        within: Within | None = None,
        deadline_s: float = DEADLINE_S,
        retry_s: tuple[float, float] = RETRY_S,
    ) -> None:
        self._engine = engine
        self._within = within
        self._publish = publish
        self._wall_us = wall_us
        self._recorded = recorded
        self._deadline_s = deadline_s
        self._retry_s = retry_s
        self._pending: list[_Pending] = []
        self._cursor: Cursor | None = None
        self._waiting = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()
        self.fault = ""
        """Why the database does not take changes; empty = it does."""
        self.number = 0
        """Last number given."""
        self.merged = 0
        """Changes given up because too many of one alarm waited."""

    @property
    def pending(self) -> int:
        """Changes that wait to be recorded."""
        return len(self._pending)

    async def load(self) -> Loaded:
        """Read the open alarms, the newest closed ids and the cursor.

        Raises:
            RecordUnavailable: the database cannot be read.
        """
        try:
            loaded = await asyncio.to_thread(_load, self._engine)
        except (SQLAlchemyError, OSError, msgspec.DecodeError) as error:
            raise RecordUnavailable(f"the alarm record cannot be read: {_text(error)}") from error
        self.number = loaded.number
        self._cursor = loaded.cursor
        return loaded

    def submit(self, changes: Sequence[Change], cursor: Cursor | None) -> None:
        """Take changes to be recorded, with the place in the journal they bring detection to.

        ``cursor`` None = they come from no journal entry (time, a person). Never waits; a change is published
        within the deadline whatever the database does.
        """
        if cursor is not None:
            self._cursor = cursor
        if changes:
            self._take(changes)

    def _take(self, changes: Sequence[Change]) -> list[_Pending]:
        loop = asyncio.get_running_loop()
        taken = [_Pending(change) for change in changes]
        self._pending += taken
        for pending in taken:
            if self.fault:
                self._show(pending)
            else:
                pending.timer = loop.call_later(self._deadline_s, self._show, pending)
        self._bound({change.alarm.id for change in changes})
        self._settled.clear()
        self._waiting.set()
        return taken

    async def record(self, changes: Sequence[Change]) -> Alarm:
        """Take changes and wait for the first, at most the deadline; its alarm, numbered if recorded."""
        pending = self._take(changes)[0]
        try:
            async with asyncio.timeout(self._deadline_s):
                await pending.done.wait()
        except TimeoutError:
            self._show(pending)
        return pending.change.alarm

    async def story(self, viewer: Viewer, alarm: str) -> Story | None:
        """What happened to an alarm, however long ago; None = no such alarm, or none this person may see.

        Raises:
            RecordUnavailable: the database cannot be read.
        """
        return await asyncio.to_thread(_story, self._engine, viewer, alarm)

    async def flush(self, timeout_s: float) -> bool:
        """Wait until everything is recorded; False when it is not within ``timeout_s``. For a clean stop."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._settled.wait()
        except TimeoutError:
            return False
        return True

    async def run(self) -> None:
        """Record what is submitted, until cancelled; what the database refuses is tried again for ever."""
        pause_s = self._retry_s[0]
        while True:
            await self._waiting.wait()
            self._waiting.clear()
            taken = list(self._pending)
            if not taken:
                continue
            try:
                alarms = await asyncio.to_thread(
                    _write,
                    self._engine,
                    [item.change for item in taken],
                    self._cursor,
                    self._wall_us(),
                    self._within,
                )
            except (SQLAlchemyError, OSError) as error:
                self._refused(_text(error))
                await asyncio.sleep(pause_s * random.uniform(0.7, 1.0))
                pause_s = min(2 * pause_s, self._retry_s[1])
                self._waiting.set()
                continue
            pause_s = self._retry_s[0]
            if self.fault:
                log.info("alarm record is back", waited=len(taken))
                self.fault = ""
            self._done(taken, alarms)

    def _done(self, taken: list[_Pending], alarms: list[Alarm]) -> None:
        finished = {id(item) for item in taken}
        self._pending = [item for item in self._pending if id(item) not in finished]
        for item, alarm in zip(taken, alarms, strict=True):
            if item.timer is not None:
                item.timer.cancel()
            item.change = item.change._replace(alarm=alarm)
            self.number = max(self.number, alarm.number or 0)
            self._recorded(alarm)
            self._publish(Entry(alarm, item.change.what, recorded=True))
            item.shown = True
            item.done.set()
        if not self._pending:
            self._settled.set()

    def _refused(self, text: str) -> None:
        if text != self.fault:
            log.error("alarm record refused; alarms are shown unrecorded", error=text, pending=self.pending)
        self.fault = text
        self._engine.dispose()  # a disk that was replaced or remounted needs new file handles
        for item in self._pending:
            self._show(item)

    def _show(self, item: _Pending) -> None:
        """Publish a change that is not recorded yet, once."""
        if item.shown:
            return
        item.shown = True
        self._publish(Entry(item.change.alarm, item.change.what, recorded=False))

    def _bound(self, alarms: Iterable[str]) -> None:
        """Keep at most ``PENDING_PER_ALARM`` changes of one alarm while the database is down.

        The first and the newest ones stay, and what persons did; the record then has a hole in the versions.
        """
        if not self.fault:
            return
        for alarm in alarms:
            same = [item for item in self._pending if item.change.alarm.id == alarm]
            chatter = [item for item in same[1:-1] if item.change.origin != "person"]
            for item in chatter[: max(0, len(same) - PENDING_PER_ALARM)]:
                self._pending.remove(item)
                item.done.set()
                self.merged += 1


def _load(engine: Engine) -> Loaded:
    with engine.connect() as connection:
        bodies = connection.execute(
            select(alarm_table.c.body).where(alarm_table.c.open).order_by(alarm_table.c.number)
        ).scalars()
        alarms = [msgspec.json.decode(body, type=Alarm) for body in bodies]
        closed = _of_newest_closed(connection, alarm_table.c.id, CLOSED_REMEMBERED)
        kept = _of_newest_closed(connection, alarm_table.c.body, CLOSED_KEPT)
        gone = [msgspec.json.decode(body, type=Alarm) for body in kept]
        row = connection.execute(select(cursor_table)).first()
        number = connection.execute(select(func.max(record_table.c.number))).scalar() or 0
        cursor = None if row is None else Cursor(row.journal, row.alarm, row.telemetry)
        return Loaded(alarms, closed, gone, cursor, number)


def _of_newest_closed(connection: Connection, column: Column[str], count: int) -> list[str]:
    """A column of the newest closed alarms, the oldest of them first."""
    newest = select(column).where(~alarm_table.c.open).order_by(alarm_table.c.number.desc()).limit(count)
    return list(connection.execute(newest).scalars())[::-1]


def _write(
    engine: Engine, changes: Sequence[Change], cursor: Cursor | None, now_us: int, within: Within | None
) -> list[Alarm]:
    """Record what is not recorded yet, and the cursor, in one transaction; the alarms with their numbers."""
    with writing(engine) as connection:
        last = connection.execute(
            select(record_table.c.number, record_table.c.chain)
            .order_by(record_table.c.number.desc())
            .limit(1)
        ).first()
        number, chain = (last.number, last.chain) if last is not None else (0, GENESIS)
        alarms: list[Alarm] = []
        written: list[Change] = []
        for change in changes:
            known = _recorded_already(connection, change.alarm)
            if known is not None:  # a commit whose answer was lost
                alarms.append(known)
                continue
            number += 1
            alarm = msgspec.structs.replace(change.alarm, number=number, recorded_at_us=now_us)
            body = msgspec.json.encode(alarm).decode()
            row = {
                "number": number, "alarm": alarm.id, "version": alarm.version, "at_us": change.at_us,
                "what": change.what, "actor": change.actor, "origin": change.origin, "unit": alarm.unit,
                "body": body, "reason": change.reason,
            }  # fmt: skip
            chain = chained(chain, row)
            connection.execute(insert(record_table).values(**row, chain=chain))
            _put_alarm(connection, alarm, body)
            alarms.append(alarm)
            written.append(change._replace(alarm=alarm))
        if within is not None and written:
            within(connection, written)
        if cursor is not None:
            connection.execute(delete(cursor_table))
            connection.execute(insert(cursor_table).values(**cursor._asdict()))
        return alarms


def chained(previous: str, row: Mapping[str, object]) -> str:
    """The chain value of a record row after the one whose chain value is ``previous``."""
    content = [row[name] for name in _HASHED]
    if row["reason"]:  # rows from before there were reasons keep their chain value
        content.append(row["reason"])
    return hashlib.sha256(previous.encode() + msgspec.json.encode(content)).hexdigest()


_HASHED = ("number", "alarm", "version", "at_us", "what", "actor", "origin", "unit", "body")


def _story(engine: Engine, viewer: Viewer, alarm: str) -> Story | None:
    columns = record_table.c
    query = select(record_table).where(columns.alarm == alarm).order_by(columns.number.desc())
    try:
        with engine.connect() as connection:
            rows = connection.execute(query.limit(STORY_ROWS)).all()
    except (SQLAlchemyError, OSError) as error:
        raise RecordUnavailable(f"the alarm record cannot be read: {_text(error)}") from error
    if not rows or not viewer.sees(rows[0].unit):
        return None
    alarms = [msgspec.json.decode(row.body, type=Alarm) for row in rows]
    told = [
        Row(row.number, row.version, row.at_us, row.what, row.actor, row.origin, row.reason, str(then.state))
        for row, then in zip(rows, alarms, strict=True)
    ]
    return Story(alarms[0], told[::-1])


def begun_at(engine: Engine, cls: AlarmClass, from_us: int, to_us: int) -> list[str]:
    """Where each recorded alarm of a class began with ``from_us <= measured at < to_us``, a name for each."""
    with engine.connect() as connection:
        rows = connection.execute(select(alarm_table.c.body).where(alarm_table.c.cls == str(cls)))
        alarms = (msgspec.json.decode(body, type=Alarm) for body in rows.scalars())
        return [alarm.point for alarm in alarms if from_us <= alarm.measured_at_us < to_us]


def _recorded_already(connection: Connection, alarm: Alarm) -> Alarm | None:
    body = connection.execute(
        select(record_table.c.body).where(
            record_table.c.alarm == alarm.id, record_table.c.version == alarm.version
        )
    ).scalar()
    return None if body is None else msgspec.json.decode(body, type=Alarm)


def _put_alarm(connection: Connection, alarm: Alarm, body: str) -> None:
    values = {
        "number": alarm.number, "open": alarm.state is not State.CLOSED, "unit": alarm.unit,
        "point": alarm.point, "cls": str(alarm.cls), "body": body,
    }  # fmt: skip
    done = connection.execute(update(alarm_table).where(alarm_table.c.id == alarm.id).values(**values))
    if done.rowcount == 0:
        connection.execute(insert(alarm_table).values(id=alarm.id, **values))


def _text(error: BaseException) -> str:
    return str(getattr(error, "orig", None) or error)[:200]
