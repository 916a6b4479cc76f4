"""The audit of the alarm record: its chain, and heads of it that are kept elsewhere.

A chain shows every edit, removal and move. It cannot show that its end was cut off or that all of it was
written anew. So the number and chain value of the last row, a *head*, are appended every ``EXPORT_EVERY_S``
to a file beside the database, best on another disk: a record that does not hold an exported head was cut or
written anew.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, Engine, func, select

from alerting.alarms.record import GENESIS, alarm_table, chained, record_table
from alerting.errors import HeadsDamaged

EXPORT_EVERY_S = 300.0

FLAWS_TOLD = 100
"""Of a record that is not whole; the first one matters, the others say how much."""

_TOLD_EVERY = 50_000


class Head(msgspec.Struct, frozen=True):
    """The last row of the record at some time."""

    number: int
    chain: str
    at_us: int
    """When it was exported, server's clock."""


class Flaw(NamedTuple):
    """What is wrong, and at which row; 0 = not at one row."""

    number: int
    text: str


class Heads:
    """A file of heads, one JSON line each, only ever appended to."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> list[Head]:
        """All heads, oldest first; none where there is no file.

        Raises:
            HeadsDamaged: A line is no head.
        """
        try:
            lines = self.path.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        heads = []
        for number, line in enumerate(lines, start=1):
            try:
                heads.append(msgspec.json.decode(line, type=Head))
            except msgspec.DecodeError as error:
                raise HeadsDamaged(f"{self.path}:{number}: {error}") from error
        return heads

    def export(self, engine: Engine, now_us: int) -> str:
        """Append the head of now, unless nothing is new; what is wrong with the record, empty = nothing.

        The newest head must still be in the record; if it is not, nothing is appended.

        Raises:
            HeadsDamaged: A line is no head.
            OSError, sqlalchemy.exc.SQLAlchemyError: The file or the database refuses.
        """
        known = self.read()[-1:]
        with engine.connect() as connection:
            flaws = list(_missing(connection, known))
            last = _last(connection)
        if flaws:
            return flaws[0].text
        if last is None or (known and known[0].number == last[0]):
            return ""
        line = msgspec.json.encode(Head(last[0], last[1], now_us)) + b"\n"
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, line)
            os.fsync(file)
        finally:
            os.close(file)
        return ""


def verify(
    engine: Engine, heads: Sequence[Head], *, progress: Callable[[int], None] = lambda _rows: None
) -> list[Flaw]:
    """Everything that is wrong with the record; an empty list: it is whole, and holds every head.

    Args:
        engine: The state database.
        heads: As they were exported. What was written after the newest one is only held by its own chain.
        progress: Told now and then how many rows were read.
    """
    flaws: list[Flaw] = []
    with engine.connect() as connection:
        if engine.dialect.name != "sqlite":  # there a transaction that reads sees one moment anyway
            connection = connection.execution_options(isolation_level="REPEATABLE READ")
        for check in (_broken(connection, progress), _missing(connection, heads), _current(connection)):
            for flaw in check:
                flaws.append(flaw)
                if len(flaws) == FLAWS_TOLD:
                    return flaws
    return flaws


def _broken(connection: Connection, progress: Callable[[int], None]) -> Iterator[Flaw]:
    """Rows that do not follow from the row before them."""
    chain, number = GENESIS, 0
    query = select(record_table).order_by(record_table.c.number).execution_options(yield_per=1_000)
    for row in connection.execute(query).mappings():
        number += 1
        if row["number"] != number:
            yield Flaw(number, f"row {number} is missing: row {row['number']} comes instead")
            number = row["number"]
        elif row["chain"] != chained(chain, dict(row)):
            yield Flaw(number, f"row {number} is not what was written after the row before it")
        chain = row["chain"]
        if number % _TOLD_EVERY == 0:
            progress(number)


def _missing(connection: Connection, heads: Sequence[Head]) -> Iterator[Flaw]:
    """Heads that the record does not hold, or that contradict each other."""
    last = _last(connection)
    end, newest = last[0] if last is not None else 0, 0
    for head in heads:
        if head.number < newest:
            yield Flaw(head.number, f"a head of row {head.number} was exported after one of row {newest}")
        newest = max(newest, head.number)
        chain = connection.execute(
            select(record_table.c.chain).where(record_table.c.number == head.number)
        ).scalar()
        if chain is None:
            yield Flaw(
                head.number, f"row {head.number} was exported as a head; the record ends with row {end}"
            )
        elif chain != head.chain:
            yield Flaw(head.number, f"row {head.number} was another one when its head was exported")


def _current(connection: Connection) -> Iterator[Flaw]:
    """Alarms whose current form is not their newest row."""
    newest = (
        select(record_table.c.alarm, func.max(record_table.c.number).label("number"))
        .group_by(record_table.c.alarm)
        .subquery()
    )
    written = (
        select(newest.c.alarm, newest.c.number, record_table.c.body, record_table.c.unit)
        .join(record_table, record_table.c.number == newest.c.number)
        .subquery()
    )
    closed = alarm_table.c.body.like('%"state":"closed"%')
    differ = (
        (written.c.number != alarm_table.c.number)
        | (written.c.body != alarm_table.c.body)
        | (written.c.unit != alarm_table.c.unit)
        | (alarm_table.c.open & closed)
        | (~alarm_table.c.open & ~closed)
    )
    query = (
        select(written.c.alarm, alarm_table.c.id, written.c.number, alarm_table.c.number)
        .select_from(written)
        .join(alarm_table, alarm_table.c.id == written.c.alarm, full=True)
        .where(differ | written.c.alarm.is_(None) | alarm_table.c.id.is_(None))
    )
    for alarm, current, number, claimed in connection.execute(query):
        if current is None:
            yield Flaw(number, f"alarm {alarm} of row {number} is gone from the current alarms")
        elif alarm is None:
            yield Flaw(claimed, f"alarm {current} has no row, and claims row {claimed}")
        else:
            yield Flaw(number, f"the current form of alarm {alarm} is not what its newest row {number} says")


def _last(connection: Connection) -> tuple[int, str] | None:
    row = connection.execute(
        select(record_table.c.number, record_table.c.chain).order_by(record_table.c.number.desc()).limit(1)
    ).first()
    return None if row is None else (row.number, row.chain)
