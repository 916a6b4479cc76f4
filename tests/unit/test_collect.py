from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from fengsui.hold import Stamp
from fengsui.log import LogFailed
from fengsui.model import Clock, Event, Kind, Lane, Reading, What
from fengsui.spool import Held, Item, Spool, SpoolFull
from fengsui.wire import MAX_BODY, MAX_SPAN_US, Readings
from gateway.collect import GROUP_READINGS, Collector, Urgent
from tests.waiting import until

T = 1_795_000_000_000_000


class Wall:
    """A holding clock that a test sets."""

    def __init__(self) -> None:
        self.stamp = Stamp(1, 1_000, T // 1000, Clock.SYNCED)

    def __call__(self) -> Stamp:
        """The present moment."""
        return self.stamp

    def step(self, *, boot_ms: int = 0, wall_ms: int | None = None, clock: Clock = Clock.SYNCED) -> None:
        """Let time pass; the wall clock goes with it unless told otherwise."""
        wall_ms = boot_ms if wall_ms is None else wall_ms
        self.stamp = Stamp(1, self.stamp.since_boot_ms + boot_ms, self.stamp.wall_ms + wall_ms, clock)


@pytest.fixture
def wall() -> Wall:
    """A clock that stands still until it is told to move."""
    return Wall()


@asynccontextmanager
async def collecting(
    folder: Path,
    wall: Callable[[], Stamp],
    *,
    urgent: dict[str, Urgent] | None = None,
    spool: Spool | None = None,
    group_s: float = 0.05,
) -> AsyncIterator[tuple[Collector, Spool, list[Lane]]]:
    """A running collector, its spool, and the lanes it told of."""
    spool = spool or Spool(folder / "spool", quota_bytes=1 << 20, now=wall)
    told: list[Lane] = []
    collector = Collector(spool, urgent=urgent or {}, now=wall, stored=told.append, group_s=group_s)
    running = asyncio.create_task(collector.run())
    try:
        yield collector, spool, told
    finally:
        running.cancel()
        await asyncio.wait([running])
        spool.close()


def held(spool: Spool, lane: Lane) -> list[Held]:
    """What a lane holds."""
    return spool.read(lane, 1, max_bytes=1 << 20)


def decoded(spool: Spool) -> list[Readings]:
    """The bodies of the telemetry lane."""
    return [msgspec.msgpack.decode(h.body, type=Readings) for h in held(spool, Lane.TELEMETRY)]


async def test_accepted_means_synced_and_grouped(tmp_path: Path, wall: Wall) -> None:
    """When ``accept`` returns the readings are in the spool, in as few records as may be, in order."""
    async with collecting(tmp_path, wall) as (collector, spool, told):
        readings = [Reading(f"p{n % 7}", T + n, float(n)) for n in range(450)]
        await collector.accept(readings)
        bodies = decoded(spool)
        assert [body.count for body in bodies] == [GROUP_READINGS, GROUP_READINGS, 50]
        assert [h.readings for h in held(spool, Lane.TELEMETRY)] == [200, 200, 50]
        assert bodies[0].names() == [f"p{n}" for n in range(7)]
        values = [v for body in bodies for v in memoryview(body.x).cast("d")]
        assert values == [float(n) for n in range(450)]
        assert collector.accepted == 450
        assert set(told) == {Lane.TELEMETRY}


async def test_a_lone_sweep_is_not_held_up_and_a_stream_is_grouped(tmp_path: Path, wall: Wall) -> None:
    """The first group goes at once; within ``group_s`` of it, what comes waits for company."""
    async with collecting(tmp_path, wall, group_s=0.2) as (collector, spool, _):
        await collector.accept([Reading("a", T, 1.0)])
        await asyncio.gather(*(collector.accept([Reading("a", T + n, 1.0)]) for n in range(1, 30)))
        assert [body.count for body in decoded(spool)] == [1, 29]


async def test_events_and_urgent_readings_take_the_alarm_lane(tmp_path: Path, wall: Wall) -> None:
    """A first crossing, then every 5 s; back and across again is a first crossing. NaN crosses nothing."""
    urgent = {"t": Urgent(urgent_above=57.0), "low": Urgent(urgent_below=-10.0)}
    async with collecting(tmp_path, wall, urgent=urgent) as (collector, spool, _):
        for value, seconds, lane in (
            (56.9, 0, Lane.TELEMETRY),
            (57.0, 0, Lane.ALARM),
            (60.0, 1, Lane.TELEMETRY),
            (math.nan, 0, Lane.TELEMETRY),
            (61.0, 0, Lane.ALARM),
            (62.0, 4.9, Lane.TELEMETRY),
            (63.0, 0.1, Lane.ALARM),
            (math.inf, 5, Lane.ALARM),
        ):
            wall.step(boot_ms=int(seconds * 1000))
            before = spool.held(lane).stop
            await collector.accept([Reading("t", wall.stamp.wall_ms * 1000, value)])
            assert spool.held(lane).stop == before + 1, value
        await collector.accept([Reading("low", T, -10.0), Event("panel", T, What.FIRE)])
        assert [h.kind for h in held(spool, Lane.ALARM)] == [Kind.READINGS] * 5 + [Kind.EVENT]
        assert collector.infinite == 1


async def test_a_group_spans_no_change_of_clock_and_no_step(tmp_path: Path, wall: Wall) -> None:
    """Clock state, a step of the wall clock over 0.5 s, and the widest span each begin a new record."""
    async with collecting(tmp_path, wall) as (collector, spool, _):

        async def offer(at_us: int) -> asyncio.Task[None]:
            task = asyncio.create_task(collector.accept([Reading("a", at_us, 0.0)]))
            await asyncio.sleep(0)
            return task

        await collector.accept([Reading("warm-up", T, 0.0)])
        tasks = [await offer(T)]
        wall.step(boot_ms=400)
        tasks.append(await offer(T + 1))
        wall.step(boot_ms=100, wall_ms=600)
        tasks.append(await offer(T + 2))
        wall.step(boot_ms=100, wall_ms=700)
        tasks.append(await offer(T + 3))
        wall.step(boot_ms=0, wall_ms=-3_600_000)
        tasks.append(await offer(T + 4))
        wall.step(clock=Clock.UNSYNCED)
        tasks.append(await offer(T + 5))
        tasks.append(await offer(T + 5 - MAX_SPAN_US))
        tasks.append(await offer(0))
        await asyncio.gather(*tasks)
        bodies = decoded(spool)[1:]
        assert [body.count for body in bodies] == [3, 1, 1, 1, 1, 1]
        assert [body.c for body in bodies] == [Clock.SYNCED] * 3 + [Clock.UNSYNCED] * 3


async def test_an_event_carries_the_clock_state_of_its_moment(tmp_path: Path, wall: Wall) -> None:
    """``c`` is stamped when the event is offered, whatever the driver said."""
    async with collecting(tmp_path, wall) as (collector, spool, _):
        wall.step(clock=Clock.UNSYNCED)
        await collector.accept([Event("panel", T, What.FIRE)])
        assert msgspec.msgpack.decode(held(spool, Lane.ALARM)[0].body, type=Event).c == Clock.UNSYNCED


async def test_evidence_beyond_a_record_is_cut_and_the_event_stays(tmp_path: Path, wall: Wall) -> None:
    """A panel that sends a megabyte with its fire still raises it."""
    async with collecting(tmp_path, wall) as (collector, spool, _):
        await collector.accept([Event("p1", T, What.FIRE, text="x" * 90_000, raw=b"y" * 1_000_000)])
        (record,) = held(spool, Lane.ALARM)
        event = msgspec.msgpack.decode(record.body, type=Event)
        assert (event.what, len(event.raw or b""), len(event.text or "")) == (What.FIRE, 32_768, 1_000)
        assert len(record.body) <= MAX_BODY


async def test_equal_stamps_of_a_point_are_made_unique(tmp_path: Path, wall: Wall) -> None:
    """+1 us against the point's last few; another point's stamps and the order do not matter."""
    async with collecting(tmp_path, wall) as (collector, spool, _):
        stamps = [T, T, T, T - 5, T, T - 5]
        await collector.accept([Reading("a", at, 0.0) for at in stamps] + [Reading("b", T, 0.0)])
        (body,) = decoded(spool)
        offsets = [body.t0 + dt - T for dt in memoryview(body.dt).cast("I")]
        assert offsets == [0, 1, 2, -5, 3, -4, 0]


class Stubborn(Spool):
    """A spool that is full until it is told not to be, or whose medium fails."""

    full = True
    broken = False

    def store(self, lane: Lane, items: list[Item]) -> range:  # type: ignore[override]  # the same, for lists
        """As told."""
        if self.broken:
            raise LogFailed("EIO")
        if self.full:
            raise SpoolFull("full")
        return super().store(lane, items)


async def test_a_full_spool_makes_drivers_wait_and_says_so(
    tmp_path: Path, wall: Wall, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is dropped: ``accept`` returns when there is room; each lane says for itself that it waits."""
    monkeypatch.setattr("gateway.collect._FULL_PAUSE_S", 0.01)
    spool = Stubborn(tmp_path / "spool", quota_bytes=1 << 20, now=wall)
    async with collecting(tmp_path, wall, spool=spool) as (collector, _, _):
        waiting = asyncio.create_task(collector.accept([Reading("a", T, 1.0), Event("panel", T, What.FIRE)]))
        await until(lambda: collector.full == set(Lane))
        assert not waiting.done()
        spool.full = False
        await waiting
        assert collector.full == set()
        assert len(held(spool, Lane.ALARM)) == len(held(spool, Lane.TELEMETRY)) == 1


async def test_the_queue_is_bounded(tmp_path: Path, wall: Wall, monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that offers faster than the medium takes waits; memory does not grow."""
    monkeypatch.setattr("gateway.collect._QUEUE_ITEMS", 50)
    async with collecting(tmp_path, wall, group_s=0.01) as (collector, spool, _):
        await asyncio.gather(
            *(collector.accept([Reading("a", T + n * 100 + k, 0.0) for k in range(100)]) for n in range(5))
        )
        assert sum(body.count for body in decoded(spool)) == 500


async def test_a_driver_that_gives_up_leaves_the_others_alone(tmp_path: Path, wall: Wall) -> None:
    """A cancelled ``accept`` is no error for the group it was in."""
    async with collecting(tmp_path, wall, group_s=0.2) as (collector, spool, _):
        await collector.accept([Reading("a", T, 0.0)])
        one = asyncio.create_task(collector.accept([Reading("b", T, 0.0)]))
        two = asyncio.create_task(collector.accept([Reading("c", T, 0.0)]))
        await asyncio.sleep(0)
        one.cancel()
        await two
        assert one.cancelled()
        assert sum(body.count for body in decoded(spool)) == 3


async def test_a_failed_medium_ends_the_collector(tmp_path: Path, wall: Wall) -> None:
    """EIO is fatal: the process must stop, and nobody is told *accepted*."""
    spool = Stubborn(tmp_path / "spool", quota_bytes=1 << 20, now=wall)
    spool.broken = True
    collector = Collector(spool, urgent={}, now=wall, stored=lambda lane: None)
    running = asyncio.create_task(collector.run())
    offered = asyncio.create_task(collector.accept([Event("panel", T, What.FIRE)]))
    with pytest.raises(ExceptionGroup) as group:
        await running
    assert group.group_contains(LogFailed)
    assert not offered.done()
    offered.cancel()
    await asyncio.wait([offered])
    spool.close()
