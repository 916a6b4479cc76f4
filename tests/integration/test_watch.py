"""The watch on a real state database: from batch to record, restart, replay, and no database at all."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import numpy as np
import pytest

from alerting.alarms.lifecycle import Alarm, State, Step
from alerting.alarms.record import Entry
from alerting.detect.rules import Coincidence, RuleSet
from alerting.detect.snapshot import Cursor, Snapshots
from alerting.detect.verdict import Level
from alerting.watch import Watch
from fengsui.batch import Batch, GatewayEvent, Position
from fengsui.database import connect
from fengsui.model import AlarmClass, Event, Lane, Point, What
from fengsui.viewer import Role, Viewer
from server.migrations import upgrade
from tests.ordering import order
from tests.unit.detection import T0_US, S, Sample, heat, point
from tests.waiting import background, until

POINTS = 20
OFFICER = Viewer("0417", frozenset({Role.OFFICER}), None)
RULES = RuleSet(
    threshold=(
        heat(),
        heat(
            name="pre", cls=AlarmClass.PREALARM, above=40.0, reset=35.0, severity=3, on_delay_s=2.0,
            off_delay_s=2.0,
        ),
    ),
    coincidence=(
        Coincidence(
            name="two", version=1, cls=AlarmClass.SUPERVISORY, severity=4, level=Level.CONFIRMED, devices=2,
            classes=(AlarmClass.FIRE,), window_s=3.0, hold_s=2.0,
        ),
    ),
)  # fmt: skip


class Registry:
    """Points that can change."""

    def __init__(self, count: int = POINTS) -> None:
        self.points: Sequence[Point] = [
            msgspec.structs.replace(point(i), building="b1", zone=f"z{i // 4}") for i in range(count)
        ]
        self.generation = 1


class Core:
    """One life of a core's watch, on files that outlive it; its clock stands still unless moved."""

    def __init__(self, folder: Path, *, journal: str = "j", deadline_s: float = 0.2) -> None:
        self.database = connect(f"sqlite:///{folder / 'state.db'}", busy_timeout_ms=100)
        self.registry = Registry()
        self.now_s = 1000.0
        self.published: list[Entry] = []
        self.beats = 0
        self.batches: asyncio.Queue[Batch] = asyncio.Queue(1000)
        self.watch = Watch(
            RULES, self.registry, self.database, Snapshots(folder / "snapshot"), journal=journal,
            publish=self.published.append, monotonic_s=lambda: self.now_s,
            wall_us=lambda: T0_US + int(self.now_s * S), beat=self._beat, deadline_s=deadline_s,
        )  # fmt: skip

    def _beat(self) -> None:
        self.beats += 1

    @property
    def alarms(self) -> list[Alarm]:
        """Open alarms."""
        return self.watch.book.alarms(OFFICER)

    async def take(self, batches: Sequence[Batch]) -> None:
        """Give batches and wait until they are entered and recorded."""
        for batch in batches:
            self.batches.put_nowait(batch)
        lane, n = batches[-1].position
        await until(lambda: self.watch.cursor.at(lane) >= n, 5.0, "batches taken")
        assert await self.watch.recorder.flush(5.0)


