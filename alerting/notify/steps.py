"""Steps as rows with deadlines: written where the alarm is recorded, claimed when due, done once or twice.

A step is *pending* until it is due, *sending* while somebody sends it, then *sent* or *failed*; what is not
needed any more is *cancelled*. A process that dies between sending and recording leaves its steps *sending*;
the next one makes them pending again, so a message may come twice, and never not at all.

What belongs together goes out as one message: the steps of one contact on one channel about one incident (by
now: one class in one building). The next message of that kind waits until ``BUNDLE_US`` after the last, and
then tells of everything that came meanwhile; what is forwarded never waits.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import StrEnum
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    RowMapping,
    func,
    insert,
    or_,
    select,
    update,
)

from alerting.alarms.book import Change
from alerting.alarms.lifecycle import Alarm
from alerting.alarms.record import alarm_table
from alerting.notify.kept import test_ends_us
from alerting.notify.plan import Case, Step, plan, wanted
from alerting.notify.roster import Roster
from alerting.notify.tables import step_table
from fengsui.database import writing
from fengsui.model import AlarmClass

BUNDLE_US = 30_000_000
"""Between two messages to one contact on one channel about one incident."""

GIVE_UP_US = 1_800_000_000
"""A step that has not succeeded so long after it was first tried is failed."""

RETRY_US = (1_000_000, 30_000_000)
"""First and longest pause after a failed attempt; doubled in between."""

TOLD_ABOUT = 5
"""Alarms that a message tells of one by one; further ones are counted."""

_URGENCY = {cls: number for number, cls in enumerate(AlarmClass)}


class StepState(StrEnum):
    """Where a step stands."""

    PENDING = "pending"
    SENDING = "sending"
    SENT = "sent"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Kind(StrEnum):
    """What a step is about."""

    ALARM = "alarm"
    BELL = "bell"
    """The daily proof that a channel delivers."""
    CANARY = "canary"
    """The proof of each minute that steps are done at all."""


_s = step_table.c
_SAME = ("kind", "alarm", "version", "call", "stage", "contact")
"""What steps have in common of which one is the fallback of another."""
_OPEN = (StepState.PENDING, StepState.SENDING)
_KEY = (_s.kind, _s.contact, _s.channel, _s.address, _s.incident, _s.forward)
"""What steps have in common that go out as one message."""


class Bundle(NamedTuple):
    """Steps that go out as one message."""

    kind: Kind
    numbers: tuple[int, ...]
    """Of the steps, the oldest first; the first one names the message."""
    contact: str
    channel: str
    to: str
    urgency: int
    forward: bool
    alarms: tuple[Alarm, ...]
    """The newest of them as they are now, at most ``TOLD_ABOUT``."""
    ids: tuple[str, ...]
    """Of all alarms that it is about, oldest first."""

    @property
    def total(self) -> int:
        """How many alarms it is about."""
        return len(self.ids)


class Calling:
    """What the record's transaction has to write about who is called; see ``Recorder``'s ``within``.

    Args:
        roster: The one in force by now; None = nobody is called.
        inside: Channels that a TEST may use.
    """

    def __init__(self, roster: Callable[[], Roster | None], inside: Collection[str]) -> None:
        self._roster = roster
        self._inside = inside

    def within(self, connection: Connection, changes: Sequence[Change]) -> None:
        """Plan, and cancel, what these changes ask for."""
        roster = self._roster()
        for change in changes:
            self._enter(connection, change, roster)

    def _enter(self, connection: Connection, change: Change, roster: Roster | None) -> None:
        alarm = change.alarm
        mine = (_s.kind == Kind.ALARM, _s.alarm == alarm.id)
        known = connection.execute(
            select(_s.forward, _s.state, func.count()).where(*mine).group_by(_s.forward, _s.state)
        ).all()
        asked = wanted(
            alarm,
            change.what,
            planned=any(not forward for forward, _, _ in known),
            pending=any(not forward and state in _OPEN for forward, state, _ in known),
            forwarded=any(forward for forward, _, _ in known),
        )
        if asked.cancel:
            cancel(connection, (*mine, ~_s.forward), f"{change.what} by {change.actor}", change.at_us)
        if asked.calm:
            cancel(connection, (*mine, ~_s.forward, _s.stage > 0), change.what, change.at_us)
        if roster is None:
            return
        for forward in [False] * asked.plan + [True] * asked.forward:
            steps = plan(
                Case(alarm.cls, alarm.severity, alarm.unit, alarm.building, alarm.test),
                roster,
                change.at_us,
                inside=self._inside,
                under_test_until_us=test_ends_us(connection, alarm.building, change.at_us),
                forward=forward,
            )
            _insert(connection, alarm, steps)


def _insert(connection: Connection, alarm: Alarm, steps: Sequence[Step]) -> None:
    incident = f"{alarm.building or alarm.gateway or alarm.unit}/{alarm.cls}"
    rows = [
        blank(Kind.ALARM, step.contact, step.channel, step.to, step.due_us) | {
            "alarm": alarm.id, "version": alarm.version, "incident": incident, "unit": alarm.unit,
            "building": alarm.building, "urgency": _URGENCY[alarm.cls], "call": step.call,
            "stage": step.stage, "rank": step.rank, "forward": step.forward, "why": str(step.why),
        }
        for step in steps
    ]  # fmt: skip
    if rows:
        connection.execute(insert(step_table), rows)


def blank(kind: Kind, contact: str, channel: str, to: str, due_us: int) -> dict[str, object]:
    """The columns of a step that nothing has happened to yet; of no alarm, and least urgent."""
    return {
        "kind": str(kind), "alarm": "", "version": 0, "incident": str(kind), "urgency": len(_URGENCY),
        "unit": "", "building": "", "call": "", "stage": 0, "contact": contact, "channel": channel,
        "address": to, "rank": 0, "forward": False, "due_us": due_us, "why": "",
        "state": str(StepState.PENDING), "attempts": 0, "outcome": "",
    }  # fmt: skip


def cancel(connection: Connection, which: Sequence[ColumnElement[bool]], why: str, now_us: int) -> None:
    """Cancel what is pending; what is being sent right now is at least not tried again."""
    pending = update(step_table).where(*which, _s.state == StepState.PENDING)
    connection.execute(pending.values(state=str(StepState.CANCELLED), done_us=now_us, outcome=why[:300]))
    sending = update(step_table).where(*which, _s.state == StepState.SENDING)
    connection.execute(sending.values(give_up_us=0))


def release(engine: Engine, held: Collection[int] = ()) -> int:
    """What is marked as being sent, and is in nobody's hands, is pending again; how many.

    Args:
        engine: The state database.
        held: The messages that really are in somebody's hands, each by its first step's number.
    """
    nobodys = (_s.state == StepState.SENDING, _s.message.not_in(held))
    with writing(engine) as connection:
        needless = update(step_table).where(*nobodys, _s.give_up_us == 0)
        connection.execute(needless.values(state=str(StepState.CANCELLED)))
        left = update(step_table).where(*nobodys)
        done = connection.execute(left.values(state=str(StepState.PENDING), give_up_us=None))
        return int(done.rowcount)


def claim(engine: Engine, room: Mapping[str, tuple[int, int]], now_us: int) -> list[Bundle]:
    """Take what is due, fire first, and mark it as being sent.

    Args:
        engine: The state database.
        room: By channel, how many messages may be begun: of fire, and of everything else.
        now_us: us since 1970 UTC.
    """
    with engine.connect() as connection:  # without the lock of a writer, for this is asked all the time
        groups = _due(connection, now_us)
    if not groups:
        return []
    taken: list[Bundle] = []
    begun: Counter[str] = Counter()
    with writing(engine) as connection:
        for key, urgency in groups:
            channel, forward = key[_KEY.index(_s.channel)], key[_KEY.index(_s.forward)]
            rows = list(
                connection.execute(
                    select(step_table)
                    .where(
                        *_is_due(now_us), *(column == value for column, value in zip(_KEY, key, strict=True))
                    )
                    .order_by(_s.number)
                ).mappings()
            )
            for part in [[row] for row in rows] if forward else [rows] if rows else []:
                fire, other = room.get(channel, (0, 0))
                if begun[channel] < (fire if urgency == 0 else other):
                    begun[channel] += 1
                    taken.append(_take(connection, part, now_us))
    return taken


def _due(connection: Connection, now_us: int) -> list[tuple[tuple[Any, ...], int]]:
    """What may go out as one message each, the most urgent first: its key and its urgency."""
    lately = connection.execute(
        select(*_KEY).where(
            or_(_s.state == StepState.SENDING, _s.state == StepState.SENT),
            _s.claimed_us > now_us - BUNDLE_US,
            ~_s.forward,
            _s.kind == Kind.ALARM,
        )
    )
    told = {tuple(row) for row in lately}
    due = connection.execute(
        select(*_KEY, _s.urgency, func.min(_s.due_us).label("since"))
        .where(*_is_due(now_us))
        .group_by(*_KEY, _s.urgency)
        .order_by(_s.urgency, "since")
    )
    groups = [(tuple(row[: len(_KEY)]), int(row.urgency)) for row in due]
    return [(key, urgency) for key, urgency in groups if key not in told]


def _is_due(now_us: int) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return _s.state == StepState.PENDING, _s.due_us <= now_us


def _take(connection: Connection, rows: Sequence[RowMapping], now_us: int) -> Bundle:
    numbers = tuple(int(row["number"]) for row in rows)
    connection.execute(
        update(step_table)
        .where(_s.number.in_(numbers))
        .values(
            state=str(StepState.SENDING),
            claimed_us=now_us,
            message=numbers[0],
            attempts=_s.attempts + 1,
            give_up_us=func.coalesce(_s.give_up_us, now_us + GIVE_UP_US),
        )
    )
    ids = list(dict.fromkeys(str(row["alarm"]) for row in rows))
    bodies = connection.execute(
        select(alarm_table.c.body)
        .where(alarm_table.c.id.in_(ids[-TOLD_ABOUT:]))
        .order_by(alarm_table.c.number.desc())
    ).scalars()
    first = rows[0]
    return Bundle(
        Kind(first["kind"]), numbers, first["contact"], first["channel"], first["address"], first["urgency"],
        first["forward"], tuple(msgspec.json.decode(body, type=Alarm) for body in bodies), tuple(ids),
    )  # fmt: skip


def delivered(engine: Engine, numbers: Sequence[int], receipt: str, now_us: int) -> None:
    """The message of these steps has arrived: they are done, and their fallbacks needless."""
    with writing(engine) as connection:
        done = update(step_table).where(_s.number.in_(numbers))
        connection.execute(
            done.values(state=str(StepState.SENT), done_us=now_us, outcome=receipt[:300] or "delivered")
        )
        steps = _of(connection, numbers)
        waiting = {
            tuple(row)
            for row in connection.execute(
                select(*(step_table.c[name] for name in _SAME))
                .where(_s.rank > 0, _s.state.in_(_OPEN), _s.alarm.in_({step["alarm"] for step in steps}))
                .distinct()
            )
        }
        for step in steps:
            if tuple(step[name] for name in _SAME) in waiting:
                cancel(connection, _fallbacks(step), f"delivered by {step['channel']}", now_us)


def refused(engine: Engine, numbers: Sequence[int], reason: str, *, retryable: bool, now_us: int) -> int:
    """The message of these steps has not arrived: again later, or never; the next channel at once.

    Returns:
        How many of them are given up.
    """
    given_up = 0
    with writing(engine) as connection:
        for step in _of(connection, numbers):
            values: dict[str, object] = {"outcome": reason[:300]}
            if step["give_up_us"] == 0:
                values |= {"state": str(StepState.CANCELLED), "done_us": now_us}
            elif not retryable or now_us >= step["give_up_us"]:
                given_up += 1
                values |= {"state": str(StepState.FAILED), "done_us": now_us}
            else:
                pause_us = min(RETRY_US[0] << min(step["attempts"] - 1, 16), RETRY_US[1])
                values |= {"state": str(StepState.PENDING), "due_us": now_us + pause_us}
            connection.execute(update(step_table).where(_s.number == step["number"]).values(**values))
            sooner = update(step_table).where(
                *_fallbacks(step),
                _s.rank == step["rank"] + 1,
                _s.state == StepState.PENDING,
                _s.due_us > now_us,
            )
            connection.execute(sooner.values(due_us=now_us))
    return given_up


def log_of(engine: Engine, *, alarm: str | None = None, limit: int = 100) -> list[RowMapping]:
    """The call log: the newest steps that were done or given up, or all of one alarm; newest first."""
    which = (
        _s.alarm == alarm
        if alarm
        else _s.state.in_((StepState.SENT, StepState.FAILED)) & (_s.kind != Kind.CANARY)
    )
    with engine.connect() as connection:
        rows = connection.execute(
            select(step_table).where(which).order_by(_s.number.desc()).limit(limit)
        ).mappings()
        return list(rows)


def _of(connection: Connection, numbers: Sequence[int]) -> list[RowMapping]:
    return list(connection.execute(select(step_table).where(_s.number.in_(numbers))).mappings())


def _fallbacks(step: RowMapping) -> tuple[ColumnElement[bool], ...]:
    return (*(step_table.c[name] == step[name] for name in _SAME), _s.rank > step["rank"])
