"""Steps in a real database: written with the alarm, cancelled with its acknowledgement."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator

import msgspec
import pytest
from sqlalchemy import Engine, event, select
from sqlalchemy.exc import OperationalError

from alerting.alarms.book import Change
from alerting.alarms.lifecycle import Alarm, State
from alerting.alarms.record import Recorder, record_table
from alerting.detect.verdict import Level
from alerting.notify import kept
from alerting.notify.roster import Roster
from alerting.notify.steps import (
    BUNDLE_US,
    GIVE_UP_US,
    Bundle,
    Calling,
    claim,
    delivered,
    log_of,
    refused,
    release,
)
from alerting.notify.tables import step_table
from fengsui.database import connect
from fengsui.model import AlarmClass
from server.migrations import upgrade
from tests.alarms import alarm
from tests.databases import Database
from tests.rosters import CHANNELS, INSIDE, MONDAY_NOON_US, S, roster
from tests.waiting import background

T0_US = MONDAY_NOON_US
ROOM = dict.fromkeys(CHANNELS, (4, 3))


class Desk:
    """A record whose transactions plan and cancel."""

    def __init__(self, url: str) -> None:
        self.engine = connect(url, busy_timeout_ms=100)
        self.roster: Roster | None = roster()
        self.calling = Calling(lambda: self.roster, INSIDE)
        self.recorder = Recorder(
            self.engine,
            lambda _: None,
            wall_us=lambda: T0_US,
            recorded=lambda _: None,
            within=self.calling.within,
            retry_s=(0.02, 0.1),
        )

    async def tell(self, told: Alarm, what: str, at_us: int = T0_US) -> None:
        """Record one change."""
        self.recorder.submit([Change(told, what, "0417", "person", at_us)], None)
        assert await self.recorder.flush(5.0)

    def claim(self, at_us: int) -> list[Bundle]:
        """What is due."""
        return claim(self.engine, ROOM, at_us)

    def rows(self) -> list[tuple[str, str, str]]:
        """Contact, channel and state of every step, in the order they are due."""
        columns = step_table.c.contact, step_table.c.channel, step_table.c.state
        with self.engine.connect() as connection:
            found = connection.execute(select(*columns).order_by(step_table.c.due_us, step_table.c.number))
            return [tuple(row) for row in found]

    def states(self) -> dict[str, int]:
        """How many steps are in each state."""
        states = [state for _, _, state in self.rows()]
        return {state: states.count(state) for state in states}


@pytest.fixture
async def desk(state: Database) -> AsyncIterator[Desk]:
    """A migrated database with a recorder that runs."""
    upgrade(state.url)
    desk = Desk(state.url)
    async with background(desk.recorder.run()):
        yield desk
    desk.engine.dispose()


def told(bundles: list[Bundle]) -> list[tuple[str, str]]:
    """Contact and channel of each message."""
    return [(bundle.contact, bundle.channel) for bundle in bundles]


async def test_an_alarm_is_recorded_with_its_steps(desk: Desk) -> None:
    """A raised fire has its whole escalation in the database as soon as it is recorded."""
    await desk.tell(alarm(), "raised")
    assert desk.rows() == [
        ("sounder", "desk", "pending"),
        ("wang", "sms", "pending"),
        ("wang", "mail", "pending"),
        ("chief", "sms", "pending"),
        ("chief", "sms", "pending"),
        ("owner", "mail", "pending"),
    ]
    assert told(desk.claim(T0_US)) == [("sounder", "desk"), ("wang", "mail"), ("wang", "sms")]
    assert told(desk.claim(T0_US + 60 * S)) == [("chief", "sms")]


async def test_acknowledging_cancels_in_the_same_transaction(desk: Desk) -> None:
    """What is not sent when a person acknowledges is never sent."""
    await desk.tell(alarm(), "raised")
    desk.claim(T0_US)
    await desk.tell(alarm(version=2, state=State.ACKNOWLEDGED), "acknowledged", T0_US + S)
    assert desk.states() == {"sending": 3, "cancelled": 3}
    assert desk.claim(T0_US + 3600 * S) == []
    cancelled = [row for row in log_of(desk.engine, alarm="a1") if row["state"] == "cancelled"]
    assert {row["outcome"] for row in cancelled} == {"acknowledged by 0417"}


async def test_acknowledgement_and_cancelling_are_rolled_back_together(desk: Desk) -> None:
    """When the database refuses at the commit, the alarm is unacknowledged and its steps are pending."""
    await desk.tell(alarm(), "raised")
    broken = {"commits": 1}

    @event.listens_for(desk.engine, "commit")
    def refuse(_connection: object) -> None:
        if broken["commits"]:
            raise OperationalError("COMMIT", {}, sqlite3.OperationalError("disk I/O error"))

    acknowledged = alarm(version=2, state=State.ACKNOWLEDGED)
    desk.recorder.submit([Change(acknowledged, "acknowledged", "0417", "person", T0_US + S)], None)
    assert not await desk.recorder.flush(0.3)
    with desk.engine.connect() as connection:
        recorded = connection.execute(select(record_table.c.what)).scalars().all()
        pending = connection.execute(select(step_table.c.state)).scalars().all()
    assert recorded == ["raised"]
    assert pending == ["pending"] * 6
    broken["commits"] = 0
    assert await desk.recorder.flush(5.0)
    assert desk.states() == {"cancelled": 6}


async def test_a_delivery_makes_the_fallback_needless(desk: Desk) -> None:
    """The second channel is cancelled by the transaction that records the first one's receipt."""
    await desk.tell(alarm(cls=AlarmClass.FAULT, severity=2), "raised", T0_US + 11 * 3600 * S)
    (first,) = desk.claim(T0_US + 11 * 3600 * S)
    delivered(desk.engine, first.numbers, "MSG-1", T0_US + 11 * 3600 * S)
    (sent,) = log_of(desk.engine)
    assert (sent["contact"], sent["channel"], sent["outcome"]) == ("li", "sms", "MSG-1")
    assert ("li", "mail", "cancelled") in desk.rows()