@asynccontextmanager
async def core(folder: Path, **options: object) -> AsyncIterator[Core]:
    """A core that runs; at the end it is cut off like a process that is killed."""
    one = Core(folder, **options)  # type: ignore[arg-type]  # the tests say which
    await one.watch.start()
    try:
        async with background(one.watch.run(one.batches.get)):
            yield one
    finally:
        one.database.dispose()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a migrated state database."""
    upgrade(f"sqlite:///{tmp_path / 'state.db'}")
    return tmp_path


def batch(
    n: int,
    samples: Sequence[Sample] = (),
    events: Sequence[GatewayEvent] = (),
    lane: Lane = Lane.TELEMETRY,
) -> Batch:
    """A batch that ends at entry ``n``."""
    return Batch(
        Position(lane, n),
        np.array([s.point for s in samples], np.int32),
        np.array([s.at_us for s in samples], np.int64),
        np.array([s.value for s in samples], np.float64),
        np.array([s.quality for s in samples], np.uint8),
        np.array([s.received_at_us for s in samples], np.int64),
        np.array([s.age_us for s in samples], np.int64),
        list(events),
    )


def stream(batches: int, seed: int) -> list[Batch]:
    """Temperatures that wander around the limits, one reading per point and second."""
    random = np.random.default_rng(seed)
    walk = 45 + np.cumsum(random.normal(0, 4, (batches, POINTS)), axis=0)
    return [
        batch(
            n,
            [
                Sample(p, T0_US + n * S, float(x), received_at_us=T0_US + n * S + 100_000)
                for p, x in enumerate(row)
            ],
        )
        for n, row in enumerate(walk, start=1)
    ]


def outcome(alarms: Sequence[Alarm], cls: AlarmClass) -> set[tuple[object, ...]]:
    """What must be the same of a class whatever happened to the process."""
    return {
        (a.id, a.point, a.state, a.count, a.measured_at_us, a.value, a.raised_at_us)
        for a in alarms
        if a.cls is cls
    }


def history(core: Core) -> list[tuple[object, ...]]:
    """The whole record: alarm, version and what, in order."""
    with core.database.connect() as connection:
        rows = connection.exec_driver_sql("SELECT alarm, version, what FROM alarm_record ORDER BY number")
        return [tuple(row) for row in rows]


async def test_from_reading_to_record(folder: Path) -> None:
    """A hot reading is an alarm with a number; a person acknowledges it."""
    async with core(folder) as one:
        await one.take([batch(1, [Sample(3, T0_US, 60.0)])])
        (fire, *_), alarm = one.published, one.alarms[0]
        assert (fire.recorded, fire.alarm.number, alarm.number, alarm.point) == (True, 1, 1, "p3")
        seen = await one.watch.act(OFFICER, order(Step.ACKNOWLEDGE, alarm))
        assert (seen.state, seen.number) == (State.ACKNOWLEDGED, 2)
        await until(lambda: one.beats > 2, 5.0, "beats")


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("with_snapshot", [True, False], ids=["snapshot", "no snapshot"])
async def test_a_killed_core_goes_on_as_if_unbroken(tmp_path: Path, seed: int, with_snapshot: bool) -> None:
    """Snapshot and replay give the alarms, the record and the state of a run that was never broken."""
    batches = stream(200, seed)
    for name in ("unbroken", "broken"):
        (tmp_path / name).mkdir()
        upgrade(f"sqlite:///{tmp_path / name / 'state.db'}")
    async with core(tmp_path / "unbroken") as whole:
        await whole.take(batches)
        async with core(tmp_path / "broken") as first:
            await first.take(batches[:80])
            await first.watch.save()
            await first.take(batches[80:120])
        if not with_snapshot:
            for file in (tmp_path / "broken" / "snapshot").iterdir():
                file.unlink()
        async with core(tmp_path / "broken") as second:
            start = second.watch.cursor.telemetry
            assert start == 80 if with_snapshot else start <= 120
            await second.take(batches[start:])
            assert outcome(second.alarms, AlarmClass.FIRE) == outcome(whole.alarms, AlarmClass.FIRE)
            if with_snapshot:  # without one, running delays begin anew; the fire rule has none
                assert outcome(second.alarms, AlarmClass.PREALARM) == outcome(
                    whole.alarms, AlarmClass.PREALARM
                )
                zones = outcome(second.alarms, AlarmClass.SUPERVISORY)
                assert zones == outcome(whole.alarms, AlarmClass.SUPERVISORY)
                assert len(zones) > 1
                assert history(second) == history(whole)
                for name, array in whole.watch.engine.state().items():
                    other = second.watch.engine.state()[name]
                    assert array.dtype.kind == "U" or np.allclose(array, other, atol=1e-6), name


async def test_a_batch_over_the_recorded_cursor_is_entered_once(folder: Path) -> None:
    """The journal may be cut into other batches after a restart."""
    fire = Sample(3, T0_US, 60.0)
    panel = GatewayEvent("gw-1", Event(point="n5", at=T0_US, what=What.FIRE), point(5), T0_US, 0)
    async with core(folder) as one:
        await one.take([batch(1, [fire], [panel])])
    async with core(folder) as one:
        later = Sample(4, T0_US + S, 60.0)
        for file in (folder / "snapshot").iterdir():
            file.unlink()
        one.watch.cursor = one.watch.cursor._replace(telemetry=0)
        await one.take([batch(2, [fire, later], [panel])])
        assert sorted((a.point, a.count) for a in one.alarms) == [
            ("/u1/b1/z1", 1),
            ("p3", 1),
            ("p4", 1),
            ("p5", 1),
        ]
        assert [e.alarm.point for e in one.published] == ["p4", "/u1/b1/z1"]


async def test_a_new_journal_is_read_from_its_beginning(folder: Path) -> None:
    """A cursor counts in the journal it names."""
    async with core(folder) as one:
        await one.take([batch(50, [Sample(3, T0_US, 60.0)])])
    async with core(folder, journal="another") as one:
        assert one.watch.cursor == ("another", 0, 0)
        await one.take([batch(1, [Sample(4, T0_US + S, 60.0)])])
        assert {a.point for a in one.alarms} == {"p3", "p4"}


async def test_no_snapshot_while_the_record_lags(folder: Path) -> None:
    """An alarm that only memory knows must be found again by a replay."""
    async with core(folder) as one:
        await one.take([batch(1, [Sample(0, T0_US, 20.0)])])
        await one.watch.save()
        with contextlib.closing(sqlite3.connect(folder / "state.db", isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            one.batches.put_nowait(batch(2, [Sample(3, T0_US, 60.0)]))
            await until(lambda: [e for e in one.published if not e.recorded], 5.0, "shown unrecorded")
            await one.watch.save()
    async with core(folder) as one:
        assert one.watch.cursor.telemetry == 1
        await one.take([batch(2, [Sample(3, T0_US, 60.0)])])
        assert [a.point for a in one.alarms] == ["p3"]


async def test_a_damaged_snapshot_is_a_fault_and_not_the_end(folder: Path) -> None:
    """Detection starts from older state and says so."""
    async with core(folder) as one:
        await one.take([batch(1, [Sample(3, T0_US, 60.0)])])
        await one.watch.save()
    newest = max((folder / "snapshot").iterdir())
    newest.write_bytes(newest.read_bytes()[:100])
    async with core(folder) as one:
        assert newest.name in one.watch.snapshot_fault
        await one.take([batch(2, [Sample(3, T0_US + S, 20.0)])])
        assert one.alarms[0].state is State.LATCHED_UNACKNOWLEDGED


async def test_a_snapshot_of_another_form_is_a_fault_and_not_the_end(folder: Path) -> None:
    """What an older version wrote is passed over."""
    Snapshots(folder / "snapshot").save(Cursor("j", 0, 5), {"presence.kind": np.zeros(1)})
    async with core(folder) as one:
        assert "another form" in one.watch.snapshot_fault
        assert one.watch.cursor.telemetry == 0


async def test_a_snapshot_that_cannot_be_written_is_a_fault_until_it_can(folder: Path) -> None:
    """Detection goes on; only a restart would take longer."""
    async with core(folder) as one:
        await one.take([batch(1, [Sample(0, T0_US, 20.0)])])
        (folder / "snapshot").rmdir()
        await one.watch.save()
        assert "No such file" in one.watch.snapshot_fault
        (folder / "snapshot").mkdir()
        await one.watch.save()
        assert one.watch.snapshot_fault == ""


async def test_the_journal_is_needed_from_the_oldest_snapshot_on(folder: Path) -> None:
    """If the newest snapshot turns out damaged, an older one still finds what follows it."""
    async with core(folder) as one:
        kept = []
        for n in range(1, 5):
            await one.take([batch(n, [Sample(0, T0_US + n * S, 20.0)])])
            await one.watch.save()
            kept.append(one.watch.kept.telemetry)
        assert kept == [0, 0, 1, 2]


async def test_a_person_resets_a_latched_fire(folder: Path) -> None:
    """Only then is it off the list, and off the next process's list too."""
    async with core(folder) as one:
        await one.take([batch(1, [Sample(3, T0_US, 60.0), Sample(3, T0_US + S, 20.0)])])
        (fire,) = [alarm for alarm in one.alarms if alarm.cls is AlarmClass.FIRE]
        seen = await one.watch.act(OFFICER, order(Step.ACKNOWLEDGE, fire))
        gone = await one.watch.act(OFFICER, order(Step.RESET, seen))
        assert (gone.state, one.alarms) == (State.CLOSED, [])
    async with core(folder) as one:
        assert one.alarms == []


