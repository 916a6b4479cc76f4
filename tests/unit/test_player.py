from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from fengsui.model import Event, Reading
from gateway.drivers.recording import Recording
from simulators.player import PlayClock, Player, Stopwatch
from tests.driving import START_US, Kept


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A hundred rows a second apart, every tenth of them blank."""
    path = tmp_path / "fire.csv"
    path.write_text("time_s,a_c\n" + "".join(f"{n - 50},{'' if n % 10 == 9 else n}\n" for n in range(100)))
    return path


def player(file: Path, clock: PlayClock, speed: float, stopwatch: Stopwatch | None = None) -> Player:
    """A player of the file's only column that has been told to begin."""
    made = Player(file, Recording(file).choose(), clock, speed, stopwatch or Stopwatch([]))
    made.begin.set()
    return made


async def test_a_clock_changes_its_rate_without_a_jump() -> None:
    """Real time first, then a thousand times as fast, then real time again; never back, never ahead."""
    clock = PlayClock(START_US)
    assert 0 <= clock.now_us() - START_US < 1_000_000
    before = clock.now_us()
    clock.run_at(1_000.0)
    assert 0 <= clock.now_us() - before < 10_000_000
    await asyncio.sleep(0.02)
    assert clock.now_us() - before >= 20_000_000
    clock.run_at(1.0)
    before = clock.now_us()
    assert 0 <= clock.now_us() - before < 1_000_000
    assert clock.now_s() == pytest.approx(clock.now_us() / 1e6, abs=1)


async def test_the_whole_file_is_played_at_the_speed(file: Path) -> None:
    """A hundred seconds take a thousandth of that; intervals are the file's own, blanks are no readings."""
    clock, sink = PlayClock(START_US), Kept()
    played = player(file, clock, 1_000.0)
    began_s = asyncio.get_running_loop().time()
    await played.run(sink)
    assert asyncio.get_running_loop().time() - began_s >= 0.099
    assert (played.produced, len(sink.readings)) == (90, 90)
    assert [r.at_us - played.begin_us for r in sink.readings] == [
        n * 1_000_000 for n in range(100) if n % 10 != 9
    ]
    assert played.reached_us == sink.readings[-1].at_us
    assert played.ended.is_set()
    assert clock.rate == 1.0


async def test_nothing_is_played_before_the_word(file: Path) -> None:
    """A player waits for ``begin``, and its clock runs in real time meanwhile."""
    clock, sink = PlayClock(START_US), Kept()
    waiting = Player(file, Recording(file).choose(), clock, 1_000.0, Stopwatch([]))
    task = asyncio.create_task(waiting.run(sink))
    for _ in range(5):
        await asyncio.sleep(0)
    assert (sink.calls, clock.rate, waiting.begin_us) == ([], 1.0, 0)
    task.cancel()
    await asyncio.wait([task])


class Ending(Kept):
    """A sink that tells the player to end while it takes the tenth reading, and is slow to say it has it."""

    player: Player

    async def accept(self, items: Sequence[Reading | Event]) -> None:
        """Take the items, slowly."""
        await super().accept(items)
        if len(self.readings) >= 10:
            self.player.end.set()
        await asyncio.sleep(0.005)


async def test_what_was_accepted_when_it_ends_is_counted(file: Path) -> None:
    """An end in the middle waits for the sink: produced is what the sink has, to the reading."""
    sink = Ending()
    sink.player = player(file, PlayClock(START_US), 1_000.0)
    await sink.player.run(sink)
    assert 10 <= len(sink.readings) < 90
    assert sink.player.produced == len(sink.readings)


async def test_an_end_between_two_rows_does_not_wait_for_the_next_row(file: Path) -> None:
    """Real time between two rows is cut short."""
    played, sink = player(file, PlayClock(START_US), 0.01), Kept()
    asyncio.get_running_loop().call_later(0.05, played.end.set)
    async with asyncio.timeout(5):
        await played.run(sink)
    assert played.produced == len(sink.readings) == 1


async def test_a_second_start_plays_nothing(file: Path) -> None:
    """The gateway starts a driver again after an error; half a file twice would falsify the account."""
    played, sink = player(file, PlayClock(START_US), 10_000.0), Kept()
    await played.run(sink)
    await played.run(sink)
    assert len(sink.readings) == 90


async def test_how_far_behind_the_clock_is_known(file: Path) -> None:
    """At a speed that the sink cannot keep, all is played, and the delay is told in real seconds."""

    class Slow(Kept):
        async def accept(self, items: Sequence[Reading | Event]) -> None:
            await super().accept(items)
            await asyncio.sleep(0.05)

    played, sink = player(file, PlayClock(START_US), 100_000.0), Slow()
    await played.run(sink)
    assert len(sink.readings) == 90
    assert 0.04 <= played.behind_s < 5


def test_a_stopwatch_matches_readings_by_point_and_stamp() -> None:
    """Each arrival is timed against its own offer; what was overtaken or is unknown gives no time."""
    watch = Stopwatch(["a", "b"])
    watch.offered(
        [Reading("a", 1, 20.0), Reading("a", 2, 20.0), Reading("a", 3, 20.0), Reading("b", 2, 20.0)]
    )
    watch.offered([Reading("unwatched", 1, 20.0)])
    assert watch.p99_ms() is None
    watch.arrived("a", 2, arrived_s=1e9)
    watch.arrived("a", 2, arrived_s=1e9)
    watch.arrived("a", 1, arrived_s=1e9)
    assert len(watch.latencies_ms) == 1
    watch.arrived("a", 3, arrived_s=1e9)
    watch.arrived("b", 1, arrived_s=1e9)
    assert len(watch.latencies_ms) == 2