async def test_a_refusal_brings_the_fallback_forward_and_tries_again(desk: Desk) -> None:
    """The next channel is due at once; the refused one after a pause that doubles, until it is given up."""
    night_us = T0_US + 11 * 3600 * S
    await desk.tell(alarm(cls=AlarmClass.FAULT, severity=2), "raised", night_us)
    (first,) = desk.claim(night_us)
    assert refused(desk.engine, first.numbers, "busy", retryable=True, now_us=night_us + S) == 0
    assert told(desk.claim(night_us + S)) == [("li", "mail")]
    assert told(desk.claim(night_us + 2 * S)) == [("li", "sms")]
    refused(desk.engine, first.numbers, "busy", retryable=True, now_us=night_us + 3 * S)
    assert desk.claim(night_us + 5 * S - 1) == []
    assert told(desk.claim(night_us + 5 * S)) == [("li", "sms")]
    late_us = night_us + GIVE_UP_US
    assert refused(desk.engine, first.numbers, "busy", retryable=True, now_us=late_us) == 1
    assert ("li", "sms", "failed") in desk.rows()


async def test_what_is_wrong_for_good_is_not_tried_again(desk: Desk) -> None:
    """A refusal that time does not mend fails the step, and counts."""
    await desk.tell(alarm(), "raised")
    bundles = desk.claim(T0_US)
    assert refused(desk.engine, bundles[0].numbers, "no such number", retryable=False, now_us=T0_US) == 1
    assert ("sounder", "desk", "failed") in desk.rows()


async def test_what_a_dead_process_was_sending_is_sent_again(desk: Desk) -> None:
    """At the next start, however late that is; what was acknowledged meanwhile is not."""
    await desk.tell(alarm(), "raised")
    await desk.tell(alarm(id="a2", point="p2", building="mill"), "raised")
    first = desk.claim(T0_US)
    await desk.tell(
        alarm(id="a2", point="p2", building="mill", version=2, state=State.ACKNOWLEDGED), "acknowledged"
    )
    assert release(desk.engine) == 3
    again = desk.claim(T0_US + 3600 * S)
    assert {bundle.numbers for bundle in again if bundle.channel == "desk"} < {b.numbers for b in first}
    assert all(
        refused(desk.engine, b.numbers, "busy", retryable=True, now_us=T0_US + 3601 * S) == 0 for b in again
    )


async def test_one_message_for_an_incident_in_thirty_seconds_and_none_is_lost(desk: Desk) -> None:
    """Further alarms of a class in a building wait for the next message, which tells of them all."""
    await desk.tell(alarm(), "raised")
    assert len(desk.claim(T0_US)) == 3
    for number in range(2, 9):
        await desk.tell(alarm(id=f"a{number}", point=f"p{number}"), "raised", T0_US + S)
    assert desk.claim(T0_US + 2 * S) == []
    assert desk.claim(T0_US + BUNDLE_US - 1) == []
    later = desk.claim(T0_US + BUNDLE_US)
    assert sorted(told(later)) == [("sounder", "desk"), ("wang", "mail"), ("wang", "sms")]
    assert {bundle.total for bundle in later} == {7}
    assert [one.id for one in later[0].alarms] == ["a8", "a7", "a6", "a5", "a4"]


