from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fengsui.model import Clock, Event, Quality, Reading, What
from fengsui.wire import MAX_BODY, encode_readings
from gateway.drivers.base import MAX_BATCH, Commandable, CommandRefused
from gateway.drivers.config import Simulated
from gateway.drivers.simulated import MAX_PRESSED, SimulatedDriver
from tests.driving import START_US, FreeTime, Kept


def driver(time: FreeTime, seed: int = 1) -> SimulatedDriver:
    """A driver of the district on free time."""
    return SimulatedDriver(Simulated(name="district", seed=seed), time.pace)


def value(readings: list[Reading], name: str) -> float:
    """What a sweep says of one point."""
    return next(reading.value for reading in readings if reading.point == name)


class Enough(Exception):
    pass


class Few(Kept):
    """A sink that ends the driver after some calls."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self._left = calls

    async def accept(self, items: Sequence[Reading | Event]) -> None:
        """Keep the items; the last call fails."""
        await super().accept(items)
        self._left -= 1
        if not self._left:
            raise Enough


async def run_for(source: SimulatedDriver, calls: int) -> Kept:
    """Run until the sink has been called so often."""
    sink = Few(calls)
    with suppress(ExceptionGroup):
        await source.run(sink)
    return sink


async def test_every_period_is_one_batch_of_every_point() -> None:
    """Each sweep is one call with one reading of each described point, a period apart, marked simulated."""
    time = FreeTime()
    source = driver(time)
    sink = await run_for(source, 3)
    names = [described.name for described in source.describe()]
    for sweep, call in enumerate(sink.calls):
        assert [item.point for item in call] == names
        assert {item.at_us for item in call if isinstance(item, Reading)} == {START_US + sweep * 1_000_000}
    assert {reading.quality for reading in sink.readings} == {Quality.SIMULATED}


async def test_a_sweep_fits_one_record() -> None:
    """A sweep is at most what a driver may offer at once and encodes below the wire's bound."""
    sweep = driver(FreeTime()).sweep(START_US)
    assert len(sweep) <= MAX_BATCH
    assert len(encode_readings(sweep, Clock.SYNCED)) <= MAX_BODY


async def test_blocked_sink_is_not_followed_by_a_burst() -> None:
    """Sweeps missed while the sink waited are left out, not made up for."""
    time = FreeTime()

    class Slow(Few):
        async def accept(self, items: Sequence[Reading | Event]) -> None:
            time.now_us += 10_000_000
            await super().accept(items)

    sink = Slow(3)
    with suppress(ExceptionGroup):
        await driver(time).run(sink)
    stamps = sorted({reading.at_us for reading in sink.readings})
    assert stamps == [START_US, START_US + 10_000_000, START_US + 20_000_000]


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), gaps=st.lists(st.integers(0, 5_000_000), max_size=5))
def test_same_seed_same_readings(seed: int, gaps: list[int]) -> None:
    """Two drivers of one seed, swept at the same times with the same fire, give the same readings."""
    time = FreeTime()
    left, right = driver(time, seed), driver(time, seed)
    assert left.command("start_fire", {}) == right.command("start_fire", {})
    at_us = START_US
    for gap in gaps:
        at_us += gap
        assert left.sweep(at_us) == right.sweep(at_us)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), burn_s=st.integers(0, 400))
def test_values_stay_in_the_instruments_range(seed: int, burn_s: int) -> None:
    """Calm or burning, every value lies within the range that ``describe`` states."""
    source = driver(FreeTime(), seed)
    ranges = {described.name: described.range for described in source.describe()}
    source.sweep(START_US)
    source.command("start_fire", {"building": "b1"})
    for reading in source.sweep(START_US + burn_s * 1_000_000):
        bounds = ranges[reading.point]
        assert bounds is not None
        assert bounds[0] <= reading.value <= bounds[1]


def test_an_ordinary_day_alarms_nobody() -> None:
    """Over a day without a fire no temperature reaches 35 degC, no smoke 1 %/m and no CO 10 ppm."""
    source = driver(FreeTime())
    limits = {"temperature": 35.0, "smoke": 1.0, "co": 10.0}
    quantity = {described.name: described.quantity for described in source.describe()}
    for minute in range(0, 24 * 60, 10):
        for reading in source.sweep(START_US + minute * 60_000_000):
            assert reading.value < limits.get(quantity[reading.point], float("inf"))


def test_a_started_fire_shows_in_its_room() -> None:
    """A minute after ``start_fire`` the room is hot and smoky and a room of another building is as before."""
    source = driver(FreeTime())
    source.sweep(START_US)
    assert "b1-3-02" in source.command("start_fire", {"room": "b1-3-02"})
    after = source.sweep(START_US + 60_000_000)
    assert value(after, "b1-3-02:temperature") > 57
    assert value(after, "b1-3-02:smoke") > 50
    assert value(after, "b2-1-01:temperature") < 35
    assert source.command("put_out", {}) == "put out: b1-3-02"


def test_fires_without_a_room_start_where_none_burns() -> None:
    """Starting three fires in a building of ten rooms lights three rooms of it."""
    source = driver(FreeTime())
    lit = {source.command("start_fire", {"building": "b3"}) for _ in range(3)}
    assert len(lit) == 3
    assert all("fire in b3-" in text for text in lit)


async def test_a_pressed_call_point_is_an_event_at_once() -> None:
    """Pressing a call point gives one *fire* event of the burning floor, marked simulated, between sweeps."""
    time = FreeTime()
    source = driver(time)
    source.command("start_fire", {"room": "b2-4-01"})
    source.command("press_call_point", {})
    sink = await run_for(source, 3)
    (event,) = sink.events
    assert (event.point, event.what, event.code) == ("b2-4:call-point", What.FIRE, "simulated")


@pytest.mark.parametrize(
    ("what", "args", "text"),
    [
        ("explode", {}, "no command 'explode'"),
        ("start_fire", {"room": "x"}, "no room 'x'"),
        ("start_fire", {"building": "b9"}, "b1, b2, b3"),
        ("start_fire", {"floor": "2"}, "no argument floor"),
    ],
)
def test_senseless_commands_are_refused(what: str, args: dict[str, str], text: str) -> None:
    """A command that makes no sense is refused with what would."""
    source = driver(FreeTime())
    assert isinstance(source, Commandable)
    with pytest.raises(CommandRefused, match=text):
        source.command(what, args)


async def test_waiting_call_points_are_bounded() -> None:
    """While the spool takes nothing, at most ``MAX_PRESSED`` presses wait; the next is refused."""
    source = driver(FreeTime())
    for _ in range(MAX_PRESSED):
        source.command("press_call_point", {})
    with pytest.raises(CommandRefused, match="wait for the spool"):
        source.command("press_call_point", {})


async def test_cancelling_ends_the_driver() -> None:
    """``run`` stops when it is cancelled, leaving no task behind."""
    task = asyncio.create_task(driver(FreeTime()).run(Kept()))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