async def test_a_late_but_active_fire_sounds_within_two_seconds(folder: Path) -> None:
    """R76: link cut, fire, heal after 15 min: the alarm lane's urgent readings come in, and it sounds."""
    healed_us = T0_US + 900 * S
    urgent = [
        Sample(3, at_us, 60.0, received_at_us=healed_us, age_us=healed_us - at_us)
        for at_us in range(T0_US, healed_us, 5 * S)
    ]
    async with core(folder) as one:
        await one.take([batch(n, [sample], lane=Lane.ALARM) for n, sample in enumerate(urgent, start=1)])
        assert {(a.late, a.active, a.silent) for a in one.alarms} == {(True, True, True)}
        one.now_s += 1.0
        await until(lambda: not any(a.silent for a in one.alarms), 5.0, "it sounds")
        assert await one.watch.recorder.flush(5.0)
        assert one.published[-1].what == "sounded"


async def test_silence_and_a_dead_gateway(folder: Path) -> None:
    """No data is one fault of the gateway, and makes the fire behind it stale."""
    async with core(folder) as one:
        one.watch.gateway_seen("gw-1", fresh=True)
        await one.take([batch(1, [Sample(3, T0_US, 60.0)])])
        one.now_s += 70.0
        await until(lambda: len(one.alarms) == 2, 5.0, "gateway fault")
        fire, fault = sorted(one.alarms, key=lambda a: a.cls is AlarmClass.FAULT)
        assert (fire.stale, fire.active, fault.folded, fault.rule) == (True, True, POINTS, "gateway-offline")