async def test_fire_goes_first_and_has_a_place_of_its_own(desk: Desk) -> None:
    """Fire is claimed before faults, and faults never take a channel's last place."""
    desk.roster = roster()
    for number in range(6):
        fault = alarm(
            id=f"f{number}", point=f"p{number}", building=f"b{number}", cls=AlarmClass.FAULT, severity=2
        )
        await desk.tell(fault, "raised")
    await desk.tell(alarm(), "raised", T0_US + S)
    bundles = [bundle for bundle in desk.claim(T0_US + S) if bundle.channel == "sms"]
    assert [bundle.urgency for bundle in bundles] == [0, 3, 3]
    assert [b.urgency for b in claim(desk.engine, {"sms": (1, 0)}, T0_US + S)] == []


async def test_a_confirmed_fire_is_forwarded_each_by_itself_and_whoever_acknowledges(desk: Desk) -> None:
    """The command centre gets every confirmed fire at once, once, also when it was acknowledged before."""
    for number in range(3):
        confirmed = alarm(id=f"z{number}", point=f"/u1/tower/z{number}", level=Level.CONFIRMED)
        await desk.tell(confirmed, "raised")
        gone = msgspec.structs.replace(confirmed, version=2, state=State.ACKNOWLEDGED)
        await desk.tell(gone, "acknowledged", T0_US + 1)
        await desk.tell(msgspec.structs.replace(gone, version=3), "repeated", T0_US + 2)
    bundles = desk.claim(T0_US + 2)
    assert told(bundles) == [("119", "centre")] * 3
    assert [bundle.total for bundle in bundles] == [1, 1, 1]


async def test_a_building_under_test_tells_nobody_outside_until_its_end(desk: Desk) -> None:
    """What waits for the end moves with it, and is told when the test ends before anybody acknowledged."""
    kept.put_under_test(desk.engine, "tower", "yearly test", "0417", now_us=T0_US, until_us=T0_US + 3600 * S)
    await desk.tell(alarm(), "raised", T0_US + S)
    await desk.tell(alarm(id="m1", point="m1", building="mill"), "raised", T0_US + S)
    now = desk.claim(T0_US + 2 * S)
    assert [(b.contact, b.alarms[0].building) for b in now if b.alarms[0].building == "tower"] == [
        ("sounder", "tower")
    ]
    assert sum(b.alarms[0].building == "mill" for b in now) == 3
    kept.put_under_test(
        desk.engine, "tower", "it takes longer", "0417", now_us=T0_US + 3 * S, until_us=T0_US + 7200 * S
    )
    assert [t.reason for t in kept.under_test(desk.engine, T0_US + 4 * S)] == ["it takes longer"]
    assert all(b.alarms[0].building == "mill" for b in desk.claim(T0_US + 3700 * S))
    assert kept.end_test(desk.engine, "tower", T0_US + 3800 * S)
    assert not kept.end_test(desk.engine, "tower", T0_US + 3800 * S)
    told_ = {b.contact for b in desk.claim(T0_US + 3800 * S) if b.alarms[0].building == "tower"}
    assert told_ == {"wang", "chief", "owner"}


def test_a_test_needs_a_reason_and_an_end(state: Database) -> None:
    """Nobody puts a building under test without saying why, nor for ever."""
    engine = _migrated(state)
    with pytest.raises(ValueError, match="reason"):
        kept.put_under_test(engine, "tower", " ", "0417", now_us=T0_US, until_us=T0_US + S)
    for until_us in (T0_US, T0_US + kept.LONGEST_TEST_US + 1):
        with pytest.raises(ValueError, match="within 12 h"):
            kept.put_under_test(engine, "tower", "why", "0417", now_us=T0_US, until_us=until_us)
    assert kept.under_test(engine, T0_US) == []
    engine.dispose()


def test_every_roster_that_was_in_force_is_kept(state: Database) -> None:
    """The newest one is in force; the ones before stay, with who imported them and when."""
    engine = _migrated(state)
    assert kept.in_force(engine) is None
    assert kept.newest_number(engine) == 0
    assert kept.put_in_force(engine, roster(), "0417", T0_US) == 1
    changed = msgspec.structs.replace(roster(), fallback_s=20.0)
    assert kept.put_in_force(engine, changed, "0001", T0_US + S) == 2
    assert kept.in_force(engine) == kept.KeptRoster(2, changed, T0_US + S, "0001")
    assert kept.newest_number(engine) == 2
    engine.dispose()


async def test_without_a_roster_alarms_are_recorded_all_the_same(desk: Desk) -> None:
    """Nobody is called, and the record is what it was."""
    desk.roster = None
    await desk.tell(alarm(), "raised")
    assert desk.rows() == []
    assert desk.recorder.number == 1


def _migrated(state: Database) -> Engine:
    upgrade(state.url)
    return connect(state.url)
