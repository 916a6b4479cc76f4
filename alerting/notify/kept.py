"""What people decide about calling, kept in the state database: rosters, and buildings under test.

Both are append-only: who was to be called on a night last year, and which building was under test then, why
and by whose word, can still be said.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, Engine, func, insert, select, update

from alerting.notify.plan import Why
from alerting.notify.roster import Roster
from alerting.notify.tables import roster_table, step_table, test_table
from alerting.state import answering
from fengsui.database import writing

LONGEST_TEST_US = 12 * 3_600_000_000
"""Nobody forgets a building under test for longer; a longer test is entered again."""


class KeptRoster(NamedTuple):
    """A roster with its number: 1 for the first one that was in force here."""

    number: int
    roster: Roster
    since_us: int
    person: str


class UnderTest(NamedTuple):
    """A building whose alarms stay in the house until an end, by somebody's word."""

    building: str
    since_us: int
    until_us: int
    reason: str
    person: str


def put_in_force(engine: Engine, roster: Roster, person: str, now_us: int) -> int:
    """Keep a checked roster as the newest; its number (blocking).

    Raises:
        RecordUnavailable: The state database does not answer.
    """
    body = msgspec.json.encode(roster).decode()
    with answering(), writing(engine) as connection:
        done = connection.execute(
            insert(roster_table).values(since_us=now_us, person=person[:200], body=body)
        )
        assert done.inserted_primary_key is not None
        return int(done.inserted_primary_key[0])


def newest_number(engine: Engine) -> int:
    """The number of the roster in force; 0 = there is none (blocking).

    Raises:
        RecordUnavailable: The state database does not answer.
    """
    with answering(), engine.connect() as connection:
        return connection.execute(select(func.max(roster_table.c.number))).scalar() or 0


def in_force(engine: Engine) -> KeptRoster | None:
    """The roster in force; None = there is none (blocking).

    Raises:
        RecordUnavailable: The state database does not answer.
    """
    newest = select(roster_table).order_by(roster_table.c.number.desc()).limit(1)
    with answering(), engine.connect() as connection:
        row = connection.execute(newest).first()
    if row is None:
        return None
    return KeptRoster(row.number, msgspec.json.decode(row.body, type=Roster), row.since_us, row.person)


def put_under_test(
    engine: Engine, building: str, reason: str, person: str, *, now_us: int, until_us: int
) -> None:
    """Keep a building's alarms in the house until ``until_us``; a test that runs there ends then instead.

    Raises:
        ValueError: No reason, or an end that is past or too far.
        RecordUnavailable: The state database does not answer.
    """
    if not reason.strip():
        raise ValueError("a test needs a reason")
    if not now_us < until_us <= now_us + LONGEST_TEST_US:
        raise ValueError(
            f"a test ends after now and within {LONGEST_TEST_US // 3_600_000_000} h; enter it again then"
        )
    with answering(), writing(engine) as connection:
        _end(connection, building, now_us, until_us)
        connection.execute(
            insert(test_table).values(
                building=building[:80], since_us=now_us, until_us=until_us, reason=reason[:300],
                person=person[:200],
            )
        )  # fmt: skip


def end_test(engine: Engine, building: str, now_us: int) -> bool:
    """End a building's test now; False = there was none.

    Raises:
        RecordUnavailable: The state database does not answer.
    """
    with answering(), writing(engine) as connection:
        return _end(connection, building, now_us, now_us)


def under_test(engine: Engine, now_us: int) -> list[UnderTest]:
    """Every building under test at ``now_us``.

    Raises:
        RecordUnavailable: The state database does not answer.
    """
    t = test_table.c
    columns = (t.building, t.since_us, t.until_us, t.reason, t.person)
    with answering(), engine.connect() as connection:
        rows = connection.execute(select(*columns).where(t.until_us > now_us).order_by(t.building))
        return [UnderTest(*row) for row in rows]


def test_ends_us(connection: Connection, building: str, now_us: int) -> int | None:
    """When the test of a building ends; None = it is under none."""
    t = test_table.c
    return connection.execute(
        select(func.max(t.until_us)).where(t.building == building, t.until_us > now_us)
    ).scalar()


def _end(connection: Connection, building: str, now_us: int, then_us: int) -> bool:
    """End a test that runs; what was held for its end is told at ``then_us`` instead."""
    ends_us = test_ends_us(connection, building, now_us)
    if ends_us is None:
        return False
    t, s = test_table.c, step_table.c
    connection.execute(
        update(test_table).where(t.building == building, t.until_us > now_us).values(until_us=now_us)
    )
    held = (s.building == building, s.why == str(Why.UNDER_TEST), s.state == "pending")
    connection.execute(update(step_table).where(*held).values(due_us=s.due_us + (then_us - ends_us)))
    return True