async def test_a_point_accepted_while_running_is_judged(folder: Path) -> None:
    """The registry's generation is followed before the next batch."""
    async with core(folder) as one:
        one.registry.points = [point(i) for i in range(POINTS + 1)]
        one.registry.generation += 1
        await one.take([batch(1, [Sample(POINTS, T0_US, 60.0)])])
        assert [a.point for a in one.alarms] == [f"p{POINTS}"]


async def test_a_registry_in_motion_is_followed_once_a_second_or_for_a_new_point(folder: Path) -> None:
    """Registering one point after another must not make detection anew for each of them."""
    async with core(folder) as one:
        follow, followed = one.watch.engine.follow, []

        def counted(points: Sequence[Point], *, now_s: float) -> None:
            followed.append(len(points))
            follow(points, now_s=now_s)

        one.watch.engine.follow = counted  # type: ignore[method-assign]
        for n in range(1, 6):
            one.registry.points = [point(i) for i in range(POINTS + n)]
            one.registry.generation += 1
            one.watch.advance()
        assert followed == [POINTS + 1]
        await one.take([batch(1, [Sample(POINTS + 4, T0_US, 60.0)])])
        assert followed == [POINTS + 1, POINTS + 5]
        assert [a.point for a in one.alarms] == [f"p{POINTS + 4}"]
        one.registry.generation += 1
        one.watch.advance()
        one.now_s += 1.0
        one.watch.advance()
        assert followed == [POINTS + 1, POINTS + 5, POINTS + 5]


async def test_an_unregistered_fire_event(folder: Path) -> None:
    """It goes the same way as any other alarm."""
    heard = GatewayEvent("gw-9", Event(point="x", at=T0_US, what=What.FIRE), None, T0_US, 0)
    async with core(folder) as one:
        await one.take([batch(1, events=[heard], lane=Lane.ALARM)])
        assert [(a.point, a.number) for a in one.alarms] == [("gw-9/x", 1)]


async def test_rules_replaced_while_it_runs(folder: Path) -> None:
    """Unchanged rules keep their state, a changed one judges anew, what no rule holds any more is let go."""
    async with core(folder) as one:
        await one.take([batch(1, [Sample(0, T0_US, 60.0), Sample(1, T0_US, 41.0)])])
        await one.take([batch(2, [Sample(1, T0_US + 2 * S, 41.0)])])
        assert {(a.point, a.rule) for a in one.alarms} == {("p0", "heat"), ("p1", "pre")}
        one.watch.adopt(RuleSet(threshold=(heat(version=2, above=70.0, reset=65.0),)))
        assert await one.watch.recorder.flush(5.0)
        states = {a.rule: (a.active, a.state) for a in one.alarms}
        assert states["pre"] == (False, State.RETURNED_UNACKNOWLEDGED)
        assert states["heat"] == (True, State.UNACKNOWLEDGED)
        await one.take([batch(3, [Sample(0, T0_US + 3 * S, 64.0)])])
        assert {a.rule: a.active for a in one.alarms}["heat"] is False
        assert [(e.alarm.rule, e.what) for e in one.published][-2:] == [
            ("pre", "returned"),
            ("heat", "returned"),
        ]


async def test_a_delay_that_runs_is_not_begun_anew_by_other_rules(folder: Path) -> None:
    """A rule that stays as it is does not notice that another one has come."""
    async with core(folder) as one:
        await one.take([batch(1, [Sample(0, T0_US, 41.0)])])
        one.watch.adopt(RuleSet(threshold=(heat(name="new", above=90.0), *RULES.threshold)))
        await one.take([batch(2, [Sample(0, T0_US + 2 * S, 41.0)])])
        assert [a.rule for a in one.alarms] == ["pre"]


async def test_a_rule_taken_out_between_two_lives_holds_nothing(folder: Path) -> None:
    """After a start with fewer rules an alarm of the missing one is over; a fire waits for its reset."""
    async with core(folder) as one:
        await one.take([batch(1, [Sample(0, T0_US, 60.0)])])
    database = connect(f"sqlite:///{folder / 'state.db'}")
    watch = Watch(
        RuleSet(threshold=(RULES.threshold[1],)), Registry(), database, Snapshots(folder / "snapshot"),
        journal="j", publish=lambda entry: None, monotonic_s=lambda: 0.0, wall_us=lambda: T0_US,
        beat=lambda: None,
    )  # fmt: skip
    await watch.start()
    states = {alarm.rule: alarm.state for alarm in watch.book.alarms(OFFICER)}
    assert states["heat"] is State.LATCHED_UNACKNOWLEDGED
    database.dispose()
